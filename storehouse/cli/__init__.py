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
    "append": "storehouse.cli.append",
    "get": "storehouse.cli.get",
    "scan": "storehouse.cli.scan",
    "stat": "storehouse.cli.stat",
    "mb": "storehouse.cli.buckets:mb",
    "rb": "storehouse.cli.buckets:rb",
    "publish": "storehouse.cli.buckets:publish",
    "unpublish": "storehouse.cli.buckets:unpublish",
    "ls": "storehouse.cli.ls:ls",
    "put": "storehouse.cli.objects:put",
    "cat": "storehouse.cli.objects:cat",
    "cp": "storehouse.cli.objects:cp",
    "rm": "storehouse.cli.objects:rm",
    "du": "storehouse.cli.ls:du",
    "fsck": "storehouse.cli.fsck:fsck",
    "reindex": "storehouse.cli.fsck:reindex",
    "backup": "storehouse.cli.backup:backup",
    "restore": "storehouse.cli.backup:restore",
    "scrub": "storehouse.cli.scrub",
    "keys": "storehouse.cli.keys:keys",
    "rekey": "storehouse.cli.keys:rekey",
    "uploads": "storehouse.cli.uploads",
    "archive": "storehouse.cli.archive",
    "sfsp": "storehouse.cli.sfsp",
    "user": "storehouse.cli.users:user",
    "sign": "storehouse.cli.users:sign",
    "config": "storehouse.cli.config",
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
