"""The strict reading of heads."""

from __future__ import annotations

import re

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from storehouse.frontends.http.channel import DoorChannel
from storehouse.frontends.http.lane import FRAMING, MAX_HEAD, Head, PlanCache, parse_head

_WANTED = frozenset({b"durability", b"content-type"})


def parse(*lines: bytes) -> Head | None:
    """Parse lines."""
    return parse_head(b"".join(b"\r\n" + line for line in lines), _WANTED)


class ParseHeadTests(SynchronousTestCase):
    """L{parse_head}."""

    def test_plain(self) -> None:
        head = parse(
            b"Host: x", b"content-LENGTH:\t 42 ", b"Durability: os", b"Connection: Keep-Alive", b"X-Other: \xe9"
        )
        self.assertEqual(head, Head(42, {b"durability": b"os"}))
        self.assertEqual(parse(b"Host: x"), Head(0, {}))
        self.assertEqual(parse(b"Host:"), Head(0, {}))

    def test_not_for_the_lane(self) -> None:
        for line in (
            b"Transfer-Encoding: chunked",
            b"transfer-encoding: identity",
            b"Expect: 100-continue",
            b"Upgrade: h2c",
            b"TE: trailers",
            b"Trailer: x",
            b"Origin: http://y",
            b"Sec-Fetch-Site: none",
            b"Connection: close",
            b"Connection: keep-alive, close",
            b"Connection: ",
            b"Host: y",
            b"Content-Length: 5",
            b"Durability: disk",
        ):
            self.assertIsNone(parse(b"Host: x", b"Content-Length: 4", b"Durability: os", line), line)

    def test_all_fields(self) -> None:
        """If all are wanted, none comes twice."""
        block = b"\r\nHost: X:1\r\nRange: a\r\nX-Y:  z "
        fields = {b"host": b"X:1", b"range": b"a", b"x-y": b"z"}
        self.assertEqual(parse_head(block, None), Head(0, fields))
        self.assertIsNone(parse_head(block + b"\r\nx-y: z", None))
        self.assertIsNotNone(parse_head(block + b"\r\nx-y: z", _WANTED))
        self.assertIsNone(parse_head(block, None, frozenset({b"range"})))

    def test_lengths(self) -> None:
        for value in (
            b"",
            b"+4",
            b"-4",
            b"4,4",
            b"0x4",
            b"4 4",
            b"4\xa0",
            b"\xb2",
            b"4.0",
            b"4_4",
            b"1" * 11,
            b"1" * 5000,
            b"a",
        ):
            self.assertIsNone(parse(b"Host: x", b"Content-Length: " + value), value)
        self.assertEqual(parse(b"Host: x", b"Content-Length: " + b"9" * 10), Head(9999999999, {}))
        self.assertEqual(parse(b"Host: x", b"Content-Length: 007"), Head(7, {}))

    def test_lines(self) -> None:
        for line in (
            b"Name : value",
            b" Name: value",
            b"\tName: value",
            b" folded",
            b"no colon",
            b"",
            b": value",
            b"Na me: value",
            b"Na\xe9me: value",
            b"Na(me: value",
            b"Name: a\nContent-Length: 4",
            b"Name: a\rb",
            b"Name: a\x00b",
            b"Name: a\x7fb",
            b"Name\n: a",
        ):
            self.assertIsNone(parse(b"Host: x", line), line)

    def test_host(self) -> None:
        self.assertIsNone(parse(b"X: y"))
        self.assertIsNone(parse(b"Host: x", b"host: x"))

    def test_as_many_fields_as_the_slow_way(self) -> None:
        """The lane takes no more fields than the other way does."""
        most = DoorChannel.maxHeaders
        self.assertIsNotNone(parse(b"Host: x", *[b"a:"] * (most - 1)))
        self.assertIsNone(parse(b"Host: x", *[b"a:"] * most))

    @given(st.binary(max_size=200))
    @example(b"\r\nHost: x\r\n")
    @settings(max_examples=300, deadline=None)
    def test_any_bytes(self, block: bytes) -> None:
        """Nothing raises; what passes is plain."""
        for data in (block, b"\r\nHost: x\r\n" + block, b"\r\nHost: x\r\nContent-Length: " + block):
            head = parse_head(data, _WANTED)
            if head is not None:
                for line in data.split(b"\r\n")[1:]:
                    self.assertTrue(re.fullmatch(rb"[!#-'*+.^_`|~0-9A-Za-z-]+:[\t -~\x80-\xff]*", line), line)
                self.assertEqual(len(re.findall(rb"(?i)\r\nhost:", data)), 1)
                self.assertLessEqual(len(re.findall(rb"(?i)\r\ncontent-length:", data)), 1)


class _Route:
    waits = False

    def __init__(self, line: bytes) -> None:
        self.line = line
        self.repeats = line.startswith(b"POST")


class _Lane:
    fields: frozenset[bytes] | None = _WANTED
    excluded = FRAMING
    max_body = 10

    def route(self, line: bytes) -> _Route | None:
        return _Route(line) if line.endswith(b" HTTP/1.1") else None


class PlanCacheTests(SynchronousTestCase):
    """L{PlanCache}."""

    def setUp(self) -> None:
        self.cache = PlanCache(_Lane())

    def test_remembers_by_the_byte(self) -> None:
        """The same bytes give the same plan; others are read."""
        whole = b"POST /x HTTP/1.1\r\nHost: x"
        self.assertIsNone(self.cache.get(whole))
        plan = self.cache.learn(whole)
        assert plan is not None
        self.assertEqual((plan[0].line, plan[1]), (b"POST /x HTTP/1.1", Head(0, {})))
        self.assertIs(self.cache.get(whole), plan)
        self.assertIsNone(self.cache.get(whole + b" "))

    def test_not_for_the_lane(self) -> None:
        """A line, a head or a length that is not for the lane has no plan, however often it comes."""
        for whole in (
            b"POST /x HTTP/1.0\r\nHost: x",
            b"POST /x HTTP/1.1\r\nBad",
            b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 11",
            b"POST /x HTTP/1.1",
            b"POST /x HTTP/1.1\r\nHost: " + b"x" * MAX_HEAD,
        ):
            for _ in range(2):
                self.assertIsNone(self.cache.learn(whole))
                self.assertIsNone(self.cache.get(whole))

    def test_lines_that_do_not_repeat(self) -> None:
        """A plan whose line will not come again is not remembered."""
        whole = b"GET /x HTTP/1.1\r\nHost: x"
        self.assertIsNotNone(self.cache.learn(whole))
        self.assertIsNone(self.cache.get(whole))

    def test_heads_that_do_not_repeat(self) -> None:
        """Where all fields are wanted no head is remembered."""
        lane = _Lane()
        lane.fields = None
        cache = PlanCache(lane)
        self.assertIsNotNone(cache.learn(b"GET /x HTTP/1.1\r\nHost: x"))
        self.assertEqual(len(cache._heads), 0)

    def test_bounds(self) -> None:
        """It does not grow without end."""
        for number in range(5000):
            self.cache.learn(b"POST /%d HTTP/1.1\r\nHost: %d" % (number, number))
        self.assertLessEqual(len(self.cache._plans), 4096)
        self.assertLessEqual(len(self.cache._heads), 4096)
