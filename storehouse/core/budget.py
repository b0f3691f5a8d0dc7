"""A bound on the bytes that several hold in memory at once."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from twisted.internet.defer import Deferred

__all__ = ["ByteBudget"]


class ByteBudget:
    """
    Hands out bytes, first come, first served.

    What is reserved is reserved whole, before any of it is used, so that holders never wait for one another.

    @ivar total: the bound.
    @ivar used: bytes reserved now.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self.used = 0
        self._waiting: deque[tuple[int, Deferred[None]]] = deque()
        self._handing = False

    @asynccontextmanager
    async def reserved(self, size: int) -> AsyncIterator[None]:
        """
        Hold C{size} bytes for as long as the block lasts, once they can be had. More than the bound counts as
        the bound.
        """
        size = min(size, self.total)
        if self._waiting or self.used + size > self.total:
            turn: Deferred[None] = Deferred(lambda d: None)
            entry = (size, turn)
            self._waiting.append(entry)
            try:
                await turn
            except BaseException:
                if entry in self._waiting:
                    self._waiting.remove(entry)
                    size = 0
                # Those behind may fit now.
                self._release(size)
                raise
        else:
            self.used += size
        try:
            yield
        finally:
            self._release(size)

    def _release(self, size: int) -> None:
        self.used -= size
        # Whoever is next may be done at once, and a thousand behind it: that must not become a recursion.
        if self._handing:
            return
        self._handing = True
        try:
            self._hand_out()
        finally:
            self._handing = False

    def _hand_out(self) -> None:
        while self._waiting and self.used + self._waiting[0][0] <= self.total:
            granted, turn = self._waiting.popleft()
            self.used += granted
            turn.callback(None)
