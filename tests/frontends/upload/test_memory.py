"""Tests of L{storehouse.frontends.upload.memory}: how much is held, by whom, and that it is given back."""

from __future__ import annotations

import tracemalloc
from collections import deque
from random import Random
from typing import Any

import attrs
from prometheus_client import CollectorRegistry, generate_latest
from twisted.internet.defer import Deferred, fail
from twisted.trial.unittest import SynchronousTestCase

from storehouse.config.settings import ConnectionSettings
from storehouse.errors import NoSuchKey, TooManyUploads
from storehouse.frontends.upload.gate import Visitor
from storehouse.frontends.upload.memory import UploadMemory
from storehouse.storage.objects.interfaces import ObjectInfo
from tests.frontends.http.wire import Connection, request, split_answers
from tests.frontends.upload.forms.test_form import KIND
from tests.frontends.upload.forms.test_multipart import file, part, whole
from tests.frontends.upload.gates import ANN
from tests.frontends.upload.receiving import ReceivingCase

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
        """Whoever has more than the new share is told; others are not."""
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
            connections = [self.connect() for _ in range(20)]
            for connection in connections:
                connection.send(request("PUT /upload/a", None, f"Content-Length: {size}"))
            self.disk.turn(20)
            before = tracemalloc.get_traced_memory()[0]
            for _ in range(1000):
                for connection in connections:
                    connection.channel.dataReceived(b"x")
            self.assertEqual(self.memory.held, 20_000)
            self.assertLess(tracemalloc.get_traced_memory()[0] - before, 20_000 * 3 + 20 * 5000)
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
