"""Tests of L{storehouse.storage.appendlog.formats}: the bytes that docs/formats/appendlog.md promises."""

from __future__ import annotations

import os
import struct
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from storehouse.core.digests import crc32c, fnv1a32
from storehouse.core.native import MISSING, native
from storehouse.errors import Damaged
from storehouse.storage.appendlog.formats import (
    CONTINUES,
    Entry,
    FrameRun,
    decode_entry,
    decode_frame,
    decode_index_header,
    encode_appends_twin,
    encode_entries_twin,
    encode_entry,
    encode_frame,
    encode_index_header,
)
from tests.storage.appendlog.rig import raw

bounded = settings(deadline=None, max_examples=60)

u16 = st.integers(0, 2**16 - 1)
u32 = st.integers(0, 2**32 - 1)
u64 = st.integers(0, 2**64 - 1)
runs = st.builds(
    FrameRun,
    prefix=st.text(max_size=8),
    bucket=u16,
    offset=u64,
    position=u64,
    entries=st.lists(st.builds(encode_entry, u64, u64, u32, u32, u32), max_size=3).map(b"".join),
    records=st.binary(max_size=40),
)

HEADER = bytes.fromhex("53484150494458310200000000000000000000000000000000000000413b6ed8")
ENTRY = bytes.fromhex("0d0000000000000000002a36fe9c971702000000c2d99df589aa5f928d5126e8")
FENCE = bytes.fromhex("5348574c9e23b8cc010000000000000001000000000000000000000000000000")
FRAME = bytes.fromhex(
    "5348574c"
    "e80c5311"
    "0700000000000000"
    "0500000000000000"
    "49000000"
    "01000000"  # the frame's header
    "0700"
    "0300"
    "01000000"
    "0d00000000000000"
    "0100000000000000"
    "06000000"
    "64656661756c74"  # the run's, and its prefix
    "0d0000000000000000002a36fe9c971702000000c2d99df589aa5f928d5126e8"  # an entry
    "020000006869"  # a record
)


def flips(data: bytes) -> list[bytes]:
    """All bytes that differ from these in one bit."""
    return [data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :] for at in range(len(data)) for bit in range(8)]


def cuts(data: bytes) -> list[bytes]:
    """All beginnings of these bytes."""
    return [data[:size] for size in range(len(data))]


class DigestTests(SynchronousTestCase):
    """The checksums are the ones the format names."""

    def test_crc32c(self) -> None:
        """The check value of CRC-32C, of RFC 3720 and the CRC catalogue."""
        self.assertEqual(crc32c(b"123456789"), 0xE3069283)

    def test_fnv1a(self) -> None:
        """The seed's example: some_identifier is in bucket 3 of 10."""
        self.assertEqual(fnv1a32(b"some_identifier"), 0x925FAA89)
        self.assertEqual(fnv1a32(b"some_identifier") % 10, 3)
        self.assertEqual([fnv1a32(b""), fnv1a32(b"a"), fnv1a32(b"foobar")], [0x811C9DC5, 0xE40C292C, 0xBF9CF968])


class RecordTests(SynchronousTestCase):
    """The bucket file."""

    def test_golden(self) -> None:
        """The example of the format's page; the model of the seed's program agrees with it."""
        self.assertEqual(raw(b"some text", b"hi"), bytes.fromhex("09000000736f6d65207465787402000000 6869"))


class EntryTests(SynchronousTestCase):
    """Index entries."""

    def test_golden(self) -> None:
        self.assertEqual(encode_entry(13, 1_700_000_000_000_000_000, 2, 0xF59DD9C2, 0x925FAA89), ENTRY)
        self.assertEqual(decode_entry(ENTRY), Entry(13, 1_700_000_000_000_000_000, 2, 0xF59DD9C2, 0x925FAA89))

    def test_end(self) -> None:
        """The end of a record is behind its payload."""
        self.assertEqual(Entry(13, 0, 2, 0, 0).end, 19)

    @bounded
    @given(u64, st.integers(0, 2**63 - 1), u32, u32, u32, st.binary(max_size=40))
    def test_round_trip(self, offset: int, time: int, length: int, checksum: int, id_hash: int, before: bytes) -> None:
        """What was encoded is decoded, wherever it stands."""
        data = before + encode_entry(offset, time, length, checksum, id_hash)
        self.assertEqual(decode_entry(data, len(before)), Entry(offset, time, length, checksum, id_hash))

    def test_flipped_bits(self) -> None:
        """No bit can turn unnoticed."""
        self.assertEqual({decode_entry(data) for data in flips(ENTRY)}, {None})

    def test_cut(self) -> None:
        self.assertEqual({decode_entry(data) for data in cuts(ENTRY)}, {None})

    def test_zeros(self) -> None:
        """Space that a crash left is no entry."""
        self.assertIsNone(decode_entry(bytes(32)))


