"""Payloads as lines."""

from __future__ import annotations

import gzip
import hashlib
import os
import re
from pathlib import Path
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from storehouse.archive.roll_manager import WritingJSONRollManager
from storehouse.errors import InvalidRecord, InvalidSetting, NoSpace
from storehouse.testing.files import FailingFiles
from tests.archive.test_handlers import _Stop
from tests.archive.test_writer import FakeFiles

TEMPLATE = "%Y%m%d %X [[TIMESTAMP]] [[CRC]].event"


class JSONTests(SynchronousTestCase):
    """L{WritingJSONRollManager}."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_391_249_472.25)
        self.working, self.destination = self.mktemp(), self.mktemp()

    def manager(self, template: str = TEMPLATE, **how: Any) -> WritingJSONRollManager:
        return WritingJSONRollManager(
            template, directory=self.working, destination_directory=self.destination, clock=self.clock, **how
        )

    def found(self) -> list[bytes]:
        """What is in the destination, in the order of names."""
        paths = sorted(Path(self.destination).iterdir())
        return [gzip.decompress(path.read_bytes()) for path in paths]

    def test_names(self) -> None:
        manager = self.manager(roll_size_mb=0.00001)
        manager.write({"ignored": "x"}, '{"a": 1, "b": 2}')
        content = b'{"a": 1, "b": 2}\n'
        self.assertEqual(os.listdir(self.working), [])
        self.assertEqual(
            os.listdir(self.destination),
            [f"20140201_10_11_12_1391249472.250000_{hashlib.sha256(content).hexdigest()}.event.gz"],
        )
        self.assertEqual(self.found(), [content])

    def test_working_file(self) -> None:
        """One line a payload, in the page cache when write returns; the name has the mark as it stands."""
        manager = self.manager()
        for payload in ('{"a": 1}', b'{"b": 2}', '{"c":\n\n 3}'):
            manager.write({}, payload)
        (name,) = os.listdir(self.working)
        self.assertIn("[[CRC]]", name)
        self.assertEqual(Path(self.working, name).read_bytes(), b'{"a": 1}\n{"b": 2}\n{"c": 3}\n')
        self.assertRaises(InvalidRecord, manager.write, {}, "no\njson")
        self.assertRaises(InvalidRecord, manager.write, {}, None)
        manager.close()

    def test_size(self) -> None:
        manager = self.manager(roll_size_mb=1)
        for number in range(25):
            manager.write({}, f"{number:02d}" + "x" * ((1 << 17) - 3))
            self.clock.advance(0.001)
        manager.close()
        self.assertEqual([len(content) >> 17 for content in self.found()], [8, 8, 8])
        manager.archive_leftovers()
        self.assertEqual(b"".join(self.found()).count(b"\n"), 25)
        self.assertEqual(os.listdir(self.working), [])

    def test_time(self) -> None:
        manager = self.manager(roll_minutes=10)
        manager.poll()
        manager.write({}, "1")
        self.clock.advance(599)
        manager.poll()
        self.assertEqual(self.found(), [])
        self.clock.advance(1)
        manager.poll()
        self.assertEqual(self.found(), [b"1\n"])

    def test_leftovers(self) -> None:
        """What an earlier process left is archived at the start; other files are let alone, unless all are asked for."""
        manager = self.manager()
        manager.write({}, "1")
        manager._files.close(manager._fd)
        Path(self.working, "notes.txt").write_bytes(b"mine")
        self.manager()
        self.assertEqual((self.found(), os.listdir(self.working)), ([b"1\n"], ["notes.txt"]))
        self.manager(all_leftovers=True)
        self.assertEqual(os.listdir(self.working), [])
        self.assertEqual(sorted(self.found()), [b"1\n", b"mine"])
        self.assertRaises(InvalidSetting, WritingJSONRollManager, "x", self.working, self.working, all_leftovers=True)

    def test_killed_anywhere(self) -> None:
        """No line is lost, and no content is there twice."""
        steps = 0
        while True:
            self.working, self.destination = self.mktemp(), self.mktemp()
            manager = self.manager()
            manager.write({}, "1")
            manager._files = FailingFiles().fail(error=_Stop(), skip=steps)
            try:
                manager.roll()
            except _Stop:
                steps += 1
                self.clock.advance(1)
                self.manager()
            else:
                break
            self.assertEqual((self.found(), os.listdir(self.working)), ([b"1\n"], []), steps)
        self.assertGreater(steps, 5)

    def test_one_tick(self) -> None:
        """Same names get numbers; zstd is possible."""
        manager = self.manager("x_%c.event", roll_size_mb=0.000001)
        for number in range(3):
            manager.write({}, f"{number}")
        self.assertEqual(sorted(self.found()), [b"0\n", b"1\n", b"2\n"])
        self.manager("z_%c", roll_size_mb=0.000001, method="zstd").write({}, "1")
        self.assertTrue([name for name in os.listdir(self.destination) if re.fullmatch(r"z_.*\.zst", name)])

    def test_full(self) -> None:
        """A line that finds no room is not written; a roll that finds none leaves the working file."""
        files = FakeFiles()
        manager = self.manager(files=files)
        manager.write({}, "1")
        files.room = 10
        self.assertRaises(NoSpace, manager.write, {}, "2" * 100)
        self.assertRaises(NoSpace, manager.roll)
        files.room = None
        manager.archive_leftovers()
        self.assertEqual(self.found(), [b"1\n"])

    def test_bad_settings(self) -> None:
        self.assertRaises(InvalidSetting, self.manager, method="rar")
        self.assertRaises(InvalidSetting, self.manager, roll_size_mb="big")
        self.assertRaises(InvalidSetting, self.manager, "..")
