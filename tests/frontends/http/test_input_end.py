"""Clients that close their side of a connection when they have sent all, and read on."""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import ClientFactory, Protocol
from twisted.trial.unittest import TestCase

from storehouse.config.settings import ConnectionSettings
from storehouse.core.fast.transports import make_eager
from storehouse.frontends.http import channel
from storehouse.frontends.http.reply import OCTETS
from storehouse.frontends.http.request import Leaf
from storehouse.frontends.http.site import DoorSite
from tests.frontends.append.doors import Door
from tests.frontends.http.test_channel import ChannelCase
from tests.frontends.http.wire import make_site, request, split_answers


class _Goes(Leaf):
    """A response that continues until a test ends it."""

    def __init__(self) -> None:
        Leaf.__init__(self)
        self.ended: list[Deferred[None]] = []

    async def handle_GET(self, request: Any) -> None:
        """Send a piece, wait, send another."""
        request.begin(200, OCTETS)
        await request.send(b"begun, ")
        over: Deferred[None] = Deferred()
        request.call_at_input_end(lambda: over.callback(None))
        await over
        await request.send(b"ended")


class _Breaks(Leaf):
    """An answer that cannot be finished."""

    async def handle_GET(self, request: Any) -> None:
        """Begin it, and find damage."""
        request.begin(200, OCTETS, length=100 if b"length" in request.fields else None)
        await request.send(b"half")
        request.break_off()


class InputEndTests(ChannelCase):
    """Without a lane."""

    def setUp(self) -> None:
        super().setUp()
        self.site.resource.putChild(b"goes", _Goes())
        self.site.resource.putChild(b"breaks", _Breaks())

    def end(self, *data: bytes) -> Any:
        connection = self.ask(*data)
        connection.end_input()
        return connection

    def test_answered_whole(self) -> None:
        for data in (
            request("POST /echo", b"some text"),
            request("GET /blob?n=20"),
            b"GET /blob?n=20 HTTP/1.0\r\n\r\n",
            request("GET /missing"),
        ):
            whole = self.ask(data).received
            ended = self.connect(window=1000)
            ended.send(data)
            ended.end_input()
            while not ended.is_closed:
                ended.transport.take(100_000)
                ended.settle()
            self.assertEqual((ended.received, ended.transport.closed), (whole, "done"), data)

    def test_answered_later(self) -> None:
        connection = self.end(request("POST /later", b"first") + request("POST /later", b"second"))
        self.assertFalse(connection.is_closed)
        for _ in range(2):
            self.later.go()
            connection.settle()
        self.assertEqual([answer.body for answer in split_answers(connection.received)], [b"first", b"second"])
        self.assertEqual(connection.transport.closed, "done")

    def test_nothing_or_little(self) -> None:
        """What is no request is not answered. Answers before it are whole."""
        self.assertEqual(self.end().transport.closed, "done")
        self.assertEqual(self.end(request("GET /echo")).transport.closed, "done")
        for rest in (b"G", b"GET /echo HTTP/1.1\r\nHost:", request("POST /echo", b"some text")[:-1]):
            connection = self.end(request("GET /echo") + rest)
            (answer,) = split_answers(connection.received)
            self.assertEqual((answer.body, connection.transport.closed), (b"hello", "done"), rest)

    def test_never_whole(self) -> None:
        """A request that lacks something is broken off."""
        for rest in (
            b"GET /echo HTTP/1.1\r\nHost:",
            request("POST /echo", b"some text")[:-1],
            b"PUT /sink HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n",
        ):
            connection = self.end(rest)
            self.assertEqual((connection.received, connection.transport.closed), (b"", "aborted"), rest)

    def test_goes_on_by_itself(self) -> None:
        for data in (request("GET /goes"), b"GET /goes HTTP/1.0\r\n\r\n", request("GET /echo") + request("GET /goes")):
            connection = self.end(data)
            self.assertEqual(split_answers(connection.received)[-1].body, b"begun, ended")
            self.assertEqual(connection.transport.closed, "done")

    def test_refused(self) -> None:
        connection = self.end(b"BAD\r\n\r\n")
        self.assertEqual((split_answers(connection.received)[0].status, connection.transport.closed), (400, "done"))

    def test_answered_before_the_body(self) -> None:
        connection = self.end(request("POST /missing", b"x" * 100_000)[:-1])
        self.assertEqual((split_answers(connection.received)[0].status, connection.transport.closed), (404, "done"))

    def test_looked_at_in_slices(self) -> None:
        """Also if the end comes before all that was sent is looked at."""
        turns: list[Deferred[None]] = []

        def breath() -> Deferred[None]:
            turns.append(Deferred())
            return turns[-1]

        self.patch(channel, "is_spent", lambda: True)
        self.patch(channel, "breath", breath)
        for rest in (b"", b"GET /ec", request("POST /echo", b"xy")[:-1]):
            connection = self.connect()
            connection.send(request("GET /echo") * 3 + request("POST /echo", b"hello") + rest)
            connection.channel.readConnectionLost()
            while turns:
                self.assertFalse(connection.transport.disconnecting)
                turns.pop(0).callback(None)
                connection.settle()
            self.assertEqual([answer.body for answer in split_answers(connection.received)], [b"hello"] * 4, rest)
            self.assertEqual(connection.transport.closed, "done", rest)

    def test_unfinished_answers_are_reset(self) -> None:
        """A body that the end of the connection ends must not end in order when it is cut."""
        for line, closed in (
            (b"GET /breaks HTTP/1.0\r\n\r\n", "aborted"),
            (b"GET /breaks?length=1 HTTP/1.0\r\n\r\n", "done"),
            (b"GET /breaks HTTP/1.1\r\nHost: x\r\n\r\n", "done"),
        ):
            connection = self.ask(line)
            self.assertEqual(connection.transport.closed, closed, line)
            self.assertTrue(connection.received.endswith(b"half") or connection.received.endswith(b"half\r\n"))


