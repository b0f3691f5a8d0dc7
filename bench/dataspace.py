"""
The object layer beside the bare work that it does: C{python -m bench.dataspace}.

Both sides are processes of their own, started in turn on the same file system; what is compared is the time from the
first byte to the last one that is safe, not the start of the process.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import attrs

from bench.flushes import flush_table
from bench.harness import CHECKOUT, BenchError, Spread, add_rounds, format_table, progress, workspace
from bench.space_work import SMALL
from bench.upload import make_body
from storehouse.storage.dataspace.formats import HASHES

__all__ = ["Outcome", "main", "run"]

MIB = 1 << 20
GIB = 1 << 30


@attrs.frozen
class Outcome:
    """
    What one round of one side took.

    @ivar seconds: of the work.
    @ivar peak: the most memory that the process had, in bytes.
    """

    seconds: float
    peak: int


def run(what: str, **task: Any) -> Outcome:
    """@raise BenchError: if it fails."""
    command = [sys.executable, "-m", "bench.space_work", json.dumps({"what": what, **task})]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": str(CHECKOUT)}
    )
    if done.returncode:
        raise BenchError(f"{what} failed:\n{done.stderr[-4000:]}")
    return Outcome(**json.loads(done.stdout))


def _compare(
    title: str,
    unit: str,
    amount: float,
    rounds: int,
    rows: Sequence[tuple[str, Callable[[int], Outcome], Callable[[int], Outcome]]],
) -> str:
    """
    A table: for each row the rates of the yardstick and of ours, and the ratio of their medians.

    @param amount: what each does in one round, in C{unit}s.
    """
    bare: dict[str, list[Outcome]] = {name: [] for name, _, _ in rows}
    ours: dict[str, list[Outcome]] = {name: [] for name, _, _ in rows}
    for number in range(rounds + 1):
        for name, yardstick, our in rows:
            progress(f"{title}: round {number} of {rounds}, {name}")
            for outcomes, work in ((bare, yardstick), (ours, our)):
                outcome = work(number)
                if number:
                    outcomes[name].append(outcome)
    progress("")
    lines = []
    for name, _, _ in rows:
        yard, rate = (Spread(tuple(amount / outcome.seconds for outcome in side[name])) for side in (bare, ours))
        lines.append(
            [
                name,
                f"{yard.median:.5g}",
                f"{rate.median:.5g}",
                rate.range(".5g"),
                f"{rate.median / yard.median:.2f}",
                f"{max(outcome.peak for outcome in ours[name]) / MIB:.0f}",
            ]
        )
    return format_table(title, ["", f"bare {unit}/s", f"ours {unit}/s", "range", "ratio", "peak MiB"], lines)


class _Tables:
    """The tables, each with its claim's name."""

    def __init__(self, directory: Path, rounds: int, size: int) -> None:
        self._directory = directory
        self._rounds = rounds
        self._size = size
        self._body = directory / "body"

    def _store(self, name: str) -> str:
        path = self._directory / name
        path.mkdir(exist_ok=True)
        return str(path)

    def _source(self) -> str:
        if not self._body.exists():
            make_body(self._body, self._size)
        return str(self._body)

    def _fresh(self, what: str, **task: Any) -> Outcome:
        """In a directory of its own, with nothing waiting to be written from before."""
        directory = self._store("fresh")
        os.sync()
        try:
            return run(what, directory=directory, **task)
        finally:
            shutil.rmtree(directory)

    def large_put(self) -> str:
        """One large object in, with each hash."""
        source = self._source()

        def side(what: str, hash: str) -> Callable[[int], Outcome]:
            return lambda number: self._fresh(what, source=source, hash=hash)

        rows = [(hash, side("bare_put", hash), side("our_put", hash)) for hash in HASHES]
        return _compare("large-put: one object, on disk", "GiB", self._size / GIB, self._rounds, rows)

    def _stored(self, hash: str) -> dict[str, str]:
        directory = self._store(f"stored-{hash}")
        if not os.listdir(directory):
            run("our_put", directory=directory, source=self._source(), hash=hash)
        return {"directory": directory, "source": self._source(), "hash": hash}

    def large_get(self) -> str:
        """One large object out, with each hash."""

        def side(what: str, hash: str) -> Callable[[int], Outcome]:
            return lambda number: run(what, **self._stored(hash), compare=not number)

        rows = [(hash, side("bare_get", hash), side("our_get", hash)) for hash in HASHES]
        return _compare("large-get: one object, verified", "GiB", self._size / GIB, self._rounds, rows)

    def ranges(self) -> str:
        """Ranges of 64 KiB at random, one after the other."""
        count = 1000

        def side(what: str, hash: str) -> Callable[[int], Outcome]:
            return lambda number: run(what, **self._stored(hash), count=count, seed=number)

        rows = [(hash, side("bare_ranges", hash), side("our_ranges", hash)) for hash in HASHES]
        return _compare("ranges: 64 KiB at random, in blocks of 1 MiB", "", count, self._rounds, rows)

    def small_put(self) -> str:
        """Objects of 4 KiB in."""
        count = 2000
        rows = []
        for durable in (True, False):
            for flight in (1, 32, 256):
                name = f"{'durable' if durable else 'relaxed'}, {flight} in flight"
                rows.append(
                    (name, self._small("bare", flight, durable, count), self._small("our", flight, durable, count))
                )
        return _compare(f"small-put: objects of {SMALL} bytes", "", count, self._rounds, rows)

    def _small(self, side: str, flight: int, durable: bool, count: int) -> Callable[[int], Outcome]:
        # Into the directories of the rounds before: the first directories in a part of the disk take ten times as long.
        directory = self._store(f"small-{side}")
        taken = [0]

        def work(number: int) -> Outcome:
            first = (flight * 2 + durable) * 10**9 + taken[0]
            taken[0] += count
            os.sync()
            return run(
                f"{side}_small_puts", directory=directory, count=count, flight=flight, durable=durable, first=first
            )

        return work

    def small_get(self) -> str:
        """Objects of 4 KiB out."""
        objects, count = 2000, 10000
        directory = self._store("small-gets")
        run("our_small_puts", directory=directory, count=objects, flight=32, durable=False, first=0)

        def side(what: str, flight: int) -> Callable[[int], Outcome]:
            return lambda number: run(
                what, directory=directory, count=count, flight=flight, objects=objects, seed=number
            )

        rows = [
            (f"{flight} in flight", side("bare_small_gets", flight), side("our_small_gets", flight))
            for flight in (1, 32, 256)
        ]
        return _compare(f"small-get: objects of {SMALL} bytes, verified", "", count, self._rounds, rows)

    def memory(self) -> str:
        """The memory of many large puts at once."""
        count, size = 200, 64 * MIB
        outcome = self._fresh("our_many_puts", count=count, size=size)
        rate = count * size / GIB / outcome.seconds
        return format_table(
            f"memory: {count} objects of {size // MIB} MiB at once",
            ["", "GiB/s", "peak MiB"],
            [["ours", f"{rate:.2f}", f"{outcome.peak / MIB:.0f}"]],
        )

    def flush(self) -> str:
        """Ways to bring small objects to disk."""
        return flush_table(Path(self._store("flush")), self._rounds)


