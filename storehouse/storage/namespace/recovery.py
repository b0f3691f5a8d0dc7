"""From the files of a namespace to a tree, an index and a journal that agree: what a start does before anything else."""

from __future__ import annotations

import errno
import json
import os
import secrets
import sqlite3
from functools import partial

import attrs
from twisted.logger import Logger

from storehouse.core.files import Files, read_regular
from storehouse.core.filesystem import check_names, check_together
from storehouse.core.opening import check_directories, has_flipped_bit, is_json, shown
from storehouse.core.stamps import STAMPS
from storehouse.errors import DamagedEntry, StartFailed, StorageFailed, StoreUnusable
from storehouse.storage.namespace.index import (
    DAMAGED,
    SAME,
    Change,
    Index,
    IndexUnusable,
    KeyRows,
    VersionRow,
    bucket_of,
    index_bucket,
    is_full,
    mark_of,
    older_row,
    rebuild,
    row_of,
    rows_of,
    version_row,
    with_versioning,
)
from storehouse.storage.namespace.interfaces import Bucket, Entry
from storehouse.storage.namespace.journal import LEAVING, NEW, Found, Intent, read_journal
from storehouse.storage.namespace.tree import KeyPath, Tree
from storehouse.storage.namespace.values import decode_bucket, decode_row, encode_bucket, is_bucket

__all__ = [
    "Recovered",
    "prepare",
    "recover",
]

_log = Logger()

_FORMAT = {"format": "namespace", "version": 1}

#: Keys between two lines in the log about a rebuild.
_PROGRESS = 100_000


@attrs.frozen
class Recovered:
    """
    What a start found.

    @ivar stamp: of the new journal.
    @ivar generation: of the new journal.
    @ivar buckets: by name, with their numbers in the index.
    @ivar open: what the new journal must name.
    @ivar repairs: rows of the index that were wrong, and are repaired.
    """

    index: Index
    stamp: str
    generation: int
    buckets: dict[str, tuple[int, Bucket]]
    open: list[Intent]
    repairs: int


def prepare(tree: Tree, files: Files) -> None:
    """
    Make the directories that are missing, and remove unfinished files.

    @raise StartFailed: if this is another store, or one of another version.
    """
    path = os.path.join(tree.directory, "format.json")
    try:
        raw = read_regular(path, 1 << 20)
        if not is_json(raw):
            raise StoreUnusable(f"{path} is damaged: it {shown(raw)}")
        found = json.loads(raw)
    except FileNotFoundError:
        found = None
    except OSError as error:
        # Something else than a file is damage; a file without permission is not.
        kind = StoreUnusable if error.errno in (errno.EINVAL, errno.EISDIR, errno.EIO) else StartFailed
        raise kind(f"{path} cannot be read: {error.strerror or error}") from error
    if found not in (None, _FORMAT):
        # Another store keeps the whole service from starting; a damaged file only what needs it.
        kind = (
            StoreUnusable if has_flipped_bit(raw, json.dumps(_FORMAT, separators=(",", ":")).encode()) else StartFailed
        )
        raise kind(f"{tree.directory} holds {found!r}, not a namespace of version 1")
    if found is None and os.path.isdir(tree.directory):
        others = set(os.listdir(tree.directory)) - {"buckets", "tmp", "journal", "index", "recovered", *STAMPS}
        if others:
            raise StartFailed(f"{tree.directory} is not a namespace: {min(others)} is in it")
    check_directories(tree.buckets, tree.tmp)
    tree.clear_way()
    for directory in (tree.directory, tree.buckets, tree.tmp, os.path.join(tree.directory, "index")):
        files.make_directory(directory)
    check_together(tree.tmp, tree.buckets)
    check_names(tree.tmp)
    tree.clear_tmp()
    if found is None:
        new = os.path.join(tree.tmp, "format.json")
        fd = files.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        try:
            files.write_at(fd, (json.dumps(_FORMAT, separators=(",", ":")).encode(),), 0)
            files.sync_data(fd)
        finally:
            files.close(fd)
        # Its bytes are synced: a format file that is torn would keep the namespace shut.
        files.rename(new, path)
        files.sync_directory(tree.directory)


