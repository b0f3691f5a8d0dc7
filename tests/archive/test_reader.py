"""Where bytes come from, and records by number and time."""

from __future__ import annotations

import gzip
import io
import os
from pathlib import Path
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from storehouse.archive.archive import ArchiveReader, ArchiveWriter
from storehouse.archive.handlers import CompressFile
from storehouse.archive.interfaces import IArchive, IArchiveReader, IByteSource
from storehouse.archive.slices import ArchiveSlices
from storehouse.archive.sources import BytesSource, ExpandedSource, FileObjectSource, FileSource
from storehouse.core.compression import GZIP, MOST_NESTED, ZSTD, compress_block, expand_block, make_compressor
from storehouse.errors import DamagedArchive, InvalidSetting, NoSuchRecord
from tests.archive.rig import KINDS, read, write


@implementer(IByteSource)
class Remote:
    """An object in a store: counts what is read of it."""

    def __init__(self, data: bytes) -> None:
        self.name = "remote"
        self.data = data
        self.size = len(data)
        self.reads: list[tuple[int, int]] = []

    def pread(self, offset: int, size: int) -> bytes:
        self.reads.append((offset, size))
        return self.data[offset : offset + size]

    def close(self) -> None:
        pass


def timed(path: str, count: int, **how: object) -> list[tuple[dict[str, str], str]]:
    """An archive of so many records, one a second from 1000 s on."""
    records = [({"n": str(number)}, f"{number:08d}" * 400) for number in range(count)]
    clock = Clock()
    clock.advance(1000)
    with ArchiveWriter(path, clock=clock, buffer_size=1 << 14, **how) as writer:  # type: ignore[arg-type]
        for record in records:
            writer.write(*record)
            clock.advance(1)
    return records


