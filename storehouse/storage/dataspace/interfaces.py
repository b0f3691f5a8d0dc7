"""
What a data space is.

Source: the fourth seed ("DataSpace"); docs/formats/wormer.md is the format on disk.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

import attrs
from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface, implementer

from storehouse.core.streams import IByteStream, Piece
from storehouse.errors import StorehouseError

__all__ = [
    "LAST_NUMBER",
    "IDataSpace",
    "IDescribed",
    "IInventory",
    "IUploads",
    "Metadata",
    "Part",
    "Reader",
    "Upload",
]

#: The highest number that a part gets by L{IDataSpace.extend}, if there are not more parts.
LAST_NUMBER = 10_000

#: Name to values, as the seed has it. Names and values are any text.
Metadata = Mapping[str, Sequence[str]]


@attrs.frozen
class Part:
    """
    A part of an upload, or of an object.

    @ivar number: 1 or more; 0 for the whole object.
    @ivar etag: a tag for its content, as L{IDataSpace.upload_part} gave it.
    @ivar size: in bytes.
    @ivar note: a text that the caller stored with it.
    @ivar stored: of a part of an upload, when it got it, nanoseconds since 1970 UTC; 0 when unknown. It is not compared.
    """

    number: int
    etag: str
    size: int
    note: str = ""
    stored: int = attrs.field(default=0, eq=False)


@attrs.frozen
class Upload:
    """
    An upload that was neither completed nor aborted.

    @ivar id: its upload ID.
    @ivar created: when it was begun, seconds since 1970 UTC; 0 when unknown.
    @ivar touched: when it last got a part, or was begun.
    @ivar parts: the number of its parts.
    @ivar size: bytes of its parts.
    @ivar metadata: as it was begun with.
    """

    id: str
    created: float
    touched: float
    parts: int
    size: int
    metadata: Metadata = attrs.Factory(dict)


@implementer(IByteStream)
@attrs.frozen(eq=False)
class Reader:
    """
    A range of an object, open, as a stream of its bytes: it stays readable, whatever becomes of the object's name, until
    it is closed.

    No byte is given before the block it lies in was verified, unless it was asked for without that. At the first byte of
    a block that is damaged a read fails with C{DamagedObject}.

    @ivar id: the ID of the object.
    @ivar metadata: of the object.
    @ivar etag: a tag for the whole content.
    @ivar size: bytes of the whole object.
    @ivar offset: where the range begins.
    @ivar length: bytes of the range.
    @ivar stream: its bytes.
    """

    id: str
    metadata: dict[str, list[str]]
    etag: str
    size: int
    offset: int
    length: int
    stream: IByteStream

    def read(self) -> Awaitable[Piece]:
        """See L{IByteStream.read}."""
        return self.stream.read()

    def close(self) -> Deferred[None]:
        """See L{IByteStream.close}."""
        return self.stream.close()


class IUploads(Interface):
    """What a data space can tell of the uploads in it."""

    def list_uploads() -> Deferred[list[Upload]]:
        """Those neither completed nor aborted, in the order of their IDs. Damaged ones have 0 parts."""

    def get_upload(upload_id: str) -> Deferred[Upload]:
        """One of them. Fails with C{NoSuchUpload}, C{DamagedObject}."""

    def expire_uploads(age: float, keep: Callable[[str], bool] | None = None) -> Deferred[list[str]]:
        """
        Abort those not touched for C{age} seconds. Fires with their IDs.

        @param keep: told an upload ID: whether somebody else sees to the end of that upload; called in a disk thread
            where there is one.
        """


class IInventory(Interface):
    """What a data space can tell of the objects in it."""

    def list_indexes() -> Deferred[list[str]]:
        """The two digits that IDs begin with, in order: of all that there are, and perhaps of some that were there."""

    def list_ids(index: str) -> Deferred[list[str]]:
        """
        The IDs that begin with two hexadecimal digits, in order.  To get all, ask for each of
        L{list_indexes}: what is stored meanwhile may be missing, what is there throughout is not.
        """

    def examine(id: str, expected: Part | None = None) -> Deferred[dict[str, list[str]]]:
        """
        Look whether an object is all there, without reading its bytes: its description, and for each part whether its
        files are there and have the sizes and the tag that they must have.

        @param expected: as in L{IDataSpace.get}.
        @return: fires with its metadata. Fails with C{NoSuchObject}, C{DamagedObject}.
        """

    def examine_upload(upload_id: str) -> Deferred[None]:
        """The same for an upload and its parts. Fails with C{NoSuchUpload}, C{DamagedObject}."""

    def set_aside(id: str, why: str) -> Deferred[str]:
        """
        Take an object out of the space without removing anything: it is moved to where nothing is ever removed, after a
        note of where it was, and why.

        @return: fires with the path where it is now. Fails with C{NoSuchObject}.
        """


class IDataSpace(IUploads, IInventory):
    """
    From IDs to bytes and metadata, written once.

    An ID and an upload ID are 2 to 128 lower-case hexadecimal digits.  All methods return Deferreds that fail with
    L{StorehouseError<storehouse.errors.StorehouseError>}s only, except for defects: C{InvalidName} for an ID that is
    none, C{NoSpace}, C{Unavailable}. Whatever fails has changed nothing, and when a Deferred fires what it tells of is
    durable. A Deferred that is cancelled ends the work as a failure does. A stream that is given is closed in any case.

    Ranges are C{(offset, length)} in bytes, C{length} C{None} for "to the end".  A range must lie within the object
    (C{InvalidRange}); an empty one at its end does.
    """

    failed: StorehouseError | None = Attribute("the error after which nothing is accepted until a restart")

    def start() -> None:
        """Open it, in the caller's time. Until then, and after L{stop}, all methods fail with C{Unavailable}."""

    def stop() -> Deferred[None]:
        """Finish what runs. What is open for reading stays open."""

    def init_upload(upload_id: str, metadata: Metadata) -> Deferred[None]:
        """
        Begin an upload in parts.

        @param metadata: of the object that it becomes, unless L{complete_upload} says otherwise.
        @return: fails with C{AlreadyExists}.
        """

    def upload_part(
        upload_id: str,
        number: int,
        stream: IByteStream,
        size: int | None,
        note: Callable[[], str] | None = None,
        instead_of: Sequence[int] = (),
    ) -> Deferred[str]:
        """
        Store a part; replaces the one with that number, in one step.

        @param number: 1 to 2^31-1.
        @param size: the bytes that C{stream} has; C{None} if it is not known.
        @param note: called once C{stream} has given all its bytes: a text of at most 1024 bytes of UTF-8 to be kept
            with the part, such as a hash of them.
        @param instead_of: the numbers of other parts, which are dropped in the same step; those that are not there are
            none. Only for a number that is not there yet (C{InvalidPart}).
        @return: fires with the part's etag. Fails with C{NoSuchUpload}, also if the upload ended meanwhile, C{InvalidPart} for a number that is none,
            C{SizeMismatch}, and whatever C{stream} failed with.
        """

    def upload_part_copy(
        upload_id: str,
        number: int,
        source_id: str,
        offset: int = 0,
        length: int | None = None,
        note: str = "",
        expected: Part | None = None,
    ) -> Deferred[str]:
        """
        Store a range of an object as a part; replaces the one with that number. No bytes are moved where the file
        system can share or copy them itself.

        @param note: to be kept with it.
        @param expected: of the source, as in L{get}.
        @return: as L{upload_part}; fails also with C{NoSuchObject}, C{InvalidRange}, C{DamagedObject}.
        """

    def upload_part_link(
        upload_id: str,
        number: int,
        source_upload_id: str,
        source_numbers: Sequence[int],
        note: Callable[[Part, int], str] | None = None,
    ) -> Deferred[list[str]]:
        """
        Have parts of another upload be parts of this one, too, in one step, with their etags and notes. No bytes are
        moved.

        @param number: of the first; the next has the next.
        @param source_numbers: which, in which order; at least one.
        @param note: called with each of those parts and the number that it gets: the note that it has here.
        @return: fires with the etags. Fails with C{NoSuchUpload}, C{InvalidPart} for a number that is none, is not
            there in the other upload, or is there in this one; C{DamagedObject}.
        """

    def get_part(upload_id: str, number: int) -> Deferred[Reader]:
        """
        Open a part of an upload for reading, whole. It stays readable when the part is dropped or the upload ends.

        @return: a reader whose ID is the upload's. Fails with C{NoSuchUpload}, C{InvalidPart} for one that is not
            there, C{DamagedObject}.
        """

    def complete_upload(
        id: str, upload_id: str, parts: Sequence[Part], metadata: Metadata | None = None, keep: bool = False
    ) -> Deferred[Part]:
        """
        Make an object of some parts of an upload, and end the upload; the other parts are dropped. No bytes are moved.

        @param parts: by numbers and etags, in ascending order; sizes are not looked at.
        @param metadata: of the object; C{None} for that of the upload.
        @param keep: whether the upload stays open, with all its parts: L{abort_upload} ends it.
        @return: fires with number 0, and the etag and size of the object.  Fails with C{NoSuchUpload},
            C{AlreadyExists} for the ID, C{InvalidPartOrder}, or C{InvalidPart} when there is none, or one is not there
            or has another etag.  The upload then stays open.
        """

    def abort_upload(upload_id: str) -> Deferred[None]:
        """End an upload, and drop its parts. Fails with C{NoSuchUpload}."""

    def list_parts(upload_id: str) -> Deferred[list[Part]]:
        """The parts of an upload, in ascending order. Fails with C{NoSuchUpload}."""

    def put(
        id: str, stream: IByteStream, size: int | None, metadata: Metadata | Callable[[], Metadata]
    ) -> Deferred[Part]:
        """
        Store an object.

        @param size: the bytes that C{stream} has; C{None} if it is not known.
        @param metadata: of the object; or what gives it, called once C{stream} has given all its bytes.
        @return: fires with number 1, and the etag and size of the object. Fails with C{AlreadyExists}, with the first
            one intact; C{SizeMismatch}; and whatever C{stream} failed with.
        """

    def extend(
        id: str,
        source_id: str | None,
        stream: IByteStream,
        size: int | None,
        metadata: Metadata | Callable[[], Metadata],
        note: Callable[[], str] | None = None,
        source_note: str = "",
        expected: Part | None = None,
    ) -> Deferred[Part]:
        """
        Store an object that has the parts of another one, and one more. No bytes of the first are moved; it stays.

        @param source_id: C{None} for an object of the new part alone.
        @param size: the bytes that C{stream} has; C{None} if it is not known.
        @param metadata: as in L{put}; what gives it is called behind C{note}.
        @param note: of the new part, as in L{upload_part}. Its number is one more than that of the last one; if that has
            L{LAST_NUMBER} or a greater one, all are numbered anew.
        @param source_note: kept with the only part of an object that has no note.
        @param expected: of the source, as in L{get}.
        @return: fires with number 0, and the etag and size of the new object. Fails with C{AlreadyExists} for the ID;
            C{NoSuchObject} if there is no source, also at the end; C{DamagedObject}, C{SizeMismatch}, and whatever
            C{stream} failed with.
        """

    def get(
        id: str,
        offset: int = 0,
        length: int | None = None,
        verified: bool = True,
        expected: Part | None = None,
    ) -> Deferred[Reader]:
        """
        Open a range of an object for reading.

        @param expected: the size that the object must have, and the tag, unless that is empty: C{DamagedObject} if it
            is another one than was meant.
        @param verified: C{False} if the caller verifies the bytes by other means: the
            reader may then give them as they are.
        @return: fails with C{NoSuchObject}, C{InvalidRange}, C{DamagedObject}.
        """

    def get_metadata(id: str) -> Deferred[dict[str, list[str]]]:
        """The metadata of an object. Fails with C{NoSuchObject}, C{DamagedObject}."""

    def list_object_parts(id: str, expected: Part | None = None) -> Deferred[list[Part]]:
        """
        The parts of an object, in the order of its bytes, with the numbers and notes that they had in its upload. One that
        was put whole has one; a copy of a whole object has those of the first.

        @param expected: as in L{get}.
        @return: fails with C{NoSuchObject}, C{DamagedObject}.
        """

    def delete(id: str) -> Deferred[None]:
        """
        Remove an object: at once for those who open it from now on; its bytes go when the last reader is done.

        @return: fails with C{NoSuchObject}.
        """

    def copy(
        id: str,
        source_id: str,
        offset: int = 0,
        length: int | None = None,
        metadata: Metadata | None = None,
        expected: Part | None = None,
    ) -> Deferred[Part]:
        """
        Store a range of an object as another one. No bytes are moved where the file system can share or copy them
        itself.

        @param metadata: of the new object; C{None} for that of the first.
        @param expected: of the source, as in L{get}.
        @return: fires with number 0, and the etag and size of the new object. Fails with C{AlreadyExists},
            C{NoSuchObject}, C{InvalidRange}, C{DamagedObject}.
        """


class IDescribed(IDataSpace):
    """
    A data space whose metadata can be replaced. Each replacement is one step, which is durable when its Deferred fires.
    """

    def passed() -> Deferred[None]:
        """Fires when all operations that run now are over."""

    def replace_metadata(id: str, metadata: Metadata) -> Deferred[None]:
        """
        Replace the metadata of an object; its bytes stay. A reader of that moment may have the old or the new.

        @return: fails with C{NoSuchObject}, C{DamagedObject}.
        """

    def replace_upload_metadata(upload_id: str, metadata: Metadata) -> Deferred[None]:
        """The same for an upload, whose parts stay. Fails with C{NoSuchUpload}, C{DamagedObject}."""
