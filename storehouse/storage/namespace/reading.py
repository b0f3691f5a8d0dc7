"""The tree of a namespace, read (docs/formats/namespace.md). Everything here blocks; any thread may call."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from itertools import islice

from storehouse.core.files import read_regular
from storehouse.errors import DamagedEntry
from storehouse.storage.namespace.entries import decode_bucket, decode_entry
from storehouse.storage.namespace.interfaces import Bucket, Entry
from storehouse.storage.namespace.names import decode_key, encode_key, id_of_file, is_part

__all__ = ["DEFAULT", "Place", "TreeReader", "read_small"]

DEFAULT = "default.json"

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


class Place:
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


class TreeReader:
    """What is below the directory of a namespace."""

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self.buckets = os.path.join(directory, "buckets")

    def place(self, bucket: str, key: str, data: bytes) -> Place:
        """Where a key is; C{data} is its UTF-8."""
        return Place(f"{self.buckets}/{bucket}/objects", bucket, key, data)

    def default_of(self, place: Place) -> str | None:
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

    def _default_of_file(self, place: Place) -> str | None:
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

    def read(self, place: Place, id: str) -> Entry | None:
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

    def current(self, place: Place) -> Entry | None:
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

    def ids(self, place: Place) -> list[str]:
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

    def versions(self, place: Place) -> list[Entry]:
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

    def only_version(self, place: Place) -> Entry | None:
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


def _same(path: str, data: bytes, other: str) -> bool:
    try:
        return os.path.samefile(path, other) or data == read_small(other)
    except OSError:
        return False
