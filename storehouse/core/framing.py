"""
Length-prefixed records, C{[u32 little-endian length][payload]...}, as in bucket files and in bodies with several records.

Source: the first seed.
"""

from __future__ import annotations

from struct import Struct, error

from storehouse.errors import MalformedBody

__all__ = ["LENGTH_SIZE", "Batch", "pack_length", "split_records", "split_some", "unpack_length"]

LENGTH_SIZE = 4

_length = Struct("<I")

#: The length field of a record.
pack_length = _length.pack


def unpack_length(data: bytes | bytearray, at: int = 0) -> int:
    """The length in the four bytes at C{at}."""
    return int(_length.unpack_from(data, at)[0])


class Batch(list[bytes]):
    """
    The records of one body.

    @ivar encoded: all of them with their lengths, as received: appended as they are, without encoding them again.
    """

    __slots__ = ("encoded",)

    def __init__(self, encoded: bytes) -> None:
        super().__init__()
        self.encoded = encoded


def split_records(body: bytes, max_record: int, most: int | None = None) -> Batch | None:
    """
    Split C{[u32 length][data]...}.

    @param most: the most records.
    @return: C{None} if there are more.
    @raise MalformedBody: see L{split_some}.
    """
    records = Batch(body)
    if split_some(records, 0, max_record, len(body) if most is None else most) < len(body):
        return None
    return records


def split_some(records: Batch, at: int, max_record: int, most: int) -> int:
    """
    Add some records to a batch from its encoded bytes, from C{at} on.

    @param most: how many, at most.
    @return: where the next one begins; the end of the encoded bytes if there is none.
    @raise MalformedBody: if a length does not fit what follows, is zero, or exceeds C{max_record}; the text
        names the record.
    """
    body = records.encoded
    size = len(body)
    unpack = _length.unpack_from
    add = records.append
    try:
        for _ in range(most):
            if at >= size:
                break
            (length,) = unpack(body, at)
            start = at + LENGTH_SIZE
            end = start + length
            if not 0 < length <= max_record or end > size:
                raise _malformed(len(records), start, length, max_record, size)
            add(body[start:end])
            at = end
    except error:
        raise MalformedBody(f"record {len(records)} ends within its length, at byte {size}") from None
    return at


def _malformed(number: int, start: int, length: int, max_record: int, size: int) -> MalformedBody:
    if length == 0:
        return MalformedBody(f"record {number}, at byte {start - LENGTH_SIZE}, is empty")
    if length > max_record:
        return MalformedBody(f"record {number} claims {length} bytes; at most {max_record} are allowed")
    return MalformedBody(f"record {number} claims {length} bytes, but {size - start} follow")
