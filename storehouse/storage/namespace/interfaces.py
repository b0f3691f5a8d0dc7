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

__all__ = [
    "ENABLED",
    "NULL",
    "OFF",
    "SUSPENDED",
    "Bucket",
    "Changed",
    "Condition",
    "Entry",
    "INamespace",
    "Metadata",
    "Needed",
    "Page",
    "Problem",
    "System",
    "Usage",
    "Version",
    "VersionPage",
]

#: The versioning of a bucket: it was never enabled; each version stays; versions that were kept stay, and new ones replace
#: each other.
OFF = "off"
ENABLED = "enabled"
SUSPENDED = "suspended"

#: What stands for the ID of the version that was stored while versioning was not enabled: a key has at most one.
NULL = "null"

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
    @ivar marker: whether it is a delete marker: it has an ID, a time, and no bytes.
    @ivar versioned: whether it was stored while the versioning of the bucket was enabled. Otherwise it is the null version.
    @ivar order: its place among the versions of its key; later versions have greater ones; 0 stands for C{created},
        which it is unless the clock was set back. A namespace sets it, and C{versioned}.
    """

    id: str
    size: int
    etag: str
    created: int
    content_type: str = ""
    metadata: Metadata = attrs.Factory(dict)
    tag: str = ""
    system: System = attrs.Factory(dict)
    marker: bool = False
    versioned: bool = False
    order: int = 0

    @property
    def rank(self) -> int:
        """By which versions of a key are in order: later ones have a greater one."""
        return self.order or self.created

    @property
    def version(self) -> str:
        """Its ID among the versions of its key: L{NULL} for the null version."""
        return self.id if self.versioned else NULL


@attrs.frozen
class Bucket:
    """
    A bucket.

    @ivar created: nanoseconds since 1970 UTC.
    @ivar owner: the name of the user who made it; empty if it belongs to no user.
    @ivar versioning: L{OFF}, L{ENABLED} or L{SUSPENDED}.
    """

    name: str
    created: int
    metadata: Metadata = attrs.Factory(dict)
    owner: str = ""
    versioning: str = OFF


@attrs.frozen
class Usage:
    """
    What a bucket has.

    @ivar keys: those that have an object: not those whose current version is a delete marker.
    @ivar size: bytes of their current versions.
    @ivar versions: versions that are not current; no delete markers.
    @ivar versions_size: bytes of those.
    @ivar markers: delete markers, current or not.
    """

    keys: int
    size: int
    versions: int = 0
    versions_size: int = 0
    markers: int = 0

    @property
    def total_size(self) -> int:
        """Bytes of all versions."""
        return self.size + self.versions_size


@attrs.frozen
class Changed:
    """
    What a change of a key did.

    @ivar entry: the version or delete marker that was added, as it is kept; C{None} if there was none.
    @ivar removed: the entries that are no versions any more: the caller deletes the bytes of their IDs, unless they are
        markers, and settles these. Damaged ones are not among them, since nobody knows which bytes they named.
    @ivar current: what the current version is now, a marker perhaps; C{None} if the key is gone.
    """

    entry: Entry | None
    removed: Sequence[Entry]
    current: Entry | None


@attrs.frozen
class Version:
    """
    A version of a key.

    @ivar is_latest: whether it is the current one.
    """

    key: str
    entry: Entry
    is_latest: bool


@attrs.frozen
class VersionPage:
    """
    Some versions of the keys of a bucket: the keys in the order of their UTF-8 bytes, the versions of one from the newest
    to the oldest.

    @ivar versions: those that are listed themselves, delete markers too.
    @ivar prefixes: the common prefixes that stand for the others.
    @ivar next_key_marker: the C{key_marker} of the next page; C{None} if this is the last one.
    @ivar next_version_marker: its C{version_marker}; it leads on, also if that version is removed.
    @ivar damaged: versions of the page whose entries cannot be read, by key and ID; the ID is empty if it is not known.
    """

    versions: Sequence[Version]
    prefixes: Sequence[str]
    next_key_marker: str | None
    next_version_marker: str = ""
    damaged: Sequence[tuple[str, str]] = ()

    @property
    def next_markers(self) -> tuple[str, str] | None:
        """C{key_marker} and C{version_marker} of the next page; C{None} if this is the last one."""
        return None if self.next_key_marker is None else (self.next_key_marker, self.next_version_marker)


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


#: Called with the current version, or C{None} if there is none or it is a delete marker; raises to refuse.
Condition = Callable[["Entry | None"], None]


class INamespace(Interface):
    """
    Buckets of keys, each with one current version, its default, and perhaps older ones.

    While the versioning of a bucket is L{OFF}, what is published replaces the version that is there. While it is L{ENABLED}
    every version stays until it is removed by its ID. While it is L{SUSPENDED} those stay that were published before, and what
    is published replaces the null version, if there is one. A key whose current version is a delete marker does not exist for
    L{look_up} and L{list_keys}.

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

        @param configs: its configurations from the beginning, in the same step, by their kinds: C{versioning} too, with
            L{ENABLED} in ASCII.
        """

    def set_versioning(bucket: str, state: str) -> Deferred[Bucket]:
        """
        Set the versioning of a bucket, in one step; it is the configuration of the kind C{versioning} too. Fails with
        C{InvalidBucketState} if that would be L{OFF} after it was anything else, and with C{InvalidName} for no state.
        """

    def versioning(bucket: str) -> str:
        """The versioning of a bucket, at once; L{OFF} if there is no such bucket."""

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
        @return: fails with C{InvalidName} for an invalid kind, C{DamagedEntry}.
        """

    def set_bucket_config(bucket: str, kind: str, data: bytes | None) -> Deferred[None]:
        """
        Replace or, with C{None}, remove that, in one step. It goes with its bucket. Fails with C{TooLarge} for more than
        1 MiB. The kind C{versioning} is set as by L{set_versioning}.
        """

    def usage(bucket: str) -> Deferred[Usage]:
        """How many keys and versions a bucket has, and their bytes."""

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
        bucket: str, key: str, entry: Entry, condition: Condition | None = None, keep: bool | None = None
    ) -> Deferred[Changed]:
        """
        Make a version, or a delete marker, the current one of a key, in one step.

        @param entry: its C{versioned} and C{order} are set by the namespace. A marker is refused (C{InvalidName}) while the
            versioning is L{OFF}.
        @param condition: called while the key is held. If it raises, L{publish} fails with that error, and nothing was changed.
            A version that cannot be read has size -1 and no etag.
        @param keep: whether the version that was current stays as an older one, whatever the versioning of the bucket is, which
            decides that otherwise.
        """

    def look_up(bucket: str, key: str, id: str | None = None) -> Deferred[Entry]:
        """
        The current version of a key, or the one with that ID, or L{NULL}; that may be a marker.

        @return: fails with C{NoSuchKey}, C{NoSuchVersion}, and, if no ID is given, C{DeleteMarkerFound}.
        """

    def versions(bucket: str, key: str) -> Deferred[list[Entry]]:
        """
        All versions of a key and its markers, the current one first, then the others, newest first. Reads them all. Fails
        with C{NoSuchKey}.
        """

    def unpublish(
        bucket: str,
        key: str,
        id: str | None = None,
        condition: Condition | None = None,
        marker: Entry | None = None,
    ) -> Deferred[Changed]:
        """
        Without an ID: remove a key with all its versions while the versioning of the bucket is L{OFF}; otherwise add a delete
        marker, which replaces what L{publish} would, also to a key that is not there. With one: remove this version for good;
        then, if it was the current one, the newest other one becomes it.

        @param id: of the version, or L{NULL}.
        @param condition: as in L{publish}; also called when there is no such key.
        @param marker: to be added, if one is; C{None} for one with a new ID and the time of now.
        @return: fails with C{NoSuchKey}, C{NoSuchVersion}.
        """

    def revise(bucket: str, key: str, id: str | None, change: Callable[[Entry], Entry]) -> Deferred[Entry]:
        """
        Change what is known of a version, in one step, which does not make it the current one.

        @param id: as in L{look_up}, which this fails as.
        @param change: called while the key is held, with the version; gives it as it is to be. Its ID, size, and what the
            namespace sets stay. If it raises, L{revise} fails with that error, and nothing was changed.
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
        Make a version the current one of a key, and remove another key of the bucket, in one step: a crash leaves both keys as
        they were, or as they are to be. Fails with C{InvalidBucketState} unless the versioning of the bucket is L{OFF}.

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

    def list_versions(
        bucket: str,
        prefix: str = "",
        delimiter: str = "",
        key_marker: str = "",
        version_marker: str = "",
        limit: int = 1000,
    ) -> Deferred[VersionPage]:
        """
        Versions and delete markers of the keys that begin with C{prefix}, as S3 lists them, rolled up as in L{list_keys}.

        @param key_marker: only greater keys, as C{after} of L{list_keys}.
        @param version_marker: and those of the key C{key_marker} that follow this version: what a page gave as its next one,
            or the ID of a version, or L{NULL}. If there is no such version: all of that key. Fails with C{InvalidName} without a
            C{key_marker}.
        @param limit: the most versions and common prefixes of the page; 0 gives an empty page, which is the last.
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
