"""What a writer promises, and when."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from storehouse.archive.archive import ArchiveReader, ArchiveWriter, recover_archive
from storehouse.core.files import Files
from storehouse.errors import AlreadyExists, NoSpace, StorageFailed, Unavailable
from tests.archive.rig import KINDS, read


class FakeFiles(Files):
    """Counts syncs, and fails when told to."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.room: int | None = None
        self.sync_error: OSError | None = None

    def write_at(self, fd: int, pieces: Sequence[bytes], offset: int) -> None:
        size = sum(map(len, pieces))
        self.calls.append("write")
        if self.room is not None and offset + size > self.room:
            # As a full disk does: some of it is there.
            super().write_at(fd, [b"".join(pieces)[: max(0, self.room - offset)]], offset)
            raise OSError(errno.ENOSPC, "full")
        super().write_at(fd, pieces, offset)

    def sync_data(self, fd: int) -> None:
        self.calls.append("sync")
        if self.sync_error is not None:
            raise self.sync_error
        super().sync_data(fd)

    def sync_directory(self, path: str) -> None:
        self.calls.append("sync directory")
        super().sync_directory(path)


class SyncTests(SynchronousTestCase):
    """When bytes are brought to disk."""

    def setUp(self) -> None:
        self.files = FakeFiles()
        self.path = self.mktemp()

    def writer(self, **how: object) -> ArchiveWriter:
        return ArchiveWriter(self.path, files=self.files, **how)  # type: ignore[arg-type]

    def test_record(self) -> None:
        """With each record; the name with the first."""
        with self.writer(sync="record") as writer:
            self.files.calls.clear()
            writer.write({}, "a")
            self.assertEqual(self.files.calls, ["write", "sync", "sync directory"])
            self.files.calls.clear()
            writer.write({}, "b")
            self.assertEqual(self.files.calls, ["write", "sync"])
            self.files.calls.clear()
            self.assertEqual(writer.write_many([({}, "c"), ({}, "d")]), 2)
            self.assertEqual(writer.write_many([]), 0)
            self.assertEqual(self.files.calls, ["write", "sync"])
            self.assertEqual(len(read(self.path)), 4)

    def test_roll(self) -> None:
        """When it is flushed or closed."""
        with self.writer() as writer:
            self.files.calls.clear()
            for _ in range(100):
                writer.write({}, "x" * 10_000)
            self.assertEqual(set(self.files.calls), {"write"})
            self.files.calls.clear()
            writer.flush()
            self.assertEqual(self.files.calls, ["write", "sync", "sync directory"])
            self.assertEqual(len(read(self.path)), 100)
            self.files.calls.clear()
            writer.flush()
            self.assertEqual(self.files.calls, [])
        self.assertEqual(self.files.calls, ["write", "sync"])

    def test_os(self) -> None:
        """Never; but a flush gives it to the system."""
        with self.writer(sync="os") as writer:
            writer.write({}, "x")
            self.assertEqual(read(self.path), [])
            writer.flush()
            self.assertEqual(len(read(self.path)), 1)
        self.assertNotIn("sync", self.files.calls)

    def test_no_buffer(self) -> None:
        with self.writer(buffer_size=0) as writer:
            writer.write({}, "x")
            self.assertEqual(len(read(self.path)), 1)

    def test_hand_over(self) -> None:
        """Without a sync."""
        with self.writer() as writer:
            writer.write({}, "x")
            self.files.calls.clear()
            writer.hand_over()
            self.assertEqual(self.files.calls, ["write"])

    def test_size(self) -> None:
        """What a checker is told includes the buffer."""
        for how in KINDS.values():
            path = self.mktemp()
            with ArchiveWriter(path, **how) as writer:
                writer.write({}, "x" * 1000)
                self.assertGreater(writer.size, 1000)
                self.assertEqual((writer.tell(), writer.get_file_handle().tell()), (writer.size, writer.size))
            self.assertEqual(writer.size, os.path.getsize(path))


class FailureTests(SynchronousTestCase):
    """Full disks and failed syncs."""

    def setUp(self) -> None:
        self.files = FakeFiles()
        self.path = self.mktemp()

    def test_full(self) -> None:
        """A record that finds no room is not taken; those before are kept, and go on when there is room again."""
        for how in KINDS.values():
            self.path = self.mktemp()
            writer = ArchiveWriter(self.path, files=self.files, buffer_size=0, **how)
            writer.write({}, "a")
            self.files.room = writer.size + 10
            size = writer.size
            self.assertRaises(NoSpace, writer.write, {}, os.urandom(1000))
            self.assertRaises(NoSpace, writer.write_many, [({}, os.urandom(1000))] * 2)
            self.assertEqual((writer.size, writer.count, os.path.getsize(self.path)), (size, 1, size))
            self.files.room = None
            writer.write({}, "b")
            writer.close()
            self.assertEqual(read(self.path), [({}, "a"), ({}, "b")])
            with ArchiveReader(self.path) as reader:
                self.assertTrue(reader.verify().whole)

    def test_full_buffer(self) -> None:
        """What is in the buffer stays there, and a close that finds no room can be repeated."""
        writer = ArchiveWriter(self.path, files=self.files, buffer_size=1000)
        self.files.room = 100
        for number in range(20):
            try:
                writer.write({}, str(number) * 40)
            except NoSpace:
                break
        taken = writer.count
        self.assertEqual(taken, number)
        self.assertRaises(NoSpace, writer.flush)
        self.assertRaises(NoSpace, writer.close)
        self.files.room = None
        writer.close()
        self.assertEqual([payload for _, payload in read(self.path)], [str(n) * 40 for n in range(taken)])

    def test_no_room_for_the_footer(self) -> None:
        """It is closed without, and can be completed later."""
        writer = ArchiveWriter(self.path, files=self.files)
        writer.write({}, "a")
        writer.flush()
        self.files.room = writer.size + 20
        writer.close()
        self.assertEqual((writer.complete, writer.closed), (False, True))
        self.assertEqual(read(self.path), [({}, "a")])
        recover_archive(self.path)
        with ArchiveReader(self.path) as reader:
            self.assertEqual((reader.complete, reader.torn, list(reader)), (True, 0, [({}, "a")]))

    def test_no_room_at_all(self) -> None:
        """There is no file then."""
        self.files.room = 5
        self.assertRaises(NoSpace, ArchiveWriter, self.path, files=self.files)
        self.assertFalse(os.path.exists(self.path))

    def test_failed_sync(self) -> None:
        """It is final."""
        writer = ArchiveWriter(self.path, files=self.files, sync="record")
        writer.write({}, "a")
        self.files.sync_error = OSError(errno.EIO, "broken")
        self.assertRaises(StorageFailed, writer.write, {}, "b")
        self.files.sync_error = None
        self.assertRaises(StorageFailed, writer.write, {}, "c")
        self.assertRaises(StorageFailed, writer.write_many, [({}, "c")])
        self.assertRaises(StorageFailed, writer.flush)
        self.assertRaises(StorageFailed, writer.close)
        writer.close()
        self.assertTrue(writer.closed)

    def test_closed(self) -> None:
        writer = ArchiveWriter(self.path)
        writer.close()
        writer.close()
        self.assertRaises(Unavailable, writer.write, {}, "x")
        self.assertRaises(Unavailable, writer.flush)

    def test_never_overwritten(self) -> None:
        Path(self.path).write_bytes(b"precious")
        self.assertRaises(AlreadyExists, ArchiveWriter, self.path)
        self.assertEqual(Path(self.path).read_bytes(), b"precious")
