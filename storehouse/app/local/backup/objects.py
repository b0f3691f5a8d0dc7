"""
Objects in a backup, while the service runs.

What is removed meanwhile stays in C{tmp/kept.ID} of the data space (L{storehouse.storage.dataspace.directory}), so every object
that a name was read of has its bytes until the backup is over:

1. Uploads, whose bytes would otherwise be gone once they are objects.
2. The names of one moment, L{storehouse.app.local.backup.names}, and the journal, for uploads that were being completed just then: a
   start on the backup finishes them.
3. The bytes of all IDs that are named; and those that nobody names, unless they were on their way in.
"""

from __future__ import annotations

import os
import shutil
import stat
import time
from contextlib import suppress
from typing import Any

import attrs

from storehouse.app.local.backup.names import NAMESPACE, NamesBackup, keys_in
from storehouse.app.local.backup.target import Target
from storehouse.core.checksummed import decode_checksummed
from storehouse.errors import StorageFailed
from storehouse.storage.dataspace.directory import Layout, names_in

__all__ = ["OBJECTS", "Counts", "ObjectsBackup"]

OBJECTS = "objects"

#: How often something is tried that may change at the same time.
_TRIES = 100

#: Seconds by which a clock and the times of files may differ.
_SLACK = 2.0


@attrs.define
class Counts:
    """
    What was found.

    @ivar lost: names of keys without bytes, some of them.
    @ivar unread_keys: keys whose files cannot be read.
    @ivar unread: their names, some of them.
    """

    keys: int = 0
    objects: int = 0
    uploads: int = 0
    lost_keys: int = 0
    lost: list[str] = attrs.Factory(list)
    unread_keys: int = 0
    unread: list[str] = attrs.Factory(list)
    warnings: list[str] = attrs.Factory(list)


