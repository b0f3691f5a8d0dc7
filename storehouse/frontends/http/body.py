"""The body of a request as it comes in."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.python.failure import Failure
from zope.interface import implementer

from storehouse.core.budget import Hold
from storehouse.core.streams import ISource
from storehouse.errors import TooLarge
from storehouse.frontends.http.errors import LengthMismatch

__all__ = ["BodyTooLarge", "RequestBody"]


class BodyTooLarge(TooLarge):
    """The body of a request exceeds what is taken here."""


class _Source(Protocol):
    """Where a body comes from: the connection."""

    def pause_body(self) -> None: ...

    def resume_body(self) -> None: ...

    def body_wanted(self) -> None: ...


class _Collector:
    """
    A consumer that holds the body.

    Never twice, as gathering pieces and joining them would: a C{BytesIO} grows in place, and gives its value
    without a copy.

    @ivar refusal: why there is no room for more of it.
    """

    def __init__(self, limit: int, hold: Hold | None) -> None:
        self.refusal: BaseException | None = None
        self._first = b""
        self._rest: BytesIO | None = None
        self._left = limit
        self._limit = limit
        self._hold = hold
        self._producer: Any = None
        self._waits = False

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        self._producer = producer

    def unregisterProducer(self) -> None:
        self._producer = None

    def write(self, data: bytes) -> None:
        self._left -= len(data)
        if self._left < 0:
            raise BodyTooLarge(f"the body has more than {self._limit} bytes")
        if self._hold is not None:
            self._account(self._hold, len(data))
        if self._rest is not None:
            self._rest.write(data)
        elif self._first:
            self._rest = BytesIO()
            self._rest.write(self._first)
            self._rest.write(data)
            self._first = b""
        else:
            self._first = data

    def _account(self, hold: Hold, size: int) -> None:
        if self._waits:  # it was in the same piece of the connection
            hold.count(size)
            return
        room = hold.take(size)
        if room is not None:
            self._waits = True
            self._producer.pauseProducing()
            room.addCallbacks(self._go_on, self._give_up)

    def _go_on(self, result: None) -> None:
        self._waits = False
        if self._producer is not None:
            self._producer.resumeProducing()

    def _give_up(self, failure: Failure) -> None:
        if self._producer is not None:
            self.refusal = failure.value
            self._first, self._rest = b"", None
            self._producer.stopProducing()

    @property
    def value(self) -> bytes:
        """What was written."""
        return self._first if self._rest is None else self._rest.getvalue()


@implementer(ISource, IPushProducer)
class RequestBody:
    """
    The bytes of one request's body, handed over as they come.

    Until somebody wants them they wait: at most what the kernel gave at once is held here, the rest with the
    peer.

    @ivar length: bytes announced; C{None} for a chunked body.
    @ivar complete: whether all of it has been received.
    @ivar came: bytes that were received.
    @ivar is_small: whether it is one that is small by nature, and so must come soon.
    @ivar trailers: once it has, the fields that followed it, if it was chunked; names in lower case. At most 64 KiB.
    """

    def __init__(self, source: _Source, length: int | None) -> None:
        self._source = source
        self.length = length
        self.complete = length == 0
        self.came = 0
        self.is_small = False
        self.trailers: dict[bytes, bytes] = {}
        self._error: BaseException | None = None
        self._early: list[bytes] = []
        self._sink: Any = None
        self._write: Callable[[bytes], None] | None = None
        self._done: Deferred[int] | None = None
        self._count = 0
        self._paused = False
        self._discarding = False

    @property
    def untouched(self) -> bool:
        """Whether nobody has asked for it."""
        return self._done is None

    @property
    def waiting(self) -> int:
        """Bytes that have come, and that wait for somebody to ask for them."""
        return sum(map(len, self._early))

    # -- for handlers ------------------------------------------------------------------------

    def deliver(self, consumer: Any) -> Deferred[int]:
        """
        Stream the body into an C{IConsumer}, which may pause its producer: the peer then waits.

        @return: fires with the number of bytes once the consumer has been given all of them; fails with what
            the consumer's C{write} raised, or with L{StorehouseError} if the body did not arrive whole.  The
            consumer's producer is unregistered in any case.
        """
        if self._done is not None:
            raise RuntimeError("a body can be delivered once only")
        done = self._done = Deferred()
        self._sink = consumer
        self._write = consumer.write
        # That it waited for somebody is over; from here on, only the consumer has it wait.
        waited, self._paused = self._paused, False
        consumer.registerProducer(self, True)
        self._source.body_wanted()
        early, self._early = self._early, []
        for data in early:
            self._hand_over(data)
        if self._error is not None:
            self._end(self._error)
        elif self.complete:
            self._end(None)
        elif waited and not self._paused:
            self._source.resume_body()
        return done

    async def read(self, limit: int, hold: Hold | None = None, is_small: bool | None = None) -> bytes:
        """
        Give the whole body.

        @param hold: what its bytes are counted by as they come; they wait while there is no room for more.
        @param is_small: whether it is one that is small by nature, such as a form, and so must come soon; C{None} if that goes
            by whether it is counted.
        @raise BodyTooLarge: if it exceeds C{limit} bytes; at once if it says so itself.
        @raise Overloaded: if there is no room for it.
        """
        if self.length is not None and self.length > limit:
            raise BodyTooLarge(f"the body has {self.length} bytes; at most {limit} are allowed")
        self.is_small = hold is None if is_small is None else is_small
        collector = _Collector(limit, hold)
        try:
            await self.deliver(collector)
        except Exception:
            # What the body says then is only that we did not want more.
            if collector.refusal is not None:
                raise collector.refusal from None
            raise
        return collector.value

    def discard(self) -> None:
        """Throw away what has not been received yet."""
        self._early = []
        self._discarding = True
        self._source.resume_body()

    # -- IPushProducer, for the consumer -----------------------------------------------------

    def pauseProducing(self) -> None:
        """Have the peer wait."""
        if not self._paused and not self.complete:
            self._paused = True
            self._source.pause_body()

    def resumeProducing(self) -> None:
        """Go on."""
        if self._paused:
            self._paused = False
            self._source.resume_body()

    def stopProducing(self) -> None:
        """The consumer wants no more."""
        self._end(LengthMismatch("the body was not wanted to its end"))
        self.discard()

    # -- for the connection ------------------------------------------------------------------

    def received(self, data: bytes) -> None:
        """The next bytes have come."""
        self.came += len(data)
        if self._discarding:
            return
        if self._write is not None:
            self._hand_over(data)
        elif self._done is None:
            self._early.append(data)
            self.pauseProducing()

    def finished(self) -> None:
        """All of it has come."""
        self.complete = True
        # Whoever had the peer wait needs not say so any more.
        self.resumeProducing()
        if self._done is not None:
            self._end(None)

    def failed(self, error: BaseException) -> None:
        """It will not become whole."""
        self._error = error
        if self._done is not None:
            self._end(error)

    def _hand_over(self, data: bytes) -> None:
        if self._write is None:
            return
        self._count += len(data)
        try:
            self._write(data)
        except Exception as error:
            self._end(error)
            self.discard()

    def _end(self, error: BaseException | None) -> None:
        sink, self._sink, self._write = self._sink, None, None
        if sink is None or self._done is None:
            return
        sink.unregisterProducer()
        if error is None:
            self._done.callback(self._count)
        else:
            self._done.errback(error)
