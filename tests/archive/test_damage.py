"""Cut files, flipped bits, and what follows them."""

from __future__ import annotations

import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from storehouse.archive.archive import ArchiveReader, ArchiveWriter, recover_archive
from storehouse.errors import DamagedArchive, EndOfArchive, NoSuchRecord, UnknownArchiveFormat
from storehouse.testing.files import FailingFiles
from tests.archive.rig import KINDS, read, write

RECORDS = [
    ({"event": "start", "n": "1"}, '{"a": 1}'),
    ({}, b"\x00\xff binary"),
    ({"event": "end", "n": "2"}, ""),
    ({"é": "ü"}, "last one"),
]


def incomplete(path: str, **how: object) -> tuple[bytes, list[int]]:
    """An archive as a kill would leave it, and its length after each record."""
    writer = ArchiveWriter(path, buffer_size=0, sync="os", **how)  # type: ignore[arg-type]
    ends = [writer.size]
    for record in RECORDS:
        writer.write(*record)
        ends.append(writer.size)
    writer.abandon()
    return Path(path).read_bytes(), ends


class TornTests(SynchronousTestCase):
    """An archive that was cut at any byte."""

    def test_read(self) -> None:
        """A reader gives exactly the whole records, and says how much follows."""
        for kind, how in KINDS.items():
            data, ends = incomplete(self.mktemp(), **how)
            for size in range(len(data) + 1):
                whole = sum(end <= size for end in ends) - 1
                with ArchiveReader(data[:size]) as reader:
                    self.assertEqual(list(reader), RECORDS[: max(0, whole)], f"{kind}, {size} bytes")
                    self.assertEqual(reader.torn, size - (ends[whole] if whole >= 0 else 0))
                    self.assertFalse(reader.complete)
                    self.assertRaises(EndOfArchive, reader.read)

    def test_recovered(self) -> None:
        """Recovery keeps exactly the whole records, and what it cut off beside; the archive is complete then."""
        for kind, how in KINDS.items():
            path = self.mktemp()
            data, ends = incomplete(path, **how)
            for size in range(len(data) + 1):
                Path(path).write_bytes(data[:size])
                whole = max(0, sum(end <= size for end in ends) - 1)
                recovered = recover_archive(path)
                self.assertEqual((recovered.records, recovered.damages), (whole, ()), f"{kind}, {size} bytes")
                end = ends[whole] if size >= ends[0] else 0
                self.assertEqual(recovered.torn, size - end)
                if size > end:
                    self.assertEqual(recovered.kept, path + ".torn")
                    self.assertEqual(Path(path + ".torn").read_bytes(), data[end:size])
                    os.unlink(path + ".torn")
                self.assertEqual(recovered.removed, not whole)
                self.assertEqual(os.path.exists(path), bool(whole))
                if whole:
                    with ArchiveReader(path) as reader:
                        self.assertEqual(list(reader), RECORDS[:whole])
                        self.assertEqual(reader.complete, how["version"] == 2)
                        self.assertTrue(reader.verify().whole)

    def test_any_tail(self) -> None:
        """Zeros, as a power cut leaves them, and rubbish are cut off, too; the second torn file has another name."""
        for how in KINDS.values():
            path = self.mktemp()
            for tail in (b"\0" * 5000, b"R" * 70, os.urandom(300)):
                data, _ = incomplete(path, **how)
                Path(path).write_bytes(data + tail)
                self.assertEqual(recover_archive(path).torn, len(tail))
                self.assertEqual(read(path), RECORDS)
                os.unlink(path)
            self.assertEqual(Path(path + ".torn.1").read_bytes(), b"R" * 70)

    def test_sealed_cut(self) -> None:
        """A footer that is not whole is no footer; all records are there."""
        for kind in ("version 2", "version 2, zstd"):
            data = write(self.mktemp(), RECORDS, **KINDS[kind])
            with ArchiveReader(data) as reader:
                end = reader.scan()
                list(end)
            for size in range(end.end, len(data)):
                path = self.mktemp()
                Path(path).write_bytes(data[:size])
                self.assertEqual(read(path), RECORDS)
                recover_archive(path)
                self.assertEqual(Path(path).read_bytes(), data)

    def test_twice(self) -> None:
        """Recovery of what is recovered does nothing."""
        path = self.mktemp()
        write(path, RECORDS)
        before = Path(path).read_bytes()
        self.assertEqual(recover_archive(path).records, 4)
        self.assertEqual(Path(path).read_bytes(), before)

    def test_interrupted(self) -> None:
        """Recovery that is killed after any of its steps is repeated to the same end."""
        path = self.mktemp()
        data, _ = incomplete(path)
        torn = data[:-3]
        steps = 0
        while True:
            Path(path).write_bytes(torn)
            try:
                recover_archive(path, FailingFiles().fail(error=_Stop(), skip=steps))
            except _Stop:
                steps += 1
            else:
                break
            recover_archive(path)
            self.assertEqual(read(path), RECORDS[:3])
            for name in (".torn", ".torn.1"):
                if os.path.exists(path + name):
                    os.unlink(path + name)
        self.assertGreater(steps, 5)


