"""
Whose a request is that a proxy makes, and whether that one speaks TLS: Forwarded (RFC 7239), X-Forwarded-For and
X-Forwarded-Proto.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from twisted.web.http_headers import Headers

from storehouse.core.proxies import TrustedProxies, plain_address

__all__ = ["forwarded_address", "forwarded_is_secure"]

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_pair = re.compile(rb"[ \t]*(?:(" + _TOKEN + rb")=(" + _TOKEN + rb'|"(?:[^"\\]|\\.)*")[ \t]*)?([;,]|\Z)').match
_quoted = re.compile(rb"\\(.)")
_bracketed = re.compile(r"\[([0-9a-fA-F:.]+)\](?::[0-9]{1,5})?\Z").match
_with_port = re.compile(r"([0-9.]+):[0-9]{1,5}\Z").match


def forwarded_address(headers: Headers, trusted: TrustedProxies) -> str | None:
    """
    The address that a request of a proxy is made for: of those that its fields name, the last one that is not that of a proxy,
    since each proxy adds the one that it was asked by at the end, and the client can write whatever it wants before.

    @param headers: C{Headers} of the request.
    @param trusted: the proxies.
    @return: C{None} if there is none, if it is malformed or hidden, or if the two fields name different ones.
    """
    found = {
        _last(chain, trusted)
        for chain in (
            _listed(headers.getRawHeaders(b"X-Forwarded-For") or ()),
            [client for client, _ in _forwarded(headers.getRawHeaders(b"Forwarded") or ())],
        )
        if chain
    }
    return found.pop() if len(found) == 1 else None


def forwarded_is_secure(headers: Headers, trusted: TrustedProxies) -> bool | None:
    """
    Whether the client of a proxy's request speaks TLS: by C{X-Forwarded-Proto}, if each of its values is C{https}, since a client can
    write some of them; by C{Forwarded}, if the element that names the client has C{proto=https}. If both are there, both have to
    say so.

    @param headers: C{Headers} of the request.
    @param trusted: the proxies.
    @return: C{None} if the fields do not say it.
    """
    said: list[bool] = []
    protocols = _listed(headers.getRawHeaders(b"X-Forwarded-Proto") or ())
    if protocols:
        said.append(all(each.lower() == "https" for each in protocols))
    chain = _forwarded(headers.getRawHeaders(b"Forwarded") or ())
    if any(protocol for _, protocol in chain):
        said.append(_protocol(chain, trusted) == "https")
    return all(said) if said else None


def _protocol(chain: Sequence[tuple[str, str]], trusted: TrustedProxies) -> str:
    """The protocol of the element that names the client, as L{_last} finds it."""
    found = ""
    for text, protocol in reversed(chain):
        found, address = protocol, _address_in(text)
        if address is None or not trusted.trusts(address):
            break
    return found


def _last(chain: Sequence[str], trusted: TrustedProxies) -> str | None:
    address = None
    for text in reversed(chain):
        address = _address_in(text)
        if address is None or not trusted.trusts(address):
            break
    return address


def _address_in(text: str) -> str | None:
    """An address, perhaps with a port; one of IPv6 perhaps in brackets."""
    match = _bracketed(text) or _with_port(text)
    try:
        return plain_address(match[1] if match is not None else text)
    except ValueError:
        return None


def _listed(values: Iterable[bytes]) -> list[str]:
    return [word.strip().decode("latin-1") for value in values for word in value.split(b",")]


def _forwarded(values: Iterable[bytes]) -> list[tuple[str, str]]:
    """
    The C{for} and the C{proto}, in lower case, of each element; an empty text for what it lacks, and both for what is not
    well-formed.
    """
    chain: list[tuple[str, str]] = []
    for value in values:
        at = 0
        said = {b"for": "", b"proto": ""}
        while True:
            match = _pair(value, at)
            if match is None:
                chain.append(("", ""))
                break
            name, given, end = match.groups()
            if name is not None and name.lower() in said:
                plain = _quoted.sub(rb"\1", given[1:-1]) if given.startswith(b'"') else given
                said[name.lower()] = plain.decode("latin-1")
            if end != b";":
                chain.append((said[b"for"], said[b"proto"].lower()))
                said = {b"for": "", b"proto": ""}
            if not end:
                break
            at = match.end()
    return chain
