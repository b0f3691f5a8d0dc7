"""
The index of a namespace: its keys in order, in SQLite (docs/formats/namespace.md). L{Index} is the file, L{rebuild} makes it
from the tree, and L{Upkeep} keeps both in agreement while the namespace runs.

It is derived: what is damaged here is read again from the tree. Commits are not synced; L{Index.sync} does that.

Walks through all keys are generators: they yield the number of keys so far, so that they can be run in slices beside other
work (L{in_slices<storehouse.core.jobs.in_slices>}), or through, at start.

SQLite releases the interpreter's lock for each step and may wait long for it, so each call here takes few steps, even for
a thousand rows.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar
from urllib.parse import quote

import attrs
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from storehouse.core.jobs import IDisk, KeyedLocks, in_slices
from storehouse.errors import DamagedEntry, InvalidName, NoSpace, Unavailable
from storehouse.storage.namespace.interfaces import ENABLED, Bucket, Entry, Usage
from storehouse.storage.namespace.journal import Journal
from storehouse.storage.namespace.tree import KeyPath, Tree
from storehouse.storage.namespace.values import (
    CURRENT,
    VERSIONING,
    Item,
    VersionItem,
    decode_row,
    encode_bucket,
    encode_entry,
    is_bucket,
    list_items,
    list_names,
    list_versions,
    page_of,
    state_of,
)

__all__ = [
    "DAMAGED",
    "MARKED",
    "SAME",
    "VERSION",
    "Change",
    "Index",
    "IndexBuilder",
    "IndexUnusable",
    "KeyRows",
    "KnownRows",
    "Row",
    "Totals",
    "Upkeep",
    "VersionRow",
    "bucket_of",
    "index_bucket",
    "is_full",
    "make_private",
    "mark_of",
    "older_row",
    "rebuild",
    "row_of",
    "rows_of",
    "version_row",
    "with_versioning",
]


T = TypeVar("T")

_log = Logger()

#: The version in C{meta}. An index of version 1 becomes one when it is opened, unless it knows of older versions.
VERSION = "2"

#: An SQL index of the keys whose current version cannot be read: few or none.
MARKED = "CREATE INDEX IF NOT EXISTS marked ON keys(bucket, key) WHERE length(text) = 0;"

_PUT = (
    "INSERT INTO keys(bucket, key, size, text, older) VALUES (?, ?, ?, ?, x'') "
    "ON CONFLICT(bucket, key) DO UPDATE SET size = excluded.size, text = excluded.text"
)
_DELETE = "DELETE FROM keys WHERE bucket = ? AND key = ?"
_GET = "SELECT text FROM keys WHERE bucket = ? AND key = ?"

_COLUMNS = "id, rank, versioned, marker, size, text"
_INSERT_VERSION = f"INSERT INTO versions(bucket, key, {_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
_PUT_VERSION = (
    f"{_INSERT_VERSION} ON CONFLICT(bucket, key, id) DO UPDATE SET rank = excluded.rank, versioned = excluded.versioned, "
    "marker = excluded.marker, size = excluded.size, text = excluded.text"
)
_DELETE_VERSION = "DELETE FROM versions WHERE bucket = ? AND key = ? AND id = ?"
_DELETE_VERSIONS = "DELETE FROM versions WHERE bucket = ? AND key = ?"
_VERSIONS_OF = f"SELECT {_COLUMNS} FROM versions WHERE bucket = ? AND key = ?"
_GET_MARKER = f"{_VERSIONS_OF} AND rank = {CURRENT}"
_GET_VERSION = f"{_VERSIONS_OF} AND id = ?"
_GET_NULL = f"{_VERSIONS_OF} AND versioned = 0 ORDER BY rank LIMIT 1"
_NEWEST = f"{_VERSIONS_OF} AND rank > {CURRENT} ORDER BY rank, id LIMIT ?"

#: Size and text of the current version; an empty text of one that cannot be read.
Row = tuple[int, bytes]


@attrs.frozen
class VersionRow:
    """
    A version in the table C{versions}: one that is not current, or a delete marker.

    @ivar rank: L{CURRENT} for the marker that is current; those of others are in the order of listings.
    @ivar versioned: 1, or 0 for the null version; so C{marker}.
    @ivar text: its C{<ID>.json}; empty if that cannot be read.
    """

    id: bytes
    rank: int
    versioned: int
    marker: int
    size: int
    text: bytes


def version_row(entry: Entry, key: str, is_current: bool = False) -> VersionRow:
    """The row of a version. @param is_current: whether it is the current one, and so a marker."""
    return VersionRow(
        entry.id.encode(),
        CURRENT if is_current else -entry.rank,
        int(entry.versioned),
        int(entry.marker),
        entry.size,
        encode_entry(entry, key),
    )


#: Of a L{Change}: the row in C{keys} stays.
SAME: Row = (-1, b"")


@attrs.frozen
class Change:
    """
    The rows of a key that change together.

    @ivar number: of the bucket.
    @ivar row: the new one in C{keys}; C{None} for no row, L{SAME} for the one that is there.
    @ivar put: rows that are added to C{versions} or replaced there, by their IDs.
    @ivar drop: the IDs of those that go, unless they are in C{put}.
    @ivar clear: whether all others go.
    """

    number: int
    key: bytes
    row: Row | None
    put: Sequence[VersionRow] = ()
    drop: Collection[bytes] = ()
    clear: bool = False

    def after(self, other: Change) -> Change:
        """Both in one, another one first."""
        put = {} if self.clear else {each.id: each for each in other.put if each.id not in self.drop}
        return Change(
            self.number,
            self.key,
            other.row if self.row is SAME else self.row,
            list({**put, **{each.id: each for each in self.put}}.values()),
            {*other.drop, *self.drop},
            self.clear or other.clear,
        )


#: Errors of SQLite for a full disk.
_FULL = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE})


def is_full(error: sqlite3.Error) -> bool:
    """Whether the disk is full; other errors mean damage."""
    return getattr(error, "sqlite_errorcode", None) in _FULL


class IndexUnusable(Exception):
    """The index is missing, damaged, or of another tree: it must be rebuilt."""


@attrs.frozen
class Totals:
    """
    A bucket of the index.

    @ivar text: its C{bucket.json}.
    @ivar usage: what it has.
    """

    number: int
    name: str
    text: bytes
    usage: Usage


class _Job:
    __slots__ = ("changes", "done", "error")

    def __init__(self, changes: Sequence[Change]) -> None:
        self.changes = changes
        self.done = False
        self.error: sqlite3.Error | None = None


class Index:
    """
    One index. Any thread may call, but for L{get}, which is for one thread.

    All methods may raise C{sqlite3.Error}.

    @ivar unknown: files that were neither keys nor buckets when it was built.
    @ivar shared: whether two keys may name the same ID: they did when it was built, or rows were added for keys found on disk.
    @ivar unsure: whether there may be keys without a row, put there by another program, that nobody has looked for yet.
    """

    def __init__(self, directory: str) -> None:
        self.path = os.path.join(directory, "keys.db")
        self._writer: sqlite3.Connection
        self._getter: sqlite3.Connection
        self._readers: list[sqlite3.Connection] = []
        self._all: list[sqlite3.Connection] = []
        self._lock = threading.Lock()
        self._queue: deque[_Job] = deque()
        self.stamp = ""
        self.generation = 0
        self.unknown = 0
        self.shared = False
        self.unsure = False
        # The numbers of buckets that may have rows in C{versions}: others cost nothing of it.
        self._with_versions: set[int] = set()

    # -- open and close ------------------------------------------------------------------------

    def open(self) -> None:
        """
        Open the file.

        @raise IndexUnusable: if it cannot be used.
        """
        if not os.path.exists(self.path):
            raise IndexUnusable("it is not there")
        try:
            self._writer = self._connect()
            self._getter = self._connect()
            meta = dict(self._writer.execute("SELECT name, value FROM meta").fetchall())
            if meta.get(b"version") == b"1":
                self._migrate()
                meta[b"version"] = VERSION.encode()
            if meta.get(b"version") != VERSION.encode():
                raise IndexUnusable(f"it has version {meta.get(b'version')!r}")
            self.stamp = meta[b"stamp"].decode()
            self.generation = int(meta[b"generation"])
            self.unknown = int(meta.get(b"unknown", b"0"))
            self.shared = meta.get(b"shared", b"0") == b"1"
            for total in self.totals():
                if total.usage.versions or total.usage.markers:
                    self._with_versions.add(total.number)
            # It must be writable, too.
            self._writer.execute("BEGIN IMMEDIATE")
            self._writer.execute("ROLLBACK")
            try:
                self._writer.execute(MARKED)
            except sqlite3.Error as error:
                if not is_full(error):
                    raise
        except (sqlite3.Error, LookupError, ValueError, AttributeError) as error:
            self.close()
            raise IndexUnusable(f"it cannot be read: {error}") from None
        except IndexUnusable:
            self.close()
            raise

    def _migrate(self) -> None:
        """
        Make one of this version of one of version 1, which named older versions by their IDs alone: if it has any, it must be
        rebuilt. That is looked for in all rows, some millions in a second; nothing else takes long.
        """
        writer = self._writer
        if writer.execute("SELECT 1 FROM keys WHERE length(older) > 0 LIMIT 1").fetchone() is not None:
            raise IndexUnusable("it has version 1, and older versions of keys")
        writer.execute("BEGIN IMMEDIATE")
        for column in ("versions", "versions_bytes", "markers"):
            writer.execute(f"ALTER TABLE buckets ADD COLUMN {column} INTEGER NOT NULL DEFAULT 0")
        for statement in (_VERSIONS_TABLE, *_VERSIONS_FINISH):
            writer.execute(statement)
        writer.execute("UPDATE meta SET value = ? WHERE name = 'version'", (VERSION,))
        writer.execute("COMMIT")

    def _connect(self) -> sqlite3.Connection:
        make_private(self.path)
        connection = sqlite3.connect(self.path, timeout=60, isolation_level=None, check_same_thread=False)
        self._all.append(connection)
        connection.text_factory = bytes
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        # The WAL grows until L{sync} has copied it: only sync may wait for the disk.
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.execute("PRAGMA mmap_size = 1073741824")
        connection.execute("PRAGMA cache_size = -8192")
        return connection

    def close(self) -> None:
        """Close all connections."""
        for connection in self._all:
            connection.close()
        self._all.clear()
        self._readers.clear()

    @contextmanager
    def _reader(self) -> Iterator[sqlite3.Connection]:
        try:
            connection = self._readers.pop()
        except IndexError:
            connection = self._connect()
        try:
            yield connection
        finally:
            self._readers.append(connection)

    # -- reading -------------------------------------------------------------------------------

    def get(self, bucket: int, key: bytes) -> bytes | None:
        """
        The text of the current version; C{None} if there is no row. For the reactor's thread: it takes no longer than a job.
        """
        row = self._getter.execute(_GET, (bucket, key)).fetchone()
        if row is None:
            if bucket not in self._with_versions:
                return None
            marker = self._getter.execute(_GET_MARKER, (bucket, key)).fetchone()
            return None if marker is None else bytes(marker[5])
        return bytes(row[0])

    def get_version(self, bucket: int, key: bytes, id: str | None) -> VersionRow | None:
        """
        The row in C{versions} with an ID, or the newest one that is a null version, if C{id} is C{None}. For the reactor's
        thread, as L{get}.
        """
        if bucket not in self._with_versions:
            return None
        query, values = (_GET_NULL, (bucket, key)) if id is None else (_GET_VERSION, (bucket, key, id.encode()))
        row = self._getter.execute(query, values).fetchone()
        return None if row is None else VersionRow(*row)

    def marker(self, bucket: int, key: bytes) -> VersionRow | None:
        """The row of the marker that is the current version of a key. For any thread."""
        return next(iter(self._version_rows(_GET_MARKER, bucket, key)), None)

    def newest(self, bucket: int, key: bytes, limit: int) -> list[VersionRow]:
        """The newest rows of a key in C{versions} that are not the current one. For any thread."""
        return self._version_rows(_NEWEST, bucket, key, limit)

    def version(self, bucket: int, key: bytes, id: str) -> VersionRow | None:
        """The row in C{versions} with an ID. For any thread."""
        return next(iter(self._version_rows(_GET_VERSION, bucket, key, id.encode())), None)

    def versions(self, bucket: int, key: bytes) -> list[VersionRow]:
        """All rows of a key in C{versions}. For any thread."""
        return self._version_rows(_VERSIONS_OF, bucket, key)

    def _version_rows(self, query: str, *values: object) -> list[VersionRow]:
        with self._reader() as connection:
            return [VersionRow(*row) for row in connection.execute(query, values).fetchall()]

    def totals(self) -> list[Totals]:
        """The buckets, in the order of their names, with their counts."""
        with self._reader() as connection:
            rows = connection.execute(
                "SELECT number, name, text, keys, bytes, versions, versions_bytes, markers FROM buckets ORDER BY name"
            ).fetchall()
        return [Totals(number, name.decode(), text, Usage(*usage)) for number, name, text, *usage in rows]

    def marked(self) -> int:
        """How many keys have a default version that cannot be read."""
        with self._reader() as connection:
            ((count,),) = connection.execute("SELECT count(*) FROM keys WHERE length(text) = 0").fetchall()
        return int(count)

    def has(self, bucket: str, key: bytes) -> bool:
        """Whether a key has a row."""
        query = "SELECT 1 FROM {} WHERE key = ? AND bucket = (SELECT number FROM buckets WHERE name = ?)"
        with self._reader() as connection:
            return any(
                connection.execute(query.format(table), (key, bucket)).fetchone() is not None
                for table in ("keys", "versions")
            )

    def select(self, query: str, values: Mapping[str, object]) -> list[tuple[bytes, ...]]:
        """The rows of a query over C{keys}."""
        with self._reader() as connection:
            return connection.execute(query, values).fetchall()

    def rows(self, bucket: int, after: bytes, limit: int) -> list[KeyRows]:
        """All rows of the first keys after one, in order; C{limit} keys, if there are so many."""
        with self._reader() as connection:
            rows = connection.execute(
                "SELECT key, size, text FROM keys WHERE bucket = ? AND key > ? ORDER BY key LIMIT ?",
                (bucket, after, limit),
            ).fetchall()
            found: dict[bytes, KeyRows] = {key: (key, (size, text), []) for key, size, text in rows}
            others = connection.execute(
                "SELECT DISTINCT key FROM versions WHERE bucket = ? AND key > ? ORDER BY key LIMIT ?",
                (bucket, after, limit),
            ).fetchall()
            first = sorted({*found, *(key for (key,) in others)})[:limit]
            found = {key: found.get(key, (key, None, [])) for key in first}
            if others and first:
                more = f"SELECT key, {_COLUMNS} FROM versions WHERE bucket = ? AND key > ? AND key <= ? ORDER BY key, rank, id"
                for key, *row in connection.execute(more, (bucket, after, first[-1])):
                    found[key][2].append(VersionRow(*row))
        return list(found.values())

    def row(self, bucket: int, key: bytes) -> Row | None:
        """The row of a key in C{keys}; C{None} if it has none. For any thread."""
        with self._reader() as connection:
            found: Row | None = connection.execute(
                "SELECT size, text FROM keys WHERE bucket = ? AND key = ?", (bucket, key)
            ).fetchone()
        return found

    def faults(self) -> list[str]:
        """Faults that SQLite finds in the file, and wrong counts."""
        with self._reader() as connection:
            try:
                found = [row[0].decode("utf-8", "replace") for row in connection.execute("PRAGMA integrity_check(20)")]
                faults = [text for text in found if text != "ok"]
                for total in () if faults else self.totals():
                    counts = [
                        connection.execute(query, (total.number,)).fetchone()
                        for query in (
                            "SELECT count(*), coalesce(sum(size), 0) FROM keys WHERE bucket = ?",
                            "SELECT coalesce(sum(1 - marker), 0), coalesce(sum(size), 0), coalesce(sum(marker), 0) "
                            "FROM versions WHERE bucket = ?",
                        )
                    ]
                    counted = Usage(*counts[0], *counts[1])
                    if counted != total.usage:
                        faults.append(f"the counts of {total.name} are {total.usage}, not {counted}")
                for table in ("keys", "versions"):
                    orphans = f"SELECT count(*) FROM {table} WHERE bucket NOT IN (SELECT number FROM buckets)"
                    if not faults and connection.execute(orphans).fetchone()[0]:
                        faults.append("it has keys of no bucket")
                return faults
            except (sqlite3.Error, UnicodeDecodeError) as error:
                return [str(error)]

    # -- writing -------------------------------------------------------------------------------

    def apply(self, changes: Sequence[Change]) -> None:
        """
        Change rows, all or none. Changes of several threads at a time are committed together by one of them.
        """
        job = _Job(changes)
        self._queue.append(job)
        with self._lock:
            if not job.done:
                self._commit([self._queue.popleft() for _ in range(len(self._queue))])
        if job.error is not None:
            raise job.error

    def _commit(self, jobs: list[_Job]) -> None:
        error: sqlite3.Error | None = None
        # Jobs of one commit are of different keys; of one key what goes goes before what is put.
        work: dict[str, list[tuple[Any, ...]]] = {
            each: [] for each in (_DELETE, _PUT, _DELETE_VERSIONS, _DELETE_VERSION, _PUT_VERSION)
        }
        count = 0
        for job in jobs:
            for change in job.changes:
                count += 1
                at = change.number, change.key
                if change.row is None:
                    work[_DELETE].append(at)
                elif change.row is not SAME:
                    work[_PUT].append((*at, *change.row))
                if change.clear and change.number in self._with_versions:
                    work[_DELETE_VERSIONS].append(at)
                if change.drop or change.put:
                    count += 1
                    if change.put:
                        self._with_versions.add(change.number)
                    work[_DELETE_VERSION] += [(*at, id) for id in change.drop]
                    work[_PUT_VERSION] += [
                        (*at, row.id, row.rank, row.versioned, row.marker, row.size, row.text) for row in change.put
                    ]
        writer = self._writer
        try:
            if count == 1 and not work[_DELETE_VERSIONS]:
                for statement, rows in work.items():
                    if rows:
                        writer.execute(statement, rows[0])
            elif count:
                writer.execute("BEGIN IMMEDIATE")
                try:
                    for statement, rows in work.items():
                        if rows:
                            writer.executemany(statement, rows)
                    writer.execute("COMMIT")
                except sqlite3.Error:
                    if writer.in_transaction:
                        writer.execute("ROLLBACK")
                    raise
        except sqlite3.Error as caught:
            error = caught
        for job in jobs:
            job.error = error
            job.done = True

    def add_bucket(self, name: str, text: bytes) -> int:
        """Add a bucket. @return: its number."""
        with self._lock:
            cursor = self._writer.execute("INSERT INTO buckets(name, text) VALUES (?, ?)", (name, text))
            return cursor.lastrowid or 0

    def change_bucket(self, number: int, text: bytes) -> None:
        """Write the C{bucket.json} of a bucket."""
        with self._lock:
            self._writer.execute("UPDATE buckets SET text = ? WHERE number = ?", (text, number))

    def drop_bucket(self, number: int) -> None:
        """Remove a bucket with all its rows."""
        with self._lock:
            self._writer.execute("DELETE FROM keys WHERE bucket = ?", (number,))
            self._writer.execute("DELETE FROM versions WHERE bucket = ?", (number,))
            self._writer.execute("DELETE FROM buckets WHERE number = ?", (number,))

    def share(self) -> None:
        """Note, until the index is rebuilt, that two keys may name the same ID."""
        if self.shared:
            return
        self.shared = True
        with self._lock:
            self._writer.execute("INSERT OR REPLACE INTO meta VALUES ('shared', '1')")

    def sync(self, generation: int) -> None:
        """Bring all commits to disk, and the number of the journal that follows."""
        with self._lock:
            self._writer.execute("UPDATE meta SET value = ? WHERE name = 'generation'", (str(generation),))
        with self._reader() as connection:
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        self.generation = generation


def make_private(path: str) -> None:
    """Make a file that only its owner can read. SQLite gives the files beside it the same mode."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if os.fstat(fd).st_mode & 0o077:
            os.fchmod(fd, 0o600)
    finally:
        os.close(fd)


