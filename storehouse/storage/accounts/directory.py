"""The directory of the accounts: its lock, and how its files are replaced."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from storehouse.core.files import NO_SPACE, Files, open_stored
from storehouse.core.platform import optional_module
from storehouse.errors import NoSpace, StartFailed, StorageFailed, Unavailable

__all__ = ["AccountsDirectory"]

#: Seconds to wait for another process to finish its change, and between two tries.
_LOCK_TIMEOUT = 10.0
_LOCK_RETRY = 0.01


class AccountsDirectory:
    """
    A directory of mode 0700 with files of mode 0600. A service and commands change them, one process at a time. Methods
    block, and may be called in any thread.

    When root runs a command, the files it creates get the owner of the directory: otherwise a service that runs as
    another user could not read them any more.
    """

    def __init__(self, path: str, files: Files) -> None:
        self.path = path
        self.files = files

    def file(self, name: str) -> str:
        """The path of a file."""
        return os.path.join(self.path, name)

    def create(self) -> None:
        """Create the directory if it is missing. @raise StartFailed: if that is not possible."""
        is_new = not os.path.isdir(self.path)
        try:
            self.files.make_directory(self.path)
            if is_new and os.geteuid() == 0:
                parent = os.stat(os.path.dirname(self.path))
                os.chown(self.path, parent.st_uid, parent.st_gid)
        except OSError as error:
            raise StartFailed(
                f"the accounts directory {self.path} cannot be created: {error.strerror or error}"
            ) from None

    @contextmanager
    def locked(self) -> Iterator[None]:
        """
        Exclude other threads and processes.

        @raise Unavailable: if another process holds the lock for 10 seconds.
        @raise NoSpace: if the block fails because the disk is full.
        @raise StorageFailed: if the block fails with another C{OSError}.
        """
        try:
            fd = self.files.open(self.file("lock"), os.O_RDWR | os.O_CREAT)
            try:
                self._give_to_owner(fd)
                self._lock(fd)
                yield
            finally:
                self.files.close(fd)
        except OSError as error:
            what = f"{error.filename or self.path}: {error.strerror or error}"
            if error.errno in NO_SPACE:
                raise NoSpace(f"the accounts cannot be changed: {what}") from None
            raise StorageFailed(f"the accounts cannot be changed: {what}") from None

    def _lock(self, fd: int) -> None:
        fcntl = optional_module("fcntl")
        if fcntl is None:
            return
        end = time.monotonic() + _LOCK_TIMEOUT
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() > end:
                    raise Unavailable(f"another process is changing the accounts in {self.path}") from None
                time.sleep(_LOCK_RETRY)

    def read(self, name: str) -> bytes | None:
        """The content of a file; C{None} if it does not exist."""
        try:
            with open_stored(self.file(name)) as file:
                return file.readall()
        except FileNotFoundError:
            return None

    def replace(self, name: str, data: bytes) -> None:
        """Replace a file as a whole, or create it. Durable when it returns. Only while L{locked}."""
        new = self.file(name + ".new")
        fd = self.files.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        try:
            self._give_to_owner(fd)
            self.files.write_at(fd, (data,), 0)
            self.files.sync_data(fd)
        finally:
            self.files.close(fd)
        self.files.rename(new, self.file(name))
        self.files.sync_directory(self.path)

    def open_log(self, name: str) -> int:
        """Open a file to append to, or create it; its name is durable. Only while L{locked}."""
        is_new = not os.path.lexists(self.file(name))
        fd = self.files.open(self.file(name), os.O_RDWR | os.O_CREAT)
        if is_new:
            try:
                self._give_to_owner(fd)
                self.files.sync_directory(self.path)
            except BaseException:
                self.files.close(fd)
                raise
        return fd

    def _give_to_owner(self, fd: int) -> None:
        if os.geteuid() == 0:
            owner = os.stat(self.path)
            os.fchown(fd, owner.st_uid, owner.st_gid)
