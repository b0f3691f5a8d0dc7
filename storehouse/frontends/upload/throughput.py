"""What goes through the door: bytes by the second and by the minute, transfers that run, uploads that are done."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from typing import Any

import attrs
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

__all__ = ["Activity", "Download", "RecentUpload", "Series", "Upload"]

#: How many uploads that are done are remembered.
_RECENT = 100

_SECONDS = 600
_MINUTES = 1440


@attrs.frozen
class RecentUpload:
    """
    An upload that is done.

    @ivar name: the key that it was stored under.
    @ivar size: bytes of the file.
    @ivar kind: by which way it came: C{form}, C{put}, C{tus} or C{ietf}.
    @ivar ended: seconds since 1970 UTC.
    @ivar seconds: how long it took.
    """

    name: str
    size: int
    user: str
    kind: str
    ended: float
    seconds: float

    @property
    def rate(self) -> float:
        """Bytes a second."""
        return self.size / self.seconds if self.seconds > 0 else 0.0


@attrs.frozen
class Series:
    """
    Bytes that went through in equal stretches of time.

    @ivar step: seconds of a stretch.
    @ivar until: when the last one ended, in seconds since 1970 UTC.
    @ivar received: bytes that came in each, the oldest first.
    @ivar sent: bytes that went out.
    """

    step: int
    until: int
    received: list[int]
    sent: list[int]


class _Ring:
    """
    The last so many stretches.

    @ivar until: when the last one ended, and the one that runs began.
    """

    def __init__(self, step: int, length: int, now: int) -> None:
        self.until = now
        self._step = step
        self._length = length
        self._received: deque[int] = deque(maxlen=length)
        self._sent: deque[int] = deque(maxlen=length)
        self._before = (0, 0)

    def advance(self, now: int, received: int, sent: int) -> None:
        """
        It is so late, and what was received and sent until now came since L{until}: this is called before more is
        counted in a later stretch.
        """
        if now < self.until:
            self.until = now  # the clock was set back: the stretch that runs takes longer
            return
        stretches = (now - self.until) // self._step
        if stretches:
            self._received.append(received - self._before[0])
            self._sent.append(sent - self._before[1])
            self._before = (received, sent)
            silent = min(stretches - 1, self._length)
            self._received.extend([0] * silent)
            self._sent.extend([0] * silent)
            self.until += stretches * self._step

    def series(self) -> Series:
        return Series(self._step, self.until, list(self._received), list(self._sent))


class _Transfer:
    """
    Something on its way.

    @ivar name: the name of the file; empty while it is not known.
    @ivar count: bytes of it so far.
    @ivar began: seconds since 1970 UTC.
    """

    def __init__(self, activity: Activity, kind: str, name: str, user: str) -> None:
        self.kind = kind
        self.name = name
        self.user = user
        self.count = 0
        self.began: float = activity.now()
        self._activity = activity
        self._running = True
        activity.began(self)

    def fail(self) -> None:
        """The transfer failed. Does nothing once it is over."""
        self._over("failed")

    def _over(self, outcome: str) -> bool:
        was_running, self._running = self._running, False
        if was_running:
            self._activity.over(self, outcome)
        return was_running


class Upload(_Transfer):
    """An upload that is being received; one of L{end}, L{fail} and L{suspend} is called in the end."""

    def add(self, count: int) -> None:
        """Bytes have come. For the path of every byte."""
        self.count += count
        self._activity.add_received(count)

    def end(self, name: str, size: int, seconds: float | None = None) -> None:
        """
        The file is stored.

        @param name: its key.
        @param seconds: how long that took, if not since L{Activity.begin_upload}.
        """
        if self._over("done"):
            now = self._activity.now()
            taken = max(0.0, now - self.began) if seconds is None else seconds
            self._activity.recent.append(RecentUpload(name, size, self.user, self.kind, now, taken))

    def suspend(self) -> None:
        """It is suspended until the client resumes it: neither done nor failed. Does nothing once it is over."""
        self._over("suspended")


class Download(_Transfer):
    """A file that is being sent; L{end} or L{fail} is called in the end."""

    def add(self, count: int) -> None:
        """Bytes have gone. For the path of every byte."""
        self.count += count
        self._activity.add_sent(count)

    def end(self) -> None:
        """All of it that was asked for was sent."""
        self._over("done")


class Activity:
    """
    What goes through the door.

    Bytes are added up as they pass; the first ones of a second have what came before put down.

    @param clock: C{IReactorTime}, whose seconds are those since 1970 UTC.
    @ivar received: bytes of uploads that came.
    @ivar sent: bytes of downloads that went.
    @ivar counts: how many transfers there were, by C{(kind, outcome)}: C{begun}, C{done}, C{failed}, C{suspended}.
        Those of the kind C{download} are downloads.
    @ivar recent: the last uploads that are done, the latest last.
    """

    def __init__(self, clock: Any) -> None:
        self.received = 0
        self.sent = 0
        self.counts: Counter[tuple[str, str]] = Counter()
        self.recent: deque[RecentUpload] = deque(maxlen=_RECENT)
        self._running: dict[_Transfer, None] = {}
        self._clock = clock
        self._second = int(clock.seconds())
        self._seconds = _Ring(1, _SECONDS, self._second)
        self._minutes = _Ring(60, _MINUTES, self._second)

    def now(self) -> float:
        """Seconds since 1970 UTC."""
        seconds: float = self._clock.seconds()
        return seconds

    # -- transfers ---------------------------------------------------------------------------

    def begin_upload(self, kind: str, name: str = "", user: str = "") -> Upload:
        """
        An upload begins or is resumed.

        @param kind: C{form}, C{put}, C{tus} or C{ietf}.
        @param user: the name of who sends it.
        """
        return Upload(self, kind, name, user)

    def begin_download(self, name: str, user: str = "") -> Download:
        """A file begins to be sent."""
        return Download(self, "download", name, user)

    def began(self, transfer: _Transfer) -> None:
        """For transfers."""
        self._running[transfer] = None
        self.counts[transfer.kind, "begun"] += 1

    def over(self, transfer: _Transfer, outcome: str) -> None:
        """For transfers."""
        self._running.pop(transfer, None)
        self.counts[transfer.kind, outcome] += 1

    @property
    def uploads(self) -> list[Upload]:
        """Those that are being received, the oldest first."""
        return [transfer for transfer in self._running if isinstance(transfer, Upload)]

    @property
    def downloads(self) -> list[Download]:
        """Those that are being sent, the oldest first."""
        return [transfer for transfer in self._running if isinstance(transfer, Download)]

    # -- throughput --------------------------------------------------------------------------

    def add_received(self, count: int) -> None:
        """For transfers: bytes have come."""
        now = int(self._clock.seconds())
        if now != self._second:
            self._turn(now)
        self.received += count

    def add_sent(self, count: int) -> None:
        """For transfers: bytes have gone."""
        now = int(self._clock.seconds())
        if now != self._second:
            self._turn(now)
        self.sent += count

    def seconds(self) -> Series:
        """The last ten minutes by the second."""
        self._turn(int(self._clock.seconds()))
        return self._seconds.series()

    def minutes(self) -> Series:
        """The last day by the minute."""
        self._turn(int(self._clock.seconds()))
        return self._minutes.series()

    def _turn(self, now: int) -> None:
        """It is so late: put down what came before."""
        self._second = now
        self._seconds.advance(now, self.received, self.sent)
        self._minutes.advance(now, self.received, self.sent)

    # -- metrics -----------------------------------------------------------------------------

    def collect(self) -> Iterable[Metric]:
        """Metric families, for a C{prometheus_client} registry."""
        yield CounterMetricFamily(
            "storehouse_upload_received_bytes", "Bytes of uploads that were received.", value=self.received
        )
        yield CounterMetricFamily("storehouse_upload_sent_bytes", "Bytes of downloads that were sent.", value=self.sent)
        transfers = CounterMetricFamily(
            "storehouse_upload_transfers",
            "Uploads by protocol, and downloads: begun, done, failed, and suspended until they are resumed.",
            labels=["kind", "outcome"],
        )
        for (kind, outcome), count in sorted(self.counts.items()):
            transfers.add_metric([kind, outcome], count)
        yield transfers
        running = GaugeMetricFamily("storehouse_upload_transfers_running", "Transfers in progress.", labels=["kind"])
        kinds = Counter(transfer.kind for transfer in self._running)
        for kind in sorted({kind for kind, _ in self.counts}):
            running.add_metric([kind], kinds[kind])
        yield running
