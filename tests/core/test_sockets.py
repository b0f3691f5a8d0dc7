"""Tests of L{storehouse.core.sockets}."""

from __future__ import annotations

import os
import socket

from twisted.internet import reactor
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase, TestCase

from storehouse.core import sockets
from storehouse.core.sockets import MAX_PATH, SocketPath, connect, has_left, listen


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


class LeftTests(SynchronousTestCase):
    """L{has_left}: what a reactor does not see while it does not read."""

    def setUp(self) -> None:
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.peer = socket.create_connection(self.listening.getsockname())
        self.ours, _ = self.listening.accept()
        for each in (self.listening, self.peer, self.ours):
            self.addCleanup(each.close)

    def test_there(self) -> None:
        self.peer.sendall(b"some")
        self.assertFalse(has_left(self.ours, 10))

    def test_half_closed(self) -> None:
        """One that has sent everything waits for the answer; one that has not never will."""
        self.peer.sendall(b"0123456789")
        self.peer.shutdown(socket.SHUT_WR)
        self.ours.recv(2)
        self.assertEqual([has_left(self.ours, missing) for missing in (0, 8, 9)], [False, False, True])

    def test_reset(self) -> None:
        self.ours.sendall(b"what the peer does not read")
        self.peer.close()
        self.ours.setblocking(False)
        for _ in range(1000):
            if has_left(self.ours, 0):
                break
            try:
                self.ours.send(b"x")
            except OSError:
                pass
        self.assertTrue(has_left(self.ours, 0))

    def test_no_socket(self) -> None:
        """What has none, or one that is closed, is told in another way."""
        self.assertFalse(has_left(object(), 10))
        self.ours.close()
        self.assertFalse(has_left(self.ours, 10))
