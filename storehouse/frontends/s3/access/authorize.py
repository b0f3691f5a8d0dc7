"""
Whether a call may be made: the rights of its user, the policy of the bucket, and the ACLs of bucket and object, together.

What the limits of an access key or a C{Deny} of the policy forbid is refused, whatever else allows it; but nobody can be kept
from the policy of the own bucket. Otherwise it is enough that one of these allows it: that the user is an administrator, or owns
the bucket; a right of the user; the policy; an ACL. Requests without a signature have no user: only policies and ACLs, and
buckets that were published, allow them anything.

Source: "How Amazon S3 authorizes a request" of the user guide of S3.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from storehouse.core.streams import BytesStream
from storehouse.core.turns import breath
from storehouse.core.xmltext import parse_in_turns
from storehouse.errors import Damaged, NoSuchBucket, NoSuchKey
from storehouse.events import AccessDecided
from storehouse.frontends.s3.access.acl import Acl, decode_acl, private_acl
from storehouse.frontends.s3.access.actions import (
    ACTION_FIELDS,
    ACTIONS,
    OBJECT,
    PERMISSION,
    actions_of,
    reads_configuration,
)
from storehouse.frontends.s3.access.context import RequestValues
from storehouse.frontends.s3.access.policy import Principal, Verdict, session_policy
from storehouse.frontends.s3.access.state import BucketAccess
from storehouse.frontends.s3.call import Call
from storehouse.frontends.s3.errors import S3Error
from storehouse.frontends.s3.fields import unquoted
from storehouse.frontends.s3.tagsets import node_tags, read_tags
from storehouse.storage.accounts.interfaces import User, canonical_id, covers
from storehouse.storage.namespace.interfaces import Bucket
from storehouse.storage.objects.interfaces import ObjectInfo
from storehouse.storage.objects.permitted import PermittedStore

__all__ = ["authorize"]

#: Operations whose handlers see to it themselves, for each of the keys that they are about.
_BY_HANDLER = frozenset({"Preflight", "PostObject", "DeleteObjects"})

#: Operations by which the owner of a bucket, or an administrator, removes a configuration that cannot be read, so that nothing else
#: is allowed in the bucket.
_REPAIRS = frozenset(
    {"DeleteBucketPolicy", "PutPublicAccessBlock", "DeletePublicAccessBlock", "DeleteBucketOwnershipControls"}
)

#: Actions that their bucket's owner, and administrators, cannot be denied by a policy.
_OF_POLICIES = frozenset(
    {"s3:GetBucketPolicy", "s3:PutBucketPolicy", "s3:DeleteBucketPolicy", "s3:GetBucketPolicyStatus"}
)

#: What the ACL of a bucket grants.
_BUCKET_ACL: Mapping[str, str] = {
    "s3:ListBucket": "READ",
    "s3:ListBucketVersions": "READ",
    "s3:ListBucketMultipartUploads": "READ",
    "s3:PutObject": "WRITE",
    "s3:DeleteObject": "WRITE",
    "s3:DeleteObjectVersion": "WRITE",
    "s3:AbortMultipartUpload": "WRITE",
    "s3:ListMultipartUploadParts": "WRITE",
    "s3:GetBucketAcl": "READ_ACP",
    "s3:PutBucketAcl": "WRITE_ACP",
}

#: What the ACL of an object grants.
_OBJECT_ACL: Mapping[str, str] = {
    "s3:GetObject": "READ",
    "s3:GetObjectVersion": "READ",
    "s3:GetObjectAttributes": "READ",
    "s3:GetObjectVersionAttributes": "READ",
    "s3:GetObjectAcl": "READ_ACP",
    "s3:GetObjectVersionAcl": "READ_ACP",
    "s3:PutObjectAcl": "WRITE_ACP",
    "s3:PutObjectVersionAcl": "WRITE_ACP",
}

#: Operations that change an object, and can have a condition for it.
_CONDITIONAL = frozenset(
    {"PutObject", "CopyObject", "CompleteMultipartUpload", "AppendObject", "RenameObject", "DeleteObject"}
)

#: Operations that list what begins with a prefix, which is what their caller must have a right to.
_BY_PREFIX = frozenset({"ListObjects", "ListObjectsV2", "ListObjectVersions", "ListMultipartUploads"})

#: What everybody can do with a published bucket.
_PUBLISHED = frozenset({"s3:GetObject", "s3:GetObjectVersion", "s3:ListBucket", "s3:GetBucketLocation"})

#: Bytes of a document with tags.
_MOST_TAGS = 256 << 10


@attrs.frozen
class _Allowed:
    """
    @ivar why: C{owner}, C{administrator}, C{right}, C{policy}, C{acl} or C{published}; empty if nothing allows it.
    @ivar new: of a call that stores an object: whether it may store a new one.
    @ivar replacing: whether it may replace one.
    """

    why: str
    new: bool = True
    replacing: bool = True

    def __bool__(self) -> bool:
        return bool(self.why) and (self.new or self.replacing)


async def authorize(call: Call) -> None:
    """
    See to it that a call may be made; the decision is an audit event. May set C{call.narrowed} and C{call.only_own}.

    @raise S3Error: C{AccessDenied}.
    @raise NoSuchBucket: if there is none.
    @raise NoSuchKey: if it is about an object that is not there, and the caller may know that.
    """
    if call.operation in _BY_HANDLER:
        if call.operation == "DeleteObjects" and call.caller.user is None:
            await _check_nobody(call)
        return
    header = call.form or (call.header if call.has_any(ACTION_FIELDS) else _no_field)
    actions = actions_of(call.operation, call.query, header)
    try:
        await _authorize(call, actions)
    except S3Error as error:
        if error.code == "AccessDenied":
            _audit(call, actions[0], False)
        raise
    _audit(call, actions[0], True)
    if _compares(call):
        # As with S3: whether an etag is that of an object says what its bytes are.
        await authorize(attrs.evolve(call, operation="GetObject"))


async def _check_nobody(call: Call) -> None:
    """Refuse an unsigned list of keys before reading it, which may be megabytes, if none of them can be allowed."""
    state = await call.door.access.of(call.door.store, call.bucket)
    by_acl = state.has_acls and state.acl.allows("WRITE", Principal(None, ""), state.block.ignores_acls)
    if state.policy is None and not by_acl:
        _audit(call, "s3:DeleteObject", False)
        raise S3Error("AccessDenied")


def _compares(call: Call) -> bool:
    """Whether a change has a condition on the content of the object, not only on whether there is one."""
    if call.operation not in _CONDITIONAL or call.form is not None:
        return False
    match = call.header("If-Match")
    return unquoted(match or "*") != "*" or (
        call.operation == "RenameObject"
        and any(call.header(name) is not None for name in ("If-Modified-Since", "If-Unmodified-Since"))
    )


def _no_field(name: str) -> None:
    """The header fields of a request that has none of those that matter."""


def _audit(call: Call, action: str, is_allowed: bool) -> None:
    resource = f"{call.bucket}/{call.key}" if call.key else call.bucket
    caller = call.caller
    call.door.audit(
        AccessDecided("s3", caller.who, call.source, action, resource, is_allowed, caller.key_id, call.request_id)
    )


async def _authorize(call: Call, actions: tuple[str, ...]) -> None:
    user = call.caller.user
    if user is not None and user.is_disabled:
        raise S3Error("AccessDenied")
    if user is not None and user.temporary is not None and user.temporary.policies:
        await _check_session(call, user, actions)
    if not call.bucket:
        if user is None:
            raise S3Error("AccessDenied")
        return
    if call.operation == "CreateBucket":
        if user is None or not user.may("create", call.bucket):
            raise S3Error("AccessDenied")
        return
    try:
        state = await call.door.access.of(call.door.store, call.bucket)
    except Damaged:
        if call.operation in _REPAIRS and user is not None and not user.has_limits:
            owner = (await call.door.store.get_bucket(call.bucket)).owner
            if user.is_admin or user.name == owner != "":
                return
        raise
    is_plain = state.policy is None and user is not None and user.limits is None and user.temporary is None
    if is_plain and user is not None and _is_master(user, state, actions[0]):
        return  # as most requests are
    # One request can ask for a thousand decisions.
    await breath()
    decision = _Decision(call, state)
    await decision.prepare(actions)
    allowed = decision.check(actions)
    if not allowed and actions[0] in _OBJECT_ACL:
        allowed = await decision.by_object_acl(actions)
    if not allowed:
        raise S3Error("AccessDenied")
    if allowed.why != "administrator" and actions[0] in _OBJECT_ACL and not decision.may_list():
        # A caller who cannot list the bucket must not learn which keys there are.
        try:
            await call.door.store.head(call.bucket, call.key)
        except NoSuchKey:
            raise S3Error("AccessDenied") from None
    if actions[0] == "s3:AbortMultipartUpload" and allowed.why not in ("policy", "acl"):
        call.only_own = not decision.may_delete()
    if actions[0] == "s3:PutObject" and not (allowed.new and allowed.replacing):
        call.narrowed = _narrowed(call, allowed, actions[0])


async def _check_session(call: Call, user: User, actions: tuple[str, ...]) -> None:
    """
    Check that the policies of a temporary key allow a call.

    @raise S3Error: C{AccessDenied}.
    """
    for action in actions:
        if not await _session_allows(call, user, action):
            raise S3Error("AccessDenied")


async def _session_allows(call: Call, user: User, action: str) -> bool:
    """Whether each of the policies of a temporary key, if it has any, allows an action."""
    if user.temporary is None or not user.temporary.policies:
        return True
    arn = f"arn:aws:s3:::{call.bucket or '*'}"
    if ACTIONS.get(action) == OBJECT:
        arn = f"{arn}/{call.key}"
    policies = [session_policy(each) for each in user.temporary.policies]
    tags = None
    if call.key and any(key.startswith("s3:existingobjecttag/") for each in policies for key in each.keys):
        try:
            info: ObjectInfo = await call.door.store.head(call.bucket, call.key)
            tags = dict(read_tags(info.system.get("tagging", "")))
        except (NoSuchKey, NoSuchBucket):
            pass
    values, principal = RequestValues(call, tags), Principal(user.name, canonical_id(user.name))
    for policy in policies:
        if await policy.verdict_in_turns(principal, action, arn, values) != "allow":
            return False
    return True


def _narrowed(call: Call, allowed: _Allowed, action: str) -> PermittedStore:
    """The store for a call that may only store new objects, or only replace existing ones."""

    async def may(permission: str, bucket: str, key: str, found: Bucket | None = None) -> bool:
        return {"put-new": allowed.new, "overwrite": allowed.replacing}.get(permission, True)

    def decided(permission: str, bucket: str, key: str, is_allowed: bool) -> None:
        if not is_allowed:
            _audit(call, action, False)

    return PermittedStore(call.door.store, may, decided, call.caller.name)


def _is_master(user: User, state: BucketAccess, action: str) -> bool:
    """Whether a user can do something as an administrator, or as the owner of the bucket."""
    if user.is_admin:
        return True
    # Where ACLs count, an object is its owner's, who need not be that of the bucket.
    return user.name == state.owner != "" and not (state.has_acls and action in _OBJECT_ACL)


class _Decision:
    def __init__(self, call: Call, state: BucketAccess) -> None:
        self._call = call
        self._state = state
        self._user: User | None = call.caller.user
        name = None if self._user is None else self._user.name
        self._principal = Principal(name, "" if name is None else canonical_id(name))
        self._verdicts: dict[str, Verdict] = {}
        self._hides = False

    async def prepare(self, actions: tuple[str, ...]) -> None:
        """Find out what the policy says of the actions, and of listing, which says whether the caller may know of keys."""
        call, policy = self._call, self._state.policy
        if self._user is not None and not await _session_allows(call, self._user, "s3:ListBucket"):
            self._hides = True
        if policy is None:
            return
        object_tags = request_tags = None
        if any(key.startswith("s3:existingobjecttag/") for key in policy.keys) and call.key:
            try:
                info: ObjectInfo = await call.door.store.head(call.bucket, call.key)
                object_tags = dict(read_tags(info.system.get("tagging", "")))
            except NoSuchKey:
                pass
        if call.operation == "PutObjectTagging" and any("requestobjecttag" in key for key in policy.keys):
            # The body says what they are; the handler reads it again.
            data = await call.read_body(_MOST_TAGS)
            call.body, call.length = BytesStream([data]), len(data)
            request_tags = dict(node_tags(await parse_in_turns(data, "Tagging")))
        values = RequestValues(call, object_tags, request_tags)
        for action in {*actions, "s3:ListBucket"}:
            self._verdicts[action] = await policy.verdict_in_turns(self._principal, action, self._arn(action), values)

    def check(self, actions: tuple[str, ...]) -> _Allowed:
        """
        What allows all of the actions but the ACL of an object.

        @raise S3Error: C{AccessDenied} for what is denied whatever else allows it.
        """
        for action in actions:
            # The tags of a new object are part of what is new.
            is_part = action == "s3:PutObjectTagging" and action != actions[0]
            if not (is_part or self._is_within_limits(action)) or self._is_denied(action):
                raise S3Error("AccessDenied")
        allowed = self._allowed(actions[0])
        if allowed.why in ("policy", "acl"):
            for action in actions[1:]:
                # Who may store by an ACL may say who reads it.
                if not (self._is_allowed_by_policy(action) or allowed.why == "acl"):
                    return _Allowed("")
        return allowed

    def may_list(self) -> bool:
        """Whether the caller can see which keys there are."""
        return bool(not self._hides and not self._is_denied("s3:ListBucket") and self._allowed("s3:ListBucket"))

    def may_delete(self) -> bool:
        """Whether the rights of the user, and the limits of the key, are such that objects can be removed."""
        return self._user is not None and self._may(self._user, "delete")

    async def by_object_acl(self, actions: tuple[str, ...]) -> _Allowed:
        """
        What the ACL of the object allows.

        @raise NoSuchKey: if there is no object, and the caller may know that.
        """
        call, state = self._call, self._state
        try:
            info: ObjectInfo = await call.door.store.head(call.bucket, call.key)
        except NoSuchKey:
            if self.may_list():
                raise
            return _Allowed("")
        if not state.has_acls:
            return _Allowed("")
        owner = info.system.get("owner", state.owner)
        acl: Acl = decode_acl(info.system["acl"]) if "acl" in info.system else private_acl(owner)
        for action in actions:
            permission = _OBJECT_ACL.get(action)
            if permission is None:
                return _Allowed("")
            # The owner of an object can always read and change its ACL.
            is_owner = permission.endswith("_ACP") and self._principal.name == owner
            if not is_owner and not acl.allows(permission, self._principal, state.block.ignores_acls):
                return _Allowed("")
        return _Allowed("acl")

    # -- one action ------------------------------------------------------------------------------------------------

    def _is_master(self, action: str) -> bool:
        return self._user is not None and _is_master(self._user, self._state, action)

    def _is_within_limits(self, action: str) -> bool:
        """Whether the limits of the access key, if it has any, allow an action at all."""
        user = self._user
        if user is None or not user.has_limits:
            return True
        # What the user can do is not asked here: an administrator's limits are what is left.
        limited = attrs.evolve(user, is_admin=True)
        if action in ("s3:PutObject", "s3:ListMultipartUploadParts", "s3:AbortMultipartUpload"):
            return any(self._may(limited, permission) for permission in ("put-new", "overwrite"))
        permission = PERMISSION.get(action)
        if permission is None and ACTIONS[action] != OBJECT and reads_configuration(action):
            permission = "list"
        if action == "s3:DeleteBucket":
            permission = "delete"
        return permission is not None and self._may(limited, permission)

    def _may(self, user: User, permission: str) -> bool:
        call = self._call
        # Elsewhere a prefix means nothing, and would make the configuration of the bucket one of some keys.
        key = call.query.get("prefix", "") if call.operation in _BY_PREFIX else call.key
        return user.may(permission, call.bucket, key, self._state.owner)

    def _arn(self, action: str) -> str:
        arn = f"arn:aws:s3:::{self._call.bucket}"
        return f"{arn}/{self._call.key}" if ACTIONS.get(action) == OBJECT else arn

    def _is_denied(self, action: str) -> bool:
        return self._verdicts.get(action) == "deny" and not (action in _OF_POLICIES and self._is_master(action))

    def _is_allowed_by_policy(self, action: str) -> bool:
        policy = self._state.policy
        if policy is None or (self._state.block.restricts and policy.is_public):
            return False
        return self._verdicts.get(action) == "allow"

    def _allowed(self, action: str) -> _Allowed:
        user, state = self._user, self._state
        new = replacing = True
        if user is not None and user.has_limits and action == "s3:PutObject":
            limited = attrs.evolve(user, is_admin=True)
            new, replacing = self._may(limited, "put-new"), self._may(limited, "overwrite")
        if user is not None and self._is_master(action):
            return _Allowed("administrator" if user.is_admin else "owner", new, replacing)
        if self._is_allowed_by_policy(action):
            return _Allowed("policy", new, replacing)
        permission = _BUCKET_ACL.get(action)
        grants = permission is not None and state.has_acls
        if grants and state.acl.allows(str(permission), self._principal, state.block.ignores_acls):
            return _Allowed("acl", new, replacing)
        if state.is_published and action in _PUBLISHED:
            return _Allowed("published")
        return _Allowed("") if user is None else self._by_right(user, action)

    def _by_right(self, user: User, action: str) -> _Allowed:
        if action in ("s3:PutObject", "s3:ListMultipartUploadParts", "s3:AbortMultipartUpload"):
            new, replacing = self._may(user, "put-new"), self._may(user, "overwrite")
            return _Allowed("right", new, replacing) if new or replacing else _Allowed("")
        needed = PERMISSION.get(action)
        if needed is None:
            return _Allowed("")
        if action in _OBJECT_ACL and self._state.has_acls:
            # What the user was granted, without what comes of owning the bucket.
            call, owner = self._call, self._state.owner
            return _Allowed("right" if covers(user.rights, needed, call.bucket, call.key, owner) else "")
        return _Allowed("right" if self._may(user, needed) else "")
