"""Archives made by somebody who means harm: what a length says costs neither memory nor time beyond what is there."""

from __future__ import annotations

import gzip
import struct
import tracemalloc
from functools import partial
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from storehouse.archive import version1, version2
from storehouse.archive.archive import ArchiveReader, ArchiveWriter, recover_archive
from storehouse.archive.interfaces import ArchiveInfo
from storehouse.archive.scan import MAX_RECORD
from storehouse.archive.version1 import START, encode_record
from storehouse.archive.version2 import (
    BLOCK,
    RECORD,
    encode_block,
    encode_header,
    make_record_encoder,
    seeds_of,
)
from storehouse.core.compression import ZSTD, compress_block
from storehouse.errors import DamagedArchive
from tests.archive.rig import SALT
from tests.cpu import assert_cpu, cpu_of

SEEDS = seeds_of(SALT)
RECORD2 = b"".join(make_record_encoder(SEEDS)({}, b"", 5))
RECORD1 = b"".join(encode_record({"a": "b"}, b"x"))
MIB = 1 << 20


def header(compression: str | None = None) -> bytes:
    return encode_header(ArchiveInfo(2, compression, 1000, 1, SALT))


def head1(metadata: int, payload: int, strings: int = 0) -> bytes:
    return START + struct.pack("<iiii", metadata, payload, 0, strings)


def head2(size: int) -> bytes:
    return struct.pack("<4sIQIIIB", RECORD + SEEDS.mark, 1, 5, 0, 0, size, 0)


def block_head(size: int, raw: int) -> bytes:
    return struct.pack("<4sIQQIII", BLOCK + SEEDS.mark, 1, 5, 5, 1, raw, size)


