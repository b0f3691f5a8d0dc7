"""
Two ways to open and read files: one that waits for the disk, and one that only takes what the kernel has in memory.

The second is for the reactor's thread: a small read from memory takes less than handing it to a thread, and a read that
would have to wait is refused, at once.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import struct
import sys
import threading
from typing import Protocol

from storehouse.core.files import NO_WAIT, read_exactly

__all__ = ["BUFFER", "CACHED", "WAITING", "Access", "NotCached"]


#: Bytes of the buffers that are read into.
BUFFER = 1 << 20


class NotCached(Exception):
    """It would have to wait for the disk, or it cannot be told that it would not."""


class Access(Protocol):
    """A way to open and read."""

    def open(self, name: str, flags: int, directory: int | None = None) -> int:
        """Open for reading, C{name} relative to an open directory if one is given. Raises C{OSError}."""

    def read(self, fd: int, size: int, offset: int) -> bytes:
        """Read C{size} bytes, fewer only at the end of the file. Raises C{OSError}."""

    def read_into(self, fd: int, view: memoryview, offset: int) -> int:
        """
        Fill C{view}, less only at the end of the file. Raises C{OSError}.

        @return: how many bytes.
        """

    def buffer(self) -> memoryview:
        """L{BUFFER} bytes to read into, the same ones again and again in one thread."""


class _Waiting:
    """Waits as long as it takes: for the disk threads."""

    def open(self, name: str, flags: int, directory: int | None = None) -> int:
        return os.open(name, flags, dir_fd=directory)

    def read(self, fd: int, size: int, offset: int) -> bytes:
        return read_exactly(fd, size, offset)

    def read_into(self, fd: int, view: memoryview, offset: int) -> int:
        done = 0
        while done < len(view):
            got = _read_into(fd, view[done:], offset + done)
            if not got:
                break
            done += got
        return done

    def buffer(self) -> memoryview:
        view: memoryview | None = getattr(_of_thread, "view", None)
        if view is None:
            view = _of_thread.view = _aligned_buffer()
        return view


def _aligned_buffer() -> memoryview:
    # Where a buffer begins matters: on some processors the kernel copies to one that begins 16 bytes behind a line of
    # the cache four times slower, and Python's own begin anywhere.
    return memoryview(mmap.mmap(-1, BUFFER))


def _plain_read_into(fd: int, view: memoryview, offset: int) -> int:
    data = os.pread(fd, len(view), offset)
    view[: len(data)] = data
    return len(data)


def _vector_read_into(fd: int, view: memoryview, offset: int) -> int:
    return os.preadv(fd, (view,), offset)


_read_into = _vector_read_into if hasattr(os, "preadv") else _plain_read_into
_of_thread = threading.local()


# Whatever is in the place of a file, this is not to wait; what is no plain file cannot be read at an offset.
_FILE = os.O_RDONLY | os.O_CLOEXEC | NO_WAIT

# A read that stops where memory ends stops at a page.
_PAGE = 4096

_OPENAT2 = 437
_RESOLVE_CACHED = 0x20
_AT_FDCWD = -100
_NOWAIT = getattr(os, "RWF_NOWAIT", 0)

# What says that a kernel or a file system cannot tell, rather than that something is wrong.
_CANNOT_TELL = frozenset({errno.EAGAIN, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.EPERM, errno.E2BIG})


class _Cached:
    """
    Raises L{NotCached} rather than wait: openat2(2) with C{RESOLVE_CACHED} (Linux 5.12), preadv2(2) with C{RWF_NOWAIT}.
    """

    def __init__(self) -> None:
        self._syscall = None
        if sys.platform == "linux" and _NOWAIT:
            # Not CDLL: to let go of the interpreter's lock and to take it again costs more than the call.
            self._syscall = ctypes.PyDLL(None, use_errno=True).syscall
            self._syscall.restype = ctypes.c_long
            self._syscall.argtypes = (ctypes.c_long, ctypes.c_int, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_size_t)
        self._how: dict[int, bytes] = {}
        # Of the reactor's thread, which alone reads this way.
        self._view = _aligned_buffer()

    def open(self, name: str, flags: int, directory: int | None = None) -> int:
        """@raise NotCached: if a part of the path, or the file's description, is not in memory."""
        if self._syscall is None:
            raise NotCached
        how = self._how.get(flags)
        if how is None:
            how = self._how[flags] = struct.pack("QQQ", flags, 0, _RESOLVE_CACHED)
        at = _AT_FDCWD if directory is None else directory
        fd: int = self._syscall(_OPENAT2, at, os.fsencode(name), how, len(how))
        if fd < 0:
            number = ctypes.get_errno()
            if number in _CANNOT_TELL:
                raise NotCached
            raise OSError(number, os.strerror(number), name)
        return fd

    def read(self, fd: int, size: int, offset: int) -> bytes:
        """@raise NotCached: if not all of it is in memory."""
        view = self._view[:size] if size <= BUFFER else memoryview(bytearray(size))
        return bytes(view[: self.read_into(fd, view, offset)])

    def read_into(self, fd: int, view: memoryview, offset: int) -> int:
        """@raise NotCached: if not all of it is in memory."""
        count = self._read_some(fd, view, offset)
        if count < len(view) and offset + count < os.fstat(fd).st_size:
            raise NotCached
        return count

    def buffer(self) -> memoryview:
        return self._view

    def read_file(self, path: str, most: int) -> bytes:
        """
        All of a file.

        @raise NotCached: if not all of it is in memory, or it has more than C{most} bytes, which is
            less than L{BUFFER}.
        """
        fd = self.open(path, _FILE)
        try:
            count = self._read_some(fd, self._view[: most + 1], 0)
            if count > most:
                raise NotCached
            # What was not all in memory comes short: only the size tells it from the end of the file.
            if count % _PAGE == 0 and os.fstat(fd).st_size != count:
                raise NotCached
            return bytes(self._view[:count])
        finally:
            os.close(fd)

    def _read_some(self, fd: int, view: memoryview, offset: int) -> int:
        try:
            return os.preadv(fd, (view,), offset, _NOWAIT)
        except OSError as error:
            if error.errno in _CANNOT_TELL:
                raise NotCached from None
            raise


WAITING: Access = _Waiting()
CACHED = _Cached()
