"""
What adds a record to an archive that is being written: the path that nearly all records take, in one function each.

These do what L{formats1.encode_record<storehouse.archive.formats1.encode_record>} and
L{formats2.make_record_encoder<storehouse.archive.formats2.make_record_encoder>} do, for metadata of a shape that was
seen before. Whatever is new, unusual or wrong raises something here, before anything is changed, and goes to the writer's
C{add_any}: that knows shapes to learn, and errors by their right names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from storehouse.archive import formats1, formats2
from storehouse.archive.formats2 import HAS_METADATA, IS_TEXT, RECORD, RECORD_SIZE, Seeds
from storehouse.archive.interfaces import Payload
from storehouse.core.digests import crc32c

__all__ = ["Add", "make_adder1", "make_adder2"]

#: Adds a record. @return: the size of the archive then.
Add = Callable[[Mapping[str, str], Payload], int]

#: Larger payloads take the other path, which looks whether they are too large.
_LARGE = 1 << 30


def make_adder1(writer: Any, pending: list[bytes]) -> Add:
    """@param writer: of version 1. @param pending: its records that are not written."""
    shapes, to_bytes, put, add_any = formats1.shapes, str.encode, pending.extend, writer.add_any

    def add(metadata: Mapping[str, str], payload: Payload) -> int:
        try:
            join, packers = shapes[tuple(metadata)]
            table, lengths = join(metadata.values())
            pack, before, between, head_size = packers[lengths]
            body = payload if type(payload) is bytes else to_bytes(payload)  # type: ignore[arg-type]
            size = len(body)
            head = pack(before, size + 4, between, to_bytes(table), size) if table.isascii() else None
        except Exception:
            head = None
        if head is None:
            added: int = add_any(metadata, payload)
            return added
        put((head, body))
        head_size += size
        writer.size = size = writer.size + head_size
        if size < writer.full_at:
            return size  # type: ignore[no-any-return]
        writer.push(1, head_size)
        return writer.size  # type: ignore[no-any-return]

    return add


def make_adder2(writer: Any, pending: list[bytes], seeds: Seeds, now: Callable[[], int]) -> Add:
    """@param writer: of version 2. @param pending: its records that are not written."""
    shapes, to_bytes, put, add_any = formats2.shapes, str.encode, pending.extend, writer.add_any
    join, checksum_of = "\0".join, crc32c
    start, seed = RECORD + seeds.mark, seeds.checksum

    def add(metadata: Mapping[str, str], payload: Payload) -> int:
        head = None
        time = now()
        if time < writer.latest:
            time = writer.latest
        try:
            if metadata:
                keys, zeros, packers, first = shapes[tuple(metadata)]
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
            added: int = add_any(metadata, payload)
            return added
        put((head, body))
        writer.latest = time
        size += RECORD_SIZE + first + second
        writer.size = total = writer.size + size
        if total < writer.full_at:
            return total  # type: ignore[no-any-return]
        writer.push(1, size)
        return writer.size  # type: ignore[no-any-return]

    return add
