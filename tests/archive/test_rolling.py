"""From one archive to the next, and back again in order."""

from __future__ import annotations

import errno
import os
import threading
import time
from datetime import datetime
from pathlib import Path
from unittest import mock

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from storehouse.archive.archive import ArchiveReader
from storehouse.archive.finding import find_archives
from storehouse.archive.handlers import ArchiveCallback
from storehouse.archive.interfaces import IArchiveCallback, IRollChecker
from storehouse.archive.leftovers import Marker, latest_of, note_last
from storehouse.archive.names import make_name, name_key, numbered, template_pattern
from storehouse.archive.roll_checker import (
    AnyRollChecker,
    NeverRollChecker,
    RecordCountRollChecker,
    SizeRollChecker,
    TimeRollChecker,
)
from storehouse.archive.roll_manager import ReadingRollManager, RollTimer, WritingRollManager
from storehouse.core.files import Files
from storehouse.errors import DamagedArchive, InvalidSetting, NoMoreFiles, NoSpace, NotFound, UnknownArchiveFormat
from tests.archive.rig import KINDS, files_in, read, write
from tests.archive.test_writer import FakeFiles
from tests.integration.process import PATIENCE


class Told(ArchiveCallback):
    """Remembers what it was told."""

    def __init__(self) -> None:
        super().__init__()
        self.opened: list[str] = []
        self.closed: list[str] = []

    def on_open(self, filename: str) -> None:
        self.opened.append(filename)

    def on_close(self, filename: str) -> str:
        self.closed.append(filename)
        return filename


class CheckerTests(SynchronousTestCase):
    """When to roll."""

    def test_interfaces(self) -> None:
        for checker in (
            SizeRollChecker(),
            TimeRollChecker(),
            NeverRollChecker(),
            RecordCountRollChecker(roll_records=1),
            AnyRollChecker(checkers=["never"]),
        ):
            verifyObject(IRollChecker, checker)
        verifyObject(IArchiveCallback, ArchiveCallback())

    def rolls(self, checker: object, writes: int, size: int, clock: Clock | None = None) -> list[int]:
        """The number of records in each archive."""
        directory = self.mktemp()
        with WritingRollManager("a_%f", checker, directory, clock=clock) as manager:
            for _ in range(writes):
                manager.write({}, "x" * size)
                if clock is not None:
                    clock.advance(10)
        return [len(read(path)) for path in find_archives("a_*", directory)]

    def test_size(self) -> None:
        self.assertEqual(self.rolls(SizeRollChecker(roll_size_mb=1), 25, 1 << 17), [8, 8, 8, 1])

    def test_count(self) -> None:
        self.assertEqual(self.rolls(RecordCountRollChecker(roll_records=10), 25, 1), [10, 10, 5])

    def test_time(self) -> None:
        clock = Clock()
        self.assertEqual(self.rolls(TimeRollChecker(roll_minutes=1, clock=clock), 20, 1, clock), [7, 7, 6])

    def test_never(self) -> None:
        self.assertEqual(self.rolls(None, 20, 1), [20])

    def test_any(self) -> None:
        clock = Clock()
        checker = AnyRollChecker(
            checkers=[{"class": "records", "roll_records": 5}, TimeRollChecker(roll_minutes=1, clock=clock)]
        )
        self.assertEqual(self.rolls(checker, 12, 1, clock), [5, 5, 2])

    def test_bad_arguments(self) -> None:
        for wrong in (0, -1, "many", None, float("nan"), float("inf")):
            self.assertRaises(InvalidSetting, SizeRollChecker, roll_size_mb=wrong)
            self.assertRaises(InvalidSetting, TimeRollChecker, roll_minutes=wrong)
            self.assertRaises(InvalidSetting, RecordCountRollChecker, roll_records=wrong)
        self.assertRaises(InvalidSetting, RecordCountRollChecker, roll_records=0.5)
        self.assertRaises(InvalidSetting, AnyRollChecker, checkers=[])


