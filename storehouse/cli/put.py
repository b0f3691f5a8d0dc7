"""C{storehouse put}: a file or standard input becomes an object."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import attrs
import click

from storehouse.app.local import Condition
from storehouse.cli.options import command_option, progress_option, size_option
from storehouse.cli.output import Output
from storehouse.cli.progress import Progress
from storehouse.cli.sources import open_command, open_source
from storehouse.cli.store import NAME, Name, Opener, condition_options, description_options, naming, store_options
from storehouse.core.mediatypes import guessed_type

__all__ = ["command"]


@click.command("put", short_help="Store an object.")
@click.argument("arguments", metavar="SOURCE BUCKET/KEY", nargs=-1, required=True)
@command_option
@size_option
@description_options
@condition_options
@click.option("--md5", is_flag=True, help="Make the etag the MD5 of the bytes, which takes longer.")
@click.option("--json", "as_json", is_flag=True, help="Print what is known of the object, as an object of JSON.")
@progress_option
@store_options
def command(
    opener: Opener,
    arguments: Sequence[str],
    from_command: bool,
    size: int | None,
    content_type: str | None,
    metadata: Mapping[str, Sequence[str]],
    condition: Condition,
    md5: bool,
    as_json: bool,
    progress: bool,
) -> None:
    """
    Store SOURCE, a file or - for standard input, as the object BUCKET/KEY; replaces the one that is there, in one
    step, once all of SOURCE is safe. A file that changes while it is read is an error. Without --content-type the
    media type is what the end of KEY says, such as .jpg; --content-type "" stores none.

    The end of a pipe looks the same when the program before it has failed. With --from-command the program is run here
    (BUCKET/KEY and, behind --, the program and its arguments), and nothing is stored if it fails.

    \b
    Examples:
      storehouse put a.jpg photos/2026/a.jpg
      storehouse put --from-command backups/home.tar --metadata host=nova -- tar c /home
      curl -s https://example.org/a.iso | storehouse put - images/a.iso --size 734003200
      storehouse put state.json app/state --if-match 9a0364b9e99bb480dd25e1f0284c8555
    """
    source, name = _taken_apart(arguments, from_command)
    reading = open_command(source, size) if from_command else open_source(source[0], size)
    with opener() as store, reading as opened, Progress("put", opened.size, progress) as shown:
        body = opened.as_body(shown.advance)
        with naming(name):
            kind = guessed_type(name.key) if content_type is None else content_type
            info = store.put(name.bucket, name.key, body.pieces, body.size, kind, metadata, condition, md5)
    if as_json:
        with Output() as output:
            output.write(f"{json.dumps({'bucket': name.bucket, **attrs.asdict(info)})}\n".encode())


def _taken_apart(arguments: Sequence[str], from_command: bool) -> tuple[Sequence[str], Name]:
    """What is read, a path or a program with its arguments, and where it goes."""
    if from_command:
        if len(arguments) < 2:
            raise click.UsageError("--from-command needs BUCKET/KEY and, behind --, a program.")
        return arguments[1:], NAME.convert(arguments[0], None, None)
    if len(arguments) != 2:
        raise click.UsageError("Give SOURCE and BUCKET/KEY.")
    path = click.Path(exists=True, dir_okay=False, allow_dash=True)
    return (str(path.convert(arguments[0], None, None)),), NAME.convert(arguments[1], None, None)
