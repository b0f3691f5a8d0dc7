"""Reading records: one by its offset, or a bucket file from front to back, and on as it grows."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from zope.interface import implementer

from storehouse.core.digests import crc32c
from storehouse.core.framing import LENGTH_SIZE, unpack_length
from storehouse.core.jobs import IDisk, deferred
from storehouse.core.turns import breath
from storehouse.errors import DamagedRecord, Unavailable
from storehouse.storage.appendlog.bucket import BucketFile
from storehouse.storage.appendlog.formats import ENTRY_SIZE, HEADER_SIZE, Entry, decode_entry
from storehouse.storage.appendlog.index import Rebuilt, first_at_or_after, rebuild_entry
from storehouse.storage.appendlog.interfaces import IRecord, IScan

__all__ = ["PIECE", "Record", "Scan", "open_record"]

#: Records of up to this many bytes are held whole. Longer ones are verified first, and then read again in pieces of
#: this size.
PIECE = 1 << 20

# The most entries, and bytes of records, that a batch has; a longer record comes alone.
_BATCH_ENTRIES = 256
_BATCH_BYTES = 256 * 1024

# Bytes of entries that are decoded before giving way to other connections.
_SLICE = 32 * ENTRY_SIZE


@implementer(IRecord)
class Record:
    """
    See L{IRecord}.

    @ivar payload: C{None} if it is longer than L{PIECE}.
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
    Read a record and verify it.

    @raise DamagedRecord: if it is not what was stored.
    @raise TooLarge: if it is longer than C{bucket.max_record}.
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


@implementer(IScan)
class Scan:
    """
    See L{IScan}. Disk threads only read bytes; batches are decoded in the reactor's thread, since a thread that is
    busy in Python would stall the reactor for longer.

    @param id_hash: return only records with this identifier hash, and those without one; C{None} for all.
    @param on_close: called once with the scan.
    """

    def __init__(
        self,
        bucket: BucketFile,
        start: int,
        id_hash: int | None,
        follow: bool,
        disk: IDisk,
        on_close: Callable[[Scan], None],
    ) -> None:
        self.bucket = bucket
        self._start = start
        self._id_hash = id_hash
        self._follow = follow
        self._disk = disk
        self._on_close = on_close
        self._position: int | None = None
        self._expected = 0
        self._closed = False
        self._waiting: Deferred[None] | None = None
        self._damage: DamagedRecord | None = None
        self._cut_off = False
        # Registered while the scan is open, whether it follows or not: it keeps its prefix from being closed for
        # another.
        bucket.followers.append(self._wake)

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self.bucket.followers.remove(self._wake)
            self._on_close(self)
            self._wake()

    def stop_following(self) -> None:
        self._follow = False
        self._wake()

    def cut_off(self) -> None:
        """
        End it because its prefix is closed. For a scan that follows this is the end; for another L{next_batch} fails
        if there was more.
        """
        self._cut_off = not self._closed and not self._follow
        self.close()

    @deferred
    async def next_batch(self) -> list[IRecord]:
        while not self._closed:
            if self._damage is not None:
                raise self._damage
            if self._position is None or self._position < self.bucket.count:
                try:
                    batch = await self._fetch()
                except OSError as error:
                    where = self._start if self._position is None else self._expected
                    raise self.bucket.damaged(where, f"it cannot be read ({error.strerror})") from error
                if batch:
                    return batch
            elif not self._follow:
                break
            else:
                await self._wait_for_growth()
        if self._cut_off and (self._position is None or self._position < self.bucket.count):
            raise Unavailable(f"the storage prefix {self.bucket.prefix!r} was closed before the end of the scan")
        return []

    async def _wait_for_growth(self) -> None:
        self._waiting = Deferred()
        try:
            await self._waiting
        finally:
            self._waiting = None

    def _wake(self) -> None:
        waiting = self._waiting
        if waiting is not None and not waiting.called:
            waiting.callback(None)

    async def _fetch(self) -> list[IRecord]:
        bucket = self.bucket
        with bucket.reading():
            if self._position is None:
                if self._start <= 0:
                    self._position = 0
                else:
                    found = await self._disk.run(first_at_or_after, bucket.read_index, bucket.count, self._start)
                    self._position, self._expected = found
            count = min(_BATCH_ENTRIES, bucket.count - self._position)
            if count <= 0:
                return []
            entries, raw = await self._disk.run(self._read, self._position, count, self._expected)
            return await self._decode(entries, raw)

    def _read(self, position: int, count: int, expected: int) -> tuple[bytes, bytes]:
        entries = self.bucket.read_index(count * ENTRY_SIZE, HEADER_SIZE + position * ENTRY_SIZE)
        return entries, self.bucket.read_raw(min(_BATCH_BYTES, self.bucket.end - expected), expected)

    async def _decode(self, entries: bytes, raw: bytes) -> list[IRecord]:
        batch: list[IRecord] = []
        base = self._expected
        assert self._position is not None
        for at in range(0, len(entries), ENTRY_SIZE):
            if at % _SLICE == 0:
                await breath()
            entry = decode_entry(entries, at)
            if entry is None or entry.offset != self._expected:
                entry = await self._rebuild(self._position, entries[at : at + ENTRY_SIZE])
                if entry is None:
                    break
            begin = entry.offset - base
            whole = raw[begin : begin + LENGTH_SIZE + entry.length]
            if len(whole) < LENGTH_SIZE + entry.length and batch:
                break
            if self._is_selected(entry):
                record = await self._verified(entry, whole)
                if record is None:
                    break
                batch.append(record)
            self._position += 1
            self._expected = entry.end
            if begin + LENGTH_SIZE + entry.length >= len(raw):
                break
        return batch

    def _is_selected(self, entry: Entry) -> bool:
        return entry.offset >= self._start and (
            self._id_hash is None or not entry.id_hash or entry.id_hash == self._id_hash
        )

    async def _verified(self, entry: Entry, whole: bytes) -> Record | None:
        """
        The record; C{None} if it is damaged, which ends the scan after the records before it were returned.
        """
        try:
            if len(whole) < LENGTH_SIZE + entry.length:
                return await open_record(self.bucket, entry, self._disk)
            payload = whole[LENGTH_SIZE:]
            if unpack_length(whole) == entry.length and crc32c(payload) == entry.checksum:
                return Record(self.bucket, entry, payload, self._disk)
            raise self.bucket.damaged(entry.offset, f"its checksum fails; the record after it is at offset {entry.end}")
        except DamagedRecord as damage:
            self._damage = damage
            return None

    async def _rebuild(self, position: int, data: bytes) -> Entry | None:
        """
        The entry at C{position}, whose checksum fails, rebuilt; C{None} if that is not possible, which ends the scan
        after the records before it were returned.
        """
        bucket = self.bucket
        rebuilt: Rebuilt | None = await self._disk.run(rebuild_entry, data, self._expected, bucket.read_raw, bucket.end)
        if rebuilt is not None and rebuilt.complete:
            await self._disk.run(bucket.mend, position, rebuilt.entry)
            return rebuilt.entry
        if rebuilt is None or not rebuilt.proven:
            reason = "its index entry is damaged, so the record cannot be verified"
        else:
            # The record is whole, but whose it is has been lost: a scan of the whole bucket file can return it.
            reason = "its index entry is damaged: its time and identifier are lost"
            if self._id_hash is None or rebuilt.entry.offset < self._start:
                bucket.damaged(self._expected, reason)
                return rebuilt.entry
            reason += f"; the record after it is at offset {rebuilt.entry.end}"
        self._damage = bucket.damaged(self._expected, reason)
        return None
