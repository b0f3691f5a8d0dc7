"""Times of records on the command line."""

from __future__ import annotations

import re
import time
from calendar import timegm
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import attrs
import click

__all__ = ["Span", "exact_time", "parse_time", "short_time", "span_options"]

_NS = 10**9

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}

_ago = re.compile(r"-([0-9]{1,9}(?:\.[0-9]{1,9})?)([smhdw])", re.ASCII)

_moment = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?\s*(Z|[+-]\d\d:\d\d)?)?",
    re.ASCII | re.IGNORECASE,
)


@attrs.frozen
class Span:
    """
    A stretch of time, nanoseconds since 1970 UTC.

    @ivar start: from here on; C{None} for no bound.
    @ivar end: before that.
    """

    start: int | None = None
    end: int | None = None

    @property
    def is_bounded(self) -> bool:
        """Whether it leaves anything out."""
        return self.start is not None or self.end is not None


def parse_time(text: str, now: float) -> int:
    """
    Nanoseconds since 1970 UTC: from RFC 3339, without a zone in UTC, or a date only; or from C{-1h} and the like.

    @raise ValueError: if it is none of these.
    """
    text = text.strip()
    if (ago := _ago.fullmatch(text)) is not None:
        return max(0, round((now - float(ago[1]) * _UNITS[ago[2]]) * _NS))
    moment = _moment.fullmatch(text)
    if moment is None:
        raise ValueError(text)
    year, month, day, hour, minute, second = (int(part or 0) for part in moment.groups()[:6])
    # The calendar's own bounds; 60 is the second that is added to some minutes.
    seconds = timegm(datetime(year, month, day, hour, minute, min(second, 59), tzinfo=UTC).timetuple())
    if second > 60:
        raise ValueError(text)
    seconds += max(0, second - 59)
    zone = moment[8]
    if zone and zone not in "Zz":
        hours, minutes = int(zone[1:3]), int(zone[4:])
        if hours > 23 or minutes > 59:
            raise ValueError(text)
        seconds -= (hours * 3600 + minutes * 60) * (-1 if zone[0] == "-" else 1)
    return max(0, seconds * _NS + int((moment[7] or "0").ljust(9, "0")))


def exact_time(nanoseconds: int) -> str | None:
    """RFC 3339 with nanoseconds; C{None} for a time that is not known."""
    if not nanoseconds:
        return None
    seconds, rest = divmod(nanoseconds, _NS)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09}Z"


def short_time(nanoseconds: int) -> str:
    """For people, to the second; a dash for a time that is not known."""
    return f"{datetime.fromtimestamp(nanoseconds // _NS, UTC):%Y-%m-%dT%H:%M:%SZ}" if nanoseconds else "-"


def _parse(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    if value is None:
        return None
    try:
        return parse_time(value, time.time())
    except ValueError:
        raise click.BadParameter(
            f"{value!r} is not a time: 2026-11-02T08:00:00Z, 2026-11-02, or so long ago: -90m, -12h, -7d."
        ) from None


def span_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add --from and --to, as C{start} and C{end}."""
    function = click.option("--to", "end", metavar="TIME", callback=_parse, help="Only records before TIME, likewise.")(
        function
    )
    return click.option(
        "--from",
        "start",
        metavar="TIME",
        callback=_parse,
        help="Only records of TIME or later: 2026-11-02T08:00:00Z (UTC if it has no zone), 2026-11-02, or -90m, -12h, -7d.",
    )(function)
