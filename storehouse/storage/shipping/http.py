"""Requests to other servers: with time limits, repeated when that may help, and their failures named."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from random import Random
from typing import Any
from urllib.parse import urlsplit

import attrs
from OpenSSL.crypto import FILETYPE_PEM, load_certificate
from treq.client import HTTPClient
from twisted.internet import ssl as twisted_ssl
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectError, ConnectingCancelledError, ConnectionLost, DNSLookupError
from twisted.internet.interfaces import IConsumer
from twisted.internet.task import deferLater
from twisted.web.client import (
    Agent,
    BrowserLikePolicyForHTTPS,
    HTTPConnectionPool,
    RequestGenerationFailed,
    RequestTransmissionFailed,
    ResponseFailed,
    ResponseNeverReceived,
)
from twisted.web.http_headers import Headers
from twisted.web.iweb import UNKNOWN_LENGTH, IBodyProducer
from zope.interface import implementer

from storehouse.config.shipping import Connecting
from storehouse.core.disk import IDisk
from storehouse.core.streams import BytesStream, IByteStream, read_all
from storehouse.errors import InvalidSetting, RemoteUnavailable, TooLarge
from storehouse.storage.shipping.reading import RemoteReader, Watch
from storehouse.storage.shipping.sources import FileStream

__all__ = ["Answer", "FileRange", "RemoteClient", "range_header"]

#: Bytes of an answer that is held in memory: a page of a listing fits.
_MAX_ANSWER = 8 << 20

#: What is worth another try, beside 5xx.
_TRY_AGAIN = frozenset({408, 425, 429})

#: A 5xx that is not.
_NOT_IMPLEMENTED = 501


@attrs.frozen
class Answer:
    """
    What a server said.

    @ivar body: empty for one that is read as it comes.
    """

    status: int
    headers: Headers
    body: bytes = b""

    def header(self, name: str) -> str:
        """A header field; empty if there is none."""
        values = self.headers.getRawHeaders(name.encode("ascii")) or [b""]
        return values[-1].decode("utf-8", "replace")


@attrs.frozen
class FileRange:
    """A range of a file, as the body of a request."""

    path: str
    offset: int
    length: int


def range_header(offset: int, length: int | None) -> dict[str, str]:
    """What asks for a range that is not empty; nothing for the whole."""
    if not offset and length is None:
        return {}
    return {"range": f"bytes={offset}-" + ("" if length is None else str(offset + length - 1))}


@implementer(IBodyProducer)
class _Body:
    """
    A stream as the body of a request, whose Deferred must not fire once it was stopped.

    @param progress: called whenever the connection takes something.
    """

    def __init__(self, stream: IByteStream, length: int, progress: Callable[[], object]) -> None:
        self.length = length
        self._stream = stream
        self._progress = progress
        self._is_stopped = False
        self._turn: Deferred[None] | None = None

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        """See C{IBodyProducer.startProducing}."""
        writing = Deferred.fromCoroutine(self._write(consumer))
        done: Deferred[None] = Deferred(lambda done: writing.cancel())
        writing.addBoth(lambda result: None if self._is_stopped or done.called else done.callback(result))
        return done

    async def _write(self, consumer: IConsumer) -> None:
        try:
            while piece := await self._stream.read():
                self._progress()
                consumer.write(bytes(piece))
                if self._turn is not None:
                    await self._turn
        finally:
            await self._stream.close()

    def pauseProducing(self) -> None:
        """See C{IPushProducer.pauseProducing}."""
        if self._turn is None:
            self._turn = Deferred()

    def resumeProducing(self) -> None:
        """See C{IPushProducer.resumeProducing}."""
        self._progress()
        turn, self._turn = self._turn, None
        if turn is not None:
            turn.callback(None)

    def stopProducing(self) -> None:
        """See C{IBodyProducer.stopProducing}."""
        self._is_stopped = True
        self._stream.close()
        self.resumeProducing()


def _policy(ca_file: str) -> BrowserLikePolicyForHTTPS:
    if not ca_file:
        return BrowserLikePolicyForHTTPS()
    try:
        with open(ca_file, encoding="ascii", errors="replace") as file:
            blocks = file.read().split(_END)[:-1]
        roots = [
            twisted_ssl.Certificate(load_certificate(FILETYPE_PEM, (each + _END).encode("ascii"))) for each in blocks
        ]
    except Exception as error:
        raise InvalidSetting(f"ca_file {ca_file} cannot be used: {error}") from None
    if not roots:
        raise InvalidSetting(f"ca_file {ca_file} holds no certificate")
    return BrowserLikePolicyForHTTPS(trustRoot=twisted_ssl.trustRootFromCertificates(roots))


_END = "-----END CERTIFICATE-----"


class RemoteClient:
    """
    One server, or several that belong together.

    @param reactor: for connections and time.
    @param random: makes the pauses between tries uneven.
    """

    def __init__(self, reactor: Any, disk: IDisk, connecting: Connecting, random: Random) -> None:
        self._reactor = reactor
        self._disk = disk
        self._connecting = connecting
        self._random = random
        self._pool = HTTPConnectionPool(reactor, persistent=True)
        # Whether a request may be repeated is decided here, not there.
        self._pool.retryAutomatically = False
        agent = Agent(reactor, _policy(connecting.ca_file), connectTimeout=connecting.connect_timeout, pool=self._pool)
        self._treq = HTTPClient(agent)

    def close(self) -> Deferred[None]:
        """Close connections that are kept open."""
        closed: Deferred[None] = self._pool.closeCachedConnections()
        return closed

    async def request(
        self,
        method: str,
        url: str,
        headers: Callable[[], Mapping[str, str]],
        body: bytes | FileRange = b"",
        tries: int = 0,
    ) -> Answer:
        """
        Send a request, and read the whole answer.

        @param headers: gives header fields, anew for each try.
        @param tries: 0 for as many as are set.
        @return: any answer but one that tells of trouble over there: then it is tried again, and fails in the end with
            C{RemoteUnavailable}.
        """

        async def once() -> Answer:
            response = await self._send(method, url, headers(), body)
            return await self._read(method, url, response)

        return await self._tried(method, url, once, tries)

    async def open(self, url: str, headers: Callable[[], Mapping[str, str]]) -> tuple[Answer, RemoteReader | None]:
        """
        Send a GET request.

        @return: the answer, and its body where it is a good one (200 or 206).
        """
        reader: RemoteReader | None = None

        async def once() -> Answer:
            nonlocal reader
            response = await self._send("GET", url, headers(), b"")
            if response.code not in (200, 206):
                return await self._read("GET", url, response)
            reader = self._reader("GET", url, response)
            return Answer(response.code, response.headers)

        return await self._tried("GET", url, once, 0), reader

    async def _tried(self, method: str, url: str, once: Callable[[], Awaitable[Answer]], tries: int) -> Answer:
        left = tries or self._connecting.tries
        pause = self._connecting.pause
        while True:
            left -= 1
            try:
                answer = await once()
                if not _is_trouble(answer):
                    return answer
                raise RemoteUnavailable(f"{_what(method, url)}: it answered {answer.status}")
            except RemoteUnavailable:
                if not left:
                    raise
            await deferLater(self._reactor, pause * self._random.uniform(0.5, 1.0), lambda: None)
            pause *= 2

    async def _send(self, method: str, url: str, headers: Mapping[str, str], body: bytes | FileRange) -> Any:
        seconds = self._connecting.timeout
        request: Deferred[Any] | None = None
        watch = Watch(self._reactor, seconds, lambda: request.cancel() if request is not None else None)
        data: _Body | None = None
        if isinstance(body, FileRange):
            if body.length:
                stream = FileStream(self._disk, body.path, body.offset, body.length)
                data = _Body(stream, body.length, watch.touch)
        elif body:
            data = _Body(BytesStream(body), len(body), watch.touch)
        try:
            request = self._treq.request(
                method,
                url,
                headers=Headers({name.encode("ascii"): [value.encode()] for name, value in headers.items()}),
                data=data,
                allow_redirects=False,
                unbuffered=True,
                reactor=self._reactor,
            )
            watch.start()
            response = await request
            # What treq wraps around it is for answers that are held in memory.
            return response.original
        except Exception as error:
            what = _what(method, url)
            if watch.expired:
                raise RemoteUnavailable(f"{what}: no progress in {seconds:g} seconds") from None
            raise _named(error, what) from None
        finally:
            watch.stop()

    def _reader(self, method: str, url: str, response: Any) -> RemoteReader:
        length = response.length
        if length is UNKNOWN_LENGTH:
            length = -1
        return RemoteReader(self._reactor, self._connecting.timeout, response, length, _what(method, url))

    async def _read(self, method: str, url: str, response: Any) -> Answer:
        headers = response.headers
        if method == "HEAD" or response.code == 204:
            length: Any = 0
        else:
            length = response.length
        reader = RemoteReader(
            self._reactor,
            self._connecting.timeout,
            response,
            -1 if length is UNKNOWN_LENGTH else length,
            _what(method, url),
        )
        try:
            return Answer(response.code, headers, await read_all(reader, _MAX_ANSWER))
        except TooLarge:
            raise RemoteUnavailable(f"{_what(method, url)}: its answer is too large") from None


def _is_trouble(answer: Answer) -> bool:
    status = answer.status
    if status in _TRY_AGAIN:
        return True
    # S3 answers so when a body came too slowly.
    if status == 400 and b"<Code>RequestTimeout</Code>" in answer.body:
        return True
    return status >= 500 and status != _NOT_IMPLEMENTED


def _what(method: str, url: str) -> str:
    """Without the query, which is of no interest to users."""
    parts = urlsplit(url)
    return f"{method} {parts.scheme}://{parts.netloc}{parts.path}"


def _named(error: Exception, what: str) -> Exception:
    """What a failed request failed with, in our terms."""
    causes = list(_causes(error))
    if any(isinstance(cause, (CancelledError, ConnectingCancelledError)) for cause in causes):
        # Not by a time limit of ours: whoever waited for it does not any more.
        return CancelledError()
    if isinstance(error, RequestGenerationFailed):
        # The body could not be read here; that is none of the server's faults.
        return causes[0]
    if isinstance(error, (RequestTransmissionFailed, ResponseNeverReceived, ResponseFailed)):
        return RemoteUnavailable(f"{what}: the connection failed: {_text(causes[0])}")
    if isinstance(error, (ConnectError, DNSLookupError, ConnectionLost, OSError)):
        return RemoteUnavailable(f"{what}: it cannot be reached: {_text(error)}")
    return error


def _causes(error: Exception) -> Iterator[Exception]:
    """What is behind the failures that Twisted wraps around others."""
    reasons = getattr(error, "reasons", None)
    if not reasons:
        yield error
        return
    for reason in reasons:
        yield from _causes(reason.value)


def _text(error: Exception) -> str:
    # Errors of OpenSSL are lists of tuples.
    found = error.args[0] if error.args else ""
    if isinstance(found, list) and all(isinstance(each, tuple) and each for each in found):
        return "TLS: " + "; ".join(str(each[-1]) for each in found)
    return str(error).rstrip(".") or type(error).__name__
