"""The namespace on local disks: a tree of files that is the truth, an index beside it, a journal between them."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Collection, Coroutine, Iterable
from typing import Any

import attrs
from prometheus_client.core import Metric
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from zope.interface import implementer

from storehouse.core.disk import IDisk
from storehouse.core.files import NO_SPACE, Files
from storehouse.errors import (
    DamagedEntry,
    InvalidName,
    NoSuchBucket,
    StartFailed,
    StorageFailed,
    StorehouseError,
    Unavailable,
)
from storehouse.storage.namespace.checking import check, needed
from storehouse.storage.namespace.entries import checked_metadata, encode_bucket
from storehouse.storage.namespace.interfaces import (
    Bucket,
    Condition,
    Entry,
    IChecked,
    INamespace,
    Metadata,
    Needed,
    Page,
    Problem,
)
from storehouse.storage.namespace.journal import NEW, Journal
from storehouse.storage.namespace.keys import KeyOperations, lasting
from storehouse.storage.namespace.metrics import NamespaceMetrics
from storehouse.storage.namespace.names import check_bucket, check_id
from storehouse.storage.namespace.recovery import prepare, recover
from storehouse.storage.namespace.restoring import restore
from storehouse.storage.namespace.settings import NamespaceSettings
from storehouse.storage.namespace.tree import Tree
from storehouse.storage.namespace.upkeep import Upkeep

__all__ = ["LocalNamespace", "NamespaceSettings"]


@implementer(INamespace, IChecked)
class LocalNamespace:
    """
    See L{INamespace}.

    @param on_failure: called once, in the reactor's thread, if a sync failed: nothing is changed any more, and the
        process should end.
    """

    _log = Logger()

    def __init__(
        self,
        settings: NamespaceSettings,
        reactor: Any,
        disk: IDisk,
        on_failure: Callable[[StorehouseError], None] = lambda error: None,
        files: Files | None = None,
    ) -> None:
        self._settings = settings
        self._reactor = reactor
        self._disk = disk
        self._files = files or Files()
        self.unsettled: list[str] = []
        self.unpublished: list[str] = []
        self.tree = Tree(settings.directory, self._files, settings.durable)
        self.journal = Journal(
            settings.directory, self._files, disk, settings.durable, lambda error: self._keys.fail(error)
        )
        self.upkeep = Upkeep(self.tree, self.journal, disk)
        self.metrics = NamespaceMetrics(self)
        self._keys = KeyOperations(
            self.tree,
            disk,
            self.journal,
            self.upkeep,
            self.metrics,
            settings.checkpoint_records,
            on_failure,
            settings.max_metadata,
        )
        self._timer: LoopingCall | None = None

    @property
    def failed(self) -> StorehouseError | None:
        """Why nothing is changed any more; C{None} while all is well."""
        return self._keys.failed

    @property
    def damaged(self) -> int:
        """See L{IChecked.damaged}."""
        # A bucket of which nothing can be read is taken for one that was made at no time.
        return self.upkeep.damaged + sum(not bucket.created for _, bucket in self._keys.buckets.values())

    @property
    def unknown(self) -> int:
        """See L{IChecked.unknown}."""
        return self.upkeep.unknown

    @property
    def shared(self) -> bool:
        """See L{INamespace.shared}."""
        return self.upkeep.index.shared or self.upkeep.index.unsure

    # -- start and stop ----------------------------------------------------------------------

    def start(self) -> None:
        """
        Make good what a crash left. Blocks; to be called before the reactor runs.

        @raise StartFailed: if the directory cannot be used.
        """
        try:
            prepare(self.tree, self._files)
            found = recover(self.tree)
            self.upkeep.index = found.index
            self.upkeep.repairs += found.repairs
            self._keys.buckets = found.buckets
            self.journal.open = {id: (bucket, key, how) for bucket, key, ids, how in found.open for id in ids}
            self.unsettled = list(self.journal.open)
            self.unpublished = [id for id, (_, _, how) in self.journal.open.items() if how == NEW]
            # So that the next start, if this run does not end cleanly, looks at what is done from now on.
            self.journal.stamp, self.journal.generation = found.stamp, found.generation
            try:
                self.journal.begin(found.open)
            except OSError as error:
                if error.errno not in NO_SPACE:
                    raise
                # What is there can be read, and removed.
                self.journal.resume()
        except (OSError, sqlite3.Error) as error:
            raise StartFailed(f"the namespace in {self._settings.directory} cannot be opened: {error}") from error
        self._keys.refusal = None
        self.upkeep.tell_damage(self.damaged)
        self._timer = LoopingCall(self._checkpoint)
        self._timer.clock = self._reactor
        self._timer.start(self._settings.checkpoint_interval, now=False)

    @lasting
    async def stop(self) -> None:
        """See L{INamespace.stop}."""
        if self._timer is not None:
            self._timer.stop()
            self._timer = None
            self._keys.refusal = Unavailable("the server is stopping")
            await self._keys.gate.close()
            try:
                await self._close()
            finally:
                self._keys.gate.open()
        else:  # not started, or already at it
            await self._keys.gate.close()
            self._keys.gate.open()

    async def _close(self) -> None:
        await self.upkeep.idle()
        try:
            if self._keys.failed is None:
                await self.upkeep.checkpoint()
                await self._disk.run(self.journal.end)
        except (StorehouseError, OSError) as error:
            self._log.error("the next start has to look at the journal: {error}", error=error)
        self.journal.abandon()
        self.upkeep.index.close()

    def _checkpoint(self) -> None:
        if self.journal.count and self._keys.refusal is None:
            self.upkeep.begin_checkpoint()

    # -- keys --------------------------------------------------------------------------------

    @lasting
    async def intend(self, bucket: str, key: str, ids: Iterable[str]) -> None:
        """See L{INamespace.intend}."""
        self._keys.locate(bucket, key)
        checked = [check_id(id) for id in ids]
        await self._keys.inside(lambda: self.journal.intend(bucket, key, checked, NEW))

    def settle(self, ids: Iterable[str]) -> None:
        """See L{INamespace.settle}."""
        gone = set(ids)
        self.journal.settle(gone)
        if self.unsettled:
            self.unsettled = [id for id in self.unsettled if id not in gone]

    @lasting
    async def publish(
        self, bucket: str, key: str, entry: Entry, condition: Condition | None = None, keep: bool = False
    ) -> list[Entry]:
        """See L{INamespace.publish}."""
        return await self._keys.publish(bucket, key, entry, condition, keep)

    @lasting
    async def unpublish(
        self, bucket: str, key: str, id: str | None = None, condition: Condition | None = None
    ) -> list[Entry]:
        """See L{INamespace.unpublish}."""
        return await self._keys.unpublish(bucket, key, id, condition)

    @lasting
    async def look_up(self, bucket: str, key: str, id: str | None = None) -> Entry:
        """See L{INamespace.look_up}."""
        return await self._keys.look_up(bucket, key, id)

    @lasting
    async def versions(self, bucket: str, key: str) -> list[Entry]:
        """See L{INamespace.versions}."""
        return await self._keys.versions(bucket, key)

    @lasting
    async def list_keys(
        self, bucket: str, prefix: str = "", delimiter: str = "", after: str = "", limit: int = 1000
    ) -> Page:
        """See L{INamespace.list_keys}."""
        began = time.monotonic()
        self._keys.locate(bucket, "-")
        if limit < 0:
            raise InvalidName(f"a page cannot have {limit} keys")
        items, next_after = await self._keys.inside(
            # The number only now: while this waited the bucket may have become another one.
            lambda: self._disk.run(self.upkeep.page, self._keys.locate(bucket, "-")[0], prefix, delimiter, after, limit)
        )
        entries: list[tuple[str, Entry]] = []
        damaged: list[str] = []
        for key, found in items:
            if found is None:
                # The index cannot say, so the change of the key must have finished.
                try:
                    found = await self._keys.look_closer(bucket, key)
                except DamagedEntry:
                    damaged.append(key)
            if isinstance(found, Entry):
                entries.append((key, found))
        self.upkeep.check_index()
        self.metrics.observe("list", time.monotonic() - began)
        return Page(entries, [key for key, entry in items if entry is False], next_after, damaged)

    @lasting
    async def list_names(self, bucket: str, prefix: str = "", after: str = "", limit: int = 1000) -> list[str]:
        """See L{INamespace.list_names}."""
        self._keys.locate(bucket, "-")
        return await self._keys.inside(
            lambda: self._disk.run(self.upkeep.names, self._keys.locate(bucket, "-")[0], prefix, after, max(0, limit))
        )

    # -- buckets -----------------------------------------------------------------------------

    @lasting
    async def create_bucket(self, name: str, metadata: Metadata | None = None) -> Bucket:
        """See L{INamespace.create_bucket}."""
        bucket = Bucket(check_bucket(name), time.time_ns(), checked_metadata(metadata or {}))
        await self._change_bucket(name, self._create_bucket, bucket)
        return bucket

    def _create_bucket(self, bucket: Bucket) -> tuple[int, Bucket] | None:
        self.tree.create_bucket(bucket)
        return self.upkeep.add_bucket(bucket.name, encode_bucket(bucket)), bucket

    @lasting
    async def set_bucket_metadata(self, name: str, metadata: Metadata) -> Bucket:
        """See L{INamespace.set_bucket_metadata}."""
        await self.get_bucket(name)
        changed = await self._change_bucket(name, self._set_bucket_metadata, (name, checked_metadata(metadata)))
        assert changed is not None
        return changed[1]

    def _set_bucket_metadata(self, change: tuple[str, Metadata]) -> tuple[int, Bucket] | None:
        name, metadata = change
        if name not in self._keys.buckets:
            raise NoSuchBucket(f"there is no bucket {name}")
        number, known = self._keys.buckets[name]
        bucket = attrs.evolve(known, created=known.created or time.time_ns(), metadata=metadata)
        self.tree.change_bucket(bucket)
        self.upkeep.change_bucket(number, encode_bucket(bucket))
        return number, bucket

    @lasting
    async def delete_bucket(self, name: str) -> None:
        """See L{INamespace.delete_bucket}."""
        await self.get_bucket(name)
        await self._change_bucket(name, self._delete_bucket, name)

    def _delete_bucket(self, name: str) -> tuple[int, Bucket] | None:
        # While this waited another one may have removed it.
        self._keys.locate(name, "-")
        self.tree.delete_bucket(name)
        self.upkeep.drop_bucket(self._keys.buckets[name][0])
        return None

    async def _change_bucket(
        self, name: str, change: Callable[[Any], tuple[int, Bucket] | None], value: Any
    ) -> tuple[int, Bucket] | None:
        if self._keys.refusal is not None:
            raise self._keys.refusal
        await self._keys.gate.close()
        try:
            if self._keys.refusal is not None:
                raise self._keys.refusal
            await self.journal.intend(name, "", [f"bucket {name}"])
            try:
                changed: tuple[int, Bucket] | None = await self._disk.run(change, value)
                if changed is None:
                    self._keys.buckets.pop(name, None)
                else:
                    self._keys.buckets[name] = changed
                return changed
            finally:
                self.journal.settle([f"bucket {name}"])
        except (OSError, StorageFailed) as error:
            self._keys.raised(error)
        finally:
            self._keys.gate.open()

    @lasting
    async def get_bucket(self, name: str) -> Bucket:
        """See L{INamespace.get_bucket}."""
        self._keys.locate(check_bucket(name), "-")
        return self._keys.buckets[name][1]

    @lasting
    async def usage(self, bucket: str) -> tuple[int, int]:
        """See L{INamespace.usage}."""
        self._keys.locate(check_bucket(bucket), "-")
        for totals in await self._disk.run(self.upkeep.index.totals):
            if totals.name == bucket:
                return totals.keys, totals.size
        return 0, 0

    @lasting
    async def list_buckets(self) -> list[Bucket]:
        """See L{INamespace.list_buckets}."""
        if self._keys.refusal is not None:
            raise self._keys.refusal
        return [self._keys.buckets[name][1] for name in sorted(self._keys.buckets)]

    # -- upkeep ------------------------------------------------------------------------------

    @lasting
    async def check(self, progress: Callable[[int], object] | None = None, repair: bool = False) -> list[Problem]:
        """See L{IChecked.check}."""
        if self._keys.refusal is not None:
            raise self._keys.refusal
        problems: list[Problem] = []

        async def look_closer(bucket: str, key: str) -> None:
            began = time.monotonic()
            number, data, place = await self._keys.begin(bucket, key)
            try:
                problems.extend(await self._disk.run(self.upkeep.check_key, number, data, place, repair))
            finally:
                self._keys.finish("check", began, bucket, key)

        told = progress or (lambda count: None)
        parts = (self.upkeep, self.tree, self.journal.path)
        await check(*parts, self._run, self._keys.buckets, problems.append, look_closer, told)
        return problems

    @lasting
    async def restore(self, has_bytes: Callable[[str], Any]) -> list[Problem]:
        """See L{IChecked.restore}."""
        return await restore(self._keys, self.tree, self.upkeep, self._disk, self._run, self.needed, has_bytes)

    @lasting
    async def reindex(self, progress: Callable[[int], object] | None = None) -> int:
        """See L{IChecked.reindex}."""
        if self._keys.refusal is not None:
            raise self._keys.refusal
        await self._keys.gate.close()
        try:
            count, self._keys.buckets = await self.upkeep.reindex(progress or (lambda count: None))
        except (OSError, sqlite3.Error) as error:
            raise Unavailable(f"the index cannot be made: {error}") from error
        finally:
            self._keys.gate.open()
        return count

    @lasting
    async def needed(self, ids: Collection[str], progress: Callable[[int], object] | None = None) -> Needed:
        """See L{INamespace.needed}."""
        told = progress or (lambda count: None)
        return await needed(self.upkeep, self.tree, ids, self._run, self._keys.look_closer, told)

    def _run(self, f: Callable[[], Any]) -> Coroutine[Any, Any, Any]:
        return self._keys.inside(lambda: self._disk.run(f))

    def collect(self) -> Iterable[Metric]:
        """The metric families."""
        return self.metrics.collect()
