"""Tests of L{storehouse.core.fetched}."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IPushProducer
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from storehouse.core.fetched import FetchedSource
from storehouse.core.streams import ISource, collect


class Taker:
    """A consumer that pauses when it is told to."""

    def __init__(self, pause_at_once: bool = False) -> None:
        self.pieces: list[bytes] = []
        self.producer: Any = None
        self.gone = 0
        self._pause_at_once = pause_at_once

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        assert streaming
        self.producer = producer
        if self._pause_at_once:
            producer.pauseProducing()

    def unregisterProducer(self) -> None:
        self.gone += 1

    def write(self, data: bytes) -> None:
        self.pieces.append(data)


class FetchedSourceTests(SynchronousTestCase):
    """L{FetchedSource}."""

    def setUp(self) -> None:
        self.asked: list[Deferred[bytes]] = []

    def fetch(self) -> Deferred[bytes]:
        piece: Deferred[bytes] = Deferred()
        self.asked.append(piece)
        return piece

    def test_interfaces(self) -> None:
        source = FetchedSource(self.fetch)
        verifyObject(ISource, source)
        verifyObject(IPushProducer, source)

    def test_to_the_end(self) -> None:
        pieces = [b"one", b"two", b""]
        source = FetchedSource(lambda: succeed(pieces.pop(0)))
        self.assertEqual(self.successResultOf(Deferred.fromCoroutine(collect(source))), b"onetwo")

    def test_count(self) -> None:
        taker = Taker()
        done = FetchedSource(self.fetch).deliver(taker)
        for piece in (b"one", b""):
            self.asked[-1].callback(piece)
        self.assertEqual((self.successResultOf(done), len(self.asked), taker.gone), (3, 2, 1))

    def test_one_at_a_time(self) -> None:
        """The next piece is asked for once the one before was written."""
        taker = Taker()
        done = FetchedSource(self.fetch).deliver(taker)
        self.assertEqual(len(self.asked), 1)
        self.asked[0].callback(b"1")
        self.assertEqual((len(self.asked), taker.pieces), (2, [b"1"]))
        self.asked[1].callback(b"")
        self.assertEqual(self.successResultOf(done), 1)

    def test_thousands(self) -> None:
        """Pieces that are there at once are no recursion."""
        pieces = iter([b"x"] * 20_000)
        source = FetchedSource(lambda: succeed(next(pieces, b"")))
        self.assertEqual(len(self.successResultOf(Deferred.fromCoroutine(collect(source)))), 20_000)

    def test_paused_at_once(self) -> None:
        """Nothing is asked for before it is wanted."""
        taker = Taker(pause_at_once=True)
        FetchedSource(self.fetch).deliver(taker)
        self.assertEqual(self.asked, [])
        taker.producer.resumeProducing()
        self.assertEqual(len(self.asked), 1)

    def test_paused_meanwhile(self) -> None:
        """What comes while the consumer pauses waits; pausing and resuming again and again changes nothing."""
        taker = Taker()
        done = FetchedSource(self.fetch).deliver(taker)
        taker.producer.pauseProducing()
        self.asked[0].callback(b"1")
        self.assertEqual((taker.pieces, len(self.asked)), ([], 1))
        for _ in range(3):
            taker.producer.resumeProducing()
        self.assertEqual((taker.pieces, len(self.asked)), ([b"1"], 2))
        for _ in range(3):
            taker.producer.pauseProducing()
        taker.producer.resumeProducing()
        taker.producer.pauseProducing()
        self.asked[1].callback(b"")
        self.assertNoResult(done)
        taker.producer.resumeProducing()
        self.assertEqual(self.successResultOf(done), 1)

    def test_stopped(self) -> None:
        """Nothing more is written, not even what was asked for already."""
        for paused in (False, True):
            taker = Taker()
            done = FetchedSource(self.fetch).deliver(taker)
            if paused:
                taker.producer.pauseProducing()
            taker.producer.stopProducing()
            self.asked.pop().callback(b"too late")
            self.failureResultOf(done, RuntimeError)
            self.assertEqual((taker.pieces, taker.gone, self.asked), ([], 1, []))

    def test_stopped_while_paused(self) -> None:
        """It ends at once, since nothing is being fetched."""
        taker = Taker(pause_at_once=True)
        done = FetchedSource(self.fetch).deliver(taker)
        taker.producer.stopProducing()
        self.failureResultOf(done, RuntimeError)
        self.assertEqual((self.asked, taker.gone), ([], 1))

    def test_stopped_afterwards(self) -> None:
        source = FetchedSource(self.fetch)
        done = source.deliver(Taker())
        self.asked[0].callback(b"")
        source.stopProducing()
        source.resumeProducing()
        self.assertEqual(self.successResultOf(done), 0)

    def test_fetch_fails(self) -> None:
        taker = Taker()
        done = FetchedSource(self.fetch).deliver(taker)
        self.asked[0].callback(b"1")
        self.asked[1].errback(ValueError("no more"))
        self.failureResultOf(done, ValueError)
        self.assertEqual((taker.pieces, taker.gone), ([b"1"], 1))

    def test_write_fails(self) -> None:
        taker = Taker()
        taker.write = lambda data: 1 // 0  # type: ignore[method-assign, assignment, return-value]
        done = FetchedSource(self.fetch).deliver(taker)
        self.asked[0].callback(b"1")
        self.failureResultOf(done, ZeroDivisionError)
        self.assertEqual((taker.gone, len(self.asked)), (1, 1))

    def test_once(self) -> None:
        source = FetchedSource(self.fetch)
        source.deliver(Taker())
        self.failureResultOf(source.deliver(Taker()), RuntimeError)
        self.assertEqual(len(self.asked), 1)
