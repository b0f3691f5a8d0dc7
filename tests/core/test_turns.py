"""Tests of L{storehouse.core.turns}."""

from __future__ import annotations

import select
import socket
from time import thread_time
from typing import Any
from unittest import skipUnless

from prometheus_client import CollectorRegistry
from twisted.internet import reactor, selectreactor
from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.internet.task import deferLater
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase, TestCase

from storehouse.core import turns
from storehouse.core.fast.reactor import FastEPollReactor
from storehouse.core.turns import SLICE, Turns, breath, is_spent


def burn(seconds: float) -> None:
    """Use the CPU."""
    end = thread_time() + seconds
    while thread_time() < end:
        pass


class Clocks:
    """
    What L{turns} reads, so that nothing hangs on how busy the machine is: both clocks stand still but for L{burn}.

    @ivar cpu: seconds of the thread's CPU.
    @ivar wall: seconds.
    """

    def __init__(self, test: SynchronousTestCase) -> None:
        self.cpu = self.wall = 0.0
        test.patch(turns, "thread_time", lambda: self.cpu)
        test.patch(turns, "monotonic", lambda: self.wall)

    def burn(self, seconds: float) -> None:
        """Use the CPU."""
        self.cpu += seconds
        self.wall += seconds


class RunningTests(TestCase):
    """With the reactor that runs."""

    def setUp(self) -> None:
        self.clocks = Clocks(self)
        self.turns = Turns(reactor)
        self.turns.start()
        self.addCleanup(self.turns.stop)

    async def turn(self) -> None:
        """Wait for another: the first may be what is left of this one."""
        await deferLater(reactor, 0)
        await deferLater(reactor, 0)

    async def test_longest(self) -> None:
        """A turn is measured by what it takes of the CPU, not by how long it sleeps."""
        await self.turn()
        self.turns.forget()
        self.clocks.wall += 0.1
        await self.turn()
        self.assertEqual(self.turns.longest, 0)
        self.clocks.burn(0.06)
        await self.turn()
        self.assertEqual(self.turns.longest, 0.06)
        self.clocks.burn(0.03)
        await self.turn()
        self.assertEqual(self.turns.longest, 0.06)
        self.assertEqual(self.turns.recent, 0.06)

    async def test_counted(self) -> None:
        """Those that are long are told by how long they are."""
        registry = CollectorRegistry()
        registry.register(self.turns)  # type: ignore[arg-type]
        await self.turn()
        self.clocks.burn(0.06)
        await self.turn()
        name = "storehouse_reactor_turn_seconds"
        total = registry.get_sample_value(f"{name}_count")
        short = registry.get_sample_value(f"{name}_bucket", {"le": "0.05"})
        assert total is not None and short is not None
        self.assertEqual(total, self.turns.count)
        self.assertEqual(total - short, 1)
        self.assertEqual(registry.get_sample_value("storehouse_reactor_turn_longest_seconds"), self.turns.longest)

    async def test_breath(self) -> None:
        """Long work does not make a turn long, nor does much of it at once."""
        await self.turn()
        self.turns.forget()
        order: list[int] = []

        async def work(number: int) -> None:
            for _ in range(20):
                self.clocks.burn(0.001)
                await breath()
                order.append(number)

        await gatherResults([Deferred.fromCoroutine(work(number)) for number in range(10)])
        self.assertEqual(len(order), 200)
        # What began them all runs until each has waited once.
        self.assertLess(self.turns.longest, 2.5 * SLICE)
        # None has to wait for the whole of another's.
        self.assertEqual(set(order[:100]), set(range(10)))

    async def test_cancelled(self) -> None:
        await self.turn()

        async def work() -> None:
            self.clocks.burn(2 * SLICE)
            await breath()

        first, second = Deferred.fromCoroutine(work()), Deferred.fromCoroutine(work())
        first.cancel()
        await self.assertFailure(first, CancelledError)
        await second

    async def test_stopped_while_some_wait(self) -> None:
        await self.turn()
        self.clocks.burn(2 * SLICE)
        waiting = breath()
        self.assertIsInstance(waiting, Deferred)
        self.assertTrue(is_spent())
        self.turns.stop()
        self.successResultOf(waiting)
        self.assertFalse(is_spent())

    async def test_one_behind_another(self) -> None:
        """Two who measure one reactor do not disturb each other, in whatever order they end."""
        other = Turns(reactor)
        other.start()
        await self.turn()
        self.turns.stop()
        await self.turn()
        before = self.turns.count, other.count
        await self.turn()
        self.assertEqual(self.turns.count, before[0])
        self.assertGreater(other.count, before[1])
        other.stop()
        poller = getattr(reactor, "_poller", None)
        self.assertNotIsInstance(poller, turns._Poller)


