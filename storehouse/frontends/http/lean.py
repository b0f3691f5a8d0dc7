"""
The fast lane for coroutines: whole requests with plain heads, served by the same handlers as all others, without what
twisted.web does for each.

A request of the lane came whole and has each header field once, so that its head is one dictionary, its body one piece, and its
response, if a handler returns it, one write. All else it does as L{StreamingRequest<storehouse.frontends.http.request>} does, with
the same bytes: tests compare both. What the lane does not take is twisted.web's; see L{storehouse.frontends.http.lane}.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from contextvars import copy_context
from typing import Any, Literal

from zope.interface import implementer

from storehouse.core.asking import asker
from storehouse.core.jobs import started
from storehouse.core.streams import WholeStream
from storehouse.errors import StorehouseError
from storehouse.frontends.http.lane import FRAMING, OWED, Head, ILane, IRoute
from storehouse.frontends.http.reply import REASONS, ClientGone, Reply
from storehouse.frontends.http.request import DoorRequest, LeanFields, parse_query

__all__ = ["LeanLane", "LeanRequest", "WholeBody"]

#: Bytes of a body that the lane takes: as many as a connection reads at once.
MAX_BODY = 64 << 10

_is_line = re.compile(rb"(GET|HEAD|PUT|DELETE) (/[\x21\x22\x24-\x7e]*) HTTP/1\.1\Z").match

#: Responses without a body, whatever the request.
_WITHOUT_BODY = frozenset({204, 304})


class WholeBody(WholeStream):
    """A body that was received whole. Its attributes are those of L{RequestBody<storehouse.frontends.http.request.RequestBody>}."""

    complete = True
    untouched = False
    is_small = False

    def __init__(self, data: bytes) -> None:
        WholeStream.__init__(self, data)
        self.length = self.came = len(data)
        self.trailers: dict[bytes, bytes] = {}


@implementer(IRoute)
class _Route:
    __slots__ = ("method", "target")

    waits: Literal[True] = True
    repeats = False

    def __init__(self, method: bytes, target: bytes) -> None:
        self.method = method
        self.target = target


@implementer(ILane)
class LeanLane:
    """
    See L{ILane}.

    @param respond: serves a request, as a L{Leaf<storehouse.frontends.http.request.Leaf>} does.
    """

    prefixes = (b"GET /", b"HEAD /", b"PUT /", b"DELETE /")
    fields = None
    excluded = FRAMING
    max_body = MAX_BODY

    def __init__(self, respond: Callable[[DoorRequest], Awaitable[Reply | None]]) -> None:
        self._respond = respond

    def route(self, line: bytes) -> _Route | None:
        match = _is_line(line)
        return None if match is None else _Route(match[1], match[2])

    # Only routes that it has made itself come.
    def serve(self, route: _Route, head: Head, body: bytes, channel: object) -> object:  # type: ignore[override]
        return LeanRequest(channel, route.method, route.target, head, body).serve(self._respond)


class LeanRequest(DoorRequest):
    """A request of the lane: see L{DoorRequest}."""

    clientproto = b"HTTP/1.1"
    code = 0
    sentLength = 0
    startedWriting = False
    finished = False
    _is_gone = False
    _is_waited_for = False
    _is_chunked = False
    _response: bytes | None = None

    def __init__(self, channel: object, method: bytes, target: bytes, head: Head, body: bytes) -> None:
        own: Any = channel
        self.channel = own
        self.client = own.peer
        self.address = own.peer_host
        self.is_secure = own.is_secure
        self.method = method
        self.uri = target
        self.path, _, self._query = target.partition(b"?")
        self.requestHeaders = LeanFields(head.fields)
        self.body: Any = WholeBody(body)
        self.fields = {}

    def serve(self, respond: Callable[[DoorRequest], Awaitable[Reply | None]]) -> object:
        """@return: what L{ILane.serve} does."""
        site = self.channel.site
        site.began(self)
        try:
            site.count_forwarded(self)
            if self._query:
                self.fields = parse_query(self._query)
        except StorehouseError as error:
            self.fail(error)
        else:
            # In a context of its own, like requests of twisted.web: audit and events find the client there.
            copy_context().run(self._start, respond)
        if self._response is not None:
            return self._response
        self._is_waited_for = True
        if not self._is_gone:
            self.channel.serving = self
        return OWED

    def _start(self, respond: Callable[[DoorRequest], Awaitable[Reply | None]]) -> None:
        asker.set(self)
        started(self._serve(respond))

    async def _serve(self, respond: Callable[[DoorRequest], Awaitable[Reply | None]]) -> None:
        try:
            reply = await respond(self)
        except Exception as error:
            self.fail(error)
            return
        if reply is None:
            self.end()
        else:
            self.answer(reply)

    def connection_lost(self) -> None:
        """The client is gone."""
        self._is_gone = True
        self.channel.site.ended(self, True)
        self.resumeProducing()

    # -- see DoorRequest -----------------------------------------------------------------------

    @property
    def gone(self) -> bool:
        return self._is_gone

    def answer(self, reply: Reply) -> None:
        if self._is_gone or self.finished:
            return
        body = reply.body
        head = self._head(reply.status, reply.content_type, reply.headers, len(body))
        if self.method == b"HEAD" or reply.status in _WITHOUT_BODY:
            body = b""
        self.sentLength = len(body)
        self._finish(head + body)

    def begin(
        self, status: int, content_type: bytes, headers: tuple[tuple[bytes, bytes], ...] = (), length: int | None = None
    ) -> None:
        if self._is_gone:
            raise ClientGone("the connection was closed before the response began")
        self.startedWriting = True
        head = self._head(status, content_type, headers, length)
        self.channel.flush_answers()
        self.channel.write(head)
        self._take_turns()

    def push(self, data: bytes) -> None:
        if self._is_gone:
            raise ClientGone("the connection was closed before the response was complete")
        if self.method == b"HEAD" or self.code in _WITHOUT_BODY or not data:
            return
        self.sentLength += len(data)
        self.channel.write(b"%x\r\n%b\r\n" % (len(data), data) if self._is_chunked else data)

    def break_off(self) -> None:
        # Its length was announced, or it is chunked.
        self._is_broken = True
        self._stop_answering()
        self.channel.loseConnection()

    def end(self) -> None:
        if self._is_gone or self.finished or self._is_broken:
            return
        self._stop_answering()
        self._finish(b"0\r\n\r\n" if self._is_chunked and self.method != b"HEAD" else b"")

    def _finish(self, data: bytes) -> None:
        self.finished = self.startedWriting = True
        channel = self.channel
        channel.site.log(self)
        channel.site.ended(self, True)
        if self._is_waited_for:
            channel.serving = None
            channel.pay(data)
        else:
            self._response = data

    def _head(
        self, status: int, content_type: bytes, headers: tuple[tuple[bytes, bytes], ...], length: int | None
    ) -> bytes:
        self.code = status
        lines = [b"HTTP/1.1 %d %b" % (status, REASONS[status])]
        lines += [b"%b: %b" % field for field in self.added]
        if not self.channel.persistent:
            lines.append(b"Connection: close")
        lines.append(b"Date: " + self.channel.site.date)
        if content_type:
            lines.append(b"Content-Type: " + content_type)
        if length is not None:
            if status != 204:
                lines.append(b"Content-Length: %d" % length)
        elif status not in _WITHOUT_BODY:
            self._is_chunked = self.method != b"HEAD"
        lines += [b"%b: %b" % field for field in headers]
        if self._is_chunked:
            lines.append(b"Transfer-Encoding: chunked")
        lines += (b"", b"")
        return b"\r\n".join(lines)
