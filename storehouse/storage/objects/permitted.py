"""An object store for a user with limited rights."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol, TypeVar

from twisted.internet.defer import Deferred
from zope.interface import implementer

from storehouse.core.jobs import deferred
from storehouse.core.streams import IByteStream
from storehouse.errors import AlreadyExists, Forbidden, NoSuchBucket, PreconditionFailed
from storehouse.storage.accounts.interfaces import User
from storehouse.storage.dataspace.interfaces import Part, Reader
from storehouse.storage.namespace.interfaces import Bucket
from storehouse.storage.objects.interfaces import (
    ALWAYS,
    Condition,
    IObjectStore,
    Listing,
    Metadata,
    ObjectInfo,
    ObjectReader,
    OpenUpload,
    System,
    Usage,
    VersionListing,
)

__all__ = ["MANAGE", "Decide", "PermittedStore", "rights_of"]

T = TypeVar("T")

#: Stands, among permissions, for what is for administrators.
MANAGE = "manage"

#: Either is enough for the parts of an upload: what the object needs is seen when it is complete.
_STORING = ("put-new", "overwrite")


class Decide(Protocol):
    """
    Says whether something is allowed.

    @param permission: one of L{PERMISSIONS<storehouse.storage.accounts.interfaces.PERMISSIONS>}, or L{MANAGE}.
    @param key: a key, or the prefix of what is listed; empty for the bucket as a whole.
    @param found: the bucket, if it is known.
    """

    def __call__(self, permission: str, bucket: str, key: str, found: Bucket | None = None, /) -> Awaitable[bool]: ...


def rights_of(store: IObjectStore, user: Callable[[], User]) -> Decide:
    """
    What a user may do: L{User.may} decides, as at all doors.

    @param store: tells who owns a bucket.
    @param user: gives the user, as it is now. @raise Forbidden: if there is none.
    """

    async def may(permission: str, bucket: str, key: str, found: Bucket | None = None) -> bool:
        if permission == MANAGE:
            return user().is_unlimited_admin
        owner = ""  # where there is no bucket: the store says so
        try:
            owner = (found or await store.get_bucket(bucket)).owner
        except NoSuchBucket:
            pass
        return user().may(permission, bucket, key, owner)

    return may


@implementer(IObjectStore)
class PermittedStore:
    """
    What an C{IObjectStore} does, as far as somebody has a right to it; anything else fails with C{Forbidden}.

    A user with C{put-new} alone replaces nothing, one with C{overwrite} alone stores nothing new: the store checks that in the step
    that makes the change, so that nothing comes between. A condition on an etag needs C{read}: whether it holds says what the object
    is.

    @param decided: called with a permission, bucket, key, and whether that was allowed.
    @param who: the user, for messages.
    """

    def __init__(
        self,
        store: IObjectStore,
        may: Decide,
        decided: Callable[[str, str, str, bool], object] = lambda permission, bucket, key, allowed: None,
        who: str = "this user",
    ) -> None:
        self._store = store
        self._may = may
        self._decided = decided
        self._who = who

    # -- decisions -----------------------------------------------------------------------------------------------------

    async def _check(self, permission: str, bucket: str, key: str = "") -> None:
        allowed = await self._may(permission, bucket, key)
        self._decided(permission, bucket, key, allowed)
        if not allowed:
            raise Forbidden(f"{self._who} has no right to {permission} {bucket}/{key}")

    async def _check_condition(self, bucket: str, key: str, condition: Condition) -> None:
        if condition.etag not in (None, "*"):
            await self._check("read", bucket, key)

    async def _check_storing(self, bucket: str, key: str) -> None:
        allowed = False
        for permission in _STORING:
            allowed = allowed or await self._may(permission, bucket, key)
        self._decided("put-new", bucket, key, allowed)
        if not allowed:
            raise Forbidden(f"{self._who} has no right to store {bucket}/{key}")

    async def _changing(
        self, bucket: str, key: str, condition: Condition, change: Callable[[Condition], Deferred[ObjectInfo]]
    ) -> ObjectInfo:
        """Change a key under its condition, and under that of the rights."""
        await self._check_condition(bucket, key, condition)
        new, replacing = await self._may("put-new", bucket, key), await self._may("overwrite", bucket, key)
        narrowed = condition.narrowed(new, replacing)
        permission = "put-new" if new or not replacing else "overwrite"
        self._decided(permission, bucket, key, narrowed is not None)
        refused = f"{self._who} has no right to {'replace' if new else 'store'} {bucket}/{key}"
        if narrowed is None:
            raise Forbidden(refused)
        try:
            return await change(narrowed)
        except PreconditionFailed as error:
            if narrowed == condition:
                raise
            self._decided("overwrite" if new else "put-new", bucket, key, False)
            raise Forbidden(refused) from error

    # -- buckets -------------------------------------------------------------------------------------------------------

    @deferred
    async def create_bucket(
        self,
        name: str,
        metadata: Metadata | None = None,
        owner: str = "",
        configs: Mapping[str, bytes] | None = None,
    ) -> Bucket:
        """See C{IObjectStore}. An existing bucket is reported as such also to users who cannot create one."""
        if not await self._may("create", name, ""):
            try:
                await self._store.get_bucket(name)
            except NoSuchBucket:
                pass
            else:
                raise AlreadyExists(f"the bucket {name} already exists")
        await self._check("create", name)
        return await self._store.create_bucket(name, metadata, owner, configs)

    @deferred
    async def set_bucket_metadata(self, name: str, metadata: Metadata) -> Bucket:
        """See C{IObjectStore}."""
        await self._check(MANAGE, name)
        return await self._store.set_bucket_metadata(name, metadata)

    @deferred
    async def delete_bucket(self, name: str) -> None:
        """See C{IObjectStore}."""
        await self._check(MANAGE, name)
        await self._store.delete_bucket(name)

    @deferred
    async def get_bucket(self, name: str) -> Bucket:
        """See C{IObjectStore}."""
        await self._check("list", name)
        return await self._store.get_bucket(name)

    @deferred
    async def list_buckets(self) -> list[Bucket]:
        """Those that can be listed."""
        return [each for each in await self._store.list_buckets() if await self._may("list", each.name, "", each)]

    @deferred
    async def bucket_config(self, bucket: str, kind: str) -> bytes | None:
        """See C{IObjectStore}."""
        await self._check(MANAGE, bucket)
        return await self._store.bucket_config(bucket, kind)

    @deferred
    async def set_bucket_config(self, bucket: str, kind: str, data: bytes | None) -> None:
        """See C{IObjectStore}."""
        await self._check(MANAGE, bucket)
        await self._store.set_bucket_config(bucket, kind, data)

    @deferred
    async def set_versioning(self, bucket: str, state: str) -> Bucket:
        """See C{IObjectStore}."""
        await self._check(MANAGE, bucket)
        return await self._store.set_versioning(bucket, state)

    @deferred
    async def usage(self, bucket: str) -> Usage:
        """See C{IObjectStore}."""
        await self._check("list", bucket)
        return await self._store.usage(bucket)

    # -- objects -------------------------------------------------------------------------------------------------------

    @deferred
    async def put(
        self,
        bucket: str,
        key: str,
        stream: IByteStream,
        size: int | None,
        content_type: str = "",
        metadata: Metadata | None = None,
        condition: Condition = ALWAYS,
        md5: bool | Callable[[], str] = False,
        system: System | Callable[[], System] | None = None,
    ) -> ObjectInfo:
        """See C{IObjectStore}."""
        return await self._changing(bucket, key, condition, lambda narrowed: self._store.put(
            bucket, key, stream, size, content_type, metadata, narrowed, md5, system
        ))  # fmt: skip

    @deferred
    async def append(
        self,
        bucket: str,
        key: str,
        offset: int,
        stream: IByteStream,
        size: int | None,
        content_type: str = "",
        metadata: Metadata | None = None,
        condition: Condition = ALWAYS,
        note: Callable[[], str] | None = None,
        system: Callable[[ObjectInfo | None], System] | None = None,
    ) -> ObjectInfo:
        """See C{IObjectStore}. An append replaces an object or stores a new one, so it needs both permissions."""
        for permission in _STORING:
            await self._check(permission, bucket, key)
        await self._check_condition(bucket, key, condition)
        return await self._store.append(
            bucket, key, offset, stream, size, content_type, metadata, condition, note, system
        )

    @deferred
    async def get(
        self, bucket: str, key: str, offset: int = 0, length: int | None = None, version: str | None = None
    ) -> ObjectReader:
        """See C{IObjectStore}."""
        await self._check("read", bucket, key)
        return await self._store.get(bucket, key, offset, length, version)

    @deferred
    async def head(self, bucket: str, key: str, version: str | None = None) -> ObjectInfo:
        """See C{IObjectStore}."""
        await self._check("read", bucket, key)
        return await self._store.head(bucket, key, version)

    @deferred
    async def delete(
        self,
        bucket: str,
        key: str,
        condition: Condition = ALWAYS,
        version: str | None = None,
        mark_missing: bool = False,
        system: System | None = None,
    ) -> ObjectInfo:
        """See C{IObjectStore}."""
        await self._check("delete", bucket, key)
        await self._check_condition(bucket, key, condition)
        return await self._store.delete(bucket, key, condition, version, mark_missing, system)

    @deferred
    async def copy(
        self,
        bucket: str,
        key: str,
        source_bucket: str,
        source_key: str,
        content_type: str | None = None,
        metadata: Metadata | None = None,
        condition: Condition = ALWAYS,
        source_condition: Condition = ALWAYS,
        system: System | None = None,
        source_version: str | None = None,
    ) -> ObjectInfo:
        """See C{IObjectStore}."""
        await self._check("read", source_bucket, source_key)
        return await self._changing(bucket, key, condition, lambda narrowed: self._store.copy(
            bucket, key, source_bucket, source_key, content_type, metadata, narrowed, source_condition, system, source_version
        ))  # fmt: skip

    @deferred
    async def rename(
        self,
        bucket: str,
        key: str,
        new_key: str,
        condition: Condition = ALWAYS,
        source_condition: Condition = ALWAYS,
        changes: Mapping[str, str | None] | None = None,
    ) -> ObjectInfo:
        """See C{IObjectStore}. What is renamed is read under its new key, and gone under the old one."""
        await self._check("read", bucket, key)
        await self._check("delete", bucket, key)
        return await self._changing(bucket, new_key, condition, lambda narrowed: self._store.rename(
            bucket, key, new_key, narrowed, source_condition, changes
        ))  # fmt: skip

    @deferred
    async def set_system(
        self,
        bucket: str,
        key: str,
        changes: Mapping[str, str | None],
        condition: Condition = ALWAYS,
        version: str | None = None,
    ) -> ObjectInfo:
        """See C{IObjectStore}."""
        await self._check("overwrite", bucket, key)
        await self._check_condition(bucket, key, condition)
        return await self._store.set_system(bucket, key, changes, condition, version)

    @deferred
    async def list_objects(
        self, bucket: str, prefix: str = "", delimiter: str = "", after: str = "", limit: int = 1000
    ) -> Listing:
        """See C{IObjectStore}."""
        await self._check("list", bucket, prefix)
        return await self._store.list_objects(bucket, prefix, delimiter, after, limit)

    @deferred
    async def list_keys(self, bucket: str, prefix: str = "", after: str = "", limit: int = 1000) -> list[str]:
        """See C{IObjectStore}."""
        await self._check("list", bucket, prefix)
        return await self._store.list_keys(bucket, prefix, after, limit)

    @deferred
    async def list_versions(
        self,
        bucket: str,
        prefix: str = "",
        delimiter: str = "",
        key_marker: str = "",
        version_marker: str = "",
        limit: int = 1000,
    ) -> VersionListing:
        """See C{IObjectStore}."""
        await self._check("list", bucket, prefix)
        return await self._store.list_versions(bucket, prefix, delimiter, key_marker, version_marker, limit)

    @deferred
    async def list_object_parts(self, bucket: str, key: str, version: str | None = None) -> list[Part]:
        """See C{IObjectStore}."""
        await self._check("read", bucket, key)
        return await self._store.list_object_parts(bucket, key, version)

    # -- uploads in parts ----------------------------------------------------------------------------------------------

    @deferred
    async def begin_upload(
        self,
        bucket: str,
        key: str,
        content_type: str = "",
        metadata: Metadata | None = None,
        system: System | None = None,
    ) -> str:
        """See C{IObjectStore}."""
        await self._check_storing(bucket, key)
        return await self._store.begin_upload(bucket, key, content_type, metadata, system)

    @deferred
    async def upload_part(
        self,
        bucket: str,
        key: str,
        upload_id: str,
        number: int,
        stream: IByteStream,
        size: int | None,
        md5: bool | Callable[[], str] = False,
        note: Callable[[], str] | None = None,
        instead_of: Sequence[int] = (),
    ) -> str:
        """See C{IObjectStore}."""
        await self._check_storing(bucket, key)
        return await self._store.upload_part(bucket, key, upload_id, number, stream, size, md5, note, instead_of)

    @deferred
    async def upload_part_link(
        self, bucket: str, key: str, upload_id: str, number: int, source_upload_id: str, source_numbers: Sequence[int]
    ) -> list[str]:
        """See C{IObjectStore}. The other upload is of any key."""
        await self._check_storing(bucket, key)
        await self._check("read", bucket)
        return await self._store.upload_part_link(bucket, key, upload_id, number, source_upload_id, source_numbers)

    @deferred
    async def get_part(self, bucket: str, key: str, upload_id: str, number: int) -> Reader:
        """See C{IObjectStore}."""
        await self._check("read", bucket, key)
        return await self._store.get_part(bucket, key, upload_id, number)

    @deferred
    async def upload_part_copy(
        self,
        bucket: str,
        key: str,
        upload_id: str,
        number: int,
        source_bucket: str,
        source_key: str,
        offset: int = 0,
        length: int | None = None,
        source_condition: Condition = ALWAYS,
        note: str = "",
        source_version: str | None = None,
    ) -> str:
        """See C{IObjectStore}."""
        await self._check("read", source_bucket, source_key)
        await self._check_storing(bucket, key)
        return await self._store.upload_part_copy(
            bucket,
            key,
            upload_id,
            number,
            source_bucket,
            source_key,
            offset,
            length,
            source_condition,
            note,
            source_version,
        )

    @deferred
    async def complete_upload(
        self,
        bucket: str,
        key: str,
        upload_id: str,
        parts: Sequence[Part],
        condition: Condition = ALWAYS,
        as_key: str | None = None,
        metadata: Metadata | None = None,
        system: System | None = None,
    ) -> ObjectInfo:
        """See C{IObjectStore}."""
        if as_key is not None:
            await self._check_storing(bucket, key)
        changed = key if as_key is None else as_key
        return await self._changing(bucket, changed, condition, lambda narrowed: self._store.complete_upload(
            bucket, key, upload_id, parts, narrowed, as_key, metadata, system
        ))  # fmt: skip

    @deferred
    async def abort_upload(self, bucket: str, key: str, upload_id: str) -> None:
        """See C{IObjectStore}."""
        await self._check_storing(bucket, key)
        await self._store.abort_upload(bucket, key, upload_id)

    @deferred
    async def list_parts(
        self, bucket: str, key: str, upload_id: str, after: int = 0, limit: int | None = None
    ) -> list[Part]:
        """See C{IObjectStore}."""
        await self._check_storing(bucket, key)
        return await self._store.list_parts(bucket, key, upload_id, after, limit)

    @deferred
    async def get_upload(self, bucket: str, key: str, upload_id: str) -> OpenUpload:
        """See C{IObjectStore}."""
        await self._check_storing(bucket, key)
        return await self._store.get_upload(bucket, key, upload_id)

    @deferred
    async def list_uploads(
        self, bucket: str, prefix: str = "", key_after: str = "", upload_after: str = "", limit: int | None = None
    ) -> list[OpenUpload]:
        """See C{IObjectStore}."""
        await self._check("list", bucket, prefix)
        return await self._store.list_uploads(bucket, prefix, key_after, upload_after, limit)
