"""A server of ours that says what it was told to, however bad that is."""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import TestCase

from storehouse.core.jobs import DiskThreads

__all__ = ["Server", "ServerTestCase", "answer"]

reactor: Any = _reactor


def answer(status: int, body: bytes = b"", *headers: str) -> bytes:
    """An answer of HTTP."""
    lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


class _Scripted(Protocol):
    """Answers a request with what comes next."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.data = b""
        self.answered = False

    def dataReceived(self, data: bytes) -> None:
        self.server.received += len(data)
        self.data += data
        if self.answered and not self.server.keeps:
            return
        head, end, body = self.data.partition(b"\r\n\r\n")
        if not end:
            return
        length = 0
        for line in head.split(b"\r\n")[1:]:
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        if len(body) < length and not self.server.early:
            return
        self.data = body[length:]
        self.answered = True
        self.server.requests.append(head.decode())
        self.server.bodies.append(body[:length])
        said = self.server.answers.pop(0) if self.server.answers else answer(500)
        assert self.transport is not None
        if said == b"cut":
            self.transport.abortConnection()
        else:
            self.transport.write(said)
            if self.server.ends:
                self.transport.loseConnection()

    def connectionLost(self, reason: Any = None) -> None:
        self.server.open.discard(self)

    def connectionMade(self) -> None:
        self.server.open.add(self)


class Server(Factory):
    """
    A server that says what it was told to.

    @ivar early: whether it answers before it has the body.
    @ivar ends: whether it closes a connection behind an answer.
    """

    noisy = False
    keeps = True

    def __init__(self) -> None:
        self.answers: list[bytes] = []
        self.requests: list[str] = []
        self.bodies: list[bytes] = []
        self.early = self.ends = False
        self.received = 0
        self.open: set[_Scripted] = set()

    def buildProtocol(self, address: Any) -> _Scripted:
        return _Scripted(self)


class ServerTestCase(TestCase):
    """Has such a server."""

    def setUp(self) -> None:
        self.server = Server()
        self.port = reactor.listenTCP(0, self.server, interface="127.0.0.1")
        self.addCleanup(self.port.stopListening)
        self.addCleanup(lambda: [each.transport.abortConnection() for each in list(self.server.open)])
        self.url = f"http://127.0.0.1:{self.port.getHost().port}"
        self.disk = DiskThreads(reactor)
        self.addCleanup(self.disk.stop)
