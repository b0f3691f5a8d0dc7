"""Tests of L{storehouse.storage.accounts.keys}."""

from __future__ import annotations

import attrs
from twisted.trial.unittest import SynchronousTestCase

from storehouse.core.keys.keyring import Keyring
from storehouse.errors import WrongMasterKey
from storehouse.storage.accounts.keys import KeyringWrap

GOLDEN = bytes.fromhex(
    "000102030405060708090a0b861889afe92ddd38111d60b05d562734156c96cac81473fa52d957307b23e40cacaee9bc8d924e2e9426d4ad508740fe"
)


class KeyringWrapTests(SynchronousTestCase):
    """L{KeyringWrap}."""

    def test_round_trip(self) -> None:
        keyring = Keyring.make()
        wrap = KeyringWrap(lambda: keyring)
        sealed = wrap.seal(bytes(32))
        self.assertEqual(len(sealed), 12 + 32 + 16)
        self.assertNotEqual(sealed, wrap.seal(bytes(32)))
        self.assertEqual(wrap.open(sealed), bytes(32))

    def test_golden(self) -> None:
        keyring = attrs.evolve(Keyring.make(), names_key=bytes(range(32)))
        self.assertEqual(KeyringWrap(lambda: keyring).open(GOLDEN), bytes(32))

    def test_rekeyed(self) -> None:
        """Other keys for objects do not matter."""
        keyring = Keyring.make()
        sealed = KeyringWrap(lambda: keyring).seal(b"secret")
        later = keyring.begun().finished(plain=False)
        self.assertNotEqual(later.current, keyring.current)
        self.assertEqual(KeyringWrap(lambda: later).open(sealed), b"secret")

    def test_refused(self) -> None:
        keyring, other = Keyring.make(), Keyring.make()
        wrap = KeyringWrap(lambda: keyring)
        sealed = wrap.seal(b"secret")
        self.assertRaises(WrongMasterKey, KeyringWrap(lambda: other).open, sealed)
        for at in range(len(sealed)):
            self.assertRaises(WrongMasterKey, wrap.open, sealed[:at])
            changed = sealed[:at] + bytes((sealed[at] ^ 1,)) + sealed[at + 1 :]
            self.assertRaises(WrongMasterKey, wrap.open, changed)
