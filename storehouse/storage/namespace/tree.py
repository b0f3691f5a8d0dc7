"""
The tree of a namespace: buckets, keys and versions as directories, links and files (docs/formats/namespace.md).

Everything here blocks and may be called in any thread; operations on one key must be serial, which is the caller's
business.  With C{durable}, each change is on disk when the call returns.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Collection, Mapping, Sequence
from contextlib import nullcontext

from storehouse.core.files import NO_SPACE, Files
from storehouse.errors import AlreadyExists, BucketNotEmpty, DamagedEntry, NoSpace, NoSuchKey, StorageFailed
from storehouse.storage.namespace.entries import encode_bucket
from storehouse.storage.namespace.ground import TreeGround
from storehouse.storage.namespace.interfaces import Bucket, Entry
from storehouse.storage.namespace.journal import LEAVING, NEW
from storehouse.storage.namespace.names import id_of_file
from storehouse.storage.namespace.reading import DEFAULT, Place

__all__ = ["DEFAULT", "LOST", "Again", "Place", "Stale", "Tree", "Unintended"]

#: The size of an entry whose file cannot be read.
LOST = -1

#: Errors that mean that something is there which is not what ought to be there, or that a directory is not.
_IN_THE_WAY = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENOTEMPTY})

#: Errors of file systems without symbolic links.
_NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS})


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


class Tree(TreeGround):
    """The files below the directory of a namespace, and how they are changed."""

    def __init__(self, directory: str, files: Files, durable: bool) -> None:
        super().__init__(directory, files, durable)
        # Directories of long keys come and go with their last key.
        self._parts = threading.Lock()

    # -- changing keys -------------------------------------------------------------------------

    def publish(
        self, place: Place, id: str, text: bytes, expected: str | None, keep: bool, again: bool, known: bool = True
    ) -> None:
        """
        Make a version the default of a key, whatever is damaged there.

        @param expected: the ID of the default that is there, or C{None}.
        @param again: whether it may be an older version.
        @param known: whether the version that is there is known to be of this key. If not, its file is set aside.
        @raise Stale: if it is another.
        @raise Again: if it is one, but may not.
        @raise NoSpace: with nothing changed.
        @raise StorageFailed: if a sync fails.
        """
        try:
            if self.default_of(place) != expected:
                raise Stale
        except DamagedEntry:
            if expected is not None:
                raise Stale from None
        if not again and id != expected and os.path.lexists(f"{place.path}/{id}.json"):
            raise Again
        try:
            self._put(place, id, text, expected)
        except OSError as error:
            if error.errno in NO_SPACE:
                raise NoSpace(f"no room to publish {place.key!r} ({error.strerror}); nothing was changed") from error
            if error.errno not in _IN_THE_WAY or not self._make_way(place, id):
                raise
            self._put(place, id, text, expected)
        if expected is not None and expected != id and not keep:
            if known:
                self._drop(place, expected)
            else:
                self._drop_unknown(place, f"{expected}.json")

    def _put(self, place: Place, id: str, text: bytes, expected: str | None) -> None:
        files = self._files
        new = self._new()
        try:
            # A key that is there without a default is damaged; it keeps what it has.
            if expected is None and not os.path.lexists(place.path):
                files.mkdir(new)
                self._write(f"{new}/{id}.json", text)
                self._link(id, f"{new}/{DEFAULT}")
                self._sync(new)
                self._bring(new, place)
            else:
                self._replace(place, new, id, text, expected)
        except OSError:
            self._remove(new)
            raise

    def _replace(self, place: Place, new: str, id: str, text: bytes, expected: str | None) -> None:
        files = self._files
        self._write(new, text)
        file = f"{place.path}/{id}.json"
        if id == expected:
            files.rename(new, file)
            self._sync(place.path)
            return
        link = self._new()
        was_there = os.path.lexists(file)
        try:
            self._link(id, link)
            files.rename(new, file)
            self._sync(place.path)
            if expected is None and not os.path.islink(f"{place.path}/{DEFAULT}"):
                self._drop_unknown(place, DEFAULT)
            files.rename(link, f"{place.path}/{DEFAULT}")
        except OSError:
            self._remove(link)
            if not was_there:
                self._remove(file)
            raise
        self._sync(place.path)

    def _link(self, id: str, path: str) -> None:
        """What C{default.json} is: a link, or its text where the file system has no links."""
        try:
            self._files.symlink(f"{id}.json", path)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            self._write(path, f"{id}.json".encode())

    def _make_way(self, place: Place, id: str) -> bool:
        """Set aside what is in the way of a key, and make the directory that was lost. @return: whether anything was done."""
        ways = [*reversed(self._parents(place)), place.path]
        wrong = [path for path in ways if os.path.lexists(path) and not os.path.isdir(path)]
        for path in wrong[:1]:
            self._set_aside(path, path, f"it was in the way of the key {place.key!r}")
        done = bool(wrong)
        if not os.path.lexists(place.objects):
            self._files.mkdir(place.objects)
            self._sync(os.path.dirname(place.objects))
            done = True
        for name in (DEFAULT, f"{id}.json"):
            path = f"{place.path}/{name}"
            if os.path.isdir(path) and not os.path.islink(path):
                self._set_aside(path, path, f"it is a directory, in the place of a file of the key {place.key!r}")
                done = True
        return done

    def _drop(self, place: Place, id: str) -> None:
        try:
            self._files.unlink(f"{place.path}/{id}.json")
        except FileNotFoundError:
            return
        except OSError as error:
            if os.path.isdir(f"{place.path}/{id}.json"):
                self._drop_unknown(place, f"{id}.json")
                return
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

    def finish_removal(self, place: Place, leftovers: Mapping[str, str]) -> None:
        """
        Remove the rest of a key that was being removed file by file, where its directory could not be renamed.

        @param leftovers: ID to what the journal last said of it.
        """
        try:
            names = os.listdir(place.path)
        except OSError:
            return
        ids = [id for id in map(id_of_file, names) if id is not None]
        # An empty directory is one, too; but not of a key that was stored, and whose files were lost since.
        if len(ids) == len(names) and set(ids) <= set(leftovers) and set(leftovers.values()) == {LEAVING}:
            self._take_away(place, ids)

    def unpublish(
        self, place: Place, id: str | None, known: Collection[str], trusted: Entry | None = None
    ) -> tuple[list[Entry], Entry | None]:
        """
        Remove a key, or one version of it, whatever is damaged there.

        @param known: the IDs that the journal names.
        @param trusted: a version that is known to be one of this key, also if its file cannot be read.
        @return: what was removed, but for versions that could not be read: whose bytes those are is not known; their
            files are set aside. And the default version that is left, if there is one and it can be read.
        @raise NoSuchKey: if there is no such key, or version.
        @raise Unintended: if more would be removed than the journal names.
        @raise DamagedEntry: if the default version is to be removed and no other can be read.
        """
        ids = self.ids(place)
        if not ids and not os.path.lexists(f"{place.path}/{DEFAULT}"):
            raise NoSuchKey(f"the bucket {place.bucket} has no key {place.key!r}")
        if id is not None and id not in ids:
            raise NoSuchKey(f"the key {place.key!r} of the bucket {place.bucket} has no version {id}")
        leaving = ids if id is None else [id]
        removed = [entry for each in leaving if (entry := self._readable(place, each, trusted)) is not None]
        if not {entry.id for entry in removed} <= set(known):
            raise Unintended([entry.id for entry in removed])
        if set(leaving) == set(ids):
            self._take_away(place, [entry.id for entry in removed])
            return removed, None
        try:
            default = self.default_of(place)
        except DamagedEntry:
            default = None
        if default != id:
            left = None if default is None else self._readable(place, default)
        else:
            others = [entry for each in ids if each != id and (entry := self._readable(place, each)) is not None]
            if not others:
                raise place.damaged(None, "", "no other version can be read to become the default")
            left = max(others, key=lambda entry: (entry.created, entry.id))
            link = self._new()
            self._link(left.id, link)
            self._files.rename(link, f"{place.path}/{DEFAULT}")
            self._sync(place.path)
        if removed:
            self._drop(place, leaving[0])
        else:
            self._drop_unknown(place, f"{leaving[0]}.json")
        return removed, left

    def _readable(self, place: Place, id: str, trusted: Entry | None = None) -> Entry | None:
        try:
            entry = self.read(place, id)
        except DamagedEntry:
            entry = None
        return trusted if entry is None and trusted is not None and trusted.id == id else entry

    def mend(self, place: Place) -> bool:
        """
        Give a key that has exactly one version, and no C{default.json}, that one as its default.

        @return: whether that was so.
        """
        only = self.only_version(place)
        if only is None:
            return False
        link = self._new()
        self._link(only.id, link)
        self._files.rename(link, f"{place.path}/{DEFAULT}")
        self._sync(place.path)
        return True

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

    def _take_away(self, place: Place, known: Collection[str]) -> None:
        """Remove a key. What is in its directory and is not ours, nor one of these versions, is set aside."""
        files = self._files
        old = self._old()
        ours = {DEFAULT, *(f"{id}.json" for id in known)}
        with self._parts if place.pieces else nullcontext():
            parents = self._parents(place)
            try:
                files.rename(place.path, old)
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                # A directory of a lower layer (overlayfs) can only be emptied. The key is gone with its default.
                if os.path.lexists(f"{place.path}/{DEFAULT}"):
                    files.unlink(f"{place.path}/{DEFAULT}")
                    self._sync(place.path)
                self._discard(place.path, place.path, ours)
                if os.path.lexists(place.path):
                    raise OSError(errno.EBUSY, "it cannot be removed whole", place.path) from None
            self._sync(parents[0])
            self._remove_empty(parents)
        self._discard(old, place.path, ours)

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
        """
        What is in its directory beside what we put there is set aside.

        @raise BucketNotEmpty: if there is any file in its C{objects}.
        """
        path = os.path.join(self.buckets, name)
        if not os.path.lexists(path):
            return
        for base, directories, files in os.walk(f"{path}/objects"):
            for each in (*files, *(each for each in directories if os.path.islink(f"{base}/{each}"))):
                raise BucketNotEmpty(f"the bucket {name} is not empty: there is {os.path.join(base, each)}")
        old = self._old()
        try:
            self._files.rename(path, old)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            # See _take_away. What is left of it at any moment is a bucket without keys.
            self._discard_bucket(path, path)
        self._sync(self.buckets)
        self._discard_bucket(old, path)
