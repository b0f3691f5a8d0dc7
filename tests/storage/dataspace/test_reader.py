"""Tests of L{storehouse.storage.dataspace.reader}, with a disk that is driven by hand."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from storehouse.core.disk import IDisk, InlineDisk
from storehouse.errors import DamagedObject, Unavailable
from storehouse.storage.dataspace import reader as module
from storehouse.storage.dataspace.formats import ObjectInfo
from storehouse.storage.dataspace.interfaces import Part
from storehouse.storage.dataspace.reader import READ_SIZE, ObjectReader, ReadMemory
from tests.conformance.dataspace import Sink, content
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


def _closed_within(reader: ObjectReader, sink: Sink) -> Deferred[int]:
    done = reader.deliver(sink)
    reader.close()
    return done


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

    def reader(
        self,
        opened: Opened,
        offset: int = 0,
        length: int | None = None,
        first: bool = True,
        disk: IDisk | None = None,
    ) -> ObjectReader:
        count = len(opened.data) - offset if length is None else length
        pieces = opened.read(offset, count, READ_SIZE) if first and count else []
        return ObjectReader(
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

    def _explain(self, failure: Failure) -> Failure:
        self.told.append(failure.value)
        return failure

    def _closed(self) -> None:
        self.released += 1

    def _count(self, size: int) -> None:
        self.given += size

    def check_over(self, opened: Opened, count: int = 1) -> None:
        """It was given back once, and holds nothing."""
        self.assertEqual((opened.closed, self.released), (1, count))
        self.assertEqual((self.memory.used, list(self.memory._paused)), (0, []))


class DeliveryTests(ReaderCase):
    """Bytes to a consumer."""

    def test_fields(self) -> None:
        opened = Opened(content(100))
        reader = self.reader(opened, 10, 20)
        self.assertEqual(
            (reader.id, reader.etag, reader.size, reader.offset, reader.length), ("ab", "etag", 100, 10, 20)
        )
        reader.metadata["key"].append("changed")
        self.assertEqual(opened.info.metadata, {"key": ["value"]})
        reader.close()
        self.check_over(opened)

    def test_small(self) -> None:
        """What was read when it was opened needs no thread."""
        opened = Opened(content(1000))
        sink = Sink()
        self.assertEqual(self.successResultOf(self.reader(opened, 10, 900).deliver(sink)), 900)
        self.assertEqual((sink.data, sink.wrong, sink.producer), (content(1000)[10:910], [], None))
        self.assertEqual(self.given, 900)
        self.check_over(opened)

    def test_gives_way(self) -> None:
        """A consumer that takes all there is at once is not given it in one turn of the reactor; pauses and the end stay."""
        data = content(3 * MIB)
        clock = Clock()
        with every_breath(clock):
            sink = Sink()
            reader = self.reader(Opened(data), disk=InlineDisk())
            done = reader.deliver(sink)
            self.assertEqual(len(sink.pieces), 1)
            reader.pauseProducing()
            clock.advance(0)
            self.assertEqual(len(sink.pieces), 1)
            reader.resumeProducing()
            clock.advance(0)
            self.assertEqual(self.successResultOf(done), len(data))
            self.assertEqual((sink.data, sink.wrong), (data, []))
            closed = self.reader(Opened(data), disk=InlineDisk())
            self.failureResultOf(_closed_within(closed, Sink()), Unavailable)
            clock.advance(0)

    def test_nothing(self) -> None:
        opened = Opened(b"")
        sink = Sink()
        self.assertEqual(self.successResultOf(self.reader(opened).deliver(sink)), 0)
        self.assertEqual(sink.wrong, [])
        self.check_over(opened)

    def test_read_ahead(self) -> None:
        """
        One job is under way while what was read before is written; never two. Each reads more, since nobody pauses.
        """
        data = content(12 * MIB + 7)
        opened = Opened(data)
        reader = self.reader(opened)
        self.assertEqual(self.disk.jobs, [])  # not before it is wanted
        sink = Sink()
        delivered = reader.deliver(sink)
        done = MIB
        while True:
            self.assertEqual(len(sink.data), done)
            if done == len(data):
                break
            self.assertEqual(len(self.disk.jobs), 1)
            self.assertNoResult(delivered)
            self.disk.do()
            done = len(sink.data)
        self.assertEqual((self.successResultOf(delivered), sink.wrong), (len(data), []))
        self.assertEqual(sink.data, data)
        self.assertEqual([read[0] for read in opened.reads], [n * MIB for n in (0, 1, 2, 4, 6, 8, 10, 12)])
        self.assertLessEqual(max(map(len, sink.pieces)), 256 << 10)
        self.check_over(opened)

    def test_paused(self) -> None:
        """Nothing is written while it is paused, and no more is read than a little."""
        data = content(8 * MIB)
        opened = Opened(data)
        sink = Sink(Sink.pause)
        delivered = self.reader(opened).deliver(sink)
        while sink.producer is not None:
            count = len(sink.pieces)
            self.disk.do_all()
            self.assertEqual(len(sink.pieces), count)
            self.assertLessEqual(self.memory.used, 2 * MIB)
            self.assertLessEqual(opened.reads[-1][0] + MIB, len(sink.data) + 3 * MIB)
            sink.resume()
        self.assertEqual((self.successResultOf(delivered), sink.data, sink.wrong), (len(data), data, []))
        self.check_over(opened)

    def test_resumed_within_a_write(self) -> None:
        """A consumer that pauses and resumes while it is written to is no recursion."""

        def blink(sink: Sink) -> None:
            sink.pause()
            sink.resume()

        data = content(20 * MIB)
        sink = Sink(blink)
        opened = Opened(data)
        self.assertEqual(self.successResultOf(self.reader(opened, disk=InlineDisk()).deliver(sink)), len(data))
        self.assertEqual((sink.data == data, sink.wrong), (True, []))
        self.check_over(opened)

    def test_many_small_reads(self) -> None:
        """Thousands of jobs that are done at once are no recursion either."""
        self.patch(module, "READ_SIZE", 10)
        data = content(50_000)
        sink = Sink()
        opened = Opened(data)
        delivered = self.reader(opened, first=False, disk=InlineDisk()).deliver(sink)
        self.assertEqual(self.successResultOf(delivered), len(data))
        self.assertEqual((sink.data, sink.wrong), (data, []))
        self.check_over(opened)

    def test_deliver_twice(self) -> None:
        opened = Opened(content(3 * MIB))
        reader = self.reader(opened)
        delivered = reader.deliver(Sink())
        self.failureResultOf(reader.deliver(Sink()), Unavailable)
        self.disk.do_all()
        self.successResultOf(delivered)
        self.failureResultOf(reader.deliver(Sink()), Unavailable)
        self.check_over(opened)


class EndTests(ReaderCase):
    """Whatever ends it, the object is given back once, and after the last read."""

    def check_end(self, end: Callable[[ObjectReader, Sink, Deferred[int]], Any], error: type[Exception]) -> None:
        for jobs_done in (0, 1, 2):
            for paused in (False, True):
                self.setUp()
                opened = Opened(content(8 * MIB))
                reader = self.reader(opened)
                sink = Sink()
                delivered = reader.deliver(sink)
                self.disk.do(jobs_done)
                if paused:
                    sink.pause()
                self.assertEqual(len(self.disk.jobs), 1)
                end(reader, sink, delivered)
                self.failureResultOf(delivered, error)
                # A thread is still reading.
                self.assertEqual((opened.closed, self.released, self.memory.used), (0, 0, 0))
                self.assertIsNone(sink.producer)
                count = len(sink.pieces)
                self.disk.do()
                self.check_over(opened)
                reader.close()
                sink.poke()
                delivered.cancel()
                self.check_over(opened)
                self.assertEqual((len(sink.pieces), sink.wrong, self.disk.jobs), (count, [], []))
                self.assertEqual(self.disk.abandoned, 0)

    def test_close(self) -> None:
        self.check_end(lambda reader, sink, delivered: reader.close(), Unavailable)

    def test_stop(self) -> None:
        self.check_end(lambda reader, sink, delivered: sink.producer.stopProducing(), Unavailable)

    def test_cancel(self) -> None:
        self.check_end(lambda reader, sink, delivered: delivered.cancel(), CancelledError)

    def test_close_while_a_read_fails(self) -> None:
        """An error that nobody waits for any more is not told."""
        opened = Opened(content(8 * MIB), damaged=MIB)
        reader = self.reader(opened)
        delivered = reader.deliver(Sink())
        reader.close()
        self.disk.do()
        self.failureResultOf(delivered, Unavailable)
        self.check_over(opened)

    def test_close_undelivered(self) -> None:
        opened = Opened(content(3 * MIB))
        reader = self.reader(opened)
        self.assertEqual(self.memory.used, MIB)
        for _ in range(2):
            reader.close()
            self.check_over(opened)
        self.failureResultOf(reader.deliver(Sink()), Unavailable)

    def test_end_within_a_write(self) -> None:
        """A consumer that has had enough, in the middle of a piece."""
        readers: list[ObjectReader] = []
        endings: list[Callable[[Sink], None]] = [
            lambda sink: sink.producer.stopProducing(),
            lambda sink: readers[-1].close(),
            lambda sink: delivered[-1].cancel(),
        ]
        for end in endings:
            self.setUp()
            delivered: list[Any] = []

            def enough(sink: Sink, end: Callable[[Sink], None] = end) -> None:
                if len(sink.data) > 1_500_000:
                    end(sink)

            opened = Opened(content(8 * MIB))
            readers.append(self.reader(opened))
            sink = Sink(enough)
            delivered.append(readers[-1].deliver(sink))
            self.disk.do_all()
            self.failureResultOf(delivered[-1])
            self.assertLess(len(sink.data), 2_000_000)
            self.assertEqual(sink.wrong, [])
            self.check_over(opened)

    def test_end_while_registering(self) -> None:
        """A consumer whose other side is gone stops its producer at once."""

        class Gone(Sink):
            def registerProducer(self, producer: Any, streaming: bool) -> None:
                super().registerProducer(producer, streaming)
                producer.stopProducing()

        opened = Opened(content(8 * MIB))
        sink = Gone()
        self.failureResultOf(self.reader(opened).deliver(sink), Unavailable)
        self.assertEqual((sink.pieces, sink.wrong, self.disk.jobs), ([], [], []))
        self.check_over(opened)


class ErrorTests(ReaderCase):
    """What fails, and when."""

    def test_good_bytes_first(self) -> None:
        """All bytes before the damage are written, however the consumer pauses; then it fails."""
        data = content(5 * MIB)
        for damaged in (MIB, MIB + 1, 2 * MIB, 3 * MIB - 5, 5 * MIB - 1):
            for on_write in (lambda sink: None, Sink.pause):
                self.setUp()
                opened = Opened(data, damaged)
                sink = Sink(on_write)
                delivered = self.reader(opened).deliver(sink)
                while sink.producer is not None:
                    self.disk.do_all()
                    sink.resume()
                self.assertIsInstance(self.failureResultOf(delivered).value, DamagedObject)
                self.assertEqual((len(sink.data), sink.data == data[:damaged]), (damaged, True))
                self.assertEqual((len(self.told), sink.wrong), (1, []))
                self.check_over(opened)

    def test_explained(self) -> None:
        """The consumer's side is told what is made of an error."""
        opened = Opened(content(2 * MIB), MIB)
        reader = self.reader(opened)
        reader._on_failure = lambda failure: Failure(Unavailable("explained"))
        delivered = reader.deliver(Sink())
        self.disk.do()
        self.failureResultOf(delivered, Unavailable)

    def test_write_raises(self) -> None:
        """Its error is what the delivery fails with."""

        def fail(sink: Sink) -> None:
            if len(sink.pieces) == count:
                raise KeyError("full")

        for count in (1, 4, 5, 12):
            self.setUp()
            opened = Opened(content(8 * MIB))
            sink = Sink(fail)
            delivered = self.reader(opened).deliver(sink)
            self.disk.do_all()
            self.failureResultOf(delivered, KeyError)
            self.assertEqual((len(sink.pieces), sink.wrong, sink.producer), (count, [], None))
            self.check_over(opened)

    def test_register_raises(self) -> None:
        class Taken(Sink):
            def registerProducer(self, producer: Any, streaming: bool) -> None:
                raise RuntimeError("there is a producer")

        opened = Opened(content(8 * MIB))
        sink = Taken()
        self.failureResultOf(self.reader(opened).deliver(sink), RuntimeError)
        self.assertEqual((sink.pieces, sink.wrong), ([], []))
        self.check_over(opened)

    def test_unregister_raises(self) -> None:
        """It is told, unless there was an error before."""

        class Odd(Sink):
            def unregisterProducer(self) -> None:
                raise RuntimeError("odd")

        for opened, error in ((Opened(content(10)), RuntimeError), (Opened(content(2 * MIB), MIB), DamagedObject)):
            self.setUp()
            delivered = self.reader(opened).deliver(Odd())
            self.disk.do_all()
            self.failureResultOf(delivered, error)
            self.check_over(opened)


