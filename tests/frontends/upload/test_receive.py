"""Tests of L{storehouse.frontends.upload.receive}: a file on its way through memory, or past it."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from storehouse.core.disk import InlineDisk
from storehouse.core.streams import IByteStream
from storehouse.errors import BadRequest, NoSpace
from storehouse.frontends.http.body import RequestBody
from storehouse.frontends.upload.gate import Visitor
from storehouse.frontends.upload.memory import Pieces, UploadMemory
from storehouse.frontends.upload.receive import FileHead, Intake
from storehouse.frontends.upload.throughput import Activity
from storehouse.storage.objects.interfaces import ObjectInfo
from tests.frontends.upload.gates import ANN, OpenGate
from tests.frontends.upload.receiving import QuietConnection

MIB = 1 << 20


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
        """Whoever is slow when, all arrives in order, and what waits is counted."""
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
