"""C{storehouse archive verify}: is everything as it was written?"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

import attrs
import click

from storehouse.cli.archive.places import Archive, files_argument
from storehouse.cli.errors import CommandError
from storehouse.cli.options import progress_option
from storehouse.cli.output import Output, counted, human_size
from storehouse.cli.progress import Progress
from storehouse.cli.store import printable
from storehouse.errors import DamagedArchive, UnknownArchiveFormat

__all__ = ["command"]


@attrs.frozen
class _Finding:
    """
    Something that is not as it should be.

    @ivar kind: C{damage}, C{torn}, or C{unknown} for what is no archive.
    @ivar offset: where; C{None} if unknown.
    """

    archive: str
    kind: str
    offset: int | None
    reason: str

    def as_line(self) -> str:
        """For people."""
        where = "" if self.offset is None else f"offset {self.offset}  "
        return f"{printable(self.archive)}  {where}{printable(self.reason)}"


class _Checked:
    """What was verified so far."""

    def __init__(self) -> None:
        self.records = 0
        self.incomplete = 0


@click.command("verify")
@files_argument
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object for each damage.")
@click.option("-q", "--quiet", is_flag=True, help="Print only damage: no progress, no summary.")
@progress_option
def command(archives: Sequence[Archive], as_json: bool, quiet: bool, progress: bool) -> None:
    """
    Read every record of archives, and verify it by what its version has: checksums in version 2, lengths only in
    version 1.

    A line is printed for each damage: the archive, the offset in it (for what is compressed as a whole, in what it is
    expanded to), and what is wrong. So for bytes after the last whole record (a torn tail), and for files that are no
    archives. Exit status 1 if there is any. An archive that is not complete is counted, and is no damage.

    \b
    Examples:
      storehouse archive verify 'notes_*.events'
      storehouse archive verify 'store:archives/**' --quiet --json > damage.jsonl
    """
    found = 0
    checked = _Checked()
    size = sum(archive.size for archive in archives)
    with Output() as output, Progress("verify", size, progress and not quiet) as shown:
        for archive in archives:
            for finding in _verify(archive, shown, checked):
                found += 1
                shown.hide()
                text = json.dumps(attrs.asdict(finding)) if as_json else finding.as_line()
                output.write(f"{text}\n".encode("utf-8", "backslashreplace"))
                output.flush()
    if found and quiet:
        click.get_current_context().exit(1)
    summary = f"{counted(len(archives), 'archive', 'archives')}, {counted(checked.records, 'record', 'records')}, {human_size(size)} verified"
    if checked.incomplete:
        summary += f" ({checked.incomplete} not complete)"
    if found:
        raise CommandError(f"{counted(found, 'damage', 'damages')} found; {summary}")
    if not quiet:
        click.echo(f"{summary}: no damage", err=True)


def _verify(archive: Archive, shown: Progress, checked: _Checked) -> Iterator[_Finding]:
    try:
        reader = archive.open(skip_damaged=True, taken=shown.advance)
    except DamagedArchive as error:
        yield _Finding(archive.name, "damage", error.offset, error.reason)
        return
    except UnknownArchiveFormat as error:
        yield _Finding(archive.name, "unknown", None, error.detail.removeprefix(archive.name).lstrip())
        return
    with reader:
        verified = reader.verify()
        checked.records += verified.records
        checked.incomplete += reader.version == 2 and not verified.complete
        for damage in verified.damages:
            assert isinstance(damage, DamagedArchive)
            yield _Finding(archive.name, "damage", damage.offset, damage.reason)
        if verified.torn:
            # The size of an archive that is compressed as a whole is not known.
            offset = None if reader.compressed_as else archive.size - verified.torn
            reason = f"a torn tail: {counted(verified.torn, 'byte', 'bytes')} after the last whole record"
            yield _Finding(archive.name, "torn", offset, reason)
