"""Shipping closed files from a command: a shipper that works until all is done, and the destinations that it may have."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any

from twisted.internet.defer import Deferred

from storehouse.config import Settings
from storehouse.config.shipping import DestinationSettings, S3Settings, ShipperSettings, StoreSettings, SwiftSettings
from storehouse.core.disk import DiskThreads
from storehouse.core.files import Files
from storehouse.core.streams import IByteStream, counted
from storehouse.errors import InvalidSetting
from storehouse.events import ArchiveShipped, Events, ShippingFailed
from storehouse.storage.shipping.interfaces import Shipment
from storehouse.storage.shipping.s3 import S3Destination
from storehouse.storage.shipping.shipper import Shipper
from storehouse.storage.shipping.spool import COMPRESSED, DEAD, UPLOADED, VERIFIED, WAITING, Spool
from storehouse.storage.shipping.store import StoreDestination
from storehouse.storage.shipping.swift import SwiftDestination

__all__ = [
    "ArchiveShipped",
    "S3Settings",
    "ShipperSettings",
    "ShippingFailed",
    "StoreSettings",
    "SwiftSettings",
    "Watcher",
    "find_destination",
    "identity_of",
    "make_destination",
    "ship_files",
    "spool_beside",
]

#: Seconds between two looks at how far it has come.
_INTERVAL = 0.1

#: How much of the way is behind a file, in thirds.
_DONE = {WAITING: 0, COMPRESSED: 1, UPLOADED: 2, VERIFIED: 3, DEAD: 3}

# -- destinations ----------------------------------------------------------------------------------


def find_destination(settings: Settings, name: str) -> tuple[DestinationSettings, Mapping[str, Any]]:
    """
    The destination of a name, and what its table says of how to ship there.

    @raise InvalidSetting: if there is none.
    """
    tables = {each.name: each for each in settings.tables.destinations}
    table = tables.get(name)
    if table is None:
        raise InvalidSetting(
            f"there is no [destinations.{name}] in the configuration file; there are: {', '.join(sorted(tables)) or 'none'}"
        )
    return table.settings, table.shipping


def identity_of(settings: DestinationSettings, root: str) -> str:
    """What tells a destination from others, without what is secret. @param root: of the object store."""
    if isinstance(settings, S3Settings):
        return f"s3 {settings.endpoint} {settings.bucket}"
    if isinstance(settings, SwiftSettings):
        return (
            f"swift {settings.storage_url or settings.auth_url} {settings.user} {settings.project} {settings.container}"
        )
    return f"store {os.path.abspath(root)} {settings.bucket}"


def make_destination(settings: DestinationSettings, reactor: Any, disk: DiskThreads, store: Any) -> Any:
    """
    @param store: the object store of the root, if it is the destination: an C{IObjectStore}, or what commands need of one.
    """
    if isinstance(settings, S3Settings):
        return S3Destination(settings, reactor, disk)
    if isinstance(settings, SwiftSettings):
        return SwiftDestination(settings, reactor, disk)
    return _CountingDestination(settings, _Counting(store), disk)


class _Counting:
    """
    A store that counts what it is given.

    @ivar fractions: how much of what is being stored was taken, by key.
    """

    def __init__(self, store: Any) -> None:
        self.fractions: dict[str, float] = {}
        self._store = store
        self.head = store.head
        self.list_objects = store.list_objects
        self.get = store.get
        self.create_bucket = store.create_bucket

    async def put(self, bucket: str, key: str, stream: IByteStream, size: int, *args: Any, **kwargs: Any) -> Any:
        done = 0

        def count(more: int) -> None:
            nonlocal done
            done += more
            self.fractions[key] = done / size

        return await self._store.put(bucket, key, counted(stream, count), size, *args, **kwargs)


class _CountingDestination(StoreDestination):
    """@ivar fractions: how much of what is being stored was taken, by name."""

    def __init__(self, settings: StoreSettings, store: _Counting, disk: DiskThreads) -> None:
        super().__init__(settings, store, disk)  # type: ignore[arg-type]
        self.fractions = store.fractions


# -- shipping --------------------------------------------------------------------------------------


class Watcher:
    """Is told how it goes. All does nothing here."""

    def shipped(self, event: ArchiveShipped) -> None:
        """A file has arrived."""

    def failed(self, event: ShippingFailed) -> None:
        """An attempt has failed."""

    def came(self, size: float) -> None:
        """So many bytes of the files are done by now."""


def spool_beside(directory: str, settings: DestinationSettings, root: str) -> str:
    """
    The shipping directory for the files of a directory: it holds what is on its way to one destination, and nothing for
    another. It has the same name after files and root were moved together; one that was named by where the root is goes on.

    @param root: of the object store.
    """
    identity = identity_of(settings, root)
    before = _spool(directory, identity)
    if not isinstance(settings, StoreSettings) or os.path.isdir(before):
        return before
    way = os.path.relpath(os.path.realpath(root), os.path.realpath(directory))
    return _spool(directory, f"store {way} {settings.bucket}")


def _spool(directory: str, identity: str) -> str:
    return os.path.join(directory, f".storehouse-ship-{hashlib.sha256(identity.encode()).hexdigest()[:12]}")


async def ship_files(
    reactor: Any,
    disk: DiskThreads,
    settings: ShipperSettings,
    destination: Any,
    paths: Sequence[str],
    stream: str,
    watcher: Watcher,
) -> tuple[list[Shipment], int]:
    """
    Ship files, and what an earlier command left in the shipping directory. If nothing is left in that, it is removed.

    @param destination: an L{IDestination<storehouse.storage.shipping.interfaces.IDestination>}.
    @return: those that could not be shipped, and how many bytes were uploaded.
    @raise RootInUse: if another shipper uses the shipping directory.
    """
    try:
        events = Events()
        events.subscribe(ArchiveShipped, watcher.shipped)
        events.subscribe(ShippingFailed, watcher.failed)
        shipper: Any = Shipper(settings, destination, disk, reactor, events)
        await shipper.start()
        dead = {each.id for each in shipper.shipments() if each.stage == DEAD}
        try:
            sizes: dict[str, int] = {}
            for path in paths:
                # As large as it is now: it may be gone when it has arrived.
                sizes[path] = os.stat(path).st_size
                await shipper.ship(path, stream)
            await _over(reactor, shipper, sizes, getattr(destination, "fractions", {}), watcher)
            # Dead letters of which nobody has spoken are not of today.
            failed = [each for each in shipper.shipments() if each.id not in dead or each.path in sizes]
            return failed, shipper.counts().size
        finally:
            await shipper.stop()
    finally:
        # What is on its way still, or a dead letter, keeps it.
        Spool(settings.directory, Files()).clear_up()


async def _over(
    reactor: Any, shipper: Any, sizes: dict[str, int], fractions: dict[str, float], watcher: Watcher
) -> None:
    """Wait until nothing is on its way any more."""
    total = sum(sizes.values())
    while True:
        left = [each for each in shipper.shipments() if each.stage != DEAD]
        to_do = 0.0
        for each in left:
            fraction = fractions.get(each.name, 0.0) if each.stage == COMPRESSED else 0.0
            to_do += sizes.get(each.path, 0) * (1 - (_DONE.get(each.stage, 3) + fraction) / 3)
        watcher.came(total - to_do)
        if not left:
            return
        await _pause(reactor, _INTERVAL)


def _pause(reactor: Any, seconds: float) -> Awaitable[None]:
    done: Deferred[None] = Deferred(lambda cancelled: call.cancel())
    call = reactor.callLater(seconds, done.callback, None)
    return done
