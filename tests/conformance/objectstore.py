"""What every object store must do: mixed into a test case that makes one."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Awaitable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.internet.task import deferLater
from zope.interface.verify import verifyObject

from storehouse.core.streams import BytesStream, IByteStream, read_all
from storehouse.errors import (
    AlreadyExists,
    BucketNotEmpty,
    DamagedObject,
    InvalidName,
    InvalidPart,
    InvalidPartOrder,
    InvalidRange,
    NoKeyToMatch,
    NoSuchBucket,
    NoSuchKey,
    NoSuchUpload,
    PreconditionFailed,
    SizeMismatch,
    TooLarge,
    Unavailable,
)
from storehouse.events import ObjectChanged, ObjectDeleted, ObjectReplaced, ObjectStored
from storehouse.storage.dataspace.interfaces import Part
from storehouse.storage.objects import store
from storehouse.storage.objects.interfaces import (
    ALWAYS,
    Condition,
    IMaintained,
    IObjectStore,
    ObjectInfo,
    Usage,
)
from tests.conformance.dataspace import Tap, content, later, pieces_of, turns
from tests.conformance.namespace import ODD_KEYS

if TYPE_CHECKING:
    from twisted.trial.unittest import TestCase
else:
    TestCase = object

__all__ = ["ABSENT", "ANY", "NOTHING", "ObjectStoreTestsMixin", "PersistentObjectStoreTestsMixin", "StoreTestsMixin"]

MIB = 1 << 20

ABSENT = Condition(absent=True)
ANY = Condition(etag="*")

#: An MD5 of no bytes.
NOTHING = hashlib.md5(b"").hexdigest()

#: Pieces of many sizes, empty ones among them.
ODD_PIECES = (1, 5000, 0, 3, 70_001, 262_145, 65_536)


def md5(data: bytes) -> str:
    """In hex."""
    return hashlib.md5(data).hexdigest()


def multipart_etag(*parts: bytes) -> str:
    """As S3 makes it."""
    return f"{md5(b''.join(hashlib.md5(part).digest() for part in parts))}-{len(parts)}"


class StoreTestsMixin(TestCase):
    """
    What tests of object stores have in common.

    The test case gives C{make_store()}, perhaps a coroutine function: a started store on the storage of this test,
    that is stopped at the end of the test; called again it gives another one on the same storage, after it has stopped
    the one before. It sets C{space}, C{names} and C{events} to what the store works with.
    """

    store: Any
    space: Any
    names: Any
    events: Any
    make_store: Any
    persistent = False

    async def setUp(self) -> None:  # type: ignore[override]
        await self.reopen()
        await self.store.create_bucket("bucket")

    async def reopen(self) -> None:
        """Stop the store, and start another on what it left."""
        store = self.make_store()
        self.store = await store if isinstance(store, Awaitable) else store

    async def tearDown(self) -> None:  # type: ignore[override]
        """Whatever was done: each key has its bytes, and no bytes are left without a key."""
        try:
            await self.store.list_buckets()
        except Unavailable:
            return
        await self.quiet()
        self.assertEqual(await self.store.check(), [])

    # -- tools ---------------------------------------------------------------------------------

    async def put(self, key: str, data: bytes, bucket: str = "bucket", **options: Any) -> ObjectInfo:
        info: ObjectInfo = await self.store.put(bucket, key, BytesStream(data), len(data), **options)
        return info

    async def get(self, key: str, offset: int = 0, length: int | None = None, bucket: str = "bucket") -> bytes:
        reader = await self.store.get(bucket, key, offset, length)
        data = await read_all(reader)
        self.assertEqual((reader.offset, reader.length), (offset, len(data)))
        return data

    async def refused(self, error: type[Exception], deferred: Deferred[Any]) -> Any:
        """A method has given a Deferred, and it fails so."""
        self.assertIsInstance(deferred, Deferred)
        return await self.assertFailure(deferred, error)

    async def stored_ids(self) -> list[str]:
        """The IDs of all bytes."""
        return [id for index in await self.space.list_indexes() for id in await self.space.list_ids(index)]

    async def named_ids(self) -> list[str]:
        """The IDs that keys have."""
        found = []
        for bucket in await self.store.list_buckets():
            found += [info.id for info in await self.everything(bucket.name)]
        return sorted(found)

    async def everything(self, bucket: str = "bucket") -> list[ObjectInfo]:
        found: list[ObjectInfo] = []
        after: str | None = ""
        while after is not None:
            page = await self.store.list_objects(bucket, after=after, limit=100)
            found += page.objects
            after = page.next_after
        return found

    async def quiet(self) -> None:
        """What is to be freed was: there are the bytes that keys name, and no others."""
        for _ in range(3000):
            if await self.stored_ids() == await self.named_ids():
                return
            await deferLater(reactor, 0.01)  # type: ignore[arg-type]
        self.assertEqual(await self.stored_ids(), await self.named_ids())

    async def part(self, upload_id: str, number: int, data: bytes, key: str = "key") -> Part:
        etag = await self.store.upload_part("bucket", key, upload_id, number, BytesStream(data), len(data), True)
        self.assertEqual(etag, md5(data))
        return Part(number, etag, len(data))

    async def upload(self, *parts: bytes, key: str = "key", **options: Any) -> tuple[str, list[Part]]:
        """An upload of these parts, from 1 on."""
        upload_id = await self.store.begin_upload("bucket", key, **options)
        return upload_id, [await self.part(upload_id, number, data, key) for number, data in enumerate(parts, 1)]

    def listen(self) -> list[Any]:
        """@return: gets all events of objects."""
        heard: list[Any] = []
        for kind in (ObjectStored, ObjectReplaced, ObjectChanged, ObjectDeleted):
            self.events.subscribe(kind, heard.append)
        return heard

    async def outcome(self, deferred: Deferred[Any]) -> Any:
        """What it came to, or C{None} if it was cancelled."""
        try:
            return await deferred
        except CancelledError:
            return None


class ObjectStoreTestsMixin(StoreTestsMixin):
    """
    Clauses of L{IObjectStore}, L{ObjectReader} and L{IMaintained}.

    @cvar equal_etags: whether the same bytes have the same etag each time they are stored.
    @cvar metadata: that can be kept: any, unless the store has to say it in a protocol of others.
    @cvar content_type: that can be kept, likewise.
    @cvar tells_uploads: whether lists of uploads say what they become.
    """

    equal_etags = True
    metadata: Any = {"näme": ["välue", "", "日本\n"], "": ["x"], "empty": []}
    content_type = "text/plain; charset=ütf"
    tells_uploads = True

    # -- the interfaces ------------------------------------------------------------------------

    async def test_interfaces(self) -> None:
        verifyObject(IObjectStore, self.store)
        verifyObject(IMaintained, self.store)
        self.assertIsNone(self.store.failed)
        info = await self.put("key", b"some text")
        reader = await self.store.get("bucket", "key", 2, 3)
        verifyObject(IByteStream, reader)
        self.assertEqual((reader.info, reader.offset, reader.length), (info, 2, 3))
        await reader.close()
        await reader.close()

    async def test_stop(self) -> None:
        """After a stop everything is refused; a second stop is fine."""
        await self.put("key", b"x")
        upload_id, parts = await self.upload(b"x")
        await self.store.stop()
        store = self.store
        source = Tap()
        for deferred in (
            store.create_bucket("another"),
            store.delete_bucket("bucket"),
            store.get_bucket("bucket"),
            store.list_buckets(),
            store.put("bucket", "key", source, 1),
            store.get("bucket", "key"),
            store.head("bucket", "key"),
            store.delete("bucket", "key"),
            store.copy("bucket", "other", "bucket", "key"),
            store.list_objects("bucket"),
            store.begin_upload("bucket", "key"),
            store.upload_part("bucket", "key", upload_id, 2, source, 1),
            store.upload_part_copy("bucket", "key", upload_id, 2, "bucket", "key"),
            store.complete_upload("bucket", "key", upload_id, parts),
            store.abort_upload("bucket", "key", upload_id),
            store.list_parts("bucket", "key", upload_id),
            store.list_uploads("bucket"),
            store.usage("bucket"),
            store.check(),
            store.reindex(),
        ):
            await self.refused(Unavailable, deferred)
        await store.stop()

    # -- buckets -------------------------------------------------------------------------------

    async def test_buckets(self) -> None:
        """Made, found, listed in order, removed when they are empty."""
        made = await self.store.create_bucket("a-bucket", {"öwner": ["me", "日本"]})
        self.assertEqual((made.name, made.metadata), ("a-bucket", {"öwner": ["me", "日本"]}))
        self.assertEqual(await self.store.get_bucket("a-bucket"), made)
        self.assertEqual([bucket.name for bucket in await self.store.list_buckets()], ["a-bucket", "bucket"])
        await self.refused(AlreadyExists, self.store.create_bucket("a-bucket"))
        await self.put("key", b"x", "a-bucket")
        await self.refused(BucketNotEmpty, self.store.delete_bucket("a-bucket"))
        await self.store.delete("a-bucket", "key")
        await self.store.delete_bucket("a-bucket")
        await self.refused(NoSuchBucket, self.store.get_bucket("a-bucket"))
        await self.refused(NoSuchBucket, self.store.delete_bucket("a-bucket"))

    async def test_set_bucket_metadata(self) -> None:
        """All of it is another; the bucket's objects stay."""
        made = await self.store.create_bucket("a-bucket", {"owner": ["me"]}, "ann")
        self.assertEqual(made.owner, "ann")
        await self.put("key", b"x", "a-bucket")
        changed = await self.store.set_bucket_metadata("a-bucket", {"public": ["read"]})
        self.assertEqual((changed.created, changed.metadata), (made.created, {"public": ["read"]}))
        self.assertEqual(changed.owner, "ann")
        if self.persistent:
            await self.reopen()
        self.assertEqual(await self.store.get_bucket("a-bucket"), changed)
        self.assertEqual(await self.get("key", bucket="a-bucket"), b"x")
        await self.refused(NoSuchBucket, self.store.set_bucket_metadata("nowhere", {}))
        await self.refused(InvalidName, self.store.set_bucket_metadata("a-bucket", {"a": ["\udcff"]}))

    async def test_bucket_config(self) -> None:
        """Of a bucket with objects, too; at most 1 MiB."""
        store = self.store
        await self.put("key", b"data")
        await store.create_bucket("made", configs={"cors": b"x"})
        self.assertEqual(await store.bucket_config("made", "cors"), b"x")
        await self.refused(TooLarge, store.create_bucket("other", configs={"cors": bytes((1 << 20) + 1)}))
        await store.set_bucket_config("bucket", "cors", bytes(1 << 20))
        await self.refused(TooLarge, store.set_bucket_config("bucket", "cors", bytes((1 << 20) + 1)))
        self.assertEqual(await store.bucket_config("bucket", "cors"), bytes(1 << 20))
        await store.set_bucket_config("bucket", "cors", None)
        self.assertIsNone(await store.bucket_config("bucket", "cors"))
        await self.refused(InvalidName, store.bucket_config("bucket", "a/b"))
        await self.refused(NoSuchBucket, store.set_bucket_config("nothing", "cors", b""))

    async def test_bucket_names(self) -> None:
        for name in ("", "ab", "Bucket", "a..b", "-ab", "ab-", "a/b", "../x", "a" * 64, "1.2.3.4", "bücket", "a_b"):
            await self.refused(InvalidName, self.store.create_bucket(name))
            await self.refused(InvalidName, self.store.get_bucket(name))
            await self.refused(InvalidName, self.store.put(name, "key", BytesStream(b"x"), 1))

    async def test_no_such_bucket(self) -> None:
        """Nothing can be done in a bucket that is not there."""
        store = self.store
        for deferred in (
            store.get("nowhere", "key"),
            store.head("nowhere", "key"),
            store.delete("nowhere", "key"),
            store.copy("nowhere", "key", "bucket", "key"),
            store.copy("bucket", "key", "nowhere", "key"),
            store.list_objects("nowhere"),
            store.begin_upload("nowhere", "key"),
            store.list_uploads("nowhere"),
            store.usage("nowhere"),
        ):
            await self.refused(NoSuchBucket, deferred)
        tap = Tap()
        await self.refused(NoSuchBucket, store.put("nowhere", "key", tap, None))
        self.assertTrue(tap.refused)

    async def test_deleted_bucket_and_uploads(self) -> None:
        """The open uploads of a bucket end with it, and those of others do not."""
        await self.store.create_bucket("gone")
        ours, parts = await self.upload(b"one")
        theirs = await self.store.begin_upload("gone", "key")
        await self.store.upload_part("gone", "key", theirs, 1, BytesStream(b"x"), 1)
        await self.store.delete_bucket("gone")
        await self.refused(NoSuchUpload, self.store.list_parts("gone", "key", theirs))
        await self.store.create_bucket("gone")
        self.assertEqual(await self.store.list_uploads("gone"), [])
        self.assertEqual([upload.id for upload in await self.space.list_uploads()], [ours])
        await self.store.complete_upload("bucket", "key", ours, parts)

    async def test_bucket_deleted_while_stored(self) -> None:
        """An object whose bucket goes while it comes is not stored, and leaves nothing."""
        await self.store.create_bucket("gone")
        tap = Tap()
        putting = self.store.put("gone", "key", tap, None)
        await tap.write(b"some")
        await self.store.delete_bucket("gone")
        tap.end()
        await self.refused(NoSuchBucket, putting)

    # -- round trips ---------------------------------------------------------------------------

    async def test_put(self) -> None:
        """What is stored is reported and found."""
        info = await self.put("kéy", b"some text", content_type=self.content_type, metadata=self.metadata)
        self.assertEqual(
            (info.key, info.size, info.content_type, info.metadata), ("kéy", 9, self.content_type, self.metadata)
        )
        self.assertGreater(info.created, 1_600_000_000_000_000_000)
        self.assertEqual(await self.store.head("bucket", "kéy"), info)
        self.assertEqual(await self.get("kéy"), b"some text")
        self.assertEqual((await self.store.list_objects("bucket")).objects, [info])

    async def test_metadata_that_is_known_in_the_end(self) -> None:
        """What is found out while the bytes come can be stored with them."""
        metadata = {"a": ["b"]}

        def pieces() -> Iterator[bytes]:
            yield b"some "
            yield b"text"
            metadata["size"] = ["9"]

        info = await self.store.put("bucket", "key", BytesStream(pieces()), None, "", metadata)
        self.assertEqual(info.metadata, {"a": ["b"], "size": ["9"]})
        self.assertEqual(await self.store.head("bucket", "key"), info)

    async def test_replace(self) -> None:
        """The last one counts, with all that it says."""
        first = await self.put("key", b"some text", content_type="a/b", metadata={"a": ["b"]})
        second = await self.put("key", b"other")
        self.assertNotEqual(first.id, second.id)
        self.assertNotEqual(first.etag, second.etag)
        self.assertEqual((second.content_type, second.metadata), ("", {}))
        self.assertEqual(await self.store.head("bucket", "key"), second)
        self.assertEqual(await self.get("key"), b"other")
        await self.quiet()
        self.assertEqual(await self.stored_ids(), [second.id])

    async def test_sizes(self) -> None:
        """Known or not; and nothing is left of a body that has another one than was announced."""
        for number, size in enumerate((0, 1, 65_536, 65_537, 2 * MIB + 5)):
            for announced in (size, None):
                info = await self.store.put("bucket", f"{number}", BytesStream(content(size)), announced)
                self.assertEqual(info.size, size)
                self.assertEqual(await self.get(f"{number}"), content(size))
            for announced in {size + 1, max(0, size - 1)} - {size}:
                for hashed in (True, False):
                    source = BytesStream(content(size))
                    await self.refused(SizeMismatch, self.store.put("bucket", "key", source, announced, md5=hashed))
        await self.refused(NoSuchKey, self.store.head("bucket", "key"))

    async def test_ranges(self) -> None:
        data = content(MIB + 77)
        await self.put("key", data)
        for offset, length in ((0, 0), (0, None), (1, 1), (4095, 3), (77, MIB), (len(data), 0), (len(data), None)):
            end = len(data) if length is None else offset + length
            self.assertEqual(await self.get("key", offset, length), data[offset:end])
        for offset, length in ((-1, None), (0, -1), (len(data) + 1, None), (0, len(data) + 1), (len(data), 1)):
            error = await self.refused(InvalidRange, self.store.get("bucket", "key", offset, length))
            self.assertEqual(error.size, len(data))

    async def test_no_such_key(self) -> None:
        await self.refused(NoSuchKey, self.store.get("bucket", "key"))
        await self.refused(NoSuchKey, self.store.head("bucket", "key"))
        await self.refused(NoSuchKey, self.store.delete("bucket", "key"))
        await self.refused(NoSuchKey, self.store.copy("bucket", "other", "bucket", "key"))

    async def test_delete(self) -> None:
        info = await self.put("key", b"some text")
        self.assertEqual(await self.store.delete("bucket", "key"), info)
        await self.refused(NoSuchKey, self.store.get("bucket", "key"))
        await self.refused(NoSuchKey, self.store.delete("bucket", "key"))
        await self.quiet()
        self.assertEqual(await self.stored_ids(), [])

    async def test_usage(self) -> None:
        self.assertEqual(await self.store.usage("bucket"), Usage(0, 0))
        await self.put("a", b"12345")
        await self.put("b", b"123")
        await self.put("b", b"1")
        await self.upload(b"not counted")
        self.assertEqual(await self.store.usage("bucket"), Usage(2, 6))
        await self.store.delete("bucket", "a")
        self.assertEqual(await self.store.usage("bucket"), Usage(1, 1))

    async def test_strange_keys(self) -> None:
        """Any text is a key of its own."""
        keys = sorted({*ODD_KEYS, "a//b", "é" * 512, "key\U0001f600", "bucket/key"}, key=str.encode)
        for key in keys:
            await self.put(key, key.encode(), metadata={"key": [key]})
        for key in keys:
            self.assertEqual(await self.get(key), key.encode())
        found = await self.everything()
        self.assertEqual([info.key for info in found], keys)
        self.assertEqual([info.metadata for info in found], [{"key": [key]} for key in keys])
        self.assertEqual(await self.store.check(), [])
        for key in keys[::2]:
            await self.store.copy("bucket", "copy", "bucket", key)
            self.assertEqual(await self.get("copy"), key.encode())
            await self.store.delete("bucket", key)
        self.assertEqual({info.key for info in await self.everything()}, {*keys[1::2], "copy"})

    async def test_strange_keys_of_uploads(self) -> None:
        for key in ("..", "a//b", "/", "\0", "default.json", "x" * 1024, "😀", "bucket/key"):
            upload_id, parts = await self.upload(b"one", key=key)
            (told,) = await self.store.list_uploads("bucket")
            self.assertEqual((told.upload_id, told.key), (upload_id, key))
            await self.store.complete_upload("bucket", key, upload_id, parts)
            self.assertEqual(await self.get(key), b"one")

    async def test_invalid_keys(self) -> None:
        """None is stored, and nothing is taken."""
        for key in ("", "x" * 1025, "é" * 513, "\ud800"):
            tap = Tap()
            await self.refused(InvalidName, self.store.put("bucket", key, tap, None))
            self.assertTrue(tap.refused)
            await self.refused(InvalidName, self.store.get("bucket", key))
            await self.refused(InvalidName, self.store.delete("bucket", key))
            await self.refused(InvalidName, self.store.copy("bucket", key, "bucket", "key"))
            await self.refused(InvalidName, self.store.copy("bucket", "key", "bucket", key))
            await self.refused(InvalidName, self.store.begin_upload("bucket", key))

    # -- etags ---------------------------------------------------------------------------------

    def watch_hashes(self) -> dict[bool, int]:
        """@return: how many bytes were hashed, by whether that was in the reactor's thread."""
        hashed = {True: 0, False: 0}
        ours = threading.get_ident()

        class Watched:
            def __init__(self, *args: Any, **options: Any) -> None:
                self._hash = hashlib.md5(*args, **options)
                self.hexdigest = self._hash.hexdigest

            def update(self, data: bytes) -> None:
                hashed[threading.get_ident() == ours] += len(data)
                self._hash.update(data)

        class Library:
            md5 = Watched

        self.patch(store, "hashlib", Library)
        return hashed

    async def test_md5(self) -> None:
        """Of all sizes and pieces, at hand or not; and never much of it in the reactor's thread."""
        for size in (0, 1, 1000, 65_536, 65_537, 300_000, 3 * MIB + 17):
            data = content(size)
            for kind, pieces in (("whole", (max(size, 1),)), ("odd", ODD_PIECES), ("even", (262_144,))):
                for make in (BytesStream, later):
                    hashed = self.watch_hashes()
                    announced = size if kind == "odd" else None
                    stream = make(pieces_of(data, pieces))
                    info = await self.store.put("bucket", "key", stream, announced, md5=True)
                    self.assertEqual(info.etag, md5(data), (size, kind, make))
                    self.assertEqual(sum(hashed.values()), size)
                    self.assertLessEqual(hashed[True], 64 << 10)
            self.assertEqual(await self.get("key"), data)
            self.assertEqual((await self.store.head("bucket", "key")).etag, md5(data))

    async def test_md5_that_is_known(self) -> None:
        """It is not computed again, and asked for when all bytes have come."""
        data = content(300_000)
        came: list[int] = []

        def pieces() -> Iterator[bytes]:
            for piece in pieces_of(data, (65_536,)):
                came.append(len(piece))
                yield piece

        def known() -> str:
            self.assertEqual(sum(came), len(data))
            return md5(data)

        hashed = self.watch_hashes()
        info = await self.store.put("bucket", "key", BytesStream(pieces()), len(data), md5=known)
        self.assertEqual((info.etag, (await self.store.head("bucket", "key")).etag), (md5(data), md5(data)))
        came.clear()
        upload = await self.store.begin_upload("bucket", "parts")
        etag = await self.store.upload_part("bucket", "parts", upload, 1, BytesStream(pieces()), len(data), known)
        self.assertEqual(etag, md5(data))
        self.assertEqual((await self.store.list_parts("bucket", "parts", upload))[0].etag, md5(data))
        self.assertEqual(sum(hashed.values()), 0)

    async def test_md5_of_what_is_pushed(self) -> None:
        """What comes at its own pace."""
        data = content(2 * MIB + 1)
        tap = Tap()
        putting = self.store.put("bucket", "key", tap, len(data), md5=True)
        await tap.write(*pieces_of(data, ODD_PIECES))
        tap.end()
        self.assertEqual((await putting).etag, md5(data))
        self.assertEqual(await self.get("key"), data)

    async def test_etag_without_md5(self) -> None:
        """It is another for other bytes, and stays."""
        hashed = self.watch_hashes()
        first = await self.put("key", content(MIB))
        other = await self.put("other", content(MIB, 1))
        self.assertEqual(hashed, {True: 0, False: 0})
        self.assertTrue(first.etag)
        self.assertNotEqual(first.etag, other.etag)
        self.assertEqual((await self.store.head("bucket", "key")).etag, first.etag)
        self.assertEqual((await self.store.list_objects("bucket")).objects[0].etag, first.etag)
        self.assertEqual((await self.put("again", content(MIB))).etag == first.etag, self.equal_etags)

    # -- conditions ----------------------------------------------------------------------------

    async def test_conditions_of_put(self) -> None:
        wrong, any_other = Condition(etag="0" * 32), Condition(absent=True, etag="*")
        for condition in (ANY, wrong, any_other):
            await self.refused(NoKeyToMatch, self.store.put("bucket", "key", BytesStream(b"x"), 1, condition=condition))
        info = await self.put("key", b"1", condition=ABSENT, md5=True)
        for condition in (ABSENT, wrong, any_other):
            await self.refused(
                PreconditionFailed, self.store.put("bucket", "key", BytesStream(b"x"), 1, condition=condition)
            )
        self.assertEqual(await self.store.head("bucket", "key"), info)
        info = await self.put("key", b"2", condition=Condition(etag=info.etag))
        info = await self.put("key", b"3", condition=Condition(etag=info.etag))
        await self.put("key", b"4", condition=ANY)
        await self.put("key", b"5", condition=ALWAYS)
        self.assertEqual(await self.get("key"), b"5")

    async def test_conditions_fail_fast(self) -> None:
        """No byte is taken of what cannot be stored."""
        await self.put("key", b"1")
        for key, condition in (("key", ABSENT), ("key", Condition(etag="x")), ("other", ANY)):
            tap = Tap()
            await self.refused(PreconditionFailed, self.store.put("bucket", key, tap, None, condition=condition))
            self.assertEqual((tap.started.called, tap.refused), (False, True))

    async def test_conditions_are_looked_at_in_the_end(self) -> None:
        """What happened while the bytes came counts."""
        info = await self.put("other", b"1")
        taps = [Tap(), Tap(), Tap(), Tap()]
        puts = [
            self.store.put("bucket", key, tap, None, condition=condition)
            for key, tap, condition in zip(
                ("key", "other", "key", "third"),
                taps,
                (ABSENT, Condition(etag=info.etag), ABSENT, ABSENT),
                strict=True,
            )
        ]
        for tap in taps:
            await tap.write(b"late")
        await self.put("key", b"2")
        await self.put("other", b"3")
        for tap in taps:
            tap.end()
        for putting in puts[:3]:
            await self.refused(PreconditionFailed, putting)
        await puts[3]
        self.assertEqual([await self.get(key) for key in ("key", "other", "third")], [b"2", b"3", b"late"])

    async def test_conditions_of_delete(self) -> None:
        await self.refused(NoKeyToMatch, self.store.delete("bucket", "key", ANY))
        await self.refused(NoSuchKey, self.store.delete("bucket", "key", ABSENT))
        info = await self.put("key", b"1")
        await self.refused(PreconditionFailed, self.store.delete("bucket", "key", ABSENT))
        await self.refused(PreconditionFailed, self.store.delete("bucket", "key", Condition(etag="x")))
        self.assertEqual(await self.get("key"), b"1")
        await self.store.delete("bucket", "key", Condition(etag=info.etag))
        await self.put("key", b"1")
        await self.store.delete("bucket", "key", ANY)

    async def test_conditions_of_copy(self) -> None:
        """Of the source, and of the target."""
        store = self.store
        info = await self.put("from", b"1")
        fine, wrong = Condition(etag=info.etag), Condition(etag="x")
        for source, target, error in (
            (wrong, ALWAYS, PreconditionFailed),
            (ABSENT, ALWAYS, PreconditionFailed),
            (fine, ANY, NoKeyToMatch),
            (fine, wrong, NoKeyToMatch),
        ):
            copying = store.copy("bucket", "to", "bucket", "from", condition=target, source_condition=source)
            await self.refused(error, copying)
        await self.refused(NoSuchKey, store.head("bucket", "to"))
        copied = await store.copy("bucket", "to", "bucket", "from", condition=ABSENT, source_condition=fine)
        self.assertEqual(await self.get("to"), b"1")
        await self.refused(PreconditionFailed, store.copy("bucket", "to", "bucket", "from", condition=ABSENT))
        await store.copy("bucket", "to", "bucket", "from", condition=Condition(etag=copied.etag), source_condition=ANY)
        await self.refused(NoSuchKey, store.copy("bucket", "to", "bucket", "nothing", source_condition=ANY))

    async def test_conditions_of_complete(self) -> None:
        """One that does not hold leaves the upload as it was."""
        upload_id, parts = await self.upload(b"one", b"two")
        complete = self.store.complete_upload
        await self.refused(NoKeyToMatch, complete("bucket", "key", upload_id, parts, ANY))
        info = await self.put("key", b"x")
        await self.refused(PreconditionFailed, complete("bucket", "key", upload_id, parts, ABSENT))
        await self.refused(PreconditionFailed, complete("bucket", "key", upload_id, parts, Condition(etag="x")))
        self.assertEqual(await self.get("key"), b"x")
        self.assertEqual(await self.store.list_parts("bucket", "key", upload_id), parts)
        parts[1] = await self.part(upload_id, 2, b"three")
        await complete("bucket", "key", upload_id, parts, Condition(etag=info.etag))
        self.assertEqual(await self.get("key"), b"onethree")

    # -- copies --------------------------------------------------------------------------------

    async def test_copy(self) -> None:
        """With what it says of itself, or with something else."""
        await self.store.create_bucket("other")
        data = content(MIB + 3)
        info = await self.put("from", data, content_type="a/b", metadata={"a": ["b"]}, md5=True)
        same = await self.store.copy("other", "to", "bucket", "from")
        self.assertEqual(
            (same.etag, same.size, same.content_type, same.metadata), (md5(data), len(data), "a/b", {"a": ["b"]})
        )
        self.assertNotEqual(same.id, info.id)
        new = await self.store.copy("other", "to", "bucket", "from", "", {})
        self.assertEqual((new.etag, new.content_type, new.metadata), (md5(data), "", {}))
        self.assertEqual(await self.store.head("other", "to"), new)
        await self.store.delete("bucket", "from")
        await self.quiet()
        self.assertEqual(await self.get("to", bucket="other"), data)

    async def test_copy_onto_itself(self) -> None:
        """That is how metadata are changed."""
        info = await self.put("key", b"some text", content_type="a/b", metadata={"a": ["b"]}, md5=True)
        copied = await self.store.copy(
            "bucket", "key", "bucket", "key", metadata={"c": ["d"]}, condition=Condition(etag=info.etag)
        )
        self.assertEqual((copied.etag, copied.content_type, copied.metadata), (info.etag, "a/b", {"c": ["d"]}))
        self.assertEqual(await self.get("key"), b"some text")
        await self.quiet()
        self.assertEqual(await self.stored_ids(), [copied.id])

    # -- listings ------------------------------------------------------------------------------

    async def test_list(self) -> None:
        """Pages, prefixes, delimiters. The namespace's own tests have more."""
        for key in ("a", "a/b", "a/c", "b", "b/x/y", "c", "é"):
            await self.put(key, key.encode())

        async def listed(*args: Any, **options: Any) -> tuple[list[str], list[str], str | None]:
            page = await self.store.list_objects("bucket", *args, **options)
            return [info.key for info in page.objects], list(page.prefixes), page.next_after

        self.assertEqual(await listed(), (["a", "a/b", "a/c", "b", "b/x/y", "c", "é"], [], None))
        self.assertEqual(await listed("a/"), (["a/b", "a/c"], [], None))
        self.assertEqual(await listed("", "/"), (["a", "b", "c", "é"], ["a/", "b/"], None))
        self.assertEqual(await listed("", "/", "", 2), (["a"], ["a/"], "a/"))
        self.assertEqual(await listed("", "/", "a/", 2), (["b"], ["b/"], "b/"))
        self.assertEqual(await listed("", "/", "b/", 2), (["c", "é"], [], None))
        self.assertEqual(await listed(after="b", limit=1), (["b/x/y"], [], "b/x/y"))
        self.assertEqual(await listed(limit=0), ([], [], None))
        self.assertEqual(await self.store.list_keys("bucket", "a/"), ["a/b", "a/c"])
        self.assertEqual(await self.store.list_keys("bucket", "", "b", 2), ["b/x/y", "c"])

    # -- uploads -------------------------------------------------------------------------------

    async def test_upload(self) -> None:
        """As S3 has it."""
        pieces = (content(MIB), content(5), content(70_000))
        upload_id, parts = await self.upload(*pieces, content_type="a/b", metadata=self.metadata)
        self.assertEqual(await self.store.list_parts("bucket", "key", upload_id), parts)
        (told,) = await self.store.list_uploads("bucket")
        becomes = ("a/b", self.metadata) if self.tells_uploads else ("", {})
        self.assertEqual(
            (told.upload_id, told.bucket, told.key, told.content_type, told.metadata),
            (upload_id, "bucket", "key", *becomes),
        )
        self.assertGreater(told.created, 1_600_000_000)
        await self.refused(NoSuchKey, self.store.head("bucket", "key"))
        info = await self.store.complete_upload("bucket", "key", upload_id, parts)
        self.assertEqual(
            (info.key, info.size, info.etag, info.content_type, info.metadata),
            ("key", sum(map(len, pieces)), multipart_etag(*pieces), "a/b", self.metadata),
        )
        self.assertEqual(await self.store.head("bucket", "key"), info)
        self.assertEqual(await self.get("key"), b"".join(pieces))
        self.assertEqual(await self.get("key", MIB - 1, 8), b"".join(pieces)[MIB - 1 : MIB + 7])
        self.assertEqual(await self.store.list_uploads("bucket"), [])

    async def test_completed_twice(self) -> None:
        upload_id, parts = await self.upload(b"one")
        info = await self.store.complete_upload("bucket", "key", upload_id, parts)
        self.assertEqual(await self.store.complete_upload("bucket", "key", upload_id, parts), info)

    async def test_upload_with_some_parts(self) -> None:
        """Parts in any order, replaced; those that are not named are dropped."""
        upload_id = await self.store.begin_upload("bucket", "key")
        parts = {}
        for number, data in ((10_000, b"last"), (3, b"three"), (1, b"one"), (3, b"drei"), (7, b"seven")):
            parts[number] = await self.part(upload_id, number, data)
        self.assertEqual(
            await self.store.list_parts("bucket", "key", upload_id), [parts[number] for number in (1, 3, 7, 10_000)]
        )
        chosen = [Part(number, parts[number].etag, 0) for number in (1, 3, 10_000)]
        info = await self.store.complete_upload("bucket", "key", upload_id, chosen)
        self.assertEqual(info.etag, multipart_etag(b"one", b"drei", b"last"))
        self.assertEqual((await self.get("key"), info.size), (b"onedreilast", 11))

    async def test_upload_without_md5(self) -> None:
        """Then the etags are others, and work as well."""
        upload_id = await self.store.begin_upload("bucket", "key")
        parts = []
        for number in (1, 2):
            etag = await self.store.upload_part("bucket", "key", upload_id, number, BytesStream(b"x"), None)
            parts.append(Part(number, etag, 1))
        self.assertEqual(await self.store.list_parts("bucket", "key", upload_id), parts)
        info = await self.store.complete_upload("bucket", "key", upload_id, parts)
        self.assertRegex(info.etag, "^[0-9a-f]{32}-2$")

    async def test_completions_refused(self) -> None:
        """What is wrong with the parts is said, and the upload goes on."""
        upload_id, parts = await self.upload(b"one", b"two")
        complete = self.store.complete_upload
        one, two = parts
        for wrong in (
            [],
            [Part(1, two.etag, 3)],
            [Part(1, "", 3)],
            [Part(1, "x" * 5000, 3)],
            [one, Part(3, two.etag, 3)],
            [Part(0, one.etag, 3)],
        ):
            await self.refused(InvalidPart, complete("bucket", "key", upload_id, wrong))
        for wrong in ([two, one], [one, one]):
            await self.refused(InvalidPartOrder, complete("bucket", "key", upload_id, wrong))
        await self.part(upload_id, 2, b"zwei")
        await self.refused(InvalidPart, complete("bucket", "key", upload_id, parts))
        await self.refused(NoSuchKey, self.store.head("bucket", "key"))
        await complete("bucket", "key", upload_id, [one])
        self.assertEqual(await self.get("key"), b"one")

    async def test_part_numbers(self) -> None:
        upload_id = await self.store.begin_upload("bucket", "key")
        await self.put("from", b"x")
        for number in (0, -1, 1 << 31):
            await self.refused(
                InvalidPart, self.store.upload_part("bucket", "key", upload_id, number, BytesStream(b"x"), 1)
            )
            await self.refused(
                InvalidPart, self.store.upload_part_copy("bucket", "key", upload_id, number, "bucket", "from")
            )
        self.assertEqual(await self.store.list_parts("bucket", "key", upload_id), [])

    async def test_part_notes(self) -> None:
        """What is noted of a part is listed with it, and changes nothing about its etag."""
        upload_id = await self.store.begin_upload("bucket", "key")
        etags = [
            await self.store.upload_part("bucket", "key", upload_id, number, BytesStream(b"x"), 1, md5, note)
            for number, (md5, note) in enumerate(((True, None), (True, lambda: "a note"), (False, lambda: "c=d e")), 1)
        ]
        self.assertEqual(etags[:2], [md5(b"x"), md5(b"x")])
        listed = await self.store.list_parts("bucket", "key", upload_id)
        self.assertEqual([part.etag for part in listed], etags)
        self.assertEqual([part.note for part in listed], ["", "a note", "c=d e"])
        info = await self.store.complete_upload("bucket", "key", upload_id, listed[:2])
        self.assertEqual(info.etag, multipart_etag(b"x", b"x"))

    async def test_part_link(self) -> None:
        """Parts of uploads of other keys become parts, with what is known of them; those uploads stay."""
        upload_id, parts = await self.upload(b"one", b"two")
        other_id = await self.store.begin_upload("bucket", "other", "text/plain")
        etags = await self.store.upload_part_link("bucket", "other", other_id, 1, upload_id, [2, 1, 2])
        self.assertEqual(etags, [md5(b"two"), md5(b"one"), md5(b"two")])
        listed = await self.store.list_parts("bucket", "other", other_id)
        info = await self.store.complete_upload("bucket", "other", other_id, listed)
        self.assertEqual((info.etag, info.size), (multipart_etag(b"two", b"one", b"two"), 9))
        self.assertEqual(await self.get("other"), b"twoonetwo")
        await self.store.complete_upload("bucket", "key", upload_id, parts)
        self.assertEqual(await self.get("key"), b"onetwo")

    async def test_part_link_refused(self) -> None:
        await self.store.create_bucket("second")
        far_id = await self.store.begin_upload("second", "key")
        await self.store.upload_part("second", "key", far_id, 1, BytesStream(b"far"), 3)
        upload_id, parts = await self.upload(b"one")
        for source_id, numbers, error in (
            (far_id, [1], NoSuchUpload),
            ("abcd", [1], NoSuchUpload),
            ("../cd", [1], NoSuchUpload),
            (upload_id, [2], InvalidPart),
            (upload_id, [], InvalidPart),
        ):
            linking = self.store.upload_part_link("bucket", "key", upload_id, 2, source_id, numbers)
            await self.assertFailure(linking, error)
        await self.assertFailure(
            self.store.upload_part_link("bucket", "key", upload_id, 1, upload_id, [1]), InvalidPart
        )
        await self.assertFailure(
            self.store.upload_part_link("bucket", "another", upload_id, 2, upload_id, [1]), NoSuchUpload
        )
        self.assertEqual(await self.store.list_parts("bucket", "key", upload_id), parts)

    async def test_parts_joined(self) -> None:
        """A part is read, and stored in place of others, with a number that no S3 has."""
        upload_id, parts = await self.upload(b"one", b"two", b"three")
        reader = await self.store.get_part("bucket", "key", upload_id, 2)
        self.assertEqual(await read_all(reader), b"two")
        for number, key in ((4, "key"), (1, "other")):
            error = InvalidPart if key == "key" else NoSuchUpload
            await self.assertFailure(self.store.get_part("bucket", key, upload_id, number), error)
        joined = BytesStream(b"twothree")
        etag = await self.store.upload_part("bucket", "key", upload_id, 10_001, joined, 8, instead_of=[2, 3])
        listed = [parts[0], Part(10_001, etag, 8)]
        self.assertEqual(await self.store.list_parts("bucket", "key", upload_id), listed)
        await self.store.complete_upload("bucket", "key", upload_id, listed)
        self.assertEqual(await self.get("key"), b"onetwothree")

    async def test_completed_as(self) -> None:
        """An upload becomes the object of another key, with other metadata; the condition is for that key."""
        upload_id, parts = await self.upload(b"one")
        await self.put("taken", b"there")
        refused = self.store.complete_upload("bucket", "key", upload_id, parts, ABSENT, "taken")
        await self.assertFailure(refused, PreconditionFailed)
        info = await self.store.complete_upload("bucket", "key", upload_id, parts, ABSENT, "free", {"a": ["b"]})
        self.assertEqual((info.key, info.metadata), ("free", {"a": ["b"]}))
        self.assertEqual((await self.store.head("bucket", "free")).metadata, {"a": ["b"]})
        self.assertEqual([await self.get("free"), await self.get("taken")], [b"one", b"there"])
        await self.assertFailure(self.store.head("bucket", "key"), NoSuchKey)

    async def test_no_such_upload(self) -> None:
        """An upload is one of its bucket and key; anything may be asked for."""
        await self.store.create_bucket("other")
        await self.put("from", b"x")
        upload_id, parts = await self.upload(b"one")
        store = self.store
        places = [("bucket", "other", upload_id), ("other", "key", upload_id)]
        strange = ("0" * 32, "", "x", "A" * 32, "../..", "é", "0" * 2000, "\0", "\udc80", f"{upload_id}0")
        places += [("bucket", "key", id) for id in strange]
        for place in places:
            for deferred in (
                store.upload_part(*place, 1, BytesStream(b"x"), 1),
                store.upload_part_copy(*place, 1, "bucket", "from"),
                store.complete_upload(*place, parts),
                store.abort_upload(*place),
                store.list_parts(*place),
            ):
                await self.refused(NoSuchUpload, deferred)
        self.assertEqual(await store.list_parts("bucket", "key", upload_id), parts)

    async def test_abort(self) -> None:
        upload_id, _ = await self.upload(b"one")
        await self.store.abort_upload("bucket", "key", upload_id)
        await self.refused(NoSuchUpload, self.store.abort_upload("bucket", "key", upload_id))
        await self.refused(NoSuchUpload, self.store.list_parts("bucket", "key", upload_id))
        self.assertEqual(await self.space.list_uploads(), [])

    async def test_list_uploads(self) -> None:
        """In the order of their keys, those of one bucket."""
        await self.store.create_bucket("other")
        await self.store.begin_upload("other", "key")
        expected = [(await self.store.begin_upload("bucket", key), key) for key in ("é", "b", "a", "b", "\U0001f600")]
        found = await self.store.list_uploads("bucket")
        self.assertEqual([upload.key for upload in found], ["a", "b", "b", "é", "\U0001f600"])
        self.assertEqual({(upload.upload_id, upload.key) for upload in found}, set(expected))

    async def test_foreign_uploads(self) -> None:
        """Uploads of others are neither listed nor used."""
        await self.space.init_upload("aa", {})
        await self.space.init_upload("bb", {"key": ["bucket/key"], "contentType": [""], "metadata": ["{"]})
        self.assertEqual(await self.store.list_uploads("bucket"), [])
        for upload_id in ("aa", "bb"):
            await self.refused(NoSuchUpload, self.store.abort_upload("bucket", "key", upload_id))

    async def test_part_copy(self) -> None:
        """Ranges of objects as parts; a whole one has the MD5 that it had."""
        data = content(300_000)
        info = await self.put("from", data, md5=True)
        many, parts = await self.upload(b"one", b"two", key="many")
        await self.store.complete_upload("bucket", "many", many, parts)
        upload_id = await self.store.begin_upload("bucket", "key")
        copy = self.store.upload_part_copy
        etags = [
            await copy("bucket", "key", upload_id, 1, "bucket", "from"),
            await copy("bucket", "key", upload_id, 2, "bucket", "from", 100, 70_000),
            await copy("bucket", "key", upload_id, 3, "bucket", "from", 299_999),
            await copy("bucket", "key", upload_id, 4, "bucket", "many"),
            await copy("bucket", "key", upload_id, 5, "bucket", "from", 0, 300_000, Condition(etag=info.etag)),
        ]
        self.assertEqual((etags[0], etags[4]), (md5(data), md5(data)))
        parts = await self.store.list_parts("bucket", "key", upload_id)
        self.assertEqual([(part.number, part.etag) for part in parts], list(enumerate(etags, 1)))
        self.assertEqual([part.size for part in parts], [300_000, 70_000, 1, 6, 300_000])
        completed = await self.store.complete_upload("bucket", "key", upload_id, parts)
        self.assertRegex(completed.etag, "^[0-9a-f]{32}-5$")
        self.assertEqual(await self.get("key"), data + data[100:70_100] + data[299_999:] + b"onetwo" + data)

    async def test_part_copies_refused(self) -> None:
        await self.put("from", b"12345")
        upload_id = await self.store.begin_upload("bucket", "key")
        copy = self.store.upload_part_copy
        await self.refused(NoSuchKey, copy("bucket", "key", upload_id, 1, "bucket", "nothing"))
        await self.refused(NoSuchBucket, copy("bucket", "key", upload_id, 1, "nowhere", "from"))
        await self.refused(InvalidRange, copy("bucket", "key", upload_id, 1, "bucket", "from", 3, 3))
        for condition in (ABSENT, Condition(etag="x")):
            await self.refused(
                PreconditionFailed, copy("bucket", "key", upload_id, 1, "bucket", "from", source_condition=condition)
            )
        self.assertEqual(await self.store.list_parts("bucket", "key", upload_id), [])

    async def test_failing_parts(self) -> None:
        """A part that does not come leaves the one that is there."""
        upload_id, parts = await self.upload(b"one")
        place = ("bucket", "key", upload_id, 1)
        await self.refused(SizeMismatch, self.store.upload_part(*place, BytesStream(b"x"), 2, True))
        for hashed in (True, False):
            tap = Tap()
            uploading = self.store.upload_part(*place, tap, None, hashed)
            await tap.write(content(300_000))
            tap.end(KeyError("gone"))
            await self.refused(KeyError, uploading)
            tap = Tap()
            uploading = self.store.upload_part(*place, tap, None, hashed)
            await tap.write(content(300_000))
            # Not within the call that asked for the bytes.
            await turns()
            uploading.cancel()
            await self.refused(CancelledError, uploading)
            self.assertTrue(tap.refused)
        await self.store.complete_upload("bucket", "key", upload_id, parts)
        self.assertEqual(await self.get("key"), b"one")

    # -- readers -------------------------------------------------------------------------------

    async def test_replaced_while_read(self) -> None:
        """A reader gets the bytes that it came for, and nobody keeps them afterwards."""
        data = [content(MIB + 11, seed) for seed in range(4)]
        infos = [await self.put("key", data[0])]
        readers = [await self.store.get("bucket", "key")]
        first = bytes(await readers[0].read())
        infos.append(await self.put("key", data[1]))
        readers.append(await self.store.get("bucket", "key"))
        upload_id, parts = await self.upload(data[2])
        infos.append(await self.store.complete_upload("bucket", "key", upload_id, parts))
        readers.append(await self.store.get("bucket", "key", 5, MIB))
        infos.append(await self.store.copy("bucket", "key", "bucket", "key"))
        readers.append(await self.store.get("bucket", "key"))
        await self.store.delete("bucket", "key")
        await self.refused(NoSuchKey, self.store.head("bucket", "key"))
        self.assertEqual([reader.info for reader in readers], infos)
        self.assertEqual(first + await read_all(readers[0]), data[0])
        self.assertEqual(await read_all(readers[1]), data[1])
        self.assertEqual(await read_all(readers[2]), data[2][5 : MIB + 5])
        await readers[3].close()
        await self.quiet()
        self.assertEqual(await self.stored_ids(), [])

    async def test_get_racing_with_replace(self) -> None:
        """A reader of a key that always has an object gets one wholly, and it is what it says."""
        await self.put("key", b"0" * 1000, md5=True)
        done = False

        async def replace(first: int) -> None:
            for number in range(first, first + 40):
                if number % 4 == 3:
                    await self.store.copy("bucket", "key", "bucket", "key", metadata={"a": [str(number)]})
                elif number % 4 == 2:
                    upload_id, parts = await self.upload(b"%d" % (number % 10) * 500, b"%d" % (number % 10) * 500)
                    await self.store.complete_upload("bucket", "key", upload_id, parts)
                else:
                    await self.put("key", b"%d" % (number % 10) * 1000, md5=True)

        async def read() -> int:
            count = 0
            while not done:
                reader = await self.store.get("bucket", "key")
                data = await read_all(reader)
                self.assertEqual((len(data), len(set(data))), (1000, 1))
                if "-" not in reader.info.etag:
                    self.assertEqual(reader.info.etag, md5(data))
                await self.store.head("bucket", "key")
                await turns()
                count += 1
            return count

        reading = [Deferred.fromCoroutine(read()) for _ in range(8)]
        try:
            await gatherResults([Deferred.fromCoroutine(replace(start)) for start in (100, 200, 301)])
        finally:
            done = True
        done = True
        for count in await gatherResults(reading):
            self.assertGreater(count, 0)

    async def test_bytes_lost(self) -> None:
        """A key whose bytes are gone is damaged, not absent; and it can be replaced."""
        info = await self.put("key", b"x")
        await self.space.delete(info.id)
        error = await self.refused(DamagedObject, self.store.get("bucket", "key"))
        self.assertIn("bucket/key", error.detail)
        await self.refused(DamagedObject, self.store.copy("bucket", "other", "bucket", "key"))
        self.assertEqual([problem.kind for problem in await self.store.check()], ["missing"])
        await self.put("key", b"y")
        self.assertEqual(await self.get("key"), b"y")
        self.flushLoggedErrors()

    # -- failures ------------------------------------------------------------------------------

    async def test_failing_source(self) -> None:
        """It fails with what the source failed with; the key keeps what it has."""
        info = await self.put("key", b"x")
        for hashed in (True, False):
            for size in (0, 10, 400_000):
                tap = Tap()
                putting = self.store.put("bucket", "key", tap, None, md5=hashed)
                await tap.write(content(size))
                tap.end(KeyError("gone"))
                await self.refused(KeyError, putting)
        self.assertEqual(await self.store.head("bucket", "key"), info)
        self.assertEqual(await self.stored_ids(), [info.id])

    async def test_cancelled_put(self) -> None:
        """At every turn: it is stored wholly, or not at all."""
        done = 0
        for hashed in (True, False):
            for turn in range(14):
                tap = Tap()
                putting = self.store.put("bucket", f"{hashed}{turn}", tap, None, md5=hashed)
                if turn:
                    await tap.write(content(300_000))
                if turn > 3:
                    tap.end()
                    await turns(turn - 4)
                putting.cancel()
                info = await self.outcome(putting)
                if turn <= 3:
                    self.assertIsNone(info)
                    self.assertTrue(tap.refused or not tap.started.called)
                    tap.end()
                await self.settled(f"{hashed}{turn}", info, content(300_000))
                done += info is not None
        await self.quiet()

    async def settled(self, key: str, info: ObjectInfo | None, data: bytes) -> None:
        """A key has what the events reported of it."""
        if info is None:
            await self.refused(NoSuchKey, self.store.head("bucket", key))
        else:
            self.assertEqual(await self.store.head("bucket", key), info)
            self.assertEqual(await self.get(key), data)

    async def test_cancelled_waiting_for_the_key(self) -> None:
        """A put and a copy that are cancelled when all is there but the key leave nothing."""
        await self.put("from", b"x")
        held = self.store._pair.held("bucket", "key")
        await held.__aenter__()
        waiting = [
            self.store.put("bucket", "key", BytesStream(b"y"), 1),
            self.store.copy("bucket", "key", "bucket", "from"),
            self.store.delete("bucket", "key"),
        ]
        await deferLater(reactor, 0.05)  # type: ignore[arg-type]
        for each in waiting:
            each.cancel()
        await held.__aexit__()
        for each in waiting:
            await self.outcome(each)
        await self.store.delete("bucket", "from")
        for each in await self.everything():
            await self.store.delete("bucket", each.key)
        await self.quiet()

    async def test_cancelled_copy_and_complete(self) -> None:
        """At every turn."""
        data = content(300_000)
        await self.put("from", data)
        for turn in range(12):
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
            if info is None:
                # The upload goes on.
                await self.store.complete_upload("bucket", f"complete{turn}", upload_id, parts)
            deleting = self.store.delete("bucket", f"complete{turn}")
            await turns(turn)
            deleting.cancel()
            if await self.outcome(deleting) is None:
                await self.store.delete("bucket", f"complete{turn}")
        self.assertEqual(await self.space.list_uploads(), [])
        await self.quiet()

    # -- events --------------------------------------------------------------------------------

    async def test_events(self) -> None:
        """One for each change, and none for what fails."""
        heard = self.listen()
        first = await self.put("key", b"1")
        second = await self.put("key", b"2")
        copied = await self.store.copy("bucket", "copy", "bucket", "key")
        upload_id, parts = await self.upload(b"3")
        await self.refused(PreconditionFailed, self.store.delete("bucket", "key", ABSENT))
        await self.refused(NoSuchKey, self.store.delete("bucket", "other"))
        await self.refused(SizeMismatch, self.store.put("bucket", "key", BytesStream(b"x"), 2))
        await self.refused(PreconditionFailed, self.store.complete_upload("bucket", "key", upload_id, parts, ABSENT))
        completed = await self.store.complete_upload("bucket", "key", upload_id, parts)
        await self.store.delete("bucket", "key")
        self.assertEqual(
            heard,
            [
                ObjectStored("bucket", "key", first),
                ObjectReplaced("bucket", "key", second, first),
                ObjectStored("bucket", "copy", copied),
                ObjectReplaced("bucket", "key", completed, second),
                ObjectDeleted("bucket", "key", completed),
            ],
        )

    async def test_events_in_order(self) -> None:
        """For one key each says what the one before left."""
        heard = self.listen()
        changes = []
        for number in range(60):
            changes.append(self.store.put("bucket", "key", BytesStream(b"%d" % number), None))
            if number % 3 == 0:
                changes.append(self.store.delete("bucket", "key").addErrback(lambda failure: failure.trap(NoSuchKey)))
        await gatherResults(changes)
        there = None
        for event in heard:
            self.assertEqual(getattr(event, "before", None), there)
            there = getattr(event, "info", None)
        now = {info.key: info for info in await self.everything()}
        self.assertEqual(now.get("key"), there)
        self.assertEqual(sum(not isinstance(event, ObjectDeleted) for event in heard), 60)

    async def test_event_tells_what_is_true(self) -> None:
        """A subscriber finds it so, and hears of it before the caller."""
        seen: list[Any] = []
        looks: list[Deferred[Any]] = []

        def look(event: Any) -> None:
            seen.append(event)
            looks.append(self.names.look_up("bucket", "key"))

        for kind in (ObjectStored, ObjectReplaced, ObjectDeleted):
            self.events.subscribe(kind, look)
        for number, data in enumerate((b"1", b"2"), 1):
            info = await self.put("key", data)
            self.assertEqual(len(seen), number)
            self.assertEqual((await looks.pop()).id, info.id)
        await self.store.delete("bucket", "key")
        self.assertEqual(len(seen), 3)
        await self.refused(NoSuchKey, looks.pop())

    async def test_failing_listener(self) -> None:
        """It is logged, and disturbs nobody."""

        def fail(event: Any) -> None:
            raise ZeroDivisionError

        for kind in (ObjectStored, ObjectReplaced, ObjectDeleted):
            self.events.subscribe(kind, fail)
        heard = self.listen()
        await self.put("key", b"1")
        await self.put("key", b"2")
        await self.store.delete("bucket", "key")
        self.assertEqual(len(heard), 3)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 3)

    async def test_listener_that_changes_keys(self) -> None:
        """It may do so, also with the key of its event."""
        more: list[Deferred[Any]] = []

        def replace(event: ObjectStored) -> None:
            more.append(self.store.put("bucket", "key", BytesStream(b"2"), 1))

        self.events.subscribe(ObjectStored, replace)
        await self.put("key", b"1")
        await more[0]
        self.assertEqual(await self.get("key"), b"2")

    # -- maintenance ---------------------------------------------------------------------------

    async def test_check(self) -> None:
        """Nothing is wrong with what was stored; open uploads and puts in mid-air are none of its business."""
        for number in range(130):
            await self.put(f"key{number}", b"x" * number)
        await self.upload(b"one", key="other")
        tap = Tap()
        putting = self.store.put("bucket", "new", tap, None)
        await tap.write(content(300_000))
        counts: list[int] = []
        self.assertEqual(await self.store.check(counts.append, True), [])
        self.assertEqual(counts, sorted(counts))
        self.assertGreaterEqual(max(counts), 200)
        tap.end()
        await putting
        self.assertEqual(await self.get("new"), content(300_000))

    async def test_check_while_things_change(self) -> None:
        """What comes and goes meanwhile is no problem, and is not touched."""
        done = False
        keys = [f"key{number}" for number in range(4)]

        async def change(key: str) -> None:
            number = 0
            while not done:
                number += 1
                await self.put(key, b"%d" % number)
                if number % 5 == 0:
                    await self.store.delete("bucket", key)
                await turns()
                if number % 7 == 0:
                    upload_id, parts = await self.upload(b"one", key=key)
                    await self.store.complete_upload("bucket", key, upload_id, parts)
            await self.put(key, b"last")

        changing = [Deferred.fromCoroutine(change(key)) for key in keys]
        for repair in (False, True, False, True):
            problems = await self.store.check(None, repair)
            # What an index says of itself while it changes is for the namespace's own tests.
            self.assertEqual([problem for problem in problems if problem.kind != "index"], [])
        done = True
        await gatherResults(changing)
        for key in keys:
            self.assertEqual(await self.get(key), b"last")

    async def test_reindex(self) -> None:
        for number in range(5):
            await self.put(f"key{number}", b"x")
        before = await self.everything()
        self.assertEqual((await self.store.reindex()).keys, 5)
        self.assertEqual(await self.everything(), before)


