"""Latencies, counted in plain integers: a metrics library's call costs as much as a small operation."""

from __future__ import annotations

__all__ = ["Latency"]

_BOUNDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)


class Latency:
    """
    A histogram of seconds.

    @ivar total: the sum of all.
    """

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(_BOUNDS) + 1)
        self.total = 0.0

    def observe(self, seconds: float) -> None:
        self.total += seconds
        for at, bound in enumerate(_BOUNDS):
            if seconds <= bound:
                self.counts[at] += 1
                return
        self.counts[-1] += 1

    def buckets(self) -> list[tuple[str, float]]:
        """As a Prometheus histogram has them: how many took at most each bound."""
        below = 0
        buckets = []
        for bound, count in zip([*map(str, _BOUNDS), "+Inf"], self.counts, strict=True):
            below += count
            buckets.append((bound, float(below)))
        return buckets
