"""
The Wormer store: a data space on a local file system, write once, read many, without a lock on what is stored.

docs/formats/wormer.md is what it writes, and in which order.
"""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from functools import partial

import attrs
from prometheus_client.core import Metric
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from zope.interface import implementer

from storehouse.core.access import CACHED, WAITING, Access, NotCached
from storehouse.core.disk import IDisk
from storehouse.core.files import Files
from storehouse.core.streams import BytesStream, IByteStream, Piece, deferred
from storehouse.errors import NoSuchObject, StorehouseError
from storehouse.storage.dataspace.checks import check_id, check_index, check_metadata, check_range
from storehouse.storage.dataspace.copying import copy_object
from storehouse.storage.dataspace.formats import ObjectInfo, encode_object, joined_etag
from storehouse.storage.dataspace.ground import Ground, Receiver, WormerSettings
from storehouse.storage.dataspace.holding import Holding
from storehouse.storage.dataspace.interfaces import (
    IDataSpace,
    IDescribed,
    IInventory,
    IUploads,
    Metadata,
    Part,
    Reader,
)
from storehouse.storage.dataspace.layout import names_in
from storehouse.storage.dataspace.metrics import SpaceMetrics
from storehouse.storage.dataspace.opened import OpenObject
from storehouse.storage.dataspace.reader import READ_SIZE, BlockStream, ReadMemory
from storehouse.storage.dataspace.small import read_small
from storehouse.storage.dataspace.staging import Staging
from storehouse.storage.dataspace.uploading import Uploading
from storehouse.storage.dataspace.wormer_uploads import WormerUploads

__all__ = ["WormerDataSpace", "WormerSettings"]


