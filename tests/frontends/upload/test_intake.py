"""Tests of L{storehouse.frontends.upload.intake}."""

from __future__ import annotations

import hashlib
import tracemalloc
from collections import deque
from collections.abc import Callable
from random import Random
from typing import Any

import attrs
from crc32c import crc32c
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from storehouse.config.settings import ConnectionSettings
from storehouse.core.jobs import InlineDisk
from storehouse.core.streams import BytesStream, IByteStream, StreamClosed, read_all
from storehouse.errors import BadRequest, ChecksumMismatch, NoSpace, NoSuchKey, TooManyUploads
from storehouse.frontends.http.request import RequestBody
from storehouse.frontends.upload.gate import Visitor
from storehouse.frontends.upload.intake import (
    ALGORITHMS,
    Activity,
    Checksums,
    FileHead,
    Intake,
    Pieces,
    UploadMemory,
    checked,
)
from storehouse.storage.objects.interfaces import ObjectInfo
from tests.conformance.dataspace import content, pieces_of
from tests.conformance.streams import StageTests, Upstream, begun
from tests.frontends.http.test_multipart import file, part, whole
from tests.frontends.http.wire import Connection, request, split_answers
from tests.frontends.upload.gates import ANN, OpenGate
from tests.frontends.upload.receiving import QuietConnection, ReceivingCase
from tests.frontends.upload.test_form import KIND

# -- memory ----------------------------------------------------------------------------------------

MIB = 1 << 20


