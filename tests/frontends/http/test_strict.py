"""Tests of L{storehouse.frontends.http.strict}: what is looked at in slices comes to the same."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from storehouse.frontends.http.strict import ChunkedDecoder
from tests.frontends.append.doors import Door
from tests.frontends.append.test_lane import PLAIN, REFUSED, append, chunked, get
from tests.frontends.http.wire import Connection, make_site, request, split_answers
from tests.turns.breathing import every_breath


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
        """One that is gone is not gone on with."""
        clock = Clock()
        with every_breath(clock):
            connection = Connection(make_site(clock))
            connection.send(request("GET /none") * 100)
            connection.close()
            clock.advance(1)
            self.assertEqual(connection.received.count(b"404 Not Found"), 1)


def _dateless(answers: bytes) -> bytes:
    return b"\r\n".join(line for line in answers.split(b"\r\n") if not line.startswith(b"Date: "))
