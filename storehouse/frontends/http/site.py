"""A listening door: its connections, their bounds and its clock."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

import attrs
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol
from twisted.logger import Logger
from twisted.web import server
from twisted.web.http import datetimeToString

from storehouse.core.connections import Connections
from storehouse.errors import TooManyConnections
from storehouse.frontends.http.channel import DoorChannel
from storehouse.frontends.http.errors import error_reply
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
        self.connections = Connections(name, limits.max_connections, reactor, self._time, self._set_date)
        self._requests: set[Any] = set()
        self.answered = 0
        self.laned = 0
        self.date = b""
        self._set_date()

    # -- connections -------------------------------------------------------------------------

    def buildProtocol(self, addr: Any) -> Any:
        """A connection comes in."""
        refused = self.connections.admit()
        if refused:
            return _Refusal(encode_reply(error_reply(TooManyConnections(refused)), self.date, close=True))
        return DoorChannel(self, self._lane, self._plans)

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
        self.connections.start()

    def stopFactory(self) -> None:
        """Listen no more; connections stay."""
        self.connections.no_more()

    def _set_date(self) -> None:
        self.date = datetimeToString(self.reactor.seconds() if hasattr(self.reactor, "seconds") else None)

    def _time(self, channel: DoorChannel, now: float) -> None:
        in_head = channel.in_head
        if channel.active and not in_head:
            channel.active = False
            channel.watch.reset()
            return
        if not in_head and channel.busy and not channel.stalled:
            channel.watch.reset()
            return
        limit = self.limits.head_timeout if in_head else self.limits.idle_timeout
        if channel.watch.idle(now, channel.written()) >= limit:
            self.connections.timed_out += 1
            channel.watch.reset()
            channel.time_out(f"the request was not complete after {limit:g} seconds")

    # -- the end -----------------------------------------------------------------------------

    def drain(self, timeout: float) -> Deferred[None]:
        """
        Close all connections, those with a request in flight once it is answered.

        @return: fires when none is left; after C{timeout} seconds the rest are broken off.
        """
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
