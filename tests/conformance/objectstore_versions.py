"""What every object store must do with versions: mixed into a test case that makes one."""

from __future__ import annotations

from typing import Any

from storehouse.core.streams import BytesStream, read_all
from storehouse.errors import (
    BucketNotEmpty,
    DeleteMarkerFound,
    InvalidBucketState,
    NoKeyToMatch,
    NoSuchKey,
    NoSuchVersion,
    OffsetMismatch,
    PreconditionFailed,
)
from storehouse.events import (
    MarkerAdded,
    ObjectChanged,
    ObjectDeleted,
    ObjectReplaced,
    ObjectStored,
    VersionRemoved,
)
from storehouse.storage.objects.interfaces import Condition, ObjectInfo, Usage
from tests.conformance.objectstore import ABSENT, ANY, StoreTestsMixin

__all__ = ["VersionedStoreTestsMixin"]


class VersionedStoreTestsMixin(StoreTestsMixin):
    """Clauses of L{IObjectStore<storehouse.storage.objects.interfaces.IObjectStore>} about versions."""

    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        await self.store.set_versioning("bucket", "enabled")

    async def named_ids(self) -> list[str]:
        """The IDs of all versions that have bytes."""
        found = []
        for bucket in await self.store.list_buckets():
            page = await self.store.list_versions(bucket.name)
            self.assertEqual(page.next_key_marker, None)
            found += [info.id for info in page.versions if not info.marker]
        return sorted(found)

    async def versions(self, **arguments: Any) -> list[ObjectInfo]:
        return list((await self.store.list_versions("bucket", **arguments)).versions)

    async def read(self, key: str, version: str | None = None) -> bytes:
        return await read_all(await self.store.get("bucket", key, version=version))

    async def reopened(self) -> None:
        if self.persistent:
            await self.quiet()
            await self.reopen()

    # -- reading and storing -------------------------------------------------------------------

    async def test_versions(self) -> None:
        """Each is read by its ID, without one the current one."""
        first = await self.put("key", b"first", md5=True)
        second = await self.put("key", b"the second", metadata={"a": ["b"]})
        self.assertEqual((first.version, first.is_latest, first.marker), (first.id, True, False))
        self.assertNotEqual(first.version, second.version)
        for _ in range(2):
            self.assertEqual(await self.read("key"), b"the second")
            self.assertEqual(await self.read("key", first.version), b"first")
            self.assertEqual(await self.read("key", second.version), b"the second")
            head = self.store.head
            self.assertEqual(await head("bucket", "key"), second)
            self.assertEqual(await head("bucket", "key", second.version), second)
            older = await head("bucket", "key", first.version)
            self.assertEqual((older.etag, older.version, older.is_latest), (first.etag, first.version, False))
            self.assertEqual(await self.versions(), [second, older])
            self.assertEqual((await self.store.list_objects("bucket")).objects, [second])
            self.assertEqual(await self.store.usage("bucket"), Usage(1, 10, 1, 5))
            await self.reopened()
        for ask in (self.store.head, self.store.delete):
            await self.refused(NoSuchVersion, ask("bucket", "key", version="abcd"))
            await self.refused(NoSuchVersion, ask("bucket", "key", version="null"))
        await self.refused(NoSuchVersion, self.store.get("bucket", "key", version="abcd"))
        await self.refused(BucketNotEmpty, self.store.delete_bucket("bucket"))

    async def test_never_versioned(self) -> None:
        """A bucket without versions shows no version IDs; C{null} names its objects all the same."""
        await self.store.create_bucket("plain")
        info = await self.put("key", b"data", "plain")
        self.assertEqual(info.version, "")
        self.assertEqual(await self.store.head("plain", "key", "null"), info)
        self.assertEqual(list((await self.store.list_versions("plain")).versions), [info])
        await self.refused(NoSuchVersion, self.store.head("plain", "key", info.id))
        self.assertEqual(await self.store.delete("plain", "key", version="null"), info)
        await self.refused(NoSuchKey, self.store.delete("plain", "key", mark_missing=True))
        self.assertEqual(list((await self.store.list_versions("plain")).versions), [])

    async def test_null(self) -> None:
        """What was stored before is the null version, and is named so alone."""
        await self.store.create_bucket("other")
        info = await self.put("key", b"before", "other")
        await self.store.set_versioning("other", "enabled")
        self.assertEqual((await self.store.head("other", "key")).version, "null")
        await self.put("key", b"after", "other")
        reader = await self.store.get("other", "key", version="null")
        self.assertEqual((await read_all(reader), reader.info.version), (b"before", "null"))
        await self.refused(NoSuchVersion, self.store.get("other", "key", version=info.id))
        await self.refused(NoSuchVersion, self.store.delete("other", "key", version=info.id))
        await self.refused(NoSuchVersion, self.store.set_system("other", "key", {}, version=info.id))

    async def test_copy(self) -> None:
        """A version is copied to another key, or made current again; nothing of what it was stays."""
        first = await self.put("key", b"first", metadata={"a": ["1"]})
        await self.put("key", b"second")
        copied = await self.store.copy("bucket", "key", "bucket", "key", source_version=first.version)
        self.assertNotEqual(copied.version, first.version)
        self.assertEqual((await self.read("key"), copied.metadata), (b"first", {"a": ["1"]}))
        self.assertEqual(len(await self.versions()), 3)
        await self.store.create_bucket("plain")
        plain = await self.store.copy("plain", "x", "bucket", "key", source_version=first.version)
        self.assertEqual(plain.version, "")
        condition = Condition(etag="nothing")
        await self.refused(
            PreconditionFailed,
            self.store.copy("bucket", "key", "bucket", "key", source_version=first.version, source_condition=condition),
        )
        await self.refused(NoSuchVersion, self.store.copy("plain", "x", "bucket", "key", source_version="abcd"))

    async def test_uploads(self) -> None:
        """An upload that is completed leaves what was there; its parts are known by the version; parts are copied of any."""
        first = await self.put("key", b"first")
        upload_id, parts = await self.upload(b"one", b"two")
        made = await self.store.complete_upload("bucket", "key", upload_id, parts)
        again = await self.store.complete_upload("bucket", "key", upload_id, parts)
        self.assertEqual((made.version, again), (made.id, made))
        await self.put("key", b"third")
        self.assertEqual(
            [part.size for part in await self.store.list_object_parts("bucket", "key", made.version)], [3, 3]
        )
        self.assertEqual(await self.store.list_object_parts("bucket", "key"), [])
        self.assertEqual(
            (await self.read("key", made.version), await self.read("key", first.version)), (b"onetwo", b"first")
        )
        upload_id = await self.store.begin_upload("bucket", "other")
        await self.store.upload_part_copy(
            "bucket", "other", upload_id, 1, "bucket", "key", 1, 3, source_version=first.version
        )
        await self.store.complete_upload(
            "bucket", "other", upload_id, await self.store.list_parts("bucket", "other", upload_id)
        )
        self.assertEqual(await self.read("other"), b"irs")

    async def test_append(self) -> None:
        """The longer object is another version."""
        first = await self.put("key", b"first", md5=True)
        longer = await self.store.append("bucket", "key", 5, BytesStream(b", more"), 6)
        self.assertEqual((await self.read("key"), await self.read("key", first.version)), (b"first, more", b"first"))
        self.assertEqual([each.version for each in await self.versions()], [longer.version, first.version])
        await self.store.delete("bucket", "key")
        await self.refused(OffsetMismatch, self.store.append("bucket", "key", 11, BytesStream(b"x"), 1))
        await self.store.append("bucket", "key", 0, BytesStream(b"x"), 1)
        self.assertEqual((await self.read("key"), len(await self.versions())), (b"x", 4))

    async def test_rename(self) -> None:
        await self.put("key", b"data")
        for state in ("enabled", "suspended"):
            await self.store.set_versioning("bucket", state)
            for new in ("new", "key"):
                await self.refused(InvalidBucketState, self.store.rename("bucket", "key", new))
        self.assertEqual(await self.read("key"), b"data")

    # -- deleting ------------------------------------------------------------------------------

    async def test_marker(self) -> None:
        """A key that is deleted does not exist, and its versions do."""
        info = await self.put("key", b"data")
        marker = await self.store.delete("bucket", "key", system={"owner": "ann"})
        self.assertEqual(
            (marker.marker, marker.size, marker.is_latest, marker.system), (True, 0, True, {"owner": "ann"})
        )
        self.assertNotIn(marker.version, ("", "null", info.version))
        for _ in range(2):
            for ask in (self.store.head, self.store.get, self.store.list_object_parts):
                error = await self.refused(DeleteMarkerFound, ask("bucket", "key"))
                self.assertEqual((error.version, error.is_current), (marker.version, True))
                error = await self.refused(DeleteMarkerFound, ask("bucket", "key", version=marker.version))
                self.assertEqual(
                    (error.version, error.created, error.is_current), (marker.version, marker.created, False)
                )
            self.assertEqual(await self.read("key", info.version), b"data")
            self.assertEqual((await self.store.list_objects("bucket")).objects, [])
            self.assertEqual(await self.store.list_keys("bucket"), [])
            self.assertEqual([each.version for each in await self.versions()], [marker.version, info.version])
            self.assertEqual(await self.store.usage("bucket"), Usage(0, 0, 1, 4, 1))
            await self.reopened()
        # Doors without versions see no object; S3 adds a marker whatever is there.
        await self.refused(NoSuchKey, self.store.delete("bucket", "key"))
        await self.refused(NoSuchKey, self.store.delete("bucket", "none"))
        second = await self.store.delete("bucket", "none", mark_missing=True)
        self.assertTrue(second.marker)
        self.assertEqual(await self.store.delete("bucket", "none", version=second.version), second)
        # Without the marker it is there again.
        self.assertEqual(await self.store.delete("bucket", "key", version=marker.version), marker)
        self.assertEqual(await self.store.head("bucket", "key"), info)
        self.assertEqual(await self.store.delete("bucket", "key", version=info.version), info)
        await self.store.delete_bucket("bucket")

    async def test_remove(self) -> None:
        """A version goes for good, with its bytes; the newest other one is the current one."""
        infos = [await self.put("key", bytes(n)) for n in range(1, 5)]
        for at, left in ((1, 3), (3, 2), (2, 1), (0, 0)):
            removed = await self.store.delete("bucket", "key", version=infos[at].version)
            self.assertEqual((removed.version, removed.size), (infos[at].version, at + 1))
            await self.refused(NoSuchKey, self.store.get("bucket", "key", version=infos[at].version))
            await self.quiet()
            self.assertEqual(len(await self.stored_ids()), left)
            await self.reopened()
        await self.refused(NoSuchKey, self.store.head("bucket", "key"))

    async def test_suspended(self) -> None:
        """The null version is replaced, with its bytes; others stay."""
        kept = await self.put("key", b"kept")
        await self.store.set_versioning("bucket", "suspended")
        for data in (b"one", b"two"):
            info = await self.put("key", data)
            self.assertEqual(info.version, "null")
        self.assertEqual([each.version for each in await self.versions()], ["null", kept.version])
        self.assertEqual(await self.read("key", "null"), b"two")
        marker = await self.store.delete("bucket", "key")
        self.assertEqual((marker.version, marker.marker), ("null", True))
        await self.quiet()
        self.assertEqual(await self.stored_ids(), [kept.id])
        await self.reopened()
        self.assertEqual(
            [(each.version, each.marker) for each in await self.versions()], [("null", True), (kept.version, False)]
        )
        await self.put("key", b"three")
        self.assertEqual(
            [(each.version, each.marker) for each in await self.versions()], [("null", False), (kept.version, False)]
        )

    # -- conditions, events --------------------------------------------------------------------

    async def test_conditions(self) -> None:
        """They are about the current version; a marker is no object."""
        first = await self.put("key", b"first", condition=ABSENT)
        await self.refused(PreconditionFailed, self.store.put("bucket", "key", BytesStream(b"x"), 1, condition=ABSENT))
        second = await self.put("key", b"second", condition=Condition(etag=first.etag))
        for change in (
            self.store.put("bucket", "key", BytesStream(b"x"), 1, condition=Condition(etag=first.etag)),
            self.store.delete("bucket", "key", Condition(etag=first.etag)),
            self.store.delete("bucket", "key", Condition(etag=first.etag), first.version),
        ):
            await self.refused(PreconditionFailed, change)
        await self.store.delete("bucket", "key", Condition(etag=second.etag), first.version)
        await self.store.delete("bucket", "key", Condition(etag=second.etag))
        for change in (
            self.store.put("bucket", "key", BytesStream(b"x"), 1, condition=ANY),
            self.store.delete("bucket", "key", ANY, mark_missing=True),
        ):
            await self.refused(NoKeyToMatch, change)
        await self.put("key", b"third", condition=ABSENT)
        self.assertEqual(len(await self.versions()), 3)

    async def test_events(self) -> None:
        """What a key shows, and what becomes of its versions."""
        heard = self.listen()
        for kind in (MarkerAdded, VersionRemoved):
            self.events.subscribe(kind, heard.append)
        first = await self.put("key", b"first")
        second = await self.put("key", b"second")
        marker = await self.store.delete("bucket", "key")
        another = await self.store.delete("bucket", "key", mark_missing=True)
        place = "bucket", "key"
        self.assertEqual(
            heard,
            [
                ObjectStored(*place, first),
                ObjectReplaced(*place, second, first),
                ObjectDeleted(*place, second),
                MarkerAdded(*place, marker),
                MarkerAdded(*place, another),
            ],
        )
        heard.clear()
        removed = [
            await self.store.delete(*place, version=version)
            for version in (marker.version, another.version, second.version, first.version)
        ]
        self.assertEqual(
            heard,
            [
                VersionRemoved(*place, removed[0]),
                VersionRemoved(*place, removed[1]),
                ObjectStored(*place, second),
                VersionRemoved(*place, removed[2]),
                ObjectReplaced(*place, first, removed[2]),
                VersionRemoved(*place, removed[3]),
                ObjectDeleted(*place, removed[3]),
            ],
        )
        self.assertEqual([each.is_latest for each in removed], [False, True, True, True])

    async def test_set_system(self) -> None:
        """Any version can be changed; the current version stays."""
        first = await self.put("key", b"first", system={"tagging": "a=1"})
        second = await self.put("key", b"second")
        heard = self.listen()
        changed = await self.store.set_system("bucket", "key", {"tagging": "b=2"}, version=first.version)
        self.assertEqual(
            (changed.version, changed.system, changed.is_latest), (first.version, {"tagging": "b=2"}, False)
        )
        self.assertEqual([type(each) for each in heard], [ObjectChanged])
        self.assertEqual(await self.store.head("bucket", "key"), second)
        for _ in range(2):
            self.assertEqual(await self.store.head("bucket", "key", first.version), changed)
            self.assertEqual((await self.versions())[1], changed)
            await self.reopened()
        wrong = Condition(etag=second.etag + "x")
        await self.refused(PreconditionFailed, self.store.set_system("bucket", "key", {}, wrong, first.version))
        await self.store.set_system("bucket", "key", {}, Condition(etag=first.etag), first.version)
        marker = await self.store.delete("bucket", "key")
        await self.refused(DeleteMarkerFound, self.store.set_system("bucket", "key", {}))
        await self.refused(DeleteMarkerFound, self.store.set_system("bucket", "key", {}, version=marker.version))

    async def test_reader_stays(self) -> None:
        """A version that is being read is read to its end."""
        info = await self.put("key", b"data")
        reader = await self.store.get("bucket", "key", version=info.version)
        await self.store.delete("bucket", "key", version=info.version)
        self.assertEqual(await read_all(reader), b"data")

    async def test_listing(self) -> None:
        """Pages, with a delimiter, and what leads on."""
        for key in ("a", "a", "b/1", "b/2", "c"):
            await self.put(key, b"x")
        page = await self.store.list_versions("bucket", delimiter="/", limit=3)
        self.assertEqual(([each.key for each in page.versions], list(page.prefixes)), (["a", "a"], ["b/"]))
        page = await self.store.list_versions("bucket", "", "/", page.next_key_marker, page.next_version_marker)
        self.assertEqual(([each.key for each in page.versions], page.next_key_marker), (["c"], None))

    async def test_reindex(self) -> None:
        """All versions are there again."""
        for number in range(3):
            await self.put("key", bytes(number))
        await self.store.delete("bucket", "key")
        before = await self.versions()
        await self.store.reindex()
        self.assertEqual(await self.versions(), before)
