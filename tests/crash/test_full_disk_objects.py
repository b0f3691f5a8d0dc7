"""A disk that is full: what would make it fuller is refused, nothing else is hurt, and with room all goes on."""

from __future__ import annotations

import os
import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

from tests.crash.small_disk import PLAIN, kind_of_disk, wrapped
from tests.integration.process import CHECKOUT


class FullDiskOfObjectsTests(SynchronousTestCase):
    """A store in a process with a small disk of its own."""

    def fill(self, kind: str, size: str) -> None:
        disk = os.path.join(os.path.abspath(self.mktemp()), "disk")
        os.makedirs(disk)
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, [CHECKOUT, os.environ.get("PYTHONPATH")])),
        }
        program = ["-m", "tests.crash.full_objects", disk, "limit" if kind == PLAIN else "disk"]
        done = subprocess.run(
            wrapped(kind, disk, size, [sys.executable, *program]),
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        self.assertEqual(done.returncode, 0, f"{kind} {size}: {done.stderr}")
        self.assertGreater(int(done.stdout.split()[1]), 5)

    def best_disk(self) -> str:
        kind = kind_of_disk(os.path.abspath(self.mktemp()))
        if kind == PLAIN:
            print(" (no mounts here: with a limit on file sizes instead)", end="")
        return kind

    def test_limit_on_files(self) -> None:
        """Files that may not grow: works everywhere."""
        self.fill(PLAIN, "200000")

    def test_small_disks(self) -> None:
        """Of several sizes, so that room ends in different places."""
        kind = self.best_disk()
        for size in ("200000",) if kind == PLAIN else ("400k", "772k", "1m"):
            self.fill(kind, size)

    def test_no_more_names(self) -> None:
        """Room for bytes, but not for files."""
        kind = self.best_disk()
        if kind != PLAIN:
            self.fill(kind, "100m,nr_inodes=120")

    def test_without_a_service(self) -> None:
        """Not a byte is left, and no service runs: what is there can be listed, read and removed."""
        kind = self.best_disk()
        if kind == PLAIN:
            return
        disk = os.path.join(os.path.abspath(self.mktemp()), "disk")
        os.makedirs(disk)
        done = subprocess.run(
            wrapped(kind, disk, "3m", [sys.executable, "-m", "tests.crash.full_commands", disk]),
            env={**os.environ, "PYTHONPATH": CHECKOUT},
            capture_output=True,
            text=True,
            check=False,
        )
        self.assertEqual((done.returncode, done.stdout), (0, "4\n21\n3\n22\n"), done.stderr)
