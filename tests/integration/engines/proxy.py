"""A way to a server that is slow, or ends, or leads nowhere after some bytes."""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.defer import maybeDeferred
from twisted.internet.protocol import ClientFactory, Factory, Protocol

__all__ = ["BadRoad", "reactor"]

#: As a value without Twisted's narrow types.
reactor: Any = _reactor

#: Bytes of the kernel's own that a proxy lets pile up before it: as few as on a slow road.
_WINDOW = 64 * 1024


class _There(Protocol):
    """Towards the server."""

    def __init__(self, here: _Here) -> None:
        self.here = here

    def connectionMade(self) -> None:
        self.here.opened(self)

    def dataReceived(self, data: bytes) -> None:
        if self.here.transport is not None:
            self.here.transport.write(data)

    def connectionLost(self, reason: Any = None) -> None:
        if self.here.transport is not None:
            self.here.transport.loseConnection()


class _Here(Protocol):
    """Towards the client."""

    there: _There | None = None
    waiting: Any = None

    def __init__(self, road: BadRoad) -> None:
        self.road = road

    def connectionMade(self) -> None:
        self.transport: Any
        self.transport.pauseProducing()
        self.road.open.append(self)
        factory = ClientFactory()
        factory.noisy = False
        factory.buildProtocol = lambda address: _There(self)  # type: ignore[method-assign]
        factory.clientConnectionFailed = lambda connector, reason: self.transport.abortConnection()  # type: ignore[method-assign]
        reactor.connectTCP("127.0.0.1", self.road.target, factory)

    def opened(self, there: _There) -> None:
        self.there = there
        self.transport.resumeProducing()

    def dataReceived(self, data: bytes) -> None:
        road = self.road
        road.passed += len(data)
        if road.stall_after is not None and road.passed > road.stall_after:
            self.transport.pauseProducing()
            return
        if road.cut_after is not None and road.passed > road.cut_after:
            self.transport.abortConnection()
            return
        if self.there is not None and self.there.transport is not None:
            self.there.transport.write(data)
        road.on_passed()
        if road.rate:
            self.transport.pauseProducing()
            self.waiting = reactor.callLater(len(data) / road.rate, self._more)

    def _more(self) -> None:
        self.waiting = None
        self.transport.resumeProducing()

    def abort(self) -> None:
        """End at once."""
        if self.waiting is not None:
            self.waiting.cancel()
            self.waiting = None
        self.transport.abortConnection()

    def connectionLost(self, reason: Any = None) -> None:
        self.road.open.remove(self)
        if self.waiting is not None:
            self.waiting.cancel()
            self.waiting = None
        if self.there is not None and self.there.transport is not None:
            self.there.transport.loseConnection()


class BadRoad(Factory):
    """
    Leads from a port of its own to another one.

    @ivar target: that port.
    @ivar rate: bytes that pass in a second, towards the server; 0 for all there are.
    @ivar cut_after: bytes after which connections are cut; C{None} for never.
    @ivar stall_after: bytes after which nothing passes any more.
    @ivar passed: bytes that did.
    @ivar on_passed: called whenever some did.
    """

    noisy = False

    def __init__(self, target: int) -> None:
        self.target = target
        self.rate = 0.0
        self.cut_after: int | None = None
        self.stall_after: int | None = None
        self.passed = 0
        self.on_passed: Any = lambda: None
        self.open: list[_Here] = []
        self._port: Any = None

    def buildProtocol(self, address: Any) -> _Here:
        return _Here(self)

    def listen(self, context: Any = None) -> int:
        """Begin; with TLS if there is a context. @return: the port."""
        if context is None:
            self._port = reactor.listenTCP(0, self, interface="127.0.0.1")
        else:
            self._port = reactor.listenSSL(0, self, context, interface="127.0.0.1")
        # Inherited by what is accepted.
        self._port.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _WINDOW)
        return int(self._port.getHost().port)

    def repair(self) -> None:
        """From now on it is a good one."""
        self.rate = 0.0
        self.cut_after = self.stall_after = None

    async def close(self) -> None:
        """End, with all connections."""
        await maybeDeferred(self._port.stopListening)
        for each in list(self.open):
            each.abort()
