"""
Recovery: directories of the seed's program, torn tails, damaged and missing indexes, and what was acknowledged before
a crash.
"""

from __future__ import annotations

import os
import shutil
import struct
from collections.abc import Iterable
from random import Random
from unittest.mock import patch

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from storehouse.core.digests import crc32c
from storehouse.core.files import Files
from storehouse.errors import BucketCountMismatch, Damaged, DamagedRecord, NoSuchRecord, StartFailed, StorehouseError
from storehouse.storage.appendlog import prefixes as prefix_module
from storehouse.storage.appendlog.formats import (
    ENTRY_SIZE,
    HEADER_SIZE,
    decode_index_header,
    encode_entry,
    encode_frame,
)
from storehouse.storage.appendlog.wal import read_salt
from storehouse.testing.files import UnsyncedFiles
from tests.around import on_disk
from tests.storage.appendlog.rig import (
    DISK,
    OS,
    Driven,
    SeedStore,
    Watched,
    contents,
    flip,
    id_in_bucket,
    offsets_of,
    raw,
)

#: Identifiers that live in bucket 0 and 1 of 2.
ZERO, ONE = id_in_bucket(0, 2), id_in_bucket(1, 2)


class RecoveryTestCase(SynchronousTestCase):
    """Makes logs, and ends them with the test."""

    def setUp(self) -> None:
        self.directory = self.fresh()

    def fresh(self) -> str:
        return os.path.abspath(self.mktemp())

    def start(self, directory: str = "", files: Files | None = None, **settings: object) -> Driven:
        driven = Driven(directory or self.directory, files, **settings)
        self.addCleanup(driven.kill)
        return driven.start()

    def path(self, name: str, prefix: str = "default") -> str:
        return os.path.join(self.directory, prefix, name)

    def aside(self, word: str, prefix: str = "default") -> list[bytes]:
        """The contents of files that recovery kept."""
        directory = os.path.join(self.directory, prefix)
        return [
            contents(os.path.join(directory, name)) for name in sorted(os.listdir(directory)) if f".{word}." in name
        ]


class SeedDirectoryTests(RecoveryTestCase):
    """Directories of the seed's program."""

    def test_served(self) -> None:
        """All records of the seed's program are served, its empty ones as well, and ours follow."""
        seed = SeedStore(self.directory, 2)
        seed.open()
        random = Random(1)
        written = []
        for _ in range(200):
            id = b"user-%d" % random.randrange(20)
            payload = random.randbytes(random.choice([0, 0, 1, 7, 300]))
            written.append((id, seed.append(id, payload), payload))
        ends = [os.path.getsize(self.path(f"append.{n}.raw")) for n in (0, 1)]
        driven = self.start()
        for id, offset, payload in written:
            if offset < ends[driven.log.find_open("default", id)[0].number]:
                self.assertEqual(driven.get(id, offset), payload)
        self.assertEqual(driven.stat()["default"].records, 200)
        self.assertEqual(driven.append(ZERO, b"ours"), (ends[0],))
        self.assertEqual(seed.get(ZERO, ends[0]), b"ours")

    def test_payload_offset(self) -> None:
        """Behind an empty record its payload offset is the next record's."""
        seed = SeedStore(self.directory, 2)
        for payload in (b"", b"x", b""):
            seed.append(ZERO, payload)
        driven = self.start()
        self.assertEqual([driven.get(ZERO, offset) for offset in (0, 4, 8, 9)], [b"", b"x", b"x", b""])

    def test_several_prefixes(self) -> None:
        """Every prefix is indexed when it is asked for."""
        seed = SeedStore(self.directory, 2)
        for prefix in ("one", "two"):
            seed.append(ZERO, prefix.encode(), prefix)
        driven = self.start()
        self.assertEqual([driven.get(ZERO, 0, prefix) for prefix in ("one", "two")], [b"one", b"two"])

    def test_torn(self) -> None:
        """What the seed's program left of a record when it was killed is cut off and kept."""
        for cut in range(1, 9):
            self.directory = self.fresh()
            seed = SeedStore(self.directory, 2)
            seed.append(ZERO, b"whole")
            seed.append(ZERO, b"torn!")
            os.truncate(self.path("append.0.raw"), 9 + cut)
            driven = self.start()
            self.assertEqual(driven.scan(0), [(0, b"whole")])
            self.assertEqual(self.aside("torn"), [raw(b"torn!")[:cut]])
            driven.stop()

    def test_bucket_count(self) -> None:
        """Another number of buckets is refused at the start, and the right one is named."""
        SeedStore(self.directory, 10).open()
        with self.assertRaises(BucketCountMismatch) as caught:
            self.start()
        self.assertIn("--append-buckets 10", str(caught.exception))

    def test_missing_bucket(self) -> None:
        """A missing bucket file is named."""
        SeedStore(self.directory, 4).open()
        os.unlink(self.path("append.2.raw"))
        with self.assertRaises(Damaged) as caught:
            self.start()
        self.assertIn(self.path("append.2.raw"), str(caught.exception))

    def test_later(self) -> None:
        """What the seed's program added after a clean stop is indexed."""
        driven = self.start()
        driven.append(ZERO, b"ours")
        driven.stop()
        offset = SeedStore(self.directory, 2).append(ZERO, b"theirs")
        driven = self.start()
        self.assertEqual(driven.scan(ZERO), [(0, b"ours"), (offset, b"theirs")])

    def test_later_refused_start(self) -> None:
        """A start that is refused does not make the next one take such records for a torn tail."""
        self.start().stop()
        offset = SeedStore(self.directory, 2).append(ZERO, b"theirs")
        with self.assertRaises(BucketCountMismatch):
            self.start(buckets=3)
        self.assertEqual(self.start().get(ZERO, offset), b"theirs")

    def test_interrupted_indexing(self) -> None:
        """A crash while records are being indexed loses none of them."""
        payloads = [b"%d" % n for n in range(10_000)]
        for earlier in (0, 3):
            self.directory = self.fresh()
            driven = self.start()
            for n in range(earlier):
                driven.append(ZERO, payloads[n])
            driven.stop()
            if not earlier:
                os.unlink(self.path("append.0.idx"))
            with open(self.path("append.0.raw"), "r+b") as file:
                file.write(raw(*payloads))
            for stop_at in (1, 2, 3):
                copy = self.fresh()
                shutil.copytree(self.directory, copy)
                files = Watched()

                def fail(name: str, path: str, files: Watched = files, stop_at: int = stop_at) -> int:
                    return (
                        5
                        if name == "write"
                        and path.endswith("append.0.idx")
                        and files.calls.count(("write", "append.0.idx")) > stop_at
                        else 0
                    )

                files.fail = fail
                with self.assertRaises(StorehouseError):
                    self.start(copy, files)
                os.unlink(os.path.join(copy, ".wal", "clean")) if os.path.exists(
                    os.path.join(copy, ".wal", "clean")
                ) else None
                driven = self.start(copy)
                self.assertEqual(driven.scan(0), list(zip(offsets_of(payloads), payloads, strict=True)))
                self.assertEqual(
                    driven.log.stat
                    and [n for n in os.listdir(os.path.join(copy, "default")) if "torn" in n or "bad" in n],
                    [],
                )
                driven.kill()

    def test_in_child(self) -> None:
        """A long bucket file of a prefix that is opened later is indexed by another process."""
        seed = SeedStore(self.directory, 2)
        seed.open("other")
        with open(self.path("append.0.raw", "other"), "wb") as file:
            file.write(raw(*[bytes(1000)] * 1100))
        driven = self.start()
        with patch.object(prefix_module.subprocess, "run", wraps=prefix_module.subprocess.run) as ran:
            self.assertEqual(driven.get(ZERO, 1004 * 1099, "other"), bytes(1000))
        self.assertEqual(ran.call_count, 1)


