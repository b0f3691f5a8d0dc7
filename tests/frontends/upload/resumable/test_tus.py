"""tus 1.0.0, over connections in memory."""

from __future__ import annotations

import hashlib
from base64 import b64encode

from crc32c import crc32c
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from storehouse.errors import BadRequest
from storehouse.frontends.upload.resumable.tus import (
    checksum_in,
    metadata_in,
    number_in,
    pieces_in,
    text_of_metadata,
)
from tests.conformance.dataspace import content
from tests.frontends.http.wire import Answer, Connection
from tests.frontends.upload.resumable.rig import ResumableDoorCase

TUS = "Tus-Resumable: 1.0.0"
TYPE = "Content-Type: application/offset+octet-stream"


def meta(**values: str) -> str:
    """C{Upload-Metadata}."""
    return "Upload-Metadata: " + ",".join(
        f"{key} {b64encode(value.encode()).decode()}" for key, value in values.items()
    )


def digest(algorithm: str, data: bytes) -> str:
    """What C{Upload-Checksum} says."""
    found = crc32c(data).to_bytes(4, "big") if algorithm == "crc32c" else hashlib.new(algorithm, data).digest()
    return f"{algorithm} {b64encode(found).decode()}"


def chunked(*chunks: bytes, trailers: bytes = b"") -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n" + trailers + b"\r\n"


class FieldTests(SynchronousTestCase):
    """What the fields say, taken apart."""

    @given(st.binary(max_size=100))
    def test_garbage(self, value: bytes) -> None:
        """Whatever comes is understood, or refused."""
        for decode in (metadata_in, checksum_in, pieces_in, lambda value: number_in("it", value)):
            try:
                decode(value)
            except BadRequest:
                pass

    @given(st.dictionaries(st.from_regex(r"[a-z]{1,9}", fullmatch=True), st.text(max_size=20), min_size=1, max_size=5))
    def test_metadata(self, metadata: dict[str, str]) -> None:
        """It is told as it came."""
        try:
            text = text_of_metadata(metadata)
        except UnicodeEncodeError:
            return
        self.assertEqual(list(metadata_in(text).items()), list(metadata.items()))


class TusCase(ResumableDoorCase):
    """Speaks tus."""

    def tus(self, line: str, *fields: str, body: bytes | None = None, status: int = 204) -> Answer:
        answer = self.ask(line, TUS, *fields, body=body, status=status)
        self.assertEqual(answer.fields["tus-resumable"], "1.0.0")
        return answer

    def create(self, *fields: str, query: str = "") -> str:
        """@return: the URL of a new upload."""
        return self.tus(f"POST /tus/{query}", *fields, body=b"", status=201).fields["location"]

    def patch(self, url: str, offset: int, data: bytes, *fields: str, status: int = 204) -> Answer:
        return self.tus(f"PATCH {url}", TYPE, f"Upload-Offset: {offset}", *fields, body=data, status=status)

    def head(self, url: str, status: int = 200) -> Answer:
        return self.tus(f"HEAD {url}", status=status)

    def offset(self, url: str) -> int:
        return int(self.head(url).fields["upload-offset"])


