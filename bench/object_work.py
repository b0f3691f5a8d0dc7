"""
One round of L{bench.objects}, in a process of its own: C{python -m bench.object_work '{"what": ...}'} prints what it
took.
"""

from __future__ import annotations

import json
import os
import random
import secrets
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, DeferredList
from twisted.python.failure import Failure

from bench.space_work import drain
from bench.space_work import in_flight as _in_flight
from storehouse.core.files import Files
from storehouse.core.jobs import DiskThreads, InlineDisk
from storehouse.core.platform import keep_freed_memory
from storehouse.core.streams import BytesStream
from storehouse.errors import NoSuchBucket
from storehouse.storage.dataspace.wormer import WormerDataSpace, WormerSettings
from storehouse.storage.namespace.index import IndexBuilder
from storehouse.storage.namespace.interfaces import Entry
from storehouse.storage.namespace.journal import Journal
from storehouse.storage.namespace.local import LocalNamespace, NamespaceSettings
from storehouse.storage.namespace.values import encode_entry
from storehouse.storage.objects.store import LocalObjectStore

__all__ = ["WORK"]

#: What there is to do, by name.
WORK: dict[str, Callable[..., dict[str, float]]] = {}

BUCKET = "bucket"

#: Of the keys of an index that is made at once, those that are in the tree as well.
SAMPLE = 2000


def _work(f: Callable[..., dict[str, float]]) -> Callable[..., dict[str, float]]:
    WORK[f.__name__] = f
    return f


def key_of(number: int) -> str:
    """A key: a tenth of them in each of ten prefixes, with 20 keys below each common prefix of two parts."""
    return f"p{number % 10}/{number // 200:06d}/{number // 10 % 20:02d}"


def entry_of(number: int) -> Entry:
    """What stands there."""
    return Entry(f"{number:032x}", 4096, "0123456789abcdef" * 3, 1_700_000_000 * 10**9 + number, "text/plain")


def _with_namespace(
    directory: str, durable: bool, f: Callable[[LocalNamespace], Any], bucket: str = BUCKET
) -> dict[str, float]:
    """Run C{f(namespace)}, a coroutine, under a reactor."""
    from twisted.internet import reactor as installed

    reactor: Any = installed
    disk = DiskThreads(reactor)
    namespace = LocalNamespace(NamespaceSettings(os.path.abspath(directory), durable), reactor, disk)
    outcome: list[Any] = []  # of one

    async def work() -> dict[str, float]:
        disk.start()
        namespace.start()
        try:
            await namespace.get_bucket(bucket)
        except Exception:
            await namespace.create_bucket(bucket)
        found: dict[str, float] = await f(namespace)
        await namespace.stop()
        return found

    def end(result: Any) -> None:
        outcome.append(result)
        disk.stop()
        reactor.stop()

    reactor.callWhenRunning(lambda: Deferred.fromCoroutine(work()).addBoth(end))
    reactor.run()
    found: Any = outcome[0]
    if isinstance(found, Failure):
        found.raiseException()
    return dict(found)


