"""
C{PUT /BUCKET/KEY} with C{x-amz-copy-source}: an object under another key, or with other metadata. No bytes are moved, unless it is
to have a checksum that is not known.

What comes from the source and what from the request is for two directives to say, for the metadata (with the type and all other
fields of the object) and for the tags. The storage class, the place of a redirect, the owner and the ACL are the request's.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

from storehouse.core.xmltext import document, text
from storehouse.errors import InvalidRange, NoSuchBucket, NoSuchKey, PreconditionFailed, Unavailable
from storehouse.frontends.http.reply import Reply
from storehouse.frontends.s3.access.owning import new_object
from storehouse.frontends.s3.call import Call
from storehouse.frontends.s3.checksums import FULL_OBJECT, Checksums, algorithm_of
from storehouse.frontends.s3.errors import S3Error
from storehouse.frontends.s3.fields import (
    Source,
    check_source,
    checksum_elements,
    condition_of,
    content_type_of,
    encryption_fields,
    iso_time,
    quoted,
    source_of,
    system_of,
    user_metadata,
)
from storehouse.frontends.s3.lasting import lasting
from storehouse.frontends.s3.route import handler
from storehouse.storage.objects.interfaces import Condition, ObjectInfo, ObjectReader

__all__ = ["from_source", "known_checksums", "open_source", "read_source"]

T = TypeVar("T")

#: The field that names the source, and begins those with conditions for it.
_SOURCE = "x-amz-copy-source"

#: How often a source is looked at that is replaced meanwhile.
_TRIES = 8

#: What comes from the source, or from the request, with the metadata.
_WITH_METADATA = ("cache-control", "content-disposition", "content-encoding", "content-language", "expires")


async def open_source(call: Call) -> Source:
    """
    The source that a request names, which the caller may read.

    @raise S3Error: C{InvalidArgument}, C{AccessDenied}.
    """
    source = source_of(call.header(_SOURCE) or "", _SOURCE)
    await call.check("GetObject", source.bucket, source.key)
    return source


async def _head_source(call: Call, source: Source) -> ObjectInfo:
    """
    What is known of a source.

    @raise S3Error: C{NoSuchKey}, C{NoSuchBucket} of the source; C{PreconditionFailed} if a condition for it does not hold.
    """
    try:
        info: ObjectInfo = await call.door.store.head(source.bucket, source.key)
    except NoSuchKey:
        raise S3Error("NoSuchKey", Key=source.key) from None
    except NoSuchBucket:
        raise S3Error("NoSuchBucket", BucketName=source.bucket) from None
    check_source(call, source, info)
    return info


async def from_source(call: Call, source: Source, use: Callable[[ObjectInfo], Awaitable[T]]) -> T:
    """
    Do something with a source, whose conditions hold.

    @param use: given what is known of it; it fails with C{PreconditionFailed} if the source is another object by then, and is
        called again.
    @raise S3Error: as L{_head_source} does.
    @raise Unavailable: if the source is replaced again and again.
    """
    for _ in range(_TRIES):
        info = await _head_source(call, source)
        try:
            return await use(info)
        except PreconditionFailed:
            if (await _head_source(call, source)).id == info.id:
                raise
    raise Unavailable(f"the object {source.bucket}/{source.key} is replaced too often to be copied now: try again")


async def read_source(
    call: Call, source: Source, info: ObjectInfo, offset: int = 0, length: int | None = None
) -> ObjectReader:
    """
    Open a range of a source that was looked at.

    @raise PreconditionFailed: if it is another object now.
    """
    try:
        reader: ObjectReader = await call.door.store.get(source.bucket, source.key, offset, length)
    except InvalidRange:
        raise PreconditionFailed("the source was replaced by a shorter one") from None
    if reader.info.id != info.id:
        await reader.close()
        raise PreconditionFailed("the source was replaced")
    return reader


def _has_checksum(info: ObjectInfo, algorithm: str) -> bool:
    """Whether a checksum of all bytes of an object is known."""
    return f"checksum-{algorithm}" in info.system and info.system.get("checksum-type") == FULL_OBJECT


def known_checksums(system: Mapping[str, str]) -> dict[str, str]:
    """What is known of the checksum of an object's bytes, by what is kept with it."""
    return {name: value for name, value in system.items() if name.startswith("checksum-")}


def _is_replaced(call: Call, name: str) -> bool:
    """What a directive says: whether something comes from the request, and not from the source."""
    directive = call.header(f"x-amz-{name}-directive")
    if directive not in (None, "COPY", "REPLACE"):
        raise S3Error(
            "InvalidArgument",
            f"Unknown {name} directive.",
            ArgumentName=f"x-amz-{name}-directive",
            ArgumentValue=directive[:100],
        )
    return directive == "REPLACE"


@handler("CopyObject")
async def copy_object(call: Call) -> Reply | None:
    """Copy an object, perhaps onto itself."""
    has_metadata, has_tags = _is_replaced(call, "metadata"), _is_replaced(call, "tagging")
    given = system_of(call.header, has_tags)
    condition = condition_of(call.header)
    named = call.header("x-amz-checksum-algorithm")
    algorithm = "" if named is None else algorithm_of(named)
    own = await new_object(call)
    source = await open_source(call)
    if (source.bucket, source.key) == (call.bucket, call.key) and not has_metadata:
        _check_change(call)

    async def copy(info: ObjectInfo) -> ObjectInfo:
        system = {**known_checksums(info.system), **own}
        for origin, names in (
            (given if has_metadata else info.system, _WITH_METADATA),
            (given if has_tags else info.system, ("tagging",)),
            (given, ("storage-class", "website-redirect-location")),
        ):
            system |= {name: origin[name] for name in names if name in origin}
        content_type = content_type_of(call.header) if has_metadata else None
        metadata = user_metadata(call) if has_metadata else None
        made: ObjectInfo
        if algorithm and not _has_checksum(info, algorithm):
            if content_type is None or metadata is None:
                content_type, metadata = info.content_type, info.metadata
            checksums = Checksums()
            checksums.want(algorithm)
            stream = checksums.stream(
                await read_source(call, source, info), call.door.disk, {}, call.door.transfers.batch
            )
            kept = {name: value for name, value in system.items() if not name.startswith("checksum-")}
            made = await call.store.put(
                call.bucket,
                call.key,
                stream,
                info.size,
                content_type,
                metadata,
                condition,
                md5=True,
                system=lambda: {**kept, **checksums.system()},
            )
            return made
        made = await call.store.copy(
            call.bucket,
            call.key,
            source.bucket,
            source.key,
            content_type,
            metadata,
            condition,
            # What is copied is what was looked at.
            Condition(etag=info.etag),
            system,
        )
        return made

    async def work() -> bytes:
        return _copied(await from_source(call, source, copy))

    return await lasting(call, work(), encryption_fields(call))


def _check_change(call: Call) -> None:
    """A copy onto itself must change something."""
    changes = (
        "x-amz-storage-class",
        "x-amz-website-redirect-location",
        "x-amz-server-side-encryption",
        "x-amz-checksum-algorithm",
    )
    if all(call.header(name) is None for name in changes):
        raise S3Error(
            "InvalidRequest",
            "This copy request is illegal because it is trying to copy an object to itself without changing the object's "
            "metadata, storage class, website redirect location or encryption attributes.",
        )


def _copied(info: ObjectInfo) -> bytes:
    return document(
        "CopyObjectResult",
        text("LastModified", iso_time(info.created)),
        text("ETag", quoted(info.etag)),
        *checksum_elements(info.system),
    )
