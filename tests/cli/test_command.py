"""What all verbs share: help, usage, the network's failures, the progress line."""

from __future__ import annotations

import gc
import io
import os
import pty
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings

from twisted.trial.unittest import SynchronousTestCase

from storehouse import __version__
from storehouse.cli import VERBS
from storehouse.cli.client import Client, Server
from storehouse.cli.progress import Progress
from tests.cli.case import CommandCase, heavy_imports
from tests.cli.fake import Request
from tests.integration.process import PATIENCE

#: Verbs that work on the files of a root.
LOCAL = {
    "scrub",
    "rekey",
    "uploads",
    "mb",
    "rb",
    "publish",
    "unpublish",
    "ls",
    "put",
    "cat",
    "cp",
    "rm",
    "du",
    "fsck",
    "reindex",
    "backup",
}

#: Groups of verbs of their own, and what they say of where things are.
GROUPS = {
    "sfsp": "--server",
    "archive": "store:BUCKET/KEY",
    "user": "what they can do",
    "sign": "--root",
    "restore": "--root",
    "keys": "keyring",
    "config": "twistd storehouse",
    "s3": "--ephemeral",
    "events": "dead letters",
}


class CommonTests(CommandCase):
    """Options that all verbs have, and what none of them does well without."""

    def test_version(self) -> None:
        """The version."""
        self.assertEqual(self.run_command("--version").stdout, f"storehouse {__version__}\n")

    def test_help(self) -> None:
        """Every verb explains itself, with examples."""
        overview = self.run_command("--help").stdout
        for verb in VERBS:
            self.assertIn(f"\n  {verb} ", overview)
            text = self.run_command(verb, "--help").stdout
            where = ("--root", "--objects-dir") if verb in LOCAL else ("--server", "--prefix", "STOREHOUSE_SERVER")
            if verb in GROUPS:
                where = (GROUPS[verb],)
            for expected in ("Examples:", f"  storehouse {verb}", *where):
                self.assertIn(expected, text)

    def test_imports(self) -> None:
        """A command that asks a service needs neither a reactor nor a store, and the help no verbs."""
        self.assertEqual(heavy_imports("--help"), set())
        self.assertEqual(heavy_imports("archive", "--help"), set())
        self.assertEqual(heavy_imports("append", "x", "--server", self.log.url, stdin=b"some text"), set())
        self.assertEqual(heavy_imports("get", "x", "0", "--server", self.log.url), set())

    def test_unknown_verb(self) -> None:
        """Wrong usage."""
        self.assertIn("No such command", self.run_command("frobnicate", status=2).stderr)

    def test_server_urls(self) -> None:
        """What is not a URL of a server is wrong usage."""
        for url in ("", "localhost:8001", "ftp://a", "http://", "http://a:b", "http://a:99999", "http://u:p@a/",
                    "http://a/?q=1", "http://a/#f", "http://a/b c", "http://[::1", "http://" + "a" * 64):  # fmt: skip
            result = self.run_command("stat", "--server", url, status=2)
            self.assertIn("Invalid value for '--server'", result.stderr)

    def test_option_beats_environment(self) -> None:
        """--server wins; a slash at its end does not matter, and a path is put before the others."""
        self.run_command("stat", "--server", f"{self.log.url}/")
        self.assertEqual(self.log.seen[-1].path, "/stat")
        result = self.run_command("stat", "--server", f"{self.log.url}/base/", status=1)
        self.assertEqual(result.stderr, "Error: there is nothing at /base/stat (404 NotFound)\n")

    def test_refused_connection(self) -> None:
        """Nobody listens there."""
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{sock.getsockname()[1]}"
            for args in (["stat"], ["append", "x"], ["append", "x", "--lines"], ["get", "x", "0"], ["scan", "x"]):
                result = self.run_command(*args, "--server", url, stdin=b"x", status=1)
                self.assertIn(f"cannot reach {url}: Connection refused", result.stderr)

    def test_not_json_error(self) -> None:
        """A refusal without a reason is shown by its status."""
        self.log.overrides["/stat"] = lambda request: request.send(b"<h1>no</h1>", 502)
        result = self.run_command("stat", status=1)
        self.assertEqual(result.stderr, f"Error: {self.log.url} responded with 502 Bad Gateway\n")

    def test_detail_cannot_play_with_the_terminal(self) -> None:
        """Control characters in a reason do not reach the terminal."""
        self.log.overrides["/stat"] = lambda request: request.refuse(400, "Bad\x1b", "a\x1b[2J\nb")
        self.assertEqual(self.run_command("stat", status=1).stderr, "Error: a [2J b (400 Bad )\n")

    def test_silence(self) -> None:
        """A server that says nothing is given up."""

        def wait(request: Request) -> None:
            self.log.stopping.wait(PATIENCE)

        self.log.overrides["/stat"] = wait
        result = self.run_command("stat", "--timeout", "0.1", status=1)
        self.assertIn("silent for 0.1 s", result.stderr)

    def test_sockets_are_closed(self) -> None:
        """Those of responses that are not read to their end, too: a response that ends with its connection has it."""

        def refuse(request: Request) -> None:
            request.send_response(500, "Oh")
            request.send_header("Connection", "close")
            request.send_header("Content-Length", "100000")
            request.end_headers()
            request.wfile.write(b"x" * 70_000)
            request.close_connection = True

        self.log.overrides["/stat"] = self.log.overrides["/get"] = refuse
        gc.collect()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            self.run_command("stat", status=1)
            self.run_command("get", "x", "0", status=1)
            gc.collect()
        self.assertEqual([str(each.message) for each in caught], [])

    def test_requests_that_overlap(self) -> None:
        """Each has a connection of its own, and all of them are closed."""
        gc.collect()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            with Client(Server("http", "127.0.0.1", int(self.log.url.rpartition(":")[2])), 30.0) as client:
                for _ in range(3):
                    first, second = client.begin("GET", "/stat", size=-1), client.begin("GET", "/stat", size=-1)
                    with first, second:
                        responses = [second.response(), first.response()]
                    self.assertEqual(len({b"".join(each.pieces()) for each in responses}), 1)
                    # Those that were read are not kept.
                    client.request("GET", "/stat").json("status")
                    self.assertLessEqual(len(client._others), 1)
            gc.collect()
        self.assertEqual([str(each.message) for each in caught], [])

    def test_hangs_up(self) -> None:
        """A server that hangs up without an answer."""

        def hang_up(request: Request) -> None:
            request.close_connection = True

        self.log.overrides["/stat"] = hang_up
        self.assertIn("the server closed it", self.run_command("stat", status=1).stderr)

    def test_not_http(self) -> None:
        """Something that is not HTTP at all."""
        with socket.create_server(("127.0.0.1", 0)) as listening:

            def serve() -> None:
                connection, _ = listening.accept()
                with connection:
                    connection.recv(65536)
                    connection.sendall(b"SSH-2.0-hello\r\n\r\n")

            thread = threading.Thread(target=serve)
            thread.start()
            url = f"http://127.0.0.1:{listening.getsockname()[1]}"
            result = self.run_command("stat", "--server", url, status=1)
            thread.join()
        self.assertIn(f"{url} does not speak HTTP", result.stderr)

    def test_tls_failure(self) -> None:
        """TLS to a server without it."""
        url = self.log.url.replace("http:", "https:")
        self.assertIn("TLS failed", self.run_command("stat", "--server", url, status=1).stderr)

    def test_interrupt(self) -> None:
        """Ctrl-C while waiting for input: 130, and not a word."""
        process = self.start("append", "x", "--lines", stdin=subprocess.PIPE)
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(b"a\n")
        process.stdin.flush()
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        self.assertEqual(process.wait(PATIENCE), 130)
        assert process.stderr is not None
        self.assertEqual(process.stderr.read(), b"")

    def test_reader_leaves_before_the_end(self) -> None:
        """Output that nobody takes any more, small enough to be buffered to the end."""
        self.log.append("default", "x", b"one")
        reading, writing = os.pipe()
        os.close(reading)
        try:
            for args in (["get", "x", "0"], ["scan", "x"], ["stat"], ["append", "x", __file__]):
                process = self.start(*args, stdout=writing)
                _, err = process.communicate(timeout=PATIENCE)
                self.assertEqual((process.returncode, err), (141, b""), args)
        finally:
            os.close(writing)

    def test_closed_standard_streams(self) -> None:
        """No standard output, no standard input."""
        self.log.append("default", "x", b"one")
        for args, redirect, said in (
            ("stat", ">&-", b"Error: standard output is closed\n"),
            ("append x", "<&-", b"Error: standard input is closed\n"),
        ):
            process = self.start(shell=f"{args} {redirect}")
            _, err = process.communicate(timeout=PATIENCE)
            self.assertEqual((process.returncode, err), (1, said))

    def test_progress_on_a_terminal(self) -> None:
        """Long work shows how far it has come on a terminal, and leaves no trace of it."""
        mine, theirs = pty.openpty()
        self.addCleanup(os.close, mine)
        try:
            process = self.start("append", "x", stdin=subprocess.PIPE, stderr=theirs)
        finally:
            os.close(theirs)
        assert process.stdin is not None
        shown = b""
        until = time.monotonic() + PATIENCE
        while b"iB/s" not in shown:
            self.assertLess(time.monotonic(), until, shown)
            process.stdin.write(bytes(1_000_000))
            process.stdin.flush()
            if _readable(mine):
                shown += os.read(mine, 65536)
        process.stdin.close()
        self.assertEqual(process.wait(PATIENCE), 0)
        while _readable(mine):
            try:
                shown += os.read(mine, 65536)
            except OSError:
                break
        self.assertTrue(shown.startswith(b"\r\x1b[Kappend  "), shown)
        self.assertTrue(shown.endswith(b"\r\x1b[K"), shown)


