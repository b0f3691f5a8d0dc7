"""What one connection has in memory: answers that its peer does not take, and what is read ahead for them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Hashable
from contextlib import asynccontextmanager
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from storehouse.core.budget import ByteBudget
from storehouse.core.connections import Pace
from storehouse.core.fast.tcp import unsent

__all__ = ["Backlog"]

#: Bytes that have to be free for an answer to be read on.
_PIECE = 256 << 10


class Ahead:
    """What is read ahead for one answer."""

    def __init__(self, backlog: Backlog) -> None:
        self._backlog = backlog
        self._size = 0

    async def grow(self, size: int) -> None:
        """
        Have so many bytes, if they are not there already; more than the bound counts as the bound.

        @raise Overloaded: if they cannot be had.
        """
        more = min(size, self._backlog.most) - self._size
        if more > 0:
            await self._backlog.hold.reserve(more)
            self._add(more)

    def resize(self, size: int) -> None:
        """It turned out to be so many."""
        more = size - self._size
        if more and not self._backlog.is_closed:
            self._backlog.hold.count(more)
        self._add(more)

    def _add(self, more: int) -> None:
        self._size += more
        self._backlog.read_ahead += more


class Backlog:
    """
    Counted in a budget, in the share of the connection's address.

    Where others need the memory, a connection whose peer takes nothing is broken off; see L{ByteBudget}.

    @param abort: breaks the connection off.
    @param has_left: tells whether the peer has left although the connection is not read.
    @ivar hold: what is counted.
    @ivar most: the bound of all.
    @ivar read_ahead: bytes that are read for answers, and not written yet.
    @ivar is_closed: whether the connection is gone.
    """

    def __init__(
        self,
        budget: ByteBudget,
        holder: Hashable | None,
        transport: Any,
        abort: Callable[[], object],
        has_left: Callable[[], bool],
    ) -> None:
        self.hold = budget.hold(0, holder, has_left)
        self.most = budget.total
        self._transport = transport
        self._abort = abort
        self.read_ahead = 0
        self._kept = 0  # of a request that has not come whole
        self._unsent = 0  # written, and not taken
        self._taken = 0  # bytes that the peer took since it backed up
        self._pace = Pace()
        self.is_closed = False

    # -- for those who read for an answer ------------------------------------------------------

    @asynccontextmanager
    async def ahead(self, size: int) -> AsyncIterator[Ahead]:
        """
        Have C{size} bytes of memory for as long as the block lasts, for what is read and not written yet.

        @raise Overloaded: if they cannot be had.
        """
        ahead = Ahead(self)
        await ahead.grow(size)
        try:
            yield ahead
        finally:
            ahead.resize(0)

    @property
    def has_room(self) -> bool:
        """Whether there is memory for another piece of an answer."""
        return self.hold.has_room(_PIECE)

    async def room(self) -> None:
        """
        Wait until there is memory for another piece of an answer.

        @raise Overloaded: if there is none.
        """
        if self.has_room:
            return
        async with self.ahead(_PIECE):
            pass

    def when_room(self, go_on: Callable[[], object], give_up: Callable[[Failure], object]) -> None:
        """Call one of them: now, or once there is memory for another piece, or it is known that there will be none."""
        if self.is_closed or self.has_room:
            go_on()
            return
        room = Deferred.fromCoroutine(self.room())
        room.addCallbacks(lambda _: go_on(), give_up)

    # -- for the connection --------------------------------------------------------------------

    def belongs_to(self, holder: Hashable) -> None:
        """What the connection has is in this share from now on: a proxy makes requests for many over one."""
        held, hold = self.hold.held, self.hold
        if holder != hold.holder and not self.is_closed:
            hold.count(-held)
            hold.holder = holder
            hold.count(held)

    def keep(self, size: int) -> None:
        """So many bytes of a request are kept until it is whole."""
        self._kept = size
        self._recount()

    def backed_up(self) -> None:
        """The peer does not take what is written."""
        self._taken = 0
        self._unsent = unsent(self._transport)
        self._recount()
        self.hold.stalls(self._give_up)

    def wrote(self) -> None:
        """More was written although it does not."""
        before, self._unsent = self._unsent, unsent(self._transport)
        self._taken += max(0, before - self._unsent)
        self._recount()

    def drained(self) -> None:
        """It has taken everything."""
        self._unsent = 0
        self.hold.moves()
        self._recount()

    def is_slow(self, now: float, rate: float, window: float) -> bool:
        """Called now and then: whether the peer takes less than so many bytes a second of what waits for it."""
        if not self._unsent:
            self._pace.rest()
            return False
        before, self._unsent = self._unsent, unsent(self._transport)
        taken = max(0, before - self._unsent)
        self._taken += taken
        if taken and taken >= rate:
            # It is slow, but it does take: others are given up before.
            self.hold.moves()
            self.hold.stalls(self._give_up)
        self._recount()
        return self._pace.is_slow(now, self._pace, self._taken, rate, window)

    def close(self) -> None:
        """The connection is gone."""
        self.is_closed = True
        self.hold.close()

    def _give_up(self) -> None:
        # At once: the connection is gone a turn later, and no more are to be given up than have to.
        self.close()
        self._abort()

    def _recount(self) -> None:
        if not self.is_closed:
            size = self.read_ahead + self._kept + self._unsent
            if size != self.hold.held:
                self.hold.count(size - self.hold.held)
