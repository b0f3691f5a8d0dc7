"""What one connection of SFSP has under way: a request and its answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.interfaces import IConsumer, IPushProducer
from twisted.python.failure import Failure
from zope.interface import implementer

from storehouse.core.sfsp import Chunk, List, Receive, Request, Send, encode_list, encode_receive, encode_send
from storehouse.core.streams import Asking, ISource
from storehouse.errors import SizeMismatch

__all__ = ["ChunkReader", "Exchange", "Listing", "Receiving", "Sending", "Taker"]

#: Is given IDs, some at a time; what it returns, if that is a Deferred, holds up those behind them.
Taker = Callable[[Sequence[int]], Any]


class _Line(Protocol):
    """What an exchange wants of its connection."""

    is_full: bool

    def write_data(self, data: bytes) -> None: ...

    def source_ended(self, sending: Sending, error: BaseException | None) -> None: ...

    def go_on(self) -> None: ...

    def give_up(self, exchange: Exchange) -> None: ...


class Exchange:
    """
    A request and its answer.

    @ivar done: fires with what was asked for.
    @ivar unwanted: nobody waits for the answer any more.
    """

    request: Request

    def __init__(self, line: _Line) -> None:
        self.line = line
        self.unwanted = False
        self.done: Deferred[Any] = Deferred(self._cancelled)
        self._outcome: list[Any] = []

    @property
    def is_sent(self) -> bool:
        """Whether all of it was sent, so that the server is to answer."""
        return True

    @property
    def is_held(self) -> bool:
        """Whether the answer waits for somebody here to take it."""
        return False

    def head(self) -> bytes:
        """The request, but for its data."""
        raise NotImplementedError

    def settle(self, outcome: Any) -> None:
        """It is over: with a result, or an exception. Only the first counts."""
        if not self._outcome:
            self._outcome.append(outcome)
            self._fire()

    def broken(self, error: Exception) -> None:
        """The connection is no more."""
        self.settle(error)

    def _fire(self) -> None:
        outcome = self._outcome[0]
        if not self.done.called:
            if isinstance(outcome, BaseException):
                self.done.errback(outcome)
            else:
                self.done.callback(outcome)

    def _cancelled(self, done: Deferred[Any]) -> None:
        self.unwanted = True
        self.line.give_up(self)


@implementer(IConsumer)
class Sending(Asking, Exchange):
    """A chunk on its way to the server. It is over when the answer is there and the source at rest."""

    def __init__(self, line: _Line, request: Send, source: Any) -> None:
        super().__init__(line)
        self.request = request
        self.left = request.size
        self.is_delivering = False
        self._source = source
        self._producer: Any = None
        self._streaming = True

    @property
    def is_sent(self) -> bool:
        """Whether all data was."""
        return not self.left

    def head(self) -> bytes:
        """See L{Exchange.head}."""
        request = self.request
        assert isinstance(request, Send)
        return encode_send(request.name, request.id, request.size)

    def begin(self) -> None:
        """Send the data."""
        self.is_delivering = True
        self._source.deliver(self).addBoth(self._ended)

    def broken(self, error: Exception) -> None:
        """Nothing more can be sent."""
        self.settle(error)
        self.stop()

    def stop(self) -> None:
        """Have the source send nothing more."""
        if self._producer is not None:
            self._producer.stopProducing()

    def pause(self) -> None:
        """The socket takes no more for now."""
        if self._producer is not None and self._streaming:
            self._producer.pauseProducing()

    def resume(self) -> None:
        """It does again."""
        if self._producer is not None:
            if self._streaming:
                self._producer.resumeProducing()
            else:
                self._ask()

    # -- IConsumer -----------------------------------------------------------------------------

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Take from this producer."""
        self._producer = producer
        self._streaming = streaming
        if self.line.is_full:
            self.pause()
        elif not streaming:
            self._ask()

    def unregisterProducer(self) -> None:
        """It has no more."""
        self._producer = None

    def write(self, data: bytes) -> None:
        """@raise SizeMismatch: if it is more than was announced."""
        if len(data) > self.left:
            raise SizeMismatch("the source has more bytes than were announced")
        self.left -= len(data)
        self.line.write_data(data)
        if not self._streaming:
            self._ask()

    def _may_ask(self) -> bool:
        return self._producer is not None and not self.line.is_full

    def _fire(self) -> None:
        # Who waits may close the source's file.
        if not self.is_delivering:
            super()._fire()

    def _ended(self, result: Any) -> None:
        self.is_delivering = False
        self._producer = None
        error = None
        if isinstance(result, Failure):
            error = result.value
        elif self.left:
            error = SizeMismatch(f"the source ended {self.left} bytes early")
        self.line.source_ended(self, error)
        if self._outcome:
            self._fire()


