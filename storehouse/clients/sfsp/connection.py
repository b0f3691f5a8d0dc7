"""One connection of SFSP: requests go out one behind the other without waiting, answers come in the same order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from storehouse.clients.sfsp.exchanges import ChunkReader, Exchange, Listing, Receiving, Sending, Taker
from storehouse.clients.sfsp.reasons import ServerSilent, StaleConnection, error_of, shown
from storehouse.core.sfsp import MAX_ID, AnswerDecoder, Chunk, Code, Ids, List, Receive, Send, Status
from storehouse.errors import InvalidAnswer, NoSuchChunk, RemoteRefused, RemoteUnavailable

__all__ = ["Connection"]

#: Bytes that are rather read or sent for nothing than that a connection is closed.
_FOR_NOTHING = 1 << 20


@implementer(IPushProducer)
class Connection(Protocol):
    """
    A connection to a server. Any number of requests may be made at once; they wait for each other.

    @param clock: for the time.
    @param timeout: seconds after which the server is given up when it is its turn and no byte moves.
    @param max_chunk: bytes that a chunk may have that is received.
    @ivar error: why nothing more can be asked; C{None} as long as something can be.
    @ivar on_change: called when a request is over, and when the connection is.
    @ivar ended: fires with C{None} when it is closed.
    """

    def __init__(self, clock: Any, timeout: float = 60.0, max_chunk: int = MAX_ID) -> None:
        self.error: Exception | None = None
        self.on_change: Callable[[], None] = lambda: None
        self.ended: Deferred[None] = Deferred()
        #: Whether the socket takes no more for now.
        self.is_full = False
        self._clock = clock
        self._timeout = timeout
        self._decoder = AnswerDecoder(max_chunk=max_chunk)
        self._waiting: deque[Exchange] = deque()  # not yet sent
        self._asked: deque[Exchange] = deque()  # sent, at least in part, and not wholly answered
        self._sending: Sending | None = None  # its data is on the way
        self._writing = False
        self._taking = False
        self._is_paused = False
        self._answering = False  # IDs come in
        self._answers = 0
        self._may_be_stale = False
        self._moved = 0.0
        self._timer: Any = None

    @property
    def outstanding(self) -> int:
        """Requests that are not over."""
        return len(self._waiting) + len(self._asked)

    # -- requests ------------------------------------------------------------------------------

    def send(self, name: bytes, id: int, source: Any, size: int) -> Deferred[None]:
        """
        Store a chunk.

        @param source: an L{storehouse.core.streams.ISource} of C{size} bytes.
        @return: fires when it is stored; with what the source failed with, if it did.
        @raise RemoteRefused: through the Deferred, as all others: the server would refuse it again.
        @raise RemoteUnavailable: it failed, or cannot be reached any more. The chunk may be stored or not.
        @raise InvalidAnswer: it does not speak the protocol.
        """
        return self._ask(Sending(self, Send(name, id, size), source))

    def receive(self, name: bytes, id: int) -> Deferred[ChunkReader]:
        """
        Ask for a chunk.

        @return: fires with its reader, which is to be delivered or discarded.
        @raise NoSuchChunk: through the Deferred; and as L{send}.
        """
        return self._ask(Receiving(self, Receive(name, id)))

    def list_ids(self, name: bytes, take: Taker) -> Deferred[int]:
        """
        Ask for the IDs of all chunks of a file.

        @param take: is called with some at a time, up to some thousands; if it returns a Deferred, then the next call
            is after that has fired.
        @return: fires with their number.
        """
        return self._ask(Listing(self, List(name), take))

    def _ask(self, exchange: Any) -> Deferred[Any]:
        if self.error is not None:
            return fail(self.error)
        self._waiting.append(exchange)
        self._write_next()
        done: Deferred[Any] = exchange.done
        return done

    def close(self) -> Deferred[None]:
        """Close it. What is outstanding fails. @return: fires when it is closed."""
        idle = not self.outstanding and self._sending is None
        self._break(RemoteUnavailable("the connection was closed here"), orderly=idle)
        return self.ended

    # -- Protocol ------------------------------------------------------------------------------

    def connectionMade(self) -> None:
        """Be told when the socket is full."""
        self.transport.registerProducer(self, True)  # type: ignore[union-attr]
        self._write_next()

    def dataReceived(self, data: bytes) -> None:
        """Take answers apart."""
        self._moved = self._clock.seconds()
        self._decoder.feed(data)
        self._take_answers()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Nothing more comes."""
        self._stop_timer()
        if self.error is None:
            error: Exception = error_of(reason.value)
            if self._may_be_stale and isinstance(error, RemoteUnavailable):
                error = StaleConnection(str(error))
            self._fail_all(error)
        self.ended.callback(None)

    # -- IPushProducer, for the transport --------------------------------------------------------

    def pauseProducing(self) -> None:
        """The socket is full."""
        self.is_full = True
        if self._sending is not None:
            self._sending.pause()

    def resumeProducing(self) -> None:
        """The socket takes more."""
        self.is_full = False
        self._moved = self._clock.seconds()
        if self._sending is not None:
            self._sending.resume()
        self._write_next()

    def stopProducing(self) -> None:
        """The connection is lost, which is told elsewhere."""

    # -- sending -------------------------------------------------------------------------------

    def write_data(self, data: bytes) -> None:
        """Send data of a chunk."""
        if self.error is not None:
            raise self.error
        self._moved = self._clock.seconds()
        self.transport.write(data)  # type: ignore[union-attr]
        self._watch()

    def source_ended(self, sending: Sending, error: BaseException | None) -> None:
        """All data of a chunk was written, or cannot be."""
        if self._sending is sending:
            self._sending = None
        if error is not None:
            # The server waits for bytes that there are not.
            sending.settle(error)
            self._break(RemoteUnavailable("the connection was closed, since a chunk sent on it broke off"))
            return
        self._watch()
        self._write_next()

    def _write_next(self) -> None:
        if self._writing or not self.connected:
            return
        self._writing = True
        try:
            while self._waiting and self._sending is None and not self.is_full and self.error is None:
                exchange = self._waiting.popleft()
                if not self._asked:
                    self._may_be_stale = self._answers > 0
                self._asked.append(exchange)
                self._decoder.expect(type(exchange.request))
                self._moved = self._clock.seconds()
                self.transport.write(exchange.head())  # type: ignore[union-attr]
                if isinstance(exchange, Sending):
                    self._sending = exchange
                    exchange.begin()
        finally:
            self._writing = False
        self._watch()

    # -- receiving -----------------------------------------------------------------------------

    @property
    def _is_held(self) -> bool:
        return bool(self._asked) and self._asked[0].is_held

    def go_on(self) -> None:
        """Somebody takes what could not go on without."""
        self._moved = self._clock.seconds()
        self._take_answers()

    def _take_answers(self) -> None:
        if self._taking:
            return
        self._taking = True
        try:
            while self.error is None and not self._is_held:
                if self._asked and self._is_over(self._asked[0]):
                    self._over()
                    continue
                answer = self._decoder.next()
                if answer is None:
                    break
                self._take(answer)
        except InvalidAnswer as error:
            self._break(error)
        finally:
            self._taking = False
        if self.error is None:
            if self._is_paused != self._is_held:
                self._is_paused = not self._is_paused
                if self._is_paused:
                    self.transport.pauseProducing()  # type: ignore[union-attr]
                else:
                    self.transport.resumeProducing()  # type: ignore[union-attr]
            self._watch()

    def _is_over(self, exchange: Exchange) -> bool:
        if isinstance(exchange, Receiving):
            return exchange.reader is not None and not self._decoder.left
        return isinstance(exchange, Listing) and self._answering and not self._decoder.ids_left

    def _over(self) -> None:
        exchange = self._asked.popleft()
        if isinstance(exchange, Receiving) and exchange.reader is not None:
            exchange.reader.end(None)
        elif isinstance(exchange, Listing):
            self._answering = False
            exchange.settle(exchange.count)
        self.on_change()

    def _take(self, answer: Status | Chunk | Ids | bytes | tuple[int, ...]) -> None:
        exchange = self._asked[0] if self._asked else None
        if isinstance(answer, bytes):
            if isinstance(exchange, Receiving) and exchange.reader is not None:
                exchange.reader.take(answer)
        elif isinstance(answer, tuple):
            if isinstance(exchange, Listing):
                exchange.take(answer)
        elif exchange is None:
            # The server tells that it closes a connection that was idle.
            self._break(StaleConnection("the server closed the connection"), orderly=True)
        elif isinstance(answer, Status):
            self._take_status(exchange, answer)
        else:
            self._answers += 1
            self._may_be_stale = False
            if isinstance(exchange, Receiving) and isinstance(answer, Chunk):
                self._take_chunk(exchange, answer)
            elif isinstance(exchange, Listing) and isinstance(answer, Ids):
                exchange.count = answer.count
                self._answering = True
                if exchange.unwanted:
                    self.give_up(exchange)

    def _take_chunk(self, exchange: Receiving, chunk: Chunk) -> None:
        if Receive(chunk.name, chunk.id) != exchange.request:
            raise InvalidAnswer(f"chunk {chunk.id} of {chunk.name!r} came, which is not the one that was asked for")
        exchange.reader = ChunkReader(exchange, chunk)
        if exchange.unwanted:
            exchange.reader.discard()
        else:
            exchange.settle(exchange.reader)

    def _take_status(self, exchange: Exchange, status: Status) -> None:
        said = status.message.decode("utf-8", "replace") or "it does not say why"
        stale, self._may_be_stale = self._may_be_stale, False
        self._answers += 1
        if status.code == Code.INVALID_REQ:
            error = RemoteUnavailable("the server closed the connection, since it refused a request before this one")
            if stale:
                error = StaleConnection(f"the server closed the connection: {said}")
            self._break(error, exchange, error if stale else RemoteRefused(f"the server refused it: {said}"))
            return
        if isinstance(exchange, Sending) and not exchange.is_sent:
            if status.code == Code.OK:
                raise InvalidAnswer("the server says that a chunk is stored of which it cannot have all bytes")
            if exchange.left > _FOR_NOTHING:
                failed = RemoteUnavailable(f"the server failed: {said}")
                self._break(RemoteUnavailable("a request before this one failed"), exchange, failed)
                return
        outcome: Any = None
        if status.code == Code.INTERNAL:
            outcome = RemoteUnavailable(f"the server failed: {said}")
        elif status.code == Code.NOT_FOUND:
            if not isinstance(exchange, Receiving):
                raise InvalidAnswer("the server found nothing where nothing was to be found")
            outcome = NoSuchChunk(f"there is no chunk {exchange.request.id} of {shown(exchange.request.name)}")  # type: ignore[union-attr]
        self._asked.popleft()
        exchange.settle(outcome)
        self.on_change()

    # -- giving up -----------------------------------------------------------------------------

    def give_up(self, exchange: Exchange) -> None:
        """Nobody waits for this any more: what cannot be stopped is read for nothing, or the connection closed."""
        if self.error is not None:
            return
        if exchange in self._waiting:
            self._waiting.remove(exchange)
            exchange.settle(CancelledError())
            self.on_change()
        elif isinstance(exchange, Sending):
            if not exchange.is_sent or exchange.is_delivering:
                broken = RemoteUnavailable("the connection was closed, since a chunk sent on it broke off")
                self._break(broken, exchange, CancelledError())
        elif self._asked and self._asked[0] is exchange:
            if self._decoder.left > _FOR_NOTHING or self._decoder.ids_left * 8 > _FOR_NOTHING:
                self._break(RemoteUnavailable("the connection was closed, since the rest of an answer was not wanted"))
            else:
                self.go_on()

    def _break(
        self,
        error: Exception,
        culprit: Exchange | None = None,
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
        transport: Any = self.transport
        if transport is not None and self.connected:
            transport.unregisterProducer()
            if self._is_paused:  # else it would not see that the other side closes
                transport.resumeProducing()
            if orderly:
                transport.loseConnection()
            else:
                transport.abortConnection()
        self._fail_all(error, culprit, reason)

    def _fail_all(self, error: Exception, culprit: Exchange | None = None, reason: Exception | None = None) -> None:
        self.error = error
        exchanges = [*self._asked, *self._waiting]
        if self._sending is not None and self._sending not in exchanges:
            exchanges.append(self._sending)
        self._asked.clear()
        self._waiting.clear()
        # First, so that who hears of it does not ask on this connection again.
        self.on_change()
        for exchange in exchanges:
            exchange.broken(reason if exchange is culprit and reason is not None else error)

    # -- time ----------------------------------------------------------------------------------

    @property
    def _is_servers_turn(self) -> bool:
        if self.error is not None or self._is_held:
            return False
        return self.is_full or (bool(self._asked) and self._asked[0].is_sent)

    def _watch(self) -> None:
        if self._timer is None and self.connected and self._is_servers_turn:
            self._timer = self._clock.callLater(self._timeout, self._look)

    def _look(self) -> None:
        self._timer = None
        if not self._is_servers_turn:
            return
        left = self._moved + self._timeout - self._clock.seconds()
        if left > 0:
            self._timer = self._clock.callLater(left, self._look)
        else:
            self._break(ServerSilent(f"the server was silent for {self._timeout:g} s"))

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
