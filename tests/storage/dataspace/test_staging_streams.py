"""Tests of L{write_beside<storehouse.storage.dataspace.directory.write_beside>}, with a disk that is driven by hand."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from storehouse.core.budget import StreamMemory
from storehouse.core.jobs import IDisk, InlineDisk
from storehouse.core.streams import BytesStream, IByteStream, Piece, PushedStream
from storehouse.errors import SizeMismatch
from storehouse.storage.dataspace.directory import write_beside
from tests.conformance.dataspace import content, pieces_of
from tests.core.test_jobs import HandDisk

KIB = 1 << 10
SHARE = 32 * KIB  # the least that a writer may hold


class Source(PushedStream):
    """
    What a test pushes.

    @ivar paused: whether it was told to pause.
    @ivar closed: whether nothing more was wanted of it.
    """

    def __init__(self) -> None:
        self.paused = False
        self.closed = False
        super().__init__(lambda: self._pauses(True), lambda: self._pauses(False), closed=self._closes)

    def _pauses(self, paused: bool) -> None:
        self.paused = paused

    def _closes(self) -> None:
        self.closed = True


class IncomingCase(SynchronousTestCase):
    """
    Writers.

    @ivar written: what was handed over, by call.
    """

    def setUp(self) -> None:
        self.disk = HandDisk()
        self.memory = StreamMemory(0)
        self.written: list[bytes] = []
        self.error: Exception | None = None

    def write(self, pieces: list[Piece]) -> None:
        if self.error is not None:
            raise self.error
        self.written.append(b"".join(pieces))

    def receive(
        self, stream: IByteStream, size: int | None = None, block_size: int = 1 << 20, disk: IDisk | None = None
    ) -> Deferred[list[Piece]]:
        run = (disk or self.disk).run

        def write(pieces: list[Piece]) -> Deferred[None]:
            return run(self.write, pieces)

        return Deferred.fromCoroutine(write_beside(stream, self.memory, size, block_size, write))

    def all_of(self, received: Deferred[list[Piece]]) -> bytes:
        """What was handed over, and what is left."""
        return b"".join([*self.written, *self.successResultOf(received)])


def expected_size(left: int, block_size: int) -> int:
    """What is handed over with so much left of a block: what completes blocks, or a share."""
    return left + (SHARE - left) // block_size * block_size if left <= SHARE else SHARE


class HandTests(IncomingCase):
    """Bytes that come one after the other."""

    def test_nothing(self) -> None:
        source = Source()
        received = self.receive(source, 0)
        self.assertNoResult(received)
        source.end()
        self.assertEqual((self.successResultOf(received), self.written), ([], []))

    def test_little(self) -> None:
        """What makes neither a share nor a block is left to the one who finishes."""
        source = Source()
        received = self.receive(source, 6)
        for piece in (b"one", b"", b"two"):
            source.write(piece)
        source.end()
        self.assertEqual((self.all_of(received), self.disk.jobs), (b"onetwo", []))

    def test_pausing(self) -> None:
        """A share is on its way to the disk, and another comes in; then the source waits, until the disk is done."""
        source = Source()
        received = self.receive(source)
        data = content(5 * SHARE)
        source.write(data[:SHARE])
        self.assertEqual(len(self.disk.jobs), 1)
        source.write(data[SHARE : 2 * SHARE])
        self.assertFalse(source.paused)
        source.write(data[2 * SHARE : 2 * SHARE + 1])
        self.assertTrue(source.paused)
        self.assertEqual(len(self.disk.jobs), 1)  # one after the other
        self.disk.do()
        self.assertEqual((len(self.disk.jobs), source.paused), (1, False))
        self.disk.do()
        self.assertEqual(self.disk.jobs, [])
        source.write(data[2 * SHARE + 1 :])  # a large piece at once
        source.end()
        for _ in range(3):
            self.assertNoResult(received)  # a thread is at work
            self.disk.do()
        self.assertEqual(self.all_of(received), data)
        self.assertEqual([len(piece) for piece in self.written], [SHARE] * 5)

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
        received = self.receive(source, sum(sizes), block_size)
        data = content(sum(sizes))
        at = 0
        largest = max(sizes, default=0)
        for size, quick in pieces:
            while source.paused:
                self.disk.do()
            source.write(data[at : at + size])
            at += size
            # Two shares, a piece that makes them more, and one that waits at the edge.
            self.assertLessEqual(at - sum(map(len, self.written)), 2 * SHARE + 2 * largest)
            self.assertLessEqual(len(self.disk.jobs), 1)
            if self.disk.jobs and quick:
                self.disk.do()
        source.end()
        self.disk.do_all()
        self.assertEqual(self.all_of(received), data)
        place = 0
        for piece in self.written:
            # What completes a block, or else a share.
            self.assertEqual(len(piece), expected_size(block_size - place % block_size, block_size))
            place += len(piece)
        self.assertLess(len(data) - place, SHARE)

    def test_blocks(self) -> None:
        """Handed over is what completes a block: then its hash has it at once."""
        received = self.receive(BytesStream([bytes(200 * KIB)]), None, 48 * KIB)
        self.disk.do_all()
        self.assertEqual([len(piece) // KIB for piece in self.written], [32, 16, 32, 16, 32, 16, 32, 16])
        self.assertEqual(sum(map(len, self.successResultOf(received))), 8 * KIB)

    def test_failing_write(self) -> None:
        """The source is closed at once, whether it gives more or not; the error of the disk is the one that counts."""
        for size in (SHARE, 2 * SHARE, 3 * SHARE):
            self.setUp()
            source = Source()
            received = self.receive(source)
            source.write(bytes(size))
            self.error = OSError("the disk")
            self.disk.do()
            self.assertIs(self.failureResultOf(received, OSError).value, self.error)
            self.assertEqual((self.disk.jobs, self.memory.streams), ([], 0))

    def test_failing_write_while_waiting(self) -> None:
        """What a source has yet to give is not waited for."""
        source = Source()
        received = self.receive(source)
        source.write(bytes(SHARE))
        self.error = OSError("the disk")
        self.assertNoResult(received)
        self.disk.do()
        self.failureResultOf(received, OSError)
        self.assertTrue(source.closed)

    def test_failing_last_write(self) -> None:
        """The source had no more, the disk fails then."""
        source = Source()
        received = self.receive(source)
        source.write(bytes(SHARE))
        source.end()
        self.error = OSError("the disk")
        self.disk.do()
        self.failureResultOf(received, OSError)

    def test_failing_source(self) -> None:
        """Its error comes when no thread is at work any more."""
        for self.error in (None, OSError("the disk")):
            source = Source()
            received = self.receive(source)
            source.write(bytes(SHARE))
            source.fail(KeyError("the source"))
            self.assertNoResult(received)
            self.disk.do()
            self.failureResultOf(received, KeyError)
            self.assertEqual(self.memory.streams, 0)

    def test_raising_source(self) -> None:
        """A source that cannot even begin."""
        source = Source()
        source.fail(KeyError("broken"))
        self.failureResultOf(self.receive(source), KeyError)
        self.assertEqual(self.memory.streams, 0)

    def test_cancelled(self) -> None:
        """A thread that is at work is waited for."""
        source = Source()
        received = self.receive(source)
        source.write(bytes(SHARE + 5))
        for _ in range(2):
            received.cancel()
            self.assertNoResult(received)
        self.disk.do()
        self.failureResultOf(received, CancelledError)
        self.assertEqual((self.disk.abandoned, len(self.written), self.disk.jobs), (0, 1, []))
        self.assertEqual(self.memory.streams, 0)

    def test_cancelled_when_idle(self) -> None:
        source = Source()
        received = self.receive(source)
        source.write(b"x")
        received.cancel()
        self.failureResultOf(received, CancelledError)

    def test_sizes(self) -> None:
        """Fewer bytes than announced fail at the end, more fail at once."""
        source = Source()
        received = self.receive(source, 10)
        source.write(b"123")
        source.end()
        text = self.failureResultOf(received, SizeMismatch).value.detail
        self.assertEqual(("3 bytes" in text, "10 were" in text), (True, True))

        source = Source()
        received = self.receive(source, 10)
        source.write(bytes(10))
        self.assertNoResult(received)
        source.write(b"1")
        self.failureResultOf(received, SizeMismatch)

    def test_shares(self) -> None:
        """All writers together hold what is given, each at least 32 KiB and at most 1 MiB."""
        memory = StreamMemory(64 << 20)
        self.assertEqual(memory.share, 1 << 20)
        for memory.streams, share in ((1, 1 << 20), (32, 1 << 20), (64, 512 * KIB), (1024, SHARE), (10**6, SHARE)):
            self.assertEqual(memory.share, share)
            if share > SHARE:
                self.assertLessEqual(2 * memory.streams * memory.share, 64 << 20)
        self.assertEqual(StreamMemory(0).share, SHARE)

    def test_shares_change(self) -> None:
        """The more write, the less each of them holds; who leaves makes room again."""
        self.memory = StreamMemory(512 * KIB)
        sources = [Source() for _ in range(4)]
        first = self.receive(sources[0], block_size=1 << 30)
        sources[0].write(bytes(200 * KIB))
        self.assertEqual(self.disk.jobs, [])  # its share is 256 KiB
        others = [self.receive(source) for source in sources[1:]]
        self.assertEqual((self.memory.streams, self.memory.share), (4, 64 * KIB))
        sources[0].write(b"x")
        self.disk.do(2)
        self.assertEqual([len(piece) for piece in self.written], [64 * KIB] * 2)
        self.assertEqual(len(self.disk.jobs), 1)
        for source, received in zip(sources[1:], others, strict=True):
            source.end()
            self.successResultOf(received)
        self.assertEqual(self.memory.share, 256 * KIB)
        self.disk.do_all()
        sources[0].end()
        self.assertEqual(len(self.all_of(first)), 200 * KIB + 1)


class ManyTests(IncomingCase):
    """Pieces that are at hand."""

    def test_many_pieces(self) -> None:
        """10,000 of them, and a disk that is done at once, are no recursion."""
        data = content(1_234_567)
        for block_size in (7, 4096, 1 << 20):
            self.written.clear()
            received = self.receive(BytesStream(pieces_of(data, (123,))), len(data), block_size, InlineDisk())
            self.assertEqual(self.all_of(received), data)

    def test_large_piece(self) -> None:
        """One piece of 10,000 blocks neither: as many whole blocks as may be held are handed over at once."""
        data = content(1_000_003)
        received = self.receive(BytesStream([data]), len(data), 100, InlineDisk())
        self.assertEqual(self.all_of(received), data)
        self.assertEqual([len(piece) for piece in self.written], [32_700] * 30)

    def test_inline_failure(self) -> None:
        """A disk that fails at once."""
        self.error = OSError("the disk")
        self.failureResultOf(self.receive(BytesStream([bytes(10_000)] * 5), None, 100, InlineDisk()), OSError)

    def test_threads_behind(self) -> None:
        """Threads that are behind: nothing is lost."""
        data = content(10 * SHARE + 7)
        received = self.receive(BytesStream(pieces_of(data, (1, 1000, 40_000))), len(data), 48 * KIB)
        while self.disk.jobs:
            self.disk.do()
        self.assertEqual(self.all_of(received), data)
