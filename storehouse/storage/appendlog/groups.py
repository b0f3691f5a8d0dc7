"""
One group of appends: what it adds to each bucket, made ready.

The entries of an index say where each record will be and when it came, so they can be made only once a group is formed;
of many records they are made while others are served.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import accumulate

from storehouse.core.digests import crc32c
from storehouse.core.framing import LENGTH_SIZE, Batch, pack_length
from storehouse.core.turns import breath
from storehouse.errors import StorehouseError
from storehouse.storage.appendlog.bucket import BucketFile, Done
from storehouse.storage.appendlog.formats import encode_entries, encode_entry
from storehouse.storage.appendlog.interfaces import Durability

__all__ = ["AT_ONCE", "Group", "Queued", "Run"]

#: What is made ready at once, in microseconds or so: a millisecond or two.
AT_ONCE = 1000

# Runs, or some records of one, up to this many bytes are joined into one piece.
_JOINED = 1 << 20

# Records in one group, about, if there are so many: their pieces are joined at once.
_LARGE = 100_000

# Payloads up to this many bytes are copied behind their lengths at once.
_COPIED = 64 * 1024

_DISK = Durability.DISK

#: C{(bucket, payloads, hash of the identifier, durability, done)}; without a bucket, only an answer.
Queued = tuple[BucketFile | None, Sequence[bytes], int, Durability, Done]


class Run:
    """
    What one group adds to one bucket.

    @ivar count: its records.
    @ivar entries: their index entries, in pieces.
    @ivar pieces: the records, likewise.
    @ivar synced: whether one of its appends asked for the disk.
    @ivar error: why it was not written; then nothing of it was.
    """

    __slots__ = (
        "bucket",
        "count",
        "encoded_entries",
        "end",
        "entries",
        "error",
        "offset",
        "pieces",
        "position",
        "size",
        "synced",
    )

    def __init__(self, bucket: BucketFile) -> None:
        self.bucket = bucket
        self.offset = self.end = bucket.end
        self.position = bucket.count
        self.count = 0
        self.entries: list[bytes] = []
        self.pieces: list[bytes] = []
        self.size = 0
        self.synced = False
        self.error: StorehouseError | None = None
        self.encoded_entries = b""

    def add_together(self, payloads: Sequence[bytes], time: int, id_hash: int) -> tuple[int, ...]:
        """Add the records of one append. @return: their offsets."""
        offsets = self._add_some(payloads, time, id_hash, True)
        if isinstance(payloads, Batch):
            self.pieces.append(payloads.encoded)
        else:
            self._add_pieces(payloads)
        return tuple(offsets)

    async def add_many(self, payloads: Sequence[bytes], time: int, id_hash: int) -> tuple[int, ...]:
        """L{add_together}, while others are served."""
        offsets: list[int] = []
        for first in range(0, len(payloads), AT_ONCE):
            some = payloads[first : first + AT_ONCE]
            offsets += self._add_some(some, time, id_hash, first + AT_ONCE >= len(payloads))
            if not isinstance(payloads, Batch):
                self._add_pieces(some)
            await breath()
        if isinstance(payloads, Batch):
            self.pieces.append(payloads.encoded)
        return tuple(offsets)

    def _add_some(self, payloads: Sequence[bytes], time: int, id_hash: int, is_last: bool) -> list[int]:
        *offsets, self.end = accumulate((LENGTH_SIZE + len(payload) for payload in payloads), initial=self.end)
        self.entries.append(b"".join(encode_entries(offsets, time, payloads, id_hash, is_last)))
        self.count += len(offsets)
        return offsets

    def _add_pieces(self, payloads: Sequence[bytes]) -> None:
        pieces = []
        for payload in payloads:
            pieces.append(pack_length(len(payload)))
            pieces.append(payload)
        if sum(map(len, payloads)) <= _JOINED:
            self.pieces.append(b"".join(pieces))
        else:
            self.pieces += pieces

    def seal(self) -> None:
        """
        Join what was gathered, since it is written twice; a long run stays in pieces, so that memory does not hold it
        twice.
        """
        self.size = self.end - self.offset
        self.encoded_entries = self.entries[0] if len(self.entries) == 1 else b"".join(self.entries)
        if len(self.pieces) > 1 and self.size <= _JOINED:
            self.pieces = [b"".join(self.pieces)]

    @property
    def encoded_records(self) -> bytes:
        """The records as they go into a frame."""
        return self.pieces[0] if len(self.pieces) == 1 else b"".join(self.pieces)


class Group:
    """
    Appends that are written together.

    @ivar runs: what is added, once it is sealed.
    @ivar answers: C{(done, run, offsets, durability)} for each append, in order; the run is C{None} if there is only
        an answer.
    @ivar answered: how many of these are out, once it is written.
    @ivar refusal: why none of it counts; C{None} if each run has its own outcome.
    @ivar size: bytes of the records.
    @ivar synced: whether one asked for the disk.
    @ivar written: whether it is in the page cache.
    @ivar fatal: what went wrong for good.
    @ivar began: when, by C{time.monotonic}.
    @ivar time: when, as entries have it.
    """

    __slots__ = (
        "_runs",
        "answered",
        "answers",
        "began",
        "fatal",
        "refusal",
        "runs",
        "size",
        "synced",
        "time",
        "written",
    )

    def __init__(self) -> None:
        self._runs: dict[BucketFile, Run] = {}
        self.runs: list[Run] = []
        self.answers: list[tuple[Done, Run | None, tuple[int, ...], Durability]] = []
        self.answered = 0
        self.refusal: StorehouseError | None = None
        self.size = 0
        self.synced = False
        self.written = False
        self.fatal: BaseException | None = None
        self.began = time.monotonic()
        self.time = time.time_ns()

    def add(self, queue: Sequence[Queued]) -> None:
        """Add appends, at once."""
        now = self.time
        runs = self._runs
        answers = self.answers
        for bucket, payloads, id_hash, durability, done in queue:
            if bucket is None:
                answers.append((done, None, (), durability))
                continue
            run = runs.get(bucket)
            if run is None:
                run = runs[bucket] = Run(bucket)
            offset = run.end
            if len(payloads) == 1:
                payload = payloads[0]
                length = len(payload)
                run.entries.append(encode_entry(offset, now, length, crc32c(payload), id_hash))
                run.count += 1
                if length > _COPIED:
                    run.pieces.append(pack_length(length))
                    run.pieces.append(payload)
                else:
                    run.pieces.append(pack_length(length) + payload)
                answers.append((done, run, (offset,), durability))
                run.end = offset + LENGTH_SIZE + length
            else:
                answers.append((done, run, run.add_together(payloads, now, id_hash), durability))
            if durability is _DISK:
                run.synced = self.synced = True

    async def add_slowly(self, queue: list[Queued]) -> list[Queued]:
        """
        Add appends while others are served.

        @return: those that are too many for one group.
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
                    run = self._runs[bucket] = Run(bucket)
                self.answers.append((done, run, await run.add_many(payloads, self.time, id_hash), durability))
                if durability is _DISK:
                    run.synced = self.synced = True
            taken += len(payloads)
            await breath()
        return []

    def seal(self) -> None:
        """Nothing more is added."""
        self.runs = list(self._runs.values())
        for run in self.runs:
            run.seal()
            self.size += run.size
