"""Tests of L{storehouse.frontends.upload.sessions}, C{links} and C{users}: signing in and out, making links."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from storehouse.errors import NotSignedIn
from storehouse.frontends.http.request import parse_query
from storehouse.frontends.upload.gate import COOKIE, Attempts, Gate
from storehouse.frontends.upload.links import Links
from storehouse.frontends.upload.sessions import SignIn, SignOut
from storehouse.frontends.upload.smallforms import local_path
from storehouse.frontends.upload.users import Users
from storehouse.storage.accounts.interfaces import Grant, NewKey
from storehouse.testing import memory_object_store
from storehouse.testing.accounts import MemoryAccounts
from tests.frontends.http.wire import Answer, Connection, make_site, request, split_answers

HTML = "Accept: text/html,application/xhtml+xml"
FORM = "Content-Type: application/x-www-form-urlencoded"
JSON = "Content-Type: application/json"

BASE = "https://box:6445"


class SigningCase(SynchronousTestCase):
    """A door with an administrator C{ada} and a user C{bob}."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.rightNow = 1_790_000_000.0
        self.accounts = MemoryAccounts(clock=self.clock.seconds)
        store = memory_object_store()
        self.ada: NewKey = self.successResultOf(self.accounts.add_user("ada", True))
        self.bob: NewKey = self.successResultOf(self.accounts.add_user("bob"))
        self.audited: list[Any] = []
        self.gate = gate = Gate(self.accounts, store, common_name=lambda transport: "", audit=self.audited.append)
        children = {
            "sign-in": SignIn(gate, self.accounts, self.clock.seconds, Attempts(self.clock.seconds, 3, 10.0)),
            "sign-out": SignOut(gate, self.accounts),
            "links": Links(gate, self.accounts, lambda: BASE, 604800.0, self.clock.seconds),
            "users": Users(gate, self.accounts),
        }
        self.site = make_site(self.clock, **children)

    def ask(self, line: str, body: bytes | None = None, *fields: str, status: int = 200) -> Answer:
        """A request, and its answer."""
        connection = Connection(self.site)
        connection.send(request(line, body, *fields))
        (answer,) = split_answers(connection.received, [line.split()[0]])
        self.assertEqual(answer.status, status, answer)
        return answer

    def told(self, line: str, body: bytes | None = None, *fields: str, status: int = 200) -> Any:
        """What an answer in JSON says."""
        return json.loads(self.ask(line, body, *fields, status=status).body)

    def key_form(self, key: NewKey, **more: str) -> bytes:
        return urlencode({"key_id": key.user.key_id, "secret": key.secret, **more}).encode()

    def cookie_in(self, answer: Answer) -> str:
        """The cookie that an answer sets, for a request; its attributes are as they have to be."""
        value, *attributes = answer.fields["set-cookie"].split("; ")
        self.assertEqual(
            sorted(attributes), ["HttpOnly", f"Max-Age={attributes[0][8:]}", "Path=/", "SameSite=Strict", "Secure"]
        )
        self.assertRegex(value, "^__Host-storehouse-[0-9a-f]{8}=")
        return f"Cookie: {value}"

    def signed_in(self, key: NewKey | None = None) -> tuple[str, str]:
        """The header fields of a session: its cookie, its token."""
        session = self.accounts.begin_session((key or self.ada).user)
        return f"Cookie: {self.gate.cookie.decode()}={session.cookie}", f"X-CSRF-Token: {session.token}"


