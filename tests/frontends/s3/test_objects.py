"""Tests of L{storehouse.frontends.s3.objects}."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from unittest import mock
from urllib.parse import quote

from twisted.internet.defer import fail, succeed
from twisted.web.http import datetimeToString

from storehouse.core.streams import BytesStream
from storehouse.errors import DamagedObject
from storehouse.storage.dataspace.interfaces import Part
from storehouse.storage.objects.interfaces import ObjectInfo
from tests.frontends.http.wire import Connection, request, split_answers
from tests.frontends.s3.playing import NOW, S3Case

HELLO = '"5d41402abc4b2a76b9719d911017c592"'


class ObjectCase(S3Case):
    """A bucket C{box} with the object C{a}: hello."""

    def setUp(self) -> None:
        super().setUp()
        self.done("PUT /box", b"")
        self.done("PUT /box/a", b"hello")


class PutTests(ObjectCase):
    """PutObject."""

    def test_put(self) -> None:
        answer = self.done("PUT /box/k%20%C3%A4/b", b"hello")
        self.assertEqual((answer.fields["etag"], answer.body), (HELLO, b""))
        self.assertEqual(answer.fields["x-amz-checksum-crc64nvme"], self.done(
            "HEAD /box/k%20%C3%A4/b", None, "x-amz-checksum-mode: ENABLED").fields["x-amz-checksum-crc64nvme"])  # fmt: skip
        info = self.successResultOf(self.store.head("box", "k ä/b"))
        self.assertEqual((info.size, info.etag, info.content_type), (5, HELLO[1:-1], "binary/octet-stream"))

    def test_described(self) -> None:
        """All that an object is stored with is given back, and nothing else that came."""
        fields = (
            "Content-Type: text/plain; charset=utf-8",
            "Cache-Control: no-store",
            "Content-Disposition: attachment; filename=x",
            "Content-Encoding: gzip",
            "Content-Language: de",
            "Expires: tomorrow",
            "x-amz-meta-Colour: red",
            "x-amz-website-redirect-location: /b",
            "x-amz-storage-class: STANDARD_IA",
            "x-amz-tagging: a=b&c=d",
            "Vary: Origin",
            "x-foreign: 1",
        )
        self.done("PUT /box/b", b"x", *fields)
        for method in ("GET", "HEAD"):
            answer = self.done(f"{method} /box/b").fields
            self.assertEqual(
                [answer[name] for name in ("content-type", "cache-control", "content-disposition", "content-encoding",
                                           "content-language", "expires", "x-amz-meta-colour", "x-amz-storage-class",
                                           "x-amz-website-redirect-location", "x-amz-tagging-count", "content-length")],
                ["text/plain; charset=utf-8", "no-store", "attachment; filename=x", "gzip", "de", "tomorrow", "red",
                 "STANDARD_IA", "/b", "2", "1"],
            )  # fmt: skip
            self.assertNotIn("vary", answer)
            self.assertNotIn("x-foreign", answer)

    def test_owner(self) -> None:
        """In a bucket without ACLs all belongs to its owner."""
        self.done("PUT /box/b", b"x", user="bob")
        self.assertEqual(self.successResultOf(self.store.head("box", "b")).system["owner"], "ann")
        self.refused("AccessControlListNotSupported", "PUT /box/b", b"x", "x-amz-acl: public-read")
        self.done("PUT /box/b", b"x", "x-amz-acl: bucket-owner-full-control")

    def test_names_of_metadata(self) -> None:
        """They are in lower case on the wire, where clients look at that."""
        self.done("PUT /box/b", b"x", "X-Amz-Meta-Two-Words: 1")
        connection = Connection(self.site)
        connection.send(request("GET /box/b", None, "Authorization: Test ann"))
        self.assertIn(b"\r\nx-amz-meta-two-words: 1\r\n", connection.received)
        connection.close()

    def test_conditions(self) -> None:
        said = self.refused("PreconditionFailed", "PUT /box/a", b"x", "If-None-Match: *")
        self.assertEqual(said.value("Condition"), "If-None-Match")
        self.done("PUT /box/new", b"x", "If-None-Match: *")
        self.refused("PreconditionFailed", "PUT /box/a", b"x", 'If-Match: "other"')
        self.refused("NoSuchKey", "PUT /box/none", b"x", f"If-Match: {HELLO}")
        self.done("PUT /box/a", b"x", f"If-Match: {HELLO}")
        self.refused("NotImplemented", "PUT /box/a", b"x", 'If-None-Match: "x"')
        self.assertEqual(self.done("GET /box/a").body, b"x")

    def test_checked(self) -> None:
        """What was announced and is not right is not stored."""
        md5 = b64encode(hashlib.md5(b"hello").digest()).decode()
        self.done("PUT /box/b", b"hello", f"Content-MD5: {md5}")
        self.refused("BadDigest", "PUT /box/c", b"hallo", f"Content-MD5: {md5}")
        self.refused("InvalidDigest", "PUT /box/c", b"hello", "Content-MD5: x")
        crc = "NhCmhg=="
        self.done("PUT /box/b", b"hello", f"x-amz-checksum-crc32: {crc}")
        answer = self.done("GET /box/b", None, "x-amz-checksum-mode: ENABLED")
        self.assertEqual(
            (answer.fields["x-amz-checksum-crc32"], answer.fields["x-amz-checksum-type"]), (crc, "FULL_OBJECT")
        )
        self.assertNotIn("x-amz-checksum-crc32", self.done("GET /box/b").fields)
        partial = self.done("GET /box/b", None, "x-amz-checksum-mode: ENABLED", "Range: bytes=0-1", status=206)
        self.assertNotIn("x-amz-checksum-crc32", partial.fields)
        self.refused("BadDigest", "PUT /box/c", b"hallo", f"x-amz-checksum-crc32: {crc}")
        self.refused("NoSuchKey", "GET /box/c")

    def test_length(self) -> None:
        self.refused("MissingContentLength", "PUT /box/a", None)
        self.refused("NotImplemented", "PUT /box/a", b"x", "Content-Range: bytes 1-1/2")
        self.assertEqual(self.done("GET /box/a").body, b"hello")
        self.done("PUT /box/empty", b"")
        self.assertEqual(self.done("GET /box/empty").body, b"")
        connection = Connection(self.site)
        head = request("PUT /box/chunked", None, "Transfer-Encoding: chunked", "Authorization: Test ann")
        connection.send(head + b"5\r\nhello\r\n0\r\n\r\n")
        (answer,) = split_answers(connection.received)
        self.assertEqual(answer.fields["etag"], HELLO)
        connection.close()

    def test_lost(self) -> None:
        """A body that does not come whole is not stored."""
        connection = Connection(self.site)
        connection.send(request("PUT /box/a", None, "Content-Length: 10", "Authorization: Test ann") + b"half")
        connection.close()
        self.assertEqual(self.done("GET /box/a").body, b"hello")

    def test_refused(self) -> None:
        self.refused("NoSuchBucket", "PUT /none/a", b"x")
        self.refused("MetadataTooLarge", "PUT /box/a", b"x", "x-amz-meta-a: " + "x" * 2048)
        self.refused("InvalidArgument", "PUT /box/a?versionId=1", b"x")
        said = self.refused("KeyTooLongError", f"PUT /box/{'x' * 1025}", b"x")
        self.assertEqual((said.value("Size"), said.value("MaxSizeAllowed")), ("1025", "1024"))
        self.done(f"PUT /box/{quote('ä' * 512)}", b"x")
        self.refused("KeyTooLongError", f"PUT /box/{quote('ä' * 513)}", b"x")
        self.refused("NotImplemented", "PUT /box/a", b"x", "x-amz-server-side-encryption-customer-algorithm: AES256")


class GetTests(ObjectCase):
    """GetObject and HeadObject."""

    def test_whole(self) -> None:
        for method, body in (("GET", b"hello"), ("HEAD", b"")):
            answer = self.done(f"{method} /box/a")
            self.assertEqual(answer.body, body)
            self.assertEqual(
                [answer.fields[name] for name in ("etag", "content-length", "content-type", "accept-ranges")],
                [HELLO, "5", "binary/octet-stream", "bytes"],
            )
            self.assertIn("last-modified", answer.fields)
        self.assertEqual(self.refused("NoSuchKey", "GET /box/none").value("Key"), "none")
        self.refused("NoSuchBucket", "GET /none/a")
        self.assertEqual(self.ask("HEAD /box/none").status, 404)

    def test_ranges(self) -> None:
        for value, body, where in (
            ("bytes=0-0", b"h", "bytes 0-0/5"),
            ("bytes=1-", b"ello", "bytes 1-4/5"),
            ("bytes=-2", b"lo", "bytes 3-4/5"),
            ("bytes=-9", b"hello", "bytes 0-4/5"),
            ("bytes=2-99", b"llo", "bytes 2-4/5"),
        ):
            answer = self.done("GET /box/a", None, f"Range: {value}", status=206)
            self.assertEqual((answer.body, answer.fields["content-range"]), (body, where))
            answer = self.done("HEAD /box/a", None, f"Range: {value}", status=206)
            self.assertEqual((answer.fields["content-length"], answer.fields["content-range"]), (str(len(body)), where))
        for value in ("bytes=0-1,3-4", "lines=1-2", "bytes=x", "bytes=3-1"):
            self.assertEqual(self.done("GET /box/a", None, f"Range: {value}").body, b"hello")
        said = self.refused("InvalidRange", "GET /box/a", None, "Range: bytes=5-")
        self.assertEqual((said.value("ActualObjectSize"), said.value("RangeRequested")), ("5", "bytes=5-"))
        self.refused("InvalidRange", "GET /box/a", None, "Range: bytes=-0")
        self.assertEqual(self.ask("HEAD /box/a", None, "Range: bytes=7-").status, 416)

    def test_conditions(self) -> None:
        now = datetimeToString(NOW).decode()
        before, after = datetimeToString(NOW - 100).decode(), datetimeToString(NOW + 1e8).decode()
        created = self.successResultOf(self.store.head("box", "a")).created // 10**9
        exactly = datetimeToString(created).decode()
        self.assertTrue(now)
        for method in ("GET", "HEAD"):
            for fields, status in (
                ((f"If-Match: {HELLO}",), 200),
                (("If-Match: " + HELLO[1:-1],), 200),
                (("If-Match: *",), 200),
                (('If-Match: "x"',), 412),
                ((f"If-None-Match: {HELLO}",), 304),
                (("If-None-Match: " + HELLO[1:-1],), 304),
                (('If-None-Match: "x"',), 200),
                ((f"If-Modified-Since: {exactly}",), 304),
                ((f"If-Modified-Since: {before}",), 200 if created > NOW - 100 else 304),
                ((f"If-Unmodified-Since: {before}",), 412 if created > NOW - 100 else 200),
                ((f"If-Unmodified-Since: {after}",), 200),
                ((f"If-Match: {HELLO}", f"If-Unmodified-Since: {before}"), 200),
                ((f"If-None-Match: {HELLO}", f"If-Modified-Since: {before}"), 304),
                (('If-None-Match: "x"', f"If-Modified-Since: {exactly}"), 200),
            ):
                answer = self.ask(f"{method} /box/a", None, *fields)
                self.assertEqual(answer.status, status, (method, fields))
                if status == 304:
                    self.assertEqual((answer.fields["etag"], answer.body), (HELLO, b""))
                    self.assertNotIn("content-length", answer.fields)
        said = self.refused("PreconditionFailed", "GET /box/a", None, 'If-Match: "x"')
        self.assertEqual(said.value("Condition"), "If-Match")
        self.refused("InvalidArgument", "GET /box/a", None, 'If-Match: "x')
        answer = self.done("GET /box/a", None, f"If-Match: {HELLO}", "Range: bytes=0-1", status=206)
        self.assertEqual(answer.body, b"he")

    def test_other_doors(self) -> None:
        """The tag that is shown of what has no MD5 is the one that conditions name."""
        info = self.successResultOf(self.store.put("box", "form", BytesStream(b"x"), 1, "text/html"))
        answer = self.done("GET /box/form")
        self.assertEqual((answer.fields["etag"], answer.fields["content-type"]), (f'"{info.etag}-1"', "text/html"))
        self.done("GET /box/form", None, f"If-None-Match: {answer.fields['etag']}", status=304)
        self.done("PUT /box/form", b"y", f"If-Match: {answer.fields['etag']}")

    def test_overrides(self) -> None:
        query = (
            "response-content-type=text/x&response-cache-control=no-cache&response-content-disposition=inline"
            "&response-content-encoding=br&response-content-language=fr&response-expires=now"
        )
        self.done("PUT /box/b", b"x", "Content-Type: text/plain", "Content-Language: de")
        for method in ("GET", "HEAD"):
            answer = self.done(f"{method} /box/b?{query}")
            self.assertEqual(
                [answer.fields[name] for name in ("content-type", "cache-control", "content-disposition",
                                                  "content-encoding", "content-language", "expires")],
                ["text/x", "no-cache", "inline", "br", "fr", "now"],
            )  # fmt: skip
        for value in ("a%0d%0aX:+y", "a%00", "a%7f"):
            self.refused("InvalidArgument", f"GET /box/b?response-content-type={value}")
            self.refused("InvalidArgument", f"GET /box/b?response-content-disposition={value}")

    def test_parts(self) -> None:
        self.refused("InvalidPartNumber", "GET /box/a?partNumber=2")
        answer = self.done("GET /box/a?partNumber=1", status=206)
        self.assertEqual((answer.body, answer.fields["content-range"]), (b"hello", "bytes 0-4/5"))
        self.assertNotIn("x-amz-mp-parts-count", answer.fields)
        for wrong in ("0", "10001", "x", "-1", ""):
            self.refused("InvalidArgument", f"GET /box/a?partNumber={wrong}")
        self.refused("InvalidRequest", "GET /box/a?partNumber=1", None, "Range: bytes=0-1")
        id = self.successResultOf(self.store.begin_upload("box", "b"))
        parts = []
        for number, data in ((1, b"one"), (4, b"second"), (7, b"x")):
            etag = self.successResultOf(
                self.store.upload_part(
                    "box", "b", id, number, BytesStream(data), len(data), md5=True, note=lambda: "crc32=NhCmhg=="
                )
            )
            parts.append(Part(number, etag, len(data)))
        self.successResultOf(self.store.complete_upload("box", "b", id, parts))
        answer = self.done("GET /box/b?partNumber=4", status=206)
        self.assertEqual(
            (answer.body, answer.fields["content-range"], answer.fields["x-amz-mp-parts-count"]),
            (b"second", "bytes 3-8/10", "3"),
        )
        self.assertNotIn("x-amz-checksum-crc32", answer.fields)
        answer = self.done("GET /box/b?partNumber=4", None, "x-amz-checksum-mode: ENABLED", status=206)
        self.assertEqual(answer.fields["x-amz-checksum-crc32"], "NhCmhg==")
        answer = self.done("HEAD /box/b?partNumber=7", status=206)
        self.assertEqual((answer.fields["content-length"], answer.fields["content-range"]), ("1", "bytes 9-9/10"))
        self.refused("InvalidPartNumber", "GET /box/b?partNumber=2")
        self.assertEqual(self.done("GET /box/b").body, b"onesecondx")

    def test_damaged(self) -> None:
        """A defect that shows before the first byte is sent is an error; one behind it ends the connection."""
        self.done("PUT /box/long", bytes(100_000))
        broken = fail(DamagedObject("id", "its checksum is wrong", 1, 0))
        with mock.patch.object(self.store, "get", lambda *given: broken):
            self.refused("InternalError", "GET /box/a")

        class Broken:
            def __init__(self, info: ObjectInfo) -> None:
                self.info = info
                self.pieces = [b"he"]

            async def read(self) -> bytes:
                if self.pieces:
                    return self.pieces.pop()
                raise DamagedObject("id", "its checksum is wrong", 1, 0)

            def close(self) -> object:
                return succeed(None)

        infos = {key: self.successResultOf(self.store.head("box", key)) for key in ("a", "long")}
        with mock.patch.object(self.store, "get", lambda bucket, key, *given: succeed(Broken(infos[key]))):
            self.refused("InternalError", "GET /box/a")
            connection = Connection(self.site)
            connection.send(request("GET /box/long", None, "Authorization: Test ann"))
            self.assertTrue(connection.received.endswith(b"\r\n\r\nhe"))
            self.assertTrue(connection.is_closed)


class DeleteTests(ObjectCase):
    """DeleteObject."""

    def test_delete(self) -> None:
        self.done("DELETE /box/a", status=204)
        self.done("DELETE /box/a", status=204)
        self.refused("NoSuchKey", "GET /box/a")
        self.refused("NoSuchBucket", "DELETE /none/a")
        self.refused("AccessDenied", "DELETE /box/a", user="")

    def test_conditions(self) -> None:
        self.refused("PreconditionFailed", "DELETE /box/a", None, 'If-Match: "x"')
        self.refused("NoSuchKey", "DELETE /box/none", None, "If-Match: *")
        self.refused("NotImplemented", "DELETE /box/a", None, "x-amz-if-match-size: 5")
        self.done("DELETE /box/a", None, f"If-Match: {HELLO}", status=204)
        self.done("PUT /box/a", b"1")
        self.done("DELETE /box/a", None, "If-Match: *", status=204)
        self.done("PUT /box/a", b"1")
        self.done("DELETE /box/a?versionId=null", status=204)
