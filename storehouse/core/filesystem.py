"""What a store needs of its file system, checked before anything is stored (docs/filesystems.rst), and whether it has room."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterable

from storehouse.errors import StartFailed

__all__ = ["check_names", "check_together", "disk_troubles"]

#: Characters of the longest name that a store gives a file or directory.
_LONGEST = 210


def check_together(directory: str, *others: str) -> None:
    """
    @raise StartFailed: if directories are on several file systems, so that nothing can be renamed from one to the other.
    @raise OSError: if that cannot be found out.
    """
    device = os.stat(directory).st_dev
    for other in others:
        if os.stat(other).st_dev != device:
            raise StartFailed(
                f"{other} and {directory} are on different file systems: a store must be on one, since files are "
                "renamed from one to the other"
            )


def check_names(directory: str) -> None:
    """
    Check that the file system can have the names of encoded keys.

    @raise StartFailed: if the file system takes upper for lower case, or has no names as long.
    @raise OSError: if the check fails for another reason than a full disk.
    """
    name = f"new.{secrets.token_hex(8)}"
    path = os.path.join(directory, name + "x" * (_LONGEST - len(name)))
    try:
        # It need not be durable; a start removes one that a crash has left.
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise StartFailed(
                f"the file system of {directory} has no names of {_LONGEST} characters, which keys need"
            ) from None
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return  # what is stored there was stored by such names
        raise
    try:
        if os.path.lexists(os.path.join(directory, os.path.basename(path).upper())):
            raise StartFailed(
                f"the file system of {directory} ignores case: keys that differ only in case would be one"
            )
    finally:
        os.unlink(path)


# -- room ------------------------------------------------------------------------------------------

#: Bytes that must be free: with fewer nothing of size can be stored.
_LEAST = 1 << 20


def disk_troubles(directories: Iterable[str]) -> dict[str, str]:
    """
    Why nothing can be stored in the first of these directories that is not fit for it: C{{"disk": REASON}}, as C{/readyz} has it;
    empty if all are. It takes a system call for each, and does not wait for a disk.
    """
    for directory in directories:
        reason = _trouble_of(directory)
        if reason:
            return {"disk": reason}
    return {}


def _trouble_of(directory: str) -> str:
    try:
        state = os.statvfs(directory)
    except FileNotFoundError:
        return ""  # it is made when it is needed
    except OSError as error:
        return f"{directory} cannot be examined: {error.strerror or error}"
    if state.f_flag & os.ST_RDONLY:
        return f"the file system of {directory} is read-only"
    left = state.f_bavail * state.f_frsize
    # Not every file system has blocks, or a number of files.
    if state.f_blocks and left < _LEAST:
        return f"no space on the disk of {directory}: {left} bytes are left"
    if state.f_files and not state.f_favail:
        return f"no space on the disk of {directory}: no more files can be created"
    return ""
