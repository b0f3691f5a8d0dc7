"""
Between pushed and pulled bytes, as long as there are both. Nothing new uses this.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IConsumer
from zope.interface import implementer

from storehouse.core.pushed import Asking, ISource
from storehouse.core.streams import IByteStream, Piece, PushedStream, StreamClosed, pour

__all__ = ["source_of", "stream_of"]


def source_of(stream: Any) -> Any:
    """A stream as an C{ISource}."""
    return stream if ISource.providedBy(stream) else _StreamSource(stream)


@implementer(ISource)
class _StreamSource:
    def __init__(self, stream: IByteStream) -> None:
        self._stream = stream

    def deliver(self, consumer: Any) -> Deferred[int]:
        return Deferred.fromCoroutine(pour(self._stream, consumer))

    def close(self) -> None:
        self._stream.close()


def stream_of(source: Any) -> IByteStream:
    """An C{ISource} as a stream. What is one already is given back."""
    return source if IByteStream.providedBy(source) else _SourceStream(source)


@implementer(IByteStream, IConsumer)
class _SourceStream(Asking):
    def __init__(self, source: Any) -> None:
        self._source = source
        self._pushed = PushedStream(self._pause, self._resume, closed=self._stop)
        self._streaming = True
        self._begun = False
        self._delivered: Deferred[Any] | None = None

    # For the reader.

    async def read(self) -> Piece:
        if not self._begun and not self._is_closed():
            self._begun = True
            self._delivered = self._source.deliver(self)
            self._delivered.addCallbacks(
                lambda count: self._pushed.end(), lambda failure: self._pushed.fail(failure.value)
            )
        return await self._pushed.read()

    def close(self) -> Deferred[None]:
        if not self._begun and not self._is_closed() and hasattr(self._source, "close"):
            self._source.close()
        self._pushed.close()
        return succeed(None)

    def _is_closed(self) -> bool:
        return isinstance(self._pushed._error, StreamClosed)

    # For the source.

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        self._producer = producer
        self._streaming = streaming
        if not streaming:
            self._ask()

    def unregisterProducer(self) -> None:
        self._producer = None

    def write(self, data: bytes) -> None:
        self._pushed.write(data)
        if not self._streaming:
            self._ask()

    def _may_ask(self) -> bool:
        return self._producer is not None and not self._pushed._is_paused

    def _pause(self) -> None:
        if self._producer is not None and self._streaming:
            self._producer.pauseProducing()

    def _resume(self) -> None:
        if self._producer is not None and self._streaming:
            self._producer.resumeProducing()
        else:
            self._ask()

    def _stop(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.stopProducing()
