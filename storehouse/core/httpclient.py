"""
Requests to other servers: with time limits, repeated where that may help, and with errors that name the server.

A request that can be repeated without harm is, also when the server may have done already what it asks for. Another one is
repeated only where that cannot be: nothing of it was sent, or the server says that it has done nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from functools import partial
from http.cookiejar import DefaultCookiePolicy
from random import Random
from typing import Any, cast
from urllib.parse import urlsplit

import attrs
from hyperlink import EncodedURL
from OpenSSL.crypto import FILETYPE_PEM, load_certificate
from treq.client import HTTPClient
from treq.cookies import IndexableCookieJar
from twisted.internet import ssl as twisted_ssl
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectError, ConnectingCancelledError, ConnectionLost, DNSLookupError
from twisted.internet.interfaces import IConsumer, IDelayedCall, IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.python.components import proxyForInterface
from twisted.python.failure import Failure
from twisted.web.client import (
    Agent,
    BrowserLikePolicyForHTTPS,
    HTTPConnectionPool,
    RequestGenerationFailed,
    RequestTransmissionFailed,
    ResponseDone,
    ResponseFailed,
    ResponseNeverReceived,
)
from twisted.web.http_headers import Headers
from twisted.web.iweb import UNKNOWN_LENGTH, IAgent, IBodyProducer, IResponse
from zope.interface import implementer

from storehouse.core.streams import BytesStream, IByteStream, Piece, PushedStream, read_all
from storehouse.core.turns import Reactor
from storehouse.errors import InvalidSetting, RemoteUnavailable, TooLarge

__all__ = ["Body", "RemoteClient", "Response", "range_header"]

#: Bytes of a response that are kept in memory: a page of a listing fits.
_MAX_RESPONSE = 8 << 20

#: Statuses that are worth another try, beside 5xx.
_TRY_AGAIN = frozenset({408, 425, 429})

#: Those that say that nothing was done.
_NOTHING_DONE = frozenset({408, 425, 429, 503})

#: 5xx that are not: the server will not have learned it by the next try, nor have more room.
_TO_NO_AVAIL = frozenset({501, 505, 507})

#: Seconds that a server may ask for before the next try, at most.
_LONGEST_PAUSE = 30.0

#: Seconds that a connection is kept without a request, and how many are to one server. Servers close theirs, some after
#: five seconds: a request that is on its way then is lost.
_KEPT, _KEPT_CONNECTIONS = 4, 8

_END_OF_CERTIFICATE = "-----END CERTIFICATE-----"


@attrs.frozen
class Response:
    """
    The response of a server.

    @ivar body: empty for one that is read as a stream.
    @ivar length: bytes of the one that is read as a stream; C{None} if only its framing tells where it ends.
    """

    status: int
    headers: Headers
    body: bytes = b""
    length: int | None = None

    def header(self, name: str) -> str:
        """The value of a header field, the last one if there are several; empty if there is none."""
        values = self.headers.getRawHeaders(name.encode("ascii")) or [b""]
        return values[-1].decode("utf-8", "replace")


@attrs.frozen
class Body:
    """
    The body of a request, which is sent as it is read.

    @ivar length: bytes that it has.
    @ivar open: gives it, anew for each try.
    @ivar is_once: whether it can be opened only once: then a request whose body was opened is not repeated.
    """

    length: int
    open: Callable[[], IByteStream]
    is_once: bool = False


class _Unreached(RemoteUnavailable):
    """Nothing was sent."""


def range_header(offset: int, length: int | None) -> dict[str, str]:
    """The header field that requests a range, which must not be empty; none for the whole."""
    if not offset and length is None:
        return {}
    return {"range": f"bytes={offset}-" + ("" if length is None else str(offset + length - 1))}


class RemoteClient:
    """
    Sends requests to one server, or to several that belong together. Times are in seconds.

    @param reactor: for connections and time.
    @param random: makes the pauses between tries uneven, so that many clients do not come back all at once.
    @param timeout: how long a server may make no progress.
    @param tries: how often a single request is sent, at most.
    @param pause: before the second try; doubled before each further one, unless the server says how long.
    @param ca_file: certificate authorities to trust, in PEM; empty for those of the system.
    @param explain: the error for a response that was worth another try when there is none left; C{None} for
        C{RemoteUnavailable}.
    """

    def __init__(
        self,
        reactor: Reactor,
        random: Random,
        timeout: float = 60.0,
        connect_timeout: float = 20.0,
        tries: int = 3,
        pause: float = 0.5,
        ca_file: str = "",
        explain: Callable[[str, Response], Exception | None] = lambda described, response: None,
    ) -> None:
        self._reactor = cast(IReactorTime, reactor)
        self._random = random
        self._timeout = timeout
        self.tries = tries
        self._pause = pause
        self._explain = explain
        self._pool = HTTPConnectionPool(reactor, persistent=True)
        # The pool would repeat a request on its own, without a pause and without counting it.
        self._pool.retryAutomatically = False
        self._pool.cachedConnectionTimeout = _KEPT
        self._pool.maxPersistentPerHost = _KEPT_CONNECTIONS
        agent = Agent(reactor, _policy(ca_file), connectTimeout=connect_timeout, pool=self._pool)
        # Storage needs no cookies: a server, or what stands before it, could tell requests apart by them.
        self._treq = HTTPClient(_Agent(agent), IndexableCookieJar(DefaultCookiePolicy(allowed_domains=())))

    def close(self) -> Deferred[None]:
        """Close connections that are kept open; those that are in use now are when they are not."""
        self._pool.cachedConnectionTimeout = 0
        closed: Deferred[None] = self._pool.closeCachedConnections()
        return closed

    async def request(
        self,
        method: str,
        url: str,
        headers: Callable[[], Mapping[str, str]],
        body: bytes | Body = b"",
        tries: int = 0,
        is_idempotent: bool = True,
    ) -> Response:
        """
        Send a request, and read the whole response into memory.

        @param headers: returns header fields, anew for each try: a signature has a time.
        @param tries: 0 for as many as are set.
        @param is_idempotent: whether it may be repeated if the server may have done it already.
        @return: any response except one that is worth another try.
        @raise RemoteUnavailable: if all tries failed.
        """

        async def attempt() -> Response:
            response = await self._send(method, url, headers(), body)
            return await self._read(method, url, response)

        return await self._repeat(method, url, attempt, body, tries, is_idempotent)

    async def open(
        self, url: str, headers: Callable[[], Mapping[str, str]], tries: int = 0
    ) -> tuple[Response, IByteStream | None]:
        """
        Send a GET request.

        @return: the response, and its body as a stream if the status is 200 or 206. A read fails with
            C{RemoteUnavailable} if the body does not come to its end.
        @raise RemoteUnavailable: if all tries failed.
        """
        stream: _ResponseBody | None = None

        async def attempt() -> Response:
            nonlocal stream
            response = await self._send("GET", url, headers(), b"")
            if response.code not in (200, 206):
                return await self._read("GET", url, response)
            stream = self._body("GET", url, response)
            length = None if response.length is UNKNOWN_LENGTH else int(response.length)
            return Response(response.code, response.headers, length=length)

        return await self._repeat("GET", url, attempt, b"", tries, True), stream

    async def _repeat(
        self,
        method: str,
        url: str,
        attempt: Callable[[], Awaitable[Response]],
        body: bytes | Body,
        tries: int,
        is_idempotent: bool,
    ) -> Response:
        left = tries or self.tries
        pause = self._pause
        while True:
            left -= 1
            asked: float = 0.0
            try:
                response = await attempt()
                if not _is_worth_repeating(response):
                    return response
                described = _describe(method, url)
                error = self._explain(described, response) or RemoteUnavailable(
                    f"{described}: the response was {response.status}"
                )
                is_undone = response.status in _NOTHING_DONE
                asked = _asked_pause(response)
            except RemoteUnavailable as failure:
                error = failure
                is_undone = isinstance(failure, _Unreached)
            is_gone = isinstance(body, Body) and body.is_once and body.length and not isinstance(error, _Unreached)
            if not left or is_gone or not (is_idempotent or is_undone):
                raise error
            longest = max(pause, asked)
            await deferLater(self._reactor, max(asked, longest * self._random.uniform(0.5, 1.0)), lambda: None)
            pause *= 2

    async def _send(self, method: str, url: str, headers: Mapping[str, str], body: bytes | Body) -> IResponse:
        seconds = self._timeout
        request: Deferred[Any] | None = None
        watch = _Watch(self._reactor, seconds, lambda: request.cancel() if request is not None else None)
        data: _RequestBody | None = None
        if isinstance(body, Body):
            if body.length:
                data = _RequestBody(body.open, body.length, watch.touch)
        elif body:
            held = body
            data = _RequestBody(lambda: BytesStream(held), len(held), watch.touch)
        try:
            fields = Headers({name.encode("ascii"): [value.encode()] for name, value in headers.items()})
            request = self._treq.request(
                method,
                _ExactURL.from_text(url),
                headers=fields,
                data=data,
                allow_redirects=False,
                unbuffered=True,
                reactor=cast(Any, self._reactor),  # treq's type of it has no public name
            )
            watch.start()
            return _received(await request)
        except Exception as error:
            described = _describe(method, url)
            if watch.has_expired:
                raise RemoteUnavailable(f"{described}: no progress in {seconds:g} seconds") from None
            raise _translate(error, described) from None
        finally:
            watch.stop()

    def _body(self, method: str, url: str, response: IResponse) -> _ResponseBody:
        length: int = -1 if response.length is UNKNOWN_LENGTH else response.length
        if method == "HEAD" or response.code == 204:
            length = 0
        return _ResponseBody(self._reactor, self._timeout, response, length, _describe(method, url))

    async def _read(self, method: str, url: str, response: IResponse) -> Response:
        try:
            body = await read_all(self._body(method, url, response), _MAX_RESPONSE)
        except TooLarge:
            raise RemoteUnavailable(f"{_describe(method, url)}: the response is too large") from None
        return Response(response.code, response.headers, body)


class _ExactURL(EncodedURL):
    """A URL that is sent as it is: it is signed, and treq's own form of it would be another one, or none for an IPv6 address."""

    def to_uri(self) -> _ExactURL:
        return self


