"""What the log tells about itself."""

from prometheus_client import CollectorRegistry, generate_latest
from twisted.trial.unittest import SynchronousTestCase

from storehouse.errors import DamagedRecord
from storehouse.storage.appendlog.interfaces import Durability
from tests.storage.appendlog.rig import Driven, flip


class MetricsTests(SynchronousTestCase):
    """L{LogMetrics<storehouse.storage.appendlog.metrics.LogMetrics>}, through a registry."""

    def setUp(self) -> None:
        self.driven = Driven(self.mktemp()).start()
        self.addCleanup(self.driven.stop)
        self.registry = CollectorRegistry()
        self.registry.register(self.driven.log)  # type: ignore[arg-type]

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(name, labels)

    def test_appends(self) -> None:
        """Appends are counted by what they asked for, and timed by the group."""
        for _ in range(3):
            self.driven.append(b"a", b"x", durability=Durability.DISK)
        self.driven.append(b"a", b"y", durability=Durability.OS)
        self.assertEqual(self.value("storehouse_append_requests_total", durability="disk"), 3)
        self.assertEqual(self.value("storehouse_append_requests_total", durability="os"), 1)
        self.assertEqual(self.value("storehouse_append_group_seconds_count", durability="disk"), 3)
        self.assertEqual(self.value("storehouse_append_group_seconds_bucket", durability="disk", le="+Inf"), 3)
        self.assertGreaterEqual(self.value("storehouse_append_wal_frames_total") or 0, 3)

    def test_sizes(self) -> None:
        """Open prefixes tell how much they hold."""
        self.driven.append(b"a", b"four", b"five5")
        self.assertEqual(self.value("storehouse_append_records", prefix="default"), 2)
        self.assertEqual(self.value("storehouse_append_bytes", prefix="default"), 17)
        self.assertEqual(self.value("storehouse_append_open_prefixes"), 1)
        self.assertEqual(self.value("storehouse_append_failed"), 0)

    def test_reads(self) -> None:
        """Records given out are counted with their bytes, and damage that is met."""
        (offset,) = self.driven.append(b"a", b"four")
        self.driven.get(b"a", offset)
        self.assertEqual(self.value("storehouse_append_reads_total"), 1)
        self.assertEqual(self.value("storehouse_append_read_bytes_total"), 4)
        bucket = self.driven.log.find_open("default", b"a")[0]
        assert bucket is not None
        index = bucket.path.removesuffix("raw") + "idx"
        flip(index, 32 + 9)
        self.assertEqual(self.driven.scan(b"a"), [(offset, b"four")])
        self.assertEqual(self.value("storehouse_append_index_entries_mended_total"), 1)
        flip(bucket.path, 5)
        self.assertRaises(DamagedRecord, self.driven.get, b"a", offset)
        self.assertGreaterEqual(self.value("storehouse_append_damaged_total") or 0, 1)

    def test_text(self) -> None:
        """All of it can be written as text."""
        self.assertIn(b"# HELP storehouse_append_requests_total", generate_latest(self.registry))
