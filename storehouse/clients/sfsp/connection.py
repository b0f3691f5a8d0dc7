"""One connection of SFSP: requests are sent one behind the other without waiting, responses come in the same order."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Generic, TypeVar

import attrs
from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from storehouse.clients.sfsp.reasons import ServerSilent, StaleConnection, error_of, shown
from storehouse.core.jobs import deferred
from storehouse.core.sfsp import (
    MAX_ID,
    Chunk,
    Code,
    Ids,
    List,
    Receive,
    Request,
    ResponseDecoder,
    Send,
    Status,
    encode_list,
    encode_receive,
    encode_send,
)
from storehouse.core.streams import IByteStream, Piece, PushedStream
from storehouse.core.turns import breath
from storehouse.errors import InvalidAnswer, NoSuchChunk, RemoteRefused, RemoteUnavailable, SizeMismatch

__all__ = ["ChunkReader", "Connection", "TakeIds"]

T = TypeVar("T")

#: Is given IDs, some at a time. If it returns a Deferred, the next call is after that has fired.
TakeIds = Callable[[Sequence[int]], object]

# Bytes that are rather read or sent in vain than that a connection is closed.
_MAX_WASTE = 1 << 20


@implementer(IByteStream)
@attrs.frozen(eq=False)
class ChunkReader:
    """
    A chunk that comes in, as a stream of its bytes. As long as some of it waits to be read, all responses behind it on
    the same connection wait: read it to its end, or close it.

    @ivar size: bytes of the chunk.
    """

    name: bytes
    id: int
    size: int
    _stream: PushedStream

    def read(self) -> Awaitable[Piece]:
        """See L{IByteStream.read}. @raise RemoteUnavailable: if the connection breaks."""
        return self._stream.read()

    def close(self) -> Deferred[None]:
        """See L{IByteStream.close}. The connection is closed if much of the chunk was still to come."""
        return self._stream.close()


class _Exchange(Generic[T]):
    """
    A request and its response.

    @ivar done: fires with the result.
    @ivar is_unwanted: the rest of the response is to be ignored.
    """

    def __init__(self, connection: Connection, request: Request, head: bytes) -> None:
        self.connection = connection
        self.request = request
        self.head = head
        self.is_unwanted = False
        self.done: Deferred[T] = Deferred(self._cancelled)
        self._outcome: T | BaseException | None = None
        self._is_settled = False

    @property
    def is_sent(self) -> bool:
        """Whether all of it was sent, so that it is the server's turn."""
        return True

    @property
    def is_held(self) -> bool:
        """Whether the response waits for its reader."""
        return False

    def succeed(self, result: T) -> None:
        """It is over. Only the first outcome counts."""
        self._settle(result)

    def fail(self, error: BaseException) -> None:
        """It has failed; more of the response may come."""
        self._settle(error)

    def broken(self, error: BaseException) -> None:
        """The connection is no more."""
        self._settle(error)

    def _settle(self, outcome: T | BaseException) -> None:
        if not self._is_settled:
            self._is_settled = True
            self._outcome = outcome
            self._fire()

    def _fire(self) -> None:
        if self.done.called:
            return
        if isinstance(self._outcome, BaseException):
            self.done.errback(self._outcome)
        else:
            self.done.callback(self._outcome)  # type: ignore[arg-type]

    def _cancelled(self, done: Deferred[T]) -> None:
        self.is_unwanted = True
        self.connection.give_up(self)


