"""Tests of L{storehouse.frontends.http.site}: what doors refuse browsers, and tell them."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from storehouse.config.settings import ConnectionSettings
from storehouse.core.connections import is_loopback
from storehouse.errors import TooLarge
from storehouse.frontends.http import site
from storehouse.frontends.http.reply import OCTETS, Reply
from storehouse.frontends.http.request import Leaf, Root, StreamingRequest
from storehouse.frontends.http.site import DoorSite, Guard, security_fields
from tests.frontends.append.doors import Door
from tests.frontends.http.wire import Connection, Transport, make_site, request, split_answers


class GuardCase(SynchronousTestCase):
    """A door that is guarded."""

    guard = Guard(frozenset({"files.example.com", "*.wild.example"}))

    def setUp(self) -> None:
        self.site = make_site(Clock(), ConnectionSettings(), guard=self.guard)
        self.addCleanup(self.site.connections.stop)

    def status(self, data: bytes, site: DoorSite | None = None) -> int:
        connection = Connection(site or self.site)
        connection.send(data)
        (answer,) = split_answers(connection.received)
        connection.close()
        if answer.status >= 400:
            self.assertIn(json.loads(answer.body)["error"], ("Misdirected", "ForgedRequest"))
        return answer.status

    def listen_on(self, address: Any) -> None:
        self.patch(Transport, "getHost", lambda transport: address)


class HostTests(GuardCase):
    """Names of hosts."""

    ours = (
        "localhost",
        "LOCALHOST:8001",
        "localhost.",
        "a.localhost",
        "127.0.0.1:8001",
        "[::1]:8001",
        "192.168.1.2",
        "",
        "files.example.com",
        "Files.Example.com:443",
        "x.wild.example",
        "a.b.wild.example",
    )
    others = ("evil.example", "localhost.evil.example", "127.0.0.1.nip.example", "wild.example", "xwild.example", "x")

    def test_on_loopback(self) -> None:
        for host in self.ours:
            self.assertEqual(self.status(request("GET /echo", host=host)), 200, host)
        for host in self.others:
            for method in ("GET", "POST", "OPTIONS"):
                self.assertEqual(self.status(request(f"{method} /echo", b"", host=host)), 421, host)
        self.assertEqual(self.status(b"GET /echo HTTP/1.0\r\n\r\n"), 200)

    def test_authority_counts(self) -> None:
        self.assertEqual(self.status(request("GET http://evil.example/echo", host="localhost")), 421)
        self.assertEqual(self.status(request("GET http://localhost/echo", host="evil.example")), 200)

    def test_on_other_addresses(self) -> None:
        for address in (
            IPv4Address("TCP", "192.168.1.2", 80),
            IPv6Address("TCP", "2001:db8::1", 80),
            UNIXAddress("/run/x"),
        ):
            self.listen_on(address)
            for host in (*self.ours, *self.others):
                self.assertEqual(self.status(request("GET /echo", host=host)), 200, (host, address))

    def test_loopback(self) -> None:
        for address in ("127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"):
            self.assertTrue(is_loopback(IPv4Address("TCP", address, 80)), address)
        for address in ("", "10.0.0.1", "::", "::ffff:10.0.0.1", "fe80::1%eth0", "/run/x"):
            self.assertFalse(is_loopback(IPv4Address("TCP", address, 80)), address)
        self.assertFalse(is_loopback(UNIXAddress("/run/x")))

    def test_names_of_the_certificate(self) -> None:
        self.patch(site, "own_names", lambda transport: frozenset({"evil.example"}))
        self.assertEqual(self.status(request("GET /echo", host="evil.example")), 200)
        self.assertEqual(self.status(request("GET /echo", host="x")), 421)


class OriginTests(GuardCase):
    """Requests that change something."""

    def outcome(self, *fields: str) -> int:
        for method, status in (("GET", 200), ("HEAD", 200)):
            connection = Connection(self.site)
            connection.send(request(f"{method} /echo", None, *fields, host="localhost:80"))
            self.assertEqual(split_answers(connection.received, [method])[0].status, status, fields)
            connection.close()
        return self.status(request("POST /echo", b"x", *fields, host="localhost:80"))

    def test_taken(self) -> None:
        for fields in (
            (),
            ("Sec-Fetch-Site: same-origin",),
            ("Sec-Fetch-Site: none",),
            ("Sec-Fetch-Site: same-origin", "Origin: null"),
            ("Sec-Fetch-Site: same-origin", "Origin: https://proxy.example"),
            ("Origin: http://localhost:80",),
            ("Origin: HTTP://LOCALHOST:80",),
            ("Origin: https://localhost:80", "Sec-Fetch-Site: same-site"),
        ):
            self.assertEqual(self.outcome(*fields), 200, fields)

    def test_refused(self) -> None:
        for fields in (
            ("Sec-Fetch-Site: cross-site",),
            ("Sec-Fetch-Site: Cross-Site", "Sec-Fetch-Mode: navigate"),
            ("Sec-Fetch-Site: same-site",),
            ("Sec-Fetch-Site: what",),
            ("Sec-Fetch-Site: cross-site", "Origin: http://localhost:80"),
            ("Sec-Fetch-Site: same-origin", "Sec-Fetch-Site: cross-site"),
            ("Origin: null",),
            ("Origin: http://localhost:81",),
            ("Origin: http://localhost",),
            ("Origin: http://evil.example",),
            ("Origin: localhost:80",),
            ("Origin: http://localhost:80", "Origin: http://evil.example"),
            ("Origin: http://localhost:3000", "Sec-Fetch-Site: same-site"),
        ):
            self.assertEqual(self.outcome(*fields), 403, fields)

    def test_door_that_asks(self) -> None:
        """A door that looks at who makes a request looks at origins by itself."""
        site = make_site(Clock(), ConnectionSettings(), guard=Guard(checks_origins=False))
        self.addCleanup(site.connections.stop)
        data = request("POST /echo", b"x", "Origin: http://evil.example", host="localhost")
        self.assertEqual(self.status(data, site), 200)
        self.assertEqual(self.status(request("GET /echo", host="evil.example"), site), 421)


class AppendDoorTests(SynchronousTestCase):
    """The append door, with its lane and without."""

    def each(self) -> Any:
        for fast_lane in (True, False):
            door = Door(self.mktemp(), fast_lane, guard=Guard())
            self.addCleanup(door.close)
            yield door

    def test_appends(self) -> None:
        for door in self.each():
            for host, fields, status in (
                ("localhost", (), 200),
                ("evil.example", (), 421),
                ("localhost", ("Origin: http://evil.example",), 403),
                ("localhost", ("Sec-Fetch-Site: cross-site",), 403),
                ("localhost", ("Sec-Fetch-Site: same-origin",), 200),
                ("a b", (), 400),
            ):
                for line, body in (("POST /append?id=a", b"x"), ("POST /appendMulti?id=a", b"\x01\0\0\0x")):
                    (answer,) = split_answers(door.play(request(line, body, *fields, host=host)).received)
                    self.assertEqual(answer.status, status, (host, fields))
            for host, status in (("localhost", 200), ("evil.example", 421)):
                (answer,) = split_answers(door.play(request("GET /get?id=a&offset=0", host=host)).received)
                self.assertEqual(answer.status, status)

    def test_lane_is_kept(self) -> None:
        """On loopback by the names that are known, elsewhere by any."""
        for address, host, laned in (
            ("127.0.0.1", "localhost", 2),
            ("127.0.0.1", "evil.example", 0),
            ("192.168.1.2", "files.example", 2),
        ):
            self.patch(Transport, "getHost", lambda transport, a=address: IPv4Address("TCP", a, 80))
            door = Door(self.mktemp(), True, guard=Guard())
            self.addCleanup(door.close)
            door.play(request("POST /append?id=a", b"x", host=host) * 2)
            self.assertEqual(door.site.laned, laned, address)

    def test_close(self) -> None:
        """Browsers close nothing by a GET."""
        for door in self.each():
            for fields in (
                ("Sec-Fetch-Site: same-origin",),
                ("Sec-Fetch-Site: none", "Sec-Fetch-Mode: navigate"),
                ("Sec-Fetch-Mode: no-cors",),
                ("Origin: http://localhost",),
                ("User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",),
            ):
                data = request("GET /close", None, *fields, host="localhost")
                self.assertEqual(split_answers(door.play(data).received)[0].status, 403, fields)
            for data in (
                request("GET /close", None, "User-Agent: curl/8.0", host="localhost"),
                request("POST /close", b"", "Sec-Fetch-Site: same-origin", host="localhost"),
            ):
                self.assertEqual(split_answers(door.play(data).received)[0].status, 200)


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
