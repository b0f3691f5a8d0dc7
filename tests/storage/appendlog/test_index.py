"""Tests of L{storehouse.storage.appendlog.index} against a search through a plain list."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from storehouse.core.digests import crc32c
from storehouse.storage.appendlog.formats import ENTRY_SIZE, HEADER_SIZE, Entry, encode_entry
from storehouse.storage.appendlog.index import (
    Read,
    Rebuilt,
    careful_find,
    first_at_or_after,
    quick_find,
    rebuild_entry,
)
from tests.storage.appendlog.rig import offsets_of, raw

bounded = settings(deadline=None, max_examples=150)

lengths = st.one_of(
    st.lists(st.integers(0, 20), max_size=200),
    st.lists(st.just(0), max_size=150),
    st.lists(st.sampled_from([0, 0, 0, 1, 400, 5000]), min_size=30, max_size=200),
)


def reader(data: bytes) -> Read:
    return lambda size, position: data[position : position + size]


class Sample:
    """A bucket file and its index, and what searching them must find."""

    def __init__(self, sizes: list[int]) -> None:
        payloads = [bytes([1 + number % 255]) * size for number, size in enumerate(sizes)]
        self.offsets = offsets_of(payloads)
        self.entries = [
            Entry(offset, 1000 + number, len(payload), crc32c(payload), 77)
            for number, (offset, payload) in enumerate(zip(self.offsets, payloads, strict=True))
        ]
        self.raw = raw(*payloads)
        self.end = len(self.raw)
        self.count = len(sizes)
        self.index = bytearray(HEADER_SIZE) + b"".join(
            encode_entry(e.offset, e.time, e.length, e.checksum, e.id_hash) for e in self.entries
        )

    def expected(self, offset: int) -> Entry | None:
        """A record offset wins over a payload offset; a payload offset at the end of the file is none."""
        for wanted in (offset, offset - 4):
            for entry in self.entries:
                if entry.offset == wanted and offset < self.end:
                    return entry
        return None

    def interesting(self) -> list[int]:
        return sorted(
            {offset + d for offset in [*self.offsets, self.end] for d in (-1, 0, 1, 3, 4, 5)}
            | {-1, 0, self.end + 100, 2**63}
        )

    def damage(self, number: int, byte: int) -> None:
        self.index[HEADER_SIZE + number * ENTRY_SIZE + byte] ^= 0x10

    def quick(self, offset: int) -> Entry | None:
        return quick_find(reader(bytes(self.index)), self.count, self.end, offset)

    def careful(self, offset: int) -> tuple[Entry, bool] | None:
        return careful_find(reader(bytes(self.index)), reader(self.raw), self.count, self.end, offset)


class WholeIndexTests(SynchronousTestCase):
    """Nothing is damaged."""

    @bounded
    @given(lengths)
    def test_quick(self, sizes: list[int]) -> None:
        """The quick way finds every record by either offset, and nothing else."""
        sample = Sample(sizes)
        for offset in sample.interesting():
            self.assertEqual(sample.quick(offset), sample.expected(offset), offset)

    @bounded
    @given(lengths)
    def test_careful(self, sizes: list[int]) -> None:
        """The careful way gives the same."""
        sample = Sample(sizes)
        for offset in sample.interesting():
            expected = sample.expected(offset)
            self.assertEqual(sample.careful(offset), expected and (expected, True), offset)

    def test_few_reads(self) -> None:
        """Among a hundred thousand records of one size, the quick way reads the index once."""
        sample = Sample([100] * 100_000)
        reads: list[int] = []

        def read(size: int, position: int) -> bytes:
            reads.append(size)
            return bytes(sample.index[position : position + size])

        for offset in sample.offsets[::9973]:
            self.assertEqual(quick_find(read, sample.count, sample.end, offset), sample.expected(offset))
        self.assertEqual(len(reads), len(sample.offsets[::9973]))
        self.assertEqual(max(reads), 32 * ENTRY_SIZE)

    def test_uncommitted(self) -> None:
        """Entries behind the count are not looked at."""
        sample = Sample([5] * 10)
        sample.count, sample.end = 5, sample.offsets[5]
        self.assertIsNone(sample.quick(sample.offsets[5]))
        self.assertIsNone(sample.careful(sample.offsets[5]))

    @bounded
    @given(lengths, st.integers(-1, 2000))
    def test_first(self, sizes: list[int], offset: int) -> None:
        """A scan begins at or before the record asked for, at a record."""
        sample = Sample(sizes)
        position, begin = first_at_or_after(reader(bytes(sample.index)), sample.count, offset)
        self.assertEqual(
            (position, begin), max([(n, o) for n, o in enumerate(sample.offsets) if o <= offset], default=(0, 0))
        )


class DamagedIndexTests(SynchronousTestCase):
    """Bits have turned in entries."""

    @bounded
    @given(lengths.filter(bool), st.data())
    def test_never_wrong(self, sizes: list[int], data: st.DataObject) -> None:
        """Each way gives the right entry or none; the careful way finds all whose entries are whole."""
        sample = Sample(sizes)
        damaged = data.draw(st.sets(st.integers(0, sample.count - 1), max_size=5))
        for number in damaged:
            sample.damage(number, data.draw(st.integers(0, 31)))
        whole = [entry for number, entry in enumerate(sample.entries) if number not in damaged]
        for offset in sample.interesting():
            expected = sample.expected(offset)
            self.assertIn(sample.quick(offset), (None, expected), offset)
            found = sample.careful(offset)
            if expected in whole:
                self.assertEqual(found, (expected, True), offset)
            elif expected is None:
                self.assertIsNone(found, offset)
            elif found is not None and found[1]:
                self.assertEqual(
                    (found[0].offset, found[0].length, found[0].checksum),
                    (expected.offset, expected.length, expected.checksum),
                )

    def test_every_byte(self) -> None:
        """A record whose entry has one damaged byte is still proven whole, whichever it is."""
        for byte in range(32):
            sample = Sample([9, 9, 9])
            sample.damage(1, byte)
            found = sample.careful(13)
            assert found is not None
            self.assertTrue(found[1], byte)
            self.assertEqual((found[0].offset, found[0].length, found[0].checksum), (13, 9, sample.entries[1].checksum))

    def test_every_bit(self) -> None:
        """An entry with one turned bit is corrected, its time and identifier included, and handed on to be written."""
        sample = Sample([9, 9, 9])
        for bit in range(256):
            position, at = 1, HEADER_SIZE + ENTRY_SIZE + bit // 8
            sample.index[at] ^= 1 << bit % 8
            handed: list[tuple[int, Entry]] = []
            index, whole = reader(bytes(sample.index)), sample.entries[position]
            found = careful_find(index, reader(sample.raw), 3, sample.end, 13, lambda *each, to=handed: to.append(each))
            self.assertEqual((found, handed), ((whole, True), [(1, whole)]), bit)
            sample.index[at] ^= 1 << bit % 8

    def test_unproven_fields(self) -> None:
        """Of an entry that is proven by the payload's checksum only, time and identifier are not believed."""
        for byte in range(8, 15):
            sample = Sample([9, 9, 9])
            sample.damage(1, byte)
            sample.damage(1, byte + 1)
            sample.damage(1, 24)
            self.assertEqual(sample.careful(13), (Entry(13, 0, 9, sample.entries[1].checksum, 0), True))

    def test_nothing_but_damage(self) -> None:
        """Where an entry and the length in the bucket file are lost, all up to the next whole entry is damaged."""
        sample = Sample([9, 9, 9, 9])
        for byte in range(32):
            sample.damage(1, byte)
            sample.damage(3, byte)
        for length in (b"\xff\xff\xff\xff", b"\x01\x00\x00\x00", b"\x0d\x00\x00\x00"):
            sample.raw = sample.raw[:13] + length + sample.raw[17:39] + length + sample.raw[43:]
            for offset in (13, 16, 17, 22, 25):
                found = sample.careful(offset)
                assert found is not None
                self.assertEqual((found[0].offset, found[1]), (13, False), (length, offset))
            for offset in (39, 43, 51):
                found = sample.careful(offset)
                assert found is not None
                self.assertEqual((found[0].offset, found[1]), (39, False), (length, offset))
            self.assertEqual([sample.careful(offset) for offset in (0, 4)], [(sample.entries[0], True)] * 2)
            self.assertEqual([sample.careful(offset) for offset in (26, 30)], [(sample.entries[2], True)] * 2)

    def test_long_stretch(self) -> None:
        """A hundred damaged entries in a row hide nothing."""
        sample = Sample([3] * 300)
        for number in range(100, 200):
            sample.damage(number, 0)
        for offset in sample.offsets:
            found = sample.careful(offset)
            assert found is not None
            self.assertEqual((found[0].offset, found[1]), (offset, True))


