"""C{storehouse sfsp} and the real service."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time

from twisted.trial.unittest import SynchronousTestCase

from storehouse.core.sfsp import encode_list
from tests.core.tls.certificates import Authority
from tests.integration.forked import Forked
from tests.integration.process import CHECKOUT, PATIENCE, Storehouse, free_port

_MIB = 1 << 20


class CommandCase(SynchronousTestCase):
    """Runs the command and the service."""

    def command(self, *args: str, status: int = 0) -> subprocess.CompletedProcess[bytes]:
        """Run the command to its end."""
        done = self.begin(*args)
        out, err = done.communicate(timeout=PATIENCE)
        self.assertEqual(done.returncode, status, err)
        return subprocess.CompletedProcess(args, done.returncode, out, err)

    def begin(self, *args: str) -> subprocess.Popen[bytes]:
        """Start it."""
        process = Forked(
            [sys.executable, "-m", "storehouse.cli", *args],
            env={**os.environ, "PYTHONPATH": CHECKOUT, "STOREHOUSE_SFSP": self.url},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.addCleanup(self._end, process)
        return process

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        if process.poll() is None:
            process.kill()
        process.communicate()

    def serve(self, endpoint: str, *options: str) -> Storehouse:
        """Start a service."""
        server = Storehouse(self.mktemp(), "--sfsp", endpoint, *options)
        self.addCleanup(server.kill)
        server.start()
        self.root = os.path.join(server.directory, "storehouse-data")
        return server

    def local(self, size: int) -> str:
        """A file of random bytes."""
        path = self.mktemp()
        with open(path, "wb") as file:
            file.write(os.urandom(size))
        return path

    def same(self, one: str, other: str) -> None:
        """Two files must be equal."""
        with open(one, "rb") as first, open(other, "rb") as second:
            self.assertTrue(first.read() == second.read())


class RoundTripTests(CommandCase):
    """Over TCP."""

    def setUp(self) -> None:
        port = free_port()
        self.url = f"sfsp://127.0.0.1:{port}"
        self.server = self.serve(f"tcp:{port}:interface=127.0.0.1")

    def test_round_trip(self) -> None:
        """A file of several chunks; it is among the objects as well."""
        path = self.local(5 * _MIB + 3)
        self.command("sfsp", "put", path, "--name", "a b/ü", "--chunk", "1M")
        self.assertEqual(self.command("sfsp", "ls", "a b/ü", "--ranges").stdout, b"0-5\n")
        self.command("sfsp", "get", "a b/ü", "-o", f"{path}.got")
        self.same(path, f"{path}.got")
        with open(path, "rb") as file:
            data = file.read()
        self.assertEqual(self.command("sfsp", "get", "a b/ü").stdout, data)
        keys = self.command("ls", "sfsp", "--recursive", "--root", self.root).stdout.decode().split()
        self.assertEqual(len(keys), 6)
        self.assertTrue(keys[3].endswith("/00000000000000000003"), keys)
        chunk = self.command("cat", f"sfsp/{keys[3]}", "--root", self.root).stdout
        self.assertEqual(chunk, data[3 * _MIB : 4 * _MIB])
        self.command("rm", f"sfsp/{keys[3]}", "--root", self.root)
        err = self.command("sfsp", "get", "a b/ü", status=1).stderr
        self.assertIn("chunk 3 of 'a b/ü' was not stored".encode(), err)
        self.assertEqual(self.command("sfsp", "resume", path, "--name", "a b/ü").stderr, b"1 of 6 chunks sent\n")
        self.assertEqual(self.command("sfsp", "get", "a b/ü").stdout, data)

    def test_killed_in_the_midst(self) -> None:
        """The server is killed while a file is sent: the rest is sent after its restart, and all is there."""
        path = self.local(48 * _MIB)
        sending = self.begin("sfsp", "put", path, "--name", "n", "--chunk", "256K")
        deadline = time.monotonic() + PATIENCE
        while self.stored() < 8:
            self.assertLess(time.monotonic(), deadline)
        self.server.stop(signal.SIGKILL)
        _, err = sending.communicate(timeout=PATIENCE)
        self.assertEqual(sending.returncode, 1, err)
        self.assertIn(b"of 'n' were not stored: ", err)
        self.assertIn(b"'storehouse sfsp resume' sends them", err)
        self.server.start()
        self.assertIn(b"were not stored: the file is incomplete", self.command("sfsp", "get", "n", status=1).stderr)
        there = len(self.command("sfsp", "ls", "n").stdout.splitlines())
        self.assertTrue(8 <= there < 192, there)
        err = self.command("sfsp", "resume", path, "--name", "n", "--verify").stderr
        self.assertEqual(err, f"{192 - there} of 192 chunks sent\n".encode())
        self.command("sfsp", "get", "n", "-o", f"{path}.got")
        self.same(path, f"{path}.got")

    def test_restarted_in_the_midst(self) -> None:
        """A restart that is quick enough is only a pause."""
        path = self.local(32 * _MIB)
        sending = self.begin("sfsp", "put", path, "--name", "n", "--chunk", "256K")
        deadline = time.monotonic() + PATIENCE
        while self.stored() < 8:
            self.assertLess(time.monotonic(), deadline)
        self.server.stop(signal.SIGKILL)
        self.server.start()
        sending.communicate(timeout=PATIENCE)
        if sending.returncode:  # a machine on which the start takes longer than the attempts
            self.command("sfsp", "resume", path, "--name", "n")
        self.command("sfsp", "get", "n", "-o", f"{path}.got")
        self.same(path, f"{path}.got")

    def stored(self) -> int:
        """How many chunks there are."""
        # Asked by hand: until a command has started, all of them may be there.
        with socket.create_connection(("127.0.0.1", int(self.url.rpartition(":")[2])), PATIENCE) as asking:
            asking.sendall(encode_list(b"n"))
            answer = b""
            while len(answer) < 16:
                piece = asking.recv(16 - len(answer))
                self.assertTrue(piece, "the connection was closed")
                answer += piece
        return int.from_bytes(answer[8:], "little")


class TLSTests(CommandCase):
    """Over TLS, with certificates of both sides."""

    def test_certificates(self) -> None:
        authority = Authority(os.path.abspath(self.mktemp()))
        mine, theirs = authority.sign("client"), authority.sign("server")
        port = free_port()
        self.url = f"sfsps://127.0.0.1:{port}"
        self.serve(
            f"ssl:{port}:interface=127.0.0.1:privateKey={theirs}:certKey={theirs}", "--sfsp-client-ca", authority.path
        )
        path = self.local(3 * _MIB)
        trusted = ("--ca", authority.path, "--cert", mine)
        self.command("sfsp", "put", path, "--name", "n", "--chunk", "1M", *trusted)
        self.command("sfsp", "get", "n", "-o", f"{path}.got", *trusted)
        self.same(path, f"{path}.got")
        self.assertIn(b"TLS failed", self.command("sfsp", "ls", "n", status=1).stderr)
        self.assertIn(b"TLS failed", self.command("sfsp", "ls", "n", "--ca", authority.path, status=1).stderr)
        self.assertIn(b"no certificate", self.command("sfsp", "ls", "n", "--ca", path, status=1).stderr)
