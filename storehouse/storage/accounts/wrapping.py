"""The root's secret under the store's master key."""

from __future__ import annotations

import os
from collections.abc import Callable

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from storehouse.core.keys.keyring import Keyring
from storehouse.errors import WrongMasterKey

__all__ = ["KeyringWrap"]

_NONCE = 12
_LABEL = b"storehouse accounts 1: secret.key"


class KeyringWrap:
    """
    Seals by a key that is derived (HKDF-SHA256) from the one in the keyring that lasts: those that wrap the keys of objects
    are given up by C{storehouse rekey}. What it makes is a nonce of 12 bytes, then AES-256-GCM.

    @param keyring: gives the keyring, once it is open.
    """

    def __init__(self, keyring: Callable[[], Keyring]) -> None:
        self._keyring = keyring

    def seal(self, data: bytes) -> bytes:
        """Encrypt and authenticate."""
        nonce = os.urandom(_NONCE)
        return nonce + self._cipher().encrypt(nonce, data, _LABEL)

    def open(self, data: bytes) -> bytes:
        """@raise WrongMasterKey: unless it was sealed with this keyring."""
        try:
            return self._cipher().decrypt(data[:_NONCE], data[_NONCE:], _LABEL)
        except (InvalidTag, ValueError):
            raise WrongMasterKey(
                "the secret of the accounts (accounts/secret.key) was sealed under another keyring than this root's"
            ) from None

    def _cipher(self) -> AESGCM:
        return AESGCM(HKDF(SHA256(), 32, None, _LABEL).derive(self._keyring().names_key))
