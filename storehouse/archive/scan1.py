"""Reading version 1 from front to back."""

from __future__ import annotations

from collections.abc import Iterator

from storehouse.archive.formats1 import (
    HEAD_SIZE,
    START,
    decode_metadata,
    head_fields,
    head_parts,
    known_table,
    length_at,
    record_size,
)
from storehouse.archive.interfaces import Payload
from storehouse.archive.scan import Found, Pair, Scan

__all__ = ["Scan1"]

#: Four times the pairs of metadata, up to which records take few steps.
_MOST_STRINGS = 1 << 12

#: Where the zero is that stands before the metadata block.
_SHAPE = HEAD_SIZE - 8


class Scan1(Scan):
    """The records of an archive of version 1. There is no checksum: a record whose fields agree counts as whole."""

    start = START

    def __iter__(self) -> Iterator[Found]:
        """The records."""
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
                    offset = self.lost(offset, "a record is not whole")
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
                    raise ValueError("the lengths of its payload do not agree")
                metadata = decode_metadata(data, inside + HEAD_SIZE, fields[2], fields[5])
            except ValueError as problem:
                self.end = offset
                offset = self.lost(offset, f"a record is not whole: {problem}", self._is_large(offset, fields))
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
        """The same as above, with fewer steps."""
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
        """Whether a record may be whole that is larger than what is read."""
        try:
            size = record_size(fields)
        except ValueError:
            return False
        return size > self.max_record and offset + size <= (self.window.limit or 0)

    def _cover_record(self, offset: int, size: int) -> int:
        """
        Have a record in memory.

        @raise ValueError: if that is not to be, or it is not there.
        """
        window = self.window
        problem = self.claim(offset, size)
        if problem:
            raise ValueError(problem)
        inside = window.cover(offset, size)
        if len(window.data) - inside < size:
            raise ValueError("it ends behind the end of the archive")
        return inside

    def size_at(self, offset: int) -> int | None:
        """The bytes of the whole record at C{offset}."""
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
