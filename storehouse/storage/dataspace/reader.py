"""An open range of an object: blocks are verified in a disk thread, and handed to a consumer at its pace."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.python.failure import Failure
from zope.interface import implementer

from storehouse.core.disk import IDisk
from storehouse.core.turns import breath, is_spent
from storehouse.errors import Unavailable
from storehouse.storage.dataspace.interfaces import IReader
from storehouse.storage.dataspace.opened import OpenObject

__all__ = ["READ_SIZE", "ObjectReader", "ReadMemory"]

#: Bytes that one job in a disk thread reads, unless a block has more.
READ_SIZE = 1 << 20

# Bytes that one reads for a consumer that never paused.
_MOST_READ = 2 << 20

# Bytes that are written to a consumer at once.
_PIECE = 256 << 10


class ReadMemory:
    """
    What readers hold of verified blocks while their consumers pause.

    Beyond the total, those who paused first let go of theirs, and read again when they go on.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self.used = 0
        self._paused: OrderedDict[Any, None] = OrderedDict()

    def hold(self, size: int) -> None:
        """So many bytes more are held; less if negative."""
        self.used += size
        while self.used > self._total and self._paused:
            reader, _ = self._paused.popitem(last=False)
            reader.let_go()

    def paused(self, reader: Any) -> None:
        """A reader may be asked to let go."""
        self._paused[reader] = None
        self.hold(0)

    def goes_on(self, reader: Any) -> None:
        """A reader may not be asked."""
        self._paused.pop(reader, None)


