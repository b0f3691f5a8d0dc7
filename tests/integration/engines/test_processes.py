"""What becomes of tests where an engine is missing."""

from __future__ import annotations

import os

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.integration.engines.processes import find_programs


class MissingTests(SynchronousTestCase):
    """They are skipped, but not in continuous integration."""

    def find(self) -> None:
        find_programs(["sh", "no-such-program"], "look elsewhere")

    def test_found(self) -> None:
        self.assertTrue(os.access(find_programs(["sh"], "")["sh"], os.X_OK))

    def test_skipped(self) -> None:
        self.patch(os, "environ", {**os.environ, "CI": ""})
        error = self.assertRaises(SkipTest, self.find)
        self.assertEqual(str(error), "no-such-program not found: look elsewhere")

    def test_failed(self) -> None:
        self.patch(os, "environ", {**os.environ, "CI": "true"})
        self.assertRaises(AssertionError, self.find)
