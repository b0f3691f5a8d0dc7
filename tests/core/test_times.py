"""Tests of L{storehouse.core.times}."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from storehouse.core import values
from storehouse.core.times import parse_duration, parse_lifetime, parse_time


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

    def test_settings(self) -> None:
        """Settings take the same notation; what is longer than 100 years was meant otherwise."""
        for text, expected in (("15m", 900.0), ("7d", 604800.0), ("60", 60.0), (0.5, 0.5)):
            self.assertEqual(values.seconds()(text), expected)
        self.assertEqual(values.seconds(allow_zero=True)("0"), 0)
        for value in ("0", "x", "-1", True, "9999999999999", "999999999999", "40000d", 1e12):
            self.assertRaises(ValueError, values.seconds(), value)


class TimeTests(SynchronousTestCase):
    """L{parse_time} and L{parse_lifetime}."""

    def test_numbers(self) -> None:
        """By their size: in seconds, milli-, micro- or nanoseconds."""
        for text, nanoseconds in (
            ("0", 0),
            ("1700000000", 1_700_000_000 * 10**9),
            ("1700000000.5", 1_700_000_000_500_000_000),
            ("1700000000123", 1_700_000_000_123 * 10**6),
            ("1700000000123456", 1_700_000_000_123_456 * 10**3),
            ("1700000000123456789", 1_700_000_000_123_456_789),
            ("18446744073709551615", 2**64 - 1),
            ("99999999999", None),
            ("18446744073709551616", None),
            ("1700000000123.5", None),
        ):
            if nanoseconds is None:
                self.assertRaises(ValueError, parse_time, text, 0.0)
            else:
                self.assertEqual(parse_time(text, 0.0), nanoseconds, text)

    def test_moments(self) -> None:
        for text, seconds in (
            ("2026-01-31", 1769817600),
            ("2026-01-31T12:00", 1769860800),
            ("2026-01-31 12:00:00", 1769860800),
            ("2026-01-31t14:00:00+02:00", 1769860800),
            ("2026-01-31T14:00:00 02:00", 1769860800),
            ("2016-12-31T23:59:60Z", 1483228800),
            ("1969-01-01", 0),
            ("-15m", 1_000_000 - 900),
            ("-1.5h", 1_000_000 - 5400),
            ("-9000w", 0),
        ):
            self.assertEqual(parse_time(text, 1_000_000), seconds * 10**9, text)

    def test_refused(self) -> None:
        for text in (
            "",
            "now",
            "-1",
            "--15m",
            "1e9",
            "2026-02-30",
            "2026-01-31T25:00",
            "3000-01-01",
            "15m",
            "٣",
            "15 m m",
            "-5",
        ):
            self.assertRaises(ValueError, parse_time, text, 0.0)

    def test_lifetime(self) -> None:
        for value, seconds in (("15m", 900), (60, 60), ("1970-01-01T01:00:00Z", 3500), ("1970-01-02", 86300)):
            self.assertEqual(parse_lifetime(value, 100.0), seconds)
        for wrong in ("1970-01-01", "-15m", "0", "soon", True):
            self.assertRaises(ValueError, parse_lifetime, wrong, 100.0)

    def test_nothing(self) -> None:
        self.assertEqual(parse_duration("0", at_least=0), 0)
        self.assertRaises(ValueError, parse_duration, "-1", at_least=0)
