"""Objects that a repair takes out of a Wormer store, in a disk thread: moved, with a note, and never removed."""

from __future__ import annotations

import errno
import os

from storehouse.core import recovered
from storehouse.core.files import Files
from storehouse.errors import NoSuchObject
from storehouse.storage.dataspace.layout import Layout

__all__ = ["set_aside"]


def set_aside(files: Files, layout: Layout, directory: str, id: str, why: str) -> str:
    """
    Move an object out of the store. It is on disk where it is then, with its note, when this returns.

    @param directory: C{ROOT/recovered}. One in the store is taken instead, if that is on another file system.
    @return: where it is now.
    @raise NoSuchObject: if it is not there.
    @raise OSError: with the object where it was.
    """
    source = layout.object(id)
    for place in (directory, os.path.join(layout.root, "recovered")):
        files.make_directory(place)
        if not os.path.lexists(source):
            raise NoSuchObject(f"there is no object {id}")
        if os.lstat(source).st_dev != os.stat(place).st_dev:
            continue
        try:
            target = recovered.set_aside(files, place, source, source, why)
        except OSError as error:
            if error.errno == errno.EXDEV:
                continue
            raise
        files.sync_directory(os.path.dirname(source))
        return target
    raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), source)
