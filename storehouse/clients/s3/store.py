"""Buckets and objects of a server that speaks S3, as an object store."""

from __future__ import annotations

import hashlib
import os
from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping
from random import Random
from urllib.parse import parse_qsl, quote

import attrs
from twisted.internet.defer import gatherResults
from zope.interface import implementer

from storehouse.clients.s3.base import (
    HELD,
    Payload,
    check_bucket,
    check_current,
    check_key,
    condition_fields,
    source_field,
)
from storehouse.clients.s3.bodies import Taking, received
from storehouse.clients.s3.fields import (
    decoded_text,
    id_of,
    info_of,
    sent_fields,
    size_of,
    time_of,
)
from storehouse.clients.s3.refusals import expect, explain, read_answer
from storehouse.clients.s3.uploads import TRIES, Sending, Uploads
from storehouse.core.httpclient import RemoteClient, Response, range_header
from storehouse.core.jobs import Slots, deferred, started
from storehouse.core.s3 import MOST_PARTS, code_of, location, tag_of
from storehouse.core.sigv4 import Signer
from storehouse.core.streams import BytesStream, IByteStream, closing, cut
from storehouse.core.turns import Reactor, breath
from storehouse.core.xmltext import Node, document, element, text
from storehouse.errors import (
    InvalidName,
    InvalidRange,
    NoKeyToMatch,
    NoSuchKey,
    NotSupported,
    OffsetMismatch,
    PreconditionFailed,
    RemoteUnavailable,
    SizeMismatch,
    Unavailable,
)
from storehouse.storage.dataspace.interfaces import Part
from storehouse.storage.namespace.interfaces import Bucket
from storehouse.storage.objects.interfaces import (
    ALWAYS,
    Condition,
    IObjectStore,
    Listing,
    Metadata,
    ObjectInfo,
    ObjectReader,
    System,
    Usage,
    VersionListing,
)

__all__ = ["S3ObjectStore"]

#: Things of a page.
_PAGE = 1000

#: Objects of a page that are asked about at once.
_LOOKS = 16

#: Bytes that S3 copies at once, at most, and of a part that is copied.
_MOST_COPIED, _COPIED_PART = 5 << 30, 1 << 30

#: Parts of a body of unknown size after which parts are twice as large, and how large they become.
_GROWS_AFTER, _LARGEST_HELD = 1000, 64 << 20

_MIB = 1 << 20


