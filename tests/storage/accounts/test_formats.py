"""Golden bytes of what accounts sign and keep, and that nothing of it can be changed."""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path

from hypothesis import assume, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

import storehouse
from storehouse.core.checksummed import decode_checksummed, encode_checksummed
from storehouse.errors import BadRequest, Damaged, LinkTampered, NotSignedIn
from storehouse.frontends.http.request import parse_query
from storehouse.storage.accounts.accounts import (
    Account,
    Keys,
    Ticket,
    Token,
    Users,
    hash_token,
    read_cookie,
    request_token,
    write_cookie,
)
from storehouse.storage.accounts.interfaces import EARLIER, AccessKey, Grant, Rights, User
from storehouse.storage.accounts.links import canonical_path, read_query, write_query

KEYS = Keys(bytes(range(32)))

STORE = Grant(
    "PUT",
    "/upload/r%C3%A9sum%C3%A9.pdf",
    False,
    1790000900,
    1 << 30,
    True,
    "00112233445566778899aabbccddeeff",
    "ann",
)
STORE_QUERY = (
    "method=PUT&path=/upload/r%C3%A9sum%C3%A9.pdf&expires=1790000900&max-bytes=1073741824&once=1"
    "&nonce=00112233445566778899aabbccddeeff&user=ann"
    "&signature=de20b16df2036d9374e981438b2dbacba79dddddf2fe25052f87118fbb2d2cb7"
)
READ = Grant("GET", "/download/reports/", True, 1790604800, None, False, "ffeeddccbbaa99887766554433221100", "admin")
RIGHTS = Grant(
    "",
    "",
    False,
    1790000900,
    1 << 30,
    False,
    "00112233445566778899aabbccddeeff",
    "ann",
    Rights(("read", "list", "put-new"), "uploads", "in box/\xe9"),
)
RIGHTS_QUERY = (
    "rights=read,list,put-new&scope=uploads/in%20box/%C3%A9&expires=1790000900&max-bytes=1073741824"
    "&nonce=00112233445566778899aabbccddeeff&user=ann"
    "&signature=911665fbc66d8584d920aebdce717d93e47cf7ed7e333669e80b8214d4ed7a9f"
)
READ_QUERY = (
    "method=GET&path=/download/reports/&prefix=1&expires=1790604800&nonce=ffeeddccbbaa99887766554433221100&user=admin"
    "&signature=fbb90711e5dbff397abb14cb5560de8acc4fa8f22b7407c172a4640d502b1e77"
)
TICKET = Ticket("ann", 3, 1790043200, bytes(range(16)))
COOKIE = "AQAAAABqseRAAAAAAwABAgMEBQYHCAkKCwwNDg9hbm4iGgnhGRD6VxrEQIYtqDGXM-oE97zRQom9JtzwrPaFMg"
USERS = Users(
    {"ann": Account(User("ann", "SHABCDEFGHIJKLMNOPQR", True, False, 1790000000.0, 1790000001.5), b"\0\1\2", 3, False)},
    (Token(hash_token("token"), "ann", 1790003600.0),),
    7,
)
USERS_BYTES = (
    b'{"format":"storehouse accounts","version":1,"sequence":7,"users":[{"name":"ann","key_id":"SHABCDEFGHIJKLMNOPQR",'
    b'"is_admin":true,"is_disabled":false,"created":1790000000.0,"key_created":1790000001.5,"secret":"AAEC",'
    b'"generation":3,"is_claimed":false}],"tokens":[{"hash":'
    b'"3c469e9d6c5875d37a43f353d4f88e61fcf812c66eee3457465a40b0da4153e0","user":"ann","expires":1790003600.0}],'
    b'"checksum":"e0b295b6"}\n'
)

