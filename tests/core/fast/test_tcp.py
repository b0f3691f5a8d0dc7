"""Connections that send at once, and the reactor made for them, on real sockets."""

import errno
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from twisted.internet import tcp
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost
from twisted.internet.protocol import Factory, Protocol
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase

from storehouse.core.fast.transports import EagerServer, accept_few, make_eager
from tests.integration.process import PATIENCE

_server = """
import sys
from storehouse.core.fast import reactor as fastreactor
fastreactor.install()
from twisted.internet import reactor
from twisted.internet.protocol import Factory, Protocol
from storehouse.core.fast.transports import make_eager

class Echo(Protocol):
    def dataReceived(self, data):
        if data == b"fail":
            raise ZeroDivisionError
        if data == b"stop":
            reactor.stop()
        self.transport.write(data)

port = reactor.listenTCP(0, Factory.forProtocol(Echo), interface="127.0.0.1")
assert make_eager(port)
print(type(reactor).__name__, port.getHost().port, flush=True)
reactor.run()
print("ended", flush=True)
"""


class _Refusing:
    """A socket that takes only so much, or fails."""

    def __init__(self, real: socket.socket, take: Callable[[bytes], int]) -> None:
        self._real = real
        self._take = take

    def send(self, data: bytes) -> int:
        return self._take(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


class AcceptTests(TestCase):
    """L{accept_few}."""

    def test_many_at_once(self) -> None:
        """Of many connections that wait a turn takes a few, and the next ones take the rest."""
        from twisted.internet import reactor

        factory = Factory.forProtocol(Protocol)
        made: list[Any] = []
        build = factory.buildProtocol
        factory.buildProtocol = lambda address: made.append(address) or build(address)  # type: ignore[method-assign,func-returns-value]
        port: Any = reactor.listenTCP(0, factory, backlog=64, interface="127.0.0.1")  # type: ignore[attr-defined]
        self.addCleanup(port.stopListening)
        accept_few(port)
        clients = [socket.create_connection(("127.0.0.1", port.getHost().port)) for _ in range(30)]
        counts = []
        for _ in range(5):
            port.doRead()
            counts.append(len(made))
        self.assertEqual(counts, [8, 16, 24, 30, 30])
        for client in clients:
            client.close()
        for reader in list(reactor.getReaders()):  # type: ignore[attr-defined]
            if isinstance(reader, tcp.Server):
                reader.abortConnection()

    def test_other_kinds(self) -> None:
        accept_few(object())


class EagerServerTests(TestCase):
    """L{EagerServer}."""

    async def connect(self) -> tuple[socket.socket, Any, Deferred[Exception]]:
        """A client's socket, the server's transport, and the end of the connection."""
        from twisted.internet import reactor

        accepted: Deferred[Any] = Deferred()
        lost: Deferred[Exception] = Deferred()

        class Accepting(Protocol):
            def connectionMade(self) -> None:
                accepted.callback(self.transport)

            def connectionLost(self, reason: Failure = None) -> None:  # type: ignore[assignment]
                lost.callback(reason.value)

        port = reactor.listenTCP(0, Factory.forProtocol(Accepting), interface="127.0.0.1")  # type: ignore[attr-defined]
        self.addCleanup(port.stopListening)
        self.assertTrue(make_eager(port))
        client = socket.create_connection(("127.0.0.1", port.getHost().port))
        self.addCleanup(client.close)
        transport = await accepted
        self.assertIsInstance(transport, EagerServer)
        return client, transport, lost

    async def test_at_once(self) -> None:
        """What is written is on its way before the reactor turns."""
        client, transport, lost = await self.connect()
        transport.write(b"one")
        transport.writeSequence([b"two", b"three"])
        client.setblocking(False)
        self.assertEqual(client.recv(100), b"onetwothree")
        transport.loseConnection()
        await lost

    async def test_rest_is_queued(self) -> None:
        """What the kernel does not take is sent later, in order, and what is written meanwhile behind it."""
        client, transport, lost = await self.connect()
        real = transport.socket
        transport.socket = _Refusing(real, lambda data: real.send(data[:2]))
        transport.write(b"abcdef")
        transport.write(b"ghi")
        transport.socket = real
        transport.loseConnection()
        await lost
        self.assertEqual(client.recv(100), b"abcdefghi")

    async def test_asks_for_more(self) -> None:
        """A producer that waits to be asked for each piece is asked until it has none."""
        client, transport, lost = await self.connect()
        pieces = [b"one", b"two", b"three"]

        class Pieces:
            def resumeProducing(self) -> None:
                if pieces:
                    transport.write(pieces.pop(0))
                else:
                    transport.unregisterProducer()
                    transport.loseConnection()

            def stopProducing(self) -> None: ...

        transport.registerProducer(Pieces(), False)
        await lost
        self.assertEqual(client.recv(100), b"onetwothree")

    async def test_errors_as_usual(self) -> None:
        """A failing send is found by the queue's own attempt, which ends the connection as usual."""
        _, transport, lost = await self.connect()

        def fail(data: bytes) -> int:
            raise OSError(errno.EPIPE, "broken")

        transport.socket = _Refusing(transport.socket, fail)
        transport.write(b"abc")
        self.assertIsInstance(await lost, ConnectionLost)

    async def test_after_the_end(self) -> None:
        """A write to a connection that is closed goes nowhere."""
        client, transport, lost = await self.connect()
        transport.loseConnection()
        await lost
        transport.write(b"late")
        self.assertEqual(client.recv(100), b"")


class MakeEagerTests(SynchronousTestCase):
    """L{make_eager}."""

    def test_other_ports(self) -> None:
        """Ports that are not plain TCP stay as they are."""

        class Own(tcp.Port):
            transport = EagerServer

        self.assertFalse(make_eager(object()))
        self.assertFalse(make_eager(Own(0, Factory())))


class FastReactorTests(SynchronousTestCase):
    """L{storehouse.core.fast.reactor}."""

    def test_serves(self) -> None:
        """It serves; a protocol that raises loses its connection, is logged, and costs nobody else theirs."""
        root = os.path.abspath(os.path.join(__file__, *[os.pardir] * 4))
        environment = {**os.environ, "PYTHONPATH": root}
        with subprocess.Popen(
            [sys.executable, "-c", _server], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        ) as server:
            assert server.stdout is not None and server.stderr is not None
            name, port = server.stdout.readline().split()
            self.assertEqual(name, "FastEPollReactor")
            with (
                socket.create_connection(("127.0.0.1", int(port)), PATIENCE) as good,
                socket.create_connection(("127.0.0.1", int(port)), PATIENCE) as bad,
            ):
                good.sendall(b"hello")
                self.assertEqual(good.recv(100), b"hello")
                bad.sendall(b"fail")
                self.assertEqual(bad.recv(100), b"")
                good.sendall(b"still there")
                self.assertEqual(good.recv(100), b"still there")
                good.sendall(b"stop")
                self.assertEqual(server.stdout.read(), "ended\n")
            server.stderr.read()
            self.assertEqual(server.wait(), 0)
