"""
An object store over S3 does what one must, as far as S3 has words for it; and so does the S3 door.

What differs is documented at L{S3ObjectStore}, and tested here in place of what the others do.
"""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import attrs
from twisted.internet.defer import Deferred

from storehouse.core.streams import BytesStream
from storehouse.errors import (
    AlreadyExists,
    BucketNotEmpty,
    InvalidName,
    NoSuchBucket,
    NoSuchKey,
    NoSuchUpload,
    NotSupported,
    RemoteUnavailable,
    TooLarge,
)
from storehouse.events import ObjectDeleted, ObjectReplaced, ObjectStored
from storehouse.storage.dataspace.interfaces import Part
from storehouse.storage.objects import store
from storehouse.storage.objects.interfaces import ALWAYS, ObjectInfo
from tests.clients.s3.through import SeenThroughDoor, ThroughDoorTestCase
from tests.conformance.dataspace import Tap, content, later, pieces_of, turns
from tests.conformance.objectstore import ABSENT, MIB, ODD_PIECES, ObjectStoreTestsMixin, md5, multipart_etag
from tests.conformance.objectstore_moving import AppendTestsMixin, RenamingTestsMixin
from tests.conformance.objectstore_parts import PartsTestsMixin
from tests.conformance.objectstore_system import SystemTestsMixin


