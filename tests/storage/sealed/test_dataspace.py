"""L{SealedDataSpace} does what every data space must, on top of each that there is."""

from __future__ import annotations

import os

from twisted.internet import reactor
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from storehouse.core.jobs import DiskThreads, InlineDisk
from storehouse.storage.dataspace.wormer import WormerDataSpace, WormerSettings
from storehouse.storage.sealed.dataspace import SealedDataSpace
from storehouse.storage.sealed.formats import BOUNDS
from storehouse.testing.dataspace import MemoryDataSpace
from tests.conformance.dataspace import BLOCK, DataSpaceTestsMixin, PersistentDataSpaceTestsMixin
from tests.conformance.dataspace_described import LateTestsMixin
from tests.conformance.dataspace_inventory import InventoryTestsMixin
from tests.conformance.dataspace_uploads import UploadTestsMixin
from tests.storage.dataspace.test_wormer import WormerTestCase
from tests.storage.sealed.keys import vault_in


class SealedMemoryTestCase(TestCase):
    """Makes spaces on top of memory, without threads."""

    space: SealedDataSpace | None = None

    def make_space(self, block_size: int = BLOCK) -> SealedDataSpace:
        if self.space is not None:
            self.space.stop()
        self.clock = Clock()
        self.clock.advance(1_700_000_000)
        vault = vault_in(self.mktemp())
        vault.start()
        space = SealedDataSpace(MemoryDataSpace(self.clock, BOUNDS), vault, InlineDisk())
        space.start()
        self.addCleanup(space.stop)
        return space

    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)


class SealedMemoryObjectTests(DataSpaceTestsMixin, SealedMemoryTestCase):
    """Objects on top of memory."""

    equal_etags = False


class SealedMemoryLateTests(LateTestsMixin, InventoryTestsMixin, SealedMemoryTestCase):
    """What is said late, on top of memory."""


class SealedMemoryUploadTests(UploadTestsMixin, SealedMemoryTestCase):
    """Uploads on top of memory."""

    equal_etags = False


class SealedWormerTestCase(WormerTestCase):
    """Makes spaces on top of stores in one directory, with real threads."""

    space: SealedDataSpace | None = None  # type: ignore[assignment]

    def make_space(self, block_size: int = BLOCK) -> SealedDataSpace:  # type: ignore[override]
        if self.space is None:
            self.root = os.path.abspath(self.mktemp())
            self.directory = os.path.join(self.root, "objects")
            self.disk = DiskThreads(reactor)
            self.disk.start()
            self.addCleanup(self.disk.stop)
        else:
            self.space.stop()
        settings = WormerSettings(self.directory, self.hash, block_size, self.durable, bounds=BOUNDS)
        vault = vault_in(self.root)
        vault.start()
        space = SealedDataSpace(WormerDataSpace(settings, self.disk), vault, self.disk)
        space.start()
        self.addCleanup(self.check_nothing_is_left, space)
        self.addCleanup(space.stop)
        return space


class SealedWormerObjectTests(DataSpaceTestsMixin, SealedWormerTestCase):
    """Objects on disk."""

    equal_etags = False


class SealedWormerUploadTests(UploadTestsMixin, SealedWormerTestCase):
    """Uploads on disk."""

    equal_etags = False


class SealedWormerReopenedTests(PersistentDataSpaceTestsMixin, SealedWormerTestCase):
    """Everything again after reopening."""

    equal_etags = False
