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
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar
from urllib.parse import quote

import attrs
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from storehouse.core.disk import IDisk
from storehouse.core.jobs import KeyedLocks, in_slices
from storehouse.errors import DamagedEntry, NoSpace, Unavailable
from storehouse.storage.namespace.interfaces import Bucket, Entry
from storehouse.storage.namespace.journal import Journal
from storehouse.storage.namespace.tree import KeyPath, Tree
from storehouse.storage.namespace.values import (
    Item,
    decode_row,
    encode_bucket,
    encode_entry,
    is_bucket,
    list_items,
    list_names,
)

__all__ = [
    "DAMAGED",
    "MARKED",
    "VERSION",
    "Change",
    "Index",
    "IndexBuilder",
    "IndexUnusable",
    "KnownRows",
    "Row",
    "Totals",
    "Upkeep",
    "bucket_of",
    "ids_of",
    "index_bucket",
    "is_full",
    "make_private",
    "mark_of",
    "older_of",
    "rebuild",
    "row_of",
]


T = TypeVar("T")

_log = Logger()

#: The version in C{meta}.
VERSION = "1"

#: An SQL index of the keys whose default version cannot be read: few or none.
MARKED = "CREATE INDEX IF NOT EXISTS marked ON keys(bucket, key) WHERE length(text) = 0;"

_PUT = (
    "INSERT INTO keys(bucket, key, size, text, older) VALUES (?, ?, ?, ?, ?) "
    "ON CONFLICT(bucket, key) DO UPDATE SET size = excluded.size, text = excluded.text, older = excluded.older"
)
_DELETE = "DELETE FROM keys WHERE bucket = ? AND key = ?"
_GET = "SELECT text, older FROM keys WHERE bucket = ? AND key = ?"

#: Size and text of the default version, and the IDs of the older ones (L{older_of}).
Row = tuple[int, bytes, bytes]

#: The number of a bucket, the key, and its new row, or C{None} for no row.
Change = tuple[int, bytes, "Row | None"]

#: Errors of SQLite for a full disk.
_FULL = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE})


def is_full(error: sqlite3.Error) -> bool:
    """Whether the disk is full; other errors mean damage."""
    return getattr(error, "sqlite_errorcode", None) in _FULL


def older_of(ids: Iterable[str]) -> bytes:
    """The IDs of older versions, as a row has them."""
    return " ".join(sorted(ids)).encode()


def ids_of(older: bytes) -> frozenset[str]:
    """The IDs in a text of L{older_of}."""
    return frozenset(older.decode("latin-1").split())


class IndexUnusable(Exception):
    """The index is missing, damaged, or of another tree: it must be rebuilt."""


