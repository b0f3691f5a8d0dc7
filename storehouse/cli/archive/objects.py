"""Objects as archives: their bytes by ranges, and patterns for their keys."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fnmatch import fnmatchcase

from zope.interface import implementer

from storehouse.app.local.waiting import each, run
from storehouse.archive.interfaces import IByteSource
from storehouse.cli.store import Name, Store, keys_below, naming
from storehouse.errors import DamagedArchive, DamagedObject
from storehouse.storage.objects.values import ObjectInfo

__all__ = ["ObjectSource", "find_objects", "has_magic"]

#: What is read at least, and at most ahead of what is asked for, when an object is read from front to back.
_LEAST, _MOST = 1 << 14, 1 << 20

_magic = re.compile(r"[*?[]")


def has_magic(text: str) -> bool:
    """Whether a text is a pattern."""
    return _magic.search(text) is not None


@implementer(IByteSource)
class ObjectSource:
    """
    An object. It is read ahead, more and more, while it is read from front to back: archives are read where they are asked for.

    @param size: its bytes.
    """

    def __init__(self, store: Store, place: Name, size: int, name: str) -> None:
        self.name = name
        self.size: int | None = size
        self._store = store
        self._place = place
        self._length = size
        self._data = b""
        self._at = 0
        self._ahead = _LEAST

    def pread(self, offset: int, size: int) -> bytes:
        """
        Some bytes.

        @raise DamagedArchive: if they are damaged in the store.
        """
        size = min(size, self._length - offset)
        if size <= 0:
            return b""
        inside = offset - self._at
        if inside < 0 or inside + size > len(self._data):
            if 0 <= inside <= len(self._data) and self._data:
                self._ahead = min(self._ahead * 4, _MOST)
            self._data = b""  # before there is more
            self._data = self._fetch(offset, size, min(max(size, self._ahead), self._length - offset))
            self._at, inside = offset, 0
        return self._data[inside : inside + size]

    def _fetch(self, offset: int, needed: int, wanted: int) -> bytes:
        pieces: list[bytes | memoryview] = []
        try:
            run(self._read(offset, wanted, pieces))
            return b"".join(pieces)
        except DamagedObject as error:
            reason = error.detail
        data = b"".join(pieces)
        # Damage behind what is needed is none of our business yet.
        if len(data) >= needed:
            return data
        raise DamagedArchive(self.name, offset + len(data), f"the object cannot be read: {reason}")

    async def _read(self, offset: int, size: int, pieces: list[bytes | memoryview]) -> None:
        reading = await self._store.get(self._place.bucket, self._place.key, offset, size)
        try:
            while piece := await reading.read():
                pieces.append(piece)
        finally:
            await reading.close()

    def close(self) -> None:
        """Forget what was read."""
        self._data = b""


def find_objects(store: Store, place: Name) -> Iterator[ObjectInfo]:
    """
    The objects that a name or a pattern stands for. In a pattern, no C{*} stands for a slash, but C{**} between slashes for
    any number of them.
    """
    with naming(place):
        if not has_magic(place.key):
            yield run(store.head(place.bucket, place.key))
            return
        start = _magic.split(place.key, maxsplit=1)[0]
        pattern = place.key.split("/")
        for found in each(keys_below(store, Name(place.bucket, start))):
            if not isinstance(found, str) and (found.key == place.key or _matches(pattern, found.key.split("/"))):
                yield found


def _matches(pattern: list[str], words: list[str]) -> bool:
    if not pattern:
        return not words
    if pattern[0] == "**":
        return any(_matches(pattern[1:], words[at:]) for at in range(len(words) + 1))
    return bool(words) and fnmatchcase(words[0], pattern[0]) and _matches(pattern[1:], words[1:])
