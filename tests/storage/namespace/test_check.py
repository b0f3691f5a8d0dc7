"""What is damaged on disk is found, named, and never taken for something else."""

from __future__ import annotations

import json
import os
import shutil
import stat
from random import Random

from twisted.trial.unittest import SynchronousTestCase

from storehouse.errors import DamagedEntry, NoSuchKey, StorehouseError
from storehouse.storage.namespace.index import Change
from storehouse.storage.namespace.interfaces import Entry, Problem
from tests.conformance.namespace import entry
from tests.storage.namespace.rig import Driven, contents, flip, now


def file_of(number: int) -> str:
    return f"{entry(number).id}.json"


class DamageCase(SynchronousTestCase):
    """A namespace with a few keys: C{a} with an older version, and C{b}."""

    def setUp(self) -> None:
        self.driven = Driven(self.mktemp()).start().create()
        self.addCleanup(lambda: self.driven.stop())
        self.driven.publish("a", entry(1))
        self.driven.publish("a", entry(2), keep=True)
        self.driven.publish("b", entry(3))
        self.truth = {"a": entry(2), "b": entry(3)}

    def problem(self, kind: str, path: str | None = None) -> Problem:
        """The only problem that a check finds, which names a file."""
        (problem,) = self.driven.check()
        self.assertEqual(problem.kind, kind)
        if path is not None:
            self.assertIn(path, problem.text)
        return problem

    def lose_index(self) -> None:
        self.driven.stop()
        shutil.rmtree(self.driven.path("index"))
        self.driven.start()

    def never_wrong(self) -> None:
        """What is answered is right; there may be no answer."""
        for key, right in self.truth.items():
            try:
                self.assertEqual(self.driven.look_up(key), right)
            except StorehouseError as error:
                self.assertNotIsInstance(error, NoSuchKey)
        try:
            listed = self.driven.list().entries
        except StorehouseError:
            return
        for key, found in listed:
            self.assertEqual(found, self.truth[key])


class FlippedBitTests(DamageCase):
    """One bit is not what it was."""

    def test_versions(self) -> None:
        """Any bit of a version, the default one or an older one."""
        random = Random(1)
        for number in (1, 2):
            path = self.driven.object("a", file_of(number))
            size = os.path.getsize(path)
            for byte in [0, size - 1, *random.sample(range(size), 20)]:
                bit = random.randrange(8)
                flip(path, byte, bit)
                self.assertEqual(self.problem("damaged", path).id, entry(number).id)
                self.never_wrong()
                flip(path, byte, bit)
        self.assertEqual(self.driven.check(), [])

    def test_not_listed(self) -> None:
        """A key whose default is damaged is reported in listings of an index that is made anew, and by the check."""
        path = self.driven.object("b", file_of(3))
        flip(path, 20)
        self.assertIn("it is listed with its old entry", self.problem("damaged", path).text)
        self.lose_index()
        self.flushLoggedErrors()
        self.assertEqual((self.driven.keys(), self.driven.list().damaged), (["a"], ["b"]))
        self.assertEqual(self.driven.namespace.damaged, 1)
        self.assertIn("it is listed as damaged", self.problem("damaged", path).text)
        error = self.assertRaises(DamagedEntry, self.driven.look_up, "b")
        self.assertEqual(error.path, path)
        self.assertEqual(self.driven.publish("b", entry(4)), [])
        self.assertEqual((self.driven.keys(), self.driven.check()), (["a", "b"], []))
        self.assertEqual((self.driven.namespace.damaged, self.driven.list().damaged), (0, []))
        self.flushLoggedErrors()

    def test_bucket(self) -> None:
        path = self.driven.path("buckets", "bucket", "bucket.json")
        flip(path, 5)
        self.assertEqual(self.problem("damaged", path).bucket, "bucket")
        flip(path, 5)

    def test_link(self) -> None:
        """A default that leads elsewhere."""
        path = self.driven.object("a", "default.json")
        for target in ("nowhere", "../b/" + file_of(3), "ffff.json", file_of(1)[1:]):
            os.unlink(path)
            os.symlink(target, path)
            self.assertIn(path, self.problem("dangling").text)
            self.never_wrong()
        os.unlink(path)
        os.symlink(file_of(1), path)
        self.assertEqual([each.kind for each in self.driven.check()], ["lost", "different"][1:])

    def test_swapped(self) -> None:
        """A whole file in the place of another."""
        shutil.copy(self.driven.object("a", file_of(2)), self.driven.object("b", file_of(3)))
        self.problem("damaged", self.driven.object("b", file_of(3)))
        self.lose_index()
        self.flushLoggedErrors()
        self.never_wrong()

    def test_index(self) -> None:
        """Any bit of the index: what it says is right, or nothing; a start or a rebuild makes it good."""
        random = Random(3)
        self.driven.stop()
        path = self.driven.path("index", "keys.db")
        whole = contents(path)
        found = 0
        used = [n for n in range(len(whole)) if whole[n]]
        for byte in [0, 18, 24, 100, *random.sample(used, 60)]:
            with open(path, "wb") as file:
                file.write(whole)
            flip(path, byte, random.randrange(8))
            self.driven.start()
            found += bool(self.driven.check())
            self.never_wrong()
            now(self.driven.namespace.reindex())
            self.assertEqual(self.driven.check(), [], byte)
            self.assertEqual(dict(self.driven.list().entries), self.truth, byte)
            self.driven.stop()
            self.flushLoggedErrors()
            shutil.rmtree(self.driven.path("index"))
            self.driven.start()
            self.driven.stop()
            whole = contents(path)
        self.driven.start()
        self.assertGreater(found, 5)

    def test_journal(self) -> None:
        """A flipped bit in the journal is found; the next start makes the index anew."""
        path = self.driven.path("journal")
        flip(path, contents(path).index(b"\n") + 12)
        self.assertTrue(self.problem("damaged", path).repairable)
        self.driven = self.driven.killed(os.path.abspath(self.mktemp())).start()
        self.assertEqual(self.driven.check(), [])
        self.assertEqual(dict(self.driven.list().entries), self.truth)