class TornTailTests(RecoveryTestCase):
    """A crash, and the last record is not whole."""

    def test_every_byte(self) -> None:
        """Wherever the last record is torn, it is cut off and kept, and what was before stays."""
        driven = self.start(sync=OS.value)
        driven.append(ZERO, b"first")
        driven.append(ZERO, b"last one")
        left = driven.copy(self.fresh())
        driven.stop()
        for cut in range(1, 12):
            self.directory = self.fresh()
            shutil.copytree(left, self.directory)
            os.truncate(self.path("append.0.raw"), 9 + cut)
            driven = self.start()
            self.assertEqual(driven.scan(0), [(0, b"first")])
            with self.assertRaises(NoSuchRecord):
                driven.get(ZERO, 9)
            self.assertEqual(self.aside("torn"), [raw(b"last one")[:cut]])
            self.assertEqual(driven.append(ZERO, b"again"), (9,))
            driven.stop()
            self.assertEqual(contents(self.path("append.0.raw")), raw(b"first", b"again"))

    def test_index_only(self) -> None:
        """Entries without records are cut off."""
        driven = self.start(sync=OS.value)
        driven.append(ZERO, b"first")
        driven.append(ZERO, b"lost", b"lost too")
        left = driven.copy(self.fresh())
        os.truncate(os.path.join(left, "default", "append.0.raw"), 9)
        driven = self.start(left)
        self.assertEqual(driven.stat()["default"].records, 1)
        self.assertEqual(os.path.getsize(driven.path("append.0.idx")), HEADER_SIZE + ENTRY_SIZE)

    def test_records_only(self) -> None:
        """After a crash, whole records without entries are not believed."""
        driven = self.start(sync=OS.value)
        driven.append(ZERO, b"first")
        driven.append(ZERO, b"last")
        self.directory = driven.copy(self.fresh())
        os.truncate(self.path("append.0.idx"), HEADER_SIZE + ENTRY_SIZE)
        self.assertEqual(self.start().scan(0), [(0, b"first")])
        self.assertEqual(self.aside("torn"), [raw(b"last")])

    def test_garbled(self) -> None:
        """A last record that is long enough and wrong is torn as well."""
        driven = self.start(sync=OS.value)
        driven.append(ZERO, b"first")
        driven.append(ZERO, b"last")
        self.directory = driven.copy(self.fresh())
        flip(self.path("append.0.raw"), 14)
        self.assertEqual(self.start().scan(0), [(0, b"first")])

    def test_other_prefixes(self) -> None:
        """All prefixes are looked at while it is known that there was a crash."""
        driven = self.start(sync=OS.value)
        driven.append(ZERO, b"first", prefix="other")
        driven.append(ZERO, b"last", prefix="other")
        self.directory = driven.copy(self.fresh())
        os.truncate(self.path("append.0.raw", "other"), 12)
        driven = self.start()
        self.assertEqual(len(self.aside("torn", "other")), 1)
        self.assertEqual(driven.scan(0, prefix="other"), [(0, b"first")])

    def test_batch(self) -> None:
        """Of several records that were appended together, none is left when a part of them is torn."""
        driven = self.start(sync=OS.value)
        driven.append(ZERO, b"before")
        driven.append(ZERO, b"one", b"two", b"three")
        whole = driven.copy(self.fresh())
        driven.kill()
        for size in range(10, 33):
            self.directory = self.fresh()
            shutil.copytree(whole, self.directory)
            os.truncate(self.path("append.0.raw"), size)
            driven = self.start()
            self.assertEqual(driven.scan(0), [(0, b"before")], size)
            driven.kill()
        self.directory = whole
        self.assertEqual(len(self.start().scan(0)), 4)

    def test_killed_unsynced(self) -> None:
        """
        What a killed process left in the page cache is synced at the start, so that nothing follows it on disk before
        it.
        """
        driven = self.start(sync=OS.value)
        driven.append(ZERO, b"first")
        driven.kill()
        files = Watched()
        driven = self.start(files=files)
        self.assertIn(("sync", "append.0.raw"), files.calls)
        self.assertNotIn(("sync", "append.1.raw"), files.calls)
        self.assertEqual(decode_index_header(contents(self.path("append.0.idx"))), 1)

    def test_second_start(self) -> None:
        """A recovery leaves nothing for the next one to do."""
        driven = self.start(sync=OS.value)
        driven.append(ZERO, b"first", b"last")
        driven.kill()
        os.truncate(self.path("append.0.raw"), 12)
        self.start().kill()
        names = os.listdir(self.path(""))
        self.start().kill()
        self.assertEqual(os.listdir(self.path("")), names)


