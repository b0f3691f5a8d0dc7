"""
Bringing bucket files into a known state: replay of the write-ahead log, torn tails, missing indexes.

docs/formats/appendlog.md says what is done and in which order.  Nothing is thrown away: what is cut off or replaced is kept beside the file it came from.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable

import attrs
from twisted.logger import Logger

from storehouse.core.digests import crc32c
from storehouse.core.files import Files, read_exactly
from storehouse.core.framing import LENGTH_SIZE, unpack_length
from storehouse.errors import StartFailed
from storehouse.storage.appendlog.formats import (
    ENTRY_SIZE,
    FRAME_ALIGNMENT,
    HEADER_SIZE,
    Entry,
    Frame,
    decode_entry,
    decode_index_header,
    encode_entry,
    encode_index_header,
)
from storehouse.storage.appendlog.wal import WalEnd, read_frame, read_segment, segment_paths

__all__ = ["Recovered", "bucket_paths", "recover_bucket", "replay"]

_log = Logger()

_READ = 1 << 20


def bucket_paths(directory: str, number: int) -> tuple[str, str]:
    """The bucket file and its index."""
    stem = os.path.join(directory, f"append.{number}")
    return stem + ".raw", stem + ".idx"


# -- the write-ahead log ---------------------------------------------------------------------


@attrs.frozen
class _Place:
    sequence: int
    segment: int
    path: str
    at: int


def replay(log_directory: str, files: Files) -> tuple[WalEnd, int]:
    """
    Apply the frames of the write-ahead log to the bucket files under C{log_directory}, and sync these.

    @return: where the newest frame ends, and the number of records that were applied.
    @raise StartFailed: if a bucket file cannot be written.
    """
    wal = os.path.join(log_directory, ".wal")
    places: list[_Place] = []
    replay_from = 1
    newest = WalEnd()
    for number, path in segment_paths(wal):
        for at, frame in read_segment(path, files):
            places.append(_Place(frame.sequence, number, path, at))
            if frame.sequence > newest.sequence:
                used = at + -(-frame.size // FRAME_ALIGNMENT) * FRAME_ALIGNMENT
                newest, replay_from = WalEnd(frame.sequence, number, used), frame.replay_from
    wanted = sorted((place for place in places if place.sequence >= replay_from), key=lambda place: place.sequence)
    _report_gaps(wanted, replay_from, wal, files)
    target = _ReplayTarget(log_directory, files)
    segments = {path: files.open(path, os.O_RDONLY) for path in {place.path for place in wanted}}
    records = 0
    try:
        for place in wanted:
            fd = segments[place.path]
            frame_again = read_frame(fd, place.path, place.at, os.fstat(fd).st_size)
            if frame_again is not None:
                records += target.apply(frame_again)
        target.sync()
    except OSError as error:
        raise StartFailed(f"the write-ahead log in {wal} cannot be replayed: {error}") from error
    finally:
        target.close()
        for fd in segments.values():
            files.close(fd)
    return newest, records


def _report_gaps(wanted: list[_Place], replay_from: int, wal: str, files: Files) -> None:
    expected = replay_from
    kept = ""
    for place in wanted:
        if place.sequence != expected:
            kept = kept or _keep_segments(wal, files)
            _log.error(
                "the write-ahead log is damaged: frames {first} to {last} are missing before byte {at} of {path}; the segments are kept in {kept}",
                first=expected,
                last=place.sequence - 1,
                at=place.at,
                path=place.path,
                kept=kept,
            )
        expected = place.sequence + 1


def _keep_segments(wal: str, files: Files) -> str:
    kept = f"{wal}.damaged.{_stamp()}"
    files.mkdir(kept)
    for number, path in segment_paths(wal):
        _copy(path, os.path.join(kept, f"segment.{number}"), 0, files)
    files.sync_directory(os.path.dirname(kept))
    return kept


class _ReplayTarget:
    """The files that frames are applied to."""

    def __init__(self, log_directory: str, files: Files) -> None:
        self._directory = log_directory
        self._files = files
        self._open: dict[tuple[str, int], tuple[int, int | None]] = {}
        self._skipped: set[str] = set()

    def apply(self, frame: Frame) -> int:
        """Write the runs of a frame where they belong. @return: the number of records."""
        records = 0
        for run in frame.runs:
            fds = self._files_of(run.prefix, run.bucket)
            if fds is None:
                continue
            raw_fd, index_fd = fds
            self._files.write_at(raw_fd, (run.records,), run.offset)
            if index_fd is not None:
                self._files.write_at(index_fd, (run.entries,), HEADER_SIZE + run.position * ENTRY_SIZE)
            records += len(run.entries) // ENTRY_SIZE
        return records

    def _files_of(self, prefix: str, bucket: int) -> tuple[int, int | None] | None:
        fds = self._open.get((prefix, bucket))
        if fds is not None:
            return fds
        directory = os.path.join(self._directory, prefix)
        raw, index = bucket_paths(directory, bucket)
        if not os.path.exists(raw):
            if prefix not in self._skipped:
                self._skipped.add(prefix)
                _log.warn("{raw} is gone; what the write-ahead log holds for it is not replayed", raw=raw)
            return None
        raw_fd = self._files.open(raw, os.O_RDWR)
        # An index that is not there is made from the bucket file, all of it, when the prefix is opened.
        indexed = os.path.exists(index) and os.path.getsize(index) >= HEADER_SIZE
        index_fd = self._files.open(index, os.O_RDWR) if indexed else None
        self._open[prefix, bucket] = raw_fd, index_fd
        return raw_fd, index_fd

    def sync(self) -> None:
        """Bring all of it to disk."""
        for fds in self._open.values():
            for fd in fds:
                if fd is not None:
                    self._files.sync_data(fd)
        for prefix in {prefix for prefix, _ in self._open}:
            self._files.sync_directory(os.path.join(self._directory, prefix))

    def close(self) -> None:
        """Close the files."""
        for fds in self._open.values():
            for fd in fds:
                if fd is not None:
                    self._files.close(fd)
        self._open.clear()


# -- one bucket ------------------------------------------------------------------------------


@attrs.frozen
class Recovered:
    """
    The state of a bucket after its recovery.

    @ivar count: its records.
    @ivar end: the offset behind the last.
    @ivar indexed: records that were found without entries and got them.
    @ivar torn: bytes that were cut off.
    @ivar changed: whether anything was written, or may not be on disk yet, so that it wants a sync and a new header.
    """

    count: int
    end: int
    indexed: int = 0
    torn: int = 0
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
    Bring a bucket file and its index into agreement.  Reads the header and the last entries only, if there was no crash and no other program.

    @param accept_unindexed: whether whole records behind the last entry are another program's, and to be indexed.  After a crash of our own they are not: the
        entries of ours are written first, so what lacks them is what a power cut left, and cannot be proven whole.  A file without any index is always indexed.
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
    if synced is None:
        # Without the mark, every entry is taken for one of a synced record: nothing is cut that might have been acknowledged.
        accept_unindexed = True
        if any(head):
            synced = entries
            kept = _copy(index_path, f"{index_path}.bad.{_stamp()}", 0, files)
            _log.error("the header of {path} is damaged; it is made anew, the old index is kept as {kept}", path=index_path, kept=kept)
        else:
            # No index yet, or an indexing that was interrupted: see below.
            synced = entries = _leading_entries(index_fd, entries)
        files.write_at(index_fd, (bytes(HEADER_SIZE),), 0)
        changed = True
    count, end = _last_whole(raw_fd, index_fd, entries, synced, size)
    if HEADER_SIZE + count * ENTRY_SIZE != max(index_size, HEADER_SIZE):
        files.truncate(index_fd, HEADER_SIZE + count * ENTRY_SIZE)
        changed = True
    indexed = torn = 0
    if end > size:
        _log.error("{path} is damaged: it has {size} bytes, but its index knows of records up to {end}", path=raw_path, size=size, end=end)
    if end < size and (accept_unindexed or count < synced):
        # As long as records are being indexed the header is zero: should that be interrupted, what lacks entries must not be taken for a torn tail.
        files.write_at(index_fd, (bytes(HEADER_SIZE),), 0)
        files.sync_data(index_fd)
        count, end, indexed = _index_rest(raw_fd, index_fd, count, end, size, files, progress)
    if end < size:
        torn = size - end
    # Entries behind the mark may be in the page cache only, after a process was killed. What follows them must not be on disk before them.
    changed = changed or bool(indexed or torn) or count != synced or end < size
    if indexed:
        _log.info("{path}: {indexed} records without index entries were indexed", path=raw_path, indexed=indexed)
    if torn:
        kept = _copy(raw_path, f"{raw_path.removesuffix('.raw')}.torn.{_stamp()}", end, files)
        files.truncate(raw_fd, end)
        _log.warn(
            "{path}: a torn tail of {torn} bytes behind the last whole record, at offset {end}, was cut off and is kept as {kept}",
            path=raw_path,
            torn=torn,
            end=end,
            kept=kept,
        )
    return Recovered(count, end, indexed, torn, changed)


def _leading_entries(index_fd: int, entries: int) -> int:
    """How many whole entries there are up to the first that is not."""
    for position in range(0, entries, 4096):
        data = read_exactly(index_fd, min(4096, entries - position) * ENTRY_SIZE, HEADER_SIZE + position * ENTRY_SIZE)
        for at in range(0, len(data), ENTRY_SIZE):
            if decode_entry(data, at) is None:
                return position + at // ENTRY_SIZE
    return entries


def _last_whole(raw_fd: int, index_fd: int, entries: int, synced: int, size: int) -> tuple[int, int]:
    """The number of entries to keep, and where the last one's record ends."""
    position = entries
    while position > 0:
        data = read_exactly(index_fd, ENTRY_SIZE, HEADER_SIZE + (position - 1) * ENTRY_SIZE)
        entry = decode_entry(data)
        if entry is not None and (position <= synced or (entry.end <= size and _is_whole(raw_fd, entry))):
            # A synced record stays, even if the file ends before it does: its offset is never given again, and reading it finds the damage.
            return position, entry.end
        if position <= synced and entry is None:
            # A damaged entry of a synced record: it counts, and reading it finds the damage.
            end = _end_across_damage(raw_fd, index_fd, position, size)
            if end is not None:
                return position, end
        position -= 1
    return 0, 0


def _end_across_damage(raw_fd: int, index_fd: int, position: int, size: int) -> int | None:
    """Where record C{position - 1} ends if its entry is unreadable: by the framing of the records since the last readable entry."""
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
    return len(head) == LENGTH_SIZE and unpack_length(head) == entry.length and _checksum(raw_fd, entry) == entry.checksum


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


def _index_rest(raw_fd: int, index_fd: int, count: int, end: int, size: int, files: Files, progress: Callable[[int, int], None]) -> tuple[int, int, int]:
    """Index the whole records from C{end} on. @return: the new count and end, and how many were indexed."""
    indexed = 0
    batch: list[bytes] = []
    for entry in _walk(raw_fd, end, size, progress, accept_zeros=count == 0):
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


def _walk(raw_fd: int, start: int, size: int, progress: Callable[[int, int], None], accept_zeros: bool) -> Iterable[Entry]:
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


def _copy(source: str, target: str, start: int, files: Files) -> str:
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


def _stamp() -> str:
    return f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}.{time.time_ns() % 1_000_000_000:09d}"
