"""
What is answered: a whole answer as a value, its bytes, and the table from errors to answers, with the errors that only HTTP knows.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from http import HTTPStatus

import attrs
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from storehouse import errors
from storehouse.core.turns import breath

__all__ = [
    "JSON",
    "OCTETS",
    "REASONS",
    "RETRY_AFTER",
    "AmbiguousFraming",
    "ClientGone",
    "HeadTooLarge",
    "LengthRequired",
    "MethodNotAllowed",
    "MethodUnknown",
    "Misdirected",
    "NoSuchResource",
    "Reply",
    "TargetTooLong",
    "UnsupportedType",
    "UnsupportedVersion",
    "VersionNotSpoken",
    "encode_reply",
    "error_reply",
    "json_reply",
    "long_json_reply",
    "metrics_reply",
    "status_of",
    "text_reply",
]


JSON = b"application/json"
OCTETS = b"application/octet-stream"

#: Reason phrases by status.
REASONS = {status.value: status.phrase.encode("ascii") for status in HTTPStatus}
REASONS[460] = b"Checksum Mismatch"  # tus 1.0.0


# Items of a list that are put together before others may be served.
_ITEMS = 50


@attrs.frozen
class Reply:
    """
    An answer that is held in memory whole.

    @ivar status: the HTTP status.
    @ivar headers: further header fields, after Date, Content-Type and Content-Length.
    """

    status: int
    body: bytes
    content_type: bytes = JSON
    headers: tuple[tuple[bytes, bytes], ...] = ()


def json_reply(value: object, status: int = 200) -> Reply:
    """An answer in JSON, without spaces."""
    return Reply(status, json.dumps(value, separators=(",", ":")).encode("ascii"))


async def long_json_reply(lists: Mapping[str, Iterable[object]], rest: Mapping[str, object]) -> Reply:
    """
    An answer in JSON, an object, made while others are served.

    @param lists: its members that may be long; each item is asked for when it is its turn.
    @param rest: the others.
    """
    pieces: list[bytes] = []
    for name, items in lists.items():
        pieces += (b"," if pieces else b"{", json.dumps(name).encode("ascii"), b":[")
        some: list[bytes] = []
        for item in items:
            some.append(json.dumps(item, separators=(",", ":")).encode("ascii"))
            if len(some) % _ITEMS == 0:
                await breath()
        pieces += (b",".join(some), b"]")
    for name, value in rest.items():
        text = json.dumps(value, separators=(",", ":"))
        pieces += (b"," if pieces else b"{", json.dumps(name).encode("ascii"), b":", text.encode("ascii"))
    return Reply(200, b"".join((*pieces, b"}")))


def text_reply(text: str, status: int = 200, content_type: bytes = b"text/plain; charset=utf-8") -> Reply:
    """An answer in text."""
    return Reply(status, text.encode("utf-8"), content_type)


def encode_reply(reply: Reply, date: bytes, close: bool = False) -> bytes:
    """
    The bytes of an answer to a GET or POST over HTTP/1.1: the same that the resource tree would send.

    @param date: the value of the Date field.
    @param close: announce that the connection will be closed.
    """
    lines = [
        b"HTTP/1.1 %d %b" % (reply.status, REASONS[reply.status]),
        *([b"Connection: close"] if close else []),
        b"Date: " + date,
        b"Content-Type: " + reply.content_type,
        b"Content-Length: %d" % len(reply.body),
        *(b"%b: %b" % field for field in reply.headers),
        b"",
        reply.body,
    ]
    return b"\r\n".join(lines)


def metrics_reply(registry: CollectorRegistry) -> Reply:
    """All metrics of a registry, as they are now."""
    return Reply(200, generate_latest(registry), CONTENT_TYPE_LATEST.encode("ascii"))


# -- errors ----------------------------------------------------------------------------------------


class AmbiguousFraming(errors.BadRequest):
    """Where a request ends, or what it is, could be read in more than one way."""


class LengthRequired(errors.BadRequest):
    """A request that stores its body does not say that it has one."""


class ClientGone(errors.BadRequest):
    """The client closed the connection before its request was whole. Nobody reads the answer."""


class HeadTooLarge(errors.BadRequest):
    """A request's head is larger than is taken."""