class MemoryTests(SynchronousTestCase):
    """The budget alone."""

    def test_shares(self) -> None:
        memory = UploadMemory(64 * MIB, 1000)
        sessions = [memory.join()]
        self.assertEqual(memory.share, 8 * MIB)
        while len(sessions) < 1000:
            sessions.append(memory.join())
            self.assertLessEqual(memory.share * len(sessions), 48 * MIB)
        self.assertGreater(memory.share, 48_000)
        for session in sessions:
            session.leave()
        self.assertEqual((memory.sessions, memory.share), (0, 8 * MIB))

    def test_admission(self) -> None:
        memory = UploadMemory(MIB, 2)
        first, second = memory.join(), memory.join()
        self.assertRaises(TooManyUploads, memory.join)
        first.leave()
        first.leave()
        third = memory.join()
        self.assertRaises(TooManyUploads, memory.join)
        second.leave()
        third.leave()
        self.assertEqual((memory.sessions, memory.refused), (0, 2))

    def test_shrinks(self) -> None:
        """An upload that has more than the new share is called; others are not."""
        memory = UploadMemory(8 * MIB, 100)
        told: list[str] = []
        large, small = memory.join(), memory.join()
        large.hold(MIB)
        small.hold(100)
        large.spill = lambda: told.append("large")
        small.spill = lambda: told.append("small")
        for _ in range(4):
            memory.join()
        self.assertEqual(told, [])
        memory.join()
        self.assertEqual(told, ["large"])
        self.assertTrue(large.has_too_much)
        self.assertFalse(large.may_hold(0))
        self.assertTrue(small.may_hold(1000))

    def test_leaving_gives_back(self) -> None:
        memory = UploadMemory(MIB, 10)
        with memory.join() as session:
            session.hold(5000)
            self.assertEqual((memory.held, memory.peak), (5000, 5000))
        self.assertEqual((memory.held, memory.peak, memory.sessions), (0, 5000, 0))

    def test_all_wait_when_it_is_full(self) -> None:
        memory = UploadMemory(MIB, 10)
        told: list[str] = []
        one = memory.join(lambda: told.append("stop 1"), lambda: told.append("go 1"))
        memory.join(lambda: told.append("stop 2"), lambda: told.append("go 2"))
        one.hold(MIB * 7 // 8 - 1)
        self.assertEqual(told, [])
        one.hold(1)
        self.assertEqual(told, ["stop 1", "stop 2"])
        late = memory.join(lambda: told.append("stop 3"), lambda: told.append("go 3"))
        self.assertFalse(late.may_hold(1))
        one.hold(-1000)
        self.assertEqual(told, ["stop 1", "stop 2", "stop 3"])
        one.hold(-MIB // 8)
        self.assertEqual(told[3:], ["go 1", "go 2", "go 3"])

    def test_metrics(self) -> None:
        registry = CollectorRegistry()
        memory = UploadMemory(MIB, 1)
        registry.register(memory)  # type: ignore[arg-type]
        session = memory.join()
        self.assertRaises(TooManyUploads, memory.join)
        session.hold(100)
        session.hold(-40)
        session.stored(True)
        said = generate_latest(registry).decode()
        for line in (
            "storehouse_upload_memory_budget_bytes 1.048576e+06",
            "storehouse_upload_memory_held_bytes 60.0",
            "storehouse_upload_memory_peak_bytes 100.0",
            "storehouse_upload_sessions 1.0",
            "storehouse_upload_sessions_limit 1.0",
            "storehouse_upload_sessions_refused_total 1.0",
            'storehouse_upload_files_total{way="memory"} 0.0',
            'storehouse_upload_files_total{way="spilled"} 1.0',
        ):
            self.assertIn(line + "\n", said)


class SlowDisk:
    """A store that keeps nothing, slowly: it waits for its disk before each piece."""

    def __init__(self) -> None:
        self.waiting: deque[Deferred[None]] = deque()
        self.stored: dict[str, int] = {}

    def head(self, bucket: str, key: str) -> Deferred[Any]:
        return fail(NoSuchKey(f"there is no {key}"))

    def put(self, bucket: str, key: str, source: Any, size: int | None, *given: Any) -> Deferred[Any]:
        return Deferred.fromCoroutine(self._put(key, source, size, *given))

    async def _put(
        self, key: str, source: Any, size: int | None, content_type: str, metadata: Any, condition: Any
    ) -> ObjectInfo:
        count = 0
        try:
            await self._turn()
            while piece := await source.read():
                count += len(piece)
                del piece
                await self._turn()
        finally:
            await source.close()
        assert size in (None, count)
        self.stored[key] = count
        return ObjectInfo(key, "00", count, "etag", 0, content_type, metadata)

    def turn(self, times: int) -> None:
        """So many of those that wait go on."""
        for _ in range(min(times, len(self.waiting))):
            self.waiting.popleft().callback(None)

    async def _turn(self) -> None:
        turn: Deferred[None] = Deferred()
        self.waiting.append(turn)
        await turn


class CrowdTests(ReceivingCase):
    """Many clients at once."""

    sessions = 600
    rule = "replace"
    budget = 16 * MIB

    def setUp(self) -> None:
        super().setUp()
        self.disk = SlowDisk()
        self.store = self.disk
        self.make_door(ConnectionSettings(max_connections=2000))

    def test_slow_and_fast(self) -> None:
        """
        500 slow uploads and 20 fast ones: the budget holds, what is really in memory is not much more, and those who
        are fast do not wait for those who are slow.
        """
        random = Random(7)
        slow: list[Connection] = []
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        before = tracemalloc.get_traced_memory()[0]
        head = part(b"", '; name="f"; filename="slow%d"').decode()[2:]
        for number in range(500):
            connection = self.connect()
            connection.send(request("POST /upload", None, KIND, "Content-Length: 10000000"))
            connection.send((head % number).encode())
            slow.append(connection)
        piece = random.randbytes(2000)
        for _ in range(30):
            for connection in random.sample(slow, 250):
                connection.send(piece, settle=False)
            self.disk.turn(20)
            self.within_budget()
        self.assertGreater(self.memory.peak, self.budget // 2)
        fast = []
        for number in range(20):
            connection = self.connect()
            body = whole(file(random.randbytes(MIB) * 3, filename=f"fast{number}"))
            connection.send(request("POST /upload", body, KIND))
            fast.append(connection)
            self.within_budget()
        for _ in range(2000):
            self.disk.turn(30)
            for connection in fast:
                connection.settle()
            self.within_budget()
            if all(connection.received for connection in fast):
                break
        for connection in fast:
            self.assertEqual(split_answers(connection.received)[0].status, 201)
        self.assertEqual(sorted(self.disk.stored), sorted(f"fast{number}" for number in range(20)))
        used = tracemalloc.get_traced_memory()[1] - before
        # The clients' bodies that are not sent yet are in this process, too; and 520 connections.
        self.assertLess(used, self.budget + 20 * 3 * MIB + 2 * 3 * MIB + 520 * 40_000)
        for connection in slow:
            connection.close()
        while self.disk.waiting:
            self.disk.turn(1000)
        self.nothing_held()

    def within_budget(self) -> None:
        self.assertLessEqual(self.memory.held, self.budget)
        self.assertLessEqual(self.memory.peak, self.budget)

    def test_crumbs(self) -> None:
        """An object for every byte would take fifty times its memory."""
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        for size in (100_000, 100_000_000):  # held until it is whole, and handed on as it comes
            connections = [self.connect() for _ in range(10)]
            for connection in connections:
                connection.send(request("PUT /upload/a", None, f"Content-Length: {size}"))
            self.disk.turn(20)
            before = tracemalloc.get_traced_memory()[0]
            for _ in range(500):
                for connection in connections:
                    connection.channel.dataReceived(b"x")
            self.assertEqual(self.memory.held, 5000)
            self.assertLess(tracemalloc.get_traced_memory()[0] - before, 5000 * 3 + 10 * 5000)
            for connection in connections:
                connection.close()
            self.nothing_held()

    def test_one_too_many(self) -> None:
        """It is refused before its body is wanted, and may come again."""
        connections = [self.connect() for _ in range(600)]
        for connection in connections:
            connection.send(request("PUT /upload/a", None, "Content-Length: 5") + b"1234")
        for line, fields in (("PUT /upload/b", ()), ("POST /upload/b", ()), ("POST /upload", (KIND,))):
            late = self.connect()
            late.send(request(line, None, "Content-Length: 5000000", "Expect: 100-continue", *fields))
            (answer,) = split_answers(late.received)
            self.assertEqual((answer.status, answer.fields["retry-after"]), (503, "5"))
            self.assertIn(b"TooManyUploads", answer.body)
        connections[0].send(b"5")
        self.disk.turn(10)
        self.disk.turn(10)
        self.assertEqual(split_answers(connections[0].received)[0].status, 201)
        late = self.connect()
        late.send(request("PUT /upload/b", None, "Content-Length: 5", "Expect: 100-continue"))
        self.assertTrue(late.received.startswith(b"HTTP/1.1 100 "))
        for connection in (*connections, late):
            connection.close()
        while self.disk.waiting:
            self.disk.turn(1000)
        self.nothing_held()

    def test_one_link(self) -> None:
        """However many come by one link, at most half of the places are taken; and others get in, whatever they come by."""
        self.gate.with_link(once=False)
        head = request("PUT /upload/a", None, "Content-Length: 50000") + b"1234"

        def come(count: int) -> list[Connection]:
            connections = [self.connect() for _ in range(count)]
            for connection in connections:
                connection.send(head)
            return connections

        many = come(400)
        refused = [each for each in many if each.received]
        self.assertEqual((len(refused), self.memory.sessions), (100, 300))
        (answer,) = split_answers(refused[0].received)
        self.assertEqual((answer.status, answer.fields["retry-after"]), (503, "5"))
        self.assertIn(b"this link", answer.body)
        visitor = self.gate.visitor
        assert visitor is not None and visitor.grant is not None
        self.gate.visitor = attrs.evolve(visitor, grant=attrs.evolve(visitor.grant, nonce="another"))
        self.assertEqual(len([each for each in come(300) if not each.received]), 225)
        self.gate.visitor = Visitor(ANN, "key", address="192.0.2.1")
        self.assertEqual(len([each for each in come(50) if not each.received]), 37)
        self.gate.visitor = Visitor(attrs.evolve(ANN, name="bob"), "key", address="192.0.2.2")
        self.assertEqual(len([each for each in come(50) if not each.received]), 37)
        while self.disk.waiting:  # until it is their turn to send more, all of them wait for the store
            self.disk.turn(1000)
        for _ in range(35):
            self.clock.advance(1)
        while self.disk.waiting:
            self.disk.turn(1000)
        self.nothing_held()

    def test_who_says_nothing_more(self) -> None:
        """A body that does not go on is given up after the time that is set, and what it held is free."""
        self.make_door(ConnectionSettings(idle_timeout=30.0))
        slow = self.connect()
        slow.send(request("POST /upload", None, KIND, "Content-Length: 1000000") + whole(file(b"x" * 9000))[:5000])
        steady = self.connect()
        steady.send(request("PUT /upload/a", None, "Content-Length: 1000000"))
        self.assertGreater(self.memory.held, 4000)
        trickling = self.connect()
        trickling.send(request("PUT /upload/b", None, "Content-Length: 1000000"))
        for _ in range(40):
            self.clock.advance(1)
            steady.send(bytes(1024))
            trickling.send(b"x")
            slow.settle()
        for connection in (slow, trickling):
            self.assertEqual(split_answers(connection.received)[0].status, 408)
            self.assertTrue(connection.is_closed)
        self.assertFalse(steady.is_closed)
        self.assertEqual((self.memory.held, self.memory.sessions), (40 * 1024, 1))
        steady.close()
        self.nothing_held()

    def test_heads_are_not_free(self) -> None:
        """Forms that hold nothing but heads and fields cannot use up the budget: they are refused."""
        self.memory = UploadMemory(MIB, 600)
        self.make_door()
        connections = []
        for _ in range(400):
            connection = self.connect()
            connection.send(request("POST /upload", None, KIND, "Content-Length: 1000000"))
            connection.send(b"--frontier\r\nX-Long: " + b"x" * 15_000)
            connections.append(connection)
            self.assertLessEqual(self.memory.peak, MIB)
        refused = [each for each in connections if each.received]
        self.assertGreater(len(refused), 300)
        self.assertTrue(all(split_answers(each.received)[0].status == 503 for each in refused))
        # Files that come now are stored.
        fast = self.connect()
        fast.send(request("PUT /upload/a", b"x" * 100_000))
        for _ in range(100):
            self.disk.turn(10)
            fast.settle()
        self.assertEqual(split_answers(fast.received)[0].status, 201)
        for connection in connections:
            connection.close()
        self.nothing_held()


# -- checksums -------------------------------------------------------------------------------------

KIB = 1 << 10


class ManualDisk:
    """Does what it is given when a test says so."""

    def __init__(self) -> None:
        self._jobs: deque[Callable[[], None]] = deque()

    def run(self, f: Callable[..., Any], *args: Any) -> Deferred[Any]:
        result: Deferred[Any] = Deferred()
        self._jobs.append(lambda: result.callback(f(*args)))
        return result

    def work(self) -> int:
        """@return: how much there was to do."""
        count = 0
        while self._jobs:
            self._jobs.popleft()()
            count += 1
        return count


class CheckedConformance(StageTests, SynchronousTestCase):
    """L{checked}."""

    def make_stage(self, upstream: Upstream) -> IByteStream:
        checksums = Checksums(ALGORITHMS, InlineDisk(), UploadMemory(64 << 20, 10).join())
        return checked(upstream, checksums, lambda count: None)


class ChecksumsTests(SynchronousTestCase):
    """L{Checksums}, and L{checked}."""

    def setUp(self) -> None:
        self.memory = UploadMemory(64 << 20, 10)
        self.session = self.memory.join()

    def digests(self, data: bytes) -> dict[str, bytes]:
        return {
            "sha1": hashlib.sha1(data).digest(),
            "sha256": hashlib.sha256(data).digest(),
            "crc32c": crc32c(data).to_bytes(4, "big"),
        }

    def test_digests(self) -> None:
        """Of any size, in any pieces."""
        for size in (0, 1, 64 * KIB, 64 * KIB + 1, 256 * KIB, 700 * KIB, 1024 * KIB + 1):
            for sizes in ((size or 1,), (1, 100_000, 65_536)):
                data = content(size)
                counted: list[int] = []
                checksums = Checksums(ALGORITHMS, InlineDisk(), self.session)
                stream = checked(BytesStream(list(pieces_of(data, sizes))), checksums, counted.append)
                self.assertEqual(self.successResultOf(begun(read_all(stream))), data)
                self.assertEqual((sum(counted), self.memory.held), (size, 0))
                for algorithm, digest in self.digests(data).items():
                    checksums.check(algorithm, digest)
                    wrong = bytes([digest[0] ^ 1]) + digest[1:]
                    self.assertRaises(ChecksumMismatch, checksums.check, algorithm, wrong)

    def test_slow_hashing(self) -> None:
        """The reader waits when too much does, all of which is counted; the end waits for the hash."""
        disk = ManualDisk()
        data = content(1024 * KIB)
        checksums = Checksums(["sha256"], disk, self.session)
        pieces = list(pieces_of(data, (64 * KIB,)))
        stream = checked(BytesStream(pieces), checksums, lambda count: None)
        done = begun(read_all(stream))
        self.assertNoResult(done)
        # The first was hashed at once, the second is being hashed, and as much waits as may.
        self.assertEqual(self.memory.held, 64 * KIB + 256 * KIB)
        while disk.work():
            pass
        self.assertEqual(self.successResultOf(done), data)
        checksums.check("sha256", self.digests(data)["sha256"])
        self.assertEqual(self.memory.held, 0)

    def test_nothing_waits_for_more(self) -> None:
        """What came is hashed although nothing more comes: its memory is given back."""
        disk = ManualDisk()
        checksums = Checksums(["sha256"], disk, self.session)
        for size in (60 * KIB, 10 * KIB, 3, 5):
            self.successResultOf(begun(checksums.update(bytes(size))))
        self.assertEqual(self.memory.held, 10 * KIB + 8)
        while disk.work():
            pass
        self.assertEqual(self.memory.held, 0)

    def test_closed(self) -> None:
        """A reader that wants no more ends it, and nothing is left in a thread, nor in memory."""
        disk = ManualDisk()
        upstream = BytesStream(list(pieces_of(content(1024 * KIB), (64 * KIB,))))
        stream = checked(upstream, Checksums(["sha1"], disk, self.session), lambda count: None)
        for _ in range(3):
            self.successResultOf(begun(stream.read()))
        closed = stream.close()
        self.assertNoResult(closed)
        while disk.work():
            pass
        self.successResultOf(closed)
        self.assertEqual(self.memory.held, 0)
        self.failureResultOf(begun(upstream.read()), StreamClosed)


# -- files -----------------------------------------------------------------------------------------


class _Store:
    """
    Takes a piece whenever the test says so.

    @ivar data: what it took.
    @ivar fails: whether it fails with the next one.
    """

    def __init__(self) -> None:
        self.data = b""
        self.fails = False
        self.is_done = False
        self._turns = 0
        self._turn: Deferred[None] | None = None

    def take(self, count: int) -> None:
        """Take so many pieces more."""
        self._turns += count
        turn, self._turn = self._turn, None
        if turn is not None:
            turn.callback(None)

    def put(self, bucket: str, key: str, stream: IByteStream, size: Any, *given: Any) -> Deferred[ObjectInfo]:
        return Deferred.fromCoroutine(self._put(key, stream))

    async def _put(self, key: str, stream: IByteStream) -> ObjectInfo:
        try:
            while True:
                while not self._turns:
                    self._turn = Deferred()
                    await self._turn
                self._turns -= 1
                piece = await stream.read()
                if self.fails:
                    raise NoSpace("full")
                if not piece:
                    break
                self.data += piece
        finally:
            await stream.close()
        self.is_done = True
        return ObjectInfo(key, "00", len(self.data), "etag", 0, "", {})


class IncomingFileTests(SynchronousTestCase):
    """One file."""

    def setUp(self) -> None:
        self.memory = UploadMemory(MIB, 10)
        self.store: Any = _Store()
        gate: Any = OpenGate()
        self.intake = Intake(self.store, self.memory, gate, Activity(Clock()), InlineDisk(), rule="replace")
        self.connection = QuietConnection()
        self.body = RequestBody(self.connection, None)

    def receive(self, size: int | None = None) -> Deferred[ObjectInfo]:
        head = FileHead("a", "a", "put", size)
        return Deferred.fromCoroutine(self.intake.store_file(Visitor(ANN, "key"), self.body, head))

    def test_whole(self) -> None:
        """A small one stays in memory until it is whole, and is counted until it is stored."""
        done = self.receive()
        for _ in range(10):
            self.body.received(b"x" * 1000)
        self.store.take(5)
        self.assertEqual((self.store.data, self.memory.held), (b"", 10_000))
        self.body.finished()
        self.assertEqual(self.successResultOf(done).size, 10_000)
        self.assertEqual((self.memory.held, self.memory.sessions), (0, 0))

    def test_held_first(self) -> None:
        """One that outgrows its share goes to the store, what was held first; the client waits while the store does."""
        done = self.receive()
        held = b"held first" * 1000
        self.body.received(held)
        self.body.received(b"much" * 40_000)
        self.assertEqual(self.memory.held, 170_000)
        self.assertFalse(self.connection.is_paused)
        self.body.received(b"then" * 3000)
        self.assertTrue(self.connection.is_paused)
        self.assertEqual(self.memory.held, 182_000)
        self.store.take(2)
        self.assertEqual((self.store.data, self.memory.held), (held + b"much" * 40_000, 12_000))
        self.store.take(2)
        self.assertEqual((self.connection.is_paused, self.memory.held), (False, 0))
        self.body.received(b" the rest")
        self.body.finished()
        self.store.take(3)
        expected = held + b"much" * 40_000 + b"then" * 3000 + b" the rest"
        self.assertEqual(self.successResultOf(done).size, len(expected))
        self.assertEqual(self.store.data, expected)

    def test_store_fails(self) -> None:
        """However much waits: nothing is held then, and the rest is thrown away."""
        for pieces in ((10_000, 200_000), (200_000,), (200_000, 10), (200_000, 10_000)):
            self.setUp()
            self.store.fails = True
            done = self.receive(20 * MIB)
            for size in pieces:
                self.body.received(b"x" * size)
            self.store.take(1)
            self.failureResultOf(done, NoSpace)
            self.assertEqual((self.connection.is_paused, self.memory.held), (False, 0))
            self.body.received(b"more" * 5000)
            self.assertEqual((self.connection.is_paused, self.memory.held), (False, 0))

    def test_client_leaves(self) -> None:
        for size in (None, 20 * MIB):
            for count in (0, 1, 3):
                self.setUp()
                done = self.receive(size)
                for _ in range(count):
                    self.body.received(b"x" * 20_000)
                self.body.failed(BadRequest("gone"))
                self.store.take(10)
                self.failureResultOf(done, BadRequest)
                self.assertEqual((self.memory.held, self.memory.sessions, self.store.is_done), (0, 0, False))

    def test_others_come(self) -> None:
        """What a slow client has in memory goes to the store when others need the memory, although nothing more comes."""
        done = self.receive()
        self.body.received(b"x" * 100_000)
        self.store.take(10)
        self.assertEqual(self.store.data, b"")
        others = [self.memory.join() for _ in range(8)]
        self.assertEqual((len(self.store.data), self.memory.held), (100_000, 0))
        # And so does what is joined of its small pieces then.
        self.body.received(b"y" * 100)
        self.assertEqual((len(self.store.data), self.memory.held), (100_000, 100))
        self.memory.budget = 500
        self.memory.join()
        self.assertEqual((len(self.store.data), self.memory.held), (100_100, 0))
        self.body.received(b"z")
        self.body.finished()
        self.assertEqual(self.successResultOf(done).size, 100_101)
        self.assertEqual(self.store.data, b"x" * 100_000 + b"y" * 100 + b"z")
        self.assertEqual(len(others), 8)

    @given(st.lists(st.one_of(st.integers(1, 40_000), st.sampled_from(["take", "take", "let go"])), max_size=30))
    def test_any(self, steps: list[Any]) -> None:
        """Whichever side is slow, all bytes arrive in order, and what waits is counted."""
        self.setUp()
        done = self.receive()
        sent = b""
        for number, step in enumerate(steps):
            if isinstance(step, int):
                piece = bytes([number]) * step
                self.body.received(piece)
                sent += piece
            elif step == "take":
                self.store.take(1)
            else:
                for session in self.memory._sessions:
                    if session.spill is not None:
                        session.spill()
            self.assertTrue(sent.startswith(self.store.data))
            self.assertGreaterEqual(self.memory.held, 0)
            # The store has at most one piece in its hands.
            self.assertLessEqual(self.memory.held, len(sent) - len(self.store.data))
        self.body.finished()
        self.store.take(1000)
        self.assertEqual(self.successResultOf(done).size, len(sent))
        self.assertEqual((self.store.data, self.memory.held), (sent, 0))


class PiecesTests(SynchronousTestCase):
    """L{Pieces}."""

    def test_pieces(self) -> None:
        """Small ones are joined; large ones are not copied."""
        pieces = Pieces()
        large = b"x" * 10_000
        for data in (b"a", b"b", large, b"c", b"d"):
            pieces.add(data)
        taken = pieces.take()
        self.assertEqual(taken, [b"ab", large, b"cd"])
        self.assertIs(taken[1], large)
        self.assertEqual(pieces.take(), [])
