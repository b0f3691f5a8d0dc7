"""Bytes of files, piece by piece, through the disk threads: a source, and a consumer."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.interfaces import IConsumer, IPushProducer
from twisted.python.failure import Failure
from zope.interface import implementer

from storehouse.core.disk import IDisk
from storehouse.core.files import read_exactly
from storehouse.core.jobs import settled
from storehouse.core.streams import ISource
from storehouse.errors import SizeMismatch

__all__ = ["PIECE", "FileSource", "OpenFile", "PieceSink"]

#: Bytes that are read or written at once. A connection holds some of these, and nothing else.
PIECE = 256 << 10


class OpenFile:
    """
    A file descriptor that is used in disk threads, and closed only when none does any more.

    @ivar fd: the descriptor, which it owns.
    """

    def __init__(self, disk: IDisk, fd: int) -> None:
        self.fd = fd
        self._disk = disk
        self._users = 0
        self._closing = False

    def run(self, f: Callable[..., Any], *args: Any) -> Deferred[Any]:
        """Call C{f(fd, *args)} in a disk thread."""
        self._users += 1
        return self._disk.run(f, self.fd, *args).addBoth(self._used)

    def close(self) -> None:
        """Close it, now or when the last thread is done with it."""
        self._closing = True
        self._close()

    def _used(self, result: Any) -> Any:
        self._users -= 1
        self._close()
        return result

    def _close(self) -> None:
        if self._closing and not self._users and self.fd >= 0:
            fd, self.fd = self.fd, -1
            os.close(fd)


@implementer(ISource, IPushProducer)
class FileSource:
    """
    A range of a file.

    @param moved: told how many bytes were handed over, each time.
    @param check: called before the last bytes are; what it raises ends the delivery short of them.
    """

    def __init__(
        self,
        file: OpenFile,
        offset: int,
        size: int,
        moved: Callable[[int], None] = lambda size: None,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self._file = file
        self._offset = offset
        self._left = self._size = size
        self._moved = moved
        self._check = check
        self._consumer: Any = None
        self._done: Deferred[int] | None = None
        self._paused = False
        self._turn: Deferred[None] | None = None
        self._stopped: Exception | None = None

    def deliver(self, consumer: Any) -> Deferred[int]:
        """See L{ISource.deliver}. It fires when no thread reads any more, however it ends."""
        if self._done is not None:
            return fail(RuntimeError("the bytes were delivered already"))
        done = self._done = Deferred(lambda cancelled: self._stop(CancelledError()))
        self._consumer = consumer
        Deferred.fromCoroutine(self._work()).addBoth(self._ended)
        return done

    def pauseProducing(self) -> None:
        """Hand over nothing more for now."""
        self._paused = True

    def resumeProducing(self) -> None:
        """Go on."""
        self._paused = False
        turn, self._turn = self._turn, None
        if turn is not None:
            turn.callback(None)

    def stopProducing(self) -> None:
        """Hand over nothing more at all."""
        self._stop(RuntimeError("the bytes were not wanted to their end"))

    async def _work(self) -> int:
        self._consumer.registerProducer(self, True)
        try:
            while self._left:
                data = await self._file.run(read_exactly, min(PIECE, self._left), self._offset)
                while self._paused and self._stopped is None:
                    self._turn = Deferred()
                    await self._turn
                if self._stopped is not None:
                    raise self._stopped
                if not data:
                    raise SizeMismatch(f"the file is {self._left} bytes shorter than it was")
                self._left -= len(data)
                if not self._left:
                    self._check()
                self._offset += len(data)
                self._moved(len(data))
                self._consumer.write(data)
        finally:
            self._consumer.unregisterProducer()
        return self._size

    def _stop(self, error: Exception) -> None:
        self._stopped = self._stopped or error
        self.resumeProducing()

    def _ended(self, result: Any) -> None:
        if self._done is not None and not self._done.called:
            self._done.callback(result)


@implementer(IConsumer)
class PieceSink:
    """
    A consumer that hands pieces over, one call after the other, while as many bytes again come in.

    @param write: is called with bytes and their offset; the next call is when what it returned has fired.
    @param offset: of the first byte.
    @param moved: told how many bytes came, each time.
    """

    def __init__(
        self,
        write: Callable[[bytes, int], Deferred[Any]],
        offset: int = 0,
        moved: Callable[[int], None] = lambda size: None,
    ) -> None:
        self._write = write
        self._offset = offset
        self._moved = moved
        self._pieces: list[bytes] = []
        self._held = 0
        self._working: Deferred[Any] | None = None
        self._failure: Failure | None = None
        self._producer: Any = None

    async def take(self, source: Any) -> int:
        """
        Take all that a source has. When this returns or raises, nothing is being written any more.

        @return: the number of bytes.
        """
        try:
            count: int = await source.deliver(self)
        except BaseException:
            await self._settle()
            # What the source says then is only that no more was wanted.
            if self._failure is not None:
                self._failure.raiseException()
            raise
        await self._settle()
        if self._failure is None and self._pieces:
            self._hand_over()
            await self._settle()
        if self._failure is not None:
            self._failure.raiseException()
        return count

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Take from this producer, which pushes."""
        self._producer = producer

    def unregisterProducer(self) -> None:
        """It has no more."""
        self._producer = None

    def write(self, data: bytes) -> None:
        """Take bytes."""
        if self._failure is not None:
            self._failure.raiseException()
        self._moved(len(data))
        self._pieces.append(data)
        self._held += len(data)
        if self._held >= PIECE:
            if self._working is None:
                self._hand_over()
            elif self._producer is not None:
                self._producer.pauseProducing()

    def _hand_over(self) -> None:
        data = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        offset = self._offset
        self._pieces = []
        self._held = 0
        self._offset += len(data)
        working = self._working = self._write(data, offset)
        working.addBoth(self._written)

    def _written(self, result: Any) -> None:
        self._working = None
        if isinstance(result, Failure):
            self._failure = result
            if self._producer is not None:
                self._producer.stopProducing()
            return
        if self._held >= PIECE:
            self._hand_over()
        if self._producer is not None:
            self._producer.resumeProducing()

    async def _settle(self) -> None:
        while self._working is not None:
            await settled(self._working)
