"""A namespace in memory: for tests, and as the plainest statement of what a namespace does."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping

import attrs
from twisted.internet.defer import Deferred
from zope.interface import implementer

from storehouse.core.jobs import deferred
from storehouse.errors import (
    AlreadyExists,
    BucketNotEmpty,
    InvalidName,
    NoSuchBucket,
    NoSuchKey,
    StorehouseError,
    Unavailable,
)
from storehouse.storage.namespace.interfaces import (
    Bucket,
    Condition,
    Entry,
    INamespace,
    Metadata,
    Needed,
    Page,
    Problem,
)
from storehouse.storage.namespace.values import (
    MAX_METADATA,
    check_bucket,
    check_config,
    check_id,
    check_key,
    check_owner,
    check_text,
    checked,
    checked_metadata,
    common_prefix,
)

__all__ = ["MemoryNamespace"]

#: The versions of a key, the default first.
_Versions = list[Entry]


@implementer(INamespace)
class MemoryNamespace:
    """See L{INamespace}. Nothing survives the process, so nothing is ever unsettled."""

    def __init__(self, max_metadata: int = MAX_METADATA) -> None:
        self._max_metadata = max_metadata
        self.unsettled: list[str] = []
        self.unpublished: list[str] = []
        self.shared = False
        self.failed: StorehouseError | None = None
        self.damaged = self.unknown = 0
        self._buckets: dict[str, tuple[Bucket, dict[str, _Versions]]] = {}
        self._configs: dict[tuple[str, str], bytes] = {}
        self._stopped = False

    def _keys(self, bucket: str, key: str = "-") -> dict[str, _Versions]:
        if self._stopped:
            raise Unavailable("the server is stopping")
        if bucket not in self._buckets:
            raise NoSuchBucket(f"there is no bucket {check_bucket(bucket)}")
        check_key(key)
        return self._buckets[bucket][1]

    # -- buckets -------------------------------------------------------------------------------

    @deferred
    async def create_bucket(
        self,
        name: str,
        metadata: Metadata | None = None,
        owner: str = "",
        configs: Mapping[str, bytes] | None = None,
    ) -> Bucket:
        if self._stopped:
            raise Unavailable("the server is stopping")
        bucket = Bucket(check_bucket(name), time.time_ns(), checked_metadata(metadata or {}), check_owner(owner))
        if name in self._buckets:
            raise AlreadyExists(f"the bucket {name} already exists")
        for kind, data in (configs or {}).items():
            check_config(kind, data)
        self._buckets[name] = (bucket, {})
        self._configs |= {(name, kind): bytes(data) for kind, data in (configs or {}).items()}
        return bucket

    @deferred
    async def set_bucket_metadata(self, name: str, metadata: Metadata) -> Bucket:
        keys = self._keys(name)
        bucket = attrs.evolve(self._buckets[name][0], metadata=checked_metadata(metadata))
        self._buckets[name] = (bucket, keys)
        return bucket

    @deferred
    async def delete_bucket(self, name: str) -> None:
        if self._keys(name):
            raise BucketNotEmpty(f"the bucket {name} is not empty")
        del self._buckets[name]
        self._configs = {(bucket, kind): data for (bucket, kind), data in self._configs.items() if bucket != name}

    @deferred
    async def get_bucket(self, name: str) -> Bucket:
        self._keys(name)
        return self._buckets[name][0]

    @deferred
    async def bucket_config(self, bucket: str, kind: str) -> bytes | None:
        check_config(kind, None)
        self._keys(bucket)
        return self._configs.get((bucket, kind))

    @deferred
    async def set_bucket_config(self, bucket: str, kind: str, data: bytes | None) -> None:
        check_config(kind, data)
        self._keys(bucket)
        if data is None:
            self._configs.pop((bucket, kind), None)
        else:
            self._configs[bucket, kind] = bytes(data)

    @deferred
    async def usage(self, bucket: str) -> tuple[int, int]:
        keys = self._keys(bucket)
        return len(keys), sum(versions[0].size for versions in keys.values())

    @deferred
    async def list_buckets(self) -> list[Bucket]:
        if self._stopped:
            raise Unavailable("the server is stopping")
        return [self._buckets[name][0] for name in sorted(self._buckets)]

    # -- keys ----------------------------------------------------------------------------------

    @deferred
    async def intend(self, bucket: str, key: str, ids: Iterable[str]) -> None:
        self._keys(bucket, key)
        for id in ids:
            check_id(id)

    def settle(self, ids: Iterable[str]) -> None: ...  # nothing is ever unsettled here

    @deferred
    async def publish(
        self, bucket: str, key: str, entry: Entry, condition: Condition | None = None, keep: bool = False
    ) -> list[Entry]:
        entry = checked(entry, self._max_metadata)
        keys = self._keys(bucket, key)
        there = keys.get(key, [])
        if condition is not None:
            condition(there[0] if there else None)
        gone = [] if keep else [old for old in there[:1] if old.id != entry.id]
        keys[key] = [entry, *(old for old in there if old.id != entry.id and old not in gone)]
        return gone

    @deferred
    async def look_up(self, bucket: str, key: str, id: str | None = None) -> Entry:
        for entry in self._keys(bucket, key).get(key, []):
            if id is None or entry.id == check_id(id):
                return entry
        raise NoSuchKey(f"the bucket {bucket} has no key {key!r}" + ("" if id is None else f" with a version {id}"))

    @deferred
    async def versions(self, bucket: str, key: str) -> list[Entry]:
        keys = self._keys(bucket, key)
        if key not in keys:
            raise NoSuchKey(f"the bucket {bucket} has no key {key!r}")
        return [keys[key][0], *sorted(keys[key][1:], key=_age, reverse=True)]

    @deferred
    async def unpublish(
        self, bucket: str, key: str, id: str | None = None, condition: Condition | None = None
    ) -> list[Entry]:
        keys = self._keys(bucket, key)
        there = keys.get(key, [])
        if id is not None:
            check_id(id)
        if condition is not None:
            condition(there[0] if there else None)
        gone = [entry for entry in there if id in (None, entry.id)]
        if not gone:
            raise NoSuchKey(f"the bucket {bucket} has no key {key!r}" + ("" if id is None else f" with a version {id}"))
        left = [entry for entry in there if entry not in gone]
        if left and there[0] in gone:
            left.sort(key=_age, reverse=True)
        if left:
            keys[key] = left
        else:
            del keys[key]
        return gone

    @deferred
    async def rename(
        self,
        bucket: str,
        key: str,
        new_key: str,
        entry: Entry,
        condition: Condition | None = None,
        source_condition: Condition | None = None,
    ) -> tuple[list[Entry], list[Entry]]:
        entry = checked(entry, self._max_metadata)
        keys = self._keys(bucket, key)
        self._keys(bucket, new_key)
        if key == new_key:
            raise InvalidName(f"the key {key[:200]!r} cannot be renamed to itself")
        source, target = keys.get(key, []), keys.get(new_key, [])
        if source_condition is not None:
            source_condition(source[0] if source else None)
        if not source:
            raise NoSuchKey(f"the bucket {bucket} has no key {key!r}")
        if condition is not None:
            condition(target[0] if target else None)
        if entry.id in [each.id for each in source]:
            raise InvalidName(f"the ID {entry.id} belongs to the key {key[:200]!r}")
        gone = [old for old in target[:1] if old.id != entry.id]
        keys[new_key] = [entry, *(old for old in target if old.id != entry.id and old not in gone)]
        return gone, keys.pop(key)

    @deferred
    async def list_keys(
        self, bucket: str, prefix: str = "", delimiter: str = "", after: str = "", limit: int = 1000
    ) -> Page:
        keys = self._keys(bucket)
        if limit < 0:
            raise InvalidName(f"a page cannot have {limit} keys")
        begins, mark, start = check_text("prefix", prefix), check_text("delimiter", delimiter), check_text("key", after)
        items: dict[bytes, bool] = {}
        for key in keys:
            data = key.encode()
            if data.startswith(begins):
                common = common_prefix(data, begins, mark)
                # What is rolled up may stand before the key that made it be listed.
                if data > start and common != start:
                    items[common or data] = common is not None
        page = sorted(items)[:limit]
        more = len(items) > limit > 0
        return Page(
            [(data.decode(), keys[data.decode()][0]) for data in page if not items[data]],
            [data.decode() for data in page if items[data]],
            page[-1].decode() if more else None,
        )

    @deferred
    async def list_names(self, bucket: str, prefix: str = "", after: str = "", limit: int = 1000) -> list[str]:
        begins, start = check_text("prefix", prefix), check_text("key", after)
        names = sorted(key.encode() for key in self._keys(bucket))
        return [name.decode() for name in names if name.startswith(begins) and name > start][: max(0, limit)]

    @deferred
    async def needed(self, ids: Collection[str], progress: Callable[[int], object] | None = None) -> Needed:
        named = {entry.id for _, keys in self._buckets.values() for versions in keys.values() for entry in versions}
        return Needed(frozenset(ids) & named, "")

    @deferred
    async def check(self, progress: Callable[[int], object] | None = None, repair: bool = False) -> list[Problem]:
        return []

    @deferred
    async def restore(self, has_bytes: Callable[[str], Deferred[bool]]) -> list[Problem]:
        return []

    @deferred
    async def reindex(self, progress: Callable[[int], object] | None = None) -> int:
        return sum(len(keys) for _, keys in self._buckets.values())

    def start(self) -> None:
        """See L{INamespace.start}. It is open from the beginning."""

    @deferred
    async def stop(self) -> None:
        self._stopped = True


def _age(entry: Entry) -> tuple[int, str]:
    return entry.created, entry.id
