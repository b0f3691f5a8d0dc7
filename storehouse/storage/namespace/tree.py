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
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from itertools import islice

from twisted.logger import Logger

from storehouse.core.files import NO_SPACE, Files, read_regular
from storehouse.core.root import set_aside
from storehouse.core.stamps import STAMPS
from storehouse.errors import AlreadyExists, BucketNotEmpty, DamagedEntry, NoSpace, StorageFailed
from storehouse.storage.namespace.interfaces import Bucket, Entry
from storehouse.storage.namespace.journal import LEAVING, NEW, moved_from
from storehouse.storage.namespace.values import (
    config_file,
    decode_bucket,
    decode_config,
    decode_entry,
    decode_key,
    encode_bucket,
    encode_config,
    encode_key,
    id_of_file,
    is_config,
    is_entry,
    is_part,
    kind_of_file,
    no_such_key,
)

__all__ = ["DEFAULT", "TOP", "UNREADABLE", "AlreadyThere", "KeyPath", "NotInJournal", "Stale", "Tree", "read_small"]

DEFAULT = "default.json"

#: What is in the directory of a namespace.
TOP = frozenset({"format.json", "buckets", "journal", "index", "tmp", "recovered", *STAMPS})

#: The most bytes of a JSON file of a namespace: several times those of the longest metadata.
_MOST = 4 << 20

#: IDs of each bucket that some_ids gives.
_SOME = 100

#: Errors that say that there is no such file, or no directory for it.
_ABSENT = (FileNotFoundError, NotADirectoryError)


def read_small(path: str) -> bytes:
    """
    All bytes of a regular file. Follows no link, and never waits, as a FIFO would have it.

    @raise OSError: if it cannot be read, is no regular file, or is longer than a file of a namespace can be.
    """
    return read_regular(path, _MOST)


class KeyPath:
    """
    The directory of a key.

    @ivar directory: its path.
    @ivar objects: the path of the directory of all keys of the bucket.
    @ivar pieces: how many directories are between both, as of a long key.
    """

    __slots__ = ("bucket", "directory", "key", "objects", "pieces")

    def __init__(self, objects: str, bucket: str, key: str, data: bytes) -> None:
        self.bucket = bucket
        self.key = key
        self.objects = objects
        name = encode_key(data)
        self.pieces = name.count("/")
        self.directory = f"{objects}/{name}"

    def damaged(self, id: str | None, name: str, reason: object) -> DamagedEntry:
        """The error for a file in it."""
        return DamagedEntry(self.bucket, self.key, id, os.path.join(self.directory, name), str(reason))


#: The names that we make in C{tmp}.
_ours = re.compile(r"(new|deleted|journal)\.[0-9a-f]{16}x*|format\.json", re.ASCII)

#: The size of an entry of which nothing can be read.
UNREADABLE = -1

#: Errors that say that a path is taken by something else, or that a directory is missing.
_IN_THE_WAY = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENOTEMPTY})

#: Errors of file systems without symbolic links.
_NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS})


class Stale(Exception):
    """The default version of a key is not the one that was expected."""


class AlreadyThere(Exception):
    """The ID is already an older version of the key: the journal must say so before it becomes the default."""


class NotInJournal(Exception):
    """
    The journal does not name all IDs that would be removed.

    @ivar ids: those that would be.
    """

    def __init__(self, ids: list[str]) -> None:
        super().__init__()
        self.ids = ids


