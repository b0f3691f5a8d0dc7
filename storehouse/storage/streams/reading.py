"""Records of a stream in the order of writing, from local archives and from those at destinations."""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from zope.interface import implementer

from storehouse.archive.archive import ArchiveReader
from storehouse.archive.interfaces import ArchiveInfo, Record
from storehouse.archive.slices import ArchiveSlices
from storehouse.core.files import open_regular, read_exactly
from storehouse.core.jobs import IDisk, deferred, whole
from storehouse.core.streams import read_all
from storehouse.errors import (
    Damaged,
    DamagedArchive,
    InvalidRange,
    NoSuchKey,
    StorehouseError,
    Unavailable,
    UnknownArchiveFormat,
)
from storehouse.storage.shipping.interfaces import IDestination
from storehouse.storage.streams.catalogue import Catalogue
from storehouse.storage.streams.interfaces import Archive, IRecordSource, State
from storehouse.storage.streams.metrics import StreamCounters

__all__ = ["RecordSource", "header_of"]

#: Bytes, and records, of a damaged archive that are read in one job of a disk thread.
_BATCH_SIZE, _BATCH_RECORDS = 1 << 20, 256

#: How often, and after how many seconds, a file is looked for again while a callback may be renaming it.
_TRIES, _PAUSE = 100, 0.05

#: C{(name, size)} to the slices of an archive.
_MakeSlices = Callable[[str, int], ArchiveSlices]


class _Reader(Protocol):
    """Reads one archive, step by step."""

    @property
    def has_ended(self) -> bool: ...

    @property
    def next_size(self) -> int:
        """Bytes that the next step reads."""

    async def step(self) -> list[Record]:
        """Read some more. It may return no records, and not be at the end."""

    def take_damages(self) -> Sequence[DamagedArchive]:
        """What was skipped since the last call."""

    def close(self) -> None: ...


class _SlicesReader:
    """
    Reads an archive by its slices; see L{ArchiveSlices}.

    @param read: reads bytes at an offset, and feeds them to the slices.
    @ivar path: of the local file; empty for an archive at a destination.
    """

    def __init__(
        self,
        slices: ArchiveSlices,
        read: Callable[[int, int], Awaitable[list[Record]]],
        path: str = "",
        close: Callable[[], None] = lambda: None,
    ) -> None:
        self.path = path
        self.slices = slices
        self.close = close
        self._read = read
        self._taken = 0

    @property
    def has_ended(self) -> bool:
        return self.slices.wanted is None

    @property
    def next_size(self) -> int:
        return 0 if self.slices.wanted is None else self.slices.wanted.length

    async def step(self) -> list[Record]:
        wanted = self.slices.wanted
        return [] if wanted is None else await self._read(wanted.offset, wanted.length)

    def take_damages(self) -> Sequence[DamagedArchive]:
        before, self._taken = self._taken, len(self.slices.damages)
        return self.slices.damages[before:]


def _open_local(disk: IDisk, path: str, make: _MakeSlices, size: int | None) -> _SlicesReader:
    """
    Open a local archive, and read its header. Once open it can be read to its end, even if it is renamed or removed. Waits
    for the disk.

    @param size: read no further than this offset; C{None} for the whole file.
    """
    fd = open_regular(path, follow=True)
    try:
        slices = make(path, os.fstat(fd).st_size if size is None else size)

        def feed(offset: int, length: int) -> list[Record]:
            return slices.feed(read_exactly(fd, length, offset) if length else b"")

        async def read(offset: int, length: int) -> list[Record]:
            try:
                return await whole(disk, feed, offset, length)
            except UnknownArchiveFormat as error:
                # Of a compressed one the header is seen only now.
                raise DamagedArchive(path, 0, str(error)) from None

        if slices.wanted is not None:
            feed(slices.wanted.offset, slices.wanted.length)
    except BaseException:
        os.close(fd)
        raise
    return _SlicesReader(slices, read, path, lambda: os.close(fd))


def _open_remote(disk: IDisk, destination: IDestination, archive: Archive, make: _MakeSlices) -> _SlicesReader:
    """Open an archive at a destination, of which only the slices are fetched that are needed."""
    name = archive.remote
    slices = make(name, archive.remote_size)

    async def read(offset: int, length: int) -> list[Record]:
        data = b""
        if length:
            try:
                data = await read_all(await destination.get(name, offset, length), length)
            except NoSuchKey as error:
                raise DamagedArchive(name, offset, f"it is not at its destination: {error}") from None
            except (
                Damaged,
                InvalidRange,
            ) as error:  # in our own store; or another program has replaced it by something shorter
                raise DamagedArchive(name, offset, f"it is damaged at its destination: {error}") from None
        try:
            return await whole(disk, slices.feed, data)
        except UnknownArchiveFormat as error:
            raise DamagedArchive(name, 0, str(error)) from None

    return _SlicesReader(slices, read)