class _Stop(BaseException):
    """As if the process was killed."""


class FlippedTests(SynchronousTestCase):
    """Any single bit that changed is found, or does no harm: there is never a wrong record."""

    def check(self, data: bytes, complete: bool) -> None:
        for bit in range(8 * len(data)):
            changed = bytearray(data)
            changed[bit // 8] ^= 1 << bit % 8
            try:
                reader = ArchiveReader(bytes(changed))
            except (UnknownArchiveFormat, DamagedArchive):
                continue
            found = []
            try:
                for pair in reader:
                    found.append(pair)
            except DamagedArchive as problem:
                self.assertEqual(found, RECORDS[: len(found)])
                self.assertLess(len(found), len(RECORDS))
                self.assertLessEqual(problem.offset, bit // 8)
                # Each time again.
                self.assertRaises(DamagedArchive, reader.read)
            else:
                self.assertEqual(found, RECORDS[: len(found)])
                if complete:
                    # Only what is no record may be harmless, and then the missing footer is told.
                    self.assertEqual(found, RECORDS)
                if found != RECORDS or complete:
                    self.assertTrue(reader.torn, f"bit {bit}")
            self.assertFalse(reader.verify().whole)

    def test_sealed(self) -> None:
        for kind in ("version 2", "version 2, zstd"):
            self.check(write(self.mktemp(), RECORDS, **KINDS[kind]), True)

    def test_unsealed(self) -> None:
        for kind in ("version 2", "version 2, zstd"):
            data, _ = incomplete(self.mktemp(), **KINDS[kind])
            self.check(data, False)

    def test_skipped(self) -> None:
        """When asked, readers go on behind it: all other records are there, under their own numbers."""
        data = write(self.mktemp(), RECORDS)
        with ArchiveReader(data) as reader:
            offsets = [record.offset for record in reader.records()]
        for number, offset in enumerate(offsets):
            changed = bytearray(data)
            changed[offset + 30] ^= 1
            others = [record for at, record in enumerate(RECORDS) if at != number]
            with ArchiveReader(bytes(changed), skip_damaged=True) as reader:
                self.assertEqual(list(reader), others)
                self.assertEqual([damage.offset for damage in reader.damages], [offset])
                self.assertEqual([record.number for record in reader.records()], [n for n in range(4) if n != number])
                self.assertEqual([record[3:] for record in reader.between()], others)
                verified = reader.verify()
                self.assertEqual((verified.records, len(verified.damages)), (3, 1))
            with ArchiveReader(bytes(changed)) as reader:
                for at in range(4):
                    if at == number:
                        self.assertRaises(DamagedArchive, reader.record, at)
                    else:
                        self.assertEqual(reader.record(at)[3:], RECORDS[at])

    def test_many_groups(self) -> None:
        """In a large archive, too."""
        records = [({"n": str(n)}, f"{n:06d}" * 500) for n in range(300)]
        path = self.mktemp()
        data = bytearray(write(path, records))
        with ArchiveReader(path) as reader:
            found = list(reader.records())
        lost = {5, 6, 100, 200, 299}
        for number in lost:
            data[found[number].offset + 40] ^= 8
        with ArchiveReader(bytes(data), skip_damaged=True) as reader:
            kept = [record for record in found if record.number not in lost]
            self.assertEqual(list(reader.records()), kept)
            self.assertEqual([reader.record(n) for n in (4, 7, 99, 101, 298)], [found[n] for n in (4, 7, 99, 101, 298)])
            self.assertRaises(NoSuchRecord, reader.record, 300)
            self.assertRaises(NoSuchRecord, reader.record, -1)

    def test_version_1(self) -> None:
        """Without checksums, what does not agree with itself is found."""
        data, ends = incomplete(self.mktemp(), version=1)
        for at in (0, 4, 7, 11, 15, 18, 19):
            changed = bytearray(data)
            changed[ends[1] + at] ^= 0x40
            with ArchiveReader(bytes(changed)) as reader:
                error = self.assertRaises(DamagedArchive, list, reader)
                self.assertEqual(error.offset, ends[1], f"{at}")
            with ArchiveReader(bytes(changed), skip_damaged=True) as reader:
                self.assertEqual(list(reader), RECORDS[:1] + RECORDS[2:])

    def test_lengths_take_no_memory(self) -> None:
        """A length field that promises gigabytes is not believed."""
        for kind, how in KINDS.items():
            data, ends = incomplete(self.mktemp(), **how)
            at = {"version 1": 10, "version 2": 24, "version 2, zstd": 32}[kind]
            changed = bytearray(data)
            changed[ends[0] + at : ends[0] + at + 4] = b"\xf0\xff\xff\x7f"
            with ArchiveReader(bytes(changed)) as reader:
                self.assertRaises(DamagedArchive, reader.read)

    def test_not_fooled(self) -> None:
        """An archive that is the payload of another is not taken for its frames."""
        inner = write(self.mktemp(), RECORDS)
        path = self.mktemp()
        data = bytearray(write(path, [({}, inner), ({}, "after")]))
        data[50] ^= 1
        self.assertEqual(read(bytes(data), skip_damaged=True), [({}, "after")])
