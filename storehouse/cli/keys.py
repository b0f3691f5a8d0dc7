"""C{storehouse keys}: the keyring of an encrypted root."""

from __future__ import annotations

import os

import click

from storehouse.app.local.keys import init_keys
from storehouse.cli.errors import CommandError, one_line
from storehouse.cli.options import progress_option
from storehouse.cli.progress import Progress
from storehouse.config import load_settings
from storehouse.core.keys.masterkey import take_master_key
from storehouse.errors import StartFailed, StorehouseError

__all__ = ["command"]


@click.group("keys", short_help="Make the keyring of an encrypted root.")
def command() -> None:
    """
    The keys that what is stored is encrypted with are in ROOT/keyring.json, which a master key opens.

    \b
    Examples:
      storehouse keys init --master-key-file master.key
    """


@command.command("init", short_help="Make the keyring of a root that has none.")
@click.option("--root", metavar="DIR", help="The service's root directory.  [default: ./storehouse-data]")
@click.option("--objects-dir", metavar="DIR", help="The directory of the objects.  [default: ROOT/objects]")
@click.option("--config", metavar="FILE", help="The service's configuration file, to find them by.")
@click.option(
    "--master-key-file", metavar="FILE", help="A file with the master key.  [default: masterkey of the environment]"
)
@click.option("--seal-names", is_flag=True, help="Encrypt names, too. Only before anything is stored.")
@progress_option
def init(
    root: str | None,
    objects_dir: str | None,
    config: str | None,
    master_key_file: str | None,
    seal_names: bool,
    progress: bool,
) -> None:
    """
    Make the keyring of a root that has none. No service may run on the root.

    The first start of a service with a master key does this for an empty root. Where something is stored already, only
    this command does: objects from before stay plain until each is copied onto itself (storehouse cp B/K B/K).

    It refuses if anything is encrypted already: a keyring that was lost has to be put back from a copy.

    \b
    Examples:
      (umask 077; head -c 32 /dev/urandom | base64 > master.key)
      storehouse keys init --root /srv/storehouse --master-key-file master.key
    """
    given = {"root": root, "objects-dir": objects_dir, "master-key-file": master_key_file}
    if seal_names:
        given["seal-names"] = "on"
    try:
        settings = load_settings({name: value for name, value in given.items() if value is not None}, config)
        master = take_master_key(dict(os.environ), settings.master_key_file)
        if master is None:
            raise StartFailed("there is no master key: set masterkey in the environment, or use --master-key-file")
    except StartFailed as error:
        raise click.UsageError(one_line(error.detail)) from None
    with Progress("keys init", None, progress, unit="objects") as shown:
        try:
            made = init_keys(settings, master, lambda total: shown.show(0, total), shown.advance)
        except StorehouseError as error:
            raise CommandError(error.detail) from None
    click.echo(
        one_line(
            f"made {made.path}: keep a copy of it, and of the master key elsewhere; without both nothing can be read"
        ),
        err=True,
    )
    if made.plain:
        click.echo(
            f"{made.plain} {'object' if made.plain == 1 else 'objects'} from before {'is' if made.plain == 1 else 'are'} plain; "
            "'storehouse cp B/K B/K' encrypts one",
            err=True,
        )
