"""What every data space must do with uploads in parts: mixed into a test case that makes one."""

from __future__ import annotations

import itertools

from twisted.internet.defer import CancelledError

from storehouse.core.streams import BytesStream, read_all
from storehouse.errors import (
    AlreadyExists,
    DamagedObject,
    InvalidName,
    InvalidPart,
    InvalidPartOrder,
    NoSuchObject,
    NoSuchUpload,
    SizeMismatch,
)
from storehouse.storage.dataspace.interfaces import LAST_NUMBER, Part, Upload
from tests.conformance.dataspace import (
    BLOCK,
    MIB,
    SIZES,
    SpaceTestsMixin,
    Tap,
    content,
    later,
    pause,
    pieces_of,
    turns,
)

__all__ = ["UploadTestsMixin"]

LAST = (1 << 31) - 1

#: What is not the number of a part.
INVALID_NUMBERS = (0, -1, -LAST, LAST + 1, 1 << 32, 1 << 63, 1 << 70)


class UploadTestsMixin(SpaceTestsMixin):
    """Clauses of L{IDataSpace} on uploads, and those of L{IUploads}."""

    async def ended(self, *upload_ids: str) -> None:
        """None of these is an upload."""
        await self.put("eeee", b"x")
        for upload_id in upload_ids:
            for deferred in (
                self.space.upload_part(upload_id, 1, BytesStream(b"x"), 1),
                self.space.upload_part_copy(upload_id, 1, "eeee"),
                self.space.complete_upload("eeef", upload_id, [Part(1, "x", 1)]),
                self.space.abort_upload(upload_id),
                self.space.list_parts(upload_id),
            ):
                await self.refused(NoSuchUpload, deferred)
            self.assertNotIn(upload_id, [upload.id for upload in await self.space.list_uploads()])
        await self.absent("eeef")
        await self.space.delete("eeee")

    # -- parts -------------------------------------------------------------------------------

    async def test_upload(self) -> None:
        """Parts of all sizes, one after another, become one object."""
        datas = [content(size) for size in (*SIZES, MIB + 3)]
        parts = await self.upload("cd", *datas, metadata={"a": ["b"]})
        self.assertEqual(await self.space.list_parts("cd"), parts)
        await self.absent("cd", "ab")
        part = await self.space.complete_upload("ab", "cd", parts)
        self.assertEqual(part, Part(0, part.etag, sum(map(len, datas))))
        reader = await self.space.get("ab")
        self.assertEqual((reader.etag, reader.size, reader.metadata), (part.etag, part.size, {"a": ["b"]}))
        self.assertEqual(await read_all(reader), b"".join(datas))
        await self.ended("cd")

    async def test_one_part(self) -> None:
        """One part is enough, whatever its size and number."""
        for number, data in ((1, b""), (7, b"x"), (LAST, content(BLOCK + 1))):
            await self.space.init_upload("cd", {})
            part = await self.part("cd", number, data)
            self.assertEqual(await self.space.list_parts("cd"), [part])
            completed = await self.space.complete_upload("ab", "cd", [part])
            self.assertEqual((completed.number, completed.size), (0, len(data)))
            self.assertEqual(await self.get("ab"), data)
            await self.space.delete("ab")

    async def test_out_of_order(self) -> None:
        """Parts come in any order, and are listed in that of their numbers."""
        await self.space.init_upload("cd", {})
        numbers = [10, 2, LAST, 1, 9, 100]
        uploaded = {number: await self.part("cd", number, b"<%d>" % number) for number in numbers}
        listed = await self.space.list_parts("cd")
        self.assertEqual(listed, [uploaded[number] for number in sorted(numbers)])
        await self.space.complete_upload("ab", "cd", listed)
        self.assertEqual(await self.get("ab"), b"<1><2><9><10><100><%d>" % LAST)

    async def test_parts_of_objects(self) -> None:
        """Their numbers and notes are kept, as far as they are in a copy."""
        space = self.space
        await space.init_upload("cd", {})
        for number, note in ((3, "three"), (LAST, ""), (7, "7é" * 300), (1, "left out")):
            await space.upload_part("cd", number, BytesStream(b"<%d>" % number), None, lambda note=note: note)
        there = (await space.list_parts("cd"))[1:]
        await space.complete_upload("ab", "cd", there)
        self.assertEqual(await space.list_object_parts("ab"), there)
        await space.copy("ac", "ab")
        self.assertEqual(await space.list_object_parts("ac"), there)
        # The whole second and third part, and then less.
        await space.copy("ad", "ab", 3)
        second, third = there[1:]
        expected = [Part(1, second.etag, 3, second.note), Part(2, third.etag, third.size)]
        self.assertEqual(await space.list_object_parts("ad"), expected)
        await space.copy("ba", "ab", 4, 1)
        (less,) = await space.list_object_parts("ba")
        self.assertEqual((less.number, less.size, less.note), (1, 1, ""))
        part = await self.put("ae", b"whole")
        self.assertEqual(await space.list_object_parts("ae", part), [Part(1, part.etag, 5)])
        await self.refused(DamagedObject, space.list_object_parts("ae", Part(0, "", 6)))
        await self.refused(NoSuchObject, space.list_object_parts("af"))
        # A part of such an object takes nothing with it.
        await space.init_upload("ce", {})
        await space.upload_part_copy("ce", 5, "ab", 0, 3)
        (copied,) = await space.list_parts("ce")
        await space.complete_upload("af", "ce", [copied])
        self.assertEqual(await space.list_object_parts("af"), [Part(5, copied.etag, 3)])

    async def test_extend(self) -> None:
        """An object gets the parts of another one and one more, and the other stays."""
        space = self.space
        data = content(BLOCK + 7)
        made = await space.extend("a1", None, BytesStream(data), None, {"key": ["a"]}, lambda: "first")
        self.assertEqual((made.number, made.size), (0, len(data)))
        (first,) = await space.list_object_parts("a1", made)
        self.assertEqual((first.number, first.size, first.note), (1, len(data), "first"))
        tap = Tap()
        extending = space.extend("a2", "a1", tap, 5, {"key": ["b"]}, lambda: "second", "not this", made)
        await tap.write(b"12345")
        tap.end()
        longer = await extending
        parts = await space.list_object_parts("a2", longer)
        self.assertEqual((parts[0], longer.size), (first, len(data) + 5))
        self.assertEqual((parts[1].number, parts[1].size, parts[1].note), (2, 5, "second"))
        self.assertEqual(await self.get("a2"), data + b"12345")
        self.assertEqual(await self.get("a2", len(data) - 1, 4), data[-1:] + b"123")
        self.assertEqual(await space.get_metadata("a2"), {"key": ["b"]})
        await space.delete("a2")
        self.assertEqual(await self.get("a1"), data)
        await space.extend("a3", "a1", BytesStream(b""), 0, lambda: {"key": ["c"]})
        await space.delete("a1")
        self.assertEqual((await self.get("a3"), await space.get_metadata("a3")), (data, {"key": ["c"]}))
        self.assertEqual([part.size for part in await space.list_object_parts("a3")], [len(data), 0])

    async def test_numbers_of_extended(self) -> None:
        """They go on, as long as S3 has such; then all parts have those of their places."""
        space = self.space
        await self.put("aa", b"whole")
        await space.extend("ab", "aa", BytesStream(b"x"), 1, {}, None, "of the whole")
        self.assertEqual(
            [(part.number, part.note) for part in await space.list_object_parts("ab")], [(1, "of the whole"), (2, "")]
        )
        await space.init_upload("cd", {})
        for number in (7, LAST_NUMBER - 1):
            await space.upload_part("cd", number, BytesStream(b"x"), 1, lambda n=number: str(n))
        await space.complete_upload("ac", "cd", await space.list_parts("cd"))
        expected = [[7, LAST_NUMBER - 1, LAST_NUMBER], [1, 2, 3, 4], [1, 2, 3, 4, 5]]
        for source, id, numbers in zip(("ac", "ad", "ae"), ("ad", "ae", "af"), expected, strict=True):
            await space.extend(id, source, BytesStream(b"y"), 1, {}, None, "no")
            parts = await space.list_object_parts(id)
            self.assertEqual([part.number for part in parts], numbers)
            self.assertEqual([part.note for part in parts[:3]], ["7", str(LAST_NUMBER - 1), ""])
        self.assertEqual(await self.get("af"), b"xxyyy")

    async def test_extend_refused(self) -> None:
        """Nothing is left of it, and the stream is closed."""
        space = self.space
        part = await self.put("aa", b"whole")
        for error, id, source, size, expected in (
            (AlreadyExists, "aa", "aa", None, None),
            (NoSuchObject, "ab", "ee", None, None),
            (DamagedObject, "ab", "aa", None, Part(0, "", 4)),
            (SizeMismatch, "ab", "aa", 2, None),
            (InvalidName, "x", None, None, None),
        ):
            tap = Tap()
            tap.end()
            await self.refused(error, space.extend(id, source, tap, size, {}, None, "", expected))
        await self.refused(InvalidName, space.extend("ab", "aa", BytesStream(b"x"), 1, {}, lambda: "x" * 2000))
        await self.absent("ab")
        # The source goes while the bytes come.
        tap = Tap()
        extending = space.extend("ab", "aa", tap, None, {}, expected=part)
        await tap.write(b"late")
        await space.delete("aa")
        tap.end()
        await self.refused(NoSuchObject, extending)
        await self.absent("ab", "aa")

    async def test_streams(self) -> None:
        """Parts come in any pieces, with their size known or not, at hand or not."""
        data = content(MIB + 9)
        etags = set()
        await self.space.init_upload("cd", {})
        for number, (size, make) in enumerate(itertools.product((None, len(data)), (BytesStream, later)), 1):
            pieces = pieces_of(data, (1, 5000, 0, 3, 70_001))
            etags.add(await self.space.upload_part("cd", number, make(pieces), size))
        self.assertEqual(len(etags), 1 if self.equal_etags else 4)
        await self.space.complete_upload("ab", "cd", await self.space.list_parts("cd"))
        self.assertEqual(await self.get("ab"), 4 * data)

    async def test_many_parts(self) -> None:
        parts = await self.upload("cd", *(b"%d," % number for number in range(150)))
        part = await self.space.complete_upload("ab", "cd", parts)
        data = b"".join(b"%d," % number for number in range(150))
        self.assertEqual((await self.get("ab"), part.size), (data, len(data)))
        self.assertEqual(await self.get("ab", 7, 300), data[7:][:300])

    async def test_replaced(self) -> None:
        """A part that comes again takes the place of the first, be it larger or smaller, and again."""
        parts = await self.upload("cd", b"one", content(BLOCK + 5), b"three")
        for data in (content(3 * BLOCK), b"", b"two", content(BLOCK + 5)):
            old = parts[1]
            parts[1] = await self.part("cd", 2, data)
            self.assertEqual(await self.space.list_parts("cd"), parts)
            await self.refused(InvalidPart, self.space.complete_upload("ab", "cd", [parts[0], old]))
        self.assertEqual(await self.space.list_parts("cd"), parts)
        await self.space.complete_upload("ab", "cd", parts)
        self.assertEqual(await self.get("ab"), b"one" + content(BLOCK + 5) + b"three")

    async def test_replaced_by_same(self) -> None:
        parts = await self.upload("cd", b"one", b"two")
        again = await self.part("cd", 1, b"one")
        self.assertEqual(again.etag == parts[0].etag, self.equal_etags)
        parts[0] = again
        self.assertEqual(await self.space.list_parts("cd"), parts)
        await self.space.complete_upload("ab", "cd", parts)
        self.assertEqual(await self.get("ab"), b"onetwo")

    async def test_replacing_fails(self) -> None:
        """A replacement that does not come to its end leaves the part as it was."""
        parts = await self.upload("cd", b"one", b"two")
        tap = Tap()
        replacing = self.space.upload_part("cd", 1, tap, None)
        await tap.write(content(BLOCK), b"x")
        tap.end(ZeroDivisionError())
        await self.refused(ZeroDivisionError, replacing)
        await self.refused(SizeMismatch, self.space.upload_part("cd", 1, BytesStream(b"more"), 3))
        await self.refused(NoSuchObject, self.space.upload_part_copy("cd", 1, "ab"))
        self.assertEqual(await self.space.list_parts("cd"), parts)
        await self.space.complete_upload("ab", "cd", parts)
        self.assertEqual(await self.get("ab"), b"onetwo")

    async def test_at_once(self) -> None:
        """Parts of one upload may come at the same time."""
        await self.space.init_upload("cd", {})
        taps = [Tap() for _ in range(8)]
        waiting = [self.space.upload_part("cd", number, tap, None) for number, tap in enumerate(taps, 1)]
        for piece in range(3):
            for number, tap in enumerate(taps):
                await tap.write(content(BLOCK - 1, 10 * number + piece))
        for tap in reversed(taps):
            tap.end()
        etags = [await deferred for deferred in waiting]
        parts = [Part(number, etag, 3 * BLOCK - 3) for number, etag in enumerate(etags, 1)]
        self.assertEqual(await self.space.list_parts("cd"), parts)
        await self.space.complete_upload("ab", "cd", parts)
        self.assertEqual(
            await self.get("ab"),
            b"".join(content(BLOCK - 1, 10 * number + piece) for number in range(8) for piece in range(3)),
        )

    async def test_same_number_at_once(self) -> None:
        """Of parts of one number that come at the same time one is there in the end, whole."""
        await self.space.init_upload("cd", {})
        datas = [content(BLOCK * n, n) for n in range(6)]
        waiting = [self.space.upload_part("cd", 3, BytesStream(data), len(data)) for data in datas]
        etags = [await deferred for deferred in waiting]
        (part,) = await self.space.list_parts("cd")
        winner = etags.index(part.etag)
        self.assertEqual(part, Part(3, etags[winner], len(datas[winner])))
        await self.space.complete_upload("ab", "cd", [part])
        self.assertEqual(await self.get("ab"), datas[winner])

    # -- parts that are shared, read and joined ------------------------------------------------

    async def test_link(self) -> None:
        """Parts of other uploads become parts, in any order and several times, and those uploads stay as they are."""
        first = await self.upload("cd", b"one", content(BLOCK + 5), b"three")
        second = await self.upload("ce", b"", content(3 * BLOCK, 1))
        await self.space.init_upload("cf", {})
        self.assertEqual(
            await self.space.upload_part_link("cf", 1, "cd", [1, 2, 3]), [first[0].etag, first[1].etag, first[2].etag]
        )
        self.assertEqual(await self.space.upload_part_link("cf", 10, "ce", [2]), [second[1].etag])
        self.assertEqual(
            await self.space.upload_part_link("cf", 4, "cd", [3, 1, 3]), [first[2].etag, first[0].etag, first[2].etag]
        )
        parts = await self.space.list_parts("cf")
        self.assertEqual(
            [(part.number, part.size) for part in parts],
            [(1, 3), (2, BLOCK + 5), (3, 5), (4, 5), (5, 3), (6, 5), (10, 3 * BLOCK)],
        )
        self.assertEqual(await self.space.list_parts("cd"), first)
        for upload_id in ("cd", "ce"):
            await self.space.abort_upload(upload_id)
        await self.space.complete_upload("ab", "cf", parts)
        expected = b"one" + content(BLOCK + 5) + b"threethreeonethree" + content(3 * BLOCK, 1)
        self.assertEqual(await self.get("ab"), expected)

    async def test_link_keeps_notes(self) -> None:
        """What was noted of a part is noted of it in the other upload."""
        await self.space.init_upload("cd", {})
        await self.space.init_upload("ce", {})
        etag = await self.space.upload_part("cd", 3, BytesStream(b"data"), 4, lambda: "n\xf6ted")
        await self.space.upload_part_link("ce", 1, "cd", [3])
        self.assertEqual(await self.space.list_parts("ce"), [Part(1, etag, 4, "n\xf6ted")])

    async def test_link_within(self) -> None:
        """An upload may be its own source."""
        (part,) = await self.upload("cd", b"twice")
        self.assertEqual(await self.space.upload_part_link("cd", 2, "cd", [1]), [part.etag])
        await self.space.complete_upload("ab", "cd", await self.space.list_parts("cd"))
        self.assertEqual(await self.get("ab"), b"twicetwice")

    async def test_link_refused(self) -> None:
        """All of it, or nothing."""
        await self.upload("cd", b"one", b"two")
        parts = await self.upload("ce", b"other")
        for number, numbers in ((1, [1]), (2, []), (2, [1, 3]), (0, [1]), (LAST, [1, 2]), (LAST + 1, [1])):
            await self.refused(InvalidPart, self.space.upload_part_link("ce", number, "cd", numbers))
        await self.refused(NoSuchUpload, self.space.upload_part_link("ce", 2, "cf", [1]))
        await self.refused(NoSuchUpload, self.space.upload_part_link("cf", 2, "cd", [1]))
        await self.refused(InvalidName, self.space.upload_part_link("../cf", 2, "cd", [1]))
        await self.refused(InvalidName, self.space.upload_part_link("ce", 2, "../cd", [1]))
        self.assertEqual(await self.space.list_parts("ce"), parts)

    async def test_get_part(self) -> None:
        """A part can be read before there is an object, and still when it is gone."""
        datas = [b"", b"x", content(3 * BLOCK + 7)]
        parts = await self.upload("cd", *datas)
        readers = [await self.space.get_part("cd", part.number) for part in parts]
        late = await self.space.get_part("cd", 3)
        closed = await self.space.get_part("cd", 3)
        await closed.close()
        for reader, part, data in zip(readers, parts, datas, strict=True):
            self.assertEqual((reader.id, reader.etag, reader.size), ("cd", part.etag, len(data)))
            self.assertEqual((reader.offset, reader.length), (0, len(data)))
            self.assertEqual(await read_all(reader), data)
        await self.part("cd", 3, b"another")
        await self.space.abort_upload("cd")
        self.assertEqual(await read_all(late), datas[2])
        await self.refused(NoSuchUpload, self.space.get_part("cd", 3))

    async def test_get_part_refused(self) -> None:
        await self.upload("cd", b"one")
        for number in (2, *INVALID_NUMBERS):
            await self.refused(InvalidPart, self.space.get_part("cd", number))
        await self.refused(NoSuchUpload, self.space.get_part("ce", 1))
        await self.refused(InvalidName, self.space.get_part("../cd", 1))

    async def test_instead_of(self) -> None:
        """A part takes the place of others in one step: of all of them, or of none if it does not come to its end."""
        parts = await self.upload("cd", b"one", content(BLOCK + 5), b"three", b"four")
        tap = Tap()
        joining = self.space.upload_part("cd", 5, tap, None, None, [2, 3, 4])
        await tap.write(b"two")
        tap.end(ZeroDivisionError())
        await self.refused(ZeroDivisionError, joining)
        await self.refused(InvalidPart, self.space.upload_part("cd", 1, BytesStream(b"x"), 1, None, [2]))
        await self.refused(InvalidPart, self.space.upload_part("cd", 4, BytesStream(b"x"), 1, None, [2, 3, 4]))
        self.assertEqual(await self.space.list_parts("cd"), parts)
        etag = await self.space.upload_part("cd", 5, BytesStream(b"joined"), 6, lambda: "noted", [2, 3, 4, 77])
        self.assertEqual(await self.space.list_parts("cd"), [parts[0], Part(5, etag, 6, "noted")])
        # Their numbers are free again.
        again = await self.part("cd", 3, b", again, ")
        listed = await self.space.list_parts("cd")
        self.assertEqual(listed, [parts[0], again, Part(5, etag, 6, "noted")])
        await self.space.complete_upload("ab", "cd", listed)
        self.assertEqual(await self.get("ab"), b"one, again, joined")

    async def test_invalid_numbers(self) -> None:
        await self.put("ab", b"x")
        await self.space.init_upload("cd", {})
        for number in INVALID_NUMBERS:
            await self.refused(InvalidPart, self.space.upload_part("cd", number, BytesStream(b"x"), 1))
            await self.refused(InvalidPart, self.space.upload_part_copy("cd", number, "ab"))
        self.assertEqual(await self.space.list_parts("cd"), [])

    async def test_wrong_sizes(self) -> None:
        """As with a whole object: nothing is stored, the sizes are named, a source with too much is stopped."""
        await self.space.init_upload("cd", {})
        for announced, size in ((10, 0), (10, 9), (10, 12), (0, 1), (BLOCK, BLOCK - 1), (BLOCK, BLOCK + 2)):
            tap = Tap()
            uploading = self.space.upload_part("cd", 1, tap, announced)
            await tap.write(content(size))
            if size < announced:
                tap.end()
            self.check_mismatch(await self.refused(SizeMismatch, uploading), announced, size)
            self.assertEqual(tap.refused, size > announced)
            self.assertEqual(await self.space.list_parts("cd"), [])

    async def test_cancel(self) -> None:
        """A part that is cancelled stops its source and stores nothing."""
        parts = await self.upload("cd", b"one")
        for number in (1, 2):
            for pieces in (0, 1, 5):
                tap = Tap()
                uploading = self.space.upload_part("cd", number, tap, None)
                await tap.started
                await tap.write(*[content(BLOCK)] * pieces)
                uploading.cancel()
                await self.refused(CancelledError, uploading)
                self.assertTrue(tap.refused)
                await pause(0.01)
                self.assertEqual(await self.space.list_parts("cd"), parts)
        parts.append(await self.part("cd", 2, b"two"))
        await self.space.complete_upload("ab", "cd", parts)
        self.assertEqual(await self.get("ab"), b"onetwo")

    async def test_cancel_at_the_end(self) -> None:
        """Cancelled while it is being made durable, a part is there exactly if its upload has not failed."""
        expected = await self.upload("cd", b"one", b"two")
        for number in range(12):
            data = b"%d" % number
            uploading = self.space.upload_part("cd", 1 + number % 3, BytesStream(data), None)
            await turns(number // 3)
            uploading.cancel()
            etags: list[str] = []
            uploading.addCallback(lambda etag, etags=etags: etags.append(etag))
            if await self.outcome(uploading):
                part = Part(1 + number % 3, etags[0], len(data))
                expected = sorted([part, *(p for p in expected if p.number != part.number)], key=lambda p: p.number)
            self.assertEqual(await self.space.list_parts("cd"), expected)
        await self.space.complete_upload("ab", "cd", expected)

    # -- beginning and ending ----------------------------------------------------------------

    async def test_init_again(self) -> None:
        """An upload ID that is in use is refused, and the upload goes on."""
        parts = await self.upload("cd", b"one", metadata={"number": ["one"]})
        await self.refused(AlreadyExists, self.space.init_upload("cd", {"number": ["two"]}))
        self.assertEqual(await self.space.list_parts("cd"), parts)
        await self.space.complete_upload("ab", "cd", parts)
        self.assertEqual(await self.space.get_metadata("ab"), {"number": ["one"]})

    async def test_empty_upload(self) -> None:
        """An upload without parts is one."""
        await self.space.init_upload("cd", {})
        self.assertEqual(await self.space.list_parts("cd"), [])
        await self.space.abort_upload("cd")
        await self.ended("cd")

    async def test_unknown(self) -> None:
        await self.ended("cd")

    async def test_abort(self) -> None:
        """An upload that is aborted is gone with its parts; others are not."""
        await self.upload("cd", b"one", content(BLOCK))
        parts = await self.upload("cdef", b"other")
        await self.space.abort_upload("cd")
        await self.ended("cd")
        self.assertEqual(await self.space.list_parts("cdef"), parts)

    async def test_same_upload_id_again(self) -> None:
        """An upload ID can be used again when its upload has ended, and nothing of that one is there."""
        parts = await self.upload("cd", b"aborted", b"twice", metadata={"number": ["zero"]})
        await self.space.abort_upload("cd")
        for number, data in enumerate((b"first", b"second")):
            await self.space.init_upload("cd", {"number": [str(number)]})
            self.assertEqual(await self.space.list_parts("cd"), [])
            await self.refused(InvalidPart, self.space.complete_upload("ff", "cd", parts))
            parts = [await self.part("cd", 1, data)]
            await self.space.complete_upload(f"a{number}", "cd", parts)
        for number, data in enumerate((b"first", b"second")):
            self.assertEqual(await self.get(f"a{number}"), data)
            self.assertEqual(await self.space.get_metadata(f"a{number}"), {"number": [str(number)]})

    async def test_namespaces(self) -> None:
        """An upload ID may be the ID of an object, also of the one it becomes."""
        await self.put("aa", b"object")
        parts = await self.upload("aa", b"part")
        self.assertEqual(await self.get("aa"), b"object")
        await self.space.delete("aa")
        self.assertEqual(await self.space.list_parts("aa"), parts)
        await self.space.complete_upload("aa", "aa", parts)
        self.assertEqual(await self.get("aa"), b"part")
        await self.upload("aa", b"another")
        await self.space.abort_upload("aa")
        self.assertEqual(await self.get("aa"), b"part")

    async def test_ended_meanwhile(self) -> None:
        """A part that was on its way when its upload ended is refused, also if one of the same ID was begun."""
        for ending in ("abort", "complete"):
            for again in (False, True):
                parts = await self.upload("cd", b"one")
                tap = Tap()
                uploading = self.space.upload_part("cd", 1, tap, None)
                await tap.write(content(BLOCK), b"x")
                if ending == "abort":
                    await self.space.abort_upload("cd")
                else:
                    await self.space.complete_upload("ab", "cd", parts)
                if again:
                    await self.space.init_upload("cd", {})
                tap.end()
                await self.refused(NoSuchUpload, uploading)
                if again:
                    self.assertEqual(await self.space.list_parts("cd"), [])
                    await self.space.abort_upload("cd")
                await self.ended("cd")
                if ending == "complete":
                    self.assertEqual(await self.get("ab"), b"one")
                    await self.space.delete("ab")

    # -- completing --------------------------------------------------------------------------

    async def test_subset(self) -> None:
        """An object is made of the parts that are named; the others are dropped."""
        parts = await self.upload("cd", b"one", b"two", b"three", b"four")
        part = await self.space.complete_upload("ab", "cd", [parts[1], parts[3]])
        self.assertEqual(part.size, 7)
        self.assertEqual(await self.get("ab"), b"twofour")
        await self.ended("cd")

    async def test_wrong_order(self) -> None:
        """Parts must ascend, and none is named twice; then the upload goes on."""
        one, two, three = parts = await self.upload("cd", b"one", b"two", b"three")
        for wrong in ([two, one], [one, three, two], [three, two, one], [one, one], [one, two, two], [two, three, one]):
            await self.refused(InvalidPartOrder, self.space.complete_upload("ab", "cd", wrong))
        await self.absent("ab")
        self.assertEqual(await self.space.list_parts("cd"), parts)
        await self.space.complete_upload("ab", "cd", parts)

    async def test_wrong_parts(self) -> None:
        """No parts, and such as are not there or others than was said, are refused; then the upload goes on."""
        one, two = parts = await self.upload("cd", b"one", b"two")
        for wrong in (
            [],
            [one, Part(2, one.etag, 3)],
            [Part(1, "", 3)],
            [Part(1, one.etag.upper() + "x", 3)],
            [one, Part(3, two.etag, 3)],
            [one, two, Part(3, "", 0)],
            *([Part(number, one.etag, 3)] for number in INVALID_NUMBERS),
        ):
            await self.refused(InvalidPart, self.space.complete_upload("ab", "cd", wrong))
        await self.absent("ab")
        self.assertEqual(await self.space.list_parts("cd"), parts)
        await self.space.complete_upload("ab", "cd", parts)
        self.assertEqual(await self.get("ab"), b"onetwo")

    async def test_no_parts_there(self) -> None:
        await self.space.init_upload("cd", {})
        await self.refused(InvalidPart, self.space.complete_upload("ab", "cd", []))
        await self.refused(InvalidPart, self.space.complete_upload("ab", "cd", [Part(1, "x", 1)]))
        self.assertEqual(await self.space.list_parts("cd"), [])

    async def test_sizes_are_not_looked_at(self) -> None:
        """Who completes an upload need not know how large its parts are."""
        parts = await self.upload("cd", b"one", b"two")
        part = await self.space.complete_upload("ab", "cd", [Part(part.number, part.etag, -7) for part in parts])
        self.assertEqual((part.size, await self.get("ab")), (6, b"onetwo"))

    async def test_complete_metadata(self) -> None:
        """The object has the metadata of the upload, or those given at its end, be they none at all."""
        for number, metadata in enumerate((None, {"a": ["other"]}, {})):
            parts = await self.upload("cd", b"x", metadata={"a": ["ñ"], "c": []})
            await self.space.complete_upload(f"a{number}", "cd", parts, metadata)
            self.assertEqual(
                await self.space.get_metadata(f"a{number}"), {"a": ["ñ"], "c": []} if metadata is None else metadata
            )

    async def test_complete_metadata_are_ours(self) -> None:
        """What a caller does to the metadata it gave changes nothing."""
        metadata = {"key": ["value"]}
        beginning = self.space.init_upload("cd", metadata)
        metadata["key"].append("more")
        await beginning
        await self.space.complete_upload("ab", "cd", [await self.part("cd", 1, b"x")])
        self.assertEqual(await self.space.get_metadata("ab"), {"key": ["value"]})

    async def test_complete_onto(self) -> None:
        """No object is written over, not even one of no bytes; then the upload goes on."""
        await self.put("aa", b"there", {"kept": []})
        await self.put("bb", b"")
        parts = await self.upload("cd", b"one", b"two", metadata={"a": ["b"]})
        for id in ("aa", "bb"):
            await self.refused(AlreadyExists, self.space.complete_upload(id, "cd", parts))
            await self.refused(AlreadyExists, self.space.complete_upload(id, "cd", parts, {"c": []}))
        self.assertEqual((await self.get("aa"), await self.get("bb")), (b"there", b""))
        self.assertEqual(await self.space.get_metadata("aa"), {"kept": []})
        self.assertEqual(await self.space.list_parts("cd"), parts)
        parts.append(await self.part("cd", 3, b"three"))
        await self.space.complete_upload("cc", "cd", parts)
        self.assertEqual(await self.get("cc"), b"onetwothree")
        self.assertEqual(await self.space.get_metadata("cc"), {"a": ["b"]})

    async def test_complete_at_once(self) -> None:
        """Of those who complete an upload at the same time one succeeds."""
        parts = await self.upload("cd", b"one", b"two")
        waiting = [self.space.complete_upload(f"a{n % 3}", "cd", parts[: 1 + n % 2]) for n in range(6)]
        completed = []
        for n, deferred in enumerate(waiting):
            try:
                completed.append((n, await deferred))
            except (NoSuchUpload, AlreadyExists):
                pass
        ((winner, _),) = completed
        self.assertEqual(await self.get(f"a{winner % 3}"), b"onetwo" if winner % 2 else b"one")
        await self.absent(*{"a0", "a1", "a2"} - {f"a{winner % 3}"})
        await self.ended("cd")

    async def test_complete_or_abort(self) -> None:
        """An upload that is completed and aborted at the same time is one of them."""
        for first in ("complete", "abort"):
            parts = await self.upload("cd", b"one")
            waiting = {}
            for name in (first, *{"complete", "abort"} - {first}):
                if name == "complete":
                    waiting[name] = self.space.complete_upload("ab", "cd", parts)
                else:
                    waiting[name] = self.space.abort_upload("cd")
            done = []
            for name, deferred in waiting.items():
                try:
                    await deferred
                    done.append(name)
                except NoSuchUpload:
                    pass
            self.assertEqual(len(done), 1)
            if done == ["complete"]:
                self.assertEqual(await self.get("ab"), b"one")
                await self.space.delete("ab")
            await self.absent("ab")
            await self.ended("cd")

    async def test_cancel_complete(self) -> None:
        """Either the object is there and the upload is not, or it is the other way round."""
        for number in range(8):
            parts = await self.upload("cd", b"one", b"two")
            completing = self.space.complete_upload("ab", "cd", parts)
            await turns(number)
            completing.cancel()
            if not await self.outcome(completing):
                await self.absent("ab")
                self.assertEqual(await self.space.list_parts("cd"), parts)
                await self.space.complete_upload("ab", "cd", parts)
            self.assertEqual(await self.get("ab"), b"onetwo")
            await self.ended("cd")
            await self.space.delete("ab")

    async def test_cancel_init_and_abort(self) -> None:
        """An upload is there exactly if its beginning has not failed, or its end has."""
        for number in range(6):
            beginning = self.space.init_upload("cd", {})
            await turns(number)
            beginning.cancel()
            if not await self.outcome(beginning):
                await self.ended("cd")
                await self.space.init_upload("cd", {})
            aborting = self.space.abort_upload("cd")
            await turns(number)
            aborting.cancel()
            if not await self.outcome(aborting):
                self.assertEqual(await self.space.list_parts("cd"), [])
                await self.space.abort_upload("cd")
            await self.ended("cd")

    async def test_etags(self) -> None:
        """The same parts have the same tags in every upload, and make objects of the same tag; others do not."""
        first = await self.upload("c0", b"one", b"two", content(BLOCK))
        second = await self.upload("c1", b"one", b"two", content(BLOCK))
        self.assertEqual(first == second, self.equal_etags)
        self.assertEqual(len({part.etag for part in first}), 3)
        third = await self.upload("c2", b"on", b"etwo", content(BLOCK))
        etags = [
            (await self.space.complete_upload(f"a{number}", f"c{number}", parts)).etag
            for number, parts in enumerate((first, second, third))
        ]
        self.assertEqual(etags[0] == etags[1], self.equal_etags)
        self.assertEqual(len({*etags, *(part.etag for part in first)}), 5 if self.equal_etags else 6)

    # -- parts that are copies ---------------------------------------------------------------

    async def test_part_copies(self) -> None:
        """Parts that are whole objects, and ranges of them, of one part and of several; the sources then go."""
        data = content(5 * BLOCK + 5)
        await self.put("aa", data)
        await self.put_parts("bb", data[:BLOCK], b"", data[BLOCK : 2 * BLOCK + 3], data[2 * BLOCK + 3 :])
        await self.put("ee", b"")
        ranges = [
            (0, None),
            (0, len(data)),
            (BLOCK, BLOCK),
            (0, BLOCK),
            (1, 2 * BLOCK),
            (BLOCK - 1, 3 * BLOCK),
            (2 * BLOCK + 3, None),
            (len(data) - 1, 1),
            (7, 0),
            (len(data), None),
        ]
        await self.space.init_upload("cd", {"a": ["b"]})
        parts, expected = [], []
        for number, (id, (offset, length)) in enumerate(itertools.product(("aa", "bb"), ranges), 1):
            etag = await self.space.upload_part_copy("cd", number, id, offset, length)
            expected.append(data[offset : len(data) if length is None else offset + length])
            parts.append(Part(number, etag, len(expected[-1])))
        parts.append(Part(1000, await self.space.upload_part_copy("cd", 1000, "ee"), 0))
        self.assertEqual(await self.space.list_parts("cd"), parts)
        for id in ("aa", "bb", "ee"):
            await self.space.delete(id)
        for part, piece in zip(parts, expected, strict=False):
            self.assertEqual(part.size, len(piece))
        await self.space.complete_upload("ab", "cd", parts)
        self.assertEqual(await self.get("ab"), b"".join(expected))
        self.assertEqual(await self.space.get_metadata("ab"), {"a": ["b"]})

    async def test_part_copies_replace(self) -> None:
        """A copy takes the place of a part, and a part that of a copy."""
        await self.put("aa", b"copied")
        parts = await self.upload("cd", b"one", b"two")
        etag = await self.space.upload_part_copy("cd", 1, "aa")
        parts[0] = Part(1, etag, 6)
        self.assertEqual(await self.space.list_parts("cd"), parts)
        parts[0] = Part(1, await self.space.upload_part_copy("cd", 1, "aa", 2, 3), 3)
        parts[1] = Part(2, await self.space.upload_part_copy("cd", 2, "aa"), 6)
        parts[1] = await self.part("cd", 2, b"again")
        self.assertEqual(await self.space.list_parts("cd"), parts)
        await self.space.complete_upload("ab", "cd", parts)
        self.assertEqual((await self.get("ab"), await self.get("aa")), (b"pieagain", b"copied"))

    async def test_part_copies_are_dropped(self) -> None:
        """Objects do not care what becomes of copies of them."""
        await self.put("aa", content(2 * BLOCK))
        await self.space.init_upload("cd", {})
        await self.space.upload_part_copy("cd", 1, "aa")
        await self.space.upload_part_copy("cd", 2, "aa", BLOCK)
        await self.space.abort_upload("cd")
        self.assertEqual(await self.get("aa"), content(2 * BLOCK))

    async def test_part_copies_refused(self) -> None:
        await self.space.init_upload("cd", {})
        await self.refused(NoSuchObject, self.space.upload_part_copy("cd", 1, "ab"))
        await self.refused(NoSuchObject, self.space.upload_part_copy("cd", 1, "cd"))
        self.assertEqual(await self.space.list_parts("cd"), [])

    # -- the list of uploads -----------------------------------------------------------------

    async def test_list_uploads(self) -> None:
        """They are listed in order, with their times and what is in them."""
        self.assertEqual(await self.space.list_uploads(), [])
        await self.upload("cd")
        self.advance(100)
        await self.upload("00", b"one", content(BLOCK), b"")
        await self.part("00", 1, b"replaced")
        await self.upload("cdef", b"x")
        await self.put("aa", b"an object")
        one, two, three = await self.space.list_uploads()
        self.assertEqual(
            [(upload.id, upload.parts, upload.size) for upload in (one, two, three)],
            [("00", 3, BLOCK + 8), ("cd", 0, 0), ("cdef", 1, 1)],
        )
        self.assertIsInstance(one, Upload)
        self.assertApproximates(one.touched, two.touched + 100, 5)
        self.assertApproximates(one.created, one.touched, 5)
        await self.space.abort_upload("00")
        await self.space.complete_upload("ab", "cdef", await self.space.list_parts("cdef"))
        self.assertEqual(await self.space.list_uploads(), [two])

    async def test_touched(self) -> None:
        """A part touches an upload; its list, a part that failed and a completion that failed do not."""
        await self.put("aa", b"an object")
        await self.upload("cd")
        self.advance(100)
        (first,) = await self.space.list_uploads()
        await self.space.list_parts("cd")
        await self.refused(SizeMismatch, self.space.upload_part("cd", 1, BytesStream(b"x"), 2))
        await self.refused(InvalidPart, self.space.complete_upload("ab", "cd", []))
        await self.refused(AlreadyExists, self.space.init_upload("cd", {}))
        self.assertEqual(await self.space.list_uploads(), [first])
        await self.part("cd", 1, b"x")
        (second,) = await self.space.list_uploads()
        self.assertEqual(second.created, first.created)
        self.assertApproximates(second.touched, first.touched + 100, 5)
        self.advance(100)
        (third,) = await self.space.list_uploads()
        await self.space.upload_part_copy("cd", 1, "aa")
        (fourth,) = await self.space.list_uploads()
        self.assertEqual(fourth.created, third.created)
        self.assertApproximates(fourth.touched, third.touched + 100, 5)

    async def test_expire(self) -> None:
        """Those not touched for so long are aborted, no others."""
        await self.put("aa", b"an object")
        for upload_id in ("c0", "c1", "c2", "c3"):
            await self.upload(upload_id, b"x")
        self.advance(100)
        await self.part("c1", 1, b"y")
        await self.space.upload_part_copy("c2", 7, "aa")
        await self.upload("c4")
        self.assertEqual(await self.space.expire_uploads(200), [])
        self.advance(50)
        self.assertEqual(sorted(await self.space.expire_uploads(120)), ["c0", "c3"])
        await self.ended("c0", "c3")
        self.assertEqual(await self.space.expire_uploads(120), [])
        self.assertEqual([upload.id for upload in await self.space.list_uploads()], ["c1", "c2", "c4"])
        self.assertEqual(await self.space.expire_uploads(20, {"c1", "c2"}.__contains__), ["c4"])
        self.assertEqual([upload.id for upload in await self.space.list_uploads()], ["c1", "c2"])
        self.assertEqual(sorted(await self.space.expire_uploads(20)), ["c1", "c2"])
        self.assertEqual(await self.space.list_uploads(), [])
        await self.upload("c0", b"again")
        self.assertEqual(await self.get("aa"), b"an object")
