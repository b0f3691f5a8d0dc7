"""Connections that proxies make for others, and whose first bytes say for whom: see L{storehouse.core.proxyprotocol}."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IStreamServerEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from zope.interface import implementer

from storehouse.core.peers import TrustedProxies
from storehouse.core.proxyprotocol import decode_proxy
from storehouse.errors import InvalidRequest

__all__ = ["ProxiedFactory", "proxied_endpoint"]


class _Proxied(Protocol):
    """A connection of a proxy, until it is known whose it is; then it is handed over, and costs nothing more."""

    _log = Logger()
    transport: Any

    def __init__(self, factory: ProxiedFactory) -> None:
        self._factory = factory
        self._data = b""
        self._late: Any = None

    def connectionMade(self) -> None:
        self._late = self._factory.reactor.callLater(self._factory.timeout, self._give_up)

    def connectionLost(self, reason: Any = connectionDone) -> None:
        self._stop()

    def _stop(self) -> None:
        late, self._late = self._late, None
        if late is not None:
            late.cancel()

    def _give_up(self) -> None:
        self._late = None
        self.transport.abortConnection()

    def dataReceived(self, data: bytes) -> None:
        self._data += data
        try:
            decoded = decode_proxy(self._data)
        except InvalidRequest as error:
            peer = getattr(self.transport.getPeer(), "host", "-")
            self._log.warn("a connection of the proxy {peer} is broken off: {error}", peer=peer, error=error.detail)
            self._stop()
            self.transport.abortConnection()
            return
        if decoded is None:
            return
        self._stop()
        self._hand_over(*decoded)

    def _hand_over(self, size: int, address: Any) -> None:
        transport = self.transport
        if address is not None:
            transport.getPeer = lambda: address
        protocol = self._factory.wrapped.buildProtocol(transport.getPeer())
        if protocol is None:
            transport.abortConnection()
            return
        transport.protocol = protocol
        protocol.makeConnection(transport)
        rest, self._data = self._data[size:], b""
        if rest:
            protocol.dataReceived(rest)


class ProxiedFactory(Factory):
    """
    Makes the connections of another factory. Those of proxies may begin with a head that says whose they are; to all others it
    is nothing but bytes of theirs.

    @param trusted: the proxies.
    @param timeout: seconds in which the first bytes have to come.
    """

    noisy = False

    def __init__(self, wrapped: Any, trusted: TrustedProxies, reactor: Any, timeout: float = 60.0) -> None:
        self.wrapped = wrapped
        self.reactor = reactor
        self.timeout = timeout
        self._trusted = trusted

    def doStart(self) -> None:
        """It is listened."""
        self.wrapped.doStart()

    def doStop(self) -> None:
        """It is not listened any more."""
        self.wrapped.doStop()

    def buildProtocol(self, addr: Any) -> Any:
        """A connection comes in."""
        return _Proxied(self) if self._trusted.trusts_peer(addr) else self.wrapped.buildProtocol(addr)


@implementer(IStreamServerEndpoint)
class _ProxiedEndpoint:
    """An endpoint whose connections may be those of proxies."""

    def __init__(self, below: Any, trusted: TrustedProxies, reactor: Any) -> None:
        self._below = below
        self._trusted = trusted
        self._reactor = reactor

    def listen(self, factory: Any) -> Deferred[Any]:
        """Listen."""
        listening: Deferred[Any] = self._below.listen(ProxiedFactory(factory, self._trusted, self._reactor))
        return listening


def proxied_endpoint(below: Any, trusted: TrustedProxies, reactor: Any) -> Any:
    """An endpoint at which heads of the PROXY protocol are understood, if there are proxies to be trusted."""
    return _ProxiedEndpoint(below, trusted, reactor) if trusted else below
