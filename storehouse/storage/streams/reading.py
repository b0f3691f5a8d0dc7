"""Records of a stream in the order of writing, wherever its archives are."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.task import deferLater
from zope.interface import implementer

from storehouse.core.disk import IDisk
from storehouse.core.files import read_exactly
from storehouse.core.jobs import whole
from storehouse.core.streams import collect, deferred
from storehouse.errors import DamagedArchive, NoSuchKey, StorehouseError, Unavailable, UnknownArchiveFormat
from storehouse.storage.archive.interfaces import Record
from storehouse.storage.streams.catalogue import Catalogue
from storehouse.storage.streams.interfaces import Archive, IRecordSource, Library, State
from storehouse.storage.streams.metrics import StreamCounters

__all__ = ["RecordSource"]

#: How often, and after how many seconds, a file is looked for again whose name a callback is changing.
_TRIES, _PAUSE = 100, 0.05


class _Local:
    """
    An archive in a file. Once open it can be read to its end, whatever becomes of its name.

    @param make: C{make(name, size)} gives the slices.
    """

    def __init__(self, disk: IDisk, path: str, make: Callable[[str, int], Any], size: int | None) -> None:
        """Waits for the disk. @param size: as if it had so many bytes only."""
        self._disk = disk
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
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


class _Remote:
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
            except NoSuchKey as error:
                raise DamagedArchive(self._name, wanted.offset, f"it is not where it was shipped to: {error}") from None
            data = await collect(reader, wanted.length)
        return await whole(self._disk, self.slices.feed, data)

    def close(self) -> None:
        """Nothing is held."""


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
    async def next_batch(self) -> list[Record]:
        """See L{IRecordSource.next_batch}."""
        if self._busy or self._closed:
            raise Unavailable("one batch at a time can be asked for, and none once it is closed")
        self._busy = True
        try:
            records = await self._next()
        except StorehouseError:
            self._counters.failures += 1
            raise
        finally:
            self._busy = False
            self._leave_if_closed()
        self._counters.records_out += len(records)
        self._counters.bytes_out += sum(len(record.payload) for record in records)
        return records

    async def _next(self) -> list[Record]:
        while not self._closed:
            if self._current is None:
                if not self._todo:
                    return []
                self._current = await self._open(self._todo.pop())
                continue
            if self._current.slices.wanted is None:
                self._leave()
                continue
            records: list[Record] = await self._current.step()
            if records:
                return records
        return []

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
                name, size, start=self._start, end=self._end, most=most, growing=growing, salt=then.salt or None
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
        """See L{IRecordSource.close}."""
        self._closed = True
        if not self._busy:
            self._leave()
