"""
What an earlier process left in a directory: archives that were not closed, and callbacks that were not called
(docs/formats/archive.md, Recovery).
"""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Iterable, Sequence
from typing import Any

import attrs
from twisted.logger import Logger

from storehouse.archive.archive import ArchiveReader, Recovered, recover_archive
from storehouse.archive.finding import Identity, NotedPath
from storehouse.archive.interfaces import ArchiveInfo
from storehouse.archive.names import is_ours_beside, last_of, marker_of, name_key
from storehouse.core.checksummed import decode_checksummed, encode_checksummed
from storehouse.core.files import NO_SPACE, Files, open_stored
from storehouse.errors import NoSpace, StorehouseError

__all__ = ["Leftover", "Marker", "find_leftovers", "latest_of", "note_last", "recover_leftover", "recover_leftovers"]
__all__ += ["written_order"]

_log = Logger()


@attrs.frozen
class _Note:
    """
    What a marker says.

    @ivar filename: the path of the archive, in the directory where the marker is now.
    @ivar remaining: positions of the callbacks that have not succeeded, of C{count}.
    @ivar identity: of the archive; C{None} if the marker has none.
    """

    filename: str
    remaining: tuple[int, ...]
    count: int
    identity: Identity | None


class Marker:
    """
    The file that says that an archive is open, or which of its callbacks have not succeeded. It is locked, and so is the name
    of the archive, until L{remove} or L{release}.
    """

    def __init__(self, path: str, fd: int, files: Files) -> None:
        """Use L{make} or L{claim}."""
        self.path = path
        # A file object: it is closed, and so unlocked, at the latest when nothing refers to it.
        self._file = os.fdopen(fd, "rb+", buffering=0)
        self._files = files
        self._identity: Identity | None = None

    @classmethod
    def make(cls, archive: str, files: Files) -> Marker | None:
        """A new marker; C{None} if there is one, so that the name is taken."""
        path = marker_of(archive)
        try:
            fd = files.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        except FileExistsError:
            return None
        fcntl.flock(fd, fcntl.LOCK_EX)
        return cls(path, fd, files)

    @classmethod
    def claim(cls, archive: str, files: Files) -> Marker | None:
        """The marker that an earlier process left; C{None} if there is none, or another process holds it."""
        path = marker_of(archive)
        try:
            fd = files.open(path, os.O_RDWR)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(fd), os.stat(path)):
                return cls(path, fd, files)
        except OSError:
            pass
        files.close(fd)
        return None

    def note(self, filename: str, remaining: Sequence[int], count: int) -> None:
        """Write which callbacks are left to call, and with which file. If that is gone, its identity stays as it was noted."""
        self._identity = Identity.of(filename) or self._identity
        said: dict[str, object] = {"file": filename, "remaining": list(remaining), "count": count}
        beside = os.path.relpath(filename, os.path.dirname(self.path) or ".")
        if not beside.startswith(".."):
            said["beside"] = beside
        if self._identity is not None:
            said["identity"] = attrs.asdict(self._identity)
        # The newline ends it, in case a crash comes before a longer text is cut off.
        text = json.dumps(said).encode() + b"\n"
        self._files.write_at(self._file.fileno(), (text,), 0)
        self._files.truncate(self._file.fileno(), len(text))

    def read(self) -> _Note | None:
        """What L{note} wrote; C{None} if that is nothing, or a crash cut it off."""
        try:
            self._file.seek(0)
            said = json.loads(self._file.read().partition(b"\n")[0])
            self._identity = Identity.from_json(said.get("identity"))
            remaining = tuple(int(at) for at in said["remaining"])
            filename = self._found(str(said["file"]), said.get("beside"))
            return _Note(filename, remaining, int(said["count"]), self._identity)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def _found(self, filename: str, beside: object) -> str:
        """
        Where the file is now: beside the marker if it was there. The directory may have been moved or copied; then the file
        in the old directory is not ours.
        """
        directory = os.path.dirname(self.path) or "."
        if isinstance(beside, str) and not os.path.isabs(beside) and ".." not in beside.split("/"):
            here = os.path.join(directory, beside)
            return filename if os.path.abspath(here) == os.path.abspath(filename) else here
        here = os.path.join(directory, os.path.basename(filename))
        is_here = self._identity is not None and os.path.lexists(here) and self._identity.has(here)
        return here if is_here and not os.path.exists(filename) else filename

    def remove(self) -> None:
        """Remove it, and release the name."""
        if not self._file.closed:
            try:
                self._files.unlink(self.path)
            except FileNotFoundError:
                pass
            self._file.close()

    def release(self) -> None:
        """Let another process claim it."""
        self._file.close()


