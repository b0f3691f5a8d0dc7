"""
The secret of a root, how it is stored, and the keys derived from it.

All that accounts sign or seal is done with keys derived from one secret of 32 random bytes by HKDF-SHA256 (RFC 5869, no
salt). Each key has a label of its own, so that what is signed for one purpose is worthless for another
(docs/accounts.rst).

The secret is in C{secret.key}, one JSON object with a checksum (L{storehouse.core.checksummed})::

    {"format":"storehouse secret","version":1,"is_wrapped":false,"secret":"BASE64","checksum":"..."}

C{secret} is the 32 bytes; with C{is_wrapped}, the same sealed by a L{KeyWrap}.
"""

from __future__ import annotations

import os
import secrets
from base64 import b64decode, b64encode
from collections.abc import Callable
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from storehouse.core.checksummed import decode_checksummed, encode_checksummed
from storehouse.core.keys.keyring import Keyring
from storehouse.errors import Damaged, StoreUnusable, WrongMasterKey
from storehouse.storage.accounts.directory import AccountsDirectory

__all__ = [
    "SECRET_FILE",
    "SECRET_SIZE",
    "KeyWrap",
    "KeyringWrap",
    "Keys",
    "load_keys",
    "needs_master_key",
    "new_key_id",
    "new_secret",
]

#: Bytes of the secret that all keys are derived from.
SECRET_SIZE = 32

SECRET_FILE = "secret.key"

_FORMAT = "storehouse secret"
_VERSION = 1

# The file has some 200 bytes; no more than this is read before it is known to be ours.
_MAX_FILE = 4096

_ID_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
_NONCE = 12
_WRAP_LABEL = b"storehouse accounts 1: secret.key"


def new_key_id() -> str:
    """The ID of an access key: C{SH} and 18 of A-Z and 2-7, which are 90 random bits."""
    return "SH" + "".join(secrets.choice(_ID_LETTERS) for _ in range(18))


def new_secret() -> str:
    """The secret of an access key: 40 characters of URL-safe base64, 240 random bits."""
    return secrets.token_urlsafe(30)


class Keys:
    """
    The keys derived from the secret of a root.

    @ivar sessions: signs cookies.
    @ivar requests: makes the request tokens of sessions.
    @ivar links: signs links.
    """

    def __init__(self, secret: bytes) -> None:
        if len(secret) != SECRET_SIZE:
            raise ValueError(f"a secret has {SECRET_SIZE} bytes, not {len(secret)}")
        self.sessions = _derive(secret, "sessions")
        self.requests = _derive(secret, "request tokens")
        self.links = _derive(secret, "links")
        self._access_keys = AESGCM(_derive(secret, "access keys"))

    def seal_secret(self, name: str, key_id: str, secret: str) -> bytes:
        """
        Seal the secret of an access key for storage: a nonce of 12 bytes, then AES-256-GCM.

        It is sealed, not hashed, since protocols that sign requests need the secret itself. User and key ID are
        authenticated with it: otherwise someone who can write the file could give a known secret to another user.
        """
        nonce = os.urandom(_NONCE)
        return nonce + self._access_keys.encrypt(nonce, secret.encode(), _associated(name, key_id))

    def open_secret(self, name: str, key_id: str, sealed: bytes) -> str:
        """@raise Damaged: unless it was sealed for that user and ID with this root's secret."""
        try:
            return self._access_keys.decrypt(sealed[:_NONCE], sealed[_NONCE:], _associated(name, key_id)).decode()
        except (InvalidTag, ValueError):
            raise Damaged(f"the access key of {name} is damaged, or was sealed on another root: rotate it") from None


def _derive(secret: bytes, purpose: str) -> bytes:
    return HKDF(SHA256(), 32, None, f"storehouse accounts 1: {purpose}".encode()).derive(secret)


def _associated(name: str, key_id: str) -> bytes:
    return f"{name}\n{key_id}".encode()


# -- the secret under the master key -----------------------------------------------------------------------------------


class KeyWrap(Protocol):
    """Seals the root's secret under the store's master key."""

    def seal(self, data: bytes) -> bytes: ...

    def open(self, data: bytes) -> bytes:
        """@raise WrongMasterKey: unless it was sealed under this master key."""


