"""
Ships closed files to a destination, several at a time, and tries again after failures: see C{docs/shipping.rst}.

The work is in notes on disk (L{storehouse.storage.shipping.spool}); each file goes through the same steps
(L{storehouse.storage.shipping.steps}).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from heapq import heappop, heappush
from random import Random
from typing import Any, ParamSpec, TypeVar

import attrs
from prometheus_client.core import Metric
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from zope.interface import implementer

from storehouse.config.shipping import ShipperSettings
from storehouse.core.files import NO_SPACE, Files
from storehouse.core.jobs import IDisk, KeyedLocks, deferred, settled, whole
from storehouse.core.names import check_prefix
from storehouse.core.turns import Reactor
from storehouse.errors import (
    BadRequest,
    NoSpace,
    NotFound,
    RemoteDamaged,
    RemoteRefused,
    StorehouseError,
    Unavailable,
)
from storehouse.events import ArchiveShipped, Events, ShippingFailed
from storehouse.storage.shipping.interfaces import Counts, IDestination, IShipper, Shipment
from storehouse.storage.shipping.metrics import collect
from storehouse.storage.shipping.names import printable
from storehouse.storage.shipping.spool import (
    COMPRESSED,
    DEAD,
    DONE,
    WAITING,
    Identity,
    Note,
    Spool,
    identity_of,
    target_of,
)
from storehouse.storage.shipping.steps import Steps, is_file_compressed

__all__ = ["Shipper"]

#: Notes that are read in one job of a disk thread, at a start.
_BATCH = 100

#: Errors that another attempt would meet again: the file becomes a dead letter at once.
_FINAL = (RemoteRefused, BadRequest, NotFound)

P = ParamSpec("P")
T = TypeVar("T")


@implementer(IShipper)
class Shipper:
    """
    See L{IShipper}.

    @param clock: for the pauses between attempts.
    @param random: makes these pauses uneven.
    @param now: returns the time, seconds since 1970 UTC.
    @param name: of the destination, for events: C{ArchiveShipped.destination}.
    """

    _log = Logger()

    def __init__(
        self,
        settings: ShipperSettings,
        destination: IDestination,
        disk: IDisk,
        clock: Reactor,
        events: Events | None = None,
        files: Files | None = None,
        random: Random | None = None,
        now: Callable[[], float] = time.time,
        name: str = "",
    ) -> None:
        self.deletes = settings.delete
        self._settings = settings
        self._disk = disk
        self._clock = clock
        self._events = events or Events()
        self._random = random or Random()
        self._now = now
        self._name = name
        self._shipped = self._failed = 0
        files = files or Files()
        self._spool = Spool(os.path.abspath(settings.directory), files, settings.root)
        self._steps = Steps(settings, destination, self._spool, disk, files, lambda: self._stopping)
        self._notes: dict[str, Note] = {}
        # Heaps of IDs are in the order in which files were handed over.
        self._ready: list[str] = []
        self._running: dict[str, Deferred[None]] = {}
        self._sleeping: dict[str, IDelayedCall] = {}
        self._identities: dict[Identity, str] = {}
        self._locks = KeyedLocks()
        self._calls: set[Deferred[None]] = set()
        self._number = 0
        self._started = False
        self._stopping = False
        self._is_beginning = False

    # -- start and stop ------------------------------------------------------------------------

    @deferred
    async def start(self) -> None:
        """
        Read what the last process left, and continue with it.

        @return: fires when L{ship} can be called. Fails with C{NoSpace}, with C{RootInUse} if another shipper uses the
            directory, or an C{OSError} if that cannot be used.
        """
        spool = self._spool
        self._stopping = False
        self._notes.clear()
        self._identities.clear()
        self._ready.clear()
        await self._on_disk(spool.lock)
        try:
            await self._load()
        except BaseException:
            spool.unlock()
            raise
        left = [note.id for note in self._notes.values() if note.stage != DEAD]
        if left:
            self._log.info("{count} files are still on their way", count=len(left))
        self._started = True
        for id in left:
            heappush(self._ready, id)
        self._begin_ready()

    async def _load(self) -> None:
        spool = self._spool
        paths = await self._on_disk(spool.prepare)
        notes: list[Note] = []
        for first in range(0, len(paths), _BATCH):
            notes += await self._on_disk(spool.load, paths[first : first + _BATCH])
        notes += await self._on_disk(spool.notes_of_lost, notes, self._now())
        for problem in spool.problems:
            self._log.error("in the shipping directory: {problem}", problem=problem)
        for note in sorted(notes, key=lambda note: note.id):
            self._notes[note.id] = note
            self._number = max(self._number, int(note.id))
            await self._identify(note)

    @deferred
    async def stop(self) -> None:
        """Interrupt what is on its way; the next start continues with it. @return: fires when nothing is done any more."""
        self._started = False
        self._stopping = True
        for call in self._sleeping.values():
            call.cancel()
        self._sleeping.clear()
        for work in list(self._running.values()):
            work.cancel()
        for work in [*self._running.values(), *self._calls]:
            await settled(work)
        self._spool.unlock()

    def collect(self) -> Iterable[Metric]:
        """Metric families, for a C{prometheus_client} registry."""
        return collect(self.counts())

    # -- IShipper ------------------------------------------------------------------------------

    def ship(self, path: str, stream: str = "", delete: bool | None = None) -> Deferred[Shipment]:
        return self._awaited_by_stop(self._ship(os.path.abspath(path), stream, delete))

    def _awaited_by_stop(self, work: Coroutine[Any, Any, T]) -> Deferred[T]:
        """Run it; L{stop} waits for its end, even if the caller cancels it."""
        ended: Deferred[None] = Deferred()
        self._calls.add(ended)

        def end(result: Any) -> Any:
            self._calls.discard(ended)
            ended.callback(None)
            return result

        return Deferred.fromCoroutine(work).addBoth(end)

    async def _ship(self, path: str, stream: str, delete: bool | None) -> Shipment:
        self._check_started()
        stream = check_prefix(os.fsencode(stream))
        settings = self._settings
        path = await self._on_disk(target_of, path)
        async with self._locks.held(path):
            identity = await self._on_disk(identity_of, path)
            id = self._identities.get(identity)
            if id is not None:
                return (await self._retry(id)).shipment()
            is_compressed = await self._on_disk(is_file_compressed, path)
            self._check_started()
            self._number += 1
            note = Note(
                id=f"{self._number:016d}",
                path=path,
                stream=stream,
                compression="none" if is_compressed else settings.compression,
                level=settings.level,
                delete=settings.delete if delete is None else delete,
                since=self._now(),
                inode=identity[1],
                file_size=identity[2],
                modified=identity[3],
            )
            await self._on_disk(self._spool.take, note)
            self._notes[note.id] = note
            self._identities[identity] = note.id
        heappush(self._ready, note.id)
        self._begin_ready()
        return note.shipment()

    def shipments(self) -> Sequence[Shipment]:
        return [note.shipment() for _, note in sorted(self._notes.items())]

    def retry(self, id: str | None = None) -> Deferred[int]:
        return self._awaited_by_stop(self._retry_all(id))

    async def _retry_all(self, id: str | None) -> int:
        self._check_started()
        dead = [note.id for note in self._notes.values() if note.stage == DEAD and id in (None, note.id)]
        if id is not None and not dead:
            raise NotFound(f"there is no dead letter {id}")
        for each in dead:
            await self._retry(each)
        return len(dead)

    async def _retry(self, id: str) -> Note:
        """Ship a file again if it is a dead letter."""
        async with self._locks.held(id):
            note = self._notes[id]
            if note.stage == DEAD:
                # From the beginning: a wrong digest or name in the note may be why it failed.
                note = attrs.evolve(note, stage=WAITING, attempts=0, error="")
                await self._on_disk(self._spool.revive, note)
                self._notes[id] = note
                heappush(self._ready, id)
        self._begin_ready()
        return note

    def counts(self) -> Counts:
        alive = [note for note in self._notes.values() if note.stage != DEAD]
        oldest = min((note.since for note in alive), default=None)
        return Counts(
            waiting=len(alive) - len(self._running),
            shipping=len(self._running),
            dead=len(self._notes) - len(alive),
            shipped=self._shipped,
            failed=self._failed,
            size=self._steps.uploaded,
            oldest=0.0 if oldest is None else max(0.0, self._now() - oldest),
        )

    def _check_started(self) -> None:
        if not self._started:
            raise Unavailable("files are not shipped now: the shipper has not been started, or was stopped")

    # -- files on their way --------------------------------------------------------------------

    def _begin_ready(self) -> None:
        if self._is_beginning:  # called by an attempt that ended at once: the loop below continues
            return
        self._is_beginning = True
        try:
            while self._started and self._ready and len(self._running) < self._settings.concurrency:
                self._begin(heappop(self._ready))
        finally:
            self._is_beginning = False

    def _begin(self, id: str) -> None:
        # Before it runs: it may end at once.
        self._running[id] = Deferred()
        work = Deferred.fromCoroutine(self._attempt(id))
        if id in self._running:
            self._running[id] = work
        work.addErrback(lambda failure: self._log.failure("an unexpected failure of the shipper", failure))

    async def _attempt(self, id: str) -> None:
        try:
            while self._notes[id].stage != DONE:
                self._notes[id] = await self._steps.next(self._notes[id])
            await self._finish(self._notes[id])
        except CancelledError:
            pass  # by stop
        except Exception as error:
            await self._note_failure(self._notes[id], error)
        finally:
            del self._running[id]
            self._begin_ready()

    async def _finish(self, note: Note) -> None:
        self._shipped += 1
        self._log.info(
            "shipped {path} as {name}, {size} bytes", path=printable(note.path), name=note.name, size=note.size
        )
        self._events.publish(
            ArchiveShipped(note.stream, note.path, note.name, note.size, note.digest, note.deleted, self._name)
        )
        self._forget(note)
        try:
            await self._on_disk(self._spool.remove, note)
        except OSError:
            # The next start finds a note whose stage is "done", and removes it then.
            self._log.failure("files of {path} in the shipping directory cannot be removed", path=printable(note.path))

    def _forget(self, note: Note) -> None:
        self._notes.pop(note.id, None)
        for identity, id in list(self._identities.items()):
            if id == note.id:
                del self._identities[identity]

    async def _note_failure(self, note: Note, error: Exception) -> None:
        if isinstance(error, OSError) and error.errno in NO_SPACE:
            error = NoSpace(f"no space in the file system of the shipping directory: {error}")
        self._failed += 1
        attempts = note.attempts + 1
        is_dead = isinstance(error, _FINAL) or attempts >= self._settings.attempts
        reached = note.stage
        note = attrs.evolve(note, attempts=attempts, error=f"{type(error).__name__}: {error}")
        if isinstance(error, RemoteDamaged):
            note = attrs.evolve(note, stage=COMPRESSED, again=True)
        if is_dead:
            note = attrs.evolve(note, stage=DEAD)
        try:
            await self._on_disk(self._spool.bury if is_dead else self._spool.save, note)
        except (OSError, NoSpace) as problem:
            # The note on disk is as before, and so the file cannot be a dead letter yet.
            self._log.error(
                "the failure of {path} cannot be noted: {reason}", path=printable(note.path), reason=str(problem)
            )
            if is_dead:
                is_dead, note = False, attrs.evolve(note, stage=reached)
        self._notes[note.id] = note
        if not isinstance(error, (StorehouseError, OSError)):
            self._log.failure("an unexpected error while {path} was shipped", path=printable(note.path))
        level = self._log.error if is_dead else self._log.warn
        level(
            "{what} {path} at stage {stage}, attempt {attempts}: {reason}",
            what="gave up shipping" if is_dead else "failed to ship",
            path=printable(note.path),
            stage=reached,
            attempts=attempts,
            reason=note.error,
        )
        if not is_dead and self._started:
            delay = self._pause(attempts)
            self._sleeping[note.id] = self._clock.callLater(delay, self._wake, note.id)
        self._events.publish(ShippingFailed(note.stream, note.path, reached, attempts, is_dead, error))

    def _pause(self, attempts: int) -> float:
        settings = self._settings
        longest = min(settings.pause * 2.0 ** min(attempts - 1, 60), settings.longest_pause)
        return longest * self._random.uniform(0.5, 1.0)

    def _wake(self, id: str) -> None:
        del self._sleeping[id]
        heappush(self._ready, id)
        self._begin_ready()

    # -- the disk ------------------------------------------------------------------------------

    async def _on_disk(self, f: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return await whole(self._disk, f, *args, **kwargs)
        except OSError as error:
            if error.errno in NO_SPACE:
                raise NoSpace(f"no space in the file system of the shipping directory: {error}") from None
            raise

    async def _identify(self, note: Note) -> None:
        """Remember what its file is, so that it is not taken twice."""
        for path in (note.path, self._spool.file_path(note)):
            try:
                identity = await self._on_disk(identity_of, path)
            except (NotFound, OSError):
                continue  # it was moved, or removed: then it cannot be handed over again
            # Another file may have the name by now. The spool's copy is another file as well; nobody hands that over.
            if identity[1:] == (note.inode, note.file_size, note.modified):
                self._identities[identity] = note.id