class MissingTests(DamageCase):
    """A file is not there."""

    def test_older(self) -> None:
        """An older version is missed, until the index is rebuilt."""
        path = self.driven.object("a", file_of(1))
        os.unlink(path)
        self.assertEqual(self.problem("lost", path).id, entry(1).id)
        self.assertEqual(self.driven.look_up("a", entry(1).id), entry(1))  # by its row
        self.driven.publish("a", entry(5), keep=True)
        self.problem("lost", path)
        self.driven.unpublish("a", id=entry(5).id)
        self.problem("lost", path)
        self.driven.stop()
        self.driven.start()
        self.problem("lost", path)
        now(self.driven.namespace.reindex())
        self.assertEqual(self.driven.check(), [])

    def test_default(self) -> None:
        path = self.driven.object("a", file_of(2))
        os.unlink(path)
        self.problem("dangling", file_of(2))
        self.never_wrong()

    def test_link(self) -> None:
        path = self.driven.object("a", "default.json")
        os.unlink(path)
        self.problem("dangling", path)
        self.never_wrong()

    def test_rows_are_kept(self) -> None:
        """What is read by its row of the index is read when that was made anew, too; a damaged row is not kept."""
        path = self.driven.object("a", "default.json")
        os.unlink(path)
        os.symlink("deadbeef.json", path)
        before, listed = self.driven.look_up("a"), self.driven.list()
        now(self.driven.namespace.reindex())
        self.assertEqual((self.driven.look_up("a"), self.driven.list()), (before, listed))
        self.problem("dangling", path)
        self.driven.namespace.upkeep.index.apply([Change(1, b"a", (1, b"{}"))])
        now(self.driven.namespace.reindex())
        self.assertEqual(self.driven.list().damaged, ["a"])
        self.assertRaises(DamagedEntry, self.driven.look_up, "a")
        self.flushLoggedErrors()

    def test_key(self) -> None:
        """All of a key."""
        shutil.rmtree(self.driven.object("b"))
        self.problem("extra", self.driven.object("b"))
        self.assertEqual(now(self.driven.namespace.reindex()), 1)
        self.assertEqual(self.driven.check(), [])

    def test_bucket(self) -> None:
        path = self.driven.path("buckets", "bucket", "bucket.json")
        now(self.driven.namespace.set_bucket_metadata("bucket", {"public": ["read"]}))
        os.unlink(path)
        self.problem("damaged", path)
        self.driven.stop()
        self.driven.start()
        self.never_wrong()

    def test_index_and_journal(self) -> None:
        """Each of them is made anew."""
        for name in ("index/keys.db", "journal"):
            self.driven.stop()
            os.unlink(self.driven.path(name))
            self.driven.start()
            self.assertEqual(self.driven.check(), [])
            self.assertEqual(dict(self.driven.list().entries), self.truth)

    def test_in_the_way(self) -> None:
        """What is in the place of the index or the journal, and is none, is set aside, and keeps nothing shut."""
        for name, make in (
            ("index/keys.db", os.mkdir),
            ("index", os.mkfifo),
            ("journal", os.mkdir),
            ("journal", os.mkfifo),
        ):
            self.driven.stop()
            path = self.driven.path(name)
            if os.path.isdir(path):
                shutil.rmtree(path)
            else:
                os.unlink(path)
            make(path)
            kind = stat.S_IFMT(os.lstat(path).st_mode)
            self.driven.start()
            self.assertEqual(self.driven.check(), [], name)
            self.assertEqual(dict(self.driven.list().entries), self.truth)
            recovered = os.path.join(os.path.dirname(self.driven.path()), "recovered")
            kept = [os.path.join(base, each) for base, dirs, files in os.walk(recovered) for each in (*dirs, *files)]
            self.assertIn(
                (os.path.basename(path), kind),
                [(os.path.basename(each), stat.S_IFMT(os.lstat(each).st_mode)) for each in kept],
            )

    def test_row(self) -> None:
        """A row that the index lacks, or has too many."""
        index = self.driven.namespace.upkeep.index
        index.apply([Change(1, b"b", None), Change(1, b"c", (1, b"{}")), Change(1, b"\xff\xfe", (1, b""))])
        self.assertEqual(sorted(each.kind for each in self.driven.check()), ["extra", "extra", "missing"])
        self.assertEqual(self.driven.look_up("b"), entry(3))
        now(self.driven.namespace.reindex())
        self.assertEqual(self.driven.check(), [])


