"""A source whose bytes are hashed on their way, and whose end waits for something else."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from storehouse.core.disk import InlineDisk
from storehouse.core.streams import BytesSource, Collector
from storehouse.storage.objects.tagging import TaggedSource
from tests.conformance.dataspace import Sink, Tap, content

PIECE = 256 << 10


class SlowDisk:
    """Does what it is asked when a test says so."""

    def __init__(self) -> None:
        self.jobs: list[Callable[[], None]] = []

    def run(self, f: Callable[..., Any], *args: Any) -> Deferred[Any]:
        done: Deferred[Any] = Deferred()

        def job() -> None:
            try:
                value = f(*args)
            except Exception:
                done.errback()
            else:
                done.callback(value)

        self.jobs.append(job)
        return done

    def work(self) -> None:
        """Do one thing."""
        self.jobs.pop(0)()


class TaggedSourceTests(SynchronousTestCase):
    """See the module."""

    def test_bytes_and_hash(self) -> None:
        for data in (b"", b"x", content(3 * PIECE + 5)):
            collector = Collector(1 << 30)
            source = TaggedSource(BytesSource(data), succeed(None), InlineDisk(), True)
            self.assertEqual(self.successResultOf(source.deliver(collector)), len(data))
            self.assertEqual(b"".join(collector.pieces), data)
            self.assertEqual(source.hexdigest(), hashlib.md5(data).hexdigest())

    def test_no_hash(self) -> None:
        source = TaggedSource(BytesSource(b"x"), succeed(None), SlowDisk(), False)  # type: ignore[arg-type]
        self.assertEqual(self.successResultOf(source.deliver(Collector(9))), 1)
        self.assertEqual(source.hexdigest(), "")

    def test_gate(self) -> None:
        """The end waits for it; the bytes do not."""
        gate: Deferred[None] = Deferred()
        collector = Collector(9)
        delivering = TaggedSource(BytesSource(b"abc"), gate, InlineDisk(), True).deliver(collector)
        self.assertEqual(collector.pieces, [b"abc"])
        self.assertNoResult(delivering)
        gate.callback(None)
        self.assertEqual(self.successResultOf(delivering), 3)

    def test_gate_fails(self) -> None:
        """Before, in the midst and at the end: the source is stopped, and the error is the gate's."""
        for moment in range(3):
            gate: Deferred[None] = Deferred()
            tap, sink = Tap(), Sink()
            source = TaggedSource(tap, gate, InlineDisk(), True)
            if moment == 0:
                gate.errback(KeyError("gate"))
            delivering = source.deliver(sink)
            if moment == 1:
                self.assertNoResult(delivering)
                gate.errback(KeyError("gate"))
                self.assertEqual(tap.stopped, 1)
            if moment == 2:
                tap.end()
                self.assertNoResult(delivering)
                gate.errback(KeyError("gate"))
            self.failureResultOf(delivering, KeyError)
            self.assertEqual(tap.started.called, moment > 0)
            self.assertIsNone(sink.producer)
            self.assertEqual(sink.wrong, [])

    def test_slow_hash_holds_the_source(self) -> None:
        """No more than is hashed and as much again waits."""
        disk, sink = SlowDisk(), Sink()
        data = content(8 * PIECE)
        source = TaggedSource(BytesSource(data), succeed(None), disk, True)  # type: ignore[arg-type]
        delivering = source.deliver(sink)
        self.assertEqual(len(sink.data), 2 * PIECE)
        sink.pause()
        disk.work()
        self.assertEqual(len(sink.data), 2 * PIECE)
        sink.resume()
        while disk.jobs:
            self.assertNoResult(delivering)
            disk.work()
        self.assertEqual(self.successResultOf(delivering), len(data))
        self.assertEqual(source.hexdigest(), hashlib.md5(data).hexdigest())
        self.assertEqual((sink.data, sink.wrong), (data, []))

    def test_hash_fails(self) -> None:
        """Then the delivery does."""
        disk, sink = SlowDisk(), Sink()
        source = TaggedSource(BytesSource(content(4 * PIECE)), succeed(None), disk, True)  # type: ignore[arg-type]
        delivering = source.deliver(sink)

        def fail(pieces: list[bytes]) -> None:
            raise ZeroDivisionError

        source._update = fail  # type: ignore[method-assign]
        failing = source._hashing
        assert failing is not None
        failing.errback(ZeroDivisionError())
        self.failureResultOf(delivering, ZeroDivisionError)

    def test_source_fails(self) -> None:
        """It does so when no thread is at work on its bytes any more."""
        disk, sink, tap = SlowDisk(), Sink(), Tap()
        delivering = TaggedSource(tap, succeed(None), disk, True).deliver(sink)  # type: ignore[arg-type]
        self.successResultOf(Deferred.fromCoroutine(tap.write(content(PIECE))))
        tap.end(KeyError("source"))
        self.assertNoResult(delivering)
        disk.work()
        self.failureResultOf(delivering, KeyError)
        self.assertIsNone(sink.producer)

    def test_cancelled(self) -> None:
        disk, sink, tap = SlowDisk(), Sink(), Tap()
        delivering = TaggedSource(tap, succeed(None), disk, True).deliver(sink)  # type: ignore[arg-type]
        self.successResultOf(Deferred.fromCoroutine(tap.write(content(PIECE))))
        delivering.cancel()
        self.assertNoResult(delivering)
        disk.work()
        self.failureResultOf(delivering, CancelledError)
        self.assertEqual(tap.stopped, 1)

    def test_consumer_wants_no_more(self) -> None:
        sink, tap = Sink(), Tap()
        delivering = TaggedSource(tap, succeed(None), InlineDisk(), False).deliver(sink)
        sink.producer.stopProducing()
        self.failureResultOf(delivering, RuntimeError)
        self.assertEqual(tap.stopped, 1)
