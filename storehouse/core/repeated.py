"""Work that is done again and again."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall

from storehouse.core.jobs import settled
from storehouse.core.streams import deferred

__all__ = ["Repeated"]


class Repeated:
    """
    Has work done once in an interval; once at a time, however long it takes.

    @param clock: C{callLater} and C{seconds}, as a reactor has them.
    @param interval: in seconds.
    @param work: does it, and fails never: it logs what goes wrong.
    """

    def __init__(self, clock: Any, interval: float, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._interval = interval
        self._loop = LoopingCall(work)
        self._loop.clock = clock
        self._running: Deferred[Any] | None = None

    def start(self) -> None:
        """Begin. The first time is an interval away."""
        self._running = self._loop.start(self._interval, now=False)

    @deferred
    async def stop(self) -> None:
        """End. Fires when nothing is being done any more. Harmless when it was not begun."""
        if self._loop.running:
            self._loop.stop()
        if self._running is not None:
            await settled(self._running)
