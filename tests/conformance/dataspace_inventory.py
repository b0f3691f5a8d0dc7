"""What data spaces do for those who compare them with something else: mixed into a test case that makes one."""

from __future__ import annotations

import attrs

from storehouse.core.streams import read_all
from storehouse.errors import DamagedObject, InvalidRange, NoSuchObject, NoSuchUpload
from storehouse.storage.dataspace.interfaces import Part
from tests.conformance.dataspace import BLOCK, SpaceTestsMixin, content

__all__ = ["InventoryTestsMixin"]


class InventoryTestsMixin(SpaceTestsMixin):
    """Clauses of L{IInventory}, and of what an object is expected to be."""

    async def test_expected(self) -> None:
        """An object is given out only if it has the size and the tag that are expected of it; an empty tag is any."""
        one = await self.put("ab", content(BLOCK + 5))
        await self.put_parts("cd", content(BLOCK), b"12345")
        two = await self.space.get("cd")
        await two.close()
        for id, etag, size in (("ab", one.etag, one.size), ("cd", two.etag, two.size)):
            right = Part(0, etag, size)
            for expected in (right, Part(0, "", size), None):
                await (await self.space.get(id, expected=expected)).close()
                await (await self.space.get(id, 1, 3, expected=expected)).close()
                await self.space.examine(id, expected)
                await self.space.copy("ef", id, expected=expected)
                await self.space.delete("ef")
                await self.space.copy("ef", id, 1, 3, expected=expected)
                await self.space.delete("ef")
            for wrong in (attrs.evolve(right, size=size - 1), attrs.evolve(right, etag="0" * 48)):
                for offset, length in ((0, None), (0, 0), (1, 3), (0, BLOCK)):
                    await self.refused(DamagedObject, self.space.get(id, offset, length, expected=wrong))
                    await self.refused(DamagedObject, self.space.copy("ef", id, offset, length, expected=wrong))
                await self.refused(DamagedObject, self.space.examine(id, wrong))
                await self.absent("ef")
        await self.refused(DamagedObject, self.space.get("ab", 0, 3, expected=Part(0, two.etag, one.size)))
        # That it is another object is told before that it is too short.
        longer = Part(0, "", one.size + 10)
        await self.refused(DamagedObject, self.space.get("ab", one.size + 1, 2, expected=longer))
        await self.refused(InvalidRange, self.space.get("ab", one.size + 1, 2, expected=attrs.evolve(one, number=0)))

    async def test_expected_of_the_source_of_a_part(self) -> None:
        one = await self.put("ab", content(BLOCK + 5))
        await self.upload("cd", b"x")
        for offset, length in ((0, None), (1, 3)):
            for wrong in (Part(0, one.etag, one.size + 1), Part(0, "0" * 48, one.size)):
                copying = self.space.upload_part_copy("cd", 2, "ab", offset, length, expected=wrong)
                await self.refused(DamagedObject, copying)
            await self.space.upload_part_copy("cd", 3, "ab", offset, length, expected=Part(0, one.etag, one.size))
        self.assertEqual([part.number for part in await self.space.list_parts("cd")], [1, 3])

    async def test_examine(self) -> None:
        await self.put("ab", b"x", {"key": ["a/b"], "more": ["ü", ""]})
        self.assertEqual(await self.space.examine("ab"), {"key": ["a/b"], "more": ["ü", ""]})
        await self.upload("cd", b"x", b"")
        await self.space.examine_upload("cd")
        await self.refused(NoSuchObject, self.space.examine("cd"))
        await self.refused(NoSuchUpload, self.space.examine_upload("ab"))

    async def test_set_aside(self) -> None:
        """It is gone from the space; who reads it goes on."""
        await self.put("ab", content(3 * BLOCK))
        reader = await self.space.get("ab")
        await self.space.set_aside("ab", "nobody wants it")
        await self.absent("ab")
        self.assertEqual(await read_all(reader), content(3 * BLOCK))
        await self.refused(NoSuchObject, self.space.set_aside("ab", ""))
        await self.put("ab", b"another")
        self.assertEqual(await self.get("ab"), b"another")
