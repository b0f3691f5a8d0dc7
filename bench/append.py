"""
The append log over HTTP beside jackdoe/rochefort, an append log in Go: C{python -m bench.append --peer PATH}.

Prints a table for every case as soon as it is measured.  README.rst tells how to read them.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import attrs

from bench.appendlog import OURS, PEER, Client, Program
from bench.harness import CHECKOUT, BenchError, Server, Spread, add_rounds, format_table, progress, tool, workspace
from bench.scenarios import Appends, Batches, Gets, MultiGets, Scenario
from bench.wrk import run_wrk

__all__ = ["CASES", "Case", "Sample", "main", "measure"]

#: The cores that the servers and wrk stay on.
SERVER_CORE, WRK_CORE = 0, 1

#: The most disk space that one visit can fill, with all servers of a table.
_need = 4 * 2**30

_peer_variable = "STOREHOUSE_BENCH_PEER"


@attrs.frozen
class Case:
    """
    What one table shows.

    @ivar name: what C{--only} selects it by.
    @ivar title: what it is, for people.
    @ivar rows: each program with what makes its clients.
    """

    name: str
    title: str
    rows: Sequence[tuple[Program, Callable[[], Scenario]]]


def _same(name: str, title: str, programs: Sequence[Program], scenario: Callable[[], Scenario]) -> Case:
    return Case(name, title, [(program, scenario) for program in programs])


def _cases() -> Iterator[Case]:
    relaxed = [program for program in OURS if program.sync == "os"]
    for size in (100, 4096):
        for identifiers in (1, 1000):
            for connections in (32, 256):
                name = f"append-{size}b-{identifiers}id-{connections}c"
                ids = "one id" if identifiers == 1 else f"{identifiers} ids"
                title = f"POST /append: {size} bytes, {ids}, {connections} connections (the peer never syncs)"
                yield _same(name, title, [PEER, *OURS], partial(Appends, connections, size, identifiers))
    for connections in (32, 256):
        title = f"GET /get: 100 bytes, random, {connections} connections"
        yield _same(f"get-{connections}c", title, [PEER, *relaxed], partial(Gets, connections))
    title = "POST /getMulti: 100 offsets a request, 100 bytes each, 32 connections"
    yield _same("getmulti-100", title, [PEER, *relaxed], partial(MultiGets, 32, 100))
    for records in (100, 1000):
        title = f"POST /appendMulti: {records} records of 100 bytes a request, 8 connections (peer: single appends, 32 connections)"
        ours = [(program, partial(Batches, 8, 100, records)) for program in OURS if program.reactor]
        yield Case(f"appendmulti-{records}", title, [(PEER, partial(Appends, 32, 100, 1)), *ours])


#: All that can be measured.
CASES: tuple[Case, ...] = tuple(_cases())


@attrs.frozen
class Sample:
    """
    The figures of one visit.

    @ivar rate: records a second.
    @ivar cpu: microseconds of the server's processor time for a request.
    @ivar p50: median latency in microseconds.
    @ivar p99: 99th percentile of the latency in microseconds.
    """

    rate: float
    cpu: float
    p50: float
    p99: float


@attrs.frozen
class _Row:
    program: Program
    server: Server
    scenario: Scenario
    samples: list[Sample] = attrs.field(factory=list)

    def visit(self, directory: Path, seconds: float) -> Sample:
        with Client(self.server.port) as client:
            load = self.scenario.prepare(client)
        before = self.server.cpu_seconds()
        outcome = run_wrk(load, self.server.port, seconds, directory / "requests", WRK_CORE)
        used = self.server.cpu_seconds() - before
        with Client(self.server.port) as client:
            self.scenario.check(client, outcome)
            if self.scenario.writes:
                self.program.empty(client, directory)
        rate = outcome.requests * load.records / outcome.duration
        return Sample(rate, used / outcome.requests * 1e6, outcome.p50, outcome.p99)


def measure(case: Case, peer: Path, directory: Path, rounds: int, seconds: float) -> str:
    """
    Measure one case.

    @return: its table.
    @raise BenchError: if a server does not start, a request fails or a record is not what it should be.
    """
    with contextlib.ExitStack() as stack:
        rows = []
        for program, make in case.rows:
            server = stack.enter_context(program.started(peer, directory, SERVER_CORE))
            rows.append(_Row(program, server, make()))
        for number in range(rounds + 1):
            for row in rows:
                progress(f"{case.name}: round {number} of {rounds}, {row.program.name}")
                try:
                    sample = row.visit(directory, seconds)
                except (BenchError, OSError) as error:
                    raise BenchError(f"{case.name}, {row.program.name}: {error}") from error
                if number:
                    row.samples.append(sample)
        progress("")
        return _table(case, rows)


def _table(case: Case, rows: Sequence[_Row]) -> str:
    reference = _spread(rows[0].samples, "rate").median
    head = ["server", "records/s", "lowest-highest", "x peer", "cpu us/request", "p50 us", "p99 us", "peak RSS MiB"]
    lines = []
    for row in rows:
        rate = _spread(row.samples, "rate")
        cpu, p50, p99 = (_spread(row.samples, figure).median for figure in ("cpu", "p50", "p99"))
        ratio = f"{rate.median / reference:.2f}"
        memory = f"{row.server.peak_rss() / 2**20:.0f}"
        lines.append(
            [
                row.program.name,
                f"{rate.median:,.0f}",
                rate.range(",.0f"),
                ratio,
                f"{cpu:.1f}",
                f"{p50:.0f}",
                f"{p99:.0f}",
                memory,
            ]
        )
    return format_table(f"{case.name}: {case.title}", head, lines)


def _spread(samples: Sequence[Sample], figure: str) -> Spread:
    return Spread(tuple(getattr(sample, figure) for sample in samples))


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench.append",
        description="Measure the append log over HTTP beside another one. Needs wrk, taskset and two processor cores.",
        epilog="Cases: " + ", ".join(case.name for case in CASES),
    )
    peer_help = f"the peer's binary: jackdoe/rochefort at commit 3200416, built with 'go build' (default: the environment variable {_peer_variable})"
    parser.add_argument("--peer", metavar="PATH", type=Path, default=os.environ.get(_peer_variable), help=peer_help)
    add_rounds(parser)
    parser.add_argument(
        "--seconds",
        metavar="S",
        type=int,
        default=2,
        help="the length of each visit to a server (default: %(default)s)",
    )
    parser.add_argument("--only", metavar="NAME", default="", help="only the cases whose names contain this")
    dir_help = "where to keep data meanwhile: on a disk, not in memory (default: %(default)s)"
    parser.add_argument("--dir", metavar="DIR", type=Path, default=CHECKOUT / ".bench", help=dir_help)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; its exit status."""
    parser = _arguments()
    options = parser.parse_args(arguments)
    cases = [case for case in CASES if options.only in case.name]
    if not cases:
        parser.error(f"no case's name contains {options.only!r}; there are: {', '.join(case.name for case in CASES)}")
    if options.peer is None:
        parser.error(f"--peer PATH or {_peer_variable} is needed; see --help")
    if options.rounds < 1 or options.seconds < 1:
        parser.error("--rounds and --seconds must be at least 1")
    try:
        peer = Path(tool(str(options.peer.resolve())))
        with workspace(options.dir, _need) as directory:
            for case in cases:
                print(measure(case, peer, directory, options.rounds, options.seconds), end="\n\n", flush=True)
    except BenchError as error:
        progress("")
        print(f"bench.append: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