class IndexTests(RecoveryTestCase):
    """The index is missing or damaged."""

    payloads = [b"record %d" % n for n in range(20)]

    def setUp(self) -> None:
        super().setUp()
        driven = self.start()
        self.offsets = list(driven.append(ZERO, *self.payloads))
        driven.stop()
        self.index = self.path("append.0.idx")

    def crashed(self) -> None:
        """Make it look as if there was a crash."""
        os.unlink(os.path.join(self.directory, ".wal", "clean"))

    def check(self) -> Driven:
        driven = self.start()
        self.assertEqual(driven.scan(0), list(zip(self.offsets, self.payloads, strict=True)))
        for offset, payload in zip(self.offsets, self.payloads, strict=True):
            self.assertEqual(driven.get(ZERO, offset), payload)
        return driven

    def test_missing(self) -> None:
        """A missing index is made from the bucket file, after a crash as well, and its name is synced."""
        for crash in (False, True):
            os.unlink(self.index)
            if crash:
                self.crashed()
            files = Watched()
            driven = self.start(files=files)
            self.assertIn(("sync_directory", "default"), files.calls)
            self.assertEqual(driven.scan(ZERO), list(zip(self.offsets, self.payloads, strict=True)))
            driven.stop()

    def test_short(self) -> None:
        """An index that lost entries of synced records gets them back: these records are not torn."""
        for crash in (False, True):
            for size in (0, 1, 10, 31, 32, 33, 32 + 32 * 7, 32 + 32 * 19 + 31):
                os.truncate(self.index, size)
                if crash:
                    self.crashed()
                self.check().stop()
        self.assertEqual(self.aside("torn"), [])

    def test_garbage_tail(self) -> None:
        """What follows the last entry and is none is cut off."""
        for crash in (False, True):
            for garbage in (b"\x00", bytes(32), b"\xff" * 31, b"\xff" * 32, b"\x55" * 1000):
                with open(self.index, "ab") as file:
                    file.write(garbage)
                if crash:
                    self.crashed()
                self.check().stop()
                self.assertEqual(os.path.getsize(self.index), HEADER_SIZE + 20 * ENTRY_SIZE)

    def test_damaged_header(self) -> None:
        """A damaged header is made anew, the index is kept, and no record is lost."""
        for crash in (False, True):
            for byte in (0, 8, 20, 28):
                flip(self.index, byte)
                if crash:
                    self.crashed()
                driven = self.check()
                self.assertEqual(driven.log.metrics.reads.mended, 1)
                driven.stop()
                self.assertEqual(decode_index_header(contents(self.index)), 20)
        self.assertEqual(len(self.aside("bad")), 8)

    def test_damaged_entry(self) -> None:
        """A record is served although its entry is damaged, and the entry is as it was afterwards."""
        before = contents(self.index)
        for crash in (False, True):
            for number in (0, 7, 19):
                for byte in (0, 9, 17, 21, 25, 30):
                    flip(self.index, HEADER_SIZE + number * ENTRY_SIZE + byte)
                    if crash:
                        self.crashed()
                    driven = self.check()
                    self.assertEqual(driven.log.metrics.reads.mended, 1)
                    driven.stop()
                    self.assertEqual(contents(self.index), before)

    def test_lost_identifier(self) -> None:
        """A record whose entry has lost the identifier is given by offset and by bucket, and to no identifier."""
        flip(self.index, HEADER_SIZE + 7 * ENTRY_SIZE + 9)
        flip(self.index, HEADER_SIZE + 7 * ENTRY_SIZE + 25)
        damaged = contents(self.index)
        driven = self.check()
        for id in (ZERO, id_in_bucket(0, 2, 1)):
            with self.assertRaises(DamagedRecord) as caught:
                driven.scan(id)
            self.assertEqual(caught.exception.offset, self.offsets[7])
            self.assertIn(f"the record after it is at offset {self.offsets[8]}", str(caught.exception))
        self.assertEqual(driven.scan(ZERO, self.offsets[8])[0], (self.offsets[8], self.payloads[8]))
        self.assertEqual(driven.log.metrics.reads.damaged, 3)
        driven.stop()
        self.assertEqual(contents(self.index), damaged)

    def test_damaged_while_acknowledged_as_os(self) -> None:
        """A damaged last entry behind the mark is not taken for a torn tail."""
        driven = self.start()
        (offset,) = driven.append(ZERO, b"the last", durability=OS)
        left = driven.copy(self.fresh())
        flip(os.path.join(left, "default", "append.0.idx"), HEADER_SIZE + 20 * ENTRY_SIZE + 24)
        self.assertEqual(self.start(left).scan(ZERO)[-1], (offset, b"the last"))

    def test_unprovable(self) -> None:
        """If it cannot, it is damaged, and only it."""
        for number in (0, 7, 19):
            saved = contents(self.index)
            with open(self.index, "r+b") as file:
                file.seek(HEADER_SIZE + number * ENTRY_SIZE)
                file.write(b"\x55" * ENTRY_SIZE)
            driven = self.start()
            for n, offset in enumerate(self.offsets):
                if n == number:
                    with self.assertRaises(DamagedRecord) as caught:
                        driven.get(ZERO, offset)
                    self.assertEqual(
                        (caught.exception.offset, caught.exception.file), (offset, driven.path("append.0.raw"))
                    )
                else:
                    self.assertEqual(driven.get(ZERO, offset), self.payloads[n])
            self.assertEqual(driven.append(ZERO, b"x"), (os.path.getsize(driven.path("append.0.raw")) - 5,))
            driven.kill()
            os.truncate(self.path("append.0.raw"), self.offsets[-1] + 4 + len(self.payloads[-1]))
            with open(self.index, "wb") as file:
                file.write(saved)

    def test_both_at_the_end(self) -> None:
        """Of a clean log whose last record and entry are damaged, the others stay readable."""
        flip(self.index, HEADER_SIZE + 19 * ENTRY_SIZE)
        flip(self.path("append.0.raw"), self.offsets[-1] + 6)
        driven = self.start()
        with self.assertRaises(DamagedRecord):
            driven.get(ZERO, self.offsets[-1])
        self.assertEqual(driven.get(ZERO, self.offsets[-2]), self.payloads[-2])


