"""An open bucket file with its index."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from twisted.logger import Logger
from zope.interface import implementer

from storehouse.core.digests import crc32c
from storehouse.core.files import read_exactly
from storehouse.core.framing import LENGTH_SIZE, unpack_length
from storehouse.errors import DamagedRecord, NoSuchRecord, StorehouseError, TooLarge, Unavailable
from storehouse.storage.appendlog.formats import (
    CONTINUES,
    ENTRY_SIZE,
    HEADER_SIZE,
    Entry,
    encode_entry,
    entry_fields,
)
from storehouse.storage.appendlog.index import careful_find, quick_find
from storehouse.storage.appendlog.interfaces import Durability, IBucketFile

__all__ = ["AppendQueue", "BucketFile", "Done", "ReadCounters"]

#: Called with the outcome of an append: C{(offsets, None, level)} or C{(None, error, level)}.
Done = Callable[[tuple[int, ...] | None, Exception | None, Durability], None]

#: Records of up to this many bytes are read in the reactor's thread, if the page cache has them.
_INLINE = 64 * 1024

# One buffer for all: they are used in the reactor's thread alone, and what is read is copied out at once.
_scratch = bytearray(_INLINE)
_scratch_view = memoryview(_scratch)

_entry_buffer = bytearray(ENTRY_SIZE)
_entry_head = memoryview(_entry_buffer)[: ENTRY_SIZE - 4]
_one_entry = (_entry_buffer,)

#: Has a read fail instead of waiting for the disk. Not all systems have it; file systems without it fail with
#: C{EOPNOTSUPP}.
_NOWAIT: int | None = getattr(os, "RWF_NOWAIT", None)


_log = Logger()


class ReadCounters:
    """
    Counters of all bucket files of a log.

    @ivar records: records that were read.
    @ivar size: bytes of their payloads.
    @ivar damaged: reads that found damage.
    @ivar mended: entries and headers of indexes whose checksums failed and that were corrected.
    """

    __slots__ = ("damaged", "mended", "records", "size")

    def __init__(self) -> None:
        self.records = 0
        self.size = 0
        self.damaged = 0
        self.mended = 0


class _NotCached(Exception):
    """The page cache does not have the bytes."""


class _Unsound(Exception):
    """
    A record is not what was stored.

    @ivar offset: where it begins.
    """

    def __init__(self, offset: int, reason: str) -> None:
        super().__init__(offset, reason)
        self.offset = offset
        self.reason = reason


class AppendQueue(Protocol):
    """
    Where bucket files queue their appends: the group commit. It imports bucket files, so that they cannot import it.
    """

    def append(
        self, bucket: BucketFile, payloads: Sequence[bytes], id_hash: int, durability: Durability, done: Done
    ) -> None: ...

    def refuse(self, error: StorehouseError, durability: Durability, done: Done) -> None:
        """Call back with an error, after the callbacks of all appends that were queued before."""


@implementer(IBucketFile)
class BucketFile:
    """
    See L{IBucketFile}.

    @ivar raw_fd: the bucket file; -1 when it is closed.
    @ivar index_fd: its index, likewise.
    @ivar os_appends: how many groups have added records of durability C{os}.
    @ivar os_synced: how many of these a sync has covered. While the two differ, the end of the file may not be on disk.
    @ivar touched: whether anything was appended since the flag was last cleared.
    @ivar readers: how many reads in threads use its files.
    @ivar on_idle: called when the last of them is done.
    @ivar followers: called after records were committed.
    """

    __slots__ = (
        "_queue",
        "closed",
        "count",
        "counters",
        "end",
        "followers",
        "index_fd",
        "json_tail",
        "max_record",
        "number",
        "on_idle",
        "os_appends",
        "os_synced",
        "path",
        "prefix",
        "prefix_bytes",
        "raw_fd",
        "readers",
        "touched",
    )

    def __init__(
        self,
        prefix: str,
        number: int,
        path: str,
        raw_fd: int,
        index_fd: int,
        end: int,
        count: int,
        max_record: int,
        queue: AppendQueue | None,
        json_tail: bytes,
        counters: ReadCounters | None = None,
    ) -> None:
        self.prefix = prefix
        self.prefix_bytes = prefix.encode("utf-8")
        self.number = number
        self.path = path
        self.raw_fd = raw_fd
        self.index_fd = index_fd
        self.end = end
        self.count = count
        self.max_record = max_record
        self._queue = queue
        self.closed = False
        self.touched = False
        self.json_tail = json_tail
        self.counters = counters or ReadCounters()
        self.os_appends = 0
        self.os_synced = 0
        self.readers = 0
        self.on_idle: Callable[[], None] | None = None
        self.followers: list[Callable[[], None]] = []

    # -- appending ---------------------------------------------------------------------------

    def append(self, payloads: Sequence[bytes], id_hash: int, durability: Durability, done: Done) -> None:
        self.touched = True
        if self._queue is None:
            raise RuntimeError("the bucket was opened for reading only")
        if self.closed:
            self._queue.refuse(Unavailable(f"the storage prefix {self.prefix!r} is closed"), durability, done)
        else:
            self._queue.append(self, payloads, id_hash, durability, done)

    # -- reading -----------------------------------------------------------------------------

    def read(self, offset: int) -> bytes | None:
        try:
            payload = self._load(offset)
        except _Unsound as unsound:
            raise self.damaged(unsound.offset, unsound.reason) from unsound.__cause__
        if payload is not None:
            counters = self.counters
            counters.records += 1
            counters.size += len(payload)
        return payload

    def read_framed(self, offsets: Iterable[int], most: int) -> bytes | None:
        load = self._load
        framed = bytearray()
        count = 0
        try:
            for offset in offsets:
                payload = load(offset)
                if payload is None or len(framed) + LENGTH_SIZE + len(payload) > most:
                    return None
                framed += _scratch_view[: LENGTH_SIZE + len(payload)]
                count += 1
        except _Unsound:
            return None
        self.counters.records += count
        self.counters.size += len(framed) - count * LENGTH_SIZE
        return bytes(framed)

    def _load(self, offset: int) -> bytes | None:
        """
        The payload of a record; C{None} if it is long, not in the page cache, or not there. The scratch buffer has it with its
        length before it.

        @raise _Unsound: if it is damaged.
        """
        if _NOWAIT is None or offset >= self.end:
            return None
        try:
            # If all records have the same size, the entry is exactly where interpolation says: one small read finds it.
            guess = HEADER_SIZE + offset * self.count // self.end * ENTRY_SIZE
            if os.preadv(self.index_fd, _one_entry, guess, _NOWAIT) < ENTRY_SIZE:
                return None
            begin: int
            length: int
            begin, _, length, checksum, _, own_checksum = entry_fields(_entry_buffer)
            if offset not in (begin, begin + LENGTH_SIZE) or crc32c(_entry_head) != own_checksum:
                entry = quick_find(self._warm_index, self.count, self.end, offset)
                if entry is None:
                    return None
                begin, length, checksum = entry.offset, entry.length, entry.checksum
            if not 0 < length <= _INLINE - LENGTH_SIZE:
                # Long, or an empty record of another program: for IAppendLog.get.
                return None
            wanted = LENGTH_SIZE + length
            if os.preadv(self.raw_fd, (_scratch_view[:wanted],), begin, _NOWAIT) < wanted:
                return None
        except _NotCached:
            return None
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EOPNOTSUPP):
                return None
            raise _Unsound(offset, f"it cannot be read ({error.strerror})") from error
        payload = bytes(_scratch_view[LENGTH_SIZE:wanted])
        if unpack_length(_scratch) != length or crc32c(payload) != checksum:
            raise _Unsound(begin, "its checksum fails")
        return payload

    def damaged(self, offset: int, reason: str) -> DamagedRecord:
        """Log and count damage. @return: the error to be raised."""
        self.counters.damaged += 1
        error = DamagedRecord(self.path, offset, reason)
        _log.error("{error}", error=error, file=self.path, offset=offset)
        return error

    def _warm_index(self, size: int, position: int) -> bytes:
        assert _NOWAIT is not None
        try:
            got = os.preadv(self.index_fd, (_scratch_view[:size],), position, _NOWAIT)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EOPNOTSUPP):
                raise _NotCached from None
            raise
        if got < size:
            raise _NotCached
        return bytes(_scratch_view[:size])

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Keep the files open while a thread reads them."""
        self.readers += 1
        try:
            yield
        finally:
            self.readers -= 1
            if not self.readers and self.on_idle is not None:
                self.on_idle()

    def locate(self, offset: int) -> Entry:
        """
        The verified entry of the record at C{offset}, or whose payload begins there. May wait for the disk.

        @raise NoSuchRecord: if there is none.
        @raise DamagedRecord: if it cannot be read, or its entry is damaged beyond correction.
        """
        end, count = self.end, self.count
        try:
            entry = quick_find(self.read_index, count, end, offset)
            if entry is not None:
                return entry
            found = careful_find(self.read_index, self.read_raw, count, end, offset, self.mend)
        except OSError as error:
            raise self.damaged(offset, f"its index cannot be read ({error.strerror})") from error
        if found is None:
            raise NoSuchRecord(f"no record of {self.path} is at offset {offset}")
        entry, proven = found
        if not proven:
            raise self.damaged(entry.offset, "its index entry is damaged, so the record cannot be verified")
        return entry

    def mend(self, position: int, entry: Entry) -> None:
        """
        Rewrite a committed entry that was damaged and has been restored. May wait for the disk.

        Not synced: if a power cut undoes it, the next read does it again.
        """
        self.counters.mended += 1
        _log.warn(
            "the index entry of the record at offset {offset} of {file} was damaged, and was corrected",
            offset=entry.offset,
            file=self.path,
        )
        time = entry.time | CONTINUES if entry.continues else entry.time
        data = encode_entry(entry.offset, time, entry.length, entry.checksum, entry.id_hash)
        try:
            os.pwrite(self.index_fd, data, HEADER_SIZE + position * ENTRY_SIZE)
        except OSError as error:
            _log.error("the corrected index entry cannot be written: {error}", error=error, file=self.path)

    def check_length(self, entry: Entry) -> None:
        """@raise TooLarge: if the record is longer than L{max_record}."""
        if entry.length > self.max_record:
            raise TooLarge(
                f"the record at offset {entry.offset} of {self.path} has {entry.length} bytes; at most "
                f"{self.max_record} are read (append-max-record)"
            )

    def payload(self, entry: Entry) -> bytes:
        """
        The verified payload of an entry. May wait for the disk. @raise DamagedRecord: if it is not what was stored.
        """
        self.check_length(entry)
        data = self.read_record(entry, LENGTH_SIZE + entry.length, entry.offset)
        if len(data) < LENGTH_SIZE + entry.length:
            raise self.damaged(entry.offset, "the file ends within it")
        payload = data[LENGTH_SIZE:]
        if unpack_length(data) != entry.length or crc32c(payload) != entry.checksum:
            raise self.damaged(entry.offset, "its checksum fails")
        return payload

    def read_index(self, size: int, position: int) -> bytes:
        """Bytes of the committed part of the index. May wait for the disk."""
        limit = HEADER_SIZE + self.count * ENTRY_SIZE
        return read_exactly(self.index_fd, min(size, max(0, limit - position)), position)

    def read_record(self, entry: Entry, size: int, position: int) -> bytes:
        """
        Bytes of the bucket file that are part of one record. May wait for the disk.

        @raise DamagedRecord: if the disk fails.
        """
        try:
            return self.read_raw(size, position)
        except OSError as error:
            raise self.damaged(entry.offset, f"it cannot be read ({error.strerror})") from error

    def read_raw(self, size: int, position: int) -> bytes:
        """Bytes of the bucket file. May wait for the disk."""
        return read_exactly(self.raw_fd, size, position)
