"""
Budgets that all clients have in common, and the share of them that one address, user or link may use (docs/limits.rst):
of bytes in memory, L{ByteBudget}, and of connections and uploads, L{Shares}. L{StreamMemory} divides what a store may use.

Bytes are counted once they are in memory, never because a client has announced them. When there are too many, those requests
wait that bring more of them:

- Small bodies, and what is read ahead in small pieces, may use all of the budget. Large ones may use half of it, so that they
  never stand in the way of small ones.
- Of each of the two, one holder (an address) may use half.
- One large body at a time is favoured: it gets its whole size, however much others use. So, of many that are half here, one
  can always be completed, then the next; the smallest first. While others wait, a body is favoured for half of the time that
  one may wait, and only as long as its bytes come.
- A request that has waited for too long is refused, as is one that comes when too many wait already; the memory of its body is
  given back then. One whose client has left meanwhile is dropped.
- Responses that a client does not read are counted, too. When others wait, the largest of those that were not read for some
  seconds are aborted.
"""

from __future__ import annotations

from bisect import insort
from collections import Counter
from collections.abc import AsyncIterator, Callable, Hashable, Iterable
from contextlib import asynccontextmanager
from ipaddress import IPv6Address, ip_address
from typing import Generic, TypeVar

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from storehouse.core.proxies import plain_address
from storehouse.errors import Overloaded, Unavailable

__all__ = ["ByteBudget", "Hold", "Shares", "StreamMemory", "network_of"]

#: Bodies of at most so many bytes are small, unless that is more than an eighth of the budget.
_SMALL = 1 << 20

#: Seconds for which a response that its client does not read is kept while others wait for memory.
_GRACE = 5.0

#: Seconds between two looks at the requests that wait.
_LOOK = 1.0

#: Bodies of at most so many bytes are counted, and never wait: a connection has as much in its socket.
_FREE = 64 << 10

H = TypeVar("H", bound=Hashable)


def _never() -> bool:
    return False


def network_of(peer: str) -> str:
    """What counts as one client: an address of IPv4, or the 2^64 of IPv6 that one host is given; any other text by itself."""
    if ":" not in peer:
        return peer[:100]
    try:
        address = ip_address(plain_address(peer))
    except ValueError:
        return peer[:100]
    return str(IPv6Address(int(address) >> 64 << 64)) if isinstance(address, IPv6Address) else str(address)


