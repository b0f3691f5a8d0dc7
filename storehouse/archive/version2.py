"""
Version 2 of the archive format: values to bytes and bytes to values, and a pass through an archive.

Source: docs/formats/archive.md, which says what each field means::

    header   [i32 magic][i16 version][u8 compression][u8 zero][u64 created][u64 sequence][u64 salt][u32 crc32c]   36 bytes
    record   [R][3s mark][u32 crc32c][u64 time][u32 keys][u32 values][u32 payload][u8 flags] strings, payload     29 bytes
    block    [Z][3s mark][u32 crc32c][u64 lowest][u64 highest][u32 records][u32 raw][u32 size] zstd               36 bytes
    index    [I][3s mark][u32 crc32c][u32 entries] ([u64 offset][u64 first][u64 lowest][u64 highest])...          12 bytes
    trailer  [u64 index][u64 records][u64 lowest][u64 highest][4s SEAL][u32 crc32c]                               40 bytes
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, count
from struct import Struct
from typing import TypeVar

import attrs

from storehouse.archive.interfaces import ArchiveInfo, Payload
from storehouse.archive.scan import Found, Pair, Scan, Window
from storehouse.archive.shapes import Build, builder
from storehouse.archive.version1 import MAGIC, MOST_PAIRS, Add, Adding
from storehouse.core.compression import expand_block
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
    "MOST_TOGETHER",
    "RECORD",
    "RECORD_SIZE",
    "TRAILER_SIZE",
    "Footer",
    "Group",
    "Scan2",
    "Seeds",
    "block_fields",
    "blocks_of",
    "decode_header",
    "decode_index",
    "decode_metadata",
    "decode_trailer",
    "encode_block",
    "encode_footer",
    "encode_header",
    "joined_groups",
    "known_builder",
    "make_adder2",
    "make_record_encoder",
    "record_fields",
    "record_time",
    "seeds_of",
    "shapes",
    "times_of",
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
_END = b"SEAL"

IS_TEXT, HAS_METADATA, ESCAPED = 1, 2, 4
_MOST = 2**31 - 1

_COMPRESSIONS = {0: None, 1: "zstd"}
_CODES = {name: code for code, name in _COMPRESSIONS.items()}


@attrs.frozen
class Seeds:
    """
    What an archive's salt gives: frames of another archive, and archives within payloads, are not taken for its own.

    @ivar checksum: the value that CRC32Cs start from.
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
    What the trailer of a complete archive says.

    @ivar index: the offset of the index: where the frames end.
    @ivar records: the number of records.
    """

    index: int
    records: int
    lowest: int
    highest: int


# -- header ------------------------------------------------------------------------------------------------------------


def seeds_of(salt: int) -> Seeds:
    """The seeds of a salt."""
    return Seeds(salt & 0xFFFFFFFF, salt.to_bytes(8, "little")[4:7])


def encode_header(info: ArchiveInfo) -> bytes:
    """The header, 36 bytes."""
    fields = _header.pack(MAGIC, 2, _CODES[info.compression], 0, info.created, info.sequence, info.salt)
    return fields + _pack_u32(crc32c(fields))


def decode_header(data: bytes) -> ArchiveInfo:
    """
    The fields of a header.

    @param data: at least its 36 bytes, of which the first six are known to be right.
    @raise ValueError: if it is damaged.
    """
    _, _, compression, zero, created, sequence, salt = _header.unpack_from(data)
    if crc32c(data[:32]) != _u32.unpack_from(data, 32)[0]:
        raise ValueError("the checksum of its header is wrong")
    if compression not in _COMPRESSIONS or zero:
        raise ValueError(f"its header names an unknown compression, {compression}")
    return ArchiveInfo(2, _COMPRESSIONS[compression], created, sequence, salt)


# -- records -----------------------------------------------------------------------------------------------------------

#: How many sets of keys, and lengths of values, are kept; then all are forgotten.
_MOST_KEYS = 4096

#: Bytes of the longest keys that are kept: longer ones would fill the memory.
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
    # "\\\\0" is an escaped backslash and a digit, so escapes are read from the front.
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
    # Packers of all shapes are counted together: otherwise as many shapes could have as many packers each.
    if next(_packers_made) % _MOST_KEYS == 0:
        shapes.clear()
    made = shape[2][values] = _packers(keys, values)
    return made


_no_metadata: Shape = b"", 0, {}, 0


def make_record_encoder(seeds: Seeds) -> Callable[[Mapping[str, str], Payload, int], tuple[bytes, bytes]]:
    """
    What makes the record frames of one archive: from C{(metadata, payload, time)} to all bytes before the payload, and the
    payload. It raises C{InvalidRecord} unless metadata is text to text and the payload text or bytes, and C{TooLarge}.
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


