"""Many short jobs that do not wait for a disk, in one thread at a time."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from zope.interface import implementer

from storehouse.core.disk import IDisk

__all__ = ["Lane"]

P = ParamSpec("P")
T = TypeVar("T")

#: Seconds after which a thread hands over what it has done.
_SLICE = 0.002


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
        until = time.monotonic() + _SLICE
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
