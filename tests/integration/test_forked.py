"""Tests of L{tests.integration.forked}: a fork does what a program does that is started as usual."""

from __future__ import annotations

import os
import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

from tests.integration.forked import Forked, run_forked
from tests.integration.process import CHECKOUT, PATIENCE


class ForkedTests(SynchronousTestCase):
    """Each program is run both ways."""

    def same(self, *words: str, **kwargs: object) -> subprocess.CompletedProcess[str]:
        """What both ways have in common, but for how tracebacks begin."""
        found = [
            run([sys.executable, *words], capture_output=True, text=True, timeout=PATIENCE, **kwargs)  # type: ignore[operator]
            for run in (subprocess.run, run_forked)
        ]
        usual, forked = (
            (each.returncode, each.stdout, each.stderr.splitlines()[-1:] if each.returncode else bool(each.stderr))
            for each in found
        )
        self.assertEqual(usual, forked)
        done: subprocess.CompletedProcess[str] = found[1]
        return done

    def test_status(self) -> None:
        self.assertEqual(self.same("-c", "raise SystemExit(3)").returncode, 3)
        self.same("-c", "import sys; print('out'); sys.exit('why')")
        self.same("-c", "1 / 0")
        self.same("-c", "import atexit; atexit.register(print, 'end')")

    def test_signals(self) -> None:
        """Those of the keyboard and others."""
        for number in (2, 9, 15):
            done = self.same("-c", f"import os, time; os.kill(os.getpid(), {number}); time.sleep(60)")
            self.assertEqual(done.returncode, -number)

    def test_surroundings(self) -> None:
        """Words, directory, variables, standard input and parent."""
        text = "import os, sys; print(sys.argv, os.getcwd(), os.environ['A'], sys.stdin.read(), os.getppid(), __name__)"
        folder = os.path.abspath(self.mktemp())
        os.mkdir(folder)
        done = self.same("-c", text, "x", "-y", cwd=folder, input="given é", env={**os.environ, "A": "1"})
        self.assertIn(f" {os.getpid()} __main__", done.stdout)

    def test_warnings(self) -> None:
        program = "import warnings; warnings.warn('look')"
        self.assertEqual(self.same("-c", program).returncode, 0)
        self.assertEqual(self.same("-W", "error", "-c", program).returncode, 1)

    def test_module(self) -> None:
        environment = {**os.environ, "PYTHONPATH": CHECKOUT}
        self.assertIn("storehouse", self.same("-m", "storehouse.cli", "--version", env=environment).stdout)
        self.same("-m", "storehouse.cli", "nonsense", env=environment)

    def test_otherwise(self) -> None:
        """What a fork cannot do alike is started as usual."""
        for words in (["-I", "-c", ""], ["-W", "ignore", "-c", ""]):
            with Forked([sys.executable, *words]) as process:
                self.assertFalse(process.is_forked)
        with Forked([sys.executable, "-c", ""], env={**os.environ, "PYTHONHASHSEED": "1"}) as process:
            self.assertFalse(process.is_forked)
        with Forked([sys.executable, "-c", ""]) as process:
            self.assertEqual(process.is_forked, sys.platform == "linux")
        self.assertRaises(FileNotFoundError, Forked, [sys.executable, "-c", ""], cwd=self.mktemp())
