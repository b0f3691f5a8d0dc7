"""
Work that is waited for: in threads where it may block, as Deferreds, to its end though the waiter is cancelled, so many at a time,
and again and again.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterator
from functools import partial, wraps
from queue import SimpleQueue
from threading import Thread
from typing import Any, ParamSpec, Protocol, TypeVar, overload

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure
from zope.interface import Interface, implementer

from storehouse.core.turns import Reactor, is_spent

__all__ = [
    "DiskThreads",
    "IDisk",
    "InlineDisk",
    "KeyedLocks",
    "Repeated",
    "Run",
    "Slots",
    "deferred",
    "finished",
    "in_slices",
    "over",
    "settled",
    "started",
    "whole",
]

P = ParamSpec("P")
T = TypeVar("T")


# -- the disk threads ------------------------------------------------------------------------------


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


# -- coroutines ------------------------------------------------------------------------------------


@overload
def deferred(method: Callable[P, Coroutine[Deferred[object], object, T]], /) -> Callable[P, Deferred[T]]: ...


@overload
def deferred(
    *, lasting: bool
) -> Callable[[Callable[P, Coroutine[Deferred[object], object, T]]], Callable[P, Deferred[T]]]: ...


def deferred(
    method: Callable[P, Coroutine[Deferred[object], object, T]] | None = None, /, *, lasting: bool = False
) -> object:
    """
    A decorator: a coroutine function as one that returns a Deferred. It starts at once, and no error escapes synchronously.

    Cancelling the Deferred cancels what the coroutine waits for.

    @param lasting: cancelling the Deferred leaves the coroutine alone, which continues to its end: a thread cannot be
        stopped, and until it is done the locks that it works under must stay taken.
    """

    def decorate(method: Callable[P, Coroutine[Deferred[object], object, T]]) -> Callable[P, Deferred[T]]:
        @wraps(method)
        def wrapper(*args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
            work = started(method(*args, **kwargs))
            return _detached(work) if lasting else work

        return wrapper

    return decorate if method is None else decorate(method)


def started(work: Coroutine[Deferred[object], object, T]) -> Deferred[T]:
    """
    C{Deferred.fromCoroutine}, for much less if the coroutine has nothing to wait for: most of those that read what is in memory
    do not.
    """
    try:
        waited = work.send(None)
    except StopIteration as end:
        return succeed(end.value)
    except BaseException:
        return fail()
    return Deferred.fromCoroutine(_continued(work, waited))


def _continued(work: Coroutine[Deferred[object], object, T], waited: Any) -> Generator[Any, Any, T]:
    """The rest of a coroutine that waits for something."""
    while True:
        try:
            value = yield waited
        except GeneratorExit:
            work.close()
            raise
        except BaseException as error:
            step = partial(work.throw, error)
        else:
            step = partial(work.send, value)
        try:
            waited = step()
        except StopIteration as end:
            result: T = end.value
            return result


def _detached(work: Deferred[T]) -> Deferred[T]:
    """The result of some work in a Deferred whose cancelling does not reach it."""
    if work.called and not work.paused:
        return work  # nothing is left to cancel
    result: Deferred[T] = Deferred(lambda _: None)
    work.addBoth(lambda outcome: None if result.called else result.callback(outcome))
    return result


def over(work: Deferred[T]) -> Deferred[None]:
    """Fires when some work is over, however it ends, and leaves its result to others."""
    waiting: Deferred[None] = Deferred()

    def ended(result: Any) -> Any:
        if not waiting.called:
            waiting.callback(None)
        return result

    work.addBoth(ended)
    return waiting


async def settled(work: Deferred[T]) -> None:
    """Wait until some work is over, however it ends, also if the waiter is cancelled meanwhile."""
    outcome: list[Any] = []
    waiting: list[Deferred[None]] = []

    def ended(result: Any) -> None:
        outcome.append(result)
        if waiting:
            waiting.pop().callback(None)

    work.addBoth(ended)
    while not outcome:
        turn: Deferred[None] = Deferred()
        waiting[:] = [turn]
        try:
            await turn
        except CancelledError:
            waiting.clear()


async def finished(work: Deferred[T]) -> T:
    """
    The result of some work. The waiter cannot be cancelled: that comes too late for work that has begun and cannot be undone.
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
    Run C{f} in a disk thread, and wait for its end also when cancelled: a thread cannot be stopped, and what it works with must
    not be cleaned up meanwhile. The cancellation has no effect then.
    """
    return await finished(disk.run(f, *args, **kwargs))


#: Seconds of a slice: a thread that is busy in Python stalls the reactor for as long.
_SLICE = 0.002

#: Seconds between two slices, for the reactor.
_REST = 0.0005

#: Slices of one job: under load it may be long until the next job gets a thread.
_SLICES = 10


class Run(Protocol):
    """Runs a function in a disk thread, as L{IDisk.run}."""

    def __call__(self, f: Callable[[], T], /) -> Awaitable[T]: ...


async def in_slices(run: Run, walk: Iterator[T], each: Callable[[T], object]) -> None:
    """
    Run a walk in the disk threads, in slices of milliseconds.

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
    A semaphore: so many may enter at a time; further ones wait, first come, first served. For C{async with}.

    @ivar free: how many more may enter.
    """

    def __init__(self, count: int) -> None:
        self.free = count
        self._waiting: deque[Deferred[None]] = deque()
        self._handing = False

    async def enter(self) -> None:
        """Wait for a slot, and take it. L{leave} must follow."""
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
        """Give a slot back."""
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
    """A lock for each of many names, in memory only while it is taken or waited for."""

    def __init__(self) -> None:
        self._queues: dict[str, list[Deferred[None]]] = {}
        self._next: list[Deferred[None]] = []
        self._handing = False

    def held(self, name: str) -> _Held:
        """For C{async with}: one at a time is inside, in the order in which they came."""
        return _Held(self, name)

    async def enter(self, name: str) -> None:
        """Wait for the lock, and take it. L{leave} must follow."""
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
        """Give the lock back."""
        queue = self._queues[name]
        if not queue:
            del self._queues[name]
            return
        self._next.append(queue.pop(0))
        # The next one may be done at once, and a thousand behind it: that must not become a recursion.
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


class Repeated:
    """
    Calls a coroutine function once in an interval, not again before it has ended.

    @param interval: in seconds.
    @param work: must not fail: it logs what goes wrong.
    """

    def __init__(
        self, clock: IReactorTime, interval: float, work: Callable[[], Coroutine[Deferred[object], object, None]]
    ) -> None:
        self._interval = interval
        self._loop = LoopingCall(work)
        self._loop.clock = clock
        self._running: Deferred[Any] | None = None

    def start(self) -> None:
        """Begin. The first call is an interval away."""
        self._running = self._loop.start(self._interval, now=False)

    @deferred
    async def stop(self) -> None:
        """End. Fires when a call that runs has ended. Harmless when it was not started."""
        if self._loop.running:
            self._loop.stop()
        if self._running is not None:
            await settled(self._running)
