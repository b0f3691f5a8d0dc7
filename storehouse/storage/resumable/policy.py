"""
How large parts are. Pure.

A part is what is lost, at most, when the process is killed; and a list of parts is written anew with each, and read with
each look at the object. So parts are small at first and where bytes come slowly, and larger the more there is already: a
terabyte has some 3000 of them. Where a client sends little at a time, many small ones become a larger one.
"""

from __future__ import annotations

from collections.abc import Sequence

from storehouse.storage.dataspace.interfaces import Part

__all__ = ["LONGEST", "MANY", "is_enough", "least_size", "to_be_joined"]

#: Seconds after which what has come is made a part, however little it is.
LONGEST = 10.0

#: Small parts in a row that become one.
MANY = 64

# Seconds that a part should take: each costs some flushes.
_SHORTEST = 0.5

_SMALLEST = 16 << 20
_LARGEST = 1 << 30

# What there is already has at most about so many parts.
_SHARE = 512


def least_size(offset: int) -> int:
    """Bytes that a part should have at least, of those that begin there."""
    return max(_SMALLEST, offset // _SHARE)


def is_enough(offset: int, size: int, seconds: float) -> bool:
    """
    Whether a part is to end.

    @param offset: where it begins.
    @param size: its bytes so far.
    @param seconds: since its first byte came.
    """
    return size >= _LARGEST or (size >= least_size(offset) and seconds >= _SHORTEST)


def _rank(size: int) -> int:
    """Sizes of one rank differ by less than 64 times."""
    return (size.bit_length() + 5) // 6


def to_be_joined(parts: Sequence[Part]) -> int:
    """
    How many parts at the end are to become one; 0 for none.

    It is 64 of about one size and those smaller ones between them, so that bytes are copied a few times at most, however
    small they came.
    """
    least = least_size(sum(part.size for part in parts))
    ranks: list[int] = []
    for part in reversed(parts):
        if part.size >= least:
            break
        ranks.append(_rank(part.size))
    if len(ranks) < MANY:
        return 0
    for rank in sorted(set(ranks)):
        run = next((place for place, other in enumerate(ranks) if other > rank), len(ranks))
        if run >= MANY and ranks[:run].count(rank) >= MANY // 2:
            return run
    return 0
