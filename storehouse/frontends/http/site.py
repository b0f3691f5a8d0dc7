"""
A listening door: its connections, their bounds and its clock; and how it protects itself against browsers.

A door that asks nobody who they are, or that only this machine reaches, must not serve somebody else's page. Two ways are shut. A
page may send a request to another site (CSRF); browsers say so in C{Sec-Fetch-Site} and C{Origin} (Fetch standard, section 3.2;
Fetch Metadata, section 2.3), which pages cannot write themselves. And the name of a page's own site may be made to point at this
machine (DNS rebinding); then the C{Host} field has a foreign name.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from ipaddress import ip_address
from typing import Any

import attrs
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IProtocol, IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web import server
from twisted.web.http import datetimeToString
from twisted.web.resource import IResource

from storehouse.config.settings import ConnectionSettings
from storehouse.core.budget import ByteBudget, Shares, network_of
from storehouse.core.connections import Connections
from storehouse.core.fast.names import require
from storehouse.core.fast.transports import unsent
from storehouse.core.proxies import TrustedProxies
from storehouse.core.tls.contexts import own_names
from storehouse.errors import ForgedRequest, ShareUsedUp
from storehouse.frontends.http.channel import DoorChannel, missing_names
from storehouse.frontends.http.forwarded import forwarded_address, forwarded_is_secure
from storehouse.frontends.http.lane import ILane, PlanCache
from storehouse.frontends.http.reply import Misdirected, Reply, encode_reply, error_reply
from storehouse.frontends.http.request import DoorRequest, StreamingRequest, host_name, is_browser
from storehouse.frontends.http.shown import shown, shown_name

__all__ = ["DoorSite", "Guard", "refuse_browsers", "refuse_other_sites", "security_fields"]


# -- browsers --------------------------------------------------------------------------------------

#: Methods that change nothing (RFC 9110, section 9.2.1).
_SAFE = frozenset({b"GET", b"HEAD", b"OPTIONS", b"TRACE"})


@attrs.frozen
class Guard:
    """
    Refuses what other sites' pages have browsers ask for.

    @ivar hosts: names of hosts, in lower case, by which the door is reached, beside IP addresses, C{localhost} and the names
        of its certificate; C{*.NAME} is all names below one.
    @ivar checks_origins: whether requests that change something are refused if a page of another site makes them. Not
        for a door that looks at who makes a request.
    """

    hosts: frozenset[str] = frozenset()
    checks_origins: bool = True

    def knows(self, host: bytes) -> bool:
        """Whether a host may be named on loopback, whatever the certificate."""
        name = host.decode("latin-1")
        if not name or name == "localhost" or name.endswith(".localhost") or _is_address(name):
            return True
        return _is_among(name, self.hosts)

    def check(self, request: StreamingRequest) -> None:
        """
        Look at the head of a request.

        @raise Misdirected: if it came over loopback for a host that is not this one.
        @raise ForgedRequest: if a page of another site has it made, and it would change something.
        """
        channel = request.channel
        if channel.at_loopback:
            host = host_name(_last(request, b"Host"))
            if host and not self.knows(host) and not _is_among(host.decode("latin-1"), own_names(channel.transport)):
                raise Misdirected(
                    f"the host {host[:200].decode('latin-1')} is not a name of this server: use localhost or its "
                    "address, or start it with --allowed-host if the name is right, such as that of a proxy"
                )
        if self.checks_origins and request.method not in _SAFE:
            refuse_other_sites(request)


def refuse_other_sites(request: StreamingRequest) -> None:
    """@raise ForgedRequest: if a page of another site has the browser make the request."""
    headers = request.requestHeaders
    sites = {value.lower() for value in headers.getRawHeaders(b"Sec-Fetch-Site", [])}
    if sites and sites <= {b"same-origin", b"none"}:
        return
    ours = {scheme + _last(request, b"Host").lower() for scheme in (b"http://", b"https://")}
    origins = {value.lower() for value in headers.getRawHeaders(b"Origin", [])}
    if sites - {b"same-site"} or not origins <= ours or (sites and not origins):
        raise ForgedRequest("a page of another site made this request: nothing was changed")


def refuse_browsers(request: StreamingRequest) -> None:
    """
    For requests that change something although they are a C{GET}, as programs from before make them: any page can have a
    browser make one.

    @raise ForgedRequest: if a browser does.
    """
    if request.method in _SAFE and is_browser(request):
        raise ForgedRequest("browsers cannot change anything by GET, since any page can send one: use POST")


def _last(request: StreamingRequest, name: bytes) -> bytes:
    return (request.requestHeaders.getRawHeaders(name) or [b""])[-1]


def _is_among(name: str, known: frozenset[str]) -> bool:
    return name in known or any(each.startswith("*.") and name.endswith(each[1:]) for each in known)


@lru_cache(1024)
def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


#: For answers that say nothing else: what is served is shown by itself, to who asked, and does nothing.
_SECURITY = (
    (b"X-Content-Type-Options", b"nosniff"),
    (b"X-Frame-Options", b"DENY"),
    (b"Referrer-Policy", b"no-referrer"),
    (b"Cross-Origin-Opener-Policy", b"same-origin"),
    (b"Cross-Origin-Resource-Policy", b"same-origin"),
    (b"Permissions-Policy", b"camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
    # The last two are not part of default-src.
    (
        b"Content-Security-Policy",
        b"default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    ),
    (b"Cache-Control", b"no-store"),
)

#: Seconds for which a browser uses nothing but TLS with this host (RFC 6797).
_HTTPS_ONLY = b"max-age=31536000"


def security_fields(https_only: bool = False) -> tuple[tuple[bytes, bytes], ...]:
    """
    The header fields of every answer of a door for browsers, unless the answer has one of that name itself.

    @param https_only: tell browsers to use nothing but TLS with this host from now on. Only for a certificate that they
        trust by themselves: they would not let people continue with any other.
    """
    return (*_SECURITY, (b"Strict-Transport-Security", _HTTPS_ONLY)) if https_only else _SECURITY


# -- the door --------------------------------------------------------------------------------------

#: Connections over the limit that get a response at a time; others are closed without one.
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

    def connectionLost(self, reason: Failure = connectionDone) -> None:
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
    @ivar trusted: proxies that are believed for whom they make requests; C{None} for none.
    @ivar guard: refuses what pages of other sites ask for; C{None} for a door that browsers do not reach.
    @ivar asks: whether the door asks who one is, so that lines of the access log have a user.
    @ivar begin: called with each request when it begins, before anything of it is looked at.
    @ivar explain: makes the answer to a request that failed, of the request and the error.
    @ivar explain_refusal: makes that to what is not a request, or to a connection that is one too many.
    @ivar end_answers: called when the door closes: ends responses that would never end by themselves.
    """

    _log = Logger()
    noisy = False

    def __init__(
        self,
        resource: IResource,
        reactor: IReactorTime,
        limits: ConnectionSettings,
        lane: ILane | None = None,
        access_log: bool = False,
        name: str = "http",
        fields: Callable[[], tuple[tuple[bytes, bytes], ...]] = tuple,
        budget: ByteBudget | None = None,
        guard: Guard | None = None,
        trusted: TrustedProxies | None = None,
    ) -> None:
        require(missing_names())
        server.Site.__init__(self, resource, parsePOSTFormSubmission=False, reactor=reactor)
        self.limits = limits
        self.name = name
        self.budget = budget or ByteBudget(256 << 20, reactor, limits.idle_timeout)
        self._lane = lane
        self._access_log = access_log
        self.begin: Callable[[DoorRequest], object] = lambda request: None
        self.explain_refusal: Callable[[BaseException], Reply] = error_reply
        self.explain: Callable[[DoorRequest, BaseException], Reply] = lambda request, error: error_reply(error)
        self.end_answers: Callable[[], None] = lambda: None
        self.asks = False
        self.guard = guard
        self._plans = PlanCache(lane) if lane is not None else None
        self._guarded = PlanCache(lane, guard.knows) if lane is not None and guard is not None else None
        self.trusted = trusted or None
        each = limits.connections_per_address
        self.connections = Connections(name, limits.max_connections, reactor, self._time, self._tick, each)
        # Requests that proxies make, by whom they make them for.
        self._forwarded: Shares[str] = Shares(limits.max_connections, each)
        self._requests: set[DoorRequest] = set()
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

    def buildProtocol(self, addr: IAddress | None) -> IProtocol | None:  # type: ignore[override]
        """A connection comes in."""
        refused = self.connections.admit(self.address_of(addr))
        if refused is not None:
            if len(self.refusals) >= _MOST_REFUSALS:
                return None
            return _Refusal(self, self.last_answer(refused))
        return DoorChannel(self, self._lane)

    def address_of(self, peer: IAddress | None) -> str:
        """The address that a connection is counted for; empty for one of a proxy, and of a socket file."""
        return "" if self.trusted is not None and self.trusted.trusts_peer(peer) else getattr(peer, "host", "")

    def count_forwarded(self, request: DoorRequest) -> None:
        """
        Find out for whom a proxy makes a request, if it is one, and whether that one speaks TLS; count it until it L{ended}.

        @raise ShareUsedUp: if that one has too many.
        """
        if self.trusted is None or not self.trusted.trusts_peer(request.client):
            return
        found = forwarded_address(request.requestHeaders, self.trusted)
        if found is not None:
            request.address = found
        is_secure = forwarded_is_secure(request.requestHeaders, self.trusted)
        if is_secure is not None:
            request.is_secure = is_secure
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
        reply = self.explain_refusal(error)
        return encode_reply(attrs.evolve(reply, headers=(*reply.headers, *self.fields)), self.date, close=True)

    def began(self, request: DoorRequest) -> None:
        """A request begins that is not answered from its bytes alone."""
        self._requests.add(request)
        request.began = time.monotonic()
        self.begin(request)

    def ended(self, request: DoorRequest, is_laned: bool = False) -> None:
        """
        It is over.

        @param is_laned: whether it came by the lane, where it is counted already.
        """
        if request in self._requests:
            self._requests.discard(request)
            if request.counted_for:
                self._forwarded.leave(request.counted_for)
            self.answered += not is_laned

    @property
    def known_paths(self) -> Mapping[bytes, object] | None:
        """
        The resources at the top of the door by their names: only what is below them may be logged. C{None} if one resource is
        all paths.
        """
        if getattr(self.resource, "isLeaf", False):
            return None
        return getattr(self.resource, "children", None)

    def log(self, request: DoorRequest) -> None:  # type: ignore[override]
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
                request.request_id,
            )

    def log_access(
        self,
        peer: str,
        method: bytes,
        uri: bytes,
        status: int,
        size: int,
        seconds: float,
        visitor: str = "",
        request_id: str = "",
    ) -> None:
        """Write a line of the access log."""
        text = "{door}: {peer} {method} {uri} {status} {size} {seconds:.6f}"
        fields = {}
        if self.asks:
            text = "{door}: {peer} {user} {method} {uri} {status} {size} {seconds:.6f}"
            fields["user"] = shown_name(visitor.encode("utf-8", "replace")) or "-"
        if request_id:
            text += " {request_id}"
            fields["request_id"] = request_id
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
                least = f"at least {limits.min_body_rate:g} bytes a second must arrive (min-body-rate)"
                soon = f"the body was not complete after {limits.head_timeout:g} seconds (head-timeout)"
                channel.refuse_slow(f"the body arrives too slowly: {least}" if slow else soon)
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

        @return: fires when none is left; after C{timeout} seconds the rest are aborted.
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
            "Requests in progress, without those that the append log's fast lane takes.",
            value=len(self._requests),
        )
        requests = CounterMetricFamily(f"{name}_requests", "Requests answered.", labels=["lane"])
        requests.add_metric(["fast"], self.laned)
        requests.add_metric(["resource"], self.answered)
        yield requests
