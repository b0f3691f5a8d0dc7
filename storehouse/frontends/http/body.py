"""The body of a request as it comes in: the edge where what a connection pushes becomes a stream."""

from __future__ import annotations

from collections.abc import Coroutine
from io import BytesIO
from typing import Any, Protocol

from twisted.internet.defer import CancelledError, Deferred

from storehouse.core.budget import Hold
from storehouse.core.streams import Piece, PushedStream
from storehouse.errors import TooLarge

__all__ = ["BodyTooLarge", "RequestBody"]


class BodyTooLarge(TooLarge):
    """The body of a request exceeds what is taken here."""


class _Connection(Protocol):
    def pause_body(self) -> None: ...

    def resume_body(self) -> None: ...

    def body_wanted(self) -> None: ...


class RequestBody(PushedStream):
    """
    The bytes of one request's body, an L{IByteStream<storehouse.core.streams.IByteStream>}.

    Until somebody reads them they wait: at most what the kernel gave at once is held here, the rest with the peer. A client
    that waits for C{100 Continue} gets it with the first read. Closed early, the rest is thrown away as it comes.

    @ivar length: bytes announced; C{None} for a chunked body.
    @ivar complete: whether all of it has been received.
    @ivar came: bytes that were received.
    @ivar untouched: whether nobody has read of it.
    @ivar is_small: whether it is one that is small by nature, and so must come soon.
    @ivar trailers: once it has, the fields that followed it, if it was chunked; names in lower case. At most 64 KiB.
    """

    def __init__(self, connection: _Connection, length: int | None) -> None:
        PushedStream.__init__(self, self._update_pause, self._update_pause)
        self.length = length
        self.complete = length == 0
        self.came = 0
        self.untouched = True
        self.is_small = False
        self.trailers: dict[bytes, bytes] = {}
        self._connection = connection
        self._has_peer_wait = False
        self._is_suspended = False
        self._is_closed = False
        self._arrival: Deferred[None] | None = None  # fires when it has come, or will not
        self._room: Deferred[None] | None = None  # what read_all() waits for besides bytes
        if self.complete:
            self.end()

    # -- for handlers ------------------------------------------------------------------------

    def read(self) -> Coroutine[Any, Any, Piece]:
        """
        See L{IByteStream.read<storehouse.core.streams.IByteStream.read>}.

        @raise StorehouseError: if the body does not arrive whole.
        """
        if self.untouched:
            self.untouched = False
            self._connection.body_wanted()
        return PushedStream.read(self)

    async def read_all(self, limit: int, hold: Hold | None = None, is_small: bool | None = None) -> bytes:
        """
        Read the whole body, and close it.

        @param hold: what its bytes are counted by as they come; they wait while there is no room for more.
        @param is_small: whether it is one that is small by nature, such as a form, and so must come soon; C{None} if that
            goes by whether it is counted.
        @raise BodyTooLarge: if it exceeds C{limit} bytes; at once if it says so itself.
        @raise Overloaded: if there is no room for it.
        """
        if self.length is not None and self.length > limit:
            raise BodyTooLarge(f"the body has {self.length} bytes; at most {limit} are allowed")
        self.is_small = hold is None if is_small is None else is_small
        # Never held twice, as by gathering pieces and joining them: a BytesIO grows in place, and gives its value
        # without a copy.
        whole: Piece = b""
        rest: BytesIO | None = None
        left = limit
        try:
            while piece := await self.read():
                left -= len(piece)
                if left < 0:
                    raise BodyTooLarge(f"the body has more than {limit} bytes")
                if rest is not None:
                    rest.write(piece)
                elif whole:
                    rest = BytesIO()
                    rest.write(whole)
                    rest.write(piece)
                    whole = b""
                else:
                    whole = piece
                if hold is not None and (room := hold.take(len(piece))) is not None:
                    await self._wait_for(room)
        except BaseException:
            whole, rest = b"", None  # the error refers to this frame, and they are not counted any more
            raise
        finally:
            self.close()
        return rest.getvalue() if rest is not None else bytes(whole)

    async def _wait_for(self, room: Deferred[None]) -> None:
        self._room = room
        self.suspend()  # rather than to have one more piece come, that nobody has counted
        try:
            await room
        except CancelledError:
            if self._failure is not None:
                raise self._failure from None
            raise
        finally:
            self._room = None
            self.proceed()

    async def drain(self) -> None:
        """Throw the body away, and wait until it has come; or it is known that it will not."""
        self.untouched = False
        self.is_small = True
        self.close()
        if not self.complete and self._failure is None:
            self._arrival = Deferred()
            await self._arrival

    def close(self) -> Deferred[None]:
        """See L{IByteStream.close<storehouse.core.streams.IByteStream.close>}."""
        self._is_closed = True
        closing = PushedStream.close(self)
        self._update_pause()
        return closing

    def suspend(self) -> None:
        """Have the peer wait, whether somebody reads or not, until L{proceed}."""
        self._is_suspended = True
        self._update_pause()

    def proceed(self) -> None:
        """The peer need not wait any more, unless nobody reads."""
        self._is_suspended = False
        self._update_pause()

    def _update_pause(self) -> None:
        may_come = not (self.complete or self._is_closed) and self._failure is None
        waits = may_come and (self._is_paused or self._is_suspended)
        if waits != self._has_peer_wait:
            self._has_peer_wait = waits
            if waits:
                self._connection.pause_body()
            else:
                self._connection.resume_body()

    # -- for the connection ------------------------------------------------------------------

    def received(self, data: bytes) -> None:
        """The next bytes have come."""
        self.came += len(data)
        self.write(data)

    def finished(self) -> None:
        """All of it has come."""
        self.complete = True
        self._update_pause()
        self.end()
        self._has_arrived()

    def failed(self, error: BaseException) -> None:
        """It will not become whole."""
        self.fail(error)
        self._update_pause()
        if self._room is not None:
            self._room.cancel()
        self._has_arrived()

    def discard(self) -> None:
        """The response is out, and nobody reads what is still to come."""
        if self._failure is None:  # or else that is what a reader is to be told
            self.close()

    def _has_arrived(self) -> None:
        arrival, self._arrival = self._arrival, None
        if arrival is not None:
            arrival.callback(None)
