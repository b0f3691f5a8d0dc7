"""Single archives."""

from storehouse.errors import DamagedArchive, EndOfArchive, UnknownArchiveFormat
from storehouse.storage.archive.reader import ArchiveReader
from storehouse.storage.archive.recovery import Recovered, recover_archive
from storehouse.storage.archive.writer import ArchiveWriter

__all__ = [
    "ArchiveReader",
    "ArchiveWriter",
    "DamagedArchive",
    "EndOfArchive",
    "Recovered",
    "UnknownArchiveFormat",
    "recover_archive",
]
