"""Single archives."""

from storehouse.archive.reader import ArchiveReader
from storehouse.archive.recovery import Recovered, recover_archive
from storehouse.archive.writer import ArchiveWriter
from storehouse.errors import DamagedArchive, EndOfArchive, UnknownArchiveFormat

__all__ = [
    "ArchiveReader",
    "ArchiveWriter",
    "DamagedArchive",
    "EndOfArchive",
    "Recovered",
    "UnknownArchiveFormat",
    "recover_archive",
]
