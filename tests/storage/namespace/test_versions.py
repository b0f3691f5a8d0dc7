"""Versions on disk: files, damage and loss, cost, and an index from before there were versions."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from typing import Any

import attrs
from twisted.internet.defer import succeed
from twisted.trial.unittest import SynchronousTestCase

from storehouse.errors import DamagedEntry, DeleteMarkerFound, NoSuchVersion
from storehouse.storage.namespace.index import SAME, Change, VersionRow, version_row
from storehouse.storage.namespace.interfaces import ENABLED, OFF, SUSPENDED, Entry
from storehouse.storage.namespace.tree import Tree
from storehouse.storage.namespace.values import decode_row, encode_entry
from tests.conformance.namespace import entry
from tests.storage.namespace.rig import Driven, flip, now

GOLDEN = (
    b'{"default":true,"size":0,"createdAt":"2023-11-14T22:13:20.000000007Z","contentType":"text/plain","metadata":{},'
    b'"etag":"etag7","versioned":true,"marker":true,"order":1700000000000000009,"key":"key",'
    b'"id":"00000000000000000000000000000007","checksum":"%b"}'
)


def file_of(number: int) -> str:
    return f"{entry(number).id}.json"


class VersionCase(SynchronousTestCase):
    """A key C{a} with the versions 1, 2 and 3; a key C{b} with the version 4 and a marker, 5."""

    def setUp(self) -> None:
        self.driven = Driven(self.mktemp()).start().create()
        self.addCleanup(lambda: self.driven.stop())
        self.names = self.driven.namespace
        now(self.names.set_versioning("bucket", ENABLED))
        for number in (1, 2, 3):
            self.driven.publish("a", entry(number))
        self.driven.publish("b", entry(4))
        self.driven.unpublish("b", marker=entry(5, 0))

    def listed(self) -> list[tuple[str, str, bool]]:
        page = now(self.driven.namespace.list_versions("bucket"))
        return [(each.key, each.entry.id[-1], each.is_latest) for each in page.versions]

    WHOLE = [("a", "3", True), ("a", "2", False), ("a", "1", False), ("b", "5", True), ("b", "4", False)]

    def restart(self, without_index: bool = False) -> None:
        self.driven.stop()
        if without_index:
            shutil.rmtree(self.driven.path("index"))
        self.driven.start()

    def kinds(self) -> list[str]:
        return sorted(each.kind for each in self.driven.check())


class FilesTests(VersionCase):
    """What is on disk."""

    def test_golden(self) -> None:
        one = attrs.evolve(entry(7, 0), marker=True, versioned=True, order=1_700_000_000_000_000_009)
        text = encode_entry(one, "key")
        self.assertEqual(text, GOLDEN % text[-10:-2])
        self.assertEqual(decode_row(text), ("key", one))

    def test_files(self) -> None:
        """One a version, and a link to the current one."""
        self.assertEqual(sorted(os.listdir(self.driven.object("b"))), [file_of(4), file_of(5), "default.json"])
        self.assertEqual(os.readlink(self.driven.object("b", "default.json")), file_of(5))
        self.assertEqual(
            sorted(os.listdir(self.driven.path("buckets", "bucket")))[1:], ["bucket.versioning.json", "objects"]
        )

    def test_rebuilt(self) -> None:
        """An index rebuilt from the files equals the one before."""
        usage = now(self.driven.namespace.usage("bucket"))
        self.restart(without_index=True)
        self.assertEqual((self.listed(), now(self.driven.namespace.usage("bucket"))), (self.WHOLE, usage))
        self.assertEqual(self.driven.check(), [])

    def test_foreign(self) -> None:
        """Versions that another program left are null versions; the newest of them is the one."""
        now(self.driven.namespace.create_bucket("other"))
        self.driven.publish("a", entry(1), "other", keep=True)
        self.driven.publish("a", entry(2), "other", keep=True)
        self.assertEqual(now(self.driven.namespace.look_up("other", "a", "null")).id, entry(2).id)
        now(self.driven.namespace.set_versioning("other", SUSPENDED))
        self.assertEqual([each.id for each in self.driven.publish("a", entry(3), "other")], [entry(2).id])
        self.assertEqual([each.id for each in self.driven.versions("a", "other")], [entry(3).id, entry(1).id])


class DamageTests(VersionCase):
    """What is damaged or lost is reported, and nothing else goes with it."""

    def test_state(self) -> None:
        """A bucket whose versioning cannot be read keeps every version."""
        now(self.driven.namespace.set_versioning("bucket", SUSPENDED))
        path = self.driven.path("buckets", "bucket", "bucket.versioning.json")
        flip(path, 20)
        self.restart()
        self.assertEqual(self.driven.namespace.versioning("bucket"), ENABLED)
        self.assertEqual(self.kinds(), ["damaged"])
        self.driven.publish("a", entry(9))
        self.assertEqual(len(self.driven.versions("a")), 4)
        now(self.driven.namespace.set_versioning("bucket", SUSPENDED))
        self.assertEqual(self.kinds(), [])
        self.flushLoggedErrors()

    def test_older(self) -> None:
        """One that cannot be read is read by its row; without a row it is listed as damaged, and can be removed."""
        path = self.driven.object("a", file_of(2))
        flip(path, 30)
        self.assertEqual(self.kinds(), ["damaged"])
        self.assertEqual(self.driven.look_up("a", entry(2).id).id, entry(2).id)
        now(self.driven.namespace.reindex())
        self.assertEqual(self.listed(), self.WHOLE)
        self.restart(without_index=True)
        page = now(self.driven.namespace.list_versions("bucket"))
        self.assertEqual(list(page.damaged), [("a", entry(2).id)])
        self.assertEqual(self.listed(), [each for each in self.WHOLE if each[1] != "2"])
        self.assertRaises(DamagedEntry, self.driven.look_up, "a", entry(2).id)
        # The others come and go; it stays.
        self.driven.publish("a", entry(8))
        self.driven.unpublish("a", id=entry(8).id)
        self.assertTrue(os.path.exists(path))
        self.assertEqual(self.driven.unpublish("a", id=entry(2).id), [])
        self.assertFalse(os.path.exists(path))
        self.assertEqual(self.kinds(), [])
        self.flushLoggedErrors()

    def test_damaged_next(self) -> None:
        """If the newest other one cannot be read, the one before becomes the current one, and no version goes."""
        path = self.driven.object("a", file_of(2))
        flip(path, 30)
        self.driven.unpublish("a", id=entry(3).id)
        self.assertEqual(self.driven.look_up("a").id, entry(1).id)
        self.assertTrue(os.path.exists(path))
        self.flushLoggedErrors()

    def test_damaged_current(self) -> None:
        """It is no object for a condition's etag, and stays when another is published."""
        flip(self.driven.object("a", file_of(3)), 30)
        self.restart(without_index=True)
        self.assertEqual(list(self.driven.list().damaged), ["a"])
        self.driven.publish("a", entry(9))
        self.assertEqual(self.driven.look_up("a").id, entry(9).id)
        self.assertTrue(os.path.exists(self.driven.object("a", file_of(3))))
        self.assertEqual(self.kinds(), ["damaged"])
        self.flushLoggedErrors()

    def test_lost_versions(self) -> None:
        """Their files are written again from their rows, if their bytes are there."""
        for number in (1, 2):
            os.unlink(self.driven.object("a", file_of(number)))
        self.assertEqual(self.kinds(), ["lost", "lost"])
        there = {entry(2).id}
        found = now(self.driven.namespace.restore(lambda id: succeed(id in there)))
        self.assertEqual([(each.kind, each.id) for each in found], [("restored", entry(2).id)])
        self.assertEqual(self.kinds(), ["lost"])
        now(self.driven.namespace.reindex())
        self.assertEqual(self.listed(), [each for each in self.WHOLE if each[1] != "1"])
        self.assertEqual(self.kinds(), [])

    def test_lost_key(self) -> None:
        """A key that is gone is written again with all its versions and markers."""
        for key in "ab":
            shutil.rmtree(self.driven.object(key))
        self.assertEqual(self.kinds(), ["extra", "extra"])
        found = now(self.driven.namespace.restore(lambda id: succeed(True)))
        self.assertEqual(len(found), 5)
        self.assertEqual(self.kinds(), [])
        now(self.driven.namespace.reindex())
        self.assertEqual((self.listed(), self.kinds()), (self.WHOLE, []))

    def test_lost_objects(self) -> None:
        """Markers whose objects have no bytes any more are not written again alone."""
        shutil.rmtree(self.driven.object("b"))
        self.assertEqual(now(self.driven.namespace.restore(lambda id: succeed(False))), [])
        now(self.driven.namespace.reindex())
        self.assertEqual(self.listed(), self.WHOLE[:3])

    def test_without_index(self) -> None:
        """While the index cannot be used versions are found in the files: the null version is replaced, others stay."""
        names = self.driven.namespace
        now(names.set_versioning("bucket", SUSPENDED))
        self.driven.publish("a", entry(6))
        now(names.set_versioning("bucket", ENABLED))
        self.driven.publish("a", entry(7))
        now(names.set_versioning("bucket", SUSPENDED))
        names.upkeep.break_off("tried")
        self.assertEqual(now(names.look_up("bucket", "a", "null")).id, entry(6).id)
        self.assertEqual([each.id for each in self.driven.publish("a", entry(8))], [entry(6).id])
        self.assertEqual([each.id for each in self.driven.unpublish("a", id="null")], [entry(8).id])
        self.assertEqual([each.id[-1] for each in self.driven.versions("a")], ["7", "3", "2", "1"])
        self.assertRaises(DeleteMarkerFound, self.driven.look_up, "b")
        self.restart()
        self.assertEqual((self.listed()[0], self.kinds()), (("a", "7", True), []))
        self.flushLoggedErrors()

    def test_rows(self) -> None:
        """Rows that are missing, too many or wrong are found, and repaired."""
        index = self.driven.namespace.upkeep.index
        older = version_row(entry(1), "a")
        for change in (
            Change(1, b"a", SAME, drop=[older.id]),
            Change(1, b"a", SAME, [attrs.evolve(older, rank=older.rank - 5)]),
            Change(1, b"a", SAME, [attrs.evolve(older, id=b"ffff")]),
            Change(1, b"b", SAME, drop=[entry(5).id.encode()]),
            Change(1, b"c", None, [older]),
            Change(1, b"a", None),
        ):
            index.apply([change])
            self.assertNotEqual(self.kinds(), [], change)
            now(self.driven.namespace.reindex())
            index = self.driven.namespace.upkeep.index
            self.assertEqual((self.listed(), self.kinds()), (self.WHOLE, []), change)
        self.flushLoggedErrors()

    def test_needed(self) -> None:
        """All of them name their bytes."""
        ids = [entry(number).id for number in range(1, 7)]
        self.assertEqual(now(self.driven.namespace.needed(ids)).ids, frozenset(ids[:5]))


