"""Tests of L{storehouse.storage.sealed.cipher}."""

from __future__ import annotations

import attrs
from twisted.trial.unittest import SynchronousTestCase

from storehouse.core.keys.keyring import Keyring
from storehouse.storage.sealed.cipher import ACCOUNTS, RESUMABLE, KeyringCipher

ID, OTHER = "ab" * 16, "cd" * 16

#: 32 zero bytes, as the secret of accounts, and C{b"a state"}, as that of an upload, encrypted with a keyring of known keys.
GOLDEN_SECRET = bytes.fromhex(
    "000102030405060708090a0b861889afe92ddd38111d60b05d562734156c96cac81473fa52d957307b23e40cacaee9bc8d924e2e9426d4ad508740fe"
)
GOLDEN_STATE = bytes.fromhex("000102030405060708090a0b8438e1de234c28bb2d18d2e5e5ac1decd748ce10e41bff")


class KeyringCipherTests(SynchronousTestCase):
    """L{KeyringCipher}."""

    def setUp(self) -> None:
        self.keyring = Keyring.make()
        self.cipher = KeyringCipher(lambda: self.keyring, RESUMABLE)

    def test_round_trip(self) -> None:
        for data in (b"", b"a secret name", bytes(10_000)):
            stored = self.cipher.encrypt(ID, data)
            self.assertEqual(len(stored), 12 + len(data) + 16)
            self.assertNotIn(b"secret", stored)
            self.assertNotEqual(stored, self.cipher.encrypt(ID, data))
            self.assertEqual(KeyringCipher(lambda: self.keyring, RESUMABLE).decrypt(ID, stored), data)

    def test_golden(self) -> None:
        keyring = attrs.evolve(Keyring.make(), names_key=bytes(range(32)))
        secret = KeyringCipher(lambda: keyring, ACCOUNTS).decrypt(ACCOUNTS.decode(), GOLDEN_SECRET)
        self.assertEqual(secret, bytes(32))
        self.assertEqual(KeyringCipher(lambda: keyring, RESUMABLE).decrypt(ID, GOLDEN_STATE), b"a state")

    def test_changed(self) -> None:
        stored = self.cipher.encrypt(ID, b"data")
        for at in range(len(stored)):
            changed = stored[:at] + bytes([stored[at] ^ 1]) + stored[at + 1 :]
            self.assertRaises(ValueError, self.cipher.decrypt, ID, changed)
            self.assertRaises(ValueError, self.cipher.decrypt, ID, stored[:at])

    def test_about_another(self) -> None:
        stored = self.cipher.encrypt(ID, b"data")
        self.assertRaises(ValueError, self.cipher.decrypt, OTHER, stored)
        self.assertRaises(ValueError, KeyringCipher(lambda: self.keyring, ACCOUNTS).decrypt, ID, stored)

    def test_other_keys(self) -> None:
        """The keys that wrap those of objects do not matter; those of another root do."""
        stored = self.cipher.encrypt(ID, b"data")
        self.keyring = self.keyring.begun().finished(plain=False)
        self.assertEqual(KeyringCipher(lambda: self.keyring, RESUMABLE).decrypt(ID, stored), b"data")
        self.assertRaises(ValueError, KeyringCipher(Keyring.make, RESUMABLE).decrypt, ID, stored)
