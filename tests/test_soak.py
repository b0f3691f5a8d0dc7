"""Tests of L{tests.soak}."""

from __future__ import annotations

import os
import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

from tests import soak
from tests.integration.process import CHECKOUT, PATIENCE
from tests.soak import find, rounds

_LOOPS = """\
from twisted.trial.unittest import SynchronousTestCase
from tests.soak import SOAK, count, long_loop, rounds

class Tests(SynchronousTestCase):
    @long_loop
    def test_good(self):
        for seed in rounds(3):
            count("visits", 2)
    @long_loop
    def test_bad(self):
        for seed in rounds(3):
            self.assertFalse(SOAK, seed)
    def test_short(self):
        raise NotImplementedError
"""


class SoakTests(SynchronousTestCase):
    """Loops that last as long as configured."""

    def run_soak(self, *names: str) -> tuple[int, list[str]]:
        """Run it for a second. @return: its status, and its lines."""
        directory = os.path.abspath(self.mktemp())
        os.makedirs(directory)
        with open(os.path.join(directory, "loops.py"), "w", encoding="utf-8") as file:
            file.write(_LOOPS)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("STOREHOUSE")}
        done = subprocess.run(
            [sys.executable, "-m", "tests.soak", "--seconds", "1", *names],
            cwd=directory, env={**environment, "PYTHONPATH": CHECKOUT}, stdout=subprocess.PIPE, text=True, timeout=PATIENCE, check=False,
        )  # fmt: skip
        return done.returncode, done.stdout.splitlines()

    def test_good(self) -> None:
        """One line says what was counted."""
        status, lines = self.run_soak("loops.Tests.test_good")
        self.assertEqual((status, len(lines)), (0, 2), lines)
        self.assertRegex(lines[0], r"^ok  loops\.Tests\.test_good: \d+ visits, \d+ rounds, \d+ s$")
        self.assertRegex(lines[1], r"^1 loops, 0 failed, \d+ s$")

    def test_bad(self) -> None:
        """One that fails is shown whole, and the others are run all the same."""
        status, lines = self.run_soak("loops")
        self.assertEqual(status, 1, lines)
        self.assertTrue(any(line.startswith("FAILED  loops.Tests.test_bad: ") for line in lines), lines)
        self.assertTrue(any(line.startswith("ok  loops.Tests.test_good: ") for line in lines), lines)
        self.assertTrue(any("STOREHOUSE_SEED=" in line for line in lines), lines)
        self.assertRegex(lines[-1], r"^2 loops, 1 failed, \d+ s$")

    def test_none(self) -> None:
        self.assertEqual(self.run_soak("loops.Tests.test_short")[0], 1)

    def test_rounds(self) -> None:
        """Without a soak there are few, always the same."""
        self.patch(soak, "SOAK", False)
        self.assertEqual(list(rounds(2)), [0, 1])

    def test_found(self) -> None:
        self.assertEqual(find(["tests.test_soak"]), [])
        self.assertEqual(find(["tests.core.test_jsontext"]), ["tests.core.test_jsontext.JSONTests.test_the_same"])
