"""
Tokens of temporary access keys: all that is known of such a key is in its token, encrypted; nothing is stored.

A token is the URL-safe base64, without padding, of these bytes::

    offset  size  content
    0       1     version, 1
    1       12    nonce: random
    13      ..    AES-256-GCM of JSON; the version and the ID of the key are authenticated with it
    -16     16    tag

The JSON is C{{"user":"ann","key":"SH...","name":"ci","issued":1790000000,"expires":1790003600,"rights":[[{"permissions":["read"],
"bucket":"photos","prefix":""}]],"policies":["{...}"],"is_role":true}}. The secret of the key is the URL-safe base64 of the first
30 bytes of HMAC-SHA256 of the ID, a line feed and the token, by another key.
"""

from __future__ import annotations

import hmac
import json
import os
import re
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Any

import attrs
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from storehouse.errors import BadRequest, TokenInvalid
from storehouse.storage.accounts.interfaces import Temporary, TemporaryKey

__all__ = ["LONGEST", "MOST_TOKEN", "SHORTEST", "Sealer", "check_session_name", "decode_text", "encode_text"]

#: Seconds that a temporary key lasts.
SHORTEST, LONGEST = 900, 43200

#: Characters of a token: it is a header field, or in a URL.
MOST_TOKEN = 6000

_VERSION = b"\x01"
_NONCE, _TAG = 12, 16
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"

_session_name = re.compile(r"[A-Za-z0-9_+=,.@-]{2,64}\Z", re.ASCII).match
_key_id = re.compile(r"ASIA[A-Z2-7]{16}\Z", re.ASCII).match


def encode_text(data: bytes) -> str:
    """URL-safe base64, without padding."""
    return urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def decode_text(text: str) -> bytes:
    """
    What L{encode_text} encoded. The last character can have unused bits, so that several texts have the same bytes: the one that
    was given out is taken alone.

    @raise ValueError: for any other text.
    """
    data = urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
    if encode_text(data) != text:
        raise ValueError("it is not written as it should be")
    return data


def check_session_name(name: str) -> str:
    """@raise BadRequest: unless it has 2 to 64 of A-Z, a-z, 0-9 and C{_+=,.@-}."""
    if not _session_name(name):
        raise BadRequest(f"{name[:100]!r} is not the name of a session: use 2 to 64 of A-Z, a-z, 0-9 and _+=,.@-")
    return name


class Sealer:
    """
    Makes temporary keys, and opens their tokens.

    @param tokens: the key that encrypts tokens, of 32 bytes.
    @param secret: the key that makes secrets.
    """

    def __init__(self, tokens: bytes, secret: bytes) -> None:
        self._cipher = AESGCM(tokens)
        self._secret = secret

    def seal(self, user: str, said: Temporary) -> TemporaryKey:
        """
        A new key.

        @raise BadRequest: if what it says is too long.
        """
        return self.seal_as(
            "ASIA" + "".join(secrets.choice(_LETTERS) for _ in range(16)), os.urandom(_NONCE), user, said
        )

    def seal_as(self, key_id: str, nonce: bytes, user: str, said: Temporary) -> TemporaryKey:
        """
        L{seal}, by a given ID.

        @param nonce: never the same for two tokens.
        """
        fields = attrs.asdict(said)
        fields = {"user": user, "key": fields.pop("key_id"), **fields}
        data = self._cipher.encrypt(nonce, json.dumps(fields, separators=(",", ":")).encode(), _about(key_id))
        token = encode_text(_VERSION + nonce + data)
        if len(token) > MOST_TOKEN:
            raise BadRequest(
                f"the policies and rights of a temporary key are too long: its token has at most {MOST_TOKEN} characters"
            )
        return TemporaryKey(key_id, self._secret_of(key_id, token).decode("ascii"), token, said.expires)

    def open(self, key_id: str, token: str) -> tuple[str, Temporary, bytes]:
        """
        The name of the user, what the key says, and its secret. Whether it has expired is not looked at.

        @raise TokenInvalid: unless it is, to the last bit, what L{seal} wrote for that key.
        """
        refused = TokenInvalid("the token is malformed, or not of this access key")
        if len(token) > MOST_TOKEN or not _key_id(key_id):
            raise refused
        try:
            data = decode_text(token)
        except ValueError:
            raise refused from None
        if data[:1] != _VERSION or len(data) <= 1 + _NONCE + _TAG:
            raise refused
        try:
            opened = self._cipher.decrypt(data[1 : 1 + _NONCE], data[1 + _NONCE :], _about(key_id))
        except InvalidTag:
            raise refused from None
        fields: Any = json.loads(opened)
        user = fields.pop("user")
        return user, Temporary(key_id=fields.pop("key"), **fields), self._secret_of(key_id, token)

    def _secret_of(self, key_id: str, token: str) -> bytes:
        return urlsafe_b64encode(hmac.digest(self._secret, f"{key_id}\n{token}".encode(), "sha256")[:30])


def _about(key_id: str) -> bytes:
    return _VERSION + key_id.encode("ascii")
