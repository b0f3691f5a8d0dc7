"""The object store on this machine: joins a namespace to a data space."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

import attrs
from prometheus_client.core import Metric
from twisted.internet.defer import Deferred
from zope.interface import implementer

from storehouse.core.bridges import stream_of
from storehouse.core.disk import IDisk
from storehouse.core.jobs import finished, settled
from storehouse.core.streams import IByteStream, ISource, awaiting, deferred
from storehouse.errors import StorehouseError
from storehouse.events import Events
from storehouse.storage.dataspace.interfaces import Part, Reader
from storehouse.storage.namespace.interfaces import Bucket, Entry, IChecked
from storehouse.storage.objects.base import Base
from storehouse.storage.objects.check import check, compare, unserved
from storehouse.storage.objects.conditions import check_condition, info_of
from storehouse.storage.objects.interfaces import (
    ALWAYS,
    Condition,
    IMaintained,
    Indexed,
    IObjectStore,
    Listing,
    Metadata,
    ObjectInfo,
    ObjectReader,
    OpenUpload,
    Problem,
)
from storehouse.storage.objects.recovery import begin
from storehouse.storage.objects.uploads import Tag, Uploads

__all__ = ["LocalObjectStore"]


@implementer(IObjectStore, IMaintained)
class LocalObjectStore:
    """
    See L{IObjectStore}.

    @param space: a started L{IDataSpace}, which is also an C{IUploads} and an C{IInventory}.
    @param names: a started L{INamespace}.
    @param clock: tells the time, seconds since 1970 UTC.
    """

    def __init__(
        self,
        space: Any,
        names: Any,
        disk: IDisk,
        events: Events | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._base = Base(space, names, disk, events or Events(), clock)
        self._uploads = Uploads(self._base)

    @property
    def failed(self) -> StorehouseError | None:
        """What the namespace or the data space failed with for good."""
        # What is in memory only cannot fail.
        failed: StorehouseError | None = getattr(self._base.names, "failed", None) or self._base.space.failed
        return failed

    @property
    def unserved(self) -> str:
        """What part of it cannot be served, while all else is; empty if there is none."""
        return unserved(self._base.names)

    @property
    def recovered(self) -> Deferred[None]:
        """Fires when what a crash left is made good; operations wait for it."""
        assert self._base.operations.opening is not None
        return self._base.operations.opening

    def collect(self) -> Iterable[Metric]:
        """For Prometheus."""
        return self._base.metrics.collect()

    def start(self, tidy: bool = True) -> None:
        """
        Begin to make good what a crash left, and take operations.

        @param tidy: also look, beside all else, whether bytes that a crash left have a name, and remove those that have
            none. Otherwise L{check} does, or the next start.
        """
        self._base.open()
        self._base.operations.opening = begin(self._base, tidy)

    @property
    def tidied(self) -> Deferred[None]:
        """Fires when bytes that may have no name were looked for."""
        return self._base.removing.tidy()

    @deferred
    async def stop(self) -> None:
        """Finish what runs, and bytes that are to be removed."""
        if self._base.operations.opening is not None:
            await settled(self._base.operations.opening)
        await self._base.closed()

    # -- buckets -------------------------------------------------------------------------------

    def create_bucket(self, name: str, metadata: Metadata | None = None) -> Deferred[Bucket]:
        """See L{IObjectStore.create_bucket}."""
        return self._base.operation("create_bucket", _of(self._base.names.create_bucket, name, metadata))

    def set_bucket_metadata(self, name: str, metadata: Metadata) -> Deferred[Bucket]:
        """See L{IObjectStore.set_bucket_metadata}."""
        work = _of(self._base.names.set_bucket_metadata, name, metadata)
        return self._base.operation("set_bucket_metadata", work)

    def delete_bucket(self, name: str) -> Deferred[None]:
        """See L{IObjectStore.delete_bucket}."""
        return self._base.operation("delete_bucket", self._delete_bucket(name))

    async def _delete_bucket(self, name: str) -> None:
        await finished(self._base.names.delete_bucket(name))
        await self._uploads.abort_all(name)

    def get_bucket(self, name: str) -> Deferred[Bucket]:
        """See L{IObjectStore.get_bucket}."""
        return self._base.operation("get_bucket", _of(self._base.names.get_bucket, name))

    def list_buckets(self) -> Deferred[list[Bucket]]:
        """See L{IObjectStore.list_buckets}."""
        return self._base.operation("list_buckets", _of(self._base.names.list_buckets))

    def usage(self, bucket: str) -> Deferred[tuple[int, int]]:
        """See L{IObjectStore.usage}."""
        return self._base.operation("usage", _of(self._base.names.usage, bucket))

    # -- objects -------------------------------------------------------------------------------

    def put(
        self,
        bucket: str,
        key: str,
        stream: IByteStream | ISource,
        size: int | None,
        content_type: str = "",
        metadata: Metadata | None = None,
        condition: Condition = ALWAYS,
        md5: bool = False,
    ) -> Deferred[ObjectInfo]:
        """See L{IObjectStore.put}."""
        stream = stream_of(stream)
        work = self._put(bucket, key, stream, size, content_type, metadata or {}, condition, md5)
        return self._base.operation("put", work, stream)

    async def _put(
        self,
        bucket: str,
        key: str,
        stream: IByteStream,
        size: int | None,
        content_type: str,
        metadata: Metadata,
        condition: Condition,
        md5: bool,
    ) -> ObjectInfo:
        base = self._base
        if condition != ALWAYS:
            # Better now than after all of it was taken. What counts is looked at again at the end.
            check_condition(condition, await base.current(bucket, key), bucket, key)
        id = base.arrives()
        # That these bytes may be left without a key is written down while they come, and on disk before they are.
        intended = base.names.intend(bucket, key, [id])
        tag = Tag(base.disk, md5)
        try:
            told = {"key": [f"{bucket}/{key}"]}
            part = await base.space.put(id, awaiting(tag.computed(stream), intended), size, told)
        except BaseException:
            await settled(intended)
            # A sync that failed may have come after they were in place.
            await base.removing.undo(id)
            raise
        etag = tag.hexdigest() or part.etag
        return await self._publish(
            bucket, key, Entry(id, part.size, etag, base.now(), content_type, metadata, part.etag), condition
        )

    async def _publish(self, bucket: str, key: str, entry: Entry, condition: Condition) -> ObjectInfo:
        base = self._base
        try:
            async with base.held(bucket, key):
                return await base.publish(bucket, key, entry, condition)
        except BaseException:
            await base.removing.refused(bucket, key, entry.id)
            raise

    def get(self, bucket: str, key: str, offset: int = 0, length: int | None = None) -> Deferred[ObjectReader]:
        """See L{IObjectStore.get}."""
        return self._base.operation("get", self._get(bucket, key, offset, length))

    async def _get(self, bucket: str, key: str, offset: int, length: int | None) -> ObjectReader:
        reader: Reader
        entry, reader = await self._base.with_bytes(
            bucket, key, lambda entry, expected: self._base.space.get(entry.id, offset, length, expected=expected)
        )
        self._base.served(bucket, key, reader)
        return ObjectReader(info_of(key, entry), reader.offset, reader.length, reader.stream)

    def head(self, bucket: str, key: str) -> Deferred[ObjectInfo]:
        """See L{IObjectStore.head}."""
        return self._base.operation("head", self._head(bucket, key))

    async def _head(self, bucket: str, key: str) -> ObjectInfo:
        return info_of(key, await self._base.names.look_up(bucket, key))

    def delete(self, bucket: str, key: str, condition: Condition = ALWAYS) -> Deferred[ObjectInfo]:
        """See L{IObjectStore.delete}."""
        return self._base.operation("delete", self._delete(bucket, key, condition))

    async def _delete(self, bucket: str, key: str, condition: Condition) -> ObjectInfo:
        async with self._base.held(bucket, key):
            return await self._base.unpublish(bucket, key, condition)

    def copy(
        self,
        bucket: str,
        key: str,
        source_bucket: str,
        source_key: str,
        content_type: str | None = None,
        metadata: Metadata | None = None,
        condition: Condition = ALWAYS,
        source_condition: Condition = ALWAYS,
    ) -> Deferred[ObjectInfo]:
        """See L{IObjectStore.copy}."""
        given = {"content_type": content_type, "metadata": metadata}
        changes = {name: value for name, value in given.items() if value is not None}
        work = self._copy(bucket, key, source_bucket, source_key, changes, condition, source_condition)
        return self._base.operation("copy", work)

    async def _copy(
        self,
        bucket: str,
        key: str,
        source_bucket: str,
        source_key: str,
        changes: dict[str, Any],
        condition: Condition,
        source_condition: Condition,
    ) -> ObjectInfo:
        base = self._base
        id = base.arrives()
        try:
            await finished(base.names.intend(bucket, key, [id]))
        except BaseException:
            base.removing.arriving.discard(id)
            raise

        def copy(entry: Entry, expected: Part) -> Deferred[Part]:
            check_condition(source_condition, entry, source_bucket, source_key)
            told = {"key": [f"{bucket}/{key}"]}
            copied: Deferred[Part] = base.space.copy(id, entry.id, metadata=told, expected=expected)
            return copied

        try:
            source, made = await base.with_bytes(source_bucket, source_key, copy)
        except BaseException:
            await base.removing.undo(id)
            raise
        entry = attrs.evolve(source, id=id, created=base.now(), tag=made.etag, **changes)
        return await self._publish(bucket, key, entry, condition)

    def list_objects(
        self, bucket: str, prefix: str = "", delimiter: str = "", after: str = "", limit: int = 1000
    ) -> Deferred[Listing]:
        """See L{IObjectStore.list_objects}."""
        return self._base.operation("list", self._list(bucket, prefix, delimiter, after, limit))

    async def _list(self, bucket: str, prefix: str, delimiter: str, after: str, limit: int) -> Listing:
        page = await self._base.names.list_keys(bucket, prefix, delimiter, after, limit)
        infos, unknown = [info_of(key, entry) for key, entry in page.entries], getattr(self._base.names, "unknown", 0)
        return Listing(infos, page.prefixes, page.next_after, page.damaged, unknown)

    def list_keys(self, bucket: str, prefix: str = "", after: str = "", limit: int = 1000) -> Deferred[list[str]]:
        """See L{IObjectStore.list_keys}."""
        return self._base.operation("list_keys", _of(self._base.names.list_names, bucket, prefix, after, limit))

    # -- uploads in parts ----------------------------------------------------------------------

    def begin_upload(
        self, bucket: str, key: str, content_type: str = "", metadata: Metadata | None = None
    ) -> Deferred[str]:
        """See L{IObjectStore.begin_upload}."""
        return self._base.operation("begin_upload", self._uploads.begin(bucket, key, content_type, metadata or {}))

    def upload_part(
        self,
        bucket: str,
        key: str,
        upload_id: str,
        number: int,
        stream: IByteStream | ISource,
        size: int | None,
        md5: bool = False,
        note: Callable[[], str] | None = None,
        instead_of: Sequence[int] = (),
    ) -> Deferred[str]:
        """See L{IObjectStore.upload_part}."""
        stream = stream_of(stream)
        work = self._uploads.part(bucket, key, upload_id, number, stream, size, md5, note, instead_of)
        return self._base.operation("upload_part", work, stream)

    def upload_part_link(
        self,
        bucket: str,
        key: str,
        upload_id: str,
        number: int,
        source_upload_id: str,
        source_numbers: Sequence[int],
    ) -> Deferred[list[str]]:
        """See L{IObjectStore.upload_part_link}."""
        work = self._uploads.part_link(bucket, key, upload_id, number, source_upload_id, source_numbers)
        return self._base.operation("upload_part_link", work)

    def get_part(self, bucket: str, key: str, upload_id: str, number: int) -> Deferred[Reader]:
        """See L{IObjectStore.get_part}."""
        return self._base.operation("get_part", self._uploads.get_part(bucket, key, upload_id, number))

    def upload_part_copy(
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
    ) -> Deferred[str]:
        """See L{IObjectStore.upload_part_copy}."""
        work = self._uploads.part_copy(
            bucket, key, upload_id, number, source_bucket, source_key, offset, length, source_condition
        )
        return self._base.operation("upload_part_copy", work)

    def complete_upload(
        self,
        bucket: str,
        key: str,
        upload_id: str,
        parts: Sequence[Part],
        condition: Condition = ALWAYS,
        as_key: str | None = None,
        metadata: Metadata | None = None,
    ) -> Deferred[ObjectInfo]:
        """See L{IObjectStore.complete_upload}."""
        work = self._uploads.complete(bucket, key, upload_id, parts, condition, as_key, metadata)
        return self._base.operation("complete_upload", work)

    def abort_upload(self, bucket: str, key: str, upload_id: str) -> Deferred[None]:
        """See L{IObjectStore.abort_upload}."""
        return self._base.operation("abort_upload", self._uploads.abort(bucket, key, upload_id))

    def list_parts(self, bucket: str, key: str, upload_id: str) -> Deferred[list[Part]]:
        """See L{IObjectStore.list_parts}."""
        return self._base.operation("list_parts", self._uploads.list_parts(bucket, key, upload_id))

    def list_uploads(self, bucket: str) -> Deferred[list[OpenUpload]]:
        """See L{IObjectStore.list_uploads}."""
        return self._base.operation("list_uploads", self._uploads.list_uploads(bucket))

    # -- damage --------------------------------------------------------------------------------

    def check(self, progress: Callable[[int], object] | None = None, repair: bool = False) -> Deferred[list[Problem]]:
        """See L{IMaintained.check}."""
        return self._base.operation("check", check(self._base, progress or (lambda count: None), repair))

    def compare(
        self, on_problem: Callable[[Problem], object], pace: Callable[[int], Awaitable[bool]]
    ) -> Deferred[None]:
        """See L{IMaintained.compare}."""
        return self._base.operation("compare", compare(self._base, on_problem, pace))

    def reindex(self, progress: Callable[[int], object] | None = None) -> Deferred[Indexed]:
        """See L{IMaintained.reindex}."""
        return self._base.operation("reindex", self._reindex(progress))

    async def _reindex(self, progress: Callable[[int], object] | None) -> Indexed:
        names = self._base.names
        if IChecked.providedBy(names):
            await finished(self._base.restored())
            count: int = await finished(names.reindex(progress))
            return Indexed(count, names.damaged, names.unknown)
        # It has no index: what it has are its keys.
        return Indexed(sum([(await names.usage(bucket.name))[0] for bucket in await names.list_buckets()]))


async def _of(method: Callable[..., Deferred[Any]], *args: Any) -> Any:
    return await method(*args)
