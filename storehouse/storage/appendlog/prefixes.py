"""
Storage prefixes: the directory of one with its bucket files, and which prefixes of a log are open.

Opening a prefix recovers its bucket files. A bounded number of them is open, since each needs two open files for each
of them.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from storehouse.core.digests import fnv1a32
from storehouse.core.files import NO_SPACE, Files
from storehouse.core.jobs import IDisk, over
from storehouse.core.names import DEFAULT_PREFIX
from storehouse.errors import BucketCountMismatch, Damaged, NoSpace, NoSuchPrefix, StorehouseError, Unavailable
from storehouse.storage.appendlog.bucket import AppendQueue, BucketFile, ReadCounters
from storehouse.storage.appendlog.formats import ENTRY_SIZE, HEADER_SIZE, encode_index_header
from storehouse.storage.appendlog.interfaces import PrefixStat
from storehouse.storage.appendlog.recovery import bucket_paths, recover_bucket

__all__ = ["OpenPrefix", "Prefixes", "count_buckets", "is_prefix", "open_prefix", "stat_directory"]

_raw_name = re.compile(r"append\.(0|[1-9]\d*)\.raw\Z")

# Identifiers of a prefix whose bucket files are remembered: a dictionary look-up is faster than FNV-1a in Python.
_REMEMBERED = 65536

_log = Logger()


class OpenPrefix:
    """
    A prefix whose files are open.

    @ivar buckets: by number.
    """

    __slots__ = ("_remembered", "_used", "buckets", "directory", "name")

    def __init__(self, name: str, directory: str, buckets: list[BucketFile]) -> None:
        self.name = name
        self.directory = directory
        self.buckets = buckets
        self._used = True
        self._remembered: dict[bytes, tuple[BucketFile, int]] = {}

    @property
    def used(self) -> bool:
        """
        Whether it was used since this was last set to C{False}. Appends set a flag of their bucket file only: they are
        many.
        """
        return self._used or any(bucket.touched for bucket in self.buckets)

    @used.setter
    def used(self, used: bool) -> None:
        self._used = used
        for bucket in self.buckets:
            bucket.touched = False

    def find(self, id: bytes) -> tuple[BucketFile, int]:
        """The bucket file of an identifier, and the identifier's hash."""
        self._used = True
        found = self._remembered.get(id)
        if found is None:
            if len(self._remembered) >= _REMEMBERED:
                self._remembered.clear()
            id_hash = fnv1a32(id)
            found = self._remembered[id] = self.buckets[id_hash % len(self.buckets)], id_hash
        return found

    def stat(self) -> PrefixStat:
        return PrefixStat(
            records=sum(bucket.count for bucket in self.buckets),
            size=sum(bucket.end for bucket in self.buckets),
            files=sum(1 for bucket in self.buckets if bucket.count),
            buckets=len(self.buckets),
            is_open=True,
        )

    def close(self, files: Files) -> None:
        for bucket in self.buckets:
            fds = bucket.raw_fd, bucket.index_fd
            # The numbers may soon be those of other files.
            bucket.raw_fd = bucket.index_fd = -1
            for fd in fds:
                files.close(fd)


def is_prefix(directory: str) -> bool:
    """Whether a directory has a bucket file. A directory that cannot be read is not a prefix."""
    try:
        return any(map(_raw_name.match, os.listdir(directory)))
    except OSError:
        return False


def count_buckets(directory: str) -> int:
    """
    The number of bucket files of a prefix; 0 if it does not exist.

    @raise Damaged: if their numbers have gaps.
    """
    try:
        names = os.listdir(directory)
    except (FileNotFoundError, NotADirectoryError):
        return 0
    numbers = sorted(int(match[1]) for name in names if (match := _raw_name.match(name)))
    if numbers != list(range(len(numbers))):
        missing = min(set(range(numbers[-1])) - set(numbers))
        raise Damaged(
            f"{os.path.join(directory, f'append.{missing}.raw')} is missing, though there are bucket files with higher numbers"
        )
    return len(numbers)


