"""C{storehouse sfsp}: files in chunks, from and to a server of SFSP."""

from __future__ import annotations

import click

from storehouse.cli.group import VerbGroup

__all__ = ["command"]

VERBS = {
    "put": ("storehouse.cli.sfsp.put", "Store a file."),
    "get": ("storehouse.cli.sfsp.get", "Fetch a file."),
    "ls": ("storehouse.cli.sfsp.ls", "List the chunks of a file."),
    "resume": ("storehouse.cli.sfsp.resume", "Send the chunks of a file that the server does not have."),
}


@click.group("sfsp", cls=VerbGroup, verbs=VERBS)
def command() -> None:
    """
    Store files as chunks on a server of SFSP, and fetch them.

    A file has a name, of any bytes, and its chunks the numbers 0, 1, and so on. What was interrupted continues: only the
    chunks that are missing are sent. All take --server; each has its own --help.

    \b
    Examples:
      storehouse sfsp put disk.img
      storehouse sfsp resume disk.img
      storehouse sfsp get disk.img -o copy.img
      storehouse sfsp ls disk.img --ranges
    """
