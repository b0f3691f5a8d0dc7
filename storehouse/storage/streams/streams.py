"""All streams of a process."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import cast

from prometheus_client.core import Metric
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from zope.interface import implementer

from storehouse.archive.clocks import Clock
from storehouse.core.budget import ByteBudget
from storehouse.core.files import Files
from storehouse.core.jobs import IDisk, deferred, settled, whole
from storehouse.core.turns import Reactor
from storehouse.errors import InvalidSetting, NoSuchStream, StorehouseError
from storehouse.events import ArchiveClosed, ArchiveOpened, ArchiveShipped, Events
from storehouse.storage.shipping.interfaces import IDestination, IShipper
from storehouse.storage.streams.interfaces import Archive, IStreams
from storehouse.storage.streams.metrics import collect
from storehouse.storage.streams.recovery import find_shipped
from storehouse.storage.streams.settings import StreamSettings
from storehouse.storage.streams.shipping import Handover
from storehouse.storage.streams.stream import Stream

__all__ = ["LocalStreams"]

#: Seconds between two polls.
_INTERVAL = 1.0

#: Seconds between two attempts to start a stream.
_AGAIN = 30.0


@implementer(IStreams)
class LocalStreams:
    """
    See L{IStreams}.

    @param shippers: by the names of destinations; they must be stopped after this.
    @param destinations: to read from, by their names.
    @param memory: bytes of records that wait to be written, in all streams.
    @param on_failure: called once, in the reactor's thread, if a sync failed; the process should then end.
    @param clock: for the times of records; C{None} for the system's.
    @ivar failed: that error, from then on.
    """

    _log = Logger()

    def __init__(
        self,
        settings: Iterable[StreamSettings],
        disk: IDisk,
        reactor: Reactor,
        events: Events,
        shippers: Mapping[str, IShipper] | None = None,
        destinations: Mapping[str, IDestination] | None = None,
        memory: int = 64 << 20,
        on_failure: Callable[[StorehouseError], object] = lambda error: None,
        files: Files | None = None,
        clock: Clock | None = None,
    ) -> None:
        files = files or Files()
        destinations = destinations or {}
        self.failed: StorehouseError | None = None
        self._reactor = reactor
        self._events = events
        self._on_failure = on_failure
        self._handover = Handover(shippers or {}, disk, reactor, files)
        budget = ByteBudget(memory)
        self._streams = {
            each.name: Stream(
                each,
                disk,
                reactor,
                files,
                budget,
                destinations,
                self._fail,
                self._changed,
                clock,
            )
            for each in settings
        }
        self._disk = disk
        self._polling: LoopingCall | None = None
        self._trying: Deferred[None] | None = None
        self._next_try = 0.0
        self._unsubscribe: Callable[[], None] = lambda: None

    # -- start and stop ------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """
        Finish what the last process left, and begin. Waits for the disk: to be called before the reactor runs.

        A stream that cannot be used is started again each half minute; the others are served meanwhile.

        @raise InvalidSetting: if a stream cannot be as it is configured.
        """
        started: list[Stream] = []
        self._unsubscribe = self._events.subscribe(ArchiveShipped, self._archive_shipped)
        try:
            for stream in self._streams.values():
                try:
                    stream.start()
                except InvalidSetting:
                    raise
                except StorehouseError as error:
                    self._log.error("{error}; it will be tried again", error=error.detail)
                    stream.unusable = error
                started.append(stream)
        except BaseException:
            self._unsubscribe()
            for stream in started:
                stream.close()
            raise
        incomplete = any(stream.incomplete for stream in started)
        self._next_try = self._reactor.seconds() + (0.0 if incomplete else _AGAIN)
        self._polling = LoopingCall(self._poll)
        self._polling.clock = cast(IReactorTime, self._reactor)
        self._polling.start(_INTERVAL, now=False)

    @deferred
    async def stop(self) -> None:
        """Write what waits, close the open archives, and hand them over to their shippers."""
        if self._polling is None:
            return
        self._polling.stop()
        self._polling = None
        if self._trying is not None:
            await settled(self._trying)
        for stream in self._streams.values():
            await stream.stop()
        await self._handover.stop()
        self._unsubscribe()
        await self._handover.stop()
        for stream in self._streams.values():
            stream.close()

    def _poll(self) -> None:
        for stream in self._streams.values():
            if stream.unusable is None:
                stream.poll()
                self._handover.look(stream)
        unusable = [stream for stream in self._streams.values() if stream.unusable is not None or stream.incomplete]
        if unusable and self._trying is None and self._reactor.seconds() >= self._next_try:
            self._next_try = self._reactor.seconds() + _AGAIN
            trying = self._trying = Deferred.fromCoroutine(self._try_again(unusable))
            trying.addErrback(
                lambda failure: self._log.failure("an unexpected failure in the start of a stream", failure)
            )
            trying.addBoth(self._end_try)

    async def _try_again(self, streams: Sequence[Stream]) -> None:
        for stream in streams:
            if stream.unusable is None:
                await self._complete(stream)
                continue
            try:
                await whole(self._disk, stream.start)
            except StorehouseError as error:
                stream.unusable = error
            else:
                stream.unusable = None
                self._log.info("the stream {name} can be used again", name=stream.name)

    async def _complete(self, stream: Stream) -> None:
        """Find archives at the destination that a damaged catalogue has lost."""
        try:
            destination = stream.destinations[stream.settings.ship]
            count = await find_shipped(stream.settings, stream.catalogue, destination, self._disk)
        except (StorehouseError, OSError) as error:
            self._log.warn(
                "shipped archives of {name} cannot be looked for: {error}", name=stream.name, error=str(error)
            )
            return
        stream.incomplete = False
        if count:
            self._log.warn(
                "{count} archives of {name} that were not in the catalogue were found at {destination!r}",
                count=count,
                name=stream.name,
                destination=destination,
            )

    def _end_try(self, result: object) -> None:
        self._trying = None

    @property
    def degraded(self) -> str:
        """Which streams are not served as a whole, and why; empty if all are."""
        reasons = [each.unusable.detail for each in self._streams.values() if each.unusable is not None]
        reasons += [
            f"{each.settings.catalogue} was damaged: archives of {each.name} that were shipped may be missing; see "
            "the log,"
            f" and move {', '.join(each.catalogue.lacking)} away when they are found"
            for each in self._streams.values()
            if each.catalogue.lacking
        ]
        return "; ".join(reasons)

    def _fail(self, error: StorehouseError) -> None:
        if self.failed is None:
            self.failed = error
            self._on_failure(error)

    # -- IStreams ------------------------------------------------------------------------------------------------------

    def names(self) -> Sequence[str]:
        return sorted(self._streams)

    def stream(self, name: str) -> Stream:
        found = self._streams.get(name)
        if found is None:
            raise NoSuchStream(f"there is no stream {name!r}; streams are named in the configuration file")
        return found

    def collect(self) -> Iterable[Metric]:
        """Metric families, for a C{prometheus_client} registry."""
        return collect(
            {
                name: (
                    stream.counters,
                    stream.archives(),
                    stream.unusable is None and not stream.catalogue.lacking,
                    len(stream.catalogue.set_aside),
                )
                for name, stream in self._streams.items()
            }
        )

    # -- events --------------------------------------------------------------------------------------------------------

    def _changed(self, stream: Stream, what: str, archive: Archive) -> None:
        if what == "opened":
            self._events.publish(ArchiveOpened(stream.name, archive.path))
        elif what == "closed":
            stream.counters.rolls += 1
            self._events.publish(
                ArchiveClosed(stream.name, archive.path, archive.records, archive.size, archive.lowest, archive.highest)
            )
        elif what == "finished":
            self._handover.look(stream)

    def _archive_shipped(self, event: ArchiveShipped) -> None:
        stream = self._streams.get(event.stream)
        if stream is not None:
            self._handover.arrived(stream, event)
