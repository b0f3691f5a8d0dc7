"""Tests of L{storehouse.storage.dataspace.incoming}, with a disk that is driven by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from storehouse.core.disk import IDisk, InlineDisk
from storehouse.core.streams import BytesSource
from storehouse.errors import SizeMismatch
from storehouse.storage.dataspace.incoming import Incoming, WriteMemory
from tests.conformance.dataspace import PullSource, content, pieces_of
from tests.core.test_jobs import HandDisk

KIB = 1 << 10
SHARE = 32 * KIB  # the least that a writer may hold


class Source:
    """
    A push source that does what a test says.

    @ivar paused: whether it was told to pause.
    @ivar stopped: how often it was told to stop.
    """

    def __init__(self, streaming: bool = True) -> None:
        self.paused = False
        self.stopped = 0
        self.calls: list[str] = []
        self._streaming = streaming
        self.consumer: Any = None
        self.done: Deferred[int] = Deferred(lambda done: self.end(CancelledError()))

    def deliver(self, consumer: Any) -> Deferred[int]:
        self.consumer = consumer
        consumer.registerProducer(self, self._streaming)
        return self.done

    def pauseProducing(self) -> None:
        assert not self.paused
        self.paused = True
        self.calls.append("pause")

    def resumeProducing(self) -> None:
        self.paused = False
        self.calls.append("resume")

    def stopProducing(self) -> None:
        self.stopped += 1
        self.end(RuntimeError("stopped"))

    def end(self, error: Exception | None = None) -> None:
        consumer, self.consumer = self.consumer, None
        if consumer is None:
            return
        consumer.unregisterProducer()
        if error is None:
            self.done.callback(0)
        else:
            self.done.errback(error)


class IncomingCase(SynchronousTestCase):
    """
    Writers.

    @ivar written: what was handed over, by call.
    """

    def setUp(self) -> None:
        self.disk = HandDisk()
        self.memory = WriteMemory(0)
        self.written: list[bytes] = []
        self.error: Exception | None = None

    def write(self, pieces: Sequence[bytes]) -> None:
        if self.error is not None:
            raise self.error
        self.written.append(b"".join(pieces))

    def receive(
        self, source: Any, size: int | None = None, block_size: int = 1 << 20, disk: IDisk | None = None
    ) -> tuple[Incoming, Deferred[None]]:
        incoming = Incoming(disk or self.disk, self.memory, size, block_size, self.write)
        return incoming, Deferred.fromCoroutine(incoming.receive(source))


def expected_size(left: int, block_size: int) -> int:
    """What is handed over with so much left of a block: what completes blocks, or a share."""
    return left + (SHARE - left) // block_size * block_size if left <= SHARE else SHARE


class HandTests(IncomingCase):
    """Pushed bytes."""

    def test_nothing(self) -> None:
        source = Source()
        incoming, received = self.receive(source, 0)
        self.assertNoResult(received)
        source.end()
        self.successResultOf(received)
        self.assertEqual((incoming.rest, incoming.count, self.written), ([], 0, []))

    def test_little(self) -> None:
        """What makes neither a share nor a block is left to the one who finishes."""
        source = Source()
        incoming, received = self.receive(source, 6)
        for piece in (b"one", b"", b"two"):
            source.consumer.write(piece)
        source.end()
        self.successResultOf(received)
        self.assertEqual((b"".join(incoming.rest), incoming.count, self.disk.jobs), (b"onetwo", 6, []))
        self.assertEqual(source.calls, [])

    def test_pausing(self) -> None:
        """A share is on its way to the disk, and another comes in; then the source waits, until the disk is done."""
        source = Source()
        incoming, received = self.receive(source)
        data = content(5 * SHARE)
        source.consumer.write(data[:SHARE])
        self.assertEqual((len(self.disk.jobs), source.paused), (1, False))
        source.consumer.write(data[SHARE : 2 * SHARE - 1])
        self.assertFalse(source.paused)
        source.consumer.write(data[2 * SHARE - 1 : 2 * SHARE])
        self.assertTrue(source.paused)
        self.assertEqual(len(self.disk.jobs), 1)  # one after the other
        self.disk.do()
        self.assertEqual((len(self.disk.jobs), source.calls), (1, ["pause", "resume"]))
        self.disk.do()
        self.assertEqual((len(self.disk.jobs), source.calls), (0, ["pause", "resume"]))
        source.consumer.write(data[2 * SHARE :])  # a large piece at once
        self.assertTrue(source.paused)
        self.disk.do()
        self.assertTrue(source.paused)  # a share is on its way, and another is held
        self.disk.do()
        self.assertFalse(source.paused)
        source.end()
        self.assertNoResult(received)  # a thread is at work
        self.disk.do()
        self.successResultOf(received)
        self.assertEqual(b"".join([*self.written, *incoming.rest]), data)
        self.assertEqual([len(piece) for piece in self.written], [SHARE] * 5)

    def test_left_over(self) -> None:
        """What is left of a piece is not copied, unless most of the piece would be kept for it."""
        source = Source()
        incoming, received = self.receive(source)
        data = content(4 * SHARE)
        source.consumer.write(data)
        for left, is_view in ((3, True), (2, True), (1, False)):
            (rest,) = incoming.rest
            self.assertEqual(bytes(rest), data[-left * SHARE :])
            self.assertEqual(isinstance(rest, memoryview), is_view)
            self.disk.do()
        source.end()
        self.disk.do_all()
        self.successResultOf(received)
        self.assertEqual(b"".join([*self.written, *incoming.rest]), data)

    def test_ended_while_paused(self) -> None:
        """Bytes that were taken when the source ended are all given."""
        source = Source()
        incoming, received = self.receive(source)
        source.consumer.write(content(3 * SHARE + 5))
        source.end()
        self.assertNoResult(received)
        self.disk.do()
        self.successResultOf(received)
        self.assertEqual(b"".join([*self.written, *incoming.rest]), content(3 * SHARE + 5))
        self.assertEqual(source.stopped, 0)

    @settings(deadline=None, max_examples=60)
    @given(
        st.lists(st.tuples(st.integers(0, 50 * KIB), st.booleans()), max_size=30),
        st.sampled_from([1000, 20 * KIB, SHARE, 50 * KIB, 100 * KIB]),
    )
    def test_any_pace(self, pieces: list[tuple[int, bool]], block_size: int) -> None:
        """However fast the disk is: all bytes come in order; at most two shares and a piece are held; blocks are completed."""
        self.setUp()
        sizes = [size for size, _ in pieces]
        source = Source()
        incoming, received = self.receive(source, sum(sizes), block_size)
        data = content(sum(sizes))
        at = 0
        for size, quick in pieces:
            while source.paused:
                self.disk.do()
            source.consumer.write(data[at : at + size])
            at += size
            self.assertLessEqual(at - sum(map(len, self.written)), 2 * SHARE + size)
            self.assertLessEqual(len(self.disk.jobs), 1)
            if self.disk.jobs and quick:
                self.disk.do()
        source.end()
        self.disk.do_all()
        self.successResultOf(received)
        self.assertEqual(b"".join([*self.written, *incoming.rest]), data)
        place = 0
        for piece in self.written:
            # What completes a block, or else a share.
            self.assertEqual(len(piece), expected_size(block_size - place % block_size, block_size))
            place += len(piece)
        self.assertLess(sum(map(len, incoming.rest)), 2 * SHARE + max(sizes, default=0) + 1)

    def test_blocks(self) -> None:
        """Handed over is what completes a block: then its hash has it at once."""
        source = Source()
        _, received = self.receive(source, None, 48 * KIB)
        source.consumer.write(bytes(200 * KIB))
        self.disk.do_all()
        self.assertEqual([len(piece) // KIB for piece in self.written], [32, 16, 32, 16, 32, 16, 32, 16])
        source.end()
        self.successResultOf(received)

    def test_failing_write(self) -> None:
        """The source is stopped, and told nothing else; the error of the disk is the one that counts."""
        source = Source()
        incoming, received = self.receive(source)
        source.consumer.write(bytes(2 * SHARE))
        self.error = OSError("the disk")
        self.disk.do()
        self.assertIs(self.failureResultOf(received, OSError).value, self.error)
        self.assertEqual((source.stopped, self.disk.jobs, self.memory.writers), (1, [], 0))
        assert incoming.failure is not None

    def test_failing_write_and_stubborn_source(self) -> None:
        """A source that goes on although it was stopped meets the error."""

        class Stubborn(Source):
            def stopProducing(self) -> None:
                self.stopped += 1

        source = Stubborn()
        _, received = self.receive(source)
        source.consumer.write(bytes(SHARE))
        self.error = OSError("the disk")
        self.disk.do()
        self.assertNoResult(received)
        error = self.assertRaises(OSError, source.consumer.write, b"more")
        source.end(error)
        self.assertIs(self.failureResultOf(received, OSError).value, self.error)

    def test_failing_last_write(self) -> None:
        """The source had no more, the disk fails then."""
        source = Source()
        _, received = self.receive(source)
        source.consumer.write(bytes(SHARE))
        source.end()
        self.error = OSError("the disk")
        self.disk.do()
        self.failureResultOf(received, OSError)

    def test_failing_source(self) -> None:
        """Its error comes when no thread is at work any more; that of the disk wins, if there is one."""
        for disk_error in (None, OSError("the disk")):
            self.error = disk_error
            source = Source()
            _, received = self.receive(source)
            source.consumer.write(bytes(SHARE))
            source.end(KeyError("the source"))
            self.assertNoResult(received)
            self.disk.do()
            self.failureResultOf(received, KeyError if disk_error is None else OSError)
            self.assertEqual(self.memory.writers, 0)

    def test_raising_source(self) -> None:
        """A source that cannot even begin."""

        class Broken:
            def deliver(self, consumer: Any) -> Deferred[int]:
                raise KeyError("broken")

        _, received = self.receive(Broken())
        self.failureResultOf(received, KeyError)
        self.assertEqual(self.memory.writers, 0)

    def test_cancelled(self) -> None:
        """A thread that is at work is waited for."""
        source = Source()
        _, received = self.receive(source)
        source.consumer.write(bytes(SHARE + 5))
        for _ in range(2):
            received.cancel()
            self.assertNoResult(received)
        self.assertIsNone(source.consumer)
        self.disk.do()
        self.failureResultOf(received, CancelledError)
        self.assertEqual((self.disk.abandoned, len(self.written), self.disk.jobs), (0, 1, []))
        self.assertEqual(self.memory.writers, 0)

    def test_cancelled_when_idle(self) -> None:
        source = Source()
        _, received = self.receive(source)
        source.consumer.write(b"x")
        received.cancel()
        self.failureResultOf(received, CancelledError)

    def test_sizes(self) -> None:
        """Less than was announced is told at the end, more at once."""
        source = Source()
        _, received = self.receive(source, 10)
        source.consumer.write(b"123")
        source.end()
        text = self.failureResultOf(received, SizeMismatch).value.detail
        self.assertEqual(("3 bytes" in text, "10 were" in text), (True, True))

        source = Source()
        _, received = self.receive(source, 10)
        source.consumer.write(bytes(10))
        error = self.assertRaises(SizeMismatch, source.consumer.write, b"1")
        self.assertNoResult(received)
        source.end(error)
        self.failureResultOf(received, SizeMismatch)

    def test_shares(self) -> None:
        """All writers together hold what is given, each at least 32 KiB and at most 1 MiB."""
        memory = WriteMemory(64 << 20)
        self.assertEqual(memory.share, 1 << 20)
        for memory.writers, share in ((1, 1 << 20), (32, 1 << 20), (64, 512 * KIB), (1024, SHARE), (10**6, SHARE)):
            self.assertEqual(memory.share, share)
            if share > SHARE:
                self.assertLessEqual(2 * memory.writers * memory.share, 64 << 20)
        self.assertEqual(WriteMemory(0).share, SHARE)

    def test_shares_change(self) -> None:
        """The more write, the less each of them holds; who leaves makes room again."""
        self.memory = WriteMemory(512 * KIB)
        sources = [Source() for _ in range(4)]
        first, _ = self.receive(sources[0], block_size=1 << 30)
        sources[0].consumer.write(bytes(200 * KIB))
        self.assertEqual(self.disk.jobs, [])  # its share is 256 KiB
        others = [self.receive(source)[1] for source in sources[1:]]
        self.assertEqual((self.memory.writers, self.memory.share), (4, 64 * KIB))
        sources[0].consumer.write(b"x")
        self.assertTrue(sources[0].paused)
        self.disk.do(2)
        self.assertEqual([len(piece) for piece in self.written], [64 * KIB] * 2)
        self.assertTrue(len(first.rest) > 0 and not self.disk.jobs[1:])
        for source, received in zip(sources[1:], others, strict=True):
            source.end()
            self.successResultOf(received)
        self.assertEqual(self.memory.share, 256 * KIB)
        self.disk.do_all()
        self.assertFalse(sources[0].paused)
        sources[0].end()


class PullTests(IncomingCase):
    """Producers that are asked for every piece."""

    def test_many_pieces(self) -> None:
        """10,000 pieces that are there at once, and a disk that is done at once, are no recursion."""
        data = content(1_234_567)
        for block_size in (7, 4096, 1 << 20):
            for source in (PullSource(pieces_of(data, (123,)), False), BytesSource(pieces_of(data, (123,)))):
                self.written.clear()
                incoming, received = self.receive(source, len(data), block_size, InlineDisk())
                self.successResultOf(received)
                self.assertEqual(b"".join([*self.written, *incoming.rest]), data)
                self.assertEqual(incoming.count, len(data))

    def test_large_piece(self) -> None:
        """One piece of 10,000 blocks neither."""
        data = content(1_000_003)
        for source in (PullSource([data], False), BytesSource([data])):
            self.written.clear()
            incoming, received = self.receive(source, len(data), 100, InlineDisk())
            self.successResultOf(received)
            # As many whole blocks as may be held.
            self.assertEqual([len(piece) for piece in self.written], [32_700] * 30)
            self.assertEqual(b"".join(incoming.rest), data[30 * 32_700 :])

    def test_inline_failure(self) -> None:
        """A disk that fails at once."""
        self.error = OSError("the disk")
        for source in (PullSource([bytes(10_000)] * 5, False), BytesSource([bytes(10_000)] * 5)):
            _, received = self.receive(source, None, 100, InlineDisk())
            self.failureResultOf(received, OSError)

    def test_not_asked_while_the_disk_is_behind(self) -> None:
        source = Source(streaming=False)
        _, received = self.receive(source)
        self.assertEqual(source.calls, ["resume"])
        source.consumer.write(bytes(SHARE))
        self.assertEqual(source.calls, ["resume"] * 2)
        source.consumer.write(bytes(SHARE))
        self.assertEqual(source.calls, ["resume"] * 2)
        self.disk.do()
        self.assertEqual(source.calls, ["resume"] * 3)
        source.end()
        self.disk.do_all()
        self.successResultOf(received)
        self.assertEqual(sum(map(len, self.written)), 2 * SHARE)

    def test_later(self) -> None:
        """Answers that come when it is asked, with threads that are behind: nothing is lost."""
        data = content(10 * SHARE + 7)
        incoming, received = self.receive(PullSource(pieces_of(data, (1, 1000, 40_000)), False), len(data), 48 * KIB)
        while self.disk.jobs:
            self.disk.do()
        self.successResultOf(received)
        self.assertEqual(b"".join([*self.written, *incoming.rest]), data)
