"""C{storehouse rekey}: another master key."""

from __future__ import annotations

import os

import click

from storehouse.app.local.rekeying import rekey
from storehouse.cli.errors import CommandError, one_line
from storehouse.cli.options import progress_option
from storehouse.cli.progress import Progress
from storehouse.config import load_settings
from storehouse.core.keys.masterkey import take_master_key
from storehouse.errors import StartFailed, StorehouseError

__all__ = ["command"]


@click.command("rekey", short_help="Change the master key of an encrypted root.")
@click.option("--root", metavar="DIR", help="The service's root directory.  [default: ./storehouse-data]")
@click.option("--objects-dir", metavar="DIR", help="The directory of the objects.  [default: ROOT/objects]")
@click.option("--config", metavar="FILE", help="The service's configuration file, to find them by.")
@click.option(
    "--master-key-file", metavar="FILE", help="A file with the master key.  [default: masterkey of the environment]"
)
@click.option(
    "--new-master-key-file",
    metavar="FILE",
    help="A file with the new master key.  [default: newmasterkey of the environment]",
)
@progress_option
def command(
    root: str | None,
    objects_dir: str | None,
    config: str | None,
    master_key_file: str | None,
    new_master_key_file: str | None,
    progress: bool,
) -> None:
    """
    Change the master key of a root, and the key that wraps the keys of its objects and open uploads. Their bytes are
    not touched, so it takes as long as to write a small file for each. No service may run on the root.

    It may be ended at any time, by kill -9 or a power cut too, and is begun again in the same way; or with the new master
    key as masterkey alone. From its first moment on the new master key is the one that opens the root.

    Keys are never given on the command line, where others see them.

    \b
    Examples:
      (umask 077; head -c 32 /dev/urandom | base64 > new.key)
      storehouse rekey --root /srv/storehouse --master-key-file old.key --new-master-key-file new.key
    """
    given = {"root": root, "objects-dir": objects_dir, "master-key-file": master_key_file}
    environ = dict(os.environ)
    try:
        settings = load_settings({name: value for name, value in given.items() if value is not None}, config)
        master = take_master_key(environ, settings.master_key_file)
        new = take_master_key(environ, new_master_key_file or "", "newmasterkey", "--new-master-key-file")
    except StartFailed as error:
        raise click.UsageError(one_line(error.detail)) from None
    if not os.path.isdir(settings.root):
        raise click.UsageError(one_line(f"there is no root: {settings.root} is not a directory"))
    with Progress("rekey", None, progress, unit="objects") as shown:
        try:
            done = rekey(settings, master, new, lambda total: shown.show(0, total), shown.advance)
        except StorehouseError as error:
            raise CommandError(error.detail) from None
    for id, reason in done.damaged:
        click.echo(one_line(f"{id}  {reason}"), err=True)
    summary = f"{done.objects} {'object' if done.objects == 1 else 'objects'} and {done.uploads} {'upload' if done.uploads == 1 else 'uploads'} rekeyed"
    if done.damaged:
        raise CommandError(f"{summary}; {len(done.damaged)} could not be read: the old key is kept for them")
    if done.plain:
        summary += f"; {done.plain} from before are not encrypted"
    click.echo(f"{summary}; the new master key is in force", err=True)
