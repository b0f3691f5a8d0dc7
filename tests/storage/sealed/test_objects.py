"""The object store does what one must when everything in it is encrypted, names too."""

from __future__ import annotations

import os

from twisted.internet import reactor

from storehouse.storage.dataspace.wormer import WormerDataSpace, WormerSettings
from storehouse.storage.namespace.local import LocalNamespace, NamespaceSettings
from storehouse.storage.sealed.dataspace import SealedDataSpace
from storehouse.storage.sealed.formats import BOUNDS
from storehouse.storage.sealed.namespace import SEALED_METADATA, SealedNamespace
from tests.conformance.objectstore import ObjectStoreTestsMixin, PersistentObjectStoreTestsMixin
from tests.storage.objects.rig import LocalStoreTestCase
from tests.storage.sealed.keys import vault_in


class SealedStoreTestCase(LocalStoreTestCase):
    """Makes stores in one directory, encrypted."""

    def make_space(self) -> None:
        self.vault = vault_in(self.directory, seal_names=True)
        self.vault.start()
        settings = WormerSettings(f"{self.directory}/data", "CRC32C", 4096, self.durable, bounds=BOUNDS)
        self.space = SealedDataSpace(WormerDataSpace(settings, self.disk), self.vault, self.disk)  # type: ignore[assignment]
        self.space.start()

    def make_names(self) -> None:
        settings = NamespaceSettings(
            f"{self.directory}/names", self.durable, checkpoint_records=50, max_metadata=SEALED_METADATA
        )
        self.names = SealedNamespace(LocalNamespace(settings, reactor, self.disk), self.vault, self.disk)
        self.names.start()


class SealedStoreTests(ObjectStoreTestsMixin, SealedStoreTestCase):
    """Over Wormer and a namespace in files."""

    equal_etags = False

    async def tearDown(self) -> None:
        await super().tearDown()
        for part in ("data", "names"):
            self.assertEqual(os.listdir(f"{self.directory}/{part}/tmp"), [])


class SealedReopenedTests(PersistentObjectStoreTestsMixin, SealedStoreTestCase):
    """What is there later."""
