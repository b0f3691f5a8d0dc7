"""What S3 servers may say to a shipper."""

from __future__ import annotations

import hashlib
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.logger import formatEvent, globalLogPublisher

from storehouse.config.shipping import Connecting, S3Settings
from storehouse.core.streams import read_all
from storehouse.errors import NoSuchKey, RemoteDamaged, RemoteRefused, RemoteUnavailable
from storehouse.storage.shipping.s3 import S3Destination
from tests.conformance.destination import MIB, content, local_file
from tests.core.scripted import ServerTestCase, answer

reactor: Any = _reactor

SECRET = "certainly-a-secret"


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
            connecting=Connecting(tries=3, pause=0.01),
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
