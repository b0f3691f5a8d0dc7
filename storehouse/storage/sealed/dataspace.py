"""
A data space that encrypts: on top of any other, to which it gives ciphertext.

docs/formats/sealed.md says what is written, what it protects, and what it does not.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from weakref import WeakValueDictionary

import attrs
from prometheus_client.core import Metric
from twisted.internet.defer import Deferred
from zope.interface import implementer

from storehouse.core.jobs import IDisk, KeyedLocks, deferred
from storehouse.core.keys.vault import Vault
from storehouse.core.streams import IByteStream, closing, joined
from storehouse.errors import Damaged, InvalidRange, NoSuchUpload, StorehouseError
from storehouse.storage.dataspace.interfaces import IDataSpace, Metadata, Part, Reader, Upload
from storehouse.storage.dataspace.values import (
    check_id,
    check_metadata,
    check_note,
    check_number,
    check_order,
    check_parts,
    check_range,
    check_same,
    choose_parts,
    extended,
)
from storehouse.storage.sealed.codec import Codec, Decryptor, SealedMetrics, UploadCodec
from storehouse.storage.sealed.formats import Description, SealedPart, is_sealed, plain_size, sealed_size

__all__ = ["SealedDataSpace"]

# How often an object is opened anew that becomes another one meanwhile.
_TRIES = 8

# Uploads whose parts are cached.
_CACHED = 64

# Notes that are decrypted before others have their turn: a few milliseconds.
_AT_ONCE = 256


@attrs.frozen
class _Listed:
    """
    A part of an upload.

    @ivar stored: as the space below lists it.
    @ivar sealed: its size and key.
    @ivar part: as this space lists it.
    """

    stored: Part
    sealed: SealedPart
    part: Part


class _OpenUpload:
    """
    The key of an upload, and what is cached of its parts.

    @ivar has_ended: whether it was completed or aborted; another one may have its ID by now.
    """

    def __init__(self, codec: UploadCodec) -> None:
        self.codec = codec
        self.has_ended = False
        self._listed: dict[int, _Listed] = {}
        self._stored = (0, 0)
        self._size = 0

    def size_of(self, stored: Upload) -> int | None:
        """Its bytes before they were encrypted; C{None} unless its stored parts and bytes are those that were L{measured}."""
        return self._size if (stored.parts, stored.size) == self._stored else None

    def measured(self, stored: Upload, size: int) -> None:
        """Cache its bytes, with the parts and bytes that are stored."""
        self._stored, self._size = (stored.parts, stored.size), size

    def grown(self, size: int) -> None:
        """A part was stored. If it replaced another, the stored bytes differ from these, and L{size_of} returns C{None}."""
        parts, stored = self._stored
        self.measured(Upload("", 0, 0, parts + 1, stored + sealed_size(size)), self._size + size)

    def cached(self, stored: Part) -> _Listed | None:
        """What L{listed} returned for a part."""
        listed = self._listed.get(stored.number)
        return listed if listed is not None and listed.stored == stored else None

    def listed(self, stored: Part) -> _Listed:
        """@raise DamagedObject: if the note of the part cannot be read."""
        listed = self.cached(stored)
        if listed is None:
            sealed, note = self.codec.open_note(stored.number, stored.note)
            listed = _Listed(stored, sealed, Part(stored.number, sealed.etag, sealed.size, note, stored.stored))
            self._listed[stored.number] = listed
        return listed

    def check_open(self) -> None:
        """@raise NoSuchUpload: once it has ended: a note that is sealed for one upload could not be read in another of its ID."""
        check_same(self.codec.upload_id, not self.has_ended)


@implementer(IDataSpace)
class SealedDataSpace:
    """
    See L{IDataSpace}. Etags tell contents apart, and not more: the same bytes get another one each time.

    @param inner: the space below, with L{BOUNDS<storehouse.storage.sealed.formats.BOUNDS>}. It is started and
        stopped with this one.
    @param vault: the keys; started before.
    @param memory: bytes that all streams being written hold together, and all being read.
    """

    def __init__(self, inner: IDataSpace, vault: Vault, disk: IDisk, memory: int = 64 << 20) -> None:
        self._inner = inner
        self._disk = disk
        self._codec = Codec(vault, disk, memory)
        self._sources = KeyedLocks()  # one at a time copies an object, or removes it
        self._open: WeakValueDictionary[str, _OpenUpload] = WeakValueDictionary()
        self._recent: OrderedDict[str, _OpenUpload] = OrderedDict()

    @property
    def failed(self) -> StorehouseError | None:
        """What the space below failed with for good."""
        return self._inner.failed

    @property
    def metrics(self) -> SealedMetrics:
        """What it counts."""
        return self._codec.metrics

    def collect(self) -> Iterable[Metric]:
        """For Prometheus: with those of the space below."""
        if hasattr(self._inner, "collect"):
            yield from self._inner.collect()
        yield from self._codec.metrics.collect()

    def start(self) -> None:
        """Open the space below."""
        self._inner.start()

    def stop(self) -> Deferred[None]:
        """Close the space below."""
        return self._inner.stop()

    # -- objects -------------------------------------------------------------------------------

    @deferred
    async def put(
        self, id: str, stream: IByteStream, size: int | None, metadata: Metadata | Callable[[], Metadata]
    ) -> Part:
        part = await self._put(id, stream, size, metadata)
        return Part(1, part.etag, part.size)

    async def _put(
        self, id: str, stream: IByteStream, size: int | None, metadata: Metadata | Callable[[], Metadata]
    ) -> SealedPart:
        codec = self._codec
        async with closing(stream):
            check_id(id)
            given = metadata if callable(metadata) else check_metadata(metadata)
            encrypted = codec.encrypt(stream, size)

            def describe() -> Metadata:
                checked = check_metadata(given()) if callable(given) else given
                return codec.seal_object(id, [encrypted.part], checked)

            await self._inner.put(id, encrypted.stream, encrypted.size, describe)
        part = encrypted.part
        codec.count(part)
        return part

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
        codec = self._codec
        async with closing(stream):
            check_id(id)
            given = metadata if callable(metadata) else check_metadata(metadata)
            check_note(source_note)
            shared: list[SealedPart] = []
            if source_id is not None:
                source = codec.open_object(source_id, await self._inner.get_metadata(source_id))
                if source is None:
                    # It was stored before there was a master key: all of it is encrypted anew, as one part with the rest.
                    reader = await self._get(source_id, 0, None, expected)
                    total = None if size is None else reader.length + size
                    both = joined([partial(_given, reader), partial(_given, stream)])
                    made = await self._put(id, both, total, given)
                    return Part(0, made.etag, made.size)
                codec.check_expected(source_id, source, expected)
                numbered = extended(source.listed(), source_note)
                shared = [
                    attrs.evolve(part, number=new.number, note=new.note)
                    for part, new in zip(source.parts, numbered, strict=True)
                ]
            encrypted = codec.encrypt(stream, size)
            described: list[Description] = []

            def describe() -> Metadata:
                number = (shared[-1].number if shared else 0) + 1
                part = attrs.evolve(encrypted.part, number=number, note=check_note(note() if note is not None else ""))
                kept = check_metadata(given()) if callable(given) else given
                described.append(Description((*shared, part), kept))
                return codec.seal_object(id, described[-1].parts, kept)

            await self._inner.extend(id, source_id, encrypted.stream, encrypted.size, describe)
        codec.count(encrypted.part)
        return Part(0, described[-1].etag, described[-1].size)

    @deferred
    async def get(
        self,
        id: str,
        offset: int = 0,
        length: int | None = None,
        verified: bool = True,
        expected: Part | None = None,
    ) -> Reader:
        return await self._get(id, offset, length, expected)

    async def _get(self, id: str, offset: int, length: int | None, expected: Part | None) -> Reader:
        codec = self._codec
        description = codec.cached(id)
        if description is None and (offset or length is not None):
            description = codec.open_object(id, await self._inner.get_metadata(id))
        for _ in range(_TRIES):
            if description is not None:
                codec.check_expected(id, description, expected)
            # Most often the whole object is wanted: then one call of the space below is enough.
            start, count = (0, None) if description is None else self._stored(id, description, offset, length)
            try:
                # Each frame is authenticated: to verify blocks as well would cost more than that does.
                reader = await self._inner.get(id, start, count, verified=False)
            except InvalidRange:
                changed = codec.open_object(id, await self._inner.get_metadata(id))
                if changed is description:
                    raise codec.damaged(id, "there are fewer bytes than its description says") from None
                description = changed
                continue
            try:
                found = codec.open_object(id, reader.metadata)
                if found is None:
                    # It was stored before there was a master key, and has no frames.
                    await reader.close()
                    reader = await self._inner.get(id, offset, length, expected=expected)
                    return reader
                codec.check_expected(id, found, expected)
                if reader.size != found.sealed_size:
                    raise codec.damaged(id, f"it has {reader.size} bytes, not the {found.sealed_size} of its parts")
                length_of = check_range(offset, length, found.size)
                decryptor = Decryptor(id, found, offset, length_of)
                if (reader.offset, reader.length) == (decryptor.start, decryptor.length):
                    return codec.decrypt(reader, found, offset, length_of, decryptor)
            except BaseException:
                await reader.close()
                raise
            # It became another object, or not all that is stored is wanted.
            await reader.close()
            description = found
        raise codec.damaged(id, "it was replaced each time it was opened")

    def _stored(self, id: str, description: Description, offset: int, length: int | None) -> tuple[int, int]:
        decryptor = Decryptor(id, description, offset, check_range(offset, length, description.size))
        return decryptor.start, decryptor.length

    @deferred
    async def get_metadata(self, id: str) -> dict[str, list[str]]:
        stored = await self._inner.get_metadata(id)
        description = self._codec.open_object(id, stored)
        metadata: Metadata = stored if description is None else description.metadata
        return {name: list(values) for name, values in metadata.items()}

    @deferred
    async def list_object_parts(self, id: str, expected: Part | None = None) -> list[Part]:
        codec = self._codec
        found = codec.open_object(id, await self._inner.get_metadata(id))
        if found is None:
            return await self._inner.list_object_parts(id, expected)
        codec.check_expected(id, found, expected)
        return found.listed()

    @deferred
    async def delete(self, id: str) -> None:
        async with self._sources.held(id):
            await self._inner.delete(id)
        self._codec.forget(id)

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
        codec = self._codec
        check_id(id)
        given = None if metadata is None else check_metadata(metadata)
        async with self._sources.held(source_id):
            stored = await self._inner.get_metadata(source_id)
            source = codec.open_object(source_id, stored)
            if source is not None:
                codec.check_expected(source_id, source, expected)
            whole = None if source is None else source.whole_parts(offset, check_range(offset, length, source.size))
            if source is not None and whole is not None:
                start, end = source.sealed_starts[whole.start], source.sealed_starts[whole.stop]
                new_metadata = source.metadata if given is None else given
                copied = Description(_some_of(source, whole), new_metadata)
                sealed = codec.seal_object(id, copied.parts, new_metadata)
                try:
                    await self._inner.copy(id, source_id, start, end - start, sealed)
                except InvalidRange:
                    raise codec.damaged(source_id, "there are fewer bytes than its description says") from None
                return Part(0, copied.etag, copied.size)
        # Of a part only, or of what is plain: all of it is encrypted anew.
        reader = await self._get(source_id, offset, length, expected)
        part = await self._put(id, reader, reader.length, reader.metadata if given is None else given)
        return Part(0, part.etag, part.size)

    @deferred
    async def list_indexes(self) -> list[str]:
        return await self._inner.list_indexes()

    @deferred
    async def list_ids(self, index: str) -> list[str]:
        return await self._inner.list_ids(index)

    @deferred
    async def examine(self, id: str, expected: Part | None = None) -> dict[str, list[str]]:
        codec = self._codec
        stored = await self._inner.examine(id)
        found = codec.open_object(id, stored)
        if found is None:
            return await self._inner.examine(id, expected)
        codec.check_expected(id, found, expected)
        reader = await self._get(id, 0, 0, expected)
        await reader.close()
        return {name: list(values) for name, values in found.metadata.items()}

    @deferred
    async def set_aside(self, id: str, why: str) -> str:
        async with self._sources.held(id):
            path = await self._inner.set_aside(id, why)
        self._codec.forget(id)
        return path

    # -- the keys of uploads -------------------------------------------------------------------

    async def _upload(self, upload_id: str) -> _OpenUpload:
        upload = self._open.get(upload_id)
        if upload is None:
            stored = await self._inner.get_upload(check_id(upload_id, "upload ID"))
            codec = self._codec.open_upload(stored.id, stored.metadata)
            if codec is None:
                raise NoSuchUpload(f"the upload {upload_id} was begun before there was encryption: it cannot continue")
            upload = self._open.setdefault(upload_id, _OpenUpload(codec))
        self._recent[upload_id] = upload
        self._recent.move_to_end(upload_id)
        if len(self._recent) > _CACHED:
            self._recent.popitem(last=False)
        return upload

    def _end(self, upload_id: str) -> None:
        upload = self._open.pop(upload_id, None)
        self._recent.pop(upload_id, None)
        if upload is not None:
            upload.has_ended = True

    async def _listed(self, upload: _OpenUpload) -> list[_Listed]:
        found = []
        opened = 0
        for stored in await self._inner.list_parts(upload.codec.upload_id):
            if upload.cached(stored) is None:
                opened += 1
                if not opened % _AT_ONCE:
                    await self._disk.run(_nothing)
            found.append(upload.listed(stored))
        return found

    # -- the life of an upload -----------------------------------------------------------------

    @deferred
    async def init_upload(self, upload_id: str, metadata: Metadata) -> None:
        check_id(upload_id, "upload ID")
        checked = check_metadata(metadata)
        codec, sealed = self._codec.begin_upload(upload_id, checked)
        await self._inner.init_upload(upload_id, sealed)
        self._end(upload_id)
        self._open[upload_id] = self._recent[upload_id] = _OpenUpload(codec)

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
        return await self._upload_part(upload_id, number, stream, size, note, instead_of)

    async def _upload_part(
        self,
        upload_id: str,
        number: int,
        stream: IByteStream,
        size: int | None,
        note: Callable[[], str] | None,
        instead_of: Sequence[int] = (),
    ) -> str:
        codec = self._codec
        async with closing(stream):
            check_number(number)
            upload = await self._upload(upload_id)
            encrypted = codec.encrypt(stream, size)

            def describe() -> str:
                checked = check_note(note() if note is not None else "")
                upload.check_open()
                return upload.codec.seal_note(number, encrypted.part, checked)

            await self._inner.upload_part(upload_id, number, encrypted.stream, encrypted.size, describe, instead_of)
        part = encrypted.part
        upload.grown(part.size)
        codec.count(part)
        return part.etag

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
        codec = self._codec
        check_number(number)
        check_note(note)
        upload = await self._upload(upload_id)
        async with self._sources.held(source_id):
            source = codec.open_object(source_id, await self._inner.get_metadata(source_id))
            if source is not None:
                codec.check_expected(source_id, source, expected)
            whole = None if source is None else source.whole_parts(offset, check_range(offset, length, source.size))
            if source is not None and whole is not None and len(whole) == 1:
                part = source.parts[whole.start]
                start, end = source.sealed_starts[whole.start], source.sealed_starts[whole.stop]
                upload.check_open()
                text = upload.codec.seal_note(number, part, note)
                await self._inner.upload_part_copy(upload_id, number, source_id, start, end - start, text)
                return part.etag
        reader = await self._get(source_id, offset, length, expected)
        return await self._upload_part(upload_id, number, reader, reader.length, lambda: note)

    @deferred
    async def upload_part_link(
        self,
        upload_id: str,
        number: int,
        source_upload_id: str,
        source_numbers: Sequence[int],
        note: Callable[[Part, int], str] | None = None,
    ) -> list[str]:
        upload, source = await self._upload(upload_id), await self._upload(source_upload_id)
        etags: list[str] = []

        def rewrapped(stored: Part, at: int) -> str:
            upload.check_open()
            listed = source.listed(stored)
            etags.append(listed.part.etag)
            checked = listed.part.note if note is None else check_note(note(listed.part, at))
            return upload.codec.seal_note(at, listed.sealed, checked)

        await self._inner.upload_part_link(upload_id, number, source_upload_id, source_numbers, rewrapped)
        return etags

    @deferred
    async def get_part(self, upload_id: str, number: int) -> Reader:
        codec = self._codec
        upload = await self._upload(upload_id)
        for _ in range(_TRIES):
            stored = {part.number: part for part in await self._inner.list_parts(upload_id)}
            (chosen,) = choose_parts(upload_id, stored, [number])
            listed = upload.listed(chosen)
            reader = await self._inner.get_part(upload_id, number)
            if reader.etag == chosen.etag:
                break
            await reader.close()  # it was replaced
        else:
            raise NoSuchUpload(f"part {number} of the upload {upload_id} is replaced all the time")
        description = Description((listed.sealed,), {})
        decryptor = Decryptor(upload_id, description, 0, description.size, number)
        if reader.size != decryptor.length:
            await reader.close()
            raise codec.damaged(upload_id, f"it has {reader.size} bytes, not {decryptor.length}", number)
        return codec.decrypt(reader, description, 0, description.size, decryptor)

    @deferred
    async def complete_upload(
        self, id: str, upload_id: str, parts: Sequence[Part], metadata: Metadata | None = None, keep: bool = False
    ) -> Part:
        codec = self._codec
        check_id(id)
        check_order(parts)
        given = None if metadata is None else check_metadata(metadata)
        upload = await self._upload(upload_id)
        there = {listed.part.number: listed for listed in await self._listed(upload)}
        chosen = check_parts(upload_id, parts, {number: listed.part for number, listed in there.items()})
        new_metadata = upload.codec.metadata if given is None else given
        completed = Description(
            tuple(attrs.evolve(there[part.number].sealed, number=part.number, note=part.note) for part in chosen),
            new_metadata,
        )
        sealed = codec.seal_object(id, completed.parts, new_metadata)
        stored = [there[part.number].stored for part in chosen]
        await self._inner.complete_upload(id, upload_id, stored, sealed, keep)
        if not keep:
            self._end(upload_id)
        return Part(0, completed.etag, completed.size)

    @deferred
    async def abort_upload(self, upload_id: str) -> None:
        await self._inner.abort_upload(upload_id)
        self._end(upload_id)

    @deferred
    async def list_parts(self, upload_id: str) -> list[Part]:
        return [listed.part for listed in await self._listed(await self._upload(upload_id))]

    # -- all uploads ---------------------------------------------------------------------------

    @deferred
    async def list_uploads(self) -> list[Upload]:
        """See L{IDataSpace.list_uploads}. Of uploads that cannot be read, or may not be plain, it shows no more than the IDs."""
        uploads = []
        for stored in await self._inner.list_uploads():
            try:
                uploads.append(await self._shown(stored))
            except NoSuchUpload:
                pass  # it ended meanwhile
        return uploads

    async def _shown(self, stored: Upload) -> Upload:
        if not is_sealed(stored.metadata) and self._codec.allows_plain:
            return stored
        unreadable = attrs.evolve(stored, parts=0, size=0, metadata={})
        if not is_sealed(stored.metadata):
            return unreadable
        try:
            codec = self._codec.open_upload(stored.id, stored.metadata)
            sizes = [plain_size(part.size) for part in await self._inner.list_parts(stored.id)]
        except (Damaged, ValueError):
            return unreadable
        metadata = {} if codec is None else codec.metadata
        return attrs.evolve(stored, parts=len(sizes), size=sum(sizes), metadata=metadata)

    @deferred
    async def get_upload(self, upload_id: str) -> Upload:
        upload = await self._upload(upload_id)
        stored = await self._inner.get_upload(upload_id)
        size = upload.size_of(stored)
        if size is None:
            # All parts are listed only after a restart, or when some were replaced: not for every one of thousands.
            parts = await self._listed(upload)
            size = sum(listed.part.size for listed in parts)
            stored = attrs.evolve(stored, parts=len(parts), size=sum(listed.stored.size for listed in parts))
            upload.measured(stored, size)
        metadata = {name: list(values) for name, values in upload.codec.metadata.items()}
        return attrs.evolve(stored, size=size, metadata=metadata)

    @deferred
    async def examine_upload(self, upload_id: str) -> None:
        await self._inner.examine_upload(upload_id)
        await self._listed(await self._upload(upload_id))

    @deferred
    async def expire_uploads(self, age: float, keep: Callable[[str], bool] | None = None) -> list[str]:
        expired = await self._inner.expire_uploads(age, keep)
        for upload_id in expired:
            self._end(upload_id)
        return expired


def _some_of(source: Description, whole: range) -> tuple[SealedPart, ...]:
    """Parts of an object for another one. They keep their numbers if all of them go."""
    parts = source.parts[whole.start : whole.stop]
    return parts if len(whole) == len(source.parts) else tuple(attrs.evolve(part, number=0) for part in parts)


async def _given(stream: IByteStream) -> IByteStream:
    return stream


def _nothing() -> None:
    """A job for a disk thread: until its result comes, the reactor takes another turn."""
