"""The shipping directory: one shipper at a time, links, and names that were given before."""

from __future__ import annotations

import gzip
import os
import shutil
from pathlib import Path
from typing import Any
from unittest import mock

import attrs
from twisted.trial.unittest import SynchronousTestCase

from storehouse.errors import NotFound, RootInUse
from storehouse.storage.shipping import steps
from storehouse.storage.shipping.names import object_name
from storehouse.storage.shipping.spool import WAITING, Note, read_note, write_note
from storehouse.testing.files import FailingFiles
from tests.storage.shipping.rig import ShipperTestCase

DATA = b"some records\n" * 50


class LockTests(ShipperTestCase):
    """Two shippers on one directory."""

    def test_locked(self) -> None:
        """The second is refused, also in the same process, until the first has stopped."""
        second, first = self.make(), self.make()
        self.successResultOf(first.start())
        error = self.failureResultOf(second.start(), RootInUse).value
        self.assertIn(os.path.join(self.top, "shipping"), str(error))
        self.successResultOf(first.ship(self.archive()))
        self.successResultOf(second.stop())
        self.failureResultOf(second.start(), RootInUse)
        self.successResultOf(first.stop())
        self.successResultOf(second.start())
        self.failureResultOf(first.start(), RootInUse)

    def test_failed_start(self) -> None:
        """It leaves no lock behind."""
        first, second = self.make(), self.make()
        with mock.patch.object(first._spool, "prepare", side_effect=PermissionError("no")):
            self.failureResultOf(first.start(), PermissionError)
        self.successResultOf(second.start())

    def test_cleared_up(self) -> None:
        """A directory in which nothing is left can be removed, but not under a shipper."""
        top = os.path.join(self.top, "shipping")
        first, second = self.make(), self.make()
        self.successResultOf(first.start())
        second._spool.clear_up()
        self.assertEqual(sorted(os.listdir(top)), ["dead", "waiting"])
        self.successResultOf(first.stop())
        second._spool.clear_up()
        self.assertFalse(os.path.exists(top))
        self.successResultOf(second.start())
        self.successResultOf(second.ship(self.archive()))
        self.assertEqual(len(self.shipped), 1)


class LinkTests(ShipperTestCase):
    """A link counts as what it points to."""

    def test_shipped(self) -> None:
        path = self.archive("real.events")
        link = os.path.join(self.top, "link.events")
        os.symlink(os.path.join("archives", "real.events"), link)
        shipper = self.started(compression="none")
        self.successResultOf(shipper.ship(link))
        self.assertEqual(self.held(), {self.name_of("real", ".events", DATA): DATA})
        self.assertEqual([event.path for event in self.shipped], [path])
        self.assertEqual(self.in_spool(), [])

    def test_deleted(self) -> None:
        path = self.archive("real.events")
        link = os.path.join(self.top, "link.events")
        os.symlink(path, link)
        self.successResultOf(self.started(delete=True).ship(link))
        self.assertFalse(os.path.exists(path))
        self.assertTrue(self.shipped[0].deleted)

    def test_nowhere(self) -> None:
        os.symlink("nothing", link := os.path.join(self.top, "link.events"))
        self.failureResultOf(self.started().ship(link), NotFound)
        self.assertEqual(self.in_spool(), [])


class NameTests(ShipperTestCase):
    """STREAM/NAME-DIGEST.EXTENSIONS."""

    def test_names(self) -> None:
        for name, compression, expected in (
            ("x.events", "gzip", "x-D.events.gz"),
            ("x.events.gz", "none", "x-D.events.gz"),
            ("x.events.zst", "none", "x-D.events.zst"),
            ("a.b.events.zst", "none", "a.b-D.events.zst"),
            ("x.gz", "none", "x-D.gz"),
            (".x.gz", "none", ".x-D.gz"),
            (".gz", "none", ".gz-D"),
            ("..gz", "none", "..gz-D"),
            ("x.", "gzip", "x-D..gz"),
            ("x.tar.bz2", "none", "x.tar-D.bz2"),
            ("append.9.raw", "zstd", "append.9-D.raw.zst"),
        ):
            made = object_name("s", f"/archives/{name}", "0123456789abcdef" * 4, compression)
            self.assertEqual(made, f"s/{expected.replace('D', '0123456789abcdef')}", name)

    def test_named_before(self) -> None:
        """What another version has named keeps its name, from whatever stage it goes on."""
        old = self.name_of("x.events", ".gz", DATA)
        for hung in ("put", "get"):
            self.setUp()
            waiting = self.hang(hung)
            shipper = self.make()
            with mock.patch.object(steps, "object_name", return_value=old):
                self.successResultOf(shipper.start())
                self.successResultOf(shipper.ship(self.archive("x.events.gz", gzip.compress(DATA, mtime=0))))
                self.assertEqual(len(waiting), 1)
                self.successResultOf(shipper.stop())
            # From its beginning: so it is if what was to be uploaded is gone, or after it was a dead letter.
            (note_path,) = Path(self.top, "shipping", "waiting").glob("*.json")
            note = read_note(note_path.read_bytes())
            self.assertEqual(note.name, old)
            note_path.write_bytes(write_note(attrs.evolve(note, stage=WAITING)))
            self.destination.before = lambda verb, name: None
            self.successResultOf(self.started().stop())
            self.assertEqual(set(self.destination.held), {old})
            self.assertEqual(gzip.decompress(self.destination.held[old][0]), DATA)


