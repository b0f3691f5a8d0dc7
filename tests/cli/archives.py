"""Archives in a directory, and commands that are run on them."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result
from twisted.trial.unittest import SynchronousTestCase

from storehouse.archive.archive import ArchiveWriter
from storehouse.cli import main
from storehouse.core.compression import make_compressor
from tests.integration.forked import Forked
from tests.integration.process import CHECKOUT, PATIENCE

__all__ = ["BEGIN", "SAMPLE", "SECOND", "ArchiveCase", "flip", "lines", "sample"]

#: Archives that the first program wrote, and what is in them.
SAMPLE = Path(__file__).resolve().parents[1] / "data" / "shoebox-v1"

#: Nanoseconds.
SECOND = 10**9

#: 2027-01-15T08:00:00Z.
BEGIN = 1_800_000_000 * SECOND


def flip(path: str | Path, at: int) -> None:
    """Flip a bit of a file; C{at} may count from the end."""
    data = bytearray(Path(path).read_bytes())
    data[at] ^= 1
    Path(path).write_bytes(data)


def lines(result: Result) -> list[Any]:
    """What it printed, line by line, from JSON."""
    return [json.loads(line) for line in result.stdout.splitlines()]


class ArchiveCase(SynchronousTestCase):
    """
    Runs verbs on archives.

    @ivar directory: an empty one.
    """

    def setUp(self) -> None:
        """Make the directory."""
        self.directory = Path(os.path.abspath(self.mktemp()))
        self.directory.mkdir()

    def archive(self, name: str, *payloads: str | bytes, whole: str = "", at: int = BEGIN, **how: Any) -> str:
        """
        Write an archive, whose records are a second apart. @return: its path.

        @param whole: the compression of all of it.
        """
        path = str(self.directory / name)
        with ArchiveWriter(path, **{"created": at, **how}) as writer:
            for number, payload in enumerate(payloads):
                writer.write({"n": str(number), "name": ascii(name)[1:-1]}, payload, at + number * SECOND)
        if whole:
            compressor = make_compressor(whole)
            data = compressor.compress(Path(path).read_bytes()) + compressor.flush()
            Path(path).write_bytes(data)
        return path

    def torn(self, name: str, *payloads: str | bytes, cut: int = 3, **how: Any) -> str:
        """An archive whose writer was killed within its last record."""
        path = str(self.directory / name)
        writer = ArchiveWriter(path, created=BEGIN, **how)
        for number, payload in enumerate(payloads):
            writer.write({}, payload, BEGIN + number * SECOND)
        writer.flush()
        writer.abandon()
        with open(path, "rb+") as file:
            file.truncate(os.stat(path).st_size - cut)
        return path

    def run_command(self, verb: str, *args: str, status: int = 0) -> Result:
        """Run within this process, and check the exit status."""
        result = CliRunner().invoke(main, ["archive", verb, *args], prog_name="storehouse")
        problem = "" if isinstance(result.exception, SystemExit) else repr(result.exception)
        self.assertEqual(result.exit_code, status, f"{args} {result.stderr} {problem}")
        return result

    def said(self, verb: str, *args: str) -> str:
        """What it prints; nothing goes wrong."""
        result = self.run_command(verb, *args)
        return result.stdout

    def refused(self, verb: str, *args: str) -> str:
        """The last line that it says when it fails."""
        last = self.run_command(verb, *args, status=1).stderr.splitlines()[-1]
        self.assertTrue(last.startswith("Error: "), last)
        return last.removeprefix("Error: ")

    def start(self, *args: str, **kwargs: Any) -> subprocess.Popen[bytes]:
        """Start it as a process, which ends with the test."""
        settings = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **kwargs}
        process = Forked(
            [sys.executable, "-W", "error", "-m", "storehouse.cli", "archive", *args],
            env={**os.environ, "PYTHONPATH": CHECKOUT},
            **settings,
        )
        self.addCleanup(self._end, process)
        return process

    def ended(self, process: subprocess.Popen[bytes]) -> tuple[int, str, str]:
        """Status, output and errors, once it has ended."""
        out, err = process.communicate(timeout=PATIENCE)
        return process.returncode, (out or b"").decode(), (err or b"").decode()

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        if process.poll() is None:
            process.kill()
        process.wait()
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()


def sample() -> list[tuple[dict[str, str], str]]:
    """What the sample's archives hold, in order."""
    with gzip.open(SAMPLE / "expected.json.gz") as file:
        return [(metadata, payload) for metadata, payload in json.load(file)]
