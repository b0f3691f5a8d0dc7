"""The end of a connection whose peer is still sending, and has been answered already."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["Lingering"]

#: Seconds for the rest of a body: a slow sender looks for an answer only when it has something to send, and if the
#: connection is closed by then, the answer is lost.
_LONG = 30.0

#: Seconds for what was no request, and for the rest of a body while the door is to close.
_BRIEF = 5.0

#: Bytes that are thrown away meanwhile.
_MOST = 1 << 30


class Lingering:
    """
    Has a connection read on for a while, up to 1 GiB: one that is closed while its peer sends is reset, and the peer would
    not get to read what was written.

    @param on_end: called when that is over.
    """

    def __init__(self, reactor: Any, on_end: Callable[[], None]) -> None:
        self._reactor = reactor
        self._on_end = on_end
        self._call: Any = None
        self._count = 0

    @property
    def is_on(self) -> bool:
        """Whether it has begun, and is not over."""
        return self._call is not None

    def begin(self, in_body: bool) -> None:
        """Begin, unless it has begun: for the rest of a body 30 seconds, else 5."""
        if self._call is None:
            self._call = self._reactor.callLater(_LONG if in_body else _BRIEF, self._end)

    def hurry(self) -> None:
        """The door is to close: 5 seconds more are enough."""
        if self._call is not None and self._call.getTime() > self._reactor.seconds() + _BRIEF:
            self._call.reset(_BRIEF)

    def received(self, size: int) -> None:
        """That many bytes have come."""
        if self._call is not None:
            self._count += size
            if self._count > _MOST:
                self.stop()
                self._on_end()

    def stop(self) -> None:
        """The connection is closed. Harmless when it did not linger."""
        call, self._call = self._call, None
        if call is not None:
            call.cancel()

    def _end(self) -> None:
        self._call = None
        self._on_end()
