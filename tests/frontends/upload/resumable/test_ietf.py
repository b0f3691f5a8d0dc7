"""The IETF's resumable uploads, over connections in memory."""

from __future__ import annotations

import hashlib
import json
from base64 import b64encode

from crc32c import crc32c

from tests.conformance.dataspace import content
from tests.frontends.http.wire import Answer
from tests.frontends.upload.resumable.rig import ResumableDoorCase

TYPE = "Content-Type: application/partial-upload"
YES, NO = "Upload-Complete: ?1", "Upload-Complete: ?0"


def version(number: int) -> list[str]:
    """The field that names a draft; none for 0."""
    return [f"Upload-Draft-Interop-Version: {number}"] if number else []


class IETFCase(ResumableDoorCase):
    """Speaks the draft."""

    draft = 8

    def said(self, line: str, *fields: str, body: bytes | None = None, status: int = 201) -> Answer:
        return self.ask(line, *version(self.draft), *fields, body=body, status=status)

    def create(self, *fields: str, body: bytes = b"", name: str = "file") -> str:
        """@return: the URL of an upload that is not complete."""
        answer = self.said(f"PUT /upload/{name}", NO, *fields, body=body)
        self.assertEqual(answer.fields["upload-complete"], "?0")
        return answer.fields["location"]

    def patch(self, url: str, offset: int, data: bytes, *fields: str, status: int = 204) -> Answer:
        return self.said(f"PATCH {url}", TYPE, f"Upload-Offset: {offset}", *fields, body=data, status=status)

    def state(self, url: str) -> tuple[str, str]:
        answer = self.said(f"HEAD {url}", status=204)
        self.assertEqual(answer.fields["cache-control"], "no-store")
        return answer.fields["upload-offset"], answer.fields["upload-complete"]


