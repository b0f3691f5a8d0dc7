"""How operations of a namespace run beside and after each other: a gate, slices of long walks, short jobs in one thread."""

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
    """Wait for all, then raise the first failure."""
    failures: list[Failure] = []
    for each in waited_for:
        each.addErrback(failures.append)
    for each in waited_for:
        await each
    if failures:
        failures[0].raiseException()


class Gate:
    """
    Lets many operations in at a time, or shuts all out for one that runs alone. For the reactor's thread.

    @ivar inside: how many are in.
    """

    def __init__(self) -> None:
        self.inside = 0
        self._closed = False
        self._empty: Deferred[None] | None = None
        self._waiting: list[Deferred[None]] = []

    async def enter(self) -> None:
        """Go in, once the gate is open. L{leave} must follow."""
        while self._closed:
            await self._wait()
        self.inside += 1

    def leave(self) -> None:
        """Go out; the last one lets the caller of L{close} go on."""
        self.inside -= 1
        if self.inside == 0 and self._empty is not None:
            empty, self._empty = self._empty, None
            empty.callback(None)

    async def close(self) -> None:
        """Shut the gate, and wait until all are out. L{open} must follow."""
        while self._closed:
            await self._wait()
        self._closed = True
        if self.inside:
            self._empty = Deferred(lambda _: self._give_up())
            await self._empty

    def open(self) -> None:
        """Open the gate."""
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

#: Seconds after which a thread gives back the results that it has.
_BATCH = 0.002


@implementer(IDisk)
class Lane:
    """
    One disk thread for many short jobs that stay in the page cache: several threads would only contend for the interpreter's
    lock.
    """

    def __init__(self, disk: IDisk) -> None:
        self._disk = disk
        self._jobs: deque[tuple[Callable[[], Any], Deferred[Any]]] = deque()
        self._busy = False

    def run(self, f: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
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
        # Callers first: their next jobs are in the next batch, and they do not contend with the thread meanwhile.
        for result, outcome in done:
            result.callback(outcome)
        self._busy = False
        if self._jobs:
            self._next()


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

    @param run: runs a function there, as L{IDisk.run<storehouse.core.disk.IDisk.run>}.
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


def lasting(method: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Deferred[T]]:
    """
    Make a method that returns a Deferred of a coroutine function. If the Deferred is cancelled, the work goes on to its end:
    threads cannot be stopped, and until they are done the key must stay held.
    """

    @wraps(method)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        given: Deferred[T] = Deferred(lambda _: None)
        Deferred.fromCoroutine(method(*args, **kwargs)).addBoth(
            lambda result: None if given.called else given.callback(result)
        )
        return given

    return wrapper