class _Sending(_Exchange[None]):
    """A chunk on its way to the server. It is over when the response is there and the stream was read."""

    def __init__(self, connection: Connection, name: bytes, id: int, stream: IByteStream, size: int) -> None:
        super().__init__(connection, Send(name, id, size), encode_send(name, id, size))
        self.left = size
        self.is_reading = False
        self._stream = stream

    @property
    def is_sent(self) -> bool:
        return not self.left

    def begin(self) -> None:
        """Send the data."""
        self.is_reading = True
        Deferred.fromCoroutine(self._send()).addBoth(self._ended)

    def broken(self, error: BaseException) -> None:
        self._settle(error)
        self._stream.close()

    async def _send(self) -> None:
        try:
            while piece := await self._stream.read():
                if len(piece) > self.left:
                    raise SizeMismatch("the stream has more bytes than were announced")
                self.left -= len(piece)
                await self.connection.write_data(piece)
                await breath()
            if self.left:
                raise SizeMismatch(f"the stream ended {self.left} bytes early")
        finally:
            await self._stream.close()

    def _ended(self, result: object) -> None:
        self.is_reading = False
        self.connection.stream_ended(self, result.value if isinstance(result, Failure) else None)
        if self._is_settled:
            self._fire()

    def _fire(self) -> None:
        # An early response does not end it: the server waits for the rest of the chunk.
        if not self.is_reading:
            super()._fire()


class _Receiving(_Exchange[ChunkReader]):
    """A chunk that is requested. C{done} fires with its reader."""

    def __init__(self, connection: Connection, name: bytes, id: int) -> None:
        super().__init__(connection, Receive(name, id), encode_receive(name, id))
        self.name = name
        self.id = id
        self.stream: PushedStream | None = None

    @property
    def is_held(self) -> bool:
        return self.stream is not None and self.stream.waiting > 0

    def begin(self, chunk: Chunk) -> None:
        """The chunk comes."""
        self.stream = PushedStream(_nothing, self.connection.go_on, closed=self._closed)
        if self.is_unwanted:
            self.stream.close()
        else:
            self.succeed(ChunkReader(self.name, self.id, chunk.size, self.stream))

    def broken(self, error: BaseException) -> None:
        self._settle(error)
        if self.stream is not None:
            self.stream.fail(error)

    def _closed(self) -> None:
        self.is_unwanted = True
        self.connection.give_up(self)


class _Listing(_Exchange[int]):
    """IDs that are requested. C{done} fires with their number when all were taken."""

    def __init__(self, connection: Connection, name: bytes, take: TakeIds) -> None:
        super().__init__(connection, List(name), encode_list(name))
        self.count = 0
        self._take = take
        self._is_waiting = False

    @property
    def is_held(self) -> bool:
        return self._is_waiting and not self.is_unwanted

    def take(self, ids: Sequence[int]) -> None:
        """IDs have come."""
        if self.is_unwanted:
            return
        try:
            taken = self._take(ids)
        except Exception as error:
            self._refused(error)
            return
        if isinstance(taken, Deferred):
            self._is_waiting = True
            taken.addCallbacks(self._taken, lambda failure: self._refused(failure.value))

    def _taken(self, result: object) -> None:
        self._is_waiting = False
        self.connection.go_on()

    def _refused(self, error: BaseException) -> None:
        self._is_waiting = False
        self.is_unwanted = True
        self.fail(error)
        self.connection.give_up(self)


def _nothing() -> None:
    """The connection looks at L{_Exchange.is_held} by itself."""