@attrs.frozen
class Totals:
    """
    A bucket of the index.

    @ivar text: its C{bucket.json}.
    @ivar size: bytes of the default versions.
    """

    number: int
    name: str
    text: bytes
    keys: int
    size: int


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
            if meta.get(b"version") != VERSION.encode():
                raise IndexUnusable(f"it has version {meta.get(b'version')!r}")
            self.stamp = meta[b"stamp"].decode()
            self.generation = int(meta[b"generation"])
            self.unknown = int(meta.get(b"unknown", b"0"))
            self.shared = meta.get(b"shared", b"0") == b"1"
            self.totals()
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

    def get(self, bucket: int, key: bytes) -> tuple[bytes, bytes] | None:
        """The text and the older versions of a row; C{None} if there is none. For the reactor's thread: it takes no longer than a job."""
        row: tuple[bytes, bytes] | None = self._getter.execute(_GET, (bucket, key)).fetchone()
        return row

    def totals(self) -> list[Totals]:
        """The buckets, in the order of their names, with their counts."""
        with self._reader() as connection:
            rows = connection.execute("SELECT number, name, text, keys, bytes FROM buckets ORDER BY name").fetchall()
        return [Totals(number, name.decode(), text, keys, size) for number, name, text, keys, size in rows]

    def marked(self) -> int:
        """How many keys have a default version that cannot be read."""
        with self._reader() as connection:
            ((count,),) = connection.execute("SELECT count(*) FROM keys WHERE length(text) = 0").fetchall()
        return int(count)

    def has(self, bucket: str, key: bytes) -> bool:
        """Whether a key has a row."""
        query = "SELECT 1 FROM keys WHERE key = ? AND bucket = (SELECT number FROM buckets WHERE name = ?)"
        with self._reader() as connection:
            return connection.execute(query, (key, bucket)).fetchone() is not None

    def select(self, query: str, values: Mapping[str, object]) -> list[tuple[bytes, ...]]:
        """The rows of a query over C{keys}."""
        with self._reader() as connection:
            return connection.execute(query, values).fetchall()

    def rows(self, bucket: int, after: bytes, limit: int) -> list[tuple[bytes, Row]]:
        """The rows after a key, in order."""
        with self._reader() as connection:
            rows = connection.execute(
                "SELECT key, size, text, older FROM keys WHERE bucket = ? AND key > ? ORDER BY key LIMIT ?",
                (bucket, after, limit),
            ).fetchall()
        return [(key, (size, text, older)) for key, size, text, older in rows]

    def row(self, bucket: int, key: bytes) -> Row | None:
        """The row of a key; C{None} if it has none. For any thread."""
        with self._reader() as connection:
            found: Row | None = connection.execute(
                "SELECT size, text, older FROM keys WHERE bucket = ? AND key = ?", (bucket, key)
            ).fetchone()
        return found

    def faults(self) -> list[str]:
        """Faults that SQLite finds in the file, and wrong counts."""
        with self._reader() as connection:
            try:
                found = [row[0].decode("utf-8", "replace") for row in connection.execute("PRAGMA integrity_check(20)")]
                faults = [text for text in found if text != "ok"]
                for total in () if faults else self.totals():
                    ((keys, size),) = connection.execute(
                        "SELECT count(*), coalesce(sum(size), 0) FROM keys WHERE bucket = ?", (total.number,)
                    ).fetchall()
                    if (keys, size) != (total.keys, total.size):
                        faults.append(f"the counts of {total.name} are {total.keys}, {total.size}, not {keys}, {size}")
                orphans = "SELECT count(*) FROM keys WHERE bucket NOT IN (SELECT number FROM buckets)"
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
        puts = [(bucket, key, *row) for job in jobs for bucket, key, row in job.changes if row is not None]
        deletes = [(bucket, key) for job in jobs for bucket, key, row in job.changes if row is None]
        writer = self._writer
        try:
            if len(puts) + len(deletes) == 1:
                if puts:
                    writer.execute(_PUT, puts[0])
                else:
                    writer.execute(_DELETE, deletes[0])
            elif puts or deletes:
                writer.execute("BEGIN IMMEDIATE")
                try:
                    # Jobs of one commit are of different keys.
                    writer.executemany(_PUT, puts)
                    writer.executemany(_DELETE, deletes)
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