class SignInTests(SigningCase):
    """C{/sign-in}."""

    def test_page(self) -> None:
        answer = self.ask("GET /sign-in?next=/download%3Fq=1", None, HTML)
        self.assertIn(b'value="/download?q=1"', answer.body)
        self.assertIn("text/html", answer.fields["content-type"])
        self.assertNotIn("set-cookie", answer.fields)
        self.assertEqual(self.ask("HEAD /sign-in", None, HTML).body, b"")

    def test_page_for_programs(self) -> None:
        self.assertIn("POST", self.told("GET /sign-in")["sign_in"])

    def test_browser(self) -> None:
        answer = self.ask("POST /sign-in", self.key_form(self.bob, next="/download?q=a%20b"), FORM, HTML, status=303)
        self.assertEqual(answer.fields["location"], "/download?q=a%20b")
        self.assertEqual(answer.fields["cache-control"], "no-store")
        cookie = self.cookie_in(answer)
        self.assertIn("Max-Age=43200", answer.fields["set-cookie"])
        session = self.accounts.session_of(cookie.partition("=")[2])
        self.assertEqual(session.user, self.bob.user)

    def test_program(self) -> None:
        answer = self.ask("POST /sign-in", self.key_form(self.ada), FORM)
        cookie, told = self.cookie_in(answer), json.loads(answer.body)
        self.assertEqual((told["user"], told["expires"]), ("ada", 1_790_043_200))
        self.assertEqual(len(self.told("GET /users", None, cookie)["users"]), 2)
        self.told("POST /links", b'{"name":"a"}', JSON, cookie, f"X-CSRF-Token: {told['token']}", status=201)

    def test_audited(self) -> None:
        """Sign-ins, sign-outs and refusals, with the address; never a secret or a link."""
        self.ask("POST /sign-in", self.key_form(self.bob), FORM)
        token = self.successResultOf(self.accounts.make_sign_in_token("ada", 60))
        self.ask(f"POST /sign-in/{token}", b"", FORM)
        cookie, field = self.signed_in(self.bob)
        self.ask("POST /sign-out", b"", FORM, cookie, field)
        self.ask("POST /sign-in", urlencode({"key_id": "SHX", "secret": "Wrong-secret"}).encode(), FORM, status=401)
        self.ask(f"POST /sign-in/{token}", b"", FORM, status=401)
        self.ask("GET /users", None, "Authorization: Bearer SHX.Wrong-secret", status=401)
        self.ask("GET /users", status=401)
        query = self.accounts.sign_link(self.ada.user, "GET", "/download/a", self.clock.seconds() + 60)
        self.ask(f"POST /links?{query}", b"{}", JSON, status=403)
        found = [(each.user, each.address, each.action, each.resource) for each in self.audited]
        self.assertEqual(
            found,
            [
                ("bob", "127.0.0.1", "sign-in", "/sign-in"),
                ("ada", "127.0.0.1", "sign-in by link", "/sign-in"),
                ("bob", "127.0.0.1", "sign-out", "bob"),
                ("", "127.0.0.1", "sign-in (SignInRefused)", "/sign-in"),
                ("", "127.0.0.1", "sign-in by link (SignInRefused)", "/sign-in"),
                ("", "127.0.0.1", "admin (SignInRefused)", "/users"),
                ("", "127.0.0.1", "admin (NotSignedIn)", "/users"),
                ("", "127.0.0.1", "manage (LinkOutOfScope)", "/links"),
            ],
        )
        for secret in ("Wrong-secret", token, self.bob.secret):
            self.assertNotIn(secret, str(self.audited))

    def test_pasted(self) -> None:
        """With the space that comes with it."""
        form = urlencode({"key_id": f" {self.bob.user.key_id}\n", "secret": f"{self.bob.secret} "}).encode()
        self.ask("POST /sign-in", form, FORM)

    def test_no_other_site(self) -> None:
        """After a sign-in nobody is led elsewhere."""
        for path in (
            "//evil.example",
            "/\\evil.example",
            "\\\\evil",
            "https://evil.example/",
            "javascript:alert(1)",
            "/\t/evil.example",
            "/a\r\nSet-Cookie: x=y",
            "evil",
            "",
            " /a",
            "/a b",
            "/ä",
            "/" + "x" * 3000,
        ):
            answer = self.ask("POST /sign-in", self.key_form(self.bob, next=path), FORM, HTML, status=303)
            self.assertEqual(answer.fields["location"], "/upload")
            self.assertNotIn("x=y", repr(answer.fields))
            page = self.ask(f"GET /sign-in?next={quote(path)}", None, HTML)
            self.assertIn(b'value="/upload"', page.body)

    @given(st.text(st.sampled_from("/\\.:@?#evil \t\r\n\0%2fä"), max_size=12))
    def test_local_path(self, text: str) -> None:
        """What is gone to is of this host, as a browser reads it (WHATWG URL: tabs and line ends are dropped, backslashes are slashes)."""
        path = local_path(text, "/default")
        seen = path.translate({9: None, 10: None, 13: None}).replace("\\", "/")
        self.assertTrue(seen.startswith("/") and not seen.startswith("//"))
        self.assertEqual(urlsplit(seen).netloc, "")
        self.assertTrue(path.isascii() and path.isprintable())

    def test_refused(self) -> None:
        form = urlencode({"key_id": self.ada.user.key_id, "secret": self.bob.secret}).encode()
        answer = self.ask("POST /sign-in", form, FORM, status=401)
        self.assertEqual(json.loads(answer.body)["error"], "SignInRefused")
        self.assertIn("www-authenticate", answer.fields)
        page = self.ask("POST /sign-in", form + b"&next=/stats", FORM, HTML, status=401)
        for text in (b'role="alert"', b'value="/stats"', self.ada.user.key_id.encode()):
            self.assertIn(text, page.body)
        for each in (answer, page):
            self.assertNotIn(self.bob.secret.encode(), each.body)
            self.assertNotIn("set-cookie", each.fields)

    def test_too_often(self) -> None:
        """After failures a client has to wait, with the right key, too."""
        form = urlencode({"key_id": "x", "secret": "y"}).encode()
        for _ in range(3):
            self.ask("POST /sign-in", form, FORM, status=401)
        answer = self.ask("POST /sign-in", form, FORM, status=429)
        self.assertEqual((answer.fields["retry-after"], json.loads(answer.body)["error"]), ("10", "TooManyAttempts"))
        self.assertIn(b"10 seconds", self.ask("POST /sign-in", form, FORM, HTML, status=429).body)
        self.ask("POST /sign-in/token", b"", status=429)
        self.clock.advance(10)
        self.ask("POST /sign-in", form, FORM, status=401)

    def test_failures_of_others(self) -> None:
        """Behind a proxy all have one address: nobody is kept out by those who try in vain."""
        form = urlencode({"key_id": "x", "secret": "y"}).encode()
        for status in (401, 401, 401, 429):
            self.ask("POST /sign-in", form, FORM, status=status)
        self.ask("POST /sign-in", self.key_form(self.ada), FORM)
        token = self.successResultOf(self.accounts.make_sign_in_token("ada", 60))
        self.ask(f"POST /sign-in/{token}", b"", FORM)
        self.ask("POST /sign-in", form, FORM, status=429)

    def test_bad_forms(self) -> None:
        for body, field, error, status in (
            (b"", FORM, "BadRequest", 400),
            (b"key_id=a", FORM, "BadRequest", 400),
            (b"key_id=a&secret=b&secret=c", FORM, "MalformedBody", 400),
            (b"key_id=%ff&secret=b", FORM, "MalformedBody", 400),
            (b"{}", JSON, "MalformedBody", 400),
            (b"secret=" + b"x" * 20000, FORM, "BodyTooLarge", 413),
        ):
            self.assertEqual(self.told("POST /sign-in", body, field, status=status)["error"], error)
        self.told("POST /sign-in?secret=x", self.key_form(self.ada), FORM, status=400)
        self.told("PUT /sign-in", b"", status=405)
        self.told("GET /sign-in/a/b", status=404)
        self.told("GET /sign-in/" + "x" * 300, status=404)

    def test_other_sites(self) -> None:
        """Nobody is signed in by a page of another site, as somebody else or by a token."""
        token = self.successResultOf(self.accounts.make_sign_in_token("ada", 60))
        for field in (
            "Sec-Fetch-Site: cross-site",
            "Sec-Fetch-Site: same-site",
            "Origin: https://evil",
            "Origin: null",
        ):
            for path, body in (("/sign-in", self.key_form(self.ada)), (f"/sign-in/{token}", b"")):
                self.assertEqual(self.told(f"POST {path}", body, FORM, field, status=403)["error"], "ForgedRequest")
        self.ask(f"POST /sign-in/{token}", b"", FORM, "Origin: https://x", "Sec-Fetch-Site: same-origin")

    def test_token(self) -> None:
        """The page does not use it up, the button does."""
        token = self.successResultOf(self.accounts.make_sign_in_token("ada", 60))
        for _ in range(2):
            page = self.ask(f"GET /sign-in/{token}", None, HTML)
            self.assertIn(f'action="/sign-in/{token}"'.encode(), page.body)
            self.ask(f"HEAD /sign-in/{token}")
        answer = self.ask(f"POST /sign-in/{token}", b"", FORM, HTML, status=303)
        self.assertEqual(answer.fields["location"], "/upload")
        self.assertEqual(self.accounts.session_of(self.cookie_in(answer).partition("=")[2]).user, self.ada.user)
        page = self.ask(f"POST /sign-in/{token}", b"", FORM, HTML, status=401)
        self.assertIn(b"used or expired", page.body)
        self.assertNotIn("set-cookie", page.fields)

    def test_strange_token(self) -> None:
        for token in ("%ff", "%22%3E%3Cscript%3E", "..", "%00"):
            page = self.ask(f"GET /sign-in/{token}", None, HTML)
            self.assertNotIn(b"<script>", page.body)
            self.told(f"POST /sign-in/{token}", b"", status=401)
            self.clock.advance(10)


