"""What is written to a data space in memory, on its way in."""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IConsumer
from zope.interface import implementer

from storehouse.core.streams import Asking
from storehouse.errors import SizeMismatch

__all__ = ["Intake"]


@implementer(IConsumer)
class Intake(Asking):
    """
    What is written to the space: holds it all, and stops the source that has more than it announced.

    @ivar error: why the source was stopped.
    """

    def __init__(self, size: int | None) -> None:
        self._size = size
        self._pieces: list[bytes] = []
        self._received = 0
        self._producer: Any = None
        self._streaming = True
        self.error: SizeMismatch | None = None

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Take from this producer."""
        self._producer = producer
        self._streaming = streaming
        if not streaming:
            self._ask()

    def unregisterProducer(self) -> None:
        """It has no more."""
        self._producer = None

    def write(self, data: bytes) -> None:
        """Hold it."""
        if self.error is not None:
            return
        self._received += len(data)
        if self._size is not None and self._received > self._size:
            self.error = SizeMismatch(
                f"the body has at least {self._received} bytes, and {self._size} bytes were announced"
            )
            self._pieces.clear()
            self.stop()
            return
        self._pieces.append(bytes(data))
        if not self._streaming:
            self._ask()

    def stop(self) -> None:
        """Want no more."""
        if self._producer is not None:
            self._producer.stopProducing()

    def taken(self) -> bytes:
        """All that was written, at its end."""
        if self.error is not None:
            raise self.error
        if self._size is not None and self._received != self._size:
            raise SizeMismatch(f"the body has {self._received} bytes, and {self._size} bytes were announced")
        return b"".join(self._pieces)