#: The number of a key's bucket is that of its rows: the key, its row in C{keys}, if it has one, and those in C{versions}.
KeyRows = tuple[bytes, "Row | None", list[VersionRow]]

_VERSIONS_TABLE = """
CREATE TABLE versions(
    bucket INTEGER NOT NULL,
    key BLOB NOT NULL,
    id BLOB NOT NULL,
    rank INTEGER NOT NULL,
    versioned INTEGER NOT NULL,
    marker INTEGER NOT NULL,
    size INTEGER NOT NULL,
    text BLOB NOT NULL
)
"""

_VERSIONS_FINISH = (
    "CREATE UNIQUE INDEX versions_in_order ON versions(bucket, key, rank, id)",
    "CREATE UNIQUE INDEX versions_by_id ON versions(bucket, key, id)",
    "CREATE INDEX null_versions ON versions(bucket, key, rank) WHERE versioned = 0",
    """
CREATE TRIGGER version_added AFTER INSERT ON versions BEGIN
    UPDATE buckets SET versions = versions + 1 - new.marker, versions_bytes = versions_bytes + new.size,
        markers = markers + new.marker WHERE number = new.bucket;
END""",
    """
CREATE TRIGGER version_changed AFTER UPDATE OF size, marker ON versions
WHEN new.size <> old.size OR new.marker <> old.marker BEGIN
    UPDATE buckets SET versions = versions + old.marker - new.marker, versions_bytes = versions_bytes + new.size - old.size,
        markers = markers + new.marker - old.marker WHERE number = new.bucket;
END""",
    """
CREATE TRIGGER version_removed AFTER DELETE ON versions BEGIN
    UPDATE buckets SET versions = versions - 1 + old.marker, versions_bytes = versions_bytes - old.size,
        markers = markers - old.marker WHERE number = old.bucket;
END""",
)

