"""Tests of storehouse: power cuts, kills, full disks. L{tests.soak} lets them run long."""

from __future__ import annotations

from tests.soak import SOAK, rounds

__all__ = ["SOAK", "apart", "rounds"]


def apart(step: int) -> int:
    """How many events lie between crashes where a soak has them C{step} apart: a run of the tests has fewer."""
    return step if SOAK else 3 * step
