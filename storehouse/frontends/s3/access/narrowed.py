"""An object store for those who can only store what is new, or only replace what is there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from storehouse.errors import NoSuchKey, PreconditionFailed
from storehouse.frontends.s3.errors import S3Error
from storehouse.storage.objects.interfaces import ALWAYS, Condition

__all__ = ["Narrowed"]


class Narrowed:
    """
    What an C{IObjectStore} does, with a further condition on what changes a key: that the key has no object, or that it has one.
    The store looks at the condition in the step that makes the change, so that nothing comes between.

    @param replaces: whether what is there is replaced, and nothing new is stored; otherwise the reverse.
    @param refused: called when that refuses a change.
    """

    def __init__(self, store: Any, replaces: bool, refused: Callable[[], object] = lambda: None) -> None:
        self._store = store
        self._replaces = replaces
        self._refused = refused

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

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
        return await self._only(condition, lambda changed: self._store.put(
            bucket, key, stream, size, content_type, metadata, changed, *args, **kwargs
        ))  # fmt: skip

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
        return await self._only(condition, lambda changed: self._store.copy(
            bucket, key, source_bucket, source_key, content_type, metadata, changed, *args, **kwargs
        ))  # fmt: skip

    async def complete_upload(
        self,
        bucket: str,
        key: str,
        upload_id: str,
        parts: Any,
        condition: Condition = ALWAYS,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        """See C{IObjectStore}."""
        return await self._only(condition, lambda changed: self._store.complete_upload(
            bucket, key, upload_id, parts, changed, *args, **kwargs
        ))  # fmt: skip

    async def rename(
        self, bucket: str, key: str, new_key: str, condition: Condition = ALWAYS, *args: Any, **kwargs: Any
    ) -> Any:
        """See C{IObjectStore}."""
        return await self._only(condition, lambda changed: self._store.rename(
            bucket, key, new_key, changed, *args, **kwargs
        ))  # fmt: skip

    async def append(self, *args: Any, **kwargs: Any) -> Any:
        """Bytes at the end of what is there replace it, and where nothing is they are new: neither is enough."""
        raise self._refusal()

    async def _only(self, condition: Condition, work: Any) -> Any:
        changed = condition.narrowed(not self._replaces, self._replaces)
        if changed is None:
            raise self._refusal()
        if changed == condition:
            return await work(condition)
        try:
            return await work(changed)
        except (PreconditionFailed, NoSuchKey) as error:
            raise self._refusal() from error

    def _refusal(self) -> S3Error:
        self._refused()
        return S3Error("AccessDenied")
