"""A small SFSP server in memory, and wires to it: of memory and a clock, or of sockets and threads."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost, ConnectionRefusedError
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from storehouse.clients.sfsp.connection import Connection
from storehouse.core.sfsp import (
    Code,
    List,
    Receive,
    Request,
    RequestDecoder,
    Send,
    Status,
    encode_chunk,
    encode_ids,
    encode_ids_head,
    encode_status,
)

__all__ = ["Endpoint", "Model", "Session", "Wire", "serving"]


class Model:
    """
    What is stored.

    @ivar early: is asked about each request when its head has come; a status it returns is the answer.
    @ivar seen: all requests that were understood.
    @ivar limit: bytes after which a connection is cut, for each connection in turn; C{None} for never. Those beyond the
        end of the list are not.
    """

    def __init__(self) -> None:
        self.files: dict[bytes, dict[int, bytes]] = {}
        self.early: Callable[[Request], Status | None] = lambda request: None
        self.seen: list[Request] = []
        self.limits: list[int | None] = []
        self.sessions = 0

    def put(self, name: bytes, *chunks: bytes) -> None:
        """Store a file."""
        self.files[name] = dict(enumerate(chunks))

    def content(self, name: bytes) -> bytes:
        """The chunks of a file as one."""
        return b"".join(data for _, data in sorted(self.files[name].items()))


class Session:
    """
    One connection.

    @ivar out: what is to be sent.
    @ivar closing: the connection is to be closed when that was.
    @ivar cut: it is to be cut at once.
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self.out = bytearray()
        self.closing = False
        self.cut = False
        self.limit = model.limits[model.sessions] if model.sessions < len(model.limits) else None
        model.sessions += 1
        self._decoder = RequestDecoder()
        self._send: Send | None = None
        self._data = bytearray()
        self._refused = False
        self._came = 0

    def feed(self, data: bytes) -> None:
        """Bytes have come."""
        if self.closing or self.cut:
            return
        self._came += len(data)
        if self.limit is not None and self._came > self.limit:
            self.cut = True
            data = data[: len(data) - (self._came - self.limit)]
        self._decoder.feed(data)
        while not self.closing and (item := self._decoder.next()) is not None:
            if isinstance(item, bytes):
                self._data += item
            else:
                self._request(item)
            if self._send is not None and not self._decoder.left:
                self._stored()

    def _request(self, request: Request) -> None:
        self.model.seen.append(request)
        status = self.model.early(request)
        if isinstance(request, Send):
            self._send = request
            self._data = bytearray()
            self._refused = status is not None
        if status is not None:
            self.out += encode_status(status.code, status.message)
            self.closing = status.code == Code.INVALID_REQ
        elif isinstance(request, Receive):
            data = self.model.files.get(request.name, {}).get(request.id)
            if data is None:
                self.out += encode_status(Code.NOT_FOUND)
            else:
                self.out += encode_chunk(request.name, request.id, len(data)) + data
        elif isinstance(request, List):
            ids = sorted(self.model.files.get(request.name, {}))
            self.out += encode_ids_head(len(ids)) + encode_ids(ids)

    def _stored(self) -> None:
        send, self._send = self._send, None
        if send is not None and not self._refused:
            self.model.files.setdefault(send.name, {})[send.id] = bytes(self._data)
            self.out += encode_status(Code.OK)


