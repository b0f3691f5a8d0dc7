"""
The ingest route of streams beside the library that it ends in: C{python -m bench.streams}.

The same records are posted to a service, one a request and in batches, and written by a loop around a manager in a process of
its own. Both sides make the same archives; each is measured at both levels of C{sync}. In a loop C{record} costs a sync for each
record, which posts share.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import resource
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from http.client import HTTPConnection
from pathlib import Path

import attrs

from bench.harness import (
    CHECKOUT,
    HOST,
    BenchError,
    Spread,
    add_rounds,
    format_table,
    free_port,
    pinned,
    progress,
    running,
    workspace,
)
from storehouse.archive.roll_checker import SizeRollChecker
from storehouse.archive.roll_manager import WritingRollManager

__all__ = ["CASES", "Case", "main"]

SERVER_CORE, CLIENT_CORE = 0, 1

_need = 8 * 2**30

_METADATA = {"source": "bench"}

_CONFIG = """
[archive]
endpoint = "tcp:{port}:interface=127.0.0.1"
[archive.streams.record]
[archive.streams.os]
sync = "os"
"""


def _payload(size: int) -> str:
    return json.dumps({"text": "x" * (size - 12)})


def _single(size: int, count: int) -> tuple[bytes, bytes]:
    return _payload(size).encode(), b"Content-Type: application/json\r\nX-Meta-Source: bench\r\n"


def _lines(size: int, count: int) -> tuple[bytes, bytes]:
    line = json.dumps({"metadata": _METADATA, "payload": _payload(size)}).encode() + b"\n"
    return line * count, b"Content-Type: application/x-ndjson\r\n"


def _binary(size: int, count: int) -> tuple[bytes, bytes]:
    metadata, payload = json.dumps(_METADATA).encode(), _payload(size).encode()
    record = struct.pack("<I", len(metadata)) + metadata + struct.pack("<I", len(payload)) + payload
    return record * count, b"Content-Type: application/x-storehouse-records\r\n"


@attrs.frozen
class Case:
    """
    A row.

    @ivar make: of the size of a record and their number, the body of a request and its fields; C{None} for the library.
    @ivar records: in one request, or one C{write_many}; 1 for C{write}.
    """

    name: str
    sync: str
    records: int
    connections: int = 0
    make: Callable[[int, int], tuple[bytes, bytes]] | None = None


def _cases() -> list[Case]:
    cases = []
    for sync in ("os", "record"):
        cases.append(Case(f"library, {sync}, write", sync, 1))
        cases.append(Case(f"library, {sync}, write_many of 100", sync, 100))
        cases.append(Case(f"library, {sync}, write_many of 1000", sync, 1000))
        for connections in (1, 32, 256):
            cases.append(Case(f"POST, {sync}, single, {connections} connections", sync, 1, connections, _single))
        for count in (100, 1000):
            cases.append(Case(f"POST, {sync}, ndjson of {count}, 8 connections", sync, count, 8, _lines))
            cases.append(Case(f"POST, {sync}, binary of {count}, 8 connections", sync, count, 8, _binary))
    return cases


#: All rows; the first of each level of C{sync} is what the others of it are compared with.
CASES = tuple(_cases())


def _write(directory: str, sync: str, size: int, batch: int, seconds: float) -> dict[str, float]:
    """The loop, in a process of its own."""
    manager = WritingRollManager(
        "%Y-%m-%dT%H_%M_%SZ.events", SizeRollChecker(roll_size_mb=100), directory, sync=sync, buffer_size=0
    )
    payload = _payload(size)
    count = 0
    begun = time.perf_counter()
    while (taken := time.perf_counter() - begun) < seconds:
        for _ in range(1 if sync == "record" else max(1, 100 // batch)):
            if batch == 1:
                manager.write(_METADATA, payload)
            else:
                manager.write_many([(_METADATA, payload)] * batch)
            count += batch
    manager.close()
    return {"rate": count / taken, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}


def _told(command: Sequence[str]) -> dict[str, float]:
    """What a command of ours prints."""
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchError(f"{command[-6:]} failed:\n{done.stderr[-4000:]}")
    found: dict[str, float] = json.loads(done.stdout)
    return found


def _in_process(*arguments: object) -> dict[str, float]:
    code = f"import json; from bench.streams import _write; print(json.dumps(_write(*{arguments!r})))"
    return _told([*pinned(SERVER_CORE), sys.executable, "-c", code])


def _post(case: Case, directory: Path, size: int, seconds: float) -> dict[str, float]:
    """A service of its own for each visit, so that its memory is that of the case."""
    assert case.make is not None
    port = free_port()
    (directory / "storehouse.toml").write_text(_CONFIG.format(port=port))
    command = [
        sys.executable, "-c", "from twisted.scripts.twistd import run; run()", "-n", "--reactor=storehouse", "storehouse",
        "--root", str(directory / "root"), "--config", str(directory / "storehouse.toml"),
        "--append", "off", "--sfsp", "off", "--https", "off", "--s3", "off", "--admin", "off", "--objects-scrub-rate", "off",
    ]  # fmt: skip
    body, fields = case.make(size, case.records)
    head = f"POST /archive/{case.sync} HTTP/1.1\r\nHost: {HOST}:{port}\r\nContent-Length: {len(body)}\r\n".encode()
    (directory / "request").write_bytes(head + fields + b"\r\n" + body)
    with running("storehouse", command, port, directory / "log", core=SERVER_CORE) as server:
        sender = [sys.executable, "-m", "bench.poster", port, case.connections, seconds, directory / "request"]
        outcome = _told([*pinned(CLIENT_CORE), *map(str, sender)])
        _check(case, port, int(outcome["requests"]) * case.records)
        rate = outcome["requests"] * case.records / outcome["duration"]
        return {"rate": rate, "peak": server.peak_rss(), "p99": outcome["p99"]}


def _check(case: Case, port: int, acknowledged: int) -> None:
    """@raise BenchError: unless all is there that was acknowledged, and no more than was under way."""
    connection = HTTPConnection(HOST, port, timeout=60)
    try:
        connection.request("GET", f"/archive/{case.sync}/archives")
        archives = json.loads(connection.getresponse().read())["archives"]
    finally:
        connection.close()
    found = sum(archive["records"] for archive in archives)
    if not acknowledged <= found <= acknowledged + case.connections * case.records:
        raise BenchError(f"{case.name}: {found} records are there, {acknowledged} were acknowledged")


def _visit(case: Case, parent: Path, size: int, seconds: float) -> dict[str, float]:
    with workspace(parent, 0) as directory:
        if case.make is None:
            return _in_process(str(directory), case.sync, size, case.records, seconds)
        return _post(case, directory, size, seconds)


def _table(samples: dict[str, list[dict[str, float]]], size: int) -> str:
    reference = {case.sync: Spread(tuple(sample["rate"] for sample in samples[case.name])).median
                 for case in reversed(CASES) if case.name in samples}  # fmt: skip
    rows = []
    for case in CASES:
        if case.name not in samples:
            continue
        rate = Spread(tuple(sample["rate"] for sample in samples[case.name]))
        latency = [sample["p99"] for sample in samples[case.name] if "p99" in sample]
        rows.append(
            [
                case.name,
                f"{rate.median:,.0f}",
                rate.range(",.0f"),
                f"{rate.median * size / 1e6:,.1f}",
                f"{rate.median / reference[case.sync]:.2f}",
                f"{Spread(tuple(latency)).median / 1000:.1f}" if latency else "",
                f"{max(sample['peak'] for sample in samples[case.name]) / 2**20:.0f}",
            ]
        )
    head = ["way", "records/s", "lowest-highest", "MB/s", "x first", "p99 ms", "peak RSS MiB"]
    return format_table(f"Records of {size} bytes into one stream", head, rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.streams",
        description="Measure the ingest route of streams beside the archive library. Needs taskset and two processor cores.",
    )
    add_rounds(parser)
    parser.add_argument(
        "--seconds", metavar="S", type=float, default=2.0, help="the length of each visit (default: %(default)s)"
    )
    parser.add_argument("--size", metavar="N", type=int, default=1000, help="bytes of a payload (default: %(default)s)")
    parser.add_argument(
        "--only", metavar="TEXT", default="", help="only the rows whose names contain this, and those to compare with"
    )
    dir_help = "where to keep data meanwhile: on a disk, not in memory (default: %(default)s)"
    parser.add_argument("--dir", metavar="DIR", type=Path, default=CHECKOUT / ".bench", help=dir_help)
    options = parser.parse_args(arguments)
    firsts = {"library, os, write", "library, record, write"}
    cases = [case for case in CASES if options.only in case.name or case.name in firsts]
    samples: dict[str, list[dict[str, float]]] = {case.name: [] for case in cases}
    try:
        with workspace(options.dir, _need) as directory:
            for number in range(options.rounds + 1):
                for case in cases:
                    progress(f"round {number} of {options.rounds}: {case.name}")
                    sample = _visit(case, directory, options.size, options.seconds)
                    if number:
                        samples[case.name].append(sample)
        progress("")
        print(_table(samples, options.size))
    except BenchError as error:
        print(f"bench.streams: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
