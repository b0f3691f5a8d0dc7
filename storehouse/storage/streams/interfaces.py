"""
What a stream is: records under a name, written to one archive after the other.

Source: the second seed. docs/archive.rst is for users; docs/formats/archive.md is the format of archives.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface

from storehouse.archive.interfaces import Payload, Record

__all__ = ["Appended", "Archive", "IRecordSource", "IStream", "IStreams", "Library", "NewRecord", "State"]

#: What is to be written: metadata and payload.
NewRecord = tuple[Mapping[str, str], Payload]


class State:
    """How far an archive has come."""

    #: It is being written.
    OPEN = "open"
    #: Nobody writes to it any more; its callbacks are not done.
    CLOSED = "closed"
    #: Its callbacks are done.
    FINISHED = "finished"
    #: It is at its destination, verified.
    SHIPPED = "shipped"


@attrs.frozen
class Archive:
    """
    One archive of a stream.

    @ivar number: its place in the stream: archives are written, and read, in this order. From 1, and less for those that were
        found again at their destination.
    @ivar path: the local file; empty if there is none any more.
    @ivar state: one of L{State}.
    @ivar salt: the random number in its header, by which it is told from others of its name; 0 if it is not known.
    @ivar created: when it was opened, nanoseconds since 1970 UTC.
    @ivar records: how many it has; of an open one, those that are durable.
    @ivar size: bytes of it as it was written; of an open one, those that are durable.
    @ivar lowest: the lowest time of its records, nanoseconds since 1970 UTC; 0 if that is not known.
    @ivar highest: the highest; 0 if that is not known.
    @ivar remote: its name at the destination; empty if it was not shipped.
    @ivar remote_size: bytes there.
    @ivar destination: the name of the destination; empty if it was not shipped.
    """

    number: int
    path: str
    state: str = State.OPEN
    salt: int = 0
    created: int = 0
    records: int = 0
    size: int = 0
    lowest: int = 0
    highest: int = 0
    remote: str = ""
    remote_size: int = 0
    destination: str = ""


@attrs.frozen
class Appended:
    """
    What became of records.

    @ivar records: how many.
    @ivar sync: the level at which they are durable, C{record} or C{os}.
    """

    records: int
    sync: str


@attrs.frozen(kw_only=True)
class Library:
    """
    What streams need of the archive library.

    @ivar make_manager: the class of managers that write; see C{WritingRollManager}.
    @ivar find_archives: C{(pattern, directory)} to the paths of archives in the order of writing.
    @ivar open_reader: of a path, an L{IArchiveReader<storehouse.archive.interfaces.IArchiveReader>}; with
        C{skip_damaged} one that passes over damage; see C{ArchiveReader}.
    @ivar make_slices: what reads in slices; see C{ArchiveSlices}.
    """

    make_manager: Callable[..., Any]
    find_archives: Callable[[str, str], Sequence[str]]
    open_reader: Callable[..., Any]
    make_slices: Callable[..., Any]


class IRecordSource(Interface):
    """
    Records in the order of writing, each once, to be asked for as they are wanted: whoever asks for nothing has nothing
    read. What is written after the source was made does not belong to it.
    """

    def next_batch(room: Callable[[int], Awaitable[None]] | None = None) -> Deferred[list[Record]]:
        """
        The next records, a bounded number of bytes; an empty list at the end.

        @param room: called with how many bytes of an archive are going to be read at once, and waited for: has memory for
            them, or fails.

        Fails with C{DamagedArchive}, which names archive and offset, before the first record behind damage: the next call goes
        on with what is whole behind it. Fails with C{RemoteUnavailable} and its like if the destination does not give what it
        has; the next call tries again.
        """

    def close() -> None:
        """Free what it holds. To be called in any case; harmless at any time."""


class IStream(Interface):
    """One stream."""

    name = Attribute("C{str}: its name.")
    sync = Attribute("C{str}: when records are acknowledged: C{record}, once on disk; C{os}, once the system has them.")

    def append(records: Iterable[NewRecord]) -> Deferred[Appended]:
        """
        Write records, all or none, one behind the other.

        @return: fires when they are durable as L{sync} says.  Fails with C{InvalidRecord} (text to text, and text or
            bytes), C{NoSpace}, C{StorageFailed} (then the process should end), C{Unavailable}: nothing was written then.
        """

    def read(start: int | None = None, end: int | None = None) -> Any:
        """
        An L{IRecordSource} of all that is durable now, wherever it is.

        @param start: records of that time or later, nanoseconds since 1970 UTC; C{None} for no bound.
        @param end: records before that time.
        """

    def archives() -> Sequence[Archive]:
        """Its archives, in the order of writing."""


class IStreams(Interface):
    """
    Streams by their names, which the configuration gives.

    All methods are called in the reactor's thread, and those that take a name raise or fail with C{NoSuchStream}.
    """

    def names() -> Sequence[str]:
        """All, in order."""

    def stream(name: str) -> Any:
        """The L{IStream} of that name."""
