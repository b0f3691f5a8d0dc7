"""Tests of L{storehouse.storage.dataspace.opened}."""

from __future__ import annotations

import os
from itertools import pairwise
from typing import Any
from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from storehouse.core.files import CACHED, WAITING, Files
from storehouse.errors import DamagedObject, NoSuchObject
from storehouse.storage.dataspace import opened
from storehouse.storage.dataspace.directory import Layout, PartWriter, Staging
from storehouse.storage.dataspace.formats import HASHES, ObjectInfo, encode_object, find_hash, joined_etag
from storehouse.storage.dataspace.interfaces import Part
from storehouse.storage.dataspace.opened import OpenObject, OpenPart, read_description, spans_of
from tests.around import on_disk
from tests.conformance.dataspace import content

bounded = settings(deadline=None, max_examples=100)

Stored = tuple[bytes, str, int]


MIB = 1 << 20


class StoreCase(SynchronousTestCase):
    """
    A directory with objects in it.

    @ivar layout: its paths.
    """

    def setUp(self) -> None:
        self.files = Files()
        # File systems that are memory themselves do not tell what is there.
        self.layout = Layout(on_disk(self))
        self.layout.prepare(self.files, False)

    def staging(self) -> Staging:
        return Staging(self.files, self.layout.incoming(), False)

    def store(self, id: str, *parts: Stored) -> str:
        """An object of parts, each C{(bytes, hash, block size)}. @return: its directory."""
        staging = self.staging()
        made = []
        for number, (data, hash, block_size) in enumerate(parts, 1):
            writer = PartWriter(staging, number, find_hash(hash), block_size, len(data))
            writer.write([data])
            made.append(writer.finish())
        info = ObjectInfo(
            joined_etag(part.etag for part in made), sum(part.size for part in made), tuple(made), {"key": [id]}
        )
        staging.write("data.json", encode_object(info))
        staging.flush()
        target = self.layout.object(id)
        self.layout.make_index(self.files, target, False)
        staging.publish(target)
        return target

    def open(self, id: str) -> OpenObject:
        found = OpenObject(self.layout.object(id), id)
        self.addCleanup(found.close)
        return found

    def change(self, path: str, at: int) -> None:
        """Turn a bit of a byte."""
        with open(path, "r+b") as file:
            file.seek(at)
            byte = file.read(1)[0]
            file.seek(at)
            file.write(bytes([byte ^ 1]))

    def descriptors(self) -> int:
        return len(os.listdir("/proc/self/fd"))


class SpanTests(SynchronousTestCase):
    """L{spans_of}."""

    @bounded
    @given(st.lists(st.integers(0, 6), max_size=8), st.integers(0, 40), st.integers(0, 40))
    def test_model(self, sizes: list[int], offset: int, length: int) -> None:
        """The bytes that the spans name are those of the range, each part at most once, none empty."""
        parts = tuple(Part(number, "", size) for number, size in enumerate(sizes, 1))
        everything = [(part.number, at) for part in parts for at in range(part.size)]
        spans = list(spans_of(parts, offset, length))
        named = [(span.part.number, span.offset + at) for span in spans for at in range(span.length)]
        self.assertEqual(named, everything[offset : offset + length])
        self.assertTrue(all(span.length > 0 for span in spans))
        self.assertTrue(all(one.part.number < other.part.number for one, other in pairwise(spans)))

    def test_huge(self) -> None:
        parts = (Part(1, "", 2**62), Part(2, "", 2**62))
        (span,) = spans_of(parts, 2**62 + 5, 7)
        self.assertEqual((span.part.number, span.offset, span.length), (2, 5, 7))


