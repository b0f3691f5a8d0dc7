"""The metrics of a namespace: plain integers until they are collected."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import Protocol

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from storehouse.core.latency import Latency
from storehouse.errors import StorehouseError
from storehouse.storage.namespace.journal import Journal
from storehouse.storage.namespace.upkeep import Upkeep

__all__ = ["NamespaceMetrics"]


class _Measured(Protocol):
    upkeep: Upkeep
    journal: Journal
    unsettled: list[str]
    failed: StorehouseError | None

    @property
    def damaged(self) -> int: ...

    @property
    def unknown(self) -> int: ...


class NamespaceMetrics:
    """The metrics of one L{LocalNamespace<storehouse.storage.namespace.local.LocalNamespace>}."""

    def __init__(self, namespace: _Measured) -> None:
        self._namespace = namespace
        self._operations: dict[str, Latency] = {}

    def observe(self, operation: str, seconds: float) -> None:
        """Count an operation on keys, and its time."""
        latency = self._operations.get(operation)
        if latency is None:
            latency = self._operations[operation] = Latency()
        latency.observe(seconds)

    def collect(self) -> Iterable[Metric]:
        """The metric families. The index keeps the counts of keys."""
        operations = HistogramMetricFamily(
            "storehouse_namespace_operation_seconds", "Operations on keys, with waiting.", labels=["operation"]
        )
        for name, latency in sorted(self._operations.items()):
            operations.add_metric([name], latency.buckets(), latency.total)
        yield operations
        upkeep, journal = self._namespace.upkeep, self._namespace.journal
        try:
            totals = upkeep.index.totals() if upkeep.broken is None else []
        except sqlite3.Error as error:
            upkeep.break_off(error)
            totals = []
        yield GaugeMetricFamily("storehouse_namespace_buckets", "Buckets.", value=len(totals))
        keys = GaugeMetricFamily("storehouse_namespace_keys", "Keys of a bucket.", labels=["bucket"])
        size = GaugeMetricFamily(
            "storehouse_namespace_bytes", "Bytes of the default versions of a bucket's keys.", labels=["bucket"]
        )
        for total in totals:
            keys.add_metric([total.name], total.keys)
            size.add_metric([total.name], total.size)
        yield keys
        yield size
        yield CounterMetricFamily(
            "storehouse_namespace_index_repairs", "Rows of the index that were wrong.", value=upkeep.repairs
        )
        yield GaugeMetricFamily(
            "storehouse_namespace_index_broken",
            "1 while the index cannot be used and keys are not listed.",
            value=upkeep.broken is not None,
        )
        yield GaugeMetricFamily(
            "storehouse_namespace_damaged_keys",
            "Keys and buckets of which what is known cannot be read.",
            value=self._namespace.damaged,
        )
        yield GaugeMetricFamily(
            "storehouse_namespace_unknown_names",
            "Names that were neither keys nor buckets when the index was made.",
            value=self._namespace.unknown,
        )
        yield CounterMetricFamily(
            "storehouse_namespace_journal_syncs", "Groups of intents written to the journal.", value=journal.syncs
        )
        yield CounterMetricFamily(
            "storehouse_namespace_checkpoints", "Times the index was brought to disk.", value=upkeep.checkpoints
        )
        yield GaugeMetricFamily(
            "storehouse_namespace_open_ids", "IDs that a crash now could leave without a key.", value=len(journal.open)
        )
        yield GaugeMetricFamily(
            "storehouse_namespace_unsettled",
            "IDs that an earlier crash may have left without a key.",
            value=len(self._namespace.unsettled),
        )
        yield GaugeMetricFamily(
            "storehouse_namespace_failed",
            "1 once a sync has failed and nothing is changed any more.",
            value=self._namespace.failed is not None,
        )
