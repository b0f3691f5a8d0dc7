"""Where an endpoint string would listen, told without listening there."""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from typing import Any

import attrs
from twisted.internet.endpoints import serverFromString
from twisted.internet.protocol import Factory
from twisted.internet.testing import MemoryReactor

from storehouse.core.tls import OPENSSL_ERRORS, openssl_reason

__all__ = ["Address", "find_address", "is_loopback"]


@attrs.frozen
class Address:
    """
    Where a door listens.

    @ivar scheme: C{http} or C{https}; C{unix} for a socket file; empty when it cannot be told.
    @ivar host: the address of the interface, or the path of the socket file; empty for all interfaces.
    @ivar port: the TCP port; 0 when there is none yet.
    """

    scheme: str
    host: str = ""
    port: int = 0

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach it.  What cannot be told counts as not."""
        if self.scheme == "unix":
            return True
        if not self.scheme:
            return False
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host.partition("%")[0]).is_loopback
        except ValueError:
            return False

    @property
    def host_text(self) -> str:
        """The address for people."""
        if not self.scheme:
            return "an address that cannot be told"
        return self.host or "all interfaces"

    @property
    def url(self) -> str:
        """
        The base of the URLs to use, or the name of the socket file; a listener on all interfaces is named by
        the loopback address.
        """
        if self.scheme == "unix":
            return f"unix:{self.host}"
        host = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)
        return f"{self.scheme or 'http'}://{f'[{host}]' if ':' in host else host}:{self.port}"


def is_loopback(address: Any) -> bool:
    """Whether an end of a connection, an C{IAddress}, is one by which a machine reaches itself; not that of a socket file."""
    return _is_loopback(getattr(address, "host", ""))


@lru_cache(1024)
def _is_loopback(host: str) -> bool:
    try:
        found: Any = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return bool((getattr(found, "ipv4_mapped", None) or found).is_loopback)


def find_address(endpoint: str) -> Address:
    """
    Find where an endpoint string would listen.

    @raise ValueError: if it is not the description of an endpoint; the text says why.
    """
    memory: Any = MemoryReactor()
    try:
        server = serverFromString(memory, endpoint)
    except KeyError as error:
        raise ValueError(f"{error} is missing") from None
    except OPENSSL_ERRORS as error:
        raise ValueError(f"its certificate or key cannot be used: {openssl_reason(error)}") from None
    except Exception as error:
        raise ValueError(str(error) or type(error).__name__) from None
    try:
        server.listen(Factory()).addErrback(lambda failure: None)
    except Exception:
        return Address("")
    if memory.unixServers:
        return Address("unix", str(memory.unixServers[0][0]))
    for scheme, servers, interface in (("http", memory.tcpServers, 3), ("https", memory.sslServers, 4)):
        if servers:
            return Address(scheme, str(servers[0][interface] or ""), int(servers[0][0]))
    return Address("")
