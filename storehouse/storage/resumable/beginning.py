"""How uploads begin."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from storehouse.core.freenames import NAME_RULES
from storehouse.errors import AlreadyExists, BadRequest, DamagedEntry, NoSuchBucket, NoSuchKey, NoSuchUpload, TooLarge
from storehouse.storage.objects.interfaces import Metadata
from storehouse.storage.resumable.base import Base
from storehouse.storage.resumable.completing import Completing
from storehouse.storage.resumable.formats import State
from storehouse.storage.resumable.interfaces import ResumableUpload
from storehouse.storage.resumable.known import Known

__all__ = ["MAX_METADATA", "MAX_PIECES", "Beginning"]

#: Bytes of UTF-8 that a client may say of an upload.
MAX_METADATA = 16 << 10

#: Partial uploads that one may be made of.
MAX_PIECES = 1000


class Beginning:
    """Begins uploads."""

    def __init__(self, base: Base, completing: Completing) -> None:
        self._base = base
        self._completing = completing

    def new_state(
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
        now = self._base.now()
        return State(
            id="",
            owner=owner,
            name=name,
            names=names or self._base.settings.names,
            created=now,
            touched=now,
            grant=grant,
            content_type=content_type,
            metadata=dict(metadata or {}),
            object_metadata={each: list(values) for each, values in (object_metadata or {}).items()},
            max_bytes=max_bytes,
        )

    async def create(self, state: State) -> ResumableUpload:
        """See C{IResumableUploads.create}."""
        if state.length is not None:
            if state.length < 0:
                raise BadRequest(f"an upload cannot have {state.length} bytes")
            self._base.check_size(state.length, state.max_bytes)
        known = await self._begin(state)
        with self._base.memory.used(known):
            async with self._base.locks.held(known.state.id):
                await self._completing.settle(known)
            return await self._base.described(known)

    async def _begin(self, state: State) -> Known:
        base = self._base
        await self._check(state)
        with base.open.coming(state):
            id = await base.store.begin_upload(base.bucket, state.name, state.content_type, {"resumable": ["1"]})
            state = attrs.evolve(state, id=id)
            try:
                await base.run(base.states.write, state)
            except BaseException:
                await base.abort(state.name, id)
                raise
            known = base.memory.add(Known(state, [], state.touched))
            base.settle(known, state)
        return known

    async def _check(self, state: State) -> None:
        if state.names not in NAME_RULES:
            raise BadRequest(f"{state.names[:50]!r} is not what can become of a name that is taken")
        size = sum(len(text.encode("utf-8", "replace")) for each in state.metadata.items() for text in each)
        if size > MAX_METADATA:
            raise TooLarge(f"what is said of the upload has {size} bytes; at most {MAX_METADATA} are allowed")
        if state.names == "refuse" and not state.is_partial:
            try:
                await self._base.store.head(self._base.bucket, state.name)
            except (NoSuchKey, NoSuchBucket):
                return
            except DamagedEntry:
                pass  # it is taken
            raise AlreadyExists(f"there is a {state.name} already")

    async def concatenate(self, state: State) -> ResumableUpload:
        """See C{IResumableUploads.concatenate}."""
        base = self._base
        if not 0 < len(state.pieces) <= MAX_PIECES:
            raise BadRequest(f"an upload is made of 1 to {MAX_PIECES} partial ones, not of {len(state.pieces)}")
        if len(set(state.pieces)) < len(state.pieces):
            raise BadRequest("an upload is made of partial ones that are each named once")
        for id in state.pieces:
            piece = (await base.load(id)).state
            if piece.owner != state.owner:
                raise NoSuchUpload(f"there is no upload {id} of {state.owner}")
            if not piece.is_partial:
                raise BadRequest(f"the upload {id} is not a partial one")
        await self._completing.check_pieces(state)
        known = await self._begin(state)
        with base.memory.used(known):
            for id in state.pieces:
                await self._tell(id, known.state.id)
            async with base.locks.held(known.state.id):
                await self._completing.settle(known)
            return await base.described(known)

    async def _tell(self, piece_id: str, final_id: str) -> None:
        """A piece is to complete another one when it is complete."""
        piece = await self._base.load(piece_id)
        with self._base.memory.used(piece):
            if piece.state.stage == "open":
                # Without the lock, which is held as long as something is added.
                await self._base.rewrite(piece, lambda state: attrs.evolve(state, finals=[*state.finals, final_id]))
