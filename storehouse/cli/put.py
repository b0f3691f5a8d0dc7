"""C{storehouse put}: a file or standard input becomes an object."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import attrs
import click

from storehouse.cli.options import progress_option
from storehouse.cli.output import Output
from storehouse.cli.progress import Progress
from storehouse.cli.sources import open_source
from storehouse.cli.store import NAME, Name, Opener, condition_options, description_options, naming, store_options
from storehouse.local import Condition

__all__ = ["command"]


@click.command("put", short_help="Store an object.")
@click.argument("source", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.argument("name", metavar="BUCKET/KEY", type=NAME)
@description_options
@condition_options
@click.option("--md5", is_flag=True, help="Make the etag the MD5 of the bytes, which takes longer.")
@click.option("--json", "as_json", is_flag=True, help="Print what is known of the object, as an object of JSON.")
@progress_option
@store_options
def command(
    opener: Opener,
    source: str,
    name: Name,
    content_type: str | None,
    metadata: Mapping[str, Sequence[str]],
    condition: Condition,
    md5: bool,
    as_json: bool,
    progress: bool,
) -> None:
    """
    Store SOURCE, a file or - for standard input, as the object BUCKET/KEY; replaces the one that is there, in one
    step, once all of SOURCE is safe.

    \b
    Examples:
      storehouse put a.jpg photos/2026/a.jpg --content-type image/jpeg
      tar c /home | storehouse put - backups/home.tar --metadata host=nova
      storehouse put state.json app/state --if-match 9a0364b9e99bb480dd25e1f0284c8555
    """
    with opener() as store, open_source(source) as opened, Progress("put", opened.size, progress) as shown:
        body = opened.as_body(shown.advance)
        with naming(name):
            info = store.put(
                name.bucket, name.key, body.pieces, body.size, content_type or "", metadata, condition, md5
            )
    if as_json:
        with Output() as output:
            output.write(f"{json.dumps({'bucket': name.bucket, **attrs.asdict(info)})}\n".encode())
