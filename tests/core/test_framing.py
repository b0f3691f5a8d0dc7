"""Tests of L{storehouse.core.framing}."""

from __future__ import annotations

import struct

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from storehouse.core.framing import pack_length, split_records, unpack_length
from storehouse.errors import MalformedBody


def join(*records: bytes) -> bytes:
    """A body of records."""
    return b"".join(struct.pack("<I", len(record)) + record for record in records)


class FramingTests(SynchronousTestCase):
    """Length-prefixed records."""

    def test_length(self) -> None:
        """Four bytes, the lowest first."""
        self.assertEqual(pack_length(0x01020304), b"\x04\x03\x02\x01")
        self.assertEqual(unpack_length(b"xx\x04\x03\x02\x01", 2), 0x01020304)

    @settings(deadline=None, max_examples=60)
    @given(st.lists(st.binary(min_size=1, max_size=30), max_size=20))
    def test_round_trip(self, records: list[bytes]) -> None:
        self.assertEqual(split_records(join(*records), 30), records)

    def refused(self, body: bytes, max_record: int = 100) -> str:
        return self.assertRaises(MalformedBody, split_records, body, max_record).detail

    def test_cut(self) -> None:
        """A body that ends anywhere but behind a record is refused, and the text names the record."""
        body = join(b"one", b"three")
        for size in set(range(len(body))) - {0, 7}:
            self.assertIn(f"record {0 if size < 7 else 1} ", self.refused(body[:size]), size)

    def test_empty(self) -> None:
        """An empty record is named by its number and its place."""
        self.assertIn("record 1, at byte 5, is empty", self.refused(join(b"a", b"", b"b")))

    def test_too_long(self) -> None:
        """A record over the bound is refused by its length alone."""
        self.assertIn("record 1 claims 101 bytes; at most 100", self.refused(join(b"a") + struct.pack("<I", 101)))
        self.assertEqual(split_records(join(bytes(100)), 100), [bytes(100)])

    def test_huge_claim(self) -> None:
        """A length of 4 GiB costs nothing."""
        self.assertIn("claims 4294967295 bytes, but 1 follow", self.refused(b"\xff\xff\xff\xffx", 1 << 32))

    @settings(deadline=None, max_examples=60)
    @given(st.binary(max_size=40))
    def test_anything(self, body: bytes) -> None:
        """Any bytes are either exactly records or refused."""
        try:
            records = split_records(body, 16)
        except MalformedBody:
            return
        self.assertEqual(join(*records), body)
        self.assertTrue(all(0 < len(record) <= 16 for record in records))
