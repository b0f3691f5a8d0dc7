"""What one body, or one answer, holds of a L{ByteBudget<storehouse.core.budget.ByteBudget>}."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

from twisted.internet.defer import Deferred

__all__ = ["Hold", "never"]

#: Bodies of at most so many bytes are counted, and never wait: a connection has as much in its socket.
_FREE = 64 << 10


def never() -> bool:
    """No client is known that could be gone."""
    return False


class Hold:
    """
    What one body, or one answer, holds in memory. For C{with}: all of it is given back at the end.

    @ivar held: bytes that are counted.
    @ivar size: the most that they can come to, as far as is known.
    """

    def __init__(self, budget: Any, size: int, holder: Hashable | None, is_gone: Callable[[], bool] = never) -> None:
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
        """Some bytes more are in memory, whether they may or not; fewer, if it is negative."""
        self._budget._count(self, size)

    def take(self, size: int) -> Deferred[None] | None:
        """
        Some bytes more have come, and are in memory.

        @return: C{None} if more may come; or fires once more may. Fails with L{Overloaded} if there is no room for them, and
            none is to be expected.
        """
        budget = self._budget
        budget._count(self, size)
        if self.held > budget.small:  # whatever was announced
            self.is_small = False
        is_free = self._is_free and self.is_small
        return None if is_free or budget._fits(self, 0) else budget._wait(self, 0, size)

    async def grow(self, size: int) -> None:
        """
        Hold so many bytes more, and wait until they may be there.

        @raise Overloaded: if there is no room for them.
        """
        await self._turn(self.take(size))

    async def reserve(self, size: int) -> None:
        """
        Hold so many bytes more that are not there yet, once all of them can be had. More than the bound counts as the bound.

        @raise Overloaded: if they cannot be had.
        """
        await self._turn(self._budget._wait(self, size))

    async def _turn(self, turn: Deferred[None] | None) -> None:
        if turn is None:
            return
        try:
            await turn
        except BaseException:
            # Nobody waits any more, so that nothing is cancelled by L{close}: not this coroutine, which is ending.
            self._budget._forget(self)
            raise

    def has_room(self, size: int) -> bool:
        """Whether so many bytes more could be held at once."""
        return not self._budget.waiting and self._budget._fits(self, size)

    def close(self) -> None:
        """Give everything back, and wait no more."""
        self._budget._close(self)

    def stalls(self, let_go: Callable[[], object]) -> None:
        """
        A client does not take what is held.

        @param let_go: has everything given back at once; called after some seconds if others wait for it.
        """
        self._budget._stalled.setdefault(self, (self._budget._now(), let_go))

    def moves(self) -> None:
        """The client takes it."""
        self._budget._stalled.pop(self, None)
