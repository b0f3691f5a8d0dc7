"""
The SFSP door: C{python -m bench.sfsp}.

C{large}: one chunk each way, beside a bare Twisted protocol that moves the same bytes between socket and file, and nc.
C{small}: chunks of 64 KiB, beside the object store without a socket. C{ids}: the list of a file of many chunks.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

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
from bench.objects import run as run_objects
from bench.upload import make_body

__all__ = ["main"]

MIB = 1 << 20
CHUNK = 64 << 10

#: Unanswered requests of a connection that pipelines.
DEPTH = 16


def load(what: str, **task: Any) -> Any:
    """
    Have one piece of work done by a client. @return: the seconds that it took.

    @raise BenchError: if it fails.
    """
    command = [sys.executable, "-m", "bench.sfsp_load", json.dumps({"what": what, **task})]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": str(CHECKOUT)}
    )
    if done.returncode:
        raise BenchError(f"{what} failed:\n{done.stderr[-4000:]}")
    return json.loads(done.stdout)


@contextlib.contextmanager
def storehouse(directory: Path, sync: str) -> Iterator[Server]:
    """A running storehouse, with nothing open but SFSP."""
    port = free_port()
    twistd = Path(sys.executable).parent / "twistd"
    command = [sys.executable, str(twistd), "-n", "--pidfile=", "--reactor=storehouse", "storehouse"]
    command += [
        "--root",
        str(directory),
        "--append",
        "off",
        "--https",
        "off",
        "--s3",
        "off",
        "--admin",
        "off",
        "--objects-sync",
        sync,
    ]
    command += ["--sfsp", f"tcp:{port}:interface={HOST}", "--objects-scrub-rate", "off"]
    with running(f"storehouse, {sync}", command, port, directory.with_suffix(".log")) as server:
        yield server


@contextlib.contextmanager
def bare(directory: Path) -> Iterator[Server]:
    """The bare protocol."""
    directory.mkdir()
    port = free_port()
    command = [sys.executable, "-m", "bench.sfsp_peer", str(port), str(directory)]
    with running("bare protocol", command, port, directory.with_suffix(".log")) as server:
        yield server


def _nc(port: int, **files: Any) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [tool("nc"), "-l", "-N", HOST, str(port)], stdin=files.get("stdin"), stdout=files["stdout"]
    )
    # It listens once /proc says so; to connect would use up its only connection.
    wanted = f"0100007F:{port:04X}"
    for _ in range(200):
        if any(wanted in line and " 0A " in line for line in Path("/proc/net/tcp").read_text().splitlines()):
            return process
        time.sleep(0.02)
    process.kill()
    raise BenchError("nc did not listen")


def _nc_send(body: Path, directory: Path) -> float:
    port = free_port()
    with (directory / "nc").open("wb") as file, _nc(port, stdin=subprocess.DEVNULL, stdout=file) as process:
        seconds = load("send_large", kind="nc", port=port, path=str(body))
        process.wait()
    return seconds


def _nc_receive(body: Path, size: int) -> float:
    port = free_port()
    with body.open("rb") as file, _nc(port, stdin=file, stdout=subprocess.DEVNULL) as process:
        seconds = load("receive_large", kind="nc", port=port, size=size)
        process.wait()
    return seconds


def large(directory: Path, size: int, rounds: int) -> str:
    """One chunk each way."""
    body = directory / "body"
    make_body(body, size)
    with body.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    sent: dict[str, list[float]] = {}
    received: dict[str, list[float]] = {}
    with contextlib.ExitStack() as stack:
        peer = stack.enter_context(bare(directory / "bare"))
        ours = {sync: stack.enter_context(storehouse(directory / sync, sync)) for sync in ("disk", "os")}
        for number in range(rounds + 1):
            progress(f"large: round {number} of {rounds}")
            os.sync()
            check = {"sha256": sha256} if not number else {}
            found = {"bare protocol": (load("send_large", kind="bare", port=peer.port, path=str(body)),)}
            found["bare protocol"] += (load("receive_large", kind="bare", port=peer.port, size=size, **check),)
            found["nc"] = (_nc_send(body, directory), _nc_receive(body, size))
            for server in ours.values():
                found[server.name] = (load("send_large", kind="sfsp", port=server.port, path=str(body)),)
                found[server.name] += (load("receive_large", kind="sfsp", port=server.port, size=size, **check),)
            if number:
                for name, (there, back) in found.items():
                    sent.setdefault(name, []).append(size / 2**30 / there)
                    received.setdefault(name, []).append(size / 2**30 / back)
        peaks = {server.name: server.peak_rss() for server in (peer, *ours.values())}
    progress("")
    rows = []
    for name in sent:
        rates = [Spread(tuple(of[name])) for of in (sent, received)]
        first = [Spread(tuple(of["bare protocol"])) for of in (sent, received)]
        cells = [name]
        for rate, beside in zip(rates, first, strict=True):
            cells += [f"{rate.median:.2f}", rate.range(".2f"), f"{rate.median / beside.median:.2f}"]
        rows.append([*cells, f"{peaks[name] / MIB:.0f}" if name in peaks else "-"])
    head = ["", "send GiB/s", "range", "x bare", "receive GiB/s", "range", "x bare", "peak RSS MiB"]
    return format_table(f"large: one chunk of {size / 2**30:g} GiB each way", head, rows)


def small(directory: Path, count: int, rounds: int) -> str:
    """Many chunks."""
    rows = []
    with contextlib.ExitStack() as stack:
        ours = {sync: stack.enter_context(storehouse(directory / f"small-{sync}", sync)) for sync in ("disk", "os")}
        for sync, server in ours.items():
            for connections in (1, 32):
                for depth in (1, DEPTH):
                    title = f"{'durable' if sync == 'disk' else 'relaxed'}, {connections} x {depth}"
                    rates: dict[str, list[float]] = {}
                    for number in range(rounds + 1):
                        progress(f"{title}: round {number} of {rounds}")
                        found = run_objects(
                            "chunks",
                            directory=str(directory / f"store-{sync}"),
                            count=count,
                            flight=connections * depth,
                            durable=sync == "disk",
                            size=CHUNK,
                            seed=number,
                        )
                        task = {"connections": connections, "depth": depth, "name": f"{connections}-{depth}-{number}"}
                        for what in ("send", "receive"):
                            seconds = load(f"{what}_small", port=server.port, size=CHUNK, count=count, **task)
                            found[f"our {what}"] = count / seconds
                        if number:
                            for name, value in found.items():
                                rates.setdefault(name, []).append(value)
                    rows.append([title, *_cells(rates, "put", "our send"), *_cells(rates, "get", "our receive")])
        peak = max(server.peak_rss() for server in ours.values())
    progress("")
    head = ["connections x unanswered", "store put/s", "send/s", "range", "ratio"]
    head += ["store get/s", "receive/s", "range", "ratio"]
    return format_table(f"small: chunks of 64 KiB; peak RSS {peak / MIB:.0f} MiB", head, rows)


def _cells(rates: dict[str, list[float]], beside: str, ours: str) -> list[str]:
    yardstick, rate = Spread(tuple(rates[beside])), Spread(tuple(rates[ours]))
    return [f"{yardstick.median:.0f}", f"{rate.median:.0f}", rate.range(".0f"), f"{rate.median / yardstick.median:.2f}"]


def ids(directory: Path, keys: int, rounds: int) -> str:
    """A list that is too long to hold."""
    root = directory / "ids"
    progress(f"making {keys} keys")
    run_objects("make_keys", directory=str(root / "namespace"), keys=keys, bucket="sfsp", form="big/{:020d}")
    found = []
    with storehouse(root, "os") as server:
        before = server.peak_rss()
        for number in range(rounds + 1):
            progress(f"ids: round {number} of {rounds}")
            seconds = load("list_ids", port=server.port, name="big", count=keys)
            if number:
                found.append(seconds)
        peak = server.peak_rss()
    progress("")
    first, last = (Spread(tuple(each)) for each in zip(*found, strict=True))
    row = [f"{keys}", f"{first.median:.2f}", f"{last.median:.2f}", f"{before / MIB:.0f}", f"{peak / MIB:.0f}"]
    head = ["IDs", "s to the first byte", "s to the last", "RSS MiB before", "peak RSS MiB"]
    return format_table("ids: the list of a file's chunks", head, [row])


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables that were asked for."""
    parser = argparse.ArgumentParser(prog="python -m bench.sfsp", description=__doc__)
    add_rounds(parser)
    parser.add_argument("--only", metavar="TEXT", default="", help="only tables whose names contain this")
    parser.add_argument(
        "--size", metavar="MIB", type=int, default=4096, help="of the large chunk (default: %(default)s)"
    )
    parser.add_argument("--count", metavar="N", type=int, default=2000, help="small chunks (default: %(default)s)")
    parser.add_argument("--ids", metavar="N", type=int, default=1_000_000, help="of the list (default: %(default)s)")
    parser.add_argument(
        "--dir", metavar="DIR", type=Path, default=CHECKOUT / ".bench", help="where data are kept meanwhile"
    )
    options = parser.parse_args(arguments)
    try:
        with workspace(options.dir, 7 * options.size * MIB if "large".count(options.only) else 8 << 30) as directory:
            if options.only in "large":
                print(large(directory, options.size * MIB, options.rounds), end="\n\n", flush=True)
            if options.only in "small":
                print(small(directory, options.count, options.rounds), end="\n\n", flush=True)
            if options.only in "ids":
                print(ids(directory, options.ids, options.rounds), flush=True)
    except BenchError as error:
        sys.exit(f"bench.sfsp: {error}")


if __name__ == "__main__":
    main()