class Receiving(Exchange):
    """A chunk that is asked for. C{done} fires with a L{ChunkReader}."""

    def __init__(self, line: _Line, request: Receive) -> None:
        super().__init__(line)
        self.request = request
        self.reader: ChunkReader | None = None

    @property
    def is_held(self) -> bool:
        """Whether the chunk is not taken."""
        return self.reader is not None and self.reader.is_held

    def head(self) -> bytes:
        """See L{Exchange.head}."""
        request = self.request
        assert isinstance(request, Receive)
        return encode_receive(request.name, request.id)

    def broken(self, error: Exception) -> None:
        """The rest does not come."""
        self.settle(error)
        if self.reader is not None:
            self.reader.end(error)


@implementer(ISource, IPushProducer)
class ChunkReader:
    """
    A chunk that comes in. As long as it is not delivered, or its consumer pauses, all answers behind it on the same
    connection wait: deliver it or L{discard} it.

    @ivar size: bytes of the chunk.
    """

    def __init__(self, exchange: Exchange, chunk: Chunk) -> None:
        self.name = chunk.name
        self.id = chunk.id
        self.size = chunk.size
        self._left = chunk.size
        self._exchange = exchange
        self._consumer: Any = None
        self._done: Deferred[int] | None = None
        self._paused = True
        self._over: Exception | None = None
        self._ended = False
        self._unwanted = False

    @property
    def is_held(self) -> bool:
        """Whether its bytes have to wait."""
        return self._paused and self._left > 0 and not self._unwanted and not self._ended

    def deliver(self, consumer: Any) -> Deferred[int]:
        """See L{ISource.deliver}. @raise RemoteUnavailable: through the Deferred, if the connection breaks."""
        if self._done is not None or self._unwanted:
            return fail(RuntimeError("the chunk was delivered or discarded already"))
        done = self._done = Deferred(lambda cancelled: self._quit(CancelledError()))
        self._consumer = consumer
        try:
            consumer.registerProducer(self, True)
        except Exception as error:
            self._consumer = None
            self.discard()
            done.errback(error)
            return done
        if self._ended:
            self._finish()
        else:
            self.resumeProducing()
        return done

    def discard(self) -> None:
        """It is not wanted, or its rest is not. Harmless when all of it was delivered."""
        if not self._ended and not self._unwanted:
            self._quit(RuntimeError("the chunk was discarded"))

    def pauseProducing(self) -> None:
        """Hand over nothing more for now."""
        self._paused = True

    def resumeProducing(self) -> None:
        """Go on."""
        if self._consumer is not None and self._paused:
            self._paused = False
            self._exchange.line.go_on()

    def stopProducing(self) -> None:
        """Hand over nothing more at all."""
        self._quit(RuntimeError("the bytes were not wanted to their end"))

    def take(self, data: bytes) -> None:
        """Bytes have come."""
        self._left -= len(data)
        if self._consumer is not None and not self._unwanted:
            try:
                self._consumer.write(data)
            except Exception as error:
                self._quit(error)

    def end(self, error: Exception | None) -> None:
        """All have, or no more will."""
        if not self._ended:
            self._ended = True
            self._over = self._over or error
            self._finish()

    def _quit(self, error: Exception) -> None:
        if self._unwanted:
            return
        self._unwanted = True
        self._over = self._over or error
        # First, so that who hears of it does not ask for more on a connection that is to be closed.
        self._exchange.line.give_up(self._exchange)
        self._finish()

    def _finish(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is None or self._done is None:
            return
        error = self._over
        try:
            consumer.unregisterProducer()
        except Exception as broken:
            error = error or broken
        if error is None:
            self._done.callback(self.size)
        else:
            self._done.errback(error)


class Listing(Exchange):
    """IDs that are asked for. C{done} fires with their number when all were taken."""

    def __init__(self, line: _Line, request: List, take: Taker) -> None:
        super().__init__(line)
        self.request = request
        self.count = 0
        self._take = take
        self._waiting = False

    @property
    def is_held(self) -> bool:
        """Whether those before are still being taken."""
        return self._waiting and not self.unwanted

    def head(self) -> bytes:
        """See L{Exchange.head}."""
        return encode_list(self.request.name)

    def take(self, ids: Sequence[int]) -> None:
        """IDs have come."""
        if self.unwanted:
            return
        try:
            taken = self._take(ids)
        except Exception as error:
            self._refused(error)
            return
        if isinstance(taken, Deferred):
            self._waiting = True
            taken.addCallbacks(self._taken, lambda failure: self._refused(failure.value))

    def _taken(self, result: Any) -> None:
        self._waiting = False
        self.line.go_on()

    def _refused(self, error: BaseException) -> None:
        self._waiting = False
        self.unwanted = True
        self.settle(error)
        self.line.give_up(self)
