"""Buckets: made, found, listed and removed."""

from __future__ import annotations

import re
from itertools import chain

from storehouse.core.turns import breath
from storehouse.core.xmltext import XML, Node, document, document_in_turns, element, text
from storehouse.errors import AlreadyExists
from storehouse.frontends.http.reply import Reply
from storehouse.frontends.s3.access.owning import audit_change, new_bucket
from storehouse.frontends.s3.call import Call
from storehouse.frontends.s3.errors import S3Error
from storehouse.frontends.s3.fields import iso_time
from storehouse.frontends.s3.paging import read_token, write_token
from storehouse.frontends.s3.route import handler
from storehouse.frontends.s3.tagging import CONFIGURATION as TAGGING
from storehouse.frontends.s3.tagsets import check_bucket_tags, node_tags, tagging_document
from storehouse.storage.accounts.interfaces import canonical_id
from storehouse.storage.namespace.interfaces import Bucket

__all__: list[str] = []

#: Buckets of a page, at most.
_MOST_BUCKETS = 10_000

#: Bytes of memory that a bucket takes in a list, about.
_ROW = 512

#: Bytes of the document with which a bucket is made, at most.
_MOST_CONFIGURATION = 64 << 10


@handler("ListBuckets")
async def list_buckets(call: Call) -> Reply:
    """Those that the caller owns: all of them for an administrator. The limits of an access key hold, too."""
    user = call.caller.user
    if user is None:
        raise S3Error("AccessDenied")
    limit = _limit_of(call.query.get("max-buckets"))
    prefix, region = call.query.get("prefix", ""), call.query.get("bucket-region", "")
    token = call.query.get("continuation-token")
    after = "" if token is None else read_token(token)
    buckets: list[Bucket] = []
    if region in ("", call.door.region):
        for bucket in await call.store.list_buckets():
            if (
                bucket.name > after
                and bucket.name.startswith(prefix)
                and (user.is_admin or bucket.owner == user.name)
                and user.may("list", bucket.name, "", bucket.owner)
            ):
                buckets.append(bucket)
            await breath()
    page = buckets if limit is None else buckets[:limit]
    parts = ["</Buckets>"]
    if prefix:
        parts.append(text("Prefix", prefix))
    if len(page) < len(buckets):
        parts.append(text("ContinuationToken", write_token(page[-1].name)))
    owner = element("Owner", text("ID", canonical_id(user.name)), text("DisplayName", user.name))
    rows = (_listed(call, bucket) for bucket in page)
    async with call.request.ahead(len(page) * _ROW):
        body = await document_in_turns("ListAllMyBucketsResult", chain((owner, "<Buckets>"), rows, parts))
        return Reply(200, body, XML)


def _listed(call: Call, bucket: Bucket) -> str:
    return element(
        "Bucket",
        text("Name", bucket.name),
        text("CreationDate", iso_time(bucket.created)),
        text("BucketRegion", call.door.region),
        text("BucketArn", _arn(bucket.name)),
    )


def _limit_of(value: str | None) -> int | None:
    if value is None:
        return None
    if not (value.isascii() and value.isdigit() and len(value) < 7 and 1 <= int(value) <= _MOST_BUCKETS):
        raise S3Error(
            "InvalidArgument",
            f"Argument max-buckets must be an integer between 1 and {_MOST_BUCKETS}",
            ArgumentName="max-buckets",
            ArgumentValue=value[:100],
        )
    return int(value)


def _arn(name: str) -> str:
    return f"arn:aws:s3:::{name}"


@handler("CreateBucket")
async def create_bucket(call: Call) -> Reply:
    """Make one, which its maker owns."""
    user = call.caller.user
    if user is None:
        raise S3Error("AccessDenied")
    if _is_reserved(call.bucket):
        raise S3Error("InvalidBucketName", BucketName=call.bucket)
    if call.bucket in call.door.reserved and not user.is_admin:
        raise S3Error("BucketAlreadyExists")
    if (call.header("x-amz-bucket-object-lock-enabled") or "false").lower() != "false":
        raise S3Error("NotImplemented", "Object Lock is not implemented", Header="x-amz-bucket-object-lock-enabled")
    given = await call.read_optional_document("CreateBucketConfiguration", _MOST_CONFIGURATION)
    configs = await new_bucket(call)
    if given is not None:
        _check_location(call, given)
        configs |= _tags_of(given)
    try:
        # In one step: a crash must leave no bucket that is open to more than it was to be.
        await call.store.create_bucket(call.bucket, owner=user.name, configs=configs)
    except AlreadyExists:
        owner = (await call.store.get_bucket(call.bucket)).owner
        is_own = owner == user.name or (not owner and user.is_admin)
        raise S3Error("BucketAlreadyOwnedByYou" if is_own else "BucketAlreadyExists") from None
    audit_change(call, "create-bucket", call.bucket)
    headers = ((b"Location", b"/" + call.bucket.encode("ascii")), (b"x-amz-bucket-arn", _arn(call.bucket).encode()))
    return Reply(200, b"", b"", headers)


#: How names of buckets begin and end that S3 keeps for itself.
_is_reserved = re.compile(r"(xn--|sthree-|amzn-s3-demo-).*|.*(-s3alias|--ol-s3|\.mrap|--x-s3|--table-s3)").fullmatch


def _tags_of(node: Node) -> dict[str, bytes]:
    found = node.child("Tags")
    if found is None:
        return {}
    tags = node_tags(Node("Tagging", children=[Node("TagSet", children=found.children)]))
    check_bucket_tags(tags)
    return {TAGGING: tagging_document(tags)}


def _check_location(call: Call, node: Node) -> None:
    if node.child("Location") is not None or node.child("Bucket") is not None:
        raise S3Error("NotImplemented", "directory buckets are not implemented")
    region, wanted = call.door.settings.region, node.value("LocationConstraint")
    if not wanted or region == "any" or wanted == region or (wanted, region) == ("EU", "eu-west-1"):
        return
    if region == "us-east-1":
        raise S3Error("InvalidLocationConstraint", LocationConstraint=wanted[:100])
    raise S3Error(
        "IllegalLocationConstraintException",
        f"The {wanted[:100]} location constraint is incompatible for the region specific endpoint this request was sent to.",
    )


@handler("HeadBucket")
async def head_bucket(call: Call) -> Reply:
    """Whether it is there."""
    bucket = await call.store.get_bucket(call.bucket)
    return Reply(
        200,
        b"",
        b"",
        (
            (b"x-amz-bucket-region", call.door.region.encode()),
            (b"x-amz-bucket-arn", _arn(bucket.name).encode()),
            (b"x-amz-access-point-alias", b"false"),
        ),
    )


@handler("DeleteBucket")
async def delete_bucket(call: Call) -> Reply:
    """Remove it, if it is empty; its open uploads are aborted."""
    await call.store.delete_bucket(call.bucket)
    # Its policy, ACL and other configurations go with it.
    audit_change(call, "delete-bucket", call.bucket)
    return Reply(204, b"", b"")


@handler("GetBucketLocation")
async def get_bucket_location(call: Call) -> Reply:
    """The region, which has an empty name if it is the first one."""
    await call.store.get_bucket(call.bucket)
    region = call.door.region
    return Reply(200, document("LocationConstraint", "" if region == "us-east-1" else region), XML)
