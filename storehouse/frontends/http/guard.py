"""
Browsers that somebody else's page has make requests: a door that asks nobody who they are, or that only this machine
reaches, must not serve that page.

Two ways are shut. A page may send a request to another site (CSRF); browsers say so in C{Sec-Fetch-Site} and C{Origin}
(Fetch standard, section 3.2; Fetch Metadata, section 2.3), which pages cannot write themselves. And the name of a
page's own site may be made to point at this machine (DNS rebinding); then the C{Host} field has a name that is none of
ours.
"""

from __future__ import annotations

from functools import lru_cache
from ipaddress import ip_address

import attrs

from storehouse.core.tls.contexts import own_names
from storehouse.errors import ForgedRequest
from storehouse.frontends.http.errors import Misdirected
from storehouse.frontends.http.request import StreamingRequest
from storehouse.frontends.http.requestline import host_name

__all__ = ["Guard", "is_browser", "refuse_browsers", "refuse_other_sites"]

#: Methods that change nothing (RFC 9110, section 9.2.1).
_SAFE = frozenset({b"GET", b"HEAD", b"OPTIONS", b"TRACE"})


@attrs.frozen
class Guard:
    """
    Refuses what other sites' pages have browsers ask for.

    @ivar hosts: names of hosts, in lower case, by which the door is reached, beside IP addresses, C{localhost} and the names
        of its certificate; C{*.NAME} is all names below one.
    @ivar checks_origins: whether requests that change something are refused if a page of another site makes them. Not
        for a door that looks at who makes a request.
    """

    hosts: frozenset[str] = frozenset()
    checks_origins: bool = True

    def knows(self, host: bytes) -> bool:
        """Whether a host may be named on loopback, whatever the certificate."""
        name = host.decode("latin-1")
        if not name or name == "localhost" or name.endswith(".localhost") or _is_address(name):
            return True
        return _is_among(name, self.hosts)

    def check(self, request: StreamingRequest) -> None:
        """
        Look at the head of a request.

        @raise Misdirected: if it came over loopback for a host that is not this one.
        @raise ForgedRequest: if a page of another site has it made, and it would change something.
        """
        channel = request.channel
        if channel.at_loopback:
            host = host_name(_last(request, b"Host"))
            if host and not self.knows(host) and not _is_among(host.decode("latin-1"), own_names(channel.transport)):
                raise Misdirected(
                    f"the host {host[:200].decode('latin-1')} is not a name of this server: reach it as localhost or by its address,"
                    " or start it with --allowed-host if the name is right, such as that of a proxy before it"
                )
        if self.checks_origins and request.method not in _SAFE:
            refuse_other_sites(request)


def refuse_other_sites(request: StreamingRequest) -> None:
    """@raise ForgedRequest: if a page of another site has the browser make the request."""
    headers = request.requestHeaders
    sites = {value.lower() for value in headers.getRawHeaders(b"Sec-Fetch-Site", [])}
    if sites and sites <= {b"same-origin", b"none"}:
        return
    ours = {scheme + _last(request, b"Host").lower() for scheme in (b"http://", b"https://")}
    origins = {value.lower() for value in headers.getRawHeaders(b"Origin", [])}
    if sites - {b"same-site"} or not origins <= ours or (sites and not origins):
        raise ForgedRequest("a page of another site has made this request: nothing was changed")


def is_browser(request: StreamingRequest) -> bool:
    """Whether a browser makes the request: all call themselves Mozilla, and most say more."""
    headers = request.requestHeaders
    return any(
        headers.hasHeader(name) for name in (b"Origin", b"Sec-Fetch-Site", b"Sec-Fetch-Mode", b"Sec-Fetch-Dest")
    ) or _last(request, b"User-Agent").startswith(b"Mozilla/")


def refuse_browsers(request: StreamingRequest) -> None:
    """
    For requests that change something although they are a C{GET}, as programs from before make them: any page can have a
    browser make one.

    @raise ForgedRequest: if a browser does.
    """
    if request.method in _SAFE and is_browser(request):
        raise ForgedRequest(
            "a GET that changes something is not taken from browsers, since any page can make one: use POST"
        )


def _last(request: StreamingRequest, name: bytes) -> bytes:
    return (request.requestHeaders.getRawHeaders(name) or [b""])[-1]


def _is_among(name: str, known: frozenset[str]) -> bool:
    return name in known or any(each.startswith("*.") and name.endswith(each[1:]) for each in known)


@lru_cache(1024)
def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
