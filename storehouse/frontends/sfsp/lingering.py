"""The end of a connection whose peer may still be sending."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import ISSLTransport

__all__ = ["Lingering"]

# Seconds.
_LONGEST = 5.0


class Lingering:
    """
    Closes our side, and has the connection read on for a moment: one that is closed while its peer sends is reset, and
    the peer would not get to read what was written.

    @param on_late: called if the peer has not closed its side within 5 seconds.
    """

    def __init__(self, reactor: Any, on_late: Callable[[], None]) -> None:
        self._reactor = reactor
        self._on_late = on_late
        self._call: Any = None

    def begin(self, transport: Any) -> None:
        """Close our side of a transport that has no producer."""
        transport.resumeProducing()
        if ISSLTransport.providedBy(transport):  # it has no half to close, and waits for the peer's end by itself
            transport.loseConnection()
        else:
            transport.loseWriteConnection()
        self._call = self._reactor.callLater(_LONGEST, self._late)

    def end(self) -> None:
        """The connection is closed. Harmless when it did not linger."""
        call, self._call = self._call, None
        if call is not None:
            call.cancel()

    def _late(self) -> None:
        self._call = None
        self._on_late()
