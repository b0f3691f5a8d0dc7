"""One stream: appends are written in groups that share a sync."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import cast

import attrs
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from storehouse.archive.archive import ArchiveWriter
from storehouse.archive.clocks import Clock
from storehouse.archive.roll_manager import WritingRollManager
from storehouse.core.budget import ByteBudget
from storehouse.core.files import NO_SPACE, Files
from storehouse.core.jobs import IDisk, deferred, finished, over, whole
from storehouse.core.turns import Reactor, breath
from storehouse.errors import InvalidRecord, NoSpace, StartFailed, StorageFailed, StorehouseError, Unavailable
from storehouse.storage.shipping.interfaces import IDestination
from storehouse.storage.streams.catalogue import Catalogue
from storehouse.storage.streams.interfaces import Appended, Archive, IStream, NewRecord, State
from storehouse.storage.streams.metrics import StreamCounters
from storehouse.storage.streams.reading import RecordSource
from storehouse.storage.streams.recovery import Recovery
from storehouse.storage.streams.settings import StreamSettings
from storehouse.storage.streams.tracking import Tracker

__all__ = ["Stream"]

#: Records that one job of a disk thread writes, unless a single append has more: some milliseconds.
_MAX_RECORDS = 512

#: Bytes that one job writes, unless a single append has more.
_MAX_BYTES = 4 << 20

#: Records whose sizes are added up before the reactor may do something else.
_SLICE = 50

#: Bytes that a record takes in memory, beside its own.
_OVERHEAD = 300


@attrs.define
class _Append:
    """Records of one append that wait to be written. C{error} is why these, unlike the rest of their group, were not."""

    records: list[NewRecord]
    size: int
    done: Deferred[None]
    error: Exception | None = None


@implementer(IStream)
class Stream:
    """
    See L{IStream}.

    While a job in a disk thread writes, further appends gather; the next job writes all of them, and syncs once. A stream has
    one job at a time, so that records are in the order of the appends.

    @ivar failed: the error after which nothing is written any more; C{None} before.
    @ivar unusable: why it could not be started; C{None} if it could.
    @ivar incomplete: whether archives that were shipped may be missing from the catalogue, and are to be looked for at the
        destination.
    @param budget: bounds the bytes that wait in all streams together.
    @param destinations: where archives were shipped to, by name.
    @param on_failure: called with the error, in the reactor's thread, when a sync failed.
    @param changed: called in the reactor's thread with the stream, what happened to an archive, and the archive; see
        L{Tracker}.
    @param clock: for the times of records; C{None} for the system's.
    """

    _log = Logger()

    def __init__(
        self,
        settings: StreamSettings,
        disk: IDisk,
        reactor: Reactor,
        files: Files,
        budget: ByteBudget,
        destinations: Mapping[str, IDestination],
        on_failure: Callable[[StorehouseError], object],
        changed: Callable[[Stream, str, Archive], object],
        clock: Clock | None = None,
    ) -> None:
        self.settings = settings
        self.name = settings.name
        self.sync = settings.sync
        self.counters = StreamCounters()
        self.failed: Exception | None = None
        self.unusable: StorehouseError | None = None
        self.incomplete = False
        self.destinations = destinations
        self._disk = disk
        self._reactor = reactor
        self._files = files
        self._budget = budget
        self._on_failure = on_failure
        self._clock = clock
        self.catalogue = Catalogue(settings.catalogue, files, self._sync_failed, settings.root)
        self._tracker = Tracker(
            self.catalogue,
            settings.max_record,
            disk,
            reactor,
            lambda what, archive: changed(self, what, archive),
            self._sync_file,
        )
        self._manager: WritingRollManager | None = None
        self._queue: deque[_Append] = deque()
        self._is_poll_due = False
        self._work: Deferred[None] | None = None

    # -- start and stop ------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """
        Open the catalogue, and finish what the last process left. Waits for the disk: to be called before the reactor runs, or in
        a disk thread if that failed.

        @raise StartFailed: if a directory or the catalogue cannot be used; nothing is open then. A stream starts with a full
            disk, and with a damaged catalogue.
        """
        settings = self.settings
        try:
            self.catalogue.open()
            for problem in self.catalogue.problems:
                self._log.error("{path}: {problem}", path=settings.catalogue, problem=problem)
            recovery = Recovery(settings, self.catalogue)
            recovery.relocate()
            recovery.adopt()
            self._manager = WritingRollManager(
                settings.template,
                settings.checker,
                settings.directory,
                compression=settings.compression,
                level=settings.level,
                sync=settings.sync,
                buffer_size=0,
                callbacks=self._tracker.callbacks(settings.callbacks),
                # The last process may have had another directory or template.
                leftovers=[each.path for each in self.catalogue.all() if each.state in (State.OPEN, State.CLOSED)],
                # The catalogue has it.
                keep_order=False,
                clock=self._clock,
                files=self._files,
            )
            recovery.settle(self._manager)
            # At another destination files of this name may be of another root.
            is_own = getattr(self.destinations.get(settings.ship), "is_own", False)
            self.incomplete = is_own and bool(self.catalogue.is_new or self.catalogue.lacking)
        except OSError as error:
            self.catalogue.close()
            raise StartFailed(f"the stream {self.name} in {settings.directory} cannot be opened: {error}") from error

    @deferred
    async def stop(self, patience: float = 30.0) -> None:
        """
        Write what waits, and close the archive that is open: complete, it has its index, needs no recovery, and can be shipped.

        @param patience: seconds to wait for callbacks that are at work. The next start calls those again that have not finished.
        """
        if self._manager is None:
            return
        manager, self._manager = self._manager, None
        while self._work is not None:
            await over(self._work)
        try:
            await whole(self._disk, manager.close)
        except (StorehouseError, OSError):
            self.counters.failures += 1
            self._log.failure("the archive of {stream} cannot be closed", stream=self.name)
        await self._wait_for_callbacks(self._reactor.seconds() + patience)
        await whole(self._disk, manager.stop)

    async def _wait_for_callbacks(self, deadline: float) -> None:
        while left := [done for done in self._tracker.running if not done.called]:
            all_done = DeferredList([over(done) for done in left], consumeErrors=True)
            all_done.addTimeout(max(0.0, deadline - self._reactor.seconds()), cast(IReactorTime, self._reactor))
            try:
                await all_done
            except TimeoutError:
                self._log.warn("callbacks of {stream} are still at work", stream=self.name)
                return

    def close(self) -> None:
        """Close the catalogue: the last step of a stop."""
        self.catalogue.close()

    # -- writing -------------------------------------------------------------------------------------------------------

    @deferred
    async def append(self, records: Iterable[NewRecord]) -> Appended:
        taken = list(records)
        size = 0
        for start in range(0, len(taken), _SLICE):
            size += sum(map(_size_of, taken[start : start + _SLICE]))
            await breath()
        self._check()
        async with self._budget.reserved(size + _OVERHEAD * len(taken)):
            self._check()
            append = _Append(taken, size, Deferred())
            self._queue.append(append)
            self._start_work()
            try:
                # Not cancellable: the records are written, and count, whether or not the client waits.
                await finished(append.done)
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
            raise StorageFailed(f"the stream {self.name} takes no more records: {self.failed}")
        if self._manager is None:
            raise Unavailable(f"the stream {self.name} is closed")

    def poll(self) -> None:
        """Roll the open archive if that is due, and repeat callbacks that failed. To be called about each second."""
        if self.failed is None and self._manager is not None:
            self._is_poll_due = True
            self._start_work()

    def _start_work(self) -> None:
        if self._work is None:
            work = self._work = Deferred()
            Deferred.fromCoroutine(self._run()).addBoth(self._end_work, work)

    def _end_work(self, result: Failure | None, work: Deferred[None]) -> None:
        self._work = None
        if result is not None:
            self._log.failure("an unexpected failure in the stream {stream}", result, stream=self.name)
        work.callback(None)

    async def _run(self) -> None:
        manager = self._manager
        if manager is None:
            raise RuntimeError("a stream has no work before its start")
        while self._queue or self._is_poll_due:
            if self._is_poll_due:
                self._is_poll_due = False
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
                for append in batch:
                    problem = append.error or reason
                    if problem is None:
                        append.done.callback(None)
                    else:
                        append.done.errback(problem)

    def _next_batch(self) -> list[_Append]:
        batch: list[_Append] = []
        records = size = 0
        while self._queue:
            append = self._queue[0]
            if batch and (records + len(append.records) > _MAX_RECORDS or size + append.size > _MAX_BYTES):
                break
            batch.append(self._queue.popleft())
            records += len(append.records)
            size += append.size
        return batch

    def _write(self, manager: WritingRollManager, batch: Sequence[_Append]) -> Exception | None:
        """Write a batch, in a disk thread. @return: why none of it was written. Errors of single appends are noted there."""
        try:
            manager.write_many([record for append in batch for record in append.records])
        except (NoSpace, StorageFailed) as error:
            return error
        except StorehouseError as error:
            if len(batch) == 1:
                return error
            # Refuse only the append that is to blame.
            for append in batch:
                append.error = self._write(manager, [append])
            return None
        except OSError as error:
            if error.errno in NO_SPACE:
                return NoSpace(f"no space for the stream {self.name}")
            return Unavailable(f"no archive can be opened for the stream {self.name}: {error}")
        if manager.written_to is not None:
            self._note_written(*manager.written_to)
        return None

    def _note_written(self, archive: ArchiveWriter, path: str) -> None:
        """Readers get the records from now on, even if the disk was too full to note that the archive was opened or closed."""
        salt = archive.info.salt
        if not self.catalogue.grew(path, salt, archive.size, archive.count) and os.path.exists(path):
            try:
                self.catalogue.add(path, salt=salt, created=archive.info.created)
            except OSError as problem:
                # The catalogue has it nevertheless, and writes it later.
                self._log.warn("{path} cannot be recorded: {problem}", path=path, problem=str(problem))
            self.catalogue.grew(path, salt, archive.size, archive.count)

    def _catch_up(self, manager: WritingRollManager) -> None:
        """Do, in a disk thread, what is due, and what was not possible before."""
        manager.poll()
        self.catalogue.catch_up()
        if self.catalogue.set_aside:
            self.catalogue.find_set_aside()

    def _sync_file(self, path: str) -> None:
        """Make a file and its name durable."""
        fd = self._files.open(path, os.O_RDONLY)
        try:
            # A failed sync is final: the kernel may drop the pages and report success the next time.
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
        """The catalogue, or an archive, cannot be synced. Called in any thread."""
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
            self.settings.max_record,
            self._disk,
            cast(IReactorTime, self._reactor),
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
