"""L{WormerDataSpace} does what every data space must, with real disk threads, whatever hash it uses."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from storehouse.core.files import Files
from storehouse.core.jobs import DiskThreads
from storehouse.core.streams import BytesStream
from storehouse.errors import NoSuchObject
from storehouse.storage.dataspace.wormer import WormerDataSpace, WormerSettings
from tests.conformance.dataspace import BLOCK, DataSpaceTestsMixin, PersistentDataSpaceTestsMixin
from tests.conformance.dataspace_described import DescribedTestsMixin, LateTestsMixin
from tests.conformance.dataspace_inventory import InventoryTestsMixin
from tests.conformance.dataspace_uploads import UploadTestsMixin


class PoorFiles(Files):
    """Without hard links, without names that change places; directories are renamed from C{tmp} only, as on overlayfs."""

    def link(self, source: str, target: str) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM), source)

    def exchange(self, first: str, second: str) -> None:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), first)

    def rename(self, source: str, target: str) -> None:
        if os.path.isdir(source) and "/tmp/" not in source.removeprefix(os.getcwd()):
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), source)
        super().rename(source, target)


class WormerTestCase(TestCase):
    """Makes stores in one directory."""

    hash = "HighwayHash256"
    durable = False  # what needs a disk to be shown is shown in tests.crash

    files: Files | None = None
    space: WormerDataSpace | None = None

    def make_space(self, block_size: int = BLOCK) -> WormerDataSpace:
        if self.space is None:
            self.directory = os.path.abspath(self.mktemp())
            self.disk = DiskThreads(reactor)
            self.disk.start()
            self.addCleanup(self.disk.stop)
        else:
            self.space.stop()
        settings = WormerSettings(self.directory, self.hash, block_size, self.durable)
        space = WormerDataSpace(settings, self.disk, files=self.files)
        space.start()
        self.addCleanup(self.check_nothing_is_left, space)
        self.addCleanup(space.stop)
        return space

    def check_nothing_is_left(self, space: WormerDataSpace) -> None:
        self.assertEqual(os.listdir(os.path.join(self.directory, "tmp")), [])

    def advance(self, seconds: float) -> None:
        # What is stored gets older.
        for path in Path(self.directory, "uploads").rglob("parts.json"):
            stat = path.stat()
            os.utime(path, (stat.st_atime - seconds, stat.st_mtime - seconds))


class WormerObjectTests(DataSpaceTestsMixin, WormerTestCase):
    """Objects."""


class WormerUploadTests(UploadTestsMixin, WormerTestCase):
    """Uploads."""


class WormerDescribedTests(DescribedTestsMixin, LateTestsMixin, InventoryTestsMixin, WormerTestCase):
    """Metadata."""

    durable = True

    async def reopened(self) -> None:
        await self.reopen()


class WormerReopenedTests(PersistentDataSpaceTestsMixin, WormerTestCase):
    """Everything again after reopening."""


class DurableTests(DataSpaceTestsMixin, WormerTestCase):
    """Objects that are brought to disk, with another hash."""

    hash = "BLAKE3"
    durable = True


class DurableUploadTests(UploadTestsMixin, WormerTestCase):
    """Uploads that are, with a third."""

    hash = "CRC32C"
    durable = True


class PoorUploadTests(UploadTestsMixin, WormerTestCase):
    """Uploads on a file system that lacks much."""

    files = PoorFiles()


class PoorObjectTests(WormerTestCase):
    """Objects there."""

    files = PoorFiles()

    async def test_delete(self) -> None:
        """Although no directory can be renamed an object is stored, copied, and gone at once."""
        space = self.make_space()
        await space.put("ab", BytesStream(b"some text"), None, {})
        await space.copy("cd", "ab")
        for id in ("ab", "cd"):
            await space.delete(id)
            await self.assertFailure(space.get_metadata(id), NoSuchObject)
            await self.assertFailure(space.delete(id), NoSuchObject)
        await space.put("ab", BytesStream(b"other"), None, {})
