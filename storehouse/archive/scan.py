"""Reading an archive from front to back, whatever its version: whole records, damage, and the torn tail."""

from __future__ import annotations

from collections.abc import Iterator

from storehouse.archive.interfaces import IByteSource, Payload
from storehouse.archive.sources import readable_behind
from storehouse.errors import DamagedArchive

__all__ = ["CHUNK", "LARGEST_RECORD", "MAX_RECORD", "Found", "Pair", "Scan", "Window"]

#: What is read at once: it stays in the processor's cache while it is worked on.
CHUNK = 1 << 18


class Window:
    """
    Bytes of a source from C{start} on, in memory. It moves forward as the source is read.

    @ivar data: what is in memory.
    @ivar start: its offset in the source.
    @ivar limit: the offset behind which nothing is read; C{None} for the source's end, if that is not known.
    """

    def __init__(self, source: IByteSource, limit: int | None = None) -> None:
        self.source = source
        self.limit: int | None = source.size if limit is None else limit
        self.data = b""
        self.start = 0
        self._ended = False

    def cover(self, offset: int, size: int) -> int:
        """
        Have C{size} bytes at C{offset} in memory, fewer only at the end. What is before may be dropped.

        @return: where in L{data} they are.
        @raise DamagedArchive: if the source cannot give them.
        """
        inside = offset - self.start
        if 0 <= inside <= len(self.data) and (len(self.data) - inside >= size or self._ended):
            return inside
        if self.limit is None:
            return self._append(offset, size)
        # Read again from there, rather than join two pieces: so the read is the only copy. No more memory is taken than
        # there are bytes.
        room = max(0, min(max(size, CHUNK), self.limit - offset))
        whole = True
        try:
            self.data = self.source.pread(offset, room) if room else b""
        except DamagedArchive as problem:
            if problem.offset - offset < size:
                raise
            # Damage behind what is needed does not matter yet.
            self.data, whole = self.source.pread(offset, problem.offset - offset), False
        self.start = offset
        self._ended = whole and len(self.data) < max(size, CHUNK)
        return 0

    def _append(self, offset: int, size: int) -> int:
        """L{cover} for a source whose size is not known, which is best read from front to back."""
        inside = offset - self.start
        if not 0 <= inside <= len(self.data):
            self.data, self.start, inside = b"", offset, 0
        end = self.start + len(self.data)
        pieces = [self.data[inside:]]
        self.data, self.start, self._ended = b"", offset, False
        have = len(pieces[0])
        wanted = max(size, CHUNK)
        try:
            # Memory is taken for what is read, piece by piece, not for what a length field says.
            while have < wanted:
                piece = self.source.pread(end, min(wanted - have, 16 * CHUNK))
                if not piece:
                    self._ended = True
                    break
                pieces.append(piece)
                have += len(piece)
                end += len(piece)
        except DamagedArchive:
            if have < size:
                raise
            # Damage behind what is needed does not matter yet.
        finally:
            self.data = b"".join(pieces)
        return 0

    def available(self, inside: int) -> int:
        """How many bytes are in memory from C{inside} on."""
        return len(self.data) - inside


#: A record as a scan gives it: metadata, payload, time, offset.
Found = tuple[dict[str, str], Payload, int, int]

#: A record as a reader gives it.
Pair = tuple[dict[str, str], Payload]

#: The most bytes that a record may have unless a reader is given another limit: the lengths in a file may be anybody's. A
#: block may have as many, and C{MOST_TOGETHER} more.
MAX_RECORD = 64 << 20

#: The most bytes that a record can have.
LARGEST_RECORD = (1 << 31) - 1

#: A frame that claims up to _SMALL_CLAIM bytes is always looked at. All larger ones that turn out to be none may cost _TIMES
#: the bytes of the archive, and _MORE.
_SMALL_CLAIM, _TIMES, _MORE = 1 << 12, 4, 16 << 20


#: Damages of one archive that are listed.
_MOST_DAMAGES = 10_000


