"""The append log on local disks: prefixes are opened as they are asked for, appends go through one group commit."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from typing import cast

import attrs
from prometheus_client.core import Metric
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from zope.interface import implementer

from storehouse.config.settings import AppendSettings
from storehouse.core.files import Files
from storehouse.core.jobs import IDisk, deferred
from storehouse.core.names import DEFAULT_PREFIX, check_identifier, check_prefix
from storehouse.core.turns import Reactor
from storehouse.errors import (
    EmptyRecord,
    InvalidName,
    NoSuchPrefix,
    StartFailed,
    StorageFailed,
    StorehouseError,
    TooLarge,
    Unavailable,
)
from storehouse.storage.appendlog.bucket import BucketFile
from storehouse.storage.appendlog.checkpoint import Checkpointer
from storehouse.storage.appendlog.commit import GroupCommit
from storehouse.storage.appendlog.interfaces import Appended, Durability, IAppendLog, IRecord, IScan, PrefixStat
from storehouse.storage.appendlog.metrics import LogMetrics
from storehouse.storage.appendlog.prefixes import OpenPrefix, Prefixes, count_buckets, open_prefix, stat_directory
from storehouse.storage.appendlog.reading import Scan, open_record
from storehouse.storage.appendlog.recovery import replay
from storehouse.storage.appendlog.wal import WriteAheadLog

__all__ = ["LocalAppendLog"]


def _checked(prefix: str) -> str:
    # A lone surrogate becomes bytes that are not UTF-8, which check_prefix refuses.
    return check_prefix(prefix.encode("utf-8", "surrogatepass"))


@implementer(IAppendLog)
class LocalAppendLog:
    """
    See L{IAppendLog}.

    @param settings: C{directory} is an absolute path; created if it is missing.
    @param max_open: prefixes that are open at a time.
    @param log_files: log a line for each bucket file that is opened, as the first program does.
    @param on_failure: called once, in the reactor's thread, if the log stops because a write or sync has failed; the
        process should then end, and its next start recovers.
    @ivar failed: that error, from then on.
    """

    _log = Logger()

    def __init__(
        self,
        settings: AppendSettings,
        reactor: Reactor,
        disk: IDisk,
        on_failure: Callable[[StorehouseError], None] = lambda error: None,
        files: Files | None = None,
        max_open: int = 16,
        log_files: bool = False,
    ) -> None:
        self._settings = settings
        self._log_files = log_files
        self._reactor = reactor
        self._disk = disk
        self._on_failure = on_failure
        self._files = files or Files()
        self.default_durability = Durability(settings.sync)
        self.max_record = settings.max_record
        self.failed: StorehouseError | None = None
        self._after_crash = False
        self._scans: set[Scan] = set()
        self._wal_directory = os.path.join(settings.directory, ".wal")
        self.wal = WriteAheadLog(self._wal_directory, settings.wal_size, self._files)
        self.checkpointer = Checkpointer(self._files, self._sync_failed)
        self.metrics = LogMetrics(
            self.wal, self.checkpointer, lambda: self._prefixes.open.values(), lambda: self.failed is not None
        )
        self._commit = GroupCommit(
            reactor, self._files, self.wal, self.checkpointer, self._commit_failed, self.metrics.observe_group
        )
        self.wal.on_full = self.checkpointer.segment_full
        self.wal.wait_for = self.checkpointer.wait_for
        self._prefixes = Prefixes(
            settings.directory,
            max_open,
            lambda name, create: self._open(name, create, in_child=True),
            self._settle,
            disk,
            self._files,
        )
        self._prefixes.refusal = Unavailable("the append log has not been started")
        self._syncing: LoopingCall | None = None

    # -- start and stop ----------------------------------------------------------------------

    def start(self) -> None:
        """
        Recover the log and open the default prefix. Blocks: to be called before the reactor runs.

        @raise StartFailed: if the directory cannot be used.
        @raise BucketCountMismatch: if the default prefix has another number of bucket files.
        """
        directory = self._settings.directory
        try:
            self._files.make_directory(directory)
            # A process that was killed may have created, renamed or removed prefixes without a sync.
            self._files.sync_directory(directory)
            self._after_crash = os.path.isdir(self._wal_directory) and not os.path.exists(self._clean_mark)
            for name in os.listdir(directory):
                if name.startswith((".deleted.", ".new.")):
                    self._log.info("removing {path}, left by an interrupted change", path=os.path.join(directory, name))
                    self._files.remove_tree(os.path.join(directory, name))
            # Before any bucket file is opened: recovery of a bucket file must see the records that the write-ahead log
            # has for it.
            found, records = replay(directory, self._files)
            if records:
                self._log.info("replayed {records} records of the write-ahead log", records=records)
            self.wal.start(found)
            self._prefixes.open[DEFAULT_PREFIX] = self._open(DEFAULT_PREFIX, create=True)
            if self._after_crash:
                self._recover_rest()
            # Only now: if this start fails, the next one still knows that there was no crash.
            if os.path.exists(self._clean_mark):
                self._files.unlink(self._clean_mark)
                self._files.sync_directory(self._wal_directory)
        except OSError as error:
            raise StartFailed(f"the append log in {directory} cannot be opened: {error}") from error
        self._commit.start()
        self.checkpointer.start()
        self._prefixes.refusal = None
        self._syncing = LoopingCall(self._sync_unsynced)
        self._syncing.clock = cast(IReactorTime, self._reactor)
        self._syncing.start(self._settings.sync_interval, now=False)

    def _open(self, name: str, create: bool, in_child: bool = False) -> OpenPrefix:
        settings = self._settings
        prefix = open_prefix(
            name,
            os.path.join(settings.directory, name),
            settings.buckets,
            settings.max_record,
            self._files,
            self._commit,
            create,
            accept_unindexed=not self._after_crash,
            index_in_child=in_child,
            counters=self.metrics.reads,
        )
        stat = prefix.stat()
        self._log.info(
            "opened the storage prefix {name}: {records} records, {size} bytes, {buckets} bucket files",
            name=name,
            **attrs.asdict(stat),
        )
        if self._log_files:
            for bucket in prefix.buckets:
                self._log.debug("opening: {path} with offset: {offset}", path=bucket.path, offset=bucket.end)
        return prefix

    def _recover_rest(self) -> None:
        """
        After a crash, recover the other prefixes as well: when one is opened later it is no longer known that there
        was a crash, and records without entries would be taken for another program's.
        """
        for name in self._prefixes.names_on_disk():
            try:
                if name not in self._prefixes.open:
                    self._open(name, create=False).close(self._files)
            except (StorehouseError, OSError) as error:
                self._log.error("the storage prefix {name} was not recovered: {error}", name=name, error=error)
        self._after_crash = False

    @deferred
    async def stop(self) -> None:
        if self._prefixes.refusal is not None:
            return
        self._prefixes.refusal = Unavailable("the server is stopping")
        if self._syncing is not None:
            self._syncing.stop()
        # In this order: nothing is being opened any more; nothing is queued and all is on disk; no thread uses a file;
        # and only then the mark that says so.
        await self._prefixes.settled()
        buckets = [bucket for prefix in self._prefixes.open.values() for bucket in prefix.buckets]
        for bucket in buckets:
            bucket.closed = True
        try:
            await self._settle(buckets)
        except StorageFailed:
            pass  # It was logged when the log failed.
        await self._disk.run(self._commit.stop)
        await self._disk.run(self.checkpointer.stop)
        await self._prefixes.close_all()
        self.wal.close()
        # Last, and never after a failed sync: the mark lets the next start skip recovery.
        if self.failed is None:
            self._files.close(self._files.open(self._clean_mark, os.O_WRONLY | os.O_CREAT))
            self._files.sync_directory(self._wal_directory)

    @property
    def _clean_mark(self) -> str:
        return os.path.join(self._wal_directory, "clean")

    @deferred
    async def _settle(self, closing: Sequence[BucketFile]) -> None:
        """
        Complete what is queued; sync all bucket files that the write-ahead log names, and these, which will be closed.
        """
        for scan in list(self._scans):
            if scan.bucket in closing:
                scan.cut_off()
        completed: Deferred[None] = Deferred()
        self._commit.barrier(lambda: completed.callback(None))
        await completed
        if self.failed is None:
            await self._checkpoint(closing)

    def _checkpoint(self, closing: Sequence[BucketFile]) -> Deferred[None]:
        """
        Sync all bucket files that the write-ahead log names, and C{closing}; then write a frame from which on no
        replay touches them.

        Three steps, each in the thread that owns the data: the commit thread collects the bucket files, the checkpoint
        thread syncs them, and the commit thread writes the frame.
        """
        finished: Deferred[None] = Deferred()

        def fail(error: BaseException) -> None:
            self._reactor.callFromThread(self._commit.fail, error)
            self._reactor.callFromThread(finished.errback, StorageFailed(f"a sync failed: {error}"))

        def collect() -> None:
            sequence = self.wal.sequence
            buckets = self.wal.dirty_buckets() | set(closing)
            self.wal.forget(closing)
            self.checkpointer.call(lambda: sync(sequence, buckets))

        def sync(sequence: int, buckets: Iterable[BucketFile]) -> None:
            try:
                self.checkpointer.sync_all(buckets)
            except BaseException as error:
                fail(error)
            else:
                self._commit.call_between_groups(lambda: fence(sequence))

        def fence(sequence: int) -> None:
            try:
                self.wal.fence(max(sequence, self.wal.replay_from))
            except BaseException as error:
                fail(error)
            else:
                self._reactor.callFromThread(finished.callback, None)

        self._commit.unsynced.difference_update(closing)
        self._commit.call_between_groups(collect)
        return finished

    def _sync_failed(self, error: BaseException) -> None:
        self._reactor.callFromThread(self._commit.fail, error)

    def _commit_failed(self, error: StorehouseError) -> None:
        self.failed = error
        self._on_failure(error)

    # -- prefixes ----------------------------------------------------------------------------

    def find_open(self, prefix: str, id: bytes) -> tuple[BucketFile, int] | None:
        found = self._prefixes.open.get(prefix)
        return found.find(id) if found is not None else None

    async def _prefix(self, name: str, create: bool) -> OpenPrefix:
        return await self._prefixes.get(_checked(name), create)

    @deferred
    async def close_prefix(self, prefix: str) -> None:
        await self._prefixes.close(_checked(prefix))

    @deferred
    async def delete_prefix(self, prefix: str) -> None:
        await self._prefixes.delete(_checked(prefix))

    @deferred
    async def delete_closed_prefix(self, prefix: str, may_go: Callable[[], bool]) -> bool:
        return await self._prefixes.delete_closed(_checked(prefix), may_go)

    def _sync_unsynced(self) -> None:
        """Begin to sync what was appended with durability C{os} since the last time."""
        buckets = [(bucket, bucket.os_appends, bucket.count) for bucket in self._commit.unsynced]
        self._commit.unsynced.clear()
        if not buckets:
            return

        def sync() -> None:
            self.checkpointer.sync_marked([(bucket, count) for bucket, _, count in buckets])
            self._reactor.callFromThread(synced)

        def synced() -> None:
            for bucket, appends, _ in buckets:
                bucket.os_synced = max(bucket.os_synced, appends)

        self.checkpointer.call(sync)

    # -- records -----------------------------------------------------------------------------

    @deferred
    async def append(
        self, prefix: str, id: bytes, payloads: Sequence[bytes], durability: Durability | None = None
    ) -> Appended:
        check_identifier(id)
        for payload in payloads:
            if not payload:
                raise EmptyRecord("an empty record cannot be appended")
            if len(payload) > self.max_record:
                raise TooLarge(
                    f"the record has {len(payload)} bytes; at most {self.max_record} are allowed (append-max-record)"
                )
        if not payloads:
            raise EmptyRecord("there is no record to append")
        bucket, id_hash = (await self._prefix(prefix, create=True)).find(id)
        appended: Deferred[Appended] = Deferred()

        def done(offsets: tuple[int, ...] | None, error: Exception | None, level: Durability) -> None:
            if offsets is None:
                appended.errback(error)
            else:
                appended.callback(Appended(offsets, bucket, level))

        bucket.append(payloads, id_hash, durability or self.default_durability, done)
        return await appended

    @deferred
    async def get(self, prefix: str, id: bytes, offset: int) -> IRecord:
        check_identifier(id)
        bucket, _ = (await self._prefix(prefix, create=False)).find(id)
        with bucket.reading():
            entry = await self._disk.run(bucket.locate, offset)
            return await open_record(bucket, entry, self._disk)

    @deferred
    async def scan(self, prefix: str, bucket: int | bytes, start: int = 0, follow: bool = False) -> IScan:
        if isinstance(bucket, bytes):
            check_identifier(bucket)
        opened = await self._prefix(prefix, create=False)
        if isinstance(bucket, bytes):
            found, id_hash = opened.find(bucket)
            scan = Scan(found, start, id_hash, follow, self._disk, self._scans.discard)
        elif 0 <= bucket < len(opened.buckets):
            scan = Scan(opened.buckets[bucket], start, None, follow, self._disk, self._scans.discard)
        else:
            raise InvalidName(f"there is no bucket {bucket}; the storage prefix {prefix!r} has {len(opened.buckets)}")
        self._scans.add(scan)
        return scan

    @deferred
    async def stat(self, prefix: str | None = None) -> dict[str, PrefixStat]:
        if self._prefixes.refusal is not None:
            raise self._prefixes.refusal
        if prefix is not None:
            name = _checked(prefix)
            found = self._prefixes.open.get(name)
            if found is not None:
                return {name: found.stat()}
            directory = os.path.join(self._settings.directory, name)
            if not await self._disk.run(count_buckets, directory):
                raise NoSuchPrefix(f"there is no storage prefix {name!r}")
            return {name: await self._disk.run(stat_directory, directory)}
        stats = {}
        for name in await self._disk.run(self._prefixes.names_on_disk):
            found = self._prefixes.open.get(name)
            directory = os.path.join(self._settings.directory, name)
            try:
                stats[name] = found.stat() if found is not None else await self._disk.run(stat_directory, directory)
            except StorehouseError as error:
                self._log.error("{prefix} is left out of the sizes: {error}", prefix=name, error=error)
        return stats

    # -- metrics -----------------------------------------------------------------------------

    def collect(self) -> Iterable[Metric]:
        """For a C{prometheus_client} registry."""
        return self.metrics.collect()
