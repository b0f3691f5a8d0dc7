"""
The root directory of a process, and what is kept there whatever else is:

=========================================  ============================================================
C{lock}                                    locked by the one process that works on the root
C{reserve}                                 bytes without meaning, that are removed when the disk is full, so
                                           that there is room to open the root and remove from it
C{recovered/<TIME>/<RANDOM>/<NAME>}        a file or directory that was set aside, under its last name
C{recovered/<TIME>/<RANDOM>.json}          where it was, and why it was set aside: C{{"path", "why"}}
=========================================  ============================================================

Nothing in C{recovered} is ever removed by storehouse.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import suppress

from storehouse.core.files import NO_SPACE, Files
from storehouse.core.platform import optional_module
from storehouse.errors import RootInUse, StartFailed

__all__ = ["RootLock", "below_root", "check_owner", "make_room", "noted_path", "path_of", "possible_paths", "set_aside"]

#: Bytes of C{ROOT/reserve}: what it takes to open the stores of a root, and to remove something from them.
_RESERVE = 256 * 1024

#: Bytes that are left when all that there is is kept.
_MARGIN = 16 * 1024


def make_room(root: str) -> None:
    """
    Give what is kept in a root to a disk that is full, if it is: before twistd writes its own files there, perhaps.
    """
    with suppress(OSError):
        state = os.statvfs(root)
        if state.f_bavail * state.f_frsize < _RESERVE // 4:
            os.unlink(os.path.join(root, "reserve"))


def check_owner(root: str) -> None:
    """
    See whether what is made in a root could be opened by the user whose root it is. Only the superuser can make what others
    cannot open.

    @raise StartFailed: if not.
    """
    if os.geteuid() != 0:
        return
    try:
        owner = os.stat(root).st_uid
    except OSError:
        return  # there is none, or the store that opens it says what is wrong
    if owner != 0:
        name = _name_of(owner)
        raise StartFailed(
            f"the root directory {os.path.abspath(root)} belongs to {name}: that user could not open files that root "
            f"creates there; run this as {name}, with 'sudo -u {name}', or a service with 'twistd --uid {name}'"
        )


def _name_of(uid: int) -> str:
    pwd = optional_module("pwd")
    try:
        return f"#{uid}" if pwd is None else str(pwd.getpwuid(uid).pw_name)
    except KeyError:
        return f"#{uid}"


class RootLock:
    """
    The exclusive right to work on a root directory.  It ends with L{release} or with the process, however
    that ends; the file stays and means nothing by itself, nor does the number of a process in it.

    @ivar root: the root directory.
    """

    def __init__(self, root: str, files: Files | None = None) -> None:
        self.root = root
        self._files = Files() if files is None else files
        self._fd: int | None = None
        self._reserved = os.path.join(root, "reserve")

    @property
    def held(self) -> bool:
        """Whether this object has the right now."""
        return self._fd is not None

    def acquire(self) -> None:
        """
        Make the root if it is missing, with mode 0700 and its name on disk, and lock it.

        @raise RootInUse: if another process has it; the text names the root and the process.
        @raise StartFailed: if the root cannot be made or written to, or is another user's.
        """
        if self._fd is not None:
            return
        check_owner(self.root)
        try:
            self._files.make_directory(os.path.abspath(self.root))
            fd = self._files.open(os.path.join(self.root, "lock"), os.O_RDWR | os.O_CREAT)
        except OSError as error:
            raise StartFailed(_explain(self.root, error)) from None
        try:
            self._lock(fd)
            self._leave_pid(fd)
        except OSError as error:
            os.close(fd)
            raise StartFailed(_explain(self.root, error)) from None
        except BaseException:
            os.close(fd)
            raise
        self._fd = fd

    def _lock(self, fd: int) -> None:
        fcntl = optional_module("fcntl")
        if fcntl is None:
            return
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = os.pread(fd, 32, 0).strip()
            holder = f"process {int(pid)}" if pid.isdigit() else "another process"
            raise RootInUse(
                f"the root directory {os.path.abspath(self.root)} is in use by {holder}; stop that one, or choose "
                "another with --root"
            ) from None

    def release(self) -> None:
        """Give the right up.  Without it, nothing happens."""
        if self._fd is not None:
            fd, self._fd = self._fd, None
            try:
                os.ftruncate(fd, 0)
                # Nothing is opened any more: what there is can be kept, however little.
                self._reserve(_RESERVE // 4)
            except OSError:
                pass  # a number that means nothing any more, and room that there is not
            finally:
                os.close(fd)

    def _leave_pid(self, fd: int) -> None:
        """
        Say who has the lock, for the message that others get, and see to it that there is a little room. The lock itself
        is that of the system: a full disk has no room for the number, and must still be read and made emptier.
        """
        try:
            os.ftruncate(fd, 0)
            os.pwrite(fd, b"%d\n" % os.getpid(), 0)
            # So much that enough is left for what is opened now.
            self._reserve(2 * _RESERVE)
        except OSError as error:
            if error.errno not in NO_SPACE:
                raise
            # Opening the stores takes some files of a few pages each, also if all that is done then is to remove.
            with suppress(FileNotFoundError):
                self._files.unlink(self._reserved)

    def _reserve(self, least: int) -> None:
        """
        Keep a little room for the day when the disk is full.

        @param least: bytes that must be left for that.
        @raise OSError: if that day has come.
        """
        state = os.statvfs(self.root)
        left = state.f_bavail * state.f_frsize
        if os.path.exists(self._reserved):
            if left < _RESERVE:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self._reserved)
            if os.stat(self._reserved).st_size >= _RESERVE or left < least:
                return
            self._files.unlink(self._reserved)
        if left < least:
            return
        size = min(_RESERVE, left - _MARGIN)
        fd = self._files.open(self._reserved, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        try:
            # What cannot be compressed: it is to take its room on every file system.
            self._files.write_at(fd, (os.urandom(size),), 0)
        except OSError:
            self._files.unlink(self._reserved)
            raise
        finally:
            self._files.close(fd)


def _explain(root: str, error: OSError) -> str:
    where = os.path.abspath(root)
    if error.errno in (errno.ENOTDIR, errno.EEXIST):
        return f"the root {where} cannot be used: {error.filename or where} is not a directory"
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"the root directory {where} cannot be used: permission denied for {error.filename or where}"
    if error.errno == errno.EROFS:
        return f"the root directory {where} cannot be used: its file system is read-only"
    return f"the root directory {where} cannot be used: {error.strerror or error}"


# -- paths in notes --------------------------------------------------------------------------------

# Paths of files below a root as notes on disk have them are relative to the root, so that it can be moved or copied as a whole.
# What is not below the root is noted as it is, absolute. Notes of earlier versions have absolute paths only: what they mean is
# looked for below the root first, since the root may have been moved since, or copied while the files of the other one are
# there still.


def below_root(root: str, path: str) -> str | None:
    """A path relative to the root; C{None} if it is not below it. Both are absolute."""
    start = os.path.join(root, "")
    return path[len(start) :] if root and path.startswith(start) else None


def noted_path(root: str, path: str) -> str:
    """What to note of an absolute path."""
    below = below_root(root, path)
    return path if below is None else below


def path_of(root: str, noted: str) -> str:
    """The absolute path of what L{noted_path} gave, as it was noted; an empty one stays empty."""
    return os.path.join(root, noted) if noted and root else noted


def possible_paths(root: str, path: str) -> Iterator[str]:
    """
    Where below the root a file may be whose absolute path was noted when the root was elsewhere: by as much of that path as
    possible, then by less. The caller checks whether it is the file.
    """
    parts = [part for part in path.split("/") if part]
    for start in range(len(parts)):
        candidate = os.path.join(root, *parts[start:])
        if candidate != path and os.path.lexists(candidate):
            yield candidate


# -- what is set aside -----------------------------------------------------------------------------


def set_aside(files: Files, directory: str, path: str, was: str, why: str, durable: bool = True) -> str:
    """
    Move a file or a directory out of its place, in one step; blocks.

    @param directory: C{ROOT/recovered}, made if it is not there; in the file system of C{path}.
    @param was: where it was, for the note.
    @return: where it is now. With C{durable}, that is on disk, but for the directory that it was taken from.
    @raise OSError: if it cannot be done; it is where it was then.
    """
    day = os.path.join(directory, time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()))
    place = os.path.join(day, secrets.token_hex(8))
    files.make_directory(place)
    fd = files.open(f"{place}.json", os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    try:
        files.write_at(fd, (json.dumps({"path": was, "why": why}).encode() + b"\n",), 0)
        if durable:
            files.sync_data(fd)
    finally:
        files.close(fd)
    target = os.path.join(place, os.path.basename(was))
    files.move(path, target)
    if durable:
        for each in (place, day):
            files.sync_directory(each)
    return target
