"""
What an object store is: a namespace joined to a data space.

Source: the fourth seed; the conditions, tags and listings are those that the S3 API needs.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

import attrs
from twisted.internet.defer import Deferred
from zope.interface import Interface, implementer

from storehouse.core.streams import IByteStream, Piece
from storehouse.storage.dataspace.interfaces import Part, Reader
from storehouse.storage.namespace.interfaces import Bucket, Usage
from storehouse.storage.objects.values import (
    ALWAYS,
    Condition,
    Indexed,
    Listing,
    Metadata,
    ObjectInfo,
    OpenUpload,
    Problem,
    System,
    VersionListing,
)

__all__ = [
    "ALWAYS",
    "Condition",
    "IMaintained",
    "IObjectStore",
    "Indexed",
    "Listing",
    "Metadata",
    "ObjectInfo",
    "ObjectReader",
    "OpenUpload",
    "Problem",
    "System",
    "Usage",
    "VersionListing",
]


@implementer(IByteStream)
@attrs.frozen(eq=False)
class ObjectReader:
    """
    A range of an object, open, as a stream of its bytes: it stays readable, whatever becomes of its key, until it is
    closed. A read fails with C{DamagedObject} before the first byte of a block that is damaged.

    @ivar info: of the object whose bytes these are.
    @ivar offset: where the range begins.
    @ivar length: bytes of the range.
    @ivar stream: its bytes.
    """

    info: ObjectInfo
    offset: int
    length: int
    stream: IByteStream

    def read(self) -> Awaitable[Piece]:
        """See L{IByteStream.read}."""
        return self.stream.read()

    def close(self) -> Deferred[None]:
        """See L{IByteStream.close}."""
        return self.stream.close()


class IObjectStore(Interface):
    """
    Buckets of objects.

    All methods return Deferreds that fail with L{StorehouseError<storehouse.errors.StorehouseError>}s only, except for
    defects: C{InvalidName} for a bucket or key that cannot be one, C{NoSuchBucket}, C{NoSpace}, C{Unavailable},
    C{DamagedEntry}.  Whatever fails has changed nothing, and when a Deferred fires what it tells of is durable and its
    event (L{storehouse.events}) was published.  Changes of one key happen one after the other, and their events come in
    that order.

    A condition (L{Condition}) is looked at, and the change made, in one step: C{PreconditionFailed} if it does not
    hold; it is about the current version of a key, and a delete marker is no object. C{NoKeyToMatch}, which is that and C{NoSuchKey}, if it is about an etag and there is no object.  Ranges are C{(offset, length)} in bytes, C{length} C{None} for "to the end".
    """

    def create_bucket(
        name: str,
        metadata: Metadata | None = None,
        owner: str = "",
        configs: Mapping[str, bytes] | None = None,
    ) -> Deferred[Bucket]:
        """
        Make a bucket: 3 to 63 of a-z, 0-9, dots and hyphens, as S3 has it. Fails with C{AlreadyExists}.

        @param owner: the name of the user whom it belongs to, for good; empty for nobody.
        @param configs: what it has of L{bucket_config} from the beginning, in the same step, by the kinds.
        """

    def set_bucket_metadata(name: str, metadata: Metadata) -> Deferred[Bucket]:
        """Give a bucket other metadata, in one step, in place of all that it has."""

    def delete_bucket(name: str) -> Deferred[None]:
        """Remove a bucket; its open uploads are aborted. Fails with C{BucketNotEmpty}."""

    def get_bucket(name: str) -> Deferred[Bucket]:
        """What is known of a bucket."""

    def list_buckets() -> Deferred[list[Bucket]]:
        """All, in the order of their names."""

    def bucket_config(bucket: str, kind: str) -> Deferred[bytes | None]:
        """
        What doors have configured of a bucket, of one kind, such as C{cors} or C{policy}; C{None} if that is nothing.

        @param kind: 1 to 32 of a-z 0-9 -, the first a letter.
        @return: fails with C{InvalidName} for an invalid kind.
        """

    def set_bucket_config(bucket: str, kind: str, data: bytes | None) -> Deferred[None]:
        """
        Replace or, with C{None}, remove that, in one step; it goes with its bucket.

        @param data: at most 1 MiB, or it fails with C{TooLarge}.
        """

    def set_versioning(bucket: str, state: str) -> Deferred[Bucket]:
        """
        Set the versioning of a bucket, C{enabled} or C{suspended}, in one step.

        While it is enabled, whatever is stored under a key leaves the versions that the key has, and what is deleted is hidden
        by a delete marker. While it is suspended, what is stored or deleted replaces the null version alone: the one that was
        stored while it was not enabled. Where a C{version} can be named it is the ID of one, or C{null}; otherwise the current
        one is meant. Fails with C{InvalidBucketState} for C{off}, unless it never was anything else.
        """

    def put(
        bucket: str,
        key: str,
        stream: IByteStream,
        size: int | None,
        content_type: str = "",
        metadata: Metadata | None = None,
        condition: Condition = ALWAYS,
        md5: bool | Callable[[], str] = False,
        system: System | Callable[[], System] | None = None,
    ) -> Deferred[ObjectInfo]:
        """
        Store an object; replaces the one with that key, in one step, or becomes its current version.

        @param size: the bytes that C{stream} has; C{None} if it is not known.
        @param metadata: read when C{stream} has given all: what is known of the bytes only then can still be added.
        @param md5: whether the etag is to be the MD5 of the bytes in hex, which costs time; it is then computed as they
            come. Or what gives it, once C{stream} has given all its bytes, if that is computed elsewhere.
        @param system: what doors keep with it, at most 64 KiB; or what gives that, called once C{stream} has given all its
            bytes. If it raises, nothing is stored, and C{put} fails with that.
        @return: fails also with C{SizeMismatch}, and whatever C{stream} failed with.
        """

    def append(
        bucket: str,
        key: str,
        offset: int,
        stream: IByteStream,
        size: int | None,
        content_type: str = "",
        metadata: Metadata | None = None,
        condition: Condition = ALWAYS,
        note: Callable[[], str] | None = None,
        system: Callable[[ObjectInfo | None], System] | None = None,
    ) -> Deferred[ObjectInfo]:
        """
        Add bytes to the end of an object, in one step; or store a new one, with the offset 0. No bytes that are there are
        moved. The object is then one of parts, with one more each time, and gets another ID, etag and time. Of those who
        add at the same end one succeeds. Where versioning is enabled the longer object is a new version, which shares the bytes
        of the one before.

        @param offset: where the bytes begin: the size of the object.
        @param content_type: of a new object; so C{metadata}. Others keep theirs.
        @param note: of the new part, as in L{upload_part}.
        @param system: called once C{stream} has given all its bytes, and nobody else changes the object, with what that is
            then (C{None}: there is none): what doors keep with the longer one. C{None} for what was kept. If it raises,
            nothing is changed, and C{append} fails with that.
        @return: fails with C{OffsetMismatch} if the object has another size; C{TooLarge} if it has 10,000 parts; and as
            L{put}.
        """

    def get(
        bucket: str, key: str, offset: int = 0, length: int | None = None, version: str | None = None
    ) -> Deferred[ObjectReader]:
        """
        Open a range of an object. Fails with C{NoSuchKey}, C{NoSuchVersion}, C{DeleteMarkerFound}, C{InvalidRange},
        C{DamagedObject}.
        """

    def head(bucket: str, key: str, version: str | None = None) -> Deferred[ObjectInfo]:
        """What is known of an object. Fails with C{NoSuchKey}, C{NoSuchVersion}, C{DeleteMarkerFound}."""

    def delete(
        bucket: str,
        key: str,
        condition: Condition = ALWAYS,
        version: str | None = None,
        mark_missing: bool = False,
        system: System | None = None,
    ) -> Deferred[ObjectInfo]:
        """
        Remove an object; its bytes go when the last reader is done. In a bucket that has versions a delete marker is added
        instead, which replaces the null version unless versioning is enabled. With a version, that, or that marker, is removed
        for good; the newest other one becomes the current one.

        @param mark_missing: whether a marker is added also where there is no object, as S3 does. It does not matter in a bucket
            without versions.
        @param system: kept with the marker.
        @return: fires with the marker that was added, or with what was removed. Fails with C{NoSuchKey}, C{NoSuchVersion}.
        """

    def copy(
        bucket: str,
        key: str,
        source_bucket: str,
        source_key: str,
        content_type: str | None = None,
        metadata: Metadata | None = None,
        condition: Condition = ALWAYS,
        source_condition: Condition = ALWAYS,
        system: System | None = None,
        source_version: str | None = None,
    ) -> Deferred[ObjectInfo]:
        """
        Store an object under another key, or with other metadata. No bytes are moved.

        @param content_type: C{None} for that of the source; so C{metadata} and C{system}.
        @param source_condition: for the version that is copied.
        @return: fails with C{NoSuchKey} if there is no source.
        """

    def rename(
        bucket: str,
        key: str,
        new_key: str,
        condition: Condition = ALWAYS,
        source_condition: Condition = ALWAYS,
        changes: Mapping[str, str | None] | None = None,
    ) -> Deferred[ObjectInfo]:
        """
        Give an object another key of its bucket, in one step: it is there under one of both names, never under none, and a
        crash leaves it under one. All that is known of it stays, its time too, but its ID, which is a new one. No bytes are
        moved. What the new key had is replaced. Fails with C{InvalidBucketState} in a bucket that has versions.

        @param condition: for the new key.
        @param source_condition: for the object. Both must hold; it stays as it is if both keys are the same.
        @param changes: of what doors keep with it, as in L{set_system}; in the same step.
        @return: fires with the object under its new key. Fails with C{NoSuchKey}, C{DamagedObject}.
        """

    def set_system(
        bucket: str,
        key: str,
        changes: Mapping[str, str | None],
        condition: Condition = ALWAYS,
        version: str | None = None,
    ) -> Deferred[ObjectInfo]:
        """
        Change what doors keep with an object, in one step. Its ID, its time and its bytes stay.

        @param changes: the new values by name; C{None} to remove one. Other names keep theirs.
        @param condition: for that version.
        @return: fires with the object as it is now. Fails with C{NoSuchKey}.
        """

    def list_objects(
        bucket: str, prefix: str = "", delimiter: str = "", after: str = "", limit: int = 1000
    ) -> Deferred[Listing]:
        """Keys that begin with C{prefix}, as L{INamespace.list_keys<INamespace>} lists them."""

    def list_keys(bucket: str, prefix: str = "", after: str = "", limit: int = 1000) -> Deferred[list[str]]:
        """
        Keys alone, for those who have many: as L{INamespace.list_names<INamespace>} lists them. Fewer than C{limit} are
        the last.
        """

    def list_versions(
        bucket: str,
        prefix: str = "",
        delimiter: str = "",
        key_marker: str = "",
        version_marker: str = "",
        limit: int = 1000,
    ) -> Deferred[VersionListing]:
        """All versions and delete markers, as L{INamespace.list_versions<INamespace>} lists them."""

    def begin_upload(
        bucket: str,
        key: str,
        content_type: str = "",
        metadata: Metadata | None = None,
        system: System | None = None,
    ) -> Deferred[str]:
        """
        Begin an upload in parts. Fires with its upload ID.

        @param system: kept with the upload, and with the object that it becomes.
        """

    def upload_part(
        bucket: str,
        key: str,
        upload_id: str,
        number: int,
        stream: IByteStream,
        size: int | None,
        md5: bool | Callable[[], str] = False,
        note: Callable[[], str] | None = None,
        instead_of: Sequence[int] = (),
    ) -> Deferred[str]:
        """
        Store a part, 1 to 2^31-1; replaces the one with that number. Fires with its etag; fails with C{NoSuchUpload},
        C{InvalidPart}, C{SizeMismatch}.

        @param note: called once C{stream} has given all its bytes: a text of at most 900 bytes of UTF-8 to be kept with
            the part.
        @param instead_of: the numbers of other parts, which are dropped in the same step. Only for a number that is not
            there yet (C{InvalidPart}).
        """

    def upload_part_link(
        bucket: str, key: str, upload_id: str, number: int, source_upload_id: str, source_numbers: Sequence[int]
    ) -> Deferred[list[str]]:
        """
        Have parts of another upload, of any key of the bucket, be parts of this one, too, in one step. No bytes are
        moved.

        @param number: of the first; the next has the next.
        @return: fires with the etags. Fails with C{NoSuchUpload}, C{InvalidPart} for a number that is none, is not
            there in the other upload, or is there in this one.
        """

    def get_part(bucket: str, key: str, upload_id: str, number: int) -> Deferred[Reader]:
        """Open a part of an upload for reading, whole. Fails with C{NoSuchUpload}, C{InvalidPart}."""

    def upload_part_copy(
        bucket: str,
        key: str,
        upload_id: str,
        number: int,
        source_bucket: str,
        source_key: str,
        offset: int = 0,
        length: int | None = None,
        source_condition: Condition = ALWAYS,
        note: str = "",
        source_version: str | None = None,
    ) -> Deferred[str]:
        """
        Store a range of an object as a part. Fires with its etag.

        @param note: as in L{upload_part}.
        """

    def complete_upload(
        bucket: str,
        key: str,
        upload_id: str,
        parts: Sequence[Part],
        condition: Condition = ALWAYS,
        as_key: str | None = None,
        metadata: Metadata | None = None,
        system: System | None = None,
    ) -> Deferred[ObjectInfo]:
        """
        Make the parts the object of the key, in one step. No bytes are moved. If the condition does not hold, the upload
        goes on.

        The same again after it was done changes nothing and gives the same, as long as the key has that object, also after
        a restart; and by the same process for a day, whatever the key has then, unless very many were completed since. The
        condition does not count then.

        @param parts: by numbers and etags, in ascending order.
        @param as_key: the key that the object, and the condition, are for, if it is to be another one.
        @param metadata: of the object; C{None} for what the upload was begun with; so C{system}.
        @return: the etag is that of S3: the MD5 of the parts' etags, and their number. Fails with C{NoSuchUpload},
            C{InvalidPart}, C{InvalidPartOrder}.
        """

    def abort_upload(bucket: str, key: str, upload_id: str) -> Deferred[None]:
        """End an upload, and drop its parts. Fails with C{NoSuchUpload}."""

    def list_parts(
        bucket: str, key: str, upload_id: str, after: int = 0, limit: int | None = None
    ) -> Deferred[list[Part]]:
        """
        The parts of an upload, in ascending order, with the etags that L{upload_part} gave, and the notes that it was
        given.

        @param after: only parts with greater numbers.
        @param limit: the first so many of them; C{None} for all.
        @return: fails with C{NoSuchUpload}.
        """

    def list_object_parts(bucket: str, key: str, version: str | None = None) -> Deferred[list[Part]]:
        """
        The parts that an object was made of, in the order of its bytes, with the numbers, etags and notes that they had;
        none of one that was not made of parts. Fails with C{NoSuchKey}, C{DamagedObject}.
        """

    def get_upload(bucket: str, key: str, upload_id: str) -> Deferred[OpenUpload]:
        """An open upload. Fails with C{NoSuchUpload}."""

    def list_uploads(
        bucket: str, prefix: str = "", key_after: str = "", upload_after: str = "", limit: int | None = None
    ) -> Deferred[list[OpenUpload]]:
        """
        The open uploads of a bucket, in the order of their keys' UTF-8 bytes, and those of one key in the order in which
        they were begun.

        @param prefix: only those whose keys begin so.
        @param key_after: only those with greater keys.
        @param upload_after: and those of the key C{key_after} that follow the upload with this ID, whether that is still
            open or not.
        @param limit: the first so many of them; C{None} for all.
        """

    def usage(bucket: str) -> Deferred[Usage]:
        """How many objects and versions a bucket has, and their bytes."""


class IMaintained(Interface):
    """What an object store can do about damage."""

    def check(progress: Callable[[int], object] | None = None, repair: bool = False) -> Deferred[list[Problem]]:
        """
        Compare keys, index and bytes with each other. Bytes are not read (scrub does that); their files are looked at.

        @param progress: called with the number of things looked at, every now and then.
        @param repair: also make the index anew if it is wrong, give a key that has lost its C{default.json} its only
            version as the default, and take out bytes that nothing in the namespace names, unless anything in it is
            not in order. They are moved, with a note of where they were, and not removed. Keys are never guessed, nor
            removed.
        """

    def compare(on_problem: Callable[[Problem], object], pace: Callable[[int], Awaitable[bool]]) -> Deferred[None]:
        """
        Compare what each key says of its object (ID, size, tag) with what the data space has: the part of a scrub that
        needs both. Problems are C{missing} or C{damaged}; objects that are damaged by themselves are not among them.

        @param pace: awaited now and then with the cost of what was done, in bytes; the comparison ends early when it
            says no.
        """

    def reindex(progress: Callable[[int], object] | None = None) -> Deferred[Indexed]:
        """Make the index of keys anew from the keys themselves."""
