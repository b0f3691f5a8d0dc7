"""
Which archives there are, each once and in the order of writing; and where an archive is now: callbacks of a writer rename,
move and compress archives while others read them (docs/formats/archive.md, Reading and Recovery).

An archive of version 2 is known by its header: time, sequence and salt. One of version 1, which has no header, is known by
its name and what it holds. A callback that is called again after a crash may find its file gone, and several files beside
it with names that it may have given it. Only one that is provably the file it had may be given to the callbacks after it:
they may delete it.
"""

from __future__ import annotations

import errno
import fnmatch
import hashlib
import json
import os
import stat
from collections.abc import Iterable, Iterator, Sequence

import attrs

from storehouse.archive.archive import ArchiveReader
from storehouse.archive.interfaces import ArchiveInfo, IByteSource
from storehouse.archive.names import is_ours_beside, marker_of, name_key, numbered_pattern
from storehouse.archive.sources import FileSource, begins_as, open_source
from storehouse.core.files import open_stored
from storehouse.errors import DamagedArchive, InvalidSetting, StorehouseError

__all__ = ["Identity", "NotedPath", "Seen", "each_once", "find_again", "find_archives", "find_matching", "find_now"]

#: Bytes at the front that C{head} is of.
_HEAD = 4096

#: What is expanded at once.
_PIECE = 1 << 20


@attrs.frozen
class Identity:
    """
    A file as it was when a marker noted it: enough to find it again under another name.

    @ivar size: in bytes.
    @ivar mtime: nanoseconds since 1970 UTC.
    @ivar head: SHA-256 of its first 4096 bytes, in hex.
    """

    device: int
    inode: int
    size: int
    mtime: int
    head: str

    @classmethod
    def of(cls, path: str) -> Identity | None:
        """The identity of a file; C{None} if it is not there, is no regular file, or cannot be read."""
        try:
            found = os.stat(path)
            if not stat.S_ISREG(found.st_mode):
                return None
            source = FileSource(path)
            try:
                head = _head_of(source)
            finally:
                source.close()
        except OSError:
            return None
        return cls(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, head)

    @classmethod
    def from_json(cls, fields: object) -> Identity | None:
        """The identity that a marker has as JSON; C{None} if it has none."""
        if not isinstance(fields, dict):
            return None
        try:
            device, inode, size, mtime = (int(fields[key]) for key in ("device", "inode", "size", "mtime"))
            return cls(device, inode, size, mtime, str(fields["head"]))
        except (KeyError, TypeError, ValueError):
            return None

    def has(self, path: str) -> bool:
        """Whether the file at the noted path is still this one. It may have been copied there, or have grown since."""
        now = Identity.of(path)
        return now is not None and now.head == self.head and (now.size == self.size or self._is_same_file(now))

    def find(self, paths: Sequence[str]) -> str | None:
        """Which of some files it is, perhaps compressed or on another file system; C{None} unless that is certain."""
        there = [(path, now) for path in paths if (now := Identity.of(path)) is not None]
        for path, now in there:
            if self._is_same_file(now) and (now.size, now.head) == (self.size, self.head):
                return path
        alike = [path for path, now in there if now.mtime == self.mtime and self._is_held_by(path, now)]
        return alike[0] if len(alike) == 1 else None

    def _is_same_file(self, other: Identity) -> bool:
        return (other.device, other.inode) == (self.device, self.inode)

    def _is_held_by(self, path: str, now: Identity) -> bool:
        """Whether a file has the same bytes, as it is or expanded."""
        if (now.size, now.head) == (self.size, self.head):
            return True
        try:
            expanded = open_source(path)
            try:
                return _head_of(expanded) == self.head and _has_size(expanded, self.size)
            finally:
                expanded.close()
        except (OSError, DamagedArchive):
            return False


class NotedPath(str):
    """
    The path of an archive that an earlier process left, as its marker has it. For callbacks it is a path; L{find_again}
    also needs the identity of the file that was there.

    @ivar identity: C{None} if the marker has none.
    """

    identity: Identity | None

    def __new__(cls, path: str, identity: Identity | None) -> NotedPath:
        """@param path: of the file when it was noted."""
        self = super().__new__(cls, path)
        self.identity = identity
        return self


