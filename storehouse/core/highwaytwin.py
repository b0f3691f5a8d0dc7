"""
HighwayHash256 in Python: what C{storehouse._native} does thousands of times faster.

It imports nothing of storehouse, since it is run as a program of its own (L{storehouse.core.highwayhash}): hashing in a thread
would keep the interpreter's lock from the reactor for as long as it takes, some 0.4 s a MiB.

As a program it reads requests and writes digests until its input ends:

======== ====================================
bytes    of a request
======== ====================================
32       key
8        length of the data, little-endian
length   data
======== ====================================
"""

from __future__ import annotations

import sys
from struct import Struct

__all__ = ["HEAD", "highwayhash256"]

#: The head of a request: a key, and how many bytes follow.
HEAD = Struct("<32sQ")

_lanes = Struct("<4Q").unpack_from
_packed = Struct("<4Q").pack

_INIT0 = (0xDBE6D5D5FE4CCE2F, 0xA4093822299F31D0, 0x13198A2E03707344, 0x243F6A8885A308D3)
_INIT1 = (0x3BD39E10CB0EF593, 0xC0ACF169B5F18A8C, 0xBE5466CF34E90C6C, 0x452821E638D01377)

_64 = (1 << 64) - 1
_32 = (1 << 32) - 1

# Which byte of a pair of lanes, taken as 16, comes first, second and so on when they are zipped.
_ZIP = (3, 12, 2, 5, 14, 1, 15, 0, 11, 4, 10, 13, 9, 6, 8, 7)


def _halves_swapped(lane: int) -> int:
    return (lane << 32 | lane >> 32) & _64


class _State:
    def __init__(self, key: bytes) -> None:
        lanes = _lanes(key)
        self.mul0, self.mul1 = list(_INIT0), list(_INIT1)
        self.v0 = [init ^ lane for init, lane in zip(_INIT0, lanes, strict=True)]
        self.v1 = [init ^ _halves_swapped(lane) for init, lane in zip(_INIT1, lanes, strict=True)]

    def take(self, packet: tuple[int, ...]) -> None:
        v0, v1, mul0, mul1 = self.v0, self.v1, self.mul0, self.mul1
        for i in range(4):
            a = v1[i] = (v1[i] + packet[i] + mul0[i]) & _64
            b = v0[i]
            mul0[i] ^= (a & _32) * (b >> 32)
            b = v0[i] = (b + mul1[i]) & _64
            mul1[i] ^= (b & _32) * (a >> 32)
        for one, other in ((v0, v1), (v1, v0)):
            data = _packed(*other)
            zipped = bytes([data[at] for at in _ZIP]) + bytes([data[16 + at] for at in _ZIP])
            one[:] = [(lane + more) & _64 for lane, more in zip(one, _lanes(zipped), strict=True)]

    def pad(self, rest: bytes) -> bytes:
        """Take the size of an incomplete packet, and give the packet that its bytes make."""
        size = len(rest)
        self.v0 = [(lane + (size << 32) + size) & _64 for lane in self.v0]
        self.v1 = [_rotated(lane >> 32, size) << 32 | _rotated(lane & _32, size) for lane in self.v1]
        words, more = size & ~3, size & 3
        packet = bytearray(32)
        packet[:words] = rest[:words]
        if size & 16:
            packet[28:] = rest[-4:]
        elif more:
            packet[16] = rest[words]
            packet[17] = rest[words + (more >> 1)]
            packet[18] = rest[-1]
        return bytes(packet)

    def digest(self) -> bytes:
        for _ in range(10):
            self.take(tuple(_halves_swapped(self.v0[i ^ 2]) for i in range(4)))
        found: list[int] = []
        for i in (0, 2):
            a0, a1 = ((self.v0[at] + self.mul0[at]) & _64 for at in (i, i + 1))
            a2, a3 = ((self.v1[at] + self.mul1[at]) & _64 for at in (i, i + 1))
            a3 &= _64 >> 2
            found.append(a0 ^ a2 << 1 & _64 ^ a2 << 2 & _64)
            found.append(a1 ^ (a3 << 1 & _64 | a2 >> 63) ^ (a3 << 2 & _64 | a2 >> 62))
        return _packed(*found)


def _rotated(half: int, by: int) -> int:
    return (half << by | half >> 32 - by) & _32


def highwayhash256(key: bytes, data: bytes | memoryview) -> bytes:
    """
    The digest of C{data}, 32 bytes.

    @param key: 32 bytes.
    @raise ValueError: if it has another length.
    """
    if len(key) != 32:
        raise ValueError(f"a key has 32 bytes, not {len(key)}")
    state = _State(bytes(key))
    whole = len(data) & ~31
    for at in range(0, whole, 32):
        state.take(_lanes(data, at))
    if whole < len(data):
        state.take(_lanes(state.pad(bytes(data[whole:]))))
    return state.digest()


def _main() -> None:
    requests, digests = sys.stdin.buffer, sys.stdout.buffer
    while len(head := requests.read(HEAD.size)) == HEAD.size:
        key, size = HEAD.unpack(head)
        data = requests.read(size)
        if len(data) < size:
            break
        digests.write(highwayhash256(key, data))
        digests.flush()


if __name__ == "__main__":
    _main()
