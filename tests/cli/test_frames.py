"""The frames in which several records travel."""

from __future__ import annotations

import struct
from itertools import pairwise
from typing import ClassVar

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from storehouse.cli.frames import (
    MAX_ERROR_TEXT,
    MAX_FRAME,
    WHOLE_SIZE,
    ErrorFrame,
    FrameParser,
    MalformedFrame,
    Piece,
    encode_header,
    encode_offsets,
    encode_records,
)

Record = tuple[int | None, bytes]


def frames(records: list[Record]) -> bytes:
    """The stream of some records."""
    return b"".join(encode_header(len(data), offset) + data for offset, data in records)


def join(pieces: list[Piece]) -> list[Record]:
    """The records whose pieces these are; checks that they are in order."""
    records: list[Record] = []
    got = b""
    for piece in pieces:
        assert piece.first == (not got) or piece.length > WHOLE_SIZE
        got = piece.data if piece.first else got + piece.data
        assert piece.last == (len(got) == piece.length)
        if piece.last:
            records.append((piece.offset, got))
            got = b""
    assert not got
    return records


def parse(parser: FrameParser, *chunks: bytes) -> list[Piece]:
    """Everything a parser gives for some chunks and their end."""
    pieces = [piece for chunk in chunks for piece in parser.feed(chunk)]
    parser.finish()
    return pieces


