"""
Public access block and object ownership: what of policies and ACLs counts in a bucket.

Both are kept as configurations of the bucket, in JSON: C{{"BlockPublicAcls":true,...}} and C{{"ObjectOwnership":"..."}}. A bucket that
S3 has made without them, or that had them removed, blocks nothing and has ACLs that count; one that another door has made, which
no user owns, blocks everything.

Source: "Blocking public access to your Amazon S3 storage" and "Controlling ownership of objects" of the user guide of S3.
"""

from __future__ import annotations

import json

import attrs

from storehouse.core.jsontext import take_json
from storehouse.errors import Damaged

__all__ = [
    "ENFORCED",
    "OWNERSHIPS",
    "PREFERRED",
    "WRITER",
    "Block",
    "decode_block",
    "decode_ownership",
    "encode_block",
    "encode_ownership",
]

ENFORCED, PREFERRED, WRITER = OWNERSHIPS = ("BucketOwnerEnforced", "BucketOwnerPreferred", "ObjectWriter")


@attrs.frozen
class Block:
    """
    @ivar acls: whether requests that would make an ACL public are refused.
    @ivar ignores_acls: whether what ACLs grant to everybody, or to all users, does not count.
    @ivar policy: whether a policy that is public is refused.
    @ivar restricts: whether a policy that is public allows nothing to others than the owner.
    """

    acls: bool = False
    ignores_acls: bool = False
    policy: bool = False
    restricts: bool = False


_NAMES = {
    "acls": "BlockPublicAcls",
    "ignores_acls": "IgnorePublicAcls",
    "policy": "BlockPublicPolicy",
    "restricts": "RestrictPublicBuckets",
}


def encode_block(block: Block) -> bytes:
    """As it is kept."""
    return json.dumps({name: getattr(block, field) for field, name in _NAMES.items()}, separators=(",", ":")).encode()


def decode_block(data: bytes) -> Block:
    """@raise Damaged: if it is none."""
    value = _decoded(data)
    return Block(**{field: value.get(name) is True for field, name in _NAMES.items()})


def encode_ownership(ownership: str) -> bytes:
    """As it is kept."""
    return json.dumps({"ObjectOwnership": ownership}, separators=(",", ":")).encode()


def decode_ownership(data: bytes) -> str:
    """@raise Damaged: if it is none."""
    ownership = _decoded(data).get("ObjectOwnership")
    if ownership not in OWNERSHIPS:
        raise Damaged("the ownership controls of the bucket are damaged: put them again")
    return str(ownership)


def _decoded(data: bytes) -> dict[str, object]:
    try:
        value = take_json(data)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise Damaged("the public access block or the ownership controls of the bucket are damaged: put them again")
    return value
