"""Starting and stopping, in real processes."""

from __future__ import annotations

import json
import os
import pty
import signal
import socket
import subprocess
from urllib.parse import quote

from twisted.trial.unittest import SynchronousTestCase

from tests.integration.process import Storehouse, wait_for

_failing_tac = """
from twisted.application.service import IService
from twisted.internet import reactor
from storehouse.errors import StorageFailed
from storehouse.events import StoreFailed
from storehouse.app.tap import make_application

application = make_application(["--append", "tcp:0:interface=127.0.0.1", "--sfsp", "off", "--https", "off", "--s3", "off", "--admin", "off", "--config", "settings.toml"])
(service,) = IService(application)
reactor.callLater(0.1, service.store_failed, StoreFailed("append log", StorageFailed("no disk")))
"""


class StartTests(SynchronousTestCase):
    """What a user meets who starts and stops it."""

    def storehouse(self, *options: str, directory: str | None = None, twistd: tuple[str, ...] = ("-n",)) -> Storehouse:
        # Some as users start it.
        fork = self._testMethodName not in ("test_life", "test_fast_reactor", "test_background")
        house = Storehouse(directory or self.mktemp(), *options, twistd=twistd, fork=fork)
        self.addCleanup(house.kill)
        return house

    def assert_refused(self, house: Storehouse, *words: str) -> None:
        """It says why in one line on standard error, ends with status 1 and leaves no pid file."""
        done = house.run()
        self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
        lines = done.stderr.splitlines()
        self.assertEqual(len(lines), 1, done.stderr)
        self.assertTrue(lines[0].startswith("storehouse: "), lines)
        for word in words:
            self.assertIn(word, lines[0])
        self.assertNotIn("Traceback", done.stdout)
        self.assertFalse(os.path.exists(house.pid_file))

    def test_life(self) -> None:
        house = self.storehouse()
        house.start()
        status, body = house.ask(house.append_port, "POST", "/append?id=some_identifier", b"some text")
        self.assertEqual((status, json.loads(body)["offset"]), (200, 0))
        self.assertEqual(house.ask(house.append_port, "GET", "/get?id=some_identifier&offset=0"), (200, b"some text"))
        self.assertIn(b"storehouse_", house.ask(house.admin_port, "GET", "/metrics")[1])
        self.assertIn(f"append log listens on http://127.0.0.1:{house.append_port}", house.output)
        self.assertIn("curl", house.output)
        self.assertEqual(os.stat(os.path.join(house.directory, "storehouse-data")).st_mode & 0o777, 0o700)
        self.assertEqual(house.stop(), -signal.SIGTERM)
        self.assertIn("Server Shut Down.", house.output)
        self.assertNotIn("Traceback", house.output)
        self.assertFalse(os.path.exists(house.pid_file))
        again = self.storehouse(directory=house.directory)
        again.start()
        self.assertEqual(again.ask(again.append_port, "GET", "/get?id=some_identifier&offset=0"), (200, b"some text"))
        self.assertEqual(again.stop(signal.SIGINT), -signal.SIGINT)
        self.assertNotIn("Traceback", again.output)

    def test_first_lines(self) -> None:
        """A first start, with all that there is, prints 15 lines at most; a later one less."""
        directory = os.path.abspath(self.mktemp())
        os.makedirs(directory)
        with open(os.path.join(directory, "streams.toml"), "w", encoding="utf-8") as file:
            file.write("[archive.streams.notes]\n")
        house = Storehouse(directory, "--config", "streams.toml", https=True)
        house.environment["masterkey"] = "a key of this test"
        self.addCleanup(house.kill)
        first, later = self.at_terminal(house), self.at_terminal(house)
        self.assertLessEqual(len(first), 15, "\n".join(first))
        self.assertLess(len(later), 11, "\n".join(later))
        text = "\n".join(first)
        for said in (
            f"data is in {directory}/storehouse-data: ",
            *(
                f"{door} listens on "
                for door in ("append log", "archive door", "SFSP door", "upload door", "admin door")
            ),
            "try: curl -d 'some text'",
            "try: storehouse mb photos --root ",
            f"sign in once at https://localhost:{house.https_port}/sign-in/",
        ):
            self.assertIn(said, text)

    def at_terminal(self, house: Storehouse) -> list[str]:
        """Start it at a terminal, and stop it. @return: the lines that it printed until then."""
        master, slave = pty.openpty()
        try:
            house.process = subprocess.Popen(
                house.command,
                cwd=house.directory,
                env=house.environment,
                stdin=subprocess.DEVNULL,
                stdout=slave,
                stderr=slave,
                text=True,
            )
            os.set_blocking(master, False)
            shown = bytearray()

            def has_shown() -> bool:
                try:
                    shown.extend(os.read(master, 65536))
                except BlockingIOError:
                    pass
                return b"within an hour" in shown and b"ready\r\n" in shown

            wait_for(has_shown, "the link")
            house.wait_until_ready()
            house.stop()
            has_shown()
        finally:
            os.close(slave)
            os.close(master)
        return shown.decode().partition("Received SIG")[0].splitlines()[:-1]

    def test_fast_reactor(self) -> None:
        house = self.storehouse(twistd=("-n", "--reactor=storehouse"))
        house.start()
        self.assertEqual(house.ask(house.append_port, "POST", "/append?id=x", b"data")[0], 200)
        self.assertIn("FastEPollReactor", house.output)
        self.assertEqual(house.stop(), -signal.SIGTERM)
        self.assertNotIn("Traceback", house.output)

    def test_root_in_use(self) -> None:
        first = self.storehouse()
        first.start()
        assert first.process is not None
        root = os.path.join(first.directory, "storehouse-data")
        self.assert_refused(self.storehouse("--root", root), root, f"process {first.process.pid}")
        self.assertEqual(first.ask(first.admin_port, "GET", "/readyz")[0], 200)

    def test_port_in_use(self) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            endpoint = f"tcp:{taken.getsockname()[1]}:interface=127.0.0.1"
            self.assert_refused(self.storehouse("--append", endpoint), endpoint, "Address already in use")
            self.assert_refused(self.storehouse("--sfsp", endpoint), endpoint, "Address already in use")
            self.assert_refused(self.storehouse("--admin", endpoint), endpoint, "Address already in use")

    def test_anonymous(self) -> None:
        self.assert_refused(self.storehouse("--append", "tcp:0"), "append", "all interfaces", "--allow-anonymous")

    def test_settings(self) -> None:
        self.assert_refused(self.storehouse("--append-buckets", "none"), "append-buckets", "'none'")
        self.assert_refused(self.storehouse("--config", "missing.toml"), "missing.toml")

    def test_root_is_a_file(self) -> None:
        house = self.storehouse("--root", "file")
        with open(os.path.join(house.directory, "file"), "wb"):
            pass
        self.assert_refused(house, "is not a directory")

    def test_background(self) -> None:
        house = self.storehouse(twistd=())
        self.assertEqual(house.run().returncode, 0)
        with open(house.pid_file, encoding="ascii") as file:
            pid = int(file.read())
        try:
            house.wait_until_ready()
        finally:
            os.kill(pid, signal.SIGTERM)
            wait_for(lambda: not os.path.exists(house.pid_file), "the end")

    def test_background_refused(self) -> None:
        """twistd adds two lines of its own; ours comes whole and first, and is in the log."""
        house = self.storehouse("--append", "tcp:0", twistd=())
        done = house.run()
        self.assertEqual(done.returncode, 1)
        first = done.stderr.splitlines()[0]
        self.assertTrue(first.startswith("storehouse: ") and first.endswith("may use it"), done.stderr)
        self.assertNotIn("Traceback", done.stderr)
        self.assertFalse(os.path.exists(house.pid_file))
        with open(os.path.join(house.directory, "twistd.log"), encoding="utf-8") as file:
            self.assertIn(first.removeprefix("storehouse: "), file.read())

    def test_json_logging(self) -> None:
        house = self.storehouse("--log-format", "json", "--access-log")
        house.start()
        house.stop()
        lines = [json.loads(line) for line in house.output.splitlines()]
        self.assertIn("ready", [line["message"] for line in lines])
        self.assertTrue(any("/readyz" in line["message"] for line in lines))

    def test_store_fails(self) -> None:
        """A failure that nothing may be acknowledged after ends the process, with status 1; and a .tac file works."""
        house = self.storehouse()
        tac = os.path.join(house.directory, "failing.tac")
        with open(tac, "w", encoding="utf-8") as file:
            file.write(_failing_tac)
        house.command = [*house.command[: house.command.index("storehouse")], "-y", tac]
        done = house.run()
        self.assertEqual(done.returncode, 1, done.stdout)
        self.assertIn("the append log failed: no disk", done.stdout)
        self.assertIn("Server Shut Down.", done.stdout)
        self.assertFalse(os.path.exists(house.pid_file))

    def test_socket_file(self) -> None:
        # Not below the directory of the tests: the path of a socket is short.
        path = f"/tmp/storehouse-test-{os.getpid()}.sock"
        house = self.storehouse("--append", f"unix:{quote(path, safe='/')}")
        house.start()
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)
            client.sendall(
                b"POST /append?id=x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi"
            )
            self.assertTrue(client.recv(4096).startswith(b"HTTP/1.1 200 "))
        self.assertIn(f"curl --unix-socket {path}", house.output)
        house.stop()
        self.assertFalse(os.path.exists(path))
