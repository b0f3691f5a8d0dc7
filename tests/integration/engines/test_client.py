"""The client of S3 on another server than ours: radosgw."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from storehouse.clients.s3 import S3ObjectStore, Signer
from storehouse.core.streams import BytesStream, Piece, read_all
from storehouse.errors import (
    BucketNotEmpty,
    InvalidPart,
    InvalidRange,
    NoSuchBucket,
    NoSuchKey,
    NoSuchUpload,
    NotSupported,
    RemoteRefused,
    SizeMismatch,
)
from storehouse.storage.dataspace.interfaces import Part
from tests.conformance.dataspace import content, pieces_of
from tests.conformance.namespace import ODD_KEYS
from tests.conformance.objectstore import MIB, md5, multipart_etag
from tests.integration.engines.processes import running
from tests.integration.engines.radosgw import RadosGateway

#: What it does not encode in common prefixes.
_control = re.compile(r"[\x00-\x1f\x7f-\x9f\ufffe\uffff]").search


class ClientTests(TestCase):
    """What it can, and a store should."""

    def setUp(self) -> Any:
        self.engine = running(RadosGateway)
        self.store = self.make()
        return Deferred.fromCoroutine(self.empty())

    def make(self, secret: str = "") -> S3ObjectStore:
        # It knows no checksums.
        signer = Signer(self.engine.access_key, secret or self.engine.secret_key, "us-east-1")
        made = S3ObjectStore(
            self.engine.endpoint,
            signer,
            reactor,
            checksum="",
            part_size=5 * MIB,
            threshold=12 * MIB,
            pause=0.05,  # type: ignore[arg-type]
        )
        self.addCleanup(made.stop)
        return made

    async def empty(self) -> None:
        """Begin without what another test has left."""
        for bucket in await self.store.list_buckets():
            for upload in await self.store.list_uploads(bucket.name):
                await self.store.abort_upload(bucket.name, upload.key, upload.upload_id)
            for key in await self.store.list_keys(bucket.name, limit=10_000):
                await self.store.delete(bucket.name, key)
            await self.store.delete_bucket(bucket.name)
        await self.store.create_bucket("bucket")

    async def put(self, key: str, data: bytes, size: int | None = -1, **options: Any) -> Any:
        stream = BytesStream(pieces_of(data, (65_536, 5, 300_000)))
        return await self.store.put("bucket", key, stream, len(data) if size == -1 else size, **options)

    async def get(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        return await read_all(await self.store.get("bucket", key, offset, length))

    async def test_buckets(self) -> None:
        self.assertEqual([bucket.name for bucket in await self.store.list_buckets()], ["bucket"])
        self.assertGreater((await self.store.get_bucket("bucket")).created, 10**18)
        await self.put("key", b"x")
        with self.assertRaises(BucketNotEmpty):
            await self.store.delete_bucket("bucket")
        with self.assertRaises(NoSuchBucket):
            await self.store.get_bucket("nowhere")
        with self.assertRaises(NoSuchBucket):
            await self.store.head("nowhere", "key")

    async def test_objects(self) -> None:
        """Held, in signed chunks, and in parts."""
        kept = {"content_type": "a/b", "metadata": {"name": ["a value"]}, "system": {"cache-control": "no-cache"}}
        for size, announced in ((0, 0), (5, 5), (2 * MIB + 7, -1), (6 * MIB, None), (13 * MIB, -1)):
            data = content(size)
            info = await self.put("key", data, announced, **kept)
            found = await self.store.head("bucket", "key")
            for each in (info, found):
                self.assertEqual((each.size, each.content_type, dict(each.metadata)), (size, "a/b", kept["metadata"]))
                self.assertEqual(dict(each.system), kept["system"])
            pieces = [data[start : start + 5 * MIB] for start in range(0, size, 5 * MIB)]
            self.assertEqual(info.etag, multipart_etag(*pieces) if size > 5 * MIB else md5(data))
            self.assertEqual(found.etag, info.etag)
            self.assertEqual(await self.get("key"), data)
        self.assertEqual(await self.get("key", 5 * MIB - 2, 4), data[5 * MIB - 2 : 5 * MIB + 2])
        with self.assertRaises(InvalidRange):
            await self.get("key", 5, 13 * MIB)
        self.assertEqual((await self.store.delete("bucket", "key")).etag, info.etag)
        with self.assertRaises(NoSuchKey):
            await self.get("key")
        self.assertEqual(await self.store.list_uploads("bucket"), [])

    async def test_values(self) -> None:
        """Any text is a value."""
        metadata = {"a": ["välue 日本\n"], "b": [" "], "c": ["=?UTF-8?B?5pel?="]}
        await self.put("key", b"x", metadata=metadata)
        self.assertEqual(dict((await self.store.head("bucket", "key")).metadata), metadata)

    async def test_keys_and_listings(self) -> None:
        """Any text is a key, in the order of its bytes; pages, prefixes, delimiters."""
        keys = sorted(
            {key for key in ODD_KEYS if not _control(key)} | {"a", "a/b", "a/c", "b", "b/x/y"}, key=str.encode
        )
        for key in keys:
            await self.put(key, key.encode())
        listing = await self.store.list_objects("bucket")
        self.assertEqual([info.key for info in listing.objects], keys)
        self.assertEqual(await self.store.list_keys("bucket", "a/"), ["a/", "a//", "a/b", "a/c"])
        for key in keys:
            self.assertEqual(await self.get(key), key.encode())
        everything: list[str] = []
        after: str | None = ""
        while after is not None:
            page = await self.store.list_objects("bucket", "", "/", after, 3)
            self.assertLessEqual(len(page.objects) + len(page.prefixes), 3)
            everything += [*(info.key for info in page.objects), *page.prefixes]
            after = page.next_after
        expected = {key.partition("/")[0] + ("/" if "/" in key else "") for key in keys}
        self.assertEqual(sorted(everything), sorted(expected))

    async def test_uploads(self) -> None:
        upload_id = await self.store.begin_upload("bucket", "key", "a/b", {"c": ["d"]})
        place = ("bucket", "key", upload_id)
        first = await self.store.upload_part(*place, 1, BytesStream(content(5 * MIB)), 5 * MIB)
        await self.put("from", content(6 * MIB, 1))
        second = await self.store.upload_part_copy(*place, 3, "bucket", "from", 10, 1000)
        parts = await self.store.list_parts(*place)
        self.assertEqual(
            [(part.number, part.etag, part.size) for part in parts], [(1, first, 5 * MIB), (3, second, 1000)]
        )
        self.assertEqual([upload.upload_id for upload in await self.store.list_uploads("bucket")], [upload_id])
        with self.assertRaises(InvalidPart):
            await self.store.complete_upload(*place, [Part(1, "0" * 32, 1)])
        info = await self.store.complete_upload(*place, parts)
        self.assertEqual((info.size, info.content_type, dict(info.metadata)), (5 * MIB + 1000, "a/b", {"c": ["d"]}))
        self.assertEqual(await self.get("key", 5 * MIB), content(6 * MIB, 1)[10:1010])
        other = await self.store.begin_upload("bucket", "other")
        await self.store.abort_upload("bucket", "other", other)
        with self.assertRaises(NoSuchUpload):
            await self.store.list_parts("bucket", "other", other)

    async def test_copies_and_tags(self) -> None:
        info = await self.put("from", b"data", content_type="a/b", metadata={"a": ["b"]}, system={"tagging": "c=d%20e"})
        self.assertEqual(await self.store.copy("bucket", "to", "bucket", "from"), await self.store.head("bucket", "to"))
        changed = await self.store.copy("bucket", "from", "bucket", "from", metadata={"e": ["f"]})
        self.assertEqual((changed.etag, changed.content_type, dict(changed.metadata)), (info.etag, "a/b", {"e": ["f"]}))
        self.assertEqual(dict((await self.store.head("bucket", "from")).metadata), {"e": ["f"]})

    async def test_failing(self) -> None:
        """A body that does not come to its end is stored nowhere, in chunks or in parts."""

        def pieces() -> Iterator[Piece]:
            for _ in range(30):
                yield bytes(MIB)
            raise KeyError("gone")

        for size in (12 * MIB + 1, None, 40 * MIB):
            with self.assertRaises(KeyError if size != 12 * MIB + 1 else SizeMismatch):
                await self.store.put("bucket", "key", BytesStream(pieces()), size)
        with self.assertRaises(NoSuchKey):
            await self.store.head("bucket", "key")

    async def test_refusals(self) -> None:
        with self.assertRaises(RemoteRefused):
            await self.make("another").list_buckets()
        with self.assertRaises(NotSupported):
            await self.store.set_bucket_metadata("bucket", {})
        await self.put("key", b"x")
        with self.assertRaises(NotSupported):
            await self.store.rename("bucket", "key", "other")
        self.assertEqual(await self.store.list_keys("bucket"), ["key"])
