"""From objects to what is stored of them, and back: keys, descriptions, streams, and how damage is told."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable
from typing import TypeVar

import attrs

from storehouse.core.budget import WriteMemory
from storehouse.core.disk import IDisk
from storehouse.core.keys.keyring import KEY_SIZE, Keyring
from storehouse.core.keys.vault import Vault
from storehouse.core.streams import IByteStream, Piece, closing, exact, stage
from storehouse.errors import DamagedObject
from storehouse.storage.dataspace.interfaces import Metadata, Part, Reader
from storehouse.storage.dataspace.values import check_expected
from storehouse.storage.sealed.formats import Description, SealedPart, is_sealed, open_object, sealed_size
from storehouse.storage.sealed.frames import Opening, Sealing, coded
from storehouse.storage.sealed.metrics import SealedMetrics

__all__ = ["Arriving", "SpaceCodec"]

T = TypeVar("T")

# Descriptions that are remembered, and parts of all of them.
_REMEMBERED = 1024
_REMEMBERED_PARTS = 50_000


class Arriving:
    """
    Bytes on their way to be stored, encrypted with a key of their own.

    @ivar stream: what the space below is given, of C{size} bytes.
    """

    def __init__(self, stream: IByteStream, size: int | None, disk: IDisk, memory: WriteMemory) -> None:
        self._key = os.urandom(KEY_SIZE)
        self._sealing = Sealing(self._key)
        whole = stream if size is None else exact(stream, size)
        self.stream = coded(whole, self._sealing, disk, memory)
        self.size = None if size is None else sealed_size(size)

    @property
    def part(self) -> SealedPart:
        """What they are, once the stream has given all of them."""
        return SealedPart(self._sealing.size, self._key)


@attrs.frozen
class _Known:
    texts: tuple[str, ...]
    description: Description


class SpaceCodec:
    """
    See the module.

    @param memory: bytes that all writers together hold, and all readers.
    """

    def __init__(self, vault: Vault, disk: IDisk, memory: int) -> None:
        self.disk = disk
        self.metrics = SealedMetrics()
        # Those who come and those who go, each their own.
        self.incoming = WriteMemory(memory)
        self.outgoing = WriteMemory(memory)
        self._vault = vault
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._known_parts = 0

    @property
    def keyring(self) -> Keyring:
        """The keys."""
        return self._vault.keyring

    def arriving(self, stream: IByteStream, size: int | None) -> Arriving:
        """New bytes."""
        return Arriving(stream, size, self.disk, self.incoming)

    def reader(self, stored: Reader, description: Description, offset: int, length: int, opening: Opening) -> Reader:
        """
        A range of what is encrypted. No byte is given before its frame was found authentic.

        @param stored: of what is stored: the very frames that C{opening} is to open.
        """
        self.metrics.opened += 1
        metadata = {name: list(values) for name, values in description.metadata.items()}
        stream = _opened(stored.stream, opening, self.disk, self.outgoing, self.metrics)
        return Reader(stored.id, metadata, description.etag, description.size, offset, length, stream)

    def damaged(self, id: str, reason: str, part: int | None = None) -> DamagedObject:
        """Something that is not what was stored. It is counted."""
        error = DamagedObject(id, reason, part)
        self.metrics.damaged(error)
        return error

    def is_plain(self, id: str, metadata: Metadata) -> bool:
        """
        Whether something was stored before there was encryption.

        @raise DamagedObject: if it is plain and nothing may be.
        """
        if is_sealed(metadata):
            return False
        if not self.keyring.plain:
            raise self.damaged(id, "it is not encrypted, and everything here is")
        return True

    def opened(self, id: str, what: str, work: Callable[[], T], part: int | None = None) -> T:
        """
        What C{work} gives.

        @raise DamagedObject: if it raises C{ValueError}.
        """
        try:
            return work()
        except ValueError as error:
            raise self.damaged(id, f"{what}: {error}", part) from None

    # -- descriptions --------------------------------------------------------------------------

    def known(self, id: str) -> Description | None:
        """What was last known of an object. It may be another one by now."""
        known = self._known.get(id)
        return None if known is None else known.description

    def describe(self, id: str, metadata: Metadata) -> Description | None:
        """
        What an object's metadata in the space below says; C{None} if it is plain.

        @raise DamagedObject: if it is not authentic, or plain and may not be.
        """
        if self.is_plain(id, metadata):
            return None
        texts = tuple(metadata["sealed"])
        known = self._known.get(id)
        if known is not None and known.texts == texts:
            self._known.move_to_end(id)
            return known.description
        description = self.opened(id, "its description cannot be read", lambda: open_object(self.keyring, id, metadata))
        self.forget(id)
        self._known[id] = _Known(texts, description)
        self._known_parts += len(description.parts)
        while len(self._known) > _REMEMBERED or (self._known_parts > _REMEMBERED_PARTS and len(self._known) > 1):
            self.forget(next(iter(self._known)))
        return description

    def check_expected(self, id: str, description: Description, expected: Part | None) -> None:
        """@raise DamagedObject: unless an object is the one that is meant."""
        try:
            check_expected(id, description.etag, description.size, expected)
        except DamagedObject as error:
            self.metrics.damaged(error)
            raise

    def forget(self, id: str) -> None:
        """What was known of it does not count any more."""
        known = self._known.pop(id, None)
        if known is not None:
            self._known_parts -= len(known.description.parts)


@stage
async def _opened(
    stream: IByteStream, opening: Opening, disk: IDisk, memory: WriteMemory, metrics: SealedMetrics
) -> AsyncGenerator[Piece, None]:
    async with closing(coded(exact(stream, opening.length), opening, disk, memory)) as plain:
        try:
            while piece := await plain.read():
                metrics.bytes_opened += len(piece)
                yield piece
        except DamagedObject as error:
            if error is opening.wrong:
                metrics.damaged(error)
            raise
