"""Keys whose files are gone but whose rows are there: they are written again before the index is rebuilt and forgets them."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence

import attrs
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from storehouse.core.jobs import IDisk, Run, finished, in_slices
from storehouse.errors import DamagedEntry, NoSuchBucket, StorehouseError
from storehouse.storage.namespace.index import SAME, Change, KeyRows, Upkeep, row_of, version_row
from storehouse.storage.namespace.interfaces import OFF, Bucket, Entry, Needed, Problem
from storehouse.storage.namespace.tree import KeyPath, Tree
from storehouse.storage.namespace.values import VERSIONING, decode_row

__all__ = ["restore"]

_log = Logger()

_STRETCH = 200


@attrs.frozen
class _Lost:
    """
    What the rows of a key have that the files have not.

    @ivar versions: entries with their rows, the current one first, if that is lost.
    @ivar is_whole: whether nothing of the key is there any more.
    """

    bucket: str
    key: str
    versions: Sequence[tuple[Entry, bytes]]
    is_whole: bool


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
    named = (await finished(needed([entry.id for each in lost for entry, _ in each.versions]))).ids
    restored = []
    for each in lost:
        there = [
            (entry, text)
            for entry, text in each.versions
            if entry.id not in named and (entry.marker or await finished(has_bytes(entry.id)))
        ]
        if all(entry.marker for entry, _ in there) and not all(entry.marker for entry, _ in each.versions):
            continue  # the objects that the markers hide are lost, or elsewhere
        began = time.monotonic()
        try:
            number, data, key_path = await begin(each.bucket, each.key)
        except NoSuchBucket:
            continue  # it was removed since
        try:
            written = await disk.run(_write, tree, upkeep, buckets[each.bucket][1], number, data, key_path, each, there)
        except (OSError, sqlite3.Error, StorehouseError) as error:
            _log.error("{key} cannot be written again: {error}", key=f"{each.bucket}/{each.key}", error=str(error))
            continue
        finally:
            finish("restore", began, each.bucket, each.key)
        for id in written:
            what = key_path.directory if each.is_whole else f"{key_path.directory}/{id}.json"
            text = f"{what} was missing, and its bytes {id} are there: it was written again from the index"
            _log.warn("{text}", text=text)
            restored.append(Problem("restored", each.bucket, each.key, id, text, True))
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
            for each in rows:
                yield _lost_of(tree, name, each)
            if len(rows) < _STRETCH:
                break
            after = rows[-1][0]


def _lost_of(tree: Tree, bucket: str, rows: KeyRows) -> _Lost | None:
    """What a key has lost of which the rows can be read; C{None} if that is nothing."""
    data, row, versions = rows
    try:
        key = data.decode()
    except ValueError:
        return None
    key_path = tree.key_path(bucket, key, data)
    is_whole = _is_gone(tree, key_path)
    if not is_whole and (not versions or not os.path.isdir(key_path.directory)):
        return None
    texts = [] if row is None else [row[1]]
    texts += [each.text for each in sorted(versions, key=lambda each: each.rank)]
    found: list[tuple[Entry, bytes]] = []
    for text in texts if is_whole else texts[row is not None :]:
        try:
            named, entry = decode_row(text)
        except ValueError:
            continue
        if named == key and (is_whole or not tree.has(key_path, entry.id)):
            found.append((entry, text))
    return _Lost(bucket, key, found, is_whole) if found else None


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


def _write(
    tree: Tree,
    upkeep: Upkeep,
    known: Bucket,
    number: int,
    data: bytes,
    key_path: KeyPath,
    lost: _Lost,
    there: Sequence[tuple[Entry, bytes]],
) -> list[str]:
    """
    The caller holds the key.

    @param there: what of it has its bytes.
    @return: the IDs that were written, if the key still is as it was found.
    """
    if upkeep.broken is not None or not there:
        return []
    rows = data, upkeep.index.row(number, data), upkeep.index.versions(number, data)
    if _lost_of(tree, key_path.bucket, rows) != lost:
        return []
    if not os.path.lexists(os.path.dirname(key_path.objects)):
        tree.create_bucket(known)
        if known.versioning != OFF:
            tree.change_config(known.name, VERSIONING, known.versioning.encode())
    rest = list(there)
    if lost.is_whole:
        entry, text = rest.pop(0)
        tree.publish(key_path, entry.id, text, None, None, False)
        current = [version_row(entry, key_path.key, True)] if entry.marker else []
        upkeep.apply(Change(number, data, row_of(key_path, entry), current, clear=True))
    for entry, text in rest:
        tree.revise(key_path, entry.id, text)
        upkeep.apply(Change(number, data, SAME, [version_row(entry, key_path.key)]))
    return [entry.id for entry, _ in there]
