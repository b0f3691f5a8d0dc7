"""Uploads in parts: what the data space keeps of them, with the tags that S3 gives them."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Sequence

import attrs
from twisted.internet.defer import Deferred

from storehouse.core.disk import IDisk
from storehouse.core.jobs import finished
from storehouse.core.streams import IByteStream, beside, updating
from storehouse.errors import InvalidName, InvalidPart, NoSuchUpload, StorageFailed
from storehouse.storage.dataspace.interfaces import Part, Reader, Upload
from storehouse.storage.namespace.interfaces import Entry
from storehouse.storage.objects.base import Base, new_id
from storehouse.storage.objects.conditions import check_condition
from storehouse.storage.objects.interfaces import Condition, Metadata, ObjectInfo, OpenUpload

__all__ = ["MAX_PART", "Tag", "Uploads", "decode_entry", "encode_entry"]

#: The highest number of a part that S3 has: a rule of those who speak S3. A store takes higher ones.
MAX_PART = 10000

_md5 = re.compile("[0-9a-f]{32}")

# Bytes that are hashed at once in a thread; fewer are not worth one.
_BATCH = 256 << 10


def encode_entry(entry: Entry) -> str:
    """An entry as text, to be kept with bytes that are to become a key's."""
    return json.dumps(attrs.asdict(entry), ensure_ascii=False, separators=(",", ":"))


def decode_entry(text: str) -> Entry:
    """@raise ValueError: if it is none."""
    try:
        return Entry(**json.loads(text))
    except TypeError as error:
        raise ValueError(str(error)) from None


def visible(part: Part) -> str:
    """The etag of a part, as it was told: the MD5 if there is one."""
    return part.note.partition(" ")[0] or part.etag[:32]


def _noted(md5: str, note: str) -> str:
    """What the data space keeps with a part: its MD5, if there is one, and after a space what users had noted."""
    return f"{md5} {note}" if note else md5


def _etag(parts: Sequence[Part]) -> str:
    """The etag of an object of parts, as S3 makes it."""
    tags = [visible(part) for part in parts]
    if all(map(_md5.fullmatch, tags)):
        data = b"".join(map(bytes.fromhex, tags))
    else:
        data = "\n".join(tags).encode()
    return f"{hashlib.md5(data, usedforsecurity=False).hexdigest()}-{len(parts)}"


class Tag:
    """
    The MD5 of bytes on their way to the data space, if it is to be computed, as S3's clients expect.

    @param md5: whether it is.
    """

    def __init__(self, disk: IDisk, md5: bool) -> None:
        self._disk = disk
        self._hash = hashlib.md5(usedforsecurity=False) if md5 else None

    def computed(self, stream: IByteStream) -> IByteStream:
        """The stream that is to be read in place of this one."""
        return stream if self._hash is None else beside(stream, self._disk, updating(self._hash), _BATCH)

    def hexdigest(self) -> str:
        """In hex, once all bytes were read; empty if it was not to be computed."""
        return "" if self._hash is None else self._hash.hexdigest()


