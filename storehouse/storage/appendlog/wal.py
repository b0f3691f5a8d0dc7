"""
The write-ahead log: one log for all bucket files, so that a group of appends costs one sync however many bucket files
it touches. Syncing each bucket file would cost 20 times as much where all of them are in use.

The table of a frame is in docs/formats/appendlog.md. Segments are preallocated with zeros, since a sync that also has
to commit the allocation of blocks takes half as long again. They are used in turn; before one is used again, the
bucket files that its frames name have been synced by the checkpointer.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator

import attrs
from twisted.logger import Logger

from storehouse.core.digests import crc32c
from storehouse.core.files import Files, read_exactly
from storehouse.core.framing import pack_length, unpack_length
from storehouse.errors import Damaged, StoreUnusable
from storehouse.storage.appendlog.bucket import BucketFile
from storehouse.storage.appendlog.formats import (
    FRAME_ALIGNMENT,
    FRAME_MAGIC,
    HEADER_SIZE,
    RUN_HEADER_SIZE,
    Frame,
    correct_byte,
    decode_frame,
    encode_frame,
)
from storehouse.storage.appendlog.groups import Run

__all__ = [
    "SEGMENTS",
    "Segment",
    "WalEnd",
    "WriteAheadLog",
    "read_frame",
    "read_salt",
    "read_segment",
    "salt_path",
    "segment_paths",
]

#: Segments of a log: one is written while the checkpoints of the others may still be under way.
SEGMENTS = 4

_log = Logger()

_ZEROS = bytes(1 << 20)
_segment_name = re.compile(r"segment\.(\d{1,6})\Z")


class Segment:
    """
    One file of the log.

    @ivar used: where the next frame goes.
    @ivar last: the sequence of the last frame.
    @ivar dirty: bucket files that its frames name and that have not been synced since.
    """

    def __init__(self, path: str, fd: int) -> None:
        self.path = path
        self.fd = fd
        self.used = 0
        self.last = 0
        self.dirty: set[BucketFile] = set()


@attrs.frozen
class WalEnd:
    """
    Where the newest frame of a log ends.

    @ivar sequence: of that frame; 0 if there is none.
    @ivar segment: the number of its segment.
    @ivar used: the aligned position behind it.
    """

    sequence: int = 0
    segment: int = 0
    used: int = 0


class WriteAheadLog:
    """
    The writing side. Its methods are called in the commit thread.

    @ivar sequence: the number of the next frame.
    @ivar replay_from: the lowest sequence that a replay still needs.
    @ivar on_full: called with a segment that has just been left for the next one.
    @ivar wait_for: called with the segment about to be used again; returns when nothing in it is needed any more.
    @ivar frames: how many were written.
    @ivar bytes_written: their bytes.
    """

    def __init__(self, directory: str, size: int, files: Files) -> None:
        self.directory = directory
        # At least 16 pages, however small the setting is: one is kept for _next_segment, the others hold frames.
        self.segment_size = max(size // SEGMENTS // FRAME_ALIGNMENT, 16) * FRAME_ALIGNMENT
        self._files = files
        self._segments: list[Segment] = []
        self._current = 0
        self._salt = 0
        self.sequence = 1
        self.replay_from = 1
        self.on_full: Callable[[Segment], None] = lambda segment: None
        self.wait_for: Callable[[Segment], None] = lambda segment: None
        self.frames = 0
        self.bytes_written = 0

    @property
    def longest_run(self) -> int:
        """Bytes of the longest run that is framed. A longer one would be written twice to save one sync."""
        return self.segment_size // SEGMENTS

    def start(self, found: WalEnd) -> None:
        """
        Preallocate, and write a frame that asks for no replay of earlier ones. To be called after a replay.

        @param found: where the newest frame ends; everything up to it has been replayed and synced.
        """
        self._files.make_directory(self.directory)
        self._salt = read_salt(self.directory, self._files) or int.from_bytes(os.urandom(4), "little") or 1
        self._write_salt()
        # Preallocated, so that a sync writes data alone and no block allocation, and a full disk shows now.
        self._segments = [self._preallocate(number) for number in range(SEGMENTS)]
        self._files.sync_directory(self.directory)
        if found.segment < SEGMENTS:
            self._current = found.segment
            self._segments[found.segment].used = found.used
        # Frames of before stay in the segments until they are overwritten. The fence keeps a later replay from applying
        # them again over what was appended, or deleted, since.
        self.sequence = found.sequence + 1
        self.fence(self.sequence)
        # Another version may have used more segments. After the fence: until then a replay may need their frames.
        for number, path in segment_paths(self.directory):
            if number >= SEGMENTS:
                self._files.unlink(path)

    def _write_salt(self) -> None:
        # On disk before the first segment exists, so that segments without a salt are damage. Written even if it was
        # just read: the process that made it may have been killed before the sync.
        fields = pack_length(self._salt)
        fd = self._files.open(salt_path(self.directory), os.O_WRONLY | os.O_CREAT)
        try:
            self._files.write_at(fd, (fields + pack_length(crc32c(fields)),), 0)
            self._files.sync_data(fd)
        finally:
            self._files.close(fd)
        self._files.sync_directory(self.directory)

    def _preallocate(self, number: int) -> Segment:
        path = os.path.join(self.directory, f"segment.{number}")
        fd = self._files.open(path, os.O_RDWR | os.O_CREAT)
        size = os.fstat(fd).st_size
        if size > self.segment_size:
            self._files.truncate(fd, self.segment_size)
        try:
            for at in range(size, self.segment_size, len(_ZEROS)):
                self._files.write_at(fd, (_ZEROS[: self.segment_size - at],), at)
            if size != self.segment_size:
                self._files.sync_data(fd)
        except OSError:
            # The start fails: give the space back, others may need it.
            try:
                self._files.truncate(fd, min(size, self.segment_size))
            finally:
                self._files.close(fd)
            raise
        return Segment(path, fd)

    def write(self, runs: Iterable[Run]) -> None:
        """
        Bring runs to disk, in one frame if they fit into one.

        @raise OSError: then nothing may be acknowledged any more.
        """
        # No run is longer than a quarter of a segment, so each fits into a frame: see longest_run.
        room = self.segment_size - FRAME_ALIGNMENT - HEADER_SIZE
        batch: list[Run] = []
        taken = 0
        for run in runs:
            size = RUN_HEADER_SIZE + len(run.bucket.prefix_bytes) + len(run.encoded_entries) + run.size
            if batch and taken + size > room:
                self._write_frame(batch)
                batch, taken = [], 0
            batch.append(run)
            taken += size
        if batch:
            self._write_frame(batch)

    def fence(self, replay_from: int) -> None:
        """
        Write a frame without runs, from which on a replay skips frames before C{replay_from}. All bucket files that
        those name must have been synced.
        """
        self.replay_from = replay_from
        self._write_frame([])

    def dirty_buckets(self) -> set[BucketFile]:
        """All bucket files that frames name and that have not been synced since."""
        return set().union(*(segment.dirty for segment in self._segments))

    def forget(self, buckets: Iterable[BucketFile]) -> None:
        """Do not name these as dirty any more: they are about to be synced and closed."""
        closing = set(buckets)
        for segment in self._segments:
            segment.dirty -= closing

    def close(self) -> None:
        for segment in self._segments:
            self._files.close(segment.fd)
        self._segments = []

    def _write_frame(self, runs: list[Run]) -> None:
        frame = self._encode(runs)
        segment = self._segments[self._current]
        # The last page of a segment is kept for the frame that _next_segment writes when the segment is left.
        if segment.used + len(frame) > self.segment_size - FRAME_ALIGNMENT:
            segment = self._next_segment(segment)
            # Again: _next_segment may have written a frame, and so changed the sequence.
            frame = self._encode(runs)
        self._put(segment, frame)
        segment.dirty.update(run.bucket for run in runs)

    def _encode(self, runs: list[Run]) -> bytes:
        return encode_frame(
            self.sequence,
            self.replay_from,
            (
                (
                    run.bucket.prefix_bytes,
                    run.bucket.number,
                    run.offset,
                    run.position,
                    run.encoded_entries,
                    run.encoded_records,
                )
                for run in runs
            ),
            self._salt,
        )

    def _put(self, segment: Segment, frame: bytes) -> None:
        # Aligned to pages of the file system, so that a torn write cannot touch an earlier frame.
        self._files.write_synced(segment.fd, frame, segment.used)
        segment.used += -(-len(frame) // FRAME_ALIGNMENT) * FRAME_ALIGNMENT
        segment.last = self.sequence
        self.sequence += 1
        self.frames += 1
        self.bytes_written += len(frame)

    def _next_segment(self, left: Segment) -> Segment:
        self.on_full(left)
        self._current = (self._current + 1) % SEGMENTS
        segment = self._segments[self._current]
        self.wait_for(segment)
        if segment.last >= self.replay_from:
            # On disk before the first old frame is overwritten: otherwise a replay would take its absence for damage.
            self.replay_from = segment.last + 1
            self._put(left, self._encode([]))
        segment.used = 0
        segment.dirty = set()
        return segment


def salt_path(directory: str) -> str:
    return os.path.join(directory, "salt")


def read_salt(directory: str, files: Files) -> int | None:
    """
    The number that the checksums of a log's frames start with; C{None} if the log does not exist yet.

    It is secret: what follows the newest frame may be the inside of an older one, whose bytes a client has chosen;
    someone who knew the salt could append a record that passes for a frame there.

    @raise StoreUnusable: if there are segments and no valid salt to read them with.
    """
    path = salt_path(directory)
    data = b""
    if os.path.exists(path):
        fd = files.open(path, os.O_RDONLY)
        try:
            data = read_exactly(fd, 8, 0)
        finally:
            files.close(fd)
    if len(data) == 8:
        if crc32c(data[:4]) == unpack_length(data, 4):
            return unpack_length(data)
        corrected = correct_byte(data)
        if corrected is not None:
            _log.warn("corrected a damaged byte in {path}", path=path)
            return unpack_length(corrected)
    if segment_paths(directory):
        raise StoreUnusable(
            f"{path} is missing or damaged; the write-ahead log cannot be read without it."
            f" Restore it; or move {directory} away, and lose the records that only the write-ahead log holds"
        )
    return None


def segment_paths(directory: str) -> list[tuple[int, str]]:
    """C{(number, path)} of the segments that exist, in order."""
    try:
        names = os.listdir(directory)
    except FileNotFoundError:
        return []
    found = [(int(match[1]), os.path.join(directory, name)) for name in names if (match := _segment_name.match(name))]
    return sorted(found)


def read_segment(path: str, files: Files, salt: int) -> Iterator[tuple[int, Frame]]:
    """
    The valid frames of a segment, C{(position, frame)} in the order of their positions. Behind the newest one there
    may be older ones, of the last time that the segment was used.

    Looks at every boundary, since a valid frame may follow a torn or damaged one.
    """
    fd = files.open(path, os.O_RDONLY)
    try:
        size = os.fstat(fd).st_size
        at = 0
        while at + HEADER_SIZE <= size:
            frame = read_frame(fd, path, at, size, salt)
            if frame is None:
                at += FRAME_ALIGNMENT
            else:
                yield at, frame
                at += -(-frame.size // FRAME_ALIGNMENT) * FRAME_ALIGNMENT
    finally:
        files.close(fd)


def read_frame(fd: int, path: str, at: int, size: int, salt: int) -> Frame | None:
    """The frame at C{at} of a segment of C{size} bytes; C{None} if there is none, or it is torn or damaged."""
    head = read_exactly(fd, HEADER_SIZE, at)
    if len(head) < HEADER_SIZE or head[:4] != FRAME_MAGIC:
        return None
    length = HEADER_SIZE + unpack_length(head, 24)
    if at + length > size:
        return None
    try:
        return decode_frame(read_exactly(fd, length, at), salt=salt)
    except Damaged as error:
        raise Damaged(f"{path} at byte {at}: {error}") from None