class SyncedRecordTests(RecoveryTestCase):
    """What is known to be on disk is never cut off."""

    def setUp(self) -> None:
        super().setUp()
        driven = self.start()
        driven.append(ZERO, b"first", b"second", b"third")
        driven.stop()

    def test_flipped(self) -> None:
        """
        A damaged last record is an error with file and offset; the others stay readable; its offset is not given
        again.
        """
        for byte in range(19, 28):
            directory = self.directory
            self.directory = self.fresh()
            shutil.copytree(directory, self.directory)
            flip(self.path("append.0.raw"), byte)
            os.unlink(os.path.join(self.directory, ".wal", "clean"))
            driven = self.start()
            with self.assertRaises(DamagedRecord) as caught:
                driven.get(ZERO, 19)
            self.assertEqual((caught.exception.file, caught.exception.offset), (self.path("append.0.raw"), 19))
            self.assertIn(self.path("append.0.raw"), caught.exception.detail)
            self.assertEqual([driven.get(ZERO, offset) for offset in (0, 9)], [b"first", b"second"])
            self.assertEqual(driven.append(ZERO, b"fourth"), (28,))
            self.assertEqual(driven.get(ZERO, 28), b"fourth")
            driven.stop()
            self.directory = directory

    def test_scan(self) -> None:
        """A scan gives what is before the damage, then the error; it can go on behind it."""
        flip(self.path("append.0.raw"), 14)
        driven = self.start()
        scan = driven.reactor.wait(driven.log.scan("default", 0))
        self.assertEqual([record.payload for record in driven.reactor.wait(scan.next_batch())], [b"first"])
        for _ in range(2):
            with self.assertRaises(DamagedRecord) as caught:
                driven.reactor.wait(scan.next_batch())
        self.assertIn("the record after it is at offset 19", caught.exception.detail)
        scan.close()
        self.assertEqual(driven.scan(0, 19), [(19, b"third")])

    def test_shortened(self) -> None:
        """A bucket file that lost its end does not give those offsets again."""
        for size in (0, 8, 9, 18, 20, 27):
            directory = self.directory
            self.directory = self.fresh()
            shutil.copytree(directory, self.directory)
            os.truncate(self.path("append.0.raw"), size)
            driven = self.start()
            for offset, end, payload in [(0, 9, b"first"), (9, 19, b"second"), (19, 28, b"third")]:
                if end <= size:
                    self.assertEqual(driven.get(ZERO, offset), payload)
                else:
                    with self.assertRaises(DamagedRecord):
                        driven.get(ZERO, offset)
            self.assertEqual(driven.append(ZERO, b"fourth"), (28,))
            driven.stop()
            driven = self.start()
            self.assertEqual(driven.get(ZERO, 28), b"fourth")
            driven.stop()
            self.directory = directory

    def test_lost_pages(self) -> None:
        """Where both files lost their pages there is damage, and no empty record."""
        for name, size in (("append.0.raw", 28), ("append.0.idx", HEADER_SIZE + 3 * ENTRY_SIZE)):
            with open(self.path(name), "r+b") as file:
                file.seek(HEADER_SIZE if name.endswith("idx") else 0)
                file.write(bytes(size - file.tell()))
        driven = self.start()
        with self.assertRaises(DamagedRecord):
            driven.get(ZERO, 0)


