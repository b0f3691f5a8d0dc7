"""Tests of L{storehouse.app.local.waiting}."""

from __future__ import annotations

from collections.abc import AsyncIterator

from twisted.internet.defer import Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from storehouse.app.local.waiting import each, run


async def numbers(*results: int) -> AsyncIterator[int]:
    """They come one by one."""
    for number in results:
        yield await succeed(number)


class WaitingTests(SynchronousTestCase):
    """What does all its work at once needs no reactor."""

    def test_result(self) -> None:
        async def work() -> int:
            return await succeed(1) + run(succeed(2))

        self.assertEqual(run(work()), 3)
        self.assertEqual(run(succeed("x")), "x")

    def test_failure(self) -> None:
        self.assertRaises(KeyError, run, fail(KeyError()))

    def test_waits(self) -> None:
        """That is a defect, and not an end that never comes; what has waited is closed."""
        closed = []

        async def work() -> None:
            try:
                await Deferred()
            finally:
                closed.append(True)

        self.assertRaises(RuntimeError, run, work())
        self.assertEqual(closed, [True])

    def test_each(self) -> None:
        self.assertEqual(list(each(numbers(1, 2, 3))), [1, 2, 3])
        self.assertEqual(list(each(numbers())), [])
