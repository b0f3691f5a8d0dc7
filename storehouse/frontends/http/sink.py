"""Where a source puts the body of an answer."""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IConsumer
from twisted.python.failure import Failure
from zope.interface import implementer

from storehouse.frontends.http.errors import ClientGone
from storehouse.frontends.http.request import StreamingRequest

__all__ = ["AnswerSink"]


@implementer(IConsumer)
class AnswerSink:
    """
    The body of an answer that has begun. Its producer, a push producer, is paused while the peer is slower.

    @ivar count: bytes that were written.
    """

    def __init__(self, request: StreamingRequest) -> None:
        self.count = 0
        self._request = request
        self._producer: Any = None
        self._paused = False

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Take from this producer."""
        if not streaming:
            raise RuntimeError("an answer takes from push producers only")
        self._producer = producer
        self._wait()

    def unregisterProducer(self) -> None:
        """It has no more."""
        self._producer = None

    def write(self, data: bytes) -> None:
        """
        Send.

        @raise ClientGone: if the client is.
        """
        if self._request.gone:
            raise ClientGone("the connection was closed before the answer was whole")
        self._request.write(data)
        self.count += len(data)
        self._wait()

    def _wait(self) -> None:
        drained = self._request.drained
        if drained is None or self._paused or self._producer is None:
            return
        self._paused = True
        self._producer.pauseProducing()
        drained.addCallback(self._go_on)

    def _go_on(self, result: None) -> None:
        if self._producer is None or self._request.gone:
            self._resume()
        else:
            self._request.backlog.when_room(self._resume, self._break_off)

    def _break_off(self, failure: Failure) -> None:
        if self._producer is not None:
            self._producer.stopProducing()

    def _resume(self) -> None:
        self._paused = False
        if self._producer is None:
            return
        if self._request.gone:
            self._producer.stopProducing()
        else:
            self._producer.resumeProducing()
