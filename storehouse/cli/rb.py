"""C{storehouse rb}: remove buckets."""

from __future__ import annotations

from collections.abc import Sequence

import click

from storehouse.cli.store import BUCKET, Opener, Unaffected, store_options

__all__ = ["command"]


@click.command("rb", short_help="Remove empty buckets.")
@click.argument("buckets", metavar="BUCKET...", nargs=-1, required=True, type=BUCKET)
@store_options
def command(opener: Opener, buckets: Sequence[str]) -> None:
    """
    Remove buckets that have no objects.

    \b
    Examples:
      storehouse rb photos
      storehouse rm --recursive --yes photos/ && storehouse rb photos
    """
    with opener() as store, Unaffected() as others:
        for bucket in buckets:
            with others.by(bucket):
                store.delete_bucket(bucket)
