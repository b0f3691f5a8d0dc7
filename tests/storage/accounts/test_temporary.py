"""Tokens of temporary keys: only issued ones are valid, and only as long as the access key behind them."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from storehouse.errors import BadRequest, Forbidden, SignInRefused, TokenExpired, TokenInvalid
from storehouse.storage.accounts.interfaces import Rights, Temporary
from storehouse.storage.accounts.temporary import Sealer
from storehouse.testing.accounts import MemoryAccounts

NOW = 1_790_000_000
ID = "ASIAABCDEFGHIJKLMNOP"
SAID = Temporary("SH1", "ci", NOW, NOW + 900, ((Rights(("read",), "box", "a/"),),), ('{"a":1}',), True)
GOLDEN_SECRET = "MuGpj7lhkufyja9tH8SVZeLUPB1hcrwQYc0xETEU"
GOLDEN_TOKEN = (
    "AW5ubm5ubm5ubm5ubuMZksN0xqfjbkVlKqGFjr_mkv2GMuJm1R9WQSDTonwBlYwo4y1xERynq8DTyJIXnIYiHp6t_yexJB-muU-C"
    "pcH4gDEExwf1BCcWHXh3j5Q1El2l013QMB-Lqr3Y7ycIFDhp5S7coMFWbTuyW5qcGX8cNEE4Yp97N2lLfJt8JU71h7BD77B1JZok"
    "WhytVwdKwonoVTJDbSHJzN-N6Z1Xf9v7eDL2H6vlKjuxRqfPYWKBLekS5sMhKXLiKregBXkRORj-bgpKP3lnIGg"
)


class SealerTests(SynchronousTestCase):
    """The format."""

    def setUp(self) -> None:
        self.sealer = Sealer(b"k" * 32, b"s" * 32)
        self.key = self.sealer.seal_as(ID, b"n" * 12, "ann", SAID)

    def test_golden(self) -> None:
        """These very values: keys that were given out stay valid."""
        self.assertEqual(self.key.secret, GOLDEN_SECRET)
        self.assertEqual(self.key.token, GOLDEN_TOKEN)
        self.assertEqual(self.sealer.open(ID, GOLDEN_TOKEN), ("ann", SAID, GOLDEN_SECRET.encode()))
        self.assertNotIn(self.key.secret, repr(self.key))
        self.assertNotIn(self.key.token, repr(self.key))

    def test_changed(self) -> None:
        """Every bit of the token counts, its end, and the ID."""
        token = self.key.token
        data = token.encode()
        for place in range(len(data)):
            for bit in range(7):
                changed = data[:place] + bytes([data[place] ^ 1 << bit]) + data[place + 1 :]
                self.assertRaises(TokenInvalid, self.sealer.open, ID, changed.decode())
        for other in ("", "=", token[:-1], token + "A", token + "=", token + "\n", " " + token, "é" * 90, "A" * 9000):
            self.assertRaises(TokenInvalid, self.sealer.open, ID, other)
        for key_id in ("", "ASIA", ID[:-1] + "Q", ID + "\n", "SH" + ID[2:], "é"):
            self.assertRaises(TokenInvalid, self.sealer.open, key_id, token)
        self.assertRaises(TokenInvalid, Sealer(b"K" * 32, b"s" * 32).open, ID, token)


class AccountsTests(SynchronousTestCase):
    """What is behind a key, and for how long."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(NOW)
        self.accounts = MemoryAccounts(clock=self.clock.seconds)
        self.first = self.successResultOf(self.accounts.add_user("ann", True))
        self.user = self.first.user

    def issue(self, **more: object):  # type: ignore[no-untyped-def]
        return self.accounts.issue_temporary(self.user, self.first.key_id, 900, **more)

    def test_expiry(self) -> None:
        key = self.issue(name="ci")
        user, secret = self.accounts.user_of_temporary(key.key_id, key.token)
        self.assertEqual((user.name, secret.decode()), ("ann", key.secret))
        self.clock.advance(899)
        self.accounts.user_of_temporary(key.key_id, key.token)
        self.clock.advance(1)
        self.assertRaises(TokenExpired, self.accounts.user_of_temporary, key.key_id, key.token)

    def test_bounds(self) -> None:
        for lifetime in (899, 43201, -1, float("nan")):
            self.assertRaises(BadRequest, self.accounts.issue_temporary, self.user, self.first.key_id, lifetime)
        self.assertRaises(BadRequest, self.issue, name="a b")
        self.assertRaises(BadRequest, self.issue, policy="x" * 5000)

    def test_revoked(self) -> None:
        """It ends with its user and its key."""
        key = self.issue()
        self.successResultOf(self.accounts.disable_user("ann"))
        self.assertRaises(TokenInvalid, self.accounts.user_of_temporary, key.key_id, key.token)
        self.successResultOf(self.accounts.enable_user("ann"))
        self.accounts.user_of_temporary(key.key_id, key.token)
        self.successResultOf(self.accounts.rotate_key("ann"))
        self.assertRaises(TokenInvalid, self.accounts.user_of_temporary, key.key_id, key.token)
        self.assertRaises(TokenInvalid, self.issue)
        more = self.successResultOf(self.accounts.add_key("ann", [Rights(("read",), "box")]))
        key = self.accounts.issue_temporary(more.user, more.key_id, 900)
        user, _ = self.accounts.user_of_temporary(key.key_id, key.token)
        self.assertTrue(user.may("read", "box"))
        self.assertFalse(user.may("read", "other"))
        self.successResultOf(self.accounts.remove_key("ann", more.key_id))
        self.assertRaises(TokenInvalid, self.accounts.user_of_temporary, key.key_id, key.token)

    def test_narrower(self) -> None:
        """Each one narrows what was there, and lasts no longer."""
        key = self.issue(rights=[Rights(("read", "list"), "box")])
        user, _ = self.accounts.user_of_temporary(key.key_id, key.token)
        self.clock.advance(600)
        more = self.accounts.issue_temporary(user, key.key_id, 43200, rights=[Rights(("read", "delete"), "*")])
        self.assertEqual(more.expires, NOW + 900)
        user, _ = self.accounts.user_of_temporary(more.key_id, more.token)
        self.assertTrue(user.may("read", "box"))
        for permission, bucket in (("read", "other"), ("list", "box"), ("delete", "box")):
            self.assertFalse(user.may(permission, bucket))

    def test_no_more_than_s3(self) -> None:
        """It does not work for sessions, links and management."""
        key = self.issue()
        user, secret = self.accounts.user_of_temporary(key.key_id, key.token)
        self.assertFalse(user.is_unlimited_admin)
        self.assertRaises(SignInRefused, self.accounts.begin_session, user)
        self.assertRaises(Forbidden, self.accounts.sign_link, user, "GET", "/download/a", NOW + 60)
        self.assertRaises(SignInRefused, self.accounts.user_of_key, key.key_id, secret.decode())
        self.assertRaises(SignInRefused, self.accounts.secret_of_key, key.key_id)
