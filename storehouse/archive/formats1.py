"""
Version 1 of the archive format: values to bytes and bytes to values, without files.

Source: docs/formats/archive.md, which says what each field means; it is the format of the first program::

    record   [i32 magic][i16 version][i32 metadata block][i32 payload block][i32 zero]    18 bytes
             [i32 4 * pairs][i32 length]... strings                                       the metadata block
             [i32 length] payload                                                         the payload block

These functions are called for every record, so they keep what they found out about the shape of metadata: records of one
source have the same keys, and mostly strings of the same lengths.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import count
from struct import Struct

from storehouse.archive.interfaces import Payload
from storehouse.archive.shapes import Cut, Join, cutter, joiner
from storehouse.errors import InvalidRecord, TooLarge

__all__ = [
    "HEAD_SIZE",
    "MAGIC",
    "MOST_PAIRS",
    "PREAMBLE",
    "START",
    "decode_metadata",
    "encode_record",
    "head_fields",
    "head_parts",
    "known_table",
    "length_at",
    "record_size",
    "shapes",
]

MAGIC = 0x69867884

#: What archives of all versions begin with: magic and version.
PREAMBLE = Struct("<ih")

#: What each record of version 1 begins with.
START = PREAMBLE.pack(MAGIC, 1)

_head = Struct("<ihiiii")
#: The bytes before the lengths of the strings.
HEAD_SIZE = _head.size
#: C{(magic, version, metadata_size, payload_size, zero, strings) = head_fields(data, at)}
head_fields = _head.unpack_from
#: In other parts: C{(all before the size of the payload, payload_size, strings) = head_parts(data, at)}
head_parts = Struct("<10si4xi").unpack_from

_before = Struct("<ihi")
_i32 = Struct("<i")
#: C{(length,) = length_at(data, at)}
length_at = _i32.unpack_from
_MOST = 2**31 - 1

#: How many shapes are kept. A source with more gains nothing from keeping them.
_MOST_SHAPES = 4096

#: Bytes, or characters of keys, of the largest shape that is kept: others would fill the memory.
_KEPT = 1 << 12

#: Pairs of metadata that are taken: each takes many times its bytes in memory.
MOST_PAIRS = 1 << 18

#: What packs a record up to its payload, for strings of known lengths: C{pack(before, size + 4, between, strings, size)};
#: and how many bytes that gives.
Packer = tuple[Callable[..., bytes], bytes, bytes, int]
#: For keys, what joins them with values; and packers for ASCII, by the lengths of the values.
Shape = tuple[Join, dict[tuple[int, ...], Packer]]
shapes: dict[tuple[str, ...], Shape] = {}
_packers_made = count(1)


def _shape_for(keys: tuple[str, ...]) -> Shape:
    made: Shape = joiner(keys), {}
    if sum(map(len, keys)) + 8 * len(keys) <= _KEPT:
        if len(shapes) >= _MOST_SHAPES:
            shapes.clear()
        shapes[keys] = made
    return made


def _packer(lengths: Sequence[int]) -> Packer:
    """@param lengths: of all strings, in bytes."""
    table = sum(lengths)
    block = 4 + 4 * len(lengths) + table
    if block > _MOST:
        raise TooLarge(f"version 1 holds {_MOST} bytes of metadata at most")
    before = _before.pack(MAGIC, 1, block)
    between = Struct(f"<ii{len(lengths)}i").pack(0, 2 * len(lengths), *lengths)
    whole = Struct(f"<{len(before)}si{len(between)}s{table}si")
    return whole.pack, before, between, whole.size


def _packer_for(shape: Shape, metadata: Mapping[str, str], lengths: tuple[int, ...]) -> Packer:
    """@param metadata: of ASCII."""
    # All that is kept is counted together: otherwise it could be the square of that.
    if next(_packers_made) % _MOST_SHAPES == 0:
        shapes.clear()
    made = shape[1][lengths] = _packer([len(string) for pair in metadata.items() for string in pair])
    return made


def encode_record(metadata: Mapping[str, str], payload: Payload) -> tuple[bytes, bytes]:
    """
    A record.

    @return: all that comes before the payload, and the payload.
    @raise InvalidRecord: for what is neither text nor, as payload, bytes.
    @raise TooLarge: for what the format's fields cannot hold.
    """
    try:
        if isinstance(payload, str):
            body = payload.encode()
        else:
            body = payload if isinstance(payload, bytes) else bytes(memoryview(payload))
        keys = tuple(metadata)
        shape = shapes.get(keys) or _shape_for(keys)
        table, lengths = shape[0](metadata.values())
        if table.isascii():
            pack, before, between, _ = shape[1].get(lengths) or _packer_for(shape, metadata, lengths)
            packed = table.encode()
        else:
            encoded = [string.encode("utf-8", "surrogateescape") for pair in metadata.items() for string in pair]
            pack, before, between, _ = _packer(list(map(len, encoded)))
            packed = b"".join(encoded)
    except (TypeError, UnicodeEncodeError, AttributeError) as problem:
        raise InvalidRecord(f"metadata is text to text, and a payload text or bytes: {problem}") from None
    size = len(body)
    if size > _MOST - 4:
        raise TooLarge(f"version 1 holds {_MOST - 4} bytes of payload at most")
    return pack(before, size + 4, between, packed, size), body


# -- reading -----------------------------------------------------------------------------------------------------------

#: What a record begins with up to the size of its payload; the bytes of its strings; what cuts the keys out of them; where
#: keys and values are; and, by the keys, what makes metadata of the strings, if they are ASCII.
Table = tuple[bytes, int, Callable[[bytes], tuple[bytes, ...]], list[slice], dict[tuple[bytes, ...], Cut]]
_tables: dict[bytes, Table] = {}
#: The table of a shape that was seen, by its zero, count and lengths; C{None} for others.
known_table = _tables.get
_cuts_made = count(1)


def _table_for(shape: bytes) -> Table:
    if len(shape) > 8 + 8 * MOST_PAIRS:
        raise ValueError(f"it has more than {MOST_PAIRS} pairs of metadata")
    places = []
    form = "<"
    end = 0
    for at, (length,) in enumerate(_i32.iter_unpack(shape[8:])):
        if length < 0:
            raise ValueError("a string of negative length")
        places.append(slice(end, end + length))
        form += f"{length}x" if at % 2 else f"{length}s"
        end += length
    block = len(shape) - 4 + end
    if block > _MOST:
        raise ValueError("its strings are longer than they can be")
    made: Table = _before.pack(MAGIC, 1, block), end, Struct(form).unpack, places, {}
    if len(shape) + end <= _KEPT:
        if len(_tables) >= _MOST_SHAPES:
            _tables.clear()
        _tables[shape] = made
    return made


def _cut_for(table: Table, keys: tuple[bytes, ...]) -> Cut:
    if next(_cuts_made) % _MOST_SHAPES == 0:
        _tables.clear()
    names = [key.decode("utf-8", "surrogateescape") for key in keys]
    made = table[4][keys] = cutter(names, table[3][1::2])
    return made


def record_size(fields: tuple[int, ...]) -> int:
    """
    The bytes of a record, from what L{head_fields} gave.

    @raise ValueError: if the fields do not make sense together.
    """
    magic, version, metadata_size, payload_size, zero, strings = fields
    if magic != MAGIC or version != 1:
        raise ValueError("no record begins here")
    # Four times the pairs: two lengths of four bytes a pair are twice that.
    if zero or payload_size < 4 or strings < 0 or strings % 4 or metadata_size < 4 + 2 * strings:
        raise ValueError("its lengths do not agree")
    return HEAD_SIZE - 4 + metadata_size + payload_size


def decode_metadata(data: bytes, at: int, metadata_size: int, strings: int) -> dict[str, str]:
    """
    The metadata of a record.

    @param at: where the lengths of the strings begin.
    @param metadata_size: as the record's head says.
    @param strings: likewise; four times the number of pairs.
    @raise ValueError: if its lengths do not agree with the block's.
    """
    first = at + 2 * strings
    shape = data[at - 8 : first]
    table = _tables.get(shape) or _table_for(shape)
    _, length, cut_keys, places, cuts = table
    if 4 + 2 * strings + length != metadata_size:
        raise ValueError("the lengths of its strings do not agree")
    packed = data[first : first + length]
    keys = cut_keys(packed)
    cut = cuts.get(keys) or _cut_for(table, keys)
    if packed.isascii():
        return cut(packed.decode())
    found = [packed[place].decode("utf-8", "surrogateescape") for place in places]
    return dict(zip(found[::2], found[1::2], strict=True))
