"""The paths that most records take give what the general ones give, and roll no record early or late."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from storehouse.archive import version1, version2
from storehouse.archive.archive import ArchiveReader, ArchiveWriter
from storehouse.archive.finding import find_archives
from storehouse.archive.interfaces import IQuietRollChecker
from storehouse.archive.roll_checker import (
    AnyRollChecker,
    NeverRollChecker,
    RecordCountRollChecker,
    RollChecker,
    SizeRollChecker,
    TimeRollChecker,
    quiet_size,
)
from storehouse.archive.roll_manager import ReadingRollManager, WritingRollManager
from storehouse.errors import DamagedArchive, InvalidRecord, StorageFailed
from tests.archive.rig import KINDS, SALT, UNHURRIED, metadata, payloads, read
from tests.archive.test_writer import FakeFiles


class Asked(RollChecker):
    """Counts how often it is asked, and rolls at a size."""

    asked = 0

    def check(self, archive: Any) -> bool:
        self.asked += 1
        return bool(archive.size >= 5000)


class QuietTests(SynchronousTestCase):
    """When a checker is asked."""

    def test_sizes(self) -> None:
        size, count = SizeRollChecker(roll_size_mb=2), RecordCountRollChecker(roll_records=5)
        self.assertEqual(quiet_size(NeverRollChecker(), None), float("inf"))
        self.assertEqual(quiet_size(size, None), 2 << 20)
        for checker in (count, TimeRollChecker(), Asked(), AnyRollChecker(checkers=[size, count]), object()):
            self.assertEqual(quiet_size(checker, None), 0)
        both = AnyRollChecker(checkers=[size, {"class": "size", "roll_size_mb": 1}, "never"])
        self.assertEqual(quiet_size(both, None), 1 << 20)
        verifyObject(IQuietRollChecker, both)
        size.check = lambda archive: True  # type: ignore[method-assign]
        self.assertEqual(quiet_size(size, None), 0)

    def test_overridden(self) -> None:
        """Who overrides C{check} of one of ours is asked after each record."""
        checker = Asked()
        directory = self.mktemp()
        with WritingRollManager("a_%f", checker, directory) as manager:
            for _ in range(8):
                manager.write({}, "x" * 1000)
        self.assertEqual(checker.asked, 8)
        self.assertEqual([len(read(path)) for path in find_archives("a_*", directory)], [5, 3])

    def test_exact(self) -> None:
        """The record that reaches the size is the last one, whatever the buffer holds."""
        for how in KINDS.values():
            for buffer_size in (0, 1000, 10_000, 1 << 20):
                directory = self.mktemp()
                sizes: list[list[int]] = []
                most = 20_000
                checker = SizeRollChecker(roll_size_mb=most / (1 << 20))
                # Of one name, whatever the time is: numbers tell the archives apart, and their order.
                with WritingRollManager("a_", checker, directory, buffer_size=buffer_size, **how) as manager:
                    for number in range(60):
                        if manager.active_archive is None:
                            sizes.append([])
                        else:
                            self.assertLess(manager.active_archive.size, most)
                        archive = manager.get_active_archive()
                        manager.write({"n": str(number)}, os.urandom(1500))
                        rolled = manager.active_archive is None
                        sizes[-1].append(archive.size)
                        self.assertEqual(rolled, archive.closed)
                        if rolled:
                            self.assertGreaterEqual(archive.size, most)
                found = [len(read(path)) for path in find_archives("a_*", directory)]
                self.assertEqual(found, [len(archive_sizes) for archive_sizes in sizes])
                self.assertGreater(len(found), 3)

    def test_threads(self) -> None:
        """With several at work, each archive has as many records as one thread would give it."""
        directory = self.mktemp()
        checker = SizeRollChecker(roll_size_mb=10_000 / (1 << 20))
        with WritingRollManager("a_%f", checker, directory, version=1, buffer_size=3000) as manager:

            def work() -> None:
                for _ in range(300):
                    manager.write({"k": "v"}, "x" * 964)  # 1000 bytes a record

            threads = [threading.Thread(target=work) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        self.assertEqual([len(read(path)) for path in find_archives("a_*", directory)], [10] * 120)


class SameTests(SynchronousTestCase):
    """Writing and reading, beside the general functions."""

    def general(self, version: int, record: tuple[Mapping[str, str], Any]) -> bytes:
        if version == 1:
            return b"".join(version1.encode_record(*record))
        return b"".join(version2.make_record_encoder(version2.seeds_of(SALT))(*record, 0))

    @UNHURRIED
    @given(st.lists(st.tuples(metadata, payloads), max_size=6), st.sampled_from([1, 2]))
    def test_bytes(self, records: list[tuple[dict[str, str], Any]], version: int) -> None:
        """Shapes that are new and those that were seen, on both paths."""
        version1.shapes.clear()
        version2.shapes.clear()
        path = self.mktemp()
        with ArchiveWriter(path, version=version, salt=SALT, clock=_Zero()) as writer:
            for record in records * 3:
                writer.write(*record)
            writer.flush()
            data = Path(path).read_bytes()
        start = version2.HEADER_SIZE if version == 2 else 0
        self.assertEqual(data[start:], b"".join(self.general(version, record) for record in records * 3))
        with ArchiveReader(path) as reader:
            pairs = list(reader)
            self.assertEqual(pairs, [(record.metadata, record.payload) for record in reader.records()])
        if version == 2:
            self.assertEqual(pairs, records * 3)

    def test_wrong(self) -> None:
        """What is refused is refused on the fast path, too, and leaves nothing behind."""
        wrong: list[tuple[Any, Any]] = [({"k": 1}, "x"), ({"k": b"v"}, "x"), ({"k": "v"}, 5), ({"k": "v"}, "\ud800")]
        wrong += [({"k": ["v"]}, "x"), ({b"bytes": "v"}, "x"), (None, "x"), ({"k": "v"}, None)]
        for how in KINDS.values():
            path = self.mktemp()
            with ArchiveWriter(path, **how) as writer:
                for _ in range(2):
                    writer.write({"k": "v"}, "right")
                    size = writer.size
                    for record in wrong:
                        self.assertRaises(InvalidRecord, writer.write, *record)
                    self.assertEqual(writer.size, size)
            self.assertEqual(read(path), [({"k": "v"}, "right")] * 2)

    def test_failed(self) -> None:
        """A manager whose archive failed goes on to refuse."""
        files = FakeFiles()
        manager = WritingRollManager("a_%f", None, self.mktemp(), files=files, sync="record")
        manager.write({"k": "v"}, "a")
        files.sync_error = OSError(5, "broken")
        self.assertRaises(StorageFailed, manager.write, {"k": "v"}, "b")
        files.sync_error = None
        self.assertRaises(StorageFailed, manager.write, {"k": "v"}, "c")
        assert manager._marker is not None
        self.addCleanup(manager._marker.release)

    def test_damage_in_its_place(self) -> None:
        """What is decoded ahead does not bring damage forward, and what was left is not given any more."""
        for kind, how in KINDS.items():
            directory = self.mktemp()
            with WritingRollManager("a_%f", None, directory, buffer_size=8000, **how) as manager:
                for number in range(2000):
                    manager.write({"n": f"{number:04d}"}, f"{number:04d}" * 250)
            path = find_archives("a_*", directory)[0]
            data = bytearray(Path(path).read_bytes())
            at = len(data) // 2
            # Version 1 notices it only in its fields.
            at = data.index(version1.START, at) if kind == "version 1" else at
            data[at] ^= 1
            Path(path).write_bytes(data)
            reading = ReadingRollManager("a_*", directory)
            got = 0
            with self.assertRaises(DamagedArchive):
                while True:
                    self.assertEqual(reading.read(), ({"n": f"{got:04d}"}, f"{got:04d}" * 250))
                    got += 1
            self.assertGreater(got, 500)
            self.assertRaises(DamagedArchive, reading.read)
            with ArchiveReader(path, skip_damaged=True) as reader:
                for _ in range(got):
                    reader.read()
                    self.assertEqual(reader.damages, [])
                rest = len(list(reader))
                self.assertEqual(len(reader.damages), 1)
            self.assertGreater(rest, 500)
            left = ReadingRollManager("a_*", directory)
            left.read()
            left.skip_file()
            self.assertEqual(list(left), [])


class _Zero:
    """A clock that stands."""

    def seconds(self) -> float:
        return 0.0
