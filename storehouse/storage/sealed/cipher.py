"""What is encrypted by keys that last as long as the keyring: states of resumable uploads, and the secret of accounts."""

from __future__ import annotations

import os
from collections.abc import Callable

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from storehouse.core.keys.keyring import NONCE_SIZE, Keyring

__all__ = ["ACCOUNTS", "RESUMABLE", "KeyringCipher"]

#: The purposes that keys are derived for.
ACCOUNTS = b"storehouse accounts 1: secret.key"
RESUMABLE = b"storehouse resumable 1: states"


class KeyringCipher:
    """
    L{ICipher<storehouse.storage.sealed.interfaces.ICipher>}: a nonce of 12 bytes, then AES-256-GCM.

    The key is derived (HKDF-SHA256, no salt) from the C{names_key} of the keyring, which lasts: the keys that wrap those of
    objects are dropped by C{storehouse rekey}.

    @param keyring: returns the keyring, once it is open.
    @param purpose: what the key is derived for, and nothing else.
    """

    def __init__(self, keyring: Callable[[], Keyring], purpose: bytes) -> None:
        self._keyring = keyring
        self._purpose = purpose
        self._derived: AESGCM | None = None

    def encrypt(self, about: str, data: bytes) -> bytes:
        nonce = os.urandom(NONCE_SIZE)
        return nonce + self._cipher().encrypt(nonce, data, about.encode("ascii"))

    def decrypt(self, about: str, data: bytes) -> bytes:
        try:
            return self._cipher().decrypt(data[:NONCE_SIZE], data[NONCE_SIZE:], about.encode("ascii"))
        except (InvalidTag, ValueError):
            raise ValueError("the keys of this root do not decrypt it") from None

    def _cipher(self) -> AESGCM:
        if self._derived is None:
            self._derived = AESGCM(HKDF(SHA256(), 32, None, self._purpose).derive(self._keyring().names_key))
        return self._derived
