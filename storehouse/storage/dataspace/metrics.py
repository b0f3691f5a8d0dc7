"""What a Wormer store tells about itself."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from storehouse.core.latency import Latency

__all__ = ["SpaceMetrics"]


class SpaceMetrics:
    """
    The counters of one store.

    @ivar bytes_in: bytes stored.
    @ivar bytes_out: bytes given out.
    @ivar damaged: how often damage was met.
    @ivar staged: deleted things whose bytes are still there.
    @ivar leftovers: things that start found in tmp/ and removed.
    @ivar expired: uploads aborted because nobody went on with them.
    @ivar failed: whether nothing is taken any more.
    @ivar scrubbed_bytes: bytes that background scrubs verified.
    @ivar scrubbed_objects: objects and uploads that they verified.
    @ivar scrub_rounds: how many scrubs came to their end.
    @ivar scrub_progress: how far the scrub that runs now is, 0 to 1.
    @ivar scrub_damage: what the last whole scrub found damaged.
    """

    def __init__(self) -> None:
        self.operations: defaultdict[tuple[str, str], Latency] = defaultdict(Latency)
        self.bytes_in = 0
        self.bytes_out = 0
        self.damaged = 0
        self.staged = 0
        self.leftovers = 0
        self.expired = 0
        self.failed = False
        self.scrubbed_bytes = 0
        self.scrubbed_objects = 0
        self.scrub_rounds = 0
        self.scrub_progress = 0.0
        self.scrub_damage = 0

    def observe(self, operation: str, outcome: str, seconds: float) -> None:
        """An operation ended: C{ok}, or with the name of an error."""
        self.operations[operation, outcome].observe(seconds)

    def collect(self) -> Iterable[Metric]:
        """The metric families."""
        operations = HistogramMetricFamily(
            "storehouse_objects_operation_seconds",
            "Operations on stored objects; for get until the object is open.",
            labels=["operation", "outcome"],
        )
        for (operation, outcome), latency in sorted(self.operations.items()):
            operations.add_metric([operation, outcome], latency.buckets(), latency.total)
        yield operations
        for name, text, value in (
            ("in_bytes", "Bytes of objects and parts stored.", self.bytes_in),
            ("out_bytes", "Bytes of objects given out.", self.bytes_out),
            ("damaged", "How often something damaged was met.", self.damaged),
            ("leftovers_removed", "Things that a process left half done, removed at start.", self.leftovers),
            ("uploads_expired", "Uploads aborted because nobody went on with them.", self.expired),
            ("scrubbed_bytes", "Bytes verified in the background.", self.scrubbed_bytes),
            ("scrubbed", "Objects and uploads verified in the background.", self.scrubbed_objects),
            ("scrub_rounds", "Scrubs of everything that came to their end.", self.scrub_rounds),
        ):
            yield CounterMetricFamily(f"storehouse_objects_{name}", text, value=value)
        for name, text, number in (
            ("staged_deletes", "Deleted things whose bytes are still there.", float(self.staged)),
            ("scrub_progress", "How far the scrub that runs now has come, 0 to 1.", self.scrub_progress),
            ("scrub_damage", "What the last whole scrub found damaged.", float(self.scrub_damage)),
            ("failed", "1 once a sync has failed and nothing is taken any more.", float(self.failed)),
        ):
            yield GaugeMetricFamily(f"storehouse_objects_{name}", text, value=number)