# The column "older" is empty: version 1 had the IDs of older versions there.
_SCHEMA = (
    """
CREATE TABLE meta(name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE buckets(
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT UNIQUE NOT NULL,
    text BLOB NOT NULL,
    keys INTEGER NOT NULL DEFAULT 0,
    bytes INTEGER NOT NULL DEFAULT 0,
    versions INTEGER NOT NULL DEFAULT 0,
    versions_bytes INTEGER NOT NULL DEFAULT 0,
    markers INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE keys(
    bucket INTEGER NOT NULL,
    key BLOB NOT NULL,
    size INTEGER NOT NULL,
    text BLOB NOT NULL,
    older BLOB NOT NULL
);
CREATE TABLE ids(id BLOB NOT NULL);
"""
    + _VERSIONS_TABLE
)

# IDs of two keys, as after a bucket was copied on disk: found by sorting, which SQLite does in bounded memory.
_SHARED = "SELECT 1 FROM ids GROUP BY id HAVING count(*) > 1 LIMIT 1"

# Made after the rows, which is faster. An SQL index holds the keys without the texts, so that it is flat: listings walk it.
_FINISH = (
    """
CREATE UNIQUE INDEX in_order ON keys(bucket, key);
CREATE TRIGGER added AFTER INSERT ON keys BEGIN
    UPDATE buckets SET keys = keys + 1, bytes = bytes + new.size WHERE number = new.bucket;
END;
CREATE TRIGGER changed AFTER UPDATE OF size ON keys WHEN new.size <> old.size BEGIN
    UPDATE buckets SET bytes = bytes + new.size - old.size WHERE number = new.bucket;
END;
CREATE TRIGGER removed AFTER DELETE ON keys BEGIN
    UPDATE buckets SET keys = keys - 1, bytes = bytes - old.size WHERE number = old.bucket;
END;
"""
    + MARKED
    + ";".join(_VERSIONS_FINISH)
)


