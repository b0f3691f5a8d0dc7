"""
Conditions of requests, and the fields that they are about (RFC 9110, section 13).

A representation has an entity tag, which changes whenever a byte of it does, and the second of its last change.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

import attrs
from twisted.web.http import datetimeToString, stringToDatetime

from storehouse.errors import BadRequest, PreconditionFailed
from storehouse.frontends.http.request import StreamingRequest
from storehouse.frontends.http.targets import field_of

__all__ = ["Validators", "check_conditions", "has_conditions", "range_is_wanted"]

_FIELDS = (b"If-Match", b"If-None-Match", b"If-Modified-Since", b"If-Unmodified-Since")

_tag = re.compile(rb'(W/)?"([\x21\x23-\x7e\x80-\xff]*)"').match
_opaque = re.compile(r"[\x21\x23-\x7e]+").fullmatch
_between = re.compile(rb"[ \t]*(?:,[ \t]*)*").match


@attrs.frozen
class Validators:
    """
    What tells two states of a resource apart.

    @ivar tag: the entity tag, a strong one, without quotes.
    @ivar modified: seconds since 1970 UTC.
    """

    tag: str
    modified: int

    @classmethod
    def of(cls, etag: str, id: str, created: int) -> Validators:
        """
        Those of an object.

        @param id: stands for an etag that there is not, or that could not be sent.
        @param created: nanoseconds since 1970 UTC.
        """
        # Of what is older than 1970 the time is not known: other programs write the year 1 then.
        return cls(etag if _opaque(etag) else id, max(0, created // 10**9))

    @property
    def fields(self) -> tuple[tuple[bytes, bytes], ...]:
        """The fields of an answer."""
        return (b"ETag", b'"%b"' % self.tag.encode("ascii")), (b"Last-Modified", datetimeToString(self.modified))


def has_conditions(request: StreamingRequest) -> bool:
    """Whether a request has any but C{If-Range}."""
    return any(request.requestHeaders.hasHeader(name) for name in _FIELDS)


def check_conditions(request: StreamingRequest, validators: Validators) -> bool:
    """
    Look at all conditions but C{If-Range}, in the order of section 13.2.2.

    @return: whether to go on; C{False} if who asks has what there is, which is to be answered 304.
    @raise PreconditionFailed: if a condition does not hold.
    @raise BadRequest: if a list of entity tags is malformed.
    """
    tag = validators.tag.encode("ascii")
    is_read = request.method in (b"GET", b"HEAD")
    matches = _tags(request, b"If-Match")
    if matches is not None:
        if not any(each == b"*" or each == (False, tag) for each in matches):
            raise PreconditionFailed(f"it has the etag {validators.tag}, which If-Match does not name")
    else:
        since = _date(request, b"If-Unmodified-Since")
        if since is not None and validators.modified > since:
            raise PreconditionFailed("it was changed since the time of If-Unmodified-Since")
    others = _tags(request, b"If-None-Match")
    if others is not None:
        if any(each == b"*" or each[1] == tag for each in others):
            if is_read:
                return False
            raise PreconditionFailed(f"it has the etag {validators.tag}, which If-None-Match names")
    elif is_read:
        since = _date(request, b"If-Modified-Since")
        if since is not None and validators.modified <= since:
            return False
    return True


def range_is_wanted(request: StreamingRequest, validators: Validators, now: float) -> bool:
    """
    What C{If-Range} says of the field C{Range} (section 13.1.5).

    @param now: seconds since 1970 UTC. A date is a strong validator only once its second is over (section 8.8.2.2).
    """
    value = field_of(request, b"If-Range")
    if value is None:
        return True
    if value.startswith((b'"', b"W/")):
        return value == b'"%b"' % validators.tag.encode("ascii")
    return _seconds(value) == validators.modified and validators.modified < int(now)


def _tags(request: StreamingRequest, name: bytes) -> list[tuple[bool, bytes] | Literal[b"*"]] | None:
    """C{(whether it is weak, what it is)} for each of a list, or C{*}."""
    lines = request.requestHeaders.getRawHeaders(name)
    if lines is None:
        return None
    value = b",".join(lines).strip()
    return [b"*"] if value == b"*" else list(_read_tags(name, value))


def _read_tags(name: bytes, value: bytes) -> Iterator[tuple[bool, bytes]]:
    at = _end(value, 0)
    while at < len(value):
        match = _tag(value, at)
        behind = _end(value, match.end()) if match is not None else 0
        if match is None or (behind < len(value) and b"," not in value[match.end() : behind]):
            raise BadRequest(f"{name.decode('ascii')} is a list of tags in quotes, or *")
        yield match[1] is not None, match[2]
        at = behind


def _end(value: bytes, at: int) -> int:
    """Where a separator ends."""
    match = _between(value, at)
    return at if match is None else match.end()


def _date(request: StreamingRequest, name: bytes) -> int | None:
    """The second that a field names; C{None} if it is to be left unread: not there, not once, or not a date."""
    lines = request.requestHeaders.getRawHeaders(name, [])
    return _seconds(lines[0].strip()) if len(lines) == 1 else None


def _seconds(value: bytes) -> int | None:
    try:
        return int(stringToDatetime(value))
    except (ValueError, LookupError, OverflowError, UnicodeDecodeError):
        return None
