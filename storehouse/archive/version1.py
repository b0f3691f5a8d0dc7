"""
Version 1 of the archive format, that of the first program: values to bytes and bytes to values, and a pass through an archive.

Source: docs/formats/archive.md, which says what each field means::

    record   [i32 magic][i16 version][i32 metadata block][i32 payload block][i32 zero]    18 bytes
             [i32 4 * pairs][i32 length]... strings                                       the metadata block
             [i32 length] payload                                                         the payload block

These functions are called for every record, so they keep what they found out about the shape of metadata: records of one
source have the same keys, and mostly strings of the same lengths.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count
from struct import Struct
from typing import Protocol

from storehouse.archive.interfaces import Payload
from storehouse.archive.scan import Found, Pair, Scan
from storehouse.archive.shapes import Cut, Join, cutter, joiner
from storehouse.errors import InvalidRecord, TooLarge

__all__ = [
    "HEAD_SIZE",
    "MAGIC",
    "MOST_PAIRS",
    "PREAMBLE",
    "START",
    "Add",
    "Adding",
    "Scan1",
    "decode_metadata",
    "encode_record",
    "head_fields",
    "head_parts",
    "known_table",
    "length_at",
    "make_adder1",
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

#: How many shapes are kept. A source of records with more gains nothing from keeping them.
_MOST_SHAPES = 4096

#: Bytes, or characters of keys, of the largest shape that is kept: larger ones would fill the memory.
_KEPT = 1 << 12

#: The most pairs of metadata of a record: in memory each takes many times its bytes.
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
    # Packers of all shapes are counted together: otherwise as many shapes could have as many packers each.
    if next(_packers_made) % _MOST_SHAPES == 0:
        shapes.clear()
    made = shape[1][lengths] = _packer([len(string) for pair in metadata.items() for string in pair])
    return made


def encode_record(metadata: Mapping[str, str], payload: Payload) -> tuple[bytes, bytes]:
    """
    A record.

    @return: all that comes before the payload, and the payload.
    @raise InvalidRecord: for what is neither text nor, as payload, bytes.
    @raise TooLarge: if the length fields of the format cannot hold it.
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


class Adding(Protocol):
    """
    An archive that is being written, as L{make_adder1} and C{make_adder2} see it.

    @ivar size: bytes written so far, those that are pending included.
    @ivar full_at: the size at which pending records are handed over.
    @ivar latest: the highest time of all records.
    """

    size: int
    full_at: int
    latest: int

    def add_any(self, metadata: Mapping[str, str], payload: Payload) -> int:
        """Add a record of any kind. @return: the size then."""

    def push(self, records: int, added: int) -> None:
        """Hand over what is pending. If there is no room, the last C{records} of C{added} bytes are dropped again."""


#: Adds a record. @return: the size of the archive then.
Add = Callable[[Mapping[str, str], Payload], int]


def make_adder1(writer: Adding, pending: list[bytes]) -> Add:
    """
    What adds a record to an archive: what L{encode_record} and the writer do, for metadata of a shape that was seen before,
    in one function, since nearly all records take this path. Whatever is new, unusual or wrong raises something here, before
    anything is changed, and goes to C{add_any}: that learns shapes, and names errors.

    @param pending: the writer's records that are not written yet.
    """
    known, to_bytes, put, add_any = shapes, str.encode, pending.extend, writer.add_any

    def add(metadata: Mapping[str, str], payload: Payload) -> int:
        try:
            join, packers = known[tuple(metadata)]
            table, lengths = join(metadata.values())
            pack, before, between, head_size = packers[lengths]
            body = payload if type(payload) is bytes else to_bytes(payload)  # type: ignore[arg-type]
            size = len(body)
            head = pack(before, size + 4, between, to_bytes(table), size) if table.isascii() else None
        except Exception:
            head = None
        if head is None:
            return add_any(metadata, payload)
        put((head, body))
        head_size += size
        writer.size = size = writer.size + head_size
        if size < writer.full_at:
            return size
        writer.push(1, head_size)
        return writer.size

    return add


# -- reading -----------------------------------------------------------------------------------------------------------

#: The bytes of a record before the size of its payload; the bytes of its strings; what cuts the keys out of them; where keys
#: and values are; and, by the keys, what makes metadata of the strings, if they are ASCII.
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
        raise ValueError("its lengths are inconsistent")
    return HEAD_SIZE - 4 + metadata_size + payload_size


def decode_metadata(data: bytes, at: int, metadata_size: int, strings: int) -> dict[str, str]:
    """
    The metadata of a record.

    @param at: where the lengths of the strings begin.
    @param metadata_size: as the record's head says.
    @param strings: likewise; four times the number of pairs.
    @raise ValueError: if its lengths are inconsistent with the block's.
    """
    first = at + 2 * strings
    shape = data[at - 8 : first]
    table = _tables.get(shape) or _table_for(shape)
    _, length, cut_keys, places, cuts = table
    if 4 + 2 * strings + length != metadata_size:
        raise ValueError("the lengths of its strings are inconsistent")
    packed = data[first : first + length]
    keys = cut_keys(packed)
    cut = cuts.get(keys) or _cut_for(table, keys)
    if packed.isascii():
        return cut(packed.decode())
    found = [packed[place].decode("utf-8", "surrogateescape") for place in places]
    return dict(zip(found[::2], found[1::2], strict=True))


#: Four times the pairs of metadata, up to which records take few steps.
_MOST_STRINGS = 1 << 12

#: Where the zero is that stands before the metadata block.
_SHAPE = HEAD_SIZE - 8


