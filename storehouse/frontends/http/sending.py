"""Objects on their way out: what of one is to be sent, how it is opened, and how sending ends that finds it damaged."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol, TypeVar

import attrs
from twisted.logger import Logger

from storehouse.core.streams import IByteStream
from storehouse.core.turns import breath
from storehouse.errors import InvalidRange, StorehouseError, Unavailable
from storehouse.frontends.http.conditions import Validators, check_conditions, has_conditions, range_is_wanted
from storehouse.frontends.http.errors import ClientGone, error_reply
from storehouse.frontends.http.ranges import Span, parse_ranges
from storehouse.frontends.http.reply import Reply
from storehouse.frontends.http.request import StreamingRequest
from storehouse.frontends.http.targets import field_of

__all__ = ["Selection", "open_selected", "send_stream", "unsatisfied_reply", "validators_of"]

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
    request: StreamingRequest,
    head: Callable[[], Awaitable[I]],
    get: Callable[[int, int | None], Awaitable[Any]],
    several: bool = False,
) -> tuple[I, Selection, Any]:
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


def _select(request: StreamingRequest, info: _Info, several: bool) -> Selection:
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
    request: StreamingRequest, stream: IByteStream, what: str, count: Callable[[int], object] = lambda size: None
) -> bool:
    """
    Send a stream as the body, or a part of the body, of a response that has begun: as fast as the client takes it and there
    is memory. The stream is closed then.

    If it turns out to be damaged, the connection ends before the damaged block: that more was announced tells the client
    that this is not all.

    @param what: the name of it, for the log.
    @param count: told of the bytes of each piece once it is written.
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
            raise ClientGone("the connection was closed before the response was whole") from None
        _log.error("sending {name} broke off after {count} bytes: {error}", name=what, count=sent, error=error.detail)
        request.break_off()
        return False
    finally:
        await stream.close()
