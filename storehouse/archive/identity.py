"""
What tells an archive from any other file, whatever names they have: docs/formats/archive.md, Recovery.

A callback that is called again after a crash may find its file gone, and several beside that have names it may have
given it. Only one that is provably the file it had may be given to the callbacks behind it: they may delete it.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Sequence
from typing import Any

import attrs

from storehouse.archive.sources import FileSource, open_source
from storehouse.errors import DamagedArchive

__all__ = ["Identity", "NotedPath", "find_again"]

#: Bytes at the front that C{head} is of.
_HEAD = 4096

#: What is expanded at once.
_PIECE = 1 << 20


@attrs.frozen
class Identity:
    """
    What an archive was like when it was noted.

    @ivar mtime: nanoseconds since 1970 UTC.
    @ivar head: SHA-256 of its first bytes, hex.
    """

    device: int
    inode: int
    size: int
    mtime: int
    head: str

    @classmethod
    def of(cls, path: str) -> Identity | None:
        """That of a file. @return: C{None} if it is not there, is no file, or cannot be read."""
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
    def said(cls, fields: Any) -> Identity | None:
        """From JSON. @return: C{None} if there is none."""
        try:
            device, inode, size, mtime = (int(fields[key]) for key in ("device", "inode", "size", "mtime"))
            return cls(device, inode, size, mtime, str(fields["head"]))
        except (KeyError, TypeError, ValueError):
            return None

    def has(self, path: str) -> bool:
        """Whether the name at which it was noted is still its own: it may have been copied back, or grown since."""
        now = Identity.of(path)
        return now is not None and now.head == self.head and (now.size == self.size or self._is_same_file(now))

    def find(self, paths: Sequence[str]) -> str | None:
        """Which of some files it is, also compressed or on another file system. @return: C{None} if that is not certain."""
        there = [(path, now) for path in paths if (now := Identity.of(path)) is not None]
        for path, now in there:
            if self._is_same_file(now) and (now.size, now.head) == (self.size, self.head):
                return path
        alike = [path for path, now in there if now.mtime == self.mtime and self._is_held_by(path, now)]
        return alike[0] if len(alike) == 1 else None

    def _is_same_file(self, other: Identity) -> bool:
        return (other.device, other.inode) == (self.device, self.inode)

    def _is_held_by(self, path: str, now: Identity) -> bool:
        """Whether a file has its content, as it is or expanded."""
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
    The path of an archive that an earlier process left, as its marker has it: a path like any other for callbacks, and
    for those that look for what they made of it, what to look for.

    @ivar identity: C{None} if the marker says none.
    """

    identity: Identity | None

    def __new__(cls, path: str, identity: Identity | None) -> NotedPath:
        """@param path: where it was when it was noted."""
        self = super().__new__(cls, path)
        self.identity = identity
        return self


def find_again(filename: str, there: Sequence[str]) -> str:
    """
    What a callback made of a file that is gone.

    @param filename: what the callback was given.
    @param there: the files that have names which it may have given it.
    @raise FileNotFoundError: if none of them is provably it. So it is always if no marker told of it.
    """
    if isinstance(filename, NotedPath):
        if filename.identity is not None:
            found = filename.identity.find(there)
        else:
            found = there[0] if len(there) == 1 else None
        if found is not None:
            return found
    beside = f", and whether it is one of {', '.join(there)} is not certain" if there else ""
    raise FileNotFoundError(errno.ENOENT, f"the archive is gone{beside}", filename)


def _head_of(source: Any) -> str:
    return hashlib.sha256(source.pread(0, _HEAD)).hexdigest()


def _has_size(source: Any, size: int) -> bool:
    at = 0
    while at <= size and (piece := source.pread(at, _PIECE)):
        at += len(piece)
    return at == size
