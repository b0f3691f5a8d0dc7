"""
The PROXY protocol, versions 1 and 2: the head that a proxy sends before the bytes of a connection, with the client's address
(https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt).

Version 1 is a line of at most 107 bytes::

    PROXY TCP4 192.0.2.1 198.51.100.2 51234 443\\r\\n
    PROXY UNKNOWN\\r\\n

Version 2, of which the numbers are big-endian::

    12 bytes   0D 0A 0D 0A 00 0D 0A 51 55 49 54 0A
     1 byte    version (2) in the upper half; command in the lower: 0 LOCAL, 1 PROXY
     1 byte    family in the upper half: 1 IPv4, 2 IPv6, 3 UNIX, 0 unknown; transport in the lower: 1 stream
     2 bytes   length of what follows
               source address, destination address, source port, destination port; then further fields, each of
               1 byte type, 2 bytes length and a value. One is looked at: 20 (hex), of TLS, whose first byte has the
               bit 1 if the client speaks TLS with the proxy
"""

from __future__ import annotations

import re
import socket
from ipaddress import IPv4Address as V4
from ipaddress import IPv6Address as V6
from typing import Any, NamedTuple

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IListeningPort,
    IProtocol,
    IProtocolFactory,
    IReactorTime,
    IStreamServerEndpoint,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from storehouse.core.proxies import TrustedProxies
from storehouse.errors import InvalidRequest

__all__ = ["Decoded", "ProxiedFactory", "decode_proxy", "proxied_endpoint"]

_SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
_HEAD = 16
_WORD = b"PROXY "

#: Bytes of a line of version 1, at most, and of what follows the head of version 2.
_MOST_LINE = 107
_MOST_FIELDS = 2048

_line = re.compile(rb"PROXY (TCP4|TCP6) ([0-9a-fA-F.:]{2,45}) ([0-9a-fA-F.:]{2,45}) ([0-9]{1,5}) ([0-9]{1,5})\Z").match

#: The further field of TLS, and the bit of its first byte that the client speaks it.
_TLS = 0x20
_SPEAKS_TLS = 1


class Decoded(NamedTuple):
    """
    @ivar size: how many bytes there were of a head.
    @ivar address: that it names; C{None} for that of the connection.
    @ivar is_secure: whether the client speaks TLS with the proxy; C{None} if the header does not say.
    """

    size: int
    address: IPv4Address | IPv6Address | None = None
    is_secure: bool | None = None


def decode_proxy(data: bytes) -> Decoded | None:
    """
    Decode the head of a connection, of which some bytes have come.

    @return: of size 0 if there is no head, and the bytes are the client's; C{None} if more bytes are needed.
    @raise InvalidRequest: if it begins as one, and is not well-formed.
    """
    if data.startswith(_SIGNATURE):
        return _decode_2(data)
    if data.startswith(_WORD):
        return _decode_1(data)
    if _SIGNATURE.startswith(data) or _WORD.startswith(data):
        return None
    return Decoded(0)


def _decode_1(data: bytes) -> Decoded | None:
    end = data.find(b"\r\n", 0, _MOST_LINE)
    if end < 0:
        if len(data) >= _MOST_LINE or b"\n" in data:
            raise InvalidRequest("the line of the PROXY protocol has no end")
        return None
    line = data[:end]
    if line == b"PROXY UNKNOWN" or line.startswith(b"PROXY UNKNOWN "):
        return Decoded(end + 2)
    found = _line(line)
    if found is None:
        raise InvalidRequest("the line of the PROXY protocol is not well-formed")
    family, source, destination, *ports = found.groups()
    kind, address_type = (V4, IPv4Address) if family == b"TCP4" else (V6, IPv6Address)
    try:
        kind(destination.decode("ascii"))
        address = str(kind(source.decode("ascii")))
        numbers = [int(port) for port in ports]
    except ValueError as error:
        raise InvalidRequest(f"the line of the PROXY protocol has no address: {error}") from None
    if max(numbers) > 65535:
        raise InvalidRequest("the line of the PROXY protocol has a port beyond 65535")
    return Decoded(end + 2, address_type("TCP", address, numbers[0]))


