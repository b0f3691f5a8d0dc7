"""Tests of L{storehouse.clients.sfsp.client} and of its pool."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost

from storehouse.clients.sfsp import ChunkReader
from storehouse.clients.sfsp.reasons import ServerSilent
from storehouse.core.sfsp import Code, List, Receive, Send, Status, encode_status
from storehouse.core.streams import BytesStream, read_all
from storehouse.errors import InvalidAnswer, NoSuchChunk, RemoteRefused, RemoteUnavailable
from tests.clients.sfsp.case import ModelCase
from tests.conformance.streams import begun

MIB = 1 << 20


class ClientTests(ModelCase):
    """L{SFSPClient}."""

    def read(self, client: Any, id: int) -> Deferred[bytes]:
        """A chunk of the file n."""
        return client.fetch(b"n", id, read_all)

    def test_round_trip(self) -> None:
        """Many requests over few connections."""
        client = self.client(connections=3, pipeline=4)
        data = {id: bytes([id]) * id for id in range(100)}
        sent = [client.send(b"n", id, lambda data=each: BytesStream(data), len(each)) for id, each in data.items()]
        for each in sent:
            self.wait(each)
        self.assertEqual(len(self.endpoint.wires), 3)
        self.assertEqual(self.model.files[b"n"], data)
        got = [self.read(client, id) for id in data]
        self.assertLessEqual(max(wire.connection.outstanding for wire in self.endpoint.wires), 4)
        self.assertEqual([self.wait(each) for each in got], list(data.values()))
        ids: list[int] = []
        self.assertEqual(self.wait(client.list_ids(b"n", ids.extend)), 100)
        self.fails(self.read(client, 100), NoSuchChunk)
        reader = self.wait(client.receive(b"n", 7))
        self.assertEqual(reader.size, 7)
        self.wait(reader.close())
        self.wait(client.close())
        self.assertTrue(all(wire.closed and not wire.aborted for wire in self.endpoint.wires))
        self.fails(self.read(client, 1), RemoteUnavailable, "the client is closed")
        self.wait(client.close())

    def test_one_connection_is_enough(self) -> None:
        """One request after the other opens only one."""
        client = self.client()
        for _ in range(5):
            self.wait(client.list_ids(b"n", print))
        self.assertEqual(len(self.endpoint.wires), 1)

    def test_broken_connections(self) -> None:
        """Chunks are sent and fetched again, with a new source, and nothing is missing."""
        self.model.limits = [5, 100, 40_000, 70_000, 0, 20]
        client = self.client(connections=2, pipeline=3)
        data = {id: bytes([id]) * 30_000 for id in range(10)}
        opened: list[int] = []

        def source(id: int) -> BytesStream:
            opened.append(id)
            return BytesStream(data[id])

        sent = [client.send(b"n", id, lambda id=id: source(id), 30_000) for id in data]
        for each in sent:
            self.wait(each)
        self.assertEqual(self.model.files[b"n"], data)
        self.assertGreater(len(opened), 10)
        self.assertGreater(self.model.sessions, 6)

    def test_chunk_breaks_off(self) -> None:
        """It is fetched again from its first byte; who takes it gets a new reader."""
        self.model.put(b"n", bytes(MIB))
        client = self.client()
        sizes: list[int] = []

        async def take(reader: ChunkReader) -> bytes:
            sizes.append(reader.size)
            if len(sizes) == 1:
                self.clock.callLater(0.5, self.endpoint.wires[0].lose, ConnectionLost())
                await Deferred.fromCoroutine(wait())
            return await read_all(reader)

        async def wait() -> None:
            turn: Deferred[None] = Deferred()
            self.clock.callLater(1, turn.callback, None)
            await turn

        self.assertEqual(self.wait(client.fetch(b"n", 0, take)), bytes(MIB))
        self.assertEqual(sizes, [MIB, MIB])

    def test_taken_in_part(self) -> None:
        """Who does not take all of a chunk does not hold up the others."""
        self.model.put(b"n", b"abc", b"d")

        async def take(reader: ChunkReader) -> int:
            return reader.size

        client = self.client(connections=1)
        got = client.fetch(b"n", 0, take)
        other = self.read(client, 1)
        self.assertEqual((self.wait(got), self.wait(other)), (3, b"d"))

    def test_taker_fails(self) -> None:
        """Its error comes out, and the connection is used for others."""
        self.model.put(b"n", bytes(1000), b"x")

        async def take(reader: ChunkReader) -> None:
            await reader.read()
            raise ZeroDivisionError

        client = self.client(connections=1)
        self.fails(client.fetch(b"n", 0, take), ZeroDivisionError)
        self.assertEqual(self.wait(self.read(client, 1)), b"x")
        self.assertEqual(len(self.endpoint.wires), 1)

    def test_stream(self) -> None:
        """A chunk as a stream goes on where a connection broke, and fails as others do when there is none any more."""
        data = bytes(range(250)) * 4000
        self.model.put(b"n", data)
        client = self.client(connections=1, retries=1)
        stream = client.stream(b"n", 0)
        pieces = []
        while piece := self.wait(begun(stream.read())):
            pieces.append(piece)
            if len(pieces) == 3:
                self.endpoint.wires[-1].lose(ConnectionLost())
        self.assertEqual((b"".join(pieces), self.model.sessions), (data, 2))
        self.fails(begun(read_all(client.stream(b"n", 1))), NoSuchChunk)
        self.endpoint.refusing = 1000
        self.wait(client.close())
        self.fails(begun(read_all(client.stream(b"n", 0))), RemoteUnavailable, "the client is closed")

    def test_unreachable(self) -> None:
        """It is tried again, but not for ever; those who wait do not each wait as long."""
        self.endpoint.refusing = 3
        client = self.client(connections=1)
        self.wait(client.list_ids(b"n", print))
        self.endpoint.refusing = 1000
        client = self.client(connections=1, retries=2)
        many = [client.list_ids(b"n", print) for _ in range(50)]
        for each in many:
            self.fails(each, RemoteUnavailable, "it cannot be reached: Connection refused")
        self.assertLess(self.clock.seconds(), 10)

    def test_silent_connect(self) -> None:
        """A connection that does not come about; one more attempt."""
        self.endpoint.silent = True
        client = self.client(timeout=7, retries=0)
        self.fails(client.list_ids(b"n", print), RemoteUnavailable, "cannot be reached: silent for 7 s")
        self.assertEqual(self.clock.seconds(), 7)

    def test_silence(self) -> None:
        """After a silence there is one more attempt."""
        client = self.client(timeout=7)
        listed = client.list_ids(b"n", print)
        self.endpoint.wires[0].stuck = True
        self.assertEqual(self.wait(listed), 0)
        self.endpoint.wires[1].stuck = self.endpoint.stuck = True
        listed = client.list_ids(b"n", print)
        self.fails(listed, ServerSilent)
        self.assertEqual(len(self.endpoint.wires), 3)

    def test_server_fails(self) -> None:
        """So is a server that fails; one that refuses is not asked twice, nor one that speaks something else."""
        left = [Status(Code.INTERNAL, b"busy")] * 2
        self.model.early = lambda request: left.pop() if left else None
        client = self.client()
        self.assertEqual(self.wait(client.list_ids(b"n", print)), 0)
        self.model.early = lambda request: Status(Code.INTERNAL, b"busy")
        self.fails(client.list_ids(b"n", print), RemoteUnavailable, "the server failed: busy")
        self.model.seen.clear()
        self.model.early = lambda request: Status(Code.INVALID_REQ, b"too large")
        client = self.client()
        self.fails(client.send(b"n", 0, lambda: BytesStream(b"a"), 1), RemoteRefused, "too large")
        self.assertEqual(self.model.seen, [Send(b"n", 0, 1)])
        client = self.client()
        listed = client.list_ids(b"n", print)
        self.endpoint.wires[-1].stuck = True
        self.endpoint.wires[-1].say(b"SSH-2.0-x")
        self.fails(listed, InvalidAnswer)

    def test_refused_among_others(self) -> None:
        """Those that were on the same connection are made again."""
        self.model.put(b"n", b"abc")
        self.model.early = lambda request: Status(Code.INVALID_REQ, b"no") if request == Receive(b"n", 7) else None
        client = self.client(connections=1)
        refused, others = self.read(client, 7), [self.read(client, 0) for _ in range(5)]
        self.fails(refused, RemoteRefused, "no")
        self.assertEqual([self.wait(each) for each in others], [b"abc"] * 5)

    def test_stale(self) -> None:
        """Connections that the server closed while they were idle are no failures, and cost no time."""
        client = self.client(connections=3, retries=0)
        for how in ("said", "lost", "crossed", "crossed lost"):
            for each in [client.list_ids(b"n", print) for _ in range(3)]:
                self.wait(each)
            now = self.clock.seconds()
            wires = [wire for wire in self.endpoint.wires if not wire.closed]
            self.assertEqual(len(wires), 3)
            for wire in wires:
                if how == "lost":
                    wire.lose(ConnectionDone())
                    continue
                if how.startswith("crossed"):
                    wire.stuck = True
                if how == "crossed lost":
                    self.clock.callLater(0, wire.lose, ConnectionLost())
                else:
                    wire.say(encode_status(Code.INVALID_REQ, b"idle for too long"))
            if how == "said":
                self.settle()
            self.assertEqual(self.wait(client.list_ids(b"n", print)), 0)
            self.assertEqual(self.clock.seconds(), now)
            self.wait(client.close())
            client = self.client(connections=3, retries=0)

    def test_listing_goes_on(self) -> None:
        """IDs come once although the connection breaks in their midst."""
        self.model.files[b"n"] = dict.fromkeys(range(0, 60_000, 2), b"")
        client = self.client()
        taken: list[int] = []

        def take(ids: Any) -> Deferred[None]:
            taken.extend(ids)
            turn: Deferred[None] = Deferred()
            self.clock.callLater(1, turn.callback, None)
            if len(self.endpoint.wires) < 3 and len(taken) > 10_000 * len(self.endpoint.wires):
                self.endpoint.wires[-1].lose(ConnectionLost())
            return turn

        self.assertEqual(self.wait(client.list_ids(b"n", take)), 30_000)
        self.assertEqual(taken, list(range(0, 60_000, 2)))
        self.assertEqual(self.model.seen, [List(b"n")] * 3)

    def test_cancel(self) -> None:
        """At any time: while connecting, waiting for a connection, for an answer, for another attempt."""
        self.endpoint.silent = True
        client = self.client(connections=1)
        connecting, waiting = client.list_ids(b"n", print), client.list_ids(b"n", print)
        for each in (waiting, connecting):
            each.cancel()
            self.fails(each, CancelledError)
        connecting, waiting = client.list_ids(b"n", print), client.list_ids(b"n", print)
        self.endpoint.silent = False
        connecting.cancel()
        self.fails(connecting, CancelledError)
        self.assertEqual(self.wait(waiting), 0)
        client = self.client(connections=1)
        self.endpoint.refusing = 1
        for _ in range(2):
            pausing = client.list_ids(b"n", print)
            pausing.cancel()
            self.fails(pausing, CancelledError)
        self.assertEqual(self.wait(client.list_ids(b"n", print)), 0)

    def test_close_while_connecting(self) -> None:
        """All fail at once."""
        self.endpoint.silent = True
        client = self.client(connections=1)
        asked = [client.list_ids(b"n", print), client.list_ids(b"n", print)]
        self.wait(client.close())
        for each in asked:
            self.fails(each, RemoteUnavailable, "the client is closed")