class NameTests(SynchronousTestCase):
    """Safe names, all different."""

    NOW = datetime(2014, 2, 1, 10, 11, 12, 5)

    def test_safe(self) -> None:
        self.assertEqual(make_name("filename_%c.dat", self.NOW), "filename_Sat_Feb__1_10_11_12_2014.dat")
        self.assertEqual(make_name("../../etc/passwd", self.NOW), ".._.._etc_passwd")
        self.assertEqual(make_name("/a%%b\n", self.NOW), "_a%b_")
        for bad in ("", ".", "..", "a\0b", "x" * 300, "é" * 150):
            self.assertRaises(InvalidSetting, WritingRollManager, bad, None, self.mktemp())
        self.assertRaises(InvalidSetting, WritingRollManager, b"bytes", None, self.mktemp())

    def test_pattern(self) -> None:
        for template in ("a_%c.events", "a%%b", "%Y.%m.%d", "plain", "x_%f.a.b", ".hidden_%s"):
            name = make_name(template, self.NOW)
            pattern = template_pattern(template)
            for number in (0, 1, 999_999, 1_000_000):
                self.assertTrue(pattern.fullmatch(numbered(name, number)), (template, number))
            self.assertFalse(pattern.fullmatch("other.file"), template)

    def test_one_tick(self) -> None:
        """Archives of one moment have different names, in order, even if a callback takes each away."""
        clock = Clock()
        for callbacks in ([], ["delete"]):
            told = Told()
            directory = self.mktemp()
            with WritingRollManager(
                "a_%c.ev", {"class": "records", "roll_records": 1}, directory, clock=clock, callbacks=[told, *callbacks]
            ) as manager:
                for number in range(20):
                    manager.write({}, str(number))
            self.assertEqual(len(set(told.opened)), 20)
            self.assertEqual(sorted(told.opened), told.opened)
            self.assertEqual(told.opened, told.closed)
            if not callbacks:
                found = [payload for _, payload in ReadingRollManager("a_*", directory)]
                self.assertEqual(found, [str(number) for number in range(20)])
            self.assertEqual([name for name in files_in(directory) if name.startswith(".")], [])

    def test_two_managers(self) -> None:
        """On one directory they keep out of each other's way."""
        directory = self.mktemp()
        clock = Clock()
        managers = [WritingRollManager("a_%c", None, directory, clock=clock) for _ in range(3)]
        for number, manager in enumerate(managers):
            manager.write({}, str(number))
        late = WritingRollManager("a_%c", None, directory, clock=clock)
        self.assertEqual(late.recovered, ())
        for manager in managers:
            manager.close()
        self.assertEqual(sorted(payload for _, payload in ReadingRollManager("a_*", directory)), ["0", "1", "2"])


class OrderTests(SynchronousTestCase):
    """Reading order is the order of writing."""

    def written(self, template: str, days: int, **how: object) -> list[str]:
        """Payloads as they are read, one archive a day written."""
        directory = self.mktemp()
        clock = Clock()
        clock.advance(1_000_000_000)
        for number in range(days):
            # Each by a process of its own, as it were.
            with WritingRollManager(template, None, directory, clock=clock, **how) as manager:  # type: ignore[arg-type]
                manager.write({}, str(number))
            clock.advance(86_400)
        return [str(payload) for _, payload in ReadingRollManager("a_*", directory)]

    def test_weekdays(self) -> None:
        """Names in the order of the alphabet are not in the order of time."""
        for how in KINDS.values():
            self.assertEqual(self.written("a_%c.ev", 40, **how), [str(n) for n in range(40)])

    def test_names_say_nothing(self) -> None:
        """Version 2 goes by the header."""
        self.assertEqual(self.written("a_%d.ev", 25), [str(n) for n in range(25)])

    def test_clock_goes_back(self) -> None:
        directory = self.mktemp()

        class Back(Clock):
            def seconds(self) -> float:
                return 1e6 - super().seconds()

        clock = Back()
        for number in range(10):
            with WritingRollManager("a_%s_%f", None, directory, clock=clock) as manager:
                manager.write({}, str(number))
            clock.advance(5)
        self.assertEqual([p for _, p in ReadingRollManager("a_*", directory)], [str(n) for n in range(10)])

    def test_key(self) -> None:
        self.assertLess(name_key("t_Fri_Jan_30_10_00_00_2026.ev"), name_key("t_Sun_Feb__1_10_00_00_2026.ev"))
        self.assertLess(name_key("t_Thu_Dec_31_23_59_59_2026.ev"), name_key("t_Fri_Jan__1_00_00_00_2027.ev"))


