"""Keys whose files are gone and of which the index still knows, written anew before an index that has them is given up."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from storehouse.core.disk import IDisk
from storehouse.core.jobs import finished
from storehouse.errors import DamagedEntry, NoSuchBucket, StorehouseError
from storehouse.storage.namespace.concurrency import in_slices
from storehouse.storage.namespace.entries import decode_row
from storehouse.storage.namespace.interfaces import Bucket, Needed, Problem
from storehouse.storage.namespace.tree import KeyPath, Tree
from storehouse.storage.namespace.upkeep import Upkeep

__all__ = ["restore"]

_log = Logger()

_STRETCH = 200

# A bucket, a key, and the ID that its row names.
_Lost = tuple[str, str, str]


async def restore(
    tree: Tree,
    upkeep: Upkeep,
    buckets: Mapping[str, tuple[int, Bucket]],
    begin: Callable[[str, str], Awaitable[tuple[int, bytes, KeyPath]]],
    finish: Callable[[str, float, str, str], object],
    disk: IDisk,
    run: Callable[[Callable[[], Any]], Awaitable[Any]],
    needed: Callable[[Collection[str]], Deferred[Needed]],
    has_bytes: Callable[[str], Deferred[bool]],
) -> list[Problem]:
    """
    See L{IChecked.restore<storehouse.storage.namespace.interfaces.IChecked.restore>}.

    @param buckets: those that there are, each with its number, at any time.
    @param begin: waits until nobody else changes a key, and gives its bucket's number, its UTF-8 and where it is.
    @param finish: lets others have the key again.
    @param run: runs a function in a disk thread while no bucket comes or goes.
    """
    lost: list[_Lost] = []
    await in_slices(run, _lost(tree, upkeep, buckets), lambda found: lost.append(found) if found else None)
    if not lost:
        return []
    # What another key names was renamed on disk.
    named = (await finished(needed([id for _, _, id in lost]))).ids
    restored = []
    for bucket, key, id in lost:
        if id in named or not await finished(has_bytes(id)):
            continue
        began = time.monotonic()
        try:
            number, data, place = await begin(bucket, key)
        except NoSuchBucket:
            continue  # it was removed since
        try:
            there = await disk.run(_write, tree, upkeep, buckets[bucket][1], number, data, place, id)
        except (OSError, sqlite3.Error, StorehouseError) as error:
            _log.error("{key} cannot be written anew: {error}", key=f"{bucket}/{key}", error=str(error))
            continue
        finally:
            finish("restore", began, bucket, key)
        if there:
            text = f"{place.path} was not there, and its bytes {id} were: written anew from the index"
            _log.warn("{text}", text=text)
            restored.append(Problem("restored", bucket, key, id, text, True))
    return restored


def _lost(tree: Tree, upkeep: Upkeep, buckets: Mapping[str, tuple[int, Bucket]]) -> Iterator[_Lost | None]:
    for name, (number, _) in sorted(buckets.items()):
        after = b""
        while upkeep.broken is None:
            try:
                rows = upkeep.index.rows(number, after, _STRETCH)
            except sqlite3.Error as error:
                upkeep.break_off(error)
                return
            for data, row in rows:
                yield _lost_of(tree, name, data, row[1])
            if len(rows) < _STRETCH:
                break
            after = rows[-1][0]


def _lost_of(tree: Tree, bucket: str, data: bytes, text: bytes) -> _Lost | None:
    """A key, if nothing of it is there and its row is whole."""
    try:
        key = data.decode()
        if not _is_gone(tree, tree.place(bucket, key, data)):
            return None
        named, entry = decode_row(text)
    except ValueError:
        return None
    return (bucket, key, entry.id) if named == key else None


def _is_gone(tree: Tree, place: KeyPath) -> bool:
    try:
        if tree.current(place) is not None:
            return False
    except DamagedEntry:
        return False
    # Nothing is written where a link leads.
    path = place.path
    while path != tree.buckets:
        if os.path.islink(path) and os.path.isdir(path):
            return False
        path = os.path.dirname(path)
    return True


def _write(tree: Tree, upkeep: Upkeep, known: Bucket, number: int, data: bytes, place: KeyPath, id: str) -> bool:
    """To be called while nobody changes the key. @return: whether it was still as it was found."""
    row = None if upkeep.broken is not None else upkeep.index.row(number, data)
    if row is None or _lost_of(tree, place.bucket, data, row[1]) != (place.bucket, place.key, id):
        return False
    if not os.path.lexists(os.path.dirname(place.objects)):
        tree.create_bucket(known)
    tree.publish(place, id, row[1], None, False, False)
    # Of older versions nothing but their IDs was known.
    upkeep.apply(number, data, (row[0], row[1], b""))
    return True
