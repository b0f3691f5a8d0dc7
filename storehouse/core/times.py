"""Moments and spans of time as people and programs write them, for all doors, commands and settings alike."""

from __future__ import annotations

import math
import re
from calendar import timegm
from datetime import UTC, datetime

__all__ = ["FORMS", "parse_duration", "parse_lifetime", "parse_time", "write_duration"]

#: What can be written, for messages.
FORMS = "2026-01-31T12:00:00Z (UTC if it has no zone), 2026-01-31, a number of seconds since 1970, or a time ago: -15m, -2h, -7d"

_NS = 10**9

#: The latest time there is: a 64-bit number of nanoseconds.
_LAST = (1 << 64) - 1

_moment = re.compile(
    # In a query a plus sign is a space.
    r"(\d{4})-(\d\d)-(\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?(?:\s*(Z|[-+]\d\d:\d\d)|( \d\d:\d\d))?)?",
    re.ASCII | re.IGNORECASE,
).fullmatch
_number = re.compile(r"(\d{1,20})(?:\.(\d{1,9}))?", re.ASCII).fullmatch

#: Numbers below each are of that unit, of so many nanoseconds. Those of later units begin in 1973.
_UNITS = ((10**11, _NS), (10**14, 10**6), (10**17, 10**3), (_LAST + 1, 1))


def parse_time(text: str, now: float) -> int:
    """
    Nanoseconds since 1970 UTC.

    A time is one of RFC 3339, where seconds, the zone (UTC then), or all behind the date may be missing; a number since 1970
    in seconds (which may have a fraction), or by its size in milli-, micro- or nanoseconds; or a span of time with a unit, so
    long ago, with a minus sign: C{-15m}, C{-2h}.

    @param now: seconds since 1970.
    @raise ValueError: if it is none of these; the text is for the user.
    """
    text = text.strip()
    number = _number(text)
    if number is not None:
        return _since(text, int(number[1]), number[2])
    moment = _moment(text)
    if moment is not None:
        return _checked(text, _of_calendar(text, moment))
    try:
        # Without the sign it could be meant for so long from now.
        if not text.startswith("-") or text[-1:].isdigit():
            raise ValueError
        return max(0, round((now - parse_duration(text[1:], at_most=math.inf)) * _NS))
    except ValueError:
        raise ValueError(f"{text[:100]!r} is not a time: {FORMS}") from None


def _since(text: str, whole: int, fraction: str | None) -> int:
    for below, unit in _UNITS:
        if whole < below:
            if fraction is not None and unit != _NS:
                raise ValueError(f"{text!r} is not a time: only seconds since 1970 can have a fraction")
            return _checked(text, whole * unit + int((fraction or "").ljust(9, "0") or "0"))
    return _checked(text, whole)


def _checked(text: str, time: int) -> int:
    if time > _LAST:
        raise ValueError(f"{text[:100]!r} is after 2554, the last year that is possible")
    return max(0, time)


def _of_calendar(text: str, moment: re.Match[str]) -> int:
    year, month, day, hour, minute, second = (int(part or 0) for part in moment.groups()[:6])
    zone = moment[8] or (moment[9] and "+" + moment[9][1:])
    try:
        # The calendar's own bounds; 60 is the second that is added to some minutes.
        seconds = timegm(datetime(year, month, day, hour, minute, min(second, 59), tzinfo=UTC).timetuple())
        if second > 60:
            raise ValueError(f"there is no second {second}")
        seconds += max(0, second - 59)
        if zone and zone not in "Zz":
            hours, minutes = int(zone[1:3]), int(zone[4:])
            if hours > 23 or minutes > 59:
                raise ValueError(f"there is no zone {zone}")
            seconds -= (hours * 3600 + minutes * 60) * (-1 if zone[0] == "-" else 1)
    except (ValueError, OverflowError) as problem:
        raise ValueError(f"{text!r} is not a time: {problem}") from None
    return seconds * _NS + int((moment[7] or "0").ljust(9, "0"))


def parse_lifetime(value: float | str, now: float) -> float:
    """
    How long from now something is to last: a span of time, or the moment at which it ends (RFC 3339, or a date).

    @return: seconds, more than 0.
    @raise ValueError: if it is neither, or the moment is over; the text is for the user.
    """
    if isinstance(value, str) and (moment := _moment(value.strip())) is not None:
        seconds = _checked(value, _of_calendar(value, moment)) / _NS - now
        if seconds <= 0:
            raise ValueError(f"{value!r} is over")
        return seconds
    return parse_duration(value)


# -- spans of time ---------------------------------------------------------------------------------

_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}

#: 100 years: more than that means something else, such as a moment, or milliseconds.
_LONGEST = 36525 * 86400

_match = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,6})?)\s*([smhdw]?)", re.ASCII).fullmatch


def parse_duration(value: object, at_least: float = math.ulp(0.0), at_most: float = _LONGEST) -> float:
    """
    Seconds, or a number with a unit: C{90s}, C{15m}, C{2h}, C{7d}, C{1w}.

    @param at_least: the fewest seconds; anything more than 0 unless said otherwise.
    @param at_most: the most seconds; 100 years unless said otherwise.
    @return: seconds.
    @raise ValueError: if it is neither, or longer; the text is for the user.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"{value!r} is not a duration")
    if isinstance(value, str):
        found = _match(value.strip())
        seconds = float(found[1]) * _SECONDS[found[2]] if found else math.nan
    else:
        seconds = float(value) if abs(value) < 1e15 else math.nan
    if not seconds >= at_least:
        more = ", more than 0" if at_least else ""
        raise ValueError(f"{value!r} is not a duration: seconds, or a number with a unit, such as 15m, 2h or 7d{more}")
    if seconds > at_most:
        raise ValueError(f"{value!r} is too long: it may be {at_most / 86400:.0f} days at most")
    return seconds


def write_duration(seconds: float) -> str:
    """A span of time as L{parse_duration} takes it, in the largest unit that gives a whole number: C{15m}."""
    for unit in "dhm":
        if seconds and seconds % _SECONDS[unit] == 0:
            return f"{seconds / _SECONDS[unit]:.0f}{unit}"
    return f"{seconds:g}s"
