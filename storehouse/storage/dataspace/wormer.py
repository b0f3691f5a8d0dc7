"""
The Wormer store: a data space on a local file system, write once, read many, without a lock on what is stored.

docs/formats/wormer.md is what it writes, and in which order.
"""

from __future__ import annotations

import os
import time
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial

import attrs
from prometheus_client.core import Metric
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from zope.interface import implementer

from storehouse.core.files import CACHED, WAITING, Access, Files, NotCached
from storehouse.core.jobs import IDisk, deferred
from storehouse.core.operations import operation
from storehouse.core.streams import BytesStream, IByteStream, Piece
from storehouse.errors import DamagedObject, NoSuchObject, NoSuchUpload, StorageFailed, StorehouseError
from storehouse.storage.dataspace.copying import copy_object, copy_part_of, share_parts
from storehouse.storage.dataspace.directory import Holding, Receiver, Staging, StoreDirectory, WormerSettings, names_in
from storehouse.storage.dataspace.formats import ObjectInfo, encode_object, encode_upload, joined_etag
from storehouse.storage.dataspace.interfaces import (
    IDescribed,
    Metadata,
    Part,
    Reader,
    Upload,
)
from storehouse.storage.dataspace.opened import (
    READ_SIZE,
    BlockStream,
    OpenObject,
    OpenUploadPart,
    ReadMemory,
    read_small,
)
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
from storehouse.storage.dataspace.values import (
    check_free,
    check_id,
    check_index,
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

__all__ = ["WormerDataSpace", "WormerSettings"]

# Uploads whose lists of parts are remembered.
_REMEMBERED = 64


@implementer(IDescribed)
class WormerDataSpace:
    """
    See L{IDataSpace}.

    @param clock: tells the time, C{seconds()} since 1970.
    @param on_failure: called once, in the reactor's thread, if the store has to stop because a sync failed; the process
        should then end.
    @ivar holding: who reads what; keeps what is removed, if asked.
    @cvar tags_by_content: whether the same bytes, stored alike, have the same tag whenever they are stored.
    @ivar operations: what runs.
    @ivar metrics: what it counts.
    @ivar cleaned: fires when what an earlier process left half done is gone.
    """

    tags_by_content = True

    _log = Logger()

    def __init__(
        self,
        settings: WormerSettings,
        disk: IDisk,
        on_failure: Callable[[StorehouseError], None] = lambda error: None,
        files: Files | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._directory = StoreDirectory(settings, disk, on_failure, files or Files())
        self.operations = self._directory.operations
        self.metrics = self._directory.metrics
        self.holding = Holding(self._directory)
        self.cleaned: Deferred[None] = Deferred()
        self._clock = clock
        self._read_memory = ReadMemory(settings.memory)
        self._states: OrderedDict[str, UploadState] = OrderedDict()
        self._receiving: Counter[str] = Counter()  # parts that come now, by upload ID

    @property
    def failed(self) -> StorehouseError | None:
        """What it failed with for good."""
        return self._directory.failed

    def collect(self) -> Iterable[Metric]:
        """Yield the metrics of the store, as samples for the admin door."""
        return self.metrics.collect()

    # -- start and stop ------------------------------------------------------------------------

    def start(self) -> None:
        """
        Open, in the caller's time; what an earlier process left half done is removed afterwards.

        @raise StartFailed: saying what cannot be used.
        """
        directory = self._directory
        leftovers = directory.layout.prepare(directory.files, directory.settings.durable)
        self.operations.refusal = None
        if leftovers:
            self._log.info("removing {count} leftovers of interrupted operations", count=len(leftovers))
        cleaning = Deferred.fromCoroutine(self._clean(leftovers))
        self.operations.track(cleaning)
        cleaning.addErrback(lambda failure: self._log.failure("while cleaning up", failure=failure))
        cleaning.addCallback(self.cleaned.callback)

    async def _clean(self, leftovers: list[str]) -> None:
        for path in leftovers:
            await self._directory.run(self._directory.remove, path)
            self.metrics.leftovers += 1
            if self.operations.refusal is not None:
                return
        await self._clean_uploads()

    @deferred
    async def stop(self) -> None:
        """Finish what runs. Readers that are open stay open."""
        await self.operations.stopped()

    def passed(self) -> Deferred[None]:
        """See L{IDescribed.passed}."""
        return Deferred.fromCoroutine(self.operations.passed())

    # -- objects -------------------------------------------------------------------------------

    @operation
    async def put(
        self, id: str, stream: IByteStream, size: int | None, metadata: Metadata | Callable[[], Metadata]
    ) -> Part:
        """See L{IDataSpace.put}."""
        target = self._directory.layout.object(check_id(id))
        told = metadata if callable(metadata) else self._checked(metadata)
        receiver = Receiver(self._directory, 1, size, target)
        async with self._directory.staged(receiver.staging):
            rest = await self._directory.receive(receiver, stream, size)
            kept = self._checked(told()) if callable(told) else told
            part = await self._directory.run(self._finish_put, receiver, rest, kept, target)
        self.metrics.bytes_in += part.size
        return part

    def _checked(self, metadata: Metadata) -> Metadata:
        return check_metadata(metadata, self._directory.settings.bounds.metadata)

    def _finish_put(self, receiver: Receiver, rest: list[Piece], metadata: Metadata, target: str) -> Part:
        part = receiver.finish(rest)
        self._publish(receiver.staging, [part], metadata, target)
        return part

    def _publish(self, staging: Staging, parts: Sequence[Part], metadata: Metadata, target: str) -> ObjectInfo:
        info = ObjectInfo(
            joined_etag(part.etag for part in parts),
            sum(part.size for part in parts),
            tuple(parts),
            metadata,
            os.path.basename(target),
        )
        staging.write("data.json", encode_object(info))
        # data.json is written last and synced with the parts before the rename: an object that has its name is complete.
        staging.flush()
        self._directory.make_index(target)
        staging.publish(target)
        return info

    @operation
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
        """See L{IDataSpace.extend}."""
        target = self._directory.layout.object(check_id(id))
        told = metadata if callable(metadata) else self._checked(metadata)
        self._note(source_note)
        parts: list[Part] = []
        if source_id is not None:
            source = self._directory.layout.object(check_id(source_id, "ID of the source"))
            info = await self._directory.run(self._read_info, source, source_id, WAITING, expected)
            parts = extended(info.parts, source_note)
        number = parts[-1].number + 1 if parts else 1
        receiver = Receiver(self._directory, number, size, target)
        async with self._directory.staged(receiver.staging):
            rest = await self._directory.receive(receiver, stream, size)
            noted = self._note(note() if note is not None else "")
            kept = self._checked(told()) if callable(told) else told
            finish = partial(self._finish_extend, receiver, rest, noted, parts, source_id, expected, kept, target)
            if source_id is None:
                info = await self._directory.run(finish)
            else:
                async with self._directory.objects.held(source_id):
                    info = await self._directory.run(finish)
        self.metrics.bytes_in += info.parts[-1].size
        return Part(0, info.etag, info.size)

    def _finish_extend(
        self,
        receiver: Receiver,
        rest: list[Piece],
        note: str,
        parts: list[Part],
        source_id: str | None,
        expected: Part | None,
        metadata: Metadata,
        target: str,
    ) -> ObjectInfo:
        part = attrs.evolve(receiver.finish(rest), note=note)
        shared: list[Part] = []
        if source_id is not None:
            path = self._directory.layout.object(source_id)
            opened = OpenObject(path, source_id, expected=expected)
            try:
                shared = share_parts(receiver.staging, opened, path, parts)
            finally:
                opened.close()
        return self._publish(receiver.staging, [*shared, part], metadata, target)

    @operation
    async def get(
        self,
        id: str,
        offset: int = 0,
        length: int | None = None,
        verified: bool = True,
        expected: Part | None = None,
    ) -> Reader:
        """See L{IDataSpace.get}."""
        path = self._directory.layout.object(check_id(id))
        try:
            info, data = read_small(path, offset, length, expected)
        # Small objects that are in the page cache are read in this thread: a disk thread would cost more than the read.
        except NotCached:
            pass
        else:
            self._given_out(len(data))
            return _reader(id, info, offset, len(data), BytesStream(data))
        holders = await self.holding.hold(id)
        try:
            try:
                opened, count, first = self._open_at_once(path, id, offset, length, verified, expected)
            except NotCached:
                opened, count, first = await self._directory.run(
                    self._open_range, path, id, offset, length, verified, expected
                )
        except BaseException:
            self.holding.let_go(id, holders)
            raise
        stream = BlockStream(
            opened,
            offset,
            count,
            first,
            self._directory.disk,
            self._read_memory,
            self._directory.explained,
            partial(self.holding.let_go, id, holders),
            self._given_out,
        )
        return _reader(id, opened.info, offset, count, stream)

    def _given_out(self, size: int) -> None:
        self.metrics.bytes_out += size

    def _open_at_once(
        self, path: str, id: str, offset: int, length: int | None, verified: bool, expected: Part | None
    ) -> tuple[OpenObject, int, list[bytes]]:
        """What is small and in memory is read here and now: handing it to a thread would take longer."""
        try:
            opened = OpenObject(path, id, CACHED, verified, expected)
            try:
                count = check_range(offset, length, opened.info.size)
                return opened, count, opened.read_at_once(offset, count) if count else []
            except BaseException:
                opened.close()
                raise
        except (OSError, StorehouseError) as error:
            raise self._directory.explained(error) from None

    def _open_range(
        self, path: str, id: str, offset: int, length: int | None, verified: bool, expected: Part | None
    ) -> tuple[OpenObject, int, list[bytes]]:
        opened = OpenObject(path, id, verified=verified, expected=expected)
        try:
            count = check_range(offset, length, opened.info.size)
            first = opened.read(offset, count, READ_SIZE) if count else []
            return opened, count, first
        except BaseException:
            opened.close()
            raise

    @operation
    async def get_metadata(self, id: str) -> dict[str, list[str]]:
        """See L{IDataSpace.get_metadata}."""
        path = self._directory.layout.object(check_id(id))
        try:
            info = self._read_info(path, id, CACHED)
        except (NotCached, OSError, StorehouseError):
            info = await self._directory.run(self._read_info, path, id)
        return {name: list(values) for name, values in info.metadata.items()}

    def _read_info(self, path: str, id: str, access: Access = WAITING, expected: Part | None = None) -> ObjectInfo:
        opened = OpenObject(path, id, access, expected=expected)
        opened.close()
        return opened.info

    @operation
    async def list_object_parts(self, id: str, expected: Part | None = None) -> list[Part]:
        """See L{IDataSpace.list_object_parts}."""
        path = self._directory.layout.object(check_id(id))
        info = await self._directory.run(self._read_info, path, id, WAITING, expected)
        return list(info.parts)

    @operation
    async def replace_metadata(self, id: str, metadata: Metadata) -> None:
        """See L{IDescribed.replace_metadata}."""
        path = self._directory.layout.object(check_id(id))
        metadata = self._checked(metadata)
        staging = self._directory.staging()
        async with self._directory.staged(staging), self._directory.objects.held(id):
            await self._directory.run(self._rewrite, staging, path, id, metadata)

    def _rewrite(self, staging: Staging, path: str, id: str, metadata: Metadata) -> None:
        info = attrs.evolve(self._read_info(path, id), metadata=metadata, id=id)
        staging.replace("data.json", encode_object(info), path)

    @operation
    async def delete(self, id: str) -> None:
        """See L{IDataSpace.delete}."""
        path = self._directory.layout.object(check_id(id))
        async with self._directory.objects.held(id):
            await self.holding.remove(id, partial(self._remove_object, path, id))

    def _remove_object(self, path: str, id: str, now: bool) -> str:
        try:
            gone = self._directory.move_out(path)
        except FileNotFoundError:
            raise NoSuchObject(f"there is no object {id}") from None
        if now:
            self._directory.remove(gone)
        return gone

    @operation
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
        target = self._directory.layout.object(check_id(id))
        check_id(source_id, "ID of the source")
        if metadata is not None:
            metadata = self._checked(metadata)
        staging = self._directory.staging()
        async with self._directory.staged(staging), self._directory.objects.held(source_id):
            info = await self._directory.run(
                self._make_copy, staging, target, source_id, offset, length, metadata, expected
            )
        self.metrics.bytes_in += info.size
        return Part(0, info.etag, info.size)

    def _make_copy(
        self,
        staging: Staging,
        target: str,
        source_id: str,
        offset: int,
        length: int | None,
        metadata: Metadata | None,
        expected: Part | None,
    ) -> ObjectInfo:
        self._directory.check_absent(target)
        path = self._directory.layout.object(source_id)
        opened = OpenObject(path, source_id, expected=expected)
        try:
            count = check_range(offset, length, opened.info.size)
            settings = self._directory.settings
            parts = copy_object(staging, opened, path, offset, count, self._directory.hash, settings.block_size)
            return self._publish(staging, parts, opened.info.metadata if metadata is None else metadata, target)
        finally:
            opened.close()

    # -- what there is -------------------------------------------------------------------------

    @operation
    async def list_indexes(self) -> list[str]:
        """See L{IInventory.list_indexes}."""
        names = await self._directory.run(names_in, self._directory.layout.data)
        return [name for name in names if len(name) == 2]

    @operation
    async def list_ids(self, index: str) -> list[str]:
        """See L{IInventory.list_ids}."""
        names = await self._directory.run(names_in, os.path.join(self._directory.layout.data, check_index(index)))
        # What is in the wrong directory is found by nobody who asks for it.
        return [name for name in names if name.startswith(index)]

    @operation
    async def examine(self, id: str, expected: Part | None = None) -> dict[str, list[str]]:
        """See L{IInventory.examine}."""
        info = await self._directory.run(self._look_at, self._directory.layout.object(check_id(id)), id, expected)
        return {name: list(values) for name, values in info.metadata.items()}

    def _look_at(self, path: str, id: str, expected: Part | None) -> ObjectInfo:
        opened = OpenObject(path, id, expected=expected)
        try:
            for part in opened.info.parts:
                opened.part(part).check_lines()
        except DamagedObject as error:
            raise opened.or_missing(error) from None
        finally:
            opened.close()
        return opened.info

    @operation
    async def set_aside(self, id: str, why: str) -> str:
        """See L{IInventory.set_aside}."""
        check_id(id)
        async with self._directory.objects.held(id):
            return await self._directory.run(self._take_out, self._directory.layout.object(id), id, why)

    def _take_out(self, path: str, id: str, why: str) -> str:
        if not os.path.lexists(path):
            raise NoSuchObject(f"there is no object {id}")
        return self._directory.set_aside(path, why)

    # -- uploads -------------------------------------------------------------------------------

    def _path(self, upload_id: str) -> str:
        return self._directory.layout.upload(check_id(upload_id, "upload ID"))

    async def _looked_up(self, upload_id: str) -> UploadState:
        if upload_id in self._states:
            return await self._state(upload_id)
        # It must not end, and another one begin, before what was read of it is remembered.
        async with self._directory.uploads.held(upload_id):
            return await self._state(upload_id)

    async def _state(self, upload_id: str) -> UploadState:
        state = self._states.get(upload_id)
        if state is None:
            state = await self._directory.run(self._load, self._path(upload_id), upload_id)
            state = self._states.setdefault(upload_id, state)
            if len(self._states) > _REMEMBERED:
                self._states.popitem(last=False)
        else:
            self._states.move_to_end(upload_id)
        return state

    def _load(self, path: str, upload_id: str) -> UploadState:
        state = load_upload(path, upload_id)
        if self._directory.settings.durable:
            # Its writer may have been killed before it was on disk: sync it before anybody hears of it.
            try:
                self._directory.files.sync_directory(path)
            except FileNotFoundError:
                raise NoSuchUpload(f"there is no upload {upload_id}") from None
            except OSError as error:
                raise StorageFailed(f"{path} could not be synced to disk: {error.strerror or error}") from None
        return state

    # -- the life of an upload -----------------------------------------------------------------

    @operation
    async def init_upload(self, upload_id: str, metadata: Metadata) -> None:
        """See L{IDataSpace.init_upload}."""
        path = self._path(upload_id)
        metadata = self._checked(metadata)
        staging = self._directory.staging()
        async with self._directory.uploads.held(upload_id), self._directory.staged(staging):
            await self._directory.run(self._begin, staging, path, metadata)

    @operation
    async def replace_upload_metadata(self, upload_id: str, metadata: Metadata) -> None:
        """See L{IDescribed.replace_upload_metadata}."""
        path = self._path(upload_id)
        metadata = self._checked(metadata)
        staging = self._directory.staging()
        async with self._directory.uploads.held(upload_id), self._directory.staged(staging):
            state = await self._state(upload_id)
            data = encode_upload(state.created, metadata, upload_id)
            await self._committed(upload_id, self._directory.run(staging.replace, "upload.json", data, path))
            state.metadata = metadata

    def _note(self, note: str) -> str:
        return check_note(note, self._directory.settings.bounds.note)

    def _begin(self, staging: Staging, path: str, metadata: Metadata) -> None:
        self._directory.check_absent(path)
        self._directory.make_index(path)
        begin_upload(staging, path, self._now(), metadata)

    def _now(self) -> int:
        """Nanoseconds since 1970 UTC."""
        return int(self._clock() * 1e9)

    @operation
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
        self._path(upload_id)
        check_number(number)
        begun = (await self._looked_up(upload_id)).created
        receiver = Receiver(self._directory, number, size, "")
        self._receiving[upload_id] += 1
        try:
            async with self._directory.staged(receiver.staging):
                rest = await self._directory.receive(receiver, stream, size)
                kept = self._note(note() if note is not None else "")
                part = attrs.evolve(await self._directory.run(self._finish, receiver, rest), note=kept)
                await self._commit(receiver.staging, upload_id, begun, [part], instead_of)
        finally:
            self._received(upload_id)
        self.metrics.bytes_in += part.size
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
        self,
        staging: Staging,
        upload_id: str,
        begun: int,
        parts: list[Part],
        instead_of: Sequence[int] = (),
        may_replace: bool = True,
    ) -> None:
        """
        Parts that are in C{staging} become those of an upload.

        @param instead_of: numbers of parts that go; the new ones then replace no others.
        @param may_replace: whether a single one replaces the part of its number.
        """
        path = self._path(upload_id)
        async with self._directory.uploads.held(upload_id):
            state = await self._state(upload_id)
            check_same(upload_id, state.created == begun)
            parts = [attrs.evolve(part, stored=self._now()) for part in parts]
            if may_replace and not instead_of:
                work = self._directory.run(commit_part, staging, path, state, *parts)
            else:
                check_free(upload_id, state.parts, parts[0].number, len(parts))
                work = self._directory.run(commit_parts, staging, path, state, parts, instead_of)
            await self._committed(upload_id, work)
            state.change(parts, instead_of)

    async def _committed(self, upload_id: str, work: Awaitable[None]) -> None:
        try:
            await work
        except BaseException:
            # What it holds now is what is on disk.
            self._states.pop(upload_id, None)
            raise

    @operation
    async def upload_part_link(
        self,
        upload_id: str,
        number: int,
        source_upload_id: str,
        source_numbers: Sequence[int],
        note: Callable[[Part, int], str] | None = None,
    ) -> list[str]:
        """See L{IDataSpace.upload_part_link}."""
        self._path(upload_id)
        source = self._path(source_upload_id)
        check_number(number, len(source_numbers))
        begun = (await self._looked_up(upload_id)).created
        staging = self._directory.staging()
        async with self._directory.staged(staging):
            async with self._directory.uploads.held(source_upload_id):
                shared = choose_parts(source_upload_id, (await self._state(source_upload_id)).parts, source_numbers)
                await self._directory.run(link_parts, staging, source, shared, number)
                notes = [
                    part.note if note is None else self._note(note(part, at)) for at, part in enumerate(shared, number)
                ]
            parts = [attrs.evolve(part, number=number + at, note=notes[at]) for at, part in enumerate(shared)]
            await self._commit(staging, upload_id, begun, parts, may_replace=False)
        return [part.etag for part in parts]

    @operation
    async def get_part(self, upload_id: str, number: int) -> Reader:
        """See L{IDataSpace.get_part}."""
        path = self._path(upload_id)
        async with self._directory.uploads.held(upload_id):
            (part,) = choose_parts(upload_id, (await self._state(upload_id)).parts, [number])
            opened = await self._directory.run(OpenUploadPart, path, upload_id, part)
        stream = BlockStream(
            opened,
            0,
            part.size,
            [],
            self._directory.disk,
            self._read_memory,
            self._directory.explained,
            lambda: None,
            self._given_out,
        )
        return Reader(upload_id, {}, part.etag, part.size, 0, part.size, stream)

    @operation
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
        self._path(upload_id)
        check_number(number)
        check_id(source_id, "ID of the source")
        self._note(note)
        begun = (await self._looked_up(upload_id)).created
        staging = self._directory.staging()
        async with self._directory.staged(staging):
            async with self._directory.objects.held(source_id):
                path = self._directory.layout.object(source_id)
                made = self._directory.hash, self._directory.settings.block_size
                part = await self._directory.run(
                    copy_part_of, staging, path, offset, length, number, note, expected, *made
                )
            await self._commit(staging, upload_id, begun, [part])
        self.metrics.bytes_in += part.size
        return part.etag

    @operation
    async def complete_upload(
        self, id: str, upload_id: str, parts: Sequence[Part], metadata: Metadata | None = None, keep: bool = False
    ) -> Part:
        """See L{IDataSpace.complete_upload}."""
        target = self._directory.layout.object(check_id(id))
        path = self._path(upload_id)
        check_order(parts)
        if metadata is not None:
            metadata = self._checked(metadata)
        staging = self._directory.staging()
        async with self._directory.uploads.held(upload_id):
            state = await self._state(upload_id)
            chosen = check_parts(upload_id, parts, state.parts)
            told = state.metadata if metadata is None else metadata
            async with self._directory.staged(staging):
                made = await self._directory.run(self._complete, staging, path, chosen, told, target)
            if keep:
                return made
            self._states.pop(upload_id, None)
            try:
                await self._directory.run(self._remove, path, upload_id)
            except StorehouseError as error:
                # The object is there; what is left of the upload expires.
                self._log.error("the upload {id} could not be removed: {error}", id=upload_id, error=str(error))
        return made

    def _complete(self, staging: Staging, path: str, parts: list[Part], metadata: Metadata, target: str) -> Part:
        self._directory.check_absent(target)
        self._directory.make_index(target)
        return complete(staging, path, parts, metadata, target)

    @operation
    async def abort_upload(self, upload_id: str) -> None:
        """See L{IDataSpace.abort_upload}."""
        await self._abort(upload_id)

    async def _abort(self, upload_id: str) -> None:
        path = self._path(upload_id)
        async with self._directory.uploads.held(upload_id):
            self._states.pop(upload_id, None)
            await self._directory.run(self._remove, path, upload_id)

    def _remove(self, path: str, upload_id: str) -> None:
        try:
            gone = self._directory.move_out(path)
        except FileNotFoundError:
            raise NoSuchUpload(f"there is no upload {upload_id}") from None
        self._directory.remove(gone)

    @operation
    async def list_parts(self, upload_id: str) -> list[Part]:
        """See L{IDataSpace.list_parts}."""
        self._path(upload_id)
        parts = (await self._looked_up(upload_id)).parts
        return [parts[number] for number in sorted(parts)]

    # -- all uploads ---------------------------------------------------------------------------

    async def _ids(self) -> list[str]:
        indexes = await self._directory.run(names_in, self._directory.layout.uploads)
        ids: list[str] = []
        for index in indexes:
            ids += await self._directory.run(names_in, f"{self._directory.layout.uploads}/{index}")
        return ids

    @operation
    async def list_uploads(self) -> list[Upload]:
        """See L{IUploads.list_uploads}."""
        return await self._described()

    async def _described(self) -> list[Upload]:
        uploads = []
        for upload_id in await self._ids():
            try:
                uploads.append(await self._directory.run(describe_upload, self._path(upload_id), upload_id))
            except NoSuchUpload:
                pass  # it ended meanwhile
        return uploads

    @operation
    async def get_upload(self, upload_id: str) -> Upload:
        """See L{IUploads.get_upload}."""
        path = self._path(upload_id)
        state = await self._looked_up(upload_id)
        size = sum(part.size for part in state.parts.values())
        touched = await self._directory.run(touched_at, path, upload_id)
        metadata = {name: list(values) for name, values in state.metadata.items()}
        return Upload(upload_id, state.created / 1e9, touched, len(state.parts), size, metadata)

    @operation
    async def examine_upload(self, upload_id: str) -> None:
        """See L{IInventory.examine_upload}."""
        path = self._path(upload_id)
        async with self._directory.uploads.held(upload_id):
            await self._directory.run(examine_upload, path, upload_id)

    @operation
    async def expire_uploads(self, age: float, keep: Callable[[str], bool] | None = None) -> list[str]:
        """See L{IUploads.expire_uploads}."""
        expired = []
        for upload in await self._described():
            if upload.id in self._receiving or upload.touched > self._clock() - age:
                continue
            if keep is not None and await self._directory.run(keep, upload.id):
                continue
            try:
                await self._abort(upload.id)
            except NoSuchUpload:
                continue
            self._log.info("the upload {id} was abandoned and is removed", id=upload.id)
            self.metrics.expired += 1
            expired.append(upload.id)
        return expired

    async def _clean_uploads(self) -> None:
        """Remove files that a killed process had moved into an upload and not yet named."""
        for upload_id in await self._ids():
            async with self._directory.uploads.held(upload_id):
                try:
                    state = await self._state(upload_id)
                    removed = await self._directory.run(
                        remove_unlisted, self._directory.staging(), self._path(upload_id), state
                    )
                except StorehouseError as error:
                    if isinstance(error, StorageFailed):
                        raise
                    continue  # damaged, or ended meanwhile
                self.metrics.leftovers += bool(removed)


def _reader(id: str, info: ObjectInfo, offset: int, length: int, stream: IByteStream) -> Reader:
    metadata = {name: list(values) for name, values in info.metadata.items()}
    return Reader(id, metadata, info.etag, info.size, offset, length, stream)
