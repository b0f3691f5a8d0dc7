"""Checksums of bytes in a row."""

from __future__ import annotations

from crc32c import crc32c
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from storehouse.storage.dataspace.interfaces import Part
from storehouse.storage.resumable.parts import combined, crc_in, crc_of_parts, note_of


class ChecksumTests(SynchronousTestCase):
    """L{storehouse.storage.resumable.parts}."""

    @given(st.binary(max_size=300), st.binary(max_size=300))
    def test_combined(self, first: bytes, second: bytes) -> None:
        self.assertEqual(combined(crc32c(first), crc32c(second), len(second)), crc32c(first + second))

    def test_large(self) -> None:
        """Sizes with many bits, and zeros by the gigabyte: their checksum is that of a register that runs on."""
        data = bytes(range(256)) * 4097
        self.assertEqual(combined(crc32c(b"abc"), crc32c(data), len(data)), crc32c(b"abc" + data))
        half = combined(crc32c(b"abc"), 0, 1 << 39)
        self.assertEqual(combined(half, 0, 1 << 39), combined(crc32c(b"abc"), 0, 1 << 40))

    def test_parts(self) -> None:
        datas = [b"one", b"", b"two" * 1000]
        parts = [Part(number, "", len(data), note_of(crc32c(data))) for number, data in enumerate(datas, 1)]
        self.assertEqual(crc_of_parts(parts), crc32c(b"".join(datas)))
        self.assertEqual(crc_of_parts([]), 0)
        self.assertIsNone(crc_of_parts([*parts, Part(4, "", 3)]))

    def test_notes(self) -> None:
        self.assertEqual((note_of(0x1A), crc_in("crc32c=0000001a")), ("crc32c=0000001a", 26))
        for note in ("", "crc32c=", "crc32c=0000001A", "crc32c=0000001a0", "md5=0000001a", "crc32c=0000001a\n"):
            self.assertIsNone(crc_in(note))
