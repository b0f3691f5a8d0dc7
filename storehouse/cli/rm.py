"""C{storehouse rm}: remove objects."""

from __future__ import annotations

from collections.abc import Sequence

import click

from storehouse.cli.options import progress_option
from storehouse.cli.progress import Progress
from storehouse.cli.store import PLACE, Name, Opener, Store, Unaffected, keys_below, printable, store_options

__all__ = ["command"]


@click.command("rm", short_help="Remove objects.")
@click.argument("names", metavar="BUCKET/KEY...", nargs=-1, required=True, type=PLACE)
@click.option("-r", "--recursive", is_flag=True, help="Every object whose key begins with KEY, which may be empty.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask whether --recursive is meant.")
@progress_option
@store_options
def command(opener: Opener, names: Sequence[Name], recursive: bool, yes: bool, progress: bool) -> None:
    """
    Remove objects. Readers that have begun read to the end. One that cannot be removed is named, the others are removed, and
    the exit status is 1.

    \b
    Examples:
      storehouse rm photos/a.jpg photos/b.jpg
      storehouse rm --recursive --yes photos/2019/
    """
    if not recursive:
        for name in names:
            if not name.key:
                raise click.UsageError(f"{str(name)!r} is not of the form BUCKET/KEY; --recursive takes BUCKET/.")
    with opener() as store, Unaffected() as others:
        for name in names:
            if recursive:
                if not yes:
                    click.confirm(f"Remove all objects below {printable(str(name))}?", abort=True, err=True)
                with Progress("rm", None, progress, unit="objects") as shown:
                    _remove_below(store, name, others, shown)
            else:
                with others.by(name):
                    store.delete(name.bucket, name.key)


def _remove_below(store: Store, place: Name, others: Unaffected, shown: Progress) -> None:
    others.hide = shown.hide
    keys = keys_below(store, place)
    seen: tuple[str, ...] = ()
    while True:
        item = None
        # Who is not the only one to remove finds less than was listed, and at last no bucket.
        with others.by(place, *seen):
            # What is listed next comes after what was removed.
            item = next(keys, None)
        if item is None:
            return
        seen = ("NoSuchBucket",)
        key = item if isinstance(item, str) else item.key
        with others.by(Name(place.bucket, key), "NoSuchKey", "NoSuchBucket"):
            store.delete(place.bucket, key)
        shown.advance(1)