class SourceTests(SynchronousTestCase):
    """Files, memory, file objects, compressed files."""

    def test_interfaces(self) -> None:
        path = self.mktemp()
        data = write(path, [({}, "x")])
        verifyObject(IArchiveReader, ArchiveReader(data))
        verifyObject(IArchive, ArchiveWriter(self.mktemp()))
        for source in (FileSource(path), BytesSource(data), FileObjectSource(io.BytesIO(data)), Remote(data)):
            verifyObject(IByteSource, source)
            self.assertEqual(source.pread(1, 5), data[1:6])
            self.assertEqual(source.pread(len(data) - 1, 5), data[-1:])
            source.close()

    def test_all(self) -> None:
        for how in KINDS.values():
            path = self.mktemp()
            records = timed(path, 100, **how)
            data = Path(path).read_bytes()
            for source in (path, Path(path), data, bytearray(data), io.BytesIO(data), Remote(data)):
                self.assertEqual(read(source), records)
            for method in (GZIP, ZSTD):
                copy = self.mktemp()
                Path(copy).write_bytes(data)
                packed = CompressFile(method=method).on_close(copy)
                for source in (packed, Path(packed).read_bytes(), Remote(Path(packed).read_bytes())):
                    with ArchiveReader(source) as reader:
                        self.assertEqual(list(reader), records)
                        self.assertEqual(reader.compressed_as, method)
                        self.assertEqual(reader.record(57)[3:], records[57])
                        self.assertEqual(reader.record(3)[3:], records[3])
                        self.assertRaises(NoSuchRecord, reader.record, 100)
                        self.assertTrue(reader.verify().whole)
                        self.assertEqual(reader.complete, how["version"] == 2)

    def test_no_source(self) -> None:
        self.assertRaises(InvalidSetting, ArchiveReader, 17)
        self.assertRaises(FileNotFoundError, ArchiveReader, "no such file")

    def test_members(self) -> None:
        """Several gzip members, or zstd frames, behind each other are one file; padding behind gzip is allowed."""
        data = write(self.mktemp(), [({"n": "1"}, "x" * 1000)] * 100)
        half = len(data) // 2
        packed = gzip.compress(data[:half]) + gzip.compress(data[half:]) + b"\0" * 100
        self.assertEqual(len(read(packed)), 100)
        self.assertEqual(len(read(compress_block(data[:half]) + compress_block(data[half:]))), 100)

    def test_nested(self) -> None:
        """What was compressed several times over is expanded, within a bound; so are slices of it."""
        for name, how in KINDS.items():
            records = [({"n": str(number)}, "payload " * 30) for number in range(50)]
            data = write(self.mktemp(), records, **how)
            for depth in range(1, MOST_NESTED + 2):
                compressor = make_compressor((GZIP, ZSTD)[depth % 2])
                data = compressor.compress(data) + compressor.flush()
                if depth > MOST_NESTED:
                    self.assertRaisesRegex(DamagedArchive, "more than 4 times", ArchiveReader, data)
                else:
                    self.assertEqual(list(ArchiveReader(data)), records, f"{name}, {depth} times")
                if how["version"] == 2:
                    slices = ArchiveSlices("x", len(data))
                    found: list[Any] = []
                    try:
                        while (wanted := slices.wanted) is not None:
                            found += slices.feed(data[wanted.offset : wanted.offset + wanted.length])
                    except DamagedArchive:
                        self.assertGreater(depth, MOST_NESTED)
                    else:
                        self.assertEqual([(each.metadata, each.payload) for each in found], records)

    def test_cut_compressed(self) -> None:
        """What a compressed file that ends early still gives is read; then it is damage, not the end."""
        data = write(self.mktemp(), [({"n": str(n)}, os.urandom(1000)) for n in range(1000)])
        for packed in (gzip.compress(data), compress_block(data)):
            cut = packed[: len(packed) // 2]
            with ArchiveReader(cut) as reader:
                self.assertRaises(DamagedArchive, list, reader)
                self.assertRaises(DamagedArchive, reader.read)
            with ArchiveReader(cut, skip_damaged=True) as reader:
                self.assertGreater(len(list(reader)), 100)
                self.assertEqual(len(reader.damages), 1)
                self.assertFalse(reader.verify().whole)

    def test_back(self) -> None:
        """An expanded source can be read from any place."""
        data = os.urandom(1 << 20)
        source = ExpandedSource(BytesSource(gzip.compress(data)), GZIP)
        for offset in (0, 1 << 19, 5, (1 << 20) - 3, 1 << 20, 2):
            self.assertEqual(source.pread(offset, 100), data[offset : offset + 100])

    def test_blocks_are_bounded(self) -> None:
        self.assertEqual(expand_block(compress_block(b"x" * 1000), 1000), b"x" * 1000)
        self.assertRaises(ValueError, expand_block, compress_block(b"x" * 100_000_000), 1000)
        self.assertRaises(ValueError, expand_block, compress_block(b"x" * 10), 1000)
        self.assertRaises(ValueError, expand_block, b"x" * 10, 1000)


class IndexTests(SynchronousTestCase):
    """Record N, and a time range, without scanning."""

    def test_number(self) -> None:
        for kind in ("version 2", "version 2, zstd"):
            path = self.mktemp()
            records = timed(path, 1000, **KINDS[kind])
            remote = Remote(Path(path).read_bytes())
            with ArchiveReader(remote) as reader:
                self.assertEqual((reader.count, reader.times), (1000, (1000 * 10**9, 1999 * 10**9)))
                opening = len(remote.reads)
                self.assertLess(opening, 5)
                for number in (0, 999, 500, 123):
                    remote.reads.clear()
                    record = reader.record(number)
                    self.assertEqual((record.number, record[3:]), (number, records[number]))
                    self.assertEqual(record.time, (1000 + number) * 10**9)
                    self.assertEqual(len(remote.reads), 1)
                    self.assertLess(remote.reads[0][1], 1 << 17)
                self.assertRaises(NoSuchRecord, reader.record, 1000)

    def test_between(self) -> None:
        for kind in ("version 2", "version 2, zstd"):
            path = self.mktemp()
            timed(path, 1000, **KINDS[kind])
            remote = Remote(Path(path).read_bytes())
            with ArchiveReader(remote) as reader:
                for low, high in ((1100, 1110), (None, 1003), (1990, None), (0, 5), (5000, None), (1500, 1500)):
                    remote.reads.clear()
                    found = reader.between(None if low is None else low * 10**9, None if high is None else high * 10**9)
                    numbers = range(max(1000, low or 0) - 1000, min(2000, high or 2000) - 1000)
                    self.assertEqual([record.number for record in found], list(numbers))
                    self.assertLessEqual(sum(size for _, size in remote.reads), 1 << 18)

    def test_unsealed(self) -> None:
        """Without a footer it takes a pass through the archive."""
        path = self.mktemp()
        writer = ArchiveWriter(path)
        for number in range(10):
            writer.write({}, str(number), time=number)
        writer.hand_over()
        with ArchiveReader(path) as reader:
            self.assertEqual(reader.record(7).payload, "7")
            self.assertEqual([record.payload for record in reader.between(3, 5)], ["3", "4"])
            self.assertIsNone(reader.count)
        writer.close()

    def test_any_times(self) -> None:
        """Times need not be in order; the clock's never go back."""
        path = self.mktemp()
        clock = Clock()
        with ArchiveWriter(path, clock=clock, buffer_size=0) as writer:
            for number, time in enumerate((50, 10, 90, 20, 60)):
                writer.write({}, str(number) * 70_000, time=time)
            writer.write({}, "now")
        with ArchiveReader(path) as reader:
            self.assertEqual([record.number for record in reader.between(15, 55)], [0, 3])
            self.assertEqual(reader.times, (10, 90))
            self.assertEqual(reader.record(5).time, 90)
