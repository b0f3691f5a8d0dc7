"""Tests of L{storehouse.core.budget}."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from storehouse.core.budget import ByteBudget, Hold, Shares, network_of
from storehouse.errors import Overloaded, Unavailable

MIB = 1 << 20


class ReservedTests(SynchronousTestCase):
    """Bytes that are reserved whole before any of them is there. Of 800 bytes, 100 are small, and a large one may use 300."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.budget = ByteBudget(800, self.clock, patience=10)
        self.held: list[str] = []
        self.kept: list[tuple[Deferred[None], Deferred[None]]] = []
        self.addCleanup(self.end_all)

    def end_all(self) -> None:
        """No block is left to the garbage collector."""
        for end, done in self.kept:
            done.addErrback(lambda failure: None)
            if not end.called:
                end.callback(None)
            done.cancel()

    def hold(self, name: str, size: int, holder: str | None = None) -> tuple[Deferred[None], Deferred[None]]:
        """@return: the end of the block, to be fired, and the coroutine's Deferred."""
        end: Deferred[None] = Deferred()

        async def block() -> None:
            async with self.budget.reserved(size, holder):
                self.held.append(name)
                await end

        done = Deferred.fromCoroutine(block())
        self.kept.append((end, done))
        return end, done

    def test_at_once(self) -> None:
        """What fits is had at once, and given back at the end of the block."""
        end, done = self.hold("a", 800)
        self.assertEqual((self.held, self.budget.used), (["a"], 800))
        end.callback(None)
        self.successResultOf(done)
        self.assertEqual((self.budget.used, self.budget.peak), (0, 800))

    def test_in_turn(self) -> None:
        """Large ones wait for each other, and small ones for none of them."""
        first, _ = self.hold("first", 600)
        self.hold("large", 400)
        self.hold("larger", 500)
        self.hold("small", 0)
        self.assertEqual(self.held, ["first", "small"])
        first.callback(None)
        self.assertEqual(self.held, ["first", "small", "large"])

    def test_more_than_all(self) -> None:
        """More than the bound counts as the bound, so that it is had some time."""
        self.hold("huge", 10_000)
        self.assertEqual((self.held, self.budget.used), (["huge"], 800))

    def test_failure_inside(self) -> None:
        """A block that fails gives back what it held."""
        end, done = self.hold("a", 40)
        end.errback(ValueError())
        self.failureResultOf(done, ValueError)
        self.assertEqual(self.budget.used, 0)

    def test_cancelled_while_waiting(self) -> None:
        """One that gives up waiting held nothing, and those behind it go on."""
        first, _ = self.hold("first", 600)
        _, waiting = self.hold("gives up", 700)
        self.hold("behind", 110)
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        self.assertEqual((self.held, self.budget.used), (["first"], 600))
        first.callback(None)
        self.assertEqual((self.held, self.budget.used), (["first", "behind"], 110))

    def test_patience(self) -> None:
        """A client that has waited for the longest time allowed is refused, and delays nobody any more."""
        self.hold("first", 800)
        _, waiting = self.hold("late", 200)
        self.clock.pump([1] * 9)
        self.assertNoResult(waiting)
        self.clock.pump([1])
        self.failureResultOf(waiting, Overloaded)
        self.assertEqual((self.budget.waiting, self.budget.refused, self.clock.getDelayedCalls()), (0, 1, []))

    def test_shares(self) -> None:
        """One holder has half of what all may have, and nobody waits behind one whose share is used up."""
        self.hold("a1", 150, "a")
        self.hold("a2", 150, "a")  # the favoured one
        self.hold("a3", 150, "a")
        self.hold("b1", 50, "b")
        self.assertEqual(self.held, ["a1", "a2", "b1"])
        # What is read ahead leaves a part of a share to what comes.
        self.hold("small", 90, "a")
        self.assertEqual(self.held, ["a1", "a2", "b1"])
        self.assertIsNone(self.budget.hold(90, "a").take(90))

    def test_many_that_are_done_at_once(self) -> None:
        """A long line of short blocks is no deep stack."""
        first, _ = self.hold("first", 800)
        done = []
        for number in range(2000):
            end, over = self.hold(str(number), 800)
            end.callback(None)
            done.append(over)
        first.callback(None)
        for over in done:
            self.successResultOf(over)
        self.assertEqual((len(self.held), self.budget.used), (2001, 0))


