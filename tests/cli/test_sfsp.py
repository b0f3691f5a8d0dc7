"""C{storehouse sfsp}, against a model server."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import threading
import time

from storehouse.clients.sfsp import client
from storehouse.core.sfsp import Code, Send, Status
from tests.cli.case import CommandCase
from tests.clients.sfsp.model import Model, serving
from tests.integration.process import PATIENCE

MIB = 1 << 20


class SFSPCase(CommandCase):
    """Has a model server, which the environment names."""

    def setUp(self) -> None:
        super().setUp()
        self.model = Model()
        server = serving(self.model)
        self.url = f"sfsp://127.0.0.1:{server.__enter__()}"
        self.addCleanup(server.__exit__, None, None, None)
        before = os.environ.get("STOREHOUSE_SFSP")
        os.environ["STOREHOUSE_SFSP"] = self.url
        self.addCleanup(self._restore, before)

    def _restore(self, before: str | None) -> None:
        if before is None:
            del os.environ["STOREHOUSE_SFSP"]
        else:
            os.environ["STOREHOUSE_SFSP"] = before

    def read(self, path: str) -> bytes:
        """What is in a file."""
        with open(path, "rb") as file:
            return file.read()


class VerbTests(SFSPCase):
    """The verbs."""

    def test_round_trip(self) -> None:
        """put, ls, get, resume."""
        data = os.urandom(2_500_000)
        path = self.path("big", data)
        result = self.run_command("sfsp", "put", path, "--chunk", "1M")
        self.assertEqual((result.stdout, result.stderr), ("", ""))
        self.assertEqual([len(chunk) for _, chunk in sorted(self.model.files[b"big"].items())], [MIB, MIB, 402_848])
        self.assertEqual(self.model.content(b"big"), data)
        self.assertEqual(self.run_command("sfsp", "ls", "big").stdout, "0\n1\n2\n")
        self.assertEqual(self.run_command("sfsp", "get", "big").stdout_bytes, data)
        self.assertEqual(self.run_command("sfsp", "get", "big", "-o", "-").stdout_bytes, data)
        for again in range(2):
            self.run_command("sfsp", "get", "big", "-o", f"{path}.got", "--connections", str(again + 1))
            self.assertEqual(self.read(f"{path}.got"), data)
        self.run_command("sfsp", "get", "big", "-o", "/dev/null")
        self.assertTrue(os.path.exists("/dev/null") and not os.path.isfile("/dev/null"))
        del self.model.files[b"big"][1]
        result = self.run_command("sfsp", "resume", path)
        self.assertEqual(result.stderr, "1 of 3 chunks sent\n")
        self.assertEqual(self.model.content(b"big"), data)
        self.assertEqual(self.run_command("sfsp", "resume", path, "--verify").stderr, "0 of 3 chunks sent\n")

    def test_empty_file(self) -> None:
        """One chunk of no bytes."""
        self.run_command("sfsp", "put", self.path("empty", b""))
        self.assertEqual(self.model.files, {b"empty": {0: b""}})
        self.assertEqual(self.run_command("sfsp", "get", "empty").stdout_bytes, b"")

    def test_names(self) -> None:
        """Any bytes."""
        name = b"a/\xff \n".decode("utf-8", "surrogateescape")
        self.run_command("sfsp", "put", self.path("x", b"abc"), "--name", name)
        self.assertEqual(self.model.files, {b"a/\xff \n": {0: b"abc"}})
        self.assertEqual(self.run_command("sfsp", "get", name).stdout_bytes, b"abc")
        path = self.path("b", b"b").encode() + b"\xfe"
        with open(path, "wb") as file:
            file.write(b"xyz")
        self.run_command("sfsp", "put", os.fsdecode(path))
        self.assertEqual(self.model.files[b"b\xfe"], {0: b"xyz"})
        result = self.run_command("sfsp", "get", name + "?", status=1)
        self.assertEqual(result.stderr, "Error: there is no file 'a/\\xff\\n?'\n".replace("\\xff\\n", "\\\\xff \\n"))

    def test_ls(self) -> None:
        """IDs, ranges, JSON; a million of them."""
        self.model.files[b"n"] = dict.fromkeys((0, 1, 2, 5, 7, 8, 2**64 - 1), b"")
        for args, expected in (
            (["--ranges"], "0-2\n5\n7-8\n18446744073709551615\n"),
            (["--json"], "".join(f"{json.dumps({'id': id})}\n" for id in (0, 1, 2, 5, 7, 8, 2**64 - 1))),
        ):
            self.assertEqual(self.run_command("sfsp", "ls", "n", *args).stdout, expected)
        first = json.loads(self.run_command("sfsp", "ls", "n", "--ranges", "--json").stdout.splitlines()[0])
        self.assertEqual(first, {"first": 0, "last": 2})
        self.model.files[b"n"] = dict.fromkeys(range(1_000_000), b"")
        self.assertEqual(self.run_command("sfsp", "ls", "n", "--ranges").stdout, "0-999999\n")
        result = self.run_command("sfsp", "ls", "m", status=1)
        self.assertEqual((result.stdout, result.stderr), ("", "Error: there is no file 'm'\n"))

    def test_put_refused(self) -> None:
        """What is there is not replaced unless that is said, and only as a whole."""
        path = self.path("n", b"x" * 150)
        self.model.put(b"n", b"a", b"b", b"c")
        result = self.run_command("sfsp", "put", path, "--chunk", "100", status=1)
        self.assertIn("the server already has chunks of 'n': 0 to 2; 'storehouse sfsp resume' sends", result.stderr)
        self.assertIn("--overwrite", result.stderr)
        result = self.run_command("sfsp", "put", path, "--chunk", "100", "--overwrite", status=1)
        self.assertIn("only 2, and SFSP cannot remove any; 'storehouse rm' on the server can", result.stderr)
        self.run_command("sfsp", "put", path, "--chunk", "50", "--overwrite")
        self.assertEqual(self.model.content(b"n"), b"x" * 150)
        result = self.run_command("sfsp", "resume", self.path("n", b"y" * 150), status=1)
        # The first and the last are compared at the same time.
        self.assertRegex(result.stderr, "chunk [02] has other bytes")

    def test_get_missing(self) -> None:
        """A file that is not whole leaves what was there."""
        path = self.path("got", b"old")
        self.model.files[b"n"] = {1: b"b", 3: b"d"}
        for args in ([], ["-o", path]):
            result = self.run_command("sfsp", "get", "n", *args, status=1)
            self.assertEqual(result.stderr, "Error: chunks 0, 2 of 'n' were not stored: the file is incomplete\n")
            self.assertEqual(result.stdout, "")
        self.assertEqual(self.read(path), b"old")
        self.assertEqual(os.listdir(os.path.dirname(path)), ["got"])

    def test_not_stored(self) -> None:
        """Broken connections are retried; then the error says what is missing, and how to continue."""
        path = self.path("n", b"x" * 1000)
        self.model.limits = [None, 100, 300, 20]
        self.run_command("sfsp", "put", path, "--chunk", "100")
        self.assertEqual(self.model.content(b"n"), b"x" * 1000)
        self.model.files.clear()
        self.model.early = lambda request: (
            Status(Code.INVALID_REQ, b"\x1b[2J no") if isinstance(request, Send) and request.id in (3, 7) else None
        )
        result = self.run_command("sfsp", "put", path, "--chunk", "100", "--connections", "1", status=1)
        self.assertIn(
            "of 'n' were not stored: the server refused the request:  [2J no; 'storehouse sfsp resume'", result.stderr
        )
        self.model.early = lambda request: None
        self.run_command("sfsp", "resume", path)
        self.assertEqual(self.model.content(b"n"), b"x" * 1000)


class FailureTests(SFSPCase):
    """What can go wrong outside of the protocol."""

    def test_usage(self) -> None:
        """Wrong usage."""
        path = self.path("n", b"x")
        for args in (
            ["ls", ""],
            ["put", path, "--chunk", "0"],
            ["put", path, "--chunk", "8X"],
            ["put", path, "--connections", "0"],
            ["put", path + "x"],
            ["put", os.path.dirname(path)],
            ["ls", "n", "--ca", path],
            ["ls", "n", "--server", "sfsps://localhost", "--key", path],
            ["frobnicate"],
            *(
                ["ls", "n", "--server", url]
                for url in ("", "localhost:1", "http://a", "sfsp://", "sfsp://a:b", "sfsp://a:0", "sfsp://a/x", "sfsp://u@a")
            ),
        ):  # fmt: skip
            self.run_command("sfsp", *args, status=2)

    def test_help(self) -> None:
        """Every verb explains itself."""
        for verb in ("put", "get", "ls", "resume"):
            text = self.run_command("sfsp", verb, "--help").stdout
            for expected in ("Examples:", f"  storehouse sfsp {verb}", "--server", "STOREHOUSE_SFSP", "--timeout"):
                self.assertIn(expected, text)

    def test_unreachable(self) -> None:
        """Nobody listens."""
        self.patch(client, "_MIN_WAIT", 0.01)
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            url = f"sfsp://127.0.0.1:{sock.getsockname()[1]}"
            result = self.run_command("sfsp", "ls", "n", "--server", url, status=1)
        self.assertEqual(result.stderr, f"Error: {url}: it cannot be reached: Connection refused\n")

    def test_not_sfsp(self) -> None:
        """Somebody else listens; also when TLS is spoken to them."""
        with socket.create_server(("127.0.0.1", 0)) as listening:

            def serve() -> None:
                for _ in range(2):
                    connection, _ = listening.accept()
                    with connection:
                        connection.recv(65536)
                        connection.sendall(b"SSH-2.0-hello\r\n\r\n")

            thread = threading.Thread(target=serve, daemon=True)
            thread.start()
            host = f"127.0.0.1:{listening.getsockname()[1]}"
            for scheme, said in (("sfsp", " does not speak SFSP: a response begins with"), ("sfsps", ": TLS failed: ")):
                args = ("ls", "n", "--timeout", str(PATIENCE), "--server", f"{scheme}://{host}")
                result = self.run_command("sfsp", *args, status=1)
                self.assertIn(f"{scheme}://{host}{said}", result.stderr)
            thread.join(PATIENCE)

    def test_silence(self) -> None:
        """A server that says nothing."""
        with socket.create_server(("127.0.0.1", 0)) as listening:
            url = f"sfsp://127.0.0.1:{listening.getsockname()[1]}"
            result = self.run_command("sfsp", "ls", "n", "--server", url, "--timeout", "0.2", status=1)
        self.assertIn("silent for 0.2 s", result.stderr)

    def test_unwritable(self) -> None:
        """A file that cannot be written."""
        self.model.put(b"n", b"x")
        result = self.run_command("sfsp", "get", "n", "-o", "/not/there", status=1)
        self.assertEqual(result.stderr, "Error: cannot write /not/there: No such file or directory\n")
        process = self.start(shell="sfsp get n > /dev/full")
        _, err = process.communicate(timeout=PATIENCE)
        self.assertEqual((process.returncode, err), (1, b"Error: cannot write the output: No space left on device\n"))

    def test_reader_leaves(self) -> None:
        """141, and not a word."""
        self.model.put(b"n", bytes(3 * MIB), bytes(3 * MIB))
        self.model.files[b"many"] = dict.fromkeys(range(100_000), b"")
        for args in (["get", "n"], ["ls", "many"]):
            process = self.start("sfsp", *args)
            assert process.stdout is not None and process.stderr is not None
            process.stdout.read(10)
            process.stdout.close()
            self.assertEqual((process.wait(PATIENCE), process.stderr.read()), (141, b""))

    def test_interrupt(self) -> None:
        """Ctrl-C: 130, not a word, no file left; also when nobody reads what is written."""
        self.model.put(b"n", bytes(3 * MIB), bytes(3 * MIB))
        process = self.start("sfsp", "get", "n")
        assert process.stdout is not None and process.stderr is not None
        process.stdout.read(10)
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        self.assertEqual((process.wait(PATIENCE), process.stderr.read()), (130, b""))
        path = self.path("got", b"old")
        hanging = threading.Event()
        stop = threading.Event()
        self.addCleanup(stop.set)

        def hang(request: object) -> None:
            if len(self.model.seen) == 4:
                hanging.set()
                stop.wait(PATIENCE)

        self.model.seen.clear()
        self.model.early = hang  # type: ignore[assignment]
        self.model.put(b"n", *[b"x"] * 10)
        process = self.start("sfsp", "get", "n", "-o", path, "--connections", "1")
        self.assertTrue(hanging.wait(PATIENCE))
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        self.assertEqual((process.wait(PATIENCE), process.stderr.read()), (130, b""))
        self.assertEqual(os.listdir(os.path.dirname(path)), ["got"])
        self.assertEqual(self.read(path), b"old")

    def test_memory(self) -> None:
        """Files larger than the memory that the command is given."""
        size = 256 * MIB
        path = self.path("large", b"")
        os.truncate(path, size)
        for arguments in (
            f"sfsp put {path} --chunk 128M",
            f"sfsp get large -o {path}.got",
            "sfsp get large > /dev/null",
        ):
            process = self.start(shell=arguments, before="ulimit -v 400000", stdout=subprocess.DEVNULL)
            _, err = process.communicate(timeout=PATIENCE)
            self.assertEqual((process.returncode, err), (0, b""))
        self.assertEqual(os.path.getsize(f"{path}.got"), size)
        os.unlink(f"{path}.got")
