"""What an object store tells about itself. Keys and buckets are counted by its namespace."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client.core import CounterMetricFamily, Metric

from storehouse.core.operations import Operations

__all__ = ["StoreMetrics"]


class StoreMetrics:
    """
    The counters of one store.

    @param operations: its operations.
    @ivar orphans: bytes without a key that were removed.
    @ivar completed: uploads whose completion a crash had interrupted, and that were completed at start.
    @ivar lost: keys that were found without their bytes.
    """

    def __init__(self, operations: Operations) -> None:
        self._operations = operations
        self.orphans = 0
        self.completed = 0
        self.lost = 0

    def collect(self) -> Iterable[Metric]:
        """The metric families."""
        yield from self._operations.collect()
        yield CounterMetricFamily(
            "storehouse_store_orphans_removed", "Objects without a key that were removed.", value=self.orphans
        )
        yield CounterMetricFamily(
            "storehouse_store_uploads_completed",
            "Uploads whose completion a crash interrupted, completed at the next start.",
            value=self.completed,
        )
        yield CounterMetricFamily("storehouse_store_lost", "Keys found without their bytes.", value=self.lost)
