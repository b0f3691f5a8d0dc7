"""L{storehouse.storage.accounts.journal}."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from storehouse.errors import NoSuchUser, StorageFailed
from storehouse.storage.accounts.journal import ChangeJournal


class JournalTests(SynchronousTestCase):
    """Changes by commands, until the audit has them."""

    def setUp(self) -> None:
        self.root = Path(os.path.abspath(self.mktemp()))
        self.root.mkdir()
        self.journal = ChangeJournal(str(self.root), lambda: 1_790_000_000.5)
        self.file = self.root / "audit" / "changes.log"
        self.by = f"unix uid={os.getuid()} pid={os.getpid()}"

    def told(self) -> list[tuple[str, str, str]]:
        """Action, resource and detail of each."""
        changes, _ = self.journal.read()
        self.assertEqual({(each.door, each.user, each.address) for each in changes} - {("command", "", self.by)}, set())
        return [(each.action, each.resource, each.detail) for each in changes]

    def test_changes(self) -> None:
        """Changes come in order, each with its outcome; other users cannot read the file."""
        self.assertEqual(self.journal.read(), ([], 0))
        with self.journal.change("rotate", "ann") as entry:
            entry.done = "SHX"
        with self.assertRaises(NoSuchUser), self.journal.change("grant", "bob", "read on box"):
            raise NoSuchUser("there is no user bob")
        self.assertEqual(
            self.told(),
            [
                ("rotate", "ann", "at 2026-09-21T14:13:20Z SHX"),
                ("grant", "bob", "read on box at 2026-09-21T14:13:20Z (failed: there is no user bob)"),
            ],
        )
        self.assertEqual(stat.S_IMODE(self.file.stat().st_mode), 0o600)
        self.assertEqual(stat.S_IMODE(self.file.parent.stat().st_mode), 0o700)

    def test_before_the_change(self) -> None:
        """The entry is there while the change is made; if the process ends then, the change counts as possibly made."""
        with self.journal.change("disable", "ann"):
            during = self.file.read_bytes()
            self.assertEqual([each[2] for each in self.told()], ["at 2026-09-21T14:13:20Z (perhaps not done)"])
        self.file.write_bytes(during)
        self.assertEqual([each[0] for each in self.told()], ["disable"])

    def test_every_cut(self) -> None:
        """Wherever a crash cuts it off, complete changes are read, and so are later ones."""
        for name in ("ann", "bob"):
            with self.journal.change("enable", name):
                pass
        data = self.file.read_bytes()
        ends = [at + 1 for at, byte in enumerate(data) if byte == 10]
        for size in range(len(data)):
            self.file.write_bytes(data[:size])
            whole = sum(end <= size for end in ends)
            self.assertEqual(len(self.told()), (whole + 1) // 2)
            if size % 7 == 0:
                with self.journal.change("enable", "carl"):
                    pass
                # The line that was cut may be whole but for its end.
                self.assertIn(len(self.told()), ((whole + 1) // 2 + 1, (whole + 2) // 2 + 1))
                self.assertEqual(self.told()[-1][1], "carl")

    def test_forget(self) -> None:
        """What came since it was read stays."""
        with self.journal.change("enable", "ann"):
            pass
        _, size = self.journal.read()
        with self.journal.change("enable", "bob"):
            pass
        self.journal.forget(size)
        self.assertEqual([each[1] for each in self.told()], ["bob"])
        self.journal.forget(self.journal.read()[1])
        self.assertEqual(self.told(), [])
        self.journal.forget(0)

    def test_cannot_be_written(self) -> None:
        """Then nothing is changed."""
        self.file.parent.mkdir()
        self.file.mkdir()
        with self.assertRaises(StorageFailed), self.journal.change("enable", "ann"):
            self.fail("it must not come to this")
