"""Tests of L{storehouse.storage.dataspace.copying}."""

from __future__ import annotations

import errno
import os
from random import Random
from typing import Any
from unittest.mock import patch

from storehouse.errors import DamagedObject
from storehouse.storage.dataspace.copying import copy_object, copy_part
from storehouse.storage.dataspace.directory import Staging
from storehouse.storage.dataspace.formats import HASHES, find_hash
from storehouse.storage.dataspace.interfaces import Part
from storehouse.storage.dataspace.opened import OpenPart
from storehouse.testing import FailingFiles
from tests.conformance.dataspace import content
from tests.storage.dataspace.test_opened import StoreCase, Stored
from tests.storage.dataspace.test_staging import expected


class CopyCase(StoreCase):
    """
    Copies, looked at.

    @ivar read: blocks that were read to be hashed anew, C{(part, block)}.
    """

    def setUp(self) -> None:
        super().setUp()
        self.read: list[tuple[int, int]] = []
        read_block = OpenPart._block

        def watched(part: OpenPart, block: int, *args: Any) -> list[bytes]:
            self.read.append((part.part.number, block))
            return read_block(part, block, *args)

        patching = patch.object(OpenPart, "_block", watched)
        patching.start()
        self.addCleanup(patching.stop)

    def content(self, area: Staging, parts: list[Part]) -> bytes:
        """The bytes of parts that are staged, verified."""
        pieces = []
        directory = os.open(area.path, os.O_RDONLY)
        with patch.object(self, "read", []):
            for part in parts:
                opened = OpenPart(directory, "copy", part)
                while len(opened_pieces := opened.read(0, part.size, 1 << 30)) and part.size:
                    pieces += opened_pieces
                    break
                opened.close()
        os.close(directory)
        return b"".join(pieces)

    def copy_part(self, id: str, offset: int, length: int, hash: str, block_size: int) -> bytes:
        """A range as one part, checked against what writing it would have given."""
        source = self.open(id)
        area = self.staging()
        self.read.clear()
        part = copy_part(area, source, self.layout.object(id), offset, length, 5, "a note", find_hash(hash), block_size)
        area.flush()
        self.assertEqual((part.number, part.size, part.note), (5, length, "a note"))
        data = self.content(area, [part]) if length else b""
        shared = len(source.info.parts) and any(part.etag == other.etag for other in source.info.parts)
        if not shared:
            sums, tag = expected(data, find_hash(hash), block_size)
            self.assertEqual(part.etag, tag)
            with open(f"{area.path}/part.5.checksum", "rb") as file:
                self.assertEqual(file.read(), sums)
        area.discard()
        source.close()
        return data


