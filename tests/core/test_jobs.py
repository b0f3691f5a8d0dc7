"""Tests of L{storehouse.core.jobs}."""

from __future__ import annotations

import threading
from collections.abc import Callable, Coroutine
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from storehouse.core.jobs import DiskThreads, IDisk, InlineDisk, KeyedLocks, Repeated, Slots, deferred, settled, whole
from tests.integration.process import PATIENCE


@implementer(IDisk)
class HandDisk:
    """
    A disk whose jobs are done when a test says so.

    @ivar jobs: what was asked for and is not done.
    @ivar abandoned: how many jobs somebody did not wait for to their end.
    """

    def __init__(self) -> None:
        self.jobs: list[tuple[Callable[[], Any], Deferred[Any]]] = []
        self.abandoned = 0

    def run(self, f: Callable[..., Any], *args: Any, **kwargs: Any) -> Deferred[Any]:
        done: Deferred[Any] = Deferred()
        self.jobs.append((lambda: f(*args, **kwargs), done))
        return done

    def do(self, count: int = 1) -> None:
        """Do the jobs that have waited longest."""
        for _ in range(count):
            job, done = self.jobs.pop(0)
            self.abandoned += done.called
            try:
                result = job()
            except Exception:
                done.errback()
            else:
                done.callback(result)

    def do_all(self) -> None:
        """Do all there are, and all that these lead to."""
        while self.jobs:
            self.do()


def begun(work: Coroutine[Any, Any, Any]) -> Deferred[Any]:
    """A coroutine under way."""
    return Deferred.fromCoroutine(work)


class SettledTests(SynchronousTestCase):
    """L{settled} waits for any end."""

    def test_results(self) -> None:
        """Success, failure and cancellation of the work are ends."""
        for end in (
            lambda work: work.callback(1),
            lambda work: work.callback(None),
            lambda work: work.errback(ValueError()),
            lambda work: work.cancel(),
        ):
            work: Deferred[Any] = Deferred()
            waiting = begun(settled(work))
            self.assertNoResult(waiting)
            end(work)
            self.assertIsNone(self.successResultOf(waiting))

    def test_over_already(self) -> None:
        work: Deferred[Any] = Deferred()
        work.errback(ValueError())
        self.assertIsNone(self.successResultOf(begun(settled(work))))

    def test_cancelled(self) -> None:
        """A waiter waits although it is cancelled, any number of times; the work is left alone."""
        stopped: list[Any] = []
        work: Deferred[Any] = Deferred(stopped.append)
        waiting = begun(settled(work))
        for _ in range(3):
            waiting.cancel()
            self.assertNoResult(waiting)
        self.assertEqual(stopped, [])
        work.callback(1)
        self.assertIsNone(self.successResultOf(waiting))


class WholeTests(SynchronousTestCase):
    """L{whole} waits for the thread."""

    def setUp(self) -> None:
        self.disk = HandDisk()

    def test_interface(self) -> None:
        verifyObject(IDisk, self.disk)

    def test_result(self) -> None:
        working = begun(whole(self.disk, divmod, 7, 2))
        self.assertNoResult(working)
        self.disk.do()
        self.assertEqual(self.successResultOf(working), (3, 1))

    def test_arguments(self) -> None:
        self.assertEqual(self.successResultOf(begun(whole(InlineDisk(), sorted, [1, 3, 2], reverse=True))), [3, 2, 1])

    def test_no_result(self) -> None:
        """C{None} is a result too."""
        self.assertIsNone(self.successResultOf(begun(whole(InlineDisk(), lambda: None))))
        working = begun(whole(self.disk, lambda: None))
        self.disk.do()
        self.assertIsNone(self.successResultOf(working))

    def test_error(self) -> None:
        working = begun(whole(self.disk, divmod, 7, 0))
        self.disk.do()
        self.failureResultOf(working, ZeroDivisionError)
        self.failureResultOf(begun(whole(InlineDisk(), divmod, 7, 0)), ZeroDivisionError)

    def test_cancelled(self) -> None:
        """The result is delivered all the same, once the thread is done."""
        for count in (1, 3):
            working = begun(whole(self.disk, divmod, 7, 2))
            for _ in range(count):
                working.cancel()
                self.assertNoResult(working)
            self.disk.do()
            self.assertEqual(self.successResultOf(working), (3, 1))
        self.assertEqual(self.disk.abandoned, 0)

    def test_cancelled_and_failed(self) -> None:
        working = begun(whole(self.disk, divmod, 7, 0))
        working.cancel()
        self.disk.do()
        self.failureResultOf(working, ZeroDivisionError)
        self.assertEqual(self.disk.abandoned, 0)

    def test_cancelled_on_the_way(self) -> None:
        """A cancellation during one job does not reach into the next wait."""

        async def work() -> list[int]:
            return [await whole(self.disk, int, "1"), await whole(self.disk, int, "2")]

        working = begun(work())
        working.cancel()
        self.disk.do()
        self.assertNoResult(working)
        self.disk.do()
        self.assertEqual(self.successResultOf(working), [1, 2])


