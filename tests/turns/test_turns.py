"""No input makes a turn of the reactor long: a few in every run of the tests, all of them in a soak."""

from __future__ import annotations

import os
from random import Random
from time import thread_time

from twisted.trial.unittest import TestCase

from storehouse.core.turns import LONGEST
from tests.around import on_disk
from tests.cpu import TRIES, slowness
from tests.soak import SOAK, count, long_loop, rounds
from tests.turns.corpus import Input
from tests.turns.house import House
from tests.turns.s3 import CORPUS


class TurnTests(TestCase):
    """
    What the reactor's thread takes of the CPU between two returns of its selector: not time that passes, which depends on
    what else the machine does.
    """

    timeout = 3600

    async def open(self) -> House:
        # Records are read at once where the kernel can say that it has them, which it does not of files in memory.
        house = House(os.path.join(on_disk(self), "house"))
        await house.start()
        self.addCleanup(house.stop)
        return house

    async def check(self, house: House, each: Input) -> None:
        """Try an input."""
        await house.cost(lambda: each.prepare(house))
        costs: list[float] = []
        for _ in range(TRIES):
            costs.append(await house.cost(lambda: each.do(house)))
            if costs[-1] <= LONGEST or costs[-1] <= LONGEST * slowness():
                return
        tries = ", ".join(f"{1000 * cost:.0f}" for cost in costs)
        raise AssertionError(f"{each.name}: a turn took {tries} ms")

    async def test_few(self) -> None:
        house = await self.open()
        for each in CORPUS:
            if each.is_quick:
                await self.check(house, each)

    async def test_long_turns_are_found(self) -> None:
        """The measure itself: what keeps the reactor busy is reported."""
        house = await self.open()

        def burn(house: House) -> None:
            from twisted.internet import reactor
            from twisted.internet.threads import blockingCallFromThread

            def work() -> None:
                end = thread_time() + 3 * LONGEST * slowness()
                while thread_time() < end:
                    pass

            blockingCallFromThread(reactor, work)

        with self.assertRaises(AssertionError):
            await self.check(house, Input("burn", burn))

    @long_loop
    async def test_all(self) -> None:
        """In a soak, all of them whatever time there is, each time in another order, since what one has stored is read by another."""
        if not SOAK:
            return
        house = await self.open()
        for seed in rounds(0):
            for each in Random(seed).sample(CORPUS, len(CORPUS)):
                await self.check(house, each)
                count("inputs")
