"""What goes through the door: L{storehouse.frontends.upload.intake.Activity}."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from storehouse.frontends.upload.intake import Activity

START = 1_700_000_000.25


def make_activity() -> tuple[Activity, Clock]:
    """One, and its clock."""
    clock = Clock()
    clock.advance(START)
    return Activity(clock), clock


class ThroughputTests(SynchronousTestCase):
    """Bytes by the second and by the minute."""

    def setUp(self) -> None:
        self.activity, self.clock = make_activity()

    def test_seconds(self) -> None:
        upload = self.activity.begin_upload("put")
        download = self.activity.begin_download("a")
        for received, sent in ((5, 0), (0, 0), (7, 9)):
            upload.add(received)
            download.add(sent)
            self.clock.advance(0.4)
            upload.add(received)
            self.clock.advance(0.6)
        series = self.activity.seconds()
        self.assertEqual((series.step, series.received, series.sent), (1, [10, 0, 14], [0, 0, 9]))
        self.assertEqual(series.until, 1_700_000_003)
        self.assertEqual((self.activity.received, self.activity.sent, upload.count, download.count), (24, 9, 24, 9))

    def test_silence(self) -> None:
        """What came is where it came, however long nobody looked; what comes now is not there yet."""
        self.activity.add_received(10)
        self.clock.advance(130)
        self.activity.add_received(5)
        self.assertEqual(self.activity.seconds().received, [10, *[0] * 129])
        series = self.activity.minutes()
        self.assertEqual((series.received, series.until), ([10, 0], 1_700_000_120))
        self.clock.advance(50)
        self.assertEqual(self.activity.minutes().received, [10, 0, 5])

    def test_bounded(self) -> None:
        """Ten minutes and a day, whatever the clock does."""
        for _ in range(700):
            self.activity.add_received(1)
            self.clock.advance(1)
        self.assertEqual(self.activity.seconds().received, [1] * 600)
        self.assertEqual(self.activity.minutes().received, [60] * 11)
        self.activity.add_sent(7)
        self.clock.advance(10**9)
        self.assertEqual(self.activity.seconds().sent, [0] * 600)
        self.assertEqual(self.activity.minutes().sent, [0] * 1440)

    def test_clock_set_back(self) -> None:
        """It goes on at once, and no byte is lost."""
        self.activity.add_received(1)
        self.clock.rightNow -= 5000
        self.activity.add_received(4)
        self.clock.advance(1)
        series = self.activity.seconds()
        self.assertEqual((series.received, series.until), ([5], int(self.clock.seconds())))

    @given(st.lists(st.tuples(st.integers(0, 10**9), st.floats(0, 50)), max_size=20))
    def test_against_a_model(self, steps: list[tuple[int, float]]) -> None:
        """Each second has the bytes that came in it."""
        activity, clock = make_activity()
        model: Counter[int] = Counter()
        for count, seconds in steps:
            activity.add_received(count)
            model[int(clock.seconds())] += count
            clock.advance(seconds)
        series = activity.seconds()
        began = series.until - len(series.received)
        self.assertEqual(series.until, int(clock.seconds()))
        if len(series.received) < 600:
            self.assertEqual(began, int(START))
        self.assertEqual(series.received, [model[second] for second in range(began, series.until)])


class TransferTests(SynchronousTestCase):
    """Uploads and downloads from their beginning to their end."""

    def setUp(self) -> None:
        self.activity, self.clock = make_activity()

    def test_upload(self) -> None:
        upload = self.activity.begin_upload("form", "a", "ann")
        self.assertEqual((self.activity.uploads, self.activity.downloads), ([upload], []))
        self.clock.advance(2)
        upload.end("a (2)", 100)
        upload.fail()
        upload.end("a", 1)
        (recent,) = self.activity.recent
        self.assertEqual(
            (recent.name, recent.size, recent.user, recent.kind, recent.seconds, recent.rate),
            ("a (2)", 100, "ann", "form", 2.0, 50.0),
        )
        self.assertEqual(recent.ended, START + 2)
        self.assertEqual(self.activity.counts, {("form", "begun"): 1, ("form", "done"): 1})
        self.assertEqual(self.activity.uploads, [])

    def test_no_time(self) -> None:
        """What took no time has no rate; a clock that was set back makes none that is negative."""
        upload = self.activity.begin_upload("put")
        self.clock.rightNow -= 10
        upload.end("a", 5)
        self.assertEqual((self.activity.recent[0].seconds, self.activity.recent[0].rate), (0.0, 0.0))

    def test_suspended(self) -> None:
        """A resumable upload in two requests; the time that it took is told by who knows it."""
        first = self.activity.begin_upload("tus")
        first.suspend()
        first.fail()
        second = self.activity.begin_upload("tus")
        second.end("a", 5, 100.0)
        self.assertEqual(self.activity.counts, {("tus", "begun"): 2, ("tus", "suspended"): 1, ("tus", "done"): 1})
        self.assertEqual(self.activity.recent[0].seconds, 100.0)

    def test_recent_is_bounded(self) -> None:
        for number in range(150):
            self.activity.begin_upload("put").end(str(number), number)
        self.assertEqual([each.name for each in self.activity.recent], [str(number) for number in range(50, 150)])

    def test_metrics(self) -> None:
        self.activity.begin_upload("put").add(7)
        download = self.activity.begin_download("a")
        download.add(9)
        download.end()
        self.activity.begin_download("b").fail()
        registry = CollectorRegistry()
        registry.register(self.activity)
        shown: Any = generate_latest(registry).decode()
        for line in (
            "storehouse_upload_received_bytes_total 7.0",
            "storehouse_upload_sent_bytes_total 9.0",
            'storehouse_upload_transfers_total{kind="download",outcome="begun"} 2.0',
            'storehouse_upload_transfers_total{kind="download",outcome="done"} 1.0',
            'storehouse_upload_transfers_total{kind="download",outcome="failed"} 1.0',
            'storehouse_upload_transfers_running{kind="put"} 1.0',
            'storehouse_upload_transfers_running{kind="download"} 0.0',
        ):
            self.assertIn(line, shown)
