"""Tests of L{BlockStream<storehouse.storage.dataspace.opened.BlockStream>}, with a disk that is driven by hand."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from random import Random
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from storehouse.core.jobs import IDisk, InlineDisk
from storehouse.core.streams import Piece, StreamClosed, closing
from storehouse.errors import DamagedObject, Unavailable
from storehouse.storage.dataspace import opened as module
from storehouse.storage.dataspace.formats import ObjectInfo
from storehouse.storage.dataspace.interfaces import Part
from storehouse.storage.dataspace.opened import READ_SIZE, BlockStream, ReadMemory
from tests.conformance.dataspace import content
from tests.conformance.streams import ByteStreamTests, begun
from tests.core.test_jobs import HandDisk
from tests.turns.breathing import every_breath

MIB = 1 << 20


class Opened:
    """
    Stands for an open object.

    @ivar reads: C{(offset, length, at_most)} of what was read.
    @ivar damaged: where its first damaged byte is.
    @ivar closed: how often it was closed.
    """

    def __init__(self, data: bytes, damaged: int | None = None) -> None:
        self.id = "ab"
        self.data = data
        self.info = ObjectInfo("etag", len(data), (Part(1, "etag", len(data)),), {"key": ["value"]})
        self.reads: list[tuple[int, int, int]] = []
        self.damaged = damaged
        self.closed = 0

    def read(self, offset: int, length: int, at_most: int) -> list[bytes]:
        assert length > 0
        assert not self.closed
        self.reads.append((offset, length, at_most))
        end = offset + min(length, at_most)
        if self.damaged is not None:
            if offset >= self.damaged:
                raise DamagedObject(self.id, "its checksum is wrong", 1, 0)
            end = min(end, self.damaged)
        return [self.data[at : min(at + 400_000, end)] for at in range(offset, end, 400_000)]

    def close(self) -> None:
        self.closed += 1


class ReaderCase(SynchronousTestCase):
    """
    Readers.

    @ivar released: how often an object was given back.
    @ivar told: what disks failed with.
    """

    def setUp(self) -> None:
        self.disk = HandDisk()
        self.memory = ReadMemory(64 * MIB)
        self.released = 0
        self.told: list[Any] = []
        self.given = 0

    def stream(
        self,
        opened: Opened,
        offset: int = 0,
        length: int | None = None,
        first: bool = True,
        disk: IDisk | None = None,
    ) -> BlockStream:
        count = len(opened.data) - offset if length is None else length
        pieces = opened.read(offset, count, READ_SIZE) if first and count else []
        return BlockStream(
            opened,  # type: ignore[arg-type]
            offset,
            count,
            pieces,
            disk or self.disk,
            self.memory,
            self._explain,
            self._closed,
            self._count,
        )

    def read(self, stream: BlockStream, into: list[bytes]) -> Deferred[None]:
        """Read a stream to its end, as it can be had, and close it."""

        async def pieces() -> None:
            async with closing(stream):
                while piece := await stream.read():
                    into.append(bytes(piece))

        return Deferred.fromCoroutine(pieces())

    def _explain(self, error: Exception) -> Exception:
        self.told.append(error)
        return error

    def _closed(self) -> None:
        self.released += 1

    def _count(self, size: int) -> None:
        self.given += size

    def check_over(self, opened: Opened, count: int = 1) -> None:
        """It was given back once, and holds nothing."""
        self.assertEqual((opened.closed, self.released), (1, count))
        self.assertEqual((self.memory.used, list(self.memory._idle)), (0, []))


class StreamConformance(ByteStreamTests, ReaderCase):
    """What every stream does."""

    DATA = content(600_000)

    def make_stream(self) -> BlockStream:
        return self.stream(Opened(self.DATA), first=False, disk=InlineDisk())


class ReadTests(ReaderCase):
    """Bytes, in order."""

    def test_small(self) -> None:
        """What was read when it was opened needs no thread."""
        opened = Opened(content(1000))
        pieces: list[bytes] = []
        self.successResultOf(self.read(self.stream(opened, 10, 900), pieces))
        self.assertEqual((b"".join(pieces), self.given), (content(1000)[10:910], 900))
        self.check_over(opened)

    def test_gives_way(self) -> None:
        """Who takes all there is at once is not given it in one turn of the reactor; it can be closed meanwhile."""
        data = content(3 * MIB)
        clock = Clock()
        with every_breath(clock):
            pieces: list[bytes] = []
            done = self.read(self.stream(Opened(data), disk=InlineDisk()), pieces)
            self.assertEqual(len(pieces), 0)
            clock.advance(0)
            self.successResultOf(done)
            self.assertEqual(b"".join(pieces), data)
            closed = self.stream(Opened(data), disk=InlineDisk())
            done = self.read(closed, pieces)
            closed.close()
            self.failureResultOf(done, StreamClosed)
            clock.advance(0)

    def test_nothing(self) -> None:
        opened = Opened(b"")
        pieces: list[bytes] = []
        self.successResultOf(self.read(self.stream(opened), pieces))
        self.assertEqual(pieces, [])
        self.check_over(opened)

    def test_read_ahead(self) -> None:
        """One job is under way while what was read before is taken; never two. Each reads more for a waiting reader."""
        data = content(12 * MIB + 7)
        opened = Opened(data)
        stream = self.stream(opened)
        self.assertEqual(self.disk.jobs, [])  # not before it is wanted
        pieces: list[bytes] = []
        done = self.read(stream, pieces)
        while not done.called:
            self.assertEqual(len(self.disk.jobs), 1)
            self.disk.do()
        self.successResultOf(done)
        self.assertEqual(b"".join(pieces), data)
        offsets = [read[0] for read in opened.reads]
        self.assertEqual(offsets[:3], [0, MIB, 2 * MIB])
        self.assertEqual({after - before for before, after in pairwise(offsets[2:-1])}, {2 * MIB})
        self.assertLessEqual(max(map(len, pieces)), 256 << 10)
        self.check_over(opened)

    def test_slow(self) -> None:
        """While nobody reads no more is read ahead than a little."""
        data = content(8 * MIB)
        opened = Opened(data)
        stream = self.stream(opened)
        taken = b""
        while len(taken) < len(data):
            read = begun(stream.read())
            self.disk.do_all()
            taken += self.successResultOf(read)
            self.disk.do_all()
            self.assertLessEqual(self.memory.used, 2 * MIB)
            self.assertLessEqual(opened.reads[-1][0] + MIB, len(taken) + 3 * MIB)
        self.assertEqual(taken, data)
        self.successResultOf(stream.close())
        self.check_over(opened)

    def test_many_small_reads(self) -> None:
        """Thousands of jobs that are done at once are no recursion."""
        self.patch(module, "READ_SIZE", 10)
        data = content(50_000)
        opened = Opened(data)
        pieces: list[bytes] = []
        self.successResultOf(self.read(self.stream(opened, first=False, disk=InlineDisk()), pieces))
        self.assertEqual(b"".join(pieces), data)
        self.check_over(opened)


class EndTests(ReaderCase):
    """Whatever ends it, the object is given back once, and after the last read."""

    def check_end(self, end: Callable[[BlockStream, Deferred[None]], Any], error: type[Exception]) -> None:
        for jobs_done in (0, 1, 2):
            self.setUp()
            opened = Opened(content(8 * MIB))
            stream = self.stream(opened)
            pieces: list[bytes] = []
            done = self.read(stream, pieces)
            self.disk.do(jobs_done)
            self.assertEqual(len(self.disk.jobs), 1)
            end(stream, done)
            closed = stream.close()
            # A thread is still reading.
            self.assertNoResult(closed)
            self.assertEqual((opened.closed, self.released), (0, 0))
            count = len(pieces)
            self.disk.do()
            self.failureResultOf(done, error)
            self.successResultOf(closed)
            self.check_over(opened)
            self.successResultOf(stream.close())
            done.cancel()
            self.check_over(opened)
            self.assertEqual((len(pieces), self.disk.jobs, self.disk.abandoned), (count, [], 0))

    def test_close(self) -> None:
        self.check_end(lambda stream, done: stream.close(), StreamClosed)

    def test_cancel(self) -> None:
        self.check_end(lambda stream, done: done.cancel(), CancelledError)

    def test_close_while_a_read_fails(self) -> None:
        """An error that nobody waits for any more is not told."""
        opened = Opened(content(8 * MIB), damaged=MIB)
        stream = self.stream(opened)
        done = self.read(stream, [])
        stream.close()
        self.disk.do()
        self.failureResultOf(done, StreamClosed)
        self.assertEqual(self.told, [])
        self.check_over(opened)

    def test_close_unread(self) -> None:
        opened = Opened(content(3 * MIB))
        stream = self.stream(opened)
        self.assertEqual(self.memory.used, MIB)
        for _ in range(2):
            self.successResultOf(stream.close())
            self.check_over(opened)

    def test_close_between_reads(self) -> None:
        """In the middle of what is held, with a thread at work or without."""
        for jobs in (0, 1):
            self.setUp()
            opened = Opened(content(8 * MIB))
            stream = self.stream(opened)
            self.successResultOf(begun(stream.read()))
            self.disk.do(jobs)
            closed = stream.close()
            self.disk.do_all()
            self.successResultOf(closed)
            self.check_over(opened)


class ErrorTests(ReaderCase):
    """What fails, and when."""

    def test_good_bytes_first(self) -> None:
        """All bytes before the damage are given; then it fails, each time it is asked."""
        data = content(5 * MIB)
        for damaged in (MIB, MIB + 1, 2 * MIB, 3 * MIB - 5, 5 * MIB - 1):
            self.setUp()
            opened = Opened(data, damaged)
            stream = self.stream(opened)
            taken = b""
            while True:
                read = begun(stream.read())
                self.disk.do_all()
                if len(taken) == damaged:
                    break
                taken += self.successResultOf(read)
            self.failureResultOf(read, DamagedObject)
            self.failureResultOf(begun(stream.read()), DamagedObject)
            self.assertEqual((taken == data[:damaged], len(self.told)), (True, 1))
            self.successResultOf(stream.close())
            self.check_over(opened)

    def test_explained(self) -> None:
        """The reader gets the translated error."""
        stream = self.stream(Opened(content(2 * MIB), MIB))
        stream._on_failure = lambda error: Unavailable("explained")
        done = self.read(stream, [])
        self.disk.do()
        self.failureResultOf(done, Unavailable)


class MemoryTests(ReaderCase):
    """L{ReadMemory}."""

    def test_longest_idle(self) -> None:
        """Beyond the total, those that were not read for the longest time let go of what they hold."""
        self.memory = ReadMemory(3 * MIB)
        all_opened = [Opened(content(4 * MIB, number)) for number in range(5)]
        streams = [self.stream(opened) for opened in all_opened]
        self.assertEqual([stream._held for stream in streams], [0, 0, MIB, MIB, MIB])
        self.assertEqual(self.memory.used, 3 * MIB)
        taken: list[list[bytes]] = [[] for _ in streams]
        done = [self.read(stream, pieces) for stream, pieces in zip(streams, taken, strict=True)]
        self.disk.do_all()
        for opened, pieces, each in zip(all_opened, taken, done, strict=True):
            self.successResultOf(each)
            self.assertEqual((b"".join(pieces) == opened.data, opened.closed), (True, 1))
        self.assertEqual((self.memory.used, self.released), (0, 5))

    def test_random(self) -> None:
        """Many streams, read now and then, with room for few: all bytes come, once, in order; the total holds."""
        for seed in range(15):
            self.setUp()
            random = Random(seed)
            total = random.choice([0, MIB, 3 * MIB, 5 * MIB])
            self.memory = ReadMemory(total)
            all_opened = [Opened(content(random.choice([0, 1, MIB, 3 * MIB + 5]), seed)) for _ in range(6)]
            streams = [self.stream(opened) for opened in all_opened]
            taken = [b"" for _ in streams]
            reads: dict[int, Deferred[Piece]] = {}
            left = set(range(6))
            while left:
                if self.disk.jobs and random.random() < 0.5:
                    self.disk.jobs.insert(0, self.disk.jobs.pop(random.randrange(len(self.disk.jobs))))
                    self.disk.do()
                    # All are idle, or wait for the disk and hold nothing.
                    self.assertLessEqual(self.memory.used, total)
                else:
                    number = random.choice(sorted(left))
                    if number not in reads:
                        reads[number] = begun(streams[number].read())
                for number, read in list(reads.items()):
                    if read.called:
                        del reads[number]
                        piece = self.successResultOf(read)
                        taken[number] += piece
                        if not piece:
                            left.discard(number)
            for opened, data in zip(all_opened, taken, strict=True):
                self.assertEqual(data == opened.data, True)
            closed = [stream.close() for stream in streams]
            self.disk.do_all()
            for each in closed:
                self.successResultOf(each)
            self.assertEqual((self.memory.used, self.released, len(self.memory._idle)), (0, 6, 0))

    def test_let_go_in_the_middle_of_a_piece(self) -> None:
        """What was given of a piece is not given again."""
        self.memory = ReadMemory(MIB)
        opened = Opened(content(MIB))
        stream = self.stream(opened)
        first = bytes(self.successResultOf(begun(stream.read())))
        self.assertEqual(len(first), 256 << 10)
        other = self.stream(Opened(content(MIB, 1)))
        self.assertEqual(self.memory.used, MIB)
        rest: list[bytes] = []
        done = self.read(stream, rest)
        self.disk.do_all()
        self.successResultOf(done)
        self.assertEqual(first + b"".join(rest) == opened.data, True)
        self.successResultOf(other.close())

    def test_let_go_while_reading(self) -> None:
        """What a thread brings then does not follow what is held: it is read again, from where it is needed."""
        for damaged in (None, MIB):
            self.setUp()
            self.memory = ReadMemory(MIB)
            opened = Opened(content(2 * MIB), damaged)
            stream = self.stream(opened)
            first = bytes(self.successResultOf(begun(stream.read())))
            self.assertEqual(len(self.disk.jobs), 1)
            other = self.stream(Opened(content(MIB, 1)))
            self.assertEqual(self.memory.used, MIB)  # of the other
            self.disk.do()
            self.assertEqual(self.memory.used, MIB)
            rest: list[bytes] = []
            done = self.read(stream, rest)
            self.disk.do_all()
            self.assertEqual(first + b"".join(rest) == opened.data[:damaged], True, damaged)
            if damaged is None:
                self.successResultOf(done)
            else:
                self.failureResultOf(done, DamagedObject)
            self.assertEqual(len(self.told), 0 if damaged is None else 1)
            self.successResultOf(other.close())

    def test_failure_is_let_go(self) -> None:
        """An error that waits behind bytes that are let go is met again."""
        self.memory = ReadMemory(MIB)
        stream = self.stream(Opened(content(2 * MIB), MIB))
        first = bytes(self.successResultOf(begun(stream.read())))
        self.disk.do()
        other = self.stream(Opened(content(MIB, 1)))
        rest: list[bytes] = []
        done = self.read(stream, rest)
        self.disk.do_all()
        self.assertEqual(len(first + b"".join(rest)), MIB)
        self.failureResultOf(done, DamagedObject)
        self.successResultOf(other.close())

    def test_read_ahead_of_an_idle_stream_is_let_go(self) -> None:
        """What a thread brings for a stream that holds nothing, and that nobody reads, can be let go of, too."""
        self.memory = ReadMemory(MIB)
        stream = self.stream(Opened(content(3 * MIB)))
        while stream._held:
            self.successResultOf(begun(stream.read()))
        self.assertEqual((stream._held, len(self.disk.jobs)), (0, 1))
        self.memory.goes_on(stream)  # as if it had been let go meanwhile
        self.disk.do()
        other = self.stream(Opened(content(MIB, 1)))
        self.assertEqual(self.memory.used, MIB)
        for each in (stream, other):
            closed = each.close()
            self.disk.do_all()
            self.successResultOf(closed)
