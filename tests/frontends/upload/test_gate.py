"""Tests of L{storehouse.frontends.upload.gate}."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any

import attrs
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from storehouse.frontends.http.reply import Reply, json_reply
from storehouse.frontends.http.request import Leaf, StreamingRequest
from storehouse.frontends.upload.gate import COOKIE, Gate, RefusalLog
from storehouse.storage.accounts.interfaces import NewKey, Session
from storehouse.testing import memory_object_store
from storehouse.testing.accounts import MemoryAccounts
from tests.frontends.http.wire import Answer, Connection, make_site, request, split_answers


class _Asks(Leaf):
    """Asks the gate as its query says, and tells who was let in."""

    takes_rest = True

    def __init__(self, gate: Gate) -> None:
        Leaf.__init__(self)
        self._gate = gate

    async def _ask(self, request: Any) -> Reply:
        action = request.path.split(b"/")[2].decode()
        visitor = await self._gate.admit(
            request, action, bucket="open" if action == "get" and b"open" in request.path else ""
        )
        await self._gate.use(visitor)
        return json_reply({"name": visitor.name, "how": visitor.how, "max": visitor.max_bytes})

    handle_GET = handle_POST = handle_PUT = handle_DELETE = _ask


class GateTests(SynchronousTestCase):
    """L{Gate}."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_700_000_000)
        self.accounts = MemoryAccounts(clock=self.clock.seconds)
        self.store = memory_object_store()
        for name, metadata in (("uploads", None), ("open", {"public": ["read"]})):
            self.successResultOf(self.store.create_bucket(name, metadata))
        self.key: NewKey = self.successResultOf(self.accounts.add_user("ada"))
        self.certificate = self.base_url = ""
        gate = Gate(
            self.accounts,
            self.store,
            common_name=lambda transport: self.certificate,
            base_url=lambda: self.base_url,
        )
        self.site = make_site(self.clock, ask=_Asks(gate))

    def ask(self, line: str, *fields: str, certificate: str = "") -> Answer:
        connection = Connection(self.site)
        self.certificate = certificate
        connection.send(request(line, None, *fields))
        (answer,) = split_answers(connection.received)
        return answer

    def let_in(self, line: str, *fields: str, certificate: str = "") -> dict[str, Any]:
        answer = self.ask(line, *fields, certificate=certificate)
        self.assertEqual(answer.status, 200, answer)
        told: dict[str, Any] = json.loads(answer.body)
        return told

    def refused(self, status: int, error: str, line: str, *fields: str, certificate: str = "") -> str:
        answer = self.ask(line, *fields, certificate=certificate)
        told = json.loads(answer.body)
        self.assertEqual((answer.status, told["error"]), (status, error), answer)
        self.assertEqual(status == 401, "www-authenticate" in answer.fields)
        return str(told["detail"])

    def basic(self, key_id: str, secret: str) -> str:
        return "Authorization: Basic " + b64encode(f"{key_id}:{secret}".encode()).decode()

    def cookie(self, session: Session) -> str:
        return f"Cookie: other=1; {COOKIE.decode()}={session.cookie}"

    def link(self, method: str, path: str, **how: Any) -> str:
        query = self.accounts.sign_link(self.key.user, method, path, self.clock.seconds() + 60, **how)
        return f"{path}?{query}"

    # -- nobody --------------------------------------------------------------------------------

    def test_nobody(self) -> None:
        for action in ("put", "get", "list", "delete", "manage", "admin"):
            self.assertIn("sign in", self.refused(401, "NotSignedIn", f"GET /ask/{action}"))

    def test_public(self) -> None:
        """What is public can be read by all, and changed by nobody else."""
        self.assertEqual(self.let_in("GET /ask/get/open"), {"name": "", "how": "public", "max": None})
        self.refused(401, "NotSignedIn", "PUT /ask/put/open")
        self.refused(401, "NotSignedIn", "DELETE /ask/delete/open")

    def test_public_is_no_way_around_a_refusal(self) -> None:
        """A wrong key is refused, also where none is needed."""
        self.refused(403, "LinkTampered", "GET /ask/get/open?signature=00")

    # -- keys ----------------------------------------------------------------------------------

    def test_key(self) -> None:
        key_id, secret = self.key.user.key_id, self.key.secret
        for field in (self.basic(key_id, secret), f"Authorization: Bearer {key_id}.{secret}"):
            self.assertEqual(self.let_in("PUT /ask/put/x", field), {"name": "ada", "how": "key", "max": None})

    def test_wrong_keys(self) -> None:
        key_id, secret = self.key.user.key_id, self.key.secret
        told = set()
        for field in (self.basic(key_id, secret + "x"), self.basic(key_id + "X", secret), self.basic("", "")):
            told.add(self.refused(401, "SignInRefused", "GET /ask/get/x", field))
        self.assertEqual(len(told), 1, "nothing tells which half is wrong")
        for field in ("Basic", "Basic %%%", "Basic YWJj", "Bearer abc", "Digest x", ""):
            self.refused(401, "SignInRefused", "GET /ask/get/x", f"Authorization: {field}")
        twice = [self.basic(key_id, secret)] * 2
        self.refused(401, "SignInRefused", "GET /ask/get/x", *twice)

    def test_wrong_key_beside_a_session(self) -> None:
        session = self.accounts.begin_session(self.key.user)
        self.refused(401, "SignInRefused", "GET /ask/get/x", self.cookie(session), self.basic("SHX", "y"))

    def test_disabled(self) -> None:
        session = self.accounts.begin_session(self.key.user)
        link = self.link("GET", "/ask/get/x")
        self.successResultOf(self.accounts.disable_user("ada"))
        self.refused(401, "SignInRefused", "GET /ask/get/x", self.basic(self.key.user.key_id, self.key.secret))
        self.refused(401, "NotSignedIn", "GET /ask/get/x", self.cookie(session))
        self.assertEqual(self.ask(f"GET {link}").status, 403)
        self.refused(401, "SignInRefused", "GET /ask/get/x", certificate="ada")

    def test_administrators(self) -> None:
        field = self.basic(self.key.user.key_id, self.key.secret)
        self.assertIn("ada", self.refused(403, "Forbidden", "GET /ask/admin", field))
        other = self.successResultOf(self.accounts.add_user("eve", True))
        self.assertEqual(self.let_in("GET /ask/admin", self.basic(other.user.key_id, other.secret))["name"], "eve")

    # -- sessions ------------------------------------------------------------------------------

    def test_session(self) -> None:
        session = self.accounts.begin_session(self.key.user)
        self.assertEqual(self.let_in("GET /ask/list", self.cookie(session))["how"], "session")
        token = f"X-CSRF-Token: {session.token}"
        self.assertEqual(self.let_in("PUT /ask/put/x", self.cookie(session), token)["name"], "ada")

    def test_cookies_of_others(self) -> None:
        """They cost nothing, however many: what Twisted makes of all of them is not asked for."""
        self.patch(StreamingRequest, "parseCookies", None)
        cookie = self.cookie(self.accounts.begin_session(self.key.user))
        ours = cookie.rpartition(" ")[2]
        for others in ("", ";;; =;x; ", ";" * 4000, "a=b;   "):
            self.assertEqual(self.let_in("GET /ask/list", f"Cookie: {others}{ours} ; c=d")["how"], "session")
        self.assertEqual(self.let_in("GET /ask/list", "Cookie: a=b", cookie)["how"], "session")
        for wrong in (f"x{ours}", ours.upper(), ours.replace("=", ""), f'a="; {ours}x"', f"a={ours}"):
            self.refused(401, "NotSignedIn", "GET /ask/list", f"Cookie: {wrong}")

    def test_token_is_needed_for_changes(self) -> None:
        session = self.accounts.begin_session(self.key.user)
        other = self.accounts.begin_session(self.key.user)
        for method in ("PUT", "POST", "DELETE"):
            line = f"{method} /ask/put/x"
            self.refused(403, "ForgedRequest", line, self.cookie(session))
            self.refused(403, "ForgedRequest", line, self.cookie(session), f"X-CSRF-Token: {other.token}")
            self.refused(403, "ForgedRequest", line, self.cookie(session), "X-CSRF-Token: é")

    def test_other_sites(self) -> None:
        session = self.accounts.begin_session(self.key.user)
        fields = (self.cookie(session), f"X-CSRF-Token: {session.token}")
        line = "POST /ask/put/x"
        for field in (
            "Sec-Fetch-Site: cross-site",
            "Sec-Fetch-Site: same-site",
            "Origin: https://evil",
            "Origin: http://x",
            "Origin: x",
            "Origin: ://",
            "Origin: null",
        ):
            self.refused(403, "ForgedRequest", line, *fields, field)
        for field in ("Sec-Fetch-Site: same-origin", "Sec-Fetch-Site: none", "Origin: https://x", "Origin: https://X"):
            self.let_in(line, *fields, field)
        self.refused(403, "ForgedRequest", line, *fields, "Origin: https://files.example")
        self.base_url = "https://files.example"
        for field in ("Origin: https://files.example", "Origin: https://x"):
            self.let_in(line, *fields, field)
        for field in ("Origin: https://files.example:81", "Origin: https://[", "Origin: files.example"):
            self.refused(403, "ForgedRequest", line, *fields, field)

    def test_behind_a_proxy_that_changes_the_host(self) -> None:
        """Browsers say that it is one site; of those that do not, the answer and the log say what to do."""
        session = self.accounts.begin_session(self.key.user)
        fields = (self.cookie(session), f"X-CSRF-Token: {session.token}", "Origin: https://files.example")
        with capturedLogs() as events:
            self.let_in("POST /ask/put/x", *fields, "Sec-Fetch-Site: same-origin")
            self.assertEqual(events, [])
            told = self.refused(403, "ForgedRequest", "POST /ask/put/x", *fields)
            self.refused(403, "ForgedRequest", "POST /ask/put/x", *fields, "Sec-Fetch-Site: none")
        for text in (told, str(formatEvent(events[0]))):
            for word in ("https://files.example", "called x", "--https-url"):
                self.assertIn(word, text)

    def test_written_down(self) -> None:
        """Who it was is in the access log, and refusals of keys, certificates and links in the log, without secrets."""
        self.site._access_log = self.site.asks = True
        key_id, secret = self.key.user.key_id, self.key.secret
        with capturedLogs() as events:
            self.let_in("GET /ask/get/x", self.basic(key_id, secret))
            self.let_in(f"GET {self.link('GET', '/ask/get/x')}")
            self.let_in("GET /ask/get/open")
            self.refused(401, "SignInRefused", "GET /ask/get/x", self.basic(key_id, "SECRET"))
            self.refused(401, "SignInRefused", "GET /ask/get/x", self.basic("SECRET" * 7, ""))
            self.refused(401, "SignInRefused", "GET /ask/get/x", "Authorization: Bearer SECRET")
            self.refused(401, "SignInRefused", "GET /ask/get/x", certificate="mallory")
            self.refused(403, "LinkTampered", f"GET {self.link('GET', '/ask/get/x')[:-4]}SECRET")
        lines = [str(formatEvent(event)) for event in events]
        users = [event["user"] for event in events if "uri" in event]
        self.assertEqual(users, ["ada", "link:ada", "-", "-", "-", "-", "-", "-"])
        self.assertIn(f"access key {key_id} from 127.0.0.1 refused", lines)
        self.assertEqual(lines.count("access key (malformed) from 127.0.0.1 refused"), 2)
        self.assertIn("certificate of mallory from 127.0.0.1 refused", lines)
        self.assertIn("link with a wrong signature from 127.0.0.1 refused", lines)
        self.assertEqual([line for line in lines if "SECRET" in line or secret in line], [])

    def test_expired_and_ended(self) -> None:
        session = self.accounts.begin_session(self.key.user)
        self.successResultOf(self.accounts.end_session(session))
        self.assertIn("over", self.refused(401, "NotSignedIn", "GET /ask/list", self.cookie(session)))
        session = self.accounts.begin_session(self.key.user)
        self.clock.advance(session.expires - self.clock.seconds() + 1)
        self.refused(401, "NotSignedIn", "GET /ask/list", self.cookie(session))
        broken = attrs.evolve(session, cookie=session.cookie[:-2])
        self.refused(401, "NotSignedIn", "GET /ask/list", self.cookie(broken))

    # -- certificates --------------------------------------------------------------------------

    def test_certificate(self) -> None:
        told = self.let_in("PUT /ask/put/x", certificate="ada")
        self.assertEqual(told, {"name": "ada", "how": "certificate", "max": None})
        self.refused(401, "SignInRefused", "GET /ask/get/x", certificate="mallory")

    def test_certificate_is_sent_by_browsers_for_anybody(self) -> None:
        self.refused(403, "ForgedRequest", "PUT /ask/put/x", "Sec-Fetch-Site: cross-site", certificate="ada")
        self.refused(403, "ForgedRequest", "PUT /ask/put/x", "Origin: https://evil", certificate="ada")

    def test_certificate_after_a_session(self) -> None:
        session = self.accounts.begin_session(self.key.user)
        self.successResultOf(self.accounts.end_session(session))
        self.assertEqual(self.let_in("GET /ask/list", self.cookie(session), certificate="ada")["how"], "certificate")

    # -- links ---------------------------------------------------------------------------------

    def test_links(self) -> None:
        told = self.let_in(f"PUT {self.link('PUT', '/ask/put/x', max_bytes=7)}")
        self.assertEqual(told, {"name": "ada", "how": "link", "max": 7})
        self.let_in(f"GET {self.link('GET', '/ask/get/x')}")

    def test_links_are_for_one_thing(self) -> None:
        self.refused(403, "LinkOutOfScope", f"GET {self.link('PUT', '/ask/get/x')}")
        other = self.link("GET", "/ask/get/x").replace("get/x", "get/y", 1)
        self.refused(403, "LinkOutOfScope", f"GET {other}")
        prefix = self.link("GET", "/ask/get/x/", is_prefix=True)
        self.let_in(f"GET {prefix.replace('get/x/', 'get/x/y', 1)}")
        self.refused(403, "LinkOutOfScope", f"GET {prefix.replace('get/x/', 'get/y', 1)}")
        for action in ("list", "delete", "manage", "admin"):
            self.refused(403, "LinkOutOfScope", f"GET {self.link('GET', f'/ask/{action}')}")

    def test_link_does_not_open_other_buckets(self) -> None:
        link = self.link("GET", "/ask/get/x") + "&bucket=sfsp"
        self.assertIn(self.ask(f"GET {link}").status, (403,))

    def test_link_is_what_counts(self) -> None:
        """A tampered one is refused, no matter which user sends it."""
        session = self.accounts.begin_session(self.key.user)
        link = self.link("GET", "/ask/get/x")[:-1]
        self.refused(403, "LinkTampered", f"GET {link}", self.cookie(session))

    def test_link_of_one_use(self) -> None:
        link = self.link("PUT", "/ask/put/x", once=True)
        self.let_in(f"PUT {link}")
        self.refused(403, "LinkUsed", f"PUT {link}")

    def test_link_expires(self) -> None:
        link = self.link("GET", "/ask/get/x")
        self.clock.advance(61)
        self.refused(403, "LinkExpired", f"GET {link}")


