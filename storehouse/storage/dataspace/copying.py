"""Copies, in a disk thread: names and ranges of files, no bytes where they need not be looked at."""

from __future__ import annotations

import os
from collections.abc import Sequence

import attrs

from storehouse.storage.dataspace.directory import PartWriter, Staging, checksum_name, part_name
from storehouse.storage.dataspace.formats import Hash
from storehouse.storage.dataspace.interfaces import Part
from storehouse.storage.dataspace.opened import READ_SIZE, OpenObject, OpenPart, Span, spans_of
from storehouse.storage.dataspace.values import check_range

__all__ = ["copy_object", "copy_part", "copy_part_of", "share_parts"]


def copy_object(
    staging: Staging, opened: OpenObject, path: str, offset: int, length: int, hash: Hash, block_size: int
) -> list[Part]:
    """
    A range of an object as parts of another one. Parts that it holds whole stay what they are, and keep their numbers
    if all of them do.

    @param path: the directory of the object.
    """
    spans = list(spans_of(opened.info.parts, offset, length))
    if length == opened.info.size:
        for part in opened.info.parts:
            _check(opened, part)
            _link(staging, path, part.number, part.number)
        return list(opened.info.parts)
    parts = []
    for number, span in enumerate(spans, 1):
        if span.length == span.part.size:
            parts.append(_share(staging, opened, path, span.part, number, span.part.note))
        else:
            parts.append(_copy(staging, opened, [span], number, hash, block_size))
    return parts or [_copy(staging, opened, [], 1, hash, block_size)]


def share_parts(staging: Staging, opened: OpenObject, path: str, parts: Sequence[Part]) -> list[Part]:
    """
    All parts of an object as parts of another one.

    @param path: the directory of the object.
    @param parts: with the numbers and notes that they are to have.
    """
    return [
        _share(staging, opened, path, part, new.number, new.note)
        for part, new in zip(opened.info.parts, parts, strict=True)
    ]


def copy_part(
    staging: Staging,
    opened: OpenObject,
    path: str,
    offset: int,
    length: int,
    number: int,
    note: str,
    hash: Hash,
    block_size: int,
) -> Part:
    """
    A range of an object as one part.

    @param note: is kept with it.
    """
    spans = list(spans_of(opened.info.parts, offset, length))
    if len(spans) == 1 and spans[0].length == spans[0].part.size:
        return _share(staging, opened, path, spans[0].part, number, note)
    return attrs.evolve(_copy(staging, opened, spans, number, hash, block_size), note=note)


def copy_part_of(
    staging: Staging,
    path: str,
    offset: int,
    length: int | None,
    number: int,
    note: str,
    expected: Part | None,
    hash: Hash,
    block_size: int,
) -> Part:
    """
    L{copy_part} of the object whose directory is C{path}, on disk when this returns.

    @param expected: what it must be.
    """
    opened = OpenObject(path, os.path.basename(path), expected=expected)
    try:
        count = check_range(offset, length, opened.info.size)
        part = copy_part(staging, opened, path, offset, count, number, note, hash, block_size)
    finally:
        opened.close()
    # On disk before the part is linked to its name: a name must never lead to bytes that a power cut can undo.
    staging.flush()
    return part


def _check(opened: OpenObject, part: Part) -> None:
    """Files that do not belong together are not passed on."""
    opened.part(part)


def _link(staging: Staging, path: str, source: int, number: int) -> None:
    staging.link(f"{path}/{part_name(source)}", part_name(number))
    staging.link(f"{path}/{checksum_name(source)}", checksum_name(number))


def _share(staging: Staging, opened: OpenObject, path: str, part: Part, number: int, note: str) -> Part:
    _check(opened, part)
    _link(staging, path, part.number, number)
    return Part(number, part.etag, part.size, note)


def _copy(
    staging: Staging, opened: OpenObject, spans: Sequence[Span], number: int, hash: Hash, block_size: int
) -> Part:
    writer = PartWriter(staging, number, hash, block_size, sum(span.length for span in spans))
    for span in spans:
        part = opened.part(span.part)
        done = _copy_blocks(writer, part, span, last=span is spans[-1])
        _copy_bytes(writer, part, span.offset + done, span.length - done)
    return writer.finish()


def _copy_blocks(writer: PartWriter, part: OpenPart, span: Span, last: bool) -> int:
    """
    Whole blocks that become whole blocks, with their checksum lines. They are not verified here: damage in one goes with
    it, and is found when it is read.

    @param last: whether this range ends the new part; a shorter block at the end can then be taken too.
    """
    header = part.header
    if not writer.takes_blocks_of(header) or span.offset % header.block_size:
        return 0
    first = span.offset // header.block_size
    count = span.length // header.block_size
    if last and span.offset + span.length == header.data_length:
        count = header.block_count - first
    if not count:
        return 0
    start, size = header.span(first + count - 1)
    length = start + size - span.offset
    writer.staging.files.copy_range(part.fd, writer.fd, length, span.offset, writer.size)
    at_once = max(1, (64 << 10) // header.line_length)
    for block in range(first, first + count, at_once):
        writer.add_lines(part.lines(block, min(at_once, first + count - block)))
    writer.size += length
    return length


def _copy_bytes(writer: PartWriter, part: OpenPart, offset: int, length: int) -> None:
    """Bytes whose blocks lie otherwise in the new part: they are verified, and hashed anew."""
    while length:
        for data in part.read(offset, length, READ_SIZE):
            writer.staging.files.copy_range(part.fd, writer.fd, len(data), offset, writer.size)
            writer.account(data)
            offset += len(data)
            length -= len(data)