class UnreadableTests(RecoveryTestCase):
    """The disk does not give what it holds."""

    def test_errors(self) -> None:
        """
        An error of the disk under a record, its index or a scan is damage with file and offset, whatever the record's
        size.
        """
        # Where the file system tells whether bytes are in memory: else nothing is read at once.
        driven = self.start(on_disk(self))
        offsets = driven.append(ZERO, b"small", bytes(100_000), bytes(2 << 20))
        record = driven.reactor.wait(driven.log.get("default", ZERO, offsets[2]))
        bucket = driven.log.find_open("default", ZERO)[0]
        pread, preadv = os.pread, os.preadv
        for broken in (bucket.raw_fd, bucket.index_fd):

            def check(fd: int, broken: int = broken) -> None:
                if fd == broken:
                    raise OSError(5, "Input/output error")

            with (
                patch("os.pread", lambda fd, size, offset, check=check: check(fd) or pread(fd, size, offset)),
                patch(
                    "os.preadv",
                    lambda fd, into, offset, flags, check=check: check(fd) or preadv(fd, into, offset, flags),
                ),
            ):
                for offset in offsets:
                    with self.assertRaises(DamagedRecord) as caught:
                        driven.get(ZERO, offset)
                    self.assertEqual((caught.exception.file, caught.exception.offset), (bucket.path, offset))
                    with self.assertRaises(DamagedRecord):
                        driven.scan(0, offset)
                self.assertRaises(DamagedRecord, bucket.read, 0)
                if broken == bucket.raw_fd:
                    with self.assertRaises(DamagedRecord):
                        driven.reactor.wait(Deferred.fromCoroutine(record.read_piece(0)))
        self.assertEqual(driven.get(ZERO, 0), b"small")


