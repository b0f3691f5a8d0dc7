"""C{storehouse uploads}: what was begun and not completed."""

from __future__ import annotations

import json
from collections.abc import Sequence

import attrs
import click

from storehouse.app.local.objects import LocalObjects, Upload
from storehouse.cli.errors import usage
from storehouse.cli.options import settings_options
from storehouse.cli.output import Output, columns, counted, human_size, time_text
from storehouse.config import Settings
from storehouse.core.times import parse_duration

__all__ = ["command"]

_HEAD = ("UPLOAD", "BEGUN", "TOUCHED", "PARTS", "SIZE")


def parse_age(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    """
    Seconds, or a number with a unit: C{90m}, C{12h}, C{7d}.

    @raise click.BadParameter: if it is neither.
    """
    if value is None:
        return None
    try:
        return parse_duration(value, at_least=0)
    except ValueError:
        raise click.BadParameter(
            f"{value!r} is not an age: seconds, or a number with a unit, such as 90m, 12h or 7d."
        ) from None


@click.command("uploads")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object for each, with times in seconds since 1970.")
@click.option(
    "--expire",
    metavar="AGE",
    callback=parse_age,
    help="Remove uploads unused for AGE (7d, 12h, 90m, or seconds), and list them. No service may run on the root.",
)
@settings_options("root", "objects-dir")
def command(settings: Settings, as_json: bool, expire: float | None) -> None:
    """
    List the uploads below a root that were begun and neither completed nor aborted: when they were begun and last got a
    part, their parts and bytes.

    The service removes abandoned uploads by itself (its setting objects-upload-expiry).

    \b
    Examples:
      storehouse uploads --root /srv/storehouse
      storehouse uploads --root /srv/storehouse --expire 30d
    """
    with usage():
        objects = LocalObjects(settings)
    uploads = objects.uploads() if expire is None else objects.expire_uploads(expire)
    text = "".join(f"{json.dumps(attrs.asdict(upload))}\n" for upload in uploads) if as_json else _table(uploads)
    with Output() as output:
        output.write(text.encode())
    if expire is not None:
        click.echo(f"{counted(len(uploads), 'upload', 'uploads')} removed", err=True)


def _table(uploads: Sequence[Upload]) -> str:
    rows = [
        (upload.id, time_text(upload.created), time_text(upload.touched), str(upload.parts), human_size(upload.size))
        for upload in uploads
    ]
    return columns([_HEAD, *rows], (3, 4))
