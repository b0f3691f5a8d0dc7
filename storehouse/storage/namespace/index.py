"""
The index of a namespace: its keys in order, in SQLite (docs/formats/namespace.md).

It is derived: what is damaged here is read again from the tree. Commits are not synced; L{Index.sync} does that.

SQLite releases the interpreter's lock for each step and may wait long for it, so each call here takes few steps, even for
a thousand rows.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import attrs

from storehouse.storage.namespace.entries import decode_row

__all__ = [
    "MARKED",
    "VERSION",
    "Change",
    "Index",
    "IndexBuilder",
    "IndexUnusable",
    "Row",
    "Totals",
    "ids_of",
    "is_full",
    "make_private",
    "older_of",
]

#: The version in C{meta}.
VERSION = "1"

#: An SQL index of the keys whose default version cannot be read: few or none.
MARKED = "CREATE INDEX IF NOT EXISTS marked ON keys(bucket, key) WHERE length(text) = 0;"

_PUT = (
    "INSERT INTO keys(bucket, key, size, text, older) VALUES (?1, ?2, ?3, ?4, ?5) "
    "ON CONFLICT(bucket, key) DO UPDATE SET size = ?3, text = ?4, older = ?5"
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
    """The IDs that L{older_of} made a text of."""
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

    @ivar unknown: files that were neither keys nor buckets when it was made.
    @ivar shared: whether two keys may name the same ID: they did when it was made, or rows were added for keys found on disk.
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
