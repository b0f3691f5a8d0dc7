"""
Processes that are killed between what a callback did and the note of it: C{python -m tests.archive.killed}.

Each line of input, a JSON array, is what L{_live} is to be called with in a child; its status is answered in a line.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from storehouse.archive.handlers import ChangeExtension, CompressFile, MoveFile
from storehouse.archive.roll_manager import WritingRollManager
from storehouse.core.files import Files
from storehouse.testing.files import FailingFiles

__all__ = ["BELOW", "CASES", "NAME", "callback_of"]

#: The archive's, and that of the directory beside it that archives are moved to.
NAME = "a.ev"
BELOW = "below"

#: What callbacks there are, and what they make of the archive if the name is free.
CASES = {
    "extension": NAME + ".done",
    "move": os.path.join(BELOW, NAME),
    "copy": os.path.join(BELOW, NAME),
    "gzip": NAME + ".gz",
    "zstd": NAME + ".zst",
}


class _Killed(Files):
    """The process is killed when it comes to the second note of a marker: the first callback has succeeded then."""

    notes = 0

    def write_at(self, fd: int, pieces: Any, offset: int) -> None:
        if b"".join(pieces).startswith(b'{"file"'):
            self.notes += 1
            if self.notes == 2:
                os.kill(os.getpid(), signal.SIGKILL)
        super().write_at(fd, pieces, offset)


def callback_of(case: str, directory: str) -> Any:
    """The callback of a case."""
    if case == "extension":
        return ChangeExtension()
    if case in ("move", "copy"):
        files = FailingFiles().fail("link", error=errno.EXDEV) if case == "copy" else Files()
        return MoveFile(destination_folder=os.path.join(directory, BELOW), files=files)
    return CompressFile(method=case)


def _live(directory: str, case: str, version: int, taken: str | None, by: str) -> None:
    """
    Write an archive, and have it dealt with.

    @param taken: a name that somebody takes while it is written.
    @param by: what has that name then, hex.
    """
    callbacks = [callback_of(case, directory), "delete"]
    manager = WritingRollManager(NAME, None, directory, version=version, callbacks=callbacks, files=_Killed())
    manager.write({"kept": "yes"}, "x" * 10_000)
    if taken is not None:
        Path(taken).write_bytes(bytes.fromhex(by))
    manager.close()


def _main() -> None:
    while line := sys.stdin.readline():
        # This process has no threads.
        child = os.fork()
        if not child:
            try:
                _live(*json.loads(line))
            finally:
                os._exit(1)
        _, status = os.waitpid(child, 0)
        print(status, flush=True)


if __name__ == "__main__":
    _main()
