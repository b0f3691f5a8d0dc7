"""Answers of other servers as they come in, and how long they may take."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from zope.interface import implementer

from storehouse.core.streams import BytesSource
from storehouse.errors import RemoteUnavailable
from storehouse.storage.shipping.interfaces import IRemoteReader

__all__ = ["EmptyReader", "RemoteReader", "Watch"]


class Watch:
    """
    Ends what makes no progress.

    @ivar expired: whether it did.
    """

    def __init__(self, clock: Any, seconds: float, end: Callable[[], object]) -> None:
        self.expired = False
        self.seconds = seconds
        self._clock = clock
        self._end = end
        self._call: Any = None

    def start(self) -> None:
        """From now on there is to be progress."""
        if self._call is None and not self.expired:
            self._call = self._clock.callLater(self.seconds, self._expire)

    def touch(self) -> None:
        """There is."""
        if self._call is not None:
            self._call.reset(self.seconds)

    def stop(self) -> None:
        """None is expected any more."""
        call, self._call = self._call, None
        if call is not None:
            call.cancel()

    def _expire(self) -> None:
        self._call = None
        self.expired = True
        self._end()


@implementer(IRemoteReader, IPushProducer)
class RemoteReader(Protocol):
    """
    The body of an answer.

    @param response: its head has come, its body not yet.
    @param length: bytes of the body; -1 if its end is told by its framing only.
    @param what: says, for errors, what this is and who gives it.
    """

    def __init__(self, clock: Any, timeout: float, response: Any, length: int, what: str) -> None:
        self.length = length
        self._response = response
        self._what = what
        self._watch = Watch(clock, timeout, self._expired)
        self._consumer: Any = None
        self._done: Deferred[int] | None = None
        self._count = 0
        self._closed = False
        self._paused = False

    def deliver(self, consumer: Any) -> Deferred[int]:
        """See L{IRemoteReader.deliver}."""
        if self._done is not None or self._closed:
            return fail(RuntimeError("the bytes were delivered already"))
        done = self._done = Deferred(lambda done: self._end(CancelledError()))
        self._consumer = consumer
        try:
            # The body's beginning is there with its head, perhaps, and is handed over as soon as it is asked for.
            consumer.registerProducer(self, True)
        except Exception as error:
            self._consumer = None
            self._drop()
            done.errback(error)
            return done
        self._watch.start()
        self._response.deliverBody(self)
        if self._paused:
            self._steer("pauseProducing")
        return done

    def close(self) -> None:
        """See L{IRemoteReader.close}."""
        if self._done is None:
            self._drop()
        else:
            self._end(CancelledError())

    def _drop(self) -> None:
        if not self._closed:
            self._closed = True
            self._response.deliverBody(_Unwanted())

    # -- the producer --------------------------------------------------------------------------

    def pauseProducing(self) -> None:
        """Hand over nothing more for now."""
        self._paused = True
        # Whoever takes the bytes may take all the time in the world.
        self._watch.stop()
        self._steer("pauseProducing")

    def resumeProducing(self) -> None:
        """Go on."""
        self._paused = False
        if self._consumer is not None:
            self._watch.start()
        self._steer("resumeProducing")

    def stopProducing(self) -> None:
        """Hand over nothing more at all."""
        self._end(RuntimeError("the bytes were not wanted to their end"))

    def _steer(self, method: str) -> None:
        # What Twisted gives for a transport here is a producer.
        if self.transport is not None:
            getattr(self.transport, method)()

    # -- the protocol --------------------------------------------------------------------------

    def dataReceived(self, data: bytes) -> None:
        """Some of the body."""
        if self._consumer is None:
            return
        self._count += len(data)
        self._watch.touch()
        try:
            self._consumer.write(data)
        except Exception as error:
            self._end(error)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """No more of it."""
        if self._consumer is None:
            return
        if reason.check(ResponseDone) and self.length in (self._count, -1):
            self._end(None)
        else:
            self._end(RemoteUnavailable(f"{self._what}: the answer broke off at byte {self._count}"))

    def _expired(self) -> None:
        seconds = self._watch.seconds
        self._end(RemoteUnavailable(f"{self._what}: no progress in {seconds:g} seconds, at byte {self._count}"))

    def _end(self, error: BaseException | None) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is None or self._done is None:
            return
        self._watch.stop()
        try:
            consumer.unregisterProducer()
        except Exception as broken:
            error = error or broken
        if error is None:
            self._done.callback(self._count)
            return
        self._steer("stopProducing")
        self._done.errback(error)


@implementer(IRemoteReader)
class EmptyReader(BytesSource):
    """A range of no bytes, which HTTP cannot ask for."""

    length = 0

    def __init__(self) -> None:
        super().__init__(b"")

    def close(self) -> None:
        """See L{IRemoteReader.close}."""


class _Unwanted(Protocol):
    """Takes nothing: the connection is closed, since what comes on it is of no use."""

    def connectionMade(self) -> None:
        """The body would follow."""
        if self.transport is not None:
            self.transport.loseConnection()
