"""Where the bytes of an archive come from: files, memory, file objects, and what is compressed as a whole."""

from __future__ import annotations

import os
from typing import Any

from zope.interface import implementer

from storehouse.archive.interfaces import IByteSource
from storehouse.core.compression import Expander, is_compressed, method_of
from storehouse.core.files import open_regular, read_exactly
from storehouse.errors import DamagedArchive, InvalidSetting

__all__ = ["BytesSource", "ExpandedSource", "FileObjectSource", "FileSource", "is_compressed_file", "open_source"]
__all__ += ["begins_as", "readable_behind", "same_content"]

#: What is damaged begins and ends at multiples of it: blocks of stores are such.
_STEP = 1 << 12

#: Bytes that are compared at once.
_PIECE = 1 << 20


@implementer(IByteSource)
class FileSource:
    """A file."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.name = os.fspath(path)
        self._fd = open_regular(self.name, follow=True)
        self.size: int | None = os.fstat(self._fd).st_size

    def pread(self, offset: int, size: int) -> bytes:
        """Some bytes."""
        return read_exactly(self._fd, size, offset)

    def close(self) -> None:
        """Close the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


@implementer(IByteSource)
class BytesSource:
    """Bytes in memory."""

    def __init__(self, data: bytes | bytearray | memoryview, name: str = "(in memory)") -> None:
        self.name = name
        self._data = memoryview(data).cast("B")
        self.size: int | None = len(self._data)

    def pread(self, offset: int, size: int) -> bytes:
        """Some bytes."""
        return bytes(self._data[offset : offset + size])

    def close(self) -> None:
        """Nothing is to be done."""


@implementer(IByteSource)
class FileObjectSource:
    """What has C{read} and C{seek}. It is not closed."""

    def __init__(self, file: Any) -> None:
        self.name = str(getattr(file, "name", "(a file object)"))
        self._file = file
        self.size: int | None = file.seek(0, os.SEEK_END)

    def pread(self, offset: int, size: int) -> bytes:
        """Some bytes."""
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
        """Nothing is to be done."""


@implementer(IByteSource)
class ExpandedSource:
    """
    What another source holds, expanded, also if it was compressed several times over.

    Reading on is as fast as expanding is; reading back begins again from the front.

    @ivar method: the outermost compression.
    """

    size: int | None = None

    def __init__(self, source: Any, method: str) -> None:
        self.name = source.name
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
        """Some bytes."""
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
                    break  # The next call says so; what is there comes first.
                raise DamagedArchive(self.name, self._at, f"it cannot be expanded: {self._problem}")
            if not self._data:
                break
        return b"".join(pieces)

    def close(self) -> None:
        """Close what is expanded."""
        self._source.close()


def is_compressed_file(path: str) -> bool:
    """
    Whether a file is compressed as a whole, as its first bytes tell: names may say anything.

    @raise OSError: if it cannot be read.
    """
    source = FileSource(path)
    try:
        return is_compressed(source.pread(0, 6))
    finally:
        source.close()


def readable_behind(source: Any, offset: int, end: int) -> int | None:
    """
    Where a source gives something again.

    @param offset: where it gives nothing.
    @return: C{None} if it does so nowhere before C{end}, as far as can be told without trying everywhere.
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


def _gives(source: Any, offset: int) -> bool:
    try:
        return bool(source.pread(offset, 1))
    except DamagedArchive:
        return False


def open_source(what: Any, name: str | None = None) -> Any:
    """
    An L{IByteSource} for a path, bytes, a binary file object or an L{IByteSource}; one that expands if it is
    compressed.

    @param name: for messages, if its own does not do.
    @raise OSError: if a file cannot be opened.
    """
    source: Any
    if IByteSource.providedBy(what) or hasattr(what, "pread"):
        source = what
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
    """Whether two files hold the same, expanded if they are compressed."""
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
    """Whether a file begins with all that another gives; both are expanded if they are compressed, and the other may end early."""
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
