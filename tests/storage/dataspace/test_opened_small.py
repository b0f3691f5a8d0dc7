"""Tests of L{read_small<storehouse.storage.dataspace.opened.read_small>}: only what is as it should be is read without a thread."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from storehouse.core.files import NotCached
from storehouse.core.jobs import InlineDisk
from storehouse.core.streams import BytesStream, StreamClosed, read_all
from storehouse.errors import DamagedObject, InvalidRange
from storehouse.storage.dataspace.formats import ObjectInfo
from storehouse.storage.dataspace.interfaces import Part
from storehouse.storage.dataspace.opened import read_small
from storehouse.storage.dataspace.wormer import WormerDataSpace, WormerSettings
from tests.around import on_disk
from tests.conformance.dataspace import content
from tests.conformance.streams import begun


class SmallTests(SynchronousTestCase):
    """Objects of one part, in memory."""

    if sys.platform != "linux":
        skip = "only Linux can tell what is in memory"

    def setUp(self) -> None:
        self.root = on_disk(self)
        self.space = WormerDataSpace(WormerSettings(self.root, block_size=1000, durable=False), InlineDisk())
        self.space.start()
        self.addCleanup(self.space.stop)

    def put(self, id: str, size: int) -> tuple[str, bytes]:
        data = content(size)
        self.successResultOf(self.space.put(id, BytesStream(data), size, {"key": ["x"]}))
        return os.path.join(self.root, "data", id[:2], id), data

    def read(self, path: str, offset: int, length: int | None) -> tuple[ObjectInfo, bytes]:
        """Read at once. A kernel that is busy writing the files back says now and then that it would have to wait."""
        for _ in range(1000):
            try:
                return read_small(path, offset, length)
            except NotCached:
                for each in Path(path).iterdir():
                    each.read_bytes()
        return read_small(path, offset, length)

    def test_ranges(self) -> None:
        """Any range of any size."""
        for number, size in enumerate((0, 1, 999, 1000, 1001, 5005, 65536)):
            path, data = self.put(f"aa{number}0", size)
            for offset, length in ((0, None), (0, size), (size, None), (size // 2, 3), (size // 3, None)):
                if offset + (length or 0) <= size:
                    info, found = self.read(path, offset, length)
                    end = size if length is None else offset + length
                    self.assertEqual((found, info.size), (data[offset:end], size))
            self.assertRaises(InvalidRange, read_small, path, size, 1)
            self.assertRaises(InvalidRange, read_small, path, -1, None)

    def test_left_to_others(self) -> None:
        """What is large, of several parts, or not there."""
        self.assertRaises(NotCached, read_small, self.put("aa", 65537)[0], 0, None)
        self.assertRaises(NotCached, read_small, os.path.join(self.root, "data", "bb", "bb"), 0, None)
        self.successResultOf(self.space.init_upload("cd", {}))
        parts = [
            Part(number, self.successResultOf(self.space.upload_part("cd", number, BytesStream(b"x"), 1)), 0)
            for number in (1, 2)
        ]
        self.successResultOf(self.space.complete_upload("cc", "cd", parts))
        self.assertRaises(NotCached, read_small, os.path.join(self.root, "data", "cc", "cc"), 0, None)

    def test_damage(self) -> None:
        """Whatever bit of whatever file is wrong, nothing is given out here, and the error is that of the others."""
        path, _ = self.put("aa", 2500)
        for name in sorted(os.listdir(path)):
            file = Path(path, name)
            good = file.read_bytes()
            for bad in (b"", good[:-1], good + b"x", *(_flipped(good, at) for at in range(0, len(good), 37))):
                file.write_bytes(bad)
                try:
                    _, found = read_small(path, 0, None)
                except NotCached:
                    continue
                # A header may say the same in another way; the bytes are right in any case.
                self.assertEqual((name, found), ("part.1.checksum", content(2500)))
            file.write_bytes(good)
        Path(path, "part.1").write_bytes(bytes(2500))
        self.failureResultOf(self.space.get("aa"), DamagedObject)

    def test_reader(self) -> None:
        """It can be read once, or closed; its metadata is its own."""
        _, data = self.put("aa", 3000)
        reader = self.successResultOf(self.space.get("aa", 10, 100))
        self.assertEqual((reader.id, reader.size, reader.offset, reader.length), ("aa", 3000, 10, 100))
        self.assertEqual(reader.metadata, {"key": ["x"]})
        reader.metadata["key"].append("changed")
        self.assertEqual(self.successResultOf(begun(read_all(reader))), data[10:110])
        self.failureResultOf(begun(reader.read()), StreamClosed)
        again = self.successResultOf(self.space.get("aa"))
        self.assertEqual(again.metadata, {"key": ["x"]})
        self.successResultOf(again.close())
        self.failureResultOf(begun(again.read()), StreamClosed)
        self.assertEqual(self.successResultOf(begun(read_all(self.successResultOf(self.space.get("aa"))))), data)


def _flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :]
