"""Listings: pages of keys, made from rows of an index."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from storehouse.storage.namespace.entries import decode_row
from storehouse.storage.namespace.interfaces import Entry
from storehouse.storage.namespace.names import check_text

__all__ = ["Item", "common_prefix", "list_items", "list_names", "start_of"]

#: A key with its entry, C{None} if its row has none; or a common prefix, with C{False}.
Item = tuple[str, "Entry | bool | None"]


class Selecting(Protocol):
    """An index of keys, with a table C{keys}."""

    def select(self, query: str, values: Mapping[str, object]) -> list[tuple[bytes, ...]]:
        """All rows of a query."""


# The rows come as one text, in a single step: each step releases the interpreter's lock and waits for it.
_PLAIN = """
SELECT CAST(group_concat(hex(key) || ' ' || text, char(10)) AS BLOB) FROM (
    SELECT key, text FROM keys WHERE bucket = :bucket AND key >= :start AND key < :end ORDER BY key LIMIT :limit
)
"""

_NAMES = """
SELECT CAST(group_concat(hex(key), char(10)) AS BLOB) FROM (
    SELECT key FROM keys WHERE bucket = :bucket AND key >= :start AND key < :end ORDER BY key LIMIT :limit
)
"""

# From each key to the next one behind it, or behind its common prefix.
_AT = "instr(substr(k, :length + 1), :delimiter)"
_DELIMITED = f"""
WITH RECURSIVE walk(k) AS (
    SELECT (SELECT key FROM keys WHERE bucket = :bucket AND key >= :start AND key < :end ORDER BY key LIMIT 1)
    UNION ALL
    SELECT (
        SELECT key FROM keys WHERE bucket = :bucket AND key < :end AND key >= CASE {_AT}
            WHEN 0 THEN CAST(k || x'00' AS BLOB)
            ELSE CAST(substr(k, 1, :length + {_AT} - 1) || :beyond AS BLOB)
        END ORDER BY key LIMIT 1
    ) FROM walk WHERE k IS NOT NULL LIMIT :limit
)
SELECT CAST(group_concat(CASE {_AT}
    WHEN 0 THEN hex(k) || ' ' || (SELECT text FROM keys WHERE bucket = :bucket AND key = k)
    ELSE hex(substr(k, 1, :length + {_AT} - 1 + length(:delimiter)))
END, char(10)) AS BLOB) FROM walk WHERE k IS NOT NULL
"""


def _behind(text: bytes) -> bytes:
    """The least text that is greater than all that begin with this one. UTF-8 has no byte FF."""
    return text[:-1] + bytes([text[-1] + 1]) if text else b"\xff"


def common_prefix(key: bytes, prefix: bytes, delimiter: bytes) -> bytes | None:
    """The common prefix by which a listing has a key that begins with C{prefix}; C{None} if it lists the key itself."""
    at = key.find(delimiter, len(prefix)) if delimiter else -1
    return None if at < 0 else key[: at + len(delimiter)]


def start_of(prefix: bytes, delimiter: bytes, after: bytes) -> bytes:
    """The least key that a listing can have."""
    if after < prefix:
        return prefix
    # Only if it is a common prefix are all keys that begin with it left out.
    if after.startswith(prefix) and common_prefix(after, prefix, delimiter) == after:
        return _behind(after)
    return after + b"\0" if after else prefix


def list_items(index: Selecting, bucket: int, prefix: str, delimiter: str, after: str, limit: int) -> list[Item]:
    """
    The first C{limit} keys and common prefixes of a listing, in order.

    @raise InvalidName: if an argument is not Unicode text.
    """
    begins, mark = check_text("prefix", prefix), check_text("delimiter", delimiter)
    values: dict[str, object] = {
        "bucket": bucket,
        "start": start_of(begins, mark, check_text("key to start after", after)),
        "end": _behind(begins),
        "limit": limit,
    }
    if mark:
        values |= {"length": len(begins), "delimiter": mark, "beyond": _behind(mark)}
    ((found,),) = index.select(_DELIMITED if mark else _PLAIN, values)
    lines = found.split(b"\n") if found else []
    items: list[Item] = []
    for line in lines:
        head, space, text = line.partition(b" ")
        try:
            key = bytes.fromhex(head.decode()).decode()
        except ValueError:
            continue  # the rest of a damaged row
        if not space:
            items.append((key, False))
            continue
        try:
            named, entry = decode_row(text)
        except ValueError:
            named, entry = key, None
        items.append((key, entry if named == key else None))
    return items


def list_names(index: Selecting, bucket: int, prefix: str, after: str, limit: int) -> list[str]:
    """
    The first C{limit} keys, in order.

    @raise InvalidName: if an argument is not Unicode text.
    """
    begins = check_text("prefix", prefix)
    values: dict[str, object] = {
        "bucket": bucket,
        "start": start_of(begins, b"", check_text("key to start after", after)),
        "end": _behind(begins),
        "limit": limit,
    }
    ((found,),) = index.select(_NAMES, values)
    return [bytes.fromhex(line).decode() for line in found.decode().split("\n")] if found else []
