"""
C{PUT /BUCKET/KEY} with C{x-amz-write-offset-bytes}: bytes at the end of an object, in one step. Elsewhere this is for directory
buckets only.

The offset must be the size that the object has; 0 makes a new one. What the object was stored with stays. Its checksum goes on
being that of all its bytes, if that is one that can be combined; otherwise it has none from then on.
"""

from __future__ import annotations

from collections.abc import Mapping

from storehouse.core.streams import counted
from storehouse.errors import NoSuchKey, TooLarge
from storehouse.frontends.http.reply import Reply
from storehouse.frontends.s3.access.owning import new_object
from storehouse.frontends.s3.call import Call
from storehouse.frontends.s3.checksums import (
    FULL_OBJECT,
    checksum_fields,
    checksum_system,
    combine,
    decoded,
    encoded,
)
from storehouse.frontends.s3.errors import S3Error
from storehouse.frontends.s3.fields import (
    condition_of,
    content_type_of,
    encryption_fields,
    quoted,
    system_of,
    user_metadata,
)
from storehouse.frontends.s3.notes import write_note
from storehouse.frontends.s3.route import handler
from storehouse.storage.objects.interfaces import ObjectInfo, System

__all__: list[str] = []

#: The checksums that can be combined.
_CRCS = ("crc64nvme", "crc32c", "crc32")

_CHECKSUM = "checksum-"


def _offset_of(call: Call) -> int:
    value = call.header("x-amz-write-offset-bytes") or ""
    if not (value.isascii() and value.isdigit() and len(value) < 20):
        raise S3Error(
            "InvalidArgument",
            "The write offset is not a number of bytes",
            ArgumentName="x-amz-write-offset-bytes",
            ArgumentValue=value[:100],
        )
    return int(value)


@handler("AppendObject")
async def append_object(call: Call) -> Reply:
    """Append to an object, or store a new one."""
    offset = _offset_of(call)
    call.check_body()
    given, condition = {**system_of(call.header), **await new_object(call)}, condition_of(call.header)
    before = await _head(call)
    if offset != (0 if before is None else before.size):
        # Before the body is asked for. What counts is looked at again in the end.
        raise S3Error("InvalidWriteOffset")
    checksums = call.checksums
    if before is not None:
        for name in _CRCS:
            if _CHECKSUM + name in before.system:
                checksums.want(name)
    else:
        checksums.keep()

    size = 0

    def count(more: int) -> None:
        nonlocal size
        size += more

    def system(there: ObjectInfo | None) -> System:
        if there is None:
            return {**given, **checksums.system()}
        kept = {name: value for name, value in there.system.items() if not name.startswith(_CHECKSUM)}
        return {**kept, **_combined(there, checksums.values, size)}

    try:
        info: ObjectInfo = await call.store.append(
            call.bucket,
            call.key,
            offset,
            counted(call.body, count),
            call.length,
            content_type_of(call.header),
            user_metadata(call),
            condition,
            note=lambda: write_note({name: value for name, value in checksums.values.items() if name in _CRCS}),
            system=system,
        )
    except TooLarge:
        raise S3Error("TooManyParts") from None
    fields = (
        (b"ETag", quoted(info.etag).encode("ascii")),
        (b"x-amz-object-size", b"%d" % info.size),
        *checksum_fields(info.system),
        *encryption_fields(call),
    )
    return Reply(200, b"", b"", fields)


def _combined(there: ObjectInfo, values: Mapping[str, str], size: int) -> System:
    """
    The checksum of an object and of what follows it.

    @param values: of what follows, by their algorithms.
    @param size: its bytes.
    """
    if there.system.get("checksum-type") != FULL_OBJECT:
        return {}
    for name in _CRCS:
        first = decoded(name, there.system.get(_CHECKSUM + name, ""))
        second = decoded(name, values.get(name, ""))
        if first is not None and second is not None:
            return checksum_system(name, encoded(combine(name, [(first, there.size), (second, size)])), FULL_OBJECT)
    return {}


async def _head(call: Call) -> ObjectInfo | None:
    try:
        info: ObjectInfo = await call.store.head(call.bucket, call.key)
    except NoSuchKey:
        return None
    return info
