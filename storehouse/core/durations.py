"""Spans of time as people write them."""

from __future__ import annotations

import math
import re

__all__ = ["parse_duration", "write_duration"]

_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}

#: 100 years: more than that means something else, such as a moment, or milliseconds.
_LONGEST = 36525 * 86400

_match = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,6})?)\s*([smhdw]?)", re.ASCII).fullmatch


def parse_duration(value: float | str, at_least: float = math.ulp(0.0), at_most: float = _LONGEST) -> float:
    """
    Seconds, or a number with a unit: C{90s}, C{15m}, C{2h}, C{7d}, C{1w}.

    @param at_least: the fewest seconds; anything more than 0 unless said otherwise.
    @param at_most: the most seconds; 100 years unless said otherwise.
    @return: seconds.
    @raise ValueError: if it is neither, or longer; the text is for the user.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"{value!r} is not a span of time")
    if isinstance(value, str):
        found = _match(value.strip())
        seconds = float(found[1]) * _SECONDS[found[2]] if found else math.nan
    else:
        seconds = float(value) if abs(value) < 1e15 else math.nan
    if not seconds >= at_least:
        more = ", more than 0" if at_least else ""
        raise ValueError(
            f"{value!r} is not a span of time: seconds, or a number with a unit, such as 15m, 2h or 7d{more}"
        )
    if seconds > at_most:
        raise ValueError(f"{value!r} is too long: it may be {at_most / 86400:.0f} days at most")
    return seconds


def write_duration(seconds: float) -> str:
    """A span of time as L{parse_duration} takes it, in the largest unit that gives a whole number: C{15m}."""
    for unit in "dhm":
        if seconds and seconds % _SECONDS[unit] == 0:
            return f"{seconds / _SECONDS[unit]:.0f}{unit}"
    return f"{seconds:g}s"
