"""C{storehouse put}, C{cat}, C{cp} and C{rm}: objects."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence

import attrs
import click

from storehouse.cli.options import command_option, progress_option, size_option
from storehouse.cli.output import Output
from storehouse.cli.progress import Progress
from storehouse.cli.sources import open_command, open_source
from storehouse.cli.store import (
    NAME,
    PLACE,
    Name,
    Opener,
    Store,
    Unaffected,
    condition_options,
    description_options,
    keys_below,
    naming,
    printable,
    store_options,
)
from storehouse.core.names import guessed_type
from storehouse.errors import InvalidRange, NoSuchBucket, NoSuchKey, StorehouseError
from storehouse.storage.objects.values import Condition

__all__ = ["cat", "cp", "put", "rm"]


@click.command("put")
@click.argument("arguments", metavar="SOURCE BUCKET/KEY", nargs=-1, required=True)
@command_option
@size_option
@description_options
@condition_options
@click.option("--md5", is_flag=True, help="Use the MD5 of the bytes as the etag (slower).")
@click.option("--json", "as_json", is_flag=True, help="Print the object's details as a JSON object.")
@progress_option
@store_options
async def put(
    opener: Opener,
    arguments: Sequence[str],
    from_command: bool,
    size: int | None,
    content_type: str | None,
    metadata: Mapping[str, Sequence[str]],
    condition: Condition,
    md5: bool,
    as_json: bool,
    progress: bool,
) -> None:
    """
    Store SOURCE, a file or - for standard input, as the object BUCKET/KEY; replaces the one that is there, in one
    step, once all of SOURCE is safe. A file that changes while it is read is an error. Without --content-type the
    media type is what the end of KEY says, such as .jpg; --content-type "" stores none.

    The end of a pipe looks the same when the program before it has failed. With --from-command the program is run here
    (BUCKET/KEY and, behind --, the program and its arguments), and nothing is stored if it fails.

    \b
    Examples:
      storehouse put a.jpg photos/2026/a.jpg
      storehouse put --from-command backups/home.tar --metadata host=nova -- tar c /home
      curl -s https://example.org/a.iso | storehouse put - images/a.iso --size 734003200
      storehouse put state.json app/state --if-match 9a0364b9e99bb480dd25e1f0284c8555
    """
    source, name = _taken_apart(arguments, from_command)
    reading = open_command(source, size) if from_command else open_source(source[0], size)
    async with opener() as store:
        with reading as opened, Progress("put", opened.size, progress) as shown:
            body = opened.as_body(shown.advance)
            with naming(name):
                kind = guessed_type(name.key) if content_type is None else content_type
                stream = body.stream()
                info = await store.put(name.bucket, name.key, stream, body.size, kind, metadata, condition, md5)
    if as_json:
        with Output() as output:
            output.write(f"{json.dumps({'bucket': name.bucket, **attrs.asdict(info)})}\n".encode())


def _taken_apart(arguments: Sequence[str], from_command: bool) -> tuple[Sequence[str], Name]:
    """What is read, a path or a program with its arguments, and where it goes."""
    if from_command:
        if len(arguments) < 2:
            raise click.UsageError("--from-command needs BUCKET/KEY and, after --, a program.")
        return arguments[1:], NAME.convert(arguments[0], None, None)
    if len(arguments) != 2:
        raise click.UsageError("Give SOURCE and BUCKET/KEY.")
    path = click.Path(exists=True, dir_okay=False, allow_dash=True)
    return (str(path.convert(arguments[0], None, None)),), NAME.convert(arguments[1], None, None)


def _parse_range(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[int, int | None]:
    if value is None:
        return 0, None
    match = re.fullmatch(r"(\d{1,18})(?::(\d{1,18}))?", value, re.ASCII)
    if match is None or (match[2] is not None and not int(match[2])):
        raise click.BadParameter(f"{value!r} is not OFFSET or OFFSET:LENGTH.")
    return int(match[1]), None if match[2] is None else int(match[2])


@click.command("cat")
@click.argument("names", metavar="BUCKET/KEY...", nargs=-1, required=True, type=NAME)
@click.option(
    "--range", "span", metavar="OFFSET[:LENGTH]", callback=_parse_range, help="Only LENGTH bytes from OFFSET."
)
@click.option(
    "-o", "--output", "path", metavar="FILE", type=click.Path(dir_okay=False, allow_dash=True), help="Write to FILE."
)
@progress_option
@store_options
async def cat(
    opener: Opener, names: Sequence[Name], span: tuple[int, int | None], path: str | None, progress: bool
) -> None:
    """
    Write the bytes of objects to standard output, one after the other.

    No byte is written before its block was verified. A damaged block ends it, with exit status 1, once all before it
    was written to standard output. FILE is made when it is whole, and left as it was otherwise.

    \b
    Examples:
      storehouse cat backups/home.tar | tar t
      storehouse cat photos/a.jpg -o a.jpg
      storehouse cat logs/2026.log --range 1048576:4096
    """
    opener.check_output(path)
    async with opener() as store:
        with Output(path) as output:
            for name in names:
                with naming(name):
                    await _write(store, name, span, output, progress)


async def _write(store: Store, name: Name, span: tuple[int, int | None], output: Output, progress: bool) -> None:
    offset, length = span
    if span != (0, None):
        # Of a range that ends behind the object there is what the object has.
        size = (await store.head(name.bucket, name.key)).size
        if offset >= size:
            raise InvalidRange(offset, length, size)
        length = size - offset if length is None else min(length, size - offset)
    reading = await store.get(name.bucket, name.key, offset, length)
    try:
        output.open()
        with Progress("cat", reading.length, progress and not output.is_terminal) as shown:
            try:
                while piece := await reading.read():
                    output.write(piece)
                    shown.advance(len(piece))
            finally:
                output.flush()
    finally:
        await reading.close()


@click.command("cp")
@click.argument("source", metavar="BUCKET/KEY", type=NAME)
@click.argument("target", metavar="BUCKET/KEY", type=NAME)
@description_options
@condition_options
@store_options
async def cp(
    opener: Opener,
    source: Name,
    target: Name,
    content_type: str | None,
    metadata: Mapping[str, Sequence[str]],
    condition: Condition,
) -> None:
    """
    Store the first object under the second name as well. Their bytes are shared where the file system can do that.

    Media type and metadata are copied, unless others are given. Files come and go with put and cat.

    \b
    Examples:
      storehouse cp photos/a.jpg backups/photos/a.jpg
      storehouse cp photos/a.jpg photos/a.jpg --content-type image/jpeg
    """
    async with opener() as store:
        with naming(f"{source} to {target}"):
            await store.copy(
                target.bucket, target.key, source.bucket, source.key, content_type, metadata or None, condition
            )


@click.command("rm")
@click.argument("names", metavar="BUCKET/KEY...", nargs=-1, required=True, type=PLACE)
@click.option(
    "-r", "--recursive", is_flag=True, help="Remove every object whose key begins with KEY, which may be empty."
)
@click.option("-y", "--yes", is_flag=True, help="Do not ask for confirmation.")
@progress_option
@store_options
async def rm(opener: Opener, names: Sequence[Name], recursive: bool, yes: bool, progress: bool) -> None:
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
    async with opener() as store:
        with Unaffected() as others:
            for name in names:
                if recursive:
                    if not yes:
                        click.confirm(f"Remove all objects below {printable(str(name))}?", abort=True, err=True)
                    with Progress("rm", None, progress, unit="objects") as shown:
                        await _remove_below(store, name, others, shown)
                else:
                    with others.by(name):
                        await store.delete(name.bucket, name.key)


async def _remove_below(store: Store, place: Name, others: Unaffected, shown: Progress) -> None:
    others.hide = shown.hide
    keys = keys_below(store, place)
    seen: tuple[type[StorehouseError], ...] = ()
    while True:
        item = None
        # Another command that removes as well leaves less than was listed, and at last no bucket.
        with others.by(place, *seen):
            # What is listed next comes after what was removed.
            item = await anext(keys, None)
        if item is None:
            return
        seen = (NoSuchBucket,)
        key = item if isinstance(item, str) else item.key
        with others.by(Name(place.bucket, key), NoSuchKey, NoSuchBucket):
            await store.delete(place.bucket, key)
        shown.advance(1)
