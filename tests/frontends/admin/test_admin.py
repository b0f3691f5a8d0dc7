"""Tests of L{storehouse.frontends.admin}."""

from __future__ import annotations

import json
from typing import Any

import twisted
from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.parser import text_string_to_metric_families
from twisted.internet.address import IPv4Address
from twisted.internet.testing import MemoryReactorClock, StringTransportWithDisconnection
from twisted.trial.unittest import SynchronousTestCase

import storehouse
from storehouse.config.settings import ConnectionSettings
from storehouse.frontends.admin.door import AdminDoor
from storehouse.frontends.http.site import DoorSite


class Transport(StringTransportWithDisconnection):
    """Has the attribute of TCP transports that a channel sets."""

    bufferSize = 65536


class AdminDoorTests(SynchronousTestCase):
    """What the door answers."""

    def setUp(self) -> None:
        self.parts: dict[str, str] = {"service": ""}
        self.registry = CollectorRegistry()
        door = AdminDoor(self.registry, lambda: self.parts)
        self.site = DoorSite(door.resource, MemoryReactorClock(), ConnectionSettings(), name="admin")

    def ask(self, path: str, method: str = "GET") -> tuple[int, dict[str, str], str]:
        protocol: Any = self.site.buildProtocol(IPv4Address("TCP", "127.0.0.1", 4000))
        transport: Any = Transport()
        transport.protocol = protocol
        protocol.makeConnection(transport)
        protocol.dataReceived(f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        head, _, body = transport.value().decode().partition("\r\n\r\n")
        transport.loseConnection()
        status, *fields = head.split("\r\n")
        return (
            int(status.split()[1]),
            {name.lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)},
            body,
        )

    def test_health(self) -> None:
        status, fields, body = self.ask("/healthz")
        self.assertEqual((status, body), (200, "ok\n"))
        self.assertTrue(fields["content-type"].startswith("text/plain"))

    def test_unknown_fields(self) -> None:
        for path in ("/", "/healthz", "/readyz", "/metrics", "/version"):
            self.assertEqual(self.ask(path)[0], 200)
            self.assertEqual(self.ask(path + "?verbose=1")[0], 400)

    def test_ready(self) -> None:
        status, fields, body = self.ask("/readyz")
        self.assertEqual((status, fields["content-type"]), (200, "application/json"))
        self.assertEqual(json.loads(body), {"ready": True, "parts": {"service": "ready"}})

    def test_not_ready(self) -> None:
        self.parts.update(append_log="failed: no disk")
        status, _, body = self.ask("/readyz")
        self.assertEqual(status, 503)
        self.assertEqual(
            json.loads(body), {"ready": False, "parts": {"service": "ready", "append_log": "failed: no disk"}}
        )
        self.assertEqual(self.ask("/healthz")[0], 200)

    def test_metrics(self) -> None:
        Gauge("storehouse_things", "Things.", registry=self.registry).set(3)
        self.registry.register(self.site)  # type: ignore[arg-type]
        status, fields, body = self.ask("/metrics")
        self.assertEqual(status, 200)
        self.assertTrue(fields["content-type"].startswith("text/plain"))
        values = {
            sample.name: sample.value for family in text_string_to_metric_families(body) for sample in family.samples
        }
        self.assertEqual(values["storehouse_things"], 3)
        self.assertEqual(values["storehouse_admin_http_connections"], 1)

    def test_version(self) -> None:
        status, _, body = self.ask("/version")
        self.assertEqual(status, 200)
        got = json.loads(body)
        self.assertEqual(sorted(got), ["native", "python", "storehouse", "twisted"])
        self.assertEqual((got["storehouse"], got["twisted"]), (storehouse.__version__, twisted.__version__))

    def test_index(self) -> None:
        status, _, body = self.ask("/")
        self.assertEqual(status, 200)
        for path in ("/healthz", "/readyz", "/metrics", "/version"):
            self.assertIn(path, body)
            self.assertEqual(self.ask(path)[0], 200)

    def test_head(self) -> None:
        status, fields, body = self.ask("/version", "HEAD")
        self.assertEqual((status, body), (200, ""))
        self.assertEqual(fields["content-type"], "application/json")

    def test_refused(self) -> None:
        self.assertEqual(self.ask("/nothing")[0], 404)
        self.assertEqual(self.ask("/version/more")[0], 404)
        status, fields, _ = self.ask("/metrics", "POST")
        self.assertEqual((status, fields["allow"]), (405, "GET, HEAD"))
