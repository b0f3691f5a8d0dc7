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

__all__ = ["Counts", "IDestination", "IShipper", "Listing", "LocalFile", "Shipment", "Stored"]


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
    A file at a destination.

    @ivar name: its name there.
    @ivar size: in bytes.
    @ivar tag: the destination's etag, without quotes: the same tag means the same bytes.
    @ivar sha256: of the bytes, in hex, as it was given with the upload; empty if it was not, and in listings.
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
    @ivar next_after: C{after} of the next page; C{None} if there is none.
    """

    entries: Sequence[Stored]
    next_after: str | None


class IDestination(Interface):
    """
    Stores closed files under names, and never changes them.

    All methods return Deferreds, and can be cancelled.  Except for defects, and for an C{OSError} where a local file
    cannot be read, they fail with

      - C{RemoteRefused}: wrong credentials, or a request that would be refused each time.
      - C{RemoteUnavailable}, or another C{Unavailable}: no response, or one that reports trouble at the server, although
        the request was repeated a few times.
      - C{RemoteDamaged}: what was stored is not what was sent. Send it again.
      - C{NoSuchKey}: nothing has that name. For a name that cannot be one: C{InvalidName}.
      - C{NoSpace}: a destination that is a store of our own has no room.

    Names are 1 to 1024 bytes of UTF-8, without control characters, and not with an empty, C{.} or C{..} component.
    """

    def put(name: str, file: LocalFile) -> Deferred[Stored]:
        """
        Store a file under a name, in one step: until then readers get what was stored under it before. Harmless if
        repeated. The file is read from the disk as fast as it is sent, in bounded memory.

        @return: fires once the destination has acknowledged the whole file: it is as durable as anything there, and its
            tag, if that can be computed, is that of the bytes.
        """

    def stat(name: str) -> Deferred[Stored]:
        """Size, tag and digest of a file, without its bytes."""

    def get(name: str, offset: int = 0, length: int | None = None) -> Deferred[IByteStream]:
        """
        Open a range of a file; C{length} C{None} for "to the end", and never more than there is. Fails with
        C{InvalidRange} if C{offset} is beyond the end. A read fails with C{RemoteUnavailable} if the stream ends too early.
        """

    def list(prefix: str = "", after: str = "", limit: int = 1000) -> Deferred[Listing]:
        """Files whose names begin with C{prefix} and come after C{after}; at most C{limit}."""

    def close() -> Deferred[None]:
        """Close the connections that are kept open. The destination can be used again after that."""


@attrs.frozen
class Counts:
    """
    What a shipper has to do, and what it did since its start.

    @ivar waiting: files that wait for their turn or their next attempt.
    @ivar shipping: files on their way now.
    @ivar dead: dead letters.
    @ivar shipped: files that arrived.
    @ivar failed: attempts that failed.
    @ivar size: bytes that were uploaded.
    @ivar oldest: seconds since the oldest file that has not arrived was handed over; 0.0 if there is none.
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

    @ivar id: for L{IShipper.retry}.
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
    """Brings closed files to a destination, in the background, and continues after a restart."""

    deletes = Attribute("C{bool}: whether files are removed once they have arrived, unless L{ship} says otherwise.")

    def ship(path: str, stream: str = "", delete: bool | None = None) -> Deferred[Shipment]:
        """
        Take a file over, which must not change any more. The shipper keeps the bytes under a name of its own: C{path} may be
        renamed or removed. A file that is on its way already is not taken twice.

        @param stream: what names at the destination begin with; empty for C{default}.
        @param delete: whether to remove C{path} once the file has arrived and is verified; C{None} for C{deletes}.
        @return: fires when the shipper's note of it is on disk: from then on the file arrives, or becomes a dead letter, even
            if the process is killed. Fails with C{NotFound}, C{NoSpace}, C{InvalidName} (a stream that is not a safe
            name), C{Unavailable} (the shipper was not started), or an C{OSError}; the file is then left alone.
        """

    def shipments() -> Sequence[Shipment]:
        """Files on their way, and dead letters, the oldest first."""

    def retry(id: str | None = None) -> Deferred[int]:
        """
        Ship dead letters again: one, or all of them.

        @return: fires with how many, once that is on disk. Fails with C{NotFound} if there is no such dead letter.
        """

    def counts() -> Counts:
        """Numbers for metrics and people."""