class _Waiting:
    """
    A body that waits: until it may continue (C{size} is 0), or for all of C{size}.

    @ivar over: bytes of it that are in memory although they exceed the budget.
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
    A budget of bytes in memory; the rules are at the top of the module. For the reactor's thread.

    @param total: the bound, in bytes. It is exceeded only by a favoured body of more than a quarter of it.
    @param clock: C{IReactorTime}; without one no request is refused for having waited, and no response is aborted.
    @param patience: seconds that a request may wait.
    @ivar used: bytes that are counted now.
    @ivar peak: the most that there ever were.
    @ivar small: the most bytes of what counts as small.
    @ivar refused: how many were refused.
    @ivar given_up: responses that were aborted since their clients did not read them.
    """

    def __init__(self, total: int, clock: IReactorTime | None = None, patience: float = 60.0) -> None:
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
        self._look: IDelayedCall | None = None

    @property
    def waiting(self) -> int:
        """How many requests wait."""
        return len(self._queues[0]) + len(self._queues[1])

    def hold(self, size: int, holder: Hashable | None = None, is_gone: Callable[[], bool] = _never) -> Hold:
        """
        A body or response whose bytes are going to be counted; none is yet.

        @param size: the most bytes that it can come to.
        @param holder: whose share it is in, such as an address; C{None} for no share.
        @param is_gone: whether its client has left; called now and then while it waits.
        """
        return Hold(self, size, holder, is_gone)

    @asynccontextmanager
    async def reserved(
        self, size: int, holder: Hashable | None = None, is_gone: Callable[[], bool] = _never
    ) -> AsyncIterator[Hold]:
        """
        Have C{size} bytes for as long as the block lasts, once all of them are free: what waits uses nothing. More
        than the bound counts as the bound.

        @raise Overloaded: if they do not become free in time.
        """
        size = min(size, self.total)
        with Hold(self, size, holder, is_gone) as hold:
            await hold.reserve(size)
            yield hold

    # -- admission ---------------------------------------------------------------------------------

    def _is_small(self, hold: Hold, size: int) -> bool:
        return size <= self.small if size else hold.is_small

    def _fits(self, hold: Hold, size: int) -> bool:
        """Whether so many bytes more are within the bounds."""
        if hold is self._favoured:
            return True
        return self.used + size <= self._level(hold, size) and self._has_share(hold, size)

    def _level(self, hold: Hold, size: int) -> int:
        """What all of the same kind, small or large, may use."""
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
        # The other eighth is for what was read before its request began to wait; see L{_is_crowded}.
        room = self.total if size else self.total * 7 // 8
        if not self._has_share(hold, size):
            room -= self.total // 4  # which is for other holders
        return self.used + min(left, self.total // 4) <= room

    def _favour(self, hold: Hold, size: int) -> bool:
        """Make it the favoured body, if there is none."""
        if self._favoured is not None or not self._may_be_favoured(hold, size):
            return False
        self._favoured = hold
        self._favoured_since = now = self._now()
        self._favoured_held = now, hold.held
        return True

    def _review_favoured(self, now: float) -> None:
        """Favour it no more if it takes too long, or its bytes do not come."""
        hold = self._favoured
        if hold is None:
            return
        since, held = self._favoured_held
        if hold.held != held:
            self._favoured_held = since, held = now, hold.held
        if now - since >= _GRACE or now - self._favoured_since > self._patience / 2:
            self._favoured = None

    def _is_crowded(self, hold: Hold, over: int) -> bool:
        """Whether too much waits already: an eighth of the budget, of each kind, is for what was read before a body waits."""
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
        return Overloaded("the memory for requests and responses is used up: try again in a moment")

    def _forget(self, hold: Hold) -> None:
        """What waited was cancelled."""
        for queue in self._queues:
            for waiting in [each for each in queue if each.hold is hold]:
                queue.remove(waiting)
        self._hand_out()

    def _now(self) -> float:
        return self._clock.seconds() if self._clock is not None else 0.0

    def _hand_out(self) -> None:
        # The next may be complete at once, and a thousand behind it: that must not become a recursion.
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
        """The one whose turn it is: small ones first, and none waits behind one whose own share is used up."""
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
        """Refuse what has waited for too long, drop what has no client any more, abort what is not read."""
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
        """Abort responses that are not read, the largest first, until nothing waits for their memory."""
        if not self._stalled:
            return
        now = self._now()
        longest = max((now - each.since for queue in self._queues for each in queue), default=0.0)
        until = now - (_GRACE if longest < _GRACE else _LOOK)
        late = [hold for hold, (since, _) in self._stalled.items() if since <= until]
        late.sort(key=lambda hold: hold.held, reverse=True)
        # Pieces that are written without waiting can exceed the budget.
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
                ("budget_bytes", "Bytes of requests and responses that may be in memory.", self.total),
                ("used_bytes", "Bytes of requests and responses that are in memory.", self.used),
                ("peak_bytes", "The most bytes of requests and responses that were in memory at once.", self.peak),
                ("waiting", "Requests that wait for memory.", self.waiting),
            )
        ] + [
            CounterMetricFamily(
                f"{name}_refused", "Requests refused because the memory was used up.", value=self.refused
            ),
            CounterMetricFamily(
                f"{name}_given_up", "Connections closed that held memory and did not read.", value=self.given_up
            ),
        ]