@_work
def make_keys(directory: str, keys: int, bucket: str = BUCKET, form: str = "") -> dict[str, float]:
    """
    An index of many keys, made as a rebuild does, and a tree with some of them: to make a million directories takes
    longer than to measure, and neither a start nor a page of the index looks at them.

    C{form} makes a key of a number, instead of L{key_of}.
    """

    def name(number: int) -> str:
        return form.format(number) if form else key_of(number)

    async def sample(namespace: LocalNamespace) -> dict[str, float]:
        for number in range(0, keys, max(1, keys // SAMPLE)):
            await namespace.publish(bucket, name(number), entry_of(number))
            namespace.settle([entry_of(number).id])
        return {}

    _with_namespace(directory, False, sample, bucket)
    stamp = secrets.token_hex(8)
    builder = IndexBuilder(os.path.join(directory, "index"), stamp, 1)
    with open(os.path.join(directory, "buckets", bucket, "bucket.json"), "rb") as file:
        of_bucket = builder.bucket(bucket, file.read())
    stretch = []
    for key, number in sorted((name(number).encode(), number) for number in range(keys)):
        stretch.append((key, (4096, encode_entry(entry_of(number), key.decode())), []))
        if len(stretch) == 1000:
            builder.rows(of_bucket, stretch)
            stretch = []
    builder.rows(of_bucket, stretch)
    builder.finish()
    journal = Journal(directory, Files(), InlineDisk(), False, lambda error: None)
    journal.stamp, journal.generation = stamp, 1
    journal.begin([])
    journal.end()
    return {}


@_work
def publish(directory: str, count: int, flight: int, durable: bool, seed: int) -> dict[str, float]:
    """New keys, into the namespace of the rounds before."""

    async def work(namespace: LocalNamespace) -> dict[str, float]:
        async def some(first: int) -> None:
            for number in range(first, count, flight):
                id = f"{seed:04x}{number:028x}"
                await namespace.publish(BUCKET, f"{seed}/{number}", Entry(id, 4096, "x" * 48, number))

        began = time.perf_counter()
        workers = [Deferred.fromCoroutine(some(first)) for first in range(flight)]
        for succeeded, result in await DeferredList(workers, consumeErrors=True):
            if not succeeded:
                result.raiseException()
        return {"keys/s": count / (time.perf_counter() - began)}

    return _with_namespace(directory, durable, work)


def _start(directory: str) -> dict[str, float]:
    namespace = LocalNamespace(NamespaceSettings(os.path.abspath(directory), False), None, InlineDisk())
    began = time.perf_counter()
    # The timer of checkpoints needs a reactor, that is not what is measured.
    from twisted.internet.task import Clock

    namespace._reactor = Clock()
    namespace.start()
    seconds = time.perf_counter() - began
    stopped: list[Any] = []
    namespace.stop().addBoth(stopped.append)
    assert stopped == [None], stopped
    return {"ms": seconds * 1000}


@_work
def start_clean(directory: str, seed: int) -> dict[str, float]:
    """After a stop."""
    return _start(directory)


@_work
def start_killed(directory: str, seed: int) -> dict[str, float]:
    """After a kill -9 behind 2000 publishes that the journal has to be read for."""
    task = json.dumps({"what": "die_publishing", "directory": directory, "seed": seed})
    done = subprocess.run([sys.executable, "-m", "bench.object_work", task], check=False)
    assert done.returncode == -9, done.returncode
    return _start(directory)


@_work
def die_publishing(directory: str, seed: int) -> dict[str, float]:
    """See L{start_killed}."""

    async def work(namespace: LocalNamespace) -> dict[str, float]:
        for number in range(2000):
            gone = (
                await namespace.publish(BUCKET, f"killed/{number}", Entry(f"{seed:04x}{number:028x}", 1, "", 1))
            ).removed
            namespace.settle([each.id for each in gone])
        os.kill(os.getpid(), 9)
        return {}

    return _with_namespace(directory, False, work)


@_work
def read(directory: str, keys: int, seed: int) -> dict[str, float]:
    """Pages and keys at random places."""
    choose = random.Random(seed)

    async def work(namespace: LocalNamespace) -> dict[str, float]:
        async def pages(delimiter: str, **arguments: Any) -> float:
            count = 50
            began = time.perf_counter()
            for _ in range(count):
                after = f"p{choose.randrange(9)}/{choose.randrange(max(1, keys // 200 // 4)):06d}"
                page = await namespace.list_keys(BUCKET, after=after, delimiter=delimiter, **arguments)
                assert page.entries or page.prefixes
            return (time.perf_counter() - began) / count * 1000

        plain = await pages("")
        # Beneath one prefix, each of the common prefixes stands for 20 keys.
        began = time.perf_counter()
        for _ in range(50):
            page = await namespace.list_keys(BUCKET, prefix=f"p{choose.randrange(10)}/", delimiter="/")
            assert len(page.prefixes) == min(1000, -(-keys // 200))
        prefixes = (time.perf_counter() - began) / 50 * 1000
        began = time.perf_counter()
        after: str | None = ""
        walked = 0
        while after is not None and walked < 200_000:
            page = await namespace.list_keys(BUCKET, after=after)
            walked += len(page.entries)
            after = page.next_after
        walk = walked / (time.perf_counter() - began)
        count = 20_000
        began = time.perf_counter()
        for _ in range(count):
            await namespace.look_up(BUCKET, key_of(choose.randrange(keys)))
        return {
            "page ms": plain,
            "page of prefixes ms": prefixes,
            "walk to the end keys/s": walk,
            "look_up/s": count / (time.perf_counter() - began),
        }

    return _with_namespace(directory, False, work)


def _with_store(directory: str, durable: bool, f: Callable[[Any, Any], Any]) -> dict[str, float]:
    """Run C{f(data space, object store)}, a coroutine, under a reactor."""
    from twisted.internet import reactor as installed

    keep_freed_memory()  # as the service does
    reactor: Any = installed
    directory = os.path.abspath(directory)
    disk = DiskThreads(reactor)
    space = WormerDataSpace(WormerSettings(f"{directory}/objects", durable=durable), disk)
    names = LocalNamespace(NamespaceSettings(f"{directory}/namespace", durable), reactor, disk)
    store = LocalObjectStore(space, names, disk)
    outcome: list[Any] = []  # of one

    async def work() -> dict[str, float]:
        disk.start()
        space.start()
        names.start()
        store.start()
        try:
            await store.get_bucket(BUCKET)
        except NoSuchBucket:
            await store.create_bucket(BUCKET)
        found: dict[str, float] = await f(space, store)
        for part in (store, names, space):
            await part.stop()
        return found

    def end(result: Any) -> None:
        outcome.append(result)
        disk.stop()
        reactor.stop()

    reactor.callWhenRunning(lambda: Deferred.fromCoroutine(work()).addBoth(end))
    reactor.run()
    if isinstance(outcome[0], Failure):
        outcome[0].raiseException()
    found: dict[str, float] = outcome[0]
    return found


async def _rate(count: int, flight: int, f: Callable[[int], Any]) -> float:
    return count / await _in_flight(count, flight, f)


@_work
def small_objects(directory: str, count: int, flight: int, durable: bool, seed: int) -> dict[str, float]:
    """Objects of 4 KiB into the data space and out of it, and the same through the object store."""
    data = os.urandom(4096)
    tag = secrets.token_hex(12)

    async def work(space: Any, store: Any) -> dict[str, float]:
        async def get(opening: Any) -> None:
            await drain(await opening)

        found = {
            "space put/s": await _rate(
                count, flight, lambda n: space.put(f"{n % 256:02x}{tag}{n:06x}", BytesStream(data), 4096, {})
            ),
            "store put/s": await _rate(
                count, flight, lambda n: store.put(BUCKET, f"{tag}/{n}", BytesStream(data), 4096)
            ),
            "space get/s": await _rate(count, flight, lambda n: get(space.get(f"{n % 256:02x}{tag}{n:06x}"))),
            "store get/s": await _rate(count, flight, lambda n: get(store.get(BUCKET, f"{tag}/{n}"))),
            "head/s": await _rate(count, flight, lambda n: store.head(BUCKET, f"{tag}/{n}")),
        }
        found["put ratio"] = found["store put/s"] / found["space put/s"]
        found["get ratio"] = found["store get/s"] / found["space get/s"]
        return found

    return _with_store(directory, durable, work)


@_work
def small_cpu(directory: str, count: int, flight: int, durable: bool, rounds: int) -> dict[str, float]:
    """
    Microseconds of processor time that an object of 4 KiB costs in the object store, with the MD5 that S3 asks for: of the
    reactor's thread, and of the process; the least of some rounds. Each put replaces another, as those do that L{bench.s3} sends.
    """
    data = os.urandom(4096)
    tag = secrets.token_hex(12)
    keys = 2000

    async def work(space: Any, store: Any) -> dict[str, float]:
        async def get(number: int) -> None:
            await drain(await store.get(BUCKET, f"{tag}/{number % keys}"))

        def replace(number: int) -> Any:
            return store.put(BUCKET, f"{tag}/{number % keys}", BytesStream(data), 4096, md5=True)

        await _rate(keys, flight, replace)
        found: dict[str, float] = {}
        for _ in range(rounds):
            for name, f in (("PUT", replace), ("GET", get)):
                thread, process = time.thread_time(), time.process_time()
                await _rate(count, flight, f)
                costs = {
                    f"{name} thread": (time.thread_time() - thread) / count * 1e6,
                    f"{name} process": (time.process_time() - process) / count * 1e6,
                }
                found |= {what: min(cost, found.get(what, cost)) for what, cost in costs.items()}
        return found

    return _with_store(directory, durable, work)


@_work
def chunks(directory: str, count: int, flight: int, durable: bool, size: int, seed: int) -> dict[str, float]:
    """Objects of C{size} bytes into the object store and out of it, as the SFSP door has them stored."""
    data = os.urandom(size)
    tag = secrets.token_hex(12)

    async def work(space: Any, store: Any) -> dict[str, float]:
        async def get(number: int) -> None:
            await drain(await store.get(BUCKET, f"{tag}/{number:020d}"))

        return {
            "put": await _rate(count, flight, lambda n: store.put(BUCKET, f"{tag}/{n:020d}", BytesStream(data), size)),
            "get": await _rate(count, flight, get),
        }

    return _with_store(directory, durable, work)


def _main(text: str) -> None:
    task = json.loads(text)
    print(json.dumps(WORK[task.pop("what")](**task)))


if __name__ == "__main__":
    _main(sys.argv[1])
