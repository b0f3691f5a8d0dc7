"""Compression of closed files, such that a repeat gives the same bytes; and the digests of both."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable

import attrs
from twisted.internet.defer import CancelledError

from storehouse.core.compression import Compressor, is_compressed, make_compressor
from storehouse.core.disk import IDisk
from storehouse.core.files import Files, open_regular, read_exactly
from storehouse.core.jobs import whole

__all__ = ["CONTENT_TYPES", "Packed", "is_packed", "pack"]

#: Media types of what comes out.
CONTENT_TYPES = {"none": "application/octet-stream", "gzip": "application/gzip", "zstd": "application/zstd"}

#: Bytes that are read at once, and that a disk thread works on before it is given back.
_PIECE, _SLICE = 1 << 20, 4 << 20


@attrs.frozen
class Packed:
    """
    What compression came to.

    @ivar digest: SHA-256 of what was compressed, in hex.
    @ivar size: bytes of the outcome, as are C{sha256} and C{md5}.
    """

    digest: str
    size: int
    sha256: str
    md5: str


def is_packed(path: str) -> bool:
    """
    Whether a file is compressed as a whole, as its first bytes tell: a name may say anything. Waits for the disk.

    @raise OSError: if it cannot be read.
    """
    fd = open_regular(path, follow=True)
    try:
        return is_compressed(read_exactly(fd, 6, 0))
    finally:
        os.close(fd)


class _Plain:
    """The compressor that does nothing."""

    def compress(self, data: bytes) -> bytes:
        return data

    def flush(self) -> bytes:
        return b""


class _Packing:
    """
    One file. All of it is done in disk threads, one call after the other.

    @param target: empty for only computing digests.
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
        self._compressor: Compressor = _Plain() if compression == "none" else make_compressor(compression, level)
        self._digest = hashlib.sha256()
        self._sha256 = hashlib.sha256()
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._read = 0
        self._size = 0

    def step(self) -> Packed | None:
        """Some more of it. @return: what it came to, once that is on disk."""
        end = self._read + _SLICE
        while self._read < end:
            data = os.pread(self._source, _PIECE, self._read)
            if not data:
                self._put(self._compressor.flush())
                if self._target >= 0:
                    self._files.sync_data(self._target)
                return Packed(self._digest.hexdigest(), self._size, self._sha256.hexdigest(), self._md5.hexdigest())
            self._read += len(data)
            self._digest.update(data)
            self._put(self._compressor.compress(data))
        return None

    def _put(self, data: bytes) -> None:
        if data:
            self._sha256.update(data)
            self._md5.update(data)
            if self._target >= 0:
                self._files.write_at(self._target, (data,), self._size)
            self._size += len(data)

    def close(self) -> None:
        """In any case."""
        for fd in (self._source, self._target):
            if fd >= 0:
                os.close(fd)
        self._source = self._target = -1


async def pack(
    disk: IDisk,
    files: Files,
    source: str,
    target: str,
    compression: str,
    level: int | None,
    is_stopping: Callable[[], bool],
) -> Packed:
    """
    Compress C{source} into C{target}, which is on disk then; its name is not, before its directory is synced.

    @param target: replaced; not made for the compression C{none}.
    @param is_stopping: asked now and then: C{CancelledError} if so.
    """
    if compression == "none":
        target = ""
    packing = await whole(disk, _Packing, files, source, target, compression, level)
    try:
        while True:
            if is_stopping():
                raise CancelledError()
            packed = await whole(disk, packing.step)
            if packed is not None:
                return packed
    finally:
        packing.close()
