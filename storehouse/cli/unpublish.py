"""C{storehouse unpublish}: let nobody read buckets who did not sign in."""

from __future__ import annotations

from collections.abc import Sequence

import click

from storehouse.cli.publish import change
from storehouse.cli.store import BUCKET, Opener, Unaffected, store_options

__all__ = ["command"]


@click.command("unpublish", short_help="Let only those read buckets who sign in.")
@click.argument("buckets", metavar="BUCKET...", nargs=-1, required=True, type=BUCKET)
@store_options
def command(opener: Opener, buckets: Sequence[str]) -> None:
    """
    Undo `storehouse publish`: a bucket is listed and read by those who sign in, and by who has a link.

    \b
    Examples:
      storehouse unpublish photos
    """
    with opener() as store, Unaffected() as others:
        for bucket in buckets:
            with others.by(bucket):
                change(store, bucket, False)
