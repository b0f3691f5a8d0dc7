"""The SFSP door: its connections, their bounds, and what is counted."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote_from_bytes

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.internet.protocol import Factory
from twisted.logger import Logger

from storehouse.config.settings import ConnectionSettings, SFSPSettings
from storehouse.core.budget import ByteBudget, network_of
from storehouse.core.connections import Backlog, Connections
from storehouse.core.fast.transports import unsent
from storehouse.core.proxies import TrustedProxies
from storehouse.core.sfsp import List, Receive, Send
from storehouse.core.sockets import has_left
from storehouse.frontends.sfsp.answers import Answer
from storehouse.frontends.sfsp.chunks import Chunks
from storehouse.frontends.sfsp.protocol import SFSPConnection

__all__ = ["SFSPFactory"]

_NAMES = {Send: "send", Receive: "receive", List: "list", type(None): "invalid"}

# Connections over the limit that get a response at a time; more are closed without one.
_MOST_REFUSING = 64


class SFSPFactory(Factory):
    """
    The protocol factory of the SFSP door.

    @param chunks: where chunks are kept.
    @param memory: bytes of chunks that were received whole and are being stored, on all connections together.
    @param access_log: write a log line for every request.
    @param trusted: proxies, whose connections are made for many.
    @param budget: the memory for answers that are not read; of several doors.
    @ivar bytes_in: bytes that came, of all that is sent.
    @ivar bytes_out: bytes that were written.
    @ivar broken: responses that were interrupted.
    """

    _log = Logger()
    noisy = False

    def __init__(
        self,
        chunks: Chunks,
        reactor: IReactorTime,
        settings: SFSPSettings,
        limits: ConnectionSettings,
        memory: int = 64 << 20,
        access_log: bool = False,
        name: str = "sfsp",
        budget: ByteBudget | None = None,
        trusted: TrustedProxies | None = None,
    ) -> None:
        self.chunks = chunks
        self.reactor = reactor
        self.settings = settings
        self.limits = limits
        self.name = name
        self.budget = budget or ByteBudget(256 << 20, reactor, limits.idle_timeout)
        self.trusted = trusted or None
        self.connections = Connections(
            name, limits.max_connections, reactor, self._time, each=limits.connections_per_address
        )
        self.bytes_in = 0
        self.bytes_out = 0
        self.broken = 0
        self._access_log = access_log
        self._refusing: set[Any] = set()
        self._requests: Counter[tuple[str, str]] = Counter()
        self._memory = memory
        self._in_flight = 0
        self._waiting: deque[SFSPConnection] = deque()

    @staticmethod
    def now() -> float:
        """Seconds of the clock that requests are timed with."""
        return time.monotonic()

    # -- connections ---------------------------------------------------------------------------

    def startFactory(self) -> None:
        """Begin to listen."""
        self.connections.start()

    def stopFactory(self) -> None:
        """Listen no more; connections stay."""
        self.connections.no_more()

    def buildProtocol(self, addr: IAddress | None) -> SFSPConnection | None:
        """A connection comes in."""
        refused = self.connections.admit(self._address_of(addr))
        if refused is None:
            return SFSPConnection(self)
        if len(self._refusing) >= _MOST_REFUSING:
            return None
        connection = SFSPConnection(self, refused)
        self._refusing.add(connection)
        return connection

    def backlog_of(self, connection: SFSPConnection) -> Backlog:
        """What counts the answers that its peer does not take."""
        transport = connection.transport
        holder = network_of(self._address_of(transport.getPeer()))
        return Backlog(self.budget, holder or None, transport, connection.abort, lambda: has_left(transport, 0))

    def _address_of(self, peer: IAddress | None) -> str:
        """The address that a connection is counted for; empty for one of a proxy, and of a socket file."""
        return "" if self.trusted is not None and self.trusted.trusts_peer(peer) else getattr(peer, "host", "")

    def joined(self, connection: SFSPConnection) -> None:
        """A connection is open."""
        if connection not in self._refusing:
            self.connections.joined(connection, self._address_of(connection.transport.getPeer()))

    def left(self, connection: SFSPConnection) -> None:
        """A connection is closed."""
        self._refusing.discard(connection)
        self.connections.left(connection)

    def _time(self, connection: SFSPConnection, now: float) -> None:
        awaited, limits = connection.awaited, self.limits
        if awaited is None:
            connection.pace.rest()
        elif connection.pace.is_slow(now, *awaited, limits.min_body_rate, limits.slow_after):
            self.connections.timed_out += 1
            connection.time_out(f"at least {limits.min_body_rate:g} bytes a second must arrive (min-body-rate)")
            return
        slow = connection.backlog.is_slow(now, limits.min_body_rate, max(limits.idle_timeout, limits.slow_after))
        if slow:
            self.connections.timed_out += 1
            connection.abort()
        elif connection.active or not connection.waits_for_peer:
            connection.active = False
            connection.watch.reset()
        elif connection.watch.idle(now, unsent(connection.transport)) >= self.limits.idle_timeout:
            self.connections.timed_out += 1
            connection.watch.reset()
            connection.time_out(f"nothing arrived for {limits.idle_timeout:g} seconds (idle-timeout)")

    def drain(self, timeout: float) -> Deferred[None]:
        """See L{Connections.drain}."""
        for connection in list(self._refusing):
            connection.abort()
        return self.connections.drain(timeout)

    # -- memory --------------------------------------------------------------------------------

    def took(self, connection: SFSPConnection, size: int) -> None:
        """A chunk has come whole, and has so many bytes in memory: where there are too many, its connection waits."""
        self._in_flight += size
        if self._in_flight > self._memory:
            connection.hold("room")
            self._waiting.append(connection)

    def stored(self, size: int) -> None:
        """They are not in memory any more."""
        self._in_flight -= size
        while self._waiting and self._in_flight <= self._memory:
            self._waiting.popleft().release("room")

    # -- metrics --------------------------------------------------------------------------

    def answered(self, peer: str, answer: Answer) -> None:
        """A request was answered."""
        assert answer.code is not None
        kind = _NAMES[type(answer.request)]
        self._requests[kind, answer.code.name] += 1
        if self._access_log:
            request = answer.request
            self._log.info(
                "{door}: {peer} {kind} {name} {id} {code} {size} {seconds:.6f}",
                door=self.name,
                peer=peer,
                kind=kind,
                name="-" if request is None else quote_from_bytes(request.name, safe=""),
                id=getattr(request, "id", "-"),
                code=answer.code.name,
                size=answer.size,
                seconds=self.now() - answer.began,
            )

    def collect(self) -> Iterable[Metric]:
        """Metric families, for a C{prometheus_client} registry."""
        name = f"storehouse_{self.name}"
        yield from self.connections.collect(name)
        yield GaugeMetricFamily(
            f"{name}_requests_in_flight",
            "Requests without a response yet.",
            value=sum(connection.unfinished for connection in self.connections),
        )
        yield GaugeMetricFamily(
            f"{name}_held_bytes", "Bytes of whole chunks that are being stored.", value=self._in_flight
        )
        requests = CounterMetricFamily(f"{name}_requests", "Requests answered.", labels=["request", "code"])
        for (kind, code), count in sorted(self._requests.items()):
            requests.add_metric([kind, code], count)
        yield requests
        yield CounterMetricFamily(f"{name}_received_bytes", "Bytes that clients sent.", value=self.bytes_in)
        yield CounterMetricFamily(f"{name}_sent_bytes", "Bytes that were written to clients.", value=self.bytes_out)
        yield CounterMetricFamily(
            f"{name}_broken_answers",
            "Connections closed within a response, because the chunk could not be read to its end.",
            value=self.broken,
        )
