"""L{bench.versions}, with this tree as both versions."""

from __future__ import annotations

import contextlib
import io
import os

from twisted.trial.unittest import SynchronousTestCase

from bench.harness import CHECKOUT
from bench.versions import main


class VersionsTests(SynchronousTestCase):
    """The command."""

    def test_objects(self) -> None:
        printed = io.StringIO()
        words = ["--before", str(CHECKOUT), "--only", "objects-disk", "--rounds", "1", "--count", "4"]
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(io.StringIO()):
            status = main([*words, "--dir", os.path.abspath(self.mktemp())])
        self.assertEqual(status, 0, printed.getvalue())
        lines = printed.getvalue().splitlines()
        self.assertTrue(any(line.startswith("store put/s") and len(line.split()) == 7 for line in lines), lines)

    def test_refused(self) -> None:
        for words in ([], ["--before", "/nowhere"], ["--before", str(CHECKOUT), "--only", "nothing of this name"]):
            with contextlib.redirect_stderr(io.StringIO()), self.assertRaises(SystemExit):
                main(words)
