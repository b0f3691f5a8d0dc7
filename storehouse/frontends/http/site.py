"""A listening door: its connections, their bounds and its clock."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

import attrs
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.web import server
from twisted.web.http import datetimeToString

from storehouse.frontends.http.channel import DoorChannel
from storehouse.frontends.http.errors import TooManyConnections, error_reply
from storehouse.frontends.http.lane import ILane, PlanCache
from storehouse.frontends.http.reply import encode_reply

__all__ = ["DoorSite", "Limits"]


@attrs.frozen
class Limits:
    """
    What a door's connections may take.

    @ivar max_connections: open at a time; one more is answered 503 and closed.
    @ivar idle_timeout: seconds without a byte, between requests, within a body, or of an answer that is not
        read.
    @ivar head_timeout: seconds from the first to the last byte of a request's head.
    """

    max_connections: int = 4096
    idle_timeout: float = 60.0
    head_timeout: float = 20.0


class _Refusal(Protocol):
    """Answers a connection that is one too many."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(self._answer)
        self.transport.loseConnection()


class DoorSite(server.Site):
    """
    The protocol factory of an HTTP door.

    @ivar date: the value of the Date field, renewed every second.
    @param lane: the door's fast lane, or C{None}.
    @param access_log: write a log line for every request.
    @param name: the door's name in logs and metrics.
    """

    _log = Logger()
    noisy = False

    def __init__(
        self,
        resource: Any,
        reactor: Any,
        limits: Limits,
        lane: ILane | None = None,
        access_log: bool = False,
        name: str = "http",
    ) -> None:
        server.Site.__init__(self, resource, parsePOSTFormSubmission=False, reactor=reactor)
        self.limits = limits
        self.name = name
        self._lane = lane
        self._access_log = access_log
        self._plans = PlanCache(lane) if lane is not None else None
        self._channels: set[DoorChannel] = set()
        self._requests: set[Any] = set()
        self._clock = LoopingCall(self._tick)
        self._clock.clock = reactor
        self._empty: Deferred[None] | None = None
        self.accepted = 0
        self.refused = 0
        self.timed_out = 0
        self.answered = 0
        self.laned = 0
        self.date = b""
        self._set_date()

    # -- connections -------------------------------------------------------------------------

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._channels)

    def buildProtocol(self, addr: Any) -> Any:
        """A connection comes in."""
        if len(self._channels) >= self.limits.max_connections:
            self.refused += 1
            error = TooManyConnections(
                f"{len(self._channels)} connections are open, as many as are allowed (--max-connections)"
            )
            return _Refusal(encode_reply(error_reply(error), self.date, close=True))
        self.accepted += 1
        return DoorChannel(self, self._lane, self._plans)

    def joined(self, channel: DoorChannel) -> None:
        """A connection is open."""
        self._channels.add(channel)

    def left(self, channel: DoorChannel) -> None:
        """A connection is closed."""
        self._channels.discard(channel)
        if self._empty is not None and not self._channels:
            empty, self._empty = self._empty, None
            empty.callback(None)

    def began(self, request: Any) -> None:
        """A request of twisted.web's way begins."""
        self._requests.add(request)
        request.began = time.monotonic()

    def ended(self, request: Any) -> None:
        """It is over."""
        if request in self._requests:
            self._requests.discard(request)
            self.answered += 1

    def log(self, request: Any) -> None:
        """Called when a request has been answered."""
        if self._access_log:
            # A socket file has no host.
            self.log_access(
                getattr(request.client, "host", "-"),
                request.method,
                request.uri,
                request.code,
                request.sentLength,
                time.monotonic() - request.began,
            )

    def log_access(self, peer: str, method: bytes, uri: bytes, status: int, size: int, seconds: float) -> None:
        """Write a line of the access log."""
        self._log.info(
            "{door}: {peer} {method} {uri} {status} {size} {seconds:.6f}",
            door=self.name,
            peer=peer,
            method=method.decode("ascii", "replace"),
            uri=uri.decode("ascii", "replace"),
            status=status,
            size=size,
            seconds=seconds,
        )

    # -- time --------------------------------------------------------------------------------

    def startFactory(self) -> None:
        """Begin to listen."""
        if not self._clock.running:
            self._clock.start(1.0, now=False)

    def stopFactory(self) -> None:
        """Listen no more; connections stay."""

    def _set_date(self) -> None:
        self.date = datetimeToString(self.reactor.seconds() if hasattr(self.reactor, "seconds") else None)

    def _tick(self) -> None:
        self._set_date()
        now = self.reactor.seconds()
        for channel in list(self._channels):
            self._time(channel, now)

    def _time(self, channel: DoorChannel, now: float) -> None:
        in_head = channel.in_head
        if channel.active and not in_head:
            channel.active = False
            channel.since = None
            return
        if not in_head and channel.busy and not channel.stalled:
            channel.since = None
            return
        progress = channel.written()
        if channel.since is None or progress != channel.progress:
            channel.since, channel.progress = now, progress
            return
        limit = self.limits.head_timeout if in_head else self.limits.idle_timeout
        if now - channel.since >= limit:
            self.timed_out += 1
            channel.since = None
            channel.time_out(f"the request was not complete after {limit:g} seconds")

    # -- the end -----------------------------------------------------------------------------

    def drain(self, timeout: float) -> Deferred[None]:
        """
        Close all connections, those with a request in flight once it is answered.

        @return: fires when none is left; after C{timeout} seconds the rest are broken off.
        """
        done: Deferred[None] = Deferred()
        if not self._channels:
            self._stop_clock()
            done.callback(None)
            return done
        self._empty = done
        for channel in list(self._channels):
            channel.finish_soon()
        late = self.reactor.callLater(timeout, self._break_off)

        def finished(result: None) -> None:
            if late.active():
                late.cancel()
            self._stop_clock()

        done.addCallback(finished)
        return done

    def _break_off(self) -> None:
        self._log.warn(
            "{door}: {count} connections did not finish in time and are broken off",
            door=self.name,
            count=len(self._channels),
        )
        for channel in list(self._channels):
            channel.abort()

    def _stop_clock(self) -> None:
        if self._clock.running:
            self._clock.stop()

    # -- metrics -----------------------------------------------------------------------------

    def collect(self) -> Iterable[Metric]:
        """Metric families, for a C{prometheus_client} registry."""
        name = f"storehouse_{self.name}_http"
        yield GaugeMetricFamily(f"{name}_connections", "Connections open.", value=self.connections)
        yield GaugeMetricFamily(
            f"{name}_requests_in_flight",
            "Requests being received or answered, without the fast lane's.",
            value=len(self._requests),
        )
        yield CounterMetricFamily(f"{name}_connections_accepted", "Connections accepted.", value=self.accepted)
        yield CounterMetricFamily(
            f"{name}_connections_refused", "Connections refused because too many were open.", value=self.refused
        )
        yield CounterMetricFamily(
            f"{name}_timeouts", "Connections closed because their peer took too long.", value=self.timed_out
        )
        requests = CounterMetricFamily(f"{name}_requests", "Requests answered.", labels=["lane"])
        requests.add_metric(["fast"], self.laned)
        requests.add_metric(["resource"], self.answered)
        yield requests