class ManagerTests(SynchronousTestCase):
    """The managers themselves."""

    def test_lazy(self) -> None:
        """An archive is made when its first record comes, and none is empty."""
        directory = self.mktemp()
        manager = WritingRollManager("a_%f", {"class": "records", "roll_records": 2}, directory)
        manager.close()
        manager.roll()
        manager.flush()
        manager.poll()
        self.assertEqual(os.listdir(directory), [])
        self.assertEqual(manager.write_many([({}, "a"), ({}, "b"), ({}, "c")]), 3)
        self.assertIsNone(manager.active_filename)
        manager.write({}, "d")
        self.assertIsNotNone(manager.active_filename)
        manager.close()
        self.assertEqual([len(read(path)) for path in find_archives("a_*", directory)], [3, 1])

    def test_poll(self) -> None:
        """Time rolls while nothing is written, and what waits in the buffer is handed over."""
        clock = Clock()
        directory = self.mktemp()
        told = Told()
        manager = WritingRollManager(
            "a_%s", TimeRollChecker(roll_minutes=1, clock=clock), directory, archive_callback=told, clock=clock
        )
        manager.write({}, "x")
        self.assertEqual(read(told.opened[0]), [])
        manager.poll()
        self.assertEqual(read(told.opened[0]), [({}, "x")])
        clock.advance(59)
        manager.poll()
        self.assertEqual(told.closed, [])
        clock.advance(1)
        manager.poll()
        self.assertEqual(told.closed, told.opened)
        clock.advance(600)
        manager.poll()
        self.assertEqual(len(told.opened), 1)

    def test_timer(self) -> None:
        """A thread polls."""
        told = Told()
        manager = WritingRollManager("a_%f", TimeRollChecker(roll_minutes=0.0005), self.mktemp(), archive_callback=told)
        with RollTimer(manager, interval=0.01):
            manager.write({}, "x")
            deadline = time.monotonic() + PATIENCE
            while not told.closed and time.monotonic() < deadline:
                time.sleep(0.01)
        self.assertEqual(len(told.closed), 1)

    def test_threads(self) -> None:
        """Writers in several threads and the timer lose nothing."""
        directory = self.mktemp()
        manager = WritingRollManager("a_%f", {"class": "records", "roll_records": 7}, directory)

        def work(thread: int) -> None:
            for number in range(200):
                manager.write({"thread": str(thread)}, str(number))

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        with RollTimer(manager, interval=0.001):
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        manager.close()
        found: dict[str, list[int]] = {}
        for kept, payload in ReadingRollManager("a_*", directory):
            found.setdefault(kept["thread"], []).append(int(payload))
        self.assertEqual(found, {str(number): list(range(200)) for number in range(4)})

    def test_sequence(self) -> None:
        """Headers count on."""
        directory = self.mktemp()
        for _ in range(3):
            with WritingRollManager("a_%f", None, directory) as manager:
                manager.write({}, "x")
        sequences = []
        for path in find_archives("a_*", directory):
            with ArchiveReader(path) as reader:
                sequences.append(reader.info.sequence)
        self.assertEqual(sequences, [1, 2, 3])

    def test_order_of_what_is_gone(self) -> None:
        """It goes on from where it was, though no archive is there any more, and the clock went back."""
        directory = self.mktemp()
        clock = Clock()
        infos = []
        for now, callbacks in ((1e9, ["delete"]), (1e9 - 500, ["delete"]), (1e9 - 900, []), (1e9 - 1000, [])):
            clock.rightNow = now
            with WritingRollManager("a %f.ev", None, directory, callbacks=callbacks, clock=clock) as manager:
                manager.write({}, "x")
                infos.append(manager.active_archive.info)
        self.assertEqual([info.sequence for info in infos], [1, 2, 3, 4])
        self.assertEqual([info.created - infos[0].created for info in infos], [0, 1, 2, 3])
        names = os.listdir(directory)
        self.assertEqual((len(names), len(find_archives("*", directory))), (3, 2))
        self.assertIn(".a_%f.ev.last", names)
        # Two writers, what is cut off, and what cannot be written.
        last = Path(directory, ".a_%f.ev.last")
        pattern = template_pattern("a %f.ev")
        note_last(directory, "a %f.ev", 1, 9, Files())
        self.assertEqual(latest_of(directory, "a %f.ev", pattern), (infos[-1].created, 9))
        last.write_bytes(last.read_bytes()[:-9])
        self.assertEqual(latest_of(directory, "a %f.ev", pattern), (infos[-1].created, 4))
        files = FakeFiles()
        files.room = 5
        note_last(directory, "a %f.ev", 1, 9, files)
        self.assertEqual(latest_of(directory, "a %f.ev", pattern)[1], 4)
        with WritingRollManager("b", None, directory, keep_order=False) as manager:
            manager.write({}, "x")
        self.assertNotIn(".b.last", os.listdir(directory))

    def test_full(self) -> None:
        """A roll that finds no room is tried again; a record that was taken is no error."""
        files = FakeFiles()
        directory = self.mktemp()
        manager = WritingRollManager(
            "a_%f", {"class": "records", "roll_records": 2}, directory, files=files, buffer_size=10_000, clock=Clock()
        )
        manager.write({}, "a")
        files.room = 20
        manager.write({}, "b")
        self.assertRaises(NoSpace, manager.roll)
        manager.poll()
        files.room = None
        manager.poll()
        self.assertEqual([p for _, p in ReadingRollManager("a_*", directory)], ["a", "b"])

    def test_no_room_for_the_footer(self) -> None:
        """The archive is complete, and its callbacks called, when there is room."""
        files = FakeFiles()
        told = Told()
        directory = self.mktemp()
        manager = WritingRollManager("a_%f", None, directory, files=files, buffer_size=0, archive_callback=told)
        manager.write({}, "a")
        files.room = manager.active_archive.size + 5
        manager.close()
        self.assertEqual(told.closed, [])
        files.room = None
        manager.poll()
        self.assertEqual(told.closed, told.opened)
        with ArchiveReader(told.closed[0]) as reader:
            self.assertTrue(reader.complete)
        self.assertEqual(files_in(directory), [os.path.basename(told.closed[0])])

    def test_no_room_for_the_marker(self) -> None:
        """What is left to do cannot be noted: that is no error of the record, and the callbacks are called later."""
        files = FakeFiles()
        told = Told()
        directory = self.mktemp()
        how = {"directory": directory, "files": files, "sync": "record", "archive_callback": told}
        manager = WritingRollManager("a_%f", {"class": "records", "roll_records": 2}, **how)
        full = OSError(errno.ENOSPC, "full")
        with mock.patch.object(Marker, "note", autospec=True, side_effect=full):
            for number in range(3):
                manager.write({}, str(number))
            manager.write_many([({}, "3")])
            manager.poll()
            self.assertEqual((told.closed, len(manager.pending)), ([], 2))
        self.assertEqual(sorted(job.filename for job in manager.pending), told.opened)
        manager.poll()
        self.assertEqual((told.closed, manager.pending), (told.opened, ()))
        self.assertEqual(files_in(directory), [os.path.basename(path) for path in told.opened])
        with mock.patch.object(Marker, "note", autospec=True, side_effect=full):
            manager.write({}, "4")
            manager.stop()
        self.assertEqual(len(told.closed), 2)
        # The next one takes it up.
        WritingRollManager("a_%f", None, **how).close()
        self.assertEqual(told.closed, told.opened)
        self.assertEqual([p for _, p in ReadingRollManager("a_*", directory)], list("01234"))