_SCHEMA = """
CREATE TABLE meta(name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE buckets(
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT UNIQUE NOT NULL,
    text BLOB NOT NULL,
    keys INTEGER NOT NULL DEFAULT 0,
    bytes INTEGER NOT NULL DEFAULT 0
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

    def rows(self, number: int, rows: Sequence[tuple[bytes, Row]]) -> None:
        """Add rows of a bucket."""
        self._connection.executemany(
            "INSERT INTO keys(bucket, key, size, text, older) VALUES (?, ?, ?, ?, ?)",
            [(number, key, *row) for key, row in rows],
        )
        self._connection.executemany("INSERT INTO ids VALUES (?)", [(id,) for _, row in rows for id in _ids(row)])
        self._connection.execute(
            "UPDATE buckets SET keys = keys + ?, bytes = bytes + ? WHERE number = ?",
            (len(rows), sum(row[0] for _, row in rows), number),
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


def _ids(row: Row) -> set[bytes]:
    """The IDs of a row, cut to 32 characters: two are not equal by chance."""
    ids = set(ids_of(row[2]))
    if row[1]:
        ids.add(decode_row(row[1])[1].id)
    return {id.encode()[:32] for id in ids}


def _sync(path: str, flags: int) -> None:
    fd = os.open(path, flags | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


#: A file in the directory of the index: the index is damaged, and is rebuilt by the next start.
DAMAGED = "damaged"

_STRETCH = 500


def row_of(tree: Tree, key_path: KeyPath) -> Row | None:
    """
    The row that the index must have of a key, read from the tree; C{None} for none.

    @raise DamagedEntry: if the default version cannot be read: see L{mark_of}.
    """
    entry = tree.current(key_path)
    if entry is None:
        return None
    return entry.size, encode_entry(entry, key_path.key), older_of(id for id in tree.ids(key_path) if id != entry.id)


def mark_of(tree: Tree, key_path: KeyPath, error: DamagedEntry) -> Row:
    """The row that marks a key as damaged: its default version cannot be read, and no older row has it."""
    _log.error("damaged: {error}", error=error)
    ids: list[str] = []
    default = None
    try:
        ids = tree.ids(key_path)
        default = tree.default_of(key_path)
    except DamagedEntry:
        pass  # as just logged
    return 0, b"", older_of(id for id in ids if id != default)


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
        """Close the file."""
        self._connection.close()


def bucket_of(tree: Tree, name: str, known: Bucket | None = None) -> Bucket:
    """A bucket of the tree; if its file is damaged, as it was known, or without metadata."""
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
    Give the rows of all keys of a bucket, in order, some at a time. Yields the number of keys so far.

    @param rows: called with some rows.
    @param before: the number to count from.
    @param strange: called with each path below C{objects} that is no key's.
    @param known: the rows of keys whose default version cannot be read.
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
        key_path = tree.key_path(name, data.decode(), data)
        try:
            row = row_of(tree, key_path)
        except DamagedEntry as error:
            row = (known and known.row(name, data)) or mark_of(tree, key_path, error)
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
    Rebuild the index in C{directory}, which must be closed. Yields the number of keys so far. Damaged keys keep their rows
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
        self._owed: dict[tuple[int, bytes], Row | None] = {}
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

    def get(self, number: int, data: bytes, key: str) -> tuple[Entry, frozenset[str]] | None:
        """
        The default version of a key, and the IDs of the others; C{None} if its row is missing or cannot be read. For the
        reactor's thread.
        """
        if self.broken is not None or (number, data) in self._owed:
            return None
        try:
            row = self.index.get(number, data)
            if row is None:
                return None
            named, entry = decode_row(row[0])
        except sqlite3.Error as error:
            self.break_off(error)
            return None
        except ValueError:
            return None
        return (entry, ids_of(row[1])) if named == key else None

    def apply(self, *changes: Change) -> None:
        """Change rows, all in one step, after their keys were changed."""
        if self.broken is not None:
            return
        if self._owed:
            with self._owing:
                for number, data, _ in changes:
                    self._owed.pop((number, data), None)
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
                self._owed.update({(number, data): row for number, data, row in changes})

    def _pay(self) -> None:
        """
        Write the rows that a full disk had no room for.

        @raise NoSpace: if it still is full.
        """
        with self._owing:
            try:
                if self._owed and self.broken is None:
                    self.index.apply([(number, data, row) for (number, data), row in self._owed.items()])
            except sqlite3.Error as error:
                if is_full(error):
                    raise NoSpace(
                        f"the disk is full: the index {self.index.path} cannot be written ({error})"
                    ) from error
                self.break_off(error)
            self._owed.clear()

    def repair(self, number: int, data: bytes, key_path: KeyPath) -> Entry | None:
        """
        Read a key from the tree, and repair its row. The caller holds the key.

        @raise DamagedEntry: if its default version cannot be read. A row that has it stays; otherwise the row marks the damage.
        """
        try:
            row = row_of(self._tree, key_path)
        except DamagedEntry as error:
            if self.get_row(number, data, key_path.key) is None:
                self._put_right(number, data, key_path, mark_of(self._tree, key_path, error))
            raise
        self._put_right(number, data, key_path, row)
        return None if row is None else decode_row(row[1])[1]

    def get_row(self, number: int, data: bytes, key: str) -> Entry | None:
        """The default version of a key, by its row; C{None} if that is missing or cannot be read. For any thread."""
        try:
            row = None if self.broken is not None or (number, data) in self._owed else self.index.row(number, data)
            named, entry = decode_row(row[1]) if row is not None else ("", None)
        except sqlite3.Error as error:
            self.break_off(error)
            return None
        except ValueError:
            return None
        return entry if named == key else None

    def _put_right(self, number: int, data: bytes, key_path: KeyPath, row: Row | None) -> None:
        if self.broken is not None:
            return
        try:
            there = self.index.row(number, data)
        except sqlite3.Error as error:
            self.break_off(error)
            return
        if there == row and (number, data) not in self._owed:
            return
        # An older version whose file is missing stays in the row, so that a check can report it.
        if there is not None and row is not None and there[:2] == row[:2] and ids_of(there[2]) > ids_of(row[2]):
            return
        if there is not None and there[1] and row is None and self.get_row(number, data, key_path.key) is None:
            # Perhaps it is the row of another key, which is not listed then.
            self.break_off(f"it has a damaged row, and {key_path.bucket} has no key {key_path.key!r}")
            return
        if there is None and row is not None:
            self.share()  # perhaps it is a copy of another key
        self.apply((number, data, row))
        self.repairs += 1
        self._log.warn(
            "the row of {key} in the index was wrong, and is repaired", key=f"{key_path.bucket}/{key_path.key}"
        )

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
