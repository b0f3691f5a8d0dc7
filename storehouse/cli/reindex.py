"""C{storehouse reindex}: the index of keys made anew."""

from __future__ import annotations

import click

from storehouse.cli.errors import CommandError, strange, unreadable
from storehouse.cli.fsck import advancing
from storehouse.cli.options import progress_option
from storehouse.cli.progress import Progress
from storehouse.cli.store import Opener, store_options

__all__ = ["command"]


@click.command("reindex", short_help="Make the index of keys anew.")
@progress_option
@store_options
def command(opener: Opener, progress: bool) -> None:
    """
    Make the index of keys anew from the keys themselves. While a service runs on the root, its other work on keys
    waits.

    \b
    Examples:
      storehouse reindex
      storehouse reindex --root /srv/storehouse
    """
    with opener() as store, Progress("reindex", None, progress, unit="keys") as shown:
        made = store.reindex(advancing(shown))
    click.echo(f"{made.keys} {'key' if made.keys == 1 else 'keys'} indexed", err=True)
    if made.damaged:
        raise CommandError(unreadable(made.damaged))
    if made.unknown:
        raise CommandError(strange(made.unknown))
