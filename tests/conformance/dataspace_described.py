"""What data spaces do with metadata that comes late, or is replaced: mixed into a test case that makes one."""

from __future__ import annotations

from storehouse.core.streams import BytesStream, read_all
from storehouse.errors import InvalidName, NoSuchObject, NoSuchUpload, Unavailable
from storehouse.storage.dataspace.interfaces import IDescribed, Part
from storehouse.storage.dataspace.values import MAX_METADATA
from tests.conformance.dataspace import BLOCK, SpaceTestsMixin, content

__all__ = ["DescribedTestsMixin", "LateTestsMixin"]


class DescribedTestsMixin(SpaceTestsMixin):
    """Clauses of L{IDescribed}."""

    async def test_replace_metadata(self) -> None:
        """All of it is another; bytes, parts and tags stay, and so do copies."""
        self.assertTrue(IDescribed.providedBy(self.space))
        one = await self.put("ab", content(BLOCK + 5), {"old": ["1", "2"]})
        await self.put_parts("cd", b"one", b"two", metadata={"old": []})
        await self.space.copy("ef", "ab")
        reader = await self.space.get("ab")
        metadata = {"new": ["größe", ""], "": []}
        for id in ("ab", "cd"):
            await self.space.replace_metadata(id, metadata)
            self.assertEqual(await self.space.get_metadata(id), metadata)
        self.assertEqual(reader.metadata, {"old": ["1", "2"]})
        self.assertEqual(await read_all(reader), content(BLOCK + 5))
        metadata["new"].append("more")
        await self.reopened()
        again = await self.space.get("ab", 1)
        self.assertEqual((again.etag, again.metadata), (one.etag, {"new": ["größe", ""], "": []}))
        self.assertEqual(await read_all(again), content(BLOCK + 5)[1:])
        self.assertEqual(await self.get("cd"), b"onetwo")
        self.assertEqual(await self.space.get_metadata("ef"), {"old": ["1", "2"]})
        await self.space.delete("ab")
        await self.absent("ab")

    async def reopened(self) -> None:
        """For spaces that keep something."""

    async def test_replace_upload_metadata(self) -> None:
        """Its parts stay, more can come, and what it becomes has the new one."""
        parts = await self.upload("cd", b"one", content(BLOCK + 5), metadata={"old": []})
        (before,) = await self.space.list_uploads()
        await self.space.replace_upload_metadata("cd", {"new": ["x"]})
        await self.reopened()
        self.assertEqual(await self.space.list_parts("cd"), parts)
        found = await self.space.get_upload("cd")
        self.assertEqual((found.metadata, found.created), ({"new": ["x"]}, before.created))
        parts[0] = await self.part("cd", 1, b"replaced")
        self.assertEqual((await self.space.get_upload("cd")).metadata, {"new": ["x"]})
        await self.space.replace_upload_metadata("cd", {"newer": ["x"]})
        await self.space.complete_upload("ab", "cd", parts)
        self.assertEqual(await self.space.get_metadata("ab"), {"newer": ["x"]})
        self.assertEqual(await self.get("ab"), b"replaced" + content(BLOCK + 5))

    async def test_replace_refused(self) -> None:
        await self.put("ab", b"x", {"old": []})
        await self.upload("cd", b"x", metadata={"old": []})
        await self.refused(NoSuchObject, self.space.replace_metadata("cd", {}))
        await self.refused(NoSuchUpload, self.space.replace_upload_metadata("ab", {}))
        for metadata in ({"a": ["x" * MAX_METADATA]}, {"a": ["\ud800"]}):
            await self.refused(InvalidName, self.space.replace_metadata("ab", metadata))
            await self.refused(InvalidName, self.space.replace_upload_metadata("cd", metadata))
        await self.refused(InvalidName, self.space.replace_metadata("../ab", {}))
        await self.refused(InvalidName, self.space.replace_upload_metadata("../cd", {}))
        self.assertEqual(await self.space.get_metadata("ab"), {"old": []})
        self.assertEqual((await self.space.get_upload("cd")).metadata, {"old": []})
        await self.space.stop()
        await self.refused(Unavailable, self.space.replace_metadata("ab", {}))
        await self.refused(Unavailable, self.space.replace_upload_metadata("cd", {}))


class LateTestsMixin(SpaceTestsMixin):
    """Clauses of L{IDataSpace} on what is said of bytes when they have come."""

    async def test_late_metadata(self) -> None:
        """What gives the metadata is called when all bytes have come, and what it raises stores nothing."""
        seen = []

        def pieces():  # type: ignore[no-untyped-def]
            for number in range(3):
                seen.append(number)
                yield content(BLOCK, number)

        def told() -> dict[str, list[str]]:
            return {"seen": [str(number) for number in seen]}

        def refuse() -> dict[str, list[str]]:
            raise ZeroDivisionError

        await self.space.put("ab", BytesStream(pieces()), None, told)
        self.assertEqual(await self.space.get_metadata("ab"), {"seen": ["0", "1", "2"]})
        await self.refused(ZeroDivisionError, self.space.put("cd", BytesStream(b"x"), 1, refuse))
        await self.refused(InvalidName, self.space.put("cd", BytesStream(b"x"), 1, lambda: {"a": ["\ud800"]}))
        await self.absent("cd")

    async def test_link_with_other_notes(self) -> None:
        """Who links parts may note something else of them."""
        await self.space.init_upload("cd", {})
        await self.space.init_upload("ce", {})
        for number in (3, 4):
            await self.space.upload_part("cd", number, BytesStream(b"data"), 4, lambda number=number: f"note {number}")
        seen: list[tuple[int, str, int]] = []

        def note(part: Part, at: int) -> str:
            seen.append((part.number, part.note, at))
            return f"{part.note} at {at}"

        etags = await self.space.upload_part_link("ce", 8, "cd", [4, 3], note)
        self.assertEqual(seen, [(4, "note 4", 8), (3, "note 3", 9)])
        self.assertEqual(
            await self.space.list_parts("ce"),
            [Part(8, etags[0], 4, "note 4 at 8"), Part(9, etags[1], 4, "note 3 at 9")],
        )
        await self.refused(InvalidName, self.space.upload_part_link("ce", 1, "cd", [3], lambda part, at: "x" * 1025))
        self.assertEqual(len(await self.space.list_parts("ce")), 2)
