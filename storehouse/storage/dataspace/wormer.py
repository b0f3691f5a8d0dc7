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
from typing import Any

from prometheus_client.core import Metric
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from zope.interface import implementer

from storehouse.core.access import CACHED, WAITING, Access, NotCached
from storehouse.core.disk import IDisk
from storehouse.core.files import Files
from storehouse.core.streams import ISource, deferred
from storehouse.errors import NoSuchObject, StorehouseError
from storehouse.storage.dataspace.checks import check_id, check_index, check_metadata, check_range
from storehouse.storage.dataspace.copying import copy_object
from storehouse.storage.dataspace.formats import ObjectInfo, encode_object, joined_etag
from storehouse.storage.dataspace.ground import Ground, Receiver, WormerSettings
from storehouse.storage.dataspace.interfaces import IDataSpace, IInventory, IReader, IUploads, Metadata, Part, Upload
from storehouse.storage.dataspace.layout import names_in
from storehouse.storage.dataspace.metrics import SpaceMetrics
from storehouse.storage.dataspace.opened import OpenObject
from storehouse.storage.dataspace.reader import READ_SIZE, ObjectReader, ReadMemory
from storehouse.storage.dataspace.small import HeldReader, read_small
from storehouse.storage.dataspace.staging import Staging
from storehouse.storage.dataspace.uploading import Uploading

__all__ = ["WormerDataSpace", "WormerSettings"]


class _Holders:
    """
    Those who read one object.

    @ivar gone: where its files are, once it was deleted.
    """

    def __init__(self) -> None:
        self.count = 0
        self.gone = ""


