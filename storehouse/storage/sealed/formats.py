"""
What is encrypted of objects and uploads, as bytes (docs/formats/sealed.md).

All functions here are pure, but for the random bytes that they take.  Those that read raise C{ValueError}s that say what
is wrong with the bytes.

==========================  ================================================================================
a part                      frames: up to 64 KiB, encrypted, and a tag of 16 bytes; every frame but the last full
metadata C{sealed} [0]      base64: version, ID of the wrapping key, nonce, wrapped key, tag
metadata C{sealed} [1]      base64: nonce, encrypted description, tag
a part's note in an upload  base64: nonce, encrypted (size, key of the part, note), tag
==========================  ================================================================================
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import struct
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from itertools import accumulate
from typing import Any

import attrs
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from storehouse.core.keys.keyring import KEY_SIZE, NONCE_SIZE, TAG_SIZE, Keyring
from storehouse.storage.dataspace.values import Bounds

__all__ = [
    "BOUNDS",
    "FRAME",
    "SEALED_FRAME",
    "Description",
    "SealedPart",
    "is_sealed",
    "nonce_of",
    "object_key",
    "open_note",
    "open_object",
    "open_upload",
    "plain_size",
    "rewrapped_object",
    "rewrapped_upload",
    "seal_note",
    "seal_object",
    "seal_upload",
    "sealed_size",
    "upload_key",
]

#: Bytes of a frame before it is encrypted, and after.
FRAME = 64 << 10
SEALED_FRAME = FRAME + TAG_SIZE

#: What the data space below must let be kept: some 300,000 parts of an object, and notes with what we add to them.
BOUNDS = Bounds(metadata=16 << 20, note=2048)

#: The name of the only metadata that the data space below is given.
_NAME = "sealed"

_part = struct.Struct(f">Q{KEY_SIZE}s")
_count = struct.Struct(">I")
_nonce = struct.Struct(">IQ")


def nonce_of(frame: int, last: bool) -> bytes:
    """The nonce of a frame of a part: whether it is the last, and its number, from 0."""
    return _nonce.pack(last, frame)


def sealed_size(size: int) -> int:
    """Bytes of a part's frames. One without bytes has a frame, too."""
    return size + TAG_SIZE * max(1, -(-size // FRAME))


def plain_size(size: int) -> int:
    """
    The inverse of L{sealed_size}.

    @raise ValueError: if frames cannot have so many bytes.
    """
    whole, rest = divmod(size, SEALED_FRAME)
    if (rest and rest < TAG_SIZE) or (rest == TAG_SIZE and whole) or not size:
        raise ValueError(f"frames cannot have {size} bytes")
    return whole * FRAME + (rest - TAG_SIZE if rest else 0)


def _tag(keys: Sequence[bytes]) -> str:
    # A key is used for one content, so what names the key names the content. It tells nothing about either.
    digest = hashes.Hash(hashes.SHA256())
    digest.update(b"storehouse etag 1\0")
    for key in keys:
        digest.update(key)
    return digest.finalize()[:24].hex()


@attrs.frozen
class SealedPart:
    """
    A part of an object.

    @ivar size: its bytes before they were encrypted.
    @ivar key: that of its frames.
    """

    size: int
    key: bytes = attrs.field(repr=False)

    @classmethod
    def make(cls, size: int) -> SealedPart:
        """One with a new key."""
        return cls(size, os.urandom(KEY_SIZE))

    @property
    def etag(self) -> str:
        """A tag for its content."""
        return _tag([self.key])


@attrs.frozen(slots=False)
class Description:
    """
    What is known of an object.

    @ivar metadata: as it was given.
    @ivar starts: where each part begins in the object; and the object's end.
    @ivar sealed_starts: the same of what is stored.
    """

    parts: tuple[SealedPart, ...]
    metadata: Mapping[str, Sequence[str]]

    starts: list[int] = attrs.field(init=False, eq=False, repr=False)
    sealed_starts: list[int] = attrs.field(init=False, eq=False, repr=False)

    @starts.default
    def _starts(self) -> list[int]:
        return list(accumulate((part.size for part in self.parts), initial=0))

    @sealed_starts.default
    def _sealed_starts(self) -> list[int]:
        return list(accumulate((sealed_size(part.size) for part in self.parts), initial=0))

    @property
    def size(self) -> int:
        """Bytes of the object."""
        return self.starts[-1]

    @property
    def sealed_size(self) -> int:
        """Bytes that are stored."""
        return self.sealed_starts[-1]

    @cached_property
    def etag(self) -> str:
        """A tag for the content."""
        tag = _tag([part.key for part in self.parts])
        return tag if len(self.parts) == 1 else f"{tag}-{len(self.parts)}"

    def place(self, offset: int) -> tuple[int, int]:
        """The part in which a byte of the object is, and the byte's place in it."""
        index = bisect_right(self.starts, offset, 0, len(self.parts)) - 1
        return index, offset - self.starts[index]

    def whole_parts(self, offset: int, length: int) -> range | None:
        """The parts that a range is made of; C{None} if it has less than the whole of one, or nothing."""
        if length == self.size:
            return range(len(self.parts))
        first, begin = self.place(offset)
        end = offset + length
        last, rest = self.place(end)
        if not length or begin or (rest and end != self.size):
            return None
        return range(first, len(self.parts) if end == self.size else last)


# -- encrypted texts -------------------------------------------------------------------------------


def _encrypt(key: bytes, data: bytes, about: bytes) -> str:
    nonce = os.urandom(NONCE_SIZE)
    return base64.b64encode(nonce + AESGCM(key).encrypt(nonce, data, about)).decode()


def _decode(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        raise ValueError("what is encrypted is not base64") from None


def _decrypt(key: bytes, text: str, about: bytes) -> bytes:
    data = _decode(text)
    try:
        return AESGCM(key).decrypt(data[:NONCE_SIZE], data[NONCE_SIZE:], about)
    except (InvalidTag, ValueError):
        raise ValueError("what is encrypted is not authentic") from None


def _about(what: str, id: str) -> bytes:
    return f"storehouse {what} 1\0{id}".encode()


def _texts(metadata: Mapping[str, Sequence[str]]) -> bytes:
    kept = {name: list(values) for name, values in metadata.items()}
    return json.dumps(kept, ensure_ascii=False, separators=(",", ":")).encode()


def is_sealed(metadata: Mapping[str, Sequence[str]]) -> bool:
    """Whether the metadata of the data space below is ours."""
    return list(metadata) == [_NAME] and len(metadata[_NAME]) == 2


def _key_of(keyring: Keyring, metadata: Mapping[str, Sequence[str]], about: bytes) -> bytes:
    return keyring.unwrap(_decode(metadata[_NAME][0]), about)


def _rewrapped(keyring: Keyring, metadata: Mapping[str, Sequence[str]], about: bytes) -> dict[str, list[str]] | None:
    header = _decode(metadata[_NAME][0])
    if keyring.is_current(header):
        return None
    key = keyring.unwrap(header, about)
    return {_NAME: [base64.b64encode(keyring.wrap(key, about)).decode(), metadata[_NAME][1]]}


def _sealed(keyring: Keyring, key: bytes, body: str, about: bytes) -> dict[str, list[str]]:
    return {_NAME: [base64.b64encode(keyring.wrap(key, about)).decode(), body]}


# -- objects ---------------------------------------------------------------------------------------


def seal_object(
    keyring: Keyring, id: str, parts: Iterable[SealedPart], metadata: Mapping[str, Sequence[str]]
) -> dict[str, list[str]]:
    """The metadata of an object for the data space below, under a new key."""
    table = [_part.pack(part.size, part.key) for part in parts]
    data = b"".join([_count.pack(len(table)), *table, _texts(metadata)])
    key = os.urandom(KEY_SIZE)
    return _sealed(keyring, key, _encrypt(key, data, _about("object", id)), _about("object key", id))


def object_key(keyring: Keyring, id: str, metadata: Mapping[str, Sequence[str]]) -> bytes:
    """The key of an object's description."""
    return _key_of(keyring, metadata, _about("object key", id))


def open_object(keyring: Keyring, id: str, metadata: Mapping[str, Sequence[str]]) -> Description:
    """What L{seal_object} was given."""
    key = object_key(keyring, id, metadata)
    data = _decrypt(key, metadata[_NAME][1], _about("object", id))
    (count,) = _count.unpack_from(data)
    end = _count.size + count * _part.size
    table = memoryview(data)[_count.size : end]
    return Description(tuple([SealedPart(*entry) for entry in _part.iter_unpack(table)]), _metadata(data[end:]))


def _metadata(data: bytes) -> dict[str, list[str]]:
    value: Any = json.loads(data)
    return value  # type: ignore[no-any-return]  # it is authentic, so it is what was written


def rewrapped_object(keyring: Keyring, id: str, metadata: Mapping[str, Sequence[str]]) -> dict[str, list[str]] | None:
    """The metadata with its key wrapped by the current one; C{None} if it is."""
    return _rewrapped(keyring, metadata, _about("object key", id))


# -- uploads ---------------------------------------------------------------------------------------


def seal_upload(
    keyring: Keyring, upload_id: str, metadata: Mapping[str, Sequence[str]]
) -> tuple[bytes, dict[str, list[str]]]:
    """A new key for an upload, and its metadata for the data space below."""
    key = os.urandom(KEY_SIZE)
    body = _encrypt(key, _texts(metadata), _about("upload", upload_id))
    return key, _sealed(keyring, key, body, _about("upload key", upload_id))


def upload_key(keyring: Keyring, upload_id: str, metadata: Mapping[str, Sequence[str]]) -> bytes:
    """The key of an upload."""
    return _key_of(keyring, metadata, _about("upload key", upload_id))


def open_upload(key: bytes, upload_id: str, metadata: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """The metadata that L{seal_upload} was given."""
    return _metadata(_decrypt(key, metadata[_NAME][1], _about("upload", upload_id)))


def rewrapped_upload(
    keyring: Keyring, upload_id: str, metadata: Mapping[str, Sequence[str]]
) -> dict[str, list[str]] | None:
    """The metadata with its key wrapped by the current one; C{None} if it is."""
    return _rewrapped(keyring, metadata, _about("upload key", upload_id))


def seal_note(key: bytes, upload_id: str, number: int, part: SealedPart, note: str) -> str:
    """The note of a part of an upload, with what is needed to read the part."""
    return _encrypt(key, _part.pack(part.size, part.key) + note.encode(), _about("part", f"{upload_id}/{number}"))


def open_note(key: bytes, upload_id: str, number: int, text: str) -> tuple[SealedPart, str]:
    """What L{seal_note} was given."""
    data = _decrypt(key, text, _about("part", f"{upload_id}/{number}"))
    return SealedPart(*_part.unpack_from(data)), data[_part.size :].decode()
