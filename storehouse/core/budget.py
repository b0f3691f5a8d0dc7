"""
A bound on the bytes that are in memory at once, and shares of it.

Bytes are counted once they are in memory, never because somebody has announced them. Where there are too many, those who
bring more of them wait:

- Small bodies, and what is read ahead in small pieces, may use all of the budget. Large ones may use half of it, so that they
  never stand in the way of small ones.
- Of each of the two, one holder (an address) may use half.
- One large body at a time is the favoured one, and gets its whole size, whatever others hold: of many that are half here, one
  can always be completed, then the next; the smallest first. While others wait, it is favoured for half of the time that one
  may wait, and only as long as it comes.
- Who has waited for too long is refused, and who comes when too many wait already; what a body holds is given back then.
  One whose client has left meanwhile is dropped.
- Answers that a client does not take are held, too. Where others wait, the largest of those that were not read for some
  seconds are given up.
"""

from __future__ import annotations

from bisect import insort
from collections import Counter
from collections.abc import AsyncIterator, Callable, Hashable
from contextlib import asynccontextmanager
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from twisted.internet.defer import Deferred, fail

from storehouse.core.hold import Hold, never
from storehouse.errors import Overloaded, Unavailable

__all__ = ["ByteBudget", "Hold"]

#: Bodies of at most so many bytes are small, unless that is more than an eighth of the budget.
_SMALL = 1 << 20

#: Seconds for which the answer that a client does not read is kept while others wait for memory.
_GRACE = 5.0

#: Seconds between two looks at those who wait.
_LOOK = 1.0


class _Waiting:
    """
    One who waits: for room to go on (C{size} is 0), or for all of C{size}.

    @ivar over: bytes that are in memory although there was no room.
    """

    def __init__(self, hold: Hold, size: int, over: int, since: float, turn: Deferred[None]) -> None:
        self.hold = hold
        self.size = size
        self.over = over
        self.order = size or hold.size
        self.since = since
        self.turn = turn


def _order(waiting: _Waiting) -> int:
    return waiting.order


