"""From bytes to frames and back, for L{Passage}: in a disk thread, where the cipher lets go of the interpreter's lock."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import attrs
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from storehouse.core.keys.keyring import TAG_SIZE
from storehouse.errors import DamagedObject
from storehouse.storage.dataspace.sealed_format import FRAME, SEALED_FRAME, Description, nonce_of

__all__ = ["Opening", "Sealing"]

# Bytes of the pieces that are given out, where frames are whole.
_PIECE = 256 << 10

# Frames that are worked on at once: of parts of a few bytes there may be many.
_MOST_FRAMES = 512


class _Cutter:
    """Takes so many bytes at a time off pieces; copies only what lies in several of them."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self._pieces = iter(pieces)
        self._left = memoryview(b"")

    def take(self, size: int) -> Any:
        """The next, as bytes or a view of bytes."""
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
        self._lengths: list[int] = []
        self.done = False
        self.size = 0

    def take(self, held: int, most: int, ended: bool) -> int | None:
        """See L{Codec.take}."""
        if self.done:
            return None
        count = max(1, most // FRAME) * FRAME
        if held <= count:
            # Perhaps the last frame is among these: that must be known.
            if not ended:
                return None
            count = held
            self.done = True
        self.size += count
        whole, rest = divmod(count, FRAME)
        self._lengths = [FRAME] * whole + ([rest] if rest or not count else [])
        return count

    def work(self, pieces: Sequence[bytes]) -> tuple[list[bytes], Exception | None]:
        """See L{Codec.work}."""
        cutter = _Cutter(pieces)
        encrypt = self._cipher.encrypt
        frames = []
        for place, length in enumerate(self._lengths, 1):
            last = self.done and place == len(self._lengths)
            frames.append(encrypt(nonce_of(self._frame, last), cutter.take(length), None))
            self._frame += 1
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
        self._batch: list[_Frame] = []
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

    def take(self, held: int, most: int, ended: bool) -> int | None:
        """See L{Codec.take}."""
        while self._next is not None and self._wanted < most and len(self._gathered) < _MOST_FRAMES:
            self._gathered.append(self._next)
            self._wanted += self._next.sealed
            self._next = next(self._frames, None)
        if not self._wanted or held < self._wanted:
            return None
        count, self._wanted = self._wanted, 0
        self._batch, self._gathered = self._gathered, []
        return count

    def work(self, pieces: Sequence[bytes]) -> tuple[list[bytes], Exception | None]:
        """See L{Codec.work}."""
        cutter = _Cutter(pieces)
        opened: list[bytes] = []
        try:
            for frame in self._batch:
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
