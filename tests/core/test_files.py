"""Tests of L{storehouse.core.files}."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

from twisted.trial.unittest import SynchronousTestCase

from storehouse.core.files import Files, read_exactly


class Recording(Files):
    """Writes down what is synced."""

    def __init__(self) -> None:
        self.synced: list[str] = []

    def sync_directory(self, path: str) -> None:
        self.synced.append(path)

    def sync_data(self, fd: int) -> None:
        self.synced.append("data")


class FilesTests(SynchronousTestCase):
    """Plain system calls, all the way."""

    def setUp(self) -> None:
        self.files = Recording()
        self.path = os.path.abspath(self.mktemp())
        self.fd = self.files.open(self.path, os.O_RDWR | os.O_CREAT)
        self.addCleanup(os.close, self.fd)

    def contents(self) -> bytes:
        with open(self.path, "rb") as file:
            return file.read()

    def short(self, at_most: int) -> Callable[..., int]:
        """A writing call that takes only so many bytes at a time."""
        pwrite = os.pwrite

        def write(fd: int, data: Any, offset: int, *flags: int) -> int:
            return pwrite(fd, (b"".join(data) if isinstance(data, (list, tuple)) else bytes(data))[:at_most], offset)

        return write

    def test_open(self) -> None:
        """Files are the owner's, and no child gets them."""
        self.assertEqual(os.stat(self.path).st_mode & 0o777, 0o600)
        self.assertFalse(os.get_inheritable(self.fd))

    def test_many_pieces(self) -> None:
        """More pieces than one call takes."""
        pieces = [b"%d," % n for n in range(5000)]
        self.files.write_at(self.fd, pieces, 3)
        self.assertEqual(self.contents(), bytes(3) + b"".join(pieces))

    def test_partial(self) -> None:
        """A call that writes less than asked is gone on with."""
        for at_most in (1, 3, 1000):
            self.files.truncate(self.fd, 0)
            with patch("os.pwritev", self.short(at_most)), patch("os.pwrite", self.short(at_most)):
                self.files.write_at(self.fd, [b"ab", b"", b"cdefg"] * 400, 1)
            self.assertEqual(self.contents(), b"\x00" + b"abcdefg" * 400)

    def test_full(self) -> None:
        """The error of a full disk comes out, also if it comes half-way."""

        def full(*args: object) -> int:
            raise OSError(errno.ENOSPC, "full")

        with patch("os.pwritev", self.short(3)), patch("os.pwrite", full):
            error = self.assertRaises(OSError, self.files.write_at, self.fd, [b"abcdef"], 0)
        self.assertEqual(error.errno, errno.ENOSPC)

    def test_write_synced(self) -> None:
        """One call where the system can; what it leaves is written and synced after it."""
        self.files.write_synced(self.fd, b"abc", 2)
        self.assertEqual(self.contents(), b"\x00\x00abc")
        if hasattr(os, "RWF_DSYNC"):
            self.assertEqual(self.files.synced, [])
            with patch("os.pwritev", self.short(3)):
                self.files.write_synced(self.fd, b"defghij", 5)
            self.assertEqual(self.contents(), b"\x00\x00abcdefghij")
            self.assertEqual(self.files.synced, ["data"])

    def test_make_directory(self) -> None:
        """Parents are made too, each is the owner's, and each one's name is synced."""
        self.files.make_directory(self.path + ".d/a/b")
        self.assertEqual(self.files.synced[-3:], [os.path.dirname(self.path), self.path + ".d", self.path + ".d/a"])
        self.files.make_directory(self.path + ".d/a/b")
        self.assertEqual(os.stat(self.path + ".d/a").st_mode & 0o777, 0o700)

    def test_make_directory_over_file(self) -> None:
        self.assertRaises(FileExistsError, self.files.make_directory, self.path)

    def test_read_exactly(self) -> None:
        """As many bytes as asked, fewer only at the end."""
        self.files.write_at(self.fd, [b"0123456789"], 0)
        pread = os.pread
        for at_most in (1, 3, 100):
            with patch("os.pread", lambda fd, size, offset, at_most=at_most: pread(fd, min(size, at_most), offset)):
                self.assertEqual(read_exactly(self.fd, 6, 2), b"234567")
                self.assertEqual(read_exactly(self.fd, 6, 7), b"789")
                self.assertEqual(read_exactly(self.fd, 6, 10), b"")
