"""Ships closed files from a command: a shipper that works until all is done."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from typing import Protocol, cast

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from storehouse.app.archiving import make_destination
from storehouse.config import Settings
from storehouse.config.shipping import DestinationSettings, S3Settings, ShipperSettings, StoreSettings, SwiftSettings
from storehouse.core.files import Files
from storehouse.core.jobs import DiskThreads
from storehouse.core.turns import Reactor
from storehouse.errors import InvalidSetting
from storehouse.events import ArchiveShipped, Events, ShippingFailed
from storehouse.storage.shipping.interfaces import IDestination, Shipment
from storehouse.storage.shipping.shipper import Shipper
from storehouse.storage.shipping.spool import COMPRESSED, DEAD, UPLOADED, VERIFIED, WAITING, Spool

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

#: Seconds between two updates of the progress.
_INTERVAL = 0.1

#: How much of a file is done at each stage, in thirds.
_THIRDS = {WAITING: 0, COMPRESSED: 1, UPLOADED: 2, VERIFIED: 3, DEAD: 3}

# -- destinations ----------------------------------------------------------------------------------


def find_destination(settings: Settings, name: str) -> tuple[DestinationSettings, Mapping[str, object]]:
    """
    The destination of a name, and the arguments of L{ShipperSettings} in its table.

    @raise InvalidSetting: if there is none.
    """
    tables = {each.name: each for each in settings.tables.destinations}
    table = tables.get(name)
    if table is None:
        raise InvalidSetting(
            f"the configuration file has no [destinations.{name}]; it has: {', '.join(sorted(tables)) or 'none'}"
        )
    return table.settings, table.shipping


def identity_of(settings: DestinationSettings, root: str) -> str:
    """What tells a destination from others, without secrets. @param root: of the object store."""
    if isinstance(settings, S3Settings):
        return f"s3 {settings.endpoint} {settings.bucket}"
    if isinstance(settings, SwiftSettings):
        return (
            f"swift {settings.storage_url or settings.auth_url} {settings.user} {settings.project} {settings.container}"
        )
    return f"store {os.path.abspath(root)} {settings.bucket}"


# -- shipping --------------------------------------------------------------------------------------


class Watcher(Protocol):
    """Called by L{ship_files}; its methods must not raise."""

    def shipped(self, event: ArchiveShipped) -> None:
        """A file has arrived."""

    def failed(self, event: ShippingFailed) -> None:
        """An attempt has failed."""

    def progressed(self, size: float) -> None:
        """@param size: bytes of the files that are done by now."""


def spool_beside(directory: str, settings: DestinationSettings, root: str) -> str:
    """
    The shipping directory for the files of a directory, and for one destination only.

    Its name stays the same when files and root are moved together. Earlier versions named it by the path of the root: one that is
    there is used.

    @param root: of the object store.
    """
    identity = identity_of(settings, root)
    by_path = _spool(directory, identity)
    if not isinstance(settings, StoreSettings) or os.path.isdir(by_path):
        return by_path
    relative = os.path.relpath(os.path.realpath(root), os.path.realpath(directory))
    return _spool(directory, f"store {relative} {settings.bucket}")


def _spool(directory: str, identity: str) -> str:
    return os.path.join(directory, f".storehouse-ship-{hashlib.sha256(identity.encode()).hexdigest()[:12]}")


async def ship_files(
    reactor: Reactor,
    disk: DiskThreads,
    settings: ShipperSettings,
    destination: IDestination,
    paths: Sequence[str],
    stream: str,
    watcher: Watcher,
    fractions: Mapping[str, float],
) -> tuple[list[Shipment], int]:
    """
    Ship files, and what an earlier command left in the shipping directory, which is removed if nothing is left in it.

    @param fractions: how much of the files that are being uploaded was taken, by their names at the destination, if that is
        known.
    @return: those that could not be shipped, and how many bytes were uploaded.
    @raise RootInUse: if another shipper uses the shipping directory.
    """
    try:
        events = Events()
        events.subscribe(ArchiveShipped, watcher.shipped)
        events.subscribe(ShippingFailed, watcher.failed)
        shipper = Shipper(settings, destination, disk, reactor, events)
        await shipper.start()
        dead = {each.id for each in shipper.shipments() if each.stage == DEAD}
        try:
            sizes: dict[str, int] = {}
            for path in paths:
                # Now, since it may be removed when it has arrived.
                sizes[path] = os.stat(path).st_size
                await shipper.ship(path, stream)
            await _wait(reactor, shipper, sizes, fractions, watcher)
            # Dead letters of earlier commands do not count, unless this one names their files.
            failed = [each for each in shipper.shipments() if each.id not in dead or each.path in sizes]
            return failed, shipper.counts().size
        finally:
            await shipper.stop()
    finally:
        # Keeps it while there are files on their way, or dead letters.
        Spool(settings.directory, Files()).clear_up()


async def _wait(
    reactor: Reactor, shipper: Shipper, sizes: Mapping[str, int], fractions: Mapping[str, float], watcher: Watcher
) -> None:
    """Wait until no file is on its way any more."""
    total = sum(sizes.values())
    while True:
        left = [each for each in shipper.shipments() if each.stage != DEAD]
        to_do = 0.0
        for each in left:
            fraction = fractions.get(each.name, 0.0) if each.stage == COMPRESSED else 0.0
            to_do += sizes.get(each.path, 0) * (1 - (_THIRDS.get(each.stage, 3) + fraction) / 3)
        watcher.progressed(total - to_do)
        if not left:
            return
        await deferLater(cast(IReactorTime, reactor), _INTERVAL, lambda: None)
