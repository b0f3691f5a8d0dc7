"""
A process that kills itself at a chosen system call of a life from start to stop, and tells on paper what it promised
until then.

C{python -m tests.crash.failpoint ROOM DIRECTORY NUMBER...} lives one life in a room, C{log}, C{objects},
C{namespace} or C{store}, for each number, in C{DIRECTORY/NUMBER}, and dies at that call. Number 0 dies at none, and writes down all calls.
"""

from __future__ import annotations

import os
import pickle
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Any

from storehouse.core.files import Files
from storehouse.storage.appendlog.interfaces import Durability
from tests.crash.names import NameSession, name_history
from tests.crash.objects import Contents, ObjectSession, history
from tests.crash.session import Session
from tests.crash.store import StoreSession, store_history

__all__ = ["BUCKETS", "read_notes"]

BUCKETS = 2

DISK, OS = Durability.DISK, Durability.OS


class DyingFiles(Files):
    """
    Real files. At the call with the number C{fatal} the process is killed, a write or a copy after half of it.

    @ivar doing: what the process was about when it made a call.
    @ivar calls: what each call was, and for what.
    """

    killed = False

    def __init__(self, fatal: int) -> None:
        self.doing = "start"
        self.calls: list[str] = []
        self._fatal = fatal

    def _count(self, name: str) -> bool:
        self.calls.append(f"{self.doing}: {name}")
        return len(self.calls) == self._fatal

    def write_at(self, fd: int, pieces: Any, offset: int) -> None:
        if self._count("write_at"):
            data = b"".join(pieces)
            os.pwrite(fd, data[: len(data) // 2], offset)
            _die()
        super().write_at(fd, pieces, offset)

    def write_synced(self, fd: int, data: bytes, offset: int) -> None:
        if self._count("write_synced"):
            os.pwrite(fd, data[: len(data) // 2], offset)
            _die()
        super().write_synced(fd, data, offset)

    def copy_range(self, source_fd: int, target_fd: int, size: int, source_offset: int, target_offset: int) -> None:
        if self._count("copy_range"):
            super().copy_range(source_fd, target_fd, size // 2, source_offset, target_offset)
            _die()
        super().copy_range(source_fd, target_fd, size, source_offset, target_offset)

    def remove_tree(self, path: str) -> None:
        for entry in os.scandir(path):
            if entry.is_dir(follow_symlinks=False):
                self.remove_tree(entry.path)
            else:
                self.unlink(entry.path)
        if self._count("rmdir"):
            _die()
        os.rmdir(path)


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _dying(name: str) -> Callable[..., Any]:
    method = getattr(Files, name)

    def call(self: DyingFiles, *args: Any) -> Any:
        if self._count(name):
            _die()
        return method(self, *args)

    return call


for _name in (
    "open",
    "close",
    "truncate",
    "sync_data",
    "sync_all",
    "sync_directory",
    "mkdir",
    "rename",
    "exchange",
    "link",
    "unlink",
    "symlink",
    "remove_directory",
):
    setattr(DyingFiles, _name, _dying(_name))


class _Notes:
    """Takes what sessions note, and has it out of the process before anything else happens."""

    def __init__(self, path: str, files: DyingFiles) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._files = files

    def note(self, text: str, note: Any) -> None:
        self._files.doing = text.split(" ", 1)[0]
        os.write(self._fd, pickle.dumps((text, note)))


def read_notes(path: str) -> Iterator[tuple[str, Any]]:
    """What L{_Notes} took."""
    with open(path, "rb") as file:
        while True:
            try:
                yield pickle.load(file)
            except EOFError:
                return


def _live_log(top: str, fatal: int, files: DyingFiles, notes: _Notes) -> None:
    session = Session(top, notes, buckets=BUCKETS, files=files)
    session.start()
    for number in range(4):
        session.append("default", number % 2, [b"default %d %d" % (number, fatal)], OS if number == 2 else DISK)
        session.append(
            "a", number % 2, [b"a %d.%d %d" % (number, part, fatal) * 100 for part in range(3)], DISK if number else OS
        )
        session.append("b", 0, [b"b %d %d" % (number, fatal)], DISK)
        session.settle()
    session.wait(session.log.close_prefix("a"))
    session.append("a", 0, [b"again %d" % fatal], DISK)
    session.settle()
    session.delete("b")
    session.append("b", 0, [b"anew %d" % fatal], DISK)
    session.settle()
    session.stop()


def _live_objects(top: str, fatal: int, files: DyingFiles, notes: _Notes) -> None:
    session = ObjectSession(top, notes, files=files)
    session.start()
    history(session, Contents(fatal))
    files.doing = "stop"
    session.stop()


def _live_namespace(top: str, fatal: int, files: DyingFiles, notes: _Notes) -> None:
    session = NameSession(top, notes, files=files)
    session.start()
    name_history(session)
    files.doing = "stop"
    session.stop()


def _live_store(top: str, fatal: int, files: DyingFiles, notes: _Notes) -> None:
    session = StoreSession(top, notes, files=files)
    session.start()
    store_history(session, Contents(fatal))
    files.doing = "stop"
    session.stop()


_lives = {
    "log": _live_log,
    "objects": _live_objects,
    "namespace": _live_namespace,
    "store": _live_store,
}


def _live(room: str, top: str, fatal: int) -> None:
    files = DyingFiles(fatal)
    _lives[room](top, fatal, files, _Notes(os.path.join(top, "notes"), files))
    with open(os.path.join(top, "calls"), "w", encoding="ascii") as file:
        file.write("\n".join(files.calls))


def _main(room: str, directory: str, *numbers: str) -> None:
    for number in map(int, numbers):
        top = os.path.join(directory, str(number))
        os.makedirs(top)
        # This process has no threads yet; its children make theirs.
        child = os.fork()
        if not child:
            try:
                _live(room, top, number)
            finally:
                sys.stderr.flush()
                sys.stdout.flush()
                os._exit(0 if os.path.exists(os.path.join(top, "calls")) else 1)
        _, status = os.waitpid(child, 0)
        if status not in (0, signal.SIGKILL):
            sys.exit(f"the life {number} ended with {status}")


if __name__ == "__main__":
    _main(*sys.argv[1:])
