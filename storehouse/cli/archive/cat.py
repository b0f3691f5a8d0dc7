"""C{storehouse archive cat}: the records of archives."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import click

from storehouse.archive.interfaces import Record
from storehouse.cli.archive.places import Archive, archives_argument
from storehouse.cli.archive.records import Records, as_object, as_text
from storehouse.cli.archive.times import Span, span_options
from storehouse.cli.options import progress_option
from storehouse.cli.output import Output
from storehouse.cli.progress import Progress

__all__ = ["command", "skip_option"]

skip_option = click.option(
    "--skip-damaged", is_flag=True, help="Skip damage and report it. Exit status 1 if anything was skipped."
)


@click.command("cat")
@archives_argument
@span_options
@click.option(
    "--record", "numbers", metavar="N", multiple=True, type=click.IntRange(0),
    help="Only record N of the one archive, counted from 0; may be given several times.",
)  # fmt: skip
@click.option("--metadata", is_flag=True, help="Print the metadata as JSON and a tab before each payload.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object for each record.")
@click.option(
    "-o", "--output", "path", metavar="FILE", type=click.Path(dir_okay=False, allow_dash=True), help="Write to FILE."
)
@skip_option
@progress_option
def command(
    archives: Sequence[Archive],
    start: int | None,
    end: int | None,
    numbers: Sequence[int],
    metadata: bool,
    as_json: bool,
    path: str | None,
    skip_damaged: bool,
    progress: bool,
) -> None:
    """
    Write the records of archives to standard output, in the order in which they were written: each payload and a newline.

    With --json, each is an object a line: archive, record (its number), time, metadata, and payload, which is
    payload_base64 if it is not text. Times are null where they are not known: version 1 has none, and its records are left
    out with --from and --to. Damage ends it, with exit status 1, once all before it was written to standard output; FILE is
    made when it is whole, and left as it was otherwise. FILE cannot be one of the archives, nor can standard output.

    \b
    Examples:
      storehouse archive cat 'notes_*.events'
      storehouse archive cat notes.events.gz --json | jq -r .metadata.event_type
      storehouse archive cat 'store:archives/notes/*' --from -1h
      storehouse archive cat notes.events --record 17 --metadata
    """
    span = Span(start, end)
    if numbers and span.is_bounded:
        raise click.UsageError("--record excludes --from and --to.")
    if numbers and len(archives) != 1:
        raise click.UsageError(f"--record takes one archive; {len(archives)} are given.")
    total = None if numbers or span.is_bounded else sum(archive.size for archive in archives)
    with Output(path) as output, Progress("cat", total, progress and not output.is_terminal) as shown:
        output.refuse_inputs(archive.path for archive in archives if archive.path)
        records = Records(archives, skip_damaged, shown, span)
        wanted: Iterable[tuple[Archive, Record]] = _numbered(archives[0], numbers) if numbers else records
        try:
            for archive, record in wanted:
                output.write(as_object(archive, record) if as_json else as_text(record, metadata))
            output.open()
        finally:
            output.flush()
        records.check()


def _numbered(archive: Archive, numbers: Sequence[int]) -> Iterator[tuple[Archive, Record]]:
    with archive.open() as reader:
        for number in numbers:
            yield archive, reader.record(number)
