"""
The tree of a namespace: buckets, keys and versions as directories, links and files (docs/formats/namespace.md).

Everything here blocks, and any thread may call; that changes of one key come one at a time is up to the caller.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import nullcontext
from itertools import islice

from twisted.logger import Logger

from storehouse.core.files import NO_SPACE, Files, read_regular
from storehouse.core.pairing import STAMPS
from storehouse.core.recovered import set_aside
from storehouse.errors import AlreadyExists, BucketNotEmpty, DamagedEntry, NoSpace, NoSuchKey, StorageFailed
from storehouse.storage.namespace.entries import decode_bucket, decode_entry, encode_bucket, is_entry
from storehouse.storage.namespace.interfaces import Bucket, Entry
from storehouse.storage.namespace.journal import LEAVING, NEW
from storehouse.storage.namespace.names import decode_key, encode_key, id_of_file, is_part

__all__ = ["DEFAULT", "LOST", "TOP", "Again", "KeyPath", "Stale", "Tree", "Unintended", "read_small"]

DEFAULT = "default.json"

#: What is in the directory of a namespace.
TOP = frozenset({"format.json", "buckets", "journal", "index", "tmp", "recovered", *STAMPS})

#: Bytes that a JSON file of a namespace may have: several times what the longest metadata takes.
_MOST = 4 << 20

#: IDs of a bucket that are looked at by who wants only some.
_SOME = 100

#: What means that there is no such file, or no directory that it could be in.
_ABSENT = (FileNotFoundError, NotADirectoryError)


def read_small(path: str) -> bytes:
    """
    All of a file. Waits for no other process, whatever is at that path, and follows no link.

    @raise OSError: if it cannot be read, is no regular file, or is too long to be one of a namespace.
    """
    return read_regular(path, _MOST)


class KeyPath:
    """
    Where a key is.

    @ivar path: of its directory.
    """

    __slots__ = ("bucket", "key", "objects", "path", "pieces")

    def __init__(self, objects: str, bucket: str, key: str, data: bytes) -> None:
        self.bucket = bucket
        self.key = key
        self.objects = objects
        name = encode_key(data)
        self.pieces = name.count("/")
        self.path = f"{objects}/{name}"

    def damaged(self, id: str | None, name: str, reason: object) -> DamagedEntry:
        """What to raise about a file of it."""
        return DamagedEntry(self.bucket, self.key, id, os.path.join(self.path, name), str(reason))


#: What we make in C{tmp}.
_ours = re.compile(r"(new|deleted|journal)\.[0-9a-f]{16}x*|format\.json", re.ASCII)

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


class Tree:
    """
    The files below the directory of a namespace. To read them takes their directory alone.

    @param durable: whether each change is on disk when it is done.
    @ivar buckets: the directory of the buckets.
    @ivar tmp: where files are made, and where what is removed goes first, so that each change is one rename.
    """

    _log = Logger()

    def __init__(self, directory: str, files: Files | None = None, durable: bool = False) -> None:
        self.directory = directory
        self.buckets = os.path.join(directory, "buckets")
        self.tmp = os.path.join(directory, "tmp")
        self.durable = durable
        self._recovered = os.path.join(os.path.dirname(directory), "recovered")
        self._files = files or Files()
        # Directories of long keys come and go with their last key.
        self._parts = threading.Lock()

    # -- reading -------------------------------------------------------------------------------

    def place(self, bucket: str, key: str, data: bytes) -> KeyPath:
        """Where a key is; C{data} is its UTF-8."""
        return KeyPath(f"{self.buckets}/{bucket}/objects", bucket, key, data)

    def default_of(self, place: KeyPath) -> str | None:
        """
        The ID that C{default.json} names; C{None} if it is not there.

        @raise DamagedEntry: if it names none.
        """
        try:
            target = os.readlink(f"{place.path}/{DEFAULT}")
        except _ABSENT:
            return None
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise place.damaged(None, DEFAULT, error.strerror) from None
            return self._default_of_file(place)
        id = id_of_file(target)
        if id is None:
            raise place.damaged(None, DEFAULT, f"it leads to {target!r}")
        return id

    def _default_of_file(self, place: KeyPath) -> str | None:
        """
        The ID that a C{default.json} names which is no link: where there are none it has the name that a link would
        lead to; what copies links as files leaves a copy of the version.
        """
        path = f"{place.path}/{DEFAULT}"
        try:
            data = read_small(path)
            name = data.decode("utf-8", "replace").strip() if len(data) < 200 else ""
            named = id_of_file(name) or id_of_file(f"{name}.json")
            if named is not None:
                return named
            copies = [id for id in self.ids(place) if _same(path, data, f"{place.path}/{id}.json")]
            if len(copies) > 1:
                # Versions of other programs may be alike; the same file is not only alike.
                copies = [id for id in copies if os.path.samefile(path, f"{place.path}/{id}.json")]
        except _ABSENT:
            return None
        except OSError as error:
            raise place.damaged(None, DEFAULT, error.strerror) from None
        if len(copies) != 1:
            raise place.damaged(None, DEFAULT, "it is neither a link nor a copy of one version")
        return copies[0]

    def read(self, place: KeyPath, id: str) -> Entry | None:
        """
        A version, or C{None}.

        @raise DamagedEntry: if its file is damaged.
        """
        name = f"{id}.json"
        try:
            return decode_entry(read_small(f"{place.path}/{name}"), id)
        except _ABSENT:
            return None
        except OSError as error:
            raise place.damaged(id, name, error.strerror) from None
        except ValueError as error:
            raise place.damaged(id, name, error) from None

    def current(self, place: KeyPath) -> Entry | None:
        """
        The default version; C{None} if there is no such key.

        @raise DamagedEntry: if there is, but its default version cannot be had. Also if the key is changed at the same
            time, between two of the calls that this takes: who does not hold the key asks again when he does.
        """
        id = self.default_of(place)
        if id is None:
            if self.ids(place):
                raise place.damaged(None, DEFAULT, "it is missing")
            return None
        entry = self.read(place, id)
        if entry is None:
            raise place.damaged(id, DEFAULT, f"it leads to {id}.json, which is missing")
        return entry

    def ids(self, place: KeyPath) -> list[str]:
        """
        The IDs of all versions, by their files' names.

        @raise DamagedEntry: if they cannot be read.
        """
        try:
            names = os.listdir(place.path)
        except _ABSENT:
            return []
        except OSError as error:
            raise place.damaged(None, "", error.strerror) from None
        return [id for id in map(id_of_file, names) if id is not None]

    def versions(self, place: KeyPath) -> list[Entry]:
        """
        The default version, then the others, newest first; none if there is no such key.

        @raise DamagedEntry: if one cannot be read.
        """
        current = self.current(place)
        if current is None:
            return []
        others = [self.read(place, id) for id in self.ids(place) if id != current.id]
        found = [entry for entry in others if entry is not None]
        return [current, *sorted(found, key=lambda entry: (entry.created, entry.id), reverse=True)]

    def only_version(self, place: KeyPath) -> Entry | None:
        """The version of a key that has no C{default.json}, if there is but one, which can be read."""
        try:
            ids = self.ids(place)
            if len(ids) != 1 or os.path.lexists(f"{place.path}/{DEFAULT}"):
                return None
            return self.read(place, ids[0])
        except DamagedEntry:
            return None

    def bucket_names(self) -> list[str]:
        """The names of all directories that may be buckets."""
        try:
            return sorted(entry.name for entry in os.scandir(self.buckets) if entry.is_dir(follow_symlinks=False))
        except FileNotFoundError:
            return []

    def some_ids(self) -> Iterator[str]:
        """IDs that keys have, some of each bucket: for who wants to know whether it is the right namespace."""
        for bucket in self.bucket_names():
            yield from islice(self._ids_below(f"{self.buckets}/{bucket}/objects"), _SOME)

    def _ids_below(self, path: str) -> Iterator[str]:
        try:
            with os.scandir(path) as entries:
                for entry in entries:
                    if not entry.is_dir(follow_symlinks=False):
                        continue
                    if is_part(entry.name):
                        yield from self._ids_below(entry.path)
                    else:
                        yield from (id for id in map(id_of_file, os.listdir(entry.path)) if id is not None)
        except OSError:
            return  # there may be others

    def read_bucket(self, name: str) -> Bucket:
        """@raise DamagedEntry: if its C{bucket.json} is damaged."""
        path = os.path.join(self.buckets, name)
        try:
            made = os.stat(path).st_mtime_ns
            try:
                data = read_small(f"{path}/bucket.json")
            except FileNotFoundError:
                return Bucket(name, made)
            return decode_bucket(data, name, made)
        except (ValueError, OSError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise DamagedEntry(name, None, None, f"{path}/bucket.json", str(reason)) from None

    def walk(self, bucket: str) -> Iterator[tuple[str, str | None]]:
        """
        What lies in a bucket's C{objects}, in no order: the path below it, and the key that it is, or C{None} for what
        is none.
        """
        todo = [""]
        objects = os.path.join(self.buckets, bucket, "objects")
        while todo:
            base = todo.pop()
            try:
                entries = list(os.scandir(f"{objects}/{base}"))
            except OSError as error:
                # Gone meanwhile, unless it is all, or something that cannot be read.
                if not base or not isinstance(error, FileNotFoundError):
                    yield base.rstrip("/"), None
                continue
            for entry in entries:
                path = base + entry.name
                if not entry.is_dir(follow_symlinks=False):
                    yield path, None
                elif is_part(entry.name):
                    todo.append(f"{path}/")
                else:
                    yield path, decode_key(path)

    # -- changing keys -------------------------------------------------------------------------

    def publish(
        self, place: KeyPath, id: str, text: bytes, expected: str | None, keep: bool, again: bool, known: bool = True
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

    def _put(self, place: KeyPath, id: str, text: bytes, expected: str | None) -> None:
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

    def _replace(self, place: KeyPath, new: str, id: str, text: bytes, expected: str | None) -> None:
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

    def _make_way(self, place: KeyPath, id: str) -> bool:
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

    def _drop(self, place: KeyPath, id: str) -> None:
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

    def drop_rest(self, place: KeyPath, leftovers: Mapping[str, str]) -> None:
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

    def finish_removal(self, place: KeyPath, leftovers: Mapping[str, str]) -> None:
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
        self, place: KeyPath, id: str | None, known: Collection[str], trusted: Entry | None = None
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

    def _readable(self, place: KeyPath, id: str, trusted: Entry | None = None) -> Entry | None:
        try:
            entry = self.read(place, id)
        except DamagedEntry:
            entry = None
        return trusted if entry is None and trusted is not None and trusted.id == id else entry

    def mend(self, place: KeyPath) -> bool:
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

    def _bring(self, new: str, place: KeyPath) -> None:
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

    def _take_away(self, place: KeyPath, known: Collection[str]) -> None:
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
    def _parents(place: KeyPath) -> list[str]:
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

    # -- removing ------------------------------------------------------------------------------

    def _drop_unknown(self, place: KeyPath, name: str) -> None:
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


def _same(path: str, data: bytes, other: str) -> bool:
    try:
        return os.path.samefile(path, other) or data == read_small(other)
    except OSError:
        return False