class IndexBuilder:
    """
    Builds an index file beside the old one, and then replaces it.

    @param directory: of the index.
    """

    def __init__(self, directory: str, stamp: str, generation: int) -> None:
        self._directory = directory
        self._path = os.path.join(directory, "keys.db")
        self.abandon()
        make_private(f"{self._path}.new")
        self._connection = sqlite3.connect(f"{self._path}.new", isolation_level=None, check_same_thread=False)
        self._connection.execute("PRAGMA journal_mode = OFF")
        self._connection.execute("PRAGMA synchronous = OFF")
        self._connection.executescript(_SCHEMA)
        self._connection.execute("BEGIN")
        meta = {"version": VERSION, "stamp": stamp, "generation": str(generation)}
        self._connection.executemany("INSERT INTO meta VALUES (?, ?)", meta.items())

    def bucket(self, name: str, text: bytes) -> int:
        """Add a bucket. @return: its number."""
        return self._connection.execute("INSERT INTO buckets(name, text) VALUES (?, ?)", (name, text)).lastrowid or 0

    def rows(self, number: int, rows: Sequence[KeyRows]) -> None:
        """Add rows of a bucket. Those of one key may come apart."""
        self._connection.executemany(
            "INSERT INTO keys(bucket, key, size, text, older) VALUES (?, ?, ?, ?, x'')",
            [(number, key, *row) for key, row, _ in rows if row is not None],
        )
        older = [(key, each) for key, _, versions in rows for each in versions]
        self._connection.executemany(
            _INSERT_VERSION,
            [
                (number, key, each.id, each.rank, each.versioned, each.marker, each.size, each.text)
                for key, each in older
            ],
        )
        # IDs are cut to 32 characters: two are not equal by chance.
        ids = [decode_row(row[1])[1].id.encode() for _, row, _ in rows if row is not None and row[1]]
        self._connection.executemany(
            "INSERT INTO ids VALUES (?)", [(id[:32],) for id in (*ids, *(each.id for _, each in older))]
        )
        current = [row for _, row, _ in rows if row is not None]
        counts = (
            len(current),
            sum(size for size, _ in current),
            sum(1 - each.marker for _, each in older),
            sum(each.size for _, each in older),
            sum(each.marker for _, each in older),
        )
        self._connection.execute(
            "UPDATE buckets SET keys = keys + ?, bytes = bytes + ?, versions = versions + ?, "
            "versions_bytes = versions_bytes + ?, markers = markers + ? WHERE number = ?",
            (*counts, number),
        )

    def finish(self, unknown: int = 0) -> None:
        """
        Bring it to disk, and replace the old index, which must be closed.

        @param unknown: how many files are neither keys nor buckets.
        """
        self._connection.execute("INSERT INTO meta VALUES ('unknown', ?)", (str(unknown),))
        if self._connection.execute(_SHARED).fetchone() is not None:
            self._connection.execute("INSERT INTO meta VALUES ('shared', '1')")
        # Its pages are free for the SQL indexes.
        self._connection.execute("DROP TABLE ids")
        self._connection.execute("COMMIT")
        self._connection.executescript(_FINISH)
        self._connection.close()
        _sync(f"{self._path}.new", os.O_RDONLY)
        for end in ("-wal", "-shm"):
            if os.path.exists(self._path + end):
                os.unlink(self._path + end)
        os.replace(f"{self._path}.new", self._path)
        _sync(self._directory, os.O_RDONLY | os.O_DIRECTORY)

    def close(self) -> None:
        """Close the file, finished or not."""
        self._connection.close()

    def abandon(self) -> None:
        """Remove the unfinished file of an earlier one."""
        for end in (".new", ".new-journal"):
            if os.path.exists(self._path + end):
                os.unlink(self._path + end)