def stat_directory(directory: str) -> PrefixStat:
    """The size of a prefix that is not open, from the sizes of its files. Blocks."""
    buckets = count_buckets(directory)
    records = size = used = 0
    for number in range(buckets):
        raw, index = bucket_paths(directory, number)
        length = os.path.getsize(raw)
        size += length
        used += bool(length)
        if os.path.exists(index):
            records += max(0, os.path.getsize(index) - HEADER_SIZE) // ENTRY_SIZE
    return PrefixStat(records=records, size=size, files=used, buckets=buckets, is_open=False)


def open_prefix(
    name: str,
    directory: str,
    buckets: int,
    max_record: int,
    files: Files,
    commit: AppendQueue | None,
    create: bool,
    accept_unindexed: bool,
    index_in_child: bool = False,
    counters: ReadCounters | None = None,
) -> OpenPrefix:
    """
    Open a prefix and recover its bucket files. Blocks.

    @param commit: where appends go; C{None} to open it for reading only.
    @param create: create it if it does not exist.
    @param accept_unindexed: see L{recover_bucket}.
    @param index_in_child: have another process index bucket files without an index, because the reactor of this one
        runs.
    @raise NoSuchPrefix: if it does not exist and C{create} is false.
    @raise BucketCountMismatch: if it was created with another number of bucket files.
    @raise NoSpace: if there is no space to create it.
    @raise Unavailable: if it cannot be created or opened for another reason.
    """
    found = count_buckets(directory)
    if found == 0:
        if not create:
            raise NoSuchPrefix(f"there is no storage prefix {name!r}")
        try:
            _create(directory, buckets, files)
        except OSError as error:
            failure = NoSpace if error.errno in NO_SPACE else Unavailable
            raise failure(f"the storage prefix {name!r} cannot be created in {directory}: {error.strerror}") from error
    elif found != buckets:
        raise BucketCountMismatch(
            f"the storage prefix {name!r} in {directory} has {found} buckets, not {buckets}: with another number its identifiers would belong to"
            f" other files. Start with --append-buckets {found}, or use another prefix"
        )
    if index_in_child and _needs_indexing(directory, buckets):
        _index_in_child(directory)
    opened: list[BucketFile] = []
    prefix = OpenPrefix(name, directory, opened)
    try:
        unindexed = not all(os.path.exists(bucket_paths(directory, number)[1]) for number in range(buckets))
        for number in range(buckets):
            opened.append(_open_bucket(name, directory, number, max_record, files, commit, accept_unindexed, counters))
        if unindexed or not accept_unindexed:
            # After a crash as well: the process that created an index may have been killed before this sync.
            files.sync_directory(directory)
    except OSError as error:
        prefix.close(files)
        raise Unavailable(f"the storage prefix {name!r} cannot be opened: {error}") from error
    except StorehouseError:
        prefix.close(files)
        raise
    return prefix


def _create(directory: str, buckets: int, files: Files) -> None:
    """Create a prefix under another name and rename it when it is complete, so that a crash leaves nothing of it."""
    parent, name = os.path.split(directory)
    files.make_directory(parent)
    if os.path.isdir(directory) and os.listdir(directory):
        raise FileExistsError(0, "the directory has other files")
    fresh = os.path.join(parent, f".new.{name}")
    # Left by a process that was killed here; no append can have gone to it.
    if os.path.isdir(fresh):
        files.remove_tree(fresh)
    files.mkdir(fresh)
    header = encode_index_header(0)
    for number in range(buckets):
        raw, index = bucket_paths(fresh, number)
        for path, content in ((raw, ()), (index, (header,))):
            fd = files.open(path, os.O_RDWR | os.O_CREAT)
            try:
                files.write_at(fd, content, 0)
                files.sync_data(fd)
            finally:
                files.close(fd)
    # Complete and on disk before it gets its name: a start takes any directory of that name for a whole prefix.
    files.sync_directory(fresh)
    files.rename(fresh, directory)
    files.sync_directory(parent)


