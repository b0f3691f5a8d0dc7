"""Reading an archive from front to back, whatever its version: whole records, damage, and the torn tail."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from storehouse.archive.interfaces import IByteSource, Payload
from storehouse.archive.sources import readable_behind
from storehouse.errors import DamagedArchive

__all__ = ["CHUNK", "LARGEST_RECORD", "MAX_RECORD", "Found", "Pair", "Scan", "Window"]

#: What is read at once: it stays in the processor's cache while it is worked on.
CHUNK = 1 << 18


class Window:
    """
    Bytes of a source from C{start} on.

    @ivar data: what is in memory.
    @ivar start: its offset in the source.
    @ivar limit: the offset behind which nothing is read; C{None} for the source's end, if that is not known.
    """

    def __init__(self, source: Any, limit: int | None = None) -> None:
        assert IByteSource.providedBy(source) or hasattr(source, "pread")
        self.source = source
        self.limit = source.size if limit is None else limit
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
        # Read anew from there, rather than put two pieces together: so the read is the only copy. No more memory is
        # taken than there are bytes.
        room = max(0, min(max(size, CHUNK), self.limit - offset))
        whole = True
        try:
            self.data = self.source.pread(offset, room) if room else b""
        except DamagedArchive as problem:
            if problem.offset - offset < size:
                raise
            # Damage behind what is needed is none of our business yet.
            self.data, whole = self.source.pread(offset, problem.offset - offset), False
        self.start = offset
        self._ended = whole and len(self.data) < max(size, CHUNK)
        return 0

    def _append(self, offset: int, size: int) -> int:
        """L{cover} of what has no known end, and is best read from front to back."""
        inside = offset - self.start
        if not 0 <= inside <= len(self.data):
            self.data, self.start, inside = b"", offset, 0
        end = self.start + len(self.data)
        pieces = [self.data[inside:]]
        self.data, self.start, self._ended = b"", offset, False
        have = len(pieces[0])
        wanted = max(size, CHUNK)
        try:
            # Memory is taken for what comes, piece by piece, not for what a length field says.
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
            # Damage behind what is needed is none of our business yet.
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

#: The most bytes that a record may have for a reader that is told nothing else: lengths are read from files of anybody. A
#: block may have as many, and what a writer puts together.
MAX_RECORD = 64 << 20

#: The most bytes that a record can have.
LARGEST_RECORD = (1 << 31) - 1

#: Claims of bytes up to this are looked at whatever came before; of larger ones, as many bytes as the archive has, some times.
_SMALL_CLAIM, _TIMES, _MORE = 1 << 12, 4, 16 << 20


#: Damages of one archive that are told each by itself.
_MOST_DAMAGES = 10_000


class Scan:
    """
    One pass through frames.

    @ivar damages: what was skipped.
    @ivar torn: bytes behind the last whole record, once the end was reached.
    @ivar end: the offset behind the last whole record, once the end was reached.
    @ivar jumped: set when damage was skipped before the record that comes next.
    """

    #: What the frames that hold records begin with.
    start: bytes

    def __init__(self, window: Window, begin: int, *, bounded: bool, skip: bool, max_record: int) -> None:
        """
        @param bounded: whether whole frames must fill the window up to its limit: then what is none is damage.
        @param skip: whether to go on behind damage.
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
        Whether a frame at C{offset} that says it has C{size} bytes is to be looked at as a whole. So that many that lie cost no
        more than the archive is long, L{hold_good} follows for each that does not.

        @return: why not; empty if it is.
        """
        if size > self.max_record:
            return (
                f"it says that it has {size} bytes; no more than {self.max_record} are read unless that is asked for "
                "(max_record, --max-record)"
            )
        window = self.window
        if window.limit is not None and offset + size > window.limit:
            return "it ends behind the end of the archive"
        if size > _SMALL_CLAIM:
            seen = max(window.start + len(window.data), window.limit or 0)
            if self._spent + size > _TIMES * seen + _MORE:
                return f"it says that it has {size} bytes, as too many before it did that have not"
            self._spent += size
        return ""

    def hold_good(self, size: int) -> None:
        """What was claimed was so."""
        if size > _SMALL_CLAIM:
            self._spent -= size

    def __iter__(self) -> Iterator[Found]:
        """The records."""
        raise NotImplementedError

    def batches(self) -> Iterator[list[Pair]]:
        """
        The records, several at a time, as metadata and payload.

        What was found out about damage and the end is never ahead of the records that were given.
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
            # What stopped it, whatever that is.
            self.begin = offset
            found = next(iter(self), None)
            if found is None:
                return
            yield [found[:2]]
            offset = self.end

    def run(self, offset: int) -> tuple[list[Pair], int]:
        """
        The whole records at C{offset} that are in memory and are of a kind that was seen before: they take few steps.

        @return: them, and the offset behind them.
        """
        raise NotImplementedError

    def walk(self) -> Iterator[Found]:
        """The records; what a source cannot give counts as damage, too, that may be skipped."""
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
        What an iteration raised, of this or of L{batches}, was skipped, if it may be.

        @return: whether there is something behind it: then another iteration gives that.
        """
        if not self.skip:
            return False
        following = None
        while following is None:
            self._keep(problem)
            # Never back, whatever the source says.
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
        """Whether what is at C{offset} is surely the beginning of a frame that was cut off by the end."""
        return False

    def lost(self, offset: int, reason: str, is_large: bool = False) -> int | None:
        """
        There is no whole frame at C{offset}.

        @param is_large: there may be one, but it is not read.
        @return: where to go on; C{None} at the end.
        @raise DamagedArchive: if that is damage, and not to be skipped.
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
        """A whole frame at C{offset} has an inside that makes no sense."""
        damage = DamagedArchive(self.window.source.name, offset, reason)
        if not self.skip:
            raise damage
        self._keep(damage)
        self.jumped = True

    def _keep(self, damage: DamagedArchive) -> None:
        """Have a damage told. A file that is made of them must not fill the memory with them."""
        if len(self.damages) < _MOST_DAMAGES:
            self.damages.append(damage)
        elif len(self.damages) == _MOST_DAMAGES:
            reason = "there is more damage from here on, which is not listed"
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
