"""Ships closed files: see C{docs/shipping.rst}."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from heapq import heappop, heappush
from random import Random
from typing import Any, TypeVar

import attrs
from prometheus_client.core import Metric
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from zope.interface import implementer

from storehouse.config.shipping import ShipperSettings
from storehouse.core.disk import IDisk
from storehouse.core.files import NO_SPACE, Files
from storehouse.core.jobs import KeyedLocks, settled, whole
from storehouse.core.names import check_prefix
from storehouse.core.streams import deferred
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
from storehouse.storage.shipping.metrics import ShippingMetrics
from storehouse.storage.shipping.names import shown
from storehouse.storage.shipping.notes import COMPRESSED, DEAD, DONE, WAITING, Note
from storehouse.storage.shipping.packing import is_packed
from storehouse.storage.shipping.spool import Spool, identity_of, target_of
from storehouse.storage.shipping.steps import Steps

__all__ = ["Shipper"]

#: Notes that are read in one go at a start.
_BATCH = 100

#: What another attempt cannot help.
_FINAL = (RemoteRefused, BadRequest, NotFound)

T = TypeVar("T")

Identity = tuple[int, int, int, int]


@implementer(IShipper)
class Shipper:
    """
    See L{IShipper}.

    @param clock: C{callLater}, as a reactor has it.
    @param random: makes the pauses between attempts uneven.
    @param now: tells the time, seconds since 1970 UTC.
    """

    _log = Logger()

    def __init__(
        self,
        settings: ShipperSettings,
        destination: IDestination,
        disk: IDisk,
        clock: Any,
        events: Events | None = None,
        files: Files | None = None,
        random: Random | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.deletes = settings.delete
        self._settings = settings
        self._disk = disk
        self._clock = clock
        self._events = events or Events()
        self._random = random or Random()
        self._now = now
        self._metrics = ShippingMetrics()
        files = files or Files()
        self._spool = Spool(os.path.abspath(settings.directory), files, settings.root)
        self._steps = Steps(settings, destination, self._spool, disk, files, self._metrics, lambda: self._stopping)
        self._notes: dict[str, Note] = {}
        self._ready: list[str] = []
        self._running: dict[str, Deferred[None]] = {}
        self._sleeping: dict[str, Any] = {}
        self._identities: dict[Identity, str] = {}
        self._locks = KeyedLocks()
        self._taking: set[Deferred[Any]] = set()
        self._number = 0
        self._started = False
        self._stopping = False
        self._going = False

    # -- start and stop ------------------------------------------------------------------------

    @deferred
    async def start(self) -> None:
        """
        Read what the last process left, and go on with it.

        @return: fires when L{ship} can be called. Fails with C{NoSpace}, with C{RootInUse} if another shipper works on the
            directory, or an C{OSError} if it cannot be used.
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
            self._log.info("{count} files are on their way still", count=len(left))
        self._started = True
        for id in left:
            heappush(self._ready, id)
        self._go_on()

    async def _load(self) -> None:
        spool = self._spool
        paths = await self._on_disk(spool.prepare)
        notes: list[Note] = []
        for first in range(0, len(paths), _BATCH):
            notes += await self._on_disk(spool.load, paths[first : first + _BATCH])
        notes += await self._on_disk(spool.rest, notes, self._now())
        for problem in spool.problems:
            self._log.error("in the shipping directory: {problem}", problem=problem)
        for note in sorted(notes, key=lambda note: note.id):
            self._notes[note.id] = note
            self._number = max(self._number, int(note.id))
            await self._identify(note)

    @deferred
    async def stop(self) -> None:
        """Break off what is on its way; the next start goes on with it. @return: fires when nothing is done any more."""
        self._started = False
        self._stopping = True
        for call in self._sleeping.values():
            call.cancel()
        self._sleeping.clear()
        for work in list(self._running.values()):
            work.cancel()
        for work in [*self._running.values(), *self._taking]:
            await settled(work)
        self._spool.unlock()

    def collect(self) -> Iterable[Metric]:
        """For Prometheus."""
        return self._metrics.collect(self.counts())

    # -- what is asked of it -------------------------------------------------------------------

    def ship(self, path: str, stream: str = "", delete: bool | None = None) -> Deferred[Shipment]:
        """See L{IShipper.ship}."""
        return self._seen_through(self._ship(os.path.abspath(path), stream, delete))

    def _seen_through(self, work: Coroutine[Any, Any, T]) -> Deferred[T]:
        """So that a stop waits for it."""
        over: Deferred[None] = Deferred()
        self._taking.add(over)

        def ended(result: Any) -> Any:
            self._taking.discard(over)
            over.callback(None)
            return result

        return Deferred.fromCoroutine(work).addBoth(ended)

    async def _ship(self, path: str, stream: str, delete: bool | None) -> Shipment:
        self._check_started()
        stream = check_prefix(os.fsencode(stream))
        settings = self._settings
        path = await self._on_disk(target_of, path)
        async with self._locks.held(path):
            identity: Identity = await self._on_disk(identity_of, path)
            known = self._identities.get(identity)
            if known is not None:
                return (await self._retry(known)).shipment()
            packed = await self._on_disk(is_packed, path)
            self._check_started()
            self._number += 1
            note = Note(
                id=f"{self._number:016d}",
                path=path,
                stream=stream,
                compression="none" if packed else settings.compression,
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
        self._go_on()
        return note.shipment()

    def shipments(self) -> Sequence[Shipment]:
        """See L{IShipper.shipments}."""
        return [note.shipment() for _, note in sorted(self._notes.items())]

    def retry(self, id: str | None = None) -> Deferred[int]:
        """See L{IShipper.retry}."""
        return self._seen_through(self._retry_all(id))

    async def _retry_all(self, id: str | None) -> int:
        self._check_started()
        dead = [note.id for note in self._notes.values() if note.stage == DEAD and id in (None, note.id)]
        if id is not None and not dead:
            raise NotFound(f"there is no dead letter {id}")
        for each in dead:
            await self._retry(each)
        return len(dead)

    async def _retry(self, id: str) -> Note:
        """If it is a dead letter."""
        async with self._locks.held(id):
            note = self._notes[id]
            if note.stage == DEAD:
                # From the beginning: what is known of it may be why it died.
                note = attrs.evolve(note, stage=WAITING, attempts=0, error="")
                await self._on_disk(self._spool.revive, note)
                self._notes[id] = note
                heappush(self._ready, id)
        self._go_on()
        return note

    def counts(self) -> Counts:
        """See L{IShipper.counts}."""
        alive = [note for note in self._notes.values() if note.stage != DEAD]
        oldest = min((note.since for note in alive), default=None)
        return Counts(
            waiting=len(alive) - len(self._running),
            shipping=len(self._running),
            dead=len(self._notes) - len(alive),
            shipped=self._metrics.shipped,
            failed=self._metrics.failed,
            size=self._metrics.size,
            oldest=0.0 if oldest is None else max(0.0, self._now() - oldest),
        )

    def _check_started(self) -> None:
        if not self._started:
            raise Unavailable("files are not shipped now: the shipper was not started, or was stopped")

    # -- files on their way --------------------------------------------------------------------

    def _go_on(self) -> None:
        if self._going:  # one that was over at once, and another behind it: that must not become a recursion
            return
        self._going = True
        try:
            while self._started and self._ready and len(self._running) < self._settings.concurrency:
                self._begin(heappop(self._ready))
        finally:
            self._going = False

    def _begin(self, id: str) -> None:
        # There before it runs: it may be over at once.
        self._running[id] = Deferred()
        work = Deferred.fromCoroutine(self._attempt(id))
        if id in self._running:
            self._running[id] = work
        work.addErrback(self._broken)

    def _broken(self, failure: Any) -> None:
        self._log.failure("a defect in the shipper", failure=failure)

    async def _attempt(self, id: str) -> None:
        try:
            while self._notes[id].stage != DONE:
                self._notes[id] = await self._steps.next(self._notes[id])
            await self._arrived(self._notes[id])
        except CancelledError:
            pass  # by a stop
        except Exception as error:
            await self._failed(self._notes[id], error)
        finally:
            del self._running[id]
            self._go_on()

    async def _arrived(self, note: Note) -> None:
        self._metrics.shipped += 1
        self._log.info("shipped {path} as {name}, {size} bytes", path=shown(note.path), name=note.name, size=note.size)
        self._events.publish(ArchiveShipped(note.stream, note.path, note.name, note.size, note.digest, note.deleted))
        self._forget(note)
        try:
            await self._on_disk(self._spool.remove, note)
        except OSError:
            # The next start finds that it is done.
            self._log.failure("while clearing up after {path}", path=shown(note.path))

    def _forget(self, note: Note) -> None:
        self._notes.pop(note.id, None)
        for identity, id in list(self._identities.items()):
            if id == note.id:
                del self._identities[identity]

    async def _failed(self, note: Note, error: Exception) -> None:
        if isinstance(error, OSError) and error.errno in NO_SPACE:
            error = NoSpace(f"there is no room in the file system of the shipping directory: {error}")
        self._metrics.failed += 1
        attempts = note.attempts + 1
        dead = isinstance(error, _FINAL) or attempts >= self._settings.attempts
        reached = note.stage
        note = attrs.evolve(note, attempts=attempts, error=f"{type(error).__name__}: {error}")
        if isinstance(error, RemoteDamaged):
            note = attrs.evolve(note, stage=COMPRESSED, again=True)
        if dead:
            note = attrs.evolve(note, stage=DEAD)
        try:
            await self._on_disk(self._spool.bury if dead else self._spool.save, note)
        except (OSError, NoSpace) as broken:
            # It stays what it was, and where.
            self._log.error("while noting a failure of {path}: {reason}", path=shown(note.path), reason=str(broken))
            if dead:
                dead, note = False, attrs.evolve(note, stage=reached)
        self._notes[note.id] = note
        if not isinstance(error, (StorehouseError, OSError)):
            self._log.failure("unexpected, while shipping {path}", path=shown(note.path))
        level = self._log.error if dead else self._log.warn
        level(
            "{what} {path} at stage {stage}, attempt {attempts}: {reason}",
            what="gave up shipping" if dead else "failed to ship",
            path=shown(note.path),
            stage=reached,
            attempts=attempts,
            reason=note.error,
        )
        if not dead and self._started:
            delay = self._pause(attempts)
            self._sleeping[note.id] = self._clock.callLater(delay, self._wake, note.id)
        self._events.publish(ShippingFailed(note.stream, note.path, reached, attempts, dead, error))

    def _pause(self, attempts: int) -> float:
        settings = self._settings
        longest = min(settings.pause * 2.0 ** min(attempts - 1, 60), settings.longest_pause)
        return longest * self._random.uniform(0.5, 1.0)

    def _wake(self, id: str) -> None:
        del self._sleeping[id]
        heappush(self._ready, id)
        self._go_on()

    # -- the disk ------------------------------------------------------------------------------

    async def _on_disk(self, f: Callable[..., Any], *args: Any) -> Any:
        try:
            return await whole(self._disk, f, *args)
        except OSError as error:
            if error.errno in NO_SPACE:
                raise NoSpace(f"there is no room in the file system of the shipping directory: {error}") from None
            raise

    async def _identify(self, note: Note) -> None:
        """So that it is not taken twice."""
        for path in (note.path, self._spool.file_path(note)):
            try:
                identity: Identity = await self._on_disk(identity_of, path)
            except (NotFound, OSError):
                continue  # it was moved, or removed: then it cannot be handed over again
            # Another file may have the name by now. A copy is another file as well, and not one to be handed over.
            if identity[1:] == (note.inode, note.file_size, note.modified):
                self._identities[identity] = note.id
