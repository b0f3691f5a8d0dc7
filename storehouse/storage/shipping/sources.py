"""Local files as they are uploaded: read in the disk threads, no faster than they are taken."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from typing import Any

from zope.interface import implementer

from storehouse.core.disk import IDisk
from storehouse.core.files import open_regular, open_stored
from storehouse.core.jobs import whole
from storehouse.core.streams import GeneratorStream, IByteStream, Piece

__all__ = ["FileStream", "digest_of", "digests"]

# Bytes that are read at once, and held.
_PIECE = 256 * 1024


def digests(path: str, offset: int, length: int, *hashes: Any) -> int:
    """
    Feed a range of a file to hash objects. May wait for the disk.

    @return: bytes that there were.
    """
    count = 0
    with open_stored(path, follow=True) as file:
        file.seek(offset)
        buffer = memoryview(bytearray(min(1 << 20, max(length, 1))))
        while count < length:
            got = file.readinto(buffer[: length - count])
            if not got:
                break
            for each in hashes:
                each.update(buffer[:got])
            count += got
    return count


#: Bytes that are hashed in one go: a disk thread is given back, and a stop heard, after each.
_SLICE = 8 << 20


async def digest_of(disk: IDisk, path: str, offset: int, length: int, *hashes: Any) -> None:
    """
    Feed a range of a file to hash objects, in the disk threads, in slices.

    @raise OSError: also if the file ends too early.
    """
    done = 0
    while done < length:
        wanted = min(_SLICE, length - done)
        if await disk.run(digests, path, offset + done, wanted, *hashes) < wanted:
            raise OSError(f"{path} ends before byte {offset + length}")
        done += wanted


@implementer(IByteStream)
class FileStream:
    """
    A range of a file, read in the disk threads in pieces of 256 KiB.

    @ivar length: bytes of the range. A file that ends before is an C{OSError}.
    """

    def __init__(self, disk: IDisk, path: str, offset: int, length: int) -> None:
        self.length = length
        self._stream = GeneratorStream(_pieces(disk, path, offset, offset + length))
        self.read = self._stream.read
        self.close = self._stream.close


async def _pieces(disk: IDisk, path: str, offset: int, end: int) -> AsyncGenerator[Piece, None]:
    fd = await whole(disk, open_regular, path, follow=True)
    try:
        while offset < end:
            data: bytes = await whole(disk, os.pread, fd, min(_PIECE, end - offset), offset)
            if not data:
                raise OSError(f"{path} ends at byte {offset} instead of {end}")
            offset += len(data)
            yield data
    finally:
        # Of a file that was only read: nothing to wait for.
        os.close(fd)
