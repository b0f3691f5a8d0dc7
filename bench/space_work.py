"""
One side of one round of L{bench.dataspace}, in a process of its own: C{python -m bench.space_work '{"what": ...}'}
prints what it took.

The yardsticks are what anybody would write who wants the same files on disk, or the same bytes verified, with the same
libraries and nothing else: no interface, no backpressure, no reactor.
"""

from __future__ import annotations

import json
import os
import random
import resource
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any
from zlib import crc32

from twisted.internet.defer import Deferred, DeferredList

from storehouse.core.jobs import DiskThreads
from storehouse.core.platform import keep_freed_memory
from storehouse.core.streams import BytesStream, IByteStream, Piece, closing
from storehouse.storage.dataspace.formats import find_hash
from storehouse.storage.dataspace.wormer import WormerDataSpace, WormerSettings

__all__ = ["BLOCK", "SMALL", "WORK", "drain", "in_flight"]

MIB = 1 << 20
BLOCK = MIB
SMALL = 4096
RANGE = 64 << 10

#: What there is to do, by name.
WORK: dict[str, Callable[..., float]] = {}

CHECKSUM = (
    b'{"hashName":"HighwayHash256","hashKey":"","hashLength":32,"blockSize":1048576,"blockCount":1,"dataLength":4096}\n'
)
DESCRIPTION = b"x" * 280


def _work(f: Callable[..., float]) -> Callable[..., float]:
    WORK[f.__name__] = f
    return f


def id_of(number: int) -> str:
    """An ID. Consecutive ones lie in different INDEX directories, as random ones do."""
    return f"{number % 256:02x}{number:030x}"


# -- yardsticks --------------------------------------------------------------------------------


@_work
def bare_put(directory: str, source: str, hash: str) -> float:
    """Read a file, hash its blocks, write them and one checksum file, and sync once."""
    digest = find_hash(hash).digest
    began = time.perf_counter()
    lines = []
    with open(source, "rb", buffering=0) as file, open(os.path.join(directory, "bare"), "wb", buffering=0) as copy:
        while block := file.read(BLOCK):
            lines.append(digest(block).hex())
            copy.write(block)
        os.fsync(copy.fileno())
    return time.perf_counter() - began


@_work
def bare_get(directory: str, source: str, hash: str, compare: bool) -> float:
    """Read a file and hash its blocks."""
    digest = find_hash(hash).digest
    began = time.perf_counter()
    with open(source, "rb", buffering=0) as file:
        while block := file.read(BLOCK):
            digest(block)
    return time.perf_counter() - began


