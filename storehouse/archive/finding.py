"""
Which archives there are, each once and in the order of writing, and where one is by now: callbacks of a writer rename, move and
compress archives while others read them.

An archive of version 2 is told by its header: time, sequence and salt. One of version 1, which has no header, is told by its
name and what it holds.
"""

from __future__ import annotations

import fnmatch
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import attrs

from storehouse.archive.identity import Identity
from storehouse.archive.interfaces import ArchiveInfo
from storehouse.archive.names import is_ours_beside, marker_of, name_key, numbered_pattern
from storehouse.archive.reader import ArchiveReader
from storehouse.archive.sources import begins_as, open_source
from storehouse.core.files import open_stored
from storehouse.errors import DamagedArchive, InvalidSetting, StorehouseError

__all__ = ["Seen", "each_once", "find_now", "find_seen"]

#: How often a directory is listed again that changes meanwhile, and a file looked for that is moved on.
_TRIES = 20

#: Bytes at the front that an identity is of.
_HEAD = 4096


@attrs.frozen
class Seen:
    """
    An archive as it was when it was found.

    @ivar info: its header; C{None} if it has none that can be read.
    @ivar rank: which of two names of one archive is to be read: the higher one.
    @ivar file: device and inode.
    @ivar identity: of one without a salt; C{None} for others.
    """

    path: str
    info: ArchiveInfo | None
    rank: tuple[bool, bool, int]
    file: tuple[int, int]
    identity: Identity | None = None

    @classmethod
    def of(cls, path: str) -> Seen:
        """@raise OSError: if it is not there, or cannot be read."""
        found = os.stat(path)
        info, is_whole, is_plain = None, False, False
        try:
            with ArchiveReader(path) as reader:
                info = reader.info
                is_plain = reader.compressed_as is None
                is_whole = reader.sealed or not is_plain
        except StorehouseError:
            pass
        identity = None if info is not None and info.salt else Identity.of(path)
        return cls(path, info, (is_whole, is_plain, found.st_size), (found.st_dev, found.st_ino), identity)

    @property
    def key(self) -> tuple[int, int, int] | None:
        """What no other archive has; C{None} if that cannot be told."""
        info = self.info
        return (info.created, info.sequence, info.salt) if info is not None and info.salt else None

    @property
    def order(self) -> tuple[Any, ...]:
        """Sorts by the order of writing (docs/formats/archive.md, Reading)."""
        name = os.path.basename(self.path)
        if self.info is None or self.info.version == 1 or not self.info.salt:
            return (0, name_key(name), name)
        return (1, self.info.created, self.info.sequence, name)


def find_seen(pattern: str, directory: str) -> list[Seen]:
    """
    The archives whose names match a pattern, each once, in the order of writing.

    @raise InvalidSetting: if there is no such directory.
    """
    found: list[Seen] = []
    before: list[str] | None = None
    for _ in range(_TRIES):
        try:
            names = sorted(name for name in fnmatch.filter(os.listdir(directory), pattern) if not is_ours_beside(name))
        except OSError as problem:
            raise InvalidSetting(f"the directory {directory} cannot be read: {problem.strerror}") from None
        # A listing that is made while a name becomes another one may have neither.
        if names == before:
            break
        before = names
        found = list(_seen(os.path.join(directory, name) for name in names))
    return sorted(each_once(found), key=lambda seen: seen.order)


def _seen(paths: Iterable[str]) -> Iterator[Seen]:
    for path in paths:
        try:
            if os.path.isfile(path):
                yield Seen.of(path)
        except FileNotFoundError:
            continue
        except OSError:
            # Its readers get an error.
            yield Seen(path, None, (False, False, 0), (-1, hash(path)))


def each_once(found: Iterable[Seen]) -> list[Seen]:
    """Of several names of one archive only the one that is best read: a whole one, not compressed."""
    best: dict[Any, Seen] = {}
    for seen in found:
        key = seen.key or seen.file
        if key not in best or seen.rank > best[key].rank:
            best[key] = seen
    kept = list(best.values())
    # Without a header: what has the other's name with something behind it, and the same inside. One that is made of the other
    # just then has the beginning of it.
    plain = {seen.path: seen for seen in kept if seen.key is None and seen.info is not None}
    dropped: set[str] = set()
    for seen in plain.values():
        for path in _stems(seen, plain):
            if begins_as(path, seen.path):
                dropped.add(seen.path)
            elif begins_as(seen.path, path):
                dropped.add(path)
    return [seen for seen in kept if seen.path not in dropped]


def _stems(seen: Seen, others: dict[str, Seen]) -> Iterator[str]:
    directory, name = os.path.split(seen.path)
    while "." in name:
        name = name.rpartition(".")[0]
        path = os.path.join(directory, name)
        if name and path in others:
            yield path


def find_now(seen: Seen, directories: Sequence[str]) -> str | None:
    """
    Where an archive is whose path leads nowhere any more.

    @param directories: where to look for it; its own, and where its marker says, are looked at first.
    @return: C{None} if none that is found is it, or it is not certain which.
    """
    for _ in range(_TRIES):
        # What a callback is at work on may be gone again when it is opened: then it is looked for once more.
        paths = list(_places(seen, directories))
        found = _by_header(seen, paths) if seen.key is not None else _by_content(seen, paths)
        if found is None or os.path.exists(found):
            return found
    return None


def _places(seen: Seen, directories: Sequence[str]) -> Iterator[str]:
    yield from _marked(seen.path)
    own = os.path.dirname(seen.path) or "."
    for directory in dict.fromkeys((own, *directories)):
        try:
            names = os.listdir(directory)
        except OSError:
            continue
        stem = os.path.splitext(os.path.basename(seen.path))[0]
        # Most names begin as the one before did.
        for name in sorted(names, key=lambda name: not name.startswith(stem)):
            if not is_ours_beside(name):
                yield os.path.join(directory, name)


def _marked(path: str) -> Iterator[str]:
    """Where the marker says that callbacks have brought it."""
    marker = marker_of(path)
    try:
        with open_stored(marker) as file:
            said = json.loads(file.read(1 << 16).partition(b"\n")[0])
        if isinstance(said.get("beside"), str):
            yield os.path.join(os.path.dirname(marker), said["beside"])
        yield str(said["file"])
    except (OSError, ValueError, KeyError, AttributeError):
        return


def _by_header(seen: Seen, paths: Iterable[str]) -> str | None:
    for other in _seen(paths):
        if other.key == seen.key:
            return other.path
    return None


def _by_content(seen: Seen, paths: Iterable[str]) -> str | None:
    identity = seen.identity
    if identity is None:
        return None
    name = os.path.basename(seen.path)
    pattern = numbered_pattern(name)
    related = []
    for path in dict.fromkeys(paths):
        other = os.path.basename(path)
        while not (is_related := bool(pattern.fullmatch(other))) and "." in other:
            other = other.rpartition(".")[0]
        if is_related and path != seen.path:
            related.append(path)
    found = identity.find(related)
    if found is not None:
        return found
    # It was written on meanwhile: then it begins as it did.
    grown = [path for path in related if _begins_as(path, identity)]
    return grown[0] if len(grown) == 1 else None


def _begins_as(path: str, identity: Identity) -> bool:
    if not identity.size:
        return False
    try:
        source = open_source(path)
        try:
            head = source.pread(0, min(identity.size, _HEAD))
            return hashlib.sha256(head).hexdigest() == identity.head and bool(source.pread(identity.size - 1, 1))
        finally:
            source.close()
    except (OSError, DamagedArchive):
        return False