class SignOutTests(SigningCase):
    """C{/sign-out}."""

    def test_form(self) -> None:
        cookie, token = self.signed_in()
        form = urlencode({"csrf": token.partition(": ")[2]}).encode()
        answer = self.ask("POST /sign-out", form, FORM, HTML, cookie, status=303)
        self.assertEqual(answer.fields["location"], "/sign-in")
        gone = f"{self.gate.cookie.decode()}=; Max-Age=0; Path=/; Secure;"
        self.assertTrue(answer.fields["set-cookie"].startswith(gone))
        self.assertRaises(NotSignedIn, self.accounts.session_of, cookie.partition("=")[2])

    def test_program(self) -> None:
        cookie, token = self.signed_in()
        self.assertEqual(self.told("POST /sign-out", b"", cookie, token), {"success": True})
        self.assertRaises(NotSignedIn, self.accounts.session_of, cookie.partition("=")[2])

    def test_old_cookie(self) -> None:
        """One of the name that all services once had is good, and taken away only by the service that it is good for."""
        cookie, _ = self.signed_in()
        value = cookie.partition("=")[2]
        old, other = f"Cookie: {COOKIE.decode()}={value}", f"Cookie: {COOKIE.decode()}=of-another-service"
        for fields, gone in (((other,), []), ((cookie, other), []), ((old,), [COOKIE])):
            session = self.accounts.begin_session(self.ada.user)
            sent = [field.replace(value, session.cookie) for field in fields]
            connection = Connection(self.site)
            connection.send(request("POST /sign-out", b"", *sent, f"X-CSRF-Token: {session.token}"))
            names = re.findall(rb"Set-Cookie: ([^=]+)=; Max-Age=0;", connection.received)
            self.assertEqual(names, [*gone, self.gate.cookie])

    def test_two_services(self) -> None:
        """On one host, whatever their ports, each has a cookie of its own."""
        other: Any = MemoryAccounts()
        self.assertNotEqual(other.realm, self.accounts.realm)

    def test_forged(self) -> None:
        """Nobody is signed out by another site either."""
        cookie, _ = self.signed_in()
        _, other = self.signed_in()
        for body, fields in ((b"", []), (b"csrf=x", [FORM]), (b"", [other]), (b"csrf=%C3%A4", [FORM])):
            self.assertEqual(self.told("POST /sign-out", body, cookie, *fields, status=403)["error"], "ForgedRequest")
        self.accounts.session_of(cookie.partition("=")[2])

    def test_other_sites(self) -> None:
        """Browsers send them no cookie, but would take the one away that an answer tells them to."""
        for field in ("Sec-Fetch-Site: cross-site", "Origin: https://evil", "Origin: null"):
            answer = self.ask("POST /sign-out", b"", FORM, HTML, field, status=403)
            self.assertNotIn("set-cookie", answer.fields)

    def test_nobody(self) -> None:
        self.assertEqual(self.told("POST /sign-out", b""), {"success": True})
        self.ask("POST /sign-out", b"", HTML, f"Cookie: {COOKIE.decode()}=x", status=303)


