"""
The draft's fields, which are structured ones (RFC 9651). A request whose fields are of another type, or much longer than
they are, is refused: taken for none, a part of a file would be stored as the whole of it. But a version that cannot be read
is none.
"""

from __future__ import annotations

from typing import Any

import attrs
from http_sf import StructuredFieldError, parse

from storehouse.errors import BadRequest
from storehouse.frontends.http.request import StreamingRequest

__all__ = ["DRAFTS", "Said", "asks_for_resumption", "flag_text", "limit_text", "said_in"]

#: The interop versions of the draft that are spoken.
DRAFTS = frozenset({5, 6, 8})

# Bytes of a field that is read: it is parsed before it is known who asks.
_LONGEST = 256

#: The latest with Upload-Offset in all answers, and a request for the offset that may not have one.
_OLD = 6


@attrs.frozen
class Said:
    """
    What a request says of an upload.

    @ivar version: the interop version of the draft; 0 if none is named.
    @ivar complete: whether the upload is complete with it; C{None} if that is not said.
    @ivar offset: where its content belongs.
    @ivar length: the bytes that the upload will have.
    """

    version: int
    complete: bool | None
    offset: int | None
    length: int | None

    @property
    def is_old(self) -> bool:
        """Whether the answers are those of the drafts before Upload-Length."""
        return 0 < self.version <= _OLD

    @property
    def is_informed(self) -> bool:
        """Whether interim answers are sent: only where both sides name the same draft."""
        return self.version in DRAFTS


def _item(request: StreamingRequest, name: bytes) -> Any:
    value = b", ".join(request.requestHeaders.getRawHeaders(name) or [])
    if not value or len(value) > _LONGEST:
        return None
    try:
        item: Any = parse(value, tltype="item")
    except (StructuredFieldError, ValueError, TypeError):
        return None
    # A value and its parameters, of which the draft has none.
    return item[0] if isinstance(item, tuple) else item


def _number(request: StreamingRequest, name: bytes) -> int | None:
    if not request.requestHeaders.hasHeader(name):
        return None
    value = _item(request, name)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise BadRequest(f"{name.decode('ascii')} is not a number, 0 or more")
    return value


def _flag(request: StreamingRequest, name: bytes) -> bool | None:
    if not request.requestHeaders.hasHeader(name):
        return None
    value = _item(request, name)
    if not isinstance(value, bool):
        raise BadRequest(f"{name.decode('ascii')} is neither ?1 nor ?0")
    return value


def said_in(request: StreamingRequest) -> Said:
    """
    What a request says.

    @raise BadRequest: if that cannot be understood.
    """
    version = _item(request, b"Upload-Draft-Interop-Version")
    return Said(
        version if isinstance(version, int) and not isinstance(version, bool) and version > 0 else 0,
        _flag(request, b"Upload-Complete"),
        _number(request, b"Upload-Offset"),
        _number(request, b"Upload-Length"),
    )


def asks_for_resumption(request: StreamingRequest) -> bool:
    """
    Whether a request to store a file is one that can be resumed.

    @raise BadRequest: if that cannot be understood.
    """
    return _flag(request, b"Upload-Complete") is not None


def flag_text(value: bool) -> bytes:
    """A boolean as a field has it."""
    return b"?1" if value else b"?0"


def limit_text(max_size: int | None, left: float | None, version: int = 0) -> bytes:
    """
    C{Upload-Limit}.

    @param max_size: bytes that an upload may have; C{None} or 0 for no bound.
    @param left: seconds until it is removed; C{None} for never.
    """
    members = [b"max-size=%d" % max_size] if max_size else []
    if left is not None:
        # Before version 7 it had another name.
        members.append(b"%b=%d" % (b"expires" if version == _OLD else b"max-age", max(0, int(left))))
    return b", ".join(members) or b"min-size=0"