class TusTests(TusCase):
    """The protocol and its extensions."""

    def test_unknown_fields(self) -> None:
        self.tus("POST /tus/?bucket=photos", "Upload-Length: 0", body=b"", status=400)
        url = self.create("Upload-Length: 3") + "?offset=0"
        self.tus(f"PATCH {url}", TYPE, "Upload-Offset: 0", body=b"abc", status=400)
        self.tus(f"HEAD {url}", status=400)
        self.tus(f"DELETE {url}", status=400)
        self.assertEqual((self.offset(url.partition("?")[0]), self.keys_stored()), (0, []))

    def test_no_length(self) -> None:
        """A request that says of which type its body is, and has lost it, begins nothing."""
        self.tus("POST /tus/", TYPE, "Upload-Length: 0", meta(filename="a"), status=411)
        self.assertEqual(self.keys_stored(), [])

    def test_body_as_it_is(self) -> None:
        """What says that it is compressed, or counts its bytes in another way than tus, is not added."""
        url = self.create("Upload-Length: 3", meta(filename="a"))
        for field in ("Content-Encoding: gzip", "Content-Range: bytes 0-2/3"):
            self.tus(f"PATCH {url}", TYPE, "Upload-Offset: 0", field, body=b"abc", status=400)
        self.assertEqual(self.offset(url), 0)

    def test_options(self) -> None:
        """Anybody can get the capabilities, for any version in the request."""
        self.as_user = ""
        for line in ("OPTIONS /tus/", "OPTIONS /tus"):
            answer = self.ask(line, "Tus-Resumable: 9.9.9", status=204)
            self.assertEqual(answer.fields["tus-version"], "1.0.0")
            self.assertEqual(answer.fields["tus-checksum-algorithm"], "sha1,sha256,crc32c")
            self.assertEqual(
                answer.fields["tus-extension"].split(","),
                [
                    "creation",
                    "creation-with-upload",
                    "creation-defer-length",
                    "expiration",
                    "checksum",
                    "checksum-trailer",
                    "termination",
                    "concatenation",
                    "concatenation-unfinished",
                ],
            )
            self.assertNotIn("tus-max-size", answer.fields)
            self.assertNotIn("content-length", answer.fields)

    def test_upload(self) -> None:
        """Created, added to, looked at, complete."""
        data = content(100_000)
        url = self.create("Upload-Length: 100000", meta(filename="h\xe4.bin", filetype="text/x", empty=""))
        self.assertRegex(url, "^/tus/[0-9a-f]{32}$")
        answer = self.head(url)
        self.assertEqual(answer.fields["upload-offset"], "0")
        self.assertEqual(answer.fields["upload-length"], "100000")
        self.assertEqual(answer.fields["cache-control"], "no-store")
        self.assertEqual(answer.fields["upload-metadata"], "filename aMOkLmJpbg==,filetype dGV4dC94,empty")
        self.assertEqual(answer.fields["content-length"], "0")
        answer = self.patch(url, 0, data[:60_000])
        self.assertEqual(answer.fields["upload-offset"], "60000")
        self.assertNotIn("content-type", answer.fields)
        self.assertEqual(self.offset(url), 60_000)
        self.assertEqual(self.patch(url, 60_000, data[60_000:]).fields["upload-offset"], "100000")
        self.assertEqual(self.stored("h\xe4.bin"), data)
        info = self.info("h\xe4.bin")
        self.assertEqual(info.content_type, "text/x")
        for said in ({}, {"filetype": "application/octet-stream"}):
            self.create("Upload-Length: 0", meta(filename="p.jpg", **said))
        self.assertEqual([self.info(name).content_type for name in ("p.jpg", "p (1).jpg")], 2 * ["image/jpeg"])
        self.assertEqual(info.metadata["filename"], ["h\xe4.bin"])
        self.assertEqual((info.metadata["uploader"], info.metadata["via"]), (["ann"], ["tus"]))
        self.assertEqual(info.metadata["crc32c"], [f"{crc32c(data):08x}"])
        # A client whose last answer was lost finds it complete.
        answer = self.head(url)
        self.assertEqual((answer.fields["upload-offset"], answer.fields["upload-length"]), ("100000", "100000"))
        self.assertEqual([(each.kind, each.size) for each in self.activity.recent], [("tus", 100_000)])
        self.assertEqual((self.memory.sessions, self.activity.uploads), (0, []))

    def test_kept_alive(self) -> None:
        """Answers without a body do not cost the connection."""
        url = self.create("Upload-Length: 6")
        connection = self.begin(f"PATCH {url}", TUS, TYPE, "Upload-Offset: 0", body=b"abc")
        self.assertFalse(connection.is_closed)
        connection.channel.dataReceived(
            f"PATCH {url} HTTP/1.1\r\nHost: x\r\n{TUS}\r\n{TYPE}\r\nUpload-Offset: 3\r\n"
            f"{self.fields()[0]}\r\nContent-Length: 3\r\n\r\ndef".encode()
        )
        self.assertEqual(connection.received.count(b"HTTP/1.1 204 No Content"), 2)
        self.assertEqual(self.offset(url), 6)

    def test_version(self) -> None:
        url = self.create("Upload-Length: 3")
        for fields in ((), ("Tus-Resumable: 0.2.2",), ("Tus-Resumable: 1.0.0, 0.2.2",)):
            for line, body in (
                (f"HEAD {url}", None),
                (f"PATCH {url}", b"abc"),
                ("POST /tus/", b""),
                (f"DELETE {url}", None),
            ):
                answer = self.ask(line, *fields, TYPE, "Upload-Offset: 0", "Upload-Length: 3", body=body, status=412)
                self.assertEqual(answer.fields["tus-version"], "1.0.0")
        self.assertEqual(self.offset(url), 0)

    def test_refused_patches(self) -> None:
        """What is wrong is said, and changes nothing."""
        url = self.create("Upload-Length: 5")
        self.patch(url, 0, b"ab")
        self.patch(url, 0, b"ab", status=409)
        self.patch(url, 3, b"ab", status=409)
        self.patch(url, 2, b"abcd", status=413)
        for offset in ("-1", "x", "", "1" * 40, "2.0", "0x2"):
            self.tus(f"PATCH {url}", TYPE, f"Upload-Offset: {offset}", body=b"c", status=400)
        self.tus(f"PATCH {url}", TYPE, body=b"c", status=400)
        self.tus(f"PATCH {url}", "Upload-Offset: 2", body=b"c", status=415)
        self.tus(f"PATCH {url}", "Content-Type: text/plain", "Upload-Offset: 2", body=b"c", status=415)
        self.assertEqual(self.offset(url), 2)
        for path in ("/tus/" + 32 * "0", "/tus/x", "/tus/" + 32 * "0" + "/x", "/tus/../x"):
            self.tus(f"PATCH {path}", TYPE, "Upload-Offset: 0", body=b"c", status=404)
            self.assertNotIn("upload-offset", self.head(path, 404).fields)
            self.tus(f"DELETE {path}", status=404)
        self.tus(f"POST {url}", "Upload-Length: 1", body=b"", status=405)
        self.ask("PUT /tus/", TUS, body=b"", status=405)

    def test_refused_creations(self) -> None:
        for fields in (
            (),
            ("Upload-Length: x",),
            ("Upload-Length: -1",),
            ("Upload-Length: 1", "Upload-Defer-Length: 1"),
            ("Upload-Defer-Length: 2",),
            ("Upload-Length: 1", "Upload-Metadata: filename !!!"),
            ("Upload-Length: 1", "Upload-Metadata: a YQ==,a YQ=="),
            ("Upload-Length: 1", "Upload-Metadata: ,"),
            ("Upload-Length: 1", "Upload-Metadata: filename /w=="),
            ("Upload-Length: 1", meta(filename="a\nb")),
            ("Upload-Length: 1", meta(filename="a", relativePath="../a")),
            ("Upload-Length: 1", "Upload-Concat: whole"),
            ("Upload-Concat: final;",),
            ("Upload-Concat: final;/tus/x",),
            ("Upload-Concat: final;/tus/" + 32 * "0", "Upload-Length: 3"),
        ):
            self.tus("POST /tus/", *fields, body=b"", status=400)
        self.tus("POST /tus/", "Upload-Concat: final;/tus/" + 32 * "0", body=b"", status=404)
        self.tus("POST /tus/", "Upload-Length: 3", "Content-Type: text/plain", body=b"abc", status=415)
        self.assertEqual(self.successResultOf(self.uploads.list()), [])

    def test_names(self) -> None:
        """A name is that of the metadata; folders are kept where they are sent; a name that is taken gets a number."""
        for values, key in (
            ({"filename": "a.txt"}, "a.txt"),
            ({"filename": "C:\\x\\a.txt"}, "a (1).txt"),
            ({"name": "b", "relativePath": "null"}, "b"),
            ({"filename": "c.txt", "relativePath": "d/e/c.txt"}, "d/e/c.txt"),
            ({"filename": "../../etc/passwd"}, "passwd"),
        ):
            self.create("Upload-Length: 0", meta(**values))
            self.assertEqual(self.stored(key), b"")
        self.create("Upload-Length: 0")
        self.assertRegex(self.keys_stored()[-1], "^unnamed-[0-9a-f]{8}$")

    def test_with_upload(self) -> None:
        """The first request may bring bytes, all or some."""
        answer = self.tus("POST /tus/", "Upload-Length: 5", TYPE, meta(filename="a"), body=b"whole", status=201)
        self.assertEqual((answer.fields["upload-offset"], self.stored("a")), ("5", b"whole"))
        self.assertNotIn("upload-expires", answer.fields)
        answer = self.tus("POST /tus/", "Upload-Length: 5", TYPE, meta(filename="b"), body=b"pa", status=201)
        self.assertEqual(answer.fields["upload-offset"], "2")
        self.patch(answer.fields["location"], 2, b"rts")
        self.assertEqual(self.stored("b"), b"parts")
        answer = self.tus("POST /tus/", "Upload-Length: 5", TYPE, body=b"too many", status=201)
        self.assertEqual(answer.fields["upload-offset"], "0")

    def test_deferred_length(self) -> None:
        url = self.create("Upload-Defer-Length: 1", meta(filename="a"))
        answer = self.head(url)
        self.assertEqual(answer.fields["upload-defer-length"], "1")
        self.assertNotIn("upload-length", answer.fields)
        self.patch(url, 0, b"abc")
        self.patch(url, 3, b"def", "Upload-Length: 7")
        answer = self.head(url)
        self.assertEqual(answer.fields["upload-length"], "7")
        self.assertNotIn("upload-defer-length", answer.fields)
        self.patch(url, 6, b"g", "Upload-Length: 8", status=400)
        self.patch(url, 6, b"g", "Upload-Length: 7")
        self.assertEqual(self.stored("a"), b"abcdefg")

    def test_empty_with_bytes(self) -> None:
        """What is said to be empty is not stored as that if it comes with bytes."""
        self.tus("POST /tus/", TYPE, "Upload-Length: 0", meta(filename="a"), body=b"abc", status=400)
        self.assertEqual((self.keys_stored(), self.successResultOf(self.uploads.list())), ([], []))

    def test_deferred_length_that_cannot_be(self) -> None:
        """It is not taken from a request that is refused."""
        url = self.create("Upload-Defer-Length: 1", meta(filename="a"))
        self.patch(url, 0, b"abc")
        self.patch(url, 3, b"def", "Upload-Length: 5", status=400)
        self.patch(url, 3, b"", "Upload-Length: 2", status=400)
        self.patch(url, 0, b"abc", "Upload-Length: 3", status=409)
        self.assertEqual(self.head(url).fields["upload-defer-length"], "1")
        self.patch(url, 3, b"de", "Upload-Length: 5")
        self.assertEqual(self.stored("a"), b"abcde")

    def test_deferred_length_alone(self) -> None:
        """A client that reads a stream may learn only behind its last byte that it was the last."""
        for body in (b"", None):
            url = self.create("Upload-Defer-Length: 1", meta(filename="a"))
            self.patch(url, 0, b"abc")
            answer = self.tus(f"PATCH {url}", TYPE, "Upload-Offset: 3", "Upload-Length: 3", body=body)
            self.assertEqual(answer.fields["upload-offset"], "3")
            self.assertIn("content-location", answer.fields)
        self.assertEqual([self.stored("a"), self.stored("a (1)")], 2 * [b"abc"])

    def test_override(self) -> None:
        """Other methods may be meant than those that are sent; but not by those that promise to change nothing."""
        url = self.create("Upload-Length: 3")
        as_patch = "X-HTTP-Method-Override: PATCH"
        self.tus(f"POST {url}", as_patch, TYPE, "Upload-Offset: 0", body=b"abc")
        self.assertEqual(self.offset(url), 3)
        self.tus(f"GET {url}", "X-HTTP-Method-Override: DELETE", status=200)
        for method in ("HEAD", "GET", "OPTIONS", "PUT", "X", ""):
            answer = self.tus(f"POST {url}", f"X-HTTP-Method-Override: {method}", body=b"", status=400)
            self.assertEqual(len(answer.body), int(answer.fields["content-length"]))
            self.assertGreater(len(answer.body), 0)
        self.tus(f"POST {url}", "X-HTTP-Method-Override: DELETE", body=b"")
        self.head(url, 410)

    def test_broken_off(self) -> None:
        """What came of a request that breaks off is kept."""
        url = self.create("Upload-Length: 6")
        connection = self.begin(f"PATCH {url}", TUS, TYPE, "Upload-Offset: 0", "Content-Length: 6")
        connection.send(b"abc")
        connection.close()
        self.assertEqual(self.offset(url), 3)
        self.patch(url, 3, b"def")
        self.assertEqual((self.memory.sessions, self.activity.uploads), (0, []))

    def test_taken_over(self) -> None:
        """A request that hangs is ended when the client comes anew, with what came of it kept; nobody gets 423."""
        url = self.create("Upload-Length: 9", meta(filename="a"))
        for first, second in ((b"abc", True), (b"def", False)):
            offset = self.offset(url)
            stale = self.begin(f"PATCH {url}", TUS, TYPE, f"Upload-Offset: {offset}", f"Content-Length: {9 - offset}")
            stale.send(first)
            if second:
                self.assertEqual(self.offset(url), offset + 3)
            else:
                self.patch(url, offset, first, status=409)
            (answer,) = self.answers(stale, "PATCH")
            self.assertEqual((answer.status, answer.fields["connection"]), (409, "close"))
        self.patch(url, 6, b"ghi")
        self.assertEqual(self.stored("a"), b"abcdefghi")

    def test_expires(self) -> None:
        url = self.create("Upload-Length: 6")
        self.assertEqual(self.head(url).fields["upload-expires"], "Tue, 14 Nov 2023 22:30:00 GMT")
        self.clock.advance(900)
        self.assertEqual(self.patch(url, 0, b"abc").fields["upload-expires"], "Tue, 14 Nov 2023 22:45:00 GMT")
        self.clock.advance(1001)
        self.head(url, 410)
        self.patch(url, 3, b"def", status=410)
        self.assertEqual(self.successResultOf(self.uploads.expire()), 1)
        self.head(url, 410)

    def test_terminated(self) -> None:
        url = self.create("Upload-Length: 6")
        self.patch(url, 0, b"abc")
        answer = self.tus(f"DELETE {url}")
        self.assertNotIn("content-type", answer.fields)
        self.head(url, 410)
        self.patch(url, 3, b"def", status=410)
        self.tus(f"DELETE {url}", status=410)
        self.assertEqual(self.successResultOf(self.store.list_uploads("uploads")), [])

    # -- checksums -----------------------------------------------------------------------------

    def test_checksum(self) -> None:
        """A request whose bytes are not what was announced counts not at all."""
        data = content(700_000)
        url = self.create(f"Upload-Length: {3 * len(data)}", meta(filename="a"))
        for number, algorithm in enumerate(("sha1", "sha256", "crc32c")):
            offset = number * len(data)
            wrong = digest(algorithm, data[:-1])
            self.patch(url, offset, data, f"Upload-Checksum: {wrong}", status=460)
            self.assertEqual(self.offset(url), offset)
            self.patch(url, offset, data, f"Upload-Checksum: {digest(algorithm, data)}")
        self.assertEqual(self.stored("a"), 3 * data)

    def test_checksum_refused(self) -> None:
        url = self.create("Upload-Length: 3")
        for value in ("md5 YWJj", "sha1", "sha1 !!", "sha1 YWJj", "SHA1 " + digest("sha1", b"abc")[5:], ""):
            self.patch(url, 0, b"abc", f"Upload-Checksum: {value}", status=400)
        self.assertEqual(self.offset(url), 0)

    def test_checksum_broken_off(self) -> None:
        """Without the last byte there is no checksum, so that nothing counts."""
        url = self.create("Upload-Length: 3")
        connection = self.begin(
            f"PATCH {url}",
            TUS,
            TYPE,
            "Upload-Offset: 0",
            "Content-Length: 3",
            f"Upload-Checksum: {digest('sha1', b'abc')}",
        )
        connection.send(b"ab")
        connection.close()
        self.assertEqual(self.offset(url), 0)

    def test_checksum_at_creation(self) -> None:
        checked = f"Upload-Checksum: {digest('sha1', b'abc')}"
        self.tus("POST /tus/", "Upload-Length: 3", TYPE, checked, body=b"abd", status=460)
        self.assertEqual(self.successResultOf(self.uploads.list()), [])
        self.tus("POST /tus/", "Upload-Length: 3", TYPE, checked, body=b"abc", status=201)

    def trailing(self, url: str, offset: int, body: bytes, *fields: str) -> Answer:
        connection = self.begin(
            f"PATCH {url}", TUS, TYPE, f"Upload-Offset: {offset}", "Transfer-Encoding: chunked", *fields
        )
        connection.send(body)
        (answer,) = self.answers(connection, "PATCH")
        connection.close()
        return answer

    def test_checksum_trailer(self) -> None:
        """A checksum may follow the body."""
        url = self.create("Upload-Length: 18", meta(filename="a"))
        announced = "Trailer: X-Other, upload-checksum"
        for number, algorithm in enumerate(("sha1", "sha256", "crc32c")):
            offset = 6 * number
            for data, status in ((b"abcdeX", 460), (b"abcdef", 204)):
                trailers = f"X-Other: y\r\nUpload-Checksum: {digest(algorithm, b'abcdef')}\r\n".encode()
                body = chunked(data[:2], data[2:], trailers=trailers)
                answer = self.trailing(url, offset, body, announced)
                self.assertEqual((answer.status, self.offset(url)), (status, offset + (6 if status == 204 else 0)))
        self.assertEqual(self.stored("a"), 3 * b"abcdef")

    def test_checksum_trailer_refused(self) -> None:
        """One that was announced and does not come, or comes twice, or cannot be read, is as bad as a wrong one."""
        url = self.create("Upload-Length: 9")
        right = f"Upload-Checksum: {digest('sha1', b'abc')}\r\n".encode()
        for trailers in (b"", b"X: y\r\n", right + right, b"Upload-Checksum: md5 YWJj\r\n", b"Upload-Checksum\r\n"):
            answer = self.trailing(url, 0, chunked(b"abc", trailers=trailers), "Trailer: Upload-Checksum")
            self.assertEqual((answer.status, self.offset(url)), (400, 0))
        # One that was not announced is none: it could not be computed any more.
        self.assertEqual(self.trailing(url, 0, chunked(b"abc", trailers=right)).status, 204)

    # -- concatenation -------------------------------------------------------------------------

    def test_concatenation(self) -> None:
        first = self.create("Upload-Length: 3", "Upload-Concat: partial")
        second = self.create("Upload-Length: 3", "Upload-Concat: partial", meta(filename="part"))
        self.patch(first, 0, b"abc")
        self.assertEqual(self.head(first).fields["upload-concat"], "partial")
        final = self.create(f"Upload-Concat: final;{first} https://x{second}", meta(filename="a"))
        answer = self.head(final)
        self.assertEqual(answer.fields["upload-concat"], f"final;{first} {second}")
        self.assertEqual(answer.fields["upload-length"], "6")
        self.assertNotIn("upload-offset", answer.fields)
        self.patch(final, 0, b"x", status=403)
        self.assertEqual(self.keys_stored(), [])
        self.patch(second, 0, b"def")
        answer = self.head(final)
        self.assertEqual((answer.fields["upload-offset"], answer.fields["upload-length"]), ("6", "6"))
        self.assertEqual((self.stored("a"), self.keys_stored()), (b"abcdef", ["a"]))
        again = self.create(f"Upload-Concat: final;{second} {first}", meta(filename="b"))
        self.assertEqual((self.offset(again), self.stored("b")), (6, b"defabc"))
        self.tus("POST /tus/", f"Upload-Concat: final;{second} {second}", body=b"", status=400)
        self.patch(final, 6, b"x", status=403)

    def test_concatenation_of_others(self) -> None:
        """Nobody joins what is somebody else's, or no part."""
        mine = self.create("Upload-Length: 3")
        self.as_user = "bob"
        theirs = self.create("Upload-Length: 3", "Upload-Concat: partial")
        self.as_user = "ann"
        self.tus("POST /tus/", f"Upload-Concat: final;{theirs}", body=b"", status=404)
        self.tus("POST /tus/", f"Upload-Concat: final;{mine}", body=b"", status=400)

    # -- admission -------------------------------------------------------------------------------

    def test_whose(self) -> None:
        """An upload is resumed by the user who began it, and by administrators."""
        url = self.create("Upload-Length: 6", meta(filename="a"))
        self.as_user = ""
        self.tus("POST /tus/", "Upload-Length: 3", body=b"", status=401)
        self.head(url, 401)
        self.patch(url, 0, b"abc", status=401)
        self.as_user = "bob"
        self.head(url, 404)
        self.patch(url, 0, b"abc", status=404)
        self.tus(f"DELETE {url}", status=404)
        self.as_user = "root"
        self.patch(url, 0, b"abc")
        self.as_user = "ann"
        self.patch(url, 3, b"def")
        self.assertEqual(self.stored("a"), b"abcdef")

    def test_link(self) -> None:
        """A link for one name stores under that, and is needed to continue; another one is of no use."""
        link, other = self.link("/upload/a b", max_bytes=6), self.link("/upload/a b")
        self.as_user = ""
        self.tus(f"POST /tus/?{link}", "Upload-Length: 7", body=b"", status=413)
        url = self.create("Upload-Length: 6", meta(filename="named otherwise"), query=f"?{link}")
        self.assertTrue(url.endswith(link))
        path = url.partition("?")[0]
        self.head(path, 401)
        self.head(f"{path}?{other}", 404)
        self.head(f"{path}?{link[:-1]}x", 403)
        self.patch(url, 0, b"abcdef")
        self.assertEqual(self.offset(url), 6)
        self.assertEqual((self.stored("a b"), self.info("a b").metadata["uploader"]), (b"abcdef", ["ann"]))

    def test_link_for_any_name(self) -> None:
        """What a link is for is a name as people write them, not as URLs do."""
        names = ("r\xe9sum\xe9.pdf", "dir/\u65e5\u672c.txt", "a%41.txt", "100%", "a+b c", "\U0001f600", "d\xe9p\xf4t/a")
        links = {name: self.link(f"/upload/{name}") for name in names}
        folder = self.link("/upload/d\xe9p\xf4t%41/", is_prefix=True)
        self.as_user = ""
        for name, link in links.items():
            url = self.create("Upload-Length: 3", meta(filename="other"), query=f"?{link}")
            self.patch(url, 0, b"abc")
            self.assertEqual((self.offset(url), self.stored(name)), (3, b"abc"))
        url = self.create("Upload-Length: 3", meta(filename="\xe9%41"), query=f"?{folder}")
        self.patch(url, 0, b"abc")
        self.assertEqual(self.stored("d\xe9p\xf4t%41/\xe9%41"), b"abc")
        self.tus("POST /tus/?signature=x&path=/upload/%FF", "Upload-Length: 3", body=b"", status=400)

    def test_link_for_a_folder(self) -> None:
        link = self.link("/upload/in/", is_prefix=True)
        self.as_user = ""
        url = self.create("Upload-Length: 1", meta(filename="a", relativePath="b/a"), query=f"?{link}")
        self.patch(url, 0, b"x")
        self.assertEqual(self.keys_stored(), ["in/b/a"])
        self.create("Upload-Length: 0", meta(filename="x", relativePath="in/c"), query=f"?{link}")
        self.assertEqual(self.keys_stored(), ["in/b/a", "in/c"])

    def test_link_that_works_once(self) -> None:
        """It is for one upload, however many requests that takes."""
        link = self.link("/upload/a", once=True)
        self.as_user = ""
        url = self.create("Upload-Length: 6", query=f"?{link}")
        self.patch(url, 0, b"abc")
        self.tus(f"POST /tus/?{link}", "Upload-Length: 6", body=b"", status=403)
        self.patch(url, 3, b"def")
        self.assertEqual(self.stored("a"), b"abcdef")

    def test_parallel_by_a_link_that_works_once(self) -> None:
        """It is for one upload: partial ones would be as many as anybody likes."""
        link = self.link("/upload/a", once=True)
        self.as_user = ""
        answer = self.tus(f"POST /tus/?{link}", "Upload-Length: 3", "Upload-Concat: partial", body=b"", status=403)
        self.assertIn("LinkOutOfScope", answer.body.decode())
        self.assertEqual(self.successResultOf(self.uploads.list()), [])
        # It is not used up by that.
        self.patch(self.create("Upload-Length: 3", query=f"?{link}"), 0, b"abc")
        self.assertEqual(self.stored("a"), b"abc")

    def test_parallel_by_a_bounded_link(self) -> None:
        """Partial uploads have together what one upload may have."""
        link, other = (self.link("/upload/a", max_bytes=10) for _ in range(2))
        self.as_user = ""
        partial = "Upload-Concat: partial"
        first = self.create("Upload-Length: 6", partial, query=f"?{link}")
        second = self.create("Upload-Length: 4", partial, query=f"?{link}")
        for length in ("Upload-Length: 1", "Upload-Defer-Length: 1"):
            self.tus(f"POST /tus/?{link}", length, partial, body=b"", status=413)
        self.create("Upload-Defer-Length: 1", partial, query=f"?{other}")
        self.tus(f"POST /tus/?{other}", "Upload-Length: 1", partial, body=b"", status=413)
        self.patch(first, 0, b"abcdef")
        self.patch(second, 0, b"ghij")
        pieces = " ".join(url.partition("?")[0] for url in (first, second))
        self.create(f"Upload-Concat: final;{pieces}", query=f"?{link}")
        self.assertEqual(self.stored("a"), b"abcdefghij")

    def test_expectation(self) -> None:
        """A client that waits for 100 Continue sends no body that is refused."""
        url = self.create("Upload-Length: 3")
        connection: Connection = self.begin(
            f"PATCH {url}", TUS, TYPE, "Upload-Offset: 1", "Content-Length: 2", "Expect: 100-continue"
        )
        self.assertEqual([answer.status for answer in self.answers(connection, "PATCH")], [409])
        connection = self.begin(
            f"PATCH {url}", TUS, TYPE, "Upload-Offset: 0", "Content-Length: 3", "Expect: 100-continue"
        )
        self.assertEqual([answer.status for answer in self.answers(connection, "PATCH")], [100])
        connection.send(b"abc")
        self.assertEqual([answer.status for answer in self.answers(connection, "PATCH")], [100, 204])


