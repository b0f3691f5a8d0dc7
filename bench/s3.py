"""
The S3 door beside radosgw and SeaweedFS: C{python -m bench.s3}.

README.rst tells how to read the tables. The load comes from wrk with presigned requests, and from curl.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import hashlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import attrs

from bench.harness import CHECKOUT, BenchError, Spread, add_rounds, format_table, progress, tool, workspace
from bench.s3_peers import SERVERS, Target, curl, started
from bench.upload import make_body
from bench.wrk import Load, run_wrk
from tests.integration.engines.certificates import self_signed

__all__ = ["main"]

_SMALL = 4096

#: Different requests that are sent in turn.
_PREPARED = 2000

#: Bytes of the parts of an upload, and how many of them are on the way at once.
_PART = 64 << 20
_FLIGHT = 4


@attrs.frozen
class Options:
    """What is measured, and how often."""

    directory: Path
    servers: Sequence[str]
    rounds: int
    seconds: float
    size: int
    keys: Sequence[int]
    weed: str


@attrs.define
class Row:
    """What one server did in one table."""

    rates: list[float] = attrs.Factory(list)
    cpu: list[float] = attrs.Factory(list)
    p99: list[float] = attrs.Factory(list)


@contextlib.contextmanager
def _targets(options: Options, scheme: str, names: Sequence[str] = ()) -> Iterator[dict[str, Target]]:
    """All servers, each with a bucket."""
    with contextlib.ExitStack() as stack:
        found = {}
        for name in names or options.servers:
            progress(f"starting {name}")
            place = Path(tempfile.mkdtemp(prefix=f"{scheme}-", dir=options.directory)) / name
            found[name] = stack.enter_context(started(name, place, scheme, options.weed))
            found[name].ask("PUT", "/bench")
        yield found


def _take_turns(
    options: Options, targets: dict[str, Target], visit: Callable[[Target, int], tuple[float, float, float]]
) -> dict[str, Row]:
    """Visit all servers, round after round; the first does not count."""
    rows = {name: Row() for name in targets}
    for number in range(options.rounds + 1):
        for name, target in targets.items():
            progress(f"round {number} of {options.rounds}, {name}")
            try:
                rate, cpu, p99 = visit(target, number)
            except BenchError as error:
                raise BenchError(f"{name}: {error}") from error
            if number:
                rows[name].rates.append(rate)
                rows[name].cpu.append(cpu)
                rows[name].p99.append(p99)
    progress("")
    return rows


def _table(title: str, unit: str, form: str, cpu: str, rows: dict[str, Row], targets: dict[str, Target]) -> str:
    rates = {name: Spread(tuple(row.rates)) for name, row in rows.items()}
    ours = rates.get("storehouse")
    lines = []
    for name, row in rows.items():
        rate = rates[name]
        ratio = f"{ours.median / rate.median:.2f}" if ours is not None and name != "storehouse" else ""
        p99 = Spread(tuple(row.p99)).median
        lines.append(
            [
                SERVERS[name],
                format(rate.median, form),
                rate.range(form),
                ratio,
                f"{Spread(tuple(row.cpu)).median:.3g}",
                f"{p99 / 1000:.1f}" if p99 else "-",
                f"{targets[name].peak_rss() / 2**20:.0f}",
            ]
        )
    head = ["server", unit, "lowest-highest", "ours/theirs", cpu, "p99 ms", "peak RSS MiB"]
    return format_table(title, head, lines)


# -- small objects -------------------------------------------------------------------------------------------------


def _small(options: Options) -> Iterator[str]:
    with _targets(options, "http") as targets:
        loads = {}
        for name, target in targets.items():
            progress(f"signing for {name}")
            body = os.urandom(_SMALL)
            keys = [f"/bench/small/{number:06d}" for number in range(_PREPARED)]
            loads[name] = {
                "PUT": [target.wire("PUT", key, body) for key in keys],
                "GET": [target.wire("GET", key) for key in keys],
            }
            _fill(target, "small", _PREPARED, body)
        for method in ("PUT", "GET"):
            for connections in (8, 64):

                def visit(
                    target: Target, number: int, method: str = method, connections: int = connections
                ) -> tuple[float, float, float]:
                    name = next(each for each, of_name in targets.items() if of_name is target)
                    load = Load(loads[name][method], connections)
                    before = target.cpu_seconds()
                    outcome = run_wrk(load, target.port, options.seconds, options.directory / "requests", None)
                    cpu = (target.cpu_seconds() - before) / outcome.requests * 1e6
                    return outcome.requests / outcome.duration, cpu, outcome.p99

                rows = _take_turns(options, targets, visit)
                title = f"{method} of 4 KiB, {connections} connections"
                yield _table(title, "requests/s", ".0f", "cpu us/request", rows, targets)


# -- what the door costs -------------------------------------------------------------------------------------------


def _kinds(target: Target, body: bytes) -> dict[str, list[bytes]]:
    """Requests by how they are signed and framed."""
    keys = [f"/bench/small/{number:06d}" for number in range(_PREPARED)]
    digest, nothing = hashlib.sha256(body).hexdigest(), hashlib.sha256(b"").hexdigest()
    value = base64.b64encode(zlib.crc32(body).to_bytes(4, "big")).decode()
    framed = b"%x\r\n%b\r\n0\r\nx-amz-checksum-crc32:%b\r\n\r\n" % (len(body), body, value.encode())
    # As the SDKs of AWS do it by default.
    trailer = {
        "Content-Encoding": "aws-chunked",
        "x-amz-trailer": "x-amz-checksum-crc32",
        "x-amz-sdk-checksum-algorithm": "CRC32",
        "x-amz-decoded-content-length": str(len(body)),
    }
    return {
        "GET": [target.signed("GET", key, b"", nothing, {}) for key in keys],
        "PUT, unsigned payload": [target.signed("PUT", key, body, "UNSIGNED-PAYLOAD", {}) for key in keys],
        "PUT, SHA-256": [target.signed("PUT", key, body, digest, {}) for key in keys],
        "PUT, CRC32 in a trailer": [
            target.signed("PUT", key, framed, "STREAMING-UNSIGNED-PAYLOAD-TRAILER", trailer) for key in keys
        ],
    }


def _cpu(options: Options) -> Iterator[str]:
    """
    What a request costs beside the work of the object store, which is measured without a door: processor time of the reactor's
    thread and of the process, the least of all rounds, since other work on the machine only adds to it.
    """
    body = os.urandom(_SMALL)
    for name, durable in (("storehouse-os", False), ("storehouse", True)):
        least: dict[tuple[str, int], tuple[float, float, float]] = {}
        with _targets(options, "http", [name]) as targets:
            target = targets[name]
            _fill(target, "small", _PREPARED, body)
            kinds = _kinds(target, body)
            for number in range(options.rounds + 1):
                for kind, requests in kinds.items():
                    for connections in (8, 64):
                        progress(f"round {number} of {options.rounds}, {kind}")
                        thread, process = target.processes[0].thread_seconds(), target.cpu_seconds()
                        load = Load(requests, connections)
                        outcome = run_wrk(load, target.port, options.seconds, options.directory / "requests", None)
                        costs = (
                            (target.processes[0].thread_seconds() - thread) / outcome.requests * 1e6,
                            (target.cpu_seconds() - process) / outcome.requests * 1e6,
                            -outcome.requests / outcome.duration,
                        )
                        before = least.get((kind, connections), costs)
                        least[kind, connections] = tuple(map(min, costs, before))  # type: ignore[assignment]
            progress("")
        own = {flight: _own_costs(options, flight, durable) for flight in (8, 64)}
        lines = []
        for (kind, connections), (thread, process, rate) in least.items():
            method = kind.partition(",")[0]
            of_thread, of_process = (own[connections][f"{method} {what}"] for what in ("thread", "process"))
            numbers = (thread, of_thread, thread - of_thread, process, of_process, process - of_process, -rate)
            lines.append([kind, str(connections), *(f"{each:.0f}" for each in numbers)])
        head = ["request", "conns", "thread us", "store's", "beside", "process us", "store's", "beside", "requests/s"]
        yield format_table(f"CPU of 4 KiB, {SERVERS[name]}", head, lines)


def _own_costs(options: Options, flight: int, durable: bool) -> dict[str, float]:
    task = {
        "what": "small_cpu",
        "directory": str(options.directory / f"own-{flight}-{durable}"),
        "count": 2000,
        "flight": flight,
        "durable": durable,
        "rounds": options.rounds + 1,
    }
    done = subprocess.run(
        [sys.executable, "-m", "bench.object_work", json.dumps(task)],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise BenchError(done.stderr[-2000:])
    found: dict[str, float] = json.loads(done.stdout)
    return found


def _fill(target: Target, prefix: str, count: int, body: bytes, first: int = 0) -> None:
    """Store objects whose keys are numbers."""
    data = Path("/dev/shm") / f"storehouse-bench-{os.getpid()}"
    data.write_bytes(body)
    try:
        for start in range(first, count, 10_000):
            progress(f"{target.name}: {start} of {count} keys")
            lines = []
            for number in range(start, min(count, start + 10_000)):
                lines.append(f'url = "{target.presigned("PUT", f"/bench/{prefix}/{number:06d}")}"')
                lines.append(f'upload-file = "{data}"')
                lines.append('output = "/dev/null"')
            curl("--parallel", "--parallel-max", "64", "-H", "Expect:", config="\n".join(lines))
    finally:
        data.unlink()


# -- large bodies --------------------------------------------------------------------------------------------------


def _large(options: Options) -> Iterator[str]:
    body = Path("/dev/shm") / f"storehouse-bench-{os.getpid()}.body"
    try:
        make_body(body, options.size)
        with body.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        for scheme in ("http", "https"):
            with _targets(options, scheme, [name for name in options.servers if not name.endswith("-os")]) as targets:
                for what, visit in _LARGE.items():

                    def timed(
                        target: Target, number: int, visit: Callable[[Target, Path], None] = visit, what: str = what
                    ) -> tuple[float, float, float]:
                        before, began = target.cpu_seconds(), time.perf_counter()
                        visit(target, body)
                        seconds = time.perf_counter() - began
                        cpu = (target.cpu_seconds() - before) / (options.size / 2**30)
                        if not number:
                            _compare(target, "/bench/parts" if "parts" in what else "/bench/large", digest)
                        return options.size / 2**30 / seconds, cpu, 0.0

                    rows = _take_turns(options, targets, timed)
                    title = f"{what} of {options.size / 2**30:.3g} GiB over {scheme}"
                    yield _table(title, "GiB/s", ".2f", "cpu s/GiB", rows, targets)
    finally:
        body.unlink(missing_ok=True)


def _put(target: Target, body: Path) -> None:
    curl("-H", "Expect:", "-T", str(body), "-o", os.devnull, target.presigned("PUT", "/bench/large"))


def _get(target: Target, body: Path) -> None:
    curl("-o", os.devnull, target.presigned("GET", "/bench/large"))


def _put_parts(target: Target, body: Path) -> None:
    _, said = target.ask("POST", "/bench/parts?uploads=")
    upload = said.decode().partition("<UploadId>")[2].partition("</UploadId>")[0]
    size = body.stat().st_size
    numbers = range(1, -(-size // _PART) + 1)
    pieces = []
    try:
        for number in numbers:
            piece = body.with_suffix(f".{number}")
            pieces.append(piece)
        _split(body, pieces)
        lines = []
        for number, piece in zip(numbers, pieces, strict=True):
            url = target.presigned("PUT", f"/bench/parts?partNumber={number}&uploadId={upload}")
            lines += [f'url = "{url}"', f'upload-file = "{piece}"', 'output = "/dev/null"']
        words = ("--parallel", "--parallel-immediate", "--parallel-max", str(_FLIGHT), "-H", "Expect:")
        etags = curl(*words, "-w", "%{url} %header{etag}\n", config="\n".join(lines))
    finally:
        for piece in pieces:
            piece.unlink(missing_ok=True)
    found = {}
    for line in etags.splitlines():
        url, _, etag = line.rpartition(" ")
        found[int(url.partition("partNumber=")[2].partition("&")[0])] = etag
    listed = "".join(f"<Part><PartNumber>{each}</PartNumber><ETag>{found[each]}</ETag></Part>" for each in numbers)
    text = f"<CompleteMultipartUpload>{listed}</CompleteMultipartUpload>"
    _, said = target.ask("POST", f"/bench/parts?uploadId={upload}", text.encode())
    if b"<Error>" in said:
        raise BenchError(said.decode(errors="replace"))


def _split(body: Path, pieces: Sequence[Path]) -> None:
    """Files of the parts, which share their memory with nothing: curl sends whole files."""
    with body.open("rb") as file:
        for piece in pieces:
            if not piece.exists():
                piece.write_bytes(file.read(_PART))


_LARGE: dict[str, Callable[[Target, Path], None]] = {
    "PUT": _put,
    "GET": _get,
    f"PUT in parts, {_FLIGHT} in flight,": _put_parts,
}


def _compare(target: Target, path: str, digest: str) -> None:
    command = [tool("curl"), "-sS", "--insecure", target.presigned("GET", path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        found = hashlib.sha256()
        while piece := process.stdout.read(1 << 20):
            found.update(piece)
    if found.hexdigest() != digest:
        raise BenchError("what was stored is not what was sent")


# -- listing -------------------------------------------------------------------------------------------------------


def _list(options: Options) -> Iterator[str]:
    names = [name for name in options.servers if name not in ("seaweedfs", "storehouse-os")]
    with _targets(options, "http", names) as targets:
        filled = 0
        for keys in options.keys:
            for target in targets.values():
                _fill(target, "list", keys, b"", filled)
            filled = keys
            choose = random.Random(keys)
            places = [choose.randrange(max(1, keys - 1000)) for _ in range(50)]

            def visit(target: Target, number: int, places: Sequence[int] = tuple(places)) -> tuple[float, float, float]:
                start = "/bench?list-type=2&max-keys=1000&start-after=list%2F"
                requests = [target.wire("GET", f"{start}{place:06d}") for place in places]
                before = target.cpu_seconds()
                load = Load(requests, 4)
                outcome = run_wrk(load, target.port, options.seconds, options.directory / "requests", None)
                cpu = (target.cpu_seconds() - before) / outcome.requests * 1e6
                return outcome.requests / outcome.duration, cpu, outcome.p99

            rows = _take_turns(options, targets, visit)
            title = f"A page of 1000 of {keys:,} keys, 4 connections"
            yield _table(title, "pages/s", ".1f", "cpu us/page", rows, targets)


_TABLES: dict[str, Callable[[Options], Iterator[str]]] = {
    "small": _small,
    "cpu": _cpu,
    "large": _large,
    "list": _list,
}


def main(arguments: Sequence[str]) -> int:
    """Measure. @return: the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.s3", description=__doc__)
    parser.add_argument("--only", choices=list(_TABLES), help="the tables of one kind (default: all)")
    parser.add_argument("--servers", default=",".join(SERVERS), help="with commas between (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=5, help="how long wrk runs (default: %(default)s)")
    parser.add_argument("--size", type=int, default=1024, help="MiB of a large body (default: %(default)s)")
    parser.add_argument("--keys", default="10000,1000000", help="how many are listed (default: %(default)s)")
    parser.add_argument("--weed", default="", help="the path of SeaweedFS's program (default: on the path)")
    parser.add_argument(
        "--dir", type=Path, default=CHECKOUT / ".bench", help="where data are kept (default: %(default)s)"
    )
    add_rounds(parser)
    given = parser.parse_args(arguments)
    servers = given.servers.split(",")
    try:
        if unknown := set(servers) - set(SERVERS):
            raise BenchError(f"no such servers: {', '.join(sorted(unknown))}; there are {', '.join(SERVERS)}")
        with workspace(given.dir, 8 * given.size << 20) as directory:
            key, certificate = self_signed(str(directory / "tls"))
            Path(key).rename(directory / "key.pem")
            Path(certificate).rename(directory / "cert.pem")
            keys = [int(each) for each in given.keys.split(",")]
            options = Options(directory, servers, given.rounds, given.seconds, given.size << 20, keys, given.weed)
            for name, tables in _TABLES.items():
                if given.only in (None, name):
                    for table in tables(options):
                        print(table, end="\n\n", flush=True)
    except BenchError as error:
        print(f"bench.s3: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
