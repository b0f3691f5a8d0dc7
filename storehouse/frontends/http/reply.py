"""A whole answer as a value, and its bytes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any

import attrs

from storehouse.core.turns import breath

__all__ = ["JSON", "OCTETS", "REASONS", "Reply", "encode_reply", "json_reply", "long_json_reply", "text_reply"]

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


def json_reply(value: Any, status: int = 200) -> Reply:
    """An answer in JSON, without spaces."""
    return Reply(status, json.dumps(value, separators=(",", ":")).encode("ascii"))


async def long_json_reply(lists: Mapping[str, Iterable[Any]], rest: Mapping[str, Any]) -> Reply:
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
