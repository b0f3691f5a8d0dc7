"""What a new bucket or a new object has of owner, ACL, ownership and public access block, by its request and the defaults."""

from __future__ import annotations

from storehouse.events import AccessChanged, AccessDecided
from storehouse.frontends.s3.access.acl import (
    GRANT_FIELDS,
    Acl,
    Field,
    encode_acl,
    has_acl_fields,
    private_acl,
    read_acl_fields,
)
from storehouse.frontends.s3.access.actions import ACL_FIELDS
from storehouse.frontends.s3.access.publicaccess import (
    ENFORCED,
    OWNERSHIPS,
    PREFERRED,
    WRITER,
    Block,
    encode_block,
    encode_ownership,
)
from storehouse.frontends.s3.access.state import ACL, BLOCK, OWNERSHIP
from storehouse.frontends.s3.call import Call
from storehouse.frontends.s3.errors import S3Error
from storehouse.storage.accounts.interfaces import canonical_id

__all__ = ["audit_change", "audit_refused_signature", "configure", "new_bucket", "new_object", "user_names"]

_FULL = "bucket-owner-full-control"


async def configure(call: Call, kind: str, data: bytes | None) -> None:
    """Replace a configuration of the call's bucket, or remove it. Durable when it returns; an audit event."""
    await call.door.access.set(call.door.store, call.bucket, kind, data)
    audit_change(call, kind if data is not None else f"remove-{kind}", call.bucket)


def audit_change(call: Call, action: str, resource: str, detail: str = "") -> None:
    """Report a change of access."""
    caller = call.caller
    call.door.audit(
        AccessChanged("s3", caller.who, call.source, action, resource, detail, caller.key_id, call.request_id)
    )


def audit_refused_signature(call: Call, error: S3Error) -> None:
    """Report a signature that was refused; not the key ID, which may be a secret in the wrong place."""
    resource = f"{call.bucket}/{call.key}" if call.key else call.bucket
    action = f"authenticate ({error.code})"
    call.door.audit(AccessDecided("s3", "", call.source, action, resource, False, "", call.request_id))


async def user_names(call: Call) -> dict[str, str]:
    """The names of all users, by their canonical IDs."""
    return {user.canonical_id: user.name for user in await call.door.accounts.list_users()}


async def new_object(call: Call, field: Field | None = None) -> dict[str, str]:
    """
    What a new object has of C{owner} and C{acl} in its system metadata.

    @param field: gives a header field of the request, or of a form; by default a header field of the call.
    @raise S3Error: C{AccessControlListNotSupported} for an ACL in a bucket where none counts; C{AccessDenied} for a public one
        that is blocked; C{InvalidArgument} and others for one that is none.
    """
    has_fields = (
        has_acl_fields(field) if field is not None else call.has_any(ACL_FIELDS) and has_acl_fields(call.header)
    )
    field = field or call.header
    state = await call.door.access.of(call.door.store, call.bucket)
    if not state.has_acls:
        if has_fields and not _is_owners(field, state.owner):
            raise S3Error("AccessControlListNotSupported")
        return {"owner": state.owner} if state.owner else {}
    owner = call.caller.name or state.owner
    if state.ownership == PREFERRED and field("x-amz-acl") == _FULL:
        owner = state.owner
    acl = None
    if has_fields:
        acl = read_acl_fields(field, owner, state.owner, (await user_names(call)).keys())
        if acl is not None and acl.is_public and state.block.acls:
            raise S3Error("AccessDenied", "Public ACLs are blocked by the public access block of the bucket")
    found = {"owner": owner} if owner else {}
    if acl is not None and acl != private_acl(owner):
        found["acl"] = encode_acl(acl)
        audit_change(call, "acl", f"{call.bucket}/{call.key}", "with an object that is being stored")
    return found


def _is_owners(field: Field, owner: str) -> bool:
    """Whether the fields say no more than that the owner of the bucket has all."""
    if field("x-amz-acl") is not None:
        return field("x-amz-acl") == _FULL
    given = [name for name in GRANT_FIELDS if field(name) is not None]
    value = (field("x-amz-grant-full-control") or "").replace('"', "").replace(" ", "")
    return given == ["x-amz-grant-full-control"] and value == f"id={canonical_id(owner)}"


async def new_bucket(call: Call) -> dict[str, bytes]:
    """
    The configurations of a new bucket that the caller is going to own, by their kinds.

    @raise S3Error: C{InvalidArgument}, C{InvalidBucketAclWithObjectOwnership}, C{InvalidBucketAclWithBlockPublicAccessError}.
    """
    is_classic = call.door.settings.defaults == "classic"
    said = call.header("x-amz-object-ownership")
    if said is not None and said not in OWNERSHIPS:
        raise S3Error("InvalidArgument", f"Invalid x-amz-object-ownership header: {said[:100]}")
    ownership = said or (WRITER if is_classic else ENFORCED)
    block = Block() if is_classic else Block(True, True, True, True)
    owner = call.caller.name
    acl: Acl | None = None
    if has_acl_fields(call.header):
        acl = read_acl_fields(call.header, owner, None, (await user_names(call)).keys())
    if acl is not None and acl != private_acl(owner):
        if ownership == ENFORCED:
            raise S3Error("InvalidBucketAclWithObjectOwnership")
        if block.acls and acl.is_public:
            raise S3Error("InvalidBucketAclWithBlockPublicAccessError")
    found: dict[str, bytes] = {}
    if said is not None or not is_classic:
        found[OWNERSHIP] = encode_ownership(ownership)
    if block != Block():
        found[BLOCK] = encode_block(block)
    if acl is not None and acl != private_acl(owner):
        found[ACL] = encode_acl(acl).encode()
    return found
