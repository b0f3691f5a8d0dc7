"""
Which prefixes are open: opening them as they are asked for, closing, deleting, and keeping their number within
bounds.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from storehouse.core.disk import IDisk
from storehouse.core.files import Files
from storehouse.core.names import DEFAULT_PREFIX
from storehouse.errors import NoSuchPrefix, StorageFailed, StorehouseError, Unavailable
from storehouse.storage.appendlog.bucket import BucketFile
from storehouse.storage.appendlog.checkpoint import Checkpointer
from storehouse.storage.appendlog.commit import GroupCommit
from storehouse.storage.appendlog.prefix import OpenPrefix, is_prefix
from storehouse.storage.appendlog.wal import WriteAheadLog

__all__ = ["Prefixes", "checkpoint"]

T = TypeVar("T")


class Prefixes:
    """
    The open prefixes of a log.  Names given to it have been checked.

    @ivar open: by their names, the longest unused first.
    @ivar refusal: why nothing is opened, or C{None}.
    """

    _log = Logger()

    def __init__(
        self,
        directory: str,
        max_open: int,
        opener: Callable[[str, bool], OpenPrefix],
        settle: Callable[[Sequence[BucketFile]], Deferred[None]],
        disk: IDisk,
        files: Files,
    ) -> None:
        """
        @param opener: C{opener(name, create)} opens a prefix; blocks.
        @param settle: answers what is queued, and brings buckets to a state in which their files may be closed and
            removed.
        """
        self._directory = directory
        self._max_open = max_open
        self._opener = opener
        self._settle = settle
        self._disk = disk
        self._files = files
        self._changing: dict[str, Deferred[None]] = {}
        self.open: dict[str, OpenPrefix] = {}
        self.refusal: StorehouseError | None = None

    async def get(self, name: str, create: bool) -> OpenPrefix:
        """
        Give a prefix, opening it, or making it if C{create} is set.

        @raise NoSuchPrefix: if it is not there.
        @raise Unavailable: if too many are open and in use, or the log is stopping.
        """
        while True:
            if self.refusal is not None:
                raise self.refusal
            prefix = self.open.get(name)
            if prefix is not None:
                prefix.used = True
                return prefix
            if name in self._changing:
                await also(self._changing[name])
                continue
            with self._change(name):
                await self._make_room()
                opened: OpenPrefix = await self._disk.run(self._opener, name, create)
                self._opened(name, opened)

    def _opened(self, name: str, prefix: OpenPrefix) -> None:
        if self.refusal is not None:
            prefix.close(self._files)
        else:
            self.open[name] = prefix

    async def close(self, name: str) -> None:
        """Close a prefix; one that is not open is fine."""
        await self._unchanging(name)
        with self._change(name):
            await self._close(name)

    async def delete(self, name: str) -> None:
        """
        Close a prefix and remove it.

        @raise NoSuchPrefix: if it is not there.
        """
        directory = os.path.join(self._directory, name)
        await self._unchanging(name)
        with self._change(name):
            if name not in self.open and not await self._disk.run(is_prefix, directory):
                raise NoSuchPrefix(f"there is no storage prefix {name!r}")
            await self._close(name)
            await self._disk.run(self._remove, name, directory)
        self._log.info("deleted the storage prefix {name}", name=name)

    async def delete_closed(self, name: str, may_go: Callable[[], bool]) -> bool:
        """Remove a prefix if it is closed and C{may_go}, which blocks. @return: whether it was removed."""
        directory = os.path.join(self._directory, name)
        await self._unchanging(name)
        with self._change(name):
            # Closing it has made the write-ahead log forget it.
            if name in self.open or not await self._disk.run(lambda: is_prefix(directory) and may_go()):
                return False
            await self._disk.run(self._remove, name, directory)
        self._log.info("deleted the storage prefix {name}, which was closed", name=name)
        return True

    async def settled(self) -> None:
        """Wait until nothing is being opened, closed or deleted."""
        for change in list(self._changing.values()):
            await also(change)

    async def close_all(self) -> None:
        """Close all files, once nobody reads them. What is to be on disk must be there."""
        for prefix in self.open.values():
            await self._readers_gone(prefix)
            prefix.close(self._files)
        self.open.clear()

    def names_on_disk(self) -> list[str]:
        """All prefixes, open or not. Blocks."""
        return sorted(
            name
            for name in os.listdir(self._directory)
            if not name.startswith(".") and is_prefix(os.path.join(self._directory, name))
        )

    @contextmanager
    def _change(self, name: str) -> Iterator[None]:
        """Mark a prefix as being opened, closed or deleted."""
        self._changing[name] = Deferred()
        try:
            yield
        finally:
            self._changing.pop(name).callback(None)

    async def _unchanging(self, name: str) -> None:
        while name in self._changing:
            await also(self._changing[name])
        if self.refusal is not None:
            raise self.refusal

    async def _make_room(self) -> None:
        """
        Close prefixes that were not used for long, if too many are open.

        One use gives a prefix a second chance.
        """
        while len(self.open) >= self._max_open:
            candidates = {name: prefix for name, prefix in self.open.items() if not self._is_held(name, prefix)}
            if not candidates:
                raise Unavailable(
                    f"{len(self.open)} storage prefixes are open and in use; close one (GET /close?storagePrefix=NAME)"
                )
            idle = next((name for name, prefix in candidates.items() if not prefix.used), next(iter(candidates)))
            for prefix in candidates.values():
                prefix.used = False
            self._log.info("closing the storage prefix {name} to make room for another", name=idle)
            with self._change(idle):
                await self._close(idle)

    def _is_held(self, name: str, prefix: OpenPrefix) -> bool:
        return name == DEFAULT_PREFIX or name in self._changing or any(bucket.followers for bucket in prefix.buckets)

    async def _close(self, name: str) -> None:
        prefix = self.open.pop(name, None)
        if prefix is None:
            return
        for bucket in prefix.buckets:
            bucket.closed = True
        await self._settle(prefix.buckets)
        await self._readers_gone(prefix)
        prefix.close(self._files)
        self._log.info("closed the storage prefix {name}", name=name)

    def _remove(self, name: str, directory: str) -> None:
        # Renamed first: from that moment on it is gone, and what a crash leaves of the removal is finished at the
        # next start.
        doomed = os.path.join(self._directory, f".deleted.{name}.{os.urandom(6).hex()}")
        self._files.move(directory, doomed)
        self._files.sync_directory(self._directory)
        self._files.remove_tree(doomed)

    async def _readers_gone(self, prefix: OpenPrefix) -> None:
        for bucket in prefix.buckets:
            while bucket.readers:
                gone: Deferred[None] = Deferred()
                bucket.on_idle = lambda gone=gone: gone.called or gone.callback(None)  # type: ignore[misc]
                await gone


def checkpoint(
    reactor: Any,
    commit: GroupCommit,
    checkpointer: Checkpointer,
    wal: WriteAheadLog,
    closing: Sequence[BucketFile],
) -> Deferred[None]:
    """
    Bring everything to disk, and the write-ahead log to a point from which no replay touches the buckets given.

    Goes through the commit thread (what is dirty?), the checkpoint thread (sync it), and the commit thread again (say
    so in the log).
    """
    finished: Deferred[None] = Deferred()

    def failed(error: BaseException) -> None:
        reactor.callFromThread(commit.fail, error)
        reactor.callFromThread(finished.errback, StorageFailed(f"a sync failed: {error}"))

    def gather() -> None:
        sequence = wal.sequence
        buckets = wal.dirty_buckets() | set(closing)
        wal.forget(closing)
        checkpointer.call(lambda: sync(sequence, buckets))

    def sync(sequence: int, buckets: Iterable[BucketFile]) -> None:
        try:
            checkpointer.sync_all(buckets)
        except BaseException as error:
            failed(error)
        else:
            commit.call_between_groups(lambda: fence(sequence))

    def fence(sequence: int) -> None:
        try:
            wal.fence(max(sequence, wal.replay_from))
        except BaseException as error:
            failed(error)
        else:
            reactor.callFromThread(finished.callback, None)

    commit.unsynced.difference_update(closing)
    commit.call_between_groups(gather)
    return finished


def also(event: Deferred[None]) -> Deferred[None]:
    """A Deferred of one's own that fires with C{event}, which several may wait for."""
    own: Deferred[None] = Deferred()

    def fire(result: T) -> T:
        own.callback(None)
        return result

    event.addBoth(fire)
    return own
