"""
A data space that encrypts: on top of any other, to which it gives ciphertext.

docs/formats/sealed.md says what is written, what it protects, and what it does not.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from weakref import WeakValueDictionary

import attrs
from prometheus_client.core import Metric
from twisted.internet.defer import Deferred
from zope.interface import implementer

from storehouse.core.disk import IDisk
from storehouse.core.jobs import KeyedLocks, deferred
from storehouse.core.keys.vault import Vault
from storehouse.core.streams import IByteStream, closing
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
    choose_parts,
)
from storehouse.storage.sealed.codec import SpaceCodec
from storehouse.storage.sealed.formats import (
    Description,
    SealedPart,
    is_sealed,
    open_note,
    open_upload,
    plain_size,
    seal_note,
    seal_object,
    seal_upload,
    sealed_size,
    upload_key,
)
from storehouse.storage.sealed.frames import Opening
from storehouse.storage.sealed.metrics import SealedMetrics

__all__ = ["SealedDataSpace"]

# How often an object is opened anew that becomes another one meanwhile.
_TRIES = 8

# Uploads whose parts are remembered.
_REMEMBERED = 64

# Notes that are decrypted before others have their turn: a few milliseconds.
_AT_ONCE = 256


@attrs.frozen
class _Listed:
    """
    A part of an upload.

    @ivar stored: as the space below has it.
    @ivar part: as it is told.
    """

    stored: Part
    sealed: SealedPart
    part: Part


class _State:
    """
    What is known of an upload.

    @ivar ended: whether it was completed or aborted; another one may have its ID by now.
    """

    def __init__(self, upload_id: str, key: bytes, metadata: dict[str, list[str]]) -> None:
        self.upload_id = upload_id
        self.key = key
        self.metadata = metadata
        self.ended = False
        self._listed: dict[int, _Listed] = {}
        self._stored = (0, 0)
        self._size = 0

    def size_of(self, stored: Upload) -> int | None:
        """Its bytes before they were encrypted, if they are known for what is stored now."""
        return self._size if (stored.parts, stored.size) == self._stored else None

    def measured(self, stored: Upload, size: int) -> None:
        """It has so many bytes."""
        self._stored, self._size = (stored.parts, stored.size), size

    def grown(self, size: int) -> None:
        """It has a part more; if it has, who looks finds as much stored as is expected now."""
        parts, stored = self._stored
        self.measured(Upload("", 0, 0, parts + 1, stored + sealed_size(size)), self._size + size)

    def remembered(self, stored: Part) -> _Listed | None:
        """A part that was met before."""
        listed = self._listed.get(stored.number)
        return listed if listed is not None and listed.stored == stored else None

    def listed(self, codec: SpaceCodec, stored: Part) -> _Listed:
        """What a part is, of its note."""
        listed = self.remembered(stored)
        if listed is None:
            sealed, note = codec.opened(
                self.upload_id,
                "its note cannot be read",
                lambda: open_note(self.key, self.upload_id, stored.number, stored.note),
                stored.number,
            )
            listed = _Listed(stored, sealed, Part(stored.number, sealed.etag, sealed.size, note))
            self._listed[stored.number] = listed
        return listed


@implementer(IDataSpace)
class SealedDataSpace:
    """
    See L{IDataSpace}. Etags tell contents apart, and not more: the same bytes get another one each time.

    @param inner: the space below, with L{BOUNDS<storehouse.storage.sealed.formats.BOUNDS>}. It is started and
        stopped with this one.
    @param vault: the keys; started before.
    @param memory: bytes that all writers together hold, and all readers.
    """

    def __init__(self, inner: IDataSpace, vault: Vault, disk: IDisk, memory: int = 64 << 20) -> None:
        self._inner = inner
        self._disk = disk
        self._codec = SpaceCodec(vault, disk, memory)
        self._sources = KeyedLocks()  # one at a time copies an object, or removes it
        self._states: WeakValueDictionary[str, _State] = WeakValueDictionary()
        self._recent: OrderedDict[str, _State] = OrderedDict()

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
        """See L{IDataSpace.put}."""
        part = await self._put(id, stream, size, metadata)
        return Part(1, part.etag, part.size)

    async def _put(
        self, id: str, stream: IByteStream, size: int | None, metadata: Metadata | Callable[[], Metadata]
    ) -> SealedPart:
        codec = self._codec
        async with closing(stream):
            check_id(id)
            told = metadata if callable(metadata) else check_metadata(metadata)
            arriving = codec.arriving(stream, size)

            def describe() -> Metadata:
                kept = check_metadata(told()) if callable(told) else told
                return seal_object(codec.keyring, id, [arriving.part], kept)

            await self._inner.put(id, arriving.stream, arriving.size, describe)
        part = arriving.part
        codec.metrics.sealed += 1
        codec.metrics.bytes_sealed += part.size
        return part

    @deferred
    async def get(
        self,
        id: str,
        offset: int = 0,
        length: int | None = None,
        verified: bool = True,
        expected: Part | None = None,
    ) -> Reader:
        """See L{IDataSpace.get}."""
        return await self._get(id, offset, length, expected)

    async def _get(self, id: str, offset: int, length: int | None, expected: Part | None) -> Reader:
        codec = self._codec
        known = codec.known(id)
        if known is None and (offset or length is not None):
            known = codec.describe(id, await self._inner.get_metadata(id))
        for _ in range(_TRIES):
            if known is not None:
                codec.check_expected(id, known, expected)
            # Most often all is wanted: then one look at the space below is enough.
            start, count = (0, None) if known is None else self._stored(id, known, offset, length)
            try:
                # Each frame tells whether it is authentic: to verify blocks besides would cost more than that does.
                reader: Reader = await self._inner.get(id, start, count, verified=False)
            except InvalidRange:
                described = codec.describe(id, await self._inner.get_metadata(id))
                if described is known:
                    raise codec.damaged(id, "there are fewer bytes than its description says") from None
                known = described
                continue
            try:
                found = codec.describe(id, reader.metadata)
                if found is None:
                    # It was stored before there was a master key, and has no frames.
                    await reader.close()
                    reader = await self._inner.get(id, offset, length, expected=expected)
                    return reader
                codec.check_expected(id, found, expected)
                if reader.size != found.sealed_size:
                    raise codec.damaged(id, f"it has {reader.size} bytes, not the {found.sealed_size} of its parts")
                length_of = check_range(offset, length, found.size)
                opening = Opening(id, found, offset, length_of)
                if (reader.offset, reader.length) == (opening.start, opening.length):
                    return codec.reader(reader, found, offset, length_of, opening)
            except BaseException:
                await reader.close()
                raise
            # It became another object, or not all that is stored is wanted.
            await reader.close()
            known = found
        raise codec.damaged(id, "it was another object each time it was opened")

    def _stored(self, id: str, description: Description, offset: int, length: int | None) -> tuple[int, int]:
        opening = Opening(id, description, offset, check_range(offset, length, description.size))
        return opening.start, opening.length

    @deferred
    async def get_metadata(self, id: str) -> dict[str, list[str]]:
        """See L{IDataSpace.get_metadata}."""
        stored = await self._inner.get_metadata(id)
        description = self._codec.describe(id, stored)
        metadata: Metadata = stored if description is None else description.metadata
        return {name: list(values) for name, values in metadata.items()}

    @deferred
    async def delete(self, id: str) -> None:
        """See L{IDataSpace.delete}."""
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
        """See L{IDataSpace.copy}."""
        codec = self._codec
        check_id(id)
        told = None if metadata is None else check_metadata(metadata)
        async with self._sources.held(source_id):
            stored = await self._inner.get_metadata(source_id)
            source = codec.describe(source_id, stored)
            if source is not None:
                codec.check_expected(source_id, source, expected)
            whole = None if source is None else source.whole_parts(offset, check_range(offset, length, source.size))
            if source is not None and whole is not None:
                start, end = source.sealed_starts[whole.start], source.sealed_starts[whole.stop]
                kept = source.metadata if told is None else told
                made = Description(source.parts[whole.start : whole.stop], kept)
                sealed = seal_object(codec.keyring, id, made.parts, kept)
                try:
                    await self._inner.copy(id, source_id, start, end - start, sealed)
                except InvalidRange:
                    raise codec.damaged(source_id, "there are fewer bytes than its description says") from None
                return Part(0, made.etag, made.size)
        # Of a part only, or of what is plain: all of it is encrypted anew.
        reader = await self._get(source_id, offset, length, expected)
        part = await self._put(id, reader, reader.length, reader.metadata if told is None else told)
        return Part(0, part.etag, part.size)

    @deferred
    async def list_ids(self, index: str) -> list[str]:
        """See L{IInventory.list_ids}."""
        return await self._inner.list_ids(index)

    @deferred
    async def examine(self, id: str, expected: Part | None = None) -> dict[str, list[str]]:
        """See L{IInventory.examine}."""
        codec = self._codec
        stored = await self._inner.examine(id)
        found = codec.describe(id, stored)
        if found is None:
            return await self._inner.examine(id, expected)
        codec.check_expected(id, found, expected)
        reader = await self._get(id, 0, 0, expected)
        await reader.close()
        return {name: list(values) for name, values in found.metadata.items()}

    @deferred
    async def set_aside(self, id: str, why: str) -> str:
        """See L{IInventory.set_aside}."""
        async with self._sources.held(id):
            place: str = await self._inner.set_aside(id, why)
        self._codec.forget(id)
        return place

    # -- what is known of uploads --------------------------------------------------------------

    async def _state(self, upload_id: str) -> _State:
        state = self._states.get(upload_id)
        if state is None:
            upload: Upload = await self._inner.get_upload(check_id(upload_id, "upload ID"))
            found = self._made(upload)
            if found is None:
                raise NoSuchUpload(f"the upload {upload_id} was begun before there was encryption: it cannot go on")
            state = self._states.setdefault(upload_id, found)
        self._recent[upload_id] = state
        self._recent.move_to_end(upload_id)
        if len(self._recent) > _REMEMBERED:
            self._recent.popitem(last=False)
        return state

    def _made(self, upload: Upload) -> _State | None:
        """C{None} for an upload that is plain."""
        codec = self._codec
        if codec.is_plain(upload.id, upload.metadata):
            return None

        def work() -> _State:
            key = upload_key(codec.keyring, upload.id, upload.metadata)
            return _State(upload.id, key, open_upload(key, upload.id, upload.metadata))

        return codec.opened(upload.id, "its description cannot be read", work)

    def _end(self, upload_id: str) -> None:
        state = self._states.pop(upload_id, None)
        self._recent.pop(upload_id, None)
        if state is not None:
            state.ended = True

    async def _listed(self, state: _State) -> list[_Listed]:
        found = []
        opened = 0
        for stored in await self._inner.list_parts(state.upload_id):
            if state.remembered(stored) is None:
                opened += 1
                if not opened % _AT_ONCE:
                    await self._disk.run(_nothing)
            found.append(state.listed(self._codec, stored))
        return found

    # -- the life of an upload -----------------------------------------------------------------

    @deferred
    async def init_upload(self, upload_id: str, metadata: Metadata) -> None:
        """See L{IDataSpace.init_upload}."""
        check_id(upload_id, "upload ID")
        kept = check_metadata(metadata)
        key, sealed = seal_upload(self._codec.keyring, upload_id, kept)
        await self._inner.init_upload(upload_id, sealed)
        self._end(upload_id)
        self._states[upload_id] = self._recent[upload_id] = _State(upload_id, key, kept)

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
        """See L{IDataSpace.upload_part}."""
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
            state = await self._state(upload_id)
            arriving = codec.arriving(stream, size)

            def describe() -> str:
                kept = check_note(note() if note is not None else "")
                self._check_open(state)
                return seal_note(state.key, upload_id, number, arriving.part, kept)

            await self._inner.upload_part(upload_id, number, arriving.stream, arriving.size, describe, instead_of)
        part = arriving.part
        state.grown(part.size)
        codec.metrics.sealed += 1
        codec.metrics.bytes_sealed += part.size
        return part.etag

    def _check_open(self, state: _State) -> None:
        # What is said of a part that is encrypted for one upload could not be read by another of its ID.
        if state.ended:
            raise NoSuchUpload(f"the upload {state.upload_id} ended, and another one may have been begun with its ID")

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
        """See L{IDataSpace.upload_part_copy}."""
        codec = self._codec
        check_number(number)
        check_note(note)
        state = await self._state(upload_id)
        async with self._sources.held(source_id):
            source = codec.describe(source_id, await self._inner.get_metadata(source_id))
            if source is not None:
                codec.check_expected(source_id, source, expected)
            whole = None if source is None else source.whole_parts(offset, check_range(offset, length, source.size))
            if source is not None and whole is not None and len(whole) == 1:
                part = source.parts[whole.start]
                start, end = source.sealed_starts[whole.start], source.sealed_starts[whole.stop]
                self._check_open(state)
                text = seal_note(state.key, upload_id, number, part, note)
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
        """See L{IDataSpace.upload_part_link}."""
        state, source = await self._state(upload_id), await self._state(source_upload_id)
        etags: list[str] = []

        def rewrapped(stored: Part, at: int) -> str:
            self._check_open(state)
            listed = source.listed(self._codec, stored)
            etags.append(listed.part.etag)
            kept = listed.part.note if note is None else check_note(note(listed.part, at))
            return seal_note(state.key, upload_id, at, listed.sealed, kept)

        await self._inner.upload_part_link(upload_id, number, source_upload_id, source_numbers, rewrapped)
        return etags

    @deferred
    async def get_part(self, upload_id: str, number: int) -> Reader:
        """See L{IDataSpace.get_part}."""
        codec = self._codec
        state = await self._state(upload_id)
        for _ in range(_TRIES):
            stored = {part.number: part for part in await self._inner.list_parts(upload_id)}
            (chosen,) = choose_parts(upload_id, stored, [number])
            listed = state.listed(codec, chosen)
            reader: Reader = await self._inner.get_part(upload_id, number)
            if reader.etag == chosen.etag:
                break
            await reader.close()  # it was replaced
        else:
            raise NoSuchUpload(f"part {number} of the upload {upload_id} is replaced all the time")
        description = Description((listed.sealed,), {})
        opening = Opening(upload_id, description, 0, description.size, number)
        if reader.size != opening.length:
            await reader.close()
            raise codec.damaged(upload_id, f"it has {reader.size} bytes, not {opening.length}", number)
        return codec.reader(reader, description, 0, description.size, opening)

    @deferred
    async def complete_upload(
        self, id: str, upload_id: str, parts: Sequence[Part], metadata: Metadata | None = None
    ) -> Part:
        """See L{IDataSpace.complete_upload}."""
        codec = self._codec
        check_id(id)
        check_order(parts)
        told = None if metadata is None else check_metadata(metadata)
        state = await self._state(upload_id)
        there = {listed.part.number: listed for listed in await self._listed(state)}
        chosen = check_parts(upload_id, parts, {number: listed.part for number, listed in there.items()})
        kept = state.metadata if told is None else told
        made = Description(tuple(there[part.number].sealed for part in chosen), kept)
        sealed = seal_object(codec.keyring, id, made.parts, kept)
        stored = [there[part.number].stored for part in chosen]
        await self._inner.complete_upload(id, upload_id, stored, sealed)
        self._end(upload_id)
        return Part(0, made.etag, made.size)

    @deferred
    async def abort_upload(self, upload_id: str) -> None:
        """See L{IDataSpace.abort_upload}."""
        await self._inner.abort_upload(upload_id)
        self._end(upload_id)

    @deferred
    async def list_parts(self, upload_id: str) -> list[Part]:
        """See L{IDataSpace.list_parts}."""
        return [listed.part for listed in await self._listed(await self._state(upload_id))]

    # -- all uploads ---------------------------------------------------------------------------

    @deferred
    async def list_uploads(self) -> list[Upload]:
        """See L{IUploads.list_uploads}."""
        uploads = []
        for upload in await self._inner.list_uploads():
            try:
                uploads.append(await self._told(upload) if is_sealed(upload.metadata) else self._told_plain(upload))
            except NoSuchUpload:
                pass  # it ended meanwhile
        return uploads

    def _told_plain(self, upload: Upload) -> Upload:
        if self._codec.keyring.plain:
            return upload
        return attrs.evolve(upload, parts=0, size=0, metadata={})

    async def _told(self, upload: Upload) -> Upload:
        try:
            state = self._made(upload)
            sizes = [plain_size(part.size) for part in await self._inner.list_parts(upload.id)]
        except (Damaged, ValueError):
            return attrs.evolve(upload, parts=0, size=0, metadata={})
        return attrs.evolve(upload, parts=len(sizes), size=sum(sizes), metadata={} if state is None else state.metadata)

    @deferred
    async def get_upload(self, upload_id: str) -> Upload:
        """See L{IUploads.get_upload}."""
        inner = self._inner
        state = await self._state(upload_id)
        upload: Upload = await inner.get_upload(upload_id)
        size = state.size_of(upload)
        if size is None:
            # All parts are looked at only after a restart, or when some were replaced: not for every one of thousands.
            parts = await self._listed(state)
            size = sum(listed.part.size for listed in parts)
            upload = attrs.evolve(upload, parts=len(parts), size=sum(listed.stored.size for listed in parts))
            state.measured(upload, size)
        metadata = {name: list(values) for name, values in state.metadata.items()}
        return attrs.evolve(upload, size=size, metadata=metadata)

    @deferred
    async def examine_upload(self, upload_id: str) -> None:
        """See L{IInventory.examine_upload}."""
        await self._inner.examine_upload(upload_id)
        await self._listed(await self._state(upload_id))

    @deferred
    async def expire_uploads(self, age: float, keep: Callable[[str], bool] | None = None) -> list[str]:
        """See L{IUploads.expire_uploads}."""
        expired: list[str] = await self._inner.expire_uploads(age, keep)
        for upload_id in expired:
            self._end(upload_id)
        return expired


def _nothing() -> None:
    """Let others have their turn."""
