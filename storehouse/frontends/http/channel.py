"""
A connection to a door: twisted.web's HTTP/1.1, made strict, with a fast lane at request boundaries.

Bodies stream, a peer that is refused can read the answer, and the site's clock asks here what the peer is waited for. What
comes is looked at in slices: of thousands of requests, or of chunks of a body, that come at once, only as many are in one turn
of the reactor as fit into it. Without a lane, everything goes twisted.web's way.

Like L{storehouse.core.fast.transports} this touches private names of Twisted (C{HTTPChannel._command}, C{_path}, C{_version}, C{_buffer},
C{_handlingRequest}, C{_networkProducer}, C{_waitingForTransport}, C{_receivedHeaderSize}, C{_receivedHeaderCount},
C{_dataBuffer}, C{_transferDecoder} with its C{_trailerHeaders} and C{_maybeChooseTransferDecoder}; C{_ChunkedTransferDecoder} with
its C{_buffer}, C{state} and C{_dataReceived_...}; C{_IdentityTransferDecoder.contentLength}). Requests are kept apart by them:
without one, L{missing_names}, nothing starts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Protocol, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHalfCloseableProtocol, IHandshakeListener, ITCPTransport
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web import http
from twisted.web.http import HTTPChannel
from twisted.web.http_headers import Headers
from zope.interface import implementer

from storehouse.core.budget import network_of
from storehouse.core.connections import Backlog, IdleWatch, Lingering, Pace, is_loopback
from storehouse.core.fast.names import lacking
from storehouse.core.fast.transports import LARGE_READS
from storehouse.core.sockets import has_left
from storehouse.core.turns import breath, is_spent
from storehouse.errors import RequestTimeout, StorehouseError
from storehouse.frontends.http.lane import DECLINED, MAX_FIELDS, MAX_HEAD, OWED, ILane, PlanCache
from storehouse.frontends.http.reply import AmbiguousFraming, HeadTooLarge, Misdirected, TargetTooLong
from storehouse.frontends.http.request import RequestBody, RequestLine, StreamingRequest, host_name, parse_line

__all__ = ["ChunkedDecoder", "DoorChannel", "missing_names"]


#: Names of Twisted's channel, its request and its decoder of chunks: those that are set, and those that it calls and that are
#: other here.
_OF_CHANNEL = (
    "_buffer",
    "_command",
    "_dataBuffer",
    "_handlingRequest",
    "_maybeChooseTransferDecoder",
    "_networkProducer",
    "_path",
    "_receivedHeaderCount",
    "_receivedHeaderSize",
    "_respondToBadRequestAndDisconnect",
    "_send100Continue",
    "_transferDecoder",
    "_version",
    "_waitingForTransport",
)
_OF_REQUEST = ("_cleanup", "_disconnected")
_OF_CHUNKS = ("_buffer", "_trailerHeaders")


def missing_names() -> list[str]:
    """What of these the Twisted that is here lacks."""
    decoder = getattr(http, "_ChunkedTransferDecoder", None)
    return [
        *lacking(HTTPChannel, _OF_CHANNEL),
        *lacking(http.Request, _OF_REQUEST),
        *(lacking(decoder, _OF_CHUNKS) if decoder is not None else ["http._ChunkedTransferDecoder"]),
    ]


_WITH_BODIES = frozenset({b"PATCH", b"POST", b"PUT"})
_BARE_LINE = "a line of the head ends with LF instead of CR LF"


# Looked up once: the module of twisted.web stands behind a proxy, since it has names that are deprecated.
_data_received: Callable[[HTTPChannel, bytes], object] = HTTPChannel.dataReceived
_raw_received: Callable[[HTTPChannel, bytes], object] = HTTPChannel.rawDataReceived
_Chunked: Any = getattr(http, "_ChunkedTransferDecoder", object)  # missing_names() says so if it is not there

# Bytes of a head that are looked at, and steps of chunks that are taken, before others may be served. A client can send a
# body in chunks of one byte: without the bound, one read of its socket would keep the reactor from all others.
_HEAD = 4096
_STEPS = 3000


class ChunkedDecoder(_Chunked):  # type: ignore[misc]
    """
    Twisted's own, but it hands over what small chunks bring as one, and takes so many of them at a time.

    @ivar is_behind: whether there is more of what has come: call C{dataReceived} again, with nothing.
    """

    def __init__(self, take: Callable[[bytes], object], finish: Callable[[bytes], object]) -> None:
        self._pieces: list[bytes] = []
        _Chunked.__init__(self, self._pieces.append, self._finish)
        self._take = take
        self._end = finish
        self.is_behind = False

    def dataReceived(self, data: bytes) -> None:
        """See the base."""
        self._buffer += data
        goes_on = True
        steps = 0
        while goes_on and self._buffer and steps < _STEPS:
            goes_on = getattr(self, "_dataReceived_" + self.state)()
            steps += 1
        self.is_behind = bool(goes_on and self._buffer)
        self._hand_over()

    def _hand_over(self) -> None:
        if self._pieces:
            data = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
            self._pieces.clear()
            self._take(data)

    def _finish(self, rest: bytes) -> None:
        self._hand_over()
        self._end(rest)


#: The most responses owed on one connection; then it is not read. Pipelined requests cost their sender a few bytes each, and
#: the server a response in memory.
_MOST_OWED = 256

#: Answers of the lane are sent together up to about this many bytes.
_GATHERED = 64 * 1024

#: A line that ends with LF alone. RFC 9112 (2.2) allows to accept it, but then a proxy that does not and this server see
#: different requests in the same bytes (request smuggling), so it is refused.
_bare_line = re.compile(rb"(?<!\r)\n").search


class _NoPlans:
    """Of a connection whose next request is its last: nothing takes the lane."""

    def get(self, whole: bytes) -> None:
        """Know no request."""

    learn = get


_NO_PLANS: Any = _NoPlans()


class LaneRequest(Protocol):
    """A request of the lane that is being answered."""

    def connection_lost(self) -> None: ...


@implementer(IHandshakeListener, IHalfCloseableProtocol)
class DoorChannel(HTTPChannel):
    """
    One connection to a door.

    @ivar shaking: whether the handshake of TLS is going on.
    @ivar active: whether bytes came since the site last looked.
    @ivar input_ended: whether the peer will send no more: it closed its side of the connection, and may still read.
    @ivar lane: the door's fast lane, or C{None}.
    @ivar serving: a request of the lane whose response is not sent yet; it gets notice when the connection is lost.
    @ivar peer: the address of the peer, and C{peer_host} its host; empty if it has none, as at a socket file.
    @ivar watch: times the peer, for the site.
    @ivar pace: of the body that comes, for the site.
    @ivar backlog: what it has in memory, of answers and for them.
    """

    _log = Logger()
    transport: Any
    _networkProducer: Any
    _transferDecoder: Any
    requestFactory: Any = StreamingRequest
    timeOut = None  # The site keeps the time for all its connections.
    totalHeadersSize = 16384
    maxHeaders = MAX_FIELDS

    # What most connections never change is not set for each: an object with more than 30 attributes of its own is slower
    # (CPython shares the keys of no larger ones).
    _late = b""
    _has_more = False
    _is_feeding = False
    _is_waiting = False
    _is_lost = False
    shaking = False
    is_secure = False
    input_ended = False
    _body_paused = False
    _failed = False
    _has_answered = False
    _line: RequestLine | None = None
    _due: tuple[Callable[[], object], ...] = ()
    serving: LaneRequest | None = None

    if TYPE_CHECKING:
        # Twisted's own, which has no types.
        def isSecure(self) -> bool: ...
        def loseConnection(self) -> None: ...

    def __init__(self, site: object, lane: ILane | None) -> None:
        """@param site: the L{DoorSite<storehouse.frontends.http.site.DoorSite>}, whose module imports this one."""
        HTTPChannel.__init__(self)
        self.site = cast(Any, site)
        self.factory = self.site
        self.active = True
        self._head = b""
        self.lingering = Lingering(self.site.reactor, self.loseConnection)
        self.watch = IdleWatch()
        self.pace = Pace()
        self.backlog: Backlog
        self.lane = lane
        self._plans: PlanCache | None = None
        self._fast = lane is not None
        self._pieces: list[bytes] = []
        self._have = 0
        self._need = 0
        self._owed = 0
        self._held = False
        self._answers: list[bytes] = []

    # -- connection --------------------------------------------------------------------------------

    def connectionMade(self) -> None:
        """Get ready, and join the site."""
        if self.isSecure():
            self.shaking = self.is_secure = True
        # Whether the client uses TLS with the proxy, if the proxy says so.
        self.is_secure = getattr(self.transport, "proxied_tls", self.is_secure)
        if ITCPTransport.providedBy(self.transport):
            self.transport.setTcpNoDelay(True)
            self.transport.setTcpKeepAlive(True)
        self._usual_reads = getattr(self.transport, "bufferSize", 0)
        self._networkProducer = self.transport
        self._networkProducer.registerProducer(self, True)
        self._plans = self.site.plans(self.at_loopback)
        self.peer = self.transport.getPeer()
        self.peer_host: str = getattr(self.peer, "host", "")
        address = self.site.address_of(self.peer)
        holder = network_of(address) or None
        self.backlog = Backlog(self.site.budget, holder, self.transport, self.abort, self.has_left)
        self.site.connections.joined(self, address)

    def handshakeCompleted(self) -> None:
        """TLS is there."""
        self.shaking = False

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Leave the site, and tell the requests."""
        self.site.connections.left(self)
        self.backlog.close()
        self._pieces = []
        self.lane = None
        self.lingering.stop()
        self._is_lost = True
        self._late = b""
        serving, self.serving = self.serving, None
        if serving is not None:
            serving.connection_lost()
        HTTPChannel.connectionLost(self, reason)

    def abort(self) -> None:
        """Break the connection off."""
        self.transport.abortConnection()

    @property
    def at_loopback(self) -> bool:
        """Whether the peer has come by an address that only this machine reaches."""
        return is_loopback(self.transport.getHost())

    @property
    def backed_up(self) -> bool:
        """Whether the peer does not take what is written, so that it piles up here."""
        return self._waitingForTransport

    # -- what the site asks ------------------------------------------------------------------------

    @property
    def busy(self) -> bool:
        """Whether a request is being received or answered."""
        return bool(self._owed or self.requests or self._have or self.lags or (self.line_mode and self._buffer))

    @property
    def in_head(self) -> bool:
        """Whether part of a request has come, and is waited for, that is not yet being served."""
        if self._failed or self.lags:
            return False
        if self._fast:
            return bool(self._have) and not (self._need or self._held or self._owed)
        return bool(self.line_mode and (self._buffer or self._receivedHeaderSize))

    @property
    def stalled(self) -> bool:
        """Whether the connection waits for its peer: to send the rest of a body, or to read an answer."""
        if self._body_paused or self.lags:
            return False
        if self._fast and self._need and not self._owed:
            return True
        return self._waitingForTransport or (bool(self.requests) and not self._handlingRequest)

    @property
    def closing(self) -> bool:
        """Whether all is sent and the connection only waits to be closed. With TLS the peer may continue to send."""
        return bool(self.transport.disconnecting)

    def body_awaited(self) -> tuple[object, int, bool] | None:
        """
        The body that is the peer's turn to send: what it is, how many bytes of it have come, and whether it is one that is
        small by nature. C{None} if none is, or the connection does not read it just now.
        """
        if self._fast:
            # An answer that is owed comes first.
            return (self.lane, self._have, False) if self._need and not (self._held or self._owed) else None
        if not self.requests or self._body_paused or self._handlingRequest or self._failed or self._waitingForTransport:
            return None
        if self.lags:
            return None
        request = self.requests[-1]
        body = getattr(request, "body", None)
        if body is None or body.complete or body.untouched or request.finished:
            return None
        return body, body.came, body.is_small

    def has_left(self) -> bool:
        """Whether the peer has closed the connection, although it is not read just now."""
        body = getattr(self.requests[-1], "body", None) if self.requests else None
        missing = body.length - body.came if body is not None and body.length is not None else 0
        return has_left(self.transport, missing)

    def refuse_slow(self, what: str) -> None:
        """The body of a request comes too slowly: answer, and close."""
        self._refuse(RequestTimeout(what))

    def time_out(self, what: str) -> None:
        """The peer has taken too long."""
        if self._failed or self._waitingForTransport or self.transport.disconnecting:
            # What is written now, or was before the connection began to close, would wait for the peer
            # forever.
            self.abort()
        elif self.in_head:
            self._refuse(RequestTimeout(what))
        elif self.busy:
            self.abort()
        else:
            self.loseConnection()

    def finish_soon(self) -> None:
        """Close once what is being received or answered is out."""
        if self._have or self.lags or (self.line_mode and self._buffer):
            # What has begun to come is taken the plain way, which can say that it is the last.
            self._plans = _NO_PLANS
            return
        self.persistent = False
        self.lingering.hurry()
        if not self.busy:
            self.loseConnection()

    # -- receiving ---------------------------------------------------------------------------------

    def resetTimeout(self) -> None:
        """Called by the base for all bytes."""
        self.active = True

    def dataReceived(self, data: bytes) -> None:
        """Take the lane, or twisted.web's way."""
        if not self._fast:
            self.lingering.received(len(data))
            if not self._failed:
                self.feed(data)
                self._refuse_bare_lines()
            return
        self.active = True
        if self._have:
            self._pieces.append(data)
            self._have += len(data)
            self.backlog.keep(self._have)
            if self._have < self._need or self._held:
                return
            data = b"".join(self._pieces)
            self._pieces = []
            self._have = self._need = 0
            self.backlog.keep(0)
            self._take_lane(data, False)
        else:
            self._take_lane(data)

    def _refuse_bare_lines(self) -> None:
        """A line of a head that ends with LF alone would be waited for in vain. What is kept lacks CR LF."""
        if self.line_mode and not self._failed and not self.lags and b"\n" in self._buffer:
            self._refuse(AmbiguousFraming(_BARE_LINE))

    def takes_no_more(self) -> bool:
        """Whether what comes is thrown away."""
        return bool(self._failed or self._is_lost or self.transport.disconnecting)

    def may_read(self) -> bool:
        """Whether there may be more, and nobody wants the peer to wait."""
        return not (self._body_paused or self.input_ended or self._waitingForTransport)

    def caught_up(self) -> None:
        """All that came was looked at, later than it came."""
        if self.may_read():
            self._networkProducer.resumeProducing()
        self._refuse_bare_lines()
        if self.input_ended:
            self.readConnectionLost()

    # -- the fast lane -----------------------------------------------------------------------------

    def _take_lane(self, data: bytes, is_new: bool = True) -> None:
        """@param is_new: whether a request begins with it, and not only continues."""
        lane, plans = self.lane, self._plans
        if lane is None or plans is None:
            return
        answers = self._answers
        at, size, served, gathered = 0, len(data), 0, 0
        while at < size:
            if self._owed > _MOST_OWED or self._waitingForTransport:
                break
            head_end = data.find(b"\r\n\r\n", at)
            if head_end < 0:
                if size - at > MAX_HEAD or not data.startswith(lane.prefixes, at) or _bare_line(data, at):
                    break
                self._keep(data[at:], 0)
                at = size
                break
            whole = data[at:head_end]
            plan = plans.get(whole) or plans.learn(whole)
            if plan is None or not self.persistent:
                break
            route, head = plan
            start = head_end + 4
            end = start + head.length
            if end > size:
                self._keep(data[at:], end - at)
                at = size
                break
            if self._owed and route.waits:
                break
            # Counted before, since a log that has stopped pays at once.
            self._owed += 1
            answer: Any = lane.serve(route, head, data[start:end], self)
            if answer is not OWED:
                self._owed -= 1
                if answer is DECLINED:
                    break
                if end == size and not answers:
                    self.transport.write(answer)
                else:
                    answers.append(answer)
                    gathered += len(answer)
                    if gathered > _GATHERED:
                        gathered = 0
                        self._send_answers()
            served += 1
            at = end
            # Nearly all have sent one request: they pay for no look at the clock.
            if at < size and is_spent():
                break
        if served:
            self._has_answered = True
            self.site.laned += served
            is_new = True
        if is_new and (self._have or at < size):
            # The time that the rest of it may take begins now.
            self.watch.reset()
        if answers:
            self._send_answers()
        if at < size:
            rest = data[at:] if at else data
            waits = bool(self._owed or self._waitingForTransport)
            if waits or (served and is_spent()):
                # What follows must not overtake answers that are owed, nor pile up answers that the peer does
                # not take, nor keep others waiting.
                self._keep(rest, 0)
                self._held = True
                self._networkProducer.pauseProducing()
                if not waits:
                    Deferred.fromCoroutine(self._breathe()).addErrback(self._crashed)
            else:
                self._fast = False
                self.dataReceived(rest)

    def flush_answers(self) -> None:
        """Send what of the lane's answers was gathered, before something else is sent."""
        if self._answers:
            self._send_answers()

    def _send_answers(self) -> None:
        answers = self._answers
        data = answers[0] if len(answers) == 1 else b"".join(answers)
        answers.clear()
        self.transport.write(data)

    def _keep(self, data: bytes, need: int) -> None:
        self._pieces = [data]
        self._have = len(data)
        self._need = need
        self.backlog.keep(len(data))

    def pay(self, answer: bytes) -> None:
        """Send an answer that the lane owed. To be called in the order of the requests."""
        self._owed -= 1
        if not self._owed and not self._answers:
            self.transport.write(answer)
        else:
            self._answers.append(answer)
            if not self._owed or len(self._answers) > 32:
                self._send_answers()
        if not self._owed:
            if self._held:
                self._go_on()
            if not self.persistent and not self.busy:
                self.loseConnection()
            elif self.input_ended:
                self.end_after_input()

    async def _breathe(self) -> None:
        await breath()
        if self._held and not (self._owed or self._waitingForTransport):
            self._go_on()
            if self.input_ended:
                self.end_after_input()

    def _go_on(self) -> None:
        self._held = False
        data = b"".join(self._pieces)
        self._pieces = []
        self._have = self._need = 0
        self.backlog.keep(0)
        if not self._waitingForTransport:
            self._networkProducer.resumeProducing()
        self._take_lane(data)

    # -- in slices ---------------------------------------------------------------------------------

    @property
    def lags(self) -> bool:
        """Whether bytes came that were not looked at."""
        return bool(self._late or self._has_more or self._is_waiting)

    def feed(self, data: bytes) -> None:
        """Look at what has come, or keep it until it is its turn."""
        if self._is_waiting or self._is_feeding:
            self._late += data
            if self._is_waiting:
                self._networkProducer.pauseProducing()
            return
        self._is_feeding = True
        try:
            at, size = 0, len(data)
            while True:
                if self._is_behind():
                    self._has_more = True
                    _raw_received(self, b"")
                elif at < size or not size:
                    end = self._portion(data, at)
                    self._has_more = end < size
                    _data_received(self, data[at:end] if self._has_more or at else data)
                    at = end
                while self._due:
                    due, self._due = self._due, ()
                    for call in due:
                        call()
                if self._late:
                    # It came behind a request that is answered by now, and before the rest.
                    data, self._late = self._late + data[at:], b""
                    at, size = 0, len(data)
                if self.takes_no_more():
                    break
                if at >= size and not self._is_behind():
                    break
                if is_spent():
                    self._late = data[at:]
                    break
        finally:
            self._is_feeding = self._has_more = False
        if self._late or self._is_behind():
            self._networkProducer.pauseProducing()
            self._is_waiting = True
            Deferred.fromCoroutine(self._wait()).addErrback(self._crashed)

    def call_when_parsed(self, call: Callable[[], object]) -> None:
        """
        Have the request continue once the parser has returned, which is soon: what it does then does not stand on the parser's
        frames, nor finds it half-way through something.
        """
        self._due += (call,)

    async def _wait(self) -> None:
        await breath()
        self._is_waiting = False
        if self._is_lost:
            return
        data, self._late = self._late, b""
        self.feed(data)
        if not self.lags:
            self.caught_up()

    def _crashed(self, failure: Failure) -> None:
        """As the reactor has it for a connection that fails as it reads."""
        self._log.failure("while reading", failure=failure)
        self.transport.abortConnection()

    def _is_behind(self) -> bool:
        """Whether chunks of a body came that were not taken."""
        return not self._handlingRequest and getattr(self._transferDecoder, "is_behind", False)

    def _portion(self, data: bytes, at: int) -> int:
        """The end of what to look at next."""
        size = len(data)
        if self._handlingRequest:
            return size  # it is only kept
        if self.line_mode:
            # Its end may have begun in what came before: then a line ended there, or one is kept.
            kept = ((b"\r\n" if self._receivedHeaderSize else b"") + self._buffer)[-3:]
            seam = (kept + data[at : at + 3]).find(b"\r\n\r\n")
            if seam >= 0:
                return at + seam + 4 - len(kept)
            head = data.find(b"\r\n\r\n", at, at + _HEAD)
            return head + 4 if head >= 0 else min(size, at + _HEAD)
        return min(size, at + (getattr(self._transferDecoder, "contentLength", None) or size))

    def _maybeChooseTransferDecoder(self, header: bytes, data: bytes) -> bool:
        chosen: bool = HTTPChannel._maybeChooseTransferDecoder(self, header, data)
        if type(self._transferDecoder) is _Chunked:
            self._transferDecoder = ChunkedDecoder(self.requests[-1].handleContentChunk, self._finishRequestBody)
        return chosen

    # -- the end of what comes ---------------------------------------------------------------------

    def readConnectionLost(self) -> None:
        """
        The peer sends no more, but may read on (RFC 9112, section 9.6). Whole requests are answered, then the connection is
        closed; one that lacks something will never be complete, and is aborted. Not called over TLS.
        """
        self.input_ended = True
        if self._fast:
            if self._have and not (self._has_answered or self._owed or self._held):
                self.abort()
            else:
                self.end_after_input()
            return
        if self.lags:
            return
        if not self.requests or self._failed or self.lingering.is_on:
            # All is answered; only what the peer might still send was waited for.
            self.loseConnection()
        elif self._handlingRequest:
            self.requests[0].tell_input_ended()
        elif self._has_answered and not self.requests[0].startedWriting:
            # The answers before it are whole, and are not to be lost on their way.
            self.loseConnection()
        else:
            self.abort()

    def writeConnectionLost(self) -> None:
        """Our side is closed: we did that."""

    def requestDone(self, request: StreamingRequest) -> None:
        """A request of twisted.web's way is answered: take what came behind it; at a clean boundary, back to the lane."""
        self.flush_head()
        self.watch.reset()
        self._has_answered = True
        # It is not looked at within the answer.
        self._late = b"".join(self._dataBuffer) + self._late
        self._dataBuffer = []
        HTTPChannel.requestDone(self, request)
        if not (self._is_feeding or self._is_waiting) and self._late:
            data, self._late = self._late, b""
            self.feed(data)
        if self.input_ended:
            self.end_after_input()
        if (
            self.lane is not None
            and self.line_mode
            and not (self.requests or self._buffer or self._dataBuffer or self._handlingRequest or self.lags)
        ):
            self._fast = True

    def end_after_input(self) -> None:
        """The peer sends no more, and what it sent was looked at: close, unless a whole request is being answered."""
        if self._owed or self._held or self.lags:
            return  # it was not all looked at, or not all answered
        if self._handlingRequest and self.requests:
            self.requests[0].tell_input_ended()
        elif not self._failed:
            self.loseConnection()

    # -- strictness --------------------------------------------------------------------------------

    def lineReceived(self, line: bytes) -> None:
        """Refuse what twisted.web would still read, such as folded lines and over-long numbers; and bound the head."""
        if self._failed:
            return
        if self._receivedHeaderSize + len(line) > self.totalHeadersSize:
            self._refuse(self._too_large(f"more than {self.totalHeadersSize} bytes"))
        elif b"\n" in line:
            self._refuse(AmbiguousFraming(_BARE_LINE))
        elif line and not self._receivedHeaderSize and self.persistent:
            self._request_line(line)
        elif line[:1] in (b" ", b"\t") and self._receivedHeaderSize:
            self._refuse(AmbiguousFraming("the head has a folded line"))
        elif line[:15].lower() == b"content-length:" and len(line) > 64:
            self._refuse(AmbiguousFraming("the Content-Length is not a valid number"))
        else:
            HTTPChannel.lineReceived(self, line)

    def _request_line(self, line: bytes) -> None:
        try:
            parsed = self._line = parse_line(line)
        except StorehouseError as error:
            self._refuse(error)
        else:
            HTTPChannel.lineReceived(self, b" ".join((parsed.method, parsed.target, parsed.version)))

    def lineLengthExceeded(self, line: bytes) -> None:
        """A line without end."""
        self._refuse(self._too_large(f"a line of more than {self.MAX_LENGTH} bytes"))

    def _too_large(self, what: str) -> StorehouseError:
        if self._receivedHeaderSize:
            return HeadTooLarge(f"the head of the request has {what}")
        verb = "is" if what.startswith("a line") else "has"
        return TargetTooLong(f"the request line {verb} {what}")

    def headerReceived(self, line: bytes) -> bool:
        """A field of the head."""
        if self._receivedHeaderCount >= self.maxHeaders:
            self._refuse(HeadTooLarge(f"the request has more than {self.maxHeaders} header fields"))
            return False
        if b"\r" in line or b"\0" in line:
            # RFC 9110, section 5.5. Twisted takes a CR before its release 26.10.
            self._refuse(AmbiguousFraming("a header field has a CR or a zero byte"))
            return False
        received: bool = HTTPChannel.headerReceived(self, line)
        return received

    def allHeadersReceived(self) -> None:
        """Hand the head to the request first, so that it can be processed before its body comes."""
        request = self.requests[-1]
        request.begin_head(self._command, self._path, self._version)
        self.persistent = self.persistent and self.checkPersistence(request, self._version)
        if self.length is None or self.length > LARGE_READS:
            self._read_by(LARGE_READS)
        request.gotLength(self.length)

    def allContentReceived(self) -> None:
        """The body is complete."""
        trailers = getattr(self._transferDecoder, "_trailerHeaders", None)  # of a chunked body only
        if trailers:
            self.requests[-1].body.trailers = _trailers_in(trailers)
        self._read_by(self._usual_reads)
        HTTPChannel.allContentReceived(self)

    def _read_by(self, size: int) -> None:
        """
        Ask the kernel for this many bytes at a time, if the connection lets one choose: one under TLS does
        not.
        """
        if self._usual_reads:
            self.transport.bufferSize = size

    def checkPersistence(self, request: StreamingRequest, version: bytes) -> bool:
        """Whether the connection may continue: HTTP/1.1, and neither side asked to close."""
        if self._plans is _NO_PLANS:
            return False
        options: set[bytes] = set()
        for value in request.requestHeaders.getRawHeaders(b"Connection", []):
            options.update(option.strip().lower() for option in value.split(b","))
        return version == b"HTTP/1.1" and b"close" not in options

    def check_framing(self, request: StreamingRequest) -> None:
        """
        Refuse requests whose extent or target could be understood in two ways. From here on the Host field is that of the
        target's authority, if it has one.

        @raise AmbiguousFraming: if so.
        @raise Misdirected: if the target is one of https and the connection is not, other than from a proxy on this machine.
        """
        headers = request.requestHeaders
        hosts = headers.getRawHeaders(b"Host", [])
        if len(hosts) > 1 or (not hosts and request.clientproto == b"HTTP/1.1"):
            raise AmbiguousFraming(f"the request has {len(hosts)} Host fields instead of one")
        if hosts and host_name(hosts[0]) is None:
            raise AmbiguousFraming("the Host field is not HOST or HOST:PORT")
        line, self._line = self._line, None
        if line is not None and line.authority is not None:
            headers.setRawHeaders(b"Host", [line.authority])
            if line.scheme == b"https" and not self.isSecure() and not is_loopback(self.transport.getPeer()):
                raise Misdirected("the request's target is an https URL, but this connection has no TLS")
        is_old = request.clientproto == b"HTTP/1.0"
        if is_old and request.method in _WITH_BODIES and not headers.hasHeader(b"Content-Length"):
            # What follows may be a body, which would be taken for none (RFC 1945, section 8.3).
            raise AmbiguousFraming("a request of HTTP/1.0 with a body needs a Content-Length")
        encodings = headers.getRawHeaders(b"Transfer-Encoding", [])
        if encodings:
            if request.clientproto != b"HTTP/1.1":
                raise AmbiguousFraming("Transfer-Encoding in a request of HTTP/1.0")
            if len(encodings) > 1 or encodings[0].lower() != b"chunked":
                raise AmbiguousFraming("the Transfer-Encoding is not chunked")

    def _respondToBadRequestAndDisconnect(self) -> None:
        self._refuse(AmbiguousFraming("the request is not well-formed HTTP/1.1"))

    def _refuse(self, error: StorehouseError) -> None:
        """Answer what is not a request, and read no more."""
        self._fast = False
        self._pieces = []
        self._have = self._need = 0
        if self._failed:
            return
        self._failed = True
        self.persistent = False
        request = self.requests[-1] if self.requests else None
        body = getattr(request, "body", None)
        if request is not None and request.startedWriting and not request.finished:
            # What was begun is not to look whole.
            self.abort()
            return
        if request is not None and body is not None and not body.complete:
            # A handler is at work on it: it gets the error, and answers with it.
            body.failed(error)
            if not request.startedWriting and not request._disconnected:
                request.fail(error)
        else:
            self.transport.write(self.site.last_answer(error))
        self._part()

    def _part(self) -> None:
        """
        Close our side, and throw away what comes for a moment: closing at once could destroy the answer on
        its way to a peer that is still sending. TLS has no half that could be closed: the answer itself says where it
        ends.
        """
        self._networkProducer.unregisterProducer()
        if self.transport.disconnecting:
            self.loseConnection()
            return
        if not self.isSecure():
            self.transport.loseWriteConnection()
        self._networkProducer.resumeProducing()
        self.lingering.begin(bool(self.requests))

    # -- bodies ------------------------------------------------------------------------------------

    def pause_body(self) -> None:
        """Read no more for now."""
        self._body_paused = True
        self._networkProducer.pauseProducing()

    def resume_body(self) -> None:
        """Read on."""
        self._body_paused = False
        self.active = True
        if not self._waitingForTransport:
            self._networkProducer.resumeProducing()

    def body_wanted(self) -> None:
        """A handler begins to take the body: tell a client that waits for that."""
        request = self.requests[-1]
        if request.clientproto != b"HTTP/1.1" or request.startedWriting or request.body.complete:
            return
        expect = request.requestHeaders.getRawHeaders(b"Expect", [])
        if expect and expect[0].lower() == b"100-continue":
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def inform(self, status: int, reason: bytes, headers: tuple[tuple[bytes, bytes], ...]) -> None:
        """Send an interim answer."""
        lines = [b"HTTP/1.1 %d %b" % (status, reason), *(b"%b: %b" % field for field in headers)]
        self.transport.write(b"\r\n".join((*lines, b"", b"")))

    def _send100Continue(self) -> None:
        """Not at once: L{body_wanted} does it, if the body is wanted."""

    def linger(self, body: RequestBody) -> None:
        """
        The answer to the current request is out and part of its body is not in: read on for a while, then close.
        """
        self.flush_head()
        body.discard()
        self.lingering.begin(True)

    # -- writing -----------------------------------------------------------------------------------

    def writeHeaders(self, version: bytes, code: bytes, reason: bytes, headers: Headers) -> None:
        """Keep the head until the first bytes of the body, to send both at once."""
        lines = [b"HTTP/1.1 %b %b" % (code, reason)]
        for name, values in headers.getAllRawHeaders():
            if name.startswith(b"X-Amz-"):
                # Clients of S3 take names of the user's metadata as they come.
                name = name.lower()
            lines += [b"%b: %b" % (name, value) for value in values]
        lines += [b"%b: %b" % field for field in self.site.fields if not headers.hasHeader(field[0])]
        self._head = b"\r\n".join((*lines, b"", b""))

    def write(self, data: bytes) -> None:
        """Send."""
        head, self._head = self._head, b""
        self.transport.write(head + data if head else data)
        if self._waitingForTransport:
            self.backlog.wrote()

    def writeSequence(self, iovec: Iterable[bytes]) -> None:
        """Send."""
        self.write(b"".join(iovec))

    def flush_head(self) -> None:
        """Send a head that has no body yet."""
        if self._head:
            self.write(b"")

    def pauseProducing(self) -> None:
        """The transport's buffer is full: the peer does not take what is written."""
        self.backlog.backed_up()
        HTTPChannel.pauseProducing(self)
        # While a request is answered, too, where the base reads on and bounds nothing: what comes behind it would pile up. It is
        # read when the answer is out.
        self._networkProducer.pauseProducing()

    def resumeProducing(self) -> None:
        """The transport's buffer is empty again."""
        self.backlog.drained()
        HTTPChannel.resumeProducing(self)
        if self._body_paused:
            self._networkProducer.pauseProducing()
        if self._held:
            if self._owed:
                self._networkProducer.pauseProducing()
            else:
                self._go_on()
                if self.input_ended:
                    self.end_after_input()


def _trailers_in(lines: list[bytearray]) -> dict[bytes, bytes]:
    """The fields after a chunked body, by their names in lower case; those given twice, or malformed, are none."""
    found: dict[bytes, bytes] = {}
    twice: set[bytes] = set()
    for line in lines:
        name, colon, value = bytes(line).partition(b":")
        name = name.lower()
        if not colon or name in found:
            twice.add(name)
        found[name] = value.strip()
    return {name: value for name, value in found.items() if name not in twice}
