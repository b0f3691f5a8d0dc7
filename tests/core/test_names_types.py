"""Media types of names: L{storehouse.core.names.guessed_type}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from storehouse.core.names import guessed_type


class GuessTests(SynchronousTestCase):
    """What the names of files say."""

    def test_names(self) -> None:
        for name, kind in (
            ("p.jpg", "image/jpeg"),
            ("a/b.c/P.JPEG", "image/jpeg"),
            ("a.tar.gz", "application/gzip"),
            (".txt", "text/plain"),
            ("a.csv", "text/csv"),
            ("jpg", ""),
            ("a.jpg/b", ""),
            ("a.", ""),
            ("a.xyzzy", ""),
            ("", ""),
        ):
            self.assertEqual(guessed_type(name), kind, name)
