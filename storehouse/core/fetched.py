"""Bytes that are fetched piece by piece, each of which may take a while."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from storehouse.core.streams import ISource

__all__ = ["FetchedSource"]


@implementer(ISource, IPushProducer)
class FetchedSource:
    """
    A source whose pieces are asked for one by one, while the consumer wants them.

    @param fetch: gives the next piece; no bytes at the end.
    """

    def __init__(self, fetch: Callable[[], Awaitable[bytes]]) -> None:
        self._fetch = fetch
        self._consumer: Any = None
        self._wanted: Deferred[None] | None = None
        self._error: Exception | None = None
        self._paused = False
        self._begun = False

    def deliver(self, consumer: Any) -> Deferred[int]:
        """See L{ISource.deliver}."""
        if self._begun:
            return fail(RuntimeError("the bytes were delivered already"))
        self._begun = True
        return Deferred.fromCoroutine(self._deliver(consumer))

    async def _deliver(self, consumer: Any) -> int:
        consumer.registerProducer(self, True)
        count = 0
        try:
            while data := await self._next():
                count += len(data)
                consumer.write(data)
            return count
        finally:
            consumer.unregisterProducer()

    async def _next(self) -> bytes:
        await self._turn()
        data = await self._fetch()
        # What came while the consumer paused is written when it wants it.
        await self._turn()
        return data

    async def _turn(self) -> None:
        """Wait until bytes are wanted."""
        while self._paused and self._error is None:
            self._wanted = Deferred()
            await self._wanted
        if self._error is not None:
            raise self._error

    def pauseProducing(self) -> None:
        """Fetch nothing more for now."""
        self._paused = True

    def resumeProducing(self) -> None:
        """Go on."""
        self._paused = False
        self._wake()

    def stopProducing(self) -> None:
        """Fetch nothing more at all."""
        self._error = self._error or RuntimeError("the bytes were not wanted to their end")
        self._wake()

    def _wake(self) -> None:
        wanted, self._wanted = self._wanted, None
        if wanted is not None and not wanted.called:
            wanted.callback(None)
