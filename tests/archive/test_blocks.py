"""Large batches: blocks and groups stay small."""

from __future__ import annotations

import os

from twisted.trial.unittest import SynchronousTestCase

from storehouse.archive.archive import ArchiveReader, ArchiveWriter
from storehouse.archive.version2 import MOST_TOGETHER, blocks_of
from tests.archive.rig import KINDS, read


class PartsTests(SynchronousTestCase):
    """What is handed over at once."""

    def test_batch(self) -> None:
        """A batch is divided; a record never is."""
        records = [({"n": str(number)}, os.urandom(20000)) for number in range(300)]
        records.insert(100, ({}, os.urandom(3 * MOST_TOGETHER)))
        for name, how in KINDS.items():
            path = self.mktemp()
            with ArchiveWriter(path, sync="record", **how) as writer:
                writer.write_many(records)
                writer.write_many(records[:1])
            self.assertEqual(len(read(path)), 302, name)
            with ArchiveReader(path) as reader:
                if how["version"] == 1:
                    continue
                self.assertEqual(reader.count, 302)
                groups = reader._footer[1]  # type: ignore[index]
                ends = [*(group.offset for group in groups[1:]), reader._footer[0].index]  # type: ignore[index]
                sizes = [end - group.offset for group, end in zip(groups, ends, strict=True)]
                self.assertEqual(sum(size > 2 * MOST_TOGETHER for size in sizes), 1)
                for number in (0, 60, 99, 100, 101, 300, 301):
                    self.assertEqual(reader.record(number).payload, (records + records[:1])[number][1])

    def test_blocks(self) -> None:
        pieces = [b"a", b"bc"] * 5
        self.assertEqual(list(blocks_of(pieces, 15, 15)), [(pieces, 15)])
        self.assertEqual([size for _, size in blocks_of(pieces, 15, 6)], [6, 6, 3])
        self.assertEqual([piece for block, _ in blocks_of(pieces, 15, 4) for piece in block], pieces)
