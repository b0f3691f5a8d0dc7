"""
Access keys, the root's secret, and the keys that are derived from it.

Everything that accounts sign or seal is done with keys derived from one secret of 32 bytes by HKDF-SHA256 (RFC 5869, no
salt), each with a label of its own, so that what is signed for one purpose is worth nothing for another (docs/accounts.rst).
"""

from __future__ import annotations

import os
import secrets
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from storehouse.errors import Damaged

__all__ = ["SECRET_SIZE", "Keys", "Wrap", "new_key_id", "new_secret"]

#: Bytes of the secret that all keys are derived from.
SECRET_SIZE = 32

_ID_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
_NONCE = 12


class Wrap(Protocol):
    """What seals the root's secret under the store's master key."""

    def seal(self, data: bytes) -> bytes:
        """Encrypt and authenticate."""

    def open(self, data: bytes) -> bytes:
        """@raise WrongMasterKey: unless this master key has sealed it."""


def new_key_id() -> str:
    """The ID of an access key: C{SH}, and 18 of A-Z and 2-7: 90 random bits."""
    return "SH" + "".join(secrets.choice(_ID_LETTERS) for _ in range(18))


def new_secret() -> str:
    """The secret of an access key: 40 characters of URL-safe base64, 240 random bits."""
    return secrets.token_urlsafe(30)


class Keys:
    """
    What is derived from the secret of a root.

    @ivar sessions: signs cookies.
    @ivar requests: makes the tokens of sessions that requests repeat.
    @ivar links: signs links.
    """

    def __init__(self, secret: bytes) -> None:
        if len(secret) != SECRET_SIZE:
            raise ValueError(f"a secret has {SECRET_SIZE} bytes, not {len(secret)}")
        self.sessions = _derived(secret, "sessions")
        self.requests = _derived(secret, "request tokens")
        self.links = _derived(secret, "links")
        self._sealing = AESGCM(_derived(secret, "access keys"))

    def seal_secret(self, name: str, key_id: str, secret: str) -> bytes:
        """
        The secret of an access key as it is kept: a nonce of 12 bytes, then AES-256-GCM. The user and the ID of the key
        are authenticated, so that secrets cannot be swapped between users.
        """
        nonce = os.urandom(_NONCE)
        return nonce + self._sealing.encrypt(nonce, secret.encode(), _owner(name, key_id))

    def open_secret(self, name: str, key_id: str, sealed: bytes) -> str:
        """@raise Damaged: if it is not what was sealed for that user and ID, with this root's secret."""
        try:
            return self._sealing.decrypt(sealed[:_NONCE], sealed[_NONCE:], _owner(name, key_id)).decode()
        except (InvalidTag, ValueError):
            raise Damaged(f"the access key of {name} is damaged, or was sealed on another root: rotate it") from None


def _derived(secret: bytes, purpose: str) -> bytes:
    return HKDF(SHA256(), 32, None, f"storehouse accounts 1: {purpose}".encode()).derive(secret)


def _owner(name: str, key_id: str) -> bytes:
    return f"{name}\n{key_id}".encode()
