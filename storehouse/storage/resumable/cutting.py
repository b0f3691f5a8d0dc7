"""One source as several: what arrives is cut into parts as it goes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IConsumer, IPushProducer
from twisted.python.failure import Failure
from zope.interface import implementer

from storehouse.core.digests import crc32c
from storehouse.core.streams import Asking, ISource
from storehouse.errors import TooLarge
from storehouse.storage.resumable.policy import LONGEST, is_enough

__all__ = ["Cutter", "Piece"]


@implementer(ISource)
class Piece:
    """
    What becomes a part.

    @ivar size: its bytes so far.
    @ivar crc: their CRC32C.
    """

    def __init__(self, cutter: Cutter) -> None:
        self.size = 0
        self.crc = 0
        self._cutter = cutter

    def deliver(self, consumer: Any) -> Deferred[int]:
        """See L{ISource.deliver}."""
        return self._cutter.deliver_piece(self, consumer)


@implementer(IConsumer, IPushProducer)
class Cutter(Asking):
    """
    Takes all that a source gives, and gives it out in pieces.

    @param source: an L{ISource}.
    @param offset: where its first byte belongs in the upload.
    @param most: the bytes that it may have.
    @param clock: has C{callLater} and C{seconds}.
    @param verify: if given there is one piece only, of all there is; it fails with what this raises once all has come,
        and if the source breaks off.
    @ivar failure: why the source did not come to its end; C{None} if it did.
    """

    def __init__(
        self, source: Any, offset: int, most: int | None, clock: Any, verify: Callable[[], None] | None = None
    ) -> None:
        self.failure: Failure | None = None
        self._source = source
        self._offset = offset
        self._left = most
        self._clock = clock
        self._verify = verify
        self._held: list[bytes] = []
        self._streaming = True
        self._begun = False
        self._ended = False
        self._waiting: Deferred[None] | None = None
        self._piece: Piece | None = None
        self._consumer: Any = None
        self._done: Deferred[int] | None = None
        self._paused = True
        self._since = 0.0
        self._timer: Any = None

    # -- for who wants the pieces --------------------------------------------------------------

    async def next(self) -> Piece | None:
        """The next piece, once there is a byte of it; C{None} if there is none."""
        if not self._begun:
            self._begun = True
            self._source.deliver(self).addCallbacks(lambda count: self._source_ended(None), self._source_ended)
        if not self._held and not self._ended:
            waiting = self._waiting = Deferred()
            self._go_on()
            await waiting
        if not self._held:
            return None
        return Piece(self)

    def stop(self, error: Exception) -> None:
        """Take no more. What has come already is still given out."""
        if self._ended:
            return
        self._ended = True
        self.failure = Failure(error)
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.stopProducing()
        self._end_of_source()

    def verify_nothing(self) -> None:
        """To be called if there was no piece: raises what the verification does."""
        if self._verify is not None and self.failure is None:
            self._verify()

    # -- pieces --------------------------------------------------------------------------------

    def deliver_piece(self, piece: Piece, consumer: Any) -> Deferred[int]:
        """Begin to give one out."""
        done = self._done = Deferred(lambda _: self._give_up(CancelledError()))
        self._piece, self._consumer = piece, consumer
        self._paused = False
        self._since = self._clock.seconds()
        if self._verify is None:
            self._timer = self._clock.callLater(LONGEST, self._too_long)
        try:
            consumer.registerProducer(self, True)
        except Exception as error:
            self._consumer = None
            self._end_piece(error)
            return done
        held, self._held = self._held, []
        for data in held:
            self._give(data)
        if self._ended and self._piece is piece:
            self._end_of_source()
        else:
            self._go_on()
        return done

    def _give(self, data: bytes) -> None:
        piece = self._piece
        if piece is None:  # it has just ended
            self._held.append(data)
            return
        piece.crc = crc32c(data, piece.crc)
        piece.size += len(data)
        try:
            self._consumer.write(data)
        except Exception as error:
            self._give_up(error)
            return
        if (
            self._verify is None
            and self._piece is piece
            and is_enough(self._offset, piece.size, self._clock.seconds() - self._since)
        ):
            self._end_piece(None)

    def _too_long(self) -> None:
        self._timer = None
        if self._piece is not None:
            self._end_piece(None)

    def _end_piece(self, error: BaseException | None) -> None:
        piece, self._piece = self._piece, None
        done, self._done = self._done, None
        if piece is None or done is None:
            return
        self._offset += piece.size
        self._paused = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._producer is not None and self._streaming:
            self._producer.pauseProducing()
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            try:
                consumer.unregisterProducer()
            except Exception as broken:
                error = error or broken
        if error is None:
            done.callback(piece.size)
        else:
            done.errback(error)

    # -- for the source ------------------------------------------------------------------------

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Take from this producer."""
        if self._ended:
            producer.stopProducing()
            return
        self._producer = producer
        self._streaming = streaming
        if not streaming:
            self._ask()

    def unregisterProducer(self) -> None:
        """It has no more."""
        self._producer = None

    def write(self, data: bytes) -> None:
        """@raise TooLarge: beyond the bound."""
        if self._ended:
            return
        if self._left is not None:
            if len(data) > self._left:
                raise TooLarge("the upload would have more bytes than it may have")
            self._left -= len(data)
        if data and self._piece is None:
            self._held.append(data)
            if self._producer is not None and self._streaming:
                self._producer.pauseProducing()
            self._wake()
        elif data:
            self._give(data)
        if not self._streaming:
            self._ask()

    def _source_ended(self, failure: Failure | None) -> None:
        if self._ended:  # it was stopped, and says so
            return
        self._ended = True
        self.failure = failure
        self._producer = None
        self._end_of_source()

    def _end_of_source(self) -> None:
        """Whatever has come is all there is."""
        if self._held and self._piece is not None:
            return  # while what was held is given out
        if self._piece is not None:
            self._end_piece(self._refusal())
        self._wake()

    def _refusal(self) -> BaseException | None:
        if self._verify is None:
            return None
        if self.failure is not None:
            return self.failure.value
        try:
            self._verify()
        except Exception as error:
            return error
        return None

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(None)

    # -- IPushProducer, for the consumer -------------------------------------------------------

    def pauseProducing(self) -> None:
        """The consumer has enough for now."""
        self._paused = True
        if self._producer is not None and self._streaming:
            self._producer.pauseProducing()

    def resumeProducing(self) -> None:
        """The consumer wants more."""
        self._paused = False
        self._go_on()

    def stopProducing(self) -> None:
        """The consumer wants no more at all."""
        self._give_up(RuntimeError("the bytes were not wanted to their end"))

    def _give_up(self, error: Exception) -> None:
        self._end_piece(error)
        self.stop(error)

    def _may_ask(self) -> bool:
        wanted = self._waiting is not None or (self._piece is not None and not self._paused)
        return self._producer is not None and wanted

    def _go_on(self) -> None:
        if not self._may_ask():
            return
        if self._streaming:
            self._producer.resumeProducing()
        else:
            self._ask()
