"""What every store of resumable uploads must do: mixed into a test case that makes one."""

from __future__ import annotations

import errno
from collections.abc import Awaitable, Coroutine
from typing import TYPE_CHECKING, Any

from crc32c import crc32c
from twisted.internet.defer import CancelledError, Deferred
from zope.interface.verify import verifyObject

from storehouse.core.streams import BytesStream, read_all
from storehouse.errors import (
    AlreadyExists,
    BadRequest,
    ChecksumMismatch,
    Forbidden,
    InvalidName,
    NoSuchUpload,
    OffsetMismatch,
    SizeMismatch,
    TooLarge,
    Unavailable,
    UploadBusy,
    UploadGone,
)
from storehouse.storage.resumable.interfaces import IResumableUploads, ResumableUpload
from tests.conformance.dataspace import Tap, content, later, pause, pieces_of, turns

if TYPE_CHECKING:
    from twisted.trial.unittest import TestCase
else:
    TestCase = object

__all__ = ["PersistentResumableTestsMixin", "ResumableTestsMixin"]

MIB = 1 << 20


class _Mixin(TestCase):
    """
    What these tests have in common.

    The test case gives C{make_uploads(**settings)}, perhaps a coroutine function: started uploads on the storage of this
    test, in the bucket C{uploads} of C{store}; called again it gives others on the same storage, after it has stopped
    those before. And C{advance(seconds)}: lets time pass by their clock.
    """

    uploads: Any
    store: Any
    make_uploads: Any
    advance: Any

    async def setUp(self) -> None:  # type: ignore[override]
        await self.reopen()

    async def reopen(self, **settings: Any) -> None:
        """Stop the uploads, and start others on what they left."""
        uploads = self.make_uploads(**settings)
        self.uploads = await uploads if isinstance(uploads, Awaitable) else uploads

    async def create(self, length: int | None, name: str = "file", **options: Any) -> ResumableUpload:
        upload: ResumableUpload = await self.uploads.create("ann", name, length, **options)
        return upload

    async def append(self, upload: ResumableUpload, data: bytes, **options: Any) -> ResumableUpload:
        """Bytes at the place where it is now."""
        offset = (await self.uploads.get(upload.id)).offset
        appended: ResumableUpload = await self.uploads.append(
            upload.id, offset, BytesStream(data), len(data), **options
        )
        return appended

    async def stored(self, key: str) -> bytes:
        return await read_all(await self.store.get("uploads", key))

    async def keys(self) -> list[str]:
        found: list[str] = await self.store.list_keys("uploads")
        return found

    async def refused(self, error: type[Exception], work: Deferred[Any] | Coroutine[Any, Any, Any]) -> Any:
        return await self.assertFailure(work if isinstance(work, Deferred) else Deferred.fromCoroutine(work), error)

    async def begin(self, upload: ResumableUpload, offset: int, *pieces: bytes, **options: Any) -> Any:
        """Begin to add something. @return: the tap, and what it comes to."""
        tap = Tap()
        adding = self.uploads.append(upload.id, offset, tap, None, **options)
        await tap.write(*pieces)
        return tap, adding


