"""
Reading, in a disk thread: objects, held by the descriptors of their directories.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import attrs

from storehouse.core.access import WAITING, Access, NotCached
from storehouse.errors import DamagedObject, NoSuchObject, NoSuchUpload, StorehouseError
from storehouse.storage.dataspace.formats import ObjectInfo, check_own, decode_object
from storehouse.storage.dataspace.interfaces import Part
from storehouse.storage.dataspace.open_part import OpenPart, read_description
from storehouse.storage.dataspace.values import check_expected

__all__ = ["OpenObject", "OpenUploadPart", "Span", "spans_of"]

_DIRECTORY = os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY


@attrs.frozen
class Span:
    """
    A range of one part.

    @ivar offset: where it begins in the part.
    @ivar length: its bytes, 1 or more.
    """

    part: Part
    offset: int
    length: int


def spans_of(parts: tuple[Part, ...], offset: int, length: int) -> Iterator[Span]:
    """What of each part belongs to a range of the object."""
    for part in parts:
        if length <= 0:
            return
        if offset < part.size:
            take = min(length, part.size - offset)
            yield Span(part, offset, take)
            length -= take
            offset = 0
        else:
            offset -= part.size


class OpenObject:
    """
    An object that is held by its directory.

    @param verified: whether its blocks are verified when they are read.
    @param expected: see L{IDataSpace.get<storehouse.storage.dataspace.interfaces.IDataSpace.get>}.
    @ivar info: its data.json.
    @raise NoSuchObject: if it is not there.
    @raise DamagedObject: if its data.json is not what was stored, or not what is expected.
    """

    def __init__(
        self, path: str, id: str, access: Access = WAITING, verified: bool = True, expected: Part | None = None
    ) -> None:
        self.id = id
        self._expected = expected
        self._access = access
        self._verified = verified
        self._part: OpenPart | None = None
        try:
            self.directory = -1
            self.directory = access.open(path, _DIRECTORY)
        except FileNotFoundError:
            raise self._missing() from None
        except NotADirectoryError:
            raise DamagedObject(id, "it is not a directory") from None
        try:
            self.info = self._describe()
        except BaseException:
            self.close()
            raise

    def _missing(self) -> StorehouseError:
        return NoSuchObject(f"there is no object {self.id}")

    def _describe(self) -> ObjectInfo:
        data = read_description(self.directory, "data.json", self.id, self._access)
        try:
            info = decode_object(data)
            check_own(info.id, self.id)
        except ValueError as error:
            raise DamagedObject(self.id, f"data.json cannot be read: {error}") from None
        check_expected(self.id, info.etag, info.size, self._expected)
        return info

    def part(self, part: Part) -> OpenPart:
        """One of its parts, open until the next is asked for."""
        if self._part is None or self._part.part.number != part.number:
            if self._part is not None:
                self._part.close()
                self._part = None
            self._part = OpenPart(self.directory, self.id, part, self._access)
        return self._part

    def read_at_once(self, offset: int, length: int) -> list[bytes]:
        """
        What L{read} gives, if that is quick: for the reactor's thread.  From now on, reads wait for the disk.

        @raise NotCached: if it is not.
        """
        span = next(spans_of(self.info.parts, offset, length))
        part = self.part(span.part)
        at_once = part.header.hash.at_once
        size = part.header.block_size
        last = (span.offset + span.length - 1) // size
        first = span.offset // size
        if sum(part.header.span(last)) - first * size > at_once:
            raise NotCached
        pieces = self._read(part, span, at_once)
        self._access = part.access = WAITING
        return pieces

    def read(self, offset: int, length: int, at_most: int) -> list[bytes]:
        """Bytes from C{offset} on, some or all of C{length}: at most of one part, C{at_most} or one block."""
        span = next(spans_of(self.info.parts, offset, length))
        return self._read(self.part(span.part), span, at_most)

    def _read(self, part: OpenPart, span: Span, at_most: int) -> list[bytes]:
        if self._verified:
            return part.read(span.offset, span.length, at_most)
        return part.read_plain(span.offset, min(span.length, at_most))

    def close(self) -> None:
        """Close all of it."""
        if self._part is not None:
            self._part.close()
            self._part = None
        if self.directory >= 0:
            os.close(self.directory)
            self.directory = -1


class OpenUploadPart(OpenObject):
    """
    A part of an upload as if it were an object. Its files are open at once, since it may be dropped.

    @param path: the directory of the upload.
    @raise NoSuchUpload: if it is not there.
    """

    def __init__(self, path: str, upload_id: str, part: Part) -> None:
        self._only = part
        OpenObject.__init__(self, path, upload_id)

    def _missing(self) -> StorehouseError:
        return NoSuchUpload(f"there is no upload {self.id}")

    def _describe(self) -> ObjectInfo:
        self.part(self._only)
        return ObjectInfo(self._only.etag, self._only.size, (self._only,), {})
