"""A connection without a network, which keeps to the rules of a TCP transport; and doors to try it on."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.interfaces import ITCPTransport
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer

from storehouse.config.settings import ConnectionSettings
from storehouse.frontends.http.reply import OCTETS, Reply
from storehouse.frontends.http.request import Leaf, Root
from storehouse.frontends.http.site import DoorSite, Guard

__all__ = ["Answer", "Connection", "Echo", "Transport", "make_site", "request", "split_answers"]


@implementer(ITCPTransport)
class Transport:
    """
    Collects what is written and behaves as L{twisted.internet.tcp.Connection} does: paused, it delivers nothing;
    closed, it drops what comes.

    @ivar window: bytes that the peer takes unread; more stays here and pauses the producer.
    @ivar closed: C{None}, C{"done"} or C{"aborted"}.
    """

    bufferSize = 65536
    connected = 1

    def __init__(self, window: int | None = None) -> None:
        self.window = window
        self.out = bytearray()
        self.waiting = bytearray()
        self.paused = False
        self.disconnecting = False
        self.half_closed = False
        self.closed: str | None = None
        self.most_waiting = 0
        self._producer: Any = None
        self._producer_paused = False

    @property
    def dataBuffer(self) -> bytes:
        """What waits, as a TCP transport names it."""
        return bytes(self.waiting)

    # -- for the channel ---------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        if not isinstance(data, bytes):
            raise TypeError(type(data))
        if self.closed or self.half_closed or self.disconnecting:
            return
        self.waiting += data
        self._move()
        self.most_waiting = max(self.most_waiting, len(self.waiting))
        if self._producer is not None and len(self.waiting) > self.bufferSize and not self._producer_paused:
            self._producer_paused = True
            self._producer.pauseProducing()

    def writeSequence(self, pieces: Sequence[bytes]) -> None:
        self.write(b"".join(pieces))

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        if self._producer is not None:
            raise RuntimeError("there is a producer")
        self._producer = producer

    def unregisterProducer(self) -> None:
        self._producer = None

    def pauseProducing(self) -> None:
        self.paused = True

    def resumeProducing(self) -> None:
        if not self.disconnecting:
            self.paused = False

    def stopProducing(self) -> None:
        self.loseConnection()

    def loseConnection(self) -> None:
        self.disconnecting = True
        self.paused = True

    def loseWriteConnection(self) -> None:
        self.half_closed = True

    def abortConnection(self) -> None:
        if self.closed is None:
            self.closed = "aborted"
            self.disconnecting = True

    def getPeer(self) -> IPv4Address:
        return IPv4Address("TCP", "127.0.0.1", 50000)

    def getHost(self) -> IPv4Address:
        return IPv4Address("TCP", "127.0.0.1", 80)

    def setTcpNoDelay(self, enabled: bool) -> None: ...

    def getTcpNoDelay(self) -> bool:
        return True

    def setTcpKeepAlive(self, enabled: bool) -> None: ...

    def getTcpKeepAlive(self) -> bool:
        return True

    # -- for the peer ------------------------------------------------------------------------

    def take(self, size: int) -> None:
        """The peer reads on."""
        if self.window is not None:
            self.window += size
        self._move()

    def _move(self) -> None:
        size = len(self.waiting) if self.window is None else min(len(self.waiting), self.window)
        if self.window is not None:
            self.window -= size
        self.out += self.waiting[:size]
        del self.waiting[:size]
        if not self.waiting and self._producer_paused and self._producer is not None:
            self._producer_paused = False
            self._producer.resumeProducing()


class Connection:
    """
    A client's end.

    @ivar transport: the server's end.
    """

    def __init__(self, site: Any, window: int | None = None, settle: Callable[[], None] = lambda: None) -> None:
        self.transport = Transport(window)
        self.channel = site.buildProtocol(self.transport.getPeer())
        self._settle = settle
        self._unsent = bytearray()
        self._lost = False
        self.channel.makeConnection(self.transport)
        self._close_if_done()

    @property
    def received(self) -> bytes:
        """Everything that came."""
        return bytes(self.transport.out)

    @property
    def unsent(self) -> int:
        """Bytes that the server does not read."""
        return len(self._unsent)

    @property
    def is_closed(self) -> bool:
        """Whether the server closed it, or half of it."""
        return self._lost or self.transport.half_closed

    def send(self, data: bytes, settle: bool = True) -> None:
        """Send; what the server does not read now goes with the next call."""
        self._unsent += data
        self._deliver()
        if settle:
            self.settle()

    def settle(self) -> None:
        """Let everything happen that can."""
        while True:
            self._settle()
            if not self._deliver():
                break
        self._close_if_done()

    def end_input(self) -> None:
        """The client closes its side, and reads on. Once all that it sent is read the server is told."""
        self.settle()
        if self._unsent:
            raise AssertionError("the server does not read")
        if not self._lost:
            self.channel.readConnectionLost()
        self.settle()

    def close(self) -> None:
        """The client leaves."""
        self._lose(ConnectionDone())

    def _deliver(self) -> bool:
        delivered = False
        while self._unsent and not self.transport.paused and not self._lost and not self.transport.closed:
            piece = bytes(self._unsent[: self.transport.bufferSize])
            del self._unsent[: len(piece)]
            delivered = True
            self.channel.dataReceived(piece)
        self._close_if_done()
        return delivered

    def _close_if_done(self) -> None:
        if self.transport.closed == "aborted":
            self._lose(ConnectionAborted())
        elif self.transport.disconnecting and not self.transport.waiting:
            self._lose(ConnectionDone())

    def _lose(self, reason: Exception) -> None:
        if not self._lost:
            self._lost = True
            self.transport.connected = 0
            self.transport.closed = self.transport.closed or "done"
            self.channel.connectionLost(Failure(reason))


# -- conversations ---------------------------------------------------------------------------


def request(line: str, body: bytes | None = None, *fields: str, host: str | None = "x") -> bytes:
    """The bytes of a request."""
    lines = [f"{line} HTTP/1.1", *([f"Host: {host}"] if host is not None else [])]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, *fields, "", ""]).encode("latin-1") + (body or b"")


class Answer:
    """One answer: C{status}, C{fields} by lower-case names, C{body}."""

    def __init__(self, status: int, fields: dict[str, str], body: bytes) -> None:
        self.status, self.fields, self.body = status, fields, body

    def __repr__(self) -> str:
        return f"<{self.status} {self.fields} {self.body[:100]!r}>"


# Fields whose lines mean the same as one with commas (RFC 9110, section 5.3).
_LISTS = ("www-authenticate",)


def split_answers(data: bytes, methods: Sequence[str] = ()) -> list[Answer]:
    """
    Take a stream of answers apart, strictly.

    @param methods: of the requests; C{HEAD} has no body.
    """
    answers: list[Answer] = []
    finals = 0
    while data:
        head, end, data = data.partition(b"\r\n\r\n")
        if not end:
            raise AssertionError(f"half an answer: {head!r}")
        line, *lines = head.decode("latin-1").split("\r\n")
        match = re.fullmatch(r"HTTP/1\.1 (\d{3}) [ -~]+", line)
        if match is None:
            raise AssertionError(f"no status line: {line!r}")
        status = int(match[1])
        fields: dict[str, str] = {}
        for name, colon, value in (field.partition(": ") for field in lines):
            key = name.lower()
            if key in fields and key in _LISTS:
                value = f"{fields[key]}, {value}"
            elif not colon or key in fields:
                raise AssertionError(f"bad or repeated field {name!r}: {lines}")
            fields[key] = value
        body = b""
        if status < 200:
            if status == 100 and lines:
                raise AssertionError(f"fields in a 100: {lines}")
        else:
            method = methods[finals] if finals < len(methods) else "GET"
            finals += 1
            if method == "HEAD" or status in (204, 304):
                pass
            elif fields.get("transfer-encoding") == "chunked":
                body, data = _chunks(data)
            elif "content-length" in fields:
                size = int(fields["content-length"])
                if len(data) < size:
                    raise AssertionError(f"{size} bytes were announced: {data!r}")
                body, data = data[:size], data[size:]
            else:
                body, data = data, b""
        answers.append(Answer(status, fields, body))
    return answers


def _chunks(data: bytes) -> tuple[bytes, bytes]:
    pieces: list[bytes] = []
    at = 0
    while True:
        end = data.find(b"\r\n", at)
        if end < 0:
            raise AssertionError("a chunked answer without an end")
        begin = end + 2
        after = begin + int(data[at:end], 16)
        if data[after : after + 2] != b"\r\n":
            raise AssertionError("a chunk without its end")
        at = after + 2
        if after == begin:
            return b"".join(pieces), data[at:]
        pieces.append(data[begin:after])


# -- a door ----------------------------------------------------------------------------------


class Echo(Leaf):
    """Answers with the body it was sent; C{?limit=N} bounds it."""

    async def handle_POST(self, request: Any) -> Reply:
        """Give it back."""
        return Reply(200, await request.body.read_all(int(request.fields.get(b"limit", b"1000"))), OCTETS)

    async def handle_GET(self, request: Any) -> Reply:
        """Say hello."""
        return Reply(200, b"hello", OCTETS)


def make_site(
    clock: Clock,
    limits: ConnectionSettings | None = None,
    lane: Any = None,
    guard: Guard | None = None,
    **children: Any,
) -> DoorSite:
    """A door with L{Echo} at C{/echo} and others."""
    root = Root({b"echo": Echo(), **{name.encode("ascii"): child for name, child in children.items()}})
    site = DoorSite(root, clock, limits or ConnectionSettings(), lane=lane, guard=guard)
    site.startFactory()
    return site