class TwinTests(SynchronousTestCase):
    """What a group adds to a bucket file and its index, in Python."""

    def setUp(self) -> None:
        self.encode_appends: Any = encode_appends_twin
        self.encode_entries: Any = encode_entries_twin

    def test_appends(self) -> None:
        """Each is an append of its own, with its own identifier."""
        entries, records = self.encode_appends([(b"some text", 5), (b"hi", 0x925FAA89)], 0, 1_700_000_000_000_000_000)
        self.assertEqual(records, raw(b"some text", b"hi"))
        first = encode_entry(0, 1_700_000_000_000_000_000, 9, crc32c(b"some text"), 5)
        self.assertEqual(entries, first + ENTRY)
        self.assertEqual(self.encode_appends([], 7, 8), (b"", b""))

    def test_entries(self) -> None:
        """All but the last of an append say that it continues."""
        whole, offsets = self.encode_entries([b"ab", b"", b"cde"], 10, 77, 5, True)
        self.assertEqual(offsets, (10, 16, 20))
        expected = [
            encode_entry(10, 77 | CONTINUES, 2, crc32c(b"ab"), 5),
            encode_entry(16, 77 | CONTINUES, 0, crc32c(b""), 5),
            encode_entry(20, 77, 3, crc32c(b"cde"), 5),
        ]
        self.assertEqual(whole, b"".join(expected))
        some, offsets = self.encode_entries([b"ab"], 10, 77, 5, False)
        self.assertEqual((some, offsets), (expected[0], (10,)))
        self.assertEqual(self.encode_entries([], 10, 77, 5, True), (b"", ()))

    def test_other_bytes(self) -> None:
        """A payload may be anything that is like bytes."""
        self.assertEqual(
            self.encode_appends([(bytearray(b"ab"), 1), (memoryview(b"cd"), 2)], 3, 4),
            encode_appends_twin([(b"ab", 1), (b"cd", 2)], 3, 4),
        )
        self.assertEqual(
            self.encode_entries([bytearray(b"ab"), memoryview(b"cd")], 3, 4, 5, True),
            encode_entries_twin([b"ab", b"cd"], 3, 4, 5, True),
        )


class NativeTests(TwinTests):
    """The same, by the native module."""

    def setUp(self) -> None:
        if native is None:
            if os.environ.get("CI"):
                raise AssertionError(f"the native module was not built: {MISSING}")
            raise SkipTest("the native module was not built")
        self.native: Any = native
        self.encode_appends = native.encode_appends
        self.encode_entries = native.encode_entries

    @bounded
    @given(
        st.lists(st.tuples(st.binary(max_size=300), u32), max_size=20), st.integers(0, 2**63), st.integers(0, 2**63 - 1)
    )
    def test_appends_as_twin(self, appends: list[tuple[bytes, int]], offset: int, time: int) -> None:
        self.assertEqual(self.encode_appends(appends, offset, time), encode_appends_twin(appends, offset, time))

    @bounded
    @given(
        st.lists(st.binary(max_size=300), max_size=20),
        st.integers(0, 2**63),
        st.integers(0, 2**63 - 1),
        u32,
        st.booleans(),
    )
    def test_entries_as_twin(self, payloads: list[bytes], offset: int, time: int, id_hash: int, is_last: bool) -> None:
        self.assertEqual(
            self.encode_entries(payloads, offset, time, id_hash, is_last),
            encode_entries_twin(payloads, offset, time, id_hash, is_last),
        )

    def test_long(self) -> None:
        """Those that are encoded without the interpreter's lock."""
        payloads = [os.urandom(size) for size in (1, 65535, 65536, 200_001)]
        self.assertEqual(
            self.encode_appends([(payload, 9) for payload in payloads], 1 << 40, 77),
            encode_appends_twin([(payload, 9) for payload in payloads], 1 << 40, 77),
        )
        self.assertEqual(
            self.encode_entries(payloads, 1 << 40, 77, 9, True), encode_entries_twin(payloads, 1 << 40, 77, 9, True)
        )

    def test_refused(self) -> None:
        """What is no append is an error, and not a crash."""
        for bad in (
            5,
            [5],
            [(b"ab",)],
            [(b"ab", 1, 2)],
            [("text", 1)],
            [(b"ab", -1)],
            [(b"ab", 1 << 32)],
            [(b"ab", "")],
        ):
            with self.assertRaises((TypeError, ValueError, OverflowError), msg=repr(bad)):
                self.encode_appends(bad, 0, 0)
        for bad in (5, [5], ["text"], [None]):
            with self.assertRaises((TypeError, ValueError), msg=repr(bad)):
                self.encode_entries(bad, 0, 0, 0, True)

    def test_checksums(self) -> None:
        """Every implementation, at every length and alignment."""
        self.assertEqual(self.native.CRC32C_IMPLEMENTATIONS[-1], "portable")
        data = memoryview(os.urandom(1120))
        for name in self.native.CRC32C_IMPLEMENTATIONS:
            for size in range(1100):
                at = size % 16
                piece = data[at : at + size]
                self.assertEqual(self.native.crc32c(piece, size, name), crc32c(piece, size), (name, size))
        self.assertRaises(ValueError, self.native.crc32c, b"", 0, "none")


