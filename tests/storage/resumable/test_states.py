"""States on disk, and what becomes of uploads when it fails, or is not what it was."""

from __future__ import annotations

import errno
import os

from twisted.trial.unittest import SynchronousTestCase

from storehouse.core.streams import BytesStream
from storehouse.errors import DamagedObject, NoSpace, NoSuchUpload, StartFailed, Unavailable, UploadGone
from storehouse.storage.resumable.local import LocalResumableUploads, ResumableSettings
from storehouse.storage.resumable.states import INDEXES, States
from storehouse.testing.files import FailingFiles
from tests.storage.resumable.rig import MemoryUploadsTestCase
from tests.storage.resumable.test_formats import STATE


class StatesTests(SynchronousTestCase):
    """L{States}."""

    def setUp(self) -> None:
        self.directory = os.path.abspath(self.mktemp())
        self.files = FailingFiles()
        self.states = self.make()

    def make(self) -> States:
        states = States(self.directory, self.files, True)
        states.prepare()
        return states

    def test_kept(self) -> None:
        self.assertRaises(NoSuchUpload, self.states.read, STATE.id)
        self.assertFalse(self.states.has(STATE.id))
        self.states.write(STATE)
        for states in (self.states, self.make()):
            self.assertEqual(states.read(STATE.id), STATE)
            self.assertTrue(states.has(STATE.id))
            self.assertEqual(states.of_index(STATE.id[:2]), ([STATE], []))
        self.assertEqual(os.stat(self.states.path(STATE.id)).st_mode & 0o777, 0o600)
        self.states.remove(STATE.id)
        self.assertRaises(NoSuchUpload, self.states.read, STATE.id)

    def test_ids(self) -> None:
        for id in ("", "../../etc/passwd", STATE.id + "0", STATE.id.upper()):
            self.assertFalse(self.states.has(id))

    def test_format(self) -> None:
        """A directory of another format is refused; what was on its way in is removed."""
        with open(f"{self.directory}/tmp/left", "wb"):
            pass
        self.make()
        self.assertEqual(os.listdir(f"{self.directory}/tmp"), [])
        with open(f"{self.directory}/format.json", "wb") as file:
            file.write(b'{"format":"resumable","version":2}\n')
        self.assertRaises(StartFailed, self.make)
        self.assertEqual(len(os.listdir(f"{self.directory}/states")), len(INDEXES))

    def test_damaged(self) -> None:
        """A state that is not what was written, or not of this upload, is reported, and hides no others."""
        self.states.write(STATE)
        other = self.states.path(STATE.id).replace(STATE.id + ".", "00" * 16 + ".")
        with open(other, "wb") as file, open(self.states.path(STATE.id), "rb") as source:
            file.write(source.read())
        self.assertRaises(DamagedObject, self.states.read, "00" * 16)
        states, damaged = self.states.of_index("00")
        self.assertEqual((states, [error.id for error in damaged]), ([STATE], ["00" * 16]))

    def test_full(self) -> None:
        """What cannot be written leaves nothing, and the state as it was."""
        self.states.write(STATE)
        self.files.fail("write_at")
        self.assertRaises(OSError, self.states.write, STATE)
        self.assertEqual(os.listdir(f"{self.directory}/tmp"), [])
        self.assertEqual(self.states.read(STATE.id), STATE)


class FailingTests(MemoryUploadsTestCase):
    """Uploads whose states cannot be written, or are not what they were."""

    async def setUp(self) -> None:  # type: ignore[override]
        self.files = FailingFiles()
        await (await self.make_uploads()).stop()
        self.uploads = LocalResumableUploads(
            self.store, self.disk, self.clock, ResumableSettings(self.states), self.files
        )
        self.uploads.start()

    async def test_no_room(self) -> None:
        """What is refused leaves nothing; what was there goes on when there is room."""
        upload = await self.uploads.create("ann", "file", 3)
        for number, error in ((errno.ENOSPC, NoSpace), (errno.EDQUOT, NoSpace), (errno.EIO, Unavailable)):
            self.files.mend()
            self.files.fail("write_at", error=number)
            await self.assertFailure(self.uploads.create("ann", "file", 3), error)
        await self.assertFailure(self.uploads.remove(upload.id), Unavailable)
        self.assertEqual(len(await self.store.list_uploads("uploads")), 1)
        self.files.mend()
        self.assertEqual((await self.uploads.append(upload.id, 0, BytesStream(b"abc"), 3)).key, "file")

    async def test_no_room_to_remove(self) -> None:
        """What is given up goes, since that makes room; the next start knows that it is gone."""
        upload = await self.uploads.create("ann", "file", 3)
        self.files.fail("write_at")
        await self.assertFailure(self.uploads.remove(upload.id), NoSpace)
        self.assertEqual(await self.store.list_uploads("uploads"), [])
        self.files.mend()
        self.uploads = await self.make_uploads()
        await self.assertFailure(self.uploads.append(upload.id, 0, BytesStream(b"abc"), 3), UploadGone)

    async def test_completed_anyway(self) -> None:
        """That a state cannot be written does not undo the object; the next start finds it by its metadata."""
        upload = await self.uploads.create("ann", "file", 3)
        self.files.fail("write_at")
        self.assertTrue((await self.uploads.append(upload.id, 0, BytesStream(b"abc"), 3)).is_complete)
        self.assertTrue((await self.uploads.get(upload.id)).is_complete)
        self.files.mend()
        self.uploads = await self.make_uploads()
        again = await self.uploads.get(upload.id)
        self.assertEqual((again.is_complete, again.key, again.offset, again.length), (True, "file", 3, 3))

    async def test_lost(self) -> None:
        """An upload whose parts somebody else has removed is gone, and says so."""
        upload = await self.uploads.create("ann", "file", 3)
        (opened,) = await self.store.list_uploads("uploads")
        await self.store.abort_upload("uploads", "file", opened.upload_id)
        self.uploads = await self.make_uploads()
        await self.assertFailure(self.uploads.get(upload.id), UploadGone)

    async def test_nobodys(self) -> None:
        """Parts that a process had begun, and told nobody of, are removed at the next start; others' are left alone."""
        await self.store.begin_upload("uploads", "mine", "", {"resumable": ["1"]})
        await self.store.begin_upload("uploads", "others")
        self.clock.advance(1e6)
        self.uploads = await self.make_uploads()
        await self.uploads.recovered
        self.assertEqual([upload.key for upload in await self.store.list_uploads("uploads")], ["others"])

    async def test_kept_from_others(self) -> None:
        """The data space's own expiry leaves alone what is ours."""
        upload = await self.uploads.create("ann", "file", 3)
        other = await self.store.begin_upload("uploads", "others")
        self.assertEqual(await self.space.expire_uploads(-1, self.uploads.keeps), [other])
        self.assertEqual((await self.uploads.append(upload.id, 0, BytesStream(b"abc"), 3)).key, "file")
