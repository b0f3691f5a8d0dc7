"""The bytes of a chunk as they come in."""

from __future__ import annotations

import sys
from collections.abc import Callable

from storehouse.core.streams import PushedStream

__all__ = ["ChunkBody"]


class ChunkBody(PushedStream):
    """
    What the connection has taken of a chunk, as a stream for the store.

    @param size: bytes of the chunk.
    @param pause: has the connection read no more for now.
    @param resume: has it go on.
    @ivar left: bytes that are still to come, and are read from the connection even if the store wants no more.
    """

    def __init__(self, size: int, pause: Callable[[], object], resume: Callable[[], object]) -> None:
        super().__init__(pause, resume)
        self.left = size
        if not size:
            self.end()

    def take(self, data: bytes) -> None:
        """Some bytes came, no more than are left."""
        self.left -= len(data)
        if not self.left:
            # What comes behind is not of this chunk, and does not wait for the store to take its last bytes.
            self._bound = sys.maxsize
        self.write(data)
        if not self.left:
            self.end()
