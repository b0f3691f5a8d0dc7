"""The tree of a namespace, read (docs/formats/namespace.md). Everything here blocks; any thread may call."""

from __future__ import annotations

import os
from collections.abc import Iterator

from storehouse.errors import DamagedEntry
from storehouse.storage.namespace.entries import decode_bucket, decode_entry
from storehouse.storage.namespace.interfaces import Bucket, Entry
from storehouse.storage.namespace.names import decode_key, encode_key, id_of_file, is_part

__all__ = ["DEFAULT", "Place", "TreeReader"]

DEFAULT = "default.json"


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

        @raise DamagedEntry: if it is no such link.
        """
        try:
            target = os.readlink(f"{place.path}/{DEFAULT}")
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise place.damaged(None, DEFAULT, error.strerror) from None
        id = id_of_file(target)
        if id is None:
            raise place.damaged(None, DEFAULT, f"it leads to {target!r}")
        return id

    def read(self, place: Place, id: str) -> Entry | None:
        """
        A version, or C{None}.

        @raise DamagedEntry: if its file is damaged.
        """
        name = f"{id}.json"
        try:
            with open(f"{place.path}/{name}", "rb", buffering=0) as file:
                data = file.read()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise place.damaged(id, name, error.strerror) from None
        try:
            return decode_entry(data, place.key, id)
        except ValueError as error:
            raise place.damaged(id, name, error) from None

    def current(self, place: Place) -> Entry | None:
        """
        The default version; C{None} if there is no such key.

        @raise DamagedEntry: if there is, but its default version cannot be had.
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
        """The IDs of all versions, by their files' names."""
        try:
            names = os.listdir(place.path)
        except (FileNotFoundError, NotADirectoryError):
            return []
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

    def bucket_names(self) -> list[str]:
        """The names of all directories that may be buckets."""
        return sorted(entry.name for entry in os.scandir(self.buckets) if entry.is_dir(follow_symlinks=False))

    def read_bucket(self, name: str) -> Bucket:
        """@raise DamagedEntry: if its C{bucket.json} is damaged."""
        path = os.path.join(self.buckets, name)
        try:
            with open(f"{path}/bucket.json", "rb") as file:
                return decode_bucket(file.read(), name)
        except FileNotFoundError:
            return Bucket(name, os.stat(path).st_mtime_ns)
        except (ValueError, OSError) as error:
            raise DamagedEntry(name, None, None, f"{path}/bucket.json", str(error)) from None

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
            except FileNotFoundError:
                if not base:
                    yield "", None
                continue
            for entry in entries:
                path = base + entry.name
                if not entry.is_dir(follow_symlinks=False):
                    yield path, None
                elif is_part(entry.name):
                    todo.append(f"{path}/")
                else:
                    yield path, decode_key(path)
