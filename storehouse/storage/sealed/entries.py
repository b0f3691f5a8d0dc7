"""
Names and entries, encrypted (docs/formats/sealed.md).

================  ==========================================================================================
key on disk       HMAC-SHA256 of bucket, NUL and key, as 64 hex digits
entry on disk     ID, size and time as they are; no etag, no content type; metadata C{sealed}, one text
that text         base64: nonce, encrypted JSON of key, etag, contentType and metadata, tag
================  ==========================================================================================
"""

from __future__ import annotations

import base64
import json
import os

import attrs
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from storehouse.core.keys.keyring import KEY_SIZE, NONCE_SIZE
from storehouse.errors import NoSuchKey
from storehouse.storage.namespace.interfaces import Entry

__all__ = ["SEALED_METADATA", "NameKeys", "no_such_key"]

#: Bytes of metadata that the namespace below must let an entry have.
SEALED_METADATA = 256 << 10

_NAME = "sealed"


def _derived(key: bytes, purpose: bytes) -> bytes:
    return HKDFExpand(algorithm=hashes.SHA256(), length=KEY_SIZE, info=purpose).derive(key)


class NameKeys:
    """
    What encrypts names.

    @param key: of the keyring.
    """

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(_derived(key, b"storehouse names encryption 1"))
        self._hmac = hmac.HMAC(_derived(key, b"storehouse names lookup 1"), hashes.SHA256())

    def key_of(self, bucket: str, key: bytes) -> str:
        """What a key is called on disk."""
        mac = self._hmac.copy()
        mac.update(bucket.encode() + b"\0" + key)
        return mac.finalize().hex()

    def seal(self, bucket: str, key: str, stored_key: str, entry: Entry) -> Entry:
        """
        What is on disk for an entry.

        @param stored_key: what L{key_of} gave.
        """
        inside = {
            "key": key,
            "etag": entry.etag,
            "contentType": entry.content_type,
            "metadata": {name: list(values) for name, values in entry.metadata.items()},
            **({"tag": entry.tag} if entry.tag else {}),
        }
        data = json.dumps(inside, ensure_ascii=False, separators=(",", ":")).encode()
        nonce = os.urandom(NONCE_SIZE)
        sealed = nonce + self._cipher.encrypt(nonce, data, _about(bucket, stored_key, entry))
        text = base64.b64encode(sealed).decode()
        return attrs.evolve(entry, etag="", content_type="", metadata={_NAME: [text]}, tag="")

    def open(self, bucket: str, stored_key: str, stored: Entry) -> tuple[str, Entry]:
        """
        The key and the entry that L{seal} was given.

        @raise ValueError: if they are not those.
        """
        if list(stored.metadata) != [_NAME] or len(stored.metadata[_NAME]) != 1:
            raise ValueError("it is not encrypted, and all names here are")
        try:
            sealed = base64.b64decode(stored.metadata[_NAME][0], validate=True)
            data = self._cipher.decrypt(sealed[:NONCE_SIZE], sealed[NONCE_SIZE:], _about(bucket, stored_key, stored))
        except (InvalidTag, ValueError):
            raise ValueError("what is encrypted is not authentic") from None
        inside = json.loads(data)
        return inside["key"], attrs.evolve(
            stored,
            etag=inside["etag"],
            content_type=inside["contentType"],
            metadata=inside["metadata"],
            tag=inside.get("tag", ""),
        )


def _about(bucket: str, stored_key: str, entry: Entry) -> bytes:
    return f"storehouse name 1\0{bucket}\0{stored_key}\0{entry.id}\0{entry.size}\0{entry.created}".encode()


def no_such_key(bucket: str, key: str, id: str | None) -> NoSuchKey:
    """What to raise for a key, or a version of it, that is not there: by the name that it is asked for."""
    return NoSuchKey(f"the bucket {bucket} has no key {key!r}" + ("" if id is None else f" with a version {id}"))
