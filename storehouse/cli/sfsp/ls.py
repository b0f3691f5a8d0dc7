"""C{storehouse sfsp ls}: which chunks of a file the server has."""

from __future__ import annotations

import json
from collections.abc import Sequence

import click
from twisted.internet.defer import Deferred

from storehouse.cli.errors import CommandError
from storehouse.cli.output import Output
from storehouse.cli.sfsp.remote import NAME, Remote, direct_writer, remote_options
from storehouse.clients.sfsp import SFSPClient
from storehouse.clients.sfsp.reasons import shown
from storehouse.core.jobs import DiskThreads

__all__ = ["command"]


@click.command("ls")
@click.argument("name", type=NAME)
@click.option("--ranges", is_flag=True, help="Print ranges of IDs, FIRST-LAST, instead of IDs.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object for each.")
@remote_options
def command(remote: Remote, name: bytes, ranges: bool, as_json: bool) -> None:
    """
    Print the IDs of the chunks of the file NAME that the server has, in its order. Exit status 1 if it has none.

    \b
    Examples:
      storehouse sfsp ls disk.img
      storehouse sfsp ls disk.img --ranges
      storehouse sfsp ls disk.img --json | jq .id
    """
    with Output() as output:
        write = direct_writer(output)
        lines = _Ranges(as_json) if ranges else _Lines(as_json)

        async def ls(client: SFSPClient, disk: DiskThreads) -> int:
            def take(ids: Sequence[int]) -> Deferred[None]:
                return disk.run(write, "".join(lines.of(ids)).encode())

            count = await client.list_ids(name, take)
            await disk.run(write, "".join(lines.rest()).encode())
            return count

        if not remote.run(ls):
            raise CommandError(f"there is no file {shown(name)}")


class _Lines:
    """A line for each ID."""

    def __init__(self, as_json: bool) -> None:
        self._form = '{{"id": {}}}\n' if as_json else "{}\n"

    def of(self, ids: Sequence[int]) -> list[str]:
        """The lines that can be written when these IDs have come."""
        return [self._form.format(id) for id in ids]

    def rest(self) -> list[str]:
        """Those that can when no more come."""
        return []


class _Ranges(_Lines):
    """A line for each range."""

    def __init__(self, as_json: bool) -> None:
        super().__init__(as_json)
        self._as_json = as_json
        self._first = self._last = -1

    def of(self, ids: Sequence[int]) -> list[str]:
        """See L{_Lines.of}."""
        lines = []
        for id in ids:
            if self._first >= 0 and id != self._last + 1:
                lines += self.rest()
            if self._first < 0:
                self._first = id
            self._last = id
        return lines

    def rest(self) -> list[str]:
        """See L{_Lines.rest}."""
        first, last = self._first, self._last
        self._first = -1
        if first < 0:
            return []
        if self._as_json:
            return [f"{json.dumps({'first': first, 'last': last})}\n"]
        return [f"{first}\n" if first == last else f"{first}-{last}\n"]
