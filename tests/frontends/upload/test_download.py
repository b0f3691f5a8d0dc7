"""Tests of L{storehouse.frontends.upload.download}: what is on the wire."""

from __future__ import annotations

import os
from base64 import b64encode
from typing import Any
from urllib.parse import quote

import attrs
from twisted.web.http import datetimeToString

from storehouse.core.streams import BytesStream
from tests.frontends.http.wire import Connection, request, split_answers
from tests.frontends.objects.test_door import KEYS
from tests.frontends.upload.downloads import NOW, STORED, DownloadCase, parts_of

DATA = bytes(range(256)) * 20
SIZE = len(DATA)


def date(seconds: float) -> str:
    """As fields have it."""
    return datetimeToString(seconds).decode()


class GetTests(DownloadCase):
    """Whole files."""

    def test_fields(self) -> None:
        info = self.put("folder/a.txt", DATA, content_type="text/plain", metadata={"crc32c": ["0123abcd"]})
        answer = self.ask("GET /download/folder/a.txt")
        self.assertEqual(answer.body, DATA)
        expected = {
            "content-type": "text/plain",
            "content-length": str(SIZE),
            "etag": f'"{info.etag}"',
            "last-modified": date(STORED),
            "cache-control": "private, no-cache",
            "accept-ranges": "bytes",
            "content-disposition": 'attachment; filename="a.txt"',
            "x-content-type-options": "nosniff",
            "content-security-policy": "sandbox; default-src 'none'",
            "repr-digest": f"crc32c=:{b64encode(bytes.fromhex('0123abcd')).decode()}:",
        }
        self.assertEqual({name: answer.fields.get(name) for name in expected}, expected)
        head = self.ask("HEAD /download/folder/a.txt")
        self.assertEqual((head.fields, head.body), (answer.fields, b""))
        self.assertEqual(self.gate.asked, [("get", "uploads")] * 2)

    def test_every_key(self) -> None:
        """Whatever came by another door."""
        for key in KEYS:
            self.put(key, key.encode())
        for key in KEYS:
            self.assertEqual(self.ask(f"GET /download/{quote(key, safe='')}").body, key.encode())
        for path in ("%ff", "%4", "%ed%a0%80", "x" * 1025):
            self.ask(f"GET /download/{path}", status=400)
        self.assertEqual(self.told("GET /download/nothing", status=404)["error"], "NoSuchKey")

    def test_empty(self) -> None:
        self.put("a", b"")
        answer = self.ask("GET /download/a")
        self.assertEqual((answer.body, answer.fields["content-length"]), (b"", "0"))
        self.ask("GET /download/a", "Range: bytes=0-", status=416)
        self.assertEqual(self.ask("GET /download/a", "Range: bytes=-1").body, b"")

    def test_shown(self) -> None:
        """Only on request, and only what does no harm."""
        self.put("a.png", b"x", content_type="image/png")
        self.put("a.html", b"<script>", content_type="text/html")
        for path, way, content_type in (
            ("a.png", "attachment", "image/png"),
            ("a.png?inline=1", "inline", "image/png"),
            ("a.png?inline=0", "attachment", "image/png"),
            ("a.html?inline=1", "attachment", "application/octet-stream"),
        ):
            fields = self.ask(f"GET /download/{path}").fields
            self.assertEqual(
                (fields["content-disposition"].partition(";")[0], fields["content-type"]), (way, content_type), path
            )
            self.assertIn("sandbox", fields["content-security-policy"])

    def test_nothing_breaks_out(self) -> None:
        """Neither a name nor what is known of an object ends its line of the head."""
        key = "a\r\nSet-Cookie: x=1\r\n\r\n<script>"
        metadata = {"crc32c": ["0123abcd\r\nX: y"], "filename": ["\r\nX: y"]}
        self.put(key, b"x", content_type="text/plain\r\nX: y", metadata=metadata)
        answer = self.ask(f"GET /download/{quote(key, safe='')}")
        self.assertEqual((answer.body, answer.fields["content-type"]), (b"x", "application/octet-stream"))
        self.assertEqual(set(answer.fields) & {"set-cookie", "x", "repr-digest"}, set())

    def test_query(self) -> None:
        """A field that would go unread is refused, but in links, which are signed as a whole."""
        self.put("a", b"x")
        self.ask("GET /download/a?inlined=1", status=400)
        self.gate.with_link(once=False)
        self.ask("GET /download/a?signature=x&expires=1")

    def test_statistics(self) -> None:
        self.put("a", DATA)
        self.ask("GET /download/a")
        self.ask("GET /download/a", "Range: bytes=0-9", status=206)
        self.ask("HEAD /download/a")
        self.ask("GET /download/a", "If-None-Match: *", status=304)
        self.assertEqual(self.activity.sent, SIZE + 10)
        self.assertEqual(self.activity.counts, {("download", "begun"): 2, ("download", "done"): 2})
        self.assertEqual(self.activity.downloads, [])

    def test_methods(self) -> None:
        answer = self.ask("PUT /download/a", status=405, body=b"x")
        self.assertEqual(answer.fields["allow"], "DELETE, GET, HEAD, POST")
        for method in ("DELETE", "POST"):
            self.ask(f"{method} /download", status=405, body=b"")