async def header_of(disk: IDisk, destination: IDestination, archive: Archive, max_record: int) -> ArchiveInfo:
    """
    The header of an archive at a destination; little more than that is fetched.

    @raise DamagedArchive: if it has none.
    @raise StorehouseError: if the destination cannot be read.
    """
    reader = _open_remote(
        disk, destination, archive, lambda name, size: ArchiveSlices(name, size, max_record=max_record)
    )
    while reader.slices.info is None and not reader.has_ended:
        await reader.step()
    if reader.slices.info is None:
        raise DamagedArchive(archive.remote, 0, "it has no header")
    return reader.slices.info


class _ScanReader:
    """
    Reads the whole records of a local archive that is damaged in a way that slices cannot skip.

    @param reader: of the archive; it skips damage.
    @param behind: the offset of the last record that was returned before; -1 if none was.
    @param is_wanted: whether a record of a time is.
    @param limit: records to return, at most.
    """

    next_size = _BATCH_SIZE

    def __init__(
        self, disk: IDisk, reader: ArchiveReader, behind: int, is_wanted: Callable[[int], bool], limit: int
    ) -> None:
        self.has_ended = False
        self.close = reader.close
        self._disk = disk
        self._behind = behind
        self._is_wanted = is_wanted
        self._left = limit
        self._scan = reader.scan(behind if behind >= 0 else None)
        self._steps = self._scan.walk()
        # The damage that it finds at once is the one for which this reader was made: that was reported before.
        self._taken = 1

    def take_damages(self) -> Sequence[DamagedArchive]:
        before, self._taken = self._taken, max(self._taken, len(self._scan.damages))
        return self._scan.damages[before:]

    async def step(self) -> list[Record]:
        return await whole(self._disk, self._read)

    def _read(self) -> list[Record]:
        records: list[Record] = []
        size = 0
        for count, (metadata, payload, time, offset) in enumerate(self._steps, start=1):
            if offset > self._behind and self._is_wanted(time):
                records.append(Record(0, offset, time, metadata, payload))
                size += len(payload)
                self._left -= 1
            if self._left <= 0:
                break
            if size >= _BATCH_SIZE or count >= _BATCH_RECORDS:
                return records
        self.has_ended = True
        return records


