"""
The shipping directory::

    waiting/ID.json    the note of a file on its way; ID is 16 digits, in the order in which files were handed over
    waiting/ID.file    the file: a hard link to it, or a copy if it is in another file system
    waiting/ID.packed  what is uploaded, if it is compressed
    dead/ID.json       a dead letter: its stage is "dead", and "error" is the reason
    dead/ID.file

A note is a JSON object with a checksum (L{storehouse.core.checksummed}). It is replaced as a whole, by a rename, synced before
and after, whenever the file has reached its next stage, so that the next start knows where to continue.

A file is there before its note, and is removed before it. A note that is dead but in C{waiting}, or the reverse, was being
moved when a process ended: a start completes that.

All methods wait for the disk.
"""

from __future__ import annotations

import errno
import fcntl
import os
import weakref
from collections.abc import Sequence
from stat import S_ISREG
from typing import Any
from urllib.parse import quote_from_bytes, unquote_to_bytes

import attrs

from storehouse.core.checksummed import decode_checksummed, encode_checksummed
from storehouse.core.files import Files, open_stored
from storehouse.core.root import below_root, noted_path, path_of, possible_paths
from storehouse.errors import NotFound, RootInUse
from storehouse.storage.shipping.interfaces import Shipment
from storehouse.storage.shipping.names import printable

__all__ = [
    "COMPRESSED",
    "DEAD",
    "DONE",
    "UPLOADED",
    "VERIFIED",
    "WAITING",
    "Identity",
    "Note",
    "Spool",
    "identity_of",
    "read_note",
    "target_of",
    "write_note",
]

#: How far a file has come: the stages in their order, and that of dead letters.
WAITING, COMPRESSED, UPLOADED, VERIFIED, DONE, DEAD = "waiting", "compressed", "uploaded", "verified", "done", "dead"

_STAGES = frozenset({WAITING, COMPRESSED, UPLOADED, VERIFIED, DONE, DEAD})

#: Characters of a path that a note has as they are: printable ASCII except the percent sign.
_SAFE = bytes(code for code in range(32, 127) if code != ord("%"))

_VERSION = 1


@attrs.frozen
class Note:
    """
    A file on its way.

    @ivar id: its number, as 16 digits.
    @ivar path: where it was handed over; absolute, but in the stored note relative to the root if it is below that.
    @ivar since: when that was, seconds since 1970 UTC.
    @ivar inode: tells, with C{file_size} and C{modified} (nanoseconds), whether C{path} is still the same file.
    @ivar delete: whether to remove C{path} in the end.
    @ivar again: whether what the destination has under the name was found to be wrong, and must be stored again.
    @ivar digest: SHA-256 of the file, in hex. Empty until the file is compressed, as are C{name}, and C{size}, C{sha256} and
        C{md5} of what is uploaded.
    @ivar tag: the etag that the destination returned.
    @ivar deleted: whether C{path} was removed.
    """

    id: str
    path: str
    stream: str
    compression: str
    level: int | None
    delete: bool
    since: float
    inode: int
    file_size: int
    modified: int
    stage: str = WAITING
    attempts: int = 0
    error: str = ""
    again: bool = False
    digest: str = ""
    name: str = ""
    size: int = 0
    sha256: str = ""
    md5: str = ""
    tag: str = ""
    deleted: bool = False

    def shipment(self) -> Shipment:
        """What users see of it."""
        return Shipment(self.id, self.path, self.stream, self.name, self.stage, self.since, self.attempts, self.error)


def write_note(note: Note) -> bytes:
    """A note as it is stored."""
    fields = {"version": _VERSION, **attrs.asdict(note)}
    # Names of files are bytes, not always UTF-8.
    fields["path"] = quote_from_bytes(os.fsencode(note.path), _SAFE)
    fields["error"] = note.error.encode("utf-8", "replace").decode()
    return encode_checksummed(fields)


