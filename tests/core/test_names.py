"""Tests of L{storehouse.core.names}."""

from __future__ import annotations

import os
from itertools import islice

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from storehouse.core.names import (
    DEFAULT_PREFIX,
    MOST_CANDIDATES,
    candidates,
    check_identifier,
    check_prefix,
    claim,
    link_path,
)
from storehouse.errors import AlreadyExists, InvalidName, PreconditionFailed


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


class CandidateTests(SynchronousTestCase):
    """L{candidates}."""

    def test_numbers(self) -> None:
        """The number comes before what people take for the ending."""
        for key, second in (
            ("report.pdf", "report (1).pdf"),
            ("report", "report (1)"),
            ("a.b/report", "a.b/report (1)"),
            ("a/b/photo.JPG", "a/b/photo (1).JPG"),
            ("backup.tar.gz", "backup (1).tar.gz"),
            ("backup.2024.gz", "backup.2024 (1).gz"),
            (".profile", ".profile (1)"),
            (".a.txt", ".a (1).txt"),
            ("..", ".. (1)"),
            ("v1.", "v1. (1)"),
            ("Dr. No and a very long rest", "Dr. No and a very long rest (1)"),
        ):
            self.assertEqual(list(islice(candidates(key), 2)), [key, second])
        self.assertEqual(list(islice(candidates("a.b"), 3))[2], "a (2).b")

    def test_bounded(self) -> None:
        keys = list(candidates("a.txt"))
        self.assertEqual((len(keys), len(set(keys)), keys[-1]), (MOST_CANDIDATES, MOST_CANDIDATES, "a (9999).txt"))

    def test_too_long(self) -> None:
        """A name that would be longer than a key may be is cut before its number, not within a character."""
        for key in ("a" * 1024, "a" * 1020 + ".txt", "é" * 512, "x/" + "é" * 509 + ".jpg"):
            for candidate in islice(candidates(key), 1, 20):
                self.assertLessEqual(len(candidate.encode()), 1024)
                self.assertGreater(len(candidate.encode()), 1020)

    @given(st.text(min_size=1, max_size=300).filter(lambda key: len(key.encode("utf-8", "replace")) <= 1024))
    def test_any(self, key: str) -> None:
        """All differ, and stay in their folder."""
        try:
            key.encode()
        except UnicodeEncodeError:
            return
        keys = list(islice(candidates(key), 12))
        self.assertEqual(len(set(keys)), 12)
        self.assertEqual({each.count("/") for each in keys}, {key.count("/")})


class ClaimTests(SynchronousTestCase):
    """L{claim}."""

    def claim(self, rule: str, taken: set[str]) -> Deferred[tuple[str, bool]]:
        async def store(key: str, is_absent: bool) -> tuple[str, bool]:
            if is_absent and key in taken:
                raise PreconditionFailed("it is taken")
            return key, is_absent

        return Deferred.fromCoroutine(claim("a.b", rule, store))

    def test_rules(self) -> None:
        self.assertEqual(self.successResultOf(self.claim("rename", {"a.b", "a (1).b"})), ("a (2).b", True))
        self.assertEqual(self.successResultOf(self.claim("rename", set())), ("a.b", True))
        self.assertEqual(self.successResultOf(self.claim("replace", {"a.b"})), ("a.b", False))
        self.assertEqual(self.successResultOf(self.claim("refuse", set())), ("a.b", True))
        self.failureResultOf(self.claim("refuse", {"a.b"}), AlreadyExists)
        self.failureResultOf(self.claim("rename", set(candidates("a.b"))), AlreadyExists)


class LinkPathTests(SynchronousTestCase):
    """L{link_path}."""

    def test_paths(self) -> None:
        for method, name, is_prefix, path in (
            ("PUT", "a", False, "/upload/a"),
            ("GET", "a/b c", False, "/download/a/b%20c"),
            ("GET", "a?b#c%d+é", False, "/download/a%3Fb%23c%25d%2B%C3%A9"),
            ("PUT", "a", True, "/upload/a/"),
            ("PUT", "/a/b/", True, "/upload/a/b/"),
            ("PUT", "", True, "/upload/"),
            ("GET", "/", True, "/download/"),
        ):
            self.assertEqual(link_path(method, name, is_prefix), path)
        self.assertRaises(KeyError, link_path, "POST", "a")
        self.assertRaises(UnicodeEncodeError, link_path, "GET", "\ud800")
