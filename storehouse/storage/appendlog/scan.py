"""Reading a bucket from front to back, and on as it grows."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred

from storehouse.core.digests import crc32c
from storehouse.core.disk import IDisk
from storehouse.core.framing import LENGTH_SIZE, unpack_length
from storehouse.core.turns import breath
from storehouse.errors import DamagedRecord, Unavailable
from storehouse.storage.appendlog.bucket import BucketFile
from storehouse.storage.appendlog.formats import ENTRY_SIZE, HEADER_SIZE, Entry, decode_entry
from storehouse.storage.appendlog.index import Rebuilt, first_at_or_after, rebuild_entry
from storehouse.storage.appendlog.record import Record, open_record

__all__ = ["Scan"]

_BATCH_ENTRIES = 256
_BATCH_BYTES = 256 * 1024

# Bytes of entries that are taken apart before others may be served.
_SLICE = 32 * ENTRY_SIZE


class Scan:
    """
    Batches of records of one bucket.

    Threads fetch bytes only; taking them apart is done in the reactor's thread, a batch at a time, since a thread
    busy in Python would stall the reactor for longer.

    @param id_hash: give only records with this identifier hash and those with none; C{None} for all.
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
        # For as long as the scan lives, so that its prefix is not closed to make room for another.
        bucket.followers.append(self._wake)

    def next_batch(self) -> Deferred[list[Record]]:
        """See L{IAppendLog.scan<storehouse.storage.appendlog.interfaces.IAppendLog.scan>}."""
        return Deferred.fromCoroutine(self._next_batch())

    def close(self) -> None:
        """End it: L{next_batch} gives no more."""
        if not self._closed:
            self._closed = True
            self.bucket.followers.remove(self._wake)
            self._on_close(self)
            self._wake()

    def stop_following(self) -> None:
        """Give what there is, and do not wait for what comes."""
        self._follow = False
        self._wake()

    def cut_off(self) -> None:
        """
        End it because its prefix is closed: L{next_batch} fails if there was more, unless the scan follows, for which
        that is the end.
        """
        self._cut_off = not self._closed and not self._follow
        self.close()

    async def _next_batch(self) -> list[Record]:
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
                await self._growth()
        if self._cut_off and (self._position is None or self._position < self.bucket.count):
            raise Unavailable(f"the storage prefix {self.bucket.prefix!r} was closed before the end of the scan")
        return []

    async def _growth(self) -> None:
        self._waiting = Deferred()
        try:
            await self._waiting
        finally:
            self._waiting = None

    def _wake(self) -> None:
        waiting = self._waiting
        if waiting is not None and not waiting.called:
            waiting.callback(None)

    async def _fetch(self) -> list[Record]:
        bucket = self.bucket
        with bucket.reading():
            if self._position is None:
                if self._start <= 0:
                    self._position = 0
                else:
                    self._position, self._expected = await self._disk.run(
                        first_at_or_after, bucket.read_index, bucket.count, self._start
                    )
            count = min(_BATCH_ENTRIES, bucket.count - self._position)
            if count <= 0:
                return []
            entries, raw = await self._disk.run(self._read, self._position, count, self._expected)
            return await self._take_apart(entries, raw)

    def _read(self, position: int, count: int, expected: int) -> tuple[bytes, bytes]:
        entries = self.bucket.read_index(count * ENTRY_SIZE, HEADER_SIZE + position * ENTRY_SIZE)
        return entries, self.bucket.read_raw(min(_BATCH_BYTES, self.bucket.end - expected), expected)

    async def _take_apart(self, entries: bytes, raw: bytes) -> list[Record]:
        batch: list[Record] = []
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
            if self._wanted(entry):
                record = await self._verified(entry, whole)
                if record is None:
                    break
                batch.append(record)
            self._position += 1
            self._expected = entry.end
            if begin + LENGTH_SIZE + entry.length >= len(raw):
                break
        return batch

    def _wanted(self, entry: Entry) -> bool:
        return entry.offset >= self._start and (
            self._id_hash is None or not entry.id_hash or entry.id_hash == self._id_hash
        )

    async def _verified(self, entry: Entry, whole: bytes) -> Record | None:
        """
        The record, or C{None} once it is noted as the damage that ends this scan, after the records before it were
        given.
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
        The entry at C{position}, whose checksum fails, made anew; C{None} once it is noted as the damage that ends
        this scan.
        """
        bucket = self.bucket
        rebuilt: Rebuilt | None = await self._disk.run(rebuild_entry, data, self._expected, bucket.read_raw, bucket.end)
        if rebuilt is not None and rebuilt.complete:
            await self._disk.run(bucket.mend, position, rebuilt.entry)
            return rebuilt.entry
        if rebuilt is None or not rebuilt.proven:
            reason = "its index entry is damaged, and so the record cannot be proven whole"
        else:
            # What the record is stays known; whose it is does not.
            reason = "its index entry is damaged: its time and identifier are lost"
            if self._id_hash is None or rebuilt.entry.offset < self._start:
                bucket.damaged(self._expected, reason)
                return rebuilt.entry
            reason += f"; the record after it is at offset {rebuilt.entry.end}"
        self._damage = bucket.damaged(self._expected, reason)
        return None