class WhoTests(DownloadCase):
    """The gate decides."""

    def setUp(self) -> None:
        super().setUp()
        self.successResultOf(self.store.create_bucket("photos"))
        self.put("a", b"ours")
        self.put("a", b"theirs", "photos")

    def test_nobody(self) -> None:
        self.gate.visitor = None
        for line in ("GET /download/a", "GET /download/none", "DELETE /download/a", "GET /download/a?bucket=photos"):
            self.ask(line, status=401, body=b"" if line.startswith("D") else None)
        self.assertEqual(self.gate.asked, [("get", "uploads"), ("get", "uploads"), ("delete", ""), ("get", "photos")])

    def test_public(self) -> None:
        self.gate.visitor = None
        self.gate.public = {"photos"}
        answer = self.ask("GET /download/a?bucket=photos")
        self.assertEqual((answer.body, answer.fields["cache-control"]), (b"theirs", "no-cache"))
        self.ask("GET /download/a", status=401)

    def test_other_bucket(self) -> None:
        self.assertEqual(self.ask("GET /download/a?bucket=photos").body, b"theirs")
        self.assertEqual(self.told("GET /download/a?bucket=none", status=404)["error"], "NoSuchBucket")
        self.ask("GET /download/a?bucket=..", status=400)
        # Others are only read.
        self.ask("DELETE /download/a?bucket=photos", status=400, body=b"")

    def test_link_is_used_up(self) -> None:
        """When bytes are sent, and not before."""
        self.gate.with_link()
        self.ask("HEAD /download/a?signature=x")
        self.ask("GET /download/none?signature=x", status=404)
        self.ask("GET /download/a?signature=x", "If-None-Match: *", status=304)
        self.ask("GET /download/a?signature=x", "Range: bytes=99-", status=416)
        self.assertEqual(self.gate.used, [])
        self.assertEqual(self.ask("GET /download/a?signature=x").body, b"ours")
        self.assertEqual(self.told("GET /download/a?signature=x", status=403)["error"], "LinkUsed")


