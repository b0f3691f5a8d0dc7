"""L{FailingFiles} fail where a test says so, and nowhere else; L{UnsyncedFiles} wait for no disk."""

from __future__ import annotations

import errno
import os

from twisted.trial.unittest import SynchronousTestCase

from storehouse.core.files import Files
from storehouse.testing.files import CALLS, FailingFiles, UnsyncedFiles


class FailingFilesTests(SynchronousTestCase):
    """In a directory with one file of ten bytes."""

    def setUp(self) -> None:
        self.directory = os.path.abspath(self.mktemp())
        os.mkdir(self.directory)
        self.files = FailingFiles()
        self.path = os.path.join(self.directory, "a")
        self.fd = self.files.open(self.path, os.O_RDWR | os.O_CREAT)
        self.addCleanup(os.close, self.fd)
        self.files.write_at(self.fd, (b"01234", b"56789"), 0)

    def other(self, name: str = "b") -> str:
        return os.path.join(self.directory, name)

    def fails(self, number: int = errno.ENOSPC) -> None:
        """Every call fails, and what was there is as it was."""
        calls = (
            lambda: self.files.open(self.other(), os.O_WRONLY | os.O_CREAT),
            lambda: self.files.write_at(self.fd, (b"ab", b"cd"), 0),
            lambda: self.files.write_synced(self.fd, b"efgh", 4),
            lambda: self.files.copy_range(self.fd, self.fd, 2, 0, 8),
            lambda: self.files.truncate(self.fd, 0),
            lambda: self.files.sync_data(self.fd),
            self.files.sync_all,
            lambda: self.files.sync_directory(self.directory),
            lambda: self.files.mkdir(self.other()),
            lambda: self.files.rename(self.path, self.other()),
            lambda: self.files.exchange(self.directory, self.path),
            lambda: self.files.link(self.path, self.other()),
            lambda: self.files.unlink(self.path),
            lambda: self.files.symlink("a", self.other()),
            lambda: self.files.remove_directory(self.directory),
            lambda: self.files.remove_tree(self.directory),
        )
        self.assertEqual(len(calls), len(CALLS))
        for call in calls:
            error = self.assertRaises(OSError, call)
            self.assertEqual(error.errno, number)

    def test_all(self) -> None:
        """Without a name all calls fail; of a write or a copy half is there."""
        self.files.fail()
        self.fails()
        self.assertEqual(os.listdir(self.directory), ["a"])
        self.assertEqual(os.pread(self.fd, 20, 0), b"ab23ef67a9")
        self.assertEqual(sorted({name for name, _ in self.files.calls}), sorted(CALLS))

    def test_mended(self) -> None:
        self.files.fail(error=errno.EIO)
        self.fails(errno.EIO)
        self.files.mend()
        self.files.link(self.path, self.other())
        self.files.rename(self.other(), self.other("c"))
        self.assertEqual(sorted(os.listdir(self.directory)), ["a", "c"])

    def test_chosen(self) -> None:
        """By the method, by the path, after some calls, and for some."""
        self.files.fail("link", ending="/c", skip=1, times=2)
        self.files.link(self.path, self.other("b"))
        for expected in (True, False, False, True):
            if expected:
                self.files.link(self.path, self.other("c"))
                self.files.unlink(self.other("c"))
            else:
                self.assertRaises(OSError, self.files.link, self.path, self.other("c"))
        self.assertEqual((self.files.count("link"), self.files.failures), (5, 2))

    def test_own_error(self) -> None:
        self.files.fail("sync_data", error=KeyboardInterrupt())
        self.assertRaises(KeyboardInterrupt, self.files.sync_data, self.fd)

    def test_calls(self) -> None:
        """Each is noted with the path of what it changes."""
        self.files.calls.clear()
        self.files.sync_data(self.fd)
        self.files.rename(self.path, self.other())
        self.files.truncate(self.fd, 1)
        self.assertEqual(
            self.files.calls, [("sync_data", self.path), ("rename", self.other()), ("truncate", self.other())]
        )

    def test_no_such_call(self) -> None:
        """A slip in a test is found out: it would wait for a failure that never comes."""
        self.assertRaises(ValueError, self.files.fail, "write")
        self.assertTrue(all(hasattr(Files, name) for name in CALLS))

    def test_unsynced(self) -> None:
        """The bytes are there; nothing is asked of the disk."""
        for name in ("fsync", "fdatasync", "sync"):
            self.patch(os, name, None)
        files = UnsyncedFiles()
        files.write_synced(self.fd, b"xyz", 8)
        files.sync_data(self.fd)
        files.sync_directory(self.directory)
        files.sync_all()
        self.assertEqual(os.pread(self.fd, 20, 0), b"01234567xyz")
