"""C{storehouse sfsp get}: a file from its chunks."""

from __future__ import annotations

import os

import click

from storehouse.cli.errors import CommandError, reason_of
from storehouse.cli.options import progress_option
from storehouse.cli.output import Output
from storehouse.cli.progress import Progress
from storehouse.cli.sfsp.remote import NAME, Remote, direct_writer, remote_options
from storehouse.clients.sfsp import SFSPClient, get_file, stream_file
from storehouse.clients.sfsp.files import hand_over
from storehouse.core.jobs import DiskThreads

__all__ = ["command"]


@click.command("get")
@click.argument("name", type=NAME)
@click.option(
    "-o", "--output", "path", metavar="FILE", type=click.Path(dir_okay=False, allow_dash=True), help="Write to FILE."
)
@click.option(
    "--connections", type=click.IntRange(1, 64), default=4, show_default=True, help="Connections to fetch over."
)
@progress_option
@remote_options
def command(remote: Remote, name: bytes, path: str | None, connections: int, progress: bool) -> None:
    """
    Fetch the file NAME.

    The bytes are written beside FILE, and replace it when they are whole and on disk. Without -o the bytes go to standard output,
    in order, over one connection. A file of which a chunk is missing is not fetched.

    \b
    Examples:
      storehouse sfsp get disk.img -o copy.img
      storehouse sfsp get backups/home.tar | tar t
    """
    if path is None or path == "-" or (os.path.exists(path) and not os.path.isfile(path)):
        _stream(remote, name, path, progress)
        return
    with Progress("get", None, progress) as shown:

        async def get(client: SFSPClient, disk: DiskThreads) -> None:
            try:
                await get_file(client, disk, name, path, shown.show)
            except OSError as error:
                raise CommandError(f"cannot write {path}: {reason_of(error)}") from None

        remote.run(get, connections)


def _stream(remote: Remote, name: bytes, path: str | None, progress: bool) -> None:
    with Output(path) as output, Progress("get", None, progress and not output.is_terminal) as shown:
        write = direct_writer(output)

        async def get(client: SFSPClient, disk: DiskThreads) -> None:
            stream = stream_file(client, name, shown.show)
            await hand_over(stream, lambda data, position: disk.run(write, data))

        remote.run(get)
