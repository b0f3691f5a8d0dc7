"""
An HTTP client for one server: bodies stream both ways in bounded memory, failures are L{CommandError}s.

It waits for the network where it is called. A command does one thing at a time, between files and pipes that wait as well;
the standard library does that without a reactor, which takes longer to import than most commands take to run.
"""

from __future__ import annotations

import json
import math
import select
import ssl
from collections.abc import Awaitable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection, IncompleteRead, RemoteDisconnected
from time import monotonic
from types import TracebackType
from typing import Any
from urllib.parse import quote, urlencode

import attrs

from storehouse.cli.errors import CommandError, Refused, reason_of
from storehouse.core.sockets import connect

__all__ = ["Body", "Client", "Done", "PiecesStream", "Request", "Response", "Server"]

#: What has gone wrong when a request fails.
_NO_RESPONSE = "the connection failed before the response"

#: The most bytes taken from the socket at once.
_READ_SIZE = 256 * 1024

#: The most bytes of a JSON response.
_MAX_JSON = 64 * 1024 * 1024

#: The most bytes read of a response that says what failed.
_MAX_ERROR = 64 * 1024

#: A connection that was idle for longer is not used again, since the server may be closing it. Seconds.
_MAX_IDLE = 5.0


@attrs.frozen
class Server:
    """
    Where requests go.

    @ivar path: the path before every other, without a slash at its end.
    @ivar socket: the path of the socket file on which it listens; empty for a network.
    """

    scheme: str
    host: str
    port: int
    path: str = ""
    socket: str = ""

    @classmethod
    def on_socket(cls, path: str) -> Server:
        """The server that listens on a socket file."""
        return cls("http", "localhost", 80, socket=path)

    @property
    def url(self) -> str:
        """The server as a URL, for messages."""
        if self.socket:
            return f"unix:{self.socket}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}{self.path}"


class PiecesStream:
    """
    Pieces that are taken as they are read. A stream as L{IByteStream<storehouse.core.streams.IByteStream>} has it; one of
    the core would bring Twisted, which a command that asks a service does not need.
    """

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = filter(None, pieces)

    async def read(self) -> bytes:
        """The next piece; no bytes at the end."""
        return next(self._pieces, b"")

    def close(self) -> Awaitable[None]:
        """Give up what is left."""
        self._pieces = filter(None, ())
        return Done()


class Done:
    """What nobody has to wait for."""

    def __await__(self) -> Generator[object, object, None]:
        yield from ()


@attrs.frozen
class Body:
    """
    The body of a request.

    @ivar pieces: its bytes, taken when they can be sent.
    @ivar size: their number; C{None} if it is not known beforehand (the body is then sent chunked).
    """

    pieces: Iterable[bytes]
    size: int | None

    def stream(self) -> PiecesStream:
        """Its bytes as a stream, which is read instead."""
        return PiecesStream(self.pieces)

    @classmethod
    def of(cls, data: bytes) -> Body:
        """A body that is in memory."""
        return cls((data,), len(data))


class _SocketConnection(HTTPConnection):
    """A connection to a socket file."""

    def __init__(self, path: str, timeout: float | None) -> None:
        super().__init__("localhost")
        self._path = path
        self._seconds = timeout

    def connect(self) -> None:
        """Connect to the socket file; blocks."""
        self.sock = connect(self._path, self._seconds)


class Response:
    """
    A successful response, whose body has not been read yet.

    It must be read, or the client closed, before the next request.
    """

    def __init__(self, client: Client, response: HTTPResponse) -> None:
        self._client = client
        self._response = response
        #: The bytes of the body; C{None} if the server does not say.
        self.size: int | None = response.length

    def header_field(self, name: str) -> str:
        """The value of a header field; empty if it is not there."""
        return self._response.getheader(name, "")

    def pieces(self) -> Iterator[bytes]:
        """
        The body, as it comes in.

        @raise CommandError: if it ends too early.
        """
        while piece := self._read_some():
            yield piece
        self._response.close()

    def lines(self, what: str) -> Iterator[dict[str, object]]:
        """
        The lines of the body, JSON objects each, as they come in.

        @param what: a word for the body, for the message if they are not.
        """
        rest = b""
        for piece in self.pieces():
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                yield self._object(line, what)
        if rest:
            yield self._object(rest, what)

    def json(self, what: str) -> dict[str, object]:
        """
        The body as a JSON object.

        @param what: a word for the body, for the message if it is not one.
        """
        body = bytearray()
        for piece in self.pieces():
            body += piece
            if len(body) > _MAX_JSON:
                raise CommandError(f"the {what} from {self._client.server.url} is too long")
        return self._object(body, what)

    def _object(self, data: bytes | bytearray, what: str) -> dict[str, Any]:
        try:
            value = json.loads(data)
        except ValueError:
            value = None
        if not isinstance(value, dict):
            raise CommandError(
                f"the {what} from {self._client.server.url} is not a JSON object; is it a storehouse server?"
            )
        return value

    def _read_some(self) -> bytes:
        with self._client.translated("the connection failed during the response"):
            piece = self._response.read1(_READ_SIZE)
            if not piece and self._response.length:
                raise IncompleteRead(b"", self._response.length)
        return piece