class LinksTests(SigningCase):
    """C{/links}."""

    def link(self, **wish: Any) -> tuple[str, Grant]:
        """Ask for one in JSON. @return: its path, and what it allows."""
        told = self.told("POST /links", json.dumps(wish).encode(), JSON, *self.signed_in(self.bob), status=201)
        url = urlsplit(told["url"])
        self.assertEqual(f"{url.scheme}://{url.netloc}", BASE)
        path = url.path + ("x" if wish.get("prefix") else "")
        grant = self.accounts.grant_of(wish.get("method", "GET"), path, parse_query(url.query.encode()))
        self.assertEqual(grant.expires, told["expires"])
        return url.path, grant

    def test_get(self) -> None:
        path, grant = self.link(name="a b/ä.txt")
        self.assertEqual(path, "/download/a%20b/%C3%A4.txt")
        self.assertEqual((grant.user, grant.expires, grant.once, grant.max_bytes), ("bob", 1_790_086_400, False, None))

    def test_put(self) -> None:
        path, grant = self.link(method="PUT", name="inbox", expires="15m", max_bytes=5, once=True, prefix=True)
        self.assertEqual((path, grant.path), ("/upload/inbox/", "/upload/inbox/"))
        self.assertEqual((grant.expires, grant.once, grant.max_bytes), (1_790_000_900, True, 5))
        self.assertEqual(
            self.link(method="PUT", name="a", expires=60, max_bytes=None, once=None)[1].expires, 1_790_000_060
        )

    def test_form(self) -> None:
        """A page with the link, as the plain form of the list asks for."""
        cookie, token = self.signed_in()
        fields = {"method": "GET", "name": "<a>.txt", "csrf": token.partition(": ")[2], "expires": "", "once": "on"}
        page = self.ask("POST /links", urlencode(fields).encode(), FORM, HTML, cookie)
        self.assertIn(b"https://box:6445/download/%3Ca%3E.txt?method=GET&amp;path=", page.body)
        self.assertNotIn(b"<a>.txt", page.body)

    def test_rights(self) -> None:
        """Links for a folder, by JSON and by the form of the list; the URL is that of the list, or one to add names to."""
        for wish, start, rights in (
            ({"permissions": ["list", "read"], "name": "a b/"}, "/download?prefix=a%20b/&rights=read,list&", "a b/"),
            ({"permissions": "read", "name": "a/"}, "/download/a/?rights=read&", "a/"),
            ({"permissions": ["put-new"], "name": ""}, "/upload/?rights=put-new&", ""),
            ({"permissions": ["read"], "name": "", "bucket": "box"}, "/download/?bucket=box&rights=read&", ""),
        ):
            body = json.dumps(wish).encode()
            told = self.told("POST /links", body, JSON, *self.signed_in(self.bob), status=201)
            self.assertTrue(told["url"].startswith(BASE + start), told)
            grant = self.accounts.grant_of("", "", parse_query(urlsplit(told["url"]).query.encode()))
            assert grant.rights is not None
            self.assertEqual((grant.user, grant.rights.prefix), ("bob", rights))
        cookie, token = self.signed_in()
        fields = {"permissions": "read,list", "name": "<a>/", "csrf": token.partition(": ")[2]}
        page = self.ask("POST /links", urlencode(fields).encode(), FORM, HTML, cookie)
        self.assertIn(b"can read and list &lt;a&gt;/ until", page.body)
        for wrong in (
            {"permissions": ["create"], "name": ""},
            {"permissions": [], "name": ""},
            {"permissions": 5, "name": ""},
            {"permissions": ["read"], "name": "", "method": "GET"},
            {"permissions": ["read"], "name": "", "prefix": True},
            {"permissions": ["read"], "name": "", "bucket": "*"},
            {"permissions": ["read"], "name": "", "bucket": 5},
            {"permissions": ["put-new"], "name": "", "bucket": "box"},
            {"permissions": ["list"], "name": "", "once": True},
            {"permissions": ["read"]},
            {"name": "a", "bucket": "box"},
        ):
            body = json.dumps(wrong).encode()
            self.assertEqual(
                self.told("POST /links", body, JSON, *self.signed_in(), status=400)["error"], "BadRequest", wrong
            )

    def test_key(self) -> None:
        """With an access key there is no token."""
        self.told(
            "POST /links",
            b'{"name":"a"}',
            JSON,
            f"Authorization: Bearer {self.bob.user.key_id}.{self.bob.secret}",
            status=201,
        )

    def test_refused(self) -> None:
        self.told("POST /links", b'{"name":"a"}', JSON, status=401)
        cookie, token = self.signed_in()
        self.assertEqual(self.told("POST /links", b'{"name":"a"}', JSON, cookie, status=403)["error"], "ForgedRequest")
        body = urlencode({"name": "a", "csrf": "x"}).encode()
        self.assertEqual(self.told("POST /links", body, FORM, cookie, status=403)["error"], "ForgedRequest")
        # A link makes no links.
        query = self.accounts.sign_link(self.ada.user, "PUT", "/links", self.clock.seconds() + 60)
        self.assertEqual(
            self.told(f"POST /links?{query}", b'{"name":"a"}', JSON, status=403)["error"], "LinkOutOfScope"
        )
        for wish in (
            {},
            {"name": ""},
            {"name": 5},
            {"name": "a", "method": "DELETE"},
            {"name": "a", "method": ["GET"]},
            {"name": "a", "expires": "soon"},
            {"name": "a", "expires": -1},
            {"name": "a", "expires": True},
            {"name": "a", "expires": 1e300},
            {"name": "a", "expires": "8d"},
            {"name": "a", "expires": []},
            {"name": "a", "method": "PUT", "max_bytes": "much"},
            {"name": "a", "method": "PUT", "max_bytes": 0},
            {"name": "a", "method": "PUT", "max_bytes": 1.5},
            {"name": "a", "max_bytes": 5},
            {"name": "a", "once": "perhaps"},
            {"name": "a", "prefix": 1},
            {"name": "../a"},
            {"name": "a//b"},
            {"name": "/a"},
            {"name": "\ud800"},
            {"name": "x" * 5000},
            {"name": "a", "more": 1},
            {"name": "a", "csrf": "x"},
        ):
            self.told("POST /links", json.dumps(wish).encode(), JSON, cookie, token, status=400)
        for body in (
            b"",
            b"[]",
            b"{",
            b"[" * 16000,
            b"\xff",
            b'{"name":"a","name":"b"}',
            b'{"name":"a","expires":NaN}',
        ):
            self.told("POST /links", body, JSON, cookie, token, status=400)
        self.told("POST /links", b" " * 20000, JSON, cookie, token, status=413)
        self.told("POST /links?name=a", b'{"name":"a"}', JSON, cookie, token, status=400)


