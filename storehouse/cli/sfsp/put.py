"""C{storehouse sfsp put}: a file becomes chunks."""

from __future__ import annotations

import os

import click

from storehouse.cli.errors import CommandError
from storehouse.cli.options import progress_option
from storehouse.cli.progress import Progress
from storehouse.cli.sfsp.remote import NAME, Remote, parse_chunk, remote_options
from storehouse.clients.sfsp import Incomplete, SFSPClient, put_file
from storehouse.core.jobs import DiskThreads
from storehouse.errors import AlreadyExists, Conflict

__all__ = ["command"]


@click.command("put")
@click.argument("file", type=click.Path(exists=True, dir_okay=False))
@click.option("--name", type=NAME, help="The name on the server. Default: that of FILE, without its directory.")
@click.option(
    "--chunk", metavar="SIZE", default="8M", show_default=True, callback=parse_chunk, help="Bytes of a chunk."
)
@click.option(
    "--connections", type=click.IntRange(1, 64), default=4, show_default=True, help="Connections to send over."
)
@click.option("--overwrite", is_flag=True, help="Replace chunks that exist.")
@progress_option
@remote_options
def command(
    remote: Remote, file: str, name: bytes | None, chunk: int, connections: int, overwrite: bool, progress: bool
) -> None:
    """
    Store FILE as chunks on the server. Refused if there are chunks of that name.

    The last chunk is sent first: until all are there, one before it is missing, so that a file is never whole by mistake.
    While --overwrite replaces one, what is there is a mixture.

    \b
    Examples:
      storehouse sfsp put disk.img
      storehouse sfsp put disk.img --name backups/disk.img --chunk 64M --connections 8
      storehouse sfsp put disk.img --server sfsps://nova:7371 --ca ca.pem
    """
    with Progress("put", os.path.getsize(file), progress) as shown:

        async def put(client: SFSPClient, disk: DiskThreads) -> None:
            try:
                await put_file(client, disk, name or default_name(file), file, chunk, overwrite, shown.show)
            except AlreadyExists as error:
                raise CommandError(
                    f"{error}; 'storehouse sfsp resume' sends the missing ones, --overwrite replaces all"
                ) from None
            except Incomplete as error:
                raise CommandError(f"{error}; 'storehouse sfsp resume' sends them") from None
            except Conflict as error:
                hint = "; 'storehouse rm' on the server can" if "cannot remove" in str(error) else ""
                raise CommandError(f"{error}{hint}") from None

        remote.run(put, connections)


def default_name(file: str) -> bytes:
    """The name of a file on the server, unless another is given."""
    return os.fsencode(os.path.basename(file))
