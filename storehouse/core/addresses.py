"""Where an endpoint string would listen, found out without listening there."""

from __future__ import annotations

import ipaddress
import re

import attrs
from twisted.internet.endpoints import serverFromString
from twisted.internet.protocol import Factory

from storehouse.core.sockets import AskedReactor
from storehouse.core.tls.contexts import OPENSSL_ERRORS, openssl_reason

__all__ = ["Address", "find_address"]


@attrs.frozen
class Address:
    """
    Where a door listens.

    @ivar scheme: C{http} or C{https}; C{unix} for a socket file; empty when it is not known.
    @ivar host: the address of the interface, or the path of the socket file; empty for all interfaces.
    @ivar port: the TCP port; 0 when there is none yet.
    """

    scheme: str
    host: str = ""
    port: int = 0

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach it; not if that is not known."""
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
            return "an address that is not known"
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


#: What Python says of values and arguments, and what that means for somebody who wrote an endpoint.
_meanings = (
    (r"invalid literal for int\(\) with base (\d+): ('.*')", r"\2 is not a number (of base \1)"),
    (r"missing \d+ required positional arguments?: '(\w+)'", r"it has no \1"),
    (r"got an unexpected keyword argument ('.*')", r"it takes no \1"),
    (r"takes .* positional arguments? but", r"it has too many parts; a colon within one is written \\:"),
    (r"list index out of range", r"there is no such file descriptor"),
)


def _reason(error: Exception) -> str:
    text = str(error) or type(error).__name__
    for pattern, meaning in _meanings:
        found = re.search(pattern, text)
        if found is not None:
            return found.expand(meaning)
    return text


def find_address(endpoint: str) -> Address:
    """
    Find where an endpoint string would listen.

    @raise ValueError: if it is not the description of an endpoint; the text says why.
    """
    memory = AskedReactor()
    try:
        server = serverFromString(memory, endpoint)
    except KeyError as error:
        raise ValueError(f"{error} is missing") from None
    except IsADirectoryError as error:
        raise ValueError(f"{error.filename} is a directory, not a file") from None
    except OSError as error:
        raise ValueError(f"{error.filename or endpoint} cannot be read: {error.strerror or error}") from None
    except OPENSSL_ERRORS as error:
        raise ValueError(f"its certificate or key cannot be used: {openssl_reason(error)}") from None
    except Exception as error:
        raise ValueError(_reason(error)) from None
    try:
        server.listen(Factory()).addErrback(lambda failure: None)
    except Exception:
        return Address("")
    if memory.unix:
        if not memory.unix[0][0]:
            raise ValueError("it has no path")
        return Address("unix", str(memory.unix[0][0]))
    for scheme, servers, interface in (("http", memory.tcp, 3), ("https", memory.ssl, 4)):
        if servers:
            if not 0 <= int(servers[0][0]) <= 65535:
                raise ValueError(f"{servers[0][0]} is not a port: ports are 0 to 65535")
            return Address(scheme, str(servers[0][interface] or ""), int(servers[0][0]))
    return Address("")
