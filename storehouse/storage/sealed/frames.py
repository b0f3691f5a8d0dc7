"""
From bytes to frames and back: about a MiB at a time in a disk thread, where the cipher lets go of the interpreter's lock.

While a thread works on some, the next ones come, and those before are taken.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from functools import partial
from typing import Protocol

import attrs
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from storehouse.core.budget import WriteMemory
from storehouse.core.disk import IDisk
from storehouse.core.keys.keyring import TAG_SIZE
from storehouse.core.streams import Beside, IByteStream, Piece, PieceBuffer, StreamClosed, stage
from storehouse.errors import DamagedObject, SizeMismatch
from storehouse.storage.sealed.formats import FRAME, SEALED_FRAME, Description, nonce_of

__all__ = ["Codec", "Opening", "Sealing", "coded"]

# Bytes of the pieces that are given out, where frames are whole.
_PIECE = 256 << 10

# Bytes that are worked on here and now: some 50 microseconds, less than a thread takes to begin and to be heard of.
_SMALL = 128 << 10

# Frames that are worked on at once: of parts of a few bytes there may be many.
_MOST_FRAMES = 512


Worked = tuple[list[bytes], Exception | None]


@attrs.frozen
class Batch:
    """
    Bytes that are worked on at once.

    @ivar size: how many.
    @ivar work: called with them, perhaps in a thread; one call follows the other. It gives what comes of them, as far as
        all is well; and what is wrong.
    """

    size: int
    work: Callable[[Sequence[Piece]], Worked]


class Codec(Protocol):
    """What is done to the bytes of a stream."""

    @property
    def done(self) -> bool:
        """Whether all that there is to be was taken."""

    def next_batch(self, held: int, most: int, ended: bool) -> Batch | None:
        """
        What is to be worked on next; C{None} if there are too few bytes.

        @param held: bytes that are there.
        @param most: how many are wanted at once, if that can be.
        @param ended: whether there are no more than those.
        """


@stage
async def coded(stream: IByteStream, codec: Codec, disk: IDisk, memory: WriteMemory) -> AsyncGenerator[Piece, None]:
    """
    What a codec makes of a stream.

    @param memory: tells how much is to be worked on at once; as much again comes meanwhile, and as much waits to be read.
    @raise SizeMismatch: if the stream ends before the codec has all that it needs.
    """
    pieces = PieceBuffer()
    working: Beside[Worked] = Beside(stream)
    ended = False
    memory.writers += 1
    try:
        while True:
            while (batch := codec.next_batch(pieces.size, memory.share, ended)) is None and not ended:
                if piece := await stream.read():
                    pieces.add(piece)
                else:
                    ended = True
            results = [await working.result()]
            if batch is not None and batch.size > _SMALL:
                await working.start(disk.run, batch.work, pieces.take(batch.size))
            elif batch is not None:
                results.append(batch.work(pieces.take(batch.size)))
            for result in results:
                if result is not None:
                    for done in result[0]:
                        yield done
                    if result[1] is not None:
                        raise result[1]
            if batch is None:
                break
        if not codec.done:
            raise SizeMismatch(f"the bytes end before all of them have come: {pieces.size} are left over")
    except StreamClosed:
        await working.result()  # perhaps it is why
        raise
    finally:
        await working.close()
        memory.writers -= 1


class _Cutter:
    """Takes so many bytes at a time off pieces; copies only what lies in several of them."""

    def __init__(self, pieces: Sequence[Piece]) -> None:
        self._pieces = iter(pieces)
        self._left = memoryview(b"")

    def take(self, size: int) -> Piece:
        """The next."""
        taken, self._left = self._left[:size], self._left[size:]
        if len(taken) == size:
            return taken
        parts = [taken]
        size -= len(taken)
        while size:
            piece = memoryview(next(self._pieces))
            parts.append(piece[:size])
            self._left = piece[size:]
            size -= len(parts[-1])
        return b"".join(parts) if len(parts) > 2 or len(parts[0]) else parts[1]


class Sealing:
    """
    Frames of bytes.

    @param key: of a part; for these bytes alone.
    @ivar size: bytes that were taken.
    """

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)
        self._frame = 0
        self.done = False
        self.size = 0

    def next_batch(self, held: int, most: int, ended: bool) -> Batch | None:
        """See L{Codec.next_batch}."""
        if self.done:
            return None
        count = max(1, most // FRAME) * FRAME
        if held <= count:
            # Perhaps the last frame is among these: that must be known.
            if not ended:
                return None
            count = held
            self.done = True
        first = self._frame
        self.size += count
        self._frame += -(-count // FRAME)
        return Batch(count, partial(self._seal, first, count, self.done))

    def _seal(self, first: int, size: int, is_end: bool, pieces: Sequence[Piece]) -> Worked:
        cutter = _Cutter(pieces)
        encrypt = self._cipher.encrypt
        whole, rest = divmod(size, FRAME)
        lengths = [FRAME] * whole + ([rest] if rest or not size else [])
        frames = []
        for place, length in enumerate(lengths, 1):
            last = is_end and place == len(lengths)
            frames.append(encrypt(nonce_of(first + place - 1, last), cutter.take(length), None))
        return frames, None


@attrs.frozen
class _Frame:
    """
    A frame to be opened.

    @ivar start: what of it is wanted, up to C{end}.
    """

    part: int
    number: int
    sealed: int
    last: bool
    start: int
    end: int


class Opening:
    """
    A range of an object, of its frames.

    @param offset: where the range begins, in bytes of the object.
    @param id: of the object, for errors.
    @param number: of a part of an upload that is read alone.
    @ivar start: where the frames begin, in what is stored.
    @ivar length: their bytes.
    @ivar wrong: what was found.
    """

    def __init__(self, id: str, description: Description, offset: int, length: int, number: int | None = None) -> None:
        self._id = id
        self._number = number
        self._parts = description.parts
        self._part = -1
        self._cipher: AESGCM | None = None
        self._gathered: list[_Frame] = []
        self._wanted = 0
        self._next: _Frame | None = None
        self.wrong: DamagedObject | None = None
        self.start = self.length = 0
        if length or not description.size:
            first, begin, last, end = 0, 0, len(self._parts) - 1, 0  # without bytes there is a frame, too
            if length:
                first, begin = description.place(offset)
                last, end = description.place(offset + length - 1)
            starts = description.sealed_starts
            self.start = starts[first] + begin // FRAME * SEALED_FRAME
            stop = starts[last] + (end // FRAME + 1) * SEALED_FRAME
            self.length = min(stop, starts[last + 1]) - self.start
            self._frames = self._walk(first, begin, last, end + 1)
            self._next = next(self._frames)

    def _walk(self, first: int, begin: int, last: int, end: int) -> Iterator[_Frame]:
        for part in range(first, last + 1):
            size = self._parts[part].size
            start = begin if part == first else 0
            stop = min(end, size) if part == last else size
            frame = start // FRAME
            while True:
                base = frame * FRAME
                length = min(FRAME, size - base)
                is_last = base + length == size
                yield _Frame(
                    part, frame, length + TAG_SIZE, is_last, max(0, start - base), max(0, min(stop - base, length))
                )
                if is_last or base + FRAME >= stop:
                    break
                frame += 1

    @property
    def done(self) -> bool:
        """See L{Codec.done}."""
        return self._next is None and not self._wanted

    def next_batch(self, held: int, most: int, ended: bool) -> Batch | None:
        """See L{Codec.next_batch}."""
        while self._next is not None and self._wanted < most and len(self._gathered) < _MOST_FRAMES:
            self._gathered.append(self._next)
            self._wanted += self._next.sealed
            self._next = next(self._frames, None)
        if not self._wanted or held < self._wanted:
            return None
        count, self._wanted = self._wanted, 0
        frames, self._gathered = self._gathered, []
        return Batch(count, partial(self._open, frames))

    def _open(self, frames: list[_Frame], pieces: Sequence[Piece]) -> Worked:
        cutter = _Cutter(pieces)
        opened: list[bytes] = []
        try:
            for frame in frames:
                if frame.part != self._part or self._cipher is None:
                    self._part, self._cipher = frame.part, AESGCM(self._parts[frame.part].key)
                nonce = nonce_of(frame.number, frame.last)
                data = self._cipher.decrypt(nonce, cutter.take(frame.sealed), None)
                if frame.end - frame.start < len(data):
                    data = data[frame.start : frame.end]
                if data:
                    opened.append(data)
        except InvalidTag:
            number = self._part + 1 if self._number is None else self._number
            self.wrong = DamagedObject(self._id, "what is encrypted is not authentic", number, frame.number)
        return _joined(opened), self.wrong


def _joined(frames: list[bytes]) -> list[bytes]:
    """Frames as pieces that are not small, nor too large."""
    each = max(1, _PIECE // FRAME)
    if max(map(len, frames), default=FRAME) < FRAME // 4:
        each = len(frames)
    return [b"".join(frames[start : start + each]) for start in range(0, len(frames), each)]
