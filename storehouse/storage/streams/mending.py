"""Lines of JSON with checksums in which one bit was flipped."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from storehouse.core.checksummed import decode_checksummed

__all__ = ["mended_line"]

#: Bytes of the longest line of which a single flipped bit can be told for sure.
_SURE = 655


def mended_line(line: bytes, following: bytes) -> tuple[Sequence[bytes], int]:
    """
    What a line was before one bit was flipped: in it, or in a newline, or so that there is one.

    For lines of up to 655 bytes CRC32C tells all of up to five flipped bits, so two lines that differ in one bit are never
    both right.

    @return: the lines, none if that is not what is wrong with it; and how many of those behind it are among them.
    """
    newlines = tuple(0x0A ^ 1 << bit for bit in range(8))
    for at, byte in enumerate(line):
        if byte in newlines and line[at - 1 : at] == b"}" and _is_right(line[:at]) and _is_right(line[at + 1 :]):
            return (line[:at], line[at + 1 :]), 0
    for byte in newlines:
        joined = b"%b%c%b" % (line, byte, following)
        if following and _is_right(joined):
            return (joined,), 1
    data = bytearray(line)
    for at, bit in itertools.product(range(len(data) if len(data) <= _SURE else 0), range(8)):
        data[at] ^= 1 << bit
        if _is_right(bytes(data)):
            return (bytes(data),), 0
        data[at] ^= 1 << bit
    return (), 0


def _is_right(line: bytes) -> bool:
    try:
        return decode_checksummed(line)[1]
    except (ValueError, RecursionError):
        return False