class RangeTests(CopyCase):
    """Ranges of objects."""

    def test_random(self) -> None:
        """Ranges of objects of all shapes, against slices; both as an object and as a part."""
        random = Random(5)
        for number in range(60):
            id = f"{number:02x}"
            parts: list[Stored] = [
                (
                    content(random.choice([0, 1, 7, 8, 20, 40, 64]), number),
                    random.choice(HASHES),
                    random.choice([4, 8, 9]),
                )
                for _ in range(random.randint(1, 4))
            ]
            self.store(id, *parts)
            data = b"".join(part[0] for part in parts)
            for _ in range(6):
                offset = random.randint(0, len(data))
                length = random.randint(0, len(data) - offset)
                hash, block_size = random.choice(HASHES), random.choice([4, 8, 9])
                self.assertEqual(self.copy_part(id, offset, length, hash, block_size), data[offset : offset + length])
                source = self.open(id)
                area = self.staging()
                made = copy_object(area, source, self.layout.object(id), offset, length, find_hash(hash), block_size)
                area.flush()
                self.assertEqual(self.content(area, made), data[offset : offset + length])
                self.assertEqual(len({part.number for part in made}), len(made))
                self.assertTrue(made)
                area.discard()
                source.close()

    def test_aligned(self) -> None:
        """Whole blocks that stay whole blocks are not even read."""
        data = content(10 * 16 + 5)
        self.store("ab", (data, "BLAKE3", 16))
        for offset, length, read in (
            (16, 32, []),
            (16, len(data) - 16, []),  # the last block is shorter, here and there
            (32, 40, [4]),
            (0, 160, []),
            (0, 8, [0]),
            (160, 5, []),
            (160, 4, [10]),
            (16, 0, []),
        ):
            self.assertEqual(self.copy_part("ab", offset, length, "BLAKE3", 16), data[offset : offset + length])
            self.assertEqual(self.read, [(1, block) for block in read], (offset, length))

    def test_not_aligned(self) -> None:
        """Blocks that lie otherwise, or get another hash or size, are verified and hashed anew."""
        data = content(10 * 16 + 5)
        self.store("ab", (data, "BLAKE3", 16))
        for offset, length, hash, block_size, blocks in (
            (1, 40, "BLAKE3", 16, range(3)),
            (16, 32, "CRC32C", 16, (1, 2)),
            (16, 32, "BLAKE3", 8, (1, 2)),
            (16, 32, "BLAKE3", 32, (1, 2)),
        ):
            self.assertEqual(self.copy_part("ab", offset, length, hash, block_size), data[offset : offset + length])
            self.assertEqual(self.read, [(1, block) for block in blocks])

    def test_several_parts(self) -> None:
        """Parts follow one another in one: a part whose end fills no block puts what follows out of line."""
        even, odd = content(32), content(37, 1)
        self.store("ab", (even, "CRC32C", 16), (odd, "CRC32C", 16), (even, "CRC32C", 16))
        data = even + odd + even
        for offset, length, read in (
            (0, 32 + 37, []),
            (16, 16 + 37, []),
            (0, len(data), [(2, 2), (3, 0), (3, 1)]),
            (32 + 16, 21 + 32, [(2, 2), (3, 0), (3, 1)]),
        ):
            self.assertEqual(self.copy_part("ab", offset, length, "CRC32C", 16), data[offset : offset + length])
            self.assertEqual(self.read, read, (offset, length))

    def test_whole_parts(self) -> None:
        """Parts that are copied whole are the same files; and keep their numbers if all are."""
        self.store("ab", (content(20), "CRC32C", 16), (content(5, 1), "BLAKE3", 4), (content(9, 2), "CRC32C", 8))
        path = self.layout.object("ab")
        source = self.open("ab")
        for offset, length, numbers in ((0, 34, (1, 2, 3)), (3, 31, (0, 2, 3)), (20, 5, (2,)), (20, 9, (2, 0))):
            area = self.staging()
            made = copy_object(area, source, path, offset, length, find_hash("CRC32C"), 16)
            for part, number in zip(made, numbers, strict=True):
                same = [
                    number
                    for number in (1, 2, 3)
                    if os.path.samefile(f"{path}/part.{number}", f"{area.path}/part.{part.number}")
                    and os.path.samefile(f"{path}/part.{number}.checksum", f"{area.path}/part.{part.number}.checksum")
                ]
                self.assertEqual(same, [number] if number else [])
            self.assertEqual(self.content(area, made), (content(20) + content(5, 1) + content(9, 2))[offset:][:length])
            area.discard()

    def test_too_many_links(self) -> None:
        """Where a file has as many names as it may have, it is copied."""
        self.store("ab", (content(20), "CRC32C", 16), (content(5, 1), "BLAKE3", 4))
        source = self.open("ab")
        area = Staging(FailingFiles().fail("link", error=errno.EMLINK), self.layout.incoming(), False)
        made = copy_object(area, source, self.layout.object("ab"), 0, 25, find_hash("CRC32C"), 16)
        area.flush()
        self.assertEqual(made, list(source.info.parts))
        self.assertEqual(self.content(area, made), content(20) + content(5, 1))
        self.assertEqual(os.stat(f"{area.path}/part.1").st_nlink, 1)

    def test_damage(self) -> None:
        """Bytes that are hashed anew are verified; blocks that are taken over carry their damage with them."""
        data = content(64)
        path = self.store("ab", (data, "CRC32C", 16))
        self.change(f"{path}/part.1", 20)
        source = self.open("ab")
        for offset, hash in ((1, "CRC32C"), (16, "BLAKE3")):
            area = self.staging()
            error = self.assertRaises(
                DamagedObject, copy_part, area, source, path, offset, 40, 1, "", find_hash(hash), 16
            )
            self.assertEqual((error.id, error.part, error.block), ("ab", 1, 1))
            area.discard()
        area = self.staging()
        part = copy_part(area, source, path, 0, 48, 1, "", find_hash("CRC32C"), 16)
        directory = os.open(area.path, os.O_RDONLY)
        self.addCleanup(os.close, directory)
        copy = OpenPart(directory, "copy", part)
        self.addCleanup(copy.close)
        self.assertEqual(b"".join(copy.read(0, 48, 100)), data[:16])
        self.assertRaises(DamagedObject, copy.read, 16, 32, 100)
        self.assertEqual(b"".join(copy.read(32, 16, 100)), data[32:48])

    def test_files_that_do_not_fit(self) -> None:
        """They are not passed on, not even whole."""
        path = self.store("ab", (content(20), "CRC32C", 16))
        os.truncate(f"{path}/part.1", 19)
        source = self.open("ab")
        self.assertRaises(DamagedObject, copy_object, self.staging(), source, path, 0, 20, find_hash("CRC32C"), 16)
        self.assertRaises(DamagedObject, copy_part, self.staging(), source, path, 0, 20, 1, "", find_hash("CRC32C"), 16)