class ThroughDoorTests(SeenThroughDoor, ObjectStoreTestsMixin, ThroughDoorTestCase):
    """Over the S3 door, to a store in memory."""

    metadata = {"name": ["välue 日本\n"], "empty": [""], "spaces": [" a  b "], "like": ["=?UTF-8?B?5pel?="]}
    content_type = "text/plain; charset=utf-8"
    tells_uploads = False

    # -- what S3 has no words for --------------------------------------------------------------

    async def cannot(self, *deferreds: Deferred[Any]) -> None:
        for deferred in deferreds:
            await self.refused(NotSupported, deferred)

    async def test_metadata_of_others(self) -> None:
        """What S3 would change, or drop, is refused; and no byte is taken."""
        for metadata in ({"Name": ["a"]}, {"näme": ["a"]}, {"": ["a"]}, {"a": []}, {"a": ["b", "c"]}):
            tap = Tap()
            await self.cannot(
                self.store.put("bucket", "key", tap, None, metadata=metadata),
                self.store.begin_upload("bucket", "key", metadata=metadata),
            )
            self.assertEqual((tap.started.called, tap.refused), (False, True))
        await self.cannot(
            self.store.put("bucket", "key", BytesStream(), 0, "text/plain; charset=ütf"),
            self.store.put("bucket", "key", BytesStream(), 0, system={"acl": "x"}),
            self.store.put("bucket", "key", BytesStream(), 0, system={"expires": "a\nb"}),
        )
        await self.refused(InvalidName, self.store.put("bucket", "key", BytesStream(), 0, metadata={"a": ["\ud800"]}))
        self.assertEqual(await self.everything(), [])

    async def test_bucket_config(self) -> None:
        await self.cannot(
            self.store.bucket_config("bucket", "cors"), self.store.set_bucket_config("bucket", "cors", b"x")
        )

    async def test_set_bucket_metadata(self) -> None:
        await self.cannot(
            self.store.set_bucket_metadata("bucket", {}),
            self.store.create_bucket("a-bucket", {"a": ["b"]}),
            self.store.create_bucket("a-bucket", owner="ann"),
        )

    async def test_buckets(self) -> None:
        """Made, found, listed in order, removed when they are empty."""
        made = await self.store.create_bucket("a-bucket")
        self.assertEqual((made.name, made.metadata), ("a-bucket", {}))
        self.assertGreater(made.created, 1_600_000_000_000_000_000)
        self.assertEqual(await self.store.get_bucket("a-bucket"), made)
        self.assertEqual([bucket.name for bucket in await self.store.list_buckets()], ["a-bucket", "bucket"])
        await self.refused(AlreadyExists, self.store.create_bucket("a-bucket"))
        await self.put("key", b"x", "a-bucket")
        await self.refused(BucketNotEmpty, self.store.delete_bucket("a-bucket"))
        await self.store.delete("a-bucket", "key")
        await self.store.delete_bucket("a-bucket")
        await self.refused(NoSuchBucket, self.store.get_bucket("a-bucket"))
        await self.refused(NoSuchBucket, self.store.delete_bucket("a-bucket"))

    async def test_part_notes(self) -> None:
        upload_id = await self.store.begin_upload("bucket", "key")
        place = ("bucket", "key", upload_id, 1)
        await self.put("from", b"x")
        await self.cannot(
            self.store.upload_part(*place, BytesStream(b"x"), 1, note=lambda: "a note"),
            self.store.upload_part_copy(*place, "bucket", "from", note="a note"),
        )
        self.assertEqual(await self.store.list_parts("bucket", "key", upload_id), [])

    async def test_part_link(self) -> None:
        await self.cannot(self.store.upload_part_link("bucket", "key", "abcd", 1, "abce", [1]))

    test_part_link_refused = test_part_link

    async def test_parts_joined(self) -> None:
        upload_id, _ = await self.upload(b"one", b"two")
        place = ("bucket", "key", upload_id)
        await self.cannot(
            self.store.get_part(*place, 1),
            self.store.upload_part(*place, 10_001, BytesStream(b"x"), 1),
            self.store.upload_part(*place, 3, BytesStream(b"x"), 1, instead_of=[1]),
        )

    async def test_completed_as(self) -> None:
        upload_id, parts = await self.upload(b"one")
        place = ("bucket", "key", upload_id, parts)
        await self.cannot(
            self.store.complete_upload(*place, as_key="other"),
            self.store.complete_upload(*place, metadata={}),
            self.store.complete_upload(*place, system={}),
        )
        await self.store.complete_upload(*place, as_key="key")

    # -- what is otherwise over S3 -------------------------------------------------------------

    async def test_md5(self) -> None:
        """Of all sizes and pieces, at hand or not, asked for or not."""
        for size in (0, 1, 65_537, 3 * MIB + 17):
            data = content(size)
            for pieces, announced in (((max(size, 1),), None), (ODD_PIECES, size)):
                for make in (BytesStream, later):
                    stream = make(pieces_of(data, pieces))
                    info = await self.store.put("bucket", "key", stream, announced, md5=make is later)
                    self.assertEqual(info.etag, md5(data), (size, announced, make))
            self.assertEqual(await self.get("key"), data)

    async def test_md5_that_is_known(self) -> None:
        """It is not asked for."""
        info = await self.put("key", b"x", md5=lambda: "another")
        self.assertEqual(info.etag, md5(b"x"))

    async def test_etag_without_md5(self) -> None:
        """It is the MD5 all the same."""
        info = await self.put("key", content(MIB))
        self.assertEqual((info.etag, info.id), (md5(content(MIB)), info.etag))

    async def test_copy(self) -> None:
        """With what it says of itself, or with something else; the same bytes have the same ID."""
        await self.store.create_bucket("other")
        data = content(MIB + 3)
        info = await self.put("from", data, content_type="a/b", metadata={"a": ["b"]})
        same = await self.store.copy("other", "to", "bucket", "from")
        self.assertEqual(
            (same.etag, same.size, same.content_type, same.metadata), (md5(data), len(data), "a/b", {"a": ["b"]})
        )
        self.assertEqual(same.id, info.id)
        for options, kept in (({"metadata": {}}, ("a/b", {})), ({"content_type": ""}, ("", {"a": ["b"]}))):
            new = await self.store.copy("other", "to", "bucket", "from", **options)
            self.assertEqual((new.content_type, new.metadata), kept)
            self.assertEqual(await self.store.head("other", "to"), new)
        await self.store.delete("bucket", "from")
        await self.quiet()
        self.assertEqual(await self.get("to", bucket="other"), data)

    async def test_event_tells_what_is_true(self) -> None:
        """Who is told finds it so, and is told before who asked for it."""
        seen: list[Any] = []
        looks: list[Deferred[Any]] = []

        def look(event: Any) -> None:
            seen.append(event)
            looks.append(self.store.head("bucket", "key"))

        for kind in (ObjectStored, ObjectReplaced, ObjectDeleted):
            self.events.subscribe(kind, look)
        for number, data in enumerate((b"1", b"2"), 1):
            info = await self.put("key", data)
            self.assertEqual(len(seen), number)
            self.assertEqual(await looks.pop(), info)
        await self.store.delete("bucket", "key")
        self.assertEqual(len(seen), 3)
        await self.refused(NoSuchKey, looks.pop())

    async def test_bytes_lost(self) -> None:
        """A key whose bytes are gone is a failure of the server, which is asked more than once; and it can be replaced."""
        await self.put("key", b"x")
        info = await self.behind.head("bucket", "key")
        await self.space.delete(info.id)
        await self.refused(RemoteUnavailable, self.store.get("bucket", "key"))
        self.assertEqual([problem.kind for problem in await self.store.check()], ["missing"])
        await self.put("key", b"y")
        self.assertEqual(await self.get("key"), b"y")
        self.flushLoggedErrors()

    async def settled(self, key: str, info: ObjectInfo | None, data: bytes) -> None:
        """What was cancelled may have been done, and if so wholly."""
        if info is not None:
            self.assertEqual(await self.store.head("bucket", key), info)
        try:
            self.assertEqual(await self.get(key), data)
        except NoSuchKey:
            self.assertIsNone(info)

    async def test_cancelled_put(self) -> None:
        """At every turn, of what is held and of what is sent as it comes: it is stored wholly, or not at all."""
        for size in (None, 2 * MIB):
            data = content(size or 300_000)
            for turn in range(14):
                tap = Tap()
                putting = self.store.put("bucket", f"{size}{turn}", tap, size)
                if turn:
                    await tap.write(data[:300_000])
                if turn > 3:
                    await tap.write(data[300_000:])
                    tap.end()
                # Not within the call that asked for the bytes.
                await turns(max(1, turn - 4))
                putting.cancel()
                info = await self.outcome(putting)
                tap.end()
                if turn <= 3:
                    self.assertIsNone(info)
                    await self.refused(NoSuchKey, self.store.head("bucket", f"{size}{turn}"))
                await self.settled(f"{size}{turn}", info, data)
        await self.quiet()

    async def test_cancelled_copy_and_complete(self) -> None:
        """At every turn: it is done wholly, or not at all."""
        data = content(300_000)
        await self.put("from", data)
        for turn in range(0, 24, 2):
            copying = self.store.copy("bucket", f"copy{turn}", "bucket", "from")
            await turns(turn)
            copying.cancel()
            await self.settled(f"copy{turn}", await self.outcome(copying), data)
            upload_id, parts = await self.upload(data, key=f"complete{turn}")
            completing = self.store.complete_upload("bucket", f"complete{turn}", upload_id, parts)
            await turns(turn)
            completing.cancel()
            info = await self.outcome(completing)
            await self.settled(f"complete{turn}", info, data)
            deleting = self.store.delete("bucket", f"complete{turn}")
            await turns(turn)
            deleting.cancel()
            await self.outcome(deleting)
        await self.quiet()


