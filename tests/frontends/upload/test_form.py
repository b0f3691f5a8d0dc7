"""Forms: L{storehouse.frontends.upload.upload}."""

from __future__ import annotations

import json
from typing import Any

from crc32c import crc32c
from twisted.internet.defer import Deferred

from storehouse.core.fast.transports import LARGE_READS
from storehouse.errors import NoSpace
from tests.frontends.http.test_multipart import DISPOSITION, MALFORMED, file, part, whole
from tests.frontends.http.wire import request, split_answers
from tests.frontends.upload.receiving import ReceivingCase

KIND = "Content-Type: multipart/form-data; boundary=frontier"


class FormTests(ReceivingCase):
    """Forms, whole."""

    def test_files_and_fields(self) -> None:
        body = whole(
            part(b"a note", '; name="note"'),
            file(b"first", filename="a.txt"),
            part(b"", '; name="more"'),
            file(b"", filename="empty.txt"),
            part(b"\0" * 100_000, '; name="f"; filename="käse.bin"', "Content-Type: image/png"),
        )
        told = self.post(body)
        self.assertEqual([each["name"] for each in told["stored"]], ["a.txt", "empty.txt", "käse.bin"])
        self.assertEqual(told["stored"][0]["size"], 5)
        self.assertEqual(told["stored"][2]["url"], "/download/k%C3%A4se.bin")
        self.assertNotIn("error", told)
        self.assertEqual(self.stored("a.txt"), b"first")
        self.assertEqual(self.stored("empty.txt"), b"")
        info = self.info("käse.bin")
        self.assertEqual((info.size, info.content_type, info.etag), (100_000, "image/png", told["stored"][2]["etag"]))
        crc = f"{crc32c(bytes(100_000)):08x}"
        self.assertEqual(
            dict(info.metadata), {"filename": ["käse.bin"], "uploader": ["ann"], "via": ["form"], "crc32c": [crc]}
        )
        self.assertEqual(told["stored"][2]["crc32c"], crc)
        self.nothing_held()
        self.assertEqual([(upload.name, upload.kind) for upload in self.activity.recent][-1], ("käse.bin", "form"))
        self.assertEqual(self.activity.received, 100_005)

    def test_media_types(self) -> None:
        """Where the client knows nothing of a file, its name says what it is."""
        for field, kind in (
            ([], "image/jpeg"),
            (["Content-Type: application/octet-stream"], "image/jpeg"),
            (["Content-Type: text/x"], "text/x"),
        ):
            self.post(whole(part(b"x", '; name="f"; filename="p.jpg"', *field)))
            self.assertEqual(self.info("p.jpg").content_type, kind)
            self.successResultOf(self.store.delete("uploads", "p.jpg"))

    def test_chunked(self) -> None:
        """A form whose length nobody knows before, with a client that waits to be asked."""
        body = whole(file(b"x" * 5000))
        connection = self.connect()
        connection.send(request("POST /upload", None, KIND, "Transfer-Encoding: chunked", "Expect: 100-continue"))
        self.assertTrue(connection.received.startswith(b"HTTP/1.1 100 "))
        for at in range(0, len(body), 999):
            piece = body[at : at + 999]
            connection.send(b"%x\r\n%b\r\n" % (len(piece), piece))
        connection.send(b"0\r\n\r\n")
        (answer,) = split_answers(connection.received.partition(b"\r\n\r\n")[2])
        self.assertEqual(answer.status, 201)
        self.assertEqual(self.stored("a.txt"), b"x" * 5000)

    def test_byte_by_byte(self) -> None:
        body = whole(file(b"one"), file(b"\r\ntwo"))
        connection = self.connect()
        for byte in request("POST /upload", body, KIND):
            connection.send(bytes([byte]))
        self.assertEqual(split_answers(connection.received)[0].status, 201)
        self.assertEqual((self.stored("a.txt"), self.stored("a (1).txt")), (b"one", b"\r\ntwo"))

    def test_nobody_chose_a_file(self) -> None:
        """A browser then sends a part that has neither name nor bytes."""
        nothing = part(b"", '; name="f"; filename=""', "Content-Type: application/octet-stream")
        told = self.post(whole(nothing), status=400)
        self.assertEqual((told["stored"], told["error"]), ([], "MalformedBody"))
        self.assertEqual(len(self.post(whole(nothing, file(b"x")))["stored"]), 1)
        nameless = part(b"x", '; name="f"; filename=""')
        self.assertEqual(self.post(whole(nameless), status=400)["error"], "InvalidName")

    def test_folders(self) -> None:
        """Paths that browsers send are kept when the form says so, and only then."""
        self.post(whole(file(b"1", filename="photos/2026/a.jpg")))
        self.post(whole(part(b"1", '; name="folders"'), file(b"2", filename="photos/2026/a.jpg")))
        self.assertEqual(self.keys(), ["a.jpg", "photos/2026/a.jpg"])
        for name in ("../a", "a/../../b", "/etc/passwd", "a//b", "a/./b", "..\\a"):
            told = self.post(whole(part(b"1", '; name="folders"'), file(b"3", filename=name)), status=400)
            self.assertEqual(told["error"], "InvalidName")
        self.assertEqual(len(self.keys()), 2)

    def test_html(self) -> None:
        body = whole(file(b"x", filename="a <b>&.txt"))
        answer = self.ask("POST /upload", body, KIND, "Accept: text/html,*/*;q=0.8", status=201)
        self.assertEqual(answer.fields["content-type"], "text/html; charset=utf-8")
        self.assertIn(b"a &lt;b&gt;&amp;.txt", answer.body)
        self.assertNotIn(b"<b>", answer.body)
        answer = self.ask("POST /upload", body[:-9], KIND, "Accept: text/html", status=400)
        self.assertEqual(answer.fields["content-type"], "text/html; charset=utf-8")
        self.assertIn(b"ends within", answer.body)

    def test_names_are_safe(self) -> None:
        """What is answered of a name cannot end a line of the head, nor be a path that leads out."""
        for name in (
            "a%0D%0ASet-Cookie: x=y",
            "a\0b",
            "a\x1bb",
            "a\u202eb",
            "x" * 1025,
            "..",
            ".",
            "a/..",
            "C:\\..\\..",
        ):
            body = whole(file(b"x", filename=name))
            answer = self.ask("POST /upload", body, KIND, status=400)
            self.assertEqual(json.loads(answer.body)["error"], "InvalidName", name)
            self.assertNotIn("set-cookie", answer.fields)
        for name, key in (
            ("../../etc/passwd", "passwd"),
            ("/etc/shadow", "shadow"),
            ("C:\\home\\a.txt", "a.txt"),
            ("%2e%2e%2fx", "%2e%2e%2fx"),
            ("\U0001f600 שלום.txt", "\U0001f600 שלום.txt"),
            ("x" * 1020, "x" * 1020),
        ):
            told = self.post(whole(file(b"x", filename=name)))
            self.assertEqual(told["stored"][0]["name"], key)
            self.assertTrue(told["stored"][0]["url"].isascii())
            self.assertEqual(self.stored(key), b"x")

    def test_other_kinds(self) -> None:
        for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
            self.assertEqual(
                self.told("POST /upload", b"x", f"Content-Type: {kind}", status=400)["error"], "MalformedBody"
            )
        self.told("POST /upload", b"x", status=400)
        self.nothing_held()


