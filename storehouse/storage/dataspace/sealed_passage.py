"""Bytes on their way through encryption, about a MiB at a time in a disk thread, each side waiting for the other."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any, Protocol

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IConsumer, IPushProducer
from twisted.python.failure import Failure
from zope.interface import implementer

from storehouse.core.disk import IDisk
from storehouse.core.jobs import settled
from storehouse.core.streams import Asking, ISource
from storehouse.errors import SizeMismatch, Unavailable
from storehouse.storage.dataspace.incoming import WriteMemory

__all__ = ["Codec", "Passage"]

# Bytes that are worked on here and now: some 50 microseconds, less than a thread takes to begin and to be heard of.
_SMALL = 128 << 10


class Codec(Protocol):
    """What is done to the bytes."""

    @property
    def done(self) -> bool:
        """Whether all that there is to be was taken."""

    def take(self, held: int, most: int, ended: bool) -> int | None:
        """
        How many bytes are to be worked on next; C{None} if there are too few.

        @param held: bytes that are there.
        @param most: how many are wanted at once, if that can be.
        @param ended: whether there are no more than those.
        """

    def work(self, pieces: Sequence[bytes]) -> tuple[list[bytes], Exception | None]:
        """
        Work on what L{take} said, perhaps in a thread. One call follows the other.

        @return: what comes of them, as far as all is well; and what is wrong.
        """


@implementer(ISource, IConsumer, IPushProducer)
class Passage(Asking):
    """
    What stands between a source and a consumer.

    @param source: an L{ISource}.
    @param memory: tells how much is to be worked on at once; as much again may wait on either side.
    @param size: the bytes that C{source} has; C{None} if that is not known.
    """

    def __init__(self, source: Any, codec: Codec, disk: IDisk, memory: WriteMemory, size: int | None = None) -> None:
        self._source = source
        self._codec = codec
        self._disk = disk
        self._memory = memory
        self._announced = size
        self._received = 0
        self._consumer: Any = None
        self._producer: Any = None
        self._streaming = True
        self._producer_paused = False
        self._consumer_paused = False
        self._held: list[bytes] = []
        self._size = 0
        self._ready: deque[bytes] = deque()
        self._count = 0
        self._working: Deferred[Any] | None = None
        self._moving = False
        self._ended = False
        self._wrong: Exception | None = None
        self._failure: Failure | None = None
        self._drained: Deferred[None] | None = None

    def deliver(self, consumer: Any) -> Deferred[int]:
        """See L{ISource.deliver}."""
        if self._consumer is not None:
            return fail(RuntimeError("the bytes were delivered already"))
        self._consumer = consumer
        return Deferred.fromCoroutine(self._deliver(consumer))

    async def _deliver(self, consumer: Any) -> int:
        consumer.registerProducer(self, True)
        self._memory.writers += 1
        try:
            try:
                await self._source.deliver(self)
            except Exception:
                # What the source says then is only that we did not want more.
                self._check()
                raise
            if self._announced is not None and self._received != self._announced:
                raise SizeMismatch(f"the body has {self._received} bytes; {self._announced} were announced")
            self._ended = True
            self._move()
            self._check()
            if not self._is_drained():
                self._drained = Deferred()
                await self._drained
            return self._count
        except BaseException as error:
            self._failure = self._failure or Failure(error)
            raise
        finally:
            self._stop()
            if self._working is not None:
                await settled(self._working)
            self._held.clear()
            self._ready.clear()
            self._memory.writers -= 1
            consumer.unregisterProducer()

    def refuse(self, failure: Failure) -> None:
        """Let nothing more pass: the delivery fails with this."""
        self._failure = self._failure or failure
        self._stop()
        self._tell(self._failure)

    def _tell(self, result: Any) -> None:
        drained, self._drained = self._drained, None
        if drained is not None:
            drained.callback(result)

    def _check(self) -> None:
        if self._failure is not None:
            self._failure.raiseException()

    def _stop(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.stopProducing()

    # -- for the source ------------------------------------------------------------------------

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Take from this producer."""
        self._producer = producer
        self._streaming = streaming
        if self._consumer_paused and streaming:
            self._producer_paused = True
            producer.pauseProducing()
        elif not streaming:
            self._ask()

    def unregisterProducer(self) -> None:
        """It has no more."""
        self._producer = None

    def write(self, data: bytes) -> None:
        """
        Take bytes.

        @raise SizeMismatch: if they are more than was announced.
        """
        self._check()
        if data:
            self._received += len(data)
            if self._announced is not None and self._received > self._announced:
                raise SizeMismatch(f"the body has more than the {self._announced} bytes that were announced")
            self._held.append(data)
            self._size += len(data)
            self._move()
            self._check()
        if self._is_behind():
            if self._streaming and not self._producer_paused and self._producer is not None:
                self._producer_paused = True
                self._producer.pauseProducing()
        elif not self._streaming:
            self._ask()

    # -- for the consumer ----------------------------------------------------------------------

    def pauseProducing(self) -> None:
        """The consumer has enough for now."""
        self._consumer_paused = True

    def resumeProducing(self) -> None:
        """The consumer wants more."""
        self._consumer_paused = False
        self._move()

    def stopProducing(self) -> None:
        """The consumer wants no more at all."""
        self.refuse(Failure(Unavailable("the bytes were not wanted to their end")))

    # -- between them --------------------------------------------------------------------------

    def _is_behind(self) -> bool:
        return self._size >= self._memory.share and (self._working is not None or bool(self._ready))

    def _may_ask(self) -> bool:
        return self._producer is not None and not self._is_behind()

    def _is_drained(self) -> bool:
        return self._ended and self._working is None and not self._ready and self._codec.done

    def _move(self) -> None:
        """Do all that can be done now: write what is ready, work on what is next, have more come."""
        if self._moving:  # resumed by the very write that paused, or a disk that was done at once
            return
        self._moving = True
        try:
            while self._failure is None and (self._write() or self._work()):
                pass
        except Exception:
            self.refuse(Failure())
        finally:
            self._moving = False
        if self._failure is not None:
            self._tell(self._failure)
        elif self._is_drained():
            self._tell(None)
        elif self._producer is not None and not self._is_behind():
            if not self._streaming:
                self._ask()
            elif self._producer_paused:
                self._producer_paused = False
                self._producer.resumeProducing()

    def _write(self) -> bool:
        if not self._ready or self._consumer_paused:
            return False
        data = self._ready.popleft()
        self._count += len(data)
        self._consumer.write(data)
        return True

    def _work(self) -> bool:
        # What is ready goes first: so no more than a share waits for the consumer.
        if self._working is not None or self._ready:
            return False
        if self._wrong is not None:
            raise self._wrong
        count = self._codec.take(self._size, self._memory.share, self._ended)
        if count is None:
            return False
        pieces = self._taken(count)
        if count <= _SMALL:
            self._worked(self._codec.work(pieces))
            return True
        work = self._working = self._disk.run(self._codec.work, pieces)
        work.addCallbacks(self._worked_in_thread, self._broken)
        return self._working is None

    def _taken(self, count: int) -> list[bytes]:
        pieces, self._held = self._held, []
        surplus = self._size - count
        self._size = surplus
        while surplus:
            last = pieces.pop()
            if len(last) > surplus:
                pieces.append(last[:-surplus])
                self._held.append(last[-surplus:])
                break
            self._held.append(last)
            surplus -= len(last)
        self._held.reverse()
        return pieces

    def _worked(self, result: tuple[list[bytes], Exception | None]) -> None:
        done, self._wrong = result
        self._ready.extend(done)

    def _worked_in_thread(self, result: tuple[list[bytes], Exception | None]) -> None:
        self._working = None
        self._worked(result)
        self._move()

    def _broken(self, failure: Failure) -> None:
        self._working = None
        self.refuse(failure)