class MovedTests(ShipperTestCase):
    """A root that is somewhere else by now."""

    def hang_up(self, root: str) -> str:
        """Hand a file over that does not arrive. @return: its path."""
        waiting = self.hang("put")
        shipper = self.make(root=root)
        self.successResultOf(shipper.start())
        path = self.archive("x.events")
        self.successResultOf(shipper.ship(path, delete=True))
        self.assertEqual(len(waiting), 1)
        self.successResultOf(shipper.stop())
        self.destination.before = lambda verb, name: None
        return path

    def test_moved(self) -> None:
        """What was on its way arrives, and is removed where it is now, also by an absolute path in a note."""
        for root in (self.top, ""):
            path = self.hang_up(root)
            (note,) = Path(self.top, "shipping", "waiting").glob("*.json")
            self.assertEqual(self.top.encode() in note.read_bytes(), not root)
            before, self.top = self.top, f"{self.top}.moved"
            os.rename(before, self.top)
            self.addCleanup(shutil.rmtree, self.top, True)
            os.makedirs(before)
            self.assertEqual(len(os.listdir(os.path.join(self.top, "archives"))), 1)
            shipper = self.started(root=self.top)
            self.assertEqual([event.path for event in self.shipped[-1:]], [path.replace(before, self.top)])
            self.assertEqual(os.listdir(os.path.join(self.top, "archives")), [])
            self.successResultOf(shipper.stop())
            self.destination.held.clear()

    def test_copied(self) -> None:
        """The file of the root that was copied is left alone."""
        for root in (self.top, ""):
            path = self.hang_up(root)
            before, self.top = self.top, f"{self.top}.copy"
            shutil.copytree(before, self.top)
            self.addCleanup(shutil.rmtree, self.top, True)
            self.successResultOf(self.started(root=self.top).stop())
            self.assertEqual(self.shipped[-1].path, path.replace(before, self.top))
            self.assertTrue(os.path.exists(path))
            self.destination.held.clear()


class FullStartTests(ShipperTestCase):
    """A start without room for what is to be noted."""

    def test_damaged_notes(self) -> None:
        """What cannot be dealt with is left for the next start, and keeps nothing else from being shipped."""
        waiting = self.hang("put")
        shipper = self.make(concurrency=3)
        self.successResultOf(shipper.start())
        for name in "abc":
            self.successResultOf(shipper.ship(self.archive(name, name.encode() * 9)))
        self.assertEqual(len(waiting), 3)
        self.successResultOf(shipper.stop())
        self.destination.before = lambda verb, name: None
        first, *_ = sorted(Path(self.top, "shipping", "waiting").glob("*.json"))
        first.write_bytes(first.read_bytes()[:-9])
        files = FailingFiles().fail("rename", ending=".damaged")
        self.successResultOf(self.started(files).stop())
        self.assertEqual(len(self.destination.held), 2)
        self.assertTrue(first.exists())
        shipper = self.started()
        self.assertEqual([each.stage for each in shipper.shipments()], ["dead"])
        self.assertEqual(Path(self.top, "shipping", "dead", f"{first.stem}.file").read_bytes(), b"a" * 9)


class NoteTests(SynchronousTestCase):
    """Notes on disk."""

    def note(self, **fields: Any) -> Note:
        return Note(
            **{
                "id": "0000000000000001",
                "path": "/a/b c%20.events",
                "stream": "s",
                "compression": "gzip",
                "level": None,
                "delete": True,
                "since": 12.5,
                "inode": 1,
                "file_size": 2,
                "modified": 3,
                **fields,
            }
        )

    def test_round_trip(self) -> None:
        for fields in ({}, {"path": "/a/\udcff\n日本"}, {"error": "with \udcff"}, {"stage": "dead", "level": 3}):
            note = self.note(**fields)
            found = read_note(write_note(note))
            self.assertEqual(found.path, note.path)
            self.assertEqual((found.stage, found.level, found.delete), (note.stage, note.level, True))

    def test_readable(self) -> None:
        """By people."""
        self.assertIn(b'"path":"/a/b c%2520.events"', write_note(self.note()))

    def test_damaged(self) -> None:
        data = write_note(self.note())
        for at in range(len(data)):
            self.assertRaises(ValueError, read_note, data[:at])
            self.assertRaises(ValueError, read_note, data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        for fields in ({"stage": "lost"}, {"id": "../../etc"}, {"id": "1"}, {"id": 5}):
            self.assertRaises(ValueError, read_note, write_note(self.note(**fields)))
