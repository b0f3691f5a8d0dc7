"""Requests to a server of ours that behaves badly."""

from __future__ import annotations

import hashlib
import os
from random import Random
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol
from twisted.logger import formatEvent, globalLogPublisher
from twisted.trial.unittest import TestCase

from storehouse.config.shipping import Connecting, S3Settings
from storehouse.core.disk import DiskThreads
from storehouse.core.streams import read_all
from storehouse.errors import NoSuchKey, RemoteDamaged, RemoteRefused, RemoteUnavailable
from storehouse.storage.shipping import files
from storehouse.storage.shipping.http import FileRange, RemoteClient
from storehouse.storage.shipping.s3 import S3Destination
from tests.conformance.destination import MIB, content, local_file
from tests.integration.engines.proxy import BadRoad

reactor: Any = _reactor

SECRET = "certainly-a-secret"


def answer(status: int, body: bytes = b"", *headers: str) -> bytes:
    """An answer of HTTP."""
    lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


class _Scripted(Protocol):
    """Answers a request with what comes next."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.data = b""
        self.answered = False

    def dataReceived(self, data: bytes) -> None:
        self.server.received += len(data)
        self.data += data
        if self.answered and not self.server.keeps:
            return
        head, end, body = self.data.partition(b"\r\n\r\n")
        if not end:
            return
        length = 0
        for line in head.split(b"\r\n")[1:]:
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        if len(body) < length and not self.server.early:
            return
        self.data = body[length:]
        self.answered = True
        self.server.requests.append(head.decode())
        self.server.bodies.append(body[:length])
        said = self.server.answers.pop(0) if self.server.answers else answer(500)
        assert self.transport is not None
        if said == b"cut":
            self.transport.abortConnection()
        else:
            self.transport.write(said)

    def connectionLost(self, reason: Any = None) -> None:
        self.server.open.discard(self)

    def connectionMade(self) -> None:
        self.server.open.add(self)


class Server(Factory):
    """
    A server that says what it was told to.

    @ivar early: whether it answers before it has the body.
    """

    noisy = False
    keeps = True

    def __init__(self) -> None:
        self.answers: list[bytes] = []
        self.requests: list[str] = []
        self.bodies: list[bytes] = []
        self.early = False
        self.received = 0
        self.open: set[_Scripted] = set()

    def buildProtocol(self, address: Any) -> _Scripted:
        return _Scripted(self)


class ServerTestCase(TestCase):
    """Has such a server."""

    timeout = 20

    def setUp(self) -> None:
        self.server = Server()
        self.port = reactor.listenTCP(0, self.server, interface="127.0.0.1")
        self.addCleanup(self.port.stopListening)
        self.addCleanup(lambda: [each.transport.abortConnection() for each in list(self.server.open)])
        self.url = f"http://127.0.0.1:{self.port.getHost().port}"
        self.disk = DiskThreads(reactor)
        self.addCleanup(self.disk.stop)
        self.connecting = Connecting(timeout=0.5, tries=3, pause=0.01)

    def file(self, size: int = 3 * MIB) -> FileRange:
        """A range of a file."""
        return FileRange(local_file(self.mktemp(), content(size)).path, 0, size)


class ClientTests(ServerTestCase):
    """Single requests."""

    def setUp(self) -> None:
        super().setUp()
        self.client = RemoteClient(reactor, self.disk, self.connecting, Random(1))
        self.addCleanup(self.client.close)

    async def ask(self, *answers: bytes, body: Any = b"") -> Any:
        self.server.answers = list(answers)
        return await self.client.request("PUT", f"{self.url}/a", dict, body)

    async def test_repeated(self) -> None:
        """What tells of trouble, or nothing at all."""
        timeout = answer(400, b"<Error><Code>RequestTimeout</Code></Error>")
        for trouble in (answer(500), answer(503), answer(429), answer(408), timeout, b"cut"):
            body = self.file()
            said = await self.ask(trouble, trouble, answer(201), body=body)
            self.assertEqual(said.status, 201)
            with open(body.path, "rb") as file:
                self.assertEqual(self.server.bodies[-1], file.read())
            error = await self.assertFailure(self.failing(trouble), RemoteUnavailable)
            self.assertNotIn("?", str(error))

    def failing(self, trouble: bytes) -> Any:
        return Deferred.fromCoroutine(self.ask(trouble, trouble, trouble, answer(200)))

    async def test_not_repeated(self) -> None:
        for status in (200, 204, 301, 400, 401, 403, 404, 409, 412, 416, 501):
            said = await self.ask(answer(status))
            self.assertEqual((said.status, self.server.answers), (status, []))

    async def test_answered_early(self) -> None:
        """A server that refuses before it has the body is believed."""
        self.server.early = True
        self.server.keeps = False
        said = await self.ask(answer(403, b"no"), body=self.file(40 * MIB))
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
        for said in (answer(200, b"12345")[:-1], answer(200, b"12345")[:-5]):
            self.server.answers = [said]
            _, reader = await self.client.open(f"{self.url}/a", dict)
            assert reader is not None
            await self.assertFailure(Deferred.fromCoroutine(read_all(reader)), RemoteUnavailable)

    async def test_memory(self) -> None:
        """A server that takes nothing is not sent more than fits between."""
        road = BadRoad(self.port.getHost().port)
        port = road.listen()
        self.addCleanup(road.close)
        road.rate = 4 * MIB
        taken = 0
        read = os.pread

        def count(fd: int, size: int, offset: int) -> bytes:
            nonlocal taken
            data = read(fd, size, offset)
            taken += len(data)
            # What was read, and has not passed, is in the kernel's hands, or in ours.
            ahead.append(taken - road.passed)
            return data

        ahead: list[int] = []
        self.patch(files.os, "pread", count)
        self.server.answers = [answer(200)]
        client = RemoteClient(reactor, self.disk, Connecting(timeout=10.0), Random(1))
        self.addCleanup(client.close)
        await client.request("PUT", f"http://127.0.0.1:{port}/a", dict, self.file(8 * MIB))
        self.assertLess(max(ahead), 6 * MIB)


class S3AnswerTests(ServerTestCase):
    """What an S3 server may say, but radosgw does not."""

    def setUp(self) -> None:
        super().setUp()
        settings = S3Settings(
            endpoint=self.url + "/",
            access_key="AKEY",
            secret_key=SECRET,
            session_token="another-secret",
            region="eu-1",
            threshold=5 * MIB,
            part_size=5 * MIB,
            connecting=self.connecting,
        )
        self.destination = S3Destination(settings, reactor, self.disk)
        self.addCleanup(self.destination.close)
        self.small = local_file(self.mktemp(), b"12345")
        self.large = local_file(self.mktemp(), content(6 * MIB))

    def put(self, file: Any, *answers: bytes) -> Any:
        self.server.answers = list(answers)
        return self.destination.put("a/b", file)

    async def test_put(self) -> None:
        stored = await self.put(self.small, answer(200, b"", f'ETag: "{self.small.md5}"'))
        self.assertEqual(stored.tag, self.small.md5)
        (request,) = self.server.requests
        self.assertTrue(request.startswith("PUT /archives/a/b HTTP/1.1\r\n"))
        fields = {name.lower(): value for name, _, value in (line.partition(": ") for line in request.split("\r\n"))}
        self.assertEqual(fields["x-amz-content-sha256"], self.small.sha256)
        self.assertEqual(fields["x-amz-meta-sha256"], self.small.sha256)
        self.assertEqual(fields["x-amz-security-token"], "another-secret")
        self.assertIn("/eu-1/s3/aws4_request", fields["authorization"])
        self.assertIn("content-md5;content-type;host;x-amz-content-sha256", fields["authorization"])

    async def test_wrong_tag(self) -> None:
        await self.assertFailure(self.put(self.small, answer(200, b"", 'ETag: "00"')), RemoteDamaged)

    async def test_encrypted(self) -> None:
        """Then a tag is no MD5."""
        said = answer(200, b"", 'ETag: "00"', "x-amz-server-side-encryption: aws:kms")
        self.assertEqual((await self.put(self.small, said)).tag, "00")

    async def test_bad_digest(self) -> None:
        said = answer(400, b"<Error><Code>BadDigest</Code></Error>")
        await self.assertFailure(self.put(self.small, said), RemoteDamaged)

    async def test_refusals(self) -> None:
        for status, code in ((403, "SignatureDoesNotMatch"), (400, "InvalidRequest"), (301, "PermanentRedirect")):
            said = answer(status, f"<Error><Code>{code}</Code></Error>".encode())
            error = await self.assertFailure(self.put(self.small, said), RemoteRefused)
            self.assertIn(code, str(error))

    async def parts(self, *completion: bytes) -> Any:
        begun = answer(200, b"<R xmlns='x'><UploadId>id</UploadId></R>")
        with open(self.large.path, "rb") as file:
            tags = [hashlib.md5(file.read(5 * MIB)).hexdigest(), hashlib.md5(file.read()).hexdigest()]
        parts = [answer(200, b"", f'ETag: "{tag}"') for tag in tags]
        return await self.put(self.large, begun, answer(501), *parts, *completion)

    def tag(self) -> str:
        with open(self.large.path, "rb") as file:
            both = hashlib.md5(file.read(5 * MIB)).digest() + hashlib.md5(file.read()).digest()
        return hashlib.md5(both).hexdigest() + "-2"

    def found(self) -> bytes:
        """What a HEAD request is answered."""
        head = answer(200, b"", f'ETag: "{self.tag()}"', f"x-amz-meta-sha256: {self.large.sha256}")
        return head.replace(b"Content-Length: 0", b"Content-Length: %d" % self.large.size)

    async def test_completed(self) -> None:
        stored = await self.parts(answer(200, f"<C><ETag>&quot;{self.tag()}&quot;</ETag></C>".encode()))
        self.assertEqual(stored.tag, self.tag())

    async def test_completed_without_an_answer(self) -> None:
        """The first try came through, its answer did not."""
        gone = answer(404, b"<Error><Code>NoSuchUpload</Code></Error>")
        stored = await self.parts(b"cut", gone, self.found())
        self.assertEqual(stored.tag, self.tag())

    async def test_upload_is_lost(self) -> None:
        gone = answer(404, b"<Error><Code>NoSuchUpload</Code></Error>")
        putting = Deferred.fromCoroutine(self.parts(gone, answer(404), answer(204)))
        await self.assertFailure(putting, RemoteUnavailable)
        self.assertTrue(self.server.requests[-1].startswith("DELETE /archives/a/b?uploadId=id "))

    async def test_error_after_all(self) -> None:
        """An answer that begins well and ends badly."""
        bad = answer(200, b"<Error><Code>InternalError</Code></Error>")
        await self.assertFailure(Deferred.fromCoroutine(self.parts(bad, answer(204))), RemoteUnavailable)

    async def test_absent(self) -> None:
        self.server.answers = [answer(404)]
        await self.assertFailure(self.destination.stat("a/b"), NoSuchKey)

    async def test_no_xml(self) -> None:
        self.server.answers = [answer(200, b"<html>")]
        await self.assertFailure(self.destination.list(), RemoteUnavailable)

    async def test_secrets(self) -> None:
        """They are neither logged nor shown."""
        texts: list[str] = []

        def observe(event: Any) -> None:
            texts.append(formatEvent(event) + repr(event))

        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)
        for said in (answer(403), b"cut", answer(500)):
            try:
                await self.put(self.small, said, said, said)
            except (RemoteRefused, RemoteUnavailable) as error:
                texts.append(f"{error} {error!r} {error.__cause__!r} {error.__context__!r}")
        self.server.answers = [answer(200, b"123")]
        await read_all(await self.destination.get("a/b"))
        texts += [repr(self.destination), repr(self.destination._settings), *self.server.requests[0].split("\r\n")[:1]]
        for text in texts:
            self.assertNotIn(SECRET, text)
            self.assertNotIn("another-secret", text)
        self.assertGreater(len(texts), 3)
