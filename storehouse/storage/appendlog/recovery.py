"""
Recovery at a start: the write-ahead log is replayed into the bucket files, and each bucket file and its index are
brought into agreement.

docs/formats/appendlog.md says what is done and in which order. Nothing is thrown away: what is cut off or replaced is
kept beside the file that it came from.
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
from storehouse.errors import StartFailed
from storehouse.storage.appendlog.formats import (
    ENTRY_SIZE,
    FRAME_ALIGNMENT,
    HEADER_SIZE,
    Entry,
    Frame,
    correct_byte,
    decode_entry,
    decode_index_header,
    encode_entry,
    encode_index_header,
)
from storehouse.storage.appendlog.wal import WalEnd, read_frame, read_salt, read_segment, salt_path, segment_paths

__all__ = ["Recovered", "bucket_paths", "recover_bucket", "replay"]

_log = Logger()

# Bytes that are read at a time.
_READ = 1 << 20


def bucket_paths(directory: str, number: int) -> tuple[str, str]:
    """The paths of a bucket file and its index."""
    stem = os.path.join(directory, f"append.{number}")
    return stem + ".raw", stem + ".idx"


# -- the write-ahead log ---------------------------------------------------------------------


@attrs.frozen
class _FramePosition:
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
    found: list[_FramePosition] = []
    replay_from = 1
    newest = WalEnd()
    salt = read_salt(wal, files) or 0
    for number, path in segment_paths(wal):
        for at, frame in read_segment(path, files, salt):
            found.append(_FramePosition(frame.sequence, number, path, at))
            if frame.sequence > newest.sequence:
                used = at + -(-frame.size // FRAME_ALIGNMENT) * FRAME_ALIGNMENT
                newest, replay_from = WalEnd(frame.sequence, number, used), frame.replay_from
    needed = sorted((each for each in found if each.sequence >= replay_from), key=lambda each: each.sequence)
    _report_gaps(needed, replay_from, wal, files)
    target = _ReplayTarget(log_directory, files)
    segments = {path: files.open(path, os.O_RDONLY) for path in {each.path for each in needed}}
    records = 0
    try:
        for each in needed:
            # Read a second time: all frames together may be more than fits into memory.
            fd = segments[each.path]
            needed_frame = read_frame(fd, each.path, each.at, os.fstat(fd).st_size, salt)
            if needed_frame is not None:
                records += target.apply(needed_frame)
        # The log is started after this and overwrites its segments: what was replayed must not depend on them.
        target.sync()
    except OSError as error:
        raise StartFailed(f"the write-ahead log in {wal} cannot be replayed: {error}") from error
    finally:
        target.close()
        for fd in segments.values():
            files.close(fd)
    return newest, records


def _report_gaps(frames: list[_FramePosition], replay_from: int, wal: str, files: Files) -> None:
    """Log which sequences are missing, and copy the segments: someone may want to find out why."""
    expected = replay_from
    kept = ""
    for frame in frames:
        if frame.sequence != expected:
            kept = kept or _keep_segments(wal, files)
            _log.error(
                "the write-ahead log is damaged: frames {first} to {last} are missing before byte {at} of {path}; "
                "copies of the segments are in {kept}",
                first=expected,
                last=frame.sequence - 1,
                at=frame.at,
                path=frame.path,
                kept=kept,
            )
        expected = frame.sequence + 1


def _keep_segments(wal: str, files: Files) -> str:
    kept = f"{wal}.damaged.{_stamp()}"
    files.mkdir(kept)
    _keep_copy(salt_path(wal), salt_path(kept), 0, files)
    for number, path in segment_paths(wal):
        _keep_copy(path, os.path.join(kept, f"segment.{number}"), 0, files)
    files.sync_directory(os.path.dirname(kept))
    return kept


class _ReplayTarget:
    """The bucket and index files that frames are applied to."""

    def __init__(self, log_directory: str, files: Files) -> None:
        self._directory = log_directory
        self._files = files
        self._open: dict[tuple[str, int], tuple[int, int | None]] = {}
        self._skipped: set[str] = set()

    def apply(self, frame: Frame) -> int:
        """Write the runs of a frame to their positions. @return: the number of records."""
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
                _log.warn("{raw} is missing; its records in the write-ahead log are not replayed", raw=raw)
            return None
        raw_fd = self._files.open(raw, os.O_RDWR)
        # A missing index is made from the whole bucket file when the prefix is opened.
        indexed = os.path.exists(index) and os.path.getsize(index) >= HEADER_SIZE
        index_fd = self._files.open(index, os.O_RDWR) if indexed else None
        self._open[prefix, bucket] = raw_fd, index_fd
        return raw_fd, index_fd

    def sync(self) -> None:
        for fds in self._open.values():
            for fd in fds:
                if fd is not None:
                    self._files.sync_data(fd)
        for prefix in {prefix for prefix, _ in self._open}:
            self._files.sync_directory(os.path.join(self._directory, prefix))

    def close(self) -> None:
        for fds in self._open.values():
            for fd in fds:
                if fd is not None:
                    self._files.close(fd)
        self._open.clear()


# -- a bucket file and its index -------------------------------------------------------------


@attrs.frozen
class Recovered:
    """
    The state of a bucket file after its recovery.

    @ivar count: the number of its records.
    @ivar end: the offset behind the last one.
    @ivar indexed: records without entries that were given one.
    @ivar torn: bytes that were cut off.
    @ivar mended: damaged entries, and a damaged header, that were corrected.
    @ivar changed: whether anything was written or may not be on disk, so that a sync and a new header are needed.
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
    Bring a bucket file and its index into agreement. Without a crash, and unless another program has appended to the
    file, this reads only the header and the last entry.

    @param accept_unindexed: whether whole records behind the last entry are those of another program, and are to be
        indexed. Not after a crash: this program writes entries first, so that records without entries are what a power
        cut has left, and cannot be proven whole. A file without an index is always indexed.
    @param progress: called with C{(position, size)} while records without entries are indexed.
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
    mended = 0
    if synced is None:
        # Without synced_count, every entry is taken for that of a synced record: nothing that may have been
        # acknowledged is cut off.
        accept_unindexed = True
        if any(head):
            synced = entries
            mended = 1
            kept = _keep_copy(index_path, f"{index_path}.bad.{_stamp()}", 0, files)
            _log.error(
                "the header of {path} is damaged, and is rewritten; a copy of the old index is {kept}",
                path=index_path,
                kept=kept,
            )
        else:
            # There is no index yet, or an indexing was interrupted: see below.
            synced = entries = _leading_entries(index_fd, entries)
        files.write_at(index_fd, (bytes(HEADER_SIZE),), 0)
        changed = True

    def mend(at: int, data: bytes) -> Entry | None:
        nonlocal mended
        entry = _mend_entry(raw_path, raw_fd, index_fd, at, data, files)
        mended += entry is not None
        return entry

    count, end = _last_whole(raw_fd, index_fd, entries, synced, size, mend)
    changed = changed or bool(mended)
    if HEADER_SIZE + count * ENTRY_SIZE != max(index_size, HEADER_SIZE):
        files.truncate(index_fd, HEADER_SIZE + count * ENTRY_SIZE)
        changed = True
    indexed = torn = 0
    if end > size:
        _log.error(
            "{path} is damaged: it has {size} bytes, but its index has records up to {end}",
            path=raw_path,
            size=size,
            end=end,
        )
    if end < size and accept_unindexed:
        # The header is zero while records are being indexed: if that is interrupted, the next start must not take the
        # records that still lack entries for a torn tail.
        files.write_at(index_fd, (bytes(HEADER_SIZE),), 0)
        files.sync_data(index_fd)
        count, end, indexed = _index_rest(raw_fd, index_fd, count, end, size, files, progress)
    elif end < size and count < synced:
        # synced_count reached the disk before the entries, which is fine: the records did before it. As many as it
        # counts are whole, and are indexed; those behind them are not known to be.
        count, end, indexed = _index_rest(raw_fd, index_fd, count, end, size, files, progress, synced - count)
    if end < size:
        torn = size - end
    # After a process was killed, entries behind synced_count may be in the page cache only. They are synced now, so
    # that none written later reaches the disk before them.
    changed = changed or bool(indexed or torn) or count != synced or end < size
    if indexed:
        _log.info("{path}: {indexed} records without index entries were indexed", path=raw_path, indexed=indexed)
    if torn:
        kept = _keep_copy(raw_path, f"{raw_path.removesuffix('.raw')}.torn.{_stamp()}", end, files)
        files.truncate(raw_fd, end)
        _log.warn(
            "{path}: a torn tail of {torn} bytes after the last whole record, at offset {end}, was cut off; it is "
            "kept as {kept}",
            path=raw_path,
            torn=torn,
            end=end,
            kept=kept,
        )
    return Recovered(count, end, indexed, torn, mended, changed)


