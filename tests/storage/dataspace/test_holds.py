"""Tests of L{storehouse.storage.dataspace.holds}, and of what is kept by them."""

from __future__ import annotations

import os

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from storehouse.core.jobs import InlineDisk
from storehouse.core.streams import BytesStream
from storehouse.errors import Conflict, NotFound
from storehouse.storage.dataspace.holds import LEASE, Holds
from storehouse.storage.dataspace.wormer import WormerDataSpace, WormerSettings


class HoldsTests(SynchronousTestCase):
    """Objects are removed while somebody wants them kept."""

    def setUp(self) -> None:
        self.directory = os.path.abspath(self.mktemp())
        self.space = WormerDataSpace(WormerSettings(self.directory, durable=False), InlineDisk())
        self.space.start()
        self.addCleanup(lambda: self.successResultOf(self.space.stop()))
        self.clock = Clock()
        self.holds = Holds(self.space.holding, self.clock)
        for id in ("aa", "bb", "cc"):
            self.successResultOf(self.space.put(id, BytesStream(b"some text"), 9, {}))
        self.successResultOf(self.space.put("dd", BytesStream(bytes(1 << 20)), None, {}))

    def kept(self) -> list[str]:
        return sorted(os.listdir(f"{self.directory}/tmp"))

    def test_refused(self) -> None:
        """While there is a reason against it."""
        self.holds.refusal = lambda: "not now"
        self.assertRaises(Conflict, self.holds.begin)
        self.assertFalse(self.holds.is_held)
        self.holds.refusal = lambda: ""
        token = self.holds.begin()
        self.assertTrue(self.holds.is_held)
        self.holds.end(token)

    def test_kept(self) -> None:
        """Until the last one who wants that has said so."""
        first, second = self.holds.begin(), self.holds.begin()
        self.successResultOf(self.space.delete("aa"))
        self.failureResultOf(self.space.get("aa"))
        self.holds.end(first)
        self.successResultOf(self.space.delete("bb"))
        self.assertEqual(self.kept(), ["kept.aa", "kept.bb"])
        with open(f"{self.directory}/tmp/kept.aa/part.1", "rb") as file:
            self.assertEqual(file.read(), b"some text")
        self.holds.end(second)
        self.assertEqual(self.kept(), [])
        self.successResultOf(self.space.delete("cc"))
        self.assertEqual(self.kept(), [])
        self.assertRaises(NotFound, self.holds.end, second)

    def test_lapses(self) -> None:
        """Who is gone keeps nothing for long."""
        token = self.holds.begin()
        self.successResultOf(self.space.delete("aa"))
        self.clock.advance(LEASE - 1)
        self.holds.renew(token)
        self.clock.advance(LEASE - 1)
        self.assertEqual(self.kept(), ["kept.aa"])
        self.clock.advance(1)
        self.assertEqual(self.kept(), [])
        self.assertRaises(NotFound, self.holds.renew, token)

    def test_read(self) -> None:
        """What is being read goes when both are done with it."""
        for reader_first in (True, False):
            id = "aa" if reader_first else "dd"
            token = self.holds.begin()
            reader = self.successResultOf(self.space.get(id))
            self.successResultOf(self.space.delete(id))
            self.assertEqual(self.kept(), [f"kept.{id}"])
            first, second = reader.close, lambda token=token: self.holds.end(token)
            if not reader_first:
                first, second = second, first
            first()
            self.assertEqual(self.kept(), [f"kept.{id}"])
            second()
            self.assertEqual(self.kept(), [])

    def test_left(self) -> None:
        """The next start removes what was kept."""
        self.holds.begin()
        self.successResultOf(self.space.delete("aa"))
        self.successResultOf(self.space.stop())
        self.assertEqual(self.kept(), ["kept.aa"])
        self.space = WormerDataSpace(WormerSettings(self.directory, durable=False), InlineDisk())
        self.space.start()
        self.assertEqual(self.kept(), [])
