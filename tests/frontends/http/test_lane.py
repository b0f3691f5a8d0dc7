"""The strict reading of heads."""

from __future__ import annotations

import re

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from storehouse.frontends.http.channel import DoorChannel
from storehouse.frontends.http.lane import MAX_HEAD, Head, HeadCache, parse_head

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
            b"Range: bytes=0-1",
            b"Authorization: Basic x",
            b"Content-Encoding: gzip",
            b"Connection: close",
            b"Connection: keep-alive, close",
            b"Connection: ",
            b"Host: y",
            b"Content-Length: 5",
            b"Durability: disk",
        ):
            self.assertIsNone(parse(b"Host: x", b"Content-Length: 4", b"Durability: os", line), line)

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


class HeadCacheTests(SynchronousTestCase):
    """L{HeadCache}."""

    def test_remembers_by_the_byte(self) -> None:
        cache = HeadCache(_WANTED)
        self.assertRaises(KeyError, cache.get, b"\r\nHost: x")
        head = cache.learn(b"\r\nHost: x")
        self.assertIs(cache.get(b"\r\nHost: x"), head)
        self.assertRaises(KeyError, cache.get, b"\r\nhost: x")
        self.assertIsNone(cache.learn(b"\r\nBad"))
        self.assertIsNone(cache.get(b"\r\nBad"))

    def test_bounds(self) -> None:
        cache = HeadCache(_WANTED)
        self.assertIsNone(cache.learn(b"\r\nHost: " + b"x" * MAX_HEAD))
        for number in range(5000):
            cache.learn(b"\r\nHost: %d" % number)
        self.assertLessEqual(len(cache._heads), 4096)
