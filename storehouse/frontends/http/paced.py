"""
twisted.web's connection, but what comes is looked at in slices: of thousands of requests, or of chunks of a body, that come
at once, only as many are in one turn of the reactor as fit into it.

This touches private names of Twisted (C{HTTPChannel._transferDecoder}, C{_dataBuffer}, C{_handlingRequest},
C{_networkProducer}, C{_waitingForTransport} and C{_maybeChooseTransferDecoder}; C{_ChunkedTransferDecoder} with its C{_buffer},
C{state} and C{_dataReceived_...}; C{_IdentityTransferDecoder.contentLength}), tested with the release that setup.py pins.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel, _ChunkedTransferDecoder

from storehouse.core.turns import breath, is_spent

__all__ = ["ChunkedDecoder", "PacedChannel"]

# Looked up once: the module of twisted.web stands behind a proxy, since it has names that are deprecated.
_data_received = HTTPChannel.dataReceived
_raw_received = HTTPChannel.rawDataReceived
_Chunked: Any = _ChunkedTransferDecoder

# Bytes of a head that are looked at, and steps of chunks that are taken, before others may be served.
_HEAD = 4096
_STEPS = 3000


class ChunkedDecoder(_Chunked):  # type: ignore[misc]
    """
    Twisted's own, but it hands over what small chunks bring as one, and takes so many of them at a time.

    @ivar is_behind: whether there is more of what has come: call C{dataReceived} again, with nothing.
    """

    def __init__(self, take: Callable[[bytes], object], finish: Callable[[bytes], object]) -> None:
        self._pieces: list[bytes] = []
        _Chunked.__init__(self, self._pieces.append, self._finish)
        self._take = take
        self._end = finish
        self.is_behind = False

    def dataReceived(self, data: bytes) -> None:
        """See the base."""
        self._buffer += data
        goes_on = True
        steps = 0
        while goes_on and self._buffer and steps < _STEPS:
            goes_on = getattr(self, "_dataReceived_" + self.state)()
            steps += 1
        self.is_behind = bool(goes_on and self._buffer)
        self._hand_over()

    def _hand_over(self) -> None:
        if self._pieces:
            data = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
            self._pieces.clear()
            self._take(data)

    def _finish(self, rest: bytes) -> None:
        self._hand_over()
        self._end(rest)


class PacedChannel(HTTPChannel):
    """One connection."""

    transport: Any
    _networkProducer: Any
    _transferDecoder: Any
    _paced_log = Logger()

    # Not set for each: an object with more than 30 attributes of its own is slower (CPython shares the keys of no larger
    # ones).
    _late = b""
    _has_more = False
    _is_feeding = False
    _is_waiting = False
    _is_lost = False

    @property
    def lags(self) -> bool:
        """Whether bytes came that were not looked at."""
        return bool(self._late or self._has_more or self._is_waiting)

    def takes_no_more(self) -> bool:
        """Whether what comes is thrown away."""
        return bool(self._is_lost or self.transport.disconnecting)

    def may_read(self) -> bool:
        """Whether nobody else wants the peer to wait."""
        return not self._waitingForTransport

    def caught_up(self) -> None:
        """All that came was looked at, later than it came."""
        if self.may_read():
            self._networkProducer.resumeProducing()

    def feed(self, data: bytes) -> None:
        """Look at what has come, or keep it until it is its turn."""
        if self._is_waiting or self._is_feeding:
            self._late += data
            if self._is_waiting:
                self._networkProducer.pauseProducing()
            return
        self._is_feeding = True
        try:
            self._late = self._feed(data)
        finally:
            self._is_feeding = self._has_more = False
        if self._late or self._is_behind():
            self._networkProducer.pauseProducing()
            self._is_waiting = True
            Deferred.fromCoroutine(self._wait()).addErrback(self._crashed)

    async def _wait(self) -> None:
        await breath()
        self._is_waiting = False
        if self._is_lost:
            return
        data, self._late = self._late, b""
        self.feed(data)
        if not self.lags:
            self.caught_up()

    def _crashed(self, failure: Failure) -> None:
        """As the reactor has it for a connection that fails as it reads."""
        self._paced_log.failure("while reading", failure=failure)
        self.transport.abortConnection()

    def _is_behind(self) -> bool:
        """Whether chunks of a body came that were not taken."""
        return not self._handlingRequest and getattr(self._transferDecoder, "is_behind", False)

    def _feed(self, data: bytes) -> bytes:
        """Look at bytes. @return: those that there was no time for."""
        at, size = 0, len(data)
        while True:
            if self._is_behind():
                self._has_more = True
                _raw_received(self, b"")
            elif at < size or not size:
                end = self._portion(data, at)
                self._has_more = end < size
                _data_received(self, data[at:end] if self._has_more or at else data)
                at = end
            if self._late:
                # It came behind a request that is answered by now, and before the rest.
                data, self._late = self._late + data[at:], b""
                at, size = 0, len(data)
            if self.takes_no_more():
                return b""
            if at >= size and not self._is_behind():
                return b""
            if is_spent():
                return data[at:]

    def _portion(self, data: bytes, at: int) -> int:
        """The end of what to look at next."""
        size = len(data)
        if self._handlingRequest:
            return size  # it is only kept
        if self.line_mode:
            head = data.find(b"\r\n\r\n", at, at + _HEAD)
            return head + 4 if head >= 0 else min(size, at + _HEAD)
        return min(size, at + (getattr(self._transferDecoder, "contentLength", None) or size))

    def requestDone(self, request: Any) -> None:
        """What came behind a request is not looked at within its answer."""
        rest = b"".join(self._dataBuffer)
        self._dataBuffer = []
        self._late = rest + self._late
        HTTPChannel.requestDone(self, request)
        if not (self._is_feeding or self._is_waiting) and self._late:
            data, self._late = self._late, b""
            self.feed(data)

    def connectionLost(self, reason: Any = connectionDone) -> None:
        """Nobody is there any more."""
        self._is_lost = True
        self._late = b""
        HTTPChannel.connectionLost(self, reason)

    def _maybeChooseTransferDecoder(self, header: bytes, data: bytes) -> bool:
        chosen: bool = HTTPChannel._maybeChooseTransferDecoder(self, header, data)
        if type(self._transferDecoder) is _Chunked:
            self._transferDecoder = ChunkedDecoder(self.requests[-1].handleContentChunk, self._finishRequestBody)
        return chosen