#: The same, of a user with rights and a further key.
LIMITED = Users(
    {
        "bob": Account(
            User(
                "bob", "SHABCDEFGHIJKLMNOPQR", False, False, 1.0, 2.0,
                (Rights(("read", "list"), "photos", "2026/"),),
                (AccessKey("SHBBBBBBBBBBBBBBBBBB", 3.0, (Rights(("put-new",), "*"),), "laptop"),),
            ),
            b"\0",
            more_secrets={"SHBBBBBBBBBBBBBBBBBB": b"\1"},
        )
    },
    (),
    8,
)  # fmt: skip
LIMITED_BYTES = (
    b'{"format":"storehouse accounts","version":1,"sequence":8,"users":[{"name":"bob","key_id":"SHABCDEFGHIJKLMNOPQR",'
    b'"is_admin":false,"is_disabled":false,"created":1.0,"key_created":2.0,"secret":"AA==","generation":0,'
    b'"is_claimed":true,"rights":[{"permissions":["read","list"],"bucket":"photos","prefix":"2026/"}],'
    b'"keys":[{"id":"SHBBBBBBBBBBBBBBBBBB","created":3.0,"limits":[{"permissions":["put-new"],"bucket":"*",'
    b'"prefix":""}],"note":"laptop","secret":"AQ=="}]}],"tokens":[],"checksum":"2a99d65a"}\n'
)


class KeysTests(SynchronousTestCase):
    """L{Keys}."""

    def test_golden(self) -> None:
        """By RFC 5869, sections 2.2 and 2.3, written out."""
        extracted = hmac.digest(bytes(32), bytes(range(32)), "sha256")
        for purpose, key in (
            (b"sessions", KEYS.sessions),
            (b"request tokens", KEYS.requests),
            (b"links", KEYS.links),
        ):
            self.assertEqual(key, hmac.digest(extracted, b"storehouse accounts 1: " + purpose + b"\1", "sha256"))
        self.assertEqual(KEYS.links.hex(), "f25c1adad7fdd67df5367847be5d8646963be65fe9c62e365528d9284c38a9f5")

    def test_sealed_secret(self) -> None:
        sealed = KEYS.seal_secret("ann", "SHA", "secret")
        self.assertEqual(len(sealed), 12 + 6 + 16)
        self.assertNotEqual(sealed, KEYS.seal_secret("ann", "SHA", "secret"))
        self.assertEqual(KEYS.open_secret("ann", "SHA", sealed), "secret")
        golden = bytes.fromhex("000102030405060708090a0b") + bytes.fromhex(
            "d561b087e2d47e859e2dfc24152fe2251d4a60c06d95f59f"
        )
        self.assertEqual(KEYS.open_secret("ann", "SHABCDEFGHIJKLMNOPQR", golden), "a secret")
        other = Keys(bytes(32))
        for keys, name, key_id, data in (
            (KEYS, "bob", "SHA", sealed),
            (KEYS, "ann", "SHB", sealed),
            (KEYS, "annS", "HA", sealed),
            (other, "ann", "SHA", sealed),
            (KEYS, "ann", "SHA", sealed[:-1]),
            (KEYS, "ann", "SHA", sealed[:5]),
            (KEYS, "ann", "SHA", b""),
        ):
            self.assertRaises(Damaged, keys.open_secret, name, key_id, data)
        for at in range(len(sealed)):
            changed = sealed[:at] + bytes((sealed[at] ^ 1,)) + sealed[at + 1 :]
            self.assertRaises(Damaged, KEYS.open_secret, "ann", "SHA", changed)

    def test_size(self) -> None:
        self.assertRaises(ValueError, Keys, bytes(31))