class PartsThroughDoorTests(SeenThroughDoor, PartsTestsMixin, ThroughDoorTestCase):
    """Uploads in parts, page by page."""

    async def test_times_of_parts(self) -> None:
        """When each came, in seconds."""
        upload_id = await self.store.begin_upload("bucket", "key")
        await self.part(upload_id, 1, b"one")
        await self.part(upload_id, 2, b"two")
        (first, second) = await self.store.list_parts("bucket", "key", upload_id)
        self.assertGreater(first.stored, 1_600_000_000_000_000_000)
        self.assertLessEqual(first.stored, second.stored)
        self.assertEqual(first.stored % 10**9, 0)

    async def test_parts_of_objects(self) -> None:
        """Their numbers and sizes, also of a copy."""
        upload_id = await self.store.begin_upload("bucket", "key")
        parts = [await self.part(upload_id, number, b"%d" % number) for number in (2, 5, 10000)]
        await self.store.complete_upload("bucket", "key", upload_id, parts[1:])
        await self.store.copy("bucket", "copy", "bucket", "key")
        for key in ("key", "copy"):
            found = await self.store.list_object_parts("bucket", key)
            self.assertEqual([(part.number, part.size) for part in found], [(5, 1), (10000, 5)])

    async def test_objects_without_parts(self) -> None:
        await self.put("key", b"x")
        self.assertEqual(await self.store.list_object_parts("bucket", "key"), [])
        await self.refused(NoSuchKey, self.store.list_object_parts("bucket", "nothing"))

    async def test_get_upload(self) -> None:
        """As it is listed; of what it becomes nothing is known."""
        upload_id, _ = await self.upload(b"one", metadata={"a": ["b"]}, content_type="e/f")
        for _ in range(3):
            await self.store.begin_upload("bucket", "key")
        found = await self.store.get_upload("bucket", "key", upload_id)
        self.assertEqual(found, (await self.store.list_uploads("bucket"))[0])
        self.assertEqual((found.metadata, found.system, found.content_type), ({}, {}, ""))
        for arguments in (("bucket", "other", upload_id), ("bucket", "key", "00"), ("bucket", "key", "\0")):
            await self.refused(NoSuchUpload, self.store.get_upload(*arguments))

    async def test_notes_of_copied_parts(self) -> None:
        """There are none, but for those of the door."""
        await self.put("from", b"0123456789")
        upload_id = await self.store.begin_upload("bucket", "key")
        whole = await self.store.upload_part_copy("bucket", "key", upload_id, 1, "bucket", "from")
        (part,) = await self.store.list_parts("bucket", "key", upload_id)
        self.assertEqual((whole, part.etag, part.note), (md5(b"0123456789"), whole, ""))

    async def test_completed_again(self) -> None:
        """It is the same object, whatever condition there was."""
        upload_id, parts = await self.upload(b"one", b"two", metadata={"a": ["b"]})
        info = await self.store.complete_upload("bucket", "key", upload_id, parts, ABSENT)
        heard = self.listen()
        self.assertEqual(await self.store.complete_upload("bucket", "key", upload_id, parts, ABSENT), info)
        await self.refused(NoSuchUpload, self.store.complete_upload("bucket", "key", upload_id, parts[:1]))
        await self.refused(NoSuchUpload, self.store.complete_upload("bucket", "third", upload_id, parts))
        await self.refused(NoSuchUpload, self.store.list_parts("bucket", "key", upload_id))
        self.assertEqual((heard, await self.store.list_uploads("bucket")), ([], []))

    async def test_completed_again_with_notes(self) -> None:
        """Of which there are none: parts are named by their numbers and etags."""
        upload_id, (part,) = await self.upload(b"one")
        info = await self.store.complete_upload("bucket", "key", upload_id, [part])
        same = [Part(1, part.etag, 0, "a note")]
        self.assertEqual(await self.store.complete_upload("bucket", "key", upload_id, same), info)

    async def test_same_parts_are_not_the_same_upload(self) -> None:
        """Though they have the same ID."""
        first, parts = await self.upload(b"one")
        second, _ = await self.upload(b"one")
        heard = self.listen()
        info = await self.store.complete_upload("bucket", "key", first, parts)
        other = await self.store.complete_upload("bucket", "key", second, parts)
        self.assertEqual((info.id, len(heard)), (other.id, 2))
        await self.refused(NoSuchUpload, self.store.complete_upload("bucket", "key", "00" * 16, parts))

    async def test_ended_uploads(self) -> None:
        """Those that were completed, aborted or have expired are not listed."""
        begun = await self.begin("a", "b", "c", "d")
        parts = [await self.part(begun[0][1], 1, b"x", "a")]
        await self.store.complete_upload("bucket", *begun[0], parts)
        await self.store.abort_upload("bucket", *begun[1])
        await self.space.abort_upload(begun[2][1])
        self.assertEqual(await self.uploads(), begun[3:])


