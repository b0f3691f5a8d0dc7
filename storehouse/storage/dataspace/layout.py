"""Where things are below the directory of a Wormer store, and whether it is one."""

from __future__ import annotations

import errno
import os
import re
import secrets

from storehouse.core.files import Files, read_regular
from storehouse.core.filesystem import check_together
from storehouse.core.opening import check_directories, has_flipped_bit, is_json, shown
from storehouse.errors import StartFailed, StoreUnusable

__all__ = ["FORMAT", "Layout", "check_format", "names_in"]

#: What format.json holds.
FORMAT = b'{"format":"wormer","version":1}\n'

_name = re.compile("[0-9a-f]{2,128}")
_half_done = re.compile(r"(put|deleted)\.[0-9a-f]{24}|kept\.[0-9a-f]{2,128}")


class Layout:
    """
    The paths of a store.

    @ivar root: its directory.
    @ivar indexes: the INDEX directories that are there, on disk.
    """

    def __init__(self, root: str) -> None:
        self.root = root
        self.data = os.path.join(root, "data")
        self.uploads = os.path.join(root, "uploads")
        self.tmp = os.path.join(root, "tmp")
        self.indexes: set[str] = set()

    def make_index(self, files: Files, path: str, durable: bool) -> None:
        """Make the INDEX directory that C{path} goes into, if it is not there."""
        index = os.path.dirname(path)
        if index not in self.indexes:
            files.mkdir(index)
            if durable:
                files.sync_directory(os.path.dirname(index))
            self.indexes.add(index)

    def object(self, id: str) -> str:
        """The directory of an object; the ID must have been checked."""
        return f"{self.data}/{id[:2]}/{id}"

    def upload(self, upload_id: str) -> str:
        """The directory of an upload; the ID must have been checked."""
        return f"{self.uploads}/{upload_id[:2]}/{upload_id}"

    def incoming(self) -> str:
        """A new name for something on its way in."""
        return f"{self.tmp}/put.{secrets.token_hex(12)}"

    def outgoing(self) -> str:
        """A new name for something on its way out."""
        return f"{self.tmp}/deleted.{secrets.token_hex(12)}"

    def kept(self, id: str) -> str:
        """Where the directory of an object that was removed is while what is removed is kept; the ID must have been checked."""
        return f"{self.tmp}/kept.{id}"

    def prepare(self, files: Files, durable: bool) -> list[str]:
        """
        Make what is missing, on disk when this returns; and bring names to disk whose maker may have been killed before
        doing so.

        @param durable: whether what is written from now on is brought to disk.
        @return: the paths of what is left over in tmp/.
        @raise StartFailed: naming what cannot be used.
        """
        try:
            files.make_directory(self.root)
            check_format(self.root)
            path = os.path.join(self.root, "format.json")
            if not os.path.lexists(path):
                # Renamed to its place: never half written.
                fd = files.open(path + ".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
                try:
                    files.write_at(fd, (FORMAT,), 0)
                    files.sync_data(fd)
                finally:
                    files.close(fd)
                files.rename(path + ".new", path)
            check_directories(self.data, self.uploads, self.tmp)
            self._settle_relaxed(files, durable)
            for directory in (self.data, self.uploads, self.tmp):
                files.mkdir(directory)
                _check_writable(directory)
            check_together(self.tmp, self.data, self.uploads)
            # A process that was killed may have made directories whose names never reached the disk; objects in them would
            # be answered as stored, and be lost with the name.
            files.sync_directory(self.root)
            for directory in (self.data, self.uploads):
                # What else is there by such a name is not ours: a scrub tells of it.
                names = [
                    name for name in names_in(directory) if len(name) == 2 and os.path.isdir(f"{directory}/{name}")
                ]
                self.indexes |= {f"{directory}/{name}" for name in names}
                files.sync_directory(directory)
                for name in names:
                    files.sync_directory(f"{directory}/{name}")
            return [os.path.join(self.tmp, name) for name in sorted(os.listdir(self.tmp)) if _half_done.fullmatch(name)]
        except OSError as error:
            raise StartFailed(_explain(self.root, error)) from None

    def _settle_relaxed(self, files: Files, durable: bool) -> None:
        # What was written without syncs must not be built upon as if it were on disk.
        path = os.path.join(self.root, "relaxed")
        if not durable:
            files.close(files.open(path, os.O_WRONLY | os.O_CREAT))
        elif os.path.exists(path):
            files.sync_all()
            files.unlink(path)


def names_in(directory: str) -> list[str]:
    """The IDs or indexes in a directory, in order; none if it is not there. Other names are nobody's of ours."""
    try:
        return sorted(filter(_name.fullmatch, os.listdir(directory)))
    except (FileNotFoundError, NotADirectoryError):
        return []


def check_format(root: str) -> None:
    """
    See whether the store in a directory is one that this program can read.

    @raise StartFailed: if not.
    @raise OSError: if that cannot be told.
    """
    path = os.path.join(root, "format.json")
    try:
        found = read_regular(path, 1 << 20)
    except FileNotFoundError:
        return
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        raise StoreUnusable(f"{path} cannot be read: {error.strerror}") from None  # it is no file
    if found != FORMAT:
        # Another store keeps everything shut; a damaged one only what needs it.
        if not is_json(found) or found.strip() == FORMAT.strip():
            raise StoreUnusable(f"{path} is damaged: it {shown(found)}, and should hold {FORMAT!r}")
        kind = StoreUnusable if has_flipped_bit(found, FORMAT) else StartFailed
        raise kind(f"the objects in {root} are of another format: {path} {shown(found)}, this program reads {FORMAT!r}")


def _check_writable(directory: str) -> None:
    # Where all is there already, nothing would be written at start, and the first who stores something be told.
    if os.statvfs(directory).f_flag & os.ST_RDONLY:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), directory)
    if not os.access(directory, os.R_OK | os.W_OK | os.X_OK):
        raise OSError(errno.EACCES, os.strerror(errno.EACCES), directory)


def _explain(root: str, error: OSError) -> str:
    reason = error.strerror or str(error)
    if error.errno == errno.EROFS:
        reason = "its file system is read-only"
    elif error.errno in (errno.EACCES, errno.EPERM):
        reason = f"permission denied for {error.filename or root}"
    elif error.errno in (errno.ENOTDIR, errno.EEXIST):
        reason = f"{error.filename or root} is not a directory"
    return f"the objects directory {root} cannot be used: {reason}"