class LinkTests(SynchronousTestCase):
    """L{write_query} and L{read_query}."""

    def test_golden(self) -> None:
        """The example of docs/accounts.rst, and one with as little as there can be."""
        for grant, query in ((STORE, STORE_QUERY), (READ, READ_QUERY), (RIGHTS, RIGHTS_QUERY)):
            self.assertEqual(write_query(KEYS.links, grant), query)
            self.assertEqual(read_query(KEYS.links, parse_query(query.encode())), grant)

    def test_signed_text(self) -> None:
        text = (
            "storehouse link 1\nPUT\n/upload/r%C3%A9sum%C3%A9.pdf\nexact\n1790000900\n1073741824\nonce\n"
            "00112233445566778899aabbccddeeff\nann\n"
        )
        manual = Path(storehouse.__file__).parent.parent / "docs" / "accounts.rst"
        written = manual.read_text(encoding="utf-8")
        for said in (*(f"    {line}\n" for line in (*text.splitlines(), STORE_QUERY)), KEYS.links.hex()):
            self.assertIn(said, written)
        signature = hmac.new(KEYS.links, text.encode(), hashlib.sha256).hexdigest()
        self.assertTrue(STORE_QUERY.endswith(f"&signature={signature}"))

    def test_signed_rights(self) -> None:
        text = (
            "storehouse link 2\nread,list,put-new\nuploads/in%20box/%C3%A9\n1790000900\n1073741824\nmany\n"
            "00112233445566778899aabbccddeeff\nann\n"
        )
        manual = Path(storehouse.__file__).parent.parent / "docs" / "accounts.rst"
        written = manual.read_text(encoding="utf-8")
        for said in (f"    {line}\n" for line in (*text.splitlines(), RIGHTS_QUERY)):
            self.assertIn(said, written)
        signature = hmac.new(KEYS.links, text.encode(), hashlib.sha256).hexdigest()
        self.assertTrue(RIGHTS_QUERY.endswith(f"&signature={signature}"))
        # What a list is asked for beside it is no part of it.
        fields = parse_query(RIGHTS_QUERY.encode())
        self.assertEqual(read_query(KEYS.links, {**fields, b"prefix": b"in box/"}), RIGHTS)
        for more in ({b"method": b"GET"}, {b"path": b"/a"}, {b"once": b"1"}, {b"rights": b"list,read,put-new"}):
            self.assertRaises(LinkTampered, read_query, KEYS.links, {**fields, **more})
        # One kind is never read as the other.
        store = parse_query(STORE_QUERY.encode())
        self.assertRaises(LinkTampered, read_query, KEYS.links, {**store, b"scope": b"uploads/"})
        self.assertRaises(LinkTampered, read_query, KEYS.links, {**store, b"rights": b"read", b"scope": b"uploads/"})

    @given(st.sampled_from([STORE_QUERY, READ_QUERY, RIGHTS_QUERY]), st.data())
    def test_any_bit(self, query: str, data: st.DataObject) -> None:
        """A query with another bit is refused, unless it says the same, as an escape with capitals may."""
        raw = bytearray(query.encode())
        bit = data.draw(st.integers(0, len(raw) * 8 - 1))
        raw[bit // 8] ^= 1 << bit % 8
        self._refused(query, bytes(raw))

    @given(st.sampled_from([STORE_QUERY, READ_QUERY, RIGHTS_QUERY]), st.data())
    def test_any_cut(self, query: str, data: st.DataObject) -> None:
        """One of which a piece is missing, or is there twice, or with another in its place."""
        raw = query.encode()
        first = data.draw(st.integers(0, len(raw)))
        last = data.draw(st.integers(first, len(raw)))
        self._refused(query, raw[:first] + data.draw(st.binary(max_size=8)) + raw[last:])

    def _refused(self, query: str, raw: bytes) -> None:
        known = parse_query(query.encode())
        try:
            fields = parse_query(raw)
        except BadRequest:
            return
        assume({name: fields.get(name) for name in known} != known)
        self.assertRaises(LinkTampered, read_query, KEYS.links, fields)

    @given(
        st.builds(
            Grant,
            st.sampled_from(["PUT", "GET"]),
            st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/\\"), min_size=1, max_size=30)
            .filter(lambda name: name not in (".", ".."))
            .map(lambda name: canonical_path("/upload/" + "".join(f"%{byte:02x}" for byte in name.encode()))),
            st.just(False),
            st.integers(0, 10**18),
            st.none() | st.integers(0, 10**18),
            st.booleans(),
            st.binary(min_size=16, max_size=16).map(bytes.hex),
            st.from_regex(r"[a-z0-9._-]{1,64}", fullmatch=True),
        )
    )
    def test_round_trip(self, grant: Grant) -> None:
        query = write_query(KEYS.links, grant)
        self.assertEqual(read_query(KEYS.links, parse_query(query.encode("ascii"))), grant)
        self.assertRaises(LinkTampered, read_query, KEYS.sessions, parse_query(query.encode("ascii")))

    @given(st.dictionaries(st.sampled_from(sorted(parse_query(STORE_QUERY.encode()))), st.binary(max_size=70)))
    def test_junk(self, fields: dict[bytes, bytes]) -> None:
        self.assertRaises(LinkTampered, read_query, KEYS.links, fields)


class PathTests(SynchronousTestCase):
    """L{canonical_path}."""

    def test_canonical(self) -> None:
        for path, canonical in (
            ("/", "/"),
            ("/upload/a", "/upload/a"),
            ("/upload/a/", "/upload/a/"),
            ("/upload/%61%7e%2D", "/upload/a~-"),
            ("/upload/a+b", "/upload/a%2Bb"),
            ("/upload/a%2bb", "/upload/a%2Bb"),
            ("/upload/a&b=c;d@e:f", "/upload/a%26b%3Dc%3Bd%40e%3Af"),
            ("/upload/%c3%a9", "/upload/%C3%A9"),
            ("/upload/%25", "/upload/%25"),
            ("/upload/%252e%252e/x", "/upload/%252e%252e/x"),
            ("/upload/%3f%23", "/upload/%3F%23"),
        ):
            self.assertEqual(canonical_path(path), canonical)

    @given(st.text(st.sampled_from("/.%2eE5cfF0aä\\?# \n"), max_size=20))
    def test_canonical_once_and_for_all(self, text: str) -> None:
        """What is not refused stays as it is, and has nothing that somebody on the way could resolve."""
        try:
            path = canonical_path("/upload/" + text)
        except BadRequest:
            return
        self.assertEqual(canonical_path(path), path)
        segments = path.split("/")
        self.assertNotIn("..", segments)
        self.assertNotIn(".", segments)
        self.assertNotIn("", segments[1:-1])
        self.assertTrue(path.startswith("/upload/"))


class CookieTests(SynchronousTestCase):
    """L{write_cookie} and L{read_cookie}."""

    def test_golden(self) -> None:
        self.assertEqual(write_cookie(KEYS.sessions, TICKET), COOKIE)
        self.assertEqual(read_cookie(KEYS.sessions, COOKIE), TICKET)
        self.assertEqual(
            request_token(KEYS.requests, TICKET.id), "ebe915edd3872e6a5d74f5c8a3c92196009448b93b1d9983d48ca26e0146d6bd"
        )
        self.assertRaises(NotSignedIn, read_cookie, KEYS.links, COOKIE)

    @given(st.data())
    def test_any_bit(self, data: st.DataObject) -> None:
        raw = bytearray(COOKIE.encode())
        bit = data.draw(st.integers(0, len(raw) * 8 - 1))
        raw[bit // 8] ^= 1 << bit % 8
        self.assertRaises(NotSignedIn, read_cookie, KEYS.sessions, raw.decode("latin-1"))

    @given(st.text(max_size=200))
    def test_junk(self, text: str) -> None:
        self.assertRaises(NotSignedIn, read_cookie, KEYS.sessions, text)

    @given(
        st.builds(
            Ticket,
            st.from_regex(r"[a-z0-9._-]{1,64}", fullmatch=True),
            st.integers(0, 2**32 - 1),
            st.integers(0, 2**64 - 1),
            st.binary(min_size=16, max_size=16),
        )
    )
    def test_round_trip(self, ticket: Ticket) -> None:
        self.assertEqual(read_cookie(KEYS.sessions, write_cookie(KEYS.sessions, ticket)), ticket)


class UsersTests(SynchronousTestCase):
    """L{Users}."""

    def test_golden(self) -> None:
        self.assertEqual(USERS.encode(), USERS_BYTES)
        self.assertEqual(Users.decode(USERS_BYTES), USERS)
        self.assertEqual(LIMITED.encode(), LIMITED_BYTES)
        self.assertEqual(Users.decode(LIMITED_BYTES), LIMITED)
        # A file of before has no rights: they are what users could do then.
        self.assertEqual(Users.decode(USERS_BYTES).get("ann").user.rights, EARLIER)

    def test_damaged(self) -> None:
        for at in range(len(USERS_BYTES) - 1):
            changed = USERS_BYTES[:at] + bytes((USERS_BYTES[at] ^ 1,)) + USERS_BYTES[at + 1 :]
            self.assertRaises(Damaged, Users.decode, changed)
            self.assertRaises(Damaged, Users.decode, USERS_BYTES[:at])

    def test_strange(self) -> None:
        """With a checksum that is right."""
        fields, _ = decode_checksummed(USERS_BYTES.strip())
        for change in (
            {"format": "other"},
            {"version": 2},
            {"users": 1},
            {"users": [{}]},
            {"users": [{**fields["users"][0], "more": 1}]},
            {"users": [{**fields["users"][0], "secret": "!"}]},
            {"tokens": [{"hash": "x"}]},
            {"sequence": "x"},
        ):
            self.assertRaises(Damaged, Users.decode, encode_checksummed({**fields, **change}))
