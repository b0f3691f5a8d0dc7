"""
Objects that a repair takes out of a Wormer store, in a disk thread: moved, with a note, and never removed.

docs/formats/wormer.md ("recovered/") says where they are then.
"""

from __future__ import annotations

import errno
import json
import os

from storehouse.core.files import Files
from storehouse.errors import NoSuchObject
from storehouse.storage.dataspace.layout import Layout

__all__ = ["set_aside"]


def set_aside(files: Files, layout: Layout, recovered: str, id: str, moment: str, reason: str) -> str:
    """
    Move an object out of the store. It is on disk where it is then, with its note, when this returns.

    @param recovered: the directory to use, where it is on the file system of the store.
    @return: the path of the directory of that moment.
    @raise NoSuchObject: if it is not there.
    @raise OSError: with the object where it was.
    """
    source = layout.object(id)
    for top in (recovered, os.path.join(layout.root, "recovered")):
        place = os.path.join(top, moment)
        target = os.path.join(place, "data", id[:2], id)
        files.make_directory(os.path.dirname(target))
        if not os.path.lexists(source):
            raise NoSuchObject(f"there is no object {id}")
        if os.lstat(source).st_dev != os.lstat(place).st_dev:
            continue
        _note(files, place, {"from": source, "to": target, "reason": reason})
        try:
            files.move(source, target, ("data.json",))
        except OSError as error:
            if error.errno == errno.EXDEV:
                continue
            raise
        files.sync_directory(os.path.dirname(target))
        files.sync_directory(os.path.dirname(source))
        return place
    raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), source)


def _note(files: Files, place: str, note: dict[str, str]) -> None:
    path = os.path.join(place, "moved.jsonl")
    fd = files.open(path, os.O_WRONLY | os.O_CREAT)
    try:
        line = json.dumps(note, ensure_ascii=False).encode("utf-8", "surrogateescape") + b"\n"
        files.write_at(fd, (line,), os.fstat(fd).st_size)
        files.sync_data(fd)
    finally:
        files.close(fd)
    files.sync_directory(place)
