"""
The upload door: C{python -m bench.uploads --uploader CLONE}.

C{large}: one file at a time over TLS, as a form, by PUT and back, beside the seed's Go program and nginx.  C{many}: 32
smaller ones at once.  C{memory}: what 500 slow uploads and 20 fast ones hold.  README.rst tells how to read the tables.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bench.harness import CHECKOUT, BenchError, Spread, add_rounds, format_table, progress, workspace
from bench.upload import make_body
from bench.uploads_peers import (
    OURS,
    Side,
    Transfer,
    build_uploader,
    client_cpu,
    make_certificate,
    nginx,
    storehouse,
    uploader,
)

__all__ = ["TABLES", "main"]

MIB = 1 << 20
GIB = 1 << 30

#: In memory, so that not the disk is measured.
_memory = Path("/dev/shm/storehouse-bench")

#: Uploads at once, and their size.
_MANY = 32
_EACH = 64 * MIB

#: Those who are slow, what each of them sends in which time; and those who send L{_EACH} meanwhile.
_SLOW, _SLOW_SIZE, _SLOW_SECONDS, _FAST = 500, MIB, 20, 20

#: What the server says of the memory of uploads, in bytes.
_metrics = ("storehouse_upload_memory_budget_bytes", "storehouse_upload_memory_peak_bytes")


class _Tables:
    """
    The tables.

    @param binary: the Go program; C{None} to do without.
    @param only: of the servers, those whose names contain this.
    """

    def __init__(self, directory: Path, binary: Path | None, size: int, rounds: int, only: str) -> None:
        self._directory = directory
        self._binary = binary
        self._size = size
        self._rounds = rounds
        self._ours = [name for name in OURS if only in name]

    @contextlib.contextmanager
    def _sides(self) -> Iterator[list[Side]]:
        with contextlib.ExitStack() as stack:
            enter = stack.enter_context
            sides = [] if self._binary is None else [enter(uploader(self._binary, self._directory))]
            sides.append(enter(nginx(self._directory)))
            sides += [enter(storehouse(name, self._directory)) for name in self._ours]
            yield sides

    def large(self) -> str:
        """One file at a time, each way."""
        body = self._directory / "body"
        make_body(body, self._size)
        found: dict[str, dict[str, list[Transfer]]] = {"upload as a form": {}, "upload by PUT": {}, "download": {}}
        with self._sides() as sides:
            ciphers = ", ".join(sorted({side.cipher() for side in sides}))
            for number in range(self._rounds + 1):
                for side in sides:
                    progress(f"large: round {number} of {self._rounds}, {side.name}")
                    for way, transfer in self._visit(side, body, compare=not number):
                        if number:
                            found[way].setdefault(side.name, []).append(transfer)
            peaks = {side.name: side.server.peak_rss() for side in sides}
        progress("")
        body.unlink()
        gib = self._size / GIB
        return "\n\n".join(
            _table(f"large: {way}, {gib:g} GiB by curl, {ciphers}", of_way, peaks, gib) for way, of_way in found.items()
        )

    def _visit(self, side: Side, body: Path, compare: bool) -> Iterator[tuple[str, Transfer]]:
        if side.form_url:
            yield "upload as a form", side.send(body)
            if compare:
                side.compare(body, self._directory / "back")
        if side.put_url:
            if side.form_url:
                side.remove(body)
            yield "upload by PUT", side.put(body)
            if compare:
                side.compare(body, self._directory / "back")
        yield "download", side.get(body)
        side.remove(body)

    def many(self) -> str:
        """Smaller ones at once."""
        bodies = [self._directory / f"body-{number}" for number in range(_MANY)]
        for body in bodies:
            make_body(body, _EACH)
        found: dict[str, list[Transfer]] = {}
        with self._sides() as sides:
            for number in range(self._rounds + 1):
                for side in sides:
                    progress(f"many: round {number} of {self._rounds}, {side.name}")
                    transfer = _at_once(side, bodies)
                    for body in bodies:
                        if not number:
                            side.compare(body, self._directory / "back")
                        side.remove(body)
                    if number:
                        found.setdefault(side.name, []).append(transfer)
            peaks = {side.name: side.server.peak_rss() for side in sides}
        progress("")
        for body in bodies:
            body.unlink()
        title = f"many: {_MANY} uploads of {_EACH // MIB} MiB at once, by as many curl; as forms, nginx by PUT"
        return _table(title, found, peaks, _MANY * _EACH / GIB)

    def memory(self) -> str:
        """What is held for many uploads, most of them slow."""
        body = self._directory / "fast"
        make_body(body, _EACH)
        rows = []
        for name in self._ours:
            progress(f"memory: {name}")
            with storehouse(name, self._directory) as side:
                before = side.server.peak_rss()
                began = time.perf_counter()
                _drip(side, body)
                seconds = time.perf_counter() - began
                sizes = (before, side.server.peak_rss(), *_held(side))
            rows.append([name, f"{seconds:.0f}", *(f"{size / MIB:.1f}" for size in sizes)])
        progress("")
        body.unlink()
        slow = f"{_SLOW} uploads of {_SLOW_SIZE // MIB} MiB in {_SLOW_SECONDS} s each"
        head = ["server", "seconds", "RSS MiB before", "peak RSS MiB", "budget MiB", "most held MiB"]
        return format_table(f"memory: {slow}, and {_FAST} of {_EACH // MIB} MiB as fast as they can", head, rows)


def _at_once(side: Side, bodies: Sequence[Path]) -> Transfer:
    cpu, used = side.server.cpu_seconds(), client_cpu()
    began = time.perf_counter()
    clients = [subprocess.Popen(side.curl("-f", *side.upload(body)), stderr=subprocess.PIPE) for body in bodies]
    errors = [client.communicate()[1] for client in clients]
    seconds = time.perf_counter() - began
    for client, error in zip(clients, errors, strict=True):
        if client.returncode:
            raise BenchError(f"{side.name}: curl failed: {error.decode()}")
    return Transfer(seconds, side.server.cpu_seconds() - cpu, client_cpu() - used)


def _drip(side: Side, body: Path) -> None:
    """
    Upload slowly, and C{body} fast, many times, meanwhile.

    @raise BenchError: unless all are taken.
    """
    task: dict[str, Any] = {"url": side.form_url, "certificate": str(side.certificate), "key": side.key}
    task |= {"count": _SLOW, "size": _SLOW_SIZE, "seconds": _SLOW_SECONDS}
    slow = subprocess.Popen(
        [sys.executable, "-m", "bench.uploads_load", json.dumps(task)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        text=True,
    )
    assert slow.stdout is not None
    try:
        # It says when each of them has begun.
        if slow.stdout.readline():
            _at_once(side, [body] * _FAST)
        error = slow.communicate()[1]
    finally:
        slow.kill()
    if slow.returncode:
        raise BenchError(f"{side.name}: the slow uploads failed:\n{error[-4000:]}")


def _held(side: Side) -> list[float]:
    """The values of the metrics."""
    url = side.form_url.removesuffix("/upload") + "/metrics"
    done = subprocess.run(side.curl("-f", url), capture_output=True, text=True, check=False)
    found = [re.search(rf"^{name} (\S+)$", done.stdout, re.MULTILINE) for name in _metrics]
    values = [float(each[1]) for each in found if each is not None]
    if len(values) != len(_metrics):
        raise BenchError(f"{side.name} has no metrics {', '.join(_metrics)}: {done.stderr}{done.stdout[:500]}")
    return values


def _table(title: str, found: dict[str, list[Transfer]], peaks: dict[str, int], gib: float) -> str:
    rates = {name: Spread(tuple(gib / each.seconds for each in of_name)) for name, of_name in found.items()}
    peers = [name for name in rates if name not in OURS]
    rows = []
    for name, rate in rates.items():
        cells = [f"{rate.median:.2f}", rate.range(".2f")]
        cells += [f"{rate.median / rates[peer].median:.2f}" for peer in peers]
        for cpu in ([each.cpu for each in found[name]], [each.client_cpu for each in found[name]]):
            cells.append(f"{Spread(tuple(cpu)).median / gib:.2f}")
        rows.append([name, *cells, f"{peaks[name] / MIB:.0f}"])
    head = ["server", "GiB/s", "lowest-highest", *(f"x {peer}" for peer in peers)]
    return format_table(title, [*head, "cpu s/GiB", "client's", "peak RSS MiB"], rows)


#: By name.
TABLES = ("large", "many", "memory")


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench.uploads",
        description="Measure uploads and downloads over HTTPS beside the seed's Go program and nginx. Needs curl, openssl, nginx with its DAV module, and Go.",
    )
    add_rounds(parser)
    parser.add_argument(
        "--uploader", metavar="CLONE", type=Path, help="of rfielding/uploader; without it that program is left out"
    )
    parser.add_argument("--only", metavar="TEXT", default="", help=f"only tables whose names contain this: {TABLES}")
    parser.add_argument(
        "--ours", metavar="TEXT", default="", help=f"only those of our rows whose names contain this: {tuple(OURS)}"
    )
    parser.add_argument(
        "--size", metavar="MIB", type=int, default=1024, help="of the large file (default: %(default)s)"
    )
    dir_help = "where to keep files meanwhile (default: %(default)s, in memory, so that not the disk is measured)"
    parser.add_argument("--dir", metavar="DIR", type=Path, default=_memory, help=dir_help)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables that were asked for; the exit status."""
    parser = _arguments()
    options = parser.parse_args(arguments)
    chosen = [name for name in TABLES if options.only in name]
    if options.rounds < 1 or options.size < 1:
        parser.error("--rounds and --size must be at least 1")
    if not chosen or not any(options.ours in name for name in OURS):
        parser.error("--only or --ours leaves nothing")
    # The body and two copies of it: one that is stored, and one that came back.
    need = max(3 * options.size * MIB if "large" in chosen else 0, 3 * _MANY * _EACH) + 256 * MIB
    try:
        with workspace(options.dir, need) as directory:
            binary = None if options.uploader is None else build_uploader(options.uploader, directory)
            for name in chosen:
                place = directory / name
                place.mkdir()
                make_certificate(place)
                tables = _Tables(place, binary, options.size * MIB, options.rounds, options.ours)
                print(getattr(tables, name)(), end="\n\n", flush=True)
                shutil.rmtree(place)
    except BenchError as error:
        progress("")
        print(f"bench.uploads: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
