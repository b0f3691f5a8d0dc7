"""How an upload becomes an object."""

from __future__ import annotations

from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from storehouse.core.freenames import candidates, claim
from storehouse.core.jobs import finished
from storehouse.core.streams import BytesSource
from storehouse.errors import (
    BadRequest,
    DamagedEntry,
    NoSpace,
    NoSuchBucket,
    NoSuchKey,
    NotFound,
    StorehouseError,
    TooLarge,
)
from storehouse.storage.dataspace.interfaces import Part
from storehouse.storage.objects.interfaces import Condition, ObjectInfo
from storehouse.storage.resumable.base import Base
from storehouse.storage.resumable.checksums import crc_of_parts, note_of
from storehouse.storage.resumable.formats import State
from storehouse.storage.resumable.known import Known

__all__ = ["MAX_PARTS", "Completing"]

#: Parts that all pieces of a final upload may have: those of some ten terabytes that came in eight streams. Each is a link
#: to be made, and the list of them is written with each piece.
MAX_PARTS = 30_000


class Completing:
    """Completes uploads; to be called by who holds the lock of the upload."""

    _log = Logger()

    def __init__(self, base: Base) -> None:
        self._base = base
        base.find_again = self._find_again

    async def settle(self, known: Known) -> None:
        """
        Complete an upload if it has all it needs.

        @raise TooLarge: if it has, with its pieces, more than it may. It is given up then.
        @raise BadRequest: if it has too many parts. It is given up then.
        """
        if known.state.stage != "open":
            return
        if known.state.pieces:
            if await self._has_pieces(known.state):
                try:
                    await self.check_pieces(known.state)
                except (TooLarge, BadRequest):
                    await self.give_up(known)
                    raise
                await self._link_pieces(known)
                await self._make_object(known)
        elif known.has_all and known.state.is_partial:
            await self._base.write(known, stage="complete", size=known.offset)
            await self._settle_finals(known.state)
        elif known.has_all:
            await self._make_object(known)

    async def _make_object(self, known: Known) -> None:
        base, state = self._base, known.state
        if not known.parts:
            # An object is made of at least one.
            note = note_of(0)
            etag = await base.store.upload_part(
                base.bucket, state.name, state.id, 1, BytesSource(b""), 0, note=lambda: note
            )
            known.parts.append(Part(1, etag, 0, note))
        metadata = {**state.object_metadata, "upload": [state.id]}
        crc = crc_of_parts(known.parts)
        if crc is not None:
            metadata["crc32c"] = [f"{crc:08x}"]

        def store(key: str, is_absent: bool) -> Deferred[ObjectInfo]:
            condition = Condition(absent=is_absent)
            return base.store.complete_upload(base.bucket, state.name, state.id, known.parts, condition, key, metadata)

        try:
            info = await finished(Deferred.fromCoroutine(claim(state.name, state.names, store)))
        except NotFound:
            # Somebody has removed it from under us.
            await base.look_again(known)
            raise
        complete = _completed(info)
        try:
            await base.write(known, **complete)
        except StorehouseError as error:
            # The object is stored, which is what counts. The next start finds it by its metadata.
            self._log.error("{id} is complete, which could not be written down: {error}", id=state.id, error=str(error))
            base.settle(known, attrs.evolve(state, **complete))
        known.parts = []

    async def give_up(self, known: Known) -> None:
        """An upload is no more: its bytes go, but for an object that it became."""
        state = known.state
        has_parts = state.stage == "open" or state.is_partial
        try:
            await finished(Deferred.fromCoroutine(self._base.write(known, stage="gone")))
        except NoSpace:
            if not has_parts:
                raise
            # Its bytes make room to say so. Ended in between, it is open without an upload: the next start finds it gone.
            await self._base.abort(state.name, state.id)
            known.parts = []
            await finished(Deferred.fromCoroutine(self._base.write(known, stage="gone")))
            return
        known.parts = []
        if has_parts:
            await self._base.abort(state.name, state.id)

    # -- of pieces -----------------------------------------------------------------------------

    async def check_pieces(self, state: State) -> None:
        """
        Make sure that an upload is not more than it may be, as far as its pieces are known.

        @raise TooLarge: if it has too many bytes.
        @raise BadRequest: if it has too many parts.
        """
        length = await self._base.length_of(state.pieces)
        if length is not None:
            self._base.check_size(length, state.max_bytes)
        count = sum([len((await self._base.load(id)).parts) for id in state.pieces])
        if count > MAX_PARTS:
            raise BadRequest(f"the pieces of the upload have {count} parts together; at most {MAX_PARTS} are allowed")

    async def _has_pieces(self, state: State) -> bool:
        for id in state.pieces:
            piece = await self._base.load(id)
            if piece.state.stage != "complete":
                return False
        return True

    async def _link_pieces(self, known: Known) -> None:
        """Each piece in one step, so that those that a process had linked before it ended can be told."""
        base, state = self._base, known.state
        at = 0
        for id in state.pieces:
            parts = (await base.load(id)).parts
            if parts and at >= len(known.parts):
                numbers = [part.number for part in parts]
                name = known.state.name
                etags = await base.store.upload_part_link(base.bucket, name, state.id, at + 1, id, numbers)
                known.parts += [
                    Part(at + 1 + place, etag, part.size, part.note)
                    for place, (etag, part) in enumerate(zip(etags, parts, strict=True))
                ]
            at += len(parts)

    async def _settle_finals(self, piece: State) -> None:
        """A piece is complete: so are those, perhaps, that were waiting for it."""
        for id in piece.finals:
            try:
                known = await self._base.load(id)
                with self._base.memory.used(known):
                    async with self._base.locks.held(id):
                        await self.settle(known)
            except StorehouseError as error:
                # Who asks for it is told; it is tried again then.
                self._log.warn("{id} cannot be made of its pieces now: {error}", id=id, error=str(error))

    # -- after a crash -------------------------------------------------------------------------

    async def _find_again(self, state: State) -> State:
        """The store does not have the upload of a state that is open: it was being completed, or somebody aborted it."""
        base = self._base
        found = None if state.is_partial else await self._find_object(state)
        if found is None:
            self._log.warn("the parts of {id} are gone, and it did not become an object", id=state.id)
            state = attrs.evolve(state, stage="gone", touched=base.now())
        else:
            self._log.info("{id} had become {key} when the process ended", id=state.id, key=found.key)
            state = attrs.evolve(state, **_completed(found))
        await base.run(base.states.write, state)
        return state

    async def _find_object(self, state: State) -> ObjectInfo | None:
        names = candidates(state.name) if state.names == "rename" else iter([state.name])
        for key in names:
            try:
                info = await self._base.store.head(self._base.bucket, key)
            except (NoSuchKey, NoSuchBucket):
                # It would have taken this name, or one before it.
                return None
            except DamagedEntry:
                continue  # by another one, as far as anybody can tell
            if list(info.metadata.get("upload", ())) == [state.id]:
                return info
        return None


def _completed(info: ObjectInfo) -> dict[str, Any]:
    return {"stage": "complete", "key": info.key, "etag": info.etag, "size": info.size, "length": info.size}
