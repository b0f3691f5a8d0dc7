"""Times of records on the command line."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeVar

import attrs
import click

from storehouse.cli.output import time_text
from storehouse.core.times import FORMS, parse_time

__all__ = ["Span", "exact_time", "parse_time", "short_time", "span_options"]

T = TypeVar("T")

_NS = 10**9


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


def exact_time(nanoseconds: int) -> str | None:
    """RFC 3339 with nanoseconds; C{None} for a time that is not known."""
    if not nanoseconds:
        return None
    seconds, rest = divmod(nanoseconds, _NS)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09}Z"


def short_time(nanoseconds: int) -> str:
    """For people, to the second; a dash for a time that is not known."""
    return time_text(nanoseconds // _NS)


def _parse(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    if value is None:
        return None
    try:
        return parse_time(value, time.time())
    except ValueError as error:
        raise click.BadParameter(f"{error}.") from None


def span_options(function: Callable[..., T]) -> Callable[..., T]:
    """Add --from and --to, as C{start} and C{end}."""
    function = click.option("--to", "end", metavar="TIME", callback=_parse, help="Only records before TIME.")(function)
    return click.option(
        "--from",
        "start",
        metavar="TIME",
        callback=_parse,
        help=f"Only records of TIME or later: {FORMS}.",
    )(function)
