"""Jobs of the namespace beside and after each other: gates, slices of long walks, short jobs in one thread."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from zope.interface import implementer

from storehouse.core.disk import IDisk

__all__ = ["Gate", "Lane", "gather", "in_slices", "lasting"]


async def gather(waited_for: Sequence[Deferred[Any]]) -> None:
    """Wait for all, then raise what the first that failed did."""
    failures: list[Failure] = []
    for each in waited_for:
        each.addErrback(failures.append)
    for each in waited_for:
        await each
    if failures:
        failures[0].raiseException()


class Gate:
    """
    Many may be inside at a time, or one alone.

    @ivar inside: how many are.
    """

    def __init__(self) -> None:
        self.inside = 0
        self._closed = False
        self._empty: Deferred[None] | None = None
        self._waiting: list[Deferred[None]] = []

    async def enter(self) -> None:
        """Go in, as one of many."""
        while self._closed:
            await self._wait()
        self.inside += 1

    def leave(self) -> None:
        """Go out again."""
        self.inside -= 1
        if self.inside == 0 and self._empty is not None:
            empty, self._empty = self._empty, None
            empty.callback(None)

    async def close(self) -> None:
        """Let nobody else in, and wait until all are out."""
        while self._closed:
            await self._wait()
        self._closed = True
        if self.inside:
            self._empty = Deferred(lambda _: self._give_up())
            await self._empty

    def open(self) -> None:
        """Let the others in again."""
        self._closed = False
        waiting, self._waiting = self._waiting, []
        for turn in waiting:
            turn.callback(None)

    async def _wait(self) -> None:
        turn: Deferred[None] = Deferred(self._waiting.remove)
        self._waiting.append(turn)
        await turn

    def _give_up(self) -> None:
        self._empty = None
        self.open()


P = ParamSpec("P")
T = TypeVar("T")

#: Seconds after which a thread hands over what it has done.
_BATCH = 0.002


@implementer(IDisk)
class Lane:
    """
    Disk threads for jobs that stay in the page cache: one thread does them one after the other, since several would
    only take the interpreter's lock from each other.
    """

    def __init__(self, disk: IDisk) -> None:
        self._disk = disk
        self._jobs: deque[tuple[Callable[[], Any], Deferred[Any]]] = deque()
        self._busy = False

    def run(self, f: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        """See L{IDisk.run}."""
        result: Deferred[T] = Deferred()
        self._jobs.append((lambda: f(*args, **kwargs), result))
        if not self._busy:
            self._next()
        return result

    def _next(self) -> None:
        self._busy = True
        self._disk.run(self._work).addCallback(self._done)

    def _work(self) -> list[tuple[Deferred[Any], Any]]:
        until = time.monotonic() + _BATCH
        done: list[tuple[Deferred[Any], Any]] = []
        while self._jobs and (not done or time.monotonic() < until):
            job, result = self._jobs.popleft()
            try:
                outcome = job()
            except BaseException:
                outcome = Failure()
            done.append((result, outcome))
        return done

    def _done(self, done: list[tuple[Deferred[Any], Any]]) -> None:
        # First those who wait: what they do next is in the next batch, and takes nothing from the thread meanwhile.
        for result, outcome in done:
            result.callback(outcome)
        self._busy = False
        if self._jobs:
            self._next()


#: Seconds that a slice of a walk takes: a thread that is busy in Python stalls the reactor as long.
_SLICE = 0.002

#: Seconds between two slices, for the reactor.
_REST = 0.0005

#: Slices that a thread does before it lets others have its place: under load it may be long until the next turn.
_SLICES = 10


async def in_slices(
    run: Callable[..., Awaitable[tuple[list[T], bool]]], walk: Iterator[T], each: Callable[[T], object]
) -> None:
    """
    Run a walk in the disk threads, a little at a time, and hand on what it yields.

    @param run: runs a function there, as L{IDisk.run<storehouse.core.disk.IDisk.run>}.
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


def lasting(method: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Deferred[T]]:
    """
    As L{deferred<storehouse.core.streams.deferred>}, but what is begun is finished also if the Deferred is cancelled:
    no thread can be told to stop, and until it has, the key is not free.
    """

    @wraps(method)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        given: Deferred[T] = Deferred(lambda _: None)
        Deferred.fromCoroutine(method(*args, **kwargs)).addBoth(
            lambda result: None if given.called else given.callback(result)
        )
        return given

    return wrapper
