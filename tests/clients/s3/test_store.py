"""An object store over S3, and servers and networks that are not as they should be."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from unittest.mock import patch
from zlib import crc32

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater

from storehouse.clients.s3 import S3ObjectStore, Signer, store
from storehouse.clients.s3.base import HELD
from storehouse.core.checksums import encoded
from storehouse.core.streams import BytesStream, Piece, read_all
from storehouse.errors import (
    AlreadyExists,
    Conflict,
    InvalidName,
    InvalidPart,
    InvalidRange,
    NoKeyToMatch,
    NoSpace,
    NoSuchBucket,
    NoSuchKey,
    NotSupported,
    Overloaded,
    PreconditionFailed,
    RemoteDamaged,
    RemoteRefused,
    RemoteUnavailable,
    SizeMismatch,
    StorehouseError,
    TooLarge,
    Unavailable,
)
from storehouse.storage.dataspace.interfaces import Part
from storehouse.storage.objects.interfaces import Condition, Usage
from tests.clients.s3.through import SeenThroughDoor, ThroughDoorTestCase
from tests.conformance.dataspace import Tap, content, turns
from tests.conformance.objectstore import ABSENT, MIB, StoreTestsMixin, md5, multipart_etag
from tests.core.scripted import ServerTestCase, answer, reactor

SECRET = "certainly-a-secret"

FOUND = ('ETag: "5d41402abc4b2a76b9719d911017c592"', "Last-Modified: Mon, 30 Nov 2026 10:00:00 GMT")


def said(code: str, status: int, *headers: str) -> bytes:
    """An error of S3."""
    return answer(status, f"<Error><Code>{code}</Code><Message>the reason</Message></Error>".encode(), *headers)


class _Deaf(Protocol):
    """Never reads."""

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.pauseProducing()  # type: ignore[attr-defined]


class Deaf(Factory):
    """Its connections stay open, and take nothing."""

    noisy = False

    def __init__(self) -> None:
        self.made: list[_Deaf] = []

    def buildProtocol(self, address: Any) -> Protocol:
        self.made.append(_Deaf())
        return self.made[-1]

    def close(self) -> None:
        for each in self.made:
            each.transport.abortConnection()  # type: ignore[union-attr]


class _Fountain(Protocol):
    """Gives 64 MiB, as fast as they are taken."""

    def __init__(self, server: Fountain) -> None:
        self._server = server
        self._left = 256

    def dataReceived(self, data: bytes) -> None:
        head = answer(200, b"", *FOUND).replace(b"Content-Length: 0", b"Content-Length: %d" % (64 * MIB))
        self.transport.write(head)  # type: ignore[union-attr]
        self.transport.registerProducer(self, False)  # type: ignore[union-attr]

    def resumeProducing(self) -> None:
        self._left -= 1
        self._server.sent += 1 << 18
        self.transport.write(bytes(1 << 18))  # type: ignore[union-attr]
        if not self._left:
            self.transport.unregisterProducer()  # type: ignore[union-attr]

    def stopProducing(self) -> None:
        self._left = 0


class Fountain(Factory):
    """
    @ivar sent: bytes.
    """

    noisy = False

    def __init__(self) -> None:
        self.sent = 0

    def buildProtocol(self, address: Any) -> Protocol:
        return _Fountain(self)


class ScriptedTests(ServerTestCase):
    """A server says what it was told to."""

    def setUp(self) -> None:
        super().setUp()
        self.store = self.make()

    def make(self, **options: Any) -> S3ObjectStore:
        signer = Signer("AKEY", SECRET, "eu-1")
        made = S3ObjectStore(self.url, signer, reactor, tries=3, pause=0.01, **options)
        self.addCleanup(made.stop)
        return made

    def put(self, *answers: bytes, data: bytes = b"hello", **options: Any) -> Any:
        self.server.answers = list(answers)
        return self.store.put("bucket", "key", BytesStream(data), len(data), **options)

    def fields(self, number: int = -1) -> dict[str, str]:
        """Of a request, in lower case."""
        lines = self.server.requests[number].split("\r\n")[1:]
        return {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}

    # -- requests that are repeated ------------------------------------------------------------

    async def test_repeated(self) -> None:
        """What is held, when the server fails or the connection breaks, after as long as the server asks for."""
        for trouble in (said("SlowDown", 503, "x-amz-retry-after: 60"), said("InternalError", 500), b"cut"):
            start = reactor.seconds()
            info = await self.put(trouble, answer(200, b"", *FOUND))
            self.assertEqual((info.etag, info.size), (md5(b"hello"), 5))
            self.assertEqual(self.server.bodies[-2:][-1], b"hello")
            if b"SlowDown" in trouble:
                self.assertGreaterEqual(reactor.seconds() - start, 0.06)

    async def test_given_up(self) -> None:
        """After some tries: by the last reason."""
        for trouble, kind in (
            (said("SlowDown", 503), Overloaded),
            (answer(429), Overloaded),
            (said("ServiceUnavailable", 503), RemoteUnavailable),
            (b"cut", RemoteUnavailable),
        ):
            error = await self.assertFailure(self.put(trouble, trouble, trouble, answer(200)), kind)
            self.assertNotIn(SECRET, str(error))
            self.assertEqual(self.server.answers, [answer(200)])

    async def test_condition_is_not_repeated(self) -> None:
        """Since one that was done already does not hold any more; but where nothing was done it is."""
        for trouble in (said("InternalError", 500), b"cut"):
            await self.assertFailure(self.put(trouble, answer(200), condition=ABSENT), RemoteUnavailable)
            self.assertEqual(self.server.answers, [answer(200)])
        await self.put(said("SlowDown", 503), answer(200, b"", *FOUND), condition=ABSENT)
        self.assertEqual(self.fields()["if-none-match"], "*")

    async def test_stream_is_sent_once(self) -> None:
        """It is gone when the server fails."""
        await self.assertFailure(
            self.put(said("InternalError", 500), answer(200), data=bytes(HELD + 1)), StorehouseError
        )
        self.assertEqual(self.server.answers, [answer(200)])

    async def test_refused_before_the_end(self) -> None:
        """A server that answers while the body is sent is believed, and the source is closed."""
        self.server.early = True
        self.server.keeps = False
        tap = Tap()
        self.server.answers = [said("NoSuchBucket", 404)]
        putting = self.store.put("bucket", "key", tap, 40 * MIB)
        await tap.write(bytes(MIB))
        await self.assertFailure(putting, NoSuchBucket)
        self.assertTrue(tap.refused)

    async def test_memory(self) -> None:
        """A server that takes nothing is not sent more than fits between."""
        deaf = Deaf()
        port = reactor.listenTCP(0, deaf, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        self.addCleanup(deaf.close)
        self.url = f"http://127.0.0.1:{port.getHost().port}"
        self.store = self.make()
        pulled: list[int] = []

        def pieces() -> Iterator[Piece]:
            for _ in range(256):
                pulled.append(1 << 18)
                yield bytes(1 << 18)

        putting = self.store.put("bucket", "key", BytesStream(pieces()), 64 * MIB)
        before = unchanged = 0
        # Both ends are served in each turn of the reactor.
        while not before or unchanged < 50:
            await deferLater(reactor, 0.001)
            unchanged = unchanged + 1 if len(pulled) == before else 0
            before = len(pulled)
        self.assertLess(sum(pulled), 16 * MIB)
        deaf.close()
        await self.assertFailure(putting, RemoteUnavailable)

    # -- reading -------------------------------------------------------------------------------

    def found(self, data: bytes, *headers: str, status: int = 200) -> bytes:
        return answer(status, data, *FOUND, *headers)

    async def read(self, *answers: bytes, offset: int = 0, length: int | None = None) -> bytes:
        self.server.answers = list(answers)
        return await read_all(await self.store.get("bucket", "key", offset, length))

    def failing(self, *answers: bytes, **options: Any) -> Deferred[bytes]:
        return Deferred.fromCoroutine(self.read(*answers, **options))

    async def test_slow_reader(self) -> None:
        """What nobody reads is not sent, but for what fits between."""
        fountain = Fountain()
        port = reactor.listenTCP(0, fountain, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        self.url = f"http://127.0.0.1:{port.getHost().port}"
        reader = await self.make().get("bucket", "key")
        before = unchanged = 0
        # Both ends are served in each turn of the reactor.
        while not before or unchanged < 50:
            await deferLater(reactor, 0.001)
            unchanged = unchanged + 1 if fountain.sent == before else 0
            before = fountain.sent
        self.assertLess(before, 24 * MIB)
        taken = 0
        while taken < 32 * MIB:
            taken += len(await reader.read())
        self.assertGreaterEqual(fountain.sent, 32 * MIB)
        await reader.close()

    async def test_cut_in_the_midst(self) -> None:
        """It continues where it was, with what was begun with."""
        rest = answer(206, b"lo", *FOUND, "Content-Range: bytes 3-4/5")
        self.server.ends = True
        cut = self.found(b"hello")[:-2]
        self.assertEqual(await self.read(cut, rest), b"hello")
        fields = self.fields()
        self.assertEqual((fields["range"], fields["if-match"]), ("bytes=3-4", f'"{md5(b"hello")}"'))

    async def test_replaced_in_the_midst(self) -> None:
        """Then it fails, rather than to continue with something else."""
        self.server.ends = True
        cut = self.found(b"hello")[:-2]
        error = await self.assertFailure(self.failing(cut, said("PreconditionFailed", 412)), RemoteUnavailable)
        self.assertIn("replaced", str(error))

    async def test_wrong_checksum(self) -> None:
        """What came is not what was stored."""
        value = encoded(crc32(b"hello").to_bytes(4, "big"))
        self.assertEqual(await self.read(self.found(b"hello", f"x-amz-checksum-crc32: {value}")), b"hello")
        self.assertEqual(self.fields()["x-amz-checksum-mode"], "ENABLED")
        wrong = self.found(b"hullo", f"x-amz-checksum-crc32: {value}")
        await self.assertFailure(self.failing(wrong), RemoteDamaged)
        for passed in (
            self.found(b"hullo", f"x-amz-checksum-crc32: {value}", "x-amz-checksum-type: COMPOSITE"),
            self.found(b"hullo", f"x-amz-checksum-crc32: {value}-2"),
        ):
            self.assertEqual(await self.read(passed), b"hullo")

    async def test_no_ranges(self) -> None:
        """A server that does not know them gives all."""
        self.assertEqual(await self.read(self.found(b"hello"), offset=1, length=3), b"ell")
        await self.assertFailure(self.failing(self.found(b"hello"), offset=1, length=5), InvalidRange)

    async def test_encoded(self) -> None:
        """An object that was stored with an encoding comes as it was stored."""
        self.server.answers = [self.found(b"not gzip", "Content-Encoding: gzip")]
        reader = await self.store.get("bucket", "key")
        self.assertEqual(
            (await read_all(reader), dict(reader.info.system)), (b"not gzip", {"content-encoding": "gzip"})
        )

    async def test_framing_that_was_kept(self) -> None:
        """By a server that does not know that it is none of the object's encoding."""
        for kept, coding in (("aws-chunked", {}), ("aws-chunked, gzip", {"content-encoding": "gzip"})):
            self.server.answers = [self.found(b"", f"Content-Encoding: {kept}")]
            self.assertEqual(dict((await self.store.head("bucket", "key")).system), coding)

    async def test_tag_that_is_not_told(self) -> None:
        """By a server that completes an upload."""
        done = answer(200, b"<R><ETag/></R>")
        self.server.answers = [done, answer(200, b"", *FOUND)]
        info = await self.store.complete_upload("bucket", "key", "id", [Part(1, "x", 1)])
        self.assertEqual(info.etag, md5(b"hello"))

    async def test_not_extended(self) -> None:
        """A server that may take it for a put is not asked."""
        await self.assertFailure(self.store.rename("bucket", "key", "other"), NotSupported)
        await self.assertFailure(self.store.append("bucket", "key", 5, BytesStream(b"x"), 1), NotSupported)
        self.assertEqual(self.server.requests, [])

    async def test_versions(self) -> None:
        """Where there are versions an ID is that of one."""
        self.server.answers = [self.found(b"", "x-amz-version-id: v1", "x-amz-missing-meta: 1")]
        self.assertEqual((await self.store.head("bucket", "key")).id, "v1")

    # -- copying -------------------------------------------------------------------------------

    async def test_source_that_is_replaced(self) -> None:
        """Between a look at it and the copy: it is looked at again, also if it has the same etag by then."""
        head, gone = answer(200, b"", *FOUND, "Content-Range: bytes 0-4/5"), said("PreconditionFailed", 412)
        done = answer(200, b"<R><ETag>&quot;x&quot;</ETag></R>")
        self.server.answers = [head, gone, head, done]
        self.assertEqual((await self.store.copy("bucket", "to", "bucket", "key")).etag, "x")
        self.server.answers = [head, gone, head, done]
        self.assertEqual(await self.store.upload_part_copy("bucket", "to", "id", 1, "bucket", "key"), "x")
        other = head.replace(b"5d41402abc4b2a76b9719d911017c592", b"another")
        condition = Condition(etag=md5(b"hello"))
        self.server.answers = [head, gone, other]
        copying = self.store.upload_part_copy("bucket", "to", "id", 1, "bucket", "key", source_condition=condition)
        await self.assertFailure(copying, PreconditionFailed)
        self.server.answers = [head, gone] * 8
        await self.assertFailure(self.store.copy("bucket", "to", "bucket", "key"), Unavailable)

    # -- errors --------------------------------------------------------------------------------

    async def test_errors(self) -> None:
        """What servers say, and how, among ours."""
        for status, code, kind in (
            (409, "BucketAlreadyExists", AlreadyExists),
            (409, "ConditionalRequestConflict", Conflict),
            (409, "SomethingElse", Conflict),
            (404, "NoSuchBucket", NoSuchBucket),
            (404, "NoSuchKey", NoSuchKey),
            (412, "PreconditionFailed", PreconditionFailed),
            (400, "EntityTooLarge", TooLarge),
            (413, "", TooLarge),
            (400, "BadDigest", RemoteDamaged),
            (400, "XAmzContentSHA256Mismatch", RemoteDamaged),
            (400, "InvalidArgument", RemoteRefused),
            (403, "SignatureDoesNotMatch", RemoteRefused),
            (403, "", RemoteRefused),
            (301, "PermanentRedirect", RemoteRefused),
            (501, "NotImplemented", NotSupported),
            (501, "", NotSupported),
            (507, "InsufficientStorage", NoSpace),
            (507, "", NoSpace),
        ):
            error = await self.assertFailure(self.put(said(code, status) if code else answer(status)), kind)
            self.assertIn(str(status), error.detail)
            self.assertIn(code, error.detail)
            self.assertNotIn(SECRET, error.detail)
        error = await self.assertFailure(self.put(said("NoSuchKey", 404), condition=Condition(etag="x")), NoKeyToMatch)

    async def test_errors_of_status_200(self) -> None:
        """What S3 begins to answer before it knows the outcome."""
        copy = answer(200, b"<Error><Code>InternalError</Code></Error>")
        head = answer(200, b"", *FOUND)
        self.server.answers = [head, copy]
        await self.assertFailure(self.store.copy("bucket", "to", "bucket", "key"), RemoteUnavailable)
        self.server.answers = [answer(200, b"<Error><Code>InvalidPart</Code></Error>")]
        completing = self.store.complete_upload("bucket", "key", "id", [Part(1, "x", 1)])
        await self.assertFailure(completing, InvalidPart)

    async def test_no_xml(self) -> None:
        """A proxy's page, say."""
        for page in (b"<html>", b"", b"<!DOCTYPE a><a/>"):
            self.server.answers = [answer(200, page)]
            await self.assertFailure(self.store.list_objects("bucket"), RemoteUnavailable)
        await self.assertFailure(self.put(answer(403, b"<html><body>no</body>")), RemoteRefused)

    # -- listings of other servers -------------------------------------------------------------

    async def test_listing_without_encoding(self) -> None:
        """A server that does not know it; and characters that XML does not have."""
        page = (
            "<ListBucketResult xmlns='x'><IsTruncated>false</IsTruncated>"
            "<Contents><Key> a%20b+c </Key><Size>5</Size><ETag>&quot;x&quot;</ETag>"
            "<LastModified>2026-11-30T10:00:00.123Z</LastModified></Contents>"
            "<Contents><Key>b&#x1;</Key><Size>6</Size></Contents></ListBucketResult>"
        )
        self.server.answers = [answer(200, page.encode())]
        listing = await self.store.list_objects("bucket")
        found = [(info.key, info.size, info.etag, info.created) for info in listing.objects]
        self.assertEqual(found, [(" a%20b+c ", 5, "x", 1_796_032_800 * 10**9), ("b\ufffd", 6, "", 0)])

    async def test_prefix_again(self) -> None:
        """A common prefix after which a page begins is left out where the server lists it once more."""
        page = (
            "<R><IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken>"
            "<Contents><Key>b</Key></Contents><CommonPrefixes><Prefix>a/</Prefix></CommonPrefixes></R>"
        )
        self.server.answers = [answer(200, page.encode())]
        listing = await self.store.list_objects("bucket", "", "/", "a/", 1)
        self.assertEqual(([info.key for info in listing.objects], list(listing.prefixes)), (["b"], []))
        self.assertEqual(listing.next_after, "b")
        self.assertIn("max-keys=2&", self.server.requests[-1])

    # -- how bodies are sent -------------------------------------------------------------------

    async def test_forms(self) -> None:
        """Signed where somebody on the way could change it; with a checksum, unless there is to be none."""
        large, small = bytes(HELD + 1), b"hello"
        for checksum, is_private, data, form in (
            ("crc32", False, small, None),
            ("crc32", True, small, "UNSIGNED-PAYLOAD"),
            ("crc32", False, large, "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"),
            ("crc32", True, large, "STREAMING-UNSIGNED-PAYLOAD-TRAILER"),
            ("", False, small, None),
            ("", True, small, None),
            ("", False, large, "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"),
            ("", True, large, "UNSIGNED-PAYLOAD"),
        ):
            self.store = self.make(checksum=checksum)
            self.store._requests.is_private = is_private
            await self.put(answer(200, b"", *FOUND), data=data, system={"content-encoding": "gzip"})
            fields = self.fields()
            self.assertEqual(fields["x-amz-content-sha256"], form or fields["x-amz-content-sha256"])
            if form is None:
                self.assertEqual(len(fields["x-amz-content-sha256"]), 64)
            is_framed = form is not None and form.startswith("STREAMING")
            coding = "aws-chunked,gzip" if is_framed and checksum else "gzip"
            self.assertEqual(fields["content-encoding"], coding)
            self.assertEqual(fields.get("x-amz-decoded-content-length"), str(len(data)) if is_framed else None)
            self.assertEqual("x-amz-checksum-crc32" in fields, bool(checksum) and data is small)
            self.assertEqual(fields.get("x-amz-trailer"), "x-amz-checksum-crc32" if checksum and is_framed else None)

    async def test_sizes_without_checksum(self) -> None:
        """Also without chunks a body of another size is not sent to its end."""
        self.store = self.make(checksum="")
        for is_private in (False, True):
            self.store._requests.is_private = is_private
            for size in (2 * MIB - 1, 2 * MIB + 1):
                self.server.answers = [answer(200, b"", *FOUND)]
                putting = self.store.put("bucket", "key", BytesStream(content(2 * MIB)), size)
                await self.assertFailure(putting, SizeMismatch)
        self.assertEqual(self.server.requests, [])

    async def test_options_refused(self) -> None:
        self.assertRaises(InvalidName, self.make, checksum="sha256")

    async def test_region(self) -> None:
        """Buckets are made where requests are signed for."""
        self.server.answers = [answer(200), answer(200), answer(200, b"<R><Buckets/></R>")]
        bucket = await self.store.create_bucket("bucket")
        self.assertEqual((bucket.name, bucket.created), ("bucket", 0))
        self.assertIn(b"<LocationConstraint>eu-1</LocationConstraint>", self.server.bodies[0])

    async def test_delete_without_conditions(self) -> None:
        """Of a server that does not know conditions for that."""
        head = answer(200, b"", *FOUND)
        self.server.answers = [head, answer(501), answer(204)]
        await self.store.delete("bucket", "key")
        self.assertNotIn("if-match", self.fields())
        self.server.answers = [head, answer(501)]
        await self.assertFailure(self.store.delete("bucket", "key", Condition(etag="*")), NotSupported)