def find_again(filename: str, there: Sequence[str]) -> str:
    """
    The path that a callback has given to a file that is gone.

    @param filename: what the callback was called with.
    @param there: the files that have names which it may have given it.
    @raise FileNotFoundError: unless one of them is provably that file. Without a marker it never is.
    """
    if isinstance(filename, NotedPath):
        if filename.identity is not None:
            found = filename.identity.find(there)
        else:
            found = there[0] if len(there) == 1 else None
        if found is not None:
            return found
    beside = f"; it may be one of {', '.join(there)}, but that is not certain" if there else ""
    raise FileNotFoundError(errno.ENOENT, f"the archive is gone{beside}", filename)


def _head_of(source: IByteSource) -> str:
    return hashlib.sha256(source.pread(0, _HEAD)).hexdigest()


def _has_size(source: IByteSource, size: int) -> bool:
    at = 0
    while at <= size and (piece := source.pread(at, _PIECE)):
        at += len(piece)
    return at == size


#: How often a directory that changes is listed again, and a file that is moved looked for again.
_TRIES = 20

#: Bytes at the front that an identity is of.
_HEAD = 4096


@attrs.frozen
class Seen:
    """
    An archive as it was when it was found.

    @ivar info: its header; C{None} if it cannot be read.
    @ivar rank: of two files of one archive, the one with the higher rank is read.
    @ivar file: device and inode.
    @ivar identity: of an archive without a salt; C{None} for others.
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
                is_whole = reader.complete or not is_plain
        except StorehouseError:
            pass
        identity = None if info is not None and info.salt else Identity.of(path)
        return cls(path, info, (is_whole, is_plain, found.st_size), (found.st_dev, found.st_ino), identity)

    @property
    def key(self) -> tuple[int, int, int] | None:
        """Time, sequence and salt, which no other archive has; C{None} without a salt."""
        info = self.info
        return (info.created, info.sequence, info.salt) if info is not None and info.salt else None

    @property
    def order(self) -> tuple[int | str, ...]:
        """A key that sorts archives in the order of writing (docs/formats/archive.md, Reading)."""
        name = os.path.basename(self.path)
        if self.info is None or self.info.version == 1 or not self.info.salt:
            return (0, name_key(name), name)
        return (1, self.info.created, self.info.sequence, name)


def find_archives(filename_template: str, directory: str = ".") -> list[str]:
    """
    The archives that match a pattern, in the order of writing (docs/formats/archive.md, Reading). One that is there twice,
    as it is and compressed for instance, is given once.

    @param filename_template: with C{*}, C{?} and C{[...]}, for names; a directory may stand before.
    @raise InvalidSetting: if there is no such directory.
    """
    return [seen.path for seen in find_matching(filename_template, directory)]


def find_matching(filename_template: str, directory: str) -> list[Seen]:
    """L{find_archives}, with what is known of each."""
    inside, pattern = os.path.split(filename_template)
    return find_seen(pattern, os.path.join(directory, inside) if inside else directory)


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
        # A listing made while a file is renamed may have neither of its names.
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
            # Its reader raises the error.
            yield Seen(path, None, (False, False, 0), (-1, hash(path)))


def each_once(found: Iterable[Seen]) -> list[Seen]:
    """Of several files of one archive only the best to read: a whole one, not compressed."""
    best: dict[tuple[int, ...], Seen] = {}
    for seen in found:
        key = seen.key or seen.file
        if key not in best or seen.rank > best[key].rank:
            best[key] = seen
    kept = list(best.values())
    # Without a header, a file is a copy of another if its name is the other's with a suffix, and it has the same bytes, or
    # the first of them if it is being written.
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
    The path of an archive that is not where it was.

    @param directories: where to look for it, after its own and the one that its marker names.
    @return: C{None} if it is not found, or not certain.
    """
    for _ in range(_TRIES):
        # A callback may move a file again before it is opened: then it is looked for once more.
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
        # Most callbacks keep the beginning of the name.
        for name in sorted(names, key=lambda name: not name.startswith(stem)):
            if not is_ours_beside(name):
                yield os.path.join(directory, name)


def _marked(path: str) -> Iterator[str]:
    """The path that the marker names: where callbacks have brought the file."""
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
    # It may have grown meanwhile.
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
