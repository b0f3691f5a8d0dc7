"""Tests of storehouse: power cuts, kills, full disks. L{tests.soak} lets them run long."""

from __future__ import annotations

from tests.soak import SOAK, rounds

__all__ = ["SOAK", "rounds"]
