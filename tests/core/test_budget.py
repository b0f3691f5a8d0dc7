"""Tests of L{storehouse.core.budget}."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from storehouse.core.budget import ByteBudget


class BudgetTests(SynchronousTestCase):
    """Bytes are handed out first come, first served."""

    def setUp(self) -> None:
        self.budget = ByteBudget(100)
        self.held: list[str] = []
        self.kept: list[tuple[Deferred[None], Deferred[None]]] = []

    def hold(self, name: str, size: int) -> tuple[Deferred[None], Deferred[None]]:
        """@return: the end of the block, to be fired, and the coroutine's Deferred."""
        end: Deferred[None] = Deferred()

        async def block() -> None:
            async with self.budget.reserved(size):
                self.held.append(name)
                await end

        done = Deferred.fromCoroutine(block())
        # A block that nobody refers to would be closed by the garbage collector, at some time.
        self.kept.append((end, done))
        return end, done

    def test_at_once(self) -> None:
        """What fits is had at once, and given back at the end of the block."""
        end, done = self.hold("a", 100)
        self.assertEqual((self.held, self.budget.used), (["a"], 100))
        end.callback(None)
        self.successResultOf(done)
        self.assertEqual(self.budget.used, 0)

    def test_in_turn(self) -> None:
        """A small one does not overtake a large one that waits."""
        first, _ = self.hold("first", 60)
        self.hold("large", 80)
        self.hold("small", 10)
        self.assertEqual(self.held, ["first"])
        first.callback(None)
        self.assertEqual(self.held, ["first", "large", "small"])

    def test_more_than_all(self) -> None:
        """More than the bound counts as the bound, so that it is had some time."""
        self.hold("huge", 10_000)
        self.assertEqual((self.held, self.budget.used), (["huge"], 100))

    def test_failure_inside(self) -> None:
        """A block that fails gives back what it held."""
        end, done = self.hold("a", 40)
        end.errback(ValueError())
        self.failureResultOf(done, ValueError)
        self.assertEqual(self.budget.used, 0)

    def test_cancelled_while_waiting(self) -> None:
        """One that gives up waiting held nothing, and those behind it that fit now go on."""
        self.hold("first", 60)
        _, waiting = self.hold("gives up", 80)
        self.hold("behind", 40)
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        self.assertEqual((self.held, self.budget.used), (["first", "behind"], 100))

    def test_many_that_are_done_at_once(self) -> None:
        """A long line of short blocks is no deep stack."""
        first, _ = self.hold("first", 100)
        done = []
        for number in range(5000):
            end, over = self.hold(str(number), 100)
            end.callback(None)
            done.append(over)
        first.callback(None)
        for over in done:
            self.successResultOf(over)
        self.assertEqual((len(self.held), self.budget.used), (5001, 0))
