"""
Version 2 of the archive format: values to bytes and bytes to values, without files.

Source: docs/formats/archive.md, which says what each field means::

    header   [i32 magic][i16 version][u8 compression][u8 zero][u64 created][u64 sequence][u64 salt][u32 crc32c]   36 bytes
    record   [R][3s mark][u32 crc32c][u64 time][u32 keys][u32 values][u32 payload][u8 flags] strings, payload     29 bytes
    block    [Z][3s mark][u32 crc32c][u64 lowest][u64 highest][u32 records][u32 raw][u32 size] zstd               36 bytes
    index    [I][3s mark][u32 crc32c][u32 entries] ([u64 offset][u64 first][u64 lowest][u64 highest])...          12 bytes
    trailer  [u64 index][u64 records][u64 lowest][u64 highest][4s SEAL][u32 crc32c]                               40 bytes
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import count
from struct import Struct

import attrs

from storehouse.archive.formats1 import MAGIC, MOST_PAIRS
from storehouse.archive.interfaces import ArchiveInfo, Payload
from storehouse.archive.shapes import Build, builder
from storehouse.core.digests import crc32c
from storehouse.errors import InvalidRecord, TooLarge

__all__ = [
    "BLOCK",
    "BLOCK_SIZE",
    "ENTRY_SIZE",
    "ESCAPED",
    "HAS_METADATA",
    "HEADER_SIZE",
    "INDEX",
    "INDEX_SIZE",
    "IS_TEXT",
    "RECORD",
    "RECORD_SIZE",
    "TRAILER_SIZE",
    "Footer",
    "Group",
    "Seeds",
    "block_fields",
    "decode_header",
    "decode_index",
    "decode_metadata",
    "decode_trailer",
    "encode_block",
    "encode_footer",
    "encode_header",
    "known_builder",
    "make_record_encoder",
    "record_fields",
    "record_time",
    "seeds_of",
    "shapes",
]

_header = Struct("<ihBBQQQ")
_u32 = Struct("<I")
_pack_u32 = _u32.pack
HEADER_SIZE = _header.size + 4

RECORD, BLOCK, INDEX = b"R", b"Z", b"I"

_record = Struct("<4sIQIIIB")
RECORD_SIZE = _record.size
#: C{(start, checksum, time, keys, values, payload, flags) = record_fields(data, at)}
record_fields = _record.unpack_from
_u64 = Struct("<Q")
_pack_start = Struct("<4sI").pack

_block = Struct("<4sIQQIII")
BLOCK_SIZE = _block.size
#: C{(start, checksum, lowest, highest, records, raw_size, size) = block_fields(data, at)}
block_fields = _block.unpack_from
_pack_block_rest = Struct("<QQIII").pack

_index = Struct("<4sII")
INDEX_SIZE = _index.size
_entry = Struct("<QQQQ")
ENTRY_SIZE = _entry.size
_trailer = Struct("<QQQQ4s")
TRAILER_SIZE = _trailer.size + 4
_SEAL = b"SEAL"

IS_TEXT, HAS_METADATA, ESCAPED = 1, 2, 4
_MOST = 2**31 - 1

_COMPRESSIONS = {0: None, 1: "zstd"}
_CODES = {name: code for code, name in _COMPRESSIONS.items()}


@attrs.frozen
class Seeds:
    """
    What an archive's salt says.

    @ivar checksum: where checksums start.
    @ivar mark: the three bytes behind the first one of each frame.
    """

    checksum: int
    mark: bytes


@attrs.frozen
class Group:
    """
    An entry of the index: frames that follow each other.

    @ivar offset: of the first one, in the archive.
    @ivar first: the number of its first record.
    @ivar lowest: the lowest time of its records.
    @ivar highest: the highest.
    """

    offset: int
    first: int
    lowest: int
    highest: int


@attrs.frozen
class Footer:
    """
    What the trailer of a sealed archive says.

    @ivar index: the offset of the index: where the frames end.
    @ivar records: the number of records.
    """

    index: int
    records: int
    lowest: int
    highest: int


# -- header ------------------------------------------------------------------------------------------------------------


def seeds_of(salt: int) -> Seeds:
    """What follows from the salt."""
    return Seeds(salt & 0xFFFFFFFF, salt.to_bytes(8, "little")[4:7])


def encode_header(info: ArchiveInfo) -> bytes:
    """The 36 bytes at the beginning."""
    fields = _header.pack(MAGIC, 2, _CODES[info.compression], 0, info.created, info.sequence, info.salt)
    return fields + _pack_u32(crc32c(fields))


def decode_header(data: bytes) -> ArchiveInfo:
    """
    What the header says.

    @param data: at least its 36 bytes, of which the first six are known to be right.
    @raise ValueError: if it is damaged.
    """
    _, _, compression, zero, created, sequence, salt = _header.unpack_from(data)
    if crc32c(data[:32]) != _u32.unpack_from(data, 32)[0]:
        raise ValueError("the checksum of its header is wrong")
    if compression not in _COMPRESSIONS or zero:
        raise ValueError(f"its header names a compression, {compression}, that is not known here")
    return ArchiveInfo(2, _COMPRESSIONS[compression], created, sequence, salt)


# -- records -----------------------------------------------------------------------------------------------------------

#: How many keys, and lengths, of records that were seen are kept. Then they are forgotten.
_MOST_KEYS = 4096

#: Bytes of the longest keys that are kept: others would fill the memory.
_KEPT = 1 << 12

#: What packs the rest of a frame up to the payload, C{(time, keys, values, payload, flags, strings, strings)}, and what
#: packs its start, C{(start, checksum, rest)}.
_Packers = tuple[Callable[..., bytes], Callable[..., bytes]]
#: For keys: their bytes, the zero bytes between them, packers for strings without zero, by the length of the values, and
#: the length of the keys. If a key holds a zero byte: C{None} and no packers.
Shape = tuple[bytes | None, int, dict[int, _Packers], int]
shapes: dict[tuple[str, ...], Shape] = {}
_packers_made = count(1)
_builders: dict[bytes, Build] = {}
#: What makes metadata of values, for the bytes of keys that were seen; C{None} for others.
known_builder = _builders.get


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\0", "\\0")


def _unescape(text: str) -> str:
    # "\\\\0" is a backslash and a digit, so pairs are looked at from the front.
    return "\\".join(piece.replace("\\0", "\0") for piece in text.split("\\\\"))


def _shape_for(names: tuple[str, ...]) -> Shape:
    keys = None if any("\0" in name for name in names) else "\0".join(names).encode()
    made: Shape = keys, len(names) - 1, {}, len(keys or b"")
    if sum(map(len, names)) + 8 * len(names) <= _KEPT:
        if len(shapes) >= _MOST_KEYS:
            shapes.clear()
        shapes[names] = made
    return made


def _packers(keys: int, values: int) -> _Packers:
    return Struct(f"<QIIIB{keys}s{values}s").pack, Struct(f"<4sI{RECORD_SIZE - 8 + keys + values}s").pack


def _packers_for(shape: Shape, keys: int, values: int) -> _Packers:
    # All that is kept is counted together: otherwise it could be the square of that.
    if next(_packers_made) % _MOST_KEYS == 0:
        shapes.clear()
    made = shape[2][values] = _packers(keys, values)
    return made


_no_metadata: Shape = b"", 0, {}, 0


def make_record_encoder(seeds: Seeds) -> Callable[[Mapping[str, str], Payload, int], tuple[bytes, bytes]]:
    """
    What makes record frames of one archive: C{(metadata, payload, time)} to all that comes before the payload, and
    the payload. It raises C{InvalidRecord} for what is neither text nor, as payload, bytes, and C{TooLarge}.
    """
    start, seed = RECORD + seeds.mark, seeds.checksum

    def encode(metadata: Mapping[str, str], payload: Payload, time: int) -> tuple[bytes, bytes]:
        try:
            if isinstance(payload, str):
                body, flags = payload.encode(), IS_TEXT
            else:
                body, flags = payload if isinstance(payload, bytes) else bytes(memoryview(payload)), 0
            if metadata:
                flags |= HAS_METADATA
                names = tuple(metadata)
                shape = shapes.get(names) or _shape_for(names)
                keys, zeros = shape[:2]
                joined = "\0".join([*metadata.values()])
                if keys is None or joined.count("\0") != zeros:
                    flags |= ESCAPED
                    keys = "\0".join(map(_escape, names)).encode()
                    joined = "\0".join(map(_escape, metadata.values()))
                values = joined.encode()
            else:
                len(metadata)  # an empty one, and not None
                shape = _no_metadata
                keys = values = b""
        except (TypeError, UnicodeEncodeError, AttributeError) as problem:
            raise InvalidRecord(f"metadata is text to text, and a payload text or bytes: {problem}") from None
        size, first, second = len(body), len(keys), len(values)
        if size + first + second > _MOST:
            raise TooLarge(f"a record of an archive has {_MOST} bytes at most")
        if flags & ESCAPED:
            pack, pack_start = _packers(first, second)
        else:
            pack, pack_start = shape[2].get(second) or _packers_for(shape, first, second)
        rest = pack(time, first, second, size, flags, keys, values)
        return pack_start(start, crc32c(body, crc32c(rest, seed)), rest), body

    return encode


def record_time(frame: bytes) -> int:
    """The time of a record, from the beginning of its frame."""
    time: int = _u64.unpack_from(frame, 8)[0]
    return time


def decode_metadata(keys: bytes, values: bytes, flags: int) -> dict[str, str]:
    """
    The metadata of a record.

    @raise ValueError: if it makes no sense; its checksum held, so somebody wrote it so.
    """
    if not flags & HAS_METADATA:
        return {}
    if keys.count(b"\0") >= MOST_PAIRS:
        raise ValueError(f"it has more than {MOST_PAIRS} pairs of metadata")
    if flags & ESCAPED:
        names = [_unescape(name) for name in keys.decode().split("\0")]
        return builder(names)(list(map(_unescape, values.decode().split("\0"))))
    build = _builders.get(keys)
    if build is None:
        build = builder(keys.decode().split("\0"))
        if len(keys) <= _KEPT:
            if len(_builders) >= _MOST_KEYS:
                _builders.clear()
            _builders[keys] = build
    return build(values.decode().split("\0"))


# -- blocks, footer ----------------------------------------------------------------------------------------------------


def encode_block(seeds: Seeds, lowest: int, highest: int, records: int, raw_size: int, compressed: bytes) -> bytes:
    """A block frame."""
    rest = _pack_block_rest(lowest, highest, records, raw_size, len(compressed))
    checksum = crc32c(compressed, crc32c(rest, seeds.checksum))
    return b"".join((_pack_start(BLOCK + seeds.mark, checksum), rest, compressed))


def encode_footer(seeds: Seeds, groups: Sequence[Group], offset: int, records: int) -> bytes:
    """The footer of an archive whose frames end at C{offset}."""
    entries = b"".join(_entry.pack(group.offset, group.first, group.lowest, group.highest) for group in groups)
    covered = _pack_u32(len(groups)) + entries
    index = _pack_start(INDEX + seeds.mark, crc32c(covered, seeds.checksum)) + covered
    lowest = min((group.lowest for group in groups), default=0)
    highest = max((group.highest for group in groups), default=0)
    trailer = _trailer.pack(offset, records, lowest, highest, _SEAL)
    return index + trailer + _pack_u32(crc32c(trailer, seeds.checksum))


def decode_trailer(data: bytes, seeds: Seeds) -> Footer | None:
    """What the trailer says; C{None} if these 40 bytes are none, or a damaged one."""
    if len(data) != TRAILER_SIZE or crc32c(data[:36], seeds.checksum) != _u32.unpack_from(data, 36)[0]:
        return None
    index, records, lowest, highest, seal = _trailer.unpack_from(data)
    return Footer(index, records, lowest, highest) if seal == _SEAL else None


def decode_index(data: bytes, seeds: Seeds) -> tuple[Group, ...] | None:
    """The entries of an index, given all its bytes; C{None} if it is damaged."""
    if len(data) < INDEX_SIZE:
        return None
    start, checksum, count = _index.unpack_from(data)
    if start != INDEX + seeds.mark or len(data) != INDEX_SIZE + count * ENTRY_SIZE:
        return None
    if crc32c(memoryview(data)[8:], seeds.checksum) != checksum:
        return None
    return tuple(Group(*fields) for fields in _entry.iter_unpack(memoryview(data)[INDEX_SIZE:]))
