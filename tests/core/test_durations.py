"""Tests of L{storehouse.core.durations} and L{storehouse.core.linkpaths}."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from storehouse.core.durations import parse_duration
from storehouse.core.linkpaths import link_path


class DurationTests(SynchronousTestCase):
    """L{parse_duration}."""

    def test_durations(self) -> None:
        for text, seconds in (
            ("90", 90),
            ("90s", 90),
            ("15m", 900),
            ("2h", 7200),
            (" 7d ", 604800),
            ("1w", 604800),
            ("1.5 h", 5400),
            (5, 5),
            (0.25, 0.25),
        ):
            self.assertEqual(parse_duration(text), seconds)

    def test_refused(self) -> None:
        wrong: tuple[Any, ...] = (
            "",
            "0",
            "0m",
            "-1",
            "1y",
            "m",
            "1e3",
            "1m 2s",
            "٣",
            0,
            -1,
            float("nan"),
            float("inf"),
            True,
            None,
            [],
        )
        for value in wrong:
            self.assertRaises(ValueError, parse_duration, value)


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
