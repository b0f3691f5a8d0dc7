"""C{storehouse rm}: remove objects."""

from __future__ import annotations

from collections.abc import Sequence

import click

from storehouse.cli.options import progress_option
from storehouse.cli.progress import Progress
from storehouse.cli.store import PLACE, Name, Opener, Store, keys_below, naming, printable, store_options

__all__ = ["command"]


@click.command("rm", short_help="Remove objects.")
@click.argument("names", metavar="BUCKET/KEY...", nargs=-1, required=True, type=PLACE)
@click.option("-r", "--recursive", is_flag=True, help="Every object whose key begins with KEY, which may be empty.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask whether --recursive is meant.")
@progress_option
@store_options
def command(opener: Opener, names: Sequence[Name], recursive: bool, yes: bool, progress: bool) -> None:
    """
    Remove objects. Whoever reads one reads it to its end.

    \b
    Examples:
      storehouse rm photos/a.jpg photos/b.jpg
      storehouse rm --recursive --yes photos/2019/
    """
    if not recursive:
        for name in names:
            if not name.key:
                raise click.UsageError(f"{str(name)!r} is not of the form BUCKET/KEY; --recursive takes BUCKET/.")
    with opener() as store:
        for name in names:
            if recursive:
                if not yes:
                    click.confirm(f"Remove all objects below {printable(str(name))}?", abort=True, err=True)
                with Progress("rm", None, progress, unit="objects") as shown:
                    _remove_below(store, name, shown)
            else:
                with naming(name):
                    store.delete(name.bucket, name.key)


def _remove_below(store: Store, place: Name, shown: Progress) -> None:
    with naming(place):
        # What is listed next comes after what was removed.
        for item in keys_below(store, place):
            key = item if isinstance(item, str) else item.key
            with naming(Name(place.bucket, key)):
                store.delete(place.bucket, key)
            shown.advance(1)
