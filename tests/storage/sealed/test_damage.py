"""Whatever is done to what an encrypted space has stored, no wrong byte comes out, and an error is reported."""

from __future__ import annotations

import os
from typing import Any

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from storehouse.core.jobs import InlineDisk
from storehouse.core.streams import BytesStream, IByteStream, closing, read_all
from storehouse.errors import DamagedObject, NoSuchUpload
from storehouse.storage.dataspace.directory import Layout
from storehouse.storage.dataspace.interfaces import Part
from storehouse.storage.dataspace.wormer import WormerDataSpace, WormerSettings
from storehouse.storage.sealed.dataspace import SealedDataSpace
from storehouse.storage.sealed.formats import BOUNDS, FRAME, SEALED_FRAME, plain_size, sealed_size
from storehouse.testing.dataspace import MemoryDataSpace, PartContent, StoredObject
from tests.conformance.dataspace import content
from tests.conformance.streams import begun
from tests.storage.namespace.rig import now
from tests.storage.sealed.keys import vault_in


def read_into(given: list[bytes], reader: IByteStream) -> None:
    """Read to the end, or to what is damaged."""

    async def read() -> None:
        async with closing(reader):
            while piece := await reader.read():
                given.append(bytes(piece))

    now(begun(read()))


class Case(TestCase):
    """A space on top of memory, whose bytes a test can change."""

    plain = False

    def setUp(self) -> None:
        self.vault = vault_in(self.mktemp())
        self.vault.make(self.plain)
        self.inner = MemoryDataSpace(bounds=BOUNDS)
        self.space = self.make()
        self.space.start()

    def make(self) -> SealedDataSpace:
        """Another one, which remembers nothing."""
        return SealedDataSpace(self.inner, self.vault, InlineDisk())

    def put(self, id: str, data: bytes, space: Any = None, **metadata: list[str]) -> None:
        now((space or self.space).put(id, BytesStream(data), len(data), metadata))

    def put_parts(self, id: str, *datas: bytes) -> None:
        now(self.space.init_upload("ff", {"name": [id]}))
        for number, data in enumerate(datas, 1):
            now(self.space.upload_part("ff", number, BytesStream(data), len(data)))
        now(self.space.complete_upload(id, "ff", now(self.space.list_parts("ff"))))

    def get(self, id: str, *span: int, space: Any = None) -> bytes:
        return bytes(now(Deferred.fromCoroutine(read_all(now((space or self.space).get(id, *span))))))

    def stored(self, id: str) -> StoredObject:
        return self.inner._objects[id]

    def replace(self, id: str, datas: list[bytes], metadata: Any = None) -> None:
        """What is stored is something else."""
        kept = self.stored(id).metadata if metadata is None else metadata
        self.inner._objects[id] = StoredObject.of([PartContent.of(data) for data in datas], kept)

    def check_damaged(self, id: str, whole: bytes) -> None:
        """It fails, and what comes before is right; also for one who remembers nothing."""
        for space in (self.space, self.make()):
            given: list[bytes] = []
            with self.assertRaises(DamagedObject) as caught:
                read_into(given, now(space.get(id)))
            self.assertEqual(caught.exception.id, id)
            data = b"".join(given)
            self.assertEqual(data, whole[: len(data)])
            self.assertLess(len(data), len(whole) or 1)
            self.assertGreater(space.metrics.failures, 0)


class FileTests(TestCase):
    """A space on top of files, whose blocks nobody verifies since frames are."""

    def test_flipped(self) -> None:
        """Each flipped bit is found, by its frame; scrubbing is what finds the block."""
        directory = os.path.abspath(self.mktemp())
        vault = vault_in(self.mktemp())
        vault.start()
        inner = WormerDataSpace(WormerSettings(directory, durable=False, bounds=BOUNDS), InlineDisk())
        space = SealedDataSpace(inner, vault, InlineDisk())
        space.start()
        data = content(3 * FRAME + 100)
        now(space.put("ab", BytesStream(data), len(data), {}))
        path = Layout(directory).object("ab") + "/part.1"
        with open(path, "rb") as file:
            stored = file.read()
        for place in (0, SEALED_FRAME - 1, SEALED_FRAME, 3 * SEALED_FRAME + 50, len(stored) - 1):
            with open(path, "r+b") as file:
                file.seek(place)
                file.write(bytes([stored[place] ^ 1]))
            given: list[bytes] = []
            with self.assertRaises(DamagedObject) as caught:
                read_into(given, now(space.get("ab")))
            frame = place // SEALED_FRAME
            self.assertEqual((caught.exception.part, caught.exception.block), (1, frame))
            self.assertEqual(b"".join(given), data[: frame * FRAME])
            self.assertEqual(inner.metrics.damaged, 0)
            with open(path, "r+b") as file:
                file.write(stored)
        self.assertEqual(now(Deferred.fromCoroutine(read_all(now(space.get("ab"))))), data)