class ParserTests(SynchronousTestCase):
    """L{FrameParser}."""

    records: ClassVar[list[Record]] = [(0, b"one"), (7, b"\0"), (2**64 - 1, b"x" * 40)]

    def test_every_split(self) -> None:
        """A stream cut in two anywhere gives the same records, each whole."""
        for with_offsets in (True, False):
            records = [(offset if with_offsets else None, data) for offset, data in self.records]
            stream = frames(records)
            for at in range(len(stream) + 1):
                pieces = parse(FrameParser(with_offsets), stream[:at], stream[at:])
                self.assertEqual([(piece.offset, piece.data) for piece in pieces], records)

    def test_byte_by_byte(self) -> None:
        """A stream that comes in single bytes gives the same records."""
        stream = frames(self.records)
        pieces = parse(FrameParser(True), *(stream[at : at + 1] for at in range(len(stream))))
        self.assertEqual(join(pieces), self.records)

    def test_empty(self) -> None:
        """No bytes are no records."""
        self.assertEqual(parse(FrameParser(True)), [])
        self.assertEqual(parse(FrameParser(True), b""), [])

    def test_long_record_in_pieces(self) -> None:
        """A record past the bound is handed on as it comes, and not held."""
        parser = FrameParser(False)
        data = bytes(range(256)) * 1024
        stream = frames([(None, data), (None, b"next")])
        pieces = list(parser.feed(stream[:10]))
        self.assertEqual(pieces, [Piece(len(data), None, data[:6], True, False)])
        pieces += parser.feed(stream[10:100])
        self.assertEqual(pieces[-1], Piece(len(data), None, data[6:96], False, False))
        self.assertEqual(parser.records, 0)
        pieces += parser.feed(stream[100:])
        parser.finish()
        self.assertEqual(join(pieces), [(None, data), (None, b"next")])
        self.assertEqual(parser.records, 2)

    def test_bounds_of_whole(self) -> None:
        """Records around the bound, in two cuts."""
        for size in (WHOLE_SIZE - 1, WHOLE_SIZE, WHOLE_SIZE + 1):
            stream = frames([(5, b"a" * size), (6, b"b")])
            for at in (3, 11, 12, 13, size, size + 12, size + 13):
                pieces = parse(FrameParser(True), stream[:at], stream[at:])
                self.assertEqual(join(pieces), [(5, b"a" * size), (6, b"b")])

    def test_too_long(self) -> None:
        """A frame that claims more than the bound is refused at its header; one of the bound is not."""
        for length in (MAX_FRAME + 1, 2**32 - 1):
            parser = FrameParser(True)
            with self.assertRaises(MalformedFrame) as caught:
                parse(parser, frames([(0, b"fine")]) + struct.pack("<IQ", length, 9))
            self.assertIn(f"record 2 of the response claims {length} bytes", caught.exception.message)
        pieces = list(FrameParser(True).feed(struct.pack("<IQ", MAX_FRAME, 9)))
        self.assertEqual(pieces, [Piece(MAX_FRAME, 9, b"", True, False)])

    def test_ends_early(self) -> None:
        """A stream that ends anywhere within a frame is an error after the whole records."""
        stream = frames(self.records)
        ends = {0}
        for _, data in self.records:
            ends.add(max(ends) + 12 + len(data))
        for at in range(len(stream)):
            parser = FrameParser(True)
            list(parser.feed(stream[:at]))
            if at in ends:
                parser.finish()
            else:
                self.assertRaises(MalformedFrame, parser.finish)
        parser = FrameParser(False)
        list(parser.feed(frames([(None, b"x" * WHOLE_SIZE * 2)])[:-1]))
        self.assertRaises(MalformedFrame, parser.finish)

    def test_error_every_split(self) -> None:
        """A zero length is an error whose text goes to the end, wherever the stream is cut."""
        text = "gone \N{SNOWMAN}: \0\0\0\0".encode()
        for with_offsets, said in ((False, "gone \N{SNOWMAN}:"), (True, "at offset 77: gone \N{SNOWMAN}:")):
            first: list[Record] = [(1 if with_offsets else None, b"one")]
            stream = frames(first) + encode_header(0, 77 if with_offsets else None) + text
            for at in range(len(stream) + 1):
                parser = FrameParser(with_offsets)
                pieces = [*parser.feed(stream[:at]), *parser.feed(stream[at:])]
                self.assertEqual(join(pieces), first)
                with self.assertRaises(ErrorFrame) as caught:
                    parser.finish()
                self.assertEqual(caught.exception.message, said)

    def test_error_without_text(self) -> None:
        """A zero length and nothing more is an error all the same."""
        parser = FrameParser(False)
        list(parser.feed(bytes(4)))
        with self.assertRaises(ErrorFrame) as caught:
            parser.finish()
        self.assertIn("without a text", caught.exception.message)

    def test_error_text_is_bounded(self) -> None:
        """An endless error text is not kept."""
        parser = FrameParser(False)
        list(parser.feed(bytes(4)))
        for _ in range(100):
            self.assertEqual(list(parser.feed(b"a" * 1000)), [])
        with self.assertRaises(ErrorFrame) as caught:
            parser.finish()
        self.assertEqual(len(caught.exception.message), MAX_ERROR_TEXT)

    @given(
        st.lists(st.tuples(st.integers(0, 2**64 - 1), st.binary(min_size=1, max_size=60)), max_size=8),
        st.lists(st.integers(0, 10**6), max_size=12),
        st.booleans(),
        st.none() | st.text(max_size=20),
    )
    def test_any(self, given: list[tuple[int, bytes]], cuts: list[int], with_offsets: bool, error: str | None) -> None:
        """Any records, cut anywhere, with and without an error at the end."""
        records: list[Record] = [(offset if with_offsets else None, data) for offset, data in given]
        stream = frames(records)
        if error is not None:
            stream += encode_header(0, 1 if with_offsets else None) + error.encode()
        edges = sorted({0, len(stream), *(cut % (len(stream) + 1) for cut in cuts)})
        parser = FrameParser(with_offsets)
        pieces = [piece for a, b in pairwise(edges) for piece in parser.feed(stream[a:b])]
        self.assertEqual(join(pieces), records)
        if error is None:
            parser.finish()
        else:
            self.assertRaises(ErrorFrame, parser.finish)

    @given(st.binary(max_size=200), st.booleans())
    def test_garbage(self, data: bytes, with_offsets: bool) -> None:
        """Any bytes give records or one of the two errors, and what is given is what came."""
        parser = FrameParser(with_offsets)
        pieces: list[Piece] = []
        try:
            pieces.extend(parser.feed(data))
            parser.finish()
        except (MalformedFrame, ErrorFrame):
            pass
        given = b"".join(
            (encode_header(piece.length, piece.offset) if piece.first else b"") + piece.data for piece in pieces
        )
        self.assertTrue(data.startswith(given))


class EncoderTests(SynchronousTestCase):
    """What is sent."""

    def test_records(self) -> None:
        """Length and data."""
        self.assertEqual(encode_records([b"ab", b"c"]), b"\x02\0\0\0ab\x01\0\0\0c")
        self.assertEqual(encode_records([]), b"")

    def test_offsets(self) -> None:
        """Eight bytes each."""
        self.assertEqual(encode_offsets([1, 2**64 - 1]), b"\x01" + bytes(7) + b"\xff" * 8)
