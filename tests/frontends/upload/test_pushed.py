"""Tests of L{storehouse.frontends.upload.pushed}."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.interfaces import IConsumer
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from storehouse.errors import BadRequest, NoSpace
from storehouse.frontends.upload.memory import UploadMemory
from storehouse.frontends.upload.pushed import Pieces, PushedSource, Valve


class _Producer:
    def __init__(self) -> None:
        self.is_paused = False
        self.is_stopped = False

    def pauseProducing(self) -> None:
        self.is_paused = True

    def resumeProducing(self) -> None:
        self.is_paused = False

    def stopProducing(self) -> None:
        self.is_stopped = True


@implementer(IConsumer)
class _Consumer:
    def __init__(self) -> None:
        self.data = b""
        self.producer: Any = None
        self.pauses = False
        self.resumes = False
        self.fails = False

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        self.producer = producer

    def unregisterProducer(self) -> None:
        self.producer = None

    def write(self, data: bytes) -> None:
        if self.fails:
            raise NoSpace("full")
        self.data += data
        if self.pauses:
            self.producer.pauseProducing()
            if self.resumes:
                self.producer.resumeProducing()


class PushedSourceTests(SynchronousTestCase):
    """A source that is written to."""

    def setUp(self) -> None:
        self.memory = UploadMemory(1 << 20, 10)
        self.session = self.memory.join()
        self.valve = Valve()
        self.client = _Producer()
        self.valve.attach(self.client)
        self.consumer = _Consumer()

    def source(self, *held: bytes) -> PushedSource:
        self.session.hold(sum(map(len, held)))
        return PushedSource(self.session, self.valve, held)

    def test_held_first(self) -> None:
        source = self.source(b"held", b" first")
        self.assertTrue(self.client.is_paused)
        source.write(b", then" * 3000)
        done = source.deliver(self.consumer)
        self.assertEqual((self.client.is_paused, self.memory.held), (False, 0))
        source.write(b" the rest")
        source.end()
        expected = b"held first" + b", then" * 3000 + b" the rest"
        self.assertEqual(self.successResultOf(done), len(expected))
        self.assertEqual(self.consumer.data, expected)
        self.assertEqual(self.memory.held, 0)

    def test_resumed_within_the_write(self) -> None:
        """The client does not go on waiting."""
        source = self.source()
        self.consumer.pauses = self.consumer.resumes = True
        source.deliver(self.consumer)
        source.write(b"x" * 10_000)
        self.assertFalse(self.client.is_paused)

    def test_consumer_fails(self) -> None:
        """With a small piece or a large one, held ones among them: nothing waits any more, and nothing is held."""
        for small in (b"", b"crumb"):
            for is_held in (False, True):
                self.setUp()
                self.consumer.fails = True
                source = self.source(*([b"held"] if is_held else []))
                if small:
                    source.write(small)
                done = source.deliver(self.consumer)
                source.write(b"x" * 10_000)
                self.failureResultOf(done, NoSpace)
                self.assertEqual((self.client.is_paused, self.memory.held), (False, 0))
                self.assertIsNone(self.consumer.producer)
                source.write(b"more" * 5000)
                source.end()
                self.assertEqual((self.client.is_paused, self.memory.held), (False, 0))

    def test_fails_before(self) -> None:
        source = self.source(b"held")
        source.fail(BadRequest("gone"))
        self.assertEqual((self.client.is_paused, self.memory.held), (False, 0))
        self.failureResultOf(source.deliver(self.consumer), BadRequest)

    def test_stopped(self) -> None:
        source = self.source(b"held")
        self.consumer.pauses = True
        done = source.deliver(self.consumer)
        source.write(b"x" * 10_000)
        self.assertEqual(self.memory.held, 10_000)
        self.consumer.producer.stopProducing()
        self.failureResultOf(done, RuntimeError)
        self.assertEqual((self.client.is_paused, self.memory.held), (False, 0))

    @given(st.lists(st.one_of(st.integers(1, 40_000), st.sampled_from(["pause", "resume", "deliver"])), max_size=30))
    def test_any(self, steps: list[Any]) -> None:
        """Whatever pauses when, all arrives in order, and what waits is accounted for."""
        self.setUp()
        source = self.source(b"held")
        sent, done = b"held", None
        for number, step in enumerate(steps):
            if isinstance(step, int):
                piece = bytes([number]) * step
                source.write(piece)
                sent += piece
            elif step == "deliver" and done is None:
                done = source.deliver(self.consumer)
            elif done is not None and step == "pause":
                source.pauseProducing()
            elif done is not None and step == "resume":
                source.resumeProducing()
            self.assertEqual(self.memory.held, len(sent) - len(self.consumer.data))
            self.assertTrue(sent.startswith(self.consumer.data))
        if done is None:
            done = source.deliver(self.consumer)
        source.end()
        source.resumeProducing()
        self.assertEqual(self.successResultOf(done), len(sent))
        self.assertEqual((self.consumer.data, self.memory.held), (sent, 0))

    def test_pieces(self) -> None:
        """Small ones are joined; large ones are not copied."""
        pieces = Pieces()
        large = b"x" * 10_000
        for data in (b"a", b"b", large, b"c", b"d"):
            pieces.add(data)
        taken = pieces.take()
        self.assertEqual(taken, [b"ab", large, b"cd"])
        self.assertIs(taken[1], large)
        self.assertEqual(pieces.take(), [])

    def test_valve(self) -> None:
        """Open when there is no reason left; one that has a reason already stops whom it is attached to."""
        self.valve.close("a")
        self.valve.close("b")
        self.valve.open("a")
        self.assertTrue(self.client.is_paused)
        self.valve.open("b")
        self.assertFalse(self.client.is_paused)
        self.valve.attach(None)
        self.valve.close("a")
        self.valve.attach(self.client)
        self.assertTrue(self.client.is_paused)
        self.valve.stop()
        self.assertTrue(self.client.is_stopped)
