"""Tests of L{storehouse.frontends.upload.door}: the door as a whole."""

from __future__ import annotations

import html
import json
import re
from base64 import b64encode
from typing import Any

from prometheus_client import CollectorRegistry
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from storehouse.config.settings import ConnectionSettings, HTTPSSettings
from storehouse.core.jobs import InlineDisk
from storehouse.core.streams import BytesStream
from storehouse.frontends.http.site import DoorSite
from storehouse.frontends.upload.door import UploadDoor
from storehouse.frontends.upload.gate import COOKIE
from storehouse.storage.accounts.interfaces import Rights
from storehouse.storage.resumable.local import LocalResumableUploads, ResumableSettings
from storehouse.testing import memory_object_store
from storehouse.testing.accounts import MemoryAccounts
from tests.frontends.http.wire import Answer, Connection, request, split_answers

_HTML = "Accept: text/html,*/*"


class DoorTests(SynchronousTestCase):
    """L{UploadDoor}."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_700_000_000)
        self.accounts = MemoryAccounts(clock=self.clock.seconds)
        disk = InlineDisk()
        store = self.store = memory_object_store(clock=self.clock)
        self.successResultOf(store.create_bucket("uploads"))
        resumable = LocalResumableUploads(store, disk, self.clock, ResumableSettings(self.mktemp(), durable=False))
        resumable.start()
        self.addCleanup(lambda: self.successResultOf(resumable.stop()))
        registry = CollectorRegistry()
        self.door = UploadDoor(
            store,
            self.accounts,
            resumable,
            HTTPSSettings(max_size=1000),
            64 << 20,
            lambda: "https://x",
            ".",
            lambda: 0,
            registry,
            disk,
            self.clock,
        )
        for collector in self.door.collectors:
            registry.register(collector)  # type: ignore[arg-type]
        self.site = DoorSite(self.door.resource, self.clock, ConnectionSettings(), name="https")
        self.site.explain = self.door.explain
        self.site.end_answers = self.door.stop
        self.site.startFactory()
        key = self.successResultOf(self.accounts.add_user("ada"))
        self.user = key.user
        self.key = "Authorization: Basic " + b64encode(f"{key.user.key_id}:{key.secret}".encode()).decode()

    def ask(self, line: str, *fields: str, body: bytes | None = None) -> Answer:
        connection = Connection(self.site)
        connection.send(request(line, body, *fields))
        return split_answers(connection.received, [line.split()[0]])[-1]

    def session(self) -> str:
        return f"Cookie: {COOKIE.decode()}={self.accounts.begin_session(self.user).cookie}"

    # -- places --------------------------------------------------------------------------------

    def test_home(self) -> None:
        answer = self.ask("GET /")
        self.assertEqual((answer.status, answer.fields["location"]), (303, "/upload"))

    def test_every_place_asks(self) -> None:
        """Without a key, responses reveal neither objects nor users."""
        for line in (
            "GET /upload",
            "PUT /upload/a",
            "POST /upload/a",
            "POST /upload",
            "GET /download",
            "GET /download/a",
            "DELETE /download/a",
            "GET /uploads",
            "GET /users",
            "POST /links",
            "GET /stats",
            "GET /stats/events",
            "GET /metrics",
        ):
            self.assertEqual(self.ask(line, body=b"").status, 401, line)
        for line in ("POST /tus/", f"HEAD /tus/{'0' * 32}", f"PATCH /tus/{'0' * 32}", f"DELETE /tus/{'0' * 32}"):
            fields = ("Tus-Resumable: 1.0.0", "Upload-Length: 5", "Content-Type: application/offset+octet-stream")
            self.assertEqual(self.ask(line, *fields, "Upload-Offset: 0", body=b"").status, 401, line)
        for line in ("PUT /upload/a", f"HEAD /resumable/{'0' * 32}", f"DELETE /resumable/{'0' * 32}"):
            fields = ("Upload-Complete: ?1",) if line.startswith("PUT") else ()
            self.assertEqual(self.ask(line, *fields, body=b"").status, 401, line)

    def test_challenges(self) -> None:
        """Programs such as wget send a key only if asked for one by Basic; a browser would then show a dialogue of its own."""
        agent = "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
        wrong = "Authorization: Basic " + b64encode(b"no:key").decode()
        for line in ("GET /download/a", "PUT /upload/a", "DELETE /download/a", "POST /upload", "GET /stats"):
            for fields in ((), ("User-Agent: Wget/1.21.3",), (wrong,)):
                found = self.challenges(line, *fields)
                self.assertEqual([each.split()[0] for each in found], ["Basic", "Bearer"], (line, fields))
            for field in (agent, "Sec-Fetch-Site: same-origin", "Sec-Fetch-Mode: cors", "Sec-Fetch-Dest: empty"):
                self.assertEqual([each.split()[0] for each in self.challenges(line, field)], ["Bearer"], field)
        self.assertEqual(self.challenges("GET /download", self.key), [])

    def challenges(self, line: str, *fields: str) -> list[str]:
        connection = Connection(self.site)
        connection.send(request(line, b"", *fields))
        head = connection.received.partition(b"\r\n\r\n")[0].decode("ascii").split("\r\n")
        return [each.partition(": ")[2] for each in head if each.lower().startswith("www-authenticate:")]

    def test_open_places(self) -> None:
        """What says nothing of anybody."""
        self.assertEqual(self.ask("GET /sign-in", _HTML).status, 200)
        answer = self.ask("OPTIONS /upload/a")
        self.assertEqual((answer.status, answer.fields["upload-limit"]), (204, "max-size=1000, max-age=86400"))
        self.assertEqual(self.ask("OPTIONS /tus/").fields["tus-max-size"], "1000")

    def test_up_and_down(self) -> None:
        answer = self.ask("PUT /upload/a%20b.txt", self.key, body=b"some text")
        self.assertEqual((answer.status, answer.fields["location"]), (201, "/download/a%20b.txt"))
        self.assertEqual(self.ask("GET /download/a%20b.txt", self.key).body, b"some text")
        files = json.loads(self.ask("GET /download", self.key).body)["files"]
        self.assertEqual([(each["name"], each["uploader"]) for each in files], [("a b.txt", "ada")])

    def test_too_large_by_any_way(self) -> None:
        body = bytes(1001)
        self.assertEqual(self.ask("PUT /upload/a", self.key, body=body).status, 413)
        form = b'--x\r\nContent-Disposition: form-data; name="f"; filename="a"\r\n\r\n' + body + b"\r\n--x--\r\n"
        answer = self.ask("POST /upload", self.key, "Content-Type: multipart/form-data; boundary=x", body=form)
        self.assertEqual(answer.status, 413)
        tus = ("Tus-Resumable: 1.0.0", "Upload-Length: 1001")
        self.assertEqual(self.ask("POST /tus/", self.key, *tus, body=b"").status, 413)
        self.assertEqual(self.ask("PUT /upload/a", self.key, "Upload-Complete: ?1", body=body).status, 413)
        self.assertEqual(json.loads(self.ask("GET /download", self.key).body)["files"], [])

    def test_methods(self) -> None:
        answer = self.ask("GET /upload/a", self.key)
        self.assertEqual((answer.status, answer.fields["allow"]), (405, "POST, PUT"))
        answer = self.ask("PUT /upload", self.key, body=b"x")
        self.assertEqual((answer.status, answer.fields["allow"]), (405, "GET, HEAD, POST"))

    def test_slash_without_a_name(self) -> None:
        """It is the same place as without, for a page, a form, and an upload to nowhere."""
        form = b'--x\r\nContent-Disposition: form-data; name="f"; filename="a"\r\n\r\nhello\r\n--x--\r\n'
        answer = self.ask("POST /upload/", self.key, "Content-Type: multipart/form-data; boundary=x", body=form)
        self.assertEqual((answer.status, self.ask("GET /download/a", self.key).body), (201, b"hello"))
        self.assertEqual(self.ask("GET /upload/", _HTML, self.session()).status, 200)
        answer = self.ask("PUT /upload/", self.key, body=b"x")
        self.assertEqual((answer.status, json.loads(answer.body)["detail"]), (400, "the file has no name"))

    def test_open_uploads(self) -> None:
        """One's own, and nobody else's."""
        self.ask("POST /tus/", self.key, "Tus-Resumable: 1.0.0", "Upload-Length: 5", body=b"")
        (upload,) = json.loads(self.ask("GET /uploads", self.key).body)["uploads"]
        self.assertEqual((upload["offset"], upload["length"]), (0, 5))
        self.assertEqual(upload["expires"], self.clock.seconds() + 86400)
        other = self.successResultOf(self.accounts.add_user("eve"))
        field = f"Authorization: Bearer {other.user.key_id}.{other.secret}"
        self.assertEqual(json.loads(self.ask("GET /uploads", field).body), {"uploads": []})

    # -- rights --------------------------------------------------------------------------------

    def key_of(self, *rights: Rights, limits: tuple[Rights, ...] | None = None) -> str:
        """A header field with a key of another user, who has these rights."""
        self.successResultOf(self.accounts.add_user("eve"))
        self.successResultOf(self.accounts.revoke("eve", None))
        for each in rights:
            self.successResultOf(self.accounts.grant("eve", each))
        key = self.successResultOf(self.accounts.add_key("eve", limits))
        return f"Authorization: Bearer {key.key_id}.{key.secret}"

    def forbidden(self, line: str, *fields: str, body: bytes | None = None) -> None:
        """A request is refused for want of a right."""
        answer = self.ask(line, *fields, body=body)
        self.assertEqual((answer.status, json.loads(answer.body)["error"]), (403, "Forbidden"), line)

    def test_no_rights(self) -> None:
        eve = self.key_of()
        self.ask("PUT /upload/a", self.key, body=b"hello")
        for line in ("GET /download/a", "HEAD /download/a", "DELETE /download/a", "GET /download"):
            if line.startswith("HEAD"):
                self.assertEqual(self.ask(line, eve).status, 403)
            else:
                self.forbidden(line, eve)
        for line in ("PUT /upload/a", "PUT /upload/b", "POST /upload/b"):
            self.forbidden(line, eve, body=b"x")
        form = b'--x\r\nContent-Disposition: form-data; name="f"; filename="b"\r\n\r\nb\r\n--x--\r\n'
        self.forbidden("POST /upload", eve, "Content-Type: multipart/form-data; boundary=x", body=form)
        self.forbidden("POST /tus/", eve, "Tus-Resumable: 1.0.0", "Upload-Length: 5", body=b"")
        self.forbidden("PUT /upload/b", eve, "Upload-Complete: ?0", "Upload-Draft-Interop-Version: 6", body=b"x")
        self.assertEqual(self.ask("GET /download/a", self.key).body, b"hello")

    def test_rights_of_a_prefix(self) -> None:
        eve = self.key_of(Rights(("read", "list"), "uploads", "pub/"))
        for name in ("a", "pub/a"):
            self.ask(f"PUT /upload/{name}", self.key, body=b"hello")
        self.assertEqual(self.ask("GET /download/pub/a", eve).body, b"hello")
        self.assertEqual(self.ask("GET /download?prefix=pub/", eve).status, 200)
        for line in ("GET /download/a", "GET /download", "GET /download?prefix=pu", "DELETE /download/pub/a"):
            self.forbidden(line, eve)
        self.forbidden("PUT /upload/pub/b", eve, body=b"x")

    def test_append_only(self) -> None:
        """Files are added, and none is replaced, read or removed."""
        eve = self.key_of(Rights(("put-new", "read", "overwrite", "delete"), "uploads"), limits=(Rights(("put-new",)),))
        self.ask("PUT /upload/a", self.key, body=b"hello")
        self.assertEqual(self.ask("PUT /upload/b", eve, body=b"x").status, 201)
        for name in ("a", "b"):
            self.forbidden(f"PUT /upload/{name}", eve, body=b"other")
            self.forbidden(f"PUT /upload/{name}", eve, "If-Match: *", body=b"other")
            self.forbidden(f"GET /download/{name}", eve)
            self.forbidden(f"DELETE /download/{name}", eve)
        self.assertEqual(self.ask("PUT /upload/b", eve, "If-None-Match: *", body=b"x").status, 412)
        self.assertEqual(self.ask("GET /download/a", self.key).body, b"hello")
        self.assertEqual(self.ask("GET /download/b", self.key).body, b"x")
        # Neither a session nor a link is had by such a key.
        self.forbidden("POST /links", eve, "Content-Type: application/json", body=b'{"name":"a"}')

    def test_conditions_are_reads(self) -> None:
        """A user who cannot read a file learns nothing of it by a condition."""
        self.ask("PUT /upload/a", self.key, body=b"hello")
        tag = self.ask("GET /download/a", self.key).fields["etag"]
        eve = self.key_of(Rights(("put-new", "overwrite"), "uploads"))
        for each in (tag, '"0000"'):
            self.forbidden("PUT /upload/a", eve, f"If-Match: {each}", body=b"other")
        self.assertEqual(self.ask("GET /download/a", self.key).body, b"hello")
        self.assertEqual(self.ask("PUT /upload/a", eve, "If-Match: *", body=b"hello").status, 200)
        tag = self.ask("GET /download/a", self.key).fields["etag"]
        self.assertEqual(self.ask("PUT /upload/a", self.key, f"If-Match: {tag}", body=b"x").status, 200)

    def test_overwrite_only(self) -> None:
        eve = self.key_of(Rights(("overwrite",), "uploads"))
        self.ask("PUT /upload/a", self.key, body=b"hello")
        self.forbidden("PUT /upload/b", eve, body=b"x")
        self.assertEqual(self.ask("PUT /upload/a", eve, body=b"other").status, 200)
        self.forbidden("POST /tus/", eve, "Tus-Resumable: 1.0.0", "Upload-Length: 5", body=b"")

    def test_links_end_with_rights(self) -> None:
        """A link can do what the user can who has signed it, when it is used."""
        self.ask("PUT /upload/a", self.key, body=b"hello")
        path = "/download/a"
        query = self.accounts.sign_link(self.user, "GET", path, self.clock.seconds() + 60)
        self.assertEqual(self.ask(f"GET {path}?{query}").body, b"hello")
        self.successResultOf(self.accounts.revoke("ada", None))
        self.forbidden(f"GET {path}?{query}")

    def linked(self, *permissions: str, bucket: str = "uploads", prefix: str = "", **more: Any) -> str:
        """The query of a link of ada's that gives rights."""
        rights = Rights(permissions, bucket, prefix)
        return self.accounts.sign_rights(self.user, rights, self.clock.seconds() + 600, **more)

    def out_of_scope(self, line: str, *fields: str, body: bytes | None = None) -> None:
        """What a link does not allow."""
        answer = self.ask(line, *fields, body=body)
        self.assertEqual(answer.status, 403, line)
        if not line.startswith("HEAD"):
            self.assertIn(json.loads(answer.body)["error"], ("LinkOutOfScope", "Forbidden"), line)

    def test_link_to_a_folder(self) -> None:
        """It lists and reads all below, by pages, too, and nothing else, nor does it change anything."""
        for name in ("a", "pub/a", "pub/c/d"):
            self.ask(f"PUT /upload/{name}", self.key, body=b"hello")
        link = self.linked("read", "list", prefix="pub/")
        told = json.loads(self.ask(f"GET /download?prefix=pub/&{link}").body)
        self.assertEqual(([file["name"] for file in told["files"]], told["folders"]), (["pub/a"], ["pub/c/"]))
        self.assertEqual(self.ask(f"GET /download/pub/c/d?{link}").body, b"hello")
        self.assertEqual(self.ask(f"GET /download/pub/a?{link}", "Range: bytes=1-2").body, b"el")
        self.assertEqual(self.ask(f"HEAD /download/pub/a?{link}").status, 200)
        page = self.ask(f"GET /download?prefix=pub/&{link}", _HTML)
        self.assertEqual(page.status, 200)
        hrefs = re.findall(r'href="([^"]*)" class="name"', page.body.decode())
        self.assertEqual(len(hrefs), 2)
        for href in hrefs:
            self.assertEqual(self.ask(f"GET {html.unescape(href)}", _HTML).status, 200, href)
        self.assertNotIn(b"/links", page.body)
        for line in (
            "GET /download/a?",
            "HEAD /download/a?",
            "GET /download?",
            "GET /download?prefix=pu&",
            "GET /download?prefix=&",
            "GET /download?bucket=other&prefix=pub/&",
            "GET /download/pub/a?bucket=other&",
            "GET /uploads?",
            "GET /users?",
            "GET /stats?",
            "DELETE /download/pub/a?",
        ):
            self.out_of_scope(line + link)
        for line in ("PUT /upload/pub/a", "PUT /upload/pub/b", "POST /upload/pub/b", "POST /links", "POST /upload"):
            self.out_of_scope(f"{line}?{link}", body=b"x")
        self.out_of_scope(f"POST /tus/?{link}", "Tus-Resumable: 1.0.0", "Upload-Length: 5", body=b"")

    def test_link_that_appends(self) -> None:
        """By every way of storing: what is new below a prefix; nothing is replaced, read or removed."""
        self.ask("PUT /upload/in/a", self.key, body=b"hello")
        link = self.linked("put-new", prefix="in/", max_bytes=5)
        self.assertEqual(self.ask(f"PUT /upload/in/b?{link}", body=b"x").status, 201)
        self.assertEqual(self.ask(f"PUT /upload/in/large?{link}", body=b"123456").status, 413)
        tus = ("Tus-Resumable: 1.0.0", "Upload-Length: 1")

        def named(name: str) -> str:
            text = b64encode(name.encode()).decode()
            return f"Upload-Metadata: filename {text},relativePath {text}"

        self.out_of_scope(f"POST /tus/?{link}", *tus, named("elsewhere/t"), body=b"")
        answer = self.ask(f"POST /tus/?{link}", *tus, named("in/t"), body=b"")
        self.assertEqual(answer.status, 201)
        place = answer.fields["location"].partition("?")[0].removeprefix("https://x")
        patch = ("Tus-Resumable: 1.0.0", "Upload-Offset: 0", "Content-Type: application/offset+octet-stream")
        # Holders of other links do not learn of it.
        self.assertEqual(self.ask(f"PATCH {place}?{self.linked('put-new')}", *patch, body=b"x").status, 404)
        self.assertEqual(self.ask(f"PATCH {place}?{link}", *patch, body=b"x").status, 204)
        self.assertEqual(self.ask("GET /download/in/t", self.key).body, b"x")
        draft = ("Upload-Complete: ?1", "Upload-Draft-Interop-Version: 6")
        self.assertIn(self.ask(f"PUT /upload/in/d?{link}", *draft, body=b"x").status, (200, 201))
        for name in ("in/a", "in/b", "in/d", "a", "other"):
            self.out_of_scope(f"PUT /upload/{name}?{link}", body=b"y")
            self.assertIn(self.ask(f"PUT /upload/{name}?{link}", *draft, body=b"y").status, (403, 409), name)
        for line in ("GET /download/in/a?", "DELETE /download/in/b?", "GET /download?prefix=in/&"):
            self.out_of_scope(line + link)
        self.assertEqual(self.ask("GET /download/in/a", self.key).body, b"hello")
        self.assertEqual(self.ask("GET /download/in/b", self.key).body, b"x")

    def test_link_that_overwrites_and_deletes(self) -> None:
        self.ask("PUT /upload/in/a", self.key, body=b"hello")
        link = self.linked("overwrite", prefix="in/")
        self.assertEqual(self.ask(f"PUT /upload/in/a?{link}", body=b"x").status, 200)
        self.out_of_scope(f"PUT /upload/in/b?{link}", body=b"x")
        self.out_of_scope(f"DELETE /download/in/a?{link}")
        link = self.linked("delete", prefix="in/")
        self.out_of_scope(f"GET /download/in/a?{link}")
        self.out_of_scope(f"DELETE /download/a?{link}")
        self.assertEqual(self.ask(f"DELETE /download/in/a?{link}").status, 200)
        self.assertEqual(self.ask("GET /download/in/a", self.key).status, 404)

    def test_link_in_another_bucket(self) -> None:
        self.successResultOf(self.store.create_bucket("hers", owner="ada"))
        self.successResultOf(self.store.put("hers", "k", BytesStream([b"x"]), 1))
        link = self.linked("read", "list", bucket="hers")
        self.assertEqual(self.ask(f"GET /download/k?bucket=hers&{link}").body, b"x")
        self.assertEqual(self.ask(f"GET /download?bucket=hers&{link}").status, 200)
        self.out_of_scope(f"GET /download/k?{link}")
        self.out_of_scope(f"GET /download?{link}")

    def test_link_gives_no_more_than_the_signer_has(self) -> None:
        self.ask("PUT /upload/a", self.key, body=b"hello")
        link = self.linked("read", "list", "delete")
        self.successResultOf(self.accounts.revoke("ada", Rights(("delete",), "uploads")))
        self.assertEqual(self.ask(f"GET /download/a?{link}").body, b"hello")
        self.out_of_scope(f"DELETE /download/a?{link}")
        self.successResultOf(self.accounts.revoke("ada", None))
        self.out_of_scope(f"GET /download/a?{link}")
        self.successResultOf(self.accounts.disable_user("ada"))
        self.forbidden(f"GET /download/a?{link}")

    def test_link_with_rights_once(self) -> None:
        link = self.linked("put-new", once=True)
        self.assertEqual(self.ask(f"PUT /upload/a?{link}", body=b"x").status, 201)
        answer = self.ask(f"PUT /upload/b?{link}", body=b"x")
        self.assertEqual((answer.status, json.loads(answer.body)["error"]), (403, "LinkUsed"))

    def test_buckets_of_users(self) -> None:
        """What a user owns, others cannot read here either."""
        self.successResultOf(self.store.create_bucket("hers", owner="ada"))
        self.successResultOf(self.store.put("hers", "k", BytesStream([b"x"]), 1))
        self.assertEqual(self.ask("GET /download/k?bucket=hers", self.key).body, b"x")
        eve = self.successResultOf(self.accounts.add_user("eve"))
        field = f"Authorization: Bearer {eve.user.key_id}.{eve.secret}"
        self.forbidden("GET /download/k?bucket=hers", field)
        self.forbidden("GET /download?bucket=hers", field)

    def test_metrics(self) -> None:
        self.assertIn(b"storehouse_upload_memory_budget_bytes", self.ask("GET /metrics", self.key).body)

    # -- failures ------------------------------------------------------------------------------

    def test_people_are_led_to_sign_in(self) -> None:
        answer = self.ask("GET /download?sort=size&q=%C3%A4", _HTML)
        self.assertEqual(answer.status, 303)
        self.assertEqual(answer.fields["location"], "/sign-in?next=%2Fdownload%3Fsort%3Dsize%26q%3D%25C3%25A4")

    def test_people_get_pages(self) -> None:
        for line, fields, status in (
            ("GET /nowhere", (), 404),
            ("GET /download/nothing", (self.session(),), 404),
            ("POST /upload", (), 401),
            ("GET /download/x?signature=00", (), 403),
        ):
            answer = self.ask(line, _HTML, *fields, body=b"" if line.startswith("POST") else None)
            self.assertEqual(answer.status, status, line)
            self.assertIn(str(status).encode(), answer.body)
            self.assertTrue(answer.fields["content-type"].startswith("text/html"))
            self.assertIn("default-src 'none'", answer.fields["content-security-policy"])

    def test_nothing_is_run_of_what_was_asked(self) -> None:
        answer = self.ask("GET /download/%3Cscript%3Ealert(1)%3C/script%3E", _HTML, self.session())
        self.assertEqual(answer.status, 404)
        self.assertNotIn(b"<script>alert", answer.body)

    def test_programs_get_json(self) -> None:
        answer = self.ask("GET /nowhere")
        self.assertEqual((answer.status, answer.fields["content-type"]), (404, "application/json"))
        self.assertEqual(self.ask("GET /download/x?format=neither", self.key).status, 400)

    def test_events_end_with_the_door(self) -> None:
        connection = Connection(self.site)
        connection.send(request("GET /stats/events", None, self.key))
        self.clock.advance(1)
        self.assertIn(b"data: {", connection.received)
        drained: Any = self.site.drain(30)
        connection.settle()
        self.clock.advance(1)
        self.assertTrue(connection.is_closed)
        self.successResultOf(drained)