@implementer(IRecordSource)
class RecordSource:
    """
    See L{IRecordSource}.

    It has the archives that there are when it is made, and of the open one the records that are durable then. Where an archive
    is, the catalogue tells when its turn comes: callbacks rename archives, and the shipper may remove the local file.

    @param start: records of that time or later, nanoseconds since 1970 UTC; C{None} for no bound.
    @param end: records before that time.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        destinations: Mapping[str, IDestination],
        max_record: int,
        disk: IDisk,
        clock: IReactorTime,
        counters: StreamCounters,
        start: int | None,
        end: int | None,
    ) -> None:
        self._catalogue = catalogue
        self._destinations = destinations
        self._max_record = max_record
        self._disk = disk
        self._clock = clock
        self._counters = counters
        self._start = start
        self._end = end
        self._todo = [archive for archive in catalogue.all() if not self._is_outside(archive)]
        self._todo.reverse()
        self._reader: _Reader | None = None
        self._archive: Archive | None = None  # which the reader reads,
        self._behind = -1  # the offset of the last record that was read of it,
        self._count = 0  # and how many were
        # To be raised before anything else: what is missing of a damaged catalogue may have been anywhere.
        self._damages: deque[DamagedArchive] = deque(
            DamagedArchive(path, 0, "a damaged catalogue: archives that were shipped may be missing from the stream")
            for path in catalogue.lacking
        )
        # To be returned once the damage between them and earlier records was raised.
        self._records: list[Record] = []
        self._is_busy = False
        self._is_closed = False

    def _is_outside(self, archive: Archive) -> bool:
        if archive.state == State.OPEN:
            nothing = not archive.records
            return nothing or (self._end is not None and archive.created >= self._end)
        if not archive.highest:  # unknown
            return False
        before = self._start is not None and archive.highest < self._start
        return before or (self._end is not None and archive.lowest >= self._end)

    @deferred
    async def next_batch(self, room: Callable[[int], Awaitable[None]] | None = None) -> list[Record]:
        if self._is_busy or self._is_closed:
            raise Unavailable("one batch at a time can be read, and none after the source was closed")
        self._is_busy = True
        try:
            records = await self._next(room)
        except StorehouseError:
            self._counters.failures += 1
            raise
        finally:
            self._is_busy = False
            self._leave_if_closed()
        self._counters.records_out += len(records)
        self._counters.bytes_out += sum(len(record.payload) for record in records)
        return records

    async def _next(self, room: Callable[[int], Awaitable[None]] | None) -> list[Record]:
        size = 0
        while not self._is_closed:
            if self._damages:
                raise self._damages.popleft()
            if self._records:
                records, self._records = self._records, []
                return records
            reader = self._reader
            if reader is None:
                if not self._todo:
                    return []
                await self._begin(self._todo.pop())
                continue
            if reader.has_ended:
                self._leave()
                continue
            if room is not None:
                # What is read until there is a record stays in memory until then.
                size += reader.next_size
                await room(size)
            try:
                records = await reader.step()
            except DamagedArchive:
                await self._skip_damage()
                raise
            self._damages += reader.take_damages()
            if records:
                self._behind = records[-1].offset
                self._count += len(records)
                self._records = records
        return []

    async def _begin(self, archive: Archive) -> None:
        self._archive, self._behind, self._count = archive, -1, 0
        try:
            self._reader = await self._open(archive)
        except DamagedArchive:
            raise  # the next call continues behind it
        except BaseException:
            self._todo.append(archive)
            raise

    async def _skip_damage(self) -> None:
        """Read on behind damage in a local archive, as far as whole records can be found there."""
        reader, archive = self._reader, self._archive
        self._leave()
        if isinstance(reader, _SlicesReader) and reader.path and archive is not None and not self._is_closed:
            try:
                self._reader = await whole(self._disk, self._scan, reader.path, archive)
            except (StorehouseError, OSError):
                pass  # nothing can be found

    def _scan(self, path: str, archive: Archive) -> _ScanReader | None:
        reader = ArchiveReader(path, skip_damaged=True, max_record=self._max_record)
        if reader.info.salt != archive.salt:
            reader.close()
            return None
        low = 0 if self._start is None else self._start
        high = 1 << 64 if self._end is None else self._end
        limit = archive.records - self._count if archive.state == State.OPEN else sys.maxsize
        return _ScanReader(self._disk, reader, self._behind, lambda time: low <= time < high, limit)

    async def _open(self, then: Archive) -> _Reader | None:
        """
        @param then: the archive as it was when this source was made.
        @return: C{None} if it is gone.
        """
        for _ in range(_TRIES):
            now = self._catalogue.get(then.number)
            if now is None:
                return None  # removed by a callback that was configured to do so
            if now.path:
                try:
                    is_open = now.state == State.OPEN
                    size = now.size if is_open else None
                    make = self._make_slices(then, is_open)
                    return await whole(self._disk, _open_local, self._disk, now.path, make, size)
                except (FileNotFoundError, UnknownArchiveFormat) as problem:
                    # Of one that was moved meanwhile another archive may have the name now: then the salt differs.
                    is_moved = isinstance(problem, FileNotFoundError) or self._catalogue.get(then.number) != now
                    if isinstance(problem, FileNotFoundError) and now.state == State.FINISHED and not now.remote:
                        # No callback is renaming it any more.
                        raise DamagedArchive(now.path, 0, "the file is gone") from None
                    if not is_moved and not now.remote:
                        raise DamagedArchive(now.path, 0, str(problem)) from None
            if now.remote:
                destination = self._destinations.get(now.destination)
                if destination is None:
                    raise Unavailable(f"{now.remote} was shipped to {now.destination!r}, which is not configured")
                return _open_remote(self._disk, destination, now, self._make_slices(then, is_open=False))
            await deferLater(self._clock, _PAUSE, lambda: None)
        raise DamagedArchive(then.path, 0, "the file is gone")

    def _make_slices(self, then: Archive, is_open: bool) -> _MakeSlices:
        return lambda name, size: ArchiveSlices(
            name,
            size,
            start=self._start,
            end=self._end,
            most=then.records if then.state == State.OPEN else None,
            growing=is_open,
            salt=then.salt or None,
            skip_damaged=True,
            max_record=self._max_record,
        )

    def _leave(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.close()

    def _leave_if_closed(self) -> None:
        if self._is_closed and not self._is_busy:
            self._leave()

    def close(self) -> None:
        self._is_closed = True
        self._leave_if_closed()
