"""A room of streams on a real disk, with a clock that a test turns and a destination in memory."""

from __future__ import annotations

import os
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from storehouse.archive.roll_checker import RecordCountRollChecker
from storehouse.config.shipping import ShipperSettings
from storehouse.core.files import Files
from storehouse.core.jobs import InlineDisk
from storehouse.errors import DamagedArchive
from storehouse.events import ArchiveClosed, ArchiveOpened, Events
from storehouse.storage.shipping.shipper import Shipper
from storehouse.storage.streams.settings import StreamSettings
from storehouse.storage.streams.stream import Stream
from storehouse.storage.streams.streams import LocalStreams
from tests.storage.shipping.fake import MemoryDestination

__all__ = ["Reactor", "Room", "all_of", "outcome"]


class Reactor(Clock):
    """A clock whose only thread is this one."""

    def callFromThread(self, f: Any, *args: Any) -> None:
        f(*args)


def outcome(work: Deferred[Any]) -> Any:
    """What it has come to; raises what it failed with."""
    results: list[Any] = []
    work.addBoth(results.append)
    if not results:
        raise AssertionError("it is not over")
    if isinstance(results[0], Failure):
        results[0].raiseException()
    return results[0]


def all_of(source: Any) -> list[Any]:
    """All payloads that a source gives."""
    found = []
    while batch := outcome(source.next_batch()):
        found += [record.payload for record in batch]
    source.close()
    return found


def told(source: Any) -> tuple[list[Any], list[DamagedArchive]]:
    """All payloads, and what was told instead of others."""
    found: list[Any] = []
    damages: list[DamagedArchive] = []
    while True:
        try:
            batch = outcome(source.next_batch())
        except DamagedArchive as damage:
            damages.append(damage)
            continue
        if not batch:
            source.close()
            return found, damages
        found += [record.payload for record in batch]


class Room:
    """
    A room with one stream C{a}, in a directory; it can be started again and again.

    @ivar happened: the events of archives.
    """

    def __init__(self, directory: str, disk: Any = None, **settings: Any) -> None:
        self.directory = os.path.abspath(directory)
        self.disk = disk or InlineDisk()
        self.settings = settings
        self.destination = MemoryDestination()
        self.files = Files()
        self.reactor = Reactor()
        self.reactor.advance(1_790_000_000)
        self.failures: list[Exception] = []
        self.happened: list[Any] = []
        self.compression = "none"

    def start(self) -> Stream:
        """Start it. @return: its stream."""
        events = Events()
        for kind in (ArchiveOpened, ArchiveClosed):
            events.subscribe(kind, self.happened.append)
        shipping = ShipperSettings(directory=os.path.join(self.directory, "shipping"), compression=self.compression)
        self.shipper = Shipper(shipping, self.destination, InlineDisk(), self.reactor, events)
        outcome(self.shipper.start())
        given = {"checker": RecordCountRollChecker(roll_records=5), **self.settings}
        self.streams = LocalStreams(
            [
                StreamSettings(
                    name="a",
                    directory=os.path.join(self.directory, "a"),
                    catalogue=os.path.join(self.directory, "catalogue", "a"),
                    root=self.directory,
                    **given,
                )
            ],
            self.disk,
            self.reactor,
            events,
            {"there": self.shipper},
            {"there": self.destination},
            on_failure=self.failures.append,
            files=self.files,
            clock=self.reactor,
        )
        self.streams.start()
        return self.streams.stream("a")

    def stop(self) -> None:
        """Stop it."""
        outcome(self.streams.stop())
        outcome(self.shipper.stop())

    def kill(self) -> None:
        """End it as a kill would: nothing is closed as it should be."""
        stream = self.streams.stream("a")
        if self.streams._polling is not None:
            self.streams._polling.stop()
        manager, stream._manager = stream._manager, None
        if manager._active is not None:
            manager._active.abandon()
            manager._marker.release()
        for marker in manager._markers:
            marker.release()
        stream.close()
        self.shipper.stop()
