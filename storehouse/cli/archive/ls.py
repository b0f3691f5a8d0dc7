"""C{storehouse archive ls}: what archives hold."""

from __future__ import annotations

import json
from collections.abc import Sequence

import attrs
import click

from storehouse.archive.archive import ArchiveReader
from storehouse.cli.archive.places import Archive, files_argument
from storehouse.cli.archive.times import exact_time, short_time
from storehouse.cli.errors import CommandError, one_line
from storehouse.cli.options import progress_option
from storehouse.cli.output import Output, human_size
from storehouse.cli.progress import Progress
from storehouse.cli.store import printable
from storehouse.errors import DamagedArchive, UnknownArchiveFormat

__all__ = ["command"]

_HEAD = f"{'FORMAT':15}  {'STATE':8}  {'RECORDS':>10}  {'SIZE':>10}  {'FIRST':20}  {'LAST':20}  "

_LONG_HEAD = f"{'CREATED':20}  {'SEQUENCE':>8}  "


@attrs.frozen
class _Known:
    """
    What is known of an archive.

    @ivar blocks: the compression of its blocks; C{None} for none.
    @ivar whole: the compression of all of it; C{None} for none.
    @ivar state: C{complete}, C{open}, C{torn} or C{damaged}; empty for version 1, whose state is not known.
    @ivar records: C{None} if nobody counted them.
    @ivar first: the lowest time of its records, as C{last} is the highest; 0 if not known.
    """

    archive: str
    version: int
    blocks: str | None
    whole: str | None
    state: str
    records: int | None
    size: int
    first: int
    last: int
    created: int
    sequence: int

    def as_object(self) -> dict[str, object]:
        """The archive as a JSON object: sizes in bytes, times in seconds since 1970 UTC."""
        times = {name: exact_time(getattr(self, name)) for name in ("first", "last", "created")}
        return {**attrs.asdict(self), "state": self.state or None, **times}

    def as_line(self, is_long: bool) -> str:
        """For people."""
        form = " ".join(filter(None, (f"v{self.version}", self.blocks, self.whole and f"in {self.whole}")))
        records = "-" if self.records is None else str(self.records)
        size = str(self.size) if is_long else human_size(self.size)
        words = f"{form:15}  {self.state or '-':8}  {records:>10}  {size:>10}  {short_time(self.first):20}  {short_time(self.last):20}  "
        if is_long:
            words += f"{short_time(self.created):20}  {self.sequence or '-':>8}  "
        return words + printable(self.archive)


@click.command("ls")
@files_argument
@click.option("-l", "--long", "is_long", is_flag=True, help="Show exact sizes, times of creation and sequence numbers.")
@click.option(
    "--count/--no-count", default=True,
    help="Read archives that have no footer, to count their records (the default).",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object with all details for each.")
@progress_option
def command(archives: Sequence[Archive], is_long: bool, count: bool, as_json: bool, progress: bool) -> None:
    """
    List archives in the order in which they were written: format, state, records, size, and the times of the first and
    the last record (UTC).

    The state is complete for one that was closed; open for one that was not, because it is being written or its writer
    was killed; torn if it ends within a record; damaged if damage was met while counting, which only verify does for all.
    Version 1 has no footer and no times. What is no archive is named, with exit status 1.

    \b
    Examples:
      storehouse archive ls 'notes_*.events'
      storehouse archive ls -l --no-count 'store:archives/**'
      storehouse archive ls --json *.events | jq 'select(.state != "complete") | .archive'
    """
    failed = 0
    with Output() as output, Progress("count", None, progress) as shown:
        if not as_json:
            output.write(f"{_HEAD}{_LONG_HEAD if is_long else ''}ARCHIVE\n".encode())
        for archive in archives:
            try:
                known = _examine(archive, count, shown)
            except (UnknownArchiveFormat, DamagedArchive) as error:
                failed += 1
                shown.hide()
                click.echo(one_line(error.detail), err=True)
                continue
            shown.hide()
            line = json.dumps(known.as_object()) if as_json else known.as_line(is_long)
            output.write(f"{line}\n".encode("utf-8", "backslashreplace"))
            output.flush()
    if failed:
        raise CommandError(f"{failed} of {len(archives)} cannot be read as archives")


def _examine(archive: Archive, count: bool, shown: Progress) -> _Known:
    with archive.open(skip_damaged=True, taken=shown.advance) as reader:
        records, times = reader.count, reader.times
        if records is None and count:
            records, times = _count(reader)
        first, last = times or (0, 0)
        return _Known(
            archive.name,
            reader.version,
            reader.info.compression,
            reader.compressed_as,
            _state_of(reader),
            records,
            archive.size,
            first,
            last,
            reader.info.created,
            reader.info.sequence,
        )


def _count(reader: ArchiveReader) -> tuple[int, tuple[int, int]]:
    """Records, and the lowest and the highest time."""
    count = first = last = 0
    for record in reader.records():
        count += 1
        if record.time:
            first = min(first or record.time, record.time)
            last = max(last, record.time)
    return count, (first, last)


def _state_of(reader: ArchiveReader) -> str:
    if reader.damages:
        return "damaged"
    if reader.torn:
        return "torn"
    if reader.version == 1:
        return ""
    return "complete" if reader.complete else "open"
