"""The time, from the system or from a clock that a test turns."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

__all__ = ["monotonic_of", "now_ns_of", "utc"]


def now_ns_of(clock: Any) -> Callable[[], int]:
    """
    What tells the nanoseconds since 1970.

    @param clock: has C{seconds()}, as a reactor or a L{twisted.internet.task.Clock} has; C{None} for the system's.
    """
    if clock is None:
        return time.time_ns

    def now() -> int:
        # Apart from each other: the product of all would be off by hundreds of nanoseconds.
        whole, part = divmod(clock.seconds(), 1)
        return int(whole) * 1_000_000_000 + int(part * 1_000_000_000)

    return now


def monotonic_of(clock: Any) -> Callable[[], float]:
    """What tells seconds, never going back."""
    if clock is None:
        return time.monotonic
    seconds: Callable[[], float] = clock.seconds
    return seconds


def utc(now_ns: int) -> datetime:
    """A time as the date that file names are made of."""
    seconds, rest = divmod(now_ns, 1_000_000_000)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest // 1000, tzinfo=None)