def _sync(path: str, flags: int) -> None:
    fd = os.open(path, flags | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


#: A file in the directory of the index: the index is damaged, and is rebuilt by the next start.
DAMAGED = "damaged"

_STRETCH = 500


def row_of(key_path: KeyPath, entry: Entry | None) -> Row | None:
    """The row in C{keys} that the index must have of a key with this current version."""
    return None if entry is None or entry.marker else (entry.size, encode_entry(entry, key_path.key))


def mark_of(error: DamagedEntry) -> Row:
    """The row that marks a key as damaged: its current version cannot be read, and no older row has it."""
    _log.error("damaged: {error}", error=error)
    return 0, b""


def unreadable_row(id: str) -> VersionRow:
    """The row of a version that cannot be read: it is behind all others, and no null version, so that nothing replaces it."""
    return VersionRow(id.encode(), -CURRENT - 1, 1, 0, 0, b"")


def older_row(tree: Tree, key_path: KeyPath, id: str) -> VersionRow | None:
    """The row of a version that is not current, read from the tree; C{None} if it has no file."""
    try:
        entry = tree.read(key_path, id)
    except DamagedEntry as error:
        _log.error("damaged: {error}", error=error)
        return unreadable_row(id)
    return None if entry is None else version_row(entry, key_path.key)


def rows_of(tree: Tree, key_path: KeyPath, known: KnownRows | None = None) -> Iterator[KeyRows]:
    """
    The rows that the index must have of a key, read from the tree, some at a time; none if there is no such key.

    @param known: the rows of versions that cannot be read.
    """
    data = key_path.key.encode()
    current: Entry | None = None
    row: Row | None = None
    try:
        current = tree.current(key_path)
        if current is None:
            return
        row = row_of(key_path, current)
    except DamagedEntry as error:
        row = known.row(key_path.bucket, data) if known is not None else None
        marker = known.marker(key_path.bucket, data) if known is not None and row is None else None
        if marker is not None:
            current = decode_row(marker.text)[1]
        else:
            row = row or mark_of(error)
    default = current.id if current is not None else tree.readable_default(key_path)
    versions = [version_row(current, key_path.key, True)] if current is not None and current.marker else []
    try:
        ids = tree.ids(key_path)
    except DamagedEntry:
        ids = []  # as just logged
    for id in ids:
        if id == default:
            continue
        found = older_row(tree, key_path, id)
        if found is not None and not found.text and known is not None:
            found = known.version(key_path.bucket, data, id) or found
        if found is not None:
            versions.append(found)
        if len(versions) >= _STRETCH:
            yield data, row, versions
            row, versions = None, []
    if row is not None or versions:
        yield data, row, versions


class KnownRows:
    """
    The rows of an index that is being rebuilt, for keys whose default version cannot be read from the tree.

    @param directory: of the index, which must be closed and belong to the tree.
    """

    def __init__(self, directory: str) -> None:
        # Immutable: SQLite makes no files beside it, and removes none at the end.
        path = quote(os.path.abspath(os.path.join(directory, "keys.db")))
        self._connection = sqlite3.connect(
            f"file:{path}?mode=ro&immutable=1", uri=True, isolation_level=None, check_same_thread=False
        )

    def row(self, bucket: str, data: bytes) -> Row | None:
        """The row of a key in C{keys}; C{None} if there is none, or it is damaged."""
        found: Row | None = self._one("SELECT size, text FROM keys", data, bucket, "", ())
        return found if found is not None and self._is_of(found[1], data) else None

    def marker(self, bucket: str, data: bytes) -> VersionRow | None:
        """The row of a key whose current version is a marker; C{None} if it has none, or it is damaged."""
        return self._version(data, bucket, " AND rank = ?", CURRENT)

    def version(self, bucket: str, data: bytes, id: str) -> VersionRow | None:
        """The row of a version that is not current; C{None} if there is none, or it is damaged."""
        return self._version(data, bucket, " AND id = ?", id.encode())

    def _version(self, data: bytes, bucket: str, which: str, value: object) -> VersionRow | None:
        found = self._one(f"SELECT {_COLUMNS} FROM versions", data, bucket, which, (value,))
        return VersionRow(*found) if found is not None and self._is_of(found[5], data) else None

    def _one(self, select: str, data: bytes, bucket: str, which: str, values: tuple[object, ...]) -> Any:
        query = f"{select} WHERE key = ? AND bucket = (SELECT number FROM buckets WHERE name = ?){which}"
        try:
            return self._connection.execute(query, (data, bucket, *values)).fetchone()
        except sqlite3.Error:
            return None

    @staticmethod
    def _is_of(text: bytes, data: bytes) -> bool:
        try:
            return decode_row(text)[0].encode() == data
        except (ValueError, TypeError):
            return False

    def close(self) -> None:
        """Close the file."""
        self._connection.close()


def bucket_of(tree: Tree, name: str, known: Bucket | None = None) -> Bucket:
    """A bucket of the tree; if its file is damaged, as it was known, or without metadata."""
    try:
        return with_versioning(tree, tree.read_bucket(name))
    except DamagedEntry as error:
        _log.error("{error}", error=error)
        return with_versioning(tree, known or Bucket(name, 0))


def with_versioning(tree: Tree, bucket: Bucket) -> Bucket:
    """A bucket with the versioning that its configuration has. If that cannot be read it is enabled: nothing is replaced then."""
    try:
        state = state_of(tree.read_config(bucket.name, VERSIONING))
    except (DamagedEntry, InvalidName) as error:
        _log.error("the versioning of {bucket} is taken as enabled: {error}", bucket=bucket.name, error=error)
        state = ENABLED
    return bucket if state == bucket.versioning else attrs.evolve(bucket, versioning=state)


def index_bucket(
    tree: Tree,
    name: str,
    rows: Callable[[list[KeyRows]], object],
    before: int = 0,
    strange: Callable[[str], object] = lambda path: None,
    known: KnownRows | None = None,
) -> Iterator[int]:
    """
    Give the rows of all keys of a bucket, in order, some at a time. Yields the number of keys so far.

    @param rows: called with some rows; those of one key may come apart.
    @param before: the number to count from.
    @param strange: called with each path below C{objects} that is no key's.
    @param known: the rows of versions that cannot be read.
    """
    keys: list[bytes] = []
    for path, key in tree.walk(name):
        if key is None:
            strange(path)
        else:
            keys.append(key.encode())
    keys.sort()
    count = before
    stretch: list[KeyRows] = []
    size = 0
    for data in keys:
        is_there = False
        for found in rows_of(tree, tree.key_path(name, data.decode(), data), known):
            is_there = True
            stretch.append(found)
            size += 1 + len(found[2])
            if size >= _STRETCH:
                rows(stretch)
                stretch, size = [], 0
                yield count
        count += is_there
        yield count
    rows(stretch)


def rebuild(tree: Tree, directory: str, stamp: str, generation: int, known: KnownRows | None = None) -> Iterator[int]:
    """
    Rebuild the index in C{directory}, which must be closed. Yields the number of keys so far. Damaged versions keep their rows
    of C{known}, which is closed at the end, or are marked as damaged; other files are counted.
    """
    builder = IndexBuilder(directory, stamp, generation)
    try:
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
                    "{count} files in the bucket {bucket} are not keys, such as {first}",
                    count=len(strange),
                    bucket=name,
                    first=first,
                )
                unknown += len(strange)
                strange.clear()
        builder.finish(unknown)
    finally:
        builder.close()
        if known is not None:
            known.close()
    yield count