@implementer(IDataSpace, IUploads, IInventory, IDescribed)
class WormerDataSpace(WormerUploads):
    """
    See L{IDataSpace}.

    @param clock: tells the time, C{seconds()} since 1970.
    @param on_failure: called once, in the reactor's thread, if the store has to stop because a sync failed; the process
        should then end.
    @ivar holding: who reads what; keeps what is removed, if asked.
    @cvar tags_by_content: whether the same bytes, stored alike, have the same tag whenever they are stored.
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
        ground = Ground(settings, disk, on_failure, files or Files())
        self._read_memory = ReadMemory(settings.memory)
        WormerUploads.__init__(self, ground, Uploading(ground, self._pinned, self._read_memory, self._given_out, clock))
        self.holding = Holding(self._ground)
        self.cleaned: Deferred[None] = Deferred()

    @property
    def failed(self) -> StorehouseError | None:
        """What it failed with for good."""
        return self._ground.failed

    @property
    def metrics(self) -> SpaceMetrics:
        """What it counts."""
        return self._ground.metrics

    def collect(self) -> Iterable[Metric]:
        """For Prometheus."""
        return self.metrics.collect()

    # -- start and stop ------------------------------------------------------------------------

    def start(self) -> None:
        """
        Open, in the caller's time; what an earlier process left half done is removed afterwards.

        @raise StartFailed: saying what cannot be used.
        """
        ground = self._ground
        leftovers = ground.layout.prepare(ground.files, ground.settings.durable)
        ground.operations.refusal = None
        if leftovers:
            self._log.info("{count} things were left half done and are removed", count=len(leftovers))
        cleaning = Deferred.fromCoroutine(self._clean(leftovers))
        ground.operations.track(cleaning)
        cleaning.addErrback(lambda failure: self._log.failure("while cleaning up", failure=failure))
        cleaning.addCallback(self.cleaned.callback)

    async def _clean(self, leftovers: list[str]) -> None:
        for path in leftovers:
            await self._ground.run(self._ground.remove, path)
            self.metrics.leftovers += 1
            if self._ground.operations.refusal is not None:
                return
        await self._uploading.clean()

    @deferred
    async def stop(self) -> None:
        """Finish what runs. Readers that are open stay open."""
        await self._ground.operations.stopped()

    # -- objects -------------------------------------------------------------------------------

    def put(
        self, id: str, stream: IByteStream, size: int | None, metadata: Metadata | Callable[[], Metadata]
    ) -> Deferred[Part]:
        """See L{IDataSpace.put}."""
        return self._ground.operation("put", self._put(id, stream, size, metadata), stream)

    async def _put(
        self, id: str, stream: IByteStream, size: int | None, metadata: Metadata | Callable[[], Metadata]
    ) -> Part:
        target = self._ground.layout.object(check_id(id))
        told = metadata if callable(metadata) else self._checked(metadata)
        receiver = Receiver(self._ground, 1, size, target)
        async with self._ground.staged(receiver.staging):
            rest = await self._ground.receive(receiver, stream, size)
            kept = self._checked(told()) if callable(told) else told
            part = await self._ground.run(self._finish_put, receiver, rest, kept, target)
        self.metrics.bytes_in += part.size
        return part

    def _checked(self, metadata: Metadata) -> Metadata:
        return check_metadata(metadata, self._ground.settings.bounds.metadata)

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
        staging.flush()
        self._ground.make_index(target)
        staging.publish(target)
        return info

    def get(
        self,
        id: str,
        offset: int = 0,
        length: int | None = None,
        verified: bool = True,
        expected: Part | None = None,
    ) -> Deferred[Reader]:
        """See L{IDataSpace.get}."""
        return self._ground.operation("get", self._get(id, offset, length, verified, expected))

    async def _get(self, id: str, offset: int, length: int | None, verified: bool, expected: Part | None) -> Reader:
        path = self._ground.layout.object(check_id(id))
        try:
            info, data = read_small(path, offset, length, expected)
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
                opened, count, first = await self._ground.run(
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
            self._ground.disk,
            self._read_memory,
            self._ground.explained_failure,
            partial(self.holding.let_go, id, holders),
            self._given_out,
        )
        return _reader(id, opened.info, offset, count, stream)

    def _given_out(self, size: int) -> None:
        self.metrics.bytes_out += size

    def _open_at_once(
        self, path: str, id: str, offset: int, length: int | None, verified: bool, expected: Part | None
    ) -> tuple[OpenObject, int, list[bytes]]:
        """What is small and in memory is read here and now: a thread would take longer to be told."""
        try:
            opened = OpenObject(path, id, CACHED, verified, expected)
            try:
                count = check_range(offset, length, opened.info.size)
                return opened, count, opened.read_at_once(offset, count) if count else []
            except BaseException:
                opened.close()
                raise
        except (OSError, StorehouseError) as error:
            raise self._ground.explained(error) from None

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

    def get_metadata(self, id: str) -> Deferred[dict[str, list[str]]]:
        """See L{IDataSpace.get_metadata}."""
        return self._ground.operation("get_metadata", self._get_metadata(id))

    async def _get_metadata(self, id: str) -> dict[str, list[str]]:
        path = self._ground.layout.object(check_id(id))
        try:
            info = self._read_info(path, id, CACHED)
        except (NotCached, OSError, StorehouseError):
            info = await self._ground.run(self._read_info, path, id)
        return {name: list(values) for name, values in info.metadata.items()}

    def _read_info(self, path: str, id: str, access: Access = WAITING) -> ObjectInfo:
        opened = OpenObject(path, id, access)
        opened.close()
        return opened.info

    def passed(self) -> Deferred[None]:
        """Fires when all operations that run now are over."""
        return Deferred.fromCoroutine(self._ground.operations.passed())

    def replace_metadata(self, id: str, metadata: Metadata) -> Deferred[None]:
        """See L{IDescribed.replace_metadata}."""
        return self._ground.operation("replace_metadata", self._replace_metadata(id, metadata))

    async def _replace_metadata(self, id: str, metadata: Metadata) -> None:
        path = self._ground.layout.object(check_id(id))
        metadata = self._checked(metadata)
        staging = self._ground.staging()
        async with self._ground.staged(staging), self._pinned(id):
            await self._ground.run(self._rewrite, staging, path, id, metadata)

    def _rewrite(self, staging: Staging, path: str, id: str, metadata: Metadata) -> None:
        info = attrs.evolve(self._read_info(path, id), metadata=metadata, id=id)
        staging.replace("data.json", encode_object(info), path)

    def delete(self, id: str) -> Deferred[None]:
        """See L{IDataSpace.delete}."""
        return self._ground.operation("delete", self._delete(id))

    async def _delete(self, id: str) -> None:
        path = self._ground.layout.object(check_id(id))
        async with self._ground.objects.held(id):
            await self.holding.remove(id, partial(self._remove_object, path, id))

    def _remove_object(self, path: str, id: str, now: bool) -> str:
        try:
            gone = self._ground.move_out(path)
        except FileNotFoundError:
            raise NoSuchObject(f"there is no object {id}") from None
        if now:
            self._ground.remove(gone)
        return gone

    def copy(
        self,
        id: str,
        source_id: str,
        offset: int = 0,
        length: int | None = None,
        metadata: Metadata | None = None,
        expected: Part | None = None,
    ) -> Deferred[Part]:
        """See L{IDataSpace.copy}."""
        return self._ground.operation("copy", self._copy(id, source_id, offset, length, metadata, expected))

    async def _copy(
        self,
        id: str,
        source_id: str,
        offset: int,
        length: int | None,
        metadata: Metadata | None,
        expected: Part | None,
    ) -> Part:
        target = self._ground.layout.object(check_id(id))
        check_id(source_id, "ID of the source")
        if metadata is not None:
            metadata = self._checked(metadata)
        staging = self._ground.staging()
        async with self._ground.staged(staging), self._pinned(source_id):
            info = await self._ground.run(
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
        self._ground.check_absent(target)
        path = self._ground.layout.object(source_id)
        opened = OpenObject(path, source_id, expected=expected)
        try:
            count = check_range(offset, length, opened.info.size)
            settings = self._ground.settings
            parts = copy_object(staging, opened, path, offset, count, self._ground.hash, settings.block_size)
            return self._publish(staging, parts, opened.info.metadata if metadata is None else metadata, target)
        finally:
            opened.close()

    # -- who reads what ------------------------------------------------------------------------

    @asynccontextmanager
    async def _pinned(self, id: str) -> AsyncIterator[None]:
        """The directory of an object stays where it is."""
        async with self._ground.objects.held(id):
            yield

    # -- what there is -------------------------------------------------------------------------

    def list_ids(self, index: str) -> Deferred[list[str]]:
        """See L{IInventory.list_ids}."""
        return self._ground.operation("list_ids", self._list_ids(index))

    async def _list_ids(self, index: str) -> list[str]:
        names = await self._ground.run(names_in, os.path.join(self._ground.layout.data, check_index(index)))
        # What is in the wrong directory is found by nobody who asks for it.
        return [name for name in names if name.startswith(index)]

    def examine(self, id: str, expected: Part | None = None) -> Deferred[dict[str, list[str]]]:
        """See L{IInventory.examine}."""
        return self._ground.operation("examine", self._examine(id, expected))

    async def _examine(self, id: str, expected: Part | None) -> dict[str, list[str]]:
        info = await self._ground.run(self._look_at, self._ground.layout.object(check_id(id)), id, expected)
        return {name: list(values) for name, values in info.metadata.items()}

    def _look_at(self, path: str, id: str, expected: Part | None) -> ObjectInfo:
        opened = OpenObject(path, id, expected=expected)
        try:
            for part in opened.info.parts:
                opened.part(part).check_lines()
        finally:
            opened.close()
        return opened.info

    def set_aside(self, id: str, why: str) -> Deferred[str]:
        """See L{IInventory.set_aside}."""
        return self._ground.operation("set_aside", self._set_aside(check_id(id), why))

    async def _set_aside(self, id: str, why: str) -> str:
        async with self._ground.objects.held(id):
            return await self._ground.run(self._take_out, self._ground.layout.object(id), id, why)

    def _take_out(self, path: str, id: str, why: str) -> str:
        if not os.path.lexists(path):
            raise NoSuchObject(f"there is no object {id}")
        return self._ground.set_aside(path, why)


def _reader(id: str, info: ObjectInfo, offset: int, length: int, stream: IByteStream) -> Reader:
    metadata = {name: list(values) for name, values in info.metadata.items()}
    return Reader(id, metadata, info.etag, info.size, offset, length, stream)
