"""Places that many want, of which nobody may have so many that none are left to others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable
from typing import Generic, TypeVar

__all__ = ["Shares"]

H = TypeVar("H", bound=Hashable)


class Shares(Generic[H]):
    """
    Counts who has how many of a number of places: connections of addresses, uploads of addresses, users and links.

    As long as there are plenty, everybody has as many as are wanted. The last eighth is for those who have less than half of
    that: however many one has, others get in.

    @param most: places that there are.
    @param each: places that one may have at most; 0 for no bound of its own.
    @ivar used: places that are taken.
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
        Whose share is used up, of those that one more place would be counted for; C{None} if it can be had.

        Whether there are places at all is told by L{used}.
        """
        is_short = self._last and self.used >= self.most - self._last
        for holder in holders:
            count = self._counts[holder]
            if count >= self._each or (is_short and count >= self._fair):
                return holder
        return None

    def count(self, holder: H) -> int:
        """How many places one has."""
        return self._counts[holder]

    def enter(self, holders: Iterable[H]) -> None:
        """A place is taken by these."""
        self.used += 1
        for holder in holders:
            self._counts[holder] += 1

    def leave(self, holders: Iterable[H]) -> None:
        """It is free again."""
        self.used -= 1
        for holder in holders:
            self._counts[holder] -= 1
            if not self._counts[holder]:
                del self._counts[holder]
