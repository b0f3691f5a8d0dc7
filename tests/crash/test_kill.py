"""C{kill -9} of real processes under load, at their start and in their recovery, and C{SIGTERM} under load."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from random import Random

from twisted.trial.unittest import SynchronousTestCase

from tests.around import on_disk
from tests.crash import rounds
from tests.crash.clients import Answer, Fleet
from tests.crash.reading import check_answers, read_log
from tests.integration.process import PATIENCE, Storehouse
from tests.soak import long_loop

_BUCKETS = 8


class ProcessTests(SynchronousTestCase):
    """Real processes on one directory of a real disk, one after the other."""

    def setUp(self) -> None:
        self.directory = on_disk(self)
        self.answers: list[Answer] = []
        self.sent: set[bytes] = set()

    def storehouse(self, *options: str) -> Storehouse:
        house = Storehouse(self.directory, "--append-buckets", str(_BUCKETS), *options)
        self.addCleanup(house.kill)
        return house

    @property
    def log_directory(self) -> str:
        return os.path.abspath(os.path.join(self.directory, "storehouse-data", "append"))

    def load(self, house: Storehouse, run: str, durability: str, random: Random) -> Fleet:
        """64 clients, at work for a moment."""
        fleet = Fleet(house.append_port, run, durability=durability, batches=True)
        fleet.start()
        fleet.wait_for(64)
        time.sleep(random.uniform(0.0, 0.3))
        return fleet

    def ended(self, fleet: Fleet) -> None:
        fleet.end()
        self.assertEqual(fleet.strange, [])
        self.answers += fleet.answers
        self.sent |= fleet.sent

    def check(self) -> None:
        check_answers(read_log(self.log_directory, _BUCKETS), self.answers, self.sent)

    def kill_under_load(self, few: int, *levels: str) -> None:
        for number, seed in enumerate(rounds(few)):
            random = Random(seed)
            house = self.storehouse()
            house.start()
            fleets = [self.load(house, f"{number}.{level}", level, random) for level in levels]
            house.stop(signal.SIGKILL)
            for fleet in fleets:
                self.ended(fleet)
            # Every other time the next server is the one that recovers.
            if number % 2:
                self.check()
        self.check()


class KillTests(ProcessTests):
    """The page cache survives a kill, so C{os} and C{disk} promise the same."""

    @long_loop
    def test_disk(self) -> None:
        self.kill_under_load(3, "disk")

    @long_loop
    def test_os(self) -> None:
        self.kill_under_load(2, "os")

    @long_loop
    def test_mixed(self) -> None:
        self.kill_under_load(1, "disk", "os")

    @long_loop
    def test_while_starting(self) -> None:
        """First starts and recoveries, killed after any time."""
        for number, seed in enumerate(rounds(1)):
            random = Random(seed)
            for _ in range(4):
                house = self.storehouse()
                with open(os.path.join(self.directory, "output"), "w", encoding="utf-8") as output:
                    house.process = subprocess.Popen(
                        house.command,
                        cwd=house.directory,
                        env=house.environment,
                        stdout=output,
                        stderr=subprocess.STDOUT,
                        text=True,
                    )
                # A start takes most of a second until it touches files, and a few milliseconds from then on.
                _wait_for_lock(house, random.choice((0.0, 0.001, 0.005, 0.02, 0.05)))
                house.kill()
            house = self.storehouse()
            house.start()
            fleet = self.load(house, str(number), "disk", random)
            house.stop(signal.SIGKILL)
            self.ended(fleet)
        self.check()


def _wait_for_lock(house: Storehouse, more: float) -> None:
    """Until a new process has written its id into the lock file, and C{more} seconds."""
    assert house.process is not None
    path = os.path.join(house.directory, "storehouse-data", "lock")
    wanted = str(house.process.pid)
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and house.process.poll() is None:
        try:
            with open(path, encoding="ascii") as file:
                if file.read().strip() == wanted:
                    break
        except OSError:
            pass
        time.sleep(0.001)
    time.sleep(more)


class TerminateTests(ProcessTests):
    """SIGTERM stops it without a loss."""

    @long_loop
    def test_under_load(self) -> None:
        for number, seed in enumerate(rounds(1)):
            house = self.storehouse()
            house.start()
            fleet = self.load(house, str(number), "disk", Random(seed))
            # twistd ends by the signal that it was told to stop with; with status 1 it would say that something
            # failed.
            self.assertEqual(house.stop(signal.SIGTERM), -signal.SIGTERM)
            self.assertIn("Server Shut Down.", house.output)
            self.assertNotIn("Traceback", house.output)
            self.ended(fleet)
            again = self.storehouse()
            again.start()
            for words in ("replayed", "torn", "damaged", "indexed"):
                self.assertNotIn(words, again.output.replace(": 0 damaged", ""))
            again.stop()
            self.check()
