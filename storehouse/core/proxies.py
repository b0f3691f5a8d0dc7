"""Proxies that are trusted to name their clients."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    # Commands read settings, and with them this; they start in a fifth of a second without Twisted.
    from twisted.internet.interfaces import IAddress

__all__ = ["UNIX", "TrustedProxies", "plain_address"]

#: What connections to socket files are called.
UNIX = "unix"


def plain_address(text: str) -> str:
    """
    An address as it is compared and logged: without a zone, and one of IPv4 as that, however it is written.

    @raise ValueError: if it is not an address.
    """
    address = ip_address(text.partition("%")[0])
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return str(address)


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
            if word.lower() == UNIX:
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
