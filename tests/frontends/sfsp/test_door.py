"""Tests of L{storehouse.frontends.sfsp.factory}: what it counts and logs."""

from __future__ import annotations

from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from twisted.logger import formatEvent, globalLogPublisher

from storehouse.core import sfsp
from storehouse.core.sfsp import MAX_ID
from tests.frontends.sfsp.doors import Door, DoorCase, listing, missing, receive, send
from tests.frontends.sfsp.test_flow import HandCase


def shown(collector: Any) -> list[str]:
    """Metrics as they are shown."""
    registry = CollectorRegistry()
    registry.register(collector)
    return generate_latest(registry).decode().splitlines()


class MetricsTests(DoorCase):
    """What is counted."""

    def test_requests(self) -> None:
        door = self.make_door()
        requests = [send(b"a", 1, b"12345"), receive(b"a", 1), receive(b"a", 2), listing(b"a"), listing(b"b")]
        peer = door.connect()
        peer.ask(*requests)
        peer.send(b"?")
        lines = shown(door.factory)
        for line in (
            'storehouse_sfsp_requests_total{code="OK",request="send"} 1.0',
            'storehouse_sfsp_requests_total{code="OK",request="receive"} 1.0',
            'storehouse_sfsp_requests_total{code="NOT_FOUND",request="receive"} 1.0',
            'storehouse_sfsp_requests_total{code="OK",request="list"} 2.0',
            'storehouse_sfsp_requests_total{code="INVALID_REQ",request="invalid"} 1.0',
            f"storehouse_sfsp_received_bytes_total {sum(len(data) for _, data in requests) + 1}.0",
            f"storehouse_sfsp_sent_bytes_total {len(peer.received)}.0",
            "storehouse_sfsp_connections 1.0",
            "storehouse_sfsp_connections_accepted_total 1.0",
            "storehouse_sfsp_requests_in_flight 0.0",
            "storehouse_sfsp_held_bytes 0.0",
            "storehouse_sfsp_broken_answers_total 0.0",
        ):
            self.assertIn(line, lines)


class InFlightTests(HandCase):
    """What is being worked on."""

    def test_in_flight(self) -> None:
        peer = self.connect()
        peer.ask(send(b"a", 1, b"12345"), receive(b"a", 2))
        for line in ("storehouse_sfsp_requests_in_flight 2.0", "storehouse_sfsp_held_bytes 5.0"):
            self.assertIn(line, shown(self.factory))

    def test_broken(self) -> None:
        peer = self.connect()
        peer.ask(receive(b"a", 1))
        self.store.gets[0].open(5)
        self.store.gets[0].write(b"1")
        self.store.gets[0].end(missing())
        self.assertIn("storehouse_sfsp_broken_answers_total 1.0", shown(self.factory))


class AccessLogTests(DoorCase):
    """A line for each request, if they are wanted."""

    def lines(self, door: Door, data: bytes) -> list[str]:
        heard: list[str] = []

        def observe(event: Any) -> None:
            if event["log_namespace"].startswith("storehouse.frontends.sfsp"):
                heard.append(formatEvent(event))

        globalLogPublisher.addObserver(observe)
        try:
            door.connect().send(data)
        finally:
            globalLogPublisher.removeObserver(observe)
        return heard

    def test_lines(self) -> None:
        requests = [
            send(b"a/b \n", 1, b"12345"),
            receive(b"a/b \n", 1),
            receive(b"a", MAX_ID),
            listing(b"a/b \n"),
            (bytes, sfsp.encode_list(b"") + b"x"),
        ]
        data = b"".join(data for _, data in requests)
        lines = self.lines(self.make_door(access_log=True), data)
        self.assertEqual(
            [line.rpartition(" ")[0] for line in lines],
            [
                "sfsp: 127.0.0.1 send a%2Fb%20%0A 1 OK 5",
                "sfsp: 127.0.0.1 receive a%2Fb%20%0A 1 OK 5",
                f"sfsp: 127.0.0.1 receive a {MAX_ID} NOT_FOUND 0",
                "sfsp: 127.0.0.1 list a%2Fb%20%0A - OK 8",
                "sfsp: 127.0.0.1 invalid - - INVALID_REQ 0",
            ],
        )
        self.assertTrue(all(float(line.rpartition(" ")[2]) < 10 for line in lines))
        self.assertEqual(self.lines(self.make_door(), data), [])
