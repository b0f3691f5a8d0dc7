"""What all accounts must do: mixed into a test case that makes some."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
from twisted.internet.task import Clock
from zope.interface.verify import verifyObject

from storehouse.config.settings import HTTPSSettings
from storehouse.errors import (
    AlreadyExists,
    BadRequest,
    Forbidden,
    InvalidName,
    LinkExpired,
    LinkOutOfScope,
    LinkTampered,
    LinkUsed,
    NoSuchAccessKey,
    NoSuchUser,
    NotSignedIn,
    SignInRefused,
)
from storehouse.frontends.http.request import parse_query
from storehouse.storage.accounts.interfaces import IAccounts, NewKey, Rights

if TYPE_CHECKING:
    from twisted.trial.unittest import SynchronousTestCase as TestCase
else:
    TestCase = object

__all__ = ["NOW", "SETTINGS", "AccountsTestsMixin", "PersistentAccountsTestsMixin", "fields_of"]

NOW = 1_790_000_000.0

SETTINGS = HTTPSSettings(session_lifetime=1000.0, link_lifetime=5000.0)


def fields_of(query: str) -> dict[bytes, bytes]:
    """The fields of a query, as a door has them."""
    return parse_query(query.encode("ascii"))


class AccountsTestsMixin(TestCase):
    """
    Tests of L{IAccounts}.

    C{make_accounts()} gives accounts without users, whose time is C{self.clock} and whose settings are L{SETTINGS}; their
    disk works at once.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.rightNow = NOW
        self.accounts: Any = self.make_accounts()

    def make_accounts(self) -> Any:
        raise NotImplementedError

    def add(self, name: str = "ann", is_admin: bool = False) -> NewKey:
        """A user."""
        return self.successResultOf(self.accounts.add_user(name, is_admin))  # type: ignore[no-any-return]

    def fails(self, work: Any, kind: type[Exception]) -> str:
        """What a failure says."""
        return str(self.failureResultOf(work, kind).value)

    # -- users ---------------------------------------------------------------------------------------------------------

    def test_interface(self) -> None:
        verifyObject(IAccounts, self.accounts)

    def test_realm(self) -> None:
        """It is of the accounts, and stays."""
        realm = self.accounts.realm
        self.assertRegex(realm, "^[0-9a-f]{8}$")
        self.assertEqual(self.accounts.realm, realm)

    def test_users(self) -> None:
        self.assertEqual(self.successResultOf(self.accounts.list_users()), [])
        keys = [self.add("bob"), self.add("ann", True)]
        users = self.successResultOf(self.accounts.list_users())
        self.assertEqual(users, [keys[1].user, keys[0].user])
        self.assertEqual(
            [(user.name, user.is_admin, user.is_disabled) for user in users],
            [("ann", True, False), ("bob", False, False)],
        )
        self.assertEqual((users[0].created, users[0].key_created), (NOW, NOW))

    def test_keys_look_as_promised(self) -> None:
        keys = [self.add(f"u{number}") for number in range(5)]
        for key in keys:
            self.assertRegex(key.user.key_id, r"\ASH[A-Z2-7]{18}\Z")
            self.assertRegex(key.secret, r"\A[A-Za-z0-9_-]{40}\Z")
            self.assertNotIn(key.secret, repr(key))
        self.assertEqual(len({key.secret for key in keys} | {key.user.key_id for key in keys}), 10)

    def test_names(self) -> None:
        for name in ("a", "a" * 64, "a.b-c_0", "0"):
            self.add(name)
        for name in ("", "a" * 65, "A", "ä", "a b", "a/b", "a\n", "a%", "\ud800"):
            self.fails(self.accounts.add_user(name), InvalidName)
        self.fails(self.accounts.add_user("a"), AlreadyExists)
        self.assertEqual(len(self.successResultOf(self.accounts.list_users())), 4)

    def test_no_such_user(self) -> None:
        for work in (
            self.accounts.disable_user("bob"),
            self.accounts.enable_user("bob"),
            self.accounts.rotate_key("bob"),
            self.accounts.make_sign_in_token("bob", 60),
        ):
            self.assertIn("'bob'", self.fails(work, NoSuchUser))

    def test_user_of_key(self) -> None:
        key, other = self.add("ann"), self.add("bob")
        self.assertEqual(self.accounts.user_of_key(key.user.key_id, key.secret), key.user)
        said = set()
        for key_id, secret in (
            (key.user.key_id, other.secret),
            (key.user.key_id, ""),
            (key.user.key_id, key.secret + "x"),
            (key.user.key_id, key.secret[:-1]),
            (key.user.key_id, "\ud800ä"),
            (key.user.key_id.lower(), key.secret),
            ("ann", key.secret),
            ("", ""),
        ):
            said.add(str(self.assertRaises(SignInRefused, self.accounts.user_of_key, key_id, secret)))
        self.assertEqual(len(said), 1)
        self.assertNotIn(key.secret, said.pop())

    def test_secret_of_key(self) -> None:
        """A door that verifies signatures has the secret itself, until the key is rotated or its user disabled."""
        key, other = self.add("ann"), self.add("bob")
        self.assertEqual(self.accounts.secret_of_key(key.user.key_id), (key.user, key.secret.encode()))
        self.assertEqual(self.accounts.secret_of_key(other.user.key_id), (other.user, other.secret.encode()))
        new = self.successResultOf(self.accounts.rotate_key("ann"))
        self.assertEqual(self.accounts.secret_of_key(new.user.key_id), (new.user, new.secret.encode()))
        self.successResultOf(self.accounts.disable_user("bob"))
        said = {
            str(self.assertRaises(SignInRefused, self.accounts.secret_of_key, key_id))
            for key_id in (key.user.key_id, other.user.key_id, new.user.key_id.lower(), "ann", "", "\ud800")
        }
        self.assertEqual(len(said), 1)

    def test_further_keys(self) -> None:
        """Each has a secret of its own; its limits are those of the user whom it names."""
        first = self.add("ann")
        limit = Rights(("put-new",), "backups", "a/")
        more = self.successResultOf(self.accounts.add_key("ann", [limit], "laptop"))
        full = self.successResultOf(self.accounts.add_key("ann"))
        user = self.accounts.user_of_key(more.key_id, more.secret)
        self.assertEqual((user.limits, user.name), ((limit,), "ann"))
        self.assertEqual(self.accounts.secret_of_key(more.key_id), (user, more.secret.encode()))
        self.assertEqual(self.accounts.user_of_key(full.key_id, full.secret).limits, None)
        self.assertEqual(self.accounts.user_of_key(first.key_id, first.secret).limits, None)
        (found,) = self.successResultOf(self.accounts.list_users())
        self.assertEqual([(key.id, key.limits, key.note) for key in found.keys],
                         [(more.key_id, (limit,), "laptop"), (full.key_id, None, "")])  # fmt: skip
        # A session or a link has no limits, so that a limited key begins none.
        self.assertRaises(SignInRefused, self.accounts.begin_session, user)
        self.assertRaises(Forbidden, self.accounts.sign_link, user, "GET", "/download/a", NOW + 60)
        session = self.accounts.begin_session(self.accounts.user_of_key(full.key_id, full.secret))
        self.successResultOf(self.accounts.remove_key("ann", more.key_id))
        self.assertRaises(SignInRefused, self.accounts.user_of_key, more.key_id, more.secret)
        self.assertRaises(SignInRefused, self.accounts.secret_of_key, more.key_id)
        self.assertEqual(self.accounts.session_of(session.cookie).user.name, "ann")
        self.successResultOf(self.accounts.remove_key("ann", full.key_id))
        self.assertRaises(NotSignedIn, self.accounts.session_of, session.cookie)
        self.fails(self.accounts.remove_key("ann", full.key_id), NoSuchAccessKey)
        self.fails(self.accounts.remove_key("ann", first.key_id), BadRequest)
        self.fails(self.accounts.add_key("ann", None, "x" * 201), BadRequest)
        self.fails(self.accounts.add_key("bob"), NoSuchUser)

    def test_further_keys_stay(self) -> None:
        """Another first key leaves them; a disabled user has none."""
        self.add("ann")
        more = self.successResultOf(self.accounts.add_key("ann"))
        self.successResultOf(self.accounts.rotate_key("ann"))
        self.assertEqual(self.accounts.user_of_key(more.key_id, more.secret).name, "ann")
        self.successResultOf(self.accounts.disable_user("ann"))
        self.assertRaises(SignInRefused, self.accounts.user_of_key, more.key_id, more.secret)
        self.assertRaises(SignInRefused, self.accounts.secret_of_key, more.key_id)

    def test_rights(self) -> None:
        """What is granted is known at once, and what is revoked."""
        self.add("ann")
        read = Rights(("read",), "photos", "2026/")
        self.assertFalse(self.accounts.user_named("ann").may("read", "photos", "2026/a", "bob"))
        self.successResultOf(self.accounts.grant("ann", read))
        self.assertTrue(self.accounts.user_named("ann").may("read", "photos", "2026/a", "bob"))
        self.assertFalse(self.accounts.user_named("ann").may("read", "photos", "2025/a", "bob"))
        self.successResultOf(self.accounts.revoke("ann", read))
        self.assertFalse(self.accounts.user_named("ann").may("read", "photos", "2026/a", "bob"))
        self.fails(self.accounts.revoke("ann", read), BadRequest)
        self.assertEqual(self.successResultOf(self.accounts.revoke("ann", None)).rights, ())
        self.assertFalse(self.accounts.user_named("ann").may("read", "uploads", "a"))
        for work in (self.accounts.grant("bob", read), self.accounts.revoke("bob", None)):
            self.fails(work, NoSuchUser)
        self.assertRaises(NoSuchUser, self.accounts.user_named, "bob")

    def test_may(self) -> None:
        """Owners and administrators, and the limits of keys."""
        ann, root = self.add("ann").user, self.add("root", True).user
        self.assertTrue(ann.may("delete", "hers", "a", "ann"))
        self.assertFalse(ann.may("delete", "his", "a", "bob"))
        self.assertTrue(root.may("delete", "his", "a", "bob"))
        put = (Rights(("put-new",), "hers"),)
        self.assertTrue(attrs.evolve(ann, limits=put).may("put-new", "hers", "a", "ann"))
        for user in (ann, root):
            limited = attrs.evolve(user, limits=put)
            self.assertFalse(limited.may("overwrite", "hers", "a", "ann"))
            self.assertFalse(limited.may("put-new", "uploads", "a"))
            self.assertFalse(limited.is_unlimited_admin)
            self.assertFalse(attrs.evolve(user, is_disabled=True).may("read", "uploads", "a", user.name))

    def test_disable(self) -> None:
        key = self.add()
        session = self.accounts.begin_session(key.user)
        token = self.successResultOf(self.accounts.make_sign_in_token("ann", 60))
        link = fields_of(self.accounts.sign_link(key.user, "GET", "/download/a", NOW + 60))
        disabled = self.successResultOf(self.accounts.disable_user("ann"))
        self.assertEqual(disabled, attrs.evolve(key.user, is_disabled=True))
        self.assertEqual(self.successResultOf(self.accounts.disable_user("ann")), disabled)
        self.assertRaises(SignInRefused, self.accounts.user_of_key, key.user.key_id, key.secret)
        self.assertRaises(SignInRefused, self.accounts.user_of_certificate, "ann")
        self.assertRaises(SignInRefused, self.accounts.begin_session, key.user)
        self.assertRaises(NotSignedIn, self.accounts.session_of, session.cookie)
        self.assertRaises(Forbidden, self.accounts.sign_link, key.user, "GET", "/download/a", NOW + 60)
        self.assertRaises(Forbidden, self.accounts.grant_of, "GET", "/download/a", link)
        self.fails(self.accounts.make_sign_in_token("ann", 60), Forbidden)
        self.fails(self.accounts.sign_in_by_token(token), SignInRefused)

        self.assertEqual(self.successResultOf(self.accounts.enable_user("ann")), key.user)
        self.assertEqual(self.accounts.user_of_key(key.user.key_id, key.secret), key.user)
        self.accounts.grant_of("GET", "/download/a", link)
        # What was a session once does not come back, nor does a token.
        self.assertRaises(NotSignedIn, self.accounts.session_of, session.cookie)
        self.fails(self.accounts.sign_in_by_token(token), SignInRefused)

    def test_rotate(self) -> None:
        key, other = self.add(), self.add("bob")
        session, kept = self.accounts.begin_session(key.user), self.accounts.begin_session(other.user)
        self.clock.advance(10)
        new = self.successResultOf(self.accounts.rotate_key("ann"))
        self.assertEqual((new.user.created, new.user.key_created), (NOW, NOW + 10))
        self.assertRaises(SignInRefused, self.accounts.user_of_key, key.user.key_id, key.secret)
        self.assertRaises(SignInRefused, self.accounts.user_of_key, new.user.key_id, key.secret)
        self.assertEqual(self.accounts.user_of_key(new.user.key_id, new.secret), new.user)
        self.assertRaises(NotSignedIn, self.accounts.session_of, session.cookie)
        self.assertEqual(self.accounts.session_of(kept.cookie), kept)

    def test_rotate_ends_sign_in_links(self) -> None:
        """Who fears for a key fears for what was shown beside it; those of others stay."""
        for name in ("ann", "bob"):
            self.add(name)
        token, kept = [self.successResultOf(self.accounts.make_sign_in_token(name, 60)) for name in ("ann", "bob")]
        self.successResultOf(self.accounts.rotate_key("ann"))
        self.fails(self.accounts.sign_in_by_token(token), SignInRefused)
        self.assertEqual(self.successResultOf(self.accounts.sign_in_by_token(kept)).user.name, "bob")

    def test_certificate(self) -> None:
        key = self.add()
        self.assertEqual(self.accounts.user_of_certificate("ann"), key.user)
        for name in ("bob", "", "Ann", "ann\0"):
            self.assertRaises(SignInRefused, self.accounts.user_of_certificate, name)

    # -- sign-in tokens ------------------------------------------------------------------------------------------------

    def test_token(self) -> None:
        """Good once."""
        key = self.add()
        token = self.successResultOf(self.accounts.make_sign_in_token("ann", 60))
        self.assertRegex(token, r"\A[A-Za-z0-9_-]{43}\Z")
        session = self.successResultOf(self.accounts.sign_in_by_token(token))
        self.assertEqual(session.user, key.user)
        self.assertEqual(self.accounts.session_of(session.cookie), session)
        self.fails(self.accounts.sign_in_by_token(token), SignInRefused)

    def test_token_expires(self) -> None:
        self.add()
        token = self.successResultOf(self.accounts.make_sign_in_token("ann", 60))
        self.clock.advance(60)
        self.fails(self.accounts.sign_in_by_token(token), SignInRefused)

    def test_wrong_token(self) -> None:
        self.add()
        token = self.successResultOf(self.accounts.make_sign_in_token("ann", 60))
        for wrong in ("", token[:-1], token + "=", token.swapcase(), "ä", "\ud800", "x" * 10000):
            self.fails(self.accounts.sign_in_by_token(wrong), SignInRefused)
        self.successResultOf(self.accounts.sign_in_by_token(token))

    def test_newer_token(self) -> None:
        """Of one user the last one counts; others have theirs."""
        self.add()
        self.add("bob")
        tokens = [self.successResultOf(self.accounts.make_sign_in_token(name, 60)) for name in ("ann", "bob", "ann")]
        self.fails(self.accounts.sign_in_by_token(tokens[0]), SignInRefused)
        for token in tokens[1:]:
            self.successResultOf(self.accounts.sign_in_by_token(token))

    def test_token_lifetime(self) -> None:
        self.add()
        for lifetime in (0, -1, float("nan"), float("inf")):
            self.fails(self.accounts.make_sign_in_token("ann", lifetime), BadRequest)

    # -- sessions ------------------------------------------------------------------------------------------------------

    def test_session(self) -> None:
        key = self.add()
        session, other = self.accounts.begin_session(key.user), self.accounts.begin_session(key.user)
        self.assertEqual((session.user, session.expires), (key.user, NOW + 1000))
        self.assertNotEqual(session.cookie, other.cookie)
        self.assertNotEqual(session.token, other.token)
        self.assertNotIn(session.token, session.cookie)
        self.assertNotIn(session.cookie, repr(session))
        self.assertRegex(session.cookie, r"\A[A-Za-z0-9_-]+\Z")
        self.assertEqual(self.accounts.session_of(session.cookie), session)
        self.clock.advance(999)
        self.assertEqual(self.accounts.session_of(session.cookie), session)
        self.clock.advance(1)
        self.assertRaises(NotSignedIn, self.accounts.session_of, session.cookie)

    def test_session_of_the_longest_name(self) -> None:
        session = self.accounts.begin_session(self.add("x" * 64).user)
        self.assertEqual(self.accounts.session_of(session.cookie), session)

    def test_end_session(self) -> None:
        key = self.add()
        session, other = self.accounts.begin_session(key.user), self.accounts.begin_session(key.user)
        self.successResultOf(self.accounts.end_session(session))
        self.successResultOf(self.accounts.end_session(session))
        self.assertRaises(NotSignedIn, self.accounts.session_of, session.cookie)
        self.assertEqual(self.accounts.session_of(other.cookie), other)

    def test_changed_cookie(self) -> None:
        """Every character counts."""
        cookie = self.accounts.begin_session(self.add().user).cookie
        for at in range(len(cookie)):
            for changed in ("A", "B", "-"):
                if cookie[at] != changed:
                    self.assertRaises(NotSignedIn, self.accounts.session_of, cookie[:at] + changed + cookie[at + 1 :])
            self.assertRaises(NotSignedIn, self.accounts.session_of, cookie[:at])
        for wrong in (cookie + "A", cookie + "=", cookie + "==", " " + cookie, cookie * 20, "ä", "\ud800"):
            self.assertRaises(NotSignedIn, self.accounts.session_of, wrong)

    def test_no_such_user_in_session(self) -> None:
        key = self.add()
        self.assertRaises(SignInRefused, self.accounts.begin_session, attrs.evolve(key.user, name="bob"))

    # -- links ---------------------------------------------------------------------------------------------------------

    def sign(self, method: str = "PUT", path: str = "/upload/a", expires: float = NOW + 60, **limits: Any) -> str:
        """A link of the first user."""
        users = self.successResultOf(self.accounts.list_users())
        user = users[0] if users else self.add().user
        return self.accounts.sign_link(user, method, path, expires, **limits)  # type: ignore[no-any-return]

    def test_link(self) -> None:
        fields = fields_of(self.sign("PUT", "/upload/a%20b", NOW + 60, max_bytes=5, once=True))
        grant = self.accounts.grant_of("PUT", "/upload/a%20b", fields)
        self.assertEqual(
            (grant.method, grant.path, grant.is_prefix, grant.expires, grant.max_bytes, grant.once, grant.user),
            ("PUT", "/upload/a%20b", False, int(NOW) + 60, 5, True, "ann"),
        )
        self.assertRegex(grant.nonce, r"\A[0-9a-f]{32}\Z")
        self.assertNotEqual(self.sign(), self.sign())

    def test_link_expires(self) -> None:
        fields = fields_of(self.sign(expires=NOW + 60))
        self.clock.advance(59)
        self.accounts.grant_of("PUT", "/upload/a", fields)
        self.clock.advance(1)
        self.assertRaises(LinkExpired, self.accounts.grant_of, "PUT", "/upload/a", fields)
        # In that order: the time is looked at before the scope, the signature before the time.
        self.assertRaises(LinkExpired, self.accounts.grant_of, "GET", "/download/b", fields)
        self.assertRaises(
            LinkTampered, self.accounts.grant_of, "PUT", "/upload/a", {**fields, b"expires": b"1800000000"}
        )

    def test_link_lifetime(self) -> None:
        self.sign(expires=NOW + 5000)
        for expires in (NOW + 5002, NOW, NOW - 1, float("inf"), float("nan")):
            self.assertRaises(BadRequest, self.sign, expires=expires)

    def test_link_once(self) -> None:
        fields = fields_of(self.sign(once=True))
        grant = self.accounts.grant_of("PUT", "/upload/a", fields)
        self.accounts.grant_of("PUT", "/upload/a", fields)  # looking uses nothing up
        self.successResultOf(self.accounts.use_link(grant))
        self.fails(self.accounts.use_link(grant), LinkUsed)
        self.assertRaises(LinkUsed, self.accounts.grant_of, "PUT", "/upload/a", fields)
        self.assertRaises(LinkUsed, self.accounts.grant_of, "GET", "/download/b", fields)
        self.clock.advance(60)
        self.assertRaises(LinkExpired, self.accounts.grant_of, "PUT", "/upload/a", fields)

    def test_link_often(self) -> None:
        fields = fields_of(self.sign())
        for _ in range(3):
            self.successResultOf(self.accounts.use_link(self.accounts.grant_of("PUT", "/upload/a", fields)))

    def test_link_for_another_method(self) -> None:
        self.assertRaises(LinkOutOfScope, self.accounts.grant_of, "GET", "/upload/a", fields_of(self.sign()))
        read = fields_of(self.sign("GET", "/download/a"))
        self.assertRaises(LinkOutOfScope, self.accounts.grant_of, "PUT", "/download/a", read)
        self.assertRaises(LinkOutOfScope, self.accounts.grant_of, "HEAD", "/download/a", read)

    def test_link_with_rights(self) -> None:
        """It is for any method and path, expires and ends with its user as others do; limits of the signer's key forbid it."""
        user = self.add().user
        rights = Rights(("read", "list"), "uploads", "a/")
        fields = fields_of(self.accounts.sign_rights(user, rights, NOW + 60))
        for method, path in (("GET", "/download/a/b"), ("PUT", "/upload/x"), ("", "")):
            grant = self.accounts.grant_of(method, path, fields)
            self.assertEqual((grant.rights, grant.method, grant.path, grant.user), (rights, "", "", "ann"))
        for name in fields:
            for value in (fields[name] + b"x", b""):
                self.assertRaises(LinkTampered, self.accounts.grant_of, "", "", {**fields, name: value})
        for wrong in (
            Rights((), "uploads"),
            Rights(("create",), "uploads"),
            Rights(("read",), "*"),
            Rights(("read",), "up*"),
            Rights(("read",), "@shared"),
            Rights(("read",), "uploads", "\ud800"),
        ):
            self.assertRaises(BadRequest, self.accounts.sign_rights, user, wrong, NOW + 60)
        self.assertRaises(BadRequest, self.accounts.sign_rights, user, rights, NOW + 60, 5)
        self.assertRaises(BadRequest, self.accounts.sign_rights, user, rights, NOW + 60, None, True)
        self.assertRaises(BadRequest, self.accounts.sign_rights, user, rights, NOW - 1)
        limited = attrs.evolve(user, limits=[rights])
        self.assertRaises(Forbidden, self.accounts.sign_rights, limited, rights, NOW + 60)
        once = fields_of(self.accounts.sign_rights(user, Rights(("put-new",), "uploads"), NOW + 60, 5, True))
        grant = self.accounts.grant_of("", "", once)
        self.assertEqual((grant.max_bytes, grant.once), (5, True))
        self.successResultOf(self.accounts.use_link(grant))
        self.assertRaises(LinkUsed, self.accounts.grant_of, "", "", once)
        self.successResultOf(self.accounts.disable_user("ann"))
        self.assertRaises(Forbidden, self.accounts.grant_of, "", "", fields)
        self.clock.advance(61)
        self.assertRaises(LinkExpired, self.accounts.grant_of, "", "", fields)

    def test_link_for_one_path(self) -> None:
        fields = fields_of(self.sign(path="/upload/a/b~%c3%a4.txt"))
        for path in ("/upload/a/b~%C3%A4.txt", "/upload/%61/b%7E%c3%A4%2Etxt"):
            self.assertEqual(self.accounts.grant_of("PUT", path, fields).path, "/upload/a/b~%C3%A4.txt")
        for path in (
            "/upload/a",
            "/upload/a/b~%C3%A4.txt/",
            "/upload/a/b~%C3%A4.txtx",
            "/upload/a%2Fb~%C3%A4.txt",
            "/upload//a/b~%C3%A4.txt",
            "/upload/x/../a/b~%C3%A4.txt",
            "/upload/./a/b~%C3%A4.txt",
            "/upload/a/b~%C3%A4.tx",
            "/upload/a/B~%C3%A4.txt",
            "",
            "*",
        ):
            self.assertRaises(LinkOutOfScope, self.accounts.grant_of, "PUT", path, fields)

    def test_prefix_link(self) -> None:
        fields = fields_of(self.sign(path="/upload/a/", is_prefix=True))
        for path in (
            "/upload/a/b",
            "/upload/a/b/c",
            "/upload/%61/b",
            "/upload/a/..b",
            "/upload/a/...",
            "/upload/a/.b",
            "/upload/a/%25",
        ):
            self.assertTrue(self.accounts.grant_of("PUT", path, fields).is_prefix)
        for path in (
            "/upload/a",
            "/upload/a/",
            "/upload/ab",
            "/upload/ab/c",
            "/upload/b",
            "/upload/A/b",
            "/upload/a/../b",
            "/upload/a/%2e%2E/b",
            "/upload/a/.%2e/b",
            "/upload/a/./b",
            "/upload/a/%2e",
            "/upload/a/..",
            "/upload/a%2Fb",
            "/upload/a/b%2fc",
            "/upload/a/..%2fb",
            "/upload/a/b\\..\\..\\c",
            "/upload/a/..%5cb",
            "/upload/a//b",
            "//upload/a/b",
            "/upload/a/b%00",
            "/upload/a/b%0a",
            "/upload/a/%ff",
            "/upload/a/%c0%ae%c0%ae/b",
            "/upload/a/%",
            "/upload/a/%zz",
            "/upload/a/b?c",
            "/upload/a/b#c",
            "/upload/a/ä",
            "/upload/a/b c",
            "upload/a/b",
            "http://host/upload/a/b",
            "/upload/a/" + "x" * 4096,
        ):
            self.assertRaises(LinkOutOfScope, self.accounts.grant_of, "PUT", path, fields)

    def test_bad_links(self) -> None:
        """What is never signed."""
        for method, path, limits in (
            ("POST", "/upload/a", {}),
            ("put", "/upload/a", {}),
            ("PUT", "", {}),
            ("PUT", "upload/a", {}),
            ("PUT", "/upload/../a", {}),
            ("PUT", "/upload/%2e./a", {}),
            ("PUT", "/upload/a%2fb", {}),
            ("PUT", "/upload/a%5cb", {}),
            ("PUT", "/upload//a", {}),
            ("PUT", "/upload/a%0a", {}),
            ("PUT", "/upload/a\n", {}),
            ("PUT", "/upload/ä", {}),
            ("PUT", "/upload/%ff", {}),
            ("PUT", "/upload/%", {}),
            ("PUT", "/upload/a", {"is_prefix": True}),
            ("PUT", "/upload/a", {"max_bytes": 0}),
            ("PUT", "/upload/a", {"max_bytes": -1}),
            ("PUT", "/upload/a", {"max_bytes": 1 << 61}),
            ("GET", "/download/a", {"max_bytes": 1}),
        ):
            self.assertRaises(BadRequest, self.sign, method, path, **limits)

    def test_changed_link(self) -> None:
        """Every field counts, and that there is no other."""
        fields = fields_of(self.sign(max_bytes=500, once=True, path="/upload/a/", is_prefix=True))
        self.accounts.grant_of("PUT", "/upload/a/b", fields)
        changes: dict[bytes, list[bytes]] = {
            b"method": [b"GET", b"put", b"POST", b""],
            b"path": [b"/upload/", b"/upload/a", b"/upload/b/", b"/", b"", b"/upload/a//", b"/upload/a/\n", b"\xff"],
            b"prefix": [b"0", b"", b"2", b"on"],
            b"expires": [b"1790000061", b"01790000060", b"+1790000060", b"1790000060 ", b"", b"1e10", b"9" * 5000],
            b"max-bytes": [b"501", b"0500", b"-1", b"", b"5000"],
            b"once": [b"0", b"", b"2"],
            b"nonce": [b"0" * 32, fields[b"nonce"].upper() if not fields[b"nonce"].isdigit() else b"0", b""],
            b"user": [b"bob", b"", b"ann\n", b"ANN"],
            b"signature": [b"", b"0" * 64, fields[b"signature"][:-1], fields[b"signature"] + b"0", b"\xff"],
        }
        self.assertEqual(set(changes), set(fields))
        for name, values in changes.items():
            for value in values:
                self.assertRaises(LinkTampered, self.accounts.grant_of, "PUT", "/upload/a/b", {**fields, name: value})
            without = {known: value for known, value in fields.items() if known != name}
            self.assertRaises(LinkTampered, self.accounts.grant_of, "PUT", "/upload/a/b", without)
        plain = fields_of(self.sign())
        for name, value in ((b"prefix", b"1"), (b"max-bytes", b"9"), (b"once", b"1")):
            self.assertRaises(LinkTampered, self.accounts.grant_of, "PUT", "/upload/a", {**plain, name: value})
        self.assertRaises(LinkTampered, self.accounts.grant_of, "PUT", "/upload/a", {})

    def test_links_do_not_mix(self) -> None:
        """Fields of one link are nothing in another."""
        first, second = fields_of(self.sign(path="/upload/a")), fields_of(self.sign(path="/upload/b", expires=NOW + 70))
        for name in (b"path", b"expires", b"nonce", b"signature"):
            self.assertRaises(LinkTampered, self.accounts.grant_of, "PUT", "/upload/a", {**first, name: second[name]})


