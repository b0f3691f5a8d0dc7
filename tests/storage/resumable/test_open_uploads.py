"""How many uploads may be incomplete at once, and of how many parts one may be made."""

from __future__ import annotations

from typing import Any

import attrs
from twisted.internet.defer import gatherResults
from twisted.trial.unittest import SynchronousTestCase

from storehouse.core.streams import BytesStream
from storehouse.errors import BadRequest, Conflict, TooLarge, UploadGone
from storehouse.storage.resumable import local
from storehouse.storage.resumable.uploads import OpenUploads
from tests.storage.resumable.rig import MemoryUploadsTestCase
from tests.storage.resumable.test_formats import STATE

ANN = attrs.evolve(STATE, owner="ann", grant="", stage="open", is_partial=False, max_bytes=None)
LINKED = attrs.evolve(ANN, grant="nonce", is_partial=True, max_bytes=10, length=5)


class OpenUploadsTests(SynchronousTestCase):
    """L{OpenUploads}."""

    def setUp(self) -> None:
        self.uploads = OpenUploads(3)

    def add(self, id: str, state: Any = ANN, **changes: Any) -> None:
        state = attrs.evolve(state, id=id, **changes)
        with self.uploads.beginning(state):
            self.uploads.update(state)

    def test_ids(self) -> None:
        """Of one owner or all, the oldest first; those that are not open are forgotten."""
        self.add("2", created=1.0)
        self.add("1", created=1.0)
        self.add("0", LINKED, created=2.0)
        self.add("3", owner="bob", created=0.0)
        self.assertEqual((self.uploads.ids("ann"), self.uploads.ids()), (["1", "2", "0"], ["3", "1", "2", "0"]))
        for stage in ("complete", "gone"):
            self.uploads.update(attrs.evolve(ANN, id="1", stage=stage))
        self.assertEqual((self.uploads.ids("ann"), self.uploads.ids("nobody")), (["2", "0"], []))

    def test_count(self) -> None:
        """An owner has so many, and so has each link; others are not held up."""
        for id in "012":
            self.add(id)
        error = self.assertRaises(Conflict, self.add, "3")
        self.assertIn("3 uploads", error.detail)
        self.add("3", attrs.evolve(ANN, owner="bob"))
        self.add("4", attrs.evolve(ANN, grant="nonce"))
        self.uploads.update(attrs.evolve(ANN, id="1", stage="complete"))
        self.add("5")
        self.assertRaises(Conflict, self.add, "6")

    def test_beginning(self) -> None:
        """Those that are being begun count, whatever becomes of them."""
        with self.uploads.beginning(ANN), self.uploads.beginning(ANN), self.uploads.beginning(ANN):
            self.assertRaises(Conflict, self.add, "1")
        with self.assertRaises(ZeroDivisionError), self.uploads.beginning(ANN):
            raise ZeroDivisionError
        for id in "012":
            self.add(id)

    def test_claims(self) -> None:
        """Partial ones of a link that has a bound have it together, be it that they do not say how long they are."""
        self.add("1", LINKED)
        with self.uploads.beginning(LINKED):
            self.assertRaises(TooLarge, self.add, "2", attrs.evolve(LINKED, length=1))
        self.assertRaises(TooLarge, self.add, "2", attrs.evolve(LINKED, length=None))
        self.add("2", LINKED, length=3)
        self.assertRaises(TooLarge, self.add, "3", attrs.evolve(LINKED, length=3))
        # What is no partial upload is another use of the link; nor has a user such a bound.
        self.add("3", attrs.evolve(LINKED, is_partial=False))
        self.uploads.update(attrs.evolve(LINKED, id="1", stage="complete"))
        self.add("4", LINKED)
        for id in "567":
            self.add(id, attrs.evolve(LINKED, grant=""))


class BoundsTests(MemoryUploadsTestCase):
    """Bounds of the store of uploads."""

    async def test_too_many(self) -> None:
        """One too many is refused, though all come at once, and leaves nothing; ends, and a new start, are known."""
        self.uploads = await self.make_uploads(max_open=2)
        creating = [self.uploads.create("ann", "file", 1) for _ in range(3)]
        creating[2] = self.assertFailure(creating[2], Conflict)
        first, _, _ = await gatherResults(creating)
        self.assertEqual(len(await self.store.list_uploads("uploads")), 2)
        self.uploads = await self.make_uploads(max_open=2)
        await self.uploads.recovered
        await self.assertFailure(self.uploads.create("ann", "file", 1), Conflict)
        await self.uploads.create("bob", "file", 1)
        await self.uploads.append(first.id, 0, BytesStream(b"x"), 1)
        upload = await self.uploads.create("ann", "file", 1)
        await self.uploads.remove(upload.id)
        await self.uploads.create("ann", "file", 1)

    async def test_too_many_parts(self) -> None:
        """One that would have too many parts is refused, or given up once that shows."""
        self.patch(local, "MAX_PARTS", 3)
        self.uploads = await self.make_uploads()
        pieces = [await self.uploads.create("ann", "file", 2, is_partial=True) for _ in range(2)]
        waiting = await self.uploads.concatenate("ann", "waiting", [piece.id for piece in pieces])
        for piece in pieces:
            for at in range(2):
                await self.uploads.append(piece.id, at, BytesStream(b"x"), 1)
        await self.assertFailure(self.uploads.get(waiting.id), UploadGone)
        joining = self.uploads.concatenate("ann", "joined", [piece.id for piece in pieces])
        await self.assertFailure(joining, BadRequest)
        one = await self.uploads.concatenate("ann", "one", [pieces[0].id])
        self.assertTrue(one.is_complete)
        self.assertEqual(await self.store.list_keys("uploads"), ["one"])
        self.assertEqual(len(await self.store.list_uploads("uploads")), 2)
