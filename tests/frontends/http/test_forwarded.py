"""Whose requests are that proxies make: tests of L{storehouse.frontends.http.forwarded}, and of what doors count."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.http_headers import Headers

from storehouse.config.settings import ConnectionSettings
from storehouse.core.proxies import TrustedProxies
from storehouse.frontends.http.forwarded import forwarded_address, forwarded_is_secure
from storehouse.frontends.http.reply import OCTETS, Reply
from storehouse.frontends.http.request import Leaf, Root
from storehouse.frontends.http.site import DoorSite
from tests.frontends.http.wire import Connection, request, split_answers

TRUSTED = TrustedProxies("127.0.0.1, 10.0.0.0/8, 2001:db8:aaaa::/48")


class FieldTests(SynchronousTestCase):
    """L{forwarded_address}."""

    def address(self, listed: Any = (), forwarded: Any = ()) -> str | None:
        headers = Headers({b"X-Forwarded-For": list(listed), b"Forwarded": list(forwarded)})
        return forwarded_address(headers, TRUSTED)

    def test_listed(self) -> None:
        """The last one that is no proxy's: what stands before it may be anything."""
        for values, expected in (
            ([b"192.0.2.1"], "192.0.2.1"),
            ([b"203.0.113.9, 192.0.2.1"], "192.0.2.1"),
            ([b"203.0.113.9", b"192.0.2.1"], "192.0.2.1"),
            ([b"10.9.9.9, 192.0.2.1 ,10.1.1.1,10.2.2.2"], "192.0.2.1"),
            ([b"garbage, 192.0.2.1"], "192.0.2.1"),
            ([b"192.0.2.1, 10.1.1.1"], "192.0.2.1"),
            ([b"192.0.2.1:8080"], "192.0.2.1"),
            ([b"[2001:db8::1]:8080"], "2001:db8::1"),
            ([b"2001:DB8:0::1"], "2001:db8::1"),
            ([b"::ffff:192.0.2.1"], "192.0.2.1"),
            ([b"10.1.1.1, 10.2.2.2"], "10.1.1.1"),
            ([b"192.0.2.1, 2001:db8:aaaa::5"], "192.0.2.1"),
        ):
            self.assertEqual(self.address(listed=values), expected, values)

    def test_forwarded(self) -> None:
        for values, expected in (
            ([b"for=192.0.2.1"], "192.0.2.1"),
            ([b'for="192.0.2.1:47011"'], "192.0.2.1"),
            ([b'For="[2001:db8:cafe::17]:4711"'], "2001:db8:cafe::17"),
            ([b"for=192.0.2.43, for=198.51.100.17"], "198.51.100.17"),
            ([b"for=192.0.2.60;proto=http;by=203.0.113.43"], "192.0.2.60"),
            ([b"proto=http ; by=203.0.113.43 ;for=192.0.2.60"], "192.0.2.60"),
            ([b'by="a,for=203.0.113.1;b";for=192.0.2.60, for=10.1.1.1'], "192.0.2.60"),
            ([b'for=203.0.113.1;x="\\"", for=192.0.2.60'], "192.0.2.60"),
            ([b"for=203.0.113.1", b"for=192.0.2.60,for=10.0.0.1"], "192.0.2.60"),
            ([b'for="_gazonk", for=192.0.2.60'], "192.0.2.60"),
        ):
            self.assertEqual(self.address(forwarded=values), expected, values)

    def test_ignored(self) -> None:
        """What is malformed, hidden, or said in two ways names nobody."""
        for value in (
            b"",
            b"garbage",
            b"192.0.2.1,",
            b"192.0.2.256",
            b"192.0.2.1, unknown, 10.1.1.1",
            b"192.0.2.1:x",
            b"[::1",
        ):
            self.assertIsNone(self.address(listed=[value]), value)
        for value in (
            b"",
            b"for=unknown",
            b'for="_hidden"',
            b"proto=https",
            b"for=192.0.2.1,",
            b"for=192.0.2.1, for",
            b'for="192.0.2.1',
            b"for=192.0.2.1 proto=http",
            b"192.0.2.1",
        ):
            self.assertIsNone(self.address(forwarded=[value]), value)
        self.assertIsNone(self.address([b"192.0.2.1"], [b"for=192.0.2.2"]))
        self.assertEqual(self.address([b"192.0.2.1"], [b"for=192.0.2.1"]), "192.0.2.1")
        self.assertIsNone(self.address())

    def test_secure(self) -> None:
        """What a trusted proxy says of TLS; a client can write values before those of the proxies, and no others."""
        for protocols, forwarded, expected in (
            ([], [], None),
            ([], [b"for=192.0.2.1"], None),
            ([b"https"], [], True),
            ([b"HTTPS"], [], True),
            ([b"http"], [], False),
            ([b"https, http"], [], False),
            ([b"https", b"http"], [], False),
            ([b"https,https"], [], True),
            ([b""], [], False),
            ([], [b"for=192.0.2.1;proto=https"], True),
            ([], [b"for=192.0.2.1;proto=HTTPS;by=10.0.0.1"], True),
            ([], [b'proto="https";for="[2001:db8::1]:5"'], True),
            ([], [b"for=192.0.2.1;proto=http"], False),
            ([], [b"for=192.0.2.1;proto=https, for=10.0.0.1;proto=http"], True),
            ([], [b"for=192.0.2.1;proto=http, for=10.0.0.1;proto=https"], False),
            ([], [b"for=203.0.113.9;proto=https, for=192.0.2.1;proto=http"], False),
            ([], [b"for=203.0.113.9;proto=https, for=192.0.2.1"], False),
            ([], [b"for=192.0.2.1;proto=https, garbage"], False),
            ([b"https"], [b"for=192.0.2.1;proto=https"], True),
            ([b"https"], [b"for=192.0.2.1;proto=http"], False),
            ([b"http"], [b"for=192.0.2.1;proto=https"], False),
        ):
            headers = Headers({b"X-Forwarded-Proto": protocols, b"Forwarded": forwarded})
            self.assertEqual(forwarded_is_secure(headers, TRUSTED), expected, (protocols, forwarded))

    @given(st.lists(st.binary().map(lambda data: data.replace(b"\r", b"").replace(b"\n", b""))))
    def test_any_bytes(self, values: list[bytes]) -> None:
        self.address(values)
        self.address((), values)


