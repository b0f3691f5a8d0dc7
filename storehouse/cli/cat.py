"""C{storehouse cat}: the bytes of objects."""

from __future__ import annotations

import re
from collections.abc import Sequence

import click

from storehouse.cli.options import progress_option
from storehouse.cli.output import Output
from storehouse.cli.progress import Progress
from storehouse.cli.store import NAME, Name, Opener, naming, store_options

__all__ = ["command"]


def _parse_range(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[int, int | None]:
    if value is None:
        return 0, None
    match = re.fullmatch(r"(\d{1,18})(?::(\d{1,18}))?", value, re.ASCII)
    if match is None or (match[2] is not None and not int(match[2])):
        raise click.BadParameter(f"{value!r} is not OFFSET or OFFSET:LENGTH.")
    return int(match[1]), None if match[2] is None else int(match[2])


@click.command("cat", short_help="Write objects to standard output.")
@click.argument("names", metavar="BUCKET/KEY...", nargs=-1, required=True, type=NAME)
@click.option(
    "--range", "span", metavar="OFFSET[:LENGTH]", callback=_parse_range, help="Only LENGTH bytes from OFFSET on."
)
@click.option(
    "-o", "--output", "path", metavar="FILE", type=click.Path(dir_okay=False, allow_dash=True), help="Write to FILE."
)
@progress_option
@store_options
def command(
    opener: Opener, names: Sequence[Name], span: tuple[int, int | None], path: str | None, progress: bool
) -> None:
    """
    Write the bytes of objects to standard output, one after the other.

    No byte is written before its block was verified. A damaged block ends it, with exit status 1, once all before it
    was written to standard output. FILE is made when it is whole, and left as it was otherwise.

    \b
    Examples:
      storehouse cat backups/home.tar | tar t
      storehouse cat photos/a.jpg -o a.jpg
      storehouse cat logs/2026.log --range 1048576:4096
    """
    opener.check_output(path)
    with opener() as store, Output(path) as output:
        for name in names:
            with naming(name):
                reading = store.get(name.bucket, name.key, *span)
                try:
                    output.open()
                    with Progress("cat", reading.length, progress and not output.is_terminal) as shown:

                        def write(data: bytes, shown: Progress = shown) -> None:
                            output.write(data)
                            shown.advance(len(data))

                        try:
                            reading.deliver(write)
                        finally:
                            output.flush()
                finally:
                    reading.close()
