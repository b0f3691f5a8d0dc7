"""
A namespace that encrypts names and entries, on top of any other.

docs/formats/sealed.md says what is written, and what can still be seen. On disk the order of keys means nothing: an index in
memory has it, of some 300 bytes and twice its name for each key.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Iterable, Mapping

import attrs
from prometheus_client.core import Metric
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from storehouse.core.jobs import IDisk, KeyedLocks, deferred, finished, over
from storehouse.core.keys.vault import Vault
from storehouse.errors import (
    DamagedEntry,
    DeleteMarkerFound,
    InvalidName,
    NoKeyToMatch,
    NoSuchBucket,
    NoSuchKey,
    NoSuchVersion,
    StorehouseError,
    Unavailable,
)
from storehouse.storage.namespace.interfaces import (
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
    CURRENT,
    VERSIONING,
    check_bucket,
    check_key,
    checked,
    decode_row,
    encode_entry,
    list_items,
    list_names,
    list_versions,
    marker_of,
    no_such_key,
    no_such_version,
    page_of,
    revised,
)
from storehouse.storage.sealed.formats import SEALED_METADATA, NameKeys

__all__ = ["SEALED_METADATA", "SealedNamespace"]


# Keys that are decrypted at once while the index is filled: a few milliseconds.
_SLICE = 250


@implementer(INamespace)
class SealedNamespace:
    """
    See L{INamespace}. Listings wait until the index is complete; all else is done at once.

    @param inner: the namespace below, which must let entries have L{SEALED_METADATA} bytes of metadata. It is started
        and stopped with this one.
    @param vault: the keys; started before.
    """

    _log = Logger()

    def __init__(self, inner: INamespace, vault: Vault, disk: IDisk) -> None:
        self._inner = inner
        self._vault = vault
        self._disk = disk
        self._locks = KeyedLocks()
        self._name_keys: NameKeys | None = None
        self._index = _Index()
        self._loading: Deferred[None] | None = None
        self._load_failure: Failure | None = None
        self._changed: set[tuple[str, str]] | None = None
        self._stopping = False

    # -- start and stop ------------------------------------------------------------------------

    @property
    def failed(self) -> StorehouseError | None:
        return self._inner.failed

    @property
    def damaged(self) -> int:
        """See L{INamespace.damaged}. Keys that cannot be decrypted are listed and removed by their names on disk."""
        return max(self._index.count_lost(), self._inner.damaged)

    @property
    def unknown(self) -> int:
        return self._inner.unknown

    @property
    def shared(self) -> bool:
        return self._inner.shared

    @property
    def unsettled(self) -> list[str]:
        return list(self._inner.unsettled)

    @property
    def unpublished(self) -> list[str]:
        return list(self._inner.unpublished)

    def collect(self) -> Iterable[Metric]:
        """For Prometheus: those of the namespace below."""
        collect: Callable[[], Iterable[Metric]] | None = getattr(self._inner, "collect", None)
        return [] if collect is None else collect()

    def start(self) -> None:
        """Open the namespace below, and begin to fill the index."""
        self._inner.start()
        self._load()

    def _load(self) -> None:
        self._changed = set()
        self._load_failure = None
        self._loading = Deferred.fromCoroutine(self._read_all())
        self._loading.addErrback(self._not_loaded)

    def _not_loaded(self, failure: Failure) -> None:
        self._load_failure = failure
        if not self._stopping:
            self._log.failure("while reading the names", failure=failure)

    async def _read_all(self) -> None:
        for bucket in await self._inner.list_buckets():
            after: tuple[str, str] | None = ("", "")
            while after is not None:
                if self._stopping:
                    raise Unavailable("the server is stopping")
                # Where the namespace below responds at once, too, the reactor takes another turn.
                await self._disk.run(_nothing)
                try:
                    after = await self._read_some(bucket.name, after)
                except NoSuchBucket:
                    break
        self._changed = None

    async def _read_some(self, bucket: str, after: tuple[str, str], prefix: str = "") -> tuple[str, str] | None:
        """@param prefix: the name on disk of the only key to read."""
        page = await self._inner.list_versions(bucket, prefix, "", *after, _SLICE)
        for stored_key, _ in page.damaged:
            self._unreadable(bucket, stored_key, "it cannot be read")
        found = []
        for each in page.versions:
            if not prefix and self._changed is not None and (bucket, each.key) in self._changed:
                continue  # all of it was read anew
            try:
                key, entry = self._keys.open(bucket, each.key, each.entry)
            except ValueError as error:
                self._unreadable(bucket, each.key, str(error))
            else:
                found.append((key, each.key, entry, each.is_latest))
        self._index.put(bucket, found)
        return page.next_markers

    def _unreadable(self, bucket: str, stored_key: str, reason: str) -> None:
        self._index.lose(bucket, stored_key)
        self._log.error("damaged: {bucket}/{key}: {reason}", bucket=bucket, key=stored_key, reason=reason)

    @deferred
    async def stop(self) -> None:
        self._stopping = True
        if self._loading is not None and not self._loading.called:
            await over(self._loading)
        await self._inner.stop()
        self._index.close()

    @property
    def _keys(self) -> NameKeys:
        if self._name_keys is None:
            self._name_keys = NameKeys(self._vault.keyring.names_key)
        return self._name_keys

    # -- keys ----------------------------------------------------------------------------------

    def _stored_key(self, bucket: str, key: str) -> str:
        return self._keys.key_of(check_bucket(bucket), check_key(key))

    def _open(self, bucket: str, key: str, stored_key: str, stored: Entry) -> Entry:
        if stored.size < 0:  # it was damaged
            return stored
        try:
            found, entry = self._keys.open(bucket, stored_key, stored)
        except ValueError as error:
            raise DamagedEntry(bucket, key, stored.id, stored_key, str(error)) from None
        if found != key:
            raise DamagedEntry(bucket, key, stored.id, stored_key, "it belongs to another key")
        return entry

    def _opened(self, bucket: str, key: str, stored_key: str, stored: Entry) -> Entry:
        """An entry; one that is not authentic has size -1 and no etag, as L{INamespace.publish} says."""
        try:
            return self._open(bucket, key, stored_key, stored)
        except DamagedEntry as error:
            self._log.error("{error}", error=error)
            return Entry(stored.id, -1, "", 0)

    def _freed(self, bucket: str, key: str, stored_key: str, freed: Iterable[Entry]) -> list[Entry]:
        entries = [self._opened(bucket, key, stored_key, stored) for stored in freed]
        # The bytes of the others may be another key's.
        self._inner.settle([entry.id for entry in entries if entry.size < 0])
        return [entry for entry in entries if entry.size >= 0]

    def _condition(self, bucket: str, key: str, stored_key: str, condition: Condition | None) -> Condition | None:
        if condition is None:
            return None
        return lambda there: condition(None if there is None else self._opened(bucket, key, stored_key, there))

    @deferred
    async def intend(self, bucket: str, key: str, ids: Iterable[str]) -> None:
        await finished(self._inner.intend(bucket, self._stored_key(bucket, key), ids))

    def settle(self, ids: Iterable[str]) -> None:
        self._inner.settle(ids)

    @deferred
    async def publish(
        self, bucket: str, key: str, entry: Entry, condition: Condition | None = None, keep: bool | None = None
    ) -> Changed:
        entry = checked(entry)
        stored_key = self._stored_key(bucket, key)
        sealed = self._keys.seal(bucket, key, stored_key, entry)
        asked = self._condition(bucket, key, stored_key, condition)
        async with self._locks.held(f"{bucket}/{stored_key}"):
            return await self._change(
                bucket, key, stored_key, self._inner.publish(bucket, stored_key, sealed, asked, keep)
            )

    @deferred
    async def unpublish(
        self,
        bucket: str,
        key: str,
        id: str | None = None,
        condition: Condition | None = None,
        marker: Entry | None = None,
    ) -> Changed:
        stored_key = key if self._index.is_lost(bucket, key) else self._stored_key(bucket, key)
        asked = self._condition(bucket, key, stored_key, condition)
        # The key is in it: a marker may be all that there is of one.
        sealed = self._keys.seal(bucket, key, stored_key, checked(marker_of(marker)))
        async with self._locks.held(f"{bucket}/{stored_key}"):
            try:
                return await self._change(
                    bucket, key, stored_key, self._inner.unpublish(bucket, stored_key, id, asked, sealed)
                )
            except NoKeyToMatch:
                raise  # by the condition
            except NoSuchKey as error:
                raise self._no_such_key(error, bucket, key, id) from None

    @deferred
    async def revise(self, bucket: str, key: str, id: str | None, change: Callable[[Entry], Entry]) -> Entry:
        stored_key = self._stored_key(bucket, key)

        def sealed_change(stored: Entry) -> Entry:
            # What the namespace below keeps is what the encrypted bytes are about.
            entry = revised(stored, change(self._open(bucket, key, stored_key, stored)))
            return self._keys.seal(bucket, key, stored_key, entry)

        async with self._locks.held(f"{bucket}/{stored_key}"):
            is_loading = self._note_change(bucket, stored_key)
            try:
                stored = await finished(self._inner.revise(bucket, stored_key, id, sealed_change))
            except NoKeyToMatch:
                raise  # by what the change raised
            except NoSuchKey as error:
                raise self._no_such_key(error, bucket, key, id) from None
            except BaseException:
                await self._update(bucket, key, stored_key)
                raise
            entry = self._open(bucket, key, stored_key, stored)
            if not is_loading:
                self._index.revise(bucket, key, entry)
            else:
                await self._update(bucket, key, stored_key)
        return entry

    @staticmethod
    def _no_such_key(error: NoSuchKey, bucket: str, key: str, id: str | None) -> NoSuchKey:
        """The error of the namespace below, with the name of the key."""
        if isinstance(error, DeleteMarkerFound):
            return DeleteMarkerFound(bucket, key, error.version, error.created, error.is_current)
        if isinstance(error, NoSuchVersion):
            return no_such_version(bucket, key, str(id))
        return no_such_key(bucket, key)

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
        entry = checked(entry)
        stored_key, new_stored = self._stored_key(bucket, key), self._stored_key(bucket, new_key)
        sealed = self._keys.seal(bucket, new_key, new_stored, entry)
        asked = self._condition(bucket, new_key, new_stored, condition)

        def asked_of_source(there: Entry | None) -> None:
            opened = None if there is None else self._opened(bucket, key, stored_key, there)
            if source_condition is not None:
                source_condition(opened)
            if opened is None:
                raise no_such_key(bucket, key)
            if opened.size < 0:
                raise DamagedEntry(bucket, key, opened.id, stored_key, "it cannot be renamed")

        # In one order for all, so that no two wait for each other.
        first, second = sorted((stored_key, new_stored))
        if first == second:
            raise InvalidName(f"the key {key[:200]!r} cannot be renamed to itself")
        async with self._locks.held(f"{bucket}/{first}"), self._locks.held(f"{bucket}/{second}"):
            is_loading = self._note_change(bucket, stored_key, new_stored)
            try:
                freed, left = await finished(
                    self._inner.rename(bucket, stored_key, new_stored, sealed, asked, asked_of_source)
                )
            except BaseException:
                # It may have happened after all.
                await self._update(bucket, new_key, new_stored)
                await self._update(bucket, key, stored_key)
                raise
            self._index.remove(bucket, key, stored_key)
            if is_loading:
                await self._update(bucket, new_key, new_stored)
            else:
                self._index.publish(bucket, new_key, new_stored, entry, [each.id for each in freed])
        return self._freed(bucket, new_key, new_stored, freed), self._freed(bucket, key, stored_key, left)

    def _note_change(self, bucket: str, *stored_keys: str) -> bool:
        """
        What is being read of the names does not count for these.

        @return: whether it is being read: all of these must be read once they are changed.
        """
        if self._changed is None:
            return False
        self._changed.update((bucket, each) for each in stored_keys)
        return True

    async def _change(self, bucket: str, key: str, stored_key: str, change: Deferred[Changed]) -> Changed:
        """The caller holds the key."""
        is_loading = self._note_change(bucket, stored_key)
        try:
            changed = await finished(change)
        except BaseException:
            # It may have happened after all.
            await self._update(bucket, key, stored_key)
            raise
        entry, current = (
            None if each is None else self._opened(bucket, key, stored_key, each)
            for each in (changed.entry, changed.current)
        )
        removed = self._freed(bucket, key, stored_key, changed.removed)
        gone = [each.id for each in changed.removed]
        if is_loading or (current is not None and current.size < 0):
            # What else it has was perhaps not read yet.
            await self._update(bucket, key, stored_key)
        elif entry is not None:
            self._index.publish(bucket, key, stored_key, entry, gone)
        elif current is not None:
            self._index.drop(bucket, key, stored_key, gone, current)
        else:
            self._index.remove(bucket, key, stored_key)
        return Changed(entry, removed, current)

    async def _update(self, bucket: str, key: str, stored_key: str) -> None:
        """Read all of a key anew."""
        after: tuple[str, str] | None = ("", "")
        self._index.remove(bucket, key, stored_key)
        try:
            while after is not None:
                after = await self._read_some(bucket, after, stored_key)
        except StorehouseError as error:
            if not isinstance(error, (NoSuchBucket, Unavailable, InvalidName)):
                self._log.error("{error}", error=str(error))

    @deferred
    async def look_up(self, bucket: str, key: str, id: str | None = None) -> Entry:
        stored_key = self._stored_key(bucket, key)
        try:
            stored = await self._inner.look_up(bucket, stored_key, id)
        except NoSuchKey as error:
            raise self._no_such_key(error, bucket, key, id) from None
        return self._open(bucket, key, stored_key, stored)

    @deferred
    async def versions(self, bucket: str, key: str) -> list[Entry]:
        stored_key = self._stored_key(bucket, key)
        try:
            versions = await self._inner.versions(bucket, stored_key)
        except NoSuchKey:
            raise no_such_key(bucket, key) from None
        return [self._open(bucket, key, stored_key, stored) for stored in versions]

    async def _listable(self, bucket: str) -> int:
        await self._inner.get_bucket(bucket)
        if self._loading is not None and not self._loading.called:
            await over(self._loading)
        if self._load_failure is not None:
            raise Unavailable(f"the names could not be read: {self._load_failure.getErrorMessage()}")
        return self._index.number(bucket)

    @deferred
    async def list_keys(
        self, bucket: str, prefix: str = "", delimiter: str = "", after: str = "", limit: int = 1000
    ) -> Page:
        number = await self._listable(bucket)
        if limit < 0:
            raise InvalidName(f"a page cannot have {limit} keys")
        items = list_items(self._index, number, prefix, delimiter, after, limit + 1)
        next_after = items[limit - 1][0] if len(items) > limit > 0 else None
        return Page(
            [(key, entry) for key, entry in items[:limit] if isinstance(entry, Entry)],
            [key for key, entry in items[:limit] if entry is False],
            next_after,
            self._index.lost(bucket, prefix, after, next_after) if limit else (),
        )

    @deferred
    async def list_names(self, bucket: str, prefix: str = "", after: str = "", limit: int = 1000) -> list[str]:
        return list_names(self._index, await self._listable(bucket), prefix, after, max(0, limit))

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
        number = await self._listable(bucket)
        if limit < 0:
            raise InvalidName(f"a page cannot have {limit} versions")
        items = list_versions(self._index, number, prefix, delimiter, key_marker, version_marker, limit + 1)
        page, next_key, next_version = page_of(items, limit)
        return VersionPage(
            [Version(key, found[2], found[0]) for key, found in page if found is not None and found[2] is not None],
            [key for key, found in page if found is None],
            next_key,
            next_version,
            [(each, "") for each in self._index.lost(bucket, prefix, key_marker, next_key)] if limit else (),
        )

    # -- buckets -------------------------------------------------------------------------------

    def create_bucket(
        self,
        name: str,
        metadata: Metadata | None = None,
        owner: str = "",
        configs: Mapping[str, bytes] | None = None,
    ) -> Deferred[Bucket]:
        sealed = {
            kind: data if kind == VERSIONING else self._keys.seal_config(name, kind, data)
            for kind, data in (configs or {}).items()
        }
        return self._inner.create_bucket(name, metadata, owner, sealed)

    def set_bucket_metadata(self, name: str, metadata: Metadata) -> Deferred[Bucket]:
        return self._inner.set_bucket_metadata(name, metadata)

    @deferred
    async def delete_bucket(self, name: str) -> None:
        await finished(self._inner.delete_bucket(name))
        self._index.clear(name)

    def get_bucket(self, name: str) -> Deferred[Bucket]:
        return self._inner.get_bucket(name)

    def list_buckets(self) -> Deferred[list[Bucket]]:
        return self._inner.list_buckets()

    def versioning(self, bucket: str) -> str:
        return self._inner.versioning(bucket)

    def set_versioning(self, bucket: str, state: str) -> Deferred[Bucket]:
        return self._inner.set_versioning(bucket, state)

    @deferred
    async def bucket_config(self, bucket: str, kind: str) -> bytes | None:
        sealed = await self._inner.bucket_config(bucket, kind)
        if kind == VERSIONING:
            return sealed  # the namespace below goes by it
        try:
            return None if sealed is None else self._keys.open_config(bucket, kind, sealed)
        except ValueError as error:
            raise DamagedEntry(bucket, None, None, f"its {kind} configuration", str(error)) from None

    @deferred
    async def set_bucket_config(self, bucket: str, kind: str, data: bytes | None) -> None:
        sealed = data if data is None or kind == VERSIONING else self._keys.seal_config(bucket, kind, data)
        await finished(self._inner.set_bucket_config(bucket, kind, sealed))

    def usage(self, bucket: str) -> Deferred[Usage]:
        return self._inner.usage(bucket)

    def needed(self, ids: Collection[str], progress: Callable[[int], object] | None = None) -> Deferred[Needed]:
        return self._inner.needed(ids, progress)

    # -- upkeep --------------------------------------------------------------------------------

    @deferred
    async def check(self, progress: Callable[[int], object] | None = None, repair: bool = False) -> list[Problem]:
        """See L{INamespace.check}. A key that cannot be decrypted is C{None}; the text has its name on disk."""
        return self._index.named(await finished(self._inner.check(progress, repair)))

    @deferred
    async def restore(self, has_bytes: Callable[[str], Deferred[bool]]) -> list[Problem]:
        return self._index.named(await finished(self._inner.restore(has_bytes)))

    @deferred
    async def reindex(self, progress: Callable[[int], object] | None = None) -> int:
        if self._loading is not None and not self._loading.called:
            await over(self._loading)
        count = await finished(self._inner.reindex(progress))
        self._index.close()
        self._index = _Index()
        self._load()
        if self._loading is not None:
            await over(self._loading)
        if self._load_failure is not None:
            self._load_failure.raiseException()
        return count


def _nothing() -> None:
    """A job for a disk thread: until its result comes, the reactor takes another turn."""


# The columns that listings ask for are those of the index on disk.
_SCHEMA = """
CREATE TABLE keys(bucket INTEGER NOT NULL, key BLOB NOT NULL, text BLOB NOT NULL, stored TEXT NOT NULL);
CREATE UNIQUE INDEX in_order ON keys(bucket, key);
CREATE TABLE versions(
    bucket INTEGER NOT NULL, key BLOB NOT NULL, id BLOB NOT NULL, rank INTEGER NOT NULL, versioned INTEGER NOT NULL,
    text BLOB NOT NULL, stored TEXT NOT NULL
);
CREATE UNIQUE INDEX versions_in_order ON versions(bucket, key, rank, id);
CREATE UNIQUE INDEX versions_by_id ON versions(bucket, key, id);
"""

_PUT = (
    "INSERT INTO keys(bucket, key, text, stored) VALUES (?, ?, ?, ?) "
    "ON CONFLICT(bucket, key) DO UPDATE SET text = excluded.text"
)
_PUT_VERSION = (
    "INSERT OR REPLACE INTO versions(bucket, key, id, rank, versioned, text, stored) VALUES (?, ?, ?, ?, ?, ?, ?)"
)


class _Index:
    """The versions of all keys in order, in memory, each with its entry and its key's name on disk. For one thread."""

    def __init__(self) -> None:
        self._opened: sqlite3.Connection | None = None  # a store that is never started opens nothing
        self._numbers: dict[str, int] = {}
        # The names on disk of keys that cannot be decrypted.
        self._lost: dict[str, set[str]] = {}

    @property
    def _connection(self) -> sqlite3.Connection:
        if self._opened is None:
            self._opened = sqlite3.connect(":memory:", isolation_level=None)
            self._opened.executescript(_SCHEMA)
        return self._opened

    def number(self, bucket: str) -> int:
        """The number of a bucket in the rows."""
        return self._numbers.setdefault(bucket, len(self._numbers))

    def put(self, bucket: str, versions: Collection[tuple[str, str, Entry, bool]]) -> None:
        """Add or replace rows. @param versions: key, name on disk, entry, and whether it is the current one."""
        number = self.number(bucket)
        self._lost.get(bucket, set()).difference_update([stored for _, stored, _, is_latest in versions if is_latest])
        rows = [
            (number, key.encode(), encode_entry(entry, key), stored)
            for key, stored, entry, is_latest in versions
            if is_latest and not entry.marker
        ]
        others = [
            (
                number,
                key.encode(),
                entry.id.encode(),
                CURRENT if is_latest else -entry.rank,
                entry.versioned,
                encode_entry(entry, key),
                stored,
            )
            for key, stored, entry, is_latest in versions
            if entry.marker or not is_latest
        ]
        self._connection.execute("BEGIN")
        self._connection.executemany(_PUT, rows)
        self._connection.executemany(_PUT_VERSION, others)
        self._connection.execute("COMMIT")

    def publish(self, bucket: str, key: str, stored: str, entry: Entry, gone: Collection[str]) -> None:
        """A key has another current version. @param gone: the IDs of versions that it replaces."""
        before = self._current(bucket, key)
        self._drop(bucket, key, [*gone, entry.id])
        kept = [] if before is None or before.id in (*gone, entry.id) else [(key, stored, before, False)]
        if entry.marker:
            self._connection.execute("DELETE FROM keys WHERE bucket = ? AND key = ?", self._at(bucket, key))
        self.put(bucket, [*kept, (key, stored, entry, True)])

    def drop(self, bucket: str, key: str, stored: str, gone: Collection[str], current: Entry) -> None:
        """A key has some versions no more. @param current: what is the current one now."""
        before = self._current(bucket, key)
        self._drop(bucket, key, gone)
        if before is None or before.id != current.id:
            self._drop(bucket, key, [current.id])
            self._connection.execute("DELETE FROM keys WHERE bucket = ? AND key = ?", self._at(bucket, key))
            self.put(bucket, [(key, stored, current, True)])

    def revise(self, bucket: str, key: str, entry: Entry) -> None:
        """Something else is known of a version."""
        text, at = encode_entry(entry, key), self._at(bucket, key)
        current = self._current(bucket, key)
        if current is not None and current.id == entry.id and not entry.marker:
            self._connection.execute("UPDATE keys SET text = ? WHERE bucket = ? AND key = ?", (text, *at))
        else:
            query = "UPDATE versions SET text = ? WHERE bucket = ? AND key = ? AND id = ?"
            self._connection.execute(query, (text, *at, entry.id.encode()))

    def _at(self, bucket: str, key: str) -> tuple[int, bytes]:
        return self.number(bucket), key.encode()

    def _current(self, bucket: str, key: str) -> Entry | None:
        for query in (
            "SELECT text FROM keys WHERE bucket = ? AND key = ?",
            f"SELECT text FROM versions WHERE bucket = ? AND key = ? AND rank = {CURRENT}",
        ):
            for (text,) in self._connection.execute(query, self._at(bucket, key)):
                return decode_row(text)[1]
        return None

    def _drop(self, bucket: str, key: str, ids: Collection[str]) -> None:
        query = "DELETE FROM versions WHERE bucket = ? AND key = ? AND id = ?"
        self._connection.executemany(query, [(*self._at(bucket, key), id.encode()) for id in ids])

    def remove(self, bucket: str, key: str, stored: str) -> None:
        """Remove all rows of a key."""
        self._lost.get(bucket, set()).discard(stored)
        for table in ("keys", "versions"):
            self._connection.execute(f"DELETE FROM {table} WHERE bucket = ? AND key = ?", self._at(bucket, key))

    def clear(self, bucket: str) -> None:
        """Remove all rows of a bucket."""
        self._lost.pop(bucket, None)
        for table in ("keys", "versions"):
            self._connection.execute(f"DELETE FROM {table} WHERE bucket = ?", (self.number(bucket),))

    def key_of(self, bucket: str, stored: str) -> str | None:
        """The key with a name on disk; C{None} if no row has it. Looks at all rows."""
        for table in ("keys", "versions"):
            query = f"SELECT key FROM {table} WHERE bucket = ? AND stored = ?"
            found = self._connection.execute(query, (self.number(bucket), stored)).fetchone()
            if found is not None:
                return str(found[0].decode())
        return None

    def named(self, problems: list[Problem]) -> list[Problem]:
        """Problems with the keys in place of their names on disk; C{None} where no row has them."""
        return [
            each if each.key is None else attrs.evolve(each, key=self.key_of(each.bucket, each.key))
            for each in problems
        ]

    def lose(self, bucket: str, stored: str) -> None:
        """Note that a key cannot be decrypted."""
        self._lost.setdefault(bucket, set()).add(stored)

    def is_lost(self, bucket: str, stored: str) -> bool:
        """Whether L{lose} was called for it."""
        return stored in self._lost.get(bucket, ())

    def lost(self, bucket: str, prefix: str, after: str, until: str | None) -> list[str]:
        """The names on disk of keys that cannot be decrypted, from one name to another, in order."""
        names = sorted(self._lost.get(bucket, ()))
        return [name for name in names if name.startswith(prefix) and after < name and (until is None or name <= until)]

    def count_lost(self) -> int:
        """How many keys cannot be decrypted."""
        return sum(map(len, self._lost.values()))

    def select(self, query: str, values: Mapping[str, object]) -> list[tuple[bytes, ...]]:
        """The rows of a query, for L{list_items}."""
        return self._connection.execute(query, values).fetchall()

    def close(self) -> None:
        """Drop all rows."""
        opened, self._opened = self._opened, None
        if opened is not None:
            opened.close()
