"""Names at destinations, and notes."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from storehouse.errors import InvalidName
from storehouse.storage.shipping.names import check_name, object_name
from storehouse.storage.shipping.notes import Note, read_note, write_note


class NameTests(SynchronousTestCase):
    """Names at destinations."""

    def test_object_name(self) -> None:
        digest = "0123456789abcdef" + "f" * 48
        for path, compression, name in [
            ("/a/b.events", "gzip", "s/b-0123456789abcdef.events.gz"),
            ("/a/b.events", "zstd", "s/b-0123456789abcdef.events.zst"),
            ("/a/b.events", "none", "s/b-0123456789abcdef.events"),
            ("b", "gzip", "s/b-0123456789abcdef.gz"),
            ("/a/.b", "none", "s/.b-0123456789abcdef"),
            ("/a/a.b.c", "none", "s/a.b-0123456789abcdef.c"),
            ("/a/a\x01b", "none", "s/a_b-0123456789abcdef"),
        ]:
            self.assertEqual(object_name("s", path, digest, compression), name)

    def test_long(self) -> None:
        name = object_name("s" * 128, "é" * 127, "0" * 64, "gzip")
        self.assertLess(len(name.encode()), 1024)
        check_name("a" * 1024)
        self.assertRaises(InvalidName, check_name, "a" * 1025)


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
