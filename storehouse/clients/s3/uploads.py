"""Uploads in parts."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from storehouse.clients.s3.base import (
    Base,
    Payload,
    check_bucket,
    check_current,
    check_key,
    condition_fields,
    source_field,
)
from storehouse.clients.s3.bodies import Taking
from storehouse.clients.s3.fields import decoded_text, seconds_of, sent_fields, time_of
from storehouse.clients.s3.refusals import read_answer
from storehouse.core.httpclient import RemoteClient, Response, range_header
from storehouse.core.jobs import Slots, deferred, started
from storehouse.core.s3 import MOST_PARTS, completion, tag_of
from storehouse.core.sigv4 import Signer
from storehouse.core.streams import IByteStream, closing
from storehouse.core.turns import Reactor
from storehouse.core.xmltext import Node
from storehouse.errors import (
    InvalidPart,
    InvalidRange,
    NoKeyToMatch,
    NoSuchBucket,
    NoSuchKey,
    NoSuchUpload,
    NotSupported,
    PreconditionFailed,
    RemoteUnavailable,
    StorehouseError,
    TooLarge,
    Unavailable,
)
from storehouse.storage.dataspace.interfaces import Part, Reader
from storehouse.storage.objects.interfaces import ALWAYS, Condition, Metadata, ObjectInfo, OpenUpload, System

__all__ = ["TRIES", "Sending", "Uploads"]

#: How often something is looked at that is replaced meanwhile.
TRIES = 8

#: Things of a page.
_PAGE = 1000

#: Bytes of a part of unknown size, which is held until its size is known, at most.
_MOST_UNKNOWN = 64 << 20

_log = Logger()


class Uploads(Base):
    """Uploads in parts, of those who call, and of objects that are larger than goes at once."""

    def __init__(self, endpoint: str, signer: Signer, reactor: Reactor, client: RemoteClient, checksum: str) -> None:
        super().__init__(endpoint, signer, reactor, client, checksum)
        self._aborting: set[Deferred[None]] = set()

    def stop(self) -> Deferred[None]:
        """See L{Base.stop}. Uploads of ours that are being aborted may be left open."""
        for each in tuple(self._aborting):
            each.cancel()
        return super().stop()

    # -- methods of IObjectStore ---------------------------------------------------------------

    @deferred
    async def begin_upload(
        self,
        bucket: str,
        key: str,
        content_type: str = "",
        metadata: Metadata | None = None,
        system: System | None = None,
    ) -> str:
        """See L{IObjectStore<storehouse.storage.objects.interfaces.IObjectStore>}."""
        check_bucket(bucket)
        check_key(key)
        return await self.begin(bucket, key, sent_fields(content_type, metadata or {}, system or {}))

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
        """
        See L{IObjectStore<storehouse.storage.objects.interfaces.IObjectStore>}. Numbers go to 10,000, and there are no notes. A
        part of unknown size is held until its size is known, and has at most 64 MiB.
        """
        async with closing(stream):
            self.check_running()
            _check_place(bucket, key, upload_id, number)
            if note is not None or instead_of:
                raise NotSupported("S3 keeps no notes of parts, and has none in place of others")
            if size is None:
                data = await Taking(stream).take(_MOST_UNKNOWN + 1)
                if len(data) > _MOST_UNKNOWN:
                    raise NotSupported("S3 must know the size of a part beforehand, unless it is small")
                payload = Payload(len(data), data)
            else:
                payload = await self.payload_of(stream, size, lambda: None)
            return await self.send_part(bucket, key, upload_id, number, payload)

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
        """See L{IObjectStore<storehouse.storage.objects.interfaces.IObjectStore>}. There are no notes."""
        _check_place(bucket, key, upload_id, number)
        check_bucket(source_bucket)
        check_key(source_key)
        check_current(source_version)
        if note:
            raise NotSupported("S3 keeps no notes of parts")
        for _ in range(TRIES):
            info = await self.head_object(source_bucket, source_key, source_condition)
            self.check_holds(source_condition, info)
            wanted = info.size - offset if length is None else length
            if offset < 0 or wanted < 0 or offset + wanted > info.size:
                raise InvalidRange(offset, length, info.size)
            if not wanted:
                return await self.send_part(bucket, key, upload_id, number, Payload(0))
            try:
                return await self.copy_part(bucket, key, upload_id, number, source_bucket, info, offset, wanted)
            except PreconditionFailed:
                continue  # it was replaced since it was looked at
        raise Unavailable(f"{self.what(source_bucket, source_key)} is replaced too often to be copied now: try again")

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
        """
        See L{IObjectStore<storehouse.storage.objects.interfaces.IObjectStore>}. The object has the key and the metadata that the
        upload was begun with. If it is replaced at once, its etag is all that is known, and the sizes that C{parts} have.
        """
        _check_upload(bucket, key, upload_id)
        if as_key not in (None, key) or metadata is not None or system is not None:
            raise NotSupported("S3 makes an upload the object of its own key, with what it was begun with")
        for part in parts:
            _check_number(part.number)
        if not parts:
            raise InvalidPart("an upload is completed with one part at least")
        if condition.absent and condition.etag is not None:
            await self.check_condition(bucket, key, condition)
        etag = await self.complete(bucket, key, upload_id, [(part.number, part.etag) for part in parts], condition)
        try:
            info: ObjectInfo | None = await self.head_object(bucket, key)
        except NoSuchKey:
            info = None
        if info is None or (etag and info.etag != etag):
            # It was replaced or removed before it could be looked at.
            return ObjectInfo(key, etag, sum(part.size for part in parts), etag, 0, "", {})
        return info

    @deferred
    async def abort_upload(self, bucket: str, key: str, upload_id: str) -> None:
        """See L{IObjectStore<storehouse.storage.objects.interfaces.IObjectStore>}."""
        _check_upload(bucket, key, upload_id)
        response = await self.ask("DELETE", bucket, key, {"uploadId": upload_id})
        if response.status not in (200, 204):
            raise await self._refusal(response, bucket, key)

    @deferred
    async def list_parts(
        self, bucket: str, key: str, upload_id: str, after: int = 0, limit: int | None = None
    ) -> list[Part]:
        """See L{IObjectStore<storehouse.storage.objects.interfaces.IObjectStore>}. There are no notes."""
        _check_upload(bucket, key, upload_id)
        found: list[Part] = []
        while True:
            wanted = _PAGE if limit is None else min(_PAGE, limit - len(found))
            query = {"uploadId": upload_id, "max-parts": str(wanted), "part-number-marker": str(after)}
            response = await self.ask("GET", bucket, key, query)
            if response.status != 200:
                raise await self._refusal(response, bucket, key)
            root = await read_answer(response, self.what(bucket, key))
            page = [_part_of(each) for each in root.all("Part")]
            found += page
            if root.value("IsTruncated") != "true" or not page or (limit is not None and len(found) >= limit):
                return found
            after = page[-1].number

    @deferred
    async def list_uploads(
        self,
        bucket: str,
        prefix: str = "",
        key_after: str = "",
        upload_after: str = "",
        limit: int | None = None,
    ) -> list[OpenUpload]:
        """
        See L{IObjectStore<storehouse.storage.objects.interfaces.IObjectStore>}. What objects the uploads become is not known: no
        media types, metadata and system metadata.
        """
        check_bucket(bucket)
        for text in (prefix, key_after):
            if text:
                check_key(text)
        found: list[OpenUpload] = []
        while True:
            wanted = _PAGE if limit is None else min(_PAGE, limit - len(found))
            query = {"uploads": "", "encoding-type": "url", "max-uploads": str(wanted)}
            query |= {
                name: value
                for name, value in (("prefix", prefix), ("key-marker", key_after), ("upload-id-marker", upload_after))
                if value and (key_after or name == "prefix")
            }
            root = await read_answer(await self.ask("GET", bucket, "", query), self.what(bucket))
            page = [_upload_of(bucket, each, root) for each in root.all("Upload")]
            found += page
            if root.value("IsTruncated") != "true" or not page or (limit is not None and len(found) >= limit):
                return found
            key_after, upload_after = page[-1].key, page[-1].upload_id

    @deferred
    async def get_upload(self, bucket: str, key: str, upload_id: str) -> OpenUpload:
        """See L{list_uploads}."""
        _check_upload(bucket, key, upload_id)
        key_after = upload_after = ""
        while page := await self.list_uploads(bucket, key, key_after, upload_after, _PAGE):
            for upload in page:
                if (upload.key, upload.upload_id) == (key, upload_id):
                    return upload
            key_after, upload_after = page[-1].key, page[-1].upload_id
            if key_after != key:
                break
        raise NoSuchUpload(f"there is no upload {upload_id[:100]!r} of {self.what(bucket, key)}")

    @deferred
    async def upload_part_link(
        self, bucket: str, key: str, upload_id: str, number: int, source_upload_id: str, source_numbers: Sequence[int]
    ) -> list[str]:
        """Not S3's."""
        raise NotSupported("S3 has no parts in two uploads")

    @deferred
    async def get_part(self, bucket: str, key: str, upload_id: str, number: int) -> Reader:
        """Not S3's."""
        raise NotSupported("S3 gives back no parts of an upload before it is completed")

    # -- single requests -----------------------------------------------------------------------

    async def begin(self, bucket: str, key: str, fields: dict[str, str]) -> str:
        """@param fields: what the object is stored with. @return: the upload ID."""
        # The checksum is that of the whole object, so that it can be compared with what is read later.
        if self._checksum:
            said = {"x-amz-checksum-algorithm": self._checksum.upper(), "x-amz-checksum-type": "FULL_OBJECT"}
            fields = {**fields, **said}
        response = await self.ask("POST", bucket, key, {"uploads": ""}, fields)
        root = await read_answer(response, self.what(bucket, key))
        upload_id = root.text_of("UploadId")
        if not upload_id:
            raise RemoteUnavailable(f"{self.what(bucket, key)}: an upload was begun without an upload ID")
        return upload_id

    async def send_part(self, bucket: str, key: str, upload_id: str, number: int, payload: Payload) -> str:
        """@return: the etag."""
        query = {"partNumber": str(number), "uploadId": upload_id}
        response = await self.store(bucket, key, query, {}, payload, True)
        if response.status != 200:
            raise await self._refusal(response, bucket, key)
        return tag_of(response)

    async def copy_part(
        self,
        bucket: str,
        key: str,
        upload_id: str,
        number: int,
        source_bucket: str,
        source: ObjectInfo,
        offset: int,
        length: int,
    ) -> str:
        """@return: the etag of a range of what was looked at before."""
        headers = {
            "x-amz-copy-source": source_field(source_bucket, source.key),
            "x-amz-copy-source-if-match": f'"{source.etag}"',
        }
        if (offset, length) != (0, source.size):
            headers["x-amz-copy-source-range"] = range_header(offset, length)["range"]
        query = {"partNumber": str(number), "uploadId": upload_id}
        response = await self.ask("PUT", bucket, key, query, headers)
        if response.status != 200:
            raise await self._refusal(response, bucket, key)
        root = await read_answer(response, self.what(bucket, key))
        return root.value("ETag").strip('"')

    async def complete(
        self, bucket: str, key: str, upload_id: str, parts: Sequence[tuple[int, str]], condition: Condition
    ) -> str:
        """@return: the etag of the object; empty if the server does not tell, as some do."""
        headers = {"content-type": "application/xml", **condition_fields(condition)}
        # With a condition, what a lost response told cannot be found out by asking again.
        is_idempotent = condition == ALWAYS
        body = completion(parts)
        response = await self.ask("POST", bucket, key, {"uploadId": upload_id}, headers, body, is_idempotent)
        if response.status != 200:
            raise await self._refusal(response, bucket, key, condition)
        root = await read_answer(response, self.what(bucket, key))
        return root.value("ETag").strip('"')

    async def _refusal(
        self, response: Response, bucket: str, key: str, condition: Condition = ALWAYS
    ) -> StorehouseError:
        """The error that a response about an upload says: it is gone if its bucket is, and some servers say so of its key."""
        error = await self.failure(response, bucket, key, condition)
        is_gone = isinstance(error, (NoSuchBucket, NoSuchKey)) and not isinstance(error, NoKeyToMatch)
        return NoSuchUpload(error.detail) if is_gone else error

    # -- objects that are stored in parts ------------------------------------------------------

    async def put_in_parts(
        self,
        bucket: str,
        key: str,
        fields: dict[str, str],
        condition: Condition,
        at_end: Callable[[], object],
        parts: Callable[[Sending], Coroutine[object, object, None]],
        in_flight: int,
    ) -> str:
        """
        Store an object in parts; an upload that fails is aborted.

        @param parts: sends them all.
        @param at_end: called before the upload is completed, which it is not if it raises.
        @return: the etag; empty if the server does not tell.
        """
        upload_id = await self.begin(bucket, key, fields)
        sending = Sending(self, bucket, key, upload_id, in_flight)
        try:
            try:
                await parts(sending)
                done = await sending.finish()
            finally:
                sending.cancel()
            at_end()
            return await self.complete(bucket, key, upload_id, done, condition)
        except BaseException:
            # It does not wait for another request: the failure may be that there is no server.
            aborting = self.abort_upload(bucket, key, upload_id)
            self._aborting.add(aborting)
            aborting.addErrback(
                lambda failure: _log.warn(
                    "an upload of {key} is left open: {reason}", key=key, reason=failure.getErrorMessage()
                )
            ).addBoth(lambda _: self._aborting.discard(aborting))
            raise