class Uploads:
    """The operations on uploads."""

    def __init__(self, base: Base) -> None:
        self._base = base

    async def begin(self, bucket: str, key: str, content_type: str, metadata: Metadata) -> str:
        """See C{IObjectStore.begin_upload}."""
        # Looked up for its checks: that the bucket is there, and that the key can be one.
        await self._base.current(bucket, key)
        upload_id = new_id()
        kept = json.dumps({name: list(values) for name, values in metadata.items()}, ensure_ascii=False)
        await self._base.space.init_upload(
            upload_id, {"key": [f"{bucket}/{key}"], "contentType": [content_type], "metadata": [kept]}
        )
        return upload_id

    async def _upload(self, bucket: str, key: str | None, upload_id: str) -> OpenUpload:
        """An upload of this key, or of any if it is C{None}."""
        try:
            upload = _described(await self._base.space.get_upload(upload_id))
        except InvalidName:
            upload = None
        if upload is None or upload.bucket != bucket or key not in (None, upload.key):
            raise NoSuchUpload(f"there is no upload {upload_id[:100]} of {bucket}/{key or ''}")
        return upload

    async def part(
        self,
        bucket: str,
        key: str,
        upload_id: str,
        number: int,
        stream: IByteStream,
        size: int | None,
        md5: bool,
        note: Callable[[], str] | None,
        instead_of: Sequence[int],
    ) -> str:
        """See C{IObjectStore.upload_part}."""
        await self._upload(bucket, key, upload_id)
        tag = Tag(self._base.disk, md5)

        def noted() -> str:
            return _noted(tag.hexdigest(), note() if note is not None else "")

        etag = await self._base.space.upload_part(upload_id, number, tag.computed(stream), size, noted, instead_of)
        return tag.hexdigest() or visible(Part(number, etag, 0))

    async def part_link(
        self,
        bucket: str,
        key: str,
        upload_id: str,
        number: int,
        source_upload_id: str,
        source_numbers: Sequence[int],
    ) -> list[str]:
        """See C{IObjectStore.upload_part_link}."""
        space = self._base.space
        await self._upload(bucket, key, upload_id)
        await self._upload(bucket, None, source_upload_id)
        notes = {part.number: part.note for part in await space.list_parts(source_upload_id)}
        etags = await space.upload_part_link(upload_id, number, source_upload_id, source_numbers)
        return [
            visible(Part(source, etag, 0, notes[source])) for source, etag in zip(source_numbers, etags, strict=True)
        ]

    async def get_part(self, bucket: str, key: str, upload_id: str, number: int) -> Reader:
        """See C{IObjectStore.get_part}."""
        await self._upload(bucket, key, upload_id)
        reader: Reader = await self._base.space.get_part(upload_id, number)
        return reader

    async def part_copy(
        self,
        bucket: str,
        key: str,
        upload_id: str,
        number: int,
        source_bucket: str,
        source_key: str,
        offset: int,
        length: int | None,
        source_condition: Condition,
    ) -> str:
        """See C{IObjectStore.upload_part_copy}."""
        await self._upload(bucket, key, upload_id)
        note = ""

        def copy(entry: Entry, expected: Part) -> Deferred[str]:
            nonlocal note
            check_condition(source_condition, entry, source_bucket, source_key)
            whole = offset == 0 and length in (None, entry.size)
            note = entry.etag if whole and _md5.fullmatch(entry.etag) else ""
            copied: Deferred[str] = self._base.space.upload_part_copy(
                upload_id, number, entry.id, offset, length, note, expected
            )
            return copied

        _, etag = await self._base.with_bytes(source_bucket, source_key, copy)
        return note or visible(Part(number, etag, 0))

    async def complete(
        self,
        bucket: str,
        key: str,
        upload_id: str,
        parts: Sequence[Part],
        condition: Condition,
        as_key: str | None,
        metadata: Metadata | None,
    ) -> ObjectInfo:
        """See C{IObjectStore.complete_upload}."""
        base = self._base
        upload = await self._upload(bucket, key, upload_id)
        kept = upload.metadata if metadata is None else metadata
        key = key if as_key is None else as_key
        async with base.held(bucket, key):
            # Nobody else changes the key until it has its object: so the condition that holds now holds then.
            check_condition(condition, await base.current(bucket, key), bucket, key)
            chosen = _chosen(upload_id, parts, await base.space.list_parts(upload_id))
            id = base.arrives()
            size = sum(part.size for part in chosen)
            entry = Entry(id, size, _etag(chosen), base.now(), upload.content_type, kept)
            # Should the process end between the two steps, the next start knows what was meant: the parts are not lost.
            told = {"key": [f"{bucket}/{key}"], "complete": [encode_entry(entry)]}
            try:
                await finished(base.names.intend(bucket, key, [id]))
                made = await finished(base.space.complete_upload(id, upload_id, chosen, told))
            except StorageFailed:
                # Whether the parts are the object's is known at the next start, which finishes it if they are.
                raise
            except BaseException:
                base.removing.gone(id)
                raise
            try:
                return await base.publish(bucket, key, attrs.evolve(entry, tag=made.etag))
            except BaseException:
                await base.removing.refused(bucket, key, id)
                raise

    async def abort(self, bucket: str, key: str, upload_id: str) -> None:
        """See C{IObjectStore.abort_upload}."""
        await self._upload(bucket, key, upload_id)
        await self._base.space.abort_upload(upload_id)

    async def list_parts(self, bucket: str, key: str, upload_id: str) -> list[Part]:
        """See C{IObjectStore.list_parts}."""
        await self._upload(bucket, key, upload_id)
        parts = await self._base.space.list_parts(upload_id)
        return [Part(part.number, visible(part), part.size, part.note.partition(" ")[2]) for part in parts]

    async def list_uploads(self, bucket: str) -> list[OpenUpload]:
        """See C{IObjectStore.list_uploads}."""
        await self._base.names.get_bucket(bucket)
        return await self._of_bucket(bucket)

    async def _of_bucket(self, bucket: str) -> list[OpenUpload]:
        uploads = map(_described, await self._base.space.list_uploads())
        found = [upload for upload in uploads if upload is not None and upload.bucket == bucket]
        return sorted(found, key=lambda upload: (upload.key.encode(), upload.created, upload.upload_id))

    async def abort_all(self, bucket: str) -> None:
        """Abort those of a bucket that is gone."""
        for upload in await self._of_bucket(bucket):
            try:
                await self._base.space.abort_upload(upload.upload_id)
            except NoSuchUpload:
                pass


def _described(upload: Upload) -> OpenUpload | None:
    """C{None} for one that was not begun here."""
    try:
        bucket, _, key = upload.metadata["key"][0].partition("/")
        metadata = json.loads(upload.metadata["metadata"][0])
        return OpenUpload(upload.id, bucket, key, upload.created, upload.metadata["contentType"][0], metadata)
    except (KeyError, IndexError, ValueError):
        return None


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
