"""Tests of L{storehouse.core.operations}."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from storehouse.core.operations import Latency, Operations, operation
from storehouse.core.streams import IByteStream
from storehouse.errors import NotFound, Unavailable
from tests.conformance.streams import Upstream


class _Store:
    def __init__(self) -> None:
        self.operations = Operations("the store", "seconds", "Operations.")
        self.work: Deferred[int] = Deferred()

    @operation
    async def put(self, name: str, stream: IByteStream, more: int = 0) -> int:
        return await self.work + more

    @operation
    async def get(self, name: str) -> str:
        raise NotFound(name)


class OperationTests(SynchronousTestCase):
    """L{operation}."""

    def setUp(self) -> None:
        self.store = _Store()
        self.store.operations.refusal = None

    def test_run(self) -> None:
        """It begins at once, and its stream is closed at its end."""
        stream = Upstream()
        putting = self.store.put("a", stream, more=1)
        self.assertNoResult(putting)
        self.assertFalse(stream.is_closed)
        self.store.work.callback(1)
        self.assertEqual((self.successResultOf(putting), stream.is_closed), (2, True))

    def test_refused(self) -> None:
        """What is refused does not begin; its stream is closed, however it was given."""
        self.store.operations.refusal = Unavailable("it is stopped")
        for give in (lambda stream: self.store.put("a", stream), lambda stream: self.store.put("a", stream=stream)):
            stream = Upstream()
            self.failureResultOf(give(stream), Unavailable)
            self.assertTrue(stream.is_closed)

    def test_early(self) -> None:
        """What comes while the store opens waits for that."""
        opening = self.store.operations.opening = Deferred()
        putting = self.store.put("a", Upstream())
        self.store.work.callback(1)
        self.assertNoResult(putting)
        opening.callback(None)
        self.assertEqual(self.successResultOf(putting), 1)

    def test_slow_close(self) -> None:
        """It is not over, and is waited for at the end, until its stream is closed."""
        stream = Upstream()
        closed: Deferred[None] = Deferred()
        self.patch(stream, "close", lambda: closed)
        self.store.work.callback(1)
        putting = self.store.put("a", stream)
        stopped = Deferred.fromCoroutine(self.store.operations.stopped())
        self.assertNoResult(putting)
        self.assertNoResult(stopped)
        closed.callback(None)
        self.assertEqual(self.successResultOf(putting), 1)
        self.successResultOf(stopped)

    def test_timed(self) -> None:
        """Each is counted under its name and outcome."""
        self.failureResultOf(self.store.get("a"), NotFound)
        (family,) = self.store.operations.collect()
        counts = {
            (s.labels["operation"], s.labels["outcome"]): s.value for s in family.samples if s.name.endswith("_count")
        }
        self.assertEqual(counts, {("get", "NotFound"): 1})

    def test_stopped(self) -> None:
        """The end waits for what runs."""
        self.store.put("a", Upstream())
        stopped = Deferred.fromCoroutine(self.store.operations.stopped())
        self.assertNoResult(stopped)
        self.store.work.callback(1)
        self.successResultOf(stopped)


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
