"""
Length-prefixed records, C{[u32 little-endian length][payload]...}: the form of bucket files and of several
bodies on the wire.

Source: the first seed.
"""

from __future__ import annotations

from struct import Struct, error

from storehouse.errors import MalformedBody

__all__ = ["LENGTH_SIZE", "Batch", "pack_length", "split_records", "unpack_length"]

LENGTH_SIZE = 4

_length = Struct("<I")

#: The length field of a record.
pack_length = _length.pack


def unpack_length(data: bytes | bytearray, at: int = 0) -> int:
    """The length that the field at C{at} gives."""
    return int(_length.unpack_from(data, at)[0])


class Batch(list[bytes]):
    """
    Several records.

    @ivar encoded: all of them with their lengths, as they came.
    """

    __slots__ = ("encoded",)

    def __init__(self, encoded: bytes) -> None:
        super().__init__()
        self.encoded = encoded


def split_records(body: bytes, max_record: int) -> Batch:
    """
    Take C{[u32 length][data]...} apart.

    @raise MalformedBody: if a length does not fit what follows, is zero, or exceeds C{max_record}; the text
        names the record.
    """
    records = Batch(body)
    at = 0
    size = len(body)
    unpack = _length.unpack_from
    try:
        while at < size:
            (length,) = unpack(body, at)
            start = at + LENGTH_SIZE
            at = start + length
            if not 0 < length <= max_record or at > size:
                break
            records.append(body[start:at])
        else:
            return records
    except error:
        raise MalformedBody(f"record {len(records)} ends inside its length, at byte {size}") from None
    number = len(records)
    if length == 0:
        raise MalformedBody(f"record {number}, at byte {start - LENGTH_SIZE}, is empty")
    if length > max_record:
        raise MalformedBody(f"record {number} claims {length} bytes; at most {max_record} are allowed")
    raise MalformedBody(f"record {number} claims {length} bytes, but {size - start} follow")
