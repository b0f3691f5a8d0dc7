"""The connections of one listening door: how many, how fast, how much memory they use, and their end."""

from __future__ import annotations

import socket
import struct
from collections.abc import AsyncIterator, Callable, Hashable, Iterable, Iterator
from contextlib import asynccontextmanager
from functools import lru_cache
from ipaddress import ip_address
from typing import Generic, Protocol, TypeVar

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IDelayedCall, IReactorTime, ITransport
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from storehouse.core.budget import ByteBudget, Shares, network_of
from storehouse.core.fast.names import require
from storehouse.core.fast.transports import missing_for_unsent, unsent
from storehouse.core.proxies import UNIX, plain_address
from storehouse.errors import Overloaded, ShareUsedUp, TooManyConnections

__all__ = ["BRIEF", "LONG", "Backlog", "Connections", "IdleWatch", "Lingering", "Pace", "is_loopback", "source_of"]


class _Connection(Protocol):
    """What a door's connections have."""

    def finish_soon(self) -> None:
        """Close once the responses to the requests that have come are sent."""

    def abort(self) -> None:
        """Close at once, whatever is lost."""


#: A connection of a door.
C = TypeVar("C", bound=_Connection)


class Connections(Generic[C]):
    """
    Counts the connections of a door, looks at each once a second, and closes them when the door stops.

    @param name: the door's name in logs.
    @param most: how many may be open at a time.
    @param each: how many of them one address may have; 0 for no bound but that others get in, too.
    @param look: called with each connection and the time, every second.
    @param tick: called before that.
    @ivar accepted: how many were accepted.
    @ivar refused: how many were refused, since there were too many.
    @ivar timed_out: how many were closed because their peer took too long.
    """

    _log = Logger()

    def __init__(
        self,
        name: str,
        most: int,
        reactor: IReactorTime,
        look: Callable[[C, float], None],
        tick: Callable[[], None] = lambda: None,
        each: int = 0,
    ) -> None:
        # What their peers do not take could not be counted.
        require(missing_for_unsent())
        self.accepted = 0
        self.refused = 0
        self.timed_out = 0
        self._name = name
        self._shares: Shares[str] = Shares(most, each)
        self._reactor = reactor
        self._look = look
        self._before = tick
        # With the holders of their places.
        self._open: dict[C, tuple[str, ...]] = {}
        self._empty: Deferred[None] | None = None
        self._clock = LoopingCall(self._tick)
        self._clock.clock = reactor

    def __len__(self) -> int:
        return len(self._open)

    def __iter__(self) -> Iterator[C]:
        return iter(list(self._open))

    def admit(self, address: str = "") -> Overloaded | None:
        """
        Whether a connection that comes in may stay; counts it.

        @param address: of its peer; empty for one that has none, or is shared by many, as those of proxies are.
        @return: why it may not; C{None} if it may.
        """
        refusal: Overloaded | None = None
        if len(self._open) >= self._shares.most:
            refusal = TooManyConnections(
                f"{len(self._open)} connections are open, as many as are allowed (max-connections)"
            )
        elif address and self._shares.refused((network_of(address),)) is not None:
            refusal = ShareUsedUp(
                f"{address} has as many connections as one address may have (connections-per-address): close some"
            )
        if refusal is None:
            self.accepted += 1
        else:
            self.refused += 1
        return refusal

    def joined(self, connection: C, address: str = "") -> None:
        """A connection is open."""
        holders = self._open[connection] = (network_of(address),) if address else ()
        self._shares.enter(holders)

    def left(self, connection: C) -> None:
        """A connection is closed."""
        holders = self._open.pop(connection, None)
        if holders is not None:
            self._shares.leave(holders)
        if self._empty is not None and not self._open:
            empty, self._empty = self._empty, None
            empty.callback(None)

    def start(self) -> None:
        """Begin to look at the connections every second."""
        if not self._clock.running:
            self._clock.start(1.0, now=False)

    def no_more(self) -> None:
        """The door does not listen any more: stop once all connections are closed."""
        if not self._open:
            self.stop()

    def stop(self) -> None:
        """Look at them no more."""
        if self._clock.running:
            self._clock.stop()

    def _tick(self) -> None:
        self._before()
        now = self._reactor.seconds()
        for connection in self:
            self._look(connection, now)

    def drain(self, timeout: float) -> Deferred[None]:
        """
        Close all, those with a request in flight once its response is sent.

        @return: fires when none is left; after C{timeout} seconds the rest are aborted.
        """
        done: Deferred[None] = Deferred()
        if not self._open:
            self.stop()
            done.callback(None)
            return done
        self._empty = done
        for connection in self:
            connection.finish_soon()
        late = self._reactor.callLater(timeout, self._break_off)

        def finished(result: None) -> None:
            if late.active():
                late.cancel()
            self.stop()

        done.addCallback(finished)
        return done

    def _break_off(self) -> None:
        self._log.warn(
            "{door}: {count} connections did not finish in time and are aborted",
            door=self._name,
            count=len(self._open),
        )
        for connection in self:
            connection.abort()

    def collect(self, name: str) -> Iterable[Metric]:
        """
        Metric families, for a C{prometheus_client} registry.

        @param name: what their names begin with.
        """
        yield GaugeMetricFamily(f"{name}_connections", "Connections open.", value=len(self._open))
        yield CounterMetricFamily(f"{name}_connections_accepted", "Connections accepted.", value=self.accepted)
        yield CounterMetricFamily(
            f"{name}_connections_refused", "Connections refused because too many were open.", value=self.refused
        )
        yield CounterMetricFamily(
            f"{name}_timeouts", "Connections closed because their peer took too long.", value=self.timed_out
        )