class ConditionTests(DownloadCase):
    """RFC 9110, section 13."""

    def setUp(self) -> None:
        super().setUp()
        self.tag = self.put("a", DATA).etag

    def test_table(self) -> None:
        tag, now = f'"{self.tag}"', date(STORED)
        earlier, later = date(STORED - 1), date(STORED + 1)
        for status, *fields in [
            (200, f"If-Match: {tag}"),
            (200, "If-Match: *"),
            (200, f'If-Match: "x", {tag}'),
            (200, 'If-Match: "x"', f"If-Match: {tag}"),
            (200, f'If-Match: ,"a,b" ,, {tag},'),
            (412, 'If-Match: "x"'),
            (412, f"If-Match: W/{tag}"),
            (412, "If-Match:"),
            (400, f"If-Match: {self.tag}"),
            (400, f"If-Match: {tag} {tag}"),
            (400, f"If-Match: *, {tag}"),
            (400, 'If-None-Match: "x'),
            (304, f"If-None-Match: {tag}"),
            (304, f"If-None-Match: W/{tag}"),
            (304, f'If-None-Match: "x", W/{tag}'),
            (304, "If-None-Match: *"),
            (200, 'If-None-Match: "x"'),
            (304, f"If-Modified-Since: {now}"),
            (304, f"If-Modified-Since: {later}"),
            (200, f"If-Modified-Since: {earlier}"),
            (200, f"If-Unmodified-Since: {now}"),
            (200, f"If-Unmodified-Since: {later}"),
            (412, f"If-Unmodified-Since: {earlier}"),
            # Dates that are none, and fields that are there twice, are left unread.
            (200, "If-Modified-Since: tomorrow"),
            (200, "If-Unmodified-Since: 0"),
            (200, f"If-Modified-Since: {later}", f"If-Modified-Since: {later}"),
            (200, "If-Modified-Since: Thu, 32 Foo 99999999999 99:99:99 GMT"),
            # Precedence: tags over dates, matching over not matching.
            (200, f"If-Match: {tag}", f"If-Unmodified-Since: {earlier}"),
            (412, 'If-Match: "x"', f"If-Unmodified-Since: {later}"),
            (200, 'If-None-Match: "x"', f"If-Modified-Since: {later}"),
            (304, f"If-None-Match: {tag}", f"If-Modified-Since: {earlier}"),
            (304, f"If-Match: {tag}", f"If-None-Match: {tag}"),
            (412, 'If-Match: "x"', f"If-None-Match: {tag}"),
            (412, f"If-Unmodified-Since: {earlier}", f"If-None-Match: {tag}"),
            (304, f"If-Unmodified-Since: {now}", f"If-Modified-Since: {now}"),
            # Conditions come before ranges.
            (304, f"If-None-Match: {tag}", "Range: bytes=0-1"),
            (412, 'If-Match: "x"', "Range: bytes=99999-"),
            (206, f"If-Match: {tag}", "Range: bytes=0-1"),
        ]:
            answer = self.ask("GET /download/a", *fields, status=status)
            if 304 != status != 206:
                head = self.ask("HEAD /download/a", *fields, status=status)
                self.assertEqual(head.fields, answer.fields)
            elif status == 304:
                self.ask("HEAD /download/a", *fields, status=304)

    def test_other_forms_of_dates(self) -> None:
        """Of RFC 850, and of asctime."""
        for text in ("Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"):
            self.ask("GET /download/a", f"If-Unmodified-Since: {text}", status=412)

    def test_not_modified(self) -> None:
        """What 304 has: the fields that a cache renews, and nothing of a body."""
        answer = self.ask("GET /download/a", f'If-None-Match: "{self.tag}"', status=304)
        self.assertEqual(
            (answer.fields["etag"], answer.fields["last-modified"], answer.fields["cache-control"], answer.body),
            (f'"{self.tag}"', date(STORED), "private, no-cache", b""),
        )
        for name in ("content-type", "content-length", "transfer-encoding", "content-disposition"):
            self.assertNotIn(name, answer.fields)

    def test_not_modified_keeps_the_connection(self) -> None:
        connection = Connection(self.site)
        connection.send(request("GET /download/a", None, "If-None-Match: *") + request("GET /download/a"))
        answers = split_answers(connection.received)
        self.assertEqual([answer.status for answer in answers], [304, 200])

    def test_etag_that_cannot_be_sent(self) -> None:
        """An object of another program's may have none; its ID stands for it."""
        infos = [self.put("a", DATA)]
        head = self.store.head
        get = self.store.get
        for etag in ("", 'a"b', "a\r\nX: y", "\xe4"):

            def other_head(bucket: str, key: str, etag: str = etag) -> Any:
                return head(bucket, key).addCallback(lambda info: attrs.evolve(info, etag=etag))

            def other_get(*args: Any, etag: str = etag) -> Any:
                def change(reader: Any) -> Any:
                    return attrs.evolve(reader, info=attrs.evolve(reader.info, etag=etag))

                return get(*args).addCallback(change)

            self.patch(self.store, "head", other_head)
            self.patch(self.store, "get", other_get)
            for line in ("GET /download/a", "HEAD /download/a"):
                self.assertEqual(self.ask(line).fields["etag"], f'"{infos[0].id}"')
            self.ask("GET /download/a", f'If-None-Match: "{infos[0].id}"', status=304)


