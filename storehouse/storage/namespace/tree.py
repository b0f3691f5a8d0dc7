"""
The tree of a namespace: buckets, keys and versions as directories, links and files (docs/formats/namespace.md).

Everything here blocks and may be called in any thread; operations on one key must be serial, which is the caller's
business.  With C{durable}, each change is on disk when the call returns.
"""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Collection, Mapping, Sequence

from storehouse.core.files import NO_SPACE, Files
from storehouse.errors import AlreadyExists, BucketNotEmpty, DamagedEntry, NoSpace, NoSuchKey, StorageFailed
from storehouse.storage.namespace.entries import encode_bucket
from storehouse.storage.namespace.interfaces import Bucket, Entry
from storehouse.storage.namespace.journal import NEW
from storehouse.storage.namespace.reading import DEFAULT, Place, TreeReader

__all__ = ["DEFAULT", "LOST", "Again", "Place", "Stale", "Tree", "Unintended"]

#: The size of an entry whose file cannot be read.
LOST = -1


class Stale(Exception):
    """The default version of a key is not the one that was expected."""


class Again(Exception):
    """The ID is that of an older version already; the journal must say so before it may become the default."""


class Unintended(Exception):
    """
    The journal does not name all that would be removed.

    @ivar ids: what would be.
    """

    def __init__(self, ids: list[str]) -> None:
        super().__init__()
        self.ids = ids


