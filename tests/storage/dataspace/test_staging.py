"""Writing: L{storehouse.storage.dataspace.directory}."""

from __future__ import annotations

import errno
import os
from hashlib import blake2b
from itertools import combinations, pairwise
from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st

from storehouse.errors import AlreadyExists, StorageFailed
from storehouse.storage.dataspace import directory as writing
from storehouse.storage.dataspace.directory import PartWriter, Staging
from storehouse.storage.dataspace.formats import HASHES, ChecksumHeader, Hash, encode_header, find_hash, part_tag
from storehouse.storage.dataspace.interfaces import Part
from storehouse.storage.dataspace.opened import OpenPart
from storehouse.testing import FailingFiles
from tests.conformance.dataspace import content
from tests.storage.dataspace.test_opened import StoreCase

ALL = [*map(find_hash, HASHES), find_hash("BLAKE3", b"k" * 32), find_hash("HighwayHash256", b"k" * 32)]


def expected(data: bytes, hash: Hash, block_size: int) -> tuple[bytes, str]:
    """The checksum file, without padding, and the tag: as the format's page has them."""
    header = encode_header(ChecksumHeader(hash, block_size, len(data)))
    blocks = [data[at : at + block_size] for at in range(0, len(data), block_size)]
    lines = b"".join(hash.digest(block).hex().encode() + b"\n" for block in blocks)
    return header + lines, blake2b(lines + header, digest_size=24).hexdigest()


class WriterTests(StoreCase):
    """L{PartWriter}."""

    def write(
        self, pieces: list[list[bytes]], hash: Hash, block_size: int, size: int | None
    ) -> tuple[bytes, bytes, Part]:
        """@return: what is in the two files."""
        area = self.staging()
        writer = PartWriter(area, 7, hash, block_size, size)
        for some in pieces:
            writer.write(some)
        part = writer.finish()
        area.flush()
        found = []
        for name in ("part.7", "part.7.checksum"):
            with open(f"{area.path}/{name}", "rb") as file:
                found.append(file.read())
        directory = os.open(area.path, os.O_RDONLY)
        try:
            opened = OpenPart(directory, "ab", part)
            if part.size:
                self.assertEqual(b"".join(opened.read(0, part.size, 1 << 20)), found[0])
            self.assertEqual(part_tag(opened.header, opened.all_lines()), part.etag)
            opened.close()
        finally:
            os.close(directory)
        area.discard()
        return found[0], found[1], part

    def check(self, pieces: list[list[bytes]], hash: Hash, block_size: int) -> None:
        data = b"".join(map(b"".join, pieces))
        sums, tag = expected(data, hash, block_size)
        for size in (None, len(data)):
            self.assertEqual(self.write(pieces, hash, block_size, size), (data, sums, Part(7, tag, len(data))))

    def test_whole(self) -> None:
        for hash in ALL:
            for size in (0, 1, 7, 8, 9, 16, 17):
                self.check([[content(size)]] if size else [], hash, 8)
                self.check([[content(size)]], hash, 8)

    def test_every_cut(self) -> None:
        """Every way to cut some bytes, around blocks of several sizes."""
        data = content(9)
        cuts = [cut for count in range(3) for cut in combinations(range(1, 9), count)]
        for hash in ALL[:3]:
            for block_size in (1, 3, 4, 9, 10):
                sums, tag = expected(data, hash, block_size)
                for cut in cuts:
                    ends = [0, *cut, len(data)]
                    pieces = [[data[start:end]] for start, end in pairwise(ends)]
                    size = None if len(cut) % 2 else len(data)
                    area = self.staging()
                    writer = PartWriter(area, 1, hash, block_size, size)
                    for some in pieces:
                        writer.write(some)
                    part = writer.finish()
                    self.assertEqual(part, Part(1, tag, len(data)), (hash.name, block_size, cut))
                    self.assertEqual(os.pread(writer._sums, 10_000, 0), sums, (hash.name, block_size, cut))
                    self.assertEqual(os.pread(writer.fd, 100, 0), data)
                    area.discard()

    @settings(deadline=None, max_examples=60)
    @given(
        st.lists(st.lists(st.binary(max_size=50), min_size=1, max_size=3), max_size=6),
        st.sampled_from(ALL),
        st.integers(1, 70),
    )
    def test_pieces(self, pieces: list[list[bytes]], hash: Hash, block_size: int) -> None:
        """Also several at a time, and empty ones."""
        self.check(pieces, hash, block_size)

    def test_many_lines(self) -> None:
        """With more lines than are held, the header gets its place before it is known: padded, it is still readable."""
        data = content(1000)
        for hash in ALL:
            sums, tag = expected(data, hash, 10)
            header, lines = sums.split(b"\n", 1)
            for held in (1, 700, len(lines) - 1, len(lines), len(lines) + 1):
                with patch.object(writing, "_HELD_LINES", held):
                    pieces = [[data[at : at + 13]] for at in range(0, 1000, 13)]
                    _, known, part = self.write(pieces, hash, 10, 1000)
                    self.assertEqual((known, part.etag), (sums, tag))
                    _, unknown, part = self.write(pieces, hash, 10, None)
                    self.assertEqual(part.etag, tag)
                    padding = 256 if held <= len(lines) else len(header) + 1
                    self.assertEqual(unknown, header.ljust(padding - 1) + b"\n" + lines)

    def test_writeback(self) -> None:
        """What is written is on its way to the disk before the end."""
        begun: list[int] = []
        with patch.object(writing, "_WRITEBACK", 100), patch.object(self.files, "begin_writeback", begun.append):
            writer = PartWriter(self.staging(), 1, ALL[0], 10)
            for _ in range(10):
                writer.write([content(50)])
            self.assertEqual(begun, [writer.fd] * 5)
            writer.staging.discard()


