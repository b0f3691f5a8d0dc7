"""Tests of L{storehouse.frontends.http.channel}."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from storehouse.config.settings import ConnectionSettings
from storehouse.core import connections
from storehouse.core.fast.transports import LARGE_READS
from storehouse.errors import RequestTimeout
from storehouse.frontends.http.channel import ChunkedDecoder
from storehouse.frontends.http.reply import OCTETS, ClientGone, Reply
from storehouse.frontends.http.request import Leaf, RequestBody
from tests.frontends.append.doors import Door
from tests.frontends.append.test_lane import PLAIN, REFUSED, append, chunked, get
from tests.frontends.http.wire import Connection, Transport, make_site, request, split_answers
from tests.turns.breathing import every_breath


class _Later(Leaf):
    """Answers when the test says so, and reads the body then."""

    def __init__(self) -> None:
        Leaf.__init__(self)
        self.waiting: list[Deferred[None]] = []

    async def handle_POST(self, request: Any) -> Reply:
        """Wait, then give the body back."""
        turn: Deferred[None] = Deferred()
        self.waiting.append(turn)
        await turn
        return Reply(200, await request.body.read_all(1 << 20), OCTETS)

    handle_GET = handle_POST

    def go(self) -> None:
        """Let the oldest go on."""
        self.waiting.pop(0).callback(None)


class _Blob(Leaf):
    """Streams C{?n=} pieces of 64 KiB."""

    def __init__(self) -> None:
        Leaf.__init__(self)
        self.sent = 0
        self.gone = 0

    async def handle_GET(self, request: Any) -> None:
        """Send them."""
        request.begin(200, OCTETS)
        try:
            for _ in range(int(request.fields[b"n"])):
                await request.send(b"z" * 65536)
                self.sent += 1
        except ClientGone:
            self.gone += 1
            raise


class _Sink(Leaf):
    """Reads a body, as long as the test lets it."""

    def __init__(self) -> None:
        Leaf.__init__(self)
        self.taken = 0
        self.paused_after = 1 << 40
        self.turn: Deferred[None] | None = None
        self.results: list[Any] = []

    def go_on(self) -> None:
        """Let it read on."""
        self.paused_after = 1 << 40
        turn, self.turn = self.turn, None
        if turn is not None:
            turn.callback(None)

    async def _take(self, body: RequestBody) -> int:
        while piece := await body.read():
            self.taken += len(piece)
            if self.taken >= self.paused_after:
                self.turn = Deferred()
                await self.turn
        return self.taken

    async def handle_PUT(self, request: Any) -> Reply:
        """Take it."""
        try:
            count = await self._take(request.body)
        except Exception as error:
            self.results.append(error)
            raise
        self.results.append(count)
        return Reply(200, b"%d" % count)


class ChannelCase(SynchronousTestCase):
    """A door with a clock."""

    limits = ConnectionSettings()

    def setUp(self) -> None:
        """Build the door."""
        self.clock = Clock()
        self.connections: list[Connection] = []
        self.later, self.blob, self.sink = _Later(), _Blob(), _Sink()
        self.site = make_site(self.clock, self.limits, later=self.later, blob=self.blob, sink=self.sink)

    def tearDown(self) -> None:
        """Nothing is left behind: no connection, no request, no timer but the site's own."""
        for channel in self.site.connections:
            channel.abort()
            channel.connectionLost()
        self.assertEqual(self.site._requests, set())
        self.assertEqual(len(self.clock.getDelayedCalls()), 1, self.clock.getDelayedCalls())

    def connect(self, window: int | None = None) -> Connection:
        """Open a connection."""
        connection = Connection(self.site, window)
        self.connections.append(connection)
        return connection

    def ask(self, *data: bytes) -> Connection:
        """Play requests."""
        connection = self.connect()
        for piece in data:
            connection.send(piece)
        return connection

    def pass_time(self, seconds: float, step: float = 1.0) -> None:
        """Let time pass."""
        while seconds > 0:
            self.clock.advance(min(step, seconds))
            seconds -= step
            for connection in self.connections:
                connection.settle()


