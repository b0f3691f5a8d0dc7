"""Tests of L{storehouse.frontends.s3.appending}."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, fail

from storehouse.core.streams import BytesStream, read_all
from storehouse.errors import TooLarge
from storehouse.frontends.s3.checksums import Hasher, encoded
from storehouse.frontends.s3.fields import quoted
from storehouse.storage.objects.interfaces import ObjectInfo
from tests.frontends.http.wire import Answer
from tests.frontends.s3.playing import S3Case


def checksum(name: str, data: bytes) -> str:
    """As S3 writes it."""
    hasher = Hasher(name)
    hasher.update(data)
    return encoded(hasher.digest())


class AppendTests(S3Case):
    """Bytes at the ends of objects."""

    def setUp(self) -> None:
        S3Case.setUp(self)
        self.successResultOf(self.store.create_bucket("box", owner="ann"))

    def append(self, offset: int, data: bytes, *fields: str) -> Answer:
        """Bytes that are taken."""
        return self.done("PUT /box/a", data, f"x-amz-write-offset-bytes: {offset}", *fields)

    def whole(self) -> tuple[ObjectInfo, bytes]:
        """The object and its bytes."""
        reader = self.successResultOf(self.store.get("box", "a"))
        return reader.info, self.successResultOf(Deferred.fromCoroutine(read_all(reader)))

    def test_appended(self) -> None:
        """A new object at 0, and then what follows; with the checksum of all."""
        for name in ("crc32", "crc32c", "crc64nvme"):
            said = ["x-amz-meta-a: 1", "Content-Type: text/css", f"x-amz-checksum-{name}: {checksum(name, b'first')}"]
            answer = self.append(0, b"first", *said)
            self.assertEqual(answer.fields["x-amz-object-size"], "5")
            answer = self.append(5, b", second", "x-amz-meta-a: 2", "Content-Type: text/html")
            info, data = self.whole()
            self.assertEqual(data, b"first, second")
            self.assertEqual(answer.fields["etag"], quoted(info.etag))
            self.assertEqual(answer.fields["x-amz-object-size"], "13")
            self.assertEqual(answer.fields[f"x-amz-checksum-{name}"], checksum(name, data))
            self.assertEqual((info.content_type, info.metadata), ("text/css", {"a": ["1"]}))
            self.assertEqual(info.system["owner"], "ann")
            self.done("DELETE /box/a", status=204)

    def test_to_any_object(self) -> None:
        """Also one that was put, or came by another door; its checksum goes if it is of the first bytes alone."""
        for kept in ({}, {"checksum-sha256": checksum("sha256", b"first"), "checksum-type": "FULL_OBJECT"}):
            system = {"tagging": "k=v", **kept}
            self.successResultOf(self.store.put("box", "a", BytesStream(b"first"), 5, md5=True, system=system))
            self.append(5, b"")
            self.append(5, b", second", f"x-amz-checksum-sha256: {checksum('sha256', b', second')}")
            info, data = self.whole()
            self.assertEqual((data, dict(info.system)), (b"first, second", {"tagging": "k=v"}))

    def test_offsets(self) -> None:
        """One that is not the size changes nothing."""
        self.refused("InvalidWriteOffset", "PUT /box/a", b"x", "x-amz-write-offset-bytes: 1")
        self.append(0, b"first")
        for offset in (0, 4, 6):
            self.refused("InvalidWriteOffset", "PUT /box/a", b"x", f"x-amz-write-offset-bytes: {offset}")
        for offset in ("x", "-1", "", "1" * 30):
            self.refused("InvalidArgument", "PUT /box/a", b"x", f"x-amz-write-offset-bytes: {offset}")
        self.assertEqual(self.whole()[1], b"first")

    def test_conditions(self) -> None:
        self.append(0, b"first", "If-None-Match: *")
        self.refused("PreconditionFailed", "PUT /box/a", b"x", "x-amz-write-offset-bytes: 5", 'If-Match: "x"')
        self.append(5, b"x", f"If-Match: {quoted(self.whole()[0].etag)}")

    def test_wrong_bytes(self) -> None:
        """They are not appended."""
        self.append(0, b"first")
        for field in ("x-amz-checksum-crc32: AAAAAA==", "Content-MD5: AAAAAAAAAAAAAAAAAAAAAA=="):
            self.refused("BadDigest", "PUT /box/a", b"x", "x-amz-write-offset-bytes: 5", field)
        self.assertEqual(self.whole()[1], b"first")

    def test_too_many(self) -> None:
        self.append(0, b"first")
        self.patch(self.store, "append", lambda *args, **kwargs: fail(TooLarge("it has 10,000 parts")))
        self.refused("TooManyParts", "PUT /box/a", b"x", "x-amz-write-offset-bytes: 5")

    def test_two_at_once(self) -> None:
        """Of two at the same offset one is appended."""
        self.append(0, b"first")
        append = self.store.append

        def late(*args: Any, **kwargs: Any) -> Any:
            self.patch(self.store, "append", append)
            self.append(5, b"winner")
            return append(*args, **kwargs)

        self.patch(self.store, "append", late)
        self.refused("InvalidWriteOffset", "PUT /box/a", b"loser", "x-amz-write-offset-bytes: 5")
        self.assertEqual(self.whole()[1], b"firstwinner")
