"""Resumable uploads over an object store, with their states in files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import attrs
from prometheus_client.core import Metric
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from zope.interface import implementer

from storehouse.core.disk import IDisk
from storehouse.core.files import Files
from storehouse.core.jobs import over
from storehouse.core.streams import ISource, deferred
from storehouse.errors import (
    BadRequest,
    NoSuchBucket,
    NoSuchUpload,
    StorehouseError,
    Unavailable,
    UploadGone,
)
from storehouse.storage.objects.interfaces import IObjectStore, Metadata
from storehouse.storage.resumable.appending import Appending
from storehouse.storage.resumable.base import Base, ResumableSettings
from storehouse.storage.resumable.beginning import Beginning
from storehouse.storage.resumable.completing import Completing
from storehouse.storage.resumable.formats import State
from storehouse.storage.resumable.interfaces import IResumableUploads, ResumableUpload
from storehouse.storage.resumable.states import INDEXES, IBox

__all__ = ["LocalResumableUploads", "ResumableSettings"]


@implementer(IResumableUploads)
class LocalResumableUploads:
    """
    See L{IResumableUploads}. docs/formats/resumable.md is what it writes.

    @param store: a started store that has the bucket.
    @param clock: has C{seconds}, the time since 1970 UTC, and C{callLater}.
    @param box: what states are kept in, if they are to be encrypted.
    """

    _log = Logger()

    def __init__(
        self,
        store: IObjectStore,
        disk: IDisk,
        clock: Any,
        settings: ResumableSettings,
        files: Files | None = None,
        box: IBox | None = None,
    ) -> None:
        self._base = Base(store, disk, clock, settings, files, box)
        self._completing = Completing(self._base)
        self._beginning = Beginning(self._base, self._completing)
        self._appending = Appending(self._base, self._completing)
        self._looking: Deferred[None] = Deferred()

    @property
    def recovered(self) -> Deferred[None]:
        """Fires when all that an earlier process left is known; L{list} waits for that, nothing else does."""
        return self._looking

    @property
    def failed(self) -> StorehouseError | None:
        """Nothing: a state that cannot be written fails only what it was for."""
        return None

    def collect(self) -> Iterable[Metric]:
        """For Prometheus."""
        return self._base.operations.collect()

    def keeps(self, upload_id: str) -> bool:
        """Whether an upload of the data space is ours to remove. To be called in a disk thread."""
        return self._base.states.has(upload_id)

    # -- start and stop ------------------------------------------------------------------------

    def start(self) -> None:
        """
        Begin to answer, and to look at what an earlier process left.

        @raise StartFailed: saying what cannot be used.
        """
        self._base.states.prepare()
        self._base.operations.refusal = None
        self._looking = Deferred.fromCoroutine(self._look(self._base.now()))
        self._looking.addErrback(lambda failure: self._log.failure("while looking at uploads", failure=failure))
        self._base.operations.track(self._looking)

    async def _look(self, started: float) -> None:
        for index in INDEXES:
            for state in await self._of_index(index):
                if state.stage == "open" and self._base.memory.get(state.id) is None:
                    self._base.open.settle(state)
            if self._base.operations.refusal is not None:
                return
        try:
            uploads = await self._base.store.list_uploads(self._base.bucket)
        except NoSuchBucket:
            return  # nothing was ever uploaded
        for upload in uploads:
            # One of which there is no state was being created when the process ended: nobody was told its ID.
            ours = "resumable" in upload.metadata and upload.created < started
            if ours and not await self._base.run(self._base.states.has, upload.upload_id):
                await self._base.abort(upload.key, upload.upload_id)

    async def _of_index(self, index: str) -> list[State]:
        states, damaged = await self._base.run(self._base.states.of_index, index)
        for error in damaged:
            self._log.error("an upload is left alone: {error}", error=str(error))
        return states

    @deferred
    async def stop(self) -> None:
        """End what is being added, with what has come of it kept, and whatever else runs."""
        self._base.operations.refusal = Unavailable("the store of resumable uploads is stopped")
        for known in self._base.memory.all():
            if known.running is not None:
                known.running.stop(Unavailable("the service is being stopped: go on with the upload later"))
        await self._base.operations.stopped()

    # -- beginning -----------------------------------------------------------------------------

    def create(
        self,
        owner: str,
        name: str,
        length: int | None,
        content_type: str = "",
        metadata: Mapping[str, str] | None = None,
        max_bytes: int | None = None,
        grant: str = "",
        is_partial: bool = False,
        object_metadata: Metadata | None = None,
        names: str = "",
        awaits_end: bool = False,
    ) -> Deferred[ResumableUpload]:
        """See L{IResumableUploads.create}."""
        state = self._beginning.new_state(owner, name, content_type, metadata, max_bytes, grant, object_metadata, names)
        state = attrs.evolve(state, length=length, is_partial=is_partial, awaits_end=awaits_end)
        return self._base.operations.run("create", self._beginning.create(state))

    def concatenate(
        self,
        owner: str,
        name: str,
        pieces: Sequence[str],
        content_type: str = "",
        metadata: Mapping[str, str] | None = None,
        grant: str = "",
        object_metadata: Metadata | None = None,
        names: str = "",
        max_bytes: int | None = None,
    ) -> Deferred[ResumableUpload]:
        """See L{IResumableUploads.concatenate}."""
        state = self._beginning.new_state(owner, name, content_type, metadata, max_bytes, grant, object_metadata, names)
        return self._base.operations.run(
            "concatenate", self._beginning.concatenate(attrs.evolve(state, pieces=tuple(pieces)))
        )

    # -- looking -------------------------------------------------------------------------------

    def get(self, id: str) -> Deferred[ResumableUpload]:
        """See L{IResumableUploads.get}."""
        return self._base.operations.run("get", self._get(id, next(self._base.turns)))

    async def _get(self, id: str, seen: int) -> ResumableUpload:
        known = await self._base.load(id)
        with self._base.memory.used(known):
            if known.running is None and known.state.stage == "open" and (known.has_all or known.state.pieces):
                # What should have been done, and was kept from it.
                async with self._base.locks.held(id):
                    await self._completing.settle(known)
            return await self._base.described(known, seen)

    def list(self, owner: str | None = None) -> Deferred[Sequence[ResumableUpload]]:
        """See L{IResumableUploads.list}."""
        return self._base.operations.run("list", self._list(owner))

    async def _list(self, owner: str | None) -> Sequence[ResumableUpload]:
        await over(self._looking)
        found = []
        for id in self._base.open.ids(owner):
            try:
                known = await self._base.load(id)
            except StorehouseError:
                continue  # it ended meanwhile, or is damaged, which was told at the start
            if known.state.stage == "open":
                found.append(await self._base.described(known))
        return found

    # -- going on ------------------------------------------------------------------------------

    def set_length(self, id: str, length: int) -> Deferred[ResumableUpload]:
        """See L{IResumableUploads.set_length}."""
        return self._base.operations.run("set_length", self._set_length(id, length))

    async def _set_length(self, id: str, length: int) -> ResumableUpload:
        async with self._base.changing(id) as known:
            if known.state.pieces:
                raise BadRequest(f"the upload {id} is as long as its pieces")
            await self._appending.learn_length(known, length, known.offset)
            await self._completing.settle(known)
            return await self._base.described(known)

    def append(
        self,
        id: str,
        offset: int,
        source: ISource,
        size: int | None,
        verify: Callable[[], None] | None = None,
        is_last: bool = False,
        progress: Callable[[int], object] | None = None,
        length: int | None = None,
        seen: int | None = None,
    ) -> Deferred[ResumableUpload]:
        """See L{IResumableUploads.append}."""
        return self._base.operations.run(
            "append", self._append(id, offset, source, size, verify, is_last, progress, length, seen)
        )

    async def _append(
        self,
        id: str,
        offset: int,
        source: ISource,
        size: int | None,
        verify: Callable[[], None] | None,
        is_last: bool,
        progress: Callable[[int], object] | None,
        length: int | None,
        seen: int | None,
    ) -> ResumableUpload:
        async with self._base.changing(id, seen=seen) as known:
            await self._appending.append(known, offset, source, size, verify, is_last, progress, length)
            return await self._base.described(known)

    def interrupt(self, id: str) -> Deferred[ResumableUpload]:
        """See L{IResumableUploads.interrupt}."""
        return self._base.operations.run("interrupt", self._interrupt(id))

    async def _interrupt(self, id: str) -> ResumableUpload:
        async with self._base.changing(id, gives_way=False) as known:
            await self._completing.settle(known)
            return await self._base.described(known)

    # -- ending --------------------------------------------------------------------------------

    def remove(self, id: str) -> Deferred[None]:
        """See L{IResumableUploads.remove}."""
        return self._base.operations.run("remove", self._remove(id))

    async def _remove(self, id: str) -> None:
        async with self._base.changing(id) as known:
            await self._completing.give_up(known)

    def expire(self) -> Deferred[int]:
        """See L{IResumableUploads.expire}."""
        return self._base.operations.run("expire", self._expire())

    async def _expire(self) -> int:
        count = 0
        for index in INDEXES:
            for state in await self._of_index(index):
                try:
                    count += await self._expire_one(state.id)
                except (NoSuchUpload, UploadGone):
                    pass  # it ended meanwhile
                except StorehouseError as error:
                    self._log.error("the upload {id} cannot expire: {error}", id=state.id, error=str(error))
            if self._base.operations.refusal is not None:
                break
        return count

    async def _expire_one(self, id: str) -> bool:
        base = self._base
        known = await base.find(id)
        if known.users:
            return False
        if known.state.stage == "gone":
            if known.state.touched + base.remembered <= base.now():
                await base.run(base.states.remove, id)
                base.memory.forget(id)
            return False
        if not base.is_over(known):
            return False
        with base.memory.used(known):
            async with base.locks.held(id):
                await self._completing.give_up(known)
        return True