class Sending:
    """
    Parts on their way, some at a time.

    @ivar number: of the next part.
    """

    def __init__(self, uploads: Uploads, bucket: str, key: str, upload_id: str, in_flight: int) -> None:
        self.number = 1
        self._uploads = uploads
        self._place = bucket, key, upload_id
        self._slots = Slots(in_flight)
        self._going: list[Deferred[tuple[int, str]]] = []
        self._error: BaseException | None = None

    async def send(self, payload: Payload) -> None:
        """Send a part; returns when there is room for another one in memory."""
        number = self._begun()
        await self._start(number, lambda: self._uploads.send_part(*self._place, number, payload))

    async def copy(self, source_bucket: str, source: ObjectInfo, offset: int, length: int) -> None:
        """Have the server copy a range as a part."""
        number = self._begun()
        await self._start(
            number,
            lambda: self._uploads.copy_part(*self._place, number, source_bucket, source, offset, length),
        )

    def _begun(self) -> int:
        if self.number > MOST_PARTS:
            raise TooLarge(f"the body has more than {MOST_PARTS} parts")
        self.number += 1
        return self.number - 1

    async def _start(self, number: int, send: Callable[[], Coroutine[object, object, str]]) -> None:
        await self._slots.enter()
        if self._error is not None:
            self._slots.leave()
            raise self._error

        async def sent() -> tuple[int, str]:
            try:
                return number, await send()
            except BaseException as error:
                self._error = self._error or error
                raise
            finally:
                self._slots.leave()

        self._going.append(started(sent()))

    async def settle(self) -> None:
        """Wait for the part that was begun last."""
        if self._going:
            self._going[-1] = succeed(await self._going[-1])

    async def finish(self) -> list[tuple[int, str]]:
        """Wait for all of them. @return: numbers and etags."""
        return [await each for each in self._going]

    def cancel(self) -> None:
        """End those that have not ended."""
        for each in self._going:
            each.addErrback(lambda failure: None)
            each.cancel()


def _check_upload(bucket: str, key: str, upload_id: str) -> None:
    check_bucket(bucket)
    check_key(key)
    try:
        size = len(upload_id.encode())
    except UnicodeEncodeError:
        size = 0
    if not 0 < size <= 1024:
        raise NoSuchUpload("an upload ID has 1 to 1024 bytes of UTF-8")


def _check_number(number: int) -> None:
    if not 1 <= number < 1 << 31:
        raise InvalidPart(f"there is no part {number}")
    if number > MOST_PARTS:
        raise NotSupported(f"S3 has parts 1 to {MOST_PARTS}, and not {number}")


def _check_place(bucket: str, key: str, upload_id: str, number: int) -> None:
    _check_upload(bucket, key, upload_id)
    _check_number(number)


def _part_of(node: Node) -> Part:
    return Part(
        int(node.value("PartNumber", "0")),
        node.value("ETag").strip('"'),
        int(node.value("Size", "0")),
        stored=time_of(node.value("LastModified")),
    )


def _upload_of(bucket: str, node: Node, root: Node) -> OpenUpload:
    key = decoded_text(node.text_of("Key"), root)
    return OpenUpload(node.text_of("UploadId"), bucket, key, float(seconds_of(node.value("Initiated"))), "", {})
