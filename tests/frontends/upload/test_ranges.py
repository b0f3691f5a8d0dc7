"""Tests of L{storehouse.frontends.http.sending} and L{storehouse.frontends.upload.ranges}."""

from __future__ import annotations

from email import message_from_bytes, policy
from itertools import pairwise

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from storehouse.errors import InvalidRange
from storehouse.frontends.http.sending import MOST_RANGES, Span, parse_ranges
from storehouse.frontends.upload.ranges import ByteRanges

_numbers = st.integers(0, 40)
_specs = st.one_of(
    st.tuples(_numbers, _numbers),
    st.tuples(_numbers, st.none()),
    st.tuples(st.none(), _numbers),
)


def spec_text(spec: tuple[int | None, int | None]) -> str:
    """As the field has it."""
    first, last = spec
    return f"{'' if first is None else first}-{'' if last is None else last}"


def spec_bytes(spec: tuple[int | None, int | None], size: int) -> set[int]:
    """The offsets of the bytes that are meant, one by one."""
    first, last = spec
    if first is None:
        assert last is not None
        return set(range(size)[-last:]) if last else set()
    return {at for at in range(size) if at >= first and (last is None or at <= last)}


class ParseTests(SynchronousTestCase):
    """The field C{Range}."""

    def test_table(self) -> None:
        for text, size, expected in [
            (b"bytes=0-0", 10, [(0, 1)]),
            (b"bytes=0-", 10, [(0, 10)]),
            (b"bytes=9-", 10, [(9, 1)]),
            (b"bytes=3-99", 10, [(3, 7)]),
            (b"bytes=-3", 10, [(7, 3)]),
            (b"bytes=-99", 10, [(0, 10)]),
            (b"BYTES=1-2", 10, [(1, 2)]),
            (b"bytes = 1-2", 10, [(1, 2)]),
            (b"bytes= 1-2 ,\t4-5", 10, [(1, 2), (4, 2)]),
            (b"bytes=,1-2,, 4-5,", 10, [(1, 2), (4, 2)]),
            (b"bytes=4-5,1-2", 10, [(1, 2), (4, 2)]),
            (b"bytes=0-3,2-5", 10, [(0, 6)]),
            (b"bytes=0-1,2-3", 10, [(0, 4)]),
            (b"bytes=0-9,-1,3-4", 10, [(0, 10)]),
            (b"bytes=0-1,50-60", 10, [(0, 2)]),
            (b"bytes=0-99999999999999999999999999999999", 10, [(0, 10)]),
        ]:
            spans = parse_ranges(text, size)
            assert spans is not None, text
            self.assertEqual([(span.offset, span.length) for span in spans], expected, text)

    def test_left_unread(self) -> None:
        for text in (
            *(b"", b"bytes", b"bytes=", b"bytes=,", b"bytes=-", b"bytes=--1", b"bytes=2-1", b"bytes=a-b", b"lines=1-2"),
            *(b"bytes=1-2;3-4", b"bytes=1 - 2", b"bytes=0x1-2", b"bytes=1-2,x", b"bytes=+1-2", b"bytes=1"),
            *(b"bytes=" + b"9" * 5000 + b"-", b"bytes=" + b",".join([b"1-2"] * (MOST_RANGES + 1))),
            *("bytes=\u0661-\u0662".encode(), b"bytes=1-2\n"),
        ):
            self.assertIsNone(parse_ranges(text, 10), text)
        self.assertIsNone(parse_ranges(None, 10))
        self.assertIsNone(parse_ranges(b"bytes=-5", 0))

    def test_none_there(self) -> None:
        for text, size in ((b"bytes=10-", 10), (b"bytes=-0", 10), (b"bytes=10-20,99-", 10), (b"bytes=0-", 0)):
            error = self.assertRaises(InvalidRange, parse_ranges, text, size)
            self.assertEqual(error.size, size)

    @given(st.lists(_specs, min_size=1, max_size=MOST_RANGES), st.integers(0, 32))
    @example([(0, 0), (2, 2), (1, 1)], 3)
    def test_against_a_model(self, specs: list[tuple[int | None, int | None]], size: int) -> None:
        """Every byte that is asked for, no other, none twice, in order."""
        field = "bytes=" + ",".join(map(spec_text, specs))
        reversed_spec = any(first is not None and last is not None and last < first for first, last in specs)
        suffix_of_nothing = not size and any(first is None and last for first, last in specs)
        meant = set().union(*(spec_bytes(spec, size) for spec in specs))
        try:
            spans = parse_ranges(field.encode(), size)
        except InvalidRange:
            self.assertEqual(meant, set())
            return
        if spans is None:
            self.assertTrue(reversed_spec or suffix_of_nothing)
            return
        given = [at for span in spans for at in range(span.offset, span.end)]
        self.assertEqual(given, sorted(meant))
        # Those that touch are one.
        self.assertTrue(all(one.end < other.offset for one, other in pairwise(spans)))


class FrameTests(SynchronousTestCase):
    """C{multipart/byteranges}."""

    def test_bytes(self) -> None:
        frame = ByteRanges([Span(0, 2), Span(5, 1)], 10, b"text/plain", b"X")
        body = frame.heads[0] + b"ab" + frame.heads[1] + b"f" + frame.tail
        self.assertEqual(
            body,
            b"--X\r\nContent-Type: text/plain\r\nContent-Range: bytes 0-1/10\r\n\r\nab\r\n"
            b"--X\r\nContent-Type: text/plain\r\nContent-Range: bytes 5-5/10\r\n\r\nf\r\n--X--\r\n",
        )
        self.assertEqual(frame.length, len(body))
        self.assertEqual(frame.content_type, b"multipart/byteranges; boundary=X")

    @given(st.binary(max_size=300), st.lists(st.tuples(_numbers, _numbers), min_size=1, max_size=9))
    def test_read_by_another_parser(self, data: bytes, specs: list[tuple[int, int]]) -> None:
        field = "bytes=" + ",".join(map(spec_text, specs))
        try:
            spans = parse_ranges(field.encode(), len(data))
        except InvalidRange:
            return
        if spans is None:
            return
        frame = ByteRanges(spans, len(data), b"application/octet-stream")
        body = b"".join(
            part for head, span in zip(frame.heads, spans, strict=True) for part in (head, data[span.offset : span.end])
        )
        body += frame.tail
        self.assertEqual(len(body), frame.length)
        message = message_from_bytes(b"Content-Type: " + frame.content_type + b"\r\n\r\n" + body, policy=policy.HTTP)
        self.assertEqual(message.defects, [])
        parts = message.get_payload()
        assert isinstance(parts, list)
        self.assertEqual(
            [part["Content-Range"] for part in parts],
            [f"bytes {span.offset}-{span.end - 1}/{len(data)}" for span in spans],
        )

    def test_boundaries_differ(self) -> None:
        made = {ByteRanges([Span(0, 1)], 1, b"a/b").content_type for _ in range(20)}
        self.assertEqual(len(made), 20)
