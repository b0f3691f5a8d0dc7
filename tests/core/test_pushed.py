"""Tests of L{storehouse.core.pushed}."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IConsumer, IPushProducer
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from storehouse.core.pushed import PIECE, BytesSource, Collector, ISource, collect
from storehouse.errors import TooLarge


@implementer(IConsumer)
class Sink:
    """Pauses its producer after every piece, and raises what it is told to."""

    def __init__(self, error: Exception | None = None) -> None:
        self.pieces: list[bytes] = []
        self.producer: Any = None
        self.registered: list[bool] = []
        self.error = error

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        self.producer = producer
        self.registered.append(streaming)

    def unregisterProducer(self) -> None:
        self.producer = None

    def write(self, data: bytes) -> None:
        if self.error is not None:
            raise self.error
        self.pieces.append(data)
        self.producer.pauseProducing()


@implementer(IConsumer)
class Taker(Sink):
    """Takes everything without a pause."""

    def write(self, data: bytes) -> None:
        self.pieces.append(data)


class Pulled:
    """A source that hands over a piece whenever it is asked."""

    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = iter(pieces)
        self._consumer: Any = None
        self._done: Deferred[int] = Deferred()

    def deliver(self, consumer: Any) -> Deferred[int]:
        self._consumer = consumer
        consumer.registerProducer(self, False)
        return self._done

    def resumeProducing(self) -> None:
        piece = next(self._pieces, None)
        if piece is not None:
            self._consumer.write(piece)
        elif not self._done.called:
            self._consumer.unregisterProducer()
            self._done.callback(0)


class BytesSourceTests(SynchronousTestCase):
    """Bytes from memory."""

    def test_interface(self) -> None:
        for interface in (ISource, IPushProducer):
            verifyObject(interface, BytesSource(b""))

    def test_sizes(self) -> None:
        """All bytes come, at most 256 KiB at once; no bytes are no piece."""
        for size, pieces in ((0, 0), (1, 1), (PIECE - 1, 1), (PIECE, 1), (PIECE + 1, 2), (2 * PIECE, 2)):
            taker = Taker()
            data = bytes(n % 251 for n in range(size))
            self.assertEqual(self.successResultOf(BytesSource(data).deliver(taker)), size)
            self.assertEqual(b"".join(taker.pieces), data)
            self.assertEqual((len(taker.pieces), taker.registered, taker.producer), (pieces, [True], None))
            self.assertTrue(all(len(piece) <= PIECE for piece in taker.pieces))

    def test_pauses(self) -> None:
        """A paused source hands over nothing, and takes nothing from where its pieces come from."""
        taken = []

        def pieces() -> Iterator[bytes]:
            for n in range(3):
                taken.append(n)
                yield b"%d" % n

        sink = Sink()
        delivered = BytesSource(pieces()).deliver(sink)
        for n in range(1, 4):
            self.assertEqual((len(sink.pieces), len(taken)), (n, n))
            self.assertNoResult(delivered)
            sink.producer.resumeProducing()
        self.assertEqual(self.successResultOf(delivered), 3)
        self.assertEqual((sink.pieces, sink.producer), ([b"0", b"1", b"2"], None))

    def test_paused_at_once(self) -> None:
        """A consumer may pause its producer before the first piece."""

        class Full(Taker):
            def registerProducer(self, producer: Any, streaming: bool) -> None:
                super().registerProducer(producer, streaming)
                producer.pauseProducing()

        full = Full()
        delivered = BytesSource(b"x").deliver(full)
        self.assertEqual(full.pieces, [])
        full.producer.resumeProducing()
        self.assertEqual((self.successResultOf(delivered), full.pieces), (1, [b"x"]))

    def test_resumed_within_write(self) -> None:
        """However many pieces are resumed by the very write that paused: in order, and not one inside another."""

        class Hasty(Taker):
            def write(self, data: bytes) -> None:
                self.producer.pauseProducing()
                self.producer.resumeProducing()
                self.pieces.append(data)

        hasty = Hasty()
        pieces = [b"%d" % n for n in range(5000)]
        self.successResultOf(BytesSource(pieces).deliver(hasty))
        self.assertEqual(hasty.pieces, pieces)

    def test_stopped(self) -> None:
        """One that is stopped fails, and hands over nothing more, whatever else is asked of it."""
        sink = Sink()
        delivered = BytesSource([b"a", b"b", b"c"]).deliver(sink)
        producer = sink.producer
        producer.stopProducing()
        self.failureResultOf(delivered)
        producer.resumeProducing()
        producer.stopProducing()
        self.assertEqual((sink.pieces, sink.producer), ([b"a"], None))

    def test_stopped_within_write(self) -> None:
        class Full(Taker):
            def write(self, data: bytes) -> None:
                self.pieces.append(data)
                self.producer.stopProducing()

        full = Full()
        self.failureResultOf(BytesSource([b"a", b"b"]).deliver(full))
        self.assertEqual((full.pieces, full.producer), ([b"a"], None))

    def test_stopped_at_once(self) -> None:
        """As transports do that are not connected."""

        class Closed(Taker):
            def registerProducer(self, producer: Any, streaming: bool) -> None:
                super().registerProducer(producer, streaming)
                producer.stopProducing()

        closed = Closed()
        self.failureResultOf(BytesSource(b"a").deliver(closed))
        self.assertEqual((closed.pieces, closed.producer), ([], None))

    def test_consumer_raises(self) -> None:
        """What the consumer raises comes out, and it is left without a producer."""
        sink = Sink(ZeroDivisionError("full"))
        failure = self.failureResultOf(BytesSource([b"a", b"b"]).deliver(sink))
        self.assertIs(failure.value, sink.error)
        self.assertIsNone(sink.producer)

    def test_pieces_raise(self) -> None:
        """So does what the pieces raise, after those before it."""

        def pieces() -> Iterator[bytes]:
            yield b"a"
            raise ZeroDivisionError("no more")

        taker = Taker()
        self.failureResultOf(BytesSource(pieces()).deliver(taker), ZeroDivisionError)
        self.assertEqual((taker.pieces, taker.producer), ([b"a"], None))

    def test_cancelled(self) -> None:
        """Nothing more is written to a consumer once the delivery was cancelled, and it has no producer."""
        sink = Sink()
        delivered = BytesSource([b"a", b"b"]).deliver(sink)
        producer = sink.producer
        delivered.cancel()
        self.failureResultOf(delivered, CancelledError)
        producer.resumeProducing()
        self.assertEqual((sink.pieces, sink.producer), ([b"a"], None))

    def test_registering_raises(self) -> None:
        """A consumer that has a producer already makes the delivery fail; nothing is raised."""

        class Busy(Taker):
            def registerProducer(self, producer: Any, streaming: bool) -> None:
                raise RuntimeError("there is a producer")

        self.failureResultOf(BytesSource(b"x").deliver(Busy()), RuntimeError)

    def test_unregistering_raises(self) -> None:
        """A delivery ends even if the consumer does not like its end."""

        class Odd(Taker):
            def unregisterProducer(self) -> None:
                raise RuntimeError("no such producer")

        self.failureResultOf(BytesSource(b"x").deliver(Odd()), RuntimeError)

    def test_once(self) -> None:
        """Bytes can be had once; a second delivery does not look like a good one."""
        source = BytesSource(b"abc")
        self.assertEqual(self.successResultOf(source.deliver(Taker())), 3)
        self.failureResultOf(source.deliver(Taker()))


class CollectorTests(SynchronousTestCase):
    """All bytes at once."""

    def test_interface(self) -> None:
        verifyObject(IConsumer, Collector(1))

    def collected(self, source: Any, *limit: int) -> Deferred[bytes]:
        return Deferred.fromCoroutine(collect(source, *limit))

    def test_collect(self) -> None:
        for pieces in ([], [b""], [b"a"], [b"a", b"", b"bc"], [b"x"] * 10_000):
            self.assertEqual(self.successResultOf(self.collected(BytesSource(pieces))), b"".join(pieces))

    def test_limit(self) -> None:
        """As many bytes as the limit, and one more."""
        self.assertEqual(self.successResultOf(self.collected(BytesSource([b"ab", b"c"]), 3)), b"abc")
        failure = self.failureResultOf(self.collected(BytesSource([b"ab", b"c", b"d"]), 3), TooLarge)
        self.assertIn("3 bytes", failure.value.detail)

    def test_failure(self) -> None:
        """Why a source fails comes out."""

        def pieces() -> Iterator[bytes]:
            yield b"a"
            raise ZeroDivisionError("no more")

        self.failureResultOf(self.collected(BytesSource(pieces())), ZeroDivisionError)

    def test_pulled(self) -> None:
        """A source that waits to be asked is asked."""
        pieces = [b"a", b"b", b"c"]
        self.assertEqual(self.successResultOf(self.collected(Pulled(pieces))), b"abc")

    def test_pulled_often(self) -> None:
        """However many pieces it has."""
        self.assertEqual(self.successResultOf(self.collected(Pulled([b"x"] * 2000))), b"x" * 2000)
