"""C{storehouse backup}: a copy of a root, while a service runs on it or without one."""

from __future__ import annotations

import json
import os
import time
from typing import Any

import attrs
import click

from storehouse.app.local.backup import Description, Made, make_backup, size_of
from storehouse.cli.errors import CommandError, one_line
from storehouse.cli.options import progress_option
from storehouse.cli.output import Output, counted
from storehouse.cli.progress import Progress
from storehouse.cli.remote import SocketStore
from storehouse.cli.store import PATIENCE, is_served
from storehouse.config import load_settings
from storehouse.errors import InvalidSetting, RootInUse, StartFailed, StorehouseError

__all__ = ["command", "contents"]


def contents(known: Description) -> str:
    """What a backup holds, in words."""
    return (
        f"{counted(known.keys, 'key', 'keys')}, {counted(known.objects, 'object', 'objects')} and"
        f" {counted(known.uploads, 'open upload', 'open uploads')}"
    )


class _Service:
    """The service that runs on the root: it keeps what is removed meanwhile."""

    def __init__(self, store: SocketStore) -> None:
        self._store = store
        self._name = ""

    def hold(self) -> None:
        """Begin."""
        self._name = self._store.hold()

    def renew(self) -> None:
        """Go on."""
        self._store.renew(self._name)

    def release(self) -> None:
        """End. It ends by itself if the service cannot be told."""
        try:
            self._store.release(self._name)
        except CommandError:
            pass


@click.command("backup", short_help="Make a backup of a root.")
@click.argument("dest", metavar="DEST", type=click.Path())
@click.option("--root", metavar="DIR", help="The service's root directory.  [default: ./storehouse-data]")
@click.option("--objects-dir", metavar="DIR", help="The directory of the objects.  [default: ROOT/objects]")
@click.option("--append-dir", metavar="DIR", help="The directory of the append log.  [default: ROOT/append]")
@click.option("--config", metavar="FILE", help="The service's configuration file, to find them by.")
@click.option("--json", "as_json", is_flag=True, help="Print what is known of the backup, as an object of JSON.")
@progress_option
def command(
    dest: str,
    root: str | None,
    objects_dir: str | None,
    append_dir: str | None,
    config: str | None,
    as_json: bool,
    progress: bool,
) -> None:
    """
    Make a backup of a root in the directory DEST, while the service runs or without it. All that was acknowledged before
    is in it.

    What never changes shares its bytes with the root, where DEST is in the same file system; all else is copied, read back and
    compared. A backup of the same root that is at DEST is replaced, in one step, and only what is new is copied. DEST has its
    name when it is whole. Keys and users are in it as they are: keep it as safe as the root. It has no master key.

    \b
    Examples:
      storehouse backup /backup/storehouse --root /srv/storehouse
      storehouse backup /backup/storehouse --config /etc/storehouse.toml
      storehouse restore /backup/storehouse --root /srv/storehouse-again
    """
    given = {"root": root, "objects-dir": objects_dir, "append-dir": append_dir}
    try:
        settings = load_settings({name: value for name, value in given.items() if value is not None}, config)
    except InvalidSetting as error:
        raise click.UsageError(one_line(error.detail)) from None
    try:
        made = _make(settings, dest, progress)
    except StorehouseError as error:
        raise CommandError(error.detail) from None
    except OSError as error:
        raise CommandError(f"{error.filename or dest}: {error.strerror or error}; there is no backup") from None
    for warning in made.warnings:
        click.echo(f"Warning: {one_line(warning)}", err=True)
    known = made.description
    if as_json:
        with Output() as output:
            output.write(
                json.dumps({**attrs.asdict(known), "copied": made.copied, "linked": made.linked}).encode() + b"\n"
            )
    else:
        click.echo(
            f"{contents(known)} are in {dest}; {counted(made.copied, 'file was', 'files were')} copied,"
            f" {made.linked} {'shares its' if made.linked == 1 else 'share their'} bytes",
            err=True,
        )
    if known.encrypted:
        click.echo("keyring.json is in it as it is; the master key is not: keep a copy of that elsewhere", err=True)
    wrong = []
    if known.lost:
        wrong.append(f"{known.lost} versions of keys of the root have no bytes, such as {made.lost[0]}")
    if made.unread_keys:
        wrong.append(f"{made.unread_keys} keys of the root are damaged, such as {made.unread[0]}")
    if wrong:
        raise CommandError(f"the backup is whole, but {', and '.join(wrong)}: see 'storehouse fsck'")


def _make(settings: Any, dest: str, progress: bool) -> Made:
    path = os.path.abspath(settings.objects_socket)
    until = time.monotonic() + PATIENCE
    while True:
        try:
            with Progress("backup", size_of(settings), progress) as shown:
                if is_served(path):
                    with SocketStore(path) as store:
                        return make_backup(settings, dest, _Service(store), shown.advance)
                return make_backup(settings, dest, None, shown.advance)
        except RootInUse:
            if time.monotonic() > until:
                raise
        except StartFailed as error:
            raise click.UsageError(one_line(error.detail)) from None
        time.sleep(0.05)
