"""Destinations that need no server."""

from __future__ import annotations

from twisted.trial.unittest import TestCase

from storehouse.config.shipping import StoreSettings
from storehouse.errors import NoSuchBucket
from storehouse.storage.shipping.store import StoreDestination
from tests.conformance.destination import DestinationTestsMixin
from tests.storage.objects.rig import LocalStoreTestCase, MemoryStoreTestCase
from tests.storage.shipping.fake import MemoryDestination


class FakeTests(DestinationTestsMixin, TestCase):
    """The fake is as strict as the others."""

    async def make_destination(self) -> MemoryDestination:
        return MemoryDestination()


class StoreTests(DestinationTestsMixin, LocalStoreTestCase):
    """Our own object store."""

    async def make_destination(self) -> StoreDestination:
        await self.make_store()
        return StoreDestination(StoreSettings(), self.store, self.disk)

    async def test_bucket(self) -> None:
        """It is made when it is needed."""
        await self.assertFailure(self.store.get_bucket("archives"), NoSuchBucket)
        await self.put(self.name(), b"x")
        self.assertEqual((await self.store.get_bucket("archives")).name, "archives")


class MemoryStoreTests(DestinationTestsMixin, MemoryStoreTestCase):
    """The same in memory."""

    async def make_destination(self) -> StoreDestination:
        await self.make_store()
        return StoreDestination(StoreSettings(bucket="others"), self.store, self.disk)
