"""What object stores take and give: plain values, so that a command that asks a service need not import a store."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import attrs

__all__ = [
    "ALWAYS",
    "Condition",
    "Indexed",
    "Listing",
    "Metadata",
    "ObjectInfo",
    "OpenUpload",
    "Problem",
    "System",
    "VersionListing",
    "is_md5",
    "shown_etag",
]

#: Whether an etag is an MD5, as clients of S3 expect it of an object that was not made of parts.
is_md5 = re.compile("[0-9a-f]{32}").fullmatch


def shown_etag(etag: str) -> str:
    """An etag as clients of S3 see it: without a hyphen it is an MD5, which they compare."""
    return etag if is_md5(etag) or "-" in etag else f"{etag}-1"


#: Name to values, of the user's own. Names and values are any text.
Metadata = Mapping[str, Sequence[str]]

#: Name to value, of the doors' own: C{cache-control}, C{storage-class}, C{checksum-crc32}. Names as S3's headers have them,
#: in lower case and without C{x-amz-}.
System = Mapping[str, str]


@attrs.frozen
class ObjectInfo:
    """
    What is known of an object, or of another version of it.

    @ivar key: its name in its bucket.
    @ivar id: the ID of its bytes: another one whenever they were stored anew.
    @ivar size: in bytes.
    @ivar etag: a tag for the content, without quotes.
    @ivar created: nanoseconds since 1970 UTC.
    @ivar content_type: a media type; may be empty.
    @ivar system: what doors keep with it, which is never shown as the user's metadata.
    @ivar version: the ID of the version, as S3 shows it: C{null} for what was stored while versioning was not enabled; empty
        in a bucket that never had versions.
    @ivar is_latest: whether it is the current version of its key.
    @ivar marker: whether it is a delete marker, which has no bytes.
    """

    key: str
    id: str
    size: int
    etag: str
    created: int
    content_type: str
    metadata: Metadata
    system: System = attrs.Factory(dict)
    version: str = ""
    is_latest: bool = True
    marker: bool = False


@attrs.frozen
class Condition:
    """
    What must be true of the current version of a key for a change to be made.

    @ivar absent: there is no object; a delete marker is none.
    @ivar etag: there is one with this tag, or with any if it is C{*}.
    """

    absent: bool = False
    etag: str | None = None

    def narrowed(self, new: bool, replacing: bool) -> Condition | None:
        """
        This, for a user with limited rights; C{None} if nothing is left.

        @param new: whether an object may be stored under a key that has none.
        @param replacing: whether one that is there may be replaced.
        """
        may_be_new, may_replace = new and self.etag is None, replacing and not self.absent
        if may_be_new and may_replace:
            return self
        if may_be_new:
            return Condition(absent=True)
        return (self if self.etag is not None else Condition(etag="*")) if may_replace else None


#: No condition.
ALWAYS = Condition()


@attrs.frozen
class Listing:
    """
    A page of a bucket.

    @ivar objects: in the order of their keys' UTF-8 bytes.
    @ivar prefixes: what keys have in common up to the delimiter, in order: each stands for all of them.
    @ivar next_after: what the next page is C{after}; C{None} if there is none.
    @ivar damaged: keys of the page whose objects are there, and of which what is known cannot be read.
    @ivar unknown: names in the namespace that were neither keys nor buckets when its index was made.
    """

    objects: Sequence[ObjectInfo]
    prefixes: Sequence[str]
    next_after: str | None
    damaged: Sequence[str] = ()
    unknown: int = 0


@attrs.frozen
class VersionListing:
    """
    A page of the versions of a bucket, as S3 has it.

    @ivar versions: delete markers too; in the order of their keys' UTF-8 bytes, those of one key from the newest to the oldest.
    @ivar prefixes: as in L{Listing}.
    @ivar next_key_marker: the C{key_marker} of the next page; C{None} if there is none.
    @ivar next_version_marker: its C{version_marker}; it leads on, also if that version is removed.
    @ivar damaged: keys and IDs of versions of the page of which what is known cannot be read; the ID may be empty.
    """

    versions: Sequence[ObjectInfo]
    prefixes: Sequence[str]
    next_key_marker: str | None
    next_version_marker: str = ""
    damaged: Sequence[tuple[str, str]] = ()


@attrs.frozen
class Indexed:
    """
    What an index was made of.

    @ivar keys: all that there are.
    @ivar damaged: how many of them cannot be read.
    @ivar unknown: names that are neither keys nor buckets.
    """

    keys: int
    damaged: int = 0
    unknown: int = 0


@attrs.frozen
class OpenUpload:
    """
    An upload in parts that is neither completed nor aborted.

    @ivar created: seconds since 1970 UTC.
    @ivar system: of the object that it becomes.
    """

    upload_id: str
    bucket: str
    key: str
    created: float
    content_type: str
    metadata: Metadata
    system: System = attrs.Factory(dict)


@attrs.frozen
class Problem:
    """
    Something that a check found.

    @ivar kind: C{damaged}, C{missing} (a key without its bytes), C{orphan} (bytes without a key), C{renamed} (bytes that
        say that they are of another key; they are served), C{unknown}, C{index}, or another word of the namespace's.
    @ivar bucket: its bucket; empty if it has none.
    @ivar key: its key, if it is known.
    @ivar id: the ID of the bytes, if it is about some.
    @ivar text: what is wrong.
    @ivar repair: what a repair does about it; empty for nothing.
    """

    kind: str
    bucket: str
    key: str | None
    id: str | None
    text: str
    repair: str
