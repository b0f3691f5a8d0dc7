"""
The fast lane is no laxer than the slow one: the same bytes, with the lane and without, get the same answers and leave
the same files.
"""

from __future__ import annotations

import json
import random
from itertools import pairwise
from struct import pack
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from storehouse.errors import StorageFailed
from storehouse.storage.appendlog.interfaces import Durability
from tests.around import on_disk
from tests.frontends.append.doors import Door
from tests.frontends.http.wire import Connection, request, split_answers
from tests.soak import SOAK, long_loop

# -- conversations ---------------------------------------------------------------------------


def append(id: str, body: bytes, *fields: str, path: str = "append", more: str = "") -> bytes:
    """An append."""
    return request(f"POST /{path}?id={id}{more}", body, *fields)


def get(id: str, offset: object, more: str = "") -> bytes:
    """A read."""
    return request(f"GET /get?id={id}&offset={offset}{more}")


def records(*payloads: bytes) -> bytes:
    """A batch."""
    return b"".join(pack("<I", len(payload)) + payload for payload in payloads)


def chunked(line: str, *chunks: bytes) -> bytes:
    """A request with a chunked body."""
    return (
        request(line, None, "Transfer-Encoding: chunked")
        + b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
        + b"0\r\n\r\n"
    )


SMUGGLED = append("smuggled", b"SMUGGLED")

