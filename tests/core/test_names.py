"""Tests of L{storehouse.core.names}."""

from __future__ import annotations

import os

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from storehouse.core.names import DEFAULT_PREFIX, check_identifier, check_prefix
from storehouse.errors import InvalidName


class NameTests(SynchronousTestCase):
    """Names from outside."""

    def test_default(self) -> None:
        """No prefix is the default one, as the seed has it; there is no default identifier."""
        self.assertEqual(check_prefix(b""), DEFAULT_PREFIX)
        self.assertIn("empty", self.assertRaises(InvalidName, check_identifier, b"").detail)

    def test_longest(self) -> None:
        """Lengths are counted in bytes of UTF-8."""
        self.assertEqual(check_prefix("é".encode() * 64), "é" * 64)
        self.assertIn("130 bytes; at most 128", self.assertRaises(InvalidName, check_prefix, "é".encode() * 65).detail)
        self.assertEqual(check_identifier(b"x" * 1024), b"x" * 1024)
        self.assertRaises(InvalidName, check_identifier, b"x" * 1025)

    def test_words(self) -> None:
        """The text says what is wrong."""
        for name, words in [
            (b".wal", "begins with a dot"),
            (b"a/b", "single path component"),
            (b"a\nb", "control character"),
            (b"\xff", "not UTF-8"),
        ]:
            self.assertIn(words, self.assertRaises(InvalidName, check_prefix, name).detail)

    def test_identifiers_are_free(self) -> None:
        """An identifier is hashed only: it may look like a path."""
        for id in (b"..", b"../../etc/passwd", b"a/b", b".", "é ".encode()):
            self.assertEqual(check_identifier(id), id)

    @settings(deadline=None, max_examples=200)
    @given(
        st.one_of(
            st.binary(min_size=1, max_size=140), st.text(alphabet="./\\ab\x00\n\u2028é", min_size=1).map(str.encode)
        )
    )
    def test_one_component(self, name: bytes) -> None:
        """What is let through is one visible component, byte for byte what came."""
        try:
            text = check_prefix(name)
        except InvalidName:
            return
        self.assertEqual(text.encode(), name)
        self.assertEqual(os.path.dirname(os.path.normpath(os.path.join("/root", text))), "/root")
        self.assertFalse(text.startswith("."))
