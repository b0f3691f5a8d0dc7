"""Uploads for tests: over a store on disk, or in memory."""

from __future__ import annotations

import os
import time
from typing import Any

from twisted.internet.task import Clock

from storehouse.storage.dataspace.wormer import WormerDataSpace, WormerSettings
from storehouse.storage.resumable.local import LocalResumableUploads, ResumableSettings
from storehouse.storage.sealed.dataspace import SealedDataSpace
from tests.storage.objects.rig import LocalStoreTestCase, MemoryStoreTestCase
from tests.storage.sealed.keys import vault_in

__all__ = ["LocalUploadsTestCase", "MemoryUploadsTestCase", "MixedUploadsTestCase", "SealedUploadsTestCase"]


class _Rig:
    clock: Any = None
    uploads: Any = None
    states = ""
    durable = False

    async def make_uploads(self: Any, **settings: Any) -> LocalResumableUploads:
        """Over a store that is made anew, if it is kept."""
        if self.clock is None:
            self.clock = Clock()
            self.clock.advance(time.time())
            self.states = os.path.abspath(self.mktemp())
            await self.make_store()
            await self.store.create_bucket("uploads")
            self.addCleanup(lambda: self.uploads.stop())
        else:
            await self.uploads.stop()
            if self.directory:
                await self.make_store()
        given = ResumableSettings(self.states, durable=self.durable, **settings)
        uploads = LocalResumableUploads(self.store, self.disk, self.clock, given)
        uploads.start()
        return uploads

    def advance(self, seconds: float) -> None:
        """Time passes."""
        self.clock.advance(seconds)


class LocalUploadsTestCase(_Rig, LocalStoreTestCase):
    """Over a store on disk."""


class MemoryUploadsTestCase(_Rig, MemoryStoreTestCase):
    """Over a store in memory."""


class MixedUploadsTestCase(MemoryUploadsTestCase):
    """Over Wormer, with keys in memory."""

    def make_space(self) -> None:
        settings = WormerSettings(os.path.abspath(self.mktemp()), "CRC32C", 4096, False)
        self.space = WormerDataSpace(settings, self.disk)  # type: ignore[assignment]
        self.space.start()


class SealedUploadsTestCase(MemoryUploadsTestCase):
    """Over Wormer with encryption, with keys in memory."""

    def make_space(self) -> None:
        settings = WormerSettings(os.path.abspath(self.mktemp()), "CRC32C", 4096, False)
        vault = vault_in(self.mktemp())
        vault.start()
        self.space = SealedDataSpace(WormerDataSpace(settings, self.disk), vault, self.disk)  # type: ignore[assignment]
        self.space.start()