class Upkeep:
    """
    The index, its checkpoints, and its repair.

    The index never makes an operation on a key fail: if it cannot be read or written, that is logged, the tree is read
    instead, and the next start rebuilds it. Rows that a full disk has no room for are written later; until then keys are not
    listed.

    @ivar broken: why the index is not used any more, or C{None}.
    @ivar repairs: how many rows were wrong, and were repaired.
    @ivar checkpoints: how often the index was brought to disk.
    """

    _log = Logger()

    def __init__(self, tree: Tree, journal: Journal, disk: IDisk) -> None:
        self.index = Index(os.path.join(tree.directory, "index"))
        self.broken: str | None = None
        self.repairs = 0
        self.checkpoints = 0
        self._tree = tree
        self._journal = journal
        self._disk = disk
        self._locks = KeyedLocks()
        self._checkpoints = 0  # under way, or waiting
        # Rows that a full disk had no room for; they are written before the next checkpoint.
        self._owed: dict[tuple[int, bytes], Change] = {}
        self._owing = threading.Lock()

    # -- rows: in any thread -------------------------------------------------------------------

    def break_off(self, error: object) -> None:
        """Stop using the index, and have the next start rebuild it."""
        if self.broken is not None:
            return
        self.broken = str(error)
        directory = os.path.dirname(self.index.path)
        self._log.critical(
            "the index in {directory} is damaged ({error}); keys are not listed until it is rebuilt, by a restart "
            "or 'storehouse reindex'",
            directory=directory,
            error=error,
        )
        try:
            with open(os.path.join(directory, DAMAGED), "w") as file:
                file.write(self.broken)
        except OSError as failure:
            self._log.error("the damage of the index cannot be recorded for the next start: {error}", error=failure)

    def get(self, number: int, data: bytes, key: str) -> Entry | None:
        """
        The current version of a key, a marker perhaps; C{None} if its row is missing or cannot be read. For the reactor's
        thread.
        """
        if self.broken is not None or (number, data) in self._owed:
            return None
        try:
            text = self.index.get(number, data)
            if text is None:
                return None
            named, entry = decode_row(text)
        except sqlite3.Error as error:
            self.break_off(error)
            return None
        except ValueError:
            return None
        return entry if named == key else None

    def get_version(self, number: int, data: bytes, key: str, id: str | None) -> Entry | None:
        """
        A version of a key that is not current: by its ID, or the null version if that is C{None}; C{None} if its row is
        missing or cannot be read. For the reactor's thread.
        """
        if self.broken is not None or (number, data) in self._owed:
            return None
        try:
            row = self.index.get_version(number, data, id)
            named, entry = decode_row(row.text) if row is not None else ("", None)
        except sqlite3.Error as error:
            self.break_off(error)
            return None
        except ValueError:
            return None
        return entry if named == key else None

    def is_sure(self, number: int, data: bytes) -> bool:
        """Whether the index knows what a key has."""
        return self.broken is None and (number, data) not in self._owed

    def newest(self, number: int, data: bytes) -> list[str]:
        """The IDs of the newest versions of a key that are not current, as far as the index has them. For any thread."""
        if self.broken is not None or (number, data) in self._owed:
            return []
        try:
            return [row.id.decode() for row in self.index.newest(number, data, 8) if row.text]
        except sqlite3.Error as error:
            self.break_off(error)
            return []

    def apply(self, *changes: Change) -> None:
        """Change rows, all in one step, after their keys were changed."""
        if self.broken is not None:
            return
        if self._owed:
            with self._owing:
                owed = [self._owed.pop((each.number, each.key), None) for each in changes]
            changes = tuple(
                each if before is None else each.after(before) for each, before in zip(changes, owed, strict=True)
            )
        try:
            self.index.apply(changes)
        except sqlite3.Error as error:
            if not is_full(error):
                self.break_off(error)
                return
            self._log.warn(
                "the disk is full: a row of the index {path} is written later ({error})",
                path=self.index.path,
                error=error,
            )
            with self._owing:
                self._owed.update({(each.number, each.key): each for each in changes})

    def _pay(self) -> None:
        """
        Write the rows that a full disk had no room for.

        @raise NoSpace: if it still is full.
        """
        with self._owing:
            try:
                if self._owed and self.broken is None:
                    self.index.apply(list(self._owed.values()))
            except sqlite3.Error as error:
                if is_full(error):
                    raise NoSpace(
                        f"the disk is full: the index {self.index.path} cannot be written ({error})"
                    ) from error
                self.break_off(error)
            self._owed.clear()

    def repair(self, number: int, data: bytes, key_path: KeyPath) -> Entry | None:
        """
        Read a key from the tree, and repair its rows. The caller holds the key.

        @return: its current version.
        @raise DamagedEntry: if that cannot be read. A row that has it stays; otherwise the row marks the damage.
        """
        try:
            current = self._tree.current(key_path)
        except DamagedEntry as error:
            if self.get_row(number, data, key_path.key) is None:
                self._put_right(number, data, key_path, mark_of(error), None)
            raise
        self._put_right(number, data, key_path, row_of(key_path, current), current)
        return current

    def get_row(self, number: int, data: bytes, key: str) -> Entry | None:
        """The current version of a key, by its row; C{None} if that is missing or cannot be read. For any thread."""
        try:
            row = marker = None
            if self.broken is None and (number, data) not in self._owed:
                row = self.index.row(number, data)
                if row is None:
                    marker = self.index.marker(number, data)
            text = row[1] if row is not None else marker.text if marker is not None else None
            named, entry = decode_row(text) if text is not None else ("", None)
        except sqlite3.Error as error:
            self.break_off(error)
            return None
        except ValueError:
            return None
        return entry if named == key else None

    def _put_right(self, number: int, data: bytes, key_path: KeyPath, row: Row | None, current: Entry | None) -> None:
        """@param current: the current version; C{None} if there is none, or it cannot be read."""
        if self.broken is not None:
            return
        try:
            there = self.index.row(number, data)
            versions = {each.id: each for each in self.index.versions(number, data)}
        except sqlite3.Error as error:
            self.break_off(error)
            return
        put, drop = self._older(key_path, row, current, versions)
        if there == row and not put and not drop and (number, data) not in self._owed:
            return
        marker = next((each for each in versions.values() if each.rank == CURRENT), None)
        has_text = (there is not None and there[1]) or marker is not None
        if has_text and row is None and current is None and self.get_row(number, data, key_path.key) is None:
            # Perhaps it is the row of another key, which is not listed then.
            self.break_off(f"it has a damaged row, and {key_path.bucket} has no key {key_path.key!r}")
            return
        if there is None and marker is None and (row is not None or current is not None):
            self.share()  # perhaps it is a copy of another key
        self.apply(Change(number, data, row, put, drop))
        self.repairs += 1
        self._log.warn(
            "the row of {key} in the index was wrong, and is repaired", key=f"{key_path.bucket}/{key_path.key}"
        )

    def _older(
        self, key_path: KeyPath, row: Row | None, current: Entry | None, there: Mapping[bytes, VersionRow]
    ) -> tuple[list[VersionRow], list[bytes]]:
        """What to put into C{versions}, and to drop from it. A version whose file is missing stays, for a check to report."""
        if row is None and current is None:
            return [], list(there)
        ids = self._tree.ids(key_path)
        default = current.id if current is not None else self._tree.readable_default(key_path)
        put: list[VersionRow] = []
        drop: list[bytes] = []
        if current is not None and current.marker:
            wanted = version_row(current, key_path.key, True)
            put += [wanted] if there.get(wanted.id) != wanted else []
        elif default is not None and default.encode() in there:
            drop.append(default.encode())
        for id in ids:
            found = there.get(id.encode())
            if id == default or (found is not None and found.rank != CURRENT and found.text):
                continue
            older = older_row(self._tree, key_path, id)
            if older is not None and older != found:
                put.append(older)
        for each in there.values():
            # A marker that is not current any more, and has no file.
            if each.rank == CURRENT and each.id.decode() not in (default, *ids):
                drop.append(each.id)
        return put, drop

    def share(self) -> None:
        """Remember that two keys may name the same ID."""
        try:
            if self.broken is None:
                self.index.share()
        except sqlite3.Error as error:
            if not is_full(error):
                self.break_off(error)

    def add_bucket(self, name: str, text: bytes) -> int:
        """@return: its number; one that no bucket has if the index is broken."""
        try:
            return -1 if self.broken is not None else self.index.add_bucket(name, text)
        except sqlite3.Error as error:
            self.break_off(error)
            return -1

    def change_bucket(self, number: int, text: bytes) -> None:
        """Write the C{bucket.json} of a bucket to its row."""
        try:
            if self.broken is None:
                self.index.change_bucket(number, text)
        except sqlite3.Error as error:
            self.break_off(error)

    def drop_bucket(self, number: int) -> None:
        """Remove a bucket and its rows."""
        try:
            if self.broken is None:
                self.index.drop_bucket(number)
        except sqlite3.Error as error:
            self.break_off(error)

    def page(self, number: int, prefix: str, delimiter: str, after: str, limit: int) -> tuple[list[Item], str | None]:
        """
        A page of L{list_items<storehouse.storage.namespace.values.list_items>}, and the C{after} of the next one.

        @raise Unavailable: if the index is broken.
        @raise NoSpace: if it lacks rows that a full disk has no room for.
        """
        # One item more shows whether there is another page.
        items = self._listed(list_items, number, prefix, delimiter, after, limit + 1)
        return items[:limit], items[limit - 1][0] if len(items) > limit > 0 else None

    def version_page(
        self, number: int, prefix: str, delimiter: str, key_marker: str, version_marker: str, limit: int
    ) -> tuple[list[VersionItem], str | None, str]:
        """
        A page of L{list_versions<storehouse.storage.namespace.values.list_versions>}, and both markers of the next one.

        @raise Unavailable: and L{NoSpace}, as L{page}.
        """
        items = self._listed(list_versions, number, prefix, delimiter, key_marker, version_marker, limit + 1)
        return page_of(items, limit)

    def names(self, number: int, prefix: str, after: str, limit: int) -> list[str]:
        """
        Keys without entries, by L{list_names<storehouse.storage.namespace.values.list_names>}.

        @raise Unavailable: and L{NoSpace}, as L{page}.
        """
        return self._listed(list_names, number, prefix, after, limit)

    def _listed(self, f: Callable[..., list[T]], *args: Any) -> list[T]:
        if self._owed:
            self._pay()
        self.check_index()
        try:
            return f(self.index, *args)
        except sqlite3.Error as error:
            self.break_off(error)
        self.check_index()
        return []

    def check_index(self) -> None:
        """@raise Unavailable: if the index is broken."""
        if self.broken is not None:
            raise Unavailable(f"the index of keys is damaged, and a restart rebuilds it: {self.broken}")

    def tell_damage(self, damaged: int) -> None:
        """Log the damage that a start found."""
        if damaged or self.unknown:
            self._log.error(
                "in {directory} {damaged} keys or buckets cannot be read, and {unknown} other files are not part of "
                "the namespace: 'storehouse fsck' lists them",
                directory=self._tree.directory,
                damaged=damaged,
                unknown=self.unknown,
            )

    @property
    def unknown(self) -> int:
        """How many files were neither keys nor buckets when the index was built."""
        return 0 if self.broken is not None else self.index.unknown

    @property
    def damaged(self) -> int:
        """How many keys the index has whose default version cannot be read."""
        try:
            return 0 if self.broken is not None else self.index.marked()
        except sqlite3.Error as error:
            self.break_off(error)
            return 0

    # -- in the reactor's thread ---------------------------------------------------------------

    def begin_checkpoint(self) -> None:
        """Begin a checkpoint, unless one is under way."""
        if not self._checkpoints:
            Deferred.fromCoroutine(self.checkpoint()).addErrback(
                lambda failure: self._log.error("the checkpoint failed: {error}", error=failure.value)
            )

    async def checkpoint(self) -> None:
        """
        Bring the index to disk, and begin a new journal with the IDs that are still open.

        @raise StorehouseError: if the journal cannot be written.
        """
        self._checkpoints += 1
        try:
            async with self._locks.held("checkpoint"):
                await self._journal.renew(self._sync)
                self.checkpoints += 1
        finally:
            self._checkpoints -= 1

    async def idle(self) -> None:
        """Wait until no checkpoint is under way."""
        async with self._locks.held("checkpoint"):
            pass

    def _sync(self, generation: int) -> None:
        self._pay()
        if self.broken is None:
            try:
                self.index.sync(generation)
            except sqlite3.Error as error:
                if is_full(error):
                    raise NoSpace(
                        f"the disk is full: the index {self.index.path} cannot be written ({error})"
                    ) from error
                self.break_off(error)

    async def reindex(self, progress: Callable[[int], object]) -> tuple[int, dict[str, tuple[int, Bucket]]]:
        """Rebuild the index while nothing else uses it. @return: the number of keys, and the buckets."""
        await self.idle()
        directory = os.path.dirname(self.index.path)
        stamp = secrets.token_hex(8)
        counts = [0]

        def step(count: int) -> None:
            counts[0] = count
            if count % 1000 == 0:
                progress(count)

        # After a crash before the journal has the new stamp, the next start rebuilds the index.
        self.index.close()
        # Keys that only their rows can give are not lost.
        known = None if self.broken is not None or self._owed else KnownRows(directory)
        self.broken = self.broken or "it is being rebuilt"
        self._owed.clear()
        await in_slices(self._disk.run, rebuild(self._tree, directory, stamp, self._journal.generation, known), step)
        if os.path.exists(os.path.join(directory, DAMAGED)):
            os.unlink(os.path.join(directory, DAMAGED))
        self.index = Index(directory)
        self.index.open()
        self._journal.stamp = stamp
        self.broken = None
        await self.checkpoint()
        buckets = {
            total.name: (total.number, bucket_of(self._tree, total.name))
            for total in await self._disk.run(self.index.totals)
        }
        return counts[0], buckets