class WithoutReactorTests(SynchronousTestCase):
    """Where no turn is measured nothing waits."""

    def test_breath(self) -> None:
        async def work() -> int:
            for _ in range(30):
                burn(0.001)
                await breath()
            return 1

        self.assertEqual(self.successResultOf(Deferred.fromCoroutine(work())), 1)

    def test_no_such_reactor(self) -> None:
        """One in memory has no turns."""
        measured = Turns(MemoryReactorClock())
        measured.start()
        self.assertFalse(is_spent())
        self.assertNotIsInstance(breath(), Deferred)
        self.successResultOf(measured.stop())


class ReactorTestsMixin:
    """What holds for every reactor."""

    def make(self) -> Any:
        raise NotImplementedError

    def test_measured(self: Any) -> None:
        own = self.make()
        measured = Turns(own)
        measured.start()
        own.callLater(0.001, burn, 0.03)
        own.callLater(0.002, own.callLater, 0, own.callLater, 0, own.stop)
        own.run(installSignalHandlers=False)
        measured.stop()
        self.assertGreaterEqual(measured.longest, 0.03)
        self.assertGreater(measured.count, 1)


class _Ready:
    """A connection that always has something, and takes its time with it."""

    def __init__(self, clocks: Clocks, seconds: float) -> None:
        self.left, self.right = socket.socketpair()
        self.right.send(b"x")
        self.clocks = clocks
        self.seconds = seconds
        self.served = 0

    def fileno(self) -> int:
        return self.left.fileno()

    def doRead(self) -> None:
        self.clocks.burn(self.seconds)
        self.served += 1

    def logPrefix(self) -> str:
        return "ready"

    def connectionLost(self, reason: Any) -> None:
        self.left.close()
        self.right.close()


@skipUnless(hasattr(select, "epoll"), "only where there is epoll")
class FastReactorTests(ReactorTestsMixin, SynchronousTestCase):
    """Ours."""

    def make(self) -> Any:
        return FastEPollReactor()

    def test_many_ready(self) -> None:
        """Of many that are ready at once each is served as often as the others, and no turn is long for them."""
        clocks = Clocks(self)
        own = self.make()
        measured = Turns(own)
        measured.start()
        ready = [_Ready(clocks, SLICE / 20) for _ in range(70)]
        for each in ready:
            own.addReader(each)

        def see() -> None:
            if sum(each.served for each in ready) >= 12 * len(ready):
                own.stop()
            else:
                own.callLater(0.01, see)

        see()
        own.run(installSignalHandlers=False)
        measured.stop()
        for each in ready:
            each.connectionLost(None)
        # A turn serves as many as fill its slice, and one more at most.
        self.assertGreaterEqual(measured.longest, SLICE)
        self.assertLessEqual(measured.longest, 1.06 * SLICE)
        served = [each.served for each in ready]
        self.assertGreater(min(served), 0)
        self.assertLessEqual(max(served), 3 * min(served) + 2)


@skipUnless(hasattr(select, "epoll"), "only where there is epoll")
class EpollReactorTests(FastReactorTests):
    """Twisted's own."""

    def make(self) -> Any:
        from twisted.internet.epollreactor import EPollReactor

        return EPollReactor()

    def test_private_name(self) -> None:
        """It has what we stand in front of: with a Twisted that has it no more, only this fails."""
        self.assertIsInstance(self.make()._poller, select.epoll)


class SelectReactorTests(ReactorTestsMixin, SynchronousTestCase):
    """One without epoll is measured in a plainer way."""

    def make(self) -> Any:
        return selectreactor.SelectReactor()
