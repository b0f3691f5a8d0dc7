"""What object stores do with an object under its key: mixed into a test case that makes one."""

from __future__ import annotations

from twisted.internet.defer import gatherResults
from twisted.python.failure import Failure

from storehouse.core.streams import read_all
from storehouse.errors import InvalidName, NoKeyToMatch, NoSuchBucket, NoSuchKey, PreconditionFailed
from storehouse.events import ObjectDeleted, ObjectReplaced, ObjectStored
from storehouse.storage.objects.interfaces import ALWAYS, Condition
from tests.conformance.dataspace import content, turns
from tests.conformance.objectstore import ABSENT, ANY, StoreTestsMixin

__all__ = ["RenamingTestsMixin"]


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
