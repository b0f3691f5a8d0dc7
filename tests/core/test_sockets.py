"""Tests of L{storehouse.core.sockets}."""

from __future__ import annotations

import os
import socket

from twisted.internet import reactor
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from storehouse.core import sockets
from storehouse.core.sockets import MAX_PATH, SocketPath, connect, listen


class _Greeter(Protocol):
    def connectionMade(self) -> None:
        """Say hello."""
        assert self.transport is not None
        self.transport.write(b"hello")
        self.transport.loseConnection()


class SocketTests(TestCase):
    """Real sockets."""

    def path(self, length: int) -> str:
        """A path of so many bytes, in a directory that is there."""
        path = os.path.abspath(self.mktemp())
        # The name itself is short: only what leads to it can be got around.
        while len(path) < length - 42:
            path = os.path.join(path, "x" * min(100, length - len(path) - 42))
        os.makedirs(path)
        return os.path.join(path, "s" * max(1, length - len(path) - 1))

    async def test_any_length(self) -> None:
        for length in (MAX_PATH, MAX_PATH + 1, 300, 1500):
            path = self.path(length)
            port = listen(reactor, path, Factory.forProtocol(_Greeter))
            self.assertEqual(os.stat(path).st_mode & 0o777, 0o600)
            connection = await deferToThread(connect, path, 10.0)
            self.assertEqual(await deferToThread(connection.recv, 10), b"hello")
            connection.close()
            descriptors = len(os.listdir("/proc/self/fd"))
            await port.stopListening()
            self.assertFalse(os.path.exists(path))
            self.assertLess(len(os.listdir("/proc/self/fd")), descriptors)

    def test_nobody_listens(self) -> None:
        path = self.path(300)
        self.assertRaises(FileNotFoundError, connect, path, 1.0)
        self.assertRaises(FileNotFoundError, connect, os.path.join(path, "none", "s"), 1.0)

    def test_busy(self) -> None:
        """Where too many wait to be let in, one waits one's turn, but not forever."""
        path = self.path(90)
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(os.path.relpath(path))
            listening.listen(0)
            waiting = connect(path, 1.0)
            self.assertRaises(TimeoutError, connect, path, 0.05)
            waiting.close()

    async def test_many_at_once(self) -> None:
        """Hundreds come before the first is let in."""
        path = self.path(90)
        port = listen(reactor, path, Factory.forProtocol(_Greeter))
        waiting = [socket.socket(socket.AF_UNIX) for _ in range(300)]
        for each in waiting:
            each.setblocking(False)
            each.connect(os.path.relpath(path))
            each.close()
        await port.stopListening()

    def test_no_way(self) -> None:
        """A system without /proc takes no long paths, and says so."""
        path = self.path(300)
        self.patch(sockets.os.path, "isdir", lambda path: False)
        self.assertIn(f"at most {MAX_PATH} bytes", str(self.assertRaises(OSError, SocketPath, path)))
