"""Shipping closed files from a command: a shipper that works until all is done, and the destinations that it may have."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from zope.interface import implementer

from storehouse.app.local.destinations import DestinationSettings
from storehouse.core.disk import DiskThreads
from storehouse.core.fetched import FetchedSource
from storehouse.core.files import Files
from storehouse.core.streams import deferred
from storehouse.errors import AlreadyExists, NoSuchBucket, NoSuchKey, RemoteDamaged
from storehouse.events import ArchiveShipped, Events, ShippingFailed
from storehouse.storage.objects.interfaces import ALWAYS, ObjectInfo
from storehouse.storage.shipping.interfaces import IDestination, IRemoteReader, Listing, LocalFile, Shipment, Stored
from storehouse.storage.shipping.names import check_name
from storehouse.storage.shipping.notes import COMPRESSED, DEAD, UPLOADED, VERIFIED, WAITING
from storehouse.storage.shipping.s3 import S3Destination
from storehouse.storage.shipping.settings import S3Settings, ShipperSettings, StoreSettings, SwiftSettings
from storehouse.storage.shipping.shipper import Shipper
from storehouse.storage.shipping.spool import Spool
from storehouse.storage.shipping.swift import SwiftDestination

__all__ = [
    "ArchiveShipped",
    "S3Settings",
    "ShipperSettings",
    "ShippingFailed",
    "StoreSettings",
    "SwiftSettings",
    "Watcher",
    "identity_of",
    "make_destination",
    "ship_files",
    "spool_beside",
]

#: Seconds between two looks at how far it has come.
_INTERVAL = 0.1

#: Bytes that are read at once.
_PIECE = 1 << 20

#: How much of the way is behind a file, in thirds.
_DONE = {WAITING: 0, COMPRESSED: 1, UPLOADED: 2, VERIFIED: 3, DEAD: 3}

# -- destinations ----------------------------------------------------------------------------------


def identity_of(settings: DestinationSettings, root: str) -> str:
    """What tells a destination from others, without what is secret. @param root: of the object store."""
    if isinstance(settings, S3Settings):
        return f"s3 {settings.endpoint} {settings.bucket}"
    if isinstance(settings, SwiftSettings):
        return (
            f"swift {settings.storage_url or settings.auth_url} {settings.user} {settings.project} {settings.container}"
        )
    return f"store {os.path.abspath(root)} {settings.bucket}"


def make_destination(
    settings: DestinationSettings,
    reactor: Any,
    disk: DiskThreads,
    open_store: Callable[[], Any],
    translated: Callable[[Exception], Exception],
) -> Any:
    """
    @param open_store: opens the object store: something with the methods of L{storehouse.app.local.LocalStore}.
    @param translated: from what that raises to a L{storehouse.errors.StorehouseError}.
    """
    if isinstance(settings, S3Settings):
        return S3Destination(settings, reactor, disk)
    if isinstance(settings, SwiftSettings):
        return SwiftDestination(settings, reactor, disk)
    return _StoreInThread(settings.bucket, DiskThreads(reactor, 1), open_store, translated)


@implementer(IDestination)
class _StoreInThread:
    """
    The object store of a root as a destination. Its methods wait, so it lives in a thread of its own.

    @ivar fractions: how much of what is being stored was taken, by name.
    """

    def __init__(
        self,
        bucket: str,
        thread: DiskThreads,
        open_store: Callable[[], Any],
        translated: Callable[[Exception], Exception],
    ) -> None:
        self.fractions: dict[str, float] = {}
        self._bucket = bucket
        self._thread = thread
        self._open = open_store
        self._translated = translated
        self._store: Any = None
        self._closing = False

    def __repr__(self) -> str:
        return f"the bucket {self._bucket}"

    async def open(self) -> None:
        """Open the store. @raise Exception: what C{open_store} does, as it is."""
        self._store = await self._thread.run(self._open)

    @deferred
    async def close(self) -> None:
        """See L{IDestination.close}. The store is closed for good."""
        self._closing = True
        store, self._store = self._store, None
        if store is not None:
            await self._thread.run(store.__exit__, None, None, None)
        self._thread.stop()

    def _do(self, f: Callable[..., Any], *args: Any) -> Deferred[Any]:
        def call() -> Any:
            try:
                return f(*args)
            except Exception as error:
                raise self._translated(error) from None

        return self._thread.run(call)

    @deferred
    async def stat(self, name: str) -> Stored:
        """See L{IDestination.stat}."""
        check_name(name)
        try:
            return _stored(await self._do(self._store.head, self._bucket, name))
        except NoSuchBucket:
            raise NoSuchKey(f"there is no {name} in {self!r}") from None

    @deferred
    async def get(self, name: str, offset: int = 0, length: int | None = None) -> IRemoteReader:
        """See L{IDestination.get}."""
        size = (await self.stat(name)).size
        end = size if length is None else min(size, offset + length)
        reader: Any = _Reader(self, name, offset, end)
        return reader  # type: ignore[no-any-return]

    def read(self, name: str, offset: int, length: int) -> Deferred[bytes]:
        """A piece."""

        def read() -> bytes:
            pieces: list[bytes] = []
            reading = self._store.get(self._bucket, name, offset, length)
            try:
                reading.deliver(pieces.append)
            finally:
                reading.close()
            return b"".join(pieces)

        return self._do(read)

    @deferred
    async def list(self, prefix: str = "", after: str = "", limit: int = 1000) -> Listing:
        """See L{IDestination.list}."""
        try:
            page = await self._do(self._store.list_objects, self._bucket, prefix, "", after, limit)
        except NoSuchBucket:
            return Listing([], None)
        return Listing([_stored(info) for info in page.objects], page.next_after)

    @deferred
    async def put(self, name: str, file: LocalFile) -> Stored:
        """See L{IDestination.put}."""
        check_name(name)
        try:
            info = await self._do(self._put, name, file)
        except NoSuchBucket:
            try:
                await self._do(self._store.create_bucket, self._bucket)
            except AlreadyExists:
                pass  # another was faster
            info = await self._do(self._put, name, file)
        if info.etag != file.md5:
            raise RemoteDamaged(f"{self!r} has stored something else under {name}: its tag is {info.etag}")
        return _stored(info)

    def _put(self, name: str, file: LocalFile) -> ObjectInfo:
        info: ObjectInfo = self._store.put(
            self._bucket,
            name,
            self._pieces(name, file),
            file.size,
            file.content_type,
            {"sha256": [file.sha256]},
            ALWAYS,
            True,
        )
        return info

    def _pieces(self, name: str, file: LocalFile) -> Iterator[bytes]:
        done = 0
        with open(file.path, "rb", buffering=0) as opened:
            while data := opened.read(_PIECE):
                if self._closing:
                    raise OSError(f"given up at byte {done} of {file.path}")
                yield data
                done += len(data)
                self.fractions[name] = done / file.size


def _stored(info: ObjectInfo) -> Stored:
    return Stored(info.key, info.size, info.etag, next(iter(info.metadata.get("sha256", ())), ""))


@implementer(IRemoteReader)
class _Reader:
    """See L{IRemoteReader}."""

    def __init__(self, store: _StoreInThread, name: str, offset: int, end: int) -> None:
        self.length = max(0, end - offset)
        self._store = store
        self._name = name
        self._offset = offset
        self._end = end

    def deliver(self, consumer: Any) -> Deferred[int]:
        """See L{IRemoteReader.deliver}."""
        return FetchedSource(self._next).deliver(consumer)

    async def _next(self) -> bytes:
        size = min(_PIECE, self._end - self._offset)
        data = await self._store.read(self._name, self._offset, size) if size > 0 else b""
        self._offset += len(data)
        return data

    def close(self) -> None:
        """It holds nothing."""


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
