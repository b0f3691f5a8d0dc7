"""Connections to one server, opened as they are needed."""

from __future__ import annotations

from collections import deque
from typing import cast

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.error import TimeoutError as ConnectTimeout
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint
from twisted.internet.protocol import Factory

from storehouse.clients.sfsp.connection import Connection
from storehouse.clients.sfsp.reasons import reason_of
from storehouse.core.jobs import settled
from storehouse.errors import RemoteUnavailable

__all__ = ["Pool"]

#: Seconds that connections may take to close before they are cut off.
_CLOSING = 1.0


class Pool:
    """
    Connections to one server.

    @param size: how many connections there may be.
    @param depth: how many requests may be outstanding on each.
    """

    def __init__(
        self, endpoint: IStreamClientEndpoint, reactor: IReactorTime, size: int, depth: int, timeout: float
    ) -> None:
        self.size = size
        self.depth = depth
        self._endpoint = endpoint
        self._reactor = reactor
        self._timeout = timeout
        self._open: list[Connection] = []
        self._living: set[Connection] = set()  # those that are being closed as well
        self._connecting: set[Deferred[Connection]] = set()
        self._waiting: deque[Deferred[None]] = deque()
        self._waking = False
        self.is_closed = False

    async def take(self) -> Connection:
        """
        A connection with room for one request, which is to be made at once.

        @raise RemoteUnavailable: if none can be opened.
        """
        while True:
            self._check()
            least = min(self._open, key=_outstanding, default=None)
            if least is not None and not least.outstanding:
                return least
            if len(self._open) + len(self._connecting) < self.size:
                return await self._connect()
            if least is not None and least.outstanding < self.depth:
                return least
            turn: Deferred[None] = Deferred()
            self._waiting.append(turn)
            try:
                await turn
            except BaseException:
                if turn in self._waiting:
                    self._waiting.remove(turn)
                raise

    def drop_idle(self) -> None:
        """Close connections on which nothing is outstanding: one of them was found closed by the server."""
        for connection in list(self._open):
            if not connection.outstanding:
                connection.close()

    async def close(self) -> None:
        """Close all connections. What is outstanding fails."""
        self.is_closed = True
        for connecting in list(self._connecting):
            connecting.cancel()
        self._fail_waiting(RemoteUnavailable("the client is closed"))
        ending = [connection.close() for connection in list(self._living)]
        cut = self._reactor.callLater(_CLOSING, self._cut)
        for ended in ending:
            await settled(ended)
        if cut.active():
            cut.cancel()

    # -- opening -------------------------------------------------------------------------------

    def _check(self) -> None:
        if self.is_closed:
            raise RemoteUnavailable("the client is closed")

    async def _connect(self) -> Connection:
        factory = Factory.forProtocol(lambda: Connection(self._reactor, self._timeout))
        factory.noisy = False
        attempt = cast(Deferred[Connection], self._endpoint.connect(factory))
        attempt.addTimeout(self._timeout, self._reactor)
        self._connecting.add(attempt)
        try:
            connection = await attempt
        except (DeferredTimeout, ConnectTimeout):
            raise self._unreachable(f"silent for {self._timeout:g} s") from None
        except CancelledError:
            self._check()
            # There is room for a request that waits.
            self._reactor.callLater(0, self._wake)
            raise
        except Exception as error:
            raise self._unreachable(reason_of(error)) from None
        finally:
            self._connecting.discard(attempt)
        if self.is_closed:
            self._abort(connection)
            self._check()
        self._open.append(connection)
        self._living.add(connection)
        connection.on_change = lambda: self._changed(connection)
        connection.ended.addCallback(lambda ended: self._living.discard(connection))
        # The request that opened it is the first on it; there is room for others.
        self._reactor.callLater(0, self._wake)
        return connection

    def _unreachable(self, reason: str) -> RemoteUnavailable:
        error = RemoteUnavailable(f"it cannot be reached: {reason}")
        if not self._open:
            # Requests that wait would find the same, only later.
            self._fail_waiting(error)
        else:
            self._reactor.callLater(0, self._wake)
        return error

    # -- waiting -------------------------------------------------------------------------------

    def _changed(self, connection: Connection) -> None:
        if connection.error is not None and connection in self._open:
            self._open.remove(connection)
        self._wake()

    def _wake(self) -> None:
        # One that is woken may be done at once, and wake others: that must not become a recursion.
        if self._waking:
            return
        self._waking = True
        try:
            while self._waiting and self._has_room():
                self._waiting.popleft().callback(None)
        finally:
            self._waking = False

    def _has_room(self) -> bool:
        if len(self._open) + len(self._connecting) < self.size:
            return True
        return any(connection.outstanding < self.depth for connection in self._open)

    def _fail_waiting(self, error: Exception) -> None:
        waiting = list(self._waiting)
        self._waiting.clear()
        for turn in waiting:
            turn.errback(error)

    def _cut(self) -> None:
        for connection in list(self._living):
            self._abort(connection)

    def _abort(self, connection: Connection) -> None:
        if connection.transport is not None:
            connection.transport.abortConnection()  # type: ignore[attr-defined]


def _outstanding(connection: Connection) -> int:
    return connection.outstanding