class IETFTests(IETFCase):
    """The draft of interop version 8, and the final document."""

    def test_upgrade(self) -> None:
        """An ordinary upload with the field is answered as one without, and could have been resumed."""
        data = content(100_000)
        connection = self.begin(
            "PUT /upload/a%20b", *version(8), YES, "Upload-Length: 100000", "Content-Type: text/x", body=data
        )
        announced, final = self.answers(connection, "PUT")
        self.assertEqual(announced.status, 104)
        self.assertRegex(announced.fields["location"], "^/resumable/[0-9a-f]{32}$")
        self.assertEqual(announced.fields["upload-draft-interop-version"], "8")
        self.assertEqual(announced.fields["upload-limit"], "max-age=1000")
        self.assertEqual((final.status, final.fields["upload-complete"]), (201, "?1"))
        self.assertEqual(final.fields["location"], "/download/a%20b")
        (told,) = json.loads(final.body)["stored"]
        self.assertEqual((told["name"], told["size"], told["crc32c"]), ("a b", 100_000, f"{crc32c(data):08x}"))
        self.assertEqual((self.stored("a b"), self.info("a b").content_type), (data, "text/x"))
        self.assertEqual(self.info("a b").metadata["via"], ["ietf"])
        # The last answer was perhaps lost: it is given again.
        url = announced.fields["location"]
        self.assertEqual(self.state(url), ("100000", "?1"))
        again = self.patch(url, 100_000, b"", YES, status=201)
        self.assertEqual((again.body, again.fields["upload-complete"]), (final.body, "?1"))

    def test_not_as_it_is(self) -> None:
        """A body that is encoded, or a part of something, is not the file."""
        for field in ("Content-Encoding: gzip", "Content-Range: bytes 0-2/9", "Upload-Incomplete: ?1"):
            for method in ("PUT", "POST"):
                self.said(f"{method} /upload/file", YES, field, body=b"abc", status=400)
        self.assertEqual(self.keys_stored(), [])

    def test_media_type(self) -> None:
        for field, kind in (([], "image/jpeg"), (["Content-Type: text/x"], "text/x")):
            self.said("PUT /upload/p.jpg", YES, *field, body=b"x")
            self.assertEqual(self.info("p.jpg").content_type, kind)

    def test_unknown_fields(self) -> None:
        self.said("PUT /upload/file?bucket=photos", YES, body=b"abc", status=400)
        url = self.create(body=b"abc") + "?bucket=photos"
        self.patch(url, 3, b"", YES, status=400)
        self.said(f"HEAD {url}", status=400)
        self.said(f"DELETE {url}", status=400)
        self.assertEqual((self.state(url.partition("?")[0]), self.keys_stored()), (("3", "?0"), []))

    def test_no_length(self) -> None:
        """A request that has lost its body neither begins nor ends a file."""
        self.said("PUT /upload/file", YES, status=411)
        url = self.create(body=b"abc")
        self.said(f"PATCH {url}", TYPE, "Upload-Offset: 3", YES, status=411)
        self.assertEqual((self.state(url), self.keys_stored()), (("3", "?0"), []))

    def test_no_interim_answers(self) -> None:
        """They are for those only who name a draft that is spoken here."""
        for fields in ([], *map(version, (3, 4, 7, 9)), ["Upload-Draft-Interop-Version: x"]):
            connection = self.begin("PUT /upload/file", *fields, YES, body=b"abc")
            (answer,) = self.answers(connection, "PUT")
            self.assertEqual(answer.status, 201)
        connection = self.begin("PUT /upload/file", *version(8), YES, body=b"abc")
        self.assertEqual([answer.status for answer in self.answers(connection, "PUT")], [104, 201])

    def test_several_requests(self) -> None:
        url = self.create("Upload-Length: 9", body=b"abc")
        self.assertEqual(self.state(url), ("3", "?0"))
        head = self.said(f"GET {url}", status=204)
        self.assertEqual((head.fields["upload-length"], head.fields["upload-limit"]), ("9", "max-age=1000"))
        answer = self.patch(url, 3, b"def", NO)
        self.assertEqual((answer.fields["upload-complete"], answer.fields["upload-offset"]), ("?0", "6"))
        self.assertNotIn("location", answer.fields)
        answer = self.patch(url, 6, b"ghi", YES, status=201)
        self.assertEqual((answer.fields["upload-complete"], self.stored("file")), ("?1", b"abcdefghi"))

    def test_unknown_length(self) -> None:
        """The end is where the client says it is."""
        url = self.create()
        self.assertNotIn("upload-length", self.said(f"HEAD {url}", status=204).fields)
        self.patch(url, 0, b"abc", NO)
        self.patch(url, 3, b"", YES, status=201)
        self.assertEqual(self.stored("file"), b"abc")
        url = self.create(name="other")
        self.patch(url, 0, b"ab", NO, "Upload-Length: 4")
        self.assertEqual(self.said(f"HEAD {url}", status=204).fields["upload-length"], "4")
        self.patch(url, 2, b"cd", YES, status=201)

    def test_empty(self) -> None:
        self.said("PUT /upload/file", YES, body=b"")
        self.assertEqual(self.stored("file"), b"")
        url = self.create("Upload-Length: 0", name="other")
        self.assertEqual(self.state(url), ("0", "?0"))
        self.patch(url, 0, b"", YES, status=201)
        self.assertEqual(self.stored("other"), b"")

    def test_broken_off(self) -> None:
        """What came is kept, and progress is reported now and then."""
        connection = self.begin("PUT /upload/file", *version(8), YES, "Content-Length: 9")
        connection.send(b"abc")
        self.clock.advance(11)
        connection.send(b"def")
        first, second = self.answers(connection, "PUT")
        self.assertEqual((first.status, second.status), (104, 104))
        self.assertNotIn("location", second.fields)
        self.assertEqual(second.fields["upload-offset"], "3")
        connection.close()
        url = first.fields["location"]
        self.assertEqual(self.state(url), ("6", "?0"))
        self.patch(url, 6, b"ghi", YES, status=201)
        self.assertEqual(self.stored("file"), b"abcdefghi")

    def test_taken_over(self) -> None:
        """A new request ends the one before, with what came of it kept."""
        url = self.create("Upload-Length: 9")
        stale = self.begin(f"PATCH {url}", *version(8), TYPE, "Upload-Offset: 0", YES, "Content-Length: 9")
        stale.send(b"abc")
        self.assertEqual(self.state(url), ("3", "?0"))
        (answer,) = self.answers(stale, "PATCH")
        self.assertEqual((answer.status, answer.fields["upload-complete"]), (409, "?0"))
        self.patch(url, 3, b"defghi", YES, status=201)
        self.assertEqual(self.stored("file"), b"abcdefghi")

    def test_mismatching_offset(self) -> None:
        url = self.create(body=b"abc")
        answer = self.patch(url, 5, b"x", YES, status=409)
        self.assertEqual(answer.fields["content-type"], "application/problem+json")
        self.assertEqual((answer.fields["upload-offset"], answer.fields["upload-complete"]), ("3", "?0"))
        problem = json.loads(answer.body)
        self.assertEqual(
            (problem["type"], problem["expected-offset"], problem["provided-offset"]),
            ("https://iana.org/assignments/http-problem-types#mismatching-upload-offset", 3, 5),
        )

    def test_inconsistent_length(self) -> None:
        """Whatever says how long it is must say the same."""
        problems = [self.said("PUT /upload/file", YES, "Upload-Length: 4", body=b"abc", status=400)]
        url = self.create("Upload-Length: 9", body=b"abc")
        problems.append(self.patch(url, 3, b"x", NO, "Upload-Length: 8", status=400))
        problems.append(self.patch(url, 3, b"short", YES, status=400))
        problems.append(self.said("PUT /upload/file", NO, "Upload-Length: 2", body=b"abc", status=400))
        problems.append(self.patch(url, 3, b"", NO, "Upload-Length: 2", status=400))
        for answer in problems:
            kind = "https://iana.org/assignments/http-problem-types#inconsistent-upload-length"
            self.assertEqual(json.loads(answer.body)["type"], kind)
        self.assertEqual(self.state(url), ("3", "?0"))

    def test_empty_is_a_length(self) -> None:
        """That a file is said to be empty counts, also when it is not yet complete; nothing more is taken then."""
        for body, status in ((b"abc", 413), (b"", 201)):
            url = self.create("Upload-Length: 0")
            self.assertEqual(self.said(f"HEAD {url}", status=204).fields["upload-length"], "0")
            self.assertEqual(self.state(url), ("0", "?0"))
            self.patch(url, 0, b"", NO)
            for last in (YES, NO):
                self.patch(url, 0, b"", last, "Upload-Length: 3", status=400)
            self.patch(url, 0, body, NO if body else YES, status=status)
        self.assertEqual(self.stored("file"), b"")
        self.said("PUT /upload/other", NO, "Upload-Length: 0", body=b"abc", status=400)
        self.assertEqual(self.keys_stored(), ["file"])

    def test_length_of_a_last_one(self) -> None:
        """A length that is said with the last content of a length that is not known must be right, too."""
        url = self.create(body=b"abc")
        line, fields = f"PATCH {url}", (TYPE, "Upload-Offset: 3", "Transfer-Encoding: chunked")
        connection = self.begin(line, *version(8), *fields, YES, "Upload-Length: 9")
        connection.send(b"1\r\nd\r\n0\r\n\r\n")
        (answer,) = self.answers(connection, "PATCH")
        self.assertEqual((answer.status, self.keys_stored()), (400, []))
        self.assertEqual(self.state(url), ("4", "?0"))
        self.patch(url, 4, b"efghi", YES, status=201)
        self.assertEqual(self.stored("file"), b"abcdefghi")
        self.patch(url, 9, b"", YES, "Upload-Length: 8", status=400)
        self.patch(url, 9, b"", YES, "Upload-Length: 9", status=201)

    def test_too_much(self) -> None:
        """More than the length makes the upload worthless."""
        url = self.create("Upload-Length: 5", body=b"abc")
        self.patch(url, 3, b"defg", NO, status=413)
        self.said(f"HEAD {url}", status=410)

    def test_complete(self) -> None:
        """What is complete takes nothing more."""
        url = self.create()
        self.patch(url, 0, b"abc", YES, status=201)
        self.patch(url, 0, b"abc", YES, status=409)
        self.patch(url, 3, b"x", YES, status=400)
        self.patch(url, 3, b"", NO, status=400)
        self.assertEqual(self.stored("file"), b"abc")

    def test_refused(self) -> None:
        url = self.create()
        line = f"PATCH {url}"
        self.said(line, "Upload-Offset: 0", YES, body=b"x", status=415)
        self.said(line, TYPE, YES, body=b"x", status=400)
        self.said(line, TYPE, "Upload-Offset: 0", body=b"x", status=400)
        for offset in ("-1", "x", '"0"', "?0", "0, 0", "1.0"):
            self.said(line, TYPE, f"Upload-Offset: {offset}", YES, body=b"x", status=400)
        for path in ("/resumable/" + 32 * "0", "/resumable/x", "/resumable"):
            self.said(f"HEAD {path}", status=404)
            self.said(f"PATCH {path}", TYPE, "Upload-Offset: 0", YES, body=b"x", status=404)
            self.said(f"DELETE {path}", status=404)
        self.said("PUT /upload/file", YES, 'If-Match: "x"', body=b"x", status=400)
        self.assertEqual(self.state(url), ("0", "?0"))

    def test_malformed_flag(self) -> None:
        """Taken for none, what is a part of a file would be stored as the whole."""
        for value in ("0", "false", "?2", '"?0"', "?0, ?0", "", "?1;a=" + 252 * "b"):
            for method in ("PUT", "POST"):
                self.said(f"{method} /upload/file", f"Upload-Complete: {value}", body=b"abc", status=400)
        self.said("PUT /upload/file", NO, "Upload-Length: many", body=b"abc", status=400)
        self.assertEqual(self.keys_stored(), [])
        # A parameter changes nothing.
        for value in ("?1;a=b", "?1;a=" + 251 * "b"):
            answer = self.said("PUT /upload/file", f"Upload-Complete: {value}", body=b"abc")
            self.assertEqual(answer.fields["upload-complete"], "?1")

    def test_removed(self) -> None:
        url = self.create(body=b"abc")
        answer = self.said(f"DELETE {url}", status=204)
        self.assertNotIn("content-length", answer.fields)
        self.said(f"HEAD {url}", status=410)
        self.assertEqual(self.successResultOf(self.store.list_uploads("uploads")), [])

    def test_options(self) -> None:
        for path in ("/upload", "/upload/file", "/resumable/x"):
            self.assertEqual(self.said(f"OPTIONS {path}", status=204).fields["upload-limit"], "max-age=1000")

    def test_names(self) -> None:
        """PUT replaces, POST does what is set, and both as they do without the field."""
        self.said("PUT /upload/file", YES, body=b"one")
        self.said("PUT /upload/file", YES, body=b"two")
        self.assertEqual(self.stored("file"), b"two")
        answer = self.said("POST /upload/file", YES, body=b"three")
        self.assertEqual(json.loads(answer.body)["stored"][0]["name"], "file (1)")
        self.said("PUT /upload/file", YES, "If-None-Match: *", body=b"four", status=409)
        self.assertEqual((self.stored("file"), self.stored("file (1)")), (b"two", b"three"))

    def test_content_digest(self) -> None:
        """Content that is not what was announced counts not at all."""
        data = content(700_000)
        right = b64encode(hashlib.sha256(data).digest()).decode()
        wrong = b64encode(hashlib.sha256(b"").digest()).decode()
        url = self.create()
        self.patch(url, 0, data, NO, f"Content-Digest: sha-256=:{wrong}:", status=400)
        self.assertEqual(self.state(url), ("0", "?0"))
        self.patch(url, 0, data, NO, f"Content-Digest: md5=:AAAA:, sha-256=:{right}:")
        self.patch(url, 700_000, data, YES, f"Content-Digest: sha-256=:{right}:", status=201)
        self.assertEqual(self.stored("file"), 2 * data)
        self.draft = 0
        self.said("PUT /upload/other", YES, f"Content-Digest: sha-256=:{wrong}:", body=data, status=400)
        self.assertEqual(self.keys_stored(), ["file"])
        self.assertEqual(self.successResultOf(self.uploads.list()), [])

    def test_representation_digest(self) -> None:
        """A file that comes in one request, and is not what was announced, does not become one."""
        data = content(700_000)
        right = b64encode(hashlib.sha512(data).digest()).decode()
        wrong = b64encode(hashlib.sha256(b"").digest()).decode()
        self.said("PUT /upload/file", YES, f"Repr-Digest: sha-256=:{wrong}:", body=data, status=400)
        self.assertEqual((self.keys_stored(), self.successResultOf(self.uploads.list())), ([], []))
        both = b64encode(hashlib.sha256(data).digest()).decode()
        answer = self.said(
            "PUT /upload/file", YES, f"Repr-Digest: sha-512=:{right}:", f"Content-Digest: sha-256=:{both}:", body=data
        )
        self.assertEqual((answer.fields["upload-complete"], self.stored("file")), ("?1", data))
        self.said("PUT /upload/empty", YES, f"Repr-Digest: sha-256=:{wrong}:", body=b"")
        self.assertEqual(self.stored("empty"), b"")
        # What breaks off can be resumed, unverified.
        connection = self.begin(
            "PUT /upload/other", *version(8), YES, f"Repr-Digest: sha-256=:{wrong}:", "Content-Length: 6"
        )
        connection.send(b"abc")
        connection.close()
        url = self.answers(connection, "PUT")[0].fields["location"]
        self.patch(url, 3, b"def", YES, status=201)
        self.assertEqual(self.stored("other"), b"abcdef")

    def test_whose(self) -> None:
        url = self.create("Upload-Length: 6", body=b"abc")
        for user, status in (("", 401), ("bob", 404)):
            self.as_user = user
            self.said(f"HEAD {url}", status=status)
            self.patch(url, 3, b"x", YES, status=status)
            self.said(f"DELETE {url}", status=status)
        self.as_user = ""
        self.said("PUT /upload/file", YES, body=b"abc", status=401)
        self.as_user = "root"
        self.assertEqual(self.state(url), ("3", "?0"))

    def test_link(self) -> None:
        """A link that works once is for one upload, in as many requests as that takes."""
        link = self.link("/upload/file", once=True, max_bytes=6)
        self.as_user = ""
        self.said(f"PUT /upload/file?{link}", YES, body=b"too many", status=413)
        url = self.said(f"PUT /upload/file?{link}", NO, body=b"abc").fields["location"]
        self.assertTrue(url.endswith(link))
        self.said(f"PUT /upload/file?{link}", NO, body=b"abc", status=403)
        self.assertEqual(self.state(url), ("3", "?0"))
        self.patch(url, 3, b"def", YES, status=201)
        self.assertEqual(self.stored("file"), b"abcdef")


