"""C{storehouse archive ship}: closed archives are brought to where they are to stay."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any, cast

import attrs
import click

from storehouse.app.local.archives import why_open
from storehouse.app.local.shipping import (
    ArchiveShipped,
    ShipperSettings,
    ShippingFailed,
    StoreSettings,
    Watcher,
    find_destination,
    make_destination,
    ship_files,
    spool_beside,
)
from storehouse.cli.archive.places import STORE, find_files
from storehouse.cli.errors import CommandError, one_line, reason_of
from storehouse.cli.options import progress_option
from storehouse.cli.output import Output, counted, human_size
from storehouse.cli.progress import Progress
from storehouse.cli.reactor import run
from storehouse.cli.store import Opener, printable
from storehouse.config import load_settings
from storehouse.config.shipping import DestinationSettings
from storehouse.core.jobs import DiskThreads
from storehouse.errors import StorehouseError
from storehouse.storage.objects.interfaces import IObjectStore

__all__ = ["command"]


@click.command("ship")
@click.argument("arguments", metavar="FILE...", nargs=-1, required=True)
@click.option("--to", metavar="NAME", help="The destination: [destinations.NAME] in the configuration file.")
@click.option(
    "--bucket", metavar="BUCKET", default="archives", show_default=True, help="The bucket in the root, without --to."
)
@click.option(
    "--stream", metavar="NAME", default="default", show_default=True, help="The prefix of names at the destination."
)
@click.option(
    "--compression", type=click.Choice(["gzip", "zstd", "none"]),
    help="Compress what is sent; .gz and .zst files are sent as they are. Default: as configured for the destination, or gzip.",
)  # fmt: skip
@click.option("--level", type=click.IntRange(1, 22), help="The compression level: 1 to 9 for gzip, 1 to 22 for zstd.")
@click.option(
    "--verify", type=click.Choice(["read", "tag"]),
    help="Verify by reading everything back, or only by size, tag and checksum. Default: as configured, or read.",
)  # fmt: skip
@click.option("--delete-local", is_flag=True, help="Remove each file once it is shipped and verified.")
@click.option(
    "--attempts",
    type=click.IntRange(1),
    default=5,
    show_default=True,
    help="Give up on a file after this many attempts.",
)
@click.option(
    "--concurrency", type=click.IntRange(1, 64), help="How many files to ship at once. Default: as configured, or 2."
)
@click.option("--spool", metavar="DIR", help="The working directory. Default: beside the files.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object for each file.")
@click.option("--root", metavar="DIR", help="The service's root directory.  [default: ./storehouse-data]")
@click.option("--objects-dir", metavar="DIR", help="The directory of the objects.  [default: ROOT/objects]")
@click.option("--config", metavar="FILE", help="The service's configuration file.")
@progress_option
def command(
    arguments: Sequence[str],
    to: str | None,
    bucket: str,
    stream: str,
    compression: str | None,
    level: int | None,
    verify: str | None,
    delete_local: bool,
    attempts: int,
    concurrency: int | None,
    spool: str | None,
    as_json: bool,
    root: str | None,
    objects_dir: str | None,
    config: str | None,
    progress: bool,
) -> None:
    """
    Send closed archives to the object store of the root on this machine, or with --to to a destination that the
    configuration file names. For each one its path, a tab and its name there are printed: STREAM/NAME-DIGEST.EXTENSIONS.

    Each file is compressed, uploaded, verified, and only then removed, if --delete-local says so. A repeat of the command
    continues where it was interrupted, and sends nothing twice. An archive that is still open is skipped when a pattern
    has found it, and an error when it was named.

    \b
    Examples:
      storehouse archive ship 'notes_*.events' --stream notes --delete-local
      storehouse archive ship *.events.gz --to offsite --config storehouse.toml
    """
    if to is not None and config is None:
        raise click.UsageError("--to names a table in a configuration file: give --config FILE.")
    given = {"root": root, "objects-dir": objects_dir}
    try:
        loaded = load_settings({name: value for name, value in given.items() if value is not None}, config)
        destination: DestinationSettings = StoreSettings(bucket=bucket)
        shipping: Mapping[str, Any] = {}
        if to is not None:
            destination, shipping = find_destination(loaded, to)
        said = {"compression": compression, "level": level, "verify": verify, "concurrency": concurrency}
        if compression is not None:
            # The level of the configuration file is one of another compression, perhaps.
            shipping = {name: value for name, value in shipping.items() if name != "level"}
        settings = ShipperSettings(
            **{
                **shipping,
                **{name: value for name, value in said.items() if value is not None},
                "directory": spool or "-",
                "delete": delete_local,
                "attempts": attempts,
                "longest_pause": 30.0,
            }
        )
    except StorehouseError as error:
        raise click.UsageError(one_line(error.detail)) from None
    # What is on its way to one destination must not go to another.
    spools = {each: list[str]() for each in _left(arguments, spool, destination, loaded.root)}
    paths, sizes = _closed(arguments, bool(spools))
    for path in paths:
        spools.setdefault(spool_beside(spool or os.path.dirname(path), destination, loaded.root), []).append(path)
    with Output() as output, Progress("ship", sizes, progress) as shown:
        watching = _Watching(output, shown, as_json)

        async def work(reactor: Any) -> tuple[list[Any], int]:
            disk = DiskThreads(reactor)
            async with AsyncExitStack() as opened:
                # What is wrong with the root is no failure of a file.
                is_store = isinstance(destination, StoreSettings)
                store = await opened.enter_async_context(Opener(loaded)()) if is_store else None
                fractions: dict[str, float] = {}
                there = make_destination(
                    # A command's store has the methods that a destination calls.
                    destination,
                    reactor,
                    disk,
                    cast(IObjectStore | None, store),
                    fractions.__setitem__,
                )
                opened.push_async_callback(there.close)
                failed, uploaded = [], 0
                for directory, inside in spools.items():
                    mine = attrs.evolve(settings, directory=directory, root=os.path.dirname(os.path.abspath(directory)))
                    dead, size = await ship_files(reactor, disk, mine, there, inside, stream, watching, fractions)
                    failed += dead
                    uploaded += size
                    watching.next()
            disk.stop()
            return failed, uploaded

        failed, uploaded = run(work)
        if watching.broken is not None:
            raise watching.broken
    done = watching.count
    summary = f"{counted(done, 'file', 'files')} shipped, {human_size(uploaded)} uploaded"
    if delete_local:
        summary += f", {watching.deleted} removed here"
    if failed:
        raise CommandError(f"{len(failed)} not shipped; run the command again to retry;  {summary}")
    click.echo(summary, err=True)


def _left(arguments: Sequence[str], spool: str | None, destination: Any, root: str) -> list[str]:
    """Shipping directories that an earlier command left: its files may be gone already."""
    places = {spool or os.path.dirname(os.path.realpath(argument)) for argument in arguments}
    return sorted(filter(os.path.isdir, (spool_beside(place, destination, root) for place in places)))


def _closed(arguments: Sequence[str], may_be_none: bool) -> tuple[list[str], int]:
    """The files to ship, and their bytes."""
    found: dict[str, int] = {}
    for argument in arguments:
        if argument.startswith(STORE):
            raise click.UsageError(f"{argument} is an object; only files can be shipped.")
        for archive in find_files(argument, may_be_none):
            try:
                reason = why_open(archive.path)
            except OSError as error:
                raise CommandError(f"cannot read {archive.name}: {reason_of(error)}") from None
            if not reason:
                # A link counts as what it points to.
                found[os.path.realpath(archive.path)] = archive.size
            elif archive.exact:
                raise CommandError(f"{archive.name} is not closed: {reason}")
            else:
                click.echo(one_line(f"skipped {archive.name}: {reason}"), err=True)
    if not found and not may_be_none:
        raise CommandError("there is no closed archive to ship")
    return sorted(found), sum(found.values())


class _Watching(Watcher):
    """Tells the user. Nothing may be raised among those who work: it is kept for later."""

    def __init__(self, output: Output, shown: Progress, as_json: bool) -> None:
        self.count = 0
        self.deleted = 0
        self.broken: Exception | None = None
        self._output = output
        self._shown = shown
        self._as_json = as_json
        self._before = 0.0
        self._came = 0.0

    def shipped(self, event: ArchiveShipped) -> None:
        """A line on standard output."""
        self.count += 1
        self.deleted += event.deleted
        self._shown.hide()
        if self._as_json:
            known = {name: getattr(event, name) for name in ("path", "name", "size", "deleted")}
            line = json.dumps({**known, "sha256": event.digest})
        else:
            line = f"{printable(event.path)}\t{printable(event.name)}"
        try:
            self._output.write(f"{line}\n".encode("utf-8", "backslashreplace"))
            self._output.flush()
        except (OSError, CommandError) as error:
            self.broken = self.broken or error

    def failed(self, event: ShippingFailed) -> None:
        """A line on standard error."""
        self._shown.hide()
        what = "given up" if event.dead else f"attempt {event.attempts} failed"
        click.echo(one_line(f"{event.path}: {what}: {reason_of(event.error)}"), err=True)

    def progressed(self, size: float) -> None:
        """The progress bar."""
        at = int(self._before + size)
        self._shown.advance(at - int(self._came))
        self._came = at

    def next(self) -> None:
        """What comes from now on is of other files."""
        self._before = self._came
