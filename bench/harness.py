"""
What all measurements share: servers as child processes, what they cost, and tables.

The method is always the same.  All servers of a table are up at once and are visited in turn, round after round, so
that whatever else the machine does falls on all of them alike; the first round warms up and is thrown away; figures
are medians over the other rounds, and comparisons are ratios of medians within one table.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import attrs

__all__ = [
    "CHECKOUT",
    "HOST",
    "BenchError",
    "Server",
    "Spread",
    "add_rounds",
    "format_table",
    "free_port",
    "pinned",
    "progress",
    "running",
    "tool",
    "workspace",
]

#: The source tree that is measured.
CHECKOUT = Path(__file__).resolve().parent.parent

#: Everything listens on the loopback interface.
HOST = "127.0.0.1"

_ticks_per_second = os.sysconf("SC_CLK_TCK")


class BenchError(Exception):
    """A measurement that cannot be made, or that must not be believed. Its text is for the person who started it."""


@attrs.frozen
class Spread:
    """The values that one figure had over the rounds."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle one."""
        return statistics.median(self.values)

    def range(self, form: str) -> str:
        """The lowest and the highest, each formatted, as in C{"61.2-70.9"}."""
        return f"{format(min(self.values), form)}-{format(max(self.values), form)}"


# -- processes ---------------------------------------------------------------------------------------------------------


@attrs.define
class Server:
    """
    A server under measurement.

    @ivar name: its name in the tables.
    @ivar port: where it listens on L{HOST}.
    @ivar process: its first process; what that one forked is counted too.
    @ivar log: the file with its output.
    """

    name: str
    port: int
    process: subprocess.Popen[bytes]
    log: Path

    def cpu_seconds(self) -> float:
        """The processor time, of user and system, that it has used so far."""
        return sum(_cpu_ticks(pid) for pid in self._pids()) / _ticks_per_second

    def thread_seconds(self) -> float:
        """The processor time that the first thread of its first process has used so far: that of a reactor, say."""
        pid = self.process.pid
        return int(Path(f"/proc/{pid}/task/{pid}/schedstat").read_text().split()[0]) / 1e9

    def peak_rss(self) -> int:
        """The most memory that it has had resident, in bytes."""
        return sum(_peak_rss(pid) for pid in self._pids())

    def wait_until_listening(self, seconds: float = 30) -> None:
        """
        Return when it accepts connections.

        @raise BenchError: with its output, if it ends or does not listen in time.
        """
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise BenchError(f"{self.name} ended with status {self.process.returncode}:\n{self._output()}")
            with contextlib.suppress(OSError), socket.create_connection((HOST, self.port), timeout=1):
                return
            time.sleep(0.05)
        raise BenchError(f"{self.name} did not listen on port {self.port} within {seconds} s:\n{self._output()}")

    def stop(self, seconds: float = 60) -> None:
        """Ask it to stop, and kill it if it does not within so many seconds."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(seconds)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def _pids(self) -> list[int]:
        pids = [self.process.pid]
        for pid in pids:
            with contextlib.suppress(OSError):
                pids.extend(int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
        return pids

    def _output(self) -> str:
        return self.log.read_text(errors="replace")[-4000:]


def _cpu_ticks(pid: int) -> int:
    # proc(5): utime and stime are fields 14 and 15; field 2 is the name in parentheses, which may hold anything.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def _peak_rss(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def pinned(core: int | None) -> list[str]:
    """The words to put before a command so that it stays on one processor core; none for L{None}."""
    return [] if core is None else [tool("taskset"), "-c", str(core)]


def free_port() -> int:
    """A TCP port that nothing listens on just now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def running(
    name: str,
    command: Sequence[str],
    port: int,
    log: Path,
    *,
    core: int | None = None,
    environment: Mapping[str, str] | None = None,
    quiet: bool = False,
) -> Iterator[Server]:
    """
    Run a server until the block is left.

    @param log: where its output goes.
    @param environment: variables to set besides ours.
    @param quiet: throw its output away: for programs that log every request, which should not pay for a file too.
    @raise BenchError: if it does not come up.
    """
    # Our package is found in the checkout, whether it is installed or not.
    variables = {**os.environ, "PYTHONPATH": str(CHECKOUT), **(environment or {})}
    log.touch()
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*pinned(core), *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL if quiet else output,
            stderr=subprocess.STDOUT,
            env=variables,
            cwd=log.parent,
        )
    server = Server(name, port, process, log)
    try:
        server.wait_until_listening()
        yield server
    finally:
        server.stop()


# -- surroundings ------------------------------------------------------------------------------------------------------


def tool(name: str) -> str:
    """
    The path of an installed program.

    @raise BenchError: if it is not installed.
    """
    # Servers are often in a directory that only root has on its path.
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
    found = shutil.which(name, path=path)
    if found is None:
        raise BenchError(f"{name} is not installed")
    return found


@contextlib.contextmanager
def workspace(parent: Path, need: int) -> Iterator[Path]:
    """
    A directory for the data of a measurement, removed when the block is left; so is its parent if we made it.

    @param need: the bytes that must be free there.
    @raise BenchError: if they are not.
    """
    made = not parent.exists()
    parent.mkdir(parents=True, exist_ok=True)
    try:
        free = shutil.disk_usage(parent).free
        if free < need:
            raise BenchError(
                f"{parent} has {free / 2**30:.1f} GiB free, {need / 2**30:.1f} GiB are needed; choose another place with --dir"
            )
        with tempfile.TemporaryDirectory(prefix="bench-", dir=parent, ignore_cleanup_errors=True) as directory:
            yield Path(directory)
    finally:
        if made:
            with contextlib.suppress(OSError):
                parent.rmdir()


# -- output ------------------------------------------------------------------------------------------------------------


def progress(text: str) -> None:
    """Tell a waiting person what goes on; only on a terminal, on one line that the next text takes over."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def format_table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A title and a table in plain text: the first column to the left, figures to the right."""
    widths = [max(len(line[column]) for line in (head, *rows)) for column in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        first, *others = (
            cell.ljust(width) if not column else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        return "  ".join((first, *others)).rstrip()

    return "\n".join((title, line(head), line(["-" * width for width in widths]), *map(line, rows)))


def add_rounds(parser: argparse.ArgumentParser) -> None:
    """The option that says how often each side is measured."""
    parser.add_argument(
        "--rounds",
        metavar="N",
        type=int,
        default=5,
        help="rounds that count; one more goes before them to warm up (default: %(default)s)",
    )
