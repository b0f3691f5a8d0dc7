"""
Bodies on their way to an S3 server and back.

What is small is held, so that it can be sent again; what is larger is sent as it is read, in chunks (C{aws-chunked}), with a
checksum behind them in which the server finds out what it did not get as it was sent::

    SIZE[;chunk-signature=HEX] CR LF  BYTES CR LF     for each 256 KiB, and the rest; the size in hex
    0[;chunk-signature=HEX] CR LF
    x-amz-checksum-NAME:BASE64 CR LF
    [x-amz-trailer-signature:HEX CR LF]
    CR LF

The signatures are left out on a connection on which nobody can change anything. Source: "Signature Calculations for the
Authorization Header: Transferring Payload in Multiple Chunks" and "...Including Trailing Headers" in the API reference of S3.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, Awaitable, Callable

from storehouse.core.checksums import ALGORITHMS, Hasher, encoded
from storehouse.core.sigv4 import ChunkSigner
from storehouse.core.streams import GeneratorStream, IByteStream, Piece, PieceBuffer, stage
from storehouse.core.turns import breath
from storehouse.errors import RemoteDamaged, RemoteUnavailable, SizeMismatch

__all__ = ["CHUNK", "Taking", "framed", "framed_length", "received", "unframed"]

#: Bytes of a chunk.
CHUNK = 256 << 10

_SIGNATURE = len(";chunk-signature=") + 64
_TRAILER_SIGNATURE = len("x-amz-trailer-signature:\r\n") + 64


class Taking:
    """A stream of which so many bytes are taken at a time."""

    def __init__(self, stream: IByteStream) -> None:
        self._stream = stream
        self._waiting: list[Piece] = []  # what was read, and is taken first; the next one is the last

    async def _read(self, most: int) -> Piece:
        """The next bytes, at most so many; empty at the end."""
        piece = self._waiting.pop() if self._waiting else await self._stream.read()
        if len(piece) > most:
            view = memoryview(piece)
            piece = view[:most]
            self._waiting.append(view[most:])
        return piece

    async def take(self, size: int) -> bytes:
        """The next bytes, in memory: fewer only if there are no more."""
        found = bytearray()
        while len(found) < size and (piece := await self._read(size - len(found))):
            found += piece
        return bytes(found)

    def push_back(self, data: bytes) -> None:
        """Have bytes that were taken be the next ones once more."""
        if data:
            self._waiting.append(data)

    def stream(self, size: int) -> IByteStream:
        """The next bytes, as they are read. It is read to its end before more is taken; closing it ends nothing else."""
        return GeneratorStream(self._pieces(size))

    async def _pieces(self, size: int) -> AsyncGenerator[Piece, None]:
        while size and (piece := await self._read(size)):
            size -= len(piece)
            yield piece

    async def take_all(self, size: int) -> bytes:
        """
        All bytes, in memory.

        @raise SizeMismatch: unless there are exactly C{size}.
        """
        data = await self.take(size + 1)
        if len(data) != size:
            said = f"more than {size}" if len(data) > size else f"{len(data)}"
            raise SizeMismatch(f"the body has {said} bytes; {size} were announced")
        return data


def framed_length(size: int, checksum: str, is_signed: bool) -> int:
    """
    Bytes of a body as it is sent in chunks.

    @param size: bytes of the payload.
    @param checksum: the name of its algorithm; empty for none.
    """
    extra = _SIGNATURE if is_signed else 0
    full, rest = divmod(size, CHUNK)
    total = full * (len(f"{CHUNK:x}") + extra + 4) + size + 1 + extra + 4
    if rest:
        total += len(f"{rest:x}") + extra + 4
    if checksum:
        total += len(f"x-amz-checksum-{checksum}:\r\n") + -(-ALGORITHMS[checksum].size // 3) * 4
        total += _TRAILER_SIGNATURE if is_signed else 0
    return total


@stage
async def framed(
    stream: IByteStream,
    size: int,
    checksum: str,
    chunks: ChunkSigner | None,
    at_end: Callable[[], object] = lambda: None,
) -> AsyncGenerator[Piece, None]:
    """
    A payload in chunks.

    @param size: of the payload; C{SizeMismatch}, before it is all sent, if it has another.
    @param checksum: the name of the algorithm; empty for none.
    @param chunks: what signs them; C{None} if they are not signed.
    @param at_end: called when the payload was read to its end; if it raises, the rest is not sent.
    """
    hasher = Hasher(checksum) if checksum else None
    buffer = PieceBuffer()
    left = size
    while left:
        wanted = min(left, CHUNK)
        while buffer.size < wanted:
            piece = await stream.read()
            if not piece:
                raise SizeMismatch(f"the body has {size - left + buffer.size} bytes; {size} were announced")
            buffer.add(piece)
        pieces = buffer.take(wanted)
        left -= wanted
        digest = hashlib.sha256()
        for piece in pieces:
            if hasher is not None:
                hasher.update(piece)
            if chunks is not None:
                digest.update(piece)
        yield _head(wanted, chunks, digest.hexdigest())
        for piece in pieces:
            yield piece
        if not left and (buffer.size or await stream.read()):
            raise SizeMismatch(f"the body has more than the {size} bytes that were announced")
        yield b"\r\n"
        await breath()
    at_end()
    end = _head(0, chunks, hashlib.sha256().hexdigest())
    if hasher is not None:
        line = f"x-amz-checksum-{checksum}:{encoded(hasher.digest())}".encode("ascii")
        end += line + b"\r\n"
        if chunks is not None:
            end += b"x-amz-trailer-signature:%b\r\n" % chunks.sign_trailer(line + b"\n").encode("ascii")
    yield end + b"\r\n"


@stage
async def unframed(
    stream: IByteStream, size: int, at_end: Callable[[], object] = lambda: None
) -> AsyncGenerator[Piece, None]:
    """A payload as it is. The last piece is held back until it is known that there is no other; see L{framed}."""
    last: Piece = b""
    left = size
    while piece := await stream.read():
        left -= len(piece)
        if left < 0:
            raise SizeMismatch(f"the body has more than the {size} bytes that were announced")
        if last:
            yield last
        last = piece
    if left:
        raise SizeMismatch(f"the body has {size - left} bytes; {size} were announced")
    at_end()
    yield last


def _head(size: int, chunks: ChunkSigner | None, digest: str) -> bytes:
    signature = "" if chunks is None else f";chunk-signature={chunks.sign(digest)}"
    return f"{size:x}{signature}\r\n".encode("ascii")


def received(
    stream: IByteStream,
    length: int,
    reopen: Callable[[int], Awaitable[IByteStream]] | None,
    tries: int,
    checksum: tuple[str, str] | None,
    what: str,
) -> IByteStream:
    """
    The body of a response, which continues where it was if the connection breaks.

    @param length: bytes that it has.
    @param reopen: asks again, for what follows so many bytes; C{None} if that cannot be done.
    @param tries: how often, without a byte in between.
    @param checksum: the algorithm, and what it must come to; or else the last read fails with C{RemoteDamaged}.
    @param what: is read, for errors.
    """
    return GeneratorStream(_received(stream, length, reopen, tries, checksum, what), stream)


async def _received(
    stream: IByteStream,
    length: int,
    reopen: Callable[[int], Awaitable[IByteStream]] | None,
    tries: int,
    checksum: tuple[str, str] | None,
    what: str,
) -> AsyncGenerator[Piece, None]:
    hasher = None if checksum is None else Hasher(checksum[0])
    done = 0
    left = tries
    try:
        while True:
            try:
                piece = await stream.read()
                if not piece and done < length:
                    raise RemoteUnavailable(f"{what}: the response ended at byte {done} of {length}")
            except RemoteUnavailable:
                left -= 1
                if reopen is None or left < 0:
                    raise
                await stream.close()
                stream = await reopen(done)
                continue
            if not piece:
                break
            left = tries
            done += len(piece)
            if hasher is not None:
                hasher.update(piece)
            if done == length and hasher is not None and checksum is not None:
                found = encoded(hasher.digest())
                if found != checksum[1]:
                    # Before the last bytes are passed on, so that nobody takes them for all there is.
                    raise RemoteDamaged(f"{what}: the {checksum[0]} of what came is {found}, not {checksum[1]}")
            yield piece
    finally:
        await stream.close()
