"""
Small objects that the kernel has in memory, read here and now: what a disk thread would take is longer than the work.

Only what is as it should be is read this way.  Anything else, a missing file as well as a wrong checksum, is left to
those who wait for the disk and say what is wrong.
"""

from __future__ import annotations

from storehouse.core.access import CACHED, NotCached
from storehouse.storage.dataspace.formats import (
    ObjectInfo,
    decode_header,
    decode_object_cached,
    is_our_tag,
    part_tag,
)
from storehouse.storage.dataspace.interfaces import Part
from storehouse.storage.dataspace.staging import checksum_name, part_name
from storehouse.storage.dataspace.values import check_range

__all__ = ["read_small"]

# Bytes of the largest object that is read this way.
_MOST = 64 << 10


def read_small(path: str, offset: int, length: int | None, expected: Part | None = None) -> tuple[ObjectInfo, bytes]:
    """
    A range of an object.

    @param path: its directory.
    @param expected: see L{IDataSpace.get<storehouse.storage.dataspace.interfaces.IDataSpace.get>}.
    @raise NotCached: if it is not small, not in memory, or not in order.
    @raise InvalidRange: if the range does not lie within it.
    """
    try:
        info = decode_object_cached(CACHED.read_file(f"{path}/data.json", _MOST))
        if len(info.parts) != 1 or info.size > _MOST or info.id not in ("", path.rpartition("/")[2]):
            raise NotCached
        if expected is not None and (info.size != expected.size or expected.etag not in ("", info.etag)):
            raise NotCached
        part = info.parts[0]
        sums = CACHED.read_file(f"{path}/{checksum_name(part.number)}", _MOST)
        header, start = decode_header(sums)
        data = CACHED.read_file(f"{path}/{part_name(part.number)}", _MOST)
    except (OSError, ValueError):
        raise NotCached from None
    if not len(data) == part.size == header.data_length:
        raise NotCached
    size = header.block_size
    if min(size, len(data)) > header.hash.at_once:
        raise NotCached
    if size >= len(data):
        lines = header.line(data) if data else b""
    else:
        lines = b"".join([header.line(data[at : at + size]) for at in range(0, len(data), size)])
    if sums[start:] != lines or (is_our_tag(part.etag) and part_tag(header, (lines,)) != part.etag):
        raise NotCached
    count = check_range(offset, length, info.size)
    return info, data if count == len(data) else data[offset : offset + count]