class ForeignTests(DamageCase):
    """What other programs leave."""

    def test_seed(self) -> None:
        """Files of the seed's form, without our fields, are read; links are those of the seed."""
        text = json.dumps(
            {
                "default": True,
                "size": 17,
                "createdAt": "2024-01-02T03:04:05+01:00",
                "contentType": "text/x",
                "metadata": {"a": "b", "c": ["d", "e"]},
            }
        )
        os.mkdir(self.driven.object("seed%2Fkey"))
        with open(self.driven.object("seed%2Fkey", "00ff.json"), "w") as file:
            file.write(text)
        os.symlink("00ff.json", self.driven.object("seed%2Fkey", "default.json"))
        self.problem("missing")
        expected = Entry("00ff", 17, "", 1704161045 * 10**9, "text/x", {"a": ["b"], "c": ["d", "e"]})
        self.assertEqual(self.driven.look_up("seed/key"), expected)
        self.assertEqual(self.driven.check(), [])
        self.assertEqual(self.driven.list(prefix="s").entries, [("seed/key", expected)])
        self.assertEqual(self.driven.publish("seed/key", entry(9)), [expected])

    def test_unknown(self) -> None:
        """Unknown names are reported, and left alone."""
        paths = [
            self.driven.path("x"),
            self.driven.path("buckets", "X"),
            self.driven.path("buckets", "bucket", "x"),
            self.driven.object("a b"),
            self.driven.object("a", "x"),
        ]
        for path in paths:
            with open(path, "w"):
                pass
        found = self.driven.check()
        self.assertEqual([each.kind for each in found], ["unknown"] * 5)
        for path in paths:
            self.assertTrue(any(path in each.text for each in found), path)
            os.unlink(path)