class PersistentAccountsTestsMixin(AccountsTestsMixin):
    """
    Tests of L{IAccounts} that outlive their object, and share their place with others.

    C{reopen()} gives other accounts on the same place; those from before can still be used.
    """

    def reopen(self) -> Any:
        raise NotImplementedError

    def test_all_comes_back(self) -> None:
        key, other = self.add("ann", True), self.add("bob")
        self.successResultOf(self.accounts.disable_user("bob"))
        token = self.successResultOf(self.accounts.make_sign_in_token("ann", 60))
        session, ended = self.accounts.begin_session(key.user), self.accounts.begin_session(key.user)
        self.successResultOf(self.accounts.end_session(ended))
        fields, used = fields_of(self.sign()), fields_of(self.sign(once=True))
        self.successResultOf(self.accounts.use_link(self.accounts.grant_of("PUT", "/upload/a", used)))

        again = self.reopen()
        self.assertEqual(
            self.successResultOf(again.list_users()), [key.user, attrs.evolve(other.user, is_disabled=True)]
        )
        self.assertEqual(again.user_of_key(key.user.key_id, key.secret), key.user)
        self.assertEqual(again.session_of(session.cookie), session)
        self.assertEqual(again.realm, self.accounts.realm)
        self.assertRaises(NotSignedIn, again.session_of, ended.cookie)
        again.grant_of("PUT", "/upload/a", fields)
        self.assertRaises(LinkUsed, again.grant_of, "PUT", "/upload/a", used)
        self.successResultOf(again.sign_in_by_token(token))
        self.failureResultOf(self.reopen().sign_in_by_token(token), SignInRefused)

    def test_two_processes(self) -> None:
        """Each knows what the other did."""
        other = self.reopen()
        key = self.add()
        self.assertEqual(other.user_of_key(key.user.key_id, key.secret), key.user)
        session = self.accounts.begin_session(key.user)
        self.assertEqual(other.session_of(session.cookie), session)
        self.successResultOf(other.add_user("bob"))
        self.successResultOf(self.accounts.add_user("carl"))
        for accounts in (self.accounts, other):
            self.assertEqual(
                [user.name for user in self.successResultOf(accounts.list_users())], ["ann", "bob", "carl"]
            )
        new = self.successResultOf(other.rotate_key("ann"))
        self.assertEqual(self.accounts.user_of_key(new.user.key_id, new.secret), new.user)
        self.assertRaises(NotSignedIn, self.accounts.session_of, session.cookie)
        token = self.successResultOf(other.make_sign_in_token("ann", 60))
        self.successResultOf(self.accounts.sign_in_by_token(token))
        self.fails(other.sign_in_by_token(token), SignInRefused)
        self.fails(other.add_user("carl"), AlreadyExists)

    def test_once_in_two_processes(self) -> None:
        """One that looked before the other used it comes too late."""
        self.add()
        other = self.reopen()
        for first, second in ((self.accounts, other), (other, self.accounts)):
            fields = fields_of(self.sign(once=True))
            grants = [accounts.grant_of("PUT", "/upload/a", fields) for accounts in (first, second)]
            self.successResultOf(first.use_link(grants[0]))
            self.fails(second.use_link(grants[1]), LinkUsed)
