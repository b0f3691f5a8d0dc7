"""C{storehouse append}: files, standard input or lines become records."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

import attrs
import click

from storehouse.cli.errors import CommandError
from storehouse.cli.log import Appended, LogClient
from storehouse.cli.options import command_option, log_options, progress_option, size_option
from storehouse.cli.output import Output
from storehouse.cli.progress import Progress
from storehouse.cli.sources import LineBatcher, Source, open_command, open_source

__all__ = ["command"]


@attrs.frozen
class _Job:
    """What the command line asked for, and where its output goes."""

    log: LogClient
    id: str
    durability: str | None
    as_json: bool
    quiet: bool
    output: Output


@click.command("append")
@click.argument("id")
@click.argument("files", metavar="[FILE]...", nargs=-1)
@click.option("--lines", is_flag=True, help="Append each line as a record, without its newline; skip empty lines.")
@command_option
@size_option
@click.option(
    "--durability",
    type=click.Choice(["disk", "os"]),
    help="Wait until the records are on disk, or only until they survive a crash of the server's process. Default: the server's setting.",
)
@click.option("--json", "as_json", is_flag=True, help='Print {"offset":N,"file":"PATH"} for each record.')
@click.option("-q", "--quiet", is_flag=True, help="Print nothing for the records.")
@progress_option
@log_options
def command(
    log: LogClient,
    id: str,
    files: Sequence[str],
    lines: bool,
    from_command: bool,
    size: int | None,
    durability: str | None,
    as_json: bool,
    quiet: bool,
    progress: bool,
) -> None:
    """
    Append records to the log of ID.

    Each FILE is one record; without FILE, or for -, standard input is one. For each record a line is printed: its
    offset, a tab, and the file that holds it. A file that changes while it is read is an error, and no record.

    The end of a pipe looks the same when the program before it has failed. With --from-command the program is run here
    (behind -- stand the program and its arguments), and nothing is appended if it fails.

    \b
    Examples:
      echo -n 'some text' | storehouse append some_identifier
      storehouse append photos a.jpg b.jpg
      storehouse append --from-command dumps -- pg_dump mydb
      storehouse append --lines --quiet events < events.log
      tail -f access.log | storehouse append --lines --durability os access
    """
    if lines and (from_command or size is not None):
        raise click.UsageError("--lines appends as it reads; it excludes --from-command and --size.")
    if from_command and not files:
        raise click.UsageError("--from-command needs a program after --.")
    if from_command:
        sources = [open_command(files, size)]
    else:
        path = click.Path(exists=True, dir_okay=False, allow_dash=True)
        sources = [open_source(str(path.convert(file, None, None)), size) for file in files or ("-",)]
    with Output() as output:
        job = _Job(log, id, durability, as_json, quiet, output)
        for opened in sources:
            with opened as source, Progress("append", source.size, progress) as shown:
                if lines:
                    _append_lines(job, source, shown)
                else:
                    _append_whole(job, source, shown)


def _append_whole(job: _Job, source: Source, progress: Progress) -> None:
    """One source, one record."""
    try:
        appended = job.log.append(job.id, source.as_body(progress.advance), job.durability)
    except CommandError as error:
        raise CommandError(f"{source.name}: {error.message}") from None
    _report(job, appended, progress)


def _append_lines(job: _Job, source: Source, progress: Progress) -> None:
    """One source, a record a line."""
    batcher = LineBatcher(source.name)
    count = 0
    try:
        for batch in _batches(source, batcher):
            appended = job.log.append_many(job.id, batch, job.durability)
            count += len(batch)
            _report(job, appended, progress)
            progress.advance(sum(map(len, batch)) + len(batch))
    except CommandError as error:
        raise CommandError(f"{source.name}: {error.message}; {_lines(count)} appended before that") from None
    if batcher.empty and not job.quiet:
        progress.hide()
        click.echo(
            f"{source.name}: {batcher.empty} empty {'line' if batcher.empty == 1 else 'lines'} skipped", err=True
        )


def _batches(source: Source, batcher: LineBatcher) -> Iterator[list[bytes]]:
    """Full batches while there is more to read, and whatever there is before waiting for more."""
    while data := source.read_some():
        yield from batcher.feed(data)
        if not source.has_more_now() and (batch := batcher.take()):
            yield batch
    yield from batcher.finish()


def _lines(count: int) -> str:
    return "1 line was" if count == 1 else f"{count} lines were"


def _report(job: _Job, appended: Appended, progress: Progress) -> None:
    """A line a record."""
    if job.quiet:
        return
    file = json.dumps(appended.file)
    if job.as_json:
        text = "".join(f'{{"offset":{offset},"file":{file}}}\n' for offset in appended.offsets)
    else:
        text = "".join(f"{offset}\t{appended.file}\n" for offset in appended.offsets)
    progress.hide()
    job.output.write(text.encode("utf-8", "surrogateescape"))
    job.output.flush()
