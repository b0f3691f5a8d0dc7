"""What a Wormer store tells about itself."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from storehouse.core.operations import Operations

__all__ = ["SpaceMetrics"]


class SpaceMetrics:
    """
    The counters of one store.

    @param operations: its operations.
    @ivar bytes_in: bytes stored.
    @ivar bytes_out: bytes given out.
    @ivar damaged: how often damage was met.
    @ivar staged: deleted things whose bytes are still there.
    @ivar leftovers: things that start found in tmp/ and removed.
    @ivar expired: uploads aborted because they were abandoned.
    @ivar failed: whether nothing is taken any more.
    @ivar scrubbed_bytes: bytes that background scrubs verified.
    @ivar scrubbed_objects: objects and uploads that they verified.
    @ivar scrub_rounds: how many scrubs came to their end.
    @ivar scrub_progress: how far the scrub that runs now is, 0 to 1.
    @ivar scrub_damage: what the last whole scrub found damaged.
    """

    def __init__(self, operations: Operations) -> None:
        self._operations = operations
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

    def collect(self) -> Iterable[Metric]:
        """The metric families."""
        yield from self._operations.collect()
        for name, text, value in (
            ("in_bytes", "Bytes of objects and parts stored.", self.bytes_in),
            ("out_bytes", "Bytes of objects read.", self.bytes_out),
            ("damaged", "Damage found.", self.damaged),
            ("leftovers_removed", "Leftovers of interrupted operations, removed at the start.", self.leftovers),
            ("uploads_expired", "Uploads aborted because they were abandoned.", self.expired),
            ("scrubbed_bytes", "Bytes verified in the background.", self.scrubbed_bytes),
            ("scrubbed", "Objects and uploads verified in the background.", self.scrubbed_objects),
            ("scrub_rounds", "Complete scrubs.", self.scrub_rounds),
        ):
            yield CounterMetricFamily(f"storehouse_objects_{name}", text, value=value)
        for name, text, number in (
            ("staged_deletes", "Deleted objects and uploads whose bytes are not removed yet.", float(self.staged)),
            ("scrub_progress", "Progress of the current scrub, 0 to 1.", self.scrub_progress),
            ("scrub_damage", "Damage that the last complete scrub found.", float(self.scrub_damage)),
            ("failed", "1 after a sync failed: nothing is accepted until a restart.", float(self.failed)),
        ):
            yield GaugeMetricFamily(f"storehouse_objects_{name}", text, value=number)