class ReadingTests(SynchronousTestCase):
    """The reading manager."""

    def setUp(self) -> None:
        self.directory = self.mktemp()
        os.mkdir(self.directory)

    def path(self, name: str) -> str:
        return os.path.join(self.directory, name)

    def test_callbacks(self) -> None:
        told = Told()
        for number in range(3):
            write(self.path(f"a{number}"), [({}, str(number))], created=number + 1)
        manager = ReadingRollManager("a*", self.directory, archive_callback=told)
        manager.read()
        self.assertEqual((len(told.opened), told.closed), (1, []))
        list(manager)
        self.assertEqual(told.closed, [self.path(f"a{number}") for number in range(3)])
        self.assertRaises(NoMoreFiles, manager.read)
        self.assertRaises(EOFError, manager.read)

    def test_left_early(self) -> None:
        """Callbacks are not called for an archive that was not read to its end: they may delete it."""
        write(self.path("a"), [({}, "1"), ({}, "2")])
        with ReadingRollManager("a", self.directory, callbacks=["delete"]) as manager:
            manager.read()
        self.assertTrue(os.path.exists(self.path("a")))
        list(ReadingRollManager("a", self.directory, callbacks=["delete"]))
        self.assertFalse(os.path.exists(self.path("a")))

    def test_odd_files(self) -> None:
        """Empty archives, files that vanish, what is beside archives, and mixed versions."""
        Path(self.path("a0")).touch()
        write(self.path("a1"), [], version=2)
        write(self.path("a2"), [({}, "new")])
        write(self.path("a3"), [({}, "old")], version=1)
        write(self.path("a4"), [({}, "gone")], version=1)
        Path(self.path("a2.torn")).write_bytes(b"torn")
        os.mkdir(self.path("a5"))
        manager = ReadingRollManager("a*", self.directory)
        os.unlink(self.path("a4"))
        self.assertEqual(manager.read(), ({}, "old"))
        self.assertIn("was moved or removed before it was read", str(self.assertRaises(NotFound, manager.read)))
        self.assertEqual(list(manager), [({}, "new")])
        manager = ReadingRollManager("a*", self.directory, skip_damaged=True)
        os.unlink(self.path("a3"))
        self.assertEqual(list(manager), [({}, "new")])
        self.assertEqual(len(manager.damages), 1)
        self.assertEqual(list(ReadingRollManager(f"{self.directory}/a2")), [({}, "new")])
        self.assertRaises(InvalidSetting, ReadingRollManager, "a*", "no such directory")

    def test_damage(self) -> None:
        """It is raised until the file is skipped; or all is skipped and kept."""
        data = bytearray(write(self.path("a1"), [({}, "1" * 50), ({}, "2" * 50)], created=1))
        data[70] ^= 1
        Path(self.path("a1")).write_bytes(data)
        write(self.path("a2"), [({}, "3")], created=2)
        manager = ReadingRollManager("a*", self.directory)
        for _ in range(3):
            self.assertRaises(DamagedArchive, manager.read)
        manager.skip_file()
        self.assertEqual(manager.read(), ({}, "3"))
        manager = ReadingRollManager("a*", self.directory, skip_damaged=True)
        self.assertEqual([payload for _, payload in manager], ["2" * 50, "3"])
        self.assertEqual(len(manager.damages), 1)
        self.flushLoggedErrors()

    def test_no_archive(self) -> None:
        Path(self.path("a1")).write_bytes(b"something else")
        write(self.path("a2"), [({}, "3")])
        manager = ReadingRollManager("a*", self.directory)
        self.assertRaises(UnknownArchiveFormat, manager.read)
        self.assertEqual(manager.read(), ({}, "3"))
        manager = ReadingRollManager("a*", self.directory, skip_damaged=True)
        self.assertEqual(list(manager), [({}, "3")])

    def test_torn(self) -> None:
        """Said so."""
        data = write(self.path("a1"), [({}, "1"), ({}, "2")], version=1)
        Path(self.path("a1")).write_bytes(data[:-1])
        manager = ReadingRollManager("a*", self.directory)
        self.assertEqual([payload for _, payload in manager], ["1"])
        self.assertEqual(manager.torn, [(self.path("a1"), len(data) // 2 - 1)])