class StagingTests(StoreCase):
    """L{Staging}."""

    def setUp(self) -> None:
        super().setUp()
        self.failing = FailingFiles()
        self.area = Staging(self.failing, self.layout.incoming(), True)
        self.before = self.descriptors()

    def names(self) -> list[str]:
        return sorted(os.listdir(self.layout.tmp))

    def synced(self) -> list[str]:
        """What was brought to disk, in order."""
        return [path for name, path in self.failing.calls if name in ("sync_data", "sync_directory")]

    def test_nothing(self) -> None:
        """As long as there is no file, there is no directory."""
        self.assertEqual(self.names(), [])
        self.area.discard()
        self.area.leave()

    def test_publish(self) -> None:
        """Files and directory are on disk before it is renamed, the name afterwards."""
        self.area.write("one", b"1")
        self.area.write("two", b"")
        self.area.flush()
        path = self.area.path
        self.assertEqual(self.synced(), [f"{path}/one", f"{path}/two", path])
        target = f"{self.layout.data}/target"
        self.area.publish(target)
        self.assertEqual(self.synced()[3:], [self.layout.data])
        self.assertEqual((sorted(os.listdir(target)), self.names()), (["one", "two"], []))
        self.area.discard()
        self.assertEqual(len(os.listdir(target)), 2)
        self.assertEqual(self.descriptors(), self.before)

    def test_relaxed(self) -> None:
        area = Staging(self.failing, self.layout.incoming(), False)
        area.write("one", b"1")
        area.flush()
        area.publish(f"{self.layout.data}/target")
        self.assertEqual(self.synced(), [])

    def test_there_already(self) -> None:
        """Nothing is replaced; what was staged can be discarded."""
        target = self.store("ab", (b"x", "CRC32C", 1))
        self.area.write("data.json", b"other")
        self.area.flush()
        error = self.assertRaises(AlreadyExists, self.area.publish, target)
        self.assertIn("ab", error.detail)
        self.assertIn("part.1", os.listdir(target))
        self.area.discard()
        self.assertEqual(self.names(), [])

    def test_failed_rename(self) -> None:
        self.area.write("one", b"1")
        self.area.flush()
        self.failing.fail("rename", error=errno.ENOSPC)
        error = self.assertRaises(OSError, self.area.publish, f"{self.layout.data}/target")
        self.assertEqual(error.errno, errno.ENOSPC)
        self.area.discard()
        self.assertEqual(self.names(), [])

    def test_failed_sync_of_name(self) -> None:
        """It is there, and perhaps not on disk: it must not be removed, and nothing be acknowledged."""
        self.area.write("one", b"1")
        self.area.flush()
        self.failing.fail("sync_directory", error=errno.EIO)
        target = f"{self.layout.data}/target"
        error = self.assertRaises(StorageFailed, self.area.publish, target)
        self.assertIn(target, error.detail)
        self.area.discard()
        self.assertEqual(os.listdir(target), ["one"])

    def test_failed_sync(self) -> None:
        """Nothing stays open or behind."""
        self.area.write("one", b"1")
        self.area.write("two", b"2")
        self.failing.fail("sync_data", error=errno.EIO)
        self.assertRaises(OSError, self.area.flush)
        self.area.discard()
        self.assertEqual((self.names(), self.descriptors()), ([], self.before))

    def test_leave(self) -> None:
        """What is left is left whole, and closed."""
        self.area.write("one", b"1")
        self.area.leave()
        self.area.discard()
        self.assertEqual(self.names(), [os.path.basename(self.area.path)])
        self.assertEqual(self.descriptors(), self.before)

    def test_same_name(self) -> None:
        self.area.write("one", b"1")
        self.assertRaises(FileExistsError, self.area.create, "one")

    def test_link(self) -> None:
        source = f"{self.layout.root}/source"
        with open(source, "wb") as file:
            file.write(b"bytes")
        self.area.link(source, "linked")
        self.assertTrue(os.path.samefile(source, f"{self.area.path}/linked"))

    def test_link_that_cannot_be(self) -> None:
        """Where a file has too many names, or the file system no links, its bytes are copied, and brought to disk."""
        source = f"{self.layout.root}/source"
        for number in (errno.EMLINK, errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP):
            for size in (0, 5000):
                with open(source, "wb") as file:
                    file.write(content(size))
                name = f"{number} {size}"
                self.failing.mend()
                self.failing.fail("link", error=number)
                self.area.link(source, name)
                copy = f"{self.area.path}/{name}"
                self.assertFalse(os.path.samefile(source, copy))
                with open(copy, "rb") as file:
                    self.assertEqual(file.read(), content(size))
        self.area.flush()
        self.assertEqual(len(self.synced()), 9)
        self.assertEqual(self.descriptors(), self.before)

    def test_link_that_fails(self) -> None:
        self.failing.fail("link", error=errno.ENOSPC)
        error = self.assertRaises(OSError, self.area.link, "/nowhere", "name")
        self.assertEqual(error.errno, errno.ENOSPC)
