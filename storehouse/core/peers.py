"""Addresses of clients: which of them count as one, and which are those of proxies that are trusted to name their clients."""

from __future__ import annotations

import socket
import struct
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    # Commands read settings, and with them this; they start in a fifth of a second without Twisted.
    from twisted.internet.interfaces import IAddress

__all__ = ["NOBODY", "TrustedProxies", "is_loopback", "network_of", "plain_address", "source_of"]

#: What names connections to socket files among proxies.
_UNIX = "unix"

#: C{struct ucred} of Linux: process, user, group.
_credentials = struct.Struct("3i")


def plain_address(text: str) -> str:
    """
    An address as it is compared and logged: without a zone, and one of IPv4 as that, however it is written.

    @raise ValueError: if it is not an address.
    """
    address = ip_address(text.partition("%")[0])
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return str(address)


def network_of(peer: str) -> str:
    """What counts as one client: an address of IPv4, or the 2^64 of IPv6 that one host is given; any other text by itself."""
    if ":" not in peer:
        return peer[:100]
    try:
        address = ip_address(plain_address(peer))
    except ValueError:
        return peer[:100]
    return str(IPv6Address(int(address) >> 64 << 64)) if isinstance(address, IPv6Address) else str(address)


def is_loopback(address: IAddress) -> bool:
    """Whether an end of a connection, an C{IAddress}, is one by which a machine reaches itself; not that of a socket file."""
    return _is_loopback(getattr(address, "host", ""))


def source_of(transport: object) -> str:
    """
    Where a connection comes from, for an audit: the address of its peer; at a socket file C{unix uid=UID pid=PID}, of the process
    that has connected, where the system tells (Linux), else C{unix}; empty if nothing is known.

    @param transport: an C{ITransport}.
    """
    peer = getattr(transport, "getPeer", lambda: None)()
    host = getattr(peer, "host", None)
    if host is not None:
        return str(host)
    if peer is None or not hasattr(peer, "name"):
        return ""
    try:
        data = transport.getHandle().getsockopt(  # type: ignore[attr-defined]
            socket.SOL_SOCKET, socket.SO_PEERCRED, _credentials.size
        )
        pid, uid, _ = _credentials.unpack(data)
    except (AttributeError, OSError, struct.error):
        return _UNIX
    return f"{_UNIX} uid={uid} pid={pid}"


@lru_cache(1024)
def _is_loopback(host: str) -> bool:
    try:
        return ip_address(plain_address(host)).is_loopback
    except ValueError:
        return False


class TrustedProxies:
    """
    The proxies that are trusted to name the clients for which they make connections and requests.

    @param text: addresses and networks with commas between them; C{unix} for all that connect to a socket file.
    @raise ValueError: naming the word that is neither.
    """

    def __init__(self, text: str = "") -> None:
        self._unix = False
        networks: list[IPv4Network | IPv6Network] = []
        words = [word.strip() for word in text.split(",") if word.strip()]
        if text.strip() and not words:
            raise ValueError(f"{text!r} does not name a proxy")
        for word in words:
            if word.lower() == _UNIX:
                self._unix = True
                continue
            try:
                networks.append(ip_network(word))
            except ValueError as error:
                raise ValueError(f"{word!r} is neither an address nor a network, such as 10.0.0.0/8: {error}") from None
        self._networks = tuple(networks)

    def __bool__(self) -> bool:
        return self._unix or bool(self._networks)

    def trusts(self, address: str) -> bool:
        """Whether an address is that of a proxy."""
        if not self._networks:
            return False
        try:
            given = ip_address(plain_address(address))
        except ValueError:
            return False
        return any(given in network for network in self._networks)

    def trusts_peer(self, peer: IAddress | None) -> bool:
        """
        Whether a connection is one of a proxy.

        @param peer: an C{IAddress}: one without a host is that of a socket file.
        """
        host = getattr(peer, "host", None)
        return self._unix if host is None else self.trusts(host)


#: No proxy is trusted.
NOBODY = TrustedProxies()