def recover(tree: Tree) -> Recovered:
    """
    Make the index agree with the tree; rebuild it if it cannot be used.

    @raise OSError: if the tree cannot be read, or the index not be written.
    """
    directory = os.path.join(tree.directory, "index")
    found: Found | None
    try:
        found = read_journal(os.path.join(tree.directory, "journal"))
    except FileNotFoundError:
        found = None
    # Unfinished changes are finished before any row is compared.
    remaining = [] if found is None or found.clean else _unsettled(tree, found.intents)
    index = Index(directory)
    try:
        _check_usable(index, directory, found)
        buckets, repairs = _repair(tree, index, found)
        generation = found.generation if found else 0
        try:
            index.sync(generation + 1)
        except sqlite3.Error as error:
            # A full disk must not keep the namespace shut: keys can still be read, and removed to make space.
            if not is_full(error):
                raise
    except (IndexUnusable, sqlite3.Error) as error:
        index.close()
        if tree.bucket_names():
            _log.warn("the index in {directory} is rebuilt: {error}", directory=directory, error=error)
        stamp = secrets.token_hex(8)
        due = _PROGRESS
        count = 0
        for count in rebuild(tree, directory, stamp, found.generation if found else 0):
            if count >= due:
                _log.info("{count} keys indexed", count=count)
                due += _PROGRESS
        if count:
            _log.info("the index is rebuilt, with {count} keys", count=count)
        if os.path.exists(os.path.join(directory, DAMAGED)):
            os.unlink(os.path.join(directory, DAMAGED))
        index = Index(directory)
        try:
            index.open()
        except IndexUnusable as unusable:
            raise StartFailed(f"the index in {directory} cannot be created: {unusable}") from error
        buckets, repairs = _repair(tree, index, None)
        generation = found.generation if found else 0
        index.sync(generation + 1)
    return Recovered(index, index.stamp, generation + 1, buckets, remaining, repairs)


def _check_usable(index: Index, directory: str, found: Found | None) -> None:
    if found is None:
        raise IndexUnusable("there is no journal")
    if found.damage is not None:
        raise IndexUnusable(f"the journal is damaged: {found.damage}")
    if os.path.exists(os.path.join(directory, DAMAGED)):
        raise IndexUnusable("it was marked as damaged")
    index.open()
    if index.stamp != found.stamp or index.generation not in (found.generation, found.generation + 1):
        raise IndexUnusable("the journal belongs to another one")


def _repair(tree: Tree, index: Index, found: Found | None) -> tuple[dict[str, tuple[int, Bucket]], int]:
    """Compare the buckets, and all keys that the journal names."""
    after_crash = found is not None and not found.clean
    # Only after a clean stop the times of directories show whether a bucket was changed since (_is_changed).
    index.unsure = after_crash
    indexed = {total.name: total for total in index.totals()}
    buckets: dict[str, tuple[int, Bucket]] = {}
    repairs = 0
    for name in tree.bucket_names():
        if not is_bucket(name):
            _log.error("{path} is not a bucket", path=os.path.join(tree.buckets, name))
            continue
        total = indexed.pop(name, None)
        if total is None:
            bucket = bucket_of(tree, name)
            number = index.add_bucket(name, encode_bucket(bucket))
            # Perhaps it is a copy of another one.
            index.share()
            for _ in index_bucket(tree, name, partial(_apply, index, number)):
                pass
            repairs += 1
            buckets[name] = (number, bucket)
            continue
        try:
            known: Bucket | None = decode_bucket(total.text, name)
        except ValueError:
            known = None
        if after_crash or known is None:
            bucket = bucket_of(tree, name, known)
        else:
            bucket = with_versioning(tree, known)
        if known is None or encode_bucket(bucket) != encode_bucket(known):
            index.change_bucket(total.number, encode_bucket(bucket))
            repairs += 1
        buckets[name] = (total.number, bucket)
        if found is not None and found.clean and _is_changed(tree, name):
            repairs += _adopt(tree, index, total.number, name)
    for total in indexed.values():
        index.drop_bucket(total.number)
        repairs += 1
    if after_crash and found is not None:
        named: dict[tuple[str, str], set[str]] = {}
        for name, key, ids, _ in found.intents:
            named.setdefault((name, key), set()).update(ids)
        for (name, key), those in named.items():
            if key and name in buckets:
                repairs += _repair_row(tree, index, buckets[name][0], tree.key_path(name, key, key.encode()), those)
    if repairs:
        _log.warn("{repairs} rows of the index were out of date and are repaired", repairs=repairs)
    return buckets, repairs


