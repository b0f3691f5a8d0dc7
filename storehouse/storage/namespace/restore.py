"""Keys whose files are gone but whose rows are there: they are written again before the index is rebuilt and forgets them."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from storehouse.core.disk import IDisk
from storehouse.core.jobs import Run, finished, in_slices
from storehouse.errors import DamagedEntry, NoSuchBucket, StorehouseError
from storehouse.storage.namespace.index import Upkeep
from storehouse.storage.namespace.interfaces import Bucket, Needed, Problem
from storehouse.storage.namespace.tree import KeyPath, Tree
from storehouse.storage.namespace.values import decode_row

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
    run: Run,
    needed: Callable[[Collection[str]], Deferred[Needed]],
    has_bytes: Callable[[str], Deferred[bool]],
) -> list[Problem]:
    """
    See L{INamespace.restore<storehouse.storage.namespace.interfaces.INamespace.restore>}.

    @param buckets: by name, each with its number; it changes as they do.
    @param begin: holds a key; gives its bucket's number, its UTF-8 and its directory.
    @param finish: releases it.
    @param run: runs a function in a disk thread while no bucket comes or goes.
    """
    lost: list[_Lost] = []
    await in_slices(run, _lost(tree, upkeep, buckets), lambda found: lost.append(found) if found else None)
    if not lost:
        return []
    # An ID that another key names: the key was renamed on disk.
    named = (await finished(needed([id for _, _, id in lost]))).ids
    restored = []
    for bucket, key, id in lost:
        if id in named or not await finished(has_bytes(id)):
            continue
        began = time.monotonic()
        try:
            number, data, key_path = await begin(bucket, key)
        except NoSuchBucket:
            continue  # it was removed since
        try:
            there = await disk.run(_write, tree, upkeep, buckets[bucket][1], number, data, key_path, id)
        except (OSError, sqlite3.Error, StorehouseError) as error:
            _log.error("{key} cannot be written again: {error}", key=f"{bucket}/{key}", error=str(error))
            continue
        finally:
            finish("restore", began, bucket, key)
        if there:
            text = (
                f"{key_path.directory} was missing, and its bytes {id} are there: it was written again from the index"
            )
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
    """A key, if its directory is gone and its row can be read."""
    try:
        key = data.decode()
        if not _is_gone(tree, tree.key_path(bucket, key, data)):
            return None
        named, entry = decode_row(text)
    except ValueError:
        return None
    return (bucket, key, entry.id) if named == key else None


def _is_gone(tree: Tree, key_path: KeyPath) -> bool:
    try:
        if tree.current(key_path) is not None:
            return False
    except DamagedEntry:
        return False
    # Nothing is written through a link.
    path = key_path.directory
    while path != tree.buckets:
        if os.path.islink(path) and os.path.isdir(path):
            return False
        path = os.path.dirname(path)
    return True


def _write(tree: Tree, upkeep: Upkeep, known: Bucket, number: int, data: bytes, key_path: KeyPath, id: str) -> bool:
    """The caller holds the key. @return: whether it is still as it was found, and was written."""
    row = None if upkeep.broken is not None else upkeep.index.row(number, data)
    if row is None or _lost_of(tree, key_path.bucket, data, row[1]) != (key_path.bucket, key_path.key, id):
        return False
    if not os.path.lexists(os.path.dirname(key_path.objects)):
        tree.create_bucket(known)
    tree.publish(key_path, id, row[1], None, False, False)
    # Older versions are lost: the row had no more than their IDs.
    upkeep.apply((number, data, (row[0], row[1], b"")))
    return True
