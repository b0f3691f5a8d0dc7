"""The answers of one connection, in the order of its requests."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IConsumer
from twisted.python.failure import Failure
from zope.interface import implementer

from storehouse.core.sfsp import Code, Request, Status, encode_status
from storehouse.errors import StorehouseError

__all__ = ["Answer", "Answers"]


class Answer:
    """
    What is owed to a request.

    @ivar request: what was asked; C{None} if it was no request.
    @ivar began: when, in seconds of the connection's clock.
    @ivar code: how it was answered; C{None} until that is known.
    @ivar size: bytes of chunk data, or of IDs, that were received or sent for it.
    @ivar held: bytes of a chunk that are counted as held in memory.
    @ivar refusal: why it is INVALID_REQ, once a chunk will not come whole.
    @ivar head: the answer, or what comes before L{source}.
    @ivar source: an L{ISource<storehouse.core.streams.ISource>} of the rest of it, which has a C{close()}.
    """

    __slots__ = ("began", "code", "head", "held", "refusal", "request", "size", "source")

    def __init__(self, request: Request | None, began: float) -> None:
        self.request = request
        self.began = began
        self.code: Code | None = None
        self.size = 0
        self.held = 0
        self.refusal: StorehouseError | None = None
        self.head = b""
        self.source: Any = None

    def set_status(self, status: Status) -> None:
        """It is only this."""
        self.code = status.code
        self.head = encode_status(status.code, status.message)

    def set_source(self, head: bytes, source: Any, size: int) -> None:
        """It is OK, and data of a source, which can be closed."""
        self.head, self.source, self.size = head, source, size
        self.code = Code.OK

    def give_up(self) -> None:
        """Nobody wants it any more."""
        if self.source is not None:
            self.source.close()


@implementer(IConsumer)
class Answers:
    """
    Writes answers once all before them are out. A source is read as fast as the peer takes its bytes.

    @param write: writes to the peer.
    @param on_written: told of each answer that is out.
    @param status: makes an answer of an error.
    @param on_broken: told why an answer that has begun cannot be finished: the peer must not take it for whole.
    """

    def __init__(
        self,
        write: Callable[[bytes], None],
        on_written: Callable[[Answer], None],
        status: Callable[[BaseException, Any], Status],
        on_broken: Callable[[Failure], None],
    ) -> None:
        self._write = write
        self._on_written = on_written
        self._status = status
        self._on_broken = on_broken
        self._owed: deque[Answer] = deque()
        self._producer: Any = None
        self._head = b""
        self._is_streaming = False
        self._is_paused = False
        self._is_flushing = False
        self._is_over = False

    def __len__(self) -> int:
        return len(self._owed)

    def owe(self, answer: Answer) -> None:
        """An answer is owed, behind all others."""
        self._owed.append(answer)

    def flush(self) -> None:
        """Write what can be written: to be called when an answer is known."""
        if self._is_flushing:
            return
        self._is_flushing = True
        try:
            while self._owed and self._owed[0].code is not None and not (self._is_streaming or self._is_over):
                if self._owed[0].source is None:
                    self._write_statuses()
                else:
                    self._stream(self._owed[0])
        finally:
            self._is_flushing = False

    def _write_statuses(self) -> None:
        written = []
        while self._owed and self._owed[0].code is not None and self._owed[0].source is None:
            written.append(self._owed.popleft())
        self._write(b"".join([answer.head for answer in written]))
        for answer in written:
            self._on_written(answer)

    def pause(self) -> None:
        """The peer does not take what is written."""
        self._is_paused = True
        if self._producer is not None:
            self._producer.pauseProducing()

    def resume(self) -> None:
        """It does again."""
        self._is_paused = False
        if self._producer is not None:
            self._producer.resumeProducing()

    def give_up(self) -> None:
        """Nobody is there any more."""
        self._is_over = True
        owed, self._owed = self._owed, deque()
        for answer in owed:
            answer.give_up()

    # -- the source of an answer ---------------------------------------------------------------

    def _stream(self, answer: Answer) -> None:
        self._is_streaming = True
        self._head = answer.head
        sent: Deferred[int] = answer.source.deliver(self)
        sent.addCallbacks(self._sent, self._broken, callbackArgs=(answer,), errbackArgs=(answer,))
        sent.addErrback(self._on_broken)

    def _sent(self, count: int, answer: Answer) -> None:
        if self._is_over:
            return
        if self._head:  # there was no data
            self._put(b"")
        self._written(answer)

    def _broken(self, failure: Failure, answer: Answer) -> None:
        if self._is_over:
            return
        if not self._head:
            self._on_broken(failure)
            return
        # Nothing of it was written: it can still be another answer.
        self._head = b""
        answer.size = 0
        assert failure.value is not None
        answer.set_status(self._status(failure.value, answer.request))
        self._write(answer.head)
        self._written(answer)

    def _written(self, answer: Answer) -> None:
        self._is_streaming = False
        self._owed.popleft()
        answer.source.close()
        self._on_written(answer)
        self.flush()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Take from this producer."""
        if not streaming:
            raise RuntimeError("an answer takes from push producers only")
        self._producer = producer
        if self._is_paused:
            producer.pauseProducing()

    def unregisterProducer(self) -> None:
        """It has no more."""
        self._producer = None

    def write(self, data: bytes) -> None:
        """Send."""
        self._put(data)

    def _put(self, data: bytes) -> None:
        head, self._head = self._head, b""
        self._write(head + data if head else data)
