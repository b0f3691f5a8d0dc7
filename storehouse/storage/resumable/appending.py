"""How bytes are added to an upload."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.logger import Logger

from storehouse.errors import Forbidden, OffsetMismatch, SizeMismatch, StorehouseError
from storehouse.storage.dataspace.interfaces import Part
from storehouse.storage.resumable.base import Base, least_of
from storehouse.storage.resumable.checksums import crc_of_parts, note_of
from storehouse.storage.resumable.completing import Completing
from storehouse.storage.resumable.cutting import Cutter, Piece
from storehouse.storage.resumable.joining import JoinedSource
from storehouse.storage.resumable.known import Known
from storehouse.storage.resumable.policy import to_be_joined

__all__ = ["Appending"]


class Appending:
    """Adds to uploads; to be called by who is the one to change the upload."""

    _log = Logger()

    def __init__(self, base: Base, completing: Completing) -> None:
        self._base = base
        self._completing = completing

    async def append(
        self,
        known: Known,
        offset: int,
        source: Any,
        size: int | None,
        verify: Callable[[], None] | None,
        is_last: bool,
        progress: Callable[[int], object] | None,
        length: int | None = None,
    ) -> None:
        """See C{IResumableUploads.append}."""
        state = known.state
        if state.pieces:
            raise Forbidden(f"the upload {state.id} is made of others, and takes no bytes itself")
        if offset != known.offset:
            raise OffsetMismatch(known.offset, offset)
        if length is not None:
            await self.learn_length(known, length, offset + (size or 0))
            state = known.state
        if size is not None:
            self._base.check_size(offset + size, state.length, state.max_bytes)
        most = least_of((state.length, state.max_bytes, self._base.settings.max_size or None))
        room = None if most is None else most - offset
        known.running = cutter = Cutter(source, offset, room, self._base.clock, verify)
        try:
            await self._take(known, cutter, progress)
        finally:
            known.running = None
            cutter.stop(RuntimeError("the upload takes no more bytes now"))
        if known.offset == offset:
            cutter.verify_nothing()
        await self._base.touch(known)
        if cutter.failure is not None:
            cutter.failure.raiseException()
        if is_last and known.state.length not in (None, known.offset):
            raise SizeMismatch(
                f"the upload was to have {known.state.length} bytes, and has {known.offset} with its last ones"
            )
        if is_last and (known.state.length is None or known.state.awaits_end):
            await self._base.write(known, length=known.offset, awaits_end=False)
        await self._completing.settle(known)

    async def learn_length(self, known: Known, length: int, least: int) -> None:
        """
        An upload is said to be this long.

        @param least: the bytes that it has, or is going to have.
        @raise SizeMismatch: if it is known to be another, or cannot be.
        @raise TooLarge: if it may not have as many.
        """
        state = known.state
        if state.length not in (None, length):
            raise SizeMismatch(f"the upload was to have {state.length} bytes, and not {length}")
        if length < least:
            raise SizeMismatch(f"the upload has {least} bytes, and cannot have {length}")
        if state.length is None:
            self._base.check_size(length, state.max_bytes)
            await self._base.write(known, length=length)

    async def _take(self, known: Known, cutter: Cutter, progress: Callable[[int], object] | None) -> None:
        while (piece := await cutter.next()) is not None:
            number = known.parts[-1].number + 1 if known.parts else 1
            try:
                await self._store(known, number, piece, note_of_piece(piece))
            except BaseException:
                cutter.stop(RuntimeError("the bytes could not be stored"))
                await self._base.look_again(known)
                raise
            known.touched = self._base.now()
            if progress is not None:
                progress(known.offset)
            await self._join(known)

    async def _store(
        self, known: Known, number: int, source: Any, note: Callable[[], str], instead_of: list[Part] | None = None
    ) -> None:
        state = known.state
        replaced = instead_of or []
        numbers = [part.number for part in replaced]
        size = sum(part.size for part in replaced) if replaced else None
        etag = await self._base.store.upload_part(
            self._base.bucket, state.name, state.id, number, source, size, note=note, instead_of=numbers
        )
        count = size if size is not None else source.size
        known.parts[len(known.parts) - len(replaced) :] = [Part(number, etag, count, note())]

    async def _join(self, known: Known) -> None:
        """Many small parts at the end become one, so that the list of parts stays short."""
        count = to_be_joined(known.parts)
        if not count:
            return
        state = known.state
        joined = known.parts[-count:]
        opened = [
            partial(self._base.store.get_part, self._base.bucket, state.name, state.id, part.number) for part in joined
        ]
        crc = crc_of_parts(joined)
        note = note_of(crc) if crc is not None else ""
        try:
            await self._store(known, joined[-1].number + 1, JoinedSource(opened), lambda: note, joined)
        except BaseException as error:
            await self._base.look_again(known)
            if not isinstance(error, StorehouseError):
                raise
            # They are stored already, each by itself.
            self._log.warn("small parts of {id} stay as they are: {error}", id=state.id, error=str(error))


def note_of_piece(piece: Piece) -> Callable[[], str]:
    """What is noted of a part once all its bytes have come."""
    return lambda: note_of(piece.crc)
