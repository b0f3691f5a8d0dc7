"""Records of a stream in the order of writing, wherever its archives are."""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any

from twisted.internet.task import deferLater
from zope.interface import implementer

from storehouse.archive.interfaces import Record
from storehouse.core.disk import IDisk
from storehouse.core.files import open_regular, read_exactly
from storehouse.core.jobs import whole
from storehouse.core.streams import deferred, read_all
from storehouse.errors import (
    Damaged,
    DamagedArchive,
    InvalidRange,
    NoSuchKey,
    StorehouseError,
    Unavailable,
    UnknownArchiveFormat,
)
from storehouse.storage.streams.catalogue import Catalogue
from storehouse.storage.streams.interfaces import Archive, IRecordSource, Library, State
from storehouse.storage.streams.metrics import StreamCounters

__all__ = ["RecordSource", "header_of"]

#: Bytes, and records, of a damaged archive that are read in one go.
_PIECE, _TOGETHER = 1 << 20, 256

#: How often, and after how many seconds, a file is looked for again whose name a callback is changing.
_TRIES, _PAUSE = 100, 0.05


class _Sliced:
    """
    An archive that is read in slices.

    @ivar slices: what takes them apart.
    """

    slices: Any
    _told = 0

    @property
    def ended(self) -> bool:
        """Whether there is no more of it."""
        return self.slices.wanted is None

    @property
    def next_size(self) -> int:
        """Bytes that the next step reads."""
        wanted = self.slices.wanted
        size: int = 0 if wanted is None else wanted.length
        return size

    def damages(self) -> Sequence[DamagedArchive]:
        """What was passed over since this was asked for last."""
        before, self._told = self._told, len(self.slices.damages)
        found: list[DamagedArchive] = self.slices.damages[before:]
        return found


