"""L{storehouse.frontends.s3.access.glob}."""

from __future__ import annotations

import re
from functools import partial

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from storehouse.frontends.s3.access.glob import ANY, ONE, Globs, tokens_of
from tests.cpu import assert_cpu, cpu_of


def expected(pattern: str, text: str) -> bool:
    """By a regular expression: slow for some patterns, and right."""
    parts = {"*": ".*", "?": "."}
    return re.fullmatch("".join(parts.get(each) or re.escape(each) for each in pattern), text, re.DOTALL) is not None


class GlobTests(SynchronousTestCase):
    """L{Globs}."""

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
            self.assertEqual(Globs([tokens_of(pattern)]).matches(text), is_match, (pattern, text))

    @given(st.text("ab*?", max_size=12), st.text("ab", max_size=12))
    def test_any(self, pattern: str, text: str) -> None:
        self.assertEqual(Globs([tokens_of(pattern)]).matches(text), expected(pattern, text))

    def test_literals(self) -> None:
        """What a literal has is no wildcard."""
        self.assertTrue(Globs([["a*", ANY]]).matches("a*b"))
        self.assertFalse(Globs([["a*", ANY]]).matches("ab"))
        self.assertFalse(Globs([["a?", ONE]]).matches("abc"))

    @given(st.lists(st.text("ab*?", max_size=6), max_size=5), st.text("ab", max_size=6))
    def test_several(self, patterns: list[str], text: str) -> None:
        """One of them has to match."""
        found = Globs([tokens_of(pattern) for pattern in patterns]).matches(text)
        self.assertEqual(found, any(expected(pattern, text) for pattern in patterns))

    def test_time(self) -> None:
        """Patterns that are made to be slow are not."""
        text = "a" * 8000
        for pattern in ("a*" * 5000 + "b", "?*" * 5000 + "b", "*a?" * 3000 + "b", "?" * 20000, "*" * 20000 + "b"):
            glob = Globs([tokens_of(pattern)])
            self.assertFalse(glob.matches(text))
            assert_cpu(0.5, partial(cpu_of, partial(glob.matches, text)), pattern[:10])