@implementer(IObjectStore)
class S3ObjectStore(Uploads):
    """
    The buckets that an access key has at a server, as an L{IObjectStore}. What S3 has no way to say fails with
    C{NotSupported}; beside that it differs in this:

    - The ID of an object is that of its version; where there are no versions it is its etag, so that the same bytes stored
      anew have the same. Times are in whole seconds. After a C{put}, the time is that of the response.
    - Etags are the server's: MD5s, whether they are asked for or not.
    - What is cancelled, and what fails with C{RemoteUnavailable}, may have been done.
    - A page of a listing does not know media types, metadata and system metadata, unless C{details} is set.
    - C{metadata} is read when a body of known size and more than 1 MiB begins; if it is another in the end, nothing is stored.
    - What is damaged at the server fails with C{RemoteUnavailable}, and what came damaged with C{RemoteDamaged}.

    Requests that do no harm when they are repeated are, with pauses, when the server fails or the connection breaks; an
    object that is being read continues where it was.

    @param endpoint: the URL of the server; buckets are addressed by path.
    @param signer: has the credentials and the region.
    @param threshold: bytes; larger bodies are uploaded in parts, and so are those of unknown size that have more than
        C{part_size}.
    @param part_size: bytes of a part, at least 5 MiB; more where there would be more than 10,000. Parts of up to 64 MiB are
        held in memory while they are sent.
    @param in_flight: parts of a body that are sent at once.
    @param details: whether each object of a listing is asked about with a request of its own.
    @param is_extended: whether the server is known to have C{append} and C{rename}, as storehouse has: others take these for
        plain C{put}s, which replace what is there.
    @param checksum: the algorithm of the checksums that bodies are sent with: C{crc64nvme}, C{crc32c}, C{crc32}; empty for
        none, for servers that know none.
    @param timeout: how long the server may make no progress; times are in seconds.
    @param tries: how often a single request is sent, at most.
    @param pause: before the second try; doubled before each further one, unless the server says how long, and uneven.
    @param ca_file: certificate authorities to trust, in PEM; empty for those of the system.
    """

    def __init__(
        self,
        endpoint: str,
        signer: Signer,
        reactor: Reactor,
        *,
        threshold: int = 64 * _MIB,
        part_size: int = 8 * _MIB,
        in_flight: int = 3,
        details: bool = False,
        is_extended: bool = False,
        checksum: str = "crc64nvme",
        timeout: float = 60.0,
        connect_timeout: float = 20.0,
        tries: int = 5,
        pause: float = 0.5,
        ca_file: str = "",
    ) -> None:
        client = RemoteClient(reactor, Random(), timeout, connect_timeout, tries, pause, ca_file, explain)
        super().__init__(endpoint, signer, reactor, client, checksum)
        self._region = signer.region
        self._threshold = threshold
        self._part_size = part_size
        self._in_flight = in_flight
        self._details = details
        self._is_extended = is_extended

    # -- buckets -------------------------------------------------------------------------------

    @deferred
    async def create_bucket(
        self,
        name: str,
        metadata: Metadata | None = None,
        owner: str = "",
        configs: Mapping[str, bytes] | None = None,
    ) -> Bucket:
        """See L{IObjectStore}. It belongs to the owner of the access key."""
        check_bucket(name)
        if metadata or owner or configs:
            raise NotSupported("S3 keeps no metadata of a bucket, and its owner is the user who signs")
        response = await self.ask("PUT", name, data=location(self._region), is_idempotent=False)
        await expect(response, self.what(name))
        return await self._bucket(name)

    @deferred
    async def set_bucket_metadata(self, name: str, metadata: Metadata) -> Bucket:
        """Not S3's."""
        raise NotSupported("S3 keeps no metadata of a bucket")

    @deferred
    async def delete_bucket(self, name: str) -> None:
        """See L{IObjectStore}."""
        check_bucket(name)
        await expect(await self.ask("DELETE", name, is_idempotent=False), self.what(name))

    @deferred
    async def get_bucket(self, name: str) -> Bucket:
        """See L{IObjectStore}. The time is 0 for the bucket of somebody else."""
        check_bucket(name)
        return await self._bucket(name)

    async def _bucket(self, name: str) -> Bucket:
        response = await self.ask("HEAD", name)
        if response.status == 404:
            raise self.no_bucket(name)
        await expect(response, self.what(name))
        # Only the list has times. Servers that do not know the prefix list all.
        return next((each for each in await self._buckets(name) if each.name == name), Bucket(name, 0))

    @deferred
    async def list_buckets(self) -> list[Bucket]:
        """See L{IObjectStore}. Those that belong to the owner of the access key."""
        return await self._buckets("")

    async def _buckets(self, prefix: str) -> list[Bucket]:
        found: list[Bucket] = []
        query = {"max-buckets": str(_PAGE), **({"prefix": prefix} if prefix else {})}
        while True:
            root = await read_answer(await self.ask("GET", "", query=query), self.what(""))
            listed = root.child("Buckets")
            for each in [] if listed is None else listed.all("Bucket"):
                found.append(Bucket(each.text_of("Name"), time_of(each.value("CreationDate"))))
            token = root.value("ContinuationToken")
            if not token:
                return sorted(found, key=lambda bucket: bucket.name)
            query["continuation-token"] = token

    @deferred
    async def bucket_config(self, bucket: str, kind: str) -> bytes | None:
        """Not S3's, which has an operation and a document for each."""
        raise NotSupported("S3 has documents of its own for what is configured of a bucket")

    @deferred
    async def set_bucket_config(self, bucket: str, kind: str, data: bytes | None) -> None:
        """See L{bucket_config}."""
        raise NotSupported("S3 has documents of its own for what is configured of a bucket")

    # -- storing -------------------------------------------------------------------------------

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
        """
        See L{IObjectStore}. C{system} that is known in the end only is possible up to C{part_size} bytes.
        """
        async with closing(stream):
            check_bucket(bucket)
            check_key(key)
            self.check_running()
            # It may be empty only now.
            given = {} if metadata is None else metadata
            sent_fields(content_type, given, {} if callable(system) else system or {})
            if condition != ALWAYS and (size is None or size > HELD or (condition.absent and condition.etag)):
                await self.check_condition(bucket, key, condition)
            elif size is None and (await self.ask("HEAD", bucket)).status == 404:
                raise self.no_bucket(bucket)
            said = _Said(content_type, given, system or {})
            if size is None or callable(system) or size > self._threshold:
                return await self._put_gathered(bucket, key, Taking(stream), size, said, condition)
            payload = await self.payload_of(stream, size, said.check)
            return await self._put(bucket, key, said, condition, payload)

    async def _put(self, bucket: str, key: str, said: _Said, condition: Condition, payload: Payload) -> ObjectInfo:
        fields = {**said.begin(), **condition_fields(condition)}
        response = await self.store(bucket, key, {}, fields, payload, condition == ALWAYS)
        if response.status != 200:
            raise await self.failure(response, bucket, key, condition)
        etag = tag_of(response)
        moment = time_of(response.header("date"))
        return said.info(key, id_of(response, etag), payload.size, etag, moment)

    async def _put_gathered(
        self, bucket: str, key: str, taking: Taking, size: int | None, said: _Said, condition: Condition
    ) -> ObjectInfo:
        """Store what goes in parts, unless it turns out to be small."""
        part_size = self._part_size
        if size is not None and size > part_size * MOST_PARTS:
            part_size = -(-size // MOST_PARTS // _MIB) * _MIB
            if part_size * MOST_PARTS < size:
                part_size += _MIB
        first = await taking.take(min(part_size, _LARGEST_HELD) + 1)
        if len(first) <= min(part_size, _LARGEST_HELD):
            if size is not None and len(first) != size:
                raise SizeMismatch(f"the body has {len(first)} bytes; {size} were announced")
            return await self._put(bucket, key, said, condition, Payload(len(first), first))
        if not said.is_known:
            raise NotSupported(f"S3 needs the metadata of an object of more than {part_size} bytes before its body")
        taking.push_back(first)
        total = 0

        async def parts(sending: Sending) -> None:
            nonlocal total
            wanted = part_size
            while True:
                if size is None and sending.number > 1 and sending.number % _GROWS_AFTER == 1:
                    wanted = min(wanted * 2, _LARGEST_HELD)
                if size is not None and wanted > _LARGEST_HELD:
                    length = min(wanted, size - total)
                    if not length:
                        break
                    # Too much to be held: one after the other, as they are read.
                    await sending.send(Payload(length, b"", taking.stream(length)))
                    await sending.settle()
                    total += length
                    continue
                data = await taking.take(wanted)
                if not data:
                    break
                total += len(data)
                if size is not None and total > size:
                    break
                await sending.send(Payload(len(data), data))
            if size is not None and (total != size or await taking.take(1)):
                raise SizeMismatch(f"the body has another size than the {size} bytes that were announced")

        fields = said.begin()
        etag = await self.put_in_parts(bucket, key, fields, condition, said.check, parts, self._in_flight)
        response = await self.ask("HEAD", bucket, key)
        if response.status == 200 and etag in ("", tag_of(response)):
            etag = tag_of(response)
            return said.info(key, id_of(response, etag), total, etag, time_of(response.header("last-modified")))
        return said.info(key, etag, total, etag, 0)

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
        """
        See L{IObjectStore}. For servers that are known to be able to. Of unknown size up to C{part_size} bytes can be added; what is kept with the object
        stays as it is.
        """
        async with closing(stream):
            check_bucket(bucket)
            check_key(key)
            self.check_running()
            self._check_extended()
            if note is not None or system is not None:
                raise NotSupported("S3 keeps what it has kept with an object to which bytes are added")
            said = _Said(content_type, {} if metadata is None else metadata, {})
            said.begin()
            there = await self._end(bucket, key, offset, condition)
            if size is None:
                data = await Taking(stream).take(self._part_size + 1)
                if len(data) > self._part_size:
                    raise NotSupported("S3 must know beforehand how many bytes are added, unless they are few")
                payload = Payload(len(data), data)
            else:
                payload = await self.payload_of(stream, size, said.check)
            # They are added to what was looked at.
            pinned = Condition(absent=True) if there is None else Condition(etag=there.etag)
            fields = {**said.begin(), **condition_fields(pinned), "x-amz-write-offset-bytes": str(offset)}
            response = await self.store(bucket, key, {}, fields, payload, False)
            if response.status != 200:
                error = await self.failure(response, bucket, key)
                is_moved = isinstance(error, (PreconditionFailed, NoSuchKey))
                if is_moved or await code_of(response) == "InvalidWriteOffset":
                    await self._end(bucket, key, offset, condition)
                    raise Unavailable(f"{self.what(bucket, key)} was replaced meanwhile: look at it, and try again")
                raise error
            etag = tag_of(response)
            id, moment = id_of(response, etag), time_of(response.header("date"))
            if there is None:
                return said.info(key, id, payload.size, etag, moment)
            return attrs.evolve(there, id=id, size=offset + payload.size, etag=etag, created=moment)

    async def _end(self, bucket: str, key: str, offset: int, condition: Condition) -> ObjectInfo | None:
        """
        The object to which bytes are added; C{None} for a new one.

        @raise OffsetMismatch: if it does not end at C{offset}.
        """
        try:
            there: ObjectInfo | None = await self.head_object(bucket, key, condition)
        except NoKeyToMatch:
            raise
        except NoSuchKey:
            there = None
        if there is not None:
            self.check_holds(condition, there)
        size = 0 if there is None else there.size
        if size != offset:
            raise OffsetMismatch(size, offset)
        return there

    def _check_extended(self) -> None:
        if not self._is_extended:
            raise NotSupported(
                "not all servers of S3 can do that, and this one is not known to: is_extended is not set"
            )

    # -- reading -------------------------------------------------------------------------------

    @deferred
    async def head(self, bucket: str, key: str, version: str | None = None) -> ObjectInfo:
        """See L{IObjectStore}."""
        check_current(version)
        check_bucket(bucket)
        check_key(key)
        return await self.head_object(bucket, key)

    @deferred
    async def get(
        self, bucket: str, key: str, offset: int = 0, length: int | None = None, version: str | None = None
    ) -> ObjectReader:
        """See L{IObjectStore}. If the object is replaced, and then the connection breaks, a read fails."""
        check_current(version)
        check_bucket(bucket)
        check_key(key)
        self.check_running()
        if offset < 0 or (length is not None and length <= 0):
            return await self._nothing(bucket, key, offset, length)
        headers = {**range_header(offset, length), "x-amz-checksum-mode": "ENABLED"}
        url = self._requests.url(bucket, key)
        response, stream = await self._requests.open(url, headers)
        if stream is None:
            if response.status == 416:
                return await self._nothing(bucket, key, offset, length)
            raise await self.failure(response, bucket, key)
        try:
            size = size_of(response)
            end = size if length is None else offset + length
            if end > size or offset > size:
                raise InvalidRange(offset, length, size)
            info = info_of(key, response, size, await self.tags_of(bucket, key, response))
        except BaseException:
            await stream.close()
            raise
        wanted = end - offset
        if response.status == 200 and (offset, wanted) != (0, size):
            # The server does not know ranges.
            return ObjectReader(info, offset, wanted, cut(stream, offset, wanted))

        async def reopen(done: int) -> IByteStream:
            return await self._reopen(bucket, key, info.etag, offset + done, wanted - done)

        checksum = _checksum_of(response) if wanted == size else None
        again = reopen if info.etag else None
        body = received(stream, wanted, again, self._client.tries, checksum, self.what(bucket, key))
        return ObjectReader(info, offset, wanted, body)

    async def _nothing(self, bucket: str, key: str, offset: int, length: int | None) -> ObjectReader:
        """No bytes, where there is a place for them."""
        info = await self.head_object(bucket, key)
        if offset < 0 or (length or 0) != 0 or offset > info.size or (length is None and offset < info.size):
            raise InvalidRange(offset, length, info.size)
        return ObjectReader(info, offset, 0, BytesStream())

    async def _reopen(self, bucket: str, key: str, etag: str, offset: int, length: int) -> IByteStream:
        headers = {**range_header(offset, length), "if-match": f'"{etag}"'}
        response, stream = await self._requests.open(self._requests.url(bucket, key), headers)
        if stream is None:
            error = await self.failure(response, bucket, key)
            raise RemoteUnavailable(f"the object was replaced, or removed, while it was read: {error.detail}") from None
        if response.status == 206:
            return stream
        return cut(stream, offset, length)

    # -- removing and copying ------------------------------------------------------------------

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
        """
        See L{IObjectStore}. What is removed is what was looked at before; where the server does not know conditions for
        that, it may be what replaced it. That is returned also where the server adds a delete marker.
        """
        check_current(version)
        check_bucket(bucket)
        check_key(key)
        if mark_missing or system:
            raise NotSupported("this client adds no delete markers by itself")
        for left in reversed(range(TRIES)):
            info = await self.head_object(bucket, key, condition)
            self.check_holds(condition, info)
            fields = condition_fields(Condition(etag=info.etag)) if left or condition != ALWAYS else {}
            response = await self.ask("DELETE", bucket, key, headers=fields)
            if response.status == 501 and condition == ALWAYS:
                response = await self.ask("DELETE", bucket, key)
            if response.status in (200, 204):
                return info
            error = await self.failure(response, bucket, key, condition)
            if not isinstance(error, PreconditionFailed) or isinstance(error, NoKeyToMatch):
                raise error
        raise Unavailable(f"{self.what(bucket, key)} is replaced too often to be removed now: try again")

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
        """See L{IObjectStore}. Of more than 5 GiB it is copied in parts, and has another etag."""
        check_current(source_version)
        check_bucket(bucket)
        check_bucket(source_bucket)
        check_key(key)
        check_key(source_key)
        for _ in range(TRIES):
            try:
                source = await self.head_object(source_bucket, source_key)
            except NoSuchKey:
                await self._bucket(bucket)
                raise
            self.check_holds(source_condition, source)
            if condition.absent and condition.etag is not None:
                await self.check_condition(bucket, key, condition)
            said = _Said(
                source.content_type if content_type is None else content_type,
                source.metadata if metadata is None else metadata,
                source.system if system is None else system,
            )
            # A copy onto itself must say what it changes, though that is nothing.
            is_same = (content_type, metadata, system) == (None, None, None) and (bucket, key) != (
                source_bucket,
                source_key,
            )
            kept = said.begin()
            if source.size > _MOST_COPIED:
                return await self._copy_in_parts(bucket, key, source_bucket, source, said, condition)
            fields = {
                "x-amz-copy-source": source_field(source_bucket, source_key),
                # What is copied is what was looked at.
                "x-amz-copy-source-if-match": f'"{source.etag}"',
                "x-amz-metadata-directive": "COPY" if is_same else "REPLACE",
                "x-amz-tagging-directive": "COPY" if is_same else "REPLACE",
                **condition_fields(condition),
                **({} if is_same else kept),
            }
            if "storage-class" in said.begun:
                fields["x-amz-storage-class"] = said.begun["storage-class"]
            response = await self.ask("PUT", bucket, key, headers=fields, is_idempotent=condition == ALWAYS)
            if response.status == 412 and (condition == ALWAYS or await self._is_replaced(source_bucket, source)):
                continue
            if response.status != 200:
                raise await self.failure(response, bucket, key, condition)
            root = await read_answer(response, self.what(bucket, key))
            etag = root.value("ETag").strip('"')
            return said.info(key, id_of(response, etag), source.size, etag, time_of(root.value("LastModified")))
        raise Unavailable(f"{self.what(source_bucket, source_key)} is replaced too often to be copied now: try again")

    async def _is_replaced(self, bucket: str, source: ObjectInfo) -> bool:
        return (await self.head_object(bucket, source.key)).etag != source.etag

    async def _copy_in_parts(
        self,
        bucket: str,
        key: str,
        source_bucket: str,
        source: ObjectInfo,
        said: _Said,
        condition: Condition,
    ) -> ObjectInfo:
        async def parts(sending: Sending) -> None:
            for offset in range(0, source.size, _COPIED_PART):
                await sending.copy(source_bucket, source, offset, min(_COPIED_PART, source.size - offset))

        await self.put_in_parts(bucket, key, said.begin(), condition, said.check, parts, self._in_flight)
        return await self.head_object(bucket, key)

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
        """See L{IObjectStore}. For servers that are known to be able to."""
        check_bucket(bucket)
        check_key(key)
        check_key(new_key)
        self._check_extended()
        if changes:
            raise NotSupported("S3 keeps what it has kept with an object that is renamed")
        source = await self.head_object(bucket, key, source_condition)
        self.check_holds(source_condition, source)
        if condition.absent and condition.etag is not None:
            await self.check_condition(bucket, new_key, condition)
        fields = {
            "x-amz-rename-source": quote(key, safe="-_.~/"),
            # By this the server knows a request that is sent again.
            "x-amz-client-token": os.urandom(16).hex(),
            **condition_fields(condition),
        }
        if source_condition != ALWAYS:
            fields["x-amz-rename-source-if-match"] = f'"{source.etag}"'
        response = await self.ask("PUT", bucket, new_key, {"renameObject": ""}, fields)
        if response.status != 200:
            raise await self.failure(response, bucket, new_key, condition)
        return await self.head_object(bucket, new_key)

    @deferred
    async def set_system(
        self,
        bucket: str,
        key: str,
        changes: Mapping[str, str | None],
        condition: Condition = ALWAYS,
        version: str | None = None,
    ) -> ObjectInfo:
        """See L{IObjectStore}. Tags can be changed, without a condition; for all else S3 stores an object anew."""
        check_current(version)
        check_bucket(bucket)
        check_key(key)
        if set(changes) != {"tagging"} or condition != ALWAYS:
            raise NotSupported(
                "of an object that is stored S3 changes nothing but all of its tags, without a condition"
            )
        tagging = changes["tagging"] or ""
        pairs = parse_qsl(tagging, keep_blank_values=True)
        if tagging and not pairs:
            raise InvalidName(f"these are no tags: {tagging[:200]!r}")
        if pairs:
            tags = (element("Tag", text("Key", name), text("Value", value)) for name, value in pairs)
            data = document("Tagging", element("TagSet", *tags))
            response = await self.ask("PUT", bucket, key, {"tagging": ""}, {"content-md5": _md5_of(data)}, data)
        else:
            response = await self.ask("DELETE", bucket, key, {"tagging": ""})
        if not 200 <= response.status < 300:
            raise await self.failure(response, bucket, key)
        return await self.head_object(bucket, key)

    # -- listings ------------------------------------------------------------------------------

    @deferred
    async def list_objects(
        self, bucket: str, prefix: str = "", delimiter: str = "", after: str = "", limit: int = 1000
    ) -> Listing:
        """See L{IObjectStore}."""
        check_bucket(bucket)
        if limit < 0:
            raise InvalidName(f"a page cannot have {limit} keys")
        objects: list[ObjectInfo] = []
        prefixes: list[str] = []
        last: str | None = None
        more = False
        async for page in _Pages(self, bucket, prefix, delimiter, after, limit):
            if not limit:
                break
            # The common prefix that was the last of the page before is asked for once more by some servers, and not by others.
            items = [each for each in page.items if isinstance(each, ObjectInfo) or each != after]
            room = limit - len(objects) - len(prefixes)
            for item in items[:room]:
                if isinstance(item, ObjectInfo):
                    objects.append(item)
                    last = item.key
                else:
                    prefixes.append(item)
                    last = item
            more = page.is_truncated or len(items) > room
            if len(items) >= room:
                break
            await breath()
        if self._details:
            objects = await self._looked_at(bucket, objects)
        return Listing(objects, prefixes, last if more else None)

    async def _looked_at(self, bucket: str, objects: list[ObjectInfo]) -> list[ObjectInfo]:
        slots = Slots(_LOOKS)

        async def look(info: ObjectInfo) -> ObjectInfo | None:
            async with slots:
                try:
                    return await self.head_object(bucket, info.key)
                except NoSuchKey:
                    return None

        found = await gatherResults([started(look(info)) for info in objects], consumeErrors=True)
        return [info for info in found if info is not None]

    @deferred
    async def list_keys(self, bucket: str, prefix: str = "", after: str = "", limit: int = 1000) -> list[str]:
        """See L{IObjectStore}."""
        check_bucket(bucket)
        found: list[str] = []
        async for page in _Pages(self, bucket, prefix, "", after, limit):
            found += [item.key for item in page.items if isinstance(item, ObjectInfo)]
            if len(found) >= limit:
                break
            await breath()
        return found[:limit]

    @deferred
    async def set_versioning(self, bucket: str, state: str) -> Bucket:
        """Not supported: this client does not reach versions."""
        raise NotSupported("this client does not reach the versions of a bucket")

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
        """Not supported: this client does not reach versions."""
        raise NotSupported("this client does not reach the versions of a bucket")

    @deferred
    async def usage(self, bucket: str) -> Usage:
        """See L{IObjectStore}. All keys are listed, a request for each thousand; older versions are not counted."""
        check_bucket(bucket)
        count = size = 0
        async for page in _Pages(self, bucket, "", "", "", None):
            count += len(page.items)
            size += sum(item.size for item in page.items if isinstance(item, ObjectInfo))
            await breath()
        return Usage(count, size)

    @deferred
    async def list_object_parts(self, bucket: str, key: str, version: str | None = None) -> list[Part]:
        """See L{IObjectStore}. Of parts of objects S3 knows the numbers and sizes: the etags are empty."""
        check_current(version)
        check_bucket(bucket)
        check_key(key)
        found: list[Part] = []
        marker = "0"
        while True:
            headers = {
                "x-amz-object-attributes": "ObjectParts",
                "x-amz-max-parts": str(_PAGE),
                "x-amz-part-number-marker": marker,
            }
            response = await self.ask("GET", bucket, key, {"attributes": ""}, headers)
            if response.status != 200:
                raise await self.failure(response, bucket, key)
            root = (await read_answer(response, self.what(bucket, key))).child("ObjectParts")
            if root is None:
                return []
            page = [Part(int(each.value("PartNumber")), "", int(each.value("Size", "0"))) for each in root.all("Part")]
            found += page
            if not page and root.value("PartsCount", "0") != "0":
                raise NotSupported(f"the server does not tell the parts of {self.what(bucket, key)}")
            if root.value("IsTruncated") != "true" or not page:
                return found
            marker = str(page[-1].number)


class _Said:
    """
    What is to be kept of an object beside its bytes.

    @ivar begun: the system metadata that were sent.
    """

    def __init__(self, content_type: str, metadata: Metadata, system: System | Callable[[], System]) -> None:
        self._content_type = content_type
        self._metadata = metadata
        self._system = system
        self._sent: dict[str, str] = {}
        self._kept: dict[str, list[str]] = {}
        self.begun: System = {} if callable(system) else system

    @property
    def is_known(self) -> bool:
        """Whether all of it is known before the bytes are."""
        return not callable(self._system)

    def begin(self) -> dict[str, str]:
        """The header fields, of what is known now."""
        if callable(self._system):
            self.begun = self._system()
        self._kept = {name: list(values) for name, values in self._metadata.items()}
        self._sent = sent_fields(self._content_type, self._kept, self.begun)
        return self._sent

    def check(self) -> None:
        """@raise NotSupported: if the fields have changed since they were sent: S3 cannot change them afterwards."""
        if {name: list(values) for name, values in self._metadata.items()} != self._kept:
            raise NotSupported("S3 must know the metadata of a large object before its bytes")

    def info(self, key: str, id: str, size: int, etag: str, created: int) -> ObjectInfo:
        """What is known of the object that was stored."""
        return ObjectInfo(key, id, size, etag, created, self._content_type, self._kept, dict(self.begun))


# -- listings --------------------------------------------------------------------------------------


@attrs.frozen
class _Page:
    """
    @ivar items: objects and common prefixes, in order.
    """

    items: list[ObjectInfo | str]
    is_truncated: bool


class _Pages:
    """The pages of a listing, of which C{limit} items are wanted; C{None} for all."""

    def __init__(
        self, store: S3ObjectStore, bucket: str, prefix: str, delimiter: str, after: str, limit: int | None
    ) -> None:
        self._store = store
        self._bucket = bucket
        # One more, since the first may be the common prefix after which the page begins.
        spare = 1 if delimiter and after else 0
        self._query = {
            "list-type": "2",
            "encoding-type": "url",
            "max-keys": str(_PAGE if limit is None else min(_PAGE, limit + spare)),
        }
        for name, value in (("prefix", prefix), ("delimiter", delimiter), ("start-after", after)):
            if value:
                _check_text(value)
                self._query[name] = value
        self._has_ended = False

    def __aiter__(self) -> _Pages:
        return self

    async def __anext__(self) -> _Page:
        if self._has_ended:
            raise StopAsyncIteration
        response = await self._store.ask("GET", self._bucket, query=self._query)
        root = await read_answer(response, self._store.what(self._bucket))
        token = root.text_of("NextContinuationToken")
        is_truncated = root.value("IsTruncated") == "true" and bool(token)
        self._has_ended = not is_truncated
        self._query["continuation-token"] = token
        self._query.pop("start-after", None)
        return _Page(sorted(_items_of(root), key=_place), is_truncated)


def _check_text(value: str) -> None:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidName("what is listed is named by text, without halves of surrogate pairs") from None


def _place(item: ObjectInfo | str) -> bytes:
    return (item.key if isinstance(item, ObjectInfo) else item).encode("utf-8", "replace")


def _items_of(root: Node) -> Iterable[ObjectInfo | str]:
    for each in root.all("Contents"):
        etag = each.value("ETag").strip('"')
        key = decoded_text(each.text_of("Key"), root)
        yield ObjectInfo(key, etag, int(each.value("Size", "0")), etag, time_of(each.value("LastModified")), "", {})
    for each in root.all("CommonPrefixes"):
        yield decoded_text(each.text_of("Prefix"), root)


def _md5_of(data: bytes) -> str:
    return b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode("ascii")


def _checksum_of(response: Response) -> tuple[str, str] | None:
    """The checksum of a whole object: its algorithm in lower case, and its value."""
    if response.header("x-amz-checksum-type") == "COMPOSITE":
        return None
    for name in ("crc64nvme", "crc32c", "crc32", "sha256", "sha1", "sha512", "md5", "xxhash64", "xxhash3", "xxhash128"):
        value = response.header(f"x-amz-checksum-{name}")
        # Of older servers, a composite one says nothing of its type.
        if value and "-" not in value:
            return name, value
    return None
