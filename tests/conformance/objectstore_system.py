"""What object stores keep for doors beside each object: mixed into a test case that makes one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from storehouse.core.streams import BytesStream
from storehouse.errors import InvalidName, NoSuchBucket, NoSuchKey, PreconditionFailed
from storehouse.events import ObjectChanged
from storehouse.storage.objects.interfaces import ALWAYS, Condition
from tests.conformance.objectstore import ABSENT, ANY, StoreTestsMixin

__all__ = ["SystemTestsMixin"]

SYSTEM = {"cache-control": "no-cache", "tagging": "a=b&%C3%A9=", "acl": '{"grants":[{"é":"\\u0000"}]}'}


class SystemTestsMixin(StoreTestsMixin):
    """
    Clauses of L{IObjectStore} about C{system}.

    @cvar system: what can be kept: anything, unless the store has to say it in a protocol of others.
    """

    system: Any = SYSTEM

    async def is_kept(self, key: str, system: dict[str, str], bucket: str = "bucket") -> None:
        """Told by all that tells of an object, also after a restart, and apart from its metadata."""
        for _ in range(2 if self.persistent else 1):
            info = await self.store.head(bucket, key)
            self.assertEqual((dict(info.system), info.metadata), (system, {"user": ["own"]}))
            self.assertEqual((await self.store.list_objects(bucket)).objects, [info])
            reader = await self.store.get(bucket, key)
            await reader.close()
            self.assertEqual(reader.info, info)
            if self.persistent:
                await self.reopen()

    async def test_put(self) -> None:
        await self.put("key", b"data", metadata={"user": ["own"]}, system=self.system)
        await self.is_kept("key", self.system)

    async def test_none(self) -> None:
        """An object that replaces another has nothing of it."""
        await self.put("key", b"data", system=self.system)
        info = await self.put("key", b"data", metadata={"user": ["own"]})
        self.assertEqual(info.system, {})
        await self.is_kept("key", {})

    async def test_known_in_the_end(self) -> None:
        """Such as a checksum of the bytes."""
        order: list[str] = []

        def pieces() -> Iterator[bytes]:
            yield b"some"
            order.append("read")

        def system() -> dict[str, str]:
            order.append("asked")
            return self.system

        stream = BytesStream(pieces())
        await self.store.put("bucket", "key", stream, None, metadata={"user": ["own"]}, system=system)
        self.assertEqual(order, ["read", "asked"])
        await self.is_kept("key", self.system)

    async def test_refused_in_the_end(self) -> None:
        """Nothing is stored, and no bytes are left."""

        def system() -> dict[str, str]:
            raise PreconditionFailed("the checksum is another one")

        await self.put("key", b"before")
        putting = self.store.put("bucket", "key", BytesStream(b"data"), 4, system=system)
        await self.refused(PreconditionFailed, putting)
        self.assertEqual(await self.get("key"), b"before")
        await self.quiet()
        self.assertEqual(await self.stored_ids(), await self.named_ids())

    async def test_copy(self) -> None:
        """That of the source, or another."""
        await self.store.create_bucket("other")
        await self.put("key", b"data", metadata={"user": ["own"]}, system=self.system)
        await self.store.copy("other", "to", "bucket", "key")
        await self.is_kept("to", self.system, "other")
        await self.store.copy("other", "to", "bucket", "key", system={"expires": "never"})
        await self.is_kept("to", {"expires": "never"}, "other")
        await self.store.copy("other", "to", "bucket", "key", system={})
        await self.is_kept("to", {}, "other")

    async def test_upload(self) -> None:
        """What it was begun with, or what it is completed with."""
        for system, expected in ((None, self.system), ({"expires": "never"}, {"expires": "never"}), ({}, {})):
            upload_id, parts = await self.upload(b"one", b"two", metadata={"user": ["own"]}, system=self.system)
            if self.persistent:
                await self.reopen()
            (upload,) = await self.store.list_uploads("bucket")
            self.assertEqual((upload.system, upload.metadata), (self.system, {"user": ["own"]}))
            await self.store.complete_upload("bucket", "key", upload_id, parts, system=system)
            await self.is_kept("key", expected)

    async def test_set_system(self) -> None:
        """In place, with all else as it was."""
        info = await self.put(
            "key", b"data", metadata={"user": ["own"]}, system=self.system, content_type="a/b", md5=True
        )
        events = self.listen()
        changed = await self.store.set_system(
            "bucket", "key", {"tagging": None, "gone": None, "expires": "never", "cache-control": "public"}
        )
        expected = {"acl": self.system["acl"], "expires": "never", "cache-control": "public"}
        await self.is_kept("key", expected)
        self.assertEqual(changed, await self.store.head("bucket", "key"))
        same = ("key", "id", "size", "etag", "created", "content_type", "metadata")
        self.assertEqual([getattr(changed, name) for name in same], [getattr(info, name) for name in same])
        self.assertEqual(await self.get("key"), b"data")
        self.assertEqual(events, [ObjectChanged("bucket", "key", changed, info)])
        await self.quiet()
        self.assertEqual(await self.stored_ids(), [info.id])

    async def test_set_system_of_all(self) -> None:
        await self.put("key", b"data", metadata={"user": ["own"]}, system=self.system)
        await self.store.set_system("bucket", "key", dict.fromkeys(self.system))
        await self.is_kept("key", {})

    async def test_set_system_conditions(self) -> None:
        info = await self.put("key", b"data")
        set_system = self.store.set_system
        for condition in (ABSENT, Condition(etag="x")):
            await self.refused(PreconditionFailed, set_system("bucket", "key", {"a": "b"}, condition))
        self.assertEqual(await self.store.head("bucket", "key"), info)
        for condition in (ALWAYS, ANY, Condition(etag=info.etag)):
            await set_system("bucket", "key", {"a": "b"}, condition)
        await self.refused(NoSuchKey, set_system("bucket", "other", {"a": "b"}))
        await self.refused(NoSuchBucket, set_system("nothing", "key", {"a": "b"}))

    async def test_set_system_while_replaced(self) -> None:
        """The change is of the one before, or of the one after."""
        first = await self.put("key", b"first")
        putting, setting = self.put("key", b"second"), self.store.set_system("bucket", "key", {"a": "b"})
        changed = await setting
        second = await putting
        info = await self.store.head("bucket", "key")
        self.assertEqual((info.id, await self.get("key")), (second.id, b"second"))
        self.assertIn((changed.id, dict(info.system)), [(first.id, {}), (second.id, {"a": "b"})])

    async def test_bounds(self) -> None:
        """What is too long, or no text, is refused; the longest is kept with the longest metadata."""
        longest: dict[str, Any] = {"a": "\0" * 65535}
        metadata = {"b": ["x" * 65535]}
        for wrong in ({"ab": "x" * 65535}, {"a": "\ud800"}):
            await self.refused(InvalidName, self.store.put("bucket", "key", BytesStream(b""), 0, system=wrong))
            await self.refused(InvalidName, self.store.begin_upload("bucket", "key", system=wrong))
        info = await self.put("key", b"", metadata=metadata, system=longest)
        self.assertEqual((info.system, info.metadata), (longest, metadata))
        if self.persistent:
            await self.reopen()
        self.assertEqual(await self.store.head("bucket", "key"), info)
        upload_id, parts = await self.upload(b"one", metadata={"b": ["x" * 65535]}, system={"a": "é" * 32767})
        completed = await self.store.complete_upload("bucket", "key", upload_id, parts)
        self.assertEqual(await self.store.head("bucket", "key"), completed)
