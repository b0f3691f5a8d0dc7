"""A data space in memory: for tests of what uses one, and to read what L{IDataSpace} asks for in few lines."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import blake2b
from typing import Any

import attrs
from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from storehouse.core.streams import PIECE, BytesSource, ISource, deferred
from storehouse.errors import (
    AlreadyExists,
    NoSuchObject,
    NoSuchUpload,
    StorehouseError,
    Unavailable,
)
from storehouse.storage.dataspace.checks import (
    check_id,
    check_index,
    check_metadata,
    check_note,
    check_number,
    check_parts,
    check_range,
)
from storehouse.storage.dataspace.intake import Intake
from storehouse.storage.dataspace.interfaces import IDataSpace, IInventory, IReader, IUploads, Metadata, Part, Upload

__all__ = ["MemoryDataSpace"]


def _tag(data: bytes) -> str:
    return blake2b(data, digest_size=16).hexdigest()


@attrs.frozen
class _Chunk:
    """The bytes of a part. They are shared by all that has them."""

    data: bytes
    etag: str

    @classmethod
    def of(cls, data: bytes) -> _Chunk:
        return cls(data, _tag(data))


@attrs.frozen
class _Object:
    chunks: tuple[_Chunk, ...]
    metadata: dict[str, list[str]]
    etag: str
    size: int

    @classmethod
    def of(cls, chunks: Sequence[_Chunk], metadata: dict[str, list[str]]) -> _Object:
        etag = chunks[0].etag
        if len(chunks) > 1:
            etag = f"{_tag(''.join(chunk.etag + chr(10) for chunk in chunks).encode())}-{len(chunks)}"
        return cls(tuple(chunks), metadata, etag, sum(len(chunk.data) for chunk in chunks))

    def spans(self, offset: int, length: int) -> Iterator[tuple[_Chunk, int, int]]:
        """What of which chunk is in a range."""
        end = offset + length
        position = 0
        for chunk in self.chunks:
            after = position + len(chunk.data)
            if max(offset, position) < min(end, after):
                yield chunk, max(offset, position) - position, min(end, after) - position
            position = after

    def pieces(self, offset: int, length: int) -> Iterator[bytes]:
        """A range in pieces that are not too large."""
        for chunk, start, end in self.spans(offset, length):
            for position in range(start, end, PIECE):
                yield chunk.data[position : min(position + PIECE, end)]

    def cut(self, offset: int, length: int) -> tuple[_Chunk, ...]:
        """A range as chunks, of which there is always one."""
        if length == self.size:
            return self.chunks
        return tuple(
            chunk if end - start == len(chunk.data) else _Chunk.of(chunk.data[start:end])
            for chunk, start, end in self.spans(offset, length)
        ) or (_Chunk.of(b""),)


@attrs.define
class _Upload:
    metadata: dict[str, list[str]]
    created: float
    touched: float
    chunks: dict[int, _Chunk] = attrs.Factory(dict)
    notes: dict[int, str] = attrs.Factory(dict)

    def parts(self) -> list[Part]:
        return [
            Part(number, chunk.etag, len(chunk.data), self.notes[number])
            for number, chunk in sorted(self.chunks.items())
        ]

    def described(self, id: str) -> Upload:
        size = sum(len(chunk.data) for chunk in self.chunks.values())
        return Upload(id, self.created, self.touched, len(self.chunks), size, check_metadata(self.metadata))


@implementer(IReader)
class _Reader:
    """See L{IReader}."""

    def __init__(self, id: str, stored: _Object, offset: int, length: int) -> None:
        self.id = id
        self.metadata = check_metadata(stored.metadata)
        self.etag = stored.etag
        self.size = stored.size
        self.offset = offset
        self.length = length
        self._source = BytesSource(stored.pieces(offset, length))
        self._used = False
        self._closed = False

    @deferred
    async def deliver(self, consumer: Any) -> int:
        """See L{IReader.deliver}."""
        if self._used:
            raise Unavailable(f"the reader of {self.id} is closed, or was used")
        self._used = True
        try:
            return await self._source.deliver(consumer)
        except Exception:
            self._source.stopProducing()  # in case it is we who were cancelled
            if self._closed:
                raise Unavailable(f"the reader of {self.id} was closed") from None
            raise

    def close(self) -> None:
        """See L{IReader.close}."""
        self._used = self._closed = True
        self._source.stopProducing()


@implementer(IDataSpace, IUploads, IInventory)
class MemoryDataSpace:
    """
    A data space that is gone with the process. All it is given it holds at once.

    @param clock: has C{seconds()}, for the times of uploads.
    @ivar failed: C{None}: nothing ever fails here; stores on disk have this too.
    """

    def __init__(self, clock: Any = None) -> None:
        self._seconds = time.time if clock is None else clock.seconds
        self._objects: dict[str, _Object] = {}
        self._uploads: dict[str, _Upload] = {}
        self._running = False
        self.failed: StorehouseError | None = None

    def start(self) -> None:
        """Begin to answer."""
        self._running = True

    def stop(self) -> Deferred[None]:
        """Refuse everything from now on. Readers stay readable."""
        self._running = False
        return succeed(None)

    # -- uploads -----------------------------------------------------------------------------

    @deferred
    async def init_upload(self, upload_id: str, metadata: Metadata) -> None:
        """See L{IDataSpace.init_upload}."""
        self._check_running()
        check_id(upload_id, "upload ID")
        kept = check_metadata(metadata)
        if upload_id in self._uploads:
            raise AlreadyExists(f"there is an upload {upload_id} already")
        now = self._seconds()
        self._uploads[upload_id] = _Upload(kept, now, now)

    @deferred
    async def upload_part(
        self, upload_id: str, number: int, source: ISource, size: int | None, note: Callable[[], str] | None = None
    ) -> str:
        """See L{IDataSpace.upload_part}."""
        upload = self._upload(upload_id)
        check_number(number)
        data = await self._receive(source, size)
        if self._upload(upload_id) is not upload:
            raise NoSuchUpload(f"the upload {upload_id} ended, and another one of that name was begun")
        return self._add_part(upload, number, _Chunk.of(data), check_note(note() if note is not None else ""))

    @deferred
    async def upload_part_copy(
        self,
        upload_id: str,
        number: int,
        source_id: str,
        offset: int = 0,
        length: int | None = None,
        note: str = "",
    ) -> str:
        """See L{IDataSpace.upload_part_copy}."""
        upload = self._upload(upload_id)
        check_number(number)
        stored = self._object(source_id)
        chunks = stored.cut(offset, check_range(offset, length, stored.size))
        chunk = chunks[0] if len(chunks) == 1 else _Chunk.of(b"".join(chunk.data for chunk in chunks))
        return self._add_part(upload, number, chunk, check_note(note))

    @deferred
    async def complete_upload(
        self, id: str, upload_id: str, parts: Sequence[Part], metadata: Metadata | None = None
    ) -> Part:
        """See L{IDataSpace.complete_upload}."""
        upload = self._upload(upload_id)
        self._check_new(id)
        chosen = check_parts(upload_id, parts, {part.number: part for part in upload.parts()})
        kept = upload.metadata if metadata is None else check_metadata(metadata)
        stored = self._add(id, [upload.chunks[part.number] for part in chosen], kept)
        del self._uploads[upload_id]
        return Part(0, stored.etag, stored.size)

    @deferred
    async def abort_upload(self, upload_id: str) -> None:
        """See L{IDataSpace.abort_upload}."""
        self._upload(upload_id)
        del self._uploads[upload_id]

    @deferred
    async def list_parts(self, upload_id: str) -> list[Part]:
        """See L{IDataSpace.list_parts}."""
        return self._upload(upload_id).parts()

    @deferred
    async def list_uploads(self) -> list[Upload]:
        """See L{IUploads.list_uploads}."""
        self._check_running()
        return [upload.described(id) for id, upload in sorted(self._uploads.items())]

    @deferred
    async def get_upload(self, upload_id: str) -> Upload:
        """See L{IUploads.get_upload}."""
        return self._upload(upload_id).described(upload_id)

    @deferred
    async def expire_uploads(self, age: float) -> list[str]:
        """See L{IUploads.expire_uploads}."""
        self._check_running()
        before = self._seconds() - age
        expired = sorted(id for id, upload in self._uploads.items() if upload.touched <= before)
        for id in expired:
            del self._uploads[id]
        return expired

    # -- objects -----------------------------------------------------------------------------

    @deferred
    async def put(self, id: str, source: ISource, size: int | None, metadata: Metadata) -> Part:
        """See L{IDataSpace.put}."""
        self._check_new(id)
        kept = check_metadata(metadata)
        data = await self._receive(source, size)
        self._check_new(id)
        stored = self._add(id, [_Chunk.of(data)], kept)
        return Part(1, stored.etag, stored.size)

    @deferred
    async def get(self, id: str, offset: int = 0, length: int | None = None) -> IReader:
        """See L{IDataSpace.get}."""
        stored = self._object(id)
        return _Reader(id, stored, offset, check_range(offset, length, stored.size))

    @deferred
    async def get_metadata(self, id: str) -> dict[str, list[str]]:
        """See L{IDataSpace.get_metadata}."""
        return check_metadata(self._object(id).metadata)

    @deferred
    async def delete(self, id: str) -> None:
        """See L{IDataSpace.delete}."""
        self._object(id)
        del self._objects[id]

    @deferred
    async def copy(
        self, id: str, source_id: str, offset: int = 0, length: int | None = None, metadata: Metadata | None = None
    ) -> Part:
        """See L{IDataSpace.copy}."""
        source = self._object(source_id)
        self._check_new(id)
        chunks = source.cut(offset, check_range(offset, length, source.size))
        stored = self._add(id, chunks, check_metadata(source.metadata if metadata is None else metadata))
        return Part(0, stored.etag, stored.size)

    @deferred
    async def list_ids(self, index: str) -> list[str]:
        """See L{IInventory.list_ids}."""
        self._check_running()
        check_index(index)
        return sorted(id for id in self._objects if id.startswith(index))

    # -- what they share ---------------------------------------------------------------------

    def _check_running(self) -> None:
        if not self._running:
            raise Unavailable("the data space is not running")

    def _check_new(self, id: str) -> None:
        self._check_running()
        if check_id(id) in self._objects:
            raise AlreadyExists(f"there is an object {id} already")

    def _object(self, id: str) -> _Object:
        self._check_running()
        stored = self._objects.get(check_id(id))
        if stored is None:
            raise NoSuchObject(f"there is no object {id}")
        return stored

    def _upload(self, upload_id: str) -> _Upload:
        self._check_running()
        upload = self._uploads.get(check_id(upload_id, "upload ID"))
        if upload is None:
            raise NoSuchUpload(f"there is no upload {upload_id}")
        return upload

    def _add(self, id: str, chunks: Iterable[_Chunk], metadata: dict[str, list[str]]) -> _Object:
        stored = self._objects[id] = _Object.of(tuple(chunks), metadata)
        return stored

    def _add_part(self, upload: _Upload, number: int, chunk: _Chunk, note: str) -> str:
        upload.chunks[number] = chunk
        upload.notes[number] = note
        upload.touched = self._seconds()
        return chunk.etag

    @staticmethod
    async def _receive(source: ISource, size: int | None) -> bytes:
        intake = Intake(size)
        try:
            await source.deliver(intake)
        except Exception:
            if intake.error is not None:
                raise intake.error from None
            intake.stop()  # the one who wants the bytes has cancelled
            raise
        return intake.taken()
