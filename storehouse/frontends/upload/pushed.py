"""Bytes that come, for whoever stores them: what was held first, then the rest as it comes."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from storehouse.core.streams import ISource
from storehouse.frontends.upload.memory import UploadSession

__all__ = ["Pieces", "PushedSource", "Valve"]

#: Pieces of fewer bytes are joined: an object for each of few bytes takes many times as much memory as they do.
_SMALL = 8 << 10

#: Bytes that are joined at most.
_JOINED = 64 << 10


class Pieces:
    """Bytes that are held, in few objects."""

    def __init__(self) -> None:
        self._whole: list[bytes] = []
        self._small = bytearray()

    def add(self, data: bytes) -> None:
        """Hold these, too."""
        if len(data) >= _SMALL:
            self._join()
            self._whole.append(data)
            return
        self._small += data
        if len(self._small) >= _JOINED:
            self._join()

    def take(self) -> list[bytes]:
        """All of them, which are not held here any more."""
        self._join()
        whole, self._whole = self._whole, []
        return whole

    def _join(self) -> None:
        if self._small:
            self._whole.append(bytes(self._small))
            self._small = bytearray()


class Valve:
    """
    Has a producer wait while there is a reason to, of which there may be several at once.

    @ivar is_closed: whether it waits.
    """

    def __init__(self) -> None:
        self._producer: Any = None
        self._reasons: set[object] = set()

    @property
    def is_closed(self) -> bool:
        return bool(self._reasons)

    def attach(self, producer: Any) -> None:
        """This is the producer; C{None} when it has no more."""
        self._producer = producer
        if producer is not None and self._reasons:
            producer.pauseProducing()

    def close(self, reason: object) -> None:
        """Have it wait."""
        was_closed = bool(self._reasons)
        self._reasons.add(reason)
        if not was_closed and self._producer is not None:
            self._producer.pauseProducing()

    def open(self, reason: object) -> None:
        """That is no reason any more."""
        if reason in self._reasons:
            self._reasons.remove(reason)
            if not self._reasons and self._producer is not None:
                self._producer.resumeProducing()

    def stop(self) -> None:
        """Nothing more is wanted of it."""
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.stopProducing()


@implementer(ISource, IPushProducer)
class PushedSource:
    """
    An L{ISource} of what is written to it. What cannot be handed over yet waits here, accounted for, and the valve is
    closed until it is.

    @param held: what is there already, accounted for by the session.
    """

    def __init__(self, session: UploadSession, valve: Valve, held: Iterable[bytes]) -> None:
        self._session = session
        self._valve = valve
        self._queue = deque(held)
        self._small = bytearray()
        self._consumer: Any = None
        self._done: Deferred[int] | None = None
        self._error: BaseException | None = None
        self._count = 0
        self._paused = False
        self._ended = False
        self._writing = False
        if self._queue:
            valve.close(self)

    # -- for whoever receives ------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Some bytes more."""
        if self._error is not None:
            return
        if len(data) < _SMALL:
            may_stay = self._session.may_hold(len(data))
            self._small += data
            self._session.hold(len(data))
            if len(self._small) >= _JOINED or not may_stay:
                self.flush()
            return
        self.flush()
        if self._error is not None:
            return
        if self._queue or self._paused or self._writing or self._consumer is None:
            self._wait(data)
        else:
            self._hand_over(data)
            if self._valve.is_closed:
                # Perhaps it was, and should be open again: whoever pauses may resume within the very write.
                self._drain()

    def flush(self) -> None:
        """Join no more small pieces: hand over what there is."""
        if self._small:
            data, self._small = bytes(self._small), bytearray()
            self._queue.append(data)
            self._drain()
            # Unless the consumer failed with them, when nothing waits any more.
            if self._queue:
                self._valve.close(self)

    def end(self) -> None:
        """There is no more."""
        self._ended = True
        self.flush()
        self._drain()

    def fail(self, error: BaseException) -> None:
        """The rest will not come, or is not wanted."""
        if self._error is None:
            self._error = error
            self._finish()

    # -- ISource -------------------------------------------------------------------------------

    def deliver(self, consumer: Any) -> Deferred[int]:
        """See L{ISource.deliver}."""
        if self._done is not None:
            return fail(RuntimeError("the bytes were delivered already"))
        if self._error is not None:
            return fail(self._error)
        done = self._done = Deferred(lambda cancelled: self.fail(CancelledError()))
        self._consumer = consumer
        try:
            consumer.registerProducer(self, True)
        except Exception as error:
            self.fail(error)
        self._drain()
        return done

    def pauseProducing(self) -> None:
        """The consumer has enough for now."""
        self._paused = True
        self._valve.close(self)

    def resumeProducing(self) -> None:
        """The consumer wants more."""
        self._paused = False
        self._drain()

    def stopProducing(self) -> None:
        """The consumer wants no more at all."""
        self.fail(RuntimeError("the bytes were not wanted to their end"))

    # -- handing over --------------------------------------------------------------------------

    def _wait(self, data: bytes) -> None:
        self._queue.append(data)
        self._session.hold(len(data))
        self._valve.close(self)

    def _drain(self) -> None:
        if self._writing:  # resumed by the very write that paused
            return
        while self._queue and not self._paused and self._consumer is not None:
            data = self._queue.popleft()
            self._session.hold(-len(data))
            self._hand_over(data)
        if self._queue or self._paused or self._consumer is None:
            return
        if self._ended:
            self._finish()
        else:
            self._valve.open(self)

    def _hand_over(self, data: bytes) -> None:
        self._count += len(data)
        self._writing = True
        try:
            self._consumer.write(data)
        except Exception as error:
            self.fail(error)
        finally:
            self._writing = False

    def _finish(self) -> None:
        waiting = sum(map(len, self._queue)) + len(self._small)
        self._queue.clear()
        self._small = bytearray()
        self._session.hold(-waiting)
        consumer, self._consumer = self._consumer, None
        if consumer is not None and self._done is not None:
            try:
                consumer.unregisterProducer()
            except Exception as error:
                self._error = self._error or error
            if self._error is None:
                self._done.callback(self._count)
            else:
                self._done.errback(self._error)
        self._valve.open(self)
