"""What object stores tell of uploads in parts, page by page: mixed into a test case that makes one."""

from __future__ import annotations

from functools import partial
from typing import Any

from twisted.internet.defer import fail, gatherResults

from storehouse.core.streams import BytesStream
from storehouse.errors import InvalidName, NoSuchBucket, NoSuchKey, NoSuchUpload, Unavailable
from storehouse.storage.dataspace.interfaces import Part
from storehouse.storage.objects.interfaces import ALWAYS
from tests.conformance.objectstore import ABSENT, StoreTestsMixin, md5

__all__ = ["PartsTestsMixin"]


class PartsTestsMixin(StoreTestsMixin):
    """Clauses of L{IObjectStore} about lists of parts and of uploads."""

    async def begin(self, *keys: str, bucket: str = "bucket") -> list[tuple[str, str]]:
        """@return: key and ID of new uploads."""
        return [(key, await self.store.begin_upload(bucket, key)) for key in keys]

    async def uploads(self, *args: Any, **options: Any) -> list[tuple[str, str]]:
        """Key and ID of those listed, also by a store that has only just begun."""
        found = [(each.key, each.upload_id) for each in await self.store.list_uploads("bucket", *args, **options)]
        if self.persistent:
            await self.reopen()
            again = [(each.key, each.upload_id) for each in await self.store.list_uploads("bucket", *args, **options)]
            self.assertEqual(again, found)
        return found

    # -- parts ---------------------------------------------------------------------------------

    async def test_pages_of_parts(self) -> None:
        upload_id = await self.store.begin_upload("bucket", "key")
        for number in (7, 1, 3, 10000):
            await self.part(upload_id, number, b"%d" % number)
        for after, limit, expected in (
            (0, None, [1, 3, 7, 10000]),
            (0, 4, [1, 3, 7, 10000]),
            (0, 2, [1, 3]),
            (1, 2, [3, 7]),
            (2, 1, [3]),
            (7, 1000, [10000]),
            (10000, 1000, []),
            (0, 0, []),
        ):
            parts = await self.store.list_parts("bucket", "key", upload_id, after, limit)
            self.assertEqual([part.number for part in parts], expected)
        await self.refused(NoSuchUpload, self.store.list_parts("bucket", "key", "00", 0, 1))

    async def test_times_of_parts(self) -> None:
        """When each came, also one that replaced another or is linked."""
        upload_id = await self.store.begin_upload("bucket", "key")
        other = await self.store.begin_upload("bucket", "other")
        await self.part(upload_id, 1, b"one")
        await self.part(upload_id, 2, b"two")
        before = await self.store.list_parts("bucket", "key", upload_id)
        await self.part(upload_id, 1, b"again")
        await self.store.upload_part_link("bucket", "other", other, 5, upload_id, [2])
        for _ in range(2 if self.persistent else 1):
            parts = await self.store.list_parts("bucket", "key", upload_id)
            (linked,) = await self.store.list_parts("bucket", "other", other)
            times = [before[0].stored, parts[1].stored, parts[0].stored, linked.stored]
            self.assertEqual((times, times[1] > 10**18, times[1]), (sorted(times), True, before[1].stored))
            if self.persistent:
                await self.reopen()

    async def test_parts_of_objects(self) -> None:
        """Of what they were made, with all that was known of it; also of a copy."""
        store = self.store
        upload_id = await store.begin_upload("bucket", "key")
        for number in (2, 5, 10000):
            data = b"%d" % number
            note = f"a note {number}"
            await store.upload_part("bucket", "key", upload_id, number, BytesStream(data), None, True, lambda n=note: n)
        parts = await store.list_parts("bucket", "key", upload_id)
        self.assertEqual([part.note for part in parts], ["a note 2", "a note 5", "a note 10000"])
        await store.complete_upload("bucket", "key", upload_id, parts[1:])
        await store.copy("bucket", "copy", "bucket", "key", system={})
        for _ in range(2 if self.persistent else 1):
            self.assertEqual(await self.store.list_object_parts("bucket", "key"), parts[1:])
            self.assertEqual(await self.store.list_object_parts("bucket", "copy"), parts[1:])
            if self.persistent:
                await self.reopen()

    async def test_objects_without_parts(self) -> None:
        """One that was put whole has none, with an MD5 or not."""
        await self.put("with", b"x", md5=True)
        await self.put("without", b"x")
        for key in ("with", "without"):
            self.assertEqual(await self.store.list_object_parts("bucket", key), [])
        upload_id, parts = await self.upload(b"one")
        await self.store.complete_upload("bucket", "key", upload_id, parts)
        self.assertEqual(await self.store.list_object_parts("bucket", "key"), parts)
        await self.refused(NoSuchKey, self.store.list_object_parts("bucket", "nothing"))

    async def test_get_upload(self) -> None:
        """As it is listed."""
        upload_id, _ = await self.upload(b"one", metadata={"a": ["b"]}, system={"c": "d"}, content_type="e/f")
        found = await self.store.get_upload("bucket", "key", upload_id)
        self.assertEqual([found], await self.store.list_uploads("bucket"))
        self.assertEqual((found.metadata, found.system, found.content_type), ({"a": ["b"]}, {"c": "d"}, "e/f"))
        for arguments in (("bucket", "other", upload_id), ("bucket", "key", "00"), ("bucket", "key", "\0")):
            await self.refused(NoSuchUpload, self.store.get_upload(*arguments))

    async def test_notes_of_copied_parts(self) -> None:
        """A note comes with a copy, whether the etag is known or not."""
        await self.put("from", b"0123456789", md5=True)
        upload_id = await self.store.begin_upload("bucket", "key")
        copy = self.store.upload_part_copy
        whole = await copy("bucket", "key", upload_id, 1, "bucket", "from", note="a note")
        some = await copy("bucket", "key", upload_id, 2, "bucket", "from", 2, 3, note="another")
        parts = await self.store.list_parts("bucket", "key", upload_id)
        self.assertEqual(whole, md5(b"0123456789"))
        self.assertEqual([(part.etag, part.note) for part in parts], [(whole, "a note"), (some, "another")])

    # -- completing again ----------------------------------------------------------------------

    async def test_completed_again(self) -> None:
        """It is the same object, whatever condition there was, also after a restart, and by another name."""
        for as_key in (None, "other"):
            upload_id, parts = await self.upload(b"one", b"two", metadata={"a": ["b"]}, system={"c": "d"})
            complete = partial(self.store.complete_upload, "bucket", "key", upload_id, parts)
            info = await complete(ABSENT, as_key)
            heard = self.listen()
            self.assertEqual(await complete(ABSENT, as_key), info)
            await self.refused(
                NoSuchUpload, self.store.complete_upload("bucket", "key", upload_id, parts[:1], ALWAYS, as_key)
            )
            await self.refused(NoSuchUpload, self.store.complete_upload("bucket", "third", upload_id, parts))
            await self.refused(NoSuchUpload, self.store.list_parts("bucket", "key", upload_id))
            if self.persistent:
                await self.reopen()
                self.assertEqual(
                    await self.store.complete_upload("bucket", "key", upload_id, parts, ABSENT, as_key), info
                )
            self.assertEqual((heard, await self.store.list_uploads("bucket")), ([], []))
            await self.quiet()

    async def test_completed_again_with_notes(self) -> None:
        """Parts are named as they were listed, or by their numbers and etags alone."""
        upload_id = await self.store.begin_upload("bucket", "key")
        await self.store.upload_part("bucket", "key", upload_id, 3, BytesStream(b"x"), 1, True, lambda: "a note")
        listed = await self.store.list_parts("bucket", "key", upload_id)
        info = await self.store.complete_upload("bucket", "key", upload_id, listed)
        for parts in (listed, [Part(3, md5(b"x"), 0)]):
            self.assertEqual(await self.store.complete_upload("bucket", "key", upload_id, parts), info)

    async def test_completed_again_after_another(self) -> None:
        """By the process that did it, although the key has something else by now, or nothing."""
        upload_id, parts = await self.upload(b"one", b"two")
        info = await self.store.complete_upload("bucket", "key", upload_id, parts)
        await self.put("key", b"other")
        self.assertEqual(await self.store.complete_upload("bucket", "key", upload_id, parts), info)
        await self.store.delete("bucket", "key")
        self.assertEqual(await self.store.complete_upload("bucket", "key", upload_id, parts), info)
        await self.refused(NoSuchKey, self.store.head("bucket", "key"))

    async def test_upload_that_did_not_end(self) -> None:
        """As after a crash in between: its object is there, and to complete it again ends it."""
        upload_id, parts = await self.upload(b"one", b"two")
        complete = partial(self.store.complete_upload, "bucket", "key", upload_id)
        patch = self.patch(self.space, "abort_upload", lambda upload_id: fail(Unavailable("later")))
        info = await complete(parts)
        patch.restore()
        self.assertEqual([each.upload_id for each in await self.store.list_uploads("bucket")], [upload_id])
        if self.persistent:
            await self.reopen()
            complete = partial(self.store.complete_upload, "bucket", "key", upload_id)
        self.assertEqual(await complete(parts, ABSENT), info)
        self.assertEqual(await self.store.list_uploads("bucket"), [])
        self.assertEqual(await self.get("key"), b"onetwo")

    async def test_completed_at_once(self) -> None:
        """By many: there is one object, and all have it."""
        upload_id, parts = await self.upload(b"one", b"two")
        completing = [self.store.complete_upload("bucket", "key", upload_id, parts, ABSENT) for _ in range(8)]
        infos = await gatherResults(completing)
        self.assertEqual({each.id for each in infos}, {(await self.store.head("bucket", "key")).id})
        await self.quiet()

    async def test_same_parts_are_not_the_same_upload(self) -> None:
        """An object of equal parts, or a copy, is not what another upload has become."""
        first, parts = await self.upload(b"one")
        second, _ = await self.upload(b"one")
        info = await self.store.complete_upload("bucket", "key", first, parts)
        other = await self.store.complete_upload("bucket", "key", second, parts)
        self.assertNotEqual(info.id, other.id)
        await self.refused(NoSuchUpload, self.store.complete_upload("bucket", "key", "00" * 16, parts))

    # -- uploads -------------------------------------------------------------------------------

    async def test_order_of_uploads(self) -> None:
        """By the bytes of keys, and those of one key as they were begun."""
        await self.store.create_bucket("other")
        await self.begin("a", bucket="other")
        begun = await self.begin("é", "b", "a", "b", "\U0001f600", "b", "a/b")
        expected = sorted(begun, key=lambda each: each[0].encode())  # which keeps the order of equal ones
        self.assertEqual(await self.uploads(), expected)
        self.assertEqual(await self.uploads(prefix="b"), [each for each in begun if each[0] == "b"])
        self.assertEqual([key for key, _ in await self.uploads(prefix="a")], ["a", "a/b"])
        self.assertEqual(await self.uploads(prefix="c"), [])

    async def test_pages_of_uploads(self) -> None:
        """Each page goes on where the one before ended, whatever ended meanwhile."""
        await self.begin("a", "b", "b", "b", "c/1", "c/2", "d")
        everything = await self.uploads()
        for size in (1, 2, 3, 7, 8):
            found: list[tuple[str, str]] = []
            key = upload_id = ""
            while page := await self.store.list_uploads("bucket", "", key, upload_id, size):
                self.assertLessEqual(len(page), size)
                found += [(each.key, each.upload_id) for each in page]
                key, upload_id = found[-1]
            self.assertEqual(found, everything)
        self.assertEqual([key for key, _ in await self.uploads(key_after="b")], ["c/1", "c/2", "d"])
        self.assertEqual(await self.uploads(upload_after=everything[1][1]), everything)
        self.assertEqual(await self.uploads("c/", "b"), everything[4:6])
        self.assertEqual(await self.uploads("c/", "c/1"), everything[5:6])
        self.assertEqual(await self.uploads("c/", "d"), [])
        self.assertEqual(await self.uploads(limit=0), [])
        await self.store.abort_upload("bucket", *everything[2])
        self.assertEqual(await self.uploads("", *everything[2]), everything[3:])

    async def test_ended_uploads(self) -> None:
        """Those that were completed, aborted or have expired are not listed."""
        begun = await self.begin("a", "b", "c", "d")
        self.assertEqual(await self.uploads(), begun)
        part = await self.store.upload_part("bucket", *begun[0], 1, BytesStream(b"x"), 1)
        parts = await self.store.list_parts("bucket", *begun[0])
        self.assertEqual([each.etag for each in parts], [part])
        await self.store.complete_upload("bucket", *begun[0], parts, as_key="other")
        await self.store.abort_upload("bucket", *begun[1])
        await self.space.abort_upload(begun[2][1])
        self.assertEqual(await self.uploads(), begun[3:])
        begun = await self.begin("e", "a")
        self.assertEqual([key for key, _ in await self.uploads()], ["a", "d", "e"])

    async def test_begun_while_listed(self) -> None:
        """None is missing that was begun before the list was asked for, nor twice there."""
        listing = self.store.list_uploads("bucket")
        begun = await self.begin("b", "a")
        await listing
        self.assertEqual(await self.uploads(), begun[::-1])

    async def test_lists_refused(self) -> None:
        await self.begin("a")
        await self.refused(NoSuchBucket, self.store.list_uploads("nothing"))
        for arguments in (("\ud800",), ("", "\ud800")):
            await self.refused(InvalidName, self.store.list_uploads("bucket", *arguments))
