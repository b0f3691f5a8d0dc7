"""
Reading, in a disk thread: directories of objects, the files in them, and their blocks.

A directory is held by its descriptor and its files are opened through it, so that they stay readable when the
directory is renamed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import attrs

from storehouse.core.access import WAITING, Access, NotCached
from storehouse.errors import DamagedObject, NoSuchObject, NoSuchUpload, StorehouseError
from storehouse.storage.dataspace.formats import (
    MAX_DESCRIPTION,
    MAX_HEADER,
    ObjectInfo,
    decode_header,
    decode_object,
)
from storehouse.storage.dataspace.hashes import Hasher
from storehouse.storage.dataspace.interfaces import Part
from storehouse.storage.dataspace.staging import checksum_name, part_name

__all__ = ["OpenObject", "OpenPart", "OpenUploadPart", "Span", "read_description", "spans_of"]

_READ = os.O_RDONLY | os.O_CLOEXEC

# Bytes of the pieces that are given out.
_PIECE = 256 << 10

# Bytes of checksum lines that are read at once.
_LINES = 64 << 10


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


def read_description(directory: int, name: str, id: str, access: Access = WAITING) -> bytes:
    """
    A JSON file of an object or upload.

    @raise DamagedObject: if it is not there, or too long to be one.
    """
    try:
        fd = access.open(name, _READ, directory)
    except FileNotFoundError:
        raise DamagedObject(id, f"{name} is missing") from None
    try:
        size = os.fstat(fd).st_size
        if size > MAX_DESCRIPTION:
            raise DamagedObject(id, f"{name} has {size} bytes")
        return access.read(fd, size, 0)
    finally:
        os.close(fd)


class OpenPart:
    """
    The files of a part.

    @param name: of the object or upload it belongs to, for errors.
    @ivar header: of its checksum file.
    @raise DamagedObject: if they do not belong together.
    """

    def __init__(self, directory: int, id: str, part: Part, access: Access = WAITING) -> None:
        self.id = id
        self.part = part
        self.access = access
        self._fd = self._sums = -1
        try:
            self._fd = self._open(directory, part_name(part.number))
            self._sums = self._open(directory, checksum_name(part.number))
            self._start = access.read(self._sums, MAX_HEADER, 0)
            try:
                self.header, self._lines_at = decode_header(self._start)
            except ValueError as error:
                raise self._damaged(f"the header of {checksum_name(part.number)} cannot be read: {error}") from None
            self._check_sizes()
        except BaseException:
            self.close()
            raise

    def _damaged(self, reason: str, block: int | None = None) -> DamagedObject:
        return DamagedObject(self.id, reason, self.part.number, block)

    def _open(self, directory: int, name: str) -> int:
        try:
            return self.access.open(name, _READ, directory)
        except FileNotFoundError:
            raise self._damaged(f"{name} is missing") from None

    def _check_sizes(self) -> None:
        header = self.header
        size = os.fstat(self._fd).st_size
        for what, number in (("it should have", self.part.size), ("its checksum file is for", header.data_length)):
            if number != size:
                raise self._damaged(f"{part_name(self.part.number)} has {size} bytes, {what} {number}")
        expected = self._lines_at + header.block_count * header.line_length
        size = os.fstat(self._sums).st_size
        if size != expected:
            raise self._damaged(f"{checksum_name(self.part.number)} has {size} bytes instead of {expected}")

    @property
    def fd(self) -> int:
        """The file with its bytes."""
        return self._fd

    def lines(self, first: int, count: int) -> bytes:
        """The checksum lines of some blocks, unchecked."""
        length = self.header.line_length
        start = self._lines_at + first * length
        end = start + count * length
        if end <= len(self._start):
            return self._start[start:end]
        return self.access.read(self._sums, end - start, start)

    def all_lines(self) -> Iterator[bytes]:
        """All checksum lines, some at a time."""
        at_once = max(1, _LINES // self.header.line_length)
        for first in range(0, self.header.block_count, at_once):
            yield self.lines(first, min(at_once, self.header.block_count - first))

    def read(self, offset: int, length: int, at_most: int) -> list[bytes]:
        """
        Verified bytes from C{offset} on: C{length}, or as many blocks as make C{at_most}, at least one.

        Bytes before a damaged block are given; the next call, which begins there, raises.

        @raise DamagedObject: at a block that is not what was stored.
        """
        size = self.header.block_size
        end = offset + length
        first = offset // size
        last = min((end - 1) // size, first + max(1, at_most // size) - 1)
        lines = self.lines(first, last - first + 1)
        width = self.header.line_length
        pieces: list[bytes] = []
        for block in range(first, last + 1):
            line = lines[(block - first) * width : (block - first + 1) * width]
            start = block * size
            try:
                pieces += self._block(block, line, max(0, offset - start), end - start)
            except DamagedObject:
                if not pieces:
                    raise
                break
        return pieces

    def read_plain(self, offset: int, length: int) -> list[bytes]:
        """
        Bytes from C{offset} on as they are in the file, verified by nobody, in pieces.

        @raise DamagedObject: if the file has become too short.
        """
        pieces = []
        end = offset + length
        while offset < end:
            piece = self.access.read(self._fd, min(_PIECE, end - offset), offset)
            if not piece:
                raise self._damaged(f"it ends after {offset} of {self.part.size} bytes")
            pieces.append(piece)
            offset += len(piece)
        return pieces

    def _block(self, block: int, line: bytes, low: int, high: int) -> list[bytes]:
        """What lies between two places of a block, in pieces, after all of the block was verified."""
        header = self.header
        start, size = header.span(block)
        if header.hash.start is None or size <= _PIECE:
            data = self.access.read(self._fd, size, start)
            got, checksum = len(data), header.hash.digest(data)
            pieces = [data if low == 0 and high >= size else data[low:high]]
        else:
            got, checksum, pieces = self._hash_in_place(header.hash.start(), start, size, low, min(high, size))
        if got != size:
            raise self._damaged(f"it ends after {got} of {size} bytes", block)
        if checksum.hex().encode() + b"\n" != line:
            raise self._damaged("its checksum is wrong", block)
        return pieces

    def _hash_in_place(
        self, hasher: Hasher, start: int, size: int, low: int, high: int
    ) -> tuple[int, bytes, list[bytes]]:
        """Where the hash permits, bytes are copied only if they are wanted."""
        view = self.access.buffer()
        pieces = []
        got = 0
        while got < size:
            count = self.access.read_into(self._fd, view[: size - got], start + got)
            if not count:
                break
            hasher.update(view[:count])
            for at in range(max(0, low - got), min(count, high - got), _PIECE):
                pieces.append(bytes(view[at : min(at + _PIECE, count, high - got)]))
            got += count
        return got, hasher.digest(), pieces

    def close(self) -> None:
        """Close its files."""
        for fd in (self._fd, self._sums):
            if fd >= 0:
                os.close(fd)
        self._fd = self._sums = -1


class OpenObject:
    """
    An object that is held by its directory.

    @param verified: whether its blocks are verified when they are read.
    @ivar info: its data.json.
    @raise NoSuchObject: if it is not there.
    @raise DamagedObject: if its data.json is not what was stored.
    """

    def __init__(self, path: str, id: str, access: Access = WAITING, verified: bool = True) -> None:
        self.id = id
        self._access = access
        self._verified = verified
        self._part: OpenPart | None = None
        try:
            self.directory = -1
            self.directory = access.open(path, _READ | os.O_DIRECTORY)
        except FileNotFoundError:
            raise self._missing() from None
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
            return decode_object(data)
        except ValueError as error:
            raise DamagedObject(self.id, f"data.json cannot be read: {error}") from None

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
