"""Tests of the header fields of all answers of a door, and of connections that are one too many."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from storehouse.config.settings import ConnectionSettings
from storehouse.errors import TooLarge
from storehouse.frontends.http.reply import OCTETS, Reply
from storehouse.frontends.http.request import StreamingRequest
from storehouse.frontends.http.resource import Leaf, Root
from storehouse.frontends.http.security import security_fields
from storehouse.frontends.http.site import DoorSite
from tests.frontends.http.wire import Connection, request, split_answers


class Plain(Leaf):
    """Says nothing of safety."""

    async def handle_GET(self, request: StreamingRequest) -> Reply:
        return Reply(200, b"hello", OCTETS)

    async def handle_PUT(self, request: StreamingRequest) -> Reply:
        raise TooLarge("no")


class Own(Leaf):
    """Knows better."""

    async def handle_GET(self, request: StreamingRequest) -> Reply:
        own = ((b"cache-control", b"max-age=60"), (b"Content-Security-Policy", b"default-src 'self'"))
        return Reply(200, b"hello", OCTETS, own)


class SecurityTests(SynchronousTestCase):
    """L{security_fields} at a L{DoorSite}."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.https_only = False
        self.site = DoorSite(
            Root({b"plain": Plain(), b"own": Own()}),
            self.clock,
            ConnectionSettings(max_connections=2),
            fields=lambda: security_fields(self.https_only),
        )
        self.site.startFactory()
        self.addCleanup(self.site.connections.stop)

    def ask(self, data: bytes) -> Any:
        connection = Connection(self.site)
        connection.send(data)
        (answer,) = split_answers(bytes(connection.transport.out), [data.partition(b" ")[0].decode()])
        connection.transport.abortConnection()
        self.site.connections.left(connection.channel)
        return answer

    def test_all_answers(self) -> None:
        """Whatever is answered, by resources or by the connection."""
        for data, status in (
            (request("GET /plain"), 200),
            (request("HEAD /plain"), 200),
            (request("GET /nothing"), 404),
            (request("POST /plain"), 405),
            (request("PUT /plain", b"x"), 413),
            (b"nonsense\r\n\r\n", 400),
            (b"GET /plain HTTP/1.1\r\nA: " + b"a" * 20000 + b"\r\n\r\n", 431),
        ):
            answer = self.ask(data)
            self.assertEqual(answer.status, status)
            for name, value in security_fields():
                self.assertEqual(answer.fields[name.decode().lower()], value.decode(), data)
            self.assertNotIn("strict-transport-security", answer.fields)

    def test_one_too_many(self) -> None:
        connections = [Connection(self.site) for _ in range(3)]
        (answer,) = split_answers(bytes(connections[2].transport.out))
        self.assertEqual((answer.status, answer.fields["x-frame-options"]), (503, "DENY"))

    def test_resources_know_better(self) -> None:
        connection = Connection(self.site)
        connection.send(request("GET /own"))
        head = bytes(connection.transport.out).lower()
        self.assertEqual(head.count(b"cache-control:"), 1)
        self.assertIn(b"cache-control: max-age=60\r\n", head)
        self.assertEqual(head.count(b"content-security-policy:"), 1)
        self.assertIn(b"default-src 'self'", head)
        self.assertIn(b"x-content-type-options: nosniff\r\n", head)

    def test_https_only(self) -> None:
        """It may change while the door is open, as the certificate may."""
        self.https_only = True
        self.clock.advance(1)
        answer = self.ask(request("GET /plain"))
        self.assertEqual(answer.fields["strict-transport-security"], "max-age=31536000")

    def test_other_doors(self) -> None:
        site = DoorSite(Root({b"plain": Plain()}), self.clock, ConnectionSettings())
        connection = Connection(site)
        connection.send(request("GET /plain"))
        self.assertNotIn(b"X-Frame-Options", bytes(connection.transport.out))


class RefusalTests(SynchronousTestCase):
    """Peers that are one too many, and do not go."""

    def test_bounded(self) -> None:
        clock = Clock()
        site = DoorSite(Root({}), clock, ConnectionSettings(max_connections=0, head_timeout=5.0))
        refused = []
        while (protocol := site.buildProtocol(None)) is not None:
            protocol.makeConnection(StringTransport())
            refused.append(protocol)
        self.assertEqual(len(refused), 64)
        self.assertIn(b"503", refused[0].transport.value())
        # One that goes makes room for another.
        refused.pop().connectionLost()
        self.assertIsNotNone(site.buildProtocol(None))
        clock.advance(5)
        for protocol in refused:
            self.assertTrue(protocol.transport.disconnected)
            protocol.connectionLost()
        self.assertEqual(clock.getDelayedCalls(), [])