@attrs.frozen
class Leftover:
    """
    An archive that an earlier process did not finish with.

    @ivar path: its path; a L{NotedPath} if callbacks were called for it.
    @ivar marker: its marker, which this process holds.
    @ivar remaining: positions of the callbacks that are left; C{None} for all.
    @ivar is_open: whether it was not closed.
    """

    path: str
    marker: Marker
    remaining: tuple[int, ...] | None = None
    is_open: bool = True


def _header(path: str) -> tuple[ArchiveInfo, bool] | None:
    """
    The header of an archive, and whether it was written and not completed; C{None} if it cannot be read.
    """
    try:
        with ArchiveReader(path) as reader:
            # What is compressed as a whole was closed before.
            return reader.info, reader.version == 2 and not reader.complete and reader.compressed_as is None
    except (StorehouseError, OSError):
        return None


def written_order(path: str) -> tuple[int | str, ...]:
    """A key that sorts archives in the order of writing (docs/formats/archive.md, Reading)."""
    found = _header(path)
    name = os.path.basename(path)
    if found is None or found[0].version == 1 or not found[0].salt:
        return (0, name_key(name), name)
    return (1, found[0].created, found[0].sequence, name)


def latest_of(directory: str, template: str, pattern: re.Pattern[str]) -> tuple[int, int]:
    """The latest time and the highest sequence of a template's archives, those that callbacks took elsewhere included."""
    created, sequence = _last(last_of(directory, template))
    for name in os.listdir(directory):
        stem = name.removesuffix(".gz").removesuffix(".zst")
        if pattern.fullmatch(stem) and not is_ours_beside(name):
            found = _header(os.path.join(directory, name))
            if found is not None:
                created = max(created, found[0].created)
                sequence = max(sequence, found[0].sequence)
    return created, sequence


def _last(path: str) -> tuple[int, int]:
    """What L{note_last} wrote; zeros if that is nothing, or a crash cut it off."""
    try:
        with open_stored(path) as file:
            said: Any
            said, is_checked = decode_checksummed(file.readall())
        return (int(said["created"]), int(said["sequence"])) if is_checked else (0, 0)
    except (OSError, ValueError, KeyError, TypeError):
        return 0, 0


def note_last(directory: str, template: str, created: int, sequence: int, files: Files) -> None:
    """
    Note which archive of a template was the last. If that fails, it is logged.

    It is not synced: a power cut that undoes it comes so soon after the closing of an archive that this is still there.
    """
    path = last_of(directory, template)
    before = _last(path)
    said = encode_checksummed({"created": max(created, before[0]), "sequence": max(sequence, before[1])})
    try:
        fd = files.open(path, os.O_WRONLY | os.O_CREAT)
        try:
            files.write_at(fd, (said,), 0)
            files.truncate(fd, len(said))
        finally:
            files.close(fd)
    except (OSError, StorehouseError) as problem:
        _log.warn("{path} cannot be written: {problem}", path=path, problem=str(problem))