class ThreadTests(TestCase):
    """L{whole} with threads that are real."""

    async def test_cancelled(self) -> None:
        """When it says that it is over, the thread has done its work."""
        disk = DiskThreads(reactor, 1)
        disk.start()
        self.addCleanup(disk.stop)
        may_end = threading.Event()
        ended: list[int] = []

        def job() -> str:
            may_end.wait(PATIENCE)
            ended.append(1)
            return "done"

        working = begun(whole(disk, job))
        over: list[Any] = []
        working.addBoth(over.append)
        working.cancel()
        self.assertEqual((over, ended), ([], []))
        may_end.set()
        await disk.run(int)  # there is one thread: this one comes behind
        self.assertEqual((over, ended), (["done"], [1]))


class KeyedLocksTests(SynchronousTestCase):
    """One at a time for each name."""

    def setUp(self) -> None:
        self.locks = KeyedLocks()
        self.inside: list[str] = []
        self.entered: list[str] = []

    def begin(self, name: str, who: str) -> tuple[Deferred[Any], Deferred[None]]:
        """Somebody who wants in, and what lets it out."""
        out: Deferred[None] = Deferred()

        async def work() -> str:
            async with self.locks.held(name):
                self.inside.append(name)
                self.entered.append(who)
                try:
                    await out
                finally:
                    self.inside.remove(name)
            return who

        return begun(work()), out

    def tearDown(self) -> None:
        self.assertEqual(self.locks._queues, {})

    def test_alone(self) -> None:
        work, out = self.begin("a", "one")
        self.assertEqual(self.entered, ["one"])
        out.callback(None)
        self.assertEqual(self.successResultOf(work), "one")

    def test_order(self) -> None:
        """They come in in the order in which they came, one at a time."""
        names = [str(number) for number in range(20)]
        everyone = [self.begin("a", name) for name in names]
        for number, (work, out) in enumerate(everyone):
            self.assertEqual((self.entered, self.inside), (names[: number + 1], ["a"]))
            out.callback(None)
            self.successResultOf(work)

    def test_names(self) -> None:
        """Names do not wait for one another."""
        everyone = [self.begin(name, name) for name in ("a", "b", "")]
        self.assertEqual(self.inside, ["a", "b", ""])
        for work, out in everyone:
            out.callback(None)
            self.successResultOf(work)

    def test_error_inside(self) -> None:
        """One that fails lets the next in."""
        first, out = self.begin("a", "first")
        second, later = self.begin("a", "second")
        out.errback(ValueError())
        self.failureResultOf(first, ValueError)
        self.assertEqual(self.inside, ["a"])
        later.callback(None)
        self.successResultOf(second)

    def test_cancelled_inside(self) -> None:
        first, _ = self.begin("a", "first")
        second, out = self.begin("a", "second")
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.assertEqual(self.entered, ["first", "second"])
        out.callback(None)
        self.successResultOf(second)

    def test_cancelled_while_waiting(self) -> None:
        """One that leaves the queue does not hold up those behind it."""
        first, out = self.begin("a", "first")
        others = [self.begin("a", str(number)) for number in range(5)]
        for number in (1, 4, 0):
            others[number][0].cancel()
            self.failureResultOf(others[number][0], CancelledError)
        out.callback(None)
        self.successResultOf(first)
        for number in (2, 3):
            others[number][1].callback(None)
            self.assertEqual(self.successResultOf(others[number][0]), str(number))
        self.assertEqual(self.entered, ["first", "2", "3"])

    def test_all_cancelled(self) -> None:
        everyone = [self.begin("a", str(number)) for number in range(3)]
        for work, _ in reversed(everyone):
            work.cancel()
            self.failureResultOf(work, CancelledError)
        self.assertEqual(self.entered, ["0"])

    def test_again(self) -> None:
        """Somebody who comes while it is handed on waits behind the others."""
        again: list[Any] = []
        first, out = self.begin("a", "first")
        second, second_out = self.begin("a", "second")
        first.addCallback(lambda result: again.append(self.begin("a", "third")))
        out.callback(None)
        self.assertEqual(self.entered, ["first", "second"])
        second_out.callback(None)
        self.successResultOf(second)
        self.assertEqual(self.entered, ["first", "second", "third"])
        again[0][1].callback(None)
        self.successResultOf(again[0][0])

    def test_handed_on_at_once(self) -> None:
        """Thousands who need no time, behind one."""
        first, out = self.begin("a", "first")

        async def quick(number: int) -> None:
            async with self.locks.held("a"):
                self.entered.append(str(number))

        waiting = [begun(quick(number)) for number in range(3000)]
        out.callback(None)
        self.successResultOf(first)
        for work in waiting:
            self.successResultOf(work)
        self.assertEqual(self.entered, ["first", *map(str, range(3000))])

    def test_cancelled_when_it_is_next(self) -> None:
        """One that is cancelled by the one that lets it in passes the lock on."""
        first, out = self.begin("a", "first")
        third: list[Any] = []

        async def second() -> None:
            async with self.locks.held("a"):
                self.entered.append("second")
            third[0][0].cancel()

        work = begun(second())
        third.append(self.begin("a", "third"))
        fourth, fourth_out = self.begin("a", "fourth")
        out.callback(None)
        for done in (first, work):
            self.successResultOf(done)
        self.failureResultOf(third[0][0], CancelledError)
        self.assertEqual(self.entered, ["first", "second", "fourth"])
        fourth_out.callback(None)
        self.successResultOf(fourth)


