"""Pushed bytes for tests of what is not yet pulled."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IConsumer, IPullProducer, IPushProducer
from zope.interface import implementer

from storehouse.core.pushed import ISource
from tests.conformance.dataspace import turns

__all__ = ["PullSource", "Sink", "Tap"]


@implementer(ISource, IPushProducer)
class Tap:
    """
    A source that a test opens and shuts.

    @ivar started: fires when the bytes are wanted.
    @ivar stopped: how often C{stopProducing} was called.
    @ivar refused: whether the consumer wanted no more, and said so by that or by raising.
    """

    def __init__(self) -> None:
        self.started: Deferred[None] = Deferred()
        self.stopped = 0
        self.refused = False
        self._paused = False
        self._count = 0
        self._consumer: Any = None
        self._done: Deferred[int] = Deferred()

    def deliver(self, consumer: Any) -> Deferred[int]:
        self._consumer = consumer
        consumer.registerProducer(self, True)
        self.started.callback(None)
        return self._done

    def pauseProducing(self) -> None:
        self._paused = True

    def resumeProducing(self) -> None:
        self._paused = False

    def stopProducing(self) -> None:
        self.stopped += 1
        self.refused = True
        self._end(RuntimeError("stopped"))

    async def write(self, *pieces: bytes) -> None:
        """Hand these over, each as soon as it is let, for as long as they are wanted."""
        await self.started
        for piece in pieces:
            while self._paused and self._consumer is not None:
                await turns()
            if self._consumer is not None:
                self._count += len(piece)
                try:
                    self._consumer.write(piece)
                except Exception as error:
                    self.refused = True
                    self._end(error)

    def end(self, error: Exception | None = None) -> None:
        """There is nothing more, or an error."""
        self._end(error)

    def _end(self, error: Exception | None) -> None:
        if self._consumer is None:
            return
        consumer, self._consumer = self._consumer, None
        consumer.unregisterProducer()
        if self._done.called:  # cancelled
            return
        if error is None:
            self._done.callback(self._count)
        else:
            self._done.errback(error)


@implementer(ISource, IPullProducer)
class PullSource:
    """A source that hands over a piece for every C{resumeProducing}, at once or later."""

    def __init__(self, pieces: Iterable[bytes], later: bool) -> None:
        self._pieces = iter(pieces)
        self._later = later
        self._count = 0
        self._consumer: Any = None
        self._done: Deferred[int] = Deferred()

    def deliver(self, consumer: Any) -> Deferred[int]:
        self._consumer = consumer
        consumer.registerProducer(self, False)
        return self._done

    def resumeProducing(self) -> None:
        if self._later:
            reactor.callLater(0, self._next)  # type: ignore[attr-defined]
        else:
            self._next()

    def stopProducing(self) -> None:
        self._end(RuntimeError("stopped"))

    def _next(self) -> None:
        if self._consumer is None:
            return
        piece = next(self._pieces, None)
        if piece is not None:
            self._count += len(piece)
            try:
                self._consumer.write(piece)
            except Exception as error:
                self._end(error)
        else:
            self._end(None)

    def _end(self, error: Exception | None) -> None:
        if self._consumer is None:
            return
        consumer, self._consumer = self._consumer, None
        consumer.unregisterProducer()
        if error is None:
            self._done.callback(self._count)
        else:
            self._done.errback(error)


@implementer(IConsumer)
class Sink:
    """
    A consumer that does what a test wants at each write.

    @ivar on_write: called with C{self} after a piece was taken.
    @ivar wrong: what a producer did that it may not.
    @ivar first: fires at the first write.
    """

    def __init__(self, on_write: Callable[[Sink], None] = lambda sink: None, paused: bool = False) -> None:
        self.on_write = on_write
        self.pieces: list[bytes] = []
        self.wrong: list[str] = []
        self.first: Deferred[None] = Deferred()
        self.producer: Any = None
        self._was: Any = None
        self._paused = paused

    @property
    def data(self) -> bytes:
        return b"".join(self.pieces)

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        if self.producer is not None or self._was is not None or not streaming:
            self.wrong.append("registered twice, or as one that is pulled")
        self.producer = self._was = producer
        if self._paused:
            self.pause()

    def unregisterProducer(self) -> None:
        if self.producer is None:
            self.wrong.append("unregistered without being registered")
        self.producer = None

    def write(self, data: bytes) -> None:
        if self._paused:
            self.wrong.append("wrote while paused")
        if self.producer is None:
            self.wrong.append("wrote without being registered")
        self.pieces.append(data)
        self.on_write(self)
        if not self.first.called:
            self.first.callback(None)

    def pause(self) -> None:
        if self.producer is not None:
            self.producer.pauseProducing()
            self._paused = True

    def resume(self) -> None:
        self._paused = False
        if self.producer is not None:
            self.producer.resumeProducing()

    def poke(self) -> None:
        """Do to the producer what may happen to one that has ended."""
        self._was.pauseProducing()
        self._was.resumeProducing()
        self._was.stopProducing()
