"""Names for files whose names are taken."""

from __future__ import annotations

from itertools import islice

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from storehouse.core.freenames import MOST_CANDIDATES, candidates, claim
from storehouse.errors import AlreadyExists, PreconditionFailed


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
