"""Writing one archive, of either version."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NoReturn

from twisted.logger import Logger
from zope.interface import implementer

from storehouse.archive.adders import Add, make_adder1, make_adder2
from storehouse.archive.clocks import now_ns_of
from storehouse.archive.formats1 import encode_record
from storehouse.archive.formats2 import (
    Group,
    encode_block,
    encode_footer,
    encode_header,
    make_record_encoder,
    seeds_of,
)
from storehouse.archive.interfaces import ArchiveInfo, IArchive, Payload, Sync
from storehouse.archive.parts import MOST_TOGETHER, joined, parts_of, times_of
from storehouse.core.compression import compress_block
from storehouse.core.files import NO_SPACE, Files
from storehouse.errors import AlreadyExists, InvalidSetting, NoSpace, StorageFailed, Unavailable

__all__ = ["BUFFER_SIZE", "GROUP_SIZE", "ArchiveWriter", "parse_sync"]

#: Bytes that are gathered before they are handed to the operating system.
BUFFER_SIZE = 1 << 18

#: A group of the index has at least so many bytes, but for the last.
GROUP_SIZE = 1 << 16

#: Pieces that are smaller than this on the average are put together before they are written; larger ones are not copied.
_SMALL_PIECE = 512


def parse_sync(sync: Sync | str) -> Sync:
    """@raise InvalidSetting: for a word that is none."""
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
    Writes a new archive. Methods may wait for the disk, and may be called by any thread, one at a time.

    What has been I{acknowledged} depends on C{sync}:

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
    @ivar sealed: the footer is written: it was closed as it should be. Always false for version 1, which has none.
    @ivar closed: it takes no more.
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
        clock: Any = None,
        files: Files | None = None,
    ) -> None:
        """
        Make the file, and write its header if it has one.

        @param version: 2, or 1 for what the first program can read.
        @param compression: C{"zstd"} to compress blocks of C{buffer_size} (version 2 only).
        @param created: for the header, nanoseconds since 1970 UTC; the clock's if C{None}.
        @param sequence: for the header.
        @param salt: for the header; random if C{None}.
        @param clock: has C{seconds()}; the system's if C{None}.
        @raise AlreadyExists: if there is a file of that name. It is left as it is.
        @raise NoSpace: if there is no room; then there is no file.
        @raise InvalidSetting: for a version or compression that is not known.
        """
        if version not in (1, 2):
            raise InvalidSetting(f"archives have version 1 or 2, not {version!r}")
        if compression not in (None, "zstd") or (compression and version == 1):
            raise InvalidSetting(f"an archive of version {version} cannot be compressed with {compression!r}")
        self.filename = os.fspath(filename)
        self.version = version
        self.sealed = False
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
            raise AlreadyExists(f"there is a file {self.filename} already") from None
        except OSError as problem:
            if problem.errno in NO_SPACE:
                raise NoSpace(f"there is no room for the archive {self.filename}") from None
            raise
        try:
            # Tells who recovers leftovers that this is none.
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if header:
                self._files.write_at(fd, (header,), 0)
            self._written = self._grouped = self.size = len(header)
            self.full_at = self.size + self._limit
        except BaseException as problem:
            self._files.close(fd)
            self._files.unlink(self.filename)
            if isinstance(problem, OSError) and problem.errno in NO_SPACE:
                raise NoSpace(f"there is no room for the archive {self.filename}") from None
            raise
        return fd

    @property
    def count(self) -> int:
        """Records written so far."""
        return self._recorded + len(self._pending) // 2

    # -- as the first program has it -----------------------------------------------------------------------------------

    def get_file_handle(self) -> ArchiveWriter:
        """What can L{tell} how large the archive is."""
        return self

    def tell(self) -> int:
        """L{size}."""
        return self.size

    # -- writing -------------------------------------------------------------------------------------------------------

    def write(self, metadata: Mapping[str, str], payload: Payload, time: int | None = None) -> None:
        """
        Add a record. The class says what is true when this returns.

        @param metadata: text to text.
        @param payload: text or bytes; it comes back as what it was.
        @param time: nanoseconds since 1970 UTC, for version 2; now, but not before the last record's, if C{None}.
        @raise InvalidRecord: if it is of another kind; nothing was changed.
        @raise TooLarge: likewise.
        @raise NoSpace: if the buffer is full and the disk as well. This record was not taken; those before it are in
            the file, or still in the buffer, for a later try.
        @raise StorageFailed: if a sync or a write failed in a way after which nothing can be promised.
        @raise Unavailable: if it is closed.
        """
        if time is None:
            self.add(metadata, payload)
        else:
            self.add_any(metadata, payload, time)

    def add_any(self, metadata: Mapping[str, str], payload: Payload, time: int | None = None) -> int:
        """L{write}, whatever the record is. @return: the size then."""
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
        Add records, all or none. They are handed over together: with C{sync="record"}, by one sync.

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
        """Hand over what is pending; if there is no room, drop the last records again."""
        try:
            self._hand_over()
            if self._sync is Sync.RECORD:
                self._sync_file()
        except NoSpace:
            del self._pending[-2 * records :]
            self.size -= added
            raise

    def _hand_over(self) -> None:
        """Write what is pending to the file."""
        if not self._pending:
            return
        out: list[bytes] = []
        groups: list[Group] = []
        at, first = self._written, self._recorded
        compressed = self.info.compression is not None
        for pieces, size in parts_of(self._pending, self.size - at, max(self._limit, MOST_TOGETHER)):
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
            self._groups[-1] = joined(self._groups[-1], new)

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
                raise NoSpace(f"there is no room for more of the archive {self.filename}") from None
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
            # The kernel may have dropped what it could not write: a second sync would prove nothing.
            self._fail(problem)
            raise StorageFailed(f"the archive {self.filename} cannot be brought to disk: {problem}") from problem
        self._dirty = False

    def hand_over(self) -> None:
        """
        Give what is in the buffer to the operating system, without a sync.

        @raise NoSpace: as L{flush}.
        """
        if not self.closed and self._failed is None:
            self._hand_over()

    def flush(self) -> None:
        """
        Hand over what is in the buffer, and bring it to disk unless C{sync} is C{"os"}.

        @raise NoSpace: if there is no room; the records are still in the buffer.
        @raise StorageFailed: as L{write}.
        """
        if self.closed or self._failed is not None:
            self._refuse()
        self._hand_over()
        self._sync_file()

    def close(self) -> None:
        """
        Write what is left and the footer, bring all to disk unless C{sync} is C{"os"}, and close the file.

        If there is room for the records but not for the footer, it is closed without: see L{sealed}. Closing again is
        fine.

        @raise NoSpace: if there is no room for the records; it stays open then.
        @raise StorageFailed: if it cannot be brought to disk; it is closed nevertheless.
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
                    self.sealed = True
                except NoSpace:
                    self._log.warn("{path}: no room for the footer; it is left unsealed", path=self.filename)
            self._sync_file()
        except NoSpace:
            raise
        except BaseException:
            self.abandon()
            raise
        self.abandon()

    def abandon(self) -> None:
        """Close the file as it is, dropping what is in the buffer: what a kill would leave."""
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