@implementer(IReader, IPushProducer)
class ObjectReader:
    """
    See L{IReader}.

    @param first: what has been read of the range already.
    @param on_failure: makes of what a disk thread failed with what the consumer's side is told.
    @param on_closed: called once, when the object is not read any more.
    @param on_bytes: told of bytes given out.
    """

    def __init__(
        self,
        opened: OpenObject,
        offset: int,
        length: int,
        first: list[bytes],
        disk: IDisk,
        memory: ReadMemory,
        on_failure: Callable[[Failure], Failure],
        on_closed: Callable[[], None],
        on_bytes: Callable[[int], None],
    ) -> None:
        self.id = opened.id
        self.metadata = {name: list(values) for name, values in opened.info.metadata.items()}
        self.etag = opened.info.etag
        self.size = opened.info.size
        self.offset = offset
        self.length = length
        self._opened = opened
        self._disk = disk
        self._memory = memory
        self._on_failure = on_failure
        self._on_closed = on_closed
        self._on_bytes = on_bytes
        self._given = 0  # bytes written to the consumer
        self._held = 0  # bytes read and not written
        self._pieces: deque[bytes] = deque()
        self._at = 0  # bytes of the first piece that were written
        self._failure: Failure | None = None
        self._reading: Deferred[Any] | None = None
        self._consumer: Any = None
        self._done: Deferred[int] | None = None
        self._read_size = READ_SIZE
        self._is_paused = True
        self._writing = False
        self._is_breathing = False
        self._closed = False
        self._take(first)
        memory.paused(self)

    def deliver(self, consumer: Any) -> Deferred[int]:
        """See L{IReader.deliver}."""
        if self._closed or self._done is not None:
            failed: Deferred[int] = Deferred()
            failed.errback(Unavailable(f"the object {self.id} was read or closed already"))
            return failed
        self._done = Deferred(lambda done: self._end(Failure(CancelledError())))
        done = self._done
        self._consumer = consumer
        self._is_paused = False
        self._memory.goes_on(self)
        try:
            consumer.registerProducer(self, True)
        except Exception:
            self._consumer = None
            self._end(Failure())
        else:
            self._go_on()
        return done

    def close(self) -> None:
        """See L{IReader.close}."""
        self._end(Failure(Unavailable(f"the object {self.id} was closed while it was read")))

    # -- IPushProducer -------------------------------------------------------------------------

    def pauseProducing(self) -> None:
        """Write nothing more for now."""
        if not self._is_paused and self._consumer is not None:
            self._is_paused = True
            self._read_size = READ_SIZE
            self._memory.paused(self)

    def resumeProducing(self) -> None:
        """Go on."""
        if self._is_paused and self._consumer is not None:
            self._is_paused = False
            self._memory.goes_on(self)
            self._go_on()

    def stopProducing(self) -> None:
        """Write nothing more at all."""
        self._end(Failure(Unavailable(f"the object {self.id} was not wanted to its end")))

    # -- for the memory ------------------------------------------------------------------------

    def let_go(self) -> None:
        """Drop what is held. It is read again when it is wanted."""
        held, self._held = self._held, 0
        self._pieces.clear()
        self._at = 0
        self._failure = None
        self._memory.hold(-held)

    # -- reading and writing -------------------------------------------------------------------

    def _take(self, pieces: list[bytes]) -> None:
        self._pieces.extend(pieces)
        size = sum(map(len, pieces))
        self._held += size
        self._memory.hold(size)

    def _read_ahead(self) -> None:
        """Read what follows what is held, if nothing is being read and little is held."""
        at = self._given + self._held
        if self._reading is not None or self._closed or self._failure or at >= self.length or self._held > READ_SIZE:
            return
        work = self._disk.run(self._opened.read, self.offset + at, self.length - at, self._read_size)
        # Who takes all that comes gets more at once: a thread that waits to be asked again verifies nothing.
        self._read_size = min(2 * self._read_size, _MOST_READ)
        self._reading = work
        work.addCallbacks(self._read, self._not_read, callbackArgs=(at,), errbackArgs=(at,))

    def _read(self, pieces: list[bytes], at: int) -> None:
        self._reading = None
        if self._closed:
            self._release()
            return
        # What was held before it may have been let go meanwhile.
        if at == self._given + self._held:
            self._take(pieces)
            if self._is_paused:
                self._memory.paused(self)
        self._go_on()

    def _not_read(self, failure: Failure, at: int) -> None:
        self._reading = None
        if self._closed:
            self._release()
            return
        # If what comes before it was let go, it is met again.
        if at == self._given + self._held:
            self._failure = self._on_failure(failure)
        self._go_on()

    def _go_on(self) -> None:
        if self._writing or self._is_paused or self._is_breathing:
            return
        self._writing = True
        try:
            while not self._closed and not self._is_paused:
                self._read_ahead()
                if not self._pieces:
                    break
                self._write()
                if self._pieces and is_spent():
                    # A consumer may take all there is at once, and what it does with it takes time: it may encrypt it.
                    self._is_breathing = True
                    Deferred.fromCoroutine(self._breathe())
                    break
        except Exception:
            self._end(Failure())
        finally:
            self._writing = False
        if self._closed or self._is_paused:
            return
        if self._given == self.length:
            self._end(None)
        elif self._failure is not None and not self._pieces:
            self._end(self._failure)

    async def _breathe(self) -> None:
        await breath()
        self._is_breathing = False
        if not self._closed:
            self._go_on()

    def _write(self) -> None:
        first = self._pieces[0]
        data = first if len(first) <= _PIECE else first[self._at : self._at + _PIECE]
        self._at += len(data)
        if self._at == len(first):
            self._pieces.popleft()
            self._at = 0
        self._given += len(data)
        self._held -= len(data)
        self._memory.hold(-len(data))
        self._on_bytes(len(data))
        self._consumer.write(data)

    def _end(self, failure: Failure | None) -> None:
        if self._closed:
            return
        self._closed = True
        self.let_go()
        self._memory.goes_on(self)
        if self._reading is None:
            self._release()
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            try:
                consumer.unregisterProducer()
            except Exception:
                failure = failure or Failure()
        if self._done is not None and not self._done.called:
            if failure is None:
                self._done.callback(self._given)
            else:
                self._done.errback(failure)

    def _release(self) -> None:
        """Nobody reads any more: neither we, nor a thread for us."""
        self._opened.close()
        self._on_closed()