def _open_bucket(
    name: str,
    directory: str,
    number: int,
    max_record: int,
    files: Files,
    commit: AppendQueue | None,
    accept_unindexed: bool,
    counters: ReadCounters | None,
) -> BucketFile:
    raw, index = bucket_paths(directory, number)
    raw_fd = files.open(raw, os.O_RDWR)
    try:
        index_fd = files.open(index, os.O_RDWR | os.O_CREAT)
    except OSError:
        files.close(raw_fd)
        raise
    try:
        recovered = recover_bucket(raw, index, raw_fd, index_fd, files, accept_unindexed, _progress(raw))
        if counters is not None:
            counters.mended += recovered.mended
        if recovered.changed:
            files.sync_data(raw_fd)
            if recovered.indexed:
                # A header says that the indexing is complete: it must not reach the disk before the entries.
                files.sync_data(index_fd)
            files.write_at(index_fd, (encode_index_header(recovered.count),), 0)
            files.sync_data(index_fd)
        elif recovered.count and not accept_unindexed:
            # After a crash: a process that was killed during a checkpoint may have left synced_count and more in the
            # page cache only.
            files.sync_data(raw_fd)
            files.sync_data(index_fd)
    except BaseException:
        files.close(raw_fd)
        files.close(index_fd)
        raise
    return BucketFile(
        prefix=name,
        number=number,
        path=raw,
        raw_fd=raw_fd,
        index_fd=index_fd,
        end=recovered.end,
        count=recovered.count,
        max_record=max_record,
        queue=commit,
        json_tail=b',"file":%b}' % json.dumps(raw).encode("ascii"),
        counters=counters,
    )