class TornTests(ReceivingCase):
    """Forms that are not whole: what was complete is stored and listed, and nothing else is."""

    most_parts = 10

    def test_ends_early(self) -> None:
        body = whole(file(b"one", filename="one"), file(b"two", filename="two"))
        for end in range(len(body) - 4):
            told = self.post(body[:end], status=400)
            self.assertEqual(told["error"], "MalformedBody")
            names = [each["name"] for each in told["stored"]]
            self.assertEqual(self.keys(), sorted(names))
            for name in names:
                self.successResultOf(self.store.delete("uploads", name))
        self.nothing_held()

    def test_connection_lost(self) -> None:
        """The peer goes away: what is whole stays."""
        body = whole(file(b"one", filename="one"), file(b"two", filename="two"))
        connection = self.connect()
        connection.send(request("POST /upload", body, KIND)[:-20])
        connection.close()
        self.assertEqual(self.keys(), ["one"])
        self.nothing_held()

    def test_malformed(self) -> None:
        good = whole(file(b"x", filename="good"))
        good = good[: good.rindex(b"\r\n--")] + b"\r\n"
        for body, _ in MALFORMED:
            goes_on = ["good"] if body.startswith(b"--frontier\r\n") else []  # or else it is a part of the file
            for given, begin in ((body, []), (good + body, goes_on)):
                told = self.post(given, status=400)
                self.assertEqual(told["error"], "MalformedBody", given)
                names = [each["name"] for each in told["stored"]]
                self.assertEqual(names[: len(begin)], begin)
                self.assertEqual(sorted(names), self.keys())
                for name in names:
                    self.assertEqual(self.stored(name), b"x")
                    self.successResultOf(self.store.delete("uploads", name))
        self.nothing_held()

    def test_too_much(self) -> None:
        for extra, error, said in (
            ([part(b"x", '; name="f"; filename="x"', "X-Long: " + "x" * 20_000)], "TooLarge", "head of part 2"),
            ([part(b"x" * 70_000, '; name="f"')], "TooLarge", "field 'f'"),
            ([part(b"x" * 60_000, f'; name="{at}"') for at in range(20)], "TooLarge", "more than 10 files"),
            ([part(b"x" * 5000, '; name="csrf"')], "MalformedBody", "csrf"),
        ):
            status = 413 if error == "TooLarge" else 400
            told = self.post(whole(file(b"x", filename="good"), *extra), status=status)
            self.assertEqual((told["error"], [each["name"] for each in told["stored"]]), (error, ["good"]))
            self.assertIn(said, told["detail"])
            self.assertEqual(self.keys(), ["good"])
            self.successResultOf(self.store.delete("uploads", "good"))
        self.nothing_held()

    def test_store_fails(self) -> None:
        real = self.store.put
        puts: list[str] = []

        def put(bucket: str, key: str, *given: Any, **named: Any) -> Deferred[Any]:
            puts.append(key)
            if len(puts) == 2:
                return Deferred.fromCoroutine(_full())
            return real(bucket, key, *given, **named)

        self.patch(self.store, "put", put)
        body = whole(*(file(b"x", filename=name) for name in ("one", "two", "three")))
        told = self.post(body, status=507)
        self.assertEqual((told["error"], [each["name"] for each in told["stored"]]), ("NoSpace", ["one"]))
        self.assertEqual(self.keys(), ["one"])
        self.nothing_held()