@_work
def bare_ranges(directory: str, source: str, hash: str, count: int, seed: int) -> float:
    """For every range, read and hash the blocks that it touches."""
    digest = find_hash(hash).digest
    size = os.path.getsize(source)
    offsets = _offsets(size, count, seed)
    began = time.perf_counter()
    fd = os.open(source, os.O_RDONLY)
    for offset in offsets:
        for block in range(offset // BLOCK, (offset + RANGE - 1) // BLOCK + 1):
            digest(os.pread(fd, BLOCK, block * BLOCK))
    os.close(fd)
    return time.perf_counter() - began


def _offsets(size: int, count: int, seed: int) -> list[int]:
    choose = random.Random(seed)
    return [choose.randrange(size - RANGE) for _ in range(count)]


@_work
def bare_small_puts(directory: str, count: int, flight: int, durable: bool, first: int) -> float:
    """The system calls of the layout, in as many threads as there are objects in flight."""
    data = os.urandom(SMALL)
    digest = find_hash("HighwayHash256").digest
    for sub in ("tmp", "data"):
        os.makedirs(os.path.join(directory, sub), exist_ok=True)
    for index in range(256):
        os.makedirs(os.path.join(directory, "data", f"{index:02x}"), exist_ok=True)

    def put(number: int) -> None:
        temporary = f"{directory}/tmp/put.{number}"
        id = id_of(first + number)
        os.mkdir(temporary)
        line = digest(data).hex().encode() + b"\n"
        for name, content in (("part.1", data), ("part.1.checksum", CHECKSUM + line), ("data.json", DESCRIPTION)):
            fd = os.open(f"{temporary}/{name}", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            os.write(fd, content)
            if durable:
                os.fsync(fd)
            os.close(fd)
        if durable:
            _sync_directory(temporary)
        os.rename(temporary, f"{directory}/data/{id[:2]}/{id}")
        if durable:
            _sync_directory(f"{directory}/data/{id[:2]}")

    return _in_threads(put, count, flight)


@_work
def bare_small_gets(directory: str, count: int, flight: int, objects: int, seed: int) -> float:
    """Open, read and hash what was put, in as many threads as there are in flight."""
    digest = find_hash("HighwayHash256").digest
    choose = random.Random(seed)
    numbers = [choose.randrange(objects) for _ in range(count)]

    def get(number: int) -> None:
        id = id_of(numbers[number])
        for name in ("data.json", "part.1.checksum", "part.1"):
            fd = os.open(f"{directory}/data/{id[:2]}/{id}/{name}", os.O_RDONLY)
            content = os.read(fd, 65536)
            os.close(fd)
        digest(content)

    return _in_threads(get, count, flight)


def _sync_directory(path: str) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    os.fsync(fd)
    os.close(fd)


def _in_threads(f: Callable[[int], None], count: int, threads: int) -> float:
    def work(first: int) -> None:
        for number in range(first, count, threads):
            f(number)

    workers = [threading.Thread(target=work, args=(first,)) for first in range(threads)]
    began = time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return time.perf_counter() - began


# -- ours --------------------------------------------------------------------------------------


async def drain(stream: IByteStream, take: Callable[[Piece], object] = len) -> int:
    """Read a stream to its end, and close it. @return: its bytes."""
    count = 0
    async with closing(stream):
        while piece := await stream.read():
            take(piece)
            count += len(piece)
    return count


class _Sum:
    """Adds up what it is given."""

    value = 0

    def add(self, data: Piece) -> None:
        self.value = crc32(data, self.value)


def _pieces(path: str, size: int = 256 << 10) -> Iterator[bytes]:
    with open(path, "rb", buffering=0) as file:
        while piece := file.read(size):
            yield piece


def _with_space(directory: str, hash: str, durable: bool, f: Callable[[WormerDataSpace], Any]) -> float:
    """Run C{f(space)}, a coroutine that gives seconds, under a reactor."""
    from twisted.internet import reactor as installed

    keep_freed_memory()  # as the service does
    reactor: Any = installed
    disk = DiskThreads(reactor)
    space = WormerDataSpace(WormerSettings(os.path.abspath(directory), hash, BLOCK, durable), disk)
    outcome: list[Any] = []

    def end(result: Any) -> None:
        outcome.append(result)
        disk.stop()
        reactor.stop()

    def begin() -> None:
        disk.start()
        space.start()
        Deferred.fromCoroutine(f(space)).addBoth(end)

    reactor.callWhenRunning(begin)
    reactor.run()
    if not isinstance(outcome[0], float):
        outcome[0].raiseException()
    seconds: float = outcome[0]
    return seconds


@_work
def our_put(directory: str, source: str, hash: str) -> float:
    """Put a file."""

    async def work(space: WormerDataSpace) -> float:
        began = time.perf_counter()
        await space.put(id_of(1), BytesStream(_pieces(source)), os.path.getsize(source), {})
        return time.perf_counter() - began

    return _with_space(directory, hash, True, work)


@_work
def our_get(directory: str, source: str, hash: str, compare: bool) -> float:
    """Get what L{our_put} put; before that, if C{compare}, see that it is what was put."""

    async def work(space: WormerDataSpace) -> float:
        if compare:
            stored = _Sum()
            await drain(await space.get(id_of(1)), stored.add)
            given = _Sum()
            for piece in _pieces(source):
                given.add(piece)
            if stored.value != given.value:
                raise ValueError("what is stored is not what was put")
        began = time.perf_counter()
        count = await drain(await space.get(id_of(1)))
        seconds = time.perf_counter() - began
        if count != os.path.getsize(source):
            raise ValueError(f"{count} bytes came")
        return seconds

    return _with_space(directory, hash, True, work)


@_work
def our_ranges(directory: str, source: str, hash: str, count: int, seed: int) -> float:
    """Ranges of what L{our_put} put, one after the other."""

    async def work(space: WormerDataSpace) -> float:
        offsets = _offsets(os.path.getsize(source), count, seed)
        began = time.perf_counter()
        for offset in offsets:
            await drain(await space.get(id_of(1), offset, RANGE))
        return time.perf_counter() - began

    return _with_space(directory, hash, True, work)


async def in_flight(count: int, flight: int, f: Callable[[int], Any]) -> float:
    """Call C{f(number)} so many times, so many at once. @return: the seconds that it takes."""

    async def work(first: int) -> None:
        for number in range(first, count, flight):
            await f(number)

    began = time.perf_counter()
    workers = [Deferred.fromCoroutine(work(first)) for first in range(flight)]
    for succeeded, result in await DeferredList(workers, consumeErrors=True):
        if not succeeded:
            result.raiseException()
    return time.perf_counter() - began


@_work
def our_small_puts(directory: str, count: int, flight: int, durable: bool, first: int) -> float:
    """Objects of 4 KiB."""
    data = os.urandom(SMALL)

    async def work(space: WormerDataSpace) -> float:
        return await in_flight(
            count, flight, lambda number: space.put(id_of(first + number), BytesStream(data), SMALL, {})
        )

    return _with_space(directory, "HighwayHash256", durable, work)


@_work
def our_small_gets(directory: str, count: int, flight: int, objects: int, seed: int) -> float:
    """Objects of 4 KiB."""
    choose = random.Random(seed)
    numbers = [choose.randrange(objects) for _ in range(count)]

    async def work(space: WormerDataSpace) -> float:
        async def get(number: int) -> None:
            await drain(await space.get(id_of(numbers[number])))

        return await in_flight(count, flight, get)

    return _with_space(directory, "HighwayHash256", True, work)


@_work
def our_many_puts(directory: str, count: int, size: int) -> float:
    """Large objects, all at once."""
    piece = os.urandom(64 << 10)

    async def work(space: WormerDataSpace) -> float:
        def source() -> BytesStream:
            return BytesStream(piece for _ in range(size // len(piece)))

        return await in_flight(count, count, lambda number: space.put(id_of(number), source(), size, {}))

    return _with_space(directory, "HighwayHash256", True, work)


def _main(text: str) -> None:
    task = json.loads(text)
    seconds = WORK[task.pop("what")](**task)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"seconds": seconds, "peak": peak}))


if __name__ == "__main__":
    _main(sys.argv[1])
