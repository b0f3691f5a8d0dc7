"""
What an append log is.

Source: the first seed ("push data, get file offset"); docs/formats/appendlog.md is the format on disk.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from enum import Enum

import attrs
from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface

__all__ = [
    "Appended",
    "Durability",
    "IAppendLog",
    "IBucketFile",
    "IRecord",
    "IScan",
    "PrefixStat",
]


class Durability(Enum):
    """What a record survives once its append is complete."""

    #: A power cut: it is on disk.
    DISK = "disk"
    #: The end of the process, but not a power cut: it is in the page cache.
    OS = "os"


@attrs.frozen
class Appended:
    """
    Where records were appended.

    @ivar offsets: the offset of each record, in the order given.
    @ivar durability: the level that was reached: the one asked for, or a higher one.
    """

    offsets: tuple[int, ...]
    bucket: IBucketFile
    durability: Durability


class IRecord(Interface):
    """A stored record whose checksum has been verified."""

    offset = Attribute("C{int}: its offset in the bucket file.")
    time = Attribute("C{int}: when it was appended, nanoseconds since 1970 UTC; 0 when unknown.")
    length = Attribute("C{int}: bytes of its payload.")
    payload = Attribute("C{bytes}, or C{None} if it is too long to be held whole: then L{read_piece} returns it.")

    def read_piece(position: int) -> Awaitable[bytes]:
        """
        The bytes of the payload from C{position} on, at most 1 MiB. To be read in order, from 0 to L{length}.

        @raise DamagedRecord: if the file has changed since the record was verified.
        """


class IScan(Interface):
    """The records of a bucket file, in the order of the file. To be closed by its user."""

    def next_batch() -> Deferred[list[IRecord]]:
        """
        The next records, at most 256 and about 256 KiB; an empty list at the end. A scan that follows waits there for
        new records: its end is the closing of the prefix, or L{stop_following}, after the records that exist.

        Fails with C{DamagedRecord} at a damaged record, C{Unavailable} if the prefix was closed before the end.
        """

    def stop_following() -> None:
        """Return the records that exist, and do not wait for new ones."""

    def close() -> None:
        """End the scan and free what it holds."""


@attrs.frozen
class PrefixStat:
    """
    The size of a prefix.

    @ivar size: bytes of its bucket files.
    @ivar files: the number of bucket files with at least one record.
    @ivar buckets: the number of bucket files.
    @ivar is_open: whether its files are open.
    """

    records: int
    size: int
    files: int
    buckets: int
    is_open: bool


class IBucketFile(Interface):
    """A bucket file of an open prefix."""

    path = Attribute("C{str}: the path of the bucket file, as responses name it.")
    number = Attribute("C{int}: the number of the bucket file.")
    prefix = Attribute("C{str}: the name of the prefix.")
    end = Attribute("C{int}: the offset behind the last committed record.")
    count = Attribute("C{int}: the number of committed records.")
    closed = Attribute(
        "C{bool}: its prefix has been closed, and appends are refused; get the bucket file from the log again."
    )
    json_tail = Attribute(
        "C{bytes}: the end of the JSON responses to appends: the path as a member, and the end of the object."
    )

    def append(
        payloads: Sequence[bytes],
        id_hash: int,
        durability: Durability,
        done: Callable[[tuple[int, ...] | None, Exception | None, Durability], None],
    ) -> None:
        """
        Queue records to be written contiguously, all or none. The hot path: it takes a callback, since a Deferred for
        each append would cost more than the append; and it raises nothing.

        @param payloads: one or more records of 1 or more bytes; the caller has checked lengths.
        @param id_hash: FNV-1a 32 of the identifier.
        @param done: called in the reactor's thread with C{(offsets, None, level)} when the records are as durable as
            asked for, or with C{(None, error, durability)}: L{NoSpace<storehouse.errors.NoSpace>} if there is no space
            and nothing was changed, L{Unavailable<storehouse.errors.Unavailable>} if the log or the prefix is closed
            or has failed. Callbacks are called in the order in which the appends were queued.
        """

    def read(offset: int) -> bytes | None:
        """
        The payload of the record at C{offset}, or of the one whose payload begins there, if it is small and in the page
        cache; C{None} otherwise: then L{IAppendLog.get} says what is there.

        @raise DamagedRecord: if its checksum fails.
        """

    def read_framed(offsets: Iterable[int], most: int) -> bytes | None:
        """
        Several records by their offsets, in the order asked, as C{[u32 length][payload]} each, if L{read} gives all of them and
        they have at most C{most} bytes together; C{None} otherwise, also if one is damaged.
        """


class IAppendLog(Interface):
    """
    Append-only bucket files, a directory of them for each prefix.

    All methods are called in the reactor's thread. Deferreds fail with
    L{StorehouseError<storehouse.errors.StorehouseError>}s only, except for defects. Every method checks names, and
    fails with L{InvalidName<storehouse.errors.InvalidName>}.
    """

    default_durability = Attribute("L{Durability}: that of appends that do not ask for one.")
    max_record = Attribute("C{int}: bytes of the longest record that is appended or read.")

    def find_open(prefix: str, id: bytes) -> tuple[IBucketFile, int] | None:
        """
        The bucket file of an identifier, and the identifier's hash, if its prefix is open. Does no I/O: for the hot
        path.
        """

    def append(
        prefix: str, id: bytes, payloads: Sequence[bytes], durability: Durability | None = None
    ) -> Deferred[Appended]:
        """
        Append records contiguously, all or none. The prefix is opened or created if necessary.

        @return: fires when the records are as durable as asked for. Fails with C{EmptyRecord}, C{TooLarge}, C{NoSpace},
            C{Unavailable} or C{BucketCountMismatch}.
        """

    def get(prefix: str, id: bytes, offset: int) -> Deferred[IRecord]:
        """
        The record at C{offset}, or whose payload begins there.

        @return: fails with C{TooLarge} for a record longer than L{max_record}, C{NoSuchPrefix}, C{NoSuchRecord} or
            C{DamagedRecord}.
        """

    def scan(prefix: str, bucket: int | bytes, start: int = 0, follow: bool = False) -> Deferred[IScan]:
        """
        @param bucket: the number of a bucket file; or an identifier, for records with it and those whose identifier is
            unknown.
        @param start: the scan begins at the first record at or after this offset.
        @param follow: whether the scan waits at the end for new records.
        @return: fails with C{NoSuchPrefix}, or C{InvalidName} if there is no bucket file of that number.
        """

    def stat(prefix: str | None = None) -> Deferred[dict[str, PrefixStat]]:
        """The sizes of one prefix, or of all, by name. Fails with C{NoSuchPrefix}."""

    def close_prefix(prefix: str) -> Deferred[None]:
        """
        Complete what is queued for the prefix, sync its files and close them. Afterwards the directory can be removed:
        no replay of the write-ahead log brings files back. Does nothing for a prefix that is not open.
        """

    def delete_prefix(prefix: str) -> Deferred[None]:
        """L{close_prefix}, then remove it; durable when it fires. Fails with C{NoSuchPrefix}."""

    def delete_closed_prefix(prefix: str, may_go: Callable[[], bool]) -> Deferred[bool]:
        """
        Remove a prefix if it is closed. Meanwhile it cannot be opened: requests for it wait.

        @param may_go: whether to remove it; called in a disk thread, when the prefix can no longer change.
        @return: fires with whether it was removed: not if it is open, does not exist, or C{may_go} returns C{False}.
        """

    def stop() -> Deferred[None]:
        """Complete what is queued, sync everything and close it. Afterwards all methods fail with C{Unavailable}."""
