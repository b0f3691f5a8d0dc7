"""Reading one archive, of either version, wherever its bytes are."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator
from typing import Any

from zope.interface import implementer

from storehouse.archive.formats1 import MAGIC, PREAMBLE, START
from storehouse.archive.formats2 import (
    HEADER_SIZE,
    TRAILER_SIZE,
    Footer,
    Group,
    Seeds,
    decode_header,
    decode_index,
    decode_trailer,
    seeds_of,
)
from storehouse.archive.interfaces import ArchiveInfo, IArchiveReader, Payload, Record, Verified
from storehouse.archive.scan import MAX_RECORD, Found, Pair, Scan
from storehouse.archive.scan1 import Scan1
from storehouse.archive.scan2 import Scan2
from storehouse.archive.sources import ExpandedSource, open_source
from storehouse.archive.window import Window
from storehouse.errors import (
    DamagedArchive,
    EndOfArchive,
    NoSuchRecord,
    UnknownArchiveFormat,
)

__all__ = ["ArchiveReader"]

#: What is read of the end at first: trailer and, of most archives, the index.
_TAIL = 1 << 16

#: The lowest and the highest time there can be.
_EVER = (0, 1 << 64)


@implementer(IArchiveReader)
class ArchiveReader:
    """
    Reads an archive.

    @ivar torn: bytes behind the last whole record, once L{read} or an iteration reached the end.
    @ivar damages: what L{read} and iterations skipped so far.
    """

    def __init__(
        self,
        source: Any,
        *,
        version: int | None = None,
        skip_damaged: bool = False,
        max_record: int = MAX_RECORD,
        name: str | None = None,
    ) -> None:
        """
        @param source: a path, bytes, a binary file object that can seek, or an
            L{IByteSource<storehouse.archive.interfaces.IByteSource>}; what is compressed as a whole with gzip
            or zstd is expanded on the way.
        @param version: refuse any other.
        @param skip_damaged: go on behind damage, and keep it in L{damages}, instead of raising it.
        @param max_record: a record that claims more bytes is damage, and so is a block that holds more, and 1 MiB.
        @param name: for messages, instead of the source's own.
        @raise UnknownArchiveFormat: if it is no archive, or one of another version.
        @raise DamagedArchive: if its header is damaged.
        @raise OSError: if a file cannot be opened.
        """
        self._source = open_source(source, name)
        self.name: str = self._source.name
        self._skip = skip_damaged
        self._max_record = max_record
        self.torn = 0
        self.damages: list[DamagedArchive] = []
        self._seeds = Seeds(0, b"")
        self._footer: tuple[Footer, tuple[Group, ...]] | None = None
        self._empty = False
        self._reading: Scan | None = None
        self._batches: Iterator[list[Pair]] = iter(())
        #: The next record that is decoded. @raise IndexError: if none is.
        self.take: Callable[[], Pair] = [].pop
        self._failed: DamagedArchive | None = None
        try:
            self.info = self._read_header(version)
            if self.info.version == 2 and self._source.size is not None and not self._empty:
                try:
                    self._footer = self._find_footer(self._source.size)
                except DamagedArchive:
                    # The source cannot give it.
                    if not skip_damaged:
                        raise
        except BaseException:
            self._source.close()
            raise

    @property
    def version(self) -> int:
        """The version of its format."""
        return self.info.version

    @property
    def sealed(self) -> bool:
        """Whether a footer was found."""
        return self._footer is not None

    @property
    def compressed_as(self) -> str | None:
        """C{"gzip"} or C{"zstd"} if it is compressed as a whole."""
        return self._source.method if isinstance(self._source, ExpandedSource) else None

    @property
    def count(self) -> int | None:
        """Its records, if a footer says so."""
        return None if self._footer is None else self._footer[0].records

    @property
    def times(self) -> tuple[int, int] | None:
        """The lowest and the highest time of its records, if a footer says so."""
        return None if self._footer is None else (self._footer[0].lowest, self._footer[0].highest)

    # -- opening -------------------------------------------------------------------------------------------------------

    def _read_header(self, wanted: int | None) -> ArchiveInfo:
        start = self._source.pread(0, HEADER_SIZE)
        if len(start) < PREAMBLE.size:
            # The beginning of an archive whose writer was killed, if it is anything.
            for version, preamble in ((1, START), (2, PREAMBLE.pack(MAGIC, 2))):
                if preamble.startswith(start) and wanted in (None, version):
                    self._empty = True
                    return ArchiveInfo(version)
            raise UnknownArchiveFormat(f"{self.name} is no archive: it begins with {start!r}")
        magic, found = PREAMBLE.unpack_from(start)
        if magic != MAGIC:
            raise UnknownArchiveFormat(f"{self.name} is no archive: it begins with {start[:6]!r}")
        if found not in (1, 2):
            raise UnknownArchiveFormat(f"{self.name} is an archive of version {found}; versions 1 and 2 are known here")
        if wanted not in (None, found):
            raise UnknownArchiveFormat(f"{self.name} is an archive of version {found}, not {wanted}")
        if found == 1:
            return ArchiveInfo(1)
        if len(start) < HEADER_SIZE:
            self._empty = True
            return ArchiveInfo(2)
        try:
            info = decode_header(start)
        except ValueError as problem:
            raise DamagedArchive(self.name, 0, str(problem)) from None
        self._seeds = seeds_of(info.salt)
        return info

    def _find_footer(self, size: int) -> tuple[Footer, tuple[Group, ...]] | None:
        if size < HEADER_SIZE + TRAILER_SIZE:
            return None
        at = max(0, size - _TAIL)
        tail = self._source.pread(at, size - at)
        footer = decode_trailer(tail[-TRAILER_SIZE:], self._seeds)
        if footer is None or not HEADER_SIZE <= footer.index <= size - TRAILER_SIZE:
            return None
        if footer.index >= at:
            index = tail[footer.index - at : -TRAILER_SIZE]
        else:
            index = self._source.pread(footer.index, size - TRAILER_SIZE - footer.index)
        groups = decode_index(index, self._seeds)
        return None if groups is None else (footer, groups)

    def scan(self, begin: int | None = None, end: int | None = None, skip: bool | None = None) -> Scan:
        """A pass through the frames from C{begin} to C{end}, or all, for those who need to know all that it finds."""
        how = {"skip": self._skip if skip is None else skip, "max_record": self._max_record}
        if self.info.version == 1 or self._empty:
            return Scan1(Window(self._source), begin or 0, bounded=False, **how)  # type: ignore[arg-type]
        if end is None and self._footer is not None and self._source.size is not None:
            end = self._footer[0].index
        return Scan2(
            Window(self._source, end),
            HEADER_SIZE if begin is None else begin,
            self._seeds,
            self.info.compression is not None,
            bounded=end is not None,
            **how,
        )

    def _note(self, scan: Scan) -> None:
        """Keep what a whole pass found out."""
        self.torn = scan.torn
        if isinstance(scan, Scan2) and scan.footer is not None:
            self._footer = scan.footer

    # -- one after the other -------------------------------------------------------------------------------------------

    def read(self) -> tuple[dict[str, str], Payload]:
        """
        The next record: metadata and payload.

        @raise EndOfArchive: if there is none.
        @raise DamagedArchive: if there is damage in the way, and each time from then on.
        """
        try:
            return self.take()
        except IndexError:
            pass
        scan = self._reading
        if scan is None:
            scan = self._reading = self.scan()
            self.damages = scan.damages
            self._batches = scan.batches()
        while self._failed is None:
            try:
                for batch in self._batches:
                    if batch:
                        batch.reverse()
                        self.take = batch.pop
                        return batch.pop()
                break
            except DamagedArchive as problem:
                if scan.goes_on_behind(problem):
                    self._batches = scan.batches()
                else:
                    self._failed = problem
        if self._failed is None:
            self._note(scan)
        elif not self._skip:
            raise self._failed
        raise EndOfArchive(f"{self.name} has no further record")

    def __iter__(self) -> Iterator[tuple[dict[str, str], Payload]]:
        """All further records: metadata and payload."""
        while True:
            try:
                pair = self.read()
            except EndOfArchive:
                return
            yield pair

    # -- by number and by time -----------------------------------------------------------------------------------------

    def records(self) -> Iterator[Record]:
        """All records from the first on, with what is known of each."""
        scan = self.scan()
        self.damages = scan.damages
        yield from self._numbered(scan, 0)
        self._note(scan)

    def record(self, number: int) -> Record:
        """
        The record of that number, from 0.

        @raise NoSuchRecord: if there is none.
        @raise DamagedArchive: if it cannot be told from damage.
        """
        scan, first = self.scan(), 0
        if number >= 0 and self._footer is not None and self._source.size is not None:
            footer, groups = self._footer
            if number >= footer.records:
                raise NoSuchRecord(f"{self.name} has {footer.records} records; there is no record {number}")
            at = bisect_right(groups, number, key=lambda group: group.first) - 1
            # Others of the group may be damaged: that is no reason not to give this one.
            scan, first = self.scan(groups[at].offset, self._end_of(at), skip=True), groups[at].first
        for record in self._numbered(scan, first):
            if record.number >= number:
                if record.number == number:
                    return record
                break
        if scan.damages:
            raise scan.damages[0]
        raise NoSuchRecord(f"{self.name} has no record {number}")

    def between(self, start: int | None = None, end: int | None = None) -> Iterator[Record]:
        """
        The records whose time is C{start} or later and before C{end}, in the order of the archive.

        Records without a time (of version 1) have time 0.

        @param start: nanoseconds since 1970 UTC; C{None} for no bound; likewise C{end}.
        """
        low = _EVER[0] if start is None else start
        high = _EVER[1] if end is None else end
        if self._footer is None or self._source.size is None:
            yield from (record for record in self.records() if low <= record.time < high)
            return
        groups = self._footer[1]
        at = 0
        while at < len(groups):
            begin = at
            while at < len(groups) and groups[at].highest >= low and groups[at].lowest < high:
                at += 1
            if at > begin:
                scan = self.scan(groups[begin].offset, self._end_of(at - 1))
                self.damages = scan.damages
                for record in self._numbered(scan, groups[begin].first):
                    if low <= record.time < high:
                        yield record
            else:
                at += 1

    def _end_of(self, at: int) -> int:
        """The offset behind a group."""
        assert self._footer is not None
        footer, groups = self._footer
        return groups[at + 1].offset if at + 1 < len(groups) else footer.index

    def _numbered(self, scan: Scan, number: int) -> Iterator[Record]:
        found: Found
        for found in scan.walk():
            metadata, payload, time, offset = found
            if scan.jumped:
                scan.jumped = False
                number = self._number_at(offset, number)
            yield Record(number, offset, time, metadata, payload)
            number += 1

    def _number_at(self, offset: int, otherwise: int) -> int:
        """The number of the record at C{offset}, behind damage: counted from the end of its group."""
        if self._footer is None or self._source.size is None:
            return otherwise
        footer, groups = self._footer
        at = bisect_right(groups, offset, key=lambda group: group.offset) - 1
        if groups[at].offset == offset:
            return groups[at].first
        behind = groups[at + 1].first if at + 1 < len(groups) else footer.records
        return behind - sum(1 for _ in self.scan(offset, self._end_of(at), skip=True).walk())

    # -- as a whole ----------------------------------------------------------------------------------------------------

    def verify(self) -> Verified:
        """Read everything and tell what is wrong."""
        scan = self.scan(skip=True)
        records = 0
        damages: list[DamagedArchive] = scan.damages
        for _ in scan.walk():
            records += 1
        if isinstance(scan, Scan2) and scan.footer is not None:
            self._footer = scan.footer
        count = self.count
        if count is not None and not damages and count != records:
            damages.append(DamagedArchive(self.name, scan.end, f"its footer counts {count} records; it has {records}"))
        return Verified(records, self.sealed, tuple(damages), scan.torn)

    def close(self) -> None:
        """Close what is read from."""
        self._source.close()

    def __enter__(self) -> ArchiveReader:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
