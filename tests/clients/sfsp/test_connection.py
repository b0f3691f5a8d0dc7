"""Tests of L{storehouse.clients.sfsp.connection}."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost

from storehouse.clients.sfsp.reasons import ServerSilent, StaleConnection
from storehouse.core.sfsp import Code, Receive, Send, Status, encode_chunk, encode_ids_head, encode_status
from storehouse.core.streams import BytesStream, IByteStream, StreamClosed, read_all
from storehouse.errors import InvalidAnswer, NoSuchChunk, RemoteRefused, RemoteUnavailable, SizeMismatch
from tests.clients.sfsp.case import ModelCase
from tests.conformance.streams import ByteStreamTests, Upstream, begun

MIB = 1 << 20


def _read_all(reader: IByteStream) -> Deferred[bytes]:
    return begun(read_all(reader))


class Slow(Upstream):
    """A stream that gives a piece when a test writes it."""


class RequestTests(ModelCase):
    """Requests and their answers."""

    def test_round_trip(self) -> None:
        """Every fragmentation: what was sent comes back, pipelined."""
        data = bytes(range(256)) * 3
        for fragment in (1, 2, 3, 7, 8, 9, 16, 17, 64, 1000, 65536):
            self.model.files.clear()
            connection, _ = self.connect(fragment)
            ids: list[int] = []
            sent = [connection.send(b"n\0\xff", id, BytesStream(data[:id]), id) for id in (0, 1, 2**64 - 1 & 255, 700)]
            got = [
                connection.receive(b"n\0\xff", id).addCallback(lambda reader: _read_all(reader)) for id in (0, 700, 1)
            ]
            none = connection.receive(b"n\0\xff", 5)
            listed = connection.list_ids(b"n\0\xff", ids.extend)
            empty = connection.list_ids(b"other", ids.extend)
            for each in sent:
                self.assertIsNone(self.wait(each))
            self.assertEqual([self.wait(each) for each in got], [b"", data[:700], data[:1]])
            self.fails(none, NoSuchChunk, "no chunk 5 of 'n\\x00\\\\xff'")
            self.assertEqual((self.wait(listed), self.wait(empty)), (4, 0))
            self.assertEqual(ids, [0, 1, 255, 700])
            self.assertEqual(connection.outstanding, 0)
            self.assertEqual(self.clock.getDelayedCalls(), [] if not self.clock.getDelayedCalls() else self.idle())

    def idle(self) -> list[Any]:
        """What is left to do once the time is over: nothing."""
        self.clock.advance(1000)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        return []

    def test_stream_waits_for_the_socket(self) -> None:
        """The stream is not read while the socket takes no more."""
        connection, wire = self.connect()
        sent = connection.send(b"n", 0, BytesStream(bytes(20 * MIB)), 20 * MIB)
        self.wait(sent)
        self.assertEqual(len(self.model.files[b"n"][0]), 20 * MIB)
        self.assertLess(wire.most, MIB)

    def test_reader_holds_up(self) -> None:
        """A chunk that is not read has the socket wait, and the responses behind it; that is not the server's silence."""
        self.model.put(b"n", b"a" * 300_000, b"b")
        connection, wire = self.connect()
        first = self.wait(connection.receive(b"n", 0))
        second = connection.receive(b"n", 1)
        self.settle()
        self.assertTrue(wire.is_paused)
        self.clock.advance(1000)
        count = 0
        while count < 300_000:
            self.assertNoResult(second)
            piece = self.successResultOf(begun(first.read()))
            self.assertLessEqual(len(piece), 65536)
            count += len(piece)
            self.settle()
            self.clock.advance(100)
        self.assertEqual(self.successResultOf(begun(first.read())), b"")
        self.assertEqual(self.wait(_read_all(self.wait(second))), b"b")

    def test_small_reader_holds_up(self) -> None:
        """So does a chunk that has come whole: no more than that is held."""
        self.model.put(b"n", b"a", b"b")
        connection, _ = self.connect()
        first = self.wait(connection.receive(b"n", 0))
        second = connection.receive(b"n", 1)
        self.settle()
        self.assertNoResult(second)
        self.assertEqual(self.wait(_read_all(first)), b"a")
        self.assertEqual(self.wait(_read_all(self.wait(second))), b"b")

    def test_ids_hold_up(self) -> None:
        """IDs wait for who takes them."""
        self.model.files[b"n"] = dict.fromkeys(range(30_000), b"")
        connection, wire = self.connect()
        taken: list[int] = []
        turns: list[Deferred[None]] = []

        def take(ids: Any) -> Deferred[None]:
            taken.extend(ids)
            turns.append(Deferred())
            return turns[-1]

        listed = connection.list_ids(b"n", take)
        while not listed.called:
            self.settle()
            self.clock.advance(100)
            self.assertTrue(wire.is_paused or len(taken) == 30_000)
            turns[-1].callback(None)
        self.assertEqual(self.wait(listed), 30_000)
        self.assertEqual(taken, list(range(30_000)))
        self.assertGreater(len(turns), 3)

    def test_closed_early(self) -> None:
        """What is left of a chunk is read in vain if it is little; else the connection is closed."""
        self.model.put(b"n", bytes(MIB // 2), bytes(3 * MIB), b"x")
        connection, wire = self.connect()
        self.wait(self.wait(connection.receive(b"n", 0)).close())
        self.assertEqual(self.wait(_read_all(self.wait(connection.receive(b"n", 2)))), b"x")
        self.assertFalse(wire.aborted)
        reader = self.wait(connection.receive(b"n", 1))
        behind = connection.receive(b"n", 2)
        self.successResultOf(begun(reader.read()))
        for _ in range(2):
            self.successResultOf(reader.close())
        self.fails(behind, RemoteUnavailable, "since the rest of a response")
        self.assertTrue(wire.aborted)
        self.failureResultOf(begun(reader.read()), StreamClosed)

    def test_taker_of_ids_fails(self) -> None:
        """So for IDs, at once or later."""
        self.model.put(b"n", b"", b"x")
        connection, _ = self.connect(8)
        later: Deferred[None] = Deferred()
        for take in (lambda ids: 1 // 0, lambda ids: later):
            listed = connection.list_ids(b"n", take)
            self.settle()
            if not listed.called:
                later.errback(ZeroDivisionError())
            self.fails(listed, ZeroDivisionError)
        self.assertEqual(self.wait(_read_all(self.wait(connection.receive(b"n", 1)))), b"x")

    def test_stream_of_another_size(self) -> None:
        """The connection cannot be used any more; the error is the stream's."""
        for data in (b"1234", b"123456"):
            connection, wire = self.connect()
            sent = connection.send(b"n", 0, BytesStream(data), 5)
            behind = connection.list_ids(b"n", print)
            self.fails(sent, SizeMismatch)
            self.fails(behind, RemoteUnavailable)
            self.assertTrue(wire.aborted)
            self.assertEqual(self.model.files, {})
            self.fails(connection.list_ids(b"n", print), RemoteUnavailable)

    def test_close(self) -> None:
        """An idle connection ends without a reset; what is outstanding fails."""
        connection, wire = self.connect()
        self.wait(connection.close())
        self.assertFalse(wire.aborted)
        connection, wire = self.connect()
        listed = connection.list_ids(b"n", print)
        closed = connection.close()
        self.fails(listed, RemoteUnavailable, "the client closed")
        self.wait(closed)

    def test_cancel(self) -> None:
        """What was not sent is forgotten; an answer on its way is ignored; a chunk on its way breaks the connection."""
        self.model.put(b"n", b"a", b"b")
        connection, wire = self.connect()
        one, two = connection.receive(b"n", 0), connection.receive(b"n", 1)
        one.cancel()
        self.fails(one, CancelledError)
        self.assertEqual(self.wait(_read_all(self.wait(two))), b"b")
        slow = Slow()
        sending = connection.send(b"n", 2, slow, 10)
        waiting = connection.receive(b"n", 0)
        waiting.cancel()
        self.fails(waiting, CancelledError)
        self.assertFalse(wire.aborted)
        sending.cancel()
        self.fails(sending, CancelledError)
        self.assertTrue(wire.aborted)
        self.assertTrue(slow.is_closed)
        self.assertNotIn(Receive(b"n", 9), self.model.seen)


class RefusalTests(ModelCase):
    """Answers that are none, or not those that were hoped for."""

    def test_internal(self) -> None:
        """The server failed at one; it continues with the next."""
        self.model.put(b"n", b"a")
        self.model.early = lambda request: Status(Code.INTERNAL, b"no disk") if request != Receive(b"n", 0) else None
        connection, _ = self.connect()
        for failing in (
            connection.receive(b"n", 1),
            connection.list_ids(b"n", print),
            connection.send(b"n", 1, BytesStream(b"abc"), 3),
        ):
            self.fails(failing, RemoteUnavailable, "the server failed: no disk")
        self.assertEqual(self.wait(_read_all(self.wait(connection.receive(b"n", 0)))), b"a")

    def test_early_internal(self) -> None:
        """While the data is under way: little is sent to its end, for much the connection is closed."""
        self.model.early = lambda request: Status(Code.INTERNAL, b"") if isinstance(request, Send) else None
        self.model.put(b"n", b"a")
        connection, wire = self.connect(1000)
        slow = Slow()
        failed = connection.send(b"n", 1, slow, 10)
        behind = connection.receive(b"n", 0)
        self.settle()
        self.assertNoResult(failed)  # the rest of the chunk must be sent
        slow.write(b"0123456789")
        slow.end()
        self.fails(failed, RemoteUnavailable, "no reason given")
        self.assertEqual(self.wait(_read_all(self.wait(behind))), b"a")
        failed = connection.send(b"n", 1, BytesStream(bytes(3 * MIB)), 3 * MIB)
        behind = connection.receive(b"n", 0)
        self.fails(failed, RemoteUnavailable, "the server failed")
        self.fails(behind, RemoteUnavailable, "an earlier request failed")
        self.assertTrue(wire.aborted)

    def test_early_refusal(self) -> None:
        """The server closes: the request is refused, those behind it are not, and can be made again elsewhere."""
        self.model.early = lambda request: (
            Status(Code.INVALID_REQ, "größer".encode()) if isinstance(request, Send) else None
        )
        connection, _ = self.connect(1000)
        slow = Slow()
        sent = connection.send(b"n", 1, slow, 10 * MIB)
        behind = connection.receive(b"n", 0)
        self.settle()
        self.assertTrue(slow.is_closed)
        self.fails(sent, RemoteRefused, "the server refused the request: größer")
        self.assertNotIsInstance(self.fails(behind, RemoteUnavailable), StaleConnection)
        self.settle()

    def test_garbage(self) -> None:
        """What is no answer, or not the right one."""
        self.model.put(b"n", b"a")
        for said in (
            b"HTTP/1.1",
            encode_chunk(b"n", 1, 0),
            encode_chunk(b"m", 0, 0),
            encode_status(Code.NOT_FOUND) * 2,
        ):
            self.model.early = lambda request: Status(Code.INTERNAL, b"") if isinstance(request, Send) else None
            connection, wire = self.connect()
            failed = connection.receive(b"n", 0)
            wire.stuck = True
            wire.say(said)
            self.fails(failed, NoSuchChunk if said.startswith(b"\x14") else InvalidAnswer)
            self.settle()
            self.assertTrue(wire.closed)

    def test_wrong_status(self) -> None:
        """OK to a send whose data was not sent, NOT_FOUND to what is no receive."""
        for said in (Code.OK, Code.NOT_FOUND):
            connection, wire = self.connect()
            wire.stuck = True
            slow = Slow()
            sent = connection.send(b"n", 0, slow, 10)
            wire.say(encode_status(said))
            self.fails(sent, InvalidAnswer)
            self.assertTrue(slow.is_closed)
        connection, wire = self.connect()
        wire.stuck = True
        listed = connection.list_ids(b"n", print)
        wire.say(encode_status(Code.NOT_FOUND))
        self.fails(listed, InvalidAnswer)

    def test_closed_while_idle(self) -> None:
        """Said or not, it is only gone."""
        for said in (encode_status(Code.INVALID_REQ, b"idle"), b""):
            connection, wire = self.connect()
            if said:
                wire.say(said)
                self.settle()
            else:
                wire.lose(ConnectionDone())
            self.assertIsInstance(connection.error, RemoteUnavailable)
            self.assertFalse(wire.aborted)

    def test_stale(self) -> None:
        """A request that met a connection that was being closed can be told from one that was refused."""
        for how in ("said", "lost"):
            connection, wire = self.connect()
            self.wait(connection.list_ids(b"n", print))
            failed = connection.list_ids(b"n", print)
            wire.stuck = True
            if how == "said":
                wire.say(encode_status(Code.INVALID_REQ, b"idle"))
            else:
                wire.lose(ConnectionLost())
            self.fails(failed, StaleConnection)
        # The second one after a pause is not that.
        connection, wire = self.connect()
        self.wait(connection.list_ids(b"n", print))
        self.model.early = lambda request: Status(Code.INVALID_REQ, b"") if request == Receive(b"n", 7) else None
        self.fails(
            connection.list_ids(b"n", print).addCallback(lambda _: connection.receive(b"n", 7)), RemoteUnavailable
        )
        connection, wire = self.connect()
        first, second = connection.list_ids(b"n", print), connection.receive(b"n", 7)
        self.wait(first)
        self.fails(second, RemoteRefused)


class BreakTests(ModelCase):
    """Connections that break, and servers that say nothing."""

    def test_broken_answers(self) -> None:
        """The connection ends after each byte of three answers."""
        self.model.put(b"n", b"abc", b"defg")
        connection, wire = self.connect()
        listed: list[int] = []
        reading = connection.receive(b"n", 0)
        reading.addCallback(_read_all)
        self.wait(connection.list_ids(b"n", listed.extend))
        self.wait(reading)
        self.wait(connection.close())
        whole = 8 + 8 + 1 + 16 + 3 + 16 + 16
        for cut in range(whole + 1):
            connection, wire = self.connect(1)
            got = connection.receive(b"n", 0).addCallback(_read_all)
            ids = connection.list_ids(b"n", listed.extend)
            moved = 0
            while moved < cut:
                before = len(wire.session.out)
                self.clock.advance(0)
                moved += max(0, before - len(wire.session.out)) if not wire._pending else 0
                if not self.clock.getDelayedCalls() or (got.called and ids.called):
                    break
            wire.lose(ConnectionLost())
            for each in (got, ids):
                if isinstance(each.result, (bytes, int)):
                    self.wait(each)
                else:
                    self.fails(each, RemoteUnavailable)
            self.assertEqual(
                [call for call in self.clock.getDelayedCalls() if call.getTime() > self.clock.seconds()], []
            )

    def test_broken_requests(self) -> None:
        """The server reads only so many bytes: nothing is stored, or all of it."""
        data = b"0123456789"
        for limit in range(1 + 8 + 1 + 16 + len(data) + 1):
            self.model.files.clear()
            self.model.limits = [None] * self.model.sessions + [limit]
            connection, _ = self.connect(1)
            sent = connection.send(b"n", 1, BytesStream(data), len(data))
            behind = connection.list_ids(b"n", print)
            self.fails(sent, RemoteUnavailable, "the connection broke")
            self.assertEqual(self.model.files, {b"n": {1: data}} if limit == 36 else {})
            self.fails(behind, RemoteUnavailable)

    def test_silence(self) -> None:
        """A server that does not answer is given up; one that goes on is not."""
        connection, wire = self.connect(timeout=10)
        wire.stuck = True
        listed = connection.list_ids(b"n", print)
        behind = connection.receive(b"n", 0)
        for byte in encode_ids_head(1)[:12]:
            self.clock.advance(9)
            wire.say(bytes([byte]))
            self.settle()
        self.clock.advance(9)
        self.assertNoResult(listed)
        self.clock.advance(1)
        self.fails(listed, ServerSilent, "silent for 10 s")
        self.fails(behind, RemoteUnavailable)
        self.assertTrue(wire.aborted)

    def test_server_does_not_read(self) -> None:
        """Nor is one that takes nothing waited for."""
        connection, wire = self.connect(timeout=10)
        wire.stuck = True
        sent = connection.send(b"n", 0, BytesStream(bytes(MIB)), MIB)
        self.clock.advance(9)
        self.assertNoResult(sent)
        self.clock.advance(1)
        self.fails(sent, ServerSilent)

    def test_slow_stream(self) -> None:
        """A stream that takes its time is not the server's fault."""
        connection, _ = self.connect(timeout=10)
        slow = Slow()
        sent = connection.send(b"n", 0, slow, 2)
        behind = connection.list_ids(b"n", print)
        for byte in (b"a", b"b"):
            self.clock.advance(100)
            slow.write(byte)
        slow.end()
        self.wait(sent)
        self.assertEqual(self.wait(behind), 1)
        self.clock.advance(100)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.wait(connection.list_ids(b"n", print)), 1)


class ReaderTests(ByteStreamTests, ModelCase):
    """L{ChunkReader} is a stream."""

    def make_stream(self) -> IByteStream:
        self.model.put(b"n", self.DATA)
        connection, _ = self.connect()
        reader = self.wait(connection.receive(b"n", 0))
        self.settle()
        return reader
