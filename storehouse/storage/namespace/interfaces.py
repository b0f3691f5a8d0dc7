"""
The interface of namespaces.

Source: the fourth seed ("S3 Namespace format"); docs/formats/namespace.md is the format on disk.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import attrs
from zope.interface import Attribute, Interface

from storehouse.errors import StorehouseError

if TYPE_CHECKING:  # commands that import a value from here need no reactor
    from twisted.internet.defer import Deferred

__all__ = ["Bucket", "Condition", "Entry", "INamespace", "Metadata", "Needed", "Page", "Problem", "System"]

#: Name to values. Names and values are any text.
Metadata = Mapping[str, Sequence[str]]

#: Name to value, of the doors' own and never of the user's: how an object is to be served, who owns it, its checksums.
System = Mapping[str, str]


@attrs.frozen
class Entry:
    """
    One version of a key.

    @ivar id: the ID of its bytes in the data space.
    @ivar size: in bytes.
    @ivar etag: a tag for the content; empty when unknown.
    @ivar created: nanoseconds since 1970 UTC.
    @ivar content_type: a media type; may be empty.
    @ivar metadata: name to values.
    @ivar tag: the tag that the data space gave the bytes; empty when unknown.
    @ivar system: what the doors keep with it, apart from the metadata.
    """

    id: str
    size: int
    etag: str
    created: int
    content_type: str = ""
    metadata: Metadata = attrs.Factory(dict)
    tag: str = ""
    system: System = attrs.Factory(dict)


@attrs.frozen
class Bucket:
    """
    A bucket.

    @ivar created: nanoseconds since 1970 UTC.
    @ivar owner: the name of the user who made it; empty if it belongs to no user.
    """

    name: str
    created: int
    metadata: Metadata = attrs.Factory(dict)
    owner: str = ""


@attrs.frozen
class Page:
    """
    Some keys of a bucket, in the order of their UTF-8 bytes.

    @ivar entries: C{(key, entry)} of keys that are listed themselves.
    @ivar prefixes: the common prefixes that stand for the others.
    @ivar next_after: the C{after} of the next page; C{None} if this is the last one.
    @ivar damaged: keys of the page whose entries cannot be read.
    """

    entries: Sequence[tuple[str, Entry]]
    prefixes: Sequence[str]
    next_after: str | None
    damaged: Sequence[str] = ()


@attrs.frozen
class Problem:
    """
    Something a check found.

    @ivar kind: C{damaged} (a file whose checksum is wrong, or that is another's), C{dangling} (a default that is missing or
        names no version), C{lost} (an older version whose file is missing), C{unknown} (a file that is not part of the
        namespace), C{missing}, C{extra}, C{different} (rows of the index, compared with the tree), C{index} (the index as a
        whole), C{restored} (by L{INamespace.restore}).
    @ivar bucket: its bucket, or empty.
    @ivar key: its key; C{None} if it cannot be found.
    @ivar id: the ID of the version, if it is about one.
    @ivar text: what is wrong, with the path, and what a repair does.
    @ivar repairable: whether a rebuild of the index repairs it; for a C{dangling} default, whether L{INamespace.check} does,
        with C{repair}.
    """

    kind: str
    bucket: str
    key: str | None
    id: str | None
    text: str
    repairable: bool


@attrs.frozen
class Needed:
    """
    Which bytes a namespace needs.

    @ivar ids: those of the IDs in question that anything in it names, damaged or not.
    @ivar doubt: something in it that is not understood, and may need any ID; empty if there is nothing.
    """

    ids: frozenset[str]
    doubt: str


#: Called with the current default version, or C{None}; raises to refuse.
Condition = Callable[["Entry | None"], None]


class INamespace(Interface):
    """
    Buckets of keys, each with one default version and perhaps older ones.

    All methods return Deferreds, but for L{settle} and L{start}.  They fail with
    L{StorehouseError<storehouse.errors.StorehouseError>}s only, except for defects: C{InvalidName} for a bucket, key
    or ID that cannot be one, C{NoSuchBucket}, C{DamagedEntry}, C{NoSpace}, C{Unavailable}.  What fails with
    C{NoSpace}, or because of its arguments, has changed nothing.  When a Deferred fires, the change is durable, as
    far as the store is.

    Operations on one key are serial, on different keys parallel.

    A key is 1 to 1024 bytes of UTF-8 of any Unicode scalar values.  An ID is 2 to 128 lower-case hexadecimal digits
    and belongs to one key.
    """

    failed: StorehouseError | None = Attribute("what it failed with for good, so that nothing is changed any more")

    damaged: int = Attribute("how many keys and buckets cannot be read, by the index")

    unknown: int = Attribute("how many files were neither keys nor buckets when the index was built")

    unsettled: list[str] = Attribute(
        "IDs that a crash may have left without a key; call L{settle} once their bytes are gone."
    )

    unpublished: list[str] = Attribute("those of L{unsettled} that were intended, and were never the version of a key.")

    shared: bool = Attribute(
        "whether two keys may name the same ID, since a key or a bucket was copied on disk: then L{needed} must "
        "be called before the bytes of any key are removed."
    )

    def create_bucket(
        name: str,
        metadata: Metadata | None = None,
        owner: str = "",
        configs: Mapping[str, bytes] | None = None,
    ) -> Deferred[Bucket]:
        """
        Make a bucket, which keeps its owner. Fails with C{AlreadyExists}.

        @param configs: its configurations from the beginning, in the same step, by their kinds.
        """

    def set_bucket_metadata(name: str, metadata: Metadata) -> Deferred[Bucket]:
        """Replace all metadata of a bucket, in one step."""

    def delete_bucket(name: str) -> Deferred[None]:
        """Remove a bucket. Fails with C{BucketNotEmpty}."""

    def get_bucket(name: str) -> Deferred[Bucket]:
        """The metadata of a bucket, and its time."""

    def list_buckets() -> Deferred[list[Bucket]]:
        """All, in the order of their names."""

    def bucket_config(bucket: str, kind: str) -> Deferred[bytes | None]:
        """
        What doors have configured of a bucket, of one kind; C{None} if that is nothing.

        @param kind: 1 to 32 of a-z 0-9 -, the first a letter.
        @return: fails with C{InvalidName} for a kind that is none, C{DamagedEntry}.
        """

    def set_bucket_config(bucket: str, kind: str, data: bytes | None) -> Deferred[None]:
        """
        Replace or, with C{None}, remove that, in one step. It goes with its bucket. Fails with C{TooLarge} for more than
        1 MiB.
        """

    def usage(bucket: str) -> Deferred[tuple[int, int]]:
        """How many keys a bucket has, and the bytes of their default versions."""

    def intend(bucket: str, key: str, ids: Iterable[str]) -> Deferred[None]:
        """
        Record that a crash may leave these IDs without a key. To be called before, or while, bytes are stored under a new
        ID. Otherwise L{publish} does it, which takes longer then.

        @return: fires once that is durable.
        """

    def settle(ids: Iterable[str]) -> None:
        """
        Forget these IDs, since their bytes are gone: those of L{unsettled}, those that L{publish} and L{unpublish} returned,
        and those that were intended and never published.
        """

    def publish(
        bucket: str, key: str, entry: Entry, condition: Condition | None = None, keep: bool = False
    ) -> Deferred[list[Entry]]:
        """
        Make a version the default of a key, in one step.

        @param condition: called while the key is held. If it raises, L{publish} fails with that error, and nothing was changed.
            A default that cannot be read has size -1 and no etag.
        @param keep: whether the version that was the default stays as an older one.
        @return: fires with the entries that are no versions any more: the caller deletes the bytes of their IDs. Damaged ones
            are not among them, since nobody knows which bytes they named.
        """

    def look_up(bucket: str, key: str, id: str | None = None) -> Deferred[Entry]:
        """The default version of a key, or the one with that ID. Fails with C{NoSuchKey}."""

    def versions(bucket: str, key: str) -> Deferred[list[Entry]]:
        """All versions of a key: the default, then the others, newest first. Fails with C{NoSuchKey}."""

    def unpublish(
        bucket: str, key: str, id: str | None = None, condition: Condition | None = None
    ) -> Deferred[list[Entry]]:
        """
        Remove a key with all its versions, or one version; then, if that was the default, the newest other one becomes
        it.

        @param condition: as in L{publish}; also called when there is no such key.
        @return: fires with the entries that are no versions any more, as L{publish}. Fails with C{NoSuchKey}.
        """

    def rename(
        bucket: str,
        key: str,
        new_key: str,
        entry: Entry,
        condition: Condition | None = None,
        source_condition: Condition | None = None,
    ) -> Deferred[tuple[list[Entry], list[Entry]]]:
        """
        Make a version the default of a key, and remove another key of the bucket with all its versions, in one step: a
        crash leaves both keys as they were, or as they are to be.

        @param key: is removed. Another one than C{new_key} (C{InvalidName}).
        @param entry: of C{new_key}; its ID is none of C{key}.
        @param condition: for C{new_key}, as in L{publish}.
        @param source_condition: for C{key}; also called when there is no such key.
        @return: fires with the entries of C{new_key} that are no versions any more, and with those of C{key}, as
            L{publish}. Fails with C{NoSuchKey}, and with C{DamagedEntry} if what C{key} has cannot be read.
        """

    def list_keys(
        bucket: str, prefix: str = "", delimiter: str = "", after: str = "", limit: int = 1000
    ) -> Deferred[Page]:
        """
        Keys that begin with C{prefix}, in the order of their UTF-8 bytes.

        Keys that contain C{delimiter} behind the prefix are listed together, by the part up to its end: a common prefix.

        @param after: only keys greater than this one are listed; their common prefix need not be. If it is a common prefix of
            this listing, all keys that begin with it are left out. So C{next_after} can be either.
        @param limit: the most keys and common prefixes of the page; 0 gives an empty page, which is the last.
        """

    def list_names(bucket: str, prefix: str = "", after: str = "", limit: int = 1000) -> Deferred[list[str]]:
        """
        Keys without entries, in a tenth of the time of L{list_keys}: the first C{limit} that begin with C{prefix} and are
        greater than C{after}, in the order of their UTF-8 bytes. Fewer than C{limit} are the last ones.
        """

    def needed(ids: Collection[str], progress: Callable[[int], object] | None = None) -> Deferred[Needed]:
        """
        Which of these IDs anything names: a version of any key, damaged or not, or a default. All keys are looked at, which
        takes long.

        @param progress: called with the number of keys so far; if it raises, the search ends with that error.
        """

    # Checks and repairs. Nothing is ever guessed about keys.

    def check(progress: Callable[[int], object] | None = None, repair: bool = False) -> Deferred[list[Problem]]:
        """
        Read everything and compare.

        @param progress: called with the number of keys so far, every now and then.
        @param repair: whether keys that have lost their C{default.json}, and have only one version, get that as default.
        """

    def restore(has_bytes: Callable[[str], Deferred[bool]]) -> Deferred[list[Problem]]:
        """
        Write keys again whose files are gone and whose rows are in the index, before L{reindex} forgets them; not those whose
        IDs another key names: they were renamed on disk.

        @param has_bytes: whether an ID has its bytes; keys without bytes are not written.
        @return: fires with a C{restored} for each.
        """

    def reindex(progress: Callable[[int], object] | None = None) -> Deferred[int]:
        """Rebuild the index from the keys, if there is one. Other operations wait. Fires with the number of keys."""

    def start() -> None:
        """Open it; blocks. Until then, and after L{stop}, all methods fail with C{Unavailable}."""

    def stop() -> Deferred[None]:
        """Finish what runs, sync everything, close."""
