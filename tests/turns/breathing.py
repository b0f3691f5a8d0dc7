"""Work that gives way whenever it can, so that tests see what may happen meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import inf
from typing import Any

from storehouse.core import turns

__all__ = ["every_breath"]


class _Always(turns._Pace):
    @property
    def until(self) -> float:
        return -inf

    @until.setter
    def until(self, value: float) -> None:
        pass


@contextmanager
def every_breath(clock: Any) -> Iterator[None]:
    """While the block lasts, each C{breath()} waits for the next turn of a clock."""
    before = turns._pace
    turns._pace = pace = _Always()
    pace.turns = turns.Turns(clock)
    try:
        yield
    finally:
        turns._pace = before
