"""Tests of L{storehouse.core.repeated}."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from storehouse.core.repeated import Repeated


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
