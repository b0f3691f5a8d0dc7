"""Tests of L{storehouse.core.latency}."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from storehouse.core.latency import Latency

BOUNDS = [
    "0.0001",
    "0.00025",
    "0.0005",
    "0.001",
    "0.0025",
    "0.005",
    "0.01",
    "0.025",
    "0.05",
    "0.1",
    "0.25",
    "1.0",
    "5.0",
]


class LatencyTests(SynchronousTestCase):
    """A histogram as Prometheus has them."""

    def test_empty(self) -> None:
        latency = Latency()
        self.assertEqual(latency.buckets(), [(bound, 0.0) for bound in [*BOUNDS, "+Inf"]])
        self.assertEqual(latency.total, 0)

    def test_bounds(self) -> None:
        """A bound belongs to what is below it; what is beyond all of them is counted too."""
        latency = Latency()
        for seconds in (0.0, 0.0001, 0.00011, 5.0, 5.1, 900.0):
            latency.observe(seconds)
        buckets = dict(latency.buckets())
        self.assertEqual([buckets["0.0001"], buckets["0.00025"], buckets["1.0"]], [2, 3, 3])
        self.assertEqual([buckets["5.0"], buckets["+Inf"]], [4, 6])
        self.assertAlmostEqual(latency.total, 910.10021)

    @settings(deadline=None, max_examples=50)
    @given(st.lists(st.floats(0, 20)))
    def test_model(self, given: list[float]) -> None:
        """Each bucket counts what took at most its bound."""
        latency = Latency()
        for seconds in given:
            latency.observe(seconds)
        self.assertEqual(
            latency.buckets(), [(bound, sum(x <= float(bound) for x in given)) for bound in [*BOUNDS, "+Inf"]]
        )
        # Python 3.12 adds floats up more exactly than one after the other.
        self.assertAlmostEqual(latency.total, sum(given))