@implementer(IDataSpace, IUploads, IInventory)
class WormerDataSpace:
    """
    See L{IDataSpace}.

    @param clock: tells the time, C{seconds()} since 1970.
    @param on_failure: called once, in the reactor's thread, if the store has to stop because a sync failed; the process
        should then end.
    @ivar cleaned: fires when what an earlier process left half done is gone.
    """

    _log = Logger()

    def __init__(
        self,
        settings: WormerSettings,
        disk: IDisk,
        on_failure: Callable[[StorehouseError], None] = lambda error: None,
        files: Files | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._ground = Ground(settings, disk, on_failure, files or Files())
        self._uploading = Uploading(self._ground, self._pinned, clock)
        self._read_memory = ReadMemory(settings.memory)
        self._holders: dict[str, _Holders] = {}
        self._deleting: dict[str, list[Deferred[None]]] = {}
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
            remove = self._ground.remove if os.path.isdir(path) else self._ground.files.unlink
            await self._ground.run(remove, path)
            self.metrics.leftovers += 1
            if self._ground.operations.refusal is not None:
                return
        await self._uploading.clean()

    @deferred
    async def stop(self) -> None:
        """Finish what runs. Readers that are open stay open."""
        await self._ground.operations.stopped()

    # -- objects -------------------------------------------------------------------------------

    def put(self, id: str, source: ISource, size: int | None, metadata: Metadata) -> Deferred[Part]:
        """See L{IDataSpace.put}."""
        return self._ground.operation("put", self._put(id, source, size, metadata))

    async def _put(self, id: str, source: ISource, size: int | None, metadata: Metadata) -> Part:
        target = self._ground.layout.object(check_id(id))
        metadata = check_metadata(metadata)
        receiver = Receiver(self._ground, 1, size, target)
        async with self._ground.staged(receiver.staging):
            rest = await self._ground.receive(receiver, source, size)
            part = await self._ground.run(self._finish_put, receiver, rest, metadata, target)
        self.metrics.bytes_in += part.size
        return part

    def _finish_put(self, receiver: Receiver, rest: list[bytes], metadata: Metadata, target: str) -> Part:
        part = receiver.finish(rest)
        self._publish(receiver.staging, [part], metadata, target)
        return part

    def _publish(self, staging: Staging, parts: Sequence[Part], metadata: Metadata, target: str) -> ObjectInfo:
        info = ObjectInfo(
            joined_etag(part.etag for part in parts), sum(part.size for part in parts), tuple(parts), metadata
        )
        staging.write("data.json", encode_object(info))
        staging.flush()
        self._ground.make_index(target)
        staging.publish(target)
        return info

    def get(self, id: str, offset: int = 0, length: int | None = None) -> Deferred[IReader]:
        """See L{IDataSpace.get}."""
        return self._ground.operation("get", self._get(id, offset, length))

    async def _get(self, id: str, offset: int, length: int | None) -> Any:
        path = self._ground.layout.object(check_id(id))
        try:
            info, data = read_small(path, offset, length)
        except NotCached:
            pass
        else:
            self._given_out(len(data))
            return HeldReader(id, info, offset, data)
        holders = await self._hold(id)
        try:
            try:
                opened, count, first = self._open_at_once(path, id, offset, length)
            except NotCached:
                opened, count, first = await self._ground.run(self._open_range, path, id, offset, length)
        except BaseException:
            self._let_go(id, holders)
            raise
        return ObjectReader(
            opened,
            offset,
            count,
            first,
            self._ground.disk,
            self._read_memory,
            self._ground.explained_failure,
            partial(self._let_go, id, holders),
            self._given_out,
        )

    def _given_out(self, size: int) -> None:
        self.metrics.bytes_out += size

    def _open_at_once(self, path: str, id: str, offset: int, length: int | None) -> tuple[OpenObject, int, list[bytes]]:
        """What is small and in memory is read here and now: a thread would take longer to be told."""
        try:
            opened = OpenObject(path, id, CACHED)
            try:
                count = check_range(offset, length, opened.info.size)
                return opened, count, opened.read_at_once(offset, count) if count else []
            except BaseException:
                opened.close()
                raise
        except (OSError, StorehouseError) as error:
            raise self._ground.explained(error) from None

    def _open_range(self, path: str, id: str, offset: int, length: int | None) -> tuple[OpenObject, int, list[bytes]]:
        opened = OpenObject(path, id)
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

    def delete(self, id: str) -> Deferred[None]:
        """See L{IDataSpace.delete}."""
        return self._ground.operation("delete", self._delete(id))

    async def _delete(self, id: str) -> None:
        path = self._ground.layout.object(check_id(id))
        async with self._ground.objects.held(id):
            waiting: list[Deferred[None]] = []
            self._deleting[id] = waiting
            try:
                holders = self._holders.get(id)
                gone = await self._ground.run(self._remove_object, path, id, holders is None)
                if holders is not None and self._holders.get(id) is holders:
                    # Whoever opens the ID from now on opens another object.
                    del self._holders[id]
                    holders.gone = gone
                    self.metrics.staged += 1
                elif holders is not None:  # the last of them left meanwhile
                    await self._ground.run(self._ground.remove, gone)
            finally:
                del self._deleting[id]
                for turn in waiting:
                    turn.callback(None)

    def _remove_object(self, path: str, id: str, now: bool) -> str:
        try:
            gone = self._ground.move_out(path)
        except FileNotFoundError:
            raise NoSuchObject(f"there is no object {id}") from None
        if now:
            self._ground.remove(gone)
        return gone

    def copy(
        self, id: str, source_id: str, offset: int = 0, length: int | None = None, metadata: Metadata | None = None
    ) -> Deferred[Part]:
        """See L{IDataSpace.copy}."""
        return self._ground.operation("copy", self._copy(id, source_id, offset, length, metadata))

    async def _copy(self, id: str, source_id: str, offset: int, length: int | None, metadata: Metadata | None) -> Part:
        target = self._ground.layout.object(check_id(id))
        check_id(source_id, "ID of the source")
        if metadata is not None:
            metadata = check_metadata(metadata)
        staging = self._ground.staging()
        async with self._ground.staged(staging), self._pinned(source_id):
            info = await self._ground.run(self._make_copy, staging, target, source_id, offset, length, metadata)
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
    ) -> ObjectInfo:
        self._ground.check_absent(target)
        path = self._ground.layout.object(source_id)
        opened = OpenObject(path, source_id)
        try:
            count = check_range(offset, length, opened.info.size)
            settings = self._ground.settings
            parts = copy_object(staging, opened, path, offset, count, self._ground.hash, settings.block_size)
            return self._publish(staging, parts, opened.info.metadata if metadata is None else metadata, target)
        finally:
            opened.close()

    # -- who reads what ------------------------------------------------------------------------

    async def _hold(self, id: str) -> _Holders:
        """One more reads an object, if it is there: its files stay until L{_let_go}."""
        while id in self._deleting:
            turn: Deferred[None] = Deferred()
            self._deleting[id].append(turn)
            await turn
        holders = self._holders.setdefault(id, _Holders())
        holders.count += 1
        return holders

    def _let_go(self, id: str, holders: _Holders) -> None:
        holders.count -= 1
        if holders.count:
            return
        if self._holders.get(id) is holders:
            del self._holders[id]
        if holders.gone:
            removing = Deferred.fromCoroutine(self._ground.run(self._ground.remove, holders.gone))
            self._ground.operations.track(removing)
            removing.addCallback(self._removed)
            removing.addErrback(lambda failure: self._log.failure("while removing", failure=failure))

    def _removed(self, result: None) -> None:
        self.metrics.staged -= 1

    @asynccontextmanager
    async def _pinned(self, id: str) -> AsyncIterator[None]:
        """The directory of an object stays where it is."""
        async with self._ground.objects.held(id):
            yield

    # -- uploads -------------------------------------------------------------------------------

    def init_upload(self, upload_id: str, metadata: Metadata) -> Deferred[None]:
        """See L{IDataSpace.init_upload}."""
        return self._ground.operation("init_upload", self._uploading.init(upload_id, metadata))

    def upload_part(
        self, upload_id: str, number: int, source: ISource, size: int | None, note: Callable[[], str] | None = None
    ) -> Deferred[str]:
        """See L{IDataSpace.upload_part}."""
        return self._ground.operation("upload_part", self._uploading.part(upload_id, number, source, size, note))

    def upload_part_copy(
        self,
        upload_id: str,
        number: int,
        source_id: str,
        offset: int = 0,
        length: int | None = None,
        note: str = "",
    ) -> Deferred[str]:
        """See L{IDataSpace.upload_part_copy}."""
        work = self._uploading.part_copy(upload_id, number, source_id, offset, length, note)
        return self._ground.operation("upload_part_copy", work)

    def complete_upload(
        self, id: str, upload_id: str, parts: Sequence[Part], metadata: Metadata | None = None
    ) -> Deferred[Part]:
        """See L{IDataSpace.complete_upload}."""
        return self._ground.operation("complete_upload", self._uploading.complete(id, upload_id, parts, metadata))

    def abort_upload(self, upload_id: str) -> Deferred[None]:
        """See L{IDataSpace.abort_upload}."""
        return self._ground.operation("abort_upload", self._uploading.abort(upload_id))

    def list_parts(self, upload_id: str) -> Deferred[list[Part]]:
        """See L{IDataSpace.list_parts}."""
        return self._ground.operation("list_parts", self._uploading.list_parts(upload_id))

    def list_uploads(self) -> Deferred[list[Upload]]:
        """See L{IUploads.list_uploads}."""
        return self._ground.operation("list_uploads", self._uploading.list_uploads())

    def get_upload(self, upload_id: str) -> Deferred[Upload]:
        """See L{IUploads.get_upload}."""
        return self._ground.operation("get_upload", self._uploading.get_upload(upload_id))

    def expire_uploads(self, age: float) -> Deferred[list[str]]:
        """See L{IUploads.expire_uploads}."""
        return self._ground.operation("expire_uploads", self._uploading.expire(age))

    # -- what there is -------------------------------------------------------------------------

    def list_ids(self, index: str) -> Deferred[list[str]]:
        """See L{IInventory.list_ids}."""
        return self._ground.operation("list_ids", self._list_ids(index))

    async def _list_ids(self, index: str) -> list[str]:
        return await self._ground.run(names_in, os.path.join(self._ground.layout.data, check_index(index)))
