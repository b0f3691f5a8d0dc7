"""The directory of one prefix and its bucket files."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable

from twisted.logger import Logger

from storehouse.core.digests import fnv1a32
from storehouse.core.files import NO_SPACE, Files
from storehouse.errors import BucketCountMismatch, Damaged, NoSpace, NoSuchPrefix, StorehouseError, Unavailable
from storehouse.storage.appendlog.bucket import BucketFile, ReadCounters
from storehouse.storage.appendlog.commit import GroupCommit
from storehouse.storage.appendlog.formats import ENTRY_SIZE, HEADER_SIZE, encode_index_header
from storehouse.storage.appendlog.interfaces import PrefixStat
from storehouse.storage.appendlog.recovery import bucket_paths, recover_bucket

__all__ = ["OpenPrefix", "count_buckets", "is_prefix", "open_prefix", "stat_directory"]

_raw_name = re.compile(r"append\.(0|[1-9]\d*)\.raw\Z")

#: Identifiers whose bucket is remembered, a prefix.
_REMEMBERED = 65536

_log = Logger()


class OpenPrefix:
    """
    A prefix whose files are open.

    @ivar buckets: by their numbers.
    """

    __slots__ = ("_known", "_used", "buckets", "directory", "name")

    def __init__(self, name: str, directory: str, buckets: list[BucketFile]) -> None:
        self.name = name
        self.directory = directory
        self.buckets = buckets
        self._used = True
        self._known: dict[bytes, tuple[BucketFile, int]] = {}

    @property
    def used(self) -> bool:
        """Whether it was used since this was last set to C{False}."""
        return self._used or any(bucket.touched for bucket in self.buckets)

    @used.setter
    def used(self, used: bool) -> None:
        self._used = used
        for bucket in self.buckets:
            bucket.touched = False

    def find(self, id: bytes) -> tuple[BucketFile, int]:
        """The bucket of an identifier, and the identifier's hash."""
        self._used = True
        found = self._known.get(id)
        if found is None:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            id_hash = fnv1a32(id)
            found = self._known[id] = self.buckets[id_hash % len(self.buckets)], id_hash
        return found

    def stat(self) -> PrefixStat:
        """Its size."""
        return PrefixStat(
            records=sum(bucket.count for bucket in self.buckets),
            size=sum(bucket.end for bucket in self.buckets),
            files=sum(1 for bucket in self.buckets if bucket.count),
            buckets=len(self.buckets),
            is_open=True,
        )

    def close(self, files: Files) -> None:
        """Close the files."""
        for bucket in self.buckets:
            fds = bucket.raw_fd, bucket.index_fd
            # A number that was closed may soon be another file's.
            bucket.raw_fd = bucket.index_fd = -1
            for fd in fds:
                files.close(fd)


def is_prefix(directory: str) -> bool:
    """Whether a directory holds a bucket file. One that cannot be read, and another program's, is none of ours."""
    try:
        return any(map(_raw_name.match, os.listdir(directory)))
    except OSError:
        return False


def count_buckets(directory: str) -> int:
    """
    How many bucket files a prefix has; 0 if it has none or is not there.

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
    """The size of a prefix that is not open, by its files. Blocks."""
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
    commit: GroupCommit | None,
    create: bool,
    accept_unindexed: bool,
    index_in_child: bool = False,
    counters: ReadCounters | None = None,
) -> OpenPrefix:
    """
    Open a prefix, recover its buckets, make it if asked.  Blocks.

    @param index_in_child: have bucket files without an index indexed by another process, because this one's reactor
        is running.
    @raise NoSuchPrefix: if it is not there and C{create} is false.
    @raise BucketCountMismatch: if it was made with another number of buckets.
    """
    found = count_buckets(directory)
    if found == 0:
        if not create:
            raise NoSuchPrefix(f"there is no storage prefix {name!r}")
        try:
            _make(directory, buckets, files)
        except OSError as error:
            failure = NoSpace if error.errno in NO_SPACE else Unavailable
            raise failure(f"the storage prefix {name!r} cannot be made in {directory}: {error.strerror}") from error
    elif found != buckets:
        raise BucketCountMismatch(
            f"the storage prefix {name!r} in {directory} was made with {found} buckets, not {buckets}: with another number its identifiers would be"
            f" looked for in other files. Start with --append-buckets {found}, or use another prefix"
        )
    if index_in_child and _wants_indexing(directory, buckets):
        _index_in_child(directory)
    opened: list[BucketFile] = []
    prefix = OpenPrefix(name, directory, opened)
    try:
        unindexed = not all(os.path.exists(bucket_paths(directory, number)[1]) for number in range(buckets))
        for number in range(buckets):
            opened.append(_open_bucket(name, directory, number, max_record, files, commit, accept_unindexed, counters))
        if unindexed or not accept_unindexed:
            # After a crash as well: the process that made an index may have been killed right behind.
            files.sync_directory(directory)
    except OSError as error:
        prefix.close(files)
        raise Unavailable(f"the storage prefix {name!r} cannot be opened: {error}") from error
    except StorehouseError:
        prefix.close(files)
        raise
    return prefix


def _make(directory: str, buckets: int, files: Files) -> None:
    """Make a prefix beside its place and move it there whole, so that a crash leaves none of it."""
    parent, name = os.path.split(directory)
    files.make_directory(parent)
    if os.path.isdir(directory) and os.listdir(directory):
        raise FileExistsError(0, "the directory holds other files")
    fresh = os.path.join(parent, f".new.{name}")
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
    files.sync_directory(fresh)
    files.rename(fresh, directory)
    files.sync_directory(parent)


def _open_bucket(
    name: str,
    directory: str,
    number: int,
    max_record: int,
    files: Files,
    commit: GroupCommit | None,
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
                # The header ends an indexing: it must not reach the disk before the entries.
                files.sync_data(index_fd)
            files.write_at(index_fd, (encode_index_header(recovered.count),), 0)
            files.sync_data(index_fd)
        elif recovered.count and not accept_unindexed:
            # After a crash: a process that was killed in a checkpoint may have left the mark itself, and more, in the
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
    said = 0

    def progress(done: int, size: int) -> None:
        nonlocal said
        if done - said >= 256 << 20:
            said = done
            _log.info("{path}: indexed {percent}% of {size} bytes", path=path, percent=100 * done // size, size=size)

    return progress


# -- indexing beside a running reactor: walking records is Python work, and a thread busy with it would stall the reactor ------------


def _wants_indexing(directory: str, buckets: int) -> bool:
    for number in range(buckets):
        raw, index = bucket_paths(directory, number)
        if os.path.getsize(raw) > 1 << 20 and not os.path.exists(index):
            return True
    return False


def _index_in_child(directory: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "storehouse.storage.appendlog.prefix", directory],
        # This process may have found the package relative to a directory that it has left since.
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


if __name__ == "__main__":
    _main(sys.argv[1])
