"""Tests of L{storehouse.storage.appendlog.formats}: the bytes that docs/formats/appendlog.md promises."""

from __future__ import annotations

import struct

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from storehouse.core.digests import crc32c, fnv1a32
from storehouse.errors import Damaged
from storehouse.storage.appendlog.formats import (
    Entry,
    FrameRun,
    decode_entry,
    decode_frame,
    decode_index_header,
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
