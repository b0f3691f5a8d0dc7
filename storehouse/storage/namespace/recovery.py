"""
From the files of a namespace to a tree, an index and a journal that agree: what a start does before anything else, and the
index made anew.

Walks through all keys are generators: they yield the number of keys so far, so that they can be run in slices beside other
work (L{in_slices<storehouse.storage.namespace.concurrency.in_slices>}), or through, at start.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import sqlite3
from collections.abc import Callable, Iterator
from functools import partial
from urllib.parse import quote

import attrs
from twisted.logger import Logger

from storehouse.core.files import Files, read_regular
from storehouse.core.filesystem import check_names, check_together
from storehouse.core.opening import check_directories, has_flipped_bit, is_json, shown
from storehouse.core.pairing import STAMPS
from storehouse.errors import DamagedEntry, StartFailed, StorageFailed, StoreUnusable
from storehouse.storage.namespace.entries import decode_bucket, decode_row, encode_bucket, encode_entry
from storehouse.storage.namespace.index import Index, IndexBuilder, IndexUnusable, Row, ids_of, is_full, older_of
from storehouse.storage.namespace.interfaces import Bucket
from storehouse.storage.namespace.journal import LEAVING, NEW, Found, Intent, read_journal
from storehouse.storage.namespace.names import is_bucket
from storehouse.storage.namespace.tree import KeyPath, Tree

__all__ = [
    "DAMAGED",
    "KnownRows",
    "Recovered",
    "bucket_of",
    "index_bucket",
    "mark_of",
    "prepare",
    "rebuild",
    "recover",
    "row_of",
]

_log = Logger()

#: A file in the index's directory that says that it is not to be trusted.
DAMAGED = "damaged"

_FORMAT = {"format": "namespace", "version": 1}

#: Keys between two lines in the log about a rebuild.
_PROGRESS = 100_000


@attrs.frozen
class Recovered:
    """
    What a start found and made good.

    @ivar stamp: for the journal that begins.
    @ivar generation: of the journal that begins.
    @ivar buckets: by name, with their numbers in the index.
    @ivar open: what the journal that begins must name.
    @ivar repairs: rows of the index that were wrong.
    """

    index: Index
    stamp: str
    generation: int
    buckets: dict[str, tuple[int, Bucket]]
    open: list[Intent]
    repairs: int


def prepare(tree: Tree, files: Files) -> None:
    """
    Make the directories that are not there, and remove what was half-way.

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
        # What is no file is damage; what may not be read is not.
        kind = StoreUnusable if error.errno in (errno.EINVAL, errno.EISDIR, errno.EIO) else StartFailed
        raise kind(f"{path} cannot be read: {error.strerror or error}") from error
    if found not in (None, _FORMAT):
        # Another store keeps everything shut; a damaged one only what needs it.
        kind = (
            StoreUnusable if has_flipped_bit(raw, json.dumps(_FORMAT, separators=(",", ":")).encode()) else StartFailed
        )
        raise kind(f"{tree.directory} holds {found!r}, not a namespace of version 1")
    if found is None and os.path.isdir(tree.directory):
        others = set(os.listdir(tree.directory)) - {"buckets", "tmp", "journal", "index", "recovered", *STAMPS}
        if others:
            raise StartFailed(f"{tree.directory} is no namespace: {min(others)} is in it")
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
        files.rename(new, path)
        files.sync_directory(tree.directory)


def recover(tree: Tree) -> Recovered:
    """
    Bring the index into agreement with the tree; make it anew if it cannot be used.

    @raise OSError: if the tree cannot be read, or the index not be written.
    """
    directory = os.path.join(tree.directory, "index")
    found: Found | None
    try:
        found = read_journal(os.path.join(tree.directory, "journal"))
    except FileNotFoundError:
        found = None
    # What a crash left half-way is finished before any row is compared.
    remaining = [] if found is None or found.clean else _unsettled(tree, found.intents)
    index = Index(directory)
    try:
        _check_usable(index, directory, found)
        buckets, repairs = _repair(tree, index, found)
        generation = found.generation if found else 0
        try:
            index.sync(generation + 1)
        except sqlite3.Error as error:
            if not is_full(error):
                raise
    except (IndexUnusable, sqlite3.Error) as error:
        index.close()
        if tree.bucket_names():
            _log.warn("the index in {directory} is made anew: {error}", directory=directory, error=error)
        stamp = secrets.token_hex(8)
        told = _PROGRESS
        count = 0
        for count in rebuild(tree, directory, stamp, found.generation if found else 0):
            if count >= told:
                _log.info("{count} keys indexed", count=count)
                told += _PROGRESS
        if count:
            _log.info("the index is made anew, with {count} keys", count=count)
        if os.path.exists(os.path.join(directory, DAMAGED)):
            os.unlink(os.path.join(directory, DAMAGED))
        index = Index(directory)
        try:
            index.open()
        except IndexUnusable as unusable:
            raise StartFailed(f"the index in {directory} cannot be made: {unusable}") from error
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
        raise IndexUnusable("it was found damaged")
    index.open()
    if index.stamp != found.stamp or index.generation not in (found.generation, found.generation + 1):
        raise IndexUnusable("it is not the one that the journal belongs to")