class FrameTests(Case):
    """Frames and parts that were changed."""

    def test_every_byte_flipped(self) -> None:
        data = content(50)
        self.put("ab", data)
        (stored,) = self.stored("ab").contents
        for place in range(len(stored.data)):
            for bit in (1, 128):
                changed = bytearray(stored.data)
                changed[place] ^= bit
                self.replace("ab", [bytes(changed)])
                self.check_damaged("ab", data)
        self.replace("ab", [stored.data])
        self.assertEqual(self.get("ab"), data)

    def test_good_frames_come_first(self) -> None:
        """All that comes before the frame that is damaged is given out; the error names that frame."""
        data = content(5 * FRAME + 100)
        self.put("ab", data)
        (stored,) = self.stored("ab").contents
        for frame in range(6):
            changed = bytearray(stored.data)
            changed[frame * SEALED_FRAME + 5] ^= 1
            self.replace("ab", [bytes(changed)])
            given: list[bytes] = []
            with self.assertRaises(DamagedObject) as caught:
                read_into(given, now(self.space.get("ab")))
            self.assertEqual(b"".join(given), data[: frame * FRAME])
            self.assertEqual((caught.exception.part, caught.exception.block), (1, frame))
            # A range without it is none the worse.
            self.assertEqual(self.get("ab", 0, frame * FRAME), data[: frame * FRAME])
            self.assertEqual(self.get("ab", (frame + 1) * FRAME) if frame < 5 else b"", data[(frame + 1) * FRAME :])

    def test_frames_swapped(self) -> None:
        data = content(4 * FRAME)
        self.put("ab", data)
        (stored,) = self.stored("ab").contents
        frames = [stored.data[start : start + SEALED_FRAME] for start in range(0, len(stored.data), SEALED_FRAME)]
        for one in range(4):
            for other in range(one):
                changed = list(frames)
                changed[one], changed[other] = changed[other], changed[one]
                self.replace("ab", [b"".join(changed)])
                self.check_damaged("ab", data)
        self.replace("ab", [frames[0] + frames[0] + frames[2] + frames[3]])
        self.check_damaged("ab", data)

    def test_truncated(self) -> None:
        """Cut within a frame, behind one, or to nothing; and with more behind it."""
        data = content(3 * FRAME + 10)
        self.put("ab", data)
        (stored,) = self.stored("ab").contents
        for size in (0, 1, 16, SEALED_FRAME, 2 * SEALED_FRAME, 3 * SEALED_FRAME, len(stored.data) - 1):
            self.replace("ab", [stored.data[:size]])
            self.check_damaged("ab", data)
            with self.assertRaises(DamagedObject):
                self.get("ab", 3 * FRAME, 5)
        self.replace("ab", [stored.data + b"x"])
        self.check_damaged("ab", data)

    def test_last_frame_is_told(self) -> None:
        """An object that ends where a frame does cannot be made of a longer one, even with another description."""
        self.put("aa", content(2 * FRAME))
        self.put("bb", content(FRAME))
        self.replace("bb", [self.stored("aa").contents[0].data[:SEALED_FRAME]])
        self.check_damaged("bb", content(FRAME))

    def test_parts_reordered(self) -> None:
        datas = [content(FRAME + 5, 1), content(FRAME + 5, 2), content(FRAME + 5, 3)]
        self.put_parts("ab", *datas)
        contents = [stored.data for stored in self.stored("ab").contents]
        for order in ((1, 0, 2), (0, 2, 1), (2, 1, 0), (0, 0, 2), (0, 1, 1)):
            self.replace("ab", [contents[place] for place in order])
            self.check_damaged("ab", b"".join(datas))
        self.replace("ab", contents[:2])
        self.check_damaged("ab", b"".join(datas))

    def test_objects_swapped(self) -> None:
        """The bytes of one under another's ID; its description under another's ID; both."""
        one, other = content(100, 1), content(100, 2)
        self.put("aa", one)
        self.put("bb", other)
        theirs = self.stored("bb")
        mine = self.stored("aa")
        self.replace("aa", [theirs.contents[0].data])
        self.check_damaged("aa", one)
        for data in (mine.contents[0].data, theirs.contents[0].data):
            self.replace("aa", [data], theirs.metadata)
            self.check_damaged("aa", one)
            with self.assertRaises(DamagedObject):
                now(self.space.get_metadata("aa"))
        # Half of each.
        header, _ = mine.metadata["sealed"]
        _, body = theirs.metadata["sealed"]
        self.replace("aa", [mine.contents[0].data], {"sealed": [header, body]})
        self.check_damaged("aa", one)

    def test_empty(self) -> None:
        """That there are no bytes is authentic, too."""
        self.put("ab", b"")
        (stored,) = self.stored("ab").contents
        self.assertEqual((len(stored.data), self.get("ab")), (16, b""))
        self.replace("ab", [bytes(16)])
        self.check_damaged("ab", b"")

    def test_description_flipped(self) -> None:
        data = content(10)
        self.put("ab", data, secret=["some text"])
        texts = self.stored("ab").metadata["sealed"]
        for number, text in enumerate(texts):
            for place in range(len(text) - 2):
                changed = list(texts)
                changed[number] = text[:place] + ("A" if text[place] != "A" else "B") + text[place + 1 :]
                self.replace("ab", [stored.data for stored in self.stored("ab").contents], {"sealed": changed})
                with self.assertRaises(DamagedObject):
                    now(self.make().get("ab"))

    def test_copies_are_not_made_of_damage(self) -> None:
        self.put("aa", content(100))
        self.put("bb", content(100, 1))
        self.replace("aa", [self.stored("aa").contents[0].data], self.stored("bb").metadata)
        with self.assertRaises(DamagedObject):
            now(self.space.copy("cc", "aa"))
        self.replace("bb", [self.stored("bb").contents[0].data[:-1]])
        with self.assertRaises(DamagedObject):
            now(self.space.copy("cc", "bb"))
        with self.assertRaises(DamagedObject):
            now(self.space.copy("cc", "bb", 1))
        self.assertNotIn("cc", self.inner._objects)


