"""Archives on their way to a destination: handed over when their callbacks are done, and noted when they have arrived."""

from __future__ import annotations

import os
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from storehouse.core.disk import IDisk
from storehouse.core.files import Files
from storehouse.core.jobs import settled, whole
from storehouse.errors import NotFound, StorehouseError, Unavailable
from storehouse.events import ArchiveShipped
from storehouse.storage.streams.interfaces import Archive, State
from storehouse.storage.streams.stream import Stream

__all__ = ["Handover"]

#: Seconds after which an archive that could not be handed over is handed over again.
_PAUSE = 30.0


class Handover:
    """
    Hands the archives of streams to their shippers.

    A local file is removed here, not by the shipper, and only once the catalogue says where else the archive is: so there is
    no moment in which nobody could tell.

    @param shippers: an C{IShipper} for each destination, by its name.
    """

    _log = Logger()

    def __init__(self, shippers: dict[str, Any], disk: IDisk, clock: Any, files: Files) -> None:
        self._shippers = shippers
        self._disk = disk
        self._clock = clock
        self._files = files
        self._handed: set[tuple[str, int]] = set()
        self._again: dict[tuple[str, int], float] = {}
        self._work: set[Deferred[Any]] = set()

    def look(self, stream: Stream) -> None:
        """Hand over what has not been, and remove what need not be here any more."""
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
        """A file has."""
        archive = stream.catalogue.find(event.path)
        if archive is not None and archive.state == State.FINISHED and stream.settings.ship:
            self._begin(self._note(stream, archive, event))

    async def stop(self) -> None:
        """@return: when nothing is being done any more."""
        while self._work:
            await settled(next(iter(self._work)))

    def _begin(self, work: Any) -> None:
        done: Deferred[None] = Deferred()
        self._work.add(done)

        def over(result: Any) -> None:
            self._work.discard(done)
            if result is not None:
                self._log.failure("a defect in the handing over of archives", result)
            done.callback(None)

        Deferred.fromCoroutine(work).addBoth(over)

    async def _ship(self, stream: Stream, archive: Archive) -> None:
        try:
            await self._shippers[stream.settings.ship].ship(archive.path, stream.name, False)
        except NotFound:
            now = stream.catalogue.get(archive.number)
            if now is not None and now.state == State.FINISHED:  # otherwise what the last process had begun has arrived
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
            # Known here, and shipped again after a restart if it is not noted by then, which is harmless.
            self._log.warn("that {path} was shipped cannot be noted: {error}", path=archive.path, error=str(error))
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
            pass
        # Only now: a name that is not in the catalogue would be taken for an archive of somebody else.
        stream.catalogue.change(archive.number, path="")

    def _later(self, stream: Stream, archive: Archive) -> None:
        key = stream.name, archive.number
        self._handed.discard(key)
        self._again[key] = self._clock.seconds() + _PAUSE
