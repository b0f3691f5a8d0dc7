"""
Bounds of CPU time that only a defect exceeds.

Others on the machine, and the garbage of other tests, make a piece of code take longer, never shorter: of several tries the
least counts. And a bound holds for a machine on which Python is as fast as on a usual one of 2026: a slower one, or one that is
slower just now, is allowed as many times more as it takes for a piece of work of a known size.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from time import thread_time

__all__ = ["TRIES", "assert_cpu", "cpu_of", "slowness"]

#: Attempts before a measurement counts as too long.
TRIES = 6

#: Seconds that L{_known} takes on the machine that the bounds are meant for.
_USUAL = 0.0032


def slowness() -> float:
    """How many times slower than it should be the machine is now; 1 if it is as fast, or faster."""
    return max(1.0, min(cpu_of(_known) for _ in range(3)) / _USUAL)


def cpu_of(work: Callable[[], object]) -> float:
    """The seconds of CPU that this thread takes for something."""
    began = thread_time()
    work()
    return thread_time() - began


def assert_cpu(bound: float, measure: Callable[[], float], what: object = "it") -> None:
    """
    Try until it takes as little as it should.

    @param bound: in seconds.
    @param measure: does something, without garbage being collected meanwhile, and says how many seconds of CPU it took.
    @raise AssertionError: if all tries take longer.
    """
    tries: list[float] = []
    for _ in range(TRIES):
        gc.disable()
        try:
            tries.append(measure())
        finally:
            gc.enable()
        if tries[-1] <= bound or tries[-1] <= bound * slowness():
            return
    raise AssertionError(
        f"{what} takes {', '.join(f'{1000 * each:.0f}' for each in tries)} ms of CPU, not {1000 * bound:.0f}"
    )


def _known() -> None:
    """Objects made and looked up, numbers, and bytes."""
    found: dict[bytes, int] = {}
    for number in range(12_000):
        data = b"%d" % number
        found[data] = len(found) + number
