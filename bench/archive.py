"""
The archive library beside the first program's own: C{python -m bench.archive --shoebox CHECKOUT}.

Each side writes and then reads the same records through its managers, one thread, each round in processes of its own. Nobody syncs: what is
measured is the programs, up to the page cache.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.harness import CHECKOUT, BenchError, Spread, add_rounds, format_table, pinned, progress, workspace
from bench.shoebox import COMMIT, convert

__all__ = ["SIDES", "main"]

#: Names in the tables, and the settings of managers. The first is the peer.
SIDES: dict[str, dict[str, Any]] = {
    "shoebox": {},
    "version 1": {"version": 1, "sync": "os"},
    "version 2": {"version": 2, "sync": "os"},
    "version 2, zstd": {"version": 2, "compression": "zstd", "sync": "os"},
}


def _run(path: Path | None, core: int | None, **task: Any) -> dict[str, float]:
    search = os.pathsep.join([str(CHECKOUT), *([] if path is None else [str(path)])])
    done = subprocess.run(
        [*pinned(core), sys.executable, "-m", "bench.archive_work", json.dumps(task)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": search},
        cwd=CHECKOUT,
    )
    if done.returncode:
        raise BenchError(f"{task['what']} of {task['side']} failed:\n{done.stderr[-4000:]}")
    found: dict[str, float] = json.loads(done.stdout)
    return found


def _measure(directory: Path, peer: Path, rounds: int, count: int, core: int | None) -> dict[str, dict[str, Spread]]:
    values: dict[str, dict[str, list[float]]] = {
        name: {"write": [], "write cpu": [], "read": [], "read cpu": [], "bytes": []} for name in SIDES
    }
    for number in range(rounds + 1):
        for name, how in SIDES.items():
            progress(f"round {number} of {rounds}: {name}")
            side = "shoebox" if name == "shoebox" else "ours"
            task = {"side": side, "directory": str(directory / "archives"), "count": count}
            (directory / "archives").mkdir()
            wrote = _run(peer, core, what="write", how=how, **task)
            if not number:
                _run(peer, core, what="check", **task)
            read = _run(peer, core, what="read", **task)
            if number:
                values[name]["write"].append(wrote["seconds"])
                values[name]["write cpu"].append(wrote["cpu"])
                values[name]["read"].append(read["seconds"])
                values[name]["read cpu"].append(read["cpu"])
                values[name]["bytes"].append(wrote["bytes"])
            shutil.rmtree(directory / "archives")
    progress("")
    return {
        name: {what: Spread(tuple(figures)) for what, figures in by_what.items()} for name, by_what in values.items()
    }


def _table(what: str, found: dict[str, dict[str, Spread]], count: int) -> str:
    peer = found["shoebox"][what].median
    payload = found["shoebox"]["bytes"].median
    rows = []
    for name, by_what in found.items():
        rates = Spread(tuple(count / seconds for seconds in by_what[what].values))
        rows.append(
            [
                name,
                f"{rates.median:.0f}",
                rates.range(".0f"),
                # The same records for all: the bytes that the peer's format has for them.
                f"{payload * rates.median / count / 1e6:.0f}",
                f"{peer / by_what[what].median:.2f}",
                f"{by_what[what + ' cpu'].median / count * 1e6:.2f}",
                f"{by_what['bytes'].median / count:.0f}",
            ]
        )
    title = f"{what}: {count} notifications of {payload / count:.0f} bytes"
    return format_table(
        title, ["", "records/s", "lowest-highest", "MB/s", "x peer", "cpu us/record", "bytes/record"], rows
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(prog="python -m bench.archive", description=__doc__)
    parser.add_argument(
        "--shoebox",
        metavar="DIR",
        type=Path,
        default=os.environ.get("STOREHOUSE_BENCH_SHOEBOX"),
        help=f"a clone of openstack-archive/stacktach-shoebox that has commit {COMMIT} (default: STOREHOUSE_BENCH_SHOEBOX)",
    )
    add_rounds(parser)
    parser.add_argument(
        "--records", metavar="N", type=int, default=100_000, help="how many a round (default: %(default)s)"
    )
    parser.add_argument("--core", metavar="N", type=int, default=None, help="keep all on one processor core")
    parser.add_argument(
        "--dir", metavar="DIR", type=Path, default=CHECKOUT / ".bench", help="where data are kept meanwhile"
    )
    options = parser.parse_args(arguments)
    try:
        if options.shoebox is None:
            raise BenchError("the peer is missing: name its checkout with --shoebox, or in STOREHOUSE_BENCH_SHOEBOX")
        with workspace(options.dir, 2 << 30) as directory:
            peer = convert(Path(options.shoebox), directory / "peer")
            found = _measure(directory, peer, options.rounds, options.records, options.core)
    except BenchError as error:
        sys.exit(f"bench.archive: {error}")
    for what in ("write", "read"):
        print(_table(what, found, options.records), end="\n\n", flush=True)


if __name__ == "__main__":
    main()
