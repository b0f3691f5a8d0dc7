"""What goes on at the door, in figures: docs/stats.rst says what each is."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from storehouse.core.disk import IDisk
from storehouse.frontends.upload.memory import UploadMemory
from storehouse.frontends.upload.throughput import Activity, Series

__all__ = ["DiskLeft", "Overview", "Room"]

#: Seconds for which it is not asked again how much room there is.
_FRESH = 5.0

#: Seconds over which the rate of now is taken.
_NOW = 5

_OUTCOMES = ("begun", "done", "failed", "suspended")


@attrs.frozen
class Room:
    """
    A file system.

    @ivar free: bytes that may still be written to it.
    @ivar total: bytes that it has.
    """

    free: int
    total: int


class DiskLeft:
    """
    How much room there is where objects are stored.

    @param directory: where that is.
    @param clock: C{IReactorTime}.
    """

    def __init__(self, directory: str, disk: IDisk, clock: Any) -> None:
        self._directory = directory
        self._disk = disk
        self._clock = clock
        self._known: Room | None = None
        self._until = float("-inf")

    async def room(self) -> Room | None:
        """What there is, as of some seconds ago at most; C{None} if it cannot be told."""
        now = self._clock.seconds()
        if now >= self._until:
            # Whoever else asks meanwhile gets what was known.
            self._until = now + _FRESH
            try:
                found = await self._disk.run(os.statvfs, self._directory)
            except OSError:
                self._known = None
            else:
                self._known = Room(found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize)
        return self._known


class Overview:
    """
    Gathers the figures.

    @param connections: gives how many connections to the door are open.
    """

    def __init__(
        self, activity: Activity, memory: UploadMemory, disk: DiskLeft, connections: Callable[[], int]
    ) -> None:
        self.activity = activity
        self._memory = memory
        self._disk = disk
        self._connections = connections
        self._started = activity.now()

    async def all(self) -> dict[str, Any]:
        """All figures, as JSON has them."""
        activity = self.activity
        room = await self._disk.room()
        return {
            "time": activity.now(),
            "started": self._started,
            **self._figures(),
            "disk": None if room is None else attrs.asdict(room),
            "totals": {
                "received": activity.received,
                "sent": activity.sent,
                "transfers": _by_kind(activity.counts),
            },
            "running": [
                {"name": each.name, "kind": each.kind, "user": each.user, "began": each.began, "bytes": each.count}
                for each in (*activity.uploads, *activity.downloads)
            ],
            "recent": [{**attrs.asdict(each), "rate": each.rate} for each in reversed(activity.recent)],
            "seconds": attrs.asdict(activity.seconds()),
            "minutes": attrs.asdict(activity.minutes()),
        }

    def moment(self) -> dict[str, Any]:
        """The figures that change by the second."""
        return {"time": self.activity.now(), **self._figures()}

    def _figures(self) -> dict[str, Any]:
        memory, series = self._memory, self.activity.seconds()
        return {
            "rate": {"received": _rate(series, series.received), "sent": _rate(series, series.sent)},
            "uploads": len(self.activity.uploads),
            "downloads": len(self.activity.downloads),
            "connections": self._connections(),
            "memory": {
                "budget": memory.budget,
                "held": memory.held,
                "peak": memory.peak,
                "share": memory.share,
                "sessions": memory.sessions,
                "refused": memory.refused,
            },
        }


def _rate(series: Series, counts: list[int]) -> float:
    """Bytes a second over the last seconds."""
    last = counts[-_NOW:]
    return sum(last) / (len(last) * series.step) if last else 0.0


def _by_kind(counts: Mapping[tuple[str, str], int]) -> dict[str, dict[str, int]]:
    kinds = sorted({kind for kind, _ in counts})
    return {kind: {outcome: counts.get((kind, outcome), 0) for outcome in _OUTCOMES} for kind in kinds}
