"""Tests of L{storehouse.frontends.upload.upload} and L{storehouse.frontends.upload.intake}."""

from __future__ import annotations

import hashlib
import json
from base64 import b64encode
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from storehouse.errors import BadRequest
from storehouse.frontends.http.request import RequestBody
from storehouse.frontends.upload.gate import Visitor
from storehouse.frontends.upload.intake import digests_in
from storehouse.storage.accounts.interfaces import Grant
from tests.frontends.http.wire import request, split_answers
from tests.frontends.upload.receiving import QuietConnection, ReceivingCase


def digest(data: bytes, algorithm: str = "sha-256") -> str:
    return f"{algorithm}=:{b64encode(hashlib.new(algorithm.replace('-', ''), data).digest()).decode()}:"


class PutTests(ReceivingCase):
    """C{PUT /upload/NAME}."""

    def test_put(self) -> None:
        answer = self.ask("PUT /upload/k%C3%A4se/a.txt", b"hello", "Content-Type: text/plain", status=201)
        self.assertEqual(answer.fields["location"], "/download/k%C3%A4se/a.txt")
        info = self.info("käse/a.txt")
        self.assertEqual(answer.fields["etag"], f'"{info.etag}"')
        self.assertEqual((info.size, info.content_type), (5, "text/plain"))
        self.assertEqual(info.metadata["via"], ["put"])
        self.assertEqual(info.metadata["crc32c"], ["9a71bb4c"])
        self.assertEqual(self.ask("PUT /upload/k%C3%A4se/a.txt", b"again", status=200).status, 200)
        self.assertEqual(self.stored("käse/a.txt"), b"again")
        self.nothing_held()

    def test_no_length(self) -> None:
        """A request that has lost its body leaves what is stored alone; one with an empty body stores that."""
        self.ask("PUT /upload/a", b"precious", status=201)
        for method in ("PUT", "POST"):
            told = self.told(f"{method} /upload/a", None, status=411)
            self.assertEqual(told["error"], "LengthRequired")
            self.told(f"{method} /upload/a", None, "Upload-Complete: ?1", status=411)
            for field in (b"", b"Transfer-Encoding: chunked\r\n", b"Connection: keep-alive\r\n"):
                connection = self.connect()
                connection.send(method.encode() + b" /upload/a HTTP/1.0\r\nHost: x\r\n" + field + b"\r\nlost")
                (answer,) = split_answers(connection.received)
                self.assertEqual((answer.status, json.loads(answer.body)["error"]), (400, "AmbiguousFraming"))
        form = "Content-Type: multipart/form-data; boundary=x"
        self.told("POST /upload", None, form, status=411)
        body = b'--x\r\nContent-Disposition: form-data; name=f; filename="a"\r\n\r\nlost\r\n--x--\r\n'
        for field in ("Content-Range: bytes 4-7/8", "Content-Encoding: gzip"):
            self.told("POST /upload", body, form, field, status=400)
        self.assertEqual((self.keys(), self.stored("a"), self.resumed), (["a"], b"precious", []))
        self.ask("PUT /upload/a", b"")
        self.assertEqual(self.stored("a"), b"")
        connection = self.connect()
        connection.send(request("PUT /upload/b", None, "Transfer-Encoding: chunked") + b"0\r\n\r\n")
        self.assertEqual((split_answers(connection.received)[0].status, self.stored("b")), (201, b""))

    def test_unknown_fields(self) -> None:
        """A field of the query that would go unread may have been meant to be read."""
        for line in ("PUT /upload/a?bucket=photos", "POST /upload/a?folders=1", "PUT /upload/a?x"):
            for complete in ((), ("Upload-Complete: ?1",)):
                self.assertIn("unknown parameter", self.told(line, b"x", *complete, status=400)["detail"])
        told = self.told("POST /upload?bucket=photos", b"", "Content-Type: multipart/form-data; boundary=x", status=400)
        self.assertIn("unknown parameter", told["detail"])
        self.assertEqual((self.keys(), self.resumed), ([], []))

    def test_sizes(self) -> None:
        for size in (0, 1, 100_000, 9 << 20):
            data = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
            self.ask("PUT /upload/a", data, status=200 if size else 201)
            self.assertEqual(self.stored("a"), data)
        # What fits into a share is written when it is whole; what does not, as it comes; both with a known size.
        self.assertEqual(self.space.puts, [0, 1, 100_000, 9 << 20])
        self.nothing_held()

    def test_chunked(self) -> None:
        """Of unknown size: it begins in memory, and is spilled."""
        connection = self.connect()
        connection.send(request("PUT /upload/a", None, "Transfer-Encoding: chunked"))
        for size in (1, 100, 50_000):
            connection.send(b"%x\r\n%b\r\n" % (size, b"x" * size))
        self.assertEqual((self.memory.held, self.space.puts), (50_101, []))
        for _ in range(40):
            connection.send(b"40000\r\n%b\r\n" % (b"y" * 0x40000))
        self.assertEqual(self.space.puts, [None])
        connection.send(b"0\r\n\r\n")
        self.assertEqual(split_answers(connection.received)[0].status, 201)
        self.assertEqual(self.stored("a"), b"x" * 50_101 + b"y" * (40 << 18))
        self.assertTrue(self.info("a").metadata["crc32c"])
        self.nothing_held()

    def test_conditions(self) -> None:
        etag = self.put_before("a", b"old").etag
        for field, status in (
            ("If-None-Match: *", 412),
            ('If-Match: "other"', 412),
            ("If-Match: other", 400),
            ('If-None-Match: "a"', 400),
            (f'If-Match: "{etag}"', 200),
            ("If-Match: *", 200),
        ):
            self.ask("PUT /upload/a", b"new", field, status=status)
            if status != 200:
                self.assertEqual(self.stored("a"), b"old")
        self.ask("PUT /upload/b", b"new", "If-Match: *", status=412)
        self.ask("PUT /upload/b", b"new", "If-None-Match: *", status=201)

    def test_refused_before_it_comes(self) -> None:
        """A client that waits for 100 Continue gets the response before it sends the body."""
        self.put_before("a", b"old")
        for fields, status in ((("If-None-Match: *",), 412), (("Content-Range: bytes 1-3/4",), 400)):
            connection = self.connect()
            connection.send(request("PUT /upload/a", None, "Content-Length: 9999999", "Expect: 100-continue", *fields))
            (answer,) = split_answers(connection.received)
            self.assertEqual(answer.status, status)
            self.nothing_held()

    def test_not_possible(self) -> None:
        for field in (
            "Upload-Incomplete: ?1",
            "Content-Range: bytes 0-0/1",
            "Content-Encoding: gzip",
            "Content-Type: multipart/form-data; boundary=x",
        ):
            self.ask("PUT /upload/a", b"x", field, status=400)
        for path in ("%2e%2e/a", "../a", "a%00b", "a%0d%0aX:%20y", "/a", "a/", "%ff", "a%5c..%5cb", "%zz"):
            self.ask(f"PUT /upload/{path}", b"x", status=400)
        self.ask("PUT /upload/", b"x", status=400)
        self.ask("PUT /upload/" + "x" * 1025, b"x", status=400)
        self.assertEqual(self.keys(), [])

    def test_torn(self) -> None:
        for size in (10, 20 << 20):
            connection = self.connect()
            connection.send(request("PUT /upload/a", None, f"Content-Length: {size}") + b"x" * (size - 1))
            connection.close()
            self.assertEqual(self.keys(), [])
            self.nothing_held()
        self.assertEqual(self.activity.counts["put", "failed"], 2)

    def test_links(self) -> None:
        """A link that works once is used up before a byte is stored; one has a bound of its own."""
        self.gate.visitor = Visitor(None, "link", grant=Grant("PUT", "/upload/a", False, 0, 5, True, "n", "ann"))
        self.ask("PUT /upload/a", b"x" * 6, status=413)
        self.assertEqual(self.gate.used, [])
        self.ask("PUT /upload/a", b"x" * 5, status=201)
        self.assertEqual(self.told("PUT /upload/a", b"y", status=403)["error"], "LinkUsed")
        self.assertEqual(self.stored("a"), b"x" * 5)
        self.assertEqual(self.info("a").metadata["uploader"], ["ann"])

    def test_nobody(self) -> None:
        self.gate.visitor = None
        self.ask("PUT /upload/a", b"x", status=401)

    def test_what_curl_says_of_everything(self) -> None:
        """C{curl --data-binary @FILE} has a media type that the file has not."""
        self.ask("POST /upload/a", b"x", "Content-Type: application/x-www-form-urlencoded", status=201)
        self.assertEqual(self.info("a").content_type, "")
        for fields, kind in (([], "image/jpeg"), (["Content-Type: text/x"], "text/x")):
            self.ask("PUT /upload/p.jpg", b"x", *fields, status=201)
            self.assertEqual(self.info("p.jpg").content_type, kind)
            self.successResultOf(self.store.delete("uploads", "p.jpg"))

    def test_resumable(self) -> None:
        for method in ("PUT", "POST"):
            for field in ("Upload-Complete: ?1", "Upload-Complete: ?0"):
                self.ask(f"{method} /upload/a", b"x", field, status=204)
        self.assertEqual(self.resumed, [b"/upload/a"] * 4)

    def test_digests(self) -> None:
        for size in (0, 10, 5_000_000):
            data = b"x" * size
            for field in ("Content-Digest", "Repr-Digest"):
                self.ask("PUT /upload/good", data, f"{field}: {digest(data)}, {digest(data, 'sha-512')}, crc32c=:AAAA:",
                         status=200 if self.keys() else 201)  # fmt: skip
                told = self.told("PUT /upload/bad", data, f"{field}: {digest(data + b'y')}", status=400)
                self.assertEqual(told["error"], "ChecksumMismatch")
            both = (f"Content-Digest: {digest(data)}", f"Repr-Digest: {digest(b'other')}")
            self.ask("PUT /upload/bad", data, *both, status=400)
        self.assertEqual(self.keys(), ["good"])
        self.ask("PUT /upload/bad", b"x", "Content-Digest: sha-256=abc", status=400)
        self.nothing_held()

    def test_digest_of_a_large_file(self) -> None:
        """A file that went to the store as it came: it is not stored all the same."""
        data = b"x" * (20 << 20)
        self.ask("PUT /upload/bad", data, f"Repr-Digest: {digest(b'')}", status=400)
        self.assertEqual(self.keys(), [])
        self.ask("PUT /upload/good", data, f"Repr-Digest: {digest(data)}", status=201)
        self.assertEqual(len(self.stored("good")), len(data))
        self.nothing_held()


