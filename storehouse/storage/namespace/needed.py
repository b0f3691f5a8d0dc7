"""
Which IDs anything in a namespace names, damaged or not: the question before bytes without a key are removed.

Only names of files are looked at, not what is in them, except for a C{default.json} that is no link. Anything that is not
understood is a doubt: it may need any ID, so while there is a doubt no bytes may be removed.
"""

from __future__ import annotations

import errno
import os
import re
import sqlite3
from collections.abc import Awaitable, Callable, Collection, Iterator
from typing import Any

from storehouse.core.files import read_regular
from storehouse.core.jobs import Run, in_slices
from storehouse.errors import Damaged, InvalidName, NoSuchBucket
from storehouse.storage.namespace.index import Upkeep
from storehouse.storage.namespace.interfaces import Needed
from storehouse.storage.namespace.tree import DEFAULT, TOP, Tree
from storehouse.storage.namespace.values import check_bucket, encode_key, id_of_file, kind_of_file

__all__ = ["find_needed", "needed"]

# Bytes of a default.json that is no link: a text, or another program's copy of the version.
_MOST = 1 << 20

_digits = re.compile("[0-9a-fA-F]{2,128}")


async def needed(
    upkeep: Upkeep,
    tree: Tree,
    ids: Collection[str],
    run: Run,
    look_closer: Callable[[str, str], Awaitable[object]],
    progress: Callable[[int], object],
) -> Needed:
    """
    See L{INamespace.needed<storehouse.storage.namespace.interfaces.INamespace.needed>}. The first time after a
    crash, keys without a row are found on the way.

    @param look_closer: called with each such key: it repairs the row, unless the key is just being stored.
    """
    index = upkeep.index
    if not index.unsure or upkeep.broken is not None:
        return await find_needed(tree, ids, run, progress)
    missing: list[tuple[str, str]] = []

    def meet(bucket: str, key: str) -> None:
        try:
            if upkeep.index is index and not index.has(bucket, key.encode()):
                missing.append((bucket, key))
        except sqlite3.Error as error:
            upkeep.break_off(error)

    found = await find_needed(tree, ids, run, progress, meet)
    for bucket, key in missing:
        try:
            await look_closer(bucket, key)
        except (Damaged, NoSuchBucket):
            pass
    index.unsure = False
    return found


async def find_needed(
    tree: Tree,
    ids: Collection[str],
    run: Run,
    progress: Callable[[int], object],
    meet: Callable[[str, str], object] = lambda bucket, key: None,
) -> Needed:
    """
    See L{INamespace.needed<storehouse.storage.namespace.interfaces.INamespace.needed>}.

    @param run: runs a function in a disk thread.
    @param meet: called there with each key.
    """
    search = _Search(tree, frozenset(ids), meet)

    async def guarded(step: Callable[[], Any]) -> Any:
        try:
            return await run(step)
        except OSError as error:
            search.doubt(f"{error.filename or tree.directory} cannot be read: {error.strerror or error}")
            return [], True

    await in_slices(guarded, search.everything(), progress)
    return Needed(frozenset(search.found), search.doubts[0] if search.doubts else "")


class _Search:
    def __init__(self, tree: Tree, wanted: frozenset[str], meet: Callable[[str, str], object]) -> None:
        self._meet = meet
        self._tree = tree
        self._wanted = wanted
        self._count = 0
        self.found: set[str] = set()
        self.doubts: list[str] = []

    def doubt(self, text: str) -> None:
        """Note something that is not understood. Only the first is reported."""
        if not self.doubts:
            self.doubts.append(text)

    def _names(self, text: str) -> None:
        """All IDs that a text may mean are named."""
        self.found |= self._wanted.intersection(map(str.lower, _digits.findall(text)))

    def _unknown(self, path: str) -> None:
        self.doubt(f"{path} is not part of the namespace")
        self._names(os.path.basename(path))
        try:
            self._names(os.readlink(path))
        except OSError:
            pass

    def everything(self) -> Iterator[int]:
        """Look at everything; yields the number of keys so far, after each."""
        tree = self._tree
        for name in sorted(set(os.listdir(tree.directory)) - TOP):
            self._unknown(os.path.join(tree.directory, name))
        buckets = sorted(os.listdir(tree.buckets))
        if not buckets:
            self.doubt(f"{tree.buckets} is empty")
        for name in buckets:
            yield from self._bucket(name)

    def _bucket(self, name: str) -> Iterator[int]:
        path = os.path.join(self._tree.buckets, name)
        try:
            check_bucket(name)
            inside = set(os.listdir(path))
        except (InvalidName, NotADirectoryError):
            self._unknown(path)
            yield self._count
            return
        except FileNotFoundError:
            return  # it was removed since
        if os.path.islink(path) or "objects" not in inside:
            self.doubt(f"{path} is not a bucket, or is incomplete")
        for other in sorted(inside - {"bucket.json", "objects"}):
            if kind_of_file(other) is None:
                self._unknown(os.path.join(path, other))
        for relative, key in self._tree.walk(name):
            at = os.path.join(path, "objects", relative)
            if key is None or encode_key(key.encode()) != relative:
                self._unknown(at)
            else:
                self._key(at)
                self._meet(name, key)
            self._count += 1
            yield self._count

    def _key(self, path: str) -> None:
        try:
            names = os.listdir(path)
        except FileNotFoundError:
            return  # it was removed since
        there = set()
        for name in names:
            id = id_of_file(name)
            if id is not None:
                there.add(id)
            elif name != DEFAULT:
                self._unknown(os.path.join(path, name))
        self.found |= self._wanted & there
        default = os.path.join(path, DEFAULT)
        try:
            target = os.readlink(default)
        except FileNotFoundError:
            self.doubt(f"{default} is missing")
            return
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            # No link: another program wrote it, or copied the version.
            try:
                self._names(read_regular(default, _MOST).decode("latin-1"))
            except OSError as reason:
                self.doubt(f"{default} cannot be read: {reason.strerror}")
            if not there:
                self.doubt(f"{default} does not name a version")
            return
        self._names(target)
        id = id_of_file(target)
        # Another version may have become the default since the names were read.
        if id is None or (id not in there and not os.path.lexists(os.path.join(path, f"{id}.json"))):
            self.doubt(f"{default} points to {target[:200]!r}, which is missing")