class RebuildTests(SynchronousTestCase):
    """An entry made anew."""

    def rebuild(self, damaged: bytes, data: bytes) -> Rebuilt | None:
        return rebuild_entry(damaged, 0, reader(data), len(data))

    def test_zeros_prove_nothing(self) -> None:
        """Lost pages of both files are not an empty record."""
        self.assertEqual(self.rebuild(bytes(32), bytes(100)), Rebuilt(Entry(0, 0, 0, 0, 0), False))

    def test_empty_record(self) -> None:
        """An empty record is proven by its entry's own checksum."""
        entry = bytearray(encode_entry(0, 5, 0, 0, 7))
        entry[16:18] = b"ab"
        self.assertEqual(self.rebuild(bytes(entry), bytes(4)), Rebuilt(Entry(0, 5, 0, 0, 7), True, True))

    def test_no_entry(self) -> None:
        self.assertEqual(self.rebuild(b"", raw(b"abc")), Rebuilt(Entry(0, 0, 3, crc32c(b"abc"), 0), False))

    def test_no_record(self) -> None:
        """None is there if the file ends inside it."""
        for size in range(7):
            self.assertIsNone(self.rebuild(bytes(32), raw(b"abc")[:size]))

    def test_both_damaged(self) -> None:
        """A damaged payload and a damaged entry prove nothing."""
        entry = bytearray(encode_entry(0, 5, 3, crc32c(b"abc"), 7))
        entry[8:10] = b"ab"
        self.assertEqual(self.rebuild(bytes(entry), raw(b"abd")), Rebuilt(Entry(0, 0, 3, crc32c(b"abd"), 0), False))

    def test_long(self) -> None:
        """Records longer than a read are summed in pieces."""
        payload = bytes(range(256)) * 5000
        self.assertEqual(
            self.rebuild(bytes(32), raw(payload)), Rebuilt(Entry(0, 0, len(payload), crc32c(payload), 0), False)
        )
