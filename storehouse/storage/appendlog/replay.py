"""
Replay of the write-ahead log into the bucket files.

docs/formats/appendlog.md says what is done and in which order.
"""

from __future__ import annotations

import os

import attrs
from twisted.logger import Logger

from storehouse.core.files import Files
from storehouse.errors import StartFailed
from storehouse.storage.appendlog.formats import ENTRY_SIZE, FRAME_ALIGNMENT, HEADER_SIZE, Frame
from storehouse.storage.appendlog.recovery import bucket_paths, keep_copy, stamp
from storehouse.storage.appendlog.wal import WalEnd, read_frame, read_salt, read_segment, salt_path, segment_paths

__all__ = ["replay"]

_log = Logger()


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
    salt = read_salt(wal, files) or 0
    for number, path in segment_paths(wal):
        for at, frame in read_segment(path, files, salt):
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
            frame_again = read_frame(fd, place.path, place.at, os.fstat(fd).st_size, salt)
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
    kept = f"{wal}.damaged.{stamp()}"
    files.mkdir(kept)
    keep_copy(salt_path(wal), salt_path(kept), 0, files)
    for number, path in segment_paths(wal):
        keep_copy(path, os.path.join(kept, f"segment.{number}"), 0, files)
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