class RefusalLogTests(SynchronousTestCase):
    """L{RefusalLog}."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.log = RefusalLog(self.clock.seconds)

    def test_lines(self) -> None:
        key_id = "SH" + "A2" * 9
        with capturedLogs() as events:
            self.log.key("10.0.0.1", key_id)
            self.log.sign_in("10.0.0.1", key_id)
            self.log.sign_in("10.0.0.1", None)
            self.log.link("10.0.0.1")
            self.log.certificate("10.0.0.1", "ann\x1b")
            self.log.origin("10.0.0.1", b"https://a\x1b", b"b")
        lines = [str(formatEvent(event)) for event in events]
        self.assertEqual(
            lines[:5],
            [
                f"access key {key_id} from 10.0.0.1 refused",
                f"sign-in from 10.0.0.1 refused, by key {key_id}",
                "sign-in from 10.0.0.1 refused, by link",
                "link with a wrong signature from 10.0.0.1 refused",
                "certificate of ann%1B from 10.0.0.1 refused",
            ],
        )
        self.assertIn("a page of https://a%1B made it, and this server is called b", lines[5])
        self.assertTrue(all(event["peer"] == "10.0.0.1" for event in events))

    def test_no_secrets(self) -> None:
        """What is in the place of the key ID and does not look like one may be the secret."""
        with capturedLogs() as events:
            for given in ("", "x" * 40, "x" * 21, "SH" + "A" * 18 + "\n", "a b", "a\x1b"):
                self.log.key("10.0.0.1", given)
                self.log.sign_in("10.0.0.1", given)
        self.assertEqual(
            {str(formatEvent(event)) for event in events},
            {
                "access key (malformed) from 10.0.0.1 refused",
                "sign-in from 10.0.0.1 refused, by key (malformed)",
            },
        )

    def test_bounded(self) -> None:
        """For each address, for all together; and the number left out is reported."""
        with capturedLogs() as events:
            for _ in range(1000):
                self.log.link("10.0.0.1")
            self.assertEqual(len(events), 20)
            for number in range(1000):
                self.log.link(f"10.1.{number // 250}.{number % 250}")
            self.assertEqual(len(events), 100)
            self.clock.advance(3600)
            self.log.link("10.0.0.1")
        self.assertIn("(980 other refusals were not logged)", str(formatEvent(events[20])))
        self.assertIn("(920 other refusals were not logged)", str(formatEvent(events[-1])))