class UploadDamageTests(Case):
    """Parts of uploads that were changed."""

    def setUp(self) -> None:
        super().setUp()
        for upload_id in ("ee", "ff"):
            now(self.space.init_upload(upload_id, {}))
            for number in (1, 2):
                now(self.space.upload_part(upload_id, number, BytesStream(content(100, number)), 100))

    def test_notes_exchanged(self) -> None:
        """What is noted of a part is of that part of that upload."""
        notes = self.inner._uploads["ff"].notes
        for other in (notes[2], self.inner._uploads["ee"].notes[1], "", "x", notes[1][:-4]):
            changed = {**notes, 1: other}
            self.inner._uploads["ff"].notes = changed
            for space in (self.space, self.make()):
                with self.assertRaises(DamagedObject) as caught:
                    now(space.list_parts("ff"))
                self.assertEqual((caught.exception.id, caught.exception.part), ("ff", 1))
                with self.assertRaises(DamagedObject):
                    now(space.complete_upload("ab", "ff", [Part(2, "x", 1)]))

    def test_bytes_exchanged(self) -> None:
        """They are found when they are read."""
        contents = self.inner._uploads["ff"].contents
        parts = now(self.space.list_parts("ff"))
        contents[1], contents[2] = contents[2], contents[1]
        with self.assertRaises(DamagedObject):
            read_into([], now(self.space.get_part("ff", 1)))
        now(self.space.complete_upload("ab", "ff", parts))
        self.check_damaged("ab", content(100, 1) + content(100, 2))

    def test_descriptions_exchanged(self) -> None:
        self.inner._uploads["ff"].metadata = self.inner._uploads["ee"].metadata
        with self.assertRaises(DamagedObject):
            now(self.make().list_parts("ff"))
        listed = {upload.id: upload for upload in now(self.make().list_uploads())}
        self.assertEqual((listed["ff"].parts, listed["ee"].parts), (0, 2))

    def test_nothing_to_be_seen(self) -> None:
        """Neither metadata nor notes are in what is stored."""
        now(self.space.init_upload("dd", {"secret-name": ["secret-value"]}))
        now(self.space.upload_part("dd", 1, BytesStream(b"secret-bytes"), 12, lambda: "secret-note"))
        self.assertNotIn("secret", repr(self.inner._uploads["dd"]))
        now(self.space.complete_upload("ab", "dd", now(self.space.list_parts("dd"))))
        self.assertNotIn("secret", repr(self.inner._objects["ab"]))


