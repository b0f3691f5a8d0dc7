"""Tests of L{storehouse.archive.slices}."""

from __future__ import annotations

import gzip
import os
import tracemalloc
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from storehouse.archive.archive import ArchiveReader, ArchiveWriter
from storehouse.archive.interfaces import Record
from storehouse.archive.slices import PIECE, ArchiveSlices
from storehouse.core.compression import ZSTD, make_compressor
from storehouse.errors import DamagedArchive, UnknownArchiveFormat
from tests.archive.rig import SALT, UNHURRIED, metadata, payloads


def through(data: bytes, **how: Any) -> list[Record]:
    """All that slices give of an archive."""
    slices = ArchiveSlices("x", len(data), **how)
    found: list[Record] = []
    while (wanted := slices.wanted) is not None:
        assert wanted.offset + wanted.length <= len(data)
        found += slices.feed(data[wanted.offset : wanted.offset + wanted.length])
    return found


class SlicesTests(SynchronousTestCase):
    """What a reader gives, slices give."""

    def make(self, records: list[Any], batch: int = 1, complete: bool = True, **how: Any) -> bytes:
        path = self.mktemp()
        clock = Clock()
        writer = ArchiveWriter(path, clock=clock, salt=SALT, buffer_size=0, **how)
        for first in range(0, len(records), batch):
            clock.advance(1)
            writer.write_many(records[first : first + batch])
        writer.close() if complete else writer.abandon()
        with open(path, "rb") as file:
            data = file.read()
        os.unlink(path)
        return data

    def variants(self, data: bytes) -> list[bytes]:
        """As it is, and compressed as a whole."""
        zstd = make_compressor(ZSTD)
        return [data, gzip.compress(data), zstd.compress(data) + zstd.flush()]

    @UNHURRIED
    @given(
        st.lists(st.tuples(metadata, payloads)),
        st.integers(1, 5),
        st.sampled_from([None, "zstd"]),
        st.integers(0, 20),
        st.integers(0, 20),
    )
    def test_any(self, records: list[Any], batch: int, compression: str | None, low: int, high: int) -> None:
        data = self.make(records, batch, compression=compression)
        with ArchiveReader(data) as reader:
            whole = list(reader.records())
            part = list(reader.between(low * 10**9, high * 10**9))
        for variant in self.variants(data):
            self.assertEqual(through(variant, salt=SALT), whole)
            self.assertEqual(through(variant, start=low * 10**9, end=high * 10**9), part)
            self.assertEqual(through(variant, most=low), whole[:low])
        growing = self.make(records, batch, complete=False, compression=compression)
        self.assertEqual([record[2:] for record in through(growing, growing=True)], [record[2:] for record in whole])

    def test_large(self) -> None:
        """Many groups, records longer than a piece, an index longer than the first look at the end."""
        records: list[Any] = [({"n": str(number)}, "x" * 20_000) for number in range(500)]
        records[77] = ({}, os.urandom(5 * PIECE))
        for compression in (None, "zstd"):
            data = self.make(records, compression=compression)
            for variant in self.variants(data):
                self.assertEqual([(record.metadata, record.payload) for record in through(variant)], records)
                found = through(variant, start=400 * 10**9, end=403 * 10**9)
                self.assertEqual([record.number for record in found], [399, 400, 401])
            growing = self.make(records, complete=False, compression=compression)
            self.assertEqual(len(through(growing, growing=True)), 500)
        data = self.make([({}, "x")] * 3000, compression="zstd")
        self.assertEqual(len(through(data)), 3000)

    def test_only_what_is_wanted(self) -> None:
        data = self.make([({}, "x" * 1000)] * 3000)
        slices = ArchiveSlices("x", len(data), start=10**9 * 1500, end=10**9 * 1501)
        read = 0
        while (wanted := slices.wanted) is not None:
            read += wanted.length
            self.assertLess(wanted.length, 3 * PIECE)
            slices.feed(data[wanted.offset : wanted.offset + wanted.length])
        self.assertLess(read, 300_000)

    def test_damage(self) -> None:
        """Every byte counts, in each form."""
        data = self.make([({"a": "b"}, "some text")] * 4)
        for variant, how in [
            (data, {}),
            (self.make([({"a": "b"}, "some text")] * 4, complete=False), {"growing": True}),
        ]:
            for at in range(len(variant)):
                broken = bytearray(variant)
                broken[at] ^= 1
                self.assertRaises((DamagedArchive, UnknownArchiveFormat), through, bytes(broken), **how)
            for size in range(len(variant)):
                if how and size in (36, *self.ends(variant)):
                    continue
                self.assertRaises((DamagedArchive, UnknownArchiveFormat), through, variant[:size], **how)
        packed = gzip.compress(data)
        for size in range(len(packed)):
            self.assertRaises((DamagedArchive, UnknownArchiveFormat), through, packed[:size])
        self.assertRaises(DamagedArchive, through, gzip.compress(data[:-1]))
        self.assertRaises(DamagedArchive, through, gzip.compress(data + b"x"))

    def ends(self, data: bytes) -> list[int]:
        """Where its records end."""
        with ArchiveReader(data) as reader:
            return [record.offset for record in reader.records()]

    def test_nothing_is_kept(self) -> None:
        """Readers that wait between two slices have no block of the archive in memory."""
        records: list[Any] = [({"n": str(number)}, os.urandom(600_000)) for number in range(4)]
        for compression in (None, "zstd"):
            data = self.make(records, compression=compression)
            growing = self.make(records, complete=False, compression=compression)
            for variant, how in ((data, {}), (growing, {"growing": True})):
                readers = [ArchiveSlices("x", len(variant), **how) for _ in range(20)]
                tracemalloc.start()
                try:
                    for slices in readers:
                        found: list[Record] = []
                        while not found and (wanted := slices.wanted) is not None:
                            found = slices.feed(variant[wanted.offset : wanted.offset + wanted.length])
                    del found
                    size, _ = tracemalloc.get_traced_memory()
                finally:
                    tracemalloc.stop()
                # Of the growing one the beginning of the next record, which came with the end of the first.
                self.assertLess(size / len(readers), 150_000 if how else 10_000)

    def test_another(self) -> None:
        data = self.make([({}, "x")])
        self.assertRaises(UnknownArchiveFormat, through, data, salt=SALT + 1)
        self.assertRaises(UnknownArchiveFormat, through, self.make([({}, "x")], version=1))
        self.assertRaises(UnknownArchiveFormat, through, b"")
        slices = ArchiveSlices("x", len(data))
        self.assertRaises(DamagedArchive, slices.feed, b"short")