class Wire:
    """
    A transport of memory between a L{Connection} and a L{Session}. Bytes move when the clock does.

    @ivar room: bytes after which the connection is told to pause.
    @ivar fragment: bytes that are handed over at once.
    @ivar stuck: the server reads nothing.
    @ivar is_paused: the connection takes nothing.
    @ivar aborted: it was closed by a reset.
    """

    disconnecting = False

    def __init__(self, connection: Connection, session: Session, clock: Clock, fragment: int = 65536) -> None:
        self.connection = connection
        self.session = session
        self.clock = clock
        self.fragment = fragment
        self.room = 65536
        self.stuck = False
        self.is_paused = False
        self.aborted = False
        self.closed = False
        self.most = 0
        self._pending = bytearray()
        self._producer: Any = None
        self._is_full = False
        self._moving = False
        connection.makeConnection(self)

    def write(self, data: bytes) -> None:
        """Queue bytes for the server."""
        if self.closed or not data:
            return
        self._pending += data
        self.most = max(self.most, len(self._pending))
        if len(self._pending) > self.room and not self._is_full and self._producer is not None:
            self._is_full = True
            self._producer.pauseProducing()
        self.wake()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Pause this one."""
        self._producer = producer

    def unregisterProducer(self) -> None:
        """No more."""
        self._producer = None

    def pauseProducing(self) -> None:
        """Read nothing."""
        self.is_paused = True

    def resumeProducing(self) -> None:
        """Read again."""
        self.is_paused = False
        self.wake()

    def loseConnection(self) -> None:
        """Close it."""
        self.disconnecting = True
        self.clock.callLater(0, self.lose, ConnectionDone())

    def abortConnection(self) -> None:
        """Cut it."""
        self.aborted = True
        self.clock.callLater(0, self.lose, ConnectionAborted())

    def lose(self, reason: Exception) -> None:
        """It is gone."""
        if not self.closed:
            self.closed = True
            self.connection.connectionLost(Failure(reason))

    def say(self, data: bytes) -> None:
        """The server sends something of its own accord."""
        self.session.out += data
        self.wake()

    def wake(self) -> None:
        """Move bytes soon."""
        if not self._moving:
            self._moving = True
            self.clock.callLater(0, self._move)

    def _move(self) -> None:
        self._moving = False
        if self.closed:
            return
        if self._pending and not self.stuck:
            data = bytes(self._pending[: self.fragment])
            del self._pending[: self.fragment]
            self.session.feed(data)
            if not self._pending and self._is_full:
                self._is_full = False
                if self._producer is not None:
                    self._producer.resumeProducing()
        if self.session.cut:
            self.lose(ConnectionLost())
            return
        if self.session.out and not self.is_paused:
            data = bytes(self.session.out[: self.fragment])
            del self.session.out[: self.fragment]
            self.connection.dataReceived(data)
        if self.closed:
            return
        if self.session.closing and not self.session.out:
            self.lose(ConnectionDone())
        elif (self._pending and not self.stuck) or (self.session.out and not self.is_paused):
            self.wake()


class Endpoint:
    """
    Connects to a model.

    @ivar wires: all that were made.
    @ivar refusing: how many attempts are refused.
    @ivar silent: attempts come to nothing.
    @ivar stuck: the server reads nothing from new connections.
    """

    def __init__(self, model: Model, clock: Clock, fragment: int = 65536) -> None:
        self.model = model
        self.clock = clock
        self.fragment = fragment
        self.wires: list[Wire] = []
        self.refusing = 0
        self.silent = False
        self.stuck = False

    def connect(self, factory: Any) -> Deferred[Any]:
        """See C{IStreamClientEndpoint}."""
        if self.silent:
            return Deferred()
        if self.refusing:
            self.refusing -= 1
            return fail(ConnectionRefusedError(111))
        connection = factory.buildProtocol(None)
        wire = Wire(connection, Session(self.model), self.clock, self.fragment)
        wire.stuck = self.stuck
        self.wires.append(wire)
        return succeed(connection)


class _Handler(socketserver.BaseRequestHandler):
    """A connection with a thread of its own."""

    model: Model

    def handle(self) -> None:
        """Serve it."""
        session = Session(self.model)
        try:
            while data := self.request.recv(65536):
                session.feed(data)
                self.request.sendall(session.out)
                session.out.clear()
                if session.closing:
                    self.request.shutdown(socket.SHUT_WR)
                    while self.request.recv(65536):
                        pass
                if session.cut:
                    return
        except OSError:
            pass


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True


@contextmanager
def serving(model: Model) -> Iterator[int]:
    """Serve a model on a port, which is given."""
    server = _Server(("127.0.0.1", 0), type("BoundHandler", (_Handler,), {"model": model}))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