class PlainTests(Case):
    """What is plain where all is encrypted is damage: nobody can put it there."""

    def plant(self) -> None:
        self.put("ab", b"planted", self.inner, key=["bucket/key"])
        now(self.inner.init_upload("cd", {"key": ["bucket/key"]}))
        now(self.inner.upload_part("cd", 1, BytesStream(b"planted"), 7))

    def test_refused(self) -> None:
        self.plant()
        for work in (
            lambda: self.space.get("ab"),
            lambda: self.space.get("ab", 1, 2),
            lambda: self.space.get_metadata("ab"),
            lambda: self.space.copy("cc", "ab"),
            lambda: self.space.list_parts("cd"),
            lambda: self.space.get_upload("cd"),
        ):
            with self.assertRaises(DamagedObject):
                now(work())
        (upload,) = now(self.space.list_uploads())
        self.assertEqual((upload.id, upload.parts, upload.metadata), ("cd", 0, {}))
        # It can still be removed.
        now(self.space.delete("ab"))
        now(self.space.abort_upload("cd"))


class FromBeforeTests(PlainTests):
    """Unless it may be from before there was a master key."""

    plain = True

    def test_refused(self) -> None:
        """It can be read, and its copies are encrypted; uploads have to be begun anew."""
        self.plant()
        self.assertEqual((self.get("ab"), self.get("ab", 2, 3)), (b"planted", b"ant"))
        self.assertEqual(now(self.space.get_metadata("ab")), {"key": ["bucket/key"]})
        for id, span, expected in (("c1", (), b"planted"), ("c2", (1, 4), b"lant")):
            now(self.space.copy(id, "ab", *span))
            self.assertEqual((self.get(id), list(self.stored(id).metadata)), (expected, ["sealed"]))
        for id, size in (("d1", 5), ("d2", None)):
            now(self.space.extend(id, "ab", BytesStream(b" more"), size, {"key": ["bucket/key"]}))
            self.assertEqual((self.get(id), list(self.stored(id).metadata)), (b"planted more", ["sealed"]))
        with self.assertRaises(NoSuchUpload):
            now(self.space.upload_part("cd", 2, BytesStream(b"x"), 1))
        with self.assertRaises(NoSuchUpload):
            now(self.space.complete_upload("ee", "cd", [Part(1, "x", 1)]))
        self.assertEqual([upload.parts for upload in now(self.space.list_uploads())], [1])
        now(self.space.abort_upload("cd"))


SIZES = st.sampled_from([0, 1, 15, FRAME - 1, FRAME, FRAME + 1, 2 * FRAME, 3 * FRAME + 7, 20 * FRAME + 3])