def read_note(data: bytes) -> Note:
    """@raise ValueError: unless C{data} is what L{write_note} returned."""
    fields: Any
    fields, is_checked = decode_checksummed(data)
    if not is_checked:
        raise ValueError("it has no checksum")
    if fields.pop("version", None) != _VERSION:
        raise ValueError("its version is unknown")
    try:
        fields["path"] = os.fsdecode(unquote_to_bytes(fields["path"]))
        note = Note(**fields)
    except (TypeError, KeyError, AttributeError):
        raise ValueError("it has other members than a note") from None
    if note.stage not in _STAGES or not _is_id(note.id):
        raise ValueError("its stage or its ID is not one of a note")
    return note


def _is_id(id: Any) -> bool:
    return isinstance(id, str) and len(id) == 16 and id.isascii() and id.isdigit()


#: Errors of C{link} after which a copy is tried: another file system, or one without hard links.
_CANNOT_LINK = frozenset({errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EACCES})


#: Device, inode, size in bytes, and time of change in nanoseconds.
Identity = tuple[int, int, int, int]


def identity_of(path: str) -> Identity:
    """
    What tells a file from others. Waits for the disk.

    @raise NotFound: if there is none.
    """
    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        raise NotFound(f"there is no file {printable(path)}") from None
    if not S_ISREG(found.st_mode):
        raise NotFound(f"{printable(path)} is not a regular file")
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def target_of(path: str) -> str:
    """The path of the file that a symbolic link points to: a hard link to the symbolic link would keep no bytes."""
    return os.path.realpath(path) if os.path.islink(path) else path


