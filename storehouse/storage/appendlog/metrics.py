"""
The metrics of an append log.

Counters are plain integers that become metric families when they are collected: a call of the metrics library for each
append would cost as much as the append.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from storehouse.core.operations import Latency
from storehouse.storage.appendlog.bucket import ReadCounters
from storehouse.storage.appendlog.checkpoint import Checkpointer
from storehouse.storage.appendlog.prefixes import OpenPrefix
from storehouse.storage.appendlog.wal import WriteAheadLog

__all__ = ["LogMetrics"]


class LogMetrics:
    """
    The metrics of one log.

    @param open_prefixes: the prefixes that are open now.
    @param has_failed: whether the log has stopped because of a failed write or sync.
    @ivar reads: counted by the log's bucket files.
    """

    def __init__(
        self,
        wal: WriteAheadLog,
        checkpointer: Checkpointer,
        open_prefixes: Callable[[], Iterable[OpenPrefix]],
        has_failed: Callable[[], bool],
    ) -> None:
        self._wal = wal
        self._checkpointer = checkpointer
        self._open_prefixes = open_prefixes
        self._has_failed = has_failed
        self.appends = {True: 0, False: 0}
        self.groups = {True: Latency(), False: Latency()}
        self.reads = ReadCounters()

    def observe_group(self, appends: int, seconds: float, synced: bool) -> None:
        """Called for each group when it is complete. @param seconds: since it was formed."""
        self.appends[synced] += appends
        self.groups[synced].observe(seconds)

    def collect(self) -> Iterable[Metric]:
        """For a C{prometheus_client} registry."""
        appends = CounterMetricFamily("storehouse_append_requests", "Completed appends.", labels=["durability"])
        groups = HistogramMetricFamily(
            "storehouse_append_group_seconds",
            "Time from forming a group of appends to its responses.",
            labels=["durability"],
        )
        for synced, level in ((True, "disk"), (False, "os")):
            appends.add_metric([level], self.appends[synced])
            latency = self.groups[synced]
            groups.add_metric([level], latency.buckets(), latency.total)
        yield appends
        yield groups
        yield CounterMetricFamily("storehouse_append_reads", "Records read.", value=self.reads.records)
        yield CounterMetricFamily("storehouse_append_read_bytes", "Bytes of records read.", value=self.reads.size)
        yield CounterMetricFamily("storehouse_append_damaged", "Reads of damaged records.", value=self.reads.damaged)
        yield CounterMetricFamily(
            "storehouse_append_index_entries_mended",
            "Damaged entries and headers of indexes that were corrected.",
            value=self.reads.mended,
        )
        wal = self._wal
        yield CounterMetricFamily(
            "storehouse_append_wal_frames", "Synced writes of the write-ahead log.", value=wal.frames
        )
        yield CounterMetricFamily(
            "storehouse_append_wal_bytes", "Bytes written to the write-ahead log.", value=wal.bytes_written
        )
        yield CounterMetricFamily(
            "storehouse_append_bucket_syncs", "Bucket files synced by checkpoints.", value=self._checkpointer.syncs
        )
        prefixes = list(self._open_prefixes())
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
            "1 after a sync failed: nothing is accepted until a restart.",
            value=self._has_failed(),
        )
