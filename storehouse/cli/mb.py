"""C{storehouse mb}: make buckets."""

from __future__ import annotations

from collections.abc import Sequence

import click

from storehouse.cli.store import BUCKET, Opener, Unaffected, store_options

__all__ = ["command"]


@click.command("mb", short_help="Make buckets.")
@click.argument("buckets", metavar="BUCKET...", nargs=-1, required=True, type=BUCKET)
@store_options
def command(opener: Opener, buckets: Sequence[str]) -> None:
    """
    Make buckets. A name has 3 to 63 of a-z, 0-9, dots and hyphens.

    The root is made if there is none.

    \b
    Examples:
      storehouse mb photos
      storehouse mb photos backups --root /srv/storehouse
    """
    with opener(create=True) as store, Unaffected() as others:
        for bucket in buckets:
            with others.by(bucket):
                store.create_bucket(bucket)
