"""A client of one SFSP server: several connections, and what can be asked again is."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import deferLater

from storehouse.clients.sfsp.connection import Connection
from storehouse.clients.sfsp.exchanges import ChunkReader, Taker
from storehouse.clients.sfsp.pool import Pool
from storehouse.clients.sfsp.reasons import ServerSilent, StaleConnection
from storehouse.core.jobs import settled
from storehouse.core.streams import deferred
from storehouse.errors import RemoteUnavailable

__all__ = ["SFSPClient"]

T = TypeVar("T")

#: Seconds before the first attempt after one that failed; each next wait is twice as long, up to the second number.
_FIRST_WAIT = 0.1
_LONGEST_WAIT = 5.0


class SFSPClient:
    """
    A client of one server.

    Every request can be made again, since a chunk is replaced by itself: so one is, after a while, when the server
    failed or its connection broke.

    @param endpoint: an C{IStreamClientEndpoint} of the server.
    @param connections: how many connections there are at most; they are opened when they are needed.
    @param pipeline: how many requests are made on each before the first is answered.
    @param timeout: seconds for a connection to be opened, and for which the server may be silent when it is its turn.
    @param retries: how many more attempts are made at each request; only one after a silence.
    """

    def __init__(
        self,
        endpoint: Any,
        reactor: Any,
        connections: int = 4,
        pipeline: int = 16,
        timeout: float = 60.0,
        retries: int = 5,
    ) -> None:
        self.connections = connections
        self.pipeline = pipeline
        self._reactor = reactor
        self._retries = retries
        self._pool = Pool(endpoint, reactor, connections, pipeline, timeout)

    @deferred
    async def send(self, name: bytes, id: int, open_source: Callable[[], Any], size: int) -> None:
        """
        Store a chunk; one of this ID is replaced.

        @param open_source: gives an L{storehouse.core.streams.ISource} of the bytes, for each attempt a new one.
        @return: fires when the server says that it is stored.
        @raise RemoteRefused: through the Deferred, as all others: it is larger than the server takes, or the like.
        @raise RemoteUnavailable: the server cannot be reached, or fails.
        @raise InvalidAnswer: what answers does not speak SFSP.
        """

        async def attempt(connection: Connection) -> None:
            await connection.send(name, id, open_source(), size)

        await self._insist(attempt)

    @deferred
    async def receive(self, name: bytes, id: int) -> ChunkReader:
        """
        Ask for a chunk.

        @return: fires with its reader, an L{storehouse.core.streams.ISource}, which is to be delivered or discarded:
            until then, what else was asked on its connection waits. If the connection breaks from then on, delivering
            fails: L{fetch} asks again.
        @raise NoSuchChunk: through the Deferred; and as L{send}.
        """

        async def attempt(connection: Connection) -> ChunkReader:
            return await connection.receive(name, id)

        return await self._insist(attempt)

    @deferred
    async def fetch(self, name: bytes, id: int, take: Callable[[ChunkReader], Awaitable[T]]) -> T:
        """
        Receive a chunk, again from its first byte if the connection breaks in its midst.

        @param take: delivers the reader's bytes; is called with a new one for each attempt.
        @return: fires with what C{take} returned.
        @raise NoSuchChunk: through the Deferred; and as L{send}; and what C{take} raises.
        """

        async def attempt(connection: Connection) -> T:
            reader = await connection.receive(name, id)
            try:
                return await take(reader)
            finally:
                reader.discard()

        return await self._insist(attempt)

    @deferred
    async def list_ids(self, name: bytes, take: Taker) -> int:
        """
        Ask for the IDs of all chunks of a file, in the order in which the server gives them.

        @param take: is called with some at a time, up to some thousands; if it returns a Deferred, the next call is
            after that has fired.
        @return: fires with their number, 0 if there is no such file.
        @raise RemoteUnavailable: through the Deferred; and as L{send}.
        """
        order = _Order(take)

        async def attempt(connection: Connection) -> int:
            await order.again()
            await connection.list_ids(name, order.take)
            return order.count

        return await self._insist(attempt)

    def close(self) -> Deferred[None]:
        """Close all connections. What is outstanding fails. @return: fires when they are closed."""
        return ensureDeferred(self._pool.close())

    async def _insist(self, attempt: Callable[[Connection], Awaitable[T]]) -> T:
        left = self._retries
        # Every connection may have been closed while it was idle; that is no failure.
        stale = self._pool.size
        wait = _FIRST_WAIT
        while True:
            try:
                return await attempt(await self._pool.take())
            except _CannotRepeat as error:
                raise error.error from None
            except RemoteUnavailable as error:
                if self._pool.is_closed:
                    raise
                if isinstance(error, StaleConnection):
                    self._pool.drop_idle()
                    if stale:
                        stale -= 1
                        continue
                if not left:
                    raise
                left = (min(left, 1) if isinstance(error, ServerSilent) else left) - 1
            # Not all at the same time: many may have been on one connection.
            await deferLater(self._reactor, wait * random.uniform(0.5, 1.0))
            wait = min(2 * wait, _LONGEST_WAIT)


class _CannotRepeat(Exception):
    """A listing broke off that cannot be gone on with."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error


class _Order:
    """IDs that are taken once, although they are listed again; that is possible as long as they ascend."""

    def __init__(self, take: Taker) -> None:
        self.count = 0
        self._take = take
        self._last = -1
        self._ascends = True
        self._again = False
        self._working: Any = None

    async def again(self) -> None:
        """Another listing begins."""
        if self._working is not None:
            await settled(self._working)
        if self.count and not self._ascends:
            raise _CannotRepeat(RemoteUnavailable("the connection broke while IDs came that are in no order"))
        self._again = self.count > 0

    def take(self, ids: Sequence[int]) -> Any:
        """Some more IDs."""
        if self._again:
            if ids[-1] <= self._last:
                return None
            ids = [id for id in ids if id > self._last]
            self._again = False
        if self._ascends:
            last = self._last
            for id in ids:
                if id <= last:
                    self._ascends = False
                    break
                last = id
            self._last = last
        self.count += len(ids)
        taken = self._take(ids)
        self._working = taken if isinstance(taken, Deferred) else None
        return taken
