"""What is configured of the access to buckets, read once and kept in memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import TypeVar

import attrs

from storehouse.errors import Damaged
from storehouse.frontends.s3.access.acl import Acl, decode_acl, private_acl
from storehouse.frontends.s3.access.policy import Policy, read_policy
from storehouse.frontends.s3.access.publicaccess import ENFORCED, WRITER, Block, decode_block, decode_ownership
from storehouse.frontends.s3.errors import S3Error
from storehouse.storage.namespace.interfaces import Bucket
from storehouse.storage.objects.interfaces import IObjectStore

__all__ = ["ACL", "BLOCK", "OWNERSHIP", "POLICY", "Access", "BucketAccess"]

#: Kinds of configurations of a bucket.
POLICY, ACL, BLOCK, OWNERSHIP = "policy", "acl", "public-access-block", "ownership"

#: Buckets that are kept.
_MOST = 1000

T = TypeVar("T")


@attrs.frozen(eq=False)
class BucketAccess:
    """
    @ivar owner: the name of the user who owns the bucket; empty if nobody does.
    @ivar policy: C{None} without one.
    @ivar acl: that of the bucket, or what counts without one.
    @ivar block: what is blocked.
    @ivar ownership: who owns objects, and whether ACLs count: one of
        L{OWNERSHIPS<storehouse.frontends.s3.access.publicaccess.OWNERSHIPS>}.
    @ivar is_published: whether everybody can read the bucket at all doors (C{storehouse publish}).
    """

    owner: str
    policy: Policy | None
    acl: Acl
    block: Block
    ownership: str
    is_published: bool

    @property
    def has_acls(self) -> bool:
        """Whether ACLs count."""
        return self.ownership != ENFORCED


class Access:
    """The configurations of buckets. All changes of them go through L{set}, so that what is kept is what there is."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, tuple[Bucket, BucketAccess]] = OrderedDict()
        self._changes = 0

    async def of(self, store: IObjectStore, name: str) -> BucketAccess:
        """
        @param store: an C{IObjectStore}.
        @raise NoSuchBucket: if there is none.
        @raise Damaged: if something of it cannot be read: nothing is allowed then by what is not understood.
        """
        bucket: Bucket = await store.get_bucket(name)
        before, access = self._kept.get(name, (None, None))
        if before is None or access is None or (before.created, before.owner) != (bucket.created, bucket.owner):
            return await self._read(store, bucket)
        if before is not bucket:
            # Its metadata is another one.
            access = attrs.evolve(access, is_published=_is_published(bucket))
            self._kept[name] = bucket, access
        self._kept.move_to_end(name)
        return access

    async def _read(self, store: IObjectStore, bucket: Bucket) -> BucketAccess:
        name, owner, changes = bucket.name, bucket.owner, self._changes

        async def read(kind: str, decode: Callable[[bytes], T], default: T) -> T:
            data = await self.config(store, name, kind)
            return default if data is None else decode(data)

        # What no user owns was made by another door, and has been nobody's but the service's.
        block, ownership = (Block(), WRITER) if owner else (Block(True, True, True, True), ENFORCED)
        access = BucketAccess(
            owner,
            await read(POLICY, lambda data: _policy(data, name), None),
            await read(ACL, decode_acl, private_acl(owner)),
            await read(BLOCK, decode_block, block),
            await read(OWNERSHIP, decode_ownership, ownership),
            _is_published(bucket),
        )
        if self._changes == changes:
            self._kept[name] = bucket, access
            self._kept.move_to_end(name)
            while len(self._kept) > _MOST:
                self._kept.popitem(last=False)
        return access

    async def config(self, store: IObjectStore, name: str, kind: str) -> bytes | None:
        """A configuration as it is kept; C{None} without one."""
        data: bytes | None = await store.bucket_config(name, kind)
        return data

    async def set(self, store: IObjectStore, name: str, kind: str, data: bytes | None) -> None:
        """Replace a configuration, or remove it. Durable when it returns."""
        self._forget(name)
        try:
            change: Awaitable[None] = store.set_bucket_config(name, kind, data)
            await change
        finally:
            # What was read meanwhile may be of before.
            self._forget(name)

    def _forget(self, name: str) -> None:
        self._changes += 1
        self._kept.pop(name, None)


def _is_published(bucket: Bucket) -> bool:
    return "read" in bucket.metadata.get("public", ())


def _policy(data: bytes, bucket: str) -> Policy | None:
    try:
        return read_policy(data, bucket)
    except S3Error as error:
        raise Damaged(f"the policy of the bucket {bucket} cannot be read: {error.detail}") from None
