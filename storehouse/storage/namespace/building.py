"""An index of a namespace made anew, beside the one that is there (docs/formats/namespace.md)."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence

from storehouse.storage.namespace.entries import decode_row
from storehouse.storage.namespace.index import MARKED, VERSION, Row, ids_of, make_private

__all__ = ["IndexBuilder"]

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

# IDs of two keys, as in a bucket that was copied on disk: found by sorting, which SQLite does in bounded memory.
_SHARED = "SELECT 1 FROM ids GROUP BY id HAVING count(*) > 1 LIMIT 1"

# After the rows, which is faster. The keys stand in a tree of their own, so that it stays flat: listings walk it.
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
    Makes an index file beside the one that is there, and puts it in its place.

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
        Bring it to disk and to its place. The one that is there must be closed.

        @param unknown: how many names are neither keys nor buckets.
        """
        self._connection.execute("INSERT INTO meta VALUES ('unknown', ?)", (str(unknown),))
        if self._connection.execute(_SHARED).fetchone() is not None:
            self._connection.execute("INSERT INTO meta VALUES ('shared', '1')")
        # What it took is free for what follows.
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
        """Remove what an earlier one left half-way."""
        for end in (".new", ".new-journal"):
            if os.path.exists(self._path + end):
                os.unlink(self._path + end)


def _ids(row: Row) -> set[bytes]:
    """The IDs that a row names, as few bytes as two of them are not alike by chance."""
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
