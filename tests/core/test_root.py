"""Tests of L{storehouse.core.root}."""

from __future__ import annotations

import errno
import os
import stat
import types
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from storehouse.core import root as module
from storehouse.core.root import RootLock, check_owner, make_room
from storehouse.errors import RootInUse, StartFailed
from storehouse.testing.files import FailingFiles


class RootLockTests(SynchronousTestCase):
    """One process at a time."""

    def setUp(self) -> None:
        self.root = os.path.abspath(self.mktemp())

    def test_makes_root(self) -> None:
        files = FailingFiles()
        lock = RootLock(self.root, files)
        lock.acquire()
        self.addCleanup(lock.release)
        self.assertTrue(lock.held)
        self.assertEqual(stat.S_IMODE(os.stat(self.root).st_mode), 0o700)
        self.assertIn(("sync_directory", os.path.dirname(self.root)), files.calls)
        with open(os.path.join(self.root, "lock"), encoding="ascii") as file:
            self.assertEqual(file.read(), f"{os.getpid()}\n")

    def test_second_is_refused(self) -> None:
        first, second = RootLock(self.root), RootLock(self.root)
        first.acquire()
        first.acquire()
        error = self.assertRaises(RootInUse, second.acquire)
        self.assertIn(self.root, error.detail)
        self.assertIn(f"process {os.getpid()}", error.detail)
        self.assertFalse(second.held)
        first.release()
        first.release()
        second.acquire()
        second.release()

    def test_holder_without_pid(self) -> None:
        first = RootLock(self.root)
        first.acquire()
        self.addCleanup(first.release)
        os.truncate(os.path.join(self.root, "lock"), 0)
        self.assertIn("another process", self.assertRaises(RootInUse, RootLock(self.root).acquire).detail)

    def test_not_inherited(self) -> None:
        lock = RootLock(self.root)
        lock.acquire()
        self.addCleanup(lock.release)
        path = os.path.join(self.root, "lock")
        held = [
            int(fd)
            for fd in os.listdir("/dev/fd")
            if os.path.exists(f"/dev/fd/{fd}") and os.path.samefile(f"/dev/fd/{fd}", path)
        ]
        self.assertEqual([os.get_inheritable(fd) for fd in held], [False])

    def test_another_user(self) -> None:
        """What root makes, the user of the root could not open."""
        lock = RootLock(self.root)
        lock.acquire()
        lock.release()
        self.patch(os, "geteuid", lambda: 0)
        state = os.stat(self.root)

        def stat_of(path: str) -> os.stat_result:
            return os.stat_result((*state[:4], 54321, *state[5:]))

        patched = self.patch(os, "stat", stat_of)
        error = self.assertRaises(StartFailed, lock.acquire)
        patched.restore()
        self.assertIn("belongs to #54321", error.detail)
        self.assertFalse(lock.held)
        check_owner(self.mktemp())

    def test_no_directory(self) -> None:
        with open(self.root, "wb"):
            pass
        for root in (self.root, os.path.join(self.root, "below")):
            self.assertIn("is not a directory", self.assertRaises(StartFailed, RootLock(root).acquire).detail)

    def test_errors(self) -> None:
        for number, words in [
            (errno.EACCES, "permission denied"),
            (errno.EROFS, "read-only"),
            (errno.ENOSPC, "No space left"),
        ]:
            files = FailingFiles().fail("open", error=number)
            detail = self.assertRaises(StartFailed, RootLock(self.root, files).acquire).detail
            self.assertIn(words, detail)
            self.assertIn(self.root, detail)

    def test_reserve(self) -> None:
        """A full disk is no reason not to start, and then what was kept for it is given away."""
        reserve = os.path.join(self.root, "reserve")
        full = RootLock(self.root, FailingFiles().fail("write_at"))
        full.acquire()
        self.assertFalse(os.path.exists(reserve))
        full.release()
        lock = RootLock(self.root)
        lock.acquire()
        self.assertEqual(os.stat(reserve).st_size, 256 * 1024)
        lock.release()
        self.patch(module, "_RESERVE", 1 << 62)
        lock.acquire()
        self.assertFalse(os.path.exists(reserve))
        lock.release()

    def test_little_room(self) -> None:
        """What is left is kept when nothing is open any more, and not taken from what is to be opened."""
        reserve = os.path.join(self.root, "reserve")
        os.mkdir(self.root)
        left = 300 * 1024
        real = os.statvfs(self.root)

        def statvfs(path: str) -> Any:
            """So many bytes are left."""
            return types.SimpleNamespace(f_bavail=left // 1024, f_frsize=1024)

        self.patch(os, "statvfs", statvfs)
        lock = RootLock(self.root)
        lock.acquire()
        self.assertFalse(os.path.exists(reserve))
        left = 100 * 1024
        lock.release()
        self.assertEqual(os.stat(reserve).st_size, 84 * 1024)
        # It is given to the next one, and is whole again when there is room.
        lock.acquire()
        self.assertFalse(os.path.exists(reserve))
        lock.release()
        self.patch(os, "statvfs", lambda path: real)
        lock.acquire()
        self.assertEqual(os.stat(reserve).st_size, 256 * 1024)
        lock.release()

    def test_make_room(self) -> None:
        """On a full disk, and only there."""
        reserve = os.path.join(self.root, "reserve")
        make_room(self.root)
        lock = RootLock(self.root)
        lock.acquire()
        self.addCleanup(lock.release)
        make_room(self.root)
        self.assertTrue(os.path.exists(reserve))
        self.patch(module, "_RESERVE", 1 << 62)
        make_room(self.root)
        self.assertFalse(os.path.exists(reserve))

    def test_no_room_for_the_process(self) -> None:
        """The number of the process is a courtesy: the lock is the system's."""

        def refuse(fd: int, data: bytes, offset: int) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        self.patch(os, "pwrite", refuse)
        lock = RootLock(self.root)
        lock.acquire()
        self.addCleanup(lock.release)
        self.assertIn("another process", self.assertRaises(RootInUse, RootLock(self.root).acquire).detail)
