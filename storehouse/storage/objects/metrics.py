"""What an object store tells about itself. Keys and buckets are counted by its namespace."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric

from storehouse.core.latency import Latency

__all__ = ["StoreMetrics"]


class StoreMetrics:
    """
    The counters of one store.

    @ivar orphans: bytes without a key that were removed.
    @ivar completed: uploads whose completion a crash had interrupted, and that were completed at start.
    @ivar lost: keys that were found without their bytes.
    """

    def __init__(self) -> None:
        self.operations: defaultdict[tuple[str, str], Latency] = defaultdict(Latency)
        self.orphans = 0
        self.completed = 0
        self.lost = 0

    def observe(self, operation: str, outcome: str, seconds: float) -> None:
        """An operation ended: C{ok}, or with the name of an error."""
        self.operations[operation, outcome].observe(seconds)

    def collect(self) -> Iterable[Metric]:
        """The metric families."""
        operations = HistogramMetricFamily(
            "storehouse_store_operation_seconds",
            "Operations on buckets and keys; for get until the object is open.",
            labels=["operation", "outcome"],
        )
        for (operation, outcome), latency in sorted(self.operations.items()):
            operations.add_metric([operation, outcome], latency.buckets(), latency.total)
        yield operations
        yield CounterMetricFamily(
            "storehouse_store_orphans_removed", "Objects without a key that were removed.", value=self.orphans
        )
        yield CounterMetricFamily(
            "storehouse_store_uploads_completed",
            "Uploads that were being completed when a process ended, completed at the next start.",
            value=self.completed,
        )
        yield CounterMetricFamily(
            "storehouse_store_lost", "How often a key was found without its bytes.", value=self.lost
        )
