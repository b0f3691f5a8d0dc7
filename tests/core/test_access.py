"""Tests of L{storehouse.core.access}."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from storehouse.core import access as module
from storehouse.core.access import BUFFER, CACHED, WAITING, Access, NotCached
from tests.around import on_disk

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