def _progress(path: str) -> Callable[[int, int], None]:
    logged = 0

    def progress(done: int, size: int) -> None:
        nonlocal logged
        if done - logged >= 256 << 20:
            logged = done
            _log.info("{path}: indexed {percent}% of {size} bytes", path=path, percent=100 * done // size, size=size)

    return progress


# Indexing walks over all records, which is Python code: in a thread it would stall the reactor by hundreds of times.
# So another process does it.


def _needs_indexing(directory: str, buckets: int) -> bool:
    for number in range(buckets):
        raw, index = bucket_paths(directory, number)
        if os.path.getsize(raw) > 1 << 20 and not os.path.exists(index):
            return True
    return False


def _index_in_child(directory: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "storehouse.storage.appendlog.prefixes", directory],
        # sys.path may have directories relative to one that this process has left since.
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    if done.returncode:
        raise Unavailable(f"{directory} could not be indexed: {done.stderr.decode(errors='replace').strip()[-500:]}")


def _main(directory: str) -> None:
    files = Files()
    prefix = open_prefix(
        os.path.basename(directory), directory, count_buckets(directory), 1 << 32, files, None, False, True
    )
    prefix.close(files)


class Prefixes:
    """
    The open prefixes of a log. The names that it is given have been checked.

    @param opener: C{opener(name, create)} opens a prefix; blocks.
    @param settle: completes what is queued for bucket files, and brings them to a state in which their files can be
        closed and removed.
    @ivar open: by name, in the order of their opening.
    @ivar refusal: why no prefix is opened; C{None} while they are.
    """

    def __init__(
        self,
        directory: str,
        max_open: int,
        opener: Callable[[str, bool], OpenPrefix],
        settle: Callable[[Sequence[BucketFile]], Deferred[None]],
        disk: IDisk,
        files: Files,
    ) -> None:
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
        A prefix, which is opened, or created if C{create} is set.

        @raise NoSuchPrefix: if it does not exist.
        @raise Unavailable: if too many prefixes are open and in use, or the log is stopping.
        """
        while True:
            if self.refusal is not None:
                raise self.refusal
            prefix = self.open.get(name)
            if prefix is not None:
                prefix.used = True
                return prefix
            if name in self._changing:
                await over(self._changing[name])
                continue
            with self._change(name):
                await self._close_some()
                opened: OpenPrefix = await self._disk.run(self._opener, name, create)
                self._add(name, opened)

    def _add(self, name: str, opened: OpenPrefix) -> None:
        if self.refusal is not None:
            # The log was stopped meanwhile.
            opened.close(self._files)
        else:
            self.open[name] = opened

    async def close(self, name: str) -> None:
        """Close a prefix if it is open."""
        await self._wait_for_change(name)
        with self._change(name):
            await self._close(name)

    async def delete(self, name: str) -> None:
        """
        Close a prefix and remove it.

        @raise NoSuchPrefix: if it does not exist.
        """
        directory = os.path.join(self._directory, name)
        await self._wait_for_change(name)
        with self._change(name):
            if name not in self.open and not await self._disk.run(is_prefix, directory):
                raise NoSuchPrefix(f"there is no storage prefix {name!r}")
            await self._close(name)
            await self._disk.run(self._remove, name, directory)
        _log.info("deleted the storage prefix {name}", name=name)

    async def delete_closed(self, name: str, may_go: Callable[[], bool]) -> bool:
        """
        Remove a prefix if it is closed and C{may_go()} says so, which is called in a disk thread.

        @return: whether it was removed.
        """
        directory = os.path.join(self._directory, name)
        await self._wait_for_change(name)
        with self._change(name):
            # The write-ahead log names it no more: closing it has seen to that.
            if name in self.open or not await self._disk.run(lambda: is_prefix(directory) and may_go()):
                return False
            await self._disk.run(self._remove, name, directory)
        _log.info("deleted the storage prefix {name}, which was closed", name=name)
        return True

    async def settled(self) -> None:
        """Wait until nothing is being opened, closed or deleted."""
        for change in list(self._changing.values()):
            await over(change)

    async def close_all(self) -> None:
        """Close all files when no thread reads them. They must have been synced."""
        for prefix in self.open.values():
            await self._wait_for_readers(prefix)
            prefix.close(self._files)
        self.open.clear()

    def names_on_disk(self) -> list[str]:
        """The names of all prefixes, open or not. Blocks."""
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

    async def _wait_for_change(self, name: str) -> None:
        while name in self._changing:
            await over(self._changing[name])
        if self.refusal is not None:
            raise self.refusal

    async def _close_some(self) -> None:
        """If too many prefixes are open, close one that was not used since the last time, or else the oldest."""
        while len(self.open) >= self._max_open:
            candidates = {name: prefix for name, prefix in self.open.items() if not self._is_in_use(name, prefix)}
            if not candidates:
                raise Unavailable(
                    f"{len(self.open)} storage prefixes are open and in use; close one (GET /close?storagePrefix=NAME)"
                )
            idle = next((name for name, prefix in candidates.items() if not prefix.used), next(iter(candidates)))
            for prefix in candidates.values():
                prefix.used = False
            _log.info("closing the storage prefix {name}, since too many are open", name=idle)
            with self._change(idle):
                await self._close(idle)

    def _is_in_use(self, name: str, prefix: OpenPrefix) -> bool:
        return name == DEFAULT_PREFIX or name in self._changing or any(bucket.followers for bucket in prefix.buckets)

    async def _close(self, name: str) -> None:
        prefix = self.open.pop(name, None)
        if prefix is None:
            return
        for bucket in prefix.buckets:
            bucket.closed = True
        # In this order: queued appends still need the files, and so do scans that were begun.
        await self._settle(prefix.buckets)
        await self._wait_for_readers(prefix)
        prefix.close(self._files)
        _log.info("closed the storage prefix {name}", name=name)

    def _remove(self, name: str, directory: str) -> None:
        # The rename removes it as a whole; if a crash interrupts the rest, the next start finishes it.
        removed = os.path.join(self._directory, f".deleted.{name}.{os.urandom(6).hex()}")
        # The random end lets a prefix be created and removed again while the files of the first are still being removed.
        self._files.move(directory, removed)
        self._files.sync_directory(self._directory)
        self._files.remove_tree(removed)

    async def _wait_for_readers(self, prefix: OpenPrefix) -> None:
        for bucket in prefix.buckets:
            while bucket.readers:
                idle: Deferred[None] = Deferred()

                def on_idle(idle: Deferred[None] = idle) -> None:
                    if not idle.called:
                        idle.callback(None)

                bucket.on_idle = on_idle
                await idle


if __name__ == "__main__":
    _main(sys.argv[1])
