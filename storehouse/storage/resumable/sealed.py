"""States are encrypted when there is a master key: they have names of files, and of who uploads them."""

from __future__ import annotations

import os
from collections.abc import Callable

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from storehouse.core.keys.keyring import Keyring

__all__ = ["StateCipher"]

_NONCE = 12
_LABEL = b"storehouse resumable 1: states"


class StateCipher:
    """
    A nonce of 12 bytes, then AES-256-GCM with the upload's ID as associated data: a state under another name is refused.
    The key is derived (HKDF-SHA256) from the one in the keyring that lasts.

    @param keyring: gives the keyring, once it is open.
    """

    def __init__(self, keyring: Callable[[], Keyring]) -> None:
        self._keyring = keyring
        self._aead: AESGCM | None = None

    def encrypt(self, id: str, data: bytes) -> bytes:
        """Encrypt and authenticate the state of an upload."""
        nonce = os.urandom(_NONCE)
        return nonce + self._cipher().encrypt(nonce, data, id.encode("ascii"))

    def decrypt(self, id: str, data: bytes) -> bytes:
        """@raise ValueError: if it was changed, or is of another upload."""
        try:
            return self._cipher().decrypt(data[:_NONCE], data[_NONCE:], id.encode("ascii"))
        except InvalidTag:
            raise ValueError("it does not open with the keys of this root") from None

    def _cipher(self) -> AESGCM:
        if self._aead is None:
            self._aead = AESGCM(HKDF(SHA256(), 32, None, _LABEL).derive(self._keyring().names_key))
        return self._aead
