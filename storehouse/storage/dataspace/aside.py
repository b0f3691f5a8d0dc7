"""What is taken out of a Wormer store, in a disk thread: moved, with a note, and never removed."""

from __future__ import annotations

import errno
import os

from storehouse.core import root
from storehouse.core.files import Files

__all__ = ["set_aside"]


def set_aside(files: Files, places: tuple[str, ...], path: str, why: str) -> str:
    """
    Move a file or directory out of the store. It is on disk where it is then, with its note, when this returns.

    @param places: directories for it; the first that is on its file system is taken.
    @return: where it is now.
    @raise OSError: with it where it was.
    """
    device = os.lstat(path).st_dev
    for place in places:
        files.make_directory(place)
        if os.stat(place).st_dev != device:
            continue
        try:
            target = root.set_aside(files, place, path, path, why)
        except OSError as error:
            if error.errno == errno.EXDEV:
                continue
            raise
        files.sync_directory(os.path.dirname(path))
        return target
    raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), path)
