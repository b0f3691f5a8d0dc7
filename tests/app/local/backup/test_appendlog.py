"""Bucket and index files of an append log in a backup, wherever its writer is."""

from __future__ import annotations

import os
import struct
from typing import Any

from storehouse.app.local.backup.appendlog import back_up_log
from storehouse.app.local.backup.target import Target
from tests.app.local.backup.rig import BackupCase
from tests.storage.appendlog.rig import Driven


class AppendLogTests(BackupCase):
    """A log with two bucket files; C{x} is in one of them."""

    def setUp(self) -> None:
        super().setUp()
        self.directory = f"{self.root}/append"
        self.log = self.opened(self.directory)
        self.offsets = [self.append(b"record %d" % number)[0] for number in range(5)]

    def append(self, *records: bytes) -> tuple[int, ...]:
        """Append records, together. @return: their offsets."""
        offsets: tuple[int, ...] = self.log.append(b"x", *records)
        return offsets

    def opened(self, directory: str) -> Any:
        """A log whose methods are waited for."""
        driven = Driven(directory, wal_size=1 << 20).start()
        self.addCleanup(driven.stop)
        return driven

    def path(self, kind: str, top: str = "") -> str:
        """The file that has the records."""
        paths = [f"{top or self.directory}/default/append.{number}.{kind}" for number in (0, 1)]
        return max(paths, key=os.path.getsize)

    def copied(self, is_live: bool = True) -> str:
        """Make a backup of the log alone. @return: where it is."""
        target = Target(self.made, self.root, [], lambda: None, lambda size: None)
        try:
            back_up_log(target, self.directory, is_live)
            target.finish(began=0, ended=0, keys=0, lost=0, objects=0, uploads=0, encrypted=False)
        finally:
            target.abandon()
        return f"{self.made}/append"

    def test_running(self) -> None:
        top = self.copied()
        with open(self.path("raw", top), "rb") as file:
            self.assertEqual(file.read(), b"".join(struct.pack("<I", 8) + b"record %d" % number for number in range(5)))
        self.assertEqual(os.path.getsize(self.path("idx", top)), 32 * 6)
        self.assertFalse(os.path.exists(f"{top}/.wal"))
        log = self.opened(top)
        self.assertEqual(
            [log.get(b"x", offset) for offset in self.offsets],
            [b"record %d" % number for number in range(5)],
        )
        self.assertEqual([name for name in os.listdir(f"{top}/default") if "torn" in name or "bad" in name], [])

    def test_entries_ahead(self) -> None:
        """Entries are written before their records: what has none yet is not in the backup."""
        with open(self.path("raw"), "r+b") as file:
            file.truncate(os.path.getsize(file.name) - 3)
        top = self.copied()
        self.assertEqual(os.path.getsize(self.path("raw", top)), 48)
        self.assertEqual(os.path.getsize(self.path("idx", top)), 32 * 5)

    def test_records_ahead(self) -> None:
        """What was appended since the index was looked at is not in the backup, nor half an entry."""
        with open(self.path("raw"), "ab") as file:
            file.write(struct.pack("<I", 100) + b"half")
        with open(self.path("idx"), "ab") as file:
            file.write(b"half an entry")
        top = self.copied()
        self.assertEqual(os.path.getsize(self.path("raw", top)), 60)
        self.assertEqual(os.path.getsize(self.path("idx", top)), 32 * 6)

    def test_half_a_group(self) -> None:
        """Records that were appended together are there together, or not at all."""
        self.append(b"one", b"two", b"three")
        with open(self.path("raw"), "r+b") as file:
            file.truncate(os.path.getsize(file.name) - 1)
        top = self.copied()
        self.assertEqual(os.path.getsize(self.path("raw", top)), 60)

    def test_of_the_first_program(self) -> None:
        """Bucket files without an index are copied as they are."""
        os.unlink(self.path("idx"))
        top = self.copied()
        self.assertEqual(os.path.getsize(self.path("raw", top)), 60)

    def test_stopped(self) -> None:
        """Of a log that did not end well the write-ahead log is there, too."""
        self.assertTrue(os.path.exists(f"{self.copied(is_live=False)}/.wal/segment.0"))
