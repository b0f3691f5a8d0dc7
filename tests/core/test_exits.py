"""Tests of L{storehouse.core.exits}."""

from __future__ import annotations

import os
import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

from storehouse.core.exits import Exits
from tests.integration.process import PATIENCE


class ExitsTests(SynchronousTestCase):
    """How a process ends; each in a process of its own."""

    def run_code(self, *lines: str) -> subprocess.CompletedProcess[str]:
        code = "\n".join(
            [
                "from storehouse.core.exits import Exits",
                "from storehouse.errors import StartFailed",
                "exits = Exits()",
                "exits.install()",
                *lines,
            ]
        )
        root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))}
        return subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE, env=environment
        )

    def test_plain_failure(self) -> None:
        done = self.run_code("raise StartFailed('no\\nway')")
        self.assertEqual((done.returncode, done.stderr), (1, "storehouse: no way\n"))

    def test_said_once(self) -> None:
        done = self.run_code("e = StartFailed('no')", "exits.cannot_start(e)", "raise e")
        self.assertEqual((done.returncode, done.stderr), (1, "storehouse: no\n"))

    def test_other_errors(self) -> None:
        done = self.run_code("1 / 0")
        self.assertEqual(done.returncode, 1)
        self.assertIn("Traceback", done.stderr)

    def test_gave_up(self) -> None:
        done = self.run_code("exits.started()", "exits.gave_up()", "print('end')")
        self.assertEqual((done.returncode, done.stdout), (1, "end\n"))

    def test_went_well(self) -> None:
        self.assertEqual(self.run_code("exits.started()").returncode, 0)

    def test_background(self) -> None:
        exits = Exits()
        self.addCleanup(exits.started)
        self.assertFalse(exits.in_background)
