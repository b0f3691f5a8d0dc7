"""The directory of accounts: its lock, and how its files are replaced."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from storehouse.core.files import NO_SPACE, Files, open_stored
from storehouse.core.platform import optional_module
from storehouse.errors import NoSpace, StartFailed, StorageFailed, Unavailable

__all__ = ["Ground"]

#: Seconds to wait for another process to finish its change, and between two tries.
_PATIENCE = 10.0
_PAUSE = 0.01


class Ground:
    """
    A directory of mode 0700 whose files, of mode 0600, several processes change one after the other. Methods may wait for
    the disk, and are for any thread.

    Files that root makes, with a command, belong to whom the directory belongs to, so that a service under another name
    can go on reading them.

    @ivar directory: its path.
    """

    def __init__(self, directory: str, files: Files) -> None:
        self.directory = directory
        self.files = files

    def path(self, name: str) -> str:
        """Of a file."""
        return os.path.join(self.directory, name)

    def make(self) -> None:
        """Make the directory if it is missing. @raise StartFailed: if that is not possible."""
        is_new = not os.path.isdir(self.directory)
        try:
            self.files.make_directory(self.directory)
            if is_new and os.geteuid() == 0:
                parent = os.stat(os.path.dirname(self.directory))
                os.chown(self.directory, parent.st_uid, parent.st_gid)
        except OSError as error:
            raise StartFailed(
                f"the accounts directory {self.directory} cannot be made: {error.strerror or error}"
            ) from None

    @contextmanager
    def locked(self) -> Iterator[None]:
        """
        Alone, in this process and among others.

        @raise Unavailable: if another process does not finish.
        @raise NoSpace: for what is done within, if the disk is full.
        @raise StorageFailed: for what is done within, if the disk fails otherwise.
        """
        try:
            fd = self.files.open(self.path("lock"), os.O_RDWR | os.O_CREAT)
            try:
                self._own(fd)
                self._wait(fd)
                yield
            finally:
                self.files.close(fd)
        except OSError as error:
            what = f"{error.filename or self.directory}: {error.strerror or error}"
            if error.errno in NO_SPACE:
                raise NoSpace(f"the accounts cannot be changed: {what}") from None
            raise StorageFailed(f"the accounts cannot be changed: {what}") from None

    def _wait(self, fd: int) -> None:
        fcntl = optional_module("fcntl")
        if fcntl is None:
            return
        end = time.monotonic() + _PATIENCE
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() > end:
                    raise Unavailable(f"another process is changing the accounts in {self.directory}") from None
                time.sleep(_PAUSE)

    def read(self, name: str) -> bytes | None:
        """A file; C{None} if there is none."""
        try:
            with open_stored(self.path(name)) as file:
                return file.readall()
        except FileNotFoundError:
            return None

    def replace(self, name: str, data: bytes) -> None:
        """Put a file in the place of another; on disk when it returns, and at any time either whole. Only L{locked}."""
        new = self.path(name + ".new")
        fd = self.files.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        try:
            self._own(fd)
            self.files.write_at(fd, (data,), 0)
            self.files.sync_data(fd)
        finally:
            self.files.close(fd)
        self.files.rename(new, self.path(name))
        self.files.sync_directory(self.directory)

    def open_log(self, name: str) -> int:
        """Open a file that is appended to; its name is on disk. Only L{locked}."""
        is_new = not os.path.lexists(self.path(name))
        fd = self.files.open(self.path(name), os.O_RDWR | os.O_CREAT)
        if is_new:
            try:
                self._own(fd)
                self.files.sync_directory(self.directory)
            except BaseException:
                self.files.close(fd)
                raise
        return fd

    def _own(self, fd: int) -> None:
        if os.geteuid() == 0:
            owner = os.stat(self.directory)
            os.fchown(fd, owner.st_uid, owner.st_gid)
