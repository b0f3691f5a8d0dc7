"""What a store must have of its file system, found out before anything is stored (docs/filesystems.rst)."""

from __future__ import annotations

import errno
import os
import secrets

from storehouse.errors import StartFailed

__all__ = ["check_names", "check_together"]

#: Characters of the longest name that a store gives a file or directory.
_LONGEST = 210


def check_together(directory: str, *others: str) -> None:
    """
    @raise StartFailed: if directories are on several file systems, so that nothing can be renamed from one to the other.
    @raise OSError: if that cannot be told.
    """
    device = os.stat(directory).st_dev
    for other in others:
        if os.stat(other).st_dev != device:
            raise StartFailed(
                f"{other} is on another file system than {directory}: a store must be on one, since what is written in "
                "the one is renamed to the other"
            )


def check_names(directory: str) -> None:
    """
    Try names as keys are encoded to.

    @raise StartFailed: if the file system takes upper for lower case, or has no names as long.
    @raise OSError: if that cannot be told, for another reason than that there is no room.
    """
    name = f"new.{secrets.token_hex(8)}"
    path = os.path.join(directory, name + "x" * (_LONGEST - len(name)))
    try:
        # Nobody waits for it to be on disk; a start removes one that a crash has left.
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
                f"the file system of {directory} takes upper for lower case: keys that differ only in that would be one"
            )
    finally:
        os.unlink(path)
