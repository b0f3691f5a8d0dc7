"""
C{/stats}, C{/stats/events} and C{/metrics}: what goes on at the door, in figures, for people and for programs. docs/stats.rst says
what each is.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from typing import Any

import attrs
from prometheus_client import CollectorRegistry
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall

from storehouse.core.jobs import IDisk
from storehouse.errors import Unavailable
from storehouse.frontends.http.reply import Reply, json_reply, metrics_reply
from storehouse.frontends.http.request import Leaf, StreamingRequest, accepts_html, check_fields
from storehouse.frontends.upload import pages
from storehouse.frontends.upload.gate import Gate, Visitor
from storehouse.frontends.upload.intake import Activity, Series, UploadMemory
from storehouse.frontends.upload.pages.words import size_of

__all__ = ["DiskLeft", "EventStream", "Metrics", "Overview", "Room", "Stats"]


# -- figures ---------------------------------------------------------------------------------------

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

    def __init__(self, directory: str, disk: IDisk, clock: IReactorTime) -> None:
        self._directory = directory
        self._disk = disk
        self._clock = clock
        self._known: Room | None = None
        self._until = float("-inf")

    async def room(self) -> Room | None:
        """What there is, as of some seconds ago at most; C{None} if unknown."""
        now = self._clock.seconds()
        if now >= self._until:
            # Other requests meanwhile get the last figures.
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

    async def all(self) -> dict[str, object]:
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

    def moment(self) -> dict[str, object]:
        """The figures that change by the second."""
        return {"time": self.activity.now(), **self._figures()}

    def _figures(self) -> dict[str, object]:
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


# -- resources -------------------------------------------------------------------------------------

_KNOWN = frozenset({b"format"})
_NO_FIELDS: frozenset[bytes] = frozenset()
_HEADERS = ((b"Cache-Control", b"no-store"), (b"Vary", b"Accept"))

#: Who follows the events, at most.
_MOST_LISTENERS = 32

#: Seconds after which a listener has to ask again: what it may may have changed.
_LONGEST = 600


class EventStream:
    """
    Server-sent events (HTML Living Standard, section 9.2): once a second what L{Overview.moment} has, as JSON, to each who
    listens. A slow reader misses figures, and missed ones are not sent later.

    @param clock: C{IReactorTime}.
    """

    def __init__(self, overview: Overview, clock: IReactorTime) -> None:
        self._overview = overview
        self._listeners: dict[StreamingRequest, tuple[Deferred[None], float]] = {}
        self._clock = clock
        self._timer = LoopingCall(self._tell)
        self._timer.clock = clock

    def __len__(self) -> int:
        return len(self._listeners)

    async def follow(self, request: StreamingRequest) -> None:
        """
        Answer a request with events, until its client leaves, or ten minutes are over: clients of this kind come back.

        @raise Unavailable: if as many listen as may.
        """
        if len(self._listeners) >= _MOST_LISTENERS:
            raise Unavailable(f"{_MOST_LISTENERS} clients follow the events, the limit: try again later")
        over: Deferred[None] = Deferred()
        request.begin(200, b"text/event-stream", ((b"Cache-Control", b"no-store"),))
        self._listeners[request] = (over, self._clock.seconds() + _LONGEST)
        request.notifyFinish().addErrback(lambda reason: self._end(request))
        if not self._timer.running:
            self._timer.start(1.0)
        await over

    def stop(self) -> None:
        """End all answers."""
        for request in list(self._listeners):
            self._end(request)

    def _tell(self) -> None:
        event = b"data: %b\n\n" % json.dumps(self._overview.moment(), separators=(",", ":")).encode("ascii")
        now = self._clock.seconds()
        for request, (_, until) in list(self._listeners.items()):
            if request.drained is None and not request.gone:
                request.write(event)
            if now >= until:
                self._end(request)

    def _end(self, request: StreamingRequest) -> None:
        listener = self._listeners.pop(request, None)
        if not self._listeners and self._timer.running:
            self._timer.stop()
        if listener is not None:
            listener[0].callback(None)


class Stats(Leaf):
    """The figures; below them the events."""

    takes_rest = True

    def __init__(self, gate: Gate, overview: Overview, events: EventStream) -> None:
        Leaf.__init__(self)
        self._gate = gate
        self._overview = overview
        self._events = events

    async def handle_GET(self, request: StreamingRequest) -> Reply | None:
        """Send events until the client leaves: C{text/event-stream}."""
        place = request.path[1:].partition(b"/")[2]
        if place not in (b"", b"events"):
            raise request.no_such_resource()
        visitor = await self._gate.admit(request, "manage")
        if place:
            check_fields(request, _NO_FIELDS)
            if request.method == b"GET":
                await self._events.follow(request)
                return None
            request.begin(200, b"text/event-stream", ((b"Cache-Control", b"no-store"),))
            return None
        check_fields(request, _KNOWN)
        is_page = accepts_html(request)
        figures = await self._overview.all()
        if is_page:
            return _page(visitor, figures)
        reply = json_reply(figures)
        return Reply(reply.status, reply.body, reply.content_type, _HEADERS)


def _page(visitor: Visitor, figures: dict[str, Any]) -> Reply:
    return pages.stats(
        visitor,
        pages.StatsPage(
            _figures(figures),
            [
                pages.TransferRow(
                    each["name"], each["bytes"], _rate_of(figures, each), each["user"], each["kind"], each["began"]
                )
                for each in figures["running"]
            ],
            [
                pages.TransferRow(each["name"], each["size"], each["rate"], each["user"], each["kind"], each["ended"])
                for each in figures["recent"]
            ],
        ),
    )


def _rate_of(figures: dict[str, Any], running: dict[str, Any]) -> float:
    seconds = figures["time"] - running["began"]
    return float(running["bytes"] / seconds) if seconds > 0 else 0.0


def _figures(figures: dict[str, Any]) -> list[pages.Figure]:
    memory, disk, totals = figures["memory"], figures["disk"], figures["totals"]
    shown = [
        pages.Figure(
            "Coming in", f"{size_of(int(figures['rate']['received']))}/s", f"{size_of(totals['received'])} so far"
        ),
        pages.Figure("Going out", f"{size_of(int(figures['rate']['sent']))}/s", f"{size_of(totals['sent'])} so far"),
        pages.Figure("Uploads", f"{figures['uploads']:,}", "under way"),
        pages.Figure("Downloads", f"{figures['downloads']:,}", "under way"),
        pages.Figure("Connections", f"{figures['connections']:,}", "open"),
        pages.Figure(
            "Memory for uploads",
            size_of(memory["held"]),
            f"of {size_of(memory['budget'])}, at most {size_of(memory['peak'])} so far",
            memory["held"] / memory["budget"],
        ),
    ]
    if disk is not None:
        used = 1 - disk["free"] / disk["total"] if disk["total"] else None
        shown.append(pages.Figure("Disk left", size_of(disk["free"]), f"of {size_of(disk['total'])}", used))
    return shown


class Metrics(Leaf):
    """The metrics of a registry in the text format of Prometheus, for users: with a key, or signed in."""

    def __init__(self, gate: Gate, registry: CollectorRegistry) -> None:
        super().__init__()
        self._gate = gate
        self._registry = registry

    async def handle_GET(self, request: StreamingRequest) -> Reply:
        """Answer."""
        await self._gate.admit(request, "manage")
        check_fields(request, frozenset())
        return metrics_reply(self._registry)
