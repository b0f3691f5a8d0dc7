"""
Objects on their way out: what of one is to be sent, by conditions and ranges (RFC 9110, sections 13 and 14), how it is opened, and
how sending ends that finds it damaged.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, Literal, Protocol, TypeVar

import attrs
from twisted.logger import Logger
from twisted.web.http import datetimeToString, stringToDatetime

from storehouse.core.streams import IByteStream
from storehouse.core.turns import breath
from storehouse.errors import BadRequest, InvalidRange, PreconditionFailed, StorehouseError, Unavailable
from storehouse.frontends.http.reply import ClientGone, Reply, error_reply
from storehouse.frontends.http.request import DoorRequest, field_of

__all__ = [
    "MOST_RANGES",
    "Selection",
    "Span",
    "Validators",
    "check_conditions",
    "content_range",
    "has_conditions",
    "open_selected",
    "parse_ranges",
    "range_is_wanted",
    "send_stream",
    "unsatisfied_reply",
    "validators_of",
]


# -- conditions ------------------------------------------------------------------------------------

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


def has_conditions(request: DoorRequest) -> bool:
    """Whether a request has any but C{If-Range}."""
    return any(request.requestHeaders.hasHeader(name) for name in _FIELDS)


def check_conditions(request: DoorRequest, validators: Validators) -> bool:
    """
    Look at all conditions but C{If-Range}, in the order of section 13.2.2.

    @return: whether to continue; C{False} if the client has the current version: the response is 304.
    @raise PreconditionFailed: if a condition does not hold.
    @raise BadRequest: if a list of entity tags is malformed.
    """
    tag = validators.tag.encode("ascii")
    is_read = request.method in (b"GET", b"HEAD")
    matches = _tags(request, b"If-Match")
    if matches is not None:
        if not any(each == b"*" or each == (False, tag) for each in matches):
            raise PreconditionFailed(f"its etag is {validators.tag}, which If-Match does not name")
    else:
        since = _date(request, b"If-Unmodified-Since")
        if since is not None and validators.modified > since:
            raise PreconditionFailed("it was modified after the time in If-Unmodified-Since")
    others = _tags(request, b"If-None-Match")
    if others is not None:
        if any(each == b"*" or each[1] == tag for each in others):
            if is_read:
                return False
            raise PreconditionFailed(f"its etag is {validators.tag}, which If-None-Match names")
    elif is_read:
        since = _date(request, b"If-Modified-Since")
        if since is not None and validators.modified <= since:
            return False
    return True


def range_is_wanted(request: DoorRequest, validators: Validators, now: float) -> bool:
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


def _tags(request: DoorRequest, name: bytes) -> list[tuple[bool, bytes] | Literal[b"*"]] | None:
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


def _date(request: DoorRequest, name: bytes) -> int | None:
    """
    The time in a field, in seconds; C{None} if the field is missing, repeated or not a date: RFC 9110 ignores those.
    """
    lines = request.requestHeaders.getRawHeaders(name, [])
    return _seconds(lines[0].strip()) if len(lines) == 1 else None


def _seconds(value: bytes) -> int | None:
    try:
        return int(stringToDatetime(value))
    except (ValueError, LookupError, OverflowError, UnicodeDecodeError):
        return None


# -- ranges ----------------------------------------------------------------------------------------

#: More ranges than this in one request are no use to anybody: the field is then left unread.
MOST_RANGES = 32

_spec = re.compile(rb"(\d{0,40})-(\d{0,40})\Z").match


@attrs.frozen
class Span:
    """
    A range that there is.

    @ivar offset: of its first byte.
    @ivar length: in bytes, 1 at least.
    """

    offset: int
    length: int

    @property
    def end(self) -> int:
        """What is behind its last byte."""
        return self.offset + self.length


def content_range(span: Span, size: int) -> bytes:
    """The value of C{Content-Range}."""
    return b"bytes %d-%d/%d" % (span.offset, span.end - 1, size)


def parse_ranges(value: bytes | None, size: int) -> list[Span] | None:
    """
    Which ranges of C{size} bytes are asked for.

    They are in order of their offsets; those that overlap or touch are one.  So all together never have more bytes than
    there are.

    @param value: the field C{Range}, or C{None}.
    @return: C{None} for all of it: without the field, or with one that may be left unread, since it is not of bytes, is
        malformed, or names more than L{MOST_RANGES}.
    @raise InvalidRange: if there is none of these ranges.
    """
    if value is None:
        return None
    unit, equals, rest = value.partition(b"=")
    if not equals or unit.strip().lower() != b"bytes":
        return None
    found: list[Span] = []
    wanted: list[int] = []
    # Empty elements of a list count for nothing (section 5.6.1.2).
    specs = [spec for spec in (element.strip(b" \t") for element in rest.split(b",")) if spec]
    if not specs or len(specs) > MOST_RANGES:
        return None
    for spec in specs:
        match = _spec(spec)
        if match is None or spec == b"-":
            return None
        first, last = match.groups()
        if not first:
            length = min(int(last), size)
            if int(last) and not size:
                # The last bytes of nothing are nothing: there is that, but no way to say so but with all of it.
                return None
            span = Span(size - length, length)
        else:
            start = int(first)
            if last and int(last) < start:
                return None
            span = Span(start, min(int(last) + 1 if last else size, size) - start)
        wanted.append(span.offset)
        if span.length > 0:
            found.append(span)
    if not found:
        raise InvalidRange(wanted[0], None, size)
    return _joined(found)


def _joined(spans: list[Span]) -> list[Span]:
    joined: list[Span] = []
    for span in sorted(spans, key=lambda span: span.offset):
        if joined and span.offset <= joined[-1].end:
            joined[-1] = Span(joined[-1].offset, max(joined[-1].end, span.end) - joined[-1].offset)
        else:
            joined.append(span)
    return joined


# -- sending ---------------------------------------------------------------------------------------

# How often an object is opened anew that is replaced between a look at it and its opening.
_TRIES = 8

_log = Logger()


class _Info(Protocol):
    """What is known of an object, as C{ObjectInfo} has it."""

    @property
    def id(self) -> str: ...

    @property
    def size(self) -> int: ...

    @property
    def etag(self) -> str: ...

    @property
    def created(self) -> int: ...


class _Reader(Protocol):
    """A range of an object, open."""

    @property
    def info(self) -> Any: ...

    def close(self) -> Awaitable[None]: ...


R = TypeVar("R", bound=_Reader)
I = TypeVar("I", bound=_Info)  # noqa: E741


@attrs.frozen
class Selection:
    """
    What of an object is to be sent.

    @ivar status: 200, 206, or 304.
    @ivar spans: the ranges, in order; all of it for 200, none for 304.
    """

    status: int
    spans: Sequence[Span]


def validators_of(info: _Info) -> Validators:
    """What tells an object from the one before."""
    return Validators.of(info.etag, info.id, info.created)


async def open_selected(
    request: DoorRequest,
    head: Callable[[], Awaitable[I]],
    get: Callable[[int, int | None], Awaitable[R]],
    several: bool = False,
) -> tuple[I, Selection, R | None]:
    """
    Find out what a GET or HEAD asks for by its conditions and ranges, and open that: anew if the object is replaced
    meanwhile.

    @param head: tells what is known of the object.
    @param get: opens a range of it, an C{ObjectReader}.
    @param several: whether more than one range can be sent; else all is, if more are asked for.
    @return: the object, what is to be sent of it, and the first range of that, open; C{None} if no bytes are.
    @raise PreconditionFailed: if a condition does not hold.
    @raise InvalidRange: if there is no such range.
    @raise Unavailable: if it is replaced each time.
    """
    is_head = request.method == b"HEAD"
    if not is_head and not has_conditions(request) and not request.requestHeaders.hasHeader(b"Range"):
        reader = await get(0, None)
        return reader.info, Selection(200, [Span(0, reader.info.size)]), reader
    for _ in range(_TRIES):
        info = await head()
        selection = _select(request, info, several)
        if is_head or selection.status == 304:
            return info, selection, None
        first = selection.spans[0]
        try:
            reader = await get(first.offset, first.length if selection.status == 206 else None)
        except InvalidRange:
            continue  # what is there now is shorter
        if reader.info.id == info.id:
            return info, selection, reader
        await reader.close()
    raise Unavailable("the object is replaced too often to be sent: try again")


def _select(request: DoorRequest, info: _Info, several: bool) -> Selection:
    validators = validators_of(info)
    if not check_conditions(request, validators):
        return Selection(304, [])
    # For a HEAD, a range has no meaning (RFC 9110, section 14.2).
    if request.method == b"GET" and range_is_wanted(request, validators, request.channel.site.reactor.seconds()):
        spans = parse_ranges(field_of(request, b"Range"), info.size)
        if spans is not None and (several or len(spans) == 1):
            return Selection(206, spans)
    return Selection(200, [Span(0, info.size)])


def unsatisfied_reply(error: InvalidRange) -> Reply:
    """The answer 416, which says how much there is."""
    return attrs.evolve(error_reply(error), headers=((b"Content-Range", b"bytes */%d" % error.size),))


async def send_stream(
    request: DoorRequest, stream: IByteStream, what: str, count: Callable[[int], object] = lambda size: None
) -> bool:
    """
    Send a stream as the body, or a part of the body, of a response that has begun: as fast as the client takes it and there
    is memory. The stream is closed then.

    If it turns out to be damaged, the connection ends before the damaged block: that more was announced tells the client
    that this is not all.

    @param what: the name of it, for the log.
    @param count: called with the number of bytes of each piece once it is written.
    @return: whether all were sent.
    @raise ClientGone: if the client is.
    """
    sent = 0
    try:
        while True:
            await request.backlog.room()
            if not (piece := await stream.read()):
                return True
            size = len(piece)
            request.push(piece if isinstance(piece, bytes) else bytes(piece))
            del piece  # what the client does not take is held by the connection alone
            sent += size
            count(size)
            if request.drained is not None:
                await request.ready()
            await breath()
    except StorehouseError as error:
        if request.gone:
            raise ClientGone("the connection was closed before the response was complete") from None
        _log.error(
            "sending {name} was interrupted after {count} bytes: {error}", name=what, count=sent, error=error.detail
        )
        request.break_off()
        return False
    finally:
        await stream.close()
