"""
Request lines and the Host field (RFC 9112, section 3; RFC 9110, sections 4.2 and 7.2).

What a line names is brought into one form, the origin form, so that nothing behind this knows of the others.
"""

from __future__ import annotations

import re
from ipaddress import AddressValueError, IPv6Address

import attrs

from storehouse.frontends.http.errors import AmbiguousFraming, MethodUnknown, VersionNotSpoken

__all__ = ["RequestLine", "host_name", "parse_line"]

_line = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+) ([\x21-\x7e]+) HTTP/([0-9])\.([0-9])\Z").match
_absolute = re.compile(rb"([A-Za-z][A-Za-z0-9+.\-]*)://([^/?]*)(.*)\Z").match
_host = re.compile(
    rb"(?:\[([0-9A-Fa-f:.]{2,45})\]|((?:[A-Za-z0-9\-._~!$&'()*+,;=]|%[0-9A-Fa-f]{2})*))(?::([0-9]*))?\Z"
).match


@attrs.frozen
class RequestLine:
    """
    What a request line says.

    @ivar target: a path with its query, or C{*}.
    @ivar version: C{HTTP/1.0} or C{HTTP/1.1}, as which later ones of HTTP/1 are read.
    @ivar scheme: in lower case, if the line names one.
    @ivar authority: the host and port that the line names; then the Host field does not count.
    """

    method: bytes
    target: bytes
    version: bytes
    scheme: bytes = b""
    authority: bytes | None = None


def host_name(value: bytes) -> bytes | None:
    """
    The host that a Host field names, in lower case, without its port and without the dot or brackets around it.

    @return: C{None} if the value is malformed.
    """
    match = _host(value)
    if match is None:
        return None
    literal, name, port = match.groups()
    if port and (len(port) > 5 or int(port) > 65535):
        return None
    if literal is not None:
        try:
            return str(IPv6Address(literal.decode("ascii"))).encode("ascii")
        except AddressValueError:
            return None
    if not name:
        return b"" if not value else None
    return bytes(name.lower().removesuffix(b"."))


def parse_line(line: bytes) -> RequestLine:
    """
    Read a request line, without its end.

    @raise AmbiguousFraming: if it is malformed.
    @raise VersionNotSpoken: if it is of another HTTP than HTTP/1.
    @raise MethodUnknown: if it asks for a tunnel.
    """
    match = _line(line)
    if match is None:
        raise AmbiguousFraming(
            "the request line is not METHOD TARGET HTTP/1.1; in the target spaces, control characters and all that is not ASCII are percent-encoded"
        )
    method, target, major, minor = match.groups()
    if major != b"1":
        raise VersionNotSpoken(f"HTTP/{major.decode()}.{minor.decode()} is not spoken here; HTTP/1.1 is")
    version = b"HTTP/1.0" if minor == b"0" else b"HTTP/1.1"
    if b"#" in target:
        raise AmbiguousFraming("the request's target has a fragment; a # in a name is written %23")
    if method == b"CONNECT":
        raise _tunnel(target)
    if target.startswith(b"/") or (target == b"*" and method == b"OPTIONS"):
        return RequestLine(method, target, version)
    absolute = _absolute(target)
    if absolute is None or absolute[1].lower() not in (b"http", b"https"):
        raise AmbiguousFraming("the request's target is neither a path nor a URL of http or https")
    scheme, authority, rest = absolute.groups()
    if b"@" in authority:
        raise AmbiguousFraming("the request's target names a user before its host, which a URL of HTTP must not")
    if not host_name(authority):
        raise AmbiguousFraming("the request's target names no host, or none that could be")
    if not rest.startswith(b"/"):
        rest = b"*" if method == b"OPTIONS" and not rest else b"/" + rest
    return RequestLine(method, rest, version, scheme.lower(), authority)


def _tunnel(target: bytes) -> AmbiguousFraming | MethodUnknown:
    host, _, port = target.rpartition(b":")
    if host and host_name(target) and port.isdigit() and int(port):
        return MethodUnknown("this is no proxy: CONNECT is not possible")
    return AmbiguousFraming("the target of CONNECT is not HOST:PORT")
