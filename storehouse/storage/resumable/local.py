"""Resumable uploads over an object store, with their states in files; and how an upload becomes an object."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

import attrs
from prometheus_client.core import Metric
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from zope.interface import implementer

from storehouse.core.files import Files
from storehouse.core.jobs import IDisk, deferred, finished, over
from storehouse.core.names import NAME_RULES, claim
from storehouse.core.operations import Operations, operation
from storehouse.core.streams import BytesStream, IByteStream, joined, limited
from storehouse.errors import (
    AlreadyExists,
    BadRequest,
    DamagedEntry,
    Forbidden,
    NoSpace,
    NoSuchBucket,
    NoSuchKey,
    NoSuchUpload,
    NotFound,
    OffsetMismatch,
    SizeMismatch,
    StorehouseError,
    TooLarge,
    Unavailable,
    UploadGone,
)
from storehouse.storage.dataspace.interfaces import Part
from storehouse.storage.objects.interfaces import Condition, IObjectStore, Metadata, ObjectInfo
from storehouse.storage.resumable.interfaces import IResumableUploads, ResumableUpload
from storehouse.storage.resumable.parts import PartCutter, count_to_join, crc_of_parts, note_of
from storehouse.storage.resumable.states import INDEXES, State
from storehouse.storage.resumable.uploads import CachedUpload, ResumableSettings, Uploads, completed, least_of
from storehouse.storage.sealed.interfaces import ICipher

__all__ = ["MAX_METADATA", "MAX_PARTS", "MAX_PIECES", "Completing", "LocalResumableUploads", "ResumableSettings"]


#: Parts that all pieces of a final upload may have: those of some ten terabytes that came in eight streams. Each is a link
#: to be made, and the list of them is written with each piece.
MAX_PARTS = 30_000


class Completing:
    """Completes uploads and ends them. All methods are called with the lock of the upload held."""

    _log = Logger()

    def __init__(self, uploads: Uploads) -> None:
        self._uploads = uploads

    async def complete_if_ready(self, upload: CachedUpload) -> None:
        """
        Complete an upload if it has all it needs.

        @raise TooLarge: if it has, with its pieces, more bytes than it may; it is abandoned then.
        @raise BadRequest: if it has too many parts; it is abandoned then.
        """
        if upload.state.stage != "open":
            return
        if upload.state.pieces:
            if await self._has_pieces(upload.state):
                try:
                    await self.check_pieces(upload.state)
                except (TooLarge, BadRequest):
                    await self.abandon(upload)
                    raise
                await self._link_pieces(upload)
                await self._make_object(upload)
        elif upload.has_all and upload.state.is_partial:
            size = upload.offset
            await self._uploads.change(upload, lambda state: attrs.evolve(state, stage="complete", size=size))
            await self._complete_finals(upload.state)
        elif upload.has_all:
            await self._make_object(upload)

    async def _make_object(self, upload: CachedUpload) -> None:
        uploads, state = self._uploads, upload.state
        store, bucket = uploads.store, uploads.bucket
        if not upload.parts:
            # An object is made of at least one.
            note = note_of(0)
            etag = await store.upload_part(bucket, state.name, state.id, 1, BytesStream(), 0, note=lambda: note)
            upload.parts.append(Part(1, etag, 0, note))
        metadata = {**state.object_metadata, "upload": [state.id]}
        crc = crc_of_parts(upload.parts)
        if crc is not None:
            metadata["crc32c"] = [f"{crc:08x}"]

        def complete(key: str, is_absent: bool) -> Deferred[ObjectInfo]:
            condition = Condition(absent=is_absent)
            return store.complete_upload(bucket, state.name, state.id, upload.parts, condition, key, metadata)

        try:
            info = await finished(Deferred.fromCoroutine(claim(state.name, state.names, complete)))
        except NotFound:
            # Something else has removed it.
            await uploads.reload_parts(upload)
            raise
        try:
            await uploads.change(upload, lambda state: completed(state, info))
        except StorehouseError as error:
            # The object is stored, which is what counts. The next start finds it by its metadata.
            self._log.error(
                "{id} is complete, but its state could not be written: {error}", id=state.id, error=str(error)
            )
            uploads.set_state(upload, completed(state, info))
        upload.parts = []

    async def abandon(self, upload: CachedUpload) -> None:
        """End an upload: its bytes go, but not an object that it became."""
        state = upload.state
        has_parts = state.stage == "open" or state.is_partial
        try:
            await self._write_gone(upload)
        except NoSpace:
            if not has_parts:
                raise
            # Removing its bytes makes room for the state. Ended in between, it is open without an upload, and the next
            # start finds it gone.
            await self._uploads.abort(state.name, state.id)
            upload.parts = []
            await self._write_gone(upload)
            return
        upload.parts = []
        if has_parts:
            await self._uploads.abort(state.name, state.id)

    async def _write_gone(self, upload: CachedUpload) -> None:
        gone = self._uploads.change(upload, lambda state: attrs.evolve(state, stage="gone"))
        await finished(Deferred.fromCoroutine(gone))

    # -- of pieces -----------------------------------------------------------------------------

    async def check_pieces(self, state: State) -> None:
        """
        Check the bounds of an upload, as far as its pieces are known.

        @raise TooLarge: if it has too many bytes.
        @raise BadRequest: if it has too many parts.
        """
        length = await self._uploads.length_of(state.pieces)
        if length is not None:
            self._uploads.check_size(length, state.max_bytes)
        count = sum([len((await self._uploads.load(id)).parts) for id in state.pieces])
        if count > MAX_PARTS:
            raise BadRequest(f"the pieces of the upload have {count} parts together; at most {MAX_PARTS} are allowed")

    async def _has_pieces(self, state: State) -> bool:
        for id in state.pieces:
            piece = await self._uploads.load(id)
            if piece.state.stage != "complete":
                return False
        return True

    async def _link_pieces(self, upload: CachedUpload) -> None:
        """Each piece in one step, so that after a crash the number of parts tells which pieces are linked."""
        uploads, state = self._uploads, upload.state
        at = 0
        for id in state.pieces:
            parts = (await uploads.load(id)).parts
            if parts and at >= len(upload.parts):
                numbers = [part.number for part in parts]
                etags = await uploads.store.upload_part_link(uploads.bucket, state.name, state.id, at + 1, id, numbers)
                upload.parts += [
                    Part(at + 1 + index, etag, part.size, part.note)
                    for index, (etag, part) in enumerate(zip(etags, parts, strict=True))
                ]
            at += len(parts)

    async def _complete_finals(self, piece: State) -> None:
        """A piece is complete: so are those, perhaps, that were waiting for it."""
        for id in piece.finals:
            try:
                final = await self._uploads.load(id)
                with final.in_use():
                    async with self._uploads.locks.held(id):
                        await self.complete_if_ready(final)
            except StorehouseError as error:
                # It is tried again with the next request for it, whose response has the error.
                self._log.warn("{id} cannot be made of its pieces now: {error}", id=id, error=str(error))


#: Bytes of UTF-8 of the metadata of an upload.
MAX_METADATA = 16 << 10

#: Partial uploads that one may be made of.
MAX_PIECES = 1000


@implementer(IResumableUploads)
class LocalResumableUploads:
    """
    See L{IResumableUploads}. docs/formats/resumable.md is what it writes.

    @param store: a started store that has the bucket.
    @param clock: seconds since 1970 UTC.
    @param cipher: encrypts the states; C{None} if there is no master key.
    """

    _log = Logger()

    def __init__(
        self,
        store: IObjectStore,
        disk: IDisk,
        clock: IReactorTime,
        settings: ResumableSettings,
        files: Files | None = None,
        cipher: ICipher | None = None,
    ) -> None:
        self.operations = Operations(
            "the store of resumable uploads",
            "storehouse_resumable_operation_seconds",
            "Operations on resumable uploads; for append until its bytes have come.",
        )
        self._uploads = Uploads(store, disk, clock, settings, files, cipher)
        self._completing = Completing(self._uploads)
        self._recovering: Deferred[None] = Deferred()

    @property
    def recovered(self) -> Deferred[None]:
        """Fires when all that an earlier process left is known; L{list} waits for that, nothing else does."""
        return self._recovering

    @property
    def failed(self) -> StorehouseError | None:
        """Nothing: a state that cannot be written fails only its own request."""
        return None

    def collect(self) -> Iterable[Metric]:
        """Yield the metrics of the store, as samples for the admin door."""
        return self.operations.collect()

    def keeps(self, upload_id: str) -> bool:
        """Whether an upload of the data space is removed by this store alone. To be called in a disk thread."""
        return self._uploads.states.has(upload_id)

    # -- start and stop ------------------------------------------------------------------------

    def start(self) -> None:
        """
        Take requests from now on, and look for what an earlier process left.

        @raise StartFailed: saying what cannot be used.
        """
        self._uploads.states.prepare()
        self.operations.refusal = None
        self._recovering = Deferred.fromCoroutine(self._recover(self._uploads.now()))
        self._recovering.addErrback(lambda failure: self._log.failure("while looking for uploads", failure=failure))
        self.operations.track(self._recovering)

    async def _recover(self, started: float) -> None:
        uploads = self._uploads
        for index in INDEXES:
            for state in await self._states_of(index):
                if state.stage == "open" and uploads.cached(state.id) is None:
                    uploads.open.update(state)
            if self.operations.refusal is not None:
                return
        try:
            found = await uploads.store.list_uploads(uploads.bucket)
        except NoSuchBucket:
            return  # nothing was ever uploaded
        for upload in found:
            # One without a state was being created when the process ended: no client got its ID. One of S3 may have any metadata.
            is_ours = "resumable" in upload.metadata and "door" not in upload.system and upload.created < started
            if is_ours and not await uploads.run(uploads.states.has, upload.upload_id):
                await uploads.abort(upload.key, upload.upload_id)

    async def _states_of(self, index: str) -> list[State]:
        states, damaged = await self._uploads.run(self._uploads.states.of_index, index)
        for error in damaged:
            self._log.error("an upload is left as it is: {error}", error=str(error))
        return states

    @deferred
    async def stop(self) -> None:
        """End what is being added, keep what has come of it, and wait for all other requests."""
        self.operations.refusal = Unavailable("the store of resumable uploads is stopped")
        self._uploads.stop_incoming(Unavailable("the service is stopping: continue the upload later"))
        await self.operations.stopped()

    # -- creating ------------------------------------------------------------------------------

    @operation
    async def create(
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
    ) -> ResumableUpload:
        """See L{IResumableUploads.create}."""
        if length is not None:
            if length < 0:
                raise BadRequest(f"an upload cannot have {length} bytes")
            self._uploads.check_size(length, max_bytes)
        state = self._new_state(owner, name, content_type, metadata, max_bytes, grant, object_metadata, names)
        state = attrs.evolve(state, length=length, is_partial=is_partial, awaits_end=awaits_end)
        return await self._complete_new(await self._begin(state))

    @operation
    async def concatenate(
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
    ) -> ResumableUpload:
        """See L{IResumableUploads.concatenate}."""
        if not 0 < len(pieces) <= MAX_PIECES:
            raise BadRequest(f"an upload is made of 1 to {MAX_PIECES} partial ones, not of {len(pieces)}")
        if len(set(pieces)) < len(pieces):
            raise BadRequest("a partial upload is named more than once")
        for id in pieces:
            piece = (await self._uploads.load(id)).state
            if piece.owner != owner:
                raise NoSuchUpload(f"there is no upload {id} of {owner}")
            if not piece.is_partial:
                raise BadRequest(f"the upload {id} is not a partial one")
        state = self._new_state(owner, name, content_type, metadata, max_bytes, grant, object_metadata, names)
        state = attrs.evolve(state, pieces=tuple(pieces))
        await self._completing.check_pieces(state)
        upload = await self._begin(state)
        with upload.in_use():
            for id in pieces:
                await self._add_final(id, upload.state.id)
            return await self._complete_new(upload)

    def _new_state(
        self,
        owner: str,
        name: str,
        content_type: str,
        metadata: Mapping[str, str] | None,
        max_bytes: int | None,
        grant: str,
        object_metadata: Metadata | None,
        names: str,
    ) -> State:
        """A state without an ID."""
        now = self._uploads.now()
        return State(
            id="",
            owner=owner,
            name=name,
            names=names or self._uploads.settings.names,
            created=now,
            touched=now,
            grant=grant,
            content_type=content_type,
            metadata=dict(metadata or {}),
            object_metadata={each: list(values) for each, values in (object_metadata or {}).items()},
            max_bytes=max_bytes,
        )

    async def _begin(self, state: State) -> CachedUpload:
        uploads = self._uploads
        await self._check_new(state)
        with uploads.open.beginning(state):
            # The metadata tells a later start that the upload is this store's.
            id = await uploads.store.begin_upload(uploads.bucket, state.name, state.content_type, {"resumable": ["1"]})
            state = attrs.evolve(state, id=id)
            try:
                await uploads.run(uploads.states.write, state)
            except BaseException:
                await uploads.abort(state.name, id)
                raise
            return uploads.add(CachedUpload(state, [], state.touched))

    async def _check_new(self, state: State) -> None:
        if state.names not in NAME_RULES:
            raise BadRequest(f"{state.names[:50]!r} is not a rule for taken names: {', '.join(NAME_RULES)}")
        size = sum(len(text.encode("utf-8", "replace")) for each in state.metadata.items() for text in each)
        if size > MAX_METADATA:
            raise TooLarge(f"the metadata of the upload has {size} bytes; at most {MAX_METADATA} are allowed")
        if state.names == "refuse" and not state.is_partial:
            try:
                await self._uploads.store.head(self._uploads.bucket, state.name)
            except (NoSuchKey, NoSuchBucket):
                return
            except DamagedEntry:
                pass  # it is taken
            raise AlreadyExists(f"{state.name} already exists")

    async def _complete_new(self, upload: CachedUpload) -> ResumableUpload:
        with upload.in_use():
            async with self._uploads.locks.held(upload.state.id):
                await self._completing.complete_if_ready(upload)
            return await self._uploads.describe(upload)

    async def _add_final(self, piece_id: str, final_id: str) -> None:
        """A piece that is not complete yet is to complete another upload then."""
        piece = await self._uploads.load(piece_id)
        with piece.in_use():
            if piece.state.stage == "open":
                # Without the lock, which is held as long as something is added.
                await self._uploads.change(piece, lambda state: attrs.evolve(state, finals=[*state.finals, final_id]))

    # -- reading -------------------------------------------------------------------------------

    @operation
    async def get(self, id: str) -> ResumableUpload:
        """See L{IResumableUploads.get}."""
        seen = next(self._uploads.turns)
        upload = await self._uploads.load(id)
        with upload.in_use():
            if upload.incoming is None and upload.state.stage == "open" and (upload.has_all or upload.state.pieces):
                # It should be complete, and something failed when it was to be completed.
                async with self._uploads.locks.held(id):
                    await self._completing.complete_if_ready(upload)
            return await self._uploads.describe(upload, seen)

    @operation
    async def list(self, owner: str | None = None) -> Sequence[ResumableUpload]:
        """See L{IResumableUploads.list}."""
        await over(self._recovering)
        found = []
        for id in self._uploads.open.ids(owner):
            try:
                upload = await self._uploads.load(id)
            except StorehouseError:
                continue  # it ended meanwhile, or is damaged, which was logged at the start
            if upload.state.stage == "open":
                found.append(await self._uploads.describe(upload))
        return found

    # -- adding --------------------------------------------------------------------------------

    @operation
    async def set_length(self, id: str, length: int) -> ResumableUpload:
        """See L{IResumableUploads.set_length}."""
        async with self._uploads.changing(id) as upload:
            if upload.state.pieces:
                raise BadRequest(f"the length of the upload {id} is that of its pieces")
            await self._set_length(upload, length, upload.offset)
            await self._completing.complete_if_ready(upload)
            return await self._uploads.describe(upload)

    @operation
    async def append(
        self,
        id: str,
        offset: int,
        stream: IByteStream,
        size: int | None,
        verify: Callable[[], None] | None = None,
        is_last: bool = False,
        progress: Callable[[int], object] | None = None,
        length: int | None = None,
        seen: int | None = None,
    ) -> ResumableUpload:
        """See L{IResumableUploads.append}."""
        async with self._uploads.changing(id, seen=seen) as upload:
            state = upload.state
            if state.pieces:
                raise Forbidden(f"the upload {id} is made of others: no bytes can be added")
            if offset != upload.offset:
                raise OffsetMismatch(upload.offset, offset)
            if length is not None:
                await self._set_length(upload, length, offset + (size or 0))
            if size is not None:
                self._uploads.check_size(offset + size, upload.state.length, state.max_bytes)
            error = await self._add(upload, stream, verify, progress)
            if error is None and verify is not None and upload.offset == offset:
                verify()  # there was no part to fail with it
            await self._uploads.touch(upload)
            if error is not None:
                raise error
            if is_last and upload.state.length not in (None, upload.offset):
                raise SizeMismatch(
                    f"the upload was to have {upload.state.length} bytes, and has {upload.offset} with its last ones"
                )
            if is_last and (upload.state.length is None or upload.state.awaits_end):
                end = upload.offset
                await self._uploads.change(upload, lambda state: attrs.evolve(state, length=end, awaits_end=False))
            await self._completing.complete_if_ready(upload)
            return await self._uploads.describe(upload)

    async def _set_length(self, upload: CachedUpload, length: int, least: int) -> None:
        """
        @param least: the bytes that it has, or is going to have.
        @raise SizeMismatch: if another length is known, or there are more bytes.
        @raise TooLarge: if it may not have as many.
        """
        state = upload.state
        if state.length not in (None, length):
            raise SizeMismatch(f"the upload was to have {state.length} bytes, and not {length}")
        if length < least:
            raise SizeMismatch(f"the upload has {least} bytes, and cannot have {length}")
        if state.length is None:
            self._uploads.check_size(length, state.max_bytes)
            await self._uploads.change(upload, lambda state: attrs.evolve(state, length=length))

    async def _add(
        self,
        upload: CachedUpload,
        stream: IByteStream,
        verify: Callable[[], None] | None,
        progress: Callable[[int], object] | None,
    ) -> BaseException | None:
        """
        Store a stream, part by part.

        @return: why it did not come to its end, with all that came before stored; C{None} if it did.
        """
        uploads, state, offset = self._uploads, upload.state, upload.offset
        most = least_of((state.length, state.max_bytes, uploads.settings.max_size or None))
        if most is not None:
            stream = limited(
                stream, most - offset, lambda: TooLarge("the upload would have more bytes than it may have")
            )
        upload.incoming = cutter = PartCutter(stream, offset, uploads.clock, verify)
        try:
            while await cutter.has_more():
                await self._store_part(upload, cutter)
                upload.touched = uploads.now()
                if progress is not None:
                    progress(upload.offset)
                await self._join_small_parts(upload)
        finally:
            upload.incoming = None
            await cutter.close()
        return cutter.error

    async def _store_part(self, upload: CachedUpload, cutter: PartCutter) -> None:
        uploads, state = self._uploads, upload.state
        number = upload.parts[-1].number + 1 if upload.parts else 1

        def note() -> str:
            return note_of(cutter.crc)

        try:
            etag = await uploads.store.upload_part(
                uploads.bucket, state.name, state.id, number, cutter.part(), None, note=note
            )
        except BaseException:
            await uploads.reload_parts(upload)
            raise
        upload.parts.append(Part(number, etag, cutter.size, note()))

    async def _join_small_parts(self, upload: CachedUpload) -> None:
        """Many small parts at the end become one, so that the list of parts stays short."""
        count = count_to_join(upload.parts)
        if not count:
            return
        uploads, state, small = self._uploads, upload.state, upload.parts[-count:]
        store, bucket = uploads.store, uploads.bucket
        numbers = [part.number for part in small]
        size = sum(part.size for part in small)
        crc = crc_of_parts(small)
        note = note_of(crc) if crc is not None else ""
        stream = joined([partial(store.get_part, bucket, state.name, state.id, number) for number in numbers])
        try:
            etag = await store.upload_part(
                bucket,
                state.name,
                state.id,
                numbers[-1] + 1,
                stream,
                size,
                note=lambda: note,
                instead_of=numbers,
            )
        except BaseException as error:
            await uploads.reload_parts(upload)
            if not isinstance(error, StorehouseError):
                raise
            # They are stored already, each by itself.
            self._log.warn("small parts of {id} stay as they are: {error}", id=state.id, error=str(error))
        else:
            upload.parts[-count:] = [Part(numbers[-1] + 1, etag, size, note)]

    @operation
    async def interrupt(self, id: str) -> ResumableUpload:
        """See L{IResumableUploads.interrupt}."""
        async with self._uploads.changing(id, gives_way=False) as upload:
            await self._completing.complete_if_ready(upload)
            return await self._uploads.describe(upload)

    # -- ending --------------------------------------------------------------------------------

    @operation
    async def remove(self, id: str) -> None:
        """See L{IResumableUploads.remove}."""
        async with self._uploads.changing(id) as upload:
            await self._completing.abandon(upload)

    @operation
    async def expire(self) -> int:
        """See L{IResumableUploads.expire}."""
        count = 0
        for index in INDEXES:
            for state in await self._states_of(index):
                try:
                    count += await self._expire_one(state.id)
                except (NoSuchUpload, UploadGone):
                    pass  # it ended meanwhile
                except StorehouseError as error:
                    self._log.error("the upload {id} cannot expire: {error}", id=state.id, error=str(error))
            if self.operations.refusal is not None:
                break
        return count

    async def _expire_one(self, id: str) -> bool:
        uploads = self._uploads
        upload = await uploads.find(id)
        if upload.users:
            return False
        if upload.state.stage == "gone":
            if upload.state.touched + uploads.remembered <= uploads.now():
                await uploads.run(uploads.states.remove, id)
                uploads.forget(id)
            return False
        if not uploads.is_expired(upload):
            return False
        with upload.in_use():
            async with uploads.locks.held(id):
                await self._completing.abandon(upload)
        return True