class ResumableTestsMixin(_Mixin):
    """Clauses of L{IResumableUploads}."""

    def test_interface(self) -> None:
        verifyObject(IResumableUploads, self.uploads)

    # -- from the first byte to the last -------------------------------------------------------

    async def test_one_go(self) -> None:
        """All bytes at once make an object, with what was said of it."""
        data = content(3 * MIB + 5)
        upload = await self.create(
            len(data),
            "a folder/file.bin",
            content_type="text/x",
            metadata={"filename": "f\xe4", "other": ""},
            grant="nonce",
            max_bytes=len(data),
            object_metadata={"uploader": ["ann"]},
        )
        self.assertRegex(upload.id, "^[0-9a-f]{32}$")
        self.assertEqual(
            (upload.owner, upload.grant, upload.name, upload.key, upload.content_type),
            ("ann", "nonce", "a folder/file.bin", "", "text/x"),
        )
        self.assertEqual((upload.metadata, upload.max_bytes), ({"filename": "f\xe4", "other": ""}, len(data)))
        self.assertEqual((upload.offset, upload.length, upload.is_partial), (0, len(data), False))
        self.assertEqual((upload.pieces, upload.is_complete, upload.etag), ((), False, ""))
        self.assertEqual(await self.uploads.get(upload.id), upload)
        self.assertEqual(await self.keys(), [])
        done = await self.append(upload, data)
        self.assertEqual((done.is_complete, done.offset, done.length), (True, len(data), len(data)))
        info = await self.store.head("uploads", "a folder/file.bin")
        self.assertEqual((done.key, done.etag), (info.key, info.etag))
        self.assertEqual((info.content_type, info.size), ("text/x", len(data)))
        self.assertEqual(info.metadata, {"uploader": ["ann"], "upload": [upload.id], "crc32c": [f"{crc32c(data):08x}"]})
        self.assertEqual(await self.stored("a folder/file.bin"), data)
        self.assertEqual(await self.store.list_uploads("uploads"), [])
        self.assertEqual(await self.uploads.get(upload.id), done)

    async def test_several_goes(self) -> None:
        """Each gets its position, and the whole has the checksum of the whole."""
        data = content(100_003)
        upload = await self.create(len(data))
        offsets: list[int] = []
        at = 0
        for size in (1, 99, 50_000, 0, 49_903):
            piece = data[at : at + size]
            told = await self.uploads.append(upload.id, at, BytesStream(piece), size, progress=offsets.append)
            at += size
            self.assertEqual((told.offset, told.is_complete), (at, at == len(data)))
        self.assertEqual(offsets, [1, 100, 50_100, 100_003])
        self.assertEqual(await self.stored("file"), data)
        info = await self.store.head("uploads", "file")
        self.assertEqual(info.metadata["crc32c"], [f"{crc32c(data):08x}"])

    async def test_streams(self) -> None:
        """Bytes come in any pieces, views too, with their number known or not, at once or later."""
        data = content(MIB + 9)
        upload = await self.create(6 * len(data))
        at = 0
        for size in (None, len(data)):
            pieces = list(pieces_of(data, (1, 5000, 0, 3, 70_001)))
            for stream in (BytesStream(pieces), BytesStream(map(memoryview, pieces)), later(pieces)):
                await self.uploads.append(upload.id, at, stream, size)
                at += len(data)
        self.assertEqual(await self.stored("file"), 6 * data)

    async def test_empty(self) -> None:
        """One of no bytes is complete at once."""
        upload = await self.create(0)
        self.assertEqual((upload.is_complete, upload.offset, upload.length, upload.key), (True, 0, 0, "file"))
        self.assertEqual(await self.stored("file"), b"")
        info = await self.store.head("uploads", "file")
        self.assertEqual(info.metadata["crc32c"], ["00000000"])

    async def test_length_later(self) -> None:
        """The length may be said while it goes, once, or with the last bytes."""
        upload = await self.create(None)
        self.assertIsNone(upload.length)
        await self.append(upload, b"one")
        await self.refused(SizeMismatch, self.uploads.set_length(upload.id, 2))
        said = await self.uploads.set_length(upload.id, 6)
        self.assertEqual((said.length, said.is_complete), (6, False))
        self.assertEqual((await self.uploads.set_length(upload.id, 6)).length, 6)
        await self.refused(SizeMismatch, self.uploads.set_length(upload.id, 7))
        self.assertTrue((await self.append(upload, b"two")).is_complete)
        self.assertEqual(await self.stored("file"), b"onetwo")
        second = await self.create(None, "second")
        await self.append(second, b"whole")
        self.assertTrue((await self.uploads.set_length(second.id, 5)).is_complete)
        self.assertEqual(await self.stored("second"), b"whole")
        third = await self.create(None, "third")
        await self.append(third, b"abc")
        done = await self.append(third, b"d", is_last=True)
        self.assertEqual((done.is_complete, done.length), (True, 4))
        fourth = await self.create(None, "fourth")
        self.assertTrue((await self.append(fourth, b"", is_last=True)).is_complete)
        self.assertEqual([await self.stored("third"), await self.stored("fourth")], [b"abcd", b""])

    async def test_awaits_its_end(self) -> None:
        """One that has its length, and is complete only when that is said."""
        for length, data in ((0, b""), (3, b"abc")):
            upload = await self.uploads.create("ann", f"a{length}", length, awaits_end=True)
            if data:
                upload = await self.append(upload, data)
            self.assertEqual((upload.is_complete, upload.offset, upload.length), (False, length, length))
            await self.refused(TooLarge, self.append(upload, b"d"))
            await self.refused(SizeMismatch, self.uploads.set_length(upload.id, 4))
            self.assertFalse((await self.uploads.get(upload.id)).is_complete)
            self.assertFalse((await self.uploads.interrupt(upload.id)).is_complete)
            self.assertTrue((await self.append(upload, b"", is_last=True)).is_complete)

    async def test_length_said_with_bytes(self) -> None:
        """It is taken only with bytes that belong at the end, and that fit."""
        upload = await self.uploads.create("ann", "a", None)
        upload = await self.append(upload, b"abc")

        def said(offset: int, data: bytes, length: int) -> Any:
            return self.uploads.append(upload.id, offset, BytesStream(data), len(data), length=length)

        await self.refused(OffsetMismatch, said(0, b"abc", 3))
        await self.refused(SizeMismatch, said(3, b"def", 5))
        await self.refused(SizeMismatch, said(3, b"", 2))
        self.assertIsNone((await self.uploads.get(upload.id)).length)
        self.assertEqual((await said(3, b"d", 5)).length, 5)
        await self.refused(SizeMismatch, said(4, b"e", 6))
        self.assertTrue((await said(4, b"e", 5)).is_complete)

    async def test_last_too_early(self) -> None:
        """Last bytes that do not make the length that was said are kept, and complete nothing."""
        upload = await self.create(5)
        await self.refused(SizeMismatch, self.append(upload, b"abc", is_last=True))
        self.assertEqual((await self.uploads.get(upload.id)).offset, 3)
        self.assertEqual(await self.keys(), [])
        self.assertTrue((await self.append(upload, b"de", is_last=True)).is_complete)

    async def test_complete(self) -> None:
        """One that is complete takes no more, and says so as it does of others."""
        upload = await self.create(3)
        await self.append(upload, b"abc")
        await self.refused(OffsetMismatch, self.uploads.append(upload.id, 0, BytesStream(b"abc"), 3))
        await self.refused(TooLarge, self.uploads.append(upload.id, 3, BytesStream(b"d"), 1))
        await self.refused(TooLarge, self.uploads.append(upload.id, 3, BytesStream(b"d"), None))
        again = await self.uploads.append(upload.id, 3, BytesStream(b""), 0, is_last=True)
        self.assertEqual((again.is_complete, again.offset), (True, 3))
        self.assertEqual(await self.keys(), ["file"])

    async def test_many_small_ones(self) -> None:
        """Very many small additions do not make very many parts."""
        data = content(300)
        upload = await self.create(len(data))
        for at in range(299):
            await self.uploads.append(upload.id, at, BytesStream(data[at : at + 1]), 1)
        (opened,) = await self.store.list_uploads("uploads")
        parts = await self.store.list_parts("uploads", "file", opened.upload_id)
        self.assertLess(len(parts), 100)
        self.assertEqual(sum(part.size for part in parts), 299)
        await self.uploads.append(upload.id, 299, BytesStream(data[299:]), 1)
        self.assertEqual(await self.stored("file"), data)
        info = await self.store.head("uploads", "file")
        self.assertEqual(info.metadata["crc32c"], [f"{crc32c(data):08x}"])

    async def test_stream_is_closed(self) -> None:
        """Whatever becomes of an append, its stream is closed."""
        upload = await self.create(5)
        for id, offset, size, error in (
            ("0" * 32, 0, 3, NoSuchUpload),
            (upload.id, 1, 3, OffsetMismatch),
            (upload.id, 0, 6, TooLarge),
        ):
            tap = Tap()
            await self.refused(error, self.uploads.append(id, offset, tap, size))
            self.assertTrue(tap.refused)
        await self.uploads.stop()
        tap = Tap()
        await self.refused(Unavailable, self.uploads.append(upload.id, 0, stream=tap, size=3))
        self.assertTrue(tap.refused)

    # -- interruptions -------------------------------------------------------------------------

    async def test_interrupted(self) -> None:
        """What came before a stream failed is kept, and the upload can continue."""
        data = content(300_000)
        upload = await self.create(len(data))
        offsets: list[int] = []
        tap, adding = await self.begin(upload, 0, data[:100_000], data[100_000:200_001], progress=offsets.append)
        tap.end(ZeroDivisionError())
        await self.refused(ZeroDivisionError, adding)
        known = await self.uploads.get(upload.id)
        self.assertEqual((known.offset, known.is_complete, offsets), (200_001, False, [200_001]))
        await self.append(upload, data[200_001:])
        self.assertEqual(await self.stored("file"), data)

    async def test_interrupted_at_once(self) -> None:
        upload = await self.create(5)
        tap, adding = await self.begin(upload, 0)
        tap.end(ZeroDivisionError())
        await self.refused(ZeroDivisionError, adding)
        self.assertEqual((await self.uploads.get(upload.id)).offset, 0)

    async def test_interrupted_when_whole(self) -> None:
        """What fails after the last byte has come has brought all of them."""
        upload = await self.create(5)
        tap, adding = await self.begin(upload, 0, b"whole")
        tap.end(ZeroDivisionError())
        await self.refused(ZeroDivisionError, adding)
        known = await self.uploads.get(upload.id)
        self.assertEqual((known.offset, known.is_complete), (5, True))
        self.assertEqual(await self.stored("file"), b"whole")

    async def test_cancelled(self) -> None:
        """A client that stops leaves an upload that others can continue."""
        upload = await self.create(6)
        tap, adding = await self.begin(upload, 0, b"abc")
        await pause()
        adding.cancel()
        await self.refused(CancelledError, adding)
        self.assertTrue(tap.refused)
        offset = (await self.uploads.get(upload.id)).offset
        self.assertIn(offset, (0, 3))
        await self.append(upload, b"abcdef"[offset:])
        self.assertEqual(await self.stored("file"), b"abcdef")

    async def test_slow(self) -> None:
        """What comes slowly is durable long before it is all there."""
        upload = await self.create(100)
        offsets: list[int] = []
        tap, adding = await self.begin(upload, 0, b"abc", progress=offsets.append)
        while not offsets:
            self.advance(11)
            await turns()
        self.assertEqual(offsets, [3])
        await tap.write(b"def")
        tap.end()
        self.assertEqual((await adding).offset, 6)
        self.assertEqual(offsets, [3, 6])

    # -- checksums -----------------------------------------------------------------------------

    async def test_verified(self) -> None:
        """With a verification, all count or none, and it is called when all have come."""
        data = content(200_000)
        upload = await self.create(2 * len(data))
        called: list[str] = []

        def passes() -> None:
            called.append("passed")

        def fails() -> None:
            called.append("failed")
            raise ChecksumMismatch("it is another one")

        offsets: list[int] = []
        tap, adding = await self.begin(upload, 0, data[:1000], verify=passes, progress=offsets.append)
        self.advance(60)
        await turns(3)
        await tap.write(data[1000:])
        self.assertEqual((called, offsets), ([], []))
        tap.end()
        self.assertEqual((await adding).offset, len(data))
        self.assertEqual((called, offsets), (["passed"], [len(data)]))
        for size in (len(data), None):
            adding = self.uploads.append(upload.id, len(data), BytesStream(data), size, verify=fails)
            await self.refused(ChecksumMismatch, adding)
        self.assertEqual(called, ["passed", "failed", "failed"])
        await self.refused(
            ChecksumMismatch, self.uploads.append(upload.id, len(data), BytesStream(b""), 0, verify=fails)
        )
        self.assertEqual((await self.uploads.get(upload.id)).offset, len(data))
        await self.append(upload, data, verify=passes)
        self.assertEqual(await self.stored("file"), 2 * data)

    async def test_verified_interrupted(self) -> None:
        """A stream that fails before it could be verified does not count."""
        upload = await self.create(100)
        await self.append(upload, b"abc")
        called: list[None] = []
        tap, adding = await self.begin(upload, 3, b"def", b"ghi", verify=lambda: called.append(None))
        tap.end(ZeroDivisionError())
        await self.refused(ZeroDivisionError, adding)
        self.assertEqual(((await self.uploads.get(upload.id)).offset, called), (3, []))

    # -- one at a time -------------------------------------------------------------------------

    async def test_taken_over(self) -> None:
        """A connection that is dead without knowing it is ended, with what it brought kept."""
        upload = await self.create(9)
        tap, stale = await self.begin(upload, 0, b"abc")
        stale.addErrback(lambda failure: failure.type)
        known = await self.uploads.interrupt(upload.id)
        self.assertEqual((known.offset, tap.refused, await stale), (3, True, UploadBusy))
        tap, stale = await self.begin(upload, 3, b"def")
        stale.addErrback(lambda failure: failure.type)
        # Who does not ask first may be mistaken, but not in the way.
        await self.refused(OffsetMismatch, self.uploads.append(upload.id, 3, BytesStream(b"x"), 1))
        self.assertEqual((tap.refused, await stale), (True, UploadBusy))
        done = await self.uploads.append(upload.id, 6, BytesStream(b"ghi"), 3)
        self.assertTrue(done.is_complete)
        self.assertEqual(await self.stored("file"), b"abcdefghi")

    async def test_newest_wins(self) -> None:
        """Of several who wait, the one who came last goes on."""
        upload = await self.create(6)
        tap, first = await self.begin(upload, 0, b"abc")
        second = self.uploads.append(upload.id, 3, Tap(), 3)
        third = self.uploads.append(upload.id, 3, BytesStream(b"def"), 3)
        await self.refused(UploadBusy, first)
        await self.refused(UploadBusy, second)
        self.assertTrue((await third).is_complete)
        self.assertEqual((await self.stored("file"), tap.refused), (b"abcdef", True))

    async def test_taken_over_before_verified(self) -> None:
        """What is ended before it could be verified does not count."""
        upload = await self.create(6)
        _, stale = await self.begin(upload, 0, b"abc", verify=lambda: None)
        stale.addErrback(lambda failure: failure.type)
        self.assertEqual((await self.uploads.interrupt(upload.id)).offset, 0)
        self.assertIs(await stale, UploadBusy)

    async def test_get_interrupts_nobody(self) -> None:
        upload = await self.create(6)
        tap, adding = await self.begin(upload, 0, b"abc")
        self.assertEqual((await self.uploads.get(upload.id)).offset, 0)
        (listed,) = await self.uploads.list("ann")
        self.assertEqual(listed.id, upload.id)
        await tap.write(b"def")
        tap.end()
        self.assertTrue((await adding).is_complete)

    # -- bounds --------------------------------------------------------------------------------

    async def test_too_large(self) -> None:
        """More bytes than were announced, or than are allowed, are refused, at once if they say so."""
        upload = await self.create(5)
        await self.refused(TooLarge, self.uploads.append(upload.id, 0, BytesStream(b"abcdef"), 6))
        await self.refused(TooLarge, self.uploads.append(upload.id, 0, BytesStream([b"abc", b"def"]), None))
        offset = (await self.uploads.get(upload.id)).offset
        self.assertLessEqual(offset, 5)
        self.assertEqual(await self.keys(), [])
        await self.refused(TooLarge, self.create(6, max_bytes=5))
        bounded = await self.create(None, max_bytes=5)
        await self.refused(TooLarge, self.uploads.set_length(bounded.id, 6))
        await self.refused(TooLarge, self.uploads.append(bounded.id, 0, BytesStream(b"abcdef"), None))
        await self.reopen(max_size=4)
        await self.refused(TooLarge, self.create(5))
        await self.refused(TooLarge, self.create(4, metadata={"a": 20_000 * "b"}))
        await self.create(4)

    async def test_invalid(self) -> None:
        await self.refused(BadRequest, self.create(-1))
        await self.refused(InvalidName, self.create(1, ""))
        await self.refused(InvalidName, self.create(1, "a" * 1025))
        await self.refused(BadRequest, self.create(1, names="guess"))
        for id in ("", "0" * 32, "0" * 31, "A" * 32, "../../etc", "é" * 32):
            for deferred in (
                self.uploads.get(id),
                self.uploads.interrupt(id),
                self.uploads.append(id, 0, BytesStream(b"x"), 1),
                self.uploads.set_length(id, 1),
                self.uploads.remove(id),
                self.uploads.concatenate("ann", "file", [id]),
            ):
                await self.refused(NoSuchUpload, deferred)

    # -- names ---------------------------------------------------------------------------------

    async def put(self, key: str) -> None:
        await self.store.put("uploads", key, BytesStream(b"there"), 5)

    async def test_rename(self) -> None:
        """A name that is taken when the upload is complete gets a number."""
        first = await self.create(3, "a/file.txt", names="rename")
        second = await self.create(3, "a/file.txt", names="rename")
        await self.put("a/file.txt")
        self.assertEqual((await self.append(second, b"two")).key, "a/file (1).txt")
        done = await self.append(first, b"one")
        self.assertEqual((done.key, done.name), ("a/file (2).txt", "a/file.txt"))
        self.assertEqual(await self.stored("a/file.txt"), b"there")
        self.assertEqual(await self.stored("a/file (2).txt"), b"one")

    async def test_replace(self) -> None:
        await self.put("file")
        upload = await self.create(3, names="replace")
        self.assertEqual((await self.append(upload, b"new")).key, "file")
        self.assertEqual(await self.stored("file"), b"new")

    async def test_refuse(self) -> None:
        """A taken name is refused at once; or at the end, and then the upload waits until it is free."""
        await self.put("taken")
        await self.refused(AlreadyExists, self.create(3, "taken", names="refuse"))
        upload = await self.create(3, names="refuse")
        await self.put("file")
        await self.refused(AlreadyExists, self.append(upload, b"new"))
        await self.refused(AlreadyExists, self.uploads.get(upload.id))
        self.assertEqual(await self.stored("file"), b"there")
        await self.store.delete("uploads", "file")
        self.assertTrue((await self.uploads.get(upload.id)).is_complete)
        self.assertEqual(await self.stored("file"), b"new")

    # -- ends ----------------------------------------------------------------------------------

    async def test_list(self) -> None:
        """Those that are not complete, oldest first."""
        ids = []
        for owner in ("ann", "bob", "ann"):
            ids.append((await self.uploads.create(owner, "file", 1)).id)
            self.advance(1)
        complete = await self.create(0)
        self.assertEqual([upload.id for upload in await self.uploads.list()], ids)
        self.assertEqual([upload.id for upload in await self.uploads.list("ann")], [ids[0], ids[2]])
        await self.uploads.remove(ids[0])
        self.assertEqual([upload.id for upload in await self.uploads.list("ann")], [ids[2]])
        self.assertEqual(await self.uploads.list("nobody"), [])
        self.assertTrue((await self.uploads.get(complete.id)).is_complete)

    async def test_remove(self) -> None:
        """What is given up is gone, and known to be; who adds to it is ended."""
        upload = await self.create(10)
        await self.append(upload, b"abc")
        tap, adding = await self.begin(upload, 3, b"def")
        adding.addErrback(lambda failure: failure.type)
        await self.uploads.remove(upload.id)
        self.assertEqual((tap.refused, await adding), (True, UploadBusy))
        for deferred in (
            self.uploads.get(upload.id),
            self.uploads.interrupt(upload.id),
            self.uploads.append(upload.id, 0, BytesStream(b"x"), 1),
            self.uploads.remove(upload.id),
        ):
            await self.refused(UploadGone, deferred)
        self.assertEqual(await self.store.list_uploads("uploads"), [])
        self.assertEqual(await self.keys(), [])

    async def test_remove_on_a_full_disk(self) -> None:
        """What is given up makes the room that it takes to say so."""
        upload = await self.create(10)
        await self.append(upload, b"abc")
        states = self.uploads._uploads.states
        write = states.write
        abort_upload = self.store.abort_upload
        aborted: list[bool] = []

        def abort(*args: Any) -> Deferred[None]:
            aborted.append(True)
            aborting: Deferred[None] = abort_upload(*args)
            return aborting

        def full(state: Any) -> None:
            if not aborted:
                raise OSError(errno.ENOSPC, "No space left on device")
            write(state)

        self.patch(self.store, "abort_upload", abort)
        self.patch(states, "write", full)
        await self.uploads.remove(upload.id)
        await self.refused(UploadGone, self.uploads.get(upload.id))

    async def test_remove_complete(self) -> None:
        """The object that an upload became stays."""
        upload = await self.create(3)
        await self.append(upload, b"abc")
        await self.uploads.remove(upload.id)
        await self.refused(UploadGone, self.uploads.get(upload.id))
        self.assertEqual(await self.stored("file"), b"abc")

    async def test_expire(self) -> None:
        """Those that nobody resumes are removed, complete ones too; what they became stays."""
        await self.reopen(expiry=1000)
        idle, alive, complete = await self.create(9), await self.create(9), await self.create(0, "done")
        self.assertEqual(await self.uploads.expire(), 0)
        self.assertAlmostEqual(idle.expires, idle.created + 1000)
        self.advance(600)
        went_on = await self.append(alive, b"abc")
        self.assertAlmostEqual(went_on.expires, alive.expires + 600, delta=5)
        tap, adding = await self.begin(alive, 3, b"def")
        self.advance(600)
        for upload in (idle, complete):
            await self.refused(UploadGone, self.uploads.get(upload.id))
        self.assertEqual(await self.uploads.expire(), 2)
        for upload in (idle, complete):
            await self.refused(UploadGone, self.uploads.get(upload.id))
        self.assertEqual(await self.stored("done"), b"")
        self.assertEqual(len(await self.store.list_uploads("uploads")), 1)
        # While something is added to it, it lives, however long that takes.
        self.advance(2000)
        self.assertEqual(await self.uploads.expire(), 0)
        await tap.write(b"ghi")
        tap.end()
        self.assertTrue((await adding).is_complete)
        # In the end nobody knows any more that they were there.
        self.advance(2001)
        await self.uploads.expire()
        for upload in (idle, complete):
            await self.refused(NoSuchUpload, self.uploads.get(upload.id))

    async def test_never_expires(self) -> None:
        await self.reopen(expiry=0)
        upload = await self.create(9)
        self.assertIsNone(upload.expires)
        self.advance(1e9)
        self.assertEqual(await self.uploads.expire(), 0)
        await self.uploads.get(upload.id)

    # -- uploads of uploads --------------------------------------------------------------------

    async def partial(self, data: bytes, length: int | None = -1) -> ResumableUpload:
        upload = await self.create(len(data) if length == -1 else length, is_partial=True)
        return await self.append(upload, data) if data else upload

    async def test_concatenate(self) -> None:
        """Partial ones in any order become one, and another one; they stay, and become no objects."""
        datas = [content(100_000), b"", content(70_001, 1)]
        pieces = [await self.partial(data) for data in datas]
        self.assertEqual([(piece.is_partial, piece.is_complete, piece.key) for piece in pieces], 3 * [(True, True, "")])
        self.assertEqual(await self.keys(), [])
        ids = [pieces[2].id, pieces[0].id, pieces[1].id]
        data = datas[2] + datas[0]
        final = await self.uploads.concatenate(
            "ann", "joined", ids, "text/x", {"a": "b"}, "nonce", {"uploader": ["ann"]}
        )
        self.assertEqual((final.is_complete, final.is_partial, final.pieces), (True, False, tuple(ids)))
        self.assertEqual((final.offset, final.length, final.key), (len(data), len(data), "joined"))
        self.assertEqual((final.metadata, final.grant, final.content_type), ({"a": "b"}, "nonce", "text/x"))
        self.assertEqual(await self.stored("joined"), data)
        info = await self.store.head("uploads", "joined")
        self.assertEqual((info.metadata["crc32c"], info.metadata["uploader"]), ([f"{crc32c(data):08x}"], ["ann"]))
        again = await self.uploads.concatenate("ann", "again", [pieces[0].id])
        await self.uploads.remove(pieces[0].id)
        self.assertEqual((again.is_complete, await self.stored("again")), (True, datas[0]))

    async def test_concatenate_unfinished(self) -> None:
        """It is complete as soon as the last of its pieces is."""
        first, second = await self.create(3, is_partial=True), await self.create(None, is_partial=True)
        final = await self.uploads.concatenate("ann", "joined", [first.id, second.id])
        self.assertEqual((final.is_complete, final.offset, final.length), (False, 0, None))
        await self.refused(Forbidden, self.uploads.append(final.id, 0, BytesStream(b"x"), 1))
        await self.refused(BadRequest, self.uploads.set_length(final.id, 6))
        await self.append(second, b"def", is_last=True)
        known = await self.uploads.get(final.id)
        self.assertEqual((known.is_complete, known.length), (False, 6))
        await self.append(first, b"abc")
        known = await self.uploads.get(final.id)
        self.assertEqual((known.is_complete, known.offset, known.length), (True, 6, 6))
        self.assertEqual(await self.stored("joined"), b"abcdef")

    async def test_concatenate_refused(self) -> None:
        whole, piece = await self.create(3), await self.partial(b"abc")
        (other,) = [await self.uploads.create("bob", "file", 3, is_partial=True)]
        await self.refused(BadRequest, self.uploads.concatenate("ann", "joined", []))
        await self.refused(BadRequest, self.uploads.concatenate("ann", "joined", [f"{at:032x}" for at in range(1001)]))
        await self.refused(BadRequest, self.uploads.concatenate("ann", "joined", [piece.id, piece.id]))
        await self.refused(BadRequest, self.uploads.concatenate("ann", "joined", [whole.id]))
        await self.refused(NoSuchUpload, self.uploads.concatenate("ann", "joined", [other.id]))
        await self.refused(TooLarge, self.uploads.concatenate("ann", "joined", [piece.id], max_bytes=2))
        await self.uploads.remove(piece.id)
        await self.refused(UploadGone, self.uploads.concatenate("ann", "joined", [piece.id]))
        self.assertEqual(len(await self.uploads.list()), 2)

    async def test_pieces_too_large(self) -> None:
        """How long pieces are may be said late: one that is too long with them is given up then. They stay."""
        for bound in (10, None):
            pieces = [await self.create(None, is_partial=True, max_bytes=bound) for _ in range(3)]
            final = await self.uploads.concatenate("ann", "joined", [piece.id for piece in pieces], max_bytes=bound)
            for piece in pieces:
                self.assertTrue((await self.append(piece, content(10), is_last=True)).is_complete)
            await self.refused(UploadGone, self.uploads.get(final.id))
            self.assertEqual(await self.keys(), [])
            self.assertEqual(len(await self.store.list_uploads("uploads")), 3)
            exact = await self.uploads.concatenate("ann", "exact", [pieces[0].id], max_bytes=bound)
            self.assertTrue(exact.is_complete)
            for upload in pieces:
                await self.uploads.remove(upload.id)
            await self.store.delete("uploads", "exact")
            await self.reopen(max_size=10)

    async def test_piece_given_up(self) -> None:
        """One whose piece is gone will never be complete."""
        piece = await self.create(3, is_partial=True)
        final = await self.uploads.concatenate("ann", "joined", [piece.id])
        await self.uploads.remove(piece.id)
        await self.refused(UploadGone, self.uploads.get(final.id))
        await self.uploads.remove(final.id)
        self.assertEqual(await self.store.list_uploads("uploads"), [])

    # -- stop ----------------------------------------------------------------------------------

    async def test_stop(self) -> None:
        """What is being added is ended, with what has come kept; then all is refused."""
        upload = await self.create(6)
        tap, adding = await self.begin(upload, 0, b"abc")
        adding.addErrback(lambda failure: failure.type)
        await self.uploads.stop()
        self.assertEqual((tap.refused, await adding), (True, Unavailable))
        for deferred in (
            self.uploads.create("ann", "file", 1),
            self.uploads.concatenate("ann", "file", [upload.id]),
            self.uploads.get(upload.id),
            self.uploads.list(),
            self.uploads.set_length(upload.id, 1),
            self.uploads.append(upload.id, 3, BytesStream(b"x"), 1),
            self.uploads.interrupt(upload.id),
            self.uploads.remove(upload.id),
            self.uploads.expire(),
        ):
            await self.refused(Unavailable, deferred)


