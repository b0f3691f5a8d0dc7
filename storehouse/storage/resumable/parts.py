"""
A stream of any length as parts of an upload, and the CRC32C of all of it by those of the parts.

A part is what is lost, at most, when the process is killed; and the list of parts is written with each new one, and read
whenever the object is opened. So parts are small at first and where bytes come slowly, and larger the more there is
already: a terabyte has some 3000 of them. Where a client sends little at a time, many small parts become a larger one.

A CRC is linear over GF(2): that of the first bytes, moved on over as many zero bytes as follow, and that of those that
follow, differ from that of all by nothing. Moving on over 2^k bytes is a matrix of 32 times 32 bits, made once.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from functools import cache

from twisted.internet.interfaces import IReactorTime

from storehouse.core.digests import crc32c
from storehouse.core.streams import Beside, GeneratorStream, IByteStream, Piece
from storehouse.storage.dataspace.interfaces import Part

__all__ = [
    "MANY",
    "MAX_SECONDS",
    "PartCutter",
    "combined",
    "count_to_join",
    "crc_in",
    "crc_of_parts",
    "is_enough",
    "min_size",
    "note_of",
]


# The polynomial of CRC32C, bits reversed.
_POLYNOMIAL = 0x82F63B78

_note = re.compile("crc32c=([0-9a-f]{8})").fullmatch

_Matrix = tuple[int, ...]


def _applied(matrix: _Matrix, vector: int) -> int:
    result = 0
    for row in matrix:
        if vector & 1:
            result ^= row
        vector >>= 1
        if not vector:
            break
    return result


@cache
def _moving(power: int) -> _Matrix:
    """What moves a CRC on over C{2 ** power} zero bits."""
    if not power:
        return (_POLYNOMIAL, *(1 << bit for bit in range(31)))
    half = _moving(power - 1)
    return tuple(_applied(half, row) for row in half)


def combined(first: int, second: int, size: int) -> int:
    """
    The CRC32C of bytes and what follows them.

    @param first: that of the bytes.
    @param second: that of what follows.
    @param size: the bytes of what follows.
    """
    bits, power = 8 * size, 0
    while bits:
        if bits & 1:
            first = _applied(_moving(power), first)
        bits >>= 1
        power += 1
    return first ^ second


def note_of(crc: int) -> str:
    """What is noted of a part."""
    return f"crc32c={crc:08x}"


def crc_in(note: str) -> int | None:
    """The CRC32C in a note; C{None} if there is none."""
    found = _note(note)
    return int(found[1], 16) if found else None


def crc_of_parts(parts: Iterable[Part]) -> int | None:
    """The CRC32C of parts in a row; C{None} if that of one is not known."""
    total = 0
    for part in parts:
        crc = crc_in(part.note)
        if crc is None:
            return None
        total = combined(total, crc, part.size)
    return total


#: Seconds after which the bytes that have come are made a part, however few they are.
MAX_SECONDS = 10.0

#: Small parts in a row that become one.
MANY = 64

# Seconds that a part should take: each costs some flushes of the disk.
_MIN_SECONDS = 0.5

_MIN_SIZE = 16 << 20
_MAX_SIZE = 1 << 30

# The parts that an upload has at most for the bytes that it has already, about.
_PARTS_PER_UPLOAD = 512


def min_size(offset: int) -> int:
    """Bytes that a part should have at least, if it begins at C{offset} of its upload."""
    return max(_MIN_SIZE, offset // _PARTS_PER_UPLOAD)


def is_enough(offset: int, size: int, seconds: float) -> bool:
    """
    Whether a part is to end.

    @param offset: where it begins.
    @param size: its bytes so far.
    @param seconds: since its first byte came.
    """
    return size >= _MAX_SIZE or (size >= min_size(offset) and seconds >= _MIN_SECONDS)


def _rank(size: int) -> int:
    """Sizes of one rank differ by less than 64 times."""
    return (size.bit_length() + 5) // 6


def count_to_join(parts: Sequence[Part]) -> int:
    """
    How many parts at the end are to become one; 0 for none.

    It is 64 of about one size and the smaller ones between them, so that bytes are copied a few times at most, however
    little a client sends at a time.
    """
    least = min_size(sum(part.size for part in parts))
    ranks: list[int] = []
    for part in reversed(parts):
        if part.size >= least:
            break
        ranks.append(_rank(part.size))
    if len(ranks) < MANY:
        return 0
    for rank in sorted(set(ranks)):
        run = next((position for position, other in enumerate(ranks) if other > rank), len(ranks))
        if run >= MANY and ranks[:run].count(rank) >= MANY // 2:
            return run
    return 0


class PartCutter:
    """
    Cuts a stream into parts: C{while await cutter.has_more()}, store C{cutter.part()}.

    A part may have to end while the next piece is waited for. So that read continues beside it, and its piece begins
    the next part. No more than that piece is read ahead.

    @param stream: read by this, and closed.
    @param offset: of its first byte in the upload.
    @param verify: if given, the whole stream is one part. That part fails with what this raises at its end, or with what
        the stream failed with.
    @ivar error: why the stream did not come to its end; C{None} if it did.
    @ivar size: bytes that the current part has given.
    @ivar crc: their CRC32C.
    """

    def __init__(
        self, stream: IByteStream, offset: int, clock: IReactorTime, verify: Callable[[], None] | None = None
    ) -> None:
        self.error: BaseException | None = None
        self.size = 0
        self.crc = 0
        self._stream = stream
        self._offset = offset
        self._clock = clock
        self._verify = verify
        self._first: Piece = b""  # of the next part
        self._reading: Beside[Piece] = Beside()
        self._is_reading = False  # a read was begun whose piece was not taken yet
        self._is_over = False
        self._is_time_up = False

    async def has_more(self) -> bool:
        """Wait for the first byte of the next part. @return: whether there is one."""
        self._first = self._first or await self._read()
        return bool(self._first)

    def part(self) -> IByteStream:
        """The next part, to be called after L{has_more}. Closing it does not close the stream it is cut from."""
        self.size = self.crc = 0
        return GeneratorStream(self._part())

    def stop(self, error: Exception) -> None:
        """Read no more, as if the stream had failed with C{error}, unless it is over. What was read is still given."""
        if not self._is_over and self.error is None:
            self.error = error
            self._stream.close()

    async def close(self) -> None:
        """Close the stream."""
        await self._stream.close()
        await self._reading.close()

    async def _part(self) -> AsyncGenerator[Piece, None]:
        since = self._clock.seconds()
        timer = None if self._verify else self._clock.callLater(MAX_SECONDS, self._end_part)
        try:
            piece, self._first = self._first, b""
            while piece:
                self.crc = crc32c(piece, self.crc)
                self.size += len(piece)
                yield piece
                if self._is_time_up:
                    break
                if timer and is_enough(self._offset, self.size, self._clock.seconds() - since):
                    break
                piece = await self._read()
        finally:
            self._offset += self.size
            self._is_time_up = False
            if timer is not None and timer.active():
                timer.cancel()
        if self._verify is not None:
            if self.error is not None:
                raise self.error
            self._verify()

    def _end_part(self) -> None:
        self._is_time_up = True
        self._reading.wake()

    async def _read(self) -> Piece:
        """The next piece; nothing when the stream is over, or has failed, or the part is to end."""
        if self._is_over:
            return b""
        if not self._is_reading:
            self._is_reading = True
            self._reading.run(self._stream.read())
        if self._reading.is_running:
            await self._reading.wait()
            if self._reading.is_running:
                return b""
        self._is_reading = False
        try:
            piece = await self._reading.result() or b""
        except BaseException as error:
            self.error = self.error or error
            piece = b""
        self._is_over = not piece
        return piece
