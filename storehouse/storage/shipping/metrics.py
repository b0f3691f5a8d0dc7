"""What a shipper tells about itself."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from storehouse.storage.shipping.interfaces import Counts

__all__ = ["ShippingMetrics"]


class ShippingMetrics:
    """
    The counters of one shipper.

    @ivar shipped: files that arrived.
    @ivar failed: attempts that failed.
    @ivar size: bytes that were uploaded.
    """

    def __init__(self) -> None:
        self.shipped = 0
        self.failed = 0
        self.size = 0

    def collect(self, counts: Counts) -> Iterable[Metric]:
        """The metric families."""
        yield GaugeMetricFamily(
            "storehouse_shipping_waiting",
            "Closed files that wait to be shipped, or for their next attempt.",
            value=counts.waiting,
        )
        yield GaugeMetricFamily("storehouse_shipping_open", "Closed files on their way.", value=counts.shipping)
        yield GaugeMetricFamily("storehouse_shipping_dead", "Dead letters.", value=counts.dead)
        yield GaugeMetricFamily(
            "storehouse_shipping_oldest_seconds",
            "Age of the oldest closed file that has not arrived; dead letters do not count.",
            value=counts.oldest,
        )
        yield CounterMetricFamily("storehouse_shipping_shipped", "Closed files that arrived.", value=self.shipped)
        yield CounterMetricFamily("storehouse_shipping_failed", "Attempts to ship that failed.", value=self.failed)
        yield CounterMetricFamily("storehouse_shipping_bytes", "Bytes that were uploaded.", value=self.size)
