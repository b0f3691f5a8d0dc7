"""Tests of L{storehouse.core.files}."""

from __future__ import annotations

import errno
import os
import socket
import sys
import threading
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from storehouse.core import files as module
from storehouse.core.files import (
    BUFFER,
    CACHED,
    WAITING,
    Access,
    Files,
    NotCached,
    open_stored,
    read_exactly,
    read_regular,
)
from tests.around import on_disk


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
        """A call that writes less than asked is repeated for the rest."""
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

    def other(self, name: str, data: bytes) -> int:
        """One more file, with some content."""
        fd = self.files.open(self.path + name, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        self.addCleanup(os.close, fd)
        os.pwrite(fd, data, 0)
        return fd

    def test_link(self) -> None:
        """Two names of one file; a name that is there stays what it is."""
        self.files.link(self.path, self.path + ".link")
        self.assertTrue(os.path.samefile(self.path, self.path + ".link"))
        self.other(".other", b"other")
        self.assertRaises(FileExistsError, self.files.link, self.path, self.path + ".other")
        self.assertRaises(FileNotFoundError, self.files.link, self.path + ".none", self.path + ".new")
        with open(self.path + ".other", "rb") as file:
            self.assertEqual(file.read(), b"other")

    def test_exchange(self) -> None:
        """Two files, two directories with what is in them, and one of each."""
        if sys.platform != "linux":
            raise SkipTest("only Linux exchanges names")
        self.other(".b", b"b")
        self.files.exchange(self.path, self.path + ".b")
        self.assertEqual(self.contents(), b"b")
        for name in ("c", "d"):
            os.makedirs(f"{self.path}.{name}/{name}")
        self.files.exchange(self.path + ".c", self.path + ".d")
        self.assertEqual((os.listdir(self.path + ".c"), os.listdir(self.path + ".d")), (["d"], ["c"]))
        self.files.exchange(self.path, self.path + ".c")
        self.assertEqual(os.listdir(self.path), ["d"])
        with open(self.path + ".c", "rb") as file:
            self.assertEqual(file.read(), b"b")

    def test_exchange_fails(self) -> None:
        """A name that is missing is reported, and nothing is changed; so is a system without the call."""
        if sys.platform != "linux":
            raise SkipTest("only Linux exchanges names")
        missing = self.path + ".none"
        for first, second in ((self.path, missing), (missing, self.path)):
            error = self.assertRaises(FileNotFoundError, self.files.exchange, first, second)
            self.assertEqual((error.filename, error.filename2), (first, second))
        self.assertTrue(os.path.exists(self.path))
        self.other(".b", b"b")
        self.assertRaises(ValueError, self.files.exchange, self.path, self.path + ".b\0c")
        with patch("storehouse.core.files._renameat2", None):
            error = self.assertRaises(OSError, self.files.exchange, self.path, self.path + ".b")
        self.assertEqual(error.errno, errno.ENOSYS)
        self.assertEqual(self.contents(), b"")

    def check_copy(self) -> None:
        """From file to file to file, at odd offsets, over what is there."""
        data = os.urandom((5 << 19) + 13)
        source, middle, end = self.fd, self.other(".b", b"b" * 100), self.other(".c", b"")
        os.pwrite(source, data, 0)
        size = len(data) - 4097
        self.files.copy_range(source, middle, size, 4097, 7)
        self.files.copy_range(middle, end, size - 3, 9, 513)
        self.files.copy_range(middle, end, 0, 0, 0)
        self.files.copy_range(end, end, 100, 513, 1)
        self.assertEqual(os.pread(middle, 1 << 22, 0), b"b" * 7 + data[4097:])
        expected = bytes(1) + data[4099:4199] + bytes(412) + data[4099:-1]
        self.assertEqual(os.pread(end, 1 << 22, 0), expected)
        self.assertEqual(self.contents(), data)
        for name in (".b", ".c"):
            os.unlink(self.path + name)

    def refused(self, number: int) -> Callable[..., int]:
        """A call that fails."""

        def call(*args: object) -> int:
            raise OSError(number, os.strerror(number))

        return call

    def test_copy_range(self) -> None:
        self.check_copy()

    def test_copy_range_little_by_little(self) -> None:
        """A call that copies less than asked is repeated for the rest; so is one that copies nothing before the end."""
        if not hasattr(os, "copy_file_range"):
            return
        copy = os.copy_file_range

        def some(source: int, target: int, size: int, *offsets: int) -> int:
            return copy(source, target, min(size, 100001), *offsets)

        with patch("os.copy_file_range", some):
            self.check_copy()
        with patch("os.copy_file_range", lambda *args: 0):
            self.check_copy()

    def test_copy_range_by_hand(self) -> None:
        """Where the kernel does not copy, we do, in pieces."""
        for number in (errno.ENOSYS, errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.EPERM):
            with patch("os.copy_file_range", self.refused(number), create=True):
                self.check_copy()
        if hasattr(os, "copy_file_range"):
            with patch("os.copy_file_range"):
                del os.copy_file_range
                self.check_copy()

    def test_copy_range_fails(self) -> None:
        """Other errors come out, and nothing is copied."""
        target = self.other(".b", b"")
        os.pwrite(self.fd, b"abc", 0)
        with patch("os.copy_file_range", self.refused(errno.ENOSPC), create=True):
            error = self.assertRaises(OSError, self.files.copy_range, self.fd, target, 3, 0, 0)
        self.assertEqual(error.errno, errno.ENOSPC)
        self.assertEqual(os.fstat(target).st_size, 0)

    def test_copy_range_past_the_end(self) -> None:
        """A source that ends early is an error, in the kernel and by hand; what it has is copied."""
        os.pwrite(self.fd, b"0123456789", 0)
        target = self.other(".b", b"")
        for patched in (getattr(os, "copy_file_range", None), self.refused(errno.EXDEV)):
            with patch("os.copy_file_range", patched, create=True):
                os.ftruncate(target, 0)
                error = self.assertRaises(OSError, self.files.copy_range, self.fd, target, 8, 4, 1)
                self.assertEqual(error.errno, errno.EIO)
                self.assertIn("ends at 10, 2 bytes early", str(error))
                self.assertEqual(os.pread(target, 100, 0), b"\x00456789")
                error = self.assertRaises(OSError, self.files.copy_range, self.fd, target, 1, 10, 0)
                self.assertEqual(error.errno, errno.EIO)

    def test_read_exactly(self) -> None:
        """As many bytes as asked, fewer only at the end."""
        self.files.write_at(self.fd, [b"0123456789"], 0)
        pread = os.pread
        for at_most in (1, 3, 100):
            with patch("os.pread", lambda fd, size, offset, at_most=at_most: pread(fd, min(size, at_most), offset)):
                self.assertEqual(read_exactly(self.fd, 6, 2), b"234567")
                self.assertEqual(read_exactly(self.fd, 6, 7), b"789")
                self.assertEqual(read_exactly(self.fd, 6, 10), b"")


class NoFileTests(SynchronousTestCase):
    """What is in the place of a file and is none is never waited for, and never opened."""

    def places(self) -> dict[str, str]:
        os.mkdir("there")
        os.mkdir("there/directory")
        os.mkfifo("there/fifo")
        os.symlink("/dev/zero", "there/device")
        os.symlink("nothing", "there/broken")
        listening = socket.socket(socket.AF_UNIX)
        self.addCleanup(listening.close)
        listening.bind("there/socket")
        with open("there/file", "wb") as file:
            file.write(b"bytes")
        os.symlink("file", "there/link")
        return {name: f"there/{name}" for name in os.listdir("there")}

    def setUp(self) -> None:
        top = self.mktemp()
        os.makedirs(top)
        before = os.getcwd()
        os.chdir(top)
        self.addCleanup(os.chdir, before)

    def test_open(self) -> None:
        files = Files()
        for name, path in self.places().items():
            for flags in (os.O_RDONLY, os.O_RDWR, os.O_RDWR | os.O_CREAT, os.O_WRONLY | os.O_CREAT | os.O_TRUNC):
                if name == "file":
                    continue
                error = self.assertRaises(OSError, files.open, path, flags)
                self.assertEqual((error.errno, error.filename), (errno.EINVAL, path), (name, flags))
            if name != "file":
                self.assertRaises(FileExistsError, files.open, path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        fd = files.open("there/file", os.O_RDWR)
        self.assertEqual(os.read(fd, 9), b"bytes")
        files.close(fd)

    def test_read(self) -> None:
        for name, path in self.places().items():
            if name == "file":
                self.assertEqual(read_regular(path, 5), b"bytes")
                self.assertRaises(OSError, read_regular, path, 4)
                continue
            for follow in (False, True):
                if follow and name in ("link", "broken"):
                    continue
                error = self.assertRaises(OSError, open_stored, path, follow)
                self.assertEqual((error.errno, error.filename), (errno.EINVAL, path), (name, follow))
        with open_stored("there/link", follow=True) as file:
            self.assertEqual(file.readall(), b"bytes")
        self.assertRaises(FileNotFoundError, open_stored, "there/broken", True)
        self.assertRaises(FileNotFoundError, open_stored, "there/nothing")


READ = os.O_RDONLY | os.O_CLOEXEC


class AccessCase(SynchronousTestCase):
    """Files with known bytes."""

    def setUp(self) -> None:
        # File systems that are memory themselves do not tell.
        self.directory = on_disk(self)

    def write(self, name: str, size: int) -> tuple[str, bytes]:
        data = os.urandom(size)
        path = os.path.join(self.directory, name)
        with open(path, "wb") as file:
            file.write(data)
        return path, data

    def opened(self, access: Access, path: str) -> int:
        fd = access.open(path, READ)
        self.addCleanup(os.close, fd)
        return fd


class BothTests(AccessCase):
    """What both ways have in common, for files in memory."""

    def each(self) -> list[Access]:
        return [WAITING, CACHED] if sys.platform == "linux" else [WAITING]

    def test_read(self) -> None:
        """Any range, less only at the end."""
        path, data = self.write("file", 3 * 4096 + 5)
        for access in self.each():
            fd = self.opened(access, path)
            for offset in (0, 1, 4096, len(data) - 1, len(data), len(data) + 5):
                for size in (0, 1, 4096, len(data), BUFFER + 1):
                    self.assertEqual(access.read(fd, size, offset), data[offset : offset + size])

    def test_read_into(self) -> None:
        path, data = self.write("file", BUFFER + 5)
        for access in self.each():
            fd = self.opened(access, path)
            view = access.buffer()
            self.assertEqual(len(view), BUFFER)
            self.assertEqual(access.read_into(fd, view, 0), BUFFER)
            self.assertEqual(view, data[:BUFFER])
            self.assertEqual(access.read_into(fd, view[:100], BUFFER), 5)
            self.assertEqual(view[:5], data[BUFFER:])

    def test_below_a_directory(self) -> None:
        _, data = self.write("file", 10)
        directory = os.open(self.directory, READ | os.O_DIRECTORY)
        self.addCleanup(os.close, directory)
        for access in self.each():
            fd = access.open("file", READ, directory)
            self.addCleanup(os.close, fd)
            self.assertEqual(access.read(fd, 10, 0), data)

    def test_missing(self) -> None:
        """What is not there is not there, or is left to those who wait."""
        for access in self.each():
            self.assertRaises((FileNotFoundError, NotCached), access.open, os.path.join(self.directory, "no"), READ)

    def test_buffer_of_a_thread(self) -> None:
        """The same one again, another one in another thread."""
        self.assertIs(WAITING.buffer(), WAITING.buffer())
        found: list[memoryview] = []
        thread = threading.Thread(target=lambda: found.append(WAITING.buffer()))
        thread.start()
        thread.join()
        self.assertIsNot(found[0], WAITING.buffer())


class CachedTests(AccessCase):
    """What is not in memory is refused."""

    if sys.platform != "linux":
        skip = "only Linux can tell"

    def forgotten(self, size: int) -> str:
        """A file of which nothing is in memory."""
        path, _ = self.write("cold", size)
        fd = os.open(path, READ)
        try:
            os.fsync(fd)
            # A page that another processor has in hand stays at first.
            for _ in range(3):
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(fd)
        return path

    def setUp(self) -> None:
        super().setUp()
        if not self.is_refused(self.read_at_once):
            raise SkipTest("this file system is memory itself")

    def read_at_once(self, path: str) -> None:
        """Without the module that is tested."""
        try:
            os.preadv(self.opened(WAITING, path), (bytearray(1),), 0, os.RWF_NOWAIT)
        except BlockingIOError:
            raise NotCached from None

    def is_refused(self, read: Callable[[str], object], size: int = 10_000) -> bool:
        """
        Whether a file is not in memory for a reader. Being asked for it, the kernel begins to read it, and a fast disk has
        it sometimes before the kernel looks again: so there are many files, of which one is enough.
        """
        for _ in range(100):
            try:
                read(self.forgotten(size))
            except NotCached:
                return True
        return False

    def test_cold(self) -> None:
        for read in (
            lambda path: CACHED.read(self.opened(CACHED, path), 10_000, 0),
            lambda path: CACHED.read_into(self.opened(CACHED, path), CACHED.buffer()[:10_000], 0),
            lambda path: CACHED.read_file(path, 20_000),
        ):
            self.assertTrue(self.is_refused(read))

    def test_half_cold(self) -> None:
        """A file of which the beginning is in memory is not taken for a shorter one."""

        def begun(path: str) -> str:
            with open(path, "rb", buffering=0) as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
                file.read(4096)
            return path

        def read(path: str) -> None:
            fd = self.opened(CACHED, begun(path))
            self.assertEqual(len(CACHED.read(fd, 4096, 0)), 4096)
            self.assertEqual(len(CACHED.read(fd, 1 << 20, 0)), 1 << 20)

        self.assertTrue(self.is_refused(read, 1 << 20))
        self.assertTrue(self.is_refused(lambda path: CACHED.read_file(begun(path), BUFFER - 1), 1 << 20))

    def test_whole_files(self) -> None:
        """Of any size up to the most, also where it is a number of pages."""
        for size in (0, 1, 4095, 4096, 4097, 8192, 65536):
            path, data = self.write(f"file{size}", size)
            self.assertEqual(CACHED.read_file(path, 65536), data)
        self.assertRaises(NotCached, CACHED.read_file, self.write("large", 65537)[0], 65536)

    def test_no_such_call(self) -> None:
        """On a kernel without it nothing is known to be in memory."""
        path, _ = self.write("file", 10)
        self.patch(CACHED, "_syscall", None)
        self.assertRaises(NotCached, CACHED.open, path, READ)
        self.patch(module, "_OPENAT2", 100_000)
        self.assertRaises(NotCached, module._Cached().open, path, READ)