class RangeTests(Case):
    """Whatever parts an object has, every range of it is what it should be."""

    @settings(max_examples=40, deadline=None)
    @given(sizes=st.lists(SIZES, min_size=1, max_size=5), data=st.data())
    def test_ranges(self, sizes: list[int], data: st.DataObject) -> None:
        whole = b"".join(content(size, number) for number, size in enumerate(sizes))
        self.inner._objects.clear()
        self.put_parts("ab", *(content(size, number) for number, size in enumerate(sizes)))
        self.assertEqual(self.get("ab"), whole)
        starts = [sum(sizes[:number]) for number in range(len(sizes) + 1)]
        near = st.sampled_from(starts).flatmap(lambda at: st.integers(max(0, at - 2), min(len(whole), at + 2)))
        for space in (self.space, self.make()):
            offset = data.draw(st.one_of(near, st.integers(0, len(whole))))
            end = data.draw(st.one_of(near, st.integers(0, len(whole))).map(lambda at, low=offset: max(at, low)))
            self.assertEqual(self.get("ab", offset, end - offset, space=space), whole[offset:end])
            now(space.copy("cc", "ab", offset, end - offset))
            self.assertEqual(self.get("cc", space=space), whole[offset:end])
            now(space.delete("cc"))

    @given(st.integers(0, 1 << 40))
    def test_sizes(self, size: int) -> None:
        self.assertEqual(plain_size(sealed_size(size)), size)

    def test_no_sizes(self) -> None:
        for size in (0, 1, 15, SEALED_FRAME + 1, SEALED_FRAME + 16, 2 * SEALED_FRAME + 16):
            with self.assertRaises(ValueError):
                plain_size(size)

    def test_shared(self) -> None:
        """Copies of whole parts have the very bytes; copies of less have others."""
        self.put_parts("ab", content(100, 1), content(FRAME, 2), content(50, 3))
        now(self.space.copy("cc", "ab"))
        now(self.space.copy("dd", "ab", 100, FRAME))
        now(self.space.copy("ee", "ab", 100, FRAME - 1))
        contents, copy, part, less = [
            [content.data for content in self.stored(id).contents] for id in ("ab", "cc", "dd", "ee")
        ]
        self.assertEqual((copy, part), (contents, contents[1:2]))
        self.assertNotIn(less[0], contents)
        self.assertNotEqual(self.stored("cc").metadata, self.stored("ab").metadata)

    def test_same_bytes_are_not_the_same(self) -> None:
        """Twice the same, also as the same part again: nothing of what is stored is the same."""
        now(self.space.init_upload("ff", {}))
        seen: set[bytes] = set()
        for id in ("aa", "bb"):
            self.put(id, content(100))
            seen.add(self.stored(id).contents[0].data)
        for _ in range(2):
            now(self.space.upload_part("ff", 1, BytesStream(content(100)), 100))
            seen.add(self.inner._uploads["ff"].contents[1].data)
        self.assertEqual(len(seen), 4)


class ManyPartsTests(Case):
    """As many parts as S3 allows."""

    def test_ten_thousand(self) -> None:
        now(self.space.init_upload("ff", {}))
        key = self.inner._uploads["ff"]
        for number in range(1, 10_001):
            now(self.space.upload_part("ff", number, BytesStream(b"%05d" % number), 5))
        self.assertEqual(len(key.contents), 10_000)
        parts = now(self.make().list_parts("ff"))
        part = now(self.space.complete_upload("ab", "ff", parts))
        self.assertEqual(part, attrs.evolve(part, size=50_000))
        space = self.make()
        whole = b"".join(b"%05d" % number for number in range(1, 10_001))
        self.assertEqual(self.get("ab", space=space), whole)
        self.assertEqual(self.get("ab", 33_333, 7, space=space), whole[33_333:][:7])


class SizeTests(Case):
    """What is reported of an upload is right whatever is done to it, although not all parts are looked at each time."""

    def test_sizes(self) -> None:
        now(self.space.init_upload("ff", {}))
        looked: list[str] = []
        list_parts = self.inner.list_parts

        def listing(upload_id: str) -> Any:
            looked.append(upload_id)
            return list_parts(upload_id)

        self.patch(self.inner, "list_parts", listing)

        def check(parts: int, size: int, looks: int) -> None:
            looked.clear()
            upload = now(self.space.get_upload("ff"))
            self.assertEqual((upload.parts, upload.size, len(looked)), (parts, size, looks))

        def put(number: int, size: int, *instead_of: int) -> None:
            now(self.space.upload_part("ff", number, BytesStream(content(size)), size, None, instead_of))

        check(0, 0, 0)
        for number, size in ((1, 10), (2, 0), (3, FRAME + 1)):
            put(number, size)
        check(3, FRAME + 11, 0)
        put(2, 7)
        check(3, FRAME + 18, 1)
        check(3, FRAME + 18, 0)
        put(4, 5, 1, 3)
        check(2, 12, 1)
        now(self.space.upload_part_link("ff", 9, "ff", [4]))
        check(3, 17, 1)
        self.space = self.make()
        check(3, 17, 1)
        put(10, 1)
        check(4, 18, 0)
