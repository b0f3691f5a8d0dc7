"""An object whose entry is damaged: what is asked of it, what takes its place, and whose bytes stay."""

from __future__ import annotations

import os

from twisted.internet.defer import Deferred

from storehouse.errors import DamagedEntry, NoSuchKey, PreconditionFailed
from storehouse.storage.objects.interfaces import Condition
from tests.conformance.objectstore import StoreTestsMixin
from tests.storage.objects.rig import LocalStoreTestCase


class DamagedKeyTests(StoreTestsMixin, LocalStoreTestCase):
    """The objects C{a}, whose C{default.json} leads nowhere, and C{b}."""

    async def tearDown(self) -> None:
        """What was damaged stays so, and is in the log."""
        self.flushLoggedErrors()

    async def damage(self) -> None:
        await self.put("a", b"old")
        self.other = await self.put("b", b"other")
        # What the damaged key now says is of another one.
        await self.lead_to(f"{self.other.id}.json")

    async def lead_to(self, target: str) -> None:
        await self.stop()
        path = f"{self.directory}/names/buckets/bucket/objects/a/default.json"
        os.unlink(path)
        os.symlink(target, path)
        for name in os.listdir(f"{self.directory}/names/index"):
            os.unlink(f"{self.directory}/names/index/{name}")
        self.make_space()
        self.make_names()
        self.store = self.join()
        await self.store.recovered
        await self.refused(DamagedEntry, self.store.head("bucket", "a"))

    async def is_well(self) -> None:
        """The other object is, also after a start."""
        self.assertEqual(await self.get("b"), b"other")
        await self.reopen()
        self.assertEqual(await self.get("b"), b"other")

    async def test_put(self) -> None:
        await self.damage()
        for condition in (Condition(absent=True), Condition(etag="x"), Condition(etag="")):
            await self.assertFailure(
                Deferred.fromCoroutine(self.put("a", b"new", condition=condition)), PreconditionFailed
            )
        await self.put("a", b"new", condition=Condition(etag="*"))
        self.assertEqual(await self.get("a"), b"new")
        await self.is_well()

    async def test_delete(self) -> None:
        await self.damage()
        await self.refused(PreconditionFailed, self.store.delete("bucket", "a", Condition(etag="x")))
        await self.store.delete("bucket", "a")
        await self.refused(NoSuchKey, self.store.delete("bucket", "a"))
        await self.is_well()

    async def test_upload(self) -> None:
        """An upload takes its place, and so does a copy."""
        await self.damage()
        upload, parts = await self.upload(b"new", key="a")
        failing = self.store.complete_upload("bucket", "a", upload, parts, Condition(absent=True))
        await self.refused(PreconditionFailed, failing)
        await self.store.complete_upload("bucket", "a", upload, parts)
        self.assertEqual(await self.get("a"), b"new")
        await self.lead_to("ffff.json")
        await self.store.copy("bucket", "a", "bucket", "b")
        self.assertEqual(await self.get("a"), b"other")
        await self.is_well()

    async def test_listed(self) -> None:
        await self.damage()
        page = await self.store.list_objects("bucket")
        self.assertEqual(([info.key for info in page.objects], page.damaged), (["b"], ["a"]))
        self.assertEqual(await self.store.list_keys("bucket"), ["a", "b"])
        self.assertIn("1 keys or buckets cannot be read", self.store.unserved)
        await self.store.delete("bucket", "a")
        self.assertEqual(self.store.unserved, "")
