"""Whether there is room on the disks of a root, and whether they can be written to."""

from __future__ import annotations

import os
from collections.abc import Iterable

__all__ = ["disk_troubles"]

#: With fewer bytes than this left nothing of size can be stored.
_LEAST = 1 << 20


def disk_troubles(directories: Iterable[str]) -> dict[str, str]:
    """
    Why nothing can be stored in some of these directories, as a part that is not ready; nothing if all is well. It takes a
    system call for each, and does not wait for a disk.
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
        return f"{directory} cannot be looked at: {error.strerror or error}"
    if state.f_flag & os.ST_RDONLY:
        return f"the file system of {directory} is read-only"
    left = state.f_bavail * state.f_frsize
    # Not every file system has blocks, or a number of files.
    if state.f_blocks and left < _LEAST:
        return f"no room on the disk of {directory}: {left} bytes are left"
    if state.f_files and not state.f_favail:
        return f"no room on the disk of {directory}: it can have no more files"
    return ""
