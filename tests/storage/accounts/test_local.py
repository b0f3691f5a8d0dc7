"""Tests of L{storehouse.storage.accounts.local}."""

from __future__ import annotations

import errno
import json
import os
import stat
from base64 import b64encode
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from storehouse.core.checksummed import decode_checksummed, encode_checksummed
from storehouse.core.jobs import InlineDisk
from storehouse.errors import (
    Damaged,
    NoSpace,
    NotSignedIn,
    StartFailed,
    StorageFailed,
)
from storehouse.storage.accounts.local import LocalAccounts
from storehouse.testing.files import FailingFiles
from tests.conformance.accounts import SETTINGS, PersistentAccountsTestsMixin, fields_of


class XorCipher:
    """A cipher, as far as accounts need one."""

    def __init__(self, key: int) -> None:
        self.key = key

    def encrypt(self, about: str, data: bytes) -> bytes:
        return about.encode() + bytes((self.key,)) + bytes(byte ^ self.key for byte in data)

    def decrypt(self, about: str, data: bytes) -> bytes:
        start = about.encode() + bytes((self.key,))
        if not data.startswith(start):
            raise ValueError("it is another key")
        return bytes(byte ^ self.key for byte in data[len(start) :])


class LocalAccountsTests(PersistentAccountsTestsMixin, SynchronousTestCase):
    """They do what accounts do, and keep it."""

    def setUp(self) -> None:
        self.root = Path(os.path.abspath(self.mktemp()))
        self.directory = self.root / "accounts"
        self.files = FailingFiles()
        PersistentAccountsTestsMixin.setUp(self)

    def make_accounts(self, cipher: Any = None, users_only: bool = False) -> LocalAccounts:
        accounts = LocalAccounts(
            str(self.directory), InlineDisk(), SETTINGS, cipher, files=self.files, clock=self.clock.seconds
        )
        accounts.start(users_only)
        return accounts

    def reopen(self) -> LocalAccounts:
        return self.make_accounts()

    def refused(self, cipher: Any = None) -> str:
        """Why it does not start."""
        accounts = LocalAccounts(str(self.directory), InlineDisk(), SETTINGS, cipher, clock=self.clock.seconds)
        return str(self.assertRaises(StartFailed, accounts.start))

    # -- files ---------------------------------------------------------------------------------------------------------

    def test_nobody_else_reads_them(self) -> None:
        self.add()
        self.successResultOf(self.accounts.write_url("https://localhost:6445"))
        self.assertEqual(stat.S_IMODE(self.directory.stat().st_mode), 0o700)
        names = sorted(path.name for path in self.directory.iterdir())
        self.assertEqual(names, ["lock", "secret.key", "spent.log", "url", "users.json"])
        for path in self.directory.iterdir():
            self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o600, path)

    def test_no_secret_is_readable(self) -> None:
        """Not even in the files: keys are sealed, tokens hashed."""
        key = self.add()
        token = self.successResultOf(self.accounts.make_sign_in_token("ann", 60))
        held = b"".join(path.read_bytes() for path in self.directory.iterdir())
        for secret in (key.secret.encode(), b64encode(key.secret.encode()), token.encode()):
            self.assertNotIn(secret, held)
        self.assertIn(key.user.key_id.encode(), held)

    def test_secrets_cannot_be_swapped(self) -> None:
        """Somebody who can write the file, but not read the secret, cannot give a known secret to another name."""
        mine = self.add("mallory")
        admin = self.add("admin", True)
        path = self.directory / "users.json"
        fields, _ = decode_checksummed(path.read_bytes().strip())
        users = {user["name"]: user for user in fields["users"]}
        users["admin"]["secret"] = users["mallory"]["secret"]
        path.write_bytes(
            encode_checksummed({name: value for name, value in fields.items() if name != "checksum"}) + b"\n"
        )
        for accounts in (self.accounts, self.reopen()):
            self.assertRaises(Damaged, accounts.user_of_key, admin.user.key_id, mine.secret)
            self.assertEqual(accounts.user_of_key(mine.user.key_id, mine.secret).name, "mallory")

    def test_damaged_users(self) -> None:
        self.add()
        path = self.directory / "users.json"
        good = path.read_bytes()
        for bad in (
            b"",
            b"{}",
            good[:-9],
            good.replace(b'"ann"', b'"bob"'),
            encode_checksummed({"format": "storehouse accounts", "version": 2}),
        ):
            path.write_bytes(bad)
            self.assertIn(f"{path} is damaged", self.refused())
            # A service that runs uses what it knows, and changes nothing.
            self.assertEqual([user.name for user in self.successResultOf(self.accounts.list_users())], ["ann"])
            self.fails(self.accounts.add_user("carl"), Damaged)
            self.assertEqual(path.read_bytes(), bad)
        path.unlink()
        self.assertEqual([user.name for user in self.successResultOf(self.accounts.list_users())], ["ann"])
        self.fails(self.accounts.add_user("carl"), Damaged)
        path.write_bytes(good)
        self.successResultOf(self.accounts.add_user("carl"))

    def test_lost_secret(self) -> None:
        self.add()
        path = self.directory / "secret.key"
        good = path.read_bytes()
        path.unlink()
        self.assertIn("secret.key is missing", self.refused())
        self.assertFalse(path.exists())
        for bad in (b"", good[:-3], encode_checksummed({"format": "x"}), good.replace(b"1", b"2")):
            path.write_bytes(bad)
            self.assertIn("secret.key is damaged", self.refused())
        short = encode_checksummed({"format": "storehouse secret", "version": 1, "is_wrapped": False, "secret": "AAAA"})
        path.write_bytes(short)
        self.assertIn("32 bytes", self.refused())

    def test_without_the_secret(self) -> None:
        """Users can be listed, disabled, and given a sign-in link without the master key."""
        self.add()
        self.make_accounts(XorCipher(7))
        accounts = self.make_accounts(users_only=True)
        self.successResultOf(accounts.disable_user("ann"))
        self.successResultOf(accounts.enable_user("ann"))
        token = self.successResultOf(accounts.make_sign_in_token("ann", 60))
        self.successResultOf(self.accounts.sign_in_by_token(token))
        self.failureResultOf(accounts.rotate_key("ann"), RuntimeError)

    # -- the master key ------------------------------------------------------------------------------------------------

    def test_master_key(self) -> None:
        key = self.add()
        plain = json.loads((self.directory / "secret.key").read_bytes())["secret"]
        # With a master key from now on.
        wrapped = self.make_accounts(XorCipher(7))
        self.assertEqual(wrapped.user_of_key(key.user.key_id, key.secret), key.user)
        self.assertNotIn(plain, (self.directory / "secret.key").read_text())
        again = self.make_accounts(XorCipher(7))
        self.assertEqual(again.user_of_key(key.user.key_id, key.secret), key.user)
        before = (self.directory / "secret.key").read_bytes()
        self.assertIn("masterkey", self.refused())
        self.assertIn("another keyring", self.refused(XorCipher(8)))
        self.assertEqual((self.directory / "secret.key").read_bytes(), before)

    def test_master_key_from_the_first_start(self) -> None:
        self.directory = self.root / "other"
        accounts = self.make_accounts(XorCipher(7))
        key = self.successResultOf(accounts.add_user("ann"))
        again = self.make_accounts(XorCipher(7))
        self.assertEqual(again.user_of_key(key.user.key_id, key.secret), key.user)

    # -- a disk that fails ---------------------------------------------------------------------------------------------

    def test_full_disk(self) -> None:
        key = self.add()
        fields = fields_of(self.sign(once=True))
        session = self.accounts.begin_session(key.user)
        for error, kind in ((errno.ENOSPC, NoSpace), (errno.EIO, StorageFailed)):
            self.files.fail("write_at", "write_synced", error=error)
            self.fails(self.accounts.add_user("bob"), kind)
            self.fails(self.accounts.end_session(session), kind)
            self.fails(self.accounts.use_link(self.accounts.grant_of("PUT", "/upload/a", fields)), kind)
            self.files.mend()
        # What was not acknowledged has not happened, and what is half written is in nobody's way.
        self.assertEqual(self.accounts.session_of(session.cookie), session)
        self.assertEqual([user.name for user in self.successResultOf(self.accounts.list_users())], ["ann"])
        self.successResultOf(self.accounts.use_link(self.accounts.grant_of("PUT", "/upload/a", fields)))
        self.successResultOf(self.accounts.end_session(session))
        self.assertRaises(NotSignedIn, self.reopen().session_of, session.cookie)

    def test_cannot_be_made(self) -> None:
        self.directory = self.root / "file"
        self.directory.write_bytes(b"")
        self.assertIn("cannot be created", self.refused())

    # -- the first start -----------------------------------------------------------------------------------------------

    def test_administrator(self) -> None:
        """Is made once, and offered until somebody has signed in."""
        self.assertEqual(self.successResultOf(self.accounts.ensure_administrator()), "admin")
        (user,) = self.successResultOf(self.accounts.list_users())
        self.assertEqual((user.name, user.is_admin), ("admin", True))
        self.assertEqual(self.successResultOf(self.reopen().ensure_administrator()), "admin")
        self.assertEqual(self.successResultOf(self.accounts.list_users()), [user])
        token = self.successResultOf(self.accounts.make_sign_in_token("admin", 60))
        self.assertEqual(self.successResultOf(self.accounts.ensure_administrator()), "admin")
        self.successResultOf(self.accounts.sign_in_by_token(token))
        for accounts in (self.accounts, self.reopen()):
            self.assertIsNone(self.successResultOf(accounts.ensure_administrator()))

    def test_administrator_with_a_key(self) -> None:
        self.successResultOf(self.accounts.ensure_administrator())
        self.successResultOf(self.accounts.rotate_key("admin"))
        self.assertIsNone(self.successResultOf(self.accounts.ensure_administrator()))

    def test_no_administrator_beside_users(self) -> None:
        self.add("ann")
        self.assertIsNone(self.successResultOf(self.accounts.ensure_administrator()))
        self.assertEqual(len(self.successResultOf(self.accounts.list_users())), 1)

    def test_url(self) -> None:
        self.assertIsNone(self.successResultOf(self.accounts.read_url()))
        for url in ("https://localhost:6445", "https://files.example.org"):
            self.successResultOf(self.accounts.write_url(url))
            self.assertEqual(self.successResultOf(self.reopen().read_url()), url)
