"""Archives that are compressed as a whole, and damaged: what is before the damage is given."""

from __future__ import annotations

import gzip

from twisted.trial.unittest import SynchronousTestCase

from storehouse.archive.archive import ArchiveReader
from storehouse.core.compression import ZSTD, make_compressor
from storehouse.errors import DamagedArchive
from tests.archive.rig import KINDS, write


class TornTests(SynchronousTestCase):
    """Small ones and larger ones."""

    def zstd(self, data: bytes) -> bytes:
        compressor = make_compressor(ZSTD)
        return compressor.compress(data) + compressor.flush()

    def before_damage(self, data: bytes, skip: bool) -> int:
        found = 0
        with ArchiveReader(data, skip_damaged=skip) as reader:
            try:
                for _ in reader:
                    found += 1
            except DamagedArchive:
                self.assertFalse(skip)
            else:
                self.assertTrue(skip and reader.damages)
        return found

    def test_torn(self) -> None:
        for count in (50, 5000):
            records = [({"n": str(number)}, f"{number * 7919**9:x}" * 3) for number in range(count)]
            for name, how in KINDS.items():
                data = write(self.mktemp(), records, buffer_size=1000, **how)
                for whole in (gzip.compress(data), self.zstd(data)):
                    for skip in (False, True):
                        if whole[:1] == b"\x1f" or count > 50:
                            found = self.before_damage(whole[: len(whole) * 2 // 3], skip)
                            self.assertTrue(count // 4 < found < count, (name, count, found))

    def test_damaged(self) -> None:
        """Also if the damage shows when little was expanded."""
        records = [({"n": str(number)}, f"{number * 7919**9:x}" * 3) for number in range(50)]
        for how in KINDS.values():
            whole = bytearray(gzip.compress(write(self.mktemp(), records, buffer_size=500, **how)))
            whole[-8] ^= 1  # the checksum
            self.assertEqual(self.before_damage(bytes(whole), False), 50)
            self.assertEqual(self.before_damage(bytes(whole), True), 50)
