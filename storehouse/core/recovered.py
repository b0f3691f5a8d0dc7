"""
Where things go that are taken out of their place and may still be wanted: C{ROOT/recovered/}.

=================================  ====================================================================
C{<TIME>/<RANDOM>/<NAME>}          a file or directory, under its last name
C{<TIME>/<RANDOM>.json}            where it was, and why it was taken out: C{{"path", "why"}}
=================================  ====================================================================

Nothing that is there is ever removed by storehouse.
"""

from __future__ import annotations

import json
import os
import secrets
import time

from storehouse.core.files import Files

__all__ = ["set_aside"]


def set_aside(files: Files, directory: str, path: str, was: str, why: str, durable: bool = True) -> str:
    """
    Move a file or a directory out of its place, in one step; blocks.

    @param directory: C{ROOT/recovered}, made if it is not there; in the file system of C{path}.
    @param was: where it was, for the note.
    @return: where it is now. With C{durable}, that is on disk, but for the directory that it was taken from.
    @raise OSError: if it cannot be done; it is where it was then.
    """
    day = os.path.join(directory, time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()))
    place = os.path.join(day, secrets.token_hex(8))
    files.make_directory(place)
    fd = files.open(f"{place}.json", os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    try:
        files.write_at(fd, (json.dumps({"path": was, "why": why}).encode() + b"\n",), 0)
        if durable:
            files.sync_data(fd)
    finally:
        files.close(fd)
    target = os.path.join(place, os.path.basename(was))
    files.move(path, target)
    if durable:
        for each in (place, day):
            files.sync_directory(each)
    return target
