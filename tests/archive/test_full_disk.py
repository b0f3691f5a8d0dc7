"""A disk that is really full."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import storehouse
from tests.crash.small_disk import PLAIN, kind_of_disk, wrapped

_CHECKOUT = str(Path(storehouse.__file__).resolve().parent.parent)

_PROGRAM = """
import json, os, sys
from storehouse.errors import NoSpace
from storehouse.archive.roll_manager import WritingRollManager
from storehouse.archive.roll_manager import ReadingRollManager

directory = sys.argv[1]
how = json.loads(sys.argv[2])
ballast = os.path.join(directory, "ballast")
if sys.argv[3] != "limit":
    with open(ballast, "wb") as file:
        file.write(bytes(1 << 19))
manager = WritingRollManager("a_%f", {"class": "size", "roll_size_mb": 0.2}, os.path.join(directory, "archives"), **how)
taken = refused = 0
for number in range(1000):
    try:
        manager.write({"n": str(number)}, os.urandom(3000).hex())
        taken += 1
    except NoSpace:
        refused += 1
        if refused > 3:
            break
read = lambda: [kept["n"] for kept, _ in ReadingRollManager("a_*", os.path.join(directory, "archives"))]
before = len(read())
if os.path.exists(ballast):
    os.unlink(ballast)
    manager.write({"n": "more"}, "x")
    manager.close()
    manager.poll()
print(json.dumps([taken, refused, before, len(read()), manager.active_filename is None]))
"""


class FullDiskTests(SynchronousTestCase):
    """A tmpfs of our own, where one can be mounted."""

    def test_full(self) -> None:
        kind = kind_of_disk(self.mktemp())
        if kind == PLAIN:
            # No archive gets that large: there, nothing would be tested.
            raise self.skipTest("no file system can be mounted here")
        for how in ({"version": 1}, {}, {"compression": "zstd"}, {"sync": "record"}):
            directory = os.path.abspath(self.mktemp())
            done = subprocess.run(
                wrapped(kind, directory, "2m", [sys.executable, "-c", _PROGRAM, directory, json.dumps(how), kind]),
                capture_output=True,
                text=True,
                check=False,
                env={**os.environ, "PYTHONPATH": _CHECKOUT},
            )
            self.assertEqual(done.returncode, 0, done.stderr)
            taken, refused, before, after, closed = json.loads(done.stdout)
            self.assertGreater(refused, 0)
            self.assertGreater(before, 50)
            # All that were taken, and the one after there was room again.
            self.assertEqual((after, closed), (taken + 1, True), how)
