"""
Streams, destinations and shippers, put together from settings.

A part of L{storehouse.app.service}, which names concrete classes likewise.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import attrs
from prometheus_client.core import Metric
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from storehouse.archive.handlers import check_compressed_once
from storehouse.archive.names import check_template
from storehouse.archive.plugins import CALLBACKS, CHECKERS, make
from storehouse.archive.roll_checker import AnyRollChecker
from storehouse.archive.scan import MAX_RECORD
from storehouse.config import OFF, Settings, tables
from storehouse.config.shipping import DestinationSettings, S3Settings, ShipperSettings, StoreSettings
from storehouse.core.disk import IDisk
from storehouse.core.jobs import deferred
from storehouse.errors import InvalidSetting, StorehouseError
from storehouse.events import ArchiveShipped, Events, StoreFailed
from storehouse.storage.namespace.values import check_bucket
from storehouse.storage.shipping.prefixes import ShippedPrefixes
from storehouse.storage.shipping.shipper import Shipper
from storehouse.storage.shipping.store import StoreDestination
from storehouse.storage.streams.settings import StreamSettings
from storehouse.storage.streams.streams import LocalStreams

__all__ = ["Shipping", "make_closer", "make_shipping", "make_streams"]

#: Seconds after which a shipper that could not begin tries again.
_AGAIN = 30.0


class Shipping:
    """
    The shippers of one process, a destination each, as one store of the service.

    A shipper that cannot begin, for there is no room for instance, tries again now and then.

    @ivar shippers: by the names of their destinations.
    @ivar destinations: likewise.
    """

    _log = Logger()

    failed: Exception | None = None

    def __init__(self, shippers: Mapping[str, Shipper], destinations: Mapping[str, Any], clock: Any) -> None:
        """@param clock: C{callLater}, as a reactor has it."""
        self.shippers = shippers
        self.destinations = destinations
        self._clock = clock
        self._broken: dict[str, str] = {}
        self._again: dict[str, Any] = {}

    def start(self) -> None:
        """Begin; what the last process left is read while the reactor runs."""
        for name in self.shippers:
            self._begin(name)

    def _begin(self, name: str) -> None:
        self._again.pop(name, None)
        starting = self.shippers[name].start()
        starting.addCallbacks(self._began, self._is_broken, callbackArgs=(name,), errbackArgs=(name,))

    def _began(self, result: Any, name: str) -> None:
        self._broken.pop(name, None)

    def _is_broken(self, failure: Failure, name: str) -> None:
        reason = str(failure.value)
        if self._broken.get(name) != reason:
            self._log.failure("nothing can be shipped to {name}; it is tried again", failure, name=name)
        self._broken[name] = reason
        self._again[name] = self._clock.callLater(_AGAIN, self._begin, name)

    @property
    def degraded(self) -> str:
        """What is not shipped, and why; empty if all is."""
        return "; ".join(f"nothing can be shipped to {name}: {reason}" for name, reason in self._broken.items())

    @deferred
    async def stop(self) -> None:
        """Break off what is on its way; the next start goes on with it."""
        for call in self._again.values():
            call.cancel()
        self._again.clear()
        for shipper in self.shippers.values():
            await shipper.stop()
        for destination in self.destinations.values():
            await destination.close()

    def collect(self) -> Iterable[Metric]:
        """What all shippers tell, by destination."""
        merged: dict[str, Metric] = {}
        for name, shipper in self.shippers.items():
            for family in shipper.collect():
                whole = merged.setdefault(family.name, Metric(family.name, family.documentation, family.type))
                for sample in family.samples:
                    whole.add_sample(sample.name, {**sample.labels, "destination": name}, sample.value)
        return merged.values()


class _Labelled(Events):
    """Events of one shipper: they tell the name of the destination."""

    def __init__(self, events: Events, name: str) -> None:
        Events.__init__(self)
        self._events = events
        self._name = name

    def publish(self, event: object) -> None:
        """See L{Events.publish}."""
        self._events.publish(
            attrs.evolve(event, destination=self._name) if isinstance(event, ArchiveShipped) else event
        )


def _destination(settings: DestinationSettings, reactor: Any, disk: IDisk, objects: Any) -> Any:
    if isinstance(settings, StoreSettings):
        check_bucket(settings.bucket)
        return StoreDestination(settings, objects, disk)
    # Imported here: an HTTP client is a fifth of what a start costs, and few ship to other servers.
    if isinstance(settings, S3Settings):
        from storehouse.storage.shipping.s3 import S3Destination

        return S3Destination(settings, reactor, disk)
    from storehouse.storage.shipping.swift import SwiftDestination

    return SwiftDestination(settings, reactor, disk)


def make_shipping(settings: Settings, reactor: Any, disk: IDisk, events: Events, objects: Any) -> Shipping | None:
    """
    The shippers that the settings ask for; C{None} for none.

    @param objects: the object store of this process.
    @raise InvalidSetting: naming the table.
    """
    shippers, destinations = {}, {}
    for table in settings.tables.destinations:
        with _Named(f"[destinations.{table.name}]"):
            destination = destinations[table.name] = _destination(table.settings, reactor, disk, objects)
            directory = os.path.join(settings.shipping_directory, table.name)
            how = ShipperSettings(directory=directory, root=os.path.abspath(settings.root), **table.shipping)
            shippers[table.name] = Shipper(how, destination, disk, reactor, _Labelled(events, table.name))
    return Shipping(shippers, destinations, reactor) if shippers else None


def make_closer(
    settings: Settings, log: Any, shipping: Shipping | None, disk: IDisk, events: Events
) -> Callable[[str], Deferred[None]]:
    """What closes a storage prefix, and ships it if that is set."""
    if settings.append.ship == OFF or shipping is None:
        close: Callable[[str], Deferred[None]] = log.close_prefix
        return close
    names = frozenset(name.strip() for name in settings.append.ship_prefixes.split(","))
    shipper = shipping.shippers[settings.append.ship]
    which = None if "*" in names else names
    delete = settings.append.ship_delete
    prefixes = ShippedPrefixes(log, shipper, settings.append_directory, which, disk, events, delete)
    return prefixes.close_prefix


def make_streams(
    settings: Settings, reactor: Any, disk: IDisk, events: Events, shipping: Shipping | None
) -> LocalStreams | None:
    """
    The streams that the settings ask for; C{None} for none.

    @raise InvalidSetting: naming the table.
    """
    if not settings.tables.streams:
        return None
    streams = []
    taken: dict[str, str] = {}
    for table in settings.tables.streams:
        with _Named(f"[archive.streams.{table.name}]"):
            stream = _stream(table, settings)
            other = taken.setdefault(os.path.realpath(stream.directory), table.name)
            if other != table.name:
                raise InvalidSetting(f"directory cannot be {stream.directory!r}: that is where {other} is")
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
    with _Named("roll"):
        checkers = [make(CHECKERS, checker) for checker in table.roll]
    with _Named("callbacks"):
        callbacks = tuple(make(CALLBACKS, callback) for callback in table.callbacks)
        check_compressed_once(callbacks)
    with _Named("template"):
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


@attrs.frozen
class _Named:
    """Says of what is not usable where it stands."""

    where: str

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        if isinstance(error, StorehouseError):
            raise InvalidSetting(f"{self.where}: {error.detail}") from None
