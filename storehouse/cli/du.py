"""C{storehouse du}: how much is stored in buckets."""

from __future__ import annotations

import json
from collections.abc import Iterator

import click

from storehouse.cli.errors import CommandError, unreadable
from storehouse.cli.output import Output, human_size
from storehouse.cli.store import (
    DAMAGED,
    PLACE,
    Name,
    Opener,
    Store,
    keys_below,
    naming,
    printable,
    store_options,
)

__all__ = ["command"]


@click.command("du", short_help="Show how much buckets hold.")
@click.argument("place", metavar="[BUCKET[/PREFIX]]", required=False, type=PLACE)
@click.option("--json", "as_json", is_flag=True, help="Print an object of JSON for each, with sizes in bytes.")
@store_options
def command(opener: Opener, place: Name | None, as_json: bool) -> None:
    """
    Show the objects and bytes of every bucket, of one, or of the keys that begin with PREFIX.

    \b
    Examples:
      storehouse du
      storehouse du photos/2026/ --json
    """
    with opener() as store, Output() as output:
        damaged: list[str] = []
        rows = list(_rows(store, place, damaged))
        if as_json:
            text = "".join(
                f"{json.dumps({'bucket': name.bucket, 'prefix': name.key, 'objects': objects, 'bytes': size})}\n"
                for name, objects, size in rows
            )
        else:
            text = "".join(
                f"{human_size(size):>12}  {objects:>12}  {printable(str(name) if name.key else name.bucket)}\n"
                for name, objects, size in rows
            )
        output.write(text.encode())
        output.flush()
        if damaged:
            raise CommandError(unreadable(len(damaged)))


def _rows(store: Store, place: Name | None, damaged: list[str]) -> Iterator[tuple[Name, int, int]]:
    """@param damaged: gets the keys whose sizes cannot be read."""
    if place is None:
        for bucket in store.list_buckets():
            yield _row(store, Name(bucket.name, ""), damaged)
        return
    with naming(place if place.key else place.bucket):
        yield _row(store, place, damaged)


def _row(store: Store, place: Name, damaged: list[str]) -> tuple[Name, int, int]:
    # What a bucket says of itself does not count what is damaged.
    count = size = 0
    for item in keys_below(store, place):
        if not isinstance(item, str):
            count += 1
            size += max(0, item.size)
            if item.size == DAMAGED:
                damaged.append(item.key)
    return place, count, size
