"""The time, from the system or from a clock that is given."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol

__all__ = ["Clock", "monotonic_of", "now_ns_of", "utc"]


class Clock(Protocol):
    """What tells the time: a reactor, or a L{twisted.internet.task.Clock} in tests."""

    def seconds(self) -> float:
        """Seconds since 1970 UTC."""


def now_ns_of(clock: Clock | None) -> Callable[[], int]:
    """
    What tells the nanoseconds since 1970 UTC.

    @param clock: C{None} for the system's.
    """
    if clock is None:
        return time.time_ns

    def now() -> int:
        # Seconds and their fraction apart: one product of both would be off by hundreds of nanoseconds.
        whole, part = divmod(clock.seconds(), 1)
        return int(whole) * 1_000_000_000 + int(part * 1_000_000_000)

    return now


def monotonic_of(clock: Clock | None) -> Callable[[], float]:
    """What tells seconds that never go back, from any start."""
    if clock is None:
        return time.monotonic
    return clock.seconds


def utc(now_ns: int) -> datetime:
    """A time as the date that file names are made of."""
    seconds, rest = divmod(now_ns, 1_000_000_000)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest // 1000, tzinfo=None)
