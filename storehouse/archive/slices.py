"""
Reading an archive of version 2 in slices, without input or output: the caller reads the bytes that are wanted, from a file or
another server, and feeds them.

So a reader that is slower than the disk, or an archive on another server, costs neither a thread nor memory, and each slice
is little work.
"""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterator

import attrs
from zope.interface import implementer

from storehouse.archive.interfaces import ArchiveInfo, IByteSource, Record
from storehouse.archive.scan import MAX_RECORD, Window
from storehouse.archive.version1 import MAGIC, PREAMBLE
from storehouse.archive.version2 import (
    BLOCK,
    BLOCK_SIZE,
    HEADER_SIZE,
    INDEX,
    MOST_TOGETHER,
    RECORD,
    RECORD_SIZE,
    TRAILER_SIZE,
    Footer,
    Group,
    Scan2,
    Seeds,
    block_fields,
    decode_header,
    decode_index,
    decode_trailer,
    record_fields,
    seeds_of,
)
from storehouse.core.compression import Expander, method_of
from storehouse.errors import DamagedArchive, UnknownArchiveFormat

__all__ = ["PIECE", "ArchiveSlices", "Wanted"]

#: Bytes that are worked on at once, about: some milliseconds.
PIECE = 1 << 17

#: What is read of the end at first: trailer and, of most archives, the index.
_TAIL = 1 << 16


@attrs.frozen
class Wanted:
    """
    The bytes to be fed next.

    @ivar offset: where they begin, in the archive as it is stored.
    @ivar length: how many; 0 if those fed before give more first.
    """

    offset: int
    length: int


@implementer(IByteSource)
class _Stretch:
    """Some bytes of an archive, at their offset."""

    def __init__(self, name: str, start: int, data: bytes) -> None:
        self.name = name
        self.size: int | None = start + len(data)
        self._start = start
        self._data = data

    def pread(self, offset: int, size: int) -> bytes:
        inside = offset - self._start
        return self._data[inside : inside + size]

    def close(self) -> None:
        """Nothing to free."""


class _NeedsBytes(Exception):
    """More bytes are needed before anything else can be expanded."""