class SizeTests(ReceivingCase):
    """What is set for the size of a file."""

    max_size = 1000

    def test_announced(self) -> None:
        """Too much is refused before the body is read."""
        connection = self.connect()
        connection.send(request("PUT /upload/a", None, "Content-Length: 1001", "Expect: 100-continue"))
        (answer,) = split_answers(connection.received)
        self.assertEqual(answer.status, 413)
        self.ask("PUT /upload/a", b"x" * 1000, status=201)

    def test_not_announced(self) -> None:
        connection = self.connect()
        connection.send(request("PUT /upload/a", None, "Transfer-Encoding: chunked"))
        connection.send(b"3e9\r\n" + b"x" * 1001)
        self.assertEqual(split_answers(connection.received)[0].status, 413)
        self.assertEqual(self.keys(), [])
        self.nothing_held()


class RuleTests(ReceivingCase):
    """C{POST /upload/NAME}, under each rule for names that are taken."""

    def posted(self, rule: str, data: bytes, status: int = 201, *fields: str) -> Any:
        self.rule = rule
        self.make_door()
        return self.told("POST /upload/a.txt", data, *fields, status=status)

    def test_small(self) -> None:
        self.check(10)

    def test_large(self) -> None:
        self.check(9 << 20)

    def check(self, size: int) -> None:
        data = b"x" * size
        names = [self.posted("rename", data)["stored"][0]["name"] for _ in range(3)]
        self.assertEqual(names, ["a.txt", "a (1).txt", "a (2).txt"])
        self.assertEqual(self.posted("refuse", data, 409)["error"], "AlreadyExists")
        self.posted("replace", b"y" * size)
        self.posted("rename", data, 412, "If-None-Match: *")
        self.assertEqual(self.keys(), sorted(names))
        self.assertEqual(self.stored("a.txt"), b"y" * size)
        self.nothing_held()

    def test_at_once(self) -> None:
        """Large files of one name that come at the same time get names of their own, small ones among them."""
        size = 9 << 20
        connections = [self.connect() for _ in range(3)]
        for connection in connections:
            connection.send(request("POST /upload/a.txt", None, f"Content-Length: {size}") + b"x" * (size // 2))
        self.assertEqual(self.told("POST /upload/a.txt", b"small", status=201)["stored"][0]["name"], "a (3).txt")
        for connection in reversed(connections):
            connection.send(b"y" * (size - size // 2))
            self.assertEqual(split_answers(connection.received)[0].status, 201)
        self.assertEqual(self.keys(), ["a (1).txt", "a (2).txt", "a (3).txt", "a.txt"])
        self.nothing_held()

    def test_taken_meanwhile(self) -> None:
        """Somebody at another door was faster: nothing is overwritten."""
        size = 9 << 20
        connection = self.connect()
        connection.send(request("POST /upload/a.txt", None, f"Content-Length: {size}") + b"x" * (size // 2))
        self.put_before("a.txt", b"theirs")
        connection.send(b"y" * (size - size // 2))
        (answer,) = split_answers(connection.received)
        self.assertEqual(answer.status, 409)
        self.assertEqual((self.keys(), self.stored("a.txt")), (["a.txt"], b"theirs"))
        self.nothing_held()
        # And the name is free again.
        self.successResultOf(self.store.delete("uploads", "a.txt"))
        self.assertEqual(self.posted("rename", b"x" * size)["stored"][0]["name"], "a.txt")


class AloneTests(ReceivingCase):
    """L{Intake.store_file} alone."""

    def test_body_fails(self) -> None:
        from storehouse.frontends.upload.intake import FileHead
        from tests.frontends.upload.gates import ANN

        visitor = Visitor(ANN, "key")
        for size in (None, 20 << 20):
            head = FileHead("a", "a", "put", size)
            body = RequestBody(QuietConnection(), size)
            work = Deferred.fromCoroutine(self.intake.store_file(visitor, body, head))
            body.received(b"x" * 100)
            body.failed(BadRequest("broken"))
            self.failureResultOf(work, BadRequest)
            self.assertEqual(self.keys(), [])
            self.nothing_held()


class DigestFieldTests(SynchronousTestCase):
    """C{Content-Digest} and C{Repr-Digest}."""

    def test_fields(self) -> None:
        value = hashlib.sha256(b"x").digest()
        encoded = b64encode(value)
        for values, found in (
            ([], {}),
            ([b"sha-256=:" + encoded + b":"], {"sha256": value}),
            ([b"md5=:AAAA:, sha-256=:" + encoded + b":"], {"sha256": value}),
            ([b"md5=:AAAA:", b"sha-256=:" + encoded + b":"], {"sha256": value}),
            ([b"unixsum=:AAAA:"], {}),
        ):
            self.assertEqual(digests_in("Repr-Digest", values), found)
        for bad in (b"", b"x", b"sha-256", b"sha-256=" + encoded, b"sha-256=:AAAA:", b"sha-256=:A:", b"sha-256=:====:"):
            self.assertRaises(BadRequest, digests_in, "Repr-Digest", [bad])
        other = b64encode(hashlib.sha256(b"y").digest())
        self.assertRaises(
            BadRequest, digests_in, "Repr-Digest", [b"sha-256=:" + encoded + b":,sha-256=:" + other + b":"]
        )
