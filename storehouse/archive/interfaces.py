"""What checkers, callbacks, readers and sources of bytes provide."""

from storehouse.storage.archive.interfaces import (
    ArchiveInfo,
    IArchive,
    IArchiveCallback,
    IArchiveReader,
    IByteSource,
    IQuietRollChecker,
    IRollChecker,
    Metadata,
    Payload,
    Record,
    Sync,
    Verified,
)

__all__ = [
    "ArchiveInfo",
    "IArchive",
    "IArchiveCallback",
    "IArchiveReader",
    "IByteSource",
    "IQuietRollChecker",
    "IRollChecker",
    "Metadata",
    "Payload",
    "Record",
    "Sync",
    "Verified",
]
