"""
What an append log tells about itself.

Counters are plain integers, counted where the thing happens and turned into metric families when somebody asks: a
metrics library call costs as much as an append.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from storehouse.core.latency import Latency
from storehouse.storage.appendlog.bucket import ReadCounters

__all__ = ["LogMetrics"]


class LogMetrics:
    """
    The counters of one log.

    @ivar reads: those of its buckets.
    """

    def __init__(self, log: Any) -> None:
        self._log = log
        self.appends = {True: 0, False: 0}
        self.groups = {True: Latency(), False: Latency()}
        self.reads = ReadCounters()

    def observe_group(self, appends: int, seconds: float, synced: bool) -> None:
        """A group was answered."""
        self.appends[synced] += appends
        self.groups[synced].observe(seconds)

    def collect(self) -> Iterable[Metric]:
        """The metric families."""
        appends = CounterMetricFamily("storehouse_append_requests", "Appends answered.", labels=["durability"])
        groups = HistogramMetricFamily(
            "storehouse_append_group_seconds", "From forming a group of appends to its answers.", labels=["durability"]
        )
        for synced, level in ((True, "disk"), (False, "os")):
            appends.add_metric([level], self.appends[synced])
            latency = self.groups[synced]
            groups.add_metric([level], latency.buckets(), latency.total)
        yield appends
        yield groups
        yield CounterMetricFamily("storehouse_append_reads", "Records given out.", value=self.reads.records)
        yield CounterMetricFamily("storehouse_append_read_bytes", "Bytes of records given out.", value=self.reads.size)
        yield CounterMetricFamily(
            "storehouse_append_damaged", "Reads that met a damaged record.", value=self.reads.damaged
        )
        yield CounterMetricFamily(
            "storehouse_append_index_entries_mended",
            "Damaged entries and headers of indexes that were made good.",
            value=self.reads.mended,
        )
        wal = self._log.wal
        yield CounterMetricFamily(
            "storehouse_append_wal_frames", "Synced writes of the write-ahead log.", value=wal.frames
        )
        yield CounterMetricFamily(
            "storehouse_append_wal_bytes", "Bytes written to the write-ahead log.", value=wal.bytes_written
        )
        yield CounterMetricFamily(
            "storehouse_append_bucket_syncs", "Bucket files synced by checkpoints.", value=self._log.checkpointer.syncs
        )
        prefixes = list(self._log.open_prefixes())
        yield GaugeMetricFamily("storehouse_append_open_prefixes", "Storage prefixes open.", value=len(prefixes))
        records = GaugeMetricFamily(
            "storehouse_append_records", "Records of an open storage prefix.", labels=["prefix"]
        )
        size = GaugeMetricFamily("storehouse_append_bytes", "Bytes of an open storage prefix.", labels=["prefix"])
        for prefix in prefixes:
            stat = prefix.stat()
            records.add_metric([prefix.name], stat.records)
            size.add_metric([prefix.name], stat.size)
        yield records
        yield size
        yield GaugeMetricFamily(
            "storehouse_append_failed",
            "1 once a sync has failed and nothing is taken any more.",
            value=self._log.failed is not None,
        )
