"""What changes of a namespace's tree are made of: new files, and the removal of what is ours and nothing else."""

from __future__ import annotations

import errno
import os
import re
import secrets
from collections.abc import Collection

from twisted.logger import Logger

from storehouse.core.files import Files
from storehouse.core.recovered import set_aside
from storehouse.errors import StorageFailed
from storehouse.storage.namespace.entries import is_entry
from storehouse.storage.namespace.names import id_of_file
from storehouse.storage.namespace.reading import DEFAULT, Place, TreeReader, read_small

__all__ = ["TreeGround"]

#: What we make in C{tmp}.
_ours = re.compile(r"(new|deleted|journal)\.[0-9a-f]{16}x*|format\.json", re.ASCII)


class TreeGround(TreeReader):
    """
    See the module.

    @ivar tmp: where things are on their way in and out.
    @ivar durable: whether each change is on disk when it is done.
    """

    _log = Logger()

    def __init__(self, directory: str, files: Files, durable: bool) -> None:
        super().__init__(directory)
        self.tmp = os.path.join(directory, "tmp")
        self.durable = durable
        self._recovered = os.path.join(os.path.dirname(directory), "recovered")
        self._files = files

    # -- removing ------------------------------------------------------------------------------

    def _drop_unknown(self, place: Place, name: str) -> None:
        """Take a file out of a key of which nobody knows what it is worth. A link has no more than its name."""
        path = f"{place.path}/{name}"
        try:
            if os.path.islink(path):
                self._files.unlink(path)
            elif os.path.lexists(path):
                self._set_aside(path, path, f"it could not be read when {place.bucket}/{place.key} was replaced")
        except OSError as error:
            self._log.error("{path} stays: {error}", path=path, error=error)

    def _set_aside(self, path: str, was: str, why: str) -> None:
        try:
            kept = set_aside(self._files, self._recovered, path, was, why, self.durable)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            # Where the namespace has a file system of its own.
            kept = set_aside(self._files, os.path.join(self.directory, "recovered"), path, was, why, self.durable)
        self._log.warn("{path} is now {kept}: {why}", path=was, kept=kept, why=why)
        self._sync(os.path.dirname(path))

    def _discard(self, path: str, was: str, ours: Collection[str]) -> None:
        """
        Remove a directory with the files of these names in it. Anything else is set aside. What cannot be removed is
        left, for the next start if it is in C{tmp}.
        """
        try:
            with os.scandir(path) as entries:
                found = list(entries)
        except FileNotFoundError:
            return
        try:
            strange = [each for each in found if each.name not in ours or each.is_dir(follow_symlinks=False)]
            for each in strange:
                self._set_aside(each.path, f"{was}/{each.name}", f"it was in {was}, which was removed")
            self._files.remove_tree(path)
        except OSError as error:
            self._log.error("{path} cannot be removed: {error}", path=path, error=error)

    def _discard_bucket(self, path: str, was: str) -> None:
        try:
            if os.path.isdir(f"{path}/objects"):
                self._files.remove_tree(f"{path}/objects")
        except OSError as error:
            self._log.error("{path}/objects cannot be removed: {error}", path=path, error=error)
            return
        self._discard(path, was, {"bucket.json"})

    def clear_way(self) -> None:
        """
        Set aside what is in the place of the index or the journal and cannot be one: both are made anew. Links stay: they
        may lead to what is not mounted.
        """
        for name, fits in (("journal", os.path.isfile), ("index", os.path.isdir), ("index/keys.db", os.path.isfile)):
            path = os.path.join(self.directory, name)
            if os.path.lexists(path) and not os.path.islink(path) and not fits(path):
                self._set_aside(path, path, "it was in the place of a file that is made anew")

    def clear_tmp(self) -> None:
        """Remove what a crash left half-way. What is not of our making stays."""
        for entry in list(os.scandir(self.tmp)):
            if not _ours.fullmatch(entry.name):
                continue
            if not entry.is_dir(follow_symlinks=False):
                self._files.unlink(entry.path)
            elif entry.name.startswith("new."):
                self._files.remove_tree(entry.path)
            elif os.path.lexists(f"{entry.path}/bucket.json") or os.path.lexists(f"{entry.path}/objects"):
                self._discard_bucket(entry.path, entry.path)
            else:
                self._discard(entry.path, entry.path, {DEFAULT, *self._whole_in(entry.path)})

    @staticmethod
    def _whole_in(path: str) -> list[str]:
        """The versions in a directory that can be read, whatever key they are of."""
        whole = []
        for name in os.listdir(path):
            id = id_of_file(name)
            try:
                if id is not None and is_entry(read_small(f"{path}/{name}"), id):
                    whole.append(name)
            except OSError:
                pass  # it is not whole
        return whole

    # -- making --------------------------------------------------------------------------------

    def _new(self) -> str:
        return f"{self.tmp}/new.{secrets.token_hex(8)}"

    def _old(self) -> str:
        return f"{self.tmp}/deleted.{secrets.token_hex(8)}"

    def _write(self, path: str, text: bytes) -> None:
        files = self._files
        fd = files.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        try:
            files.write_at(fd, (text,), 0)
            if self.durable:
                try:
                    files.sync_data(fd)
                except OSError as error:
                    raise StorageFailed(f"{path} cannot be brought to disk: {error}") from error
        finally:
            files.close(fd)

    def _sync(self, path: str) -> None:
        if self.durable:
            try:
                self._files.sync_directory(path)
            except OSError as error:
                raise StorageFailed(f"{path} cannot be brought to disk: {error}") from error

    def _remove(self, path: str) -> None:
        try:
            if os.path.isdir(path):
                self._files.remove_tree(path)
            else:
                self._files.unlink(path)
        except OSError:
            pass  # Start removes it.