#: Larger payloads take the other path, which looks whether they are too large.
_LARGE = 1 << 30


def make_adder2(writer: Adding, pending: list[bytes], seeds: Seeds, now: Callable[[], int]) -> Add:
    """The same as L{make_adder1<storehouse.archive.version1.make_adder1>}, for version 2."""
    known, to_bytes, put, add_any = shapes, str.encode, pending.extend, writer.add_any
    join, checksum_of = "\0".join, crc32c
    start, seed = RECORD + seeds.mark, seeds.checksum

    def add(metadata: Mapping[str, str], payload: Payload) -> int:
        head = None
        time = now()
        if time < writer.latest:
            time = writer.latest
        try:
            if metadata:
                keys, zeros, packers, first = known[tuple(metadata)]
                joined = join([*metadata.values()])
                values = to_bytes(joined)
                second = len(values)
                pack, pack_start = packers[second]
                if type(payload) is bytes:
                    body, flags = payload, HAS_METADATA
                else:
                    body, flags = to_bytes(payload), HAS_METADATA | IS_TEXT  # type: ignore[arg-type]
                size = len(body)
                if joined.count("\0") == zeros and size < _LARGE:
                    rest = pack(time, first, second, size, flags, keys, values)
                    head = pack_start(start, checksum_of(body, checksum_of(rest, seed)), rest)
        except Exception:
            head = None
        if head is None:
            return add_any(metadata, payload)
        put((head, body))
        writer.latest = time
        size += RECORD_SIZE + first + second
        writer.size = total = writer.size + size
        if total < writer.full_at:
            return total
        writer.push(1, size)
        return writer.size

    return add


def record_time(frame: bytes) -> int:
    """The time of a record, from the beginning of its frame."""
    time: int = _u64.unpack_from(frame, 8)[0]
    return time


