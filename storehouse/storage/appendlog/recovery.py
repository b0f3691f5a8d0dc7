"""
Bringing a bucket file into a known state: torn tails, missing and damaged indexes.

docs/formats/appendlog.md says what is done and in which order.  Nothing is thrown away: what is cut off or replaced
is kept beside the file it came from.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from itertools import islice

import attrs
from twisted.logger import Logger

from storehouse.core.digests import crc32c
from storehouse.core.files import Files, read_exactly
from storehouse.core.framing import LENGTH_SIZE, unpack_length
from storehouse.storage.appendlog.formats import (
    ENTRY_SIZE,
    HEADER_SIZE,
    Entry,
    decode_entry,
    decode_index_header,
    encode_entry,
    encode_index_header,
    mended,
)

__all__ = ["Recovered", "bucket_paths", "keep_copy", "recover_bucket", "stamp"]

_log = Logger()

_READ = 1 << 20


def bucket_paths(directory: str, number: int) -> tuple[str, str]:
    """The bucket file and its index."""
    stem = os.path.join(directory, f"append.{number}")
    return stem + ".raw", stem + ".idx"


@attrs.frozen
class Recovered:
    """
    The state of a bucket after its recovery.

    @ivar count: its records.
    @ivar end: the offset behind the last.
    @ivar indexed: records that were found without entries and got them.
    @ivar torn: bytes that were cut off.
    @ivar mended: a damaged header, and damaged entries, that were made good.
    @ivar changed: whether anything was written, or may not be on disk yet, so that it wants a sync and a new header.
    """

    count: int
    end: int
    indexed: int = 0
    torn: int = 0
    mended: int = 0
    changed: bool = False


def recover_bucket(
    raw_path: str,
    index_path: str,
    raw_fd: int,
    index_fd: int,
    files: Files,
    accept_unindexed: bool = True,
    progress: Callable[[int, int], None] = lambda done, size: None,
) -> Recovered:
    """
    Bring a bucket file and its index into agreement.  Reads the header and the last entries only, if there was no
    crash and no other program.

    @param accept_unindexed: whether whole records behind the last entry are another program's, and to be indexed.
        After a crash of our own they are not: the entries of ours are written first, so what lacks them is what a
        power cut left, and cannot be proven whole.  A file without any index is always indexed.
    @param progress: called with C{(bytes, size)} while records without entries are indexed.
    """
    size = os.fstat(raw_fd).st_size
    index_size = os.fstat(index_fd).st_size
    if size == 0 and index_size == 0:
        files.write_at(index_fd, (encode_index_header(0),), 0)
        return Recovered(0, 0, changed=True)
    head = read_exactly(index_fd, HEADER_SIZE, 0)
    synced = decode_index_header(head)
    entries = max(0, (index_size - HEADER_SIZE) // ENTRY_SIZE)
    changed = False
    made_good = 0
    if synced is None:
        # Without the mark, every entry is taken for one of a synced record: nothing is cut that might have been
        # acknowledged.
        accept_unindexed = True
        if any(head):
            synced = entries
            made_good = 1
            kept = keep_copy(index_path, f"{index_path}.bad.{stamp()}", 0, files)
            _log.error(
                "the header of {path} is damaged; it is made anew, the old index is kept as {kept}",
                path=index_path,
                kept=kept,
            )
        else:
            # No index yet, or an indexing that was interrupted: see below.
            synced = entries = _leading_entries(index_fd, entries)
        files.write_at(index_fd, (bytes(HEADER_SIZE),), 0)
        changed = True

    def mend(at: int, data: bytes) -> Entry | None:
        nonlocal made_good
        entry = _mended_entry(raw_path, raw_fd, index_fd, at, data, files)
        made_good += entry is not None
        return entry

    count, end = _last_whole(raw_fd, index_fd, entries, synced, size, mend)
    changed = changed or bool(made_good)
    if HEADER_SIZE + count * ENTRY_SIZE != max(index_size, HEADER_SIZE):
        files.truncate(index_fd, HEADER_SIZE + count * ENTRY_SIZE)
        changed = True
    indexed = torn = 0
    if end > size:
        _log.error(
            "{path} is damaged: it has {size} bytes, but its index knows of records up to {end}",
            path=raw_path,
            size=size,
            end=end,
        )
    if end < size and accept_unindexed:
        # As long as records are being indexed the header is zero: should that be interrupted, what lacks entries must
        # not be taken for a torn tail.
        files.write_at(index_fd, (bytes(HEADER_SIZE),), 0)
        files.sync_data(index_fd)
        count, end, indexed = _index_rest(raw_fd, index_fd, count, end, size, files, progress)
    elif end < size and count < synced:
        # The mark reached the disk before the entries. As many records as it names are whole; what follows them is
        # not proven to be, and the mark stays to say so.
        count, end, indexed = _index_rest(raw_fd, index_fd, count, end, size, files, progress, synced - count)
    if end < size:
        torn = size - end
    # Entries behind the mark may be in the page cache only, after a process was killed. What follows them must not be
    # on disk before them.
    changed = changed or bool(indexed or torn) or count != synced or end < size
    if indexed:
        _log.info("{path}: {indexed} records without index entries were indexed", path=raw_path, indexed=indexed)
    if torn:
        kept = keep_copy(raw_path, f"{raw_path.removesuffix('.raw')}.torn.{stamp()}", end, files)
        files.truncate(raw_fd, end)
        _log.warn(
            "{path}: a torn tail of {torn} bytes behind the last whole record, at offset {end}, was cut off and is kept as {kept}",
            path=raw_path,
            torn=torn,
            end=end,
            kept=kept,
        )
    return Recovered(count, end, indexed, torn, made_good, changed)


def _leading_entries(index_fd: int, entries: int) -> int:
    """How many whole entries there are up to the first that is not."""
    for position in range(0, entries, 4096):
        data = read_exactly(index_fd, min(4096, entries - position) * ENTRY_SIZE, HEADER_SIZE + position * ENTRY_SIZE)
        for at in range(0, len(data), ENTRY_SIZE):
            if decode_entry(data, at) is None:
                return position + at // ENTRY_SIZE
    return entries


def _mended_entry(raw_path: str, raw_fd: int, index_fd: int, at: int, damaged: bytes, files: Files) -> Entry | None:
    """
    The entry at byte C{at} of the index, whose checksum fails, written anew as it was. Only if its record is whole:
    what a power cut left is not to be taken for an entry.
    """
    corrected = mended(damaged)
    entry = None if corrected is None else decode_entry(corrected)
    if corrected is None or entry is None or not _is_whole(raw_fd, entry):
        return None
    files.write_at(index_fd, (corrected,), at)
    _log.warn(
        "the index entry of the record at offset {offset} of {file} was damaged, and is mended",
        offset=entry.offset,
        file=raw_path,
    )
    return entry


def _last_whole(
    raw_fd: int,
    index_fd: int,
    entries: int,
    synced: int,
    size: int,
    mend: Callable[[int, bytes], Entry | None],
) -> tuple[int, int]:
    """
    The number of entries to keep, and where the last one's record ends.

    @param mend: given the byte where a damaged entry is, and its bytes, makes it whole if it can.
    """
    position = entries
    while position > 0:
        at = HEADER_SIZE + (position - 1) * ENTRY_SIZE
        data = read_exactly(index_fd, ENTRY_SIZE, at)
        entry = decode_entry(data) or mend(at, data)
        if entry is not None and (
            position <= synced or (not entry.continues and entry.end <= size and _is_whole(raw_fd, entry))
        ):
            # A synced record stays, even if the file ends before it does: its offset is never given again, and
            # reading it finds the damage.
            return position, entry.end
        if position <= synced and entry is None:
            # A damaged entry of a synced record: it counts, and reading it finds the damage.
            end = _end_across_damage(raw_fd, index_fd, position, size)
            if end is not None:
                return position, end
        position -= 1
    return 0, 0


def _end_across_damage(raw_fd: int, index_fd: int, position: int, size: int) -> int | None:
    """
    Where record C{position - 1} ends if its entry is unreadable: by the framing of the records since the last
    readable entry.
    """
    known = position - 1
    end = 0
    while known > 0:
        entry = decode_entry(read_exactly(index_fd, ENTRY_SIZE, HEADER_SIZE + (known - 1) * ENTRY_SIZE))
        if entry is not None:
            end = entry.end
            break
        known -= 1
    for _ in range(known, position):
        head = read_exactly(raw_fd, LENGTH_SIZE, end)
        if len(head) < LENGTH_SIZE:
            return None
        end += LENGTH_SIZE + unpack_length(head)
        if end > size:
            return None
    return end


def _is_whole(raw_fd: int, entry: Entry) -> bool:
    head = read_exactly(raw_fd, LENGTH_SIZE, entry.offset)
    return (
        len(head) == LENGTH_SIZE and unpack_length(head) == entry.length and _checksum(raw_fd, entry) == entry.checksum
    )


def _checksum(raw_fd: int, entry: Entry) -> int | None:
    checksum = 0
    at, left = entry.offset + LENGTH_SIZE, entry.length
    while left:
        data = read_exactly(raw_fd, min(left, _READ), at)
        if not data:
            return None
        checksum = crc32c(data, checksum)
        at += len(data)
        left -= len(data)
    return checksum


def _index_rest(
    raw_fd: int,
    index_fd: int,
    count: int,
    end: int,
    size: int,
    files: Files,
    progress: Callable[[int, int], None],
    limit: int | None = None,
) -> tuple[int, int, int]:
    """
    Index the whole records from C{end} on, at most C{limit}.

    @return: the new count and end, and how many were indexed.
    """
    indexed = 0
    batch: list[bytes] = []
    for entry in islice(_walk(raw_fd, end, size, progress, accept_zeros=count == 0), limit):
        batch.append(encode_entry(entry.offset, 0, entry.length, entry.checksum, 0))
        end = entry.end
        if len(batch) == 4096:
            files.write_at(index_fd, batch, HEADER_SIZE + (count + indexed) * ENTRY_SIZE)
            indexed += len(batch)
            batch = []
    if batch:
        files.write_at(index_fd, batch, HEADER_SIZE + (count + indexed) * ENTRY_SIZE)
        indexed += len(batch)
    return count + indexed, end, indexed


def _walk(
    raw_fd: int, start: int, size: int, progress: Callable[[int, int], None], accept_zeros: bool
) -> Iterable[Entry]:
    """The whole records from C{start} on, told by their framing alone."""
    window = b""
    base = start
    at = start
    while at + LENGTH_SIZE <= size:
        if at + LENGTH_SIZE > base + len(window):
            base, window = at, read_exactly(raw_fd, _READ, at)
            progress(at, size)
            if len(window) < LENGTH_SIZE:
                return
        length = unpack_length(window, at - base)
        end = at + LENGTH_SIZE + length
        if end > size:
            return
        if length == 0 and not accept_zeros and _only_zeros(raw_fd, at, size):
            return
        if end > base + len(window) and length < _READ - LENGTH_SIZE:
            base, window = at, read_exactly(raw_fd, _READ, at)
        if end <= base + len(window):
            checksum: int | None = crc32c(memoryview(window)[at - base + LENGTH_SIZE : end - base])
        else:
            checksum = _checksum(raw_fd, Entry(at, 0, length, 0, 0))
        if checksum is None:
            return
        yield Entry(at, 0, length, checksum, 0)
        at = end


def _only_zeros(raw_fd: int, at: int, size: int) -> bool:
    """Whether the file is nothing but zeros from C{at} on: space that a crash left, not empty records."""
    while at < size:
        data = read_exactly(raw_fd, _READ, at)
        if not data:
            return True
        if data.count(0) != len(data):
            return False
        at += len(data)
    return True


def keep_copy(source: str, target: str, start: int, files: Files) -> str:
    """Keep the bytes of a file from C{start} on in a file of their own, on disk. @return: its path."""
    read_fd = files.open(source, os.O_RDONLY)
    write_fd = files.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        at = start
        while data := read_exactly(read_fd, _READ, at):
            files.write_at(write_fd, (data,), at - start)
            at += len(data)
        files.sync_data(write_fd)
        files.sync_directory(os.path.dirname(target))
    finally:
        files.close(read_fd)
        files.close(write_fd)
    return target


def stamp() -> str:
    """Now, for the names of files that are kept aside."""
    return f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}.{time.time_ns() % 1_000_000_000:09d}"
