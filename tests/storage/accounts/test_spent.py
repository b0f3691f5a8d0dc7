"""Tests of L{storehouse.storage.accounts.local.SpentLog}."""

from __future__ import annotations

import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from storehouse.errors import ShareUsedUp, StartFailed, Unavailable
from storehouse.storage.accounts.local import AccountsDirectory, SpentLog
from storehouse.testing.files import UnsyncedFiles

NOW = 1_790_000_000.0

GOLDEN = b'{"id":"link 00112233445566778899aabbccddeeff","until":1790000060,"checksum":"57c59e23"}\n'


#: As it has been since the user is kept, too.
GOLDEN_BY = b'{"id":"link 00112233445566778899aabbccddeeff","until":1790000060,"by":"ann","checksum":"b436b614"}\n'


class SpentTests(SynchronousTestCase):
    """L{SpentLog}."""

    def setUp(self) -> None:
        self.directory = AccountsDirectory(os.path.abspath(self.mktemp()), UnsyncedFiles())
        self.directory.create()
        self.path = Path(self.directory.file("spent.log"))
        self.spent = self.opened()

    def opened(self, limit: int = 200_000) -> SpentLog:
        spent = SpentLog(self.directory, "spent.log", limit)
        with self.directory.locked():
            spent.load()
        return spent

    def add(
        self, id: str, until: float = NOW + 60, now: float = NOW, spent: SpentLog | None = None, by: str = ""
    ) -> bool:
        with self.directory.locked():
            return (spent or self.spent).add(id, until, now, by)

    def test_golden(self) -> None:
        self.add("link 00112233445566778899aabbccddeeff", 1790000060)
        self.assertEqual(self.path.read_bytes(), GOLDEN)

    def test_golden_with_a_user(self) -> None:
        self.add("link 00112233445566778899aabbccddeeff", 1790000060, by="ann")
        self.assertEqual(self.path.read_bytes(), GOLDEN_BY)

    def test_once(self) -> None:
        self.assertNotIn("a", self.spent)
        self.assertTrue(self.add("a"))
        self.assertFalse(self.add("a"))
        self.assertIn("a", self.spent)
        again = self.opened()
        self.assertIn("a", again)
        self.assertFalse(self.add("a", spent=again))

    def test_every_cut(self) -> None:
        """A line is there whole or not at all, and what follows can be read."""
        for id in ("a", "b"):
            self.add(id)
        data = self.path.read_bytes()
        first = data.index(b"\n") + 1
        for end in range(len(data) + 1):
            self.path.write_bytes(data[:end])
            spent = self.opened()
            self.assertEqual(("a" in spent, "b" in spent), (end >= first, end == len(data)))
            self.assertEqual(self.add("b", spent=spent), end < len(data))
            self.assertTrue(self.add("c", spent=spent))
            again = self.opened()
            self.assertTrue("b" in again and "c" in again)

    def test_power_cut(self) -> None:
        """Blocks that were never written are zeros."""
        self.add("a")
        whole = self.path.read_bytes()
        for junk in (bytes(50), bytes(50) + b"\n", b"{}\n{}\n", b"\n\n", bytes(4096), b"x\n" * 200):
            self.path.write_bytes(whole + junk)
            spent = self.opened()
            self.assertIn("a", spent)
            self.assertTrue(self.add("b", spent=spent))
            self.assertEqual(self.path.read_bytes().count(b"\n"), 2)
            self.assertIn("b", self.opened())

    def test_damage(self) -> None:
        """Before a line that is whole, it is no cut: something could come back to life."""
        for id in ("a", "b", "c"):
            self.add(id)
        data = self.path.read_bytes()
        for at in range(data.rindex(b"\n", 0, -1)):
            if data[at : at + 1] != b"\n":
                self.path.write_bytes(data[:at] + bytes((data[at] ^ 1,)) + data[at + 1 :])
                self.assertIn("is damaged", str(self.assertRaises(StartFailed, self.opened)))

    def test_two_processes(self) -> None:
        other = self.opened()
        self.add("a")
        self.assertFalse(self.add("a", spent=other))
        self.assertTrue(self.add("b", spent=other))
        self.assertFalse(self.add("b"))
        self.assertTrue(self.add("c"))
        self.assertEqual(self.path.read_bytes().count(b"\n"), 3)

    def test_compaction(self) -> None:
        """What is over goes; another process notices."""
        self.add("long", NOW + 10**6)
        other = self.opened()
        later = NOW + 10_000
        for number in range(998):
            self.add(str(number), NOW + 1)
        self.add("new", later + 60, later)
        self.assertEqual(self.path.read_bytes().count(b"\n"), 1000)
        self.add("newer", later + 60, later)
        for spent in (self.spent, self.opened()):
            self.assertTrue("long" in spent and "new" in spent and "newer" in spent)
            self.assertNotIn("7", spent)
        self.assertEqual(self.path.read_bytes().count(b"\n"), 3)
        self.assertFalse(self.add("long", NOW + 10**6, later, other))
        self.assertEqual(sorted(os.listdir(self.directory.path)), ["lock", "spent.log"])

    def test_rare_compaction(self) -> None:
        """What is not over is not written anew with each line."""
        written: list[int] = []
        compact = self.spent._compact
        self.spent._compact = lambda now: written.append(self.spent._lines) or compact(now)  # type: ignore[func-returns-value]
        for number in range(2100):
            self.add(str(number))
        self.assertEqual(written, [1000, 2000])

    def test_clock_that_is_set_back(self) -> None:
        """What is over is remembered for a while."""
        spent = self.opened(limit=2)
        self.add("link a", NOW + 60, spent=spent)
        self.add("link b", NOW + 60, spent=spent)
        self.assertRaises(Unavailable, self.add, "link c", NOW + 200, NOW + 120, spent)
        self.assertIn("link a", spent)

    def test_limit(self) -> None:
        """No more than that; those whose time is over make room."""
        spent = self.opened(limit=3)
        for number in range(3):
            self.add(f"link {number}", NOW + number, spent=spent)
        self.assertIn(
            "3 links of one user", str(self.assertRaises(Unavailable, self.add, "link x", NOW + 99, NOW, spent))
        )
        self.assertNotIn("link x", spent)
        self.assertTrue(self.add("link x", NOW + 9999, NOW + 3601.5, spent))
        self.assertEqual([f"link {id}" in spent for id in ("0", "1", "2", "x")], [False, False, True, True])

    def test_users(self) -> None:
        """What one user uses up, others have still, also after a restart and when the file was written anew."""
        spent = self.opened(limit=3)
        for number in range(3):
            self.add(f"link {number}", NOW + 99, spent=spent, by="ann")
        for each in (spent, self.opened(limit=3)):
            before = self.path.read_bytes()
            error = self.assertRaises(ShareUsedUp, self.add, "link x", NOW + 99, NOW, each, "ann")
            self.assertIn("3 links of ann", str(error))
            self.assertEqual(self.path.read_bytes(), before)
        self.assertTrue(self.add("link y", NOW + 9999, spent=spent, by="bob"))
        self.assertTrue(self.add("session y", NOW + 99, spent=spent, by="ann"))
        self.assertTrue(self.add("link x", NOW + 9999, NOW + 3701, spent, "ann"))
        for each in (spent, self.opened(limit=1)):
            self.assertEqual([f"link {id}" in each for id in "0xy"], [False, True, True])
            self.assertRaises(ShareUsedUp, self.add, "link z", NOW + 9999, NOW, self.opened(limit=1), "bob")

    def test_kinds(self) -> None:
        """Who ends sessions over and over keeps nobody's links from being used, also after a restart."""
        spent = self.opened(limit=3)
        for number in range(3):
            self.add(f"session {number}", NOW + 99, spent=spent)
        spent = self.opened(limit=3)
        self.assertRaises(Unavailable, self.add, "session x", NOW + 99, NOW, spent)
        for number in range(3):
            self.assertTrue(self.add(f"link {number}", NOW + 99, spent=spent))
        self.assertRaises(Unavailable, self.add, "link x", NOW + 99, NOW, spent)
