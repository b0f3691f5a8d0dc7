"""What the README says of the SFSP door, typed into a shell that has nothing but printf, nc and xxd."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from unittest import SkipTest

from twisted.trial.unittest import SynchronousTestCase

from tests.integration.process import CHECKOUT, PATIENCE, Storehouse

_typed = re.compile(r"^    \$ (.*\| nc .*)\n((?:    (?!\$).*\n)*)", re.MULTILINE)


class ReadmeTests(SynchronousTestCase):
    """The transcript is what one sees."""

    def test_sfsp_by_hand(self) -> None:
        for tool in ("nc", "xxd"):
            if shutil.which(tool) is None:
                if os.environ.get("CI"):
                    self.fail(f"{tool} is not installed")
                raise SkipTest(f"{tool} is what this tests with")
        house = Storehouse(self.mktemp())
        self.addCleanup(house.kill)
        house.start()
        with open(os.path.join(CHECKOUT, "README.rst"), encoding="utf-8") as file:
            lines = _typed.findall(file.read())
        self.assertEqual(len(lines), 2)
        for line, printed in lines:
            line = line.replace(" 7370 ", f" {house.sfsp_port} ")
            done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, timeout=PATIENCE, check=False)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            self.assertEqual(done.stdout, printed.replace("    0000", "0000"))
