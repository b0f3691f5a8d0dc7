"""Many requests at once, and how far they have come."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar

from twisted.internet.defer import CancelledError, Deferred

from storehouse.clients.sfsp.client import SFSPClient
from storehouse.core.jobs import settled

__all__ = ["Report", "Tally", "at_once", "spread"]

T = TypeVar("T")

#: Told how many bytes have gone over, and how many there are, if that is known.
Report = Callable[[int, "int | None"], None]

#: Chunks larger than this are not asked for far ahead: a connection that is slow would have many of them.
_LARGE = 1 << 20


class Tally:
    """
    Bytes that have gone over, in all attempts that were not in vain.

    @ivar total: how many there are; C{None} as long as that is not known.
    """

    def __init__(self, report: Report | None, total: int | None = None) -> None:
        self.total = total
        self.report = report
        self._done = 0

    def add(self, size: int) -> None:
        """So many more."""
        self._done += size
        if self.report is not None:
            self.report(self._done, self.total)

    def attempt(self) -> Attempt:
        """Something that may have to be done again."""
        return Attempt(self)


class Attempt:
    """What the attempts at one thing have moved."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._done = 0

    def again(self) -> None:
        """It begins, maybe again."""
        self._tally.add(-self._done)
        self._done = 0

    def moved(self, size: int) -> None:
        """So many more."""
        self._done += size
        self._tally.add(size)


def at_once(client: SFSPClient, chunk: int) -> int:
    """How many chunks of a size to have under way: enough that no connection ever waits for us."""
    return client.connections * (min(2, client.pipeline) if chunk > _LARGE else client.pipeline)


async def spread(items: Iterable[T], work: Callable[[T], Awaitable[Any]], limit: int) -> None:
    """
    Do something for each item, for several at a time. After a failure no more are begun; those that were are finished.

    @raise Exception: what the first that failed did.
    """
    left = iter(items)
    failed: list[Exception] = []

    async def go() -> None:
        for item in left:
            try:
                await work(item)
            except CancelledError:
                raise
            except Exception as error:
                failed.append(error)
            if failed:
                return

    workers = [Deferred.fromCoroutine(go()) for _ in range(limit)]
    try:
        for worker in workers:
            await worker
    except CancelledError:
        for worker in workers:
            worker.cancel()
        for worker in workers:
            await settled(worker)
        raise
    if failed:
        raise failed[0]
