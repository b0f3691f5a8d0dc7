"""C{storehouse backup} and C{restore}: a copy of a root, while a service runs on it or without one, and a root made of it."""

from __future__ import annotations

import json
import time

import attrs
import click

from storehouse.app.local.backup import Description, Made, make_backup, size_of, size_of_backup
from storehouse.app.local.backup import restore as make_root
from storehouse.cli.errors import CommandError, one_line, usage
from storehouse.cli.options import progress_option, settings_options
from storehouse.cli.output import Output, counted
from storehouse.cli.progress import Progress
from storehouse.cli.remote import SocketStore
from storehouse.cli.store import service_of
from storehouse.config import Settings
from storehouse.errors import RootInUse, StorehouseError

__all__ = ["backup", "restore"]

#: Seconds to wait for another command that works on the root.
_PATIENCE = 5.0


def _contents(known: Description) -> str:
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
        """See L{Service.hold<storehouse.app.local.backup.Service.hold>}."""
        self._name = self._store.hold()

    def renew(self) -> None:
        """See L{Service.renew<storehouse.app.local.backup.Service.renew>}."""
        self._store.renew(self._name)

    def release(self) -> None:
        """End. It ends by itself if the service cannot be reached."""
        try:
            self._store.release(self._name)
        except StorehouseError:
            pass


@click.command("backup")
@click.argument("dest", metavar="DEST", type=click.Path())
@click.option("--json", "as_json", is_flag=True, help="Print the backup's details as a JSON object.")
@progress_option
@settings_options("root", "objects-dir", "append-dir")
def backup(settings: Settings, dest: str, as_json: bool, progress: bool) -> None:
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
    try:
        made = _make(settings, dest, progress)
    except OSError as error:
        raise CommandError(f"{error.filename or dest}: {error.strerror or error}; no backup was made") from None
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
            f"{_contents(known)} are in {dest}; {counted(made.copied, 'file was', 'files were')} copied,"
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
        raise CommandError(f"the backup is complete, but {', and '.join(wrong)}: see 'storehouse fsck'")


def _make(settings: Settings, dest: str, progress: bool) -> Made:
    until = time.monotonic() + _PATIENCE
    while True:
        try:
            with usage(), Progress("backup", size_of(settings), progress) as shown, service_of(settings) as store:
                return make_backup(settings, dest, None if store is None else _Service(store), shown.advance)
        except RootInUse:
            if time.monotonic() > until:
                raise
        time.sleep(0.05)


@click.command("restore")
@click.argument("source", metavar="SOURCE", type=click.Path(exists=True, file_okay=False))
@click.option("--root", metavar="DIR", required=True, help="The new root: an empty directory, or none.")
@progress_option
def restore(source: str, root: str, progress: bool) -> None:
    """
    Make a root of the backup SOURCE. Everything is copied and verified, so that the backup stays as it is whatever is done to
    the root, and the root has its name when it is whole.

    Objects that are damaged in the backup are named, and are in the root as they are; anything else that is damaged or
    missing ends it.

    \b
    Examples:
      storehouse restore /backup/storehouse --root /srv/storehouse
      storehouse fsck --root /srv/storehouse && twistd -n storehouse --root /srv/storehouse
    """
    try:
        with usage(), Progress("restore", size_of_backup(source), progress) as shown:
            restored = make_root(source, root, shown.advance)
    except StorehouseError as error:
        raise CommandError(f"{error.detail}; no root was made") from None
    except OSError as error:
        raise CommandError(f"{error.filename or root}: {error.strerror or error}; no root was made") from None
    known = restored.description
    click.echo(f"{_contents(known)} are in {root}", err=True)
    if known.encrypted:
        click.echo("it is encrypted: it needs the master key that the root had when the backup was made", err=True)
    for finding in restored.findings:
        click.echo(one_line(finding), err=True)
    if restored.findings:
        raise CommandError(f"{len(restored.findings)} damaged files are in the backup, and now in the root")