def _repair(tree: Tree, index: Index, found: Found | None) -> tuple[dict[str, tuple[int, Bucket]], int]:
    """Compare the buckets, and all keys that the journal names."""
    after_crash = found is not None and not found.clean
    # Only after a clean stop it can be seen whether a bucket was changed since.
    index.unsure = after_crash
    indexed = {total.name: total for total in index.totals()}
    buckets: dict[str, tuple[int, Bucket]] = {}
    repairs = 0
    for name in tree.bucket_names():
        if not is_bucket(name):
            _log.error("{path} is no bucket", path=os.path.join(tree.buckets, name))
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
        bucket = bucket_of(tree, name, known) if after_crash or known is None else known
        if bucket != known:
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
                repairs += _repair_row(tree, index, buckets[name][0], tree.place(name, key, key.encode()), those)
    if repairs:
        _log.warn("{repairs} entries of the index were behind and are repaired", repairs=repairs)
    return buckets, repairs


def _is_changed(tree: Tree, bucket: str) -> bool:
    """Whether something came to a bucket, or went, after the journal was ended, which is written last. Times are coarse."""
    try:
        changed = os.stat(os.path.join(tree.buckets, bucket, "objects")).st_mtime_ns
        return changed >= os.stat(os.path.join(tree.directory, "journal")).st_mtime_ns
    except OSError:
        return False


def _adopt(tree: Tree, index: Index, number: int, bucket: str) -> int:
    """Give keys that somebody put there rows. @return: how many."""
    count = 0
    for _, key in tree.walk(bucket):
        if key is None or index.row(number, key.encode()) is not None:
            continue
        place = tree.place(bucket, key, key.encode())
        try:
            row = row_of(tree, place)
        except DamagedEntry as error:
            row = mark_of(tree, place, error)
        if row is not None:
            index.share()  # perhaps it is a copy of another one
            index.apply([(number, key.encode(), row)])
            count += 1
    return count


def _apply(index: Index, number: int, rows: list[tuple[bytes, Row]]) -> None:
    index.apply([(number, key, row) for key, row in rows])


def _repair_row(tree: Tree, index: Index, number: int, place: KeyPath, named: set[str]) -> bool:
    data = place.key.encode()
    there = index.row(number, data)
    try:
        row = row_of(tree, place)
        if row is not None and there is not None:
            # What the journal does not name was not removed: its file is lost, and stays known.
            lost = ids_of(there[2]) - set(tree.ids(place)) - named
            row = (*row[:2], older_of(ids_of(row[2]) | lost))
    except DamagedEntry as error:
        row = mark_of(tree, place, error)
        if there is not None and _is_of_default(tree, place, there):
            row = there
    if there == row:
        return False
    index.apply([(number, data, row)])
    return True


def _is_of_default(tree: Tree, place: KeyPath, row: Row) -> bool:
    """Whether a row says what the file said that is damaged now, and not what a crash kept from being replaced."""
    try:
        key, entry = decode_row(row[1])
        return key == place.key and entry.id == tree.default_of(place)
    except (ValueError, DamagedEntry):
        return False


def _unsettled(tree: Tree, intents: list[Intent]) -> list[Intent]:
    """IDs that their keys name by no version, once what was left half-way is finished."""
    said: dict[tuple[str, str], dict[str, str]] = {}
    for bucket, key, ids, how in intents:
        if key:
            said.setdefault((bucket, key), {}).update(dict.fromkeys(ids, how))
    remaining: list[Intent] = []
    for (bucket, key), leftovers in said.items():
        place = tree.place(bucket, key, key.encode())
        try:
            tree.drop_rest(place, leftovers)
            tree.finish_removal(place, leftovers)
            named = tree.ids(place)
        except (DamagedEntry, StorageFailed, OSError) as error:
            # By itself; nobody looks for bytes of it before it can be read.
            _log.error("{key} cannot be put in order: {error}", key=f"{bucket}/{key}", error=error)
            named = list(leftovers)
        # Which of them were to be published is told to the object store: it may still mean to.
        remaining += [
            (bucket, key, [id], NEW if how == NEW else LEAVING) for id, how in leftovers.items() if id not in named
        ]
    return remaining


_log = Logger()

_STRETCH = 500


def row_of(tree: Tree, place: KeyPath) -> Row | None:
    """
    The row that the index must have of a key, read from the tree; C{None} for none.

    @raise DamagedEntry: if the default version cannot be had: see L{mark_of}.
    """
    entry = tree.current(place)
    if entry is None:
        return None
    return entry.size, encode_entry(entry, place.key), older_of(id for id in tree.ids(place) if id != entry.id)


def mark_of(tree: Tree, place: KeyPath, error: DamagedEntry) -> Row:
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