class SystemThroughDoorTests(SeenThroughDoor, SystemTestsMixin, ThroughDoorTestCase):
    """What doors keep beside an object, as far as S3 knows it."""

    system = {"cache-control": "no-cache", "tagging": "a=b&%C3%A9=", "storage-class": "STANDARD_IA"}

    async def test_upload(self) -> None:
        """What it was begun with."""
        upload_id, parts = await self.upload(b"one", b"two", metadata={"user": ["own"]}, system=self.system)
        await self.store.complete_upload("bucket", "key", upload_id, parts)
        await self.is_kept("key", self.system)

    async def test_set_system(self) -> None:
        """The tags are changed in place, with all else as it was."""
        info = await self.put("key", b"data", metadata={"user": ["own"]}, system=self.system, content_type="a/b")
        changed = await self.store.set_system("bucket", "key", {"tagging": "c=d%20e"})
        expected = {**self.system, "tagging": "c=d%20e"}
        await self.is_kept("key", expected)
        self.assertEqual(changed, info)
        self.assertEqual(await self.get("key"), b"data")

    async def test_set_system_of_all(self) -> None:
        await self.put("key", b"data", metadata={"user": ["own"]}, system={"tagging": "a=b"})
        for _ in range(2):
            await self.store.set_system("bucket", "key", {"tagging": None})
            await self.is_kept("key", {})

    async def test_set_system_conditions(self) -> None:
        """There are none, nor is anything but tags changed."""
        info = await self.put("key", b"data")
        for changes, condition in (({"tagging": "a=b"}, ABSENT), ({"expires": "never"}, ALWAYS), ({}, ALWAYS)):
            await self.refused(NotSupported, self.store.set_system("bucket", "key", changes, condition))
        self.assertEqual(await self.store.head("bucket", "key"), info)
        await self.refused(InvalidName, self.store.set_system("bucket", "key", {"tagging": "&"}))
        await self.refused(NoSuchKey, self.store.set_system("bucket", "other", {"tagging": "a=b"}))
        await self.refused(NoSuchBucket, self.store.set_system("nothing", "key", {"tagging": "a=b"}))

    async def test_set_system_while_replaced(self) -> None:
        """The change is of the one before, or of the one after."""
        await self.put("key", b"first")
        putting, setting = self.put("key", b"second"), self.store.set_system("bucket", "key", {"tagging": "a=b"})
        await setting
        await putting
        info = await self.store.head("bucket", "key")
        self.assertEqual(await self.get("key"), b"second")
        self.assertIn(dict(info.system), [{}, {"tagging": "a=b"}])

    async def test_bounds(self) -> None:
        """Metadata have 2 KiB, as S3 has it."""
        await self.put("key", b"", metadata={"a": ["x" * 2047]})
        await self.refused(TooLarge, self.store.put("bucket", "key", BytesStream(b""), 0, metadata={"a": ["x" * 2048]}))
        await self.refused(
            InvalidName, self.store.put("bucket", "key", BytesStream(b""), 0, system={"tagging": "a=b&a=c"})
        )


