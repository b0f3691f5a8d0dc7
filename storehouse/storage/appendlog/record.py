"""A stored record on its way out: whole if it is small, in verified pieces if it is not."""

from __future__ import annotations

from zope.interface import implementer

from storehouse.core.digests import crc32c
from storehouse.core.disk import IDisk
from storehouse.core.framing import LENGTH_SIZE, unpack_length
from storehouse.errors import Unavailable
from storehouse.storage.appendlog.bucket import BucketFile
from storehouse.storage.appendlog.formats import Entry
from storehouse.storage.appendlog.interfaces import IRecord

__all__ = ["PIECE", "Record", "open_record"]

#: Records up to this are held whole; longer ones are verified first and then read again in pieces of this size.
PIECE = 1 << 20


@implementer(IRecord)
class Record:
    """
    A record whose checksum has been verified.

    @ivar offset: where it begins in its bucket file.
    @ivar time: when it was appended, nanoseconds since 1970 UTC; 0 when unknown.
    @ivar length: bytes of its payload.
    @ivar payload: the payload; C{None} if it is longer than L{PIECE}, then L{read_piece} gives it.
    """

    __slots__ = ("_bucket", "_checksum", "_disk", "_entry", "length", "offset", "payload", "time")

    def __init__(self, bucket: BucketFile, entry: Entry, payload: bytes | None, disk: IDisk) -> None:
        self._bucket = bucket
        self._entry = entry
        self._disk = disk
        self._checksum = 0
        self.offset = entry.offset
        self.time = entry.time
        self.length = entry.length
        self.payload = payload
        bucket.counters.records += 1
        bucket.counters.size += entry.length

    async def read_piece(self, position: int) -> bytes:
        """
        The up to L{PIECE} bytes of the payload from C{position} on. To be read in order, from 0 to the end.

        @raise DamagedRecord: if the file changed since it was verified.
        """
        if self.payload is not None:
            return self.payload[position : position + PIECE]
        if self._bucket.raw_fd < 0:
            raise Unavailable(f"the storage prefix {self._bucket.prefix!r} was closed")
        size = min(PIECE, self.length - position)
        with self._bucket.reading():
            data: bytes = await self._disk.run(
                self._bucket.read_record, self._entry, size, self._entry.offset + LENGTH_SIZE + position
            )
        self._checksum = crc32c(data, self._checksum)
        at_end = position + len(data) == self.length
        if len(data) < size or (at_end and self._checksum != self._entry.checksum):
            raise self._bucket.damaged(self._entry.offset, "its checksum fails")
        return data


async def open_record(bucket: BucketFile, entry: Entry, disk: IDisk) -> Record:
    """
    Verify a record.

    @raise DamagedRecord: if it is not what was stored.
    @raise TooLarge: if it is longer than this log gives out.
    """
    with bucket.reading():
        if entry.length <= PIECE:
            payload: bytes = await disk.run(bucket.payload, entry)
            return Record(bucket, entry, payload, disk)
        bucket.check_length(entry)
        head: bytes = await disk.run(bucket.read_record, entry, LENGTH_SIZE, entry.offset)
        whole = len(head) == LENGTH_SIZE and unpack_length(head) == entry.length
        checksum = position = 0
        while whole and position < entry.length:
            size = min(PIECE, entry.length - position)
            data: bytes = await disk.run(bucket.read_record, entry, size, entry.offset + LENGTH_SIZE + position)
            checksum = crc32c(data, checksum)
            position += len(data)
            whole = len(data) == size
        if not whole or checksum != entry.checksum:
            raise bucket.damaged(entry.offset, "its checksum fails")
        return Record(bucket, entry, None, disk)
