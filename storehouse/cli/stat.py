"""C{storehouse stat}: how much is stored in the append log, or what is known of an object."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import attrs
import click

from storehouse.cli.errors import CommandError, one_line
from storehouse.cli.log import LogClient
from storehouse.cli.options import log_options
from storehouse.cli.output import Output, columns, human_size, time_text
from storehouse.cli.store import NAME, Name, Opener, naming, printable, store_options
from storehouse.storage.objects.values import ObjectInfo

__all__ = ["command"]

_HEAD = ("PREFIX", "RECORDS", "SIZE", "FILES", "BUCKETS", "STATE")


@click.command("stat")
@click.argument("name", metavar="[BUCKET/KEY]", required=False, type=NAME)
@click.option("--json", "as_json", is_flag=True, help="Print all details as JSON, with sizes in bytes.")
@log_options
@store_options
async def command(opener: Opener, log: LogClient, name: Name | None, as_json: bool) -> None:
    """
    Show what is known of the object BUCKET/KEY (of the root that --root names). Without an argument, show the records
    and bytes of each storage prefix of the append log (of the --server), or of the one that --prefix names.

    FILES counts the bucket files that hold records, of BUCKETS that there are.

    \b
    Examples:
      storehouse stat
      storehouse stat --prefix default --json
      storehouse stat photos/a.jpg
    """
    with Output() as output:
        text = _of_log(log, as_json) if name is None else await _of_object(opener, name, as_json)
        output.write(f"{text}\n".encode("utf-8", "backslashreplace"))


async def _of_object(opener: Opener, name: Name, as_json: bool) -> str:
    async with opener() as store:
        with naming(name):
            info = await store.head(name.bucket, name.key)
    if as_json:
        return json.dumps({"bucket": name.bucket, **attrs.asdict(info)})
    return "\n".join(f"{word + ':':10}{printable(value)}" for word, value in _facts(name, info))


def _facts(name: Name, info: ObjectInfo) -> Iterable[tuple[str, str]]:
    yield "name", str(name)
    yield "size", f"{info.size} ({human_size(info.size)})" if info.size > 999 else str(info.size)
    yield "time", time_text(info.created // 10**9)
    yield "etag", info.etag
    yield "id", info.id
    if info.version:
        yield "version", info.version
    if info.content_type:
        yield "type", info.content_type
    for field, values in info.metadata.items():
        for value in values:
            yield "metadata", f"{field}={value}"


def _of_log(log: LogClient, as_json: bool) -> str:
    response = log.stat()
    prefixes = response.get("prefixes")
    if not isinstance(prefixes, dict):
        raise CommandError("the server's response names no prefixes; is it a storehouse server?")
    return (
        json.dumps(response, indent=2, ensure_ascii=False)
        if as_json
        else columns([_HEAD, *_rows(prefixes)], range(1, 5)).rstrip("\n")
    )


def _rows(prefixes: Mapping[str, Any]) -> Iterable[Sequence[str]]:
    for name, size in sorted(prefixes.items()):
        try:
            yield (
                one_line(name),
                str(int(size["records"])),
                human_size(int(size["bytes"])),
                str(int(size["files"])),
                str(int(size["buckets"])),
                "open" if size.get("open") else "closed",
            )
        except (AttributeError, KeyError, TypeError, ValueError):
            raise CommandError(
                f"the server's response about prefix {name} is invalid; is it a storehouse server?"
            ) from None