class Request:
    """
    A request whose head was sent.

    @param size: of its body, as L{Client.begin} has it.
    """

    def __init__(self, client: Client, connection: HTTPConnection, size: int | None) -> None:
        self._client = client
        self._connection = connection
        self._size = size
        self._is_whole = True

    def __enter__(self) -> Request:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None:
            self._connection.close()
            self._client.close()

    def send(self, piece: bytes | memoryview) -> bool:
        """Send a piece of the body. @return: whether more is wanted: a server responds before the end to refuse it."""
        with self._client.translated(_NO_RESPONSE):
            if _has_input(self._connection):
                self._is_whole = False
            elif piece:
                self._send(piece if self._size is not None else b"%x\r\n%b\r\n" % (len(piece), bytes(piece)))
        return self._is_whole

    def response(self, patient: bool = False) -> Response:
        """All was sent, or no more is wanted: wait for the response. @param patient: see L{Client.request}."""
        sock = self._connection.sock
        with self._client.translated(_NO_RESPONSE):
            if self._size is None and self._is_whole:
                self._send(b"0\r\n\r\n")
            response = self._connection.getresponse()
        received = self._client.received(self._connection, response, self._is_whole)
        if patient and sock is not None:
            sock.settimeout(None)
        return received

    def _send(self, data: bytes | memoryview) -> None:
        try:
            self._connection.send(data)
        except (BrokenPipeError, ConnectionResetError):
            # The server has hung up; what it said before is the better reason, if there is something.
            if not _has_input(self._connection):
                raise
            self._is_whole = False