class Spool:
    """
    One shipping directory.

    @ivar problems: what the start found to be wrong, for the log.
    """

    def __init__(self, directory: str, files: Files, root: str = "") -> None:
        """@param root: paths below it are noted relative to it; absolute, empty for none."""
        self._files = files
        self._directory = directory
        self._root = root
        self._lock: weakref.finalize[[int], Spool] | None = None
        self._waiting = os.path.join(directory, "waiting")
        self._dead = os.path.join(directory, "dead")
        self.problems: list[str] = []
        self._damaged: set[str] = set()
        self._skipped: set[str] = set()

    def file_path(self, note: Note) -> str:
        """The path of the file."""
        return self._path(note, ".file")

    def packed_path(self, note: Note) -> str:
        """The path of what is uploaded."""
        return self._path(note, ".packed") if note.compression != "none" else self.file_path(note)

    def _path(self, note: Note, extension: str) -> str:
        return os.path.join(self._dead if note.stage == DEAD else self._waiting, note.id + extension)

    # -- one at a time -------------------------------------------------------------------------

    def lock(self) -> None:
        """
        Make the directory, and lock it until L{unlock}, or until this process ends.

        @raise RootInUse: if another shipper has locked it.
        """
        while self._lock is None:
            self._files.make_directory(self._directory)
            fd = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # The one that had it locked may have removed it just now, by clear_up.
                if os.path.samestat(os.fstat(fd), os.stat(self._directory)):
                    # Closed, and so unlocked, at the latest when nothing refers to this object any more.
                    self._lock = weakref.finalize(self, os.close, fd)
            except BlockingIOError:
                raise RootInUse(
                    f"another shipper uses the shipping directory {printable(self._directory)}; stop that one first"
                ) from None
            except FileNotFoundError:
                pass
            finally:
                if self._lock is None:
                    os.close(fd)

    def unlock(self) -> None:
        """Undo L{lock}. Harmless if it is not locked."""
        lock, self._lock = self._lock, None
        if lock is not None:
            lock()

    def clear_up(self) -> None:
        """Remove the directory if it has no files on their way nor dead letters, and no shipper uses it."""
        try:
            self.lock()
        except RootInUse:
            return
        for directory in (self._waiting, self._dead, self._directory):
            try:
                os.rmdir(directory)
            except OSError:
                pass
        self.unlock()

    # -- the start -----------------------------------------------------------------------------

    def prepare(self) -> Sequence[str]:
        """
        Make the directories, and remove files that were half written.

        @return: the paths of all notes.
        """
        found = []
        self.problems.clear()
        self._damaged.clear()
        self._skipped.clear()
        for directory in (self._waiting, self._dead):
            self._files.make_directory(directory)
            for name in sorted(os.listdir(directory)):
                path = os.path.join(directory, name)
                if name.endswith((".tmp", ".copy")):
                    self._files.unlink(path)
                elif name.endswith(".json"):
                    found.append(path)
        return found

    def load(self, paths: Sequence[str]) -> list[Note]:
        """Read notes, and complete the moves between the directories that were interrupted."""
        notes = []
        for path in paths:
            try:
                note = self._load(path)
            except FileNotFoundError:
                continue  # there were two notes of one file, and the other one has replaced this
            except OSError as error:
                # The others are shipped; the next start tries again.
                self.problems.append(f"the note {path} cannot be read or moved: {error}")
                self._skipped.add(os.path.basename(path).removesuffix(".json"))
                continue
            if note is not None:
                notes.append(note)
        return notes

    def _load(self, path: str) -> Note | None:
        try:
            with open_stored(path) as file:
                note = read_note(file.readall())
            if f"{note.id}.json" != os.path.basename(path):
                raise ValueError("it is the note of another file")
        except ValueError as error:
            self.problems.append(f"the note {path} is damaged: {error}")
            # Kept under another name; its file becomes a dead letter, by notes_of_lost.
            self._files.rename(path, path + ".damaged")
            self._damaged.add(os.path.basename(path).removesuffix(".json"))
            return None
        note = attrs.evolve(note, path=self._present_path(note))
        if (os.path.dirname(path) == self._dead) != (note.stage == DEAD):
            self._move(note, path)
        return note

    def _present_path(self, note: Note) -> str:
        """The path of a file that was handed over: the root may have been moved or copied since."""
        if not os.path.isabs(note.path):
            return path_of(self._root, note.path)
        if self._root and below_root(self._root, note.path) is None:
            for path in possible_paths(self._root, note.path):
                try:
                    found = os.stat(path)
                except OSError:
                    continue
                if (found.st_size, found.st_mtime_ns) == (note.file_size, note.modified):
                    return path
        return note.path

    def notes_of_lost(self, notes: Sequence[Note], now: float) -> list[Note]:
        """
        Deal with files that have no note.

        @param notes: all that were read.
        @param now: seconds since 1970 UTC.
        @return: new notes, of dead letters, for files that have no other name any more: their bytes may be nowhere else.
        """
        noted = {note.id for note in notes}
        found = []
        for directory in (self._waiting, self._dead):
            for name in sorted(os.listdir(directory)):
                id, extension = os.path.splitext(name)
                path = os.path.join(directory, name)
                if id in noted or id in self._skipped or extension not in (".file", ".packed"):
                    continue
                never_noted = directory == self._waiting and id not in self._damaged
                if extension == ".packed" or (never_noted and os.stat(path).st_nlink > 1):
                    # The process ended while it was handed over, and its owner still has it.
                    self._files.unlink(path)
                    continue
                _, inode, size, modified = identity_of(path)
                note = Note(id, path, "lost", "none", None, False, now, inode, size, modified, DEAD)
                note = attrs.evolve(note, error="its note was lost, or a crash interrupted its hand-over")
                self.problems.append(f"{path} has no note")
                try:
                    self.save(note)
                    self._files.rename(path, self.file_path(note))
                except OSError as error:
                    self.problems.append(f"{path} cannot become a dead letter: {error}")
                    continue
                noted.add(id)
                found.append(note)
        return found

    # -- files on their way --------------------------------------------------------------------

    def take(self, note: Note) -> None:
        """
        Keep a file under a name of its own, and write its note. All of it is on disk then.

        @raise OSError: then nothing of it is left here.
        """
        target = self.file_path(note)
        try:
            try:
                self._files.link(note.path, target)
            except OSError as error:
                if error.errno not in _CANNOT_LINK:
                    raise
                self._copy(note, target)
            # Its writer may not have synced it.
            fd = self._files.open(target, os.O_RDONLY)
            try:
                self._files.sync_data(fd)
            finally:
                self._files.close(fd)
            self.save(note)
        except FileNotFoundError:
            raise NotFound(f"there is no file {printable(note.path)}") from None
        except OSError:
            for extension in (".json.tmp", ".copy", ".json", ".file"):
                self._remove(self._path(note, extension))
            raise

    def _copy(self, note: Note, target: str) -> None:
        copy = self._path(note, ".copy")
        source_fd = self._files.open(note.path, os.O_RDONLY)
        try:
            target_fd = self._files.open(copy, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
            try:
                self._files.copy_range(source_fd, target_fd, note.file_size, 0, 0)
                self._files.sync_data(target_fd)
            finally:
                self._files.close(target_fd)
        finally:
            self._files.close(source_fd)
        self._files.rename(copy, target)

    def is_unchanged(self, note: Note) -> bool:
        """Whether the file is as it was when it was handed over."""
        found = os.stat(self.file_path(note))
        # A copy has a time of change of its own; nothing else writes to it.
        return found.st_size == note.file_size and (found.st_ino != note.inode or found.st_mtime_ns == note.modified)

    def save(self, note: Note) -> None:
        """Write a note in the directory of its stage; it is on disk then, with all names in that directory."""
        path = self._path(note, ".json")
        self._write(path, note)

    def _write(self, path: str, note: Note) -> None:
        new = path + ".tmp"
        fd = self._files.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        try:
            stored = attrs.evolve(note, path=noted_path(self._root, note.path))
            self._files.write_at(fd, (write_note(stored),), 0)
            self._files.sync_data(fd)
        finally:
            self._files.close(fd)
        # Synced, renamed, synced: each stage is on disk before the step that relies on it, such as the removal of the file.
        self._files.rename(new, path)
        self._files.sync_directory(os.path.dirname(path))

    def has_packed(self, note: Note) -> bool:
        """Whether the file to upload exists, with the right size."""
        try:
            return os.stat(self.packed_path(note)).st_size == note.size
        except FileNotFoundError:
            return False

    def has_file(self, note: Note) -> bool:
        """Whether the file is there."""
        return os.path.exists(self.file_path(note))

    def bury(self, note: Note) -> None:
        """Move it to the dead letters. The note has that stage already."""
        path = os.path.join(self._waiting, note.id + ".json")
        self._write(path, note)
        self._move(note, path)

    def revive(self, note: Note) -> None:
        """Move a dead letter back to the waiting files. The note has that stage already."""
        path = os.path.join(self._dead, note.id + ".json")
        self._write(path, note)
        self._move(note, path)

    def _move(self, note: Note, path: str) -> None:
        """Move a file, and then its note, to the directory of its stage: a note is never without its file."""
        here = os.path.dirname(path)
        target = self._path(note, ".json")
        try:
            self._files.rename(os.path.join(here, note.id + ".file"), self.file_path(note))
        except FileNotFoundError:
            pass  # moved before the process ended
        self._remove(os.path.join(here, note.id + ".packed"))
        # The file's new name before the note's: a note without its file would be a lost file, a file without its note is
        # found by the next start.
        self._files.sync_directory(os.path.dirname(target))
        self._files.rename(path, target)
        self._files.sync_directory(os.path.dirname(target))
        self._files.sync_directory(here)

    def delete_local(self, note: Note) -> bool:
        """
        Remove the file where it was handed over, unless that is another file by now.

        @return: whether it is gone.
        """
        try:
            found = os.lstat(note.path)
        except (FileNotFoundError, NotADirectoryError):
            return True
        # The name may have been reused since; only the very file that was shipped and verified may go.
        if (found.st_ino, found.st_size, found.st_mtime_ns) != (note.inode, note.file_size, note.modified):
            return False
        self._files.unlink(note.path)
        self._files.sync_directory(os.path.dirname(note.path))
        return True

    def remove(self, note: Note) -> None:
        """Remove all files of a note whose stage is C{done}."""
        for extension in (".packed", ".file"):
            self._remove(self._path(note, extension))
        # Synced before the note goes: after a power cut a file without a note would be taken for a lost one.
        self._files.sync_directory(self._waiting)
        self._remove(self._path(note, ".json"))

    def _remove(self, path: str) -> None:
        try:
            self._files.unlink(path)
        except FileNotFoundError:
            pass
