"""A listening door: its connections, their bounds and its clock."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import attrs
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.web import server
from twisted.web.http import datetimeToString

from storehouse.config.settings import ConnectionSettings
from storehouse.core.budget import ByteBudget, Shares
from storehouse.core.connections import Connections
from storehouse.core.fast.names import require
from storehouse.core.fast.tcp import unsent
from storehouse.core.peers import NOBODY, TrustedProxies, network_of
from storehouse.errors import ShareUsedUp
from storehouse.frontends.http.channel import DoorChannel
from storehouse.frontends.http.errors import error_reply
from storehouse.frontends.http.forwarded import forwarded_address
from storehouse.frontends.http.guard import Guard
from storehouse.frontends.http.lane import ILane, PlanCache
from storehouse.frontends.http.reply import Reply, encode_reply
from storehouse.frontends.http.shown import shown, shown_name
from storehouse.frontends.http.strict import missing_names

__all__ = ["DoorSite"]

#: Connections that are told at once that they are one too many; others are closed without a word.
_MOST_REFUSALS = 64


class _Refusal(Protocol):
    """Answers a connection that is one too many. With TLS that takes the peer's help, for which it is given a moment."""

    transport: Any

    def __init__(self, site: DoorSite, answer: bytes) -> None:
        self._site = site
        self._answer = answer
        self._late: Any = None

    def connectionMade(self) -> None:
        self._site.refusals.add(self)
        self._late = self._site.reactor.callLater(self._site.limits.head_timeout, self._give_up)
        self.transport.write(self._answer)
        self.transport.loseConnection()

    def connectionLost(self, reason: Any = connectionDone) -> None:
        self._site.refusals.discard(self)
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _give_up(self) -> None:
        self._late = None
        self.transport.abortConnection()