class RangeTests(DownloadCase):
    """RFC 9110, section 14."""

    def setUp(self) -> None:
        super().setUp()
        self.tag = self.put("a", DATA, content_type="text/plain").etag

    def test_one(self) -> None:
        for text, offset, end in (
            ("0-0", 0, 1),
            ("0-", 0, SIZE),
            ("999-1000", 999, 1001),
            ("5000-9999", 5000, SIZE),
            ("-7", SIZE - 7, SIZE),
            ("-99999", 0, SIZE),
            ("1-2,2-5,6-6", 1, 7),
            ("0-1,9999-", 0, 2),
        ):
            answer = self.ask("GET /download/a", f"Range: bytes={text}", status=206)
            self.assertEqual(answer.body, DATA[offset:end])
            self.assertEqual(answer.fields["content-range"], f"bytes {offset}-{end - 1}/{SIZE}")
            self.assertEqual(answer.fields["content-type"], "text/plain")
            self.assertEqual(answer.fields["etag"], f'"{self.tag}"')
            self.assertIn("content-disposition", answer.fields)

    def test_none(self) -> None:
        for text in (f"{SIZE}-", "9999-99999", "-0", "9999-,8888-"):
            answer = self.ask("GET /download/a", f"Range: bytes={text}", status=416)
            self.assertEqual(answer.fields["content-range"], f"bytes */{SIZE}")

    def test_left_unread(self) -> None:
        for text in ("bytes=-", "bytes=5-1", "lines=1-2", "bytes=a-b", "bytes=" + ",".join(["1-1"] * 33)):
            answer = self.ask("GET /download/a", f"Range: {text}")
            self.assertEqual(answer.body, DATA)
            self.assertNotIn("content-range", answer.fields)
        self.assertEqual(self.ask("HEAD /download/a", "Range: bytes=1-2").fields["content-length"], str(SIZE))
        self.ask("GET /download/a", "Range: bytes=1-2", "Range: bytes=4-5", status=400)

    def test_if_range(self) -> None:
        for status, value in [
            (206, f'"{self.tag}"'),
            (200, '"other"'),
            (200, f'W/"{self.tag}"'),
            (200, self.tag),
            (206, date(STORED)),
            (200, date(STORED + 1)),
            (200, date(STORED - 1)),
            (200, "tomorrow"),
        ]:
            for wanted in ("1-2", "1-2,5-6"):
                answer = self.ask("GET /download/a", f"Range: bytes={wanted}", f"If-Range: {value}", status=status)
                self.assertEqual(len(answer.body) == SIZE, status == 200)
        # It is of no account without a range, and makes one that is not there all.
        self.ask("GET /download/a", 'If-Range: "other"')
        self.ask("GET /download/a", 'If-Range: "other"', "Range: bytes=99999-")
        self.ask("GET /download/a", f'If-Range: "{self.tag}"', "Range: bytes=99999-", status=416)

    def test_if_range_within_the_second(self) -> None:
        """A file may have been replaced twice in a second: its date says too little."""
        self.now = NOW + 0.25
        self.put("a", DATA)
        self.ask("GET /download/a", "Range: bytes=1-2", f"If-Range: {date(NOW)}", status=200)
        self.clock.advance(1)
        self.ask("GET /download/a", "Range: bytes=1-2", f"If-Range: {date(NOW)}", status=206)

    def test_several(self) -> None:
        answer = self.ask("GET /download/a", "Range: bytes=4000-4999, 0-1, -3, 3-3,99999-", status=206)
        self.assertEqual(
            parts_of(answer),
            [
                (f"bytes 0-1/{SIZE}", "text/plain", DATA[:2]),
                (f"bytes 3-3/{SIZE}", "text/plain", DATA[3:4]),
                (f"bytes 4000-4999/{SIZE}", "text/plain", DATA[4000:5000]),
                (f"bytes 5117-5119/{SIZE}", "text/plain", DATA[-3:]),
            ],
        )
        self.assertNotIn("content-range", answer.fields)
        self.assertEqual(int(answer.fields["content-length"]), len(answer.body))
        self.assertEqual(answer.fields["etag"], f'"{self.tag}"')

    def test_several_of_much(self) -> None:
        """For a peer that reads slowly, no more than a little is held; and the connection goes on."""
        data = os.urandom(3_000_000)
        self.put("big", data)
        connection = Connection(self.site, window=1000)
        connection.send(request("GET /download/big", None, "Range: bytes=0-999999,1000001-2000000,2000002-"))
        while len(connection.transport.waiting):
            connection.transport.take(100_000)
        connection.send(request("GET /download/a"))
        connection.transport.take(100_000)
        self.assertLess(connection.transport.most_waiting, 600_000)
        answers = split_answers(connection.received)
        self.assertEqual([part[2] for part in parts_of(answers[0])],
                         [data[:1000000], data[1000001:2000001], data[2000002:]])  # fmt: skip
        self.assertEqual(answers[1].body, DATA)

    def test_replaced_between_ranges(self) -> None:
        """The answer ends: it never has bytes of two files."""
        data = os.urandom(3_000_000)
        self.put("big", data)
        connection = Connection(self.site, window=1000)
        connection.send(request("GET /download/big", None, "Range: bytes=0-999999,1000001-"))
        self.put("big", os.urandom(3_000_000))
        connection.transport.take(10_000_000)
        connection.settle()
        self.assertTrue(connection.is_closed)
        body = connection.received.partition(b"\r\n\r\n")[2]
        self.assertIn(data[:1000000], body)
        self.assertNotIn(b"--\r\n", body[-4:])
        self.assertEqual(self.activity.counts["download", "failed"], 1)

    def test_replaced_before(self) -> None:
        """It is looked at anew; in the end one is tired of it."""
        head = self.store.head
        times = 3

        def head_then_replace(bucket: str, key: str) -> Any:
            nonlocal times
            found = head(bucket, key)
            if times:
                times -= 1
                data = DATA[: 10 * times + 5]
                self.successResultOf(self.store.put("uploads", "a", BytesStream(data), len(data)))
            return found

        self.patch(self.store, "head", head_then_replace)
        answer = self.ask("GET /download/a", "Range: bytes=-2", status=206)
        self.assertEqual((answer.body, answer.fields["content-range"]), (DATA[3:5], "bytes 3-4/5"))
        times = 99
        self.assertEqual(self.told("GET /download/a", "Range: bytes=-2", status=503)["error"], "Unavailable")


