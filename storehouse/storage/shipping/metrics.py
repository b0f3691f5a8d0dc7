"""Metrics of a shipper."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from storehouse.storage.shipping.interfaces import Counts

__all__ = ["collect"]


def collect(counts: Counts) -> Iterable[Metric]:
    """Metric families, for a C{prometheus_client} registry."""
    yield GaugeMetricFamily(
        "storehouse_shipping_waiting",
        "Closed files that wait to be shipped, or for their next attempt.",
        value=counts.waiting,
    )
    yield GaugeMetricFamily("storehouse_shipping_open", "Closed files being shipped.", value=counts.shipping)
    yield GaugeMetricFamily("storehouse_shipping_dead", "Dead letters.", value=counts.dead)
    yield GaugeMetricFamily(
        "storehouse_shipping_oldest_seconds",
        "Age of the oldest closed file that has not arrived; dead letters do not count.",
        value=counts.oldest,
    )
    yield CounterMetricFamily("storehouse_shipping_shipped", "Closed files shipped.", value=counts.shipped)
    yield CounterMetricFamily("storehouse_shipping_failed", "Attempts to ship that failed.", value=counts.failed)
    yield CounterMetricFamily("storehouse_shipping_bytes", "Bytes that were uploaded.", value=counts.size)