TABLES = ("large-put", "large-get", "ranges", "small-put", "small-get", "memory", "flush")


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables that were asked for."""
    parser = argparse.ArgumentParser(prog="python -m bench.dataspace", description=__doc__)
    add_rounds(parser)
    parser.add_argument("--only", metavar="TEXT", default="", help="only tables whose names contain this")
    parser.add_argument(
        "--size", metavar="MIB", type=int, default=1024, help="MiB of large objects (default: %(default)s)"
    )
    parser.add_argument(
        "--dir", metavar="DIR", type=Path, default=CHECKOUT / ".bench", help="where data are kept meanwhile"
    )
    options = parser.parse_args(arguments)
    if options.rounds < 1:
        parser.error("--rounds must be at least 1")
    if options.size < 1:
        parser.error("--size must be at least 1")
    wanted = [name for name in TABLES if options.only in name]
    if not wanted:
        parser.error(f"--only {options.only!r} names none of {', '.join(TABLES)}")
    try:
        with workspace(options.dir, 8 * options.size * MIB + 16 * GIB) as directory:
            tables = _Tables(directory, options.rounds, options.size * MIB)
            for name in wanted:
                print(getattr(tables, name.replace("-", "_"))(), end="\n\n", flush=True)
    except BenchError as error:
        sys.exit(f"bench.dataspace: {error}")


if __name__ == "__main__":
    main()
