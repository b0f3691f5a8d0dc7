"""A data space in memory: for tests of what uses one, and the shortest text that does what L{IDataSpace} asks for."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import blake2b

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from storehouse.core.jobs import deferred
from storehouse.core.streams import PIECE, BytesStream, IByteStream, Piece, closing, exact, read_all
from storehouse.errors import (
    AlreadyExists,
    NoSuchObject,
    NoSuchUpload,
    StorehouseError,
    Unavailable,
)
from storehouse.storage.dataspace.interfaces import (
    IDescribed,
    Metadata,
    Part,
    Reader,
    Upload,
)
from storehouse.storage.dataspace.values import (
    Bounds,
    check_expected,
    check_free,
    check_id,
    check_index,
    check_metadata,
    check_note,
    check_number,
    check_parts,
    check_range,
    check_same,
    choose_parts,
    extended,
)

__all__ = ["MemoryDataSpace", "PartContent", "StoredObject"]


def _tag(data: bytes) -> str:
    return blake2b(data, digest_size=24).hexdigest()  # 48 digits, which nobody takes for an MD5


@attrs.frozen
class PartContent:
    """
    The bytes of a part. Copies share them.

    @ivar number: that it had in the upload of its object; 0 for its place.
    @ivar note: that it had there.
    """

    data: bytes
    etag: str
    number: int = 0
    note: str = ""

    @classmethod
    def of(cls, data: bytes) -> PartContent:
        return cls(data, _tag(data))


@attrs.frozen
class StoredObject:
    """An object: its bytes and metadata."""

    contents: tuple[PartContent, ...]
    metadata: dict[str, list[str]]
    etag: str
    size: int

    @classmethod
    def of(cls, contents: Sequence[PartContent], metadata: dict[str, list[str]]) -> StoredObject:
        etag = contents[0].etag
        if len(contents) > 1:
            etag = f"{_tag(''.join(content.etag + chr(10) for content in contents).encode())}-{len(contents)}"
        return cls(tuple(contents), metadata, etag, sum(len(content.data) for content in contents))

    def spans(self, offset: int, length: int) -> Iterator[tuple[PartContent, int, int]]:
        """The contents of a range, with where in each it begins and ends."""
        end = offset + length
        position = 0
        for content in self.contents:
            after = position + len(content.data)
            if max(offset, position) < min(end, after):
                yield content, max(offset, position) - position, min(end, after) - position
            position = after

    def pieces(self, offset: int, length: int) -> Iterator[Piece]:
        """A range in pieces of at most L{PIECE} bytes."""
        for content, start, end in self.spans(offset, length):
            for position in range(start, end, PIECE):
                yield memoryview(content.data)[position : min(position + PIECE, end)]

    def cut(self, offset: int, length: int) -> tuple[PartContent, ...]:
        """A range as contents, of which there is always one."""
        if length == self.size:
            return self.contents
        return tuple(
            attrs.evolve(content, number=0)
            if end - start == len(content.data)
            else PartContent.of(content.data[start:end])
            for content, start, end in self.spans(offset, length)
        ) or (PartContent.of(b""),)


@attrs.define
class _OpenUpload:
    """An upload: its parts, their notes, and when they came."""

    metadata: dict[str, list[str]]
    created: float
    touched: float
    contents: dict[int, PartContent] = attrs.Factory(dict)
    notes: dict[int, str] = attrs.Factory(dict)
    stored: dict[int, int] = attrs.Factory(dict)

    def parts(self) -> list[Part]:
        """The parts, in ascending order."""
        return [
            Part(number, content.etag, len(content.data), self.notes[number], self.stored[number])
            for number, content in sorted(self.contents.items())
        ]

    def listed(self) -> dict[int, Part]:
        """The parts by their numbers."""
        return {part.number: part for part in self.parts()}

    def described(self, id: str) -> Upload:
        size = sum(len(content.data) for content in self.contents.values())
        return Upload(
            id,
            self.created,
            self.touched,
            len(self.contents),
            size,
            {name: list(values) for name, values in self.metadata.items()},
        )


@implementer(IDescribed)
class MemoryDataSpace:
    """
    A data space that is gone with the process. It keeps all that it is given in memory.

    @param clock: for the times of uploads; the system's if there is none.
    @param bounds: of what is kept with objects and parts.
    @ivar aside: objects that were set aside.
    @ivar failed: C{None}: nothing ever fails here; stores on disk have this too.
    """

    def __init__(self, clock: IReactorTime | None = None, bounds: Bounds | None = None) -> None:
        self._seconds = time.time if clock is None else clock.seconds
        self._bounds = bounds or Bounds()
        self._objects: dict[str, StoredObject] = {}
        self._uploads: dict[str, _OpenUpload] = {}
        self.aside: dict[str, StoredObject] = {}
        self._running = False
        self.failed: StorehouseError | None = None

    def start(self) -> None:
        self._running = True

    def stop(self) -> Deferred[None]:
        """Refuse everything from now on. Readers stay readable."""
        self._running = False
        return succeed(None)

    # -- uploads -----------------------------------------------------------------------------

    @deferred
    async def init_upload(self, upload_id: str, metadata: Metadata) -> None:
        self._check_running()
        check_id(upload_id, "upload ID")
        kept = self._checked(metadata)
        if upload_id in self._uploads:
            raise AlreadyExists(f"the upload {upload_id} already exists")
        now = self._seconds()
        self._uploads[upload_id] = _OpenUpload(kept, now, now)

    @deferred
    async def upload_part(
        self,
        upload_id: str,
        number: int,
        stream: IByteStream,
        size: int | None,
        note: Callable[[], str] | None = None,
        instead_of: Sequence[int] = (),
    ) -> str:
        async with closing(stream):
            upload = self._upload(upload_id)
            check_number(number)
            data = await self._receive(stream, size)
        check_same(upload_id, self._upload(upload_id) is upload)
        kept = self._note(note() if note is not None else "")
        if instead_of:
            check_free(upload_id, upload.listed(), number, 1)
        for other in instead_of:
            upload.contents.pop(other, None)
        return self._add_part(upload, number, PartContent.of(data), kept)

    @deferred
    async def upload_part_link(
        self,
        upload_id: str,
        number: int,
        source_upload_id: str,
        source_numbers: Sequence[int],
        note: Callable[[Part, int], str] | None = None,
    ) -> list[str]:
        upload, source = self._upload(upload_id), self._upload(source_upload_id)
        check_number(number, len(source_numbers))
        chosen = choose_parts(source_upload_id, source.listed(), source_numbers)
        check_free(upload_id, upload.listed(), number, len(chosen))
        notes = [part.note if note is None else self._note(note(part, at)) for at, part in enumerate(chosen, number)]
        for place, part in enumerate(chosen):
            self._add_part(upload, number + place, source.contents[part.number], notes[place])
        return [part.etag for part in chosen]

    @deferred
    async def get_part(self, upload_id: str, number: int) -> Reader:
        upload = self._upload(upload_id)
        (part,) = choose_parts(upload_id, upload.listed(), [number])
        return _reader(upload_id, StoredObject.of([upload.contents[number]], {}), 0, part.size)

    @deferred
    async def upload_part_copy(
        self,
        upload_id: str,
        number: int,
        source_id: str,
        offset: int = 0,
        length: int | None = None,
        note: str = "",
        expected: Part | None = None,
    ) -> str:
        upload = self._upload(upload_id)
        check_number(number)
        stored = self._object(source_id, expected)
        contents = stored.cut(offset, check_range(offset, length, stored.size))
        content = contents[0] if len(contents) == 1 else PartContent.of(b"".join(content.data for content in contents))
        return self._add_part(upload, number, content, self._note(note))

    @deferred
    async def complete_upload(
        self, id: str, upload_id: str, parts: Sequence[Part], metadata: Metadata | None = None, keep: bool = False
    ) -> Part:
        upload = self._upload(upload_id)
        self._check_new(id)
        chosen = check_parts(upload_id, parts, upload.listed())
        kept = upload.metadata if metadata is None else self._checked(metadata)
        contents = [attrs.evolve(upload.contents[part.number], number=part.number, note=part.note) for part in chosen]
        stored = self._add(id, contents, kept)
        if not keep:
            del self._uploads[upload_id]
        return Part(0, stored.etag, stored.size)

    @deferred
    async def abort_upload(self, upload_id: str) -> None:
        self._upload(upload_id)
        del self._uploads[upload_id]

    @deferred
    async def list_parts(self, upload_id: str) -> list[Part]:
        return self._upload(upload_id).parts()

    @deferred
    async def list_uploads(self) -> list[Upload]:
        self._check_running()
        return [upload.described(id) for id, upload in sorted(self._uploads.items())]

    @deferred
    async def get_upload(self, upload_id: str) -> Upload:
        return self._upload(upload_id).described(upload_id)

    @deferred
    async def expire_uploads(self, age: float, keep: Callable[[str], bool] | None = None) -> list[str]:
        self._check_running()
        before = self._seconds() - age
        idle = sorted(id for id, upload in self._uploads.items() if upload.touched <= before)
        expired = [id for id in idle if keep is None or not keep(id)]
        for id in expired:
            del self._uploads[id]
        return expired

    # -- objects -----------------------------------------------------------------------------

    @deferred
    async def put(
        self, id: str, stream: IByteStream, size: int | None, metadata: Metadata | Callable[[], Metadata]
    ) -> Part:
        async with closing(stream):
            self._check_new(id)
            given = metadata if callable(metadata) else self._checked(metadata)
            data = await self._receive(stream, size)
        kept = self._checked(given()) if callable(given) else given
        self._check_new(id)
        stored = self._add(id, [PartContent.of(data)], kept)
        return Part(1, stored.etag, stored.size)

    @deferred
    async def extend(
        self,
        id: str,
        source_id: str | None,
        stream: IByteStream,
        size: int | None,
        metadata: Metadata | Callable[[], Metadata],
        note: Callable[[], str] | None = None,
        source_note: str = "",
        expected: Part | None = None,
    ) -> Part:
        async with closing(stream):
            self._check_new(id)
            given = metadata if callable(metadata) else self._checked(metadata)
            self._note(source_note)
            if source_id is not None:
                self._object(source_id, expected)
            data = await self._receive(stream, size)
        kept_note = self._note(note() if note is not None else "")
        kept = self._checked(given()) if callable(given) else given
        self._check_new(id)
        contents = () if source_id is None else self._object(source_id, expected).contents
        listed = [Part(each.number or at, each.etag, len(each.data), each.note) for at, each in enumerate(contents, 1)]
        parts = extended(listed, source_note)
        stored = self._add(
            id,
            [
                *(
                    attrs.evolve(content, number=part.number, note=part.note)
                    for content, part in zip(contents, parts, strict=True)
                ),
                attrs.evolve(PartContent.of(data), number=parts[-1].number + 1 if parts else 1, note=kept_note),
            ],
            kept,
        )
        return Part(0, stored.etag, stored.size)

    @deferred
    async def get(
        self,
        id: str,
        offset: int = 0,
        length: int | None = None,
        verified: bool = True,
        expected: Part | None = None,
    ) -> Reader:
        stored = self._object(id, expected)
        return _reader(id, stored, offset, check_range(offset, length, stored.size))

    @deferred
    async def get_metadata(self, id: str) -> dict[str, list[str]]:
        return self._checked(self._object(id).metadata)

    @deferred
    async def list_object_parts(self, id: str, expected: Part | None = None) -> list[Part]:
        return [
            Part(content.number or place, content.etag, len(content.data), content.note)
            for place, content in enumerate(self._object(id, expected).contents, 1)
        ]

    @deferred
    async def passed(self) -> None:
        """See L{IDescribed.passed}. Operations are over when they return."""

    @deferred
    async def replace_metadata(self, id: str, metadata: Metadata) -> None:
        self._objects[id] = attrs.evolve(self._object(id), metadata=self._checked(metadata))

    @deferred
    async def replace_upload_metadata(self, upload_id: str, metadata: Metadata) -> None:
        self._upload(upload_id).metadata = self._checked(metadata)

    @deferred
    async def delete(self, id: str) -> None:
        self._object(id)
        del self._objects[id]

    @deferred
    async def copy(
        self,
        id: str,
        source_id: str,
        offset: int = 0,
        length: int | None = None,
        metadata: Metadata | None = None,
        expected: Part | None = None,
    ) -> Part:
        source = self._object(source_id, expected)
        self._check_new(id)
        contents = source.cut(offset, check_range(offset, length, source.size))
        stored = self._add(id, contents, self._checked(source.metadata if metadata is None else metadata))
        return Part(0, stored.etag, stored.size)

    @deferred
    async def list_indexes(self) -> list[str]:
        self._check_running()
        return sorted({id[:2] for id in self._objects})

    @deferred
    async def list_ids(self, index: str) -> list[str]:
        self._check_running()
        check_index(index)
        return sorted(id for id in self._objects if id.startswith(index))

    @deferred
    async def examine(self, id: str, expected: Part | None = None) -> dict[str, list[str]]:
        return self._checked(self._object(id, expected).metadata)

    @deferred
    async def examine_upload(self, upload_id: str) -> None:
        self._upload(upload_id)

    @deferred
    async def set_aside(self, id: str, why: str) -> str:
        self._object(id)
        self.aside[id] = self._objects.pop(id)
        return f"memory/{id}"

    # -- what they share ---------------------------------------------------------------------

    def _checked(self, metadata: Metadata) -> dict[str, list[str]]:
        return check_metadata(metadata, self._bounds.metadata)

    def _note(self, note: str) -> str:
        return check_note(note, self._bounds.note)

    def _check_running(self) -> None:
        if not self._running:
            raise Unavailable("the data space is not running")

    def _check_new(self, id: str) -> None:
        self._check_running()
        if check_id(id) in self._objects:
            raise AlreadyExists(f"the object {id} already exists")

    def _object(self, id: str, expected: Part | None = None) -> StoredObject:
        self._check_running()
        stored = self._objects.get(check_id(id))
        if stored is None:
            raise NoSuchObject(f"there is no object {id}")
        check_expected(id, stored.etag, stored.size, expected)
        return stored

    def _upload(self, upload_id: str) -> _OpenUpload:
        self._check_running()
        upload = self._uploads.get(check_id(upload_id, "upload ID"))
        if upload is None:
            raise NoSuchUpload(f"there is no upload {upload_id}")
        return upload

    def _add(self, id: str, contents: Iterable[PartContent], metadata: dict[str, list[str]]) -> StoredObject:
        stored = self._objects[id] = StoredObject.of(tuple(contents), metadata)
        return stored

    def _add_part(self, upload: _OpenUpload, number: int, content: PartContent, note: str) -> str:
        upload.contents[number] = content
        upload.notes[number] = note
        upload.touched = self._seconds()
        upload.stored[number] = int(upload.touched * 1e9)
        return content.etag

    @staticmethod
    async def _receive(stream: IByteStream, size: int | None) -> bytes:
        return await read_all(stream if size is None else exact(stream, size), sys.maxsize)


def _reader(id: str, stored: StoredObject, offset: int, length: int) -> Reader:
    metadata = {name: list(values) for name, values in stored.metadata.items()}
    stream = BytesStream(stored.pieces(offset, length))
    return Reader(id, metadata, stored.etag, stored.size, offset, length, stream)
