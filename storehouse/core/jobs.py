"""Jobs in the disk threads that are seen through."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, ParamSpec, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from storehouse.core.disk import IDisk

__all__ = ["KeyedLocks", "Slots", "finished", "in_slices", "over", "settled", "whole"]

P = ParamSpec("P")
T = TypeVar("T")


def over(work: Deferred[Any]) -> Deferred[None]:
    """Fires when something is over, and leaves its result to others."""
    told: Deferred[None] = Deferred()

    def ended(result: Any) -> Any:
        if not told.called:
            told.callback(None)
        return result

    work.addBoth(ended)
    return told


async def settled(work: Deferred[Any]) -> None:
    """Wait until something is over, however it ends, and although the one who waits is cancelled meanwhile."""
    over: list[Any] = []
    waiting: list[Deferred[None]] = []

    def ended(result: Any) -> None:
        over.append(result)
        if waiting:
            waiting.pop().callback(None)

    work.addBoth(ended)
    while not over:
        turn: Deferred[None] = Deferred()
        waiting[:] = [turn]
        try:
            await turn
        except CancelledError:
            waiting.clear()


async def finished(work: Deferred[T]) -> T:
    """
    What something has come to. Who waits cannot be cancelled: that comes too late for what was begun and cannot be
    undone.
    """
    outcome: list[Any] = []
    work.addBoth(outcome.append)
    if not outcome:
        await settled(work)
    result = outcome[0]
    if isinstance(result, Failure):
        result.raiseException()
    return result  # type: ignore[no-any-return]


async def whole(disk: IDisk, f: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """
    Run C{f} in a disk thread, and wait for its end even when cancelled: a thread cannot be stopped, and nobody may
    clean up behind it while it works. The cancellation then comes too late.
    """
    return await finished(disk.run(f, *args, **kwargs))


#: Seconds of a slice: a thread that is busy in Python stalls the reactor for as long.
_SLICE = 0.002

#: Seconds between two slices, for the reactor.
_REST = 0.0005

#: Slices of one job: under load it may be long until the next job gets a thread.
_SLICES = 10


async def in_slices(
    run: Callable[..., Awaitable[tuple[list[T], bool]]], walk: Iterator[T], each: Callable[[T], object]
) -> None:
    """
    Run a walk in the disk threads, in slices of milliseconds.

    @param run: runs a function there, as L{IDisk.run}.
    @param each: called with each item that the walk yields, in the caller's thread.
    """

    def step() -> tuple[list[T], bool]:
        found: list[T] = []
        for turn in range(_SLICES):
            if turn:
                time.sleep(_REST)
            until = time.monotonic() + _SLICE
            for item in walk:
                found.append(item)
                if time.monotonic() > until:
                    break
            else:
                return found, True
        return found, False

    done = False
    while not done:
        found, done = await run(step)
        for item in found:
            each(item)


class Slots:
    """
    So many may do something at a time; further ones wait, first come, first served. For C{async with}.

    @ivar free: how many more may.
    """

    def __init__(self, count: int) -> None:
        self.free = count
        self._waiting: deque[Deferred[None]] = deque()
        self._handing = False

    async def enter(self) -> None:
        """Wait for a slot, and take it. L{leave} gives it back."""
        if self.free and not self._waiting:
            self.free -= 1
            return
        turn: Deferred[None] = Deferred()
        self._waiting.append(turn)
        try:
            await turn
        except BaseException:
            if turn in self._waiting:
                self._waiting.remove(turn)
            else:  # it was given the slot, and cancelled at the same time
                self.leave()
            raise

    def leave(self) -> None:
        """See L{enter}."""
        self.free += 1
        # The next one may be done at once, and a thousand behind it: that must not become a recursion.
        if self._handing:
            return
        self._handing = True
        try:
            while self._waiting and self.free:
                self.free -= 1
                self._waiting.popleft().callback(None)
        finally:
            self._handing = False

    async def __aenter__(self) -> None:
        await self.enter()

    async def __aexit__(self, *error: object) -> None:
        self.leave()


class KeyedLocks:
    """A lock for each of many names, there only while somebody holds or wants it."""

    def __init__(self) -> None:
        self._queues: dict[str, list[Deferred[None]]] = {}
        self._next: list[Deferred[None]] = []
        self._handing = False

    def held(self, name: str) -> _Held:
        """For C{async with}: entered by one at a time, in the order in which they came."""
        return _Held(self, name)

    async def enter(self, name: str) -> None:
        """See L{held}."""
        queue = self._queues.get(name)
        if queue is None:
            self._queues[name] = []
            return
        turn: Deferred[None] = Deferred()
        queue.append(turn)
        try:
            await turn
        except BaseException:
            if turn in queue:
                queue.remove(turn)
            else:  # it was given the lock, and cancelled at the same time
                self.leave(name)
            raise

    def leave(self, name: str) -> None:
        """See L{held}."""
        queue = self._queues[name]
        if not queue:
            del self._queues[name]
            return
        self._next.append(queue.pop(0))
        # Whoever is next may be done at once, and a thousand behind it: that must not become a recursion.
        if self._handing:
            return
        self._handing = True
        try:
            while self._next:
                self._next.pop(0).callback(None)
        finally:
            self._handing = False


class _Held:
    def __init__(self, locks: KeyedLocks, name: str) -> None:
        self._locks = locks
        self._name = name

    async def __aenter__(self) -> None:
        await self._locks.enter(self._name)

    async def __aexit__(self, *error: object) -> None:
        self._locks.leave(self._name)
