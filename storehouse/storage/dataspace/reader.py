"""The bytes of an open range of an object: blocks are verified in a disk thread, the next ones while these are taken."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import AsyncGenerator, Callable

from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure

from storehouse.core.disk import IDisk
from storehouse.core.jobs import over
from storehouse.core.streams import PIECE, GeneratorStream, Piece
from storehouse.core.turns import breath
from storehouse.storage.dataspace.opened import OpenObject

__all__ = ["READ_SIZE", "BlockStream", "ReadMemory"]

#: Bytes that one job in a disk thread reads, unless a block has more.
READ_SIZE = 1 << 20

# Bytes that one reads for who waits for them.
_MOST_READ = 2 << 20


class ReadMemory:
    """
    What streams hold of verified blocks that were not read yet.

    Beyond the total, those that were not read for the longest time let go of theirs, and read again when it is wanted.

    @ivar used: bytes that are held.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self.used = 0
        self._idle: OrderedDict[BlockStream, None] = OrderedDict()

    def hold(self, size: int) -> None:
        """So many bytes more are held; less if negative."""
        self.used += size
        while self.used > self._total and self._idle:
            stream, _ = self._idle.popitem(last=False)
            stream.let_go()

    def idles(self, stream: BlockStream) -> None:
        """A stream is not being read: it may be asked to let go."""
        self._idle[stream] = None
        self.hold(0)

    def goes_on(self, stream: BlockStream) -> None:
        """A stream is being read, or closed: it may not be asked."""
        self._idle.pop(stream, None)


class BlockStream(GeneratorStream):
    """
    A range of an object. See L{Reader<storehouse.storage.dataspace.interfaces.Reader>}.

    @param first: what has been read of the range already.
    @param on_failure: turns the failure of a disk thread into the one that the reader gets.
    @param on_closed: called once, when the object is not read any more.
    @param on_bytes: called with the number of bytes that were read.
    """

    def __init__(
        self,
        opened: OpenObject,
        offset: int,
        length: int,
        first: list[bytes],
        disk: IDisk,
        memory: ReadMemory,
        on_failure: Callable[[Exception], Exception],
        on_closed: Callable[[], None],
        on_bytes: Callable[[int], None],
    ) -> None:
        super().__init__(self._blocks(), release=self._closed)
        self._opened = opened
        self._offset = offset
        self._length = length
        self._disk = disk
        self._memory = memory
        self._on_failure = on_failure
        self._on_closed = on_closed
        self._on_bytes = on_bytes
        self._given = 0  # bytes given out
        self._held = 0  # bytes read and not given out
        self._ahead: deque[bytes] = deque()
        self._at = 0  # bytes of the first of them that were given out
        self._failure: BaseException | None = None
        self._reading: Deferred[list[bytes]] | None = None
        self._read_size = READ_SIZE
        self._take(first)
        memory.idles(self)

    def let_go(self) -> None:
        """For the memory: drop what is held. It is read again when it is wanted."""
        held, self._held = self._held, 0
        self._ahead.clear()
        self._at = 0
        self._failure = None
        self._memory.hold(-held)

    async def _blocks(self) -> AsyncGenerator[Piece, None]:
        while self._given < self._length:
            self._memory.goes_on(self)
            self._read_ahead()
            while not self._ahead:
                if self._failure is not None:
                    raise self._failure
                if self._reading is not None:
                    # Who waits gets more at once: a thread that waits to be asked again verifies nothing.
                    self._read_size = min(2 * self._read_size, _MOST_READ)
                    await over(self._reading)
                self._read_ahead()
            piece = self._next_piece()
            self._read_ahead()
            self._memory.idles(self)
            # The reader may take everything at once, and need CPU time for each piece, to encrypt it for example.
            await breath()
            yield piece

    def _next_piece(self) -> Piece:
        first = self._ahead[0]
        piece: Piece = first if len(first) <= PIECE else memoryview(first)[self._at : self._at + PIECE]
        self._at += len(piece)
        if self._at == len(first):
            self._ahead.popleft()
            self._at = 0
        self._given += len(piece)
        self._held -= len(piece)
        self._memory.hold(-len(piece))
        self._on_bytes(len(piece))
        return piece

    def _read_ahead(self) -> None:
        """Read what follows what is held, if nothing is being read and little is held."""
        at = self._given + self._held
        if self._reading is not None or self._failure is not None or at >= self._length or self._held > READ_SIZE:
            return
        work = self._disk.run(self._opened.read, self._offset + at, self._length - at, self._read_size)
        self._read_size = READ_SIZE
        self._reading = work
        work.addCallbacks(self._read, self._not_read, callbackArgs=(at,), errbackArgs=(at,))

    def _read(self, pieces: list[bytes], at: int) -> None:
        self._reading = None
        # What was held before it may have been let go meanwhile.
        if at == self._given + self._held and self._closing is None:
            self._take(pieces)
            if not self._is_reading:
                self._memory.idles(self)

    def _not_read(self, failure: Failure, at: int) -> None:
        self._reading = None
        # If what comes before it was let go, it is met again.
        if at == self._given + self._held and self._closing is None:
            error = failure.value
            self._failure = self._on_failure(error) if isinstance(error, Exception) else error

    def _take(self, pieces: list[bytes]) -> None:
        self._ahead.extend(pieces)
        size = sum(map(len, pieces))
        self._held += size
        self._memory.hold(size)

    def _closed(self) -> Deferred[None]:
        self._memory.goes_on(self)
        if self._reading is not None:
            return over(self._reading).addCallback(self._give_back)
        self._give_back(None)
        return succeed(None)

    def _give_back(self, result: None) -> None:
        self.let_go()
        self._opened.close()
        self._on_closed()