class Scan1(Scan):
    """A pass through an archive of version 1. It has no checksums: a record whose fields agree counts as whole."""

    start = START

    def __iter__(self) -> Iterator[Found]:
        window = self.window
        offset: int | None = self.begin
        data, base = window.data, window.start
        while offset is not None:
            inside = offset - base
            if not 0 <= inside <= len(data) - HEAD_SIZE:
                inside = window.cover(offset, HEAD_SIZE)
                data, base = window.data, window.start
                if len(data) <= inside:
                    self.end = offset
                    return
                if len(data) - inside < HEAD_SIZE:
                    self.end = offset
                    offset = self.lost(offset, "a record is incomplete")
                    continue
            fields = head_fields(data, inside)
            covered = False
            try:
                size = record_size(fields)
                behind = inside + size
                if behind > len(data) or size > self.max_record:
                    covered = True
                    inside = self._cover_record(offset, size)
                    data, base = window.data, window.start
                    behind = inside + size
                payload_size = fields[3]
                body = behind - payload_size + 4
                if int.from_bytes(data[body - 4 : body], "little") != payload_size - 4:
                    raise ValueError("the lengths of its payload are inconsistent")
                metadata = decode_metadata(data, inside + HEAD_SIZE, fields[2], fields[5])
            except ValueError as problem:
                self.end = offset
                offset = self.lost(offset, f"a record is incomplete: {problem}", self._is_large(offset, fields))
                data, base = window.data, window.start
                continue
            if covered:
                self.hold_good(size)
            payload: Payload = data[body:behind]
            try:
                payload = payload.decode()  # type: ignore[union-attr]
            except UnicodeDecodeError:
                pass  # then it is bytes
            where = offset
            self.end = offset = offset + size
            yield metadata, payload, 0, where
            if window.data is not data:
                data, base = window.data, window.start

    def run(self, offset: int) -> tuple[list[Pair], int]:
        """See L{Scan.run}: what iteration does, in fewer steps."""
        window = self.window
        data = window.data
        at = offset - window.start
        room = len(data)
        last = room - HEAD_SIZE
        pairs: list[Pair] = []
        add = pairs.append
        while 0 <= at <= last:
            begin, payload_size, strings = head_parts(data, at)
            if strings > _MOST_STRINGS:
                break
            first = at + HEAD_SIZE + 2 * strings
            table = known_table(data[at + _SHAPE : first]) if strings > 0 else None
            if table is None:
                break
            start, size, cut_keys, _, cuts = table
            body = first + size
            behind = body + payload_size
            packed = data[first:body]
            if start != begin or behind > room or payload_size < 4 or not packed.isascii():
                break
            cut = cuts.get(cut_keys(packed))
            # The length of the payload is in its block as well.
            if cut is None or length_at(data, body)[0] != payload_size - 4:
                break
            payload: Payload = data[body + 4 : behind]
            try:
                payload = payload.decode()  # type: ignore[union-attr]
            except UnicodeDecodeError:
                pass  # then it is bytes
            add((cut(packed.decode()), payload))
            at = behind
        if pairs:
            offset = self.end = window.start + at
        return pairs, offset

    def _is_large(self, offset: int, fields: tuple[int, ...]) -> bool:
        """Whether there may be a whole record that is larger than those that are read."""
        try:
            size = record_size(fields)
        except ValueError:
            return False
        return size > self.max_record and offset + size <= (self.window.limit or 0)

    def _cover_record(self, offset: int, size: int) -> int:
        """
        Have a record in memory.

        @return: where in the window it begins.
        @raise ValueError: if it is too large, or ends behind the end.
        """
        window = self.window
        problem = self.claim(offset, size)
        if problem:
            raise ValueError(problem)
        inside = window.cover(offset, size)
        if len(window.data) - inside < size:
            raise ValueError("it ends after the end of the archive")
        return inside

    def size_at(self, offset: int) -> int | None:
        window = self.window
        inside = window.cover(offset, HEAD_SIZE)
        if len(window.data) - inside < HEAD_SIZE:
            return None
        try:
            fields = head_fields(window.data, inside)
            size = record_size(fields)
            inside = self._cover_record(offset, size)
            body = inside + size - fields[3]
            if int.from_bytes(window.data[body : body + 4], "little") != fields[3] - 4:
                return None
            decode_metadata(window.data, inside + HEAD_SIZE, fields[2], fields[5])
        except ValueError:
            return None
        self.hold_good(size)
        return size

    def is_torn(self, offset: int) -> bool:
        """Whether a record whose fields agree, its payload's length included, ends behind the end."""
        window = self.window
        inside = window.cover(offset, HEAD_SIZE)
        if len(window.data) - inside < HEAD_SIZE:
            return False
        fields = head_fields(window.data, inside)
        try:
            size = record_size(fields)
        except ValueError:
            return False
        known = size - fields[3] + 4
        if window.limit is not None and not offset + known <= window.limit < offset + size:
            return False
        if known > self.max_record or (known > _MOST_STRINGS and self.claim(offset, known)):
            return False
        inside = window.cover(offset, known)
        have = len(window.data) - inside
        if have < known:
            return False
        try:
            decode_metadata(window.data, inside + HEAD_SIZE, fields[2], fields[5])
        except ValueError:
            return False
        length = int.from_bytes(window.data[inside + known - 4 : inside + known], "little")
        if length != fields[3] - 4:
            return False
        if window.limit is None:
            inside = window.cover(offset, min(size, self.max_record))
            return len(window.data) - inside < size
        return True
