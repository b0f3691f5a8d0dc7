"""Tests of L{storehouse.core.platform}."""

from __future__ import annotations

import ctypes
import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

from storehouse.core.platform import keep_freed_memory

_PROGRAM = """
import resource, sys
from storehouse.core.platform import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
for _ in range(50):
    pieces = [bytes(256 * 1024) for _ in range(16)]
    del pieces
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
"""


class KeepFreedMemoryTests(SynchronousTestCase):
    """Memory that is freed and taken again."""

    def faults(self, how: str) -> int:
        """How many pages the system had to give."""
        command = [sys.executable, "-c", _PROGRAM, how]
        return int(subprocess.run(command, capture_output=True, check=True).stdout)

    def test_kept(self) -> None:
        """It is not taken from the system again and again."""
        self.assertGreater(self.faults("left"), self.faults("kept") + 20_000)

    def test_not_possible(self) -> None:
        """Where the C library has no such call, nothing happens."""
        self.patch(ctypes, "CDLL", lambda name: object())
        self.assertFalse(keep_freed_memory())

    def test_not_linux(self) -> None:
        self.patch(sys, "platform", "darwin")
        self.assertFalse(keep_freed_memory())