class RenamingThroughDoorTests(SeenThroughDoor, RenamingTestsMixin, ThroughDoorTestCase):
    """Renames, which few servers know."""

    async def test_rename(self) -> None:
        """All that is known of it goes with it."""
        data = content(300_000)
        info = await self.put("a", data, content_type="a/b", metadata={"c": ["d"]}, system={"expires": "never"})
        renamed = await self.store.rename("bucket", "a", "b/é")
        self.assertEqual(renamed, attrs.evolve(info, key="b/é"))
        self.assertEqual(dict(renamed.system), {"expires": "never"})
        self.assertEqual(await self.everything(), [renamed])
        self.assertEqual(await self.get("b/é"), data)
        await self.quiet()

    async def test_rename_with_changes(self) -> None:
        await self.put("a", b"x")
        await self.refused(NotSupported, self.store.rename("bucket", "a", "d", changes={"expires": "never"}))
        self.assertEqual([info.key for info in await self.everything()], ["a"])

    test_rename_to_itself_with_changes = test_rename_with_changes

    async def test_rename_of_parts(self) -> None:
        """An object of parts still has them."""
        upload_id, parts = await self.upload(b"one", b"two")
        info = await self.store.complete_upload("bucket", "key", upload_id, parts)
        renamed = await self.store.rename("bucket", "key", "other")
        self.assertEqual((renamed.etag, await self.get("other")), (info.etag, b"onetwo"))
        found = await self.store.list_object_parts("bucket", "other")
        self.assertEqual([(part.number, part.size) for part in found], [(1, 3), (2, 3)])


