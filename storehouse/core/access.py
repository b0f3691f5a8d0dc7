"""
Two ways to open and read files: one that waits for the disk, and one that only takes what the kernel has in memory.

The second is for the reactor's thread: a small read from memory takes less than handing it to a thread, and a read that
would have to wait is refused, at once.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import sys
from typing import Protocol

from storehouse.core.files import read_exactly

__all__ = ["CACHED", "WAITING", "Access", "NotCached"]


class NotCached(Exception):
    """It would have to wait for the disk, or it cannot be told that it would not."""


class Access(Protocol):
    """A way to open and read."""

    def open(self, name: str, flags: int, directory: int | None = None) -> int:
        """Open for reading, C{name} relative to an open directory if one is given. Raises C{OSError}."""

    def read(self, fd: int, size: int, offset: int) -> bytes:
        """Read C{size} bytes, fewer only at the end of the file. Raises C{OSError}."""


class _Waiting:
    """Waits as long as it takes: for the disk threads."""

    def open(self, name: str, flags: int, directory: int | None = None) -> int:
        return os.open(name, flags, dir_fd=directory)

    def read(self, fd: int, size: int, offset: int) -> bytes:
        return read_exactly(fd, size, offset)


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
        buffer = bytearray(size)
        try:
            count = os.preadv(fd, (buffer,), offset, _NOWAIT)
        except OSError as error:
            if error.errno in _CANNOT_TELL:
                raise NotCached from None
            raise
        if count == size:
            return bytes(buffer)
        if offset + count < os.fstat(fd).st_size:
            raise NotCached
        return bytes(buffer[:count])


WAITING: Access = _Waiting()
CACHED: Access = _Cached()
