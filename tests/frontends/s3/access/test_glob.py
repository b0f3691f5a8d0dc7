"""L{storehouse.frontends.s3.access.glob}."""

from __future__ import annotations

import re
import time

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from storehouse.frontends.s3.access.glob import ANY, ONE, Glob


def expected(pattern: str, text: str) -> bool:
    """By a regular expression: slow for some patterns, and right."""
    parts = {"*": ".*", "?": "."}
    return re.fullmatch("".join(parts.get(each) or re.escape(each) for each in pattern), text, re.DOTALL) is not None


class GlobTests(SynchronousTestCase):
    """L{Glob}."""

    def test_examples(self) -> None:
        for pattern, text, is_match in (
            ("", "", True),
            ("", "a", False),
            ("*", "", True),
            ("a*b", "ab", True),
            ("a*b", "aXb", True),
            ("aa*aa", "aaa", False),
            ("a*b*c", "abbc", True),
            ("a*b*c", "acb", False),
            ("?", "é", True),
            ("?*", "", False),
            ("*?b", "ab", True),
            ("a?c*", "abcd\n", True),
            ("**a**", "a", True),
        ):
            self.assertEqual(Glob.of(pattern).matches(text), is_match, (pattern, text))

    @given(st.text("ab*?", max_size=12), st.text("ab", max_size=12))
    def test_any(self, pattern: str, text: str) -> None:
        self.assertEqual(Glob.of(pattern).matches(text), expected(pattern, text))

    def test_literals(self) -> None:
        """What a literal has is no wildcard."""
        self.assertTrue(Glob(["a*", ANY]).matches("a*b"))
        self.assertFalse(Glob(["a*", ANY]).matches("ab"))
        self.assertFalse(Glob(["a?", ONE]).matches("abc"))
        self.assertTrue(Glob(["a"]).is_literal)
        self.assertFalse(Glob(["a", ANY]).is_literal)

    def test_time(self) -> None:
        """Patterns that are made to be slow are not."""
        text = "a" * 8000
        for pattern in ("a*" * 5000 + "b", "?*" * 5000 + "b", "*a?" * 3000 + "b", "?" * 20000, "*" * 20000 + "b"):
            glob = Glob.of(pattern)
            began = time.process_time()
            self.assertFalse(glob.matches(text))
            self.assertLess(time.process_time() - began, 0.5, pattern[:10])
