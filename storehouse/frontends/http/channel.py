"""
An HTTP/1.1 connection: twisted.web's, made strict, with a fast lane at request boundaries.

Like L{storehouse.core.fasttcp} this touches private names of Twisted (C{HTTPChannel._command}, C{_path}, C{_version}, C{_buffer}, C{_dataBuffer}, C{_handlingRequest},
C{_networkProducer}, C{_waitingForTransport}, C{_receivedHeaderSize}), tested with the release that setup.py pins.  Without a lane, everything goes twisted.web's way.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import ITCPTransport
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.web import http

from storehouse.core.fasttcp import LARGE_READS
from storehouse.errors import StorehouseError
from storehouse.frontends.http.body import RequestBody
from storehouse.frontends.http.errors import AmbiguousFraming, HeadTooLarge, RequestTimeout, error_reply
from storehouse.frontends.http.lane import DECLINED, MAX_HEAD, OWED, HeadCache, ILane
from storehouse.frontends.http.reply import encode_reply
from storehouse.frontends.http.request import StreamingRequest

__all__ = ["DoorChannel"]

#: More answers than this may not be owed on one connection; then it waits.
_MOST_OWED = 256

#: Seconds that a connection is read on after it was answered in the midst of a body.
_LINGER = 5.0


class DoorChannel(http.HTTPChannel):
    """
    One connection to a door.

    @ivar lane: the door's fast lane, or C{None}.
    @ivar active: whether bytes came since the site last looked.
    @ivar since: when the site first saw the state that it now times.
    @ivar progress: what L{written} gave then.
    """

    _log = Logger()
    transport: Any
    _networkProducer: Any
    requestFactory: Any = StreamingRequest
    timeOut = None  # The site keeps the time for all its connections.
    totalHeadersSize = 16384
    maxHeaders = 100

    def __init__(self, site: Any, lane: ILane | None, heads: HeadCache | None) -> None:
        http.HTTPChannel.__init__(self)
        self.site = self.factory = site
        self.lane = lane
        self._heads = heads
        self._fast = lane is not None
        self._pieces: list[bytes] = []
        self._have = 0
        self._need = 0
        self._owed = 0
        self._held = False
        self._answers: list[bytes] = []
        self._head = b""
        self._body_paused = False
        self._failed = False
        self.active = True
        self.since: float | None = None
        self.progress = (0, 0)

    # -- connection --------------------------------------------------------------------------

    def connectionMade(self) -> None:
        """Join the site."""
        if ITCPTransport.providedBy(self.transport):
            self.transport.setTcpNoDelay(True)
            self.transport.setTcpKeepAlive(True)
        self._usual_reads = getattr(self.transport, "bufferSize", 0)
        self._networkProducer = self.transport
        self._networkProducer.registerProducer(self, True)
        self.site.joined(self)

    def connectionLost(self, reason: Any = connectionDone) -> None:
        """Leave the site."""
        self.site.left(self)
        self._pieces = []
        self.lane = None
        http.HTTPChannel.connectionLost(self, reason)

    def resetTimeout(self) -> None:
        """Called by the base for all bytes."""
        self.active = True

    def abort(self) -> None:
        """Break the connection off."""
        self.transport.abortConnection()

    @property
    def busy(self) -> bool:
        """Whether a request is being answered or its body being received."""
        return bool(self._owed or self.requests)

    @property
    def in_head(self) -> bool:
        """Whether part of a request has come, and is waited for, that is not yet being served."""
        if self._fast:
            return bool(self._have) and not self._held
        return bool(self.line_mode and (self._buffer or self._receivedHeaderSize))

    @property
    def stalled(self) -> bool:
        """Whether the connection waits for its peer: to send the rest of a body, or to read an answer."""
        if self._body_paused:
            return False
        return self._waitingForTransport or (bool(self.requests) and not self._handlingRequest)

    def written(self) -> tuple[int, int]:
        """Changes whenever the peer takes some of what waits to be written."""
        transport = self.transport
        return getattr(transport, "offset", 0), len(getattr(transport, "dataBuffer", b""))

    def time_out(self, what: str) -> None:
        """The peer has taken too long."""
        if self.in_head:
            self._refuse(RequestTimeout(what))
        elif self.busy:
            self.abort()
        else:
            self.loseConnection()

    def finish_soon(self) -> None:
        """Close once what is being answered is out."""
        self.persistent = False
        if not self.busy:
            self.loseConnection()

    # -- receiving ---------------------------------------------------------------------------

    def dataReceived(self, data: bytes) -> None:
        """Take the lane, or twisted.web's way."""
        if not self._fast:
            if not self._failed:
                http.HTTPChannel.dataReceived(self, data)
            return
        self.active = True
        if self._have:
            self._pieces.append(data)
            self._have += len(data)
            if self._have < self._need or self._held:
                return
            data = b"".join(self._pieces)
            self._pieces = []
            self._have = self._need = 0
        self._take_lane(data)

    def _take_lane(self, data: bytes) -> None:
        lane, heads = self.lane, self._heads
        if lane is None or heads is None:
            return
        answers: list[bytes] = []
        at, size, served = 0, len(data), 0
        while at < size:
            if self._owed > _MOST_OWED:
                break
            head_end = data.find(b"\r\n\r\n", at)
            if head_end < 0:
                if size - at > MAX_HEAD or not data.startswith(lane.prefixes, at):
                    break
                self._keep(data[at:], 0)
                at = size
                break
            line_end = data.find(b"\r\n", at, head_end + 2)
            match = lane.match(data[at:line_end])
            if match is None:
                break
            block = data[line_end:head_end]
            try:
                head = heads.get(block)
            except KeyError:
                head = heads.learn(block)
            if head is None or head.length > lane.max_body or not self.persistent:
                break
            end = head_end + 4 + head.length
            if end > size:
                self._keep(data[at:], end - at)
                at = size
                break
            if self._owed and match[1] in lane.pure:
                break
            answer = lane.serve(match, head, data[head_end + 4 : end], self)
            if answer is OWED:
                self._owed += 1
            elif answer is DECLINED:
                break
            else:
                answers.append(answer)
            served += 1
            at = end
        if at:
            self.since = None
            self.site.laned += served
        if answers:
            self.transport.write(answers[0] if len(answers) == 1 else b"".join(answers))
        if at < size:
            rest = data[at:] if at else data
            if self._owed:
                # Answers are owed, and what follows must not overtake them.
                self._keep(rest, 0)
                self._held = True
                self._networkProducer.pauseProducing()
            else:
                self._fast = False
                http.HTTPChannel.dataReceived(self, rest)

    def _keep(self, data: bytes, need: int) -> None:
        self._pieces = [data]
        self._have = len(data)
        self._need = need

    def pay(self, answer: bytes) -> None:
        """Send an answer that the lane owed. To be called in the order of the requests."""
        self._owed -= 1
        if self._owed and len(self._answers) < 32:
            self._answers.append(answer)
        else:
            if self._answers:
                answer = b"".join((*self._answers, answer))
                self._answers = []
            self.transport.write(answer)
        if not self._owed:
            if self._held:
                self._go_on()
            if not self.persistent and not self.busy:
                self.loseConnection()

    def _go_on(self) -> None:
        self._held = False
        data = b"".join(self._pieces)
        self._pieces = []
        self._have = self._need = 0
        if not self._waitingForTransport:
            self._networkProducer.resumeProducing()
        self._take_lane(data)

    def requestDone(self, request: Any) -> None:
        """A request of twisted.web's way is answered: at a clean boundary, back to the lane."""
        self.flush_head()
        self.since = None
        http.HTTPChannel.requestDone(self, request)
        if self.lane is not None and self.line_mode and not (self.requests or self._buffer or self._dataBuffer or self._handlingRequest):
            self._fast = True

    # -- strictness --------------------------------------------------------------------------

    def lineReceived(self, line: bytes) -> None:
        """Refuse what twisted.web would still read: folded header lines, over-long numbers; and bound the head."""
        if self._failed:
            return
        if self._receivedHeaderSize + len(line) > self.totalHeadersSize:
            self._refuse(HeadTooLarge(f"the head of the request has more than {self.totalHeadersSize} bytes"))
        elif line[:1] in (b" ", b"\t") and self._receivedHeaderSize:
            self._refuse(AmbiguousFraming("the head has a folded line"))
        elif line[:15].lower() == b"content-length:" and len(line) > 64:
            self._refuse(AmbiguousFraming("the Content-Length is not a sensible number"))
        else:
            http.HTTPChannel.lineReceived(self, line)

    def lineLengthExceeded(self, line: bytes) -> None:
        """A line without end."""
        self._refuse(HeadTooLarge(f"a line of the head has more than {self.MAX_LENGTH} bytes"))

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
        self._read_by(self._usual_reads)
        http.HTTPChannel.allContentReceived(self)

    def _read_by(self, size: int) -> None:
        """Ask the kernel for this many bytes at a time, if the connection lets one choose: one under TLS does not."""
        if self._usual_reads:
            self.transport.bufferSize = size

    def checkPersistence(self, request: Any, version: bytes) -> bool:
        """Whether the connection may go on: HTTP/1.1, and neither side asked to close."""
        options: set[bytes] = set()
        for value in request.requestHeaders.getRawHeaders(b"Connection", []):
            options.update(option.strip().lower() for option in value.split(b","))
        return version == b"HTTP/1.1" and b"close" not in options

    def check_framing(self, request: Any) -> None:
        """
        Refuse requests whose extent or target could be understood in two ways.

        @raise AmbiguousFraming: if so.
        """
        headers = request.requestHeaders
        hosts = headers.getRawHeaders(b"Host", [])
        if len(hosts) > 1 or (not hosts and request.clientproto == b"HTTP/1.1"):
            raise AmbiguousFraming(f"the request has {len(hosts)} Host fields instead of one")
        encodings = headers.getRawHeaders(b"Transfer-Encoding", [])
        if encodings:
            if request.clientproto != b"HTTP/1.1":
                raise AmbiguousFraming("Transfer-Encoding in a request of HTTP/1.0")
            if len(encodings) > 1 or encodings[0].lower() != b"chunked":
                raise AmbiguousFraming("the Transfer-Encoding is not just chunked")
        if not request.path.startswith(b"/"):
            raise AmbiguousFraming("the request's target is not a path")

    def _respondToBadRequestAndDisconnect(self) -> None:
        self._refuse(AmbiguousFraming("the request is not well-formed HTTP/1.1"))

    def _refuse(self, error: StorehouseError) -> None:
        """Answer what is not a request, and read no more."""
        if self._failed:
            return
        self._failed = True
        self._fast = False
        self.persistent = False
        request = self.requests[-1] if self.requests else None
        body = getattr(request, "body", None)
        if request is not None and body is not None and not body.complete:
            # A handler is at work on it: it gets the error, and answers with it.
            body.failed(error)
            if not request.startedWriting and not request._disconnected:
                request.fail(error)
            self.loseConnection()
            return
        self.transport.write(encode_reply(error_reply(error), self.site.date, close=True))
        self.loseConnection()

    # -- bodies ------------------------------------------------------------------------------

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

    def resumeProducing(self) -> None:
        """The transport's buffer is empty again."""
        http.HTTPChannel.resumeProducing(self)
        if self._body_paused or self._held:
            self._networkProducer.pauseProducing()

    def body_wanted(self) -> None:
        """A handler begins to take the body: tell a client that waits for that."""
        request = self.requests[-1]
        expect = request.requestHeaders.getRawHeaders(b"Expect", [])
        if expect and expect[0].lower() == b"100-continue" and not request.startedWriting and not request.body.complete:
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _send100Continue(self) -> None:
        """Not at once: L{body_wanted} does it, if the body is wanted."""

    def linger(self, body: RequestBody) -> None:
        """The answer to the current request is out and part of its body is not in: read on for a moment, then close."""
        self.flush_head()
        body.discard()
        self.site.reactor.callLater(_LINGER, self._end_linger)

    def _end_linger(self) -> None:
        if self.transport is not None and self.transport.connected:
            self.transport.abortConnection()

    # -- writing -----------------------------------------------------------------------------

    def writeHeaders(self, version: bytes, code: bytes, reason: bytes, headers: Any) -> None:
        """Keep the head until the first bytes of the body, to send both at once."""
        lines = [b"HTTP/1.1 %b %b" % (code, reason)]
        for name, values in headers.getAllRawHeaders():
            lines += [b"%b: %b" % (name, value) for value in values]
        self._head = b"\r\n".join((*lines, b"", b""))

    def write(self, data: bytes) -> None:
        """Send."""
        head, self._head = self._head, b""
        self.transport.write(head + data if head else data)

    def writeSequence(self, iovec: Any) -> None:
        """Send."""
        self.write(b"".join(iovec))

    def flush_head(self) -> None:
        """Send a head that has no body yet."""
        if self._head:
            self.write(b"")