class KeyringWrap:
    """
    A L{KeyWrap} with a key derived (HKDF-SHA256) from the C{names_key} of the keyring, which lasts: the keys that wrap
    those of objects are dropped by C{storehouse rekey}. It writes a nonce of 12 bytes, then AES-256-GCM.

    @param keyring: gives the keyring, once it is open.
    """

    def __init__(self, keyring: Callable[[], Keyring]) -> None:
        self._keyring = keyring

    def seal(self, data: bytes) -> bytes:
        nonce = os.urandom(_NONCE)
        return nonce + self._cipher().encrypt(nonce, data, _WRAP_LABEL)

    def open(self, data: bytes) -> bytes:
        try:
            return self._cipher().decrypt(data[:_NONCE], data[_NONCE:], _WRAP_LABEL)
        except (InvalidTag, ValueError):
            raise WrongMasterKey(
                "the secret of the accounts (accounts/secret.key) was sealed with another keyring than this root's"
            ) from None

    def _cipher(self) -> AESGCM:
        return AESGCM(HKDF(SHA256(), 32, None, _WRAP_LABEL).derive(self._keyring().names_key))


# -- the file ----------------------------------------------------------------------------------------------------------


def needs_master_key(directory: str) -> bool:
    """
    Whether the accounts in a directory have a secret that is sealed under a master key. C{False} if it is damaged,
    which L{load_keys} reports.
    """
    try:
        with open(os.path.join(directory, SECRET_FILE), "rb") as file:
            return _decode(file.read(_MAX_FILE))[1]
    except (OSError, ValueError, KeyError, TypeError):
        return False


def load_keys(directory: AccountsDirectory, wrap: KeyWrap | None, may_create: bool) -> Keys:
    """
    Read the secret and derive the keys. With a master key, a secret that was stored plain is sealed now. Only while
    L{locked<AccountsDirectory.locked>}.

    @param may_create: create the secret if it is missing. Not where there are users already, whose access keys were
        sealed with a secret that is lost.
    @raise StoreUnusable: if it is missing and C{may_create} is false, or is damaged.
    @raise WrongMasterKey: if it is sealed under another master key, or under one and there is none now.
    """
    path = directory.file(SECRET_FILE)
    data = directory.read(SECRET_FILE)
    if data is None:
        if not may_create:
            raise StoreUnusable(
                f"{path} is missing: without it no access key, session or link of this root can be checked. Restore it from"
                " a backup; or remove the directory, and add all users again"
            )
        secret = os.urandom(SECRET_SIZE)
        directory.replace(SECRET_FILE, _encode(secret, wrap))
        return Keys(secret)
    try:
        secret, is_wrapped = _decode(data)
    except (ValueError, KeyError, TypeError) as problem:
        raise StoreUnusable(f"{path} is damaged: {problem}; restore it from a backup") from None
    if is_wrapped:
        if wrap is None:
            raise WrongMasterKey(
                f"{path} is sealed under a master key: give it with the environment variable masterkey, or with master-key-file"
            )
        secret = wrap.open(secret)
    elif wrap is not None:
        directory.replace(SECRET_FILE, _encode(secret, wrap))
    if len(secret) != SECRET_SIZE:
        raise StoreUnusable(f"{path} is damaged: its secret does not have {SECRET_SIZE} bytes")
    return Keys(secret)


def _encode(secret: bytes, wrap: KeyWrap | None) -> bytes:
    stored = secret if wrap is None else wrap.seal(secret)
    fields = {"format": _FORMAT, "version": _VERSION, "is_wrapped": wrap is not None}
    return encode_checksummed({**fields, "secret": b64encode(stored).decode("ascii")}) + b"\n"


def _decode(data: bytes) -> tuple[bytes, bool]:
    """@return: the secret as it is stored, and whether it is sealed."""
    fields, is_checked = decode_checksummed(data.removesuffix(b"\n"))
    if not is_checked or fields["format"] != _FORMAT:
        raise ValueError("it is not a secret with a checksum")
    if fields["version"] != _VERSION:
        raise ValueError(f"its version {fields['version']} is unknown here")
    return b64decode(fields["secret"], validate=True), bool(fields["is_wrapped"])