class DoorSite(server.Site):
    """
    The protocol factory of an HTTP door.

    @ivar date: the value of the Date field, renewed every second.
    @ivar refusals: connections that were one too many, and are being told so.
    @ivar fields: header fields of every answer that has none of these names itself, renewed every second. Not for a
        door with a lane, which answers by itself.
    @param lane: the door's fast lane, or C{None}.
    @param access_log: write a log line for every request.
    @param name: the door's name in logs and metrics.
    @param fields: tells the C{fields}.
    @ivar budget: the memory for what requests bring and for what of answers was not read yet; of several doors.
    @ivar trusted: proxies that are believed for whom they make requests.
    @ivar guard: refuses what pages of other sites ask for; C{None} for a door that browsers do not reach.
    @ivar asks: whether the door asks who one is, so that lines of the access log have a user.
    @ivar explain: makes the answer to a request that failed, of the request and the error.
    @ivar end_answers: called when the door is to end: has those answers end that would go on by themselves.
    """

    _log = Logger()
    noisy = False

    def __init__(
        self,
        resource: Any,
        reactor: Any,
        limits: ConnectionSettings,
        lane: ILane | None = None,
        access_log: bool = False,
        name: str = "http",
        fields: Callable[[], tuple[tuple[bytes, bytes], ...]] = tuple,
        budget: ByteBudget | None = None,
        guard: Guard | None = None,
        trusted: TrustedProxies = NOBODY,
    ) -> None:
        require(missing_names())
        server.Site.__init__(self, resource, parsePOSTFormSubmission=False, reactor=reactor)
        self.limits = limits
        self.name = name
        self.budget = budget or ByteBudget(256 << 20, reactor, limits.idle_timeout)
        self._lane = lane
        self._access_log = access_log
        self.explain: Callable[[Any, BaseException], Reply] = lambda request, error: error_reply(error)
        self.end_answers: Callable[[], None] = lambda: None
        self.asks = False
        self.guard = guard
        self._plans = PlanCache(lane) if lane is not None else None
        self._guarded = PlanCache(lane, guard.knows) if lane is not None and guard is not None else None
        self.trusted = trusted
        each = limits.connections_per_address
        self.connections = Connections(name, limits.max_connections, reactor, self._time, self._tick, each)
        # Requests that proxies make, by whom they make them for.
        self._forwarded: Shares[str] = Shares(limits.max_connections, each)
        self._requests: set[Any] = set()
        self.refusals: set[_Refusal] = set()
        self.fields: tuple[tuple[bytes, bytes], ...] = ()
        self._fields = fields
        self.answered = 0
        self.laned = 0
        self.date = b""
        self._tick()

    # -- connections -------------------------------------------------------------------------

    def plans(self, at_loopback: bool) -> PlanCache | None:
        """What the fast lane does with requests, of connections over loopback or of others; C{None} without a lane."""
        return self._guarded if at_loopback and self._guarded is not None else self._plans

    def buildProtocol(self, addr: Any) -> Any:
        """A connection comes in."""
        refused = self.connections.admit(self.address_of(addr))
        if refused is not None:
            if len(self.refusals) >= _MOST_REFUSALS:
                return None
            return _Refusal(self, self.last_answer(refused))
        return DoorChannel(self, self._lane)

    def address_of(self, peer: Any) -> str:
        """The address that a connection is counted for; empty for one of a proxy, and of a socket file."""
        return "" if self.trusted.trusts_peer(peer) else getattr(peer, "host", "")

    def count_forwarded(self, request: Any) -> None:
        """
        Find out for whom a proxy makes a request, if it is one, and count it until it L{ended}.

        @raise ShareUsedUp: if that one has too many.
        """
        if not self.trusted.trusts_peer(request.client):
            return
        found = forwarded_address(request.requestHeaders, self.trusted)
        if found is not None:
            request.address = found
        if not request.address:
            return
        holders = (network_of(request.address),)
        if self._forwarded.refused(holders) is not None:
            raise ShareUsedUp(
                f"{request.address} has as many requests in flight as one address may have (connections-per-address)"
            )
        request.channel.backlog.belongs_to(holders[0])
        self._forwarded.enter(holders)
        request.counted_for = holders

    def last_answer(self, error: Exception) -> bytes:
        """The bytes of the answer to what is not a request, after which the connection is closed."""
        reply = error_reply(error)
        return encode_reply(attrs.evolve(reply, headers=(*reply.headers, *self.fields)), self.date, close=True)

    def began(self, request: Any) -> None:
        """A request of twisted.web's way begins."""
        self._requests.add(request)
        request.began = time.monotonic()

    def ended(self, request: Any) -> None:
        """It is over."""
        if request in self._requests:
            self._requests.discard(request)
            if request.counted_for:
                self._forwarded.leave(request.counted_for)
            self.answered += 1

    @property
    def known_paths(self) -> Mapping[bytes, Any] | None:
        """The resources at the top of the door by their names: only what is below them may be logged."""
        return getattr(self.resource, "children", None)

    def log(self, request: Any) -> None:
        """Called when a request has been answered."""
        if self._access_log:
            self.log_access(
                request.address or "-",
                request.method,
                request.uri,
                request.code,
                request.sentLength,
                time.monotonic() - request.began,
                request.visitor,
            )

    def log_access(
        self, peer: str, method: bytes, uri: bytes, status: int, size: int, seconds: float, visitor: str = ""
    ) -> None:
        """Write a line of the access log."""
        text = "{door}: {peer} {method} {uri} {status} {size} {seconds:.6f}"
        fields = {}
        if self.asks:
            text = "{door}: {peer} {user} {method} {uri} {status} {size} {seconds:.6f}"
            fields["user"] = shown_name(visitor.encode("utf-8", "replace")) or "-"
        self._log.info(
            text,
            door=self.name,
            peer=peer,
            method=shown_name(method),
            uri=shown(uri, self.known_paths),
            status=status,
            size=size,
            seconds=seconds,
            **fields,
        )

    # -- time --------------------------------------------------------------------------------

    def startFactory(self) -> None:
        """Begin to listen."""
        self.connections.start()

    def stopFactory(self) -> None:
        """Listen no more; connections stay."""
        self.connections.no_more()

    def _tick(self) -> None:
        self.fields = self._fields()
        self.date = datetimeToString(self.reactor.seconds() if hasattr(self.reactor, "seconds") else None)

    def _time(self, channel: DoorChannel, now: float) -> None:
        if self._is_slow(channel, now):
            return
        in_head, closing = channel.in_head or channel.shaking, channel.closing
        if channel.active and not (in_head or closing):
            channel.active = False
            channel.watch.reset()
            return
        if not in_head and channel.busy and not channel.stalled:
            channel.watch.reset()
            return
        limit = self.limits.head_timeout if in_head or closing else self.limits.idle_timeout
        if channel.watch.idle(now, unsent(channel.transport)) >= limit:
            self.connections.timed_out += 1
            channel.watch.reset()
            channel.time_out(f"the request was not complete after {limit:g} seconds")

    def _is_slow(self, channel: DoorChannel, now: float) -> bool:
        """Refuse a body that comes too slowly; give up an answer that is taken too slowly."""
        limits = self.limits
        awaited = channel.body_awaited()
        if awaited is None:
            channel.pace.rest()
        else:
            body, came, is_small = awaited
            slow = channel.pace.is_slow(now, body, came, limits.min_body_rate, limits.slow_after)
            late = is_small and channel.pace.spent >= limits.head_timeout
            if slow or late:
                self.connections.timed_out += 1
                least = f"at least {limits.min_body_rate:g} bytes a second are to come (min-body-rate)"
                soon = f"the body was not complete after {limits.head_timeout:g} seconds (head-timeout)"
                channel.refuse_slow(f"the body comes too slowly: {least}" if slow else soon)
                return True
        if channel.backlog.is_slow(now, limits.min_body_rate, max(limits.idle_timeout, limits.slow_after)):
            self.connections.timed_out += 1
            channel.abort()
            return True
        return False

    # -- the end -----------------------------------------------------------------------------

    def drain(self, timeout: float) -> Deferred[None]:
        """
        Close all connections, those with a request in flight once it is answered.

        @return: fires when none is left; after C{timeout} seconds the rest are broken off.
        """
        self.end_answers()
        return self.connections.drain(timeout)

    # -- metrics -----------------------------------------------------------------------------

    def collect(self) -> Iterable[Metric]:
        """Metric families, for a C{prometheus_client} registry."""
        name = f"storehouse_{self.name}_http"
        yield from self.connections.collect(name)
        yield GaugeMetricFamily(
            f"{name}_requests_in_flight",
            "Requests being received or answered, without the fast lane's.",
            value=len(self._requests),
        )
        requests = CounterMetricFamily(f"{name}_requests", "Requests answered.", labels=["lane"])
        requests.add_metric(["fast"], self.laned)
        requests.add_metric(["resource"], self.answered)
        yield requests
