"""
Streams, destinations and shippers, composed from settings.

A part of L{storehouse.app.service}: concrete classes are named here, too.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

from prometheus_client.core import Metric
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from storehouse.archive.handlers import check_compressed_once
from storehouse.archive.names import check_template
from storehouse.archive.plugins import CALLBACKS, CHECKERS, make
from storehouse.archive.roll_checker import AnyRollChecker
from storehouse.archive.scan import MAX_RECORD
from storehouse.config import OFF, Settings, tables
from storehouse.config.shipping import DestinationSettings, S3Settings, ShipperSettings, StoreSettings
from storehouse.core.jobs import IDisk, deferred
from storehouse.core.turns import Reactor
from storehouse.errors import InvalidSetting, StorehouseError
from storehouse.events import Events, StoreFailed
from storehouse.storage.appendlog.interfaces import IAppendLog
from storehouse.storage.namespace.values import check_bucket
from storehouse.storage.objects.interfaces import IObjectStore
from storehouse.storage.shipping.interfaces import IDestination
from storehouse.storage.shipping.prefixes import ShippedPrefixes
from storehouse.storage.shipping.shipper import Shipper
from storehouse.storage.shipping.store import StoreDestination
from storehouse.storage.streams.settings import StreamSettings
from storehouse.storage.streams.streams import LocalStreams

__all__ = ["Shipping", "make_closer", "make_destination", "make_shipping", "make_streams"]

#: Seconds until a shipper that could not start tries again.
_AGAIN = 30.0


class Shipping:
    """
    The shippers of one process, one for each destination, as one store of the service.

    A shipper that cannot start, on a full disk for instance, tries again each half minute.

    @ivar shippers: by the names of their destinations.
    @ivar destinations: by their names.
    """

    _log = Logger()

    failed: Exception | None = None

    def __init__(
        self, shippers: Mapping[str, Shipper], destinations: Mapping[str, IDestination], clock: Reactor
    ) -> None:
        self.shippers = shippers
        self.destinations = destinations
        self._clock = clock
        self._failures: dict[str, str] = {}  # why a shipper could not start, by the name of its destination
        self._again: dict[str, IDelayedCall] = {}

    def start(self) -> None:
        """Start all shippers; what the last process left is read while the reactor runs."""
        for name in self.shippers:
            self._start(name)

    def _start(self, name: str) -> None:
        self._again.pop(name, None)
        starting = self.shippers[name].start()
        starting.addCallbacks(self._started, self._start_failed, callbackArgs=(name,), errbackArgs=(name,))

    def _started(self, result: None, name: str) -> None:
        self._failures.pop(name, None)

    def _start_failed(self, failure: Failure, name: str) -> None:
        reason = str(failure.value)
        if self._failures.get(name) != reason:
            self._log.failure("nothing can be shipped to {name}; it will be tried again", failure, name=name)
        self._failures[name] = reason
        self._again[name] = self._clock.callLater(_AGAIN, self._start, name)

    @property
    def degraded(self) -> str:
        """Which destinations nothing can be shipped to, and why; empty for none."""
        return "; ".join(f"nothing can be shipped to {name}: {reason}" for name, reason in self._failures.items())

    @deferred
    async def stop(self) -> None:
        """Interrupt what is on its way; the next start continues with it."""
        for call in self._again.values():
            call.cancel()
        self._again.clear()
        for shipper in self.shippers.values():
            await shipper.stop()
        for destination in self.destinations.values():
            await destination.close()

    def collect(self) -> Iterable[Metric]:
        """The metric families of all shippers, with the destination as a label."""
        merged: dict[str, Metric] = {}
        for name, shipper in self.shippers.items():
            for family in shipper.collect():
                whole = merged.setdefault(family.name, Metric(family.name, family.documentation, family.type))
                for sample in family.samples:
                    whole.add_sample(sample.name, {**sample.labels, "destination": name}, sample.value)
        return merged.values()


def make_destination(
    settings: DestinationSettings,
    reactor: Reactor,
    disk: IDisk,
    objects: IObjectStore | None,
    on_progress: Callable[[str, float], object] = lambda name, fraction: None,
) -> IDestination:
    """
    @param objects: the object store of the root, for the destination that it is.
    @param on_progress: see L{StoreDestination}; other destinations do not call it.
    """
    if isinstance(settings, StoreSettings):
        check_bucket(settings.bucket)
        if objects is None:
            raise InvalidSetting("the object store of the root is not open")
        return StoreDestination(settings, objects, disk, on_progress)
    # Imported here: an HTTP client is a fifth of what a start costs, and few ship to other servers.
    if isinstance(settings, S3Settings):
        from storehouse.storage.shipping.s3 import S3Destination

        return S3Destination(settings, reactor, disk)
    from storehouse.storage.shipping.swift import SwiftDestination

    return SwiftDestination(settings, reactor, disk)


def make_shipping(settings: Settings, reactor: Reactor, disk: IDisk, events: Events, objects: IObjectStore) -> Shipping:
    """
    The shippers of the destinations in the settings.

    @param objects: the object store of this process.
    @raise InvalidSetting: naming the table.
    """
    shippers: dict[str, Shipper] = {}
    destinations: dict[str, IDestination] = {}
    for table in settings.tables.destinations:
        with _table(f"[destinations.{table.name}]"):
            destination = destinations[table.name] = make_destination(table.settings, reactor, disk, objects)
            directory = os.path.join(settings.shipping_directory, table.name)
            shipping = ShipperSettings(directory=directory, root=os.path.abspath(settings.root), **table.shipping)
            shippers[table.name] = Shipper(shipping, destination, disk, reactor, events, name=table.name)
    return Shipping(shippers, destinations, reactor)


def make_closer(
    settings: Settings, log: IAppendLog, shipping: Shipping, disk: IDisk, events: Events
) -> Callable[[str], Deferred[None]]:
    """The function that closes a storage prefix of the append log, and ships its bucket files if that is set."""
    if settings.append.ship == OFF:
        return log.close_prefix
    names = frozenset(name.strip() for name in settings.append.ship_prefixes.split(","))
    shipper = shipping.shippers[settings.append.ship]
    which = None if "*" in names else names
    delete = settings.append.ship_delete
    prefixes = ShippedPrefixes(log, shipper, settings.append_directory, which, disk, events, delete)
    return prefixes.close_prefix


def make_streams(
    settings: Settings, reactor: Reactor, disk: IDisk, events: Events, shipping: Shipping | None
) -> LocalStreams:
    """
    The streams in the settings.

    @raise InvalidSetting: naming the table.
    """
    streams = []
    names: dict[str, str] = {}  # of streams, by their directories
    for table in settings.tables.streams:
        with _table(f"[archive.streams.{table.name}]"):
            stream = _stream(table, settings)
            other = names.setdefault(os.path.realpath(stream.directory), table.name)
            if other != table.name:
                raise InvalidSetting(f"directory cannot be {stream.directory!r}: that is the directory of {other}")
            streams.append(stream)
    return LocalStreams(
        streams,
        disk,
        reactor,
        events,
        shipping.shippers if shipping is not None else {},
        shipping.destinations if shipping is not None else {},
        settings.shares.records,
        on_failure=lambda error: events.publish(StoreFailed("streams", error)),
    )


def _stream(table: tables.Stream, settings: Settings) -> StreamSettings:
    with _table("roll"):
        checkers = [make(CHECKERS, checker) for checker in table.roll]
    with _table("callbacks"):
        callbacks = tuple(make(CALLBACKS, callback) for callback in table.callbacks)
        check_compressed_once(callbacks)
    with _table("template"):
        check_template(table.template)
    return StreamSettings(
        name=table.name,
        directory=os.path.abspath(table.directory or os.path.join(settings.archives_directory, table.name)),
        catalogue=os.path.join(settings.archives_directory, ".catalogue", table.name),
        root=os.path.abspath(settings.root),
        template=table.template,
        checker=checkers[0] if len(checkers) == 1 else AnyRollChecker(checkers=checkers),
        callbacks=callbacks,
        compression=table.compression,
        level=table.level,
        sync=table.sync,
        ship=table.ship,
        keep_local=table.keep_local,
        # All that the door has taken can be read, with its metadata.
        max_record=max(MAX_RECORD, 2 * settings.archive.max_record),
    )


@contextmanager
def _table(name: str) -> Iterator[None]:
    """Errors within name the table, or key, of the file."""
    try:
        yield
    except StorehouseError as error:
        raise InvalidSetting(f"{name}: {error.detail}") from None
