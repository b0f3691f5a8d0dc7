"""C{storehouse restore}: a root made of a backup."""

from __future__ import annotations

import click

from storehouse.app.local.backup import restore, size_of_backup
from storehouse.cli.backup import contents
from storehouse.cli.errors import CommandError, one_line
from storehouse.cli.options import progress_option
from storehouse.cli.progress import Progress
from storehouse.errors import StartFailed, StorehouseError

__all__ = ["command"]


@click.command("restore", short_help="Make a root of a backup.")
@click.argument("source", metavar="SOURCE", type=click.Path(exists=True, file_okay=False))
@click.option("--root", metavar="DIR", required=True, help="The root to make: empty, or not there.")
@progress_option
def command(source: str, root: str, progress: bool) -> None:
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
        with Progress("restore", size_of_backup(source), progress) as shown:
            restored = restore(source, root, shown.advance)
    except StartFailed as error:
        raise click.UsageError(one_line(error.detail)) from None
    except StorehouseError as error:
        raise CommandError(f"{error.detail}; no root was made") from None
    except OSError as error:
        raise CommandError(f"{error.filename or root}: {error.strerror or error}; no root was made") from None
    known = restored.description
    click.echo(f"{contents(known)} are in {root}", err=True)
    if known.encrypted:
        click.echo("it is encrypted: it needs the master key that the root had when the backup was made", err=True)
    for finding in restored.findings:
        click.echo(one_line(finding), err=True)
    if restored.findings:
        raise CommandError(f"{len(restored.findings)} damages are in the backup, and in the root now")