class _Local(_Sliced):
    """
    An archive in a file. Once open it can be read to its end, whatever becomes of its name.

    @param make: C{make(name, size)} gives the slices.
    """

    def __init__(self, disk: IDisk, path: str, make: Callable[[str, int], Any], size: int | None) -> None:
        """Waits for the disk. @param size: as if it had so many bytes only."""
        self._disk = disk
        self.path = path
        self._fd = open_regular(path, follow=True)
        try:
            self.slices = make(path, os.fstat(self._fd).st_size if size is None else size)
            self.feed()  # the header
        except BaseException:
            self.close()
            raise

    async def step(self) -> list[Record]:
        """The next slice."""
        return await whole(self._disk, self.feed)

    def feed(self) -> list[Record]:
        """Read what is wanted, and go on with it."""
        wanted = self.slices.wanted
        data = read_exactly(self._fd, wanted.length, wanted.offset) if wanted.length else b""
        records: list[Record] = self.slices.feed(data)
        return records

    def close(self) -> None:
        """Close the file."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


class _Remote(_Sliced):
    """An archive at a destination, of which only what is wanted is fetched."""

    def __init__(self, disk: IDisk, destination: Any, archive: Archive, make: Callable[[str, int], Any]) -> None:
        self._disk = disk
        self._destination = destination
        self._name = archive.remote
        self.slices = make(archive.remote, archive.remote_size)

    async def step(self) -> list[Record]:
        """The next slice."""
        wanted = self.slices.wanted
        data = b""
        if wanted.length:
            try:
                reader = await self._destination.get(self._name, wanted.offset, wanted.length)
                data = await read_all(reader, wanted.length)
            except NoSuchKey as error:
                raise DamagedArchive(self._name, wanted.offset, f"it is not where it was shipped to: {error}") from None
            except (Damaged, InvalidRange) as error:  # as our own store has it, or whoever has put something else there
                raise DamagedArchive(self._name, wanted.offset, f"it is damaged where it is: {error}") from None
        try:
            return await whole(self._disk, self.slices.feed, data)
        except UnknownArchiveFormat as error:
            raise DamagedArchive(self._name, 0, str(error)) from None

    def close(self) -> None:
        """Nothing is held."""


async def header_of(disk: IDisk, destination: Any, archive: Archive, library: Library) -> Any:
    """
    The header of an archive at a destination, of which no more is fetched than that and the next slice.

    @raise DamagedArchive: if it is none.
    @raise StorehouseError: if the destination cannot be asked.
    """
    remote = _Remote(disk, destination, archive, library.make_slices)
    while remote.slices.info is None and not remote.ended:
        await remote.step()
    if remote.slices.info is None:
        raise DamagedArchive(archive.remote, 0, "it has no header")
    return remote.slices.info


class _Salvaged:
    """What is whole of an archive in a file that is damaged in a way that slices cannot pass over."""

    def __init__(self, disk: IDisk, reader: Any, behind: int, wanted: Callable[[int], bool], most: int) -> None:
        """
        @param reader: of the archive, which passes over damage.
        @param behind: the offset of the last record that was given; -1 if none was.
        @param wanted: whether a record of a time is.
        @param most: how many records there are to give, at most.
        """
        self.ended = False
        self.next_size = _PIECE
        self._disk = disk
        self._reader = reader
        self._behind = behind
        self._wanted = wanted
        self._left = most
        self._scan = reader.scan(behind if behind >= 0 else None)
        self._steps: Iterator[Any] = self._scan.walk()
        # What it finds first was told already.
        self._told = 1

    def damages(self) -> Sequence[DamagedArchive]:
        """What was passed over since this was asked for last."""
        before, self._told = self._told, max(self._told, len(self._scan.damages))
        found: list[DamagedArchive] = self._scan.damages[before:]
        return found

    async def step(self) -> list[Record]:
        """Some records."""
        return await whole(self._disk, self._some)

    def _some(self) -> list[Record]:
        records: list[Record] = []
        size = 0
        for seen, (metadata, payload, time, offset) in enumerate(self._steps, start=1):
            if offset > self._behind and self._wanted(time):
                records.append(Record(0, offset, time, metadata, payload))
                size += len(payload)
                self._left -= 1
            if self._left <= 0:
                break
            if size >= _PIECE or seen >= _TOGETHER:
                return records
        self.ended = True
        return records

    def close(self) -> None:
        """Close the file."""
        self._reader.close()


@implementer(IRecordSource)
class RecordSource:
    """
    See L{IRecordSource}.

    What there is when it is made is what it gives: archives by their numbers, and of each as many records as were durable
    then. Where an archive is, is looked up when its turn comes.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        destinations: Mapping[str, Any],
        library: Library,
        disk: IDisk,
        clock: Any,
        counters: StreamCounters,
        start: int | None,
        end: int | None,
    ) -> None:
        self._catalogue = catalogue
        self._destinations = destinations
        self._library = library
        self._disk = disk
        self._clock = clock
        self._counters = counters
        self._start = start
        self._end = end
        self._todo = [archive for archive in catalogue.all() if not self._is_outside(archive)]
        self._todo.reverse()
        self._current: Any = None
        self._archive: Archive | None = None  # the one that is read,
        self._behind = -1  # the offset of the last record that was given of it,
        self._given = 0  # and how many were
        # What is missing may have been anywhere; so it is told before all else.
        self._told: deque[DamagedArchive] = deque(
            DamagedArchive(path, 0, "a damaged catalogue: archives that were shipped may be missing from the stream")
            for path in catalogue.lacking
        )
        self._held: list[Record] = []
        self._busy = False
        self._closed = False

    def _is_outside(self, archive: Archive) -> bool:
        if archive.state == State.OPEN:
            nothing = not archive.records
            return nothing or (self._end is not None and archive.created >= self._end)
        if not archive.highest:  # it is not known
            return False
        before = self._start is not None and archive.highest < self._start
        return before or (self._end is not None and archive.lowest >= self._end)

    @deferred
    async def next_batch(self, room: Callable[[int], Awaitable[None]] | None = None) -> list[Record]:
        if self._busy or self._closed:
            raise Unavailable("one batch at a time can be asked for, and none once it is closed")
        self._busy = True
        try:
            records = await self._next(room)
        except StorehouseError:
            self._counters.failures += 1
            raise
        finally:
            self._busy = False
            self._leave_if_closed()
        self._counters.records_out += len(records)
        self._counters.bytes_out += sum(len(record.payload) for record in records)
        return records

    async def _next(self, room: Callable[[int], Awaitable[None]] | None) -> list[Record]:
        size = 0
        while not self._closed:
            if self._told:
                raise self._told.popleft()
            if self._held:
                held, self._held = self._held, []
                return held
            if self._current is None:
                if not self._todo:
                    return []
                await self._begin(self._todo.pop())
                continue
            if self._current.ended:
                self._leave()
                continue
            if room is not None:
                # All that is read until there is a record is held until then.
                size += self._current.next_size
                await room(size)
            try:
                records: list[Record] = await self._current.step()
            except DamagedArchive:
                await self._pass_over()
                raise
            self._told += self._current.damages()
            if records:
                self._behind = records[-1].offset
                self._given += len(records)
                # Behind what is damaged among them.
                self._held = records
        return []

    async def _begin(self, archive: Archive) -> None:
        self._archive, self._behind, self._given = archive, -1, 0
        try:
            self._current = await self._open(archive)
        except DamagedArchive:
            raise  # the next call goes on behind it
        except BaseException:
            self._todo.append(archive)
            raise

    async def _pass_over(self) -> None:
        """The archive that is read is damaged: from now on what is whole of it is read, as far as that can be told."""
        current, archive = self._current, self._archive
        self._leave()
        if isinstance(current, _Local) and archive is not None and not self._closed:
            try:
                self._current = await whole(self._disk, self._salvage, current.path, archive)
            except (StorehouseError, OSError):
                pass  # nothing of it can

    def _salvage(self, path: str, archive: Archive) -> _Salvaged | None:
        reader = self._library.open_reader(path, skip_damaged=True)
        if reader.info.salt != archive.salt:
            reader.close()
            return None
        low = 0 if self._start is None else self._start
        high = 1 << 64 if self._end is None else self._end
        most = archive.records - self._given if archive.state == State.OPEN else sys.maxsize
        return _Salvaged(self._disk, reader, self._behind, lambda time: low <= time < high, most)

    async def _open(self, then: Archive) -> Any:
        """@param then: what was known of the archive when this source was made."""
        for _ in range(_TRIES):
            now = self._catalogue.get(then.number)
            if now is None:
                return None  # a callback that was configured to do so has removed it
            if now.path:
                try:
                    return await self._open_local(now, then)
                except (FileNotFoundError, UnknownArchiveFormat) as problem:
                    # Another archive may have got the name of one that was moved; but damage is damage.
                    moved = isinstance(problem, FileNotFoundError) or self._catalogue.get(then.number) != now
                    if isinstance(problem, FileNotFoundError) and now.state == State.FINISHED and not now.remote:
                        # Nobody is at work on it.
                        raise DamagedArchive(now.path, 0, "the file is gone") from None
                    if not moved and not now.remote:
                        raise DamagedArchive(now.path, 0, str(problem)) from None
            if now.remote:
                destination = self._destinations.get(now.destination)
                if destination is None:
                    raise Unavailable(
                        f"{now.remote} was shipped to {now.destination!r}, and no destination of that name is configured"
                    )
                return _Remote(self._disk, destination, now, self._maker(then, growing=False))
            await deferLater(self._clock, _PAUSE, lambda: None)
        raise DamagedArchive(then.path, 0, "the file is gone")

    async def _open_local(self, now: Archive, then: Archive) -> _Local:
        growing = now.state == State.OPEN
        size = now.size if growing else None
        make = self._maker(then, growing)
        return await whole(self._disk, _Local, self._disk, now.path, make, size)

    def _maker(self, then: Archive, growing: bool) -> Callable[[str, int], Any]:
        most = then.records if then.state == State.OPEN else None

        def make(name: str, size: int) -> Any:
            return self._library.make_slices(
                name,
                size,
                start=self._start,
                end=self._end,
                most=most,
                growing=growing,
                salt=then.salt or None,
                skip_damaged=True,
            )

        return make

    def _leave_if_closed(self) -> None:
        if self._closed:
            self._leave()

    def _leave(self) -> None:
        current, self._current = self._current, None
        if current is not None:
            current.close()

    def close(self) -> None:
        self._closed = True
        if not self._busy:
            self._leave()
