"""The disk threads: where work goes that may have to wait for a disk."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import Any, ParamSpec, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from zope.interface import Interface, implementer

from storehouse.core.turns import Reactor, is_spent

__all__ = ["DiskThreads", "IDisk", "InlineDisk"]

P = ParamSpec("P")
T = TypeVar("T")


class IDisk(Interface):
    """
    Runs blocking disk calls.

    Only calls that spend their time in the kernel or in C code without the GIL: a thread busy in Python
    stalls the reactor.
    """

    def run(f: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        """Call C{f(*args, **kwargs)} where it may block. @return: fires with its result in the reactor's thread."""


@implementer(IDisk)
class DiskThreads:
    """
    Threads of our own, since name look-ups and whatever else uses the reactor's pool must not wait for disks, nor disks for
    them.

    They hand over results in batches: the reactor is woken once for all that are done by then, and takes as many in a
    turn as fit into it.  For a small job that and a plain queue cost a third of what Twisted's thread pool does.
    """

    def __init__(self, reactor: Reactor, size: int = 8) -> None:
        self._reactor = reactor
        self._size = size
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._threads: list[Thread] = []
        self._given = 0  # jobs whose results have not been handed over
        self._results: deque[tuple[Deferred[Any], Any]] = deque()
        self._waking = False

    def start(self) -> None:
        """Take work. Threads are started as they are needed."""

    def stop(self) -> None:
        """Finish what was taken, then end the threads."""
        threads, self._threads = self._threads, []
        for _ in threads:
            self._jobs.put(None)
        for thread in threads:
            thread.join()

    def run(self, f: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        result: Deferred[T] = Deferred()

        def job() -> None:
            try:
                outcome: Any = f(*args, **kwargs)
            except BaseException:
                outcome = Failure()
            self._results.append((result, outcome))
            if not self._waking:
                self._waking = True
                self._reactor.callFromThread(self._hand_over)

        self._jobs.put(job)
        self._given += 1
        if len(self._threads) < min(self._size, self._given):
            thread = Thread(target=self._work, name=f"storehouse-disk-{len(self._threads)}", daemon=True)
            self._threads.append(thread)
            thread.start()
        return result

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()

    def _hand_over(self) -> None:
        # Before looking: a thread that is done from now on wakes the reactor again.
        self._waking = False
        while self._results:
            result, outcome = self._results.popleft()
            self._given -= 1
            result.callback(outcome)
            if is_spent() and self._results and not self._waking:
                self._waking = True
                self._reactor.callFromThread(self._hand_over)
                return


@implementer(IDisk)
class InlineDisk:
    """Runs everything at once in the caller's thread: for tests and for tools without a reactor."""

    def run(self, f: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        result: Deferred[T] = Deferred()
        try:
            value = f(*args, **kwargs)
        except Exception:
            result.errback()
        else:
            result.callback(value)
        return result
