"""Tests of L{storehouse.frontends.upload.stats}, its figures, and L{storehouse.frontends.upload.stats}."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

from prometheus_client import CollectorRegistry
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from storehouse.config.settings import ConnectionSettings
from storehouse.core.jobs import InlineDisk
from storehouse.frontends.http.request import Root
from storehouse.frontends.http.site import DoorSite
from storehouse.frontends.upload import stats
from storehouse.frontends.upload.intake import Activity, UploadMemory
from storehouse.frontends.upload.stats import DiskLeft, EventStream, Metrics, Overview, Stats
from tests.frontends.http.wire import Answer, Connection, request, split_answers
from tests.frontends.upload.gates import OpenGate

NOW = 1_800_000_000


class SlowDisk:
    """Responds when a test says so."""

    def __init__(self) -> None:
        self.jobs: list[tuple[Deferred[Any], Callable[..., Any], tuple[Any, ...]]] = []

    def run(self, f: Callable[..., Any], *args: Any) -> Deferred[Any]:
        done: Deferred[Any] = Deferred()
        self.jobs.append((done, f, args))
        return done

    def work(self) -> None:
        done, f, args = self.jobs.pop(0)
        done.callback(f(*args))


class StatsCase(SynchronousTestCase):
    """A door with nothing but figures."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(NOW)
        self.activity = Activity(self.clock)
        self.memory = UploadMemory(1 << 20, 10)
        self.gate: Any = OpenGate()
        disk = DiskLeft(os.getcwd(), InlineDisk(), self.clock)
        overview = Overview(self.activity, self.memory, disk, lambda: len(self.site.connections))
        self.stream = EventStream(overview, self.clock)
        self.addCleanup(self.stream.stop)
        registry = CollectorRegistry()
        registry.register(self.activity)
        tree = {b"stats": Stats(self.gate, overview, self.stream), b"metrics": Metrics(self.gate, registry)}
        self.site = DoorSite(Root(tree), self.clock, ConnectionSettings(), name="uploads")

    def ask(self, line: str, *fields: str, status: int = 200) -> Answer:
        connection = Connection(self.site)
        connection.send(request(line, None, *fields))
        (answer,) = split_answers(connection.received, [line.split()[0]])
        connection.close()
        self.assertEqual(answer.status, status, answer)
        return answer


class FigureTests(StatsCase):
    """C{/stats}."""

    def test_json(self) -> None:
        upload = self.activity.begin_upload("put", "a", "ann")
        download = self.activity.begin_download("b")
        upload.add(500)
        download.add(70)
        self.clock.advance(1)
        upload.add(500)
        self.clock.advance(1)
        self.activity.begin_upload("form", "c", "bob").end("c (2)", 9, 3.0)
        with self.memory.join() as session:
            session.hold(77)
            told = json.loads(self.ask("GET /stats").body)
            session.hold(-77)
        disk = os.statvfs(os.getcwd())
        self.assertEqual(told.pop("disk")["total"], disk.f_blocks * disk.f_frsize)
        self.assertEqual(
            told,
            {
                "time": NOW + 2,
                "started": NOW,
                "rate": {"received": 500.0, "sent": 35.0},
                "uploads": 1,
                "downloads": 1,
                "connections": 1,
                "memory": {
                    "budget": 1 << 20,
                    "held": 77,
                    "peak": 77,
                    "share": self.memory.share,
                    "sessions": 1,
                    "refused": 0,
                },
                "totals": {
                    "received": 1000,
                    "sent": 70,
                    "transfers": {
                        "download": {"begun": 1, "done": 0, "failed": 0, "suspended": 0},
                        "form": {"begun": 1, "done": 1, "failed": 0, "suspended": 0},
                        "put": {"begun": 1, "done": 0, "failed": 0, "suspended": 0},
                    },
                },
                "running": [
                    {"name": "a", "kind": "put", "user": "ann", "began": NOW, "bytes": 1000},
                    {"name": "b", "kind": "download", "user": "", "began": NOW, "bytes": 70},
                ],
                "recent": [
                    {
                        "name": "c (2)",
                        "size": 9,
                        "user": "bob",
                        "kind": "form",
                        "ended": NOW + 2,
                        "seconds": 3.0,
                        "rate": 3.0,
                    }
                ],
                "seconds": {"step": 1, "until": NOW + 2, "received": [500, 500], "sent": [70, 0]},
                "minutes": {"step": 60, "until": NOW, "received": [], "sent": []},
            },
        )

    def test_html(self) -> None:
        """The same figures, and names as text."""
        self.activity.begin_upload("put", "<b>", "ann").add(2048)
        self.clock.advance(1)
        self.activity.begin_upload("put").end("<i>", 5 << 20)
        answer = self.ask("GET /stats", "Accept: text/html")
        self.assertEqual(answer.fields["content-type"], "text/html; charset=utf-8")
        for text in (b"&lt;b&gt;", b"&lt;i&gt;", b"5.00 MiB", b"2.00 KiB/s", b"Disk left", b"Memory for uploads"):
            self.assertIn(text, answer.body)
        self.assertEqual(self.ask("GET /stats?format=json", "Accept: text/html").body[:1], b"{")

    def test_wrong(self) -> None:
        self.ask("GET /stats?x=1", status=400)
        self.ask("GET /stats/events?x=1", status=400)
        self.ask("GET /stats/more", status=404)
        self.gate.visitor = None
        self.gate.public = {"uploads"}
        for path in ("/stats", "/stats/events", "/metrics"):
            self.ask(f"GET {path}", status=401)
        self.assertEqual({action for action, _ in self.gate.asked}, {"manage"})

    def test_metrics(self) -> None:
        self.activity.begin_upload("put").add(7)
        answer = self.ask("GET /metrics")
        self.assertIn(b"storehouse_upload_received_bytes_total 7.0", answer.body)
        self.assertTrue(answer.fields["content-type"].startswith("text/plain"))


