"""C{storehouse ls} and C{du}: what buckets hold."""

from __future__ import annotations

import json
from typing import Any

import attrs
import click

from storehouse.cli.errors import CommandError, strange, unreadable
from storehouse.cli.output import Output, human_size, time_text
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
    versions_below,
)
from storehouse.storage.objects.values import Listing, ObjectInfo, VersionListing

__all__ = ["du", "ls"]

#: Lines written at once.
_FLUSHED = 1000


_place = click.argument("place", metavar="[BUCKET[/PREFIX]]", required=False, type=PLACE)


@click.command("ls")
@_place
@click.option("-l", "--long", "is_long", is_flag=True, help="Show the size in bytes and the time (UTC) of each key.")
@click.option("-r", "--recursive", is_flag=True, help="List all keys below, not only up to the next slash.")
@click.option("--versions", "all_versions", is_flag=True, help="List all versions, the newest of each key first.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object with all details for each.")
@store_options
async def ls(
    opener: Opener, place: Name | None, is_long: bool, recursive: bool, all_versions: bool, as_json: bool
) -> None:
    """
    List the buckets, or the objects of BUCKET whose keys begin with PREFIX, in the order of their keys.

    As in a directory, keys that have a slash behind PREFIX are listed once, by what they have up to it, unless
    --recursive is given. With --versions each line begins with the ID of a version, as S3 shows it; of a delete marker, which
    hides the versions below it, the size is "deleted". Control characters in keys are shown as \\xNN; --json has every key as it is.

    \b
    Examples:
      storehouse ls
      storehouse ls -l photos/2026/
      storehouse ls --json --recursive photos | jq -r .key
    """
    async with opener() as store:
        with Output() as output:
            if place is None:
                await _list_buckets(store, output, is_long, as_json)
            else:
                with naming(place if place.key else place.bucket):
                    await _list_objects(store, output, place, is_long, recursive, all_versions, as_json)


async def _list_buckets(store: Store, output: Output, is_long: bool, as_json: bool) -> None:
    for bucket in await store.list_buckets():
        if as_json:
            line = json.dumps(attrs.asdict(bucket))
        else:
            public = "  (public)" if "read" in bucket.metadata.get("public", ()) else ""
            line = f"{time_text(bucket.created // 10**9)}  {bucket.name}{public}" if is_long else bucket.name
        output.write(f"{line}\n".encode())


async def _list_objects(
    store: Store, output: Output, place: Name, is_long: bool, recursive: bool, all_versions: bool, as_json: bool
) -> None:
    damaged = unknown = 0

    def seen(page: Listing | VersionListing) -> None:
        nonlocal damaged, unknown
        damaged += len(page.damaged)
        unknown = page.unknown if isinstance(page, Listing) else 0

    number = 0
    below = versions_below if all_versions else keys_below
    async for item in below(store, place, "" if recursive else "/", seen):
        line = _line(place.bucket, item, is_long, as_json)
        if all_versions and not as_json:
            line = f"{'-' if isinstance(item, str) else item.version or 'null':32}  {line}"
        output.write(line.encode())
        number += 1
        if not number % _FLUSHED:
            output.flush()
    if damaged or unknown:
        output.flush()
        raise CommandError("; ".join([unreadable(damaged)] * (damaged > 0) + [strange(unknown)] * (unknown > 0)))


def _line(bucket: str, item: ObjectInfo | str, is_long: bool, as_json: bool) -> str:
    known: dict[str, Any]
    if isinstance(item, str):
        known, key, size, time = {"prefix": item}, item, "-", "-"
    elif item.size == DAMAGED:
        known, key, size, time = {"key": item.key, "damaged": True}, item.key, "damaged", "-"
    else:
        size = "deleted" if item.marker else str(item.size)
        known, key, time = attrs.asdict(item), item.key, time_text(item.created // 10**9)
    if as_json:
        return f"{json.dumps({'bucket': bucket, **known})}\n"
    return f"{size:>15}  {time:20}  {printable(key)}\n" if is_long else f"{printable(key)}\n"


@click.command("du")
@_place
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object for each, with sizes in bytes.")
@store_options
async def du(opener: Opener, place: Name | None, as_json: bool) -> None:
    """
    Show the objects and bytes of every bucket, of one, or of the keys that begin with PREFIX.

    \b
    Examples:
      storehouse du
      storehouse du photos/2026/ --json
    """
    damaged = 0
    async with opener() as store:
        with Output() as output:
            buckets = await store.list_buckets() if place is None else ()
            for name in [Name(bucket.name, "") for bucket in buckets] if place is None else [place]:
                objects = size = 0
                with naming(name if name.key else name.bucket):
                    # What a bucket says of itself does not count what is damaged.
                    async for item in keys_below(store, name):
                        assert not isinstance(item, str)  # without a delimiter there are no common prefixes
                        objects += 1
                        if item.size == DAMAGED:
                            damaged += 1
                        else:
                            size += item.size
                known = {"bucket": name.bucket, "prefix": name.key, "objects": objects, "bytes": size}
                words = f"{human_size(size):>12}  {objects:>12}  {printable(str(name) if name.key else name.bucket)}"
                output.write(f"{json.dumps(known) if as_json else words}\n".encode())
    if damaged:
        raise CommandError(unreadable(damaged))
