"""The namespace on local disks: a tree of files that is the truth, an index beside it, a journal between them."""

from __future__ import annotations

import os
import sqlite3
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, NoReturn, ParamSpec, TypeVar

import attrs
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from storehouse.core.files import NO_SPACE, Files
from storehouse.core.jobs import IDisk, KeyedLocks, deferred
from storehouse.core.operations import Latency
from storehouse.errors import (
    DamagedEntry,
    DeleteMarkerFound,
    InvalidBucketState,
    InvalidName,
    NoSuchBucket,
    NoSuchKey,
    StartFailed,
    StorageFailed,
    StorehouseError,
    Unavailable,
)
from storehouse.storage.namespace.check import check, problems_of
from storehouse.storage.namespace.index import SAME, Change, Upkeep, row_of, version_row
from storehouse.storage.namespace.interfaces import (
    ENABLED,
    NULL,
    OFF,
    SUSPENDED,
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
from storehouse.storage.namespace.journal import KEPT, LEAVING, NEW, Journal, moved_to
from storehouse.storage.namespace.needed import needed
from storehouse.storage.namespace.recovery import prepare, recover
from storehouse.storage.namespace.restore import restore
from storehouse.storage.namespace.tree import UNREADABLE, AlreadyThere, KeyPath, NotInJournal, Stale, Tree
from storehouse.storage.namespace.values import (
    MAX_METADATA,
    VERSIONING,
    check_bucket,
    check_config,
    check_id,
    check_key,
    check_owner,
    check_version,
    check_versioning,
    checked,
    checked_metadata,
    encode_bucket,
    encode_entry,
    marker_of,
    no_such_key,
    no_such_version,
    revised,
    state_of,
)

__all__ = ["Gate", "Lane", "LocalNamespace", "NamespaceSettings"]

P = ParamSpec("P")
T = TypeVar("T")


@attrs.frozen
class NamespaceSettings:
    """
    How a namespace is kept.

    @ivar directory: its absolute path; created if it is missing.
    @ivar durable: whether changes survive a power cut once their Deferreds fire; they survive the process in any case.
    @ivar checkpoint_records: intents in the journal after which the index is synced and a new journal begun.
    @ivar checkpoint_interval: seconds after which that is done if there are fewer.
    @ivar max_metadata: bytes of an entry's metadata.
    """

    directory: str
    durable: bool = True
    checkpoint_records: int = 4096
    checkpoint_interval: float = 30.0
    max_metadata: int = MAX_METADATA


@attrs.frozen
class _Found:
    """
    A key as an operation found it.

    @ivar entry: the current version, as readers get it; with the size L{UNREADABLE} if it cannot be read.
    @ivar expected: the ID that C{default.json} names.
    """

    entry: Entry | None
    expected: str | None

    @property
    def object(self) -> Entry | None:
        """The entry, unless it is a delete marker: then there is no object."""
        return None if self.entry is None or self.entry.marker else self.entry

    @property
    def trusted(self) -> Entry | None:
        """The entry, if its file says it, or did when the index was written."""
        return None if self.entry is None or self.entry.size == UNREADABLE else self.entry

    @property
    def known(self) -> bool:
        """Whether the bytes of the default version are known to belong to this key."""
        return self.trusted is not None and self.trusted.id == self.expected


@attrs.frozen
class _Plan:
    """
    What publishing does to a key.

    @ivar entry: the new version, as it is kept, and C{text} its file.
    @ivar gone: the version that goes.
    @ivar kept: the ID of the current version, if it stays.
    @ivar replaced: the ID whose file goes: of C{gone}, or of a version that cannot be read.
    @ivar is_replaced_known: whether that is known to be of this key.
    """

    entry: Entry
    text: bytes
    gone: Entry | None
    kept: str | None
    replaced: str | None
    is_replaced_known: bool
    change: Change


async def gather(waited_for: Sequence[Deferred[None]]) -> None:
    """Wait for all, then raise the first failure."""
    failures: list[Failure] = []
    for each in waited_for:
        each.addErrback(failures.append)
    for each in waited_for:
        await each
    if failures:
        failures[0].raiseException()


class Gate:
    """
    Many operations run at a time, or one alone. For the reactor's thread.

    @ivar inside: how many are running.
    """

    def __init__(self) -> None:
        self.inside = 0
        self._closed = False
        self._empty: Deferred[None] | None = None
        self._waiting: list[Deferred[None]] = []

    async def enter(self) -> None:
        """Enter, once the gate is open. L{leave} must follow."""
        while self._closed:
            await self._wait()
        self.inside += 1

    def leave(self) -> None:
        """Leave; when the last one has left, the caller of L{close} continues."""
        self.inside -= 1
        if self.inside == 0 and self._empty is not None:
            empty, self._empty = self._empty, None
            empty.callback(None)

    async def close(self) -> None:
        """Let no more enter, and wait until all have left. L{open} must follow."""
        while self._closed:
            await self._wait()
        self._closed = True
        if self.inside:
            self._empty = Deferred(lambda _: self._cancelled())
            await self._empty

    def open(self) -> None:
        """Let others enter again."""
        self._closed = False
        waiting, self._waiting = self._waiting, []
        for turn in waiting:
            turn.callback(None)

    async def _wait(self) -> None:
        turn: Deferred[None] = Deferred(self._waiting.remove)
        self._waiting.append(turn)
        await turn

    def _cancelled(self) -> None:
        self._empty = None
        self.open()


#: Seconds after which a thread gives back the results that it has.
_BATCH = 0.002


@implementer(IDisk)
class Lane:
    """
    One disk thread for many short jobs that stay in the page cache: several threads would only contend for the interpreter's
    lock.
    """

    def __init__(self, disk: IDisk) -> None:
        self._disk = disk
        self._jobs: deque[tuple[Callable[[], Any], Deferred[Any]]] = deque()
        self._busy = False

    def run(self, f: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        result: Deferred[T] = Deferred()
        self._jobs.append((lambda: f(*args, **kwargs), result))
        if not self._busy:
            self._next()
        return result

    def _next(self) -> None:
        self._busy = True
        self._disk.run(self._work).addCallback(self._done)

    def _work(self) -> list[tuple[Deferred[Any], Any]]:
        until = time.monotonic() + _BATCH
        done: list[tuple[Deferred[Any], Any]] = []
        while self._jobs and (not done or time.monotonic() < until):
            job, result = self._jobs.popleft()
            try:
                outcome = job()
            except BaseException:
                outcome = Failure()
            done.append((result, outcome))
        return done

    def _done(self, done: list[tuple[Deferred[Any], Any]]) -> None:
        # Callers first: their next jobs are in the next batch, and they do not contend with the thread meanwhile.
        for result, outcome in done:
            result.callback(outcome)
        self._busy = False
        if self._jobs:
            self._next()


@implementer(INamespace)
class LocalNamespace:
    """
    See L{INamespace}.

    Of each key one operation runs at a time, which changes the tree first, then the index.

    @param on_failure: called once, in the reactor's thread, if a sync failed: nothing is changed any more, and the
        process should end.
    @ivar failed: why nothing is changed any more; C{None} while all is well.
    """

    _log = Logger()

    def __init__(
        self,
        settings: NamespaceSettings,
        reactor: IReactorTime,
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
        self.journal = Journal(settings.directory, self._files, disk, settings.durable, lambda error: self._fail(error))
        self.upkeep = Upkeep(self.tree, self.journal, disk)
        self._latencies: dict[str, Latency] = {}
        self.failed: StorehouseError | None = None
        self._refusal: StorehouseError | None = Unavailable("the namespace has not been started")
        self._on_failure = on_failure
        # What changes more than one key closes it.
        self._gate = Gate()
        self._locks = KeyedLocks()
        # Where keys are changed: several threads are faster only if they wait for the disk.
        self._changes: IDisk = disk if settings.durable else Lane(disk)
        # By name, each with its number in the index.
        self._buckets: dict[str, tuple[int, Bucket]] = {}
        self._timer: LoopingCall | None = None

    @property
    def damaged(self) -> int:
        # A bucket whose bucket.json cannot be read has no time.
        return self.upkeep.damaged + sum(not bucket.created for _, bucket in self._buckets.values())

    @property
    def unknown(self) -> int:
        return self.upkeep.unknown

    @property
    def shared(self) -> bool:
        return self.upkeep.index.shared or self.upkeep.index.unsure

    # -- start and stop ----------------------------------------------------------------------

    def start(self) -> None:
        """
        Recover from a crash, and open the namespace. Blocks; to be called before the reactor runs.

        @raise StartFailed: if the directory cannot be used.
        """
        try:
            prepare(self.tree, self._files)
            found = recover(self.tree)
            self.upkeep.index = found.index
            self.upkeep.repairs += found.repairs
            self._buckets = found.buckets
            self.journal.open = {id: (bucket, key, how) for bucket, key, ids, how in found.open for id in ids}
            self.unsettled = list(self.journal.open)
            self.unpublished = [id for id, (_, _, how) in self.journal.open.items() if how == NEW]
            # From now on the journal is not clean: after a crash the next start looks at all that it names.
            self.journal.stamp, self.journal.generation = found.stamp, found.generation
            try:
                self.journal.begin(found.open)
            except OSError as error:
                if error.errno not in NO_SPACE:
                    raise
                # On a full disk keys can still be read, and removed.
                self.journal.resume()
        except (OSError, sqlite3.Error) as error:
            raise StartFailed(f"the namespace in {self._settings.directory} cannot be opened: {error}") from error
        self._refusal = None
        self.upkeep.tell_damage(self.damaged)
        self._timer = LoopingCall(self._checkpoint)
        self._timer.clock = self._reactor
        self._timer.start(self._settings.checkpoint_interval, now=False)

    @deferred(lasting=True)
    async def stop(self) -> None:
        if self._timer is not None:
            self._timer.stop()
            self._timer = None
            self._refusal = Unavailable("the server is stopping")
            await self._gate.close()
            try:
                await self._close()
            finally:
                self._gate.open()
        else:  # not started, or already at it
            await self._gate.close()
            self._gate.open()

    async def _close(self) -> None:
        await self.upkeep.idle()
        try:
            if self.failed is None:
                await self.upkeep.checkpoint()
                await self._disk.run(self.journal.end)
        except (StorehouseError, OSError) as error:
            self._log.error("the next start must replay the journal: {error}", error=error)
        self.journal.abandon()
        self.upkeep.index.close()

    def _checkpoint(self) -> None:
        if self.journal.count and self._refusal is None:
            self.upkeep.begin_checkpoint()

    def _fail(self, error: StorehouseError) -> None:
        """Change nothing any more: after a failed sync, what is on disk is not known."""
        if self.failed is None:
            self._log.critical("the namespace stops: {error}", error=error)
            self.failed = self._refusal = StorageFailed(f"the namespace has stopped: {error}")
            self._on_failure(self.failed)

    # -- shared by operations ------------------------------------------------------

    def _locate(self, bucket: str, key: str) -> tuple[int, bytes, KeyPath]:
        """The number of a bucket, the UTF-8 of a key, and its directory. @raise NoSuchBucket: if there is no such bucket."""
        number = self._number(bucket)
        data = check_key(key)
        return number, data, self.tree.key_path(bucket, key, data)

    def _number(self, bucket: str) -> int:
        """The number of a bucket. @raise NoSuchBucket: if there is no such bucket."""
        if self._refusal is not None:
            raise self._refusal
        found = self._buckets.get(bucket)
        if found is None:
            raise NoSuchBucket(f"there is no bucket {check_bucket(bucket)}")
        return found[0]

    async def _begin(self, bucket: str, key: str) -> tuple[int, bytes, KeyPath]:
        """L{_locate}, and hold the key until L{_finish}: other operations on it wait."""
        self._locate(bucket, key)
        await self._gate.enter()
        try:
            # The bucket may have been removed meanwhile.
            located = self._locate(bucket, key)
            await self._locks.enter(f"{bucket}/{key}")
        except BaseException:
            self._gate.leave()
            raise
        return located

    async def _begin_both(
        self, bucket: str, key: str, other: str
    ) -> tuple[tuple[int, bytes, KeyPath], tuple[int, bytes, KeyPath]]:
        """L{_begin} for two keys. The second is released apart."""
        self._locate(bucket, key)
        await self._gate.enter()
        try:
            located = self._locate(bucket, key), self._locate(bucket, other)
            # In one order for all, so that no two wait for each other.
            first, second = sorted((f"{bucket}/{key}", f"{bucket}/{other}"))
            await self._locks.enter(first)
            try:
                await self._locks.enter(second)
            except BaseException:
                self._locks.leave(first)
                raise
        except BaseException:
            self._gate.leave()
            raise
        return located

    def _finish(self, operation: str, began: float, bucket: str, key: str) -> None:
        """Release the key, and count the operation."""
        self._locks.leave(f"{bucket}/{key}")
        self._observe(operation, time.monotonic() - began)
        if self.journal.count >= self._settings.checkpoint_records:
            self.upkeep.begin_checkpoint()
        self._gate.leave()

    @asynccontextmanager
    async def _inside(self) -> AsyncIterator[None]:
        """For an operation on no single key: no bucket comes or goes meanwhile, and the index is not exchanged."""
        await self._gate.enter()
        try:
            if self._refusal is not None:
                raise self._refusal
            yield
        finally:
            self._gate.leave()

    def _raise(self, error: OSError | StorageFailed) -> NoReturn:
        """Raise the error that a caller gets for one of the system. A failed sync stops the namespace."""
        if isinstance(error, StorageFailed):
            self._fail(error)
            raise error
        raise Unavailable(f"{error.filename or self.tree.directory}: {error.strerror}") from error

    # -- keys --------------------------------------------------------------------------------

    @deferred(lasting=True)
    async def intend(self, bucket: str, key: str, ids: Iterable[str]) -> None:
        self._number(bucket)
        check_key(key)
        checked = [check_id(id) for id in ids]
        async with self._inside():
            await self.journal.intend(bucket, key, checked, NEW)

    def settle(self, ids: Iterable[str]) -> None:
        gone = set(ids)
        self.journal.settle(gone)
        if self.unsettled:
            self.unsettled = [id for id in self.unsettled if id not in gone]

    def _find(self, number: int, data: bytes, key_path: KeyPath) -> _Found:
        """The key by its row. If that is wrong, or missing, the tree will raise L{Stale}."""
        entry = self.upkeep.get(number, data, key_path.key)
        return _Found(None, None) if entry is None else _Found(entry, entry.id)

    async def _look_again(self, number: int, data: bytes, key_path: KeyPath) -> _Found:
        """The key by the tree, since its row was wrong. The caller holds the key."""
        return await self._disk.run(self._found, number, data, key_path)

    def _found(self, number: int, data: bytes, key_path: KeyPath) -> _Found:
        try:
            entry = self.upkeep.repair(number, data, key_path)
            default = None if entry is None else entry.id
        except DamagedEntry as error:
            # It can be replaced and removed nevertheless.
            self._log.error("damaged: {error}", error=error)
            default = self.tree.readable_default(key_path)
            entry = self.upkeep.get_row(number, data, key_path.key) or Entry(default or "", UNREADABLE, "", 0)
        return _Found(entry, default)

    async def _compare(self, number: int, data: bytes, key_path: KeyPath) -> None:
        """After a failure: make the row agree with the tree, which may have changed or not."""
        try:
            await self._disk.run(self.upkeep.repair, number, data, key_path)
        except (OSError, StorehouseError) as error:
            self._log.error("{error}", error=error)

    @deferred(lasting=True)
    async def publish(
        self, bucket: str, key: str, entry: Entry, condition: Condition | None = None, keep: bool | None = None
    ) -> Changed:
        began = time.monotonic()
        entry = checked(entry, self._settings.max_metadata)
        check_key(key)
        number, data, key_path = await self._begin(bucket, key)
        try:
            return await self._add(number, data, key_path, entry, condition, keep)
        except (OSError, StorageFailed) as error:
            await self._compare(number, data, key_path)
            self._raise(error)
        finally:
            self._finish("publish", began, bucket, key)

    async def _add(
        self,
        number: int,
        data: bytes,
        key_path: KeyPath,
        entry: Entry,
        condition: Condition | None,
        keep: bool | None = None,
    ) -> Changed:
        """Make a version, or a marker, the current one of a key. The caller holds the key."""
        bucket, key = key_path.bucket, key_path.key
        state = self._buckets[bucket][1].versioning
        if entry.marker and state == OFF:
            raise InvalidName(f"the bucket {bucket} has no versions, so no delete markers either")
        found = self._find(number, data, key_path)
        asked = looked = False
        # An ID that is an older version already must survive a crash that keeps it from becoming the current one.
        again = (state != OFF or bool(keep)) and self.upkeep.get_version(number, data, key, entry.id) is not None
        while True:
            if condition is not None and not asked:
                try:
                    condition(found.object)
                except StorehouseError:
                    if looked or found.entry is not None:
                        raise
                    # The tree decides whether there is none.
                    found, looked = await self._look_again(number, data, key_path), True
                    condition(found.object)
            # Which may be older than the current one; there is one at most.
            null = await self._version(number, data, key_path, NULL, None) if state == SUSPENDED else None
            plan = self._planned(number, data, key_path, entry, found, null, state, keep)
            # Bytes that may belong to another key are not recorded: recovery might remove them.
            intended = [self.journal.intend(bucket, key, [entry.id], KEPT if again else NEW)]
            if plan.gone is not None:
                intended.append(self.journal.intend(bucket, key, [plan.gone.id], entry.id))
            if plan.kept is not None:
                intended.append(self.journal.intend(bucket, key, [plan.kept], KEPT))
            await gather(intended)
            try:
                await self._changes.run(self._publish, number, data, key_path, plan, found, again, looked)
            except (Stale, AlreadyThere, StorehouseError) as error:
                if plan.gone is not None and not isinstance(error, StorageFailed):
                    self.journal.settle([plan.gone.id])
                if isinstance(error, AlreadyThere):
                    again = asked = True
                elif isinstance(error, Stale):
                    asked = False
                    found, looked = await self._look_again(number, data, key_path), True
                else:
                    raise
            else:
                break
        self.journal.settle([entry.id])
        return Changed(plan.entry, [] if plan.gone is None else [plan.gone], plan.entry)

    def _planned(
        self,
        number: int,
        data: bytes,
        key_path: KeyPath,
        entry: Entry,
        found: _Found,
        null: Entry | None,
        state: str,
        keep: bool | None,
    ) -> _Plan:
        """
        What becomes of the versions of a key when another one is published.

        @param null: its null version, if that is replaced.
        """
        there, known = found.trusted, found.known
        is_same = found.expected == entry.id
        if there is not None and is_same:
            entry = attrs.evolve(entry, versioned=there.versioned, order=there.order, marker=there.marker)
        else:
            # Later than what it follows, also if the clock was set back.
            least = 0 if state == OFF or there is None else there.rank + 1
            order = least if entry.created < least else 0
            if state == ENABLED or entry.versioned or entry.order != order:
                entry = attrs.evolve(entry, versioned=state == ENABLED, order=order)
        if keep is None:
            # In doubt a version stays.
            keep = state == ENABLED or (state == SUSPENDED and (there is None or there.versioned))
        gone: Entry | None = None
        if not is_same and known and not keep:
            gone = there
        elif null is not None and keep and not is_same and null.id not in (entry.id, found.expected):
            gone = null
        # The file of a version that cannot be read is set aside where it would have been removed.
        is_dropped = not known and not keep and not is_same
        replaced = gone.id if gone is not None else found.expected if is_dropped else None
        kept = found.expected if known and keep and not is_same else None
        row = row_of(key_path, entry)
        put = [version_row(entry, key_path.key, True)] if entry.marker else []
        drop: list[bytes] = []
        if kept is not None and there is not None:
            put.append(version_row(there, key_path.key))
        if gone is not None and (gone is not there or gone.marker):
            drop.append(gone.id.encode())
        text = encode_entry(entry, key_path.key) if row is None else row[1]
        return _Plan(entry, text, gone, kept, replaced, not is_dropped, Change(number, data, row, put, drop))

    def _publish(
        self, number: int, data: bytes, key_path: KeyPath, plan: _Plan, found: _Found, again: bool, looked: bool
    ) -> None:
        if found.entry is None and not looked and os.path.lexists(key_path.directory):
            raise Stale
        self.tree.publish(
            key_path, plan.entry.id, plan.text, found.expected, plan.replaced, again, plan.is_replaced_known
        )
        change = plan.change
        if again and not plan.entry.marker:
            change = attrs.evolve(change, drop=[*change.drop, plan.entry.id.encode()])
        self.upkeep.apply(change)
        if found.entry is not None and not found.known:
            self.upkeep.repair(number, data, key_path)

    @deferred(lasting=True)
    async def unpublish(
        self,
        bucket: str,
        key: str,
        id: str | None = None,
        condition: Condition | None = None,
        marker: Entry | None = None,
    ) -> Changed:
        began = time.monotonic()
        if id is not None:
            check_version(id)
        if marker is not None:
            marker = checked(marker, self._settings.max_metadata)
        number, data, key_path = await self._begin(bucket, key)
        try:
            if id is None and self._buckets[bucket][1].versioning != OFF:
                return await self._add(number, data, key_path, marker_of(marker), condition)
            found = self._find(number, data, key_path)
            if found.entry is None:
                found = await self._look_again(number, data, key_path)
            if condition is not None:
                condition(found.object)
            if id is not None:
                return await self._remove_version(number, data, key_path, id, found)
            # Others are added once the tree has shown that they belong to this key.
            leaving = [] if found.trusted is None else [found.trusted.id]
            while True:
                # After a crash none of the key is removed.
                await self.journal.intend(bucket, key, leaving, LEAVING)
                try:
                    removed = await self._changes.run(self._unpublish, number, data, key_path, leaving, found)
                    return Changed(None, removed, None)
                except NotInJournal as more:
                    leaving = more.ids
                except (NoSuchKey, DamagedEntry):
                    self.journal.settle(leaving)
                    raise
        except (OSError, StorageFailed) as error:
            await self._compare(number, data, key_path)
            self._raise(error)
        finally:
            self._finish("unpublish", began, bucket, key)

    def _unpublish(self, number: int, data: bytes, key_path: KeyPath, known: list[str], found: _Found) -> list[Entry]:
        removed = self.tree.unpublish(key_path, known, found.trusted)
        self.upkeep.apply(Change(number, data, None, clear=True))
        return removed

    async def _remove_version(self, number: int, data: bytes, key_path: KeyPath, id: str, found: _Found) -> Changed:
        """Remove one version of a key for good: all that are removed by their IDs are removed here. The caller holds the key."""
        try:
            entry = await self._version(number, data, key_path, id, found.trusted)
        except DamagedEntry:
            entry = Entry(id, UNREADABLE, "", 0)
        if entry is None:
            raise no_such_version(key_path.bucket, key_path.key, id)
        is_readable = entry.size != UNREADABLE
        # After a crash it is removed, unless it still is the default.
        await self.journal.intend(key_path.bucket, key_path.key, [entry.id] if is_readable else [], NEW)
        try:
            left, is_left = await self._changes.run(
                self._remove, number, data, key_path, entry.id, entry if is_readable else None, found
            )
        except DamagedEntry:
            self.journal.settle([entry.id])
            raise
        current = left or (found.entry if is_left else None)
        return Changed(None, [entry] if is_readable else [], current)

    def _remove(
        self, number: int, data: bytes, key_path: KeyPath, id: str, entry: Entry | None, found: _Found
    ) -> tuple[Entry | None, bool]:
        newest = partial(self.upkeep.newest, number, data)
        left, is_left = self.tree.remove_version(key_path, id, entry, newest)
        if not is_left:
            self.upkeep.apply(Change(number, data, None, clear=True))
        elif left is None:
            self.upkeep.apply(Change(number, data, SAME, drop=[id.encode()]))
            if found.expected in (None, id):
                self._found(number, data, key_path)
        elif left.marker:
            self.upkeep.apply(Change(number, data, None, [version_row(left, key_path.key, True)], [id.encode()]))
        else:
            gone = [id.encode(), left.id.encode()]
            self.upkeep.apply(Change(number, data, row_of(key_path, left), drop=gone))
        return left, is_left

    async def _version(
        self, number: int, data: bytes, key_path: KeyPath, id: str, current: Entry | None
    ) -> Entry | None:
        """
        A version of a key by its ID, or the null version; C{None} if there is none.

        @param current: the current version, if it can be read.
        @raise DamagedEntry: if its file cannot be read.
        """
        if current is not None and (id == current.id or (id == NULL and not current.versioned)):
            return current
        found = self.upkeep.get_version(number, data, key_path.key, None if id == NULL else id)
        if found is not None:
            return found
        if id != NULL:
            return await self._disk.run(self.tree.read, key_path, id)
        if self.upkeep.is_sure(number, data):
            return None
        versions: list[Entry] = await self._disk.run(self.tree.readable, key_path)
        return max((each for each in versions if not each.versioned), key=lambda each: each.rank, default=None)

    @deferred(lasting=True)
    async def revise(self, bucket: str, key: str, id: str | None, change: Callable[[Entry], Entry]) -> Entry:
        began = time.monotonic()
        if id is not None:
            check_version(id)
        number, data, key_path = await self._begin(bucket, key)
        try:
            found = self._find(number, data, key_path)
            if found.entry is None:
                found = await self._look_again(number, data, key_path)
            if id is None:
                there = found.entry
                if there is None:
                    raise no_such_key(bucket, key)
                if there.marker:
                    raise DeleteMarkerFound(bucket, key, there.version, there.created, True)
            else:
                there = await self._version(number, data, key_path, id, found.trusted)
                if there is None:
                    raise no_such_version(key_path.bucket, key_path.key, id)
            if there.size == UNREADABLE:
                raise key_path.damaged(there.id or None, "", "it cannot be read")
            entry = revised(there, change(there), self._settings.max_metadata)
            # It stays after a crash, and its row is compared.
            await self.journal.intend(bucket, key, [entry.id], KEPT)
            await self._changes.run(self._revise, number, data, key_path, entry, entry.id == found.expected)
            return entry
        except (OSError, StorageFailed) as error:
            await self._compare(number, data, key_path)
            self._raise(error)
        finally:
            self._finish("revise", began, bucket, key)

    def _revise(self, number: int, data: bytes, key_path: KeyPath, entry: Entry, is_current: bool) -> None:
        self.tree.revise(key_path, entry.id, encode_entry(entry, key_path.key))
        if is_current and not entry.marker:
            self.upkeep.apply(Change(number, data, row_of(key_path, entry)))
        else:
            self.upkeep.apply(Change(number, data, SAME, [version_row(entry, key_path.key, is_current)]))

    @deferred(lasting=True)
    async def rename(
        self,
        bucket: str,
        key: str,
        new_key: str,
        entry: Entry,
        condition: Condition | None = None,
        source_condition: Condition | None = None,
    ) -> tuple[list[Entry], list[Entry]]:
        began = time.monotonic()
        entry = checked(entry, self._settings.max_metadata)
        if key == new_key:
            raise InvalidName(f"the key {key[:200]!r} cannot be renamed to itself")
        text = encode_entry(entry, new_key) if check_key(new_key) else b""
        (number, data, source), (_, new_data, target) = await self._begin_both(bucket, key, new_key)
        try:
            if self._buckets[bucket][1].versioning != OFF:
                raise InvalidBucketState(
                    f"the bucket {bucket} has versions: its keys cannot be renamed; copy the object, and delete it"
                )
            # By the tree: this is too rare to be made faster by the rows.
            there = await self._look_again(number, data, source)
            if source_condition is not None:
                source_condition(there.entry)
            if there.entry is None:
                raise no_such_key(bucket, key)
            if not there.known:
                raise source.damaged(there.expected, "", "it cannot be renamed, since its entry cannot be read")
            found = await self._look_again(number, new_data, target)
            if condition is not None:
                condition(found.entry)
            leaving: list[Entry] = await self._disk.run(self.tree.readable, source, there.trusted)
            old = found.expected if found.known and found.expected != entry.id else None
            ids = [each.id for each in leaving]
            if entry.id in ids or self.tree.has(source, entry.id):
                raise InvalidName(f"the ID {entry.id} belongs to the key {key[:200]!r}")
            # What was said of them before does not count any more.
            self.journal.settle(ids)
            again = entry.id != found.expected and self.tree.has(target, entry.id)
            intended = [
                self.journal.intend(bucket, new_key, [entry.id], KEPT if again else NEW),
                self.journal.intend(bucket, key, ids, moved_to(entry.id, new_key)),
            ]
            if old is not None:
                intended.append(self.journal.intend(bucket, new_key, [old], entry.id))
            await gather(intended)
            rows = (
                Change(number, data, None, clear=True),
                Change(number, new_data, (entry.size, text), drop=[entry.id.encode()] if again else []),
            )
            try:
                await self._changes.run(self._rename, source, target, entry.id, text, found, ids, again, rows)
            except StorehouseError as error:
                if not isinstance(error, StorageFailed):
                    self.journal.settle([*ids, *([] if old is None else [old])])
                raise
            self.journal.settle([entry.id])
            return [] if old is None or found.trusted is None else [found.trusted], leaving
        except (OSError, StorageFailed) as error:
            await self._compare(number, data, source)
            await self._compare(number, new_data, target)
            self._raise(error)
        finally:
            self._locks.leave(f"{bucket}/{new_key}")
            self._finish("rename", began, bucket, key)

    def _rename(
        self,
        source: KeyPath,
        target: KeyPath,
        id: str,
        text: bytes,
        found: _Found,
        leaving: list[str],
        again: bool,
        rows: tuple[Change, Change],
    ) -> None:
        self.tree.publish(target, id, text, found.expected, found.expected, again, found.known)
        # From here on a start finishes it.
        self.tree.remove(source, leaving)
        self.upkeep.apply(*rows)

    @deferred(lasting=True)
    async def look_up(self, bucket: str, key: str, id: str | None = None) -> Entry:
        began = time.monotonic()
        number, data, key_path = self._locate(bucket, key)
        entry = self.upkeep.get(number, data, key)
        try:
            # The tree decides whether there is none.
            is_missing = entry is None and id in (None, NULL) and await self._disk.run(self._is_there, key_path)
            if is_missing:
                entry = await self._look_closer(bucket, key)
            if id is None:
                if entry is None:
                    raise no_such_key(bucket, key)
                if entry.marker:
                    raise DeleteMarkerFound(bucket, key, entry.version, entry.created, True)
            elif entry is None or id != entry.id:
                entry = await self._version(number, data, key_path, check_version(id), entry)
                if entry is None:
                    raise no_such_version(key_path.bucket, key_path.key, id)
        except OSError as error:
            self._raise(error)
        self._observe("look_up", time.monotonic() - began)
        return entry

    def _is_there(self, key_path: KeyPath) -> bool:
        try:
            return self.tree.current(key_path) is not None
        except DamagedEntry:
            # Or it changed between two system calls: only with the key held is that certain.
            return True

    async def _look_closer(self, bucket: str, key: str) -> Entry | None:
        """
        The default version of a key, read from the tree with the key held; its row is repaired.

        @raise DamagedEntry: if it cannot be read.
        @raise NoSuchBucket: if the bucket was removed.
        """
        began = time.monotonic()
        # Located again: the bucket may be another one of the same name by now.
        number, data, key_path = await self._begin(bucket, key)
        try:
            entry: Entry | None = await self._disk.run(self.upkeep.repair, number, data, key_path)
            return entry
        except DamagedEntry:
            known = self.upkeep.get_row(number, data, key)
            if known is None:
                raise
            return known
        finally:
            self._finish("repair", began, bucket, key)

    @deferred(lasting=True)
    async def versions(self, bucket: str, key: str) -> list[Entry]:
        began = time.monotonic()
        _, _, key_path = await self._begin(bucket, key)
        try:
            found: list[Entry] = await self._disk.run(self.tree.versions, key_path)
        except OSError as error:
            self._raise(error)
        finally:
            self._finish("versions", began, bucket, key)
        if not found:
            raise no_such_key(bucket, key)
        return found

    @deferred(lasting=True)
    async def list_keys(
        self, bucket: str, prefix: str = "", delimiter: str = "", after: str = "", limit: int = 1000
    ) -> Page:
        began = time.monotonic()
        self._number(bucket)
        if limit < 0:
            raise InvalidName(f"a page cannot have {limit} keys")
        async with self._inside():
            # Again: the bucket may be another one of the same name by now.
            number = self._number(bucket)
            items, next_after = await self._disk.run(self.upkeep.page, number, prefix, delimiter, after, limit)
        entries: list[tuple[str, Entry]] = []
        damaged: list[str] = []
        for key, found in items:
            if found is None:
                # Its row cannot be read.
                try:
                    found = await self._look_closer(bucket, key)
                except DamagedEntry:
                    damaged.append(key)
            if isinstance(found, Entry):
                entries.append((key, found))
        self.upkeep.check_index()
        self._observe("list", time.monotonic() - began)
        return Page(entries, [key for key, entry in items if entry is False], next_after, damaged)

    @deferred(lasting=True)
    async def list_versions(
        self,
        bucket: str,
        prefix: str = "",
        delimiter: str = "",
        key_marker: str = "",
        version_marker: str = "",
        limit: int = 1000,
    ) -> VersionPage:
        began = time.monotonic()
        self._number(bucket)
        if limit < 0:
            raise InvalidName(f"a page cannot have {limit} versions")
        async with self._inside():
            number = self._number(bucket)
            items, next_key, next_version = await self._disk.run(
                self.upkeep.version_page, number, prefix, delimiter, key_marker, version_marker, limit
            )
        versions: list[Version] = []
        damaged: list[tuple[str, str]] = []
        for key, found in items:
            if found is None:
                continue
            is_latest, id, entry = found
            if entry is None and is_latest:
                # Its row cannot be read.
                try:
                    entry = await self._look_closer(bucket, key)
                except DamagedEntry as error:
                    damaged.append((key, id or error.id or ""))
            elif entry is None:
                damaged.append((key, id))
            if entry is not None:
                versions.append(Version(key, entry, is_latest))
        self.upkeep.check_index()
        self._observe("list_versions", time.monotonic() - began)
        prefixes = [key for key, found in items if found is None]
        return VersionPage(versions, prefixes, next_key, next_version, damaged)

    @deferred(lasting=True)
    async def list_names(self, bucket: str, prefix: str = "", after: str = "", limit: int = 1000) -> list[str]:
        self._number(bucket)
        async with self._inside():
            number = self._number(bucket)
            return await self._disk.run(self.upkeep.names, number, prefix, after, max(0, limit))

    # -- buckets -----------------------------------------------------------------------------

    @deferred(lasting=True)
    async def create_bucket(
        self,
        name: str,
        metadata: Metadata | None = None,
        owner: str = "",
        configs: Mapping[str, bytes] | None = None,
    ) -> Bucket:
        bucket = Bucket(check_bucket(name), time.time_ns(), checked_metadata(metadata or {}), check_owner(owner))
        for kind, data in (configs or {}).items():
            check_config(kind, data)
        state = state_of((configs or {}).get(VERSIONING))

        def create(bucket: Bucket) -> tuple[int, Bucket] | None:
            self.tree.create_bucket(bucket, configs)
            return self.upkeep.add_bucket(bucket.name, encode_bucket(bucket)), bucket

        bucket = attrs.evolve(bucket, versioning=state)
        await self._change_bucket(name, create, bucket)
        return bucket

    def versioning(self, bucket: str) -> str:
        found = self._buckets.get(bucket)
        return OFF if found is None else found[1].versioning

    @deferred(lasting=True)
    async def set_versioning(self, bucket: str, state: str) -> Bucket:
        self._locate(check_bucket(bucket), "-")
        check_versioning(state)

        def change(name: str) -> tuple[int, Bucket] | None:
            self._number(name)
            number, known = self._buckets[name]
            if state != known.versioning:
                check_versioning(state, known.versioning)
                self.tree.change_config(name, VERSIONING, state.encode())
            return number, attrs.evolve(known, versioning=state)

        changed = await self._change_bucket(bucket, change, bucket)
        assert changed is not None
        return changed[1]

    @deferred(lasting=True)
    async def set_bucket_metadata(self, name: str, metadata: Metadata) -> Bucket:
        await self.get_bucket(name)
        changed = await self._change_bucket(name, self._set_bucket_metadata, (name, checked_metadata(metadata)))
        assert changed is not None
        return changed[1]

    def _set_bucket_metadata(self, change: tuple[str, Metadata]) -> tuple[int, Bucket] | None:
        name, metadata = change
        if name not in self._buckets:
            raise NoSuchBucket(f"there is no bucket {name}")
        number, known = self._buckets[name]
        bucket = attrs.evolve(known, created=known.created or time.time_ns(), metadata=metadata)
        self.tree.change_bucket(bucket)
        self.upkeep.change_bucket(number, encode_bucket(bucket))
        return number, bucket

    @deferred(lasting=True)
    async def delete_bucket(self, name: str) -> None:
        await self.get_bucket(name)
        await self._change_bucket(name, self._delete_bucket, name)

    def _delete_bucket(self, name: str) -> tuple[int, Bucket] | None:
        # It may have been removed meanwhile.
        self._number(name)
        self.tree.delete_bucket(name)
        self.upkeep.drop_bucket(self._buckets[name][0])
        return None

    async def _change_bucket(
        self, name: str, change: Callable[[Any], tuple[int, Bucket] | None], value: Any
    ) -> tuple[int, Bucket] | None:
        if self._refusal is not None:
            raise self._refusal
        await self._gate.close()
        try:
            if self._refusal is not None:
                raise self._refusal
            await self.journal.intend(name, "", [f"bucket {name}"])
            try:
                changed: tuple[int, Bucket] | None = await self._disk.run(change, value)
                if changed is None:
                    self._buckets.pop(name, None)
                else:
                    self._buckets[name] = changed
                return changed
            finally:
                self.journal.settle([f"bucket {name}"])
        except (OSError, StorageFailed) as error:
            self._raise(error)
        finally:
            self._gate.open()

    @deferred(lasting=True)
    async def get_bucket(self, name: str) -> Bucket:
        self._number(check_bucket(name))
        return self._buckets[name][1]

    @deferred(lasting=True)
    async def bucket_config(self, bucket: str, kind: str) -> bytes | None:
        check_config(kind, None)
        self._locate(check_bucket(bucket), "-")

        def read() -> bytes | None:
            # It may have been removed meanwhile.
            self._locate(bucket, "-")
            return self.tree.read_config(bucket, kind)

        try:
            return await self._run(read)
        except OSError as error:
            self._raise(error)

    @deferred(lasting=True)
    async def set_bucket_config(self, bucket: str, kind: str, data: bytes | None) -> None:
        check_config(kind, data)
        self._locate(check_bucket(bucket), "-")
        if kind == VERSIONING:
            await self.set_versioning(bucket, state_of(data))
            return

        def change(name: str) -> tuple[int, Bucket] | None:
            self._locate(name, "-")
            self.tree.change_config(name, kind, data)
            return self._buckets[name]

        await self._change_bucket(bucket, change, bucket)

    @deferred(lasting=True)
    async def usage(self, bucket: str) -> Usage:
        self._number(check_bucket(bucket))
        for totals in await self._disk.run(self.upkeep.index.totals):
            if totals.name == bucket:
                return totals.usage
        return Usage(0, 0)

    @deferred(lasting=True)
    async def list_buckets(self) -> list[Bucket]:
        if self._refusal is not None:
            raise self._refusal
        return [self._buckets[name][1] for name in sorted(self._buckets)]

    # -- upkeep ------------------------------------------------------------------------------

    @deferred(lasting=True)
    async def check(self, progress: Callable[[int], object] | None = None, repair: bool = False) -> list[Problem]:
        if self._refusal is not None:
            raise self._refusal
        problems: list[Problem] = []

        async def look_closer(bucket: str, key: str) -> None:
            began = time.monotonic()
            number, data, key_path = await self._begin(bucket, key)
            try:
                problems.extend(
                    await self._disk.run(problems_of, self.upkeep, self.tree, number, data, key_path, repair)
                )
            finally:
                self._finish("check", began, bucket, key)

        report = progress or (lambda count: None)
        path = self.journal.path
        await check(self.upkeep, self.tree, path, self._run, self._buckets, problems.append, look_closer, report)
        return problems

    @deferred(lasting=True)
    async def restore(self, has_bytes: Callable[[str], Deferred[bool]]) -> list[Problem]:
        return await restore(
            self.tree,
            self.upkeep,
            self._buckets,
            self._begin,
            self._finish,
            self._disk,
            self._run,
            self.needed,
            has_bytes,
        )

    @deferred(lasting=True)
    async def reindex(self, progress: Callable[[int], object] | None = None) -> int:
        if self._refusal is not None:
            raise self._refusal
        await self._gate.close()
        try:
            count, self._buckets = await self.upkeep.reindex(progress or (lambda count: None))
        except (OSError, sqlite3.Error) as error:
            raise Unavailable(f"the index cannot be created: {error}") from error
        finally:
            self._gate.open()
        return count

    @deferred(lasting=True)
    async def needed(self, ids: Collection[str], progress: Callable[[int], object] | None = None) -> Needed:
        report = progress or (lambda count: None)
        return await needed(self.upkeep, self.tree, ids, self._run, self._look_closer, report)

    async def _run(self, f: Callable[[], T]) -> T:
        async with self._inside():
            return await self._disk.run(f)

    # -- metrics -----------------------------------------------------------------------------

    def _observe(self, operation: str, seconds: float) -> None:
        latency = self._latencies.get(operation)
        if latency is None:
            latency = self._latencies[operation] = Latency()
        latency.observe(seconds)

    def collect(self) -> Iterable[Metric]:
        """The metric families. The index keeps the counts of keys."""
        operations = HistogramMetricFamily(
            "storehouse_namespace_operation_seconds",
            "Time of operations on keys, including waiting.",
            labels=["operation"],
        )
        for name, latency in sorted(self._latencies.items()):
            operations.add_metric([name], latency.buckets(), latency.total)
        yield operations
        upkeep, journal = self.upkeep, self.journal
        try:
            totals = upkeep.index.totals() if upkeep.broken is None else []
        except sqlite3.Error as error:
            upkeep.break_off(error)
            totals = []
        yield GaugeMetricFamily("storehouse_namespace_buckets", "Buckets.", value=len(totals))
        keys = GaugeMetricFamily("storehouse_namespace_keys", "Keys of a bucket.", labels=["bucket"])
        size = GaugeMetricFamily(
            "storehouse_namespace_bytes", "Bytes of the current versions of a bucket's keys.", labels=["bucket"]
        )
        versions = GaugeMetricFamily(
            "storehouse_namespace_versions", "Versions of a bucket's keys that are not current.", labels=["bucket"]
        )
        versions_size = GaugeMetricFamily(
            "storehouse_namespace_versions_bytes", "Bytes of versions that are not current.", labels=["bucket"]
        )
        markers = GaugeMetricFamily("storehouse_namespace_markers", "Delete markers of a bucket.", labels=["bucket"])
        for total in totals:
            keys.add_metric([total.name], total.usage.keys)
            size.add_metric([total.name], total.usage.size)
            versions.add_metric([total.name], total.usage.versions)
            versions_size.add_metric([total.name], total.usage.versions_size)
            markers.add_metric([total.name], total.usage.markers)
        yield keys
        yield size
        yield versions
        yield versions_size
        yield markers
        yield CounterMetricFamily(
            "storehouse_namespace_index_repairs", "Rows of the index that were corrected.", value=upkeep.repairs
        )
        yield GaugeMetricFamily(
            "storehouse_namespace_index_broken",
            "1 while the index cannot be used and keys cannot be listed.",
            value=upkeep.broken is not None,
        )
        yield GaugeMetricFamily(
            "storehouse_namespace_damaged_keys",
            "Damaged keys and buckets.",
            value=self.damaged,
        )
        yield GaugeMetricFamily(
            "storehouse_namespace_unknown_names",
            "Files that are neither keys nor buckets, found when the index was built.",
            value=self.unknown,
        )
        yield CounterMetricFamily(
            "storehouse_namespace_journal_syncs", "Groups of intents written to the journal.", value=journal.syncs
        )
        yield CounterMetricFamily(
            "storehouse_namespace_checkpoints", "Times the index was synced to disk.", value=upkeep.checkpoints
        )
        yield GaugeMetricFamily(
            "storehouse_namespace_open_ids", "IDs that a crash now could leave without a key.", value=len(journal.open)
        )
        yield GaugeMetricFamily(
            "storehouse_namespace_unsettled",
            "IDs that an earlier crash may have left without a key.",
            value=len(self.unsettled),
        )
        yield GaugeMetricFamily(
            "storehouse_namespace_failed",
            "1 after a sync failed: nothing is changed until a restart.",
            value=self.failed is not None,
        )
