"""Directories that go with their process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

from storehouse.core.temporary import memory_directory
from tests.integration.process import CHECKOUT, PATIENCE, wait_for

#: Makes one, writes into it, and waits for the end of its input.
_PROGRAM = """
import os, sys
from storehouse.core.temporary import temporary_directory
made = temporary_directory(sys.argv[1])
os.makedirs(os.path.join(made, "a", "b"))
print(made, flush=True)
sys.stdin.read()
"""


class TemporaryDirectoryTests(SynchronousTestCase):
    """Each in a process of its own, which ends in one way or another."""

    def setUp(self) -> None:
        self.place = os.path.abspath(self.mktemp())
        os.makedirs(self.place)

    def begin(self) -> tuple[subprocess.Popen[str], str]:
        """@return: a process that has one, and which."""
        process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, self.place],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "PYTHONPATH": CHECKOUT},
            start_new_session=True,
        )
        assert process.stdin is not None and process.stdout is not None
        for each in (process.stdin.close, process.stdout.close, process.wait, process.kill):
            self.addCleanup(each)
        made = process.stdout.readline().strip()
        self.assertTrue(os.path.isdir(os.path.join(made, "a", "b")))
        self.assertEqual(os.stat(made).st_mode & 0o777, 0o700)
        return process, made

    def test_end(self) -> None:
        process, made = self.begin()
        assert process.stdin is not None and process.stdout is not None
        process.stdin.close()
        # Its output ends with it, although something is there that removes the directory.
        self.assertEqual(process.stdout.read(), "")
        self.assertEqual(process.wait(PATIENCE), 0)
        wait_for(lambda: not os.path.exists(made), "the end of the directory")

    def test_killed(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
            process, made = self.begin()
            # As a terminal does: all of the group.
            os.killpg(process.pid, number)
            process.wait(PATIENCE)
            wait_for(lambda made=made: not os.path.exists(made), f"the end of the directory, by {number}")

    def test_left_behind(self) -> None:
        """One whose remover was killed, too, goes with the next start; those in use, new or not ours stay."""
        left, new, other = (
            os.path.join(self.place, name) for name in ("storehouse-ephemeral-x", "storehouse-ephemeral-y", "z")
        )
        for path in (left, new, other):
            os.makedirs(os.path.join(path, "a"))
            with open(os.path.join(path, ".in-use"), "w"):
                pass
        _, used = self.begin()
        for path in (left, other, used):
            os.utime(path, (0, 0))
        self.begin()
        self.assertEqual([os.path.exists(path) for path in (left, new, other, used)], [False, True, True, True])

    def test_place(self) -> None:
        self.assertTrue(os.path.isdir(memory_directory()))