class DiskTests(SynchronousTestCase):
    """How much room there is."""

    def test_kept_for_a_while(self) -> None:
        clock, disk = Clock(), SlowDisk()
        left = DiskLeft(os.getcwd(), disk, clock)
        first = Deferred.fromCoroutine(left.room())
        # Requests meanwhile do not wait for a disk that may hang.
        self.assertIsNone(self.successResultOf(Deferred.fromCoroutine(left.room())))
        disk.work()
        room: Any = self.successResultOf(first)
        self.assertTrue(0 < room.free <= room.total)
        clock.advance(4)
        self.assertEqual(self.successResultOf(Deferred.fromCoroutine(left.room())), room)
        clock.advance(1)
        Deferred.fromCoroutine(left.room())
        self.assertEqual(len(disk.jobs), 1)

    def test_cannot_be_told(self) -> None:
        left = DiskLeft(os.path.join(os.getcwd(), self.mktemp()), InlineDisk(), Clock())
        self.assertIsNone(self.successResultOf(Deferred.fromCoroutine(left.room())))


class EventTests(StatsCase):
    """C{/stats/events}."""

    def follow(self, window: int | None = None) -> Connection:
        connection = Connection(self.site, window)
        connection.send(request("GET /stats/events"))
        return connection

    def events(self, connection: Connection) -> list[Any]:
        """What was told so far."""
        body = connection.received.partition(b"\r\n\r\n")[2]
        return [json.loads(line[6:]) for line in body.split(b"\r\n") if line.startswith(b"data: ")]

    def test_once_a_second(self) -> None:
        connection = self.follow()
        self.assertIn(b"Content-Type: text/event-stream", connection.received)
        upload = self.activity.begin_upload("put")
        for _ in range(3):
            upload.add(1000)
            self.clock.advance(1)
        told = self.events(connection)
        self.assertEqual([each["time"] for each in told], [NOW, NOW + 1, NOW + 2, NOW + 3])
        self.assertEqual((told[-1]["rate"]["received"], told[-1]["uploads"]), (1000.0, 1))
        self.assertEqual(connection.received.count(b"\n\n\r\n"), 4)

    def test_who_leaves(self) -> None:
        """Nothing goes on for nobody."""
        one, other = self.follow(), self.follow()
        one.close()
        self.clock.advance(1)
        self.assertEqual((len(self.events(one)), len(self.events(other)), len(self.stream)), (1, 1, 1))
        other.close()
        self.assertEqual(len(self.stream), 0)
        self.site.connections.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_who_does_not_read(self) -> None:
        connection = self.follow(window=0)
        for _ in range(400):
            self.clock.advance(1)
        self.assertLess(connection.transport.most_waiting, 80_000)

    def test_bounded(self) -> None:
        self.patch(stats, "_MOST_LISTENERS", 2)
        connections = [self.follow(), self.follow()]
        self.ask("GET /stats/events", status=503)
        connections[0].close()
        connections.append(self.follow())
        self.assertIn(b"200 OK", connections[-1].received)

    def test_ends(self) -> None:
        """After ten minutes, so that it is asked again who listens; and when the door closes."""
        connection = self.follow()
        self.clock.pump([1] * 601)
        self.assertTrue(connection.received.endswith(b"\r\n0\r\n\r\n"))
        connection.send(request("GET /stats"))
        self.assertEqual(connection.received.count(b"HTTP/1.1 200 OK"), 2)
        another = self.follow()
        self.stream.stop()
        self.assertTrue(another.received.endswith(b"0\r\n\r\n"))

    def test_head(self) -> None:
        answer = self.ask("HEAD /stats/events")
        self.assertEqual((answer.fields["content-type"], answer.body), ("text/event-stream", b""))