class _Who(Leaf):
    def __init__(self) -> None:
        Leaf.__init__(self)
        self.held: list[Any] = []

    async def handle_GET(self, request: Any) -> Reply:
        """Tell whose request it is."""
        return Reply(200, request.address.encode("ascii"), OCTETS)

    async def handle_POST(self, request: Any) -> Reply:
        """Take as long as the body does."""
        return Reply(200, await request.body.read_all(100), OCTETS)


class DoorTests(SynchronousTestCase):
    """A door whose peers are all 127.0.0.1, and one address may have two connections or requests."""

    def make(self, trusted: TrustedProxies) -> DoorSite:
        limits = ConnectionSettings(connections_per_address=2)
        site = DoorSite(Root({b"who": _Who()}), Clock(), limits, trusted=trusted)
        site.startFactory()
        self.addCleanup(site.connections.stop)
        return site

    def test_proxy_that_is_trusted(self) -> None:
        """Its connections are nobody's, its requests those of whom it names; one that is malformed is its own."""
        site = self.make(TRUSTED)
        for field, address in (
            ("X-Forwarded-For: 192.0.2.1", "192.0.2.1"),
            ("Forwarded: for=192.0.2.1", "192.0.2.1"),
            ("X-Forwarded-For: nobody", "127.0.0.1"),
            ("X-Other: x", "127.0.0.1"),
        ):
            connection = Connection(site)
            connection.send(request("GET /who", None, field) * 3)
            answers = split_answers(connection.received)
            self.assertEqual([answer.body.decode() for answer in answers], [address] * 3)

    def test_nobody_else(self) -> None:
        """What a client says of itself is not believed."""
        site = self.make(TrustedProxies("10.0.0.0/8"))
        connection = Connection(site)
        connection.send(request("GET /who", None, "X-Forwarded-For: 192.0.2.1", "Forwarded: for=192.0.2.1"))
        self.assertEqual(split_answers(connection.received)[0].body, b"127.0.0.1")

    def test_connections(self) -> None:
        """One too many of an address is refused, with the time to try again; one that leaves makes room."""
        site = self.make(TrustedProxies())
        first, _ = Connection(site), Connection(site)
        refused = Connection(site)
        (answer,) = split_answers(refused.received)
        self.assertEqual(
            (answer.status, answer.fields["retry-after"], answer.fields["connection"]), (429, "5", "close")
        )
        self.assertEqual(json.loads(answer.body)["error"], "ShareUsedUp")
        self.assertTrue(refused.is_closed)
        first.close()
        connection = Connection(site)
        connection.send(request("GET /who"))
        self.assertEqual(split_answers(connection.received)[0].status, 200)

    def test_memory(self) -> None:
        """What a connection of a proxy has in memory is in the share of the one whose request it answers."""
        site = self.make(TRUSTED)
        connection = Connection(site, window=10)
        channel = connection.channel
        for address in ("192.0.2.1", "192.0.2.2"):
            connection.send(request("GET /who", None, f"X-Forwarded-For: {address}"))
            channel.transport.waiting += bytes(1000)
            channel.backlog.backed_up()
            self.assertEqual(dict(site.budget._used_by), {address: site.budget.used})
            del channel.transport.waiting[-1000:]
            channel.transport.take(1000)
            channel.backlog.drained()
        connection.close()
        self.assertEqual((site.budget.used, dict(site.budget._used_by)), (0, {}))

    def test_requests(self) -> None:
        """Requests in flight that a proxy makes for one address; they end with their connections, too."""
        site = self.make(TRUSTED)
        head = request("POST /who", None, "Content-Length: 5", "X-Forwarded-For: 192.0.2.1")
        slow = [Connection(site) for _ in range(2)]
        for connection in slow:
            connection.send(head + b"1")

        def status(address: str) -> int:
            connection = Connection(site)
            connection.send(request("GET /who", None, f"X-Forwarded-For: {address}"))
            (answer,) = split_answers(connection.received)
            connection.close()
            return answer.status

        self.assertEqual([status("192.0.2.1"), status("192.0.2.2")], [429, 200])
        slow[0].send(b"2345")
        self.assertEqual([status("192.0.2.1"), status("192.0.2.1")], [200, 200])
        slow[1].close()
        self.assertEqual(site._forwarded.used, 0)
