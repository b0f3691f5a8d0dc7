"""
The index made anew from the tree.

Long walks are generators: they yield the number of keys so far every few keys, so that who runs them can do other
things between, in the reactor's process, or run them through, at start.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import TypeVar
from urllib.parse import quote

from twisted.logger import Logger

from storehouse.errors import DamagedEntry
from storehouse.storage.namespace.building import IndexBuilder
from storehouse.storage.namespace.entries import decode_row, encode_bucket, encode_entry
from storehouse.storage.namespace.index import Row, older_of
from storehouse.storage.namespace.interfaces import Bucket
from storehouse.storage.namespace.names import is_bucket
from storehouse.storage.namespace.tree import Place, Tree

__all__ = ["KnownRows", "bucket_of", "in_slices", "index_bucket", "mark_of", "rebuild", "row_of"]

T = TypeVar("T")

_log = Logger()

#: Seconds that a slice of a walk takes: a thread that is busy in Python stalls the reactor as long.
_SLICE = 0.002

#: Seconds between two slices, for the reactor.
_REST = 0.0005

#: Slices that a thread does before it lets others have its place: under load it may be long until the next turn.
_SLICES = 10

_STRETCH = 500


async def in_slices(
    run: Callable[..., Awaitable[tuple[list[T], bool]]], walk: Iterator[T], each: Callable[[T], object]
) -> None:
    """
    Run a walk in the disk threads, a little at a time, and hand on what it yields.

    @param run: runs a function there, as L{IDisk.run<storehouse.core.disk.IDisk.run>}.
    """

    def step() -> tuple[list[T], bool]:
        found: list[T] = []
        for turn in range(_SLICES):
            if turn:
                time.sleep(_REST)
            until = time.monotonic() + _SLICE
            for item in walk:
                found.append(item)
                if time.monotonic() > until:
                    break
            else:
                return found, True
        return found, False

    done = False
    while not done:
        found, done = await run(step)
        for item in found:
            each(item)


def row_of(tree: Tree, place: Place) -> Row | None:
    """
    The row that the index must have of a key, read from the tree; C{None} for none.

    @raise DamagedEntry: if the default version cannot be had: see L{mark_of}.
    """
    entry = tree.current(place)
    if entry is None:
        return None
    return entry.size, encode_entry(entry, place.key), older_of(id for id in tree.ids(place) if id != entry.id)


def mark_of(tree: Tree, place: Place, error: DamagedEntry) -> Row:
    """The row of a key whose default version cannot be had, and nobody knows any more what it was."""
    _log.error("damaged: {error}", error=error)
    ids: list[str] = []
    default = None
    try:
        ids = tree.ids(place)
        default = tree.default_of(place)
    except DamagedEntry:
        pass  # as just told
    return 0, b"", older_of(id for id in ids if id != default)


class KnownRows:
    """
    The rows of an index that is to be made anew, for keys whose default version cannot be had from the tree any more.

    @param directory: of the index. It must be closed, and fit the tree.
    """

    def __init__(self, directory: str) -> None:
        # Immutable: nothing beside the file is made, or removed when it is closed.
        path = quote(os.path.abspath(os.path.join(directory, "keys.db")))
        self._connection = sqlite3.connect(
            f"file:{path}?mode=ro&immutable=1", uri=True, isolation_level=None, check_same_thread=False
        )

    def row(self, bucket: str, data: bytes) -> Row | None:
        """The row of a key; C{None} if there is none, or it is damaged."""
        query = (
            "SELECT size, text, older FROM keys WHERE key = ? AND bucket = (SELECT number FROM buckets WHERE name = ?)"
        )
        try:
            found = self._connection.execute(query, (data, bucket)).fetchone()
            return None if found is None or decode_row(found[1])[0].encode() != data else found
        except (sqlite3.Error, ValueError, TypeError):
            return None

    def close(self) -> None:
        """Close it."""
        self._connection.close()


def bucket_of(tree: Tree, name: str, known: Bucket | None = None) -> Bucket:
    """A bucket of the tree; as it was known, or without metadata, if its file is damaged."""
    try:
        return tree.read_bucket(name)
    except DamagedEntry as error:
        _log.error("{error}", error=error)
        return known or Bucket(name, 0)


def index_bucket(
    tree: Tree,
    name: str,
    rows: Callable[[list[tuple[bytes, Row]]], object],
    before: int = 0,
    strange: Callable[[str], object] = lambda path: None,
    known: KnownRows | None = None,
) -> Iterator[int]:
    """
    Hand the rows of all keys of a bucket on, in their order and in stretches.

    @param strange: called with each path below C{objects} that is no key's.
    @param known: what was known of keys whose default version cannot be had.
    """
    keys: list[bytes] = []
    for path, key in tree.walk(name):
        if key is None:
            strange(path)
        else:
            keys.append(key.encode())
    keys.sort()
    count = before
    stretch: list[tuple[bytes, Row]] = []
    for data in keys:
        place = tree.place(name, data.decode(), data)
        try:
            row = row_of(tree, place)
        except DamagedEntry as error:
            row = (known and known.row(name, data)) or mark_of(tree, place, error)
        if row is not None:
            stretch.append((data, row))
            count += 1
        if len(stretch) == _STRETCH:
            rows(stretch)
            stretch = []
        yield count
    rows(stretch)


def rebuild(tree: Tree, directory: str, stamp: str, generation: int, known: KnownRows | None = None) -> Iterator[int]:
    """
    Make the index in C{directory} anew; the one that is there must be closed.  Damaged keys stay as they were C{known},
    or are marked as such; what is no key, nor a bucket, is counted.  C{known} is closed.
    """
    builder = IndexBuilder(directory, stamp, generation)
    strange: list[str] = []
    count = unknown = 0
    for name in tree.bucket_names():
        if not is_bucket(name):
            unknown += 1
            continue
        number = builder.bucket(name, encode_bucket(bucket_of(tree, name)))
        before = count
        for count in index_bucket(tree, name, partial(builder.rows, number), before, strange.append, known):
            yield count
        if strange:
            first = os.path.join(tree.buckets, name, "objects", strange[0])
            _log.error(
                "{count} names in the bucket {bucket} are no keys, as {first}",
                count=len(strange),
                bucket=name,
                first=first,
            )
            unknown += len(strange)
            strange.clear()
    if known is not None:
        known.close()
    builder.finish(unknown)
    yield count
