"""An object store as one user may use it: for doors that do not ask who one is, and act as a user that is configured."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from storehouse.core.jobs import deferred
from storehouse.errors import AlreadyExists, Forbidden, NoSuchBucket, PreconditionFailed
from storehouse.storage.accounts.interfaces import User
from storehouse.storage.namespace.interfaces import Bucket
from storehouse.storage.objects.interfaces import ALWAYS, Condition

__all__ = ["PermittedStore"]

#: What a method needs on the bucket and the key, or prefix, that are its first arguments. Others are for administrators.
_NEEDED: Mapping[str, str] = {
    "get": "read",
    "head": "read",
    "list_object_parts": "read",
    "delete": "delete",
    "set_system": "overwrite",
    "list_objects": "list",
    "list_keys": "list",
    "usage": "list",
    "get_bucket": "list",
}

#: What the key, or prefix, is called where it is given by its name.
_KEY_NAMES = ("key", "prefix")


class PermittedStore:
    """
    What an C{IObjectStore} and an C{IMaintained} do, as far as a user has a right to it: L{User.may} decides, as at all doors.

    A user with C{put-new} alone replaces nothing, and one with C{overwrite} alone stores nothing new: the store checks that in the step
    that makes the change.

    @param user: gives the user, as it is now. @raise Forbidden: if there is none.
    @param decided: called with a permission, bucket, key, and whether that was allowed.
    """

    def __init__(
        self,
        store: Any,
        user: Callable[[], User],
        decided: Callable[[str, str, str, bool], object] = lambda permission, bucket, key, allowed: None,
    ) -> None:
        self._store = store
        self._user = user
        self._decided = decided

    async def _may(self, permission: str, bucket: str, key: str) -> bool:
        try:
            owner = (await self._store.get_bucket(bucket)).owner
        except NoSuchBucket:
            owner = ""  # the store says so
        return self._user().may(permission, bucket, key, owner)

    async def _check(self, permission: str, bucket: str, key: str) -> None:
        allowed = await self._may(permission, bucket, key)
        self._decided(permission, bucket, key, allowed)
        if not allowed:
            raise Forbidden(f"{self._user().name} has no right to {permission} {bucket}/{key}")

    def check_admin(self, what: str) -> None:
        """@raise Forbidden: unless the user is an administrator."""
        if not self._user().is_unlimited_admin:
            self._decided(what, "", "", False)
            raise Forbidden(f"{self._user().name} is not an administrator")

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)
        permission = _NEEDED.get(name)

        @deferred
        async def call(*args: Any, **kwargs: Any) -> Any:
            if permission is None:
                self.check_admin(name)
            else:
                given = [*args, *(kwargs[each] for each in ("bucket", "name", *_KEY_NAMES) if each in kwargs)]
                await self._check(permission, given[0], given[1] if len(given) > 1 else "")
            return await method(*args, **kwargs)

        return call

    @deferred
    async def list_buckets(self) -> list[Bucket]:
        """Those that the user can list."""
        user = self._user()
        return [each for each in await self._store.list_buckets() if user.may("list", each.name, "", each.owner)]

    @deferred
    async def create_bucket(self, name: str, *args: Any, **kwargs: Any) -> Bucket:
        """See C{IObjectStore}. An existing bucket is reported as such also to users who cannot create one."""
        if not await self._may("create", name, ""):
            try:
                await self._store.get_bucket(name)
            except NoSuchBucket:
                pass
            else:
                raise AlreadyExists(f"the bucket {name} already exists")
        await self._check("create", name, "")
        bucket: Bucket = await self._store.create_bucket(name, *args, **kwargs)
        return bucket

    @deferred
    async def put(
        self,
        bucket: str,
        key: str,
        stream: Any,
        size: int | None,
        content_type: str = "",
        metadata: Any = None,
        condition: Condition = ALWAYS,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        """See C{IObjectStore}."""
        changed = await self._narrowed(bucket, key, condition)
        return await self._changing(
            changed != condition,
            bucket,
            key,
            self._store.put(bucket, key, stream, size, content_type, metadata, changed, *args, **kwargs),
        )

    @deferred
    async def copy(
        self,
        bucket: str,
        key: str,
        source_bucket: str,
        source_key: str,
        content_type: str | None = None,
        metadata: Any = None,
        condition: Condition = ALWAYS,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        """See C{IObjectStore}."""
        await self._check("read", source_bucket, source_key)
        changed = await self._narrowed(bucket, key, condition)
        return await self._changing(
            changed != condition,
            bucket,
            key,
            self._store.copy(bucket, key, source_bucket, source_key, content_type, metadata, changed, *args, **kwargs),
        )

    async def _narrowed(self, bucket: str, key: str, condition: Condition) -> Condition:
        new, replacing = await self._may("put-new", bucket, key), await self._may("overwrite", bucket, key)
        narrowed = condition.narrowed(new, replacing)
        permission = "put-new" if new or not replacing else "overwrite"
        self._decided(permission, bucket, key, narrowed is not None)
        if narrowed is None:
            raise Forbidden(f"{self._user().name} has no right to {'replace' if new else 'store'} {bucket}/{key}")
        return narrowed

    async def _changing(self, is_narrowed: bool, bucket: str, key: str, work: Any) -> Any:
        try:
            return await work
        except PreconditionFailed as error:
            if not is_narrowed:
                raise
            self._decided("overwrite", bucket, key, False)
            raise Forbidden(f"{self._user().name} has no right to do that with {bucket}/{key}") from error
