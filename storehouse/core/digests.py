"""Hashes and checksums of small things."""

from __future__ import annotations

from crc32c import crc32c

__all__ = ["crc32c", "fnv1a32"]


def fnv1a32(data: bytes) -> int:
    """FNV-1a with 32 bits. Costs about 70 ns a byte: cache what is needed again."""
    digest = 0x811C9DC5
    for byte in data:
        digest = ((digest ^ byte) * 0x01000193) & 0xFFFFFFFF
    return digest