@implementer(IPushProducer)
class Connection(Protocol):
    """
    A connection to a server. Any number of requests may be made at once; they wait for each other.

    @param timeout: seconds without a byte after which the connection is closed when it is the server's turn.
    @param max_chunk: bytes that a chunk may have that is received.
    @ivar error: why no request can be made; C{None} if one can.
    @ivar on_change: called when a request is over, and when the connection is.
    @ivar ended: fires with C{None} when it is closed.
    """

    def __init__(self, clock: IReactorTime, timeout: float = 60.0, max_chunk: int = MAX_ID) -> None:
        self.error: Exception | None = None
        self.on_change: Callable[[], None] = lambda: None
        self.ended: Deferred[None] = Deferred()
        self._clock = clock
        self._timeout = timeout
        self._decoder = ResponseDecoder(max_chunk=max_chunk)
        self._waiting: deque[_Exchange[Any]] = deque()  # not yet sent
        self._sent: deque[_Exchange[Any]] = deque()  # at least in part, with a response that has not come whole
        self._sending: _Sending | None = None  # its data is on the way
        self._drained: Deferred[None] | None = None  # fires when the socket takes more; None while it does
        self._is_writing = False
        self._is_taking = False
        self._is_paused = False
        self._are_ids_coming = False
        self._responses = 0
        self._may_be_stale = False
        self._moved = 0.0
        self._timer: IDelayedCall | None = None

    @property
    def outstanding(self) -> int:
        """Requests that are not over."""
        return len(self._waiting) + len(self._sent)

    # -- requests ------------------------------------------------------------------------------

    @deferred
    async def send(self, name: bytes, id: int, stream: IByteStream, size: int) -> None:
        """
        Store a chunk.

        @param stream: of C{size} bytes; closed in any case.
        @return: fires when it is stored; fails with what the stream failed with, if it did.
        @raise RemoteRefused: through the Deferred, as all others: the server would refuse it again.
        @raise RemoteUnavailable: it failed, or cannot be reached any more. The chunk may be stored or not.
        @raise InvalidAnswer: it does not speak the protocol.
        """
        try:
            await self._request(_Sending(self, name, id, stream, size))
        finally:
            await stream.close()

    def receive(self, name: bytes, id: int) -> Deferred[ChunkReader]:
        """
        Request a chunk.

        @return: fires with its reader, which is to be closed.
        @raise NoSuchChunk: through the Deferred; and as L{send}.
        """
        return self._request(_Receiving(self, name, id))

    def list_ids(self, name: bytes, take: TakeIds) -> Deferred[int]:
        """
        Request the IDs of all chunks of a file.

        @param take: is called with some at a time, up to some thousands.
        @return: fires with their number.
        """
        return self._request(_Listing(self, name, take))

    def _request(self, exchange: _Exchange[T]) -> Deferred[T]:
        if self.error is not None:
            return fail(self.error)
        self._waiting.append(exchange)
        self._write_next()
        return exchange.done

    def close(self) -> Deferred[None]:
        """Close it. What is outstanding fails. @return: fires when it is closed."""
        is_idle = not self.outstanding and self._sending is None
        self._break(RemoteUnavailable("the client closed the connection"), orderly=is_idle)
        return self.ended

    # -- Protocol ------------------------------------------------------------------------------

    def connectionMade(self) -> None:
        """Have the transport say when the socket is full."""
        self._transport.registerProducer(self, True)
        self._write_next()

    def dataReceived(self, data: bytes) -> None:
        """Decode responses."""
        self._moved = self._clock.seconds()
        self._decoder.feed(data)
        self._take_responses()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Nothing more comes."""
        self._stop_timer()
        if self.error is None:
            error: Exception = error_of(reason.value)
            if self._may_be_stale and isinstance(error, RemoteUnavailable):
                error = StaleConnection(str(error))
            self._fail_all(error)
        self.ended.callback(None)

    @property
    def _transport(self) -> Any:
        return self.transport

    # -- IPushProducer, for the transport --------------------------------------------------------

    def pauseProducing(self) -> None:
        """The socket is full."""
        if self._drained is None:
            self._drained = Deferred()

    def resumeProducing(self) -> None:
        """The socket takes more."""
        self._moved = self._clock.seconds()
        self._drain()
        self._write_next()

    def stopProducing(self) -> None:
        """The connection is lost: L{connectionLost} is called, too."""

    def _drain(self) -> None:
        drained, self._drained = self._drained, None
        if drained is not None and not drained.called:
            drained.callback(None)

    # -- sending -------------------------------------------------------------------------------

    async def write_data(self, data: Piece) -> None:
        """Send data of a chunk, and wait while the socket is full."""
        if self.error is not None:
            raise self.error
        self._moved = self._clock.seconds()
        self._transport.write(bytes(data))
        self._watch()
        if self._drained is not None:
            await self._drained

    def stream_ended(self, sending: _Sending, error: BaseException | None) -> None:
        """All data of a chunk was written, or cannot be."""
        if self._sending is sending:
            self._sending = None
        if error is not None:
            # The server waits for bytes that will not come.
            sending.fail(error)
            self._break(RemoteUnavailable("the connection was closed, since a chunk sent on it was not whole"))
            return
        self._watch()
        self._write_next()

    def _write_next(self) -> None:
        if self._is_writing or not self.connected:
            return
        self._is_writing = True
        try:
            while self._waiting and self._sending is None and self._drained is None and self.error is None:
                exchange = self._waiting.popleft()
                if not self._sent:
                    self._may_be_stale = self._responses > 0
                self._sent.append(exchange)
                self._decoder.expect(type(exchange.request))
                self._moved = self._clock.seconds()
                self._transport.write(exchange.head)
                if isinstance(exchange, _Sending):
                    self._sending = exchange
                    exchange.begin()
        finally:
            self._is_writing = False
        self._watch()

    # -- receiving -----------------------------------------------------------------------------

    @property
    def _is_held(self) -> bool:
        return bool(self._sent) and self._sent[0].is_held

    def go_on(self) -> None:
        """The chunk before this request was read."""
        self._moved = self._clock.seconds()
        self._take_responses()

    def _take_responses(self) -> None:
        if self._is_taking:
            return
        self._is_taking = True
        try:
            while self.error is None and not self._is_held:
                if self._sent and self._is_whole(self._sent[0]):
                    self._end_response()
                    continue
                item = self._decoder.next()
                if item is None:
                    break
                self._take(item)
        except InvalidAnswer as error:
            self._break(error)
        finally:
            self._is_taking = False
        if self.error is None:
            if self._is_paused != self._is_held:
                self._is_paused = not self._is_paused
                if self._is_paused:
                    self._transport.pauseProducing()
                else:
                    self._transport.resumeProducing()
            self._watch()

    def _is_whole(self, exchange: _Exchange[Any]) -> bool:
        if isinstance(exchange, _Receiving):
            return exchange.stream is not None and not self._decoder.left
        return isinstance(exchange, _Listing) and self._are_ids_coming and not self._decoder.ids_left

    def _end_response(self) -> None:
        exchange = self._sent.popleft()
        if isinstance(exchange, _Receiving) and exchange.stream is not None:
            exchange.stream.end()
        elif isinstance(exchange, _Listing):
            self._are_ids_coming = False
            exchange.succeed(exchange.count)
        self.on_change()

    def _take(self, item: Status | Chunk | Ids | bytes | tuple[int, ...]) -> None:
        exchange = self._sent[0] if self._sent else None
        if isinstance(item, bytes):
            if isinstance(exchange, _Receiving) and exchange.stream is not None:
                exchange.stream.write(item)
        elif isinstance(item, tuple):
            if isinstance(exchange, _Listing):
                exchange.take(item)
        elif exchange is None:
            # The server says that it closes a connection that was idle.
            self._break(StaleConnection("the server closed the connection"), orderly=True)
        elif isinstance(item, Status):
            self._take_status(exchange, item)
        else:
            self._responses += 1
            self._may_be_stale = False
            if isinstance(exchange, _Receiving) and isinstance(item, Chunk):
                if Receive(item.name, item.id) != exchange.request:
                    raise InvalidAnswer(f"chunk {item.id} of {item.name!r} came, which was not requested")
                exchange.begin(item)
            elif isinstance(exchange, _Listing) and isinstance(item, Ids):
                exchange.count = item.count
                self._are_ids_coming = True
                if exchange.is_unwanted:
                    self.give_up(exchange)

    def _take_status(self, exchange: _Exchange[Any], status: Status) -> None:
        reason = status.message.decode("utf-8", "replace") or "no reason given"
        is_stale, self._may_be_stale = self._may_be_stale, False
        self._responses += 1
        if status.code == Code.INVALID_REQ:
            error = RemoteUnavailable("the server closed the connection after an earlier request was refused")
            if is_stale:
                error = StaleConnection(f"the server closed the connection: {reason}")
            self._break(
                error, exchange, error if is_stale else RemoteRefused(f"the server refused the request: {reason}")
            )
            return
        if isinstance(exchange, _Sending) and not exchange.is_sent:
            if status.code == Code.OK:
                raise InvalidAnswer("the server claims to have stored a chunk before all its bytes were sent")
            if exchange.left > _MAX_WASTE:
                failed = RemoteUnavailable(f"the server failed: {reason}")
                self._break(RemoteUnavailable("an earlier request failed"), exchange, failed)
                return
        if status.code == Code.NOT_FOUND and not isinstance(exchange, _Receiving):
            raise InvalidAnswer("the server reported a missing chunk for another request")
        self._sent.popleft()
        if status.code == Code.INTERNAL:
            exchange.fail(RemoteUnavailable(f"the server failed: {reason}"))
        elif isinstance(exchange, _Receiving):
            exchange.fail(NoSuchChunk(f"there is no chunk {exchange.id} of {shown(exchange.name)}"))
        else:
            exchange.succeed(None)
        self.on_change()

    # -- ending --------------------------------------------------------------------------------

    def give_up(self, exchange: _Exchange[T]) -> None:
        """Nothing waits for this any more: what cannot be stopped is read in vain, or the connection closed."""
        if self.error is not None:
            return
        if exchange in self._waiting:
            self._waiting.remove(exchange)
            exchange.fail(CancelledError())
            self.on_change()
        elif isinstance(exchange, _Sending):
            if not exchange.is_sent or exchange.is_reading:
                broken = RemoteUnavailable("the connection was closed, since a chunk sent on it was not whole")
                self._break(broken, exchange, CancelledError())
        elif self._sent and self._sent[0] is exchange:
            if self._decoder.left > _MAX_WASTE or self._decoder.ids_left * 8 > _MAX_WASTE:
                self._break(RemoteUnavailable("the connection was closed, since the rest of a response was not wanted"))
            else:
                self.go_on()

    def _break(
        self,
        error: Exception,
        culprit: _Exchange[Any] | None = None,
        reason: Exception | None = None,
        orderly: bool = False,
    ) -> None:
        """
        Close the connection.

        @param culprit: a request that fails with C{reason}, unlike the others.
        @param orderly: without a reset.
        """
        if self.error is not None:
            return
        self._stop_timer()
        transport = self._transport
        if transport is not None and self.connected:
            transport.unregisterProducer()
            if self._is_paused:  # else it would not see that the other side closes
                transport.resumeProducing()
            if orderly:
                transport.loseConnection()
            else:
                transport.abortConnection()
        self._fail_all(error, culprit, reason)

    def _fail_all(
        self, error: Exception, culprit: _Exchange[Any] | None = None, reason: Exception | None = None
    ) -> None:
        self.error = error
        exchanges = [*self._sent, *self._waiting]
        if self._sending is not None and self._sending not in exchanges:
            exchanges.append(self._sending)
        self._sent.clear()
        self._waiting.clear()
        # First, so that no request is made again on this connection.
        self.on_change()
        for exchange in exchanges:
            exchange.broken(reason if exchange is culprit and reason is not None else error)
        self._drain()

    # -- time ----------------------------------------------------------------------------------

    @property
    def _is_servers_turn(self) -> bool:
        if self.error is not None or self._is_held:
            return False
        return self._drained is not None or (bool(self._sent) and self._sent[0].is_sent)

    def _watch(self) -> None:
        if self._timer is None and self.connected and self._is_servers_turn:
            self._timer = self._clock.callLater(self._timeout, self._check_time)

    def _check_time(self) -> None:
        self._timer = None
        if not self._is_servers_turn:
            return
        left = self._moved + self._timeout - self._clock.seconds()
        if left > 0:
            self._timer = self._clock.callLater(left, self._check_time)
        else:
            self._break(ServerSilent(f"the server was silent for {self._timeout:g} s"))

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
