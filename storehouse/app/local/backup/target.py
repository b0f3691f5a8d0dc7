"""
A backup while it is made: beside its place and under another name, until it is whole, on disk and verified.

Files that never change are given a second name where the file system allows it, and are copied else; what an older backup
has already is not copied again. The files of a backup are in docs/backup.rst.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import stat
from collections.abc import Callable
from contextlib import suppress
from typing import BinaryIO

import attrs

from storehouse.app.local.backup.described import (
    DESCRIPTION,
    LISTED,
    Description,
    checksum_of,
    entry_of,
    is_within,
    read_older,
    remove,
)
from storehouse.core.checksummed import encode_checksummed
from storehouse.core.digests import crc32c
from storehouse.core.files import Files
from storehouse.core.platform import optional_module
from storehouse.errors import StartFailed, StorageFailed

__all__ = ["Target"]

_MARKER = "partial"
_PIECE = 1 << 20

#: Directories that are known to have been made.
_MOST_KNOWN = 10_000
_CANNOT_LINK = frozenset({errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EACCES})


class Target:
    """
    See the module. Paths of files are those below the backup.

    @param path: where it is to be.
    @param root: what it is of, and C{kept}, all directories that hold a part of that.
    @param alive: called often; raises to end it.
    @param told: called with the number of bytes that were linked or copied.
    @raise StartFailed: if there cannot be a backup.
    """

    def __init__(
        self,
        path: str,
        root: str,
        kept: list[str],
        alive: Callable[[], None] = lambda: None,
        told: Callable[[int], None] = lambda size: None,
    ) -> None:
        self.path = os.path.realpath(path)
        self.alive = alive
        self.copied = self.linked = 0
        self.older: Description | None = None
        self._root = root
        self._told = told
        self._files = Files()
        self._owner = os.stat(root).st_uid, os.stat(root).st_gid
        self._is_superuser = os.geteuid() == 0
        self._known: dict[str, tuple[int, str | None]] = {}
        self._made: set[str] = set()
        #: What was written again, or taken out: of it only what was said last counts.
        self._again: set[str] = set()
        parent, name = os.path.split(self.path)
        self._parent = parent
        self.directory = os.path.join(parent, f".{name}.partial")
        self._old = os.path.join(parent, f".{name}.old")
        for each in (root, *kept):
            if is_within(self.path, each) or is_within(each, self.path):
                raise StartFailed(f"a backup cannot be {path}: that and {each} contain one another")
        if not os.path.isdir(parent):
            raise StartFailed(f"a backup cannot be {path}: {parent} is not a directory")
        if os.path.ismount(self.path):
            raise StartFailed(
                f"a backup cannot be {path} itself, where a file system is mounted: name a directory in it"
            )
        self._lock = -1
        try:
            self._take_place()
            self.older, self._known = read_older(self.path, root)
        except OSError as error:
            self.abandon()
            raise StartFailed(
                f"a backup cannot be {path}: {error.filename or parent}: {error.strerror or error}"
            ) from None
        except BaseException:
            self.abandon()
            raise

    # -- its place -----------------------------------------------------------------------------

    def _take_place(self) -> None:
        if not os.path.lexists(self.path) and os.path.isdir(self._old):
            # The process ended between two renames: restore the old directory.
            os.rename(self._old, self.path)
        with suppress(FileExistsError):
            os.mkdir(self.directory, 0o700)
        self._lock = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        fcntl = optional_module("fcntl")
        if fcntl is not None:
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(self._lock)
                self._lock = -1
                raise StartFailed(f"another backup to {self.path} is being made") from None
        there = os.listdir(self.directory)
        if there and _MARKER not in there and DESCRIPTION not in there:
            os.close(self._lock)
            self._lock = -1
            raise StartFailed(f"{self.directory} was not made by a backup: move it away")
        for name in sorted(there, key=lambda name: name in (_MARKER, DESCRIPTION)):
            remove(os.path.join(self.directory, name))
        self._write_file(os.path.join(self.directory, _MARKER), b"")
        if self._is_superuser:
            os.fchown(self._lock, *self._owner)
        self._verify: BinaryIO = open(os.path.join(self.directory, ".verify"), "wb")  # noqa: SIM115 - until it is whole
        self._list: BinaryIO = open(os.path.join(self.directory, LISTED), "wb")  # noqa: SIM115 - likewise
        os.fchmod(self._list.fileno(), 0o600)

    def abandon(self) -> None:
        """Leave nothing of it."""
        if self._lock < 0:
            return
        for file in (getattr(self, "_verify", None), getattr(self, "_list", None)):
            if file is not None:
                file.close()
        shutil.rmtree(self.directory, ignore_errors=True)
        os.close(self._lock)
        self._lock = -1

    # -- files ---------------------------------------------------------------------------------

    def path_of(self, name: str) -> str:
        """The path of a file of the backup that is being made."""
        return os.path.join(self.directory, name)

    def make(self, name: str) -> str:
        """A directory, with those above it. @return: its path."""
        if name in self._made or not name:
            return self.path_of(name)
        self.make(os.path.dirname(name))
        with suppress(FileExistsError):
            os.mkdir(self.path_of(name), 0o700)
        if self._is_superuser:
            os.chown(self.path_of(name), *self._owner)
        if len(self._made) > _MOST_KNOWN:
            self._made.clear()
        self._made.add(name)
        return self.path_of(name)

    def forget(self, name: str) -> None:
        """Take a file or a directory out again. What is listed of it is dropped at the end."""
        path = self.path_of(name)
        remove(path)
        self._again.add(name)
        self._made = {made for made in self._made if made != name and not made.startswith(name + "/")}

    def link(self, source: str, name: str, directory: int | None = None, is_listed: bool = False) -> None:
        """
        A file that never changes.

        @param source: its path, relative to an open C{directory} if one is given.
        @raise FileNotFoundError: if it is gone.
        """
        self.alive()
        self.make(os.path.dirname(name))
        try:
            os.link(source, self.path_of(name), src_dir_fd=directory, follow_symlinks=False)
        except OSError as error:
            if error.errno not in _CANNOT_LINK:
                raise
            self.copy(source, name, directory=directory, is_listed=is_listed)
            return
        size = os.lstat(self.path_of(name)).st_size
        self.linked += 1
        if is_listed:
            self._note(name, size, None)
        self._told(size)

    def copy(
        self,
        source: str,
        name: str,
        size: int | None = None,
        directory: int | None = None,
        is_listed: bool = True,
        is_settled: bool = True,
        head: bytes = b"",
    ) -> os.stat_result:
        """
        A file that may change: what it has now.

        @param size: copy only so many bytes, of which there are no fewer.
        @param head: what it begins with in the backup.
        @param is_settled: whether what the older backup has of this name, time and size is the same.
        @return: what was known of it before it was copied.
        @raise FileNotFoundError: if it is gone.
        """
        self.alive()
        self.make(os.path.dirname(name))
        fd = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
        try:
            state = os.fstat(fd)
            if not stat.S_ISREG(state.st_mode):
                raise StorageFailed(f"{source} is not a regular file")
            wanted = state.st_size if size is None else size
            if is_settled and self._take_older(name, wanted, state, is_listed):
                return state
            with suppress(FileNotFoundError):
                os.unlink(self.path_of(name))
                self._again.add(name)
            target = os.open(self.path_of(name), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                checksum = done = 0
                while done < wanted:
                    data = os.pread(fd, min(_PIECE, wanted - done), done)
                    if not data:
                        break
                    if not done:
                        data = head + data[len(head) :]
                    self._files.write_at(target, (data,), done)
                    checksum = crc32c(data, checksum)
                    done += len(data)
                    self._told(len(data))
                    self.alive()
                if size is not None and done < size:
                    raise StorageFailed(f"{source} became shorter while it was copied")
                os.fchmod(target, stat.S_IMODE(state.st_mode) & 0o700)
                if self._is_superuser:
                    os.fchown(target, state.st_uid, state.st_gid)
                os.utime(target, ns=(state.st_mtime_ns, state.st_mtime_ns))
            finally:
                os.close(target)
        finally:
            os.close(fd)
        self.copied += 1
        self._verify.write(entry_of(name, done, f"{checksum:08x}"))
        if is_listed:
            self._note(name, done, f"{checksum:08x}")
        return state

    def _take_older(self, name: str, size: int, state: os.stat_result, is_listed: bool) -> bool:
        if self.older is None or (is_listed and name not in self._known):
            return False
        path = os.path.join(self.path, name)
        try:
            there = os.lstat(path)
            if not stat.S_ISREG(there.st_mode) or (there.st_size, there.st_mtime_ns) != (size, state.st_mtime_ns):
                return False
            with suppress(FileNotFoundError):
                os.unlink(self.path_of(name))
                self._again.add(name)
            os.link(path, self.path_of(name), follow_symlinks=False)
        except OSError as error:
            if error.errno not in _CANNOT_LINK and error.errno != errno.ENOENT:
                raise
            return False
        self.linked += 1
        if is_listed:
            self._note(name, *self._known[name])
        self._told(size)
        return True

    def write(self, name: str, data: bytes, is_listed: bool = True) -> None:
        """A file with this in it, in place of one that is there."""
        self.make(os.path.dirname(name))
        with suppress(FileNotFoundError):
            os.unlink(self.path_of(name))
            self._again.add(name)
        self._write_file(self.path_of(name), data)
        self._verify.write(entry_of(name, len(data), f"{crc32c(data):08x}"))
        if is_listed:
            self._note(name, len(data), f"{crc32c(data):08x}")

    def _write_file(self, path: str, data: bytes) -> None:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            self._files.write_at(fd, (data,), 0)
            if self._is_superuser:
                os.fchown(fd, *self._owner)
        finally:
            os.close(fd)

    def symlink(self, to: str, name: str) -> None:
        """A symbolic link, in place of what is there."""
        self.make(os.path.dirname(name))
        with suppress(FileNotFoundError):
            os.unlink(self.path_of(name))
        os.symlink(to, self.path_of(name))
        if self._is_superuser:
            os.chown(self.path_of(name), *self._owner, follow_symlinks=False)

    def _note(self, name: str, size: int, checksum: str | None) -> None:
        self._list.write(entry_of(name, size, checksum))

    # -- the end -------------------------------------------------------------------------------

    def finish(self, **known: int | bool | str) -> Description:
        """
        Bring it to disk, read back what was copied, and give it its name.

        @param known: what L{Description} has beside.
        @raise StorageFailed: if it does not read back as it was written. Nothing is changed then.
        """
        self._verify.close()
        self._list.close()
        last = self._settle_list()
        self._files.sync_all()
        again: dict[str, tuple[int, str]] = {}
        with open(self.path_of(".verify"), "rb") as lines:
            for name, size, checksum in map(json.loads, lines):
                if self._was_again(name):
                    again[name] = size, checksum
                else:
                    self._read_back(name, size, checksum)
        for name, expected in again.items():
            # It may have been taken out again, or replaced by what the older backup has.
            if os.path.lexists(self.path_of(name)) and last.get(name, expected) == expected:
                self._read_back(name, *expected)
        os.unlink(self.path_of(".verify"))
        os.unlink(self.path_of(_MARKER))
        with open(self.path_of(LISTED), "rb") as file:
            listing = f"{crc32c(file.read()):08x}"
        contents = sorted(set(os.listdir(self.directory)) - {LISTED})
        description = Description(root=self._root, contents=contents, listing=listing, **known)  # type: ignore[arg-type]
        self._write_file(self.path_of(DESCRIPTION), encode_checksummed(attrs.asdict(description)) + b"\n")
        self.alive()
        self._files.sync_all()
        self._name()
        return description

    def _was_again(self, name: str) -> bool:
        while name and name not in self._again:
            name = os.path.dirname(name)
        return bool(name)

    def _read_back(self, name: str, size: int, checksum: str) -> None:
        if checksum_of(self.path_of(name), self.alive, fresh=True) != (size, checksum):
            raise StorageFailed(f"{self.path_of(name)} does not read back as it was written")

    def _settle_list(self) -> dict[str, tuple[int, str | None]]:
        """The last that was said of each file that is there."""
        with open(self.path_of(LISTED), "rb") as lines:
            last = {name: (size, checksum) for name, size, checksum in map(json.loads, lines)}
        last = {name: known for name, known in last.items() if os.path.lexists(self.path_of(name))}
        os.unlink(self.path_of(LISTED))
        self._write_file(self.path_of(LISTED), b"".join(entry_of(name, *last[name]) for name in sorted(last)))
        return last

    def _name(self) -> None:
        before = self.older is not None
        if before:
            try:
                self._files.exchange(self.directory, self.path)
            except OSError as error:
                if error.errno not in (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP):
                    raise
                os.rename(self.path, self._old)
                os.rename(self.directory, self.path)
        else:
            os.rename(self.directory, self.path)
        self._files.sync_directory(self._parent)
        # A backup that was replaced is not needed any more; of one that is removed in part only what is no backup is left.
        for gone in (self.directory, self._old) if before else ():
            if os.path.isdir(gone):
                os.unlink(os.path.join(gone, DESCRIPTION))
                self._write_file(os.path.join(gone, _MARKER), b"")
                shutil.rmtree(gone, ignore_errors=True)
        os.close(self._lock)
        self._lock = -1
