"""Streams of archives in a backup, wherever an archive is on its way."""

from __future__ import annotations

import json
import os
from typing import Any

from storehouse.app.local.backup import streams
from storehouse.app.local.backup.streams import _Stream, back_up_shipping, back_up_streams
from storehouse.app.local.backup.target import Target
from storehouse.archive.archive import ArchiveReader, ArchiveWriter
from storehouse.core.checksummed import decode_checksummed, encode_checksummed
from tests.app.local.backup.rig import BackupCase


class StreamTests(BackupCase):
    """A stream with a closed archive and one that is open."""

    def setUp(self) -> None:
        super().setUp()
        self.directory = f"{self.root}/archives/n"
        os.makedirs(f"{self.root}/archives/.catalogue")
        os.makedirs(self.directory)
        self.lines: list[dict[str, Any]] = []
        self.writers: list[ArchiveWriter] = []
        # What is lost is looked for for a while.
        self.patch(streams, "_PATIENCE", 0.05)
        self.closed = self.archive("1.events", b"one", b"two")
        self.open = self.archive("2.events", b"three", is_open=True)
        self.note(1, "archives/n/1.events", "finished")
        self.note(2, "archives/n/2.events", "open")

    def archive(self, name: str, *records: bytes, is_open: bool = False) -> str:
        path = f"{self.directory}/{name}"
        writer = ArchiveWriter(path, buffer_size=0)
        self.addCleanup(writer.close)
        self.writers.append(writer)
        for record in records:
            writer.write({}, record)
        if is_open:
            with open(f"{self.directory}/.{name}.open", "wb"):
                pass
        else:
            writer.close()
        return path

    def note(self, number: int, path: str, state: str) -> None:
        """The catalogue says that."""
        with open(f"{self.root}/archives/.catalogue/n", "ab") as file:
            file.write(encode_checksummed({"number": number, "path": path, "state": state}) + b"\n")

    def copied(self, **directories: str) -> str:
        """Make a backup of streams alone. @return: where its archives are."""
        target = Target(self.made, self.root, [*directories.values()], lambda: None, lambda size: None)
        try:
            back_up_streams(target, self.root, directories)
            back_up_shipping(target, self.root)
            target.finish(began=0, ended=0, keys=0, lost=0, objects=0, uploads=0, encrypted=False)
        finally:
            target.abandon()
        return f"{self.made}/archives"

    def catalogue(self) -> dict[int, tuple[str, str]]:
        """Where each archive is, and its state."""
        with open(f"{self.made}/archives/.catalogue/n", "rb") as file:
            known = [decode_checksummed(line)[0] for line in file.read().splitlines()]
        return {fields["number"]: (fields["path"], fields["state"]) for fields in known}

    def records(self, path: str) -> list[bytes]:
        with ArchiveReader(path) as reader:
            return [bytes(record.payload) for record in reader.records()]

    def test_as_they_are(self) -> None:
        """Closed ones share their bytes; of open ones there is a copy, up to the last whole record."""
        with open(self.open, "ab") as file:
            file.write(b"R half a record")
        top = self.copied()
        self.assertEqual(self.records(f"{top}/n/1.events"), [b"one", b"two"])
        self.assertEqual(os.stat(f"{top}/n/1.events").st_ino, os.stat(self.closed).st_ino)
        self.assertEqual(self.records(f"{top}/n/2.events"), [b"three"])
        self.assertEqual(os.path.getsize(f"{top}/n/2.events"), os.path.getsize(self.open) - 15)
        self.assertTrue(os.path.exists(f"{top}/n/.2.events.open"))
        self.assertEqual(self.catalogue(), {1: ("archives/n/1.events", "finished"), 2: ("archives/n/2.events", "open")})

    def test_shipped_meanwhile(self) -> None:
        """What the catalogue says is somewhere else need not be here."""
        os.unlink(self.closed)
        self.note(1, "archives/n/1.events", "shipped")
        self.copied()
        self.assertEqual(self.catalogue()[1], ("archives/n/1.events", "shipped"))

    def test_renamed_meanwhile(self) -> None:
        """An archive that gets another name is there once, under that of the catalogue."""
        original = Target.copy
        renamed: list[bool] = []

        def copy(target: Target, source: str, name: str, *args: Any, **how: Any) -> Any:
            state = original(target, source, name, *args, **how)
            if name.endswith("2.events") and not renamed:
                renamed.append(True)
                os.rename(self.closed, f"{self.directory}/1.done")
                self.note(1, "archives/n/1.done", "finished")
            return state

        self.patch(Target, "copy", copy)
        top = self.copied()
        self.assertEqual(sorted(name for name in os.listdir(f"{top}/n") if name[0] == "1"), ["1.done"])
        self.assertEqual(self.catalogue()[1], ("archives/n/1.done", "finished"))

    def test_callbacks_at_work(self) -> None:
        """Where an archive is then, its marker says."""
        os.rename(self.closed, f"{self.directory}/1.done")
        self.note(1, "archives/n/1.events", "closed")
        with open(f"{self.directory}/.1.events.open", "wb") as file:
            file.write(json.dumps({"file": "1.done", "remaining": [0], "count": 2}).encode() + b"\n")
        top = self.copied()
        self.assertEqual(self.records(f"{top}/n/1.done"), [b"one", b"two"])
        self.assertTrue(os.path.exists(f"{top}/n/.1.events.open"))

    def test_begun_meanwhile(self) -> None:
        """What was begun since, and goes too fast to be copied, is of no concern."""
        original = _Stream._archives
        looked: list[bool] = []

        def archives(stream: _Stream) -> Any:
            if looked:
                number = len(looked) + 2
                self.archive(f"{number}.events", b"more", is_open=True)
                self.note(number, f"archives/n/{number}.events", "open")
            looked.append(True)
            return original(stream)

        self.patch(_Stream, "_archives", archives)
        self.copied()
        self.assertEqual(set(self.catalogue()), {1, 2})

    def test_renamed_and_not_told_yet(self) -> None:
        """A callback has given a file another name, and neither marker nor catalogue knows: it is looked for again."""
        archives = _Stream._archives
        looks: list[float] = []

        def look(stream: _Stream) -> Any:
            looks.append(0)
            if len(looks) == 2:  # what was open has been copied
                self.writers[1].close()
                self.note(2, "archives/n/2.events", "closed")
                os.rename(self.open, f"{self.open}.done")
            return archives(stream)

        def sleep(seconds: float) -> None:
            self.note(2, "archives/n/2.events.done", "closed")

        self.patch(_Stream, "_archives", look)
        self.patch(streams.time, "sleep", sleep)
        top = self.copied()
        self.assertEqual(self.records(f"{top}/n/2.events.done"), [b"three"])
        self.assertEqual(self.catalogue()[2], ("archives/n/2.events.done", "closed"))

    def test_lost(self) -> None:
        """An archive that was lost before is no reason to have no backup."""
        os.unlink(self.closed)
        self.copied()
        self.assertEqual(self.catalogue()[1][0], "archives/n/1.events")

    def test_elsewhere(self) -> None:
        """A stream in another directory, and an archive that a callback has moved, are below the root in the backup."""
        os.rename(self.directory, f"{self.top}/apart")
        self.addCleanup(os.rename, f"{self.top}/apart", self.directory)
        os.mkdir(f"{self.top}/moved")
        os.rename(f"{self.top}/apart/1.events", f"{self.top}/moved/1.events")
        self.note(1, f"{self.top}/moved/1.events", "finished")
        self.note(2, f"{self.top}/apart/2.events", "open")
        top = self.copied(n=f"{self.top}/apart")
        self.assertEqual(self.records(f"{top}/n/1.events"), [b"one", b"two"])
        self.assertEqual(self.records(f"{top}/n/2.events"), [b"three"])
        self.assertEqual(self.catalogue(), {1: ("archives/n/1.events", "finished"), 2: ("archives/n/2.events", "open")})

    def test_on_their_way(self) -> None:
        """Files of the shipping directory are copies."""
        os.makedirs(f"{self.root}/shipping/archives/dead")
        os.link(self.closed, f"{self.root}/shipping/archives/1.file")
        for name in ("1.json", "dead/0.json", "2.json.tmp"):
            with open(f"{self.root}/shipping/archives/{name}", "wb") as file:
                file.write(b"{}")
        self.copied()
        names = self.files(f"{self.made}/shipping")
        self.assertEqual(set(names), {"archives/1.file", "archives/1.json", "archives/dead/0.json"})
        self.assertNotEqual(names["archives/1.file"], os.stat(self.closed).st_ino)