async def _full() -> None:
    raise NoSpace("the disk is full")


class SizeTests(ReceivingCase):
    """What is set for the size of a file."""

    max_size = 1000

    def test_too_large(self) -> None:
        told = self.post(whole(file(b"x" * 1000, filename="a"), file(b"x" * 1001, filename="b")), status=413)
        self.assertEqual((told["error"], [each["name"] for each in told["stored"]]), ("TooLarge", ["a"]))
        self.assertEqual(self.keys(), ["a"])
        self.nothing_held()

    def test_endless(self) -> None:
        """The answer comes although the file does not end."""
        connection = self.connect()
        connection.send(request("POST /upload", None, KIND, f"Content-Length: {1 << 40}"))
        connection.send(b"--frontier\r\n" + DISPOSITION + b"\r\n\r\n" + b"x" * 100_000)
        (answer,) = split_answers(connection.received)
        self.assertEqual(answer.status, 413)
        self.nothing_held()


class TokenTests(ReceivingCase):
    """Forms of people who are signed in."""

    def setUp(self) -> None:
        super().setUp()
        self.gate.with_session()

    def test_token(self) -> None:
        self.post(whole(part(b"token", '; name="csrf"'), file(b"x")))
        self.post(whole(file(b"x")), "X-CSRF-Token: token")
        self.assertEqual(len(self.keys()), 2)

    def test_forged(self) -> None:
        """Before the token, no byte is taken; a wrong one is none."""
        for body in (
            whole(file(b"x")),
            whole(part(b"wrong", '; name="csrf"'), file(b"x")),
            whole(part(b"", '; name="csrf"'), file(b"x")),
            whole(file(b"x"), part(b"token", '; name="csrf"')),
        ):
            told = self.post(body, status=403)
            self.assertEqual((told["stored"], told["error"]), ([], "ForgedRequest"))
        self.told("POST /upload", whole(file(b"x")), KIND, "X-CSRF-Token: wrong", status=403)
        self.assertEqual(self.keys(), [])
        self.nothing_held()

    def test_who(self) -> None:
        self.gate.visitor = None
        self.assertEqual(self.told("POST /upload", whole(file(b"x")), KIND, status=401)["error"], "NotSignedIn")
        self.gate.with_link()
        told = self.told("POST /upload", whole(file(b"x")), KIND, status=403)
        self.assertEqual(told["error"], "LinkOutOfScope")


class SlowStoreTests(ReceivingCase):
    """A store that takes its time."""

    def test_waits(self) -> None:
        """While a large file waits for the disk, the rest of the form waits with the client, but for what was read last."""
        self.space.is_held = True
        body = whole(file(b"1" * 5000, filename="one"), file(b"2" * 20_000_000, filename="two"))
        connection = self.connect()
        connection.send(request("POST /upload", body, KIND))
        self.assertGreater(connection.unsent, 1_000_000)
        self.assertLess(self.memory.held, (8 << 20) + LARGE_READS + 100_000)
        self.assertGreater(self.memory.held, (8 << 20) - 100_000)
        self.space.let_go()
        connection.settle()
        self.assertEqual(split_answers(connection.received)[0].status, 201)
        self.assertEqual(self.stored("two"), b"2" * 20_000_000)
        self.nothing_held()

    def test_gone_while_it_stores(self) -> None:
        self.space.is_held = True
        body = whole(file(b"1" * 5000, filename="one"), file(b"2" * 20_000_000, filename="two"))
        connection = self.connect()
        connection.send(request("POST /upload", body, KIND))
        connection.close()
        self.space.let_go()
        self.assertEqual(self.keys(), ["one"])
        self.nothing_held()


