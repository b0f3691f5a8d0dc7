"""Public access blocks and ownership controls of buckets: C{?publicAccessBlock} and C{?ownershipControls}."""

from __future__ import annotations

from storehouse.core.xmltext import XML, Node, document, element, text
from storehouse.frontends.http.reply import Reply
from storehouse.frontends.s3.access.acl import private_acl
from storehouse.frontends.s3.access.owning import configure
from storehouse.frontends.s3.access.publicaccess import (
    ENFORCED,
    OWNERSHIPS,
    Block,
    decode_block,
    decode_ownership,
    encode_block,
    encode_ownership,
)
from storehouse.frontends.s3.access.state import BLOCK, OWNERSHIP
from storehouse.frontends.s3.call import Call
from storehouse.frontends.s3.errors import S3Error
from storehouse.frontends.s3.route import handler

__all__: list[str] = []

#: Bytes of a document.
_MOST = 8 << 10

#: Members of a document, by the fields of L{Block}.
_MEMBERS = {
    "acls": "BlockPublicAcls",
    "ignores_acls": "IgnorePublicAcls",
    "policy": "BlockPublicPolicy",
    "restricts": "RestrictPublicBuckets",
}


@handler("GetPublicAccessBlock")
async def get_public_access_block(call: Call) -> Reply:
    """What is blocked, if that was ever said."""
    data = await call.door.access.config(call.store, call.bucket, BLOCK)
    if data is None:
        raise S3Error("NoSuchPublicAccessBlockConfiguration", BucketName=call.bucket)
    block = decode_block(data)
    members = (text(name, getattr(block, field)) for field, name in _MEMBERS.items())
    return Reply(200, document("PublicAccessBlockConfiguration", *members), XML)


@handler("PutPublicAccessBlock")
async def put_public_access_block(call: Call) -> Reply:
    """Block what the document says, and nothing else."""
    node = await call.read_document("PublicAccessBlockConfiguration", _MOST)
    block = Block(**{field: _flag(node, name) for field, name in _MEMBERS.items()})
    await configure(call, BLOCK, encode_block(block))
    return Reply(200, b"", b"")


def _flag(node: Node, name: str) -> bool:
    value = node.value(name, "false").lower()
    if value not in ("true", "false"):
        raise S3Error("MalformedXML")
    return value == "true"


@handler("DeletePublicAccessBlock")
async def delete_public_access_block(call: Call) -> Reply:
    """Block nothing."""
    await configure(call, BLOCK, None)
    return Reply(204, b"", b"")


@handler("GetBucketOwnershipControls")
async def get_bucket_ownership_controls(call: Call) -> Reply:
    """Who owns objects, if that was ever said."""
    data = await call.door.access.config(call.store, call.bucket, OWNERSHIP)
    if data is None:
        raise S3Error("OwnershipControlsNotFoundError", BucketName=call.bucket)
    rule = element("Rule", text("ObjectOwnership", decode_ownership(data)))
    return Reply(200, document("OwnershipControls", rule), XML)


@handler("PutBucketOwnershipControls")
async def put_bucket_ownership_controls(call: Call) -> Reply:
    """Say who owns objects. ACLs must be those that a new bucket has before they stop counting."""
    node = await call.read_document("OwnershipControls", _MOST)
    rules = list(node.all("Rule"))
    ownership = rules[0].value("ObjectOwnership") if len(rules) == 1 else ""
    if ownership not in OWNERSHIPS:
        raise S3Error("MalformedXML")
    state = await call.door.access.of(call.store, call.bucket)
    if ownership == ENFORCED and state.has_acls and state.acl != private_acl(state.owner):
        raise S3Error("InvalidBucketAclWithObjectOwnership")
    await configure(call, OWNERSHIP, encode_ownership(ownership))
    return Reply(200, b"", b"")


@handler("DeleteBucketOwnershipControls")
async def delete_bucket_ownership_controls(call: Call) -> Reply:
    """Objects are owned by those who store them, and ACLs count."""
    await configure(call, OWNERSHIP, None)
    return Reply(204, b"", b"")
