"""The answers of one connection, in the order of its requests."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from storehouse.core.sfsp import Code, Request, Status, encode_status
from storehouse.core.streams import IByteStream
from storehouse.core.turns import breath
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
    @ivar head: the answer, or what comes before L{stream}.
    @ivar stream: the rest of it.
    """

    __slots__ = ("began", "code", "head", "held", "refusal", "request", "size", "stream")

    def __init__(self, request: Request | None, began: float) -> None:
        self.request = request
        self.began = began
        self.code: Code | None = None
        self.size = 0
        self.held = 0
        self.refusal: StorehouseError | None = None
        self.head = b""
        self.stream: IByteStream | None = None

    def set_status(self, status: Status) -> None:
        """It is only this."""
        self.code = status.code
        self.head = encode_status(status.code, status.message)

    def set_stream(self, head: bytes, stream: IByteStream, size: int) -> None:
        """It is OK, and what a stream has, which is closed in any case."""
        self.head, self.stream, self.size = head, stream, size
        self.code = Code.OK

    def give_up(self) -> None:
        """Nobody wants it any more."""
        if self.stream is not None:
            self.stream.close()


class Answers:
    """
    Writes answers once all before them are out. A stream is read as fast as the peer takes its bytes.

    @param write: writes to the peer.
    @param on_written: called for each response that was written.
    @param status: makes an answer of an error.
    @param on_broken: told why an answer that has begun cannot be finished: the peer must not take it for whole.
    """

    def __init__(
        self,
        write: Callable[[bytes], None],
        on_written: Callable[[Answer], None],
        status: Callable[[BaseException, Request | None], Status],
        on_broken: Callable[[Failure], None],
    ) -> None:
        self._write = write
        self._on_written = on_written
        self._status = status
        self._on_broken = on_broken
        self._owed: deque[Answer] = deque()
        self._turn: Deferred[None] | None = None  # fires when the peer takes more; None while it does
        self._is_streaming = False
        self._is_flushing = False
        self._is_over = False

    def __len__(self) -> int:
        return len(self._owed)

    def owe(self, answer: Answer) -> None:
        """Queue a response behind all others."""
        self._owed.append(answer)

    def flush(self) -> None:
        """Write what can be written: to be called when an answer is known."""
        if self._is_flushing:
            return
        self._is_flushing = True
        try:
            while self._owed and self._owed[0].code is not None and not (self._is_streaming or self._is_over):
                answer = self._owed[0]
                if answer.stream is None:
                    self._write_statuses()
                else:
                    self._is_streaming = True
                    Deferred.fromCoroutine(self._send(answer, answer.stream)).addErrback(self._on_broken)
        finally:
            self._is_flushing = False

    def _write_statuses(self) -> None:
        written = []
        while self._owed and self._owed[0].code is not None and self._owed[0].stream is None:
            written.append(self._owed.popleft())
        self._write(b"".join([answer.head for answer in written]))
        for answer in written:
            self._on_written(answer)

    def pause(self) -> None:
        """The peer does not take what is written."""
        if self._turn is None:
            self._turn = Deferred()

    def resume(self) -> None:
        """It does again."""
        turn, self._turn = self._turn, None
        if turn is not None:
            turn.callback(None)

    def give_up(self) -> None:
        """Nobody is there any more."""
        self._is_over = True
        owed, self._owed = self._owed, deque()
        for answer in owed:
            answer.give_up()
        self.resume()

    # -- the stream of an answer ---------------------------------------------------------------

    async def _room(self) -> None:
        while self._turn is not None:
            await self._turn

    async def _send(self, answer: Answer, stream: IByteStream) -> None:
        head = answer.head
        try:
            while True:
                await self._room()
                if self._is_over or not (piece := await stream.read()):
                    break
                await self._room()  # the piece may have come while the peer did not take more
                self._write(head + piece if head else piece if isinstance(piece, bytes) else bytes(piece))
                head = b""
                await breath()
        except Exception as error:
            if self._is_over:
                return
            if not head:
                self._on_broken(Failure())
                return
            # Nothing of it was written: it can still be another answer.
            answer.size = 0
            answer.set_status(self._status(error, answer.request))
            head = answer.head
        finally:
            await stream.close()
        if self._is_over:
            return
        if head:
            self._write(head)
        self._is_streaming = False
        self._owed.popleft()
        self._on_written(answer)
        self.flush()