class CostTests(SynchronousTestCase):
    """What is done does not grow with what there is beside it."""

    def setUp(self) -> None:
        self.driven = Driven(self.mktemp(), durable=False, checkpoint_records=10**6).start().create()
        self.addCleanup(lambda: self.driven.stop())
        now(self.driven.namespace.set_versioning("bucket", ENABLED))

    def steps(self, work: Callable[[], Any]) -> int:
        """How many steps SQLite takes, in tens."""
        count = [0]

        def step() -> int:
            count[0] += 1
            return 0

        index = self.driven.namespace.upkeep.index
        with index._reader() as connection:
            connection.set_progress_handler(step, 10)
        try:
            work()
        finally:
            connection.set_progress_handler(None, 0)
        return count[0]

    def fill(self, first: int, last: int) -> None:
        """Keys that are deleted, each with an older version."""
        changes = []
        for n in range(first, last):
            key = f"k{n % 7}/{n:06d}"
            marker = attrs.evolve(entry(2 * n + 1, 0), marker=True, versioned=True)
            rows = [version_row(attrs.evolve(entry(2 * n), versioned=True), key), version_row(marker, key, True)]
            changes.append(Change(1, key.encode(), None, rows))
        self.driven.namespace.upkeep.index.apply(changes)

    def test_listings(self) -> None:
        """The cost of a page depends only on its content, not on the markers and versions passed over."""
        names = self.driven.namespace
        for n in range(10):
            self.driven.publish(f"z{n}", entry(n))
        pages: list[Callable[[], Any]] = [
            lambda: self.driven.list(),
            lambda: self.driven.list(delimiter="/"),
            lambda: now(names.list_names("bucket")),
            lambda: now(names.list_versions("bucket", limit=50)),
            lambda: now(names.list_versions("bucket", delimiter="/")),
            lambda: now(names.list_versions("bucket", "k3/", "/", limit=50)),
            lambda: now(names.list_versions("bucket", "", "", "k3", "", 50)),
        ]
        self.fill(0, 400)
        before = [self.steps(page) for page in pages]
        self.fill(400, 4000)
        after = [self.steps(page) for page in pages]
        self.assertGreater(min(before), 0)
        for number, (few, many) in enumerate(zip(before, after, strict=True)):
            self.assertLess(many, 2 * few + 50, number)

    def test_one_key(self) -> None:
        """Of a key with many versions, only those concerned are read."""
        for n in range(200):
            self.driven.publish("a", entry(n))
        read: list[str] = []
        listed: list[object] = []
        real = Tree.read

        def counted(tree: Tree, key_path: Any, id: str) -> Entry | None:
            read.append(id)
            return real(tree, key_path, id)

        self.patch(Tree, "read", counted)
        self.patch(Tree, "ids", lambda tree, key_path: listed.append(key_path) or [])
        self.driven.publish("a", entry(1000))
        self.driven.look_up("a")
        self.driven.look_up("a", entry(7).id)
        self.assertEqual((read, listed), ([], []))
        self.driven.unpublish("a", id=entry(9).id)
        self.assertEqual((read, listed), ([], []))
        self.driven.unpublish("a", id=entry(1000).id)
        self.assertEqual((read, listed), ([entry(199).id], []))
        self.driven.unpublish("a", marker=entry(1001, 0))
        now(self.driven.namespace.set_versioning("bucket", SUSPENDED))
        self.driven.publish("a", entry(1002))
        self.driven.publish("a", entry(1003))
        self.assertEqual((len(read), listed), (1, []))
        self.assertRaises(NoSuchVersion, self.driven.look_up, "a", "abcd")

    def test_never_versioned(self) -> None:
        """A bucket without versions has neither rows nor files of them."""
        now(self.driven.namespace.create_bucket("plain"))
        for number in (1, 2):
            self.driven.publish("a", entry(number), "plain")
        self.driven.unpublish("a", "plain")
        index = self.driven.namespace.upkeep.index
        self.assertEqual(index.select("SELECT count(*) FROM versions", {}), [(0,)])
        self.assertEqual(sorted(os.listdir(self.driven.path("buckets", "plain"))), ["bucket.json", "objects"])
        self.assertEqual(now(self.driven.namespace.get_bucket("plain")).versioning, OFF)


