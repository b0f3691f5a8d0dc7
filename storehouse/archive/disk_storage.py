"""The bytes of one record of version 1, with the names of the first program."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from storehouse.archive.archive import ArchiveReader
from storehouse.archive.interfaces import Payload
from storehouse.archive.scan import MAX_RECORD
from storehouse.archive.version1 import (
    HEAD_SIZE,
    MAGIC,
    PREAMBLE,
    encode_record,
    head_fields,
    record_size,
)
from storehouse.errors import DamagedArchive, EndOfArchive, UnknownArchiveFormat

__all__ = [
    "BOR_MAGIC_NUMBER",
    "CURRENT_VERSION",
    "EndOfFile",
    "InvalidVersion",
    "OutOfSync",
    "pack_notification",
    "unpack_notification",
]

BOR_MAGIC_NUMBER = MAGIC
CURRENT_VERSION = 1


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


EndOfFile = EndOfArchive
InvalidVersion = UnknownArchiveFormat
OutOfSync = DamagedArchive


def pack_notification(
    notification: Payload, metadata: Mapping[str, str], version: int = CURRENT_VERSION
) -> tuple[bytes, ...]:
    """
    A record of version 1, in pieces to be written one after the other.

    @raise UnknownArchiveFormat: for another version.
    """
    if version != 1:
        raise UnknownArchiveFormat(f"a single record can only be of version 1, not of version {version!r}")
    return encode_record(metadata, notification)


def unpack_notification(file_handle: _Readable, *, max_record: int = MAX_RECORD) -> tuple[dict[str, str], Payload]:
    """
    Read a record of version 1, and no byte more.

    @param file_handle: has C{read(size)}.
    @param max_record: a record that claims more bytes is damage.
    @raise EndOfArchive: if there is none, or not a whole one.
    @raise DamagedArchive: if it is damaged.
    @raise UnknownArchiveFormat: if it is of another version.
    """
    name = str(getattr(file_handle, "name", "(a file)"))
    start = _read(file_handle, PREAMBLE.size)
    magic, version = PREAMBLE.unpack(start)
    if magic != MAGIC:
        raise DamagedArchive(name, 0, "a record is missing here")
    if version != 1:
        raise UnknownArchiveFormat(f"{name} has a record of version {version}; here only version 1 can be read")
    start += _read(file_handle, HEAD_SIZE - PREAMBLE.size)
    try:
        size = record_size(head_fields(start))
    except ValueError as problem:
        raise DamagedArchive(name, 0, str(problem)) from None
    if size > max_record:
        raise DamagedArchive(name, 0, f"a record claims {size} bytes; {max_record} are allowed (max_record)")
    return ArchiveReader(start + _read(file_handle, size - HEAD_SIZE), name=name, max_record=max_record).read()


def _read(file_handle: _Readable, size: int) -> bytes:
    data = file_handle.read(size)
    if len(data) < size:
        raise EndOfArchive("the file ends within a record")
    return data
