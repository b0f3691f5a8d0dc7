"""A stretch of a source in memory, which moves on as it is read."""

from __future__ import annotations

from typing import Any

from storehouse.archive.interfaces import IByteSource
from storehouse.errors import DamagedArchive

__all__ = ["CHUNK", "Window"]

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
