"""What commands do with archives beyond what L{storehouse.archive} offers: their order, their state, compression."""

from __future__ import annotations

import fcntl
import os

from storehouse.archive.archive import ArchiveReader
from storehouse.archive.finding import Seen, each_once, find_now
from storehouse.archive.interfaces import ArchiveInfo
from storehouse.archive.names import is_ours_beside, marker_of, name_key
from storehouse.archive.scan import LARGEST_RECORD, MAX_RECORD
from storehouse.archive.sources import FileSource
from storehouse.core.compression import SUFFIXES, make_compressor
from storehouse.core.files import Files
from storehouse.errors import DamagedArchive, UnknownArchiveFormat

__all__ = [
    "LARGEST_RECORD",
    "MAX_RECORD",
    "SUFFIXES",
    "FileSource",
    "Seen",
    "compress_file",
    "each_once",
    "find_now",
    "is_ours_beside",
    "order_of",
]
__all__ += ["why_open"]

#: What is compressed at once.
_PIECE = 1 << 20


def order_of(name: str, info: ArchiveInfo | None) -> tuple[object, ...]:
    """
    A key that puts archives in the order of writing (docs/formats/archive.md, Reading).

    @param name: of the file, or a key.
    @param info: C{None} if its header cannot be read.
    """
    last = os.path.basename(name)
    # An archive of version 2 that was cut off within its header has no salt.
    if info is None or info.version == 1 or not info.salt:
        return (0, name_key(last), last, name)
    return (1, info.created, info.sequence, last, name)


def why_open(path: str) -> str:
    """
    Why a file is an archive that is not closed yet; empty if it is closed, or is none.

    @raise OSError: if it cannot be read.
    """
    with open(path, "rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return "a process has it open"
    if os.path.lexists(marker_of(path)):
        return "its writer has not closed it"
    try:
        with ArchiveReader(path) as reader:
            if reader.version == 2 and reader.compressed_as is None and not reader.complete:
                return "it is not complete: its writer was killed"
    except (DamagedArchive, UnknownArchiveFormat):
        pass  # what it is matters to nobody who keeps the bytes
    return ""


def compress_file(source: str, target: str, method: str, level: int | None, files: Files) -> None:
    """
    Compress a file into one that is new, and bring that to disk.

    @param method: C{gzip} or C{zstd}.
    """
    compressor = make_compressor(method, level)
    fd = files.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    try:
        size = 0
        with open(source, "rb", buffering=0) as file:
            while data := file.read(_PIECE):
                size += _put(files, fd, compressor.compress(data), size)
        _put(files, fd, compressor.flush(), size)
        files.sync_data(fd)
    finally:
        files.close(fd)


def _put(files: Files, fd: int, data: bytes, offset: int) -> int:
    if data:
        files.write_at(fd, (data,), offset)
    return len(data)
