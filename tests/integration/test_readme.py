"""What README.rst, docs/sfsp.rst and the part of docs/library.rst on SFSP show, run as it is printed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap

from twisted.trial.unittest import SynchronousTestCase

from tests.integration.process import CHECKOUT, PATIENCE, Storehouse
from tests.integration.tools import needed

#: A line behind a "$", and what is printed below it.
_typed = re.compile(r"^    \$ (.*)\n((?:    (?!\$).*\n)*)", re.MULTILINE)

#: How the README installs and starts storehouse: test_distribution does the former with a wheel, L{Storehouse} the latter.
_STARTING = [
    ("python3 -m venv .venv", ""),
    (". .venv/bin/activate", ""),
    ("pip install storehouse-server", ""),
    ("twistd -n storehouse", ""),
]


class TranscriptTests(SynchronousTestCase):
    """Each line runs, and prints what the page shows."""

    def setUp(self) -> None:
        self.house = Storehouse(self.mktemp())
        self.addCleanup(self.house.kill)
        self.house.start()

    def read(self, *names: str) -> str:
        """A page."""
        with open(os.path.join(CHECKOUT, *names), encoding="utf-8") as file:
            return file.read()

    def check(self, lines: list[tuple[str, str]]) -> None:
        """Type them into one shell each, with the ports and the directory of the test."""
        command = f'storehouse() {{ "{sys.executable}" -m storehouse.cli "$@"; }}\n'
        for line, printed in lines:
            line = line.replace(":8001", f":{self.house.append_port}").replace(" 7370", f" {self.house.sfsp_port}")
            done = subprocess.run(
                ["sh", "-c", command + line.replace("curl", "curl -sS")],
                cwd=self.house.directory,
                env=self.house.environment,
                capture_output=True,
                text=True,
                timeout=PATIENCE,
                check=False,
            )
            self.assertEqual((done.returncode, done.stderr), (0, ""), line)
            expected = re.sub("^    ", "", printed, flags=re.MULTILINE).replace("/srv", self.house.directory)
            self.assertEqual(done.stdout.rstrip("\n"), expected.rstrip("\n"))

    def test_readme(self) -> None:
        needed("curl")
        lines = _typed.findall(self.read("README.rst"))
        self.assertEqual(lines[:4], _STARTING)
        self.assertEqual(len(lines), 10)
        self.check(lines[4:])

    def test_sfsp_by_hand(self) -> None:
        needed("nc", "xxd")
        lines = [(line, printed) for line, printed in _typed.findall(self.read("docs", "sfsp.rst")) if " nc " in line]
        self.assertEqual(len(lines), 2)
        self.check(lines)

    def test_sfsp_library(self) -> None:
        page = self.read("docs", "library.rst").partition("\nSFSP\n====\n")[2].partition("\nS3\n==\n")[0]
        (program,) = re.findall(r"^::\n\n((?:    .*\n|\n)+)", page, re.MULTILINE)
        path = os.path.join(self.house.directory, "program.py")
        with open(path, "w", encoding="utf-8") as file:
            file.write(textwrap.dedent(program).replace(":7370", f":{self.house.sfsp_port}"))
        done = subprocess.run(
            [sys.executable, "-W", "error", "program.py"],
            cwd=self.house.directory,
            env=self.house.environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        with open(path, "rb") as file, open(os.path.join(self.house.directory, "copy"), "rb") as copy:
            self.assertEqual(file.read(), copy.read())
