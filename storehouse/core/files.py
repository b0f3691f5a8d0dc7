"""
Files: the system calls that change them, gathered behind one object, and ways to open and read them.

Everything that storehouse promises about power cuts rests on the order of the calls that change files, so tests replace
L{Files} with one that records them and then rebuild every state that a cut could leave.

Files are read by an L{Access}, of which there are two: one waits for the disk, and one only takes what the kernel has in
memory. The second is for the reactor's thread: a small read from memory takes less than handing it to a thread, and a read
that would have to wait is refused, at once.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import shutil
import stat
import struct
import sys
import threading
from collections.abc import Collection, Sequence
from io import FileIO
from pathlib import Path
from typing import Protocol

__all__ = [
    "BUFFER",
    "CACHED",
    "CANNOT_EXCHANGE",
    "CANNOT_LINK",
    "NO_SPACE",
    "NO_WAIT",
    "WAITING",
    "Access",
    "Files",
    "NotCached",
    "check_regular",
    "forget_cached",
    "open_regular",
    "open_stored",
    "read_exactly",
    "read_regular",
]

#: The errors that mean "no room", as against "broken".
NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})

#: Flags for files of ours that exist already: a FIFO in the place of one must not be waited for, and a symbolic link leads to
#: what is not ours. What was opened is then to be checked with L{check_regular}.
NO_WAIT = os.O_NONBLOCK | os.O_NOFOLLOW

#: The errors that mean that there are no hard links, or not to this file.
CANNOT_LINK = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})

#: The errors that mean that two names cannot change places.
CANNOT_EXCHANGE = frozenset({errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.EXDEV, errno.EPERM})

# The errors of file systems that have a call to sync something not at all.
_CANNOT_SYNC = frozenset({errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS})

_IOV_MAX = 1024

#: Bytes that are copied at once where the kernel does not copy by itself.
_COPY_PIECE = 1 << 20

#: The errors that mean "copy them yourself".
_CANNOT_COPY = frozenset({errno.ENOSYS, errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.EPERM})

# Plain paths for systems without the calls.
# fdatasync leaves out times, which nothing here needs after a crash, and so saves the file system a write. macOS lacks it.
_sync_data = getattr(os, "fdatasync", os.fsync)


def _write_joined(fd: int, pieces: Sequence[bytes], offset: int) -> int:
    return os.pwrite(fd, b"".join(pieces), offset)


_write_vector = getattr(os, "pwritev", _write_joined)


# sync_file_range(2) and renameat2(2), which the standard library does not have.
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
_sync_file_range = getattr(_libc, "sync_file_range", None)
if _sync_file_range is not None:
    _sync_file_range.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
_SYNC_FILE_RANGE_WRITE = 2
_renameat2 = getattr(_libc, "renameat2", None)
if _renameat2 is not None:
    _renameat2.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_fallocate = getattr(_libc, "fallocate64", None) or getattr(_libc, "fallocate", None)
if _fallocate is not None:
    _fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
_FALLOC_FL_KEEP_SIZE = 1


class Files:
    """Plain system calls. Every method may raise L{OSError}."""

    def open(self, path: str, flags: int) -> int:
        """
        Open, not inherited by children; new files have mode 0600. What is there and not a regular file, such as a FIFO or a link,
        is refused with C{EINVAL}, and not waited for.
        """
        return _open(path, flags | NO_WAIT, None)

    def close(self, fd: int) -> None:
        os.close(fd)

    def write_at(self, fd: int, pieces: Sequence[bytes], offset: int) -> None:
        """Write all the pieces, one after the other from C{offset} on, however many calls that takes."""
        if len(pieces) == 1:
            data = pieces[0]
            written = os.pwrite(fd, data, offset)
            if written == len(data):
                return
            pieces, offset = (data[written:],), offset + written
        for first in range(0, len(pieces), _IOV_MAX):
            batch = pieces[first : first + _IOV_MAX]
            wanted = sum(map(len, batch))
            written = _write_vector(fd, batch, offset)
            if written < wanted:
                # A full disk or a signal: one more try tells which, by its error.
                rest = memoryview(b"".join(batch))[written:]
                offset += written
                while rest:
                    written = os.pwrite(fd, rest, offset)
                    offset += written
                    rest = rest[written:]
            else:
                offset += written

    def write_synced(self, fd: int, data: bytes, offset: int) -> None:
        """Write at C{offset} and return once it is on disk, with one call where the system can."""
        if hasattr(os, "RWF_DSYNC"):
            try:
                written = os.pwritev(fd, (data,), offset, os.RWF_DSYNC)
            except OSError as error:
                if error.errno not in _CANNOT_SYNC:
                    raise
                written = 0
            if written == len(data):
                return
            data, offset = data[written:], offset + written
        self.write_at(fd, (data,), offset)
        self.sync_data(fd)

    def copy_range(self, source_fd: int, target_fd: int, size: int, source_offset: int, target_offset: int) -> None:
        """
        Copy C{size} bytes from one file to another, in the kernel where it can. May wait for the disk. Two ranges of
        one file must not overlap.

        @raise OSError: also, with C{EIO}, if the source ends early; what it has is copied then.
        """
        copy = getattr(os, "copy_file_range", None)
        while size > 0:
            copied = 0
            if copy is not None:
                try:
                    copied = copy(source_fd, target_fd, size, source_offset, target_offset)
                except OSError as error:
                    if error.errno not in _CANNOT_COPY:
                        raise
                    copy = None
            if not copied:
                # The end, or a file system that cannot tell: reading does.
                piece = os.pread(source_fd, min(size, _COPY_PIECE), source_offset)
                if not piece:
                    raise OSError(errno.EIO, f"the source of a copy ends at {source_offset}, {size} bytes early")
                self.write_at(target_fd, (piece,), target_offset)
                copied = len(piece)
            size -= copied
            source_offset += copied
            target_offset += copied

    def keep_room(self, fd: int, offset: int, size: int) -> None:
        """
        Take room on the disk for C{size} bytes from C{offset} on, where the system can; the file does not grow. Never
        fails: without it, writing there may.
        """
        if _fallocate is not None:
            _fallocate(fd, _FALLOC_FL_KEEP_SIZE, offset, size)

    def truncate(self, fd: int, size: int) -> None:
        os.ftruncate(fd, size)

    def sync_data(self, fd: int) -> None:
        """Bring the data of a file, and what is needed to read it back, to disk."""
        _sync_data(fd)

    def begin_writeback(self, fd: int) -> None:
        """Have the system begin to write a file back, where it has a call for that. Nothing is durable by it: a sync follows."""
        if _sync_file_range is not None:
            _sync_file_range(fd, 0, 0, _SYNC_FILE_RANGE_WRITE)

    def sync_all(self) -> None:
        """Bring to disk all that the system has in memory, of all processes."""
        os.sync()

    def sync_directory(self, path: str) -> None:
        """Bring the names in a directory to disk."""
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        except OSError as error:
            if error.errno in _CANNOT_SYNC:
                raise OSError(error.errno, "its file system cannot sync directories", path) from None
            raise
        finally:
            os.close(fd)

    def make_directory(self, path: str) -> None:
        """
        Make a directory with mode 0700 and bring its name to disk. Parents are made as well; one that is
        there is fine.

        The name of the last one that is there is brought to disk too: the process that made it may have been killed before it
        did so.
        """
        target = Path(path)
        missing = []
        while not target.is_dir():
            missing.append(target)
            target = target.parent
        try:
            self.sync_directory(str(target.parent))
        except PermissionError:
            pass  # then it was not made by us
        for directory in reversed(missing):
            self.mkdir(str(directory))
            self.sync_directory(str(directory.parent))

    def mkdir(self, path: str) -> None:
        """Make one directory; one that is there is fine."""
        try:
            os.mkdir(path, 0o700)
        except FileExistsError:
            if not os.path.isdir(path):
                raise

    def rename(self, source: str, target: str) -> None:
        """Rename; replaces a file that is there."""
        os.rename(source, target)

    def move(self, source: str, target: str, first: Collection[str] = ()) -> None:
        """
        Rename to a name that is free. A directory of a lower layer of overlayfs cannot be renamed: what is in it is moved
        then, one thing after the other, so that a crash may leave it in two places.

        @param first: names in it that are moved before all others.
        """
        try:
            self.rename(source, target)
            return
        except OSError as error:
            if error.errno != errno.EXDEV or os.path.islink(source) or not os.path.isdir(source):
                raise
        self.mkdir(target)
        try:
            for name in sorted(os.listdir(source), key=lambda name: (name not in first, name)):
                self.move(os.path.join(source, name), os.path.join(target, name))
        except OSError:
            # Of another file system nothing can be moved: then nothing is left behind.
            if not os.listdir(target):
                self.remove_directory(target)
            raise
        self.remove_directory(source)

    def name(self, source: str, target: str) -> None:
        """
        Give a file a name that is free. Where there are no hard links it loses its first name.

        @raise FileExistsError: if there is something of that name.
        """
        try:
            self.link(source, target)
        except OSError as error:
            if error.errno not in CANNOT_LINK:
                raise
            self.close(self.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
            self.rename(source, target)

    def exchange(self, first: str, second: str) -> None:
        """
        Let two names change places in one step. Both must be there, be it files or directories.

        @raise OSError: also, with one of L{CANNOT_EXCHANGE}, where the system or the file system has no such call.
        """
        if _renameat2 is None:
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS), first, None, second)
        names = os.fsencode(first), os.fsencode(second)
        if any(b"\0" in name for name in names):
            # C would take it for the end of the name.
            raise ValueError("embedded null byte")
        if _renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), first, None, second)

    def link(self, source: str, target: str) -> None:
        """Give a file a second name, in the same file system; a name that is there is refused."""
        os.link(source, target)

    def unlink(self, path: str) -> None:
        os.unlink(path)

    def symlink(self, target: str, path: str) -> None:
        """Make a symbolic link at C{path} that says C{target}."""
        os.symlink(target, path)

    def remove_directory(self, path: str) -> None:
        """Remove a directory that is empty."""
        os.rmdir(path)

    def remove_tree(self, path: str) -> None:
        """Remove a directory with all that is in it."""
        shutil.rmtree(path)


def check_regular(mode: int, path: str) -> None:
    """
    Refuse what is no plain file: a directory, a FIFO, a device, a socket.

    @param mode: C{st_mode}, as L{os.fstat} gave it.
    @raise OSError: with C{EINVAL}.
    """
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "it is not a regular file", path)


def _open(path: str, flags: int, directory: int | None) -> int:
    try:
        fd = os.open(path, flags | os.O_CLOEXEC, 0o600, dir_fd=directory)
    except OSError as error:
        # A link; a socket, or a FIFO at whose other end is nobody; a directory that was to be written.
        if error.errno in (errno.ELOOP, errno.ENXIO, errno.EISDIR):
            raise OSError(errno.EINVAL, "it is not a regular file", path) from None
        raise
    # With O_EXCL it is new, and a regular file.
    if not flags & os.O_EXCL:
        try:
            check_regular(os.fstat(fd).st_mode, path)
        except BaseException:
            os.close(fd)
            raise
    return fd


def open_regular(path: str, follow: bool = False, directory: int | None = None) -> int:
    """
    Open a file for reading. What is not a regular file, such as a FIFO, is refused and not waited for.

    @param follow: whether the path may be a link to a file.
    @param directory: an open directory that C{path} is relative to.
    @raise OSError: also, with C{EINVAL}, for what is no plain file.
    """
    return _open(path, os.O_RDONLY | (os.O_NONBLOCK if follow else NO_WAIT), directory)


def open_stored(path: str, follow: bool = False) -> FileIO:
    """L{open_regular} as an unbuffered file object, which closes it."""
    return FileIO(open_regular(path, follow), "rb")


def read_regular(path: str, most: int) -> bytes:
    """
    All of a file, which has at most C{most} bytes. See L{open_regular}.

    @raise OSError: also, with C{EINVAL}, for what is no plain file, or larger.
    """
    fd = open_regular(path)
    try:
        size = os.fstat(fd).st_size
        if size > most:
            raise OSError(errno.EINVAL, f"it has {size} bytes; at most {most} are read", path)
        return read_exactly(fd, size, 0)
    finally:
        os.close(fd)


def read_exactly(fd: int, size: int, offset: int) -> bytes:
    """
    Read C{size} bytes at C{offset}, fewer only at the end of the file.  May wait for the disk.
    """
    data = os.pread(fd, size, offset)
    if len(data) == size or not data:
        return data
    pieces = [data]
    got = len(data)
    while got < size:
        data = os.pread(fd, size - got, offset + got)
        if not data:
            break
        pieces.append(data)
        got += len(data)
    return b"".join(pieces)


def forget_cached(fd: int) -> None:
    """Have the next reads of a file come from the disk, where the system has a call for that."""
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)


# -- reading ---------------------------------------------------------------------------------

#: Bytes of the buffers that are read into.
BUFFER = 1 << 20


class NotCached(Exception):
    """It would have to wait for the disk, or might have to."""


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