class Tree(TreeReader):
    """The files below the directory of a namespace, and how they are changed."""

    def __init__(self, directory: str, files: Files, durable: bool) -> None:
        super().__init__(directory)
        self.tmp = os.path.join(directory, "tmp")
        self._files = files
        self.durable = durable
        # Directories of long keys come and go with their last key.
        self._parts = threading.Lock()

    # -- changing keys -------------------------------------------------------------------------

    def publish(self, place: Place, id: str, text: bytes, expected: str | None, keep: bool, again: bool) -> None:
        """
        Make a version the default of a key.

        @param expected: the ID of the default that is there, or C{None}.
        @param again: whether it may be an older version.
        @raise Stale: if it is another.
        @raise Again: if it is one, but may not.
        @raise NoSpace: with nothing changed.
        @raise StorageFailed: if a sync fails.
        """
        files = self._files
        try:
            if self.default_of(place) != expected:
                raise Stale
        except DamagedEntry:
            if expected is not None:
                raise Stale from None
        if not again and id != expected and os.path.lexists(f"{place.path}/{id}.json"):
            raise Again
        new = self._new()
        try:
            # A key that is there without a default is damaged; it keeps what it has.
            if expected is None and not os.path.lexists(place.path):
                files.mkdir(new)
                self._write(f"{new}/{id}.json", text)
                files.symlink(f"{id}.json", f"{new}/{DEFAULT}")
                self._sync(new)
                self._bring(new, place)
            else:
                self._replace(place, new, id, text, expected)
        except OSError as error:
            self._remove(new)
            if error.errno in NO_SPACE:
                raise NoSpace(f"no room to publish {place.key!r} ({error.strerror}); nothing was changed") from error
            raise
        if expected is not None and expected != id and not keep:
            self._drop(place, expected)

    def _replace(self, place: Place, new: str, id: str, text: bytes, expected: str | None) -> None:
        files = self._files
        self._write(new, text)
        file = f"{place.path}/{id}.json"
        if id == expected:
            files.rename(new, file)
            self._sync(place.path)
            return
        link = self._new()
        files.symlink(f"{id}.json", link)
        was_there = os.path.lexists(file)
        try:
            files.rename(new, file)
            self._sync(place.path)
            files.rename(link, f"{place.path}/{DEFAULT}")
        except OSError:
            self._remove(link)
            if not was_there:
                self._remove(file)
            raise
        self._sync(place.path)

    def _drop(self, place: Place, id: str) -> None:
        try:
            self._files.unlink(f"{place.path}/{id}.json")
        except FileNotFoundError:
            return
        except OSError as error:
            # The key has changed by now. What is left of the version before is removed by the next start.
            raise StorageFailed(f"{place.path}/{id}.json cannot be removed: {error}") from error
        self._sync(place.path)

    def drop_rest(self, place: Place, leftovers: Mapping[str, str]) -> None:
        """
        Finish what a crash cut short: remove versions that were to go once another was the default, if it is, and those
        that were to become the default and did not.

        @param leftovers: ID to what the journal last said of it.
        """
        try:
            current = self.current(place)
        except DamagedEntry:
            return
        for id, how in leftovers.items():
            if current is not None and id != current.id and how in (NEW, current.id):
                self._drop(place, id)

    def unpublish(self, place: Place, id: str | None, known: Collection[str]) -> tuple[list[Entry], Entry | None]:
        """
        Remove a key, or one version of it.

        @param known: the IDs that the journal names.
        @return: what was removed, and the default version that is left, if any.
        @raise NoSuchKey: if there is no such key, or version.
        @raise Unintended: if more would be removed than the journal names.
        @raise DamagedEntry: if the default version is to be removed and no other can be read.
        """
        ids = self.ids(place)
        if not ids and not os.path.lexists(place.path):
            raise NoSuchKey(f"the bucket {place.bucket} has no key {place.key!r}")
        if id is not None and id not in ids:
            raise NoSuchKey(f"the key {place.key!r} of the bucket {place.bucket} has no version {id}")
        leaving = ids if id is None else [id]
        if not set(leaving) <= set(known):
            raise Unintended(leaving)
        removed = [self._read_or_lost(place, each) for each in leaving]
        if set(leaving) == set(ids):
            self._take_away(place)
            return removed, None
        try:
            default = self.default_of(place)
        except DamagedEntry:
            default = None
        if default != id:
            left = None if default is None else self._read_or_lost(place, default)
        else:
            others = [self._read_or_lost(place, each) for each in ids if each != id]
            left = max(others, key=lambda entry: (entry.size != LOST, entry.created, entry.id))
            if left.size == LOST:
                raise place.damaged(left.id, f"{left.id}.json", "no other version can be read to become the default")
            link = self._new()
            self._files.symlink(f"{left.id}.json", link)
            self._files.rename(link, f"{place.path}/{DEFAULT}")
            self._sync(place.path)
        self._drop(place, leaving[0])
        return removed, left if left is not None and left.size != LOST else None

    def _read_or_lost(self, place: Place, id: str) -> Entry:
        try:
            entry = self.read(place, id)
        except DamagedEntry:
            entry = None
        return entry or Entry(id, LOST, "", 0)

    def _bring(self, new: str, place: Place) -> None:
        files = self._files
        if not place.pieces:
            files.rename(new, place.path)
            self._sync(place.objects)
            return
        with self._parts:
            parents = self._parents(place)
            try:
                for parent in reversed(parents[:-1]):
                    files.mkdir(parent)
                files.rename(new, place.path)
            except OSError:
                self._remove_empty(parents)
                raise
            for parent in parents:
                self._sync(parent)

    def _take_away(self, place: Place) -> None:
        files = self._files
        old = self._old()
        if not place.pieces:
            files.rename(place.path, old)
            self._sync(place.objects)
        else:
            with self._parts:
                parents = self._parents(place)
                files.rename(place.path, old)
                self._sync(parents[0])
                self._remove_empty(parents)
        self._remove(old)

    def _remove_empty(self, parents: Sequence[str]) -> None:
        for parent in parents[:-1]:
            try:
                self._files.remove_directory(parent)
            except OSError:
                break

    @staticmethod
    def _parents(place: Place) -> list[str]:
        """Directories between a key and its bucket's C{objects}, which is the last one."""
        parents = [os.path.dirname(place.path)]
        while parents[-1] != place.objects:
            parents.append(os.path.dirname(parents[-1]))
        return parents

    # -- buckets -------------------------------------------------------------------------------

    def create_bucket(self, bucket: Bucket) -> None:
        """@raise AlreadyExists: if it is there."""
        files = self._files
        path = os.path.join(self.buckets, bucket.name)
        if os.path.lexists(path):
            raise AlreadyExists(f"there is a bucket {bucket.name} already")
        new = self._new()
        try:
            files.mkdir(new)
            files.mkdir(f"{new}/objects")
            self._write(f"{new}/bucket.json", encode_bucket(bucket))
            self._sync(new)
            files.rename(new, path)
        except OSError as error:
            self._remove(new)
            if error.errno in NO_SPACE:
                raise NoSpace(f"no room for the bucket {bucket.name} ({error.strerror})") from error
            raise
        self._sync(self.buckets)

    def change_bucket(self, bucket: Bucket) -> None:
        """
        Write what is known of a bucket that is there.

        @raise NoSpace: with nothing changed.
        """
        path = os.path.join(self.buckets, bucket.name)
        new = self._new()
        try:
            self._write(new, encode_bucket(bucket))
            self._files.rename(new, f"{path}/bucket.json")
        except OSError as error:
            self._remove(new)
            if error.errno in NO_SPACE:
                raise NoSpace(f"no room to change the bucket {bucket.name} ({error.strerror})") from error
            raise
        self._sync(path)

    def delete_bucket(self, name: str) -> None:
        """@raise BucketNotEmpty: if there is any file in its C{objects}."""
        path = os.path.join(self.buckets, name)
        if not os.path.lexists(path):
            return
        for _, _, files in os.walk(f"{path}/objects"):
            if files:
                raise BucketNotEmpty(f"the bucket {name} is not empty")
        old = self._old()
        self._files.rename(path, old)
        self._sync(self.buckets)
        self._remove(old)

    # -- tools ---------------------------------------------------------------------------------

    def clear_tmp(self) -> None:
        """Remove what a crash left half-way."""
        for entry in list(os.scandir(self.tmp)):
            if entry.is_dir(follow_symlinks=False):
                self._files.remove_tree(entry.path)
            else:
                self._files.unlink(entry.path)

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
