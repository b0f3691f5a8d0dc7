"""
Two versions of storehouse beside each other: C{python -m bench.versions --before CHECKOUT}.

For each piece of work both are visited in turn, round after round. What is printed is the median of each, and the ratio: a
change that makes nothing slower has ratios of about one. README.rst tells how it is measured.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import attrs

from bench.appendlog import Client, Program
from bench.harness import (
    CHECKOUT,
    HOST,
    BenchError,
    Server,
    Spread,
    add_rounds,
    format_table,
    free_port,
    progress,
    running,
    tool,
    workspace,
)
from bench.scenarios import Appends, Batches, Gets, MultiGets, Scenario
from bench.upload import make_body
from bench.wrk import run_wrk

__all__ = ["Figures", "main"]

_SERVER_CORE, _WRK_CORE = 0, 1
_NEED = 6 << 30

#: In memory, so that not the disk is measured.
_memory = Path("/dev/shm/storehouse-bench")


@attrs.frozen
class Figures:
    """
    What one visit gave, by names; and the memory that the server had at most, in bytes, if there is one.

    @ivar rates: of which more is better.
    @ivar costs: of which less is.
    """

    rates: dict[str, float]
    costs: dict[str, float] = attrs.field(factory=dict)
    memory: Callable[[], int] | None = None


#: Visits a version that is ready.
Visit = Callable[[], Figures]


@contextlib.contextmanager
def _appending(
    checkout: Path, directory: Path, make: Callable[[], Scenario], sync: str, seconds: float
) -> Iterator[Visit]:
    program = Program("ours", sync, "storehouse")
    root = directory / "root"
    port = free_port()
    environment = {"PYTHONPATH": str(checkout)}
    log = directory / "log"
    command = program.command(Path(), root, port)
    if not (checkout / "storehouse" / "frontends" / "s3").exists():
        # That version has no such door.
        at = command.index("--s3")
        del command[at : at + 2]
    with running("ours", command, port, log, core=_SERVER_CORE, environment=environment) as server:
        scenario = make()

        def visit() -> Figures:
            with Client(port) as client:
                load = scenario.prepare(client)
            before = server.cpu_seconds()
            outcome = run_wrk(load, port, seconds, directory / "requests", _WRK_CORE)
            cpu = server.cpu_seconds() - before
            with Client(port) as client:
                scenario.check(client, outcome)
                if scenario.writes:
                    client.delete_prefix()
            rate = outcome.requests * load.records / outcome.duration
            return Figures({"records/s": rate}, {"cpu us/request": cpu / outcome.requests * 1e6}, server.peak_rss)

        yield visit


def _storehouse(checkout: Path, *words: str) -> str:
    command = [sys.executable, "-m", "storehouse.cli", *words]
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    # Python looks where it stands before it looks at PYTHONPATH.
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=checkout, check=False)
    if done.returncode:
        raise BenchError(f"storehouse {words[0]} failed: {done.stderr[-2000:]}")
    return done.stdout


@contextlib.contextmanager
def _uploading(checkout: Path, directory: Path, body: Path, sync: str) -> Iterator[Visit]:
    port = free_port()
    root = directory / "root"
    twistd = [sys.executable, "-c", "from twisted.scripts.twistd import run; run()"]
    others = ["append", "sfsp", "admin", "archive"]
    if (checkout / "storehouse" / "frontends" / "s3").exists():
        others.append("s3")
    doors = [word for door in others for word in (f"--{door}", "off")]
    https = ["--https", f"tcp:{port}:interface={HOST}", "--objects-sync", sync, "--objects-scrub-rate", "off"]
    command = [*twistd, "-n", "--pidfile=", "storehouse", "--root", str(root), *doors, *https]
    with running("ours", command, port, directory / "log", environment={"PYTHONPATH": str(checkout)}) as server:
        key = json.loads(_storehouse(checkout, "user", "add", "bench", "--json", "--root", str(root)))
        curl = [tool("curl"), "--silent", "--show-error", "--fail", "--cacert", str(root / "tls" / "certificate.pem")]
        curl += ["--user", f"{key['key_id']}:{key['secret']}", "--max-time", "300"]
        url = f"https://localhost:{port}"
        time.sleep(1.5)  # until the key is known

        def visit() -> Figures:
            up = _timed(server, [*curl, "--upload-file", str(body), "--output", os.devnull, f"{url}/upload/body"])
            down = _timed(server, [*curl, "--output", os.devnull, f"{url}/download/body"])
            gib = body.stat().st_size / 2**30
            return Figures(
                {"up GiB/s": gib / up[0], "down GiB/s": gib / down[0]},
                {"up cpu s/GiB": up[1] / gib, "down cpu s/GiB": down[1] / gib},
                server.peak_rss,
            )

        yield visit


def _timed(server: Server, command: Sequence[str]) -> tuple[float, float]:
    before, begun = server.cpu_seconds(), time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchError(f"curl failed: {done.stderr}")
    return time.monotonic() - begun, server.cpu_seconds() - before


@contextlib.contextmanager
def _storing(checkout: Path, directory: Path, durable: bool, count: int) -> Iterator[Visit]:
    seeds = iter(range(1 << 30))

    def visit() -> Figures:
        task = {
            "what": "small_objects",
            "directory": str(directory / "objects"),
            "count": count,
            "flight": 32,
            "durable": durable,
            "seed": next(seeds),
        }
        command = [sys.executable, "-m", "bench.object_work", json.dumps(task)]
        environment = {**os.environ, "PYTHONPATH": str(checkout)}
        done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=checkout, check=False)
        if done.returncode:
            raise BenchError(f"{checkout}: {done.stderr[-2000:]}")
        found = json.loads(done.stdout)
        return Figures({name: value for name, value in found.items() if name.startswith(("store", "head"))})

    yield visit


#: The pieces of work: by name, what readies a version for visits.
Work = Callable[[Path, Path], contextlib.AbstractContextManager[Visit]]


def _work(seconds: float, body: Path, count: int) -> dict[str, Work]:
    scenarios: dict[str, tuple[Callable[[], Scenario], str]] = {
        "append-100b-1id": (partial(Appends, 256, 100, 1), "os"),
        "append-100b-1id-disk": (partial(Appends, 256, 100, 1), "disk"),
        "append-100b-1000id": (partial(Appends, 256, 100, 1000), "os"),
        "append-4096b-1000id": (partial(Appends, 256, 4096, 1000), "os"),
        "appendmulti-1000": (partial(Batches, 8, 100, 1000), "os"),
        "get-100b": (partial(Gets, 256), "os"),
        "getmulti-100": (partial(MultiGets, 32, 100), "os"),
    }
    work: dict[str, Work] = {
        name: partial(_appending, make=make, sync=sync, seconds=seconds) for name, (make, sync) in scenarios.items()
    }
    work["upload"] = partial(_uploading, body=body, sync="os")
    work["objects"] = partial(_storing, durable=False, count=count)
    work["objects-disk"] = partial(_storing, durable=True, count=count)
    return work


def _measured(name: str, work: Work, sides: dict[str, Path], directory: Path, rounds: int) -> str:
    """A table of one piece of work."""
    found: dict[str, list[Figures]] = {side: [] for side in sides}
    with contextlib.ExitStack() as stack:
        visits: dict[str, Visit] = {}
        for side, checkout in sides.items():
            place = directory / f"{name}-{side}"
            place.mkdir()
            stack.callback(shutil.rmtree, place, ignore_errors=True)
            visits[side] = stack.enter_context(work(checkout, place))
        for number in range(rounds + 1):
            for side, visit in visits.items():
                progress(f"{name}: round {number} of {rounds}, {side}")
                figures = visit()
                if number:
                    found[side].append(figures)
        progress("")
        memory = {side: last[-1].memory for side, last in found.items()}
        peak = {side: f"{tell() / 2**20:.0f}" for side, tell in memory.items() if tell is not None}
    lines = []
    first = found["before"][0]
    for kind in ("rates", "costs"):
        for figure in getattr(first, kind):
            spreads = {
                side: Spread(tuple(getattr(each, kind)[figure] for each in all_of)) for side, all_of in found.items()
            }
            before, after = spreads["before"], spreads["after"]
            lines.append(
                [
                    figure,
                    f"{before.median:,.4g}",
                    before.range(",.4g"),
                    f"{after.median:,.4g}",
                    after.range(",.4g"),
                    f"{after.median / before.median:.2f}",
                ]
            )
    if peak:
        ratio = int(peak["after"]) / max(1, int(peak["before"]))
        lines.append(["peak RSS MiB", peak["before"], "", peak["after"], "", f"{ratio:.2f}"])
    return format_table(name, ["", "before", "range", "after", "range", "after/before"], lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.versions",
        description="Measure this version of storehouse beside an earlier one. Needs wrk, curl, taskset and two processor cores.",
    )
    parser.add_argument(
        "--before", metavar="CHECKOUT", type=Path, required=True, help="the source tree of the other version"
    )
    parser.add_argument("--only", metavar="NAME", default="", help="only the work whose name contains this")
    parser.add_argument(
        "--seconds", metavar="S", type=int, default=2, help="of each visit with wrk (default: %(default)s)"
    )
    parser.add_argument(
        "--size", metavar="MIB", type=int, default=512, help="of what is uploaded (default: %(default)s)"
    )
    parser.add_argument(
        "--count", metavar="N", type=int, default=1000, help="objects of 4 KiB of each visit (default: %(default)s)"
    )
    dir_help = "where appends and objects are kept meanwhile: on a disk (default: %(default)s)"
    parser.add_argument("--dir", metavar="DIR", type=Path, default=CHECKOUT / ".bench", help=dir_help)
    add_rounds(parser)
    options = parser.parse_args(arguments)
    if not (options.before / "storehouse" / "__init__.py").is_file():
        parser.error(f"{options.before} is no source tree of storehouse")
    sides = {"before": options.before.resolve(), "after": CHECKOUT}
    try:
        with workspace(_memory, 3 << 30) as memory, workspace(options.dir, _NEED) as disk:
            body = memory / "body"
            chosen = {
                name: work for name, work in _work(options.seconds, body, options.count).items() if options.only in name
            }
            if not chosen:
                parser.error(f"no name contains {options.only!r}; there are: {', '.join(_work(0, body, 0))}")
            if "upload" in chosen:
                make_body(body, options.size << 20)
            for name, work in chosen.items():
                directory = memory if name == "upload" else disk
                print(_measured(name, work, sides, directory, options.rounds), end="\n\n", flush=True)
    except BenchError as error:
        progress("")
        print(f"bench.versions: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
