"""C{storehouse keys} and C{rekey}: the keyring of an encrypted root, and its master key."""

from __future__ import annotations

import os
from typing import Any

import attrs
import click

from storehouse.app.local.keys import Rewrapped, init_keys
from storehouse.app.local.keys import rekey as rekey_root
from storehouse.cli.errors import CommandError, one_line, usage
from storehouse.cli.options import progress_option, settings_options
from storehouse.cli.output import counted
from storehouse.cli.progress import Progress, advancing
from storehouse.cli.store import service_of
from storehouse.config import Settings
from storehouse.core.keys.masterkey import take_master_key
from storehouse.errors import StartFailed

__all__ = ["keys", "rekey"]


@click.group("keys")
def keys() -> None:
    """
    The keys that what is stored is encrypted with are in ROOT/keyring.json, which a master key opens.

    \b
    Examples:
      storehouse keys init --master-key-file master.key
    """


@keys.command("init", short_help="Create the keyring of a root that has none.")
@click.option("--seal-names", is_flag=True, help="Encrypt names too; only before anything is stored.")
@progress_option
@settings_options("root", "objects-dir", "master-key-file")
def init(settings: Settings, seal_names: bool, progress: bool) -> None:
    """
    Create the keyring of a root that has none. No service may run on the root.

    The first start of a service with a master key does this for an empty root. Where something already exists, only
    this command does: objects from before stay plain until each is copied onto itself (storehouse cp B/K B/K).

    It refuses if anything is encrypted already: a lost keyring must be restored from a copy.

    \b
    Examples:
      (umask 077; head -c 32 /dev/urandom | base64 > master.key)
      storehouse keys init --root /srv/storehouse --master-key-file master.key
    """
    if seal_names:
        settings = attrs.evolve(settings, seal_names=True)
    with usage():
        master = take_master_key(dict(os.environ), settings.master_key_file)
        if master is None:
            raise StartFailed("no master key: set masterkey in the environment, or use --master-key-file")
    with Progress("keys init", None, progress, unit="objects") as shown:
        made = init_keys(settings, master, lambda total: shown.show(0, total), shown.advance)
    click.echo(
        one_line(f"made {made.path}: back it up, and keep the master key elsewhere; without both nothing can be read"),
        err=True,
    )
    if made.plain:
        click.echo(
            f"{counted(made.plain, 'object', 'objects')} from before {'is' if made.plain == 1 else 'are'} not "
            "encrypted; "
            "'storehouse cp B/K B/K' encrypts one",
            err=True,
        )


@click.command("rekey")
@click.option(
    "--new-master-key-file",
    metavar="FILE",
    help="A file with the new master key.  [default: newmasterkey of the environment]",
)
@progress_option
@settings_options("root", "objects-dir", "master-key-file")
def rekey(settings: Settings, new_master_key_file: str | None, progress: bool) -> None:
    """
    Change the master key of a root, and the key that wraps the keys of its objects and open uploads. Their bytes are
    not touched, so it takes as long as to write a small file for each. A service that runs on the root does it, and needs the
    old master key already, and keeps serving. Without one the files are changed here.

    It may be ended at any time, by kill -9 or a power cut too, and is begun again in the same way; or with the new master
    key as masterkey alone. From its first moment on the new master key is the one that opens the root.

    Keys are never given on the command line, where others see them.

    \b
    Examples:
      (umask 077; head -c 32 /dev/urandom | base64 > new.key)
      storehouse rekey --root /srv/storehouse --master-key-file old.key --new-master-key-file new.key
    """
    environ = dict(os.environ)
    with usage():
        new = take_master_key(environ, new_master_key_file or "", "newmasterkey", "--new-master-key-file")
        if not os.path.isdir(settings.root):
            raise StartFailed(f"there is no root: {settings.root} is not a directory")
    in_force = "the new master key is in use"
    with Progress("rekey", None, progress, unit="objects") as shown, service_of(settings) as service:
        if service is not None:
            # It has the master key, and keeps serving.
            told: Any = service.rekey(new, lambda total: shown.show(0, total), advancing(shown))
            done = Rewrapped(**told)
            in_force += ": give it to the service before its next start"
        else:
            with usage():
                master = take_master_key(environ, settings.master_key_file)
            done = rekey_root(settings, master, new, lambda total: shown.show(0, total), shown.advance)
    for id, reason in done.damaged:
        click.echo(one_line(f"{id}  {reason}"), err=True)
    summary = f"{counted(done.objects, 'object', 'objects')} and {counted(done.uploads, 'upload', 'uploads')} rekeyed"
    if done.damaged:
        raise CommandError(f"{summary}; {len(done.damaged)} could not be read; the old key is kept for them")
    if done.plain:
        summary += f"; {done.plain} from before are not encrypted"
    click.echo(f"{summary}; {in_force}", err=True)
