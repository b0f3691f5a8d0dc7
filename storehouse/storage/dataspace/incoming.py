"""Bytes from a stream to a disk thread, some at a time, while the next ones come."""

from __future__ import annotations

from collections.abc import Callable

from storehouse.core.budget import StreamMemory
from storehouse.core.disk import IDisk
from storehouse.core.streams import Beside, IByteStream, Piece, PieceBuffer, StreamClosed
from storehouse.errors import SizeMismatch

__all__ = ["write_beside"]


async def write_beside(
    stream: IByteStream,
    disk: IDisk,
    memory: StreamMemory,
    size: int | None,
    block_size: int,
    write: Callable[[list[Piece]], None],
) -> list[Piece]:
    """
    Read a stream to its end, and hand its bytes over to C{write} in a disk thread, one call after the other.

    When this returns or raises, no thread is at work any more.

    @param size: the bytes that must come; C{None} if that is not known.
    @param block_size: where it can, it hands over what completes a block.
    @return: what has not been handed over, less than a share of the memory: the last, or all of a few bytes.
    @raise SizeMismatch: if there are more bytes than they should be, as soon as they are; or fewer.
    """
    pieces = PieceBuffer()
    writing: Beside[None] = Beside(stream)
    count = in_block = 0  # in_block: bytes of the current block that were handed over
    memory.streams += 1
    try:
        while piece := await stream.read():
            count += len(piece)
            if size is not None and count > size:
                raise SizeMismatch(f"the body has more than the {size} bytes that were announced")
            pieces.add(piece)
            while pieces.size >= (want := _next_size(memory.share, block_size - in_block, block_size)):
                await writing.start(disk.run, write, pieces.take(want))
                in_block = (in_block + want) % block_size
        await writing.result()
    except StreamClosed:
        await writing.result()  # perhaps it is why
        raise
    finally:
        await writing.close()
        memory.streams -= 1
    if size is not None and count != size:
        raise SizeMismatch(f"the body has {count} bytes; {size} were announced")
    return pieces.take()


def _next_size(share: int, left: int, block_size: int) -> int:
    """
    What completes blocks, so that no hash needs to look for a beginning again; or else as much as may be held.

    @param left: bytes that complete the current block.
    """
    return left + (share - left) // block_size * block_size if share >= left else share