class PartTests(StoreCase):
    """L{OpenPart}."""

    def part(self, id: str, number: int = 1) -> OpenPart:
        found = self.open(id)
        return found.part(found.info.parts[number - 1])

    def test_blocks(self) -> None:
        """Every range of blocks, with every hash."""
        data = content(4 * 64 + 5)
        blocks = [data[at : at + 64] for at in range(0, len(data), 64)]
        for number, hash in enumerate(HASHES):
            self.store(f"0{number}", (data, hash, 64))
            part = self.part(f"0{number}")
            for first in range(5):
                for last in range(first, 5):
                    wanted = b"".join(blocks[first : last + 1])
                    self.assertEqual(b"".join(part.read(first * 64, len(wanted), 1 << 20)), wanted)

    def test_large_blocks(self) -> None:
        """Ranges of blocks that are larger than what is read and given out at once."""
        data = content(3 * MIB + 5)
        for number, hash in enumerate(HASHES):
            self.store(f"1{number}", (data, hash, 2 * MIB + 1))
            for access in (WAITING, CACHED):
                part = self.part(f"1{number}")
                part.access = access
                for offset in (0, 1, 5000, MIB - 1, MIB, 2 * MIB, 2 * MIB + 1):
                    for length in (1, 300_000, MIB + 1):
                        found = b"".join(part.read(offset, length, 64 * MIB))
                        self.assertEqual(found, data[offset : offset + length])

    def test_plain(self) -> None:
        """Without verification, bytes are those of the file, whatever they are; but there are never too few."""
        data = content(3 * 256 * 1024 + 5)
        path = self.store("20", (data, "HighwayHash256", MIB))
        self.change(f"{path}/part.1", 3)
        part = self.part("20")
        with self.assertRaises(DamagedObject):
            part.read(0, 1, MIB)
        changed = data[:3] + bytes([data[3] ^ 1]) + data[4:]
        for offset in (0, 3, 256 * 1024 - 1, 256 * 1024, len(data) - 1):
            for length in (1, 2, 300_000, len(data)):
                length = min(length, len(data) - offset)
                self.assertEqual(b"".join(part.read_plain(offset, length)), changed[offset : offset + length])
        os.truncate(f"{path}/part.1", 100)
        with self.assertRaises(DamagedObject) as caught:
            part.read_plain(50, 200)
        self.assertIn("it ends after 100 of", caught.exception.reason)

    def test_plain_object(self) -> None:
        """An object that was opened not to be verified is not; its parts follow each other."""
        parts = [content(1000), content(70)]
        path = self.store("21", *((data, "BLAKE3", 64) for data in parts))
        self.change(f"{path}/part.2", 0)
        changed = parts[0] + bytes([parts[1][0] ^ 1]) + parts[1][1:]
        for access in (WAITING, CACHED):
            found = OpenObject(path, "21", access, verified=False)
            self.addCleanup(found.close)
            self.assertEqual(b"".join(found.read(0, 1070, 600)), changed[:600])
            self.assertEqual(b"".join(found.read(600, 470, 600)), changed[600:1000])
            self.assertEqual(b"".join(found.read_at_once(1000, 70)), changed[1000:])

    def test_lines(self) -> None:
        """All lines, some at a time, are those of the file."""
        path = self.store("ab", (content(1000), "CRC32C", 7))
        part = self.part("ab")
        with open(f"{path}/part.1.checksum", "rb") as file:
            _, lines = file.read().split(b"\n", 1)
        for at_once in (1, 9, 100, 1 << 20):
            with patch.object(opened, "_LINES", at_once):
                self.assertEqual(b"".join(part.all_lines()), lines)
        self.assertEqual(part.lines(3, 2), lines[27:45])

    def test_read(self) -> None:
        """All ranges, with all bounds on how much is read: the beginning of the range, and never nothing."""
        data = content(3 * 8 + 5)
        self.store("ab", (data, "BLAKE3", 8))
        part = self.part("ab")
        for offset in range(len(data)):
            for length in range(1, len(data) - offset + 1):
                for at_most in (1, 8, 15, 16, 1000):
                    got = b"".join(part.read(offset, length, at_most))
                    # Whole blocks that make no more than that, at least one.
                    end = (offset // 8 + max(1, at_most // 8)) * 8
                    self.assertEqual(got, data[offset : min(end, offset + length)])

    def test_damaged_block(self) -> None:
        """What lies before it is given first; then the error says where it is."""
        for number, hash in enumerate(HASHES):
            data = content(10 * 16 + 3, number)
            path = self.store(f"0{number}", (data, hash, 16))
            self.change(f"{path}/part.1", 5 * 16 + 7)
            part = self.part(f"0{number}")
            for offset in (0, 1, 15, 16, 64, 79):
                got = part.read(offset, len(data) - offset, 1 << 20)
                self.assertEqual(b"".join(got), data[offset:80])
                self.assertNotIn(b"", got)
            for offset in (80, 87, 95):
                error = self.assertRaises(DamagedObject, part.read, offset, 1, 1 << 20)
                self.assertEqual((error.id, error.part, error.block), (f"0{number}", 1, 5))
                self.assertIn("checksum", error.reason)
            self.assertEqual(b"".join(part.read(96, len(data) - 96, 1 << 20)), data[96:])

    def test_damaged_line(self) -> None:
        path = self.store("ab", (content(100), "CRC32C", 10))
        with open(f"{path}/part.1.checksum", "rb") as file:
            header = len(file.readline())
        self.change(f"{path}/part.1.checksum", header + 9 * 4 + 8)  # a newline
        part = self.part("ab")
        self.assertEqual(b"".join(part.read(0, 100, 1000)), content(100)[:40])
        error = self.assertRaises(DamagedObject, part.read, 40, 60, 1000)
        self.assertEqual(error.block, 4)

    def test_shrunk_while_open(self) -> None:
        """A file that loses its end after it was opened."""
        data = content(40_000)
        path = self.store("ab", (data, "CRC32C", 10))
        part = self.part("ab")
        os.truncate(f"{path}/part.1", 39985)
        self.assertEqual(b"".join(part.read(39900, 100, 1000)), data[39900:39980])
        error = self.assertRaises(DamagedObject, part.read, 39980, 20, 1000)
        self.assertEqual((error.block, "5 of 10" in error.reason), (3998, True))
        os.truncate(f"{path}/part.1.checksum", 30000)
        self.assertRaises(DamagedObject, part.read, 39900, 10, 1000)

    def test_no_part(self) -> None:
        """Files that are missing, or do not belong together; nothing stays open."""
        cases: dict[str, Any] = {
            "part.1 is missing": lambda path: os.unlink(f"{path}/part.1"),
            "part.1.checksum is missing": lambda path: os.unlink(f"{path}/part.1.checksum"),
            "part.1 has 99 bytes, it should have 100": lambda path: os.truncate(f"{path}/part.1", 99),
            "part.1 has 101 bytes, it should have 100": lambda path: os.truncate(f"{path}/part.1", 101),
            "its first line does not end": lambda path: os.truncate(f"{path}/part.1.checksum", 50),
            r"part.1.checksum has \d+ bytes instead": lambda path: os.truncate(f"{path}/part.1.checksum", 150),
            "cannot be read": lambda path: os.truncate(f"{path}/part.1.checksum", 0),
        }
        for number, (text, damage) in enumerate(cases.items()):
            id = f"{number:02}"
            damage(self.store(id, (content(100), "CRC32C", 10)))
            found = self.open(id)
            before = self.descriptors()
            error = self.assertRaises(DamagedObject, found.part, found.info.parts[0])
            self.assertRegex(error.reason, text)
            self.assertEqual((error.id, error.part, error.block), (id, 1, None))
            self.assertEqual(self.descriptors(), before)

    def test_other_part(self) -> None:
        """Files of a part that belong together, but not to the object."""
        path = self.store("ab", (content(100), "CRC32C", 10))
        other = self.store("cd", (content(90), "CRC32C", 10))
        for name in ("part.1", "part.1.checksum"):
            os.replace(f"{other}/{name}", f"{path}/{name}")
        found = self.open("ab")
        error = self.assertRaises(DamagedObject, found.part, found.info.parts[0])
        self.assertIn("it should have 100", error.reason)


class ObjectTests(StoreCase):
    """L{OpenObject}."""

    def test_read(self) -> None:
        """Ranges across parts, of different hashes and block sizes: as a reader reads them, piece by piece."""
        parts = [(content(30), "BLAKE3", 8), (b"", "CRC32C", 1), (content(17, 1), "HighwayHash256", 5)]
        self.store("ab", *parts)
        data = b"".join(part[0] for part in parts)
        found = self.open("ab")
        for at_most in (1, 10, 1000):
            for offset in range(len(data)):
                for end in (offset + 1, 30, 31, len(data)):
                    at, got = offset, b""
                    while at < end:
                        pieces = found.read(at, end - at, at_most)
                        self.assertTrue(pieces)
                        at += sum(map(len, pieces))
                        got += b"".join(pieces)
                    self.assertEqual(got, data[offset : max(offset, end)])

    def test_renamed(self) -> None:
        """It stays readable when its directory gets another name, also the parts that are not open yet."""
        path = self.store("ab", (content(30), "BLAKE3", 8), (content(30, 1), "BLAKE3", 8))
        found = self.open("ab")
        found.read(0, 30, 1000)
        os.rename(path, self.layout.outgoing())
        self.assertEqual(b"".join(found.read(30, 30, 1000)), content(30, 1))
        self.assertRaises(NoSuchObject, OpenObject, path, "ab")

    def test_removed_meanwhile(self) -> None:
        """An object that is moved out to be removed, file by file, is not there; it is not damaged."""
        path = self.store("ab", (content(30), "BLAKE3", 8))

        class Removed(OpenObject):
            def _describe(self) -> ObjectInfo:
                gone = layout.outgoing()
                os.rename(path, gone)
                os.unlink(f"{gone}/data.json")
                return OpenObject._describe(self)

        layout = self.layout
        self.assertRaises(NoSuchObject, Removed, path, "ab")
        path = self.store("cd", (content(30), "BLAKE3", 8))
        found = self.open("cd")
        gone = self.layout.outgoing()
        os.rename(path, gone)
        os.unlink(f"{gone}/part.1")
        error = self.assertRaises(DamagedObject, found.read, 0, 30, 1000)
        self.assertIsInstance(found.or_missing(error), NoSuchObject)
        os.rename(gone, path)
        self.assertIs(found.or_missing(error), error)

    def test_descriptors(self) -> None:
        """Of many parts one is open; after closing, twice is fine, nothing is."""
        self.store("ab", *[(b"x", "CRC32C", 1)] * 20)
        before = self.descriptors()
        found = OpenObject(self.layout.object("ab"), "ab")
        for number in range(20):
            found.read(number, 1, 1)
            self.assertEqual(self.descriptors(), before + 3)
        found.close()
        found.close()
        self.assertEqual(self.descriptors(), before)

    def test_damaged(self) -> None:
        """What is wrong with data.json is said; nothing stays open."""
        for number, (text, data) in enumerate([("missing", None), ("cannot be read", b"{"), ("cannot be read", b"")]):
            id = f"{number:02}"
            path = self.store(id, (b"x", "CRC32C", 1))
            if data is None:
                os.unlink(f"{path}/data.json")
            else:
                with open(f"{path}/data.json", "wb") as file:
                    file.write(data)
            before = self.descriptors()
            error = self.assertRaises(DamagedObject, OpenObject, path, id)
            self.assertIn(text, error.reason)
            self.assertEqual((error.id, error.part), (id, None))
            self.assertEqual(self.descriptors(), before)

    def test_too_long(self) -> None:
        """A description that is too long to be one is not read."""
        path = self.store("ab", (b"x", "CRC32C", 1))
        os.truncate(f"{path}/data.json", (64 << 20) + 1)
        directory = os.open(path, os.O_RDONLY)
        self.addCleanup(os.close, directory)
        error = self.assertRaises(DamagedObject, read_description, directory, "data.json", "ab")
        self.assertIn(str((64 << 20) + 1), error.reason)
