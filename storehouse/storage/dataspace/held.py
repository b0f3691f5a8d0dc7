"""What a data space in memory holds: bytes, objects and uploads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import blake2b

import attrs

from storehouse.core.streams import PIECE
from storehouse.storage.dataspace.interfaces import Part, Upload

__all__ = ["Chunk", "OpenUpload", "StoredObject"]


def _tag(data: bytes) -> str:
    return blake2b(data, digest_size=16).hexdigest()


@attrs.frozen
class Chunk:
    """The bytes of a part. They are shared by all that has them."""

    data: bytes
    etag: str

    @classmethod
    def of(cls, data: bytes) -> Chunk:
        """Those of these bytes."""
        return cls(data, _tag(data))


@attrs.frozen
class StoredObject:
    """An object: its bytes, and what is said of it."""

    chunks: tuple[Chunk, ...]
    metadata: dict[str, list[str]]
    etag: str
    size: int

    @classmethod
    def of(cls, chunks: Sequence[Chunk], metadata: dict[str, list[str]]) -> StoredObject:
        """One of these parts."""
        etag = chunks[0].etag
        if len(chunks) > 1:
            etag = f"{_tag(''.join(chunk.etag + chr(10) for chunk in chunks).encode())}-{len(chunks)}"
        return cls(tuple(chunks), metadata, etag, sum(len(chunk.data) for chunk in chunks))

    def spans(self, offset: int, length: int) -> Iterator[tuple[Chunk, int, int]]:
        """What of which chunk is in a range."""
        end = offset + length
        position = 0
        for chunk in self.chunks:
            after = position + len(chunk.data)
            if max(offset, position) < min(end, after):
                yield chunk, max(offset, position) - position, min(end, after) - position
            position = after

    def pieces(self, offset: int, length: int) -> Iterator[bytes]:
        """A range in pieces that are not too large."""
        for chunk, start, end in self.spans(offset, length):
            for position in range(start, end, PIECE):
                yield chunk.data[position : min(position + PIECE, end)]

    def cut(self, offset: int, length: int) -> tuple[Chunk, ...]:
        """A range as chunks, of which there is always one."""
        if length == self.size:
            return self.chunks
        return tuple(
            chunk if end - start == len(chunk.data) else Chunk.of(chunk.data[start:end])
            for chunk, start, end in self.spans(offset, length)
        ) or (Chunk.of(b""),)


@attrs.define
class OpenUpload:
    """An upload: its parts, and what is noted of them."""

    metadata: dict[str, list[str]]
    created: float
    touched: float
    chunks: dict[int, Chunk] = attrs.Factory(dict)
    notes: dict[int, str] = attrs.Factory(dict)

    def parts(self) -> list[Part]:
        """The parts, in ascending order."""
        return [
            Part(number, chunk.etag, len(chunk.data), self.notes[number])
            for number, chunk in sorted(self.chunks.items())
        ]

    def listed(self) -> dict[int, Part]:
        """The parts by their numbers."""
        return {part.number: part for part in self.parts()}

    def described(self, id: str) -> Upload:
        """As it is told."""
        size = sum(len(chunk.data) for chunk in self.chunks.values())
        return Upload(
            id,
            self.created,
            self.touched,
            len(self.chunks),
            size,
            {name: list(values) for name, values in self.metadata.items()},
        )