class ArchiveSlices:
    """
    One pass through an archive, or through the part of it that holds the records of a span of time.

    A complete archive is read by its index. One that is compressed as a whole, or is still being written, is read in order,
    from its first byte.

    @ivar wanted: the bytes for L{feed}; C{None} at the end.
    @ivar info: its header, once known.
    @ivar damages: what was skipped.
    """

    def __init__(
        self,
        name: str,
        size: int,
        *,
        start: int | None = None,
        end: int | None = None,
        most: int | None = None,
        growing: bool = False,
        salt: int | None = None,
        skip_damaged: bool = False,
        max_record: int = MAX_RECORD,
    ) -> None:
        """
        @param name: for errors.
        @param size: its bytes.
        @param start: records of that time or later, nanoseconds since 1970 UTC; C{None} for no bound.
        @param end: records before that time.
        @param most: read no more than so many records.
        @param growing: whether it is still being written, and is to be read up to C{size}, where a record ends.
        @param salt: the salt that its header must have: with another one it is another archive.
        @param skip_damaged: skip damaged records, where whole ones can be found behind them, and keep that in C{damages}.
        @param max_record: a record that claims more bytes is damage.
        """
        self.name = name
        self.info: ArchiveInfo | None = None
        self._size = size
        self._low = 0 if start is None else start
        self._high = 1 << 64 if end is None else end
        self._most = sys.maxsize if most is None else most
        self._growing = growing
        self._salt = salt
        self._skip = skip_damaged
        self._max_record = max_record
        self.damages: list[DamagedArchive] = []
        self._seeds = Seeds(0, b"")
        self._number = 0
        self._records: list[Record] = []
        self._steps = self._read()
        self.wanted: Wanted | None = next(self._steps)

    def feed(self, data: bytes) -> list[Record]:
        """
        Take the bytes that were wanted; a bounded amount of work. They are not kept.

        @return: the next records, perhaps none although there are more.
        @raise DamagedArchive: if they are not what was written.
        @raise UnknownArchiveFormat: if it is no archive of version 2, or has another salt.
        """
        wanted = self.wanted
        if wanted is None:
            return []
        if len(data) != wanted.length:
            raise self._damaged(wanted.offset + len(data), "it is shorter than it was")
        self.wanted = None
        try:
            self.wanted = self._steps.send(data)
        except StopIteration:
            pass
        records, self._records = self._records, []
        return records

    def _damaged(self, offset: int, reason: str) -> DamagedArchive:
        return DamagedArchive(self.name, offset, reason)

    # -- the beginning -------------------------------------------------------------------------------------------------

    def _read(self) -> Generator[Wanted, bytes, None]:
        head = yield Wanted(0, min(self._size, HEADER_SIZE))
        method = method_of(head[:4]) if len(head) >= 4 else None
        if method is not None:
            yield from self._in_order(method)
            return
        self._open(head)
        if self._growing:
            yield from self._in_order(None)
        else:
            yield from self._by_index()

    def _open(self, head: bytes) -> None:
        if len(head) < PREAMBLE.size or PREAMBLE.unpack_from(head)[0] != MAGIC:
            raise UnknownArchiveFormat(f"{self.name} is not an archive: it begins with {head[:6]!r}")
        version = PREAMBLE.unpack_from(head)[1]
        if version != 2:
            raise UnknownArchiveFormat(f"{self.name} is an archive of version {version}, not 2")
        if len(head) < HEADER_SIZE:
            raise self._damaged(len(head), "it ends within its header")
        try:
            self.info = decode_header(head)
        except ValueError as problem:
            raise self._damaged(0, str(problem)) from None
        if self._salt is not None and self.info.salt != self._salt:
            raise UnknownArchiveFormat(f"{self.name} is not the archive that was there before")
        self._seeds = seeds_of(self.info.salt)

    # -- a complete archive ----------------------------------------------------------------------------------------------

    def _by_index(self) -> Generator[Wanted, bytes, None]:
        size = self._size
        at = max(0, size - _TAIL)
        tail = yield Wanted(at, size - at)
        footer = decode_trailer(tail[-TRAILER_SIZE:], self._seeds)
        if footer is None or not HEADER_SIZE <= footer.index <= size - TRAILER_SIZE:
            raise self._damaged(max(0, size - TRAILER_SIZE), "it has no footer")
        if footer.index >= at:
            index = tail[footer.index - at : -TRAILER_SIZE]
        else:
            index = yield Wanted(footer.index, size - TRAILER_SIZE - footer.index)
        groups = decode_index(index, self._seeds)
        if groups is None:
            raise self._damaged(footer.index, "its index is damaged")
        del tail, index
        for first, end in self._matching(groups, footer):
            if end - first.offset > self._max_record + 2 * MOST_TOGETHER + PIECE:
                raise self._damaged(first.offset, f"a group claims {end - first.offset} bytes")
            data = yield Wanted(first.offset, end - first.offset)
            self._number = first.first
            self._take(first.offset, data)
            # A reader may wait for hours before it asks for the next ones.
            del data

    def _matching(self, groups: tuple[Group, ...], footer: Footer) -> Iterator[tuple[Group, int]]:
        """Runs of groups that may hold the records asked for: the first group of each, and where its last one ends."""
        first: Group | None = None
        for at, group in enumerate(groups):
            end = groups[at + 1].offset if at + 1 < len(groups) else footer.index
            if group.highest < self._low or group.lowest >= self._high or group.first >= self._most:
                continue
            if first is None:
                first = group
            following = groups[at + 1] if at + 1 < len(groups) else None
            if following is None or end - first.offset >= PIECE or not self._may_match(following):
                yield first, end
                first = None

    def _may_match(self, group: Group) -> bool:
        return group.highest >= self._low and group.lowest < self._high and group.first < self._most

    # -- from front to back --------------------------------------------------------------------------------------------

    def _in_order(self, method: str | None) -> Generator[Wanted, bytes, None]:
        """Frame after frame. The beginning of one that is not whole waits for more bytes."""
        pieces = self._pieces(method)
        data, base, ended = bytearray(), 0 if method else HEADER_SIZE, False
        request = next(pieces)
        while not ended:
            if isinstance(request, Wanted):
                request = pieces.send((yield request))
                continue
            ended = not request
            data += request
            # As in L{_by_index}, nothing is kept between two steps but the beginning of the next frame.
            request = b""
            if self.info is None:
                if len(data) < HEADER_SIZE and not ended:
                    request = pieces.send(b"")
                    continue
                self._open(bytes(data[:HEADER_SIZE]))
                del data[:HEADER_SIZE]
                base = HEADER_SIZE
            cut, is_end = self._whole_frames(data, base)
            if is_end and len(data) - cut > self._max_record:
                raise self._damaged(base + cut, "its index is longer than it can be")
            self._take(base, bytes(data[:cut]))
            del data[:cut]
            base += cut
            if self._number >= self._most:
                return
            if not ended:
                # The step ends here, so that each is bounded, although nothing new has to be read.
                yield Wanted(0, 0)
                request = pieces.send(b"")
            elif self._growing and not data:
                return
            elif not is_end or not self._is_footer(bytes(data), base):
                raise self._damaged(base, "it ends without its footer")

    def _pieces(self, method: str | None) -> Generator[Wanted | bytes, bytes, None]:
        """The archive, expanded, piece by piece, and the bytes that are wanted for that; no bytes at the end."""
        at = 0 if method else HEADER_SIZE
        given = b""

        def take(size: int) -> bytes:
            nonlocal given
            if not given and at < self._size:
                raise _NeedsBytes
            piece, given = given[:size], given[size:]
            return piece

        expander = Expander(take) if method else None
        done = 0
        while True:
            if expander is None:
                piece = (yield Wanted(at, min(PIECE, self._size - at))) if at < self._size else b""
                at += len(piece)
            else:
                try:
                    piece = expander.read()
                except _NeedsBytes:
                    given = yield Wanted(at, min(PIECE, self._size - at))
                    at += len(given)
                    continue
                except ValueError as problem:
                    raise self._damaged(done, f"it cannot be expanded: {problem}") from None
            done += len(piece)
            # Given away: a local variable would keep it until the next one.
            last = [piece]
            del piece
            yield last.pop()

    def _whole_frames(self, data: bytearray, base: int) -> tuple[int, bool]:
        """How many bytes of whole records or blocks there are, and whether the index follows."""
        at = 0
        assert self.info is not None
        blocks = self.info.compression is not None
        head = BLOCK_SIZE if blocks else RECORD_SIZE
        start = (BLOCK if blocks else RECORD) + self._seeds.mark
        index = INDEX + self._seeds.mark
        while True:
            found = data[at : at + 4]
            if found == index:
                return at, True
            if len(data) - at < head:
                return at, False
            if found != start:
                raise self._damaged(base + at, "a frame is missing here")
            if blocks:
                size = head + block_fields(data, at)[-1]
            else:
                _, _, _, keys, values, length, _ = record_fields(data, at)
                size = head + keys + values + length
            if size > self._max_record + MOST_TOGETHER:
                raise self._damaged(base + at, "a record is longer than one can be")
            if at + size > len(data):
                return at, False
            at += size

    def _is_footer(self, data: bytes, base: int) -> bool:
        """Whether these bytes are the footer and nothing else."""
        footer = decode_trailer(data[-TRAILER_SIZE:], self._seeds)
        groups = decode_index(data[:-TRAILER_SIZE], self._seeds)
        if footer is None or groups is None or footer.index != base:
            return False
        return footer.records == self._number or bool(self.damages)

    # -- records -------------------------------------------------------------------------------------------------------

    def _take(self, base: int, data: bytes) -> None:
        """Take the records of bytes that are whole frames and nothing else."""
        if not data:
            return
        assert self.info is not None
        end = base + len(data)
        compressed = self.info.compression is not None
        window = Window(_Stretch(self.name, base, data), end)
        scan = Scan2(window, base, self._seeds, compressed, bounded=True, skip=self._skip, max_record=self._max_record)
        for metadata, payload, time, offset in scan.walk():
            number = self._number
            self._number += 1
            if self._low <= time < self._high and number < self._most:
                self._records.append(Record(number, offset, time, metadata, payload))
        self.damages += scan.damages
