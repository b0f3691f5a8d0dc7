"""What a request names: texts in its path and its query, single fields of its head."""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

from storehouse.errors import BadRequest, InvalidName
from storehouse.frontends.http.errors import LengthRequired
from storehouse.frontends.http.request import StreamingRequest

__all__ = [
    "accepts_html",
    "check_body",
    "check_fields",
    "check_whole",
    "decoded",
    "field_of",
    "is_browser",
    "number_of",
    "text_of",
]

_PLAIN = (b"", b"identity")

_number = re.compile(rb"\d{1,19}\Z")
_malformed = re.compile(rb"%(?![0-9A-Fa-f]{2})").search


def decoded(what: str, data: bytes) -> str:
    """
    A part of a path as text, with its percent-encoding undone.

    @raise BadRequest: if that is malformed, or the text is not UTF-8.
    """
    if _malformed(data):
        raise BadRequest(f"the {what} has a % without two hexadecimal digits")
    return _text(what, unquote_to_bytes(data))


def _text(what: str, data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise InvalidName(f"the {what} {data[:200]!r} is not UTF-8") from None


def text_of(request: StreamingRequest, name: bytes) -> str:
    """A field of the query; empty without one."""
    return _text(name.decode("ascii"), request.fields.get(name, b""))


def field_of(request: StreamingRequest, name: bytes) -> bytes | None:
    """
    A field of the head that may be there once.

    @raise BadRequest: if it is there more often.
    """
    values = request.requestHeaders.getRawHeaders(name, [])
    if len(values) > 1:
        raise BadRequest(f"the request has more than one {name.decode('ascii')} field")
    return values[0].strip() if values else None


def check_body(request: StreamingRequest) -> None:
    """
    For what stores the body of a request, even an empty one: it must be there, and be L{all there is<check_whole>}. A client
    that lost it, or was given none, is not to replace with nothing what is stored.

    @raise LengthRequired: if the request has neither Content-Length nor Transfer-Encoding.
    @raise BadRequest: as L{check_whole} does.
    """
    headers = request.requestHeaders
    if not (headers.hasHeader(b"Content-Length") or headers.hasHeader(b"Transfer-Encoding")):
        raise LengthRequired("the request has no body: send Content-Length, 0 if what is to be stored is empty")
    check_whole(request)


def check_whole(request: StreamingRequest) -> None:
    """
    For what stores a body as it is: a client that goes on with what broke off (C{curl -C}) is not to replace all of it with
    the rest, and of what is compressed for the way nobody would know later that it is.

    @raise BadRequest: if the request says that its body is a piece, or encoded.
    """
    headers = request.requestHeaders
    name = ""
    if headers.hasHeader(b"Content-Range"):
        name = "Content-Range"
    elif any(value.strip().lower() not in _PLAIN for value in headers.getRawHeaders(b"Content-Encoding", [])):
        name = "Content-Encoding"
    if name:
        raise BadRequest(f"the body is stored as it is, and all at once: {name} is not possible")


def accepts_html(request: StreamingRequest) -> bool:
    """Whether an answer is for people: who asks names C{text/html}, which programs do not; C{format} overrules."""
    wanted = request.fields.get(b"format")
    if wanted is not None:
        if wanted not in (b"html", b"json"):
            raise BadRequest("the format is html or json")
        return wanted == b"html"
    return any(b"text/html" in value.lower() for value in request.requestHeaders.getRawHeaders(b"Accept", []))


def is_browser(request: StreamingRequest) -> bool:
    """
    Whether a browser makes a request, by what every browser sends and hardly a program: its kind of C{User-Agent}, or a field
    that tells what a page wants the request for (Fetch Metadata).
    """
    headers = request.requestHeaders
    if any(headers.hasHeader(name) for name in (b"Sec-Fetch-Site", b"Sec-Fetch-Mode", b"Sec-Fetch-Dest")):
        return True
    return any(value.startswith(b"Mozilla/") for value in headers.getRawHeaders(b"User-Agent", []))


def check_fields(request: StreamingRequest, known: frozenset[bytes]) -> None:
    """
    @raise BadRequest: if the query has a field that would go unread: a misspelt C{storagePrefix} must not end
    in the wrong directory.
    """
    for name in request.fields:
        if name not in known:
            listed = ", ".join(sorted(field.decode("ascii") for field in known)) or "none"
            raise BadRequest(f"the query has an unknown field {name.decode('utf-8', 'replace')!r}; known are {listed}")


def number_of(request: StreamingRequest, name: bytes, default: int | None = None) -> int:
    """A field that is a number from 0 on."""
    value = request.fields.get(name)
    text = name.decode("ascii")
    if value is None:
        if default is None:
            raise BadRequest(f"the query has no {text}")
        return default
    if not _number.match(value):
        raise BadRequest(f"the {text} {value.decode('utf-8', 'replace')!r} is not a number from 0 on")
    return int(value)
