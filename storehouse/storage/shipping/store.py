"""Our own object store as a destination."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from storehouse.config.shipping import StoreSettings
from storehouse.core.disk import IDisk
from storehouse.core.streams import deferred
from storehouse.errors import AlreadyExists, DamagedEntry, NoSuchBucket, NoSuchKey, RemoteDamaged
from storehouse.storage.objects.interfaces import IObjectStore, ObjectInfo
from storehouse.storage.shipping.interfaces import IDestination, IRemoteReader, Listing, LocalFile, Stored
from storehouse.storage.shipping.names import check_name
from storehouse.storage.shipping.sources import FileStream

__all__ = ["StoreDestination"]

#: Where the SHA-256 of the whole is kept.
_SHA256 = "sha256"


@implementer(IRemoteReader)
class _Reader:
    """See L{IRemoteReader}."""

    def __init__(self, reader: Any) -> None:
        self.length = reader.length
        self.read = reader.read
        self.close = reader.close


@implementer(IDestination)
class StoreDestination:
    """
    See L{IDestination}.

    @ivar is_own: what is there was put there by this root.
    @param store: a started L{IObjectStore}. It is not stopped here.
    """

    is_own = True

    def __init__(self, settings: StoreSettings, store: IObjectStore, disk: IDisk) -> None:
        self._bucket = settings.bucket
        self._store: Any = store
        self._disk = disk

    def __repr__(self) -> str:
        return f"<StoreDestination {self._bucket}>"

    def close(self) -> Deferred[None]:
        """See L{IDestination.close}."""
        return succeed(None)

    @deferred
    async def stat(self, name: str) -> Stored:
        """See L{IDestination.stat}."""
        check_name(name)
        try:
            return _stored(await self._store.head(self._bucket, name))
        except (NoSuchBucket, DamagedEntry):
            # What is damaged there is replaced.
            raise NoSuchKey(f"there is no {name} at {self!r}") from None

    @deferred
    async def get(self, name: str, offset: int = 0, length: int | None = None) -> IRemoteReader:
        """See L{IDestination.get}."""
        check_name(name)
        try:
            reader = await self._store.get(self._bucket, name, offset, length)
        except NoSuchBucket:
            raise NoSuchKey(f"there is no {name} at {self!r}") from None
        return _Reader(reader)

    @deferred
    async def list(self, prefix: str = "", after: str = "", limit: int = 1000) -> Listing:
        """See L{IDestination.list}."""
        try:
            page = await self._store.list_objects(self._bucket, prefix, "", after, limit)
        except NoSuchBucket:
            return Listing([], None)
        return Listing([_stored(info) for info in page.objects], page.next_after)

    @deferred
    async def put(self, name: str, file: LocalFile) -> Stored:
        """See L{IDestination.put}."""
        check_name(name)
        try:
            info = await self._put(name, file)
        except NoSuchBucket:
            try:
                await self._store.create_bucket(self._bucket)
            except AlreadyExists:
                pass  # another was faster
            info = await self._put(name, file)
        if info.etag != file.md5:
            raise RemoteDamaged(f"{self!r} has stored something else under {name}: its tag is {info.etag}")
        return _stored(info)

    async def _put(self, name: str, file: LocalFile) -> ObjectInfo:
        source = FileStream(self._disk, file.path, 0, file.size)
        info: ObjectInfo = await self._store.put(
            self._bucket, name, source, file.size, file.content_type, {_SHA256: [file.sha256]}, md5=True
        )
        return info


def _stored(info: ObjectInfo) -> Stored:
    return Stored(info.key, info.size, info.etag, next(iter(info.metadata.get(_SHA256, ())), ""))
