"""
The frames in which several records travel. Pure codecs, no sockets. All integers are little-endian::

    /appendMulti, in     [u32 length][data]...
    /getMulti, out       [u32 length][data]...                 an error is  [u32 0][text to the end]
    /scan, out           [u32 length][u64 offset][data]...     an error is  [u32 0][u64 offset][text to the end]

Source: docs/append.rst.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from struct import Struct
from typing import NamedTuple

from storehouse.cli.errors import CommandError

__all__ = [
    "MAX_FRAME",
    "WHOLE_SIZE",
    "ErrorFrame",
    "FrameParser",
    "MalformedFrame",
    "Piece",
    "encode_header",
    "encode_offsets",
    "encode_records",
]

#: The most bytes of data that a frame may claim.
MAX_FRAME = 1024 * 1024 * 1024

#: Records up to this many bytes are given whole, longer ones in pieces.
WHOLE_SIZE = 64 * 1024

#: The most bytes of an error's text that are kept.
MAX_ERROR_TEXT = 16 * 1024

_length = Struct("<I")
_length_and_offset = Struct("<IQ")
_offset = Struct("<Q")


class MalformedFrame(CommandError):
    """Bytes that are not frames, or frames that end too early."""


class ErrorFrame(CommandError):
    """The error that the server announced within the frames."""


class Piece(NamedTuple):
    """
    Some of the data of a record.

    @ivar length: of the data of the whole record.
    @ivar offset: of the record; C{None} in frames that do not carry it.
    @ivar first: whether the record begins here.
    @ivar last: whether the record ends here.
    """

    length: int
    offset: int | None
    data: bytes
    first: bool
    last: bool


def encode_header(length: int, offset: int | None) -> bytes:
    """What goes before the data of a record."""
    return _length.pack(length) if offset is None else _length_and_offset.pack(length, offset)


def encode_records(records: Iterable[bytes]) -> bytes:
    """The body of a request to /appendMulti."""
    parts: list[bytes] = []
    for record in records:
        parts += (_length.pack(len(record)), record)
    return b"".join(parts)


def encode_offsets(offsets: Iterable[int]) -> bytes:
    """The body of a request to /getMulti."""
    return b"".join(map(_offset.pack, offsets))


class FrameParser:
    """
    Takes a stream of frames apart, however it is cut, and holds no more than L{WHOLE_SIZE} bytes and what was fed
    last.

    @param offsets: whether frames carry offsets (/scan) or not (/getMulti).
    """

    def __init__(self, offsets: bool) -> None:
        self._header = _length_and_offset if offsets else _length
        self._has_offsets = offsets
        self._buffer = b""
        # The record that is being given in pieces, and how much of it is to come.
        self._long: tuple[int, int | None] | None = None
        self._missing = 0
        self._error: bytearray | None = None
        self._error_offset: int | None = None
        #: The number of whole records that were given.
        self.records = 0

    def feed(self, data: bytes) -> Iterator[Piece]:
        """
        Take bytes in and give what they complete. To be run to its end before the next call.

        @raise MalformedFrame: if a frame claims more than L{MAX_FRAME}.
        """
        if self._error is not None:
            self._keep_error(data)
            return
        if self._long is not None:
            taken = data[: self._missing]
            data = data[len(taken) :]
            if taken:
                yield self._continue(taken)
        if data:
            yield from self._parse(self._buffer + data if self._buffer else data)

    def finish(self) -> None:
        """
        The stream has ended.

        @raise ErrorFrame: if it ended with an error.
        @raise MalformedFrame: if it ended within a frame.
        """
        if self._error is not None:
            raise ErrorFrame(self._error_message())
        if self._long is not None or self._buffer:
            raise MalformedFrame(f"the response ended within record {self.records + 1}")

    def _parse(self, data: bytes) -> Iterator[Piece]:
        """Give the records of C{data}, which begins with a header; keep the rest."""
        unpack = self._header.unpack_from
        header_size = self._header.size
        size = len(data)
        at = 0
        self._buffer = b""
        while size - at >= header_size:
            fields = unpack(data, at)
            length: int = fields[0]
            offset: int | None = fields[1] if self._has_offsets else None
            start = at + header_size
            end = start + length
            if length == 0:
                self._error, self._error_offset = bytearray(), offset
                self._keep_error(data[start:])
                return
            if end <= size:
                self.records += 1
                yield Piece(length, offset, data[start:end], True, True)
                at = end
                continue
            if length > MAX_FRAME:
                raise MalformedFrame(f"record {self.records + 1} of the response claims {length} bytes")
            if length <= WHOLE_SIZE:
                break
            self._long, self._missing = (length, offset), end - size
            yield Piece(length, offset, data[start:], True, False)
            return
        self._buffer = data[at:]

    def _continue(self, taken: bytes) -> Piece:
        assert self._long is not None  # feed() asked before
        length, offset = self._long
        self._missing -= len(taken)
        last = not self._missing
        if last:
            self.records += 1
            self._long = None
        return Piece(length, offset, taken, False, last)

    def _keep_error(self, data: bytes) -> None:
        if self._error is not None:
            self._error += data[: MAX_ERROR_TEXT - len(self._error)]

    def _error_message(self) -> str:
        text = bytes(self._error or b"").decode("utf-8", "replace") or "the server reports an error without a text"
        return text if self._error_offset is None else f"at offset {self._error_offset}: {text}"