class UsersTests(SigningCase):
    """C{/users}."""

    def test_administrator(self) -> None:
        users = self.told("GET /users", None, *self.signed_in())["users"]
        self.assertEqual([(user["name"], user["is_admin"]) for user in users], [("ada", True), ("bob", False)])
        self.assertNotIn(self.bob.secret, json.dumps(users))

    def test_others(self) -> None:
        self.assertEqual(self.told("GET /users", None, *self.signed_in(self.bob), status=403)["error"], "Forbidden")
        self.told("GET /users", status=401)


class AttemptsTests(SynchronousTestCase):
    """L{Attempts}."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.attempts = Attempts(self.clock.seconds, burst=3, interval=10.0, size=4)

    def fail_often(self, peer: str, times: int) -> None:
        for _ in range(times):
            self.attempts.failed(peer)

    def test_wait(self) -> None:
        self.fail_often("1.2.3.4", 2)
        self.assertEqual(self.attempts.wait("1.2.3.4"), 0)
        self.attempts.failed("1.2.3.4")
        self.assertEqual((self.attempts.wait("1.2.3.4"), self.attempts.wait("1.2.3.5")), (10, 0))
        self.clock.advance(9.5)
        self.assertEqual(self.attempts.wait("1.2.3.4"), 1)
        self.clock.advance(0.5)
        self.assertEqual(self.attempts.wait("1.2.3.4"), 0)
        self.attempts.failed("1.2.3.4")
        self.assertEqual(self.attempts.wait("1.2.3.4"), 10)
        self.clock.advance(1000)
        self.fail_often("1.2.3.4", 2)
        self.assertEqual(self.attempts.wait("1.2.3.4"), 0)

    def test_networks(self) -> None:
        self.fail_often("2001:db8::1", 3)
        for peer, waits in (
            ("2001:db8::ffff:1%eth0", True),
            ("2001:db8:0:1::1", False),
            ("::ffff:1.2.3.4", False),
            ("-", False),
        ):
            self.assertEqual(self.attempts.wait(peer) > 0, waits, peer)
        self.fail_often("::ffff:1.2.3.4", 3)
        self.assertTrue(self.attempts.wait("1.2.3.4"))

    def test_bounded(self) -> None:
        self.fail_often("0.0.0.0", 3)
        for last in range(1, 5):
            self.fail_often(f"0.0.0.{last}", 3)
        self.assertEqual([self.attempts.wait(f"0.0.0.{last}") for last in range(5)], [0, 10, 10, 10, 10])
        self.assertEqual(len(self.attempts._peers), 4)
