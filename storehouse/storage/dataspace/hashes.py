"""
The hashes that blocks are checked with, by the names that checksum files give them.

==============  ======  =====================================================================
name            bytes   source
==============  ======  =====================================================================
HighwayHash256  32      L{storehouse.core.highwayhash}; with a key of 32 bytes, zero if none
BLAKE3          32      the reference implementation's; with a key of 32 bytes, or none
CRC32C          4       Castagnoli's polynomial, big-endian; without a key
==============  ======  =====================================================================

All of them let go of the interpreter's lock (HighwayHash256 from 32 KiB on), so that they can run in a disk thread.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import attrs
from blake3 import blake3

from storehouse.core.digests import crc32c
from storehouse.core.highwayhash import IS_FAST, highwayhash256

__all__ = ["HASHES", "Hash", "Hasher", "find_hash"]


class Hasher(Protocol):
    """The hash of one block whose bytes come in pieces."""

    def update(self, data: bytes | memoryview) -> Any:
        """These are next."""

    def digest(self) -> bytes:
        """The checksum of all of them."""


@attrs.frozen
class Hash:
    """
    A hash with its key.

    @ivar name: as in checksum files.
    @ivar length: bytes of a checksum.
    @ivar key: as given; empty for none.
    @ivar digest: from a whole block to its checksum.
    @ivar at_once: bytes whose checksum takes no more than some 100 microseconds.
    @ivar start: begins a block that comes in pieces; C{None} if the hash needs its blocks whole.
    """

    name: str
    length: int
    key: bytes
    digest: Callable[[bytes], bytes]
    start: Callable[[], Hasher] | None
    at_once: int


class _CRC32C:
    def __init__(self) -> None:
        self._value = 0

    def update(self, data: bytes | memoryview) -> None:
        self._value = crc32c(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(4, "big")


def _highwayhash256(key: bytes) -> Hash:
    used = key or bytes(32)
    # Its twin is another process, and never waited for in the reactor's thread.
    at_once = 512 << 10 if IS_FAST else 0
    return Hash("HighwayHash256", 32, key, lambda block: highwayhash256(used, block), None, at_once)


def _blake3(key: bytes) -> Hash:
    if key:
        return Hash(
            "BLAKE3", 32, key, lambda block: blake3(block, key=key).digest(), lambda: blake3(key=key), 512 << 10
        )
    return Hash("BLAKE3", 32, key, lambda block: blake3(block).digest(), blake3, 512 << 10)


def _crc32c(key: bytes) -> Hash:
    return Hash("CRC32C", 4, key, lambda block: crc32c(block).to_bytes(4, "big"), _CRC32C, 1 << 20)


_makers: dict[str, tuple[Callable[[bytes], Hash], tuple[int, ...]]] = {
    "HighwayHash256": (_highwayhash256, (0, 32)),
    "BLAKE3": (_blake3, (0, 32)),
    "CRC32C": (_crc32c, (0,)),
}

#: The names that there are, the default first.
HASHES = tuple(_makers)


def find_hash(name: str, key: bytes = b"") -> Hash:
    """
    The hash of that name.

    @raise ValueError: naming what is wrong.
    """
    if name not in _makers:
        raise ValueError(f"there is no hash {name[:100]!r}; there are {', '.join(HASHES)}")
    make, lengths = _makers[name]
    if len(key) not in lengths:
        raise ValueError(f"{name} has no keys of {len(key)} bytes")
    return make(key)
