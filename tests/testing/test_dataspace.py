"""L{MemoryDataSpace} does what every data space must."""

from __future__ import annotations

import time
from collections.abc import Iterator
from hashlib import blake2b

from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from storehouse.core.streams import BytesStream
from storehouse.errors import SizeMismatch, Unavailable
from storehouse.testing.dataspace import MemoryDataSpace
from tests.conformance.dataspace import BLOCK, DataSpaceTestsMixin, SpaceTestsMixin, content
from tests.conformance.dataspace_described import DescribedTestsMixin, LateTestsMixin
from tests.conformance.dataspace_inventory import InventoryTestsMixin
from tests.conformance.dataspace_uploads import UploadTestsMixin


class MemoryTestCase(TestCase):
    """Makes spaces in memory, with a clock that a test moves."""

    space: MemoryDataSpace | None = None

    def make_space(self, block_size: int = BLOCK) -> MemoryDataSpace:
        if self.space is not None:
            self.space.stop()
        else:
            self.clock = Clock()
            self.clock.advance(1_700_000_000)
        space = MemoryDataSpace(self.clock)
        space.start()
        self.addCleanup(space.stop)
        return space

    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)


class MemoryObjectTests(DataSpaceTestsMixin, MemoryTestCase):
    """Objects in memory."""


class MemoryUploadTests(UploadTestsMixin, MemoryTestCase):
    """Uploads in memory."""


class MemoryDescribedTests(DescribedTestsMixin, LateTestsMixin, InventoryTestsMixin, MemoryTestCase):
    """Metadata in memory."""


class MemoryTests(SpaceTestsMixin, MemoryTestCase):
    """What is the memory's own."""

    async def test_not_started(self) -> None:
        await self.refused(Unavailable, MemoryDataSpace().list_uploads())

    async def test_real_time(self) -> None:
        """Without a clock the time is that of the system."""
        space = MemoryDataSpace()
        space.start()
        await space.init_upload("cd", {})
        (upload,) = await space.list_uploads()
        self.assertApproximates(upload.created, time.time(), 60)

    async def test_etags(self) -> None:
        """The tags of parts are hashes of their bytes, that of the object one of those."""

        def tag(data: bytes) -> str:
            return blake2b(data, digest_size=24).hexdigest()

        self.assertEqual((await self.put("ab", b"some text")).etag, tag(b"some text"))
        one, two = tag(b"one"), tag(b"two")
        completed = await self.put_parts("cd", b"one", b"two")
        self.assertEqual(completed.etag, tag(f"{one}\n{two}\n".encode()) + "-2")
        self.assertEqual((await self.space.copy("ef", "cd", 0, 3)).etag, one)

    async def test_piece_size(self) -> None:
        """A piece has no more than 256 KiB."""
        await self.put("ab", content(1 << 20))
        reader = await self.space.get("ab", 1)
        sizes = set()
        while piece := await reader.read():
            sizes.add(len(piece))
        self.assertEqual(sizes, {1 << 18, (1 << 18) - 1})

    async def test_too_long(self) -> None:
        """Pieces after the one that was too much are not wanted."""
        taken: list[int] = []

        def pieces() -> Iterator[bytes]:
            for n in range(10):
                taken.append(n)
                yield b"x"

        await self.refused(SizeMismatch, self.space.put("ab", BytesStream(pieces()), 2, {}))
        self.assertEqual(taken, [0, 1, 2])
