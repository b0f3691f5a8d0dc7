"""
Access control lists: canned, in header fields and in documents; and how they are kept, in JSON::

    {"grants":[["FULL_CONTROL","id:64 HEX DIGITS"],["READ","all"]]}

A grantee is the canonical ID of a user, C{all} (everybody), C{users} (all users) or C{log} (log delivery). Without a list, the
owner has FULL_CONTROL and nobody else anything.

Source: "Access control list (ACL) overview" of the user guide of S3; PutBucketAcl and PutObjectAcl of its API reference.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import attrs

from storehouse.core.jsontext import take_json
from storehouse.core.xmltext import Node, document, element, text
from storehouse.errors import Damaged
from storehouse.frontends.s3.access.policy import Principal
from storehouse.frontends.s3.errors import S3Error
from storehouse.storage.accounts.interfaces import canonical_id

__all__ = [
    "GRANT_FIELDS",
    "Acl",
    "acl_document",
    "canned_acl",
    "decode_acl",
    "encode_acl",
    "has_acl_fields",
    "private_acl",
    "read_acl_document",
    "read_acl_fields",
]

PERMISSIONS = ("FULL_CONTROL", "WRITE", "WRITE_ACP", "READ", "READ_ACP")

_GROUPS = {
    "http://acs.amazonaws.com/groups/global/AllUsers": "all",
    "http://acs.amazonaws.com/groups/global/AuthenticatedUsers": "users",
    "http://acs.amazonaws.com/groups/s3/LogDelivery": "log",
}
_URIS = {group: uri for uri, group in _GROUPS.items()}

#: Grants that an ACL has at most.
_MOST_GRANTS = 100

#: Header fields that grant a permission.
GRANT_FIELDS: Mapping[str, str] = {
    "x-amz-grant-full-control": "FULL_CONTROL",
    "x-amz-grant-read": "READ",
    "x-amz-grant-read-acp": "READ_ACP",
    "x-amz-grant-write": "WRITE",
    "x-amz-grant-write-acp": "WRITE_ACP",
}

_id = re.compile(r"[0-9a-f]{64}").fullmatch
_grantee_in_field = re.compile(
    r"\s*(id|uri|emailAddress)\s*=\s*(?:\"([^\"]*)\"|([^\s,\"]*))\s*", re.IGNORECASE
).fullmatch

#: Gives a header field by its name, or a form's; C{None} without one.
Field = Callable[[str], str | None]


@attrs.frozen
class Acl:
    """
    @ivar grants: pairs of a permission and a grantee.
    """

    grants: tuple[tuple[str, str], ...]

    def allows(self, permission: str, principal: Principal, ignores_groups: bool = False) -> bool:
        """
        Whether the list grants a permission.

        @param ignores_groups: whether what it grants to everybody and to all users does not count.
        """
        for granted, grantee in self.grants:
            if granted not in (permission, "FULL_CONTROL"):
                continue
            if grantee == f"id:{principal.canonical_id}":
                return True
            if not ignores_groups and (grantee == "all" or (grantee == "users" and principal.name is not None)):
                return True
        return False

    @property
    def is_public(self) -> bool:
        """Whether it grants anything to everybody, or to all users."""
        return any(grantee in ("all", "users") for _, grantee in self.grants)


def private_acl(owner: str) -> Acl:
    """That of what has none. @param owner: the name of the user."""
    return Acl((("FULL_CONTROL", f"id:{canonical_id(owner)}"),))


def encode_acl(acl: Acl) -> str:
    """As it is kept."""
    return json.dumps({"grants": [list(grant) for grant in acl.grants]}, separators=(",", ":"))


def decode_acl(data: str | bytes) -> Acl:
    """@raise Damaged: if it is none."""
    try:
        value: Any = take_json(data if isinstance(data, bytes) else data.encode())
        grants = tuple((str(permission), str(grantee)) for permission, grantee in value["grants"])
    except (ValueError, TypeError, KeyError):
        raise Damaged("an ACL is damaged: put it again") from None
    return Acl(grants)


# -- canned --------------------------------------------------------------------------------------------------------

_CANNED: Mapping[str, Sequence[tuple[str, str]]] = {
    "private": (),
    "public-read": (("READ", "all"),),
    "public-read-write": (("READ", "all"), ("WRITE", "all")),
    "authenticated-read": (("READ", "users"),),
    # Of services that are not here: the owner alone has the object.
    "aws-exec-read": (),
    "log-delivery-write": (("WRITE", "log"), ("READ_ACP", "log")),
    "bucket-owner-read": (),
    "bucket-owner-full-control": (),
}


def canned_acl(name: str, owner: str, bucket_owner: str | None) -> Acl:
    """
    @param owner: the name of the user who owns the object, or the bucket.
    @param bucket_owner: of an object: who owns its bucket; C{None} for the ACL of a bucket.
    @raise S3Error: C{InvalidArgument} for one that there is not.
    """
    if name not in _CANNED or (name == "log-delivery-write" and bucket_owner is not None):
        raise S3Error("InvalidArgument", "", ArgumentName="x-amz-acl", ArgumentValue=name[:200])
    grants = [("FULL_CONTROL", f"id:{canonical_id(owner)}"), *_CANNED[name]]
    if bucket_owner is not None and bucket_owner != owner:
        given = {"bucket-owner-read": "READ", "bucket-owner-full-control": "FULL_CONTROL"}.get(name)
        if given is not None:
            grants.append((given, f"id:{canonical_id(bucket_owner)}"))
    return Acl(tuple(grants))


# -- header fields -------------------------------------------------------------------------------------------------


def has_acl_fields(field: Field) -> bool:
    """Whether a request has an ACL in its header fields."""
    return field("x-amz-acl") is not None or any(field(name) is not None for name in GRANT_FIELDS)


def read_acl_fields(field: Field, owner: str, bucket_owner: str | None, ids: Collection[str]) -> Acl | None:
    """
    The ACL of header fields; C{None} without any.

    @param ids: the canonical IDs of all users.
    @param bucket_owner: as of L{canned_acl}.
    @raise S3Error: C{InvalidRequest}, C{InvalidArgument}, C{UnresolvableGrantByEmailAddress}.
    """
    canned = field("x-amz-acl")
    given = {name: value for name in GRANT_FIELDS if (value := field(name)) is not None}
    if canned is not None and given:
        raise S3Error("InvalidRequest", "Specifying both Canned ACLs and Header Grants is not allowed")
    if canned is not None:
        return canned_acl(canned, owner, bucket_owner)
    if not given:
        return None
    grants = []
    for name, value in given.items():
        for part in value.split(","):
            found = _grantee_in_field(part)
            if found is None:
                raise S3Error(
                    "InvalidArgument", "Argument format not recognized", ArgumentName=name, ArgumentValue=value[:200]
                )
            kind, text_ = found[1].lower(), found[2] if found[2] is not None else found[3]
            grants.append((GRANT_FIELDS[name], _grantee(kind, text_, ids, name)))
    return _bounded(grants)


def _grantee(kind: str, value: str, ids: Collection[str], name: str) -> str:
    if kind == "emailaddress":
        raise S3Error("UnresolvableGrantByEmailAddress", ArgumentName="Email", ArgumentValue=value[:200])
    if kind == "uri":
        group = _GROUPS.get(value.strip())
        if group is None:
            raise S3Error("InvalidArgument", "Invalid group uri", ArgumentName=name, ArgumentValue=value[:200])
        return group
    lower = value.strip().lower()
    if not _id(lower) or lower not in ids:
        raise S3Error("InvalidArgument", "Invalid id", ArgumentName=name, ArgumentValue=value[:200])
    return f"id:{lower}"


def _bounded(grants: Iterable[tuple[str, str]]) -> Acl:
    found = tuple(dict.fromkeys(grants))
    if len(found) > _MOST_GRANTS:
        raise S3Error("MalformedACLError", f"An ACL has at most {_MOST_GRANTS} grants")
    return Acl(found)


# -- documents -----------------------------------------------------------------------------------------------------


def read_acl_document(node: Node, owner: str, ids: Collection[str]) -> Acl:
    """
    The ACL of an C{AccessControlPolicy}.

    @param owner: the name of the user who owns the object, or the bucket: the document must name that one.
    @raise S3Error: C{MalformedACLError}, C{AccessDenied}, C{InvalidArgument}.
    """
    owners, lists = node.child("Owner"), node.child("AccessControlList")
    if owners is None or lists is None or not owners.value("ID"):
        raise S3Error("MalformedACLError")
    if owners.value("ID").lower() != canonical_id(owner):
        raise S3Error("AccessDenied", "The owner that the ACL names is another one")
    grants = []
    for grant in lists.children:
        grantee = grant.child("Grantee")
        permission = grant.value("Permission")
        if grant.name != "Grant" or grantee is None or permission not in PERMISSIONS:
            raise S3Error("MalformedACLError")
        kind = next((value for name, value in grantee.attributes.items() if name.rpartition(":")[2] == "type"), "")
        for wanted, member, word in (
            ("CanonicalUser", "ID", "id"),
            ("Group", "URI", "uri"),
            ("AmazonCustomerByEmail", "EmailAddress", "emailaddress"),
        ):
            if kind == wanted or (not kind and grantee.child(member) is not None):
                grants.append((permission, _grantee(word, grantee.value(member), ids, f"{wanted}/{member}")))
                break
        else:
            raise S3Error("MalformedACLError")
    return _bounded(grants)


def acl_document(acl: Acl, owner: str, names: Mapping[str, str]) -> bytes:
    """
    @param names: of users, by their canonical IDs.
    """
    grants = []
    for permission, grantee in acl.grants:
        kind, _, value = grantee.partition(":")
        if kind == "id":
            inner = ("CanonicalUser", text("ID", value) + text("DisplayName", names.get(value, "")))
        else:
            inner = ("Group", text("URI", _URIS.get(kind, kind)))
        grants.append(
            element(
                "Grant",
                f'<Grantee xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="{inner[0]}">{inner[1]}</Grantee>',
                text("Permission", permission),
            )
        )
    return document(
        "AccessControlPolicy",
        element("Owner", text("ID", canonical_id(owner)), text("DisplayName", owner)),
        element("AccessControlList", *grants),
    )
