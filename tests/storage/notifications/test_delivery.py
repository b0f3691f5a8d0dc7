"""Tests of L{storehouse.storage.notifications.delivery}."""

from __future__ import annotations

from collections import defaultdict

from twisted.internet.defer import Deferred
from twisted.logger import LogLevel, globalLogPublisher

from storehouse.errors import RemoteUnavailable
from storehouse.storage.notifications.values import BEHIND, DEAD, READY
from tests.storage.notifications.rig import NoticesCase


class DeliveryTests(NoticesCase):
    """Events to a destination."""

    def setUp(self) -> None:
        NoticesCase.setUp(self)
        self.make_bucket()

    def run_for(self, seconds: float) -> None:
        """Let time pass."""
        for _ in range(int(seconds)):
            self.clock.advance(1)

    def test_tried_again(self) -> None:
        self.refuse(5)
        self.put("a")
        self.put("b")
        self.assertEqual(self.target.names, [])
        self.run_for(120)
        self.assertEqual(sorted(self.target.names), ["ObjectCreated:Put a", "ObjectCreated:Put b"])
        self.assertEqual(self.states(), [])

    def test_order(self) -> None:
        """Events of a key come in order, whatever fails; events of other keys do not wait for them."""
        first: Deferred[None] = Deferred()
        self.target.answers.append(first)
        for number in range(3):
            self.put("a", b"%d" % number)
        self.put("b")
        self.assertEqual(self.target.names, ["ObjectCreated:Put b"])
        self.assertEqual(self.states(), [READY, BEHIND, BEHIND])
        first.errback(RemoteUnavailable("no"))
        self.run_for(60)
        self.assertEqual(self.target.names[1:], ["ObjectCreated:Put a"] * 3)
        order = defaultdict(list)
        for each in self.target.taken[1:]:
            thing = each["Records"][0]["s3"]["object"]
            order[thing["key"]].append(thing["sequencer"])
        for sequence in order.values():
            self.assertEqual(sequence, sorted(sequence))

    def test_concurrency(self) -> None:
        waiting: list[Deferred[None]] = [Deferred() for _ in range(6)]
        self.target.answers += waiting
        for number in range(6):
            self.put(str(number))
        self.assertEqual(len(self.target.tried), 1 + 4)
        waiting[2].callback(None)
        self.assertEqual(len(self.target.tried), 1 + 5)
        for each in waiting:
            if not each.called:
                each.callback(None)
        self.assertEqual(len(self.target.names), 6)

    def test_one_at_a_time(self) -> None:
        """A destination that takes nothing is asked by one event at a time, less and less often."""
        self.refuse(1000)
        for number in range(50):
            self.put(str(number))
        self.run_for(600)
        self.assertLess(len(self.target.tried), 60)
        self.target.answers.clear()
        self.run_for(700)
        self.assertEqual(len(self.target.names), 50)

    def test_dead(self) -> None:
        """What is not taken for long is a dead letter; the next of its key has its turn; it can be sent again."""
        caught: list[object] = []
        observer = lambda event: caught.append(event) if event["log_level"] == LogLevel.error else None  # noqa: E731
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        self.refuse(10_000)
        self.put("a")
        self.run_for(3000)
        self.put("a", b"new")
        self.assertEqual(self.states(), [READY, BEHIND])
        self.run_for(1500)
        self.assertEqual(self.states(), [DEAD, READY])
        self.assertTrue(caught)
        self.target.answers.clear()
        self.run_for(700)
        (dead,) = self.spool.file.listed(only_dead=True)
        self.assertIn("not now", dead.error)
        self.assertEqual(self.target.names, ["ObjectCreated:Put a"])
        self.spool.file.together([lambda: self.spool.file.revive_all("", [], self.clock.seconds())])
        self.run_for(6)
        self.assertEqual(self.target.names, ["ObjectCreated:Put a"] * 2)
        self.assertEqual(self.states(), [])

    def test_stop(self) -> None:
        """What is on its way is sent again."""
        self.target.answers.append(Deferred())
        self.put("a")
        self.end()
        self.assertTrue(self.target.is_closed)
        self.begin()
        self.assertEqual(self.target.names, ["ObjectCreated:Put a"])
        self.assertEqual(self.target.tried[-1], self.target.tried[-2])

    def test_metrics(self) -> None:
        self.refuse(2)
        self.put("a")
        self.put("b")
        self.run_for(5)
        self.put("c")
        self.target.answers.append(Deferred())
        self.put("d")
        self.run_for(5)
        found = {
            (sample.name, sample.labels.get("destination", "")): sample.value
            for metric in self.delivery.collect()
            for sample in metric.samples
        }
        self.assertEqual(found["storehouse_events_waiting", "hooks"], 1)
        self.assertEqual(found["storehouse_events_dead", "hooks"], 0)
        self.assertGreater(found["storehouse_events_oldest_seconds", "hooks"], 0)
        self.assertEqual(found["storehouse_events_delivered_total", "hooks"], 4)
        self.assertEqual(found["storehouse_events_failed_total", "hooks"], 2)
        self.assertGreater(found["storehouse_events_spool_bytes", ""], 0)

    def test_unknown_destination(self) -> None:
        """Events for one that there is not any more stay."""
        self.refuse(1)
        self.put("a")
        del self.delivery._lanes["hooks"]
        self.kill()
        self.delivery._lanes.pop("hooks")
        self.assertEqual(self.states(), [READY])

    def test_drop(self) -> None:
        self.refuse(1)
        self.put("a")
        self.put("a", b"new")
        file = self.spool.file
        first, second = file.listed()
        self.assertEqual(file.together([lambda: file.drop_all("", [first.number], False)]), [1])
        self.assertEqual([each.number for each in file.listed()], [second.number])
        self.assertEqual(self.states(), [READY])
        self.assertEqual(file.together([lambda: file.drop_all("hooks", [], True)]), [0])
        self.assertEqual(file.together([lambda: file.drop_all("hooks", [], False)]), [1])
        self.assertEqual(file.size, 0)
