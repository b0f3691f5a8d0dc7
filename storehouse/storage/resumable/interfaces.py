"""
What a resumable upload is, whether tus or the IETF's draft speaks of it.

Its bytes are parts of an upload of the object store, so that they are never copied; what else is known of it is a file of
its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import attrs
from twisted.internet.defer import Deferred
from zope.interface import Interface

from storehouse.core.streams import ISource
from storehouse.storage.objects.interfaces import Metadata

__all__ = ["IResumableUploads", "ResumableUpload"]


@attrs.frozen
class ResumableUpload:
    """
    What is known of an upload.

    @ivar id: 128 random bits in hex: who knows it may not do anything for that alone.
    @ivar owner: the name of the user, or of the link's user, that began it.
    @ivar grant: the nonce of the link that it was begun with; empty if none.
    @ivar name: the key that the object is to have, in the bucket of uploads.
    @ivar key: the key that it has; empty before it is complete, and of a partial one.
    @ivar content_type: its media type; may be empty.
    @ivar metadata: what the client said of it, by name; of tus, decoded.
    @ivar offset: bytes that are stored for good.
    @ivar length: bytes that it will have; C{None} while that is not known.
    @ivar max_bytes: the most that it may have; C{None} for no bound.
    @ivar is_partial: whether it is to be a piece of a final one.
    @ivar pieces: of a final one: the IDs of its partial ones, in order.
    @ivar is_complete: whether it has all its bytes, and its object is stored (a partial one: has all its bytes).
    @ivar created: seconds since 1970 UTC.
    @ivar expires: when it is removed unless it goes on; C{None} for never.
    @ivar etag: of the object, once complete.
    @ivar seen: a number that grows: when it was asked for. It is no part of what is compared.
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
    All resumable uploads. They survive the end of the process: of what was being added then, all is kept but the end.

    All methods return Deferreds that fail with L{StorehouseError<storehouse.errors.StorehouseError>}s only, but for
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

        @param awaits_end: it is complete not when it has its length, but with an L{append} that says so: one of length 0,
            too.

        @param metadata: what the client said, to be told again.
        @param object_metadata: to be kept with the object; C{crc32c} and C{upload}, the ID, are added.
        @param names: what becomes of a name that is taken when it is complete, one of
            L{NAME_RULES<storehouse.core.freenames.NAME_RULES>}; empty for what is set.
        @param max_bytes: what it may have; and, together, all partial ones that are begun with the same link, and are not
            complete.
        @return: fails with C{TooLarge}, C{InvalidName}, C{Conflict} if the owner, or the link, has as many that are not
            complete as there may be, C{AlreadyExists} if a taken name is refused: which is looked at again at the end,
            when it leaves the upload as it is.
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
        without moving a byte. They stay what they are. One that is larger with them than it may be, which may show only
        when they are complete, is given up.

        @return: fails as L{create} does, with C{NoSuchUpload} or C{UploadGone} for a piece, C{BadRequest} for one that is
            not partial, or named twice, and for too many parts of all of them.
        """

    def get(id: str) -> Deferred[ResumableUpload]:
        """One of them. Fails with C{NoSuchUpload}, C{UploadGone}."""

    def list(owner: str | None = None) -> Deferred[Sequence[ResumableUpload]]:
        """Those that are not complete, of one user or all, oldest first."""

    def set_length(id: str, length: int) -> Deferred[ResumableUpload]:
        """
        Say how long it will be, once; completes it if it is that long already. Ends whoever is adding to it. Fails with
        C{SizeMismatch} if it is known to be another, or is shorter than what is stored; C{TooLarge}.
        """

    def append(
        id: str,
        offset: int,
        source: ISource,
        size: int | None,
        verify: Callable[[], None] | None = None,
        is_last: bool = False,
        progress: Callable[[int], object] | None = None,
        length: int | None = None,
        seen: int | None = None,
    ) -> Deferred[ResumableUpload]:
        """
        Add bytes. If somebody else is adding to it, that one is ended first, with what has arrived of it kept: a
        connection that is dead without knowing it holds nobody up.

        @param size: the bytes that C{source} has; C{None} if it is not known.
        @param verify: called once all bytes have come, before any of them is kept; raises C{ChecksumMismatch} to have
            none of them kept. Without it, whatever has arrived when the source breaks off is kept.
        @param is_last: whether the upload is complete with them: its length need not have been said then.
        @param length: the bytes that the upload will have, if that is said with these: as L{set_length}, once it is clear
            that they belong at its end, and nothing if it cannot be true with them.
        @param seen: when the upload was looked at for this request, L{ResumableUpload.seen}; C{None} for now. If another
            request has come since to change it, or to L{interrupt}, nothing is added: an offset that was told then holds.
        @param progress: called with the offset whenever more of it is durable.
        @return: fires when the bytes are durable, and, if they were the last, the object is stored. Fails with
            C{OffsetMismatch}, C{NoSuchUpload}, C{UploadGone}, C{TooLarge} for more than its length, C{SizeMismatch} for
            a last one that makes it another length than was said, C{Forbidden} if it is made of others, C{UploadBusy}
            when another one took over, and whatever C{source} failed with: L{get} tells what was kept.
        """

    def interrupt(id: str) -> Deferred[ResumableUpload]:
        """End whoever is adding to it, with what has arrived kept, and tell what is known then."""

    def remove(id: str) -> Deferred[None]:
        """Give it up: its bytes go. An object that it became stays. Fails with C{NoSuchUpload}, C{UploadGone}."""

    def expire() -> Deferred[int]:
        """Remove those whose time is over, complete ones too: what they became stays. Fires with their number."""