class AppendThroughDoorTests(SeenThroughDoor, AppendTestsMixin, ThroughDoorTestCase):
    """Appends, which few servers know."""

    async def test_append(self) -> None:
        """A new object, and then longer ones."""
        datas = [content(300_000), b"", b"some text", content(MIB + 5)]
        offset = 0
        for number, data in enumerate(datas, 1):
            info = await self.append("key", offset, data)
            offset += len(data)
            self.assertEqual(
                (info.size, info.etag), (offset, md5(data) if number == 1 else multipart_etag(*datas[:number]))
            )
            self.assertEqual(await self.everything(), [info])
            self.assertEqual(await self.get("key"), b"".join(datas[:number]))
        await self.quiet()

    async def test_append_to_what_was_stored_whole(self) -> None:
        """All that is known of it stays; its MD5 is that of its part."""
        await self.put("key", b"0123", content_type="a/b", metadata={"c": ["d"]}, system={"expires": "never"})
        info = await self.append("key", 4, b"4567", content_type="no", metadata={"no": ["e"]})
        self.assertEqual((info.content_type, info.metadata, info.system), ("a/b", {"c": ["d"]}, {"expires": "never"}))
        self.assertEqual(info.etag, multipart_etag(b"0123", b"4567"))
        self.assertEqual((await self.store.head("bucket", "key")), info)
        self.assertEqual(await self.get("key"), b"01234567")

    async def test_append_to_parts(self) -> None:
        """An object that was uploaded in parts has one more."""
        upload_id, parts = await self.upload(b"one", b"two")
        await self.store.complete_upload("bucket", "key", upload_id, parts)
        info = await self.append("key", 6, b"three")
        self.assertEqual(info.etag, multipart_etag(b"one", b"two", b"three"))
        self.assertEqual([part.size for part in await self.store.list_object_parts("bucket", "key")], [3, 3, 5])
        self.assertEqual(await self.get("key"), b"onetwothree")

    async def test_append_new(self) -> None:
        """With what it is to have."""
        info = await self.append("key", 0, b"data", content_type="a/b", metadata={"c": ["d"]})
        self.assertEqual((info.content_type, info.metadata), ("a/b", {"c": ["d"]}))
        self.assertEqual(await self.store.head("bucket", "key"), info)

    async def test_append_system(self) -> None:
        """What is kept with the longer object is what was, and no notes of what was added."""
        for options in ({"system": lambda there: {}}, {"note": lambda: "a note"}):
            await self.refused(NotSupported, Deferred.fromCoroutine(self.append("key", 0, b"x", **options)))
        with patch.object(self.store, "_part_size", 10):
            await self.refused(NotSupported, self.store.append("bucket", "key", 0, BytesStream(bytes(11)), None))
        self.assertEqual(await self.everything(), [])

    async def test_too_many_parts(self) -> None:
        self.patch(store, "MAX_PART", 3)
        for offset in range(3):
            await self.append("key", offset, b"x")
        await self.refused(TooLarge, Deferred.fromCoroutine(self.append("key", 3, b"x")))
        self.assertEqual(await self.get("key"), b"xxx")