class PersistentResumableTestsMixin(_Mixin):
    """What is there later."""

    async def test_gone_on_with(self) -> None:
        """After a stop, uploads are as they were."""
        data = content(100_000)
        upload = await self.create(
            len(data), content_type="text/x", metadata={"a": "\xe4"}, grant="n", max_bytes=10**6, names="replace"
        )
        complete, gone = await self.create(0, "done"), await self.create(5)
        await self.uploads.remove(gone.id)
        upload = await self.append(upload, data[:30_000])
        _, adding = await self.begin(upload, 30_000, data[30_000:60_000])
        adding.addErrback(lambda failure: None)
        await self.reopen()
        again = await self.uploads.get(upload.id)
        self.assertEqual(again.offset, 60_000)
        for name in ("owner", "grant", "name", "content_type", "metadata", "length", "max_bytes", "created"):
            self.assertEqual(getattr(again, name), getattr(upload, name), name)
        self.assertGreaterEqual(again.expires, upload.expires)
        self.assertEqual([each.id for each in await self.uploads.list()], [upload.id])
        self.assertEqual((await self.uploads.get(complete.id)).key, "done")
        await self.refused(UploadGone, self.uploads.get(gone.id))
        await self.append(upload, data[60_000:])
        self.assertEqual(await self.stored("file"), data)
        info = await self.store.head("uploads", "file")
        self.assertEqual(info.metadata["crc32c"], [f"{crc32c(data):08x}"])

    async def test_awaits_its_end_later(self) -> None:
        upload = await self.create(3, awaits_end=True)
        await self.append(upload, b"abc")
        await self.reopen()
        again = await self.uploads.get(upload.id)
        self.assertEqual((again.is_complete, again.offset, again.length), (False, 3, 3))
        self.assertTrue((await self.append(upload, b"", is_last=True)).is_complete)

    async def test_told_offset_holds(self) -> None:
        """What came before somebody asked how far it is, and had not begun, adds nothing: not even while it is looked up."""
        upload = await self.create(6)
        for _ in range(2):
            await self.reopen()
            looking = self.uploads.get(upload.id)
            told = self.uploads.interrupt(upload.id)
            stale = await looking
            self.assertEqual((await told).offset, 0)
            adding = self.uploads.append(upload.id, 0, BytesStream(b"abc"), 3, seen=stale.seen)
            await self.refused(UploadBusy, adding)
        again = await self.uploads.get(upload.id)
        self.assertEqual((await self.uploads.append(upload.id, 0, BytesStream(b"abc"), 3, seen=again.seen)).offset, 3)

    async def test_concatenated_later(self) -> None:
        """A final one waits for its pieces across a stop."""
        first, second = await self.create(3, is_partial=True), await self.create(3, is_partial=True)
        final = await self.uploads.concatenate("ann", "joined", [first.id, second.id])
        await self.append(first, b"abc")
        await self.reopen()
        await self.append(second, b"def")
        self.assertTrue((await self.uploads.get(final.id)).is_complete)
        self.assertEqual(await self.stored("joined"), b"abcdef")
