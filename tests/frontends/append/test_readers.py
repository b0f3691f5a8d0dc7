"""Answers that are not read: what they hold is counted, bounded, and given up if others wait for it."""

from __future__ import annotations

from struct import pack

from twisted.trial.unittest import SynchronousTestCase

from storehouse.config.settings import AppendSettings
from storehouse.core.budget import ByteBudget
from tests.frontends.append.doors import Door
from tests.frontends.http.wire import Connection, request, split_answers

KIB, MIB = 1 << 10, 1 << 20


class ReaderTests(SynchronousTestCase):
    """A door with 16 MiB of memory: of one address, reads may use 8 MiB, and large bodies 4."""

    def setUp(self) -> None:
        limits = AppendSettings(max_record=8 * MIB, max_batch=8 * MIB)
        self.door = Door(self.mktemp(), fast_lane=True, limits=limits)
        self.addCleanup(self.door.close)
        self.budget = self.door.site.budget = ByteBudget(16 * MIB, self.door.reactor, 60.0)
        self.door.play(request("POST /append?id=long", bytes(6 * MIB)))
        for _ in range(12):
            self.door.play(request("POST /append?id=short", bytes(100 * KIB)))

    def reader(self, asks: bytes) -> Connection:
        """One who asks and does not read."""
        connection = self.door.connect(window=1000)
        connection.send(asks)
        return connection

    def whole(self, connection: Connection) -> bool:
        """Whether the answer has come."""
        try:
            return [answer.status for answer in split_answers(connection.received)] == [200]
        except AssertionError:
            return False

    def test_readers_that_do_not_read(self) -> None:
        """However many there are, and whatever they ask for: who reads is served, and so are appends."""
        offsets = b"".join(pack("<Q", number * (100 * KIB + 4)) for number in range(12)) * 20
        for asks in (
            request("GET /get?id=long&offset=0"),
            request("GET /scan?id=short"),
            request("GET /scan?id=long"),
            request("POST /getMulti?id=short", offsets),
        ):
            readers = [self.reader(asks) for _ in range(40)]
            self.assertGreater(self.budget.used, 4 * MIB)
            self.assertLess(self.budget.used, 12 * MIB)
            for size in (10, 100 * KIB, MIB):
                late = self.door.play(request("POST /append?id=a", bytes(size)))
                self.assertEqual(split_answers(late.received)[0].status, 200)
            good = self.door.play(asks)
            for _ in range(40):
                if self.whole(good):
                    break
                self.door.pass_time(1)
            self.assertTrue(self.whole(good))
            self.assertGreater(sum(each.transport.closed == "aborted" for each in readers), 0)
            self.assertLess(self.budget.peak, 14 * MIB)
            for each in readers:
                each.close()
            self.assertEqual((self.budget.used, self.budget.waiting), (0, 0))

    def test_given_back(self) -> None:
        """What is read on is free again, and the answer is whole."""
        connection = self.reader(request("GET /get?id=long&offset=0"))
        self.assertGreater(self.budget.used, 500 * KIB)
        for _ in range(80):
            connection.transport.take(100 * KIB)
            self.door.pass_time(1)
        (answer,) = split_answers(connection.received)
        self.assertEqual((answer.status, answer.body, self.budget.used), (200, bytes(6 * MIB), 0))

    def test_nobody_waits(self) -> None:
        """A slow reader is left alone as long as nobody needs the memory."""
        connection = self.reader(request("GET /get?id=long&offset=0"))
        self.door.pass_time(50)
        self.assertIsNone(connection.transport.closed)
        connection.transport.take(10 * MIB)
        connection.settle()
        self.assertEqual(split_answers(connection.received)[0].status, 200)

    def test_follower(self) -> None:
        """One that waits for records holds nothing."""
        connection = self.door.connect()
        connection.send(request("GET /scan?id=none&follow=1"), settle=False)
        self.door.reactor.advance(1)
        self.assertIn(b" 200 ", connection.received)
        self.assertEqual(self.budget.used, 0)
        connection.close()

    def test_part_of_a_request(self) -> None:
        """What the fast lane keeps until a request is whole is counted, too."""
        data = request("POST /append?id=a", bytes(50 * KIB))
        connection = self.door.play(data[: 30 * KIB])
        self.assertEqual(self.budget.used, 30 * KIB)
        connection.send(data[30 * KIB : 40 * KIB])
        self.assertEqual(self.budget.used, 40 * KIB)
        connection.send(data[40 * KIB :])
        self.assertEqual((split_answers(connection.received)[0].status, self.budget.used), (200, 0))
        self.door.play(data[: 30 * KIB]).close()
        self.assertEqual(self.budget.used, 0)
