"""C{storehouse cp}: an object under another key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import click

from storehouse.app.local import Condition
from storehouse.cli.store import NAME, Name, Opener, condition_options, description_options, naming, store_options

__all__ = ["command"]


@click.command("cp", short_help="Copy an object.")
@click.argument("source", metavar="BUCKET/KEY", type=NAME)
@click.argument("target", metavar="BUCKET/KEY", type=NAME)
@description_options
@condition_options
@store_options
def command(
    opener: Opener,
    source: Name,
    target: Name,
    content_type: str | None,
    metadata: Mapping[str, Sequence[str]],
    condition: Condition,
) -> None:
    """
    Store the first object under the second name as well. Their bytes are shared where the file system can do that.

    Media type and metadata are copied, unless others are given. Files come and go with put and cat.

    \b
    Examples:
      storehouse cp photos/a.jpg backups/photos/a.jpg
      storehouse cp photos/a.jpg photos/a.jpg --content-type image/jpeg
    """
    with opener() as store, naming(f"{source} to {target}"):
        store.copy(target.bucket, target.key, source.bucket, source.key, content_type, metadata or None, condition)