class TargetTooLong(HeadTooLarge):
    """The first line of a request is longer than is taken."""


class UnsupportedType(errors.BadRequest):
    """A body is of a type that is not taken there."""


class UnsupportedVersion(errors.BadRequest):
    """A request is of a version of a protocol that is not spoken here, or of none."""


class VersionNotSpoken(errors.BadRequest):
    """A request is of another version of HTTP than HTTP/1."""


class MethodUnknown(errors.BadRequest):
    """No resource knows that method."""


class Misdirected(errors.BadRequest):
    """A request is for a host that this is not (RFC 9110, section 7.4)."""


class NoSuchResource(errors.NotFound):
    """There is nothing at that path."""


class MethodNotAllowed(errors.BadRequest):
    """
    The resource does not know that method.

    @ivar allowed: the methods it knows.
    """

    def __init__(self, method: bytes, allowed: tuple[bytes, ...]) -> None:
        names = ", ".join(name.decode("ascii") for name in allowed)
        super().__init__(f"{method.decode('ascii', 'replace')} is not allowed here; allowed are {names}")
        self.allowed = allowed


#: Seconds after which somebody who was one too many may try again.
RETRY_AFTER = b"5"

#: The nearest class of an error's ancestry decides.
_STATUS: dict[type[errors.StorehouseError], int] = {
    errors.StorehouseError: 500,
    errors.BadRequest: 400,
    errors.InvalidRange: 416,
    LengthRequired: 411,
    HeadTooLarge: 431,
    TargetTooLong: 414,
    MethodNotAllowed: 405,
    UnsupportedType: 415,
    UnsupportedVersion: 412,
    VersionNotSpoken: 505,
    MethodUnknown: 501,
    Misdirected: 421,
    errors.NotFound: 404,
    errors.UploadGone: 410,
    errors.NotSignedIn: 401,
    errors.Forbidden: 403,
    errors.Conflict: 409,
    errors.PreconditionFailed: 412,
    errors.NoKeyToMatch: 412,
    errors.TooLarge: 413,
    errors.Damaged: 500,
    errors.RemoteDamaged: 502,
    errors.InvalidAnswer: 502,
    errors.RemoteRefused: 502,
    errors.RemoteUnavailable: 502,
    errors.NoSpace: 507,
    errors.Unavailable: 503,
    errors.ShareUsedUp: 429,
    errors.RequestTimeout: 408,
    errors.StartFailed: 500,
}


def status_of(kind: type[errors.StorehouseError]) -> int:
    """The HTTP status for a class of errors."""
    return next(_STATUS[ancestor] for ancestor in kind.__mro__ if ancestor in _STATUS)


def error_reply(error: BaseException) -> Reply:
    """
    The answer to a failure: C{{"error": NAME, "detail": TEXT}}.

    What is no L{StorehouseError} is answered without its inside.
    """
    if not isinstance(error, errors.StorehouseError):
        return json_reply({"error": "InternalError", "detail": "an unexpected failure; see the server's log"}, 500)
    status = status_of(type(error))
    headers: tuple[tuple[bytes, bytes], ...] = ()
    if isinstance(error, MethodNotAllowed):
        headers = ((b"Allow", b", ".join(error.allowed)),)
    elif isinstance(error, errors.NotSignedIn):
        # Basic as well for programs alone, which a door can tell: a browser would ask for a key by itself, and then send it
        # with all that another site has it ask for.
        headers = ((b"WWW-Authenticate", b'Bearer realm="storehouse"'),)
    elif isinstance(error, errors.Overloaded):
        headers = ((b"Retry-After", RETRY_AFTER),)
    reply = json_reply({"error": error.kind, "detail": error.detail}, status)
    return Reply(reply.status, reply.body, reply.content_type, headers)
