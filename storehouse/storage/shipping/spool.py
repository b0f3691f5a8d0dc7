"""
The shipping directory::

    waiting/ID.json    the note of a file on its way; ID is 16 digits, in the order in which files were handed over
    waiting/ID.file    the file: a second name of it, or a copy where it is in another file system
    waiting/ID.packed  what is uploaded, if it is compressed
    dead/ID.json       a dead letter: its stage is "dead", and "error" says why
    dead/ID.file

A file is there before its note, and goes before it.  A note is replaced by a rename, synced before and after.  A note that
is dead among those that wait, or waits among the dead, was on its way over when a process ended: a start finishes that.

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

import attrs

from storehouse.core.files import Files, open_stored
from storehouse.core.root import below_root, noted_path, path_of, possible_paths
from storehouse.errors import NotFound, RootInUse
from storehouse.storage.shipping.names import shown
from storehouse.storage.shipping.notes import DEAD, Note, read_note, write_note

__all__ = ["Spool", "identity_of", "target_of"]

#: The errors that mean "this file cannot have a second name there".
_CANNOT_LINK = frozenset({errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EACCES})


def identity_of(path: str) -> tuple[int, int, int, int]:
    """
    What tells a file from others: device, inode, size, and when it was changed.

    @raise NotFound: if there is none.
    """
    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        raise NotFound(f"there is no file {shown(path)}") from None
    if not S_ISREG(found.st_mode):
        raise NotFound(f"{shown(path)} is not a regular file")
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def target_of(path: str) -> str:
    """The path of a file itself: a link counts as what it points to. A second name of a link would be a link only."""
    return os.path.realpath(path) if os.path.islink(path) else path


class Spool:
    """
    One shipping directory.

    @ivar problems: what the start found that should not be, for the log.
    """

    def __init__(self, directory: str, files: Files, root: str = "") -> None:
        """@param root: paths below it are noted relative to it; absolute, empty for none."""
        self._files = files
        self._directory = directory
        self._root = root
        self._lock: Any = None
        self._waiting = os.path.join(directory, "waiting")
        self._dead = os.path.join(directory, "dead")
        self.problems: list[str] = []
        self._damaged: set[str] = set()
        self._left: set[str] = set()

    def file_path(self, note: Note) -> str:
        """Where the file is."""
        return self._place(note, ".file")

    def packed_path(self, note: Note) -> str:
        """Where what is uploaded is."""
        return self._place(note, ".packed") if note.compression != "none" else self.file_path(note)

    def _place(self, note: Note, extension: str) -> str:
        return os.path.join(self._dead if note.stage == DEAD else self._waiting, note.id + extension)

    # -- one at a time -------------------------------------------------------------------------

    def lock(self) -> None:
        """
        Make the directory, and keep all others from it until L{unlock}, or until this process ends.

        @raise RootInUse: if another has it.
        """
        while self._lock is None:
            self._files.make_directory(self._directory)
            fd = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # Whoever had it before may have removed it.
                if os.path.samestat(os.fstat(fd), os.stat(self._directory)):
                    # Closed, and so unlocked, at the latest when nobody refers to this any more.
                    self._lock = weakref.finalize(self, os.close, fd)
            except BlockingIOError:
                raise RootInUse(
                    f"another shipper works on the shipping directory {shown(self._directory)}; stop that one first"
                ) from None
            except FileNotFoundError:
                pass
            finally:
                if self._lock is None:
                    os.close(fd)

    def unlock(self) -> None:
        """Let others have it."""
        lock, self._lock = self._lock, None
        if lock is not None:
            lock()

    def clear_up(self) -> None:
        """Remove the directory if nothing is left in it, neither on its way nor dead, and nobody has it."""
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
        Make the directories, and remove what is of no use.

        @return: the paths of all notes.
        """
        found = []
        self.problems.clear()
        self._damaged.clear()
        self._left.clear()
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
        """Read notes, and bring those to their place that were on their way over."""
        notes = []
        for path in paths:
            try:
                note = self._load(path)
            except FileNotFoundError:
                continue  # the other one of two was the one that counts
            except OSError as error:
                # The others are shipped; the next start looks at it again.
                self.problems.append(f"the note {path} cannot be dealt with: {error}")
                self._left.add(os.path.basename(path).removesuffix(".json"))
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
            # Out of the way, but not lost; its file gets a new note as one without any.
            self._files.rename(path, path + ".damaged")
            self._damaged.add(os.path.basename(path).removesuffix(".json"))
            return None
        note = attrs.evolve(note, path=self._found(note))
        if (os.path.dirname(path) == self._dead) != (note.stage == DEAD):
            self._move(note, path)
        return note

    def _found(self, note: Note) -> str:
        """Where a file is that was handed over: below the root, wherever that is now."""
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

    def rest(self, notes: Sequence[Note], now: float) -> list[Note]:
        """
        What no note is about.

        @return: notes of files that nothing else holds: dead letters.
        """
        known = {note.id for note in notes}
        found = []
        for directory in (self._waiting, self._dead):
            for name in sorted(os.listdir(directory)):
                id, extension = os.path.splitext(name)
                path = os.path.join(directory, name)
                if id in known or id in self._left or extension not in (".file", ".packed"):
                    continue
                never_noted = directory == self._waiting and id not in self._damaged
                if extension == ".packed" or (never_noted and os.stat(path).st_nlink > 1):
                    # It was being handed over, and its owner has it still.
                    self._files.unlink(path)
                    continue
                _, inode, size, modified = identity_of(path)
                note = Note(id, path, "lost", "none", None, False, now, inode, size, modified, DEAD)
                note = attrs.evolve(note, error="its note was lost, or the process ended while it was handed over")
                self.problems.append(f"{path} has no note")
                try:
                    self.save(note)
                    self._files.rename(path, self.file_path(note))
                except OSError as error:
                    self.problems.append(f"{path} cannot be dealt with: {error}")
                    continue
                known.add(id)
                found.append(note)
        return found

    # -- files on their way --------------------------------------------------------------------

    def take(self, note: Note) -> None:
        """
        Hold a file, and write its note.

        @raise OSError: then nothing is left of it.
        """
        target = self.file_path(note)
        try:
            try:
                self._files.link(note.path, target)
            except OSError as error:
                if error.errno not in _CANNOT_LINK:
                    raise
                self._copy(note, target)
            # Whoever wrote it may have left it in the page cache.
            fd = self._files.open(target, os.O_RDONLY)
            try:
                self._files.sync_data(fd)
            finally:
                self._files.close(fd)
            self.save(note)
        except FileNotFoundError:
            raise NotFound(f"there is no file {shown(note.path)}") from None
        except OSError:
            for extension in (".json.tmp", ".copy", ".json", ".file"):
                self._remove(self._place(note, extension))
            raise

    def _copy(self, note: Note, target: str) -> None:
        copy = self._place(note, ".copy")
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
        """Whether the file that is held is as it was when it was taken."""
        found = os.stat(self.file_path(note))
        # A copy has a time of its own, and nobody else has it.
        return found.st_size == note.file_size and (found.st_ino != note.inode or found.st_mtime_ns == note.modified)

    def save(self, note: Note) -> None:
        """Write a note where it belongs; it is on disk then, with all names beside it."""
        path = self._place(note, ".json")
        self._write(path, note)

    def _write(self, path: str, note: Note) -> None:
        new = path + ".tmp"
        fd = self._files.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        try:
            said = attrs.evolve(note, path=noted_path(self._root, note.path))
            self._files.write_at(fd, (write_note(said),), 0)
            self._files.sync_data(fd)
        finally:
            self._files.close(fd)
        self._files.rename(new, path)
        self._files.sync_directory(os.path.dirname(path))

    def has_packed(self, note: Note) -> bool:
        """Whether what is to be uploaded is there, as long as it should be."""
        try:
            return os.stat(self.packed_path(note)).st_size == note.size
        except FileNotFoundError:
            return False

    def has_file(self, note: Note) -> bool:
        """Whether the file is there."""
        return os.path.exists(self.file_path(note))

    def bury(self, note: Note) -> None:
        """Make a dead letter of it. Its stage is that already."""
        path = os.path.join(self._waiting, note.id + ".json")
        self._write(path, note)
        self._move(note, path)

    def revive(self, note: Note) -> None:
        """Make a file that waits of a dead letter. Its stage is that already."""
        path = os.path.join(self._dead, note.id + ".json")
        self._write(path, note)
        self._move(note, path)

    def _move(self, note: Note, path: str) -> None:
        """Bring a note, and before it its file, to the directory where they belong."""
        here = os.path.dirname(path)
        target = self._place(note, ".json")
        try:
            self._files.rename(os.path.join(here, note.id + ".file"), self.file_path(note))
        except FileNotFoundError:
            pass  # it is there already
        self._remove(os.path.join(here, note.id + ".packed"))
        self._files.sync_directory(os.path.dirname(target))
        self._files.rename(path, target)
        self._files.sync_directory(os.path.dirname(target))
        self._files.sync_directory(here)

    def delete_local(self, note: Note) -> bool:
        """
        Remove the file where it was handed over, if it is still that.

        @return: whether it is gone.
        """
        try:
            found = os.lstat(note.path)
        except (FileNotFoundError, NotADirectoryError):
            return True
        if (found.st_ino, found.st_size, found.st_mtime_ns) != (note.inode, note.file_size, note.modified):
            return False
        self._files.unlink(note.path)
        self._files.sync_directory(os.path.dirname(note.path))
        return True

    def remove(self, note: Note) -> None:
        """It is done: nothing of it is needed any more."""
        for extension in (".packed", ".file"):
            self._remove(self._place(note, extension))
        # A power cut must not leave a file without its note: that would look like one that was lost.
        self._files.sync_directory(self._waiting)
        self._remove(self._place(note, ".json"))

    def _remove(self, path: str) -> None:
        try:
            self._files.unlink(path)
        except FileNotFoundError:
            pass
