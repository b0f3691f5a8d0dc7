"""Requests to a server of ours that behaves badly."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred

from storehouse.core.httpclient import Body, RemoteClient
from storehouse.core.streams import BytesStream, Piece, read_all
from storehouse.errors import RemoteUnavailable
from tests.conformance.dataspace import content
from tests.core.scripted import ServerTestCase, answer
from tests.integration.engines.proxy import BadRoad

reactor: Any = _reactor

MIB = 1 << 20


def body_of(data: bytes, is_once: bool = False) -> Body:
    """A body of these bytes."""
    return Body(len(data), lambda: BytesStream(data), is_once)


class ClientTests(ServerTestCase):
    """Single requests."""

    def setUp(self) -> None:
        super().setUp()
        self.client = RemoteClient(reactor, Random(1), tries=3, pause=0.01)
        self.addCleanup(self.client.close)

    async def ask(self, *answers: bytes, body: Any = b"") -> Any:
        self.server.answers = list(answers)
        return await self.client.request("PUT", f"{self.url}/a", dict, body)

    async def test_repeated(self) -> None:
        """What tells of trouble, or nothing at all."""
        timeout = answer(400, b"<Error><Code>RequestTimeout</Code></Error>")
        for trouble in (answer(500), answer(503), answer(429), answer(408), timeout, b"cut"):
            data = content(3 * MIB)
            said = await self.ask(trouble, trouble, answer(201), body=body_of(data))
            self.assertEqual((said.status, self.server.bodies[-1]), (201, data))
            error = await self.assertFailure(self.failing(trouble), RemoteUnavailable)
            self.assertNotIn("?", str(error))

    def failing(self, trouble: bytes) -> Any:
        return Deferred.fromCoroutine(self.ask(trouble, trouble, trouble, answer(200)))

    async def test_not_repeated(self) -> None:
        for status in (200, 204, 301, 400, 401, 403, 404, 409, 412, 416, 501, 505, 507):
            said = await self.ask(answer(status))
            self.assertEqual((said.status, self.server.answers), (status, []))

    async def test_not_idempotent(self) -> None:
        """What the server may have done already is not asked for again; what it says it has not is."""
        for trouble in (answer(500), b"cut"):
            self.server.answers = [trouble, answer(200)]
            asking = self.client.request("PUT", f"{self.url}/a", dict, b"x", is_idempotent=False)
            await self.assertFailure(Deferred.fromCoroutine(asking), RemoteUnavailable)
            self.assertEqual(self.server.answers, [answer(200)])
        for undone in (answer(503), answer(429)):
            self.server.answers = [undone, answer(200)]
            said = await self.client.request("PUT", f"{self.url}/a", dict, b"x", is_idempotent=False)
            self.assertEqual(said.status, 200)

    async def test_once(self) -> None:
        """A body that there is once is sent once, whatever is said."""
        for trouble in (answer(503), answer(500), b"cut"):
            asking = self.ask(trouble, answer(200), body=body_of(b"x", is_once=True))
            await self.assertFailure(Deferred.fromCoroutine(asking), RemoteUnavailable)
            self.assertEqual(self.server.answers, [answer(200)])

    async def test_unreached(self) -> None:
        """Where nothing was sent everything may be repeated."""
        opened: list[int] = []

        def begin() -> BytesStream:
            opened.append(1)
            return BytesStream(b"x")

        await self.port.stopListening()
        clients = RemoteClient(reactor, Random(1), tries=3, pause=0.01)
        self.addCleanup(clients.close)
        counts: list[Any] = []
        self.patch(Random, "uniform", lambda self, least, most: counts.append(least) or most)
        asking = clients.request("PUT", f"{self.url}/a", dict, Body(1, begin, True), is_idempotent=False)
        await self.assertFailure(Deferred.fromCoroutine(asking), RemoteUnavailable)
        self.assertEqual((len(counts), opened), (2, []))

    async def test_pause_that_is_asked_for(self) -> None:
        """In milliseconds or seconds; and at least as long."""
        for field, value, seconds in (
            ("x-amz-retry-after", "70", 0.07),
            ("Retry-After", "0", 0.0),
            ("Retry-After", "x", 0),
        ):
            start = reactor.seconds()
            said = await self.ask(answer(503, b"", f"{field}: {value}"), answer(200))
            self.assertEqual(said.status, 200)
            self.assertGreaterEqual(reactor.seconds() - start, seconds)

    async def test_encoded(self) -> None:
        """A body comes as it is stored, and no cookie is kept."""
        self.server.answers = [answer(200, b"not gzip", "Content-Encoding: gzip", "Set-Cookie: a=b"), answer(200)]
        response, stream = await self.client.open(f"{self.url}/a", dict)
        assert stream is not None
        self.assertEqual((await read_all(stream), response.header("content-encoding")), (b"not gzip", "gzip"))
        await self.client.request("GET", f"{self.url}/a", dict)
        for request in self.server.requests:
            self.assertNotIn("cookie", request.lower())
            self.assertNotIn("accept-encoding", request.lower())

    async def test_answered_early(self) -> None:
        """A server that refuses before it has the body is believed."""
        self.server.early = True
        self.server.keeps = False
        said = await self.ask(answer(403, b"no"), body=body_of(bytes(40 * MIB)))
        self.assertEqual((said.status, said.body), (403, b"no"))
        self.assertLess(self.server.received, 30 * MIB)

    async def test_chunked(self) -> None:
        chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
        self.assertEqual((await self.ask(chunked)).body, b"abc")

    async def test_too_large(self) -> None:
        large = answer(200, bytes(9 * MIB))
        asking = Deferred.fromCoroutine(self.ask(large, large, large))
        await self.assertFailure(asking, RemoteUnavailable)

    async def test_broken_off_body(self) -> None:
        """An answer that ends too early, or stops."""
        hasty = RemoteClient(reactor, Random(1), timeout=0.2, tries=1)
        self.addCleanup(hasty.close)

        async def read(client: RemoteClient, said: bytes) -> None:
            self.server.answers = [said]
            _, reader = await client.open(f"{self.url}/a", dict)
            assert reader is not None
            await read_all(reader)

        for said in (answer(200, b"12345")[:-1], answer(200, b"12345")[:-5]):
            for client, ends in ((self.client, True), (hasty, False)):
                self.server.ends = ends
                await self.assertFailure(Deferred.fromCoroutine(read(client, said)), RemoteUnavailable)

    async def test_memory(self) -> None:
        """A server that takes nothing is not sent more than fits between."""
        road = BadRoad(self.port.getHost().port)
        port = road.listen()
        self.addCleanup(road.close)
        road.rate = 4 * MIB
        ahead: list[int] = []

        def pieces() -> Iterator[Piece]:
            for number in range(1, 33):
                # What was read, and has not passed, is in the kernel's hands, or in ours.
                ahead.append((number << 18) - road.passed)
                yield bytes(1 << 18)

        self.server.answers = [answer(200)]
        client = RemoteClient(reactor, Random(1))
        self.addCleanup(client.close)
        body = Body(8 * MIB, lambda: BytesStream(pieces()))
        await client.request("PUT", f"http://127.0.0.1:{port}/a", dict, body)
        self.assertLess(max(ahead), 6 * MIB)
