"""The keys of a namespace whose names are encrypted, in order, in memory: on disk their order means nothing."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Mapping
from typing import Any

import attrs

from storehouse.storage.namespace.interfaces import Entry, Problem
from storehouse.storage.namespace.values import encode_entry

__all__ = ["SealedIndex"]

# The columns that listings ask for are those of the index on disk.
_SCHEMA = """
CREATE TABLE keys(bucket INTEGER NOT NULL, key BLOB NOT NULL, text BLOB NOT NULL, stored TEXT NOT NULL);
CREATE UNIQUE INDEX in_order ON keys(bucket, key);
"""

_PUT = (
    "INSERT INTO keys(bucket, key, text, stored) VALUES (?1, ?2, ?3, ?4) "
    "ON CONFLICT(bucket, key) DO UPDATE SET text = ?3"
)


class SealedIndex:
    """Some 300 bytes and twice its name for each key. For one thread."""

    def __init__(self) -> None:
        self._connection = sqlite3.connect(":memory:", isolation_level=None)
        self._connection.executescript(_SCHEMA)
        self._numbers: dict[str, int] = {}
        # What keys of which nothing can be decrypted are called on disk.
        self._lost: dict[str, set[str]] = {}

    def number(self, bucket: str) -> int:
        """What a bucket is called here."""
        return self._numbers.setdefault(bucket, len(self._numbers))

    def put(self, bucket: str, keys: Collection[tuple[str, str, Entry]]) -> None:
        """Give keys, each with what it is called on disk, these entries."""
        number = self.number(bucket)
        self._lost.get(bucket, set()).difference_update([stored for _, stored, _ in keys])
        rows = [(number, key.encode(), encode_entry(entry, key), stored) for key, stored, entry in keys]
        self._connection.execute("BEGIN")
        self._connection.executemany(_PUT, rows)
        self._connection.execute("COMMIT")

    def remove(self, bucket: str, key: str, stored: str) -> None:
        """A key is not there any more."""
        self._lost.get(bucket, set()).discard(stored)
        self._connection.execute("DELETE FROM keys WHERE bucket = ? AND key = ?", (self.number(bucket), key.encode()))

    def clear(self, bucket: str) -> None:
        """A bucket has no keys."""
        self._lost.pop(bucket, None)
        self._connection.execute("DELETE FROM keys WHERE bucket = ?", (self.number(bucket),))

    def key_of(self, bucket: str, stored: str) -> str | None:
        """The key that is called so on disk. Takes long."""
        found = self._connection.execute(
            "SELECT key FROM keys WHERE bucket = ? AND stored = ?", (self.number(bucket), stored)
        ).fetchone()
        return None if found is None else found[0].decode()

    def told(self, problems: list[Problem]) -> list[Problem]:
        """Problems of keys as they are on disk, of the keys themselves; of C{None} if nothing says which they are."""
        return [
            each if each.key is None else attrs.evolve(each, key=self.key_of(each.bucket, each.key))
            for each in problems
        ]

    def lose(self, bucket: str, stored: str) -> None:
        """A key cannot be read; nobody knows which one it is."""
        self._lost.setdefault(bucket, set()).add(stored)

    def is_lost(self, bucket: str, stored: str) -> bool:
        """Whether that was said of it."""
        return stored in self._lost.get(bucket, ())

    def lost(self, bucket: str, prefix: str, after: str, until: str | None) -> list[str]:
        """Those whose names on disk are in a stretch, in order."""
        names = sorted(self._lost.get(bucket, ()))
        return [name for name in names if name.startswith(prefix) and after < name and (until is None or name <= until)]

    def count_lost(self) -> int:
        """How many there are."""
        return sum(map(len, self._lost.values()))

    def select(self, query: str, values: Mapping[str, Any]) -> list[Any]:
        """What a query gives: for L{list_items<storehouse.storage.namespace.values.list_items>}."""
        return self._connection.execute(query, values).fetchall()

    def close(self) -> None:
        """Forget all."""
        self._connection.close()
