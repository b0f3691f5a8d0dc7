"""The object store does what one must, on disk with threads."""

from __future__ import annotations

import os

from tests.conformance.objectstore import ObjectStoreTestsMixin, PersistentObjectStoreTestsMixin
from tests.storage.objects.rig import LocalStoreTestCase


class LocalStoreTests(ObjectStoreTestsMixin, LocalStoreTestCase):
    """Over Wormer and a namespace in files."""

    async def tearDown(self) -> None:
        await super().tearDown()
        for part in ("data", "names"):
            self.assertEqual(os.listdir(f"{self.directory}/{part}/tmp"), [])


class DurableStoreTests(LocalStoreTests):
    """The same, brought to disk."""

    durable = True


class ReopenedTests(PersistentObjectStoreTestsMixin, LocalStoreTestCase):
    """What is there later."""


class DurableReopenedTests(ReopenedTests):
    """The same, brought to disk."""

    durable = True
