"""One stream: records in, by groups that share a sync."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import attrs
from twisted.internet.defer import Deferred, DeferredList
from twisted.logger import Logger
from zope.interface import implementer

from storehouse.core.budget import ByteBudget
from storehouse.core.disk import IDisk
from storehouse.core.files import NO_SPACE, Files
from storehouse.core.jobs import finished, whole
from storehouse.core.streams import deferred
from storehouse.core.turns import breath
from storehouse.errors import InvalidRecord, NoSpace, StartFailed, StorageFailed, StorehouseError, Unavailable
from storehouse.storage.streams.catalogue import Catalogue
from storehouse.storage.streams.interfaces import Appended, Archive, IStream, Library, NewRecord, State
from storehouse.storage.streams.metrics import StreamCounters
from storehouse.storage.streams.opening import Opening
from storehouse.storage.streams.reading import RecordSource
from storehouse.storage.streams.settings import StreamSettings
from storehouse.storage.streams.tracking import Tracker

__all__ = ["Stream"]

#: Records that one job writes, unless a single append has more: some milliseconds.
_MOST_RECORDS = 512

#: Bytes that one job writes, unless a single append has more.
_MOST_BYTES = 4 << 20

#: Records whose sizes are counted before others may be served.
_AT_ONCE = 50

#: What a record costs in memory, beside its bytes.
_OVERHEAD = 300


@attrs.define
class _Waiting:
    """Records that wait to be written."""

    records: list[NewRecord]
    size: int
    done: Deferred[None]
    error: Exception | None = None


@implementer(IStream)
class Stream:
    """
    See L{IStream}.

    While a job in a disk thread writes, records gather; the next job writes all that wait, and syncs once. There is one job
    at a time for a stream, so their order is that of the appends.

    @ivar counters: what it counts.
    @ivar failed: why nothing is written any more.
    @ivar unusable: why it could not be started; C{None} if it could.
    @ivar incomplete: whether archives that were shipped may be missing, and nobody has looked for them at the destination yet.
    @param budget: bounds the bytes that wait in all streams together.
    @param destinations: where archives were shipped to, by name.
    @param on_failure: called with the error, in the reactor's thread, when a sync failed.
    @param changed: called in the reactor's thread with the stream, what happened to an archive, and the archive.
    """

    _log = Logger()

    def __init__(
        self,
        settings: StreamSettings,
        library: Library,
        disk: IDisk,
        reactor: Any,
        files: Files,
        budget: ByteBudget,
        destinations: Mapping[str, Any],
        on_failure: Callable[[StorehouseError], object],
        changed: Callable[[Stream, str, Archive], object],
        clock: Any = None,
    ) -> None:
        self.settings = settings
        self.name = settings.name
        self.sync = settings.sync
        self.counters = StreamCounters()
        self.failed: Exception | None = None
        self.unusable: StorehouseError | None = None
        self.incomplete = False
        self.destinations = destinations
        self._library = library
        self._disk = disk
        self._reactor = reactor
        self._files = files
        self._budget = budget
        self._on_failure = on_failure
        self._clock = clock
        self.catalogue = Catalogue(settings.catalogue, files, self._sync_failed, settings.root)
        self._tracker = Tracker(
            self.catalogue,
            library,
            disk,
            lambda f, *args: reactor.callFromThread(f, *args),
            lambda what, archive: changed(self, what, archive),
            self._sync_file,
        )
        self._manager: Any = None
        self._queue: deque[_Waiting] = deque()
        self._poll_due = False
        self._work: Deferred[None] | None = None

    # -- start and stop ------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """
        Open the catalogue, and finish what the last process left. Blocks; to be called before the reactor runs, or in a disk
        thread if it failed then.

        @raise StartFailed: if a directory or the catalogue cannot be used; nothing is open then. A full disk is no reason,
            nor is a damaged catalogue.
        """
        settings = self.settings
        try:
            self.catalogue.open()
            for problem in self.catalogue.problems:
                self._log.error("{path}: {problem}", path=settings.catalogue, problem=problem)
            opening = Opening(settings, self.catalogue, self._library)
            opening.relocate()
            opening.adopt()
            self._manager = self._library.make_manager(
                settings.template,
                settings.checker,
                settings.directory,
                compression=settings.compression,
                level=settings.level,
                sync=settings.sync,
                buffer_size=0,
                callbacks=self._tracker.callbacks(settings.callbacks),
                # Directory and template may have been others then.
                leftovers=[each.path for each in self.catalogue.all() if each.state in (State.OPEN, State.CLOSED)],
                # The catalogue does.
                keep_order=False,
                clock=self._clock,
                files=self._files,
            )
            opening.settle(self._manager)
            # A destination that is a store of our own has only what is of this root.
            is_own = getattr(self.destinations.get(settings.ship), "is_own", False)
            self.incomplete = is_own and bool(self.catalogue.is_new or self.catalogue.lacking)
        except OSError as error:
            self.catalogue.close()
            raise StartFailed(f"the stream {self.name} in {settings.directory} cannot be opened: {error}") from error

    @deferred
    async def stop(self, patience: float = 30.0) -> None:
        """
        Write what waits, and close the archive that is open: complete, it has its index, needs no recovery, and can be shipped.

        Callbacks that are at work are waited for, but not longer than so many seconds: the next start calls them again.
        """
        if self._manager is None:
            return
        manager, self._manager = self._manager, None
        while self._work is not None:
            await _also(self._work)
        try:
            await whole(self._disk, manager.close)
        except (StorehouseError, OSError):
            self.counters.failures += 1
            self._log.failure("the archive of {stream} that is open cannot be closed", stream=self.name)
        await self._quiet(self._reactor.seconds() + patience)
        await whole(self._disk, manager.stop)

    async def _quiet(self, deadline: float) -> None:
        """Wait until no callback is at work."""
        while left := [done for done in self._tracker.running if not done.called]:
            over = DeferredList([_also(done) for done in left], consumeErrors=True)
            over.addTimeout(max(0.0, deadline - self._reactor.seconds()), self._reactor)
            try:
                await over
            except TimeoutError:
                self._log.warn("callbacks of {stream} are at work still", stream=self.name)
                return

    def close(self) -> None:
        """Close the catalogue: nothing becomes of archives any more."""
        self.catalogue.close()

    # -- writing -------------------------------------------------------------------------------------------------------

    @deferred
    async def append(self, records: Iterable[NewRecord]) -> Appended:
        taken = list(records)
        size = 0
        for first in range(0, len(taken), _AT_ONCE):
            size += sum(map(_size_of, taken[first : first + _AT_ONCE]))
            await breath()
        self._check()
        async with self._budget.reserved(size + _OVERHEAD * len(taken)):
            self._check()
            waiting = _Waiting(taken, size, Deferred())
            self._queue.append(waiting)
            self._go()
            try:
                # It is written, whoever waits for it.
                await finished(waiting.done)
            except StorehouseError:
                self.counters.failures += 1
                raise
        self.counters.records_in += len(taken)
        self.counters.bytes_in += size
        return Appended(len(taken), self.sync)

    def _check(self) -> None:
        if self.unusable is not None:
            raise Unavailable(f"the stream {self.name} cannot be used: {self.unusable.detail}")
        if self.failed is not None:
            raise StorageFailed(f"the stream {self.name} takes no more: {self.failed}")
        if self._manager is None:
            raise Unavailable(f"the stream {self.name} is closed")

    def poll(self) -> None:
        """Have the archive rolled that is to be, and callbacks called again that failed. To be called now and then."""
        if self.failed is None and self._manager is not None:
            self._poll_due = True
            self._go()

    def _go(self) -> None:
        if self._work is None:
            work = self._work = Deferred()
            Deferred.fromCoroutine(self._run()).addBoth(self._over, work)

    def _over(self, result: Any, work: Deferred[None]) -> None:
        self._work = None
        if result is not None:
            self._log.failure("a defect in the stream {stream}", result, stream=self.name)
        work.callback(None)

    async def _run(self) -> None:
        manager = self._manager
        while self._queue or self._poll_due:
            if self._poll_due:
                self._poll_due = False
                try:
                    await whole(self._disk, self._catch_up, manager)
                except (StorehouseError, OSError) as error:
                    self._log.warn("a poll of the stream {stream} failed: {error}", stream=self.name, error=str(error))
                    self._note(error)
            batch = self._next_batch()
            if batch:
                reason = self.failed
                if reason is None:
                    reason = await whole(self._disk, self._write, manager, batch)
                    self._note(reason)
                for waiting in batch:
                    problem = waiting.error or reason
                    if problem is None:
                        waiting.done.callback(None)
                    else:
                        waiting.done.errback(problem)

    def _next_batch(self) -> list[_Waiting]:
        batch: list[_Waiting] = []
        records = size = 0
        while self._queue:
            following = self._queue[0]
            if batch and (records + len(following.records) > _MOST_RECORDS or size + following.size > _MOST_BYTES):
                break
            batch.append(self._queue.popleft())
            records += len(following.records)
            size += following.size
        return batch

    def _write(self, manager: Any, batch: Sequence[_Waiting]) -> Exception | None:
        """Write a batch, in a disk thread. @return: why none of it was written; what befell a single one is noted there."""
        try:
            manager.write_many([record for waiting in batch for record in waiting.records])
        except (NoSpace, StorageFailed) as error:
            return error
        except StorehouseError as error:
            if len(batch) == 1:
                return error
            # One of them is to blame, and only that one is to be refused.
            for waiting in batch:
                waiting.error = self._write(manager, [waiting])
            return None
        except OSError as error:
            if error.errno in NO_SPACE:
                return NoSpace(f"there is no room for the stream {self.name}")
            return Unavailable(f"no archive can be opened for the stream {self.name}: {error}")
        self._learn(*manager.written_to)
        return None

    def _learn(self, archive: Any, path: str) -> None:
        """What was written is read from now on, also if a full disk kept that the archive was opened, or closed, from being noted."""
        salt = archive.info.salt
        if not self.catalogue.grew(path, salt, archive.size, archive.count) and os.path.exists(path):
            try:
                self.catalogue.add(path, salt=salt, created=archive.info.created)
            except OSError as problem:
                # Known here; written as soon as it can be.
                self._log.warn("{path} cannot be noted: {problem}", path=path, problem=str(problem))
            self.catalogue.grew(path, salt, archive.size, archive.count)

    def _catch_up(self, manager: Any) -> None:
        """In a disk thread, now and then: what is due, and what was not possible before."""
        manager.poll()
        self.catalogue.catch_up()
        if self.catalogue.set_aside:
            self.catalogue.look_aside()

    def _sync_file(self, path: str) -> None:
        """Bring a file and its name to disk."""
        fd = self._files.open(path, os.O_RDONLY)
        try:
            self._files.sync_data(fd)
            self._files.sync_directory(os.path.dirname(path))
        except OSError as problem:
            self._sync_failed(problem)
            raise
        finally:
            self._files.close(fd)

    def _note(self, error: Exception | None) -> None:
        if isinstance(error, StorageFailed) and self.failed is None:
            self.failed = error
            self._on_failure(error)

    def _sync_failed(self, error: OSError) -> None:
        """In any thread: the catalogue, or an archive, cannot be brought to disk."""
        self._reactor.callFromThread(self._note, StorageFailed(f"the archives of {self.name}: {error}"))

    # -- reading -------------------------------------------------------------------------------------------------------

    def archives(self) -> Sequence[Archive]:
        return self.catalogue.all()

    def read(self, start: int | None = None, end: int | None = None) -> RecordSource:
        if self.unusable is not None:
            self._check()
        return RecordSource(
            self.catalogue,
            self.destinations,
            self._library,
            self._disk,
            self._reactor,
            self.counters,
            start,
            end,
        )


def _size_of(record: NewRecord) -> int:
    metadata, payload = record
    try:
        return len(payload) + sum(len(name) + len(value) for name, value in metadata.items())
    except (TypeError, AttributeError) as problem:
        raise InvalidRecord(f"metadata is text to text, and a payload text or bytes: {problem}") from None


def _also(event: Deferred[Any]) -> Deferred[None]:
    """A Deferred of one's own that fires with C{event}."""
    own: Deferred[None] = Deferred()

    def fire(result: Any) -> Any:
        own.callback(None)
        return result

    event.addBoth(fire)
    return own