def find_leftovers(
    directory: str, pattern: re.Pattern[str], callbacks: int, files: Files, others: Iterable[str] = ()
) -> list[Leftover]:
    """
    The leftovers of a template that no other process holds, in the order of writing. This process holds them from now on.

    @param callbacks: the number of callbacks; if a marker has another one, all are called.
    @param others: paths of archives elsewhere that may be leftovers, too.
    """
    found = []
    paths = []
    for name in os.listdir(directory):
        path = os.path.join(directory, name)
        if name.startswith(".") and name.endswith(".open") and pattern.fullmatch(name[1:-5]):
            paths.append((os.path.join(directory, name[1:-5]), True, False))
        elif pattern.fullmatch(name) and not is_ours_beside(name) and os.path.isfile(path):
            paths.append((path, False, True))
    # Those that were found already have a marker, which is locked.
    paths += [(path, True, os.path.isfile(path)) for path in others]
    for path, may_be_marked, may_be_unsealed in paths:
        try:
            leftover = _claimed(path, callbacks, files) if may_be_marked else None
            if leftover is None and may_be_unsealed:
                leftover = _incomplete(path, files)
        except OSError as problem:
            # As on a full disk, where no marker can be made. The others are looked at nevertheless.
            _log.warn("{path} is left as it is: {problem}", path=path, problem=str(problem))
            continue
        if leftover is not None:
            found.append(leftover)
    return sorted(found, key=lambda leftover: written_order(leftover.path))


def _claimed(path: str, callbacks: int, files: Files) -> Leftover | None:
    """The archive of a marker."""
    marker = Marker.claim(path, files)
    if marker is None:
        return None
    said = marker.read()
    if said is None:
        if os.path.exists(path):
            return Leftover(path, marker)
        marker.remove()
        return None
    noted = NotedPath(said.filename, said.identity)
    is_there = os.path.lexists(noted)
    if is_there and said.identity is not None and not said.identity.has(noted):
        _log.error("{path} is not the archive that {marker} names; it is left as it is", path=noted, marker=marker.path)
        marker.release()
        return None
    if not is_there and said.identity is not None and said.identity.has(path):
        return Leftover(path, marker)
    if not is_there and not said.remaining:
        marker.remove()
        return None
    # If it is gone, a crash came after a callback moved it and before that was noted: the callback looks for it (find_again).
    return Leftover(noted, marker, said.remaining if said.count == callbacks else None, is_open=False)


def _incomplete(path: str, files: Files) -> Leftover | None:
    """An archive without a marker that should have a footer and has none."""
    header = None if os.path.exists(marker_of(path)) else _header(path)
    if header is None or not header[1]:
        return None
    marker = Marker.make(path, files)
    return None if marker is None else Leftover(path, marker)


def recover_leftover(leftover: Leftover, files: Files) -> Recovered | None:
    """
    Bring a leftover into its final state.

    @return: C{None} if another process writes to it, or it cannot be recovered, which is logged.
    @raise NoSpace: if the disk is full; it is as it was.
    """
    try:
        with open_stored(leftover.path) as held:
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                return None
            recovered = recover_archive(leftover.path, files)
    except (StorehouseError, OSError) as problem:
        if isinstance(problem, OSError) and problem.errno in NO_SPACE:
            raise NoSpace(f"the disk is full: {leftover.path} cannot be completed") from None
        _log.failure("the leftover {path} cannot be recovered; it is left as it is", path=leftover.path)
        return None
    _log.info(
        "{path} was left by an earlier process: {records} records, {torn} bytes cut off",
        path=recovered.path,
        records=recovered.records,
        torn=recovered.torn,
    )
    return recovered


def recover_leftovers(
    leftovers: Iterable[Leftover], files: Files
) -> tuple[list[Leftover], tuple[Recovered, ...], list[Leftover]]:
    """
    Bring leftovers into their final state.

    @return: those whose callbacks are to be called; what was done; and those that the disk has no room for yet.
    """
    ready, done, waiting = [], [], []
    for leftover in leftovers:
        if leftover.is_open:
            try:
                recovered = recover_leftover(leftover, files)
            except NoSpace:
                waiting.append(leftover)
                continue
            if recovered is None:
                leftover.marker.release()
                continue
            done.append(recovered)
            if recovered.removed:
                leftover.marker.remove()
                continue
        ready.append(leftover)
    return ready, tuple(done), waiting
