"""
Pushed bytes, which go: everything here becomes streams that are pulled (L{storehouse.core.streams}).

Data moves from an L{ISource} into an C{IConsumer}: the consumer pauses and resumes the producer that the source
registers with it, and a Deferred says when it has been given everything.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.interfaces import IConsumer, IPushProducer
from zope.interface import Interface, implementer

from storehouse.errors import TooLarge

__all__ = ["PIECE", "Asking", "BytesSource", "Collector", "ISource", "collect"]

#: Bytes that a source hands over at once, at most.
PIECE = 256 * 1024


class ISource(Interface):
    """Bytes that can be had once, in order."""

    def deliver(consumer: IConsumer) -> Deferred[int]:
        """
        Register a producer with C{consumer}, write all bytes to it, as fast as it lets us, and unregister.

        @return: fires with the number of bytes once all were written; fails with what the consumer's C{write}
            raised, or with why the bytes could not be had to their end.  The producer is unregistered in any case.
            If the consumer calls C{stopProducing}, nothing more is written and it fails.
        """


@implementer(ISource, IPushProducer)
class BytesSource:
    """
    Bytes from memory.

    @param data: the bytes, which are handed over in pieces of at most 256 KiB; or pieces, which are taken as they are
        wanted and handed over as they are.
    """

    def __init__(self, data: bytes | Iterable[bytes]) -> None:
        self._pieces = iter(_cut(data) if isinstance(data, bytes) else data)
        self._consumer: Any = None
        self._done: Deferred[int] | None = None
        self._count = 0
        self._paused = False
        self._writing = False

    def deliver(self, consumer: Any) -> Deferred[int]:
        """See L{ISource.deliver}."""
        if self._done is not None:
            return fail(RuntimeError("the bytes were delivered already"))
        done = self._done = Deferred(lambda cancelled: self._end(CancelledError()))
        self._consumer = consumer
        try:
            consumer.registerProducer(self, True)
        except Exception as error:
            self._consumer = None
            done.errback(error)
        else:
            self._write()
        return done

    def pauseProducing(self) -> None:
        """Hand over nothing more for now."""
        self._paused = True

    def resumeProducing(self) -> None:
        """Go on."""
        self._paused = False
        self._write()

    def stopProducing(self) -> None:
        """Hand over nothing more at all."""
        self._end(RuntimeError("the bytes were not wanted to their end"))

    def _write(self) -> None:
        if self._writing:  # resumed by the very write that paused
            return
        self._writing = True
        try:
            while self._consumer is not None and not self._paused:
                piece = next(self._pieces, None)
                if piece is None:
                    self._end(None)
                else:
                    self._count += len(piece)
                    self._consumer.write(piece)
        except Exception as error:
            self._end(error)
        finally:
            self._writing = False

    def _end(self, error: Exception | None) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is None or self._done is None:
            return
        try:
            consumer.unregisterProducer()
        except Exception as broken:
            error = error or broken
        if error is None:
            self._done.callback(self._count)
        else:
            self._done.errback(error)


def _cut(data: bytes) -> Iterable[bytes]:
    if len(data) <= PIECE:
        return (data,) if data else ()
    return (data[start : start + PIECE] for start in range(0, len(data), PIECE))


class Asking:
    """
    What a consumer needs for producers that must be asked for every piece. A base class.

    @ivar _producer: the producer; C{None} if there is none.
    """

    _producer: Any = None
    _is_due = False
    _is_asking = False

    def _may_ask(self) -> bool:
        """Whether it may be asked now."""
        return self._producer is not None

    def _ask(self) -> None:
        """Ask for a piece, if it may be. It may come at once: that must not become a recursion."""
        self._is_due = True
        if self._is_asking:
            return
        self._is_asking = True
        try:
            while self._is_due and self._may_ask():
                self._is_due = False
                self._producer.resumeProducing()
        finally:
            self._is_asking = False


@implementer(IConsumer)
class Collector(Asking):
    """
    A consumer that holds everything, up to a limit.

    @ivar pieces: what was written.
    """

    def __init__(self, limit: int) -> None:
        self.pieces: list[bytes] = []
        self._left = limit
        self._limit = limit

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Take from this producer."""
        if not streaming:
            self._producer = producer
            self._ask()

    def unregisterProducer(self) -> None:
        """It has no more."""
        self._producer = None

    def write(self, data: bytes) -> None:
        """@raise TooLarge: beyond the limit."""
        self._left -= len(data)
        if self._left < 0:
            raise TooLarge(f"there are more than {self._limit} bytes")
        self.pieces.append(data)
        self._ask()


async def collect(source: Any, limit: int = 64 << 20) -> bytes:
    """
    All bytes of an L{ISource}.

    @raise TooLarge: if there are more than C{limit}.
    """
    collector = Collector(limit)
    await source.deliver(collector)
    return b"".join(collector.pieces)
