"""
CRC32C of bytes in a row, of the CRC32C of each: so that the checksum of an upload is known without reading it again.

A CRC is linear over GF(2): that of the first bytes, moved on over as many zero bytes as follow, and that of those that
follow, differ from that of all by nothing. Moving on over 2^k bytes is a matrix of 32 times 32 bits, made once.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache

from storehouse.storage.dataspace.interfaces import Part

__all__ = ["combined", "crc_in", "crc_of_parts", "note_of"]

# The polynomial of CRC32C, bits reversed.
_POLYNOMIAL = 0x82F63B78

_note = re.compile("crc32c=([0-9a-f]{8})").fullmatch

_Matrix = tuple[int, ...]


def _applied(matrix: _Matrix, vector: int) -> int:
    result = 0
    for row in matrix:
        if vector & 1:
            result ^= row
        vector >>= 1
        if not vector:
            break
    return result


@cache
def _moving(power: int) -> _Matrix:
    """What moves a CRC on over C{2 ** power} zero bits."""
    if not power:
        return (_POLYNOMIAL, *(1 << bit for bit in range(31)))
    half = _moving(power - 1)
    return tuple(_applied(half, row) for row in half)


def combined(first: int, second: int, size: int) -> int:
    """
    The CRC32C of bytes and what follows them.

    @param first: that of the bytes.
    @param second: that of what follows.
    @param size: the bytes of what follows.
    """
    bits, power = 8 * size, 0
    while bits:
        if bits & 1:
            first = _applied(_moving(power), first)
        bits >>= 1
        power += 1
    return first ^ second


def note_of(crc: int) -> str:
    """What is noted of a part."""
    return f"crc32c={crc:08x}"


def crc_in(note: str) -> int | None:
    """The CRC32C in a note; C{None} if there is none."""
    found = _note(note)
    return int(found[1], 16) if found else None


def crc_of_parts(parts: Iterable[Part]) -> int | None:
    """The CRC32C of parts in a row; C{None} if that of one is not known."""
    total = 0
    for part in parts:
        crc = crc_in(part.note)
        if crc is None:
            return None
        total = combined(total, crc, part.size)
    return total