class Hold:
    """
    The bytes of one body, or one response, that are in memory. For C{with}: all are given back at the end.

    @ivar held: bytes that are counted.
    @ivar size: the most that they can come to, as far as is known.
    @ivar is_small: whether they are counted as those of a small body.
    """

    def __init__(
        self, budget: ByteBudget, size: int, holder: Hashable | None, is_gone: Callable[[], bool] = _never
    ) -> None:
        self.held = 0
        self.size = size
        self.holder = holder
        self.is_small = size <= budget.small
        self._is_free = size <= min(_FREE, budget.small // 2)
        self.is_gone = is_gone
        self._budget = budget

    def __enter__(self) -> Hold:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def count(self, size: int) -> None:
        """Count some bytes more, whether they are within the bounds or not; fewer, if it is negative."""
        self._budget._count(self, size)

    def take(self, size: int) -> Deferred[None] | None:
        """
        Some bytes more have come, and are in memory.

        @return: C{None} if more may come; or fires once more may. Fails with L{Overloaded} if they exceed the budget, and
            too many wait already.
        """
        budget = self._budget
        budget._count(self, size)
        if self.held > budget.small:  # whatever was announced
            self.is_small = False
        is_free = self._is_free and self.is_small
        return None if is_free or budget._fits(self, 0) else budget._wait(self, 0, size)

    async def grow(self, size: int) -> None:
        """
        Count so many bytes more, and wait until they are within the bounds.

        @raise Overloaded: if that is not so in time.
        """
        await self._turn(self.take(size))

    async def reserve(self, size: int) -> None:
        """
        Count so many bytes more, which are not in memory yet, once all of them are free.

        @raise Overloaded: if they do not become free in time.
        """
        await self._turn(self._budget._wait(self, size))

    async def _turn(self, turn: Deferred[None] | None) -> None:
        if turn is None:
            return
        try:
            await turn
        except BaseException:
            # Or else L{close} would cancel this coroutine, which is ending.
            self._budget._forget(self)
            raise

    def has_room(self, size: int) -> bool:
        """Whether so many bytes more could be counted without waiting."""
        return not self._budget.waiting and self._budget._fits(self, size)

    def close(self) -> None:
        """Give all bytes back, and wait no more."""
        self._budget._close(self)

    def stalls(self, abort: Callable[[], object]) -> None:
        """
        The client does not read the response.

        @param abort: gives everything back at once; called after some seconds if others wait for memory.
        """
        self._budget._stalled.setdefault(self, (self._budget._now(), abort))

    def moves(self) -> None:
        """The client reads it."""
        self._budget._stalled.pop(self, None)


class Shares(Generic[H]):
    """
    A budget of things that are counted, and how many of them each holder has: connections of addresses, uploads of addresses,
    users and links.

    As long as there are plenty, a holder has as many as it wants. The last eighth is for holders that have less than half of
    that: however many one has, others are not kept out.

    @param most: how many there may be.
    @param each: how many one holder may have; 0 for no bound of its own.
    @ivar used: how many there are.
    """

    def __init__(self, most: int, each: int = 0) -> None:
        self.most = most
        self.used = 0
        self._each = each or most
        self._last = most // 8
        self._fair = max(1, self._last // 2)
        self._counts: Counter[H] = Counter()

    def refused(self, holders: Iterable[H]) -> H | None:
        """
        The first of the holders of one more whose share is used up; C{None} if none is.

        That all of the budget is used up is for the caller to check, by L{used}.
        """
        is_short = self._last and self.used >= self.most - self._last
        for holder in holders:
            count = self._counts[holder]
            if count >= self._each or (is_short and count >= self._fair):
                return holder
        return None

    def count(self, holder: H) -> int:
        """How many a holder has."""
        return self._counts[holder]

    def enter(self, holders: Iterable[H]) -> None:
        """Count one more, of all these holders."""
        self.used += 1
        for holder in holders:
            self._counts[holder] += 1

    def leave(self, holders: Iterable[H]) -> None:
        """Undo one L{enter}."""
        self.used -= 1
        for holder in holders:
            self._counts[holder] -= 1
            if not self._counts[holder]:
                del self._counts[holder]


class StreamMemory:
    """
    Divides the memory of a store among the byte streams that it reads: pieces are gathered until there is a share of them.

    @param total: bytes that all streams may hold together.
    @ivar streams: how many there are. A stream adds 1 to it when it begins, and subtracts 1 at its end.
    @ivar share: bytes of a stream to hand to a disk thread at once, from 32 KiB to 1 MiB; as many again may be read meanwhile.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self.streams = 0

    @property
    def streams(self) -> int:
        return self._streams

    @streams.setter
    def streams(self, count: int) -> None:
        self._streams = count
        # Computed here, since every piece needs it.
        self.share = max(32 << 10, min(1 << 20, self._total // (2 * max(1, count))))