class ObjectsBackup:
    """
    See the module.

    @param namespace: the directory of the namespace, and C{objects} that of the objects.
    @param is_live: whether a service works on them.
    """

    def __init__(self, target: Target, namespace: str, objects: str, is_live: bool) -> None:
        self.counts = Counts()
        self._target = target
        self._layout = Layout(objects)
        self._is_live = is_live
        self._began = time.time()
        self._has_names = os.path.isdir(namespace)
        self._names = NamesBackup(target, namespace, is_live, self._has_bytes)

    def run(self) -> Counts:
        """All of it."""
        self._uploads()
        if self._has_names:
            self._names.run(self._settle_uploads)
            if self._names.warning:
                self.counts.warnings.append(self._names.warning)
        else:
            self._settle_uploads()
        self._bytes()
        return self.counts

    # -- uploads -------------------------------------------------------------------------------

    def _uploads(self) -> None:
        source = self._layout.uploads
        if not os.path.isdir(source):
            return
        self._target.make(f"{OBJECTS}/uploads")
        for index in names_in(source):
            for id in names_in(f"{source}/{index}"):
                self._upload(index, id)

    def _upload(self, index: str, id: str) -> None:
        name = f"{OBJECTS}/uploads/{index}/{id}"
        for _ in range(_TRIES):
            try:
                # A part that is replaced puts another directory into its place: the files are all of the same one.
                fd = os.open(self._layout.upload(id), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            except FileNotFoundError:
                return  # completed or aborted since it was listed
            try:
                self._target.make(name)
                with suppress(FileNotFoundError):
                    self._target.link("upload.json", f"{name}/upload.json", fd)
                with suppress(FileNotFoundError):
                    self._target.link("parts.json", f"{name}/parts.json", fd)
                for part in self._parts(f"{name}/parts.json", fd):
                    self._target.link(part, f"{name}/{part}", fd)
            except FileNotFoundError:
                self._target.forget(name)
                continue
            finally:
                os.close(fd)
            return
        raise StorageFailed(f"the upload {id} changes too often to be copied")

    def _parts(self, listing: str, fd: int) -> list[str]:
        """The files of parts that a list names; without a list that can be read, all that there are."""
        try:
            with open(self._target.path_of(listing), "rb") as file:
                fields, _ = decode_checksummed(file.read())
            return [
                name
                for number in fields
                if number != "checksum"
                for name in (f"part.{number}", f"part.{number}.checksum")
            ]
        except (OSError, ValueError, TypeError):
            return [name for name in os.listdir(fd) if name.startswith("part.")]

    def _settle_uploads(self) -> None:
        """Those that have become objects by now are uploads no more."""
        self.counts.uploads = 0
        ours = self._target.path_of(f"{OBJECTS}/uploads")
        for index in names_in(ours):
            for id in names_in(f"{ours}/{index}"):
                if self._is_live and not os.path.isdir(self._layout.upload(id)):
                    self._target.forget(f"{OBJECTS}/uploads/{index}/{id}")
                else:
                    self.counts.uploads += 1

    # -- bytes ---------------------------------------------------------------------------------

    def _bytes(self) -> None:
        for name, is_whole, ids in keys_in(self._target.path_of(NAMESPACE)):
            self._target.alive()
            self.counts.keys += is_whole
            self.counts.unread_keys += not is_whole
            if not is_whole and len(self.counts.unread) < 10:
                self.counts.unread.append(name)
            for id in ids:
                if not self._copy_object(id):
                    self.counts.lost_keys += 1
                    if len(self.counts.lost) < 10:
                        self.counts.lost.append(name)
        if not os.path.isdir(self._layout.root):
            return
        for entry in os.scandir(self._layout.root):
            if entry.is_file(follow_symlinks=False):
                with suppress(FileNotFoundError):
                    self._target.copy(entry.path, f"{OBJECTS}/{entry.name}")
        self._target.make(f"{OBJECTS}/data")
        for index in names_in(self._layout.data):
            for id in names_in(f"{self._layout.data}/{index}"):
                if not os.path.isdir(self._target.path_of(f"{OBJECTS}/data/{index}/{id}")) and self._is_wanted(id):
                    self._copy_object(id)

    def _is_wanted(self, id: str) -> bool:
        """Whether bytes that no key names are to be in the backup: those that nobody names any more, and has not removed."""
        if not self._is_live:
            return True
        path = self._layout.object(id)
        if id in self._names.arriving:
            return self._may_be_completed(path)
        try:
            # The change time is that of the last rename: an object that came after the moment of the backup has no key in
            # it. The slack allows for clocks of coarse file systems.
            return os.stat(path).st_ctime < self._began - _SLACK
        except FileNotFoundError:
            return False

    @staticmethod
    def _may_be_completed(path: str) -> bool:
        """Whether they are of an upload that was being completed, or might be, since they are encrypted: its parts are here alone."""
        try:
            with open(os.path.join(path, "data.json"), "rb") as file:
                metadata: Any = decode_checksummed(file.read())[0].get("metadata") or {}
        except FileNotFoundError:
            return False
        except (OSError, ValueError, TypeError, AttributeError):
            return True
        return "complete" in metadata or "sealed" in metadata

    def _has_bytes(self, id: str) -> bool:
        return any(
            os.path.isdir(path) for path in (self._layout.object(id), self._layout.kept(id), self._layout.object(id))
        )

    def _copy_object(self, id: str) -> bool:
        """@return: whether there is such an object."""
        name = f"{OBJECTS}/data/{id[:2]}/{id}"
        if os.path.isdir(self._target.path_of(name)):
            return True
        for source in (self._layout.object(id), self._layout.kept(id), self._layout.object(id)):
            for _ in range(_TRIES):
                try:
                    fd = os.open(source, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
                except (FileNotFoundError, NotADirectoryError):
                    break
                try:
                    self._target.make(name)
                    for file in os.listdir(fd):
                        if stat.S_ISREG(os.stat(file, dir_fd=fd, follow_symlinks=False).st_mode):
                            self._target.link(file, f"{name}/{file}", fd)
                except FileNotFoundError:
                    # Its description was replaced just then.
                    shutil.rmtree(self._target.path_of(name), ignore_errors=True)
                    self._target.forget(name)
                    continue
                finally:
                    os.close(fd)
                self.counts.objects += 1
                return True
        return False
