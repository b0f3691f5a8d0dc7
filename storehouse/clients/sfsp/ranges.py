"""Sets of chunk IDs that take memory only for their gaps."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence

__all__ = ["Ranges"]

#: Ranges that are named one by one in a message.
_NAMED = 8


class Ranges:
    """
    A set of numbers, held as ranges.

    @param spans: first and last number of each, ascending and apart from each other.
    """

    def __init__(self, spans: Sequence[tuple[int, int]] = ()) -> None:
        self._firsts = [first for first, _ in spans]
        self._lasts = [last for _, last in spans]

    def __bool__(self) -> bool:
        return bool(self._firsts)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ranges) and self.spans == other.spans

    def __contains__(self, number: int) -> bool:
        at = bisect_right(self._firsts, number) - 1
        return at >= 0 and number <= self._lasts[at]

    def __iter__(self) -> Iterator[int]:
        """Ascending, of the numbers that are in at the beginning."""
        for first, last in self.spans:
            yield from range(first, last + 1)

    def __repr__(self) -> str:
        return f"Ranges({self.spans})"

    @property
    def count(self) -> int:
        """How many numbers there are."""
        return sum(self._lasts) - sum(self._firsts) + len(self._firsts)

    @property
    def spans(self) -> list[tuple[int, int]]:
        """First and last number of each range, ascending."""
        return list(zip(self._firsts, self._lasts, strict=True))

    @property
    def first(self) -> int:
        """The least; there must be one."""
        return self._firsts[0]

    @property
    def last(self) -> int:
        """The greatest; there must be one."""
        return self._lasts[-1]

    def add(self, number: int) -> None:
        """Put a number in."""
        firsts, lasts = self._firsts, self._lasts
        at = bisect_right(firsts, number)
        if at and number <= lasts[at - 1] + 1:
            lasts[at - 1] = max(number, lasts[at - 1])
            at -= 1
        else:
            firsts.insert(at, number)
            lasts.insert(at, number)
        if at + 1 < len(firsts) and firsts[at + 1] == lasts[at] + 1:
            lasts[at] = lasts.pop(at + 1)
            del firsts[at + 1]

    def add_all(self, numbers: Sequence[int]) -> None:
        """Put numbers in; fast if each follows the one before, behind all that are in."""
        if not numbers:
            return
        first, last = numbers[0], numbers[-1]
        follows = last - first + 1 == len(numbers) and (not self or first > self.last)
        if follows and tuple(numbers) == tuple(range(first, last + 1)):
            if self and first == self.last + 1:
                self._lasts[-1] = last
            else:
                self._firsts.append(first)
                self._lasts.append(last)
            return
        for number in numbers:
            self.add(number)

    @classmethod
    def union(cls, *sets: Ranges) -> Ranges:
        """The numbers that are in one of them."""
        spans: list[tuple[int, int]] = []
        for first, last in sorted(span for each in sets for span in each.spans):
            if spans and first <= spans[-1][1] + 1:
                spans[-1] = (spans[-1][0], max(last, spans[-1][1]))
            else:
                spans.append((first, last))
        return cls(spans)

    def gaps(self, count: int) -> Ranges:
        """The numbers from 0 on, fewer than C{count}, that are not in."""
        spans = []
        free = 0
        for first, last in self.spans:
            if free >= count:
                break
            if first > free:
                spans.append((free, min(first, count) - 1))
            free = last + 1
        if free < count:
            spans.append((free, count - 1))
        return Ranges(spans)

    def __str__(self) -> str:
        """For people: C{"3, 7 to 9"}; of many ranges, only the first."""
        words = [
            str(first) if first == last else f"{first}, {last}" if first + 1 == last else f"{first} to {last}"
            for first, last in self.spans[:_NAMED]
        ]
        left = Ranges(self.spans[_NAMED:]).count
        return ", ".join(words) + (f" and {left} more" if left else "")
