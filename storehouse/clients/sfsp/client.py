"""A client of one SFSP server: several connections, and requests that are made again when one of them breaks."""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint
from twisted.internet.task import deferLater

from storehouse.clients.sfsp.connection import ChunkReader, Connection, TakeIds
from storehouse.clients.sfsp.pool import Pool
from storehouse.clients.sfsp.reasons import ServerSilent, StaleConnection, shown
from storehouse.core.jobs import deferred, settled
from storehouse.core.streams import GeneratorStream, IByteStream, Piece, cut
from storehouse.errors import NoSuchChunk, RemoteUnavailable

__all__ = ["SFSPClient"]

T = TypeVar("T")

# Seconds before the first attempt after one that failed; each next wait is twice as long, up to the second number.
_MIN_WAIT = 0.1
_MAX_WAIT = 5.0


class SFSPClient:
    """
    A client of one server.

    Every request can be made again, since a chunk is replaced by itself: so one is, after a while, when the server
    failed or its connection broke.

    @param endpoint: of the server.
    @param connections: how many connections there are at most; they are opened when they are needed.
    @param pipeline: how many requests are made on each before the first response.
    @param timeout: seconds for a connection to be opened, and for which the server may be silent when it is its turn.
    @param retries: how many more attempts are made at each request; only one after a silence.
    """

    def __init__(
        self,
        endpoint: IStreamClientEndpoint,
        reactor: IReactorTime,
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
    async def send(self, name: bytes, id: int, open_stream: Callable[[], IByteStream], size: int) -> None:
        """
        Store a chunk; one of this ID is replaced.

        @param open_stream: gives a stream of the bytes, for each attempt a new one, which is closed.
        @return: fires when the server says that it is stored.
        @raise RemoteRefused: through the Deferred, as all others: the server refuses it, since it is too large, say.
        @raise RemoteUnavailable: the server cannot be reached, or fails.
        @raise InvalidAnswer: the server does not speak SFSP.
        """

        async def attempt(connection: Connection) -> None:
            await connection.send(name, id, open_stream(), size)

        await self._retry(attempt)

    @deferred
    async def receive(self, name: bytes, id: int) -> ChunkReader:
        """
        Request a chunk.

        @return: fires with its reader, a stream, which is to be closed: until it was read to its end, other responses
            on its connection wait. If the connection breaks from then on, reading fails; see L{fetch} and L{stream}.
        @raise NoSuchChunk: through the Deferred; and as L{send}.
        """

        async def attempt(connection: Connection) -> ChunkReader:
            return await connection.receive(name, id)

        return await self._retry(attempt)

    @deferred
    async def fetch(self, name: bytes, id: int, take: Callable[[ChunkReader], Awaitable[T]]) -> T:
        """
        Receive a chunk, again from its first byte if the connection breaks in its midst.

        @param take: reads it; called with a new reader for each attempt, which is closed after that.
        @return: fires with what C{take} returned.
        @raise NoSuchChunk: through the Deferred; and as L{send}; and what C{take} raises.
        """

        async def attempt(connection: Connection) -> T:
            reader = await connection.receive(name, id)
            try:
                return await take(reader)
            finally:
                await reader.close()

        return await self._retry(attempt)

    def stream(self, name: bytes, id: int) -> IByteStream:
        """
        A chunk as a stream that continues where it was when the connection breaks within it.

        Its reads fail with C{NoSuchChunk}, also if the chunk has another size then, and as L{send}.
        """
        return GeneratorStream(self._resumed(name, id))

    async def _resumed(self, name: bytes, id: int) -> AsyncGenerator[Piece, None]:
        retries = _Retries(self._reactor, self._pool, self._retries)
        size: int | None = None
        done = 0
        while size is None or done < size:
            try:
                reader = await (await self._pool.take()).receive(name, id)
                stream = cut(reader, done)
                try:
                    if size not in (None, reader.size):
                        raise NoSuchChunk(f"chunk {id} of {shown(name)} was replaced while it was received")
                    size = reader.size
                    while piece := await stream.read():
                        done += len(piece)
                        yield piece
                finally:
                    await stream.close()
            except RemoteUnavailable as error:
                await retries.wait(error)

    @deferred
    async def list_ids(self, name: bytes, take: TakeIds) -> int:
        """
        Request the IDs of all chunks of a file, in the order in which the server gives them.

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

        return await self._retry(attempt)

    def close(self) -> Deferred[None]:
        """Close all connections. What is outstanding fails. @return: fires when they are closed."""
        return Deferred.fromCoroutine(self._pool.close())

    async def _retry(self, attempt: Callable[[Connection], Awaitable[T]]) -> T:
        retries = _Retries(self._reactor, self._pool, self._retries)
        while True:
            try:
                return await attempt(await self._pool.take())
            except _CannotRepeat as error:
                raise error.error from None
            except RemoteUnavailable as error:
                await retries.wait(error)


class _Retries:
    """The attempts that are left at one request."""

    def __init__(self, reactor: IReactorTime, pool: Pool, count: int) -> None:
        self._reactor = reactor
        self._pool = pool
        self._left = count
        # Every connection may have been closed while it was idle; that is no failure.
        self._stale = pool.size
        self._wait = _MIN_WAIT

    async def wait(self, error: RemoteUnavailable) -> None:
        """Wait after an attempt that failed. @raise RemoteUnavailable: that error, if there is no further one."""
        if self._pool.is_closed:
            raise error
        if isinstance(error, StaleConnection):
            self._pool.drop_idle()
            if self._stale:
                self._stale -= 1
                return
        if not self._left:
            raise error
        self._left = (min(self._left, 1) if isinstance(error, ServerSilent) else self._left) - 1
        # Not all at the same time: many may have been on one connection.
        await deferLater(self._reactor, self._wait * random.uniform(0.5, 1.0))
        self._wait = min(2 * self._wait, _MAX_WAIT)


class _CannotRepeat(Exception):
    """A listing broke that cannot continue."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error


class _Order:
    """IDs that are taken once, although they are listed again; that is possible as long as they ascend."""

    def __init__(self, take: TakeIds) -> None:
        self.count = 0
        self._take = take
        self._last = -1
        self._ascends = True
        self._again = False
        self._working: Deferred[Any] | None = None

    async def again(self) -> None:
        """Another listing begins."""
        if self._working is not None:
            await settled(self._working)
        if self.count and not self._ascends:
            raise _CannotRepeat(RemoteUnavailable("the connection broke while IDs came that are in no order"))
        self._again = self.count > 0

    def take(self, ids: Sequence[int]) -> object:
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
