"""
Resumable uploads, of tus and of the IETF's draft.

The bytes of one are parts of an upload of the object store, so that they are never copied; its state is a file of its
own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import attrs
from twisted.internet.defer import Deferred
from zope.interface import Interface

from storehouse.core.streams import IByteStream
from storehouse.storage.objects.interfaces import Metadata

__all__ = ["IResumableUploads", "ResumableUpload"]


@attrs.frozen
class ResumableUpload:
    """
    An upload as it is now.

    @ivar id: 128 random bits in hex. To know it authorizes nobody.
    @ivar owner: the name of the user, or of the link's user, that created it.
    @ivar grant: the nonce of the link that it was created with; empty if none.
    @ivar name: the key that the object is to have, in the bucket of uploads.
    @ivar key: the key that it has; empty before it is complete, and of a partial one.
    @ivar content_type: its media type; may be empty.
    @ivar metadata: from the client, by name; of tus, decoded.
    @ivar offset: bytes that are durable.
    @ivar length: bytes that it will have; C{None} while that is not known.
    @ivar max_bytes: the most that it may have; C{None} for no bound.
    @ivar is_partial: whether it will be a piece of a final one.
    @ivar pieces: of a final one: the IDs of its partial ones, in order.
    @ivar is_complete: whether it has all its bytes, and its object is stored (a partial one: has all its bytes).
    @ivar created: seconds since 1970 UTC.
    @ivar expires: when it is removed unless a request continues it, seconds since 1970 UTC; C{None} for never.
    @ivar etag: of the object, once complete.
    @ivar seen: the number of the request that this is the result of; later ones have higher numbers. Not compared.
    """

    id: str
    owner: str
    grant: str
    name: str
    key: str
    content_type: str
    metadata: Mapping[str, str]
    offset: int
    length: int | None
    max_bytes: int | None
    is_partial: bool
    pieces: Sequence[str]
    is_complete: bool
    created: float
    expires: float | None
    etag: str
    seen: int = attrs.field(eq=False)


class IResumableUploads(Interface):
    """
    All resumable uploads. They survive the end of the process: of bytes that were being added then, all are kept but the
    last ones.

    All methods return Deferreds that fail with L{StorehouseError<storehouse.errors.StorehouseError>}s only, except for
    defects.
    """

    def create(
        owner: str,
        name: str,
        length: int | None,
        content_type: str = "",
        metadata: Mapping[str, str] | None = None,
        max_bytes: int | None = None,
        grant: str = "",
        is_partial: bool = False,
        object_metadata: Metadata | None = None,
        names: str = "",
        awaits_end: bool = False,
    ) -> Deferred[ResumableUpload]:
        """
        Begin one. One of length 0 is complete at once.

        @param awaits_end: it is complete not when it has its length, but with an L{append} that is the last one; one of
            length 0, too.
        @param metadata: from the client, given back by L{get}.
        @param object_metadata: to be kept with the object; C{crc32c} and C{upload}, the ID, are added.
        @param names: what becomes of a name that is taken when it is complete, one of
            L{NAME_RULES<storehouse.core.names.NAME_RULES>}; empty for what is set.
        @param max_bytes: a bound for it; and for all partial ones together that are begun with the same link, and are
            not complete.
        @return: fails with C{TooLarge}, C{InvalidName}, C{Conflict} if the owner, or the link, has as many that are not
            complete as there may be, C{AlreadyExists} if a taken name is refused. That is checked again at the end, and
            leaves the upload as it is then.
        """

    def concatenate(
        owner: str,
        name: str,
        pieces: Sequence[str],
        content_type: str = "",
        metadata: Mapping[str, str] | None = None,
        grant: str = "",
        object_metadata: Metadata | None = None,
        names: str = "",
        max_bytes: int | None = None,
    ) -> Deferred[ResumableUpload]:
        """
        Begin one that is the bytes of partial ones of the same owner, one after the other; complete once they are,
        without moving a byte. They stay. One that is larger with them than it may be, which may show only when they are
        complete, is abandoned.

        @return: fails as L{create} does, with C{NoSuchUpload} or C{UploadGone} for a piece, C{BadRequest} for one that is
            not partial, or named twice, and for too many parts of all of them.
        """

    def get(id: str) -> Deferred[ResumableUpload]:
        """One of them. Fails with C{NoSuchUpload}, C{UploadGone}."""

    def list(owner: str | None = None) -> Deferred[Sequence[ResumableUpload]]:
        """Those that are not complete, of one user or all, oldest first."""

    def set_length(id: str, length: int) -> Deferred[ResumableUpload]:
        """
        Set the length of one for which it is not known yet; completes it if it is that long already. Ends an L{append}
        that runs. Fails with C{SizeMismatch} if another length is known, or more is stored; C{TooLarge}.
        """

    def append(
        id: str,
        offset: int,
        stream: IByteStream,
        size: int | None,
        verify: Callable[[], None] | None = None,
        is_last: bool = False,
        progress: Callable[[int], object] | None = None,
        length: int | None = None,
        seen: int | None = None,
    ) -> Deferred[ResumableUpload]:
        """
        Add bytes. Another L{append} that runs is ended first, and keeps what has come of it: a connection that is dead
        without knowing it holds up no other.

        @param stream: closed in any case.
        @param size: the bytes that it has; C{None} if that is not known.
        @param verify: called once all bytes have come, before any of them is kept; raises C{ChecksumMismatch} to have
            none of them kept. Without it, all that has come when the stream fails is kept.
        @param is_last: whether the upload is complete with them, even if its length was not known before.
        @param length: the bytes that the upload will have, if the request says so: as L{set_length}, once it is clear
            that they belong at its end, and nothing if it cannot be true with them.
        @param seen: L{ResumableUpload.seen} of what the request is based on; C{None} for now. If a newer request has
            changed the upload since, or was an L{interrupt}, nothing is added: the offset in its result holds.
        @param progress: called with the offset whenever more of it is durable.
        @return: fires when the bytes are durable, and, if they were the last, the object is stored. Fails with
            C{OffsetMismatch}, C{NoSuchUpload}, C{UploadGone}, C{TooLarge} for more than its length, C{SizeMismatch} for
            a last one that makes it another length than is known, C{Forbidden} if it is made of others, C{UploadBusy}
            when a newer request took over, and whatever C{stream} failed with: L{get} tells what was kept.
        """

    def interrupt(id: str) -> Deferred[ResumableUpload]:
        """End an L{append} that runs, which keeps what has come of it. Fires with the upload as it is then."""

    def remove(id: str) -> Deferred[None]:
        """Abandon it: its bytes go. An object that it became stays. Fails with C{NoSuchUpload}, C{UploadGone}."""

    def expire() -> Deferred[int]:
        """Remove those that have expired, complete ones too; their objects stay. Fires with their number."""
