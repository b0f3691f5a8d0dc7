"""The object store does what one must, in memory, and with only its bytes on disk."""

from __future__ import annotations

import os

from storehouse.storage.dataspace.wormer import WormerDataSpace, WormerSettings
from tests.conformance.objectstore import ObjectStoreTestsMixin
from tests.storage.objects.rig import MemoryStoreTestCase


class MemoryStoreTests(ObjectStoreTestsMixin, MemoryStoreTestCase):
    """Over memory only."""


class MixedStoreTests(ObjectStoreTestsMixin, MemoryStoreTestCase):
    """Over Wormer, with keys in memory."""

    def make_space(self) -> None:
        self.directory = os.path.abspath(self.mktemp())
        settings = WormerSettings(self.directory, "CRC32C", 4096, False)
        self.space = WormerDataSpace(settings, self.disk)  # type: ignore[assignment]
        self.space.start()

    async def tearDown(self) -> None:
        await super().tearDown()
        self.assertEqual(os.listdir(f"{self.directory}/tmp"), [])