class ReplayTests(RecoveryTestCase):
    """The write-ahead log."""

    def power_cut(self, driven: Driven, before: str) -> str:
        """What a power cut leaves that lost everything but the write-ahead log since C{before} was copied."""
        after = driven.copy(self.fresh())
        for prefix in os.listdir(before):
            if prefix != ".wal" and os.path.isdir(os.path.join(after, prefix)):
                shutil.rmtree(os.path.join(after, prefix))
                shutil.copytree(os.path.join(before, prefix), os.path.join(after, prefix))
        return after

    def test_lost_pages(self) -> None:
        """What was acknowledged as on disk comes back, entries included, and the log goes on."""
        driven = self.start()
        before = driven.copy(self.fresh())
        acknowledged = [
            (id, driven.append(id, payload)[0], payload)
            for id, payload in [(ZERO, b"a"), (ONE, b"bb"), (ZERO, b"ccc"), (ZERO, b"d" * 5000)]
        ]
        after = self.power_cut(driven, before)
        self.assertEqual(os.path.getsize(os.path.join(after, "default", "append.0.raw")), 0)
        for _ in range(3):
            driven = self.start(after)
            for id, offset, payload in acknowledged:
                self.assertEqual(driven.get(id, offset), payload)
            self.assertEqual(len(driven.scan(ZERO)), len([a for a in acknowledged if a[0] == ZERO]))
            acknowledged.append((ZERO, driven.append(ZERO, b"more")[0], b"more"))
            after = driven.copy(self.fresh())

    def test_torn_pages(self) -> None:
        """Bucket and index files cut anywhere are made whole again."""
        driven = self.start()
        payloads = [b"%d" % n * (n + 1) for n in range(8)]
        for payload in payloads:
            driven.append(ZERO, payload)
        left = driven.copy(self.fresh())
        size = os.path.getsize(driven.path("append.0.raw"))
        random = Random(2)
        for _ in range(20):
            copy = self.fresh()
            shutil.copytree(left, copy)
            os.truncate(os.path.join(copy, "default", "append.0.raw"), random.randrange(size))
            os.truncate(
                os.path.join(copy, "default", "append.0.idx"),
                random.randrange(HEADER_SIZE, HEADER_SIZE + 8 * ENTRY_SIZE),
            )
            driven = self.start(copy)
            self.assertEqual(driven.scan(0), list(zip(offsets_of(payloads), payloads, strict=True)))
            driven.kill()

    def test_missing_index(self) -> None:
        """A bucket whose index is missing is indexed whole, whatever the write-ahead log holds of it."""
        SeedStore(self.directory, 2).append(ZERO, b"theirs")
        driven = self.start()
        driven.append(ZERO, b"ours")
        left = driven.copy(self.fresh())
        os.unlink(os.path.join(left, "default", "append.0.idx"))
        driven = self.start(left)
        self.assertEqual(driven.scan(0), [(0, b"theirs"), (10, b"ours")])

    def test_mixed_levels(self) -> None:
        """
        A record on disk has no hole before it, although what is before was acknowledged as in the page cache only.
        """
        driven = self.start()
        driven.append(ZERO, b"one", durability=DISK)
        driven.append(ZERO, b"two", durability=OS)
        files = Watched()
        driven.log.checkpointer._files = files
        files.paths = {bucket.raw_fd: "raw" for bucket in driven.log._prefixes.open["default"].buckets} | {
            bucket.index_fd: "idx" for bucket in driven.log._prefixes.open["default"].buckets
        }
        driven.append(ZERO, b"three", durability=DISK)
        self.assertEqual(files.calls, [("sync", "raw"), ("write", "idx"), ("sync", "idx")])

    def test_long_run(self) -> None:
        """Runs longer than a quarter of a segment are synced in their files and not framed."""
        files = Watched()
        driven = self.start(files=files)
        frames = driven.log.wal.frames
        for payloads in ([bytes(20_000)], [b"x"] * 1000):
            files.calls.clear()
            driven.append(ZERO, *payloads)
            self.assertIn(("sync", "append.0.raw"), files.calls)
            self.assertNotIn("write_synced", [name for name, _ in files.calls])
        self.assertEqual(driven.log.wal.frames, frames)
        driven.append(ZERO, b"short")
        self.assertEqual(driven.log.wal.frames, frames + 1)

    def test_segment_sizes(self) -> None:
        """No segment grows, whatever is appended."""
        driven = self.start(wal_size=1 << 20)
        for n in range(200):
            driven.append((ZERO, ONE)[n % 2], *([b"x"] * (1 + n * 17 % 2500)))
            if n % 50 == 0:
                driven.close("default")
        sizes = {os.path.getsize(os.path.join(self.directory, ".wal", f"segment.{n}")) for n in range(4)}
        self.assertEqual(sizes, {1 << 18})

    def test_around(self) -> None:
        """
        Many times around all segments, every record comes back after a power cut that lost whatever was not synced.
        """
        driven = self.start(wal_size=1 << 20)
        acknowledged = []
        for n in range(2000):
            payload = b"%d" % n * 150
            acknowledged.append(((ZERO, ONE)[n % 2], driven.append((ZERO, ONE)[n % 2], payload)[0], payload))
        self.assertGreater(driven.log.wal.bytes_written, 1 << 20)
        after = driven.copy(self.fresh())
        for number in (0, 1):
            synced = decode_index_header(contents(os.path.join(after, "default", f"append.{number}.idx")))
            assert synced is not None
            self.assertTrue(0 < synced < 1000)
            os.truncate(os.path.join(after, "default", f"append.{number}.idx"), HEADER_SIZE + synced * ENTRY_SIZE)
            end = sum(
                4 + len(payload) for id, _, payload in [a for a in acknowledged if a[0] == (ZERO, ONE)[number]][:synced]
            )
            os.truncate(os.path.join(after, "default", f"append.{number}.raw"), end)
        driven = self.start(after, wal_size=1 << 20)
        for id, offset, payload in acknowledged:
            self.assertEqual(driven.get(id, offset), payload)
        self.assertFalse([name for name in os.listdir(after) if "damaged" in name])

    def test_torn_frame(self) -> None:
        """A frame torn at the end is ignored, and its place used again."""
        driven = self.start()
        before = driven.copy(self.fresh())
        driven.append(ZERO, b"whole")
        driven.append(ZERO, b"torn")
        after = self.power_cut(driven, before)
        segment = os.path.join(after, ".wal", "segment.0")
        at = contents(segment).rindex(b"torn")
        flip(segment, at)
        driven = self.start(after)
        self.assertEqual(driven.scan(0), [(0, b"whole")])
        self.assertFalse([name for name in os.listdir(after) if "damaged" in name])
        self.assertEqual(driven.append(ZERO, b"new"), (9,))

    def test_gap(self) -> None:
        """A damaged frame before others is reported, the segments are kept, the others applied."""
        driven = self.start()
        before = driven.copy(self.fresh())
        for payload in (b"first", b"middle", b"last"):
            driven.append(ZERO, payload)
        after = self.power_cut(driven, before)
        segment = os.path.join(after, ".wal", "segment.0")
        flip(segment, contents(segment).rindex(b"middle"))
        wal = contents(segment)
        driven = self.start(after)
        self.assertEqual(driven.get(ZERO, 0), b"first")
        self.assertEqual(driven.get(ZERO, 19), b"last")
        with self.assertRaises(DamagedRecord):
            driven.get(ZERO, 9)
        (kept,) = [name for name in os.listdir(after) if name.startswith(".wal.damaged.")]
        self.assertEqual(contents(os.path.join(after, kept, "segment.0")), wal)
        self.assertEqual(driven.append(ZERO, b"new"), (27,))

    def test_nonsense_frame(self) -> None:
        """A frame that cannot be taken apart stops the start, and is named."""
        self.start().stop()
        salt = read_salt(os.path.join(self.directory, ".wal"), UnsyncedFiles())
        assert salt is not None
        rest = struct.pack("<QQII", 1000, 1000, 3, 1) + b"abc"
        segment = os.path.join(self.directory, ".wal", "segment.1")
        with open(segment, "r+b") as file:
            file.write(b"SHWL" + struct.pack("<I", crc32c(rest, salt)) + rest)
        with self.assertRaises(StorehouseError) as caught:
            self.start()
        self.assertIn(segment, str(caught.exception))

    def test_forged_frame(self) -> None:
        """
        A record that holds what looks like a frame, where an older frame's inside is met behind the newest one, is
        not taken for one.
        """
        forged = encode_frame(
            10**6, 10**6, [(b"default", 1, 0, 0, encode_entry(0, 1, 6, crc32c(b"forged"), 7), raw(b"forged"))]
        )
        before_payload = 32 + 28 + len(b"default") + ENTRY_SIZE + 4
        payload = bytearray(12_000)
        for boundary in (4096, 8192):
            payload[boundary - before_payload : boundary - before_payload + len(forged)] = forged
        driven = self.start()
        driven.append(ONE, b"victim")
        for _ in range(20):
            driven.append(ZERO, bytes(payload))
        for _ in range(6):
            driven.append(ONE, b"x")
            self.assertEqual(self.start(driven.copy(self.fresh())).get(ONE, 0), b"victim")

    def test_salt(self) -> None:
        """The salt is the log's own; without it the start is refused in words, and works again once it is back."""
        driven = self.start()
        driven.append(ZERO, b"x")
        left = driven.copy(self.fresh())
        salt = os.path.join(left, ".wal", "salt")
        saved = contents(salt)
        self.start(self.fresh())
        for damage in (saved[:7], b"", bytes([saved[0] ^ 1, saved[1] ^ 1]) + saved[2:], None):
            if damage is None:
                os.unlink(salt)
            else:
                with open(salt, "wb") as file:
                    file.write(damage)
            with self.assertRaises(StartFailed) as caught:
                self.start(left)
            self.assertIn(salt, str(caught.exception))
        with open(salt, "wb") as file:
            file.write(saved)
        self.assertEqual(self.start(left).get(ZERO, 0), b"x")

    def test_deleted_prefix(self) -> None:
        """What is gone is skipped."""
        driven = self.start()
        driven.append(ZERO, b"kept")
        driven.append(ZERO, b"gone", prefix="other")
        after = driven.copy(self.fresh())
        shutil.rmtree(os.path.join(after, "other"))
        driven = self.start(after)
        self.assertEqual(list(driven.stat()), ["default"])
        self.assertEqual(driven.get(ZERO, 0), b"kept")

    def test_not_resurrected(self) -> None:
        """
        A crash after a deletion brings back nothing, neither the prefix nor its records into a new one of its name.
        """
        driven = self.start()
        driven.append(ZERO, b"old record", prefix="other")
        driven.delete("other")
        gone = driven.copy(self.fresh())
        driven.append(ZERO, b"new", prefix="other")
        new = driven.copy(self.fresh())
        self.assertEqual(list(self.start(gone).stat()), ["default"])
        again = self.start(new)
        self.assertEqual(again.scan(0, prefix="other"), [(0, b"new")])

    def test_not_over_others(self) -> None:
        """After a close and a crash, a replay does not write over what another program did to the files."""
        driven = self.start()
        driven.append(ZERO, b"old record", prefix="other")
        driven.close("other")
        after = driven.copy(self.fresh())
        for name in os.listdir(os.path.join(after, "other")):
            os.unlink(os.path.join(after, "other", name))
        SeedStore(after, 2).append(ZERO, b"theirs", "other")
        self.assertEqual(self.start(after).scan(0, prefix="other"), [(0, b"theirs")])

    def test_interrupted_deletion(self) -> None:
        """A deletion that a crash interrupted is finished at the start."""
        driven = self.start()
        driven.append(ZERO, b"x", prefix="other")
        driven.stop()
        os.rename(os.path.join(self.directory, "other"), os.path.join(self.directory, ".deleted.other.abc"))
        os.mkdir(os.path.join(self.directory, ".new.third"))
        self.start()
        self.assertEqual(sorted(os.listdir(self.directory)), [".wal", "default"])

    def test_smaller_log(self) -> None:
        """The size of the write-ahead log may change between two starts."""
        driven = self.start(wal_size=1 << 20)
        before = driven.copy(self.fresh())
        for n in range(30):
            driven.append(ZERO, b"%02d" % n)
        after = self.power_cut(driven, before)
        for size in (1, 1 << 21, 1):
            driven = self.start(after, wal_size=size)
            self.assertEqual([payload for _, payload in driven.scan(0)], [b"%02d" % n for n in range(30)])
            driven.kill()

    def test_unwritable(self) -> None:
        """A replay that the disk refuses stops the start in words."""
        driven = self.start()
        driven.append(ZERO, b"x")
        after = driven.copy(self.fresh())
        files = Watched()
        files.fail = lambda name, path: 5 if path.endswith("append.0.raw") and name == "write" else 0
        with self.assertRaises(StartFailed) as caught:
            self.start(after, files)
        self.assertIn("cannot be replayed", str(caught.exception))