class BoundedTusTests(TusCase):
    """With bounds."""

    max_size = 10
    sessions = 1
    expiry = 0.0

    def test_max_size(self) -> None:
        self.assertEqual(self.ask("OPTIONS /tus/", status=204).fields["tus-max-size"], "10")
        self.tus("POST /tus/", "Upload-Length: 11", body=b"", status=413)
        url = self.create("Upload-Defer-Length: 1")
        self.assertNotIn("upload-expires", self.head(url).fields)
        self.patch(url, 0, b"12345678901", status=413)
        self.patch(url, 0, b"", "Upload-Length: 11", status=413)

    def test_max_size_of_pieces(self) -> None:
        """A final upload that is too long once its parts are there is given up."""
        pieces = [self.create("Upload-Defer-Length: 1", "Upload-Concat: partial") for _ in range(3)]
        final = self.create(f"Upload-Concat: final;{' '.join(pieces)}")
        for url in pieces:
            self.patch(url, 0, b"0123456789", "Upload-Length: 10")
        self.head(final, 410)
        self.assertEqual(self.keys_stored(), [])
        self.tus("POST /tus/", f"Upload-Concat: final;{' '.join(pieces)}", body=b"", status=413)

    def test_too_many(self) -> None:
        """One upload too many is answered at once, and can be tried again."""
        first, second = self.create("Upload-Length: 3"), self.create("Upload-Length: 3")
        connection = self.begin(f"PATCH {first}", TUS, TYPE, "Upload-Offset: 0", "Content-Length: 3")
        self.patch(second, 0, b"abc", status=503)
        connection.send(b"abc")
        self.patch(second, 0, b"abc")
