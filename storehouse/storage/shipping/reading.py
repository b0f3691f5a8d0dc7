"""Responses of other servers as they come in, and how long they may take."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.iweb import IResponse
from zope.interface import implementer

from storehouse.core.streams import BytesStream, Piece, PushedStream
from storehouse.errors import RemoteUnavailable
from storehouse.storage.shipping.interfaces import IRemoteReader

__all__ = ["EmptyReader", "RemoteReader", "Watch"]


class Watch:
    """
    Ends what makes no progress.

    @ivar expired: whether it did.
    """

    def __init__(self, clock: IReactorTime, seconds: float, end: Callable[[], object]) -> None:
        self.expired = False
        self.seconds = seconds
        self._clock = clock
        self._end = end
        self._call: IDelayedCall | None = None

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


@implementer(IRemoteReader)
class RemoteReader(Protocol):
    """
    The body of a response. Nothing of it is read before it is asked for.

    @param response: its header section has come, its body not yet.
    @param length: bytes of the body; -1 if its end is known by its framing only.
    @param what: says, for errors, what this is and which server gives it.
    """

    def __init__(self, clock: IReactorTime, timeout: float, response: IResponse, length: int, what: str) -> None:
        self.length = length
        self._response = response
        self._what = what
        self._watch = Watch(clock, timeout, self._expired)
        self._pushed = PushedStream(
            partial(self._steer, "pauseProducing"),
            partial(self._steer, "resumeProducing"),
            closed=partial(self._steer, "stopProducing"),
        )
        self._count = 0
        self._has_begun = False

    async def read(self) -> Piece:
        """See L{IRemoteReader.read}."""
        if not self._has_begun:
            self._has_begun = True
            self._response.deliverBody(self)
        # The reader may take any time between two pieces; the server may not while it is waited for.
        self._watch.start()
        try:
            return await self._pushed.read()
        finally:
            self._watch.stop()

    def close(self) -> Deferred[None]:
        """See L{IRemoteReader.close}."""
        if not self._has_begun:
            self._has_begun = True
            self._response.deliverBody(_Unwanted())
        return self._pushed.close()

    def _steer(self, method: str) -> None:
        # What Twisted gives for a transport here is a producer.
        if self.transport is not None:
            getattr(self.transport, method)()

    def _expired(self) -> None:
        seconds = self._watch.seconds
        self._fail(f"no progress in {seconds:g} seconds, at byte {self._count}")
        self._steer("stopProducing")

    def _fail(self, why: str) -> None:
        self._pushed.fail(RemoteUnavailable(f"{self._what}: {why}"))

    # -- the protocol --------------------------------------------------------------------------

    def dataReceived(self, data: bytes) -> None:
        """Some of the body."""
        self._count += len(data)
        self._pushed.write(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """No more of it."""
        self.transport = None
        if reason.check(ResponseDone) and self.length in (self._count, -1):
            self._pushed.end()
        else:
            self._fail(f"the response broke off at byte {self._count}")


@implementer(IRemoteReader)
class EmptyReader(BytesStream):
    """A range of no bytes, which HTTP cannot ask for."""

    length = 0


class _Unwanted(Protocol):
    """Takes nothing: the connection is closed, since what comes on it is of no use."""

    def connectionMade(self) -> None:
        """The body would follow."""
        if self.transport is not None:
            self.transport.loseConnection()
