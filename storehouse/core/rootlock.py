"""One process at a time works on a root directory: the root itself, and the lock on C{ROOT/lock}."""

from __future__ import annotations

import errno
import os

from storehouse.core.files import Files
from storehouse.core.platform import optional_module
from storehouse.errors import RootInUse, StartFailed

__all__ = ["RootLock"]


class RootLock:
    """
    The exclusive right to work on a root directory.  It ends with L{release} or with the process, however
    that ends; the file stays and means nothing by itself.

    @ivar root: the root directory.
    """

    def __init__(self, root: str, files: Files | None = None) -> None:
        self.root = root
        self._files = Files() if files is None else files
        self._fd: int | None = None

    @property
    def held(self) -> bool:
        """Whether this object has the right now."""
        return self._fd is not None

    def acquire(self) -> None:
        """
        Make the root if it is missing, with mode 0700 and its name on disk, and lock it.

        @raise RootInUse: if another process has it; the text names the root and the process.
        @raise StartFailed: if the root cannot be made or written to.
        """
        if self._fd is not None:
            return
        try:
            self._files.make_directory(os.path.abspath(self.root))
            fd = self._files.open(os.path.join(self.root, "lock"), os.O_RDWR | os.O_CREAT)
        except OSError as error:
            raise StartFailed(_explain(self.root, error)) from None
        try:
            self._lock(fd)
            os.ftruncate(fd, 0)
            os.pwrite(fd, b"%d\n" % os.getpid(), 0)
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
                f"the root directory {os.path.abspath(self.root)} is in use by {holder}; stop that one, or choose another with --root"
            ) from None

    def release(self) -> None:
        """Give the right up.  Without it, nothing happens."""
        if self._fd is not None:
            fd, self._fd = self._fd, None
            try:
                os.ftruncate(fd, 0)
            finally:
                os.close(fd)


def _explain(root: str, error: OSError) -> str:
    where = os.path.abspath(root)
    if error.errno in (errno.ENOTDIR, errno.EEXIST):
        return f"the root {where} cannot be used: {error.filename or where} is not a directory"
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"the root directory {where} cannot be used: permission denied for {error.filename or where}"
    if error.errno == errno.EROFS:
        return f"the root directory {where} cannot be used: its file system is read-only"
    return f"the root directory {where} cannot be used: {error.strerror or error}"
