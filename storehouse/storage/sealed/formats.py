"""
What is encrypted, as bytes (docs/formats/sealed.md).

All functions here are pure, but for the random bytes that they take. Those that read raise C{ValueError}s that say what is
wrong with the bytes.

==========================  ================================================================================
a part                      frames: up to 64 KiB, encrypted, and a tag of 16 bytes; every frame but the last full
metadata C{sealed} [0]      base64: version, ID of the wrapping key, nonce, wrapped key, tag
metadata C{sealed} [1]      base64: nonce, encrypted description, tag
a part's note in an upload  base64: nonce, encrypted (size, key of the part, note), tag
a key of a namespace        HMAC-SHA256 of bucket, NUL and key, as 64 hex digits
its entry                   ID, size and time as they are; no etag, no content type; metadata C{sealed}, one text
that text                   base64: nonce, encrypted JSON of key, etag, contentType, metadata and system, tag
a bucket's configuration    nonce, encrypted bytes, tag
small values                nonce, encrypted value, tag: states of resumable uploads, and the secret of accounts
==========================  ================================================================================
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import struct
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from itertools import accumulate
from typing import Any

import attrs
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand

from storehouse.core.keys.keyring import KEY_SIZE, NONCE_SIZE, TAG_SIZE, Keyring
from storehouse.storage.dataspace.interfaces import Part
from storehouse.storage.dataspace.values import Bounds
from storehouse.storage.namespace.interfaces import Entry

__all__ = [
    "ACCOUNTS",
    "BOUNDS",
    "EVENTS",
    "FRAME",
    "MAX_NOTED",
    "RESUMABLE",
    "SEALED_FRAME",
    "SEALED_METADATA",
    "Description",
    "KeyringCipher",
    "NameKeys",
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

#: What the data space below must take: the keys of some 300,000 parts of an object, and notes with what is added to them.
BOUNDS = Bounds(metadata=16 << 20, note=2048)

#: The name of the only metadata that is stored below.
_NAME = "sealed"

#: The most parts of an object whose numbers and notes are kept: as many as S3 has.
MAX_NOTED = 10_000

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
    # A key is used for one content, so a tag of the key is a tag of the content. Neither can be found from it.
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
    @ivar key: encrypts its frames.
    @ivar number: that it had in the upload of its object; 0 for its place.
    @ivar note: that it had there.
    """

    size: int
    key: bytes = attrs.field(repr=False)
    number: int = 0
    note: str = ""

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
    What the key of an object opens.

    @ivar metadata: that of the object, as its user gave it.
    @ivar starts: the offset of each part in the object; and the size of the object.
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

    def listed(self) -> list[Part]:
        """The parts, as a data space lists them."""
        return [Part(part.number or place, part.etag, part.size, part.note) for place, part in enumerate(self.parts, 1)]

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

    def locate(self, offset: int) -> tuple[int, int]:
        """The index of the part that has a byte of the object, and the byte's offset in it."""
        index = bisect_right(self.starts, offset, 0, len(self.parts)) - 1
        return index, offset - self.starts[index]

    def whole_parts(self, offset: int, length: int) -> range | None:
        """The parts that a range is made of; C{None} if it has less than the whole of one, or nothing."""
        if length == self.size:
            return range(len(self.parts))
        first, begin = self.locate(offset)
        end = offset + length
        last, rest = self.locate(end)
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
        raise ValueError("the encrypted text is not base64") from None


def _decrypt(key: bytes, text: str, about: bytes) -> bytes:
    data = _decode(text)
    try:
        return AESGCM(key).decrypt(data[:NONCE_SIZE], data[NONCE_SIZE:], about)
    except (InvalidTag, ValueError):
        raise ValueError("the encrypted bytes are not authentic") from None


def _about(what: str, id: str) -> bytes:
    return f"storehouse {what} 1\0{id}".encode()


