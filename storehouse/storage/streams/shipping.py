"""Hands archives to shippers when their callbacks are done, and notes in the catalogue when they have arrived."""

from __future__ import annotations

import os
from collections.abc import Coroutine, Mapping
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from storehouse.core.files import Files
from storehouse.core.jobs import IDisk, settled, whole
from storehouse.core.turns import Reactor
from storehouse.errors import NotFound, StorehouseError, Unavailable
from storehouse.events import ArchiveShipped
from storehouse.storage.shipping.interfaces import IShipper
from storehouse.storage.streams.interfaces import Archive, State
from storehouse.storage.streams.stream import Stream

__all__ = ["Handover"]

#: Seconds after which an archive that could not be handed over is handed over again.
_PAUSE = 30.0


class Handover:
    """
    Hands the archives of streams to their shippers.

    A local file is removed here, not by the shipper, and only once the catalogue has where else the archive is: at each moment
    readers find one of the two.

    @param shippers: by the names of destinations.
    """

    _log = Logger()

    def __init__(self, shippers: Mapping[str, IShipper], disk: IDisk, clock: Reactor, files: Files) -> None:
        self._shippers = shippers
        self._disk = disk
        self._clock = clock
        self._files = files
        self._handed: set[tuple[str, int]] = set()
        self._again: dict[tuple[str, int], float] = {}  # the reactor's seconds from which to try it again
        self._work: set[Deferred[None]] = set()

    def look(self, stream: Stream) -> None:
        """Hand over finished archives, and remove local files of shipped ones unless they are to stay."""
        settings = stream.settings
        if not settings.ship:
            return
        for archive in stream.archives():
            key = stream.name, archive.number
            if key in self._handed or self._again.get(key, 0.0) > self._clock.seconds():
                continue
            if archive.state == State.FINISHED and archive.path:
                self._handed.add(key)
                self._begin(self._ship(stream, archive))
            elif archive.state == State.SHIPPED and archive.path and not settings.keep_local:
                self._handed.add(key)
                self._begin(self._remove(stream, archive))

    def arrived(self, stream: Stream, event: ArchiveShipped) -> None:
        """Note that an archive has arrived."""
        archive = stream.catalogue.find(event.path)
        if archive is not None and archive.state == State.FINISHED and stream.settings.ship:
            self._begin(self._note(stream, archive, event))

    async def stop(self) -> None:
        """Wait until nothing is under way."""
        while self._work:
            await settled(next(iter(self._work)))

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        done: Deferred[None] = Deferred()
        self._work.add(done)

        def end(result: Failure | None) -> None:
            self._work.discard(done)
            if result is not None:
                self._log.failure("an unexpected failure in shipping archives", result)
            done.callback(None)

        Deferred.fromCoroutine(work).addBoth(end)

    async def _ship(self, stream: Stream, archive: Archive) -> None:
        try:
            await self._shippers[stream.settings.ship].ship(archive.path, stream.name, False)
        except NotFound:
            now = stream.catalogue.get(archive.number)
            if (
                now is not None and now.state == State.FINISHED
            ):  # else: arrived, after an earlier process handed it over
                stream.counters.failures += 1
                self._log.error("{path} cannot be shipped: it is gone", path=archive.path)
        except Unavailable:
            self._handed.discard((stream.name, archive.number))  # the shipper has not started yet, or stops
        except (StorehouseError, OSError) as error:
            stream.counters.failures += 1
            self._log.warn("{path} cannot be handed over: {error}", path=archive.path, error=str(error))
            self._later(stream, archive)

    async def _note(self, stream: Stream, archive: Archive, event: ArchiveShipped) -> None:
        try:
            await whole(
                self._disk,
                lambda: stream.catalogue.change(
                    archive.number,
                    state=State.SHIPPED,
                    remote=event.name,
                    remote_size=event.size,
                    destination=event.destination or stream.settings.ship,
                ),
            )
        except OSError as error:
            # The catalogue has it in memory; if it is not written by the next start, the archive is shipped again: harmless.
            self._log.warn("cannot record that {path} was shipped: {error}", path=archive.path, error=str(error))
            return
        self._handed.discard((stream.name, archive.number))
        self.look(stream)

    async def _remove(self, stream: Stream, archive: Archive) -> None:
        try:
            await whole(self._disk, self._unlink, stream, archive)
        except OSError as error:
            stream.counters.failures += 1
            self._log.warn("{path} cannot be removed: {error}", path=archive.path, error=str(error))
            self._later(stream, archive)

    def _unlink(self, stream: Stream, archive: Archive) -> None:
        try:
            self._files.unlink(archive.path)
            self._files.sync_directory(os.path.dirname(archive.path))
        except FileNotFoundError:
            pass  # removed before a crash, which came before the catalogue's line
        # Only now: a file that the catalogue does not have would be adopted as another archive.
        stream.catalogue.change(archive.number, path="")

    def _later(self, stream: Stream, archive: Archive) -> None:
        key = stream.name, archive.number
        self._handed.discard(key)
        self._again[key] = self._clock.seconds() + _PAUSE
