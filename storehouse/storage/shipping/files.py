"""Local files as they are uploaded: read and hashed in the disk threads."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator

from storehouse.core.files import open_regular, open_stored
from storehouse.core.jobs import IDisk, whole
from storehouse.core.streams import GeneratorStream, Hash, IByteStream, Piece

__all__ = ["hash_range", "read_file"]

#: Bytes that are read at once, and kept in memory.
_PIECE = 256 * 1024

#: Bytes that are hashed in one go: a disk thread is given back, and a stop noticed, after each.
_SLICE = 8 << 20


def read_file(disk: IDisk, path: str, offset: int, length: int) -> IByteStream:
    """
    A range of a file, read in the disk threads in pieces of 256 KiB, as fast as it is taken.

    A read fails with C{OSError} if the file ends before the range.
    """
    return GeneratorStream(_pieces(disk, path, offset, offset + length))


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
        # In the reactor's thread: to close a file that was only read does not wait for the disk.
        os.close(fd)


async def hash_range(disk: IDisk, path: str, offset: int, length: int, *hashes: Hash) -> None:
    """
    Feed a range of a file to hashes, in the disk threads.

    @raise OSError: also if the file ends before the range.
    """
    done = 0
    while done < length:
        wanted = min(_SLICE, length - done)
        if await disk.run(_hash, path, offset + done, wanted, *hashes) < wanted:
            raise OSError(f"{path} ends before byte {offset + length}")
        done += wanted


def _hash(path: str, offset: int, length: int, *hashes: Hash) -> int:
    """@return: bytes that there were."""
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
