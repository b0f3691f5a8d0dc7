"""
The lane of the S3 door is no laxer than the other way: the same bytes, with the lane and without, get the same responses and leave
the same objects.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Iterator
from zlib import crc32

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from storehouse.config.settings import S3Settings
from storehouse.core.jobs import InlineDisk
from storehouse.core.sigv4 import Scope, signing_key
from storehouse.core.streams import read_all
from storehouse.core.xmltext import document, element, text
from storehouse.frontends.http.lean import MAX_BODY
from storehouse.frontends.s3.call import Call, Door
from storehouse.frontends.s3.checksums import encoded
from storehouse.frontends.s3.door import S3Door
from storehouse.frontends.s3.signing.authenticator import Authenticator
from storehouse.testing.accounts import MemoryAccounts
from storehouse.testing.objects import memory_object_store
from tests.frontends.append.test_lane import REFUSED as REFUSED_BY_APPENDS
from tests.frontends.http.wire import Connection, request, split_answers
from tests.frontends.s3.playing import NOW, AnyAuthenticator, S3Case, allow_signed, make_site
from tests.frontends.s3.signing.signers import sign_header
from tests.frontends.s3.signing.test_bodies import frame

_USER = "Authorization: Test ann"


def signed(line: str, body: bytes | None = None, *fields: str, host: str = "localhost") -> bytes:
    """A request of somebody."""
    return request(line, body, _USER, *fields, host=host)


_CORS = document(
    "CORSConfiguration",
    element("CORSRule", text("AllowedOrigin", "http://y"), text("AllowedMethod", "GET"), text("MaxAgeSeconds", "5")),
)
_CRC = "x-amz-checksum-crc32"

#: Requests after whose responses another can follow, or the connection is closed.
PLAIN: dict[str, bytes] = {
    "put": signed("PUT /box/b", b"some text"),
    "put with all": signed(
        "PUT /box/c",
        b"some text",
        "Content-Type: text/plain",
        "x-amz-meta-Colour: red",
        "X-Amz-Tagging: a=b",
        "Cache-Control: no-cache",
        "x-amz-checksum-algorithm: CRC32",
    ),
    "put nothing": signed("PUT /box/d", b""),
    "put without a length": signed("PUT /box/d"),
    "put with a wrong digest": signed("PUT /box/d", b"x", "Content-MD5: AAAAAAAAAAAAAAAAAAAAAA=="),
    "put with a wrong checksum": signed("PUT /box/d", b"x", f"{_CRC}: AAAAAA=="),
    "put new only": signed("PUT /box/a", b"x", "If-None-Match: *"),
    "put new": signed("PUT /box/e", b"x", "If-None-Match: *") + signed("PUT /box/e", b"x", "If-None-Match: *"),
    "put with two conditions": signed("PUT /box/a", b"x", "If-Match: a", "If-Match: b"),
    "put by nobody": request("PUT /box/d", b"x", host="localhost"),
    "put nowhere": signed("PUT /nobox/d", b"x"),
    "put with a range": signed("PUT /box/d", b"x", "Content-Range: bytes 0-0/9"),
    "put of an unknown sub-resource": signed("PUT /box/d?strange", b"x"),
    "put the largest of the lane": signed("PUT /box/f", b"y" * MAX_BODY),
    "put more": signed("PUT /box/f", b"y" * (MAX_BODY + 1)),
    "expect": signed("PUT /box/b", b"expected", "Expect: 100-continue"),
    "expect something": signed("PUT /box/b", b"expected", "Expect: 200-ok"),
    "chunked": signed("PUT /box/b", None, "Transfer-Encoding: chunked") + b"4\r\nabcd\r\n0\r\n\r\n",
    "chunked with an extension": signed("PUT /box/b", None, "Transfer-Encoding: Chunked") + b"1;a\r\nx\r\n0\r\n\r\n",
    "copy": signed("PUT /box/g", None, "x-amz-copy-source: /box/a"),
    "copy of nothing": signed("PUT /box/g", None, "x-amz-copy-source: /box/none"),
    "append": signed("PUT /box/h", b"x", "x-amz-write-offset-bytes: 0"),
    "get": signed("GET /box/a"),
    "get with a body": signed("GET /box/a", b"body"),
    "get large": signed("GET /box/large"),
    "get range": signed("GET /box/a", None, "Range: bytes=1-2"),
    "get range of large": signed("GET /box/large", None, "Range: bytes=1-100000"),
    "get no such range": signed("GET /box/a", None, "Range: bytes=100-"),
    "get ranges": signed("GET /box/a", None, "Range: bytes=0-0,2-2"),
    "get if changed": signed("GET /box/a", None, 'If-None-Match: "x"'),
    "get if not": signed("GET /box/a", None, "If-None-Match: *"),
    "get if same": signed("GET /box/a", None, 'If-Match: "x"'),
    "get part": signed("GET /box/a?partNumber=1"),
    "get version": signed("GET /box/a?versionId=null"),
    "get with other fields": signed("GET /box/a?response-content-type=text%2Fcss&response-expires=x"),
    "get with checksum": signed("GET /box/a", None, "x-amz-checksum-mode: ENABLED"),
    "get nothing": signed("GET /box/none"),
    "get by nobody": request("GET /box/a", host="localhost"),
    "get encoded": signed("GET /box/%61"),
    "get malformed": signed("GET /box/%zz%ff"),
    "get twice": signed("GET /box/a?x-id=1&x-id=2"),
    "get of many": signed("GET /box/a?" + "&".join(f"a{n}=1" for n in range(100))),
    "get quotes": signed('GET /box/"a"'),
    "get for another page": signed("GET /box/a", None, "Origin: http://y"),
    "get of a page": signed("GET /box/a", None, "Sec-Fetch-Site: cross-site"),
    "head": signed("HEAD /box/a"),
    "head range": signed("HEAD /box/a", None, "Range: bytes=1-2"),
    "head nothing": signed("HEAD /box/none"),
    "head if not": signed("HEAD /box/a", None, "If-None-Match: *"),
    "head bucket": signed("HEAD /box"),
    "delete": signed("DELETE /box/b") + signed("GET /box/b") + signed("DELETE /box/b"),
    "delete with a condition": signed("DELETE /box/none", None, "If-Match: x"),
    "list": signed("GET /box?list-type=2"),
    "list buckets": signed("GET /"),
    "locate": signed("GET /box?location"),
    "cors": signed("PUT /box?cors", _CORS) + signed("GET /box/a", None, "Origin: http://y") + signed("GET /box?cors"),
    "preflight": request(
        "OPTIONS /box/a", None, "Origin: http://y", "Access-Control-Request-Method: GET", host="localhost"
    ),
    "bad document": signed("PUT /box?cors", b"<x"),
    "post": signed("POST /box?delete", b"<Delete/>"),
    "strange method": signed("BREW /box/a"),
    "lower method": signed("get /box/a"),
    "unknown host": signed("GET /box/a", host="other.example"),
    "host with a port": signed("GET /box/a", host="LOCALHOST:80") + signed("GET /box/a", host="[::1]"),
    "empty host": signed("GET /box/a", host=""),
    "no bucket": signed("GET //a"),
    "bad bucket": signed("GET /B_/a"),
    "absolute form": signed("GET http://localhost/box/a"),
    "asterisk": signed("OPTIONS *"),
    "keep-alive": signed("GET /box/a", None, "Connection: Keep-Alive"),
    "close": signed("GET /box/a", None, "Connection: close"),
    "close among others": signed("GET /box/a", None, "Connection: keep-alive, Close"),
    "upgrade": signed("GET /box/a", None, "Connection: Upgrade", "Upgrade: h2c"),
    "te": signed("GET /box/a", None, "TE: trailers"),
    "twice": signed("GET /box/a", None, "x-amz-checksum-mode: ENABLED", "x-amz-checksum-mode: ENABLED"),
    "metadata twice": signed("PUT /box/i", b"x", "x-amz-meta-a: 1", "x-amz-meta-a: 2") + signed("HEAD /box/i"),
    "odd bytes": signed("PUT /box/i", b"x", "x-amz-meta-a: \xe9\x7f\x01") + signed("HEAD /box/i"),
    "spaces": signed("PUT /box/i", b"x", "x-amz-meta-a: \t a  b \t", "x-amz-meta-b:") + signed("HEAD /box/i"),
    "100 fields": signed("GET /box/a", None, *["X: y"] * 97),
    "97 different fields": signed("GET /box/a", None, *[f"X{number}: y" for number in range(97)]),
    "too many fields": signed("GET /box/a", None, *[f"X{number}: y" for number in range(99)]),
    "much in the head": signed("GET /box/a", None, "X: " + "y" * 3000),
    "space around the length": signed("PUT /box/b", None, "Content-Length: \t 4 \t") + b"abcd",
    "zeros": signed("PUT /box/b", None, "Content-Length: 0000000004") + b"abcd",
    "blank line before": b"\r\n" + signed("GET /box/a"),
    "http/1.0": b"GET /box/a HTTP/1.0\r\nHost: localhost\r\nAuthorization: Test ann\r\n\r\n",
    "http/1.2": signed("GET /box/a").replace(b"HTTP/1.1", b"HTTP/1.2"),
    "pipelined": signed("PUT /box/j", b"1") + signed("GET /box/j") + signed("HEAD /box/large") + signed("GET /box/j"),
    "pipelined mix": signed("GET /box/large")
    + signed("PUT /box/k", None, "Transfer-Encoding: chunked")
    + b"2\r\n22\r\n0\r\n\r\n"
    + signed("GET /box/k")
    + signed("POST /box?delete", b"<Delete/>")
    + signed("DELETE /box/k"),
    "pipelined many": b"".join(signed("GET /box/a") for _ in range(300)),
    "close in the midst": signed("GET /box/a") + signed("GET /box/a", None, "Connection: close") + signed("GET /"),
}

#: Malformed requests, behind which nothing must be taken for another.
REFUSED = {
    name: data.replace(b"POST /append?id=a", b"PUT /box/z").replace(b"Host: x\r\n", b"Host: localhost\r\n")
    for name, data in REFUSED_BY_APPENDS.items()
    if not name.startswith(("too large", "huge", "bytes after"))
}

_SMUGGLED = signed("PUT /box/smuggled", b"SMUGGLED")


class _World:
    """
    A door, with the lane or without.

    @param accounts: what signatures are verified by; C{None} to believe whom a request names.
    """

    def __init__(self, case: SynchronousTestCase, lane: bool, accounts: MemoryAccounts | None = None) -> None:
        self.case = case
        self.clock = Clock()
        self.clock.advance(NOW)
        self.store = memory_object_store(clock=self.clock)
        authenticator = (
            AnyAuthenticator() if accounts is None else Authenticator(accounts, self.clock.seconds, "us-east-1")
        )
        accounts = accounts or MemoryAccounts(clock=self.clock.seconds)
        door = Door(self.store, accounts, S3Settings(), self.clock, InlineDisk())
        self.site = make_site(S3Door(door, authenticator, allow_signed), self.clock, lane)
        case.successResultOf(self.store.create_bucket("box"))

    def play(self, pieces: list[bytes]) -> Connection:
        """Send pieces over a new connection."""
        connection = Connection(self.site, settle=lambda: self.clock.advance(0))
        for piece in pieces:
            connection.send(piece)
        connection.settle()
        return connection

    def objects(self) -> dict[str, bytes]:
        """All that is stored."""
        page = self.case.successResultOf(self.store.list_objects("box"))
        found = {}
        for info in page.objects:
            reader = self.case.successResultOf(self.store.get("box", info.key))
            data = self.case.successResultOf(Deferred.fromCoroutine(read_all(reader)))
            found[info.key] = data + repr((info.metadata, dict(info.system), info.content_type)).encode()
        return found


class ComparingCase(SynchronousTestCase):
    """Two doors, one with the lane and one without."""

    fast: _World
    slow: _World

    def compare(self, *pieces: bytes, label: object = None) -> bytes:
        """Play pieces to both, and compare everything."""
        fast, slow = self.fast.play(list(pieces)), self.slow.play(list(pieces))
        said, expected = _plain(fast.received), _plain(slow.received)
        self.assertEqual(said, expected, label)
        self.assertEqual(fast.is_closed, slow.is_closed, label)
        fast.close()
        slow.close()
        return said

    def compare_objects(self, label: object = None) -> None:
        """What is stored is the same."""
        self.assertEqual(self.fast.objects(), self.slow.objects(), label)


class LaneTests(ComparingCase):
    """Conversations."""

    def setUp(self) -> None:
        self.fast, self.slow = _World(self, True), _World(self, False)
        for key, data in (("a", b"some data"), ("large", bytes(range(256)) * 2000)):
            self.assertIn(b" 200 OK", self.compare(signed(f"PUT /box/{key}", data)))

    def test_whole(self) -> None:
        for name, data in PLAIN.items():
            self.compare(data, label=name)
        self.compare_objects()
        self.assertEqual(self.slow.site.laned, 0)

    def test_which_way(self) -> None:
        """Plain requests take the lane, others do not."""
        for name, laned in (
            ("put", 1), ("put with all", 1), ("put the largest of the lane", 1), ("put more", 0), ("expect", 0),
            ("chunked", 0), ("copy", 1), ("get large", 1), ("get range", 1), ("get nothing", 1), ("head", 1),
            ("delete", 3), ("list", 1), ("post", 0), ("twice", 0), ("close", 0), ("http/1.0", 0), ("te", 0),
            ("get for another page", 0), ("unknown host", 1), ("pipelined", 4), ("pipelined many", 300),
        ):  # fmt: skip
            before = self.fast.site.laned
            self.fast.play([PLAIN[name]]).close()
            self.assertEqual(self.fast.site.laned - before, laned, name)

    def test_between_others(self) -> None:
        for name, data in PLAIN.items():
            self.compare(signed("GET /box/a") + data + signed("PUT /box/after", b"x"), label=name)
        self.compare_objects()

    def test_in_pieces(self) -> None:
        """Split at some places, and in pieces of any size."""
        chance = random.Random(11)
        for name, data in PLAIN.items():
            if len(data) > 3000:
                continue
            for at in range(1, len(data), 23):
                self.compare(data[:at], data[at:], label=(name, at))
            pieces, at = [], 0
            while at < len(data):
                size = chance.randint(1, 40)
                pieces.append(data[at : at + size])
                at += size
            self.compare(*pieces, label=name)
        self.compare_objects()

    def test_refused(self) -> None:
        """A malformed request ends the connection, also behind good ones, and stores nothing."""
        good = signed("GET /box/a")
        for name, data in REFUSED.items():
            for pieces in ([data + _SMUGGLED], [good + data + _SMUGGLED], [data[:40], data[40:] + _SMUGGLED]):
                said = self.compare(*pieces, label=name)
                self.assertEqual(split_answers(said)[-1].fields["connection"], "close", name)
        self.compare_objects()
        self.assertNotIn("smuggled", self.fast.objects())

    @given(
        st.lists(
            st.one_of(
                st.sampled_from([data for data in PLAIN.values() if len(data) < 2000]),
                st.sampled_from([data for data in REFUSED.values() if len(data) < 2000]),
                st.sampled_from([b"\r\n", b"\n", b"\r", b"\0", b" ", b"0\r\n\r\n", b"abcd", b"GET /", b"Host: x\r\n"]),
                st.binary(max_size=6),
            ),
            min_size=1,
            max_size=5,
        ),
        st.integers(1, 400),
    )
    @settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
    def test_anything(self, parts: list[bytes], size: int) -> None:
        # The next bytes complete an open head, so that both ways have whole requests.
        data = b"".join(parts) + b"\r\n\r\n\r\n\r\n" + _SMUGGLED + b"\r\n\r\n"
        self.compare(*(data[at : at + size] for at in range(0, len(data), size)))


class SignedTests(ComparingCase):
    """Signed bodies of all forms, unchanged and tampered with."""

    def setUp(self) -> None:
        accounts = MemoryAccounts(clock=lambda: NOW)
        self.key = self.successResultOf(accounts.add_user("ann"))
        self.fast, self.slow = _World(self, True, accounts), _World(self, False, accounts)

    def test_bodies(self) -> None:
        for name, (head, body) in self.requests().items():
            said = self.compare(head + b"Content-Length: %d\r\n\r\n" % len(body) + body, label=name)
            self.assertIn(b" 200 OK", said, (name, said))
            for number, changed in enumerate(_changed(body)):
                said = self.compare(head + b"Content-Length: %d\r\n\r\n" % len(changed) + changed, label=(name, number))
                if name != "unsigned":
                    self.assertNotIn(b" 200 OK", said, (name, number))
            for line in (b"x-amz-meta-new: a", b"x-amz-decoded-content-length: 9", b"Content-Encoding: aws-chunked"):
                changed = head + line + b"\r\nContent-Length: %d\r\n\r\n" % len(body) + body
                self.compare(changed, label=(name, line))
            self.compare(head.replace(b"/box/a", b"/box/b") + b"Content-Length: 0\r\n\r\n", label=name)
        self.compare_objects()
        self.assertGreater(self.fast.site.laned, 90)

    def requests(self) -> dict[str, tuple[bytes, bytes]]:
        """The heads without their lengths, and the bodies."""
        data = b"some data" * 2000
        crc = encoded(crc32(data).to_bytes(4, "big"))
        framing = {"x-amz-decoded-content-length": str(len(data)), "content-encoding": "aws-chunked"}
        trailing = {**framing, "x-amz-trailer": _CRC}
        kinds: dict[str, tuple[str | None, dict[str, str]]] = {
            "digest": (hashlib.sha256(data).hexdigest(), {}),
            "unsigned": ("UNSIGNED-PAYLOAD", {}),
            "unsigned with a checksum": ("UNSIGNED-PAYLOAD", {_CRC: crc}),
            "trailer": ("STREAMING-UNSIGNED-PAYLOAD-TRAILER", trailing),
            "chunks": ("STREAMING-AWS4-HMAC-SHA256-PAYLOAD", framing),
            "chunks with a trailer": ("STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER", trailing),
        }
        found = {}
        for name, (payload, fields) in kinds.items():
            headers = {"x-amz-content-sha256": payload or "", **fields}
            made = sign_header(self.key, "PUT", "http://localhost/box/a", headers, data, NOW, "us-east-1", payload)
            timestamp = made.context["timestamp"]
            scope = Scope(timestamp[:8], "us-east-1")
            words = {
                "key": signing_key(self.key.secret.encode(), scope),
                "timestamp": timestamp,
                "scope": str(scope),
            }
            body = data
            if fields.get("content-encoding"):
                seed = made.headers["Authorization"][-64:] if "chunks" in name else None
                trailer = [(_CRC, crc)] if "trailer" in name else []
                body = frame([data[:10_000], data[10_000:]], seed, trailer, **words)
            lines = [f"{name}: {value}" for name, value in made.headers.items() if name.lower() != "content-length"]
            head = "\r\n".join(["PUT /box/a HTTP/1.1", "Host: localhost", *lines, ""])
            found[name] = head.encode(), body
        return found


def _changed(body: bytes) -> Iterator[bytes]:
    """A body with something changed at many places, or cut, or longer."""
    for at in (0, 1, 90, 5000, len(body) // 2, len(body) - 120, len(body) - 40, len(body) - 20):
        at = max(0, at)
        yield body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]
    for at in (0, 100, len(body) - 100):
        yield body[:at]
    yield body + b"x"


def _plain(data: bytes) -> bytes:
    """Responses, whatever the IDs of their requests."""
    return re.sub(rb"(x-amz-request-id: |<RequestId>)[0-9A-F]{16}", rb"\g<1>0123456789ABCDEF", data)


class WaitingTests(S3Case):
    """Requests of the lane that wait for something, or for their clients."""

    async def authorize(self, call: Call) -> None:
        self.calls.append(call)
        waiting: Deferred[None] = Deferred()
        self.waiting.append(waiting)
        await waiting

    def make_door(self) -> S3Door:
        self.calls: list[Call] = []
        self.waiting: list[Deferred[None]] = []
        return S3Door(
            Door(self.store, self.accounts, self.settings, self.clock, InlineDisk()), AnyAuthenticator(), self.authorize
        )

    def setUp(self) -> None:
        S3Case.setUp(self)
        self.successResultOf(self.store.create_bucket("box"))

    def in_flight(self) -> int:
        return len(self.site._requests)

    def test_in_order(self) -> None:
        """One after the other: the next begins when the one before is answered."""
        connection = Connection(self.site)
        connection.send(signed("PUT /box/a", b"1") + signed("GET /box/a") + signed("PUT /box/a", b"2"))
        self.assertEqual((len(self.waiting), self.in_flight(), connection.channel.busy), (1, 1, True))
        connection.send(signed("GET /box/a"))
        for number in range(4):
            self.assertEqual(len(self.waiting), number + 1)
            self.waiting[number].callback(None)
            connection.settle()
        self.assertEqual([each.body for each in split_answers(connection.received)], [b"", b"1", b"", b"2"])
        self.assertEqual((self.in_flight(), self.site.laned, self.site.answered), (0, 4, 0))
        self.assertFalse(connection.channel.busy)

    def test_client_leaves(self) -> None:
        """What it began continues; it learns that the client has left."""
        connection = Connection(self.site)
        connection.send(signed("PUT /box/a", b"1"))
        connection.close()
        self.assertTrue(self.calls[0].request.gone)
        self.assertEqual(self.in_flight(), 0)
        self.waiting[0].callback(None)
        self.assertEqual(self.successResultOf(self.store.head("box", "a")).size, 1)

    def test_server_ends(self) -> None:
        """The answer to what is being served says that it is the last."""
        connection = Connection(self.site)
        connection.send(signed("PUT /box/a", b"1"))
        connection.channel.finish_soon()
        self.assertFalse(connection.is_closed)
        self.waiting[0].callback(None)
        connection.settle()
        (answer,) = split_answers(connection.received)
        self.assertEqual((answer.status, answer.fields["connection"]), (200, "close"))
        self.assertTrue(connection.is_closed)

    def test_input_ends(self) -> None:
        """A client that closed its side gets its answer."""
        connection = Connection(self.site)
        connection.send(signed("PUT /box/a", b"1"))
        connection.channel.readConnectionLost()
        self.waiting[0].callback(None)
        connection.settle()
        self.assertIn(b" 200 OK", connection.received)
        self.assertTrue(connection.is_closed)

    def test_slow_reader(self) -> None:
        """An object goes out as its client takes it; the next request waits."""
        size = 3 << 20
        put = Connection(self.site)
        put.send(signed("PUT /box/a", bytes(size)))
        self.waiting.pop().callback(None)
        put.settle()
        connection = Connection(self.site, window=1000, settle=lambda: self.clock.advance(0))
        connection.send(signed("GET /box/a") + signed("HEAD /box/a"))
        self.waiting.pop().callback(None)
        connection.settle()
        self.assertLess(len(connection.transport.waiting), 1 << 20)
        self.assertTrue(connection.channel.stalled)
        while not self.waiting:
            connection.transport.take(100_000)
            connection.settle()
        self.waiting.pop().callback(None)
        connection.transport.take(10_000)
        connection.settle()
        first, second = split_answers(connection.received, ["GET", "HEAD"])
        self.assertEqual((len(first.body), second.fields["content-length"]), (size, str(size)))
        self.assertLess(connection.transport.most_waiting, 1 << 20)

    def test_slow_body(self) -> None:
        """A body that comes too slowly is refused, as elsewhere."""
        connection = Connection(self.site)
        self.site.startFactory()
        self.addCleanup(self.site.connections.stop)
        connection.send(signed("PUT /box/a", bytes(1000))[:-900])
        self.clock.pump([1.0] * 120)
        connection.settle()
        (answer,) = split_answers(connection.received)
        self.assertEqual(answer.status, 400)
        self.assertIn(b"<Code>RequestTimeout</Code>", answer.body)
        self.assertEqual(self.waiting, [])

    def test_failure(self) -> None:
        """An unexpected failure is logged, and answered without its details."""
        connection = Connection(self.site)
        connection.send(signed("GET /box/a"))
        self.waiting[0].errback(ZeroDivisionError("inside"))
        connection.settle()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        (answer,) = split_answers(connection.received)
        self.assertEqual(answer.status, 500)
        self.assertNotIn(b"inside", answer.body)
