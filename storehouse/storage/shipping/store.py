"""Our own object store as a destination."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from storehouse.config.shipping import StoreSettings
from storehouse.core.jobs import IDisk, deferred
from storehouse.core.streams import IByteStream, counted
from storehouse.errors import AlreadyExists, DamagedEntry, NoSuchBucket, NoSuchKey, RemoteDamaged
from storehouse.storage.objects.interfaces import IObjectStore, ObjectInfo
from storehouse.storage.shipping.files import read_file
from storehouse.storage.shipping.interfaces import IDestination, Listing, LocalFile, Stored
from storehouse.storage.shipping.names import check_name

__all__ = ["StoreDestination"]

#: The member of an object's metadata that holds the SHA-256 of the whole.
_SHA256 = "sha256"


@implementer(IDestination)
class StoreDestination:
    """
    See L{IDestination}.

    @ivar is_own: the bucket belongs to this root: all that is in it under the name of a stream is of that stream.
    @param store: a started L{IObjectStore}. It is not stopped here.
    @param on_progress: called with the name of a file that is being stored, and the fraction of its bytes that was taken.
    """

    is_own = True

    def __init__(
        self,
        settings: StoreSettings,
        store: IObjectStore,
        disk: IDisk,
        on_progress: Callable[[str, float], object] = lambda name, fraction: None,
    ) -> None:
        self._bucket = settings.bucket
        self._store = store
        self._disk = disk
        self._on_progress = on_progress

    def __repr__(self) -> str:
        return f"<StoreDestination {self._bucket}>"

    def close(self) -> Deferred[None]:
        return succeed(None)

    @deferred
    async def stat(self, name: str) -> Stored:
        check_name(name)
        try:
            return _stored(await self._store.head(self._bucket, name))
        except (NoSuchBucket, DamagedEntry):
            # A damaged entry counts as none, so that the file is stored again.
            raise NoSuchKey(f"there is no {name} at {self!r}") from None

    @deferred
    async def get(self, name: str, offset: int = 0, length: int | None = None) -> IByteStream:
        check_name(name)
        try:
            return await self._store.get(self._bucket, name, offset, length)
        except NoSuchBucket:
            raise NoSuchKey(f"there is no {name} at {self!r}") from None

    @deferred
    async def list(self, prefix: str = "", after: str = "", limit: int = 1000) -> Listing:
        try:
            page = await self._store.list_objects(self._bucket, prefix, "", after, limit)
        except NoSuchBucket:
            return Listing([], None)
        return Listing([_stored(info) for info in page.objects], page.next_after)

    @deferred
    async def put(self, name: str, file: LocalFile) -> Stored:
        check_name(name)
        try:
            info = await self._put(name, file)
        except NoSuchBucket:
            try:
                await self._store.create_bucket(self._bucket)
            except AlreadyExists:
                pass  # by another upload, meanwhile
            info = await self._put(name, file)
        if info.etag != file.md5:
            raise RemoteDamaged(f"{self!r} has stored something else under {name}: its tag is {info.etag}")
        return _stored(info)

    async def _put(self, name: str, file: LocalFile) -> ObjectInfo:
        taken = 0

        def count(size: int) -> None:
            nonlocal taken
            taken += size
            self._on_progress(name, taken / file.size)

        stream = counted(read_file(self._disk, file.path, 0, file.size), count)
        return await self._store.put(
            self._bucket, name, stream, file.size, file.content_type, {_SHA256: [file.sha256]}, md5=True
        )


def _stored(info: ObjectInfo) -> Stored:
    return Stored(info.key, info.size, info.etag, next(iter(info.metadata.get(_SHA256, ())), ""))