class Client:
    """
    Requests to one server, over one connection where that is possible: requests that overlap have connections of their own.
    A context manager: leaving it closes them.

    @param timeout: the seconds that the server may be silent; C{None} for any time.
    """

    def __init__(self, server: Server, timeout: float | None) -> None:
        self.server = server
        self._timeout = timeout
        self._connection: HTTPConnection | None = None
        self._response: HTTPResponse | None = None  # the last one on it
        # Of requests that another one overtook: closed once their responses were read.
        self._others: list[tuple[HTTPConnection, HTTPResponse | None]] = []
        self._used = 0.0

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections; the next request opens another."""
        self._set_aside()
        for connection, response in self._others:
            _close(connection, response)
        self._others.clear()

    def _set_aside(self) -> None:
        """The connection is not for the next request; it is closed if its last response was read."""
        connection, self._connection = self._connection, None
        response, self._response = self._response, None
        if connection is not None:
            self._others.append((connection, response))
        left = []
        for each in self._others:
            if each[1] is None or each[1].isclosed():
                _close(*each)
            else:
                left.append(each)
        self._others = left

    def request(
        self,
        method: str,
        path: str,
        query: Sequence[tuple[str, str | int]] = (),
        body: Body | None = None,
        headers: Mapping[str, str] | None = None,
        patient: bool = False,
    ) -> Response:
        """
        Send a request and wait for the head of its response.

        @param patient: the response may be silent for any time after its head.
        @raise CommandError: if the server cannot be reached, or says anything but 200 or 206.
        """
        if body is None:
            with self.begin(method, path, query, 0 if method in ("POST", "PUT") else -1, headers) as request:
                return request.response(patient)
        with self.begin(method, path, query, body.size, headers) as request:
            for piece in body.pieces:
                if not request.send(piece):
                    break
            return request.response(patient)

    def begin(
        self,
        method: str,
        path: str,
        query: Sequence[tuple[str, str | int]] = (),
        size: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Request:
        """
        Send the head of a request. What it gives is a context manager: what fails within closes the connection.

        @param size: of the body to be sent; C{None} if it is not known, and negative for no body.
        @raise CommandError: if the server cannot be reached.
        """
        connection = self._connected()
        # A request that fails on its way leaves the connection in no state to be used again.
        if self._connection is connection:
            self._connection = self._response = None
        request = Request(self, connection, size)
        with request:
            with self.translated(_NO_RESPONSE):
                self._put_head(connection, method, self._target(path, query), size, headers or {})
        return request

    def received(self, connection: HTTPConnection, response: HTTPResponse, is_whole: bool) -> Response:
        """The head of a response has come. @param is_whole: whether all of the request was sent."""
        if response.status not in (200, 206):
            with closing(response):
                raise self._refusal(response)
        self._set_aside()
        self._connection, self._response = connection, response
        # A connection on which something is left unsaid is too old for the next request.
        self._used = monotonic() if is_whole else -math.inf
        return Response(self, response)

    def _target(self, path: str, query: Sequence[tuple[str, str | int]]) -> str:
        pairs = [(name, str(value)) for name, value in query]
        encoded = urlencode(pairs, quote_via=quote, safe="", encoding="utf-8", errors="surrogateescape")
        return f"{self.server.path}{path}{'?' if encoded else ''}{encoded}"

    def _connected(self) -> HTTPConnection:
        connection = self._connection
        fresh = monotonic() - self._used <= _MAX_IDLE
        is_read = self._response is None or self._response.isclosed()
        if fresh and is_read and connection is not None and connection.sock is not None and not _has_input(connection):
            return connection
        self._set_aside()
        if self.server.socket:
            connection = _SocketConnection(self.server.socket, self._timeout)
        else:
            kind = HTTPSConnection if self.server.scheme == "https" else HTTPConnection
            connection = kind(self.server.host, self.server.port, timeout=self._timeout)
        with self.translated(None):
            connection.connect()
        return connection

    def _put_head(
        self, connection: HTTPConnection, method: str, target: str, size: int | None, headers: Mapping[str, str]
    ) -> None:
        connection.putrequest(method, target, skip_accept_encoding=True)
        for name, value in headers.items():
            connection.putheader(name, value)
        if size is None:
            connection.putheader("Transfer-Encoding", "chunked")
        elif size >= 0:
            connection.putheader("Content-Length", str(size))
        connection.endheaders()

    def _refusal(self, response: HTTPResponse) -> Refused:
        """The error for a response that is not a success."""
        try:
            said = json.loads(response.read(_MAX_ERROR))
        except (OSError, HTTPException, ValueError):
            said = None
        if isinstance(said, dict) and isinstance(said.get("detail"), str):
            kind = said.get("error", response.reason)
            return Refused(f"{said['detail']} ({response.status} {kind})", str(kind), said["detail"])
        return Refused(f"{self.server.url} responded with {response.status} {response.reason}")

    @contextmanager
    def translated(self, context: str | None) -> Iterator[None]:
        """
        What the network raises in here becomes a L{CommandError}.

        @param context: what went wrong then; C{None} while connecting.
        """
        url = self.server.url
        try:
            yield
        except ssl.SSLError as error:
            raise CommandError(f"{url}: TLS failed: {reason_of(error)}") from None
        except TimeoutError:
            raise CommandError(f"{url}: {context or 'cannot be reached'}: silent for {self._timeout:g} s") from None
        except RemoteDisconnected:
            raise CommandError(f"{url}: {context}: the server closed it") from None
        except IncompleteRead:
            raise CommandError(f"{url}: {context}: it ended too early") from None
        except OSError as error:
            if context is None:
                raise CommandError(f"cannot reach {url}: {reason_of(error)}") from None
            raise CommandError(f"{url}: {context}: {reason_of(error)}") from None
        except (HTTPException, ValueError) as error:
            raise CommandError(f"{url} does not speak HTTP: {reason_of(error)}") from None


def _close(connection: HTTPConnection, response: HTTPResponse | None) -> None:
    # A response that ends with its connection holds the socket, of which its connection then knows nothing more.
    if response is not None:
        response.close()
    connection.close()


def _has_input(connection: HTTPConnection) -> bool:
    """
    Whether a response, or the end of the connection, has come that was not read.

    Unknown, and so false, under TLS.
    """
    sock = connection.sock
    if sock is None or isinstance(sock, ssl.SSLSocket):
        return False
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))
