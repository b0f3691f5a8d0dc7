"""C{storehouse get}: records by their offsets."""

from __future__ import annotations

from collections.abc import Sequence

import click

from storehouse.cli.frames import encode_header
from storehouse.cli.log import LogClient
from storehouse.cli.options import OFFSET, log_options, progress_option
from storehouse.cli.output import Output
from storehouse.cli.progress import Progress

__all__ = ["command"]

#: The most offsets in one request, so that its response stays within what a server lets one have.
_AT_ONCE = 256


@click.command("get")
@click.argument("id")
@click.argument("offsets", metavar="OFFSET...", nargs=-1, required=True, type=OFFSET)
@click.option(
    "-o", "--output", "path", metavar="FILE", type=click.Path(dir_okay=False, allow_dash=True), help="Write to FILE."
)
@click.option("--length-prefixed", is_flag=True, help="Write each record's length, 4 bytes little-endian, before it.")
@click.option("--newline", is_flag=True, help="Write a newline after each record.")
@progress_option
@log_options
def command(
    log: LogClient,
    id: str,
    offsets: Sequence[int],
    path: str | None,
    length_prefixed: bool,
    newline: bool,
    progress: bool,
) -> None:
    """
    Write the records of ID at the OFFSETs to standard output, one after the other.

    An offset is what append printed. The first one that has no record ends it.

    \b
    Examples:
      storehouse get some_identifier 0
      storehouse get photos 1048580 -o b.jpg
      storehouse get events 0 117 240 --newline
    """
    if length_prefixed and newline:
        raise click.UsageError("--length-prefixed and --newline exclude each other.")
    with Output(path) as output:
        wanted = progress and not output.is_terminal
        if len(offsets) == 1 and not length_prefixed:
            _get_one(log, id, offsets[0], output, wanted)
            if newline:
                output.write(b"\n")
        else:
            with Progress("get", None, wanted) as shown:
                _get_many(log, id, offsets, output, length_prefixed, newline, shown)


def _get_one(log: LogClient, id: str, offset: int, output: Output, progress: bool) -> None:
    response = log.get(id, offset)
    output.open()
    with Progress("get", response.size, progress) as shown:
        for data in response.pieces():
            output.write(data)
            shown.advance(len(data))


def _get_many(
    log: LogClient,
    id: str,
    offsets: Sequence[int],
    output: Output,
    length_prefixed: bool,
    newline: bool,
    progress: Progress,
) -> None:
    for begin in range(0, len(offsets), _AT_ONCE):
        for piece in log.get_many(id, offsets[begin : begin + _AT_ONCE]):
            if length_prefixed and piece.first:
                output.write(encode_header(piece.length, None))
            output.write(piece.data)
            if newline and piece.last:
                output.write(b"\n")
            progress.advance(len(piece.data))