class PersistentObjectStoreTestsMixin(StoreTestsMixin):
    """Everything is there after a stop and another start."""

    persistent = True

    async def test_reopened(self) -> None:
        await self.store.create_bucket("other", {"a": ["b"]})
        data = content(MIB)
        await self.put("key", data, md5=True, content_type="a/b", metadata={"näme": ["välue"]})
        await self.put("plain", data)
        await self.put("empty", b"", md5=True)
        await self.put("😀/\0", b"x")
        await self.put("gone", b"x")
        await self.put("gone", b"y")
        await self.store.delete("bucket", "gone")
        await self.store.copy("other", "copy", "bucket", "key", metadata={})
        upload_id, parts = await self.upload(b"one", b"two", key="parts")
        await self.store.complete_upload("bucket", "parts", upload_id, parts)
        upload_id, parts = await self.upload(b"one", b"two", key="going", content_type="c/d", metadata={"é": ["è"]})
        uploads = await self.store.list_uploads("bucket")
        buckets = await self.store.list_buckets()
        before = [await self.everything(bucket.name) for bucket in buckets]
        for _ in range(2):
            await self.reopen()
            self.assertEqual(await self.store.list_buckets(), buckets)
            self.assertEqual([await self.everything(bucket.name) for bucket in buckets], before)
            self.assertEqual(await self.get("key"), data)
            self.assertEqual(await self.get("parts"), b"onetwo")
            self.assertEqual(await self.get("copy", bucket="other"), data)
            self.assertEqual(
                await self.store.usage("bucket"), Usage(len(before[0]), sum(each.size for each in before[0]))
            )
            self.assertEqual(await self.store.list_uploads("bucket"), uploads)
            self.assertEqual(await self.store.list_parts("bucket", "going", upload_id), parts)
            self.assertEqual(await self.store.check(), [])
        await self.put("plain", b"new", condition=Condition(etag=before[0][-2].etag))
        info = await self.store.complete_upload("bucket", "going", upload_id, parts)
        self.assertEqual((info.etag, info.content_type), (multipart_etag(b"one", b"two"), "c/d"))
        await self.reopen()
        self.assertEqual(await self.store.head("bucket", "going"), info)
        self.assertEqual(await self.get("plain"), b"new")

    async def test_reopened_after_many_changes(self) -> None:
        """Keys, in all orders, replaced and deleted."""
        keys: Sequence[str] = [f"key{number}" for number in range(20)]
        model: dict[str, bytes] = {}

        async def change(turn: int, keys: Iterable[str]) -> None:
            for key in keys:
                if (turn + len(key) + int(key[3:])) % 4 == 0 and key in model:
                    await self.store.delete("bucket", key)
                    del model[key]
                else:
                    model[key] = b"%d" % turn * 100
                    await self.put(key, model[key])

        for turn in range(6):
            await gatherResults([Deferred.fromCoroutine(change(turn, keys[start::4])) for start in range(4)])
            await self.reopen()
            self.assertEqual({info.key: await self.get(info.key) for info in await self.everything()}, model)
            self.assertEqual(await self.stored_ids(), await self.named_ids())
