"""Policies of buckets: C{?policy} and C{?policyStatus}."""

from __future__ import annotations

from storehouse.core.xmltext import XML, document, text
from storehouse.frontends.http.reply import Reply
from storehouse.frontends.s3.access.owning import configure
from storehouse.frontends.s3.access.policy import MOST_POLICY, read_policy
from storehouse.frontends.s3.access.state import POLICY
from storehouse.frontends.s3.call import Call
from storehouse.frontends.s3.errors import S3Error
from storehouse.frontends.s3.route import handler

__all__: list[str] = []


@handler("GetBucketPolicy")
async def get_bucket_policy(call: Call) -> Reply:
    """The policy, as it was given."""
    state = await call.door.access.of(call.store, call.bucket)
    if state.policy is None:
        raise S3Error("NoSuchBucketPolicy", BucketName=call.bucket)
    return Reply(200, state.policy.data, b"application/json")


@handler("PutBucketPolicy")
async def put_bucket_policy(call: Call) -> Reply:
    """Give the bucket a policy, in place of the one that it has."""
    data = await call.read_body(4 * MOST_POLICY)
    if not data:
        raise S3Error("MissingRequestBodyError")
    policy = read_policy(data, call.bucket)
    state = await call.door.access.of(call.store, call.bucket)
    if state.block.policy and policy.is_public:
        raise S3Error("AccessDenied", "Public policies are blocked by the public access block of the bucket")
    await configure(call, POLICY, data)
    return Reply(204, b"", b"")


@handler("DeleteBucketPolicy")
async def delete_bucket_policy(call: Call) -> Reply:
    """Remove the policy, if there is one."""
    await configure(call, POLICY, None)
    return Reply(204, b"", b"")


@handler("GetBucketPolicyStatus")
async def get_bucket_policy_status(call: Call) -> Reply:
    """Whether the policy makes something of the bucket public."""
    state = await call.door.access.of(call.store, call.bucket)
    if state.policy is None:
        raise S3Error("NoSuchBucketPolicy", BucketName=call.bucket)
    return Reply(200, document("PolicyStatus", text("IsPublic", state.policy.is_public)), XML)
