"""C{storehouse archive grep}: the records in which something stands."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing

import attrs
import click

from storehouse.archive.interfaces import Payload, Record
from storehouse.cli.archive.cat import skip_option
from storehouse.cli.archive.places import Archive, archives_argument
from storehouse.cli.archive.records import Records, as_object, as_text
from storehouse.cli.archive.times import Span, span_options
from storehouse.cli.options import progress_option
from storehouse.cli.output import Output
from storehouse.cli.progress import Progress
from storehouse.cli.store import printable

__all__ = ["command"]


@attrs.frozen
class _Filter:
    """A value that metadata must have under a key; with C{differs}, must not have."""

    key: str
    value: str
    differs: bool

    def takes(self, metadata: Mapping[str, str]) -> bool:
        """Whether it lets a record through."""
        return (metadata.get(self.key) == self.value) is not self.differs


def _parse_filters(ctx: click.Context, param: click.Parameter, values: Sequence[str]) -> list[_Filter]:
    filters = []
    for value in values:
        key, equals, text = value.partition("=")
        if not equals or key in ("", "!"):
            raise click.BadParameter(f"{value!r} is not of the form KEY=VALUE or KEY!=VALUE.")
        filters.append(_Filter(key.removesuffix("!"), text, key.endswith("!")))
    return filters


def _matcher(pattern: str, ignore_case: bool) -> Callable[[Payload], bool]:
    """
    Whether a payload matches: text is searched as text, bytes as bytes.

    @raise click.UsageError: if it is no regular expression.
    """
    flags = re.MULTILINE | (re.IGNORECASE if ignore_case else 0)
    try:
        text = re.compile(pattern, flags)
    except (re.error, OverflowError, RecursionError) as error:
        raise click.UsageError(f"{pattern!r} is not a regular expression: {error}.") from None
    try:
        data = re.compile(pattern.encode("utf-8", "surrogateescape"), flags)
    except re.error:
        # Such as \u00e4, which only text knows.
        return lambda payload: bool(
            text.search(payload if isinstance(payload, str) else payload.decode("utf-8", "surrogateescape"))
        )
    return lambda payload: bool(text.search(payload) if isinstance(payload, str) else data.search(payload))


@click.command("grep")
@click.argument("pattern")
@archives_argument
@click.option(
    "-m", "--metadata", "filters", metavar="KEY=VALUE", multiple=True, callback=_parse_filters,
    help="Only records whose metadata have KEY=VALUE; or, with KEY!=VALUE, do not. If given several times, all must match.",
)  # fmt: skip
@span_options
@click.option("-i", "--ignore-case", is_flag=True, help="Ignore case.")
@click.option("-v", "--invert-match", is_flag=True, help="Select records that do not match.")
@click.option(
    "-c", "--count", "only_count", is_flag=True, help="Print only the number of matching records of each archive."
)
@click.option("-l", "--list", "only_names", is_flag=True, help="Print only the names of archives with a match.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing; the exit status says whether anything matched.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON; records as cat does.")
@skip_option
@progress_option
def command(
    pattern: str,
    archives: Sequence[Archive],
    filters: Sequence[_Filter],
    start: int | None,
    end: int | None,
    ignore_case: bool,
    invert_match: bool,
    only_count: bool,
    only_names: bool,
    quiet: bool,
    as_json: bool,
    skip_damaged: bool,
    progress: bool,
) -> None:
    """
    Print the records whose payload matches PATTERN, a regular expression of Python: ARCHIVE:RECORD:PAYLOAD. An empty
    PATTERN matches all.

    Payloads that are text are searched as text, all others as bytes; ^ and $ match at lines. -m and times are no part of
    what -v turns round. Exit status 0 if there are such records, 1 if there are none; if it failed, 1 and a line on
    standard error.

    \b
    Examples:
      storehouse archive grep -i error 'notes_*.events'
      storehouse archive grep '' -m event_type=compute.instance.exists -c 'notes_*.events'
      storehouse archive grep 'req-[0-9a-f]{8}' 'store:archives/notes/*' --from -1d --json
    """
    if only_count + only_names + quiet > 1:
        raise click.UsageError("-c, -l and -q exclude each other.")
    matches = _matcher(pattern, ignore_case)

    def is_wanted(record: Record) -> bool:
        if not all(each.takes(record.metadata) for each in filters):
            return False
        return matches(record.payload) is not invert_match

    span = Span(start, end)
    found = 0
    total = None if span.is_bounded or only_names or quiet else sum(archive.size for archive in archives)
    with Output() as output, Progress("grep", total, progress and not (output.is_terminal and not quiet)) as shown:
        output.refuse_inputs(archive.path for archive in archives if archive.path)
        records = Records(archives, skip_damaged, shown, span)
        for archive, inside in records.each():
            count = 0
            with closing(inside):
                for record in filter(is_wanted, inside):
                    count += 1
                    if only_names or quiet:
                        break
                    if not only_count:
                        output.write(as_object(archive, record) if as_json else _line(archive, record))
            found += count
            if found and quiet:
                return
            if only_count:
                output.write(_summary(archive, count, as_json))
            elif only_names and count:
                output.write(_summary(archive, None, as_json))
            output.flush()
        records.check()
    if not found:
        click.get_current_context().exit(1)


def _line(archive: Archive, record: Record) -> bytes:
    return f"{printable(archive.name)}:{record.number}:".encode() + as_text(record, False)


def _summary(archive: Archive, count: int | None, as_json: bool) -> bytes:
    if as_json:
        known = {"archive": archive.name} if count is None else {"archive": archive.name, "count": count}
        return json.dumps(known).encode() + b"\n"
    return f"{printable(archive.name)}{'' if count is None else f':{count}'}\n".encode()