def _decode_2(data: bytes) -> Decoded | None:
    if len(data) < _HEAD:
        return None
    version, command = data[12] >> 4, data[12] & 15
    length = int.from_bytes(data[14:16], "big")
    if version != 2 or command > 1:
        raise InvalidRequest("the head of the PROXY protocol has another version or an unknown command")
    if length > _MOST_FIELDS:
        raise InvalidRequest(f"the head of the PROXY protocol has more than {_MOST_FIELDS} bytes")
    end = _HEAD + length
    if len(data) < end:
        return None
    if command == 0:
        return Decoded(end)
    family, transport = data[13] >> 4, data[13] & 15
    if family not in (1, 2):
        return Decoded(end)  # a socket file, or unknown
    size, name, address_type = (4, socket.AF_INET, IPv4Address) if family == 1 else (16, socket.AF_INET6, IPv6Address)
    if transport != 1 or length < 2 * size + 4:
        raise InvalidRequest("the head of the PROXY protocol is too short for its addresses, or of no stream")
    ports = _HEAD + 2 * size
    port = int.from_bytes(data[ports : ports + 2], "big")
    address = address_type("TCP", socket.inet_ntop(name, data[_HEAD : _HEAD + size]), port)
    return Decoded(end, address, _is_secure(data[ports + 4 : end]))


def _is_secure(fields: bytes) -> bool | None:
    """What the further fields say of TLS."""
    at = 0
    while at + 3 <= len(fields):
        kind, length = fields[at], int.from_bytes(fields[at + 1 : at + 3], "big")
        value = fields[at + 3 : at + 3 + length]
        if len(value) < length:
            break
        if kind == _TLS:
            return bool(value and value[0] & _SPEAKS_TLS)
        at += 3 + length
    return None


# -- connections of proxies ------------------------------------------------------------------------


class _Proxied(Protocol):
    """A connection of a proxy until its head has come. Then the protocol behind it gets the transport, and this is not in the way."""

    _log = Logger()
    transport: Any

    def __init__(self, factory: ProxiedFactory) -> None:
        self._factory = factory
        self._data = b""
        self._late: IDelayedCall | None = None

    def connectionMade(self) -> None:
        self._late = self._factory.reactor.callLater(self._factory.timeout, self._give_up)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
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
            self._log.warn("a connection of the proxy {peer} is aborted: {error}", peer=peer, error=error.detail)
            self._stop()
            self.transport.abortConnection()
            return
        if decoded is None:
            return
        self._stop()
        self._hand_over(decoded)

    def _hand_over(self, decoded: Decoded) -> None:
        transport, size, address = self.transport, decoded.size, decoded.address
        if address is not None:
            transport.getPeer = lambda: address
        if decoded.is_secure is not None:
            # TLS above this transport looks up here the attributes that it lacks.
            transport.proxied_tls = decoded.is_secure
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
    Makes the connections of another factory. Those of proxies may begin with a head that names the client; on all others it
    would be bytes of the client like any.

    @param trusted: the proxies.
    @param timeout: seconds in which the first bytes have to come.
    """

    noisy = False

    def __init__(
        self, wrapped: IProtocolFactory, trusted: TrustedProxies, reactor: IReactorTime, timeout: float = 60.0
    ) -> None:
        self.wrapped = wrapped
        self.reactor = reactor
        self.timeout = timeout
        self._trusted = trusted

    def doStart(self) -> None:
        self.wrapped.doStart()

    def doStop(self) -> None:
        self.wrapped.doStop()

    def buildProtocol(self, addr: IAddress | None) -> IProtocol | None:  # type: ignore[override]
        return _Proxied(self) if self._trusted.trusts_peer(addr) else self.wrapped.buildProtocol(addr)  # type: ignore[arg-type]


@implementer(IStreamServerEndpoint)
class _ProxiedEndpoint:
    def __init__(self, below: IStreamServerEndpoint, trusted: TrustedProxies, reactor: IReactorTime) -> None:
        self._below = below
        self._trusted = trusted
        self._reactor = reactor

    def listen(self, factory: IProtocolFactory) -> Deferred[IListeningPort]:
        listening: Deferred[IListeningPort] = self._below.listen(ProxiedFactory(factory, self._trusted, self._reactor))
        return listening


def proxied_endpoint(
    below: IStreamServerEndpoint, trusted: TrustedProxies | None, reactor: IReactorTime
) -> IStreamServerEndpoint:
    """An endpoint that understands the PROXY protocol from the proxies that are trusted; C{below} itself if there are none."""
    return below if trusted is None or not trusted else _ProxiedEndpoint(below, trusted, reactor)
