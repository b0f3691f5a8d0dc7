"""Several sources as one: how small parts become a larger one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IConsumer, IPushProducer
from zope.interface import implementer

from storehouse.core.streams import ISource

__all__ = ["JoinedSource"]


@implementer(ISource, IConsumer, IPushProducer)
class JoinedSource:
    """
    The bytes of several sources, one after the other.

    @param opens: each gives a source that has a push producer, when it is its turn.
    """

    def __init__(self, opens: Sequence[Callable[[], Deferred[Any]]]) -> None:
        self._opens = opens
        self._consumer: Any = None
        self._producer: Any = None
        self._paused = False
        self._stopped = False

    def deliver(self, consumer: Any) -> Deferred[int]:
        """See L{ISource.deliver}."""
        return Deferred.fromCoroutine(self._deliver(consumer))

    async def _deliver(self, consumer: Any) -> int:
        self._consumer = consumer
        consumer.registerProducer(self, True)
        count = 0
        try:
            for opened in self._opens:
                source = await opened()
                if self._stopped:
                    source.close()
                    raise RuntimeError("the bytes were not wanted to their end")
                count += await source.deliver(self)
        finally:
            self._consumer = None
            consumer.unregisterProducer()
        return count

    # -- for the sources -----------------------------------------------------------------------

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Take from this one now."""
        self._producer = producer
        if self._paused:
            producer.pauseProducing()

    def unregisterProducer(self) -> None:
        """It has no more."""
        self._producer = None

    def write(self, data: bytes) -> None:
        """Pass it on."""
        self._consumer.write(data)

    # -- for the consumer ----------------------------------------------------------------------

    def pauseProducing(self) -> None:
        """It has enough for now."""
        self._paused = True
        if self._producer is not None:
            self._producer.pauseProducing()

    def resumeProducing(self) -> None:
        """It wants more."""
        self._paused = False
        if self._producer is not None:
            self._producer.resumeProducing()

    def stopProducing(self) -> None:
        """It wants no more at all."""
        self._stopped = True
        if self._producer is not None:
            self._producer.stopProducing()
