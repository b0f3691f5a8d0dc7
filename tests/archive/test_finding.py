"""Reading while a writer's callbacks rename, move and compress what is to be read."""

from __future__ import annotations

import gzip
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from storehouse.archive import finding
from storehouse.archive.archive import ArchiveWriter
from storehouse.archive.finding import find_archives
from storehouse.archive.handlers import ChangeExtension, CompressFile, MoveFile
from storehouse.archive.roll_manager import ReadingRollManager
from storehouse.errors import NotFound
from tests.archive.rig import KINDS, write


class FollowingTests(SynchronousTestCase):
    """Archives that get another name."""

    def setUp(self) -> None:
        self.directory = os.path.abspath(self.mktemp())
        self.below = os.path.join(self.directory, "below")
        os.makedirs(self.below)

    def path(self, name: str) -> str:
        return os.path.join(self.directory, name)

    def archives(self, **how: Any) -> list[str]:
        """Three archives of two records."""
        paths = []
        for number in range(3):
            if how["version"] == 2:
                how |= {"created": 1000 + number, "sequence": number + 1}
            path = self.path(f"q_{number}.ev")
            write(path, [({"n": f"{number}{letter}"}, f"{number}{letter}") for letter in "ab"], **how)
            paths.append(path)
        return paths

    def payloads(self, reading: Any) -> list[Any]:
        return [payload for _, payload in reading]

    everything = ["0a", "0b", "1a", "1b", "2a", "2b"]

    def changes(self) -> dict[str, Callable[[str], object]]:
        done, packed = ChangeExtension(), CompressFile()
        moved = MoveFile(destination_folder=self.below)
        return {
            "compressed": packed.on_close,
            "with zstd": CompressFile(method="zstd").on_close,
            "renamed": done.on_close,
            "moved": moved.on_close,
            "all": lambda path: moved.on_close(done.on_close(packed.on_close(path))),
        }

    def test_changed_before_it_is_read(self) -> None:
        for kind, how in KINDS.items():
            for what in self.changes():
                self.setUp()
                change = self.changes()[what]
                paths = self.archives(**how)
                reading = ReadingRollManager("q_*", self.directory, self.below)
                self.assertEqual(reading.read()[1], "0a")
                for path in paths[1:]:
                    change(path)
                self.assertEqual(self.payloads(reading), self.everything[1:], f"{kind} {what}")

    def test_gone(self) -> None:
        """Archives that were removed, or moved out of sight, are reported; so is what another archive took the name of."""
        for how in KINDS.values():
            for change in (os.unlink, MoveFile(destination_folder=self.mktemp()).on_close):
                self.setUp()
                paths = self.archives(**how)
                reading = ReadingRollManager("q_*", self.directory)
                change(paths[1])
                write(f"{paths[1]}.gz", [({}, "another")], **how)
                self.assertEqual([reading.read()[1] for _ in range(2)], ["0a", "0b"])
                self.assertRaises(NotFound, reading.read)
                self.assertEqual(self.payloads(reading), ["2a", "2b"])

    def test_marker(self) -> None:
        """Where its writer's marker says that it is."""
        for how in KINDS.values():
            self.setUp()
            paths = self.archives(**how)
            reading = ReadingRollManager("q_*", self.directory)
            moved = os.path.join(self.mktemp(), "else")
            os.makedirs(os.path.dirname(moved))
            shutil.move(paths[1], os.path.join(os.path.dirname(moved), "q_1.ev"))
            Path(self.path(".q_1.ev.open")).write_text(f'{{"file": "{os.path.dirname(moved)}/q_1.ev"}}\n')
            self.assertEqual(self.payloads(reading), self.everything)

    def test_grown(self) -> None:
        """One that was written on, and closed, after it was found."""
        for how in KINDS.values():
            self.setUp()
            path = self.path("q")
            writer = ArchiveWriter(path, buffer_size=0, **how)
            writer.write({"a": "b"}, "1")
            reading = ReadingRollManager("q*", self.directory)
            writer.write({"a": "b"}, "2")
            writer.close()
            CompressFile().on_close(path)
            self.assertEqual(self.payloads(reading), ["1", "2"])

    def test_both_names(self) -> None:
        """As it is and compressed, as a crash or a race leaves it: once. Others alike in one way only are read as well."""
        for kind, how in KINDS.items():
            self.setUp()
            for path in self.archives(**how):
                Path(f"{path}.gz").write_bytes(gzip.compress(Path(path).read_bytes()))
                os.link(f"{path}.gz", f"{path}.gz.done")
            self.assertEqual(self.payloads(ReadingRollManager("q_*", self.directory)), self.everything, kind)
            self.assertEqual(find_archives("q_*", self.directory), [self.path(f"q_{number}.ev") for number in range(3)])
        for cut in (0, 60, -9):
            # One is being made of the other.
            self.setUp()
            whole = self.archives(version=1)[0]
            packed = gzip.compress(Path(whole).read_bytes())
            Path(f"{whole}.gz").write_bytes(packed[:cut])
            self.assertEqual(self.payloads(ReadingRollManager("q_*", self.directory)), self.everything, cut)
            Path(f"{whole}.gz").write_bytes(packed)
            Path(whole).write_bytes(Path(whole).read_bytes()[:cut])
            self.assertEqual(self.payloads(ReadingRollManager("q_*", self.directory)), self.everything, cut)
        self.setUp()
        # The same inside, but not by name; and the other way round.
        write(self.path("a"), [({}, "x")], version=1)
        write(self.path("b"), [({}, "x")], version=1)
        write(self.path("b.gz"), [({}, "y")], version=1)
        self.assertEqual(self.payloads(ReadingRollManager("*", self.directory)), ["x", "x", "y"])

    def test_changed_while_listed(self) -> None:
        for how in KINDS.values():
            self.setUp()
            paths = self.archives(**how)

            def of(path: str, seen: Any = finding.Seen.of, left: list[str] = paths) -> Any:
                if left:
                    CompressFile().on_close(left.pop())
                return seen(path)

            with mock.patch.object(finding.Seen, "of", of):
                reading = ReadingRollManager("q_*", self.directory)
            self.assertEqual(self.payloads(reading), self.everything)
