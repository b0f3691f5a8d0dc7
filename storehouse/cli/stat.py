"""C{storehouse stat}: how much is stored."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import click

from storehouse.cli.errors import CommandError, one_line
from storehouse.cli.log import LogClient
from storehouse.cli.options import log_options
from storehouse.cli.output import Output, human_size

__all__ = ["command", "table"]

_HEAD = ("PREFIX", "RECORDS", "SIZE", "FILES", "BUCKETS", "STATE")


@click.command("stat", short_help="Show how much is stored.")
@click.option("--json", "as_json", is_flag=True, help="Print the server's answer, with sizes in bytes.")
@log_options
def command(log: LogClient, as_json: bool) -> None:
    """
    Show the records and bytes of each storage prefix, or of the one that --prefix names.

    FILES counts the bucket files that hold records, of BUCKETS that there are.

    \b
    Examples:
      storehouse stat
      storehouse stat --prefix default --json
    """
    answer = log.stat()
    prefixes = answer.get("prefixes")
    if not isinstance(prefixes, dict):
        raise CommandError("the server's answer names no prefixes; is that a storehouse?")
    text = json.dumps(answer, indent=2, ensure_ascii=False) if as_json else table(_rows(prefixes))
    with Output() as output:
        output.write(f"{text}\n".encode("utf-8", "backslashreplace"))


def _rows(prefixes: Mapping[str, Any]) -> Iterable[Sequence[str]]:
    for name, size in sorted(prefixes.items()):
        try:
            yield (
                one_line(name),
                str(int(size["records"])),
                human_size(int(size["bytes"])),
                str(int(size["files"])),
                str(int(size["buckets"])),
                "open" if size.get("open") else "closed",
            )
        except (AttributeError, KeyError, TypeError, ValueError):
            raise CommandError(
                f"the server's answer about prefix {name} makes no sense; is that a storehouse?"
            ) from None


def table(rows: Iterable[Sequence[str]]) -> str:
    """Rows under the head of the table: the first and the last column to the left, numbers to the right."""
    lines = [_HEAD, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(_row(line, widths) for line in lines)


def _row(cells: Sequence[str], widths: Sequence[int]) -> str:
    left = (0, len(cells) - 1)
    padded = (
        cell.ljust(width) if at in left else cell.rjust(width)
        for at, (cell, width) in enumerate(zip(cells, widths, strict=True))
    )
    return "  ".join(padded).rstrip()
