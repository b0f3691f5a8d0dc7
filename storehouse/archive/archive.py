"""Single archives: written, read, and recovered when their writer was killed (docs/formats/archive.md)."""

from __future__ import annotations

import fcntl
import os
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NoReturn

import attrs
from twisted.logger import Logger
from zope.interface import implementer

from storehouse.archive.clocks import Clock, now_ns_of
from storehouse.archive.interfaces import ArchiveInfo, IArchive, IArchiveReader, Payload, Record, Sync, Verified
from storehouse.archive.scan import LARGEST_RECORD, MAX_RECORD, Found, Pair, Scan, Window
from storehouse.archive.sources import ExpandedSource, Source, open_source
from storehouse.archive.version1 import MAGIC, PREAMBLE, START, Add, Scan1, encode_record, make_adder1
from storehouse.archive.version2 import (
    HEADER_SIZE,
    MOST_TOGETHER,
    TRAILER_SIZE,
    Footer,
    Group,
    Scan2,
    Seeds,
    blocks_of,
    decode_header,
    decode_index,
    decode_trailer,
    encode_block,
    encode_footer,
    encode_header,
    joined_groups,
    make_adder2,
    make_record_encoder,
    seeds_of,
    times_of,
)
from storehouse.core.compression import compress_block
from storehouse.core.files import NO_SPACE, Files
from storehouse.errors import (
    AlreadyExists,
    DamagedArchive,
    EndOfArchive,
    InvalidSetting,
    NoSpace,
    NoSuchRecord,
    StorageFailed,
    Unavailable,
    UnknownArchiveFormat,
)

__all__ = [
    "BUFFER_SIZE",
    "GROUP_SIZE",
    "ArchiveReader",
    "ArchiveWriter",
    "DamagedArchive",
    "EndOfArchive",
    "Recovered",
    "UnknownArchiveFormat",
    "parse_sync",
    "recover_archive",
]

#: Bytes of records that are gathered before they are written to the file.
BUFFER_SIZE = 1 << 18

#: A group of the index has at least so many bytes, but for the last.
GROUP_SIZE = 1 << 16

#: Pieces of fewer bytes than this, on average, are joined before they are written; larger ones are not copied.
_SMALL_PIECE = 512


def parse_sync(sync: Sync | str) -> Sync:
    """@raise InvalidSetting: if it is not one of C{record}, C{roll} and C{os}."""
    try:
        return Sync(sync)
    except ValueError:
        words = ", ".join(level.value for level in Sync)
        raise InvalidSetting(f"sync is one of {words}, not {sync!r}") from None


def _new_salt() -> int:
    return int.from_bytes(os.urandom(8), "little")