class IdleWatch:
    """For how long a connection's peer has done nothing: neither sent, nor read what waits to be written."""

    def __init__(self) -> None:
        self._since: float | None = None
        self._progress: object = None

    def reset(self) -> None:
        """The peer did something, or has nothing to do."""
        self._since = None

    def idle(self, now: float, progress: object) -> float:
        """
        Seconds since the peer did something, as far as is known by looking now and then.

        @param progress: changes whenever it does.
        """
        if self._since is None or progress != self._progress:
            self._since, self._progress = now, progress
        return now - self._since


class Pace:
    """
    Whether a peer keeps up a least rate while it is its turn, to send a body or to read a response.

    It begins with a credit: the seconds that it may be silent. Each second of its turn costs one, and so many bytes as are
    due in a second earn one; there is never more credit than at the beginning. Time in which we have it wait does not count.

    @ivar spent: seconds of its turn that the same body has taken.
    """

    def __init__(self) -> None:
        self.spent = 0.0
        self._what: object = None
        self._count = 0
        self._credit = 0.0
        self._last: float | None = None

    def rest(self) -> None:
        """It is not the peer's turn."""
        self._last = None

    def is_slow(self, now: float, what: object, count: int, rate: float, window: float) -> bool:
        """
        Called now and then, in seconds of any clock, while it is the peer's turn.

        @param what: the body or the response; another one begins anew.
        @param count: bytes of it so far.
        @param rate: bytes a second; 0 for no bound.
        @param window: seconds that the peer may be silent at most.
        """
        if what is not self._what or count < self._count:
            self._what, self._count, self._credit, self.spent, self._last = what, count, window, 0.0, now
            return False
        passed = 0.0 if self._last is None else now - self._last
        earned = (count - self._count) / rate if rate else passed
        self._last, self._count = now, count
        self.spent += passed
        self._credit = min(window, self._credit - passed + earned)
        return self._credit <= 0


# -- memory ----------------------------------------------------------------------------------------

#: Bytes that have to be free before more of a response is read.
_PIECE = 256 << 10


class Ahead:
    """Bytes that are read ahead for one response."""

    def __init__(self, backlog: Backlog) -> None:
        self._backlog = backlog
        self._size = 0

    async def grow(self, size: int) -> None:
        """
        Have so many bytes in all; more than the bound counts as the bound.

        @raise Overloaded: if they do not become free in time.
        """
        more = min(size, self._backlog.most) - self._size
        if more > 0:
            await self._backlog.hold.reserve(more)
            self._add(more)

    def resize(self, size: int) -> None:
        """So many bytes were read, as it turned out."""
        more = size - self._size
        if more and not self._backlog.is_closed:
            self._backlog.hold.count(more)
        self._add(more)

    def _add(self, more: int) -> None:
        self._size += more
        self._backlog.read_ahead += more


