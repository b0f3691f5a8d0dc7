"""One source cut into pieces."""

from __future__ import annotations

from typing import Any

from crc32c import crc32c
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from storehouse.core.streams import BytesSource
from storehouse.errors import ChecksumMismatch, TooLarge
from storehouse.storage.resumable.cutting import Cutter
from storehouse.storage.resumable.policy import LONGEST
from tests.conformance.pushed import PullSource, Sink


class _Pushed:
    """A source that a test feeds."""

    def __init__(self) -> None:
        self.done: Deferred[int] = Deferred()
        self.consumer: Any = None
        self.paused = self.stopped = False

    def deliver(self, consumer: Any) -> Deferred[int]:
        self.consumer = consumer
        consumer.registerProducer(self, True)
        return self.done

    def pauseProducing(self) -> None:
        self.paused = True

    def resumeProducing(self) -> None:
        self.paused = False

    def stopProducing(self) -> None:
        self.stopped = True


class CutterTests(SynchronousTestCase):
    """L{Cutter}."""

    def setUp(self) -> None:
        self.clock = Clock()

    def cutter(self, source: Any, **options: Any) -> Cutter:
        return Cutter(source, 0, options.pop("most", None), self.clock, **options)

    def next(self, cutter: Cutter) -> Deferred[Any]:
        return Deferred.fromCoroutine(cutter.next())

    @given(st.lists(st.binary(max_size=50), max_size=20), st.booleans())
    def test_whole(self, pieces: list[bytes], pulled: bool) -> None:
        """Small sources are one piece, or none, with the checksum of what it has."""
        data = b"".join(pieces)
        cutter = self.cutter(PullSource(pieces, False) if pulled else BytesSource(pieces))
        found = []
        while (piece := self.successResultOf(self.next(cutter))) is not None:
            sink = Sink()
            self.successResultOf(piece.deliver(sink))
            self.assertEqual((piece.size, piece.crc, sink.wrong), (len(sink.data), crc32c(sink.data), []))
            self.assertTrue(sink.data)
            found.append(sink.data)
        self.assertEqual((b"".join(found), cutter.failure), (data, None))
        self.assertLessEqual(len(found), 2)

    def test_time(self) -> None:
        """What has come is a piece after a while, and the source waits while nobody wants more."""
        source = _Pushed()
        cutter = self.cutter(source)
        waiting = self.next(cutter)
        source.consumer.write(b"one")
        self.assertTrue(source.paused)
        piece = self.successResultOf(waiting)
        sink = Sink()
        delivered = piece.deliver(sink)
        self.assertFalse(source.paused)
        source.consumer.write(b"two")
        self.assertNoResult(delivered)
        self.clock.advance(LONGEST)
        self.assertEqual((self.successResultOf(delivered), sink.data, source.paused), (6, b"onetwo", True))
        waiting = self.next(cutter)
        self.assertFalse(source.paused)
        source.consumer.unregisterProducer()
        source.done.callback(6)
        self.assertIsNone(self.successResultOf(waiting))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_backpressure(self) -> None:
        source = _Pushed()
        cutter = self.cutter(source)
        waiting = self.next(cutter)
        source.consumer.write(b"one")
        sink = Sink(paused=True)
        # What was held comes nevertheless; the source waits.
        self.successResultOf(waiting).deliver(sink)
        self.assertTrue(source.paused)
        sink.resume()
        self.assertFalse(source.paused)
        cutter.stop(RuntimeError())

    def test_stopped(self) -> None:
        """What came before is given out, nothing after, and the source is told."""
        source = _Pushed()
        cutter = self.cutter(source)
        waiting = self.next(cutter)
        source.consumer.write(b"one")
        sink = Sink()
        delivered = self.successResultOf(waiting).deliver(sink)
        cutter.stop(ZeroDivisionError())
        source.consumer.write(b"late")
        source.done.errback(RuntimeError("stopped"))
        self.assertEqual((self.successResultOf(delivered), sink.data, source.stopped), (3, b"one", True))
        self.assertIsNone(self.successResultOf(self.next(cutter)))
        assert cutter.failure is not None
        self.assertTrue(cutter.failure.check(ZeroDivisionError))

    def test_too_much(self) -> None:
        cutter = self.cutter(BytesSource([b"abc", b"def"]), most=5)
        sink = Sink()
        self.successResultOf(self.successResultOf(self.next(cutter)).deliver(sink))
        self.assertIsNone(self.successResultOf(self.next(cutter)))
        assert cutter.failure is not None
        self.assertEqual((sink.data, cutter.failure.type), (b"abc", TooLarge))

    def test_verified(self) -> None:
        """All of it is one piece, however long it takes, and fails with what the verification does."""

        def verify() -> None:
            raise ChecksumMismatch("it is another one")

        source = _Pushed()
        cutter = self.cutter(source, verify=verify)
        waiting = self.next(cutter)
        source.consumer.write(b"one")
        delivered = self.successResultOf(waiting).deliver(Sink())
        self.clock.advance(10 * LONGEST)
        source.consumer.write(b"two")
        self.assertNoResult(delivered)
        source.done.callback(6)
        self.failureResultOf(delivered, ChecksumMismatch)
        self.assertIsNone(self.successResultOf(self.next(cutter)))
        nothing = self.cutter(BytesSource(b""), verify=verify)
        self.assertIsNone(self.successResultOf(self.next(nothing)))
        self.assertRaises(ChecksumMismatch, nothing.verify_nothing)

    def test_unwanted(self) -> None:
        """A consumer that fails, or wants no more, ends the source."""

        def refuse(sink: Sink) -> None:
            raise ZeroDivisionError

        for sink in (Sink(refuse), Sink(lambda sink: sink.producer.stopProducing())):
            source = _Pushed()
            cutter = self.cutter(source)
            waiting = self.next(cutter)
            source.consumer.write(b"one")
            self.failureResultOf(self.successResultOf(waiting).deliver(sink))
            self.assertTrue(source.stopped)
            self.assertIsNone(self.successResultOf(self.next(cutter)))
