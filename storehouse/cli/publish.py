"""C{storehouse publish}: let anybody read buckets."""

from __future__ import annotations

from collections.abc import Sequence

import click

from storehouse.cli.store import BUCKET, Opener, Store, Unaffected, store_options

__all__ = ["PUBLIC", "change", "command"]

#: The metadata of a bucket that says what anybody may do with it; the only word that means anything is C{read}.
PUBLIC = "public"


@click.command("publish", short_help="Let anybody read buckets.")
@click.argument("buckets", metavar="BUCKET...", nargs=-1, required=True, type=BUCKET)
@store_options
def command(opener: Opener, buckets: Sequence[str]) -> None:
    """
    Let anybody who reaches the door of uploads list a bucket, and read what is in it, without signing in. Nobody else may
    change it than before. `storehouse ls -l` shows which buckets are public.

    \b
    Examples:
      storehouse publish photos
      curl -k 'https://localhost:6445/download?bucket=photos'
      storehouse unpublish photos
    """
    with opener() as store, Unaffected() as others:
        for bucket in buckets:
            with others.by(bucket):
                change(store, bucket, True)


def change(store: Store, bucket: str, is_public: bool) -> None:
    """Make a bucket public, or not; all else that is known of it stays."""
    metadata = dict(store.get_bucket(bucket).metadata)
    if is_public:
        metadata[PUBLIC] = ["read"]
    elif metadata.pop(PUBLIC, None) is None:
        return
    store.set_bucket_metadata(bucket, metadata)
