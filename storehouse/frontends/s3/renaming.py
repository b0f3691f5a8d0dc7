"""
C{PUT /BUCKET/KEY?renameObject}: another key for an object of the bucket, in one step. Elsewhere this is for directory buckets only.

C{x-amz-rename-source} is the key that it has, percent-encoded; or C{/BUCKET/KEY}. A request that is sent again with its
C{x-amz-client-token} gets the same response as long as the object has the new key.
"""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

from storehouse.errors import NoSuchKey
from storehouse.frontends.http.reply import Reply
from storehouse.frontends.s3.call import Call
from storehouse.frontends.s3.copying import from_source
from storehouse.frontends.s3.errors import S3Error
from storehouse.frontends.s3.fields import Source, condition_of, holds, source_conditions
from storehouse.frontends.s3.route import handler
from storehouse.storage.objects.interfaces import ALWAYS, Condition, ObjectInfo

__all__: list[str] = []

#: The field that names the source, and begins those with conditions for it.
_SOURCE = "x-amz-rename-source"

#: What is kept with an object that was renamed by a request that may come again.
_TOKEN, _FROM = "client-token", "renamed-from"

_token = re.compile(r"[\x21-\x7e]{1,64}").fullmatch


def _source_of(call: Call) -> Source:
    value = call.header(_SOURCE) or ""
    try:
        key = unquote_to_bytes(value).decode()
    except UnicodeDecodeError:
        key = ""
    key = key.removeprefix(f"/{call.bucket}/")
    if not key:
        raise S3Error(
            "InvalidArgument",
            f"{_SOURCE} should be a key of the bucket, percent-encoded",
            ArgumentName=_SOURCE,
            ArgumentValue=value[:1024],
        )
    return Source(call.bucket, key, _SOURCE)


@handler("RenameObject")
async def rename_object(call: Call) -> Reply:
    """Rename an object."""
    source, token = _source_of(call), call.header("x-amz-client-token")
    if token is not None and not _token(token):
        raise S3Error("InvalidArgument", ArgumentName="x-amz-client-token", ArgumentValue=token[:100])
    await call.check("GetObject", call.bucket, source.key)
    await call.check("DeleteObject", call.bucket, source.key)
    there = await _head(call)
    if token is not None and there is not None and there.system.get(_TOKEN) == token:
        if there.system.get(_FROM) != source.key:
            raise S3Error("IdempotencyParameterMismatch")
        return Reply(200, b"", b"")
    condition = _condition(call, there)
    is_pinned = bool(source_conditions(call, source))
    changes = {_TOKEN: token, _FROM: None if token is None else source.key}

    async def rename(info: ObjectInfo) -> None:
        # If there are conditions, what is renamed is what was looked at.
        pinned = Condition(etag=info.etag) if is_pinned else ALWAYS
        await call.store.rename(call.bucket, source.key, call.key, condition, pinned, changes)

    await from_source(call, source, rename)
    return Reply(200, b"", b"")


async def _head(call: Call) -> ObjectInfo | None:
    """What the new key has."""
    try:
        info: ObjectInfo = await call.door.store.head(call.bucket, call.key)
    except NoSuchKey:
        return None
    return info


def _condition(call: Call, there: ObjectInfo | None) -> Condition:
    """What must be true of the new key, by the fields of the request."""
    times = {
        name: value
        for name in ("modified-since", "unmodified-since")
        if (value := call.header(f"If-{name}")) is not None
    }
    if not times:
        return condition_of(call.header)
    if call.header("If-Match") is None and call.header("If-None-Match") is None and there is not None:
        if not holds(times, there):
            raise S3Error("PreconditionFailed", Condition=f"If-{'/'.join(times)}")
        # What is replaced is what was looked at.
        return Condition(etag=there.etag)
    return condition_of(lambda name: None if name.removeprefix("If-").lower() in times else call.header(name))
