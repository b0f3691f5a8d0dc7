"""C{kill -9} of a writer at any point: no acknowledged record is lost, no file is unreadable."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from random import Random

from twisted.trial.unittest import SynchronousTestCase

import storehouse
from storehouse.archive.archive import ArchiveReader
from storehouse.archive.finding import find_archives
from storehouse.archive.roll_manager import ReadingRollManager, WritingRollManager
from tests.archive.rig import KINDS, files_in
from tests.archive.writer_process import payload_of
from tests.crash import rounds
from tests.integration.forked import Forked
from tests.integration.process import PATIENCE
from tests.soak import long_loop

_CHECKOUT = str(Path(storehouse.__file__).resolve().parent.parent)
_SYNCS = ("record", "roll", "os", "no buffer")


class KillTests(SynchronousTestCase):
    """Each round kills a process that goes on where the one before was killed."""

    @long_loop
    def test_killed(self) -> None:
        directory = self.mktemp()
        runs: list[tuple[int, int, str]] = []
        # Several kills a seed: the start of an interpreter is most of the time.
        for seed in rounds(2):
            random = Random(seed)
            for kind in KINDS:
                for sync in random.sample(_SYNCS, 2):
                    first = 1_000_000 * len(runs)
                    acknowledged = self.run_and_kill(directory, kind, sync, first, random)
                    runs.append((first, acknowledged, f"{kind}, {sync}, seed {seed}"))
                    if random.random() < 0.5:
                        self.check(directory, runs)
        self.check(directory, runs)

    def run_and_kill(self, directory: str, kind: str, sync: str, first: int, random: Random) -> int:
        """@return: the number of the last record that was acknowledged, or one before the first."""
        output = self.mktemp()
        with open(output, "wb") as file:
            process = Forked(
                [
                    sys.executable,
                    "-m",
                    "tests.archive.writer_process",
                    os.path.abspath(directory),
                    kind,
                    sync,
                    str(first),
                ],
                stdout=file,
                stderr=subprocess.PIPE,
                cwd=_CHECKOUT,
                env={**os.environ, "PYTHONPATH": _CHECKOUT},
            )
        try:
            deadline = time.monotonic() + PATIENCE
            while b"ready" not in Path(output).read_bytes() and time.monotonic() < deadline:
                if process.poll() is not None:
                    break
                time.sleep(0.002)
            time.sleep(random.choice((0.0, 0.001, 0.01, 0.05)) * random.random())
            self.assertIsNone(process.poll(), process.stderr.read() if process.poll() is not None else "")
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
            assert process.stderr is not None
            process.stderr.close()
        # The last line may be cut.
        lines = Path(output).read_bytes().rpartition(b"\n")[0].split()
        return int(lines[-1]) if len(lines) > 1 else first - 1

    def check(self, directory: str, runs: list[tuple[int, int, str]]) -> None:
        """Recover, and compare what is there with what was acknowledged."""
        WritingRollManager("a_%f.ev", None, directory, callbacks=["compress"]).close()
        # The names say nothing about the order of version 1.
        found = {int(kept["number"]): payload for kept, payload in ReadingRollManager("a_*", directory)}
        for first, last, run in runs:
            missing = [number for number in range(first, last + 1) if number not in found]
            self.assertEqual(missing, [], run)
        for number, payload in found.items():
            self.assertEqual(payload if isinstance(payload, bytes) else payload.encode(), payload_of(number))
        for path in find_archives("a_*", directory):
            with ArchiveReader(path) as reader:
                verified = reader.verify()
                self.assertTrue(verified.whole, path)
                self.assertEqual(verified.complete, reader.version == 2)
                self.assertEqual(reader.compressed_as, "gzip")
        self.assertEqual([name for name in files_in(directory) if name.startswith(".")], [])
