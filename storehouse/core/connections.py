"""The connections of one listening door: how many, for how long, and their end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from storehouse.core.fast.names import require
from storehouse.core.fast.tcp import missing_names
from storehouse.core.peers import network_of
from storehouse.core.shares import Shares
from storehouse.errors import Overloaded, ShareUsedUp, TooManyConnections

__all__ = ["Connections", "IdleWatch", "Pace"]


class _Connection(Protocol):
    """What is asked of each."""

    def finish_soon(self) -> None:
        """Close once what is being answered is out."""

    def abort(self) -> None:
        """Break off."""


class Connections:
    """
    Counts them, looks at each once a second, and closes them in the end.

    @param name: the door's name in logs.
    @param most: how many may be open at a time.
    @param each: how many of them one address may have; 0 for no bound but that others get in, too.
    @param look: called with each connection and the time, every second.
    @param tick: called before that.
    @ivar accepted: how many there were.
    @ivar refused: how many were one too many.
    @ivar timed_out: how many were closed because their peer took too long.
    """

    _log = Logger()

    def __init__(
        self,
        name: str,
        most: int,
        reactor: Any,
        look: Callable[[Any, float], None],
        tick: Callable[[], None] = lambda: None,
        each: int = 0,
    ) -> None:
        # What their peers do not take could not be counted.
        require(missing_names())
        self.accepted = 0
        self.refused = 0
        self.timed_out = 0
        self._name = name
        self._shares: Shares[str] = Shares(most, each)
        self._reactor = reactor
        self._look = look
        self._before = tick
        # With the holders of their places.
        self._open: dict[Any, tuple[str, ...]] = {}
        self._empty: Deferred[None] | None = None
        self._clock = LoopingCall(self._tick)
        self._clock.clock = reactor

    def __len__(self) -> int:
        return len(self._open)

    def __iter__(self) -> Iterator[Any]:
        return iter(list(self._open))

    def admit(self, address: str = "") -> Overloaded | None:
        """
        Count one that comes in.

        @param address: of its peer; empty for one that has none, or is made for many, as those of proxies are.
        @return: why it cannot; C{None} if it can.
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

    def joined(self, connection: _Connection, address: str = "") -> None:
        """One is open."""
        holders = self._open[connection] = (network_of(address),) if address else ()
        self._shares.enter(holders)

    def left(self, connection: _Connection) -> None:
        """One is closed."""
        holders = self._open.pop(connection, None)
        if holders is not None:
            self._shares.leave(holders)
        if self._empty is not None and not self._open:
            empty, self._empty = self._empty, None
            empty.callback(None)

    def start(self) -> None:
        """Begin to look at them."""
        if not self._clock.running:
            self._clock.start(1.0, now=False)

    def no_more(self) -> None:
        """Nobody listens any more."""
        if not self._open:
            self.stop()

    def stop(self) -> None:
        """Look no more."""
        if self._clock.running:
            self._clock.stop()

    def _tick(self) -> None:
        self._before()
        now = self._reactor.seconds()
        for connection in self:
            self._look(connection, now)

    def drain(self, timeout: float) -> Deferred[None]:
        """
        Close all, those with a request in flight once it is answered.

        @return: fires when none is left; after C{timeout} seconds the rest are broken off.
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
            "{door}: {count} connections did not finish in time and are broken off",
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
    """Tells for how long a connection's peer has done nothing: neither sent, nor taken what waits to be written."""

    def __init__(self) -> None:
        self._since: float | None = None
        self._progress: object = None

    def reset(self) -> None:
        """It did something, or it is not its turn."""
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
    Whether a peer keeps up a least rate while it is its turn, to send a body or to take an answer.

    It begins with the seconds that it may be silent. Each second of its turn costs one, and each so many bytes earn one;
    there are never more than at the beginning. Time in which others have it wait does not count.

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

        @param what: the body or the answer; another one begins anew.
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
