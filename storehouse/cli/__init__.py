"""
The C{storehouse} command: clients of a running service, and what is done on the files of a root.

A verb is a module of its own whose C{command} is a L{click.Command}; it is imported when it is asked for, so that no
verb pays for what another one imports.
"""

from __future__ import annotations

import click

from storehouse import __version__
from storehouse.cli.group import VerbGroup

__all__ = ["main"]

#: The verbs, in the order of the help, and the modules that hold them.
VERBS = {
    "append": ("storehouse.cli.append", "Append records."),
    "get": ("storehouse.cli.get", "Print records by their offsets."),
    "scan": ("storehouse.cli.scan", "Print records in order, or follow them as they arrive."),
    "stat": ("storehouse.cli.stat", "Show how much is stored, or describe an object."),
    "mb": ("storehouse.cli.buckets:mb", "Make buckets."),
    "rb": ("storehouse.cli.buckets:rb", "Remove empty buckets."),
    "publish": ("storehouse.cli.buckets:publish", "Make buckets public."),
    "unpublish": ("storehouse.cli.buckets:unpublish", "Make buckets private."),
    "ls": ("storehouse.cli.ls:ls", "List buckets, or the objects of one."),
    "put": ("storehouse.cli.objects:put", "Store an object."),
    "cat": ("storehouse.cli.objects:cat", "Write objects to standard output."),
    "cp": ("storehouse.cli.objects:cp", "Copy an object."),
    "rm": ("storehouse.cli.objects:rm", "Remove objects."),
    "du": ("storehouse.cli.ls:du", "Show how much buckets hold."),
    "fsck": ("storehouse.cli.fsck:fsck", "Check that keys, their index and their bytes agree."),
    "reindex": ("storehouse.cli.fsck:reindex", "Rebuild the index of keys."),
    "backup": ("storehouse.cli.backup:backup", "Back up a root."),
    "restore": ("storehouse.cli.backup:restore", "Restore a root from a backup."),
    "scrub": ("storehouse.cli.scrub", "Verify all objects."),
    "keys": ("storehouse.cli.keys:keys", "Create the keyring of an encrypted root."),
    "rekey": ("storehouse.cli.keys:rekey", "Change the master key of an encrypted root."),
    "uploads": ("storehouse.cli.uploads", "List or remove unfinished uploads."),
    "archive": ("storehouse.cli.archive", "List, read, check, convert and ship archives."),
    "sfsp": ("storehouse.cli.sfsp", "Move files in chunks, by the protocol SFSP."),
    "s3": ("storehouse.cli.s3", "Serve S3 to tests, keeping nothing."),
    "user": ("storehouse.cli.users:user", "Manage users and their access keys."),
    "sign": ("storehouse.cli.users:sign", "Create a link to store or read a file."),
    "events": ("storehouse.cli.events:events", "List, retry or drop events that are not delivered."),
    "config": ("storehouse.cli.config", "Show the settings in force, or check them."),
}


@click.group(
    cls=VerbGroup,
    verbs=VERBS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, "--version", prog_name="storehouse", message="%(prog)s %(version)s")
def main() -> None:
    """
    Push data, get a file offset; ask by offset, get the data. Or keep objects in buckets.

    The commands of the append log (append, get, scan, stat) talk to a running `twistd storehouse`. Those of buckets and
    objects work on a root on this machine, through the service if one runs there; those of archive on archives, as files or
    as objects. Those of sfsp move files in chunks, from and to any server of SFSP. Each has its own --help.

    \b
    Examples:
      echo -n 'some text' | storehouse append some_identifier
      storehouse get some_identifier 0
      storehouse append --lines events < events.log
      storehouse scan events --follow --format jsonl
      storehouse stat
      storehouse mb photos && storehouse put a.jpg photos/a.jpg
      storehouse archive cat 'notes_*.events' --json
      storehouse scrub --root /srv/storehouse

    Exit status: 0 done, 1 failed (one line on standard error says why), 2 wrong usage, 130 interrupted.
    """