class _AsSent(proxyForInterface(IResponse)):  # type: ignore[misc]  # its type cannot be told
    """A response with header fields and a length of its own: treq changes those of encoded objects."""

    headers = Headers()
    length: object = UNKNOWN_LENGTH

    def __init__(self, original: IResponse) -> None:
        super().__init__(original)
        self.headers = original.headers.copy()


@implementer(IAgent)
class _Agent:
    """What treq sends by."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent

    def request(
        self, method: bytes, uri: bytes, headers: Headers | None = None, bodyProducer: IBodyProducer | None = None
    ) -> Deferred[IResponse]:
        # What is stored is wanted as it is.
        fields = Headers() if headers is None else headers.copy()
        fields.removeHeader(b"Accept-Encoding")
        sent: Deferred[IResponse] = self._agent.request(method, uri, fields, bodyProducer)
        return sent.addCallback(_AsSent)


def _received(response: IResponse) -> IResponse:
    """What the server sent, and not what treq makes of it, which decodes stored objects that are encoded."""
    while (inner := getattr(response, "original", None)) is not None:
        response = inner
    return response


def _policy(ca_file: str) -> BrowserLikePolicyForHTTPS:
    if not ca_file:
        return BrowserLikePolicyForHTTPS()
    try:
        with open(ca_file, encoding="ascii", errors="replace") as file:
            blocks = file.read().split(_END_OF_CERTIFICATE)[:-1]
        roots = [
            twisted_ssl.Certificate(load_certificate(FILETYPE_PEM, (block + _END_OF_CERTIFICATE).encode("ascii")))
            for block in blocks
        ]
    except Exception as error:
        raise InvalidSetting(f"ca_file {ca_file} cannot be used: {error}") from None
    if not roots:
        raise InvalidSetting(f"ca_file {ca_file} holds no certificate")
    return BrowserLikePolicyForHTTPS(trustRoot=twisted_ssl.trustRootFromCertificates(roots))


def _is_worth_repeating(response: Response) -> bool:
    status = response.status
    if status in _TRY_AGAIN:
        return True
    # S3's response when a body came too slowly.
    if status == 400 and b"<Code>RequestTimeout</Code>" in response.body:
        return True
    return status >= 500 and status not in _TO_NO_AVAIL


def _asked_pause(response: Response) -> float:
    """Seconds that the server asks to wait before the next try; 0 if it does not."""
    for name, unit in (("x-amz-retry-after", 0.001), ("retry-after", 1.0)):
        value = response.header(name).strip()
        if value.isascii() and value.isdigit() and len(value) < 10:
            return min(int(value) * unit, _LONGEST_PAUSE)
    return 0.0


# -- bodies ----------------------------------------------------------------------------------------


class _Watch:
    """
    A time limit for progress, not for the whole: a large file may take hours.

    @param expire: called if there was no progress for so many seconds.
    """

    def __init__(self, clock: IReactorTime, seconds: float, expire: Callable[[], object]) -> None:
        self.has_expired = False
        self.seconds = seconds
        self._clock = clock
        self._on_expiry = expire
        self._call: IDelayedCall | None = None

    def start(self) -> None:
        """Expect progress from now on."""
        if self._call is None and not self.has_expired:
            self._call = self._clock.callLater(self.seconds, self._expire)

    def touch(self) -> None:
        """There was progress: allow the whole time again."""
        if self._call is not None:
            self._call.reset(self.seconds)

    def stop(self) -> None:
        """Expect no progress any more."""
        call, self._call = self._call, None
        if call is not None:
            call.cancel()

    def _expire(self) -> None:
        self._call = None
        self.has_expired = True
        self._on_expiry()


@implementer(IBodyProducer)
class _RequestBody:
    """
    A stream as the body of a request: the edge to Twisted's client, which pushes.

    @param begin: gives the stream, when the head was sent.
    @param progress: called whenever the connection takes something.
    @ivar is_open: whether the stream was begun.
    """

    def __init__(self, begin: Callable[[], IByteStream], length: int, progress: Callable[[], object]) -> None:
        self.length = length
        self.is_open = False
        self._begin = begin
        self._stream: IByteStream | None = None
        self._progress = progress
        self._is_stopped = False
        self._turn: Deferred[None] | None = None

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        self.is_open = True
        self._stream = self._begin()
        writing = Deferred.fromCoroutine(self._write(self._stream, consumer))
        done: Deferred[None] = Deferred(lambda done: writing.cancel())
        # C{IBodyProducer}: the Deferred must not fire after stopProducing.
        writing.addBoth(lambda result: None if self._is_stopped or done.called else done.callback(result))
        return done

    async def _write(self, stream: IByteStream, consumer: IConsumer) -> None:
        try:
            while piece := await stream.read():
                self._progress()
                consumer.write(bytes(piece))
                if self._turn is not None:
                    await self._turn
        finally:
            await stream.close()

    def pauseProducing(self) -> None:
        if self._turn is None:
            self._turn = Deferred()

    def resumeProducing(self) -> None:
        self._progress()
        turn, self._turn = self._turn, None
        if turn is not None:
            turn.callback(None)

    def stopProducing(self) -> None:
        self._is_stopped = True
        if self._stream is not None:
            self._stream.close()
        self.resumeProducing()


@implementer(IByteStream)
class _ResponseBody(Protocol):
    """
    The body of a response. Nothing of it is read from the connection before the first L{read}.

    @param response: its head has come, its body not yet.
    @param length: bytes of the body; -1 if only its framing tells where it ends.
    @param described: the request, for errors.
    """

    def __init__(self, clock: IReactorTime, timeout: float, response: IResponse, length: int, described: str) -> None:
        self._length = length
        self._response = response
        self._described = described
        self._watch = _Watch(clock, timeout, self._expired)
        self._pushed = PushedStream(
            partial(self._call_transport, "pauseProducing"),
            partial(self._call_transport, "resumeProducing"),
            closed=partial(self._call_transport, "stopProducing"),
        )
        self._count = 0
        self._is_delivered = False

    async def read(self) -> Piece:
        if not self._is_delivered:
            self._is_delivered = True
            self._response.deliverBody(self)
        # The reader may take any time between two pieces; the server may not while a read waits for it.
        self._watch.start()
        try:
            return await self._pushed.read()
        finally:
            self._watch.stop()

    def close(self) -> Deferred[None]:
        if not self._is_delivered:
            self._is_delivered = True
            self._response.deliverBody(_Disconnect())
        return self._pushed.close()

    def _call_transport(self, method: str) -> None:
        # The transport that Twisted gives to the receiver of a body is a push producer.
        if self.transport is not None:
            getattr(self.transport, method)()

    def _expired(self) -> None:
        seconds = self._watch.seconds
        self._fail(f"no progress in {seconds:g} seconds, at byte {self._count}")
        self._call_transport("stopProducing")

    def _fail(self, reason: str) -> None:
        self._pushed.fail(RemoteUnavailable(f"{self._described}: {reason}"))

    def dataReceived(self, data: bytes) -> None:
        self._count += len(data)
        self._pushed.write(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.transport = None
        # A body without a length ends with its connection, and may be cut short: Twisted tells that by another reason.
        if reason.check(ResponseDone) and self._length in (self._count, -1):
            self._pushed.end()
        else:
            self._fail(f"the response ended early, at byte {self._count}")


class _Disconnect(Protocol):
    """Closes the connection instead of receiving a body that nobody reads."""

    def connectionMade(self) -> None:
        if self.transport is not None:
            self.transport.loseConnection()


# -- errors ----------------------------------------------------------------------------------------


def _describe(method: str, url: str) -> str:
    """A request, for errors; without the query, which is of no interest to users."""
    parts = urlsplit(url)
    return f"{method} {parts.scheme}://{parts.netloc}{parts.path}"


def _translate(error: Exception, described: str) -> Exception:
    """The error of a failed request, as one of ours."""
    causes = list(_causes(error))
    if any(isinstance(cause, (CancelledError, ConnectingCancelledError)) for cause in causes):
        # Cancelled by the caller: the time limits here are handled before.
        return CancelledError()
    if isinstance(error, RequestGenerationFailed):
        # The body could not be read here: no fault of the server.
        return causes[0]
    if isinstance(error, (RequestTransmissionFailed, ResponseNeverReceived, ResponseFailed)):
        return RemoteUnavailable(f"{described}: the connection failed: {_text_of(causes[0])}")
    if isinstance(error, (ConnectError, DNSLookupError, ConnectionLost, OSError)):
        kind = RemoteUnavailable if isinstance(error, ConnectionLost) else _Unreached
        return kind(f"{described}: it cannot be reached: {_text_of(error)}")
    return error


def _causes(error: Exception) -> Iterator[Exception]:
    """The errors inside those that Twisted wraps around others."""
    reasons = getattr(error, "reasons", None)
    if not reasons:
        yield error
        return
    for reason in reasons:
        yield from _causes(reason.value)


def _text_of(error: Exception) -> str:
    # Errors of OpenSSL are lists of tuples.
    found = error.args[0] if error.args else ""
    if isinstance(found, list) and all(isinstance(each, tuple) and each for each in found):
        return "TLS: " + "; ".join(str(each[-1]) for each in found)
    return str(error).rstrip(".") or type(error).__name__