class StartTests(RecoveryTestCase):
    """What a start costs."""

    def test_reads_tails_only(self) -> None:
        """A clean start reads headers, last entries and last records, however long the files are."""
        driven = self.start()
        driven.append(ZERO, *[b"x" * 900] * 5000)
        driven.stop()
        read = 0
        pread = os.pread

        def counted(fd: int, size: int, offset: int) -> bytes:
            nonlocal read
            data = pread(fd, size, offset)
            read += len(data)
            return data

        with patch("os.pread", counted):
            driven = self.start()
        self.assertEqual(driven.stat()["default"].records, 5000)
        # The write-ahead log is looked at: a header each 4096 bytes, and its few frames.
        self.assertLess(read, 16 * 1024)

    def test_clean_start_writes_little(self) -> None:
        """A clean start changes no bucket file and no index."""
        driven = self.start()
        driven.append(ZERO, b"x")
        driven.stop()
        files = Watched()
        self.start(files=files)
        self.assertEqual([call for call in files.calls if call[1].startswith("append.")], [])


class BitFlipTests(RecoveryTestCase):
    """Whatever bit of whatever file turns, a read gives the right bytes or an error, and a scan by identifier its own."""

    ids = (ZERO, id_in_bucket(0, 2, 1))

    def setUp(self) -> None:
        super().setUp()
        self.driven = self.start()
        self.records: list[tuple[bytes, int, bytes]] = []
        for number, payload in enumerate((b"a", b"bb", b"ccc")):
            id = self.ids[number % 2]
            self.records.append((id, self.driven.append(id, payload)[0], payload))

    def check(self, driven: Driven, most: int) -> int:
        """@return: how many records were not given by their offsets, at most C{most}."""
        missing = 0
        whole = {offset: payload for _, offset, payload in self.records}
        for _, offset, payload in self.records:
            for asked in (offset, offset + 4):
                try:
                    self.assertEqual(driven.get(ZERO, asked), payload)
                except DamagedRecord:
                    missing += asked == offset
        self.assertLessEqual(missing, most)
        for wanted in (*self.ids, 0):
            expected = [(offset, payload) for id, offset, payload in self.records if not wanted or wanted == id]
            found = []
            scan = driven.reactor.wait(driven.log.scan("default", wanted, 0))
            try:
                while batch := driven.reactor.wait(scan.next_batch()):
                    found += [(record.offset, record.payload) for record in batch]
            except DamagedRecord as error:
                self.assertIn(error.offset, whole)
                self.assertEqual(found, expected[: len(found)])
                self.assertTrue(missing)
            else:
                self.assertEqual(found, expected)
            scan.close()
        return missing

    def bits_of(self, path: str, size: int | None = None) -> range:
        return range(8 * (os.path.getsize(path) if size is None else size))

    def test_running(self) -> None:
        """While the log is open: of the index nothing is lost and it is as it was afterwards; of the records one."""
        index, raw_path = self.path("append.0.idx"), self.path("append.0.raw")
        before = contents(index)
        for bit in self.bits_of(index):
            flip(index, bit // 8, bit % 8)
            self.check(self.driven, 0)
            if bit < 8 * HEADER_SIZE:
                flip(index, bit // 8, bit % 8)
        self.assertEqual(contents(index), before)
        self.assertEqual(self.driven.log.metrics.reads.mended, 8 * 3 * ENTRY_SIZE)
        for bit in self.bits_of(raw_path):
            flip(raw_path, bit // 8, bit % 8)
            self.assertEqual(self.check(self.driven, 1), 1)
            flip(raw_path, bit // 8, bit % 8)

    def each_start(self, left: str, name: str, most: int, bits: Iterable[int]) -> None:
        """A start for each turned bit of a file."""
        copy = self.fresh()
        for bit in bits:
            shutil.copytree(left, copy)
            flip(os.path.join(copy, name), bit // 8, bit % 8)
            driven = self.start(copy)
            self.check(driven, most)
            (new,) = driven.append(ZERO, b"new")
            self.assertEqual((new, driven.get(ZERO, new)), (18, b"new"), bit)
            driven.kill()
            shutil.rmtree(copy)

    def test_clean(self) -> None:
        """Of a log that was stopped, at most the record with the bit is lost."""
        self.driven.stop()
        self.each_start(self.directory, "default/append.0.idx", 0, range(0, 8 * 128, 5))
        self.each_start(self.directory, "default/append.0.raw", 1, range(0, 8 * 18, 3))
        self.each_start(self.directory, ".wal/salt", 0, range(64))

    def test_killed(self) -> None:
        """Of a log that was killed nothing is lost: the write-ahead log has it all."""
        left = self.driven.copy(self.fresh())
        self.each_start(left, "default/append.0.idx", 0, range(0, 8 * 128, 7))
        self.each_start(left, "default/append.0.raw", 0, range(0, 8 * 18, 3))
        self.each_start(left, ".wal/salt", 0, range(0, 64, 3))

    def test_write_ahead_log(self) -> None:
        """A bit of the write-ahead log loses nothing as long as the files are there."""
        left = self.driven.copy(self.fresh())
        used = self.driven.log.wal._segments[0].used
        frame = 32 + 28 + len(b"default") + ENTRY_SIZE + 4 + 3
        for start in range(0, used, 4096):
            self.each_start(left, ".wal/segment.0", 0, range(8 * start, 8 * (start + frame), 11))
