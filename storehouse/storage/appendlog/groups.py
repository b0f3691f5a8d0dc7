"""
One group of appends, and what it adds to each bucket file: encoded records and index entries.

An index entry has the record's offset and time, so entries can be encoded only when the group is formed. Encoding many
of them gives way to other connections.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from storehouse.core.framing import LENGTH_SIZE, Batch, pack_length
from storehouse.core.turns import breath
from storehouse.errors import StorehouseError
from storehouse.storage.appendlog.bucket import BucketFile, Done
from storehouse.storage.appendlog.formats import encode_appends, encode_entries
from storehouse.storage.appendlog.interfaces import Durability

__all__ = ["AT_ONCE", "Group", "Queued", "Run"]

#: Records that are encoded without giving way. Each takes a microsecond or so.
AT_ONCE = 1000

# Runs of up to this many bytes are joined into one piece: one write is faster than many, and a copy of 1 MiB costs
# little.
_JOINED = 1 << 20

# A group takes no further appends when it has this many records: what encode() joins, it joins without giving way.
_LARGE = 100_000

# Payloads of up to this many bytes are copied to follow their lengths: for longer ones a piece of their own is cheaper.
_COPIED = 64 * 1024

_DISK = Durability.DISK

#: C{(bucket, payloads, hash of the identifier, durability, done)}. Without a bucket file it is only a callback to be
#: called in order. A tuple, not a class: one is made for each append.
Queued = tuple[BucketFile | None, Sequence[bytes], int, Durability, Done]


class Run:
    """
    What one group adds to one bucket file.

    @ivar time: of its records, nanoseconds since 1970 UTC.
    @ivar offset: where its records begin in the bucket file; C{end} is where they end.
    @ivar position: the number of index entries before its own.
    @ivar count: the number of its records, once it is encoded.
    @ivar pending: payloads of short appends of a record each, with the hashes of their identifiers, that are not encoded yet:
        all in one call cost less than one after the other. They begin at C{encoded_to}.
    @ivar entries: the index entries of the others, encoded, in pieces; L{encode} joins them to C{encoded_entries}.
    @ivar pieces: their records with their lengths, in pieces.
    @ivar size: bytes of these, once it is encoded.
    @ivar wants_sync: whether an append asked for durability C{disk}.
    @ivar error: why it was not written; nothing of it was, then.
    """

    __slots__ = (
        "bucket",
        "count",
        "encoded_entries",
        "encoded_to",
        "end",
        "entries",
        "error",
        "offset",
        "pending",
        "pieces",
        "position",
        "size",
        "time",
        "wants_sync",
    )

    def __init__(self, bucket: BucketFile, time: int) -> None:
        self.bucket = bucket
        self.time = time
        self.offset = self.end = self.encoded_to = bucket.end
        self.position = bucket.count
        self.count = 0
        self.pending: list[tuple[bytes, int]] = []
        self.entries: list[bytes] = []
        self.pieces: list[bytes] = []
        self.size = 0
        self.wants_sync = False
        self.error: StorehouseError | None = None
        self.encoded_entries = b""

    def add_long(self, payload: bytes, id_hash: int) -> int:
        """Add an append of one record that is too long to be copied. @return: its offset."""
        (offset,) = self._add_some((payload,), id_hash, True)
        self.pieces.append(pack_length(len(payload)))
        self.pieces.append(payload)
        return offset

    def add_together(self, payloads: Sequence[bytes], id_hash: int) -> tuple[int, ...]:
        """Add the records of one append, at once. @return: their offsets."""
        offsets = self._add_some(payloads, id_hash, True)
        if isinstance(payloads, Batch):
            self.pieces.append(payloads.encoded)
        else:
            self._add_pieces(payloads)
        return offsets

    async def add_many(self, payloads: Sequence[bytes], id_hash: int) -> tuple[int, ...]:
        """L{add_together}, giving way to other connections."""
        offsets: list[int] = []
        for first in range(0, len(payloads), AT_ONCE):
            some = payloads[first : first + AT_ONCE]
            offsets += self._add_some(some, id_hash, first + AT_ONCE >= len(payloads))
            if not isinstance(payloads, Batch):
                self._add_pieces(some)
            await breath()
        if isinstance(payloads, Batch):
            self.pieces.append(payloads.encoded)
        return tuple(offsets)

    def _add_some(self, payloads: Sequence[bytes], id_hash: int, is_last: bool) -> tuple[int, ...]:
        self._encode_pending()
        entries, offsets = encode_entries(payloads, self.end, self.time, id_hash, is_last)
        self.entries.append(entries)
        self.count += len(offsets)
        self.end = self.encoded_to = offsets[-1] + LENGTH_SIZE + len(payloads[-1])
        return offsets

    def _encode_pending(self) -> None:
        pending = self.pending
        if pending:
            entries, records = encode_appends(pending, self.encoded_to, self.time)
            self.entries.append(entries)
            self.pieces.append(records)
            self.count += len(pending)
            self.encoded_to = self.end
            self.pending = []

    def _add_pieces(self, payloads: Sequence[bytes]) -> None:
        pieces = []
        for payload in payloads:
            pieces.append(pack_length(len(payload)))
            pieces.append(payload)
        if sum(map(len, payloads)) <= _JOINED:
            self.pieces.append(b"".join(pieces))
        else:
            self.pieces += pieces

    def encode(self) -> None:
        """
        Join the pieces, since they are written twice, to the bucket file and to the write-ahead log. Those of a long
        run stay apart, so that its bytes are not in memory twice.
        """
        self._encode_pending()
        self.size = self.end - self.offset
        self.encoded_entries = self.entries[0] if len(self.entries) == 1 else b"".join(self.entries)
        if len(self.pieces) > 1 and self.size <= _JOINED:
            self.pieces = [b"".join(self.pieces)]

    @property
    def encoded_records(self) -> bytes:
        """The records in one piece, for a frame of the write-ahead log."""
        return self.pieces[0] if len(self.pieces) == 1 else b"".join(self.pieces)


class Group:
    """
    Appends that are written together.

    @ivar runs: what it adds, one for each bucket file, once it is encoded.
    @ivar callbacks: C{(done, run, offsets, durability)} for each append, in order; C{run} is C{None} if nothing is
        appended.
    @ivar called: how many of these have been called.
    @ivar refusal: why nothing of it counts; C{None} if each run has its own outcome.
    @ivar size: bytes of the records, once it is encoded.
    @ivar wants_sync: whether an append asked for durability C{disk}.
    @ivar written: whether it is in the page cache.
    @ivar fatal: a failed write or sync, after which the log stops.
    @ivar began: when it was formed, by C{time.monotonic}.
    @ivar time: the same in nanoseconds since 1970 UTC, for the index entries.
    """

    __slots__ = (
        "_runs",
        "began",
        "callbacks",
        "called",
        "fatal",
        "refusal",
        "runs",
        "size",
        "time",
        "wants_sync",
        "written",
    )

    def __init__(self) -> None:
        self._runs: dict[BucketFile, Run] = {}
        self.runs: list[Run] = []
        self.callbacks: list[tuple[Done, Run | None, tuple[int, ...], Durability]] = []
        self.called = 0
        self.refusal: StorehouseError | None = None
        self.size = 0
        self.wants_sync = False
        self.written = False
        self.fatal: BaseException | None = None
        self.began = time.monotonic()
        self.time = time.time_ns()

    def add(self, queue: Sequence[Queued]) -> None:
        """Add appends, without giving way. This is the hot path: single records are encoded when all are there."""
        now = self.time
        runs = self._runs
        callbacks = self.callbacks
        for bucket, payloads, id_hash, durability, done in queue:
            if bucket is None:
                callbacks.append((done, None, (), durability))
                continue
            run = runs.get(bucket)
            if run is None:
                run = runs[bucket] = Run(bucket, now)
            if len(payloads) != 1:
                callbacks.append((done, run, run.add_together(payloads, id_hash), durability))
            elif (length := len(payload := payloads[0])) > _COPIED:
                callbacks.append((done, run, (run.add_long(payload, id_hash),), durability))
            else:
                offset = run.end
                run.pending.append((payload, id_hash))
                run.end = offset + LENGTH_SIZE + length
                callbacks.append((done, run, (offset,), durability))
            if durability is _DISK:
                run.wants_sync = self.wants_sync = True

    async def add_slowly(self, queue: list[Queued]) -> list[Queued]:
        """
        Add appends, giving way to other connections.

        @return: those that are too many for one group, for the next.
        """
        taken = 0
        for number, item in enumerate(queue):
            if taken > _LARGE:
                return queue[number:]
            bucket, payloads, id_hash, durability, done = item
            if bucket is None or len(payloads) <= AT_ONCE:
                self.add((item,))
            else:
                run = self._runs.get(bucket)
                if run is None:
                    run = self._runs[bucket] = Run(bucket, self.time)
                self.callbacks.append((done, run, await run.add_many(payloads, id_hash), durability))
                if durability is _DISK:
                    run.wants_sync = self.wants_sync = True
            taken += len(payloads)
            await breath()
        return []

    def refuse(self, queue: Sequence[Queued]) -> None:
        """Only call back, with the group's refusal: nothing of these appends is encoded."""
        self.callbacks = [
            (done, None if bucket is None else Run(bucket, self.time), (), durability)
            for bucket, _, _, durability, done in queue
        ]

    def encode(self) -> None:
        """To be called when all appends have been added."""
        self.runs = list(self._runs.values())
        for run in self.runs:
            run.encode()
            self.size += run.size