class ByteBudget:
    """
    See the module.

    @param total: the bound, in bytes. It is exceeded only by a favoured body of more than a quarter of it.
    @param clock: C{IReactorTime}; without one nobody is refused for having waited, and no answer is given up.
    @param patience: seconds that one may wait.
    @ivar used: bytes that are counted now.
    @ivar peak: the most that there ever were.
    @ivar small: the most bytes of what counts as small.
    @ivar refused: how many were refused.
    @ivar given_up: answers that were given up since their clients did not read them.
    """

    def __init__(self, total: int, clock: Any = None, patience: float = 60.0) -> None:
        self.total = total
        self.used = 0
        self.peak = 0
        self.small = min(_SMALL, total // 8)
        self.refused = 0
        self.given_up = 0
        self._clock = clock
        self._patience = patience
        self._used_by: Counter[Hashable] = Counter()
        self._favoured: Hold | None = None
        self._favoured_since = 0.0
        self._favoured_held = (0.0, 0)
        # The small ones, and the others; those of less bytes first.
        self._queues: tuple[list[_Waiting], list[_Waiting]] = ([], [])
        self._stalled: dict[Hold, tuple[float, Callable[[], object]]] = {}
        self._handing = False
        self._look: Any = None

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._queues[0]) + len(self._queues[1])

    def hold(self, size: int, holder: Hashable | None = None, is_gone: Callable[[], bool] = never) -> Hold:
        """
        Begin to hold something; nothing is counted yet.

        @param size: the most bytes that it can come to.
        @param holder: whose share it is in, such as an address; C{None} for none.
        @param is_gone: tells whether nobody is there any more who wants it; asked now and then while it waits.
        """
        return Hold(self, size, holder, is_gone)

    @asynccontextmanager
    async def reserved(
        self, size: int, holder: Hashable | None = None, is_gone: Callable[[], bool] = never
    ) -> AsyncIterator[Hold]:
        """
        Hold C{size} bytes for as long as the block lasts, once all of them can be had: those who wait hold nothing. More
        than the bound counts as the bound.

        @raise Overloaded: if they cannot be had.
        """
        size = min(size, self.total)
        with Hold(self, size, holder, is_gone) as hold:
            await hold.reserve(size)
            yield hold

    # -- admission ---------------------------------------------------------------------------------

    def _is_small(self, hold: Hold, size: int) -> bool:
        return size <= self.small if size else hold.is_small

    def _fits(self, hold: Hold, size: int) -> bool:
        """Whether so many bytes more may be there."""
        if hold is self._favoured:
            return True
        return self.used + size <= self._level(hold, size) and self._has_share(hold, size)

    def _level(self, hold: Hold, size: int) -> int:
        """What all may use who are of the same kind."""
        level = self.total if self._is_small(hold, size) else self.total // 2
        # What has not come yet can wait: a quarter is left to what has.
        return level * 3 // 4 if size else level

    def _has_share(self, hold: Hold, size: int) -> bool:
        """Whether its holder's share has so many bytes left."""
        return hold.holder is None or self._used_by[hold.holder] + size <= self._level(hold, size) // 2

    def _may_be_favoured(self, hold: Hold, size: int) -> bool:
        """Whether there is memory for it as the favoured one."""
        if self._is_small(hold, size):
            return False
        left = size or max(0, hold.size - hold.held)
        # What waits on the way has the other eighth, and there is a bound on what was favoured before.
        room = self.total if size else self.total * 7 // 8
        if not self._has_share(hold, size):
            room -= self.total // 4  # which is for others
        return self.used + min(left, self.total // 4) <= room

    def _favour(self, hold: Hold, size: int) -> bool:
        """Make it the favoured one, if there is none."""
        if self._favoured is not None or not self._may_be_favoured(hold, size):
            return False
        self._favoured = hold
        self._favoured_since = now = self._now()
        self._favoured_held = now, hold.held
        return True

    def _review_favoured(self, now: float) -> None:
        """Others wait: whether it takes too long, or does not come."""
        hold = self._favoured
        if hold is None:
            return
        since, held = self._favoured_held
        if hold.held != held:
            self._favoured_held = since, held = now, hold.held
        if now - since >= _GRACE or now - self._favoured_since > self._patience / 2:
            self._favoured = None

    def _is_crowded(self, hold: Hold, over: int) -> bool:
        """Whether too much waits already: an eighth of the budget, of each kind, is for what is read before one waits."""
        most = self.total // 8
        queue = self._queues[not hold.is_small]
        mine = sum(waiting.over for waiting in queue if waiting.hold.holder == hold.holder)
        return sum(waiting.over for waiting in queue) + over > most or (
            hold.holder is not None and mine + over > most // 2
        )

    def _count(self, hold: Hold, size: int) -> None:
        hold.held += size
        self.used += size
        if hold.holder is not None:
            used = self._used_by[hold.holder] + size
            if used:
                self._used_by[hold.holder] = used
            else:
                del self._used_by[hold.holder]
        if size > 0:
            self.peak = max(self.peak, self.used)
            if self.used > self.total and self._stalled:
                self._look_soon()
        elif size < 0:
            if hold is self._favoured:
                self._favoured = None
            if self.waiting:
                self._hand_out()

    def _close(self, hold: Hold) -> None:
        self._stalled.pop(hold, None)
        for waiting in [each for queue in self._queues for each in queue if each.hold is hold] if self.waiting else ():
            waiting.turn.cancel()
        if self._favoured is hold:
            self._favoured = None
        if hold.held:
            self._count(hold, -hold.held)
        elif self.waiting:
            self._hand_out()

    # -- waiting ---------------------------------------------------------------------------------

    def _wait(self, hold: Hold, size: int, over: int = 0) -> Deferred[None] | None:
        queue = self._queues[not self._is_small(hold, size)]
        if not queue and (self._fits(hold, size) or self._favour(hold, size)):
            self._count(hold, size)
            return None
        if over and self._is_crowded(hold, over):
            return fail(self._refusal())
        turn: Deferred[None] = Deferred(lambda cancelled: self._forget(hold))
        insort(queue, _Waiting(hold, size, over, self._now(), turn), key=_order)
        self._reclaim()
        self._hand_out()
        if self.waiting:
            self._look_soon()
        return turn

    def _look_soon(self) -> None:
        if self._look is None and self._clock is not None:
            self._look = self._clock.callLater(_LOOK, self._look_after)

    def _refusal(self) -> Overloaded:
        self.refused += 1
        return Overloaded("the memory for requests and answers is used up: try again in a moment")

    def _forget(self, hold: Hold) -> None:
        """One who waited was cancelled."""
        for queue in self._queues:
            for waiting in [each for each in queue if each.hold is hold]:
                queue.remove(waiting)
        self._hand_out()

    def _now(self) -> float:
        return self._clock.seconds() if self._clock is not None else 0.0

    def _hand_out(self) -> None:
        # Who is next may be done at once, and a thousand behind it: that must not become a recursion.
        if self._handing:
            return
        self._handing = True
        try:
            while (waiting := self._next()) is not None:
                self._count(waiting.hold, waiting.size)
                waiting.turn.callback(None)
        finally:
            self._handing = False

    def _next(self) -> _Waiting | None:
        """Take out those whose turn it is: the small ones first, and nobody waits behind those whose own share is used up."""
        for queue in self._queues:
            others = None
            for waiting in queue:
                hold, size = waiting.hold, waiting.size
                has_share = self._has_share(hold, size)
                if self._fits(hold, size) or (has_share and self._favour(hold, size)):
                    queue.remove(waiting)
                    return waiting
                if has_share:
                    break
                others = others or waiting
            else:
                if others is not None and self._favour(others.hold, others.size):
                    queue.remove(others)
                    return others
        return None

    def _look_after(self) -> None:
        """Refuse who has waited for too long; drop who is gone; let go of what is not read."""
        self._look = None
        now = self._now()
        self._reclaim()
        self._review_favoured(now)
        over = [
            waiting
            for queue in self._queues
            for waiting in queue
            if now - waiting.since >= self._patience or waiting.hold.is_gone()
        ]
        for waiting in over:
            queue = self._queues[not self._is_small(waiting.hold, waiting.size)]
            if waiting in queue:
                queue.remove(waiting)
                gone = waiting.hold.is_gone()
                waiting.turn.errback(Unavailable("the client has left") if gone else self._refusal())
        self._hand_out()
        if self.waiting or (self.used > self.total and self._stalled):
            self._look_soon()

    def _reclaim(self) -> None:
        """Let go of answers that are not read, the largest first, until nobody waits for what they hold."""
        if not self._stalled:
            return
        now = self._now()
        longest = max((now - each.since for queue in self._queues for each in queue), default=0.0)
        until = now - (_GRACE if longest < _GRACE else _LOOK)
        late = [hold for hold, (since, _) in self._stalled.items() if since <= until]
        late.sort(key=lambda hold: hold.held, reverse=True)
        # What is written without asking, in pieces, can come to more than there is.
        while late and self.used > self.total:
            self._give_up(late.pop(0))
        for waiting in [each for queue in self._queues for each in queue]:
            for hold in late:
                if self._fits(waiting.hold, waiting.size) or self._may_be_favoured(waiting.hold, waiting.size):
                    break
                has_share = self._has_share(waiting.hold, waiting.size)
                if has_share or hold.holder == waiting.hold.holder:
                    self._give_up(hold)

    def _give_up(self, hold: Hold) -> None:
        stalled = self._stalled.pop(hold, None)
        if stalled is not None:
            self.given_up += 1
            stalled[1]()

    # -- metrics ---------------------------------------------------------------------------------

    def collect(self) -> list[Metric]:
        """Metric families, for a C{prometheus_client} registry."""
        name = "storehouse_memory"
        return [
            GaugeMetricFamily(f"{name}_{suffix}", text, value=value)
            for suffix, text, value in (
                ("budget_bytes", "Bytes of requests and answers that may be in memory.", self.total),
                ("used_bytes", "Bytes of requests and answers that are in memory.", self.used),
                ("peak_bytes", "The most bytes of requests and answers that were in memory at once.", self.peak),
                ("waiting", "Requests that wait for memory.", self.waiting),
            )
        ] + [
            CounterMetricFamily(
                f"{name}_refused", "Requests refused since the memory was used up.", value=self.refused
            ),
            CounterMetricFamily(
                f"{name}_given_up", "Connections closed that held memory and did not read.", value=self.given_up
            ),
        ]
