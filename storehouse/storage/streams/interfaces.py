"""
Streams: records under a name, written to one archive after another.

Source: the second seed. docs/archive.rst is for users; docs/formats/archive.md is the format of archives.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

import attrs
from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface

from storehouse.archive.interfaces import Payload, Record

__all__ = ["Appended", "Archive", "IRecordSource", "IStream", "IStreams", "NewRecord", "State"]

#: A record to be written: metadata and payload.
NewRecord = tuple[Mapping[str, str], Payload]


class State:
    """The states of an archive."""

    #: It is being written.
    OPEN = "open"
    #: It is not written any more; its callbacks are not done.
    CLOSED = "closed"
    #: Its callbacks are done.
    FINISHED = "finished"
    #: It is at its destination, and verified.
    SHIPPED = "shipped"


@attrs.frozen
class Archive:
    """
    One archive of a stream.

    @ivar number: archives are written, and read, in the order of their numbers. From 1; less for some that were found again
        at their destination.
    @ivar path: of the local file; empty if it was removed.
    @ivar state: one of L{State}.
    @ivar salt: the random number in its header, which tells it from others of its name; 0 if unknown.
    @ivar created: when it was opened, nanoseconds since 1970 UTC.
    @ivar records: how many it has; of an open one, those that are durable.
    @ivar size: bytes of it as it was written; of an open one, those that are durable.
    @ivar lowest: the lowest time of its records, nanoseconds since 1970 UTC; 0 if unknown.
    @ivar highest: the highest; 0 if unknown.
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
    Records that were written.

    @ivar records: how many.
    @ivar sync: the level at which they are durable: C{record}, on disk; or C{os}.
    """

    records: int
    sync: str


class IRecordSource(Interface):
    """
    Records in the order of writing, each once. They are read from disk, or fetched, as they are pulled. Records that are
    written after the source was made are not part of it.
    """

    def next_batch(room: Callable[[int], Awaitable[None]] | None = None) -> Deferred[list[Record]]:
        """
        The next records, of a bounded size; an empty list at the end.

        @param room: called, and awaited, with the number of bytes of an archive that are to be read at once, all of them in
            memory together: reserves the memory, or fails.
        @raise DamagedArchive: with archive and offset, before the first record behind damage. The next call continues behind
            it.
        @raise Unavailable: for instance C{RemoteUnavailable} from a destination. The next call tries again.
        """

    def close() -> None:
        """Close files. To be called in any case; harmless at any time, and more than once."""


class IStream(Interface):
    """A stream of archives: records go to its open archive, in order."""

    name = Attribute("C{str}: its name.")
    sync = Attribute(
        "C{str}: when records are acknowledged: C{record}, when on disk; C{os}, when the operating system has them."
    )

    def append(records: Iterable[NewRecord]) -> Deferred[Appended]:
        """
        Write records, all or none, one after another.

        @return: fires when they are durable at the level L{sync}. Fails, with nothing written, with C{InvalidRecord} (metadata
            is not text to text, or the payload neither text nor bytes), C{NoSpace}, C{Unavailable}, or C{StorageFailed} (the
            process should end then).
        """

    def read(start: int | None = None, end: int | None = None) -> IRecordSource:
        """
        All records that are durable now, in local archives and those at destinations.

        @param start: records of that time or later, nanoseconds since 1970 UTC; C{None} for no bound.
        @param end: records before that time.
        """

    def archives() -> Sequence[Archive]:
        """Its archives, in the order of writing."""


class IStreams(Interface):
    """
    Streams by their names, as configured.

    All methods are called in the reactor's thread, and those that take a name raise or fail with C{NoSuchStream}.
    """

    def names() -> Sequence[str]:
        """All names, sorted."""

    def stream(name: str) -> IStream:
        """The L{IStream} of that name."""
