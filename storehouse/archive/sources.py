"""Byte sources of archives: files, memory, file objects, and any of these compressed as a whole."""

from __future__ import annotations

import os
from typing import BinaryIO, cast

from zope.interface import implementer

from storehouse.archive.interfaces import IByteSource
from storehouse.core.compression import Expander, is_compressed, method_of
from storehouse.core.files import open_regular, read_exactly
from storehouse.errors import DamagedArchive, InvalidSetting

__all__ = ["BytesSource", "ExpandedSource", "FileObjectSource", "FileSource", "is_compressed_file", "open_source"]
__all__ += ["Source", "begins_as", "readable_behind", "same_content"]

#: What an archive can be read from. Instead of an L{IByteSource} an object that has its methods will do.
Source = str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO | IByteSource

#: Damage begins and ends at multiples of this many bytes, as blocks of stores do.
_STEP = 1 << 12

#: Bytes that are compared at once.
_PIECE = 1 << 20


@implementer(IByteSource)
class FileSource:
    """A regular file, opened by its path; links are followed."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.name = os.fspath(path)
        self._fd = open_regular(self.name, follow=True)
        self.size: int | None = os.fstat(self._fd).st_size

    def pread(self, offset: int, size: int) -> bytes:
        return read_exactly(self._fd, size, offset)

    def close(self) -> None:
        """Close the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


@implementer(IByteSource)
class BytesSource:
    """Bytes in memory, which are not copied."""

    def __init__(self, data: bytes | bytearray | memoryview, name: str = "(in memory)") -> None:
        self.name = name
        self._data = memoryview(data).cast("B")
        self.size: int | None = len(self._data)

    def pread(self, offset: int, size: int) -> bytes:
        return bytes(self._data[offset : offset + size])

    def close(self) -> None:
        """Nothing to free."""


@implementer(IByteSource)
class FileObjectSource:
    """A binary file object that can seek. It is not closed."""

    def __init__(self, file: BinaryIO) -> None:
        self.name = str(getattr(file, "name", "(a file object)"))
        self._file = file
        self.size: int | None = file.seek(0, os.SEEK_END)

    def pread(self, offset: int, size: int) -> bytes:
        self._file.seek(offset)
        pieces = []
        while size > 0:
            piece = self._file.read(size)
            if not piece:
                break
            pieces.append(piece)
            size -= len(piece)
        return b"".join(pieces)

    def close(self) -> None:
        """Nothing to free."""


@implementer(IByteSource)
class ExpandedSource:
    """
    A compressed source, expanded, also if it was compressed several times over.

    Reading forward costs what expanding costs; reading backward begins again from the front.

    @ivar method: the outermost compression.
    """

    size: int | None = None

    def __init__(self, source: IByteSource, method: str) -> None:
        self.name: str = source.name
        self.method = method
        self._source = source
        self._begin()

    def _begin(self) -> None:
        self._taken = 0
        self._expander = Expander(self._take)
        self._data = b""
        self._at = 0
        self._problem: ValueError | None = None

    def _take(self, size: int) -> bytes:
        piece: bytes = self._source.pread(self._taken, size)
        self._taken += len(piece)
        return piece

    def pread(self, offset: int, size: int) -> bytes:
        if offset < self._at:
            self._begin()
        pieces = []
        got = 0
        while got < size:
            inside = offset + got - self._at
            if inside < len(self._data):
                piece = self._data[inside : inside + size - got]
                pieces.append(piece)
                got += len(piece)
                continue
            self._at += len(self._data)
            # Also when it fails: what was there has been counted.
            self._data = b""
            if self._problem is None:
                try:
                    self._data = self._expander.read()
                except ValueError as problem:
                    self._problem = problem
            if self._problem is not None:
                if got:
                    break  # what there is comes first; the next call raises
                raise DamagedArchive(self.name, self._at, f"it cannot be expanded: {self._problem}")
            if not self._data:
                break
        return b"".join(pieces)

    def close(self) -> None:
        """Close the compressed source."""
        self._source.close()


def is_compressed_file(path: str) -> bool:
    """
    Whether a file is compressed as a whole, by its first bytes: its name proves nothing.

    @raise OSError: if it cannot be read.
    """
    source = FileSource(path)
    try:
        return is_compressed(source.pread(0, 6))
    finally:
        source.close()


def readable_behind(source: IByteSource, offset: int, end: int) -> int | None:
    """
    Where a source can be read again, behind a hole.

    @param offset: where it cannot be read.
    @return: C{None} if that is nowhere before C{end}, as far as can be found without trying each block.
    """
    bad = offset - offset % _STEP
    step = _STEP
    while (good := bad + step) < end and not _gives(source, good):
        # The larger the hole, the larger the steps: it may be most of a large object.
        bad, step = good, max(_STEP, (good - offset) // 16 // _STEP * _STEP)
    if good >= end:
        return None
    while good - bad > _STEP:
        middle = bad + (good - bad) // 2 // _STEP * _STEP
        bad, good = (bad, middle) if _gives(source, middle) else (middle, good)
    return good


def _gives(source: IByteSource, offset: int) -> bool:
    try:
        return bool(source.pread(offset, 1))
    except DamagedArchive:
        return False


def open_source(what: Source, name: str | None = None) -> IByteSource:
    """
    The L{IByteSource} of a path, bytes, or a binary file object; one that expands if it is compressed.

    @param name: for messages, instead of its own.
    @raise OSError: if a file cannot be opened.
    """
    source: IByteSource
    if IByteSource.providedBy(what) or hasattr(what, "pread"):
        source = cast(IByteSource, what)
    elif isinstance(what, (str, os.PathLike)):
        source = FileSource(what)
    elif isinstance(what, (bytes, bytearray, memoryview)):
        source = BytesSource(what)
    elif hasattr(what, "read") and hasattr(what, "seek"):
        source = FileObjectSource(what)
    else:
        raise InvalidSetting(f"{what!r} is neither a path, nor bytes, nor a file")
    if name is not None:
        source.name = name
    method = method_of(source.pread(0, 4))
    return source if method is None else ExpandedSource(source, method)


def same_content(path: str, other: str) -> bool:
    """Whether two files hold the same bytes, each expanded if it is compressed."""
    try:
        first, second = open_source(path), open_source(other)
    except (OSError, DamagedArchive):
        return False
    try:
        at = 0
        while piece := first.pread(at, _PIECE):
            if second.pread(at, len(piece)) != piece:
                return False
            at += len(piece)
        return not second.pread(at, 1)
    except (OSError, DamagedArchive):
        return False
    finally:
        first.close()
        second.close()


def begins_as(path: str, other: str) -> bool:
    """
    Whether a file begins with all bytes of another, each expanded if it is compressed. Of one that cannot be expanded to its
    end, the bytes up to there count.
    """
    try:
        first, second = open_source(path), open_source(other)
    except (OSError, DamagedArchive):
        return False
    try:
        at = 0
        while True:
            try:
                piece = second.pread(at, _PIECE)
            except DamagedArchive:
                return True
            if not piece:
                return True
            if first.pread(at, len(piece)) != piece:
                return False
            at += len(piece)
    except (OSError, DamagedArchive):
        return False
    finally:
        first.close()
        second.close()
