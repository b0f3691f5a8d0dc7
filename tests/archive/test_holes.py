"""Sources that cannot give all of what they hold: objects of which a store has lost a block."""

from __future__ import annotations

import os
from collections.abc import Iterable

from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from storehouse.archive.archive import ArchiveReader, ArchiveWriter
from storehouse.archive.interfaces import IByteSource
from storehouse.archive.sources import readable_behind
from storehouse.errors import DamagedArchive
from tests.archive.rig import KINDS, write

_BLOCK = 1 << 16


@implementer(IByteSource)
class Holed:
    """Bytes of which some blocks cannot be read."""

    name = "holed"

    def __init__(self, data: bytes, blocks: Iterable[int], size: int = _BLOCK) -> None:
        self.data = data
        self.size = len(data)
        self.blocks = frozenset(blocks)
        self.block_size = size
        self.asked = 0

    def pread(self, offset: int, size: int) -> bytes:
        self.asked += 1
        for block in range(offset // self.block_size, -(-min(offset + size, self.size) // self.block_size)):
            if block in self.blocks:
                raise DamagedArchive(self.name, max(offset, block * self.block_size), "a block of it is damaged")
        return self.data[offset : offset + size]

    def close(self) -> None:
        pass


class HoleTests(SynchronousTestCase):
    """With C{skip_damaged}, all that is not in the way of the damage comes."""

    def setUp(self) -> None:
        self.payloads = [f"{number:06} {os.urandom(number * 7 % 900).hex()}" for number in range(1500)]

    def archive(self, **how: object) -> tuple[bytes, dict[str, range]]:
        """An archive, and where each of its payloads is; in blocks: where its block is."""
        path = self.mktemp()
        if how.get("compression"):
            # Blocks are what is written together.
            with ArchiveWriter(path, **how) as writer:  # type: ignore[arg-type]
                for first in range(0, len(self.payloads), 50):
                    writer.write_many(({}, payload) for payload in self.payloads[first : first + 50])
                    writer.flush()
        else:
            write(path, (({}, payload) for payload in self.payloads), **how)
        with open(path, "rb") as file:
            data = file.read()
        with ArchiveReader(data) as reader:
            records = list(reader.records())
        starts = sorted({record.offset for record in records})
        ends = dict(zip(starts, [*starts[1:], len(data)], strict=True))
        places = {str(record.payload): range(record.offset, ends[record.offset]) for record in records}
        return data, places

    def test_behind(self) -> None:
        for name, how in KINDS.items():
            data, places = self.archive(**how)
            last = (len(data) - 1) // _BLOCK
            self.assertGreater(last, 8)
            for blocks in ((3,), (1, 2), (2, 5), (4, last), (last,), range(2, last)):
                damaged = [range(block * _BLOCK, (block + 1) * _BLOCK) for block in blocks]
                expected = [
                    payload
                    for payload, place in places.items()
                    if not any(place.start < hole.stop and hole.start < place.stop for hole in damaged)
                ]
                for way in ("read", "records", "between"):
                    with ArchiveReader(Holed(data, blocks), skip_damaged=True) as reader:
                        if way == "read":
                            found = [payload for _, payload in reader]
                        elif way == "records":
                            found = [record.payload for record in reader.records()]
                        else:
                            found = [record.payload for record in reader.between()]
                    self.assertEqual([each[:6] for each in found], [each[:6] for each in expected], (name, blocks, way))
                    self.assertTrue(reader.damages, (name, blocks, way))
                    self.assertEqual(reader.damages[0].reason, "a block of it is damaged")

    def test_told(self) -> None:
        """Without it, the first hole is the end, after all that is before it; it is reported each time."""
        data, places = self.archive()
        with ArchiveReader(Holed(data, (3,))) as reader:
            found = []
            for _ in range(2):
                with self.assertRaises(DamagedArchive) as raised:
                    while True:
                        found.append(reader.read()[1])
                self.assertEqual(raised.exception.offset, 3 * _BLOCK)
        expected = [payload for payload, place in places.items() if place.stop <= 3 * _BLOCK]
        self.assertEqual(found, expected)
        self.assertEqual([each.offset for each in ArchiveReader(Holed(data, (3,))).verify().damages], [3 * _BLOCK])

    def test_readable_behind(self) -> None:
        """However large the hole is, few places are tried."""
        for size in (1, 2, 300, 5000):
            source = Holed(bytes(8192 << 12), range(7, 7 + size), 1 << 12)
            self.assertEqual(readable_behind(source, (7 << 12) + 5, source.size), (7 + size) << 12)
            self.assertLess(source.asked, 250)
        self.assertIsNone(readable_behind(Holed(bytes(1 << 16), range(3, 16), 1 << 12), 3 << 12, 1 << 16))
