"""Tests of L{storehouse.storage.resumable.sealed}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from storehouse.core.keys.keyring import Keyring
from storehouse.storage.resumable.sealed import StateCipher

ID, OTHER = "ab" * 16, "cd" * 16


class StateCipherTests(SynchronousTestCase):
    """L{StateCipher}."""

    def setUp(self) -> None:
        self.keyring = Keyring.make()
        self.cipher = StateCipher(lambda: self.keyring)

    def test_there_and_back(self) -> None:
        for data in (b"", b"a secret name", bytes(10_000)):
            kept = self.cipher.encrypt(ID, data)
            self.assertNotIn(b"secret", kept)
            self.assertNotEqual(kept, self.cipher.encrypt(ID, data))
            self.assertEqual(StateCipher(lambda: self.keyring).decrypt(ID, kept), data)

    def test_changed(self) -> None:
        kept = self.cipher.encrypt(ID, b"data")
        for at in range(len(kept)):
            broken = kept[:at] + bytes([kept[at] ^ 1]) + kept[at + 1 :]
            self.assertRaises(ValueError, self.cipher.decrypt, ID, broken)
            self.assertRaises(ValueError, self.cipher.decrypt, ID, kept[:at])
        self.assertRaises(ValueError, self.cipher.decrypt, OTHER, kept)

    def test_other_keys(self) -> None:
        """Wrapping keys come and go; a keyring of another root is another."""
        kept = self.cipher.encrypt(ID, b"data")
        self.keyring = self.keyring.begun().finished(plain=False)
        self.assertEqual(StateCipher(lambda: self.keyring).decrypt(ID, kept), b"data")
        self.assertRaises(ValueError, StateCipher(Keyring.make).decrypt, ID, kept)
