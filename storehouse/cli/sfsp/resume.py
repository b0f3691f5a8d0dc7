"""C{storehouse sfsp resume}: what is missing of a file is sent."""

from __future__ import annotations

import os

import click

from storehouse.cli.errors import CommandError
from storehouse.cli.options import progress_option
from storehouse.cli.progress import Progress
from storehouse.cli.sfsp.put import default_name
from storehouse.cli.sfsp.remote import NAME, Remote, parse_chunk, remote_options
from storehouse.clients.sfsp import Incomplete, SFSPClient, resume_file
from storehouse.clients.sfsp.files import Sent
from storehouse.core.jobs import DiskThreads

__all__ = ["command"]


@click.command("resume")
@click.argument("file", type=click.Path(exists=True, dir_okay=False))
@click.option("--name", type=NAME, help="The name on the server. Default: that of FILE, without its directory.")
@click.option("--chunk", metavar="SIZE", callback=parse_chunk, help="Bytes of a chunk. Default: as on the server.")
@click.option(
    "--connections", type=click.IntRange(1, 64), default=4, show_default=True, help="Connections to send over."
)
@click.option("--verify", is_flag=True, help="Compare all chunks on the server with FILE, not only two.")
@progress_option
@remote_options
def command(
    remote: Remote, file: str, name: bytes | None, chunk: int | None, connections: int, verify: bool, progress: bool
) -> None:
    """
    Send the chunks of FILE that the server does not have.

    First, the first and the last chunk that it has are fetched and compared with FILE: nothing is sent if they differ.

    \b
    Examples:
      storehouse sfsp resume disk.img
      storehouse sfsp resume disk.img --name backups/disk.img --verify
    """
    with Progress("resume", os.path.getsize(file), progress) as shown:

        async def resume(client: SFSPClient, disk: DiskThreads) -> Sent:
            try:
                done = await resume_file(client, disk, name or default_name(file), file, chunk, verify, shown.show)
            except Incomplete as error:
                raise CommandError(f"{error}; run the command again to send them") from None
            return done

        done = remote.run(resume, connections)
    click.echo(f"{done.sent} of {done.count} {'chunk' if done.count == 1 else 'chunks'} sent", err=True)
