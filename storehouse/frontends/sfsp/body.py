"""The bytes of a chunk as they come in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from storehouse.core.streams import ISource

__all__ = ["ChunkBody"]


@implementer(ISource, IPushProducer)
class ChunkBody:
    """
    What the connection has taken of a chunk, for whoever stores it.

    @param size: bytes of the chunk.
    @param pause: has the connection read no more for now.
    @param resume: has it go on.
    @ivar left: bytes that are still to come.
    @ivar unwanted: whether nobody wants the rest.
    """

    def __init__(self, size: int, pause: Callable[[], None], resume: Callable[[], None]) -> None:
        self.left = size
        self.unwanted = False
        self._size = size
        self._pause = pause
        self._resume = resume
        self._early: list[bytes] = []
        self._consumer: Any = None
        self._done: Deferred[int] | None = None
        self._error: BaseException | None = None
        self._is_paused = False

    # -- for whoever stores it -----------------------------------------------------------------

    def deliver(self, consumer: Any) -> Deferred[int]:
        """See L{ISource.deliver}."""
        if self._done is not None:
            return fail(RuntimeError("the bytes were delivered already"))
        done = self._done = Deferred(lambda cancelled: self.fail(CancelledError()))
        self._consumer = consumer
        try:
            consumer.registerProducer(self, True)
        except Exception as error:
            self.fail(error)
            return done
        early, self._early = self._early, []
        for data in early:
            self._write(data)
        if self._error is not None:
            self.fail(self._error)
        elif not self.left:
            self._end()
        elif not self._is_paused:
            self._resume()
        return done

    def pauseProducing(self) -> None:
        """Write nothing more for now."""
        self._is_paused = True
        if self.left:
            self._pause()

    def resumeProducing(self) -> None:
        """Go on."""
        self._is_paused = False
        self._resume()

    def stopProducing(self) -> None:
        """Want no more."""
        self.fail(RuntimeError("the bytes were not wanted to their end"))

    # -- for the connection --------------------------------------------------------------------

    def take(self, data: bytes) -> None:
        """Some bytes came, no more than are left."""
        self.left -= len(data)
        if self.unwanted:
            return
        if self._done is None:
            self._early.append(data)
            if self.left:
                self._pause()
            return
        self._write(data)
        if not self.left:
            self._end()

    def fail(self, error: BaseException) -> None:
        """The rest will not come, or is not wanted."""
        if self._error is None:
            self._error = error
        self.unwanted = True
        self._early = []
        self._settle()
        self._resume()

    def discard(self) -> None:
        """Nobody wants the rest: it is not stored."""
        if not self.unwanted:
            self.fail(RuntimeError("the bytes are not wanted"))

    def _write(self, data: bytes) -> None:
        if self._consumer is None:
            return
        try:
            self._consumer.write(data)
        except Exception as error:
            self.fail(error)

    def _end(self) -> None:
        self._settle()

    def _settle(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is None or self._done is None:
            return
        try:
            consumer.unregisterProducer()
        except Exception as error:
            self._error = self._error or error
        if self._error is None:
            self._done.callback(self._size)
        else:
            self.unwanted = True
            self._done.errback(self._error)
