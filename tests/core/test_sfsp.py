"""Tests of L{storehouse.core.sfsp}."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import combinations
from struct import pack
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from storehouse.core import sfsp
from storehouse.core.sfsp import (
    MAX_CHUNK,
    MAX_ID,
    MAX_NAME,
    Chunk,
    Code,
    Ids,
    List,
    Receive,
    RequestDecoder,
    ResponseDecoder,
    Send,
    Status,
)
from storehouse.errors import InvalidAnswer, InvalidRequest, StorehouseError, TooLarge

#: Names whose bytes look like something else.
NAMES = [b"a", b"\0", b"*", b"/", b"%", b"..", b"\xff" * 3, "käse".encode(), bytes(range(256)), b"x" * MAX_NAME]
IDS = [0, 1, 0x2A, 0x2F, 255, 256, 2**32, 2**63, MAX_ID]

_names = st.one_of(st.sampled_from(NAMES), st.binary(min_size=1, max_size=40))
_ids = st.one_of(st.sampled_from(IDS), st.integers(0, MAX_ID))
_data = st.one_of(st.binary(max_size=60), st.sampled_from([b"*/%" * 7, pack("<QQ", 10, 20), b"x" * 5000]))
_requests = st.one_of(
    st.tuples(st.just(Send), _names, _ids, _data),
    st.tuples(st.just(Receive), _names, _ids),
    st.tuples(st.just(List), _names),
)
_messages = st.one_of(st.binary(max_size=40), st.just(b"x" * 3000))
_statuses = st.one_of(
    st.tuples(st.sampled_from([Code.INTERNAL, Code.INVALID_REQ]), _messages), st.just((Code.NOT_FOUND, b""))
)
_answers = st.one_of(
    st.tuples(st.just(Send), st.one_of(_statuses, st.tuples(st.just(Code.OK), _messages))),
    st.tuples(st.just(Receive), st.one_of(_statuses, st.tuples(_names, _ids, _data))),
    st.tuples(st.just(List), st.one_of(_statuses, st.lists(_ids, max_size=30))),
)
_cuts = st.lists(st.one_of(st.integers(1, 4), st.integers(1, 30), st.integers(1, 5000)), min_size=1, max_size=20)


def to_bytes(request: Any) -> bytes:
    """A request as the wire has it, with the data of a send."""
    if request[0] is Send:
        _, name, id, data = request
        return sfsp.encode_send(name, id, len(data)) + data
    return sfsp.encode_receive(*request[1:]) if request[0] is Receive else sfsp.encode_list(*request[1:])


def answer_to_bytes(answer: Any) -> bytes:
    """An answer as the wire has it."""
    kind, what = answer
    if isinstance(what, list):
        return sfsp.encode_ids_head(len(what)) + sfsp.encode_ids(what)
    if kind is Receive and isinstance(what[0], bytes):
        name, id, data = what
        return sfsp.encode_chunk(name, id, len(data)) + data
    return sfsp.encode_status(*what)


def drain(decoder: RequestDecoder | ResponseDecoder) -> Iterator[Any]:
    """What a decoder has."""
    while (came := decoder.next()) is not None:
        yield came


def joined(came: Iterable[Any]) -> list[Any]:
    """What came, with the data of each chunk and the IDs of each list in one piece behind it."""
    whole: list[Any] = []
    for each in came:
        if isinstance(each, (Send, Chunk)):
            whole += [each, b""]
        elif isinstance(each, Ids):
            whole += [each, ()]
        elif isinstance(each, (bytes, tuple)):
            whole[-1] += each
        else:
            whole.append(each)
    return whole


def expected(requests: Iterable[Any]) -> list[Any]:
    """What requests are to be understood as."""
    whole: list[Any] = []
    for kind, *rest in requests:
        whole += [Send(rest[0], rest[1], len(rest[2])), rest[2]] if kind is Send else [kind(*rest)]
    return whole


def expected_answers(answers: Iterable[Any]) -> list[Any]:
    """What answers are to be understood as."""
    whole: list[Any] = []
    for kind, what in answers:
        if isinstance(what, list):
            whole += [Ids(len(what)), tuple(what)]
        elif kind is Receive and isinstance(what[0], bytes):
            whole += [Chunk(what[0], what[1], len(what[2])), what[2]]
        else:
            whole.append(Status(*what))
    return whole


def in_pieces(data: bytes, sizes: list[int]) -> Iterator[bytes]:
    """Cut, with these sizes over and over."""
    at = turn = 0
    while at < len(data):
        yield data[at : at + sizes[turn % len(sizes)]]
        at += sizes[turn % len(sizes)]
        turn += 1


class BytesTests(SynchronousTestCase):
    """The very bytes, by hand."""

    def test_requests(self) -> None:
        name = b"\x03\0\0\0\0\0\0\0abc"
        id = b"\x02\x01\0\0\0\0\0\x80"
        number = 0x8000_0000_0000_0102
        self.assertEqual(sfsp.encode_send(b"abc", number, 5), b"*" + name + id + b"\x05\0\0\0\0\0\0\0")
        self.assertEqual(sfsp.encode_receive(b"abc", number), b"/" + name + id)
        self.assertEqual(sfsp.encode_list(b"abc"), b"%" + name)

    def test_answers(self) -> None:
        self.assertEqual(sfsp.encode_status(Code.OK), b"\x0a" + bytes(15))
        self.assertEqual(sfsp.encode_status(Code.NOT_FOUND), b"\x14" + bytes(7))
        self.assertEqual(sfsp.encode_status(Code.NOT_FOUND, b"not said"), b"\x14" + bytes(7))
        self.assertEqual(sfsp.encode_status(Code.INVALID_REQ, b"no"), b"\x15" + bytes(7) + b"\x02" + bytes(7) + b"no")
        self.assertEqual(sfsp.encode_status(Code.INTERNAL, b"no"), b"\x1e" + bytes(7) + b"\x02" + bytes(7) + b"no")
        self.assertEqual(
            sfsp.encode_chunk(b"abc", 258, 1),
            b"\x0a" + bytes(7) + b"\x03" + bytes(7) + b"abc" + b"\x02\x01" + bytes(6) + b"\x01" + bytes(7),
        )
        self.assertEqual(sfsp.encode_ids_head(2) + sfsp.encode_ids([1, MAX_ID]), pack("<4Q", 10, 2, 1, MAX_ID))
        self.assertEqual(sfsp.encode_ids([]), b"")


class RequestTests(SynchronousTestCase):
    """L{RequestDecoder}."""

    PIPELINE = (
        (Send, b"*/%", 0x2A2F25, b"*data/"),
        (List, b"a"),
        (Receive, b"\0\xff", MAX_ID),
        (Send, b"b", 7, b""),
        (Send, b"c", 0, b"1"),
        (List, b"%"),
    )

    def test_cut_anywhere(self) -> None:
        """Each request, cut at every byte and at every two, is what it is."""
        for request in self.PIPELINE:
            data = to_bytes(request)
            for cuts in (*combinations(range(len(data) + 1), 1), *combinations(range(len(data) + 1), 2)):
                decoder = RequestDecoder()
                came: list[Any] = []
                for start, end in zip((0, *cuts), (*cuts, len(data)), strict=True):
                    decoder.feed(data[start:end])
                    came += drain(decoder)
                    self.assertEqual(decoder.between, end in (0, len(data)))
                self.assertEqual(joined(came), expected([request]), cuts)

    def test_pipeline_cut_anywhere(self) -> None:
        data = b"".join(map(to_bytes, self.PIPELINE))
        for cut in range(len(data) + 1):
            decoder = RequestDecoder()
            came: list[Any] = []
            for piece in (data[:cut], data[cut:]):
                decoder.feed(piece)
                came += drain(decoder)
            self.assertEqual(joined(came), expected(self.PIPELINE), cut)
            self.assertTrue(decoder.between)

    def test_fed_before_all_is_taken(self) -> None:
        """Bytes may be fed while others are left."""
        decoder = RequestDecoder()
        came: list[Any] = []
        for request in self.PIPELINE:
            decoder.feed(to_bytes(request))
            came.append(decoder.next())
        came += drain(decoder)
        self.assertEqual(joined(came), expected(self.PIPELINE))
        self.assertIsNone(decoder.next())

    def test_nothing_too_early(self) -> None:
        """A request is not told before its last byte, except for the data, which come as they do."""
        for request in self.PIPELINE:
            data = to_bytes(request)
            head = len(data) - (len(request[3]) if request[0] is Send else 0)
            decoder = RequestDecoder()
            for at in range(head):
                self.assertIsNone(decoder.next())
                decoder.feed(data[at : at + 1])
            self.assertIsNotNone(decoder.next())
            for at in range(head, len(data)):
                self.assertIsNone(decoder.next())
                decoder.feed(data[at : at + 1])
                self.assertEqual(decoder.next(), data[at : at + 1])
                self.assertEqual(decoder.left, len(data) - at - 1)

    @given(st.lists(_requests, max_size=12), _cuts)
    @settings(max_examples=200, deadline=None)
    def test_any(self, requests: list[Any], sizes: list[int]) -> None:
        decoder = RequestDecoder()
        came: list[Any] = []
        for piece in in_pieces(b"".join(map(to_bytes, requests)), sizes):
            decoder.feed(piece)
            came += drain(decoder)
        self.assertEqual(joined(came), expected(requests))
        self.assertTrue(decoder.between)

    def test_first_bytes(self) -> None:
        """Three of them begin a request; each other one is refused at once, and named."""
        for byte in range(256):
            decoder = RequestDecoder()
            decoder.feed(bytes([byte]))
            if byte in b"*/%":
                self.assertIsNone(decoder.next())
            else:
                self.assertIn(f"0x{byte:02x}", str(self.assertRaises(InvalidRequest, decoder.next)))

    def test_empty_name(self) -> None:
        for kind in (b"*", b"/", b"%"):
            decoder = RequestDecoder()
            decoder.feed(kind + bytes(8))
            self.assertIn("name is empty", str(self.assertRaises(InvalidRequest, decoder.next)))

    def test_name_limit(self) -> None:
        """A long name is refused when its size is known, with no byte of it; the text says how much is allowed."""
        for kind in (b"*", b"/", b"%"):
            for limit, size in ((MAX_NAME, MAX_NAME + 1), (1, 2), (10, MAX_ID)):
                decoder = RequestDecoder(max_name=limit)
                head = kind + pack("<Q", size)
                decoder.feed(head[:-1])
                self.assertIsNone(decoder.next())
                decoder.feed(head[-1:])
                text = str(self.assertRaises(TooLarge, decoder.next))
                for word in ("file name", str(size), str(limit)):
                    self.assertIn(word, text)
                decoder = RequestDecoder(max_name=limit)
                decoder.feed(kind + pack("<Q", limit))
                self.assertIsNone(decoder.next())

    def test_chunk_limit(self) -> None:
        """So a large chunk, with no byte of it; one that is just as large as allowed is taken."""
        for limit in (MAX_CHUNK, 0, 1000):
            for size in (limit + 1, MAX_ID):
                decoder = RequestDecoder(max_chunk=limit)
                head = sfsp.encode_send(b"a", 1, size)
                decoder.feed(head[:-1])
                self.assertIsNone(decoder.next())
                decoder.feed(head[-1:])
                text = str(self.assertRaises(TooLarge, decoder.next))
                for word in ("chunk", str(size), str(limit)):
                    self.assertIn(word, text)
            decoder = RequestDecoder(max_chunk=limit)
            decoder.feed(sfsp.encode_send(b"a", 1, limit))
            self.assertEqual(decoder.next(), Send(b"a", 1, limit))
            self.assertEqual(decoder.left, limit)

    def test_nothing_after_an_error(self) -> None:
        """What is refused stays so, whatever follows."""
        decoder = RequestDecoder()
        decoder.feed(to_bytes((List, b"a")) + b"?")
        self.assertEqual(decoder.next(), List(b"a"))
        for _ in range(3):
            self.assertRaises(InvalidRequest, decoder.next)
            decoder.feed(to_bytes((List, b"a")))

    def test_holds_little(self) -> None:
        """No more than a head and what was fed last, although a name comes byte by byte and a chunk never ends."""
        decoder = RequestDecoder()
        for at, byte in enumerate(sfsp.encode_send(b"x" * MAX_NAME, 1, MAX_CHUNK)):
            decoder.feed(bytes([byte]))
            self.assertEqual(decoder.held, at + 1)
            came = decoder.next()
        self.assertIsInstance(came, Send)
        for _ in range(100):
            decoder.feed(bytes(65536))
            self.assertEqual([len(piece) for piece in drain(decoder)], [65536])
            self.assertEqual(decoder.held, 0)

    def test_data_is_not_copied(self) -> None:
        """What is nothing but data is given out as it is."""
        decoder = RequestDecoder()
        decoder.feed(sfsp.encode_send(b"a", 1, 1 << 20))
        decoder.next()
        data = bytes(65536)
        decoder.feed(data)
        self.assertIs(decoder.next(), data)


class AnswerTests(SynchronousTestCase):
    """L{ResponseDecoder}."""

    PIPELINE = (
        (Send, (Code.OK, b"")),
        (Receive, (b"*/%", 0x0A, b"data")),
        (List, [1, 10, MAX_ID]),
        (Receive, (Code.NOT_FOUND, b"")),
        (List, []),
        (Receive, (b"a", MAX_ID, b"")),
        (Send, (Code.INTERNAL, b"no room")),
        (Receive, (Code.INTERNAL, b"")),
        (List, (Code.INTERNAL, b"damaged")),
        (Send, (Code.OK, b"said so")),
        (List, (Code.INVALID_REQ, b"closing")),
    )

    def decoder_for(self, answers: Iterable[Any], **limits: int) -> ResponseDecoder:
        decoder = ResponseDecoder(**limits)
        for kind, _ in answers:
            decoder.expect(kind)
        return decoder

    def test_cut_anywhere(self) -> None:
        for answer in self.PIPELINE:
            data = answer_to_bytes(answer)
            for cuts in (*combinations(range(len(data) + 1), 1), *combinations(range(len(data) + 1), 2)):
                decoder = self.decoder_for([answer])
                came: list[Any] = []
                for start, end in zip((0, *cuts), (*cuts, len(data)), strict=True):
                    decoder.feed(data[start:end])
                    came += drain(decoder)
                self.assertEqual(joined(came), expected_answers([answer]), cuts)

    def test_pipeline_cut_anywhere(self) -> None:
        data = b"".join(map(answer_to_bytes, self.PIPELINE))
        for cut in range(len(data) + 1):
            decoder = self.decoder_for(self.PIPELINE)
            came: list[Any] = []
            for piece in (data[:cut], data[cut:]):
                decoder.feed(piece)
                came += drain(decoder)
            self.assertEqual(joined(came), expected_answers(self.PIPELINE), cut)

    @given(st.lists(_answers, max_size=12), _cuts)
    @settings(max_examples=200, deadline=None)
    def test_any(self, answers: list[Any], sizes: list[int]) -> None:
        decoder = self.decoder_for(answers)
        came: list[Any] = []
        for piece in in_pieces(b"".join(map(answer_to_bytes, answers)), sizes):
            decoder.feed(piece)
            came += drain(decoder)
        self.assertEqual(joined(came), expected_answers(answers))
        self.assertEqual((decoder.held, decoder.left, decoder.ids_left), (0, 0, 0))

    def test_what_is_left(self) -> None:
        decoder = self.decoder_for([(Receive, None), (List, None)])
        decoder.feed(sfsp.encode_chunk(b"a", 1, 5) + b"12")
        list(drain(decoder))
        self.assertEqual((decoder.left, decoder.ids_left), (3, 0))
        decoder.feed(b"345" + pack("<4Q", 10, 3, 1, 2))
        list(drain(decoder))
        self.assertEqual((decoder.left, decoder.ids_left), (0, 1))

    def test_other_codes(self) -> None:
        codes = {0, 1, 9, 11, 19, 22, 29, 31, 0x1400000000000000, MAX_ID}
        for kind in (Send, Receive, List):
            for code in codes:
                decoder = self.decoder_for([(kind, None)])
                decoder.feed(pack("<Q", code))
                self.assertIn(str(code), str(self.assertRaises(InvalidAnswer, decoder.next)))

    def test_unasked(self) -> None:
        """Nothing may come unasked but INVALID_REQ, with which a server ends what was idle for too long."""
        for code in (Code.OK, Code.NOT_FOUND, Code.INTERNAL):
            decoder = ResponseDecoder()
            decoder.feed(pack("<QQ", code, 0))
            self.assertIn(code.name, str(self.assertRaises(InvalidAnswer, decoder.next)))
        decoder = self.decoder_for([(Send, None)])
        decoder.feed(sfsp.encode_status(Code.OK) + sfsp.encode_status(Code.INVALID_REQ, b"too slow"))
        self.assertEqual(list(drain(decoder)), [Status(Code.OK), Status(Code.INVALID_REQ, b"too slow")])
        decoder.feed(sfsp.encode_status(Code.OK))
        self.assertRaises(InvalidAnswer, decoder.next)

    def test_limits(self) -> None:
        """What is announced too large is refused with no byte of it."""
        for kind, head in (
            (Receive, pack("<QQ", 10, 11)),
            (Receive, sfsp.encode_chunk(b"a", 1, 101)),
            (Receive, sfsp.encode_chunk(b"a", 1, MAX_ID)),
            (Receive, pack("<QQ", 30, (64 << 10) + 1)),
            (Send, pack("<QQ", 10, MAX_ID)),
            (List, pack("<QQ", 21, MAX_ID)),
        ):
            decoder = self.decoder_for([(kind, None)], max_name=10, max_chunk=100)
            decoder.feed(head[:-1])
            self.assertIsNone(decoder.next())
            decoder.feed(head[-1:])
            self.assertRaises(InvalidAnswer, decoder.next)

    def test_as_large_as_allowed(self) -> None:
        decoder = self.decoder_for([(Receive, None)], max_name=10, max_chunk=100)
        decoder.feed(sfsp.encode_chunk(b"x" * 10, 1, 100))
        self.assertEqual(decoder.next(), Chunk(b"x" * 10, 1, 100))

    def test_longest_message(self) -> None:
        decoder = self.decoder_for([(Send, None)])
        data = sfsp.encode_status(Code.INTERNAL, b"x" * 65536)
        decoder.feed(data[:-1])
        self.assertIsNone(decoder.next())
        decoder.feed(data[-1:])
        self.assertEqual(decoder.next(), Status(Code.INTERNAL, b"x" * 65536))

    def test_long_lists(self) -> None:
        """IDs are given out as they come, some thousands at a time, and nothing is held."""
        decoder = self.decoder_for([(List, None)])
        decoder.feed(sfsp.encode_ids_head(MAX_ID))
        self.assertEqual(decoder.next(), Ids(MAX_ID))
        data = sfsp.encode_ids(range(20_000))
        for _ in range(3):
            decoder.feed(data + b"1234567")
            came = list(drain(decoder))
            self.assertEqual([id for piece in came for id in piece], list(range(20_000)))
            self.assertLess(max(map(len, came)), 10_000)
            self.assertEqual(decoder.held, 7)
            decoder.feed(b"8")
            self.assertEqual(decoder.next(), (0x38373635_34333231,))
            self.assertIsNone(decoder.next())


class NoiseTests(SynchronousTestCase):
    """Any bytes are understood or refused, and it does not matter in what pieces they come."""

    @given(st.binary(max_size=80), _cuts)
    @settings(max_examples=300, deadline=None)
    def test_requests(self, data: bytes, sizes: list[int]) -> None:
        self.assertEqual(
            self.outcome(RequestDecoder(5, 20), [data]), self.outcome(RequestDecoder(5, 20), in_pieces(data, sizes))
        )

    @given(
        st.lists(st.sampled_from([Send, Receive, List]), max_size=6),
        st.lists(st.one_of(st.sampled_from([10, 20, 21, 30, 0, 1, 3]).map(lambda n: pack("<Q", n)), st.binary()))
        .map(b"".join)
        .map(lambda data: data[:200]),
        _cuts,
    )
    @settings(max_examples=300, deadline=None)
    def test_answers(self, kinds: list[Any], data: bytes, sizes: list[int]) -> None:
        outcomes = []
        for pieces in ([data], in_pieces(data, sizes)):
            decoder = ResponseDecoder(5, 20)
            for kind in kinds:
                decoder.expect(kind)
            outcomes.append(self.outcome(decoder, pieces))
        self.assertEqual(*outcomes)

    def outcome(self, decoder: Any, pieces: Iterable[bytes]) -> Any:
        """What came, and what ended it."""
        came: list[Any] = []
        try:
            for piece in pieces:
                decoder.feed(piece)
                came += drain(decoder)
        except StorehouseError as error:
            return joined(came), type(error), str(error)
        return joined(came), None, decoder.left