class IndexHeaderTests(SynchronousTestCase):
    """The header of an index."""

    def test_golden(self) -> None:
        self.assertEqual(encode_index_header(2), HEADER)
        self.assertEqual(decode_index_header(HEADER), 2)

    @bounded
    @given(u64)
    def test_round_trip(self, count: int) -> None:
        self.assertEqual(decode_index_header(encode_index_header(count)), count)

    def test_flipped_bits(self) -> None:
        self.assertEqual({decode_index_header(data) for data in flips(HEADER)}, {None})

    def test_cut(self) -> None:
        self.assertEqual({decode_index_header(data) for data in cuts(HEADER)}, {None})

    def test_other_magic(self) -> None:
        """A later version of the format is not mistaken for this one."""
        fields = b"SHAPIDX2" + HEADER[8:28]
        self.assertIsNone(decode_index_header(fields + struct.pack("<I", crc32c(fields))))


class FrameTests(SynchronousTestCase):
    """Frames of the write-ahead log."""

    def test_golden(self) -> None:
        self.assertEqual(encode_frame(7, 5, [(b"default", 3, 13, 1, ENTRY, b"\x02\x00\x00\x00hi")]), FRAME)
        frame = decode_frame(FRAME)
        assert frame is not None
        self.assertEqual((frame.sequence, frame.replay_from, frame.size), (7, 5, len(FRAME)))
        self.assertEqual(frame.runs, (FrameRun("default", 3, 13, 1, ENTRY, b"\x02\x00\x00\x00hi"),))

    def test_golden_fence(self) -> None:
        """A frame without runs."""
        self.assertEqual(encode_frame(1, 1, []), FENCE)

    @bounded
    @given(u64, u64, st.lists(runs, max_size=4), st.binary(max_size=9), st.binary(max_size=9))
    def test_round_trip(
        self, sequence: int, replay_from: int, given: list[FrameRun], before: bytes, behind: bytes
    ) -> None:
        data = encode_frame(
            sequence,
            replay_from,
            [(r.prefix.encode(), r.bucket, r.offset, r.position, r.entries, r.records) for r in given],
        )
        frame = decode_frame(before + data + behind, len(before))
        assert frame is not None
        self.assertEqual(
            (frame.sequence, frame.replay_from, list(frame.runs), frame.size), (sequence, replay_from, given, len(data))
        )

    def test_flipped_bits(self) -> None:
        """No bit can turn unnoticed."""
        self.assertEqual({decode_frame(data) for data in flips(FRAME)}, {None})

    def test_cut(self) -> None:
        """A torn frame is none."""
        self.assertEqual({decode_frame(data) for data in cuts(FRAME)}, {None})

    def test_salt(self) -> None:
        """The checksum starts with the salt: a frame of another log is none."""
        self.assertEqual(encode_frame(1, 1, [], 0x12345678)[4:8], struct.pack("<I", crc32c(FENCE[8:], 0x12345678)))
        self.assertIsNone(decode_frame(encode_frame(1, 1, [], 7)))
        self.assertIsNone(decode_frame(FENCE, salt=7))
        self.assertIsNotNone(decode_frame(encode_frame(1, 1, [], 7), salt=7))

    def test_nonsense(self) -> None:
        """A frame whose checksum holds and whose inside does not fit is another version's, and not applied."""
        for inside, count in [
            (b"", 1),
            (FRAME[32:], 2),
            (FRAME[32:-1], 1),
            (FRAME[32:] + b"x", 1),
            (FRAME[32:60] + b"\xff" + FRAME[61:], 1),
        ]:
            rest = struct.pack("<QQII", 7, 5, len(inside), count) + inside
            data = b"SHWL" + struct.pack("<I", crc32c(rest)) + rest
            self.assertRaises(Damaged, decode_frame, data)
