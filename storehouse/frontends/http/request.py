"""
Requests: their first line, their body as it comes, what handlers ask of them, and the resources that answer them.

A handler runs as soon as the head is there, and takes the body as it comes: this is the edge where what a connection pushes
becomes a stream. What a request line names is brought into one form, the origin form, so that nothing behind this knows of the
others (RFC 9112, section 3; RFC 9110, sections 4.2 and 7.2).
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from io import BytesIO
from ipaddress import AddressValueError, IPv6Address
from typing import TYPE_CHECKING, Any, AnyStr, Protocol
from urllib.parse import unquote_to_bytes

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web import server
from twisted.web.http_headers import Headers
from twisted.web.iweb import INonQueuedRequestFactory
from twisted.web.resource import IResource, Resource
from twisted.web.server import NOT_DONE_YET
from zope.interface import implementer, provider

from storehouse.core.asking import asker
from storehouse.core.budget import ByteBudget, Hold, network_of
from storehouse.core.connections import Ahead, Backlog, source_of
from storehouse.core.streams import Piece, PushedStream
from storehouse.errors import BadRequest, InvalidName, Overloaded, StorehouseError, TooLarge
from storehouse.frontends.http.reply import (
    REASONS,
    AmbiguousFraming,
    ClientGone,
    LengthRequired,
    MethodNotAllowed,
    MethodUnknown,
    NoSuchResource,
    Reply,
    VersionNotSpoken,
)
from storehouse.frontends.http.shown import shown, shown_error, shown_name

__all__ = [
    "BodyTooLarge",
    "DoorRequest",
    "Leaf",
    "RequestBody",
    "RequestLine",
    "Root",
    "StreamingRequest",
    "accepts_html",
    "check_body",
    "check_fields",
    "check_whole",
    "decoded",
    "field_of",
    "host_name",
    "is_browser",
    "number_of",
    "parse_line",
    "parse_query",
    "text_of",
]


# -- the request line and the Host field -----------------------------------------------------------

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
            "the request line is not METHOD TARGET HTTP/1.1; spaces, control characters and non-ASCII characters in "
            "the target must be percent-encoded"
        )
    method, target, major, minor = match.groups()
    if major != b"1":
        raise VersionNotSpoken(f"HTTP/{major.decode()}.{minor.decode()} is not supported; HTTP/1.1 is")
    version = b"HTTP/1.0" if minor == b"0" else b"HTTP/1.1"
    if b"#" in target:
        raise AmbiguousFraming("the request's target has a fragment; write # in a name as %23")
    if method == b"CONNECT":
        raise _tunnel(target)
    if target.startswith(b"/") or (target == b"*" and method == b"OPTIONS"):
        return RequestLine(method, target, version)
    absolute = _absolute(target)
    if absolute is None or absolute[1].lower() not in (b"http", b"https"):
        raise AmbiguousFraming("the request's target is neither a path nor a URL of http or https")
    scheme, authority, rest = absolute.groups()
    if b"@" in authority:
        raise AmbiguousFraming("the request's target names a user before its host, which HTTP does not allow")
    if not host_name(authority):
        raise AmbiguousFraming("the request's target has no valid host")
    if not rest.startswith(b"/"):
        rest = b"*" if method == b"OPTIONS" and not rest else b"/" + rest
    return RequestLine(method, rest, version, scheme.lower(), authority)


def _tunnel(target: bytes) -> AmbiguousFraming | MethodUnknown:
    host, _, port = target.rpartition(b":")
    if host and host_name(target) and port.isdigit() and int(port):
        return MethodUnknown("this is not a proxy: CONNECT is not possible")
    return AmbiguousFraming("the target of CONNECT is not HOST:PORT")


# -- the body --------------------------------------------------------------------------------------


class BodyTooLarge(TooLarge):
    """The body of a request exceeds what is taken here."""


class _Connection(Protocol):
    def pause_body(self) -> None: ...

    def resume_body(self) -> None: ...

    def body_wanted(self) -> None: ...


class RequestBody(PushedStream):
    """
    The bytes of one request's body, an L{IByteStream<storehouse.core.streams.IByteStream>}.

    Until somebody reads them they wait: at most what the kernel gave at once is held here, the rest with the peer. A client
    that waits for C{100 Continue} gets it with the first read. Closed early, the rest is thrown away as it comes.

    @ivar length: bytes announced; C{None} for a chunked body.
    @ivar complete: whether all of it has been received.
    @ivar came: bytes that were received.
    @ivar untouched: whether nobody has read of it.
    @ivar is_small: whether it is one that is small by nature, and so must come soon.
    @ivar trailers: once it has, the fields that followed it, if it was chunked; names in lower case. At most 64 KiB.
    """

    def __init__(self, connection: _Connection, length: int | None) -> None:
        PushedStream.__init__(self, self._update_pause, self._update_pause)
        self.length = length
        self.complete = length == 0
        self.came = 0
        self.untouched = True
        self.is_small = False
        self.trailers: dict[bytes, bytes] = {}
        self._connection = connection
        self._has_peer_wait = False
        self._is_suspended = False
        self._is_closed = False
        self._arrival: Deferred[None] | None = None  # fires when it has come, or will not
        self._room: Deferred[None] | None = None  # what read_all() waits for besides bytes
        if self.complete:
            self.end()

    # -- for handlers ------------------------------------------------------------------------

    def read(self) -> Coroutine[Deferred[object], object, Piece]:
        """
        See L{IByteStream.read<storehouse.core.streams.IByteStream.read>}.

        @raise StorehouseError: if the body does not arrive whole.
        """
        if self.untouched:
            self.untouched = False
            self._connection.body_wanted()
        return PushedStream.read(self)

    async def read_all(self, limit: int, hold: Hold | None = None, is_small: bool | None = None) -> bytes:
        """
        Read the whole body, and close it.

        @param hold: what its bytes are counted by as they come; they wait while there is no room for more.
        @param is_small: whether it is one that is small by nature, such as a form, and so must come soon; C{None} if that
            goes by whether it is counted.
        @raise BodyTooLarge: if it exceeds C{limit} bytes; at once if it says so itself.
        @raise Overloaded: if there is no room for it.
        """
        if self.length is not None and self.length > limit:
            raise BodyTooLarge(f"the body has {self.length} bytes; at most {limit} are allowed")
        self.is_small = hold is None if is_small is None else is_small
        # Never held twice, as by gathering pieces and joining them: a BytesIO grows in place, and gives its value
        # without a copy.
        whole: Piece = b""
        rest: BytesIO | None = None
        left = limit
        try:
            while piece := await self.read():
                left -= len(piece)
                if left < 0:
                    raise BodyTooLarge(f"the body has more than {limit} bytes")
                if rest is not None:
                    rest.write(piece)
                elif whole:
                    rest = BytesIO()
                    rest.write(whole)
                    rest.write(piece)
                    whole = b""
                else:
                    whole = piece
                if hold is not None and (room := hold.take(len(piece))) is not None:
                    await self._wait_for(room)
        except BaseException:
            whole, rest = b"", None  # the error refers to this frame, and they are not counted any more
            raise
        finally:
            self.close()
        return rest.getvalue() if rest is not None else bytes(whole)

    async def _wait_for(self, room: Deferred[None]) -> None:
        self._room = room
        self.suspend()  # rather than to have one more piece come, that nobody has counted
        try:
            await room
        except CancelledError:
            if self._failure is not None:
                raise self._failure from None
            raise
        finally:
            self._room = None
            self.proceed()

    async def drain(self) -> None:
        """Throw the body away, and wait until it has come; or it is known that it will not."""
        self.untouched = False
        self.is_small = True
        self.close()
        if not self.complete and self._failure is None:
            self._arrival = Deferred()
            await self._arrival

    def close(self) -> Deferred[None]:
        """See L{IByteStream.close<storehouse.core.streams.IByteStream.close>}."""
        self._is_closed = True
        closing = PushedStream.close(self)
        self._update_pause()
        return closing

    def suspend(self) -> None:
        """Have the peer wait, whether somebody reads or not, until L{proceed}."""
        self._is_suspended = True
        self._update_pause()

    def proceed(self) -> None:
        """The peer need not wait any more, unless nobody reads."""
        self._is_suspended = False
        self._update_pause()

    def _update_pause(self) -> None:
        may_come = not (self.complete or self._is_closed) and self._failure is None
        waits = may_come and (self._is_paused or self._is_suspended)
        if waits != self._has_peer_wait:
            self._has_peer_wait = waits
            if waits:
                self._connection.pause_body()
            else:
                self._connection.resume_body()

    # -- for the connection ------------------------------------------------------------------

    def received(self, data: bytes) -> None:
        """The next bytes have come."""
        self.came += len(data)
        self.write(data)

    def finished(self) -> None:
        """All of it has come."""
        self.complete = True
        self._update_pause()
        self.end()
        self._has_arrived()

    def failed(self, error: BaseException) -> None:
        """It will not become whole."""
        self.fail(error)
        self._update_pause()
        if self._room is not None:
            self._room.cancel()
        self._has_arrived()

    def discard(self) -> None:
        """The response is out, and nobody reads what is still to come."""
        if self._failure is None:  # or else the reader gets that failure
            self.close()

    def _has_arrived(self) -> None:
        arrival, self._arrival = self._arrival, None
        if arrival is not None:
            arrival.callback(None)


# -- the request -----------------------------------------------------------------------------------

_MAX_FIELDS = 64

#: Bytes that are sent at once of what is held whole.
_PIECE = 256 << 10

#: A body of up to this many bytes that nobody wanted is read to its end, so that the connection can continue.
_DRAINED = 64 * 1024


def parse_query(query: bytes) -> dict[bytes, bytes]:
    """
    The fields of a query string. A plus sign is a space, as in forms.

    @raise BadRequest: if a field is given twice, or there are too many.
    """
    fields: dict[bytes, bytes] = {}
    if not query:
        return fields
    parts = query.split(b"&")
    if len(parts) > _MAX_FIELDS:
        raise BadRequest(f"the query has {len(parts)} parameters; at most {_MAX_FIELDS} are allowed")
    for part in parts:
        if not part:
            continue
        name, _, value = part.partition(b"=")
        name = unquote_to_bytes(name.replace(b"+", b" "))
        if name in fields:
            raise BadRequest(f"the query has {name.decode('utf-8', 'replace')!r} more than once")
        fields[name] = unquote_to_bytes(value.replace(b"+", b" "))
    return fields


class LeanFields(Headers):
    """
    The fields of a head in which each is there once.

    @ivar lower: the values by names in lower case.
    """

    __slots__ = ("lower",)

    def __init__(self, fields: dict[bytes, bytes]) -> None:
        self.lower: dict[bytes, Sequence[bytes]] = {name: (value,) for name, value in fields.items()}

    def hasHeader(self, name: AnyStr) -> bool:
        return _lower(name) in self.lower

    def getRawHeaders(self, name: AnyStr, default: object = None) -> object:  # type: ignore[override]
        values = self.lower.get(_lower(name))
        if values is None:
            return default
        return values if isinstance(name, bytes) else [value.decode() for value in values]

    def getAllRawHeaders(self) -> Iterator[tuple[bytes, Sequence[bytes]]]:
        return iter(self.lower.items())

    def setRawHeaders(self, name: bytes | str, values: Sequence[bytes | str]) -> None:
        self.lower[_lower(name)] = [value if isinstance(value, bytes) else value.encode() for value in values]

    def addRawHeader(self, name: bytes | str, value: bytes | str) -> None:
        self.setRawHeaders(name, [*self.lower.get(_lower(name), ()), value])

    def removeHeader(self, name: AnyStr) -> None:
        self.lower.pop(_lower(name), None)


def _lower(name: bytes | str) -> bytes:
    return (name if isinstance(name, bytes) else name.encode("latin-1")).lower()


def lower_fields(headers: Headers) -> Mapping[bytes, Sequence[bytes]]:
    """All values of each header field, by names in lower case, as they are now."""
    if isinstance(headers, LeanFields):
        return headers.lower
    return {name.lower(): values for name, values in headers.getAllRawHeaders()}


@implementer(IPushProducer)
class DoorRequest:
    """
    What doors have of a request, whichever way it came, and how they respond.

    @ivar body: a L{RequestBody}, or one that has come whole.
    @ivar fields: the fields of the query string.
    @ivar address: of the client; empty if it has none, as at a socket file.
    @ivar is_secure: whether the client speaks TLS, with this process or with a proxy that is trusted to say so.
    @ivar counted_for: whose share of requests it is in, for the site.
    @ivar visitor: the user who makes it, for the access log; empty if the door has not found out.
    @ivar request_id: its ID, for the access log; empty if the door gives none.
    @ivar added: header fields that its response has before others, whatever that will be.
    """

    _log = Logger()
    channel: Any
    client: Any
    method: bytes
    uri: bytes
    path: bytes
    clientproto: bytes
    code: int
    sentLength: int
    startedWriting: Any
    finished: Any
    requestHeaders: Headers
    body: RequestBody
    fields: Mapping[bytes, bytes]
    address: str
    is_secure: bool
    counted_for: tuple[str, ...] = ()
    visitor = ""
    request_id = ""
    added: tuple[tuple[bytes, bytes], ...] = ()
    began = 0.0  # by time.monotonic()
    _drained: Deferred[None] | None = None
    _is_answering = False
    _is_broken = False

    # -- for handlers ------------------------------------------------------------------------

    @property
    def source(self) -> str:
        """Where it comes from, for an audit: the address of the client, or what is known of the peer at a socket file."""
        return self.address or source_of(self.channel.transport)

    def hold(self, size: int) -> Hold:
        """
        Begin to hold bytes for this request, in the door's budget and the client's share of it.

        @param size: the most that it can come to.
        """
        channel = self.channel
        budget: ByteBudget = channel.site.budget
        return budget.hold(size, network_of(self.address) or None, lambda: self.gone or channel.has_left())

    @property
    def backlog(self) -> Backlog:
        """
        What the connection has in memory.

        @raise ClientGone: if the client is gone.
        """
        if self.channel is None:
            raise ClientGone("the connection was closed before the response was complete")
        backlog: Backlog = self.channel.backlog
        return backlog

    def ahead(self, size: int) -> AbstractAsyncContextManager[Ahead]:
        """Have memory for what is read for the answer. See L{Backlog.ahead}."""
        return self.backlog.ahead(size)

    def no_such_resource(self) -> StorehouseError:
        """The error for a path that nobody serves."""
        return NoSuchResource(f"there is nothing at {self.path.decode('ascii', 'replace')}")

    def fail(self, error: BaseException) -> None:
        """
        Answer a failure; one that is no L{StorehouseError} is logged whole.

        A failure after the answer began breaks the connection off, as it must not look complete.
        """
        if not isinstance(error, StorehouseError):
            known = self.channel and self.channel.site.known_paths
            self._log.failure(
                "while responding to {method} {path} {request_id}"
                if self.request_id
                else "while responding to {method} {path}",
                failure=_failure(shown_error(error, self.uri, known)),
                method=shown_name(self.method),
                path=shown(self.path, known),
                request_id=self.request_id,
            )
        if self.startedWriting and not self.finished:
            if self.channel is not None:
                self.channel.abort()
        elif not self.gone:
            self.answer(self.channel.site.explain(self, error))

    def answer(self, reply: Reply) -> None:
        """Send a whole answer and finish."""
        raise NotImplementedError

    def begin(
        self, status: int, content_type: bytes, headers: tuple[tuple[bytes, bytes], ...] = (), length: int | None = None
    ) -> None:
        """
        Send the head of an answer whose body follows by L{send}; without C{length} it is chunked.

        @param content_type: empty for an answer that has none, as 304.
        @raise ClientGone: if the client is.
        """
        raise NotImplementedError

    async def send(self, data: bytes) -> None:
        """
        Send the next bytes of the body; returns when more are wanted.

        @raise ClientGone: if the client is.
        """
        self.push(data)
        # What the peer does not take is held by the connection alone.
        del data
        await self.ready()

    async def send_in_pieces(self, data: bytes) -> None:
        """Send bytes of any number: what the peer does not take is not copied, but held here. To be called within L{ahead}."""
        for start in range(0, len(data), _PIECE):
            await self.send(data[start : start + _PIECE])

    def push(self, data: bytes) -> None:
        """
        Send the next bytes of the body; L{ready} waits until more are wanted.

        @raise ClientGone: if the client is.
        """
        raise NotImplementedError

    async def ready(self) -> None:
        """
        Wait until the peer has caught up.

        @raise ClientGone: if the client is gone.
        """
        if self._drained is not None:
            await self._drained
        if self.gone:
            raise ClientGone("the connection was closed before the response was complete")

    @property
    def drained(self) -> Deferred[None] | None:
        """Fires when the peer has caught up, or is gone; C{None} while it is as fast as we are."""
        return self._drained

    @property
    def gone(self) -> bool:
        """Whether the client is."""
        raise NotImplementedError

    def break_off(self) -> None:
        """
        Close the connection, so that the peer sees that the body is not whole: once what was written is out, if its length
        was announced or it is chunked; otherwise at once, since a body that the end of the connection ends must not
        end in order.
        """
        raise NotImplementedError

    def end(self) -> None:
        """The body of the answer is complete."""
        raise NotImplementedError

    def _take_turns(self) -> None:
        self.channel.registerProducer(self, True)
        self._is_answering = True

    def _stop_answering(self) -> None:
        if self._is_answering:
            self._is_answering = False
            self.channel.unregisterProducer()

    # -- IPushProducer, for the channel: pauses while the peer does not take the answer ---------

    def pauseProducing(self) -> None:
        """The peer is slower than we are."""
        if self._drained is None:
            self._drained = Deferred()

    def resumeProducing(self) -> None:
        """It has caught up, or is gone."""
        drained, self._drained = self._drained, None
        if drained is not None:
            drained.callback(None)

    def stopProducing(self) -> None:
        """The connection is gone."""


@provider(INonQueuedRequestFactory)
class StreamingRequest(DoorRequest, server.Request):
    """A request of L{twisted.web} that is processed when its head has arrived."""

    defaultContentType = None

    if TYPE_CHECKING:
        # Twisted's own, which has no types.
        def write(self, data: bytes) -> None: ...
        def finish(self) -> None: ...
        def setHeader(self, name: bytes, value: bytes) -> None: ...

    def __init__(self, channel: object) -> None:
        server.Request.__init__(self, channel)
        self.fields: dict[bytes, bytes] = {}
        self.address: str = getattr(self.client, "host", "")
        self.is_secure: bool = getattr(channel, "is_secure", False)
        self._received = False
        self._at_input_end: Callable[[], object] | None = None

    # -- called by the channel ---------------------------------------------------------------

    def begin_head(self, method: bytes, uri: bytes, version: bytes) -> None:
        """The head is complete: called before L{gotLength}."""
        self.method, self.uri, self.clientproto = method, uri, version
        self.path, _, self._query = uri.partition(b"?")

    def gotLength(self, length: int | None) -> None:
        """The framing of the body is known: process the request."""
        self.content = None
        self.args = {}
        self.body = RequestBody(self.channel, length)
        self.channel.site.began(self)
        try:
            self.channel.site.count_forwarded(self)
            self.channel.check_framing(self)
            if self.channel.site.guard is not None:
                self.channel.site.guard.check(self)
            if self.path == b"*":
                # Whether anybody is there (RFC 9110, section 9.3.7).
                self.answer(Reply(200, b"", b""))
                return
            self.fields = parse_query(self._query)
        except StorehouseError as error:
            if isinstance(error, AmbiguousFraming):
                self.channel.persistent = False
            self.fail(error)
        else:
            self.channel.call_when_parsed(self.process)

    def handleContentChunk(self, data: bytes) -> None:
        """The next bytes of the body."""
        self.channel.call_when_parsed(partial(self.body.received, data))

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """The body is complete."""
        self._received = True
        lingering = self.finished
        self.channel.call_when_parsed(self.body.finished)
        if lingering:
            self._cleanup()

    def connectionLost(self, reason: Failure) -> None:
        """The connection is gone."""
        self.channel.site.ended(self)
        # First of all, so that a handler that wakes up below finds the client gone.
        server.Request.connectionLost(self, reason)
        if not self._received and hasattr(self, "body"):
            self.body.failed(ClientGone("the connection was closed before the request was complete"))
        self.resumeProducing()

    # -- processing --------------------------------------------------------------------------

    def process(self) -> None:
        """Find the resource and have it render. Resources of doors answer later."""
        if self._disconnected or self.startedWriting:
            return  # refused meanwhile
        self.site = self.channel.site
        self.prepath = []
        try:
            self.postpath = [unquote_to_bytes(part) for part in self.path[1:].split(b"/")]
            resource = self.site.getResourceFor(self)
            resource.render(self)
        except Exception as error:
            self.fail(error)

    # -- answering ---------------------------------------------------------------------------

    def answer(self, reply: Reply) -> None:
        """See the base."""
        if self._disconnected or self.finished:
            return
        self._begin(reply.status, reply.content_type, reply.headers, len(reply.body))
        self.write(reply.body)
        if not self.channel.backed_up:
            self.finish()
            return
        # The next request of the connection waits until the peer has taken this answer.
        self._take_turns()
        self._drained = Deferred()
        self._drained.addCallback(lambda _: self.end())

    def begin(
        self, status: int, content_type: bytes, headers: tuple[tuple[bytes, bytes], ...] = (), length: int | None = None
    ) -> None:
        """See the base."""
        if self._disconnected:
            raise ClientGone("the connection was closed before the response began")
        self._begin(status, content_type, headers, length)
        self.write(b"")
        self.channel.flush_head()
        self._take_turns()

    def inform(self, status: int, reason: bytes, headers: tuple[tuple[bytes, bytes], ...]) -> None:
        """
        Send an interim answer, as long as none was begun: a status below 200 (RFC 9110, section 15.2). Clients of HTTP/1.0
        do not know of them, and get none.
        """
        if not (self._disconnected or self.startedWriting or self.finished) and self.clientproto == b"HTTP/1.1":
            self.channel.inform(status, reason, headers)

    def push(self, data: bytes) -> None:
        """See the base."""
        if self._disconnected:
            raise ClientGone("the connection was closed before the response was complete")
        self.write(data)

    @property
    def gone(self) -> bool:
        """See the base."""
        return bool(self._disconnected)

    def call_at_input_end(self, call: Callable[[], object]) -> None:
        """
        End a response without an end of its own when the client has closed its side of the connection: C{call} is
        called once, perhaps at once. Not over TLS, where the whole connection is closed.
        """
        if self.channel is not None and self.channel.input_ended:
            call()
        else:
            self._at_input_end = call

    def tell_input_ended(self) -> None:
        """The client has closed its side of the connection."""
        call, self._at_input_end = self._at_input_end, None
        if call is not None:
            call()

    def break_off(self) -> None:
        """See the base."""
        self._is_broken = True
        self._stop_answering()
        if self.chunked or self.responseHeaders.hasHeader(b"Content-Length"):
            self.channel.loseConnection()
        else:
            self.channel.abort()

    def end(self) -> None:
        """See the base."""
        if self._disconnected or self.finished or self._is_broken:
            return
        self._stop_answering()
        self.finish()

    def _begin(
        self, status: int, content_type: bytes, headers: tuple[tuple[bytes, bytes], ...], length: int | None
    ) -> None:
        self.setResponseCode(status, REASONS[status])
        for name, value in self.added:
            self.responseHeaders.setRawHeaders(name, [value])
        if not self._received and not self.body.complete:
            # What is left of the body would have to be read before the next request could be.
            self.channel.persistent = False
        if not self.channel.persistent:
            self.responseHeaders.setRawHeaders(b"Connection", [b"close"])
        self.responseHeaders.setRawHeaders(b"Date", [self.channel.site.date])
        if content_type:
            self.responseHeaders.setRawHeaders(b"Content-Type", [content_type])
        if length is not None and status != 204:  # which never has one (RFC 9110, section 8.6)
            self.responseHeaders.setRawHeaders(b"Content-Length", [b"%d" % length])
        for name, value in headers:
            self.responseHeaders.addRawHeader(name, value)

    async def drain_small_body(self) -> None:
        """
        Read a small body that is not wanted, so that an answer given without it does not cost the connection.
        """
        body = self.body
        small = body.length is not None and body.length <= _DRAINED
        if small and not body.complete and self.requestHeaders.getRawHeaders(b"Expect") is None:
            await body.drain()

    def _cleanup(self) -> None:
        if not self._received and not self._disconnected:
            # If there is no body, L{requestReceived} follows at once and does the rest.
            if not self.body.complete:
                # The answer is out before the body was in: take the rest for a while, so that the peer can
                # read the answer.
                self.channel.linger(self.body)
            return
        site = self.channel.site
        server.Request._cleanup(self)
        site.ended(self)


def _failure(error: BaseException) -> Any:
    from twisted.python.failure import Failure

    return Failure(error)


# -- what handlers ask of a request ----------------------------------------------------------------

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


def text_of(request: DoorRequest, name: bytes) -> str:
    """A field of the query; empty without one."""
    return _text(name.decode("ascii"), request.fields.get(name, b""))


def field_of(request: DoorRequest, name: bytes) -> bytes | None:
    """
    A field of the head that may be there once.

    @raise BadRequest: if it is there more often.
    """
    values = request.requestHeaders.getRawHeaders(name, [])
    if len(values) > 1:
        raise BadRequest(f"the request has more than one {name.decode('ascii')} field")
    return values[0].strip() if values else None


def check_body(request: DoorRequest) -> None:
    """
    For what stores the body of a request, even an empty one: it must be there, and be L{all there is<check_whole>}. A client
    that lost it, or was given none, is not to replace with nothing what is stored.

    @raise LengthRequired: if the request has neither Content-Length nor Transfer-Encoding.
    @raise BadRequest: as L{check_whole} does.
    """
    headers = request.requestHeaders
    if not (headers.hasHeader(b"Content-Length") or headers.hasHeader(b"Transfer-Encoding")):
        raise LengthRequired("the request has no body: send Content-Length (0 for an empty body)")
    check_whole(request)


def check_whole(request: DoorRequest) -> None:
    """
    For what stores a body as it is: a client that continues an interrupted upload (C{curl -C}) must not replace all of
    it with the rest, and of what is compressed for the way nobody would know later that it is.

    @raise BadRequest: if the request says that its body is a piece, or encoded.
    """
    headers = request.requestHeaders
    name = ""
    if headers.hasHeader(b"Content-Range"):
        name = "Content-Range"
    elif any(value.strip().lower() not in _PLAIN for value in headers.getRawHeaders(b"Content-Encoding", [])):
        name = "Content-Encoding"
    if name:
        raise BadRequest(f"the body is stored unchanged and as a whole: {name} is not possible")


def accepts_html(request: DoorRequest) -> bool:
    """Whether a response is for people: browsers accept C{text/html}, programs do not; C{format} overrules."""
    wanted = request.fields.get(b"format")
    if wanted is not None:
        if wanted not in (b"html", b"json"):
            raise BadRequest("the format must be html or json")
        return wanted == b"html"
    return any(b"text/html" in value.lower() for value in request.requestHeaders.getRawHeaders(b"Accept", []))


def is_browser(request: DoorRequest) -> bool:
    """
    Whether a browser makes a request, by what every browser sends and hardly a program: its kind of C{User-Agent}, or a field
    that tells which page wants the request, and what for (Fetch Metadata).
    """
    headers = request.requestHeaders
    if any(headers.hasHeader(name) for name in (b"Origin", b"Sec-Fetch-Site", b"Sec-Fetch-Mode", b"Sec-Fetch-Dest")):
        return True
    return any(value.startswith(b"Mozilla/") for value in headers.getRawHeaders(b"User-Agent", []))


def check_fields(request: DoorRequest, known: frozenset[bytes]) -> None:
    """
    @raise BadRequest: if the query has a field that would go unread: a misspelt C{storagePrefix} must not end
    in the wrong directory.
    """
    for name in request.fields:
        if name not in known:
            listed = ", ".join(sorted(field.decode("ascii") for field in known)) or "none"
            raise BadRequest(
                f"the query has an unknown parameter {name.decode('utf-8', 'replace')!r}; known are {listed}"
            )


def number_of(request: DoorRequest, name: bytes, default: int | None = None) -> int:
    """A field that is a number from 0 on."""
    value = request.fields.get(name)
    text = name.decode("ascii")
    if value is None:
        if default is None:
            raise BadRequest(f"the query lacks {text}")
        return default
    if not _number.match(value):
        raise BadRequest(f"the {text} {value.decode('utf-8', 'replace')!r} is not a number, 0 or more")
    return int(value)


# -- resources -------------------------------------------------------------------------------------

_PREFIX = "handle_"


class Leaf(Resource):
    """
    A resource that is one path, or all that begin with it.

    Subclasses define C{async def handle_GET(self, request) -> Reply | None} and so on for the methods they
    know; C{HEAD} is served by C{handle_GET}.  A handler gives its answer back, or C{None} if it has sent it
    by C{request.begin}, C{send} and C{end}.  What it raises is answered by the error table.
    """

    isLeaf = True

    #: Whether it is all paths below it, too; C{request.postpath} is what follows.
    takes_rest = False

    #: Whether the paths below it may be logged, which hold no secrets then.
    logs_rest = True

    def __init__(self) -> None:
        Resource.__init__(self)
        methods = {name.removeprefix(_PREFIX).encode("ascii") for name in dir(self) if name.startswith(_PREFIX)}
        if b"GET" in methods:
            methods.add(b"HEAD")
        self.allowed = tuple(sorted(methods))

    def render(self, request: StreamingRequest) -> int:
        """Begin to answer."""
        Deferred.fromCoroutine(self._serve(request))
        return NOT_DONE_YET

    async def _serve(self, request: StreamingRequest) -> None:
        asker.set(request)
        try:
            if request.postpath and not self.takes_rest:
                raise request.no_such_resource()
            reply = await self.respond(request)
        except Exception as error:
            await self._fail(request, error)
            return
        if reply is None:
            request.end()
        else:
            await _quietly(request)
            request.answer(reply)

    def respond(self, request: StreamingRequest) -> Awaitable[Reply | None]:
        """Call the handler of the request's method."""
        if request.method not in self.allowed:
            raise MethodNotAllowed(request.method, self.allowed)
        method = b"GET" if request.method == b"HEAD" else request.method
        handler: Callable[[StreamingRequest], Awaitable[Reply | None]] = getattr(self, _PREFIX + method.decode("ascii"))
        return handler(request)

    async def _fail(self, request: StreamingRequest, error: Exception) -> None:
        # Overloaded: there is no memory for its body, so it is not waited for.
        if not request.startedWriting and not isinstance(error, Overloaded):
            await _quietly(request)
        request.fail(error)


async def _quietly(request: StreamingRequest) -> None:
    """Take in a small body that the handler did not want."""
    try:
        if request.body.untouched:
            await request.drain_small_body()
    except Exception:
        # It did not come whole; the answer matters more, and closes the connection.
        return


class _Missing(Leaf):
    """What is at paths that nobody serves."""

    def render(self, request: StreamingRequest) -> int:
        """Answer that there is nothing."""
        Deferred.fromCoroutine(self._fail(request, request.no_such_resource()))
        return NOT_DONE_YET


class Root(Resource):
    """The top of a door: a resource a path; the empty one is the door's own page."""

    def __init__(self, children: Mapping[bytes, IResource]) -> None:
        Resource.__init__(self)
        for name, child in children.items():
            self.putChild(name, child)

    def getChild(self, path: bytes, request: StreamingRequest) -> IResource:
        """Called for paths that are not there."""
        return _Missing()
