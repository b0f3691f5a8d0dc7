"""Tags of objects and of buckets: C{?tagging}."""

from __future__ import annotations

from storehouse.core.xmltext import XML
from storehouse.frontends.http.reply import Reply
from storehouse.frontends.s3.call import Call
from storehouse.frontends.s3.errors import S3Error
from storehouse.frontends.s3.fields import read_checked_document
from storehouse.frontends.s3.route import handler
from storehouse.frontends.s3.tagsets import (
    check_bucket_tags,
    check_object_tags,
    node_tags,
    read_tags,
    tagging_document,
    write_tags,
)

__all__ = ["CONFIGURATION"]

#: What a bucket's tags are kept as: the document that clients get.
CONFIGURATION = "tagging"

#: Bytes of a document: fifty tags of the longest names and values, each letter written as a reference.
_MOST = 256 << 10


@handler("GetObjectTagging")
async def get_object_tagging(call: Call) -> Reply:
    """The tags of an object, perhaps none."""
    info = await call.store.head(call.bucket, call.key)
    return Reply(200, tagging_document(read_tags(info.system.get("tagging", ""))), XML)


@handler("PutObjectTagging")
async def put_object_tagging(call: Call) -> Reply:
    """Give an object other tags in place of all that it has."""
    tags = node_tags(await read_checked_document(call, "Tagging", _MOST))
    check_object_tags(tags)
    await call.store.set_system(call.bucket, call.key, {"tagging": write_tags(tags) or None})
    return Reply(200, b"", b"")


@handler("DeleteObjectTagging")
async def delete_object_tagging(call: Call) -> Reply:
    """Take all tags of an object."""
    await call.store.set_system(call.bucket, call.key, {"tagging": None})
    return Reply(204, b"", b"")


@handler("GetBucketTagging")
async def get_bucket_tagging(call: Call) -> Reply:
    """The tags of a bucket."""
    kept = await call.store.bucket_config(call.bucket, CONFIGURATION)
    if kept is None:
        raise S3Error("NoSuchTagSet", BucketName=call.bucket)
    return Reply(200, kept, XML)


@handler("PutBucketTagging")
async def put_bucket_tagging(call: Call) -> Reply:
    """Give a bucket other tags in place of all that it has."""
    tags = node_tags(await read_checked_document(call, "Tagging", _MOST))
    check_bucket_tags(tags)
    await call.store.set_bucket_config(call.bucket, CONFIGURATION, tagging_document(tags))
    return Reply(204, b"", b"")


@handler("DeleteBucketTagging")
async def delete_bucket_tagging(call: Call) -> Reply:
    """Take all tags of a bucket."""
    await call.store.set_bucket_config(call.bucket, CONFIGURATION, None)
    return Reply(204, b"", b"")