class Scan:
    """
    One pass through the frames of an archive.

    @ivar damages: what was skipped, in order.
    @ivar torn: bytes after the last whole record, once the end was reached.
    @ivar end: the offset after the last whole record, once the end was reached.
    @ivar jumped: set when damage was skipped before the record that comes next.
    """

    #: The bytes that each frame with records begins with.
    start: bytes

    def __init__(self, window: Window, begin: int, *, bounded: bool, skip: bool, max_record: int) -> None:
        """
        @param bounded: whether whole frames must fill the window up to its limit: then anything else is damage.
        @param skip: whether to continue behind damage.
        """
        self.window = window
        self.begin = begin
        self.bounded = bounded
        self.skip = skip
        self.max_record = max_record
        self.damages: list[DamagedArchive] = []
        self.torn = 0
        self.end = begin
        self.jumped = False
        self._hole = 0
        self._spent = 0

    def claim(self, offset: int, size: int) -> str:
        """
        Whether a frame at C{offset} that claims C{size} bytes is worth reading as a whole. If it then is one,
        L{hold_good} must be called: so false claims together cost no more than some passes through the archive.

        @return: why not; empty if so.
        """
        if size > self.max_record:
            return f"it claims {size} bytes; at most {self.max_record} are read by default (max_record, --max-record)"
        window = self.window
        if window.limit is not None and offset + size > window.limit:
            return "it ends after the end of the archive"
        if size > _SMALL_CLAIM:
            seen = max(window.start + len(window.data), window.limit or 0)
            if self._spent + size > _TIMES * seen + _MORE:
                return f"it claims {size} bytes, and too many before it made false claims"
            self._spent += size
        return ""

    def hold_good(self, size: int) -> None:
        """A frame had the bytes that it claimed."""
        if size > _SMALL_CLAIM:
            self._spent -= size

    def __iter__(self) -> Iterator[Found]:
        """The records, from C{begin} on. @raise DamagedArchive: unless damage is skipped."""
        raise NotImplementedError

    def batches(self) -> Iterator[list[Pair]]:
        """
        The records, several at a time, as metadata and payload.

        C{damages}, C{end} and C{torn} are never ahead of the records that were given.
        """
        window = self.window
        offset = self.begin
        while True:
            pairs, offset = self.run(offset)
            if pairs:
                yield pairs
                if window.limit is not None and window.available(offset - window.start) < CHUNK // 4:
                    # Most likely the next record is not whole in memory.
                    window.cover(offset, CHUNK)
                    continue
            # One step of the general path: it knows what stopped the quick one.
            self.begin = offset
            found = next(iter(self), None)
            if found is None:
                return
            yield [found[:2]]
            offset = self.end

    def run(self, offset: int) -> tuple[list[Pair], int]:
        """
        The quick path: the whole records at C{offset} that are in memory and have keys that were seen before.

        @return: them, and the offset behind them.
        """
        raise NotImplementedError

    def walk(self) -> Iterator[Found]:
        """The records. Bytes that the source cannot give are damage, too, and may be skipped."""
        while True:
            try:
                yield from self
            except DamagedArchive as problem:
                if not self.skip:
                    raise
                if self.goes_on_behind(problem):
                    continue
            return

    def goes_on_behind(self, problem: DamagedArchive) -> bool:
        """
        Skip damage that an iteration, or L{batches}, raised, if damage is skipped.

        @return: whether a whole frame follows: then another iteration begins there.
        """
        if not self.skip:
            return False
        following = None
        while following is None:
            self._keep(problem)
            # Never backward, whatever offset the source names.
            self._hole = max(self._hole, problem.offset)
            end = self.window.limit
            at = None if end is None else readable_behind(self.window.source, self._hole, end)
            if at is None:
                return False
            self._hole = at
            try:
                following = self._search(at)
            except DamagedArchive as another:
                problem = another
            else:
                break
        if following is None:
            return False
        self.begin = following
        self.jumped = True
        return True

    def size_at(self, offset: int) -> int | None:
        """The bytes of the whole frame at C{offset}; C{None} if there is none."""
        raise NotImplementedError

    def is_torn(self, offset: int) -> bool:
        """Whether the bytes at C{offset} are certainly the beginning of a frame that the end cuts off."""
        return False

    def lost(self, offset: int, reason: str, is_large: bool = False) -> int | None:
        """
        There is no whole frame at C{offset}.

        @param is_large: there may be one, but it is not read.
        @return: where the next whole frame begins; C{None} if there is none.
        @raise DamagedArchive: if that is damage, and damage is not skipped.
        """
        following = None if self.is_torn(offset) and not self.bounded else self._search(offset + 1)
        if following is None and not self.bounded and not is_large:
            self.torn = self._source_end(offset) - offset
            return None
        damage = DamagedArchive(self.window.source.name, offset, reason)
        if not self.skip:
            raise damage
        self._keep(damage)
        self.jumped = True
        return following

    def senseless(self, offset: int, reason: str) -> None:
        """The checksum of a frame at C{offset} is right, but what it holds is invalid."""
        damage = DamagedArchive(self.window.source.name, offset, reason)
        if not self.skip:
            raise damage
        self._keep(damage)
        self.jumped = True

    def _keep(self, damage: DamagedArchive) -> None:
        """Add to L{damages}, up to a limit: a file full of damage must not fill the memory with them."""
        if len(self.damages) < _MOST_DAMAGES:
            self.damages.append(damage)
        elif len(self.damages) == _MOST_DAMAGES:
            reason = "there is more damage after this, which is not listed"
            self.damages.append(DamagedArchive(damage.file, damage.offset, reason))

    def _search(self, offset: int) -> int | None:
        window = self.window
        width = len(self.start)
        while True:
            inside = window.cover(offset, width)
            found = window.data.find(self.start, inside)
            if found < 0:
                seen = len(window.data) - inside
                if seen < width:
                    return None
                offset += seen - width + 1
                continue
            offset = window.start + found
            if self.size_at(offset) is not None:
                return offset
            offset += 1

    def _source_end(self, offset: int) -> int:
        window = self.window
        if window.limit is not None:
            return window.limit
        while True:
            inside = window.cover(offset, CHUNK)
            seen = len(window.data) - inside
            offset += seen
            if seen < CHUNK:
                return offset