def _text(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _texts(metadata: Mapping[str, Sequence[str]]) -> bytes:
    return _text({name: list(values) for name, values in metadata.items()})


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
    parts = list(parts)
    table = [_part.pack(part.size, part.key) for part in parts]
    rest = _texts(metadata)
    noted = [[part.number or place, part.note] for place, part in enumerate(parts, 1)]
    if len(parts) <= MAX_NOTED and noted != [[place, ""] for place in range(1, len(parts) + 1)]:
        rest = b"[%s,%s]" % (rest, _text(noted))
    data = b"".join([_count.pack(len(table)), *table, rest])
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
    parts = [SealedPart(*entry) for entry in _part.iter_unpack(memoryview(data)[_count.size : end])]
    rest: Any = json.loads(data[end:])  # it is authentic, so it is what was written
    if isinstance(rest, list):
        rest, noted = rest
        parts = [
            attrs.evolve(part, number=number, note=note) for part, (number, note) in zip(parts, noted, strict=True)
        ]
    return Description(tuple(parts), rest)


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


# -- names -----------------------------------------------------------------------------------------

#: Bytes of metadata that the namespace below must let an entry have: all that an entry may have, as JSON with escapes, in
#: base64.
SEALED_METADATA = 2 << 20


def _derived(key: bytes, purpose: bytes) -> bytes:
    return HKDFExpand(algorithm=hashes.SHA256(), length=KEY_SIZE, info=purpose).derive(key)


class NameKeys:
    """
    Encrypts names.

    @param key: C{names_key} of the keyring.
    """

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(_derived(key, b"storehouse names encryption 1"))
        self._hmac = hmac.HMAC(_derived(key, b"storehouse names lookup 1"), hashes.SHA256())

    def key_of(self, bucket: str, key: bytes) -> str:
        """The name that a key has on disk."""
        mac = self._hmac.copy()
        mac.update(bucket.encode() + b"\0" + key)
        return mac.finalize().hex()

    def seal(self, bucket: str, key: str, stored_key: str, entry: Entry) -> Entry:
        """
        The entry on disk for an entry.

        @param stored_key: what L{key_of} returned.
        """
        inside = {
            "key": key,
            "etag": entry.etag,
            "contentType": entry.content_type,
            "metadata": {name: list(values) for name, values in entry.metadata.items()},
            **({"tag": entry.tag} if entry.tag else {}),
            **({"system": dict(entry.system)} if entry.system else {}),
        }
        data = json.dumps(inside, ensure_ascii=False, separators=(",", ":")).encode()
        nonce = os.urandom(NONCE_SIZE)
        sealed = nonce + self._cipher.encrypt(nonce, data, _about_entry(bucket, stored_key, entry))
        text = base64.b64encode(sealed).decode()
        return attrs.evolve(entry, etag="", content_type="", metadata={_NAME: [text]}, tag="", system={})

    def open(self, bucket: str, stored_key: str, stored: Entry) -> tuple[str, Entry]:
        """
        The key and the entry that L{seal} was given.

        @raise ValueError: if it is not authentic, or is of another key.
        """
        if list(stored.metadata) != [_NAME] or len(stored.metadata[_NAME]) != 1:
            raise ValueError("it is not encrypted, but all names here are")
        try:
            sealed = base64.b64decode(stored.metadata[_NAME][0], validate=True)
            data = self._cipher.decrypt(
                sealed[:NONCE_SIZE], sealed[NONCE_SIZE:], _about_entry(bucket, stored_key, stored)
            )
        except (InvalidTag, ValueError):
            raise ValueError("the encrypted bytes are not authentic") from None
        inside = json.loads(data)
        return inside["key"], attrs.evolve(
            stored,
            etag=inside["etag"],
            content_type=inside["contentType"],
            metadata=inside["metadata"],
            tag=inside.get("tag", ""),
            system=inside.get("system", {}),
        )

    def seal_config(self, bucket: str, kind: str, data: bytes) -> bytes:
        """The configuration of a bucket on disk."""
        nonce = os.urandom(NONCE_SIZE)
        return nonce + self._cipher.encrypt(nonce, data, _about_config(bucket, kind))

    def open_config(self, bucket: str, kind: str, sealed: bytes) -> bytes:
        """
        What L{seal_config} was given.

        @raise ValueError: if it is not authentic, or is of another bucket or kind.
        """
        try:
            return self._cipher.decrypt(sealed[:NONCE_SIZE], sealed[NONCE_SIZE:], _about_config(bucket, kind))
        except (InvalidTag, ValueError):
            raise ValueError("the encrypted bytes are not authentic") from None


def _about_config(bucket: str, kind: str) -> bytes:
    return f"storehouse bucket configuration 1\0{bucket}\0{kind}".encode()


def _about_entry(bucket: str, stored_key: str, entry: Entry) -> bytes:
    return f"storehouse name 1\0{bucket}\0{stored_key}\0{entry.id}\0{entry.size}\0{entry.created}".encode()


#: The purposes that keys are derived for.
ACCOUNTS = b"storehouse accounts 1: secret.key"
RESUMABLE = b"storehouse resumable 1: states"
EVENTS = b"storehouse events 1: spool"


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