class Tree:
    """
    The files below the directory of a namespace. To read them takes their directory alone.

    @param durable: whether each change is on disk when it is done.
    @ivar buckets: the directory of the buckets.
    @ivar tmp: new files are written here, and what is removed is first moved here, so that each change is one rename.
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

    def key_path(self, bucket: str, key: str, data: bytes) -> KeyPath:
        """The directory of a key. @param data: its UTF-8."""
        return KeyPath(f"{self.buckets}/{bucket}/objects", bucket, key, data)

    def default_of(self, key_path: KeyPath) -> str | None:
        """
        The ID that C{default.json} names; C{None} if that is missing.

        @raise DamagedEntry: if it names no ID.
        """
        try:
            target = os.readlink(f"{key_path.directory}/{DEFAULT}")
        except _ABSENT:
            return None
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise key_path.damaged(None, DEFAULT, error.strerror) from None
            return self._default_of_file(key_path)
        id = id_of_file(target)
        if id is None:
            raise key_path.damaged(None, DEFAULT, f"it leads to {target!r}")
        return id

    def readable_default(self, key_path: KeyPath) -> str | None:
        """L{default_of}; C{None} also if it names no ID."""
        try:
            return self.default_of(key_path)
        except DamagedEntry:
            return None

    def _default_of_file(self, key_path: KeyPath) -> str | None:
        """
        The ID of a C{default.json} that is no link. On file systems without links it holds the name of the version's file;
        programs that copy links as files leave a copy of the version.
        """
        path = f"{key_path.directory}/{DEFAULT}"
        try:
            data = read_small(path)
            name = data.decode("utf-8", "replace").strip() if len(data) < 200 else ""
            named = id_of_file(name) or id_of_file(f"{name}.json")
            if named is not None:
                return named
            copies = [id for id in self.ids(key_path) if _same(path, data, f"{key_path.directory}/{id}.json")]
            if len(copies) > 1:
                # Versions of other programs may be equal; a hard link is the same file.
                copies = [id for id in copies if os.path.samefile(path, f"{key_path.directory}/{id}.json")]
        except _ABSENT:
            return None
        except OSError as error:
            raise key_path.damaged(None, DEFAULT, error.strerror) from None
        if len(copies) != 1:
            raise key_path.damaged(None, DEFAULT, "it is neither a link nor a copy of one version")
        return copies[0]

    def read(self, key_path: KeyPath, id: str) -> Entry | None:
        """
        A version; C{None} if it has no file.

        @raise DamagedEntry: if its file is damaged.
        """
        name = f"{id}.json"
        try:
            return decode_entry(read_small(f"{key_path.directory}/{name}"), id)
        except _ABSENT:
            return None
        except OSError as error:
            raise key_path.damaged(id, name, error.strerror) from None
        except ValueError as error:
            raise key_path.damaged(id, name, error) from None

    def current(self, key_path: KeyPath) -> Entry | None:
        """
        The default version; C{None} if there is no such key.

        @raise DamagedEntry: if there is, but its default version cannot be read. Also if the key changes between two of the
            system calls that this takes: a caller that does not hold the key must ask again with it.
        """
        id = self.default_of(key_path)
        if id is None:
            if self.ids(key_path):
                raise key_path.damaged(None, DEFAULT, "it is missing")
            return None
        entry = self.read(key_path, id)
        if entry is None:
            raise key_path.damaged(id, DEFAULT, f"it points to {id}.json, which is missing")
        return entry

    def ids(self, key_path: KeyPath) -> list[str]:
        """
        The IDs of all versions, by their files' names.

        @raise DamagedEntry: if they cannot be read.
        """
        try:
            names = os.listdir(key_path.directory)
        except _ABSENT:
            return []
        except OSError as error:
            raise key_path.damaged(None, "", error.strerror) from None
        return [id for id in map(id_of_file, names) if id is not None]

    def versions(self, key_path: KeyPath) -> list[Entry]:
        """
        The default version, then the others, newest first; none if there is no such key.

        @raise DamagedEntry: if one cannot be read.
        """
        current = self.current(key_path)
        if current is None:
            return []
        others = [self.read(key_path, id) for id in self.ids(key_path) if id != current.id]
        found = [entry for entry in others if entry is not None]
        return [current, *sorted(found, key=lambda entry: (entry.rank, entry.id), reverse=True)]

    def only_version(self, key_path: KeyPath) -> Entry | None:
        """The only version of a key that has no C{default.json}; C{None} if there are several, or it cannot be read."""
        try:
            ids = self.ids(key_path)
            if len(ids) != 1 or os.path.lexists(f"{key_path.directory}/{DEFAULT}"):
                return None
            return self.read(key_path, ids[0])
        except DamagedEntry:
            return None

    def bucket_names(self) -> list[str]:
        """The names of all directories beside each other in C{buckets}; they may not be names of buckets."""
        try:
            return sorted(entry.name for entry in os.scandir(self.buckets) if entry.is_dir(follow_symlinks=False))
        except FileNotFoundError:
            return []

    def some_ids(self) -> Iterator[str]:
        """Some IDs of each bucket's keys: enough to see whether namespace and data space belong together."""
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
            return  # other directories can be read, perhaps

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

    def read_config(self, bucket: str, kind: str) -> bytes | None:
        """
        The configuration of a bucket of one kind; C{None} if there is none.

        @raise DamagedEntry: if its file is damaged.
        """
        path = os.path.join(self.buckets, bucket, config_file(kind))
        try:
            return decode_config(read_small(path), bucket, kind)
        except FileNotFoundError:
            return None
        except (ValueError, OSError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise DamagedEntry(bucket, None, None, path, str(reason)) from None

    def walk(self, bucket: str) -> Iterator[tuple[str, str | None]]:
        """
        All directories and files in a bucket's C{objects} that are no part of a longer key, in no order: the path below it,
        and the key; C{None} if it is no key's.
        """
        todo = [""]
        objects = os.path.join(self.buckets, bucket, "objects")
        while todo:
            base = todo.pop()
            try:
                entries = list(os.scandir(f"{objects}/{base}"))
            except OSError as error:
                # Removed meanwhile, unless it is objects/ itself, or cannot be read.
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
        self,
        key_path: KeyPath,
        id: str,
        text: bytes,
        expected: str | None,
        replaced: str | None,
        again: bool,
        known: bool = True,
    ) -> None:
        """
        Make a version the default of a key, also where files of the key are damaged.

        @param text: its C{<ID>.json}.
        @param expected: the ID of the current default; C{None} if there is none.
        @param replaced: the ID of the version that goes then: the current default, or an older one; C{None} for none.
        @param again: whether C{id} may be an older version already.
        @param known: whether the version that goes is known to belong to this key. If not, its file is set aside.
        @raise Stale: if the default is not the expected one.
        @raise AlreadyThere: if C{id} is an older version, and may not be.
        @raise NoSpace: if the disk is full; nothing was changed.
        @raise StorageFailed: if a sync fails.
        """
        try:
            if self.default_of(key_path) != expected:
                raise Stale
        except DamagedEntry:
            if expected is not None:
                raise Stale from None
        if not again and id != expected and os.path.lexists(f"{key_path.directory}/{id}.json"):
            raise AlreadyThere
        try:
            self._put(key_path, id, text, expected)
        except OSError as error:
            if error.errno in NO_SPACE:
                raise NoSpace(f"the disk is full: {key_path.key!r} was not published ({error.strerror})") from error
            if error.errno not in _IN_THE_WAY or not self._make_way(key_path, id):
                raise
            self._put(key_path, id, text, expected)
        if replaced is not None and replaced != id:
            if known:
                self._drop(key_path, replaced)
            else:
                self._drop_unknown(key_path, f"{replaced}.json")

    def _put(self, key_path: KeyPath, id: str, text: bytes, expected: str | None) -> None:
        files = self._files
        new = self._new()
        try:
            # A directory without a default is a damaged key: it keeps its other files.
            if expected is None and not os.path.lexists(key_path.directory):
                # Made aside and renamed: a key appears with its entry and its default, or not at all.
                files.mkdir(new)
                self._write(f"{new}/{id}.json", text)
                self._link(id, f"{new}/{DEFAULT}")
                self._sync(new)
                self._bring(new, key_path)
            else:
                self._replace(key_path, new, id, text, expected)
        except OSError:
            self._remove(new)
            raise

    def _replace(self, key_path: KeyPath, new: str, id: str, text: bytes, expected: str | None) -> None:
        files = self._files
        self._write(new, text)
        file = f"{key_path.directory}/{id}.json"
        if id == expected:
            files.rename(new, file)
            self._sync(key_path.directory)
            return
        link = self._new()
        was_there = os.path.lexists(file)
        try:
            self._link(id, link)
            files.rename(new, file)
            self._sync(key_path.directory)
            if expected is None and not os.path.islink(f"{key_path.directory}/{DEFAULT}"):
                self._drop_unknown(key_path, DEFAULT)
            files.rename(link, f"{key_path.directory}/{DEFAULT}")
        except OSError:
            self._remove(link)
            if not was_there:
                self._remove(file)
            raise
        self._sync(key_path.directory)

    def _link(self, id: str, path: str) -> None:
        """Make a C{default.json}: a link, or a file with the same text where the file system has no links."""
        try:
            self._files.symlink(f"{id}.json", path)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            self._write(path, f"{id}.json".encode())

    def _make_way(self, key_path: KeyPath, id: str) -> bool:
        """Set aside what is in the way of a key's files, and make a lost C{objects}. @return: whether anything was done."""
        ways = [*reversed(self._parents(key_path)), key_path.directory]
        wrong = [path for path in ways if os.path.lexists(path) and not os.path.isdir(path)]
        for path in wrong[:1]:
            self._set_aside(path, path, f"it was in the way of the key {key_path.key!r}")
        done = bool(wrong)
        if not os.path.lexists(key_path.objects):
            self._files.mkdir(key_path.objects)
            self._sync(os.path.dirname(key_path.objects))
            done = True
        for name in (DEFAULT, f"{id}.json"):
            path = f"{key_path.directory}/{name}"
            if os.path.isdir(path) and not os.path.islink(path):
                self._set_aside(path, path, f"it is a directory, where a file of the key {key_path.key!r} should be")
                done = True
        return done

    def _drop(self, key_path: KeyPath, id: str) -> None:
        try:
            self._files.unlink(f"{key_path.directory}/{id}.json")
        except FileNotFoundError:
            return  # removed before a crash, or by an earlier try
        except OSError as error:
            if os.path.isdir(f"{key_path.directory}/{id}.json"):
                self._drop_unknown(key_path, f"{id}.json")
                return
            # The key has its new default by now. The next start removes this file.
            raise StorageFailed(f"{key_path.directory}/{id}.json cannot be removed: {error}") from error
        self._sync(key_path.directory)

    def drop_rest(self, key_path: KeyPath, leftovers: Mapping[str, str]) -> None:
        """
        Finish what a crash interrupted: remove versions that were replaced, if the other one has become the default, and those
        that were to become the default and did not.

        @param leftovers: by ID, what the journal last recorded of it.
        """
        try:
            current = self.current(key_path)
        except DamagedEntry:
            return  # which version counts is unknown, so none is removed
        for id, how in leftovers.items():
            if current is not None and id != current.id and how in (NEW, current.id):
                self._drop(key_path, id)

    def finish_removal(self, key_path: KeyPath, leftovers: Mapping[str, str]) -> None:
        """
        Remove the rest of a key that was removed file by file, since its directory could not be renamed.

        @param leftovers: by ID, what the journal last recorded of it.
        """
        try:
            names = os.listdir(key_path.directory)
        except OSError:
            return  # removed completely, or unreadable: nothing is removed on a guess
        ids = [id for id in map(id_of_file, names) if id is not None]
        # An empty directory is such a rest, too, unless the journal names IDs that were to stay: then files were lost.
        if len(ids) == len(names) and set(ids) <= set(leftovers) and set(leftovers.values()) == {LEAVING}:
            self._take_away(key_path, ids)

    def unpublish(self, key_path: KeyPath, known: Collection[str], trusted: Entry | None = None) -> list[Entry]:
        """
        Remove a key with all its versions, also where files of the key are damaged.

        @param known: the IDs that the journal names.
        @param trusted: a version that is known to belong to this key, even if its file cannot be read.
        @return: the versions that were removed, without those that could not be read: nobody knows whose bytes they name, and
            their files are set aside.
        @raise NoSuchKey: if there is no such key.
        @raise NotInJournal: if more would be removed than the journal names.
        """
        ids = self.ids(key_path)
        if not ids and not os.path.lexists(f"{key_path.directory}/{DEFAULT}"):
            raise no_such_key(key_path.bucket, key_path.key)
        removed = [entry for each in ids if (entry := self._readable(key_path, each, trusted)) is not None]
        if not {entry.id for entry in removed} <= set(known):
            raise NotInJournal([entry.id for entry in removed])
        self._take_away(key_path, [entry.id for entry in removed])
        return removed

    def remove_version(
        self, key_path: KeyPath, id: str, entry: Entry | None, newest: Callable[[], Iterable[str]]
    ) -> tuple[Entry | None, bool]:
        """
        Remove one version of a key. If it is the default, the newest other one becomes that. Only the files concerned are
        read, if C{newest} names others.

        @param entry: the version; C{None} if it cannot be read: its file is set aside.
        @param newest: gives the IDs of other versions, the newest first; all are looked at if it gives none that can be read.
        @return: the version that has become the default, if another one has, and whether any is left.
        @raise DamagedEntry: if the default version is to be removed and no other can be read.
        """
        default = self.readable_default(key_path)
        left: Entry | None = None
        if default == id or default is None:
            if not self._has_others(key_path, id):
                self._take_away(key_path, [] if entry is None else [id])
                return None, False
            if default is not None:
                left = self._newest(key_path, id, newest())
                link = self._new()
                self._link(left.id, link)
                self._files.rename(link, f"{key_path.directory}/{DEFAULT}")
                self._sync(key_path.directory)
        if entry is not None:
            self._drop(key_path, id)
        else:
            self._drop_unknown(key_path, f"{id}.json")
        return left, True

    @staticmethod
    def _has_others(key_path: KeyPath, id: str) -> bool:
        """Whether a key has versions beside one: there may be very many."""
        try:
            with os.scandir(key_path.directory) as entries:
                return any(id_of_file(each.name) not in (None, id) for each in entries)
        except _ABSENT:
            return False
        except OSError as error:
            raise key_path.damaged(None, "", error.strerror) from None

    def _newest(self, key_path: KeyPath, but: str, ids: Iterable[str]) -> Entry:
        for id in ids:
            entry = self._readable(key_path, id) if id != but else None
            if entry is not None:
                return entry
        others = [self._readable(key_path, each) for each in self.ids(key_path) if each != but]
        readable = [each for each in others if each is not None]
        if not readable:
            raise key_path.damaged(None, "", "no other version can be read")
        return max(readable, key=lambda each: (each.rank, each.id))

    def revise(self, key_path: KeyPath, id: str, text: bytes) -> None:
        """
        Replace the C{<ID>.json} of a version.

        @raise NoSpace: if the disk is full; nothing was changed.
        """
        new = self._new()
        try:
            self._write(new, text)
            self._files.rename(new, f"{key_path.directory}/{id}.json")
        except OSError as error:
            self._remove(new)
            if error.errno in NO_SPACE:
                raise NoSpace(f"the disk is full: {key_path.key!r} was not changed ({error.strerror})") from error
            raise
        self._sync(key_path.directory)

    def has(self, key_path: KeyPath, id: str) -> bool:
        """Whether a version has a file, whatever is in it."""
        return os.path.lexists(f"{key_path.directory}/{id}.json")

    def readable(self, key_path: KeyPath, trusted: Entry | None = None) -> list[Entry]:
        """
        All versions of a key that can be read.

        @param trusted: as in L{unpublish}.
        """
        return [entry for id in self.ids(key_path) if (entry := self._readable(key_path, id, trusted)) is not None]

    def remove(self, key_path: KeyPath, known: Collection[str]) -> None:
        """
        Remove a key whose place another one has taken.

        @param known: the IDs of its versions that may go. All else in its directory is set aside.
        @raise StorageFailed: if that cannot be done: a start must do it.
        """
        try:
            self._take_away(key_path, known)
        except OSError as error:
            raise StorageFailed(f"{key_path.directory} cannot be removed: {error}") from error

    def finish_move(self, key_path: KeyPath, leftovers: Mapping[str, str]) -> None:
        """
        Remove a key that was renamed, if the other key has got its object.

        @param leftovers: by ID, what the journal last recorded of it.
        """
        for where in {moved for how in leftovers.values() if (moved := moved_from(how)) is not None}:
            id, key = where
            gone = {each for each, how in leftovers.items() if moved_from(how) == where}
            try:
                target = KeyPath(key_path.objects, key_path.bucket, key, key.encode())
                default = self.default_of(key_path)
                there = self.ids(key_path)
                has_moved = self.default_of(target) == id and self.read(target, id) is not None
            except DamagedEntry:
                continue  # whether it has is not known
            # It may be there again, with another object; or removed in part, where a directory cannot be renamed.
            is_same = default in gone or (default is None and gone.issuperset(there))
            if has_moved and is_same and os.path.lexists(key_path.directory):
                self._take_away(key_path, gone)

    def _readable(self, key_path: KeyPath, id: str, trusted: Entry | None = None) -> Entry | None:
        try:
            entry = self.read(key_path, id)
        except DamagedEntry:
            entry = None
        return trusted if entry is None and trusted is not None and trusted.id == id else entry

    def mend(self, key_path: KeyPath) -> bool:
        """
        Make the only version of a key that has no C{default.json} its default.

        @return: whether there was such a version.
        """
        only = self.only_version(key_path)
        if only is None:
            return False
        link = self._new()
        self._link(only.id, link)
        self._files.rename(link, f"{key_path.directory}/{DEFAULT}")
        self._sync(key_path.directory)
        return True

    def _bring(self, new: str, key_path: KeyPath) -> None:
        files = self._files
        if not key_path.pieces:
            files.rename(new, key_path.directory)
            self._sync(key_path.objects)
            return
        with self._parts:
            parents = self._parents(key_path)
            try:
                # Under the lock: a removal of another key could take an empty parent away between mkdir and rename.
                for parent in reversed(parents[:-1]):
                    files.mkdir(parent)
                files.rename(new, key_path.directory)
            except OSError:
                self._remove_empty(parents)
                raise
            for parent in parents:
                self._sync(parent)

    def _take_away(self, key_path: KeyPath, known: Collection[str]) -> None:
        """Remove a key with these versions. All other files in its directory but C{default.json} are set aside."""
        files = self._files
        old = self._old()
        ours = {DEFAULT, *(f"{id}.json" for id in known)}
        with self._parts if key_path.pieces else nullcontext():
            parents = self._parents(key_path)
            try:
                files.rename(key_path.directory, old)
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                # A directory in a lower layer of overlayfs can only be emptied. Without its default the key is gone.
                if os.path.lexists(f"{key_path.directory}/{DEFAULT}"):
                    files.unlink(f"{key_path.directory}/{DEFAULT}")
                    self._sync(key_path.directory)
                self._discard(key_path.directory, key_path.directory, ours)
                if os.path.lexists(key_path.directory):
                    raise OSError(errno.EBUSY, "it cannot be removed completely", key_path.directory) from None
            self._sync(parents[0])
            self._remove_empty(parents)
        self._discard(old, key_path.directory, ours)

    def _remove_empty(self, parents: Sequence[str]) -> None:
        for parent in parents[:-1]:
            try:
                self._files.remove_directory(parent)
            except OSError:
                break

    @staticmethod
    def _parents(key_path: KeyPath) -> list[str]:
        """The directories above a key, up to its bucket's C{objects}."""
        parents = [os.path.dirname(key_path.directory)]
        while parents[-1] != key_path.objects:
            parents.append(os.path.dirname(parents[-1]))
        return parents

    # -- buckets -------------------------------------------------------------------------------

    def create_bucket(self, bucket: Bucket, configs: Mapping[str, bytes] | None = None) -> None:
        """
        Make the directory of a bucket.

        @param configs: its configurations, by their kinds.
        @raise AlreadyExists: if it is there.
        @raise NoSpace: if the disk is full.
        """
        files = self._files
        path = os.path.join(self.buckets, bucket.name)
        if os.path.lexists(path):
            raise AlreadyExists(f"the bucket {bucket.name} already exists")
        new = self._new()
        try:
            files.mkdir(new)
            files.mkdir(f"{new}/objects")
            self._write(f"{new}/bucket.json", encode_bucket(bucket))
            for kind, data in (configs or {}).items():
                self._write(f"{new}/{config_file(kind)}", encode_config(bucket.name, kind, data))
            self._sync(new)
            files.rename(new, path)
        except OSError as error:
            self._remove(new)
            if error.errno in NO_SPACE:
                raise NoSpace(f"the disk is full: the bucket {bucket.name} was not made ({error.strerror})") from error
            raise
        self._sync(self.buckets)

    def change_bucket(self, bucket: Bucket) -> None:
        """
        Write the C{bucket.json} of a bucket.

        @raise NoSpace: if the disk is full; nothing was changed.
        """
        self._change_file(bucket.name, "bucket.json", encode_bucket(bucket))

    def change_config(self, bucket: str, kind: str, data: bytes | None) -> None:
        """
        Write the configuration of a bucket of one kind; with C{None} remove it.

        @raise NoSpace: if the disk is full; nothing was changed.
        """
        name = config_file(kind)
        if data is not None:
            self._change_file(bucket, name, encode_config(bucket, kind, data))
            return
        path = os.path.join(self.buckets, bucket)
        try:
            self._files.unlink(f"{path}/{name}")
        except FileNotFoundError:
            return
        self._sync(path)

    def _change_file(self, bucket: str, name: str, text: bytes) -> None:
        path = os.path.join(self.buckets, bucket)
        new = self._new()
        try:
            self._write(new, text)
            self._files.rename(new, f"{path}/{name}")
        except OSError as error:
            self._remove(new)
            if error.errno in NO_SPACE:
                raise NoSpace(f"the disk is full: the bucket {bucket} was not changed ({error.strerror})") from error
            raise
        self._sync(path)

    def delete_bucket(self, name: str) -> None:
        """
        Remove a bucket. Files in its directory that are not ours are set aside.

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
            # As in _take_away. If a crash comes, a bucket without keys is left.
            self._discard_bucket(path, path)
        self._sync(self.buckets)
        self._discard_bucket(old, path)

    # -- removing ------------------------------------------------------------------------------

    def _drop_unknown(self, key_path: KeyPath, name: str) -> None:
        """Set aside a file of a key that cannot be read: it may be worth something. A link is removed: it has no bytes."""
        path = f"{key_path.directory}/{name}"
        try:
            if os.path.islink(path):
                self._files.unlink(path)
            elif os.path.lexists(path):
                self._set_aside(path, path, f"it could not be read when {key_path.bucket}/{key_path.key} was replaced")
        except OSError as error:
            self._log.error("{path} stays: {error}", path=path, error=error)

    def _set_aside(self, path: str, was: str, why: str) -> None:
        try:
            kept = set_aside(self._files, self._recovered, path, was, why, self.durable)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            # The namespace has a file system of its own.
            kept = set_aside(self._files, os.path.join(self.directory, "recovered"), path, was, why, self.durable)
        self._log.warn("{path} is now {kept}: {why}", path=was, kept=kept, why=why)
        self._sync(os.path.dirname(path))

    def _discard(self, path: str, was: str, ours: Collection[str]) -> None:
        """
        Remove a directory with the files of these names. Others are set aside. What cannot be removed stays: in C{tmp} the next
        start removes it.
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
        self._discard(path, was, {"bucket.json", *self._configs_in(path)})

    @staticmethod
    def _configs_in(path: str) -> list[str]:
        """The names of the configurations in the directory of a bucket that can be read, of whatever bucket."""
        readable = []
        for name in os.listdir(path) if os.path.isdir(path) else ():
            kind = kind_of_file(name)
            try:
                if kind is not None and is_config(read_small(f"{path}/{name}"), kind):
                    readable.append(name)
            except OSError:
                pass  # it cannot be read
        return readable

    def clear_way(self) -> None:
        """
        Set aside files that are where the index or the journal should be, and are neither: both are rewritten. Links
        stay: they may lead to a file system that is not mounted.
        """
        for name, fits in (("journal", os.path.isfile), ("index", os.path.isdir), ("index/keys.db", os.path.isfile)):
            path = os.path.join(self.directory, name)
            if os.path.lexists(path) and not os.path.islink(path) and not fits(path):
                self._set_aside(path, path, "it was where the index or the journal should be")

    def clear_tmp(self) -> None:
        """Remove our own files that a crash left in C{tmp}; others stay."""
        for entry in list(os.scandir(self.tmp)):
            if not _ours.fullmatch(entry.name):
                continue
            if not entry.is_dir(follow_symlinks=False):
                self._files.unlink(entry.path)
            elif entry.name.startswith("new."):
                self._files.remove_tree(entry.path)
            elif self._was_bucket(entry.path):
                self._discard_bucket(entry.path, entry.path)
            else:
                self._discard(entry.path, entry.path, {DEFAULT, *self._readable_in(entry.path)})

    def _was_bucket(self, path: str) -> bool:
        """Whether a directory that was moved away is that of a bucket, perhaps a rest of it."""
        return bool({"bucket.json", "objects"} & set(os.listdir(path)) or self._configs_in(path))

    @staticmethod
    def _readable_in(path: str) -> list[str]:
        """The names of the versions in a directory that can be read, of whatever key."""
        readable = []
        for name in os.listdir(path):
            id = id_of_file(name)
            try:
                if id is not None and is_entry(read_small(f"{path}/{name}"), id):
                    readable.append(name)
            except OSError:
                pass  # it cannot be read
        return readable

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
                    raise StorageFailed(f"{path} cannot be synced to disk: {error}") from error
        finally:
            files.close(fd)

    def _sync(self, path: str) -> None:
        if self.durable:
            try:
                self._files.sync_directory(path)
            except OSError as error:
                raise StorageFailed(f"{path} cannot be synced to disk: {error}") from error

    def _remove(self, path: str) -> None:
        try:
            if os.path.isdir(path):
                self._files.remove_tree(path)
            else:
                self._files.unlink(path)
        except OSError:
            pass  # the next start removes it


def _same(path: str, data: bytes, other: str) -> bool:
    try:
        return os.path.samefile(path, other) or data == read_small(other)
    except OSError:
        return False
