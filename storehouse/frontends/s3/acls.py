"""ACLs of buckets and objects: C{?acl}."""

from __future__ import annotations

from storehouse.core.xmltext import XML, NotXML, parse
from storehouse.frontends.http.reply import Reply
from storehouse.frontends.s3.access.acl import (
    Acl,
    acl_document,
    decode_acl,
    encode_acl,
    has_acl_fields,
    private_acl,
    read_acl_document,
    read_acl_fields,
)
from storehouse.frontends.s3.access.owning import audit_change, configure, user_names
from storehouse.frontends.s3.access.state import ACL, BucketAccess
from storehouse.frontends.s3.call import Call
from storehouse.frontends.s3.errors import S3Error
from storehouse.frontends.s3.route import handler

__all__: list[str] = []

#: Bytes of a document: a hundred grants.
_MOST = 64 << 10


@handler("GetBucketAcl")
async def get_bucket_acl(call: Call) -> Reply:
    """The ACL of the bucket; where none counts, that its owner has all."""
    state = await call.door.access.of(call.store, call.bucket)
    acl = state.acl if state.has_acls else private_acl(state.owner)
    return Reply(200, acl_document(acl, state.owner, await user_names(call)), XML)


@handler("PutBucketAcl")
async def put_bucket_acl(call: Call) -> Reply:
    """Give the bucket another ACL."""
    state = await call.door.access.of(call.store, call.bucket)
    acl = await _read(call, state, state.owner, None)
    await configure(call, ACL, encode_acl(acl).encode())
    return Reply(200, b"", b"")


@handler("GetObjectAcl")
async def get_object_acl(call: Call) -> Reply:
    """The ACL of the object; where none counts, that the owner of the bucket has all."""
    state = await call.door.access.of(call.store, call.bucket)
    info = await call.store.head(call.bucket, call.key)
    owner = info.system.get("owner", state.owner) if state.has_acls else state.owner
    kept = info.system.get("acl") if state.has_acls else None
    acl = private_acl(owner) if kept is None else decode_acl(kept)
    return Reply(200, acl_document(acl, owner, await user_names(call)), XML)


@handler("PutObjectAcl")
async def put_object_acl(call: Call) -> Reply:
    """Give the object another ACL."""
    state = await call.door.access.of(call.store, call.bucket)
    info = await call.store.head(call.bucket, call.key)
    owner = info.system.get("owner", state.owner)
    acl = await _read(call, state, owner, state.owner)
    kept = None if acl == private_acl(owner) else encode_acl(acl)
    await call.store.set_system(call.bucket, call.key, {"acl": kept})
    audit_change(call, "acl", f"{call.bucket}/{call.key}")
    return Reply(200, b"", b"")


async def _read(call: Call, state: BucketAccess, owner: str, bucket_owner: str | None) -> Acl:
    """
    The ACL of a request: canned, in header fields, or in its body.

    @param bucket_owner: of an object: the owner of its bucket.
    """
    names = await user_names(call)
    ids = {*names, private_acl(owner).grants[0][1][3:]}
    data = await call.read_body(_MOST)
    if data.strip() and has_acl_fields(call.header):
        raise S3Error("UnexpectedContent", "This request does not support content")
    acl = read_acl_fields(call.header, owner, bucket_owner, ids)
    if acl is None:
        if not data.strip():
            raise S3Error(
                "MissingSecurityHeader", "Your request was missing a required header", MissingHeaderName="x-amz-acl"
            )
        try:
            node = parse(data, "AccessControlPolicy", nodes=2000)
        except NotXML:
            raise S3Error("MalformedACLError") from None
        acl = read_acl_document(node, owner, ids)
    if not state.has_acls:
        if call.header("x-amz-acl") == "bucket-owner-full-control" or (
            data.strip() and acl == private_acl(state.owner)
        ):
            return private_acl(owner)
        raise S3Error("AccessControlListNotSupported")
    if acl.is_public and state.block.acls:
        raise S3Error("AccessDenied", "Public ACLs are blocked by the public access block of the bucket")
    return acl
