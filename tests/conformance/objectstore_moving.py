"""What object stores do with an object under its key: mixed into a test case that makes one."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.python.failure import Failure

from storehouse.core.streams import BytesStream, read_all
from storehouse.errors import (
    InvalidName,
    NoKeyToMatch,
    NoSuchBucket,
    NoSuchKey,
    OffsetMismatch,
    PreconditionFailed,
    SizeMismatch,
    TooLarge,
    Unavailable,
)
from storehouse.events import ObjectDeleted, ObjectReplaced, ObjectStored
from storehouse.storage.objects import store
from storehouse.storage.objects.interfaces import ALWAYS, Condition, ObjectInfo
from tests.conformance.dataspace import Tap, content, turns
from tests.conformance.objectstore import ABSENT, ANY, StoreTestsMixin, md5, multipart_etag

__all__ = ["AppendTestsMixin", "RenamingTestsMixin"]


class RenamingTestsMixin(StoreTestsMixin):
    """Clauses of L{IObjectStore.rename}."""

    async def test_rename(self) -> None:
        """All that is known of it goes with it, but its ID."""
        data = content(300_000)
        info = await self.put("a", data, content_type="a/b", metadata={"c": ["d"]}, system={"e": "f"}, md5=True)
        renamed = await self.store.rename("bucket", "a", "b/é")
        same = ("size", "etag", "created", "content_type", "metadata", "system")
        self.assertEqual([getattr(renamed, name) for name in same], [getattr(info, name) for name in same])
        self.assertEqual(renamed.key, "b/é")
        for _ in range(2 if self.persistent else 1):
            self.assertEqual(await self.everything(), [renamed])
            self.assertEqual(await self.get("b/é"), data)
            await self.refused(NoSuchKey, self.store.head("bucket", "a"))
            await self.quiet()
            self.assertEqual(await self.stored_ids(), [renamed.id])
            if self.persistent:
                await self.reopen()

    async def test_rename_with_changes(self) -> None:
        """What doors keep with it is changed in the same step."""
        await self.put("a", b"x", system={"b": "1", "c": "2"})
        renamed = await self.store.rename("bucket", "a", "d", changes={"b": None, "c": "3", "e": "4"})
        self.assertEqual(dict(renamed.system), {"c": "3", "e": "4"})
        for _ in range(2 if self.persistent else 1):
            self.assertEqual(await self.everything(), [renamed])
            if self.persistent:
                await self.reopen()

    async def test_rename_over(self) -> None:
        """What the new key had is replaced, and its bytes go when its last reader has."""
        await self.put("a", b"of a")
        await self.put("b", b"of b")
        reader = await self.store.get("bucket", "b")
        other = await self.store.get("bucket", "a")
        await self.store.rename("bucket", "a", "b")
        self.assertEqual((await self.get("b"), [each.key for each in await self.everything()]), (b"of a", ["b"]))
        self.assertEqual((await read_all(reader), await read_all(other)), (b"of b", b"of a"))
        await self.quiet()
        self.assertEqual(len(await self.stored_ids()), 1)

    async def test_rename_of_parts(self) -> None:
        """An object of parts still has them."""
        upload_id, parts = await self.upload(b"one", b"two")
        await self.store.complete_upload("bucket", "key", upload_id, parts)
        await self.store.rename("bucket", "key", "other")
        self.assertEqual(await self.store.list_object_parts("bucket", "other"), parts)
        self.assertEqual(await self.get("other"), b"onetwo")

    async def test_rename_and_back(self) -> None:
        """A key that was renamed can be used as any other."""
        for turn in range(3):
            await self.put("a", b"%d" % turn)
            await self.store.rename("bucket", "a", "b")
            await self.store.rename("bucket", "b", "a")
        await self.store.rename("bucket", "a", "c")
        await self.put("a", b"new")
        await self.store.delete("bucket", "c")
        self.assertEqual((await self.get("a"), len(await self.everything())), (b"new", 1))

    async def test_rename_to_itself(self) -> None:
        """It stays as it is; the conditions are looked at."""
        info = await self.put("a", b"data")
        self.assertEqual(await self.store.rename("bucket", "a", "a", Condition(etag=info.etag), ANY), info)
        for conditions in ((ABSENT, ALWAYS), (ALWAYS, ABSENT), (Condition(etag="x"), ALWAYS)):
            await self.refused(PreconditionFailed, self.store.rename("bucket", "a", "a", *conditions))
        await self.refused(NoSuchKey, self.store.rename("bucket", "b", "b"))
        self.assertEqual(await self.everything(), [info])

    async def test_rename_conditions(self) -> None:
        a, b = await self.put("a", b"of a"), await self.put("b", b"of b")
        rename = self.store.rename
        for target, source, error in (
            (ABSENT, ALWAYS, PreconditionFailed),
            (Condition(etag="x"), ALWAYS, PreconditionFailed),
            (ALWAYS, ABSENT, PreconditionFailed),
            (ALWAYS, Condition(etag="x"), PreconditionFailed),
        ):
            await self.refused(error, rename("bucket", "a", "b", target, source))
        await self.refused(NoKeyToMatch, rename("bucket", "a", "c", ANY))
        await self.refused(NoKeyToMatch, rename("bucket", "c", "a", ALWAYS, ANY))
        await self.refused(NoSuchKey, rename("bucket", "c", "a"))
        await self.refused(NoSuchBucket, rename("nothing", "a", "b"))
        for key, new_key in (("", "b"), ("a", ""), ("a", "x" * 1025)):
            await self.refused(InvalidName, rename("bucket", key, new_key))
        self.assertEqual(await self.everything(), [a, b])
        await self.quiet()
        await rename("bucket", "a", "b", Condition(etag=b.etag), Condition(etag=a.etag))
        await rename("bucket", "b", "c", ABSENT, ANY)
        self.assertEqual([each.key for each in await self.everything()], ["c"])

    async def test_rename_to_itself_with_changes(self) -> None:
        """Then only what doors keep with it is changed."""
        info = await self.put("a", b"data", system={"a": "1", "b": "2"})
        same = await self.store.rename("bucket", "a", "a", changes={"a": None, "b": "3"})
        self.assertEqual((same.id, same.system), (info.id, {"b": "3"}))
        self.assertEqual(await self.everything(), [same])

    async def test_rename_events(self) -> None:
        first, other = await self.put("a", b"1"), await self.put("b", b"2")
        heard = self.listen()
        second = await self.store.rename("bucket", "a", "c")
        third = await self.store.rename("bucket", "c", "b")
        self.assertEqual(
            heard,
            [
                ObjectStored("bucket", "c", second),
                ObjectDeleted("bucket", "a", first),
                ObjectReplaced("bucket", "b", third, other),
                ObjectDeleted("bucket", "c", second),
            ],
        )

    async def test_one_of_many_renames(self) -> None:
        """Of those that rename one object, or rename to one new key, one succeeds."""
        for turn in range(3):
            await self.put("a", b"%d" % turn)
            outcomes = await self._outcomes([("a", f"b{turn}-{number}") for number in range(8)])
            self.assertEqual(outcomes.count(True), 1)
        self.assertEqual(len(await self.everything()), 3)
        there = [each.key for each in await self.everything()]
        self.assertEqual((await self._outcomes([(key, "one") for key in there], ABSENT)).count(True), 1)
        self.assertEqual(len(await self.everything()), 3)
        await self.quiet()

    async def _outcomes(self, pairs: list[tuple[str, str]], condition: Condition = ALWAYS) -> list[bool]:
        renames = [self.store.rename("bucket", key, new_key, condition) for key, new_key in pairs]
        for each in renames:
            each.addErrback(lambda failure: failure if failure.check(NoSuchKey, PreconditionFailed) is None else None)
        return [each is not None and not isinstance(each, Failure) for each in await gatherResults(renames)]

    async def test_read_while_renamed(self) -> None:
        """A reader has the object under one of both names at any time."""
        await self.put("a", b"data")
        names = ["a", "b"]

        async def look() -> None:
            for key in (*names, *names):
                try:
                    self.assertEqual(await self.get(key), b"data")
                except NoSuchKey:
                    continue
                return
            self.fail("it is nowhere")

        for turn in range(10):
            renaming = self.store.rename("bucket", *names)
            while not renaming.called:
                await look()
                await turns()
            await renaming
            names.reverse()
            self.assertEqual(len(await self.everything()), 1, turn)


class AppendTestsMixin(StoreTestsMixin):
    """Clauses of L{IObjectStore.append}."""

    async def append(self, key: str, offset: int, data: bytes, **options: Any) -> ObjectInfo:
        info: ObjectInfo = await self.store.append("bucket", key, offset, BytesStream(data), len(data), **options)
        return info

    async def test_append(self) -> None:
        """A new object, and then longer ones."""
        datas = [content(300_000), b"", b"some text", content(5)]
        etags: list[str] = []
        offset = 0
        for number, data in enumerate(datas, 1):
            info = await self.append("key", offset, data, note=lambda n=number: f"note {n}")
            offset += len(data)
            etags.append(md5(data))
            self.assertEqual(
                (info.size, info.etag), (offset, etags[0] if number == 1 else multipart_etag(*datas[:number]))
            )
            for _ in range(2 if self.persistent else 1):
                self.assertEqual(await self.everything(), [info])
                self.assertEqual(await self.get("key"), b"".join(datas[:number]))
                parts = await self.store.list_object_parts("bucket", "key")
                noted = [(part.number, part.etag, part.note) for part in parts]
                expected = [(at, etag, f"note {at}") for at, etag in enumerate(etags, 1)]
                self.assertEqual(noted, expected if number > 1 else [])
                if self.persistent:
                    await self.reopen()
        await self.quiet()

    async def test_append_to_what_was_stored_whole(self) -> None:
        """All that is known of it stays; its MD5 is that of its part."""
        first = await self.put("key", b"0123", content_type="a/b", metadata={"c": ["d"]}, system={"e": "f"}, md5=True)
        info = await self.append("key", 4, b"4567", content_type="no", metadata={"no": []})
        self.assertEqual((info.content_type, info.metadata, info.system), ("a/b", {"c": ["d"]}, {"e": "f"}))
        self.assertEqual(info.etag, multipart_etag(b"0123", b"4567"))
        self.assertNotEqual(info.id, first.id)
        self.assertGreater(info.created, first.created)
        self.assertEqual((await self.get("key"), await self.get("key", 3, 2)), (b"01234567", b"34"))
        await self.put("other", b"0123")
        self.assertEqual((await self.append("other", 4, b"4567")).etag[-2:], "-2")

    async def test_append_to_parts(self) -> None:
        """An object that was uploaded in parts has one more."""
        upload_id, parts = await self.upload(b"one", b"two")
        await self.store.complete_upload("bucket", "key", upload_id, parts)
        info = await self.append("key", 6, b"three")
        self.assertEqual(info.etag, multipart_etag(b"one", b"two", b"three"))
        found = await self.store.list_object_parts("bucket", "key")
        self.assertEqual([part.etag for part in found], [md5(b"one"), md5(b"two"), md5(b"three")])
        copied = await self.store.copy("bucket", "copy", "bucket", "key")
        await self.append("copy", 11, b"four")
        self.assertEqual((await self.get("key"), await self.get("copy")), (b"onetwothree", b"onetwothreefour"))
        self.assertEqual(copied.etag, info.etag)

    async def test_append_new(self) -> None:
        """With what it is to have."""
        info = await self.append(
            "key", 0, b"data", content_type="a/b", metadata={"c": ["d"]}, system=lambda there: {"e": repr(there)}
        )
        self.assertEqual((info.content_type, info.metadata, info.system), ("a/b", {"c": ["d"]}, {"e": "None"}))
        self.assertEqual(await self.store.head("bucket", "key"), info)

    async def test_append_system(self) -> None:
        """Made of what is kept at the end, whatever it was at the beginning."""
        await self.put("key", b"0123", system={"checksum": "of 0123", "tag": "old"})
        tap = Tap()
        appending = self.store.append(
            "bucket", "key", 4, tap, None, system=lambda there: {**there.system, "checksum": f"{there.size}"}
        )
        await tap.write(b"4567")
        await self.store.set_system("bucket", "key", {"tag": "new"})
        tap.end()
        info = await appending
        self.assertEqual((info.system, await self.get("key")), ({"checksum": "4", "tag": "new"}, b"01234567"))

        def refuse(there: ObjectInfo | None) -> dict[str, str]:
            raise PreconditionFailed("no")

        await self.refused(
            PreconditionFailed, self.store.append("bucket", "key", 8, BytesStream(b"x"), 1, system=refuse)
        )
        self.assertEqual(await self.everything(), [info])
        await self.quiet()

    async def test_append_refused(self) -> None:
        """Before a byte is taken, where it is known before; what is there stays."""
        info = await self.put("key", b"0123")
        for key, offset, size in (("key", 3, 4), ("key", 5, 4), ("key", 0, 4), ("other", 1, 0)):
            tap = Tap()
            error = await self.refused(OffsetMismatch, self.store.append("bucket", key, offset, tap, None))
            self.assertEqual(
                (error.expected, error.given, tap.started.called, tap.refused), (size, offset, False, True)
            )
        for condition, error in ((ABSENT, PreconditionFailed), (Condition(etag="x"), PreconditionFailed)):
            await self.refused(error, self.store.append("bucket", "key", 4, BytesStream(b"x"), 1, condition=condition))
        await self.refused(NoKeyToMatch, self.store.append("bucket", "other", 0, BytesStream(b"x"), 1, condition=ANY))
        await self.refused(SizeMismatch, self.store.append("bucket", "key", 4, BytesStream(b"x"), 2))
        await self.refused(NoSuchBucket, self.store.append("nothing", "key", 0, BytesStream(b"x"), 1))
        await self.refused(InvalidName, self.store.append("bucket", "", 0, BytesStream(b"x"), 1))
        self.assertEqual(await self.everything(), [info])
        await self.quiet()
        await self.append("key", 4, b"x", condition=Condition(etag=info.etag))
        await self.append("other", 0, b"x", condition=ABSENT)

    async def test_append_events(self) -> None:
        heard = self.listen()
        first = await self.append("key", 0, b"1")
        second = await self.append("key", 1, b"2")
        self.assertEqual(heard, [ObjectStored("bucket", "key", first), ObjectReplaced("bucket", "key", second, first)])

    async def test_one_of_many_appends(self) -> None:
        """At each end one succeeds, and the others get its position."""
        await self.append("key", 0, b"begin")
        expected = b"begin"
        for turn in range(3):
            datas = [b"<%d %d>" % (turn, number) for number in range(8)]
            taps = [Tap() for _ in datas]
            appends = [self.store.append("bucket", "key", len(expected), tap, None) for tap in taps]
            outcomes = [self.outcome_of(each) for each in appends]
            for tap, data in zip(taps, datas, strict=True):
                await tap.write(data)
            for tap in taps:
                tap.end()
            results = await gatherResults(outcomes)
            won = [data for data, result in zip(datas, results, strict=True) if isinstance(result, ObjectInfo)]
            self.assertEqual(len(won), 1)
            expected += won[0]
            self.assertEqual(await self.get("key"), expected)
            for result in results:
                if isinstance(result, OffsetMismatch):
                    self.assertEqual(result.expected, len(expected))
                else:
                    self.assertIsInstance(result, (ObjectInfo, Unavailable))
        await self.quiet()

    @staticmethod
    def outcome_of(appending: Deferred[Any]) -> Deferred[Any]:
        """The result, or the error."""
        return appending.addErrback(lambda failure: failure.value)

    async def test_append_while_replaced(self) -> None:
        """By another object of the same size, or of another one, or by none: nothing is mixed."""
        for data, error in ((b"abcd", Unavailable), (b"ab", OffsetMismatch), (None, OffsetMismatch)):
            await self.put("key", b"0123")
            tap = Tap()
            appending = self.store.append("bucket", "key", 4, tap, None)
            await tap.write(b"4567")
            if data is None:
                await self.store.delete("bucket", "key")
            else:
                await self.put("key", data)
            tap.end()
            await self.refused(error, appending)
            if data is not None:
                self.assertEqual(await self.get("key"), data)
        await self.quiet()

    async def test_appended_while_read(self) -> None:
        """A reader has the object that it opened."""
        await self.append("key", 0, b"first")
        reader = await self.store.get("bucket", "key")
        await self.append("key", 5, b"second")
        self.assertEqual(await read_all(reader), b"first")

    async def test_too_many_parts(self) -> None:
        self.patch(store, "MAX_PART", 3)
        for offset in range(3):
            await self.append("key", offset, b"x")
        tap = Tap()
        await self.refused(TooLarge, self.store.append("bucket", "key", 3, tap, None))
        self.assertEqual((tap.refused, await self.get("key")), (True, b"xxx"))