class MigrationTests(SynchronousTestCase):
    """An index of version 1."""

    def make(self, older: bytes = b"") -> Driven:
        """A namespace as an earlier version left it."""
        driven = Driven(self.mktemp()).start().create()
        self.addCleanup(lambda: driven.stop())
        for number, key in enumerate(("a", "b", "c")):
            driven.publish(key, entry(number))
        self.stamp = driven.namespace.journal.stamp
        driven.stop()
        with closing(sqlite3.connect(driven.path("index", "keys.db"))) as database:
            for trigger in ("version_added", "version_changed", "version_removed"):
                database.execute(f"DROP TRIGGER {trigger}")
            database.execute("DROP TABLE versions")
            for column in ("versions", "versions_bytes", "markers"):
                database.execute(f"ALTER TABLE buckets DROP COLUMN {column}")
            database.execute("UPDATE meta SET value = '1' WHERE name = 'version'")
            database.execute("UPDATE keys SET older = ? WHERE key = CAST('b' AS BLOB)", (older,))
            database.commit()
        return driven.start()

    def test_in_place(self) -> None:
        """It is not made anew, and takes versions from now on."""
        driven = self.make()
        self.assertEqual(
            (driven.namespace.journal.stamp, driven.keys(), driven.check()), (self.stamp, ["a", "b", "c"], [])
        )
        now(driven.namespace.set_versioning("bucket", ENABLED))
        driven.publish("a", entry(7))
        driven.unpublish("b")
        self.assertEqual((driven.keys(), len(driven.versions("a")), driven.check()), (["a", "c"], 2, []))
        self.assertRaises(DeleteMarkerFound, driven.look_up, "b")

    def test_with_older_versions(self) -> None:
        """It knows their IDs alone: it is made from the files."""
        driven = self.make(b"00ff")
        self.assertNotEqual(driven.namespace.journal.stamp, self.stamp)
        self.assertEqual((driven.keys(), driven.check()), (["a", "b", "c"], []))


class ChangeTests(SynchronousTestCase):
    """Changes of one key that a full disk had no room for are joined."""

    def test_after(self) -> None:
        def row(id: bytes, rank: int = 0) -> VersionRow:
            return VersionRow(id, rank, 1, 0, 1, b"x")

        first = Change(1, b"a", (1, b"x"), [row(b"01"), row(b"02")], [b"03"])
        second = Change(1, b"a", SAME, [row(b"02", 5)], [b"01"])
        both = second.after(first)
        self.assertEqual((both.row, list(both.put), set(both.drop)), ((1, b"x"), [row(b"02", 5)], {b"01", b"03"}))
        self.assertFalse(both.clear)
        gone = Change(1, b"a", None, clear=True).after(first)
        self.assertEqual((gone.row, list(gone.put), gone.clear), (None, [], True))
