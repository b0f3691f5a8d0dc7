"""How an upload becomes an object."""

from __future__ import annotations

import attrs
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from storehouse.core.jobs import finished
from storehouse.core.names import claim
from storehouse.core.streams import BytesStream
from storehouse.errors import BadRequest, NoSpace, NotFound, StorehouseError, TooLarge
from storehouse.storage.dataspace.interfaces import Part
from storehouse.storage.objects.interfaces import Condition, ObjectInfo
from storehouse.storage.resumable.checksums import crc_of_parts, note_of
from storehouse.storage.resumable.formats import State
from storehouse.storage.resumable.uploads import CachedUpload, Uploads, completed

__all__ = ["MAX_PARTS", "Completing"]

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