class SlotsTests(SynchronousTestCase):
    """L{Slots}."""

    def setUp(self) -> None:
        self.slots = Slots(2)
        self.inside: list[int] = []
        self.ends = [Deferred[None]() for _ in range(9)]

    async def work(self, number: int) -> None:
        async with self.slots:
            self.inside.append(number)
            await self.ends[number]

    def test_few_at_a_time(self) -> None:
        """In the order in which they came."""
        works = [begun(self.work(number)) for number in range(5)]
        self.assertEqual((self.inside, self.slots.free), ([0, 1], 0))
        self.ends[1].callback(None)
        self.ends[2].callback(None)
        self.assertEqual(self.inside, [0, 1, 2, 3])
        for number in (0, 3, 4):
            self.ends[number].callback(None)
        for work in works:
            self.successResultOf(work)
        self.assertEqual(self.slots.free, 2)

    def test_failures(self) -> None:
        """A slot is given back in any case, and never to one that does not wait any more."""
        works = [begun(self.work(number)) for number in range(4)]
        works[2].cancel()
        self.failureResultOf(works[2], CancelledError)
        self.ends[0].errback(ZeroDivisionError())
        self.failureResultOf(works[0], ZeroDivisionError)
        self.assertEqual(self.inside, [0, 1, 3])
        works[1].cancel()
        self.failureResultOf(works[1], CancelledError)
        self.ends[3].callback(None)
        self.assertEqual(self.slots.free, 2)

    def test_many_who_are_done_at_once(self) -> None:
        """No recursion, however many wait."""
        self.ends[4].callback(None)
        works = [begun(self.work(number)) for number in (0, 1, *[4] * 5000)]
        self.ends[0].callback(None)
        self.assertEqual(self.inside.count(4), 5000)
        self.ends[1].callback(None)
        for work in works:
            self.successResultOf(work)


class RepeatedTests(SynchronousTestCase):
    """L{Repeated}."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.begun: list[Deferred[None]] = []
        self.repeated = Repeated(self.clock, 10.0, self.work)

    async def work(self) -> None:
        turn: Deferred[None] = Deferred()
        self.begun.append(turn)
        await turn

    def test_one_at_a_time(self) -> None:
        self.repeated.start()
        self.clock.advance(9)
        self.assertEqual(len(self.begun), 0)
        self.clock.advance(1)
        self.clock.pump([10.0] * 5)
        self.assertEqual(len(self.begun), 1)
        self.begun[0].callback(None)
        self.clock.advance(10)
        self.assertEqual(len(self.begun), 2)

    def test_stop_waits(self) -> None:
        self.repeated.start()
        self.clock.advance(10)
        stopped = self.repeated.stop()
        self.assertNoResult(stopped)
        self.begun[0].callback(None)
        self.successResultOf(stopped)
        self.clock.pump([10.0] * 5)
        self.assertEqual(len(self.begun), 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_never_begun(self) -> None:
        self.successResultOf(self.repeated.stop())


class DeferredTests(SynchronousTestCase):
    """L{deferred}, plain and lasting."""

    def setUp(self) -> None:
        self.waiting: Deferred[int] = Deferred()
        self.ended: list[object] = []

    async def work(self, more: int) -> int:
        try:
            result = await self.waiting + more
        except CancelledError:
            self.ended.append("cancelled")
            raise
        self.ended.append(result)
        return result

    def test_result(self) -> None:
        for decorated in (deferred(self.work), deferred(lasting=True)(self.work)):
            self.waiting = Deferred()
            result = decorated(1)
            self.assertNoResult(result)
            self.waiting.callback(2)
            self.assertEqual(self.successResultOf(result), 3)

    def test_error(self) -> None:
        """None escapes synchronously."""
        for decorated in (deferred(self.work), deferred(lasting=True)(self.work)):
            self.waiting = fail(KeyError())
            self.failureResultOf(decorated(1), KeyError)

    def test_cancelled(self) -> None:
        result = deferred(self.work)(1)
        result.cancel()
        self.failureResultOf(result, CancelledError)
        self.assertEqual(self.ended, ["cancelled"])

    def test_lasting(self) -> None:
        """The work is not cancelled, and its result has no one who wants it."""
        result = deferred(lasting=True)(self.work)(1)
        result.cancel()
        self.failureResultOf(result, CancelledError)
        self.assertEqual(self.ended, [])
        self.waiting.callback(2)
        self.assertEqual(self.ended, [3])
