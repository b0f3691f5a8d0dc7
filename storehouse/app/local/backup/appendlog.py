"""
The append log in a backup. Bucket and index files only grow, and what was acknowledged is in both before the answer: so of each
pair the index is looked at first, and both are copied up to the last record that is whole in both. The write-ahead log is not
needed then; where no service runs, and the last one did not end well, it has what the others lack, and is copied.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress

from storehouse.app.local.backup.target import Target
from storehouse.core.digests import crc32c
from storehouse.core.files import read_exactly
from storehouse.core.framing import LENGTH_SIZE
from storehouse.storage.appendlog.formats import (
    ENTRY_SIZE,
    HEADER_SIZE,
    Entry,
    decode_entry,
    decode_index_header,
    encode_index_header,
)

__all__ = ["APPEND", "back_up_log"]

APPEND = "append"

_bucket = re.compile(r"append\.(\d+)\.raw")

#: Entries that are looked at behind what is known to be on disk.
_STRETCH = 1024


def back_up_log(target: Target, directory: str, is_live: bool) -> None:
    """Copy all prefixes."""
    if not os.path.isdir(directory):
        return
    target.make(APPEND)
    for name in sorted(os.listdir(directory)):
        path = os.path.join(directory, name)
        if os.path.isdir(path) and not name.startswith("."):
            try:
                _prefix(target, path, f"{APPEND}/{name}")
            except FileNotFoundError:
                # It was removed meanwhile.
                target.forget(f"{APPEND}/{name}")
    wal = os.path.join(directory, ".wal")
    if os.path.isdir(wal) and not is_live:
        clean = os.path.exists(os.path.join(wal, "clean"))
        for name in ["clean"] if clean else sorted(os.listdir(wal)):
            target.copy(os.path.join(wal, name), f"{APPEND}/.wal/{name}")


def _prefix(target: Target, path: str, name: str) -> None:
    target.make(name)
    numbers = sorted(int(found[1]) for found in map(_bucket.fullmatch, os.listdir(path)) if found)
    for number in numbers:
        _pair(target, f"{path}/append.{number}", f"{name}/append.{number}")
    done = {f"append.{number}.{kind}" for number in numbers for kind in ("raw", "idx")}
    for each in sorted(set(os.listdir(path)) - done):
        # What recovery had put aside; not a bucket file that is being made.
        if ".torn." in each or ".bad." in each or _bucket.fullmatch(each) is None:
            with suppress(FileNotFoundError):
                if os.path.isfile(f"{path}/{each}"):
                    target.copy(f"{path}/{each}", f"{name}/{each}")


def _pair(target: Target, source: str, name: str) -> None:
    try:
        index = os.open(f"{source}.idx", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        target.copy(f"{source}.raw", f"{name}.raw")
        return
    try:
        head = read_exactly(index, HEADER_SIZE, 0)
        synced = decode_index_header(head)
        count = max(0, os.fstat(index).st_size - HEADER_SIZE) // ENTRY_SIZE
        if synced is None or not count:
            # It is being made, or damaged, or of nothing: a start sees to it.
            target.copy(f"{source}.idx", f"{name}.idx", is_settled=False)
            target.copy(f"{source}.raw", f"{name}.raw")
            return
        with open(f"{source}.raw", "rb") as raw:
            kept, end = _last_whole(index, raw.fileno(), min(synced, count), count)
    finally:
        os.close(index)
    target.copy(
        f"{source}.idx",
        f"{name}.idx",
        HEADER_SIZE + ENTRY_SIZE * kept,
        head=encode_index_header(min(synced, kept)),
        is_settled=False,
    )
    target.copy(f"{source}.raw", f"{name}.raw", end)


def _last_whole(index: int, raw: int, synced: int, count: int) -> tuple[int, int | None]:
    """
    How many entries have whole records, the last of an append at the end, and where those end; C{None} if unknown.
    """
    size = os.fstat(raw).st_size
    for number, entry in _backwards(index, synced, count):
        if entry is None or entry.continues or entry.end > size:
            continue
        payload = read_exactly(raw, entry.length, entry.offset + LENGTH_SIZE)
        if len(payload) == entry.length and crc32c(payload) == entry.checksum:
            return number + 1, entry.end
    last = decode_entry(read_exactly(index, ENTRY_SIZE, HEADER_SIZE + ENTRY_SIZE * (synced - 1))) if synced else None
    if last is None or last.end > size:
        return (count, None) if synced else (0, 0)
    return synced, last.end


def _backwards(index: int, synced: int, count: int) -> Iterator[tuple[int, Entry | None]]:
    """The entries behind those that are known to be on disk, the last one first."""
    while count > synced:
        first = max(synced, count - _STRETCH)
        data = read_exactly(index, (count - first) * ENTRY_SIZE, HEADER_SIZE + ENTRY_SIZE * first)
        for number in reversed(range(first, count)):
            yield number, decode_entry(data, (number - first) * ENTRY_SIZE)
        count = first
