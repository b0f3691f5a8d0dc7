"""Records of many archives, one after the other, and how they are written down."""

from __future__ import annotations

import base64
import json
from collections.abc import Generator, Iterator, Sequence
from typing import Any

import click

from storehouse.archive.archive import ArchiveReader
from storehouse.archive.interfaces import Payload, Record
from storehouse.cli.archive.places import Archive
from storehouse.cli.archive.times import Span, exact_time
from storehouse.cli.errors import CommandError, one_line
from storehouse.cli.output import counted
from storehouse.cli.progress import Progress
from storehouse.errors import DamagedArchive, UnknownArchiveFormat

__all__ = ["Records", "as_bytes", "as_object", "as_text"]

#: All times.
_EVER = Span()


def as_bytes(payload: Payload) -> bytes:
    """The bytes of a payload."""
    return payload if isinstance(payload, bytes) else payload.encode("utf-8", "surrogateescape")


def as_text(record: Record, with_metadata: bool) -> bytes:
    """A line: the payload as it is, behind the metadata as JSON and a tab if they are wanted."""
    line = as_bytes(record.payload) + b"\n"
    return json.dumps(record.metadata).encode() + b"\t" + line if with_metadata else line


def as_object(archive: Archive, record: Record) -> bytes:
    """A line of JSON with all that is known of a record."""
    known: dict[str, Any] = {
        "archive": archive.name,
        "record": record.number,
        "time": exact_time(record.time),
        "metadata": record.metadata,
    }
    if isinstance(record.payload, str):
        known["payload"] = record.payload
    else:
        known["payload_base64"] = base64.b64encode(record.payload).decode("ascii")
    return json.dumps(known).encode() + b"\n"


class Records:
    """
    The records of archives.

    A torn tail, and what is skipped, is reported on standard error.

    @ivar skipped: how often something was.
    @ivar torn: bytes of torn tails that were met.
    @param skip_damaged: continue behind damage, or else with the next archive.
    @param shown: progress, called with the number of bytes that were read; it makes room for lines.
    @param quiet: tell nothing.
    """

    def __init__(
        self,
        archives: Sequence[Archive],
        skip_damaged: bool,
        shown: Progress,
        span: Span = _EVER,
        quiet: bool = False,
    ) -> None:
        self.skipped = self.torn = 0
        self._quiet = quiet
        self._archives = archives
        self._skip = skip_damaged
        self._shown = shown
        self._span = span

    def each(self) -> Iterator[tuple[Archive, Generator[Record, None, None]]]:
        """
        Each archive, with its records, in order. If they are not taken to their end, they are to be closed.

        @raise UnknownArchiveFormat: if one is none; so
        @raise DamagedArchive: if one is damaged; not if that is skipped.
        """
        for archive in self._archives:
            yield archive, self._of(archive)

    def __iter__(self) -> Iterator[tuple[Archive, Record]]:
        """The wanted records, in order; damage is skipped if that was asked for."""
        for archive, records in self.each():
            for record in records:
                yield archive, record

    def _of(self, archive: Archive) -> Generator[Record, None, None]:
        try:
            reader = archive.open(self._skip, self._shown.advance)
        except (DamagedArchive, UnknownArchiveFormat) as error:
            if not self._skip:
                raise
            self._skipping(error.detail)
            return
        with reader:
            if not self._span.is_bounded:
                yield from reader.records()
            else:
                yield from self._timed(archive, reader)
            for damage in reader.damages:
                self._skipping(damage.detail)
            if reader.torn:
                self.torn += reader.torn
                self.say(
                    f"{archive.name}: {counted(reader.torn, 'byte', 'bytes')} of a torn tail after its last record"
                )

    def _timed(self, archive: Archive, reader: ArchiveReader) -> Iterator[Record]:
        if reader.version == 1:
            self.say(f"{archive.name} is of version 1, whose records have no times: skipped")
            return
        for record in reader.between(self._span.start, self._span.end):
            if record.time:
                yield record

    def _skipping(self, detail: str) -> None:
        self.skipped += 1
        self.say(f"skipped: {detail}")

    def say(self, text: str) -> None:
        """A line on standard error."""
        if self._quiet:
            return
        self._shown.hide()
        click.echo(one_line(text), err=True)

    def check(self) -> None:
        """@raise CommandError: if something was skipped."""
        if self.skipped:
            raise CommandError(f"{counted(self.skipped, 'damage was', 'damages were')} skipped")
