"""
What a namespace is.

Source: the fourth seed ("S3 Namespace format"); docs/formats/namespace.md is the format on disk.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import attrs
from zope.interface import Attribute, Interface

if TYPE_CHECKING:  # commands that import a value from here need no reactor
    from twisted.internet.defer import Deferred

__all__ = ["Bucket", "Condition", "Entry", "IChecked", "INamespace", "Metadata", "Needed", "Page", "Problem"]

#: Name to values. Names and values are any text.
Metadata = Mapping[str, Sequence[str]]


@attrs.frozen
class Entry:
    """
    One version of a key.

    @ivar id: where the bytes are.
    @ivar size: in bytes.
    @ivar etag: a tag for the content; empty when unknown.
    @ivar created: nanoseconds since 1970 UTC.
    @ivar content_type: a media type; may be empty.
    @ivar metadata: name to values.
    @ivar tag: the tag that the data space gave the bytes; empty when unknown.
    """

    id: str
    size: int
    etag: str
    created: int
    content_type: str = ""
    metadata: Metadata = attrs.Factory(dict)
    tag: str = ""


@attrs.frozen
class Bucket:
    """
    A bucket.

    @ivar created: nanoseconds since 1970 UTC.
    """

    name: str
    created: int
    metadata: Metadata = attrs.Factory(dict)


@attrs.frozen
class Page:
    """
    A stretch of a bucket's keys, in the order of their UTF-8 bytes.

    @ivar entries: C{(key, entry)} of those listed themselves.
    @ivar prefixes: the common prefixes that stand for the others.
    @ivar next_after: what the next page is C{after}; C{None} when this is the last one.
    @ivar damaged: keys of the stretch that are there, and of which what is known cannot be read.
    """

    entries: Sequence[tuple[str, Entry]]
    prefixes: Sequence[str]
    next_after: str | None
    damaged: Sequence[str] = ()


@attrs.frozen
class Problem:
    """
    Something a check found.

    @ivar kind: C{damaged} (a file that fails its checksum, or is not of its place), C{dangling} (a default that is
        missing or leads nowhere), C{lost} (an older version whose file is missing), C{unknown} (a name that is none of ours), C{missing}, C{extra}, C{different} (rows of
        the index, as against the tree), C{index} (the index as a whole), C{restored} (by L{IChecked.restore}).
    @ivar bucket: its bucket, or empty.
    @ivar key: its key, if it is known.
    @ivar id: the ID of the version, if it is one.
    @ivar text: what is wrong, with the path, and what a repair does.
    @ivar repairable: whether rebuilding the index makes it good; of a C{dangling} default, whether
        L{IChecked.check} does, when it is asked to repair.
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
    What a namespace says when it is asked whether it needs bytes.

    @ivar ids: the IDs, of those asked for, that something in it names, be it damaged.
    @ivar doubt: what there is in it that is not understood, and may need any ID; empty if there is nothing such.
    """

    ids: frozenset[str]
    doubt: str


#: Called with the entry that is there, or C{None}; raises to refuse.
Condition = Callable[["Entry | None"], None]


class INamespace(Interface):
    """
    Buckets of keys, each with one default version and perhaps older ones.

    All methods return Deferreds, but for L{settle}.  They fail with
    L{StorehouseError<storehouse.errors.StorehouseError>}s only, except for defects: C{InvalidName} for a bucket, key
    or ID that cannot be one, C{NoSuchBucket}, C{DamagedEntry}, C{NoSpace}, C{Unavailable}.  What fails with
    C{NoSpace}, or because of what was asked, has changed nothing.  When a Deferred fires what it tells of is durable, as
    far as the store is.

    Operations on one key are serial, on different keys parallel.

    A key is 1 to 1024 bytes of UTF-8 of any Unicode scalar values.  An ID is 2 to 128 lower-case hexadecimal digits
    and belongs to one key.
    """

    unsettled = Attribute(
        "C{list[str]}: IDs that a crash may have left without a key; L{settle} them when their bytes are gone."
    )

    unpublished = Attribute("C{list[str]}: those of L{unsettled} that were intended, and never any key's.")

    shared = Attribute(
        "C{bool}: whether two keys may name the same ID, as where a key or a bucket was copied on disk: then L{needed} is "
        "to be asked before the bytes of any key are removed."
    )

    def create_bucket(name: str, metadata: Metadata | None = None) -> Deferred[Bucket]:
        """Make a bucket. Fails with C{AlreadyExists}."""

    def set_bucket_metadata(name: str, metadata: Metadata) -> Deferred[Bucket]:
        """Give a bucket other metadata, in one step, in place of all that it has."""

    def delete_bucket(name: str) -> Deferred[None]:
        """Remove a bucket. Fails with C{BucketNotEmpty}."""

    def get_bucket(name: str) -> Deferred[Bucket]:
        """What is known of a bucket."""

    def list_buckets() -> Deferred[list[Bucket]]:
        """All, in the order of their names."""

    def usage(bucket: str) -> Deferred[tuple[int, int]]:
        """How many keys a bucket has, and the bytes of their default versions."""

    def intend(bucket: str, key: str, ids: Iterable[str]) -> Deferred[None]:
        """
        Write down that these IDs may be left without a key, should there be a crash.  To be called before, or while,
        bytes are stored under a new ID; L{publish} does it otherwise, and takes the longer.

        @return: fires once that is durable.
        """

    def settle(ids: Iterable[str]) -> None:
        """
        These IDs need not be remembered any more, since their bytes are gone: those of L{unsettled}, those that
        L{publish} and L{unpublish} gave back, and those intended that were never published.
        """

    def publish(
        bucket: str, key: str, entry: Entry, condition: Condition | None = None, keep: bool = False
    ) -> Deferred[list[Entry]]:
        """
        Make a version the default of a key, in one step.

        @param condition: called once the key is ours with the default that it has, or C{None}; what it raises is what
            L{publish} fails with, and nothing was changed. A default that is there and cannot be read has size -1 and
            no etag.
        @param keep: keep the version that was the default as an older one.
        @return: fires with the entries that are no versions any more: the bytes of these IDs are to be deleted. What
            was damaged is not among them, since nobody knows whose those bytes are.
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

    def list_keys(
        bucket: str, prefix: str = "", delimiter: str = "", after: str = "", limit: int = 1000
    ) -> Deferred[Page]:
        """
        Keys that begin with C{prefix}, in the order of their UTF-8 bytes.

        Keys that have C{delimiter} behind the prefix are listed once, by what they have up to its end: a common prefix.

        @param after: only keys greater than this one are looked at; those may be listed by a common prefix that is not.
            If it is a common prefix of this very listing it stands for all of its keys, and they are passed over.  So
            a page may go on after either.

        @param limit: the most keys and common prefixes of the page; 0 gives an empty one, which is the last.
        """

    def list_names(bucket: str, prefix: str = "", after: str = "", limit: int = 1000) -> Deferred[list[str]]:
        """
        Keys alone, which takes a tenth of the time of L{list_keys}: the first C{limit} that begin with C{prefix} and are
        greater than C{after}, in the order of their UTF-8 bytes. Fewer than C{limit} are the last.
        """

    def needed(ids: Collection[str], progress: Callable[[int], object] | None = None) -> Deferred[Needed]:
        """
        Which of these IDs are named by anything: a version of any key, whatever is wrong with it, or what any default
        leads to. All keys are looked at, which takes long.

        @param progress: called with the number of keys so far; what it raises ends the search.
        """

    def stop() -> Deferred[None]:
        """Finish what was begun, sync everything, close. Afterwards all methods fail with C{Unavailable}."""


class IChecked(Interface):
    """What a namespace with a derived index can do about damage. Nothing is ever guessed about keys."""

    damaged = Attribute(
        "C{int}: how many keys and buckets are there of which what is known cannot be read, as the index has it."
    )

    unknown = Attribute("C{int}: how many names were neither keys nor buckets when the index was made.")

    def check(progress: Callable[[int], object] | None = None, repair: bool = False) -> Deferred[list[Problem]]:
        """
        Read everything and compare.

        @param progress: called with the number of keys so far, every now and then.
        @param repair: give keys that have lost their C{default.json}, and have but one version, that one as default.
        """

    def restore(has_bytes: Callable[[str], Deferred[bool]]) -> Deferred[list[Problem]]:
        """
        Write keys anew, of which nothing is there any more but what the index knows: before L{reindex}, which forgets
        them. Those whose IDs another key names were renamed on disk, and are let go of.

        @param has_bytes: whether an ID has its bytes; keys without them are not written.
        @return: fires with a C{restored} for each.
        """

    def reindex(progress: Callable[[int], object] | None = None) -> Deferred[int]:
        """Make the index anew from the keys. Other operations wait. Fires with the number of keys."""
