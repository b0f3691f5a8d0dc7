"""
Checksums of bodies and objects: those of S3, the only place that knows how they are computed.

========= ===== ========================= =======================
name      bytes of an upload in parts     computed by
========= ===== ========================= =======================
crc32     4     COMPOSITE or FULL_OBJECT  awscrt
crc32c    4     COMPOSITE or FULL_OBJECT  awscrt
crc64nvme 8     FULL_OBJECT               awscrt
sha1      20    COMPOSITE                 hashlib
sha256    32    COMPOSITE                 hashlib
sha512    64    COMPOSITE                 hashlib
md5       16    COMPOSITE                 hashlib
xxhash64  8     COMPOSITE                 awscrt, seed 0
xxhash3   8     COMPOSITE                 awscrt, seed 0, XXH3 of 64 bits
xxhash128 16    COMPOSITE                 awscrt, seed 0, XXH3 of 128 bits
========= ===== ========================= =======================

Written they are base64 of their bytes, the most significant first. A composite one is that of the checksums of the parts, one
after the other, with C{-N} behind it for N parts; one of the full object is that of all bytes, which for the CRCs follows from
those of the parts and their sizes.

Source: "Checking object integrity in Amazon S3" in the S3 User Guide; botocore's model of the service.
"""

from __future__ import annotations

import functools
import hashlib
from base64 import b64decode, b64encode
from binascii import Error as NotBase64
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import attrs

from storehouse.core.streams import Piece

__all__ = [
    "ALGORITHMS",
    "COMPOSITE",
    "DEFAULT",
    "FULL_OBJECT",
    "Hasher",
    "combine",
    "composite",
    "decoded",
    "encoded",
]

COMPOSITE = "COMPOSITE"
FULL_OBJECT = "FULL_OBJECT"

#: What S3 computes when a client names none.
DEFAULT = "crc64nvme"


@functools.cache
def _crt() -> Any:
    """
    awscrt, which is loaded for the first checksum that hashlib has not: it would be a sixth of what a start of a server costs,
    and the first that needs it waits some 20 ms.
    """
    from awscrt import checksums

    return checksums


class _State(Protocol):
    def update(self, data: Piece, /) -> object: ...

    def digest(self) -> bytes: ...


class _Crc:
    """A CRC as hashlib has its hashes."""

    def __init__(self, name: str, size: int) -> None:
        self._compute: Callable[[Piece, int], int] = getattr(_crt(), name)
        self._size = size
        self._value = 0

    def update(self, data: Piece) -> None:
        """The next bytes."""
        self._value = self._compute(data, self._value)

    def digest(self) -> bytes:
        """Of all bytes so far."""
        return self._value.to_bytes(self._size, "big")


class _XXHash:
    """An XXHash as hashlib has its hashes."""

    def __init__(self, name: str) -> None:
        self._state = getattr(_crt().XXHash, f"new_{name}")()

    def update(self, data: Piece) -> None:
        """The next bytes."""
        # It takes no views.
        self._state.update(data if isinstance(data, bytes) else bytes(data))

    def digest(self) -> bytes:
        """Of all bytes so far."""
        return bytes(self._state.finalize())


@attrs.frozen
class _Algorithm:
    """
    @ivar size: bytes of a checksum.
    @ivar combine: the function of awscrt for the checksum of two neighbours, from theirs and the size of the second; empty if
        there is none.
    @ivar types: that an upload in parts can have, the usual one first.
    """

    size: int
    begin: Callable[[], _State]
    types: tuple[str, ...] = (COMPOSITE,)
    combine: str = ""


#: By their names in lower case, as header fields have them behind C{x-amz-checksum-}.
ALGORITHMS: Mapping[str, _Algorithm] = {
    "crc32": _Algorithm(4, lambda: _Crc("crc32", 4), (COMPOSITE, FULL_OBJECT), "combine_crc32"),
    "crc32c": _Algorithm(4, lambda: _Crc("crc32c", 4), (COMPOSITE, FULL_OBJECT), "combine_crc32c"),
    "crc64nvme": _Algorithm(8, lambda: _Crc("crc64nvme", 8), (FULL_OBJECT,), "combine_crc64nvme"),
    "sha1": _Algorithm(20, hashlib.sha1),
    "sha256": _Algorithm(32, hashlib.sha256),
    "sha512": _Algorithm(64, hashlib.sha512),
    "md5": _Algorithm(16, hashlib.md5),
    "xxhash64": _Algorithm(8, lambda: _XXHash("xxhash64")),
    "xxhash3": _Algorithm(8, lambda: _XXHash("xxhash3_64")),
    "xxhash128": _Algorithm(16, lambda: _XXHash("xxhash3_128")),
}


class Hasher:
    """
    A checksum of bytes that come one after the other.

    @param name: one of L{ALGORITHMS}.
    """

    def __init__(self, name: str) -> None:
        self._state = ALGORITHMS[name].begin()

    def update(self, data: Piece) -> None:
        """The next bytes."""
        self._state.update(data)

    def digest(self) -> bytes:
        """Of all bytes so far."""
        return self._state.digest()


def encoded(digest: bytes) -> str:
    """A checksum as it is written."""
    return b64encode(digest).decode("ascii")


def decoded(name: str, value: str) -> bytes | None:
    """The bytes of a checksum as it is written; C{None} if it is none of that algorithm."""
    try:
        digest = b64decode(value, validate=True)
    except (NotBase64, ValueError):
        return None
    return digest if len(digest) == ALGORITHMS[name].size else None


def combine(name: str, parts: Sequence[tuple[bytes, int]]) -> bytes:
    """
    The checksum of a full object from those of its parts, without reading a byte of them.

    @param name: one of the CRCs.
    @param parts: the checksum of each and its size in bytes, in order.
    """
    algorithm = ALGORITHMS[name]
    if not algorithm.combine:
        raise ValueError(f"checksums of {name} cannot be combined")
    combined: Callable[[int, int, int], int] = getattr(_crt(), algorithm.combine)
    value = 0
    for digest, size in parts:
        value = combined(value, int.from_bytes(digest, "big"), size)
    return value.to_bytes(algorithm.size, "big")


def composite(name: str, digests: Sequence[bytes]) -> str:
    """The composite checksum of an object from those of its parts, as it is written."""
    hasher = Hasher(name)
    hasher.update(b"".join(digests))
    return f"{encoded(hasher.digest())}-{len(digests)}"