class Backlog:
    """
    What one connection has in memory: responses that its peer does not read, and what is read ahead for them. It is counted in
    a budget, in the share of the connection's address.

    When others need the memory, a connection whose peer reads nothing is aborted; see L{ByteBudget}.

    @param abort: aborts the connection.
    @param has_left: whether the peer has left, for a connection that is not read.
    @ivar hold: the bytes that are counted.
    @ivar most: the bound of the whole budget, in bytes.
    @ivar read_ahead: bytes that are read for responses, and not written yet.
    @ivar is_closed: whether the connection is closed.
    """

    def __init__(
        self,
        budget: ByteBudget,
        holder: Hashable | None,
        transport: ITransport,
        abort: Callable[[], object],
        has_left: Callable[[], bool],
    ) -> None:
        self.hold = budget.hold(0, holder, has_left)
        self.most = budget.total
        self._transport = transport
        self._abort = abort
        self.read_ahead = 0
        self._kept = 0  # of a request that has not come whole
        self._unsent = 0  # written, and not sent
        self._taken = 0  # bytes that were sent since they began to wait
        self._pace = Pace()
        self.is_closed = False

    # -- for what reads for a response --------------------------------------------------------

    @asynccontextmanager
    async def ahead(self, size: int) -> AsyncIterator[Ahead]:
        """
        Have C{size} bytes of memory for as long as the block lasts, for what is read and not written yet.

        @raise Overloaded: if they do not become free in time.
        """
        ahead = Ahead(self)
        await ahead.grow(size)
        try:
            yield ahead
        finally:
            ahead.resize(0)

    @property
    def has_room(self) -> bool:
        """Whether there is memory for another piece of a response."""
        return self.hold.has_room(_PIECE)

    async def room(self) -> None:
        """
        Wait until there is memory for another piece of a response.

        @raise Overloaded: if there is none in time.
        """
        if self.has_room:
            return
        async with self.ahead(_PIECE):
            pass

    def when_room(self, resume: Callable[[], object], abort: Callable[[Failure], object]) -> None:
        """Call C{resume} when there is memory for another piece, which may be now; C{abort} if there is none in time."""
        if self.is_closed or self.has_room:
            resume()
            return
        room = Deferred.fromCoroutine(self.room())
        room.addCallbacks(lambda _: resume(), abort)

    # -- for the connection --------------------------------------------------------------------

    def belongs_to(self, holder: Hashable) -> None:
        """Count in this share from now on: a proxy makes requests of many clients over one connection."""
        held, hold = self.hold.held, self.hold
        if holder != hold.holder and not self.is_closed:
            hold.count(-held)
            hold.holder = holder
            hold.count(held)

    def keep(self, size: int) -> None:
        """So many bytes of a request are kept until all of it has come."""
        self._kept = size
        self._recount()

    def backed_up(self) -> None:
        """The peer does not read what is written."""
        self._taken = 0
        self._unsent = unsent(self._transport)
        self._recount()
        self.hold.stalls(self._give_up)

    def wrote(self) -> None:
        """More was written although it does not read."""
        before, self._unsent = self._unsent, unsent(self._transport)
        self._taken += max(0, before - self._unsent)
        self._recount()

    def drained(self) -> None:
        """The peer has read everything."""
        self._unsent = 0
        self.hold.moves()
        self._recount()

    def is_slow(self, now: float, rate: float, window: float) -> bool:
        """Called now and then: whether the peer reads less than C{rate} bytes a second of what waits for it; see L{Pace}."""
        if not self._unsent:
            self._pace.rest()
            return False
        before, self._unsent = self._unsent, unsent(self._transport)
        taken = max(0, before - self._unsent)
        self._taken += taken
        if taken and taken >= rate:
            # It is slow, but it does read: others are aborted before it.
            self.hold.moves()
            self.hold.stalls(self._give_up)
        self._recount()
        return self._pace.is_slow(now, self._pace, self._taken, rate, window)

    def close(self) -> None:
        """The connection is closed."""
        self.is_closed = True
        self.hold.close()

    def _give_up(self) -> None:
        # At once: the connection is closed a turn later, and no more are to be aborted than have to.
        self.close()
        self._abort()

    def _recount(self) -> None:
        if not self.is_closed:
            size = self.read_ahead + self._kept + self._unsent
            if size != self.hold.held:
                self.hold.count(size - self.hold.held)


# -- the end ---------------------------------------------------------------------------------------

#: Seconds for the rest of a body: a slow sender looks for a response only when it has something to send, and if the
#: connection is closed by then, the response is lost.
LONG = 30.0

#: Seconds for what was no request, and for the rest of a body while the door closes.
BRIEF = 5.0

# Bytes of it that are read and dropped.
_MOST_LINGERING = 1 << 30


class Lingering:
    """
    The end of a connection whose peer is still sending, and has its response already. It is read for a while, up to 1 GiB: a
    connection that is closed while its peer sends is reset, and the peer would not get to read the response.

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
            if self._count > _MOST_LINGERING:
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


# -- where a connection comes from -----------------------------------------------------------------

#: C{struct ucred} of Linux: process, user, group.
_credentials = struct.Struct("3i")


def is_loopback(address: IAddress) -> bool:
    """Whether an end of a connection, an C{IAddress}, is one by which a machine reaches itself; not that of a socket file."""
    return _is_loopback(getattr(address, "host", ""))


@lru_cache(1024)
def _is_loopback(host: str) -> bool:
    try:
        return ip_address(plain_address(host)).is_loopback
    except ValueError:
        return False


def source_of(transport: object) -> str:
    """
    Where a connection comes from, for an audit: the address of its peer; at a socket file C{unix uid=UID pid=PID}, of the process
    that has connected, where the system tells (Linux), else C{unix}; empty if nothing is known.

    @param transport: an C{ITransport}.
    """
    peer = getattr(transport, "getPeer", lambda: None)()
    host = getattr(peer, "host", None)
    if host is not None:
        return str(host)
    if peer is None or not hasattr(peer, "name"):
        return ""
    try:
        data = transport.getHandle().getsockopt(  # type: ignore[attr-defined]
            socket.SOL_SOCKET, socket.SO_PEERCRED, _credentials.size
        )
        pid, uid, _ = _credentials.unpack(data)
    except (AttributeError, OSError, struct.error):
        return UNIX
    return f"{UNIX} uid={uid} pid={pid}"
