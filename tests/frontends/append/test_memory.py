"""Bodies in memory: nobody's body keeps others from being taken."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from storehouse.config.settings import AppendSettings
from storehouse.core.budget import ByteBudget
from tests.frontends.append.doors import Door
from tests.frontends.http.wire import Connection, request, split_answers

KIB, MIB = 1 << 10, 1 << 20


class BodyMemoryTests(SynchronousTestCase):
    """A door with 16 MiB for bodies, of which a record may have 4."""

    def setUp(self) -> None:
        limits = AppendSettings(max_record=4 * MIB, max_batch=4 * MIB)
        self.door = Door(self.mktemp(), fast_lane=True, limits=limits)
        self.addCleanup(self.door.close)
        self.budget = self.door.site.budget = ByteBudget(16 * MIB, self.door.reactor, 60.0)

    def announce(self, size: int, come: int = 0, path: str = "append") -> Connection:
        """Some of a body that is announced."""
        connection = self.door.connect()
        head = b"POST /%b?id=a HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (path.encode(), size)
        connection.send(head + bytes(come))
        return connection

    def status(self, size: int) -> int:
        """Of an append of so many bytes, now."""
        connection = self.door.play(request("POST /append?id=b", bytes(size)))
        answers = split_answers(connection.received)
        return answers[0].status if answers else 0

    def test_announced_lengths_hold_nobody_up(self) -> None:
        """However many announce the longest of bodies, and send next to nothing."""
        slow: list[Connection] = []
        for path in ("append", "appendMulti"):
            slow += [self.announce(4 * MIB, 1, path) for _ in range(20)]
        for _ in range(20):
            connection = self.door.connect()
            connection.send(b"POST /append?id=a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n")
            slow.append(connection)
        for size in (10, 70 * KIB, MIB, 2 * MIB, 4 * MIB):
            self.assertEqual(self.status(size), 200, size)
        for _ in range(4):
            self.door.pass_time(9)
            for connection in slow:
                connection.send(b"1\r\nx\r\n")
        for connection in slow:
            self.assertEqual(split_answers(connection.received)[0].status, 408)
        self.door.pass_time(32)
        self.assertEqual((self.budget.used, len(self.door.site.connections)), (0, 0))

    def test_memory_that_is_held_by_those_who_stop(self) -> None:
        """Small ones come in at once; large ones as soon as those are refused who do not go on."""
        stopped = [self.announce(4 * MIB, 3 * MIB) for _ in range(8)]
        for size in (10, 70 * KIB, MIB):
            self.assertEqual(self.status(size), 200, size)
        late = self.door.play(request("POST /append?id=b", bytes(2 * MIB)))
        self.assertEqual(late.received, b"")
        self.door.pass_time(7)
        self.assertEqual(split_answers(late.received)[0].status, 200)
        self.door.pass_time(150)
        self.assertLessEqual({split_answers(each.received)[0].status for each in stopped}, {408, 503})
        self.assertEqual(self.budget.used, 0)

    def test_all_of_many(self) -> None:
        """More than fits at once, all together, piece by piece: each is stored in the end."""
        self.budget.__init__(32 * MIB, self.door.reactor, 60.0)  # type: ignore[misc]
        bodies = [self.announce(4 * MIB) for _ in range(8)]
        for _ in range(16):
            for connection in bodies:
                connection.send(bytes(256 * KIB))
        for connection in bodies:
            self.assertEqual(split_answers(connection.received)[0].status, 200)
        self.assertEqual(self.budget.used, 0)
        self.assertGreater(self.budget.peak, 8 * MIB)
        self.assertLess(self.budget.peak, 15 * MIB)

    def test_refused(self) -> None:
        """When too much waits, or for too long, the answer is 503, and says when to try again; nothing is stored."""
        hold = self.budget.hold(16 * MIB)
        hold.take(9 * MIB)  # the favoured one
        many = [self.announce(4 * MIB, 2 * MIB) for _ in range(18)]
        self.assertEqual([bool(each.received) for each in many], [False] * 16 + [True] * 2)
        for waiting in many[16:]:
            (answer,) = split_answers(waiting.received)
            self.assertEqual((answer.status, answer.fields["retry-after"]), (503, "5"))
            self.assertIn(b"Overloaded", answer.body)
        self.door.pass_time(100)
        self.assertLessEqual({split_answers(each.received)[0].status for each in many}, {408, 503})
        hold.close()
        self.assertEqual(self.status(4 * MIB), 200)
        log: Any = self.door.log
        self.assertEqual(sum(prefix.stat().records for prefix in log._prefixes.open.values()), 1)

    def test_client_that_leaves_while_it_waits(self) -> None:
        self.budget.hold(16 * MIB).take(9 * MIB)
        waiting = self.announce(4 * MIB, 2 * MIB)
        self.assertEqual(self.budget.waiting, 1)
        waiting.channel.has_left = lambda: True
        self.door.pass_time(2)
        self.assertEqual((self.budget.waiting, self.budget.used), (0, 9 * MIB))

    def test_offsets(self) -> None:
        """What names records counts as well."""
        connection = self.door.connect()
        connection.send(b"POST /getMulti?id=a HTTP/1.1\r\nHost: x\r\nContent-Length: 400000\r\n\r\n" + bytes(300_000))
        self.assertEqual(self.budget.used, 300_000)
        self.door.pass_time(40)
        self.assertEqual(split_answers(connection.received)[0].status, 408)
        self.assertEqual(self.budget.used, 0)
