"""
The interfaces of the archive library: archives, roll checkers, callbacks, byte sources.

Source: the seed on shoebox; docs/formats/archive.md is the format on disk. Checkers and callbacks are made from keyword
arguments only, so that a configuration can name them (L{storehouse.archive.plugins}).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import Enum
from typing import NamedTuple, Protocol

import attrs
from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface

__all__ = [
    "ArchiveInfo",
    "IArchive",
    "IArchiveCallback",
    "IArchiveReader",
    "IByteSource",
    "IQuietRollChecker",
    "IRollChecker",
    "Payload",
    "ReadsRecords",
    "Record",
    "Sync",
    "Verified",
    "WritesRecords",
]

#: What a record carries: it comes back as the kind that it was (version 1 cannot tell: there, UTF-8 is text).
Payload = str | bytes


class Sync(Enum):
    """When the bytes of an archive are brought to disk."""

    #: Before each write returns: the record survives a power cut.
    RECORD = "record"
    #: When the archive is flushed, rolled or closed. Until then a record is at best in the page cache.
    ROLL = "roll"
    #: When the operating system gets to it.
    OS = "os"


class Record(NamedTuple):
    """
    A record of an archive.

    @ivar number: its number in the archive, from 0. Behind damage in an archive that is not complete, it is counted as if
        the damage had been no record.
    @ivar offset: where its frame begins in the archive; for a compressed block, where that begins.
    @ivar time: when it was written, nanoseconds since 1970 UTC; 0 when unknown.
    """

    number: int
    offset: int
    time: int
    metadata: dict[str, str]
    payload: Payload


@attrs.frozen
class ArchiveInfo:
    """
    What the header of an archive says.

    @ivar version: 1 or 2.
    @ivar compression: of its blocks, C{"zstd"} or C{None}.
    @ivar created: when it was made, nanoseconds since 1970 UTC; 0 for version 1.
    @ivar sequence: the number that its writer gave it; 0 for version 1.
    @ivar salt: its own random number; 0 for version 1.
    """

    version: int
    compression: str | None = None
    created: int = 0
    sequence: int = 0
    salt: int = 0


@attrs.frozen
class Verified:
    """
    What a verification found.

    @ivar records: the whole records.
    @ivar complete: whether the archive has its footer.
    @ivar damages: L{DamagedArchive<storehouse.errors.DamagedArchive>} errors, in order.
    @ivar torn: bytes after the last whole record of an archive that is not complete.
    """

    records: int
    complete: bool
    damages: tuple[Exception, ...]
    torn: int

    @property
    def whole(self) -> bool:
        """Whether no damage and no torn tail was found."""
        return not self.damages and not self.torn


class WritesRecords(Protocol):
    """What a manager needs of an archive class of a program's own for writing."""

    def write(self, metadata: Mapping[str, str], payload: Payload) -> object:
        """Add a record."""

    def close(self) -> object:
        """Close the file."""


class ReadsRecords(Protocol):
    """What a manager needs of an archive class of a program's own for reading."""

    def read(self) -> tuple[dict[str, str], Payload]:
        """The next record. @raise EOFError: if there is none."""

    def close(self) -> object:
        """Close the file."""


class IArchive(Interface):
    """An archive that is being written, as a checker sees it."""

    filename = Attribute("C{str}: its path.")
    size = Attribute("C{int}: the bytes written to it so far, those still in memory included.")
    count = Attribute("C{int}: the records written to it so far.")


class IRollChecker(Interface):
    """
    Decides when to continue with the next archive.

    It is called by one thread at a time, with the archive that is being written. One checker serves one manager.
    """

    def start(archive: IArchive) -> None:
        """An archive was opened."""

    def check(archive: IArchive) -> bool:
        """Whether to roll now. Called after each record, and now and then while none is written."""


class IQuietRollChecker(IRollChecker):
    """One that need not be asked after each record."""

    def quiet_size(archive: IArchive) -> float:
        """
        The C{size} of the archive below which C{check} would say no; 0 to be asked each time.

        Called when the archive was opened, and whenever C{check} has said no. It holds until then, whatever the time.
        """


class IArchiveCallback(Interface):
    """
    Is called when archives are opened and closed.

    Both methods may return a Deferred. What they raise is logged; C{on_close} is then tried again, later and a bounded
    number of times, so it may be called again for a file that it has dealt with in part.

    A callback that removes the file for good sets C{removes_file} to true: it is called only after all before it have
    succeeded.
    """

    def on_open(filename: str) -> object:
        """An archive was opened."""

    def on_close(filename: str) -> Deferred[str | None] | Deferred[str] | str | None:
        """
        An archive was closed; nothing writes to it any more.

        @return: where the file is now, for the callbacks after this one; C{None} if it is where it was, or is gone.
        """


class IByteSource(Interface):
    """Bytes that can be read at any offset: a file, memory, an object in a store."""

    name = Attribute("C{str}: for messages.")
    size = Attribute("C{int} or C{None}: how many bytes there are; C{None} if that is not known beforehand.")

    def pread(offset: int, size: int) -> bytes:
        """Up to C{size} bytes at C{offset}; fewer only at the end. May wait for the disk or the network."""

    def close() -> None:
        """Free what it holds."""


class IArchiveReader(Interface):
    """
    Reads one archive, of either version. Methods may wait for the disk. Not to be shared by threads.

    What is wrong is raised as L{DamagedArchive<storehouse.errors.DamagedArchive>}, unless the reader was made to skip
    damage.
    """

    name = Attribute("C{str}: the path or name of the archive.")
    info = Attribute("L{ArchiveInfo}: its header.")
    complete = Attribute("C{bool}: it has its footer (for one that is compressed as a whole: once that was read).")
    count = Attribute("C{int} or C{None}: its records, if a footer says so.")
    torn = Attribute("C{int}: bytes after the last whole record, once the end was reached.")
    damages = Attribute("C{list}: what was skipped so far.")

    def read() -> tuple[dict[str, str], Payload]:
        """The next record. @raise EndOfArchive: if there is none."""

    def __iter__() -> Iterator[tuple[dict[str, str], Payload]]:
        """All further records, as L{read} gives them."""

    def records() -> Iterator[Record]:
        """All records from the first on, whatever was read so far."""

    def record(number: int) -> Record:
        """The record of that number. @raise NoSuchRecord: if there is none."""

    def between(start: int | None, end: int | None) -> Iterator[Record]:
        """The records whose time is C{start} or later and before C{end}, nanoseconds since 1970 UTC."""

    def verify() -> Verified:
        """Read everything and tell what is wrong, without raising it."""

    def close() -> None:
        """Close the file."""