class FinalDocumentTests(IETFCase):
    """Requests that name no draft."""

    draft = 0

    def test_several_requests(self) -> None:
        url = self.create("Upload-Length: 6", body=b"abc")
        self.assertEqual(self.state(url), ("3", "?0"))
        self.assertEqual(self.patch(url, 3, b"def", YES, status=201).fields["upload-complete"], "?1")
        self.assertEqual(self.stored("file"), b"abcdef")


class OldDraftTests(IETFCase):
    """Interop versions 5 and 6."""

    def test_version_5(self) -> None:
        """No media type, and 201 with an offset for all that is stored."""
        self.draft = 5
        url = self.create(body=b"abc")
        answer = self.said(f"PATCH {url}", "Upload-Offset: 3", NO, body=b"def", status=201)
        self.assertEqual((answer.fields["upload-offset"], answer.fields["upload-complete"]), ("6", "?0"))
        self.said(f"PATCH {url}", "Upload-Offset: 6", body=b"ghi", status=201)
        self.assertEqual(self.state(url), ("9", "?0"))
        self.said(f"HEAD {url}", "Upload-Offset: 0", status=400)
        self.said(f"DELETE {url}", YES, status=400)
        answer = self.said(f"PATCH {url}", "Upload-Offset: 9", YES, body=b"", status=201)
        self.assertEqual((answer.fields["upload-offset"], self.stored("file")), ("9", b"abcdefghi"))

    def test_version_6(self) -> None:
        """The media type is needed, and the limit of time has another name."""
        self.draft = 6
        connection = self.begin("PUT /upload/file", *version(6), NO, body=b"abc")
        announced, answer = self.answers(connection, "PUT")
        self.assertEqual(announced.fields["upload-draft-interop-version"], "6")
        self.assertEqual((announced.fields["upload-limit"], answer.status), ("expires=1000", 201))
        url = announced.fields["location"]
        self.assertEqual(answer.fields["location"], url)
        self.said(f"PATCH {url}", "Upload-Offset: 3", YES, body=b"def", status=415)
        self.patch(url, 3, b"def", YES, status=201)
        self.assertEqual(self.stored("file"), b"abcdef")


class BoundedTests(IETFCase):
    """With bounds."""

    max_size = 5
    expiry = 0.0

    def test_max_size(self) -> None:
        self.assertEqual(self.said("OPTIONS /upload", status=204).fields["upload-limit"], "max-size=5")
        answer = self.said("PUT /upload/file", YES, body=b"abcdef", status=413)
        self.assertEqual(answer.fields["upload-limit"], "max-size=5")
        url = self.create()
        self.patch(url, 0, b"abcdef", NO, status=413)


class UnboundedTests(IETFCase):
    """Without any."""

    expiry = 0.0

    def test_no_limits(self) -> None:
        self.assertEqual(self.said("OPTIONS /upload", status=204).fields["upload-limit"], "min-size=0")
