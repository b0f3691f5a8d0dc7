"""Settings: what is refused, and what is not shown."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from storehouse.errors import InvalidName, InvalidSetting
from storehouse.storage.shipping.names import check_name, object_name
from storehouse.storage.shipping.notes import Note, read_note, write_note
from storehouse.storage.shipping.settings import Connecting, S3Settings, ShipperSettings, StoreSettings, SwiftSettings


class SettingsTests(SynchronousTestCase):
    """Values."""

    def s3(self, **settings: Any) -> S3Settings:
        return S3Settings(**{"endpoint": "https://host", "access_key": "a", "secret_key": "hidden", **settings})

    def swift(self, **settings: Any) -> SwiftSettings:
        return SwiftSettings(**{"auth_url": "https://host/v3", "user": "u", "password": "hidden", **settings})

    def test_secrets(self) -> None:
        self.assertNotIn("hidden", repr(self.s3(session_token="hidden")))
        self.assertNotIn("hidden", repr(self.swift()))

    def test_refused(self) -> None:
        for make, settings in [
            (self.s3, {"endpoint": "host"}),
            (self.s3, {"endpoint": "ftp://host"}),
            (self.s3, {"endpoint": "https://host:99999"}),
            (self.s3, {"endpoint": "https://user:hidden@host"}),
            (self.s3, {"endpoint": "https://host/?a=hidden"}),
            (self.s3, {"secret_key": ""}),
            (self.s3, {"part_size": 1 << 20}),
            (self.s3, {"threshold": 0}),
            (self.s3, {"threshold": 6 << 30}),
            (self.swift, {"auth": "v2"}),
            (self.swift, {"interface": "private"}),
            (self.swift, {"storage_url": "host"}),
            (self.swift, {"segment_size": 0}),
            (self.swift, {"segment_size": (5 << 30) + 1}),
            (self.s3, {"bucket": "x/y"}),
            (self.s3, {"access_key": "a\n"}),
            (self.s3, {"secret_key": "hidden\r"}),
            (self.s3, {"session_token": "hidden\0"}),
            (ShipperSettings, {"directory": "d", "pause": 20, "longest_pause": 10}),
            (ShipperSettings, {"directory": "d", "longest_pause": 0}),
            (StoreSettings, {"bucket": ""}),
            (Connecting, {"timeout": 0}),
            (Connecting, {"tries": 0}),
            (ShipperSettings, {"directory": ""}),
            (ShipperSettings, {"directory": "d", "compression": "bzip2"}),
            (ShipperSettings, {"directory": "d", "level": 10}),
            (ShipperSettings, {"directory": "d", "compression": "zstd", "level": 23}),
            (ShipperSettings, {"directory": "d", "verify": "no"}),
            (ShipperSettings, {"directory": "d", "concurrency": 0}),
        ]:
            error = self.assertRaises(InvalidSetting, make, **settings)
            self.assertNotIn("hidden", str(error))

    def test_no_level(self) -> None:
        error = self.assertRaises(InvalidSetting, ShipperSettings, directory="d", compression="none", level=3)
        self.assertEqual(str(error), "level is 3; without compression there is none")

    def test_taken(self) -> None:
        self.s3(endpoint="http://127.0.0.1:7480/prefix/")
        self.s3(endpoint="https://[::1]:443")
        self.swift(auth="v3", storage_url="https://host/v1/AUTH_x")
        ShipperSettings(directory="d", compression="zstd", level=19)


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
