"""Bytes from a source to a disk thread, some at a time, the source waiting when the thread is behind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IConsumer
from twisted.python.failure import Failure
from zope.interface import implementer

from storehouse.core.disk import IDisk
from storehouse.core.jobs import settled
from storehouse.core.streams import Asking
from storehouse.errors import SizeMismatch

__all__ = ["Incoming", "Piece", "WriteMemory"]

_MIB = 1 << 20

#: Bytes as they came, or what is left of them.
Piece = bytes | memoryview


class WriteMemory:
    """
    How much each of those who write may hold in memory, so that all together hold no more than is given.

    @ivar writers: how many there are.
    @ivar share: bytes to hand over at once. As many again come in meanwhile.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self.writers = 0

    @property
    def writers(self) -> int:
        return self._writers

    @writers.setter
    def writers(self, count: int) -> None:
        self._writers = count
        # Asked for with every piece.
        self.share = max(32 << 10, min(_MIB, self._total // (2 * max(1, count))))


@implementer(IConsumer)
class Incoming(Asking):
    """
    A consumer that hands bytes over to C{write} in a disk thread, one call after the other.

    @param size: the bytes that must come; C{None} if that is not known.
    @param block_size: where it can, it hands over what completes a block.
    @ivar rest: what has not been handed over, once L{receive} is done.
    @ivar count: bytes that came.
    @ivar failure: what C{write} failed with.
    """

    def __init__(
        self,
        disk: IDisk,
        memory: WriteMemory,
        size: int | None,
        block_size: int,
        write: Callable[[Sequence[Piece]], None],
    ) -> None:
        self.rest: list[Piece] = []
        self.count = 0
        self._disk = disk
        self._memory = memory
        self._size = size
        self._block_size = block_size
        self._write = write
        self._held = 0
        self._in_block = 0  # bytes of the current block that were handed over
        self._producer: Any = None
        self._streaming = True
        self._paused = False
        self._handing = False
        self.failure: Failure | None = None
        self._working: Deferred[Any] | None = None

    async def receive(self, source: Any) -> None:
        """
        Take all that a source has. When this returns or raises, no thread is at work any more.

        @raise SizeMismatch: if that is more or less than it should be.
        """
        self._memory.writers += 1
        try:
            try:
                await source.deliver(self)
            except BaseException:
                await self._settle()
                # What the source says then is only that we did not want more.
                if self.failure is not None:
                    self.failure.raiseException()
                raise
            await self._settle()
            if self.failure is not None:
                self.failure.raiseException()
        finally:
            self._memory.writers -= 1
        if self._size is not None and self.count != self._size:
            raise SizeMismatch(f"the body has {self.count} bytes; {self._size} were announced")

    async def _settle(self) -> None:
        self._stop()
        if self._working is not None:
            await settled(self._working)

    # -- IConsumer -----------------------------------------------------------------------------

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Take from this producer."""
        self._producer = producer
        self._streaming = streaming
        if not streaming:
            self._ask()

    def unregisterProducer(self) -> None:
        """It has no more."""
        self._producer = None

    def write(self, data: bytes) -> None:
        """
        Take bytes.

        @raise SizeMismatch: if they are more than was announced.
        """
        if self.failure is not None:
            self.failure.raiseException()
        self.count += len(data)
        if self._size is not None and self.count > self._size:
            raise SizeMismatch(f"the body has more than the {self._size} bytes that were announced")
        self.rest.append(data)
        self._held += len(data)
        if self._working is None:
            self._hand_over()
        if self._working is not None and self._held >= self._memory.share:
            self._pause()
        elif not self._streaming:
            self._ask()

    # -- handing over --------------------------------------------------------------------------

    def _hand_over(self) -> None:
        # A disk may be done at once: that must not become a recursion.
        self._handing = True
        try:
            while self._working is None and self.failure is None:
                want = self._wanted_size()
                if self._held < want:
                    break
                pieces = self._take(want)
                self._in_block = (self._in_block + want) % self._block_size
                self._working = work = self._disk.run(self._write, pieces)
                work.addErrback(self._failed)
                work.addCallback(self._written)
        finally:
            self._handing = False

    def _wanted_size(self) -> int:
        """What completes blocks, so that no hash needs to look for a beginning again; or else as much as may be held."""
        share = self._memory.share
        left = self._block_size - self._in_block
        return left + (share - left) // self._block_size * self._block_size if share >= left else share

    def _take(self, want: int) -> list[Piece]:
        pieces, self.rest = self.rest, []
        surplus = self._held - want
        if surplus:
            # Only the last few pieces are surplus.
            while len(pieces[-1]) <= surplus:
                surplus -= len(pieces[-1])
                self.rest.append(pieces.pop())
            if surplus:
                last = memoryview(pieces[-1])
                pieces[-1] = last[:-surplus]
                left = last[-surplus:]
                # A view keeps all of the piece: not for a few bytes of it.
                self.rest.append(left if 2 * surplus >= memoryview(last.obj).nbytes else bytes(left))
            self.rest.reverse()
        self._held -= want
        return pieces

    def _failed(self, failure: Failure) -> None:
        self.failure = failure
        self._stop()

    def _written(self, result: None) -> None:
        self._working = None
        if self._handing or self.failure is not None or self._producer is None:
            return
        self._hand_over()
        if self._held < self._memory.share:
            self._resume()

    def _pause(self) -> None:
        if not self._paused and self._producer is not None:
            self._paused = True
            if self._streaming:
                self._producer.pauseProducing()

    def _resume(self) -> None:
        if self._paused and self._producer is not None:
            self._paused = False
            if self._streaming:
                self._producer.resumeProducing()
            else:
                self._ask()

    def _may_ask(self) -> bool:
        return self._producer is not None and not self._paused

    def _stop(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.stopProducing()