class BreakTests(DownloadCase):
    """Answers that do not come to their end."""

    def test_damage(self) -> None:
        """All before the damaged block arrives, then the connection ends."""
        data = os.urandom(3_500)
        self.damage(self.put("a", data), 1_500)
        for window in (None, 100):
            connection = Connection(self.site, window)
            connection.send(request("GET /download/a") + request("GET /download/a"))
            if window is not None:
                connection.transport.take(100_000)
                connection.settle()
            self.assertEqual(connection.received.partition(b"\r\n\r\n")[2], data[:1000])
            self.assertTrue(connection.is_closed)
        self.ask("GET /download/a", "Range: bytes=1000-1001", status=500)
        self.assertEqual(self.ask("GET /download/a", "Range: bytes=2000-", status=206).body, data[2000:])
        connection = Connection(self.site)
        connection.send(request("GET /download/a", None, "Range: bytes=0-1,1000-1001,2000-2001"))
        self.assertTrue(connection.is_closed)
        self.assertEqual(self.activity.counts["download", "failed"], 3)
        self.assertEqual(self.activity.downloads, [])

    def test_reader_that_leaves(self) -> None:
        """What is open is closed, so that deleted bytes go."""
        for field in ((), ("Range: bytes=0-2000000,2000002-",)):
            info = self.put("a", os.urandom(3_000_000))
            connection = Connection(self.site, window=1000)
            connection.send(request("GET /download/a", None, *field))
            connection.close()
            self.ask("DELETE /download/a", body=b"")
            self.assertFalse(os.path.exists(os.path.join(self.directory, "objects", "data", info.id[:2], info.id)))
        self.assertEqual(self.activity.downloads, [])


