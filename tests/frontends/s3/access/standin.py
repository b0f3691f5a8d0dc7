"""Configurations of buckets for stores that have none yet."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, succeed


def configured(store: Any) -> Any:
    """A store with them."""
    if hasattr(store, "bucket_config"):
        return store
    kept: dict[tuple[str, str], bytes] = {}

    def bucket_config(bucket: str, kind: str) -> Deferred[bytes | None]:
        return succeed(kept.get((bucket, kind)))

    def set_bucket_config(bucket: str, kind: str, data: bytes | None) -> Deferred[None]:
        kept.pop((bucket, kind), None)
        if data is not None:
            kept[bucket, kind] = data
        return succeed(None)

    store.bucket_config, store.set_bucket_config = bucket_config, set_bucket_config
    return store
