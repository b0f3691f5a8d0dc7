"""The scripts of the pages: what is in the package is what web/ builds, and their own tests pass."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import storehouse
from tests.integration.web import WEB, run_npm, with_packages

BUILT = Path(storehouse.__file__).parent / "frontends" / "upload" / "static"


class WebTests(SynchronousTestCase):
    """C{make web}, with another place to put it."""

    def test_types(self) -> None:
        with_packages()
        run_npm("run", "check")

    def test_logic(self) -> None:
        with_packages()
        printed = run_npm("test")
        self.assertIn("# fail 0\n", printed)
        self.assertNotIn("# pass 0\n", printed)

    def test_build(self) -> None:
        with_packages()
        folder = Path(self.mktemp()).absolute()
        run_npm("run", "build", "--", str(folder))
        built = {path.name: path.read_bytes() for path in folder.iterdir()}
        kept = {path.name: path.read_bytes() for path in BUILT.iterdir()}
        self.assertEqual(sorted(built), sorted(kept), "say make web")
        self.assertEqual([name for name in kept if built[name] != kept[name]], [], "say make web")

    def test_lock(self) -> None:
        """Every package is known by its digest, and from no registry in particular."""
        text = (WEB / "package-lock.json").read_text(encoding="utf-8")
        self.assertNotIn('"resolved"', text)
        self.assertGreater(text.count('"integrity": "sha512-'), 20)
