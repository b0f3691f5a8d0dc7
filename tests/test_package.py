"""What can be imported from C{storehouse} itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import storehouse
from storehouse.archive.archive import ArchiveReader


class PackageTests(SynchronousTestCase):
    """Its names are there, and cost nothing before they are used."""

    def test_names(self) -> None:
        for name in storehouse.__all__:
            self.assertIsNotNone(getattr(storehouse, name))
        self.assertIs(storehouse.ArchiveReader, ArchiveReader)

    def test_no_other_names(self) -> None:
        self.assertRaises(AttributeError, getattr, storehouse, "nothing")

    def test_nothing_is_loaded(self) -> None:
        """Neither Twisted nor other modules of ours; and of the archive library, no reactor."""
        script = (
            "import sys, storehouse\n"
            "assert not [name for name in sys.modules if name.startswith(('storehouse.', 'twisted'))]\n"
            "storehouse.WritingRollManager\n"
            "assert 'twisted.internet.reactor' not in sys.modules\n"
        )
        tree = Path(storehouse.__file__).parent.parent
        done = subprocess.run([sys.executable, "-c", script], cwd=tree, capture_output=True, text=True, check=False)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
