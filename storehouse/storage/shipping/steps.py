"""The way of one file, stage by stage."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import attrs
from twisted.internet.defer import CancelledError
from twisted.logger import Logger

from storehouse.config.shipping import ShipperSettings
from storehouse.core.disk import IDisk
from storehouse.core.files import Files
from storehouse.core.jobs import whole
from storehouse.core.streams import closing
from storehouse.core.turns import breath
from storehouse.errors import BadRequest, NoSuchKey, NotFound, RemoteDamaged
from storehouse.storage.shipping.interfaces import IDestination, LocalFile, Stored
from storehouse.storage.shipping.metrics import ShippingMetrics
from storehouse.storage.shipping.names import object_name, shown
from storehouse.storage.shipping.notes import COMPRESSED, DONE, UPLOADED, VERIFIED, WAITING, Note
from storehouse.storage.shipping.packing import CONTENT_TYPES, pack
from storehouse.storage.shipping.spool import Spool

__all__ = ["Steps"]


class Steps:
    """
    Brings files from one stage to the next. Each stage is noted on disk when it is reached, and all can be repeated.

    @param is_stopping: whether the shipper is.
    """

    _log = Logger()

    def __init__(
        self,
        settings: ShipperSettings,
        destination: IDestination,
        spool: Spool,
        disk: IDisk,
        files: Files,
        metrics: ShippingMetrics,
        is_stopping: Callable[[], bool],
    ) -> None:
        self._settings = settings
        self._destination: Any = destination
        self._spool = spool
        self._disk = disk
        self._files = files
        self._metrics = metrics
        self._is_stopping = is_stopping
        self._steps = {
            WAITING: self._compress,
            COMPRESSED: self._upload,
            UPLOADED: self._verify,
            VERIFIED: self._delete,
        }

    async def next(self, note: Note) -> Note:
        """
        One step.

        @return: the note of the next stage, which is on disk.
        """
        step = self._steps[note.stage]
        after = await step(note)
        await self.save(after)
        return after

    async def save(self, note: Note) -> None:
        """Note the stage; raises C{CancelledError} after that if there is to be no other."""
        await whole(self._disk, self._spool.save, note)
        if self._is_stopping() and note.stage != DONE:
            raise CancelledError()

    async def _compress(self, note: Note) -> Note:
        spool = self._spool
        if not await whole(self._disk, spool.has_file, note):
            raise NotFound(f"{spool.file_path(note)} is gone, which was {shown(note.path)}")
        packed = await pack(
            self._disk,
            self._files,
            spool.file_path(note),
            spool.packed_path(note),
            note.compression,
            note.level,
            self._is_stopping,
        )
        # The file that was handed over must not change any more: what it had then is nowhere, and what it has now is in doubt.
        if not await whole(self._disk, spool.is_unchanged, note):
            raise BadRequest(f"{shown(note.path)} was changed after it was handed over")
        name = object_name(note.stream, note.path, packed.digest, note.compression)
        if note.name and note.digest == packed.digest:
            # It may be there under that name already, whatever names are made like by now.
            name = note.name
        return attrs.evolve(
            note,
            stage=COMPRESSED,
            digest=packed.digest,
            name=name,
            size=packed.size,
            sha256=packed.sha256,
            md5=packed.md5,
        )

    async def _upload(self, note: Note) -> Note:
        if not await whole(self._disk, self._spool.has_packed, note):
            return attrs.evolve(note, stage=WAITING)
        stored = None if note.again else await self._find(note)
        if stored is None:
            file = LocalFile(
                self._spool.packed_path(note), note.size, note.sha256, note.md5, CONTENT_TYPES[note.compression]
            )
            stored = await self._destination.put(note.name, file)
            self._metrics.size += note.size
        return attrs.evolve(note, stage=UPLOADED, tag=stored.tag, again=False)

    async def _find(self, note: Note) -> Stored | None:
        """What is at the destination already, and says that it is this."""
        try:
            stored: Stored = await self._destination.stat(note.name)
        except NoSuchKey:
            return None
        return stored if (stored.size, stored.sha256) == (note.size, note.sha256) else None

    async def _verify(self, note: Note) -> Note:
        """@raise RemoteDamaged: and the file is to be uploaded again."""
        try:
            if self._settings.verify == "read":
                await self._read_back(note)
            else:
                stored: Stored = await self._destination.stat(note.name)
                if (stored.size, stored.tag, stored.sha256) != (note.size, note.tag, note.sha256):
                    raise RemoteDamaged(f"{note.name} is not at {self._destination!r} as it was uploaded: {stored}")
        except NoSuchKey as error:
            raise RemoteDamaged(f"{note.name} was uploaded, but is not there: {error}") from None
        return attrs.evolve(note, stage=VERIFIED)

    async def _read_back(self, note: Note) -> None:
        count, sha256 = 0, hashlib.sha256()
        async with closing(await self._destination.get(note.name)) as reader:
            while piece := await reader.read():
                count += len(piece)
                sha256.update(piece)
                await breath()
        if (count, sha256.hexdigest()) != (note.size, note.sha256):
            raise RemoteDamaged(f"{note.name} gives other bytes at {self._destination!r} than were uploaded")

    async def _delete(self, note: Note) -> Note:
        if not note.delete:
            return attrs.evolve(note, stage=DONE)
        deleted = await whole(self._disk, self._spool.delete_local, note)
        if not deleted:
            self._log.warn("{path} is not removed: it is another file than was shipped", path=shown(note.path))
        return attrs.evolve(note, stage=DONE, deleted=deleted)
