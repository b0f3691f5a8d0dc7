"""Tests of storehouse: power cuts, kills, full disks. C{STOREHOUSE_SOAK=1} lets them run long."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator

__all__ = ["SOAK", "rounds"]

#: Whether there is time.
SOAK = bool(os.environ.get("STOREHOUSE_SOAK"))


def rounds(few: int) -> Iterator[int]:
    """
    Seeds, one a round: C{few} that are always the same, or in a soak C{STOREHOUSE_SOAK_ROUNDS} that differ from run
    to run.

    A round is run again by C{STOREHOUSE_CRASH_SEED}, the number that its failure names.
    """
    seed = os.environ.get("STOREHOUSE_CRASH_SEED")
    if seed:
        yield int(seed)
        return
    if not SOAK:
        yield from range(few)
        return
    for _ in range(int(os.environ.get("STOREHOUSE_SOAK_ROUNDS", "100"))):
        yield random.getrandbits(32)