def _readable(descriptor: int) -> bool:
    return bool(select.select([descriptor], [], [], 0)[0])


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class ProgressTests(SynchronousTestCase):
    """L{Progress}."""

    def setUp(self) -> None:
        """A terminal and a clock of our own."""
        self.now = 0.0
        self.terminal = _Terminal()
        self.patch(sys, "stderr", self.terminal)

    def progress(self, total: int | None, wanted: bool = True) -> Progress:
        """A progress line."""
        return Progress("get", total, wanted, lambda: self.now)

    def test_line(self) -> None:
        """A bar where the end is known, what was done and how fast where it is not."""
        self.now = 2.0
        progress = self.progress(4 * 1024**2)
        progress.advance(1024**2)
        self.now = 4.0
        self.assertEqual(
            progress.line(self.now),
            "get  [########......................]  25%  1.0 MiB of 4.0 MiB  512.0 KiB/s  0:06 left",
        )
        progress.show(4 * 1024**2, 4 * 1024**2)
        self.assertNotIn("left", progress.line(self.now))
        progress.show(1, 3601)
        self.assertTrue(progress.line(self.now).endswith("  2:00:00 left"), progress.line(self.now))
        progress = self.progress(None)
        progress.advance(10)
        self.assertEqual(progress.line(6.0), "get  10 B  5 B/s")

    def test_drawing(self) -> None:
        """Nothing for short work, then at most ten times a second; it goes when it is done."""
        with self.progress(None) as progress:
            progress.advance(1)
            self.assertEqual(self.terminal.getvalue(), "")
            self.now = 1.0
            progress.advance(1)
            progress.advance(1)
            self.assertEqual(self.terminal.getvalue(), "\r\x1b[Kget  2 B  2 B/s")
            progress.hide()
            progress.hide()
        self.assertEqual(self.terminal.getvalue(), "\r\x1b[Kget  2 B  2 B/s\r\x1b[K")

    def test_not_wanted(self) -> None:
        """Nothing is drawn when it is not wanted, or when nobody looks."""
        quiet = self.progress(None, wanted=False)
        self.patch(sys, "stderr", io.StringIO())
        blind = self.progress(None)
        self.now = 10.0
        quiet.advance(1)
        blind.advance(1)
        self.assertEqual(self.terminal.getvalue(), "")
