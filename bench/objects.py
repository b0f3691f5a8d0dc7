"""
The object store, and the namespace under it, one table for each claim: C{python -m bench.objects}.

Each round is a process of its own (L{bench.object_work}), so that nothing is warm but what the kernel keeps.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.harness import CHECKOUT, BenchError, Spread, add_rounds, format_table, progress, workspace

__all__ = ["TABLES", "main", "run"]

GIB = 1 << 30


def run(what: str, **task: Any) -> dict[str, float]:
    """
    One round of one piece of work. @return: what it took.

    @raise BenchError: if it fails.
    """
    command = [sys.executable, "-m", "bench.object_work", json.dumps({"what": what, **task})]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": str(CHECKOUT)}
    )
    if done.returncode:
        raise BenchError(f"{what} failed:\n{done.stderr[-4000:]}")
    found: dict[str, float] = json.loads(done.stdout)
    return found


class _Tables:
    """The tables, each with its claim's name."""

    def __init__(self, directory: Path, rounds: int, keys: int) -> None:
        self._directory = directory
        self._rounds = rounds
        self._keys = keys

    def _many(self, keys: int) -> str:
        """A namespace with that many keys in its index, and a sample of them in its tree."""
        directory = self._directory / f"keys-{keys}"
        if not directory.exists():
            progress(f"making {keys} keys")
            run("make_keys", directory=str(directory), keys=keys)
        return str(directory)

    def _rounds_of(self, title: str, what: str, **task: Any) -> dict[str, Spread]:
        outcomes = []
        for number in range(self._rounds + 1):
            progress(f"{title}: round {number} of {self._rounds}")
            outcome = run(what, seed=number, **task)
            if number:
                outcomes.append(outcome)
        progress("")
        return {name: Spread(tuple(outcome[name] for outcome in outcomes)) for name in outcomes[0]}

    def _table(self, title: str, columns: Sequence[str], rows: Sequence[tuple[str, dict[str, Spread]]]) -> str:
        lines = [[name, *(f"{found[column].median:.4g}" for column in columns)] for name, found in rows]
        ranges = [[f"  {name}: range", *(found[column].range(".4g") for column in columns)] for name, found in rows]
        both = [line for pair in zip(lines, ranges, strict=True) for line in pair]
        return format_table(title, ["", *columns], both)

    def publish(self) -> str:
        """New keys."""
        rows = []
        for durable in (True, False):
            for flight in (1, 32):
                name = f"{'durable' if durable else 'relaxed'}, {flight} in flight"
                directory = str(self._directory / f"publish-{durable}-{flight}")
                task = {"directory": directory, "count": 2000, "flight": flight, "durable": durable}
                rows.append((name, self._rounds_of(name, "publish", **task)))
        return self._table("publish: new keys", ["keys/s"], rows)

    def start(self) -> str:
        """How long a start takes."""
        rows = []
        for keys in (10_000, self._keys):
            directory = self._many(keys)
            for what in ("start_clean", "start_killed"):
                name = f"{keys} keys, {'stopped' if what == 'start_clean' else 'killed'}"
                rows.append((name, self._rounds_of(name, what, directory=directory)))
        return self._table("start", ["ms"], rows)

    def list(self) -> str:
        """Pages of 1000, and keys looked up."""
        rows = [
            (f"{keys} keys", self._rounds_of(f"{keys} keys", "read", directory=self._many(keys), keys=keys))
            for keys in (10_000, self._keys)
        ]
        return self._table(
            "list: 1000 keys or prefixes a page; one key",
            ["page ms", "page of prefixes ms", "walk to the end keys/s", "look_up/s"],
            rows,
        )

    def small(self) -> str:
        """Objects of 4 KiB, in the data space alone and through the object store."""
        rows = []
        for durable in (True, False):
            for flight in (1, 32, 256):
                name = f"{'durable' if durable else 'relaxed'}, {flight} in flight"
                directory = str(self._directory / f"small-{durable}")
                task = {"directory": directory, "count": 1000, "flight": flight, "durable": durable}
                rows.append((name, self._rounds_of(name, "small_objects", **task)))
        columns = ["space put/s", "store put/s", "put ratio", "space get/s", "store get/s", "get ratio", "head/s"]
        return self._table("small: objects of 4096 bytes", columns, rows)


TABLES = ("small", "publish", "start", "list")


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables that were asked for."""
    parser = argparse.ArgumentParser(prog="python -m bench.objects", description=__doc__)
    add_rounds(parser)
    parser.add_argument("--only", metavar="TEXT", default="", help="only tables whose names contain this")
    parser.add_argument(
        "--keys", metavar="N", type=int, default=1_000_000, help="keys of a large bucket (default: %(default)s)"
    )
    parser.add_argument(
        "--dir", metavar="DIR", type=Path, default=CHECKOUT / ".bench", help="where data are kept meanwhile"
    )
    options = parser.parse_args(arguments)
    try:
        with workspace(options.dir, 8 * GIB) as directory:
            tables = _Tables(directory, options.rounds, options.keys)
            for name in TABLES:
                if options.only in name:
                    print(getattr(tables, name.replace("-", "_"))(), end="\n\n", flush=True)
    except BenchError as error:
        sys.exit(f"bench.objects: {error}")


if __name__ == "__main__":
    main()