class AnswerTests(ChannelCase):
    """What is answered."""

    def test_plain(self) -> None:
        connection = self.ask(request("POST /echo", b"some text"))
        (answer,) = split_answers(connection.received)
        self.assertEqual((answer.status, answer.body), (200, b"some text"))
        self.assertEqual(answer.fields["content-length"], "9")
        self.assertEqual(answer.fields["date"], "Thu, 01 Jan 1970 00:00:00 GMT")
        self.assertNotIn("connection", answer.fields)
        self.assertFalse(connection.is_closed)

    def test_kept_alive(self) -> None:
        """A connection outlives its answers, whether they were given at once or after the body."""
        connection = self.connect()
        for line, body in (
            ("GET /echo", None),
            ("GET /missing", None),
            ("POST /echo", b"x"),
            ("POST /missing", b"x"),
            ("DELETE /echo", b"x"),
        ):
            connection.send(request(line, body))
            self.pass_time(30)
            self.assertFalse(connection.is_closed, line)
        self.assertEqual([answer.status for answer in split_answers(connection.received)], [200, 404, 200, 404, 405])

    def test_head(self) -> None:
        connection = self.ask(
            request("HEAD /echo")
            + request("GET /echo")
            + request("HEAD /missing")
            + request("HEAD /blob?n=2")
            + request("GET /echo")
        )
        answers = split_answers(connection.received, ["HEAD", "GET", "HEAD", "HEAD", "GET"])
        self.assertEqual([answer.status for answer in answers], [200, 200, 404, 200, 200])
        self.assertEqual(answers[0].fields, answers[1].fields)
        self.assertEqual(answers[4].body, b"hello")

    def test_method_not_allowed(self) -> None:
        for method in ("PUT", "DELETE", "PATCH", "OPTIONS", "BREW", "post"):
            (answer,) = split_answers(self.ask(request(f"{method} /echo", b"")).received)
            self.assertEqual((answer.status, answer.fields["allow"]), (405, "GET, HEAD, POST"))
            self.assertEqual(json.loads(answer.body)["error"], "MethodNotAllowed")

    def test_not_found(self) -> None:
        for path in ("/nowhere", "/echo/deeper", "/echo/", "//echo", "/%65cho/..", "/echo/../echo", "/Echo", "/%00"):
            (answer,) = split_answers(self.ask(request(f"GET {path}")).received)
            self.assertEqual(answer.status, 404, path)

    def test_encoded_path(self) -> None:
        self.assertEqual(split_answers(self.ask(request("GET /%65cho")).received)[0].status, 200)

    def test_http_1_0(self) -> None:
        connection = self.ask(b"GET /echo HTTP/1.0\r\n\r\n" + request("GET /echo"))
        (answer,) = split_answers(connection.received)
        self.assertEqual((answer.body, answer.fields["connection"]), (b"hello", "close"))
        self.assertTrue(connection.is_closed)
        streamed = self.ask(b"GET /blob?n=2 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        (answer,) = split_answers(streamed.received)
        self.assertEqual(answer.body, b"z" * 131072)
        self.assertNotIn("transfer-encoding", answer.fields)
        self.assertTrue(streamed.is_closed)

    def test_close_asked_for(self) -> None:
        for value in ("close", "Close", "keep-alive, close", "close,x"):
            connection = self.ask(request("GET /echo", None, f"Connection: {value}") + request("GET /echo"))
            (answer,) = split_answers(connection.received)
            self.assertEqual(answer.fields["connection"], "close")
            self.assertTrue(connection.is_closed)

    def test_targets(self) -> None:
        """A URL for a path, later versions of HTTP/1, and whether anybody is there."""
        for line in (
            b"http://x/echo HTTP/1.1",
            b"HTTP://Y:80/echo?a=b HTTP/1.1",
            b"https://x/echo HTTP/1.1",
            b"/echo HTTP/1.2",
        ):
            connection = self.ask(b"GET " + line + b"\r\nHost: x\r\n\r\n" + request("GET /echo"))
            self.assertEqual([answer.body for answer in split_answers(connection.received)], [b"hello"] * 2, line)
        (answer,) = split_answers(self.ask(b"GET http://x/echo HTTP/1.0\r\n\r\n").received)
        self.assertEqual(answer.body, b"hello")
        answers = split_answers(
            self.ask(request("OPTIONS *") + request("OPTIONS http://x") + request("GET /echo")).received
        )
        self.assertEqual(
            [(a.status, a.fields.get("content-length")) for a in answers], [(200, "0"), (200, "0"), (200, "5")]
        )
        self.patch(Transport, "getPeer", lambda transport: IPv4Address("TCP", "192.168.1.2", 50000))
        for url, status in (("https://x/echo", 421), ("http://x/echo", 200)):
            self.assertEqual(split_answers(self.ask(request(f"GET {url}")).received)[0].status, status)

    def test_chunked(self) -> None:
        head = b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        connection = self.ask(
            head + b"4;name=value\r\nsome\r\n5\r\n text\r\n0\r\nTrailer: x\r\n\r\n" + request("GET /echo")
        )
        first, second = split_answers(connection.received)
        self.assertEqual((first.body, second.body), (b"some text", b"hello"))

    def test_streamed_answer(self) -> None:
        (answer,) = split_answers(self.ask(request("GET /blob?n=3")).received)
        self.assertEqual((answer.fields["transfer-encoding"], answer.body), ("chunked", b"z" * 196608))

    def test_pipelined_in_order(self) -> None:
        connection = self.ask(
            request("POST /later", b"first") + request("POST /echo", b"second") + request("POST /later", b"third")
        )
        self.assertEqual(connection.received, b"")
        self.later.go()
        self.assertEqual([answer.body for answer in split_answers(connection.received)], [b"first", b"second"])
        self.later.go()
        connection.settle()
        self.assertEqual(
            [answer.body for answer in split_answers(connection.received)], [b"first", b"second", b"third"]
        )

    def test_split_everywhere(self) -> None:
        """However the bytes come, the answers are the same."""
        chunked = b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
        data = (
            request("POST /echo?limit=9", b"some text")
            + chunked
            + request("GET /missing")
            + request("DELETE /echo", b"no")
            + request("GET /echo")
        )
        whole = self.ask(data).received
        self.assertEqual([answer.status for answer in split_answers(whole)], [200, 200, 404, 405, 200])
        for at in range(1, len(data)):
            connection = self.ask(data[:at], data[at:])
            self.assertEqual(connection.received, whole, at)
        self.assertEqual(self.ask(*(data[at : at + 1] for at in range(len(data)))).received, whole)

    def test_access_log(self) -> None:
        lines: list[Any] = []
        self.site._access_log = True
        self.site._log = type("Log", (), {"info": lambda self, text, **fields: lines.append(text.format(**fields))})()
        self.ask(request("POST /echo", b"some text") + request("GET /missing"))
        self.assertEqual(len(lines), 2)
        self.assertRegex(lines[0], r"^http: 127\.0\.0\.1 POST /echo 200 9 0\.\d+$")
        self.patch(Transport, "getPeer", lambda transport: UNIXAddress(None))
        self.ask(request("GET /echo"))
        self.assertRegex(lines[2], r"^http: - GET /echo 200 5 0\.\d+$")
        # As X-HTTP-Method-Override may have it.
        self.site.log_access("-", b"\x1b[2J", b"/", 405, 0, 0.0)
        self.assertIn(" %1B[2J / 405 ", lines[3])
        # What is below a path that nobody serves may be anything.
        self.ask(request("GET /echo?id=a&x=SECRET") + request("GET http://x//sign-in/SECRET") + request("GET /echo?%"))
        self.assertIn(" GET /echo?id=a&x=... 200 ", lines[4])
        self.assertIn(" GET /... 404 ", lines[5])
        self.assertIn(" GET /echo?... ", lines[6])

    def test_access_log_of_a_door_that_asks(self) -> None:
        lines: list[Any] = []
        self.site._access_log = self.site.asks = True
        self.site._log = type("Log", (), {"info": lambda self, text, **fields: lines.append(text.format(**fields))})()
        self.ask(request("GET /echo"))
        self.site.log_access("-", b"GET", b"/echo", 200, 0, 0.0, "ann\n")
        self.assertRegex(lines[0], r"^http: 127\.0\.0\.1 - GET /echo 200 5 0\.\d+$")
        self.assertRegex(lines[1], r"^http: - ann%0A GET /echo 200 0 0\.\d+$")


class RefusalTests(ChannelCase):
    """What is not a request ends the connection; nothing behind it is read."""

    def assert_refused(self, data: bytes, status: int, error: str) -> None:
        """Whole and byte by byte."""
        smuggled = data + request("POST /echo", b"smuggled")
        for pieces in (
            [smuggled],
            [smuggled[at : at + 1] for at in range(len(smuggled))] if len(smuggled) < 2000 else [smuggled],
        ):
            connection = self.ask(*pieces)
            (answer,) = split_answers(connection.received)
            self.assertEqual((answer.status, json.loads(answer.body)["error"]), (status, error), data[:200])
            self.assertEqual(answer.fields["connection"], "close")
            self.assertNotIn(b"smuggled", connection.received)
            self.pass_time(31)
            self.assertTrue(connection.is_closed, data[:200])

    def test_bare_line_ends(self) -> None:
        """They are refused at once, also where the fast lane keeps what is not whole."""
        for head in (
            b"GET /echo HTTP/1.1\nHost: x\n\n",
            b"GET /echo HTTP/1.1\r\nHost: x\n\n",
            b"POST /append HTTP/1.1\nHost: x\nContent-Length: 1\n\n",
            b"\n",
        ):
            (answer,) = split_answers(self.ask(head).received)
            self.assertEqual((answer.status, json.loads(answer.body)["error"]), (400, "AmbiguousFraming"), head)

    def test_framing(self) -> None:
        post = b"POST /echo HTTP/1.1\r\nHost: x\r\n"
        for lines in (
            b"Content-Length: 4\r\nTransfer-Encoding: chunked",
            b"Transfer-Encoding: chunked\r\nContent-Length: 4",
            b"Content-Length: 4\r\nContent-Length: 4",
            b"Content-Length: 4\r\nContent-Length: 5",
            b"Content-Length: +4",
            b"Content-Length: -1",
            b"Content-Length: 4,4",
            b"Content-Length: 0x4",
            b"Content-Length:",
            b"Content-Length : 4",
            b"Content-Length: " + b"9" * 5000,
            b"Content-Length: 4\r\n folded",
            b"Content-Length:\r\n 4",
            b"X: a\nContent-Length: 4",
            b"X: a\rb\r\nContent-Length: 4",
            b"X: a\x00b\r\nContent-Length: 4",
            b"X\r\nContent-Length: 4",
            b": x\r\nContent-Length: 4",
            b"Transfer-Encoding: xchunked",
            b"Transfer-Encoding: chunked, identity",
            b"Transfer-Encoding: identity, chunked",
            b"Transfer-Encoding: gzip, chunked",
            b"Transfer-Encoding: identity",
            b"Transfer-Encoding: identity\r\nContent-Length: 4",
            b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
            b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
            b"Transfer-Encoding : chunked",
            b"Transfer-Encoding: \x0bchunked",
            b"Transfer-Encoding:\r\n chunked",
            b"Host: y\r\nContent-Length: 4",
        ):
            self.assert_refused(post + lines + b"\r\n\r\n", 400, "AmbiguousFraming")

    def test_targets_and_lines(self) -> None:
        for line in (
            b"GET http://u@x/echo HTTP/1.1",
            b"GET * HTTP/1.1",
            b"CONNECT x HTTP/1.1",
            b"GET /echo#a HTTP/1.1",
            b"GET /echo http/1.1",
            b"GET /echo",
            b"GET  /echo HTTP/1.1",
            b" GET /echo HTTP/1.1",
            b"GET /echo HTTP/1.1 ",
            b"GET\t/echo HTTP/1.1",
            b"GET /ec\x00ho HTTP/1.1",
            b"GET /echo\n HTTP/1.1",
            b"GET /ec\xffho HTTP/1.1",
            b"G(T /echo HTTP/1.1",
            b"\x16\x03\x01\x02\x00\x01",
        ):
            self.assert_refused(line + b"\r\nHost: x\r\n\r\n", 400, "AmbiguousFraming")
        for line, status, error in (
            (b"CONNECT x:80 HTTP/1.1", 501, "MethodUnknown"),
            (b"GET /echo HTTP/2.0", 505, "VersionNotSpoken"),
            (b"PRI * HTTP/2.0", 505, "VersionNotSpoken"),
        ):
            self.assert_refused(line + b"\r\nHost: x\r\n\r\n", status, error)
        for host in (b"a b", b"u@x", b"x:y", b"[::1", b"http://x", b"\xe9", b"x\r\nHost: x", b"x\r\nhost:"):
            self.assert_refused(b"GET /echo HTTP/1.1\r\nHost: " + host + b"\r\n\r\n", 400, "AmbiguousFraming")
            self.assert_refused(b"GET http://x/echo HTTP/1.1\r\nHost: " + host + b"\r\n\r\n", 400, "AmbiguousFraming")
            self.assert_refused(b"GET /echo HTTP/1.0\r\nHost: " + host + b"\r\n\r\n", 400, "AmbiguousFraming")
        self.assert_refused(b"GET http://x/echo HTTP/1.1\r\n\r\n", 400, "AmbiguousFraming")
        self.assert_refused(b"GET /echo HTTP/1.1\r\n\r\n", 400, "AmbiguousFraming")
        self.assert_refused(
            b"GET /echo HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, "AmbiguousFraming"
        )

    def test_chunks(self) -> None:
        post = b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        for chunks in (
            b"\r\nabcd\r\n0\r\n\r\n",
            b"+4\r\nabcd\r\n0\r\n\r\n",
            b"-4\r\nabcd\r\n0\r\n\r\n",
            b"0x4\r\nabcd\r\n0\r\n\r\n",
            b"4 \r\nabcd\r\n0\r\n\r\n",
            b" 4\r\nabcd\r\n0\r\n\r\n",
            b"4\nabcd\n0\n\n" + b"x" * 1024,
            b"4\r\nabcde\r\n0\r\n\r\n",
            b"4\r\nabcd\n0\r\n\r\n",
            b"4\r\nabcd0\r\n\r\n",
            b"4;a\x00b\r\nabcd\r\n0\r\n\r\n",
            b"4;a\nb\r\nabcd\r\n0\r\n\r\n",
            b"g\r\nabcd\r\n0\r\n\r\n",
            b"4;" + b"x" * 2000 + b"\r\nabcd\r\n0\r\n\r\n",
            b"4\r\nabcd\r\n0\r\n" + b"T: x\r\n" * 12000 + b"\r\n",
            b"4\r\nabcd\r\n0\r\n" + b"T" * 70000,
        ):
            self.assert_refused(post + chunks, 400, "AmbiguousFraming")

    def test_chunk_too_large(self) -> None:
        post = b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        self.assert_refused(post + b"f" * 20 + b"\r\n" + b"x" * 2000, 413, "BodyTooLarge")

    def test_heads_too_large(self) -> None:
        start = b"GET /echo HTTP/1.1\r\nHost: x\r\n"
        self.assert_refused(start + b"X: " + b"y" * 20000 + b"\r\n\r\n", 431, "HeadTooLarge")
        self.assert_refused(start + b"X: " + b"y" * 100000, 431, "HeadTooLarge")
        self.assert_refused(start + b"X: yyyyyyyyyy\r\n" * 2000 + b"\r\n", 431, "HeadTooLarge")
        self.assert_refused(start + b"X: y\r\n" * 101 + b"\r\n", 431, "HeadTooLarge")
        self.assert_refused(b"GET /" + b"y" * 20000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414, "TargetTooLong")

    def test_after_good_ones(self) -> None:
        """What was asked before is answered."""
        connection = self.ask(request("POST /echo", b"good") + b"BAD\r\n\r\n" + request("POST /echo", b"smuggled"))
        self.assertEqual([answer.status for answer in split_answers(connection.received)], [200, 400])

    def test_bad_chunk_before_anybody_reads(self) -> None:
        """A handler that is at work on something else does not answer a second time."""
        connection = self.ask(b"POST /later HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nbad\xff\r\n")
        (answer,) = split_answers(connection.received)
        self.assertEqual(answer.status, 400)
        self.later.go()
        self.assertEqual(len(split_answers(connection.received)), 1)

    def test_query(self) -> None:
        """A bad query is a bad request, but its extent is clear, and the connection goes on."""
        connection = self.ask(
            request("GET /echo?a=1&a=2")
            + request("GET /echo?" + "&".join(f"f{n}=" for n in range(65)))
            + request("GET /echo")
        )
        self.assertEqual([answer.status for answer in split_answers(connection.received)], [400, 400, 200])


class EarlyAnswerTests(ChannelCase):
    """Answers that do not wait for a body."""

    def test_too_large(self) -> None:
        """
        Refused by its length, before a byte of it; the rest is read for a moment so that the peer can read the
        answer.
        """
        connection = self.ask(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n")
        (answer,) = split_answers(connection.received)
        self.assertEqual((answer.status, answer.fields["connection"]), (413, "close"))
        self.assertIsNone(connection.transport.closed)
        for _ in range(4):
            connection.send(b"x" * 100000)
            self.clock.advance(7)
        self.assertEqual(connection.unsent, 0)
        self.assertFalse(connection.is_closed)
        self.pass_time(2.5)
        self.assertTrue(connection.is_closed)

    def test_too_much_of_what_is_not_wanted(self) -> None:
        """The time in which a peer may read an answer is no time to send at full speed without end."""
        self.patch(connections, "_MOST_LINGERING", 1_000_000)
        connection = self.ask(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 9000000\r\n\r\n")
        for _ in range(10):
            connection.send(b"x" * 100_000)
            self.assertFalse(connection.is_closed)
        connection.send(b"x")
        self.assertEqual(connection.transport.closed, "done")
        self.assertEqual([answer.status for answer in split_answers(connection.received)], [413])

    def test_rest_comes(self) -> None:
        """If the rest comes in time the connection closes cleanly, and what is behind it is not a request."""
        connection = self.ask(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n", b"x" * 50000)
        connection.send(b"x" * 50000 + request("POST /echo", b"smuggled"))
        self.assertEqual([answer.status for answer in split_answers(connection.received)], [413])
        self.assertEqual(connection.transport.closed, "done")
        self.pass_time(10)

    def test_chunked(self) -> None:
        connection = self.ask(
            b"POST /echo?limit=10 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n8\r\n12345678\r\n"
        )
        self.assertEqual(connection.received, b"")
        connection.send(b"8\r\n12345678\r\n")
        (answer,) = split_answers(connection.received)
        self.assertEqual((answer.status, answer.fields["connection"]), (413, "close"))
        connection.send(b"0\r\n\r\n" + request("POST /echo", b"smuggled"))
        self.assertEqual(connection.transport.closed, "done")
        self.assertEqual(len(split_answers(connection.received)), 1)

    def test_small_body_does_not_cost_the_connection(self) -> None:
        head = b"POST /missing HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n"
        connection = self.ask(head, b"12", b"345" + request("GET /echo"))
        self.assertEqual([answer.status for answer in split_answers(connection.received)], [404, 200])

    def test_client_leaves(self) -> None:
        connection = self.ask(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n")
        connection.close()

    def test_expect(self) -> None:
        head = "Expect: 100-continue"
        connection = self.connect()
        data = request("POST /echo", b"some text", head)
        connection.send(data[:-9])
        self.assertEqual(connection.received, b"HTTP/1.1 100 Continue\r\n\r\n")
        connection.send(data[-9:])
        self.assertEqual([answer.status for answer in split_answers(connection.received)], [100, 200])
        connection.send(request("GET /echo"))
        self.assertEqual([answer.status for answer in split_answers(connection.received)], [100, 200, 200])

    def test_expect_refused(self) -> None:
        """No "go on" before a refusal."""
        for line, size, status in (
            ("POST /missing", 9, 404),
            ("PUT /echo", 9, 405),
            ("POST /echo?limit=5", 9, 413),
            ("POST /echo?a=1&a=2", 9, 400),
            ("GET /echo", 9, 200),
        ):
            connection = self.ask(request(line, b"x" * size, "Expect: 100-continue")[:-size])
            (answer,) = split_answers(connection.received)
            self.assertEqual((answer.status, answer.fields.get("connection")), (status, "close"), line)
            connection.close()
        framing = b"POST /echo HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n"
        self.assertEqual([answer.status for answer in split_answers(self.ask(framing).received)], [400])

    def test_expect_waits_for_the_handler(self) -> None:
        connection = self.ask(request("POST /later", b"some text", "Expect: 100-continue")[:-9])
        self.assertEqual(connection.received, b"")
        self.later.go()
        self.assertEqual(connection.received, b"HTTP/1.1 100 Continue\r\n\r\n")

    def test_expect_of_http_1_0(self) -> None:
        """RFC 9110 10.1.1: to be ignored."""
        connection = self.ask(b"POST /echo HTTP/1.0\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n", b"abcd")
        self.assertEqual([answer.status for answer in split_answers(connection.received)], [200])

    def test_expect_without_a_body(self) -> None:
        connection = self.ask(request("POST /echo", b"", "Expect: 100-continue"))
        self.assertEqual([answer.status for answer in split_answers(connection.received)], [200])


class BackpressureTests(ChannelCase):
    """Nobody's slowness fills our memory."""

    def test_slow_reader(self) -> None:
        connection = self.connect(window=1000)
        connection.send(request("GET /blob?n=200"))
        self.assertLessEqual(self.blob.sent, 3)
        for _ in range(20):
            connection.transport.take(65536)
        self.assertLessEqual(connection.transport.most_waiting, 3 * 65600)
        connection.transport.window = None
        connection.transport.take(0)
        (answer,) = split_answers(connection.received)
        self.assertEqual(len(answer.body), 200 * 65536)

    def test_slow_reader_leaves(self) -> None:
        """The handler learns of it, and sends nothing more."""
        connection = self.connect(window=1000)
        connection.send(request("GET /blob?n=200"))
        sent = self.blob.sent
        connection.close()
        self.assertEqual((self.blob.gone, self.blob.sent), (1, sent))

    def test_pipelined_reader(self) -> None:
        """A client that does not read responses gets no more of them."""
        connection = self.connect(window=0)
        connection.send(request("GET /blob?n=2") * 1000)
        self.assertLessEqual(self.blob.sent, 3)
        self.assertTrue(connection.transport.paused)

    def test_slow_consumer(self) -> None:
        """A handler that pauses has the peer wait."""
        self.sink.paused_after = 100000
        connection = self.connect()
        connection.send(b"PUT /sink HTTP/1.1\r\nHost: x\r\nContent-Length: 10000000\r\n\r\n" + b"x" * 10000000)
        self.assertTrue(connection.transport.paused)
        self.assertLess(self.sink.taken, 100000 + LARGE_READS)
        self.assertGreater(connection.unsent, 9_000_000)
        self.pass_time(300)
        self.assertFalse(connection.is_closed, "it is we who are slow")
        self.sink.paused_after = 1 << 40
        self.sink.go_on()
        connection.settle()
        self.assertEqual(self.sink.results, [10000000])
        self.assertEqual(split_answers(connection.received)[0].body, b"10000000")

    def test_body_nobody_wants_yet(self) -> None:
        connection = self.connect()
        connection.send(b"POST /later HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 1000000)
        self.assertTrue(connection.transport.paused)
        self.assertGreater(connection.unsent, 900_000)
        self.later.go()
        connection.settle()
        self.assertEqual(len(split_answers(connection.received)[0].body), 1000000)

    def test_goes_on_after_an_early_body(self) -> None:
        """A body that came before it was wanted leaves no trace on the connection."""
        connection = self.connect(window=0)
        connection.send(request("POST /later", b"some text"))
        self.later.go()
        connection.send(request("GET /blob?n=4"))
        connection.transport.window = None
        connection.transport.take(0)
        connection.settle()
        self.assertFalse(connection.transport.paused)
        connection.send(request("GET /echo"))
        self.assertEqual([answer.status for answer in split_answers(connection.received)], [200, 200, 200])

    def test_client_leaves_in_mid_body(self) -> None:
        connection = self.connect()
        connection.send(b"PUT /sink HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n123")
        connection.close()
        (error,) = self.sink.results
        self.assertIsInstance(error, ClientGone)
        self.assertEqual(connection.received, b"")

    def test_client_leaves_before_the_answer(self) -> None:
        """Nothing is logged as a defect, whatever the handler does then."""
        for line in ("POST /later", "GET /later"):
            connection = self.ask(request(line, b""))
            connection.close()
            self.later.go()
            self.assertEqual(connection.received, b"")
        self.assertEqual(self.flushLoggedErrors(), [])


class _Late(Leaf):
    """Begins to stream when the test says so."""

    def __init__(self) -> None:
        Leaf.__init__(self)
        self.turn: Deferred[None] = Deferred()

    async def handle_GET(self, request: Any) -> None:
        """Wait, then stream."""
        await self.turn
        request.begin(200, OCTETS)
        await request.send(b"x")


class GoneTests(ChannelCase):
    """Answers for clients that have left."""

    def test_streamed(self) -> None:
        late = _Late()
        site = make_site(Clock(), late=late)
        connection = Connection(site)
        connection.send(request("GET /late"))
        connection.close()
        late.turn.callback(None)
        self.assertEqual(self.flushLoggedErrors(), [])
        self.assertEqual(site._requests, set())


class TimeTests(ChannelCase):
    """Patience has bounds."""

    limits = ConnectionSettings(max_connections=3, idle_timeout=60.0, head_timeout=20.0)

    def assert_closed_after(self, connection: Connection, least: float, most: float) -> None:
        """Within these seconds, not before."""
        self.pass_time(least)
        self.assertFalse(connection.is_closed or connection.transport.disconnecting)
        self.pass_time(most - least)
        connection.settle()
        self.assertTrue(connection.is_closed)

    def test_silent(self) -> None:
        connection = self.connect()
        self.assert_closed_after(connection, 58, 64)
        self.assertEqual(connection.received, b"")
        self.assertEqual(self.site.connections.timed_out, 1)

    def test_idle_between_requests(self) -> None:
        connection = self.ask(request("GET /echo"))
        self.assert_closed_after(connection, 58, 64)
        self.assertEqual(len(split_answers(connection.received)), 1)

    def test_slow_head(self) -> None:
        """However busily its bytes trickle."""
        for start in (b"G", b"GET /echo HTTP/1.1\r\nHost: x\r\nX-Slow: "):
            connection = self.ask(start)
            for _ in range(25):
                self.clock.advance(1)
                connection.send(b"y")
            (answer,) = split_answers(connection.received)
            self.assertEqual((answer.status, answer.fields["connection"]), (408, "close"))
            self.pass_time(10)
            self.assertTrue(connection.is_closed)

    def test_slow_second_head(self) -> None:
        connection = self.ask(request("GET /echo"), b"GET /ec")
        self.pass_time(24)
        self.assertEqual([answer.status for answer in split_answers(connection.received)], [200, 408])

    def test_body_that_stops(self) -> None:
        connection = self.ask(b"PUT /sink HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n123")
        self.assert_closed_after(connection, 28, 36)
        self.assertIsInstance(self.sink.results[0], RequestTimeout)
        (answer,) = split_answers(connection.received)
        self.assertEqual((answer.status, answer.fields["connection"]), (408, "close"))
        self.assertIn(b"min-body-rate", answer.body)

    def test_body_that_trickles(self) -> None:
        """A body that comes at less than the least rate is refused, however it is framed."""
        for framing in (b"Content-Length: 20000", b"Transfer-Encoding: chunked"):
            connection = self.ask(b"PUT /sink HTTP/1.1\r\nHost: x\r\n" + framing + b"\r\n\r\n")
            for second in range(40):
                if second % 10 == 0:
                    connection.send(b"1\r\nx\r\n")
                self.pass_time(1)
            (answer,) = split_answers(connection.received)
            self.assertEqual(answer.status, 408)

    def test_body_at_the_least_rate(self) -> None:
        """In bursts, and on the whole as fast as it must."""
        connection = self.ask(b"PUT /sink HTTP/1.1\r\nHost: x\r\nContent-Length: 163840\r\n\r\n")
        for _ in range(8):
            self.pass_time(19)
            connection.send(bytes(20480))
        self.assertEqual(split_answers(connection.received)[0].status, 200)

    def test_body_that_we_do_not_read(self) -> None:
        """Nobody is slow who waits for us."""
        connection = self.ask(b"POST /later HTTP/1.1\r\nHost: x\r\nContent-Length: 163840\r\n\r\n" + bytes(100_000))
        self.pass_time(300)
        self.assertEqual(connection.received, b"")
        self.later.go()
        connection.send(bytes(63840))
        self.assertEqual(split_answers(connection.received)[0].status, 200)

    def test_small_body(self) -> None:
        """What is small by nature has to come soon, however it trickles."""
        connection = self.ask(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
        for _ in range(24):
            self.pass_time(1)
            connection.send(b"yyyy")
        (answer,) = split_answers(connection.received)
        self.assertEqual(answer.status, 408)
        self.assertIn(b"head-timeout", answer.body)

    def test_long_work(self) -> None:
        """A connection that waits for us is not cut."""
        connection = self.ask(request("POST /later", b"x"))
        self.pass_time(1000, 5)
        self.assertFalse(connection.is_closed)
        self.later.go()
        self.assertEqual(split_answers(connection.received)[0].body, b"x")
        self.assertFalse(connection.is_closed)

    def test_busy_for_long(self) -> None:
        connection = self.connect()
        for _ in range(300):
            connection.send(request("GET /echo"))
            self.clock.advance(7)
        self.assertEqual(len(split_answers(connection.received)), 300)

    def test_reader_that_stops(self) -> None:
        connection = self.connect(window=1000)
        connection.send(request("GET /blob?n=100"))
        self.assert_closed_after(connection, 58, 64)
        self.assertEqual(connection.transport.closed, "aborted")
        self.assertEqual(self.blob.gone, 1)

    def test_reader_of_little_that_stops(self) -> None:
        """Also if all that is left waits in our buffer only."""
        for line in ("GET /echo", "BAD", "POST /echo", "GET /later"):
            connection = self.connect(window=10)
            data = (
                b"BAD\r\n\r\n"
                if line == "BAD"
                else request(line, b"x" if "POST" in line else None, "Connection: close")
            )
            connection.send(data)
            if "later" in line:
                self.later.go()
            self.pass_time(130)
            connection.settle()
            self.assertTrue(connection.is_closed, line)
            self.assertEqual(len(self.site.connections), 0, line)

    def test_reader_that_is_slow(self) -> None:
        """A client that reads a little now and then is served."""
        connection = self.connect(window=1000)
        connection.send(request("GET /blob?n=10"))
        for _ in range(20):
            self.pass_time(30)
            connection.transport.take(40000)
        self.assertEqual(len(split_answers(connection.received)[0].body), 655360)
        self.assertEqual(self.site.budget.used, 0)

    def test_reader_that_trickles(self) -> None:
        """Who takes less than the least rate is broken off, though something always moves."""
        connection = self.connect(window=1000)
        connection.send(request("GET /blob?n=10"))
        self.assertGreater(self.site.budget.used, 60_000)
        for _ in range(10):
            self.pass_time(9)
            connection.transport.take(100)
        connection.settle()
        self.assertEqual((connection.transport.closed, self.blob.gone, self.site.budget.used), ("aborted", 1, 0))

    def test_too_many_connections(self) -> None:
        open_ones = [self.connect() for _ in range(3)]
        refused = self.connect()
        (answer,) = split_answers(refused.received)
        self.assertEqual((answer.status, answer.fields["connection"]), (503, "close"))
        self.assertEqual(json.loads(answer.body)["error"], "TooManyConnections")
        self.assertTrue(refused.is_closed)
        self.assertEqual((len(self.site.connections), self.site.connections.refused), (3, 1))
        open_ones[0].close()
        connection = self.ask(request("GET /echo"))
        self.assertEqual(split_answers(connection.received)[0].status, 200)
        self.assertEqual(
            {metric.name for metric in self.site.collect()} & {"storehouse_http_http_connections_refused"},
            {"storehouse_http_http_connections_refused"},
        )

    def test_date(self) -> None:
        first = self.ask(request("GET /echo"))
        self.pass_time(2)
        second = self.ask(request("GET /echo"))
        self.assertNotEqual(
            split_answers(first.received)[0].fields["date"], split_answers(second.received)[0].fields["date"]
        )


class DrainTests(ChannelCase):
    """The end."""

    def tearDown(self) -> None:
        """Also the site's clock has stopped."""
        self.assertEqual((self.site._requests, self.clock.getDelayedCalls()), (set(), []))

    def test_nobody(self) -> None:
        self.successResultOf(self.site.drain(5.0))

    def test_idle(self) -> None:
        connections = [self.connect(), self.ask(request("GET /echo"))]
        done = self.site.drain(5.0)
        for connection in connections:
            connection.settle()
            self.assertTrue(connection.is_closed)
        self.successResultOf(done)

    def test_in_flight(self) -> None:
        """An answer in flight comes whole; the request behind it is not begun."""
        connection = self.ask(request("POST /later", b"first") + request("POST /echo", b"second"))
        done = self.site.drain(5.0)
        self.assertNoResult(done)
        self.later.go()
        connection.settle()
        (answer,) = split_answers(connection.received)
        self.assertEqual((answer.body, answer.fields["connection"]), (b"first", "close"))
        self.assertTrue(connection.is_closed)
        self.successResultOf(done)

    def test_lingering(self) -> None:
        """A peer that was answered, and goes on sending, holds up the end no longer than a moment."""
        connection = self.ask(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n")
        done = self.site.drain(20.0)
        self.pass_time(4)
        self.assertFalse(connection.is_closed)
        self.pass_time(2)
        self.assertEqual(connection.transport.closed, "done")
        self.successResultOf(done)

    def test_late(self) -> None:
        connection = self.ask(request("POST /later", b"first"))
        done = self.site.drain(5.0)
        self.pass_time(6)
        connection.settle()
        self.assertEqual(connection.transport.closed, "aborted")
        self.successResultOf(done)
        self.later.go()


class ChunkedDecoderTests(SynchronousTestCase):
    """L{ChunkedDecoder}."""

    def setUp(self) -> None:
        self.pieces: list[bytes] = []
        self.rest: list[bytes] = []
        self.decoder = ChunkedDecoder(self.pieces.append, self.rest.append)

    def test_small_chunks(self) -> None:
        """They are handed over as one, some thousand at a time."""
        self.decoder.dataReceived(b"1\r\nx\r\n" * 5000 + b"0\r\n\r\nrest")
        self.assertTrue(self.decoder.is_behind)
        self.assertEqual(len(self.pieces), 1)
        calls = 1
        while self.decoder.is_behind:
            self.decoder.dataReceived(b"")
            calls += 1
        self.assertEqual((b"".join(self.pieces), self.rest), (b"x" * 5000, [b"rest"]))
        self.assertLessEqual(len(self.pieces), calls)

    def test_order(self) -> None:
        """What came in the last chunk is handed over before the end is told."""
        order: list[bytes] = []
        decoder = ChunkedDecoder(order.append, lambda rest: order.append(b"end"))
        for byte in b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nA: b\r\n\r\n":
            decoder.dataReceived(bytes([byte]))
        self.assertEqual((b"".join(order[:-1]), order[-1], decoder.is_behind), (b"abcde", b"end", False))
        self.assertEqual(bytes(decoder._trailerHeaders[0]), b"A: b")


class SliceTests(SynchronousTestCase):
    """A connection that gives way whenever it can."""

    def played(self, data: bytes, slowly: bool, fast_lane: bool) -> tuple[bytes, bool]:
        door = Door(self.mktemp(), fast_lane)
        try:
            if slowly:
                with every_breath(door.reactor):
                    connection = door.play(data)
            else:
                connection = door.play(data)
            # Names of directories have one length.
            return connection.received.replace(
                door.directory.encode(), b"D" * len(door.directory)
            ), connection.is_closed
        finally:
            door.close()

    def compare(self, data: bytes) -> bytes:
        whole: tuple[bytes, bool] = (b"", False)
        for fast_lane in (True, False):
            whole, slices = self.played(data, False, fast_lane), self.played(data, True, fast_lane)
            for each in (whole, slices):
                self.assertNotEqual(each[0], b"")
            self.assertEqual(_dateless(slices[0]), _dateless(whole[0]), data[:200])
            self.assertEqual(slices[1], whole[1])
        return whole[0]

    def test_conversation(self) -> None:
        """Whatever may be asked, behind one another."""
        pieces = [data for name, data in PLAIN.items() if "close" not in name and "1.0" not in name]
        self.compare(b"".join(pieces) + append("last", b"x", "Connection: close") + append("a", b"too late"))

    def test_refused(self) -> None:
        """What is no request, behind some that are."""
        for data in list(REFUSED.values())[::7]:
            self.compare(
                append("a", b"x") + get("a", 0) + chunked("POST /append?id=c", b"y", b"z") + data + append("a", b"x")
            )

    def test_many(self) -> None:
        """Each gets its answer, in order."""
        data = b"".join(append("a", b"%d" % number) + get("a", 0) for number in range(400))
        answers = split_answers(self.compare(data))
        self.assertEqual([answer.status for answer in answers], [200] * 800)

    def test_chunks(self) -> None:
        """Bodies of thousands of chunks, and requests behind them."""
        body = chunked("POST /append?id=a", *[b"%d" % (number % 10) for number in range(9000)])
        answers = split_answers(self.compare(body + get("a", 0) + body))
        self.assertEqual([answer.status for answer in answers], [200] * 3)
        self.assertEqual(answers[1].body, b"0123456789" * 900)

    def test_others_come_first(self) -> None:
        """While one asks for much, another is served."""
        clock = Clock()
        site = make_site(clock)
        with every_breath(clock):
            first, second = Connection(site), Connection(site)
            first.send(request("GET /none") * 100)
            second.send(request("GET /none"))
            self.assertEqual(first.received.count(b"404 Not Found"), 1)
            self.assertEqual(second.received.count(b"404 Not Found"), 1)
            for connection in (first, second):
                connection.settle()
            clock.advance(0)
            first.settle()
            self.assertEqual(first.received.count(b"404 Not Found"), 100)

    def test_leaves(self) -> None:
        """A connection that is gone is not resumed."""
        clock = Clock()
        with every_breath(clock):
            connection = Connection(make_site(clock))
            connection.send(request("GET /none") * 100)
            connection.close()
            clock.advance(1)
            self.assertEqual(connection.received.count(b"404 Not Found"), 1)


def _dateless(answers: bytes) -> bytes:
    return b"\r\n".join(line for line in answers.split(b"\r\n") if not line.startswith(b"Date: "))
