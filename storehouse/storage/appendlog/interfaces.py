"""
What an append log is.

Source: the first seed ("push data, get file offset"); docs/formats/appendlog.md is the format on disk.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from enum import Enum
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface

__all__ = [
    "Appended",
    "Durability",
    "IAppendLog",
    "IBucket",
    "IRecord",
    "PrefixStat",
]


class Durability(Enum):
    """What has happened to a record when its append is answered."""

    #: It is on disk: it survives a power cut.
    DISK = "disk"
    #: It is in the page cache: it survives the process, not a power cut.
    OS = "os"


@attrs.frozen
class Appended:
    """
    Where records went.

    @ivar offsets: the offset of each record, in the order given.
    @ivar bucket: the L{IBucket} that holds them.
    @ivar durability: the level that was reached, at least the one asked for.
    """

    offsets: tuple[int, ...]
    bucket: Any
    durability: Durability


class IRecord(Interface):
    """A stored record, verified."""

    offset = Attribute("C{int}: its offset in the bucket file.")
    time = Attribute("C{int}: when it was appended, nanoseconds since 1970 UTC; 0 when unknown.")
    length = Attribute("C{int}: bytes of its payload.")
    payload = Attribute("C{bytes} or C{None}: the payload, if it is small enough to be held whole.")

    def read_piece(position: int) -> Coroutine[Any, Any, bytes]:
        """
        The next piece of the payload, a bounded number of bytes, to be read in order from position 0 to L{length}.

        @raise DamagedRecord: if the file changed since it was verified.
        """


@attrs.frozen
class PrefixStat:
    """
    The size of one prefix.

    @ivar records: the number of records.
    @ivar size: bytes of its bucket files.
    @ivar files: the number of bucket files that hold at least one record.
    @ivar buckets: the number of buckets.
    @ivar is_open: whether its files are open.
    """

    records: int
    size: int
    files: int
    buckets: int
    is_open: bool


class IBucket(Interface):
    """One bucket file of an open prefix, as readers and the append path see it."""

    path = Attribute("C{str}: the path of the bucket file, as answers name it.")
    number = Attribute("C{int}: the number of the bucket.")
    prefix = Attribute("C{str}: the name of the prefix.")
    end = Attribute("C{int}: the offset behind the last committed record.")
    count = Attribute("C{int}: the number of committed records.")
    closed = Attribute("C{bool}: its prefix has been closed; ask the log for the bucket again.")
    json_tail = Attribute("C{bytes}: how answers to appends end: the path as a member of a JSON object, and its end.")

    def append(
        payloads: Sequence[bytes],
        id_hash: int,
        durability: Durability,
        done: Callable[[tuple[int, ...] | None, Exception | None, Durability], None],
    ) -> None:
        """
        Queue records to be written contiguously, all or none.  The append path: nothing is allocated beyond the
        queue's own entries, and nothing raises.

        @param payloads: one or more records of 1 or more bytes; the caller has checked lengths.
        @param done: called in the reactor's thread with C{(offsets, None, level)} once the records are durable as
            asked, or with C{(None, error, durability)}: L{NoSpace<storehouse.errors.NoSpace>} when there was no room
            and nothing was changed, L{Unavailable<storehouse.errors.Unavailable>} when the log or the prefix is
            closed or has failed. Appends to one log are answered in the order queued.
        """

    def read(offset: int) -> bytes | None:
        """
        Give the record at C{offset}, or whose payload begins there, if that takes no disk access and the record is
        small; C{None} otherwise (then use L{IAppendLog.get}).

        @raise NoSuchRecord: if no committed record is there.
        @raise DamagedRecord: if its checksum fails.
        """


class IAppendLog(Interface):
    """
    Append-only bucket files, a directory of them for each prefix.

    All methods are called in the reactor's thread.  Deferreds fail with
    L{StorehouseError<storehouse.errors.StorehouseError>}s only, except for defects. Names are checked by every
    method: L{InvalidName<storehouse.errors.InvalidName>}.
    """

    default_durability = Attribute("L{Durability}: what is used when a caller names none.")
    max_record = Attribute("C{int}: the most bytes one record may have.")

    def bucket_if_open(prefix: str, id: bytes) -> IBucket | None:
        """The bucket of an identifier if its prefix is open; C{None} otherwise. Does no input or output."""

    def append(
        prefix: str, id: bytes, payloads: Sequence[bytes], durability: Durability | None = None
    ) -> Deferred[Appended]:
        """
        Append records contiguously, all or none, opening or making the prefix if need be.

        @return: fires when the records are durable as asked.  Fails with C{EmptyRecord}, C{TooLarge}, C{NoSpace},
            C{Unavailable} or C{BucketCountMismatch}.
        """

    def get(prefix: str, id: bytes, offset: int) -> Deferred[IRecord]:
        """
        Give the record at C{offset}, or whose payload begins there.

        @return: fires with an L{IRecord}; fails with C{TooLarge} for one longer than L{max_record}, C{NoSuchPrefix},
            C{NoSuchRecord} or C{DamagedRecord}.
        """

    def scan(prefix: str, bucket: int | bytes, start: int = 0, follow: bool = False) -> Deferred[Any]:
        """
        Open a scan of a bucket.

        @param bucket: the number of a bucket, or an identifier: then only records of that identifier, and those whose
            identifier is not known.
        @param start: the scan begins at the first record at or after this offset.
        @return: fires with a scan: C{next_batch() -> Deferred[list[IRecord]]} gives the next records, a bounded
            number of bytes at a time, and an empty list at the end; with C{follow} it waits at the end for what
            comes, and the end is the closing of the prefix, or C{stop_following()}, after what is there was given.
            C{next_batch} fails with C{DamagedRecord} at a damaged record. C{close()} ends it and frees what it holds.
        """

    def stat(prefix: str | None = None) -> Deferred[dict[str, PrefixStat]]:
        """The sizes of one prefix, or of all. Fails with C{NoSuchPrefix}."""

    def close_prefix(prefix: str) -> Deferred[None]:
        """
        Answer what is queued for the prefix, sync its files, make the write-ahead log forget it, close it.  A prefix
        that is not open is fine.
        """

    def delete_prefix(prefix: str) -> Deferred[None]:
        """L{close_prefix}, then remove it. When it fires the prefix is gone for good. Fails with C{NoSuchPrefix}."""

    def delete_closed_prefix(prefix: str, may_go: Callable[[], bool]) -> Deferred[bool]:
        """
        Remove a prefix if it is closed. It cannot be opened meanwhile: who wants to waits, and finds it gone or as it was.

        @param may_go: called in another thread when the prefix can no longer change; whether to remove it.
        @return: fires with whether it was removed: not if it is open, is not there, or C{may_go} says no.
        """

    def stop() -> Deferred[None]:
        """Answer what is queued, sync everything, close. Afterwards all methods fail with C{Unavailable}."""
