"""
What a destination is, where closed files are stored for good, and what a shipper is, which brings them there.

Source: the second seed, which leaves "transfer of archive files to remote storage locations" to its roll managers.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs
from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface

from storehouse.core.streams import IByteStream

__all__ = ["Counts", "IDestination", "IRemoteReader", "IShipper", "Listing", "LocalFile", "Shipment", "Stored"]


@attrs.frozen
class LocalFile:
    """
    A file that is to be stored. It does not change any more.

    @ivar path: where it is.
    @ivar size: in bytes.
    @ivar sha256: of its bytes, in hex.
    @ivar md5: of its bytes, in hex: what S3 and Swift check uploads with.
    @ivar content_type: a media type.
    """

    path: str
    size: int
    sha256: str
    md5: str
    content_type: str = "application/octet-stream"


@attrs.frozen
class Stored:
    """
    What a destination says of something that it stores.

    @ivar name: its name there.
    @ivar size: in bytes.
    @ivar tag: the destination's own tag for the content, without quotes: the same tag, the same bytes.
    @ivar sha256: of the bytes, in hex, as it was told when they were stored; empty if it was not, and in listings.
    """

    name: str
    size: int
    tag: str
    sha256: str = ""


@attrs.frozen
class Listing:
    """
    A page of what a destination stores.

    @ivar entries: in the order of their names' UTF-8 bytes.
    @ivar next_after: what the next page is C{after}; C{None} if there is none.
    """

    entries: Sequence[Stored]
    next_after: str | None


class IRemoteReader(IByteStream):
    """
    A range of something that is stored. A read fails with C{RemoteUnavailable} if the bytes do not come to their end.
    """

    length = Attribute("C{int}: bytes of the range.")


class IDestination(Interface):
    """
    Where closed files are stored under names, and never changed.

    All methods return Deferreds, and can be cancelled.  Except for defects, and for an C{OSError} where a local file
    cannot be read, they fail with

      - C{RemoteRefused}: wrong credentials, or a request that would be refused again. Repeating it is of no use.
      - C{RemoteUnavailable}, or another C{Unavailable}: no answer, or one that tells of trouble over there, although
        the request was repeated a few times.
      - C{RemoteDamaged}: what was stored is not what was sent. It is to be sent again.
      - C{NoSuchKey}: nothing has that name. For a name that cannot be one: C{InvalidName}.
      - C{NoSpace}: a destination that is a store of our own has no room.

    Names are 1 to 1024 bytes of UTF-8, without control characters, and not with an empty, C{.} or C{..} component.
    """

    def put(name: str, file: LocalFile) -> Deferred[Stored]:
        """
        Store a file under a name, in one step: whatever had the name before is there until then. A repeat is harmless.
        It is read from the disk as fast as it is taken, in bounded memory.

        @return: fires once the destination has acknowledged the whole of it, so it is as durable as anything there, and
            its tag, if it is one that can be computed, is that of the bytes.
        """

    def stat(name: str) -> Deferred[Stored]:
        """What is known of a name. Nothing is read but that."""

    def get(name: str, offset: int = 0, length: int | None = None) -> Deferred[IRemoteReader]:
        """
        Open a range of what is stored under a name; C{length} C{None} for "to the end", and never more than there is.
        Fails with C{InvalidRange} if C{offset} is beyond the end.
        """

    def list(prefix: str = "", after: str = "", limit: int = 1000) -> Deferred[Listing]:
        """What is stored under names that begin with C{prefix} and come after C{after}; at most C{limit} of it."""

    def close() -> Deferred[None]:
        """Close the connections that are kept open. It can be used again after that."""


@attrs.frozen
class Counts:
    """
    What a shipper has to do, and did since its start.

    @ivar waiting: files that wait for their turn or their next attempt.
    @ivar shipping: files on their way now.
    @ivar dead: dead letters.
    @ivar shipped: files that arrived.
    @ivar failed: attempts that failed.
    @ivar size: bytes that were uploaded.
    @ivar oldest: seconds since the oldest that is not there yet was handed over; 0.0 if there is none.
    """

    waiting: int
    shipping: int
    dead: int
    shipped: int
    failed: int
    size: int
    oldest: float


@attrs.frozen
class Shipment:
    """
    A file on its way.

    @ivar id: what names it to L{IShipper.retry}.
    @ivar path: where it was handed over.
    @ivar stream: the stream that it belongs to.
    @ivar name: its name at the destination; empty until that is known.
    @ivar stage: C{waiting}, C{compressed}, C{uploaded}, C{verified}, C{done} or C{dead}.
    @ivar since: when it was handed over, seconds since 1970 UTC.
    @ivar attempts: how many failed.
    @ivar error: why the last one failed; empty for none.
    """

    id: str
    path: str
    stream: str
    name: str
    stage: str
    since: float
    attempts: int
    error: str


class IShipper(Interface):
    """Brings closed files to a destination, in the background, and goes on after a restart with what was on its way."""

    deletes = Attribute("C{bool}: whether files are removed once they are there, where L{ship} is not told.")

    def ship(path: str, stream: str = "", delete: bool | None = None) -> Deferred[Shipment]:
        """
        Take a file over, which must not change any more. The name C{path} stays, and may be moved or removed by whoever
        likes: the shipper holds the bytes. A file that is on its way already is not taken twice.

        @param stream: what names at the destination begin with; empty for C{default}.
        @param delete: whether to remove C{path} once the file is there, verified; C{None} for what is set.
        @return: fires when the shipper's note of it is on disk: from then on it arrives, or becomes a dead letter, also
            if the process is killed.  Fails with C{NotFound}, C{NoSpace}, C{InvalidName} (a stream that is not a safe
            name), C{Unavailable} (it was not started), or an C{OSError}; the file is then left alone.
        """

    def shipments() -> Sequence[Shipment]:
        """What is on its way, and dead letters, the oldest first."""

    def retry(id: str | None = None) -> Deferred[int]:
        """
        Have dead letters shipped again: one, or all of them.

        @return: fires with how many, once that is on disk. Fails with C{NotFound} if there is no such dead letter.
        """

    def counts() -> Counts:
        """What there is to do, and was done."""
