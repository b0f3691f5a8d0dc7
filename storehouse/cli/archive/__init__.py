"""C{storehouse archive}: archives, wherever they are."""

from __future__ import annotations

import click

from storehouse.cli.group import VerbGroup

__all__ = ["command"]

VERBS = {
    "ls": ("storehouse.cli.archive.ls", "List archives and what they hold."),
    "cat": ("storehouse.cli.archive.cat", "Write the records of archives to standard output."),
    "grep": ("storehouse.cli.archive.grep", "Find records."),
    "verify": ("storehouse.cli.archive.verify", "Verify archives and report damage."),
    "convert": ("storehouse.cli.archive.convert", "Write an archive in another format."),
    "ship": ("storehouse.cli.archive.ship", "Ship closed archives to their destination."),
}


@click.group("archive", cls=VerbGroup, verbs=VERBS)
def command() -> None:
    """
    Work on archives: files of records, of version 1 or 2, also compressed with gzip or zstd.

    ARCHIVE is a file, or a pattern with *, ?, [...] and ** for files, which may stand in quotes; or store:BUCKET/KEY, an
    object of the root on this machine, where KEY may be a pattern too. Several are read in the order in which they were
    written, whatever the order of the arguments. Each verb has its own --help.

    \b
    Examples:
      storehouse archive ls '/var/lib/notes/*.events'
      storehouse archive cat 'store:archives/notes/*' --from -1h --json
      storehouse archive grep -i 'error' notes_*.events.gz
      storehouse archive verify 'notes/**/*.events'
      storehouse archive convert old.events new.events.zst
      storehouse archive ship 'notes_*.events' --delete-local
    """