def _leading_entries(index_fd: int, entries: int) -> int:
    """The number of undamaged entries before the first damaged one."""
    for position in range(0, entries, 4096):
        data = read_exactly(index_fd, min(4096, entries - position) * ENTRY_SIZE, HEADER_SIZE + position * ENTRY_SIZE)
        for at in range(0, len(data), ENTRY_SIZE):
            if decode_entry(data, at) is None:
                return position + at // ENTRY_SIZE
    return entries


def _mend_entry(raw_path: str, raw_fd: int, index_fd: int, at: int, damaged: bytes, files: Files) -> Entry | None:
    """
    Correct the entry at byte C{at} of the index, whose checksum fails. Only if its record is whole: what a power cut
    has left must not be taken for an entry.
    """
    corrected = correct_byte(damaged)
    entry = None if corrected is None else decode_entry(corrected)
    if corrected is None or entry is None or not _is_whole(raw_fd, entry):
        return None
    files.write_at(index_fd, (corrected,), at)
    _log.warn(
        "the index entry of the record at offset {offset} of {file} was damaged, and was corrected",
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
    The number of entries to keep, and where the record of the last one ends.

    @param mend: called with the position and the bytes of a damaged entry; returns it corrected, if it can.
    """
    position = entries
    while position > 0:
        at = HEADER_SIZE + (position - 1) * ENTRY_SIZE
        data = read_exactly(index_fd, ENTRY_SIZE, at)
        entry = decode_entry(data) or mend(at, data)
        if entry is not None and (
            position <= synced or (not entry.continues and entry.end <= size and _is_whole(raw_fd, entry))
        ):
            # A synced record is kept even if the file ends within it: its offset must not be assigned again, and
            # reading it reports the damage.
            return position, entry.end
        if position <= synced and entry is None:
            # A damaged entry of a synced record is kept as well: reading it reports the damage.
            end = _end_across_damage(raw_fd, index_fd, position, size)
            if end is not None:
                return position, end
        position -= 1
    return 0, 0


def _end_across_damage(raw_fd: int, index_fd: int, position: int, size: int) -> int | None:
    """
    Where record C{position - 1} ends if its entry is damaged: by the lengths of the records since the last undamaged
    entry.
    """
    readable = position - 1
    end = 0
    while readable > 0:
        entry = decode_entry(read_exactly(index_fd, ENTRY_SIZE, HEADER_SIZE + (readable - 1) * ENTRY_SIZE))
        if entry is not None:
            end = entry.end
            break
        readable -= 1
    for _ in range(readable, position):
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
    """The whole records from C{start} on, by their lengths alone. Their entries have no time and no identifier."""
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
    """Whether the file has only zeros from C{at} on: space that a crash has left, and not empty records."""
    while at < size:
        data = read_exactly(raw_fd, _READ, at)
        if not data:
            return True
        if data.count(0) != len(data):
            return False
        at += len(data)
    return True


# -- copies ----------------------------------------------------------------------------------


def _keep_copy(source: str, target: str, start: int, files: Files) -> str:
    """Copy the bytes of a file from C{start} on to another one, durably. @return: its path."""
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
    """The time, for names of copies."""
    return f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}.{time.time_ns() % 1_000_000_000:09d}"
