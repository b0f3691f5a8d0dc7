"""Tests of L{storehouse.storage.resumable.sealed}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from storehouse.core.keys.keyring import Keyring
from storehouse.storage.resumable.sealed import SealedBox

ID, OTHER = "ab" * 16, "cd" * 16


class SealedBoxTests(SynchronousTestCase):
    """L{SealedBox}."""

    def setUp(self) -> None:
        self.keyring = Keyring.make()
        self.box = SealedBox(lambda: self.keyring)

    def test_there_and_back(self) -> None:
        for data in (b"", b"a secret name", bytes(10_000)):
            kept = self.box.close(ID, data)
            self.assertNotIn(b"secret", kept)
            self.assertNotEqual(kept, self.box.close(ID, data))
            self.assertEqual(SealedBox(lambda: self.keyring).open(ID, kept), data)

    def test_changed(self) -> None:
        kept = self.box.close(ID, b"data")
        for at in range(len(kept)):
            broken = kept[:at] + bytes([kept[at] ^ 1]) + kept[at + 1 :]
            self.assertRaises(ValueError, self.box.open, ID, broken)
            self.assertRaises(ValueError, self.box.open, ID, kept[:at])
        self.assertRaises(ValueError, self.box.open, OTHER, kept)

    def test_other_keys(self) -> None:
        """Wrapping keys come and go; a keyring of another root is another."""
        kept = self.box.close(ID, b"data")
        self.keyring = self.keyring.begun().finished(plain=False)
        self.assertEqual(SealedBox(lambda: self.keyring).open(ID, kept), b"data")
        self.assertRaises(ValueError, SealedBox(Keyring.make).open, ID, kept)