@implementer(IArchive)
class ArchiveWriter:
    """
    Writes a new archive. Methods may wait for the disk; any thread may call, one at a time.

    When records are safe depends on C{sync}:

      - C{"record"}: when L{write} returns, the record is on disk and survives a power cut. Each write costs a sync of the
        disk; L{write_many} costs one for all.
      - C{"roll"}: when L{flush} or L{close} returns, all records before it are on disk. Those after it are in the
        memory of this process until its buffer is full, then in the page cache: they may be lost, the last ones first.
      - C{"os"}: when L{flush} or L{close} returns, all records before it are in the page cache: they survive the end
        of this process, however it ends, not a power cut. Nothing is ever synced.

    With C{buffer_size=0} every write reaches the page cache before it returns, as after a L{flush} of C{"os"}.

    @ivar filename: its path.
    @ivar size: bytes written so far, those in the buffer included. (Compressed blocks count once they are written.)
    @ivar count: records written so far.
    @ivar complete: whether the footer is written, by L{close}. Always false for version 1, which has none.
    @ivar closed: whether it is closed.
    """

    _log = Logger()

    def __init__(
        self,
        filename: str,
        *,
        version: int = 2,
        compression: str | None = None,
        level: int | None = None,
        sync: Sync | str = Sync.ROLL,
        buffer_size: int = BUFFER_SIZE,
        created: int | None = None,
        sequence: int = 1,
        salt: int | None = None,
        clock: Clock | None = None,
        files: Files | None = None,
    ) -> None:
        """
        Make the file, and write its header if it has one.

        @param version: 2, or 1, which the first program can read.
        @param compression: C{"zstd"} to compress blocks of C{buffer_size} (version 2 only).
        @param created: for the header, nanoseconds since 1970 UTC; the clock's if C{None}.
        @param sequence: for the header.
        @param salt: for the header; random if C{None}.
        @param clock: the system's if C{None}.
        @raise AlreadyExists: if there is a file of that name. It is left as it is.
        @raise NoSpace: if the disk is full; then there is no file.
        @raise InvalidSetting: for an unknown version or compression.
        """
        if version not in (1, 2):
            raise InvalidSetting(f"archives have version 1 or 2, not {version!r}")
        if compression not in (None, "zstd") or (compression and version == 1):
            raise InvalidSetting(f"an archive of version {version} cannot be compressed with {compression!r}")
        self.filename = os.fspath(filename)
        self.version = version
        self.complete = False
        self.closed = False
        self._sync = parse_sync(sync)
        self._limit = 0 if self._sync is Sync.RECORD else buffer_size
        self._files = Files() if files is None else files
        self._now = now_ns_of(clock)
        self._level = level
        self._failed: Exception | None = None
        self._pending: list[bytes] = []
        self.size = 0
        self._written = 0  # bytes in the file; the rest of size is in _pending
        self.full_at = 0  # the size at which _pending is handed over
        self._dirty = True  # something is not synced; at first the name
        self._named = False  # the name is on disk
        self._groups: list[Group] = []
        self._grouped = 0  # where in the file the last group begins
        self._recorded = 0  # records in the file
        self.latest = 0  # the highest time of all
        self._in_order = True  # the times of _pending
        header = b""
        if version == 2:
            made = self._now() if created is None else created
            self.info = ArchiveInfo(2, compression, made, sequence, _new_salt() if salt is None else salt)
            self._seeds = seeds_of(self.info.salt)
            self._encode = make_record_encoder(self._seeds)
            header = encode_header(self.info)
            #: L{write} at the clock's time, and the size then.
            self.add: Add = make_adder2(self, self._pending, self._seeds, self._now)
        else:
            self.info = ArchiveInfo(1)
            self.add = make_adder1(self, self._pending)
            self._encode = lambda metadata, payload, time: encode_record(metadata, payload)
        self._fd = self._create(header)

    def _create(self, header: bytes) -> int:
        try:
            fd = self._files.open(self.filename, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        except FileExistsError:
            raise AlreadyExists(f"the file {self.filename} already exists") from None
        except OSError as problem:
            if problem.errno in NO_SPACE:
                raise NoSpace(f"the disk is full: the archive {self.filename} cannot be created") from None
            raise
        try:
            # Recovery leaves a file alone that is locked.
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if header:
                self._files.write_at(fd, (header,), 0)
            self._written = self._grouped = self.size = len(header)
            self.full_at = self.size + self._limit
        except BaseException as problem:
            self._files.close(fd)
            self._files.unlink(self.filename)
            if isinstance(problem, OSError) and problem.errno in NO_SPACE:
                raise NoSpace(f"the disk is full: the archive {self.filename} cannot be created") from None
            raise
        return fd

    @property
    def count(self) -> int:
        """Records written so far."""
        return self._recorded + len(self._pending) // 2

    # -- as the first program has it -----------------------------------------------------------------------------------

    def get_file_handle(self) -> ArchiveWriter:
        """Itself: it has L{tell}."""
        return self

    def tell(self) -> int:
        return self.size

    # -- writing -------------------------------------------------------------------------------------------------------

    def write(self, metadata: Mapping[str, str], payload: Payload, time: int | None = None) -> None:
        """
        Add a record. The class says what is true when this returns.

        @param metadata: text to text.
        @param payload: text or bytes; readers get the same kind.
        @param time: nanoseconds since 1970 UTC, for version 2; if C{None}, now, or the last record's time if that is later.
        @raise InvalidRecord: if metadata or payload are of another type; nothing was changed.
        @raise TooLarge: if the format cannot hold it; nothing was changed.
        @raise NoSpace: if the buffer is full and so is the disk. This record was not taken; those before it are in the
            file, or still in the buffer, for a later try.
        @raise StorageFailed: if a sync or a write failed, after which nothing can be promised.
        @raise Unavailable: if the archive is closed.
        """
        if time is None:
            self.add(metadata, payload)
        else:
            self.add_any(metadata, payload, time)

    def add_any(self, metadata: Mapping[str, str], payload: Payload, time: int | None = None) -> int:
        """See L{write}: the general path. @return: the size then."""
        latest = self.latest
        if time is None:
            time = max(self._now(), latest)
        head, body = pair = self._encode(metadata, payload, time)
        if time >= latest:
            self.latest = time
        else:
            self._in_order = False
        self._pending += pair
        added = len(head) + len(body)
        self.size += added
        if self.size >= self.full_at:
            self.push(1, added)
        return self.size

    def write_many(self, records: Iterable[tuple[Mapping[str, str], Payload]]) -> int:
        """
        Add records, all or none. With C{sync="record"} one sync brings all of them to disk.

        @return: how many.
        @raise StorehouseError: as L{write}; none of them was taken.
        """
        time = max(self._now(), self.latest)
        made = [self._encode(metadata, payload, time) for metadata, payload in records]
        self.latest = time
        added = sum(len(head) + len(body) for head, body in made)
        for pair in made:
            self._pending += pair
        self.size += added
        if made and self.size >= self.full_at:
            self.push(len(made), added)
        return len(made)

    def _refuse(self, *record: object) -> NoReturn:
        if self._failed is not None:
            raise StorageFailed(f"the archive {self.filename} takes no more: {self._failed}") from self._failed
        raise Unavailable(f"the archive {self.filename} is closed")

    def _fail(self, problem: Exception) -> None:
        self._failed = problem
        self._encode = self.add = self._refuse

    def push(self, records: int, added: int) -> None:
        """Write what is pending to the file; if the disk is full, drop the last C{records} again, which have C{added} bytes."""
        try:
            self._hand_over()
            if self._sync is Sync.RECORD:
                self._sync_file()
        except NoSpace:
            del self._pending[-2 * records :]
            self.size -= added
            raise

    def _hand_over(self) -> None:
        """Write what is pending to the file, in blocks, which are groups of the index."""
        if not self._pending:
            return
        out: list[bytes] = []
        groups: list[Group] = []
        at, first = self._written, self._recorded
        compressed = self.info.compression is not None
        for pieces, size in blocks_of(self._pending, self.size - at, max(self._limit, MOST_TOGETHER)):
            records = len(pieces) // 2
            lowest, highest = times_of(pieces, self._in_order) if self.version == 2 else (0, 0)
            if compressed or size < _SMALL_PIECE * len(pieces):
                pieces = [b"".join(pieces)]
            if compressed:
                packed = compress_block(pieces[0], self._level)
                pieces = [encode_block(self._seeds, lowest, highest, records, size, packed)]
                size = len(pieces[0])
            out += pieces
            groups.append(Group(at, first, lowest, highest))
            at += size
            first += records
        self._write(out)
        if self.version == 2:
            for group in groups:
                self._add_group(group, compressed)
        self._written = self.size = at
        self.full_at = at + self._limit
        self._recorded = first
        self._pending.clear()
        self._in_order = True

    def _add_group(self, new: Group, alone: bool) -> None:
        if alone or not self._groups or new.offset - self._grouped >= GROUP_SIZE:
            self._grouped = new.offset
            self._groups.append(new)
        else:
            self._groups[-1] = joined_groups(self._groups[-1], new)

    def _write(self, pieces: Sequence[bytes]) -> None:
        """Write at the end, all or nothing."""
        self._dirty = True
        try:
            self._files.write_at(self._fd, pieces, self._written)
        except OSError as problem:
            try:
                self._files.truncate(self._fd, self._written)
            except OSError as second:
                self._fail(second)
            if problem.errno in NO_SPACE and self._failed is None:
                raise NoSpace(f"the disk is full: the archive {self.filename} takes no more records") from None
            self._fail(self._failed or problem)
            raise StorageFailed(f"the archive {self.filename} cannot be written: {problem}") from problem

    def _sync_file(self) -> None:
        if not self._dirty or self._sync is Sync.OS:
            return
        try:
            self._files.sync_data(self._fd)
            if not self._named:
                self._files.sync_directory(os.path.dirname(self.filename) or ".")
                self._named = True
        except OSError as problem:
            # The kernel may have dropped the pages that it could not write: a second sync would prove nothing.
            self._fail(problem)
            raise StorageFailed(f"the archive {self.filename} cannot be synced to disk: {problem}") from problem
        self._dirty = False

    def hand_over(self) -> None:
        """
        Write the buffer to the file, without a sync.

        @raise NoSpace: as L{flush}.
        """
        if not self.closed and self._failed is None:
            self._hand_over()

    def flush(self) -> None:
        """
        Write the buffer to the file, and bring it to disk unless C{sync} is C{"os"}.

        @raise NoSpace: if the disk is full; the records are still in the buffer.
        @raise StorageFailed: as L{write}.
        """
        if self.closed or self._failed is not None:
            self._refuse()
        self._hand_over()
        self._sync_file()

    def close(self) -> None:
        """
        Write the buffer and the footer, bring all to disk unless C{sync} is C{"os"}, and close the file. Idempotent.

        If there is room for the records but not for the footer, the file is closed without it: see L{complete}.

        @raise NoSpace: if the disk is too full for the records; the archive stays open.
        @raise StorageFailed: if it cannot be synced to disk; it is closed nevertheless.
        """
        if self.closed:
            return
        try:
            if self._failed is not None:
                self._refuse()
            self._hand_over()
            if self.version == 2:
                footer = encode_footer(self._seeds, self._groups, self._written, self._recorded)
                try:
                    self._write((footer,))
                    self._written += len(footer)
                    self.size = self._written
                    self.complete = True
                except NoSpace:
                    self._log.warn(
                        "{path}: the disk is full, and the archive has no footer until there is room",
                        path=self.filename,
                    )
            self._sync_file()
        except NoSpace:
            raise
        except BaseException:
            self.abandon()
            raise
        self.abandon()

    def abandon(self) -> None:
        """Close the file as it is, without the records in the buffer: as if the process had been killed."""
        if not self.closed:
            self.closed = True
            self._encode = self.add = self._refuse
            self._files.close(self._fd)
            self.size = self._written
            self._pending.clear()

    def __enter__(self) -> ArchiveWriter:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


#: Bytes at the end that are read first: the trailer and, of most archives, the index.
_TAIL = 1 << 16

#: The lowest and the highest time there can be.
_EVER = (0, 1 << 64)


@implementer(IArchiveReader)
class ArchiveReader:
    """
    Reads an archive. Methods may wait for the disk. Not to be shared by threads.

    @ivar torn: bytes after the last whole record, once L{read} or an iteration reached the end.
    @ivar damages: the damage that L{read} and iterations skipped so far.
    """

    def __init__(
        self,
        source: Source,
        *,
        version: int | None = None,
        skip_damaged: bool = False,
        max_record: int = MAX_RECORD,
        name: str | None = None,
    ) -> None:
        """
        @param source: a path, bytes, a binary file object that can seek, or an
            L{IByteSource<storehouse.archive.interfaces.IByteSource>}. One that is compressed as a whole, with gzip or zstd,
            is expanded on the way.
        @param version: the only version to read; any if C{None}.
        @param skip_damaged: continue behind damage, and keep it in L{damages}, instead of raising it.
        @param max_record: a record that claims more bytes is damage; so is a block that claims 1 MiB more.
        @param name: for messages, instead of the source's own.
        @raise UnknownArchiveFormat: if it is no archive, or of another version.
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
                    # The source cannot be read there.
                    if not skip_damaged:
                        raise
        except BaseException:
            self._source.close()
            raise

    @property
    def version(self) -> int:
        """The version of its format, 1 or 2."""
        return self.info.version

    @property
    def complete(self) -> bool:
        """Whether a footer was found."""
        return self._footer is not None

    @property
    def compressed_as(self) -> str | None:
        """C{"gzip"} or C{"zstd"} if it is compressed as a whole."""
        return self._source.method if isinstance(self._source, ExpandedSource) else None

    @property
    def count(self) -> int | None:
        """The number of its records, if a footer says it."""
        return None if self._footer is None else self._footer[0].records

    @property
    def times(self) -> tuple[int, int] | None:
        """The lowest and the highest time of its records, nanoseconds since 1970 UTC, if a footer says it."""
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
            raise UnknownArchiveFormat(f"{self.name} is not an archive: it begins with {start!r}")
        magic, found = PREAMBLE.unpack_from(start)
        if magic != MAGIC:
            raise UnknownArchiveFormat(f"{self.name} is not an archive: it begins with {start[:6]!r}")
        if found not in (1, 2):
            raise UnknownArchiveFormat(f"{self.name} is an archive of version {found}; versions 1 and 2 are supported")
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
        """A pass through the frames from C{begin} to C{end}, or through all, with all that it finds."""
        skip = self._skip if skip is None else skip
        if self.info.version == 1 or self._empty:
            return Scan1(Window(self._source), begin or 0, bounded=False, skip=skip, max_record=self._max_record)
        if end is None and self._footer is not None and self._source.size is not None:
            end = self._footer[0].index
        return Scan2(
            Window(self._source, end),
            HEADER_SIZE if begin is None else begin,
            self._seeds,
            self.info.compression is not None,
            bounded=end is not None,
            skip=skip,
            max_record=self._max_record,
        )

    def _note(self, scan: Scan) -> None:
        """Keep what a whole pass found."""
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
        raise EndOfArchive(f"{self.name} has no more records")

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
        """All records from the first on, with number, offset and time."""
        scan = self.scan()
        self.damages = scan.damages
        yield from self._numbered(scan, 0)
        self._note(scan)

    def record(self, number: int) -> Record:
        """
        The record of that number, from 0.

        @raise NoSuchRecord: if there is none.
        @raise DamagedArchive: if damage may hide it.
        """
        scan, first = self.scan(), 0
        if number >= 0 and self._footer is not None and self._source.size is not None:
            footer, groups = self._footer
            if number >= footer.records:
                raise NoSuchRecord(f"{self.name} has {footer.records} records; there is no record {number}")
            at = bisect_right(groups, number, key=lambda group: group.first) - 1
            # Damage elsewhere in its group does not matter.
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

        @param start: nanoseconds since 1970 UTC, as C{end}; C{None} for no bound.
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
        scan = self.scan(skip=True)
        records = 0
        damages: list[DamagedArchive] = scan.damages
        for _ in scan.walk():
            records += 1
        if isinstance(scan, Scan2) and scan.footer is not None:
            self._footer = scan.footer
        count = self.count
        if count is not None and not damages and count != records:
            damages.append(DamagedArchive(self.name, scan.end, f"its footer says {count} records; there are {records}"))
        return Verified(records, self.complete, tuple(damages), scan.torn)

    def close(self) -> None:
        """Close the source."""
        self._source.close()

    def __enter__(self) -> ArchiveReader:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


_log = Logger()

#: Bytes that are copied at once.
_PIECE = 1 << 20


@attrs.frozen
class Recovered:
    """
    What was done to an archive whose writer was killed.

    @ivar records: how many it has.
    @ivar torn: bytes that were cut off after the last whole record.
    @ivar kept: the path of the file that keeps them; C{None} if there are none.
    @ivar damages: damage before its end, which was left as it is.
    @ivar removed: whether it had no whole record, and was removed.
    """

    path: str
    version: int
    records: int
    torn: int = 0
    kept: str | None = None
    damages: tuple[DamagedArchive, ...] = ()
    removed: bool = False


def recover_archive(path: str, files: Files | None = None) -> Recovered:
    """
    Cut off the torn tail of an archive, keep it in a file beside it, and write its footer. A complete one is left as it is.

    The caller ensures that nothing writes to it. When this returns, all is on disk.

    @raise UnknownArchiveFormat: if it is no archive; it is left as it is.
    @raise DamagedArchive: if its header is damaged; it is left as it is.
    @raise OSError: if a file cannot be read or written. Then call it again: that is harmless.
    """
    files = Files() if files is None else files
    # Whatever the limit of readers, a record that was written must not be cut off.
    with ArchiveReader(path, skip_damaged=True, max_record=LARGEST_RECORD) as reader:
        info = reader.info
        if reader.complete:
            return Recovered(path, info.version, reader.count or 0)
        scan = reader.scan()
        groups: list[Group] = []
        count = 0
        for _, _, time, offset in scan.walk():
            if not groups or (
                offset != groups[-1].offset
                if info.compression is not None
                else offset - groups[-1].offset >= GROUP_SIZE
            ):
                groups.append(Group(offset, count, time, time))
            group = groups[-1]
            if time < group.lowest or time > group.highest:
                groups[-1] = Group(group.offset, group.first, min(group.lowest, time), max(group.highest, time))
            count += 1
        if isinstance(scan, Scan2) and scan.footer is not None:
            return Recovered(path, info.version, count, damages=tuple(scan.damages))
        # Damage may be the last thing there is.
        end = os.stat(path).st_size - scan.torn
    kept = None
    if scan.torn:
        kept = _keep(path, end, scan.torn, files)
        _log.warn(
            "{path}: a torn tail of {torn} bytes after the last whole record, at offset {end}, was cut off and is "
            "kept as {kept}",
            path=path,
            torn=scan.torn,
            end=end,
            kept=kept,
        )
    for damage in scan.damages:
        _log.error("{path}: {damage}", path=path, damage=damage.detail)
    if not count and not scan.damages:
        files.unlink(path)
        files.sync_directory(os.path.dirname(path) or ".")
        return Recovered(path, info.version, 0, scan.torn, kept, removed=True)
    fd = files.open(path, os.O_RDWR)
    try:
        files.truncate(fd, end)
        if info.version == 2:
            files.write_at(fd, (encode_footer(seeds_of(info.salt), groups, end, count),), end)
        files.sync_data(fd)
        files.sync_directory(os.path.dirname(path) or ".")
    finally:
        files.close(fd)
    return Recovered(path, info.version, count, scan.torn, kept, tuple(scan.damages))


def _keep(path: str, offset: int, size: int, files: Files) -> str:
    """Copy the end of a file to one beside it, and bring that to disk."""
    number = 0
    while True:
        kept = f"{path}.torn" + (f".{number}" if number else "")
        try:
            target = files.open(kept, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
            break
        except FileExistsError:
            number += 1
    source = files.open(path, os.O_RDONLY)
    try:
        at = 0
        while at < size:
            piece = os.pread(source, min(_PIECE, size - at), offset + at)
            if not piece:
                break
            files.write_at(target, (piece,), at)
            at += len(piece)
        files.sync_data(target)
    except BaseException:
        files.unlink(kept)
        raise
    finally:
        files.close(source)
        files.close(target)
    files.sync_directory(os.path.dirname(path) or ".")
    return kept
