"""
The stages of a file that is shipped: compressed, uploaded, verified, deleted.

Each step can be repeated, and compression gives the same bytes each time, so that a process that ends anywhere between two
notes loses nothing, and stores nothing twice.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable

import attrs
from twisted.internet.defer import CancelledError
from twisted.logger import Logger

from storehouse.config.shipping import ShipperSettings
from storehouse.core.compression import Compressor, is_compressed, make_compressor
from storehouse.core.files import Files, open_regular, read_exactly
from storehouse.core.jobs import IDisk, whole
from storehouse.core.streams import closing
from storehouse.core.turns import breath
from storehouse.errors import BadRequest, NoSuchKey, NotFound, RemoteDamaged
from storehouse.storage.shipping.interfaces import IDestination, LocalFile, Stored
from storehouse.storage.shipping.names import object_name, printable
from storehouse.storage.shipping.spool import COMPRESSED, DONE, UPLOADED, VERIFIED, WAITING, Note, Spool

__all__ = ["Steps", "is_file_compressed"]

_CONTENT_TYPES = {"none": "application/octet-stream", "gzip": "application/gzip", "zstd": "application/zstd"}

#: Bytes that are read at once.
_PIECE = 1 << 20

#: Bytes that a disk thread works on before it is given back.
_SLICE = 4 << 20


class Steps:
    """
    Brings files from one stage to the next.

    @param is_stopping: whether the shipper is.
    @ivar uploaded: bytes that were uploaded.
    """

    _log = Logger()

    def __init__(
        self,
        settings: ShipperSettings,
        destination: IDestination,
        spool: Spool,
        disk: IDisk,
        files: Files,
        is_stopping: Callable[[], bool],
    ) -> None:
        self.uploaded = 0
        self._settings = settings
        self._destination = destination
        self._spool = spool
        self._disk = disk
        self._files = files
        self._is_stopping = is_stopping
        self._steps = {
            WAITING: self._compress,
            COMPRESSED: self._upload,
            UPLOADED: self._verify,
            VERIFIED: self._delete,
        }

    async def next(self, note: Note) -> Note:
        """
        Take one step.

        @return: the note of the next stage, which is on disk.
        @raise CancelledError: if the shipper is stopping; the stage is noted nevertheless.
        """
        after = await self._steps[note.stage](note)
        await whole(self._disk, self._spool.save, after)
        if self._is_stopping() and after.stage != DONE:
            raise CancelledError()
        return after

    async def _compress(self, note: Note) -> Note:
        spool = self._spool
        if not await whole(self._disk, spool.has_file, note):
            raise NotFound(f"{spool.file_path(note)} is gone; it was {printable(note.path)}")
        compressed = await _compress_file(
            self._disk,
            self._files,
            spool.file_path(note),
            spool.packed_path(note),
            note.compression,
            note.level,
            self._is_stopping,
        )
        # The file that was handed over must not change any more: its bytes of then are lost, and those of now may be half written.
        if not await whole(self._disk, spool.is_unchanged, note):
            raise BadRequest(f"{printable(note.path)} was changed after it was handed over")
        name = object_name(note.stream, note.path, compressed.digest, note.compression)
        if note.name and note.digest == compressed.digest:
            # It may be stored under that name already, by a version of this program that made names in another way.
            name = note.name
        return attrs.evolve(
            note,
            stage=COMPRESSED,
            digest=compressed.digest,
            name=name,
            size=compressed.size,
            sha256=compressed.sha256,
            md5=compressed.md5,
        )

    async def _upload(self, note: Note) -> Note:
        if not await whole(self._disk, self._spool.has_packed, note):
            return attrs.evolve(note, stage=WAITING)
        stored = None if note.again else await self._find(note)
        if stored is None:
            file = LocalFile(
                self._spool.packed_path(note), note.size, note.sha256, note.md5, _CONTENT_TYPES[note.compression]
            )
            stored = await self._destination.put(note.name, file)
            self.uploaded += note.size
        return attrs.evolve(note, stage=UPLOADED, tag=stored.tag, again=False)

    async def _find(self, note: Note) -> Stored | None:
        """What the destination has already, if it claims to be the same bytes: an upload whose response was lost."""
        try:
            stored = await self._destination.stat(note.name)
        except NoSuchKey:
            return None
        return stored if (stored.size, stored.sha256) == (note.size, note.sha256) else None

    async def _verify(self, note: Note) -> Note:
        """@raise RemoteDamaged: then upload the file again."""
        try:
            if self._settings.verify == "read":
                await self._read_back(note)
            else:
                stored = await self._destination.stat(note.name)
                if (stored.size, stored.tag, stored.sha256) != (note.size, note.tag, note.sha256):
                    raise RemoteDamaged(f"{note.name} at {self._destination!r} is not what was uploaded: {stored}")
        except NoSuchKey as error:
            raise RemoteDamaged(f"{note.name} was uploaded, but is not there: {error}") from None
        return attrs.evolve(note, stage=VERIFIED)

    async def _read_back(self, note: Note) -> None:
        count, sha256 = 0, hashlib.sha256()
        async with closing(await self._destination.get(note.name)) as stream:
            while piece := await stream.read():
                count += len(piece)
                sha256.update(piece)
                await breath()
        if (count, sha256.hexdigest()) != (note.size, note.sha256):
            raise RemoteDamaged(f"{self._destination!r} returns other bytes for {note.name} than were uploaded")

    async def _delete(self, note: Note) -> Note:
        if not note.delete:
            return attrs.evolve(note, stage=DONE)
        is_gone = await whole(self._disk, self._spool.delete_local, note)
        if not is_gone:
            self._log.warn("{path} is not removed: it is not the file that was shipped", path=printable(note.path))
        return attrs.evolve(note, stage=DONE, deleted=is_gone)


# -- compression -----------------------------------------------------------------------------------


def is_file_compressed(path: str) -> bool:
    """
    Whether a file is compressed as a whole, as its first bytes tell: its extension may be misleading. Waits for the disk.

    @raise OSError: if it cannot be read.
    """
    fd = open_regular(path, follow=True)
    try:
        return is_compressed(read_exactly(fd, 6, 0))
    finally:
        os.close(fd)


@attrs.frozen
class _Compressed:
    """
    A compressed file.

    @ivar digest: SHA-256 of the file before, in hex.
    @ivar size: bytes of the compressed file, of which C{sha256} and C{md5} are as well.
    """

    digest: str
    size: int
    sha256: str
    md5: str


class _NoCompressor:
    """A L{Compressor} for files that are uploaded as they are."""

    def compress(self, data: bytes) -> bytes:
        return data

    def flush(self) -> bytes:
        return b""


class _FileCompressor:
    """
    Compresses one file. All methods are called in disk threads, one after the other.

    @param target: empty to compute digests only.
    """

    def __init__(self, files: Files, source: str, target: str, compression: str, level: int | None) -> None:
        self._files = files
        self._source = open_regular(source, follow=True)
        self._target = -1
        try:
            if target:
                self._target = files.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        except BaseException:
            self.close()
            raise
        self._compressor: Compressor = _NoCompressor() if compression == "none" else make_compressor(compression, level)
        self._digest = hashlib.sha256()
        self._sha256 = hashlib.sha256()
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._read = 0
        self._size = 0

    def step(self) -> _Compressed | None:
        """Compress a slice. @return: C{None} until the end; by then the target is on disk."""
        end = self._read + _SLICE
        while self._read < end:
            data = os.pread(self._source, _PIECE, self._read)
            if not data:
                self._write(self._compressor.flush())
                if self._target >= 0:
                    self._files.sync_data(self._target)
                return _Compressed(
                    self._digest.hexdigest(), self._size, self._sha256.hexdigest(), self._md5.hexdigest()
                )
            self._read += len(data)
            self._digest.update(data)
            self._write(self._compressor.compress(data))
        return None

    def _write(self, data: bytes) -> None:
        if data:
            self._sha256.update(data)
            self._md5.update(data)
            if self._target >= 0:
                self._files.write_at(self._target, (data,), self._size)
            self._size += len(data)

    def close(self) -> None:
        for fd in (self._source, self._target):
            if fd >= 0:
                os.close(fd)
        self._source = self._target = -1


async def _compress_file(
    disk: IDisk,
    files: Files,
    source: str,
    target: str,
    compression: str,
    level: int | None,
    is_stopping: Callable[[], bool],
) -> _Compressed:
    """
    Compress C{source} into C{target}, which is on disk then; its name is not, before its directory is synced.

    @param target: overwritten; not created if the compression is C{none}.
    @param is_stopping: called after each slice: C{CancelledError} if true.
    """
    if compression == "none":
        target = ""
    compressor = await whole(disk, _FileCompressor, files, source, target, compression, level)
    try:
        while True:
            if is_stopping():
                raise CancelledError()
            compressed = await whole(disk, compressor.step)
            if compressed is not None:
                return compressed
    finally:
        compressor.close()