class BoundTests(SynchronousTestCase):
    """Memory and time."""

    def peak(self, f: Any, *args: Any) -> int:
        """MiB that it takes."""
        tracemalloc.start()
        try:
            f(*args)
            return tracemalloc.get_traced_memory()[1] // MIB
        finally:
            tracemalloc.stop()

    def verify(self, data: bytes) -> Any:
        return ArchiveReader(data, skip_damaged=True).verify()

    def test_block_that_expands(self) -> None:
        """So many bytes as a record may have, and no more; an option has more read."""
        raw = MAX_RECORD + 2 * MIB
        data = header(ZSTD) + encode_block(SEEDS, 5, 5, 1, raw, compress_block(bytes(raw))) + RECORD2
        self.assertLess(len(data), 20_000)
        self.assertLess(self.peak(self.verify, data), 8)
        (damage,) = self.verify(data).damages
        self.assertIn("max_record", damage.reason)
        self.assertRaisesRegex(DamagedArchive, "max_record", ArchiveReader(data).read)
        payload = bytes(MIB)
        path = self.mktemp()
        with ArchiveWriter(path, compression=ZSTD) as writer:
            writer.write({}, payload)
        self.assertEqual(list(ArchiveReader(path, max_record=MIB + 100)), [({}, payload)])
        with ArchiveWriter(f"{path}.large", compression=ZSTD) as writer:
            writer.write({}, payload * 3)
        self.assertRaises(DamagedArchive, ArchiveReader(f"{path}.large", max_record=MIB).read)
        self.assertEqual(len(list(ArchiveReader(f"{path}.large"))), 1)

    def test_many_in_a_block(self) -> None:
        """They are given some at a time: a list of all would take many times their bytes."""
        count = 50_000
        data = header(ZSTD) + encode_block(SEEDS, 5, 5, count, count * len(RECORD2), compress_block(RECORD2 * count))

        def count_all() -> None:
            with ArchiveReader(data) as reader:
                self.assertEqual(sum(1 for _ in reader), count)
            with ArchiveReader(data) as reader:
                self.assertEqual(sum(1 for _ in reader.records()), count)

        self.assertLess(self.peak(count_all), 16)
        wrong = header(ZSTD) + encode_block(SEEDS, 5, 5, 7, count * len(RECORD2), compress_block(RECORD2 * count))
        self.assertRaisesRegex(DamagedArchive, "not 7", ArchiveReader(wrong).read)

    def test_plain(self) -> None:
        """No more than is there is read for it."""
        for data in (header() + head2(1 << 30), header() + head2(MAX_RECORD * 2) + bytes(9), head1(4, 1 << 30)):
            self.assertLess(self.peak(self.verify, data), 8)

    def test_linear(self) -> None:
        """Heads that claim half of the file, one after the other, alone or with whole records between them, in all forms."""
        size = 160_000
        half = size // 2
        for name, first, piece in (
            ("payloads", b"", head1(4, half)),
            ("payloads between records", b"", RECORD1 + head1(4, half)),
            ("metadata", b"", RECORD1 + head1(half, 8, 4000)),
            ("tables", b"", RECORD1 + head1(half, 8, half // 2)),
            ("frames", header(), head2(half)),
            ("frames between records", header(), RECORD2 + head2(half)),
            ("blocks", header(ZSTD), block_head(half, 100)),
            ("keys", header(), RECORD2 + struct.pack("<4sIQIIIB", RECORD + SEEDS.mark, 1, 5, half, 0, 0, 2)),
        ):
            records = piece.startswith((RECORD1, RECORD2))
            small, large = (first + piece * (most // len(piece)) for most in (size // 4, size))
            for pack in (bytes, partial(gzip.compress, compresslevel=1)):
                bound = 10 * cpu_of(partial(self.verify, pack(small))) + 1
                verify = partial(self.verify, pack(large))
                self.assertEqual(verify().records, size // len(piece) if records else 0, name)
                # It would be sixteen times as long, and some tens of seconds.
                assert_cpu(bound, partial(cpu_of, verify), name)

    def test_many_damages(self) -> None:
        data = header() + (RECORD2 + head2(100)) * 12_000
        verified = self.verify(data)
        self.assertEqual((verified.records, len(verified.damages)), (12_000, 10_001))
        self.assertIn("not listed", verified.damages[-1].reason)

    def test_many_pairs(self) -> None:
        """Each takes many times its bytes."""
        pairs = (1 << 18) + 1
        for data in (
            head1(4 + 8 * pairs, 4, 4 * pairs) + bytes(8 * pairs) + bytes(4),
            header() + frame(b"\0" * (pairs - 1), b"\0" * (pairs - 1)),
        ):
            self.assertLess(self.peak(self.verify, data), 16)
            self.assertEqual(self.verify(data).records, 0)

    def test_shapes_are_bounded(self) -> None:
        """Keys of clients are not kept beyond some bytes."""
        for shapes in (version1.shapes, version2.shapes):
            shapes.clear()
        for number in range(50):
            metadata = {f"{number}{'x' * 100_000}": "y"}
            encode_record(metadata, b"")
            make_record_encoder(SEEDS)(metadata, b"", 5)
        self.assertEqual((len(version1.shapes), len(version2.shapes)), (0, 0))

    def test_recovery_takes_all(self) -> None:
        """What was written is not cut off, however large it is."""
        path = self.mktemp()
        writer = ArchiveWriter(path, buffer_size=0)
        writer.write({}, "x")
        writer.write({}, bytes(MAX_RECORD + 1))
        writer.abandon()
        recovered = recover_archive(path)
        self.assertEqual((recovered.records, recovered.torn), (2, 0))
        self.assertRaisesRegex(DamagedArchive, "max_record", list, ArchiveReader(path))
        self.assertEqual(len(list(ArchiveReader(path, max_record=2 * MAX_RECORD))), 2)


def frame(keys: bytes, values: bytes) -> bytes:
    """A record of version 2 with strings as they are given."""
    rest = struct.pack("<QIIIB", 5, len(keys), len(values), 0, 2) + keys + values
    return struct.pack("<4sI", RECORD + SEEDS.mark, version2.crc32c(rest, SEEDS.checksum)) + rest
