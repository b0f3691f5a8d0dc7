"""The object store on this machine: joins a namespace to a data space."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from itertools import islice

import attrs
from prometheus_client.core import Metric
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from zope.interface import implementer

from storehouse.core.asking import by_form
from storehouse.core.jobs import IDisk, deferred, finished, settled
from storehouse.core.operations import operation
from storehouse.core.streams import IByteStream, awaiting, beside, updating
from storehouse.core.turns import breath
from storehouse.errors import (
    Damaged,
    InvalidBucketState,
    InvalidName,
    InvalidPart,
    NoSuchObject,
    NoSuchUpload,
    NotSupported,
    StorageFailed,
    StorehouseError,
    TooLarge,
    Unavailable,
)
from storehouse.events import Events
from storehouse.storage.dataspace.interfaces import IDataSpace, Part, Reader
from storehouse.storage.namespace.interfaces import OFF, Bucket, Entry, INamespace
from storehouse.storage.namespace.values import checked_system
from storehouse.storage.notifications.interfaces import INotices
from storehouse.storage.notifications.values import CONFIGURATION
from storehouse.storage.objects.check import check, compare, unserved
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
    System,
    Usage,
    VersionListing,
)
from storehouse.storage.objects.pair import Pair, check_condition, info_of
from storehouse.storage.objects.recovery import begin
from storehouse.storage.objects.tags import (
    MAX_PART,
    encode_entry,
    is_of_parts,
    noted_with,
    of_parts,
    told,
    visible,
)
from storehouse.storage.objects.uploads import Completed, UploadIndex, described, new_upload_id
from storehouse.storage.objects.values import is_md5

__all__ = ["LocalObjectStore", "StreamMD5"]

# Bytes that are hashed at once in a thread; fewer are not worth one.
_BATCH = 256 << 10

# Bytes of one configuration of a bucket.
_MAX_CONFIG = 1 << 20


def _check_config(kind: str, data: bytes | None) -> None:
    if data is not None and len(data) > _MAX_CONFIG:
        raise TooLarge(f"the {kind[:100]} configuration has {len(data)} bytes; at most {_MAX_CONFIG} are allowed")


class StreamMD5:
    """
    The MD5 of bytes on their way to the data space, if it is to be known, as S3's clients expect.

    @param md5: whether it is; or what gives it once all bytes were read.
    """

    def __init__(self, disk: IDisk, md5: bool | Callable[[], str]) -> None:
        self._disk = disk
        self._given = md5 if callable(md5) else None
        self._hash = hashlib.md5(usedforsecurity=False) if md5 is True else None

    def computed(self, stream: IByteStream) -> IByteStream:
        """The stream to read in place of this one."""
        return stream if self._hash is None else beside(stream, self._disk, updating(self._hash), _BATCH)

    def hexdigest(self) -> str:
        """In hex, once all bytes were read; empty if it was not to be known."""
        if self._given is not None:
            return self._given()
        return "" if self._hash is None else self._hash.hexdigest()


@implementer(IObjectStore, IMaintained)
class LocalObjectStore:
    """
    See L{IObjectStore}.

    @param space: a started L{IDataSpace}, which is also an C{IUploads} and an C{IInventory}.
    @param names: a started L{INamespace}.
    @param clock: tells the time, seconds since 1970 UTC.
    @param notices: a started L{INotices}, which announces changes; C{None} for none.
    """

    _log = Logger()

    def __init__(
        self,
        space: IDataSpace,
        names: INamespace,
        disk: IDisk,
        events: Events | None = None,
        clock: Callable[[], float] = time.time,
        notices: INotices | None = None,
    ) -> None:
        self._pair = Pair(space, names, disk, events or Events(), clock, notices)
        self._uploads = UploadIndex(space)
        self._done = Completed()
        self.operations = self._pair.operations

    @property
    def failed(self) -> StorehouseError | None:
        """What the namespace or the data space failed with for good."""
        # What is in memory only cannot fail.
        failed: StorehouseError | None = getattr(self._pair.names, "failed", None) or self._pair.space.failed
        return failed

    @property
    def unserved(self) -> str:
        """What part of it cannot be served, while all else is; empty if there is none."""
        return unserved(self._pair.names)

    @property
    def recovered(self) -> Deferred[None]:
        """Fires when recovery is done; operations wait for it."""
        assert self._pair.operations.opening is not None
        return self._pair.operations.opening

    def collect(self) -> Iterable[Metric]:
        """Yield the metrics of the store, as samples for the admin door."""
        return self._pair.metrics.collect()

    def start(self, tidy: bool = True) -> None:
        """
        Begin to make good what a crash left, and take operations.

        @param tidy: also look, beside all else, whether bytes that a crash left have a name, and remove those that have
            none. Otherwise L{check} does, or the next start.
        """
        self._pair.open()
        self._pair.operations.opening = begin(self._pair, tidy)

    @property
    def tidied(self) -> Deferred[None]:
        """Fires when bytes that may have no name were looked for."""
        return self._pair.removing.tidy()

    @deferred
    async def stop(self) -> None:
        """Finish running operations, and remove bytes that wait for it."""
        if self._pair.operations.opening is not None:
            await settled(self._pair.operations.opening)
        await self._pair.closed()

    # -- buckets -------------------------------------------------------------------------------

    @operation
    async def create_bucket(
        self,
        name: str,
        metadata: Metadata | None = None,
        owner: str = "",
        configs: Mapping[str, bytes] | None = None,
    ) -> Bucket:
        """See L{IObjectStore.create_bucket}."""
        for kind, data in (configs or {}).items():
            _check_config(kind, data)
        return await self._pair.names.create_bucket(name, metadata, owner, configs)

    @operation
    async def set_bucket_metadata(self, name: str, metadata: Metadata) -> Bucket:
        """See L{IObjectStore.set_bucket_metadata}."""
        return await self._pair.names.set_bucket_metadata(name, metadata)

    @operation
    async def delete_bucket(self, name: str) -> None:
        """See L{IObjectStore.delete_bucket}."""
        await finished(self._pair.names.delete_bucket(name))
        if self._pair.notices is not None:
            self._pair.notices.forget(name)
        await self._abort_all(name)

    @operation
    async def get_bucket(self, name: str) -> Bucket:
        """See L{IObjectStore.get_bucket}."""
        return await self._pair.names.get_bucket(name)

    @operation
    async def list_buckets(self) -> list[Bucket]:
        """See L{IObjectStore.list_buckets}."""
        return await self._pair.names.list_buckets()

    @operation
    async def bucket_config(self, bucket: str, kind: str) -> bytes | None:
        """See L{IObjectStore.bucket_config}."""
        return await self._pair.names.bucket_config(bucket, kind)

    @operation
    async def set_bucket_config(self, bucket: str, kind: str, data: bytes | None) -> None:
        """See L{IObjectStore.set_bucket_config}."""
        _check_config(kind, data)
        if kind != CONFIGURATION or (data is None and self._pair.notices is None):
            await finished(self._pair.names.set_bucket_config(bucket, kind, data))
        elif self._pair.notices is None:
            raise NotSupported("this store announces nothing")
        else:
            await finished(self._pair.notices.configure(bucket, data))

    @operation
    async def set_versioning(self, bucket: str, state: str) -> Bucket:
        """See L{IObjectStore.set_versioning}."""
        return await finished(self._pair.names.set_versioning(bucket, state))

    @operation
    async def usage(self, bucket: str) -> Usage:
        """See L{IObjectStore.usage}."""
        return await self._pair.names.usage(bucket)

    # -- objects -------------------------------------------------------------------------------

    @operation
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
        """See L{IObjectStore.put}."""
        pair = self._pair
        if condition != ALWAYS:
            # Better now than after all of it was taken. What counts is looked at again at the end.
            check_condition(condition, await pair.current(bucket, key), bucket, key)
        id = pair.arrives()
        # That these bytes may be left without a key is written down while they come, and on disk before they are.
        intended = pair.names.intend(bucket, key, [id])
        tag = StreamMD5(pair.disk, md5)
        try:
            told = {"key": [f"{bucket}/{key}"]}
            part = await pair.space.put(id, awaiting(tag.computed(stream), intended), size, told)
            kept = system() if callable(system) else system
        except BaseException:
            await settled(intended)
            # A sync that failed may have come after they were in place.
            await pair.removing.undo(id)
            raise
        etag = tag.hexdigest() or part.etag
        entry = Entry(id, part.size, etag, pair.now(), content_type, metadata or {}, part.etag, kept or {})
        return await self._publish(bucket, key, entry, condition, "Post" if by_form.get() else "Put")

    async def _publish(self, bucket: str, key: str, entry: Entry, condition: Condition, by: str) -> ObjectInfo:
        pair = self._pair
        try:
            async with pair.held(bucket, key):
                return await pair.publish(bucket, key, entry, condition, by=by)
        except BaseException:
            await pair.removing.refused(bucket, key, entry.id)
            raise

    @operation
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
        """See L{IObjectStore.append}."""
        pair = self._pair
        before = await pair.end_of(bucket, key, offset, condition)
        source, expected, plain_md5 = None, None, ""
        if before is not None:
            before, parts = await pair.with_bytes(
                bucket, key, lambda entry, expected: pair.space.list_object_parts(entry.id, expected)
            )
            if len(parts) >= MAX_PART:
                raise TooLarge(f"the object {bucket}/{key} has {len(parts)} parts; no more can be added")
            source, expected = before.id, pair.expected_of(before)
            plain_md5 = before.etag if is_md5(before.etag) else ""
        id = pair.arrives()
        intended = pair.names.intend(bucket, key, [id])
        tag = StreamMD5(pair.disk, True)

        def noted() -> str:
            return noted_with(tag.hexdigest(), note() if note is not None else "")

        told = {"key": [f"{bucket}/{key}"]}
        arriving = awaiting(tag.computed(stream), intended)
        try:
            try:
                made = await pair.space.extend(id, source, arriving, size, told, noted, plain_md5, expected)
            except NoSuchObject:
                await pair.end_of(bucket, key, offset, condition)
                raise Unavailable(f"the object {bucket}/{key} was replaced meanwhile: try again") from None
            parts = await pair.space.list_object_parts(id)
        except BaseException:
            await settled(intended)
            await pair.removing.undo(id)
            raise
        try:
            async with pair.held(bucket, key):
                # What counts is what is there now, of which more may be known than before.
                now = await pair.end_of(bucket, key, offset, condition)
                if (None if now is None else now.id) != source:
                    raise Unavailable(f"the object {bucket}/{key} was replaced meanwhile: try again")
                entry = Entry(id, made.size, tag.hexdigest(), pair.now(), content_type, metadata or {}, made.etag)
                if now is not None:
                    entry = attrs.evolve(
                        entry,
                        etag=of_parts(parts),
                        content_type=now.content_type,
                        metadata=now.metadata,
                        system=now.system,
                    )
                if system is not None:
                    info = None if now is None else pair.info_of(bucket, key, now)
                    entry = attrs.evolve(entry, system=system(info))
                return await pair.publish(bucket, key, entry, condition)
        except BaseException:
            await pair.removing.refused(bucket, key, id)
            raise

    @operation
    async def get(
        self, bucket: str, key: str, offset: int = 0, length: int | None = None, version: str | None = None
    ) -> ObjectReader:
        """See L{IObjectStore.get}."""
        pair = self._pair
        reader: Reader
        entry, reader = await pair.with_bytes(
            bucket,
            key,
            lambda entry, expected: pair.space.get(entry.id, offset, length, expected=expected),
            version,
        )
        pair.served(bucket, key, reader)
        info = pair.info_of(bucket, key, entry)
        if version is not None:
            try:
                info = await pair.info_of_version(bucket, key, entry, version)
            except BaseException:
                reader.close()
                raise
        return ObjectReader(info, reader.offset, reader.length, reader.stream)

    @operation
    async def head(self, bucket: str, key: str, version: str | None = None) -> ObjectInfo:
        """See L{IObjectStore.head}."""
        pair = self._pair
        if version is None:
            return pair.info_of(bucket, key, await pair.names.look_up(bucket, key))
        return await pair.info_of_version(bucket, key, await pair.version_of(bucket, key, version), version)

    @operation
    async def delete(
        self,
        bucket: str,
        key: str,
        condition: Condition = ALWAYS,
        version: str | None = None,
        mark_missing: bool = False,
        system: System | None = None,
    ) -> ObjectInfo:
        """See L{IObjectStore.delete}."""
        async with self._pair.held(bucket, key):
            if version is not None:
                return await self._pair.remove_version(bucket, key, version, condition)
            has_versions = self._pair.names.versioning(bucket) != OFF
            return await self._pair.unpublish(bucket, key, condition, mark_missing and has_versions, system or {})

    @operation
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
        """See L{IObjectStore.copy}."""
        pair = self._pair
        id = pair.arrives()
        try:
            await finished(pair.names.intend(bucket, key, [id]))
        except BaseException:
            pair.removing.arriving.discard(id)
            raise

        def copy(entry: Entry, expected: Part) -> Deferred[Part]:
            check_condition(source_condition, entry, source_bucket, source_key)
            told = {"key": [f"{bucket}/{key}"]}
            return pair.space.copy(id, entry.id, metadata=told, expected=expected)

        try:
            source, made = await pair.with_bytes(source_bucket, source_key, copy, source_version)
        except BaseException:
            await pair.removing.undo(id)
            raise
        entry = attrs.evolve(
            source,
            id=id,
            created=pair.now(),
            tag=made.etag,
            content_type=source.content_type if content_type is None else content_type,
            metadata=source.metadata if metadata is None else metadata,
            system=source.system if system is None else system,
        )
        return await self._publish(bucket, key, entry, condition, "Copy")

    @operation
    async def rename(
        self,
        bucket: str,
        key: str,
        new_key: str,
        condition: Condition = ALWAYS,
        source_condition: Condition = ALWAYS,
        changes: Mapping[str, str | None] | None = None,
    ) -> ObjectInfo:
        """See L{IObjectStore.rename}."""
        pair = self._pair
        if pair.names.versioning(bucket) != OFF:
            raise InvalidBucketState(
                f"the bucket {bucket} has versions: its objects cannot be renamed; copy the object, and delete it"
            )
        if key == new_key:
            entry = await pair.names.look_up(bucket, key)
            check_condition(source_condition, entry, bucket, key)
            check_condition(condition, entry, bucket, key)
            if changes:
                return await self._set_system(bucket, key, changes, condition, None)
            return pair.info_of(bucket, key, entry)
        # In one order for all, so that no two wait for each other.
        first, second = sorted((key, new_key))
        async with pair.held(bucket, first), pair.held(bucket, second):
            check_condition(source_condition, await pair.current(bucket, key), bucket, key)
            check_condition(condition, await pair.current(bucket, new_key), bucket, new_key)
            id = pair.arrives()
            told = {"key": [f"{bucket}/{new_key}"]}
            try:
                await finished(pair.names.intend(bucket, new_key, [id]))
                source, made = await pair.with_bytes(
                    bucket,
                    key,
                    lambda entry, expected: pair.space.copy(id, entry.id, metadata=told, expected=expected),
                )
            except BaseException:
                await pair.removing.undo(id)
                raise
            try:
                entry = attrs.evolve(source, id=id, tag=made.etag, system=_changed(source.system, changes or {}))
                return await pair.rename(bucket, key, new_key, source, entry, condition)
            except BaseException:
                await pair.removing.refused(bucket, new_key, id)
                raise

    @operation
    async def set_system(
        self,
        bucket: str,
        key: str,
        changes: Mapping[str, str | None],
        condition: Condition = ALWAYS,
        version: str | None = None,
    ) -> ObjectInfo:
        """See L{IObjectStore.set_system}."""
        return await self._set_system(bucket, key, changes, condition, version)

    async def _set_system(
        self, bucket: str, key: str, changes: Mapping[str, str | None], condition: Condition, version: str | None
    ) -> ObjectInfo:
        def change(entry: Entry) -> Entry:
            return attrs.evolve(entry, system=_changed(entry.system, changes))

        async with self._pair.held(bucket, key):
            return await self._pair.describe(bucket, key, change, condition, version, changes)

    @operation
    async def list_objects(
        self, bucket: str, prefix: str = "", delimiter: str = "", after: str = "", limit: int = 1000
    ) -> Listing:
        """See L{IObjectStore.list_objects}."""
        page = await self._pair.names.list_keys(bucket, prefix, delimiter, after, limit)
        has_versions = self._pair.names.versioning(bucket) != OFF
        infos = [info_of(key, entry, has_versions) for key, entry in page.entries]
        unknown = getattr(self._pair.names, "unknown", 0)
        return Listing(infos, page.prefixes, page.next_after, page.damaged, unknown)

    @operation
    async def list_keys(self, bucket: str, prefix: str = "", after: str = "", limit: int = 1000) -> list[str]:
        """See L{IObjectStore.list_keys}."""
        return await self._pair.names.list_names(bucket, prefix, after, limit)

    @operation
    async def list_versions(
        self,
        bucket: str,
        prefix: str = "",
        delimiter: str = "",
        key_marker: str = "",
        version_marker: str = "",
        limit: int = 1000,
    ) -> VersionListing:
        """See L{IObjectStore.list_versions}."""
        page = await self._pair.names.list_versions(bucket, prefix, delimiter, key_marker, version_marker, limit)
        has_versions = self._pair.names.versioning(bucket) != OFF
        infos = [info_of(each.key, each.entry, has_versions, each.is_latest) for each in page.versions]
        return VersionListing(infos, page.prefixes, page.next_key_marker, page.next_version_marker, page.damaged)

    # -- uploads in parts ----------------------------------------------------------------------

    @operation
    async def begin_upload(
        self,
        bucket: str,
        key: str,
        content_type: str = "",
        metadata: Metadata | None = None,
        system: System | None = None,
    ) -> str:
        """See L{IObjectStore.begin_upload}."""
        # Looked up for its checks: that the bucket is there, and that the key can be one.
        await self._pair.current(bucket, key)
        upload_id = new_upload_id(self._pair.now())
        kept = json.dumps({name: list(values) for name, values in (metadata or {}).items()}, ensure_ascii=False)
        told = {"key": [f"{bucket}/{key}"], "contentType": [content_type], "metadata": [kept]}
        if system:
            told["system"] = [json.dumps(checked_system(system), ensure_ascii=False)]
        await self._pair.space.init_upload(upload_id, told)
        self._uploads.begun(bucket, key, upload_id)
        return upload_id

    @operation
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
        """See L{IObjectStore.upload_part}."""
        await self._upload(bucket, key, upload_id)
        tag = StreamMD5(self._pair.disk, md5)

        def noted() -> str:
            return noted_with(tag.hexdigest(), note() if note is not None else "")

        etag = await self._pair.space.upload_part(upload_id, number, tag.computed(stream), size, noted, instead_of)
        return tag.hexdigest() or visible(Part(number, etag, 0))

    @operation
    async def upload_part_link(
        self,
        bucket: str,
        key: str,
        upload_id: str,
        number: int,
        source_upload_id: str,
        source_numbers: Sequence[int],
    ) -> list[str]:
        """See L{IObjectStore.upload_part_link}."""
        space = self._pair.space
        await self._upload(bucket, key, upload_id)
        await self._upload(bucket, None, source_upload_id)
        notes = {part.number: part.note for part in await space.list_parts(source_upload_id)}
        etags = await space.upload_part_link(upload_id, number, source_upload_id, source_numbers)
        return [
            visible(Part(source, etag, 0, notes[source])) for source, etag in zip(source_numbers, etags, strict=True)
        ]

    @operation
    async def get_part(self, bucket: str, key: str, upload_id: str, number: int) -> Reader:
        """See L{IObjectStore.get_part}."""
        await self._upload(bucket, key, upload_id)
        return await self._pair.space.get_part(upload_id, number)

    @operation
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
        """See L{IObjectStore.upload_part_copy}."""
        await self._upload(bucket, key, upload_id)
        kept = ""

        def copy(entry: Entry, expected: Part) -> Deferred[str]:
            nonlocal kept
            check_condition(source_condition, entry, source_bucket, source_key)
            whole = offset == 0 and length in (None, entry.size)
            kept = noted_with(entry.etag if whole and is_md5(entry.etag) else "", note)
            return self._pair.space.upload_part_copy(upload_id, number, entry.id, offset, length, kept, expected)

        _, etag = await self._pair.with_bytes(source_bucket, source_key, copy, source_version)
        return visible(Part(number, etag, 0, kept))

    @operation
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
        """See L{IObjectStore.complete_upload}."""
        pair = self._pair
        begun_as, key = key, key if as_key is None else as_key
        async with pair.held(bucket, key):
            # The tags that the store gave name them; other fields are ignored.
            asked = of_parts([Part(part.number, part.etag, 0) for part in parts])
            done = await self._completed(bucket, key, upload_id, asked)
            try:
                upload = await self._upload(bucket, begun_as, upload_id)
            except NoSuchUpload:
                if done is None:
                    raise
                return done
            if done is not None:
                # The process ended before the upload did.
                await self._end_upload(bucket, begun_as, upload_id)
                return done
            kept = upload.metadata if metadata is None else metadata
            kept_system = upload.system if system is None else system
            # Better now than after all of it was linked. What counts is looked at again with the key.
            check_condition(condition, await pair.current(bucket, key), bucket, key)
            chosen = _chosen(upload_id, parts, await pair.space.list_parts(upload_id))
            id = pair.arrives()
            size = sum(part.size for part in chosen)
            entry = Entry(id, size, of_parts(chosen), pair.now(), upload.content_type, kept, "", dict(kept_system))
            # Should the process end between the two steps, the next start knows what was meant.
            told = {"key": [f"{bucket}/{key}"], "complete": [encode_entry(entry)], "upload": [upload_id]}
            try:
                await finished(pair.names.intend(bucket, key, [id]))
                made = await finished(pair.space.complete_upload(id, upload_id, chosen, told, True))
            except StorageFailed:
                # Whether the parts are the object's is known at the next start, which finishes it if they are.
                raise
            except BaseException:
                pair.removing.gone(id)
                raise
            entry = attrs.evolve(entry, tag=made.etag)

            async def published(info: ObjectInfo) -> None:
                self._done.add(upload_id, bucket, info, pair.now())
                await self._end_upload(bucket, begun_as, upload_id)

            try:
                return await pair.publish(bucket, key, entry, condition, published, "CompleteMultipartUpload")
            except BaseException:
                await pair.removing.refused(bucket, key, id)
                raise

    async def _completed(self, bucket: str, key: str, upload_id: str, etag: str) -> ObjectInfo | None:
        """What an upload has become, if it was completed with these parts."""
        pair = self._pair
        known = self._done.get(upload_id, bucket, key, pair.now())
        if known is not None:
            return known if known.etag == etag else None
        entry = await pair.current(bucket, key)
        if entry is None or entry.etag != etag:
            return None
        try:
            said = await pair.space.get_metadata(entry.id)
        except (NoSuchObject, Damaged):
            return None
        return pair.info_of(bucket, key, entry) if said.get("upload") == [upload_id] else None

    async def _end_upload(self, bucket: str, key: str, upload_id: str) -> None:
        """End an upload whose parts are an object by now."""
        try:
            await finished(self._pair.space.abort_upload(upload_id))
        except NoSuchUpload:
            pass
        except StorehouseError as error:
            # The object is there; what is left of the upload expires.
            self._log.error("the upload {id} could not be removed: {error}", id=upload_id, error=str(error))
            return
        self._uploads.ended(bucket, key, upload_id)

    @operation
    async def abort_upload(self, bucket: str, key: str, upload_id: str) -> None:
        """See L{IObjectStore.abort_upload}."""
        await self._upload(bucket, key, upload_id)
        await self._pair.space.abort_upload(upload_id)
        self._uploads.ended(bucket, key, upload_id)

    @operation
    async def list_parts(
        self, bucket: str, key: str, upload_id: str, after: int = 0, limit: int | None = None
    ) -> list[Part]:
        """See L{IObjectStore.list_parts}."""
        await self._upload(bucket, key, upload_id)
        parts = await self._pair.space.list_parts(upload_id)
        return await _told(islice((part for part in parts if part.number > after), limit))

    @operation
    async def list_object_parts(self, bucket: str, key: str, version: str | None = None) -> list[Part]:
        """See L{IObjectStore.list_object_parts}."""
        entry, parts = await self._pair.with_bytes(
            bucket, key, lambda entry, expected: self._pair.space.list_object_parts(entry.id, expected), version
        )
        return await _told(parts) if is_of_parts(entry.etag) else []

    @operation
    async def get_upload(self, bucket: str, key: str, upload_id: str) -> OpenUpload:
        """See L{IObjectStore.get_upload}."""
        return await self._upload(bucket, key, upload_id)

    @operation
    async def list_uploads(
        self, bucket: str, prefix: str = "", key_after: str = "", upload_after: str = "", limit: int | None = None
    ) -> list[OpenUpload]:
        """See L{IObjectStore.list_uploads}."""
        await self._pair.names.get_bucket(bucket)
        return await self._uploads.page(bucket, prefix, key_after, upload_after, limit)

    async def _upload(self, bucket: str, key: str | None, upload_id: str) -> OpenUpload:
        """An upload of this key, or of any if it is C{None}."""
        try:
            upload = described(await self._pair.space.get_upload(upload_id))
        except InvalidName:
            upload = None
        if upload is None or upload.bucket != bucket or key not in (None, upload.key):
            raise NoSuchUpload(f"there is no upload {upload_id[:100]} of {bucket}/{key or ''}")
        return upload

    async def _abort_all(self, bucket: str) -> None:
        """Abort those of a bucket that is gone."""
        for key, upload_id in await self._uploads.all_of(bucket):
            try:
                await self._pair.space.abort_upload(upload_id)
            except NoSuchUpload:
                pass  # completed, aborted or expired since it was listed
            self._uploads.ended(bucket, key, upload_id)

    # -- damage --------------------------------------------------------------------------------

    @operation
    async def check(self, progress: Callable[[int], object] | None = None, repair: bool = False) -> list[Problem]:
        """See L{IMaintained.check}."""
        return await check(self._pair, progress or (lambda count: None), repair)

    @operation
    async def compare(self, on_problem: Callable[[Problem], object], pace: Callable[[int], Awaitable[bool]]) -> None:
        """See L{IMaintained.compare}."""
        await compare(self._pair, on_problem, pace)

    @operation
    async def reindex(self, progress: Callable[[int], object] | None = None) -> Indexed:
        """See L{IMaintained.reindex}."""
        names = self._pair.names
        await finished(self._pair.restored(names))
        count = await finished(names.reindex(progress))
        return Indexed(count, names.damaged, names.unknown)


def _changed(system: System, changes: Mapping[str, str | None]) -> dict[str, str]:
    """What doors keep with an object, changed."""
    return {name: value for name, value in {**system, **changes}.items() if value is not None}


def _chosen(upload_id: str, parts: Sequence[Part], there: Sequence[Part]) -> list[Part]:
    """What an upload has of the parts that were named by the tags that we gave."""
    known = {part.number: part for part in there}
    chosen = []
    for part in parts:
        stored = known.get(part.number)
        if stored is None:
            raise InvalidPart(f"the upload {upload_id} has no part {part.number}")
        if visible(stored) != part.etag:
            raise InvalidPart(
                f"part {part.number} of the upload {upload_id} has the etag {visible(stored)}, not {part.etag[:100]}"
            )
        chosen.append(stored)
    return chosen


async def _told(parts: Iterable[Part]) -> list[Part]:
    """Parts as doors see them; there may be ten thousand."""
    found: list[Part] = []
    for part in parts:
        found.append(told(part))
        await breath()
    return found