def decode_metadata(keys: bytes, values: bytes, flags: int) -> dict[str, str]:
    """
    The metadata of a record.

    @raise ValueError: if it is invalid. Its checksum was right, so it was written so.
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


#: A block ends with the record by which it has so many bytes: a reader has a block in memory as a whole.
MOST_TOGETHER = 1 << 20


def blocks_of(pieces: list[bytes], size: int, most: int) -> Iterator[tuple[list[bytes], int]]:
    """
    What is handed over, cut into blocks, which are groups of the index: the pieces of each, and their bytes.

    @param pieces: two of each record.
    @param size: their bytes.
    @param most: a block ends when it has so many.
    """
    if size <= most:
        yield pieces, size
        return
    begin = have = 0
    for end in range(2, len(pieces) + 1, 2):
        have += len(pieces[end - 2]) + len(pieces[end - 1])
        if have >= most or end == len(pieces):
            yield pieces[begin:end], have
            begin, have = end, 0


def times_of(pieces: list[bytes], in_order: bool) -> tuple[int, int]:
    """The lowest and the highest time of records, given as two pieces each. @param in_order: by time."""
    if in_order:
        return record_time(pieces[0]), record_time(pieces[-2])
    times = list(map(record_time, pieces[::2]))
    return min(times), max(times)


def joined_groups(group: Group, behind: Group) -> Group:
    """Two groups that follow each other as one."""
    return Group(group.offset, group.first, min(group.lowest, behind.lowest), max(group.highest, behind.highest))


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
    trailer = _trailer.pack(offset, records, lowest, highest, _END)
    return index + trailer + _pack_u32(crc32c(trailer, seeds.checksum))


def decode_trailer(data: bytes, seeds: Seeds) -> Footer | None:
    """The fields of a trailer; C{None} if these 40 bytes are none, or a damaged one."""
    if len(data) != TRAILER_SIZE or crc32c(data[:36], seeds.checksum) != _u32.unpack_from(data, 36)[0]:
        return None
    index, records, lowest, highest, end = _trailer.unpack_from(data)
    return Footer(index, records, lowest, highest) if end == _END else None


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


#: Records of up to so many bytes are read without L{Scan.claim}.
_SMALL = 1 << 12

#: Records of up to so many bytes take the quick path.
_QUICK = 1 << 14

#: Bytes of a block whose records are made at once.
_WHOLE = 4 << 20

_PLAIN = HAS_METADATA | ESCAPED
_T = TypeVar("_T")


class Scan2(Scan):
    """
    A pass through an archive of version 2.

    @ivar footer: the footer and its groups, if this pass met it.
    """

    def __init__(
        self,
        window: Window,
        begin: int,
        seeds: Seeds,
        compressed: bool,
        *,
        bounded: bool,
        skip: bool,
        max_record: int,
    ) -> None:
        """@param compressed: whether its records are in blocks."""
        super().__init__(window, begin, bounded=bounded, skip=skip, max_record=max_record)
        self.start = (BLOCK if compressed else RECORD) + seeds.mark
        self.footer: tuple[Footer, tuple[Group, ...]] | None = None
        self._seeds = seeds
        self._index = INDEX + seeds.mark
        self._compressed = compressed
        #: What a block may hold: its last record may be as large as one can be.
        self._most_raw = self.max_record + MOST_TOGETHER

    def __iter__(self) -> Iterator[Found]:
        return chain.from_iterable(self._blocks(self._inside)) if self._compressed else self._plain()

    def _plain(self) -> Iterator[Found]:
        window, begins, seed = self.window, self.start, self._seeds.checksum
        offset: int | None = self.begin
        data, base = window.data, window.start
        while offset is not None:
            inside = offset - base
            if not 0 <= inside <= len(data) - RECORD_SIZE:
                inside = window.cover(offset, RECORD_SIZE)
                data, base = window.data, window.start
                if len(data) - inside < RECORD_SIZE:
                    offset = self._at_end(offset, len(data) - inside)
                    data, base = window.data, window.start
                    continue
            start, checksum, time, keys, values, size, flags = record_fields(data, inside)
            if start != begins:
                offset = self._no_record(offset, start)
                data, base = window.data, window.start
                continue
            first = inside + RECORD_SIZE
            second = first + keys
            third = second + values
            behind = third + size
            length = behind - inside
            if length > _SMALL or behind > len(data):
                problem = self.claim(offset, length)
                if not problem and behind > len(data):
                    inside = window.cover(offset, length)
                    data, base = window.data, window.start
                    problem = "" if len(data) - inside >= length else "it ends after the end of the archive"
                if problem:
                    self.end = offset
                    is_large = self.max_record < length <= (window.limit or 0) - offset
                    offset = self.lost(offset, f"a record is incomplete: {problem}", is_large)
                    data, base = window.data, window.start
                    continue
                first = inside + RECORD_SIZE
                second = first + keys
                third = second + values
                behind = third + size
            body = data[third:behind]
            if crc32c(body, crc32c(data[inside + 8 : third], seed)) != checksum:
                self.end = offset
                offset = self.lost(offset, "the checksum of a record is wrong")
                data, base = window.data, window.start
                continue
            self.hold_good(length)
            try:
                # What decode_metadata does, for keys that were seen before.
                build = known_builder(data[first:second]) if flags & _PLAIN == HAS_METADATA else None
                if build is not None:
                    metadata = build(data[second:third].decode().split("\0"))
                else:
                    metadata = decode_metadata(data[first:second], data[second:third], flags)
                payload = body.decode() if flags & IS_TEXT else body
            except ValueError as problem:
                self.senseless(offset, f"a record is invalid: {problem}")
            else:
                where = offset
                self.end = offset = offset + behind - inside
                yield metadata, payload, time, where
                if window.data is not data:
                    # Another pass moved the window meanwhile.
                    data, base = window.data, window.start
                continue
            offset += behind - inside
            self.end = offset

    def run(self, offset: int) -> tuple[list[Pair], int]:
        """See L{Scan.run}: what L{_plain} does, in fewer steps."""
        window = self.window
        if self._compressed:
            return [], offset
        pairs, at = self._run(window.data, offset - window.start)
        if pairs:
            offset = self.end = window.start + at
        return pairs, offset

    def _run(self, data: bytes, at: int) -> tuple[list[Pair], int]:
        begins, seed = RECORD + self._seeds.mark, self._seeds.checksum
        fields, checksum_of, known_shape = record_fields, crc32c, known_builder
        room = len(data)
        last = room - RECORD_SIZE
        pairs: list[Pair] = []
        add = pairs.append
        while 0 <= at <= last:
            start, checksum, _, keys, values, size, flags = fields(data, at)
            first = at + RECORD_SIZE
            second = first + keys
            third = second + values
            behind = third + size
            if start != begins or behind > room or flags & _PLAIN != HAS_METADATA or behind - at > _QUICK:
                break
            body = data[third:behind]
            build = known_shape(data[first:second])
            if build is None or checksum_of(body, checksum_of(data[at + 8 : third], seed)) != checksum:
                break
            try:
                payload = body.decode() if flags & IS_TEXT else body
                add((build(data[second:third].decode().split("\0")), payload))
            except ValueError:
                break
            at = behind
        return pairs, at

    def batches(self) -> Iterator[list[Pair]]:
        """See L{Scan.batches}; records of a block come together."""
        if not self._compressed:
            return super().batches()
        return self._blocks(self._pairs_inside)

    def _pairs_inside(self, raw: bytes, offset: int, records: int) -> list[Pair]:
        pairs, at = self._run(raw, 0)
        if at == len(raw) and len(pairs) == records:
            return pairs
        return [found[:2] for found in self._inside(raw, offset, records)]

    def _blocks(self, unpack: Callable[[bytes, int, int], Iterable[_T]]) -> Iterator[list[_T]]:
        """What each block holds, as C{unpack} gives it."""
        window = self.window
        offset: int | None = self.begin
        while offset is not None:
            inside = window.cover(offset, BLOCK_SIZE)
            have = len(window.data) - inside
            if have < BLOCK_SIZE and not have >= INDEX_SIZE + TRAILER_SIZE:
                offset = self._at_end(offset, have)
                continue
            start = window.data[inside : inside + 4]
            if start != self.start:
                offset = self._no_record(offset, start)
                continue
            size = self.size_at(offset)
            if size is None:
                self.end = offset
                reason, is_large = self._why_no_block(offset)
                offset = self.lost(offset, reason, is_large)
                continue
            inside = window.cover(offset, size)
            *_, records, raw_size, _ = block_fields(window.data, inside)
            where, offset = offset, offset + size
            self.end = offset
            try:
                raw = expand_block(window.data[inside + BLOCK_SIZE : inside + size], raw_size)
                if raw_size <= _WHOLE:
                    found = list(unpack(raw, where, records))
                else:
                    # All of it at once would take many times its bytes: it is checked first, then given in batches.
                    yield from self._batches_of(raw, where, records, unpack)
                    found = []
            except ValueError as problem:
                self.senseless(where, f"a block is invalid: {problem}")
                found = []
            yield found

    def _why_no_block(self, offset: int) -> tuple[str, bool]:
        """Why there is no whole block where one begins, and whether there may be one larger than those that are read."""
        *_, raw_size, size = block_fields(self.window.data, self.window.cover(offset, BLOCK_SIZE))
        if raw_size <= self._most_raw:
            return "a block is incomplete", False
        return (
            f"a block claims {raw_size} bytes; at most {self._most_raw} are read by default (max_record, --max-record)"
        ), offset + BLOCK_SIZE + size <= (self.window.limit or 0)

    def _batches_of(
        self, raw: bytes, offset: int, records: int, unpack: Callable[[bytes, int, int], Iterable[_T]]
    ) -> Iterator[list[_T]]:
        """The records of a large block, in batches. @raise ValueError: before the first, if one is not whole."""
        view = memoryview(raw)
        ends = [0]
        at = count = 0
        for end in self._ends(view):
            count += 1
            if end - at >= _WHOLE:
                ends.append(end)
                at = end
        if count != records:
            raise ValueError(f"it holds {count} records, not {records}")
        for begin, end in zip(ends, [*ends[1:], len(raw)], strict=True):
            batch = raw[begin:end]
            found = list(unpack(batch, offset, sum(1 for _ in self._ends(memoryview(batch)))))
            if found:
                yield found

    def _ends(self, raw: memoryview) -> Iterator[int]:
        """Where each record of a block ends. @raise ValueError: if one is not whole."""
        begins, seed, at = RECORD + self._seeds.mark, self._seeds.checksum, 0
        while at < len(raw):
            if len(raw) - at < RECORD_SIZE:
                raise ValueError("it ends within a record")
            start, checksum, _, keys, values, size, _ = record_fields(raw, at)
            end = at + RECORD_SIZE + keys + values + size
            if start != begins or end > len(raw):
                raise ValueError("a record is missing here")
            if crc32c(raw[at + 8 : end], seed) != checksum:
                raise ValueError("the checksum of a record in it is wrong")
            at = end
            yield at

    def _inside(self, raw: bytes, offset: int, records: int) -> Iterator[Found]:
        at = count = 0
        begins, seed = RECORD + self._seeds.mark, self._seeds.checksum
        while at < len(raw):
            if len(raw) - at < RECORD_SIZE:
                raise ValueError("it ends within a record")
            start, checksum, time, keys, values, size, flags = record_fields(raw, at)
            first = at + RECORD_SIZE
            second = first + keys
            third = second + values
            behind = third + size
            if start != begins or behind > len(raw):
                raise ValueError("a record is missing here")
            body = raw[third:behind]
            if crc32c(body, crc32c(raw[at + 8 : third], seed)) != checksum:
                raise ValueError("the checksum of a record in it is wrong")
            metadata = decode_metadata(raw[first:second], raw[second:third], flags)
            yield metadata, body.decode() if flags & IS_TEXT else body, time, offset
            at = behind
            count += 1
        if count != records:
            raise ValueError(f"it holds {count} records, not {records}")

    # -- what is no record ---------------------------------------------------------------------------------------------

    def _reaches(self, offset: int, length: int) -> bool:
        limit = self.window.limit
        return length <= self._most_raw if limit is None else offset + length <= limit

    def _at_end(self, offset: int, have: int) -> int | None:
        self.end = offset
        return self.lost(offset, "the archive ends within a frame") if have else None

    def _no_record(self, offset: int, start: bytes) -> int | None:
        self.end = offset
        if start == self._index and self._read_footer(offset):
            return None
        return self.lost(offset, "a frame is missing here")

    def _read_footer(self, offset: int) -> bool:
        window = self.window
        inside = window.cover(offset, INDEX_SIZE)
        count = int.from_bytes(window.data[inside + 8 : inside + 12], "little")
        index_size = INDEX_SIZE + count * ENTRY_SIZE
        size = index_size + TRAILER_SIZE
        # Each entry is of a group of one frame or more, which stands before it.
        if count * RECORD_SIZE > offset or not self._reaches(offset, size):
            return False
        # One byte more: nothing may follow.
        inside = window.cover(offset, size + 1)
        data = window.data[inside:]
        if len(data) != size:
            return False
        groups = decode_index(data[:index_size], self._seeds)
        footer = decode_trailer(data[index_size:], self._seeds)
        if groups is None or footer is None or footer.index != offset:
            return False
        self.footer = footer, groups
        return True

    def size_at(self, offset: int) -> int | None:
        window = self.window
        head: int = BLOCK_SIZE if self._compressed else RECORD_SIZE
        size: int
        inside = window.cover(offset, head)
        if len(window.data) - inside < head:
            return None
        if self._compressed:
            start, checksum, *_, raw_size, length = block_fields(window.data, inside)
            size = head + length
            if raw_size > self._most_raw:
                return None
        else:
            start, checksum, _, keys, values, length, _ = record_fields(window.data, inside)
            size = head + keys + values + length
        if start != self.start or self.claim(offset, size):
            return None
        inside = window.cover(offset, size)
        whole = memoryview(window.data)[inside : inside + size]
        if len(whole) < size or crc32c(whole[8:], self._seeds.checksum) != checksum:
            return None
        self.hold_good(size)
        return size