#: What has an answer, whatever it is, and leaves the connection at a request's beginning, or closes it.
PLAIN: dict[str, bytes] = {
    "append": append("a", b"some text"),
    "second": append("a", b"some other data in same identifier"),
    "other id": append("some_identifier-1.2", b"x"),
    "prefix": append("a", b"in a prefix", more="&storagePrefix=p1"),
    "get": get("a", 0),
    "get payload": get("a", 4),
    "get second": get("a", 13),
    "get in prefix": get("a", 0, "&storagePrefix=p1"),
    "get of no prefix": get("a", 0, "&storagePrefix=none"),
    "get inside": get("a", 7),
    "get far": get("a", 10**17),
    "get farther": get("a", 10**18),
    "get farthest": get("a", 10**19 - 1),
    "get too far": get("a", 10**19),
    "get of digits that are none": get("a", "%D9%A3"),
    "get leading zeros": get("a", "000"),
    "get negative": get("a", "-1"),
    "get words": get("a", "x"),
    "get nothing": get("a", ""),
    "get without offset": request("GET /get?id=a"),
    "get without id": request("GET /get?offset=0"),
    "get with a body": request("GET /get?id=a&offset=0", b"body"),
    "get other order": request("GET /get?offset=0&id=a"),
    "head": request("HEAD /get?id=a&offset=0"),
    "getMulti": request("POST /getMulti?id=a", pack("<QQQ", 13, 0, 13)),
    "getMulti odd": request("POST /getMulti?id=a", b"123"),
    "getMulti missing": request("POST /getMulti?id=a", pack("<QQ", 0, 2**64 - 1)),
    "getMulti nothing": request("POST /getMulti?id=a", b""),
    "multi": append("a", records(b"one", b"two"), path="appendMulti"),
    "multi bad": append("a", b"\x05\0\0\0abc", path="appendMulti"),
    "multi torn": append("a", b"\x05\0", path="appendMulti"),
    "multi empty record": append("a", records(b"one", b"", b"two"), path="appendMulti"),
    "multi nothing": append("a", b"", path="appendMulti"),
    "multi ndjson": append(
        "a", b'{"a":1}\n\n[2]\r\n"x"', "Content-Type: Application/X-NDJSON; charset=utf-8", path="appendMulti"
    ),
    "multi bad ndjson": append("a", b"{", "Content-Type: application/ndjson", path="appendMulti"),
    "multi nearly ndjson": append("a", records(b"x"), "Content-Type: application/x-ndjsonish", path="appendMulti"),
    "multi ndjson twice": append(
        "a", records(b"x"), "Content-Type: text/plain", "Content-Type: application/x-ndjson", path="appendMulti"
    ),
    "append ndjson": append("a", b"not split", "Content-Type: application/x-ndjson"),
    "empty": append("a", b""),
    "no body": request("POST /append?id=a"),
    "no body of several": request("POST /appendMulti?id=a"),
    "largest in the lane": append("a", b"y" * 50_000),
    "beyond the lane": append("a", b"y" * 50_001),
    "largest": append("a", b"y" * 100_000),
    "durable": append("a", b"durable", "Durability: disk"),
    "relaxed": append("a", b"relaxed", "durability:\tos "),
    "durability unknown": append("a", b"x", "Durability: tape"),
    "durability case": append("a", b"x", "Durability: DISK"),
    "durability empty": append("a", b"x", "Durability:"),
    "durability twice": append("a", b"x", "Durability: os", "Durability: os"),
    "durability not ascii": append("a", b"x", "Durability: \xe9"),
    "unknown field": append("a", b"x", more="&storageprefix=p"),
    "twice": append("a", b"x", more="&id=b"),
    "offset on append": append("a", b"x", more="&offset=0"),
    "empty prefix": append("a", b"x", more="&storagePrefix="),
    "default prefix": append("a", b"x", more="&storagePrefix=default"),
    "prefix with dot": append("a", b"x", more="&storagePrefix=.wal"),
    "prefix up": append("a", b"x", more="&storagePrefix=.."),
    "prefix dots inside": append("a", b"x", more="&storagePrefix=a..b"),
    "prefix slash": append("a", b"x", more="&storagePrefix=a%2Fb"),
    "prefix too long": append("a", b"x", more="&storagePrefix=" + "p" * 129),
    "encoded id": append("%61", b"encoded"),
    "plus id": append("a+b", b"space"),
    "utf-8 id": append("%C3%A9", b"utf-8"),
    "bad utf-8 id": append("%FF", b"x"),
    "control id": append("%0A", b"x"),
    "bad percent": append("a%zz", b"x"),
    "no id": request("POST /append?id=", b"x"),
    "no query": request("POST /append", b"x"),
    "only a mark": request("POST /append?", b"x"),
    "long id": append("i" * 128, b"x"),
    "longer id": append("i" * 129, b"x"),
    "longest id": append("i" * 1024, b"x"),
    "too long id": append("i" * 1025, b"x"),
    "fragment": append("a#b", b"x"),
    "semicolon": append("a;id=b", b"x"),
    "question": append("a?b", b"x"),
    "ampersands": request("POST /append?&&id=a&", b"x"),
    "path": request("POST /append/?id=a", b"x"),
    "double slash": request("POST //append?id=a", b"x"),
    "encoded path": request("POST /%61ppend?id=a", b"x"),
    "case": request("POST /Append?id=a", b"x"),
    "lower method": request("post /append?id=a", b"x"),
    "get append": request("GET /append?id=a"),
    "put append": request("PUT /append?id=a", b"x"),
    "post get": request("POST /get?id=a&offset=0", b""),
    "delete": request("DELETE /get?id=a&offset=0"),
    "options": request("OPTIONS /append"),
    "nowhere": request("POST /nowhere", b"x"),
    "index": request("GET /"),
    "stat": request("GET /stat"),
    "stat one": request("GET /stat?storagePrefix=p1"),
    "close prefix": request("GET /close?storagePrefix=p1"),
    "close posted": request("POST /close?storagePrefix=p1", b""),
    "close none": request("GET /close?storagePrefix=none"),
    "scan": request("GET /scan?id=a&limit=3"),
    "scan bucket": request("GET /scan?bucket=0&limit=2&offset=4"),
    "scan far": request("GET /scan?bucket=0&offset=9999999999999999999"),
    "scan nothing": request("GET /scan"),
    "delete prefix": request("DELETE /prefix?storagePrefix=p1"),
    "delete no prefix": request("DELETE /prefix"),
    "chunked": chunked("POST /append?id=a", b"some ", b"text"),
    "chunked empty": chunked("POST /append?id=a"),
    "chunked extension": request("POST /append?id=a", None, "Transfer-Encoding: Chunked")
    + b"4;a=b\r\nabcd\r\n0;x\r\nTrailer: y\r\n\r\n",
    "chunked batch": chunked("POST /appendMulti?id=a", records(b"one")[:2], records(b"one")[2:]),
    "chunked get": chunked("GET /get?id=a&offset=0", b"x"),
    "expect": append("a", b"expected", "Expect: 100-continue"),
    "expect something": append("a", b"expected", "Expect: 200-ok"),
    "expect refused": append("a", b"x", "Expect: 100-continue", more="&x=y"),
    "keep-alive": append("a", b"x", "Connection: Keep-Alive"),
    "close": append("a", b"x", "Connection: close"),
    "close among others": append("a", b"x", "Connection: keep-alive, Close"),
    "upgrade": append("a", b"x", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c"),
    "range": request("GET /get?id=a&offset=0", None, "Range: bytes=0-1"),
    "authorization": append("a", b"x", "Authorization: Basic x"),
    "content-encoding": append("a", b"x", "Content-Encoding: gzip"),
    "content-range": append("a", b"x", "Content-Range: bytes 0-0/9"),
    "te": append("a", b"x", "TE: trailers"),
    "trailer": append("a", b"x", "Trailer: x"),
    "zeros": request("POST /append?id=a", None, "Content-Length: 0000000004") + b"abcd",
    "many zeros": request("POST /append?id=a", None, "Content-Length: 00000000000004") + b"abcd",
    "space around length": request("POST /append?id=a", None, "Content-Length: \t 4 \t") + b"abcd",
    "empty value": append("a", b"x", "X:"),
    "odd bytes in value": append("a", b"x", "X: \xe9\x7f\x01"),
    "odd name": append("a", b"x", "!#$%&'*+-.^_`|~: x"),
    "absolute form": request("POST http://y:1/append?id=a", b"x") + request("GET HTTPS://y/get?id=a&offset=0"),
    "http/1.2": append("a", b"x").replace(b"HTTP/1.1", b"HTTP/1.2") + get("a", 0),
    "asterisk form": request("OPTIONS *", b"abc") + request("OPTIONS http://y") + append("a", b"x"),
    "origin": append("a", b"x", "Origin: http://y", "Sec-Fetch-Site: same-origin"),
    "host": b"".join(request("POST /append?id=a", b"x", host=host) for host in ("y:1", "[::1]", "127.0.0.1", "a_b.")),
    "empty host": request("POST /append?id=a", b"x", host=""),
    "100 fields": append("a", b"x", *["X: y"] * 98),
    "much in the head": append("a", b"x", "X: " + "y" * 3000),
    "nearly too much in the head": append("a", b"x", "X: " + "y" * 16000),
    "blank line before": b"\r\n" + append("a", b"x"),
    "http/1.0": b"POST /append?id=a HTTP/1.0\r\nContent-Length: 1\r\n\r\nx",
    "http/1.0 get": b"GET /get?id=a&offset=0 HTTP/1.0\r\nHost: x\r\n\r\n",
    "http/1.0 keep-alive": b"GET /get?id=a&offset=0 HTTP/1.0\r\nHost: x\r\nConnection: keep-alive\r\n\r\n",
    "pipelined": append("a", b"1") + append("b", b"2") + get("a", 0) + append("a", b"3") + get("b", 0) + get("a", 0),
    "pipelined mix": append("a", b"1")
    + chunked("POST /append?id=c", b"22")
    + append("a", records(b"3", b"4"), path="appendMulti")
    + request("GET /stat")
    + get("a", 0)
    + append("a", b"5", "Durability: disk")
    + append("a", b"6", "Durability: os")
    + append("a", b"", "Durability: os")
    + append("a", b"7"),
    "pipelined many": b"".join(append("a", b"%d" % number) for number in range(300)) + get("a", 0),
    "close in the midst": append("a", b"1") + append("a", b"2", "Connection: close"),
}

_POST = b"POST /append?id=a HTTP/1.1\r\nHost: x\r\n"

#: What must be refused, and after which nothing may be taken for a request.
REFUSED: dict[str, bytes] = {
    f"field {number}": _POST + lines + b"\r\n\r\n" + body
    for number, (lines, body) in enumerate(
        [
            (b"Content-Length: 4\r\nTransfer-Encoding: chunked", b"0\r\n\r\n"),
            (b"Transfer-Encoding: chunked\r\nContent-Length: 4", b"0\r\n\r\n"),
            (b"Content-Length: 5\r\nTransfer-Encoding: chunked", b"0\r\n\r\n"),
            (b"Content-Length: 4\r\nTransfer-Encoding: identity", b"abcd"),
            (b"Transfer-Encoding: identity", b""),
            (b"Content-Length: 4\r\nContent-Length: 4", b"abcd"),
            (b"Content-Length: 4\r\nContent-Length: 5", b"abcd"),
            (b"Content-Length: 0\r\nContent-Length: 4", b"abcd"),
            (b"Content-Length: +4", b"abcd"),
            (b"Content-Length: -1", b"abcd"),
            (b"Content-Length: 4,4", b"abcd"),
            (b"Content-Length: 4, 4", b"abcd"),
            (b"Content-Length: 0x4", b"abcd"),
            (b"Content-Length: 4_0", b"abcd"),
            (b"Content-Length: 4 4", b"abcd"),
            (b"Content-Length: \xb2", b"abcd"),
            (b"Content-Length:", b"abcd"),
            (b"Content-Length: " + b"0" * 5000 + b"4", b"abcd"),
            (b"Content-Length: " + b"9" * 5000, b"abcd"),
            (b"Content-Length : 4", b"abcd"),
            (b"Content-Length\t: 4", b"abcd"),
            (b" Content-Length: 4", b"abcd"),
            (b"Content-Length: 4\r\n folded: x", b"abcd"),
            (b"Content-Length:\r\n 4", b"abcd"),
            (b"X: y\r\n\tz", b""),
            (b"X: a\nContent-Length: 4", b"abcd"),
            (b"Content-Length: 4\nX: a", b"abcd"),
            (b"X: a\rContent-Length: 4", b"abcd"),
            (b"X: a\r\r\nContent-Length: 4", b"abcd"),
            (b"X: a\x00b\r\nContent-Length: 4", b"abcd"),
            (b"\x00X: b\r\nContent-Length: 4", b"abcd"),
            (b"X\r\nContent-Length: 4", b"abcd"),
            (b": y\r\nContent-Length: 4", b"abcd"),
            (b"X(: y\r\nContent-Length: 4", b"abcd"),
            (b"Host: y\r\nContent-Length: 4", b"abcd"),
            (b"host: x\r\nContent-Length: 4", b"abcd"),
            (b"Transfer-Encoding: xchunked", b"4\r\nabcd\r\n0\r\n\r\n"),
            (b"Transfer-Encoding: chunked, identity", b"4\r\nabcd\r\n0\r\n\r\n"),
            (b"Transfer-Encoding: identity, chunked", b"4\r\nabcd\r\n0\r\n\r\n"),
            (b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", b"4\r\nabcd\r\n0\r\n\r\n"),
            (b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", b"4\r\nabcd\r\n0\r\n\r\n"),
            (b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked", b"4\r\nabcd\r\n0\r\n\r\n"),
            (b"Transfer-Encoding : chunked", b"4\r\nabcd\r\n0\r\n\r\n"),
            (b'Transfer-Encoding: "chunked"', b"4\r\nabcd\r\n0\r\n\r\n"),
            (b"Transfer-Encoding:\x0bchunked", b"4\r\nabcd\r\n0\r\n\r\n"),
            (b"X: y\r\n" * 100 + b"Content-Length: 4", b"abcd"),
            (b"X: y\r\n" * 3000 + b"Content-Length: 4", b"abcd"),
            (b"X: " + b"y" * 17000 + b"\r\nContent-Length: 4", b"abcd"),
        ]
    )
}
REFUSED |= {
    f"chunks {number}": _POST + b"Transfer-Encoding: chunked\r\n\r\n" + chunks
    for number, chunks in enumerate(
        [
            b"\r\nabcd\r\n0\r\n\r\n",
            b"+1\r\na\r\n0\r\n\r\n",
            b"-1\r\na\r\n0\r\n\r\n",
            b"0x1\r\na\r\n0\r\n\r\n",
            b"1 \r\na\r\n0\r\n\r\n",
            b" 1\r\na\r\n0\r\n\r\n",
            b"1_0\r\na\r\n0\r\n\r\n",
            b"1\na\n0\n\n\r\n\r\n",
            b"4\r\nabcd\n0\r\n\r\n",
            b"4\r\nabcde\r\n0\r\n\r\n",
            b"4\r\nabcd\r\n0\r\n" + b"T: " + b"x" * 70000 + b"\r\n\r\n",
            b"4;x\x00\r\nabcd\r\n0\r\n\r\n",
            b"4;" + b"x" * 1100 + b"\r\nabcd\r\n0\r\n\r\n",
            b"4\r\nabcd\r\n00000000000000000x\r\n\r\n",
        ]
    )
}
REFUSED |= {
    f"host {host!r}": request("POST /append?id=a", b"abcd", host=host)
    for host in ("a b", "a,b c", "http://x", "u@x", "x:y", "x:65536", "[::1", "x/y", "\xe9", ":80")
}
REFUSED |= {
    f"line {number}": line + b"\r\nHost: x\r\nContent-Length: 4\r\n\r\nabcd"
    for number, line in enumerate(
        [
            b"POST http://u@x/append?id=a HTTP/1.1",
            b"POST /append?id=a#b HTTP/1.1",
            b"POST append?id=a HTTP/1.1",
            b"POST * HTTP/1.1",
            b"CONNECT x:80 HTTP/1.1",
            b"POST /append?id=a HTTP/2.0",
            b"POST /append?id=a HTTP/0.9",
            b"POST /append?id=a HTTP/11",
            b"POST /append?id=a http/1.1",
            b"POST /append?id=a",
            b"POST  /append?id=a HTTP/1.1",
            b"POST /append?id=a  HTTP/1.1",
            b"POST /append?id=a HTTP/1.1 ",
            b"POST /append?id=a b HTTP/1.1",
            b"POST\t/append?id=a HTTP/1.1",
            b" POST /append?id=a HTTP/1.1",
            b"POST /append?id=a\n HTTP/1.1",
            b"POST /append?id=a HTTP/1.1\nX: y",
            b"POST /append?id=a HTTP/1.1\r",
            b"POST /append?id=a\x00 HTTP/1.1",
            b"POST /append?id=\xff HTTP/1.1",
            b"POST /append?id=" + b"a" * 17000 + b" HTTP/1.1",
        ]
    )
}
REFUSED |= {
    "no host": b"POST /append?id=a HTTP/1.1\r\nContent-Length: 4\r\n\r\nabcd",
    "no length in 1.0": b"POST /append?id=a HTTP/1.0\r\nHost: x\r\n\r\nabcd",
    "chunked in 1.0": b"POST /append?id=a HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n0\r\n\r\n",
    "two blank lines": b"\r\n\r\n" + append("a", b"x"),
    "nothing of http": b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\r\n\r\n",
    "too large": request("POST /append?id=a", None, "Content-Length: 100001") + b"x" * 100,
    "huge": request("POST /append?id=a", None, "Content-Length: 9999999999") + b"x" * 100,
    "huger": request("POST /append?id=a", None, "Content-Length: 99999999999999999999") + b"x" * 100,
    "huge chunk": request("POST /append?id=a", None, "Transfer-Encoding: chunked")
    + b"fffffffffffffffff\r\n"
    + b"x" * 100_100,
    "bytes after close": append("c", b"x", "Connection: close"),
    "bytes after 1.0": b"POST /append?id=c HTTP/1.0\r\nHost: x\r\nContent-Length: 1\r\n\r\nx",
}


class LaneCase(SynchronousTestCase):
    """Two doors, one with the lane and one without, on logs that began the same."""

    durability = Durability.OS

    def setUp(self) -> None:
        """Open them."""
        base = self.mktemp()
        self.fast = Door(f"{base}/fast", True, self.durability)
        self.slow = Door(f"{base}/slow", False, self.durability)
        self.addCleanup(self.fast.close)
        self.addCleanup(self.slow.close)

    def compare(self, *pieces: bytes, settle: bool = True, label: object = None, leave: bool = True) -> Connection:
        """
        Play pieces to both and compare everything.

        @param leave: close the connections afterwards.
        """
        fast, slow = self.fast.play(*pieces, settle=settle), self.slow.play(*pieces, settle=settle)
        self.assertEqual(self.plain(fast), self.plain(slow), label)
        self.assertEqual(fast.is_closed, slow.is_closed, label)
        if leave:
            for door, connection in ((self.fast, fast), (self.slow, slow)):
                connection.close()
                door.connections.remove(connection)
        return fast

    def plain(self, connection: Connection) -> bytes:
        """What was received, whatever the directory."""
        return connection.received.replace(b"/fast/", b"/****/").replace(b"/slow/", b"/****/")

    def compare_files(self, label: object = None) -> None:
        """The logs hold the same bytes."""
        fast, slow = self.fast.raw(), self.slow.raw()
        if fast != slow:
            self.fail(f"{label}: {[name for name in {*fast, *slow} if fast.get(name) != slow.get(name)]}")

    def statuses(self, connection: Connection) -> list[int]:
        """Of a connection's answers."""
        return [int(part[:3]) for part in connection.received.split(b"HTTP/1.1 ")[1:]]


class DifferentialTests(LaneCase):
    """Conversations."""

    step = 1 if SOAK else 7

    def test_whole(self) -> None:
        for name, data in PLAIN.items():
            self.compare(data, label=name)
            self.compare_files(name)

    def test_pipelined(self) -> None:
        """Each between requests for the lane."""
        for name, data in PLAIN.items():
            connection = self.compare(append("b", b"before") + data + append("b", b"behind"), label=name)
            if (
                "close" not in name
                and "http/1.0" not in name
                and "Expect" not in name
                and "connection: close" not in connection.received.decode("latin-1").lower()
            ):
                self.assertEqual(self.statuses(connection)[-1], 200, name)
            self.compare_files(name)

    @long_loop
    def test_split_at_every_byte(self) -> None:
        """At some of them, but in a soak at each."""
        for name, data in PLAIN.items():
            if len(data) > 500 or name == "delete prefix":
                continue
            data += get("a", 0)
            whole = self.statuses(self.compare(data, label=name))
            for at in range(1, len(data), self.step):
                self.assertEqual(self.statuses(self.compare(data[:at], data[at:], label=(name, at))), whole, (name, at))
            self.assertEqual(
                self.statuses(self.compare(*(data[at : at + 1] for at in range(len(data))), label=name)), whole, name
            )
        self.compare_files()

    @long_loop
    def test_fragments(self) -> None:
        """Long mixed conversations in random pieces, with and without time between them."""
        chance = random.Random(5)
        open_ended = [
            data
            for name, data in PLAIN.items()
            if not any(
                word in name for word in ("close", "1.0", "expect", "prefix", "nearly", "beyond", "largest", "many")
            )
        ]
        for number in range(60 if SOAK else 25):
            chosen = chance.choices(open_ended, k=20)
            data = b"".join(chosen)
            most = chance.choice((3, 40, 400, 4000))
            pieces = []
            at = 0
            while at < len(data):
                size = chance.randint(1, most)
                pieces.append(data[at : at + size])
                at += size
            whole = self.statuses(self.compare(data, label=number))
            self.assertEqual(self.statuses(self.compare(*pieces, label=number)), whole)
            self.assertEqual(self.statuses(self.compare(*pieces, settle=False, label=number)), whole)
        self.compare_files()

    def test_answers_are_sound(self) -> None:
        """And they are right, not only equal."""
        connection = self.compare(
            append("a", b"some text") + append("a", b"more") + get("a", 13) + get("a", 17) + get("a", 1)
        )
        first, second, third, fourth, fifth = split_answers(connection.received)
        self.assertEqual((json.loads(first.body)["offset"], json.loads(second.body)["offset"]), (0, 13))
        self.assertEqual((third.body, fourth.body, fifth.status), (b"more", b"more", 404))
        self.assertEqual(first.fields["durability"], self.durability.value)

    def test_damage(self) -> None:
        """A damaged record is reported alike."""
        self.compare(append("a", b"some text") + append("a", b"more"))
        for door in (self.fast, self.slow):
            name = next(name for name, data in door.raw().items() if data)
            with open(f"{door.directory}/{name}", "r+b") as file:
                file.seek(6)
                file.write(b"X")
        connection = self.compare(
            get("a", 0) + get("a", 13) + request("POST /getMulti?id=a", pack("<QQ", 13, 0)) + request("GET /scan?id=a")
        )
        damaged, whole, multi, scan = split_answers(connection.received)
        told = json.loads(damaged.body)
        self.assertEqual((damaged.status, told["error"], whole.body), (500, "DamagedRecord", b"more"))
        self.assertIn(".raw", told["detail"])
        self.assertIn("offset 0", told["detail"])
        self.assertEqual((multi.status, multi.body[:12]), (200, b"\4\0\0\0more\0\0\0\0"))
        self.assertIn(b"offset 0", multi.body)
        self.assertEqual((scan.status, scan.body[:12]), (200, bytes(12)))
        self.assertIn(b"offset 0", scan.body)


class DurableDifferentialTests(DifferentialTests):
    """The same when every append waits for the disk's thread."""

    durability = Durability.DISK
    step = 7 if SOAK else 21


class RefusalTests(LaneCase):
    """Nothing gets past the lane that would not get past the other way."""

    step = 1 if SOAK else 9

    def assert_refused(self, name: str, *pieces: bytes, before: int = 0, settle: bool = True) -> None:
        """The last answer closes the connection; what follows leaves no trace."""
        connection = self.compare(*pieces, settle=settle, label=name)
        answers = split_answers(connection.received)
        self.assertEqual(len(answers), before + 1, (name, answers))
        self.assertEqual(answers[-1].fields["connection"], "close", name)
        if not name.startswith("bytes after"):
            self.assertIn(answers[-1].status, (400, 413, 414, 431, 501, 505), name)
        self.assertNotIn(b"smuggled", connection.received)

    def test_alone(self) -> None:
        for name, data in REFUSED.items():
            self.assert_refused(name, data + SMUGGLED + SMUGGLED)
        self.check()

    def test_behind_good_ones(self) -> None:
        """Also where the lane is at work when it comes."""
        good = append("b", b"good") + get("b", 0)
        for name, data in REFUSED.items():
            self.assert_refused(name, good + data + SMUGGLED, before=2)
            self.assert_refused(name, append("b", b"good") + data + SMUGGLED, before=1)
            self.assert_refused(name, chunked("POST /append?id=b", b"good") + data + SMUGGLED, before=1)
        self.check()

    @long_loop
    def test_in_pieces(self) -> None:
        """Byte by byte, and in two."""
        for name, data in REFUSED.items():
            data = append("b", b"good") + data + SMUGGLED
            if len(data) < 700:
                self.assert_refused(name, *(data[at : at + 1] for at in range(len(data))), before=1)
                for at in range(1, len(data), self.step):
                    self.assert_refused(name, data[:at], data[at:], before=1, settle=bool(at % 2))
        self.check()

    def test_closed_in_the_end(self) -> None:
        for name, data in REFUSED.items():
            self.compare(data + SMUGGLED, label=name, leave=False)
        for door in (self.fast, self.slow):
            door.pass_time(32)
            self.assertEqual(len(door.site.connections), 0)

    def check(self) -> None:
        """The files hold nothing of it."""
        self.compare_files()
        for name, data in self.fast.raw().items():
            self.assertNotIn(b"SMUGGLED", data, name)
            self.assertNotIn(b"abcd", data, name)


_fragments = st.one_of(
    st.sampled_from([data for name, data in PLAIN.items() if len(data) < 2000]),
    st.sampled_from([data for data in REFUSED.values() if len(data) < 2000]),
    st.sampled_from(
        [
            b"\r\n",
            b"\n",
            b"\r",
            b"\x00",
            b" ",
            b"0\r\n\r\n",
            b"4\r\nabcd\r\n",
            b"abcd",
            b"GET ",
            b"POST /append?id=a HTTP/1.1",
            b"Host: x\r\n",
        ]
    ),
    st.sampled_from(
        [
            b"Content-Length: 4\r\n",
            b"Transfer-Encoding: chunked\r\n",
            b"Connection: close\r\n",
            b"Expect: 100-continue\r\n",
            b"\r\n\r\n",
        ]
    ),
    st.binary(max_size=6),
    st.builds(
        lambda line, fields, body: b"\r\n".join([line, *fields, b"", body]),
        st.sampled_from(
            [
                b"POST /append?id=a HTTP/1.1",
                b"GET /get?id=a&offset=0 HTTP/1.1",
                b"POST /appendMulti?id=a HTTP/1.1",
                b"GET /get?id=a&offset=13 HTTP/1.0",
            ]
        ),
        st.lists(
            st.sampled_from(
                [
                    b"Host: x",
                    b"Host: x",
                    b"Host: x",
                    b"Content-Length: 4",
                    b"Content-Length: 8",
                    b"content-length: 0",
                    b"Transfer-Encoding: chunked",
                    b"Transfer-Encoding: identity",
                    b"Connection: keep-alive",
                    b"Connection: close",
                    b"Expect: 100-continue",
                    b"Durability: disk",
                    b"X : y",
                    b" X: y",
                    b"X: a\nb",
                    b"X: a\rb",
                    b"X: \x00",
                    b"X",
                    b"",
                ]
            ),
            max_size=5,
        ),
        st.sampled_from([b"", b"abcd", b"\4\0\0\0abcd", b"4\r\nabcd\r\n0\r\n\r\n", b"0\r\n\r\n", b"abcdefgh"]),
    ),
)


class GeneratedTests(LaneCase):
    """Conversations that nobody thought of."""

    @given(
        fragments=st.lists(_fragments, max_size=6),
        cuts=st.lists(st.integers(0, 3000), max_size=6),
        settle=st.booleans(),
    )
    @settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
    def test_conversations(self, fragments: list[bytes], cuts: list[int], settle: bool) -> None:
        # What follows completes a head that was left open, so that both know what they have.
        data = b"".join(fragments) + b"\r\n\r\n\r\n\r\n" + SMUGGLED + b"\r\n\r\n"
        places = sorted({0, *(cut for cut in cuts if cut < len(data)), len(data)})
        pieces = [data[begin:end] for begin, end in pairwise(places)]
        self.compare(*pieces, settle=settle, label=pieces)
        self.compare_files(pieces)


class LaneOnlyTests(SynchronousTestCase):
    """What only the lane does."""

    def setUp(self) -> None:
        # A file system in memory gives nothing "only if it is in memory", and then the lane does not read.
        self.door = Door(on_disk(self), True)
        self.addCleanup(self.door.close)

    def test_the_lane_is_taken(self) -> None:
        """These tests compare two ways, not one with itself."""
        before = self.door.site.answered
        several = request("POST /getMulti?id=a", pack("<QQ", 5, 0))
        played = self.door.play(
            append("a", b"x") + get("a", 0) + append("a", records(b"y"), path="appendMulti") + several
        )
        self.assertEqual(self.door.site.answered, before)
        self.assertEqual(self.door.site.laned, 4)
        self.assertEqual(split_answers(played.received)[-1].body, records(b"y", b"x"))

    def test_too_much_for_the_lane(self) -> None:
        """More than a turn's share of records, or of bytes, is for the resource."""
        self.door.play(append("a", b"z" * 1000))
        for count, laned in ((1, 2), (65, 3), (66, 3), (257, 3)):
            played = self.door.play(request("POST /getMulti?id=a", bytes(8 * count)))
            (answer,) = split_answers(played.received)
            self.assertEqual((answer.status, answer.body), (200, records(b"z" * 1000) * count))
            self.assertEqual(self.door.site.laned, laned, count)

    def test_back_to_the_lane(self) -> None:
        connection = self.door.connect()
        connection.send(chunked("POST /append?id=a", b"x"))
        connection.send(append("a", b"x"))
        self.assertEqual((self.door.site.answered, self.door.site.laned), (1, 1))

    def test_slow_reader(self) -> None:
        """Answers that the peer does not take do not pile up: it is served no further."""
        self.door.play(append("a", b"z" * 50_000))
        connection = self.door.connect(window=0)
        connection.send(get("a", 0) * 2000)
        self.assertLess(connection.transport.most_waiting, 250_000)
        self.assertTrue(connection.transport.paused)
        for _ in range(4000):
            connection.transport.take(60_000)
            connection.settle()
        self.assertLess(connection.transport.most_waiting, 250_000)
        self.assertEqual(
            len(connection.received),
            2000 * len(connection.received.split(b"HTTP/1.1 200 OK")[1]) + 2000 * len(b"HTTP/1.1 200 OK"),
        )
        connection.send(append("a", b"on it goes"))
        connection.transport.take(1000)
        self.assertTrue(connection.received.endswith(b"}"))

    def test_slow_reader_in_the_slow_way(self) -> None:
        """The same where twisted.web serves."""
        door = Door(self.mktemp(), False)
        self.addCleanup(door.close)
        door.play(append("a", b"z" * 90_000))
        connection = door.connect(window=0)
        connection.send(get("a", 0) * 200)
        self.assertLess(connection.transport.most_waiting, 250_000)
        for _ in range(1000):
            connection.transport.take(60_000)
            connection.settle()
        self.assertLess(connection.transport.most_waiting, 250_000)
        self.assertEqual(connection.received.count(b"HTTP/1.1 200 OK"), 200)

    def test_many_owed(self) -> None:
        """Requests are not taken in without bound while answers are owed."""
        connection = self.door.connect()
        connection.send(append("a", b"x", "Durability: disk") * 5000, settle=False)
        self.assertTrue(connection.transport.paused)
        self.assertLess(len(self.door.log._commit._queue), 300)
        connection.settle()
        self.assertEqual(connection.received.count(b'{"offset":'), 5000)

    def test_stopped_log(self) -> None:
        """A log that has stopped refuses; every request is answered, in its order."""
        self.door.play(append("a", b"x"))
        self.door.log._commit.refusal = StorageFailed("the append log has stopped")
        connection = self.door.play(
            get("a", 0)
            + append("a", b"1")
            + append("a", b"2")
            + get("a", 0)
            + append("a", records(b"3"), path="appendMulti")
        )
        answers = split_answers(connection.received)
        self.assertEqual([answer.status for answer in answers], [200, 503, 503, 200, 503])
        self.assertEqual(json.loads(answers[1].body)["error"], "StorageFailed")
        self.assertFalse(connection.is_closed)
        self.door.log._commit.refusal = None

    def test_slow_head_and_body(self) -> None:
        """The lane waits for the rest of a request no longer than the other way does."""
        data = append("a", b"12345")
        head = self.door.play(data[:30])
        body = self.door.play(data[:-2])
        self.door.pass_time(24)
        self.assertEqual(split_answers(head.received)[0].status, 408)
        self.assertFalse(body.is_closed)
        self.door.pass_time(12)
        self.assertTrue(body.is_closed)
        self.assertEqual(split_answers(body.received)[0].status, 408)

    def test_trickling_head(self) -> None:
        """A head has its time from its first byte on, however busily the rest comes, and on however old a connection."""
        data = append("a", b"12345")
        connection = self.door.play(data)
        self.door.pass_time(12)
        for at in range(15):
            self.assertEqual(len(split_answers(connection.received)), 1, at)
            connection.send(data[at : at + 1])
            self.door.pass_time(1)
        self.door.pass_time(9)
        self.assertEqual([answer.status for answer in split_answers(connection.received)], [200, 408])

    def test_trickling_body(self) -> None:
        """A body that comes slowly, but fast enough, is taken; at less than the least rate it is refused."""
        data = append("a", b"12345")
        connection = self.door.play(data[:-5])
        for at in range(len(data) - 5, len(data)):
            self.door.pass_time(5)
            connection.send(data[at : at + 1])
        self.assertEqual(split_answers(connection.received)[0].status, 200)
        slow = self.door.play(data[:-5])
        for at in range(len(data) - 5, len(data)):
            self.door.pass_time(10)
            slow.send(data[at : at + 1])
        self.assertEqual(split_answers(slow.received)[0].status, 408)

    def test_late_answer_before_a_slow_head(self) -> None:
        """A request that stays half sent does not overtake the answer that is owed to the one before."""
        commit: Any = self.door.log._commit
        self.door.play(append("a", b"x"))
        commit.idle = False  # The disk is at work, for as long as this test says.
        connection = self.door.connect()
        connection.send(append("a", b"x") + b"POST /append?id=b HT", settle=False)
        for _ in range(100):
            self.door.reactor.advance(1)
        self.assertEqual(connection.received, b"")
        self.assertFalse(connection.transport.disconnecting)
        commit._launch()
        connection.settle()
        self.door.pass_time(24)
        self.assertEqual([answer.status for answer in split_answers(connection.received)], [200, 408])

    def test_client_leaves(self) -> None:
        connection = self.door.connect()
        connection.send(append("a", b"x") * 3, settle=False)
        connection.close()
        self.door.play(append("a", b"y"))
        self.assertEqual(self.door.log._prefixes.open.values().__iter__().__next__().stat().records, 4)

    def test_drain(self) -> None:
        """Owed answers come before the connection closes."""
        connection = self.door.connect()
        connection.send(append("a", b"x", "Durability: disk") * 3, settle=False)
        done = self.door.site.drain(5.0)
        self.assertNoResult(done)
        connection.settle()
        self.assertEqual([answer.status for answer in split_answers(connection.received)], [200, 200, 200])
        self.assertTrue(connection.is_closed)
        self.successResultOf(done)
        self.door.site.startFactory()
