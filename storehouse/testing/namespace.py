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
    DeleteMarkerFound,
    InvalidBucketState,
    InvalidName,
    NoSuchBucket,
    StorehouseError,
    Unavailable,
)
from storehouse.storage.namespace.interfaces import (
    ENABLED,
    NULL,
    OFF,
    Bucket,
    Changed,
    Condition,
    Entry,
    INamespace,
    Metadata,
    Needed,
    Page,
    Problem,
    Usage,
    Version,
    VersionPage,
)
from storehouse.storage.namespace.values import (
    MAX_METADATA,
    VERSIONING,
    VersionItem,
    check_bucket,
    check_config,
    check_id,
    check_key,
    check_owner,
    check_text,
    check_version,
    check_versioning,
    checked,
    checked_metadata,
    common_prefix,
    marker_of,
    no_such_key,
    no_such_version,
    page_of,
    revised,
    start_of,
    state_of,
)

__all__ = ["MemoryNamespace"]

#: The versions of a key and its markers, the current one first, then the others, newest first.
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
        bucket = attrs.evolve(bucket, versioning=state_of((configs or {}).get(VERSIONING)))
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

    def versioning(self, bucket: str) -> str:
        return self._buckets[bucket][0].versioning if bucket in self._buckets else OFF

    @deferred
    async def set_versioning(self, bucket: str, state: str) -> Bucket:
        keys = self._keys(bucket)
        changed = attrs.evolve(self._buckets[bucket][0], versioning=check_versioning(state, self.versioning(bucket)))
        self._buckets[bucket] = (changed, keys)
        if state != OFF:
            self._configs[bucket, VERSIONING] = state.encode()
        return changed

    @deferred
    async def set_bucket_config(self, bucket: str, kind: str, data: bytes | None) -> None:
        check_config(kind, data)
        self._keys(bucket)
        if kind == VERSIONING:
            await self.set_versioning(bucket, state_of(data))
            return
        if data is None:
            self._configs.pop((bucket, kind), None)
        else:
            self._configs[bucket, kind] = bytes(data)

    @deferred
    async def usage(self, bucket: str) -> Usage:
        keys = self._keys(bucket).values()
        live = [versions[0] for versions in keys if not versions[0].marker]
        older = [each for versions in keys for each in versions[1:] if not each.marker]
        markers = sum(each.marker for versions in keys for each in versions)
        return Usage(len(live), sum(each.size for each in live), len(older), sum(each.size for each in older), markers)

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
        self, bucket: str, key: str, entry: Entry, condition: Condition | None = None, keep: bool | None = None
    ) -> Changed:
        entry = checked(entry, self._max_metadata)
        keys = self._keys(bucket, key)
        there, state = keys.get(key, []), self.versioning(bucket)
        if entry.marker and state == OFF:
            raise InvalidName(f"the bucket {bucket} has no versions, so no delete markers either")
        if condition is not None:
            condition(_object(there))
        same = next((old for old in there[:1] if old.id == entry.id), None)
        if same is not None:
            entry = attrs.evolve(entry, versioned=same.versioned, order=same.order, marker=same.marker)
            gone = []
        else:
            least = there[0].rank + 1 if there and state != OFF else 0
            order = least if entry.created < least else 0
            entry = attrs.evolve(entry, versioned=state == ENABLED, order=order)
            if state == OFF:
                gone = [] if keep else there[:1]
            else:
                gone = [] if keep or state == ENABLED else [old for old in there if not old.versioned][:1]
        rest = [old for old in there if old.id != entry.id and old not in gone]
        keys[key] = [entry, *sorted(rest, key=_age, reverse=True)]
        return Changed(entry, gone, entry)

    @deferred
    async def look_up(self, bucket: str, key: str, id: str | None = None) -> Entry:
        there = self._keys(bucket, key).get(key, [])
        if id is not None:
            return self._version(bucket, key, there, id)
        if not there:
            raise no_such_key(bucket, key)
        if there[0].marker:
            raise DeleteMarkerFound(bucket, key, there[0].version, there[0].created, True)
        return there[0]

    @staticmethod
    def _version(bucket: str, key: str, there: _Versions, id: str) -> Entry:
        check_version(id)
        for entry in there:
            if id == entry.id or (id == NULL and not entry.versioned):
                return entry
        raise no_such_version(bucket, key, id)

    @deferred
    async def revise(self, bucket: str, key: str, id: str | None, change: Callable[[Entry], Entry]) -> Entry:
        there = await self.look_up(bucket, key, id)
        entry = revised(there, change(there), self._max_metadata)
        versions = self._keys(bucket)[key]
        versions[versions.index(there)] = entry
        return entry

    @deferred
    async def versions(self, bucket: str, key: str) -> list[Entry]:
        keys = self._keys(bucket, key)
        if key not in keys:
            raise no_such_key(bucket, key)
        return list(keys[key])

    @deferred
    async def unpublish(
        self,
        bucket: str,
        key: str,
        id: str | None = None,
        condition: Condition | None = None,
        marker: Entry | None = None,
    ) -> Changed:
        keys = self._keys(bucket, key)
        there = keys.get(key, [])
        if id is not None:
            check_version(id)
        elif self.versioning(bucket) != OFF:
            return await self.publish(bucket, key, marker_of(marker), condition)
        if condition is not None:
            condition(_object(there))
        gone = there if id is None else [self._version(bucket, key, there, id)]
        if not gone:
            raise no_such_key(bucket, key)
        left = [entry for entry in there if entry not in gone]
        if left:
            keys[key] = left
        else:
            del keys[key]
        return Changed(None, gone, left[0] if left else None)

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
        if self.versioning(bucket) != OFF:
            raise InvalidBucketState(f"the bucket {bucket} has versions: its keys cannot be renamed")
        source, target = keys.get(key, []), keys.get(new_key, [])
        if source_condition is not None:
            source_condition(source[0] if source else None)
        if not source:
            raise no_such_key(bucket, key)
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
        for key, versions in keys.items():
            data = key.encode()
            if not versions[0].marker and data.startswith(begins):
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
    async def list_versions(
        self,
        bucket: str,
        prefix: str = "",
        delimiter: str = "",
        key_marker: str = "",
        version_marker: str = "",
        limit: int = 1000,
    ) -> VersionPage:
        keys = self._keys(bucket)
        if limit < 0:
            raise InvalidName(f"a page cannot have {limit} versions")
        if version_marker and not key_marker:
            raise InvalidName("a version to continue after is named without its key")
        begins, mark, after = (check_text("prefix", each) for each in (prefix, delimiter, key_marker))
        start = start_of(begins, mark, after)
        items: list[VersionItem] = []
        for data in sorted(key.encode() for key in keys):
            if not data.startswith(begins):
                continue
            key, common = data.decode(), common_prefix(data, begins, mark)
            found = [(key, (at == 0, each.id, each)) for at, each in enumerate(keys[key])]
            if common is not None and (data >= start or (version_marker and data == after)):
                items += [] if (common.decode(), None) in items[-1:] else [(common.decode(), None)]
            elif common is None and data >= start:
                items += found
            elif common is None and version_marker and data == after:
                items += _behind(found, version_marker)
        page, next_key, next_version = page_of(items, limit)
        return VersionPage(
            [Version(key, found[2], found[0]) for key, found in page if found is not None and found[2] is not None],
            [key for key, found in page if found is None],
            next_key,
            next_version,
        )

    @deferred
    async def list_names(self, bucket: str, prefix: str = "", after: str = "", limit: int = 1000) -> list[str]:
        begins, start = check_text("prefix", prefix), check_text("key", after)
        names = sorted(key.encode() for key, versions in self._keys(bucket).items() if not versions[0].marker)
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
    return entry.rank, entry.id


def _object(versions: _Versions) -> Entry | None:
    """What a condition is about."""
    return versions[0] if versions and not versions[0].marker else None


_Found = tuple[str, tuple[bool, str, Entry]]


def _behind(found: list[_Found], marker: str) -> list[_Found]:
    """The versions of a key that follow one of them, which may have been removed."""
    rank, _, id = marker.rpartition(".")
    for at, (_, (_, each_id, each)) in enumerate(found):
        if id == each_id or (id == NULL and not each.versioned):
            return found[at + 1 :]
    return [each for each in found if not rank or (-each[1][2].rank, each[1][1]) > (-int(rank), id)]
