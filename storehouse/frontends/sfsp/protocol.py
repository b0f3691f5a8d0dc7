"""One SFSP connection: its requests, which of them are worked on at the same time, and the bytes of chunks as they come in."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer, ISSLTransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from storehouse.core.connections import Backlog, IdleWatch, Lingering, Pace, source_of
from storehouse.core.fast.transports import LARGE_READS
from storehouse.core.sfsp import (
    Code,
    List,
    Receive,
    Request,
    RequestDecoder,
    Send,
    Status,
    encode_chunk,
    encode_ids_head,
)
from storehouse.core.streams import PushedStream
from storehouse.core.turns import breath
from storehouse.errors import InvalidRequest, RequestTimeout, StorehouseError, Unavailable
from storehouse.frontends.sfsp.answers import Answer, Answers
from storehouse.frontends.sfsp.chunks import FileName
from storehouse.frontends.sfsp.errors import error_status, request_status

__all__ = ["ChunkBody", "SFSPConnection"]

# Answers that may be owed on one connection, and chunks that may be open for those; then it waits.
_MOST_OWED = 256
_MOST_OPEN = 8

# Bytes that a chunk may still have in memory once it has come whole: the others were handed on to the disk before.
_MOST_HELD = 1 << 20


@implementer(IPushProducer, IHalfCloseableProtocol)
class SFSPConnection(Protocol):
    """
    Takes requests as they come, works on many at a time, and answers in order.

    A request that another one in flight might change the answer of waits for all before it, so that each sees what
    those before it did.

    @param factory: an L{SFSPFactory<storehouse.frontends.sfsp.factory.SFSPFactory>}.
    @param refusal: why it is not served at all; empty if it is.
    @ivar watch, pace: time the peer, for the factory.
    @ivar backlog: answers that the peer does not take.
    @ivar active: set whenever bytes come.
    """

    _log = Logger()

    transport: Any

    def __init__(self, door: object, refusal: StorehouseError | None = None) -> None:
        """@param door: the L{SFSPFactory<storehouse.frontends.sfsp.factory.SFSPFactory>}, whose module imports this one."""
        factory: Any = door
        self.watch = IdleWatch()
        self.pace = Pace()
        self.active = False
        self._factory = factory
        self._refusal = refusal
        self._decoder = RequestDecoder(factory.settings.max_name, factory.settings.max_chunk)
        self._answers = Answers(self._write, self._answered, request_status, self._broken)
        self._body: ChunkBody | None = None
        self._sending: Answer | None = None
        self._next: Request | None = None  # waits for those before it
        self._working = 0  # requests that are being worked on
        self._turns = _Turns()
        self._open = 0
        self._holds: set[str] = set()
        self._is_ended = False  # the peer sends no more
        self._is_decoding = self._is_finishing = self._is_refused = self._is_closing = self._is_lost = False
        # Nobody else looks after one that is refused.
        end = self.abort if refusal is not None else lambda: self.transport.loseConnection()
        self._lingering = Lingering(factory.reactor, end)
        self._peer = "-"
        self._source = ""
        self._usual_reads = 0
        self._received = 0

    # -- the connection ------------------------------------------------------------------------

    def connectionMade(self) -> None:
        """Join the others."""
        self._peer = getattr(self.transport.getPeer(), "host", "-")
        self._source = source_of(self.transport)
        self._usual_reads = getattr(self.transport, "bufferSize", 0)
        self.backlog: Backlog = self._factory.backlog_of(self)
        self.transport.registerProducer(self, True)
        self._factory.joined(self)
        if self._refusal is not None:
            self._refuse(self._refusal)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """What has not come whole is not stored."""
        self._is_lost = True
        self.backlog.close()
        self._lingering.stop()
        self._factory.left(self)
        self._answers.give_up()
        self._drop_body()

    def _drop_body(self, error: StorehouseError | None = None) -> bool:
        """The rest of a chunk will not come. @return: whether there was to be more."""
        body, answer = self._body, self._sending
        self._body = self._sending = None
        if body is None or answer is None:
            return False
        if error is not None and answer.code is None:
            answer.refusal = error
        body.fail(error or Unavailable("the chunk was incomplete; nothing of it was stored"))
        return True

    def readConnectionLost(self) -> None:
        """The peer sends no more, but may read: answer what was asked, then close."""
        self._is_ended = True
        if self._is_closing:  # it has closed its side, too
            self.transport.loseConnection()
            return
        body = self._body
        if body is not None:
            came = self._sending.size if self._sending is not None else 0
            self._drop_body(
                InvalidRequest(f"the chunk ended after {came} of {came + body.left} bytes; nothing of it was stored")
            )
        elif self._decoder.held and not (self._holds or self._is_refused):
            self._refuse(InvalidRequest(f"the last request ended early, after {self._decoder.held} bytes"))
        self.finish_soon()

    def writeConnectionLost(self) -> None:
        """We have closed our side."""

    def finish_soon(self) -> None:
        """Answer what has begun, then close."""
        self._is_finishing = True
        self._close_if_done()

    def abort(self) -> None:
        """Close the connection at once, and drop what is not sent."""
        self.transport.abortConnection()

    @property
    def waits_for_peer(self) -> bool:
        """Whether it is the peer's turn: to send, or to read."""
        if self._is_closing or "peer" in self._holds:
            return True
        if self._holds:
            return False
        return self._body is not None or not self._answers

    @property
    def awaited(self) -> tuple[object, int] | None:
        """What it is the peer's turn to send the rest of, a request or a chunk, and how many bytes have come."""
        if self._holds or self._is_closing or self._is_refused or self._is_ended:
            return None
        if self._body is not None:
            return self._body, self._received
        return (self._decoder, self._received) if self._decoder.held else None

    @property
    def unfinished(self) -> int:
        """Answers that are owed."""
        return len(self._answers)

    def time_out(self, what: str) -> None:
        """The peer takes too long."""
        if self._is_closing or self._is_refused or "peer" in self._holds:
            self.abort()
        else:
            self._refuse(RequestTimeout(what))

    # -- receiving -----------------------------------------------------------------------------

    def dataReceived(self, data: bytes) -> None:
        """Take what came."""
        if self._is_refused or self._is_closing:
            self._lingering.received(len(data))
            return
        self.active = True
        self._factory.bytes_in += len(data)
        self._received += len(data)
        self._decoder.feed(data)
        self._decode()

    def _decode(self) -> None:
        if self._is_decoding:
            return
        self._is_decoding = True
        try:
            while not (self._holds or self._is_refused or self._is_closing or self._is_lost):
                if self._next is not None:
                    request, self._next = self._next, None
                    self._begin(request)
                    continue
                if self._is_finishing and self._body is None:
                    self.hold("end")
                    break
                came = self._decoder.next()
                if came is None:
                    break
                waiting = breath()
                if isinstance(waiting, Deferred):
                    self.hold("breath")
                    waiting.addBoth(lambda result: self.release("breath"))
                if isinstance(came, bytes):
                    self._take(came)
                else:
                    self._begin(came)
        except StorehouseError as error:
            self._refuse(error)
        finally:
            self._is_decoding = False
        self._close_if_done()

    def hold(self, why: str) -> None:
        """Read no more until it is L{release}d."""
        if not self._holds:
            self.transport.pauseProducing()
        self._holds.add(why)

    def release(self, why: str) -> None:
        """What was a reason to L{hold} is none any more."""
        if why not in self._holds:
            return
        self._holds.discard(why)
        if not self._holds and not self._is_lost:
            self.watch.reset()
            self._decode()
            if not (self._holds or self._is_lost or self._is_ended):
                self.transport.resumeProducing()

    def _take(self, data: bytes) -> None:
        """Some of a chunk."""
        body, answer = self._body, self._sending
        assert body is not None and answer is not None
        answer.size += len(data)
        body.take(data)
        if not body.left and self._body is body:
            self._body = self._sending = None
            if answer.code is None:
                answer.held = min(answer.size, _MOST_HELD)
                self._factory.took(self, answer.held)

    # -- requests ------------------------------------------------------------------------------

    def _begin(self, request: Request) -> None:
        if self._turns.must_wait(request):
            self._next = request
            self.hold("turn")
            return
        answer = Answer(request, self._factory.now())
        self._answers.owe(answer)
        self._working += 1
        if isinstance(request, Send):
            work = self._begin_send(request, answer)
        else:
            work = self._fetch(request, answer)
        Deferred.fromCoroutine(work).addErrback(self._failed)
        if len(self._answers) >= _MOST_OWED or self._open >= _MOST_OPEN:
            self.hold("answers")

    def _begin_send(self, request: Send, answer: Answer) -> Any:
        body = ChunkBody(request.size, lambda: self.hold("body"), lambda: self.release("body"))
        if request.size:
            self._body, self._sending = body, answer
            if self._usual_reads:
                self.transport.bufferSize = LARGE_READS if request.size > LARGE_READS else self._usual_reads
        return self._send(request, answer, body)

    async def _send(self, request: Send, answer: Answer, body: ChunkBody) -> None:
        try:
            with self._turns.held(request):
                await self._factory.chunks.send(FileName.of(request.name), request.id, body, request.size, self._source)
            answer.set_status(Status(Code.OK))
        except Exception as error:
            await body.close()
            # What came of it says less than why the rest did not come.
            answer.set_status(error_status(answer.refusal) if answer.refusal else request_status(error, request))
        self._factory.stored(answer.held)
        self._done(answer)

    async def _fetch(self, request: Receive | List, answer: Answer) -> None:
        self._open += 1
        try:
            with self._turns.held(request):
                if isinstance(request, List):
                    ids = await self._factory.chunks.ids(
                        FileName.of(request.name), lambda: not self._is_lost, self._source
                    )
                    answer.set_stream(encode_ids_head(ids.size // 8), ids, ids.size)
                else:
                    await self.backlog.room()
                    reader = await self._factory.chunks.open(FileName.of(request.name), request.id, self._source)
                    head = encode_chunk(request.name, request.id, reader.length)
                    answer.set_stream(head, reader, reader.length)
        except Exception as error:
            answer.set_status(request_status(error, request))
        self._done(answer)

    def _done(self, answer: Answer) -> None:
        """An answer is known."""
        self._working -= 1
        if self._is_lost:
            answer.give_up()
            return
        self.watch.reset()
        self._answers.flush()
        if not self._working:
            self.release("turn")
        self._close_if_done()

    def _failed(self, failure: Failure) -> None:
        self._log.failure("a connection failed", failure=failure)
        self.abort()

    # -- answers -------------------------------------------------------------------------------

    def _write(self, data: bytes) -> None:
        self._factory.bytes_out += len(data)
        self.transport.write(data)

    def _answered(self, answer: Answer) -> None:
        """An answer is out."""
        if isinstance(answer.request, (Receive, List)):
            self._open -= 1
        self._factory.answered(self._peer, answer)
        if isinstance(answer.request, List):
            self._turns.list_is_out()
            self.release("turn")
        if answer.code == Code.INVALID_REQ:
            self._linger()
        elif len(self._answers) < _MOST_OWED and self._open < _MOST_OPEN:
            self.release("answers")

    def _broken(self, failure: Failure) -> None:
        """
        Abort the connection: only that shows the client that the chunk is incomplete, since SFSP has no other way.
        """
        if failure.check(StorehouseError):
            self._log.error("a response was interrupted: {reason}", reason=str(failure.value))
        else:
            self._log.failure("a response was interrupted", failure=failure)
        self._factory.broken += 1
        self.abort()

    def pauseProducing(self) -> None:
        """The peer does not read."""
        self.backlog.backed_up()
        self.hold("peer")
        self._answers.pause()

    def resumeProducing(self) -> None:
        """It does again."""
        self.backlog.drained()
        self.backlog.when_room(self._go_on, self._broken)

    def _go_on(self) -> None:
        self._answers.resume()
        self.release("peer")

    def stopProducing(self) -> None:
        """The transport is closed."""

    # -- the end -------------------------------------------------------------------------------

    def _refuse(self, error: StorehouseError) -> None:
        """
        Answer INVALID_REQ once all before it is answered, then close. A send whose chunk will not come whole gets it as
        its own answer.
        """
        self._is_refused = True
        if self._drop_body(error):
            return
        answer = Answer(None, self._factory.now())
        answer.set_status(error_status(error))
        self._answers.owe(answer)
        self._answers.flush()

    def _linger(self) -> None:
        self._is_closing = True
        self.transport.unregisterProducer()
        if self._is_ended:
            self.transport.loseConnection()
        else:
            # The peer is to read the answer, though it may be sending still.
            self.transport.resumeProducing()
            if ISSLTransport.providedBy(
                self.transport
            ):  # it has no half to close, and waits for the peer's end by itself
                self.transport.loseConnection()
            else:
                self.transport.loseWriteConnection()
            self._lingering.begin()

    def _close_if_done(self) -> None:
        if self._is_finishing and not (
            self._answers or self._body or self._next or self._is_closing or self._is_lost or self._is_decoding
        ):
            if self._holds or self._decoder.held:  # the peer has sent more than was taken
                self._linger()
                return
            self._is_closing = True
            self.transport.unregisterProducer()
            self.transport.loseConnection()


class ChunkBody(PushedStream):
    """
    What the connection has taken of a chunk, as a stream for the store.

    @param size: bytes of the chunk.
    @param pause: has the connection read no more for now.
    @param resume: lets it continue.
    @ivar left: bytes that are still to come, and are read from the connection even if the store wants no more.
    """

    def __init__(self, size: int, pause: Callable[[], object], resume: Callable[[], object]) -> None:
        super().__init__(pause, resume)
        self.left = size
        if not size:
            self.end()

    def take(self, data: bytes) -> None:
        """Some bytes came, no more than are left."""
        self.left -= len(data)
        if not self.left:
            # What comes behind is not of this chunk, and does not wait for the store to take its last bytes.
            self._bound = sys.maxsize
        self.write(data)
        if not self.left:
            self.end()


class _Turns:
    """
    The requests in work. One that could see or undo what another one does must wait: each is to find what those before
    it left, as if they were done one after the other. Of lists, one at a time is made and kept until it is out.
    """

    def __init__(self) -> None:
        self._sent: set[tuple[bytes, int]] = set()
        self._received: Counter[tuple[bytes, int]] = Counter()
        self._listed = 0
        self._lists = 0

    def must_wait(self, request: Request) -> bool:
        """Whether it cannot be begun while those in work are not done."""
        if isinstance(request, List):
            return bool(self._sent or self._lists)
        touched = (request.name, request.id)
        if isinstance(request, Receive):
            return touched in self._sent
        return touched in self._sent or touched in self._received or bool(self._listed)

    @contextmanager
    def held(self, request: Request) -> Iterator[None]:
        """It is in work for as long as the block lasts."""
        if isinstance(request, List):
            self._listed += 1
            self._lists += 1
        elif isinstance(request, Send):
            self._sent.add((request.name, request.id))
        else:
            self._received[request.name, request.id] += 1
        try:
            yield
        finally:
            if isinstance(request, List):
                self._listed -= 1
            elif isinstance(request, Send):
                self._sent.discard((request.name, request.id))
            else:
                self._received[request.name, request.id] -= 1
                if not self._received[request.name, request.id]:
                    del self._received[request.name, request.id]

    def list_is_out(self) -> None:
        """A list was written to its end, or was answered otherwise."""
        self._lists -= 1