class ReplaceTests(ReceivingCase):
    """Forms where a name that is taken is given to the new file."""

    rule = "replace"

    def test_two_of_one_name(self) -> None:
        """A file replaces those of other forms, and none of its own: each was meant to be kept."""
        for data in (b"old", b"new"):
            self.post(whole(file(data, filename="d1/a.txt")))
        self.assertEqual(self.stored("a.txt"), b"new")
        body = whole(file(b"one", filename="d1/a.txt"), file(b"two", filename="d2/a.txt"))
        told = self.post(body, status=409)
        self.assertEqual(([each["name"] for each in told["stored"]], self.stored("a.txt")), (["a.txt"], b"one"))
        self.assertIn("folders=1", told["detail"])
        self.post(whole(part(b"1", '; name="folders"'), *(file(b"x", filename=f"d{n}/a.txt") for n in (1, 2))))
        self.assertEqual(self.keys(), ["a.txt", "d1/a.txt", "d2/a.txt"])
        self.nothing_held()


class ManyFilesTests(ReceivingCase):
    """Small files are stored while the next ones come."""

    def send(self, *bodies: bytes) -> Any:
        connection = self.connect()
        connection.send(request("POST /upload", whole(*bodies), KIND))
        return connection

    def test_at_once(self) -> None:
        self.space.is_held = True
        connection = self.send(*(file(b"%d" % at, filename=f"{at:02}") for at in range(20)))
        self.assertEqual(len(self.space.puts), 8)
        self.space.let_go()
        connection.settle()
        (answer,) = split_answers(connection.received)
        told = json.loads(answer.body)
        self.assertEqual([each["name"] for each in told["stored"]], [f"{at:02}" for at in range(20)])
        self.assertEqual(self.stored("17"), b"17")
        self.nothing_held()

    def test_in_order(self) -> None:
        """The answer has files as they came, whichever was stored first; of those of one name, the first has it."""
        self.space.is_held = True
        names = ["a", "b", "a", "a", "b", "c"]
        connection = self.send(*(file(b"%d" % at, filename=name) for at, name in enumerate(names)))
        for _ in range(10):
            self.space.let_go(backwards=True)
            connection.settle()
        (answer,) = split_answers(connection.received)
        stored = [each["name"] for each in json.loads(answer.body)["stored"]]
        self.assertEqual(stored, ["a", "b", "a (1)", "a (2)", "b (1)", "c"])
        for at, name in enumerate(stored):
            self.assertEqual(self.stored(name), b"%d" % at)

    def test_large_ones_wait(self) -> None:
        """Not more than half a share waits for the disk before the next file."""
        self.space.is_held = True
        connection = self.send(*(file(b"x" * 3_000_000, filename=f"{at}") for at in range(4)))
        self.assertEqual(len(self.space.puts), 2)
        self.space.let_go()
        connection.settle()
        self.assertEqual(len(self.keys()), 4)
        self.nothing_held()

    def test_one_fails(self) -> None:
        """What is on its way then is stored, and said to be."""
        self.space.is_held = True
        self.space.fails_at = 2
        connection = self.send(*(file(b"x", filename=f"{at}") for at in range(20)))
        self.space.let_go()
        connection.settle()
        (answer,) = split_answers(connection.received)
        told = json.loads(answer.body)
        self.assertEqual((answer.status, told["error"]), (507, "NoSpace"))
        names = [each["name"] for each in told["stored"]]
        self.assertEqual((names[:2], sorted(names)), (["0", "2"], self.keys()))
        self.assertNotIn("1", names)
        self.nothing_held()

    def test_torn(self) -> None:
        self.space.is_held = True
        connection = self.connect()
        body = whole(*(file(b"x", filename=f"{at}") for at in range(4)))
        connection.send(request("POST /upload", body, KIND)[:-30])
        connection.close()
        self.assertEqual(self.memory.sessions, 1)
        self.space.let_go()
        self.assertEqual(self.keys(), ["0", "1", "2"])
        self.nothing_held()

    def test_one_fails_while_another_waits(self) -> None:
        """Nothing is begun after that, whatever has come already."""
        self.space.is_held = True
        self.space.fails_at = 1
        connection = self.send(
            *(file(b"x", filename=f"{at}") for at in range(3)),
            file(b"y" * 9_000_000, filename="large"),
            *(file(b"z", filename=f"late{at}") for at in range(3)),
        )
        self.space.let_go()
        connection.settle()
        (answer,) = split_answers(connection.received)
        self.assertEqual(answer.status, 507)
        self.assertEqual([key for key in self.keys() if key.startswith("late")], [])
        self.assertEqual(sorted(each["name"] for each in json.loads(answer.body)["stored"]), self.keys())
        self.nothing_held()
