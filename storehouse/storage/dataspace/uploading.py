"""Uploads of a Wormer store, in the reactor's thread: one change of an upload at a time."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager

import attrs
from twisted.logger import Logger

from storehouse.core.streams import IByteStream, Piece
from storehouse.errors import NoSuchUpload, StorageFailed, StorehouseError
from storehouse.storage.dataspace.checks import (
    check_free,
    check_id,
    check_metadata,
    check_note,
    check_number,
    check_order,
    check_parts,
    choose_parts,
)
from storehouse.storage.dataspace.copying import copy_part_of
from storehouse.storage.dataspace.formats import encode_upload
from storehouse.storage.dataspace.ground import Ground, Receiver
from storehouse.storage.dataspace.interfaces import Metadata, Part, Reader, Upload
from storehouse.storage.dataspace.layout import names_in
from storehouse.storage.dataspace.opened import OpenUploadPart
from storehouse.storage.dataspace.reader import BlockStream, ReadMemory
from storehouse.storage.dataspace.staging import Staging
from storehouse.storage.dataspace.uploads import (
    UploadState,
    begin_upload,
    commit_part,
    commit_parts,
    complete,
    describe_upload,
    examine_upload,
    link_parts,
    load_upload,
    remove_unlisted,
    touched_at,
)

__all__ = ["Uploading"]

# Uploads whose lists of parts are remembered.
_REMEMBERED = 64


class Uploading:
    """
    The operations on uploads.

    @param pinned: keeps the directory of an object where it is.
    @param given_out: told of bytes that readers of parts have given out.
    """

    _log = Logger()

    def __init__(
        self,
        ground: Ground,
        pinned: Callable[[str], AbstractAsyncContextManager[None]],
        read_memory: ReadMemory,
        given_out: Callable[[int], None],
        clock: Callable[[], float],
    ) -> None:
        self._ground = ground
        self._pinned = pinned
        self._read_memory = read_memory
        self._given_out = given_out
        self._clock = clock
        self._states: OrderedDict[str, UploadState] = OrderedDict()
        self._receiving: Counter[str] = Counter()

    def _path(self, upload_id: str) -> str:
        return self._ground.layout.upload(check_id(upload_id, "upload ID"))

    async def _looked_up(self, upload_id: str) -> UploadState:
        if upload_id in self._states:
            return await self._state(upload_id)
        # It must not end, and another one begin, before what was read of it is remembered.
        async with self._ground.uploads.held(upload_id):
            return await self._state(upload_id)

    async def _state(self, upload_id: str) -> UploadState:
        state = self._states.get(upload_id)
        if state is None:
            state = await self._ground.run(self._load, self._path(upload_id), upload_id)
            state = self._states.setdefault(upload_id, state)
            if len(self._states) > _REMEMBERED:
                self._states.popitem(last=False)
        else:
            self._states.move_to_end(upload_id)
        return state

    def _load(self, path: str, upload_id: str) -> UploadState:
        state = load_upload(path, upload_id)
        if self._ground.settings.durable:
            # Whoever wrote it may have been killed before it was on disk: it is before anybody is told of it.
            try:
                self._ground.files.sync_directory(path)
            except FileNotFoundError:
                raise NoSuchUpload(f"there is no upload {upload_id}") from None
            except OSError as error:
                raise StorageFailed(f"{path} could not be brought to disk: {error.strerror or error}") from None
        return state

    # -- the life of an upload -----------------------------------------------------------------

    async def init(self, upload_id: str, metadata: Metadata) -> None:
        """See C{IDataSpace.init_upload}."""
        path = self._path(upload_id)
        metadata = check_metadata(metadata, self._ground.settings.bounds.metadata)
        staging = self._ground.staging()
        async with self._ground.uploads.held(upload_id), self._ground.staged(staging):
            await self._ground.run(self._begin, staging, path, metadata)

    async def replace_metadata(self, upload_id: str, metadata: Metadata) -> None:
        """See C{IDescribed.replace_upload_metadata}."""
        path = self._path(upload_id)
        metadata = check_metadata(metadata, self._ground.settings.bounds.metadata)
        staging = self._ground.staging()
        async with self._ground.uploads.held(upload_id), self._ground.staged(staging):
            state = await self._state(upload_id)
            data = encode_upload(state.created, metadata, upload_id)
            await self._committed(upload_id, self._ground.run(staging.replace, "upload.json", data, path))
            state.metadata = metadata

    def _note(self, note: str) -> str:
        return check_note(note, self._ground.settings.bounds.note)

    def _begin(self, staging: Staging, path: str, metadata: Metadata) -> None:
        self._ground.check_absent(path)
        self._ground.make_index(path)
        begin_upload(staging, path, int(self._clock() * 1e9), metadata)

    async def part(
        self,
        upload_id: str,
        number: int,
        stream: IByteStream,
        size: int | None,
        note: Callable[[], str] | None,
        instead_of: Sequence[int],
    ) -> str:
        """See C{IDataSpace.upload_part}."""
        self._path(upload_id)
        check_number(number)
        begun = (await self._looked_up(upload_id)).created
        receiver = Receiver(self._ground, number, size, "")
        self._receiving[upload_id] += 1
        try:
            async with self._ground.staged(receiver.staging):
                rest = await self._ground.receive(receiver, stream, size)
                kept = self._note(note() if note is not None else "")
                part = attrs.evolve(await self._ground.run(self._finish, receiver, rest), note=kept)
                await self._commit(receiver.staging, upload_id, begun, part, instead_of)
        finally:
            self._received(upload_id)
        self._ground.metrics.bytes_in += part.size
        return part.etag

    def _finish(self, receiver: Receiver, rest: list[Piece]) -> Part:
        part = receiver.finish(rest)
        receiver.staging.flush()
        return part

    def _received(self, upload_id: str) -> None:
        self._receiving[upload_id] -= 1
        if not self._receiving[upload_id]:
            del self._receiving[upload_id]

    async def _commit(
        self, staging: Staging, upload_id: str, begun: int, part: Part, instead_of: Sequence[int] = ()
    ) -> None:
        async with self._ground.uploads.held(upload_id):
            state = await self._state(upload_id)
            if state.created != begun:
                raise NoSuchUpload(f"the upload {upload_id} ended, and another one was begun with its ID")
            if instead_of:
                check_free(upload_id, state.parts, part.number, 1)
                work = self._ground.run(commit_parts, staging, self._path(upload_id), state, [part], instead_of)
            else:
                work = self._ground.run(commit_part, staging, self._path(upload_id), state, part)
            await self._committed(upload_id, work)
            state.change([part], instead_of)

    async def _committed(self, upload_id: str, work: Awaitable[None]) -> None:
        try:
            await work
        except BaseException:
            # What it holds now is what is on disk.
            self._states.pop(upload_id, None)
            raise

    async def part_link(
        self,
        upload_id: str,
        number: int,
        source_upload_id: str,
        source_numbers: Sequence[int],
        note: Callable[[Part, int], str] | None,
    ) -> list[str]:
        """See C{IDataSpace.upload_part_link}."""
        path, source = self._path(upload_id), self._path(source_upload_id)
        check_number(number)
        check_number(number + max(len(source_numbers), 1) - 1)
        begun = (await self._looked_up(upload_id)).created
        staging = self._ground.staging()
        async with self._ground.staged(staging):
            async with self._ground.uploads.held(source_upload_id):
                shared = choose_parts(source_upload_id, (await self._state(source_upload_id)).parts, source_numbers)
                await self._ground.run(link_parts, staging, source, shared, number)
                notes = [
                    part.note if note is None else self._note(note(part, at)) for at, part in enumerate(shared, number)
                ]
            parts = [attrs.evolve(part, number=number + at, note=notes[at]) for at, part in enumerate(shared)]
            async with self._ground.uploads.held(upload_id):
                state = await self._state(upload_id)
                if state.created != begun:
                    raise NoSuchUpload(f"the upload {upload_id} ended, and another one was begun with its ID")
                check_free(upload_id, state.parts, number, len(parts))
                await self._committed(upload_id, self._ground.run(commit_parts, staging, path, state, parts))
                state.change(parts)
        return [part.etag for part in parts]

    async def get_part(self, upload_id: str, number: int) -> Reader:
        """See C{IDataSpace.get_part}."""
        path = self._path(upload_id)
        async with self._ground.uploads.held(upload_id):
            (part,) = choose_parts(upload_id, (await self._state(upload_id)).parts, [number])
            opened = await self._ground.run(OpenUploadPart, path, upload_id, part)
        stream = BlockStream(
            opened,
            0,
            part.size,
            [],
            self._ground.disk,
            self._read_memory,
            self._ground.explained_failure,
            lambda: None,
            self._given_out,
        )
        return Reader(upload_id, {}, part.etag, part.size, 0, part.size, stream)

    async def part_copy(
        self,
        upload_id: str,
        number: int,
        source_id: str,
        offset: int,
        length: int | None,
        note: str,
        expected: Part | None,
    ) -> str:
        """See C{IDataSpace.upload_part_copy}."""
        self._path(upload_id)
        check_number(number)
        check_id(source_id, "ID of the source")
        self._note(note)
        begun = (await self._looked_up(upload_id)).created
        staging = self._ground.staging()
        async with self._ground.staged(staging):
            async with self._pinned(source_id):
                path = self._ground.layout.object(source_id)
                made = self._ground.hash, self._ground.settings.block_size
                part = await self._ground.run(
                    copy_part_of, staging, path, offset, length, number, note, expected, *made
                )
            await self._commit(staging, upload_id, begun, part)
        self._ground.metrics.bytes_in += part.size
        return part.etag

    async def complete(self, id: str, upload_id: str, parts: Sequence[Part], metadata: Metadata | None) -> Part:
        """See C{IDataSpace.complete_upload}."""
        target = self._ground.layout.object(check_id(id))
        path = self._path(upload_id)
        check_order(parts)
        if metadata is not None:
            metadata = check_metadata(metadata, self._ground.settings.bounds.metadata)
        staging = self._ground.staging()
        async with self._ground.uploads.held(upload_id):
            state = await self._state(upload_id)
            chosen = check_parts(upload_id, parts, state.parts)
            told = state.metadata if metadata is None else metadata
            async with self._ground.staged(staging):
                made = await self._ground.run(self._complete, staging, path, chosen, told, target)
            self._states.pop(upload_id, None)
            try:
                await self._ground.run(self._remove, path, upload_id)
            except StorehouseError as error:
                # The object is there; what is left of the upload expires.
                self._log.error("the upload {id} could not be removed: {error}", id=upload_id, error=str(error))
        return made

    def _complete(self, staging: Staging, path: str, parts: list[Part], metadata: Metadata, target: str) -> Part:
        self._ground.check_absent(target)
        self._ground.make_index(target)
        return complete(staging, path, parts, metadata, target)

    async def abort(self, upload_id: str) -> None:
        """See C{IDataSpace.abort_upload}."""
        path = self._path(upload_id)
        async with self._ground.uploads.held(upload_id):
            self._states.pop(upload_id, None)
            await self._ground.run(self._remove, path, upload_id)

    def _remove(self, path: str, upload_id: str) -> None:
        try:
            gone = self._ground.move_out(path)
        except FileNotFoundError:
            raise NoSuchUpload(f"there is no upload {upload_id}") from None
        self._ground.remove(gone)

    async def list_parts(self, upload_id: str) -> list[Part]:
        """See C{IDataSpace.list_parts}."""
        self._path(upload_id)
        parts = (await self._looked_up(upload_id)).parts
        return [parts[number] for number in sorted(parts)]

    # -- all uploads ---------------------------------------------------------------------------

    async def _ids(self) -> list[str]:
        indexes = await self._ground.run(names_in, self._ground.layout.uploads)
        ids: list[str] = []
        for index in indexes:
            ids += await self._ground.run(names_in, f"{self._ground.layout.uploads}/{index}")
        return ids

    async def list_uploads(self) -> list[Upload]:
        """See C{IUploads.list_uploads}."""
        uploads = []
        for upload_id in await self._ids():
            try:
                uploads.append(await self._ground.run(describe_upload, self._path(upload_id), upload_id))
            except NoSuchUpload:
                pass  # it ended meanwhile
        return uploads

    async def get_upload(self, upload_id: str) -> Upload:
        """See C{IUploads.get_upload}."""
        path = self._path(upload_id)
        state = await self._looked_up(upload_id)
        size = sum(part.size for part in state.parts.values())
        touched = await self._ground.run(touched_at, path, upload_id)
        metadata = {name: list(values) for name, values in state.metadata.items()}
        return Upload(upload_id, state.created / 1e9, touched, len(state.parts), size, metadata)

    async def examine(self, upload_id: str) -> None:
        """See C{IInventory.examine_upload}."""
        path = self._path(upload_id)
        async with self._ground.uploads.held(upload_id):
            await self._ground.run(examine_upload, path, upload_id)

    async def expire(self, age: float, keep: Callable[[str], bool] | None) -> list[str]:
        """See C{IUploads.expire_uploads}."""
        expired = []
        for upload in await self.list_uploads():
            if upload.id in self._receiving or upload.touched > self._clock() - age:
                continue
            if keep is not None and await self._ground.run(keep, upload.id):
                continue
            try:
                await self.abort(upload.id)
            except NoSuchUpload:
                continue
            self._log.info("the upload {id} was abandoned and is removed", id=upload.id)
            self._ground.metrics.expired += 1
            expired.append(upload.id)
        return expired

    async def clean(self) -> None:
        """Remove files that a killed process had moved into an upload and not yet named."""
        for upload_id in await self._ids():
            async with self._ground.uploads.held(upload_id):
                try:
                    state = await self._state(upload_id)
                    removed = await self._ground.run(
                        remove_unlisted, self._ground.staging(), self._path(upload_id), state
                    )
                except StorehouseError as error:
                    if isinstance(error, StorageFailed):
                        raise
                    continue  # damaged, or ended meanwhile
                self._ground.metrics.leftovers += bool(removed)