def _is_changed(tree: Tree, bucket: str) -> bool:
    """Whether keys were added to a bucket, or removed, since the clean stop, whose last write was the journal. Times are coarse."""
    try:
        changed = os.stat(os.path.join(tree.buckets, bucket, "objects")).st_mtime_ns
        return changed >= os.stat(os.path.join(tree.directory, "journal")).st_mtime_ns
    except OSError:
        return False


def _adopt(tree: Tree, index: Index, number: int, bucket: str) -> int:
    """Add rows for keys that another program put there. @return: how many."""
    count = 0
    for _, key in tree.walk(bucket):
        if key is None or index.has(bucket, key.encode()):
            continue
        is_there = False
        for rows in rows_of(tree, tree.key_path(bucket, key, key.encode())):
            if not is_there:
                index.share()  # perhaps it is a copy of another one
            is_there = True
            _apply(index, number, [rows])
        count += is_there
    return count


def _apply(index: Index, number: int, rows: list[KeyRows]) -> None:
    # Rows of one key that come apart are of one commit each: one row of a key is written once in each.
    index.apply([Change(number, key, SAME if row is None else row, versions) for key, row, versions in rows])


def _repair_row(tree: Tree, index: Index, number: int, key_path: KeyPath, named: set[str]) -> bool:
    """
    Make the rows of a key agree with the tree, after a crash: those of the current version, and of the IDs that the journal
    names. Of others nothing was changed: if their files are lost, the rows keep them for a check.
    """
    data = key_path.key.encode()
    there = index.row(number, data)
    marker = index.marker(number, data)
    current = None
    try:
        current = tree.current(key_path)
        row = row_of(key_path, current)
        default = None if current is None else current.id
    except DamagedEntry as error:
        known = there[1] if there is not None else marker.text if marker is not None else b""
        default = tree.readable_default(key_path)
        entry = _entry_of(key_path, known)
        if entry is None or entry.id != default:
            # What it has is not the default whose file is damaged, but one that was being replaced at the crash.
            row = mark_of(error)
        else:
            current, row = entry, row_of(key_path, entry)
    clear = row is None and current is None
    put: list[VersionRow] = []
    drop: list[bytes] = []
    if current is not None and current.marker:
        put.append(version_row(current, key_path.key, True))
    elif default is not None:
        drop.append(default.encode())
    if marker is not None and marker.id.decode() != default:
        named = {*named, marker.id.decode()}
    for id in sorted(named):
        if id == default or clear:
            continue
        older = older_row(tree, key_path, id)
        if older is None:
            drop.append(id.encode())
        elif older.text or index.version(number, data, id) is None:
            put.append(older)
    put = [each for each in put if index.version(number, data, each.id.decode()) != each]
    drop = [each for each in drop if index.version(number, data, each.decode()) is not None]
    if clear:
        is_right = there is None and not index.versions(number, data)
    else:
        is_right = there == row and not put and not drop
    if not is_right:
        index.apply([Change(number, data, row, put, drop, clear)])
    return not is_right


def _entry_of(key_path: KeyPath, text: bytes) -> Entry | None:
    try:
        key, entry = decode_row(text)
    except ValueError:
        return None
    return entry if key == key_path.key else None


def _unsettled(tree: Tree, intents: list[Intent]) -> list[Intent]:
    """Finish unfinished changes. @return: the IDs of the journal that are no versions of their keys then."""
    said: dict[tuple[str, str], dict[str, str]] = {}
    for bucket, key, ids, how in intents:
        if key:
            said.setdefault((bucket, key), {}).update(dict.fromkeys(ids, how))
    remaining: list[Intent] = []
    for (bucket, key), leftovers in said.items():
        key_path = tree.key_path(bucket, key, key.encode())
        try:
            tree.finish_move(key_path, leftovers)
            tree.drop_rest(key_path, leftovers)
            tree.finish_removal(key_path, leftovers)
            named = [id for id in leftovers if tree.has(key_path, id)]
        except (DamagedEntry, StorageFailed, OSError) as error:
            # The others are recovered nevertheless; no bytes of this one are looked for until it can be read.
            _log.error("{key} cannot be recovered: {error}", key=f"{bucket}/{key}", error=error)
            named = list(leftovers)
        # Those that were to be published keep that mark: the object store may complete them.
        remaining += [
            (bucket, key, [id], NEW if how == NEW else LEAVING) for id, how in leftovers.items() if id not in named
        ]
    return remaining