class BodyTests(SynchronousTestCase):
    """Bodies that grow as they come. Of 64 MiB, large ones may use 32 together."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.budget = ByteBudget(64 * MIB, self.clock, patience=60)

    def body(self, size: int, come: int = 0, holder: str | None = None) -> tuple[Hold, Deferred[None] | None]:
        """A body of so many MiB, of which some have come."""
        hold = self.budget.hold(size * MIB, holder)
        return hold, hold.take(come * MIB)

    def test_announced(self) -> None:
        """What was only announced takes nothing from anybody."""
        for _ in range(100):
            self.body(64)
        hold, room = self.body(64, 10)
        self.assertIsNone(room)
        self.assertEqual((self.budget.used, hold.held), (10 * MIB, 10 * MIB))

    def test_one_gets_its_whole_size(self) -> None:
        """Of bodies that all wait for each other, one can be completed, then the next."""
        bodies = [self.body(16, 8) for _ in range(4)]
        waiting: list[tuple[Hold, Deferred[None] | None]] = [(hold, hold.take(MIB)) for hold, _ in bodies]
        self.assertIsNone(waiting[0][1])  # the favoured one
        self.assertIsNone(waiting[0][0].take(7 * MIB))
        for _, room in waiting[1:]:
            assert room is not None
            self.assertNoResult(room)
        for number in range(1, 4):
            waiting[number - 1][0].close()
            hold, room = waiting[number]
            self.successResultOf(room)  # type: ignore[arg-type]
            self.assertIsNone(hold.take(7 * MIB))
        waiting[3][0].close()
        self.assertEqual(self.budget.used, 0)

    def test_small_ones_never_wait_for_large_ones(self) -> None:
        for _ in range(4):
            self.body(64, 7)
        self.body(64, 9)  # the favoured one
        waiting = [self.body(64, 1)[1] for _ in range(9)]
        for room in waiting[:8]:
            assert room is not None
            self.assertNoResult(room)
        assert waiting[8] is not None
        self.failureResultOf(waiting[8], Overloaded)  # too much waits already
        _, small = self.body(1, 1)
        self.assertIsNone(small)

    def test_favoured_for_a_while(self) -> None:
        """A favoured body that takes long stands in nobody's way for ever: another one is favoured then."""
        slow, _ = self.body(64, 33)
        other, room = self.body(64, 1)
        assert room is not None
        for _ in range(30):
            self.clock.advance(1)
            slow.take(1)
        self.assertNoResult(room)
        self.clock.pump([1] * 2)
        self.successResultOf(room)
        self.assertIsNone(other.take(3 * MIB))
        again = slow.take(1)
        assert again is not None
        self.assertNoResult(again)
        other.close()
        self.successResultOf(again)

    def test_favoured_that_stops(self) -> None:
        """Others are favoured once it does not come, the smallest first, and only as many as there is room for."""
        self.body(40, 33)
        rooms = [self.body(size, 1)[1] for size in (60, 16, 8)]
        self.clock.pump([1] * 6)
        self.assertEqual([room.called for room in rooms if room is not None], [False, False, True])
        self.clock.pump([1] * 6)
        self.assertEqual([room.called for room in rooms if room is not None], [False, True, True])

    def test_who_is_gone(self) -> None:
        """One that waits, and whose client has left, is dropped."""
        gone: list[bool] = []
        self.body(64, 33)
        hold = self.budget.hold(64 * MIB, is_gone=lambda: bool(gone))
        room = hold.take(MIB)
        assert room is not None
        self.clock.pump([1] * 3)
        self.assertNoResult(room)
        gone.append(True)
        self.clock.pump([1])
        self.failureResultOf(room, Unavailable)
        self.assertEqual(self.budget.waiting, 0)

    def test_closed_while_it_waits(self) -> None:
        self.body(64, 33)
        hold, room = self.body(64, 1)
        assert room is not None
        hold.close()
        self.failureResultOf(room, CancelledError)
        self.assertEqual((self.budget.waiting, self.budget.used), (0, 33 * MIB))

    def test_share(self) -> None:
        """One address that holds much leaves room to others; and its own small ones still come in."""
        for _ in range(3):
            self.body(64, 7, "a")
        _, room = self.body(64, 1, "a")
        assert room is not None
        self.assertNoResult(room)
        self.assertIsNone(self.body(64, 8, "b")[1])
        self.assertIsNone(self.body(1, 1, "a")[1])

    def test_said_to_be_small(self) -> None:
        """What becomes large is large, whatever was announced."""
        hold = self.budget.hold(10)
        self.assertIsNone(hold.take(10))
        self.assertIsNone(hold.take(33 * MIB))  # the favoured one
        self.assertFalse(hold.is_small)

    def test_answers_that_are_not_read(self) -> None:
        """They are let go of after some seconds, the largest first, if others wait, and as many as are needed."""
        let_go: list[str] = []
        holds: dict[str, Hold] = {}

        def stall(name: str, size: int) -> None:
            hold = holds[name] = self.budget.hold(0)
            hold.count(size * MIB)

            def drop() -> None:
                let_go.append(name)
                hold.close()

            hold.stalls(drop)

        stall("small", 1)
        stall("large", 30)
        stall("middle", 20)
        stall("read", 13)
        self.clock.advance(10)
        holds["read"].moves()
        self.assertEqual(let_go, [])
        _, room = self.body(1, 1)
        assert room is not None
        self.successResultOf(room)
        self.assertEqual(let_go, ["large"])
        stall("late", 31)
        _, room = self.body(1, 1)
        assert room is not None
        self.successResultOf(room)
        self.assertEqual(let_go, ["large", "middle"])
        self.assertEqual(self.budget.given_up, 2)

    def test_more_than_there_is(self) -> None:
        """Answers that come to more than the bound are given up, although nobody waits."""
        holds = [self.budget.hold(0) for _ in range(10)]
        for hold in holds:
            hold.stalls(hold.close)
            hold.count(7 * MIB)
        self.clock.pump([1.0] * 4)
        self.assertEqual(self.budget.used, 70 * MIB)
        self.clock.pump([1.0] * 3)
        self.assertEqual((self.budget.used, self.budget.given_up), (63 * MIB, 1))
        for hold in holds:
            hold.close()
        self.clock.pump([1.0] * 2)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class ShareTests(SynchronousTestCase):
    """L{Shares}."""

    def test_networks(self) -> None:
        """One host has 2^64 addresses of IPv6, and one of IPv4, however that is written."""
        for address, network in (
            ("192.0.2.1", "192.0.2.1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("::ffff:c000:201", "192.0.2.1"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
            ("2001:DB8:1:2::", "2001:db8:1:2::"),
            ("fe80::1%eth0", "fe80::"),
            ("::1", "::"),
            ("", ""),
            ("no:address", "no:address"),
        ):
            self.assertEqual(network_of(address), network)

    def test_several_holders(self) -> None:
        """A place is in the share of each of them; the one that is used up is named."""
        shares = Shares(100, each=3)
        for _ in range(3):
            self.assertIsNone(shares.refused(("a", "link")))
            shares.enter(("a", "link"))
        self.assertEqual(shares.refused(("b", "link")), "link")
        self.assertIsNone(shares.refused(("b",)))
        shares.leave(("a", "link"))
        self.assertIsNone(shares.refused(("b", "link")))
        self.assertEqual(shares.used, 2)

    def test_plenty(self) -> None:
        """As long as there are plenty one may have almost all of them; the last ones are for others."""
        shares = Shares(1024)
        count = 0
        while shares.refused(("a",)) is None:
            shares.enter(("a",))
            count += 1
        self.assertEqual(count, 896)
        others = 0
        while shares.refused(("b",)) is None:
            shares.enter(("b",))
            others += 1
        self.assertEqual(others, 64)
        self.assertIsNone(shares.refused(("c",)))

    def test_few(self) -> None:
        """Where there are only a few places, none are kept."""
        shares = Shares(3)
        for _ in range(3):
            self.assertIsNone(shares.refused(("a",)))
            shares.enter(("a",))