class DeleteTests(DownloadCase):
    """C{DELETE}, and the form of the page."""

    def test_delete(self) -> None:
        tag = self.put("a", b"x", metadata={"uploader": ["ann"]}).etag
        told = self.told("DELETE /download/a", body=b"")
        self.assertEqual((told["name"], told["etag"], told["uploader"]), ("a", tag, "ann"))
        self.ask("GET /download/a", status=404)
        self.ask("DELETE /download/a", status=404, body=b"")
        self.assertEqual(self.gate.asked[0], ("delete", ""))

    def test_conditions(self) -> None:
        tag = f'"{self.put("a", b"x").etag}"'
        for field in (
            *('If-Match: "x"', f"If-Match: W/{tag}", f"If-None-Match: {tag}", "If-None-Match: *"),
            f"If-Unmodified-Since: {date(STORED - 1)}",
        ):
            self.ask("DELETE /download/a", field, status=412, body=b"")
        self.ask("DELETE /download/a", f"If-Modified-Since: {date(STORED)}", f'If-Match: "x", {tag}', body=b"")
        self.ask("DELETE /download/a", "If-Match: *", status=404, body=b"")

    def test_replaced_meanwhile(self) -> None:
        """What was looked at is not there any more: nothing is removed."""
        tag = self.put("a", b"x").etag
        head = self.store.head

        def head_then_replace(bucket: str, key: str) -> Any:
            found = head(bucket, key)
            self.put("a", b"another")
            return found

        self.patch(self.store, "head", head_then_replace)
        self.ask("DELETE /download/a", f'If-Match: "{tag}"', status=412, body=b"")
        self.assertEqual(self.ask("GET /download/a").body, b"another")

    def test_form(self) -> None:
        """With the session's token; afterwards to the list, and nowhere else."""
        self.gate.with_session()
        for target, place in (
            (b"%2Fdownload%3Fprefix%3Da%252F", "/download?prefix=a%2F"),
            (b"https%3A%2F%2Fevil.example%2F", "/download"),
            (b"%2Fdownload%0D%0AX%3A+y", "/download"),
            (b"%2Fdownloads", "/download"),
            (b"", "/download"),
        ):
            self.put("a b", b"x")
            for form in (b"", b"csrf=wrong&action=delete", b"action=delete"):
                self.ask("POST /download/a%20b", status=403, body=form)
            self.ask("POST /download/a%20b", status=400, body=b"csrf=token")
            answer = self.ask("POST /download/a%20b", status=303, body=b"csrf=token&action=delete&next=" + target)
            self.assertEqual(answer.fields["location"], place)
            self.ask("GET /download/a%20b", status=404)
        self.ask("POST /download/a", status=413, body=b"x" * 70_000)
