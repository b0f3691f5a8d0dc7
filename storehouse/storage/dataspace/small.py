"""
Small objects that the kernel has in memory, read here and now: what a disk thread would take is longer than the work.

Only what is as it should be is read this way.  Anything else, a missing file as well as a wrong checksum, is left to
those who wait for the disk and say what is wrong.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, fail
from zope.interface import implementer

from storehouse.core.access import CACHED, NotCached
from storehouse.core.streams import BytesSource
from storehouse.errors import Unavailable
from storehouse.storage.dataspace.checks import check_range
from storehouse.storage.dataspace.formats import (
    ObjectInfo,
    decode_header,
    decode_object_cached,
    is_our_tag,
    part_tag,
)
from storehouse.storage.dataspace.interfaces import IReader, Part
from storehouse.storage.dataspace.staging import checksum_name, part_name

__all__ = ["HeldReader", "read_small"]

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


@implementer(IReader)
class HeldReader:
    """A range of an object, all of it in memory. See L{IReader}."""

    def __init__(self, id: str, info: ObjectInfo, offset: int, data: bytes) -> None:
        self.id = id
        self.metadata = {name: list(values) for name, values in info.metadata.items()}
        self.etag = info.etag
        self.size = info.size
        self.offset = offset
        self.length = len(data)
        self._source: BytesSource | None = BytesSource(data)

    def deliver(self, consumer: Any) -> Deferred[int]:
        """See L{IReader.deliver}."""
        source, self._source = self._source, None
        if source is None:
            return fail(Unavailable(f"the object {self.id} was read or closed already"))
        self._delivering = source
        return source.deliver(consumer)

    _delivering: BytesSource | None = None

    def close(self) -> None:
        """See L{IReader.close}."""
        self._source = None
        if self._delivering is not None:
            self._delivering.stopProducing()