class AppendDoorTests(TestCase):
    """At the append door, with its lane and without."""

    def doors(self) -> Any:
        for fast_lane in (True, False):
            door = Door(self.mktemp(), fast_lane)
            self.addCleanup(door.close)
            yield door

    def test_appends(self) -> None:
        for door in self.doors():
            one = request("POST /append?id=a", b"one")
            for data in (one, one * 3, one + request("GET /get?id=a&offset=0"), b"", one * 2 + one[:-1], one + b"POS"):
                connection = door.play(data)
                connection.end_input()
                answers = split_answers(connection.received)
                self.assertEqual({answer.status for answer in answers}, {200} if data else set())
                self.assertEqual(len(answers), data.count(b"one") + data.count(b"GET"), data)
                self.assertEqual(connection.transport.closed, "done")

    def test_looked_at_in_slices(self) -> None:
        for door in self.doors():
            turns: list[Deferred[None]] = []

            def breath(turns: list[Deferred[None]] = turns) -> Deferred[None]:
                turns.append(Deferred())
                return turns[-1]

            self.patch(channel, "is_spent", lambda: True)
            self.patch(channel, "breath", breath)
            connection = door.connect()
            one = request("POST /append?id=a", b"one")
            connection.send(one * 3 + request("GET /stat") * 2 + one * 2 + one[:-1], settle=False)
            connection.channel.readConnectionLost()
            connection.settle()
            while turns:
                turns.pop(0).callback(None)
                connection.settle()
            self.assertEqual([answer.status for answer in split_answers(connection.received)], [200] * 7)
            self.assertEqual(connection.transport.closed, "done")

    def test_incomplete(self) -> None:
        for door in self.doors():
            for data in (request("POST /append?id=a", b"one")[:-1], b"POST /append?id=a HTTP/1.1\r\nHo"):
                connection = door.play(data)
                connection.end_input()
                self.assertEqual((connection.received, connection.transport.closed), (b"", "aborted"))
            self.assertEqual(set(door.raw().values()), {b""})

    def test_follow(self) -> None:
        for door in self.doors():
            door.play(request("POST /append?id=a", b"one"))
            for version in (b"HTTP/1.1", b"HTTP/1.0"):
                connection = door.connect()
                connection.send(b"GET /scan?id=a&follow=1 " + version + b"\r\nHost: x\r\n\r\n", settle=False)
                self.assertFalse(connection.is_closed)
                connection.channel.readConnectionLost()
                connection.settle()
                (answer,) = split_answers(connection.received)
                self.assertEqual(answer.body[12:15], b"one")
                self.assertEqual(connection.transport.closed, "done")

    def test_stopping(self) -> None:
        """A request that is coming when the door ends is still served, and is the last of its connection."""
        for door in self.doors():
            for cut in (1, 20, -2):
                data = request("POST /append?id=a", b"one")
                connection = door.connect()
                connection.send(data[:cut])
                connection.channel.finish_soon()
                self.assertFalse(connection.is_closed or connection.transport.disconnecting, cut)
                connection.send(data[cut:] + data)
                (answer,) = split_answers(connection.received)
                self.assertEqual((answer.status, answer.fields["connection"]), (200, "close"))
                self.assertTrue(connection.is_closed)
            self.assertEqual(sum(raw.count(b"one") for raw in door.raw().values()), 3)

    def test_body_that_stops_in_the_lane(self) -> None:
        """The lane's patience is that of the other way."""
        for door in self.doors():
            connection = door.play(request("POST /append?id=a", b"one")[:-1])
            door.pass_time(20)
            self.assertFalse(connection.is_closed)
            door.pass_time(45)
            self.assertTrue(connection.is_closed)