class LargeThroughDoorTests(SeenThroughDoor, StoreTestsMixin, ThroughDoorTestCase):
    """Bodies that are sent in parts, in chunks and without signatures, through the door."""

    options = {"threshold": 3 * MIB, "part_size": MIB, "in_flight": 2}

    async def test_parts(self) -> None:
        """Of a size that is not known, or above the threshold; and what is smaller goes at once."""
        for number, (size, announced, count) in enumerate(
            ((MIB, False, 0), (MIB + 1, False, 2), (5 * MIB + 7, False, 6), (3 * MIB, True, 0), (3 * MIB + 1, True, 4))
        ):
            data = content(size)
            stream = BytesStream(data)
            info = await self.store.put(
                "bucket", f"{number}", stream, size if announced else None, "a/b", {"c": ["d"]}, ABSENT
            )
            pieces = [data[start : start + MIB] for start in range(0, size, MIB)]
            self.assertEqual(info.etag, multipart_etag(*pieces) if count else md5(data))
            self.assertEqual(await self.store.head("bucket", f"{number}"), info)
            self.assertEqual(await self.get(f"{number}"), data)
        self.assertEqual(await self.space.list_uploads(), [])

    async def test_unsigned(self) -> None:
        """As over TLS: with checksums only, in front or behind."""
        self.store._requests.is_private = True
        for size in (5, 2 * MIB):
            await self.put("key", content(size))
            self.assertEqual(await self.get("key"), content(size))

    async def test_damaged_on_the_way(self) -> None:
        """Nothing is stored of what does not have its checksum."""
        self.store._requests.is_private = True
        for size in (5, 2 * MIB):
            with patch(
                "storehouse.clients.s3.b" + ("ase" if size == 5 else "odies") + ".encoded", lambda data: "AAAAAAAAAAA="
            ):
                await self.refused(RemoteDamaged, self.store.put("bucket", "key", BytesStream(content(size)), size))
        self.assertEqual(await self.everything(), [])

    async def test_failing_in_parts(self) -> None:
        """The upload is aborted, whatever fails."""
        tap = Tap()
        putting = self.store.put("bucket", "key", tap, None)
        await tap.write(*[content(MIB)] * 4)
        tap.end(KeyError("gone"))
        await self.refused(KeyError, putting)
        for size in (3 * MIB + 5, 5 * MIB):
            await self.refused(SizeMismatch, self.store.put("bucket", "key", BytesStream(content(4 * MIB)), size))
        with patch.object(store, "MOST_PARTS", 3), patch("storehouse.clients.s3.uploads.MOST_PARTS", 3):
            await self.refused(TooLarge, self.store.put("bucket", "key", BytesStream(content(4 * MIB)), None))
        await self.nothing_left()

    async def test_cancelled_in_parts(self) -> None:
        tap = Tap()
        putting = self.store.put("bucket", "key", tap, None)
        await tap.write(*[content(MIB)] * 4)
        await turns()
        putting.cancel()
        self.assertIsNone(await self.outcome(putting))
        self.assertTrue(tap.refused)
        await self.nothing_left()

    async def nothing_left(self) -> None:
        while await self.space.list_uploads():
            await deferLater(reactor, 0.01)
        self.assertEqual(await self.space.list_uploads(), [])
        self.assertEqual(await self.everything(), [])

    async def test_condition_of_parts(self) -> None:
        """It is looked at when all is there."""
        tap = Tap()
        putting = self.store.put("bucket", "key", tap, None, condition=ABSENT)
        await tap.write(*[content(MIB)] * 3)
        await self.put("key", b"first")
        tap.end()
        await self.refused(PreconditionFailed, putting)
        self.assertEqual(await self.get("key"), b"first")

    async def test_known_in_the_end(self) -> None:
        """Metadata and system metadata: of what is held; of more it is refused, and nothing stored."""
        given: dict[str, list[str]] = {}

        def pieces(size: int) -> Iterator[bytes]:
            yield content(size)
            given["a"] = ["b"]

        info = await self.store.put(
            "bucket", "key", BytesStream(pieces(5)), 5, "", given, system=lambda: {"expires": "x"}
        )
        self.assertEqual((info.metadata, dict(info.system)), ({"a": ["b"]}, {"expires": "x"}))
        self.assertEqual(dict((await self.store.head("bucket", "key")).system), {"expires": "x"})
        await self.store.delete("bucket", "key")
        for size, announced in ((2 * MIB, True), (2 * MIB, False)):
            given.clear()
            putting = self.store.put("bucket", "key", BytesStream(pieces(size)), size if announced else None, "", given)
            await self.refused(NotSupported, putting)
            putting = self.store.put("bucket", "key", BytesStream(content(size)), size, system=dict)
            await self.refused(NotSupported, putting)
        await self.nothing_left()

    async def test_parts_of_unknown_size(self) -> None:
        upload_id = await self.store.begin_upload("bucket", "key")
        place = ("bucket", "key", upload_id)
        etag = await self.store.upload_part(*place, 1, BytesStream(content(2 * MIB)), None)
        self.assertEqual(etag, md5(content(2 * MIB)))
        with patch("storehouse.clients.s3.uploads._MOST_UNKNOWN", MIB):
            await self.refused(NotSupported, self.store.upload_part(*place, 2, BytesStream(content(2 * MIB)), None))
        self.assertEqual([part.number for part in await self.store.list_parts(*place)], [1])

    async def test_parts_that_are_not_held(self) -> None:
        """Those that are too large are sent as they are read, one after the other."""
        data = content(4 * MIB + 9)
        with patch.object(store, "_LARGEST_HELD", MIB // 2):
            info = await self.store.put("bucket", "key", BytesStream(data), len(data))
        self.assertEqual(info.etag, multipart_etag(*(data[start : start + MIB] for start in range(0, len(data), MIB))))
        self.assertEqual(await self.get("key"), data)

    async def test_growing_parts(self) -> None:
        """Of a body of unknown size, so that more than 10,000 times the first goes."""
        data = content(7 * MIB)
        with patch.object(store, "_GROWS_AFTER", 2):
            await self.store.put("bucket", "key", BytesStream(data), None)
        sizes = [part.size for part in await self.behind.list_object_parts("bucket", "key")]
        self.assertEqual(sizes, [MIB, MIB, 2 * MIB, 2 * MIB, MIB])
        self.assertEqual(await self.get("key"), data)

    async def test_large_copies(self) -> None:
        """In parts, where S3 copies no more at once."""
        data = content(3 * MIB)
        await self.put("from", data, content_type="a/b", metadata={"c": ["d"]}, system={"tagging": "e=f"})
        with patch.object(store, "_MOST_COPIED", MIB), patch.object(store, "_COPIED_PART", 2 * MIB):
            info = await self.store.copy("bucket", "to", "bucket", "from", condition=ABSENT)
            await self.refused(PreconditionFailed, self.store.copy("bucket", "to", "bucket", "from", condition=ABSENT))
        self.assertEqual(info.etag, multipart_etag(data[: 2 * MIB], data[2 * MIB :]))
        self.assertEqual(
            (info.content_type, info.metadata, dict(info.system)), ("a/b", {"c": ["d"]}, {"tagging": "e=f"})
        )
        self.assertEqual(await self.get("to"), data)

    async def test_races(self) -> None:
        """One winner of eight, over and over."""

        async def attempt(number: int, condition: Condition) -> bool:
            try:
                await self.put("key", b"%d" % number, condition=condition)
            except PreconditionFailed:
                return False
            return True

        for _ in range(5):
            won = await gatherResults([Deferred.fromCoroutine(attempt(number, ABSENT)) for number in range(8)])
            self.assertEqual(won.count(True), 1)
            etag = (await self.store.head("bucket", "key")).etag
            replacing = [Deferred.fromCoroutine(attempt(number, Condition(etag=etag))) for number in range(10, 18)]
            self.assertEqual((await gatherResults(replacing)).count(True), 1)
            await self.store.delete("bucket", "key")

    async def test_many_pages(self) -> None:
        """Listings of more than goes on one page of S3."""
        await gatherResults([self.behind.put("bucket", f"{number:04}", BytesStream(), 0) for number in range(1203)])
        self.store._details = False
        listing = await self.store.list_objects("bucket", limit=1100)
        self.assertEqual((len(listing.objects), listing.next_after), (1100, "1099"))
        keys = await self.store.list_keys("bucket", limit=5000)
        self.assertEqual(keys, [f"{number:04}" for number in range(1203)])
        self.assertEqual(await self.store.usage("bucket"), Usage(1203, 0))
