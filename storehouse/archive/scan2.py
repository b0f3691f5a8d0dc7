"""Reading version 2 from front to back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Any, TypeVar

from storehouse.archive.formats2 import (
    BLOCK,
    BLOCK_SIZE,
    ENTRY_SIZE,
    ESCAPED,
    HAS_METADATA,
    INDEX,
    INDEX_SIZE,
    IS_TEXT,
    RECORD,
    RECORD_SIZE,
    TRAILER_SIZE,
    Footer,
    Group,
    Seeds,
    block_fields,
    decode_index,
    decode_metadata,
    decode_trailer,
    known_builder,
    record_fields,
)
from storehouse.archive.parts import MOST_TOGETHER
from storehouse.archive.scan import Found, Pair, Scan
from storehouse.archive.window import Window
from storehouse.core.compression import expand_block
from storehouse.core.digests import crc32c

__all__ = ["Scan2"]

#: Records up to this are read whatever came before.
_SMALL = 1 << 12

#: Records up to this take few steps.
_QUICK = 1 << 14

#: Bytes of a block that are taken apart at once.
_WHOLE = 4 << 20

_PLAIN = HAS_METADATA | ESCAPED
_T = TypeVar("_T")


class Scan2(Scan):
    """
    The records of an archive of version 2.

    @ivar footer: what was found at the end, if this pass met it, and its groups.
    """

    def __init__(self, window: Window, begin: int, seeds: Seeds, compressed: bool, **how: Any) -> None:
        super().__init__(window, begin, **how)
        self.start = (BLOCK if compressed else RECORD) + seeds.mark
        self.footer: tuple[Footer, tuple[Group, ...]] | None = None
        self._seeds = seeds
        self._index = INDEX + seeds.mark
        self._compressed = compressed
        #: What a block may hold: its last record may be as large as one can be.
        self._most_raw = self.max_record + MOST_TOGETHER

    def __iter__(self) -> Iterator[Found]:
        """The records."""
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
                    problem = "" if len(data) - inside >= length else "it ends behind the end of the archive"
                if problem:
                    self.end = offset
                    is_large = self.max_record < length <= (window.limit or 0) - offset
                    offset = self.lost(offset, f"a record is not whole: {problem}", is_large)
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
                self.senseless(offset, f"a record makes no sense: {problem}")
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
        """As L{_plain} does it, with fewer steps."""
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
        """The records, several at a time; those of a block together."""
        if not self._compressed:
            return super().batches()
        return self._blocks(self._pairs_inside)

    def _pairs_inside(self, raw: bytes, offset: int, records: int) -> list[Pair]:
        pairs, at = self._run(raw, 0)
        if at == len(raw) and len(pairs) == records:
            return pairs
        return [found[:2] for found in self._inside(raw, offset, records)]

    def _blocks(self, unpack: Callable[[bytes, int, int], Iterable[_T]]) -> Iterator[list[_T]]:
        """Of each block, what it holds."""
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
                    # All at once would take many times its bytes: it is looked through, and then given in parts.
                    yield from self._parts(raw, where, records, unpack)
                    found = []
            except ValueError as problem:
                self.senseless(where, f"a block makes no sense: {problem}")
                found = []
            yield found

    def _why_no_block(self, offset: int) -> tuple[str, bool]:
        """Why there is no whole block where one begins, and whether there may be one that is larger than what is read."""
        *_, raw_size, size = block_fields(self.window.data, self.window.cover(offset, BLOCK_SIZE))
        if raw_size <= self._most_raw:
            return "a block is not whole", False
        return (
            f"a block says that it holds {raw_size} bytes; no more than {self._most_raw} are read unless that is asked for "
            "(max_record, --max-record)"
        ), offset + BLOCK_SIZE + size <= (self.window.limit or 0)

    def _parts(
        self, raw: bytes, offset: int, records: int, unpack: Callable[[bytes, int, int], Iterable[_T]]
    ) -> Iterator[list[_T]]:
        """The records of a large block, some at a time. @raise ValueError: before the first, if they are not whole."""
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
            part = raw[begin:end]
            found = list(unpack(part, offset, sum(1 for _ in self._ends(memoryview(part)))))
            if found:
                yield found

    def _ends(self, raw: memoryview) -> Iterator[int]:
        """Where each record of a block ends. @raise ValueError: at what is no whole one."""
        begins, seed, at = RECORD + self._seeds.mark, self._seeds.checksum, 0
        while at < len(raw):
            if len(raw) - at < RECORD_SIZE:
                raise ValueError("it ends within a record")
            start, checksum, _, keys, values, size, _ = record_fields(raw, at)
            end = at + RECORD_SIZE + keys + values + size
            if start != begins or end > len(raw):
                raise ValueError("no record begins where one should")
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
                raise ValueError("no record begins where one should")
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
        return self.lost(offset, "no frame begins where one should")

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
        """The bytes of the whole frame at C{offset} that holds a record or more."""
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
