"""The end of a connection whose peer is still sending, and has been answered already."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime

__all__ = ["BRIEF", "LONG", "Lingering"]

#: Seconds for the rest of a body: a slow sender looks for a response only when it has something to send, and if the
#: connection is closed by then, the response is lost.
LONG = 30.0

#: Seconds for what was no request, and for the rest of a body while the door is to close.
BRIEF = 5.0

# Bytes that are thrown away meanwhile.
_MOST = 1 << 30


class Lingering:
    """
    Has a connection read on for a while, up to 1 GiB: one that is closed while its peer sends is reset, and the peer would
    not get to read what was written.

    @param on_end: called when that is over.
    @param long: seconds for the rest of a body.
    @param brief: seconds for anything else.
    """

    def __init__(
        self, reactor: IReactorTime, on_end: Callable[[], object], long: float = LONG, brief: float = BRIEF
    ) -> None:
        self._reactor = reactor
        self._on_end = on_end
        self._long = long
        self._brief = brief
        self._call: IDelayedCall | None = None
        self._count = 0

    @property
    def is_on(self) -> bool:
        """Whether it has begun, and is not over."""
        return self._call is not None

    def begin(self, in_body: bool = False) -> None:
        """Begin, unless it has begun."""
        if self._call is None:
            self._call = self._reactor.callLater(self._long if in_body else self._brief, self._end)

    def hurry(self) -> None:
        """The door is to close: the shorter time is enough."""
        if self._call is not None and self._call.getTime() > self._reactor.seconds() + self._brief:
            self._call.reset(self._brief)

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