class _Asking(Protocol):
    def __init__(self, data: bytes, done: Deferred[Any]) -> None:
        self._data, self._done, self._received = data, done, b""

    def connectionMade(self) -> None:
        self.transport.write(self._data)  # type: ignore[union-attr]
        self.transport.loseWriteConnection()  # type: ignore[union-attr]

    def dataReceived(self, data: bytes) -> None:
        self._received += data

    def connectionLost(self, reason: Any = None) -> None:
        self._done.callback((self._received, type(reason.value).__name__))


class _AskingFactory(ClientFactory):
    noisy = False

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.done: Deferred[Any] = Deferred()

    def buildProtocol(self, addr: Any) -> Protocol:
        return _Asking(self.data, self.done)


class SocketTests(TestCase):
    """Through real sockets."""

    async def test_sockets(self) -> None:
        class Much(Leaf):
            async def handle_GET(self, request: Any) -> None:
                request.begin(200, OCTETS)
                for _ in range(100):
                    await request.send(b"z" * 65536)
                if b"break" in request.fields:
                    request.break_off()

        site: DoorSite = make_site(reactor, ConnectionSettings(), much=Much())  # type: ignore[arg-type]
        port = reactor.listenTCP(0, site, interface="127.0.0.1")  # type: ignore[attr-defined]
        make_eager(port)
        self.addCleanup(port.stopListening)
        self.addCleanup(site.connections.stop)
        for data, size, ending in (
            (b"GET /much HTTP/1.0\r\n\r\n", 6553600, "ConnectionDone"),
            (request("GET /echo") * 3, 5, "ConnectionDone"),
            (request("POST /echo", b"hello")[:-1], 0, "ConnectionLost"),
            (b"GET /much?break=1 HTTP/1.0\r\n\r\n", None, "ConnectionLost"),
        ):
            asking = _AskingFactory(data)
            reactor.connectTCP("127.0.0.1", port.getHost().port, asking)  # type: ignore[attr-defined]
            received, how = await asking.done
            self.assertEqual(how, ending, data)
            if size is not None:
                self.assertEqual(len(received.rpartition(b"\r\n\r\n")[2]), size)