class MemoryTests(ReaderCase):
    """L{ReadMemory}."""

    def test_longest_paused(self) -> None:
        """Beyond the total, those who paused first let go of what they hold; those who go on do not."""
        self.memory = ReadMemory(3 * MIB)
        all_opened = [Opened(content(4 * MIB, number)) for number in range(5)]
        readers = [self.reader(opened) for opened in all_opened]
        self.assertEqual([reader._held for reader in readers], [0, 0, MIB, MIB, MIB])
        sinks = [Sink(paused=True) for _ in readers]
        delivered = [reader.deliver(sink) for reader, sink in zip(readers, sinks, strict=True)]
        self.assertEqual(self.memory.used, 3 * MIB)
        for sink in sinks:
            sink.resume()
        self.disk.do_all()
        for opened, sink, done in zip(all_opened, sinks, delivered, strict=True):
            self.assertEqual(self.successResultOf(done), 4 * MIB)
            self.assertEqual((sink.data == opened.data, sink.wrong, opened.closed), (True, [], 1))
        self.assertEqual((self.memory.used, self.released), (0, 5))

    def test_random(self) -> None:
        """Many readers that pause and go on, with room for few: all bytes come, once, in order; the total holds."""
        for seed in range(15):
            self.setUp()
            random = Random(seed)
            total = random.choice([0, MIB, 3 * MIB, 5 * MIB])
            self.memory = ReadMemory(total)
            all_opened = [Opened(content(random.choice([0, 1, MIB, 3 * MIB + 5]), seed)) for _ in range(6)]
            readers = [self.reader(opened) for opened in all_opened]
            pausing = [
                Sink(lambda sink, random=random: sink.pause() if random.random() < 0.5 else None, paused=True)  # type: ignore[misc]
                for _ in readers
            ]
            delivered = [reader.deliver(sink) for reader, sink in zip(readers, pausing, strict=True)]
            while not all(done.called for done in delivered):
                if self.disk.jobs and random.random() < 0.5:
                    self.disk.jobs.insert(0, self.disk.jobs.pop(random.randrange(len(self.disk.jobs))))
                    self.disk.do()
                    # All are paused, or wait for the disk and hold nothing.
                    self.assertLessEqual(self.memory.used, total)
                else:
                    random.choice(pausing).resume()
            for opened, sink, done in zip(all_opened, pausing, delivered, strict=True):
                self.assertEqual(self.successResultOf(done), len(opened.data))
                self.assertEqual((sink.data == opened.data, sink.wrong), (True, []))
            self.disk.do_all()
            self.assertEqual((self.memory.used, self.released, len(self.memory._paused)), (0, 6, 0))

    def test_let_go_in_the_middle_of_a_piece(self) -> None:
        """What was written of a piece is not written again."""
        self.memory = ReadMemory(MIB)
        opened = Opened(content(MIB))
        sink = Sink(Sink.pause)
        delivered = self.reader(opened).deliver(sink)
        self.assertEqual(len(sink.data), 256 << 10)
        other = self.reader(Opened(content(MIB, 1)))
        self.assertEqual(self.memory.used, MIB)
        while sink.producer is not None:
            sink.resume()
            self.disk.do_all()
        self.assertEqual((self.successResultOf(delivered), sink.data == opened.data), (MIB, True))
        other.close()

    def test_let_go_while_reading(self) -> None:
        """What a thread brings then does not follow what is held: it is read again, from where it is needed."""
        for damaged in (None, MIB):
            self.setUp()
            self.memory = ReadMemory(MIB)
            opened = Opened(content(2 * MIB), damaged)
            sink = Sink(lambda sink: sink.pause() if len(sink.pieces) == 1 else None)
            delivered = self.reader(opened).deliver(sink)
            self.assertEqual(len(self.disk.jobs), 1)
            other = self.reader(Opened(content(MIB, 1)))
            self.assertEqual(self.memory.used, MIB)  # of the other
            self.disk.do()
            self.assertEqual(self.memory.used, MIB)
            sink.resume()
            self.disk.do_all()
            self.assertEqual(sink.data == opened.data[:damaged], True, damaged)
            if damaged is None:
                self.assertEqual(self.successResultOf(delivered), 2 * MIB)
            else:
                self.failureResultOf(delivered, DamagedObject)
            self.assertEqual(len(self.told), 0 if damaged is None else 1)
            other.close()

    def test_failure_is_let_go(self) -> None:
        """An error that waits behind bytes that are let go is met again."""
        self.memory = ReadMemory(MIB)
        opened = Opened(content(2 * MIB), MIB)
        sink = Sink(lambda sink: sink.pause() if len(sink.pieces) == 1 else None)
        delivered = self.reader(opened).deliver(sink)
        self.disk.do()
        other = self.reader(Opened(content(MIB, 1)))
        sink.resume()
        self.disk.do_all()
        self.assertEqual(len(sink.data), MIB)
        self.failureResultOf(delivered, DamagedObject)
        other.close()
