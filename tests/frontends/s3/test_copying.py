"""Tests of L{storehouse.frontends.s3.copying}."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from twisted.internet.defer import Deferred

from storehouse.core.streams import BytesStream, read_all
from storehouse.frontends.s3.call import Call, Door
from storehouse.frontends.s3.door import S3Door
from storehouse.frontends.s3.errors import S3Error
from storehouse.frontends.s3.fields import quoted
from storehouse.storage.objects.interfaces import ObjectInfo
from tests.frontends.s3.playing import AnyAuthenticator, InlineDisk, S3Case

BEFORE, AFTER = "Sun, 09 Sep 2001 01:46:39 GMT", "Fri, 01 Jan 2100 00:00:00 GMT"


async def allow_mine(call: Call) -> None:
    """Nobody may read what is another's."""
    if call.operation == "GetObject" and call.key.startswith("theirs/"):
        raise S3Error("AccessDenied")


class CopyObjectTests(S3Case):
    """Objects under other keys, and with other metadata."""

    def make_door(self) -> S3Door:
        shared = Door(self.store, self.accounts, self.settings, self.clock, InlineDisk())
        return S3Door(shared, AnyAuthenticator(), allow_mine)

    def setUp(self) -> None:
        S3Case.setUp(self)
        self.successResultOf(self.store.create_bucket("box", owner="ann"))
        self.successResultOf(self.store.create_bucket("other", owner="ann"))
        self.source = self.put(
            "a",
            b"bytes",
            {
                "cache-control": "no-cache",
                "storage-class": "STANDARD_IA",
                "website-redirect-location": "/b",
                "tagging": "k=v",
                "owner": "bob",
                "upload-id": "x",
                "checksum-crc32": "AAAAAA==",
                "checksum-type": "FULL_OBJECT",
            },
            {"who": ["me"]},
        )

    def put(
        self, key: str, data: bytes = b"x", system: Mapping[str, str] = {}, metadata: Mapping[str, Any] = {}
    ) -> ObjectInfo:
        """Store an object."""
        stored = self.store.put(
            "box", key, BytesStream(data), len(data), "text/plain", metadata, md5=True, system=system
        )
        return self.successResultOf(stored)

    def head(self, bucket: str, key: str) -> ObjectInfo:
        """What is known of an object."""
        return self.successResultOf(self.store.head(bucket, key))

    def copy(self, *fields: str, to: str = "/other/b", source: str = "box/a") -> ObjectInfo:
        """A copy that is granted."""
        result = self.read("CopyObjectResult", f"PUT {to}", b"", f"x-amz-copy-source: {source}", *fields)
        bucket, _, key = to[1:].partition("/")
        info = self.head(bucket, key)
        self.assertEqual(result.value("ETag"), quoted(info.etag))
        self.assertTrue(result.value("LastModified").endswith("Z"))
        self.assertEqual(result.value("ChecksumCRC32"), info.system.get("checksum-crc32", ""))
        return info

    def test_copy(self) -> None:
        """All of the source, but for what is the object's own."""
        info = self.copy()
        self.assertEqual(
            (info.etag, info.content_type, info.metadata), (self.source.etag, "text/plain", {"who": ["me"]})
        )
        self.assertEqual(
            info.system,
            {
                "cache-control": "no-cache",
                "owner": "ann",
                "tagging": "k=v",
                "checksum-crc32": "AAAAAA==",
                "checksum-type": "FULL_OBJECT",
            },
        )
        reader = self.successResultOf(self.store.get("other", "b"))
        self.assertEqual(self.successResultOf(Deferred.fromCoroutine(read_all(reader))), b"bytes")

    def test_replace(self) -> None:
        """The metadata and all its fields are the request's, or the tags are."""
        fields = ("Content-Type: text/css", "x-amz-meta-b: 1", "Expires: 0", "x-amz-tagging: n=m")
        info = self.copy(*fields)
        self.assertEqual((info.content_type, info.metadata), ("text/plain", {"who": ["me"]}))
        self.assertEqual(info.system["tagging"], "k=v")
        info = self.copy("x-amz-metadata-directive: REPLACE", *fields)
        self.assertEqual((info.content_type, info.metadata), ("text/css", {"b": ["1"]}))
        self.assertEqual(
            info.system,
            {
                "expires": "0",
                "owner": "ann",
                "tagging": "k=v",
                "checksum-crc32": "AAAAAA==",
                "checksum-type": "FULL_OBJECT",
            },
        )
        info = self.copy("x-amz-tagging-directive: REPLACE", *fields)
        self.assertEqual((info.content_type, info.system["tagging"]), ("text/plain", "n=m"))
        info = self.copy("x-amz-tagging-directive: REPLACE")
        self.assertNotIn("tagging", info.system)
        info = self.copy("x-amz-storage-class: ONEZONE_IA", "x-amz-website-redirect-location: /c")
        self.assertEqual(info.system["storage-class"], "ONEZONE_IA")
        self.assertEqual(info.system["website-redirect-location"], "/c")

    def test_onto_itself(self) -> None:
        """Something must change."""
        self.refused("InvalidRequest", "PUT /box/a", b"", "x-amz-copy-source: /box/a", "x-amz-metadata-directive: COPY")
        info = self.copy("x-amz-metadata-directive: REPLACE", "x-amz-meta-n: 2", to="/box/a")
        self.assertEqual((info.metadata, info.etag), ({"n": ["2"]}, self.source.etag))
        info = self.copy("x-amz-storage-class: STANDARD", to="/box/a")
        self.assertNotIn("storage-class", info.system)

    def test_checksum(self) -> None:
        """One that is not known is computed, and all else is as without; one that is known is kept."""
        kept = {"owner": "ann", "cache-control": "no-cache", "tagging": "k=v", "checksum-type": "FULL_OBJECT"}
        digest = b64encode(hashlib.sha256(b"bytes").digest()).decode()
        for field, checksum in (
            ("x-amz-checksum-algorithm: SHA256", {"checksum-sha256": digest}),
            ("x-amz-checksum-algorithm: CRC32", {"checksum-crc32": "AAAAAA=="}),
        ):
            info = self.copy(field)
            self.assertEqual(info.system, {**kept, **checksum})
            self.assertEqual(
                (info.etag, info.content_type, info.metadata), (self.source.etag, "text/plain", {"who": ["me"]})
            )
        self.refused("InvalidRequest", "PUT /other/b", b"", "x-amz-copy-source: box/a", "x-amz-checksum-algorithm: MD6")
        info = self.copy("x-amz-checksum-algorithm: SHA256", to="/box/a")
        self.assertEqual(info.system["checksum-sha256"], digest)

    def test_any_key(self) -> None:
        for key in ("a b", "a+b", "ä/漢", "a?b=c", "%41"):
            self.put(key, key.encode())
            info = self.copy(source=quote(f"/box/{key}"))
            self.assertEqual(info.size, len(key.encode()))
        self.refused("NoSuchKey", "PUT /other/b", b"", "x-amz-copy-source: box/%2541%20")

    def test_source_conditions(self) -> None:
        etag = quoted(self.source.etag)
        for fields, holds in (
            ([f"if-match: {etag}"], True),
            (["if-match: x"], False),
            ([f"if-none-match: {etag}"], False),
            (["if-none-match: x"], True),
            ([f"if-modified-since: {BEFORE}"], True),
            ([f"if-modified-since: {AFTER}"], False),
            ([f"if-unmodified-since: {AFTER}"], True),
            ([f"if-unmodified-since: {BEFORE}"], False),
            ([f"if-match: {etag}", f"if-unmodified-since: {BEFORE}"], True),
            ([f"if-none-match: {etag}", f"if-modified-since: {BEFORE}"], False),
        ):
            given = [f"x-amz-copy-source-{field}" for field in fields]
            if holds:
                self.copy(*given)
            else:
                self.refused("PreconditionFailed", "PUT /other/b", b"", "x-amz-copy-source: box/a", *given)

    def test_target_conditions(self) -> None:
        self.copy("If-None-Match: *")
        self.refused("PreconditionFailed", "PUT /other/b", b"", "x-amz-copy-source: box/a", "If-None-Match: *")
        self.refused("PreconditionFailed", "PUT /other/b", b"", "x-amz-copy-source: box/a", "If-Match: x")
        self.copy(f"If-Match: {quoted(self.source.etag)}")
        self.refused("NotImplemented", "PUT /other/b", b"", "x-amz-copy-source: box/a", "If-None-Match: x")

    def test_replaced_meanwhile(self) -> None:
        """What is copied is all of one object: what was looked at, or the one that took its place."""
        copy = self.store.copy

        def late(*args: Any) -> Any:
            self.patch(self.store, "copy", copy)
            self.put("a", b"other", {"cache-control": "max-age=5"})
            return copy(*args)

        self.patch(self.store, "copy", late)
        info = self.copy()
        self.assertEqual(
            (info.etag, info.system), (self.head("box", "a").etag, {"cache-control": "max-age=5", "owner": "ann"})
        )

    def test_refused(self) -> None:
        for code, source, fields in (
            ("InvalidArgument", "box", []),
            ("NoSuchKey", "box/none", []),
            ("NoSuchBucket", "nobox/a", []),
            ("KeyTooLongError", f"box/{'a' * 1025}", []),
            ("NoSuchVersion", "box/a?versionId=x", []),
            ("AccessDenied", "box/theirs/a", []),
            ("InvalidArgument", "box/a", ["x-amz-metadata-directive: MOVE"]),
            ("InvalidArgument", "box/a", ["x-amz-tagging-directive: MOVE"]),
            ("NotImplemented", "box/a", ["x-amz-server-side-encryption: aws:kms"]),
        ):
            said = self.refused(code, "PUT /other/b", b"", f"x-amz-copy-source: {source}", *fields)
            if code == "NoSuchKey":
                self.assertEqual(said.value("Key"), "none")
        self.refused("NoSuchBucket", "PUT /nobox/b", b"", "x-amz-copy-source: box/a")
