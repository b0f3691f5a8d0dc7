"""The benchmark of archives, with little to do; its peer is a stand-in."""

from __future__ import annotations

import contextlib
import io
import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from bench import archive, archive_work
from bench.harness import BenchError
from bench.shoebox import convert

#: What has the names of the first program, and does its work with ours: text comes back as bytes, as from the first one.
_PEER = """
from storehouse.archive import roll_checker, roll_manager
from storehouse.archive.roll_manager import NoMoreFiles

class WritingRollManager(roll_manager.WritingRollManager):
    def __init__(self, template, checker, directory):
        super().__init__(template, checker, directory, version=1, sync="os")

class ReadingRollManager(roll_manager.ReadingRollManager):
    def read(self):
        kept, payload = super().read()
        return {key.encode(): value.encode() for key, value in kept.items()}, payload.encode()
"""


class ArchiveTests(SynchronousTestCase):
    """Records, rounds and tables."""

    def test_records(self) -> None:
        """The sample over and over."""
        made = archive_work.records(1000)
        self.assertEqual(len(made), 1000)
        self.assertIs(made[0], made[413])

    def test_round(self) -> None:
        """All sides write, are checked, and read; the peer is the measure."""
        directory = Path(os.path.abspath(self.mktemp()))
        package = directory / "peer" / "shoebox"
        package.mkdir(parents=True)
        (package / "__init__.py").touch()
        (package / "roll_manager.py").write_text(_PEER)
        (package / "roll_checker.py").write_text("from storehouse.archive.roll_checker import SizeRollChecker\n")
        with contextlib.redirect_stderr(io.StringIO()):
            found = archive._measure(directory, directory / "peer", rounds=1, count=20, core=None)
        self.assertEqual(list(found), list(archive.SIDES))
        self.assertFalse((directory / "archives").exists())
        for what in ("write", "read"):
            lines = archive._table(what, found, 20).splitlines()
            self.assertTrue(lines[0].startswith(f"{what}: 20 notifications of "))
            self.assertEqual(len(lines), 3 + len(archive.SIDES))
            self.assertIn(" 1.00 ", lines[3])

    def test_failure(self) -> None:
        """The error of a process is reported."""
        error = self.assertRaises(
            BenchError, archive._run, None, None, what="read", side="ours", directory="/no such directory", count=1
        )
        self.assertIn("no such directory", str(error))

    def test_no_peer(self) -> None:
        """Something else is not taken for the first program."""
        directory = Path(self.mktemp())
        directory.mkdir()
        self.assertRaises(BenchError, convert, directory, directory / "peer")
        self.patch(os, "environ", {})
        error = self.assertRaises(SystemExit, archive.main, ["--rounds", "1"])
        self.assertIn("STOREHOUSE_BENCH_SHOEBOX", str(error))
