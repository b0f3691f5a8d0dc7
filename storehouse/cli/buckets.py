"""C{storehouse mb}, C{rb}, C{publish} and C{unpublish}: buckets."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import click

from storehouse.cli.store import BUCKET, Opener, Store, Unaffected, store_options

__all__ = ["mb", "publish", "rb", "unpublish"]

#: The metadata of a bucket that says what anybody may do with it; the only word that means anything is C{read}.
_PUBLIC = "public"

_buckets = click.argument("buckets", metavar="BUCKET...", nargs=-1, required=True, type=BUCKET)


async def _each(opening: Any, buckets: Sequence[str], change: Callable[[Store, str], Awaitable[object]]) -> None:
    """Change some buckets; one that fails does not keep the others from being changed."""
    async with opening as store:
        with Unaffected() as others:
            for bucket in buckets:
                with others.by(bucket):
                    await change(store, bucket)


@click.command("mb")
@_buckets
@store_options
async def mb(opener: Opener, buckets: Sequence[str]) -> None:
    """
    Make buckets. A name has 3 to 63 of a-z, 0-9, dots and hyphens.

    The root is made if there is none.

    \b
    Examples:
      storehouse mb photos
      storehouse mb photos backups --root /srv/storehouse
    """
    await _each(opener(create=True), buckets, lambda store, bucket: store.create_bucket(bucket))


@click.command("rb")
@_buckets
@store_options
async def rb(opener: Opener, buckets: Sequence[str]) -> None:
    """
    Remove buckets that have no objects.

    \b
    Examples:
      storehouse rb photos
      storehouse rm --recursive --yes photos/ && storehouse rb photos
    """
    await _each(opener(), buckets, lambda store, bucket: store.delete_bucket(bucket))


@click.command("publish")
@_buckets
@store_options
async def publish(opener: Opener, buckets: Sequence[str]) -> None:
    """
    Let anybody who reaches the door of uploads list a bucket, and read what is in it, without signing in. Nobody else can
    change it than before. `storehouse ls -l` shows which buckets are public.

    \b
    Examples:
      storehouse publish photos
      curl -k 'https://localhost:6445/download?bucket=photos'
      storehouse unpublish photos
    """
    await _each(opener(), buckets, _publish)


@click.command("unpublish")
@_buckets
@store_options
async def unpublish(opener: Opener, buckets: Sequence[str]) -> None:
    """
    Undo `storehouse publish`: a bucket is listed and read by those who sign in, and by those who have a link.

    \b
    Examples:
      storehouse unpublish photos
    """
    await _each(opener(), buckets, _unpublish)


async def _publish(store: Store, bucket: str) -> None:
    metadata = (await store.get_bucket(bucket)).metadata
    await store.set_bucket_metadata(bucket, {**metadata, _PUBLIC: ["read"]})


async def _unpublish(store: Store, bucket: str) -> None:
    metadata = dict((await store.get_bucket(bucket)).metadata)
    if metadata.pop(_PUBLIC, None) is not None:
        await store.set_bucket_metadata(bucket, metadata)
