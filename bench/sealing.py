"""
Encryption at rest beside none: C{python -m bench.sealing}.

Both sides are processes of their own on the same file system, started in turn.  What is compared is the time that the
data space takes: put and get of one large object, and of many small ones with 16 under way.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from twisted.internet.defer import Deferred

from bench.harness import CHECKOUT, BenchError, Spread, add_rounds, format_table, progress, workspace
from bench.space_work import drain, id_of, in_flight
from storehouse.core.jobs import DiskThreads
from storehouse.core.keys.keyring import Derivation
from storehouse.core.keys.vault import Vault
from storehouse.core.platform import keep_freed_memory
from storehouse.core.streams import BytesStream
from storehouse.storage.dataspace.wormer import WormerDataSpace, WormerSettings
from storehouse.storage.sealed.dataspace import SealedDataSpace
from storehouse.storage.sealed.formats import BOUNDS, FRAME, nonce_of
from storehouse.testing.dataspace import MemoryDataSpace

__all__ = ["main"]

MIB = 1 << 20
GIB = 1 << 30
SMALL = 4096
FLIGHT = 16

_PIECE = os.urandom(256 << 10)


#: Seconds on the clock, and of the processor.
_Times = tuple[float, float]


def _now() -> _Times:
    return time.perf_counter(), time.process_time()


def _since(began: _Times) -> _Times:
    return time.perf_counter() - began[0], time.process_time() - began[1]


def _pieces(size: int) -> Iterator[bytes]:
    for start in range(0, size, len(_PIECE)):
        yield _PIECE[: size - start]


def _make_space(directory: str, below: str, sealed: bool, disk: DiskThreads) -> Any:
    inner: Any
    if below == "memory":
        inner = MemoryDataSpace(bounds=BOUNDS)
    else:
        inner = WormerDataSpace(WormerSettings(f"{directory}/objects", durable=False, bounds=BOUNDS), disk)
    if not sealed:
        return inner
    vault = Vault(
        f"{directory}/keyring.json",
        f"{directory}/objects/sealed",
        b"key",
        False,
        lambda: False,
        derivation=Derivation(memory=8, iterations=1, lanes=1),
    )
    vault.start()
    return SealedDataSpace(inner, vault, disk)


async def _put(space: Any, size: int) -> _Times:
    began = _now()
    await space.put(id_of(1), BytesStream(_pieces(size)), size, {})
    return _since(began)


async def _get(space: Any, size: int) -> _Times:
    if not (await space.list_ids(id_of(1)[:2])):
        await _put(space, size)
    began = _now()
    count = await drain(await space.get(id_of(1)))
    if count != size:
        raise ValueError(f"{count} bytes came")
    return _since(began)


async def _small_put(space: Any, count: int) -> _Times:
    def put(number: int) -> Any:
        return space.put(id_of(number), BytesStream(_PIECE[:SMALL]), SMALL, {"key": ["b/k"]})

    began = _now()
    await in_flight(count, FLIGHT, put)
    return _since(began)


async def _small_get(space: Any, count: int) -> _Times:
    await _small_put(space, count)

    async def get(number: int) -> None:
        await drain(await space.get(id_of(number)))

    began = _now()
    await in_flight(count, FLIGHT, get)
    return _since(began)


_WORK: dict[str, Callable[[Any, int], Any]] = {
    "put": _put,
    "get": _get,
    "small put": _small_put,
    "small get": _small_get,
}


def _work(directory: str, below: str, sealed: bool, what: str, amount: int) -> dict[str, float]:
    """One round of one side, in this process."""
    from twisted.internet import reactor as installed

    keep_freed_memory()
    reactor: Any = installed
    disk = DiskThreads(reactor)
    outcome: list[Any] = []

    async def work() -> _Times:
        space = _make_space(directory, below, sealed, disk)
        space.start()
        times: _Times = await _WORK[what](space, amount)
        await space.stop()
        return times

    def ended(result: Any) -> None:
        outcome.append(result)
        disk.stop()
        reactor.stop()

    reactor.callWhenRunning(lambda: Deferred.fromCoroutine(work()).addBoth(ended))
    reactor.run()
    if not isinstance(outcome[0], tuple):
        outcome[0].raiseException()
    seconds, cpu = outcome[0]
    return {"seconds": seconds, "cpu": cpu, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}


def _run(**task: Any) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-m", "bench.sealing", "--work", json.dumps(task)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
    )
    if done.returncode:
        raise BenchError(f"{task} failed:\n{done.stderr[-4000:]}")
    found: dict[str, float] = json.loads(done.stdout)
    return found


def _cipher() -> str:
    """What one core does, frame after frame."""
    cipher = AESGCM(bytes(32))
    frame = _PIECE[:FRAME]
    sealed = [cipher.encrypt(nonce_of(number, False), frame, None) for number in range(64)]
    rows = []
    for name, work in (
        ("encrypt", lambda: [cipher.encrypt(nonce_of(number, False), frame, None) for number in range(64)]),
        ("decrypt", lambda: [cipher.decrypt(nonce_of(number, False), sealed[number], None) for number in range(64)]),
    ):
        times = []
        for _ in range(50):
            began = time.perf_counter()
            work()
            times.append(64 * FRAME / GIB / (time.perf_counter() - began))
        spread = Spread(tuple(times))
        rows.append([name, f"{spread.median:.3g}", spread.range(".3g")])
    return format_table("cipher: AES-256-GCM, frames of 64 KiB, one core", ["", "GiB/s", "range"], rows)


def _compare(directory: Path, rounds: int, size: int, count: int) -> str:
    rows = []
    for below in ("wormer", "memory"):
        for what in _WORK:
            small = what.startswith("small")
            amount = count if small else min(size, GIB if below == "wormer" else 256 * MIB)
            found: dict[bool, list[dict[str, float]]] = {False: [], True: []}
            for number in range(rounds + 1):
                progress(f"{below} {what}: round {number} of {rounds}")
                for sealed in (False, True):
                    place = directory / "round"
                    place.mkdir()
                    outcome = _run(directory=str(place), below=below, sealed=sealed, what=what, amount=amount)
                    shutil.rmtree(place)
                    if number:
                        found[sealed].append(outcome)
            unit = 1 if small else MIB
            bare, ours = (
                Spread(tuple(amount / unit / outcome["seconds"] for outcome in found[sealed]))
                for sealed in (False, True)
            )
            cpu = [median(outcome["cpu"] for outcome in found[sealed]) for sealed in (False, True)]
            peaks = [max(outcome["peak"] for outcome in found[sealed]) / MIB for sealed in (False, True)]
            rows.append(
                [
                    f"{below} {what}",
                    "objects/s" if small else "MiB/s",
                    f"{bare.median:.4g}",
                    f"{ours.median:.4g}",
                    ours.range(".4g"),
                    f"{ours.median / bare.median:.2f}",
                    f"{cpu[1] / cpu[0]:.2f}",
                    f"{peaks[0]:.0f}",
                    f"{peaks[1]:.0f}",
                ]
            )
    progress("")
    head = ["", "unit", "plain", "encrypted", "range", "ratio", "CPU ratio", "peak MiB plain", "encrypted"]
    return format_table("sealing: a data space with and without encryption", head, rows)


def main(arguments: list[str] | None = None) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_rounds(parser)
    parser.add_argument("--size", type=int, default=GIB, help="bytes of the large object (1 GiB)")
    parser.add_argument("--count", type=int, default=5000, help="small objects (5000)")
    parser.add_argument("--directory", type=Path, default=Path("/dev/shm"), help="where the stores are made (/dev/shm)")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.work:
        print(json.dumps(_work(**json.loads(options.work))))
        return
    print(_cipher())
    with workspace(options.directory, 2 * options.size) as directory:
        print(_compare(directory, options.rounds, options.size, options.count))


if __name__ == "__main__":
    main()
